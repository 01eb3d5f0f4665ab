"""Buses that take other devices while the edge runs: a supervisor is made anew and put in the place of the old one.

Only the bus that changes is stopped, for as long as its connection takes; every other bus hears and writes on. A write
that is under way on it is answered with unknown, as at any stop of a bus.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from edge.bridges.ports import BusSupervisor, Detail, DeviceEvent, ReadingSink
from protocols.descriptors.descriptor import Descriptor
from protocols.device_model.capability import Capability
from protocols.device_model.command import Command, Outcome, Phase
from protocols.device_model.identity import BusId, DeviceId
from protocols.device_model.probe import Found
from protocols.device_model.reading import Reading
from protocols.device_model.site_plan import SitePlan
from protocols.errors import InvalidInputError
from protocols.peripherals.conversation import Order


@runtime_checkable
class Prober(Protocol):
    """A supervisor that can ask an address of its bus who is there (Modbus). Writes nothing."""

    async def probe(self, number: int, descriptors: Iterable[Descriptor]) -> Found | None:
        """Return who answers there, and which models it may be; None: nobody, or the bus is away."""
        ...


@runtime_checkable
class Peripheral(Protocol):
    """A supervisor of one kiosk peripheral (edge/bridges/peripherals)."""

    @property
    def device(self) -> DeviceId:
        """Whom it drives."""
        ...

    def take_document(self) -> str | None:
        """Return the zone that was read last, once."""
        ...

    def against(self, order: Order) -> str | None:
        """Say what speaks against an order before it is asked for; None: nothing."""
        ...

    async def order(self, order: Order, *, deadline_ms: int) -> Outcome:
        """Have it do something, at most once."""
        ...


class Gate:
    """`edge.bridges.ports.ReadingSink` of one supervisor, shut once another has taken its place."""

    def __init__(self, sink: ReadingSink) -> None:
        self._sink, self._open = sink, True
        self.at_shut: Callable[[], None] | None = None
        """Called when it is shut: from then on nobody is told what its supervisor hears."""

    def shut(self) -> None:
        """Let nothing through any more: what the old supervisor still says is of things that stood there before."""
        self._open = False
        if self.at_shut is not None:
            self.at_shut()

    def reading(self, reading: Reading) -> None:
        """See `ReadingSink.reading`."""
        if self._open:
            self._sink.reading(reading)

    def together(self, readings: Sequence[Reading]) -> None:
        """See `ReadingSink.together`."""
        if self._open:
            self._sink.together(readings)

    def device_event(self, device: DeviceId, event: DeviceEvent, detail: Detail) -> None:
        """See `ReadingSink.device_event`."""
        if self._open:
            self._sink.device_event(device, event, detail)


@dataclass(frozen=True, slots=True)
class Served:
    """A supervisor with the gate that it speaks through; `inner` None: nothing hangs on the bus."""

    inner: BusSupervisor | None
    gate: Gate


class LiveBus:
    """`edge.bridges.ports.BusSupervisor` over whichever supervisor serves the bus now."""

    def __init__(self, bus: BusId, served: Served) -> None:
        self._bus, self._served = bus, served
        self._before: Counter[str] = Counter()
        self._changed = asyncio.Event()

    @property
    def bus(self) -> BusId:
        """See `BusSupervisor.bus`."""
        return self._bus

    @property
    def counts(self) -> Mapping[str, int]:
        """See `BusSupervisor.counts`; over all supervisors that the bus has had."""
        inner = self._served.inner
        return self._before if inner is None else self._before + Counter(inner.counts)

    def replace(self, served: Served) -> None:
        """Serve the bus with another supervisor from now on; returns at once, `run` changes over."""
        self._served.gate.shut()
        if self._served.inner is not None:
            self._before.update(self._served.inner.counts)
        self._served = served
        self._changed.set()

    async def run(self) -> None:
        """See `BusSupervisor.run`."""
        while True:
            self._changed.clear()
            inner = self._served.inner
            if inner is None:
                await self._changed.wait()
                continue
            serving = asyncio.create_task(inner.run(), name=f"bus {self._bus} served")
            changing = asyncio.create_task(self._changed.wait(), name=f"bus {self._bus} changes")
            try:
                await asyncio.wait((serving, changing), return_when=asyncio.FIRST_COMPLETED)
            finally:
                ended = serving.done()
                for each in (serving, changing):
                    each.cancel()
                await asyncio.wait((serving, changing))
            if not serving.cancelled():
                serving.result()  # its defect is ours: whoever supervises us begins again
            if ended and not self._changed.is_set():
                return  # it ended by itself

    @property
    def peripheral(self) -> Peripheral | None:
        """The kiosk peripheral on it; None: there is none."""
        inner: object = self._served.inner
        return inner if isinstance(inner, Peripheral) else None

    async def probe(self, number: int, descriptors: Iterable[Descriptor]) -> Found | None:
        """Ask a unit number who is there. Raises InvalidInputError: devices of this bus tell of themselves."""
        inner: object = self._served.inner
        if not isinstance(inner, Prober):
            raise InvalidInputError(f"bus {self._bus}", "is not asked by numbers: what is on it tells of itself")
        return await inner.probe(number, descriptors)

    def can_write(self, device: DeviceId, capability: Capability, attribute: str) -> bool:
        """See `BusSupervisor.can_write`."""
        inner = self._served.inner
        return inner is not None and inner.can_write(device, capability, attribute)

    async def write(self, command: Command) -> Outcome:
        """See `BusSupervisor.write`."""
        inner = self._served.inner
        if inner is None:
            return Outcome(Phase.FAILED, None, f"nothing hangs on {self._bus}")
        return await inner.write(command)


Make = Callable[[SitePlan, BusId, Gate], BusSupervisor | None]
"""Makes a supervisor for a bus as a plan has it, which speaks through the gate; None: nothing to serve. Raises
InvalidInputError."""


class LiveBuses:
    """`edge.app.binding_desk.Buses` over all buses of a plan; a bus is never added or taken away while the edge runs.

    Args:
        buses: Every bus that the edge drives.
        plan: The devices to begin with.
        make: See `Make`.
        sink: Where readings and events go.

    Raises:
        InvalidInputError: as `make`.
    """

    def __init__(self, buses: list[BusId], plan: SitePlan, make: Make, *, sink: ReadingSink) -> None:
        self._make, self._sink = make, sink
        self._buses = {bus: LiveBus(bus, self.made(plan, bus)) for bus in buses}

    def __iter__(self) -> Iterator[LiveBus]:
        return iter(self._buses.values())

    def peripheral(self, device: DeviceId) -> Peripheral | None:
        """Return the supervisor of a kiosk peripheral; None: no device of that name is one."""
        found = (each.peripheral for each in self._buses.values())
        return next((each for each in found if each is not None and each.device == device), None)

    async def probe(self, bus: BusId, number: int, descriptors: Iterable[Descriptor]) -> Found | None:
        """Ask a unit number of a bus who is there. Raises InvalidInputError: no such bus, or none that is asked."""
        if bus not in self._buses:
            raise InvalidInputError(f"bus {bus}", f"is none that the edge drives: {', '.join(self._buses) or 'none'}")
        return await self._buses[bus].probe(number, descriptors)

    def made(self, plan: SitePlan, bus: BusId) -> Served:
        """Return a supervisor for the bus as the plan has it, not yet running. Raises InvalidInputError."""
        gate = Gate(self._sink)
        return Served(self._make(plan, bus, gate), gate)

    def replace(self, bus: BusId, served: Served) -> None:
        """Serve the bus with that supervisor from now on; a bus that the edge does not drive stays as it is."""
        if (live := self._buses.get(bus)) is not None:
            live.replace(served)
