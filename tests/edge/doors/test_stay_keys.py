"""Who has keys of a stay, and how far a withdrawal is known: told as it is, by real grants and real locks."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edge.doors.closing_desk import Order
from protocols.device_model.identity import RoomId
from protocols.door.status import Status
from tests.edge.doors.building import Building, MemoryPhone

pytestmark = [pytest.mark.requirement("A7", "P11"), pytest.mark.guarantee("G4", "G17")]
STAY = "s-anna"
WHY = Order("cloud:guest:s-anna", "taken back by the main guest")


@pytest.fixture
def building(tmp_path: Path) -> Iterator[Building]:
    made = Building(tmp_path)
    yield made
    made.store.close()


def keys(building: Building, stay: str = STAY) -> dict[str, dict[str, Any]]:
    """The stay's keys by phone."""
    return {each["phone"]: each for each in building.closing.keys_of_stay(stay)}


def named(building: Building, *phones: MemoryPhone, stay: str = STAY) -> list[dict[str, Any]]:
    told = keys(building, stay)
    return [told[each.public.hex()] for each in phones]


def mains(building: Building, stay: str = STAY) -> list[str]:
    return [phone for phone, each in keys(building, stay).items() if each["main"]]


def waiting(told: dict[str, Any]) -> set[str]:
    return {each["door"] for each in told["waiting"]}


