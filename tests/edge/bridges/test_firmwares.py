"""Devices that say which firmware they run: held cautious until then, then read by it; and changed in service."""

import asyncio
from typing import Any, Final, cast

import pytest
from asyncua import ua

from edge.bridges import supervision
from edge.bridges.assembly import build
from edge.bridges.modbus import supervisor as modbus_supervisor
from edge.bridges.opcua import supervisor as opcua_supervisor
from edge.bridges.opcua.supervisor import OpcUaSupervisor
from edge.bridges.ports import DeviceEvent
from firmware_bridges.catalogue import load_all
from firmware_bridges.field_emulator import modbus_server
from kit.clock import ManualClock
from kit.dice import SeededDice
from protocols.descriptors.descriptor import Descriptor, parse
from protocols.device_model import site_plan
from protocols.device_model.capability import Capability
from protocols.device_model.command import Phase
from protocols.device_model.identity import BusId, DescriptorId, DeviceId, EdgeId, PropertyId, RoomId
from protocols.device_model.reading import Quality
from protocols.modbus.frames import Read, Refused, Words
from tests.edge.bridges.field import PLAIN, Field, Heard, field, free_port

E, T = Capability.ELECTRICAL_MEASUREMENT, Capability.THERMOSTAT
CATALOGUE: Final = load_all()
IT: Final = DeviceId("it")
POINTS: Final = """
[[points]]
capability = "thermostat"
attribute = "local_temperature"
table = "input"
register = 1
type = "int16"
scale = 0.1
unit = "Cel"
every_s = 0.05

[[points]]
capability = "thermostat"
attribute = "occupied_heating_setpoint"
table = "holding"
register = 2
type = "int16"
scale = 0.1
unit = "Cel"
every_s = 0.05
write = { least = 10, most = 30 }

[emulation]
model = "plain"
firmware = "1.3"
start = [
  { capability = "thermostat", attribute = "local_temperature", value = 21.0 },
  { capability = "thermostat", attribute = "occupied_heating_setpoint", value = 20.0 },
]
"""
QUIRKS: Final = """
[[quirks]]
before = "2.0"
says = "tells whole degrees and takes setpoints elsewhere, up to 25"
source = "a test"

[[quirks.points]]
capability = "thermostat"
attribute = "local_temperature"
set = { scale = 1.0 }

[[quirks.points]]
capability = "thermostat"
attribute = "occupied_heating_setpoint"
set = { register = 7, write = { least = 10, most = 25 } }
"""
HEAD: Final = """
format = 1
identity = { id = "acme/x_1", vendor = "Acme", model = "X 1", title = "A thing", source = "its manual, revision 3" }
quality = { level = "manual", proven = "nothing yet", on = "nothing" }
"""


def acme(told: str, wire: str = '{ kind = "modbus", answer_wait_ms = 400 }', points: str = POINTS) -> Descriptor:
    return parse(f"{HEAD}wire = {wire}\nfirmware = {told}\n{QUIRKS}{points}".encode(), "x_1.toml")


def one(model: Descriptor, bus: site_plan.Bus, address: site_plan.Address) -> site_plan.SitePlan:
    made = site_plan.SitePlan(
        v=1,
        property=site_plan.Property(PropertyId("aurora"), "Hotel Aurora", "Europe/Vienna", "northlight"),
        edge=EdgeId("e-1"),
        rooms=(site_plan.Room(RoomId("101"), 1, "guest_room", "double"),),
        devices=(site_plan.Device(IT, RoomId("101"), model.id, address),),
        buses=(bus,),
    )
    return site_plan.parse(site_plan.encode(made))


def modbus(model: Descriptor) -> site_plan.SitePlan:
    bus = site_plan.ModbusTcpBus(BusId("modbus-1"), "127.0.0.1", free_port())
    return one(model, bus, site_plan.Address(bus.id, unit=1))


def versions(it: Field) -> list[object]:
    return [detail["version"] for _, event, detail in it.heard.events if event is DeviceEvent.FIRMWARE]


