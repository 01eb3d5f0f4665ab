"""The witness: a small file beside the lanes that says which incarnation each is in and how far it had come.

A lane file that lags behind its witness is an old copy somebody put back. The cloud finds that out too (SPEC.md
6.3), the witness
does so before anything is appended. A missing or unreadable witness proves nothing and is written anew.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from kit.files import Disk, write_atomic
from protocols.link.lanes import Lane

FILE_NAME: Final = "incarnations.json"


class Seen(msgspec.Struct, frozen=True):
    """What the witness saw of one lane: incarnation in hex, last position."""

    incarnation: str
    last: int


def read_witness(disk: Disk, folder: Path) -> dict[Lane, Seen]:
    """Return what the witness says, empty if there is none that can be read."""
    try:
        return msgspec.json.decode(disk.read(folder / FILE_NAME), type=dict[Lane, Seen])
    except (OSError, msgspec.DecodeError):
        return {}


def write_witness(disk: Disk, folder: Path, seen: Mapping[Lane, Seen]) -> None:
    """Replace the witness. Raises StoreFailedError."""
    write_atomic(disk, folder / FILE_NAME, msgspec.json.encode(dict(seen)))
