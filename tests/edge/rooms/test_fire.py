"""Fire mode outranks everything and needs nothing but the buses."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import msgspec
import pytest

from edge.app.devices import BusWriter, Devices
from edge.app.facades import carrier
from edge.rooms.commands import RoomCommand
from edge.rooms.fire import ACTS, FireMode, FireState
from firmware_bridges.catalogue import load_all
from kit.clock import ManualClock
from kit.simulation import SimClock, SimLoop, run_simulated
from protocols.descriptors.codec import Allowed, MessageWrite, PayloadWrite, allow, encode
from protocols.device_model.capability import Capability, Value
from protocols.device_model.command import Command, Outcome, Phase
from protocols.device_model.identity import DescriptorId, DeviceId, RoomId
from protocols.device_model.reading import Quality, Reading
from protocols.errors import InvalidInputError, LinkLostError, StoreFailedError
from tests.edge.world import HEATING, T0, Building, FakeDevices, contact, said

ROOM = RoomId("101")


def smoke(state: str, quality: Quality = Quality.GOOD, device: str = "panel") -> Reading:
    value = None if quality is Quality.BAD else state
    return Reading(DeviceId(device), Capability.SMOKE_CO_ALARM, "smoke_state", value, None, quality)


@pytest.fixture
async def building(tmp_path: Path) -> AsyncIterator[Building]:
    building = Building(ManualClock(now_ms=1_000_000, wall_ms=T0), path=tmp_path / "edge.db")
    yield building
    await building.store.close()


@pytest.mark.requirement("DEV-05")
def test_every_light_is_on_with_log_store_cloud_and_rooms_down_and_devices_that_fail() -> None:
    async def night(loop: SimLoop) -> FakeDevices:
        devices = FakeDevices(SimClock(loop))
        devices.outcomes = ["lost", "refused", "deaf", "deaf", "refused", "lost", "deaf"]

        async def refuse(_: FireState) -> None:
            raise StoreFailedError("the disk refused")

        names = [DeviceId(f"light-{n}") for n in (101, 102, 103)]
        fire = FireMode(devices=names, writer=devices, clock=SimClock(loop), changed=refuse)
        running = asyncio.ensure_future(fire.run())
        fire.heard(smoke("critical"))
        await asyncio.sleep(120)
        assert fire.told()["pending"] == []
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        return devices

    devices = run_simulated(night, 1, 600).value
    assert {device: value for (device, _), value in devices.values.items()} == dict.fromkeys(
        ("light-101", "light-102", "light-103"), True
    )


async def test_it_is_heard_while_readings_wait_for_the_disk(building: Building) -> None:
    building.log.fail = True
    devices = Devices(building.house, plan=building.plan, clock=building.clock)
    running = asyncio.create_task(devices.run())
    devices.reading(contact("101", closed=False))
    await asyncio.sleep(0.04)  # now it waits for the disk
    devices.reading(smoke("critical"))
    assert building.house.fire.active
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_rooms_and_commands_leave_the_devices_alone_while_it_burns(building: Building) -> None:
    building.house.fire.heard(smoke("critical"))
    building.house.rooms.entered(ROOM, None, at_ms=T0)
    assert building.house.rooms.think() == []
    off = RoomCommand("c", ROOM, Capability.ON_OFF, "on_off", False, T0 + 10_000, "key-fire-1", "desk")
    with pytest.raises(InvalidInputError, match="fire mode holds"):
        await building.house.rooms.command(off)
    assert building.devices.effects == []


async def test_afterwards_the_rooms_are_what_their_modes_say(building: Building) -> None:
    house = building.house
    house.fire.heard(smoke("critical"))
    running = asyncio.create_task(house.fire.run())
    for _ in range(20):
        await asyncio.sleep(0)
    assert building.light() is True
    house.fire.heard(smoke("normal"))
    for _ in range(20):
        await asyncio.sleep(0)
    assert not house.fire.active
    await building.work()
    assert building.heating() == 17.0
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


def test_silence_and_nonsense_never_end_a_fire_and_warnings_never_begin_one(building: Building) -> None:
    fire = building.house.fire
    for reading in (
        smoke("warning"),
        smoke("critical", Quality.UNCERTAIN),
        said("light-101", Capability.ON_OFF, "on_off", True),
    ):
        fire.heard(reading)
        assert not fire.active
    fire.heard(smoke("critical"))
    for quality in (Quality.STALE, Quality.BAD, Quality.UNCERTAIN):
        fire.heard(smoke("normal", quality))
        assert fire.active
    fire.heard(smoke("normal", device="another"))
    assert fire.active


def test_a_person_overrules_a_detector_until_it_has_said_normal(building: Building) -> None:
    fire = building.house.fire
    fire.heard(smoke("critical"))
    fire.clear()
    fire.heard(smoke("critical"))
    assert not fire.active
    fire.heard(smoke("normal"))
    fire.heard(smoke("critical"))
    assert fire.active


@pytest.mark.guarantee("G11")
async def test_a_declared_fire_survives_a_restart_and_its_end_too(building: Building) -> None:
    for declared in (True, False):
        fire = building.house.fire
        running = asyncio.create_task(fire.run())
        if declared:
            fire.declare("desk:anna")
        else:
            fire.clear()
        for _ in range(20):
            await asyncio.sleep(0)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await building.restart()
        assert building.house.fire.active is declared
    assert building.devices.values.get(("thermostat-101", HEATING)) is None


@pytest.mark.requirement("DEV-05")
@pytest.mark.parametrize(
    ("model", "sent"),
    [
        ("zigbee2mqtt/ikea_e1926", PayloadWrite({"position": 100.0})),
        ("zigbee2mqtt/aqara_zncldj12lm", PayloadWrite({"position": 100.0})),
        ("shelly/plus_2pm_cover", b'"pos":100}'),
    ],
)
def test_a_curtain_is_opened_in_the_words_of_its_wire(model: str, sent: PayloadWrite | bytes) -> None:
    """Both makers count what is open: zigbee2mqtt.io, "position: 100 is open"; Shelly, "0 (closed) - 100 (open)"."""
    [lift] = [each for each in ACTS if each[0] is Capability.WINDOW_COVERING]
    point = load_all()[DescriptorId(model)].point(lift[0], lift[1])
    assert point is not None
    allowed = allow(point, lift[2])
    assert isinstance(allowed, Allowed)
    wire = encode(point, allowed.value)
    assert wire == sent if isinstance(sent, PayloadWrite) else isinstance(wire, MessageWrite) and sent in wire.payload


class _Catalogue:
    """Takes what a shipped model takes, by the device's name."""

    def __init__(self, models: dict[str, str]) -> None:
        self._models = {DeviceId(name): load_all()[DescriptorId(model)] for name, model in models.items()}
        self.written: dict[tuple[str, str], Value] = {}
        self.deaf: set[DeviceId] = set()

    def can_write(self, device: DeviceId, capability: Capability, attribute: str) -> bool:
        point = self._models[device].point(capability, attribute)
        return point is not None and point.write is not None

    async def write(self, command: Command) -> Outcome:
        await asyncio.sleep(0)
        if command.device in self.deaf:
            raise LinkLostError("the bus is down")
        self.written[command.device, command.attribute] = command.value
        return Outcome(Phase.DONE, command.value)