def online_at_last(it: Field) -> bool:
    return [each for _, each, _ in it.heard.events if each is not DeviceEvent.FIRMWARE][-1:] == [DeviceEvent.ONLINE]


@pytest.mark.requirement("DEV-02")
@pytest.mark.guarantee("G13")
@pytest.mark.parametrize("told", ['{ table = "holding", register = 90, words = 4, form = "text" }', "{ object = 2 }"])
async def test_a_unit_is_read_and_written_as_the_firmware_that_it_runs(told: str) -> None:
    model = acme(told)
    async with field(modbus(model), catalogue={model.id: model}) as it:
        await it.heard.until(it.heard.says(IT, T, "local_temperature", 21.0))
        assert versions(it) == ["1.3"]
        outcome = await it.devices.write(it.command(IT, T, "occupied_heating_setpoint", 29.0))
        assert (outcome.phase, outcome.read_back) == (Phase.DONE, 25.0)
        assert (await it.truth(IT))["registers"]["holding:7"] == 250

        await it.emulator.answer("flash", {"device": IT, "version": "2.1"})  # in service: it restarts, and says no word
        await it.emulator.answer("power", {"device": IT, "on": False})
        await it.heard.until(it.heard.told(IT, DeviceEvent.QUARANTINED))
        await it.emulator.answer("power", {"device": IT, "on": True})
        await it.heard.until(lambda: versions(it) == ["1.3", "2.1"])
        at = len(it.heard.readings)
        await it.heard.until(
            lambda: (
                any(each.attribute == "local_temperature" for each in it.heard.readings[at:])
                or it.heard.says(IT, T, "local_temperature", 21.0)()
            )
        )
        outcome = await it.devices.write(it.command(IT, T, "occupied_heating_setpoint", 29.0))
        assert (outcome.phase, outcome.read_back) == (Phase.DONE, 29.0)
        assert (await it.truth(IT))["registers"]["holding:2"] == 290
        told_values = {each.value for each in it.heard.readings if each.attribute == "local_temperature"}
        assert told_values <= {21.0, None}, "at no time was a value told that another firmware would have meant"


