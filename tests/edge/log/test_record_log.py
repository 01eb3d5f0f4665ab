"""The real log: durable before it is believed, sound after every failure, honest about what it lost."""

import asyncio
import contextlib
import errno
import json
import os
import random
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import apsw
import pytest

from edge.log.lane_store import CorruptStoreError
from edge.log.lane_writer import REFUSAL_FRESH_MS, REOPEN_EVERY_MS
from edge.log.record_log import Entry, RecordLog
from edge.log.settings import LaneSettings, LogSettings
from kit.clock import ManualClock
from kit.dice import SeededDice
from kit.files import SystemDisk
from protocols.errors import StoreFailedError
from protocols.link.batch import Hole, HoleReason
from protocols.link.lanes import Lane
from tests.edge.log.faulty_disk import FaultyDisk
from tests.seeds import seeds

QUICK = LaneSettings(pages_max=2_000, linger_ms=0)
SETTINGS = LogSettings(QUICK, QUICK, QUICK)
HELPER = Path(__file__).with_name("append_until_killed.py")


@pytest.fixture
def disk() -> Iterator[FaultyDisk]:
    with FaultyDisk() as made:
        yield made


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def log(tmp_path: Path, disk: FaultyDisk, clock: ManualClock) -> AsyncIterator[RecordLog]:
    opened = await RecordLog.open(tmp_path / "log", clock=clock, dice=SeededDice(7), settings=SETTINGS, vfs=disk.name)
    yield opened
    disk.failing = None
    await opened.close()


async def open_again(tmp_path: Path) -> RecordLog:
    return await RecordLog.open(tmp_path / "log", clock=ManualClock(), dice=SeededDice(8), settings=SETTINGS)


@pytest.mark.guarantee("G1")
@pytest.mark.parametrize("failing", ["full", "write", "sync"])
async def test_nothing_is_acknowledged_while_the_disk_fails_and_all_goes_on_after(
    log: RecordLog, disk: FaultyDisk, clock: ManualClock, failing: str
) -> None:
    acked = [await log.append(Lane.A, "access", {"n": n}) for n in range(20)]
    disk.failing = failing
    for n in range(20, 30):
        with pytest.raises(StoreFailedError):
            await log.append(Lane.A, "access", {"n": n})
        clock.advance(REOPEN_EVERY_MS)
    assert disk.refusals > 0
    assert Lane.A in log.refusals()
    clock.advance(REFUSAL_FRESH_MS)
    assert Lane.A not in log.refusals()  # nobody has asked the disk since
    with pytest.raises(StoreFailedError):
        await log.append(Lane.A, "access", {"n": 30})
    assert Lane.A in log.refusals()
    disk.failing = None
    clock.advance(REOPEN_EVERY_MS)
    acked.append(await log.append(Lane.A, "access", {"n": 30}))
    assert Lane.A not in log.refusals()
    records = await log.read(Lane.A, 0)
    assert [record.seq for record in records] == acked == list(range(1, 22))
    assert [record.body["n"] for record in records] == [*range(20), 30]  # what was refused is not there later
    assert await log.verify_chain() == 21
    assert not log.quarantined()


@pytest.mark.guarantee("G1")
async def test_a_failing_lane_takes_no_other_with_it(tmp_path: Path, log: RecordLog) -> None:
    await log.append(Lane.C, "reading", {"n": 1})
    (tmp_path / "log" / "lane-c.db").chmod(0o600)
    assert len({path.name for path in (tmp_path / "log").glob("lane-?.db")}) == 3
    usage = await log.usage()
    assert all(each.fraction < 0.1 and each.dropped == 0 for each in usage.values())


