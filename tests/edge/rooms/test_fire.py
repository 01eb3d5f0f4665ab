"""Fire mode outranks everything and needs nothing but the buses."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import msgspec
import pytest

from edge.app.devices import BusWriter, Devices
from edge.app.facades import carrier
from edge.app.models import model_of
from edge.bridges.ports import DeviceEvent
from edge.rooms.commands import RoomCommand
from edge.rooms.fire import LOOK_S, FireMode, FireState
from edge.rooms.fire_acts import ACTS, Points, asked, held
from firmware_bridges.catalogue import load_all
from kit.clock import ManualClock
from kit.simulation import SimClock, SimLoop, run_simulated
from protocols.descriptors.codec import Allowed, MessageWrite, PayloadWrite, allow, encode
from protocols.descriptors.descriptor import Descriptor, parse
from protocols.descriptors.firmware import under
from protocols.descriptors.variants import Version
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


async def _stored(_: FireState) -> None:
    await asyncio.sleep(0)


class _Catalogue:
    """Takes what a shipped model takes, by the device's name, under the firmware that each has said so far."""

    def __init__(self, models: dict[str, str]) -> None:
        self.models: dict[DeviceId, Descriptor] = {}
        for name, model in models.items():
            self.put(name, load_all()[DescriptorId(model)])
        self.written: dict[tuple[str, str], Value] = {}
        self.writes: list[tuple[str, str, Value]] = []
        self.deaf: set[DeviceId] = set()

    def put(self, name: str, model: Descriptor, firmware: Version | None = None) -> DeviceId:
        """Set a device up, or have it say its firmware."""
        self.models[DeviceId(name)] = model
        self._models = getattr(self, "_models", {}) | {DeviceId(name): under(model, firmware)}
        return DeviceId(name)

    def points(self, device: DeviceId) -> Points:
        return model_of(self.models[device]).points

    def can_write(self, device: DeviceId, capability: Capability, attribute: str) -> bool:
        point = self._models[device].point(capability, attribute)
        return point is not None and point.write is not None

    async def write(self, command: Command) -> Outcome:
        await asyncio.sleep(0)
        assert command.urgent is not command.id.startswith("fire-over:")
        if command.device in self.deaf:
            raise LinkLostError("the bus is down")
        point = self._models[command.device].point(command.capability, command.attribute)
        assert point is not None
        if isinstance(refused := allow(point, command.value), str):
            return Outcome(Phase.FAILED, None, refused)
        self.written[command.device, command.attribute] = command.value
        self.writes.append((command.device, command.attribute, command.value))
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

        fire = FireMode(
            devices=[DeviceId(each) for each in models], writer=plant, clock=SimClock(loop), changed=_stored
        )
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


UNIT = """
format = 1
identity = { id = "acme/unit", vendor = "Acme", model = "Unit", title = "A fan-coil", source = "its manual" }
quality = { level = "manual", proven = "nothing yet", on = "nothing" }
wire = { kind = "modbus" }
firmware = { table = "holding", register = 90 }

[[points]]
capability = "on_off"
attribute = "on_off"
table = "coil"
register = 1
type = "bool"
write = {}

[[points]]
capability = "on_off"
attribute = "on_off:light"
table = "coil"
register = 2
type = "bool"
write = {}

[[points]]
capability = "thermostat"
attribute = "occupied_heating_setpoint"
table = "holding"
register = 2
type = "int16"
unit = "Cel"
write = { least = 10, most = 30 }

[[quirks]]
before = "2.0"
says = "has its setpoint and its switch elsewhere"
source = "a test"
points = [
  { capability = "thermostat", attribute = "occupied_heating_setpoint", set = { register = 7 } },
  { capability = "on_off", attribute = "on_off:light", set = { register = 8 } },
]
"""


@pytest.mark.requirement("DEV-05")
def test_a_machine_is_one_under_whatever_firmware_and_is_told_all_once_it_says_which() -> None:
    async def night(loop: SimLoop) -> tuple[dict[tuple[str, str], Value], dict[tuple[str, str], Value]]:
        plant = _Catalogue({})
        unit = plant.put("unit", parse(UNIT.encode(), "unit.toml"))
        fire = FireMode(
            devices=[unit], writer=plant, clock=SimClock(loop), changed=_stored, points=plant.points
        )  # fmt: skip
        running = asyncio.ensure_future(fire.run())
        fire.declare("night porter")
        await asyncio.sleep(5)
        unsaid = dict(plant.written)
        plant.put("unit", plant.models[unit], (2, 1))
        await asyncio.sleep(LOOK_S + 1)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        return unsaid, plant.written

    unsaid, said = run_simulated(night, 1, 600).value
    assert unsaid == {("unit", "on_off"): False}, "its setpoint is known, though not what it takes"
    assert said == {("unit", "on_off"): False, ("unit", "on_off:light"): False}


