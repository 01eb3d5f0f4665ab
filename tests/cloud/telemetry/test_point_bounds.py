"""A building that makes devices up fills no table; what is not taken is told, and what is there goes on."""

from collections.abc import Sequence
from typing import Any, LiteralString

import pytest

from cloud.kit.database import Database, fetch_all
from cloud.telemetry.completeness import verify
from cloud.telemetry.fan_in.arrivals import Arrived, Item, read
from cloud.telemetry.fan_in.ledger import PostgresLedger
from cloud.telemetry.fan_in.newest import NewestValues, store_newest
from cloud.telemetry.fan_in.point_bounds import PointBounds
from cloud.telemetry.reading_proof import prove_readings
from cloud.telemetry.store.plain import PlainStore
from kit.clock import ManualClock
from protocols.device_model.identity import EdgeId
from protocols.link.lanes import Lane
from protocols.link.messages import AckStatus, Live, encode_live
from protocols.link.topics import Up, parse_up, up_topic
from tests.cloud.telemetry.sending import INCARNATION, NOW_MS, arrived, edge, owner_of, packed, reading

pytestmark = [pytest.mark.tier("postgres"), pytest.mark.guarantee("G9")]

MOST = 10


def ledger_of(database: Database) -> PostgresLedger:
    store = PlainStore(database, series_most=2 * MOST)
    return PostgresLedger(
        database, owner_of=owner_of, projections={}, clock=ManualClock(wall_ms=NOW_MS), store=store, points_most=MOST
    )


def live(who: EdgeId, devices: Sequence[int], value: float) -> Item:
    state: tuple[dict[str, Any], ...] = tuple(
        {
            "room": "101", "device": f"d-{n:06d}", "capability": "c", "attribute": "a", "value": value, "unit": None,
            "quality": "good", "at_ms": NOW_MS,
        }
        for n in devices
    )  # fmt: skip
    payload = encode_live(Live(who, INCARNATION, NOW_MS, state, dict.fromkeys(Lane, 0)))
    item = read(Arrived(parse_up(up_topic(who, Up.LIVE)), payload, 0))
    assert item is not None
    return item


async def rows(database: Database, statement: LiteralString) -> list[dict[str, Any]]:
    async with database.transaction() as connection:
        return await fetch_all(connection, statement)


async def test_made_up_devices_of_live_states_are_taken_up_to_the_bound(database: Database) -> None:
    ledger = ledger_of(database)
    await ledger.commit([live(edge(2), [1], 1.0)])
    for begun in range(0, 200, 50):
        await ledger.commit([live(edge(1), range(begun, begun + 50), 1.0)])
    found = await rows(database, "SELECT property, count(*) AS count FROM telemetry.latest GROUP BY 1 ORDER BY 1")
    assert [each["count"] for each in found] == [MOST, 1]
    assert ledger.counts.refused["PeerProtocolError"] == 4  # once a group
    await ledger.commit([live(edge(1), [3, 4, 5000], 7.0), live(edge(2), [1, 2], 7.0)])
    found = await rows(database, "SELECT device FROM telemetry.latest WHERE value = '7.0' ORDER BY property, device")
    assert [each["device"] for each in found] == ["d-000003", "d-000004", "d-000001", "d-000002"]
    again = ledger_of(database)  # another worker, which knows nothing
    await again.commit([live(edge(1), [3, 6000], 8.0)])
    assert (again.counts.refused["PeerProtocolError"], again.counts.batches["live"]) == (1, 1)


async def test_series_are_bounded_and_the_lane_goes_on(database: Database) -> None:
    """The same point in ever another room is another series, though not another point."""
    ledger = ledger_of(database)
    sent = [reading(n, float(n), room=f"r-{n}") for n in range(50)]
    [reply] = await ledger.commit([arrived(edge(1), packed(edge(1), 1, sent))])
    assert (reply.ack.status, reply.ack.marks[0].hi) == (AckStatus.STORED, 50)
    kept = await rows(database, "SELECT seq FROM telemetry.reading JOIN telemetry.series s ON s.id = series ORDER BY 1")
    assert len(kept) == 2 * MOST
    refused = await rows(database, "SELECT first, last, error, detail FROM telemetry.refused ORDER BY first")
    told = {seq for each in refused for seq in range(each["first"], each["last"] + 1)}
    assert told == set(range(1, 51)) - {each["seq"] for each in kept}
    assert "p-000001 has no room for another series" in refused[0]["detail"]
    room = 0  # the first by name has a series
    again = [reading(60 + n, 1.0, room=f"r-{room}") for n in range(5)]
    [reply] = await ledger.commit([arrived(edge(1), packed(edge(1), 51, again))])
    assert reply.ack.marks[0].hi == 55
    found = await rows(database, "SELECT count(*) AS count FROM telemetry.reading")
    assert found[0]["count"] == 2 * MOST + 5
    [newest] = await rows(database, "SELECT value, seq FROM telemetry.latest")
    assert newest == {"value": 1.0, "seq": 55}
    async with database.snapshot() as connection:
        assert await verify(connection, tenant="northlight", property_id="p-000001")
    for most in (2 * MOST, 100):  # full; or raised since, and the list of refusals names them
        [proof] = [
            each
            async for each in prove_readings(
                database, tenant="northlight", property_id="p-000001", series_most=most
            )
        ]  # fmt: skip
        assert (proof.holds, proof.compared, proof.unplaced) == (True, 2 * MOST + 5, 30)


async def test_a_value_that_was_refused_does_not_become_the_newest(database: Database) -> None:
    ledger = ledger_of(database)
    sent = [reading(n, float(n), room=f"r-{n:02d}") for n in range(50)]
    await ledger.commit([arrived(edge(1), packed(edge(1), 1, sent[:20]))])
    await ledger.commit([arrived(edge(1), packed(edge(1), 21, sent[20:]))])
    [newest] = await rows(database, "SELECT value, seq FROM telemetry.latest")
    assert newest == {"value": 19.0, "seq": 20}


async def test_what_stood_before_a_refused_value_in_the_same_group_is_the_newest(database: Database) -> None:
    ledger = ledger_of(database)
    await ledger.commit([arrived(edge(1), packed(edge(1), 1, [reading(n, 1.0, room=f"r-{n:02d}") for n in range(20)]))])
    sent = [reading(30, 7.0, room="r-03"), reading(31, 8.0, room="r-99")]
    await ledger.commit([arrived(edge(1), packed(edge(1), 21, sent))])
    [newest] = await rows(database, "SELECT value, room, seq FROM telemetry.latest")
    assert newest == {"value": 7.0, "room": "r-03", "seq": 21}


async def test_what_is_rolled_back_takes_no_place(database: Database) -> None:
    bounds = PointBounds(MOST)

    def values(first: int) -> NewestValues:
        made = NewestValues(NOW_MS, {})
        for n in range(first, first + MOST):
            body = {"device": f"d-{n:03d}", "capability": "c", "attribute": "a", "value": 1, "quality": "good"}
            made.take_live("northlight", "aurora", body, NOW_MS)
        return made

    async def fail() -> None:
        async with database.transaction() as connection:
            made = values(100)
            assert await bounds.cut(connection, made) == {}
            await store_newest(connection, made)
            raise LookupError("after the write")

    with pytest.raises(LookupError):
        await fail()
    async with database.transaction() as connection:
        made = values(0)
        assert await bounds.cut(connection, made) == {}
        await store_newest(connection, made)
    async with database.transaction() as connection:
        made = values(100)
        assert await bounds.cut(connection, made) == {"aurora": MOST}
        assert made.points == {}
