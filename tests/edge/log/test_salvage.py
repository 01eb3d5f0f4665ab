"""A damaged file costs what cannot be read, and nothing else: no acknowledged record that can be read is given up."""

import random
import shutil
from contextlib import closing
from pathlib import Path

import apsw
import pytest

from edge.log.lane_store import CorruptStoreError, LaneStore
from edge.log.lane_writer import REOPEN_EVERY_MS
from edge.log.record_log import Entry, RecordLog
from edge.log.salvage import REBUILT_SUFFIX
from edge.log.settings import LaneSettings, LogSettings
from kit.clock import ManualClock
from kit.dice import SeededDice
from protocols.errors import StoreFailedError
from protocols.link.batch import HoleReason, pack_batch, parse_batch
from protocols.link.cloud_stream import ChainVerdict, CloudStream
from protocols.link.lanes import Lane
from tests.seeds import THOROUGH, seeds
from tests.simulation.log.crash_disk import CrashDisk
from tests.simulation.log.kill_points import Counter, CountingDisk

LANE = LaneSettings(pages_max=5_000, linger_ms=0)
SETTINGS = LogSettings(LANE, LANE, LANE, ballast_bytes=0)
RECORDS = 400


async def opened(folder: Path, *, seed: int = 1, disk: CountingDisk | None = None) -> RecordLog:
    return await RecordLog.open(folder, clock=ManualClock(), dice=SeededDice(seed), settings=SETTINGS, disk=disk)


@pytest.fixture
async def folder(tmp_path: Path) -> Path:
    async with await opened(tmp_path / "log") as log:
        for lane in Lane:
            for at in range(0, RECORDS, 100):
                await log.append_many(lane, [Entry("access", {"n": at + n, "pad": "x" * 150}) for n in range(100)])
        await log.append_once("doors", 7, Lane.A, Entry("access", {"n": RECORDS}))
        await log.command_phase("k-1", "c-1", "executing", None, Entry("command", {"n": RECORDS + 1}))
        await log.keep_document("stays", 3, b"signed")
        await log.acked(log.incarnation, Lane.A, 50)
    return tmp_path / "log"


def damage_page(path: Path, page: int, data: bytes = bytes(4096)) -> None:
    with path.open("r+b") as file:
        file.seek(page * 4096)
        file.write(data)


async def streamed(log: RecordLog, lane: Lane) -> tuple[dict[bytes, list[int]], dict[bytes, set[int]], list[int]]:
    """Send all of a lane to a cloud that knows nothing; by incarnation ids stored and positions lost; all ids."""
    held: dict[bytes, list[int]] = {}
    lost: dict[bytes, set[int]] = {}
    for head in await log.streams():
        if head.lane is not lane:
            continue
        cloud = CloudStream(head.incarnation, lane)
        held[head.incarnation], lost[head.incarnation] = [], set()
        while (run := await log.run(head.incarnation, lane, cloud.hi, 500)) is not None:
            offered = cloud.offer(parse_batch(pack_batch_of(head.incarnation, lane, run)).open())
            assert offered.verdict is not ChainVerdict.BROKEN
            held[head.incarnation] += [record.body["n"] for record in offered.records if "n" in record.body]
            for hole in offered.holes:
                assert hole.reason in {HoleReason.LOST, HoleReason.FORGOTTEN}
                if hole.reason is HoleReason.LOST:
                    lost[head.incarnation] |= set(range(hole.first, hole.last + 1))
        assert cloud.hi >= head.last  # the log itself may have had something to say since
    return held, lost, sorted(n for each in held.values() for n in each)


def pack_batch_of(incarnation: bytes, lane: Lane, run: object) -> bytes:
    from protocols.device_model.identity import EdgeId
    from protocols.link.batch import Packed

    assert isinstance(run, Packed)
    return pack_batch(EdgeId("e-aurora0000000001"), incarnation, lane, run)[0]


