"""The record path against its limits: an append against a raw write and fdatasync, ingest against a binary COPY."""

import asyncio
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import psycopg
import structlog

from bench.rows import Row, row
from cloud.kit.database import Connection, Database, jsonb
from cloud.kit.times import at
from cloud.migrations.upgrade import upgrade
from cloud.telemetry.ingest import COPY_RECORDS, RECORD_TYPES, IngestWorker
from cloud.telemetry.ports import EdgeOwner
from edge.log.record_log import Entry, RecordLog
from kit.clock import SystemClock
from kit.dice import SystemDice
from protocols.device_model.identity import EdgeId
from protocols.link.batch import pack_batch, parse_batch
from protocols.link.lanes import Lane
from protocols.link.topics import parse_up, up_topic
from provisioning.rehearsal.embedded_postgres import EmbeddedPostgres
from tests.cloud.telemetry.transport import NoTransport

EDGE: Final = EdgeId("e-aurora0000000001")
APPENDERS: Final = 200
APPENDS: Final = 6_000
RAW_COMMITS: Final = 60
BATCHES: Final = 40
BATCH_RECORDS: Final = 500
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
        return [*await _append_rows(Path(folder)), *await _ingest_rows(Path(folder))]


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


async def _ingest_rows(folder: Path) -> list[Row]:
    async with EmbeddedPostgres(folder / "postgres") as server:
        await asyncio.to_thread(upgrade, server.dsn)
        database = Database(server.dsn, most=4)
        await database.open()
        try:
            ingested: list[float] = []
            copied: list[float] = []
            for n in range(ROUNDS):
                payloads = await _payloads(folder / f"ingest-{n}")
                ingested.append(await _ingest_rate(database, payloads))
                copied.append(await _copy_rate(server.dsn, payloads))
        finally:
            await database.close()
    peer = sorted(copied)[len(copied) // 2]
    name = f"binary COPY of the same rows, {BATCH_RECORDS} a transaction"
    return [
        row(name, copied, "rows/s"),
        row(
            "batch to committed rows: decode, latest values, mark, COPY",
            ingested,
            "rows/s",
            ratio_to=name,
            peer=peer,
            bar=">= 20000 rows/s a worker (600 hotels of 30 rows/s)",
            holds=lambda rate, _ratio: rate >= 20_000,
        ),
    ]


async def _payloads(folder: Path) -> list[bytes]:
    """Batches of lane C as an edge sends them."""
    async with await RecordLog.open(folder, clock=SystemClock("host"), dice=SystemDice()) as log:
        for _ in range(BATCHES * BATCH_RECORDS // 100):
            await log.append_many(Lane.C, [Entry("reading", BODY)] * 100)
        incarnation = log.incarnations()[Lane.C]
        payloads: list[bytes] = []
        after = 0
        while (run := await log.run(incarnation, Lane.C, after, BATCH_RECORDS)) is not None:
            payload, after = pack_batch(EDGE, incarnation, Lane.C, run)
            payloads.append(payload)
    return payloads


async def _ingest_rate(database: Database, payloads: Sequence[bytes]) -> float:
    async def owner_of(_connection: Connection, _edge: EdgeId) -> EdgeOwner:
        return EdgeOwner("northlight", "aurora")

    worker = IngestWorker(database, NoTransport(), owner_of=owner_of, projections={}, clock=SystemClock("host"))
    topic = parse_up(up_topic(EDGE, Lane.C))
    began = time.perf_counter()
    for payload in payloads:
        await worker.take(topic, payload)
    took = time.perf_counter() - began
    assert worker.counts.records == BATCHES * BATCH_RECORDS
    return worker.counts.records / took


async def _copy_rate(dsn: str, payloads: Sequence[bytes]) -> float:
    """The same rows, decoded beforehand, into a table of the same form without an index or a mark."""
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        await connection.execute("DROP TABLE IF EXISTS peer")
        await connection.execute("CREATE TABLE peer (LIKE telemetry.record)")
        await connection.execute("ALTER TABLE peer ALTER COLUMN id DROP NOT NULL")
        batches = [parse_batch(payload).open() for payload in payloads]
        now = at(SystemClock("host").wall_ms())
        began = time.perf_counter()
        count = 0
        for batch in batches:
            statement = COPY_RECORDS.replace("telemetry.record", "peer").encode()
            async with connection.transaction(), connection.cursor() as cursor, cursor.copy(statement) as copy:
                copy.set_types(RECORD_TYPES)
                for each in batch.records:
                    start = ("northlight", "aurora", EDGE, batch.incarnation, "C", each.seq, each.kind)
                    times = (each.device_at_ms, each.edge_at_ms, each.mono_ms, each.clock.value, now)
                    await copy.write_row((*start, jsonb(each.body), *times))
                    count += 1
        return count / (time.perf_counter() - began)
