"""A stay was made shorter and has ended: what its phones had for longer opens nothing, and nothing ends before."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edge.doors.clock_reset import reset_clock
from edge.doors.closing_desk import Order
from edge.doors.closing_lists import EARLY_S
from edge.doors.closing_methods import withdrawn_beside_others
from edge.doors.closing_store import ClosingStore
from edge.doors.curtailed_keys import Curtailed, CurtailedKeys
from edge.doors.errors import ClockUnsoundError
from edge.doors.store import DoorStore
from kit.clock import ClockQuality
from protocols.device_model.identity import RoomId
from protocols.door.status import Status
from protocols.errors import InvalidInputError
from protocols.grant.revocation import REVOCATIONS_MOST
from tests.edge.doors.building import Building, MemoryPhone

pytestmark = [pytest.mark.requirement("P9", "P11", "STY-08"), pytest.mark.guarantee("G3", "G4")]
ANNA, BEN = "s-anna", "s-ben"
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
DOORS = ("door-101", "pool")


@pytest.fixture
def building(tmp_path: Path) -> Iterator[Building]:
    made = Building(tmp_path)
    yield made
    made.store.close()


def curtail(building: Building, until_ms: int, stay: str = ANNA) -> Curtailed:
    """Ask as the doors' socket does."""
    made = CurtailedKeys(
        book=building.book, store=building.store, desk=building.desk, closing=building.closing, time=building.time
    )
    return made.end(stay, until_ms)


def given(
    building: Building, phone: MemoryPhone, until_ms: int, *, stay: str = ANNA, beside: str | None = None, **how: Any
) -> bytes:
    """Give a phone of a stay its key of room 101; return the grant."""
    now_ms = building.clock.wall_ms()
    with_whom = [] if beside is None else [beside]
    phone.bundle = building.desk.issue(
        stay, [RoomId("101")], phone.public, not_before_ms=now_ms, not_after_ms=until_ms, beside=with_whom, **how
    )
    return phone.bundle.grant


def past(building: Building, until_ms: int, *, but_ms: int = 0) -> None:
    """Let the time of a stay and the grace of its keys pass."""
    building.clock.advance(until_ms - building.clock.wall_ms() + building.desk.grace_s * 1_000 - but_ms)


def opens(building: Building, phone: MemoryPhone, *doors: str) -> list[Status]:
    """Try doors, slowly, so that none pauses for it."""
    found = []
    for door in doors or DOORS:
        building.clock.advance(20_000)
        found.append(phone.open(door).result.status)
    return found


async def visit(building: Building) -> None:
    for door in DOORS:
        await building.visit(door)


def shown(building: Building, stay: str = ANNA) -> list[tuple[bool, set[str]]]:
    """Return, for each phone, whether its key has ended, and the doors that may take it yet."""
    keys = building.closing.keys_of_stay(stay)
    return [(each["ended"], {door["door"] for door in each["waiting"]}) for each in keys]


async def test_what_was_handed_out_for_longer_opens_until_the_new_end_and_not_beyond(building: Building) -> None:
    anna, tablet, bert = (building.phone(name) for name in ("anna", "tablet", "bert"))
    now_ms = building.clock.wall_ms()
    given(building, anna, now_ms + 3 * DAY_MS)
    given(building, tablet, now_ms + 3 * DAY_MS, join=True)
    bert.check_in("s-bert", "102", nights=3)
    assert {*opens(building, anna), *opens(building, tablet), *opens(building, bert, "pool")} == {Status.OPENED}
    until_ms = now_ms + DAY_MS
    past(building, until_ms, but_ms=1)
    building.told.clear()
    assert curtail(building, until_ms) == Curtailed(due_in_ms=1)
    assert (building.told, shown(building)) == ([], [(False, set())] * 2)
    building.clock.advance(1)
    done = curtail(building, until_ms)
    assert (len(done.grants), done.doors, done.unplaced) == (2, ("door-101",), 0)
    assert set(building.told) == {building.locks[door].identity.lock_id for door in DOORS}, "and nobody else's door"
    assert shown(building) == [(True, set(DOORS))] * 2
    building.told.clear()
    assert curtail(building, until_ms) == Curtailed()
    assert building.told == [], "told again it is as it was"
    await building.visit("pool")
    assert shown(building) == [(True, {"door-101"})] * 2
    await building.visit("door-101")
    assert shown(building) == [(True, set())] * 2
    for phone in (anna, tablet):
        assert opens(building, phone) == [Status.SUPERSEDED, Status.REVOKED]
    assert opens(building, bert, "pool") == [Status.OPENED]
    assert building.locks["door-101"].core.revocation_seq == 0, "it cost no place for lost keys"


