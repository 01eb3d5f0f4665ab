"""The devices between the buses and the house: readings and events in through a bounded queue, commands out.

The disk never waits for a bus, and a bus hardly for the disk: `reading` and `device_event` return at once, `run` makes
durable what they brought. Who says more than that is read slowly (`crowded`), and never not at all: an alarm may be
behind it. What does not fit even so is counted; the newest is refused, because a value refused now comes again with its
next change or heartbeat.
"""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final, cast

from edge.app.house import Entries, House
from edge.bridges.ports import UNKNOWN_UNTOLD, BusSupervisor, Detail, DeviceEvent
from edge.log.record_log import APPEND_RECORDS_MAX, Appendable, Entry
from kit.clock import Clock
from kit.logs import logger
from kit.queues import BoundedQueue
from protocols.device_model.capability import Capability
from protocols.device_model.command import Command, Outcome, Phase
from protocols.device_model.identity import DeviceId
from protocols.device_model.reading import Reading
from protocols.device_model.site_plan import SitePlan
from protocols.errors import LocalProtocolError, StoreFailedError
from protocols.link.lanes import Lane

WAITING_MAX: Final = 20_000  # half a minute of a large house whose disk stands still
CROWDED: Final = WAITING_MAX // 2
"""From so many on buses on the broker read slowly, and what they have not read is the broker's to hold back."""
BATCH_MOST: Final = APPEND_RECORDS_MAX
"""One commit a lane: kept whole or not at all, so a retry doubles nothing. What came while the last was on its way fits
into the next, so the buses never run ahead of the disk for long."""
STANDS_STILL_MS: Final = 1_000
"""A disk that has kept nothing for so long stands still: to read slowly would then only keep an alarm waiting."""
TURN_MOST: Final = 200
"""So many are noted one after the other; then whoever else runs on the event loop has a turn."""
BATCH_LINGER_MS: Final = 6
"""The log waits for no more company then. At 500 messages a second a commit holds six records; each costs 0.3 ms."""
STORE_RETRY_MS: Final = 1_000
UNKNOWN_MOST: Final = 2_000  # unplanned things remembered for the installer; a flood of names fills nothing else

_SILENT: Final = frozenset({DeviceEvent.OFFLINE, DeviceEvent.QUARANTINED})
SLOW_FIGURES: Final = ("answer_ms", "line_share", "asked_times_less")
DOUBT_FACTS: Final = ("why", "refused", "points_refused", "points_had")
_BESIDE: Final = frozenset({DeviceEvent.FIRMWARE, DeviceEvent.SLOW, DeviceEvent.DOUBTED})
"""What a device runs, that it is slow, and that it may be another, is not how it stands."""


@dataclass(frozen=True, slots=True)
class _Event:
    device: DeviceId
    event: DeviceEvent
    detail: Detail


@dataclass(slots=True)
class _State:
    event: DeviceEvent
    detail: Detail
    since_ms: int


class BusWriter:
    """`edge.rooms.ports.DeviceWriter` over the bus supervisors; they are set once they are made."""

    def __init__(self) -> None:
        self.buses: Sequence[BusSupervisor] = ()

    def can_write(self, device: DeviceId, capability: Capability, attribute: str) -> bool:
        """Say whether some bus has the device and its descriptor lets the attribute be written."""
        return any(bus.can_write(device, capability, attribute) for bus in self.buses)

    async def write(self, command: Command) -> Outcome:
        """Hand the command to the device's bus."""
        for bus in self.buses:
            if bus.can_write(command.device, command.capability, command.attribute):
                return await bus.write(command)
        return Outcome(Phase.FAILED, None, "no bus has a device that takes this")


