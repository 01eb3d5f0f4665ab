"""A bus that is given other devices while it runs, and what its devices said before."""

import asyncio
from collections import Counter
from collections.abc import Callable

import pytest

from edge.app.devices import Devices
from edge.app.live_buses import LiveBuses
from edge.bridges.ports import BusSupervisor, DeviceEvent, ReadingSink
from kit.clock import ManualClock
from protocols.device_model.capability import Capability, Unit
from protocols.device_model.command import Command, Outcome, Phase
from protocols.device_model.identity import BusId, DeviceId
from protocols.device_model.site_plan import SitePlan
from protocols.link.lanes import Lane
from tests.edge.bridges.field import Heard
from tests.edge.world import HEATING, T0, Building, plan, said

ZIGBEE = BusId("zigbee")
LIGHT = (DeviceId("light-101"), Capability.ON_OFF, "on_off")


class Supervisor:
    """Counts its lives; says what it is told to."""

    def __init__(self, name: str, sink: ReadingSink) -> None:
        self.name, self.sink, self.bus = name, sink, ZIGBEE
        self.counts = Counter({"lives": 0})
        self.up, self.crash = False, asyncio.Event()

    async def run(self) -> None:
        self.counts["lives"] += 1
        self.up = True
        try:
            await self.crash.wait()
        finally:
            self.up = False
        raise RuntimeError(self.name)

    def can_write(self, *_: object) -> bool:
        return True

    async def write(self, command: Command) -> Outcome:
        return Outcome(Phase.DONE, command.value, self.name)


async def until(true: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not true():
            await asyncio.sleep(0.001)


async def test_a_bus_changes_over_while_it_runs_and_the_old_one_is_heard_no_more() -> None:
    made: list[Supervisor] = []

    def make(_: SitePlan, __: BusId, sink: ReadingSink) -> BusSupervisor | None:
        made.append(Supervisor(f"s{len(made)}", sink))
        return made[-1]

    heard = Heard()
    buses = LiveBuses([ZIGBEE], plan(1), make, sink=heard)
    [bus] = buses
    task = asyncio.create_task(bus.run())
    await until(lambda: made[0].up)
    made[0].sink.reading(said("light-101", Capability.ON_OFF, "on_off", True))
    served = buses.made(plan(1), ZIGBEE)
    assert [each.up for each in made] == [True, False]  # a supervisor that is made changes nothing yet
    buses.replace(ZIGBEE, served)
    made[0].sink.reading(said("light-101", Capability.ON_OFF, "on_off", False))  # before its task has even ended
    made[0].sink.together([said("light-101", Capability.ON_OFF, "on_off", False)])
    made[0].sink.device_event(DeviceId("light-101"), DeviceEvent.OFFLINE, {})
    await until(lambda: made[1].up)
    assert [each.up for each in made] == [False, True]
    made[1].sink.reading(said("light-101", Capability.ON_OFF, "on_off", True))
    made[1].sink.together([said("light-101", Capability.ON_OFF, "on_off", False)])
    assert [each.value for each in heard.readings] == [True, True, False]
    assert heard.events == []
    assert bus.counts["lives"] == 2
    written = await bus.write(Command("c", *LIGHT, True, T0, "k"))
    assert written.reason == "s1"
    made[1].crash.set()
    with pytest.raises(RuntimeError, match="s1"):
        await task


async def test_a_bus_on_which_nothing_hangs_waits_for_something() -> None:
    made: list[Supervisor] = []

    def make(of: SitePlan, _: BusId, sink: ReadingSink) -> BusSupervisor | None:
        if not of.devices:
            return None
        made.append(Supervisor("s", sink))
        return made[-1]

    buses = LiveBuses([ZIGBEE], plan(0), make, sink=Heard())
    [bus] = buses
    task = asyncio.create_task(bus.run())
    await asyncio.sleep(0.01)
    assert not bus.can_write(*LIGHT)
    assert (await bus.write(Command("c", *LIGHT, True, T0, "k"))).phase is Phase.FAILED
    buses.replace(ZIGBEE, buses.made(plan(1), ZIGBEE))
    await until(lambda: made and made[0].up)
    buses.replace(ZIGBEE, buses.made(plan(0), ZIGBEE))
    await until(lambda: not made[0].up)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.guarantee("G17")
async def test_what_the_old_thing_had_said_is_not_told_of_the_new_one() -> None:
    building = Building(ManualClock(wall_ms=T0))
    devices = Devices(building.house, plan=building.plan, clock=building.clock)
    for celsius in (20.0, 21.0):
        devices.reading(said("thermostat-101", Capability.THERMOSTAT, HEATING, celsius, Unit.CELSIUS))
    devices.reading(said("thermostat-102", Capability.THERMOSTAT, HEATING, 18.0, Unit.CELSIUS))
    devices.serve(building.plan, renewed=DeviceId("thermostat-101"))
    devices.reading(said("thermostat-101", Capability.THERMOSTAT, HEATING, 22.0, Unit.CELSIUS))
    task = asyncio.create_task(devices.run())
    await until(lambda: len(building.log.records(Lane.C, "reading")) == 2)
    kept = [(each.body["device"], each.body["value"]) for each in building.log.records(Lane.C, "reading")]
    assert kept == [("thermostat-102", 18.0), ("thermostat-101", 22.0)]
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await building.store.close()
