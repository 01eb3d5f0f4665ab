"""The fan-in against its limits: groups of batches into committed rows, against a binary COPY of the same rows into the
same table; and from MQTT, against a raw program on the same wire.
"""

import asyncio
import contextlib
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import psutil
import psycopg
import structlog

from bench import fan_in_edges
from bench.rows import Row, row
from bench.shipped_database import shipped_settings
from cloud.app.ingest import collect_seldom
from cloud.kit.acting import system
from cloud.kit.database import Connection, Database, fetch_one
from cloud.migrations.upgrade import upgrade
from cloud.telemetry.fan_in.arrivals import Arrived, BatchItem, read
from cloud.telemetry.fan_in.hints import HintSender
from cloud.telemetry.fan_in.ledger import PostgresLedger
from cloud.telemetry.fan_in.ledger_rows import COPY_END, COPY_HEAD, COPY_RECORDS, RowFrame, copy_rows
from cloud.telemetry.fan_in.worker import WorkerSettings
from cloud.telemetry.ports import EdgeOwner
from cloud.telemetry.store.plain import PlainStore
from kit.clock import SystemClock
from protocols.device_model.identity import EdgeId
from protocols.link.batch import Packed, pack_batch
from protocols.link.lanes import Lane
from protocols.link.record import ClockQuality, encode_record
from protocols.link.topics import parse_up, up_topic
from provisioning.rehearsal.embedded_postgres import EmbeddedPostgres

EDGES: Final = 40
BATCH_RECORDS: Final = 250
BATCHES_EACH: Final = 10
GROUP_BATCHES: Final = 40
ROUNDS: Final = 3
ROLL_UP_RUNS_MOST: Final = 50
SMALL_RECORDS: Final = 3
SMALL_GROUP: Final = 120
SMALL_TURNS: Final = 60
LANES: Final = WorkerSettings().parallel
DEVICES: Final = 60


def edge_of(n: int) -> EdgeId:
    """Return the n-th emulated edge."""
    return EdgeId(f"e-bench{n:011d}")


async def owner_of(_connection: Connection, edge: EdgeId) -> EdgeOwner:
    """Every edge has a property of its own."""
    return EdgeOwner("northlight", f"hotel-{edge[-6:]}")


def records(first: int, count: int) -> list[bytes]:
    """Return encoded readings of a hotel's devices, as its log holds them."""
    now_ms = SystemClock("host").wall_ms()
    return [
        encode_record(
            "reading",
            {
                "room": str(100 + n % DEVICES),
                "device": f"thermostat-{100 + n % DEVICES}",
                "capability": "temperature_measurement",
                "attribute": "measured_value",
                "value": 18 + n % 97 / 10,
                "unit": "°C",
                "quality": "good",
            },
            device_at_ms=None,
            edge_at_ms=now_ms - 60_000 + n,
            mono_ms=1_000_000 + n * 10,
            clock=ClockQuality.SYNCHRONISED,
        )
        for n in range(first, first + count)
    ]


def payloads(
    incarnation: bytes, *, turns: int = BATCHES_EACH, each_records: int = BATCH_RECORDS
) -> list[tuple[EdgeId, bytes]]:
    """Return batches of lane C of all edges, as they would come in turn."""
    made: list[tuple[EdgeId, bytes]] = []
    for turn in range(turns):
        first = turn * each_records + 1
        encoded = records(first, each_records)
        seqs = range(first, first + each_records)
        run = Packed(first, first + each_records - 1, seqs, encoded)
        for n in range(EDGES):
            payload, last = pack_batch(edge_of(n), incarnation, Lane.C, run)
            assert last == run.last
            made.append((edge_of(n), payload))
    return made


def _topics(incarnation: bytes) -> list[tuple[str, bytes]]:
    return [(up_topic(edge, Lane.C), payload) for edge, payload in payloads(incarnation)]