class Devices:
    """`edge.bridges.ports.ReadingSink` over the house, and what the API tells of devices."""

    def __init__(self, house: House, *, plan: SitePlan | None, clock: Clock) -> None:
        self._house, self._plan, self._clock = house, plan, clock
        self._queue: BoundedQueue[Reading | _Event] = BoundedQueue(WAITING_MAX, "readings")
        self._planned = frozenset() if plan is None else frozenset(each.id for each in plan.devices)
        self._states: dict[DeviceId, _State] = {}
        self._unknown: dict[DeviceId, _State] = {}
        self._firmwares: dict[DeviceId, Detail] = {}
        self._slow: dict[DeviceId, Detail] = {}
        self._doubts: dict[DeviceId, Detail] = {}
        self._log = logger("edge.devices")
        self._taken = 0
        self._kept_ms = clock.now_ms()
        """When the disk last kept something (monotonic)."""
        self._until: dict[DeviceId, int] = {}
        """By renewed device, how many were queued in all when it changed: what was said before is another thing's."""
        self.unfit = 0
        """Readings and events that no record can hold, since the start: a defect of an adapter each."""
        self.unknown_unlisted = 0
        """Unknown things that are in the log and, for want of room, not in `told`."""

    @property
    def refused(self) -> int:
        """How many readings and events did not fit since the start."""
        return self._queue.refused

    @property
    def waiting(self) -> int:
        """How many wait to be made durable."""
        return len(self._queue)

    @property
    def crowded(self) -> bool:
        """Whether more is waiting than should be, and it gets less: who can have its devices held back does."""
        return len(self._queue) >= CROWDED and self._clock.now_ms() - self._kept_ms < STANDS_STILL_MS

    def reached(self, device: DeviceId) -> bool:
        """Say whether a planned device answers, as far as its bus has told."""
        state = self._states.get(device)
        return state is not None and state.event not in _SILENT

    def serve(self, plan: SitePlan, *, renewed: DeviceId | None = None) -> None:
        """Take the devices of the house from now on. `renewed` is another thing now: nothing was heard of it yet."""
        self._plan, self._planned = plan, frozenset(each.id for each in plan.devices)
        for gone in self._states.keys() - self._planned:
            del self._states[gone]
            self._forget_beside(gone)
        for known in self._unknown.keys() & self._planned:
            del self._unknown[known]
        if renewed is not None:
            self._states.pop(renewed, None)
            self._forget_beside(renewed)
            self._house.fire.renewed(renewed)
            self._house.watch.renewed(renewed)
            self._until[renewed] = self._taken + len(self._queue)

    def _forget_beside(self, device: DeviceId) -> None:
        for beside in (self._firmwares, self._slow, self._doubts):
            beside.pop(device, None)
        self._house.watch.doubted(device, None)

    def forget_unknown(self, device: DeviceId) -> None:
        """Forget a found thing that stands behind a name now; its bus tells it again if it ever is unknown again."""
        self._unknown.pop(device, None)

    def met(self) -> list[tuple[DeviceId, Detail, int, bool]]:
        """Return what stands behind no name: its id, the evidence, since when, whether the id is a planned device's.

        A planned device is among them if another thing answers at its address.
        """
        strange = [
            (device, state.detail, state.since_ms, True)
            for device, state in sorted(self._states.items())
            if state.event is DeviceEvent.UNKNOWN_DEVICE
        ]
        return [
            *strange,
            *(
                (device, each.detail, each.since_ms, False)
                for device, each in sorted(self._unknown.items())
                if each.event is DeviceEvent.UNKNOWN_DEVICE
            ),
        ]

    def silent(self) -> set[DeviceId]:
        """Return the planned devices that do not answer, or never did."""
        return {each for each in self._planned if not self.reached(each)}

    def state(self, device: DeviceId) -> dict[str, Any]:
        """Return how a device stands on its bus, what firmware it runs, where that matters, and whether it is slow.

        `doubt`: it may be another thing, and nobody can ask it.
        """
        return {
            **_told(self._states.get(device) or self._unknown.get(device)),
            "firmware": _of(self._firmwares.get(device), ("version", "quirks")),
            "slow": _of(self._slow.get(device), SLOW_FIGURES),
            "doubt": _of(self._doubts.get(device), DOUBT_FACTS),
        }

    def reading(self, reading: Reading) -> None:
        """Take a reading; returns at once. Fire is heard here: it waits for no disk."""
        self._house.fire.heard(reading)
        self._queue.offer(reading)

    def together(self, readings: Sequence[Reading]) -> None:
        """Take what one message told; returns at once, and fire hears it here as above."""
        self._house.fire.heard_together(readings)
        self._queue.offer_many(readings)

    def device_event(self, device: DeviceId, event: DeviceEvent, detail: Detail) -> None:
        """Take an event of a device; returns at once. Fire hears here who is back."""
        if event in (DeviceEvent.ONLINE, DeviceEvent.FIRMWARE):
            self._house.fire.back(device)
        if event in _BESIDE:
            if event is DeviceEvent.FIRMWARE:
                self._firmwares[device] = detail
            elif event is DeviceEvent.SLOW:
                _note(self._slow, device, detail, so=bool(detail.get("slow")))
            else:
                _note(self._doubts, device, detail, so=bool(detail.get("doubted")))
                self._house.watch.doubted(device, _why(self._doubts.get(device)))
            self._queue.offer(_Event(device, event, detail))
            return
        if event is DeviceEvent.ONLINE:
            self._slow.pop(device, None)  # its bus begins again with it
            self._doubts.pop(device, None)
            self._house.watch.doubted(device, None)
        states = self._states if device in self._planned else self._unknown
        if device in states or states is self._states or len(states) < UNKNOWN_MOST:
            before = states.get(device)
            since_ms = before.since_ms if before is not None and before.event is event else self._clock.wall_ms()
            states[device] = _State(event, detail, since_ms)
        else:
            if not self.unknown_unlisted:
                self._log.warning("unknown_devices_unlisted", listed=UNKNOWN_MOST, first=device)
            self.unknown_unlisted += 1
        self._queue.offer(_Event(device, event, detail))

    async def run(self) -> None:
        """Make durable what comes, in order and in batches, for ever."""
        while True:
            batch = await self._queue.get_batch(BATCH_MOST, BATCH_LINGER_MS)
            entries: Entries = {Lane.B: [], Lane.C: []}
            now_ms, wall_ms = self._clock.now_ms(), self._clock.wall_ms()
            first, self._taken = self._taken + 1, self._taken + len(batch)
            for start in range(0, len(batch), TURN_MOST):
                if start:
                    await asyncio.sleep(0)
                turn = batch[start : start + TURN_MOST]
                if until := self._until:  # what another thing said, which stood behind that name when it was said
                    turn = [each for n, each in enumerate(turn, first + start) if n > until.get(each.device, 0)]
                self._note(turn, entries, now_ms=now_ms, wall_ms=wall_ms)
            await self._keep(Lane.B, entries[Lane.B])
            await self._keep(Lane.C, entries[Lane.C])
            self._kept_ms = self._clock.now_ms()

    def _note(self, turn: Sequence[Reading | _Event], entries: Entries, *, now_ms: int, wall_ms: int) -> None:
        """Have the house take what was said, in order, and add what is worth a record to its lane's entries."""
        for kind, some in groupby(turn, type):
            if kind is not _Event:
                self._house.noted(cast(Iterator[Reading], some), entries, now_ms=now_ms, wall_ms=wall_ms)
                continue
            for each in cast(Iterator[_Event], some):
                if each.event not in _BESIDE:
                    self._house.view.silent(each.device, silent=each.event in _SILENT)
                if each.event is not DeviceEvent.UNKNOWN_DEVICE and each.event not in _BESIDE:
                    self._house.rooms.reached(each.device, reached=each.event is DeviceEvent.ONLINE)
                body = {"device": each.device, "event": each.event.value, "detail": dict(each.detail)}
                entries[Lane.B].append(Entry("device", body))

    async def _keep(self, lane: Lane, entries: list[Appendable]) -> None:
        while True:
            try:
                await self._house.keep(lane, entries)
            except StoreFailedError:
                await asyncio.sleep(STORE_RETRY_MS / 1000)  # the log says why; what comes meanwhile waits in the queue
                continue
            except LocalProtocolError as error:
                await self._keep_apart(lane, entries, error)
            return

    async def _keep_apart(self, lane: Lane, entries: list[Appendable], error: LocalProtocolError) -> None:
        """One of these is no record, which is some adapter's defect: keep the others, and say which it was."""
        if len(entries) > 1:
            for each in entries:
                await self._keep(lane, [each])
            return
        self.unfit += 1
        self._log.error("not_a_record", kind=entries[0].kind, device=entries[0].body.get("device"), error=str(error))

    def told(self) -> list[dict[str, Any]]:
        """Return every planned device with its state on its bus, then what nobody planned."""
        planned = [] if self._plan is None else self._plan.devices
        known = [
            {
                "id": each.id,
                "room": each.room,
                "bus": each.address.bus,
                "descriptor": each.descriptor,
                "planned": True,
                **self.state(each.id),
            }
            for each in planned
        ]
        unknown = [
            {"id": device, "room": None, "bus": None, "descriptor": None, "planned": False, **self.state(device)}
            for device in sorted(self._unknown)
        ]
        return known + unknown


def unknown_unlisted(devices: Devices, buses: Sequence[BusSupervisor]) -> int:
    """Return how many unknown things found no room: a bus bounds what it tells, the list what it takes.

    Whichever bound was met first, it is counted here.
    """
    return devices.unknown_unlisted + sum(bus.counts.get(UNKNOWN_UNTOLD, 0) for bus in buses)


def _told(state: _State | None) -> dict[str, Any]:
    if state is None:
        return {"state": "never_heard", "detail": {}, "since_ms": None}
    return {"state": state.event.value, "detail": dict(state.detail), "since_ms": state.since_ms}


def _of(detail: Detail | None, keys: Sequence[str]) -> dict[str, Any] | None:
    return None if detail is None else {key: detail.get(key) for key in keys}


def _note(noted: dict[DeviceId, Detail], device: DeviceId, detail: Detail, *, so: bool) -> None:
    if so:
        noted[device] = detail
    else:
        noted.pop(device, None)


def _why(doubt: Detail | None) -> str | None:
    """Return a doubt in words; None: there is none."""
    if doubt is None:
        return None
    figures = f"{doubt.get('points_refused')} of {doubt.get('points_had')}"
    return f"{doubt.get('why') or 'another thing may stand there'} ({figures})"
