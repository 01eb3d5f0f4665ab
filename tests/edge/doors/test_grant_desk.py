"""Issuing and ending: what is durable before it is answered, what is the same when asked again, who outlasts whom."""

from pathlib import Path

import pytest

from edge.doors.errors import ClockUnsoundError, LockEmptyError, StayEndedError
from edge.doors.grant_desk import GrantPolicy
from kit.clock import ClockQuality
from protocols.device_model.identity import RoomId
from protocols.door.hardware import BATTERY_EMPTY_PERCENT
from protocols.door.status import Status
from protocols.errors import InvalidInputError
from protocols.grant.certificate import open_certificate
from protocols.grant.generation import day_in, day_of, of_moment
from protocols.grant.grant import GrantFlag, open_grant
from protocols.vectors.fixed import AT_S
from tests.edge.doors.building import Building, MemoryPhone

DAY_MS = 86_400_000


@pytest.fixture
def building(tmp_path: Path) -> Building:
    return Building(tmp_path)


@pytest.fixture(autouse=True)
def _closes(building: Building):  # type: ignore[no-untyped-def]  # noqa: ANN202
    yield
    building.store.close()


def opens(phone: MemoryPhone, door: str) -> Status:
    return phone.open(door).result.status


@pytest.mark.requirement("ACC-02", "ACC-03")
def test_a_guest_who_checked_in_opens_her_room_and_the_pool_and_no_other(building: Building) -> None:
    anna = building.phone("anna")
    bundle = anna.check_in("stay-1", "101")
    assert [each.door for each in bundle.doors] == ["door-101", "pool"]
    assert opens(anna, "door-101") is Status.OPENED
    assert opens(anna, "pool") is Status.OPENED
    assert building.locks["door-102"].opened == 0


@pytest.mark.guarantee("G3")
@pytest.mark.requirement("P7")
def test_asking_again_gives_the_same_bytes_even_after_a_restart(building: Building) -> None:
    anna = building.phone("anna")
    first = anna.check_in("stay-1", "101")
    building.restart()
    assert anna.check_in("stay-1", "101") == first


@pytest.mark.guarantee("G3")
def test_a_grant_is_on_disk_before_it_is_answered(building: Building) -> None:
    bundle = building.phone("anna").check_in("stay-1", "101")
    building.restart()
    issuer = open_certificate(bundle.certificate, {building.ca.kid: building.ca.ca.public_key()})
    kept = building.store.grant(open_grant(bundle.grant, issuer).grant_id)
    assert kept is not None
    assert (kept.stay, kept.signed) == ("stay-1", bundle.grant)


@pytest.mark.requirement("P7")
def test_a_long_stay_gets_72_hours_and_is_renewed_under_the_same_generation(building: Building) -> None:
    anna = building.phone("anna")
    first = anna.check_in("stay-1", "101", nights=10)
    assert first.not_after_ms - first.not_before_ms == 72 * 3_600_000
    assert opens(anna, "door-101") is Status.OPENED
    building.clock.advance(25 * 3_600_000)
    again = anna.building.desk.issue(
        "stay-1",
        [RoomId("101")],
        anna.public,
        not_before_ms=AT_S * 1_000,
        not_after_ms=first.not_before_ms + 10 * DAY_MS,
    )
    assert again.not_after_ms == building.clock.wall_ms() + 72 * 3_600_000
    anna.bundle = again
    assert opens(anna, "door-101") is Status.OPENED
    assert building.store.highest((101,)) == of_moment(AT_S) + 1, (
        "the first number that this desk gave, and the only one"
    )


@pytest.mark.guarantee("G4")
@pytest.mark.requirement("P5")
def test_the_next_guest_ends_the_one_before_by_opening(building: Building) -> None:
    anna, bert = building.phone("anna"), building.phone("bert")
    anna.check_in("stay-1", "101")
    assert opens(anna, "door-101") is Status.OPENED
    bert.check_in("stay-2", "101")
    assert opens(anna, "door-101") is Status.OPENED  # nothing has reached the lock yet
    assert opens(bert, "door-101") is Status.OPENED
    assert opens(anna, "door-101") is Status.SUPERSEDED


