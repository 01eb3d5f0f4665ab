"""The Modbus bus against the peer's way (one request a value, one unit after the other) and against the wire itself.

The units are the field emulator's, in this process, on loopback. The peer is pymodbus' client as gateways use it: each
value by a request of its own, units in turn, a silent unit waited for.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence
from itertools import pairwise
from typing import Final

import msgspec
from pymodbus.client import AsyncModbusTcpClient
from pymodbus.exceptions import ModbusException

from bench import adapter_path, device_scale, footprint, read_to_record
from bench.rows import Row, quantile, row
from edge.bridges.assembly import BrokerBuses, build
from edge.bridges.ports import Detail, DeviceEvent
from edge.bridges.settings import BridgesSettings
from firmware_bridges.catalogue import load_all
from firmware_bridges.field_emulator.building import FieldEmulator
from firmware_bridges.field_emulator.misbehaviour import GOOD
from kit.clock import SystemClock
from kit.dice import SeededDice
from kit.net import Transport
from protocols.descriptors.descriptor import Descriptor, Point
from protocols.descriptors.wires import ModbusWire
from protocols.device_model import site_plan
from protocols.device_model.capability import Capability
from protocols.device_model.command import Command, Phase
from protocols.device_model.identity import BusId, DescriptorId, DeviceId, EdgeId, PropertyId, RoomId
from protocols.device_model.reading import Reading
from provisioning.rehearsal.nats import free_port

UNITS: Final = 24
SILENT_AMONG: Final = 20
EVERY_S: Final = 0.25
ANSWER_MS: Final = 5
"""What a unit takes for an answer: an RTU exchange at 19200 baud takes longer, loopback none."""
ROUNDS: Final = 3
RUN_S: Final = 4.0
CHANGES: Final = 60
MODEL: Final = DescriptorId("regin/rcf_230")
TEMPERATURE: Final = (Capability.THERMOSTAT, "local_temperature")
SETPOINT: Final = (Capability.THERMOSTAT, "occupied_heating_setpoint")


def rows() -> list[Row]:
    """Measure and return the rows."""
    own = asyncio.run(_rows()) + device_scale.rows() + read_to_record.rows()
    return own + adapter_path.rows() + footprint.rows()


async def _rows() -> list[Row]:
    found: list[Row] = []
    ours = []
    for _ in range(ROUNDS):
        requests, values = await _requests()
        ours.append(requests / values)
    found.append(
        row(
            "wire requests a value, 24 units of 12 values",
            ours,
            "requests",
            ratio_to="one request a value",
            peer=1.0,
            bar="at most a half: the model's own map lies in 5 places",
            holds=lambda _, ratio: ratio is not None and ratio <= 0.5,
        )
    )
    latencies = await _latencies()
    found.append(
        row(
            f"change at a unit to the sink, p50, {UNITS} units polled every {EVERY_S * 1000:.0f} ms",
            [quantile(each, 0.5) for each in latencies],
            "ms",
            ratio_to="half the poll interval",
            peer=EVERY_S * 1000 / 2,
            bar="at most 1.5 times what polling itself costs",
            holds=lambda _, ratio: ratio is not None and ratio <= 1.5,
        )
    )
    found.append(
        row(
            f"change at a unit to the sink, p95, {UNITS} units polled every {EVERY_S * 1000:.0f} ms",
            [quantile(each, 0.95) for each in latencies],
            "ms",
            ratio_to="the poll interval",
            peer=EVERY_S * 1000,
            bar="at most 1.5 times the poll interval",
            holds=lambda _, ratio: ratio is not None and ratio <= 1.5,
        )
    )
    well, with_silent = [], []
    for _ in range(ROUNDS):
        well.append(await _interval_p95(silent=False))
        with_silent.append(await _interval_p95(silent=True))
    found.append(
        row(
            f"interval between a live unit's reads, p95, 1 of {SILENT_AMONG} units silent",
            with_silent,
            "ms",
            ratio_to="none silent",
            peer=sum(well) / len(well),
            bar="at most 1.1 times: a dead unit costs its neighbours nothing",
            holds=lambda _, ratio: ratio is not None and ratio <= 1.1,
        )
    )
    peer_well = [await _peer_round(silent=False) for _ in range(ROUNDS)]
    peer_silent = [await _peer_round(silent=True) for _ in range(ROUNDS)]
    found.append(
        row(
            f"the peer's way: time for all values of {SILENT_AMONG} units once, 1 silent (waits 400 ms a value)",
            peer_silent,
            "ms",
            ratio_to="the peer's way, none silent",
            peer=sum(peer_well) / len(peer_well),
        )
    )
    writes, walls = await _writes()
    found.append(
        row(
            f"a setpoint written and read back while {UNITS} units are polled, p95",
            writes,
            "ms",
            ratio_to="two exchanges on an idle wire",
            peer=walls,
            bar="at most 10 times: writes go before reads",
            holds=lambda _, ratio: ratio is not None and ratio <= 10,
        )
    )
    return found


class _Sink:
    """Notes when a value was heard."""

    def __init__(self) -> None:
        self.count = 0
        self.waiting: dict[tuple[DeviceId, float], asyncio.Future[float]] = {}

    def reading(self, reading: Reading) -> None:
        self.count += 1
        if (reading.capability, reading.attribute) == TEMPERATURE and isinstance(reading.value, float):
            waiting = self.waiting.pop((reading.device, reading.value), None)
            if waiting is not None:
                waiting.set_result(time.perf_counter())

    def together(self, readings: Sequence[Reading]) -> None:
        for each in readings:
            self.reading(each)

    def device_event(self, device: DeviceId, event: DeviceEvent, detail: Detail) -> None:
        pass


def _plan(units: int) -> site_plan.SitePlan:
    bus = BusId("modbus-1")
    return site_plan.SitePlan(
        v=1,
        property=site_plan.Property(PropertyId("bench"), "Bench", "Etc/UTC", "bench"),
        edge=EdgeId("e-bench"),
        rooms=(site_plan.Room(RoomId("101"), 1, "guest_room", "double"),),
        buses=(site_plan.ModbusTcpBus(bus, "127.0.0.1", free_port("127.0.0.1")),),
        devices=tuple(
            site_plan.Device(DeviceId(f"t-{unit}"), RoomId("101"), MODEL, site_plan.Address(bus, unit=unit))
            for unit in range(1, units + 1)
        ),
    )


def _descriptor(every_s: float) -> Descriptor:
    """The model's own map, polled faster so that a bench ends."""
    model = load_all()[MODEL]
    points = tuple(msgspec.structs.replace(point, every_s=every_s, deadband=0.0) for point in model.points)
    return msgspec.structs.replace(model, points=points)


