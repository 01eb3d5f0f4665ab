"""What durability costs in the record log, against a plain write and fdatasync of the same bytes."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

from bench.rows import Row, quantile, row
from edge.log.record_log import RecordLog
from kit.clock import SystemClock
from kit.dice import SystemDice
from protocols.link.lanes import Lane
from protocols.link.record import ClockQuality, encode_record

BODY: Final = {
    "room": "101", "device": "thermostat-101", "capability": "temperature_measurement",
    "attribute": "measured_value", "value": 21.5, "unit": "°C", "quality": "good",
}  # fmt: skip
PRODUCERS: Final = 1_000
EACH: Final = 10
GROUP: Final = 500
GROUPS: Final = 100
ROUNDS: Final = 3


@dataclass
class Samples:
    """One figure a round."""

    rate: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)
    p50_ms: list[float] = field(default_factory=list)
    p99_ms: list[float] = field(default_factory=list)

    async def take(self, records: int, work: Callable[[list[float]], Awaitable[None]]) -> None:
        """Measure `work`, which makes `records` durable and says how long each caller waited."""
        waits: list[float] = []
        cpu_s, began = time.process_time(), time.perf_counter()
        await work(waits)
        self.rate.append(records / (time.perf_counter() - began))
        self.cpu_s.append((time.process_time() - cpu_s) / records * 10_000)
        self.p50_ms.append(quantile(waits, 0.5) * 1_000)
        self.p99_ms.append(quantile(waits, 0.99) * 1_000)


async def log_rows(folder: Path) -> list[Row]:
    """Measure and return the rows."""
    record = encode_record(
        "reading", BODY, device_at_ms=None, edge_at_ms=time.time_ns() // 1_000_000, mono_ms=1,
        clock=ClockQuality.SYNCHRONISED,
    )  # fmt: skip
    raw: list[float] = []
    alone, group_a, group_c, read = Samples(), Samples(), Samples(), Samples()
    for n in range(ROUNDS):
        raw.append(_raw_rate(folder / f"plain-{n}", record * GROUP))
        log = await RecordLog.open(folder / f"rows-{n}", clock=SystemClock("host"), dice=SystemDice())
        async with log:
            await alone.take(PRODUCERS * EACH, partial(_producers, log))
            for lane, samples in ((Lane.A, group_a), (Lane.C, group_c)):
                await samples.take(GROUP * GROUPS, _Groups(log, lane, [record] * GROUP))
            await read.take(GROUP * GROUPS, _Reader(log))
    peer = sorted(raw)[len(raw) // 2]
    name = f"write + fdatasync of the same bytes, {GROUP} records at a time"
    return [
        row(name, raw, "records/s"),
        *_rows_of("lane A, encoded", group_a, name, peer),
        *_rows_of("lane C, encoded", group_c, name, peer),
        row(f"durable append, {PRODUCERS} callers, one record each", alone.rate, "records/s"),
        row(f"durable append, {PRODUCERS} callers: CPU", alone.cpu_s, "CPU-s per 10,000"),
        row(f"durable append, {PRODUCERS} callers: wait, median", alone.p50_ms, "ms"),
        row(f"durable append, {PRODUCERS} callers: wait, p99", alone.p99_ms, "ms"),
        row(f"read for the link, {GROUP} at a time", read.rate, "records/s"),
    ]


def _rows_of(what: str, samples: Samples, name: str, peer: float) -> list[Row]:
    return [
        row(
            f"durable append, {what}, {GROUP} at a time", samples.rate, "records/s", ratio_to=name, peer=peer,
            bar=">= 23000 records/s (the hot path)", holds=lambda rate, _ratio: rate >= 23_000,
        ),
        row(
            f"durable append, {what}: CPU", samples.cpu_s, "CPU-s per 10,000",
            bar="<= 0.1 of the hot path's 0.32", holds=lambda cpu_s, _ratio: cpu_s <= 0.1,
        ),
        row(f"durable append, {what}: wait, p99", samples.p99_ms, "ms"),
    ]  # fmt: skip


async def _producers(log: RecordLog, waits: list[float]) -> None:
    async def one() -> None:
        for _ in range(EACH):
            began = time.perf_counter()
            await log.append(Lane.C, "reading", BODY)
            waits.append(time.perf_counter() - began)

    await asyncio.gather(*(one() for _ in range(PRODUCERS)))


@dataclass
class _Groups:
    log: RecordLog
    lane: Lane
    records: list[bytes]

    async def __call__(self, waits: list[float]) -> None:
        for _ in range(GROUPS):
            began = time.perf_counter()
            await self.log.append_encoded(self.lane, self.records, urgent=True)
            waits.append(time.perf_counter() - began)


@dataclass
class _Reader:
    log: RecordLog

    async def __call__(self, waits: list[float]) -> None:
        incarnation, after = self.log.incarnations()[Lane.C], 0
        for _ in range(GROUPS):
            began = time.perf_counter()
            run = await self.log.run(incarnation, Lane.C, after, GROUP)
            assert run is not None
            assert len(run.seqs) == GROUP
            after = run.last
            waits.append(time.perf_counter() - began)


def _raw_rate(path: Path, data: bytes) -> float:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
    try:
        began = time.perf_counter()
        for _ in range(GROUPS):
            os.write(descriptor, data)
            os.fdatasync(descriptor)
        return GROUP * GROUPS / (time.perf_counter() - began)
    finally:
        os.close(descriptor)
