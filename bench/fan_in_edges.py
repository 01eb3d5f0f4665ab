"""The fan-in from MQTT: one worker against a raw program on the same wire, and a thousand edges on two workers.

Every role is a process of its own, as in life; what they found comes back through a pipe.
"""

import asyncio
import multiprocessing
import os
import time
import zlib
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import lru_cache
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from typing import Any, Final

import cbor2
import psutil
import psycopg
import structlog

from bench.rows import Row, quantile, row
from cloud.app.ingest import collect_seldom
from cloud.kit.acting import system
from cloud.kit.database import Connection, Database
from cloud.telemetry.fan_in.leases import Worker
from cloud.telemetry.fan_in.ledger_rows import COPY_END, COPY_HEAD, COPY_RECORDS, RowFrame, copy_rows
from cloud.telemetry.fan_in.worker import READ_REST
from cloud.telemetry.ingest import IngestWorker
from cloud.telemetry.ports import EdgeOwner
from cloud.telemetry.store.plain import PlainStore
from kit import event_loop
from kit.clock import SystemClock
from kit.dice import SeededDice
from kit.mqtt_wire.transport import Broker, WireTransport
from protocols.device_model.identity import EdgeId
from protocols.errors import LinkLostError
from protocols.link.batch import Packed, pack_batch
from protocols.link.edge_link import LinkTimes
from protocols.link.lanes import Lane
from protocols.link.topics import parse_up
from provisioning.rehearsal.nats import Nats
from tests.cloud.telemetry.emulated_edge import OPENING, EmulatedEdge
from tests.cloud.telemetry.sending import edge
from tests.conftest import find_program
from tests.integration.fan_in_mosquitto import Mosquitto

EDGES: Final = int(os.environ.get("INNKEEPER_BENCH_EDGES", "1000"))
EDGES_S: Final = float(os.environ.get("INNKEEPER_BENCH_EDGES_S", "20"))
BATCH_RECORDS: Final = 40
BATCHES_A_SECOND: Final = 525
RAMP_S: Final = 15.0
COLD_S: Final = 5.0
"""Traffic before anything is measured: every point of every building is new to the database once."""
DRAIN_MOST_S: Final = 90.0
"""What is not acknowledged so long after the last append is told as such."""
RETURN_MOST_S: Final = 120.0
PUBLISHED_AT_ONCE: Final = 64
_ANYBODY: Final = edge(99_999)
_ANY_LIFE: Final = b"\xa5any life of any"

Payloads = Sequence[tuple[str, bytes]]


async def owner_of(_connection: Connection, who: EdgeId) -> EdgeOwner:
    """Every edge has a property of its own."""
    return EdgeOwner("northlight", f"hotel-{who[-6:]}")


def _child(target: Callable[..., None], *arguments: object) -> tuple[Any, Pipe]:
    """Start `target(pipe, *arguments)` in a process of its own."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=target, args=(theirs, *arguments), daemon=True)
    process.start()
    return process, ours


async def _hear(pipe: Pipe) -> Any:  # noqa: ANN401 - whatever the child said
    return await asyncio.to_thread(pipe.recv)


# ---------------------------------------------------------------------- roles


def be_worker(pipe: Pipe, dsn: str, port: int, name: str, whole: bool) -> None:
    """Ingest until told to end; then tell what was done. `whole`: into the time series as well as the ledger."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    event_loop.run(_be_worker(pipe, dsn, port, name, whole=whole))


async def _be_worker(pipe: Pipe, dsn: str, port: int, name: str, *, whole: bool) -> None:
    collect_seldom()
    database = Database(dsn, most=6, actor=system("ingest"))
    await database.open()
    worker = IngestWorker(
        database, WireTransport(Broker("127.0.0.1", port, f"cloud-ingest-{name}", rest=READ_REST)), owner_of=owner_of,
        projections={}, clock=SystemClock("host"), me=Worker(name, "1"), lease=timedelta(seconds=6),
        store=PlainStore(database) if whole else None,
    )  # fmt: skip

    async def keep() -> None:
        while True:
            try:
                await worker.run()
            except LinkLostError:
                await asyncio.sleep(0.2)

    running = asyncio.create_task(keep())
    while not worker.shards:
        await asyncio.sleep(0.02)
    pipe.send("ready")
    process, rss = psutil.Process(), []
    while not pipe.poll():
        rss.append(process.memory_info().rss)
        await asyncio.sleep(0.25)
    used = time.process_time()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await database.close()
    counts = worker.counts
    pipe.send((counts.records, dict(counts.batches), counts.groups, used, rss))


