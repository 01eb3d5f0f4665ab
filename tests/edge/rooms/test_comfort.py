"""Comfort through the real engine: arrivals, windows, the guest's hand, staff, panels, rules."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edge.policy.document import default, encode
from edge.rooms.modes import Mode
from edge.rooms.recovery import Recovery
from kit.clock import ManualClock
from protocols.device_model import site_plan
from protocols.device_model.capability import Capability, Unit
from protocols.device_model.identity import RoomId, StayId
from tests.edge.world import HEATING, HOUR_MS, PHONE, T0, Building, a_document, a_stay, contact, motion, said

ROOM = RoomId("101")
MINUTE_MS = 60_000


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(now_ms=1_000_000, wall_ms=T0 + 12 * HOUR_MS)


def with_a_window(clock: ManualClock, folder: Path) -> Building:
    """A building whose room 101 has a contact on its window."""
    building = Building(clock, path=folder / "edge.db")
    plan = json.loads(site_plan.encode(building.plan))
    window = {"id": "window-101", "room": "101", "descriptor": "test/thing", "watches": "window"}
    plan["devices"].append({**window, "address": {"bus": "zigbee", "friendly_name": "window-101"}})
    building.plan = site_plan.parse(json.dumps(plan).encode())
    building.house = building._house(building.store, building.restored)
    return building


@pytest.fixture
async def building(clock: ManualClock, tmp_path: Path) -> AsyncIterator[Building]:
    building = with_a_window(clock, tmp_path)
    yield building
    await building.store.close()


async def moved_in(building: Building, clock: ManualClock) -> None:
    stay = a_stay(expected_until_ms=T0 + 72 * HOUR_MS)
    await building.house.keeper.apply(1, a_document(stay))
    await building.house.desk.check_in(StayId("s-anna"), PHONE, by="desk")
    await come_in(building, clock, "s-anna")


async def come_in(building: Building, clock: ManualClock, stay: str | None) -> None:
    await building.opened(stay=stay)
    await building.heard(contact("101", closed=False))
    clock.advance(5_000)
    await building.heard(contact("101", closed=True))
    clock.advance(60_000)
    await building.heard(motion("101", seen=True))
    await building.work()
    clock.advance(90_000)
    await building.heard(motion("101", seen=False))


async def go_out(building: Building, clock: ManualClock) -> None:
    await building.heard(contact("101", closed=False))
    clock.advance(5_000)
    await building.heard(contact("101", closed=True))


async def pass_time(building: Building, clock: ManualClock, minutes: int) -> None:
    for minute in range(minutes):
        clock.advance(MINUTE_MS)
        if minute % 50 == 49:
            await building.heard(motion("101", seen=False))
        await building.work()


def temperature(celsius: float) -> Any:
    return said("thermostat-101", Capability.THERMOSTAT, "local_temperature", celsius, Unit.CELSIUS)


def dial(celsius: float) -> Any:
    return said("thermostat-101", Capability.THERMOSTAT, HEATING, celsius, Unit.CELSIUS)


@pytest.mark.requirement("DEV-09")
async def test_a_slow_room_begins_early_and_is_at_comfort_when_the_guest_comes(
    building: Building, clock: ManualClock
) -> None:
    sense = building.house.rooms.sense(ROOM)
    sense.recovery = Recovery(rate_k_h=1.0, samples=5)
    await building.heard(temperature(17.0))
    arrival_ms = clock.wall_ms() + 10 * HOUR_MS
    await building.house.keeper.apply(1, a_document(a_stay(expected_from_ms=arrival_ms)))
    begun_ms = None
    celsius = 17.0
    for _ in range(10 * 12):
        await pass_time(building, clock, 5)
        if building.heating() == 21.5:
            begun_ms = begun_ms or clock.wall_ms()
            celsius = min(21.5, celsius + 1.0 * 5 / 60)
        await building.heard(temperature(round(celsius, 2)))
    assert begun_ms is not None
    assert 4.5 * HOUR_MS <= arrival_ms - begun_ms <= 6 * HOUR_MS
    assert celsius == 21.5


async def test_what_a_room_has_shown_survives_a_restart(building: Building, clock: ManualClock) -> None:
    await building.house.keeper.apply(1, a_document())
    building.house.rooms.sense(ROOM).recovery = Recovery(rate_k_h=2.0, samples=5)
    await building.work()
    await building.restart()
    assert building.house.rooms.sense(ROOM).recovery == Recovery(rate_k_h=2.0, samples=5)
    del clock


async def test_heating_waits_for_an_open_window(building: Building, clock: ManualClock) -> None:
    await moved_in(building, clock)
    window = said("window-101", Capability.BOOLEAN_STATE, "state_value", False)
    await building.heard(window)
    await pass_time(building, clock, 1)
    assert building.heating() == 21.5  # airing
    await pass_time(building, clock, 2)
    assert building.heating() == 17.0
    assert building.house.rooms.state(ROOM).mode is Mode.OCCUPIED_COMFORT  # the window is not the door
    await building.heard(said("window-101", Capability.BOOLEAN_STATE, "state_value", True))
    await building.work()
    assert building.heating() == 21.5


@pytest.mark.requirement("DEV-07")
async def test_the_guests_own_temperature_comes_back_with_the_guest_and_goes_with_the_stay(
    building: Building, clock: ManualClock
) -> None:
    await moved_in(building, clock)
    await pass_time(building, clock, 3)
    await building.heard(dial(23.5))
    await building.work()
    assert building.house.rooms.state(ROOM).preferred_c == 23.5
    await go_out(building, clock)
    await pass_time(building, clock, 125)
    assert building.heating() == 19.0
    await building.restart()
    await come_in(building, clock, "s-anna")
    assert building.heating() == 23.5
    await building.house.desk.check_out(StayId("s-anna"), by="desk")
    await building.work()
    assert building.heating() == 17.0
    assert building.house.rooms.state(ROOM).preferred_c is None


async def test_our_own_write_read_back_is_nobodys_wish(building: Building, clock: ManualClock) -> None:
    await moved_in(building, clock)
    for _ in range(5):
        await building.heard(dial(21.5))
        await pass_time(building, clock, 2)
    assert building.house.rooms.state(ROOM).preferred_c is None


async def test_staff_cleaning_behind_a_closed_door_do_not_wake_the_room(building: Building, clock: ManualClock) -> None:
    await moved_in(building, clock)
    await go_out(building, clock)
    await pass_time(building, clock, 125)
    assert building.house.rooms.state(ROOM).mode is Mode.AWAY_SET_BACK
    building.devices.effects.clear()
    await come_in(building, clock, None)
    await pass_time(building, clock, 30)
    assert building.house.rooms.state(ROOM).mode is Mode.AWAY_SET_BACK
    assert building.devices.effects == []
    await go_out(building, clock)
    await come_in(building, clock, "s-anna")
    assert (building.heating(), building.light()) == (21.5, True)


async def test_staff_who_come_in_against_a_wish_are_an_alert(building: Building, clock: ManualClock) -> None:
    await moved_in(building, clock)
    await building.heard(said("light-101", Capability.ROOM_REQUEST, "do_not_disturb", True))
    await building.opened(stay=None)
    await building.house.watch.look()
    assert [each["alert"] for each in building.house.watch.alerts()] == ["entered_while_dnd"]


async def with_rules(building: Building, *rules: dict[str, Any]) -> None:
    document = {**json.loads(encode(default())), "v": 2, "version": 5, "rules": list(rules)}

    await building.house.new_policy(msgspec.json.encode(document), "test")


HOT = {
    "name": "too-hot",
    "when": 'room.rented && value["thermostat.local_temperature"] > 25.0',
    "then": [{"capability": "thermostat", "attribute": HEATING, "value": 18.0}],
}


@pytest.mark.requirement("DEV-03")
async def test_a_rule_speaks_once_when_it_begins_to_hold_and_a_restart_repeats_nothing(
    building: Building, clock: ManualClock
) -> None:
    await moved_in(building, clock)
    await with_rules(building, HOT)
    building.policy = building.house.policy
    await pass_time(building, clock, 2)
    assert building.heating() == 21.5
    await building.heard(temperature(26.0))
    await building.work()
    assert building.heating() == 18.0
    [told] = building.house.rooms.rules.told()
    assert (told["name"], told["holds_in"], told["cannot"]) == ("too-hot", 1, None)
    building.devices.values["thermostat-101", HEATING] = 22.0  # the guest disagrees
    await pass_time(building, clock, 5)
    await building.restart()
    await building.heard(temperature(26.0))
    await pass_time(building, clock, 5)
    assert building.heating() == 22.0
    await building.heard(temperature(24.0))
    await building.work()
    await building.heard(temperature(26.0))
    await building.work()
    assert building.heating() == 18.0


async def test_a_rule_is_for_its_rooms_and_its_hours(building: Building, clock: ManualClock) -> None:
    lights = [{"capability": "on_off", "attribute": "on_off", "value": True}]
    evening = {"from": "17:00", "until": "18:00"}
    await with_rules(
        building,
        {"name": "suites", "when": "true", "then": lights, "rooms": {"types": ["suite"]}},
        {"name": "evening", "when": "room.id == '102'", "then": lights, "schedule": evening, "rooms": {"floors": [1]}},
    )
    await pass_time(building, clock, 3 * 60 + 55)  # 13:00 to 16:55 in Vienna
    assert (building.light("101"), building.light("102")) == (None, None)
    await pass_time(building, clock, 6)
    assert (building.light("101"), building.light("102")) == (None, True)
