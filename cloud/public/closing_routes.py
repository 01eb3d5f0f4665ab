"""The routes that take rights away, and write cards: lost phones, sealed and inhibited rooms, keys for an outage.

The building judges, signs and tells its doors; here is who may ask for it (Cedar), that what is named exists, and that
it is audited. An order is done when the doors have confirmed it, which `closings` tells; never when it was answered.
"""

from dataclasses import dataclass
from typing import Annotated, Any, Final, TypeVar

import msgspec
from litestar import Request, get, post
from litestar.params import FromPath, JSONBody

from cloud.checkin.sessions import Sessions
from cloud.fleet.commands import Commands
from cloud.kit.database import Database
from cloud.kit.times import at, iso
from cloud.platform.access_policy import ACTION
from cloud.platform.principals import Principal
from cloud.platform.properties import Property
from cloud.public.checkin_routes import by_of
from cloud.public.edge_answers import ask_edge, by_cloud, digest, refusal
from cloud.public.gate import absent, property_for, stay_for
from cloud.public.reader import WallClock
from cloud.stays.rooms import rooms_of
from protocols.door.vendor_keys import VendorMedium, VendorState, vendor_keys_of
from protocols.errors import InvalidInputError

READ_EACH_MS: Final = 5_000
"""Read twice within it, the building is asked once."""
_HOUSE: Final = "/properties/{property_id:str}"
_STAY: Final = _HOUSE + "/stays/{stay_id:str}"
_ROOM: Final = _HOUSE + "/rooms/{room_id:str}"

Point = Annotated[str, msgspec.Meta(pattern=r"^0[23][0-9a-f]{64}\Z", examples=["03cf" + "ab" * 31])]
Name = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9-]{0,39}\Z", examples=["maria"])]
Key = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9._:-]{8,80}\Z", examples=["shift-2026-11-21-maria"])]
RoomName = Annotated[str, msgspec.Meta(min_length=1, max_length=40, examples=["101"])]
Why = Annotated[str, msgspec.Meta(min_length=3, max_length=200, examples=["lost at the beach"])]
_Ms = Annotated[int, msgspec.Meta(ge=0, le=2**53)]

Call = Request[Principal, Any, Any]
_Answer = TypeVar("_Answer")


class WithdrawalRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Take away the key of one phone of a stay, or, without `phone_public_key`, of all of them."""

    reason: Why
    idempotency_key: Key
    phone_public_key: Point | None = None


class StaffWithdrawalRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Take away a person's keys, emergency keys among them; of one phone alone, if it is named."""

    person: Name
    reason: Why
    idempotency_key: Key
    phone_public_key: Point | None = None


class LockoutRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Seal a room: nobody but the holder of an emergency key opens it. `sealed` false lifts it."""

    sealed: bool
    reason: Why
    idempotency_key: Key


class InhibitionRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """End every key ever handed out for a room; who is in house asks for a new one."""

    reason: Why
    idempotency_key: Key


class FailsafeRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A key for an outage, for a phone or token in the safe and a room that nobody is in: 7 days ahead at most."""

    room: RoomName
    phone_public_key: Point
    not_after_ms: _Ms
    idempotency_key: Key
    life_hours: Annotated[int, msgspec.Meta(ge=1, le=72)] = 24


class CardRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A card lies on the encoder; `encoder` names it where it is not the one of the building's settings."""

    idempotency_key: Key
    encoder: Annotated[str, msgspec.Meta(min_length=1, max_length=80, examples=["desk-1"])] | None = None


class Withdrawn(msgspec.Struct, frozen=True):
    """What was withdrawn: grants by id, foreign lock systems by name; and how many doors know of it."""

    grants: list[str]
    lock_systems: list[str]
    doors: int
    confirmed: int


class Doors(msgspec.Struct, frozen=True):
    """The doors concerned."""

    doors: list[str]


class StayPhone(msgspec.Struct, frozen=True):
    """A phone that holds keys of a stay. `join`: it came beside the first."""

    phone: str
    grant: str
    join: bool
    not_before: str | None
    not_after: str | None
    withdrawn: bool


class StayPhones(msgspec.Struct, frozen=True):
    """The phones of a stay."""

    phones: list[StayPhone]


class WaitingDoor(msgspec.Struct, frozen=True):
    """A door that has not confirmed the newest list. `unable`: its firmware does not know what it is told."""

    door: str
    room: str
    contact_at: str | None
    unable: str | None


class SealedDoor(msgspec.Struct, frozen=True):
    """A door that is sealed, or is to be: done when `confirmed`."""

    door: str
    room: str
    sealed: bool
    confirmed: bool
    contact_at: str | None
    unable: str | None


class WithdrawnGrant(msgspec.Struct, frozen=True):
    """A grant on the list until its own end."""

    grant: str
    until: str | None