@pytest.mark.requirement("DEV-05")
def test_what_comes_to_the_house_or_back_to_it_while_it_burns_is_told_too() -> None:
    async def night(loop: SimLoop) -> list[tuple[str, str, Value]]:
        lamp, t101 = "zigbee2mqtt/ikea_led1545g12", "regin/rcf_230"
        house = _Catalogue({"lamp": lamp, "new-lamp": lamp, "t-101": t101, "t-new": t101})
        stored: list[FireState] = []

        async def store(state: FireState) -> None:
            await asyncio.sleep(0)
            stored.append(state)

        old, every = [DeviceId("lamp"), DeviceId("t-101")], [DeviceId(each) for each in house.models]
        fire = FireMode(devices=old, writer=house, clock=SimClock(loop), changed=store, points=house.points)
        running = asyncio.ensure_future(fire.run())
        fire.heard(_mode("t-101", "auto"))
        fire.declare("night porter")
        await asyncio.sleep(60)
        house.writes.clear()
        house.deaf = {DeviceId("new-lamp")}
        fire.serve(every)
        fire.heard(_mode("t-new", "auto"))
        await asyncio.sleep(5)
        assert ("t-new", "system_mode", "off") in house.writes
        assert fire.told()["pending"] == ["new-lamp"]
        house.deaf.clear()
        fire.back(DeviceId("new-lamp"))
        await asyncio.sleep(3)
        assert ("new-lamp", "on_off", True) in house.writes, "at once, and not at its next turn half a minute later"
        house.writes.clear()
        fire.back(DeviceId("lamp"))  # its mains came back, and it stands as a factory would have it
        await asyncio.sleep(5)
        assert ("lamp", "on_off", True) in house.writes
        house.writes.clear()
        fire.heard(said("lamp", Capability.ON_OFF, "on_off", False))  # or it never went, as far as its bus knows
        fire.heard(said("lamp", Capability.LEVEL_CONTROL, "current_level", 251))
        await asyncio.sleep(60)
        assert house.writes == [("lamp", "on_off", True)]
        house.writes.clear()
        for _ in range(100):
            fire.back(DeviceId("lamp"))
            await asyncio.sleep(0.1)
        assert len([each for each in house.writes if each[1] == "on_off"]) <= 6, "one that flaps is no flood"
        fire.clear()
        house.writes.clear()
        await asyncio.sleep(60)
        assert stored[-1] == FireState()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        return house.writes

    writes = run_simulated(night, 1, 1_200).value
    assert sorted(writes) == [("t-101", "system_mode", "auto"), ("t-new", "system_mode", "auto")]


def test_what_fire_does_not_write_it_does_not_put_back() -> None:
    """A mode that can only be read would be written for ever."""

    async def night(loop: SimLoop) -> list[tuple[str, str, Value]]:
        house, stored = _Catalogue({"split": "siemens/rdf302"}), [FireState()]

        async def store(state: FireState) -> None:
            await asyncio.sleep(0)
            stored.append(state)

        fire = FireMode(
            devices=[DeviceId("split")], writer=house, clock=SimClock(loop), changed=store, points=house.points
        )
        running = asyncio.ensure_future(fire.run())
        fire.heard(said("split", Capability.THERMOSTAT, "system_mode:state", "sleep"))
        fire.heard(said("split", Capability.FAN_CONTROL, "fan_mode", "auto"))
        fire.heard(smoke("critical"))
        await asyncio.sleep(60)
        assert [row[2:] for row in stored[-1].owed] == [("fan_mode", "auto")]
        fire.heard(smoke("normal"))
        house.writes.clear()
        await asyncio.sleep(60)
        assert stored[-1].owed == ()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        return house.writes

    assert run_simulated(night, 1, 600).value == [("split", "fan_mode", "auto")]


