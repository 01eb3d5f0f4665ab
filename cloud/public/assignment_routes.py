"""The routes that say which rooms are free, give them to arrivals which have none, and say who has a room together."""

from datetime import date, timedelta
from typing import Annotated, Any, Final
from zoneinfo import ZoneInfo

import msgspec
from litestar import Request, Router, get, post, put
from litestar.params import FromPath, JSONBody, QueryParameter

from cloud.kit.database import Database
from cloud.kit.times import at, iso
from cloud.platform.access_policy import ACTION
from cloud.platform.principals import Principal
from cloud.public.gate import absent, property_for
from cloud.public.reader import WallClock
from cloud.public.strict import strict_body
from cloud.stays.assigning import Asked, give_rooms
from cloud.stays.assignment import WISHES_MOST, Floor
from cloud.stays.availability import NIGHTS_MOST, Availability, read
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


class FreeRoomView(msgspec.Struct, frozen=True):
    """A room that nobody has in any of the nights; `ready`: it can be entered now."""

    room: str
    floor: int | None
    ready: bool


class TypeView(msgspec.Struct, frozen=True):
    """One type of room over the nights asked about.

    `closed` of its `rooms` are out of order or of service. `waiting`: most arrivals in one night that booked it and
    have no room yet. `free`: how many more could be taken for all of the nights; negative where more was sold than
    there is. `free_rooms`: those that nobody has in any of the nights, the ones that arrivals wait for among them.
    """

    type: str | None
    rooms: int
    closed: int
    waiting: int
    free: int
    free_rooms: list[FreeRoomView]


class AvailableRooms(msgspec.Struct, frozen=True):
    """What is free from the night of `arrival` to the one before `departure`, days in the house's own `zone`.

    `waiting_untold`: most arrivals in one night that have no room and of which the PMS tells no type that the
    house has: they will take some of what is called free here.
    """

    as_of: str
    zone: str
    arrival: str
    departure: str
    types: list[TypeView]
    waiting_untold: int


_Day = Annotated[date | None, QueryParameter()]
_FIRST_DAY, _LAST_DAY = date(2000, 1, 1), date(2100, 1, 1)


def assignment_routes(database: Database, *, clock: WallClock) -> Router:
    """Return the routes."""

    @get(
        "/properties/{property_id:str}/available-rooms",
        summary="Rooms that are free for some nights, by type",
        opt={ACTION: "property.read"},
    )
    async def free(
        request: Call,
        property_id: FromPath[str],
        arrival: _Day = None,
        departure: _Day = None,
        room_type: Annotated[str | None, QueryParameter(name="type", min_length=1, max_length=80)] = None,
    ) -> AvailableRooms:
        now_ms = clock.wall_ms()
        async with database.snapshot() as connection:
            found = await property_for(connection, request.user, property_id)
            zone = ZoneInfo(found.zone)
            first = at(now_ms).astimezone(zone).date() if arrival is None else arrival
            end = _end(first, departure)
            told = await read(
                connection,
                tenant=found.tenant,
                property_id=found.id,
                zone=zone,
                first=first,
                end=end,
                now_ms=now_ms,
            )
        return AvailableRooms(
            as_of=iso(at(now_ms)),
            zone=found.zone,
            arrival=first.isoformat(),
            departure=end.isoformat(),
            types=_types(told, room_type),
            waiting_untold=told.waiting_untold,
        )

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
        "/api/v1", route_handlers=[free, give, say], request_max_body_size=BODY_BYTES_MOST, before_request=strict_body
    )


def _end(first: date, departure: date | None) -> date:
    """Return the day after the last night; by default there is one. Raises InvalidInputError."""
    if not _FIRST_DAY <= first < _LAST_DAY:
        raise InvalidInputError("arrival", f"is a day from {_FIRST_DAY} to {_LAST_DAY}")
    end = first + timedelta(days=1) if departure is None else departure
    if not 1 <= (end - first).days <= NIGHTS_MOST:
        raise InvalidInputError("departure", f"is 1 to {NIGHTS_MOST} days after the arrival")
    return end


def _types(told: Availability, only: str | None) -> list[TypeView]:
    return [
        TypeView(
            each.type,
            each.rooms,
            each.closed,
            each.waiting,
            each.free,
            [FreeRoomView(room.id, room.floor, room.ready) for room in each.free_rooms],
        )
        for each in told.types
        if only is None or each.type == only
    ]
