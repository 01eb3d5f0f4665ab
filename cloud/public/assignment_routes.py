"""The routes that give rooms to arrivals which have none, and say who has a room together."""

from typing import Annotated, Any, Final

import msgspec
from litestar import Request, Router, post, put
from litestar.params import FromPath, JSONBody

from cloud.kit.database import Database
from cloud.platform.access_policy import ACTION
from cloud.platform.principals import Principal
from cloud.public.gate import absent, property_for
from cloud.public.reader import WallClock
from cloud.public.strict import strict_body
from cloud.stays.assigning import Asked, give_rooms
from cloud.stays.assignment import WISHES_MOST, Floor
from cloud.stays.listing import stay_by_id
from cloud.stays.sharing import StillTogetherError, part, share
from cloud.stays.stays import Place
from kit.http import ProblemError
from protocols.errors import InvalidInputError

BODY_BYTES_MOST: Final = 128 * 1024
_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=80)]

Call = Request[Principal, Any, Any]


class Arrival(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A stay that wants a room of a type (the one that was booked, if none is named), and where in the house."""

    stay: _Name
    type: _Name | None = None
    floor: Floor | None = None


class AssignmentRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The arrivals that want rooms, each once."""

    arrivals: Annotated[list[Arrival], msgspec.Meta(min_length=1, max_length=WISHES_MOST)]


class Assignments(msgspec.Struct, frozen=True):
    """Who got which room, and why the others got none."""

    given: dict[str, str]
    not_given: dict[str, str]


class ShareRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """With which stay it has its room together; null: with none."""

    other: _Name | None = msgspec.field(name="with")


class Sharing(msgspec.Struct, frozen=True):
    """The word that the stays of one room have in common; null: none."""

    share: str | None


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

    @put(
        "/properties/{property_id:str}/stays/{stay_id:str}/share",
        summary="Say with whom a stay has its room together",
        opt={ACTION: "room.assign"},
    )
    async def say(
        request: Call, property_id: FromPath[str], stay_id: FromPath[str], data: JSONBody[ShareRequest]
    ) -> Sharing:
        async with database.snapshot() as connection:
            found = await property_for(connection, request.user, property_id)
            if await stay_by_id(connection, tenant=found.tenant, property_id=found.id, stay=stay_id) is None:
                raise absent()
        place = Place(found.tenant, found.id, found.edge)
        try:
            async with database.transaction() as connection:
                if data.other is None:
                    await part(connection, place, stay_id, now_ms=clock.wall_ms())
                    return Sharing(None)
                return Sharing(await share(connection, place, stay_id, data.other, now_ms=clock.wall_ms()))
        except StillTogetherError as error:
            raise ProblemError(409, str(error), kind="still_together", reason="still_together") from error

    return Router(
        "/api/v1", route_handlers=[give, say], request_max_body_size=BODY_BYTES_MOST, before_request=strict_body
    )
