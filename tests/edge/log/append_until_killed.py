"""Appends to a record log for ever and says on stdout, after each commit, how far each lane is acknowledged."""

import asyncio
import json
import sys
from pathlib import Path

from edge.log.record_log import Entry, RecordLog
from kit.clock import SystemClock
from kit.dice import SystemDice


async def _append(log: RecordLog, lane: str) -> None:
    while True:
        seqs = await log.append_many(lane, [Entry("access", {"pad": "x" * 100})] * (len(lane) + 2))
        sys.stdout.write(json.dumps({lane: seqs[-1]}) + "\n")
        sys.stdout.flush()


async def _main(folder: Path) -> None:
    log = await RecordLog.open(folder, clock=SystemClock("host"), dice=SystemDice())
    await asyncio.gather(*(_append(log, lane) for lane in "ABC"))


asyncio.run(_main(Path(sys.argv[1])))
