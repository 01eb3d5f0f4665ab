"""The cloud's mark: it counts at once, and a small rise of it is written with a later one."""

import asyncio
from pathlib import Path

import apsw
import pytest

from edge.log.lane_store import MARK_UNWRITTEN_MOST, LaneStore
from edge.log.record_log import RecordLog
from edge.log.settings import LaneSettings, LogSettings
from kit.clock import SystemClock
from kit.dice import SeededDice
from protocols.link.lanes import Lane
from protocols.link.record import ClockQuality, encode_record

KEPT = 100
RECORD = encode_record("reading", {"n": 1}, device_at_ms=None, edge_at_ms=5, mono_ms=5, clock=ClockQuality.SYNCHRONISED)
ALL = 2 * MARK_UNWRITTEN_MOST


def opened(path: Path, names: int = 1) -> LaneStore:
    return LaneStore(path, Lane.C, pages_max=50_000, keep_acked_records=KEPT, dice=SeededDice(names), wall_ms=1)


@pytest.fixture
def store(tmp_path: Path) -> LaneStore:
    made = opened(tmp_path / "c.sqlite")
    made.append_encoded([RECORD] * ALL)
    return made


def written(path: Path) -> int:
    """The mark that a power cut would leave."""
    db = apsw.Connection(str(path))
    mark: int = db.execute("SELECT acked FROM life").get
    db.close()
    return mark


def test_a_small_rise_counts_at_once_and_costs_no_commit(store: LaneStore) -> None:
    store.acked(store.incarnation, 500)
    assert store.heads()[-1].acked == 500
    store.abandon()
    assert written(store.path) == 0


def test_what_a_power_cut_takes_of_the_mark_is_taken_again_from_the_cloud(store: LaneStore) -> None:
    store.acked(store.incarnation, 500)
    store.abandon()
    again = opened(store.path)
    assert again.heads()[-1].acked == 0
    assert again.last == ALL
    again.acked(again.incarnation, 500)
    assert again.heads()[-1].acked == 500


def test_a_store_opened_again_in_the_same_process_keeps_the_mark_it_had(store: LaneStore) -> None:
    store.acked(store.incarnation, 500)
    confirmed = store.confirmed()
    store.abandon()
    again = LaneStore(
        store.path, Lane.C, pages_max=50_000, keep_acked_records=KEPT, dice=SeededDice(3), wall_ms=1,
        confirmed=confirmed,
    )  # fmt: skip
    assert again.heads()[-1].acked == 500
    again.close()
    assert written(store.path) == 500


def test_a_large_rise_is_written_and_lets_records_go(store: LaneStore) -> None:
    for hi in range(500, MARK_UNWRITTEN_MOST + 1, 500):
        store.acked(store.incarnation, hi)
    assert store.heads()[-1].first == MARK_UNWRITTEN_MOST - KEPT + 1
    store.abandon()
    assert written(store.path) == MARK_UNWRITTEN_MOST


def test_a_mark_that_falls_is_written_at_once(store: LaneStore) -> None:
    store.acked(store.incarnation, MARK_UNWRITTEN_MOST)
    store.acked(store.incarnation, 10)
    assert store.heads()[-1].acked == 10
    store.acked(store.incarnation, 20)
    store.abandon()
    assert written(store.path) == 10


def test_a_mark_falls_below_one_that_was_never_written(store: LaneStore) -> None:
    store.acked(store.incarnation, 900)
    store.acked(store.incarnation, 300)
    assert store.heads()[-1].acked == 300
    store.abandon()
    assert written(store.path) == 300


def test_closing_in_peace_writes_the_mark(store: LaneStore) -> None:
    store.acked(store.incarnation, 900)
    store.close()
    store.close()
    again = opened(store.path)
    assert again.heads()[-1].acked == 900
    again.close()


def test_the_mark_goes_with_what_is_removed_on_its_word(store: LaneStore) -> None:
    store.acked(store.incarnation, 900)
    assert store.trim(800) == 800
    assert store.heads()[-1].first == 801
    store.abandon()
    assert written(store.path) == 900, "nothing may be gone that no mark speaks for"


def test_a_new_life_leaves_the_mark_with_the_old_one(store: LaneStore) -> None:
    old = store.incarnation
    store.acked(old, 900)
    new = store.begin_life(SeededDice(2), 1, cut=ALL, reason="a test's")
    assert [(each.incarnation, each.acked) for each in store.heads()] == [(old, 900), (new, 0)]
    store.acked(old, ALL)
    assert [each.incarnation for each in store.heads()] == [new]
    store.close()


async def test_within_a_second_the_log_writes_what_it_was_told(tmp_path: Path) -> None:
    lane = LaneSettings(pages_max=20_000, linger_ms=0)
    settings = LogSettings(lane, lane, lane, ballast_bytes=0)
    log = await RecordLog.open(tmp_path, clock=SystemClock(), dice=SeededDice(1), settings=settings)
    await log.append_encoded(Lane.C, [RECORD] * 10)
    incarnation = log.incarnations()[Lane.C]
    copy = tmp_path / "copy.db"

    async def left() -> int:
        for suffix in ("", "-wal"):  # what a power cut would leave: what the files hold now
            of = next(tmp_path.glob("lane-*c.db" + suffix), None)
            if of is not None:
                copy.with_name(copy.name + suffix).write_bytes(of.read_bytes())
        return written(copy)

    await log.acked(incarnation, Lane.C, 7)
    async with asyncio.timeout(20):
        while await left() != 7:
            await asyncio.sleep(0.05)
    await log.acked(incarnation, Lane.C, 9)
    await log.close()
    again = await RecordLog.open(tmp_path, clock=SystemClock(), dice=SeededDice(2), settings=settings)
    assert next(each for each in await again.streams() if each.lane is Lane.C).acked == 9
    await again.close()


async def test_a_house_at_its_usual_pace_keeps_no_more_than_it_was_told_to(tmp_path: Path) -> None:
    lane = LaneSettings(pages_max=20_000, linger_ms=0, keep_acked_records=KEPT)
    settings = LogSettings(lane, lane, lane, ballast_bytes=0)
    log = await RecordLog.open(tmp_path, clock=SystemClock(), dice=SeededDice(1), settings=settings)
    for told in (600, 1_200):  # far fewer than a commit of their own is worth
        await log.append_encoded(Lane.C, [RECORD] * 600)
        await log.acked(log.incarnations()[Lane.C], Lane.C, told)
        async with asyncio.timeout(20):
            while next(each for each in await log.streams() if each.lane is Lane.C).first != told - KEPT + 1:
                await asyncio.sleep(0.05)
    await log.close()
