"""Who leaves days before his time opens no common door any more; what that costs the list, and what doors confirm."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edge.doors import intake as intakes
from edge.doors.closing_desk import NO_PARTS, Carried, Order
from edge.doors.closing_lists import EARLY_S, SIGNED_FRESH_S
from edge.doors.closing_methods import withdrawn_beside_others
from edge.doors.closing_store import DEPARTED
from edge.doors.grant_desk import GrantPolicy
from kit.clock import ClockQuality
from protocols.door.phone import Carry
from protocols.door.status import Status
from protocols.grant.keys import IssuerClass
from protocols.grant.revocation import REVOCATIONS_MOST, REVOKED_MOST
from tests.edge.doors.building import Building, MemoryPhone
from tests.edge.doors.test_closing_desk import unlearned
from tests.edge.doors.test_intake import intake

pytestmark = [pytest.mark.requirement("P9", "P11"), pytest.mark.guarantee("G4")]
STAY = "s-anna"
ORDER = Order("desk", "lost")
DOORS = ("door-101", "door-102", "pool")
HOUR_MS = 3_600_000


@pytest.fixture
def building(tmp_path: Path) -> Iterator[Building]:
    made = Building(tmp_path)
    yield made
    made.store.close()


def leaves(building: Building, stay: str = STAY) -> None:
    """End a stay as the doors' socket does."""
    building.desk.end_stay(stay, spare=withdrawn_beside_others(stay, building.desk, building.closing))
    building.closing.departed()


def opens(phone: MemoryPhone, door: str) -> Status:
    return phone.open(door).result.status


def refused(building: Building, party: list[MemoryPhone]) -> int:
    """How many of them the pool refuses as withdrawn; slowly, so that it pauses for nobody."""
    count = 0
    for phone in party:
        building.clock.advance(20_000)
        count += opens(phone, "pool") is Status.REVOKED
    return count


def listed(building: Building) -> set[str]:
    return {grant for grant, _ in building.closing.status()["withdrawn"]}


def confirmed(building: Building) -> dict[str, bool]:
    return {each["door"]: each["confirmed"] for each in building.closing.status()["doors"]}


def waiting(building: Building, stay: str = STAY) -> list[set[str]]:
    """Return, for each phone of the stay, the doors that may still take its key as far as the desk knows."""
    return [{door["door"] for door in key["waiting"]} for key in building.closing.keys_of_stay(stay)]


def carry(building: Building, carried: Carried, door: str) -> Status:
    """Let some phone bring it to a door."""
    lock, at_s = building.locks[door], building.clock.wall_ms() // 1_000
    request = Carry(carried.signed, carried.certificate)
    answer = building.phone("mule").ask(lock.identity.door_keys(at_s, at_s), request, lock)
    return answer.result.status


def lock_id(building: Building, door: str) -> bytes:
    return building.locks[door].identity.lock_id


async def test_who_leaves_two_days_early_is_let_in_nowhere_once_the_doors_know(building: Building) -> None:
    anna, tablet, bert = (building.phone(name) for name in ("anna", "tablet", "bert"))
    anna.check_in(STAY, "101", nights=3)
    tablet.check_in(STAY, "101", nights=3, join=True)
    bert.check_in("s-bert", "102", nights=3)
    assert {opens(each, "pool") for each in (anna, tablet, bert)} == {Status.OPENED}
    assert waiting(building) == [set(), set()], "it is a stay like any"
    building.told.clear()
    leaves(building)
    assert len(listed(building)) == 2
    assert set(building.told) == {lock_id(building, "door-101"), lock_id(building, "pool")}, "and nobody else's door"
    assert confirmed(building) == {"door-101": True, "door-102": True, "pool": False}
    assert waiting(building) == [{"door-101", "pool"}] * 2
    await building.visit("pool")
    assert confirmed(building)["pool"] is True
    assert waiting(building) == [{"door-101"}] * 2, "its lock has yet to hear of it"
    await building.visit("door-101")
    assert waiting(building) == [set(), set()]
    assert [opens(each, "pool") for each in (anna, tablet, bert)] == [Status.REVOKED, Status.REVOKED, Status.OPENED]
    assert [opens(each, "door-101") for each in (anna, tablet)] == [Status.SUPERSEDED] * 2, "by its generation"
    assert building.locks["door-101"].core.revocation_seq == 0
    building.told.clear()
    leaves(building)
    assert building.told == [], "told again it is as it was"
    assert anna.check_in("s-anna-2", "101").grant
    assert [opens(anna, door) for door in ("pool", "door-101")] == [Status.OPENED] * 2, "a stay of its own"


