"""Where there is no cloud, what its façades were told may go; a cloud that comes later is told what it never gets."""

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from edge.log.lane_cursors import Place
from edge.log.lane_store import LaneStore, StoreFullError
from edge.log.readership import Reader, Readership, kind_mark
from edge.log.row_check import check_bytes
from edge.log.salvage import rebuild
from edge.log.verify import verify_folder
from kit.dice import SeededDice
from kit.files import SystemDisk
from protocols.device_model.identity import EdgeId
from protocols.link.batch import HoleReason, pack_batch, parse_batch
from protocols.link.cloud_stream import ChainVerdict, CloudStream
from protocols.link.lanes import LANES, Lane
from protocols.link.record import ClockQuality, Record, decode_record, encode_record
from tests.seeds import seeds

EDGE = EdgeId("e-aurora0000000001")
PAGES = 200
KEPT = 100


def record(n: int, kind: str = "reading", size: int = 200) -> bytes:
    body: dict[str, Any] = {"room": "101", "device": f"t-{n}", "n": n, "pad": "x" * size}
    return encode_record(
        kind, body, device_at_ms=None, edge_at_ms=10_000_000 + n, mono_ms=n, clock=ClockQuality.SYNCHRONISED
    )


def readers(*facades: tuple[str, Sequence[str]], cloud: bool = False, lanes: Sequence[Lane] = LANES) -> Readership:
    return Readership(
        tuple(Reader(f"northbound:{name}", frozenset(lanes), tuple(kinds)) for name, kinds in facades), cloud=cloud
    )


def opened(path: Path, lane: Lane, readership: Readership | None, names: int = 1) -> LaneStore:
    more: dict[str, Any] = {} if readership is None else {"readers": readership.of(lane)}
    return LaneStore(path, lane, pages_max=PAGES, keep_acked_records=KEPT, dice=SeededDice(names), wall_ms=1, **more)


def tell(
    store: LaneStore, name: str, most: int = 10**9, refuses: Callable[[bytes], bool] = lambda _: False
) -> list[bytes]:
    """Read on as a façade does whose broker never takes some records, and move its cursor."""
    told: list[bytes] = []
    while most > 0:
        place = store.place(f"northbound:{name}")
        if place.after >= place.last:
            break
        run = store.run(place.incarnation, place.after, min(500, most))
        if run is None:
            break
        refused = [seq for seq, each in zip(run.seqs, run.records, strict=True) if refuses(each)]
        store.advance(f"northbound:{name}", run.last, place.incarnation, refused)
        told += [each for each in run.records if not refuses(each)]
        most -= len(run.records)
    return told


def number(of: bytes) -> int:
    found: int = decode_record(of, lane=Lane.B, seq=1).body["n"]
    return found


def is_nth(every: int, rest: int = 0) -> Callable[[bytes], bool]:
    return lambda each: number(each) % every == rest


def later_cloud(store: LaneStore) -> dict[bytes, tuple[list[Record], dict[HoleReason, set[int]]]]:
    """What a cloud gets that hears of this edge for the first time: by incarnation, records and holes."""
    got: dict[bytes, tuple[list[Record], dict[HoleReason, set[int]]]] = {}
    for head in store.heads():
        cloud = CloudStream(head.incarnation, store.lane)
        held, holes = got.setdefault(head.incarnation, ([], {}))
        while (run := store.run(head.incarnation, cloud.hi, 500)) is not None:
            offered = cloud.offer(parse_batch(pack_batch(EDGE, head.incarnation, store.lane, run)[0]).open())
            assert offered.verdict is not ChainVerdict.BROKEN
            held += offered.records
            for hole in offered.holes:
                inside = set(range(hole.first, hole.last + 1))
                assert not any(inside & each for each in holes.values())
                holes.setdefault(hole.reason, set()).update(inside)
        assert cloud.hi == head.last
        thinned = holes.get(HoleReason.THINNED, set())
        empty = set().union(*(each for reason, each in holes.items() if reason is not HoleReason.THINNED))
        assert {each.seq for each in held} | thinned | empty == set(range(1, head.last + 1))
        assert not {each.seq for each in held} & empty
    return got


