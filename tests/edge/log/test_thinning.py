"""Thinning makes fewer readings of many and loses no extreme, no count and no position."""

import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import apsw
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.log.ballast import Left
from edge.log.lane_store import LaneStore
from edge.log.salvage import rebuild
from edge.log.thinning import MINUTE_MS, QUARTER_MS, Thinning
from kit.dice import SeededDice
from kit.files import SystemDisk
from protocols.device_model.identity import EdgeId
from protocols.link.batch import HoleReason, pack_batch, parse_batch
from protocols.link.cloud_stream import CloudStream
from protocols.link.lanes import Lane
from protocols.link.record import ClockQuality, Record, decode_record, encode_record
from protocols.link.summary import SUMMARY_KEY, summary_of
from tests.seeds import seeds
from tests.simulation.log.crash_disk import CrashDisk

EDGE = EdgeId("e-aurora0000000001")
Row = tuple[int, bytes]


def reading(value: object, mono_ms: int, device: str = "t-1", quality: str = "good", kind: str = "reading") -> bytes:
    body: dict[str, Any] = {
        "room": "101", "device": device, "capability": "temperature_measurement", "attribute": "measured_value",
        "value": value, "unit": "°C", "quality": quality,
    }  # fmt: skip
    return encode_record(
        kind, body, device_at_ms=None, edge_at_ms=10_000_000 + mono_ms, mono_ms=mono_ms, clock=ClockQuality.SYNCHRONISED
    )


def thin(rows: Sequence[Row], window_ms: int, step: int, openings: Sequence[int] = (0,)) -> list[Row]:
    """One whole pass, `step` records at a time."""
    pass_, held, after = Thinning(window_ms), dict(rows), 0
    while todo := [(seq, data) for seq, data in sorted(held.items()) if seq > after][:step]:
        result = pass_.take(todo, after=after, openings=openings)
        assert not set(result.removed) & set(result.changed)
        for seq in result.removed:
            del held[seq]
        held.update(result.changed)
        after = todo[-1][0]
    return sorted(held.items())


def records(rows: Sequence[Row]) -> list[Record]:
    return [decode_record(data, lane=Lane.C, seq=seq) for seq, data in rows]


def count(rows: Sequence[Row]) -> int:
    return sum(1 if (summary := summary_of(each)) is None else summary.count for each in records(rows))


def extremes(rows: Sequence[Row]) -> dict[tuple[str, str], tuple[float, float, int]]:
    found: dict[tuple[str, str], tuple[float, float, int]] = {}
    for each in records(rows):
        summary = summary_of(each)
        if summary is None or summary.least is None or summary.most is None:
            continue
        key = (each.body["device"], each.body["quality"])
        least, most, numbers = found.get(key, (summary.least, summary.most, 0))
        found[key] = (min(least, summary.least), max(most, summary.most), numbers + summary.numbers)
    return found


READINGS = st.lists(
    st.builds(
        lambda value, gap, device, quality, kind: (value, gap, device, quality, kind),
        st.one_of(st.integers(-50, 50), st.floats(-50, 50), st.none(), st.booleans(), st.sampled_from(["heat", "off"])),
        st.integers(0, 40_000),
        st.sampled_from(["t-1", "t-2", "t-3"]),
        st.sampled_from(["good", "stale"]),
        st.sampled_from(["reading", "reading", "reading", "health"]),
    ),
    min_size=1,
    max_size=60,
)