def test_a_departure_looks_at_keys_that_are_not_over_and_not_at_a_years_stays(building: Building) -> None:
    plan = building.store.read(f"EXPLAIN QUERY PLAN {DEPARTED}", (0,))
    steps = [str(row[3]) for row in plan]
    assert any("SEARCH given USING INDEX grant_end" in each for each in steps), steps
    assert not any(each.startswith(("SCAN stay", "SCAN given")) for each in steps), steps


def group(building: Building, phones: int, *, nights: int = 3) -> list[MemoryPhone]:
    """Check in a coach party, one stay a phone, and have all of it leave at once."""
    party = [building.phone(f"party-{number}") for number in range(phones)]
    for number, phone in enumerate(party):
        phone.check_in(f"s-party-{number}", "102", nights=nights)
    for number in range(phones):
        building.desk.end_stay(f"s-party-{number}")
    building.closing.departed()
    return party


async def test_a_group_of_twenty_that_leaves_early_with_all_its_renewals_opens_no_common_door(
    building: Building,
) -> None:
    """Two keys each that are still good: 40 places, and an object has 32."""
    party, stays = [building.phone(f"party-{number}") for number in range(20)], "s-party"
    bert = building.phone("bert")
    bert.check_in("s-bert", "102", nights=6)
    old = [phone.check_in(stays, "101", nights=6, join=bool(at)) for at, phone in enumerate(party)]
    building.clock.advance(30 * HOUR_MS)
    new = [phone.check_in(stays, "101", nights=5, join=True) for phone in party]
    bert.check_in("s-bert", "102", nights=5)
    assert opens(party[0], "pool") is Status.OPENED
    leaves(building, stays)
    assert len(listed(building)) == 40
    assert building.closing.status()["unlisted"] == []
    await building.visit("pool")
    assert confirmed(building)["pool"] is True
    for bundles in (old, new):
        for phone, bundle in zip(party, bundles, strict=True):
            phone.bundle = bundle
        assert refused(building, party) == len(party)
    assert opens(bert, "pool") is Status.OPENED, "and nobody else is asked for anything"


async def test_the_fullest_list_goes_part_by_part_and_each_part_counts_once_it_is_there(building: Building) -> None:
    pool = lock_id(building, "pool")
    party = group(building, REVOKED_MOST)
    assert building.closing.status()["unlisted"] == []
    parts = [each for each in building.closing.news() if each.lock_id == pool]
    assert [each.seq - parts[0].seq for each in parts] == [0, 1, 2, 3]
    assert carry(building, parts[2], "pool") is Status.NOT_YET_VALID, "not onto a list that it does not continue"
    assert building.locks["pool"].core.revoked == ()
    for held, part in enumerate(parts, 1):
        assert not confirmed(building)["pool"], "a part is no list"
        assert carry(building, part, "pool") is Status.DONE
        assert carry(building, part, "pool") is Status.UNCHANGED
        building.closing.heard(pool, building.locks["pool"].core.revocation_seq)
        assert refused(building, party) == held * REVOCATIONS_MOST == len(building.locks["pool"].core.revoked)
        left = building.closing.for_lock(pool, revocation_seq=part.seq)
        assert [each.seq for each in left] == [each.seq for each in parts[held:]]
    assert confirmed(building)["pool"]
    assert not building.closing.waits_for(pool)
    building.restart()
    assert confirmed(building)["pool"], "and that is known after a restart"
    assert [each.seq for each in building.closing.for_lock(pool, revocation_seq=0)] == [each.seq for each in parts]