@pytest.mark.guarantee("G9")
@pytest.mark.parametrize("lane", LANES)
def test_what_a_facade_was_told_goes_without_being_thinned_dropped_or_declared(tmp_path: Path, lane: Lane) -> None:
    store = opened(tmp_path / "x.db", lane, readers(("all", ())))
    told: list[bytes] = []
    for begun in range(0, 8_000, 500):  # 5 MB through 0.8 MB
        store.append_encoded([record(n) for n in range(begun, begun + 500)])
        told += tell(store, "all")
    usage = store.usage()
    assert told == [record(n) for n in range(8_000)]
    assert (usage.dropped, usage.thinned) == (0, 0)
    assert usage.pages < PAGES * 0.9
    [head] = store.heads()
    assert (head.acked, head.last) == (0, 8_000)  # nobody acknowledged anything: that is the cloud's to say
    assert KEPT <= head.last - head.first + 1 <= KEPT + 1_500
    [(held, holes)] = later_cloud(store).values()
    assert holes == {HoleReason.FORGOTTEN: set(range(1, head.first))}
    assert [each.seq for each in held] == list(range(head.first, 8_001))
    store.close()


def test_with_a_cloud_only_its_mark_lets_anything_go(tmp_path: Path) -> None:
    store = opened(tmp_path / "c.db", Lane.C, readers(("all", ()), cloud=True))
    for begun in range(0, 4_000, 500):
        store.append_encoded([record(n) for n in range(begun, begun + 500)])
        tell(store, "all")
    assert store.usage().dropped > 0
    [(_, holes)] = later_cloud(store).values()
    assert HoleReason.FORGOTTEN not in holes
    store.close()


@pytest.mark.parametrize("lane", [Lane.B, Lane.C])
def test_what_a_facade_passed_and_nobody_was_told_is_kept_until_there_is_no_room_and_declared(
    tmp_path: Path, lane: Lane
) -> None:
    """Also where another façade is told other kinds; each record that nobody was told is counted, and no other."""
    store = opened(tmp_path / "x.db", lane, readers(("readings", ("reading",)), ("alerts", ("alert",))))
    kinds = ["reading"] * 6 + ["alert", "a_kind_with_a_long_name_of_31ch"]
    for begun in range(0, 1_000, 500):
        store.append_encoded([record(n, kinds[n % 8]) for n in range(begun, begun + 500)])
        tell(store, "readings")
        tell(store, "alerts")
    assert (store.heads()[0].first, store.usage().dropped) == (1, 0)
    for begun in range(1_000, 8_000, 500):
        store.append_encoded([record(n, kinds[n % 8]) for n in range(begun, begun + 500)])
        tell(store, "readings")
        tell(store, "alerts")
    first = store.heads()[0].first
    assert first > 3_000
    assert store.usage().dropped == sum(n % 8 == 7 for n in range(first - 1))
    assert store.usage().thinned == 0
    [(_, holes)] = later_cloud(store).values()
    assert set(range(8, first, 8)) <= holes[HoleReason.QUOTA]
    assert set(holes) <= {HoleReason.QUOTA, HoleReason.FORGOTTEN}
    store.close()


@pytest.mark.guarantee("G1")
def test_lane_a_lets_nothing_go_that_nobody_was_told(tmp_path: Path) -> None:
    store = opened(tmp_path / "a.db", Lane.A, readers(("doors", ("access",))))
    taken, full = 0, False
    while not full and taken < 40_000:
        some = [record(each, "command" if each == 700 else "access") for each in range(taken, taken + 100)]
        try:
            store.append_encoded(some)
        except StoreFullError:
            full = True
        else:
            tell(store, "doors")
            taken += 100
    assert full
    [head] = store.heads()
    assert (head.first, head.last, store.usage().dropped) == (701, taken, 0)  # all before was told, 701 nobody was
    store.close()


