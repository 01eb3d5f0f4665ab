"""The newest records are told from memory, and no differently than from the file."""

import contextlib
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.log.lane_file import LaneFile
from edge.log.lane_store import LaneStore, StoreFullError
from edge.log.lane_tail import TAIL_BYTES_MAX, TAIL_RECORDS_MAX, LaneTail
from kit.dice import SeededDice
from protocols.link.batch import Packed
from protocols.link.lanes import Lane
from protocols.link.record import ClockQuality, encode_record
from tests.seeds import seeds


def filled(*pieces: int, first: int = 1) -> LaneTail:
    tail, at = LaneTail(), first
    for count in pieces:
        records = [str(seq).encode() for seq in range(at, at + count)]
        tail.add(at, records, sum(map(len, records)))
        at += count
    return tail


@given(
    st.lists(st.integers(1, 7), min_size=1, max_size=12), st.integers(1, 50), st.integers(0, 120), st.integers(1, 30)
)
def test_what_follows_a_position_is_the_next_ones_or_nothing(
    pieces: list[int], first: int, seq: int, most: int
) -> None:
    end = first + sum(pieces) - 1
    found = filled(*pieces, first=first).after(seq, most)
    expected = range(seq + 1, min(seq + most, end) + 1) if first <= seq + 1 else range(0)
    assert found == [str(each).encode() for each in expected]


@given(st.lists(st.integers(1, 7), min_size=1, max_size=12), st.integers(0, 90))
def test_what_the_cloud_has_is_forgotten_by_pieces(pieces: list[int], acked: int) -> None:
    tail, end = filled(*pieces), sum(pieces)
    tail.passed(acked)
    assert tail.after(acked, 1_000) == [str(each).encode() for each in range(acked + 1, end + 1)]


def test_it_is_bounded_in_records_and_bytes() -> None:
    tail = filled(*[100] * 60)
    assert tail.after(6_000 - TAIL_RECORDS_MAX - 1, 1) == []
    assert len(tail.after(6_000 - TAIL_RECORDS_MAX, 10_000)) == TAIL_RECORDS_MAX
    for n in range(64):
        tail.add(6_001 + n, [b""], TAIL_BYTES_MAX // 16)
    assert len(tail.after(6_000 + 64 - 16, 100)) == 16
    assert tail.after(6_000 + 64 - 17, 100) == []


def test_a_gap_ends_what_came_before_it() -> None:
    tail = filled(5)
    tail.add(9, [b"9"], 1)
    assert tail.after(4, 10) == []
    assert tail.after(8, 10) == [b"9"]
    tail.clear()
    assert tail.after(8, 10) == []


def record(n: int) -> bytes:
    return encode_record(
        "reading",
        {"room": None, "device": f"t-{n % 7}", "capability": "generic", "attribute": "x", "value": n, "unit": None,
         "quality": "good"},
        device_at_ms=None, edge_at_ms=5 + n, mono_ms=60_000 * n, clock=ClockQuality.SYNCHRONISED,
    )  # fmt: skip


def opened(path: Path, lane: Lane, names: int) -> LaneStore:
    return LaneStore(path, lane, pages_max=60, keep_acked_records=200, dice=SeededDice(names), wall_ms=1)


@pytest.mark.guarantee("G1")
@pytest.mark.parametrize("lane", Lane)
@pytest.mark.parametrize("seed", seeds(4, 40))
def test_a_run_is_the_same_from_memory_and_from_the_file(tmp_path: Path, lane: Lane, seed: int) -> None:
    """Appends, marks up and down, thinning at the quota, new lives and restarts: memory never tells another story."""
    dice = random.Random(seed)
    path = tmp_path / "lane.db"
    store = opened(path, lane, seed)
    told = 0
    for step in range(150):
        match dice.choice(["append"] * 6 + ["ack", "ack", "back", "life", "restart"]):
            case "append":
                store.append_encoded([record(told + n) for n in range(dice.choice([1, 3, 40]))])
                told = store.last
            case "ack":
                store.acked(store.incarnation, dice.randint(store.heads()[-1].acked, store.last))
            case "back":
                store.acked(store.incarnation, dice.randint(0, store.last))
            case "life" if step % 5 == 0:
                with contextlib.suppress(StoreFullError):  # no room for what moves over: then the old one goes on
                    store.begin_life(SeededDice(1_000 + step), 1, cut=dice.randint(0, store.last), reason="a test's")
            case "restart":
                store.close()
                store = opened(path, lane, 100 + step)
            case _:
                pass
        incarnation, after, most = store.incarnation, dice.randint(0, store.last), dice.choice([1, 17, 500])
        quick = store.run(incarnation, after, most)
        again, store._tail = store._tail, LaneTail()
        slow = store.run(incarnation, after, most)
        store._tail = again
        assert said(quick) == said(slow)
    store.close()


def said(run: Packed | None) -> tuple[object, ...] | None:
    if run is None:
        return None
    return (run.first, run.last, list(run.seqs), list(run.records), list(run.holes), run.before, run.links, run.opening)


def test_the_newest_are_not_read_from_the_file_and_what_a_mark_passed_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = opened(tmp_path / "lane.db", Lane.C, 1)
    store.append_encoded([record(n) for n in range(10)])
    read: list[int] = []
    rows = LaneFile.rows

    def counted(file: LaneFile, life: int, after: int, upto: int, most: int) -> list[tuple[int, bytes]]:
        read.append(after)
        return rows(file, life, after, upto, most)

    monkeypatch.setattr(LaneFile, "rows", counted)
    assert said(store.run(store.incarnation, 4, 3)) is not None
    assert not read
    store.acked(store.incarnation, 10)
    assert said(store.run(store.incarnation, 4, 3)) is not None
    assert read == [4]
    store.close()