async def test_who_leaves_after_the_fullest_list_is_named_beside_all_of_it_or_is_told(building: Building) -> None:
    group(building, REVOKED_MOST - 1)
    await building.visit("pool")
    anna, bert = building.phone("anna"), building.phone("bert")
    anna.check_in(STAY, "101", nights=3)
    bert.check_in("s-bert", "101", nights=2)
    leaves(building)
    await building.visit("pool")
    assert opens(anna, "pool") is Status.REVOKED
    leaves(building, "s-bert")
    await building.visit("pool")
    status = building.closing.status()
    assert (len(status["withdrawn"]), len(status["unlisted"])) == (REVOKED_MOST, 1), "the one that ends first"
    assert waiting(building, "s-bert") == [{"door-101", "pool"}], "and its stay says so"
    assert opens(bert, "pool") is Status.OPENED


async def test_a_visit_that_breaks_off_between_the_parts_is_gone_on_with(building: Building) -> None:
    pool = lock_id(building, "pool")
    party = group(building, REVOCATIONS_MOST + 1)
    first, _ = [each for each in building.closing.news() if each.lock_id == pool]
    assert carry(building, first, "pool") is Status.DONE
    building.restart()
    await building.visit("pool")
    assert confirmed(building)["pool"]
    assert refused(building, party) == len(party)


def test_a_phone_is_given_as_much_to_carry_as_an_answer_holds_and_never_a_part_without_those_before(
    building: Building, monkeypatch: pytest.MonkeyPatch
) -> None:
    group(building, REVOKED_MOST)
    pool = lock_id(building, "pool")
    [whole] = intake(building).standings([pool])
    sizes = [len(signed) + len(certificate) for signed, certificate in whole.carry]
    assert len(sizes) == 4
    for held in range(len(sizes) + 1):
        monkeypatch.setattr(intakes, "CARRIED_BYTES_MOST", sum(sizes[:held]))
        [cut] = intake(building).standings([pool])
        assert cut.carry == whole.carry[:held]


async def test_a_lock_that_knows_no_parts_keeps_the_first_and_is_never_shown_as_done(
    building: Building, monkeypatch: pytest.MonkeyPatch
) -> None:
    group(building, REVOKED_MOST)
    unlearned(building.locks["pool"], monkeypatch, lists=True)
    lost = building.phone("lost")
    lost.check_in("s-lost", "101", nights=1)
    building.closing.withdraw_keys(ORDER, holder="s-lost")
    await building.visit("pool")
    [shown] = [each for each in building.closing.status()["doors"] if each["door"] == "pool"]
    assert (shown["confirmed"], shown["unable"]) == (False, NO_PARTS)
    assert len(building.locks["pool"].core.revoked) == REVOCATIONS_MOST
    assert opens(lost, "pool") is Status.REVOKED, "what was lost is on the first"
    assert [each.status for each in building.locks["pool"].core.records].count(Status.UNSUPPORTED_VERSION) <= 1
    assert not building.closing.waits_for(lock_id(building, "pool")), "it is not asked for ever"
    assert not any(each.get("unable") for each in building.closing.status()["doors"] if each["door"] != "pool")


async def test_a_pass_without_public_keys_ends_with_it(building: Building) -> None:
    """FAST judges the same grant, and its pass is dropped with the list."""
    anna = building.phone("anna")
    anna.check_in(STAY, "101", nights=3)
    leaves(building)
    await building.visit("pool")
    assert building.locks["pool"].core.passes == ()
    assert {each.hex() for each, _ in building.locks["pool"].core.revoked} == listed(building)


@pytest.mark.parametrize("before_s", [0, EARLY_S - 3_600])
async def test_who_leaves_on_the_day_of_his_departure_costs_no_place(building: Building, before_s: int) -> None:
    anna = building.phone("anna")
    until_ms = anna.check_in(STAY, "101", nights=1).not_after_ms
    building.clock.advance(until_ms - building.clock.wall_ms() - before_s * 1_000)
    leaves(building)
    assert listed(building) == set()
    assert waiting(building) == [{"door-101", "pool"}], "which the desk does not hide"
    await building.visit("door-101")
    assert waiting(building) == [{"pool"}]
    assert opens(anna, "door-101") is Status.SUPERSEDED