@pytest.mark.parametrize("told_first", [False, True], ids=["before its lock was told", "after"])
async def test_made_longer_after_its_end_each_phone_gets_a_key_of_its_own_anew(
    building: Building, *, told_first: bool
) -> None:
    """Also for the very end that it had at first: what was taken away is not handed out again."""
    anna, tablet, new = (building.phone(name) for name in ("anna", "tablet", "new"))
    now_ms = building.clock.wall_ms()
    at_first_ms, until_ms = now_ms + 3 * DAY_MS, now_ms + DAY_MS
    before = given(building, anna, at_first_ms)
    given(building, tablet, at_first_ms, join=True)
    assert [*opens(building, anna), *opens(building, tablet)] == [Status.OPENED] * 4
    past(building, until_ms)
    curtail(building, until_ms)
    if told_first:
        await visit(building)
    assert given(building, anna, at_first_ms, join=True) != before
    given(building, tablet, at_first_ms, join=True)
    given(building, new, at_first_ms, join=True)
    for _ in range(2):
        for phone in (anna, tablet, new):
            assert opens(building, phone) == [Status.OPENED] * 2
        assert shown(building) == [(False, set())] * 3
        await visit(building)
    past(building, at_first_ms - DAY_MS)  # and it is made shorter once more
    assert len(curtail(building, at_first_ms - DAY_MS).grants) == 3
    await visit(building)
    for phone in (anna, tablet, new):
        assert opens(building, phone) == [Status.SUPERSEDED, Status.REVOKED]


async def test_a_key_that_ends_with_its_stay_is_left_to_end_by_itself(building: Building) -> None:
    anna = building.phone("anna")
    until_ms = building.clock.wall_ms() + DAY_MS
    given(building, anna, until_ms)
    past(building, until_ms)
    building.told.clear()
    assert curtail(building, until_ms) == Curtailed()
    assert (building.told, building.store.pending_bumps()) == ([], [])
    assert curtail(building, until_ms, "s-never-was") == Curtailed()


async def test_a_common_door_is_told_however_little_time_a_key_has_left(building: Building) -> None:
    """Who left early is let in to the pool for some hours; who may still be there would notice."""
    anna = building.phone("anna")
    now_ms = building.clock.wall_ms()
    given(building, anna, now_ms + 12 * HOUR_MS)
    until_ms = now_ms + 9 * HOUR_MS
    past(building, until_ms)
    assert now_ms + 12 * HOUR_MS - building.clock.wall_ms() < EARLY_S * 1_000
    curtail(building, until_ms)
    await visit(building)
    assert opens(building, anna) == [Status.SUPERSEDED, Status.REVOKED]


async def test_in_a_shared_room_the_others_keep_theirs(building: Building) -> None:
    anna, ben = building.phone("anna"), building.phone("ben")
    now_ms = building.clock.wall_ms()
    at_first_ms, until_ms = now_ms + 2 * DAY_MS, now_ms + DAY_MS
    before = given(building, anna, at_first_ms)
    given(building, ben, at_first_ms, stay=BEN, beside=ANNA)
    assert [*opens(building, anna), *opens(building, ben)] == [Status.OPENED] * 4
    past(building, until_ms)
    done = curtail(building, until_ms)
    assert (len(done.grants), done.doors, done.unplaced) == (1, (), 0)
    assert building.store.pending_bumps() == []
    assert shown(building) == [(True, set(DOORS))]
    await visit(building)
    assert (opens(building, anna), opens(building, ben)) == ([Status.REVOKED] * 2, [Status.OPENED] * 2)
    assert (shown(building), shown(building, BEN)) == ([(True, set())], [(False, set())])
    after = given(building, anna, at_first_ms, join=True, beside=BEN)
    assert after != before, "for the very end that it had at first, too"
    assert (opens(building, anna), opens(building, ben)) == ([Status.OPENED] * 2, [Status.OPENED] * 2)
    building.desk.end_stay(ANNA, spare=withdrawn_beside_others(ANNA, building.desk, building.closing))
    await visit(building)
    assert (opens(building, anna, "door-101"), opens(building, ben)) == ([Status.REVOKED], [Status.OPENED] * 2)


