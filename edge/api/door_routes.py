"""The routes of the doors, version 1: what phones bring from locks, shift keys, emergency keys, closing_routes.py.

`carried` needs no token: a guest's phone on the house's own network has none, and what it brings is judged by the
lock's signature alone (edge/doors/intake.py). It is bounded and throttled instead. Everything else asks for the token.

An emergency key needs two officers: each signs the draft's statement with a key of his own, and the doors process - and
after it every lock - counts two different ones. Nobody who holds the token alone can have one made.
"""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Annotated, Any, Final, Protocol

import msgspec
from litestar import Request, Response, Router, post
from litestar.params import JSONBody

from edge.api.closing_routes import ClosingDoors, closing_handlers
from kit.clock import Clock
from kit.http import OPEN, ProblemError, problem
from kit.logs import logger
from protocols.device_model.identity import ACTOR_CHARACTERS_MAX, RoomId, parse_actor, parse_name, parse_room_id
from protocols.errors import InvalidInputError, PlatformError

CARRIED_AT_ONCE: Final = 30
CARRIED_EACH_S: Final = 10
"""Requests of strangers: so many at once, and so many a second in the long run."""
CHUNKS_MOST: Final = 8
LOCKS_MOST: Final = 16
"""At once; what the doors process takes."""
MILLISECONDS_MOST: Final = 2**53
ROOMS_MOST: Final = 64

_By = Annotated[str, msgspec.Meta(min_length=1, max_length=ACTOR_CHARACTERS_MAX)]
_Point = Annotated[str, msgspec.Meta(pattern=r"^0[23][0-9a-f]{64}\Z")]
_Grant = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{16}\Z")]
_Rooms = Annotated[list[str], msgspec.Meta(max_length=ROOMS_MOST)]
_Ms = Annotated[int, msgspec.Meta(ge=0, le=MILLISECONDS_MOST)]
_Minute = Annotated[int, msgspec.Meta(ge=0, le=1_439)]
_Zones = Annotated[int, msgspec.Meta(ge=0, lt=2**53)] | Annotated[str, msgspec.Meta(pattern=r"^0x[0-9a-f]{1,16}\Z")]


class KeyedDoors(ClosingDoors, Protocol):
    """The doors process, as these routes ask it (edge/doors/client.py in production)."""

    async def bring(
        self, chunks: Sequence[tuple[str, bytes]], locks: Sequence[str]
    ) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Hand over what a phone brings."""
        ...

    async def open_remotely(self, request: bytes) -> dict[str, Any]:
        """Hand over a phone's request to open a door from afar."""
        ...

    async def issue_staff(
        self,
        person: str,
        rooms: Sequence[RoomId],
        phone_public_key: bytes,
        *,
        not_after_ms: int,
        zones: int = 0,
        shift: tuple[int, int, int] | None = None,
        user_verified: bool = True,
        passage: bool = False,
    ) -> dict[str, Any]:
        """Return the bundle of a shift key."""
        ...

    async def draft_emergency(
        self, person: str, rooms: Sequence[RoomId], phone_public_key: bytes, *, reason: str, over_privacy: bool
    ) -> dict[str, Any]:
        """Return what two officers are to sign."""
        ...

    async def drop_emergency(self, grant: str, *, by: str) -> dict[str, bool]:
        """Take a draft back; return whether there was one (`dropped`), and whether it is a key by now (`issued`)."""
        ...

    async def issue_emergency(self, grant: str, approvals: Sequence[tuple[bytes, bytes]]) -> dict[str, Any]:
        """Return the bundle of an approved draft."""
        ...


