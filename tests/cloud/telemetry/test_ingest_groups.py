"""Groups: many edges in one transaction, answered after it; what one batch does wrong costs its neighbours nothing."""

import asyncio
import time
import zlib
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, LiteralString

import pytest

from cloud.kit.database import Database, fetch_all
from cloud.kit.notify import ANYTHING, NotificationHub, values_of
from cloud.telemetry import completeness, service
from cloud.telemetry.fan_in import ledger as ledgers
from cloud.telemetry.fan_in import statements
from cloud.telemetry.fan_in.arrivals import Arrived, Item, Reply, read
from cloud.telemetry.fan_in.hints import HINT_DEVICES_MOST, HintSender
from cloud.telemetry.fan_in.ledger import PostgresLedger
from cloud.telemetry.fan_in.opening import Opened, Place, open_batch
from cloud.telemetry.fan_in.returning import hold_ms, spread_of
from cloud.telemetry.ingest import IngestWorker
from cloud.telemetry.latest import value_of
from cloud.telemetry.store.plain import PlainStore
from kit.clock import ManualClock
from protocols import cbor
from protocols.device_model.identity import EdgeId, PropertyId
from protocols.errors import PeerProtocolError
from protocols.link.batch import BatchHead, Hole, HoleReason, Packed, pack_batch
from protocols.link.cloud_stream import CloudStream
from protocols.link.lanes import Lane
from protocols.link.messages import (
    STREAMS_MAX,
    AckStatus,
    Hello,
    Live,
    StreamMark,
    encode_ack,
    encode_hello,
    encode_live,
)
from protocols.link.record import ClockQuality, encode_record
from protocols.link.topics import Up, parse_up, up_topic
from tests.cloud.telemetry.sending import INCARNATION, NOW_MS, arrived, edge, note, owner_of, packed, reading
from tests.cloud.telemetry.transport import NoTransport

pytestmark = pytest.mark.tier("postgres")


def ledger_of(database: Database, **more: Any) -> PostgresLedger:
    clock, store = ManualClock(wall_ms=NOW_MS), PlainStore(database)
    return PostgresLedger(database, owner_of=owner_of, projections={}, clock=clock, store=store, **more)


def answers(replies: Sequence[Reply]) -> list[tuple[str, str, list[int]]]:
    return [(each.edge, each.ack.status.value, [mark.hi for mark in each.ack.marks]) for each in replies]


async def rows(database: Database, query: LiteralString) -> list[dict[str, Any]]:
    async with database.transaction() as connection:
        return await fetch_all(connection, query)


async def holds(database: Database, who: EdgeId) -> bool:
    async with database.transaction() as connection:
        return await completeness.verify(connection, tenant="northlight", property_id=f"p-{who[-6:]}")


@pytest.mark.guarantee("G2")
async def test_batches_of_many_edges_are_one_transaction_and_one_ack_an_edge(database: Database) -> None:
    ledger = ledger_of(database)
    group = [arrived(edge(n), packed(edge(n), first, [note(1), note(2)])) for first in (1, 3, 5) for n in range(20)]
    replies = await ledger.commit(group)
    assert answers(replies) == [(edge(n), "stored", [6]) for n in range(20)]
    assert (ledger.counts.groups, ledger.counts.records) == (1, 120)
    assert len(await rows(database, "SELECT DISTINCT xmin::text FROM telemetry.record")) == 1
    assert [await holds(database, edge(n)) for n in range(20)] == [True] * 20


async def test_lanes_of_one_edge_are_answered_together(database: Database) -> None:
    group = [arrived(edge(1), packed(edge(1), 1, [note(1)], lane), lane) for lane in (Lane.B, Lane.C)]
    [reply] = await ledger_of(database).commit(group)
    assert [(mark.lane, mark.hi) for mark in reply.ack.marks] == [(Lane.B, 1), (Lane.C, 1)]