@contextlib.asynccontextmanager
async def _bus(
    units: int, *, silent: bool = False, every_s: float = EVERY_S
) -> AsyncIterator[tuple[FieldEmulator, _Sink, site_plan.SitePlan, "_Watched"]]:
    plan, clock, sink = _plan(units), SystemClock("host"), _Sink()
    catalogue = {MODEL: _descriptor(every_s)}
    knobs = msgspec.structs.replace(GOOD, answer_ms_most=ANSWER_MS)
    emulator = FieldEmulator(
        plan, catalogue, transport_of=_no_broker, clock=clock, dice=SeededDice(1), knobs=knobs, speed=0.0
    )
    if silent:
        emulator.things[DeviceId(f"t-{units}")].powered = False
    started = asyncio.Event()
    serving = asyncio.create_task(emulator.run(started))
    await started.wait()
    [supervisor] = build(plan, catalogue, clock, SeededDice(2), sink, BridgesSettings(), _no_broker)
    running = asyncio.create_task(supervisor.run())
    try:
        yield emulator, sink, plan, _Watched(supervisor)
    finally:
        for task in (running, serving):
            task.cancel()
        await asyncio.gather(running, serving, return_exceptions=True)


class _Watched:
    """The supervisor, for its counts and writes."""

    def __init__(self, supervisor: object) -> None:
        from edge.bridges.modbus.supervisor import ModbusSupervisor

        assert isinstance(supervisor, ModbusSupervisor)
        self.supervisor = supervisor


def _no_broker(bus: BrokerBuses) -> Transport:
    raise AssertionError(f"this bench has no MQTT bus {bus.id}")


async def _requests() -> tuple[int, int]:
    async with _bus(UNITS) as (emulator, _, _, watched):
        await asyncio.sleep(1.0)
        before, points = watched.supervisor.counts["requests"], len(_descriptor(1).points)
        cycles_before = time.perf_counter()
        await asyncio.sleep(RUN_S)
        cycles = (time.perf_counter() - cycles_before) / EVERY_S
        requests = watched.supervisor.counts["requests"] - before
        return requests, round(cycles * points * len(emulator.things))


