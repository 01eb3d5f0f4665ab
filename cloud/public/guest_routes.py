"""The routes of guests: who comes with a stay, who he is and what he likes, when he was here; and to forget him.

Who asks for a person's profile or his stays stands in the audit trail before he gets it.
"""

import re
from dataclasses import dataclass
from typing import Annotated, Any, Final

from litestar import Request, Router, delete, get, put
from litestar.params import FromPath, JSONBody, QueryParameter

from cloud.checkin.past import CheckIn, check_ins_of
from cloud.guests.history import PastStay, current_stay, guest_of_stay, stays_of, visits
from cloud.guests.profile import Profile, RoomPreferences
from cloud.guests.profiles import Profiles
from cloud.kit.database import Connection, Database
from cloud.kit.times import iso, unix_ms
from cloud.platform import audit
from cloud.platform.access_policy import ACTION
from cloud.platform.audit_desk import AuditDesk
from cloud.platform.principals import Principal
from cloud.platform.properties import Property
from cloud.privacy.sealing import NoKeysError
from cloud.privacy.wrapping import UnreadableError
from cloud.public import guest_schema as schema
from cloud.public.gate import absent, property_for, stay_for
from cloud.public.reader import WallClock
from cloud.public.strict import strict_body
from kit.http import ProblemError
from protocols.errors import InvalidInputError

BODY_BYTES_MOST: Final = 8 * 1024
STAYS_MOST: Final = 200
_HOUSE: Final = "/properties/{property_id:str}"
_GUEST: Final = _HOUSE + "/guests/{guest_id:str}"
_READ: Final = {ACTION: "guest.read"}
_CURSOR: Final = re.compile(r"([0-9]{1,14})-(.{1,80})", re.DOTALL | re.ASCII)  # until the year 5138

Call = Request[Principal, Any, Any]


@dataclass(frozen=True, slots=True)
class GuestServices:
    """What the routes stand on."""

    database: Database
    profiles: Profiles
    audit: AuditDesk
    clock: WallClock


