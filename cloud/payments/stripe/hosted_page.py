"""The emulated provider's own page: what a guest sees at the provider, with cards that stand for what cards do.

Stands for Stripe Checkout in rehearsals and browser tests. Nothing is typed here: a card is chosen by what it does.
"""

from html import escape
from typing import Any, Final

from cloud.payments.stripe.emulator import DECLINED, THREE_D_SECURE

CARDS: Final = (
    ("pm_card_visa", "A card that pays"),
    (DECLINED, "A card that is refused"),
    (THREE_D_SECURE, "A card whose bank asks first (3-D Secure)"),
)
_STYLE: Final = """
body{font:17px/1.5 system-ui,sans-serif;margin:0;background:#f4f4f6;color:#1a1a1f}
main{max-width:26rem;margin:2rem auto;padding:1.5rem;background:#fff;border-radius:12px}
h1{font-size:1.3rem;margin:0 0 .3rem}label{display:block;padding:.6rem 0}
button,a.back{display:block;width:100%;box-sizing:border-box;padding:.8rem;margin:.6rem 0 0;border-radius:8px;
border:1px solid #555;background:#fff;color:inherit;font:inherit;text-align:center;text-decoration:none}
button.first{background:#2b3a8c;color:#fff;border-color:#2b3a8c}[role=alert]{color:#a01010}
"""


def pay_page(page: dict[str, Any], *, said: str = "") -> str:
    """Return where the guest chooses a card; `said` is what came of the last one."""
    choices = "".join(
        f'<label><input type="radio" name="card" value="{card}"{" checked" if not at else ""}> {escape(name)}</label>'
        for at, (card, name) in enumerate(CARDS)
    )
    told = f'<p role="alert">{escape(said)}</p>' if said else ""
    return _document(
        page,
        f"""{told}<form method="post" action="/pay/{page["id"]}"><fieldset><legend>Card</legend>{choices}</fieldset>
<button class="first">Pay</button></form><a class="back" href="{escape(page["cancel_url"])}">Back to the hotel</a>""",
    )


def bank_page(page: dict[str, Any]) -> str:
    """Return where the guest's bank asks him whether it is he."""
    return _document(
        page,
        f"""<p>Your bank asks: is it you who pays?</p><form method="post" action="/pay/{page["id"]}/bank">
<button class="first" name="answer" value="yes">Yes, it is me</button>
<button name="answer" value="no">No</button></form>""",
    )


def over_page(page: dict[str, Any]) -> str:
    """Return what is left of a page on which nobody can pay any more."""
    back = page["success_url"] if page["status"] == "complete" else page["cancel_url"]
    said = "This payment is done." if page["status"] == "complete" else "This page has ended; nothing was taken."
    return _document(page, f'<p>{said}</p><a class="back" href="{escape(back)}">Back to the hotel</a>')


def _document(page: dict[str, Any], body: str) -> str:
    amount = f"{page['amount_total'] / 100:.2f} {page['currency'].upper()}"
    return f"""<!doctype html><html lang="en"><meta charset="utf-8"><title>Emulated payment</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><style>{_STYLE}</style>
<main><h1>{escape(page["_title"])}</h1><p>{amount}, emulated: no money moves.</p>{body}</main></html>"""