async def test_where_the_list_is_full_of_lost_keys_a_sharers_key_waits_and_nobody_is_put_out(
    building: Building,
) -> None:
    lost = [building.phone(f"lost-{number}") for number in range(REVOCATIONS_MOST)]
    for phone in lost:
        phone.check_in("s-lost", "102", nights=1, join=True)
    building.closing.withdraw_keys(Order("desk", "a school class"), holder="s-lost")
    anna, ben = building.phone("anna"), building.phone("ben")
    now_ms = building.clock.wall_ms()
    until_ms = now_ms + 2 * HOUR_MS
    given(building, anna, now_ms + 3 * DAY_MS)
    given(building, ben, now_ms + 3 * DAY_MS, stay=BEN, beside=ANNA)
    assert [*opens(building, anna), *opens(building, ben)] == [Status.OPENED] * 4
    past(building, until_ms)
    done = curtail(building, until_ms)
    assert (len(done.grants), done.doors, done.unplaced) == (1, (), 1)
    await visit(building)
    assert opens(building, anna) == [Status.OPENED, Status.REVOKED], "the common doors have more places"
    assert shown(building) == [(True, {"door-101"})], "and it is said that this one takes it"
    assert opens(building, ben) == [Status.OPENED] * 2
    building.clock.advance(DAY_MS)  # the lost keys are over
    assert curtail(building, until_ms).unplaced == 0
    await visit(building)
    assert (opens(building, anna), opens(building, ben)) == ([Status.REVOKED] * 2, [Status.OPENED] * 2)
    assert shown(building) == [(True, set())]


async def test_a_key_that_was_lost_or_shared_takes_the_place_of_a_curtailed_one(building: Building) -> None:
    """A coach party that leaves early, two to a room, must not keep the desk from withdrawing a lost key."""
    ben, lost, cleo, dora = (building.phone(name) for name in ("ben", "lost", "cleo", "dora"))
    party = [building.phone(f"party-{number}") for number in range(REVOCATIONS_MOST)]
    now_ms = building.clock.wall_ms()
    until_ms = now_ms + 2 * HOUR_MS
    given(building, ben, now_ms + 3 * DAY_MS, stay=BEN)
    for number, phone in enumerate(party):
        given(building, phone, now_ms + 2 * DAY_MS + number * HOUR_MS, beside=BEN, join=True)
    past(building, until_ms)
    assert curtail(building, until_ms).unplaced == 0
    await visit(building)
    lost.check_in("s-lost", "102")
    building.closing.withdraw_keys(Order("desk", "lost"), holder="s-lost")
    assert curtail(building, until_ms).unplaced == 1
    cleo.check_in("s-cleo", "102")
    at_ms = building.clock.wall_ms()
    dora.bundle = building.desk.issue(
        "s-dora", [RoomId("102")], dora.public, not_before_ms=at_ms, not_after_ms=at_ms + DAY_MS, beside=["s-cleo"]
    )
    assert [*opens(building, cleo, "door-102"), *opens(building, dora, "door-102")] == [Status.OPENED] * 2
    building.desk.end_stay("s-cleo", spare=withdrawn_beside_others("s-cleo", building.desk, building.closing))
    for door in (*DOORS, "door-102"):
        await building.visit(door)
    assert [*opens(building, cleo, "door-102"), *opens(building, dora, "door-102")] == [Status.REVOKED, Status.OPENED]
    assert curtail(building, until_ms).unplaced == 2
    found = [opens(building, phone, "door-101") for phone in (party[0], party[1], party[2], ben)]
    assert found == [[Status.OPENED], [Status.OPENED], [Status.REVOKED], [Status.OPENED]], "what ends first waits"
    assert [doors for _, doors in shown(building) if doors] == [{"door-101"}] * 2, "and it is said"


