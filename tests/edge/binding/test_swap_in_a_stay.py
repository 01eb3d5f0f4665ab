"""Devices swapped in the middle of a stay, through the real supervisors and emulated things on real sockets."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import structlog
from msgspec.structs import replace

from edge.app.binding_desk import BindingDesk
from edge.app.buses import fresh_ms
from edge.app.devices import BusWriter, Devices
from edge.app.live_buses import LiveBuses
from edge.bridges.assembly import build
from edge.bridges.ports import BusSupervisor, ReadingSink
from edge.bridges.settings import BridgesSettings
from edge.rooms.commands import RoomCommand
from edge.rooms.modes import Mode
from firmware_bridges.field_emulator.building import FieldEmulator
from firmware_bridges.field_emulator.misbehaviour import GOOD
from kit.clock import SystemClock
from kit.dice import SeededDice
from kit.files import SystemDisk
from kit.mqtt import Broker, MqttTransport
from protocols.device_model.capability import Capability
from protocols.device_model.command import Phase
from protocols.device_model.identity import BusId, DeviceId, RoomId, StayId
from protocols.device_model.site_plan import Address, Device, ModbusTcpBus, MqttBus, SitePlan
from protocols.link.lanes import Lane
from provisioning.rehearsal.nats import Nats
from tests.edge.binding.desk import ana
from tests.edge.bridges.field import CATALOGUE, CONTACT, LIGHT, THERMOSTAT, free_port
from tests.edge.world import HEATING, HOUR_MS, PHONE, Building, a_document, a_stay
from tests.edge.world import plan as bare

WAIT_S = 30.0
CLIMATE, ZIGBEE, ROOM = BusId("climate"), BusId("zigbee"), RoomId("101")


def plans() -> tuple[SitePlan, SitePlan]:
    """What stands in the building, and what the plan knows of it: the spares are in no plan."""
    planned = (
        Device(DeviceId("thermostat-101"), ROOM, THERMOSTAT, Address(CLIMATE, unit=1)),
        Device(DeviceId("light-101"), ROOM, LIGHT, Address(ZIGBEE, friendly_name="light-101")),
        Device(DeviceId("contact-101"), ROOM, CONTACT, Address(ZIGBEE, friendly_name="contact-101")),
    )
    spares = (
        Device(DeviceId("spare-thermostat"), ROOM, THERMOSTAT, Address(CLIMATE, unit=2)),
        Device(DeviceId("spare-lamp-101"), ROOM, LIGHT, Address(ZIGBEE, friendly_name="spare-lamp-101")),
    )
    buses = (ModbusTcpBus(CLIMATE, "127.0.0.1", free_port()), MqttBus(ZIGBEE, "zigbee2mqtt"))
    known = replace(bare(1), devices=planned, buses=buses)
    return replace(known, devices=planned + spares), known


class House:
    """The edge without its programs around it: rooms, devices, buses and the desk."""

    def __init__(self, folder: Path, broker: tuple[str, int]) -> None:
        self.clock = SystemClock("host")
        self.standing, known = plans()
        self.building = Building(self.clock, path=folder / "edge.db", rooms=1)
        self.writer = BusWriter()
        self.building.plan, self.building.devices = known, self.writer  # type: ignore[assignment]  # the real way
        self.building.house = self.building._house(self.building.store, self.building.restored)
        self.house = self.building.house
        self.devices = Devices(self.house, plan=known, clock=self.clock)

        def transport(name: str) -> MqttTransport:
            return MqttTransport(Broker(*broker, client_id=name))

        def make(of: SitePlan, bus: BusId, heard: ReadingSink) -> BusSupervisor | None:
            one = replace(of, buses=tuple(each for each in of.buses if each.id == bus), devices=of.devices_on(bus))
            made = build(
                one,
                CATALOGUE,
                self.clock,
                SeededDice(2),
                heard,
                BridgesSettings(),
                lambda each: transport(f"edge-{each.id}"),
            )
            return next(iter(made), None)

        self.buses = LiveBuses([CLIMATE, ZIGBEE], known, make, sink=self.devices)
        self.writer.buses = list(self.buses)
        self.desk = BindingDesk(
            known,
            CATALOGUE,
            house=self.house,
            devices=self.devices,
            writer=self.writer,
            log=self.building.log,
            disk=SystemDisk(),
            folder=folder,
            fresh_ms=fresh_ms,
            clock=self.clock,
            dice=SeededDice(3),
            logger=structlog.wrap_logger(structlog.ReturnLogger(), processors=[]),
        )
        self.desk.buses = self.buses
        self.emulator = FieldEmulator(
            self.standing,
            CATALOGUE,
            transport_of=lambda bus: transport(f"zigbee2mqtt-{bus.id}"),
            clock=self.clock,
            dice=SeededDice(4),
            knobs=GOOD,
        )

    async def truth(self, device: str) -> dict[str, Any]:
        return await self.emulator.answer("true_state", {"device": device})

    def held(self, device: str) -> object:
        shown = self.house.view.shown([ROOM], now_ms=self.clock.now_ms())
        found = [
            (each.value, each.quality.value) for each in shown if (each.device, each.attribute) == (device, HEATING)
        ]
        return found[0] if found else None

    async def command(self, capability: Capability, attribute: str, value: float | bool, key: str) -> Phase:
        deadline_ms = self.clock.wall_ms() + 15_000
        asked = RoomCommand(key, ROOM, capability, attribute, value, deadline_ms, f"guest:{key}", "guest")
        return (await self.house.rooms.command(asked)).phase


async def until(true: Callable[[], Any]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not true():
            await asyncio.sleep(0.02)


async def until_there(it: House, device: str, key: str, value: object) -> None:
    async with asyncio.timeout(WAIT_S):
        while (await it.truth(device))["state"].get(key) != value:
            await asyncio.sleep(0.02)


@asynccontextmanager
async def at_work(folder: Path) -> AsyncIterator[House]:
    async with Nats(folder / "nats") as nats:
        it = House(folder, ("127.0.0.1", nats.port))
        started = asyncio.Event()
        tasks = [asyncio.create_task(it.emulator.run(started))]
        async with asyncio.timeout(WAIT_S):
            await started.wait()
        await it.desk.begin()
        tasks += [asyncio.create_task(each.run()) for each in it.buses]
        tasks.append(asyncio.create_task(it.devices.run()))
        tasks.append(asyncio.create_task(it.house.rooms.run(it.house.stored)))
        try:
            yield it
            for each in tasks:
                if each.done():
                    each.result()
        finally:
            for each in tasks:
                each.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await it.building.store.close()


@pytest.mark.tier("nats")
@pytest.mark.requirement("DEV-01", "DEV-06")
@pytest.mark.guarantee("G2", "G13")
async def test_a_thermostat_and_a_lamp_are_swapped_while_a_guest_lives_in_the_room(tmp_path: Path) -> None:
    async with at_work(tmp_path) as it:
        now_ms = it.clock.wall_ms()
        times: dict[str, Any] = {"expected_from_ms": now_ms - HOUR_MS, "expected_until_ms": now_ms + 20 * HOUR_MS}
        await it.house.desired("stays", 1, a_document(a_stay(**times), as_of_ms=now_ms))
        await it.house.desk.check_in(StayId("s-anna"), PHONE, by="desk")
        await it.building.opened("101", at_ms=now_ms)
        await until(lambda: it.house.rooms.state(ROOM).mode is Mode.OCCUPIED_COMFORT)
        await until(lambda: it.held("thermostat-101") is not None and it.devices.reached(DeviceId("light-101")))
        assert await it.command(Capability.THERMOSTAT, HEATING, 23.5, "warm") is Phase.DONE
        await until(lambda: it.held("thermostat-101") == (23.5, "good"))
        mode = it.house.rooms.state(ROOM).mode

        # The thermostat dies; the spare is on unit 2, at a setpoint of its own.
        assert (await it.desk.probe(CLIMATE, range(1, 4))) == {"bus": CLIMATE, "asked": [2, 3], "answered": [2]}
        [met] = [each for each in it.desk.found() if each["bus"] == CLIMATE]
        assert met["address"] == {"bus": CLIMATE, "unit": 2}
        assert (await it.truth("spare-thermostat"))["writes"] == 0
        await it.emulator.answer("power", {"device": "thermostat-101", "on": False})
        spare = Address(CLIMATE, unit=2)
        name = DeviceId("thermostat-101")
        answer = await it.desk.swap(name, THERMOSTAT, spare, ana(why="dead"), accept_less=False, found_id=met["id"])
        assert answer["fact"]["version"] == 1
        assert it.held("thermostat-101") == (23.5, "stale")  # what was known is kept, and told as old
        await until(lambda: it.held("thermostat-101") == (23.5, "good"))
        assert (await it.truth("spare-thermostat"))["writes"] >= 1
        assert (await it.desk.test(name, ana(), disturb=False))["fact"]["test"]["result"] is True

        # The lamp is found on the air by its bridge, proposed for the room that its name holds, and swapped.
        await until(lambda: [each for each in it.desk.found() if each["bus"] == ZIGBEE])
        [thing] = [each for each in it.desk.found() if each["bus"] == ZIGBEE]
        assert thing["evidence"]["friendly_name"] == "spare-lamp-101"
        assert thing["candidates"][0]["descriptor"] == LIGHT
        lamp = DeviceId("light-101")
        address = Address(ZIGBEE, friendly_name="spare-lamp-101")
        await it.desk.swap(lamp, LIGHT, address, ana(), accept_less=False, found_id=DeviceId(thing["id"]))
        await until(lambda: it.devices.reached(lamp))
        before = (await it.truth("light-101"))["writes"]
        assert await it.command(Capability.ON_OFF, "on_off", True, "light") is Phase.DONE
        assert (await it.truth("spare-lamp-101"))["writes"] >= 1
        assert (await it.truth("light-101"))["writes"] == before
        await until(lambda: [each["evidence"].get("friendly_name") for each in it.desk.found()] == ["light-101"])

        # Nothing of the stay has moved, and lane A says who did what.
        assert it.house.rooms.state(ROOM).mode is mode
        assert it.house.rooms.state(ROOM).stay == "s-anna"
        facts = [each.body for each in it.building.log.records(Lane.A, "binding")]
        assert [(each["act"], each["device"], each["by"]) for each in facts] == [
            ("swapped", "thermostat-101", "ana"),
            ("tested", "thermostat-101", "ana"),
            ("swapped", "light-101", "ana"),
        ]
