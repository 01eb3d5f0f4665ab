"""What a building that lies, or somebody with its certificate, sends: refused by name, and nobody else pays for it."""

import zlib
from typing import Any

import pytest

from cloud.kit.database import Database, fetch_all
from cloud.telemetry.fan_in.arrivals import Arrived, Item, read
from cloud.telemetry.fan_in.ledger import PostgresLedger
from cloud.telemetry.store.plain import PlainStore
from kit.clock import ManualClock
from protocols import cbor
from protocols.device_model.identity import EdgeId
from protocols.link.lanes import Lane
from protocols.link.messages import AckStatus
from protocols.link.topics import Up, parse_up, up_topic
from tests.cloud.telemetry.sending import INCARNATION, NOW_MS, arrived, edge, owner_of, packed, reading

pytestmark = [pytest.mark.tier("postgres"), pytest.mark.guarantee("G2")]

GOOD: dict[str, Any] = {
    "room": "101", "device": "d", "capability": "c", "attribute": "a", "value": 1, "unit": None, "quality": "good",
    "at_ms": NOW_MS,
}  # fmt: skip


def live(who: EdgeId, *bodies: dict[str, Any]) -> Item:
    payload = cbor.encode(
        {
            "v": 1, "edge": who, "inc": INCARNATION, "at": NOW_MS, "state": list(bodies),
            "backlog": {"A": 0, "B": 0, "C": 0},
        },
        floats=True, depth=8,
    )  # fmt: skip
    item = read(Arrived(parse_up(up_topic(who, Up.LIVE)), payload, 0))
    assert item is not None
    return item


def ledger_of(database: Database) -> PostgresLedger:
    return PostgresLedger(
        database, owner_of=owner_of, projections={}, clock=ManualClock(wall_ms=NOW_MS), store=PlainStore(database)
    )


@pytest.mark.parametrize(
    "bad",
    [
        {"attribute": ""},
        {"quality": "excellent"}, {"value": [1]}, {"value": 10**18 * 5}, {"at_ms": -1}, {"at_ms": 2**62},
        {"value": 1e308}, {"device": "x" * 81}, {"value": True, "quality": None},
    ],
)  # fmt: skip
async def test_a_bad_item_of_a_live_state_costs_itself_alone(database: Database, bad: dict[str, Any]) -> None:
    """One transaction, the other items of that state and the neighbours as they are."""
    ledger = ledger_of(database)
    await ledger.commit([
        live(edge(1), {**GOOD, "device": "before"}, {**GOOD, **bad}, {**GOOD, "device": "after"}),
        arrived(edge(2), packed(edge(2), 1, [reading(1)])),
    ])  # fmt: skip
    async with database.transaction() as connection:
        rows = await fetch_all(connection, "SELECT property, device FROM telemetry.latest ORDER BY 1, 2")
    told = [(row["property"], row["device"]) for row in rows]
    assert {("p-000001", "after"), ("p-000001", "before"), ("p-000002", "thermostat-101")} <= set(told)
    assert ledger.counts.groups == 1


def batch(who: EdgeId, inside: bytes, n: int, **head: Any) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed_inside = packer.compress(inside) + packer.flush()
    return cbor.encode(
        {
            "v": 1, "edge": who, "inc": INCARNATION, "lane": "C", "open": b"opening1", "first": 1, "n": n,
            "z": packed_inside, **head,
        }
    )  # fmt: skip


def inside(*bodies: dict[str, Any], edge_at_ms: int = NOW_MS) -> bytes:
    return cbor.encode({"r": [["reading", None, edge_at_ms, 1, 0, body] for body in bodies]}, floats=True, depth=12)


@pytest.mark.parametrize(
    ("payload", "status", "hi", "shown"),
    [
        (batch(edge(1), inside(GOOD), 1, v=2), None, 0, 0),
        (batch(edge(2), inside(GOOD), 1), None, 0, 0),
        (batch(edge(1), inside({f"{n:x}": n for n in range(100_000)}), 1), None, 0, 0),
        (batch(edge(1), inside({f"{n:x}": 0 for n in range(60_000)}), 1), AckStatus.STORED, 1, 0),
        (batch(edge(1), inside({**GOOD, "value": 2**63 - 1}), 1), AckStatus.STORED, 1, 1),
        (batch(edge(1), inside(GOOD, edge_at_ms=0), 1), AckStatus.STORED, 1, 1),
        (batch(edge(1), inside(GOOD, edge_at_ms=253_402_300_799_999), 1), AckStatus.STORED, 1, 1),
        (batch(edge(1), inside({**GOOD, "value": 1.5}).replace(b"\xf9\x3e\x00", b"\xf9\x7e\x00"), 1), None, 1, 0),
        (batch(edge(1), inside(GOOD), 2**36), None, 0, 0),
        (batch(edge(1), b"", 1), None, 1, 0),
    ],
)  # fmt: skip
async def test_a_batch_that_lies_is_refused_by_name_and_the_neighbour_is_stored(
    database: Database, payload: bytes, status: AckStatus | None, hi: int, shown: int
) -> None:
    ledger = ledger_of(database)
    item = read(Arrived(parse_up(up_topic(edge(1), Lane.C)), payload, 0))
    assert item is not None
    replies = await ledger.commit([item, arrived(edge(2), packed(edge(2), 1, [reading(1)]))])
    ours = [each.ack for each in replies if each.edge == edge(1)]
    [theirs] = [each.ack for each in replies if each.edge == edge(2)]
    assert (theirs.status, theirs.marks[0].hi) == (AckStatus.STORED, 1)
    assert max((mark.hi for ack in ours for mark in ack.marks), default=0) == hi
    if status is not None and shown:
        assert [ack.status for ack in ours] == [status]
    else:
        assert all(ack.error for ack in ours)
        assert sum(ledger.counts.refused.values()) == 1
    async with database.transaction() as connection:
        rows = await fetch_all(
            connection, "SELECT quality FROM telemetry.latest WHERE property = 'p-000001' AND device = 'd'"
        )
        readings = await fetch_all(connection, "SELECT at FROM telemetry.reading")
    assert (len(rows), len(readings)) == (shown, shown + 1)
    assert ledger.counts.groups == 1
