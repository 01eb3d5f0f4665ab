"""Stripe's Payment Intents as a payment provider: form-encoded requests, an idempotency key on every effect.

Source: Stripe's API reference (payment_intents, checkout/sessions, refunds, errors, idempotent requests). A hold is an
intent with manual capture, confirmed at once with a token, or made by Stripe's own page (Checkout) when the guest pays
there: that page shows refused cards and 3-D Secure, and lets the guest try again.
"""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

import httpx

from cloud.payments.port import Charge, Page, PageAsked, PageState, PaymentRefusedError, PaymentState
from protocols.errors import LinkLostError, PeerProtocolError, ReplyTimeoutError

ANSWER_BYTES_MOST: Final = 256 * 1024
TRIES: Final = 3
"""Under one idempotency key asking again is safe: the first effect is answered again."""
_STATES: Final = {
    "requires_action": PaymentState.NEEDS_GUEST,
    "requires_confirmation": PaymentState.PENDING,
    "processing": PaymentState.PENDING,
    "requires_capture": PaymentState.HELD,
    "succeeded": PaymentState.CAPTURED,
    "canceled": PaymentState.RELEASED,
    "requires_payment_method": PaymentState.FAILED,
}
_EXPAND: Final = {"expand[]": "latest_charge"}
_EXPAND_PAGE: Final = {"expand[]": "payment_intent.latest_charge"}
_PAGES: Final = "/v1/checkout/sessions"
LANGUAGES: Final = frozenset(
    ("bg", "cs", "da", "de", "el", "en", "es", "et", "fi", "fil", "fr", "hr", "hu", "id", "it", "ja", "ko", "lt", "lv",
     "ms", "mt", "nb", "nl", "pl", "pt", "ro", "ru", "sk", "sl", "sv", "th", "tr", "vi", "zh")
)  # fmt: skip
"""What Stripe's page speaks; in any other language it goes by the guest's browser."""


class StripePayments:
    """One Stripe account."""

    def __init__(self, http: httpx.AsyncClient, *, platform: str, secret_key: str) -> None:
        """Ask `platform` (its address, without a path) with `secret_key`."""
        self._http, self._platform = http, platform.rstrip("/")
        self._headers = {"Authorization": f"Bearer {secret_key}"}

    async def hold(self, *, currency: str, minor: int, method: str, reference: str, key: str) -> Charge:
        """See PaymentProvider."""
        form = {
            "amount": str(minor),
            "currency": currency.lower(),
            "payment_method": method,
            "payment_method_types[]": "card",
            "capture_method": "manual",
            "confirm": "true",
            "metadata[reference]": reference,
        }
        return await self._intent("POST", "", form | _EXPAND, key)

    async def open_page(self, asked: PageAsked, *, reference: str, key: str) -> Page:
        """See PaymentProvider."""
        form = {
            "mode": "payment",
            "payment_method_types[0]": "card",
            "line_items[0][quantity]": "1",
            "line_items[0][price_data][currency]": asked.currency.lower(),
            "line_items[0][price_data][unit_amount]": str(asked.minor),
            "line_items[0][price_data][product_data][name]": asked.title,
            "payment_intent_data[capture_method]": "manual",
            "payment_intent_data[metadata][reference]": reference,
            "client_reference_id": reference,
            "locale": asked.language if asked.language in LANGUAGES else "auto",
            "success_url": asked.back,
            "cancel_url": asked.left,
            "expires_at": str(asked.until_s),
        }
        return _page(await self._ask("POST", _PAGES, form | _EXPAND_PAGE, key))

    async def read_page(self, page: str) -> Page:
        """See PaymentProvider."""
        return _page(await self._ask("GET", f"{_PAGES}/{page}", dict(_EXPAND_PAGE), None))

    async def close_page(self, page: str) -> Page:
        """See PaymentProvider."""
        with suppress(PaymentRefusedError):  # it is open no longer: what became of it is read
            await self._ask("POST", f"{_PAGES}/{page}/expire", {}, f"{page}:expire")
        return await self.read_page(page)

    async def capture(self, charge: str, *, minor: int, key: str) -> Charge:
        """See PaymentProvider."""
        return await self._intent("POST", f"/{charge}/capture", {"amount_to_capture": str(minor)} | _EXPAND, key)

    async def release(self, charge: str, *, key: str) -> Charge:
        """See PaymentProvider."""
        return await self._intent("POST", f"/{charge}/cancel", dict(_EXPAND), key)

    async def refund(self, charge: str, *, minor: int, key: str) -> Charge:
        """See PaymentProvider."""
        await self._ask("POST", "/v1/refunds", {"payment_intent": charge, "amount": str(minor)}, key)
        try:
            return await self.read(charge)
        except LinkLostError as error:  # the money is on its way back: who hears "nothing was done" would ask anew
            raise ReplyTimeoutError("given back, and the payment provider does not say how it stands now") from error

    async def read(self, charge: str) -> Charge:
        """See PaymentProvider."""
        return await self._intent("GET", f"/{charge}", dict(_EXPAND), None)

    async def _intent(self, method: str, path: str, form: Mapping[str, str], key: str | None) -> Charge:
        return _charge(await self._ask(method, f"/v1/payment_intents{path}", form, key))

    async def _ask(self, method: str, path: str, form: Mapping[str, str], key: str | None) -> dict[str, Any]:
        """Ask, and ask again while the answer is lost or says "later"; the last failure is told."""
        headers = self._headers if key is None else self._headers | {"Idempotency-Key": key}
        sent = False
        failure: Exception = LinkLostError("the payment provider was not reached")
        for _ in range(TRIES):
            try:
                if method == "GET":
                    answer = await self._http.get(self._platform + path, params=dict(form), headers=headers)
                else:
                    answer = await self._http.request(method, self._platform + path, data=dict(form), headers=headers)
            except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
                failure = error
                continue
            except httpx.HTTPError as error:
                sent, failure = True, error
                continue
            if answer.status_code in (409, 429) or answer.status_code >= 500:
                sent = sent or answer.status_code != 429  # 409: one of the same key is being worked on
                failure = PeerProtocolError(f"the payment provider answered {answer.status_code}")
                continue
            if answer.status_code in (401, 403):  # our key, not the payment: a guest may be paying at this moment
                failure = PeerProtocolError("the payment provider does not take our key")
                break
            return _object(answer)
        if sent and key is not None:
            raise ReplyTimeoutError("the payment provider has not answered; it may have been done") from failure
        raise LinkLostError("the payment provider cannot be reached or is busy; nothing was done") from failure