async def test_who_comes_to_share_the_room_after_its_end_is_never_put_out(building: Building) -> None:
    """Anna is over and not checked out: her generation is no lock's any more, and nobody is given it."""
    anna, ben, cleo = (building.phone(name) for name in ("anna", "ben", "cleo"))
    now_ms = building.clock.wall_ms()
    until_ms, later_ms = now_ms + DAY_MS, now_ms + 3 * DAY_MS
    given(building, anna, later_ms)
    assert opens(building, anna) == [Status.OPENED] * 2
    past(building, until_ms)
    curtail(building, until_ms)
    await visit(building)
    given(building, ben, later_ms, stay=BEN, beside=ANNA)
    assert opens(building, ben) == [Status.OPENED] * 2
    given(building, ben, later_ms + HOUR_MS, stay=BEN, beside=ANNA, join=True)
    assert opens(building, ben) == [Status.OPENED] * 2, "asked again he has a key that opens"
    given(building, cleo, later_ms, stay="s-cleo", beside=ANNA)
    assert curtail(building, until_ms) == Curtailed()
    await visit(building)
    assert [*opens(building, cleo), *opens(building, ben)] == [Status.OPENED] * 4
    assert opens(building, anna, "door-101") == [Status.SUPERSEDED]
    given(building, anna, later_ms, beside=BEN, join=True)  # and she is made longer
    for phone in (anna, ben, cleo):
        assert opens(building, phone) == [Status.OPENED] * 2
    building.desk.end_stay(ANNA, spare=withdrawn_beside_others(ANNA, building.desk, building.closing))
    await visit(building)
    assert opens(building, anna, "door-101") == [Status.REVOKED]
    assert [*opens(building, cleo), *opens(building, ben)] == [Status.OPENED] * 4


async def test_a_key_of_before_a_clock_was_reset_ends_too_and_is_not_asked_for_for_ever(building: Building) -> None:
    anna, tablet = building.phone("anna"), building.phone("tablet")
    now_ms = building.clock.wall_ms()
    until_ms, years_ms = now_ms + DAY_MS, 1_000 * DAY_MS
    given(building, anna, now_ms + 3 * DAY_MS)
    assert opens(building, anna) == [Status.OPENED] * 2
    building.clock.step_wall(years_ms)
    given(building, tablet, building.clock.wall_ms() + DAY_MS)
    building.clock.step_wall(-years_ms)
    reset_clock(store=building.store, book=building.book, clock=building.clock, by="Ida", reason="a dead cell")
    past(building, until_ms)
    assert curtail(building, until_ms).doors == ("door-101",)
    assert curtail(building, until_ms).doors == ()
    await visit(building)
    assert curtail(building, until_ms) == Curtailed()
    assert opens(building, anna) == [Status.SUPERSEDED, Status.REVOKED]


async def test_a_lost_phone_gets_none_again_and_the_others_do(building: Building) -> None:
    anna, tablet = building.phone("anna"), building.phone("tablet")
    now_ms = building.clock.wall_ms()
    given(building, anna, now_ms + 3 * DAY_MS)
    given(building, tablet, now_ms + 3 * DAY_MS, join=True)
    building.closing.withdraw_keys(Order("desk", "lost"), holder=ANNA, phone=tablet.public)
    past(building, now_ms + DAY_MS)
    assert len(curtail(building, now_ms + DAY_MS).grants) == 1
    given(building, anna, now_ms + 3 * DAY_MS, join=True)
    with pytest.raises(InvalidInputError, match="withdrawn"):
        given(building, tablet, now_ms + 3 * DAY_MS, join=True)
    await visit(building)
    assert opens(building, anna) == [Status.OPENED] * 2


async def test_a_room_that_the_stay_has_left_is_not_touched(building: Building) -> None:
    anna, next_guest = building.phone("anna"), building.phone("next")
    now_ms = building.clock.wall_ms()
    anna.check_in(ANNA, "102", nights=3)
    given(building, anna, now_ms + 3 * DAY_MS)  # she moves
    next_guest.check_in("s-next", "102", nights=3)
    assert opens(building, next_guest, "door-102") == [Status.OPENED]
    await building.visit("door-102")
    past(building, now_ms + DAY_MS)
    done = curtail(building, now_ms + DAY_MS)
    assert (len(done.grants), done.doors) == (2, ("door-101",)), "her key of the old room opened the pool, too"
    await building.visit("door-102")
    assert opens(building, next_guest, "door-102") == [Status.OPENED]


