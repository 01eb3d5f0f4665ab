"""The ingest against a real PostgreSQL: stored once, in order, acknowledged after the commit, nothing stops a lane."""

import asyncio
from collections.abc import Sequence
from typing import Any

import psycopg
import pytest

from cloud.kit.database import Connection, Database, fetch_all
from cloud.telemetry import completeness, service
from cloud.telemetry.ingest import IngestWorker
from cloud.telemetry.ports import BatchContext, EdgeOwner, Projection
from kit.clock import ManualClock
from protocols import cbor
from protocols.device_model.identity import EdgeId, PropertyId
from protocols.errors import PeerProtocolError
from protocols.link import chain
from protocols.link.batch import Hole, HoleReason, Packed, pack_batch
from protocols.link.lanes import Lane
from protocols.link.messages import Ack, AckStatus, Hello, Live, StreamMark, encode_hello, encode_live
from protocols.link.record import ClockQuality, Record, encode_record
from protocols.link.topics import Up, parse_up, up_topic
from tests.cloud.telemetry.transport import NoTransport

pytestmark = pytest.mark.tier("postgres")

EDGE = EdgeId("e-aurora0000000001")
OWNER = EdgeOwner("northlight", "aurora")
INCARNATION = bytes(range(16))
NOW_MS = 1_767_225_600_000


async def owner_of(_connection: Connection, edge: EdgeId) -> EdgeOwner | None:
    return OWNER if edge == EDGE else None


def worker(database: Database, **projections: Sequence[Projection]) -> IngestWorker:
    return IngestWorker(
        database, NoTransport(), owner_of=owner_of, projections=projections, clock=ManualClock(wall_ms=NOW_MS)
    )


def record(n: int, kind: str = "access", **body: object) -> bytes:
    return encode_record(
        kind, {"n": n, **body}, device_at_ms=None, edge_at_ms=NOW_MS + n, mono_ms=n, clock=ClockQuality.SYNCHRONISED
    )


def run_of(first: int, records: Sequence[bytes], lane: Lane = Lane.A, past: Sequence[bytes] = ()) -> Packed:
    """A run at `first` on top of the records `past` (lane A's chain needs them)."""
    if lane is not Lane.A:
        return Packed(first, first + len(records) - 1, range(first, first + len(records)), records)
    link = chain.genesis(INCARNATION)
    for seq, each in enumerate(past, start=1):
        link = chain.link(link, seq, each)
    before, links = link, []
    for seq, each in enumerate(records, start=first):
        link = chain.link(link, seq, each)
        links.append(link)
    return Packed(
        first, first + len(records) - 1, range(first, first + len(records)), records, before=before, links=links
    )


async def send(to: IngestWorker, run: Packed, lane: Lane = Lane.A) -> Ack:
    payload, _ = pack_batch(EDGE, INCARNATION, lane, run)
    ack = await to.take(parse_up(up_topic(EDGE, lane)), payload)
    assert ack is not None
    return ack


async def stored(database: Database, lane: Lane = Lane.A) -> list[int]:
    async with database.transaction() as connection:
        page = await service.records_page(connection, tenant="northlight", property_id="aurora", lane=lane, most=1000)
    return [row.seq for row in page.rows]


async def proof(database: Database) -> dict[Lane, completeness.Completeness]:
    async with database.transaction() as connection:
        held = await completeness.completeness(connection, tenant="northlight", property_id="aurora")
    return {each.lane: each for each in held}


@pytest.mark.guarantee("G2")
async def test_a_batch_is_stored_once_however_often_it_comes(database: Database) -> None:
    ingest = worker(database)
    records = [record(n) for n in range(1, 11)]
    acks = [await send(ingest, run_of(1, records)) for _ in range(3)]
    assert [ack.status for ack in acks] == [AckStatus.STORED, AckStatus.DUPLICATE, AckStatus.DUPLICATE]
    assert {ack.marks[0].hi for ack in acks} == {10}
    assert await stored(database) == list(range(1, 11))
    assert (await proof(database))[Lane.A].holds


@pytest.mark.guarantee("G2")
async def test_a_gap_is_answered_with_the_mark_and_nothing_is_stored(database: Database) -> None:
    ingest = worker(database)
    records = [record(n) for n in range(1, 11)]
    await send(ingest, run_of(1, records[:3]))
    ack = await send(ingest, run_of(7, records[6:], past=records[:6]))
    assert (ack.status, ack.marks[0].hi) == (AckStatus.GAP, 3)
    ack = await send(ingest, run_of(2, records[1:8], past=records[:1]))  # overlaps what is there
    assert (ack.status, ack.marks[0].hi) == (AckStatus.STORED, 8)
    assert await stored(database) == list(range(1, 9))
    assert (await proof(database))[Lane.A].chain_breaks == 0


