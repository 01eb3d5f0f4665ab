"""The doors' store: what it promises of the disk, and what it does when the disk breaks its own promises."""

from dataclasses import replace
from pathlib import Path

import apsw
import pytest

from edge.doors import store as doors_store
from edge.doors.closing_desk import Order
from edge.doors.errors import ClockUnsoundError
from edge.doors.store import DoorStore
from kit.clock import ClockQuality
from protocols.device_model.identity import RoomId
from protocols.door.audit import AuditEvent, AuditRecord
from protocols.door.status import Status
from protocols.errors import InvalidInputError, StoreFailedError
from tests.edge.doors.building import Building


@pytest.fixture
def building(tmp_path: Path):  # type: ignore[no-untyped-def]  # noqa: ANN201
    made = Building(tmp_path)
    yield made
    made.store.close()


@pytest.mark.guarantee("G1")
def test_a_commit_is_on_disk_and_what_is_deleted_is_overwritten(building: Building) -> None:
    asked = {
        name: building.store._one(f"PRAGMA {name}")[0] for name in ("synchronous", "journal_mode", "secure_delete")
    }
    assert asked == {"synchronous": 2, "journal_mode": "wal", "secure_delete": 1}
    assert (building.folder / "doors.db").stat().st_mode & 0o077 == 0


@pytest.mark.guarantee("G1", "G9")
def test_a_full_disk_issues_nothing_and_is_over_when_it_is_over(building: Building) -> None:
    pages = building.store._one("PRAGMA page_count")[0]
    building.store._db.execute(f"PRAGMA max_page_count = {pages}")
    issued = 0
    with pytest.raises(StoreFailedError):  # noqa: PT012 - which one fails is the disk's choice
        for at in range(10_000):
            building.phone(str(at)).check_in(f"stay-{at}", "101")
            issued += 1
    assert building.store.counts()["grants_issued"] == issued
    assert building.store.stay(f"stay-{issued}") is None
    building.store._db.execute("PRAGMA max_page_count = 100000")
    building.phone("after").check_in(f"stay-{issued}", "101")
    building.restart()
    assert building.store.counts()["grants_issued"] == issued + 1


def rolled_back(store: DoorStore) -> None:
    with store.written() as connection:
        before_ms = store.high_water_ms
        connection.execute("UPDATE life SET high_water_ms = high_water_ms + 1")
        assert store.high_water_ms == before_ms + 1
        raise InvalidInputError("the block", "fails")


@pytest.mark.requirement("P8")
def test_an_advert_asks_the_disk_nothing_and_the_mark_is_never_older_than_the_last_commit(building: Building) -> None:
    asked: list[str] = []
    store, radio = building.store, [lock.sighting() for lock in building.locks.values()]
    for sighting in radio:
        building.sync.wanted(sighting)

    def trace(_cursor: object, sql: str, _values: object) -> bool:
        asked.append(sql)
        return True

    store._db.exec_trace = trace
    for _ in range(100):
        building.clock.advance(1_000)
        for sighting in radio:
            building.sync.wanted(sighting)
    assert asked == []
    store._db.exec_trace = None
    building.phone("anna").check_in("stay-1", "101")
    marked_ms = building.clock.wall_ms()
    assert store.high_water_ms == marked_ms
    with pytest.raises(InvalidInputError):
        rolled_back(store)
    assert store.high_water_ms == marked_ms
    building.clock.step_wall(-600_000)
    building.clock.quality = ClockQuality.SYNCHRONISED
    with pytest.raises(ClockUnsoundError, match="before its last signature"):
        building.phone("bert").check_in("stay-2", "102")
    building.restart()
    assert building.store.high_water_ms == marked_ms


@pytest.mark.guarantee("G9")
def test_the_oldest_records_go_when_there_are_too_many_and_they_are_counted_once(
    building: Building, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doors_store, "RECORDS_KEPT_MOST", 10)
    monkeypatch.setattr(doors_store, "TRIM_AT_ONCE", 4)
    lock_id = building.locks["door-101"].identity.lock_id
    counted = 0

    def trace(_cursor: object, sql: str, _values: object) -> bool:
        nonlocal counted
        counted += "count(*) FROM record" in sql
        return True

    def keep(*seqs: int) -> list[int]:
        records = [AuditRecord(seq, 0, 0, AuditEvent.OPENED, bytes(8), 0, 0, bytes(16)) for seq in seqs]
        known = replace(building.store.lock(lock_id), contact_at_ms=max(seqs))
        building.store._db.exec_trace = trace
        building.store.keep_records(known, 101, records, ())
        building.store._db.exec_trace = None
        return [each.seq for each in building.store.records(lock_id, 0, 100)]

    for seq in range(1, 11):
        keep(seq)
    assert keep(9, 10) == list(range(1, 11))  # told twice, kept once, and counted so
    assert keep(11) == list(range(5, 12))
    building.store._db.execute(
        "CREATE TEMP TRIGGER crowded BEFORE INSERT ON record BEGIN SELECT RAISE(ABORT, 'no'); END"
    )
    with pytest.raises(StoreFailedError):
        keep(12)  # what was not kept is not counted
    building.store._db.execute("DROP TRIGGER crowded")
    assert keep(12, 13, 14) == list(range(5, 15))
    assert counted == 1
    building.restart()
    assert keep(15) == list(range(9, 16))
    assert counted == 2


