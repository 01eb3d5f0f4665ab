"""The routes by which the front desk makes a code for a guest's phone while the house is cut off (docs/decisions/0143).

The code is a link of the guest's page, which asks this house for the key (edge/api/kiosk_visit_routes.py `check-in`):
`<cloud>/guest/house.html#house=<this house's address, percent-encoded>/<property>/<stay>/<token>`.
"""

from typing import Annotated, Any, Protocol

import msgspec
from litestar import Response, Router, get, post
from litestar.params import FromPath, JSONBody

from edge.api.routes import on_refused
from edge.api.token import ALSO_OPT, DESK
from edge.checkin.errors import CheckInRefusedError
from protocols.device_model.identity import ACTOR_CHARACTERS_MAX, StayId, parse_stay_id


class CodeBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """POST stays/{stay}/phone-code."""

    by: Annotated[str, msgspec.Meta(min_length=1, max_length=ACTOR_CHARACTERS_MAX)]


class Codes(Protocol):
    """Who offers keys to phones; edge/app/kiosk_phones.py answers it."""

    async def offer_at_desk(self, stay: StayId, *, by: str) -> tuple[str, int]:
        """Return the token of an offer, and until when it is good (unix ms)."""
        ...

    def waits_at_desk(self, stay: StayId) -> int | None:
        """Return until when a code of the desk's waits for a phone (unix ms); None: none does."""
        ...


def phone_code_routes(codes: Codes, *, property_id: str) -> Router:
    """Return the routes; they ask for the token of the local API, or the desk's."""

    @post("/api/v1/stays/{stay:str}/phone-code", status_code=200, name="phone-code", opt={ALSO_OPT: DESK})
    async def make(stay: FromPath[str], data: JSONBody[CodeBody]) -> Response[dict[str, Any]]:
        stay_id = parse_stay_id(stay)
        token, until_ms = await codes.offer_at_desk(stay_id, by=data.by)
        told = {"property": property_id, "stay": stay_id, "token": token, "until_ms": until_ms}
        return Response(told, headers={"cache-control": "no-store"})

    @get("/api/v1/stays/{stay:str}/phone-code", name="phone-code-waits", opt={ALSO_OPT: DESK})
    async def waits(stay: FromPath[str]) -> Response[dict[str, Any]]:
        until_ms = codes.waits_at_desk(parse_stay_id(stay))
        told = {"waits": until_ms is not None, "until_ms": until_ms}
        return Response(told, headers={"cache-control": "no-store"})

    return Router("/", route_handlers=[make, waits], exception_handlers={CheckInRefusedError: on_refused})
