"""Which common doors a guest's key opens: those of the places that are everybody's, never a plant room's."""

from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from edge.doors.door_book import DoorBook
from protocols.device_model.identity import DoorId, LockId, RoomId
from protocols.device_model.site_plan import Door, Room
from protocols.door.advert import DoorKeys
from protocols.door.identity import generate_lock_for, secrets_of
from protocols.door.lock_core import LockCore
from protocols.door.status import Status
from protocols.vectors.fixed import AT_S, POOL_ZONE, RTC_S
from tests.edge.doors.building import Building, MemoryLock, MemoryPhone

pytestmark = [pytest.mark.requirement("P4", "ACC-02"), pytest.mark.guarantee("G5")]
BOILER_ZONE = 1 << 40
STAY = "s-anna"


def with_boiler(folder: Path, zones: int) -> Building:
    """A building whose boiler room has a lock of ours, opened by these zones."""
    building = Building(folder)
    identity = generate_lock_for(building.ca, building.dice.bytes, room=0, zones=zones)
    door = Door(
        id=DoorId("boiler"),
        room=RoomId("boiler"),
        number=0,
        lock=LockId(identity.lock_id.hex()),
        s_lock=identity.s_lock.hex(),
        zones=zones,
    )
    room = Room(id=RoomId("boiler"), floor=-1, kind="plant", type="boiler room")
    building.plan = msgspec.structs.replace(
        building.plan, rooms=(*building.plan.rooms, room), doors=(*building.plan.doors, door)
    )
    building.secrets["boiler"] = secrets_of(identity)
    building.locks["boiler"] = MemoryLock(identity, building.clock, LockCore.fresh(identity, AT_S, RTC_S))
    building.book = DoorBook.of(building.plan, building.secrets, "secrets")
    building.restart()
    return building


def boiler_keys(building: Building) -> DoorKeys:
    """What a guest would need besides his grant to stand before that lock: as a curious one may get hold of."""
    [booked] = [each for each in building.book.doors if each.door == "boiler"]
    at_s = building.clock.wall_ms() // 1_000
    return booked.keys(at_s, at_s)


def tries(building: Building, phone: MemoryPhone) -> Status:
    assert phone.bundle is not None
    beside = replace(phone.bundle.doors[0], door="boiler", keys=boiler_keys(building))
    phone.bundle = replace(phone.bundle, doors=(*phone.bundle.doors, beside))
    return phone.open("boiler").result.status


def issued_zones(building: Building, phone: MemoryPhone) -> int:
    assert phone.bundle is not None
    kept = building.store.latest_grant(STAY, phone.public)
    assert kept is not None
    return kept.zones


def test_a_guests_key_opens_the_pool_and_not_the_boiler_room(tmp_path: Path) -> None:
    building = with_boiler(tmp_path, BOILER_ZONE)
    phone = building.phone("anna")
    bundle = phone.check_in(STAY, "101")
    assert [each.door for each in bundle.doors] == ["door-101", "pool"]
    assert issued_zones(building, phone) == POOL_ZONE
    assert phone.open("pool").result.status is Status.OPENED
    assert tries(building, phone) is Status.WRONG_DOOR
    assert building.locks["boiler"].opened == 0
    building.store.close()


def test_nor_does_that_of_a_stay_behind_other_makers_locks(tmp_path: Path) -> None:
    building = with_boiler(tmp_path, BOILER_ZONE)
    phone, now_ms = building.phone("anna"), building.clock.wall_ms()
    phone.bundle = building.desk.issue_common(
        STAY, phone.public, not_before_ms=now_ms, not_after_ms=now_ms + 86_400_000
    )
    assert phone.bundle is not None
    assert [each.door for each in phone.bundle.doors] == ["pool"]
    assert issued_zones(building, phone) == POOL_ZONE
    assert tries(building, phone) is Status.WRONG_DOOR
    building.store.close()


@pytest.mark.parametrize("asked", [BOILER_ZONE, BOILER_ZONE | POOL_ZONE, 2**64 - 1])
def test_nor_where_somebody_asks_for_that_zone_for_him(tmp_path: Path, asked: int) -> None:
    building = with_boiler(tmp_path, BOILER_ZONE)
    phone, now_ms = building.phone("anna"), building.clock.wall_ms()
    phone.bundle = building.desk.issue(
        STAY, [RoomId("101")], phone.public, not_before_ms=now_ms, not_after_ms=now_ms + 86_400_000, zones=asked
    )
    assert issued_zones(building, phone) & BOILER_ZONE == 0
    assert tries(building, phone) is Status.WRONG_DOOR
    building.store.close()


def test_a_zone_that_opens_both_opens_neither_to_guests_and_the_door_that_suffers_is_named(tmp_path: Path) -> None:
    building = with_boiler(tmp_path, POOL_ZONE)
    phone = building.phone("anna")
    assert [each.door for each in phone.check_in(STAY, "101").doors] == ["door-101"]
    assert [each.door for each in building.book.closed_to_guests] == ["pool"]
    assert tries(building, phone) is Status.WRONG_DOOR
    building.store.close()


def test_a_key_that_had_it_is_asked_for_anew_and_has_it_no_more(tmp_path: Path) -> None:
    """A grant of an earlier build, or of a plan in which the place was everybody's."""
    building = with_boiler(tmp_path, BOILER_ZONE)
    rooms = tuple(
        msgspec.structs.replace(each, kind="common") if each.id == "boiler" else each for each in building.plan.rooms
    )
    plan, building.plan = building.plan, msgspec.structs.replace(building.plan, rooms=rooms)
    building.book = DoorBook.of(building.plan, building.secrets, "secrets")
    building.restart()
    phone = building.phone("anna")
    before = phone.check_in(STAY, "101")
    assert [each.door for each in before.doors] == ["door-101", "pool", "boiler"]
    building.book = DoorBook.of(plan, building.secrets, "secrets")
    building.restart()
    after = phone.check_in(STAY, "101")
    assert [each.door for each in after.doors] == ["door-101", "pool"]
    known = building.store.stay(STAY)
    assert known is not None
    kept = building.store.latest_grant(STAY, phone.public)
    assert kept is not None
    assert kept.generation == known.generation
    assert phone.open("door-101").result.status is Status.OPENED
    building.store.close()


def test_staff_are_given_the_plant_rooms_zone_as_before(tmp_path: Path) -> None:
    building = with_boiler(tmp_path, BOILER_ZONE)
    assert building.book.all_zones == BOILER_ZONE | POOL_ZONE
    assert building.book.guest_zones == POOL_ZONE
    assert building.book.closed_to_guests == ()
    assert [each.door for each in building.book.of_zones(BOILER_ZONE)] == ["boiler"]
    building.store.close()
