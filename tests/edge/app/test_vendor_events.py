"""Foreign lock systems' events beside the doors' own: two lives, one log, each event once; and a house without any."""

import asyncio
from pathlib import Path

import pytest

from edge.app import access_events
from edge.app.access_events import carry_vendors
from kit.clock import ManualClock
from kit.health import Health
from protocols.errors import InvalidInputError
from tests.edge.app.test_access_events import DoorsStore, carried, carrying, rested
from tests.edge.world import T0, Building


class Vendors(DoorsStore):
    """The vendors' side of the doors process; `absent`: the doors know no such method."""

    absent: bool = False
    asked: int = 0

    async def epoch(self) -> bytes:
        self.asked += 1
        if self.absent:
            raise InvalidInputError("method", "'key_events' is unknown")
        return await super().epoch()


@pytest.fixture(autouse=True)
def no_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access_events, "NO_VENDORS_REST_S", 0.001)


@pytest.mark.guarantee("G2")
@pytest.mark.requirement("ACC-23")
async def test_both_are_carried_each_once_however_they_come(tmp_path: Path) -> None:
    building = Building(ManualClock(wall_ms=T0), path=tmp_path / "edge.db")
    doors, vendors, health = DoorsStore(), Vendors(life=b"vendor-life1"), Health()
    tasks = [
        asyncio.create_task(carrying(doors, building, health)),
        asyncio.create_task(carry_vendors(vendors, building.house, health)),
    ]
    for number in range(6):
        (doors if number % 2 else vendors).happened()
        await rested()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert sorted(carried(building)) == sorted(
        [("doors-life-1", seq) for seq in (1, 2, 3)] + [("vendor-life1", seq) for seq in (1, 2, 3)]
    )
    assert (doors.kept, vendors.kept) == ([], [])
    await building.store.close()


@pytest.mark.guarantee("G17")
async def test_a_house_without_foreign_locks_is_asked_again_and_nothing_is_reported_wrong(tmp_path: Path) -> None:
    building = Building(ManualClock(wall_ms=T0), path=tmp_path / "edge.db")
    vendors, health = Vendors(life=b"vendor-life1"), Health()
    vendors.absent = True
    vendors.happened()
    task = asyncio.create_task(carry_vendors(vendors, building.house, health))
    async with asyncio.timeout(10):
        while vendors.asked < 3:
            await asyncio.sleep(0.001)
    assert health.ready()[0]
    vendors.absent = False
    async with asyncio.timeout(10):
        while vendors.kept:
            await asyncio.sleep(0.001)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert carried(building) == [("vendor-life1", 1)]
    await building.store.close()
