"""Two stays in one room: one generation for both, and the one who leaves goes alone. Real locks, real keys."""

from dataclasses import replace
from pathlib import Path

import pytest

from edge.doors.closing_desk import Order
from edge.doors.closing_methods import withdrawn_beside_others
from protocols.device_model.identity import RoomId, StayId
from protocols.door.bundle import Bundle
from protocols.door.status import Status
from protocols.errors import InvalidInputError
from protocols.grant.revocation import REVOCATIONS_MOST
from tests.edge.doors.building import Building, MemoryPhone
from tests.edge.doors.test_process import doors_running, write_files

pytestmark = [pytest.mark.requirement("STY-08"), pytest.mark.guarantee("G4")]
ANNA, BEN, CLEO = "s-anna", "s-ben", "s-cleo"
DAY_MS = 86_400_000


@pytest.fixture
def building(tmp_path: Path):  # type: ignore[no-untyped-def]  # noqa: ANN201
    made = Building(tmp_path)
    yield made
    made.store.close()


def opens(phone: MemoryPhone) -> Status:
    return phone.open("door-101").result.status


def share(building: Building, phone: MemoryPhone, stay: str, *, beside: str = "") -> int:
    """Give a phone of a stay its key of room 101 beside other stays'; return the generation that the stay has."""
    now_ms, with_whom = building.clock.wall_ms(), beside.split()
    phone.bundle = building.desk.issue(
        stay, [RoomId("101")], phone.public, not_before_ms=now_ms, not_after_ms=now_ms + 2 * DAY_MS, beside=with_whom
    )
    known = building.store.stay(stay)
    assert known is not None
    return known.generation


def leave(building: Building, stay: str) -> None:
    """End a stay as the doors' socket does."""
    building.desk.end_stay(stay, spare=withdrawn_beside_others(stay, building.desk, building.closing))


async def test_sharers_have_one_generation_and_who_leaves_goes_alone(building: Building) -> None:
    anna, ben = building.phone("anna"), building.phone("ben")
    first = share(building, anna, ANNA)
    assert opens(anna) is Status.OPENED
    assert share(building, ben, BEN, beside=ANNA) == first
    assert [opens(each) for each in (ben, anna, ben)] == [Status.OPENED] * 3
    leave(building, ANNA)
    assert building.store.pending_bumps() == []
    await building.visit("door-101")
    assert (opens(anna), opens(ben)) == (Status.REVOKED, Status.OPENED)
    leave(building, BEN)
    await building.visit("door-101")
    assert (opens(anna), opens(ben)) == (Status.REVOKED, Status.SUPERSEDED)


async def test_the_next_guest_supersedes_both(building: Building) -> None:
    anna, ben, next_guest = (building.phone(name) for name in ("anna", "ben", "next"))
    share(building, anna, ANNA)
    share(building, ben, BEN, beside=ANNA)
    assert [opens(each) for each in (anna, ben)] == [Status.OPENED] * 2
    share(building, next_guest, "s-next")
    assert opens(next_guest) is Status.OPENED
    assert [opens(each) for each in (anna, ben)] == [Status.SUPERSEDED] * 2


def test_a_sharer_who_asks_again_gets_the_same_and_another_phone_of_his_ends_nobody(building: Building) -> None:
    anna, ben, tablet = (building.phone(name) for name in ("anna", "ben", "tablet"))
    first = share(building, anna, ANNA)
    share(building, ben, BEN, beside=ANNA)
    one = ben.bundle
    share(building, ben, BEN, beside=ANNA)
    assert (ben.bundle, one is None) == (one, False)
    assert share(building, tablet, BEN, beside=ANNA) == first, "his answer was lost, and he asks by another phone"
    assert share(building, anna, ANNA, beside=BEN) == first
    assert [opens(each) for each in (anna, ben, tablet)] == [Status.OPENED] * 3


def test_beside_whom_nobody_is_any_more_is_a_guest_like_any_other(building: Building) -> None:
    anna, ben = building.phone("anna"), building.phone("ben")
    first = share(building, anna, ANNA)
    leave(building, ANNA)
    assert share(building, ben, BEN, beside=ANNA) > first
    assert share(building, building.phone("cleo"), "s-cleo", beside="s-never-was") > first


