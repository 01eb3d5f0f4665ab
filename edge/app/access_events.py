"""Carries the doors' access events into the record log: each once, in order, acknowledged once durable.

The doors keep an event until it is acknowledged; the log takes a position of their store at most once, in one commit
with the record. So a kill on either side at any moment repeats the carrying and never the record.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final, Protocol

from edge.app.house import House
from kit.health import Health
from kit.logs import logger
from protocols.errors import InvalidInputError, PlatformError
from protocols.grant.lock_time import TimeQuality

PART: Final = "doors"
"""Health: whether the doors process can be reached."""
PUT_BACK: Final = "store_put_back"
"""The doors' store was put back from a copy (edge/doors/put_back.py): who has left since is unknown there."""
NO_VENDORS_REST_S: Final = 60.0
REASON_CHARACTERS_MAX: Final = 200
LOCK_SEQ_MOST: Final = 2**32 - 1

_log = logger("edge.app.access_events")


class DoorsEvent(Protocol):
    """One event as the doors tell it (edge.doors.store.AccessEvent)."""

    @property
    def epoch(self) -> bytes:
        """The life of the doors' store."""
        ...

    @property
    def seq(self) -> int:
        """Its position there, rising from 1."""
        ...

    @property
    def body(self) -> Mapping[str, Any]:
        """What happened."""
        ...

    @property
    def device_at_ms(self) -> int | None:
        """The lock's own time, unix ms."""
        ...


class DoorsEvents(Protocol):
    """The doors process, as a source of events (edge.doors.client.DoorsClient)."""

    async def epoch(self) -> bytes:
        """Return the life of the doors' store. Raises LinkLostError, ReplyTimeoutError."""
        ...

    def events(self, after: int) -> AsyncIterator[DoorsEvent]:
        """Yield what follows `after`, waiting for more without end. Raises LinkLostError, ReplyTimeoutError."""
        ...

    async def ack(self, epoch: bytes, up_to: int) -> None:
        """Let the doors forget what is durable here. Raises LinkLostError, ReplyTimeoutError."""
        ...


async def carry(doors: DoorsEvents, house: House, health: Health) -> None:
    """Carry events for ever, through every life of the doors' store.

    Raises:
        LinkLostError, ReplyTimeoutError: the doors went away; begin again.
        StoreFailedError: the log refused; the doors keep the event.
    """
    try:
        while True:
            await _carry_one_life(doors, house, health)
    except PlatformError as error:
        health.report(PART, ok=False, detail=str(error))
        raise


async def carry_vendors(vendors: DoorsEvents, house: House, health: Health) -> None:
    """Carry what foreign lock systems tell, where the house has any; ask again now and then where it has none.

    Raises:
        LinkLostError, ReplyTimeoutError, StoreFailedError: as `carry`.
    """
    while True:
        try:
            await vendors.epoch()
        except InvalidInputError:
            await asyncio.sleep(NO_VENDORS_REST_S)
            continue
        await carry(vendors, house, health)


async def _carry_one_life(doors: DoorsEvents, house: House, health: Health) -> None:
    epoch = await doors.epoch()
    health.report(PART, ok=True)
    await house.catch_up()
    mark = await house.doors_mark(epoch)
    if mark:
        await doors.ack(epoch, mark)  # a kill between append and ack left it unsaid
    put_back = False
    async for event in doors.events(mark):
        if event.epoch != epoch:
            return  # the doors' store was begun anew: count from its beginning
        if event.body.get("event") == PUT_BACK and not put_back:  # told door by door
            put_back = True
            _log.error("doors_store_put_back", position=event.seq)
            await house.departures.tell_again()
        try:
            await house.access_happened(event.epoch, event.seq, as_record(event.body), device_at_ms=event.device_at_ms)
        except InvalidInputError as error:
            # It is told as what it is, and takes its place: whatever waits behind it is somebody's door.
            _log.error("access_event_unreadable", position=event.seq, problem=str(error))
            await house.access_happened(event.epoch, event.seq, _unreadable(event.body, error), device_at_ms=None)
        await doors.ack(event.epoch, event.seq)


def _unreadable(body: Mapping[str, Any], error: InvalidInputError) -> dict[str, Any]:
    """Return the record that stands for an event that cannot be one: which door it was, and what was wrong."""
    place = {name: body[name] for name in ("door", "room", "lock", "event_id") if isinstance(body.get(name), str)}
    number = body.get("lock_seq")
    place |= {"lock_seq": number} if isinstance(number, int) and 0 <= number <= LOCK_SEQ_MOST else {}
    return {**place, "event": "unreadable", "reason": str(error)[:REASON_CHARACTERS_MAX]}


def as_record(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the body of the lane A record: the lock's byte for its time's quality becomes a word."""
    told = dict(body)
    quality = told.get("time_quality")
    if isinstance(quality, int):
        try:
            told["time_quality"] = TimeQuality(quality).name.lower()
        except ValueError as error:
            raise InvalidInputError("access event: time_quality", f"{quality} is none of 0, 1, 2") from error
    return told