@pytest.mark.guarantee("G2")
async def test_two_workers_with_the_same_batch_store_it_once(database: Database) -> None:
    first, second = worker(database), worker(database)
    records = [record(n) for n in range(1, 101)]
    for start in range(0, 100, 10):
        run = run_of(start + 1, records[start : start + 10], past=records[:start])
        acks = await asyncio.gather(send(first, run), send(second, run))
        assert sorted(ack.status for ack in acks) == [AckStatus.DUPLICATE, AckStatus.STORED]
    assert await stored(database) == list(range(1, 101))
    assert (await proof(database))[Lane.A].holds


@pytest.mark.guarantee("G1")
async def test_a_projection_that_crashes_the_worker_takes_its_batch_with_it(database: Database) -> None:
    class WorkerDiedError(BaseException):
        pass

    async def dies(_connection: Connection, _context: BatchContext, _records: Sequence[Record]) -> None:
        raise WorkerDiedError

    records = [record(n) for n in range(1, 4)]
    with pytest.raises(WorkerDiedError):
        await send(worker(database, access=[dies]), run_of(1, records))
    assert await stored(database) == []
    assert (await send(worker(database), run_of(1, records))).marks[0].hi == 3
    assert await stored(database) == [1, 2, 3]


async def test_a_projection_that_refuses_one_record_loses_only_that_one_and_the_ledger_keeps_it(
    database: Database,
) -> None:
    seen: list[int] = []

    async def picky(connection: Connection, _context: BatchContext, records: Sequence[Record]) -> None:
        for each in records:
            await connection.execute("INSERT INTO seen VALUES (%s)", [each.body["n"]])
            if each.body["n"] == 2:
                raise PeerProtocolError("no thirteenth floor")
        seen.extend(each.seq for each in records)

    async with await psycopg.AsyncConnection.connect(database.dsn) as owner:  # the service itself makes no tables
        await owner.execute("CREATE TABLE seen (n int); GRANT SELECT, INSERT ON seen TO innkeeper_system")
    ingest = worker(database, access=[picky])
    ack = await send(ingest, run_of(1, [record(n) for n in range(1, 4)]))
    assert (ack.status, ack.marks[0].hi) == (AckStatus.STORED, 3)
    assert await stored(database) == [1, 2, 3]
    assert seen == [1, 3]
    async with database.transaction() as connection:
        assert [row["n"] for row in await fetch_all(connection, "SELECT n FROM seen ORDER BY n")] == [1, 3]
        [refused] = await fetch_all(connection, "SELECT first, error, detail FROM telemetry.refused")
    assert refused == {"first": 2, "error": "PeerProtocolError", "detail": "no thirteenth floor"}
    assert ingest.counts.refused["PeerProtocolError"] == 1


@pytest.mark.guarantee("G19")
async def test_a_batch_with_a_broken_inside_is_kept_named_and_stepped_over(database: Database) -> None:
    ingest = worker(database)
    good, _ = pack_batch(EDGE, INCARNATION, Lane.B, run_of(1, [record(1), record(2)], Lane.B))
    head = cbor.decode(good, len(good))
    assert isinstance(head, dict)
    poison = cbor.encode({**head, "z": b"not deflate"})
    ack = await ingest.take(parse_up(up_topic(EDGE, Lane.B)), poison)
    assert ack is not None
    assert (ack.status, ack.marks[0].hi) == (AckStatus.REFUSED, 2)
    assert (ack.error or "").startswith("PeerProtocolError: ")
    assert (await send(ingest, run_of(3, [record(3)], Lane.B), Lane.B)).marks[0].hi == 3
    held = (await proof(database))[Lane.B]
    assert held.gaps == ()
    assert held.holes == (completeness.DeclaredHole(1, 2, "refused"),)
    async with database.transaction() as connection:
        [row] = await fetch_all(connection, "SELECT payload FROM telemetry.refused")
    assert bytes(row["payload"]) == poison


@pytest.mark.guarantee("G14")
async def test_a_log_changed_in_the_building_is_noticed(database: Database) -> None:
    ingest = worker(database)
    records = [record(n) for n in range(1, 7)]
    await send(ingest, run_of(1, records[:3]))
    forged = [*records[:2], record(99)]  # record 3 was changed after it was acknowledged, the chain recomputed
    await send(ingest, run_of(4, records[3:], past=forged))
    held = (await proof(database))[Lane.A]
    assert (held.chain_breaks, held.gaps, held.count) == (1, (), 6)
    assert not held.holds


async def test_a_version_from_the_future_is_refused_by_name_and_nothing_moves(database: Database) -> None:
    ingest = worker(database)
    payload, _ = pack_batch(EDGE, INCARNATION, Lane.A, run_of(1, [record(1)]))
    assert payload.count(b"av\x01") == 1
    ack = await ingest.take(parse_up(up_topic(EDGE, Lane.A)), payload.replace(b"av\x01", b"av\x02"))
    assert ack is not None
    assert (ack.status, ack.lane, ack.marks) == (AckStatus.REFUSED, Lane.A, ())
    assert ack.error == "UnsupportedVersionError: link batch version 2 is not supported here; supported: 1"
    assert await stored(database) == []