class BroughtChunk(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One sealed chunk, base64, of the lock in hexadecimal."""

    lock: str
    sealed: bytes


class CarriedBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """POST doors/carried: sealed chunks, base64, and the locks (16 hex digits) whose standing is asked."""

    chunks: Annotated[list[BroughtChunk], msgspec.Meta(max_length=CHUNKS_MOST)] = []
    locks: Annotated[list[str], msgspec.Meta(max_length=LOCKS_MOST)] = []


class ShiftBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Working hours, UTC: bit 0 of `days` is Monday, minutes of the day."""

    days: Annotated[int, msgspec.Meta(ge=1, le=127)]
    from_minute: _Minute
    to_minute: _Minute


class StaffKeyBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """POST doors/staff-keys: the keys of one shift for one phone. `zones` is a mask of common doors.

    From bit 53 on it is written in hexadecimal digits behind 0x: as a number, who reads JSON may have rounded it.
    `passage`: it may hold those open until the shift ends (protocols/door/SPEC.md 11); then it is for no room.
    """

    person: str
    phone_public_key: _Point
    not_after_ms: _Ms
    by: _By
    rooms: _Rooms = []
    zones: _Zones = 0
    shift: ShiftBody | None = None
    user_verified: bool = True
    passage: bool = False

    @property
    def zone_mask(self) -> int:
        """The zones as a number."""
        return self.zones if isinstance(self.zones, int) else int(self.zones, 16)


class EmergencyDraftBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """POST doors/emergency-drafts: what two officers shall approve."""

    person: str
    phone_public_key: _Point
    reason: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    over_privacy: bool
    by: _By
    rooms: _Rooms


class ApprovalBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One officer's: the id of the key (8 hex digits) and its ES256 over the statement (128)."""

    officer: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{8}\Z")]
    signature: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{128}\Z")]


class EmergencyKeyBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """POST doors/emergency-keys: a draft, approved by two."""

    grant: _Grant
    approvals: Annotated[list[ApprovalBody], msgspec.Meta(min_length=2, max_length=2)]
    by: _By


class DroppedDraftBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """POST doors/dropped-drafts: the draft is taken back."""

    grant: _Grant
    by: _By


class Throttle:
    """A bucket of requests that fills by the clock."""

    def __init__(self, clock: Clock, *, most: int = CARRIED_AT_ONCE, each_s: int = CARRIED_EACH_S) -> None:
        self._clock, self._most, self._each_s = clock, most, each_s
        self._left, self._at_ms = float(most), clock.now_ms()

    def take(self) -> bool:
        """Take one, if there is one."""
        now_ms = self._clock.now_ms()
        self._left = min(self._most, self._left + (now_ms - self._at_ms) / 1_000 * self._each_s)
        self._at_ms = now_ms
        if self._left < 1:
            return False
        self._left -= 1
        return True


def door_routes(doors: KeyedDoors | None, *, clock: Clock, not_now: Sequence[type[PlatformError]] = ()) -> list[Router]:
    """Return the routes; without a doors process each answers that there is none.

    `not_now` are refusals of the doors that pass by themselves, such as a clock that is not sound.
    """
    throttle = Throttle(clock)
    log = logger("edge.api.doors")

    def there() -> KeyedDoors:
        if doors is None:
            raise ProblemError(404, "this edge has no doors process", kind="no-doors")
        return doors

    @post("/api/v1/doors/carried", status_code=200, name="doors-carried", opt={OPEN: True})
    async def carried(data: JSONBody[CarriedBody]) -> dict[str, Any]:
        found = there()
        if not throttle.take():
            answer = ProblemError(429, "too many at once; bring it again in a second", kind="busy", retryable=True)
            answer.headers = {"Retry-After": "1"}
            raise answer
        taken, locks = await found.bring([(each.lock, each.sealed) for each in data.chunks], data.locks)
        return {"taken": taken, "locks": locks}

    @post("/api/v1/doors/staff-keys", status_code=200, name="staff-key")
    async def staff_key(data: JSONBody[StaffKeyBody]) -> dict[str, Any]:
        person, by = parse_name(data.person, "person"), parse_actor(data.by)
        shift = None if data.shift is None else (data.shift.days, data.shift.from_minute, data.shift.to_minute)
        bundle = await there().issue_staff(
            person,
            [parse_room_id(room) for room in data.rooms],
            bytes.fromhex(data.phone_public_key),
            not_after_ms=data.not_after_ms,
            zones=data.zone_mask,
            shift=shift,
            user_verified=data.user_verified,
            passage=data.passage,
        )
        log.info("staff_key_issued", person=person, by=by, doors=len(bundle["doors"]), passage=data.passage)
        return {"bundle": bundle}

    @post("/api/v1/doors/emergency-drafts", status_code=200, name="emergency-draft")
    async def emergency_draft(data: JSONBody[EmergencyDraftBody]) -> dict[str, Any]:
        by = parse_actor(data.by)
        draft = await there().draft_emergency(
            parse_name(data.person, "person"),
            [parse_room_id(room) for room in data.rooms],
            bytes.fromhex(data.phone_public_key),
            reason=data.reason,
            over_privacy=data.over_privacy,
        )
        log.warning("emergency_drafted", grant=draft["grant"], by=by, reason=data.reason, doors=draft["doors"])
        return draft

    @post("/api/v1/doors/emergency-keys", status_code=200, name="emergency-key")
    async def emergency_key(data: JSONBody[EmergencyKeyBody]) -> dict[str, Any]:
        by = parse_actor(data.by)
        approvals = two_approvals([(each.officer, each.signature) for each in data.approvals])
        bundle = await there().issue_emergency(data.grant, approvals)
        log.warning(
            "emergency_key_handed_over", grant=data.grant, by=by, officers=[each.hex() for each, _ in approvals]
        )
        return {"bundle": bundle}

    @post("/api/v1/doors/dropped-drafts", status_code=200, name="dropped-draft")
    async def dropped_draft(data: JSONBody[DroppedDraftBody]) -> dict[str, Any]:
        return await there().drop_emergency(data.grant, by=parse_actor(data.by))

    return [
        Router(
            "/",
            route_handlers=[
                carried,
                staff_key,
                emergency_draft,
                emergency_key,
                dropped_draft,
                *closing_handlers(there),
            ],
            exception_handlers=dict.fromkeys(not_now, _on_not_now),
        )
    ]


def two_approvals(given: Sequence[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    """Return both officers' key ids and signatures. Raises InvalidInputError: they are not two officers."""
    if len({officer for officer, _ in given}) != 2:
        raise InvalidInputError("approvals", "want two different officers: nobody opens rooms alone")
    try:
        return [(bytes.fromhex(officer), bytes.fromhex(signature)) for officer, signature in given]
    except ValueError:
        raise InvalidInputError("approvals", "not hexadecimal") from None


def _on_not_now(_: Request[Any, Any, Any], error: PlatformError) -> Response[bytes]:
    members: dict[str, object] = {"retryable": True, "may_have_taken_effect": False}
    return problem(HTTPStatus.SERVICE_UNAVAILABLE, str(error), kind="not-now", **members)