@pytest.mark.parametrize("kinds", [(), ("reading",)])
def test_the_slowest_of_several_decides_and_one_that_was_taken_out_holds_nothing(
    tmp_path: Path, kinds: tuple[str, ...]
) -> None:
    both = readers(("quick", kinds), ("slow", ()))
    store = opened(tmp_path / "b.db", Lane.B, both)
    store.append_encoded([record(n) for n in range(500)])
    tell(store, "quick")
    tell(store, "slow", 200)
    store.append_encoded([record(n) for n in range(500, 1_200)])
    tell(store, "quick")
    assert store.trim(10**9) == 0  # what the slow one has not read is not settled
    assert store.heads()[0].first == 201
    store.close()
    store = opened(tmp_path / "b.db", Lane.B, readers(("quick", ())), names=2)
    assert store.trim(10**9) == 1_000
    store.append_encoded([record(n) for n in range(1_200, 2_500)])
    tell(store, "quick")
    assert store.heads()[0].first == 2_501 - KEPT
    store.close()
    store = opened(tmp_path / "b.db", Lane.B, both, names=3)  # put back: it goes on with what is there
    assert tell(store, "slow") == [record(n) for n in range(2_500 - KEPT, 2_500)]
    store.close()


@pytest.mark.guarantee("G2", "G9")
@pytest.mark.parametrize("lane", [Lane.B, Lane.C])
@pytest.mark.parametrize("kinds", [(), ("reading",)])
def test_what_a_broker_never_takes_is_declared_when_it_goes_and_nothing_else(
    tmp_path: Path, lane: Lane, kinds: tuple[str, ...]
) -> None:
    """Also behind a restart, where the file was damaged, and for what both of two brokers refused."""
    both = readers(("small", kinds), ("large", kinds))
    path, told = tmp_path / "x.db", set[int]()
    store = opened(path, lane, both)
    for n in range(0, 6_000, 500):
        store.append_encoded([record(each) for each in range(n, n + 500)])
        told |= set(map(number, tell(store, "small", refuses=is_nth(100))))
        told |= set(map(number, tell(store, "large", refuses=is_nth(1_000))))
        if n == 1_500:
            store.close()
            store = opened(path, lane, both, names=2)
        if n == 3_000:
            store.close()
            rebuild(path, lane, disk=SystemDisk(), dice=SeededDice(3), wall_ms=1, aside=tmp_path / "aside.db")
            store = opened(path, lane, both, names=4)
    lives = [life for (life,) in store._file.all("SELECT incarnation FROM life ORDER BY no")]
    last_of_first = 3_500
    got = later_cloud(store)
    declared = {
        seq + (0 if life == lives[0] else last_of_first) - 1
        for life in lives if life in got
        for seq in got[life][1].get(HoleReason.QUOTA, set())
    }  # fmt: skip
    gone = {
        seq + (0 if life == lives[0] else last_of_first) - 1
        for life in lives if life in got
        for seq in got[life][1].get(HoleReason.FORGOTTEN, set())
    }  # fmt: skip
    assert len(gone | declared) > 4_000
    assert declared == {n for n in gone | declared if n not in told} == {n for n in gone | declared if n % 1_000 == 0}
    assert store.usage().dropped == len(declared)
    assert {seq for (seq,) in store._file.all("SELECT seq FROM refused")} <= {
        seq for (seq,) in store._file.all("SELECT seq FROM record")
    }
    store.close()


@pytest.mark.guarantee("G1", "G2")
def test_lane_a_keeps_what_a_broker_never_takes_in_whatever_incarnation(tmp_path: Path) -> None:
    path, all_ = tmp_path / "a.db", readers(("all", ()))
    store = opened(path, Lane.A, all_)
    store.append_encoded([record(n) for n in range(1_500)])
    tell(store, "all", refuses=is_nth(2_000, 1_300))
    assert store.heads()[0].first == 1_301  # though 100 are all that is kept
    old = store.incarnation
    store.begin_life(SeededDice(9), 1, cut=1_200, reason="test")
    store.append_encoded([record(n) for n in range(1_500, 3_000)])
    tell(store, "all")
    store.close()
    store = opened(path, Lane.A, all_, names=2)
    store.trim(10**9)
    assert store.incarnation != old
    [(held, holes)] = [each for life, each in later_cloud(store).items() if life != old]
    assert held[0].body["n"] == 1_300
    assert len(held) == 1_700
    assert holes == {HoleReason.FORGOTTEN: set(range(1, 101))}
    store.begin_life(SeededDice(10), 1, cut=store.last, reason="test")  # all of it stays in an older incarnation
    store.append_encoded([record(3_000)])
    tell(store, "all")
    store.trim(10**9)
    kept = [
        number(row[check_bytes(Lane.A) :]) for (row,) in store._file.all("SELECT row FROM record ORDER BY life, seq")
    ]
    assert kept[0] == 1_300
    assert store.usage().dropped == 0
    store.close()


