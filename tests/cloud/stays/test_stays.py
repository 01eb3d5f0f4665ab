"""Stays in the database: mirrored once, settled in any order, one guest a room, one document an edge."""

import random
from typing import Any

import psycopg
import pytest

from cloud.kit.database import Database, fetch_all, fetch_one
from cloud.kit.times import at
from cloud.stays import document
from cloud.stays.life import EdgeState
from cloud.stays.listing import current_stays, stay_by_id
from cloud.stays.reservation import Housekeeping, PmsStatus, Reservation, RoomCondition
from cloud.stays.stays import EdgeFact, Upserted, apply_edge_facts, set_conditions, stay_id, upsert_reservations
from tests.cloud.houses import AURORA, DAY_MS, HOUR_MS, NOW_MS, PLACE, open_house, reservation

pytestmark = pytest.mark.tier("postgres")


async def upsert(database: Database, *items: Reservation, now_ms: int = NOW_MS) -> Upserted:
    async with database.transaction() as connection:
        return await upsert_reservations(connection, PLACE, items, now_ms=now_ms)


async def did(
    database: Database, state: EdgeState, seq: int, *, stay: str = "r1", incarnation: bytes = b"i" * 16
) -> None:
    fact = EdgeFact(stay_id(AURORA.id, "mews", stay), state, "101", "kiosk", NOW_MS, incarnation, seq)
    async with database.transaction() as connection:
        await apply_edge_facts(connection, PLACE, [fact], now_ms=NOW_MS)


async def picture(database: Database) -> list[tuple[Any, ...]]:
    """Everything about stays that must not depend on how it came to be."""
    async with database.transaction() as connection:
        rows = await fetch_all(
            connection,
            "SELECT external_id, state, room, room_asked, guest_name, expected_from, expected_until FROM stays.stay"
            " ORDER BY external_id",
        )
    return [tuple(row.values()) for row in rows]


async def held_document(database: Database) -> dict[str, Any]:
    async with database.transaction() as connection:
        row = await fetch_one(connection, "SELECT version, body FROM stays.document WHERE property = 'aurora'")
    assert row is not None
    return row


async def state(database: Database, external_id: str = "r1") -> tuple[str, str | None]:
    async with database.transaction() as connection:
        found = await stay_by_id(
            connection, tenant=AURORA.tenant, property_id=AURORA.id, stay=stay_id(AURORA.id, "mews", external_id)
        )
    assert found is not None
    return found.state.value, found.room


@pytest.mark.requirement("STY-01")
@pytest.mark.requirement("PMS-16")
async def test_a_reservation_is_created_then_updated_then_unchanged(database: Database) -> None:
    await open_house(database)
    assert await upsert(database, reservation()) == Upserted(1, 0, 0)
    assert await upsert(database, reservation()) == Upserted(0, 0, 1)
    assert await upsert(database, reservation(guest_name="A. Berger", updated_ms=NOW_MS + 1)) == Upserted(0, 1, 0)
    assert await state(database) == ("ready", "101")


async def test_what_is_older_than_what_we_hold_changes_nothing(database: Database) -> None:
    await open_house(database)
    await upsert(database, reservation(status=PmsStatus.CANCELLED, updated_ms=NOW_MS))
    await upsert(database, reservation(status=PmsStatus.BOOKED, updated_ms=NOW_MS - 1))
    assert await state(database) == ("void", None)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.guarantee("G2")
async def test_the_same_facts_late_doubled_and_in_any_order_end_in_the_same_stays(
    database: Database, seed: int
) -> None:
    """Two guests swap rooms, a third moves dates into the way, a fourth is cancelled: then every order agrees."""
    versions = [
        reservation("r1", room="101", updated_ms=NOW_MS),
        reservation("r1", room="102", updated_ms=NOW_MS + 1),
        reservation("r2", room="102", updated_ms=NOW_MS),
        reservation("r2", room="101", updated_ms=NOW_MS + 1),
        reservation("r3", room="103", updated_ms=NOW_MS),
        reservation("r3", room="101", arrival_ms=NOW_MS - 2 * HOUR_MS, updated_ms=NOW_MS + 2),
        reservation("r4", room="103", updated_ms=NOW_MS),
        reservation("r4", room="103", status=PmsStatus.CANCELLED, updated_ms=NOW_MS + 3),
    ]
    await open_house(database)
    chance = random.Random(seed)
    arriving = versions + chance.sample(versions, 4)
    chance.shuffle(arriving)
    for each in arriving:
        await upsert(database, each)
    assert [row[:3] for row in await picture(database)] == [
        ("r1", "ready", "102"),
        ("r2", "planned", None),
        ("r3", "ready", "101"),
        ("r4", "void", None),
    ]