def be_raw(pipe: Pipe, dsn: str, port: int, records: int) -> None:
    """The limit: the same messages into the same table, nothing checked, no marks, no newest values, no answers."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    asyncio.run(_be_raw(pipe, dsn, port, records))


async def _be_raw(pipe: Pipe, dsn: str, port: int, records: int) -> None:
    collect_seldom()
    incarnation, now_ms, stored = os.urandom(16), SystemClock("host").wall_ms(), 0
    async with (
        await psycopg.AsyncConnection.connect(dsn) as database,
        WireTransport(Broker("127.0.0.1", port, "raw-program")).connect(subscribe=["up/#"]) as link,
    ):
        pipe.send("ready")
        while stored < records:
            taken = await link.batch(40)
            rows: list[bytes] = []
            for _, payload, *_ in taken:
                head = cbor2.loads(payload or b"")
                inside = cbor2.loads(zlib.decompress(head["z"], -15))["r"]
                frame = RowFrame.of(
                    tenant="northlight", property_id="hotel", edge=head["edge"], incarnation=incarnation, lane="C",
                    received_ms=now_ms,
                )  # fmt: skip
                rows += copy_rows(frame, range(head["first"], head["first"] + len(inside)), inside)
            async with database.transaction(), database.cursor() as cursor, cursor.copy(COPY_RECORDS) as copy:
                await copy.write(b"".join((COPY_HEAD, *rows, COPY_END)))
            link.acknowledge(taken)
            stored += len(rows)
        pipe.send(("stored", time.process_time()))


def be_publisher(pipe: Pipe, port: int, made: Payloads) -> None:
    """Publish everything, as fast as the broker takes it, when told to."""
    asyncio.run(_be_publisher(pipe, port, made))


async def _be_publisher(pipe: Pipe, port: int, made: Payloads) -> None:
    messages = [(topic.encode(), payload) for topic, payload in made]
    async with WireTransport(Broker("127.0.0.1", port, "publisher-1")).connect() as link:
        pipe.send("ready")
        await _hear(pipe)
        for start in range(0, len(messages), PUBLISHED_AT_ONCE):
            await link.publish_many(messages[start : start + PUBLISHED_AT_ONCE])
        pipe.send("done")


def be_edges(pipe: Pipe, port: int, count: int, seconds: float) -> None:
    """Be many edges for some seconds; then wait until all is acknowledged and tell how it went."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    asyncio.run(_be_edges(pipe, port, count, seconds))


@lru_cache(maxsize=20_000)
def _record(seq: int) -> bytes:
    from bench.fan_in import records

    return records(seq, 1)[0]


def _pack(who: EdgeId, incarnation: bytes, lane: Lane, run: Packed) -> tuple[bytes, int]:
    """Pack as an edge does; deflate what all of them tell alike once: the generator is not what is measured."""
    template, last = _template(lane, run.first, run.last)
    return template.replace(_ANYBODY.encode(), who.encode(), 1).replace(_ANY_LIFE, incarnation, 1), last


@lru_cache(maxsize=5_000)
def _template(lane: Lane, first: int, last: int) -> tuple[bytes, int]:
    seqs = range(first, last + 1)
    return pack_batch(_ANYBODY, _ANY_LIFE, lane, Packed(first, last, seqs, list(map(_record, seqs)), opening=OPENING))


