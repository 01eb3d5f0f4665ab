"""What stands, through the house: one alert a device, told once each way, over a restart, and a swap begins anew."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kit.clock import ManualClock
from protocols.device_model.capability import Capability, Unit
from protocols.device_model.identity import DeviceId
from protocols.link.lanes import Lane
from tests.edge.world import T0, Building, said

THERMOSTAT = DeviceId("thermostat-101")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(now_ms=1_000_000, wall_ms=T0)


@pytest.fixture
async def building(clock: ManualClock, tmp_path: Path) -> AsyncIterator[Building]:
    building = Building(clock, path=tmp_path / "edge.db")
    yield building
    await building.store.close()


async def pass_hours(building: Building, clock: ManualClock, hours: int, celsius: float | None) -> None:
    """A word every ten minutes; None: what moves by a tenth each time."""
    for step in range(hours * 6):
        value = 20.0 + step % 7 / 10 if celsius is None else celsius
        building.noted(said(THERMOSTAT, Capability.THERMOSTAT, "local_temperature", value, Unit.CELSIUS))
        clock.advance(600_000)
        await building.house.watch.look()


def frozen(building: Building) -> list[tuple[str, str]]:
    bodies = [each.body for each in building.log.records(Lane.B, "alert") if each.body["state"] != "standing"]
    return [(each["state"], each["device"]) for each in bodies if each["alert"] == "frozen"]


@pytest.mark.requirement("DEV-08")
@pytest.mark.guarantee("G11", "G17")
async def test_a_frozen_sensor_is_one_alert_over_a_restart_until_it_moves(
    building: Building, clock: ManualClock
) -> None:
    await pass_hours(building, clock, 30, None)
    await pass_hours(building, clock, 20, 21.3)
    assert frozen(building) == [], "nobody of its model speaks against it: three times as long"
    await pass_hours(building, clock, 6, 21.3)
    assert frozen(building) == [("raised", THERMOSTAT)]
    [up] = [each for each in building.house.watch.alerts() if each["alert"] == "frozen"]
    assert (up["room"], up["detail"]) == ("101", "thermostat.local_temperature says 21.3 for 24 h")
    await building.restart()
    await pass_hours(building, clock, 2, 21.3)
    assert frozen(building) == [("raised", THERMOSTAT)]
    await pass_hours(building, clock, 1, None)
    assert frozen(building) == [("raised", THERMOSTAT), ("cleared", THERMOSTAT)]


async def test_another_thing_behind_the_name_begins_anew(building: Building, clock: ManualClock) -> None:
    await pass_hours(building, clock, 30, None)
    await pass_hours(building, clock, 26, 21.3)
    assert frozen(building) == [("raised", THERMOSTAT)]
    building.house.watch.renewed(THERMOSTAT)
    await pass_hours(building, clock, 1, 21.3)
    assert frozen(building) == [("raised", THERMOSTAT), ("cleared", THERMOSTAT)]
    await building.restart()
    await pass_hours(building, clock, 1, 21.3)
    assert frozen(building)[2:] == []
