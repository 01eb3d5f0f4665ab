"""A key at two far doors becomes an alert: at once, once, through restarts, over when somebody has had half a day."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edge.app.watch import FAR_APART_MS
from edge.rooms.alerts import GONE_LEAST_MS
from kit.clock import ManualClock
from protocols.link.lanes import Lane
from tests.edge.world import T0, Building

pytestmark = [pytest.mark.requirement("P15", "A16"), pytest.mark.guarantee("G11")]
KEY = "00112233aabbccdd"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(now_ms=1_000_000, wall_ms=T0)


@pytest.fixture
async def building(clock: ManualClock, tmp_path: Path) -> AsyncIterator[Building]:
    """A house whose room 102 is on the sixth floor."""
    building = Building(clock, path=tmp_path / "edge.db")
    rooms = tuple(msgspec.structs.replace(each, floor=6) if each.id == "102" else each for each in building.plan.rooms)
    building.plan = msgspec.structs.replace(building.plan, rooms=rooms)
    await building.restart()
    yield building
    await building.store.close()


async def shown(building: Building, room: str, from_ms: int, **more: Any) -> None:
    seen = {"seen_clock": "life", "seen_from_ms": from_ms, "seen_to_ms": from_ms + 2_000}
    await building.opened(room, key=KEY, **{**seen, **more})


def told(building: Building) -> list[tuple[str, str]]:
    bodies = [each.body for each in building.log.records(Lane.B, "alert")]
    return [(each["state"], each["room"]) for each in bodies if each.get("alert") == "key_far_apart"]


async def test_it_is_told_at_once_and_once_with_whose_key_it_is(building: Building, clock: ManualClock) -> None:
    await shown(building, "101", 0)
    await building.house.watch.look()
    assert told(building) == []
    await shown(building, "102", 1_000)
    await building.house.watch.look()
    await shown(building, "101", 1_500)
    await building.house.watch.look()
    assert told(building)[0] == ("raised", "102")
    up = [each for each in building.house.watch.alerts() if each["alert"] == "key_far_apart"]
    assert [each["device"] for each in up] == [f"key-{KEY}"] * len(up)
    assert up[0]["detail"].startswith("stay s-anna: at door-101 and door-102, 5 floors apart, within 3 s")


async def test_a_restart_between_the_two_doors_and_after_them_loses_and_doubles_nothing(
    building: Building, clock: ManualClock
) -> None:
    await shown(building, "101", 0)
    await building.restart()
    await shown(building, "102", 1_000)
    await building.house.watch.look()
    assert told(building) == [("raised", "102")]
    for _ in range(2):
        await building.restart()
        await building.house.watch.look()
        clock.advance(2 * GONE_LEAST_MS)
        await building.house.watch.look()
    assert told(building) == [("raised", "102")], "still up, and told once"


async def test_it_is_over_after_half_a_day_and_no_restart_brings_it_back(
    building: Building, clock: ManualClock
) -> None:
    await shown(building, "101", 0)
    await shown(building, "102", 1_000)
    await building.house.watch.look()
    clock.advance(FAR_APART_MS)
    await building.house.watch.look()
    clock.advance(GONE_LEAST_MS)
    await building.house.watch.look()
    await building.restart()
    await building.house.watch.look()
    assert told(building) == [("raised", "102"), ("cleared", "102")]


@pytest.mark.parametrize(
    "second",
    [{"seen_clock": "another life"}, {"seen_to_ms": 3_600_000}, {"seen_from_ms": None}],
    ids=["another life's clock", "known to the hour", "not known"],
)
async def test_an_uncertain_time_is_no_alert(building: Building, second: dict[str, Any]) -> None:
    await shown(building, "101", 0)
    await shown(building, "102", 1_000, **second)
    await building.house.watch.look()
    assert told(building) == []
