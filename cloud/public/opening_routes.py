"""The route by which a guest's phone opens a door of another maker from afar: carried to the building, judged there.

The cloud opens nothing. What the phone signed (protocols/door/SPEC.md 13) passes through: the building believes the
phone's signature, its own clock and its own store, and us in nothing. Neither request nor answer is kept here.
"""

import hashlib
from typing import Annotated, Any, Final, Literal

import msgspec
from litestar import Request, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, JSONBody

from cloud.fleet.commands import Command
from cloud.platform.access_policy import ACTION
from cloud.platform.principals import Principal
from cloud.public.closing_routes import DoorServices
from cloud.public.edge_answers import refusal
from cloud.public.gate import stay_for
from protocols.device_model.command import Phase
from protocols.door.remote_open import REQUEST_BYTES_MOST, OpenOutcome, OpenRefusal, decode
from protocols.errors import PeerProtocolError

OPENING_WAIT_MS: Final = 25_000
"""Less than a request is good for: an answer that comes later than this is of no use to who stands at the door."""
_OUTCOMES: Final = frozenset(each.value for each in OpenOutcome)
_REFUSALS: Final = frozenset(each.value for each in OpenRefusal)

Call = Request[Principal, Any, Any]


class DoorOpeningRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the phone signed for this one opening, in hexadecimal (protocols/door/SPEC.md 13.1)."""

    request: Annotated[str, msgspec.Meta(pattern=rf"^[0-9a-f]{{2,{2 * REQUEST_BYTES_MOST}}}\Z")]


class DoorOpening(msgspec.Struct, frozen=True):
    """What came of it, no better than it was seen (13.3). `reason`: why the building opened nothing (13.2)."""

    outcome: Literal["online-confirmed", "accepted-by-vendor", "unknown", "busy", "off_line", "no", "refused"]
    reason: str | None = None


def opening_handlers(services: DoorServices) -> list[HTTPRouteHandler]:
    """Return the route."""

    @post(
        "/properties/{property_id:str}/stays/{stay_id:str}/door-openings",
        status_code=200,
        summary="Carry a guest's signed request to open a door from afar to the building",
        opt={ACTION: "door.open"},
    )
    async def open_door(
        request: Call, property_id: FromPath[str], stay_id: FromPath[str], data: JSONBody[DoorOpeningRequest]
    ) -> DoorOpening:
        async with services.database.snapshot() as connection:
            found, _ = await stay_for(connection, request.user, property_id, stay_id)
        try:
            asked = decode(bytes.fromhex(data.request))
        except (PeerProtocolError, ValueError) as error:
            raise refusal(400, f"request: {error}", "malformed") from error
        if asked.property_id != found.id:
            raise refusal(409, "The request was signed for another hotel.", "wrong_property")
        command = await services.commands.run(
            found,
            kind="open_door",
            args={"request": data.request},
            idempotency_key=f"open-door:{hashlib.sha256(bytes.fromhex(data.request)).hexdigest()[:40]}",
            within_ms=OPENING_WAIT_MS,
            asked_by=request.user.name,
            secret_result=True,
        )
        return _opening(command)

    return [open_door]


def _opening(command: Command) -> DoorOpening:
    """Return what the building said; what it did not say is a problem that tells whether the door may have opened."""
    told = command.result or {}
    outcome, reason = told.get("read_back"), told.get("reason")
    if outcome in _OUTCOMES:
        why = reason if outcome == OpenOutcome.REFUSED.value and reason in _REFUSALS else None
        return DoorOpening(outcome, why)
    if command.link_lost:
        raise refusal(503, "The hotel cannot be reached from here: nothing was asked.", "edge_away", retryable=True)
    match command.phase:
        case Phase.EXPIRED:
            raise refusal(504, "It reached the hotel too late; nothing was opened.", "too_late", retryable=True)
        case Phase.FAILED:
            raise refusal(409, command.reason or "The hotel refused.", "edge_refused")
        case Phase.DONE:
            raise refusal(409, "It was opened by this request before.", "answered_before")
        case _:
            raise refusal(504, "The hotel has not answered; the door may have opened.", "unanswered", may=True)