@pytest.mark.requirement("DEV-05")
@pytest.mark.parametrize("killed", [False, True])
def test_a_fan_without_an_off_runs_at_its_least_is_told_so_and_nothing_waits_for_it(killed: bool) -> None:
    """Siemens RDF302: its fan is automatic or 33, 66, 100 per cent; its operating mode has an off."""

    async def night(loop: SimLoop) -> list[tuple[str, str, Value]]:
        house, stored = _Catalogue({"split": "siemens/rdf302", "t-101": "regin/rcf_230"}), [FireState()]

        async def store(state: FireState) -> None:
            await asyncio.sleep(0)
            stored.append(state)

        def life() -> tuple[FireMode, asyncio.Future[None]]:
            fire = FireMode(
                devices=list(house.models), writer=house, clock=SimClock(loop), changed=store, points=house.points
            )
            fire.restore(msgspec.json.decode(msgspec.json.encode(stored[-1]), type=FireState))
            return fire, asyncio.ensure_future(fire.run())

        fan = (Capability.FAN_CONTROL, "fan_mode")
        fire, running = life()
        fire.heard(said("split", *fan, "high"))
        fire.heard(_mode("split", "auto"))
        assert fire.told()["cannot"] == {}
        fire.heard(smoke("critical"))
        await asyncio.sleep(120)
        assert fire.told()["pending"] == []
        assert fire.told()["cannot"] == {"split": "fan_mode has no off, is set to low; system_mode is switched off"}
        assert house.written["split", "fan_mode"] == "low"
        assert house.written["split", "system_mode"] == "off"
        assert len(house.writes) == 4, "each was told once"
        fire.heard(said("split", *fan, "low"))
        if killed:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            fire, running = life()
            fire.heard(said("split", *fan, "low"))
            await asyncio.sleep(60)
        house.writes.clear()
        fire.heard(smoke("normal"))
        fire.heard(said("split", *fan, "low"))
        await asyncio.sleep(60)
        assert stored[-1] == FireState()
        assert fire.told()["cannot"] == {}
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        return house.writes

    writes = run_simulated(night, 1, 1_200).value
    assert sorted(writes) == [("split", "fan_mode", "high"), ("split", "system_mode", "auto")]


@pytest.mark.requirement("DEV-05")
@pytest.mark.parametrize(
    ("words", "wanted", "cannot"),
    [
        ({"fan_mode": {"off", "low"}}, {"fan_mode": "off"}, None),
        ({"fan_mode": {"auto", "high"}}, {"fan_mode": "auto"}, "fan_mode has no off, is set to auto; nothing else"),
        ({"fan_mode": {"medium", "high"}}, {"fan_mode": "medium"}, "fan_mode has no off, is set to medium; nothing"),
        ({"fan_mode": {"high", "on"}}, {}, "fan_mode has no off; nothing else of it can be switched off"),
        ({"fan_mode": {"low"}, "on_off": set()}, {"fan_mode": "low", "on_off": False}, "low; on_off is switched off"),
        ({"system_mode": {"heat"}}, {}, "system_mode has no off; nothing else"),
        ({"fan_mode": {"off", "on"}, "fan_mode:preset": {"auto", "smart"}}, {"fan_mode": "off"}, None),
        ({"fan_mode": set()}, {"fan_mode": "off"}, None),
    ],
)
def test_what_is_asked_is_what_a_device_has_a_word_for(
    words: dict[str, set[str]], wanted: dict[str, Value], cannot: str | None
) -> None:
    of = {"fan_mode": Capability.FAN_CONTROL, "system_mode": Capability.THERMOSTAT, "on_off": Capability.ON_OFF}
    found = asked({(of[name.partition(":")[0]], name): each for name, each in words.items()}, lambda *_: True)
    assert {name: value for (_, name), value in found.wanted.items()} == wanted
    assert (found.cannot is None) == (cannot is None)
    assert (cannot or "") in (found.cannot or "")


@pytest.mark.requirement("DEV-05")
async def test_the_house_tells_fire_who_is_back_before_the_disk_has_heard_it(building: Building) -> None:
    building.log.fail = True
    devices = Devices(building.house, plan=building.plan, clock=building.clock)
    running = asyncio.create_task(building.house.fire.run())
    building.house.fire.declare("night porter")
    for _ in range(50):
        await asyncio.sleep(0)
    assert building.light() is True
    building.devices.effects.clear()
    building.clock.advance(10_000)  # type: ignore[attr-defined]  # it is a ManualClock
    devices.device_event(DeviceId("light-101"), DeviceEvent.ONLINE, {})
    for _ in range(50):
        await asyncio.sleep(0)
    assert building.devices.effects == [("light-101", "on_off", True)]
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


@pytest.mark.requirement("DEV-05")
@pytest.mark.parametrize("attribute", ["on_off", "on_off:left"])
def test_nobody_else_writes_any_endpoint_of_what_fire_holds(attribute: str) -> None:
    assert held(Capability.ON_OFF, attribute)
    assert not held(Capability.THERMOSTAT, "occupied_heating_setpoint")