def test_a_file_without_a_refusal_is_as_an_older_program_made_it(tmp_path: Path) -> None:
    store = opened(tmp_path / "b.db", Lane.B, readers(("all", ())))
    store.append_encoded([record(n) for n in range(2_000)])
    tell(store, "all")
    assert store._file.all("SELECT name FROM sqlite_schema WHERE name = 'refused'") == []
    tell(store, "all", refuses=lambda _: True)  # there was nothing to refuse
    assert store._file.all("SELECT name FROM sqlite_schema WHERE name = 'refused'") == []
    store.close()


def test_one_that_never_read_holds_all(tmp_path: Path) -> None:
    store = opened(tmp_path / "b.db", Lane.B, readers(("quick", ()), ("dead", ())))
    store.append_encoded([record(n) for n in range(500)])
    tell(store, "quick")
    assert store.trim(10**9) == 0
    for n in range(500, 4_000, 500):
        store.append_encoded([record(each) for each in range(n, n + 500)])
        tell(store, "quick")
    assert store.usage().dropped == store.heads()[0].first - 1 > 0  # it was never told: that is said
    store.close()


@pytest.mark.guarantee("G2", "G18")
@pytest.mark.parametrize("lane", LANES)
def test_an_older_incarnation_goes_as_well_and_a_cloud_hears_of_it(tmp_path: Path, lane: Lane) -> None:
    store = opened(tmp_path / "x.db", lane, readers(("all", ())))
    store.append_encoded([record(n) for n in range(300)])
    old = store.incarnation
    tell(store, "all", 120)
    store.begin_life(SeededDice(9), 1, cut=200, reason="test", lost_to=230)
    store.append_encoded([record(n) for n in range(300, 350)])
    assert store.place("northbound:all") == Place(old, 120, 200)
    assert tell(store, "all") == [record(n) for n in range(120, 350)]
    assert store._file.all("SELECT DISTINCT life FROM record") == [(2,)]
    store.close()
    store = opened(tmp_path / "x.db", lane, readers(("all", ())), names=2)
    got = later_cloud(store)
    assert got[old][1] == {HoleReason.FORGOTTEN: set(range(1, 201)), HoleReason.LOST: set(range(201, 231))}
    assert len(got[store.incarnation][0]) == 150
    for head in store.heads():
        store.acked(head.incarnation, head.last)
    assert [head.incarnation for head in store.heads()] == [store.incarnation]
    assert store._file.all("SELECT * FROM hole") == []
    store.close()


@pytest.mark.guarantee("G2", "G18")
@pytest.mark.parametrize("lane", LANES)
def test_an_old_copy_that_let_records_go_says_so_in_its_new_incarnation(tmp_path: Path, lane: Lane) -> None:
    """The cloud has 500 of what another copy wrote; this one wrote others since, told them to a façade, let them go."""
    store = opened(tmp_path / "x.db", lane, readers(("all", ())))
    store.append_encoded([record(n) for n in range(100)])
    tell(store, "all", 40)
    store.append_encoded([record(n) for n in range(100, 400)])
    tell(store, "all", 310)
    old = store.incarnation
    assert store.trim(300) == 300
    store.begin_life(SeededDice(9), 1, cut=100, reason="the cloud holds up to 500")
    store.acked(old, 500)
    store.append_encoded([record(400)])
    assert store.place("northbound:all").after == 250  # 350 of the old one
    assert tell(store, "all") == [record(n) for n in range(350, 401)]
    store.close()
    store = opened(tmp_path / "x.db", lane, readers(("all", ())), names=2)
    [(incarnation, (held, holes))] = later_cloud(store).items()
    assert incarnation == store.incarnation != old
    assert holes == {HoleReason.FORGOTTEN: set(range(1, 201))}
    assert [each.body["n"] for each in held] == list(range(300, 401))
    assert store.verify_chain() == 101 if lane is Lane.A else True
    store.close()


