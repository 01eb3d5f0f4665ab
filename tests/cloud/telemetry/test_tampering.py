"""Whoever changes the ledger with SQL is found by `innkeeper-cloud verify`: each way of changing it, named."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Final, LiteralString

import psycopg
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from cloud.app.verdict import verdict
from cloud.kit.database import Database, fetch_all
from cloud.kit.times import at
from cloud.telemetry import completeness
from cloud.telemetry.completeness import Completeness, prove
from cloud.telemetry.fan_in.ledger import PostgresLedger
from cloud.telemetry.ledger_keeping import LedgerKeeping, LedgerRetention
from kit.clock import ManualClock
from protocols.link import chain
from protocols.link.batch import Hole, HoleReason, Packed, pack_batch
from protocols.link.lanes import Lane
from protocols.link.record import ClockQuality, encode_record
from protocols.link.signed_head import LogHead, sign_head
from tests.cloud.telemetry.sending import INCARNATION, NOW_MS, arrived, edge, owner_of, packed

pytestmark = [pytest.mark.tier("postgres"), pytest.mark.guarantee("G2"), pytest.mark.guarantee("G14")]

EDGE: Final = edge(1)
DAY_MS: Final = 86_400_000
RECORDS: Final = 30
BODIES: Final[Mapping[int, dict[str, object]]] = {
    1: {"door": "door-101", "event": "opened", "battery": 3.1},
    2: {"big": 1e22, "small": 1e-7, "whole": 1.0, "long": -(2**63), "text": 'Zürich " \\ ✓ \x01', "none": None},
    3: {"list": [1, 2.5, [True, 0.1]], "": {"b": 1e300, "c": [-7.25]}},
}


def record(n: int) -> bytes:
    return encode_record(
        "note", dict(BODIES.get(n, {"n": n})), device_at_ms=None if n % 2 else NOW_MS, edge_at_ms=NOW_MS + n, mono_ms=n,
        clock=ClockQuality.SYNCHRONISED,
    )  # fmt: skip


def links() -> list[bytes]:
    values = [chain.genesis(INCARNATION)]
    for n in range(1, RECORDS + 1):
        values.append(chain.link(values[-1], n, record(n)))
    return values


LINKS: Final = links()


def of_lane_a(first: int, last: int) -> bytes:
    seqs = range(first, last + 1)
    run = Packed(first, last, seqs, [record(n) for n in seqs], before=LINKS[first - 1], links=LINKS[first : last + 1])
    return pack_batch(EDGE, INCARNATION, Lane.A, run)[0]


def head_at(seq: int) -> bytes:
    key = ec.derive_private_key(7, ec.SECP256R1())
    told = sign_head(LogHead(EDGE, INCARNATION, seq, LINKS[seq], NOW_MS), key, b"edge")
    return encode_record(
        "log_head", {"head": told.hex()}, device_at_ms=None, edge_at_ms=NOW_MS, mono_ms=1,
        clock=ClockQuality.SYNCHRONISED,
    )  # fmt: skip


async def fill(database: Database, *, heads: tuple[int, ...] = ()) -> None:
    """Lane A over two days, 1 to 20 and 21 to 30; the first is sealed."""
    clock = ManualClock(wall_ms=NOW_MS)
    ledger = PostgresLedger(database, owner_of=owner_of, projections={}, clock=clock)
    for first, last in ((1, 10), (11, 20)):
        await ledger.commit([arrived(EDGE, of_lane_a(first, last), Lane.A)])
    if heads:
        told = packed(EDGE, 1, [head_at(seq) for seq in heads], Lane.B)
        await ledger.commit([arrived(EDGE, told, Lane.B)])
    clock.advance(DAY_MS)
    await ledger.commit([arrived(EDGE, of_lane_a(21, 30), Lane.A)])
    await LedgerKeeping(database).run(NOW_MS + DAY_MS + 2 * 3_600_000)


async def proof(database: Database, *, trust: bool = False) -> dict[str, Completeness]:
    now_ms = NOW_MS + DAY_MS + 3 * 3_600_000
    found = prove(database, tenant="northlight", property_id=f"p-{EDGE[-6:]}", now_ms=now_ms, trust=trust)
    return {each.lane.value: each async for each in found}


async def change(database: Database, statement: LiteralString) -> None:
    """As somebody who may do anything."""
    async with await psycopg.AsyncConnection.connect(database.dsn, autocommit=True) as owner:
        await owner.execute(statement)


async def test_what_nobody_changed_holds_and_its_chain_is_followed_from_the_first_record(database: Database) -> None:
    await fill(database, heads=(7, 20))
    held = (await proof(database))["A"]
    assert (held.holds, held.count, held.chain_followed) == (True, RECORDS, RECORDS)


@pytest.mark.parametrize(
    ("statement", "flaw"),
    [
        ("DELETE FROM telemetry.record WHERE lane = 'A' AND seq = 25", "gaps"),
        ("DELETE FROM telemetry.record WHERE lane = 'A' AND seq = 5", "gaps"),
        (
            "INSERT INTO telemetry.record SELECT (r).* FROM (SELECT r FROM telemetry.record r WHERE seq = 25) AS x",
            "doubled",
        ),
        ("UPDATE telemetry.record SET body = '{\"n\": 99}' WHERE lane = 'A' AND seq = 25", "rewritten"),
        ("UPDATE telemetry.record SET kind = 'other' WHERE lane = 'A' AND seq = 25", "rewritten"),
        ("UPDATE telemetry.record SET edge_at_ms = edge_at_ms + 1 WHERE lane = 'A' AND seq = 25", "rewritten"),
        ("UPDATE telemetry.record SET kind = 'NO KIND' WHERE lane = 'A' AND seq = 25", "rewritten"),
        ("UPDATE telemetry.record SET body = '{\"n\": 99}' WHERE lane = 'A' AND seq = 5", "changed_days"),
        (
            "UPDATE telemetry.record SET seq = 51 - seq WHERE lane = 'A' AND seq IN (25, 26)",
            "rewritten",
        ),
        ("UPDATE telemetry.stream SET hi = 40 WHERE lane = 'A'", "gaps"),
        ("UPDATE telemetry.stream SET hi = 28 WHERE lane = 'A'", "disordered"),
        ("UPDATE telemetry.stream SET chain = sha256('x') WHERE lane = 'A'", "rewritten"),
        ("UPDATE telemetry.stream SET chain_breaks = 1 WHERE lane = 'A'", "chain_breaks"),
        ("DELETE FROM telemetry.stream WHERE lane = 'A'", "stray"),
        (
            "WITH gone AS (DELETE FROM telemetry.stream) DELETE FROM telemetry.record WHERE received_at > '2026-01-01'",
            "stray",
        ),
        ("DELETE FROM telemetry.proof WHERE lane = 'A'; DELETE FROM telemetry.record WHERE seq < 9", "gaps"),
        ("DELETE FROM telemetry.record WHERE lane = 'A' AND seq BETWEEN 11 AND 20", "changed_days"),  # a batch
        ("DELETE FROM telemetry.record WHERE lane = 'A' AND seq IN (20, 21)", "gaps"),  # where two days meet
        ("DELETE FROM telemetry.record WHERE lane = 'A' AND seq IN (1, 30)", "gaps"),
        ("DROP TABLE telemetry.record_20260102", "gaps"),  # not sealed yet
        ("UPDATE telemetry.record SET property = 'p-other' WHERE lane = 'A' AND seq = 25", "elsewhere"),
        ("UPDATE telemetry.stream SET property = 'p-other', hi = 40 WHERE lane = 'A'", "gaps"),
        ("UPDATE telemetry.edge SET property = 'p-other'; UPDATE telemetry.stream SET hi = 40", "gaps"),
    ],
)
async def test_each_change_is_named(database: Database, statement: LiteralString, flaw: str) -> None:
    await fill(database)
    await change(database, statement)
    found = (await proof(database))["A"]
    assert not found.holds
    assert getattr(found, flaw), found


@pytest.mark.parametrize("trust", [True, False])
async def test_a_day_that_went_without_retention_is_named(database: Database, *, trust: bool) -> None:
    await fill(database)
    await change(database, "DROP TABLE telemetry.record_20260101")
    found = (await proof(database, trust=trust))["A"]
    assert (found.holds, found.vanished_days) == (False, (at(NOW_MS).date(),))


async def test_a_row_and_the_mark_changed_together_are_found_by_a_head_that_was_told_before(
    database: Database,
) -> None:
    await fill(database, heads=(7, 20, 28))
    await change(database, "UPDATE telemetry.record SET body = '{\"n\": 99}' WHERE lane = 'A' AND seq = 25")
    await change(database, "UPDATE telemetry.stream SET chain = NULL WHERE lane = 'A'")
    found = (await proof(database))["A"]
    assert (found.rewritten, found.chain_followed) == (((21, 28),), 20)


async def test_behind_a_declared_hole_the_chain_is_taken_up_at_the_next_head(database: Database) -> None:
    await fill(database, heads=(7, 20))
    await change(
        database,
        "INSERT INTO telemetry.hole (edge, incarnation, lane, first, last, reason, told_at)"
        " SELECT edge, incarnation, lane, 23, 23, 'lost', now() FROM telemetry.stream WHERE lane = 'A'",
    )
    await change(database, "DELETE FROM telemetry.record WHERE lane = 'A' AND seq = 23")
    found = (await proof(database))["A"]
    assert (found.holds, found.chain_followed) == (True, 20)


async def test_a_row_doubled_under_another_incarnation_is_named(database: Database) -> None:
    await fill(database)
    await change(
        database,
        "INSERT INTO telemetry.record (id, tenant, property, edge, incarnation, lane, seq, kind, body, device_at_ms,"
        " edge_at_ms, mono_ms, clock, received_at) SELECT id, tenant, property, edge, sha256('x'), lane, seq, kind,"
        " body, device_at_ms, edge_at_ms, mono_ms, clock, received_at FROM telemetry.record WHERE seq = 25",
    )
    now_ms = NOW_MS + DAY_MS + 3 * 3_600_000
    found = [each async for each in prove(
        database, tenant="northlight", property_id=f"p-{EDGE[-6:]}", now_ms=now_ms
    )]  # fmt: skip
    assert [(each.holds, each.stray) for each in found] == [(True, False), (False, True)]


async def thin(database: Database, *, pieces: int = 20) -> None:
    """Lane C, thinned: of four positions each one gave way to three others, on a day that is sealed."""
    clock = ManualClock(wall_ms=NOW_MS)
    ledger = PostgresLedger(database, owner_of=owner_of, projections={}, clock=clock)
    for piece in range(pieces):
        first = 1 + 4 * piece
        run = Packed(
            first, first + 3, [first + 3], [record(5)], [Hole(first, first + 3, HoleReason.THINNED)]
        )  # fmt: skip
        await ledger.commit([arrived(EDGE, pack_batch(EDGE, INCARNATION, Lane.C, run)[0], Lane.C)])
    clock.advance(DAY_MS)
    lost = Packed(4 * pieces + 1, 4 * pieces + 4, [4 * pieces + 4], [record(5)], [
        Hole(4 * pieces + 1, 4 * pieces + 3, HoleReason.QUOTA)
    ])  # fmt: skip
    await ledger.commit([arrived(EDGE, pack_batch(EDGE, INCARNATION, Lane.C, lost)[0], Lane.C)])
    await LedgerKeeping(database).run(NOW_MS + DAY_MS + 2 * 3_600_000)


@pytest.mark.parametrize(
    ("statement", "spoilt", "off"),
    [
        ("DELETE FROM telemetry.record WHERE lane = 'C' AND seq = 8", [(5, 8, "thinned", 1, 0)], 1),
        (
            "UPDATE telemetry.record SET seq = 82 WHERE lane = 'C' AND seq = 8",
            [(5, 8, "thinned", 1, 0), (81, 83, "quota", 0, 1)],
            0,
        ),
        (
            "INSERT INTO telemetry.record (tenant, property, edge, incarnation, lane, seq, kind, body, edge_at_ms,"
            " mono_ms, clock, received_at) SELECT tenant, property, edge, incarnation, lane, 82, kind, body,"
            " edge_at_ms, mono_ms, clock, received_at FROM telemetry.record WHERE seq = 84",
            [(81, 83, "quota", 0, 1)],
            -1,
        ),
        ("UPDATE telemetry.hole SET inside = 3 WHERE first = 5", [(5, 8, "thinned", 3, 1)], 2),
    ],
)
async def test_what_vanished_from_a_hole_or_was_put_into_one_is_named(
    database: Database, statement: LiteralString, spoilt: list[tuple[int, int, str, int, int]], off: int
) -> None:
    await thin(database)
    held = (await proof(database))["C"]
    assert (held.holds, held.count) == (True, 21)
    await change(database, "DELETE FROM telemetry.proof")  # or the day would say that it changed
    await change(database, statement)
    found = (await proof(database))["C"]
    assert (found.holds, list(found.spoilt), found.inside_off) == (False, spoilt, off)
    for first, last, reason, told, stored in spoilt:
        assert f"{stored} records in {reason} {first}-{last}, of which {told} were told" in verdict(found)
    assert (await proof(database, trust=True))["C"].inside_off == off


async def test_a_thinned_day_in_many_pieces_is_not_said_to_have_changed(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who seals it keeps all of its pieces; a proof by itself would keep so many."""
    monkeypatch.setattr(completeness, "CHECKPOINT_RUNS_MOST", 7)
    monkeypatch.setattr(completeness, "RUNS_A_PIECE", 3)
    await thin(database)
    held = (await proof(database))["C"]
    assert (held.holds, held.changed_days) == (True, ())
    await change(database, "UPDATE telemetry.record SET seq = 7 WHERE lane = 'C' AND seq = 8")
    found = (await proof(database))["C"]
    assert (found.holds, len(found.changed_days)) == (False, 1)


async def test_after_retention_a_thinned_ledger_holds(database: Database) -> None:
    await thin(database)
    await fill_more(database)
    keeping = LedgerKeeping(database, LedgerRetention(a=None, b=timedelta(days=3), c=timedelta(days=2)))
    for day in range(2, 9):
        await keeping.run(NOW_MS + day * DAY_MS + 2 * 3_600_000)
    async with database.transaction() as connection:
        left = await fetch_all(connection, "SELECT DISTINCT lane FROM telemetry.record")
    assert [each["lane"] for each in left] == ["A"]
    for trust in (False, True):
        assert all(each.holds for each in (await proof(database, trust=trust)).values())
    await change(database, "DELETE FROM telemetry.hole WHERE lane = 'C' AND first = 5")
    found = (await proof(database))["C"]
    assert found.gaps == ((5, 7),)


async def fill_more(database: Database) -> None:
    ledger = PostgresLedger(database, owner_of=owner_of, projections={}, clock=ManualClock(wall_ms=NOW_MS))
    await ledger.commit([arrived(EDGE, of_lane_a(1, 10), Lane.A)])
