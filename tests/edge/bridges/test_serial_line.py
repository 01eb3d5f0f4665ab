"""Units on a serial line, on a pseudo terminal: noise, late answers, dead and babbling units, a pulled plug."""

import asyncio
import json
import math
import os
from collections import Counter
from pathlib import Path
from typing import Final

import msgspec
import pytest
from pymodbus.client import AsyncModbusSerialClient

from edge.bridges.complaints import Complaints
from edge.bridges.modbus.rtu_link import RtuLink
from edge.bridges.modbus.serial_port import SerialPort
from edge.bridges.modbus.supervisor import ModbusSupervisor
from edge.bridges.ports import DeviceEvent
from edge.bridges.quarantine import PROBE_FIRST_MS
from firmware_bridges.field_emulator.misbehaviour import GOOD, Knobs
from firmware_bridges.field_emulator.serial_line import SerialLine
from kit.clock import SystemClock
from protocols.device_model import site_plan
from protocols.device_model.capability import Capability
from protocols.device_model.command import Phase
from protocols.device_model.identity import BusId
from protocols.errors import InvalidInputError, ReplyTimeoutError
from protocols.modbus.frames import Read, Refused, Words, WriteWords
from tests.edge.bridges.field import CATALOGUE, MODBUS, THERMOSTAT, Field, field, free_port, plan

SETPOINT: Final = (Capability.THERMOSTAT, "occupied_heating_setpoint")
TEMPERATURE: Final = (Capability.THERMOSTAT, "local_temperature")
CLOCK: Final = SystemClock("host")


def on_a_line(path: Path, units: int) -> site_plan.SitePlan:
    bus = site_plan.ModbusRtuBus(MODBUS, str(path), baud=115_200, parity="none")
    made = msgspec.structs.replace(plan([THERMOSTAT] * units), buses=(bus,))
    return site_plan.parse(site_plan.encode(made))


def line_of(it: Field) -> SerialLine:
    return it.emulator.lines[MODBUS]


def online(it: Field, *devices: str) -> bool:
    return all(it.heard.told(each, DeviceEvent.ONLINE)() for each in devices)


def counted(it: Field, device: str) -> int:
    return sum(each.device == device for each in it.heard.readings)


@pytest.mark.requirement("DEV-02")
async def test_units_on_one_line_are_read_and_written_on_a_bad_day(tmp_path: Path) -> None:
    bad = Knobs(noise=0.2, garbled=0.05, torn=0.2, twice=0.05, silent=0.02, late=0, forgetful=0.2, busy=0.05, hang_up=0)
    async with field(on_a_line(tmp_path / "line", 3), knobs=bad, seed=5) as it:
        await it.heard.until(lambda: online(it, "thermostat-1", "thermostat-2", "thermostat-3"))
        outcome = await it.devices.write(it.command("thermostat-2", *SETPOINT, 23.5))
        truth = (await it.truth("thermostat-2"))["state"]["thermostat.occupied_heating_setpoint"]
        assert outcome.phase in (Phase.DONE, Phase.UNKNOWN)
        assert outcome.phase is Phase.UNKNOWN or truth == outcome.read_back == 23.5
        assert (await it.truth("thermostat-2"))["writes"] <= 1


@pytest.mark.guarantee("G9")
async def test_a_dead_unit_is_given_up_and_its_neighbours_are_served(tmp_path: Path) -> None:
    async with field(on_a_line(tmp_path / "line", 3)) as it:
        await it.emulator.answer("power", {"device": "thermostat-2", "on": False})
        await it.heard.until(it.heard.told("thermostat-2", DeviceEvent.QUARANTINED))
        before, given_up = line_of(it).counts["requests_to_1"], line_of(it).counts["requests_to_2"]
        since_ms = CLOCK.now_ms()
        await it.heard.until(lambda: online(it, "thermostat-1", "thermostat-3"))
        assert (await it.devices.write(it.command("thermostat-1", *SETPOINT, 22.0))).phase is Phase.DONE
        passed_ms = CLOCK.now_ms() - since_ms
        probes = 2 + math.floor(math.log2(1 + passed_ms / (PROBE_FIRST_MS / 2)))  # each pause is twice the one before
        assert line_of(it).counts["requests_to_2"] - given_up <= probes, passed_ms
        assert line_of(it).counts["requests_to_1"] > before
        await it.emulator.answer("power", {"device": "thermostat-2", "on": True})
        await it.heard.until(it.heard.told("thermostat-2", DeviceEvent.ONLINE))


