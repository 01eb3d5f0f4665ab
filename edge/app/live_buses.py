"""Buses that take other devices while the edge runs: a supervisor is made anew and put in the place of the old one.

Only the bus that changes is stopped, for as long as its connection takes; every other bus hears and writes on. A write
that is under way on it is answered with unknown, as at any stop of a bus.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Mapping

from edge.bridges.ports import BusSupervisor
from protocols.device_model.capability import Capability
from protocols.device_model.command import Command, Outcome, Phase
from protocols.device_model.identity import BusId, DeviceId
from protocols.device_model.site_plan import SitePlan


class LiveBus:
    """`edge.bridges.ports.BusSupervisor` over whichever supervisor serves the bus now; None: nothing hangs on it."""

    def __init__(self, bus: BusId, inner: BusSupervisor | None) -> None:
        self._bus, self._inner = bus, inner
        self._before: Counter[str] = Counter()
        self._changed = asyncio.Event()

    @property
    def bus(self) -> BusId:
        """See `BusSupervisor.bus`."""
        return self._bus

    @property
    def counts(self) -> Mapping[str, int]:
        """See `BusSupervisor.counts`; over all supervisors that the bus has had."""
        return self._before if self._inner is None else self._before + Counter(self._inner.counts)

    def replace(self, inner: BusSupervisor | None) -> None:
        """Serve the bus with another supervisor from now on; returns at once, `run` changes over."""
        if self._inner is not None:
            self._before.update(self._inner.counts)
        self._inner = inner
        self._changed.set()

    async def run(self) -> None:
        """See `BusSupervisor.run`."""
        while True:
            self._changed.clear()
            inner = self._inner
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

    def can_write(self, device: DeviceId, capability: Capability, attribute: str) -> bool:
        """See `BusSupervisor.can_write`."""
        return self._inner is not None and self._inner.can_write(device, capability, attribute)

    async def write(self, command: Command) -> Outcome:
        """See `BusSupervisor.write`."""
        if self._inner is None:
            return Outcome(Phase.FAILED, None, f"nothing hangs on {self._bus}")
        return await self._inner.write(command)


Make = Callable[[SitePlan, BusId], BusSupervisor | None]
"""Makes a supervisor for a bus as a plan has it; None: nothing to serve. Raises InvalidInputError."""


class LiveBuses:
    """`edge.app.binding_desk.Buses` over all buses of a plan; a bus is never added or taken away while the edge runs.

    Args:
        buses: Every bus that the edge drives.
        plan: The devices to begin with.
        make: See `Make`.

    Raises:
        InvalidInputError: as `make`.
    """

    def __init__(self, buses: list[BusId], plan: SitePlan, make: Make) -> None:
        self._make = make
        self._buses = {bus: LiveBus(bus, make(plan, bus)) for bus in buses}

    def __iter__(self) -> Iterator[LiveBus]:
        return iter(self._buses.values())

    def made(self, plan: SitePlan, bus: BusId) -> BusSupervisor | None:
        """Return a supervisor for the bus as the plan has it, not yet running. Raises InvalidInputError."""
        return self._make(plan, bus) if bus in self._buses else None

    def replace(self, bus: BusId, inner: BusSupervisor | None) -> None:
        """Serve the bus with that supervisor from now on."""
        if (live := self._buses.get(bus)) is not None:
            live.replace(inner)
