"""The record path against its limits: an append against a raw write and fdatasync; and the fan-in (bench/fan_in.py)."""

import asyncio
import os
import tempfile
import time
from pathlib import Path
from typing import Final

import structlog

from bench import fan_in, log_append
from bench.hot_path import figures
from bench.rows import Row, row
from cloud.app.ingest import collect_seldom
from edge.log.record_log import RecordLog
from kit.clock import SystemClock
from kit.dice import SystemDice
from protocols.link.lanes import Lane

APPENDERS: Final = 200
APPENDS: Final = 6_000
RAW_COMMITS: Final = 60
ROUNDS: Final = 3
BODY: Final = {
    "room": "101", "device": "thermostat-101", "capability": "temperature_measurement",
    "attribute": "measured_value", "value": 21.5, "unit": "°C", "quality": "good",
}  # fmt: skip


def rows() -> list[Row]:
    """Measure and return the rows."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    return asyncio.run(_rows())


async def _rows() -> list[Row]:
    with tempfile.TemporaryDirectory(prefix="ik-bench-") as folder:
        return [
            *await _append_rows(Path(folder)),
            *await log_append.log_rows(Path(folder)),
            *await figures.rows(),
            *await _fan_in_rows(Path(folder)),
        ]


async def _fan_in_rows(folder: Path) -> list[Row]:
    collect_seldom()  # as the ingest does: the benches before it left much that need not be looked through
    return await fan_in.measure(folder)


async def _append_rows(folder: Path) -> list[Row]:
    appended, raw, alone = [], [], []
    for n in range(ROUNDS):
        log = await RecordLog.open(folder / f"log-{n}", clock=SystemClock("host"), dice=SystemDice())
        began = time.perf_counter()
        await asyncio.gather(*(_append(log, APPENDS // APPENDERS) for _ in range(APPENDERS)))
        appended.append(APPENDS / (time.perf_counter() - began))
        began = time.perf_counter()
        for _ in range(50):
            await log.append(Lane.A, "reading", BODY)
        alone.append((time.perf_counter() - began) / 50 * 1_000)
        [group] = [await log.run(log.incarnation, Lane.A, 0, APPENDERS)]
        size = 0 if group is None else sum(map(len, group.records))
        await log.close()
        raw.append(_raw_rate(folder / f"raw-{n}", size))
    limit = sorted(raw)[len(raw) // 2]
    limit_name = f"write + fdatasync of the same bytes, {APPENDERS} records at a time"
    return [
        row(limit_name, raw, "records/s"),
        row(
            f"durable append, {APPENDERS} callers, group commit",
            appended,
            "records/s",
            ratio_to=limit_name,
            peer=limit,
            bar=">= 1000 records/s (an edge needs 30)",
            holds=lambda rate, _ratio: rate >= 1_000,
        ),
        row(
            "durable append, one caller, lane A",
            alone,
            "ms",
            bar="<= 20 ms",
            holds=lambda wait_ms, _ratio: wait_ms <= 20,
        ),
    ]


async def _append(log: RecordLog, count: int) -> None:
    for _ in range(count):
        await log.append(Lane.A, "reading", BODY)


def _raw_rate(path: Path, size: int) -> float:
    data = os.urandom(size)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
    try:
        began = time.perf_counter()
        for _ in range(RAW_COMMITS):
            os.write(descriptor, data)
            os.fdatasync(descriptor)
        return RAW_COMMITS * APPENDERS / (time.perf_counter() - began)
    finally:
        os.close(descriptor)
