"""`innkeeper-edge doors-reset-clock`: tells the running doors that their clock was far ahead and is mended."""

import asyncio
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from edge.doors.client import DoorsClient
from edge.doors.settings import DoorsSettings
from kit.settings import load
from protocols.errors import PlatformError

FAILED: Final = 1
WRONG_CONFIGURATION: Final = 2


def main(config: Path, environ: Mapping[str, str], *, by: str, reason: str) -> int:
    """Print what was undone as one JSON object; return 0 done, 1 refused or not reached, 2 misconfigured."""
    try:
        settings = load(DoorsSettings, config, "DOORS", environ)
    except PlatformError as error:
        return _say(WRONG_CONFIGURATION, error)
    try:
        done = asyncio.run(_ask(settings.socket_path, by, reason))
    except PlatformError as error:
        return _say(FAILED, error)
    sys.stdout.write(msgspec.json.encode(done).decode() + "\n")
    return 0


async def _ask(socket_path: Path, by: str, reason: str) -> dict[str, Any]:
    async with DoorsClient(socket_path) as client:
        return await client.reset_clock(by, reason)


def _say(exit_status: int, error: PlatformError) -> int:
    sys.stderr.write(f"innkeeper-edge doors-reset-clock: {error}\n")
    return exit_status
