"""A host clock was years ahead, and is mended: an operator says so once, and the hotel goes on."""

import asyncio
import json
from pathlib import Path

import pytest

from edge.doors.clock_reset import reset_clock
from edge.doors.errors import ClockUnsoundError
from kit.clock import ClockQuality
from protocols.door.status import Status
from protocols.errors import InvalidInputError
from tests.edge.doors.building import Building

YEARS_MS = 10 * 365 * 86_400_000
WHO = {"by": "Ida Night", "reason": "the host's battery cell was dead"}


@pytest.fixture
def building(tmp_path: Path):  # type: ignore[no-untyped-def]  # noqa: ANN201
    made = Building(tmp_path)
    yield made
    made.store.close()


def poisoned(building: Building) -> tuple[int, int]:
    """Live through it: a guest from before, one checked in and one checked out while the clock is ten years ahead."""
    before, during, gone = (building.phone(name) for name in ("before", "during", "gone"))
    before.check_in("stay-before", "102")
    gone.check_in("stay-gone", "101")
    assert before.open("door-102").result.status is Status.OPENED
    assert gone.open("door-101").result.status is Status.OPENED
    asyncio.run(building.visit("door-101"))
    right_ms = building.clock.wall_ms()
    building.clock.step_wall(YEARS_MS)
    during.check_in("stay-during", "101")
    building.desk.end_stay("stay-gone")
    building.clock.step_wall(-YEARS_MS)
    with pytest.raises(ClockUnsoundError):
        building.phone("next").check_in("stay-next", "102")
    return right_ms, building.store.high_water_ms


@pytest.mark.guarantee("G3")
@pytest.mark.requirement("P8", "P18")
async def test_after_the_reset_guests_check_in_open_and_are_ended(building: Building) -> None:
    right_ms, spoiled_ms = await asyncio.to_thread(poisoned, building)
    done = reset_clock(store=building.store, book=building.book, clock=building.clock, **WHO)
    assert (done.from_ms, done.to_ms, done.lying_locks) == (spoiled_ms, right_ms, ())
    assert (done.rooms, done.stays, done.bumps) == (1, 1, 1)
    assert building.store.high_water_ms == right_ms
    building.clock.advance(60_000)
    await building.visit("door-101")
    gone, during, before = building.phone("gone"), building.phone("during"), building.phone("before")
    gone.bundle = building.phone("other").check_in("stay-other", "102")  # only for the doors' keys
    during.check_in("stay-during", "101")
    assert during.open("door-101").result.status is Status.OPENED
    before.check_in("stay-before", "102")
    assert building.locks["door-102"].core.generation > 0
    building.desk.end_stay("stay-during")
    await building.visit("door-101")
    assert during.open("door-101").result.status is Status.SUPERSEDED


@pytest.mark.guarantee("G4")
async def test_who_was_checked_out_meanwhile_is_out(building: Building) -> None:
    phone = building.phone("gone")
    bundle = phone.check_in("stay-gone", "101")
    assert phone.open("door-101").result.status is Status.OPENED
    building.clock.step_wall(YEARS_MS)
    building.desk.end_stay("stay-gone")
    building.clock.step_wall(-YEARS_MS)
    reset_clock(store=building.store, book=building.book, clock=building.clock, **WHO)
    await building.visit("door-101")
    phone.bundle = bundle
    assert phone.open("door-101").result.status is Status.SUPERSEDED
    assert building.store.pending_bumps() == []


@pytest.mark.guarantee("G4")
async def test_what_a_guest_had_before_is_ended_at_his_check_out(building: Building) -> None:
    """He asked with a new phone while the clock was wrong: that is forgotten, and what he had is still a key."""
    phone = building.phone("before")
    phone.check_in("stay-before", "101")
    assert phone.open("door-101").result.status is Status.OPENED
    building.clock.step_wall(YEARS_MS)
    building.phone("new").check_in("stay-before", "101")
    building.clock.step_wall(-YEARS_MS)
    reset_clock(store=building.store, book=building.book, clock=building.clock, **WHO)
    building.clock.advance(60_000)
    assert phone.open("door-101").result.status is Status.OPENED
    building.desk.end_stay("stay-before")
    await building.visit("door-101")
    building.clock.advance(60_000)
    assert phone.open("door-101").result.status is Status.SUPERSEDED


@pytest.mark.guarantee("G14")
async def test_it_is_told_door_by_door_with_name_and_reason_and_survives_a_restart(building: Building) -> None:
    await asyncio.to_thread(poisoned, building)
    reset_clock(store=building.store, book=building.book, clock=building.clock, **WHO)
    building.restart()
    told = [each.body for each in building.store.events(0) if each.body["event"] == "clock_reset"]
    assert [each["door"] for each in told] == ["door-101", "door-102", "pool"]
    assert all(each["reason"] == "Ida Night: the host's battery cell was dead" for each in told)
    assert json.dumps(told)
    with pytest.raises(InvalidInputError, match="nothing to undo"):
        reset_clock(store=building.store, book=building.book, clock=building.clock, **WHO)


async def test_what_the_locks_said_is_what_remains(building: Building) -> None:
    """The room's mark does not fall below its lock: the next guest is newer than whoever opened."""
    await asyncio.to_thread(poisoned, building)
    said = building.locks["door-101"].core.generation
    reset_clock(store=building.store, book=building.book, clock=building.clock, **WHO)
    assert building.store.highest((101,)) >= said
    assert building.store.lock(building.locks["door-101"].identity.lock_id).generation == said


@pytest.mark.parametrize(
    ("quality", "step_ms", "who", "error"),
    [
        (ClockQuality.UNCERTAIN, YEARS_MS, WHO, ClockUnsoundError),
        (None, 0, WHO, InvalidInputError),
        (None, 4 * 60_000, WHO, InvalidInputError),
        (None, YEARS_MS, {**WHO, "by": " "}, InvalidInputError),
        (None, YEARS_MS, {**WHO, "reason": "a" * 201}, InvalidInputError),
        (None, YEARS_MS, {**WHO, "reason": "two\nlines"}, InvalidInputError),
    ],
)
def test_it_is_refused_where_there_is_nothing_to_undo_or_nobody_to_answer_for_it(
    building: Building, quality: ClockQuality | None, step_ms: int, who: dict[str, str], error: type[Exception]
) -> None:
    building.clock.step_wall(step_ms)
    building.phone("anna").check_in("stay-anna", "101")
    building.clock.step_wall(-step_ms)
    mark_ms = building.store.high_water_ms
    if quality is not None:
        building.clock.quality = quality
    with pytest.raises(error):
        reset_clock(store=building.store, book=building.book, clock=building.clock, **who)
    assert building.store.high_water_ms == mark_ms
    assert building.store.events(0) == []
