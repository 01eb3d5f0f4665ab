"""Stripe, emulated on its wire: Payment Intents with manual capture, Checkout pages, refunds, idempotency keys, events.

Misbehaves by default: answers get lost before and after the effect, or say "later".

Tokens decide what a card does, as Stripe's own test tokens do: `pm_card_visa` pays, `pm_card_chargeDeclined` is
declined, `pm_card_threeDSecure2Required` wants the guest. Bytes in, bytes out; a transport for httpx stands on it.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qsl

import httpx

from kit.dice import Dice

DECLINED: Final = "pm_card_chargeDeclined"
THREE_D_SECURE: Final = "pm_card_threeDSecure2Required"


@dataclass(frozen=True, slots=True)
class Manners:
    """How often, of one, an answer is lost after the effect, refused as busy, or never arrived."""

    lost_after: float = 0.15
    busy: float = 0.1
    lost_before: float = 0.1


TAME: Final = Manners(0.0, 0.0, 0.0)


@dataclass
class StripeEmulator:
    """One account."""

    secret_key: str
    dice: Dice
    manners: Manners = Manners()
    told: Callable[[dict[str, Any]], None] = lambda _event: None
    """Hears every event, in the order of effects; a test delivers them late, twice or out of order."""
    intents: dict[str, dict[str, Any]] = field(default_factory=dict)
    pages: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Checkout sessions by id."""
    now_s: Callable[[], int] | None = None
    """Unix seconds: pages end by it; without it only `expire` ends them."""
    effects: list[tuple[str, str, int]] = field(default_factory=list)
    """(hold, capture, release or refund; intent; amount), once for each time money moved."""
    _answered: dict[str, tuple[str, int, dict[str, Any]]] = field(default_factory=dict)

    def transport(self) -> httpx.MockTransport:
        """Return a transport that leads here, misbehaving."""

        async def answer(request: httpx.Request) -> httpx.Response:
            mood = self.dice.uniform(0, 1)
            if mood < self.manners.lost_before:
                raise httpx.ConnectError("emulated: not reached", request=request)
            if mood < self.manners.lost_before + self.manners.busy:
                return httpx.Response(429, json={"error": {"type": "rate_limit_error"}})
            status, body = self.handle(request)
            if mood > 1 - self.manners.lost_after:
                raise httpx.ReadTimeout("emulated: the answer was lost", request=request)
            return httpx.Response(status, json=body)

        return httpx.MockTransport(answer)

    def handle(self, request: httpx.Request) -> tuple[int, dict[str, Any]]:
        """Answer one request as documented."""
        if request.headers.get("authorization") != f"Bearer {self.secret_key}":
            return 401, _error("invalid_request_error", "invalid_api_key")
        text = request.content.decode() if request.method == "POST" else request.url.query.decode()
        form = dict(parse_qsl(text, keep_blank_values=True))
        key = request.headers.get("idempotency-key")
        asked = f"{request.method} {request.url.path} {json.dumps(form, sort_keys=True)}"
        if key is not None and key in self._answered:
            before, status, body = self._answered[key]
            return (status, body) if before == asked else (400, _error("idempotency_error", "idempotency_error"))
        at = f"{request.url.scheme}://{request.url.netloc.decode()}"
        status, body = self._route(request.method, request.url.path, form, at)
        body = json.loads(json.dumps(body))  # what was answered is answered again, whatever happened since
        if key is not None:
            self._answered[key] = (asked, status, body)
        return status, body

    def forget_keys(self) -> None:
        """Forget every idempotency key, as the provider may after a day: one that comes again is a new one."""
        self._answered.clear()

    def guest_confirms(self, intent_id: str, *, well: bool = True) -> None:
        """Let the guest answer his bank."""
        intent = self.intents[intent_id]
        if intent["status"] != "requires_action":
            return
        if well:
            self._hold(intent)
        else:
            intent.update(
                status="requires_payment_method",
                last_payment_error={"code": "payment_intent_authentication_failure"},
            )
            self._tell("payment_intent.payment_failed", intent)

    def page(self, id_: str) -> dict[str, Any]:
        """Return a page as it is now. Raises KeyError."""
        page = self.pages[id_]
        if self.now_s is not None and page["status"] == "open" and self.now_s() >= page["expires_at"]:
            self.expire(id_)
        return page

    def expire(self, id_: str) -> None:
        """End an open page: nobody can pay there any more."""
        self.pages[id_].update(status="expired", url=None)
        self._tell("checkout.session.expired", self.pages[id_])

    def pays(self, id_: str, card: str) -> str:
        """Let the guest pay on an open page with one of the cards above.

        Returns:
            What the page shows then: `paid`, `declined` (it stays open), or `bank`: his bank wants to hear him.

        Raises:
            KeyError: no such page. ValueError: it is open no longer.
        """
        page = self.page(id_)
        if page["status"] != "open":
            raise ValueError("this page is open no longer")
        intent = self.intents.setdefault(page["_intent"]["id"], page["_intent"])
        if card == DECLINED:
            intent["last_payment_error"] = {"code": "card_declined", "decline_code": "insufficient_funds"}
            self._tell("payment_intent.payment_failed", intent)
            return "declined"
        if card == THREE_D_SECURE:
            intent["status"] = "requires_action"
            self._tell("payment_intent.requires_action", intent)
            return "bank"
        self._paid(page, intent)
        return "paid"

    def bank_hears(self, id_: str, *, well: bool) -> str:
        """Let the guest answer his bank on a page: `paid`, or `refused` (it stays open). Raises as `pays`."""
        page = self.page(id_)
        intent = page["_intent"]
        if page["status"] != "open" or intent["status"] != "requires_action":
            raise ValueError("no bank waits for an answer on this page")
        if well:
            self._paid(page, intent)
            return "paid"
        self.guest_confirms(intent["id"], well=False)
        return "refused"

    def _paid(self, page: dict[str, Any], intent: dict[str, Any]) -> None:
        self._hold(intent)
        page.update(status="complete", url=None)
        self._tell("checkout.session.completed", page)

    def _open_page(self, form: dict[str, str], at: str) -> tuple[int, dict[str, Any]]:
        item = "line_items[0][price_data]"
        amount, currency = form.get(f"{item}[unit_amount]", ""), form.get(f"{item}[currency]", "")
        wanted = (f"{item}[product_data][name]", "success_url", "cancel_url", "line_items[0][quantity]")
        if form.get("mode") != "payment" or not amount.isdigit() or not all(form.get(name) for name in wanted):
            return 400, _error("invalid_request_error", "parameter_missing")
        if currency != currency.lower() or form.get("payment_intent_data[capture_method]") != "manual":
            return 400, _error("invalid_request_error", "parameter_invalid")
        until = int(form.get("expires_at", "0"))
        if self.now_s is not None and not 1_800 <= until - self.now_s() <= 86_400:
            return 400, _error("invalid_request_error", "expires_at_invalid")
        number = self.dice.bytes(12).hex()
        page: dict[str, Any] = {
            "id": f"cs_test_{number}", "object": "checkout.session", "mode": "payment", "status": "open",
            "payment_status": "unpaid", "payment_intent": None, "url": f"{at}/pay/cs_test_{number}",
            "amount_total": int(amount), "currency": currency, "expires_at": until, "locale": form.get("locale"),
            "client_reference_id": form.get("client_reference_id"), "success_url": form["success_url"],
            "cancel_url": form["cancel_url"], "_title": form[f"{item}[product_data][name]"],
            "_intent": self._intent(int(amount), currency, form.get("payment_intent_data[metadata][reference]", "")),
        }  # fmt: skip
        self.pages[page["id"]] = page
        return 200, self._seen(page)

    def _seen(self, page: dict[str, Any]) -> dict[str, Any]:
        """Return a page as it is answered: there is no intent before it was paid."""
        seen = {name: value for name, value in page.items() if not name.startswith("_")}
        if page["status"] == "complete":
            seen["payment_intent"] = page["_intent"]
        return seen

    def _intent(self, amount: int, currency: str, reference: str) -> dict[str, Any]:
        id_ = f"pi_{self.dice.bytes(12).hex()}"
        return {
            "id": id_, "object": "payment_intent", "amount": amount, "amount_received": 0,
            "currency": currency, "status": "requires_payment_method", "latest_charge": None,
            "client_secret": f"{id_}_secret_{self.dice.bytes(8).hex()}", "last_payment_error": None,
            "metadata": {"reference": reference},
        }  # fmt: skip

    def _route(self, method: str, path: str, form: dict[str, str], at: str) -> tuple[int, dict[str, Any]]:
        match (method, path.strip("/").split("/")):
            case ("POST", ["v1", "payment_intents"]):
                return self._create(form)
            case ("POST", ["v1", "checkout", "sessions"]):
                return self._open_page(form, at)
            case ("GET", ["v1", "checkout", "sessions", id_]) if id_ in self.pages:
                return 200, self._seen(self.page(id_))
            case ("POST", ["v1", "checkout", "sessions", id_, "expire"]) if id_ in self.pages:
                if self.page(id_)["status"] != "open":
                    return 400, _error("invalid_request_error", "checkout_session_not_open")
                self.expire(id_)
                return 200, self._seen(self.pages[id_])
            case ("POST", ["v1", "refunds"]):
                return self._refund(form)
            case (_, ["v1", "payment_intents", id_, *verb]) if id_ in self.intents:
                intent = self.intents[id_]
                if method == "GET" and not verb:
                    return 200, intent
                if method == "POST" and verb in (["capture"], ["cancel"]):
                    return self._finish(intent, verb[0], form)
        return 404, _error("invalid_request_error", "resource_missing")

    def _create(self, form: dict[str, str]) -> tuple[int, dict[str, Any]]:
        if form.get("capture_method") != "manual" or not form.get("amount", "").isdigit():
            return 400, _error("invalid_request_error", "parameter_missing")
        intent = self._intent(int(form["amount"]), form["currency"], form.get("metadata[reference]", ""))
        self.intents[intent["id"]] = intent
        if form.get("payment_method") == DECLINED:
            intent["last_payment_error"] = {"code": "card_declined", "decline_code": "insufficient_funds"}
            self._tell("payment_intent.payment_failed", intent)
            return 402, {"error": {"type": "card_error", **intent["last_payment_error"], "payment_intent": intent}}
        if form.get("payment_method") == THREE_D_SECURE:
            intent["status"] = "requires_action"
            self._tell("payment_intent.requires_action", intent)
        else:
            self._hold(intent)
        return 200, intent

    def _hold(self, intent: dict[str, Any]) -> None:
        intent.update(status="requires_capture", latest_charge={"id": f"ch_{intent['id'][3:]}", "amount_refunded": 0})
        self.effects.append(("hold", intent["id"], intent["amount"]))
        self._tell("payment_intent.amount_capturable_updated", intent)

    def _finish(self, intent: dict[str, Any], verb: str, form: dict[str, str]) -> tuple[int, dict[str, Any]]:
        if verb == "cancel":
            if intent["status"] in ("succeeded", "canceled"):
                return 400, _error("invalid_request_error", "payment_intent_unexpected_state")
            intent["status"] = "canceled"
            self.effects.append(("release", intent["id"], intent["amount"]))
            self._tell("payment_intent.canceled", intent)
            return 200, intent
        amount = int(form.get("amount_to_capture", intent["amount"]))
        if intent["status"] != "requires_capture":
            return 400, _error("invalid_request_error", "payment_intent_unexpected_state")
        if not 0 < amount <= intent["amount"]:
            return 400, _error("invalid_request_error", "amount_too_large")
        intent.update(status="succeeded", amount_received=amount)
        self.effects.append(("capture", intent["id"], amount))
        self._tell("payment_intent.succeeded", intent)
        return 200, intent

    def _refund(self, form: dict[str, str]) -> tuple[int, dict[str, Any]]:
        intent = self.intents.get(form.get("payment_intent", ""))
        if intent is None or intent["status"] != "succeeded":
            return 400, _error("invalid_request_error", "charge_not_refundable")
        amount, charge = int(form.get("amount", "0")), intent["latest_charge"]
        if not 0 < amount <= intent["amount_received"] - charge["amount_refunded"]:
            return 400, _error("invalid_request_error", "amount_too_large")
        charge["amount_refunded"] += amount
        self.effects.append(("refund", intent["id"], amount))
        self._tell("charge.refunded", intent)
        return 200, {"id": f"re_{self.dice.bytes(8).hex()}", "object": "refund", "amount": amount}

    def _tell(self, kind: str, intent: dict[str, Any]) -> None:
        seen = json.loads(json.dumps(self._seen(intent) if intent["object"] == "checkout.session" else intent))
        if seen.get("object") == "checkout.session" and isinstance(seen["payment_intent"], dict):
            seen["payment_intent"] = seen["payment_intent"]["id"]  # events expand nothing
        if kind == "charge.refunded":
            seen = {"object": "charge", "id": intent["latest_charge"]["id"], "payment_intent": intent["id"]}
        self.told({"id": f"evt_{self.dice.bytes(8).hex()}", "type": kind, "data": {"object": seen}})


def _error(kind: str, code: str) -> dict[str, Any]:
    return {"error": {"type": kind, "code": code}}