@pytest.mark.requirement("DEV-05")
def test_lights_come_on_and_machines_go_off_by_the_same_word() -> None:
    async def night(loop: SimLoop) -> _Catalogue:
        models = {
            "lamp": "zigbee2mqtt/ikea_led1545g12",
            "relay": "shelly/shelly_1pm",
            "ahu": "reference/ahu_5000",
            "chiller": "reference/chiller_60",
            "curtain": "zigbee2mqtt/ikea_e1926",
            "split": "esphome/climate",
        }
        plant = _Catalogue(models)

        async def stored(_: FireState) -> None:
            await asyncio.sleep(0)

        fire = FireMode(devices=[DeviceId(each) for each in models], writer=plant, clock=SimClock(loop), changed=stored)
        running = asyncio.ensure_future(fire.run())
        fire.declare("night porter")
        await asyncio.sleep(60)
        assert fire.told()["pending"] == []
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        return plant

    written = run_simulated(night, 1, 600).value.written
    switched = {device: value for (device, attribute), value in written.items() if attribute == "on_off"}
    assert switched == {"lamp": True, "relay": True, "ahu": False, "chiller": False}
    assert written["split", "system_mode"] == "off"
    assert written["curtain", "current_position_lift_percentage"] == 0.0


@pytest.mark.requirement("DEV-05")
async def test_nobody_starts_plant_from_another_platform_while_it_burns(building: Building) -> None:
    async def start(capability: Capability, attribute: str, value: Value) -> Outcome:
        name = f"ha-{attribute}"
        deadline_ms = building.clock.wall_ms() + 10_000
        command = Command(name, DeviceId("light-101"), capability, attribute, value, deadline_ms, name)
        return await carry(RoomId("lobby"), command)

    carry = carrier(building.house, cast("BusWriter", building.devices), by="home-assistant")
    building.house.fire.declare("night porter")
    refused = await start(Capability.ON_OFF, "on_off", False)
    assert (refused.phase, building.devices.effects) == (Phase.FAILED, [])
    assert "fire" in (refused.reason or "")
    building.house.fire.clear()
    assert (await start(Capability.ON_OFF, "on_off", False)).phase is Phase.DONE


