"""Doors of foreign lock systems opened from afar: by what a guest's own phone signed, once, in time, or not at all.

Source of truth: protocols/door/SPEC.md 13; docs/decisions/0114. Whoever brings a request - the cloud, the link, the
node - is believed in nothing: it is judged by this process's own store and clock. The id is durable before the adapter
is asked.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from prometheus_client import Counter

from edge.doors.errors import ClockUnsoundError
from edge.doors.issuers import SoundTime
from edge.doors.vendors.foreign import ForeignSystem, NamedDoor
from edge.doors.vendors.ledger import KeptKey, KeyLedger
from edge.doors.vendors.port import NO_REMOTE_OPENING, Truth, VendorBusyError, VendorRefusedError
from kit.clock import Clock
from kit.logs import logger
from kit.metrics import Metrics
from protocols.device_model.identity import PropertyId, RoomId
from protocols.door.remote_open import (
    LATE_AFTER_MS,
    UNSIGNED,
    HeldKey,
    HouseFacts,
    OpenOutcome,
    OpenRefusal,
    OpenRequest,
    decode,
    judge,
)
from protocols.door.vendor_keys import VendorState
from protocols.errors import (
    LinkLostError,
    PeerProtocolError,
    PlatformError,
    StoreFailedError,
    UnsupportedVersionError,
)

TURNS_MOST: Final = 3
TURN_EACH_MS: Final = 5_000
"""So many openings of a key at once, and one more each time; a guest waits no longer than this for the next."""
TURNS_KEPT_MOST: Final = 1_000
REASON_CHARACTERS_MOST: Final = 300
INTERRUPTED: Final = "the doors process ended while the lock system was asked"
_RECORDS: Final = {
    OpenOutcome.CONFIRMED: "remote-opened",
    OpenOutcome.ACCEPTED: "remote-accepted",
    OpenOutcome.UNKNOWN: "remote-unknown",
}
"""Kinds of access records; what is not here is `remote-failed`."""


@dataclass(frozen=True, slots=True)
class OpenAnswer:
    """What came of a request, no better than it was seen; `reason` is a refusal's word, or what the system said."""

    outcome: OpenOutcome
    reason: str | None = None


@dataclass(slots=True)
class _Turns:
    """What a key may still open: a bucket that fills by the monotonic clock."""

    left: float
    at_ms: int

    def fill(self, now_ms: int) -> float:
        self.left = min(TURNS_MOST, self.left + (now_ms - self.at_ms) / TURN_EACH_MS)
        self.at_ms = now_ms
        return self.left


