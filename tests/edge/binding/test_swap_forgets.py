"""What is remembered by a device's name is the name's or the thing's: a swap, a move or another plan tells which."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from protocols.device_model.binding import Place
from protocols.device_model.capability import Capability, Unit
from protocols.device_model.identity import DescriptorId, DeviceId, RoomId
from protocols.device_model.reading import Reading
from protocols.device_model.site_plan import Address, Device
from tests.edge.binding.desk import LAMP, ZIGBEE, Life, ana
from tests.edge.world import a_document, a_stay, contact, said

MINUTE_MS = 60_000
PLUG = DescriptorId("zigbee2mqtt/innr_sp_240")
METER, ROOM = DeviceId("plug-101"), RoomId("101")


@pytest.fixture
async def life(tmp_path: Path) -> AsyncIterator[Life]:
    life = await Life.begin(tmp_path)
    yield life
    await life.end()


def at(name: str) -> Address:
    return Address(ZIGBEE, friendly_name=name)


def stands(kwh: float, device: str = METER) -> Reading:
    return said(device, Capability.ELECTRICAL_MEASUREMENT, "cumulative_energy_imported", kwh, Unit.KILOWATT_HOUR)


def battery(percent: float, device: str = "contact-101") -> Reading:
    return said(device, Capability.POWER_SOURCE, "bat_percent_remaining", percent, Unit.PERCENT)


def metered(life: Life, room: str = "101") -> float:
    rooms: list[dict[str, Any]] = life.building.house.watch.energy()["rooms"]
    return float(sum(month["metered_kwh"] for each in rooms if each["room"] == room for month in each["months"]))


async def pass_time(life: Life, minutes: int) -> None:
    for _ in range(2 * minutes):
        life.building.clock.advance(MINUTE_MS // 2)  # type: ignore[attr-defined]  # a ManualClock
        await life.building.house.watch.look()


def up(life: Life) -> set[tuple[str, str | None]]:
    return {(each["alert"], each["device"]) for each in life.building.house.watch.alerts()}


async def swapped(life: Life, device: str, name: str, descriptor: DescriptorId | None = None, version: int = 0) -> None:
    now = life.desk.device(DeviceId(device))["place"]["descriptor"]
    await life.desk.swap(
        DeviceId(device), descriptor or DescriptorId(now), at(name), ana(version), accept_less=True, found_id=None
    )


@pytest.mark.requirement("DEV-04", "DEV-06")
@pytest.mark.guarantee("G2")
@pytest.mark.parametrize("how", ["swap", "swap, killed before it was kept", "unbind and bind", "there and back"])
async def test_a_new_meter_counts_from_where_it_stands(life: Life, how: str) -> None:
    await life.desk.bind(METER, Place(ROOM, PLUG, at("plug-101")), ana(), found_id=None)
    life.building.noted(stands(40.0))
    life.building.noted(stands(42.0))
    await pass_time(life, 16)
    assert metered(life) == pytest.approx(2.0)
    if how.startswith("swap"):
        await swapped(life, METER, "plug-new", version=1)
        if "killed" in how:
            await life.again()
    else:
        await life.desk.unbind(METER, ana(1))
        if how == "there and back":
            await life.desk.bind(METER, Place(RoomId("102"), PLUG, at("plug-101")), ana(2), found_id=None)
            life.building.noted(stands(42.0))
            life.building.noted(stands(90.0))
            assert metered(life, "102") == pytest.approx(48.0)
            await life.desk.unbind(METER, ana(3))
        await life.desk.bind(
            METER, Place(ROOM, PLUG, at("plug-new")), ana(life.desk._book.version(METER)), found_id=None
        )
    life.building.noted(stands(95.0))
    assert metered(life) == pytest.approx(2.0), "nobody used the other 53"
    life.building.noted(stands(96.0))
    assert metered(life) == pytest.approx(3.0)


@pytest.mark.requirement("DEV-04")
@pytest.mark.guarantee("G2")
async def test_another_site_plan_makes_another_meter_and_another_battery(life: Life) -> None:
    building = life.building
    building.plan = replace(building.plan, devices=(*building.plan.devices, Device(METER, ROOM, PLUG, at("plug-101"))))
    await life.again()
    building.noted(stands(40.0))
    building.noted(stands(42.0))
    building.noted(battery(3.0))
    await pass_time(life, 16)
    await life.again()  # the same plan
    building.noted(stands(43.0))
    assert metered(life) == pytest.approx(3.0)
    assert [each["device"] for each in building.house.watch.batteries()] == ["contact-101"]
    await pass_time(life, 16)
    others = {METER: at("plug-new"), DeviceId("contact-101"): at("contact-new")}
    devices = [replace(each, address=others.get(each.id, each.address)) for each in building.plan.devices]
    building.plan = replace(building.plan, devices=tuple(devices))
    await life.again()
    building.noted(stands(95.0))
    assert metered(life) == pytest.approx(3.0)
    assert building.house.watch.batteries() == []


@pytest.mark.requirement("DEV-06", "DEV-08")
async def test_the_battery_of_what_was_swapped_out_raises_and_forecasts_nothing(life: Life) -> None:
    life.building.noted(battery(4.0))
    await pass_time(life, 2)
    assert ("battery_low", "contact-101") in up(life)
    await swapped(life, "contact-101", "contact-new")
    await pass_time(life, 6)
    assert ("battery_low", "contact-101") not in up(life)
    life.building.noted(battery(23.0))
    assert [each["percent"] for each in life.building.house.watch.batteries()] == [23.0]


@pytest.mark.requirement("DEV-06", "DEV-08")
@pytest.mark.guarantee("G11")
async def test_the_fault_of_what_was_swapped_out_is_over_with_it_also_after_a_kill(life: Life) -> None:
    fault = said("thermostat-101", Capability.FAULT_STATE, "active:valve", True)
    life.building.noted(fault)
    await pass_time(life, 3)
    assert ("device_fault", "thermostat-101") in up(life)
    await swapped(life, "thermostat-101", "thermostat-new")
    await life.again()
    await pass_time(life, 2)
    assert ("device_fault", "thermostat-101") not in up(life)
    life.building.noted(fault)
    await pass_time(life, 3)
    assert ("device_fault", "thermostat-101") in up(life), "the new one says so too"


@pytest.mark.requirement("DEV-06", "DEV-08")
async def test_the_door_of_a_contact_that_was_let_go_is_not_open_for_ever(life: Life) -> None:
    await life.building.heard(contact("101", closed=True), contact("101", closed=False))
    await pass_time(life, 12)
    assert ("door_propped", None) in up(life)
    await swapped(life, "contact-101", "contact-new")
    await pass_time(life, 12)
    assert ("door_propped", None) in up(life), "nobody has said that it is shut"
    await life.desk.unbind(DeviceId("contact-101"), ana(1))
    await pass_time(life, 6)
    assert ("door_propped", None) not in up(life)


@pytest.mark.requirement("DEV-10")
async def test_a_panel_that_is_gone_does_not_ask_for_quiet_for_ever(life: Life) -> None:
    panel = said("thermostat-101", Capability.ROOM_REQUEST, "do_not_disturb", True)
    rooms = life.building.house.rooms
    life.building.noted(panel)
    assert rooms.sense(ROOM).do_not_disturb
    await swapped(life, "thermostat-101", "thermostat-new")  # which has no such button
    assert not rooms.sense(ROOM).do_not_disturb
    life.building.noted(panel)
    await life.desk.unbind(DeviceId("thermostat-101"), ana(1))
    assert not rooms.sense(ROOM).do_not_disturb


@pytest.mark.requirement("DEV-06", "DEV-08")
async def test_water_is_told_until_the_new_sensor_says_otherwise_or_there_is_none(life: Life) -> None:
    life.building.noted(said("contact-101", Capability.BOOLEAN_STATE, "state_value:leak", True))
    await pass_time(life, 1)
    assert ("leak", "contact-101") in up(life)
    await swapped(life, "contact-101", "leak-new", DescriptorId("zigbee2mqtt/aqara_sjcgq11lm"))
    await pass_time(life, 10)
    assert ("leak", "contact-101") in up(life), "nobody has said that it is dry"
    await swapped(life, "contact-101", "lamp", LAMP, version=1)
    await pass_time(life, 1)
    assert ("leak", "contact-101") not in up(life)


@pytest.mark.requirement("DEV-06")
async def test_a_wish_that_the_last_thing_met_is_told_to_the_new_one(life: Life) -> None:
    building = life.building
    devices = building.devices
    devices.outcomes = []
    await building.house.desired("stays", 1, a_document(a_stay(state="in_house")))
    await building.opened()
    for write in building.house.rooms.think():
        await building.house.rooms.carry_out(write)
    before = [each for each in devices.effects if each[0] == "light-101"]
    assert before
    open_wishes = building.house.rooms.desired(ROOM)
    assert any(DeviceId("light-101") in each.met for each in open_wishes)
    await swapped(life, "light-101", "lamp-new")
    building.clock.advance(3_000)  # type: ignore[attr-defined]  # a ManualClock
    await building.work()
    assert [each for each in devices.effects if each[0] == "light-101"] == [*before, before[-1]]


@pytest.mark.guarantee("G9")
@pytest.mark.requirement("DEV-11")
async def test_a_new_detector_is_believed_though_the_last_one_was_overruled(life: Life) -> None:
    smoke = said("contact-101", Capability.SMOKE_CO_ALARM, "smoke_state", "critical")
    fire = life.building.house.fire
    fire.heard(smoke)
    assert fire.told()["active"]
    fire.clear()
    fire.heard(smoke)
    assert not fire.told()["active"], "a person said that it is none"
    await swapped(life, "contact-101", "detector-new")
    fire.heard(smoke)
    assert fire.told()["active"]


@pytest.mark.requirement("DEV-06")
async def test_a_bound_thermostat_is_remembered_over_a_restart_as_a_planned_one_is(life: Life) -> None:
    name = DeviceId("thermostat-new")
    model = DescriptorId(life.desk.device(DeviceId("thermostat-101"))["place"]["descriptor"])
    await life.desk.bind(name, Place(ROOM, model, at("t-new")), ana(), found_id=None)
    heating = said(name, Capability.THERMOSTAT, "occupied_heating_setpoint", 23.5, Unit.CELSIUS)
    await life.building.heard(heating)
    await life.building.work()
    await life.again()
    assert life.building.house.rooms._returns.held_c(name) == 23.5
