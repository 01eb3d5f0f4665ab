"""A register map with everything awkward in it, from its file alone to readings and writes on the real wire."""

from functools import partial
from typing import Final

import pytest

from edge.bridges.modbus.supervisor import ModbusSupervisor
from protocols.descriptors.descriptor import parse
from protocols.device_model.capability import Capability
from protocols.device_model.command import Phase
from protocols.device_model.identity import DeviceId
from protocols.modbus.read_planner import plan_by_interval
from tests.edge.bridges.field import field
from tests.edge.bridges.test_firmwares import modbus

E, T, ON = Capability.ELECTRICAL_MEASUREMENT, Capability.THERMOSTAT, Capability.ON_OFF
IT: Final = DeviceId("it")
MAP: Final = """
format = 1
identity = { id = "acme/odd", vendor = "Acme", model = "Odd", title = "Meter", source = "made up to break things" }
quality = { level = "manual", proven = "nothing at all", on = "nothing" }
wire = { kind = "modbus", block_most = 40, gap_most = 20 }
points = [
  { capability = "electrical_measurement", attribute = "cumulative_energy_imported", table = "holding", register = 0, type = "bcd32", unit = "kW.h" },
  { capability = "electrical_measurement", attribute = "cumulative_energy_exported", table = "holding", register = 2, type = "mod10k48", unit = "kW.h" },
  { capability = "electrical_measurement", attribute = "active_power", table = "holding", register = 6, type = "float64", word_order = "little", byte_order = "little", unit = "W" },
  { capability = "fan_control", attribute = "speed_current", table = "holding", register = 12, type = "uint16", bit = 4, bits = 3 },
  { capability = "fault_state", attribute = "active:filter", table = "holding", register = 12, type = "bool", bit = 0 },
  { capability = "electrical_measurement", attribute = "rms_voltage", table = "holding", register = 14, exponent = 15, type = "uint16", nan = [65535], unit = "V" },
  { capability = "thermostat", attribute = "system_mode", table = "holding", register = 13, type = "uint16", write_only = true, values = [[0, "off"], [3, "heat"]], write = {} },
  { capability = "thermostat", attribute = "occupied_heating_setpoint", table = "holding", register = 20, type = "bcd16", scale = 0.1, unit = "Cel", write = { least = 10, most = 30, step = 0.5 } },
  { capability = "on_off", attribute = "on_off", table = "coil", register = 9, type = "bool", write_only = true, write = {} },
]
[emulation]
model = "plain"
start = [
  { capability = "electrical_measurement", attribute = "cumulative_energy_imported", value = 12345678 },
  { capability = "electrical_measurement", attribute = "cumulative_energy_exported", value = 312345678 },
  { capability = "electrical_measurement", attribute = "active_power", value = 1234.5 },
  { capability = "fan_control", attribute = "speed_current", value = 5 },
  { capability = "fault_state", attribute = "active:filter", value = true },
  { capability = "electrical_measurement", attribute = "rms_voltage", value = 231 },
  { capability = "thermostat", attribute = "occupied_heating_setpoint", value = 21.5 },
]
"""  # noqa: E501 - a line a point, as in a maker's table


def test_what_can_only_be_written_is_never_read_nor_read_along() -> None:
    reads = [block.read for blocks in plan_by_interval(parse(MAP.encode(), "odd")).values() for block in blocks]
    assert {each.table for each in reads} == {"holding"}
    assert not any(each.start <= 13 < each.start + each.count for each in reads)


@pytest.mark.requirement("DEV-02")
async def test_a_register_that_the_unit_does_not_have_is_told_as_refused_and_not_as_silent() -> None:
    model = parse(MAP.encode(), "odd")
    async with field(modbus(model), catalogue={model.id: model}) as it:
        unit = it.emulator._units[IT]
        unit._unreadable |= {("holding", 0), ("holding", 1)}
        [bus] = it.buses
        assert isinstance(bus, ModbusSupervisor)
        for each in ("cumulative_energy_imported", "rms_voltage"):
            await it.heard.until(partial(it.heard.last, IT, E, each))
        # Asked for every ten turns of half a minute from now on: it is as true in between.
        bus._reporter.sweep(now_ms=it.clock.now_ms() + 100_000)
        told = [each.reason for each in it.heard.readings if each.attribute == "cumulative_energy_imported"]
        assert told == ["device_exception: illegal_data_address"]
        assert it.heard.last(IT, E, "rms_voltage").reason == "no_answer"  # type: ignore[union-attr]  # it was told


@pytest.mark.requirement("DEV-02")
@pytest.mark.guarantee("G13")
async def test_every_awkward_register_is_read_and_written_as_its_map_says() -> None:
    model = parse(MAP.encode(), "odd")
    plan = modbus(model)
    async with field(plan, catalogue={model.id: model}) as it:
        # The emulated meter counts on: its energy is held against the truth, the rest against the map.
        for capability, attribute, value in (
            (E, "cumulative_energy_exported", 312_345_678),
            (E, "active_power", 1234.5),
            (Capability.FAN_CONTROL, "speed_current", 5),
            (Capability.FAULT_STATE, "active:filter", True),
            (E, "rms_voltage", 231),
            (T, "occupied_heating_setpoint", 21.5),
        ):
            await it.heard.until(it.heard.says(IT, capability, attribute, value))
        registers = (await it.truth(IT))["registers"]
        assert (registers["holding:0"], registers["holding:1"]) == (0x1234, 0x5678)
        assert registers["holding:20"] == 0x0215
        outcome = await it.devices.write(it.command(IT, T, "occupied_heating_setpoint", 23.5))
        assert (outcome.phase, outcome.read_back) == (Phase.DONE, 23.5)
        assert (await it.truth(IT))["registers"]["holding:20"] == 0x0235
        for capability, attribute, asked in ((ON, "on_off", True), (T, "system_mode", "heat")):
            outcome = await it.devices.write(it.command(IT, capability, attribute, asked))
            assert (outcome.phase, outcome.reason) == (Phase.UNKNOWN, "the device took it; it cannot be read back")
        state = (await it.truth(IT))["state"]
        assert (state["on_off.on_off"], state["thermostat.system_mode"]) == (True, "heat")
        assert not [each for each in it.heard.readings if each.value is None]