def _object(answer: httpx.Response) -> dict[str, Any]:
    if len(answer.content) > ANSWER_BYTES_MOST:
        raise PeerProtocolError(f"payment provider: an answer of {len(answer.content)} bytes")
    try:
        body = answer.json()
    except (ValueError, RecursionError) as error:
        raise PeerProtocolError("payment provider: the answer is no JSON") from error
    if not isinstance(body, dict):
        raise PeerProtocolError("payment provider: the answer is no object")
    if answer.status_code == 200:
        return body
    said = body.get("error")
    told: dict[str, Any] = said if isinstance(said, dict) else {}
    intent = told.get("payment_intent")
    if answer.status_code == 402 and isinstance(intent, dict):
        return intent  # a card that was declined: the intent tells so
    code = next((value for name in ("decline_code", "code", "type") if isinstance(value := told.get(name), str)), "")
    raise PaymentRefusedError(code or str(answer.status_code), f"The payment provider refused: {code or 'no reason'}.")


def _charge(body: Mapping[str, Any]) -> Charge:
    last = body.get("latest_charge")
    refunded = last.get("amount_refunded", 0) if isinstance(last, dict) else 0
    failure = body.get("last_payment_error")
    code = None
    if isinstance(failure, dict):
        code = failure.get("decline_code") or failure.get("code")
    match body:
        case {
            "id": str() as id_, "status": str() as status, "amount": int() as minor, "currency": str() as currency,
            "amount_received": int() as received,
        } if status in _STATES and type(refunded) is int:  # fmt: skip
            secret = body.get("client_secret")
            return Charge(
                id=id_,
                state=_STATES[status],
                currency=currency.upper(),
                minor=minor,
                captured=received,
                refunded=refunded,
                client_secret=secret if isinstance(secret, str) else None,
                failure=code if isinstance(code, str) and status not in ("requires_capture", "succeeded") else None,
            )
        case _:
            raise PeerProtocolError("payment provider: the answer is no payment intent")


def _page(body: Mapping[str, Any]) -> Page:
    intent = body.get("payment_intent")
    match body:
        case {"id": str() as id_, "object": "checkout.session", "status": "open" | "complete" | "expired" as state}:
            url = body.get("url")
            return Page(
                id_,
                PageState(state),
                url if isinstance(url, str) and url.startswith(("https://", "http://")) else None,
                _charge(intent) if isinstance(intent, dict) else None,
            )
        case _:
            raise PeerProtocolError("payment provider: the answer is no page")