async def _be_edges(pipe: Pipe, port: int, count: int, seconds: float) -> None:
    collect_seldom()
    clock, dice = SystemClock("host"), SeededDice(5)
    edges = [
        EmulatedEdge(
            edge(n), WireTransport(Broker("127.0.0.1", port, edge(n))), clock=clock, dice=dice.fork(f"{n}"),
            record=_record, pack=_pack, times=LinkTimes(), reconnect_most_ms=20_000,
        )
        for n in range(count)
    ]  # fmt: skip
    running = []
    for each in edges:
        running.append(asyncio.create_task(each.run()))
        await asyncio.sleep(RAMP_S / count)
    while not all(each.connected for each in edges):
        await asyncio.sleep(0.05)
    pipe.send("connected")
    _forget_waits(edges)
    await _tell(edges, COLD_S)
    await _caught_up(edges)
    cold, _ = _forget_waits(edges)
    pipe.send("warm")
    began, cpu = time.perf_counter(), time.process_time()
    turns = await _tell(edges, seconds)
    await _caught_up(edges)
    took = time.perf_counter() - began
    left = sum(not each.caught_up for each in edges)
    sent, appended = _forget_waits(edges)
    pipe.send((turns, took, cold, sent, appended, time.process_time() - cpu, left))
    await _hear(pipe)  # the broker was killed and came back
    seen_ms = clock.now_ms()
    while not all(_answered_since(each, seen_ms) for each in edges):
        if clock.now_ms() - seen_ms > RETURN_MOST_S * 1_000:
            break
        await asyncio.sleep(0.05)
    away = sum(not _answered_since(each, seen_ms) for each in edges)
    attempts = sorted(at for each in edges for at in each.attempts_ms if at > seen_ms - 5_000)
    spread_s = max(each.spread_s for each in edges)
    pipe.send(((clock.now_ms() - seen_ms) / 1000, attempts, spread_s, away))
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)


async def _tell(edges: Sequence[EmulatedEdge], seconds: float) -> int:
    """Have edges append in turn for some seconds; return how many batches that is."""
    began, turn = time.perf_counter(), 0
    while (passed := time.perf_counter() - began) < seconds:
        while turn < passed * BATCHES_A_SECOND:
            edges[turn % len(edges)].append(Lane.C, BATCH_RECORDS)
            turn += 1
        await asyncio.sleep(0.01)
    return turn


async def _caught_up(edges: Sequence[EmulatedEdge]) -> None:
    began = time.perf_counter()
    while not all(each.caught_up for each in edges) and time.perf_counter() - began < DRAIN_MOST_S:
        await asyncio.sleep(0.02)


def _forget_waits(edges: Sequence[EmulatedEdge]) -> tuple[list[int], list[int]]:
    """Return how long edges waited for answers since the last call: (since sending, since the append), ms."""
    sent = [wait for each in edges for wait in each.ack_waits_ms]
    appended = [wait for each in edges for wait in each.append_waits_ms]
    for each in edges:
        each.ack_waits_ms.clear()
        each.append_waits_ms.clear()
    return sent, appended


def _answered_since(one: EmulatedEdge, since_ms: int) -> bool:
    return one.connected and one.answered_ms is not None and one.answered_ms > since_ms


# ---------------------------------------------------------------------- measurements


async def from_mqtt(folder: Path, dsn: str, make: Callable[[bytes], Payloads], records: int, rounds: int) -> list[Row]:
    """One worker and a raw program in turn, each with the same number of fresh batches."""
    ours: list[float] = []
    raw: list[float] = []
    piped: list[float] = []
    async with Nats(folder / "nats-rate") as broker:
        for n in range(rounds):
            for kind, rates in (("worker", ours), ("raw", raw)):
                made = make(os.urandom(16))
                assert all(parse_up(topic).lane is Lane.C for topic, _ in made[:1])
                if kind == "worker":
                    reader, heard = _child(be_worker, dsn, broker.port, f"rate-{n}", False)
                else:
                    reader, heard = _child(be_raw, dsn, broker.port, records)
                publisher, told = _child(be_publisher, broker.port, made)
                assert (await _hear(heard), await _hear(told)) == ("ready", "ready")
                before = await _count(dsn)
                carried = _cpu_s(broker.pid)
                began = time.perf_counter()
                told.send("go")
                while (done := await _count(dsn) - before) < records:
                    await asyncio.sleep(0.02)
                rates.append(done / (time.perf_counter() - began))
                if kind == "worker":
                    piped.append((_cpu_s(broker.pid) - carried) / len(made) * 1e6)
                await _hear(told)
                if kind == "worker":
                    heard.send("end")
                await _hear(heard)
                reader.join()
                publisher.join()
    name = "raw program: MQTT in bulk, unchecked, COPY into the same table"
    return [
        row(name, raw, "rows/s"),
        row(
            "one worker from MQTT to committed and acknowledged",
            ours,
            "rows/s",
            ratio_to=name,
            peer=quantile(raw, 0.5),
            bar=">= 0.69 of a raw program (120 of 173 thousand)",
            holds=lambda _rate, ratio: ratio is not None and ratio >= 0.69,
        ),
        row(f"CPU of nats-server, a batch of {records // len(made)} and its share of acks", piped, "us/batch"),
    ]