@pytest.mark.guarantee("G11")
@pytest.mark.parametrize("shared", [False, True], ids=["alone", "shared"])
async def test_a_kill_right_behind_the_commit_forgets_nothing(
    building: Building, monkeypatch: pytest.MonkeyPatch, *, shared: bool
) -> None:
    anna, ben = building.phone("anna"), building.phone("ben")
    now_ms = building.clock.wall_ms()
    given(building, anna, now_ms + 3 * DAY_MS)
    if shared:
        given(building, ben, now_ms + 3 * DAY_MS, stay=BEN, beside=ANNA)
    assert opens(building, anna) == [Status.OPENED] * 2
    past(building, now_ms + DAY_MS)

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(building.closing, "curtailed", killed)
    with pytest.raises(KeyboardInterrupt):
        curtail(building, now_ms + DAY_MS)
    building.restart()
    await visit(building)
    assert opens(building, anna) == [Status.REVOKED if shared else Status.SUPERSEDED, Status.REVOKED]
    assert curtail(building, now_ms + DAY_MS) == Curtailed()


@pytest.mark.guarantee("G11")
async def test_what_the_disk_refuses_has_not_happened_and_is_asked_again(
    building: Building, monkeypatch: pytest.MonkeyPatch
) -> None:
    anna = building.phone("anna")
    now_ms = building.clock.wall_ms()
    given(building, anna, now_ms + 3 * DAY_MS)
    past(building, now_ms + DAY_MS)

    def torn(*_: object) -> None:
        raise RuntimeError("between two rows")

    with monkeypatch.context() as patch:
        patch.setattr(DoorStore, "queue", torn)
        with pytest.raises(RuntimeError):
            curtail(building, now_ms + DAY_MS)
    await visit(building)
    assert opens(building, anna) == [Status.OPENED] * 2, "not the half of it"
    assert len(curtail(building, now_ms + DAY_MS).grants) == 1


def test_by_a_clock_that_is_not_sound_nothing_is_taken(building: Building) -> None:
    anna = building.phone("anna")
    now_ms = building.clock.wall_ms()
    given(building, anna, now_ms + 3 * DAY_MS)
    past(building, now_ms + DAY_MS)
    building.clock.quality = ClockQuality.UNCERTAIN
    with pytest.raises(ClockUnsoundError):
        curtail(building, now_ms + DAY_MS)
    building.clock.quality = ClockQuality.SYNCHRONISED
    assert len(curtail(building, now_ms + DAY_MS).grants) == 1


async def test_checked_out_first_or_after_it_is_a_departure_like_any(building: Building) -> None:
    anna, ben = building.phone("anna"), building.phone("ben")
    now_ms = building.clock.wall_ms()
    given(building, anna, now_ms + 3 * DAY_MS)
    past(building, now_ms + DAY_MS)
    curtail(building, now_ms + DAY_MS)
    building.desk.end_stay(ANNA)
    building.closing.departed()
    assert curtail(building, now_ms + DAY_MS) == Curtailed(), "it has ended, by more than its time"
    given(building, ben, now_ms + 3 * DAY_MS, stay=BEN)
    await visit(building)
    assert opens(building, ben) == [Status.OPENED] * 2
    assert opens(building, anna) == [Status.SUPERSEDED, Status.REVOKED]


def test_a_damaged_store_keeps_what_was_curtailed(building: Building) -> None:
    anna, ben = building.phone("anna"), building.phone("ben")
    now_ms = building.clock.wall_ms()
    given(building, anna, now_ms + 3 * DAY_MS)
    given(building, ben, now_ms + 3 * DAY_MS, stay=BEN, beside=ANNA)
    past(building, now_ms + DAY_MS)
    [grant] = curtail(building, now_ms + DAY_MS).grants
    building.store._db.execute("DROP TABLE room")
    building.store.close()
    building.clock.advance(400_000)
    building.open()
    assert (building.store.set_aside is not None, building.store.saved["curtailed"]) == (True, 1)
    at_s = building.clock.wall_ms() // 1_000
    assert [each for each, _ in ClosingStore(building.store).withdrawn(at_s)] == [grant]
    assert building.closing.lists.due
