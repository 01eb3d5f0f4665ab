"""What `innkeeper-edge doors-take-away` understands. Apart from what it does, which every start would have to load."""

import argparse
from pathlib import Path
from typing import Final

CLASSES: Final = ("guest", "staff", "emergency", "revocation")


def add_take_away(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
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