@pytest.mark.guarantee("G2")
async def test_duplicates_and_gaps_are_answered_without_being_opened(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = ledger_of(database)
    first = packed(edge(1), 1, [note(n) for n in range(1, 4)])
    await ledger.commit([arrived(edge(1), first)])

    def opened(*_arguments: object) -> None:
        raise AssertionError("nothing new, and yet it was opened")

    monkeypatch.setattr(ledgers, "open_batch", opened)
    late = packed(edge(1), 9, [note(9)])
    replies = await ledger.commit([arrived(edge(1), first), arrived(edge(1), late)])
    assert answers(replies) == [(edge(1), "duplicate", [3]), (edge(1), "gap", [3])]


def poisons() -> dict[str, bytes]:
    good = packed(edge(2), 1, [note(1), note(2)])
    head = cbor.decode(good, len(good))
    assert isinstance(head, dict)
    return {
        "noise": b"\x00\xff\x17",
        "empty": b"",
        "oversized": bytes(300_000),
        "cut short": good[:-5],
        "another encoding": b"\xb9\x00\x08" + good[1:],
        "inside is noise": cbor.encode({**head, "z": b"noise"}),
        "inside is a bomb": cbor.encode({**head, "z": _bomb()}),
        "inside is a million lists": cbor.encode({**head, "z": _lists()}),
        "says more than it holds": cbor.encode({**head, "n": 7}),
        "says far more than it holds": cbor.encode({**head, "n": 2**60}),
        "says a long hole that is not inside": cbor.encode({**head, "n": 2**36}),
        "noise in a long head": cbor.encode({**head, "n": 501, "z": b"noise"}),
        "nothing at all": cbor.encode({**head, "n": 0}),
        "from the future": cbor.encode({**head, "v": 2}),
        "of another edge": packed(edge(3), 1, [note(1)]),
        "negative": cbor.encode({**head, "first": -4}),
    }


def _lists() -> bytes:
    """A thousand bytes that cost two seconds and 64 MB to decode."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(b"\xa1\x61r\x9a" + (1_000_000).to_bytes(4, "big") + b"\x80" * 1_000_000) + packer.flush()


def _bomb() -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(bytes(64 * 1024 * 1024)) + packer.flush()


@pytest.mark.guarantee("G19")
@pytest.mark.parametrize("name", list(poisons()))
async def test_a_poisonous_message_is_named_and_its_neighbours_are_stored(database: Database, name: str) -> None:
    ledger = ledger_of(database)
    before = packed(edge(1), 1, [note(1)])
    after = packed(edge(4), 1, [note(1)])
    group = [arrived(edge(1), before), arrived(edge(2), poisons()[name]), arrived(edge(4), after)]
    replies = await ledger.commit(group)
    told = answers(replies)
    assert told[0] == (edge(1), "stored", [1]) or told[1] == (edge(1), "stored", [1])
    assert (edge(4), "stored", [1]) in told
    assert sum(ledger.counts.refused.values()) == 1
    assert {row["edge"] for row in await rows(database, "SELECT edge FROM telemetry.record")} == {edge(1), edge(4)}
    refused = await rows(database, "SELECT edge FROM telemetry.refused")
    assert [row["edge"] for row in refused] == ([] if name == "from the future" else [edge(2)])
    # and the lane goes on
    [mark] = [each.ack.marks[0].hi for each in replies if each.edge == edge(2) and each.ack.marks] or [0]
    fine = await ledger.commit([arrived(edge(2), packed(edge(2), mark + 1, [note(1), note(2), note(3)]))])
    assert answers(fine) == [(edge(2), "stored", [mark + 3])]
    assert await holds(database, edge(2))


async def test_what_the_database_refuses_is_found_by_halving(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row that COPY does not take: nothing the checks let through, so it is planted behind them."""

    def planted(head: BatchHead, stream: CloudStream, place: Place, projected: frozenset[str]) -> Opened:
        opened = open_batch(head, stream, place, projected)
        if head.edge == edge(5):
            opened.rows[0] = opened.rows[0].replace(b'{"n":1}', b'{"n":,}')
        return opened

    monkeypatch.setattr(ledgers, "open_batch", planted)
    ledger = ledger_of(database)
    group = [arrived(edge(n), packed(edge(n), 1, [note(1), note(2)])) for n in range(11)]
    told = answers(await ledger.commit(group))
    assert sorted(told) == sorted((edge(n), "refused" if n == 5 else "stored", [2]) for n in range(11))
    [row] = await rows(database, "SELECT edge, first, last, detail, payload FROM telemetry.refused")
    assert (row["edge"], row["first"], row["last"]) == (edge(5), 1, 2)
    assert "the database refused it: InvalidTextRepresentation" in row["detail"]
    assert bytes(row["payload"]) == packed(edge(5), 1, [note(1), note(2)])
    assert [await holds(database, edge(n)) for n in range(11)] == [True] * 11
    assert ledger.counts.records == 20


@pytest.mark.guarantee("G1", "G19")
async def test_a_head_that_is_not_borne_out_is_answered_and_declares_nothing(database: Database) -> None:
    ledger = ledger_of(database)
    good = packed(edge(1), 3, [note(3), note(4), note(5)])
    head = cbor.decode(good, len(good))
    assert isinstance(head, dict)
    wild = cbor.encode({**head, "open": b"stranger", "n": 2**36})
    told = [arrived(edge(1), packed(edge(1), 1, [note(1), note(2)])), *[arrived(edge(1), wild)] * 100]
    replies = await ledger.commit(told)
    assert answers(replies) == [(edge(1), "stored", [2])] + [(edge(1), "refused", [2])] * 100
    assert "position 6 is neither record nor hole" in (replies[1].ack.error or "")
    assert await rows(database, "SELECT FROM telemetry.hole") == []
    assert await rows(database, "SELECT batches, openings FROM telemetry.stream") == [
        {"batches": 1, "openings": [bytes(8)]}
    ]
    kept = await rows(database, "SELECT first, last, payload FROM telemetry.refused")
    assert {(row["first"], row["last"]) for row in kept} == {(None, None)}
    assert sum(row["payload"] is not None for row in kept) == ledgers.REFUSED_KEPT_MAX
    assert answers(await ledger.commit([arrived(edge(1), good)])) == [(edge(1), "stored", [5])]
    assert await holds(database, edge(1))


async def test_a_building_gone_mad_does_not_fill_the_disk(database: Database) -> None:
    ledger = ledger_of(database)
    for _ in range(5):
        await ledger.commit([arrived(edge(1), b"noise") for _ in range(20)])
    kept = await rows(database, "SELECT payload IS NOT NULL AS kept FROM telemetry.refused")
    assert (len(kept), sum(row["kept"] for row in kept)) == (100, ledgers.REFUSED_KEPT_MAX)
    assert ledger.counts.refused["PeerProtocolError"] == 100


@pytest.mark.guarantee("G19")
async def test_batches_that_are_believed_and_cannot_be_read_do_not_fill_the_disk_either(database: Database) -> None:
    """Each moves the mark past what its head declares, so that the next one is new."""
    ledger = ledger_of(database)
    head = cbor.decode(good := packed(edge(1), 1, [note(1)]), len(good))
    assert isinstance(head, dict)
    for turn in range(2):
        told = [cbor.encode({**head, "first": turn * 40 + n, "z": b"noise"}) for n in range(1, 41)]
        await ledger.commit([arrived(edge(1), each) for each in told])
    kept = await rows(database, "SELECT payload IS NOT NULL AS kept FROM telemetry.refused")
    assert (len(kept), sum(row["kept"] for row in kept)) == (80, ledgers.REFUSED_KEPT_MAX)
    assert answers(await ledger.commit([arrived(edge(1), packed(edge(1), 81, [note(1)]))])) == [
        (edge(1), "stored", [81])
    ]


@pytest.mark.guarantee("G19")
async def test_many_lives_of_one_edge_are_answered_by_answers_that_can_be_sent(database: Database) -> None:
    lives = [bytes([n]) * 16 for n in range(1, 1 + 2 * STREAMS_MAX + 5)]
    group = [
        arrived(edge(1), pack_batch(edge(1), each, Lane.C, Packed(1, 1, range(1, 2), [note(1)]))[0]) for each in lives
    ]
    replies = await ledger_of(database).commit([*group, arrived(edge(2), packed(edge(2), 1, [note(1)]))])
    for each in replies:
        encode_ack(each.ack)
    told = [mark.incarnation for each in replies if each.edge == edge(1) for mark in each.ack.marks]
    assert sorted(told) == sorted(lives)
    assert len(replies) == 3 + 1


@pytest.mark.guarantee("G19")
async def test_the_middle_of_a_life_that_nobody_knows_leaves_no_row(database: Database) -> None:
    ledger = ledger_of(database)
    made_up = packed(edge(1), 1_000, [note(1)])
    for _ in range(2):
        assert answers(await ledger.commit([arrived(edge(1), made_up)])) == [(edge(1), "gap", [0])]
    assert await rows(database, "SELECT FROM telemetry.stream") == []
    group = [arrived(edge(1), made_up), arrived(edge(1), packed(edge(1), 1, [note(1), note(2)]))]
    assert answers(await ledger.commit(group)) == [(edge(1), "gap", [0]), (edge(1), "stored", [2])]
    assert [row["hi"] for row in await rows(database, "SELECT hi FROM telemetry.stream")] == [2]


@pytest.mark.guarantee("G2")
async def test_batches_that_are_dear_to_open_do_not_cost_their_neighbours_the_transaction(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server ends a transaction in which nothing is said for so long."""
    monkeypatch.setattr(statements, "IDLE_MOST", timedelta(milliseconds=1_500))
    monkeypatch.setattr(ledgers, "SPEAK_EVERY_MS", 0)

    def slowly(head: BatchHead, stream: CloudStream, place: Place, projected: frozenset[str]) -> Opened:
        time.sleep(0.1)  # compute, which nothing can interrupt
        return open_batch(head, stream, place, projected)

    monkeypatch.setattr(ledgers, "open_batch", slowly)
    group = [arrived(edge(n), packed(edge(n), 1, [note(1)])) for n in range(20)]
    assert len(await ledger_of(database).commit(group)) == 20


@pytest.mark.guarantee("G8")
async def test_a_stranger_gets_no_room(database: Database) -> None:
    ledger = ledger_of(database)
    stranger = EdgeId("e-nobody0000000001")
    hello = encode_hello(Hello((1,), stranger, PropertyId("aurora"), 5, (), NOW_MS))
    asked = read(Arrived(parse_up(up_topic(stranger, Up.HELLO)), hello, 0))
    assert asked is not None
    replies = await ledger.commit([arrived(stranger, packed(stranger, 1, [note(1)])), arrived(stranger, b"x"), asked])
    assert [(each.ack.status, each.ack.re, each.ack.marks) for each in replies] == [(AckStatus.REFUSED, 5, ())]
    for query in ("SELECT FROM telemetry.record", "SELECT FROM telemetry.refused", "SELECT FROM telemetry.edge"):
        assert await rows(database, query) == []
    assert ledger.counts.refused == {"PeerProtocolError": 3}


async def test_readings_of_all_edges_reach_the_time_series_and_the_newest_is_shown(database: Database) -> None:
    group: list[Item] = []
    for n in range(3):
        records = [reading(each, 20.0 + each) for each in range(1, 6)]
        group.append(arrived(edge(n), packed(edge(n), 1, records)))
    await ledger_of(database).commit(group)
    newest = await rows(database, "SELECT property, value, seq FROM telemetry.latest ORDER BY property")
    assert [(row["property"], row["value"], row["seq"]) for row in newest] == [
        (f"p-{edge(n)[-6:]}", 25.0, 5) for n in range(3)
    ]
    [count] = await rows(database, "SELECT count(*) AS n, sum(number) AS total FROM telemetry.reading")
    assert (count["n"], count["total"]) == (15, 3 * (21 + 22 + 23 + 24 + 25))


@pytest.mark.guarantee("G12")
async def test_a_large_fleet_is_asked_to_come_back_slowly_and_a_small_one_is_not(database: Database) -> None:
    clock = ManualClock(wall_ms=NOW_MS)
    ledger = PostgresLedger(database, owner_of=owner_of, projections={}, clock=clock, returns_a_second=2)

    async def asked(seq: int) -> int:
        [reply] = await ledger.commit([arrived(edge(1), packed(edge(1), seq, [note(seq)], Lane.B), Lane.B)])
        return reply.ack.spread_s

    assert await asked(1) == 0
    async with database.transaction() as connection:
        await connection.execute(
            """INSERT INTO telemetry.edge (id, tenant, property, last_heard_at)
               SELECT 'e-' || n, 'northlight', 'p', to_timestamp(%s) - (n > 100)::int * interval '11 minutes'
                 FROM generate_series(1, 5000) AS n""",
            [NOW_MS / 1000],
        )
    assert await asked(2) == 0  # counted now and then
    clock.advance(10_000)
    assert await asked(3) == 101 // 2  # those that were heard lately
    assert [spread_of(edges, 33) for edges in (0, 32, 1_000, 10_000, 10**6)] == [0, 0, 30, 300, 300]


@pytest.mark.guarantee("G12")
def test_edges_that_are_held_back_do_not_come_back_together() -> None:
    """In any tenth of the hold at most twice their share returns, none is held longer than messages wait."""
    held = [hold_ms(edge(n), 3_000, 5_000) for n in range(1_000)]
    assert 750 <= min(held) <= max(held) <= 3_000
    tenths = Counter(each * 10 // 3_000 for each in held)
    assert max(tenths.values()) <= 2 * 1_000 / 7.5
    assert max(hold_ms(edge(n), 60_000, 5_000) for n in range(1_000)) <= 5_000
    assert len({hold_ms(edge(1), waited, 5_000) for waited in range(20_000, 20_050)}) > 25  # not always the same one


@pytest.mark.guarantee("G12")
async def test_an_edge_whose_message_waited_long_is_asked_to_hold_back_and_no_other(database: Database) -> None:
    worker = IngestWorker(database, NoTransport(), owner_of=owner_of, projections={}, clock=ManualClock(wall_ms=NOW_MS))
    asked = []
    for seq, waited_ms in ((1, 900), (2, 1_100), (3, 90_000)):
        payload = packed(edge(1), seq, [note(seq)], Lane.B)
        ack = await worker.take(parse_up(up_topic(edge(1), Lane.B)), payload, waited_ms=waited_ms)
        assert ack is not None
        asked.append(ack.slow_ms)
    assert asked[0] == 0
    assert 1_100 // 4 <= asked[1] <= 1_100
    assert 5_000 // 4 <= asked[2] <= 5_000


@pytest.mark.guarantee("G2")
async def test_records_inside_a_thinned_hole_are_counted_and_their_spread_is_kept(database: Database) -> None:
    """Positions 2 to 5 gave way to 3 and 6, which say so; the hole reaches over both batches."""
    who = edge(1)

    def stands(since: int, count: int, most: float) -> dict[str, object]:
        return {"count": count, "first": 1, "last": 21.5, "min": 1, "max": most, "mean": 2.5, "numbers": count,
                "from_seq": since, "from_ms": NOW_MS}  # fmt: skip

    runs = [
        Packed(1, 4, [1, 3], [reading(1), reading(3, thinned=stands(2, 2, 9))], holes=[Hole(2, 4, HoleReason.THINNED)]),
        Packed(5, 8, [6, 8], [reading(6, thinned=stands(4, 3, 8)), note(8)],
               holes=[Hole(5, 6, HoleReason.THINNED), Hole(7, 7, HoleReason.QUOTA)]),
    ]  # fmt: skip
    for run in runs:
        payload, _ = pack_batch(who, INCARNATION, Lane.C, run)
        await ledger_of(database).commit([arrived(who, payload)])
    async with database.snapshot() as connection:
        health = await service.link_health(connection, tenant="northlight", property_id=f"p-{who[-6:]}")
        [held] = await completeness.completeness(connection, tenant="northlight", property_id=f"p-{who[-6:]}")
    assert health is not None
    [lane] = health.lanes
    assert (lane.hi, lane.records, lane.gaps) == (8, 4, 4)  # 2, 4, 5 and 7 hold no record
    assert (held.holds, held.count, held.missing) == (True, 4, 0)
    assert await rows(
        database, "SELECT seq, stands_for, least, most, mean FROM telemetry.reading WHERE since IS NOT NULL ORDER BY 1"
    ) == [
        {"seq": 3, "stands_for": 2, "least": 1.0, "most": 9.0, "mean": 2.5},
        {"seq": 6, "stands_for": 3, "least": 1.0, "most": 8.0, "mean": 2.5},
    ]


@pytest.mark.parametrize(
    "wrong",
    [
        reading(1, True, device=5),
        reading(1, {"a": 1}),
        reading(1, 1e250),
        reading(1, "x" * 300),
        reading(1, None),
        reading(1, 1.0, quality="perfect"),
        reading(1, 1.0, room=[1]),
        reading(1, 1.0, thinned=None),
        reading(
            1,
            1.0,
            thinned={
                "count": 2**62,
                "first": 1,
                "last": 1,
                "min": 1,
                "max": 1,
                "mean": 1,
                "numbers": 1,
                "from_seq": 1,
                "from_ms": 1,
            },
        ),
        reading(
            1,
            1.0,
            thinned={
                "count": 2,
                "first": 1,
                "last": 1,
                "min": 1,
                "max": 1e250,
                "mean": 1,
                "numbers": 1,
                "from_seq": 1,
                "from_ms": 1,
            },
        ),
    ],
    ids=[
        "device",
        "map",
        "huge",
        "long",
        "nothing, but good",
        "quality",
        "room",
        "thinned by nothing",
        "too many",
        "spread beyond",
    ],
)
async def test_a_reading_that_is_none_stays_in_the_ledger_and_goes_no_further(database: Database, wrong: bytes) -> None:
    ledger = ledger_of(database)
    [reply] = await ledger.commit([arrived(edge(1), packed(edge(1), 1, [wrong, reading(2, 22.0)]))])
    assert (reply.ack.status, reply.ack.marks[0].hi) == (AckStatus.STORED, 2)
    assert [row["value"] for row in await rows(database, "SELECT value FROM telemetry.latest")] == [22.0]
    assert len(await rows(database, "SELECT FROM telemetry.reading")) == 1
    assert len(await rows(database, "SELECT FROM telemetry.record")) == 2
    [refused] = await rows(database, "SELECT first, last, error FROM telemetry.refused")
    assert (refused["first"], refused["last"], refused["error"]) == (1, 1, "PeerProtocolError")


@pytest.mark.guarantee("G10")
@pytest.mark.parametrize("at_ms", [0, 1_000_000_000, 253_402_300_799_999])
async def test_a_time_that_cannot_be_is_not_shown_as_one(database: Database, at_ms: int) -> None:
    body = {"device": "t", "capability": "c", "attribute": "a", "value": 1, "quality": "good"}
    record = encode_record(
        "reading", body, device_at_ms=at_ms, edge_at_ms=at_ms, mono_ms=1, clock=ClockQuality.SYNCHRONISED
    )
    await ledger_of(database).commit([arrived(edge(1), packed(edge(1), 1, [record]))])
    [shown] = await rows(
        database, "SELECT (extract(epoch FROM at) * 1000)::bigint AS at_ms, quality FROM telemetry.latest"
    )
    assert shown == {"at_ms": NOW_MS, "quality": "uncertain"}
    [kept] = await rows(database, "SELECT edge_at_ms FROM telemetry.record")
    assert kept == {"edge_at_ms": at_ms}


async def test_hello_live_and_batches_of_one_group_are_one_story(database: Database) -> None:
    who = edge(1)
    hello = Hello((1,), who, PropertyId("aurora"), 7, (StreamMark(INCARNATION, Lane.C, 1, 9),), NOW_MS)
    item = {
        "device": "thermostat-101", "capability": "thermostat", "attribute": "local_temperature", "value": 30.0,
        "quality": "good", "at_ms": NOW_MS,
    }  # fmt: skip
    live = Live(who, INCARNATION, NOW_MS, (item, {"device": 5}), {Lane.A: 0, Lane.B: 0, Lane.C: 4})
    group = [
        read(Arrived(parse_up(up_topic(who, Up.HELLO)), encode_hello(hello), 0)),
        arrived(who, packed(who, 1, [reading(n, 20.0 + n) for n in range(1, 4)])),
        read(Arrived(parse_up(up_topic(who, Up.LIVE)), encode_live(live), 0)),
    ]
    replies = await ledger_of(database).commit([each for each in group if each is not None])
    assert {each.ack.status: each.ack.marks[0].hi for each in replies} == {AckStatus.STORED: 3, AckStatus.WELCOME: 3}
    [value] = await rows(database, "SELECT value, source FROM telemetry.latest")
    assert value == {"value": 30.0, "source": "live"}
    [known] = await rows(
        database,
        "SELECT backlog, last_hello_at IS NOT NULL AS hello, last_ack_at IS NOT NULL AS ack FROM telemetry.edge",
    )
    assert known == {"backlog": {"a": 0, "b": 0, "c": 6}, "hello": True, "ack": True}


@pytest.mark.guarantee("G9")
@pytest.mark.parametrize(("devices", "named"), [(3, True), (HINT_DEVICES_MOST + 1, False)])
async def test_hints_name_the_devices_whose_values_changed_if_they_are_few(
    database: Database, dsn: str, devices: int, named: bool
) -> None:
    hub = NotificationHub(dsn)
    listening = asyncio.create_task(hub.run())
    names = [f"thermostat-{n}" for n in range(devices)]
    try:
        with hub.subscribe(values_of("p-000001")) as values, hub.subscribe(values_of("p-000002")) as neighbours:
            while ANYTHING not in await values.wait(0.01):  # it listens
                await asyncio.sleep(0.01)
            while await values.wait(0.05) or await neighbours.wait(0.01):
                pass
            told = packed(edge(1), 1, [reading(n, device=each) for n, each in enumerate(names)])
            silent = packed(edge(2), 1, [note(1)])
            sender = HintSender(database)
            await ledger_of(database, hint=sender.add).commit([arrived(edge(1), told), arrived(edge(2), silent)])
            assert await values.wait(0.1) == frozenset()  # nothing leaves with the commit, whoever flushes the log
            await sender.send()
            assert await values.wait(10) == (set(names) if named else {ANYTHING})
            assert await neighbours.wait(0.01) == frozenset()  # a note is no value
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)


@pytest.mark.guarantee("G19")
@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"room": "r" * 81}, "room"), ({"unit": "u" * 81}, "unit"), ({"room": 5}, "room"),
        ({"device": "d" * 81}, "device"), ({"value": "v" * 257}, "text of 257 characters"), ({"value": [1]}, "scalar"),
        ({"quality": ["good"]}, "quality"), ({"quality": "perfect"}, "quality"), ({"at_ms": -1}, "at_ms"),
    ],
)  # fmt: skip
def test_an_item_of_a_live_state_is_held_to_the_bounds_of_a_reading(wrong: dict[str, object], named: str) -> None:
    body = {"device": "t", "capability": "c", "attribute": "a", "value": 1, "quality": "good"}
    assert value_of(body, at_ms=NOW_MS).value == 1
    with pytest.raises(PeerProtocolError, match=named) as refused:
        value_of({**body, **wrong}, at_ms=NOW_MS)
    assert len(str(refused.value)) < 300


async def test_what_is_told_of_a_refusal_does_not_hold_what_was_refused(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error holds the frames that it came through, and they hold what was decoded until the group is stored."""
    told: list[BaseException] = []
    ledger = ledger_of(database)
    monkeypatch.setattr(ledger, "refuse", lambda _what, error, **_edge: told.append(error))
    await ledger.commit([arrived(edge(2), payload) for payload in poisons().values()])
    assert len(told) >= len(poisons()) - 2
    assert [error for error in told if error.__traceback__ or error.__cause__ or error.__context__] == []
