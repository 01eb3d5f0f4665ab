"""What a room still knows after its edge was away: it wakes and cools nobody, and what it missed does not fool it."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from edge.app.house import LIVED
from edge.rooms.engine import LIVED_EVERY_MS
from edge.rooms.modes import Mode
from edge.rooms.occupancy import inside_still
from edge.rooms.returns import PAUSE_MS, SPREAD_MS, UNHEARD_MS
from kit.clock import ClockQuality, ManualClock
from protocols.device_model.capability import Capability, Unit
from protocols.device_model.identity import DeviceId, RoomId, StayId
from tests.edge.rooms.test_comfort import with_a_window
from tests.edge.world import HEATING, HOUR_MS, PHONE, T0, Building, a_document, a_stay, contact, motion, said

ROOM = RoomId("101")
MINUTE_MS = 60_000
NIGHT_MS, COMFORT_C, SET_BACK_C, AWAY_C, RESTART_C = 22 * HOUR_MS, 21.5, 17.0, 18.0, 20.0


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(now_ms=1_000_000, wall_ms=T0 + 12 * HOUR_MS)


@pytest.fixture
async def building(clock: ManualClock, tmp_path: Path) -> AsyncIterator[Building]:
    building = with_a_window(clock, tmp_path)
    await building.house.keeper.apply(1, a_document(a_stay(expected_until_ms=T0 + 96 * HOUR_MS)))
    await building.house.desk.check_in(StayId("s-anna"), PHONE, by="desk")
    await come_in(building, clock, "s-anna")
    assert mode(building) is Mode.OCCUPIED_COMFORT
    yield building
    await building.store.close()


async def come_in(building: Building, clock: ManualClock, stay: str | None) -> None:
    await building.opened(stay=stay)
    await pass_the_door(building, clock)
    clock.advance(MINUTE_MS)
    await building.heard(motion("101", seen=True))
    await building.work()
    clock.advance(90_000)
    await building.heard(motion("101", seen=False))
    await says(building, COMFORT_C)
    await building.work()


async def pass_the_door(building: Building, clock: ManualClock) -> None:
    await building.heard(contact("101", closed=False))
    clock.advance(5_000)
    await building.heard(contact("101", closed=True))


async def pass_time(building: Building, clock: ManualClock, minutes: int) -> None:
    """Sensors that see nothing and say so every 50 minutes."""
    for minute in range(minutes):
        if minute % 50 == 0:
            await building.heard(motion("101", seen=False), contact("101", closed=True))
        clock.advance(MINUTE_MS)
        await building.work()


async def says(building: Building, celsius: float) -> None:
    building.devices.values["thermostat-101", HEATING] = celsius
    await building.heard(said("thermostat-101", Capability.THERMOSTAT, HEATING, celsius, Unit.CELSIUS))


async def away(building: Building, clock: ManualClock, ms: int) -> None:
    """The edge is killed where it stands, and starts again after a while."""
    clock.advance(ms)
    await building.restart()
    building.devices.effects.clear()


def at_night(clock: ManualClock) -> None:
    clock.advance(3 * HOUR_MS + NIGHT_MS + 4 * HOUR_MS - (clock.wall_ms() - T0))


def mode(building: Building) -> Mode:
    return building.house.rooms.state(ROOM).mode


def window(*, shut: bool) -> Any:
    return said("window-101", Capability.BOOLEAN_STATE, "state_value", shut)


def lights(building: Building) -> list[object]:
    return [value for device, _, value in building.devices.effects if device == "light-101"]


@pytest.mark.requirement("DEV-09", "DEV-10")
@pytest.mark.parametrize("down_ms", [3_000, 5 * HOUR_MS])
async def test_who_comes_home_after_a_restart_lights_up_no_sleeper(
    building: Building, clock: ManualClock, down_ms: int
) -> None:
    at_night(clock)
    await away(building, clock, down_ms)
    await building.opened()
    await building.work()
    assert lights(building) == []
    assert mode(building) is Mode.OCCUPIED_COMFORT


@pytest.mark.requirement("DEV-07", "DEV-10")
@pytest.mark.parametrize("down_ms", [3_000, 40 * MINUTE_MS])
async def test_who_was_inside_is_never_set_back_by_silence_after_it(
    building: Building, clock: ManualClock, down_ms: int
) -> None:
    await away(building, clock, down_ms)
    await pass_time(building, clock, 20 * 60)  # sleeps through a night and a day
    assert mode(building) is Mode.OCCUPIED_COMFORT
    assert building.devices.effects == []


@pytest.mark.requirement("DEV-10")
async def test_belief_says_how_sure_it_still_is(building: Building, clock: ManualClock) -> None:
    await away(building, clock, 3_000)
    assert building.house.rooms.belief(ROOM).occupied is True
    await away(building, clock, 5 * HOUR_MS)
    assert (building.house.rooms.belief(ROOM).occupied, building.house.rooms.belief(ROOM).confidence) == (None, 0.5)
    await building.heard(contact("101", closed=True), motion("101", seen=False), motion("101", seen=True))
    assert building.house.rooms.belief(ROOM).occupied is True
    assert inside_still(0) == 0.98
    assert inside_still(None) == inside_still(10**12) == 0.5


@pytest.mark.requirement("DEV-10")
async def test_a_clock_that_cannot_be_believed_says_nothing_of_the_gap(building: Building, clock: ManualClock) -> None:
    clock.quality = ClockQuality.UNCERTAIN
    await away(building, clock, 3_000)
    assert building.house.rooms.belief(ROOM).occupied is None
    clock.quality = ClockQuality.SYNCHRONISED
    clock.step_wall(-HOUR_MS)
    await away(building, clock, 0)
    assert building.house.rooms.belief(ROOM).occupied is None
    assert building.house.rooms.sense(ROOM).evidence.known_inside


@pytest.mark.requirement("DEV-04", "DEV-10")
async def test_silence_begins_anew_once_the_contact_has_spoken(building: Building, clock: ManualClock) -> None:
    await pass_the_door(building, clock)
    await building.heard(motion("101", seen=False))
    await pass_time(building, clock, 60)
    await away(building, clock, 3_000)
    for _ in range(3):  # the motion sensor alone: the door may stand open
        clock.advance(50 * MINUTE_MS)
        await building.heard(motion("101", seen=False))
        await building.work()
    assert mode(building) is Mode.OCCUPIED_COMFORT
    await pass_time(building, clock, 100)
    assert mode(building) is Mode.OCCUPIED_COMFORT
    await pass_time(building, clock, 20)
    assert mode(building) is Mode.AWAY_SET_BACK


@pytest.mark.requirement("DEV-10")
async def test_who_came_in_while_nobody_listened_is_not_cooled_by_the_silence_before(
    building: Building, clock: ManualClock
) -> None:
    await pass_the_door(building, clock)
    await pass_time(building, clock, 110)
    came_ms = clock.wall_ms() + MINUTE_MS
    await away(building, clock, 10 * MINUTE_MS)
    await building.heard(contact("101", closed=True), motion("101", seen=False))
    await pass_time(building, clock, 60)
    await building.opened(at_ms=came_ms)  # their lock's log is read late; no sensor has seen them
    await pass_time(building, clock, 10 * 60)
    assert mode(building) is Mode.OCCUPIED_COMFORT
    assert lights(building) == []  # an hour late is no welcome
    await building.opened()
    await building.work()
    assert lights(building) == []  # and the first one may sleep when the second comes


@pytest.mark.requirement("DEV-10")
async def test_doors_that_nobody_heard_move_do_not_make_a_contact_stuck(building: Building, clock: ManualClock) -> None:
    at_night(clock)
    first_ms = clock.wall_ms()
    await away(building, clock, 10 * MINUTE_MS)
    for each in range(3):
        await building.opened(at_ms=first_ms + 2 * each * MINUTE_MS)
    await building.heard(contact("101", closed=True))
    await building.opened(at_ms=first_ms + 9 * MINUTE_MS)
    evidence = building.house.rooms.sense(ROOM).evidence
    assert not evidence.stuck
    assert evidence.known_inside


@pytest.mark.requirement("DEV-09")
async def test_staff_wake_no_set_back_room_after_a_restart(building: Building, clock: ManualClock) -> None:
    await pass_the_door(building, clock)
    await pass_time(building, clock, 130)
    assert mode(building) is Mode.AWAY_SET_BACK
    await away(building, clock, 3_000)
    await come_in(building, clock, None)
    assert mode(building) is Mode.AWAY_SET_BACK
    await away(building, clock, 3_000)  # while they are at work
    await building.heard(contact("101", closed=True), motion("101", seen=False), motion("101", seen=True))
    await building.work()
    assert mode(building) is Mode.AWAY_SET_BACK
    await come_in(building, clock, "s-anna")
    assert mode(building) is Mode.OCCUPIED_COMFORT


@pytest.mark.requirement("DEV-10")
async def test_a_guest_seen_in_a_set_back_room_wakes_it_after_a_restart(building: Building, clock: ManualClock) -> None:
    await pass_the_door(building, clock)
    await pass_time(building, clock, 130)
    assert mode(building) is Mode.AWAY_SET_BACK
    await away(building, clock, HOUR_MS)
    await building.heard(motion("101", seen=True))  # it may have been up already: somebody who left
    await building.work()
    assert mode(building) is Mode.AWAY_SET_BACK
    await building.heard(motion("101", seen=False))
    clock.advance(MINUTE_MS)
    await building.heard(motion("101", seen=True))
    await building.work()
    assert mode(building) is Mode.OCCUPIED_COMFORT


@pytest.mark.requirement("DEV-04", "DEV-09")
async def test_an_open_window_stays_open_and_a_window_being_aired_goes_on_being_so(
    building: Building, clock: ManualClock
) -> None:
    await building.heard(window(shut=False))
    clock.advance(6 * MINUTE_MS)
    await building.work()
    after_ms = int(building.policy.climate.window_open_after.total_seconds() * 1000)
    assert building.house.rooms.state(ROOM).window_open == (after_ms <= 6 * MINUTE_MS)
    await away(building, clock, after_ms)
    await building.work()
    assert building.heating() == (SET_BACK_C if after_ms <= 6 * MINUTE_MS else COMFORT_C)  # nobody has said so again
    await building.heard(window(shut=False))
    await building.work()
    assert building.house.rooms.state(ROOM).window_open
    assert building.heating() == SET_BACK_C
    await away(building, clock, HOUR_MS)
    await building.work()
    assert building.house.rooms.state(ROOM).window_open  # and no restart shuts it
    assert building.devices.effects == []
    await building.heard(window(shut=True))
    await building.work()
    assert (building.house.rooms.state(ROOM).window_open, building.heating()) == (False, COMFORT_C)


@pytest.mark.requirement("DEV-04", "DEV-09")
async def test_a_window_that_was_shut_while_nobody_listened_cools_nobody(
    building: Building, clock: ManualClock
) -> None:
    await building.heard(window(shut=False))
    await building.work()
    await away(building, clock, MINUTE_MS)
    await pass_time(building, clock, 60)
    assert building.heating() == COMFORT_C
    await building.heard(window(shut=True))
    await pass_time(building, clock, 60)
    assert building.heating() == COMFORT_C
    assert building.house.rooms.sense(ROOM).window_since_ms is None


@pytest.mark.requirement("DEV-07", "DEV-09")
@pytest.mark.parametrize("asks", [False, True])
async def test_mains_that_fail_for_house_and_edge_together_leave_a_sleeper_warm_and_dark(
    building: Building, clock: ManualClock, asks: bool
) -> None:
    at_night(clock)
    await away(building, clock, 20 * MINUTE_MS)
    building.house.rooms.reached(DeviceId("thermostat-101"), reached=True)
    building.devices.values["thermostat-101", HEATING] = RESTART_C
    if asks:
        await says(building, RESTART_C)  # else it says nothing by itself, as radios do
    await building.work()
    clock.advance(max(UNHEARD_MS, SPREAD_MS))
    await building.work()
    assert building.devices.effects == [("thermostat-101", HEATING, COMFORT_C)]
    await says(building, COMFORT_C)
    clock.advance(PAUSE_MS)
    await building.work()
    assert len(building.devices.effects) == 1
    assert building.house.rooms.state(ROOM).preferred_c is None


@pytest.mark.requirement("DEV-07")
async def test_a_guests_dial_outlives_mains_and_edge(building: Building, clock: ManualClock) -> None:
    clock.advance(2 * MINUTE_MS)
    await says(building, 23.0)
    await building.work()
    await away(building, clock, 20 * MINUTE_MS)
    await says(building, RESTART_C)
    await building.work()
    assert building.heating() == 23.0
    await says(building, 23.0)
    clock.advance(2 * MINUTE_MS)
    await says(building, 24.0)  # and the next turn of the dial is theirs again
    await building.work()
    assert (building.heating(), building.house.rooms.state(ROOM).preferred_c) == (24.0, 24.0)


async def test_a_controller_that_kept_its_setpoint_is_left_alone(building: Building, clock: ManualClock) -> None:
    await away(building, clock, 20 * MINUTE_MS)
    building.house.rooms.reached(DeviceId("thermostat-101"), reached=True)
    await says(building, COMFORT_C)
    await pass_time(building, clock, 30)
    assert building.devices.effects == []


async def test_a_wish_of_the_guests_panel_heard_again_is_no_press(building: Building, clock: ManualClock) -> None:
    await building.heard(said("thermostat-101", Capability.ROOM_REQUEST, "do_not_disturb", True))
    await building.work()
    await pass_the_door(building, clock)
    await building.heard(motion("101", seen=False))
    await building.work()
    await away(building, clock, 3_000)
    await building.heard(contact("101", closed=True))
    await building.heard(said("thermostat-101", Capability.ROOM_REQUEST, "do_not_disturb", True))
    assert building.house.rooms.sense(ROOM).do_not_disturb
    assert not building.house.rooms.sense(ROOM).evidence.inside


async def test_a_snapshot_of_an_older_build_is_read(building: Building, clock: ManualClock) -> None:
    await building.work()
    stored = [(room, json.loads(body)) for room, body in building.store._connection.execute("SELECT * FROM room")]
    for room, body in stored:
        del body["sensed"], body["held_c"]
        building.store._connection.execute("UPDATE room SET body = ? WHERE room = ?", (json.dumps(body).encode(), room))
    await away(building, clock, 3_000)
    assert mode(building) is Mode.OCCUPIED_COMFORT
    assert building.house.rooms.belief(ROOM).occupied is None


async def test_a_quiet_house_still_says_that_it_listens(building: Building, clock: ManualClock) -> None:
    import asyncio

    clock.advance(LIVED_EVERY_MS)
    lived = asyncio.Event()

    async def stored() -> None:
        await building.house.stored()
        lived.set()

    await building.house.stored()
    task = asyncio.create_task(building.house.rooms.run(stored))
    async with asyncio.timeout(10):
        await lived.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await building.restart()
    assert int(building.restored.documents[LIVED]) == clock.wall_ms()
