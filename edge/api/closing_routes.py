"""The routes that take rights away, and write cards: lost phones, sealed and inhibited rooms, keys for an outage.

Version 1, behind the token. An order names who wants it and why; nothing here opens a door, and none is shown as done
before its door said so (edge/doors/closing_desk.py). The cloud's commands of the same kinds take the same bodies.
"""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final, Protocol

import msgspec
from litestar import get, post
from litestar.params import FromPath, JSONBody

from edge.api.token import ALSO_OPT, DESK
from kit.logs import logger
from protocols.device_model.identity import (
    ACTOR_CHARACTERS_MAX,
    RoomId,
    StayId,
    parse_actor,
    parse_name,
    parse_room_id,
    parse_stay_id,
)
from protocols.errors import InvalidInputError

MILLISECONDS_MOST: Final = 2**53
WAITING_SHOWN_MOST: Final = 100

_By = Annotated[str, msgspec.Meta(min_length=1, max_length=ACTOR_CHARACTERS_MAX)]
_Why = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
_Point = Annotated[str, msgspec.Meta(pattern=r"^0[23][0-9a-f]{64}\Z")]
_Grant = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{16}\Z")]


class ClosingDoors(Protocol):
    """The doors process, as these routes ask it (edge/doors/client.py in production)."""

    async def key_cards(self, stay: StayId, *, encoder: str | None = None) -> list[dict[str, Any]]:
        """Write the first card of a stay that waits; return how all its cards stand."""
        ...

    async def withdraw_key(
        self,
        *,
        by: str,
        reason: str,
        grant: str | None = None,
        stay: StayId | None = None,
        person: str | None = None,
        phone_public_key: bytes | None = None,
    ) -> dict[str, Any]:
        """Withdraw a phone's keys."""
        ...

    async def lock_out(self, room: RoomId, *, sealed: bool, by: str, reason: str) -> list[str]:
        """Seal a room, or lift that; return its doors."""
        ...

    async def inhibit(self, room: RoomId, *, by: str, reason: str) -> list[str]:
        """End every key of a room; return its doors."""
        ...

    async def issue_failsafe(
        self, room: RoomId, phone_public_key: bytes, *, not_after_ms: int, life_hours: int = 24
    ) -> dict[str, Any]:
        """Return the bundle of a key for an outage."""
        ...

    async def revocations(self) -> dict[str, Any]:
        """Return what is withdrawn and sealed, and which door has confirmed it."""
        ...

    async def phones(self, stay: StayId) -> list[dict[str, Any]]:
        """Return the phones that hold keys of a stay."""
        ...

    async def stay_keys(self, stay: StayId) -> dict[str, Any]:
        """Return who has keys of a stay, since when, last used, and which doors have yet to hear of a withdrawal."""
        ...


class KeyCardsBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """POST doors/key-cards: a card lies on the encoder (the one of the settings, if none is named)."""

    stay: str
    by: _By
    encoder: Annotated[str, msgspec.Meta(min_length=1, max_length=80)] | None = None


class WithdrawnKeyBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """POST doors/withdrawn-keys: by one of grant, stay and person; of a stay or person, `phone_public_key` alone."""

    reason: _Why
    by: _By
    grant: _Grant | None = None
    stay: str | None = None
    person: str | None = None
    phone_public_key: _Point | None = None


class WithdrawnOfStayBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """POST stays/{stay}/withdrawn-keys: the keys of one of a stay's phones; all that the desk may take back."""

    reason: _Why
    by: _By
    phone_public_key: _Point


class LockoutBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """POST doors/lockouts: nobody but the holder of an emergency key opens the room; `sealed` false lifts it."""

    room: str
    sealed: bool
    reason: _Why
    by: _By


class InhibitionBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """POST doors/inhibitions: every key ever handed out for the room ends."""

    room: str
    reason: _Why
    by: _By


class FailsafeBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """POST doors/failsafe-keys: a key in the safe; its hours begin with its first opening."""

    room: str
    phone_public_key: _Point
    not_after_ms: Annotated[int, msgspec.Meta(ge=0, le=MILLISECONDS_MOST)]
    by: _By
    life_hours: Annotated[int, msgspec.Meta(ge=1, le=72)] = 24


class NoBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Nothing: of the command `door_closings`."""


class StayBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Of the commands `stay_phones` and `stay_keys`."""

    stay: str


async def write_card(doors: ClosingDoors, asked: KeyCardsBody) -> dict[str, Any]:
    """Return how the stay's cards stand, after writing the first that waits."""
    return {"keys": await doors.key_cards(parse_stay_id(asked.stay), encoder=asked.encoder)}


async def withdraw(doors: ClosingDoors, asked: WithdrawnKeyBody) -> dict[str, Any]:
    """Return the grants and foreign systems concerned, and how far the doors know. Raises InvalidInputError."""
    if sum(each is not None for each in (asked.grant, asked.stay, asked.person)) != 1:
        raise InvalidInputError("withdrawn-keys", "name one of grant, stay and person")
    if asked.grant is not None and asked.phone_public_key is not None:
        raise InvalidInputError("phone_public_key", "a grant is one phone's: name it alone")
    phone = asked.phone_public_key
    told = await doors.withdraw_key(
        by=parse_actor(asked.by),
        reason=asked.reason,
        grant=asked.grant,
        stay=None if asked.stay is None else parse_stay_id(asked.stay),
        person=None if asked.person is None else parse_name(asked.person, "person"),
        phone_public_key=None if phone is None else bytes.fromhex(phone),
    )
    return {
        "grants": told["grants"],
        "lock_systems": told.get("lock_systems", []),
        "doors": len(told["doors"]),
        "confirmed": sum(each["confirmed"] for each in told["doors"]),
    }


async def lock_out(doors: ClosingDoors, asked: LockoutBody) -> dict[str, Any]:
    """Return the doors that are to be sealed, or no longer."""
    room, by = parse_room_id(asked.room), parse_actor(asked.by)
    return {"doors": await doors.lock_out(room, sealed=asked.sealed, by=by, reason=asked.reason)}


async def inhibit(doors: ClosingDoors, asked: InhibitionBody) -> dict[str, Any]:
    """Return the doors of ours whose keys end; those of foreign systems end too, and have no name here."""
    return {"doors": await doors.inhibit(parse_room_id(asked.room), by=parse_actor(asked.by), reason=asked.reason)}


async def failsafe(doors: ClosingDoors, asked: FailsafeBody) -> dict[str, Any]:
    """Return the bundle for the phone or token in the safe: secret."""
    parse_actor(asked.by)
    bundle = await doors.issue_failsafe(
        parse_room_id(asked.room),
        bytes.fromhex(asked.phone_public_key),
        not_after_ms=asked.not_after_ms,
        life_hours=asked.life_hours,
    )
    return {"bundle": bundle}


async def closings(doors: ClosingDoors) -> dict[str, Any]:
    """Return what is withdrawn and sealed, and which doors have still to hear of it: short enough for one answer."""
    return shown(await doors.revocations())


async def phones(doors: ClosingDoors, asked: StayBody) -> dict[str, Any]:
    """Return the phones that hold keys of a stay."""
    return {"phones": await doors.phones(parse_stay_id(asked.stay))}


async def stay_keys(doors: ClosingDoors, asked: StayBody) -> dict[str, Any]:
    """Return who has keys of a stay."""
    told = await doors.stay_keys(parse_stay_id(asked.stay))
    return {"keys": told["keys"], "others": told["others"]}


