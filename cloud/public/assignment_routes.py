"""The route that gives rooms to arrivals which have none."""

from typing import Annotated, Any, Final

import msgspec
from litestar import Request, Router, post
from litestar.params import FromPath, JSONBody

from cloud.kit.database import Database
from cloud.platform.access_policy import ACTION
from cloud.platform.principals import Principal
from cloud.public.gate import property_for
from cloud.public.reader import WallClock
from cloud.public.strict import strict_body
from cloud.stays.assigning import Asked, give_rooms
from cloud.stays.assignment import WISHES_MOST, Floor
from cloud.stays.stays import Place
from protocols.errors import InvalidInputError

BODY_BYTES_MOST: Final = 128 * 1024
_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=80)]

Call = Request[Principal, Any, Any]


class Arrival(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A stay that wants a room of a type, and where in the house it would like to be."""

    stay: _Name
    type: _Name
    floor: Floor | None = None


class AssignmentRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The arrivals that want rooms, each once."""

    arrivals: Annotated[list[Arrival], msgspec.Meta(min_length=1, max_length=WISHES_MOST)]


class Assignments(msgspec.Struct, frozen=True):
    """Who got which room, and why the others got none."""

    given: dict[str, str]
    not_given: dict[str, str]


def assignment_routes(database: Database, *, clock: WallClock) -> Router:
    """Return the routes."""

    @post(
        "/properties/{property_id:str}/room-assignments",
        status_code=200,
        summary="Give rooms to arrivals that have none",
        opt={ACTION: "room.assign"},
    )
    async def give(request: Call, property_id: FromPath[str], data: JSONBody[AssignmentRequest]) -> Assignments:
        async with database.snapshot() as connection:
            found = await property_for(connection, request.user, property_id)
        asked = {each.stay: Asked(each.type, each.floor) for each in data.arrivals}
        if len(asked) != len(data.arrivals):
            raise InvalidInputError("arrivals", "name a stay twice")
        place = Place(found.tenant, found.id, found.edge)
        given, not_given = await give_rooms(database, place, asked, now_ms=clock.wall_ms())
        return Assignments(given, not_given)

    return Router("/api/v1", route_handlers=[give], request_max_body_size=BODY_BYTES_MOST, before_request=strict_body)
