"""Alerts through the house: a record on lane B, once each way, whatever is killed; energy and batteries survive."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kit.clock import ManualClock
from protocols.device_model.capability import Capability, Unit
from protocols.device_model.identity import DeviceId, RoomId
from protocols.device_model.reading import Reading
from protocols.errors import StoreFailedError
from protocols.link.lanes import Lane
from tests.edge.world import HOUR_MS, T0, Building, contact, said

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


def told(building: Building) -> list[tuple[str, str, str]]:
    records = [each for each in building.log.records(Lane.B, "alert") if each.body["state"] != "standing"]
    return [(each.body["alert"], each.body["state"], each.body["room"]) for each in records]


@pytest.mark.guarantee("G11")
@pytest.mark.requirement("DEV-08")
async def test_a_propped_door_is_told_once_and_its_closing_once_through_restarts(
    building: Building, clock: ManualClock
) -> None:
    await building.heard(contact("101", closed=True), contact("101", closed=False))
    await pass_time(building, clock, 15)
    assert told(building) == [("door_propped", "raised", "101")]
    [shown] = building.house.watch.alerts()
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
    assert building.house.watch.alerts() == []


@pytest.mark.guarantee("G11")
async def test_what_the_log_refused_is_told_when_it_takes_it_again_and_once(
    building: Building, clock: ManualClock
) -> None:
    building.log.fail = True
    leak = said("contact-101", Capability.BOOLEAN_STATE, "state_value:leak", True)
    building.house.noted(leak)
    with pytest.raises(StoreFailedError):
        await building.house.watch.look()
    await building.restart()  # the book is kept, the log has nothing
    building.log.fail = False
    building.house.noted(leak)
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

    building.house.noted(leak(True))
    await building.heard(contact("101", closed=True), contact("101", closed=False))
    await pass_time(building, clock, 15)
    both = [("leak", "raised", "101"), ("door_propped", "raised", "101")]
    assert told(building) == both
    await building.restart()  # the sensors say nothing: there was no change
    await pass_time(building, clock, 30)
    assert told(building) == both
    building.house.noted(leak(False))
    await building.heard(contact("101", closed=True))
    await pass_time(building, clock, 6)
    assert sorted(told(building)[2:]) == [("door_propped", "cleared", "101"), ("leak", "cleared", "101")]


async def test_water_is_raised_at_once_and_not_at_the_next_half_minute(building: Building) -> None:
    watching = asyncio.create_task(building.house.watch.run())
    try:
        await asyncio.sleep(0)
        building.house.noted(said("contact-101", Capability.BOOLEAN_STATE, "state_value:leak", True))
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
    building.house.noted(leak)
    await pass_time(building, clock, 2)
    assert standing() == [[]]
    await building.restart()
    building.house.noted(leak)
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
        building.house.noted(said(thermostat, Capability.THERMOSTAT, "local_temperature", celsius, cel))
        building.house.noted(said(thermostat, Capability.THERMOSTAT, "outdoor_temperature", outdoor_c, cel))
        building.house.noted(
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


async def test_a_guest_in_a_cold_room_is_a_breach_after_an_hour(building: Building, clock: ManualClock) -> None:
    from tests.edge.world import a_document, a_stay

    await building.house.desired("stays", 1, a_document(a_stay(state="in_house")))
    await building.opened()
    await building.work()
    for _ in range(7):
        cold = said("thermostat-101", Capability.THERMOSTAT, "local_temperature", 17.0, Unit.CELSIUS)
        building.house.noted(cold)
        await pass_time(building, clock, 10)
    assert told(building) == [("comfort_breach", "raised", "101")]
    assert clock.wall_ms() - T0 < 2 * HOUR_MS


@pytest.mark.guarantee("G11", "G17")
async def test_a_dead_thing_stays_told_over_a_restart_until_it_speaks_or_is_taken_out(
    building: Building, clock: ManualClock
) -> None:
    warm = said("thermostat-101", Capability.THERMOSTAT, "local_temperature", 20.0, Unit.CELSIUS)
    building.house.noted(warm)
    await pass_time(building, clock, 25)
    assert told(building) == [("stale", "raised", "101")]
    await building.restart()
    await pass_time(building, clock, 25)
    assert told(building) == [("stale", "raised", "101")], "nothing was heard of it"
    building.house.noted(warm)
    await pass_time(building, clock, 6)
    assert told(building) == [("stale", "raised", "101"), ("stale", "cleared", "101")]


@pytest.mark.guarantee("G17")
async def test_the_last_word_of_a_dead_thermometer_is_no_temperature(building: Building, clock: ManualClock) -> None:
    """Neither a breach, nor an hour of saving: what nobody measures is not known."""
    from tests.edge.world import a_document, a_stay

    await building.house.desired("stays", 1, a_document(a_stay(state="in_house")))
    await building.opened()
    await building.work()
    cold = said("thermostat-101", Capability.THERMOSTAT, "local_temperature", 17.0, Unit.CELSIUS)
    building.house.noted(cold)
    await pass_time(building, clock, 10)
    building.house.rooms.reached(DeviceId("thermostat-101"), reached=False)
    await pass_time(building, clock, 70)
    assert ("comfort_breach", "raised", "101") not in told(building)
    building.house.noted(cold)
    for _ in range(8):
        clock.advance(HOUR_MS // 2)
        outdoors = said("motion-102", Capability.THERMOSTAT, "outdoor_temperature", 5.0, Unit.CELSIUS)
        building.house.noted(outdoors)
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
        building.house.noted(
            said("motion-101", Capability.POWER_SOURCE, "bat_percent_remaining", percent, Unit.PERCENT)
        )
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
        building.house.noted(bolt)
        building.house.noted(cells(percent))
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
    [shown] = building.house.watch.alerts()
    assert (shown["alert"], shown["device"]) == ("lock_battery_empty", LOCK)
    assert "nobody new is checked in" in shown["detail"]
    building.house.noted(bolt)
    building.house.noted(cells(98))
    await pass_time(building, clock, 6)
    assert building.house.watch.alerts() == []


@pytest.mark.requirement("DEV-11")
async def test_a_fault_that_a_device_tells_is_one_alert_that_names_it(building: Building, clock: ManualClock) -> None:
    def fault(which: str, *, so: bool) -> Reading:
        return said("contact-101", Capability.FAULT_STATE, f"active:{which}", so)

    building.house.noted(fault("paper_out", so=True))
    await pass_time(building, clock, 3)
    assert told(building) == [("device_fault", "raised", "101")]
    assert [each["detail"] for each in building.house.watch.alerts()] == ["paper out"]
    building.house.noted(fault("paper_out", so=False))
    await pass_time(building, clock, 6)
    assert told(building)[-1] == ("device_fault", "cleared", "101")
