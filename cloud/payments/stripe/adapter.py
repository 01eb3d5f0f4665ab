"""Stripe's Payment Intents as a payment provider: form-encoded requests, an idempotency key on every effect.

Source: Stripe's API reference (payment_intents, refunds, errors, idempotent requests). A hold is an intent with
manual capture, confirmed at once with the token the guest's page got from Stripe's own script.
"""

from collections.abc import Mapping
from typing import Any, Final

import httpx

from cloud.payments.port import Charge, PaymentRefusedError, PaymentState
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

    async def capture(self, charge: str, *, minor: int, key: str) -> Charge:
        """See PaymentProvider."""
        return await self._intent("POST", f"/{charge}/capture", {"amount_to_capture": str(minor)} | _EXPAND, key)

    async def release(self, charge: str, *, key: str) -> Charge:
        """See PaymentProvider."""
        return await self._intent("POST", f"/{charge}/cancel", dict(_EXPAND), key)

    async def refund(self, charge: str, *, minor: int, key: str) -> Charge:
        """See PaymentProvider."""
        await self._ask("POST", "/v1/refunds", {"payment_intent": charge, "amount": str(minor)}, key)
        return await self.read(charge)

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
                sent = sent or answer.status_code >= 500
                failure = PeerProtocolError(f"the payment provider answered {answer.status_code}")
                continue
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
                failure=code if isinstance(code, str) else None,
            )
        case _:
            raise PeerProtocolError("payment provider: the answer is no payment intent")
