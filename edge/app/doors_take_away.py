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
CLASSES: Final = ("guest", "staff", "emergency", "revocation")


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command and its orders to those of `innkeeper-edge`."""
    says = "withdraw keys and issuers, seal and inhibit rooms, and show which doors have confirmed it"
    command = commands.add_parser("doors-take-away", help=says, description=says)
    orders = command.add_subparsers(dest="order", required=True)

    def order(name: str, says: str, *, recorded: bool = True) -> argparse.ArgumentParser:
        made = orders.add_parser(name, help=says, description=says)
        made.add_argument("--config", type=Path, required=True, help="doors.toml")
        if recorded:
            made.add_argument("--by", required=True, help="your name, for the record")
            made.add_argument("--reason", required=True, help="why, for the record")
        return made

    key = order("key", "withdraw every key of a phone")
    named = key.add_mutually_exclusive_group(required=True)
    named.add_argument("--grant", help="one of its grants, 16 hex digits, as events name it")
    named.add_argument("--stay", help="the stay whose keys go")
    named.add_argument("--person", help="the member of staff whose keys go")
    key.add_argument("--phone", help="of the stay or person, this phone alone: its public key, 66 hex digits")
    issuer = order("issuer", "withdraw an issuer's certificate: all that it signed is void where the door has heard")
    which = issuer.add_mutually_exclusive_group(required=True)
    which.add_argument("--kid", help="its key id, 8 hex digits")
    which.add_argument("--class", dest="issuer_class", choices=CLASSES, help="the one that signs for this class now")
    for name, says in (
        ("seal", "seal a room: nobody but the holder of an emergency key opens it"),
        ("lift", "seal a room no longer"),
        ("inhibit", "end every key ever handed out for a room; who is in house asks for a new one"),
    ):
        order(name, says).add_argument("--room", required=True)
    order("status", "show what is withdrawn and sealed, and which doors have confirmed it", recorded=False)


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
