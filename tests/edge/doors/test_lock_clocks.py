"""What a visit says of when a lock's records were made: true, on our own clock, and silent where it cannot be known."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kit.clock import ClockQuality
from tests.edge.doors.building import Building

pytestmark = pytest.mark.requirement("P10", "A16")
SEEN = ("seen_clock", "seen_from_ms", "seen_to_ms")


@pytest.fixture
def building(tmp_path: Path) -> Iterator[Building]:
    made = Building(tmp_path)
    yield made
    made.store.close()


def openings(building: Building) -> list[dict[str, Any]]:
    return [dict(each.body) for each in building.store.events(0, 100) if each.body["event"] == "opened"]


async def test_an_opening_between_two_visits_was_between_two_moments_of_ours(building: Building) -> None:
    phone = building.phone("anna")
    phone.check_in("s-anna", "101")
    await building.visit("door-101")
    building.clock.advance(10_000)
    phone.open("door-101")
    opened_ms = building.clock.now_ms()
    building.clock.advance(1_500)
    await building.visit("door-101")
    [told] = openings(building)
    assert told["seen_from_ms"] <= opened_ms <= told["seen_to_ms"]
    assert told["seen_to_ms"] - told["seen_from_ms"] <= 4_000
    building.clock.quality = ClockQuality.UNCERTAIN  # no wall clock is in it
    phone.open("door-101")
    await building.visit("door-101")
    later = openings(building)[-1]
    assert later["seen_clock"] == told["seen_clock"]
    assert later["seen_from_ms"] <= building.clock.now_ms() <= later["seen_to_ms"] + 1_000


async def test_the_first_visit_of_a_life_says_nothing_and_another_life_has_another_clock(building: Building) -> None:
    phone = building.phone("anna")
    phone.check_in("s-anna", "101")
    phone.open("door-101")
    await building.visit("door-101")
    assert not set(SEEN) & set(openings(building)[0])
    names = set()
    for _ in range(2):
        phone.open("door-101")
        await building.visit("door-101")
        names.add(openings(building)[-1]["seen_clock"])
        building.restart()
        phone.open("door-101")
        await building.visit("door-101")
        assert not set(SEEN) & set(openings(building)[-1])
    assert len(names) == 2


async def test_a_lock_that_lost_its_clock_says_nothing_of_when(building: Building) -> None:
    phone, lock = building.phone("anna"), building.locks["door-101"]
    phone.check_in("s-anna", "101")
    await building.visit("door-101")
    lock.core = lock.core.restarted(lock.sensed)
    phone.open("door-101")
    await building.visit("door-101")
    assert not set(SEEN) & set(openings(building)[-1])
    phone.open("door-101")
    await building.visit("door-101")
    assert not set(SEEN) & set(openings(building)[-1]), "set in the visit before, and not measured since"
    phone.open("door-101")
    await building.visit("door-101")
    assert set(SEEN) <= set(openings(building)[-1])


async def test_a_key_is_named_alike_for_all_its_grants_and_for_no_other_phone_or_stay(building: Building) -> None:
    anna, tablet = building.phone("anna"), building.phone("tablet")
    anna.check_in("s-anna", "101", nights=1)
    anna.open("door-101")
    anna.check_in("s-anna", "101", nights=2)
    anna.open("door-101")
    tablet.check_in("s-anna", "101", nights=2, join=True)
    tablet.open("door-101")
    anna.check_in("s-later", "102")
    anna.open("door-102")
    for door in ("door-101", "door-102"):
        await building.visit(door)
    told = openings(building)
    keys = [each["key"] for each in told]
    assert told[0]["grant"] != told[1]["grant"]
    assert keys[0] == keys[1]
    assert len(set(keys)) == 3
    assert not any(phone.public.hex()[:12] in str(each) for phone in (anna, tablet) for each in told)