@pytest.mark.guarantee("G9")
@pytest.mark.parametrize("lane", [Lane.B, Lane.C])
def test_the_oldest_give_way_first_though_they_are_of_an_older_incarnation(tmp_path: Path, lane: Lane) -> None:
    store = opened(tmp_path / "x.db", lane, None)
    lives = [store.incarnation]
    for n in range(6):
        for at in range(0, 600, 100):
            store.append_encoded([record(n * 600 + at + each) for each in range(100)])
        lives.append(store.begin_life(SeededDice(9 + n), 1, cut=store.last, reason="test"))
    store.append_encoded([record(n) for n in range(3_600, 3_700)])
    assert store.usage().pages <= PAGES
    got = later_cloud(store)
    held = [each.body["n"] for life in lives if life in got for each in got[life][0]]
    assert held == list(range(3_700 - len(held), 3_700))
    assert len(held) > 1_500
    assert store.usage().dropped + len(held) == 3_700
    assert {reason for _, holes in got.values() for reason in holes} == {HoleReason.QUOTA}
    store.close()


def test_what_facades_were_told_of_lane_a_is_no_finding_of_the_look_at_a_log(tmp_path: Path) -> None:
    for lane in LANES:
        store = opened(tmp_path / f"lane-{lane.topic_segment}.db", lane, readers(("all", ())))
        store.append_encoded([record(n) for n in range(2_000)])
        tell(store, "all")
        assert store.heads()[0].first > 1_000
        store.close()
    assert verify_folder(tmp_path).findings == []


@pytest.mark.guarantee("G2", "G9")
@pytest.mark.parametrize("seed", seeds(6, 60))
def test_whatever_happens_every_position_is_told_for_and_what_gave_way_is_counted(tmp_path: Path, seed: int) -> None:
    """Façades come and go, an incarnation ends, the edge restarts, a cloud comes at last: nothing is made up."""
    dice = random.Random(seed)
    lane = dice.choice(LANES)
    kinds = ["reading", "alert", "device"]
    names = ["one", "two"]
    path, n, opens = tmp_path / "x.db", 0, 0

    def some_readers() -> Readership:
        picked = dice.sample(names, dice.randint(0, 2))
        return readers(
            *((name, dice.choice([(), ("reading",), ("reading", "alert")])) for name in picked),
            cloud=dice.random() < 0.1,
        )

    readership = some_readers()
    store = opened(path, lane, readership)
    for _ in range(150):
        match dice.randint(0, 9):
            case 0:
                store.close()
                readership, opens = some_readers(), opens + 1
                store = opened(path, lane, readership, names=100 + opens)
            case 1 if dice.random() < 0.2 and store.usage().fraction < 0.9:
                opens, cut = opens + 1, dice.randint(max(0, store.last - 60), store.last)
                store.begin_life(SeededDice(1_000 + opens), 1, cut=cut, reason="test")
            case 2 if readership.cloud:
                store.acked(store.incarnation, dice.randint(0, store.last))
            case 3 | 4 | 5:
                for each in readership.readers:
                    name = each.cursor.removeprefix("northbound:")
                    tell(store, name, dice.randint(1, 2_000), is_nth({"one": 50, "two": 70}[name]))
            case 6:
                store.trim(store.last)
            case _:
                count = dice.randint(1, 60)
                try:
                    store.append_encoded([record(n + at, dice.choice(kinds), 900) for at in range(count)])
                except StoreFullError:
                    assert lane is Lane.A
                    break
                n += count
        assert lane is not Lane.A or store.usage().dropped == 0
    got = later_cloud(store)
    for head in store.heads():
        held, holes = got[head.incarnation]
        assert HoleReason.LOST not in holes or not held or head.closed
        if lane is Lane.A:
            assert HoleReason.QUOTA not in holes
    store.close()


def test_a_kind_is_known_by_its_first_bytes() -> None:
    for kind in ("a", "a" * 23, "a" * 24, "a" * 31):
        assert record(1, kind).startswith(kind_mark(kind))