class Closings(msgspec.Struct, frozen=True):
    """What is withdrawn and sealed, and which doors have still to hear of it: `waiting` of `doors`, 100 by name.

    `signed` false: the building's clock is not sound, and the list is signed once it is. `unlisted`: keys of guests who
    left early that found no place on the list, and open common doors until each ends, the last at `unlisted_until`.
    """

    signed: bool
    withdrawn: list[WithdrawnGrant]
    unlisted: int
    unlisted_until: str | None
    issuers: list[str]
    doors: int
    waiting: int
    waiting_doors: list[WaitingDoor]
    sealed: list[SealedDoor]


class KeyStanding(msgspec.Struct, frozen=True):
    """How a key in a foreign lock system stands (protocols/door/SPEC.md 9.3); without what opens a door."""

    system: str
    rooms: list[str]
    medium: VendorMedium
    state: VendorState
    truth: str | None
    problem: str | None


class KeyStandings(msgspec.Struct, frozen=True):
    """The cards of a stay."""

    keys: list[KeyStanding]


class KeyBundle(msgspec.Struct, frozen=True):
    """The bundle for the phone that the key was made for (protocols/door/SPEC.md 9.3). Secret."""

    bundle: dict[str, Any]


@dataclass(frozen=True, slots=True)
class DoorServices:
    """What the routes need."""

    database: Database
    commands: Commands
    clock: WallClock
    sessions: Sessions