async def test_the_database_itself_refuses_two_active_stays_in_one_room(database: Database) -> None:
    await open_house(database)
    await upsert(database, reservation("r1", room="101"), reservation("r2", room="102"))
    with pytest.raises(psycopg.errors.ExclusionViolation):
        async with database.transaction() as connection:
            await connection.execute("UPDATE stays.stay SET room = '101' WHERE external_id = 'r2'")


@pytest.mark.guarantee("G2")
async def test_what_the_edge_did_counts_once_and_in_its_order(database: Database) -> None:
    await open_house(database)
    await upsert(database, reservation())
    await did(database, EdgeState.CHECKED_IN, 7)
    assert await state(database) == ("in_house", "101")
    await did(database, EdgeState.CHECKED_OUT, 9)
    await did(database, EdgeState.CHECKED_IN, 7)
    assert await state(database) == ("left", "101")


async def test_the_pms_still_saying_booked_does_not_throw_a_guest_out(database: Database) -> None:
    await open_house(database)
    await upsert(database, reservation())
    await did(database, EdgeState.CHECKED_IN, 1)
    await upsert(database, reservation(guest_name="Anna B.", updated_ms=NOW_MS + 5))
    assert await state(database) == ("in_house", "101")
    await upsert(database, reservation(status=PmsStatus.LEFT, updated_ms=NOW_MS + 9))
    assert await state(database) == ("left", "101")


async def test_a_stay_becomes_ready_when_housekeeping_says_so(database: Database) -> None:
    await open_house(database, clean=False)
    await upsert(database, reservation())
    assert await state(database) == ("planned", "101")
    async with database.transaction() as connection:
        done = [RoomCondition("101", Housekeeping.INSPECTED, NOW_MS + 1)]
        await set_conditions(connection, PLACE, done, now_ms=NOW_MS + 1)
        late = [RoomCondition("101", Housekeeping.DIRTY, NOW_MS)]
        await set_conditions(connection, PLACE, late, now_ms=NOW_MS + 2)
    assert await state(database) == ("ready", "101")


async def test_the_document_changes_exactly_when_its_stays_do(database: Database) -> None:
    await open_house(database)
    await upsert(database, reservation("r1"))
    first = await held_document(database)
    assert first["body"]["stays"] == [
        {
            "id": stay_id("aurora", "mews", "r1"),
            "room": "101",
            "state": "ready",
            "guest_name": "Anna Berger",
            "expected_from_ms": NOW_MS - HOUR_MS,
            "expected_until_ms": NOW_MS + DAY_MS,
            "reservation": "N-r1",
            "version": 2,
        }
    ]
    await upsert(database, reservation("r1"))
    later = reservation("far", room="102", arrival_ms=NOW_MS + 4 * DAY_MS, departure_ms=NOW_MS + 5 * DAY_MS)
    await upsert(database, later)
    assert (await held_document(database))["version"] == first["version"]
    await upsert(database, reservation("r1", room="103", updated_ms=NOW_MS + 1))
    assert (await held_document(database))["version"] == first["version"] + 1


async def test_a_guest_who_left_stays_in_the_document_until_the_edge_holds_that(database: Database) -> None:
    await open_house(database)
    await upsert(database, reservation("r1", status=PmsStatus.IN_HOUSE))
    await upsert(database, reservation("r1", status=PmsStatus.LEFT, updated_ms=NOW_MS + 1))
    two_days_on = NOW_MS + 2 * DAY_MS
    await upsert(database, reservation("r2", room="102", departure_ms=NOW_MS + 3 * DAY_MS), now_ms=two_days_on)
    told = await held_document(database)
    assert [each["state"] for each in told["body"]["stays"]].count("left") == 1
    async with database.transaction() as connection:
        await document.held(connection, property_id="aurora", version=told["version"], at_ms=two_days_on)
    await upsert(database, reservation("r3", room="103", departure_ms=NOW_MS + 3 * DAY_MS), now_ms=two_days_on)
    assert "left" not in {each["state"] for each in (await held_document(database))["body"]["stays"]}


async def test_a_stay_is_held_when_the_edge_reports_a_document_that_carries_it_as_it_is(database: Database) -> None:
    async def held() -> bool:
        async with database.transaction() as connection:
            [stay] = await current_stays(connection, tenant=AURORA.tenant, property_id=AURORA.id, since=at(NOW_MS))
        return stay.edge_held

    await open_house(database)
    await upsert(database, reservation())
    version = (await held_document(database))["version"]
    assert not await held()
    async with database.transaction() as connection:
        await document.held(connection, property_id="aurora", version=version, at_ms=NOW_MS)
    assert await held()
    await upsert(database, reservation(guest_name="Somebody Else", updated_ms=NOW_MS + 1))
    assert not await held()
