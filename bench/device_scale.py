"""How many Modbus units one bus serves: 100 units of 10 registers at 1 Hz, and 600; requests, values, processor.

The emulated units share the bridge's process: the processor figure is that of both together, an upper bound of the
bridge's.
"""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from typing import Final

from bench.hot_path.units import model_text
from bench.rows import Row, quantile, row
from edge.bridges.assembly import BrokerBuses, build
from edge.bridges.modbus.supervisor import ModbusSupervisor
from edge.bridges.ports import Detail, DeviceEvent
from edge.bridges.settings import BridgesSettings
from firmware_bridges.field_emulator.building import FieldEmulator
from firmware_bridges.field_emulator.misbehaviour import GOOD
from kit.clock import SystemClock
from kit.dice import SeededDice
from kit.net import Transport
from protocols.descriptors.descriptor import Descriptor, parse
from protocols.device_model import site_plan
from protocols.device_model.capability import Capability
from protocols.device_model.command import Command, Phase
from protocols.device_model.identity import BusId, DeviceId, EdgeId, PropertyId, RoomId
from protocols.device_model.reading import Reading
from provisioning.rehearsal.nats import free_port

REGISTERS: Final = 10
UNITS: Final = 100
BUSES_OF_MANY: Final = 3
"""A Modbus unit id is 1 to 247: 600 units are three gateways of 200."""
RUN_S: Final = 5.0
WRITE_MOST_MS: Final = 200.0
SETPOINT: Final = (Capability.THERMOSTAT, "occupied_heating_setpoint")
ROUNDS: Final = 3


def _model() -> Descriptor:
    setpoint = f"""
[[points]]
capability = "thermostat"
attribute = "occupied_heating_setpoint"
table = "holding"
register = {REGISTERS - 1}
type = "uint16"
scale = 0.01
unit = "Cel"
every_s = 1
heartbeat_s = 0.5
write = {{ least = 5.0, most = 30.0, step = 0.5, min_interval_s = 5 }}
"""
    return parse((model_text(REGISTERS - 1) + setpoint).encode(), "bench")


class _Sink:
    """Counts what is heard of whom."""

    def __init__(self) -> None:
        self.heard: Counter[DeviceId] = Counter()

    def reading(self, reading: Reading) -> None:
        self.heard[reading.device] += 1

    def together(self, readings: Sequence[Reading]) -> None:
        for each in readings:
            self.reading(each)

    def device_event(self, device: DeviceId, event: DeviceEvent, detail: Detail) -> None:
        pass


def _no_broker(bus: BrokerBuses) -> Transport:
    raise AssertionError(f"this bench has no broker for {bus.id}")


@contextlib.asynccontextmanager
async def _served(units: int, buses: int) -> AsyncIterator[tuple[_Sink, list[ModbusSupervisor]]]:
    model, clock, sink = _model(), SystemClock("host"), _Sink()
    made = site_plan.SitePlan(
        v=1,
        property=site_plan.Property(PropertyId("bench"), "Bench", "Etc/UTC", "bench"),
        edge=EdgeId("e-bench"),
        rooms=(site_plan.Room(RoomId("101"), 1, "guest_room", "double"),),
        buses=tuple(
            site_plan.ModbusTcpBus(BusId(f"b-{each}"), "127.0.0.1", free_port("127.0.0.1")) for each in range(buses)
        ),
        devices=tuple(
            site_plan.Device(
                DeviceId(f"u-{bus}-{unit}"), RoomId("101"), model.id, site_plan.Address(BusId(f"b-{bus}"), unit=unit)
            )
            for bus in range(buses)
            for unit in range(1, units + 1)
        ),
    )
    catalogue = {model.id: model}
    emulator = FieldEmulator(
        made, catalogue, transport_of=_no_broker, clock=clock, dice=SeededDice(1), knobs=GOOD, speed=0.0
    )
    started = asyncio.Event()
    serving = asyncio.create_task(emulator.run(started))
    await started.wait()
    supervisors = build(made, catalogue, clock, SeededDice(2), sink, BridgesSettings(), _no_broker)
    running = [asyncio.create_task(each.run()) for each in supervisors]
    try:
        yield sink, [each for each in supervisors if isinstance(each, ModbusSupervisor)]
    finally:
        for task in (*running, serving):
            task.cancel()
        await asyncio.gather(*running, serving, return_exceptions=True)