def _cpu_s(pid: int | None) -> float:
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


async def _count(dsn: str) -> int:
    """Rows ever copied: the sequence that numbers them, read without a scan."""
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        cursor = await connection.execute(
            "SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM telemetry.record_id"
        )
        found = await cursor.fetchone()
    assert found is not None
    return int(found[0])


async def many_edges(folder: Path, dsn: str) -> list[Row]:
    """A thousand edges on two workers over mosquitto, none where it is absent; then the broker is killed."""
    if find_program("mosquitto") is None:
        return []  # nats-server as rehearsed grants some 480 durable subscriptions, one an edge
    async with Mosquitto(folder / "mosquitto-edges") as broker:
        children = [_child(be_worker, dsn, broker.port, name, True) for name in ("edges-1", "edges-2")]
        for _, pipe in children:
            assert await _hear(pipe) == "ready"
        edges, told = _child(be_edges, broker.port, EDGES, EDGES_S)
        assert await _hear(told) == "connected"
        assert await _hear(told) == "warm"
        turns, took, cold, sent, appended, edges_cpu, left = await _hear(told)
        await broker.kill()
        await broker.start()
        told.send("killed")
        back_s, attempts, spread_s, away = await _hear(told)
        edges.join()
        ends = []
        for process, pipe in children:
            pipe.send("end")
            ends.append(await _hear(pipe))
            process.join()
    rss = [one for end in ends for one in end[4]]
    half = [end[4] for end in ends]
    growth = max((max(each[-4:]) - max(each[len(each) // 2 - 2 : len(each) // 2 + 2])) / 2**20 for each in half)
    peak = _peak_a_second(attempts)
    return [
        row(f"{EDGES} edges, two workers: batches", [turns / took], "batches/s", bar=">= 500 batches/s",
            holds=lambda rate, _: rate >= 500),
        row(f"{EDGES} edges, two workers: readings", [turns * BATCH_RECORDS / took], "rows/s", bar=">= 20000 rows/s",
            holds=lambda rate, _: rate >= 20_000),
        row("two workers: CPU, start to end, a reading",
            [sum(end[3] for end in ends) / max(1, turns * BATCH_RECORDS) * 1e6],
            "us/row"),
        row("two workers: messages a transaction", [sum(sum(end[1].values()) for end in ends)
            / max(1, sum(end[2] for end in ends))], "messages"),
        row("the emulated edges' own CPU", [100 * edges_cpu / took], "% core"),
        row("sent to acknowledged, p95", [float(quantile(sent, 0.95))], "ms", bar="<= 1000 ms",
            holds=lambda wait, _: wait <= 1_000),
        row("sent to acknowledged, p50", [float(quantile(sent, 0.5))], "ms"),
        row(f"sent to acknowledged, p95, in the {COLD_S:g} s before, every point new", [float(quantile(cold, 0.95))],
            "ms"),
        row("appended to acknowledged, p95, the 200 ms of company and what the edge was held included",
            [float(quantile(appended, 0.95))], "ms"),
        row("a worker's memory at its most", [max(rss) / 2**20], "MiB"),
        row("a worker's growth in the second half", [growth], "MiB", bar="<= 16 MiB", holds=lambda mib, _: mib <= 16),
        row("edges with something unacknowledged at the end", [float(left)], "edges", bar="0",
            holds=lambda edges, _: edges == 0),
        row("broker killed: until every edge was answered again", [back_s], "s"),
        row("broker killed: edges that did not come back", [float(away)], "edges", bar="0",
            holds=lambda edges, _: edges == 0),
        row("broker killed: seconds over which the cloud asked its edges to come back", [float(spread_s)], "s"),
        row(
            "broker killed: connections tried in the busiest second",
            [float(peak)],
            "1/s",
            ratio_to="the mean over those seconds",
            peer=EDGES / max(1, spread_s),
            bar="<= 2 x the mean",
            holds=lambda _peak, ratio: ratio is not None and ratio <= 2,
        ),
    ]  # fmt: skip


def _peak_a_second(attempts_ms: Sequence[int]) -> int:
    counts: dict[int, int] = {}
    for at in attempts_ms:
        counts[at // 1_000] = counts.get(at // 1_000, 0) + 1
    return max(counts.values(), default=0)
