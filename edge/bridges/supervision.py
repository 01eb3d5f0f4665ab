"""What every supervised bus has alike: name, counts, complaints, reporter, write desk, events, and the way it ends.

A bus brings the connection and what is said on it; `edge.bridges.ports.BusSupervisor` is what the house sees.
"""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping

from edge.bridges.complaints import Complaints
from edge.bridges.evidence import evidence
from edge.bridges.firmware import PATIENCE_MS, Running
from edge.bridges.ports import DeviceEvent, ReadingSink
from edge.bridges.reporter import Reporter
from edge.bridges.write_desk import Job, WriteDesk
from kit.clock import Clock
from kit.dice import Dice
from kit.task_groups import TaskGroup
from protocols.descriptors.descriptor import Point
from protocols.descriptors.firmware import told_apart
from protocols.device_model.capability import Capability
from protocols.device_model.command import Command, Outcome, Phase
from protocols.device_model.identity import BusId, DeviceId


class SupervisedBus(ABC):
    """`edge.bridges.ports.BusSupervisor`, but for `run`; subclasses say what is on it and how it is spoken to.

    Args:
        bus: its name.
        clock: both clocks.
        dice: for pauses and jitter.
        sink: where readings and events go.
    """

    def __init__(self, bus: BusId, *, clock: Clock, dice: Dice, sink: ReadingSink) -> None:
        self._name, self._clock, self._dice, self._sink = bus, clock, dice, sink
        self._counts: Counter[str] = Counter()
        self._complaints = Complaints(bus, self._counts, clock)
        self._reporter = Reporter(sink, self._counts, self._complaints)
        self._desk = WriteDesk(clock, self._perform)
        self._down_since_ms: int | None = None
        self._firmwares: dict[DeviceId, Running] = {}
        """Of every device whose firmwares are told apart."""
        self._unsaid_since_ms: dict[DeviceId, int] = {}

    @property
    def bus(self) -> BusId:
        """See `BusSupervisor.bus`."""
        return self._name

    @property
    def counts(self) -> Mapping[str, int]:
        """See `BusSupervisor.counts`."""
        return self._counts

    def can_write(self, device: DeviceId, capability: Capability, attribute: str) -> bool:
        """See `BusSupervisor.can_write`."""
        point = self._point(device, capability, attribute)
        return point is not None and point.write is not None

    async def write(self, command: Command) -> Outcome:
        """See `BusSupervisor.write`."""
        running = self._firmwares.get(command.device)
        if running is not None and not running.known and running.has((command.capability, command.attribute)):
            point = self._point(command.device, command.capability, command.attribute)
            if point is None or point.write is None:
                return Outcome(Phase.FAILED, None, "which firmware it runs is not known, and they take it differently")
        return await self._desk.write(command, self._point(command.device, command.capability, command.attribute))

    @abstractmethod
    def _point(self, device: DeviceId, capability: Capability, attribute: str) -> Point | None:
        """Return the point of a device's attribute; None if there is none on this bus."""

    @abstractmethod
    async def _perform(self, job: Job) -> Outcome:
        """Carry out what passed the write desk."""

    async def _attend(self, **loops: Coroutine[object, object, None]) -> None:
        """Run the bus's loops, by name, until cancelled or until one fails; then give up what waits to be written."""
        self._down_since_ms = self._clock.now_ms()
        try:
            async with TaskGroup() as tasks:
                for name, loop in loops.items():
                    tasks.create_task(loop, name=f"{self._name}: {name}")
        finally:
            await self._desk.close()

    def _event(self, device: DeviceId, event: DeviceEvent, detail: Mapping[str, object]) -> None:
        self._counts[f"event_{event}"] += 1
        self._sink.device_event(device, event, evidence({"bus": self._name, **detail}))

    # --- firmware -------------------------------------------------------------------------------------------

    def _expect(self, device: DeviceId, running: Running, stale_ms: Callable[[Point], int], *, now_ms: int) -> None:
        """Expect what a device tells under the firmware that it runs, as far as it is known; nothing was heard yet."""
        if told_apart(running.model):
            self._firmwares[device] = running
        for point in running.descriptor.points:
            self._reporter.expect(device, point, stale_ms=stale_ms(point), now_ms=now_ms)

    def _said_firmware(
        self, device: DeviceId, running: Running, text: object, stale_ms: Callable[[Point], int]
    ) -> bool:
        """Take what a device says of its version; True if it runs another firmware than was known."""
        before = running.text
        if not running.heard(text):
            return False
        self._counts["firmwares"] += 1
        self._unsaid_since_ms.pop(device, None)
        points = [(point, stale_ms(point)) for point in running.descriptor.points]
        self._reporter.renew(device, points, now_ms=self._clock.now_ms())
        self._event(device, DeviceEvent.FIRMWARE, {"version": running.text, "before": before, "quirks": running.quirks})
        return True

    def _told_none(self, device: DeviceId, running: Running, text: object) -> bool:
        """Take what a device answered when it was asked for its version; True if that was none and it had told one.

        It is another thing then, or has another firmware, and which one nobody knows.
        """
        return running.says_none(text) and self._forgot_firmware(device, running)

    def _forgot_firmware(self, device: DeviceId, running: Running) -> bool:
        """Hold a device that told a version, and has none to tell now, to what all firmwares have alike."""
        if not told_apart(running.model) or running.text is None:
            return False
        running.forget()
        self._reporter.withhold(device, running.withheld(), now_ms=self._clock.now_ms())
        return True

    def _sweep_firmwares(self, here: Callable[[DeviceId], bool], *, now_ms: int) -> None:
        """Tell of devices that are there and do not say which firmware they run, if that makes a difference."""
        for device, running in self._firmwares.items():
            if running.known or not here(device):
                self._unsaid_since_ms.pop(device, None)
            elif now_ms - self._unsaid_since_ms.setdefault(device, now_ms) >= PATIENCE_MS:
                self._reporter.withhold(device, running.withheld(), now_ms=now_ms)

    def _note_down(self) -> None:
        """Take note that the connection is gone, unless that is known."""
        if self._down_since_ms is None:
            self._down_since_ms = self._clock.now_ms()
