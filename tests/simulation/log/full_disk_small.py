"""A small volume that somebody else had all but filled before the log was made; says as JSON what came of it.

Run by test_full_disk in a mount namespace of its own. Arguments: the folder of a mounted volume that may be filled,
how many bytes of it are left.
"""

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

from edge.log.record_log import Entry, RecordLog
from edge.log.settings import LaneSettings, LogSettings
from kit.clock import ManualClock
from kit.dice import SeededDice
from protocols.errors import StoreFailedError
from protocols.link.lanes import Lane

ROUNDS = 500
AT_ONCE = LaneSettings(65_536, linger_ms=0)  # a clock that stands never ends a wait for company


def body(n: int) -> dict[str, Any]:
    return {
        "room": "101", "device": f"t-{n % 40}", "capability": "c", "attribute": "a", "value": n, "unit": None,
        "quality": "good",
    }  # fmt: skip


async def main(folder: Path, left: int) -> dict[str, Any]:
    filler = folder / "filler"
    volume = os.statvfs(folder)
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, volume.f_bavail * volume.f_frsize - left)
    clock = ManualClock()
    settings = LogSettings(AT_ONCE, AT_ONCE, AT_ONCE, tidy_every_ms=50)
    log = await RecordLog.open(folder / "log", clock=clock, dice=SeededDice(1), settings=settings)
    acked: dict[Lane, list[int]] = {Lane.A: [], Lane.C: []}
    refused = {Lane.A: 0, Lane.C: 0}

    async def write(lane: Lane, entries: list[Entry]) -> None:
        try:
            acked[lane] += await log.append_many(lane, entries, urgent=True)
        except StoreFailedError:
            refused[lane] += 1

    for n in range(ROUNDS):
        await write(Lane.C, [Entry("reading", body(50 * n + each)) for each in range(50)])
        await write(Lane.A, [Entry("access", {"n": n, "door": "101", "event": "opened"})])
        clock.advance(3_000)
    full = os.statvfs(folder).f_bavail * volume.f_frsize
    usage = await log.usage()
    result: dict[str, Any] = {
        "refused_a": refused[Lane.A], "refused_c": refused[Lane.C], "left_after": full,
        "pages_c": usage[Lane.C].pages, "thinned": usage[Lane.C].thinned, "dropped": usage[Lane.C].dropped,
        "dropped_a": usage[Lane.A].dropped, "failures": sum(log.failures().values()),
    }  # fmt: skip
    for lane, taken in acked.items():
        there: set[int] = set()
        declared: set[int] = set()
        after = 0
        while (run := await log.run(log.incarnations()[lane], lane, after, 500)) is not None:
            there |= set(run.seqs)
            for hole in run.holes:
                declared |= set(range(hole.first, hole.last + 1))
            after = run.last
        result[f"lost_{lane.value}"] = len(set(taken) - there - declared)
        result[f"invented_{lane.value}"] = len((there | declared) - set(taken))
    result["declared_a"] = result["lost_A"] + len(acked[Lane.A]) - await log.verify_chain()
    filler.unlink()
    for _ in range(3):
        await write(Lane.C, [Entry("reading", body(1))])
        clock.advance(3_000)
    result["ballast_after"] = (folder / "log" / "ballast").exists()
    result["thinned_with_room"] = (await log.usage())[Lane.C].thinned - usage[Lane.C].thinned
    await log.close()
    return result


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))))
