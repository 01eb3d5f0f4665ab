"""The routes of a kiosk, version 1: a document taken once, a card, a receipt, and how an order stands.

They ask for a token of their own: a kiosk's page holds that and no other, so it can do this and nothing else; and the
house's token, which scripts and screens of the staff hold, reads no guest's document.
"""

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Final, Protocol

import msgspec
from litestar import Response, Router, get, post
from litestar.params import FromPath, JSONBody

from edge.api.token import TOKEN_OPT
from kit.clock import Clock
from kit.http import ProblemError
from protocols.device_model.identity import ACTOR_CHARACTERS_MAX, DeviceId, parse_device_id
from protocols.link.record import TIME_MS_MAX
from protocols.peripherals.escpos import TEXT_CHARACTERS_MAX

KIOSK: Final = "kiosk"
"""The name of the token."""
ORDER_WAIT_MS: Final = 20_000
_By = Annotated[str, msgspec.Meta(min_length=1, max_length=ACTOR_CHARACTERS_MAX)]
_Key = Annotated[str, msgspec.Meta(min_length=8, max_length=128, pattern=r"^[A-Za-z0-9._:-]+\Z")]
_AtMs = Annotated[int, msgspec.Meta(ge=0, le=TIME_MS_MAX)]


class CardBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """POST kiosk/{device}/cards. `deadline_ms` is unix ms; left out, 20 s from now."""

    idempotency_key: _Key
    deadline_ms: _AtMs | None = None
    by: _By = KIOSK


class ReceiptBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """POST kiosk/{device}/receipts."""

    text: Annotated[str, msgspec.Meta(min_length=1, max_length=TEXT_CHARACTERS_MAX)]
    idempotency_key: _Key
    deadline_ms: _AtMs | None = None
    by: _By = KIOSK

    def __repr__(self) -> str:
        return "ReceiptBody(...)"


class Kiosks(Protocol):
    """What the routes need; edge/app/kiosk_desk.py answers it."""

    def take_document(self, device: DeviceId) -> str | None:
        """Return what was read last, once. Raises InvalidInputError."""
        ...

    def told(self, key: str) -> dict[str, Any] | None:
        """Return how an order stands."""
        ...

    async def order(self, device: DeviceId, *, text: str | None, key: str, deadline_ms: int, by: str) -> dict[str, Any]:
        """Have a card given or a receipt printed, at most once. Raises InvalidInputError, StoreFailedError."""
        ...


def kiosk_routes(
    kiosks: Kiosks, *, clock: Clock, places: Callable[[], Sequence[dict[str, Any]]] = tuple, alone: bool = False
) -> Router:
    """Return the routes; every one asks for the kiosk's token.

    Args:
        kiosks: See `Kiosks`.
        clock: Wall time.
        places: What each kiosk has, asked anew each time.
        alone: Whether guests check in while the house is cut off.
    """

    def until(deadline_ms: int | None) -> int:
        return clock.wall_ms() + ORDER_WAIT_MS if deadline_ms is None else deadline_ms

    @get("/api/v1/kiosk", name="kiosks")
    async def listed() -> dict[str, Any]:
        return {"kiosks": list(places()), "alone": alone}

    @post("/api/v1/kiosk/{device:str}/document/take", status_code=200, name="kiosk-document")
    async def document(device: FromPath[str]) -> Response[dict[str, str]]:
        text = kiosks.take_document(parse_device_id(device))
        if text is None:
            raise ProblemError(404, "nothing was read in the last minute, or it was taken", kind="nothing-read")
        return Response({"zone": text}, headers={"cache-control": "no-store"})

    @post("/api/v1/kiosk/{device:str}/cards", status_code=200, name="kiosk-card")
    async def card(device: FromPath[str], data: JSONBody[CardBody]) -> dict[str, Any]:
        return await kiosks.order(
            parse_device_id(device),
            text=None,
            key=data.idempotency_key,
            deadline_ms=until(data.deadline_ms),
            by=data.by,
        )

    @post("/api/v1/kiosk/{device:str}/receipts", status_code=200, name="kiosk-receipt")
    async def receipt(device: FromPath[str], data: JSONBody[ReceiptBody]) -> dict[str, Any]:
        return await kiosks.order(
            parse_device_id(device),
            text=data.text,
            key=data.idempotency_key,
            deadline_ms=until(data.deadline_ms),
            by=data.by,
        )

    @get("/api/v1/kiosk/orders/{key:str}", name="kiosk-order")
    async def order(key: FromPath[str]) -> dict[str, Any]:
        told = kiosks.told(key)
        if told is None:
            raise ProblemError(404, "nobody asked with that key, or it is long ago", kind="unknown-order")
        return told

    return Router("/", route_handlers=[listed, document, card, receipt, order], opt={TOKEN_OPT: KIOSK})