def guest_routes(services: GuestServices) -> Router:
    """Return the routes."""
    database, profiles = services.database, services.profiles

    async def record(caller: Principal, place: Property, guest: str, what: str) -> None:
        await services.audit.record(
            audit.Told(
                tenant=caller.tenant,
                actor=caller.name,
                action="guest.read",
                subject=guest,
                outcome=audit.Outcome.ALLOWED,
                at_ms=services.clock.wall_ms(),
                property_id=place.id,
                detail=what,
            )
        )

    async def profile(connection: Connection, place: Property, guest: str) -> Profile:
        with _unreadable():
            found = await profiles.one(connection, tenant=place.tenant, property_id=place.id, guest=guest)
        if found is None:
            raise absent()
        return found

    @get(_HOUSE + "/stays/{stay_id:str}/guest", summary="Who comes with a stay, for the desk", opt=_READ)
    async def of_stay(request: Call, property_id: FromPath[str], stay_id: FromPath[str]) -> schema.ArrivingGuest:
        async with database.snapshot() as connection:
            place, stay = await stay_for(connection, request.user, property_id, stay_id)
            which: dict[str, Any] = {"tenant": place.tenant, "property_id": place.id}
            guest = await guest_of_stay(connection, **which, stay=stay.id)
            if guest is None:
                raise absent()
        await record(request.user, place, guest, f"with the stay {stay.id}")
        async with database.snapshot() as connection:
            found = await profile(connection, place, guest)
            if found.name not in (None, stay.guest_name):  # taken over by another, and only a list has told so yet
                raise absent()
            before = await visits(connection, **which, guest=guest, before_stay=stay.id)
        return schema.ArrivingGuest(guest=guest, name=found.name, visit=before + 1, preferences=found.preferences)

    @get(_GUEST, summary="A guest: who he is, where he is now, what he likes", opt=_READ)
    async def one(request: Call, property_id: FromPath[str], guest_id: FromPath[str]) -> schema.Guest:
        async with database.snapshot() as connection:
            place = await property_for(connection, request.user, property_id)
        await record(request.user, place, guest_id, "profile")
        which: dict[str, Any] = {"tenant": place.tenant, "property_id": place.id, "guest": guest_id}
        async with database.snapshot() as connection:
            found = await profile(connection, place, guest_id)
            now = await current_stay(connection, **which)
            told = [] if now is None else await _views(connection, place.tenant, [now])
            came = await visits(connection, **which)
        return schema.Guest(
            guest=found.id,
            system=found.system,
            external_id=found.external_id,
            name=found.name,
            first_seen_at=iso(found.first_seen_at),
            visits=came,
            current_stay=told[0] if told else None,
            preferences=found.preferences,
        )

    @get(_GUEST + "/stays", summary="When a guest stayed and is to come, the latest first", opt=_READ)
    async def stays(
        request: Call,
        property_id: FromPath[str],
        guest_id: FromPath[str],
        limit: Annotated[int, QueryParameter(ge=1, le=STAYS_MOST)] = 50,
        before: Annotated[str | None, QueryParameter(max_length=100)] = None,
    ) -> schema.GuestStays:
        position = None if before is None else _position(before)
        async with database.snapshot() as connection:
            place = await property_for(connection, request.user, property_id)
        await record(request.user, place, guest_id, "stays")
        which: dict[str, Any] = {"tenant": place.tenant, "property_id": place.id}
        async with database.snapshot() as connection:
            await profile(connection, place, guest_id)
            page = await stays_of(connection, **which, guest=guest_id, most=limit, before=position)
            told = await _views(connection, place.tenant, page)
        last = page[-1] if len(page) == limit else None
        return schema.GuestStays(
            stays=told, next=None if last is None else f"{unix_ms(last.expected_from)}-{last.stay}"
        )

    @put(_GUEST + "/preferences", summary="Say what a guest likes of a room", opt={ACTION: "guest.change"})
    async def like(
        request: Call, property_id: FromPath[str], guest_id: FromPath[str], data: JSONBody[RoomPreferences]
    ) -> RoomPreferences:
        async with database.transaction() as connection:
            place = await property_for(connection, request.user, property_id)
            with _unreadable():
                kept = await profiles.set_preferences(
                    connection,
                    tenant=place.tenant,
                    property_id=place.id,
                    guest=guest_id,
                    preferences=data,
                    now_ms=services.clock.wall_ms(),
                )
        if not kept:
            raise absent()
        return data

    @delete(
        _GUEST, status_code=200, summary="Forget a guest, and keep nothing of him again", opt={ACTION: "guest.erase"}
    )
    async def erase(request: Call, property_id: FromPath[str], guest_id: FromPath[str]) -> schema.Erased:
        async with database.transaction() as connection:
            place = await property_for(connection, request.user, property_id)
            gone = await profiles.erase(
                connection,
                tenant=place.tenant,
                property_id=place.id,
                guest=guest_id,
                now_ms=services.clock.wall_ms(),
            )
        if gone is None:
            raise absent()
        return schema.Erased(properties=list(gone))

    return Router(
        "/api/v1",
        route_handlers=[of_stay, one, stays, like, erase],
        request_max_body_size=BODY_BYTES_MOST,
        before_request=strict_body,
    )


class _unreadable:  # noqa: N801 - reads as a block
    """Answers that what is sealed cannot be opened as a problem."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, (NoKeysError, UnreadableError)):
            detail = "What is kept of this guest cannot be read: the key that it is sealed under is not at hand."
            raise ProblemError(409, detail, kind="unreadable", reason="unreadable") from error


def _position(text: str) -> tuple[int, str]:
    found = _CURSOR.fullmatch(text)
    if found is None:
        raise InvalidInputError("before", f"{text!r} is not a cursor of this list")
    return int(found[1]), found[2]


async def _views(connection: Connection, tenant: str, page: list[PastStay]) -> list[schema.GuestStay]:
    check_ins = await check_ins_of(connection, tenant=tenant, stays=[(each.property, each.stay) for each in page])
    return [_view(each, check_ins.get((each.property, each.stay))) for each in page]


def _view(stay: PastStay, check_in: CheckIn | None) -> schema.GuestStay:
    return schema.GuestStay(
        property=stay.property,
        stay=stay.stay,
        number=stay.number,
        state=stay.state,
        pms_status=stay.pms_status,
        room=stay.room,
        room_type=stay.room_type,
        expected_from=iso(stay.expected_from),
        expected_until=iso(stay.expected_until),
        actual_in=iso(stay.actual_in),
        actual_out=iso(stay.actual_out),
        check_in=None
        if check_in is None
        else schema.GuestCheckIn(
            state=check_in.state,
            channel=check_in.channel,
            began_at=iso(check_in.began_at),
            ended_at=iso(check_in.ended_at),
        ),
    )