async def _latencies() -> list[list[float]]:
    rounds = []
    async with _bus(UNITS) as (emulator, sink, plan, _):
        await asyncio.sleep(1.0)
        dice = SeededDice(3)
        for _ in range(ROUNDS):
            samples = []
            for change in range(CHANGES // ROUNDS):
                device = plan.devices[change % UNITS].id
                value = round(15 + dice.uniform(0, 10), 1)
                while value == emulator.things[device].state[TEMPERATURE]:
                    value = round(15 + dice.uniform(0, 10), 1)
                await asyncio.sleep(dice.uniform(0, EVERY_S))
                heard = sink.waiting[(device, value)] = asyncio.get_running_loop().create_future()
                changed = time.perf_counter()
                emulator.things[device].state[TEMPERATURE] = value
                async with asyncio.timeout(10):
                    samples.append((await heard - changed) * 1000)
            rounds.append(samples)
    return rounds


async def _interval_p95(*, silent: bool) -> float:
    """Watch one live unit at the emulator: how far apart its reads are."""
    async with _bus(SILENT_AMONG, silent=silent) as (emulator, _, _, _):
        server = next(iter(emulator.modbus.values()))
        watched = server.units[1]
        times: list[float] = []
        answer = watched.answer

        def noted(request: object, *, at_ms: int) -> object:
            if getattr(request, "table", "") == "holding" and getattr(request, "start", 0) == 284:
                times.append(time.perf_counter())
            return answer(request, at_ms=at_ms)  # type: ignore[arg-type]  # wrapped to count

        watched.answer = noted  # type: ignore[method-assign, assignment]  # wrapped to count
        await asyncio.sleep(3.0)  # the silent one is found out
        times.clear()
        await asyncio.sleep(RUN_S)
    return quantile([(after - before) * 1000 for before, after in pairwise(times)], 0.95)


async def _peer_round(*, silent: bool) -> float:
    """Read every value of every unit once, one request a value, one unit after the other."""
    plan, clock = _plan(SILENT_AMONG), SystemClock("host")
    catalogue = {MODEL: _descriptor(1)}
    knobs = msgspec.structs.replace(GOOD, answer_ms_most=ANSWER_MS)
    emulator = FieldEmulator(
        plan, catalogue, transport_of=_no_broker, clock=clock, dice=SeededDice(1), knobs=knobs, speed=0.0
    )
    if silent:
        emulator.things[DeviceId(f"t-{SILENT_AMONG}")].powered = False
    started = asyncio.Event()
    serving = asyncio.create_task(emulator.run(started))
    await started.wait()
    model = catalogue[MODEL]
    assert isinstance(model.wire, ModbusWire)
    client = AsyncModbusTcpClient(
        "127.0.0.1",
        port=next(iter(emulator.modbus.values())).port,
        timeout=model.wire.answer_wait_ms / 1000,
        retries=0,
    )
    await client.connect()
    try:
        began = time.perf_counter()
        for device in plan.devices:
            for point in model.points:
                with contextlib.suppress(ModbusException):
                    await _peer_read(client, point, device.address.unit or 0)
                if not client.connected:
                    await client.connect()
        return (time.perf_counter() - began) * 1000
    finally:
        client.close()
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)


async def _peer_read(client: AsyncModbusTcpClient, point: Point, unit: int) -> None:
    register = point.register or 0
    if point.table == "input":
        await client.read_input_registers(register, count=point.words, device_id=unit)
    elif point.table == "holding":
        await client.read_holding_registers(register, count=point.words, device_id=unit)
    else:
        await client.read_discrete_inputs(register, count=1, device_id=unit)


async def _writes() -> tuple[list[float], float]:
    samples = []
    async with _bus(UNITS) as (_, _, plan, watched):
        await asyncio.sleep(1.0)
        clock = SystemClock("host")
        for turn, device in enumerate(plan.devices):
            began = time.perf_counter()
            name = f"w-{turn}"
            command = Command(name, device.id, *SETPOINT, 21.5, clock.wall_ms() + 5_000, name)
            outcome = await watched.supervisor.write(command)
            assert outcome.phase is Phase.DONE, outcome
            samples.append((time.perf_counter() - began) * 1000)
    return [quantile(samples[each::ROUNDS], 0.95) for each in range(ROUNDS)], 2 * ANSWER_MS / 2