def rows() -> list[Row]:
    """Measure and return the rows."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    collect_seldom()
    return asyncio.run(_rows())


async def _rows() -> list[Row]:
    with tempfile.TemporaryDirectory(prefix="ik-bench-") as folder:
        return await measure(Path(folder))


async def measure(folder: Path) -> list[Row]:
    """Measure, with the servers' files under `folder`."""
    async with EmbeddedPostgres(folder / "postgres", settings=shipped_settings()) as server:
        await asyncio.to_thread(upgrade, server.dsn)
        database = Database(server.dsn, most=6, actor=system("bench"))
        await database.open()
        try:
            loads = [os.getloadavg()[0]]
            rows = await _against_copy(database, server.dsn)
            loads.append(os.getloadavg()[0])
            total = EDGES * BATCHES_EACH * BATCH_RECORDS
            rows += await fan_in_edges.from_mqtt(folder, server.dsn, _topics, total, ROUNDS)
            loads.append(os.getloadavg()[0])
            rows += await fan_in_edges.many_edges(folder, server.dsn)
            loads.append(os.getloadavg()[0])
            return [*rows, row("load of the machine meanwhile, everybody's", loads, "tasks")]
        finally:
            await database.close()


async def _against_copy(database: Database, dsn: str) -> list[Row]:
    stored: list[float] = []
    copied: list[float] = []
    cpu: list[float] = []
    whole: list[tuple[float, float, float]] = []
    store = PlainStore(database)
    await store.ensure_partitions(SystemClock("host").wall_ms())
    for _ in range(ROUNDS):
        made = payloads(os.urandom(16))
        rate, cpu_us, _ = await _ledger_rate(database, made)
        stored.append(rate)
        cpu.append(cpu_us)
        copied.append(await _copy_rate(dsn, made))
        whole.append(await _ledger_rate(database, payloads(os.urandom(16)), store))
    peer = sorted(copied)[len(copied) // 2]
    name = f"binary COPY of packed rows into the same table, {GROUP_BATCHES * BATCH_RECORDS} a transaction"
    return [
        row(name, copied, "rows/s"),
        row(
            f"{GROUP_BATCHES} batches of {EDGES} edges to committed rows",
            stored,
            "rows/s",
            ratio_to=name,
            peer=peer,
            bar=">= 0.5 of COPY",
            holds=lambda _rate, ratio: ratio is not None and ratio >= 0.5,
        ),
        row("CPU of the worker's process", cpu, "us/row"),
        row("the same, readings in the time series as well", [each[0] for each in whole], "rows/s"),
        row("CPU of the worker's process, time series as well", [each[1] for each in whole], "us/row"),
        row("CPU of the database, time series as well, roll-ups later", [each[2] for each in whole], "us/row"),
        await _roll_up_cost(database, store),
        *await _small_batches(database, store),
    ]


async def _small_batches(database: Database, store: PlainStore) -> list[Row]:
    """What a batch costs besides its records: a fleet of quiet buildings sends many small ones."""
    worker: list[float] = []
    server: list[float] = []
    for _ in range(ROUNDS):
        made = payloads(os.urandom(16), turns=SMALL_TURNS, each_records=SMALL_RECORDS)
        _, worker_us, server_us = await _ledger_rate(database, made, store, group=SMALL_GROUP)
        worker.append(worker_us * SMALL_RECORDS)
        server.append(server_us * SMALL_RECORDS)
    told = f"a batch of {SMALL_RECORDS}, {SMALL_GROUP} of {EDGES // LANES} edges a transaction"
    return [
        row(f"CPU of the worker's process, {told}", worker, "us/batch"),
        row(f"CPU of the database, {told}", server, "us/batch"),
    ]


async def _roll_up_cost(database: Database, store: PlainStore) -> Row:
    """What it costs the database to roll up what was written, each reading into three resolutions."""
    async with database.transaction() as connection:
        written = await fetch_one(connection, "SELECT count(*) AS readings FROM telemetry.reading")
    assert written is not None
    used = await _database_cpu_s(database)
    now_ms = SystemClock("host").wall_ms() + 26 * 3_600_000  # every bucket is over
    for _ in range(ROLL_UP_RUNS_MOST):
        report = await store.run_maintenance(now_ms)
        if not (report.more or report.rolled_up):
            break
    spent = await _database_cpu_s(database) - used
    return row("CPU of the database, roll-ups of 1 min, 15 min, 1 day", [spent / written["readings"] * 1e6], "us/row")


async def _database_cpu_s(database: Database) -> float:
    """CPU seconds of the server and everything it ever forked, as far as the operating system tells."""
    async with database.transaction() as connection:
        mine = await fetch_one(connection, "SELECT pg_backend_pid() AS pid")
    assert mine is not None
    server = psutil.Process(mine["pid"]).parent()
    assert server is not None
    own = server.cpu_times()
    spent = own.user + own.system + own.children_user + own.children_system
    for child in server.children():
        with contextlib.suppress(psutil.NoSuchProcess):
            times = child.cpu_times()
            spent += times.user + times.system
    return float(spent)


async def _ledger_rate(
    database: Database,
    made: Sequence[tuple[EdgeId, bytes]],
    store: PlainStore | None = None,
    *,
    group: int = GROUP_BATCHES,
) -> tuple[float, float, float]:
    """As the worker does it: lanes of work with edges of their own; one decodes while another's rows are stored.

    Returns:
        rows/s, and CPU of this process and of the database in us a row.
    """
    hints = HintSender(database)
    ledger = PostgresLedger(
        database, owner_of=owner_of, projections={}, clock=SystemClock("host"), store=store, hint=hints.add
    )
    server = await _database_cpu_s(database)
    topics = {edge: parse_up(up_topic(edge, Lane.C)) for edge, _ in made}

    async def lane(edges: frozenset[EdgeId]) -> None:
        mine = [each for each in made if each[0] in edges]
        for start in range(0, len(mine), group):
            items = [read(Arrived(topics[edge], payload, 0)) for edge, payload in mine[start : start + group]]
            await ledger.commit([each for each in items if each is not None])

    began, cpu = time.perf_counter(), time.process_time()
    hinting = asyncio.create_task(hints.run())
    async with asyncio.TaskGroup() as tasks:
        for n in range(LANES):
            tasks.create_task(lane(frozenset(edge_of(each) for each in range(n, EDGES, LANES))))
    hinting.cancel()
    await asyncio.wait({hinting})
    took, used = time.perf_counter() - began, time.process_time() - cpu
    assert ledger.counts.batches["stored"] == len(made), ledger.counts
    spent = await _database_cpu_s(database) - server
    rows = ledger.counts.records
    return rows / took, used / rows * 1e6, spent / rows * 1e6


async def _copy_rate(dsn: str, made: Sequence[tuple[EdgeId, bytes]]) -> float:
    """The same rows under another incarnation, packed beforehand."""
    groups: list[bytes] = []
    incarnation, now_ms = os.urandom(16), SystemClock("host").wall_ms()
    for start in range(0, len(made), GROUP_BATCHES):
        packed: list[bytes] = []
        for edge, payload in made[start : start + GROUP_BATCHES]:
            item = read(Arrived(parse_up(up_topic(edge, Lane.C)), payload, 0))
            assert isinstance(item, BatchItem)
            batch = item.head.open()
            frame = RowFrame.of(
                tenant="northlight", property_id=f"hotel-{edge[-6:]}", edge=edge, incarnation=incarnation, lane="C",
                received_ms=now_ms,
            )  # fmt: skip
            packed += copy_rows(
                frame,
                [each.seq for each in batch.records],
                [(r.kind, r.device_at_ms, r.edge_at_ms, r.mono_ms, 0, r.body) for r in batch.records],
            )
        groups.append(b"".join((COPY_HEAD, *packed, COPY_END)))
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        began = time.perf_counter()
        for each in groups:
            async with connection.transaction(), connection.cursor() as cursor, cursor.copy(COPY_RECORDS) as copy:
                await copy.write(each)
        return len(made) * BATCH_RECORDS / (time.perf_counter() - began)
