"""Thermostats lose power, alone, together and with their edge, and start again at a setpoint of their own: the rooms
come right again, and no light comes on for it.

The rooms and what feeds them are the real ones on virtual time; thermostats, their bus and the hands on their dials are
played here, and are the truth that is held against.
"""

import asyncio
from pathlib import Path
from typing import Final

import pytest

from edge.app.devices import Devices
from edge.bridges.ports import DeviceEvent
from edge.rooms.returns import PAUSE_MS
from kit.simulation import SimClock, SimLoop, run_simulated
from protocols.device_model.capability import Capability, Unit
from protocols.device_model.identity import DeviceId, StayId
from tests.edge.world import HEATING, PHONE, T0, Building, a_document, a_stay, contact, motion, said
from tests.seeds import seeds

ROOMS: Final = 4
RESTART_C: Final = 20.0
SET_BACK_C, DIALLED_C = 17.0, 23.0
POLL_S: Final = 30.0
HOURS: Final = 12
WELL_S: Final = PAUSE_MS / 1000 + 120  # after an outage that follows another


class Plant:
    """The thermostats and their bus."""

    def __init__(self, loop: SimLoop, building: Building, devices: Devices) -> None:
        self.loop, self.building, self.devices = loop, building, devices
        self.dark: set[str] = set()
        self.edge_down = False
        self.jobs: list[asyncio.Future[None]] = []
        self.lit_s: dict[str, float] = {}
        self.cuts = 0

    def begin(self) -> None:
        house = self.building.house
        self.jobs = [asyncio.ensure_future(each) for each in (self.devices.run(), house.rooms.run(house.stored))]

    async def end(self) -> None:
        for job in self.jobs:
            job.cancel()
        await asyncio.gather(*self.jobs, return_exceptions=True)

    async def edge_without_power(self, down_s: float) -> None:
        """The edge dies where it stands; its buses find out anew who is there."""
        if self.edge_down:
            return
        self.edge_down = True
        await self.end()
        await asyncio.sleep(down_s)
        await self.building.restart()
        self.devices = Devices(self.building.house, plan=self.building.plan, clock=self.building.clock)
        self.edge_down = False
        self.begin()
        for name in self.thermostats():
            self.lit_s[name] = self.loop.time()
            online = DeviceEvent.OFFLINE if name in self.dark else DeviceEvent.ONLINE
            self.devices.device_event(DeviceId(name), online, {})

    def thermostats(self) -> list[str]:
        return [f"thermostat-{101 + each}" for each in range(ROOMS)]

    def say(self, name: str) -> None:
        if self.edge_down:
            return
        value = self.building.devices.values.get((name, HEATING), RESTART_C)
        self.devices.reading(said(name, Capability.THERMOSTAT, HEATING, value, Unit.CELSIUS))

    async def poll(self) -> None:
        while True:
            for name in self.thermostats():
                if name not in self.dark:
                    self.say(name)
            await asyncio.sleep(POLL_S)

    async def cut(self, names: list[str], dark_s: float) -> None:
        self.cuts += 1
        for name in names:
            self.dark.add(name)
            if not self.edge_down:
                self.devices.device_event(DeviceId(name), DeviceEvent.OFFLINE, {"cause": "test"})
        await asyncio.sleep(dark_s)
        for name in names:
            self.building.devices.values[name, HEATING] = RESTART_C
            self.dark.discard(name)
            self.lit_s[name] = self.loop.time()
            if not self.edge_down:
                self.devices.device_event(DeviceId(name), DeviceEvent.ONLINE, {})
            self.say(name)


async def a_day(loop: SimLoop, folder: Path, *, edge_too: bool = False) -> Plant:
    building = Building(SimClock(loop), path=folder / f"edge-{loop.seed}.db", rooms=ROOMS)
    devices = Devices(building.house, plan=building.plan, clock=building.clock)
    plant = Plant(loop, building, devices)
    house = building.house
    stay = a_stay(expected_until_ms=T0 + 72 * 3_600_000)
    await house.keeper.apply(1, a_document(stay))
    plant.begin()
    polling = asyncio.ensure_future(plant.poll())
    await house.desk.check_in(StayId("s-anna"), PHONE, by="desk")
    await building.opened()
    devices.reading(contact("101", closed=False))
    await asyncio.sleep(5)
    devices.reading(contact("101", closed=True))
    await asyncio.sleep(60)
    devices.reading(motion("101", seen=True))
    await asyncio.sleep(120)
    building.devices.values["thermostat-101", HEATING] = DIALLED_C  # by hand
    await asyncio.sleep(120)
    dice = loop.dice("cuts")
    cuts: list[asyncio.Task[None]] = []
    lit = [effect for effect in building.devices.effects if effect[0].startswith("light")]
    for minute in range(HOURS * 60):
        if minute % 30 == 0:
            names = plant.thermostats() if dice.uniform(0, 1) < 0.3 else [dice.choice(plant.thermostats())]
            down_s = dice.uniform(1, 900)
            cuts.append(asyncio.ensure_future(plant.cut(names, down_s)))
            if edge_too:
                edge_s = dice.choice([dice.uniform(1, 30), down_s, down_s + dice.uniform(10, 300)])
                cuts.append(asyncio.ensure_future(plant.edge_without_power(edge_s)))
        for name in plant.thermostats():
            wanted_c = DIALLED_C if name == "thermostat-101" else SET_BACK_C
            since_s = loop.time() - plant.lit_s.get(name, 0.0)
            if name not in plant.dark and since_s > WELL_S and not plant.edge_down:
                found_c = building.devices.values[name, HEATING]
                assert found_c == wanted_c, f"{name} holds {found_c}, {since_s:.0f} s after its return"
        await asyncio.sleep(60)
    await asyncio.gather(*cuts)
    assert [effect for effect in building.devices.effects if effect[0].startswith("light")] == lit
    polling.cancel()
    await plant.end()
    await asyncio.gather(polling, return_exceptions=True)
    await building.store.close()
    return plant


@pytest.mark.requirement("DEV-07", "DEV-09")
@pytest.mark.parametrize("seed", seeds(1, 20))
def test_after_every_power_cut_the_rooms_are_warm_as_they_should_be(seed: int, tmp_path: Path) -> None:
    plant = run_simulated(lambda loop: a_day(loop, tmp_path), seed, (HOURS + 2) * 3600.0).value
    assert plant.cuts == 2 * HOURS
    told = [effect for effect in plant.building.devices.effects if effect[1] == HEATING]
    assert len(told) <= ROOMS + 3 + plant.cuts * ROOMS  # once a return at most


@pytest.mark.requirement("DEV-07", "DEV-09")
@pytest.mark.parametrize("seed", seeds(1, 20))
def test_mains_that_fail_for_the_edge_too_leave_every_room_as_it_should_be(seed: int, tmp_path: Path) -> None:
    day = run_simulated(lambda loop: a_day(loop, tmp_path, edge_too=True), seed, (HOURS + 2) * 3600.0)
    assert day.value.cuts == 2 * HOURS
    told = [effect for effect in day.value.building.devices.effects if effect[1] == HEATING]
    assert len(told) <= ROOMS + 3 + day.value.cuts * 2 * ROOMS
