"""Controllers that lose power: told again what they held, once a return, in portions, and no guest overruled."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest

from edge.rooms.modes import Mode
from edge.rooms.returns import AT_ONCE_MOST, PAUSE_MS, SPREAD_MS, UNHEARD_MS
from kit.clock import ManualClock
from protocols.device_model.capability import Capability, Unit
from protocols.device_model.identity import DeviceId, RoomId, StayId
from tests.edge.world import HEATING, HOUR_MS, PHONE, T0, Building, a_document, a_stay, contact, motion, said

ROOM: Final = RoomId("101")
RESTART_C: Final = 20.0
LONG_MS: Final = 2 * PAUSE_MS


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(now_ms=1_000_000, wall_ms=T0)


@pytest.fixture
async def building(clock: ManualClock, tmp_path: Path) -> AsyncIterator[Building]:
    building = Building(clock, path=tmp_path / "edge.db")
    await building.house.keeper.apply(1, a_document())
    await settle(building, clock, LONG_MS)
    await says(building, 17.0)
    yield building
    await building.store.close()


async def settle(building: Building, clock: ManualClock, ms: int = SPREAD_MS) -> None:
    await building.work()
    clock.advance(ms)
    await building.work()


async def says(building: Building, celsius: float, room: str = "101") -> None:
    """The thermostat holds a setpoint that nobody wrote over the bus, and says so."""
    building.devices.values[f"thermostat-{room}", HEATING] = celsius
    await building.heard(said(f"thermostat-{room}", Capability.THERMOSTAT, HEATING, celsius, Unit.CELSIUS))


def reached(building: Building, reached: bool, room: str = "101") -> None:
    building.house.rooms.reached(DeviceId(f"thermostat-{room}"), reached=reached)


async def loses_power(building: Building, room: str = "101", *, finds_c: float = RESTART_C) -> None:
    reached(building, False, room)
    await building.work()
    reached(building, True, room)
    await says(building, finds_c, room)


def writes(building: Building, room: str = "101") -> list[object]:
    return [
        value
        for device, attribute, value in building.devices.effects
        if (device, attribute) == (f"thermostat-{room}", HEATING)
    ]


async def guest_inside(building: Building, clock: ManualClock) -> None:
    await building.house.keeper.apply(2, a_document(a_stay(expected_until_ms=T0 + 72 * HOUR_MS)))
    await building.house.desk.check_in(StayId("s-anna"), PHONE, by="desk")
    await building.opened()
    await building.heard(contact("101", closed=False))
    clock.advance(5_000)
    await building.heard(contact("101", closed=True))
    clock.advance(60_000)
    await building.heard(motion("101", seen=True))
    await settle(building, clock, LONG_MS)
    await says(building, 21.5)
    assert building.house.rooms.state(ROOM).mode is Mode.OCCUPIED_COMFORT


@pytest.mark.requirement("DEV-07")
async def test_a_thermostat_that_restarts_is_told_again_once(building: Building, clock: ManualClock) -> None:
    assert writes(building) == [17.0]
    await loses_power(building)
    await settle(building, clock)
    assert writes(building) == [17.0, 17.0]
    for _ in range(20):
        await says(building, 17.0)
        await settle(building, clock, 60_000)
    assert writes(building) == [17.0, 17.0]
    assert building.house.rooms.desired(ROOM) == []


@pytest.mark.requirement("DEV-07")
async def test_what_it_restarts_with_is_no_guests_wish(building: Building, clock: ManualClock) -> None:
    await guest_inside(building, clock)
    await loses_power(building)
    await says(building, RESTART_C)
    await settle(building, clock)
    assert building.heating() == 21.5
    assert building.house.rooms.state(ROOM).preferred_c is None


@pytest.mark.requirement("DEV-07")
@pytest.mark.parametrize("restarts", [False, True])
async def test_a_guests_dial_outlives_an_outage(building: Building, clock: ManualClock, restarts: bool) -> None:
    await guest_inside(building, clock)
    await says(building, 23.5)
    await settle(building, clock, LONG_MS)
    before = len(writes(building))
    await loses_power(building, finds_c=RESTART_C if restarts else 23.5)
    await settle(building, clock, 2 * UNHEARD_MS)
    assert building.heating() == 23.5
    assert len(writes(building)) - before == int(restarts)
    assert building.house.rooms.state(ROOM).preferred_c == 23.5


async def test_a_dial_turned_in_a_vacant_room_is_kept_too_and_one_turned_after_the_return(
    building: Building, clock: ManualClock
) -> None:
    await says(building, 18.5)
    await loses_power(building, finds_c=18.5)
    await settle(building, clock, 2 * UNHEARD_MS)
    assert writes(building) == [17.0]
    await loses_power(building)
    await says(building, 24.0)  # before it was its turn
    await settle(building, clock, LONG_MS)
    assert (writes(building), building.heating()) == ([17.0], 24.0)


async def test_its_first_word_may_come_before_its_bus_says_that_it_is_back(
    building: Building, clock: ManualClock
) -> None:
    reached(building, False)
    await says(building, RESTART_C)
    reached(building, True)
    await settle(building, clock)
    assert building.heating() == 17.0


async def test_one_that_says_no_setpoint_is_told_after_a_minute(building: Building, clock: ManualClock) -> None:
    reached(building, False)
    reached(building, True)
    building.devices.values["thermostat-101", HEATING] = RESTART_C
    await settle(building, clock, UNHEARD_MS - 1)
    assert building.heating() == RESTART_C
    await settle(building, clock, 1)
    assert building.heating() == 17.0
    await settle(building, clock, LONG_MS)
    assert writes(building) == [17.0, 17.0]


async def test_what_the_room_came_to_wish_meanwhile_is_what_counts(building: Building, clock: ManualClock) -> None:
    reached(building, False)
    building.devices.outcomes = ["refused"] * 400
    await building.house.keeper.apply(2, a_document(a_stay(state="in_house")))
    for _ in range(13 * 60):  # longer than a wish lives
        await settle(building, clock, 60_000)
    building.devices.outcomes.clear()
    assert (building.heating(), building.house.rooms.desired(ROOM)) == (17.0, [])
    reached(building, True)
    await says(building, RESTART_C)
    await settle(building, clock)
    assert building.heating() == 21.5


async def test_one_that_flaps_is_told_now_and_then(building: Building, clock: ManualClock) -> None:
    for _ in range(60):
        await loses_power(building)
        await settle(building, clock, SPREAD_MS)
    assert len(writes(building)) <= 2 + 60 * SPREAD_MS // PAUSE_MS
    await settle(building, clock, PAUSE_MS)
    assert building.heating() == 17.0


async def test_a_house_whose_mains_come_back_is_told_in_portions(clock: ManualClock) -> None:
    rooms = 3 * AT_ONCE_MOST
    building = Building(clock, rooms=rooms)
    numbers = [str(101 + each) for each in range(rooms)]
    await building.house.keeper.apply(1, a_document())
    await settle(building, clock, LONG_MS)
    for number in numbers:
        await says(building, 17.0, number)
        reached(building, False, number)
    for number in numbers:
        reached(building, True, number)
        await says(building, RESTART_C, number)
    building.devices.effects.clear()
    for portion in (1, 2, 3):
        await building.work()
        await building.work()
        assert len(building.devices.effects) == portion * AT_ONCE_MOST
        clock.advance(SPREAD_MS)
    await settle(building, clock, LONG_MS)
    assert len(building.devices.effects) == rooms
    assert {building.heating(number) for number in numbers} == {17.0}
    await building.store.close()


async def test_a_start_of_the_edge_is_no_return(building: Building, clock: ManualClock) -> None:
    await says(building, 24.0)
    await settle(building, clock)
    await building.restart()
    reached(building, False)
    reached(building, True)
    await says(building, 24.0)
    await settle(building, clock, LONG_MS)
    assert building.heating() == 24.0