async def test_each_renewal_of_the_phone_is_named(building: Building) -> None:
    anna = building.phone("anna")
    first = anna.check_in(STAY, "101", nights=6)
    building.clock.advance(30 * HOUR_MS)
    second = anna.check_in(STAY, "101", nights=5)
    assert first.grant != second.grant
    leaves(building)
    await building.visit("pool")
    for bundle in (first, second):
        anna.bundle = bundle
        assert opens(anna, "pool") is Status.REVOKED


async def test_lost_keys_have_the_places_first_and_who_has_none_is_told(building: Building) -> None:
    lasts, soon = building.phone("lasts"), building.phone("soon")
    lasts.check_in("s-lasts", "102", nights=3)
    soon.check_in("s-soon", "102", nights=1)
    for stay in ("s-soon", "s-lasts"):
        leaves(building, stay)
    building.policy = GrantPolicy(life=building.policy.life * 2)
    building.restart()
    group(building, REVOKED_MOST - REVOCATIONS_MOST, nights=4)
    lost = [building.phone(f"lost-{number}") for number in range(REVOCATIONS_MOST)]
    for number, phone in enumerate(lost):
        phone.check_in(f"s-{number}", "101", nights=3)
    for number in range(REVOCATIONS_MOST - 1):
        building.closing.withdraw_keys(ORDER, holder=f"s-{number}")
    await building.visit("pool")
    status = building.closing.status()
    assert (len(status["withdrawn"]), len(status["unlisted"])) == (REVOKED_MOST, 1)
    assert [opens(each, "pool") for each in (lasts, soon, lost[0])] == [Status.REVOKED, Status.OPENED, Status.REVOKED]
    assert [waiting(building, each) for each in ("s-lasts", "s-soon")] == [[{"door-102"}], [{"door-102", "pool"}]]
    building.closing.withdraw_keys(ORDER, holder=f"s-{REVOCATIONS_MOST - 1}")
    await building.visit("pool")
    assert len(building.closing.status()["unlisted"]) == 2
    assert opens(lost[-1], "pool") is Status.REVOKED


async def test_a_place_that_falls_free_is_given_to_who_waits_for_one(building: Building) -> None:
    short, long_ = building.phone("short"), building.phone("long")
    building.policy = GrantPolicy(life=building.policy.life * 2)
    building.restart()
    group(building, REVOKED_MOST - REVOCATIONS_MOST, nights=4)
    for number in range(REVOCATIONS_MOST):
        building.phone(f"p-{number}").check_in("s-lost", "102", nights=1, join=True)
    long_.check_in(STAY, "101", nights=3)
    short.check_in("s-short", "101", nights=3)
    building.closing.withdraw_keys(ORDER, holder="s-lost")
    for stay in (STAY, "s-short"):
        leaves(building, stay)
    assert len(building.closing.status()["unlisted"]) == 2
    await building.visit("pool")
    assert opens(long_, "pool") is Status.OPENED
    building.clock.advance(25 * HOUR_MS)  # the lost keys are over
    building.told.clear()
    building.closing.settle()
    assert building.told == [lock_id(building, "pool")]
    assert building.closing.status()["unlisted"] == []
    await building.visit("pool")
    assert [opens(each, "pool") for each in (long_, short)] == [Status.REVOKED] * 2
    building.told.clear()
    building.closing.settle()
    assert building.told == []