@pytest.mark.guarantee("G4")
def test_tomorrows_guest_cannot_evict_tonights(building: Building) -> None:
    anna, bert = building.phone("anna"), building.phone("bert")
    anna.check_in("stay-1", "101", nights=1)
    assert opens(anna, "door-101") is Status.OPENED
    bert.check_in("stay-2", "101", days_ahead=1)
    assert opens(bert, "door-101") is Status.NOT_YET_VALID
    assert opens(anna, "door-101") is Status.OPENED
    building.clock.advance(DAY_MS)
    assert opens(bert, "door-101") is Status.OPENED
    assert opens(anna, "door-101") is Status.SUPERSEDED


@pytest.mark.requirement("P11")
def test_a_joiner_opens_beside_the_first_phone_and_a_lost_phone_is_replaced(building: Building) -> None:
    anna, child, new = building.phone("anna"), building.phone("child"), building.phone("new")
    anna.check_in("stay-1", "101")
    child.check_in("stay-1", "101", join=True)
    assert [opens(each, "door-101") for each in (anna, child, anna)] == [Status.OPENED] * 3
    new.check_in("stay-1", "101")  # the phone is lost: its successor is not a joiner
    assert opens(new, "door-101") is Status.OPENED
    assert opens(anna, "door-101") is Status.SUPERSEDED


async def test_ending_a_stay_voids_its_phones_and_spares_a_later_guest(building: Building) -> None:
    anna, bert = building.phone("anna"), building.phone("bert")
    anna.check_in("stay-1", "101", nights=1)
    opens(anna, "door-101")
    bert.check_in("stay-2", "101", days_ahead=1)  # already holds a later generation
    ended = building.desk.end_stay("stay-1")
    assert ended.doors == ("door-101",)
    await building.visit("door-101")
    assert opens(anna, "door-101") is Status.SUPERSEDED
    building.clock.advance(DAY_MS)
    assert opens(bert, "door-101") is Status.OPENED


def test_ending_twice_or_ending_nothing_changes_nothing(building: Building) -> None:
    building.phone("anna").check_in("stay-1", "101")
    assert building.desk.end_stay("stay-1").doors == ("door-101",)
    assert building.desk.end_stay("stay-1").doors == ()
    assert building.desk.end_stay("stay-unknown").doors == ()
    assert len(building.store.pending_bumps()) == 1


def test_a_stay_that_has_ended_gets_no_grant(building: Building) -> None:
    anna = building.phone("anna")
    anna.check_in("stay-1", "101")
    building.desk.end_stay("stay-1")
    with pytest.raises(StayEndedError, match="stay-1"):
        anna.check_in("stay-1", "101")


@pytest.mark.requirement("P11")
async def test_moving_rooms_ends_the_old_room_and_opens_the_new(building: Building) -> None:
    anna = building.phone("anna")
    anna.check_in("stay-1", "101")
    opens(anna, "door-101")
    old = anna.bundle
    anna.check_in("stay-1", "102")
    assert opens(anna, "door-102") is Status.OPENED
    await building.visit("door-101")
    anna.bundle = old
    assert opens(anna, "door-101") is Status.SUPERSEDED


@pytest.mark.guarantee("G10")
@pytest.mark.requirement("P8")
@pytest.mark.parametrize("unsound", ["uncertain", "stepped_back"])
def test_nothing_is_signed_while_the_clock_is_unsound(building: Building, unsound: str) -> None:
    anna = building.phone("anna")
    anna.check_in("stay-1", "101")
    if unsound == "uncertain":
        building.clock.quality = ClockQuality.UNCERTAIN
    else:
        building.clock.step_wall(-6 * 60_000)
        building.restart()  # the mark is on disk
    with pytest.raises(ClockUnsoundError):
        building.phone("bert").check_in("stay-2", "102")
    assert building.store.stay("stay-2") is None
    ended = building.desk.end_stay("stay-1")  # ending needs no clock: it is durable and waits for a signature
    assert ended.doors == ("door-101",)
    [bump] = building.store.pending_bumps()
    assert bump.signed is None
    assert building.desk.signed_bump(bump) is None


@pytest.mark.guarantee("G18")
def test_an_edge_restored_from_an_old_backup_issues_larger_generations(tmp_path: Path) -> None:
    before = Building(tmp_path / "before")
    for night in range(5):
        before.phone(f"guest {night}").check_in(f"stay-{night}", "101")
    last = before.store.highest((101,))
    before.store.close()
    restored = Building(tmp_path / "restored")  # knows nothing of the five
    restored.clock.advance(DAY_MS)
    restored.phone("after").check_in("stay-after", "101")
    assert restored.store.highest((101,)) > last
    restored.store.close()


