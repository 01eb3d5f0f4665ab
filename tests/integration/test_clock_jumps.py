"""A running edge whose wall clock is thrown about: nothing lost, doubled, reordered or invented, and the line stays."""

import asyncio
import time
from pathlib import Path
from typing import Final

import pytest

from bench.hot_path.child import Child
from bench.hot_path.edge import BASE_BACK_MS, EdgeProcess

pytestmark = pytest.mark.tier("faketime")

COUNT, DEVICES, RATE = 4_000, 50, 500
JUMPS: Final = ("+3d", "+0", "-2d", "+0", "-50y", "+0", "+70y", "-1h")
"""What is added to the wall clock, one after the other, while messages come."""


def under_faketime(stamp: Path) -> dict[str, str]:
    """Return the environment of a process whose wall clock `stamp` moves while it runs; its monotonic clock is true."""
    [library] = Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")
    return {
        "LD_PRELOAD": str(library), "FAKETIME_TIMESTAMP_FILE": str(stamp), "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1", "DONT_FAKE_MONOTONIC": "1",
    }  # fmt: skip


def jump(stamp: Path, offset: str) -> None:
    """Move the clock; the file is replaced, so that nobody reads half of it."""
    new = stamp.with_suffix(".new")
    new.write_text(offset + "\n")
    new.replace(stamp)


@pytest.mark.guarantee("G1", "G2", "G10")
async def test_a_wall_clock_that_jumps_by_days_and_decades_costs_nothing(tmp_path: Path) -> None:
    stamp = tmp_path / "stamp"
    jump(stamp, "+0")
    async with Child("bench.hot_path.site") as site, Child("bench.hot_path.cloud") as cloud:
        site_port, cloud_port = (await site.ask("listen"))["port"], (await cloud.ask("listen"))["port"]
        edge = EdgeProcess(
            tmp_path / "edge", site_port=site_port, uplink_port=cloud_port, environment=under_faketime(stamp)
        )
        async with edge:
            base_ms = time.time_ns() // 1_000_000 - BASE_BACK_MS
            await site.ask("send", count=COUNT, rate=RATE, devices=DEVICES, base_ms=base_ms, window=1_000, wait=False)
            for offset in JUMPS:
                await asyncio.sleep(COUNT / RATE / (len(JUMPS) + 1))
                jump(stamp, offset)
            await site.ask("sent")
            said = await cloud.ask("wait", count=COUNT, most_s=60)
        check = await cloud.ask("check", devices=DEVICES, count=COUNT, base_ms=base_ms)
    assert check == {"arrived": COUNT, "lost": 0, "invented": 0, "doubled": 0, "reordered": 0, "wrong": 0}
    assert said["hellos"] == 1, "the line has nothing to do with the time of day"
