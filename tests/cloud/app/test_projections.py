"""What records of the edges do here, through the ports the ingest calls, and what refuses them."""

from typing import Any

import pytest

from cloud.access.doors import events_before
from cloud.app.projections import PROJECTIONS, owner_of
from cloud.fleet.commands import Commands, command_by_id
from cloud.kit.database import Database, fetch_all
from cloud.stays import document
from cloud.stays.stays import stay_id, upsert_reservations
from cloud.telemetry.ports import BatchContext, EdgeOwner
from kit.clock import ManualClock
from kit.dice import SeededDice
from protocols.device_model.command import Phase
from protocols.device_model.identity import EdgeId
from protocols.errors import PeerProtocolError
from protocols.link.lanes import Lane
from protocols.link.record import ClockQuality, Record
from tests.cloud.edges import FakeEdges
from tests.cloud.houses import AURORA, NOW_MS, PLACE, open_house, reservation

pytestmark = pytest.mark.tier("postgres")
CONTEXT = BatchContext("northlight", "aurora", EdgeId(AURORA.edge), b"i" * 16, Lane.A, NOW_MS)
STAY = stay_id(AURORA.id, "mews", "r1")


def record(kind: str, body: dict[str, Any], seq: int = 1) -> Record:
    return Record(Lane.A, seq, kind, body, None, NOW_MS, 0, ClockQuality.SYNCHRONISED)


async def take(database: Database, *records: Record) -> None:
    async with database.transaction() as connection:
        for each in records:
            for project in PROJECTIONS[each.kind]:
                await project(connection, CONTEXT, [each])


async def rows(database: Database, query: Any) -> list[dict[str, Any]]:
    async with database.transaction() as connection:
        return await fetch_all(connection, query)


async def test_an_edge_belongs_to_the_property_whose_plan_names_it(database: Database) -> None:
    await open_house(database)
    async with database.transaction() as connection:
        assert await owner_of(connection, EdgeId(AURORA.edge)) == EdgeOwner("northlight", "aurora")
        assert await owner_of(connection, EdgeId("e-stranger")) is None


async def test_a_check_in_record_moves_the_stay_and_tells_the_pms_in_one_transaction(database: Database) -> None:
    await open_house(database)
    async with database.transaction() as connection:
        await upsert_reservations(connection, PLACE, [reservation()], now_ms=NOW_MS)
    body = {"stay": STAY, "room": "101", "state": "checked_in", "by": "kiosk", "at_ms": NOW_MS}
    await take(database, record("stay", body, 5), record("stay", body, 5))
    [stay] = await rows(database, "SELECT state, edge_by FROM stays.stay")
    assert (stay["state"], stay["edge_by"]) == ("in_house", "kiosk")
    events = await rows(database, "SELECT body FROM outbox.event WHERE body->>'state' = 'in_house'")
    assert len(events) == 1
    assert (events[0]["body"]["pms_status"], events[0]["body"]["edge_state"]) == ("booked", "checked_in")


@pytest.mark.requirement("ACC-23")
async def test_an_access_record_becomes_an_event_that_names_the_stay(database: Database) -> None:
    await open_house(database)
    body = {
        "door": "door-101", "room": "101", "lock": "00000000000000aa", "lock_seq": 7, "at_ms": NOW_MS - 5,
        "time_quality": "synchronised", "event": "opened", "grant": "aa", "stay": STAY, "generation": 3,
        "battery": 71, "something_new": True,
    }  # fmt: skip
    await take(database, record("access", body))
    async with database.transaction() as connection:
        [event] = await events_before(connection, tenant="northlight", property_id="aurora", most=5, before=None)
    assert (event.event, event.stay, event.grant_id, event.lock_seq) == ("opened", STAY, "aa", 7)


@pytest.mark.guarantee("G2")
@pytest.mark.requirement("ACC-23")
async def test_an_access_record_of_another_makers_lock_is_one_event_wherever_it_stands(database: Database) -> None:
    await open_house(database)
    body = {
        "event": "opened", "door": "annex-a1", "room": "a1", "stay": STAY, "at_ms": NOW_MS - 5, "system": "annex",
        "time_quality": "uncertain", "vendor_door": "door 1", "event_id": "0f" * 16,
    }  # fmt: skip
    other = {**body, "event_id": "1f" * 16}
    await take(database, record("access", body), record("access", other, 2), record("access", body, 3))
    async with database.transaction() as connection:
        page = await events_before(connection, tenant="northlight", property_id="aurora", most=5, before=None)
    assert [(each.event, each.door) for each in page] == [("opened", "annex-a1")] * 2


async def test_a_command_record_settles_what_nobody_answered(database: Database) -> None:
    await open_house(database)
    service = Commands(database, FakeEdges(silent=True), clock=ManualClock(wall_ms=NOW_MS), dice=SeededDice(1))
    command = await service.run(AURORA, kind="room", args={}, idempotency_key="k", within_ms=1_000, asked_by="test")
    await take(database, record("command", {"id": command.id, "phase": "failed", "error": "no such device"}))
    async with database.transaction() as connection:
        stored = await command_by_id(connection, tenant="northlight", property_id="aurora", command_id=command.id)
    assert stored is not None
    assert (stored.phase, stored.reason) == (Phase.FAILED, "no such device")


async def test_the_version_an_edge_reports_is_the_version_it_holds(database: Database) -> None:
    await open_house(database)
    async with database.transaction() as connection:
        await upsert_reservations(connection, PLACE, [reservation()], now_ms=NOW_MS)
    await take(
        database,
        record("desired", {"name": document.NAME, "version": 1}),
        record("desired", {"name": "policy", "version": 99}),
    )
    [held] = await rows(database, "SELECT held_version FROM stays.document")
    assert held["held_version"] == 1


async def test_a_room_record_sets_the_mode_in_order(database: Database) -> None:
    await open_house(database)
    await take(
        database,
        record("room", {"room": "101", "mode": "comfort", "cause": "entry"}, 9),
        record("room", {"room": "101", "mode": "set_back", "cause": "empty"}, 8),
    )
    [room] = await rows(database, "SELECT mode, mode_cause FROM stays.room WHERE id = '101'")
    assert (room["mode"], room["mode_cause"]) == ("comfort", "entry")


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("access", {"event": "opened"}),
        ("access", {"door": "d", "event": "opened", "lock_seq": -1}),
        ("access", {"door": "d", "event": "opened", "event_id": 17}),
        ("stay", {"stay": STAY, "state": "vanished"}),
        ("command", {"id": "c", "phase": "perhaps"}),
        ("desired", {"name": "stays", "version": "one"}),
        ("room", {"room": "101"}),
    ],
)
@pytest.mark.guarantee("G19")
async def test_a_record_of_the_wrong_shape_is_refused_by_name(
    database: Database, kind: str, body: dict[str, Any]
) -> None:
    await open_house(database)
    with pytest.raises(PeerProtocolError, match=f"{kind} record A/1"):
        await take(database, record(kind, body))
