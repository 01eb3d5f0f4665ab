"""Numbers of lists and lockouts over a store that is put back from a copy at once: none comes twice, none is believed
that a clock far ahead left, and a door shown as confirmed has what was ordered last."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.doors.closing_desk import Order
from edge.doors.closing_store import NUMBERS_AHEAD_MOST_S
from edge.doors.number_mark import NumberMark
from kit.files import SystemDisk
from protocols.device_model.identity import RoomId
from protocols.door.status import Status
from protocols.grant.keys import IssuerClass
from protocols.grant.revocation import SEQ_AHEAD_MOST_S
from tests.edge.doors.building import Building, MemoryPhone

ORDER = Order("anna at the desk", "phone lost")
ROOM = RoomId("101")


@pytest.fixture
def building(tmp_path: Path) -> Iterator[Building]:
    made = Building(tmp_path)
    yield made
    made.store.close()


def copied(building: Building) -> Path:
    """Copy the store as a stopped process left it, and go on."""
    building.store.close()
    copy = building.folder / "copy"
    shutil.copyfile(building.folder / "doors.db", copy)
    building.open()
    return copy


def put_back(building: Building, copy: Path) -> None:
    """In no time: the clock stands."""
    building.store.close()
    for each in building.folder.glob("doors.db*"):
        each.unlink()
    shutil.copyfile(copy, building.folder / "doors.db")
    building.open()


def party(building: Building, count: int) -> list[MemoryPhone]:
    phones = [building.phone(f"guest {number}") for number in range(count)]
    for number, phone in enumerate(phones):
        phone.check_in("stay-1", "101", join=number > 0)
    return phones


def withdraw(building: Building, phone: MemoryPhone) -> None:
    building.closing.withdraw_keys(ORDER, holder="stay-1", phone=phone.public)


def is_confirmed(building: Building, door: str) -> bool:
    return bool({each["door"]: each for each in building.closing.status()["doors"]}[door]["confirmed"])


@pytest.mark.guarantee("G3", "G4")
@pytest.mark.requirement("P9", "P18")
@pytest.mark.parametrize("again", range(1, 9))
async def test_many_are_withdrawn_within_a_second_and_the_copy_put_back_in_that_second(
    building: Building, again: int
) -> None:
    """The lock has a list of the forgotten numbers: one of the same number would be nothing new to it."""
    phones = party(building, 16)
    copy = copied(building)
    for phone in phones[:8]:
        withdraw(building, phone)
    forgotten = building.closing.lists.newest
    assert forgotten > building.clock.wall_ms() // 1_000, "they run ahead of the clock"
    await building.visit("door-101")
    assert phones[0].open("door-101").result.status is Status.REVOKED
    put_back(building, copy)
    for phone in phones[8 : 8 + again]:
        withdraw(building, phone)
    assert building.closing.lists.newest == forgotten + again
    assert not is_confirmed(building, "door-101")
    await building.visit("door-101")
    assert is_confirmed(building, "door-101")
    for phone in phones[8 : 8 + again]:
        building.clock.advance(600_000)  # the lock makes whoever is refused wait
        assert phone.open("door-101").result.status is Status.REVOKED
    building.clock.advance(600_000)
    assert phones[15].open("door-101").result.status is (Status.REVOKED if again == 8 else Status.OPENED)


@pytest.mark.guarantee("G3")
@pytest.mark.requirement("P11", "P18")
async def test_a_seal_is_lifted_although_the_store_forgot_that_it_was_ordered(building: Building) -> None:
    phone = building.phone("anna")
    phone.check_in("stay-1", "101")
    copy = copied(building)
    for number in range(9):
        building.closing.lock_out(ORDER, ROOM, sealed=number % 2 == 0)
    await building.visit("door-101")
    assert phone.open("door-101").result.status is Status.LOCKED_OUT
    put_back(building, copy)
    building.closing.lock_out(ORDER, ROOM, sealed=True)
    building.closing.lock_out(ORDER, ROOM, sealed=False)
    await building.visit("door-101")
    assert phone.open("door-101").result.status is Status.OPENED


@pytest.mark.guarantee("G3", "G4")
async def test_the_same_copy_put_back_again_and_again_gives_no_number_twice(building: Building) -> None:
    """With issuers each list takes two numbers: one for the form that older locks take."""
    phones = [building.phone(f"guest {number}") for number in range(4)]
    copy = copied(building)
    seen: dict[int, bytes] = {}
    for life in range(4):
        phones[life].check_in(f"stay-{life}", "101")
        building.closing.withdraw_keys(ORDER, holder=f"stay-{life}", phone=phones[life].public)
        building.closing.withdraw_issuer(ORDER, issuer_class=IssuerClass.GUEST)
        state = building.closing.lists.general
        assert state.signed is not None
        assert state.plain is not None
        for number, signed in ((state.seq, state.signed), (state.seq - 1, state.plain)):
            assert number not in seen
            seen[number] = signed
        put_back(building, copy)
    assert len(seen) == 8


@pytest.mark.guarantee("G3")
@pytest.mark.requirement("P9")
@pytest.mark.parametrize("ahead_s", [NUMBERS_AHEAD_MOST_S, NUMBERS_AHEAD_MOST_S + 1, SEQ_AHEAD_MOST_S, 900 * 86_400])
async def test_a_number_that_no_lock_would_take_is_not_believed(building: Building, ahead_s: int) -> None:
    """A clock was far ahead, and an old copy was put back as the cure: what was noted then bars no withdrawal."""
    [phone] = party(building, 1)
    path, at_s = building.folder / "doors-numbers", building.clock.wall_ms() // 1_000
    building.store.close()
    NumberMark(path, SystemDisk()).lists.handed_out(at_s + ahead_s)
    building.open()
    withdraw(building, phone)
    building.closing.lock_out(ORDER, RoomId("102"), sealed=True)
    for door in ("door-101", "door-102"):
        await building.visit(door)
        assert is_confirmed(building, door)
    assert building.locks["door-102"].core.locked_out
    assert phone.open("door-101").result.status is Status.REVOKED
    is_near = ahead_s <= NUMBERS_AHEAD_MOST_S
    numbered = at_s + ahead_s + 1 if is_near else at_s + 1
    assert NumberMark(path, SystemDisk()).lists.before == numbered, "and from now on it says something again"


@pytest.mark.guarantee("G18")
async def test_numbers_that_a_build_of_before_gave_are_noted_at_the_first_start(building: Building) -> None:
    for phone in party(building, 5):
        withdraw(building, phone)
    newest, path = building.closing.lists.newest, building.folder / "doors-numbers"
    building.store.close()
    path.write_bytes(path.read_bytes()[:12])  # as that build leaves it
    building.open()
    assert NumberMark(path, SystemDisk()).lists.before == newest