def test_one_who_was_taken_in_without_a_phone_costs_those_with_one_nothing(building: Building) -> None:
    """The PMS took Anna in, and her name comes first: the doors have never heard of her."""
    anna, ben, cleo = (building.phone(name) for name in ("anna", "ben", "cleo"))
    first = share(building, ben, BEN, beside=ANNA)
    assert opens(ben) is Status.OPENED
    assert share(building, cleo, CLEO, beside=f"{ANNA} {BEN}") == first
    assert [opens(each) for each in (cleo, ben)] == [Status.OPENED] * 2
    assert share(building, ben, BEN, beside=f"{ANNA} {CLEO}") == first
    assert share(building, anna, ANNA, beside=f"{BEN} {CLEO}") == first
    assert [opens(each) for each in (anna, ben, cleo)] == [Status.OPENED] * 3


def test_sharers_who_were_given_two_generations_are_brought_together_by_the_later_one(building: Building) -> None:
    anna, ben, cleo = (building.phone(name) for name in ("anna", "ben", "cleo"))
    share(building, anna, ANNA)
    later = share(building, cleo, CLEO)
    assert [opens(each) for each in (cleo, anna)] == [Status.OPENED, Status.SUPERSEDED]
    assert share(building, ben, BEN, beside=f"{ANNA} {CLEO}") == later
    assert share(building, anna, ANNA, beside=f"{BEN} {CLEO}") == later
    assert [opens(each) for each in (anna, ben, cleo)] == [Status.OPENED] * 3


async def test_sharers_are_named_over_the_socket_one_or_several_and_no_more_than_a_room_has(tmp_path: Path) -> None:
    building = Building(tmp_path / "locks")
    building.store.close()  # the process opens its own
    write_files(tmp_path, building)
    ben, cleo = building.phone("ben"), building.phone("cleo")
    until_ms = building.clock.wall_ms() + DAY_MS

    async with doors_running(tmp_path, building) as client:

        async def asks(phone: MemoryPhone, stay: str, *beside: str) -> Status:
            others = [StayId(each) for each in beside]
            issued = await client.issue(
                StayId(stay), RoomId("101"), phone.public, not_before_ms=0, not_after_ms=until_ms, beside=others
            )
            phone.bundle = Bundle.from_document(issued)
            return opens(phone)

        assert await asks(ben, BEN, ANNA) is Status.OPENED
        assert await asks(cleo, CLEO, ANNA, BEN) is Status.OPENED
        assert opens(ben) is Status.OPENED
        with pytest.raises(InvalidInputError, match="beside"):
            await asks(cleo, CLEO, *[f"s-{number}" for number in range(501)])


async def test_where_the_lock_has_gone_on_all_sharers_follow_the_newcomer(building: Building) -> None:
    """A store put back from a copy: nobody in the room has a key that its lock still takes."""
    anna, ben, cleo = (building.phone(name) for name in ("anna", "ben", "cleo"))
    first = share(building, anna, ANNA)
    share(building, ben, BEN, beside=ANNA)
    lock = building.locks["door-101"]
    lock.core = replace(lock.core, generation=first + 3)
    await building.visit("door-101")
    together = share(building, cleo, CLEO, beside=f"{ANNA} {BEN}")
    assert together > first + 3
    known = [building.store.stay(each) for each in (ANNA, BEN)]
    assert [each and each.generation for each in known] == [together] * 2
    assert share(building, anna, ANNA, beside=f"{BEN} {CLEO}") == together
    assert share(building, ben, BEN, beside=f"{ANNA} {CLEO}") == together
    assert [opens(each) for each in (anna, ben, cleo)] == [Status.OPENED] * 3


async def test_where_no_more_can_be_withdrawn_the_room_goes_on_and_who_stays_asks_again(building: Building) -> None:
    """Rights end when they are to end, whatever it costs those who stay: a walk to the desk, or a tap on the link."""
    others = [building.phone(f"other-{number}") for number in range(REVOCATIONS_MOST)]
    for phone in others:
        phone.check_in("s-others", "102", join=True)
    for phone in others:
        building.closing.withdraw_keys(Order("desk", "a school class"), holder="s-others", phone=phone.public)
    anna, ben = building.phone("anna"), building.phone("ben")
    first = share(building, anna, ANNA)
    share(building, ben, BEN, beside=ANNA)
    assert [opens(each) for each in (anna, ben)] == [Status.OPENED] * 2
    leave(building, ANNA)
    await building.visit("door-101")
    assert [opens(each) for each in (anna, ben)] == [Status.SUPERSEDED] * 2
    assert share(building, ben, BEN) > first
    assert opens(ben) is Status.OPENED
