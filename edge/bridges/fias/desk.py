"""Takes what a session hears: presence becomes records, key orders become answers. Shell around presence.py.

A step counts once its record is durable; a disk that refuses ends the session, and the next one asks for everybody
in house again. A key order is answered once, within its limit, with what is true then: OK means that a phone of this
stay gets its key now, nothing less.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time
from typing import Any, Final, Protocol
from zoneinfo import ZoneInfo

from edge.bridges.fias.presence import Arrive, Doubt, EndAt, Leave, Presence, Step
from edge.stays.document import StayState
from edge.stays.keeper import record_body
from edge.stays.replica import BY_PMS, Replica
from kit.clock import Clock
from protocols.device_model.identity import ActorKind, RoomId, StayId
from protocols.errors import PlatformError
from protocols.fias.house import CameIn, Changed, Guest, House, Moved
from protocols.fias.link import Fact, Resynchronised
from protocols.fias.orders import KeyEnd, KeyOrder, Status

DOUBTS_MOST: Final = 200
DAY_MS: Final = 24 * 3_600_000
TEXT_OK: Final = "key ready for the guest's phone"


class KeyDoors(Protocol):
    """The doors process, as key orders see it."""

    async def status(self) -> Mapping[str, Any]:
        """Return how the doors are. Raises PlatformError: they are away."""
        ...

    async def end_stay(self, stay: StayId) -> None:
        """End every right of a stay. Raises PlatformError."""
        ...


class StayRecords(Protocol):
    """The record log, as far as presence writes to it."""

    async def stay(self, body: Mapping[str, Any]) -> None:
        """Append a `stay` record; returns once it is durable and taken. Raises StoreFailedError."""
        ...

    async def until(self, stay: StayId, until_ms: int, *, by: str) -> None:
        """Append the `stay_until` record of a stay that is held; as `stay`."""
        ...


class FiasDesk:
    """One property's desk for its PMS.

    Args:
        replica: the stays held true, asked anew each time.
        doors: None: this edge issues no grants, and no key order can be met.
        rooms_with_doors: rooms that a grant can be issued for.
        log: a structlog logger.
    """

    def __init__(
        self,
        presence: Presence,
        *,
        replica: Callable[[], Replica],
        records: StayRecords,
        doors: KeyDoors | None,
        rooms_with_doors: frozenset[RoomId],
        clock: Clock,
        log: Any,  # noqa: ANN401 - structlog's lazy logger
    ) -> None:
        self._presence, self._replica, self._records, self._doors = presence, replica, records, doors
        self._rooms, self._clock, self._log = rooms_with_doors, clock, log
        self.doubts: dict[tuple[str, str], Doubt] = {}
        """What somebody has to look at, by room and guest number of theirs; the newest last."""

    async def take(self, fact: Fact, house: House) -> None:
        """Do what follows from a fact. Raises StoreFailedError: it did not count."""
        now_ms = self._clock.wall_ms()
        for step in self._presence.judge(fact, self._replica(), now_ms=now_ms):
            await self._do(step)
        listed = isinstance(fact, CameIn) and house.resyncing  # others of his stay may follow; its end looks at all
        if isinstance(fact, CameIn | Changed | Moved) and not listed:
            await self._ends(fact.room, house, now_ms)
        if isinstance(fact, Resynchronised):
            for each in house.occupied():
                for guest in house.guests(each):  # also those whose coming was heard and could not be kept
                    for step in self._presence.judge(CameIn(each, guest, True), self._replica(), now_ms=now_ms):
                        await self._do(step)
            for step in self._presence.swept(house, self._replica()):
                await self._do(step)
            for each in house.occupied():
                await self._ends(each, house, now_ms)

    async def order(self, order: KeyOrder | KeyEnd) -> tuple[Status, str]:
        """Meet a key order and return its answer. Raises nothing that a door or a disk does."""
        try:
            return await (self._end(order) if isinstance(order, KeyEnd) else self._make(order))
        except PlatformError as error:
            self._log.warning("fias_order_failed", room=order.rooms[0], error=str(error))
            again = error.retryable or error.may_have_taken_effect
            return (Status.RETRY if again else Status.CANNOT), "the doors did not answer"

    async def _ends(self, room: str, house: House, now_ms: int) -> None:
        for step in self._presence.ends(room, house, self._replica(), now_ms=now_ms):
            await self._do(step)

    async def _do(self, step: Step) -> None:
        match step:
            case Doubt():
                self.doubts.pop((step.room, step.number), None)
                self.doubts[step.room, step.number] = step
                if len(self.doubts) > DOUBTS_MOST:
                    del self.doubts[next(iter(self.doubts))]
                self._log.warning("fias_doubt", room=step.room, reason=step.reason)
            case EndAt(stay, until_ms):
                await self._records.until(stay, until_ms, by=BY_PMS)
            case Arrive() | Leave():
                state = StayState.IN_HOUSE if isinstance(step, Arrive) else StayState.LEFT
                body = record_body(
                    step.stay, state, step.room, at_ms=self._clock.wall_ms(), by=BY_PMS, by_kind=ActorKind.PMS
                )
                await self._records.stay(body)

    async def _make(self, order: KeyOrder) -> tuple[Status, str]:
        now_ms = self._clock.wall_ms()
        room = self._presence.room(order.rooms[0])
        if room is None:
            return Status.NOT_FOUND, "no such room"
        if self._doors is None or room not in self._rooms:
            return Status.CANNOT, "no door of ours on this room"
        stay = self._presence.stay_for(order.rooms[0], order.guest_number, self._replica(), now_ms=now_ms)
        if stay is None and order.record == "KM" and order.old_room:  # the change of keys came before the move
            moved = Moved(Guest(order.guest_number or ""), order.old_room, order.rooms[0], vacant=False)
            stay = self._presence.mover(moved, self._replica())
        if stay is None:
            return Status.NOT_FOUND, "no stay in this room"
        if order.departure is not None and _day_after(order.departure) < stay.expected_until_ms - DAY_MS:
            return Status.CANNOT, "the stay lasts longer than the order"
        if order.departure is not None and _day_start(order.departure) > stay.expected_until_ms + DAY_MS:
            return Status.CANNOT, "the stay is not known to last so long"
        await self._doors.status()
        if stay.state is not StayState.IN_HOUSE or stay.room != room:
            replica = self._replica()
            told = replica.documents.get(stay.id) or replica.decisions[stay.id].stay
            await self._do(Arrive(told, room))
        return Status.OK, TEXT_OK

    async def _end(self, order: KeyEnd) -> tuple[Status, str]:
        now_ms = self._clock.wall_ms()
        if self._doors is None:
            return Status.CANNOT, "no doors of ours"
        stay = self._presence.stay_for(order.rooms[0], order.guest_number, self._replica(), now_ms=now_ms)
        if stay is None:
            return Status.NOT_FOUND, "no stay in this room"
        await self._doors.end_stay(stay.id)
        return Status.OK, "keys ended"


def until_ms(zone: ZoneInfo, hour: time) -> Callable[[str | None, int], int]:
    """Return the end of a stay by its day of departure (YYMMDD); without a day that can be, a day from now."""

    def end(departure: str | None, now_ms: int) -> int:
        told = _day(departure or "")
        if told is None:
            return now_ms + DAY_MS
        ends = datetime.combine(told, hour, tzinfo=zone)
        return max(round(ends.timestamp() * 1000), now_ms + DAY_MS // 24)

    return end


def on_day_ms(zone: ZoneInfo) -> Callable[[str, int], int | None]:
    """Return a stay's end by its day of departure (YYMMDD): the hour stays the one that it had. None: no such day."""

    def end(departure: str, before_ms: int) -> int | None:
        told, before = _day(departure), datetime.fromtimestamp(before_ms / 1000, zone)
        if told is None:
            return None
        if told == before.date():
            return before_ms
        return round(datetime.combine(told, before.time(), tzinfo=zone).timestamp() * 1000)

    return end


def _day(text: str) -> date | None:
    try:
        return datetime.strptime(text, "%y%m%d").replace(tzinfo=UTC).date()
    except ValueError:
        return None


def _day_start(day: date) -> int:
    return round(datetime.combine(day, time(), tzinfo=UTC).timestamp() * 1000)


def _day_after(day: date) -> int:
    return _day_start(day) + DAY_MS
