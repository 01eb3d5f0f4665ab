"""A new site plan that contradicts what was bound: the plan stands for that device, all else is bound as ever."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from protocols.device_model.identity import DeviceId, RoomId
from protocols.device_model.site_plan import Address
from tests.edge.binding.desk import LAMP, ZIGBEE, Life, ana, lamp


@pytest.mark.requirement("DEV-01")
async def test_a_contradiction_is_told_until_somebody_ends_it_and_costs_nobody_else(tmp_path: Path) -> None:
    life = await Life.begin(tmp_path)
    await life.desk.bind(DeviceId("lamp-a"), lamp("101", "radio-1"), ana(), found_id=None)
    await life.desk.bind(DeviceId("lamp-b"), lamp("102", "radio-2"), ana(), found_id=None)
    address = Address(ZIGBEE, friendly_name="radio-3")
    await life.desk.swap(DeviceId("light-101"), LAMP, address, ana(), accept_less=False, found_id=None)
    # The engineer's new plan gives radio-1 to light-102, and has no light-101's room any more.
    old = life.building.plan
    devices = [
        replace(each, address=Address(ZIGBEE, friendly_name="radio-1")) if each.id == "light-102" else each
        for each in old.devices
    ]
    life.building.plan = replace(old, devices=tuple(devices))
    await life.again()
    now = life.building.house.plan
    assert now is not None
    at = {each.id: each.address.friendly_name for each in now.devices}
    assert at[DeviceId("light-102")] == "radio-1"
    assert DeviceId("lamp-a") not in at
    assert (at[DeviceId("lamp-b")], at[DeviceId("light-101")]) == ("radio-2", "radio-3")
    told = life.desk.listed()[DeviceId("lamp-a")]
    assert told["version"] == 1
    assert "radio-1" in str(told["conflict"])
    # Bound elsewhere, it is no contradiction any more; the version goes on.
    await life.desk.bind(DeviceId("lamp-a"), lamp("101", "radio-4"), ana(1), found_id=None)
    assert life.desk.device(DeviceId("lamp-a"))["conflict"] is None
    await life.again()
    assert life.desk.listed()[DeviceId("lamp-a")] == {"version": 2, "conflict": None}
    assert life.building.house.view.room_of(DeviceId("lamp-a")) == RoomId("101")
    await life.end()