class RemoteDesk:
    """Judges requests and asks the adapters. `sealed` tells whether a room is; `news` is called when records wait."""

    def __init__(
        self,
        systems: Sequence[ForeignSystem],
        *,
        property_id: PropertyId | str,
        ledger: KeyLedger,
        time: SoundTime,
        clock: Clock,
        sealed: Callable[[RoomId], bool],
        news: Callable[[], None],
        metrics: Metrics,
    ) -> None:
        """Take up what a run before left open: nobody knows what came of it.

        Raises:
            StoreFailedError: the disk refuses.
        """
        self._systems = {each.name: each for each in systems}
        self._property, self._ledger, self._time, self._clock = str(property_id), ledger, time, clock
        self._sealed, self._news = sealed, news
        self._began_ms = clock.now_ms()
        self._turns: dict[str, _Turns] = {}
        self._moving: set[tuple[str, str]] = set()
        self._log = logger("edge.doors.vendors")
        self._count: Counter = metrics.counter("remote_openings", "requests to open from afar", ("outcome", "reason"))
        for system, request, body in ledger.interrupted_openings():
            ended = {**body, "event": _RECORDS[OpenOutcome.UNKNOWN], "reason": INTERRUPTED}
            ledger.end_opening(system, request, ended, OpenOutcome.UNKNOWN.value)
            self._news()

    async def open(self, data: bytes) -> OpenAnswer:
        """Judge a request, and open its door if it stands. Never asked again by itself.

        Raises:
            StoreFailedError: nothing was asked of the adapter.
        """
        try:
            request = decode(data)
        except UnsupportedVersionError:
            return self._unsigned(OpenRefusal.UNSUPPORTED_VERSION)
        except PeerProtocolError:
            return self._unsigned(OpenRefusal.MALFORMED)
        key = self._ledger.key(request.grant)
        foreign = None if key is None else self._systems.get(key.system)
        named = None if key is None or foreign is None else _door_of(key, foreign, request.door)
        now_ms = self._now_ms()
        refusal = judge(request, self._facts(request, key, foreign, named, now_ms))
        if refusal in UNSIGNED:
            return self._unsigned(refusal)
        if key is None or foreign is None or now_ms is None:  # judged already: neither key nor clock, no signature
            return self._unsigned(OpenRefusal.UNKNOWN_KEY)
        told = _body(request, key, named, now_ms)
        if named is None or refusal is not None:
            return self._refused(request, key, told, refusal or OpenRefusal.WRONG_DOOR)
        if not self._ledger.begin_opening(key.system, request.request_id, {**told, "event": "remote-asked"}, now_ms):
            return self._refused(request, key, told, OpenRefusal.REPLAYED)
        self._news()
        self._turns[key.grant].left -= 1
        self._moving.add((foreign.name, named.vendor_door))
        try:
            answer = await self._ask(foreign, named, key.grant, request.issued_at_ms + LATE_AFTER_MS - now_ms)
        finally:
            self._moving.discard((foreign.name, named.vendor_door))
        event = _RECORDS.get(answer.outcome, "remote-failed")
        ended = {**told, "event": event, "reason": answer.reason, "truth": answer.outcome.value}
        try:
            self._ledger.end_opening(key.system, request.request_id, ended, answer.outcome.value)
        except StoreFailedError as error:  # the door has moved or not: what was seen is told all the same
            self._log.error("remote_opening_not_recorded", grant=key.grant, door=named.door, error=str(error))
        self._news()
        self._count.labels(answer.outcome.value, "").inc()
        self._log.info("remote_opening", grant=key.grant, door=named.door, outcome=answer.outcome.value)
        return answer

    def _now_ms(self) -> int | None:
        """Return the house's clock as it is: not raised to what was signed before, so that nothing old looks new."""
        try:
            self._time.at_ms()
        except ClockUnsoundError:
            return None
        return self._clock.wall_ms()

    def _facts(
        self,
        request: OpenRequest,
        key: KeptKey | None,
        foreign: ForeignSystem | None,
        named: NamedDoor | None,
        now_ms: int | None,
    ) -> HouseFacts:
        ran_ms = self._clock.now_ms() - self._began_ms
        phone = None if key is None else self._ledger.phone(key.stay, key.holder)
        held: HeldKey | None = None
        if key is not None and foreign is not None and phone is not None:
            doors = tuple(each.door for each in foreign.doors_of(key.rooms))
            held = HeldKey(phone, doors, VendorState(key.state.value), key.not_before_ms, key.not_after_ms)
        return HouseFacts(
            property_id=self._property,
            now_ms=now_ms,
            begun_ms=0 if now_ms is None else now_ms - ran_ms,
            key=held,
            opens=foreign is not None and foreign.system.abilities.opens is not None,
            sealed=named is not None and self._sealed(named.room),
            spent=held is not None and self._ledger.is_spent(request.grant, request.request_id),
            busy=held is not None and self._is_busy(request.grant, foreign, named),
        )

    def _is_busy(self, grant: str, foreign: ForeignSystem | None, named: NamedDoor | None) -> bool:
        now_ms = self._clock.now_ms()
        if len(self._turns) > TURNS_KEPT_MOST:
            self._turns = {each: turns for each, turns in self._turns.items() if turns.fill(now_ms) < TURNS_MOST}
        turns = self._turns.setdefault(grant, _Turns(TURNS_MOST, now_ms))
        moves = foreign is not None and named is not None and (foreign.name, named.vendor_door) in self._moving
        return moves or turns.fill(now_ms) < 1

    async def _ask(self, foreign: ForeignSystem, named: NamedDoor, grant: str, left_ms: int) -> OpenAnswer:
        """Ask the adapter, once, and as long as the request is good for. Its trouble is an answer."""
        try:
            async with asyncio.timeout(min(foreign.deadline_s, left_ms / 1_000)):
                opened = await foreign.system.open_door(named.vendor_door, actor=grant)
        except TimeoutError:
            return OpenAnswer(OpenOutcome.UNKNOWN, f"{foreign.name}: no answer in time")
        except VendorBusyError as error:
            return OpenAnswer(OpenOutcome.BUSY, _words(error))
        except VendorRefusedError as error:
            away = error.code == NO_REMOTE_OPENING
            return OpenAnswer(OpenOutcome.OFF_LINE if away else OpenOutcome.NO, _words(error))
        except LinkLostError as error:
            return OpenAnswer(OpenOutcome.OFF_LINE, _words(error))
        except PlatformError as error:
            may_have = error.may_have_taken_effect or isinstance(error, PeerProtocolError)
            return OpenAnswer(OpenOutcome.UNKNOWN if may_have else OpenOutcome.NO, _words(error))
        return OpenAnswer(OpenOutcome.CONFIRMED if opened.truth is Truth.CONFIRMED else OpenOutcome.ACCEPTED)

    def _unsigned(self, refusal: OpenRefusal | None) -> OpenAnswer:
        """Count what nobody of ours signed; a record of it would be anybody's to write."""
        why = refusal or OpenRefusal.MALFORMED
        self._count.labels(OpenOutcome.REFUSED.value, why.value).inc()
        self._log.info("remote_opening_refused", reason=why.value)
        return OpenAnswer(OpenOutcome.REFUSED, why.value)

    def _refused(self, request: OpenRequest, key: KeptKey, told: dict[str, Any], refusal: OpenRefusal) -> OpenAnswer:
        self._count.labels(OpenOutcome.REFUSED.value, refusal.value).inc()
        body = {**told, "event": "remote-refused", "reason": refusal.value}
        self._ledger.refused_opening(key.system, request.request_id, body)
        self._news()
        return OpenAnswer(OpenOutcome.REFUSED, refusal.value)


def _door_of(key: KeptKey, foreign: ForeignSystem, door: str) -> NamedDoor | None:
    return next((each for each in foreign.doors_of(key.rooms) if each.door == door), None)


def _body(request: OpenRequest, key: KeptKey, named: NamedDoor | None, now_ms: int) -> dict[str, Any]:
    """Return what every record of an opening from afar says; the time is the house's own."""
    return {
        "door": request.door if named is None else named.door,
        "room": None if named is None else named.room,
        "stay": key.stay,
        "grant": key.grant,
        "at_ms": now_ms,
        "time_quality": "fresh",
        "system": key.system,
        "request": request.request_id.hex(),
    }


def _words(error: PlatformError) -> str:
    return str(error)[:REASON_CHARACTERS_MOST]
