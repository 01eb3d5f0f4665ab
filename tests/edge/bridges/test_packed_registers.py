"""Controllers that pack switches into the bits of one register, and take writes by functions 15 and 16 alone."""

import asyncio
from typing import Final

import pytest

from edge.bridges.firmware import Running
from edge.bridges.modbus.supervisor import ModbusSupervisor
from protocols.descriptors.descriptor import parse
from protocols.device_model.capability import Capability
from protocols.device_model.command import Phase
from protocols.device_model.identity import DeviceId
from tests.edge.bridges.field import Field, field
from tests.edge.bridges.test_firmwares import modbus

ON, T, D = Capability.ON_OFF, Capability.THERMOSTAT, Capability.ROOM_REQUEST
IT: Final = DeviceId("it")
MAP: Final = """
format = 1
identity = { id = "acme/packed", vendor = "Acme", model = "Packed", title = "Fan-coil", source = "made up" }
quality = { level = "manual", proven = "nothing at all", on = "nothing" }
wire = { kind = "modbus", writes = "multiple" }
points = [
  { capability = "on_off", attribute = "on_off", table = "holding", register = 7, type = "bool", bit = 0, every_s = 0.05, write = {} },
  { capability = "thermostat", attribute = "system_mode", table = "holding", register = 7, type = "uint16", bit = 4, bits = 2, every_s = 0.05, values = [[0, "off"], [1, "heat"], [2, "cool"], [3, "auto"]], write = {} },
  { capability = "fault_state", attribute = "active", table = "holding", register = 7, type = "bool", bit = 15, every_s = 0.05 },
  { capability = "room_request", attribute = "do_not_disturb", table = "coil", register = 3, type = "bool", every_s = 0.05, write = {} },
]
[emulation]
model = "plain"
start = [{ capability = "fault_state", attribute = "active", value = true }]
"""  # noqa: E501 - a line a point, as in a maker's table


def written_by(it: Field) -> list[int]:
    """Return the functions by which the emulated unit is written from now on."""
    unit = it.emulator._units[IT]
    respond, functions = unit.respond, list[int]()

    def answer(pdu: bytes, *, busy: bool, at_ms: int) -> bytes:
        if pdu[0] in (5, 6, 15, 16):
            functions.append(pdu[0])
        return respond(pdu, busy=busy, at_ms=at_ms)

    unit.respond = answer  # type: ignore[method-assign]  # listened to
    return functions


@pytest.mark.requirement("DEV-02")
@pytest.mark.guarantee("G13")
async def test_bits_are_written_each_without_its_neighbours() -> None:
    model = parse(MAP.encode(), "packed")
    async with field(modbus(model), catalogue={model.id: model}) as it:
        written = written_by(it)
        await it.heard.until(it.heard.says(IT, Capability.FAULT_STATE, "active", True))
        asked = [it.command(IT, ON, "on_off", True), it.command(IT, T, "system_mode", "cool")]
        outcomes = await asyncio.gather(*(it.devices.write(each) for each in asked))
        assert [each.phase for each in outcomes] == [Phase.DONE, Phase.DONE]
        assert (await it.truth(IT))["registers"]["holding:7"] == 0x8021
        outcome = await it.devices.write(it.command(IT, D, "do_not_disturb", True))
        assert outcome.phase is Phase.DONE
        outcome = await it.devices.write(it.command(IT, ON, "on_off", False))
        assert outcome.phase is Phase.DONE
        assert (await it.truth(IT))["registers"]["holding:7"] == 0x8020
        assert written == [16, 16, 15, 16]


@pytest.mark.guarantee("G13")
async def test_a_unit_that_knows_no_such_function_is_told_as_refusing() -> None:
    model = parse(MAP.encode(), "packed")
    async with field(modbus(model), catalogue={model.id: model}) as it:
        await it.heard.until(it.heard.says(IT, Capability.FAULT_STATE, "active", True))
        [bus] = it.buses
        assert isinstance(bus, ModbusSupervisor)
        single = parse(MAP.replace("multiple", "single").encode(), "packed")
        bus._units[IT].running = Running(single)  # what the edge believes of it is wrong
        outcome = await it.devices.write(it.command(IT, ON, "on_off", True))
        assert (outcome.phase, outcome.reason) == (Phase.FAILED, "the device refused: illegal_function")


@pytest.mark.guarantee("G13")
async def test_what_cannot_be_read_is_not_written() -> None:
    model = parse(MAP.encode(), "packed")
    async with field(modbus(model), catalogue={model.id: model}) as it:
        await it.heard.until(it.heard.says(IT, Capability.FAULT_STATE, "active", True))
        unit = it.emulator._units[IT]
        unit._unreadable.add(("holding", 7))
        outcome = await it.devices.write(it.command(IT, ON, "on_off", True))
        assert outcome.phase is Phase.FAILED
        assert "could not be read first: illegal_data_address" in (outcome.reason or "")
        assert (await it.truth(IT))["writes"] == 0