def _mode(device: str, word: str) -> Reading:
    return said(device, Capability.THERMOSTAT, "system_mode", word)


@pytest.mark.requirement("DEV-05")
@pytest.mark.parametrize("killed", [False, True])
def test_a_false_alarm_leaves_no_cold_house_over_a_restart_too(killed: bool) -> None:
    models = dict.fromkeys(("t-101", "t-102", "t-103"), "regin/rcf_230") | {"ahu": "reference/ahu_5000"}

    async def night(loop: SimLoop) -> _Catalogue:
        house, stored = _Catalogue(models), [FireState()]

        async def store(state: FireState) -> None:
            await asyncio.sleep(0)
            stored.append(state)

        def life() -> tuple[FireMode, asyncio.Future[None]]:
            devices = [DeviceId(each) for each in models]
            fire = FireMode(devices=devices, writer=house, clock=SimClock(loop), changed=store)
            fire.restore(msgspec.json.decode(msgspec.json.encode(stored[-1]), type=FireState))
            return fire, asyncio.ensure_future(fire.run())

        fire, running = life()
        for device, word in (("t-101", "auto"), ("t-102", "off"), ("t-103", "auto")):
            fire.heard(_mode(device, word))
        fire.heard(smoke("critical"))
        await asyncio.sleep(60)
        assert {each: house.written[each, "system_mode"] for each in ("t-101", "t-103")} == {
            "t-101": "off",
            "t-103": "off",
        }
        fire.heard(_mode("t-101", "off"))
        if killed:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            fire, running = life()
            fire.heard(_mode("t-101", "off"))
            await asyncio.sleep(60)
            assert house.written["t-101", "system_mode"] == "off", "nobody has said that it is over"
        house.written.clear()
        house.deaf = {DeviceId("t-101")}
        fire.heard(smoke("normal"))
        fire.heard(_mode("t-103", "sleep"))  # by hand, at the wall
        await asyncio.sleep(10)
        house.deaf.clear()
        await asyncio.sleep(60)
        assert stored[-1] == FireState()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        return house

    written = run_simulated(night, 1, 600).value.written
    assert written == {("t-101", "system_mode"): "auto"}, "t-102 was off, t-103 was set since, plant waits for a person"
