"""Of grants, bumps and stays goes what is long over, and nothing that anybody still asks the store for."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from edge.doors import grant_keeping, sync
from edge.doors.errors import StayEndedError
from edge.doors.grant_keeping import (
    AGREED_MS,
    DAY_MS,
    KEPT_MOST_MS,
    OVER_KEPT_MS,
    STRAYED_MS,
    Agreement,
    GrantKeeping,
)
from edge.doors.intake import Taking
from protocols.device_model.identity import RoomId
from protocols.door.status import Status
from protocols.errors import LinkLostError
from tests.edge.doors.building import Building, MemoryPhone
from tests.edge.doors.test_intake import fetched, intake

pytestmark = [pytest.mark.requirement("STY-08"), pytest.mark.guarantee("G3", "G4", "G5")]
ANNA, BEN = "s-anna", "s-ben"
HOUR_MS = 3_600_000
DOORS = ("door-101", "door-102", "pool")


@pytest.fixture
def building(tmp_path: Path) -> Iterator[Building]:
    made = Building(tmp_path)
    yield made
    made.store.close()


def look(building: Building) -> dict[str, int]:
    return GrantKeeping(building.store, building.book, building.sync.reads).look(building.time.at_ms())


def given(building: Building, stay: str, phone: MemoryPhone, room: str = "101", *, days: int = 2) -> bytes:
    now_ms = building.clock.wall_ms()
    phone.bundle = building.desk.issue(
        stay, [RoomId(room)], phone.public, not_before_ms=now_ms, not_after_ms=now_ms + days * DAY_MS
    )
    return phone.bundle.grant


async def visit(building: Building, *doors: str) -> None:
    for door in doors or DOORS:
        await building.visit(door)


def table(building: Building, name: str) -> list[tuple[Any, ...]]:
    return building.store.read(f"SELECT * FROM {name}")  # noqa: S608 - names of this file


async def test_a_stay_long_over_leaves_first_its_grants_and_much_later_itself(building: Building) -> None:
    phone = building.phone("anna")
    for turn in range(3):
        given(building, f"s-{turn}", phone)
        building.clock.advance(2 * DAY_MS)
        building.desk.end_stay(f"s-{turn}")
        await visit(building)
    spent, told = building.store.highest((101,)), building.store.given(101)
    building.clock.advance(OVER_KEPT_MS - 2 * DAY_MS + HOUR_MS)
    await visit(building)
    assert look(building) == {"grants": 2, "bumps": 2, "stays": 0}  # of the youngest, days are missing
    building.clock.advance(2 * DAY_MS)
    assert look(building) == {"grants": 1, "bumps": 0, "stays": 0}
    assert (building.store.highest((101,)), building.store.given(101)) == (spent, told)
    with pytest.raises(StayEndedError):
        given(building, "s-0", phone)
    assert building.desk.end_stay("s-0", emptied=[RoomId("101")]).doors == ()
    building.clock.advance(KEPT_MOST_MS)
    assert look(building) == {"grants": 0, "bumps": 0, "stays": 3}
    assert len(table(building, "bump")) == 1
    assert building.store.given(101) == told


async def test_who_comes_after_it_gets_a_later_generation_and_opens(building: Building) -> None:
    anna, ben = building.phone("anna"), building.phone("ben")
    given(building, ANNA, anna)
    assert anna.open("door-101").result.status is Status.OPENED
    had = building.store.stay(ANNA)
    building.desk.end_stay(ANNA)
    await visit(building)
    building.clock.advance(KEPT_MOST_MS + 10 * DAY_MS)
    await visit(building)
    assert look(building) == {"grants": 1, "bumps": 0, "stays": 0}
    assert look(building)["stays"] == 1
    given(building, BEN, ben)
    assert ben.open("door-101").result.status is Status.OPENED
    has = building.store.stay(BEN)
    assert has is not None
    assert had is not None
    assert has.generation > had.generation + 1  # the bump was between them


async def test_nothing_of_an_open_stay_goes(building: Building) -> None:
    """Its end was never told: its phone asks again, and gets what it had."""
    phone = building.phone("anna")
    given(building, ANNA, phone)
    building.clock.advance(KEPT_MOST_MS + 10 * DAY_MS)
    await visit(building)
    assert look(building) == {"grants": 0, "bumps": 0, "stays": 0}
    generation = building.store.stay(ANNA)
    given(building, ANNA, phone)
    assert building.store.stay(ANNA) == generation


async def test_nothing_of_an_open_stay_goes_though_its_room_went_on(building: Building) -> None:
    given(building, ANNA, building.phone("anna"))
    building.desk.inhibit(RoomId("101"))
    building.clock.advance(KEPT_MOST_MS + 10 * DAY_MS)
    await visit(building)
    assert look(building) == {"grants": 0, "bumps": 0, "stays": 0}


async def test_what_a_lock_recorded_of_a_guest_is_told_with_his_stay_however_late_it_is_fetched(
    building: Building,
) -> None:
    phone = building.phone("anna")
    given(building, ANNA, phone)
    await visit(building)
    assert phone.open("door-101").result.status is Status.OPENED
    building.clock.advance(2 * DAY_MS)
    building.desk.end_stay(ANNA)
    given(building, BEN, building.phone("ben"))
    building.desk.end_stay(BEN)
    building.clock.advance(OVER_KEPT_MS + 10 * DAY_MS)
    await visit(building, "door-102", "pool")
    assert look(building)["grants"] == 0
    await visit(building)
    opened = [each.body for each in building.store.events(0) if each.body["event"] == "opened"]
    assert [each["stay"] for each in opened] == [ANNA]
    assert look(building)["grants"] == 2


async def test_a_visit_that_breaks_off_before_the_last_record_lets_nothing_go(building: Building) -> None:
    """The lock was heard, and what it has still to tell names a guest of long ago."""
    phone = building.phone("anna")
    given(building, ANNA, phone)
    await visit(building)
    for _ in range(30):
        assert phone.open("door-101").result.status is Status.OPENED
    building.clock.advance(2 * DAY_MS)
    building.desk.end_stay(ANNA)
    given(building, BEN, building.phone("ben"))
    building.desk.end_stay(BEN)
    building.clock.advance(OVER_KEPT_MS + 10 * DAY_MS)
    await visit(building, "door-102", "pool")
    lock = building.locks["door-101"]
    for sent in range(1, 40):
        building.radio.cut_after = sent
        with suppress(LinkLostError):
            await visit(building, "door-101")
        if not building.store.pending_bumps():
            break
    known = building.store.lock(lock.identity.lock_id)
    assert (known.contact_at_ms, known.seq) == (building.clock.wall_ms(), 0), "it was heard, and not read"
    assert look(building)["grants"] == 0
    building.radio.cut_after = 2  # the lock is asked how it is, and for its records once
    with pytest.raises(LinkLostError):
        await visit(building, "door-101")
    assert 0 < building.store.lock(lock.identity.lock_id).seq < lock.core.audit_seq
    assert look(building)["grants"] == 0
    building.radio.cut_after = None
    await visit(building)
    opened = [each.body for each in building.store.events(0) if each.body["event"] == "opened"]
    assert [each["stay"] for each in opened] == [ANNA] * 30
    assert look(building)["grants"] == 2


async def test_a_house_that_takes_no_more_records_lets_nothing_go(
    building: Building, monkeypatch: pytest.MonkeyPatch
) -> None:
    phone = building.phone("anna")
    given(building, ANNA, phone)
    assert phone.open("door-101").result.status is Status.OPENED
    building.clock.advance(2 * DAY_MS)
    building.desk.end_stay(ANNA)
    given(building, BEN, building.phone("ben"))
    building.desk.end_stay(BEN)
    building.clock.advance(OVER_KEPT_MS + 10 * DAY_MS)
    monkeypatch.setattr(sync, "EVENTS_WAITING_MOST", 0)
    await visit(building)
    assert look(building)["grants"] == 0
    monkeypatch.undo()
    await visit(building)
    assert look(building)["grants"] == 2


async def test_after_a_start_every_lock_is_read_before_anything_goes(building: Building) -> None:
    phone = building.phone("anna")
    given(building, ANNA, phone)
    building.desk.end_stay(ANNA)
    given(building, BEN, phone)
    building.desk.end_stay(BEN)
    building.clock.advance(OVER_KEPT_MS + 10 * DAY_MS)
    await visit(building)
    building.restart()
    await visit(building, "door-101", "door-102")
    assert look(building)["grants"] == 0
    await visit(building, "pool")
    assert look(building)["grants"] == 2


async def no_radio_reaches_101(building: Building) -> tuple[list[bytes], MemoryPhone]:
    """Two guests of 102 long gone, and 101 that phones alone read: its log as one read it when they were there."""
    cleo = building.phone("cleo")
    given(building, "s-cleo", cleo)
    for _ in range(30):
        assert cleo.open("door-101").result.status is Status.OPENED
    for stay in (ANNA, BEN):
        given(building, stay, building.phone(stay), "102")
        building.desk.end_stay(stay)
    early = [fetched(building, cleo, after) for after in (0, 20)]
    building.clock.advance(OVER_KEPT_MS + 10 * DAY_MS)
    await visit(building, "door-102", "pool")
    lock = building.locks["door-101"]
    lock.core = lock.core.bolt_moved(lock.sensed)  # one record more, of today
    return early, cleo


async def test_what_a_phone_brings_counts_from_when_the_lock_signed_it(building: Building) -> None:
    early, cleo = await no_radio_reaches_101(building)
    taking, lock_id = intake(building), building.locks["door-101"].identity.lock_id
    assert [taking.take(lock_id, each) for each in early] == [Taking.STORED] * 2
    assert look(building)["grants"] == 0, "whole, as it was before their keys were over"
    assert taking.take(lock_id, fetched(building, cleo, 20)) is Taking.STORED
    assert look(building)["grants"] == 2


async def test_what_a_phone_brings_counts_once_nothing_follows_it(building: Building) -> None:
    _, cleo = await no_radio_reaches_101(building)
    taking, lock_id = intake(building), building.locks["door-101"].identity.lock_id
    first, rest = (fetched(building, cleo, after) for after in (0, 20))
    assert taking.take(lock_id, first) is Taking.STORED
    assert look(building)["grants"] == 0, "the lock said that there is more"
    assert taking.take(lock_id, rest) is Taking.STORED
    assert taking.take(lock_id, rest) is Taking.KNOWN
    assert look(building)["grants"] == 2


async def test_a_lock_that_is_never_visited_keeps_it_for_a_year_and_not_for_ever(building: Building) -> None:
    given(building, ANNA, building.phone("anna"), "102")
    building.desk.end_stay(ANNA)
    await visit(building, "door-102")
    building.clock.advance(KEPT_MOST_MS)
    assert look(building)["grants"] == 0
    building.clock.advance(3 * DAY_MS)
    assert look(building)["grants"] == 1


async def test_a_rooms_highest_generation_stays_known(building: Building) -> None:
    """Else the room's lock would seem to have seen somebody whom this store has forgotten."""
    phone = building.phone("anna")
    given(building, ANNA, phone)
    assert phone.open("door-101").result.status is Status.OPENED
    building.desk.end_stay(ANNA, spare=frozenset({101}))
    building.clock.advance(KEPT_MOST_MS + 10 * DAY_MS)
    await visit(building)
    assert look(building)["grants"] == 0
    assert building.desk.end_stay("s-nobody", emptied=[RoomId("101")]).doors == ()