@pytest.mark.guarantee("G9")
@given(drawn=READINGS, step=st.integers(1, 61), cut=st.integers(0, 60))
def test_nothing_but_the_number_of_records_changes(drawn: list[Any], step: int, cut: int) -> None:
    mono_ms, rows = 0, []
    for seq, (value, gap, device, quality, kind) in enumerate(drawn, start=1):
        mono_ms += gap
        rows.append((seq, reading(value, mono_ms, device, quality, kind)))
    openings = sorted({0, min(cut, len(rows))})
    minutes = thin(rows, MINUTE_MS, step, openings)
    quarters = thin(minutes, QUARTER_MS, step, openings)
    for thinned in (minutes, quarters):
        assert count(thinned) == len(rows)
        assert extremes(thinned) == extremes(rows)
        assert [each for each in rows if records([each])[0].kind != "reading"] == [
            each for each in thinned if records([each])[0].kind != "reading"
        ]
    for thinned, window_ms in ((minutes, MINUTE_MS), (quarters, QUARTER_MS)):
        places = Counter(
            (each.body["device"], each.body["quality"], each.mono_ms // window_ms, sum(b < each.seq for b in openings))
            for each in records(thinned)
            if each.kind == "reading"
        )
        assert all(n == 1 for n in places.values())
    assert thin(quarters, QUARTER_MS, step, openings) == quarters


@pytest.mark.guarantee("G10")
def test_a_wall_clock_that_jumps_changes_no_window() -> None:
    rows = [(seq, reading(20 + seq, 1_000 * seq)) for seq in range(1, 11)]
    [(seq, data)] = thin(rows, MINUTE_MS, 4)
    [record] = records([(seq, data)])
    summary = summary_of(record)
    assert summary is not None
    assert (seq, summary.count, summary.first, summary.last, summary.mean) == (10, 10, 21, 30, 25.5)
    assert (record.body["value"], record.body[SUMMARY_KEY]["from_seq"]) == (30, 1)


def test_what_would_not_fit_into_a_record_stays_as_it_is() -> None:
    rows = [(seq, reading("x" * 3_000, seq)) for seq in range(1, 4)]
    assert thin(rows, MINUTE_MS, 10) == rows


# ------------------------------------------------------------------ in the store


def open_store(path: Path, pages: int, disk: CrashDisk | None = None, names: int = 1) -> LaneStore:
    more: dict[str, Any] = {} if disk is None else {"disk": disk, "vfs": disk.name}
    return LaneStore(path, Lane.C, pages_max=pages, keep_acked_records=100, dice=SeededDice(names), wall_ms=1, **more)


def drain(store: LaneStore, cloud: CloudStream) -> tuple[list[Record], dict[HoleReason, set[int]]]:
    """Send everything as the link would, in batches, and return what the cloud holds."""
    held: list[Record] = []
    holes: dict[HoleReason, set[int]] = {}
    while (run := store.run(cloud.incarnation, cloud.hi, 500)) is not None:
        before = cloud.hi
        payload, _ = pack_batch(EDGE, cloud.incarnation, Lane.C, run)
        offered = cloud.offer(parse_batch(payload).open())
        assert cloud.hi > before
        held += offered.records
        for hole in offered.holes:
            holes.setdefault(hole.reason, set()).update(range(hole.first, hole.last + 1))
    return held, holes


def counted(held: Sequence[Record]) -> int:
    return sum(1 if (summary := summary_of(each)) is None else summary.count for each in held)


@pytest.mark.guarantee("G9")
def test_weeks_off_line_are_thinned_and_nothing_is_dropped(tmp_path: Path) -> None:
    store = open_store(tmp_path / "c.db", pages=200)
    dice = random.Random(1)
    total, mono_ms = 0, 0
    for _ in range(200):  # 20,000 readings of 20 points, one a point every 10 s: some 5 MB, in 0.8 MB
        batch = [reading(dice.uniform(15, 25), mono_ms + 500 * n, f"t-{n % 20}") for n in range(100)]
        total += len(batch)
        mono_ms += 50_000
        store.append_encoded(batch)
        usage = store.usage()
        assert usage.pages <= 200
    usage = store.usage()
    assert usage.dropped == 0
    assert usage.thinned > 8_000
    cloud = CloudStream(store.incarnation, Lane.C)
    held, holes = drain(store, cloud)
    assert cloud.hi == store.last == total == counted(held)
    assert set(holes) == {HoleReason.THINNED}
    assert {each.seq for each in held} | holes[HoleReason.THINNED] == set(range(1, total + 1))
    assert len(held) + usage.thinned == total
    assert (usage.thinned_from, usage.thinned_to) == (
        min(holes[HoleReason.THINNED]), max(holes[HoleReason.THINNED]),
    )  # fmt: skip
    newest = {each.body["device"]: each.body for each in held}
    assert len(newest) == 20
    store.close()


@pytest.mark.guarantee("G9")
def test_on_a_full_disk_too_readings_are_thinned_before_any_is_dropped(tmp_path: Path) -> None:
    store = open_store(tmp_path / "c.db", pages=50_000)
    mono_ms = 0
    for _ in range(60):  # 60,000 readings of 20 points, 4,000 a second: some 11 MB, which two quarters of an hour hold
        store.append_encoded([reading(20.5, mono_ms + n // 4, f"t-{n % 20}") for n in range(1_000)])
        mono_ms += 250
    before = store.usage().pages
    given = 0
    for _ in range(45):  # the disk is full: a step before each commit
        given += store.give_back(Left(0, short=False))
        store.append_encoded([reading(20.5, mono_ms + n, f"t-{n % 20}") for n in range(50)])
        mono_ms += 15_000
    usage = store.usage()
    assert usage.dropped == 0
    assert usage.thinned > 40_000  # down to what a lane keeps of its room at the least
    assert usage.pages < before // 3
    assert given > before // 2
    cloud = CloudStream(store.incarnation, Lane.C)
    held, holes = drain(store, cloud)
    assert set(holes) == {HoleReason.THINNED}
    assert counted(held) == store.last == 62_250
    store.close()


@pytest.mark.guarantee("G9")
def test_when_thinning_is_not_enough_the_oldest_give_way_and_that_is_said(tmp_path: Path) -> None:
    store = open_store(tmp_path / "c.db", pages=60)
    dice = random.Random(2)
    total, mono_ms = 0, 0
    for _ in range(120):
        batch = [reading(dice.random(), mono_ms, f"t-{dice.randrange(50)}") for _ in range(50)]
        total, mono_ms = total + 50, mono_ms + QUARTER_MS // 3
        store.append_encoded(batch)
        assert store.usage().pages <= 60
    usage = store.usage()
    assert usage.dropped > 0
    assert usage.thinned > 0
    cloud = CloudStream(store.incarnation, Lane.C)
    held, holes = drain(store, cloud)
    assert cloud.hi == total
    assert {each.seq for each in held} | holes[HoleReason.THINNED] | holes[HoleReason.QUOTA] == set(range(1, total + 1))
    assert not holes[HoleReason.THINNED] & holes[HoleReason.QUOTA]
    assert not {each.seq for each in held} & holes[HoleReason.QUOTA]
    store.close()


@pytest.mark.guarantee("G9")
@pytest.mark.parametrize("seed", seeds(2, 5))
def test_thinning_holds_through_acks_restarts_and_power_cuts(seed: int) -> None:
    dice = random.Random(seed)
    path = Path("/c.db")
    with CrashDisk(seed) as disk:
        store = open_store(path, 60, disk, seed)
        cloud = CloudStream(store.incarnation, Lane.C)
        held: list[Record] = []
        gone: set[int] = set()
        mono_ms = total = 0
        for round_ in range(25):
            for _ in range(5):
                batch = [reading(dice.random(), mono_ms, f"t-{n % 10}") for n in range(80)]
                total, mono_ms = store.append_encoded(batch), mono_ms + 20_000
            match dice.choice(["ack", "restart", "cut", "off line", "off line"]):
                case "ack":
                    records_, holes = drain(store, cloud)
                    held += records_
                    gone |= set().union(*holes.values())
                    store.acked(cloud.incarnation, cloud.hi)
                case "restart":
                    store.close()
                    store = open_store(path, 60, disk, round_)
                case "cut":
                    disk.dead = True
                    store.abandon()
                    disk.power_on()
                    store = open_store(path, 60, disk, round_)
                case _:
                    pass
            assert store.last == total
            assert store.usage().pages <= 60
        records_, holes = drain(store, cloud)
        held += records_
        gone |= set().union(*holes.values())
        seqs = [each.seq for each in held]
        assert seqs == sorted(set(seqs))
        assert set(seqs) | gone == set(range(1, total + 1))
        assert store.usage().thinned > 0
        store.abandon()


@pytest.mark.guarantee("G9")
def test_a_thinned_lane_whose_end_is_lost_is_still_told_whole_to_the_cloud(tmp_path: Path) -> None:
    path = tmp_path / "c.db"
    store = open_store(path, 200)
    dice, mono_ms, total = random.Random(3), 0, 0
    while not store.usage().thinned:
        batch = [reading(dice.random(), mono_ms + 500 * n, f"t-{n % 20}") for n in range(100)]
        total, mono_ms = store.append_encoded(batch), mono_ms + 50_000
    incarnation, reaches = store.incarnation, store.usage().thinned_to
    store.close()
    db = apsw.Connection(str(path))
    db.execute("DELETE FROM record WHERE seq > ?", (reaches - 30,))  # pages that cannot be read
    db.close()
    rebuild(
        path, Lane.C, disk=SystemDisk(), dice=SeededDice(5), wall_ms=2, aside=tmp_path / "aside",
        known=(incarnation.hex(), total), hold=True,
    )  # fmt: skip
    store = open_store(path, 200, names=6)
    cloud = CloudStream(incarnation, Lane.C)
    _, holes = drain(store, cloud)
    assert cloud.hi == total
    assert not holes[HoleReason.THINNED] & holes[HoleReason.LOST]
    assert total in holes[HoleReason.LOST]
    store.close()


@pytest.mark.guarantee("G9")
def test_what_was_thinned_and_moves_into_a_new_incarnation_still_stands_for_its_readings(tmp_path: Path) -> None:
    store = open_store(tmp_path / "c.db", 200)
    dice, mono_ms = random.Random(4), 0
    store.append_encoded([reading(dice.random(), n, "t-0") for n in range(1_000)])
    before = store.last
    while not store.usage().thinned:
        store.append_encoded([reading(dice.random(), mono_ms + 500 * n, f"t-{n % 20}") for n in range(100)])
        mono_ms += 50_000
    for _ in range(40):
        store._space._thin_one(store._life, 2_000)
    new = store.begin_life(SeededDice(9), 2, cut=before, reason="an old copy")
    cloud = CloudStream(new, Lane.C)
    held, _ = drain(store, cloud)
    summaries = [found for each in held if (found := summary_of(each)) is not None]
    assert sum(each.count > 1 for each in summaries) > 10
    assert all(each.from_seq == record.seq for each, record in zip(summaries, held, strict=True) if each.count > 1)
    store.close()