@pytest.mark.guarantee("G11")
@pytest.mark.guarantee("G1")
@pytest.mark.parametrize("lane", list(Lane))
async def test_what_can_be_read_of_a_damaged_file_is_kept(folder: Path, lane: Lane) -> None:
    path = folder / f"lane-{lane.topic_segment}.db"
    damage_page(path, path.stat().st_size // 4096 // 2)
    async with await opened(folder, seed=2) as log:
        before = set(log.incarnations().values())
        held, lost, ids = await streamed(log, lane)
        [old, new] = held
        assert log.incarnations()[lane] == new
        assert len(log.quarantined()) == 1
        assert len(ids) == len(set(ids))
        assert RECORDS * 3 // 4 < len(ids) < RECORDS  # one page of some 20 to 25
        assert {n + 1 for n in range(RECORDS)} == {n + 1 for n in ids if n < RECORDS} | lost[old]
        assert await log.append(lane, "access", {"n": 10_000}) == 1 + (lane is Lane.B)  # behind the log's own word
        if lane is Lane.A:
            assert await log.append_once("doors", 7, Lane.A, Entry("access", {"n": 0})) is None
            assert await log.commands_in("executing") == [("k-1", "c-1")]
            assert await log.document("stays") == (3, b"signed")
        [said] = [record for record in await log.read(Lane.B, 0) if record.kind == "record_log"]
        assert (said.body["what"], said.body["lane"], said.body["lost"]) == ("damaged", lane.value, len(lost[old]))
    async with await opened(folder, seed=3) as log:
        assert set(log.incarnations().values()) == before
        assert not log.quarantined()


@pytest.mark.guarantee("G11")
@pytest.mark.parametrize("seed", seeds(6, 16))
async def test_no_damage_keeps_the_log_from_opening(folder: Path, seed: int) -> None:
    dice = random.Random(seed)
    path = folder / "lane-a.db"
    pages = path.stat().st_size // 4096
    for _ in range(dice.choice([1, 2, 5])):
        match dice.choice(["zeroes", "noise", "torn", "first", "swap", "append"]):
            case "zeroes":
                damage_page(path, dice.randrange(pages))
            case "noise":
                damage_page(path, dice.randrange(pages), dice.randbytes(4096))
            case "torn":
                with path.open("r+b") as file:
                    file.truncate(dice.randrange(path.stat().st_size))
            case "first":
                damage_page(path, 0, dice.randbytes(100))
            case "swap":
                data = path.read_bytes()
                one = dice.randrange(pages) * 4096
                damage_page(path, dice.randrange(pages), data[one : one + 4096].ljust(4096, b"\0"))
            case _:
                with path.open("ab") as file:
                    file.write(dice.randbytes(10_000))
    async with await opened(folder, seed=100 + seed) as log:
        _, _, ids = await streamed(log, Lane.A)
        assert len(ids) == len(set(ids))
        assert set(ids) <= set(range(RECORDS + 2))
        await log.append(Lane.A, "access", {"n": 10_000})
    async with await opened(folder, seed=200 + seed) as log:
        assert (await log.read(Lane.A, log.heads()[Lane.A] - 1))[0].body["n"] == 10_000


@pytest.mark.guarantee("G18")
async def test_a_write_ahead_log_that_was_cut_off_reuses_no_position(folder: Path, tmp_path: Path) -> None:
    log = await opened(folder, seed=2)
    last = await log.append_encoded(Lane.A, [b"\x86" + bytes(50)] * 10)
    old = log.incarnation
    shutil.copytree(folder, tmp_path / "crashed")  # as a crash leaves it
    await log.close()
    shutil.copy(folder / "incarnations.json", tmp_path / "crashed")  # the witness had seen it
    (tmp_path / "crashed" / "lane-a.db-wal").unlink()
    async with await opened(tmp_path / "crashed", seed=3) as again:
        assert again.incarnation != old
        _, lost, _ = await streamed(again, Lane.A)
        assert lost[old] == set(range(last - 9, last + 1))


@pytest.mark.guarantee("G11")
async def test_power_may_fail_at_every_step_of_a_rebuilding(folder: Path, tmp_path: Path) -> None:
    damage_page(folder / "lane-a.db", (folder / "lane-a.db").stat().st_size // 4096 // 2)
    for kill_at in range(1, 60, 1 if THOROUGH else 4):
        place = tmp_path / f"at-{kill_at}"
        shutil.copytree(folder, place)
        try:
            cut = await opened(place, seed=2, disk=CountingDisk(_Broken(kill_at)))
        except StoreFailedError:
            pass
        else:
            await cut.close()
        async with await opened(place, seed=3) as log:
            held, lost, ids = await streamed(log, Lane.A)
            assert len(ids) == len(set(ids)) > RECORDS // 2
            old = next(iter(held))
            assert len(ids) + len(lost[old]) == RECORDS + 2
            assert not (place / f"lane-a.db{REBUILT_SUFFIX}").exists()
        shutil.rmtree(place)


class _Broken(Counter):
    """From the n-th operation on the disk does nothing any more, and says so."""

    def count(self) -> None:
        self._left -= 1
        if self._left <= 0:
            raise OSError(5, "input/output error")


@pytest.mark.guarantee("G11")
async def test_a_file_of_version_1_is_read_on(tmp_path: Path) -> None:
    from protocols.link import chain

    incarnation = bytes(range(16))
    (tmp_path / "log").mkdir()
    for lane in Lane:
        with closing(apsw.Connection(str(tmp_path / "log" / f"lane-{lane.topic_segment}.db"))) as db:
            db.execute(VERSION_1)
            db.execute(
                "INSERT INTO life VALUES (1, ?, 5, 'new file', 0, 0, ?, 0)", (incarnation, chain.genesis(incarnation))
            )
            db.execute("INSERT INTO opening VALUES (1, 0, ?, 5)", (bytes(8),))
            link: bytes = chain.genesis(incarnation)
            for seq in range(1, 21):
                data = _record(seq)
                link = chain.link(link, seq, data)
                db.execute("INSERT INTO record VALUES (1, ?, ?, ?)", (seq, data, link if lane is Lane.A else None))
    async with await opened(tmp_path / "log") as log:
        assert not log.quarantined()
        assert log.heads() == dict.fromkeys(Lane, 20)
        assert await log.verify_chain() == 20
        for lane in Lane:
            assert [record.body["n"] for record in await log.read(lane, 0)] == list(range(1, 21))
        assert await log.append(Lane.A, "access", {"n": 21}) == 21


def _record(n: int) -> bytes:
    from protocols.link.record import ClockQuality, encode_record

    return encode_record("access", {"n": n}, device_at_ms=None, edge_at_ms=5, mono_ms=5, clock=ClockQuality.UNCERTAIN)


VERSION_1 = """
CREATE TABLE life (no INTEGER PRIMARY KEY, incarnation BLOB NOT NULL UNIQUE, began_at_ms INTEGER NOT NULL,
    reason TEXT NOT NULL, acked INTEGER NOT NULL DEFAULT 0, trimmed INTEGER NOT NULL DEFAULT 0,
    trimmed_link BLOB NOT NULL,
    dropped INTEGER NOT NULL DEFAULT 0) STRICT;
CREATE TABLE opening (life INTEGER NOT NULL, before INTEGER NOT NULL, id BLOB NOT NULL, at_ms INTEGER NOT NULL,
    PRIMARY KEY (life, before)) STRICT, WITHOUT ROWID;
CREATE TABLE record (life INTEGER NOT NULL, seq INTEGER NOT NULL, record BLOB NOT NULL, link BLOB,
    PRIMARY KEY (life, seq)) STRICT, WITHOUT ROWID;
CREATE TABLE hole (life INTEGER NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL, reason INTEGER NOT NULL,
    PRIMARY KEY (life, first)) STRICT, WITHOUT ROWID;
CREATE TABLE cursor (name TEXT PRIMARY KEY, life INTEGER NOT NULL, seq INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE source (name TEXT PRIMARY KEY, position INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE command (key TEXT PRIMARY KEY, no INTEGER NOT NULL, id TEXT NOT NULL, phase TEXT NOT NULL, result TEXT)
    STRICT, WITHOUT ROWID;
CREATE TABLE document (name TEXT PRIMARY KEY, version INTEGER NOT NULL, data BLOB NOT NULL) STRICT, WITHOUT ROWID;
PRAGMA user_version = 1;
"""


@pytest.mark.guarantee("G11")
async def test_damage_that_shows_only_when_it_is_read_is_mended_while_it_runs(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge.log.lane_file.QUICK_CHECK_PAGES_MAX", 0)  # as with a file too large to be looked over
    path = folder / "lane-b.db"
    damage_page(path, path.stat().st_size // 4096 // 2)
    clock = ManualClock()
    async with await RecordLog.open(folder, clock=clock, dice=SeededDice(2), settings=SETTINGS) as log:
        before = log.incarnations()[Lane.B]
        with pytest.raises(CorruptStoreError):
            await streamed(log, Lane.B)
        clock.advance(REOPEN_EVERY_MS)
        held, lost, ids = await streamed(log, Lane.B)
        assert next(iter(held)) == before != log.incarnations()[Lane.B]
        assert len(ids) > RECORDS * 3 // 4
        assert len(ids) + len(lost[before]) >= RECORDS
        assert len(log.quarantined()) == 1


@pytest.mark.guarantee("G18")
async def test_a_new_life_whose_commit_was_refused_and_is_there_all_the_same_costs_nothing(tmp_path: Path) -> None:
    for fail_at in range(1, 40):
        with CrashDisk(fail_at) as disk:
            dice = SeededDice(fail_at)
            path = Path("/lane-a.db")
            store = LaneStore(
                path, Lane.A, pages_max=900, keep_acked_records=9, dice=dice, wall_ms=1, disk=disk, vfs=disk.name
            )
            store.append_encoded([_record(n) for n in range(10)])
            old = store.incarnation
            disk.fail_a_sync_in(fail_at)
            try:
                store.begin_life(dice, 2, cut=6, reason="test")
            except StoreFailedError:
                again = LaneStore(
                    path, Lane.A, pages_max=900, keep_acked_records=9, dice=dice, wall_ms=1, disk=disk, vfs=disk.name,
                    confirmed=store.confirmed(),
                )  # fmt: skip
                store.abandon()
                store = again
            held = [record for inc in dict.fromkeys((old, store.incarnation)) for record in _all(store, inc)]
            assert held == [_record(n) for n in range(10)]
            store.verify_chain()
            store.abandon()


def _all(store: LaneStore, incarnation: bytes) -> list[bytes]:
    run = store.run(incarnation, 0, 500)
    return [] if run is None else list(run.records)