def test_the_issue_day_is_in_the_generation(building: Building) -> None:
    building.phone("anna").check_in("stay-1", "101")
    assert day_in(building.store.highest((101,))) == day_of(AT_S)


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"rooms": ["999"]}, "rooms"),
        ({"rooms": ["pool"]}, "rooms"),
        ({"rooms": []}, "rooms"),
        ({"phone": b"\x02" + bytes(31)}, "phone_public_key"),
        ({"phone": b"\x02" + b"\xff" * 32}, "phone_public_key"),
        ({"phone": b"\x04" + bytes(32)}, "phone_public_key"),
        ({"not_after_ms": AT_S * 1_000 - DAY_MS}, "not_after_ms"),
        ({"not_before_ms": AT_S * 1_000 + 20 * DAY_MS, "not_after_ms": AT_S * 1_000 + 21 * DAY_MS}, "not_before_ms"),
        ({"zones": 2**64}, "zones"),
        ({"zones": -1}, "zones"),
    ],
)
def test_what_is_wrong_is_named_and_nothing_is_issued(
    building: Building, changes: dict[str, object], place: str
) -> None:
    values: dict[str, object] = {
        "rooms": ["101"],
        "phone": building.phone("anna").public,
        "not_before_ms": AT_S * 1_000,
        "not_after_ms": AT_S * 1_000 + DAY_MS,
        **changes,
    }
    rooms, phone = values.pop("rooms"), values.pop("phone")
    with pytest.raises(InvalidInputError) as refused:
        building.desk.issue("stay-1", rooms, phone, **values)  # type: ignore[arg-type]  # changes by name
    assert refused.value.place == place
    assert building.store.counts()["grants_issued"] == 0


def test_a_joiner_gets_no_room_that_the_stay_has_not(building: Building) -> None:
    building.phone("anna").check_in("stay-1", "101")
    with pytest.raises(InvalidInputError, match="joiner"):
        building.phone("child").check_in("stay-1", "102", join=True)


def test_whichever_phone_asks_first_moves_the_stay_and_the_others_follow(building: Building) -> None:
    anna, child = building.phone("anna"), building.phone("child")
    anna.check_in("stay-1", "101")
    child.check_in("stay-1", "101", join=True)
    child.check_in("stay-1", "102")
    assert opens(child, "door-102") is Status.OPENED
    anna.check_in("stay-1", "102", join=True)
    assert [opens(each, "door-102") for each in (anna, child)] == [Status.OPENED] * 2
    newcomer = building.phone("newcomer")
    newcomer.check_in("stay-2", "101")
    assert opens(newcomer, "door-101") is Status.OPENED


def test_a_joiner_stays_one_when_it_asks_again(building: Building) -> None:
    anna, child = building.phone("anna"), building.phone("child")
    anna.check_in("stay-1", "101")
    child.check_in("stay-1", "101", join=True)
    bundle = child.check_in("stay-1", "101", nights=3)  # an extension, asked without the word
    issuer = open_certificate(bundle.certificate, {building.ca.kid: building.ca.ca.public_key()})
    assert open_grant(bundle.grant, issuer).flags is GrantFlag.JOIN
    assert opens(child, "door-101") is Status.OPENED
    assert opens(anna, "door-101") is Status.OPENED


@pytest.mark.requirement("A8")
def test_a_stay_made_longer_is_a_longer_key_of_the_same_generation_for_each_phone(building: Building) -> None:
    anna, child = building.phone("anna"), building.phone("child")
    first = anna.check_in("stay-1", "101", nights=1)
    child.check_in("stay-1", "101", nights=1, join=True)
    second = anna.check_in("stay-1", "101", nights=2)
    assert second.not_after_ms - first.not_after_ms == DAY_MS
    assert [opens(each, "door-101") for each in (anna, child)] == [Status.OPENED] * 2, "the child has not asked yet"
    building.clock.advance(DAY_MS + 3_600_000)
    assert [opens(each, "door-101") for each in (anna, child)] == [Status.OPENED, Status.EXPIRED]
    child.check_in("stay-1", "101", nights=1, join=True)
    assert opens(child, "door-101") is Status.OPENED
    assert opens(anna, "door-101") is Status.OPENED
    assert building.store.highest((101,)) == of_moment(AT_S) + 1, (
        "the first number that this desk gave, and the only one"
    )