async def test_a_line_with_a_babbler_and_an_adapter_that_hears_itself_still_works(tmp_path: Path) -> None:
    async with field(on_a_line(tmp_path / "line", 2)) as it:
        line_of(it).says_back = True

        async def babble() -> None:
            while True:
                line_of(it).say(os.urandom(20))
                await asyncio.sleep(0.003)

        babbling = asyncio.create_task(babble())
        try:
            await it.heard.until(lambda: online(it, "thermostat-1", "thermostat-2"))
            assert (await it.devices.write(it.command("thermostat-1", *SETPOINT, 21.5))).phase is Phase.DONE
        finally:
            babbling.cancel()
        assert it.buses[0].counts["noise_bytes"] + it.buses[0].counts["unasked_bytes"] > 0


async def test_a_pulled_plug_takes_the_line_away_and_its_return_brings_it_back(tmp_path: Path) -> None:
    async with field(on_a_line(tmp_path / "line", 1)) as it:
        await it.heard.until(lambda: online(it, "thermostat-1"))
        await line_of(it).stop()
        await it.heard.until(it.heard.told("thermostat-1", DeviceEvent.OFFLINE))
        [detail] = [each for _, event, each in it.heard.events if event is DeviceEvent.OFFLINE]
        assert detail["path"] == str(tmp_path / "line")
        line_of(it).start()
        before = len(it.heard.events)
        await it.heard.until(lambda: any(event is DeviceEvent.ONLINE for _, event, _ in it.heard.events[before:]))


async def test_a_wrong_speed_is_told_as_what_it_may_be(tmp_path: Path) -> None:
    made = on_a_line(tmp_path / "line", 1)
    it = Field(made, broker=None, knobs=GOOD, seed=1, catalogue=CATALOGUE)
    it.emulator.lines[MODBUS] = SerialLine(
        site_plan.ModbusRtuBus(MODBUS, str(tmp_path / "line"), baud=9_600),
        line_of(it).units, it.emulator.misbehaviour, it.clock,
    )  # fmt: skip
    line_of(it).start()
    running = asyncio.create_task(it.buses[0].run())
    try:
        await it.heard.until(it.heard.told("thermostat-1", DeviceEvent.QUARANTINED))
        assert it.buses[0].counts["garbled_answers"] >= 3
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await line_of(it).stop()


async def test_a_probe_finds_a_unit_that_no_plan_names(tmp_path: Path) -> None:
    async with field(on_a_line(tmp_path / "line", 2)) as it:
        [bus] = it.buses
        assert isinstance(bus, ModbusSupervisor)
        await it.heard.until(lambda: online(it, "thermostat-1", "thermostat-2"))
        line_of(it).units[9] = line_of(it).units[2]
        found = await bus.probe(9, CATALOGUE.values())
        assert found is not None
        assert found.candidates[0].descriptor == THERMOSTAT
        [(_, detail)] = [(who, each) for who, event, each in it.heard.events if event is DeviceEvent.UNKNOWN_DEVICE]
        assert (detail["unit"], detail["descriptor"], detail["bus"]) == (9, THERMOSTAT, MODBUS)
        assert await bus.probe(30, CATALOGUE.values()) is None


async def open_link(path: Path) -> tuple[RtuLink, asyncio.Task[None], Counter[str]]:
    counts: Counter[str] = Counter()
    bus = site_plan.ModbusRtuBus(BusId("b"), str(path), baud=115_200, parity="none")
    complaints = Complaints(BusId("b"), counts, CLOCK)
    link = RtuLink(SerialPort.open(bus), baud=115_200, clock=CLOCK, counts=counts, complaints=complaints)
    return link, asyncio.create_task(link.listen()), counts


