"""`innkeeper-edge doors-take-away`: a clerk's hand on keys, issuers and rooms, and what each door has confirmed of it.

Source of truth: docs/decisions/0080 and 0082. Every order is for the record: who, and why. One JSON object comes back.
"""

import argparse
import asyncio
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from edge.doors.client import DoorsClient
from edge.doors.settings import DoorsSettings
from kit.settings import load
from protocols.device_model.identity import RoomId, StayId
from protocols.errors import InvalidInputError, PlatformError

FAILED: Final = 1
WRONG_CONFIGURATION: Final = 2


def main(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Do one order, print the answer as one JSON object; return 0 done, 1 refused or not reached, 2 misconfigured."""
    try:
        settings = load(DoorsSettings, arguments.config, "DOORS", environ)
    except PlatformError as error:
        return _say(WRONG_CONFIGURATION, error)
    try:
        done = asyncio.run(_ask(settings.socket_path, arguments))
    except PlatformError as error:
        return _say(FAILED, error)
    sys.stdout.write(msgspec.json.encode(done).decode() + "\n")
    return 0


async def _ask(socket_path: Path, asked: argparse.Namespace) -> dict[str, Any]:
    async with DoorsClient(socket_path) as doors:
        if asked.order == "status":
            return await doors.revocations()
        by, reason = asked.by, asked.reason
        if asked.order == "key":
            return await doors.withdraw_key(
                by=by,
                reason=reason,
                grant=asked.grant,
                stay=None if asked.stay is None else StayId(asked.stay),
                person=asked.person,
                phone_public_key=None if asked.phone is None else _octets(asked.phone),
            )
        if asked.order == "issuer":
            return await doors.withdraw_issuer(by=by, reason=reason, kid=asked.kid, issuer_class=asked.issuer_class)
        room = RoomId(asked.room)
        if asked.order == "inhibit":
            return {"doors": await doors.inhibit(room, by=by, reason=reason)}
        return {"doors": await doors.lock_out(room, sealed=asked.order == "seal", by=by, reason=reason)}


def _octets(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise InvalidInputError("--phone", "not hexadecimal") from None


def _say(exit_status: int, error: PlatformError) -> int:
    sys.stderr.write(f"innkeeper-edge doors-take-away: {error}\n")
    return exit_status
