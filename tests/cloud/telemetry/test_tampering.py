"""Whoever changes the ledger with SQL is found by `innkeeper-cloud verify`: each way of changing it, named."""

from collections.abc import Mapping
from typing import Final, LiteralString

import psycopg
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from cloud.kit.database import Database
from cloud.kit.times import at
from cloud.telemetry.completeness import Completeness, prove
from cloud.telemetry.fan_in.ledger import PostgresLedger
from cloud.telemetry.ledger_keeping import LedgerKeeping
from kit.clock import ManualClock
from protocols.link import chain
from protocols.link.batch import Packed, pack_batch
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
