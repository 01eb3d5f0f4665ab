"""When the doors are asked to end what outlasts a stay: at its end, as it is known then, and by nobody else's turn."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from edge.checkin.overdue import AGAIN_MS, HEARS_FIRST_MS, RETRY_MS
from kit.clock import ManualClock
from protocols.device_model.identity import StayId
from protocols.errors import InvalidInputError, LinkLostError, StoreFailedError
from tests.edge.world import HOUR_MS, PHONE, PHONE_2, T0, Building, FakeDoors, a_document, a_stay

pytestmark = [pytest.mark.requirement("P11", "STY-08"), pytest.mark.guarantee("G3", "G4", "G11")]
ANNA, BEN = StayId("s-anna"), StayId("s-ben")
LONG_MS, SHORT_MS = T0 + 72 * HOUR_MS, T0 + 24 * HOUR_MS


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(wall_ms=T0)


@pytest.fixture
async def building(clock: ManualClock, tmp_path: Path) -> AsyncIterator[Building]:
    building = Building(clock, path=tmp_path / "edge.db")
    await building.house.desired("stays", 1, a_document(a_stay(expected_until_ms=LONG_MS)))
    await building.house.desk.check_in(ANNA, PHONE, by="desk")
    yield building
    await building.store.close()


def to(clock: ManualClock, at_ms: int) -> None:
    clock.advance(at_ms - clock.wall_ms())


async def asked(building: Building) -> list[tuple[str, int]]:
    """Look once, and return what the doors were asked for by it."""
    building.doors.curtailed.clear()
    await building.house.overdue.tell_all()
    return list(building.doors.curtailed)


async def document(building: Building, version: int, until_ms: int, **more: Any) -> None:
    stay = a_stay(expected_until_ms=until_ms, **more)
    await building.house.desired("stays", version, a_document(stay, v=3 if "until_n" in more else 1))


async def test_the_doors_are_asked_at_the_end_that_the_desk_said_and_not_before(
    building: Building, clock: ManualClock
) -> None:
    await building.house.desk.end_at(ANNA, SHORT_MS, by="desk")
    to(clock, SHORT_MS - 5_000)
    assert await building.house.overdue.tell_all() == 5_000, "it comes again in time"
    assert await asked(building) == []
    clock.advance(5_000)
    building.doors.due_in_ms = 20_000
    assert await asked(building) == [(ANNA, SHORT_MS)]
    assert await asked(building) == [], "the keys have some grace"
    clock.advance(20_000)
    building.doors.due_in_ms = 0
    assert await asked(building) == [(ANNA, SHORT_MS)]
    clock.advance(AGAIN_MS - 1)
    assert await asked(building) == []
    clock.advance(1)
    assert await asked(building) == [(ANNA, SHORT_MS)], "for as long as he is in house"
    await building.house.desk.check_out(ANNA, by="desk")
    clock.advance(AGAIN_MS)
    assert await asked(building) == []


async def test_the_word_of_the_cloud_counts_in_whatever_order_it_comes(building: Building, clock: ManualClock) -> None:
    to(clock, SHORT_MS + HOUR_MS)
    await document(building, 3, SHORT_MS)  # to a moment that is past
    await document(building, 3, SHORT_MS)
    with pytest.raises(InvalidInputError):
        await document(building, 2, LONG_MS)  # late
    assert await asked(building) == [(ANNA, SHORT_MS)]
    await document(building, 4, LONG_MS)
    clock.advance(AGAIN_MS)
    assert await asked(building) == []
    await document(building, 5, SHORT_MS)
    assert await asked(building) == [(ANNA, SHORT_MS)], "at once: it was another end meanwhile"
    await document(building, 6, SHORT_MS - HOUR_MS)
    assert await asked(building) == [(ANNA, SHORT_MS - HOUR_MS)], "and so it is now"


async def test_made_longer_and_back_between_two_looks_it_is_asked_again_within_a_minute(
    building: Building, clock: ManualClock
) -> None:
    to(clock, SHORT_MS + HOUR_MS)
    await document(building, 3, SHORT_MS)
    assert await asked(building) == [(ANNA, SHORT_MS)]
    await building.house.desk.end_at(ANNA, LONG_MS, by="desk", phone_public_key=PHONE)
    await document(building, 4, SHORT_MS, until_n=1)
    clock.advance(AGAIN_MS)
    assert await asked(building) == [(ANNA, SHORT_MS)]


async def test_who_is_not_in_house_or_not_over_is_not_asked_for(building: Building, clock: ManualClock) -> None:
    ben = a_stay(BEN, "102", expected_until_ms=SHORT_MS)
    await building.house.desired("stays", 2, a_document(a_stay(expected_until_ms=LONG_MS), ben))
    to(clock, SHORT_MS + HOUR_MS)
    assert await asked(building) == [], "Ben never came, Anna stays"


async def test_a_building_that_has_just_started_hears_the_others_first(building: Building, clock: ManualClock) -> None:
    """What it has of stays may be of a copy: nobody's later end is to be overlooked for that."""
    await building.house.desk.end_at(ANNA, SHORT_MS, by="desk")
    to(clock, SHORT_MS + HOUR_MS)
    await building.restart()
    assert await building.house.overdue.tell_all() == HEARS_FIRST_MS
    clock.advance(HEARS_FIRST_MS - 1)
    assert await asked(building) == []
    clock.advance(1)
    assert await asked(building) == [(ANNA, SHORT_MS)], "that was shortened before the restart"


