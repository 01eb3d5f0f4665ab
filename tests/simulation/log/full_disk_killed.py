"""Fills a small volume by itself, is killed there, begins again and fills on: says as JSON what each life could do.

Run by test_full_disk in a mount namespace of its own. Arguments: the folder of a mounted volume; and, for one of the
lives, its number.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from edge.log.record_log import Entry, RecordLog
from edge.log.settings import LogSettings
from kit.clock import SystemClock
from kit.dice import SystemDice
from protocols.errors import StoreFailedError
from protocols.link.lanes import Lane

LIVES = 3
ROUNDS = 160
COUNTED = 20
"""Rounds at the end of a life in which every lane has to take something."""


async def opened(folder: Path) -> RecordLog:
    settings = LogSettings(tidy_every_ms=20)
    return await RecordLog.open(folder / "log", clock=SystemClock("host"), dice=SystemDice(), settings=settings)


async def live(folder: Path) -> None:
    log = await opened(folder)
    said: dict[str, Any] = {"last_a": 0, "late": dict.fromkeys("ABC", 0)}
    for n in range(ROUNDS):
        for lane, count in (("A", 1), ("B", 40), ("C", 40)):
            entries = [Entry("thing", {"n": n, "pad": "x" * 6_000})] * count
            try:
                positions = await log.append_many(lane, entries, urgent=True)
            except StoreFailedError:
                continue
            said["last_a"] = positions[-1] if lane == "A" else said["last_a"]
            said["late"][lane] += n >= ROUNDS - COUNTED
    print(json.dumps(said), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)


async def main(folder: Path) -> dict[str, Any]:
    lives = []
    for _ in range(LIVES):
        done = subprocess.run(
            [sys.executable, __file__, str(folder), "live"], capture_output=True, text=True, check=False
        )
        assert done.returncode == -signal.SIGKILL, done.stderr[-2_000:]
        lives.append(json.loads(done.stdout.splitlines()[-1]))
    log = await opened(folder)
    length = await log.verify_chain()
    usage = await log.usage()
    await log.close()
    return {"lives": lives, "chain": length, "dropped": {lane.value: usage[lane].dropped for lane in Lane}}


if len(sys.argv) == 2:
    print(json.dumps(asyncio.run(main(Path(sys.argv[1])))))
else:
    asyncio.run(live(Path(sys.argv[1])))
