"""Kills a process at each operation on its disk in turn, and holds what it left against what it had acknowledged.

Arguments: an empty folder; kill at every how-many-th operation; where to begin. Says as JSON how many points there were
and what was wrong. Operations: every write, sync, truncation and removal that SQLite makes, every step of the `Disk`
port. Nothing is traced: the process counts, and kills itself.
"""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import apsw

from edge.log.heads import HeadSigner
from edge.log.record_log import Entry, RecordLog
from edge.log.settings import LaneSettings, LogSettings
from kit.clock import ManualClock
from kit.dice import SeededDice, SystemDice
from kit.files import SystemDisk
from protocols.device_model.identity import EdgeId
from protocols.grant.keys import private_key
from protocols.link.lanes import Lane
from protocols.vectors.fixed import stream

SMALL = LaneSettings(pages_max=40, linger_ms=0, keep_acked_records=10)
LARGE = LaneSettings(pages_max=4_000, linger_ms=0, keep_acked_records=10)
SETTINGS = LogSettings(LARGE, LARGE, SMALL, ballast_bytes=8_192)
SIGNER = HeadSigner(EdgeId("e-aurora0000000001"), private_key(stream("log key")), b"log-1")
DAMAGED = 120


class Counter:
    """Kills the process at the n-th operation."""

    def __init__(self, kill_at: int) -> None:
        self._left = kill_at

    def count(self) -> None:
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


