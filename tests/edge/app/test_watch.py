"""Alerts through the house: a record on lane B, once each way, whatever is killed; energy and batteries survive."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from edge.app.models import UNKNOWN, Model
from kit.clock import ManualClock
from protocols.device_model.capability import Capability, Unit
from protocols.device_model.identity import DeviceId, RoomId
from protocols.device_model.reading import Quality, Reading
from protocols.errors import StoreFailedError
from protocols.link.lanes import Lane
from tests.edge.world import HOUR_MS, T0, Building, a_document, a_stay, contact, said

MINUTE_MS = 60_000
LOCK = "door-101"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(now_ms=1_000_000, wall_ms=T0)


@pytest.fixture
async def building(clock: ManualClock, tmp_path: Path) -> AsyncIterator[Building]:
    building = Building(clock, path=tmp_path / "edge.db")
    yield building
    await building.store.close()


async def pass_time(building: Building, clock: ManualClock, minutes: int) -> None:
    for _ in range(minutes * 2):
        clock.advance(MINUTE_MS // 2)
        await building.house.watch.look()


def every_alert(building: Building) -> list[dict[str, Any]]:
    return [each.body for each in building.log.records(Lane.B, "alert") if each.body["state"] != "standing"]


def told(building: Building) -> list[tuple[str, str, str]]:
    """What was told of those that have spoken: nobody speaks for most of the things in these rooms."""
    bodies = [each for each in every_alert(building) if not each["detail"].startswith("never heard")]
    return [(each["alert"], each["state"], each["room"]) for each in bodies]


def up(building: Building) -> list[dict[str, Any]]:
    return [each for each in building.house.watch.alerts() if not each["detail"].startswith("never heard")]


@pytest.mark.guarantee("G11")
@pytest.mark.requirement("DEV-08")
async def test_a_propped_door_is_told_once_and_its_closing_once_through_restarts(
    building: Building, clock: ManualClock
) -> None:
    await building.heard(contact("101", closed=True), contact("101", closed=False))
    await pass_time(building, clock, 15)
    assert told(building) == [("door_propped", "raised", "101")]
    [shown] = up(building)
    assert (shown["alert"], shown["state"], shown["room"]) == ("door_propped", "raised", "101")
    await building.restart()
    await building.heard(contact("101", closed=False))
    await pass_time(building, clock, 15)
    assert told(building) == [("door_propped", "raised", "101")]
    await building.heard(contact("101", closed=True))
    await pass_time(building, clock, 4)
    await building.restart()
    await building.heard(contact("101", closed=True))
    await pass_time(building, clock, 10)
    assert told(building) == [("door_propped", "raised", "101"), ("door_propped", "cleared", "101")]
    assert up(building) == []


@pytest.mark.guarantee("G11")
async def test_what_the_log_refused_is_told_when_it_takes_it_again_and_once(
    building: Building, clock: ManualClock
) -> None:
    building.log.fail = True
    leak = said("contact-101", Capability.BOOLEAN_STATE, "state_value:leak", True)
    building.noted(leak)
    with pytest.raises(StoreFailedError):
        await building.house.watch.look()
    await building.restart()  # the book is kept, the log has nothing
    building.log.fail = False
    building.noted(leak)
    await pass_time(building, clock, 2)
    assert told(building) == [("leak", "raised", "101")]


async def test_fire_is_an_alert_and_a_store_set_aside_gives_no_number_twice(
    building: Building, clock: ManualClock
) -> None:
    building.house.fire.declare("desk:anna")
    await pass_time(building, clock, 1)
    building.house.fire.clear()
    await pass_time(building, clock, 6)
    await building.store.close()
    assert building.path is not None
    for name in (building.path, *building.path.parent.glob("edge.db-*")):
        name.unlink()
    building.house = building._new()
    building.house.fire.declare("desk:anna")
    await pass_time(building, clock, 1)
    records = [each for each in building.log.records(Lane.B, "alert") if each.body["state"] != "standing"]
    assert [each.body["number"] for each in records] == [1, 2, 3]
    assert [each.body["state"] for each in records] == ["raised", "cleared", "raised"]


@pytest.mark.guarantee("G11")
async def test_silence_after_a_restart_ends_no_alert(building: Building, clock: ManualClock) -> None:
    def leak(wet: bool) -> Reading:
        return said("contact-101", Capability.BOOLEAN_STATE, "state_value:leak", wet)

    building.noted(leak(True))
    await building.heard(contact("101", closed=True), contact("101", closed=False))
    await pass_time(building, clock, 15)
    both = [("leak", "raised", "101"), ("door_propped", "raised", "101")]
    assert told(building) == both
    await building.restart()  # the sensors say nothing: there was no change
    await pass_time(building, clock, 30)
    assert told(building) == both
    building.noted(leak(False))
    await building.heard(contact("101", closed=True))
    await pass_time(building, clock, 6)
    assert sorted(told(building)[2:]) == [("door_propped", "cleared", "101"), ("leak", "cleared", "101")]


async def test_water_is_raised_at_once_and_not_at_the_next_half_minute(building: Building) -> None:
    watching = asyncio.create_task(building.house.watch.run())
    try:
        await asyncio.sleep(0)
        building.noted(said("contact-101", Capability.BOOLEAN_STATE, "state_value:leak", True))
        async with asyncio.timeout(10):
            while not told(building):
                await asyncio.sleep(0.005)
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
    assert told(building) == [("leak", "raised", "101")]


async def test_every_start_tells_once_which_alerts_stand(building: Building, clock: ManualClock) -> None:
    def standing() -> list[list[int]]:
        records = building.log.records(Lane.B, "alert")
        return [each.body["standing"] for each in records if each.body["state"] == "standing"]

    leak = said("contact-101", Capability.BOOLEAN_STATE, "state_value:leak", True)
    await pass_time(building, clock, 2)
    building.noted(leak)
    await pass_time(building, clock, 2)
    assert standing() == [[]]
    await building.restart()
    building.noted(leak)
    await pass_time(building, clock, 2)
    assert standing() == [[], [1]]
    await building.store.close()
    assert building.path is not None
    for name in (building.path, *building.path.parent.glob("edge.db-*")):
        name.unlink()
    building.house = building._new()
    await pass_time(building, clock, 2)
    assert standing() == [[], [1], []], "what a store set aside knew is not claimed"


@pytest.mark.requirement("DEV-04")
async def test_energy_and_batteries_survive_a_restart(building: Building, clock: ManualClock) -> None:
    def at(celsius: float, outdoor_c: float, percent: float) -> None:
        thermostat, cel = "thermostat-101", Unit.CELSIUS
        building.noted(said(thermostat, Capability.THERMOSTAT, "local_temperature", celsius, cel))
        building.noted(said(thermostat, Capability.THERMOSTAT, "outdoor_temperature", outdoor_c, cel))
        building.noted(
            said("motion-101", Capability.POWER_SOURCE, "bat_percent_remaining", percent, Unit.PERCENT)
        )  # fmt: skip

    at(19.0, 5.0, 80.0)
    await pass_time(building, clock, 61)
    await building.restart()
    energy = building.house.watch.energy()
    [room] = [each for each in energy["rooms"] if each["room"] == "101"]
    [month] = room["months"]
    assert month["month"] == "2026-01"
    assert month["saved_share"] == pytest.approx(1 - 14.0 / 16.5, abs=1e-4)
    [battery] = building.house.watch.batteries()
    assert (battery["device"], battery["percent"], battery["days_left"]) == ("motion-101", 80.0, None)


async def moved_in(building: Building) -> None:
    await building.house.desired("stays", 1, a_document(a_stay(state="in_house")))
    await building.opened()
    await building.work()


def thermostat(attribute: str, value: float | str) -> Reading:
    unit = None if isinstance(value, str) else Unit.CELSIUS
    return said("thermostat-101", Capability.THERMOSTAT, attribute, value, unit)


async def lived_at(building: Building, clock: ManualClock, celsius: float, minutes: int, **words: float | str) -> None:
    """The room is so warm for so long, and its thermostat says so every five minutes, with these words beside it."""
    for _ in range(minutes // 5):
        building.noted(thermostat("local_temperature", celsius))
        for attribute, value in words.items():
            building.noted(thermostat(attribute, value))
        await pass_time(building, clock, 5)


async def test_a_guest_in_a_cold_room_is_a_breach_after_an_hour(building: Building, clock: ManualClock) -> None:
    await moved_in(building)
    await lived_at(building, clock, 17.0, 70)
    assert told(building) == [("comfort_breach", "raised", "101")]
    assert clock.wall_ms() - T0 < 2 * HOUR_MS


@pytest.mark.requirement("DEV-08")
async def test_a_guest_in_a_room_that_is_not_cooled_down_is_a_breach_after_an_hour(
    building: Building, clock: ManualClock
) -> None:
    await moved_in(building)
    await lived_at(building, clock, 25.5, 55, occupied_cooling_setpoint=23.0, system_mode="cool")
    assert told(building) == []
    await lived_at(building, clock, 24.7, 10, occupied_cooling_setpoint=23.0, system_mode="cool")
    assert told(building) == [("comfort_breach", "raised", "101")], "within the margin it is still the same hour"
    assert [each["detail"] for each in up(building)] == ["too warm: 24.7 instead of 23 Cel"]
    await lived_at(building, clock, 23.5, 10, occupied_cooling_setpoint=23.0, system_mode="cool")
    assert told(building)[1:] == [("comfort_breach", "cleared", "101")]


@pytest.mark.requirement("DEV-08")
@pytest.mark.parametrize("reason", ["set back", "window", "just switched on", "switched off", "within", "weather"])
async def test_a_warm_room_that_nobody_wants_cooler_is_no_breach(
    building: Building, clock: ManualClock, reason: str
) -> None:
    cooling: dict[str, float | str] = {"occupied_cooling_setpoint": 22.0, "system_mode": "cool"}
    if reason != "set back":
        await moved_in(building)
    if reason == "window":
        building.noted(said("contact-101", Capability.BOOLEAN_STATE, "state_value:window", False))
        await pass_time(building, clock, 3)
        await building.work()
    elif reason == "just switched on":
        await lived_at(building, clock, 27.0, 120, occupied_cooling_setpoint=22.0, system_mode="off")
        await lived_at(building, clock, 27.0, 50, **cooling)
        assert told(building) == []
        return
    elif reason == "switched off":
        cooling["system_mode"] = "off"
    elif reason == "weather":
        cooling = {"outdoor_temperature": 29.0}
    await lived_at(building, clock, 23.9 if reason == "within" else 27.0, 120, **cooling)
    assert "comfort_breach" not in [each[0] for each in told(building)]


@pytest.mark.requirement("DEV-08")
async def test_where_nothing_cools_it_is_held_against_the_guests_choice_or_the_air_outside(
    building: Building, clock: ManualClock
) -> None:
    await moved_in(building)
    await lived_at(building, clock, 25.0, 70, outdoor_temperature=2.0)
    assert told(building) == [], "21.5 and less than four more"
    await lived_at(building, clock, 26.5, 70, outdoor_temperature=2.0)
    assert told(building) == [("comfort_breach", "raised", "101")], "a valve that does not close"
    assert "nothing here cools" in up(building)[0]["detail"]


@pytest.mark.requirement("DEV-08")
async def test_an_hour_too_cold_and_a_minute_too_warm_are_two_things(building: Building, clock: ManualClock) -> None:
    await moved_in(building)
    await lived_at(building, clock, 17.0, 50)
    await lived_at(building, clock, 27.0, 50, occupied_cooling_setpoint=22.0, system_mode="cool")
    assert told(building) == []
    await lived_at(building, clock, 27.0, 15, occupied_cooling_setpoint=22.0, system_mode="cool")
    assert told(building) == [("comfort_breach", "raised", "101")]
    await lived_at(building, clock, 17.0, 70)
    assert [each["state"] for each in every_alert(building) if each["alert"] == "comfort_breach"] == [
        "raised",
        "cleared",
        "raised",
    ]
    assert [each["detail"] for each in up(building)] == ["too cold: 17 instead of 21.5 Cel"]


@pytest.mark.requirement("DEV-08")
async def test_a_guest_who_wants_it_cooler_than_the_house_heats_is_not_cold(
    building: Building, clock: ManualClock
) -> None:
    await moved_in(building)
    await lived_at(building, clock, 19.0, 120, occupied_cooling_setpoint=19.0, system_mode="cool")
    assert told(building) == []


@pytest.mark.guarantee("G11")
async def test_no_breach_and_no_fault_ends_by_silence_after_a_restart(building: Building, clock: ManualClock) -> None:
    fault = said("contact-101", Capability.FAULT_STATE, "active:jam", True)
    await moved_in(building)
    building.noted(fault)
    await lived_at(building, clock, 17.0, 70)
    both = {("comfort_breach", "raised", "101"), ("device_fault", "raised", "101")}
    assert set(told(building)) - {("stale", "raised", "101")} == both
    await building.restart()
    await pass_time(building, clock, 15)
    assert set(told(building)) - {("stale", "raised", "101")} == both
    await lived_at(building, clock, 21.0, 10)
    building.noted(said("contact-101", Capability.FAULT_STATE, "active:jam", False))
    await pass_time(building, clock, 6)
    assert {("comfort_breach", "cleared", "101"), ("device_fault", "cleared", "101")} <= set(told(building))


def never_heard(building: Building) -> dict[str, list[str]]:
    """Return what was told of things that never spoke: by device, raised and cleared in order."""
    found: dict[str, list[str]] = {}
    for each in every_alert(building):
        if each["detail"].startswith("never heard"):
            assert each["alert"] == "stale"
            found.setdefault(each["device"], []).append(each["state"])
    return found


@pytest.mark.requirement("DEV-08")
@pytest.mark.guarantee("G17")
async def test_a_thing_that_never_spoke_is_told_with_since_when(building: Building, clock: ManualClock) -> None:
    heard = set(building.house.view.everyone()) - {DeviceId("motion-102")}
    for _ in range(4):
        for name in heard:
            building.noted(said(name, Capability.NETWORK_DIAGNOSTICS, "link_quality", 90))
        assert every_alert(building) == []
        await pass_time(building, clock, 8)
    [alert] = every_alert(building)
    assert (alert["alert"], alert["device"], alert["room"]) == ("stale", "motion-102", "102")
    assert alert["detail"] == "never heard since 2026-01-01 00:00 UTC"
    building.noted(said("motion-102", Capability.OCCUPANCY_SENSING, "occupancy", False))
    await pass_time(building, clock, 6)
    assert never_heard(building) == {"motion-102": ["raised", "cleared"]}


@pytest.mark.guarantee("G11", "G17")
async def test_after_a_restart_what_never_spoke_stays_told_and_nothing_else_is_told_at_once(
    building: Building, clock: ManualClock
) -> None:
    everyone = set(building.house.view.everyone())
    dead, sleepy = "motion-102", "contact-102"
    for _ in range(7):
        for name in everyone - {DeviceId(dead), DeviceId(sleepy)}:
            building.noted(said(name, Capability.NETWORK_DIAGNOSTICS, "link_quality", 90))
        if clock.wall_ms() - T0 >= 20 * MINUTE_MS:  # spoken just in time
            building.noted(said(sleepy, Capability.BOOLEAN_STATE, "state_value", True))
        await pass_time(building, clock, 5)
    assert never_heard(building) == {dead: ["raised"]}
    await building.restart()
    await pass_time(building, clock, 25)
    assert never_heard(building) == {dead: ["raised"]}, "the others have not had their half hour yet"
    assert [each["device"] for each in building.house.watch.alerts()] == [dead]
    await pass_time(building, clock, 10)
    assert never_heard(building) == {str(each): ["raised"] for each in everyone}
    details = {each["detail"] for each in building.house.watch.alerts() if each["device"] != dead}
    assert details == {"never heard since 2026-01-01 00:35 UTC"}, "by this edge, since it began again"


async def test_who_sleeps_by_its_descriptor_is_waited_for(building: Building, clock: ManualClock) -> None:
    sleepy = building.plan.devices[0]
    known = {sleepy.descriptor: Model(sleeps_ms=2 * HOUR_MS)}
    building.house._model_of = lambda name: known.get(name, UNKNOWN)
    await pass_time(building, clock, 125)
    assert set(never_heard(building)) == {str(each.id) for each in building.plan.doors}
    await pass_time(building, clock, 10)
    assert str(sleepy.id) in never_heard(building)


@pytest.mark.guarantee("G17")
async def test_a_bad_word_grows_old_and_a_bus_that_says_nobody_answers_is_no_word(
    building: Building, clock: ManualClock
) -> None:
    def bad(device: str, reason: str) -> Reading:
        name = DeviceId(device)
        return Reading(name, Capability.THERMOSTAT, "local_temperature", None, None, Quality.BAD, reason=reason)

    building.noted(bad("thermostat-101", "no_value"))
    await pass_time(building, clock, 22)
    assert [(each["device"], each["detail"]) for each in building.house.watch.alerts()] == [
        ("thermostat-101", "nothing it said is fresh")
    ]
    for _ in range(3):
        building.noted(bad("light-101", "no_answer"))
        building.noted(bad("light-102", "not_this_model"))
        await pass_time(building, clock, 4)
    details = {each["device"]: each["detail"] for each in building.house.watch.alerts()}
    assert details["light-101"] == "never heard since 2026-01-01 00:00 UTC"
    assert details["light-102"] == "another model answers at its address"


@pytest.mark.guarantee("G11", "G17")
async def test_a_dead_thing_stays_told_over_a_restart_until_it_speaks_or_is_taken_out(
    building: Building, clock: ManualClock
) -> None:
    warm = said("thermostat-101", Capability.THERMOSTAT, "local_temperature", 20.0, Unit.CELSIUS)
    building.noted(warm)
    await pass_time(building, clock, 25)
    assert told(building) == [("stale", "raised", "101")]
    await building.restart()
    await pass_time(building, clock, 25)
    assert told(building) == [("stale", "raised", "101")], "nothing was heard of it"
    building.noted(warm)
    await pass_time(building, clock, 6)
    assert told(building) == [("stale", "raised", "101"), ("stale", "cleared", "101")]


@pytest.mark.guarantee("G17")
async def test_the_last_word_of_a_dead_thermometer_is_no_temperature(building: Building, clock: ManualClock) -> None:
    """Neither a breach, nor an hour of saving: what nobody measures is not known."""
    await moved_in(building)
    cold = said("thermostat-101", Capability.THERMOSTAT, "local_temperature", 17.0, Unit.CELSIUS)
    building.noted(cold)
    await pass_time(building, clock, 10)
    building.house.rooms.reached(DeviceId("thermostat-101"), reached=False)
    await pass_time(building, clock, 70)
    assert ("comfort_breach", "raised", "101") not in told(building)
    building.noted(cold)
    for _ in range(8):
        clock.advance(HOUR_MS // 2)
        outdoors = said("motion-102", Capability.THERMOSTAT, "outdoor_temperature", 5.0, Unit.CELSIUS)
        building.noted(outdoors)
        await pass_time(building, clock, 1)
    [room] = [each for each in building.house.watch.energy()["rooms"] if each["room"] == "101"]
    [month] = room["months"]
    assert month["unknown_hours"] > 1.1, "and the hour after its last word"
    assert month["hours"] < 0.2
    assert building.house.rooms.sense(RoomId("101")).warmth(now_ms=clock.now_ms()) is None


@pytest.mark.requirement("DEV-08")
async def test_the_battery_of_a_thing_that_was_taken_out_concerns_nobody(
    building: Building, clock: ManualClock
) -> None:
    for percent in (20.0, 18.0, 16.0, 14.0, 12.0, 10.0, 8.0, 6.0, 4.0):
        building.noted(said("motion-101", Capability.POWER_SOURCE, "bat_percent_remaining", percent, Unit.PERCENT))
        clock.advance(24 * HOUR_MS)
    await building.house.watch.look()
    assert ("battery_low", "raised", "101") in told(building)
    rooms = {each.id: each.room for each in building.plan.devices if each.id != "motion-101"}
    building.house.view.serve(rooms, {})
    await pass_time(building, clock, 6)
    assert ("battery_low", "cleared", "101") in told(building)
    assert [each for each in building.house.watch.alerts() if each["alert"] == "battery_low"] == []


@pytest.mark.requirement("P16", "A9")
async def test_a_locks_cells_are_told_at_30_15_and_5_percent_and_new_ones_end_it(
    building: Building, clock: ManualClock
) -> None:
    def cells(percent: float) -> Reading:
        return said(LOCK, Capability.POWER_SOURCE, "bat_percent_remaining", percent, Unit.PERCENT)

    bolt = said(LOCK, Capability.DOOR_LOCK, "lock_state", "locked")
    for percent, raised in ((31, 0), (30, 1), (16, 1), (15, 2), (6, 2), (5, 3)):
        building.noted(bolt)
        building.noted(cells(percent))
        await building.house.watch.look()
        assert len([each for each in told(building) if each[1] == "raised"]) == raised
    assert [kind for kind, state, _ in told(building) if state == "raised"] == [
        "lock_battery_plan",
        "lock_battery_low",
        "lock_battery_empty",
    ]
    await pass_time(building, clock, 6)
    await building.restart()
    await pass_time(building, clock, 10)  # the lock has not been heard again: that ends nothing
    [shown] = up(building)
    assert (shown["alert"], shown["device"]) == ("lock_battery_empty", LOCK)
    assert "nobody new is checked in" in shown["detail"]
    building.noted(bolt)
    building.noted(cells(98))
    await pass_time(building, clock, 6)
    assert up(building) == []


@pytest.mark.requirement("DEV-11")
async def test_a_fault_that_a_device_tells_is_one_alert_that_names_it(building: Building, clock: ManualClock) -> None:
    def fault(which: str, *, so: bool) -> Reading:
        return said("contact-101", Capability.FAULT_STATE, f"active:{which}", so)

    building.noted(fault("paper_out", so=True))
    await pass_time(building, clock, 3)
    assert told(building) == [("device_fault", "raised", "101")]
    assert [each["detail"] for each in up(building)] == ["paper out"]
    building.noted(fault("paper_out", so=False))
    await pass_time(building, clock, 6)
    assert told(building)[-1] == ("device_fault", "cleared", "101")