@pytest.mark.guarantee("G11")
@pytest.mark.parametrize("damage", ["torn", "garbage", "empty page"])
async def test_a_damaged_file_is_set_aside_and_a_new_life_begins(tmp_path: Path, log: RecordLog, damage: str) -> None:
    await log.append_many(Lane.A, [Entry("access", {"n": n, "pad": "x" * 400}) for n in range(200)])
    await log.append(Lane.B, "device", {"n": 1})
    before = log.incarnations()
    await log.close()
    path = tmp_path / "log" / "lane-a.db"
    size = path.stat().st_size
    with path.open("r+b") as file:
        match damage:
            case "torn":
                file.truncate(size - size // 3)
            case "garbage":
                file.write(random.Random(1).randbytes(100))
            case _:
                file.seek(4096 * (size // 8192))
                file.write(bytes(4096))
    again = await open_again(tmp_path)
    try:
        assert again.incarnations()[Lane.A] != before[Lane.A]
        assert again.incarnations()[Lane.B] == before[Lane.B]
        [aside] = again.quarantined()
        assert aside.exists()
        assert aside.name.startswith("lane-a.db.quarantined-")
        assert await again.append(Lane.A, "access", {"n": 0}) == 1
    finally:
        await again.close()


@pytest.mark.guarantee("G14")
async def test_a_changed_record_is_found_where_sqlite_finds_nothing(tmp_path: Path, log: RecordLog) -> None:
    await log.append_many(Lane.A, [Entry("access", {"n": n, "event": "refused"}) for n in range(50)])
    await log.close()
    with contextlib.closing(apsw.Connection(str(tmp_path / "log" / "lane-a.db"))) as db:
        row = db.execute("SELECT row FROM record WHERE seq = 7").get
        db.execute("UPDATE record SET row = ? WHERE seq = 7", (row.replace(b"refused", b"opened!"),))
        assert db.execute("PRAGMA integrity_check").get == "ok"
    again = await open_again(tmp_path)
    try:
        assert not again.quarantined()  # the file is sound, one record is not
        assert (await again.damaged())[Lane.A] == (7,)
        assert [each.seq for each in await again.read(Lane.A, 4, 4)] == [5, 6, 8, 9][:3]
        run = await again.run(again.incarnation, Lane.A, 0, 500)
        assert run is not None
        assert run.holes == [Hole(7, 7, HoleReason.LOST)]
        assert len(run.seqs) == 49
        with pytest.raises(CorruptStoreError, match="breaks at record 7"):
            await again.verify_chain()
    finally:
        await again.close()


@pytest.mark.guarantee("G14")
async def test_verify_names_the_first_record_that_was_changed_under_it(tmp_path: Path, log: RecordLog) -> None:
    await log.append_many(Lane.A, [Entry("access", {"n": n}) for n in range(50)])
    store = log._writers[Lane.A]
    await store.ask(lambda each: each._file.db.execute("DELETE FROM record WHERE seq = 12"))
    with pytest.raises(CorruptStoreError, match="breaks at record 13"):
        await log.verify_chain()


@pytest.mark.guarantee("G18")
async def test_an_old_copy_put_back_is_noticed_by_its_witness(tmp_path: Path, log: RecordLog) -> None:
    await log.append_many(Lane.A, [Entry("access", {"n": n}) for n in range(5)])
    await log.close()
    shutil.copy(tmp_path / "log" / "lane-a.db", tmp_path / "copy")
    again = await open_again(tmp_path)
    await again.append(Lane.A, "access", {"n": 5})
    before = again.incarnations()
    await again.close()
    shutil.copy(tmp_path / "copy", tmp_path / "log" / "lane-a.db")
    restored = await open_again(tmp_path)
    try:
        assert restored.incarnations()[Lane.A] != before[Lane.A]
        assert restored.incarnations()[Lane.B] == before[Lane.B]
        assert await restored.append(Lane.A, "access", {"n": 6}) == 1
        lives = [(head.last, head.closed) for head in await restored.streams() if head.lane is Lane.A]
        assert lives == [(6, True), (1, False)]
        run = await restored.run(before[Lane.A], Lane.A, 5, 500)
        assert run is not None
        assert run.holes == [Hole(6, 6, HoleReason.LOST)]  # known to have been written, and not here
    finally:
        await restored.close()


async def test_one_log_has_one_owner(tmp_path: Path, log: RecordLog) -> None:
    await log.append(Lane.A, "access", {})
    with pytest.raises(StoreFailedError, match="another process has it open"):
        await open_again(tmp_path)


async def test_a_closed_log_refuses_and_waiters_are_told(tmp_path: Path, log: RecordLog) -> None:
    waiting = asyncio.create_task(log.append(Lane.A, "access", {"n": 1}))
    await asyncio.sleep(0)
    await log.close()
    assert await waiting == 1  # what waited was committed
    with pytest.raises(StoreFailedError):
        await log.append(Lane.A, "access", {"n": 2})


async def test_followers_are_woken_by_commits(log: RecordLog) -> None:
    heard: list[tuple[Lane, int]] = []
    unlisten = log.listen(lambda lane, _incarnation, last: heard.append((lane, last)))
    waiting = asyncio.create_task(log.grown(Lane.B, 0))
    await log.append(Lane.B, "device", {})
    await waiting
    unlisten()
    await log.append(Lane.B, "device", {})
    assert heard == [(Lane.B, 1)]


@pytest.mark.guarantee("G1")
@pytest.mark.parametrize("seed", seeds(3, 8))
async def test_killed_at_any_moment_every_acknowledged_record_is_there(tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)
    acked: dict[str, int] = {"A": 0, "B": 0, "C": 0}
    for _ in range(3):
        process = await asyncio.create_subprocess_exec(
            sys.executable, str(HELPER), str(tmp_path / "log"),
            stdout=asyncio.subprocess.PIPE, stdin=asyncio.subprocess.DEVNULL, cwd=Path(__file__).parents[3],
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
        )  # fmt: skip
        assert process.stdout is not None
        for _line in range(dice.randint(1, 300)):
            line = await process.stdout.readline()
            assert line, "the helper ended by itself"
            acked.update(json.loads(line))
        process.send_signal(signal.SIGKILL)
        rest = await process.stdout.read()
        for line in rest.splitlines(keepends=True):
            if line.endswith(b"\n"):
                acked.update(json.loads(line))
        await process.wait()
    log = await open_again(tmp_path)
    try:
        assert not log.quarantined()
        for lane, last in acked.items():
            seqs = [record.seq for record in await log.read(lane, max(0, log.heads()[Lane(lane)] - 1_000))]
            assert log.heads()[Lane(lane)] >= last
            assert seqs == list(range(seqs[0], seqs[0] + len(seqs))) if seqs else last == 0
        assert await log.verify_chain() == log.heads()[Lane.A] >= acked["A"]
    finally:
        await log.close()


class FullDisk(SystemDisk):
    """No room for another file while `full`."""

    full = False

    def write(self, path: Path, data: bytes, *, mode: int = 0o600) -> None:
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device")
        super().write(path, data, mode=mode)


@pytest.mark.guarantee("G1", "G9")
async def test_a_log_that_was_killed_on_a_full_disk_opens_there_and_goes_on_when_there_is_room(
    tmp_path: Path, disk: FaultyDisk, clock: ManualClock
) -> None:
    """Else a kill on a full disk would end the house until somebody comes and deletes."""
    folder, room = tmp_path / "killed", FullDisk()
    async with await RecordLog.open(
        tmp_path / "living", clock=clock, dice=SeededDice(1), settings=SETTINGS, disk=room, vfs=disk.name
    ) as living:
        for lane in Lane:
            await living.append_many(lane, [Entry("access", {"n": n, "pad": "x" * 500}) for n in range(50)])
        shutil.copytree(tmp_path / "living", folder)  # with write-ahead logs, as a kill leaves them
    (folder / "ballast").unlink(missing_ok=True)
    room.full, disk.failing = True, "full"
    async with await RecordLog.open(
        folder, clock=clock, dice=SeededDice(2), settings=SETTINGS, disk=room, vfs=disk.name
    ) as log:
        assert [each.body["n"] for each in await log.read(Lane.C, 0)] == list(range(50))
        with pytest.raises(StoreFailedError):
            await log.append(Lane.C, "access", {"n": 50})
        room.full, disk.failing = False, None
        assert await log.append(Lane.C, "access", {"n": 51}) == 51
        [head] = [each for each in await log.streams() if each.lane is Lane.C]
        assert [before for _, before in head.openings] == [0, 50]  # what it took, it took under its own opening
        assert not log.quarantined()
