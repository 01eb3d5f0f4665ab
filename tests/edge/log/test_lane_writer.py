"""A lane's thread: nobody waits for it for ever, whatever it meets and however callers race with it."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from edge.log.lane_store import LaneStore
from edge.log.lane_writer import REOPEN_EVERY_MS
from edge.log.record_log import RecordLog
from edge.log.settings import LaneSettings, LogSettings
from kit.clock import ManualClock
from kit.dice import SeededDice
from protocols.errors import StoreFailedError
from protocols.link.lanes import Lane
from tests.seeds import seeds

QUICK = LaneSettings(pages_max=2_000, linger_ms=0)
SETTINGS = LogSettings(QUICK, QUICK, QUICK)
WAIT_S = 20


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def log(tmp_path: Path, clock: ManualClock) -> AsyncIterator[RecordLog]:
    async with await RecordLog.open(tmp_path / "log", clock=clock, dice=SeededDice(7), settings=SETTINGS) as opened:
        yield opened


@pytest.mark.guarantee("G11")
async def test_a_defect_in_what_is_asked_costs_who_asked_and_not_the_lane(log: RecordLog, clock: ManualClock) -> None:
    writer = log._writers[Lane.B]
    kept = [await log.append(Lane.B, "note", {"n": 0})]
    with pytest.raises(StoreFailedError, match="ZeroDivisionError"):
        await asyncio.wait_for(writer.ask(lambda _store: 1 // 0), WAIT_S)
    clock.advance(REOPEN_EVERY_MS)
    kept.append(await asyncio.wait_for(log.append(Lane.B, "note", {"n": 1}), WAIT_S))
    notes = [each for each in await log.read(Lane.B, 0) if each.kind == "note"]
    assert [(each.seq, each.body["n"]) for each in notes] == list(zip(kept, (0, 1), strict=True))


@pytest.mark.guarantee("G1", "G11")
@pytest.mark.parametrize("after_insert", [False, True])
async def test_a_defect_in_an_append_refuses_it_whole_and_the_lane_goes_on(
    log: RecordLog, clock: ManualClock, monkeypatch: pytest.MonkeyPatch, after_insert: bool
) -> None:
    real = LaneStore.append_encoded

    def broken(store: LaneStore, records: Sequence[bytes], **more: Any) -> int:
        if after_insert:
            store._file.insert_rows(store._life.no, store.last, [b"x" * 20 for _ in records])
        raise RuntimeError("a defect")

    await log.append(Lane.A, "access", {"n": 0})
    monkeypatch.setattr(LaneStore, "append_encoded", broken)
    with pytest.raises(StoreFailedError, match="a defect"):
        await asyncio.wait_for(log.append(Lane.A, "access", {"n": 1}), WAIT_S)
    assert Lane.A in log.refusals()
    monkeypatch.setattr(LaneStore, "append_encoded", real)
    clock.advance(REOPEN_EVERY_MS)
    await asyncio.wait_for(log.append(Lane.A, "access", {"n": 2}), WAIT_S)
    assert [each.body["n"] for each in await log.read(Lane.A, 0)] == [0, 2]
    assert await log.verify_chain() == 2
    assert log._writers[Lane.A]._waiting == 0


@pytest.mark.guarantee("G11")
async def test_a_thread_that_ended_is_told_of_and_keeps_nobody_waiting(
    log: RecordLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = log._writers[Lane.C]
    monkeypatch.setattr(writer, "_next", lambda: None)
    await asyncio.wait_for(writer.ask(lambda store: store.last), WAIT_S)  # the last that the thread takes
    await asyncio.to_thread(writer._thread.join, WAIT_S)
    assert Lane.C in log.refusals()
    with pytest.raises(StoreFailedError):
        await asyncio.wait_for(log.append(Lane.C, "note", {}), WAIT_S)
    monkeypatch.setattr(writer, "_must_live", lambda: None)  # it ended just after the caller had looked
    with pytest.raises(StoreFailedError):
        await asyncio.wait_for(writer.ask(lambda store: store.last), WAIT_S)
    with pytest.raises(StoreFailedError):
        await asyncio.wait_for(log.append(Lane.C, "note", {}), WAIT_S)


@pytest.mark.guarantee("G1")
@pytest.mark.parametrize("seed", seeds(4, 40))
async def test_no_ring_is_missed_however_appends_and_questions_race_and_a_stop_ends_it_all(
    tmp_path: Path, seed: int
) -> None:
    dice = random.Random(seed)
    lane = LaneSettings(pages_max=2_000, linger_ms=seed % 2, group_records_max=3, pending_records_max=5)
    log = await RecordLog.open(
        tmp_path / f"log-{seed}", clock=ManualClock(), dice=SeededDice(seed), settings=LogSettings(lane, lane, lane)
    )
    kept: list[int] = []

    async def one(n: int) -> None:
        for _ in range(dice.randrange(3)):
            await asyncio.sleep(0)
        match dice.randrange(4):
            case 0:
                await log._writers[Lane.C].ask(lambda store: store.last)
            case 1:
                kept.append(await log.append_encoded(Lane.C, [b"\x86"], urgent=True))
            case _ if lane.linger_ms == 0:
                kept.append(await log.append(Lane.C, "note", {"n": n}))
            case _:  # by a clock that stands a group closes by its size alone, or with whoever is in a hurry
                kept.append(await log.append_encoded(Lane.C, [b"\x86"] * 3) - 2)
                kept.extend((kept[-1] + 1, kept[-1] + 2))

    async with asyncio.timeout(WAIT_S * 3):
        for _ in range(60):
            await asyncio.gather(*(one(n) for n in range(dice.randrange(1, 12))))
        last = [asyncio.create_task(log.append_encoded(Lane.C, [b"\x86"])) for _ in range(3)]
        await asyncio.sleep(0)
        await log.close()
        answers = await asyncio.gather(*last, return_exceptions=True)
    kept += [each for each in answers if isinstance(each, int)]
    assert sorted(kept) == list(range(1, len(kept) + 1))
    assert all(isinstance(each, int | StoreFailedError) for each in answers)