@pytest.mark.guarantee("G11", "G18")
@pytest.mark.parametrize("damage", ["noise", "torn", "header"])
def test_a_damaged_store_is_set_aside_and_the_doors_go_on_the_same_day(building: Building, damage: str) -> None:
    anna, bert = building.phone("anna"), building.phone("bert")
    anna.check_in("stay-1", "101")
    assert anna.open("door-101").result.status is Status.OPENED
    building.store.close()
    path = building.folder / "doors.db"
    data = path.read_bytes()
    path.write_bytes(
        {"noise": bytes(range(256)) * 40, "torn": data[:4096] + b"\xa5" * 8192, "header": b"x" + data[1:]}[damage]
    )
    building.clock.advance(400_000)  # generations hold the time: seven minutes later they are larger
    building.open()
    assert building.store.set_aside is not None
    assert building.store.set_aside.exists()
    epoch = building.store.epoch
    bert.check_in("stay-2", "101")  # the locks have seen today's numbers: a new store must not repeat them
    assert bert.open("door-101").result.status is Status.OPENED
    assert anna.open("door-101").result.status is Status.SUPERSEDED
    building.restart()
    assert building.store.epoch == epoch
    assert building.store.set_aside is None


def test_a_store_of_a_later_build_is_left_alone(building: Building) -> None:
    building.store.close()
    path = building.folder / "doors.db"
    with apsw.Connection(str(path)) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(StoreFailedError, match="99"):
        DoorStore(path, epoch=bytes(16))
    assert path.exists()


@pytest.mark.guarantee("G11")
@pytest.mark.parametrize("sql", ["DROP TABLE bump", "DELETE FROM life", "DROP TABLE life"])
def test_a_store_that_lost_a_table_or_its_own_life_is_set_aside_and_not_refused_for_ever(
    building: Building, sql: str
) -> None:
    building.store._db.execute(sql)
    building.store.close()
    building.open()
    assert building.store.set_aside is not None
    building.clock.advance(400_000)
    building.phone("anna").check_in("stay-1", "101")


def test_a_lock_whose_battery_nobody_measured_has_no_percentage(building: Building) -> None:
    lock = building.locks["door-101"]
    known = building.store.lock(lock.identity.lock_id)
    assert known.battery_percent is None
    building.store.keep_contact(known, 101)
    assert building.store.lock(lock.identity.lock_id) == known


@pytest.mark.guarantee("G4", "G11", "G14")
@pytest.mark.parametrize(
    "sql", ["DROP TABLE lock", "DROP TABLE room", "UPDATE room SET highest = 16777215; DROP TABLE record"]
)
async def test_what_a_damaged_store_still_holds_goes_on_in_the_next_one(building: Building, sql: str) -> None:
    anna, bert = building.phone("anna"), building.phone("bert")
    bundle = anna.check_in("stay-1", "101")
    bert.check_in("stay-2", "102")
    anna.open("door-101")
    await building.visit("door-101")  # its lock was told that it may forget
    building.desk.end_stay("stay-2")
    building.store._db.execute(sql)
    building.store.close()
    building.open()
    assert building.store.set_aside is not None
    assert building.store.saved["stay"] == 2
    assert [event.body["event"] for event in building.store.events(0)] == ["promoted", "opened"]
    assert len(building.store.pending_bumps()) == 1
    assert building.phone("anna").check_in("stay-1", "101") == bundle
    building.desk.end_stay("stay-1")
    await building.visit("door-101")
    assert anna.open("door-101").result.status is Status.SUPERSEDED
    building.clock.advance(400_000)
    building.phone("carl").check_in("stay-3", "101")


_SINCE = {
    1: (
        *("withdrawn", "withdrawn_issuer", "revocation_list", "lockout", "told", "doubted"),
        *("draft", "common_list", "sealed_room"),
    ),
    2: ("draft", "common_list", "sealed_room"),
    3: ("common_list", "sealed_room"),
}


@pytest.mark.guarantee("G1", "G11")
@pytest.mark.parametrize("version", _SINCE)
def test_a_store_of_an_earlier_build_gets_its_new_tables_and_keeps_all_it_had(building: Building, version: int) -> None:
    bundle = building.phone("anna").check_in("stay-1", "101")
    building.store.close()
    with apsw.Connection(str(building.folder / "doors.db")) as db:
        for table in _SINCE[version]:
            db.execute(f"DROP TABLE {table}")
        db.execute(f"PRAGMA user_version = {version}")
    db.close()
    building.open()
    assert building.store.set_aside is None
    assert building.phone("anna").check_in("stay-1", "101") == bundle
    assert building.closing.withdraw_keys(Order("anna", "lost"), holder="stay-1")


@pytest.mark.guarantee("G4", "G11")
async def test_what_was_withdrawn_comes_over_from_a_damaged_store_under_a_later_number(building: Building) -> None:
    anna = building.phone("anna")
    anna.check_in("stay-1", "101")
    building.closing.withdraw_keys(Order("anna", "lost"), holder="stay-1")
    building.closing.lock_out(Order("police", "scene"), RoomId("102"), sealed=True)
    await building.visit("pool")
    before = building.closing.status()["seq"]
    building.store._db.execute("DROP TABLE bump")
    building.store.close()
    building.open()
    assert building.store.set_aside is not None
    building.closing.settle()
    assert building.closing.status()["seq"] > before
    for door in ("door-101", "door-102"):
        await building.visit(door)
    assert anna.open("door-101").result.status is Status.REVOKED
    assert building.locks["door-102"].core.locked_out
