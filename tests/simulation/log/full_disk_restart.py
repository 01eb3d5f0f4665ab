"""Lane C holds megabytes, the log is closed, somebody else takes all but a little: the next life begins without room.

Run by test_full_disk in a mount namespace of its own; says as JSON what came of it. Arguments: the folder of a mounted
volume that may be filled, how many bytes of it are left at the second opening.
"""

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

from edge.log.record_log import Entry, RecordLog
from edge.log.settings import LogSettings
from kit.clock import ManualClock
from kit.dice import SeededDice
from protocols.errors import StoreFailedError
from protocols.link.lanes import Lane
from tests.simulation.log.full_disk_small import AT_ONCE, body

SETTINGS = LogSettings(AT_ONCE, AT_ONCE, AT_ONCE, tidy_every_ms=50)
READINGS = 60_000
EVENTS = 1_000


async def main(folder: Path, left: int) -> dict[str, Any]:
    clock = ManualClock()
    held: set[int] = set()
    async with await RecordLog.open(folder / "log", clock=clock, dice=SeededDice(1), settings=SETTINGS) as log:
        for first in range(0, READINGS, 100):
            entries = [Entry("reading", body(first + each)) for each in range(100)]
            held |= set(await log.append_many(Lane.C, entries, urgent=True))
            clock.advance(3_000)
        pages = (await log.usage())[Lane.C].pages
    (folder / "log" / "ballast").unlink()
    volume = os.statvfs(folder)
    with (folder / "filler").open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, volume.f_bavail * volume.f_frsize - left)
    refused = 0
    async with await RecordLog.open(folder / "log", clock=clock, dice=SeededDice(2), settings=SETTINGS) as log:
        for n in range(EVENTS):
            try:
                await log.append_many(
                    Lane.A, [Entry("access", {"n": n, "door": "101", "event": "opened"})], urgent=True
                )
            except StoreFailedError:
                refused += 1
        usage = (await log.usage())[Lane.C]
        told: set[int] = set()
        after = 0
        while (run := await log.run(log.incarnations()[Lane.C], Lane.C, after, 500)) is not None:
            told |= set(run.seqs)
            for hole in run.holes:
                told |= set(range(hole.first, hole.last + 1))
            after = run.last
        (folder / "filler").unlink()
        await log.append_many(Lane.C, [Entry("reading", body(0))], urgent=True)
        return {
            "refused_a": refused, "pages_before": pages, "pages": usage.pages, "lost_c": len(held - told),
            "chain": await log.verify_chain(), "ballast_after": (folder / "log" / "ballast").exists(),
        }  # fmt: skip


print(json.dumps(asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))))
