"""A room of which nothing is stored: set back once its stays are known, once, and never over a guest's head (0024)."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from edge.rooms.modes import Mode
from kit.clock import ManualClock
from protocols.device_model.identity import RoomId, StayId
from tests.edge.world import HEATING, HOUR_MS, PHONE, T0, Building, a_document, a_stay

ROOM, OTHER = RoomId("101"), RoomId("102")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(now_ms=1_000_000, wall_ms=T0)


@pytest.fixture
async def building(clock: ManualClock, tmp_path: Path) -> AsyncIterator[Building]:
    building = Building(clock, path=tmp_path / "edge.db")
    yield building
    await building.store.close()


def writes(building: Building, room: RoomId) -> list[object]:
    return [value for device, attribute, value in building.devices.effects if room in device and attribute == HEATING]


@pytest.mark.requirement("DEV-09")
async def test_a_vacant_room_is_set_back_as_soon_as_its_stays_are_known(building: Building) -> None:
    set_back_c = building.policy.climate.set_back_c
    await building.work()
    assert building.devices.effects == []  # nobody has told us who is in the house: leave the guests alone
    await building.house.keeper.apply(1, a_document())
    await building.work()
    assert [writes(building, room) for room in (ROOM, OTHER)] == [[set_back_c], [set_back_c]]
    assert building.house.rooms.state(ROOM).cause == "began"
    assert building.house.rooms.open_intents == 0


@pytest.mark.requirement("DEV-09")
async def test_it_is_not_set_back_again_after_a_restart_and_a_dial_is_not_argued_with(building: Building) -> None:
    await building.house.keeper.apply(1, a_document())
    await building.work()
    before = len(building.devices.effects)
    for version in (2, 3):
        await building.restart()
        await building.house.keeper.apply(version, a_document())
        await building.work()
    assert len(building.devices.effects) == before


@pytest.mark.requirement("DEV-09")
async def test_a_rooms_guest_is_warm_from_the_first_thought(building: Building, clock: ManualClock) -> None:
    climate = building.policy.climate
    soon = a_stay("s-soon", "102", expected_from_ms=clock.wall_ms() + 60_000, expected_until_ms=T0 + 30 * HOUR_MS)
    await building.house.keeper.apply(1, a_document(a_stay(state="in_house"), soon))
    await building.work()
    assert (building.house.rooms.state(ROOM).mode, writes(building, ROOM)) == (Mode.CHECKED_IN, [climate.comfort_c])
    assert (building.house.rooms.state(OTHER).mode, writes(building, OTHER)) == (Mode.EXPECTED, [climate.expected_c])


@pytest.mark.guarantee("G11")
async def test_a_store_begun_anew_cools_no_guest(building: Building, tmp_path: Path) -> None:
    await building.house.keeper.apply(1, a_document(a_stay()))
    await building.house.desk.check_in(StayId("s-anna"), PHONE, by="desk")
    await building.work()
    for name in tmp_path.iterdir():
        name.unlink()
    await building.restart()
    building.devices.effects.clear()
    await building.work()
    assert building.house.rooms.state(ROOM).mode is Mode.CHECKED_IN  # by the log's own word
    assert building.policy.climate.set_back_c not in writes(building, ROOM)
    assert writes(building, OTHER) == []