async def _measure(units: int, buses: int) -> tuple[float, float, float, int]:
    """Return values a second, requests a value, processor share, units that were never heard."""
    async with _served(units, buses) as (sink, supervisors):
        await asyncio.sleep(2.0)
        sink.heard.clear()
        requests = sum(each.counts["requests"] for each in supervisors)
        began, busy = time.perf_counter(), time.process_time()
        await asyncio.sleep(RUN_S)
        took, used = time.perf_counter() - began, time.process_time() - busy
        values = sum(sink.heard.values())
        asked = sum(each.counts["requests"] for each in supervisors) - requests
        return values / took, asked / max(1, values), used / took * 100, units * buses - len(sink.heard)


async def _writes() -> list[list[float]]:
    """Write every unit's setpoint, one after the other, while all are read; return how long each took, by round."""
    async with _served(UNITS, 1) as (_, [supervisor]):
        await asyncio.sleep(2.0)
        clock = SystemClock("host")
        samples: list[float] = []
        for unit in range(1, UNITS + 1):
            began, name = time.perf_counter(), f"w-{unit}"
            command = Command(name, DeviceId(f"u-0-{unit}"), *SETPOINT, 21.5, clock.wall_ms() + 5_000, name)
            outcome = await supervisor.write(command)
            assert outcome.phase is Phase.DONE, outcome
            samples.append((time.perf_counter() - began) * 1000)
    return [samples[each::ROUNDS] for each in range(ROUNDS)]


def rows() -> list[Row]:
    """Measure and return the rows."""
    writes = asyncio.run(_writes())
    hundred = [asyncio.run(_measure(UNITS, 1)) for _ in range(ROUNDS)]
    many = [asyncio.run(_measure(200, BUSES_OF_MANY)) for _ in range(ROUNDS)]
    wanted = float(UNITS * REGISTERS)
    return [
        row(
            f"{UNITS} units x {REGISTERS} registers at 1 Hz on one gateway",
            [each[0] for each in hundred],
            "values/s",
            ratio_to="all of them",
            peer=wanted,
            bar="all 1,000 values/s (2 % for where the second is cut)",
            holds=lambda _, ratio: ratio is not None and ratio >= 0.98,
        ),
        row(
            f"wire requests a value, {UNITS} units x {REGISTERS} registers",
            [each[1] for each in hundred],
            "requests",
            ratio_to="one request a value",
            peer=1.0,
            bar="at most 1/8",
            holds=lambda _, ratio: ratio is not None and ratio <= 1 / 8,
        ),
        row(
            f"a setpoint written and read back while {UNITS} units x {REGISTERS} registers are read at 1 Hz, p95",
            [quantile(each, 0.95) for each in writes],
            "ms",
            bar=f"<= {WRITE_MOST_MS:g} ms",
            holds=lambda ms, _: ms <= WRITE_MOST_MS,
        ),
        row(f"processor, {UNITS} units x {REGISTERS}, with the emulator", [each[2] for each in hundred], "%"),
        row(
            "units never heard in 5 s, 600 units x 10 registers at 1 Hz on three gateways",
            [float(each[3]) for each in many],
            "units",
            bar="none",
            holds=lambda median, _: median == 0,
        ),
        row(
            "values of 600 units x 10 registers at 1 Hz",
            [each[0] for each in many],
            "values/s",
            ratio_to="all of them",
            peer=6_000.0,
        ),
    ]
