"""The routes by which the main guest sees who has keys of the stay, and takes one back (door.md A7).

The building knows the keys; here is who may see which. A guest is whoever's link brought the request, and the link is
one phone's (decision 0066): that phone sees its own key, the stay's main one sees all and takes others back, nobody
sees a public key. Taken back is not gone: the answer names the doors that have yet to hear of it.
"""

import hashlib
import hmac
from typing import Annotated, Any, Final, Literal

import msgspec
from litestar import Request, get, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, JSONBody

from cloud.checkin import links
from cloud.kit.times import at, iso
from cloud.platform.access_policy import ACTION
from cloud.platform.principals import Principal, Role
from cloud.platform.properties import Property
from cloud.public.closing_routes import READ_EACH_MS, DoorServices, Withdrawn
from cloud.public.edge_answers import ask_edge, by_cloud, digest, refusal
from cloud.public.gate import absent, stay_for

REASON: Final = "taken back by the main guest"
BY_DESK: Final = "taken back at the desk"
LEEWAY_MS: Final = 600_000
"""So long after its end a lock may still take a key."""
_STAY: Final = "/properties/{property_id:str}/stays/{stay_id:str}"
_Key = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{16}\Z", examples=["0f1e2d3c4b5a6978"])]
_Ms = Annotated[int, msgspec.Meta(ge=0, le=2**53)]

Call = Request[Principal, Any, Any]


class TakeBackRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which key: `key` as the list names it."""

    key: _Key


class KeyUse(msgspec.Struct, frozen=True):
    """An opening. `certain` false: the lock did not know the time well."""

    at: str | None
    certain: bool
    door: str


class KeyWaitingDoor(msgspec.Struct, frozen=True):
    """A door that may still take a key that was taken back, or whose stay has ended.

    `contact_at`: when the house last heard from its lock.
    """

    door: str
    contact_at: str | None


class KeyElsewhere(msgspec.Struct, frozen=True):
    """A key in another maker's lock system, and how far its end or its making is known (protocols/door/SPEC.md 9.3)."""

    system: str
    medium: str
    state: str
    truth: str | None


class StayKey(msgspec.Struct, frozen=True):
    """One phone's keys of a stay.

    `main`: the phone that the stay is. `state` ended: its time is over, or its stay is. `used`: the last opening that
    the house has heard of. `waiting`: of a key taken back, or whose stay has ended, the doors that have not confirmed
    it; empty says that all of its doors know.
    """

    key: str
    mine: bool
    main: bool
    since: str | None
    until: str | None
    state: Literal["valid", "taken_back", "ended"]
    used: KeyUse | None
    doors: int
    waiting: list[KeyWaitingDoor]
    elsewhere: list[KeyElsewhere]


class StayKeyList(msgspec.Struct, frozen=True):
    """Who has keys. `takes_back`: the caller may take others' keys back, and this is all of them; else only its own."""

    takes_back: bool
    keys: list[StayKey]
    others: list[KeyElsewhere]