async def test_whichever_list_any_phone_carries_anywhere_nothing_withdrawn_opens(building: Building) -> None:
    anna, lost = building.phone("anna"), building.phone("lost")
    anna.check_in(STAY, "101", nights=3)
    lost.check_in("s-lost", "102", nights=3)
    building.closing.withdraw_keys(ORDER, holder="s-lost")
    leaves(building)
    common, general = building.closing.news()
    assert (common.lock_id, general.lock_id) == (lock_id(building, "pool"), None)
    assert common.seq > general.seq
    assert carry(building, common, "pool") is Status.DONE
    assert confirmed(building)["pool"] is False, "nobody has told the desk"
    assert carry(building, general, "pool") is Status.UNCHANGED, "not even by who would like to be let in again"
    assert [opens(each, "pool") for each in (anna, lost)] == [Status.REVOKED] * 2
    assert carry(building, common, "door-102") is Status.DONE, "the wrong door, and no harm"
    assert opens(lost, "door-102") is Status.REVOKED
    assert carry(building, general, "door-101") is Status.DONE
    for door in DOORS:
        await building.visit(door)
    assert set(confirmed(building).values()) == {True}
    assert not any(each.get("ahead") for each in building.closing.status()["doors"])
    assert [each.lock_id for each in building.closing.news()] == [None], "who has confirmed it is brought no more"
    second = building.phone("second")
    second.check_in("s-second", "102", nights=3)
    building.closing.withdraw_keys(ORDER, holder="s-second")
    [general] = [each for each in building.closing.news() if each.lock_id is None]
    assert carry(building, general, "pool") is Status.DONE  # newer than what it has, and brought without its own
    building.closing.heard(lock_id(building, "pool"), general.seq)
    assert confirmed(building)["pool"] is False, "it names one who has left no more: never shown as done"
    assert waiting(building) == [{"pool"}]
    await building.visit("pool")
    assert confirmed(building)["pool"] is True
    assert [opens(each, "pool") for each in (anna, lost, second)] == [Status.REVOKED] * 3


async def test_a_door_out_of_reach_is_told_by_a_phone_that_goes_there(building: Building) -> None:
    anna = building.phone("anna")
    anna.check_in(STAY, "101", nights=3)
    building.radio.out_of_reach.add(lock_id(building, "pool").hex())
    leaves(building)
    assert building.closing.waits_for(lock_id(building, "pool"))
    assert not building.closing.waits_for(lock_id(building, "door-102"))
    [taken] = building.closing.for_lock(lock_id(building, "pool"), revocation_seq=0)  # as `bring` hands it out
    assert carry(building, taken, "pool") is Status.DONE
    assert opens(anna, "pool") is Status.REVOKED
    building.closing.heard(lock_id(building, "pool"), building.locks["pool"].core.revocation_seq)
    assert not building.closing.waits_for(lock_id(building, "pool"))
    assert confirmed(building)["pool"] is True


@pytest.mark.guarantee("G1")
async def test_an_unsound_clock_and_a_crash_before_the_doors_are_told_lose_nobody(building: Building) -> None:
    anna, bert = building.phone("anna"), building.phone("bert")
    anna.check_in(STAY, "101", nights=3)
    bert.check_in("s-bert", "102", nights=3)
    building.clock.quality = ClockQuality.UNCERTAIN
    leaves(building)
    assert building.closing.news() == []
    assert building.closing.status()["signed"] is False
    assert confirmed(building)["pool"] is False
    building.desk.end_stay("s-bert")  # and the process ends before the next line
    building.restart()
    assert confirmed(building) == {"door-101": True, "door-102": True, "pool": False}
    building.clock.quality = ClockQuality.SYNCHRONISED
    building.told.clear()
    building.closing.settle()
    assert building.told == [lock_id(building, "pool")]
    await building.visit("pool")
    assert [opens(each, "pool") for each in (anna, bert)] == [Status.REVOKED] * 2
    building.restart()
    assert confirmed(building)["pool"] is True, "what was signed and confirmed stays so"
    assert not building.closing.waits_for(lock_id(building, "pool"))


