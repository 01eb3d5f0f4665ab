"""A command to a room: to all that take it, or to the one that is named, and to no other room's."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

from edge.app.devices import BusWriter
from edge.app.facades import carrier
from edge.rooms.commands import RoomCommand, from_body
from kit.clock import ManualClock
from protocols.device_model import site_plan
from protocols.device_model.capability import Capability
from protocols.device_model.command import Command, Outcome, Phase
from protocols.device_model.identity import DeviceId, RoomId
from protocols.errors import InvalidInputError
from protocols.link.lanes import Lane
from tests.edge.world import T0, Building

ROOM = RoomId("101")


@pytest.fixture
async def building(tmp_path: Path) -> Any:
    building = Building(ManualClock(now_ms=1_000_000, wall_ms=T0), path=tmp_path / "edge.db")
    lamp = next(each for each in building.plan.devices if each.id == "light-101")
    address = msgspec.structs.replace(lamp.address, friendly_name="light-101-bath")
    bath = msgspec.structs.replace(lamp, id=DeviceId("light-101-bath"), address=address)
    building.plan = site_plan.parse(
        site_plan.encode(msgspec.structs.replace(building.plan, devices=(*building.plan.devices, bath)))
    )
    await building.store.close()
    building.house = building._new()
    yield building
    await building.store.close()


def command(key: str, **changes: Any) -> RoomCommand:
    fields: Mapping[str, Any] = {"value": True, "room": ROOM, "device": None, **changes}
    return RoomCommand(
        id=f"c-{key}",
        capability=Capability.ON_OFF,
        attribute="on_off",
        deadline_ms=T0 + 10_000,
        idempotency_key=f"key-{key}",
        by="desk",
        **fields,
    )


@pytest.mark.requirement("DEV-03")
async def test_one_lamp_of_two_is_switched_and_a_room_command_switches_both(building: Building) -> None:
    rooms, bath = building.house.rooms, DeviceId("light-101-bath")
    assert (await rooms.command(command("1", device=bath))).phase is Phase.DONE
    assert building.devices.effects == [(bath, "on_off", True)]
    assert (await rooms.command(command("2", value=False))).phase is Phase.DONE
    assert sorted(device for device, *_ in building.devices.effects[1:]) == ["light-101", bath]


@pytest.mark.guarantee("G13")
async def test_a_device_of_another_room_or_none_is_refused_and_a_key_means_one_device(building: Building) -> None:
    rooms = building.house.rooms
    for stranger in ("light-102", "motion-101", "nobody"):
        with pytest.raises(InvalidInputError, match="is none that takes"):
            await rooms.command(command(stranger, device=DeviceId(stranger)))
    assert building.devices.effects == []
    await rooms.command(command("1", device=DeviceId("light-101")))
    with pytest.raises(InvalidInputError, match="was used for"):
        await rooms.command(command("1", device=DeviceId("light-101-bath")))


async def test_which_device_was_meant_is_on_record_and_read_back(building: Building) -> None:
    one, all_ = command("1", device=DeviceId("light-101")), command("2")
    for asked in (one, all_):
        await building.house.rooms.command(asked)
        found = from_body(asked.to_body(Outcome(Phase.ACCEPTED)))
        assert found is not None
        assert found[0] == asked
    bodies = [each.body for each in building.log.records(Lane.A, "command")]
    assert [each.get("device") for each in bodies] == ["light-101", "light-101", None, None]
    assert all(("device" in each) == (each["id"] == "c-1") for each in bodies)


async def test_another_platform_switches_the_lamp_that_it_shows(building: Building) -> None:
    carry = carrier(building.house, cast("BusWriter", building.devices), by="home-assistant")
    bath = DeviceId("light-101-bath")
    asked = Command("ha-1", bath, Capability.ON_OFF, "on_off", True, T0 + 10_000, "ha-1")
    assert (await carry(ROOM, asked)).phase is Phase.DONE
    assert building.devices.effects == [(bath, "on_off", True)]