async def test_a_stranger_is_not_stored(database: Database) -> None:
    ingest = worker(database)
    stranger = EdgeId("e-nobody0000000001")
    payload, _ = pack_batch(stranger, INCARNATION, Lane.A, run_of(1, [record(1)]))
    assert await ingest.take(parse_up(up_topic(stranger, Lane.A)), payload) is None
    forged, _ = pack_batch(EDGE, INCARNATION, Lane.A, run_of(1, [record(1)]))
    assert await ingest.take(parse_up(up_topic(stranger, Lane.A)), forged) is None
    assert await stored(database) == []


async def test_declared_holes_are_shown_and_are_no_gaps(database: Database) -> None:
    ingest = worker(database)
    run = Packed(1, 9, [1, 2, 8], [record(1), record(2), record(8)], [
        Hole(3, 7, HoleReason.QUOTA), Hole(9, 9, HoleReason.QUOTA),
    ])  # fmt: skip
    assert (await send(ingest, run, Lane.C)).marks[0].hi == 9
    held = (await proof(database))[Lane.C]
    assert (held.count, held.gaps, held.holds) == (3, (), True)
    assert held.holes == (completeness.DeclaredHole(3, 7, "quota"), completeness.DeclaredHole(9, 9, "quota"))


@pytest.mark.guarantee("G2")
async def test_a_row_that_vanished_from_the_ledger_is_found_missing(database: Database) -> None:
    ingest = worker(database)
    await send(ingest, run_of(1, [record(n) for n in range(1, 8)]))
    async with database.transaction() as connection:
        await connection.execute("DELETE FROM telemetry.record WHERE seq IN (3, 4, 7)")
    held = (await proof(database))[Lane.A]
    assert held.gaps == ((3, 4), (7, 7))
    async with database.transaction() as connection:
        await connection.execute("INSERT INTO telemetry.record SELECT * FROM telemetry.record WHERE seq = 5")
    held = (await proof(database))[Lane.A]
    assert held.duplicates == 1
    assert not held.holds


async def test_hello_is_answered_with_the_marks_and_who_wrote_what(database: Database) -> None:
    ingest = worker(database)
    run = run_of(1, [record(1)], Lane.B)
    for first, opening in ((1, b"opening1"), (2, b"opening2"), (3, b"opening2")):
        moved = Packed(first, first, [first], run.records, opening=opening)
        assert (await send(ingest, moved, Lane.B)).status is AckStatus.STORED
    streams = (StreamMark(INCARNATION, Lane.B, 1, 5), StreamMark(bytes(16), Lane.A, 1, 0))
    hello = Hello((1,), EDGE, PropertyId("aurora"), 77, streams, NOW_MS)
    ack = await ingest.take(parse_up(up_topic(EDGE, Up.HELLO)), encode_hello(hello))
    assert ack is not None
    assert (ack.status, ack.re) == (AckStatus.WELCOME, 77)
    marks = {mark.lane: mark for mark in ack.marks}
    assert (marks[Lane.A].hi, marks[Lane.B].hi) == (0, 3)
    assert marks[Lane.B].openings == (b"opening2", b"opening1")
    async with database.transaction() as connection:
        health = await service.link_health(connection, tenant="northlight", property_id="aurora")
    assert health is not None
    assert (health.edge, health.backlog) == (EDGE, {"a": 0, "b": 2, "c": 0})
    assert [(lane.lane, lane.hi, lane.records) for lane in health.lanes] == [(Lane.B, 3, 3)]


@pytest.mark.guarantee("G17")
async def test_the_latest_value_never_goes_back(database: Database) -> None:
    ingest = worker(database)

    def reading(n: int, value: float) -> bytes:
        return record(
            n, "reading", room="101", device="thermostat-101", capability="thermostat", attribute="local_temperature",
            value=value, unit="°C", quality="good",
        )  # fmt: skip

    async def now() -> tuple[Any, str]:
        async with database.transaction() as connection:
            [value] = await service.latest(connection, tenant="northlight", property_id="aurora")
        return value.value, value.source

    await send(ingest, run_of(1, [reading(1, 20.0), reading(2, 20.5)], Lane.C), Lane.C)
    assert await now() == (20.5, "backlog")
    live = Live(EDGE, INCARNATION, NOW_MS + 500, ({
        "room": "101", "device": "thermostat-101", "capability": "thermostat", "attribute": "local_temperature",
        "value": 22.0, "unit": "°C", "quality": "good", "at_ms": NOW_MS + 400,
    },), {Lane.A: 0, Lane.B: 0, Lane.C: 7})  # fmt: skip
    assert await ingest.take(parse_up(up_topic(EDGE, Up.LIVE)), encode_live(live)) is None
    assert await now() == (22.0, "live")
    await send(ingest, run_of(3, [reading(3, 19.0)], Lane.C), Lane.C)  # backlog from before the live state
    assert await now() == (22.0, "live")
    await send(ingest, run_of(4, [reading(900, 23.0)], Lane.C), Lane.C)
    assert await now() == (23.0, "backlog")