@pytest.mark.guarantee("G13")
@pytest.mark.guarantee("G17")
async def test_a_unit_that_never_says_its_version_is_held_to_what_all_have_alike(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(supervision, "PATIENCE_MS", 20)
    model = acme('{ table = "holding", register = 90, words = 4, form = "text" }')
    async with field(modbus(model), catalogue={model.id: model}) as it:
        it.emulator.things[IT].firmware = "unreleased"
        await it.heard.until(
            lambda: {
                (each.attribute, each.reason) for each in it.heard.readings if each.quality is Quality.BAD
            } == {("local_temperature", "firmware_unknown"), ("occupied_heating_setpoint", "firmware_unknown")}
        )  # fmt: skip
        assert not [each for each in it.heard.readings if each.quality is Quality.GOOD]
        outcome = await it.devices.write(it.command(IT, T, "occupied_heating_setpoint", 20.0))
        assert outcome.phase is Phase.FAILED
        assert "firmware" in (outcome.reason or "")
        assert (await it.truth(IT))["writes"] == 0


@pytest.mark.guarantee("G13", "G17")
async def test_a_unit_swapped_for_one_that_has_no_version_to_tell_is_not_driven_as_the_one_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reads = modbus_server.EmulatedUnit._read

    def without_version(unit: modbus_server.EmulatedUnit, request: Read) -> Words | Refused:
        return modbus_server.ILLEGAL_ADDRESS if request.start == 90 else reads(unit, request)

    model = acme('{ table = "holding", register = 90, words = 4, form = "text" }')
    async with field(modbus(model), catalogue={model.id: model}) as it:
        await it.heard.until(it.heard.says(IT, T, "local_temperature", 21.0))
        await it.emulator.answer("power", {"device": IT, "on": False})
        await it.heard.until(it.heard.told(IT, DeviceEvent.QUARANTINED))
        it.emulator.things[IT].flash("2.1")
        monkeypatch.setattr(modbus_server.EmulatedUnit, "_read", without_version)
        at = len(it.heard.readings)
        await it.emulator.answer("power", {"device": IT, "on": True})
        await it.heard.until(lambda: any(each.reason == "firmware_unknown" for each in it.heard.readings[at:]))
        assert not [each for each in it.heard.readings[at:] if each.quality is Quality.GOOD]
        outcome = await it.devices.write(it.command(IT, T, "occupied_heating_setpoint", 29.0))
        assert outcome.phase is Phase.FAILED


@pytest.mark.guarantee("G13", "G17")
async def test_a_unit_swapped_for_one_whose_version_cannot_be_read_is_not_driven_as_the_one_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(modbus_supervisor, "ASKED_AGAIN_MS", 20)
    model = acme('{ table = "holding", register = 90, words = 4, form = "text" }')
    async with field(modbus(model), catalogue={model.id: model}) as it:
        await it.heard.until(it.heard.says(IT, T, "local_temperature", 21.0))
        await it.emulator.answer("power", {"device": IT, "on": False})
        await it.heard.until(it.heard.told(IT, DeviceEvent.QUARANTINED))
        it.emulator.things[IT].flash("2.1")
        it.emulator.things[IT].firmware = "\x7f?#%"  # it speaks as 2.1 does, and says nothing that is a version
        at = len(it.heard.readings)
        await it.emulator.answer("power", {"device": IT, "on": True})
        await it.heard.until(lambda: any(each.reason == "firmware_unknown" for each in it.heard.readings[at:]))
        assert not [each for each in it.heard.readings[at:] if each.quality is Quality.GOOD]
        outcome = await it.devices.write(it.command(IT, T, "occupied_heating_setpoint", 29.0))
        assert outcome.phase is Phase.FAILED
        assert (await it.truth(IT))["writes"] == 0
        it.emulator.things[IT].firmware = "2.1"  # asked again soon: one garbled answer is not for good
        await it.heard.until(lambda: versions(it)[-1:] == ["2.1"])


@pytest.mark.guarantee("G13")
@pytest.mark.parametrize(
    ("found", "known"),
    [
        (ua.DataValue(ua.Variant("1.4")), True),
        (ua.DataValue(ua.Variant("?")), False),
        (ua.DataValue(ua.Variant(7)), False),
        (ua.DataValue(StatusCode=ua.StatusCode(ua.UInt32(0x80340000))), False),
        (ua.DataValue(StatusCode=ua.StatusCode(ua.UInt32(0x80050000))), True),
    ],
)
async def test_a_plant_controller_swapped_for_one_that_says_no_version_is_another(
    found: ua.DataValue, known: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = (
        POINTS.replace('table = "input"\nregister = 1\ntype = "int16"', 'node = "{root}.Temp"\ntype = "Double"')
        .replace('table = "holding"\nregister = 2\ntype = "int16"', 'node = "{root}.Setpoint"\ntype = "Double"')
        .replace("every_s = 0.05", "every_s = 0.2")
    )
    model = parse(acme_plant(points).encode(), "x_1.toml")
    made = one(
        model, site_plan.OpcUaBus(BusId("plant"), "opc.tcp://127.0.0.1:1/plant"), site_plan.Address(BusId("plant"))
    )
    clock = ManualClock()
    [bus] = build(made, {model.id: model}, clock, SeededDice(1), Heard(), PLAIN, lambda _: pytest.fail("no such bus"))
    assert isinstance(bus, OpcUaSupervisor)
    answers = [ua.DataValue(ua.Variant("1.3")), found]

    async def read(*_: object) -> list[ua.DataValue]:
        await asyncio.sleep(0)
        return [answers.pop(0)]

    monkeypatch.setattr(opcua_supervisor, "_read", read)
    bus._expect(IT, bus._devices[IT][1], lambda _: 1_000, now_ms=0)
    assert await bus._read_versions(cast("Any", None))
    assert bus._devices[IT][1].known
    changed = await bus._read_versions(cast("Any", None))
    assert bus._devices[IT][1].known is known
    assert changed is (not known or "1.4" in str(found.Value))


@pytest.mark.tier("nats")
async def test_a_tasmota_of_before_5_11_is_heard_on_its_own_topic_until_it_is_updated(broker: tuple[str, int]) -> None:
    model = CATALOGUE[DescriptorId("tasmota/pow_r2")]
    bus = site_plan.MqttDevicesBus(BusId("talkers"))
    plan = one(model, bus, site_plan.Address(bus.id, friendly_name="101/meter"))
    async with field(plan, broker=broker) as it:
        await it.heard.until(lambda: versions(it) == ["5.11"])
        await it.heard.until(it.heard.says(IT, E, "active_power", 60.0))
        await it.emulator.answer("flash", {"device": IT, "version": "5.10.0"})
        await it.heard.until(lambda: versions(it) == ["5.11", "5.10.0"])
        await it.heard.until(it.heard.told(IT, DeviceEvent.OFFLINE))  # it restarted: its other topics may come later
        await it.heard.until(lambda: online_at_last(it))
        last = it.heard.last(IT, E, "apparent_power")
        assert last is not None
        assert (last.quality, last.reason) == (Quality.BAD, "not_in_firmware")
        await it.cause(IT, "set", capability="electrical_measurement", attribute="active_power", value=75.0)
        await it.heard.until(it.heard.says(IT, E, "active_power", 75.0))
        outcome = await it.devices.write(it.command(IT, Capability.ON_OFF, "on_off", False))
        assert outcome.phase is Phase.DONE
        await it.emulator.answer("flash", {"device": IT, "version": "9.5.0"})
        await it.heard.until(lambda: versions(it)[-1] == "9.5.0")
        await it.heard.until(it.heard.says(IT, E, "apparent_power", 0.0))


@pytest.mark.tier("nats")
async def test_a_zigbee_plug_whose_new_firmware_is_misread_by_the_bridge_is_doubted(broker: tuple[str, int]) -> None:
    model = CATALOGUE[DescriptorId("zigbee2mqtt/innr_sp_240")]
    bus = site_plan.MqttBus(BusId("zigbee"), "zigbee2mqtt")
    plan = one(model, bus, site_plan.Address(bus.id, friendly_name="plug"))

    def energy(it: Field) -> Quality | None:
        last = it.heard.last(IT, E, "cumulative_energy_imported")
        return None if last is None else last.quality

    async with field(plan, broker=broker) as it:
        await it.heard.until(lambda: energy(it) is Quality.UNCERTAIN)
        await it.emulator.answer("flash", {"device": IT, "version": "1.7.0"})
        await it.heard.until(lambda: versions(it) == ["1.9.28", "1.7.0"])
        await it.cause(
            IT, "set", capability="electrical_measurement", attribute="cumulative_energy_imported", value=9.5
        )
        await it.heard.until(lambda: energy(it) is Quality.GOOD)


async def test_a_plant_controller_says_its_software_revision() -> None:
    points = (
        POINTS.replace('table = "input"\nregister = 1\ntype = "int16"', 'node = "{root}.Temp"\ntype = "Double"')
        .replace('table = "holding"\nregister = 2\ntype = "int16"', 'node = "{root}.Setpoint"\ntype = "Double"')
        .replace("every_s = 0.05", "every_s = 0.2")
    )
    text = acme_plant(points)
    model = parse(text.encode(), "x_1.toml")
    bus = site_plan.OpcUaBus(BusId("plant"), f"opc.tcp://127.0.0.1:{free_port()}/plant")
    async with field(one(model, bus, site_plan.Address(bus.id)), catalogue={model.id: model}) as it:
        await it.heard.until(it.heard.says(IT, T, "local_temperature", 21.0))
        assert versions(it) == ["1.3"]
        outcome = await it.devices.write(it.command(IT, T, "occupied_heating_setpoint", 29.0))
        assert (outcome.phase, outcome.read_back) == (Phase.DONE, 25.0)


def acme_plant(points: str) -> str:
    quirks = QUIRKS.replace("register = 7, ", "")
    wire = '{ kind = "opcua", root = "ns=2;s=X", publishing_ms = 50 }'
    return f'{HEAD}wire = {wire}\nfirmware = {{ node = "{{root}}.SoftwareRevision" }}\n{quirks}{points}'