async def test_a_bump_on_its_way_keeps_its_stay(building: Building) -> None:
    given(building, ANNA, building.phone("anna"))
    building.desk.end_stay(ANNA)
    building.clock.advance(KEPT_MOST_MS + 10 * DAY_MS)
    assert look(building) == {"grants": 0, "bumps": 0, "stays": 0}
    assert len(building.store.pending_bumps()) == 1


async def test_whoever_is_no_guest_keeps_his_newest_key(building: Building) -> None:
    phone = building.phone("anna")
    for _ in range(2):
        now_ms = building.clock.wall_ms()
        building.desk.issue_failsafe(RoomId("101"), phone.public, life_hours=1, not_after_ms=now_ms + DAY_MS)
        building.clock.advance(DAY_MS)
    building.desk.inhibit(RoomId("101"))
    await visit(building)
    building.clock.advance(KEPT_MOST_MS)
    newest = building.store.latest_grant("failsafe/101", phone.public)
    assert look(building)["grants"] == 1
    assert newest is not None
    assert building.store.latest_grant("failsafe/101", phone.public) == newest


async def test_each_look_reads_a_part_and_all_parts_have_their_turn(
    building: Building, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grant_keeping, "LOOKED_AT", 4)
    for turn in range(10):
        given(building, f"s-{turn}", building.phone(str(turn)), "101" if turn % 2 else "102")
        building.desk.end_stay(f"s-{turn}")
    await visit(building)
    building.clock.advance(KEPT_MOST_MS + 10 * DAY_MS)
    keeping, gone = GrantKeeping(building.store, building.book, building.sync.reads), list[int]()
    for _ in range(8):
        found = keeping.look(building.time.at_ms())
        gone.append(found["grants"])
        assert max(found.values()) <= 4
    assert max(gone) == 4
    assert table(building, "grant_issued") == []
    assert len(table(building, "bump")) == 2
    assert table(building, "stay") == []


def test_a_clock_counts_once_it_has_stood_for_longer_than_a_key_that_was_taken_back_lives() -> None:
    """Set 400 days ahead and back within three, it has let nothing go."""
    agreed, wall_ms, now_ms = Agreement(), 1_000 * DAY_MS, 5_000

    def pass_by(span_ms: int, *, drift_ms: int = 0) -> list[bool]:
        nonlocal wall_ms, now_ms
        said = []
        for _ in range(0, span_ms, 600_000):
            now_ms, wall_ms = now_ms + 600_000, wall_ms + 600_000
            said.append(agreed.holds(wall_ms + drift_ms, now_ms))
        return said

    assert not agreed.holds(wall_ms, now_ms)
    assert not any(pass_by(AGREED_MS - 600_000))
    assert all(pass_by(10 * DAY_MS, drift_ms=STRAYED_MS - 1))
    wall_ms += 400 * DAY_MS
    assert not any(pass_by(3 * DAY_MS))
    wall_ms -= 400 * DAY_MS
    assert not any(pass_by(AGREED_MS))
    assert all(pass_by(DAY_MS))