@pytest.mark.requirement("A8")
def test_every_life_and_grace_of_the_policy_bounds_the_grant(tmp_path: Path) -> None:
    from datetime import timedelta

    policy = GrantPolicy(life=timedelta(hours=10), renew_below=timedelta(hours=2), grace=timedelta(minutes=30))
    building = Building(tmp_path / "other", policy=policy)
    bundle = building.phone("anna").check_in("stay-1", "101", nights=1)
    assert bundle.not_after_ms - bundle.not_before_ms == 10 * 3_600_000
    short = building.desk.issue(
        "stay-2",
        [RoomId("102")],
        building.phone("bert").public,
        not_before_ms=AT_S * 1_000,
        not_after_ms=AT_S * 1_000 + 3_600_000,
    )
    assert short.not_after_ms == (AT_S + 5_400) * 1_000
    building.store.close()


@pytest.mark.guarantee("G3")
@pytest.mark.requirement("P5", "P18")
async def test_a_guest_overtaken_by_one_who_was_moved_on_is_helped_by_asking_again(building: Building) -> None:
    anna, bert = building.phone("anna"), building.phone("bert")
    first = anna.check_in("stay-anna", "101")
    assert opens(anna, "door-101") is Status.OPENED
    bert.check_in("stay-bert", "101")  # the desk's mistake
    assert opens(bert, "door-101") is Status.OPENED
    assert opens(anna, "door-101") is Status.SUPERSEDED
    await building.visit("door-101")
    assert anna.check_in("stay-anna", "101") == first  # a silent renewal does not put Bert out
    bert.check_in("stay-bert", "102")
    await building.visit("door-101")
    anna.check_in("stay-anna", "101")
    assert opens(anna, "door-101") is Status.OPENED
    assert opens(bert, "door-102") is Status.OPENED
    again = anna.bundle
    assert anna.check_in("stay-anna", "101") == again  # and then it is stable


@pytest.mark.guarantee("G3")
@pytest.mark.requirement("A8", "P11")
@pytest.mark.parametrize("seed", range(8))
def test_while_the_clock_stands_still_the_last_key_of_a_phone_is_its_newest(tmp_path: Path, seed: int) -> None:
    """Set back by less than five minutes it stands still for signing: grants of one millisecond are told apart."""
    building = Building(tmp_path / "still", seed=seed)
    anna, joiner = building.phone("anna"), building.phone("joiner")
    for room in ("101", "102", "101"):
        anna.check_in("stay-anna", room)
        building.clock.step_wall(-1_000)
    moved, shorter = anna.bundle, anna.check_in("stay-anna", "101", nights=1)
    assert shorter != moved
    joiner.check_in("stay-anna", "101", join=True)
    known = building.store.stay("stay-anna")
    for _ in range(3):
        assert anna.check_in("stay-anna", "101", nights=1) == shorter
    assert building.store.stay("stay-anna") == known, "and the joiner's key goes on opening"
    assert opens(anna, "door-101") is Status.OPENED
    assert opens(joiner, "door-101") is Status.OPENED
    building.store.close()


@pytest.mark.requirement("P16", "A9")
async def test_nobody_new_is_sent_to_a_lock_that_is_as_good_as_empty(building: Building) -> None:
    anna, bert, joiner = building.phone("anna"), building.phone("bert"), building.phone("joiner")
    lock = building.locks["door-101"]
    anna.check_in("stay-1", "101")
    lock.battery_percent = BATTERY_EMPTY_PERCENT + 1
    await building.visit("door-101")
    bert.check_in("stay-2", "101")
    lock.battery_percent = BATTERY_EMPTY_PERCENT
    await building.visit("door-101")
    with pytest.raises(LockEmptyError, match=r"Room 101: the lock of door-101 said 5 %"):
        building.phone("carl").check_in("stay-3", "101")
    carl = building.phone("carl")
    carl.check_in("stay-3", "102")
    with pytest.raises(LockEmptyError):  # nor is a guest moved there
        carl.check_in("stay-3", "101")
    building.clock.advance(3_600_000)
    bert.check_in("stay-2", "101", nights=4)  # who is there stays, longer if he likes, and with whom he likes
    assert bert.open("door-101").result.status is Status.OPENED
    joiner.check_in("stay-2", "101", join=True)
    building.phone("dora").check_in("stay-4", "101", days_ahead=3)  # the cells are changed by then
    lock.battery_percent = 100
    await building.visit("door-101")
    carl.check_in("stay-3", "101")
    assert carl.open("door-101").result.status is Status.OPENED