async def test_each_phone_is_told_since_when_and_when_it_opened_last_and_one_of_them_is_the_main_one(
    building: Building,
) -> None:
    anna, tablet = building.phone("anna"), building.phone("tablet")
    begun_ms = building.clock.wall_ms()
    anna.check_in(STAY, "101")
    building.clock.advance(60_000)
    tablet.check_in(STAY, "101", join=True)
    anna.check_in(STAY, "101", nights=3)
    main, joined = named(building, anna, tablet)
    assert (main["main"], main["join"], joined["main"], joined["join"]) == (True, False, False, True)
    assert main["since_ms"] == begun_ms, "since the first of his keys, not the last"
    assert (joined["since_ms"], joined["doors"]) == (begun_ms + 60_000, 2)
    assert [main["used"], joined["used"]] == [None, None]
    assert main["key"] != joined["key"]
    opened_ms = building.clock.wall_ms()
    assert tablet.open("door-101").result.status is Status.OPENED
    building.clock.advance(600_000)
    assert tablet.open("pool").result.status is Status.OPENED
    assert named(building, tablet)[0]["used"] is None, "the house has not heard of it"
    await building.visit("door-101")
    used = named(building, tablet)[0]["used"]
    assert used == {"at_ms": opened_ms // 1_000 * 1_000, "certain": True, "door": "door-101", "label": "Room 101"}
    await building.visit("pool")
    assert named(building, tablet)[0]["used"]["door"] == "pool"
    assert named(building, anna)[0]["used"] is None
    building.restart()
    assert named(building, tablet)[0]["used"]["door"] == "pool"


async def test_an_opening_by_a_lock_without_time_is_told_as_uncertain_and_a_refusal_is_none(building: Building) -> None:
    anna, lock = building.phone("anna"), building.locks["door-101"]
    anna.check_in(STAY, "101")
    lock.privacy = True
    assert anna.open("door-101").result.status is not Status.OPENED
    await building.visit("door-101")
    assert named(building, anna)[0]["used"] is None
    lock.privacy = False
    lock.core = lock.core.restarted(lock.sensed)
    assert anna.open("door-101").result.status is Status.OPENED
    await building.visit("door-101")
    assert named(building, anna)[0]["used"]["certain"] is False


async def test_a_key_taken_back_waits_for_each_door_until_that_door_has_said_so(building: Building) -> None:
    anna, tablet = building.phone("anna"), building.phone("tablet")
    anna.check_in(STAY, "101")
    tablet.check_in(STAY, "101", join=True)
    assert tablet.open("door-101").result.status is Status.OPENED
    building.closing.withdraw_keys(WHY, holder=STAY, phone=tablet.public)
    [told] = named(building, tablet)
    assert (told["withdrawn"], waiting(told)) == (True, {"door-101", "pool"})
    assert {each["contact_at_ms"] for each in told["waiting"]} == {None}, "never heard from"
    assert tablet.open("pool").result.status is Status.OPENED, "and that is the truth"
    await building.visit("pool")
    [told] = named(building, tablet)
    assert waiting(told) == {"door-101"}
    assert tablet.open("pool").result.status is Status.REVOKED
    await building.visit("door-101")
    assert waiting(named(building, tablet)[0]) == set()
    assert tablet.open("door-101").result.status is Status.REVOKED
    assert anna.open("door-101").result.status is Status.OPENED
    [main] = named(building, anna)
    assert (main["main"], main["withdrawn"], main["waiting"]) == (True, False, [])


async def test_while_a_later_withdrawal_is_under_way_doors_are_told_as_waiting_rather_than_as_knowing(
    building: Building,
) -> None:
    tablet, other = building.phone("tablet"), building.phone("other")
    building.phone("anna").check_in(STAY, "101")
    tablet.check_in(STAY, "101", join=True)
    other.check_in("s-other", "102")
    building.closing.withdraw_keys(WHY, holder=STAY, phone=tablet.public)
    for door in ("door-101", "pool"):
        await building.visit(door)
    assert waiting(named(building, tablet)[0]) == set()
    building.clock.advance(5_000)
    building.closing.withdraw_keys(WHY, holder="s-other")
    assert waiting(named(building, tablet)[0]) == {"door-101", "pool"}


async def test_a_key_that_is_over_or_that_a_later_guest_ended_waits_for_no_room_door(building: Building) -> None:
    tablet, bert = building.phone("tablet"), building.phone("bert")
    building.phone("anna").check_in(STAY, "101")
    tablet.check_in(STAY, "101", join=True)
    building.closing.withdraw_keys(WHY, holder=STAY, phone=tablet.public)
    bert.check_in("s-bert", "101")
    assert bert.open("door-101").result.status is Status.OPENED
    building.radio.out_of_reach.add("nothing")
    booked = building.book.by_lock(building.locks["door-101"].identity.lock_id)
    assert booked is not None
    building.store.keep_contact(building.store.lock(booked.lock_id), booked.number)
    assert waiting(named(building, tablet)[0]) == {"door-101", "pool"}
    known = building.store.lock(booked.lock_id)
    generation = building.locks["door-101"].core.generation
    building.store.keep_contact(type(known)(known.lock_id, known.seq, known.head, generation), booked.number)
    assert waiting(named(building, tablet)[0]) == {"pool"}
    building.clock.advance(4 * 86_400_000)
    assert waiting(named(building, tablet)[0]) == set()


def test_where_the_main_phone_is_withdrawn_nobody_takes_its_place(building: Building) -> None:
    anna, tablet = building.phone("anna"), building.phone("tablet")
    anna.check_in(STAY, "101")
    tablet.check_in(STAY, "101", join=True)
    building.closing.withdraw_keys(WHY, holder=STAY, phone=anna.public)
    assert mains(building) == []


def test_of_two_phones_that_asked_for_the_room_first_the_one_that_got_it_is_the_main_one(building: Building) -> None:
    first, second, joiner = (building.phone(name) for name in ("first", "second", "joiner"))
    first.check_in(STAY, "101")
    second.check_in(STAY, "101")  # the answer was lost, and the guest asked by another phone
    assert mains(building) == [second.public.hex()]
    joiner.check_in(STAY, "101", join=True)
    first.check_in(STAY, "101", join=True)
    assert mains(building) == [second.public.hex()]
    second.check_in(STAY, "102")
    assert mains(building) == [second.public.hex()]


def test_whoever_takes_the_stay_along_to_another_room_is_no_more_than_he_was(building: Building) -> None:
    """The PMS moved the stay, and a joiner's phone, or one that is new, asks before the main guest's does."""
    anna, tablet, new = (building.phone(name) for name in ("anna", "tablet", "new"))
    for phone, room in ((anna, "101"), (tablet, "101"), (tablet, "102"), (new, "101")):
        phone.check_in(STAY, room, join=phone is tablet and room == "101")
        building.clock.advance(1_000)
        assert mains(building) == [anna.public.hex()], (phone.public.hex(), room)
    anna.check_in(STAY, "101", join=True)
    assert mains(building) == [anna.public.hex()]
    assert [each["join"] for each in named(building, anna)] == [True], "by its grant it is one more phone of the stay"


def test_in_a_stay_that_shares_anothers_room_the_first_phone_is_the_main_one_of_its_own_stay(
    building: Building,
) -> None:
    anna, ben, bens_tablet = building.phone("anna"), building.phone("ben"), building.phone("tablet")
    anna.check_in(STAY, "101")
    now_ms = building.clock.wall_ms()
    for phone in (ben, bens_tablet):
        building.desk.issue(
            "s-ben",
            [RoomId("101")],
            phone.public,
            not_before_ms=now_ms,
            not_after_ms=now_ms + 86_400_000,
            beside=[STAY],
        )
        building.clock.advance(1_000)
    assert mains(building) == [anna.public.hex()]
    assert mains(building, "s-ben") == [ben.public.hex()]
    building.closing.withdraw_keys(WHY, holder="s-ben", phone=ben.public)
    assert mains(building, "s-ben") == []


def test_a_stay_that_nobody_has_keys_of_has_none(building: Building) -> None:
    assert building.closing.keys_of_stay("s-nobody") == []