async def test_doors_that_are_away_are_asked_until_they_answer(building: Building, clock: ManualClock) -> None:
    await document(building, 2, SHORT_MS)
    to(clock, SHORT_MS)
    building.doors.away = True
    for _ in range(3):
        assert await building.house.overdue.tell_all() == RETRY_MS
        clock.advance(RETRY_MS)
    building.doors.away = False
    assert await asked(building) == [(ANNA, SHORT_MS)]


@pytest.mark.parametrize("old", [False, True], ids=["away", "of a build that does not know the question"])
async def test_whatever_changes_doors_that_cannot_are_asked_seldom(
    building: Building, clock: ManualClock, monkeypatch: pytest.MonkeyPatch, *, old: bool
) -> None:
    """Doors of another build hang up on what they do not know: the next guest's key would wait for a connection."""
    asked_for: list[StayId] = []

    async def refusing(doors: FakeDoors, stay: StayId, until_ms: int) -> int:
        asked_for.append(stay)
        raise InvalidInputError("method", "'curtail' is unknown") if old else LinkLostError("away")

    monkeypatch.setattr(FakeDoors, "curtail", refusing)
    stays = [a_stay(expected_until_ms=SHORT_MS), a_stay(BEN, "102", expected_until_ms=SHORT_MS)]
    await building.house.desired("stays", 2, a_document(*stays))
    await building.house.desk.check_in(BEN, PHONE_2, by="desk")
    to(clock, SHORT_MS)
    pause_ms = await building.house.overdue.tell_all()
    assert (len(asked_for), pause_ms) == (1, HEARS_FIRST_MS if old else RETRY_MS)
    await document(building, 3, SHORT_MS - HOUR_MS)
    clock.advance(pause_ms - 1)
    assert await building.house.overdue.tell_all() == 1
    assert len(asked_for) == 1
    clock.advance(1)
    await building.house.overdue.tell_all()
    assert len(asked_for) == 2


async def test_one_that_the_doors_refuse_holds_up_no_other(
    building: Building, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    stays = [a_stay(expected_until_ms=SHORT_MS), a_stay(BEN, "102", expected_until_ms=SHORT_MS)]
    await building.house.desired("stays", 2, a_document(*stays))
    await building.house.desk.check_in(BEN, PHONE_2, by="desk")
    to(clock, SHORT_MS)
    there, curtail = building.doors.curtailed, FakeDoors.curtail

    async def refusing(doors: FakeDoors, stay: StayId, until_ms: int) -> int:
        if stay == ANNA:
            raise InvalidInputError("stay", "is not one")
        return await curtail(doors, stay, until_ms)

    monkeypatch.setattr(FakeDoors, "curtail", refusing)
    assert await building.house.overdue.tell_all() == RETRY_MS
    assert there == [(BEN, SHORT_MS)]
    assert await building.house.overdue.tell_all() == RETRY_MS, "and is itself left alone for a while"


async def test_a_key_whose_longer_end_is_being_said_is_not_taken(building: Building, clock: ManualClock) -> None:
    """The grant first, then the record: in between the building knows no longer end."""
    await document(building, 2, SHORT_MS)
    to(clock, SHORT_MS + HOUR_MS)
    issued = building.doors.issued
    longer = asyncio.create_task(building.house.desk.end_at(ANNA, LONG_MS, by="desk", phone_public_key=PHONE_2))
    while building.doors.issued == issued:
        await asyncio.sleep(0)
    assert not longer.done()
    look = asyncio.create_task(building.house.overdue.tell_all())
    await asyncio.gather(longer, look)
    assert building.doors.curtailed == []


async def test_a_longer_end_that_could_not_be_said_ends_nothing_but_what_nobody_was_given(
    building: Building, clock: ManualClock
) -> None:
    await document(building, 2, SHORT_MS)
    to(clock, SHORT_MS + HOUR_MS)
    building.log.fail = True
    with pytest.raises(StoreFailedError):
        await building.house.desk.end_at(ANNA, LONG_MS, by="desk", phone_public_key=PHONE)
    building.log.fail = False
    assert await asked(building) == [(ANNA, SHORT_MS)]


async def test_it_wakes_up_for_a_stay_that_changes(building: Building, clock: ManualClock) -> None:
    to(clock, SHORT_MS + HOUR_MS)
    running = asyncio.create_task(building.house.overdue.run())
    for _ in range(10):
        await asyncio.sleep(0)
    assert building.doors.curtailed == []
    await document(building, 2, SHORT_MS)
    async with asyncio.timeout(10):
        while not building.doors.curtailed:
            await asyncio.sleep(0)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert building.doors.curtailed == [(ANNA, SHORT_MS)]