def stay_key_handlers(services: DoorServices) -> list[HTTPRouteHandler]:
    """Return the routes."""

    async def place_of(caller: Principal, property_id: str, stay_id: str) -> tuple[Property, bytes | None]:
        """Return the property and, of a guest, what tells his phone; None while his link is no phone's yet."""
        async with services.database.snapshot() as connection:
            found, _ = await stay_for(connection, caller, property_id, stay_id)
            if caller.role is not Role.GUEST:
                return found, None
            return found, None if caller.account is None else await links.phone_hash(connection, caller.account)

    async def held(caller: Principal, place: Property, stay_id: str, *, after: str = "") -> "_Held":
        args = {"stay": stay_id}
        key = f"stay-keys:{digest(args)}:{after}{services.clock.wall_ms() // READ_EACH_MS}"
        return await ask_edge(services.commands, caller, place, "stay_keys", args, key=key, answer=_Held)

    @get(_STAY + "/keys", summary="Who has keys of a stay, as far as the caller may see", opt={ACTION: "stay.keys"})
    async def stay_keys(request: Call, property_id: FromPath[str], stay_id: FromPath[str]) -> StayKeyList:
        place, phone = await place_of(request.user, property_id, stay_id)
        told = await held(request.user, place, stay_id)
        return _list(told, request.user, phone, services.clock.wall_ms())

    @post(
        _STAY + "/taken-back-keys",
        status_code=200,
        summary="Take back one phone's keys of a stay",
        opt={ACTION: "stay.keys"},
    )
    async def take_back(
        request: Call, property_id: FromPath[str], stay_id: FromPath[str], data: JSONBody[TakeBackRequest]
    ) -> StayKeyList:
        place, phone = await place_of(request.user, property_id, stay_id)
        told = await held(request.user, place, stay_id)
        is_guest = request.user.role is Role.GUEST
        mine = next((each for each in told.keys if _is_of(each, phone)), None)
        if is_guest and (mine is None or not mine.main or mine.withdrawn):
            raise refusal(403, "Only the main guest takes keys back; ask the front desk.", "not_main")
        key = next((each for each in told.keys if each.key == data.key), None)
        if key is None:
            raise absent()
        if is_guest and key is mine:
            raise refusal(409, "This is your own key: it ends with your stay, or at the front desk.", "own_key")
        args = {"stay": stay_id, "phone_public_key": key.phone, "by": by_cloud(request.user)}
        args["reason"] = REASON if is_guest else BY_DESK
        # withdrawn for good: asked again it is the same question, whoever lost the answer
        asked = f"take-back:{data.key}:{digest(args)}"
        await ask_edge(services.commands, request.user, place, "withdraw_key", args, key=asked, answer=Withdrawn)
        async with services.database.transaction() as connection:
            await links.end_of_phone(
                connection, place, stay_id, phone_public_key=key.phone, now_ms=services.clock.wall_ms()
            )
        told = await held(request.user, place, stay_id, after=f"{data.key}:")
        return _list(told, request.user, phone, services.clock.wall_ms())

    return [stay_keys, take_back]


class _Use(msgspec.Struct, frozen=True):
    at_ms: _Ms
    certain: bool
    label: str


class _Waiting(msgspec.Struct, frozen=True):
    label: str
    contact_at_ms: _Ms | None


class _Phone(msgspec.Struct, frozen=True):
    key: str
    phone: str
    main: bool
    since_ms: _Ms
    not_after_ms: _Ms
    withdrawn: bool
    used: _Use | None
    doors: int
    waiting: list[_Waiting]
    elsewhere: list[KeyElsewhere]
    ended: bool = False
    """Left out by a building of before, which shows a key by its time alone."""


class _Held(msgspec.Struct, frozen=True):
    keys: list[_Phone]
    others: list[KeyElsewhere]


def _is_of(key: _Phone, phone: bytes | None) -> bool:
    digest_of = hashlib.sha256(key.phone.lower().encode()).digest()
    return phone is not None and hmac.compare_digest(digest_of, phone)


def _list(told: _Held, caller: Principal, phone: bytes | None, now_ms: int) -> StayKeyList:
    """Return what the caller may see: staff and the main guest all of it, another guest his own key."""
    is_main = any(_is_of(each, phone) and each.main and not each.withdrawn for each in told.keys)
    sees_all = caller.role is not Role.GUEST or is_main
    keys = [_shown(each, now_ms, mine=_is_of(each, phone)) for each in told.keys if sees_all or _is_of(each, phone)]
    return StayKeyList(sees_all, keys, told.others if sees_all else [])


def _shown(key: _Phone, now_ms: int, *, mine: bool) -> StayKey:
    is_over = key.ended or key.not_after_ms + LEEWAY_MS <= now_ms
    used = key.used
    return StayKey(
        key=key.key,
        mine=mine,
        main=key.main,
        since=iso(at(key.since_ms)),
        until=iso(at(key.not_after_ms)),
        state="taken_back" if key.withdrawn else "ended" if is_over else "valid",
        used=None if used is None else KeyUse(iso(at(used.at_ms)), used.certain, used.label),
        doors=key.doors,
        waiting=[
            KeyWaitingDoor(each.label, None if each.contact_at_ms is None else iso(at(each.contact_at_ms)))
            for each in key.waiting
        ],
        elsewhere=key.elsewhere,
    )