class CountingDisk(SystemDisk):
    def __init__(self, counter: Counter) -> None:
        self._counter = counter

    def write(self, path: Path, data: bytes, *, mode: int = 0o600) -> None:
        self._counter.count()
        super().write(path, data[: len(data) // 2], mode=mode)
        self._counter.count()  # killed here: half of it is there
        super().write(path, data, mode=mode)

    def sync(self, path: Path) -> None:
        self._counter.count()
        super().sync(path)

    def rename(self, old: Path, new: Path) -> None:
        self._counter.count()
        super().rename(old, new)

    def remove(self, path: Path) -> None:
        self._counter.count()
        super().remove(path)

    def sync_folder(self, folder: Path) -> None:
        self._counter.count()
        super().sync_folder(folder)


class CountingVfs(apsw.VFS):
    def __init__(self, counter: Counter) -> None:
        self._counter = counter
        super().__init__("counting", "")

    def xOpen(self, name: Any, flags: list[int]) -> "CountingFile":  # SQLite's names
        return CountingFile(self._counter, name, flags)

    def xDelete(self, name: str, syncdir: bool) -> None:
        self._counter.count()
        super().xDelete(name, syncdir)


class CountingFile(apsw.VFSFile):
    def __init__(self, counter: Counter, name: Any, flags: list[int]) -> None:
        self._counter = counter
        super().__init__("", name, flags)

    def xWrite(self, data: bytes, offset: int) -> None:
        self._counter.count()
        super().xWrite(data, offset)

    def xSync(self, flags: int) -> None:
        self._counter.count()
        super().xSync(flags)

    def xTruncate(self, size: int) -> None:
        self._counter.count()
        super().xTruncate(size)


def entry(n: int, pad: int = 0) -> Entry:
    body = {
        "room": "101", "device": "t-1", "capability": "c", "attribute": "a", "value": n, "unit": None,
        "quality": "good", "pad": "x" * pad,
    }  # fmt: skip
    return Entry("reading", body)


async def prepare(folder: Path) -> dict[str, str]:
    """A log with records in A and B; B's file is damaged in the middle. Return its incarnations."""
    log = await RecordLog.open(folder, clock=ManualClock(), dice=SeededDice("prepare"), settings=SETTINGS)
    async with log:
        await log.append_many(Lane.A, [entry(n) for n in range(30)])
        await log.append_many(Lane.B, [entry(n, 200) for n in range(DAMAGED)])
        incarnations = {lane.value: each.hex() for lane, each in log.incarnations().items()}
    with (folder / "lane-b.db").open("r+b") as file:
        file.seek((folder / "lane-b.db").stat().st_size // 4096 // 2 * 4096)
        file.write(bytes(4096))
    return incarnations


async def scenario(folder: Path, kill_at: int, say: int) -> None:
    """What the process does until it is killed; each acknowledgement is told first to whoever holds the truth."""
    counter = Counter(kill_at)
    vfs = CountingVfs(counter)

    def acked(what: list[Any]) -> None:
        os.write(say, json.dumps(what).encode() + b"\n")

    for round_ in range(2):
        log = await RecordLog.open(
            folder, clock=ManualClock(), dice=SystemDice(), settings=SETTINGS, vfs="counting", signer=SIGNER,
            disk=CountingDisk(counter),
        )  # fmt: skip
        async with log:
            for n in range(4):
                seq = await log.append(Lane.A, "access", {"n": f"{round_}-{n}"})
                acked(["A", log.incarnation.hex(), seq, f"{round_}-{n}"])
            position = round_ + 1
            if (taken := await log.append_once("doors", position, Lane.A, entry(position))) is not None:
                acked(["once", log.incarnation.hex(), taken, position])
            for n in range(6):
                positions = await log.append_many(Lane.C, [entry(each) for each in range(40)])
                acked(["C", log.incarnations()[Lane.C].hex(), positions[-1], n])
            await log.acked(log.incarnation, Lane.A, log.heads()[Lane.A] - 5)
            await log.advance("reader", Lane.A, log.heads()[Lane.A] - 2)
        del log
    vfs.unregister()


async def check(folder: Path, told: list[list[Any]], before: dict[str, str]) -> list[str]:
    """Open what the killed process left, as the next start would, and name what is wrong with it."""
    wrong: list[str] = []
    log = await RecordLog.open(folder, clock=ManualClock(), dice=SystemDice(), settings=SETTINGS)
    async with log:
        heads = {(head.incarnation.hex(), head.lane): head for head in await log.streams()}
        held: dict[tuple[str, str, int], Any] = {}
        for (incarnation, lane), head in heads.items():
            after = 0
            while (run := await log.run(bytes.fromhex(incarnation), lane, after, 500)) is not None:
                seqs = set(run.seqs)
                for hole in run.holes:
                    seqs |= set(range(hole.first, hole.last + 1))
                if seqs != set(range(after + 1, run.last + 1)):
                    wrong.append(f"lane {lane}: positions {after + 1} to {run.last} are not all accounted for")
                held.update(
                    {(lane.value, incarnation, seq): data for seq, data in zip(run.seqs, run.records, strict=True)}
                )
                after = run.last
            if after != head.last:
                wrong.append(f"lane {lane} ends at {after}, not at {head.last}")
        trimmed = min((seq for lane, _, seq in held if lane == "A"), default=1) - 1
        for what, incarnation, seq, value in told:
            place = ("A", incarnation, seq)
            if what != "C" and seq > trimmed and place not in held:
                wrong.append(f"acknowledged and lost: {what} {seq}")
            if what == "C" and heads[incarnation, Lane.C].last < seq:
                wrong.append(f"acknowledged and lost: C {seq}")
            if what == "A" and seq > trimmed and str(value).encode() not in held.get(place, b""):
                wrong.append(f"changed: A {seq}")
        taken = [value for what, _, _, value in told if what == "once"]
        mark = await log.source_mark("doors", Lane.A)
        if taken and mark < max(taken):
            wrong.append(f"taken over and forgotten: {max(taken)}, mark {mark}")
        await log.verify_chain()
        if await log.cursor("reader", Lane.A) > log.heads()[Lane.A]:
            wrong.append("a cursor ahead of what is there")
        saved = [seq for lane, incarnation, seq in held if lane == "B" and incarnation == before["B"]]
        if len(saved) < DAMAGED * 2 // 3:
            wrong.append(f"of {DAMAGED} records in the damaged file {len(saved)} were saved")
        if log.incarnations()[Lane.B].hex() == before["B"]:
            wrong.append("lane B goes on in the damaged incarnation")
    return wrong


def main(folder: Path, every: int, first: int) -> dict[str, Any]:
    base = folder / "base"
    before = asyncio.run(prepare(base))
    points, wrong, kill_at = 0, [], first
    while True:
        place = folder / "log"
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(base, place)
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reading)
            with contextlib.suppress(BaseException), Path(os.devnull).open("w") as nothing:
                os.dup2(nothing.fileno(), 1)
                asyncio.run(scenario(place, kill_at, writing))
                os._exit(0)
            os._exit(3)
        os.close(writing)
        with os.fdopen(reading, "rb") as pipe:
            told = [json.loads(line) for line in pipe.read().splitlines()]
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status):
            if os.WEXITSTATUS(status):
                wrong.append(f"operation {kill_at}: the process ended with {os.WEXITSTATUS(status)}")
            break
        points += 1
        found = asyncio.run(check(place, told, before))
        wrong += [f"operation {kill_at}: {each}" for each in found]
        kill_at += every
    return {"points": points, "wrong": wrong, "operations": kill_at}


if __name__ == "__main__":
    import structlog

    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    print(json.dumps(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))))