def closing_handlers(services: DoorServices) -> list[Any]:
    """Return the route handlers."""
    database, clock = services.database, services.clock

    async def order(
        caller: Principal, place: Property, kind: str, asked: dict[str, Any], answer: type[_Answer]
    ) -> _Answer:
        args = {name: value for name, value in asked.items() if value is not None} | {"by": by_cloud(caller)}
        key = f"{kind.replace('_', '-')}:{args.pop('idempotency_key')}:{digest(args)}"
        return await ask_edge(services.commands, caller, place, kind, args, key=key, answer=answer)

    async def question(
        caller: Principal, place: Property, kind: str, args: dict[str, Any], answer: type[_Answer]
    ) -> _Answer:
        key = f"{kind.replace('_', '-')}:{digest(args)}:{clock.wall_ms() // READ_EACH_MS}"
        return await ask_edge(services.commands, caller, place, kind, args, key=key, answer=answer)

    async def house(caller: Principal, property_id: str) -> Property:
        async with database.snapshot() as connection:
            return await property_for(connection, caller, property_id)

    async def of_stay(caller: Principal, property_id: str, stay_id: str) -> Property:
        async with database.snapshot() as connection:
            return (await stay_for(connection, caller, property_id, stay_id))[0]

    async def of_room(caller: Principal, property_id: str, room_id: str) -> Property:
        async with database.snapshot() as connection:
            found = await property_for(connection, caller, property_id)
            known = await rooms_of(connection, tenant=found.tenant, property_id=found.id)
        if room_id not in {room["id"] for room in known}:
            raise absent()
        return found

    @get(_STAY + "/phones", summary="The phones that hold keys of a stay", opt={ACTION: "key.read"})
    async def phones(request: Call, property_id: FromPath[str], stay_id: FromPath[str]) -> StayPhones:
        found = await of_stay(request.user, property_id, stay_id)
        told = await question(request.user, found, "stay_phones", {"stay": stay_id}, _Phones)
        return StayPhones(
            [
                StayPhone(each.phone, each.grant, each.join, _iso(each.not_before_ms), _iso(each.not_after_ms),
                          each.withdrawn)
                for each in told.phones
            ]
        )  # fmt: skip

    @post(
        _STAY + "/withdrawn-keys",
        status_code=200,
        summary="Take away the keys of a stay's phone, or of all its phones",
        opt={ACTION: "key.withdraw"},
    )
    async def withdraw(
        request: Call, property_id: FromPath[str], stay_id: FromPath[str], data: JSONBody[WithdrawalRequest]
    ) -> Withdrawn:
        found = await of_stay(request.user, property_id, stay_id)
        asked = msgspec.to_builtins(data) | {"stay": stay_id}
        return await order(request.user, found, "withdraw_key", asked, Withdrawn)

    @post(
        _HOUSE + "/withdrawn-staff-keys",
        status_code=200,
        summary="Take away a person's keys",
        opt={ACTION: "staff_key.issue"},
    )
    async def withdraw_staff(
        request: Call, property_id: FromPath[str], data: JSONBody[StaffWithdrawalRequest]
    ) -> Withdrawn:
        found = await house(request.user, property_id)
        return await order(request.user, found, "withdraw_key", msgspec.to_builtins(data), Withdrawn)

    @post(
        _ROOM + "/lockout",
        status_code=200,
        summary="Seal a room for all but emergency keys, or lift that",
        opt={ACTION: "room.seal"},
    )
    async def lock_out(
        request: Call, property_id: FromPath[str], room_id: FromPath[str], data: JSONBody[LockoutRequest]
    ) -> Doors:
        found = await of_room(request.user, property_id, room_id)
        asked = msgspec.to_builtins(data) | {"room": room_id}
        return await order(request.user, found, "lock_out", asked, Doors)

    @post(
        _ROOM + "/inhibition",
        status_code=200,
        summary="End every key ever handed out for a room",
        opt={ACTION: "room.inhibit"},
    )
    async def inhibit(
        request: Call, property_id: FromPath[str], room_id: FromPath[str], data: JSONBody[InhibitionRequest]
    ) -> Doors:
        found = await of_room(request.user, property_id, room_id)
        asked = msgspec.to_builtins(data) | {"room": room_id}
        return await order(request.user, found, "inhibit", asked, Doors)

    @post(
        _HOUSE + "/failsafe-keys",
        status_code=200,
        summary="Make a key for an outage, to lie in the safe",
        opt={ACTION: "failsafe_key.issue"},
    )
    async def failsafe(request: Call, property_id: FromPath[str], data: JSONBody[FailsafeRequest]) -> KeyBundle:
        found = await house(request.user, property_id)
        return await order(request.user, found, "failsafe_key", msgspec.to_builtins(data), KeyBundle)

    @get(
        _HOUSE + "/closings",
        summary="What is withdrawn and sealed, and which doors have still to hear of it",
        opt={ACTION: "key.read"},
    )
    async def closings(request: Call, property_id: FromPath[str]) -> Closings:
        found = await house(request.user, property_id)
        told = await question(request.user, found, "door_closings", {}, _Closings)
        return Closings(
            signed=told.signed,
            withdrawn=[WithdrawnGrant(each.grant, _iso(each.until_ms)) for each in told.withdrawn],
            unlisted=told.unlisted,
            unlisted_until=_iso(told.unlisted_until_ms),
            issuers=[each.kid for each in told.issuers],
            doors=told.doors,
            waiting=told.waiting,
            waiting_doors=[
                WaitingDoor(each.door, each.room, _iso(each.contact_at_ms), each.unable) for each in told.waiting_doors
            ],
            sealed=[
                SealedDoor(each.door, each.room, each.sealed, each.confirmed, _iso(each.contact_at_ms), each.unable)
                for each in told.sealed
            ],
        )

    @post(
        _STAY + "/key-cards",
        status_code=200,
        summary="Write the card of a stay that lies on the encoder",
        opt={ACTION: "key.card"},
    )
    async def key_cards(
        request: Call, property_id: FromPath[str], stay_id: FromPath[str], data: JSONBody[CardRequest]
    ) -> KeyStandings:
        found = await of_stay(request.user, property_id, stay_id)
        asked = msgspec.to_builtins(data) | {"stay": stay_id}
        told = await order(request.user, found, "key_cards", asked, _Keys)
        try:
            keys = vendor_keys_of({"v": 1, "vendor_keys": told.keys})
        except InvalidInputError as error:
            raise refusal(502, f"the building's answer is not of its form: {error}", "strange") from error
        await services.sessions.keys_given(found, stay_id, by=by_of(request.user), keys=keys)
        return KeyStandings(
            [
                KeyStanding(each.system, list(each.rooms), each.medium, each.state, each.truth, each.problem)
                for each in keys
            ]
        )

    return [phones, withdraw, withdraw_staff, lock_out, inhibit, failsafe, closings, key_cards]


class _Phone(msgspec.Struct, frozen=True):
    phone: str
    grant: str
    join: bool
    not_before_ms: _Ms
    not_after_ms: _Ms
    withdrawn: bool


class _Phones(msgspec.Struct, frozen=True):
    phones: list[_Phone]


class _Named(msgspec.Struct, frozen=True):
    until_ms: _Ms
    grant: str = ""
    kid: str = ""


class _Door(msgspec.Struct, frozen=True):
    door: str
    room: str
    contact_at_ms: _Ms | None
    unable: str | None = None
    sealed: bool = False
    confirmed: bool = False


class _Closings(msgspec.Struct, frozen=True):
    signed: bool
    withdrawn: list[_Named]
    issuers: list[_Named]
    doors: int
    waiting: int
    waiting_doors: list[_Door]
    sealed: list[_Door]
    unlisted: Annotated[int, msgspec.Meta(ge=0)] = 0
    unlisted_until_ms: _Ms | None = None


class _Keys(msgspec.Struct, frozen=True):
    keys: list[dict[str, Any]]


def _iso(ms: int | None) -> str | None:
    return None if ms is None else iso(at(ms))
