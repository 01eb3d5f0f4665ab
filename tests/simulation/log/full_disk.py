"""Fills a small volume under a running log, then makes it read-only, and says as JSON what it saw.

Run by test_full_disk in a mount namespace of its own. Arguments: the folder of a mounted volume that may be filled.
"""

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from edge.log.record_log import Entry, RecordLog
from edge.log.settings import LaneSettings, LogSettings
from kit.clock import SystemClock
from kit.dice import SystemDice
from protocols.errors import StoreFailedError
from protocols.link.batch import HoleReason
from protocols.link.lanes import Lane

LANE = LaneSettings(pages_max=100_000, linger_ms=0, keep_acked_records=0)
BALLAST = 4 * 1024 * 1024


def body(n: int) -> dict[str, Any]:
    return {
        "room": "101", "device": f"t-{n % 10}", "capability": "c", "attribute": "a", "value": n, "unit": None,
        "quality": "good", "pad": "x" * 200,
    }  # fmt: skip


async def main(folder: Path) -> dict[str, Any]:
    settings = LogSettings(LANE, LANE, LANE, ballast_bytes=BALLAST, tidy_every_ms=20)
    log = await RecordLog.open(folder / "log", clock=SystemClock("host"), dice=SystemDice(), settings=settings)
    acked: dict[str, list[int]] = {"A": [], "C": []}
    refused = {"A": 0, "C": 0}

    async def write(lane: str, rounds: int) -> None:
        for _ in range(rounds):
            try:
                positions = await log.append_many(lane, [Entry("reading", body(n)) for n in range(50)])
                acked[lane] += positions
            except StoreFailedError:
                refused[lane] += 1

    await write("A", 2)
    await write("C", 200)
    filler = folder / "filler"
    filled = 0
    with filler.open("wb", buffering=0) as file:  # somebody else takes all that is left
        try:
            while True:
                filled += file.write(bytes(65_536))
        except OSError:
            pass
    await write("C", 1)  # lane C meets the full disk first
    for _ in range(60):
        await write("A", 1)
        await write("C", 1)
    during = {"refused_a": refused["A"], "ballast": (folder / "log" / "ballast").exists()}
    filler.unlink()
    for _ in range(500):
        await write("A", 1)
        await write("C", 1)
        if (folder / "log" / "ballast").exists():
            break
        await asyncio.sleep(0.01)
    usage = await log.usage()
    result: dict[str, Any] = {
        **during, "refused_c": refused["C"], "filled": filled,
        "ballast_after": (folder / "log" / "ballast").exists(),
        "size_c": (folder / "log" / "lane-c.db").stat().st_size,
        "thinned": usage[Lane.C].thinned, "failures": {lane.value: n for lane, n in log.failures().items()},
    }  # fmt: skip
    await log.close()
    log = await RecordLog.open(folder / "log", clock=SystemClock("host"), dice=SystemDice(), settings=settings)
    result["said"] = sorted(
        {record.body["what"] for record in await log.read(Lane.B, 0) if record.kind == "record_log"}
    )
    for lane in (Lane.A, Lane.C):
        there: set[int] = set()
        declared: set[int] = set()
        after = 0
        while (run := await log.run(log.incarnations()[lane], lane, after, 500)) is not None:
            there |= set(run.seqs)
            for hole in run.holes:
                assert hole.reason in {HoleReason.THINNED, HoleReason.QUOTA}, hole
                declared |= set(range(hole.first, hole.last + 1))
            after = run.last
        result[f"lost_{lane.value}"] = len(set(acked[lane.value]) - there - declared)
        result[f"declared_{lane.value}"] = len(declared)
        result[f"dense_{lane.value}"] = there | declared == set(range(1, after + 1)) and after == log.heads()[lane]
    result["chain"] = await log.verify_chain() == len(acked["A"])
    await log.close()
    subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
    try:
        await RecordLog.open(folder / "log", clock=SystemClock("host"), dice=SystemDice(), settings=settings)
    except StoreFailedError as error:
        result["read_only"] = str(error)
    subprocess.run(["mount", "-o", "remount,rw", str(folder)], check=True)
    log = await RecordLog.open(folder / "log", clock=SystemClock("host"), dice=SystemDice(), settings=settings)
    result["after_read_only"] = await log.verify_chain() == len(acked["A"]) and not log.quarantined()
    await log.close()
    return result


print(json.dumps(asyncio.run(main(Path(sys.argv[1])))))