def shown(told: Mapping[str, Any]) -> dict[str, Any]:
    """Return the doors' word without those that have nothing to say; doors that wait are cut to a hundred. Pure."""
    named = bool(told["withdrawn"] or told["issuers"])
    waiting = [each for each in told["doors"] if named and not each["confirmed"]]
    unlisted = told.get("unlisted", ())
    sealed = [each for each in told["doors"] if each.get("sealed") or not each.get("sealed_confirmed", True)]
    sealed += told.get("sealed_elsewhere", ())
    return {
        "signed": told["signed"] or not named,
        "withdrawn": [{"grant": grant, "until_ms": until_ms} for grant, until_ms in told["withdrawn"]],
        "unlisted": len(unlisted),
        "unlisted_until_ms": max((until_ms for _, until_ms in unlisted), default=None),
        "issuers": [{"kid": kid, "until_ms": until_ms} for kid, until_ms in told["issuers"]],
        "doors": len(told["doors"]),
        "waiting": len(waiting),
        "waiting_doors": [_door(each) for each in waiting[:WAITING_SHOWN_MOST]],
        "sealed": [{**_door(each), "sealed": each["sealed"], "confirmed": each["sealed_confirmed"]} for each in sealed],
    }


def _door(each: Mapping[str, Any]) -> dict[str, Any]:
    names = ("door", "room", "contact_at_ms")
    return {**{name: each[name] for name in names}, "unable": each.get("unable")}


def closing_handlers(there: Callable[[], ClosingDoors]) -> list[Any]:
    """Return the route handlers; `there` raises where there is no doors process."""
    log = logger("edge.api.doors")

    @post("/api/v1/doors/key-cards", status_code=200, name="key-cards")
    async def key_cards(data: JSONBody[KeyCardsBody]) -> dict[str, Any]:
        told = await write_card(there(), data)
        log.info("key_card_written", stay=data.stay, by=parse_actor(data.by))
        return told

    @post("/api/v1/doors/withdrawn-keys", status_code=200, name="withdrawn-keys")
    async def withdrawn_keys(data: JSONBody[WithdrawnKeyBody]) -> dict[str, Any]:
        return await withdraw(there(), data)

    @post("/api/v1/doors/lockouts", status_code=200, name="lockouts")
    async def lockouts(data: JSONBody[LockoutBody]) -> dict[str, Any]:
        return await lock_out(there(), data)

    @post("/api/v1/doors/inhibitions", status_code=200, name="inhibitions")
    async def inhibitions(data: JSONBody[InhibitionBody]) -> dict[str, Any]:
        return await inhibit(there(), data)

    @post("/api/v1/doors/failsafe-keys", status_code=200, name="failsafe-keys")
    async def failsafe_keys(data: JSONBody[FailsafeBody]) -> dict[str, Any]:
        told = await failsafe(there(), data)
        log.warning("failsafe_key_issued", room=data.room, by=data.by)
        return told

    @get("/api/v1/doors/closings", name="closings")
    async def read_closings() -> dict[str, Any]:
        return await closings(there())

    @get("/api/v1/stays/{stay:str}/phones", name="stay-phones")
    async def stay_phones(stay: FromPath[str]) -> dict[str, Any]:
        return await phones(there(), StayBody(stay))

    @get("/api/v1/stays/{stay:str}/keys", name="stay-keys", opt={ALSO_OPT: DESK})
    async def keys_of_stay(stay: FromPath[str]) -> dict[str, Any]:
        return await stay_keys(there(), StayBody(stay))

    @post("/api/v1/stays/{stay:str}/withdrawn-keys", status_code=200, name="stay-withdrawn-keys", opt={ALSO_OPT: DESK})
    async def withdrawn_of_stay(stay: FromPath[str], data: JSONBody[WithdrawnOfStayBody]) -> dict[str, Any]:
        asked = WithdrawnKeyBody(data.reason, data.by, stay=stay, phone_public_key=data.phone_public_key)
        return await withdraw(there(), asked)

    return [
        *(key_cards, withdrawn_keys, lockouts, inhibitions, failsafe_keys, read_closings),
        *(stay_phones, keys_of_stay, withdrawn_of_stay),
    ]
