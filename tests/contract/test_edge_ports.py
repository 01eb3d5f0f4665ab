"""What tests of the edge stand on behaves like the thing itself: the memory log like the record log."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from edge.app.ports import Log
from edge.log.record_log import Entry, RecordLog
from kit.clock import ManualClock, SystemClock
from kit.dice import SeededDice
from protocols.errors import LocalProtocolError
from protocols.link.lanes import Lane
from tests.edge.world import T0, MemoryLog


@pytest.fixture(params=["record log", "memory log"])
async def log(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Log]:
    if request.param == "memory log":
        yield MemoryLog(ManualClock(wall_ms=T0))
        return
    # The record log's writers wait on its clock, which therefore has to run.
    async with await RecordLog.open(tmp_path / "log", clock=SystemClock("host"), dice=SeededDice(1)) as record_log:
        yield record_log


async def test_positions_count_from_one_without_holes_on_each_lane(log: Log) -> None:
    assert [await log.append(Lane.A, "stay", {"n": n}) for n in range(3)] == [1, 2, 3]
    assert await log.append(Lane.B, "room", {}) == 1
    assert await log.append_many(Lane.A, [Entry("stay", {"n": n}) for n in (3, 4)]) == [4, 5]
    records = await log.read(Lane.A, 1, 3)
    assert [(each.seq, each.kind, each.body) for each in records] == [(n + 1, "stay", {"n": n}) for n in (1, 2, 3)]
    assert await log.read(Lane.A, 5, 10) == []


async def test_a_record_keeps_its_times(log: Log) -> None:
    await log.append(Lane.A, "access", {"door": "door-101"}, device_at_ms=T0 - 5)
    [record] = await log.read(Lane.A, 0, 1)
    assert (record.device_at_ms, record.clock.value) == (T0 - 5, "synchronised")
    assert record.edge_at_ms >= T0


async def test_another_stores_record_is_taken_over_once(log: Log) -> None:
    entry = Entry("access", {"door": "door-101"})
    assert await log.append_once("doors:1", 5, Lane.A, entry) == 1
    assert await log.append_once("doors:1", 5, Lane.A, entry) is None
    assert await log.append_once("doors:1", 4, Lane.A, entry) is None
    assert await log.append_once("doors:2", 1, Lane.A, entry) == 2
    assert (await log.source_mark("doors:1", Lane.A), await log.source_mark("doors:3", Lane.A)) == (5, 0)
    assert len(await log.read(Lane.A, 0, 10)) == 2


async def test_what_the_specification_forbids_is_not_appended(log: Log) -> None:
    with pytest.raises(LocalProtocolError):
        await log.append(Lane.A, "stay", {"bytes": b"no"})
    assert await log.read(Lane.A, 0, 10) == []


async def test_a_cursor_may_be_told_any_number_of_times(log: Log) -> None:
    await log.append(Lane.A, "stay", {})
    await log.advance("house", Lane.A, 1)
    await log.advance("house", Lane.A, 1)
    assert len(await log.read(Lane.A, 0, 10)) == 1