async def test_a_late_answer_never_passes_for_the_answer_to_a_later_question(tmp_path: Path) -> None:
    it = Field(on_a_line(tmp_path / "line", 2), broker=None, knobs=GOOD, seed=1, catalogue=CATALOGUE)
    line_of(it).start()
    link, listening, counts = await open_link(tmp_path / "line")
    try:
        line_of(it).units[1].answer_ms = 300
        with pytest.raises(ReplyTimeoutError):
            await link.ask(1, Read("holding", 0, 1), wait_ms=60)
        line_of(it).units[1].answer_ms = None
        assert link.owed_ms(1, Read("holding", 3, 1)) > 0
        assert link.owed_ms(1, WriteWords("holding", 3, (1,))) == 0
        assert link.owed_ms(2, Read("holding", 3, 1)) == 0
        told = await link.ask(2, Read("input", 1, 1), wait_ms=10_000)  # a neighbour is asked meanwhile
        assert isinstance(told, Words | Refused)
        async with asyncio.timeout(10):
            while link.owed_ms(1, Read("holding", 3, 1)):
                await asyncio.sleep(0.01)
        assert counts["late_answers"] == 1  # paid by the answer itself, long before its time was over
        assert isinstance(await link.ask(1, Read("input", 1, 1), wait_ms=10_000), Words)
    finally:
        await link.close()
        await listening
        await line_of(it).stop()


async def test_a_line_that_another_program_has_open_is_refused_by_name(tmp_path: Path) -> None:
    it = Field(on_a_line(tmp_path / "line", 1), broker=None, knobs=GOOD, seed=1, catalogue=CATALOGUE)
    line_of(it).start()
    bus = site_plan.ModbusRtuBus(BusId("b"), str(tmp_path / "line"), parity="none")
    port = SerialPort.open(bus)
    try:
        with pytest.raises(OSError, match="another program has it open"):
            SerialPort.open(bus)
    finally:
        await port.close()
        assert await port.read() == b""
        await line_of(it).stop()
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OSError, match="no serial line"):
        SerialPort.open(msgspec.structs.replace(bus, path=str(tmp_path / "file")))
    with pytest.raises(OSError, match="No such file"):
        SerialPort.open(bus)


async def test_pymodbus_finds_the_emulated_line_to_be_one(tmp_path: Path) -> None:
    it = Field(on_a_line(tmp_path / "line", 1), broker=None, knobs=GOOD, seed=1, catalogue=CATALOGUE)
    line_of(it).start()
    client = AsyncModbusSerialClient(str(tmp_path / "line"), baudrate=115_200, timeout=10)
    try:
        assert await client.connect()
        answer = await client.read_input_registers(1, count=1, device_id=1)
        assert answer.registers == [it.emulator._units[it.plan.devices[0].id].registers()["input:1"]]
    finally:
        client.close()
        await line_of(it).stop()


async def test_rtu_frames_over_tcp_are_a_line_too() -> None:
    made = plan([THERMOSTAT] * 2)
    bus = site_plan.ModbusRtuTcpBus(MODBUS, "127.0.0.1", free_port())
    knobs = Knobs(torn=0.2, twice=0.1, silent=0, late=0, hang_up=0)
    async with field(msgspec.structs.replace(made, buses=(bus,)), knobs=knobs) as it:
        await it.heard.until(lambda: online(it, "thermostat-1", "thermostat-2"))
        await it.heard.until(lambda: it.heard.last("thermostat-1", *TEMPERATURE) is not None)
        outcome = await it.devices.write(it.command("thermostat-2", *SETPOINT, 22.5))
        assert outcome.phase in (Phase.DONE, Phase.UNKNOWN)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"path": "ttyUSB0"}, "is not the absolute path"),
        ({"path": "/dev/../etc/shadow"}, "is not the absolute path"),
        ({"baud": 9_601}, "9601"),
        ({"parity": "mark"}, "mark"),
        ({"stop_bits": 3}, "3"),
    ],
)
def test_a_line_that_cannot_be_is_refused_with_place_and_value(changes: dict[str, object], said: str) -> None:
    document = json.loads(site_plan.encode(on_a_line(Path("/dev/ttyUSB0"), 1)))
    document["buses"][0] |= changes
    with pytest.raises(InvalidInputError, match=said) as refused:
        site_plan.parse(json.dumps(document).encode())
    assert "buses" in str(refused.value)


def test_two_buses_on_one_line_are_refused() -> None:
    made = on_a_line(Path("/dev/ttyUSB0"), 1)
    twice = (*made.buses, site_plan.ModbusRtuBus(BusId("again"), "/dev/ttyUSB0", baud=9_600))
    with pytest.raises(InvalidInputError, match="given twice"):
        site_plan.parse(site_plan.encode(msgspec.structs.replace(made, buses=twice)))
