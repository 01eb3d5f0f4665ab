"""`innkeeper-edge doors-status`: asks the doors process how it is; for health checks and for a person at a terminal."""

import asyncio
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from edge.doors.client import DoorsClient
from edge.doors.settings import DoorsSettings
from kit.settings import load
from protocols.errors import PlatformError, ReplyTimeoutError

ANSWER_WAIT_S: Final = 3.0
NOT_READY: Final = 1
WRONG_CONFIGURATION: Final = 2


def main(config: Path, environ: Mapping[str, str]) -> int:
    """Print the doors' own account as one JSON object; return 0 ready, 1 not ready or not reached, 2 misconfigured."""
    try:
        settings = load(DoorsSettings, config, "DOORS", environ)
    except PlatformError as error:
        return _say(WRONG_CONFIGURATION, error)
    try:
        status = asyncio.run(_ask(settings.socket_path))
    except PlatformError as error:
        return _say(NOT_READY, error)
    sys.stdout.write(msgspec.json.encode(status).decode() + "\n")
    return 0 if status.get("ready") is True else NOT_READY


async def _ask(socket_path: Path) -> dict[str, Any]:
    async with DoorsClient(socket_path) as client:
        try:
            async with asyncio.timeout(ANSWER_WAIT_S):
                return await client.status()
        except TimeoutError as error:
            raise ReplyTimeoutError(f"doors at {socket_path}: no answer in {ANSWER_WAIT_S:g} s") from error


def _say(exit_status: int, error: PlatformError) -> int:
    sys.stderr.write(f"innkeeper-edge doors-status: {error}\n")
    return exit_status