async def test_withdrawn_issuers_and_older_firmware_leave_departed_guests_out(
    building: Building, monkeypatch: pytest.MonkeyPatch
) -> None:
    anna, bert = building.phone("anna"), building.phone("bert")
    anna.check_in(STAY, "101", nights=3)
    bert.check_in("s-bert", "102", nights=3)
    unlearned(building.locks["pool"], monkeypatch)
    leaves(building)
    building.closing.withdraw_issuer(ORDER, issuer_class=IssuerClass.REVOCATION)
    await building.visit("pool")
    assert confirmed(building)["pool"] is False
    assert opens(anna, "pool") is Status.REVOKED, "by the plain form"
    assert opens(bert, "pool") is Status.OPENED
    building.clock.advance(60_000)
    leaves(building, "s-bert")
    await building.visit("pool")
    assert opens(bert, "pool") is Status.REVOKED, "the next plain form has a higher number too"
    assert not building.closing.waits_for(lock_id(building, "pool")), "it is not asked for ever"
    await building.visit("door-101")
    assert confirmed(building)["door-101"] is True
    numbers = sorted(each.seq for each in building.closing.news())
    assert len(numbers) == len(set(numbers))


async def test_a_withdrawn_issuers_guests_need_no_place(building: Building) -> None:
    anna = building.phone("anna")
    anna.check_in(STAY, "101", nights=3)
    building.closing.withdraw_issuer(ORDER, issuer_class=IssuerClass.GUEST)
    leaves(building)
    assert listed(building) == set()
    for door in ("pool", "door-101"):
        await building.visit(door)
    assert opens(anna, "pool") is Status.REVOKED
    assert waiting(building) == [set()]


async def test_a_list_that_is_carried_for_weeks_is_signed_anew_under_its_number(building: Building) -> None:
    building.policy = GrantPolicy(life=building.policy.life * 4)
    building.restart()
    anna = building.phone("anna")
    anna.check_in(STAY, "101", nights=11)
    leaves(building)
    [before] = building.closing.news()
    building.clock.advance((SIGNED_FRESH_S + 60) * 1_000)
    [after] = building.closing.news()
    assert (after.seq, after.lock_id) == (before.seq, before.lock_id)
    assert after.signed != before.signed
    await building.visit("pool")
    assert opens(anna, "pool") is Status.REVOKED


@pytest.mark.requirement("P18")
async def test_a_store_that_was_damaged_or_restored_tells_the_doors_again(building: Building) -> None:
    anna, bert = building.phone("anna"), building.phone("bert")
    anna.check_in(STAY, "101", nights=3)
    bert.check_in("s-bert", "102", nights=3)
    leaves(building)
    await building.visit("pool")
    told = building.locks["pool"].core.revocation_seq
    building.store._db.execute("DROP TABLE bump")
    building.store.close()
    building.open()
    assert building.store.set_aside is not None
    building.closing.settle()
    await building.visit("pool")
    assert building.locks["pool"].core.revocation_seq > told
    assert [opens(each, "pool") for each in (anna, bert)] == [Status.REVOKED, Status.OPENED]
    assert bert.check_in("s-bert", "102", nights=3).grant, "and no key of the house is doubted for it"


def test_a_clock_that_was_reset_lowers_both_numbers_and_both_are_made_anew(building: Building) -> None:
    anna = building.phone("anna")
    anna.check_in(STAY, "101", nights=3)
    leaves(building)
    first: Any = building.closing.status()["seq"]
    building.store.lower_marks(building.clock.wall_ms(), 2**24 - 1, [])
    building.closing.reload()
    building.closing.settle()
    [common] = building.closing.news()
    assert common.seq <= first + 1
    assert {each.hex() for each, _ in building.closing.lists.common.grants} == listed(building) != set()


def test_a_store_from_before_common_lists_names_who_had_left_by_then(building: Building) -> None:
    anna = building.phone("anna")
    anna.check_in(STAY, "101", nights=3)
    building.desk.end_stay(STAY)  # as the build before did
    for table in ("common_list", "sealed_room"):
        building.store._db.execute(f"DROP TABLE {table}")
    building.store._db.execute("PRAGMA user_version = 3")
    building.restart()
    assert building.store.set_aside is None
    assert confirmed(building)["pool"] is False
    building.closing.settle()
    assert {each.lock_id for each in building.closing.news()} == {lock_id(building, "pool")}


def test_a_lists_state_is_what_was_kept(building: Building) -> None:
    anna = building.phone("anna")
    anna.check_in(STAY, "101", nights=3)
    leaves(building)
    kept = building.closing.lists.common
    building.restart()
    assert building.closing.lists.common == kept
