"""The highest numbers that were ever handed out here, in a small file of its own beside the doors' store.

A store put back from a copy does not know what was handed out after it; this file, which no copy of the store brings
back, does. A process begins with what the lives before it noted, so no number is handed out twice, however soon after
the copy that is: generations (protocols/grant/SPEC.md 6), and the numbers of lists and lockouts (7). It is written
before a number is durable, and so it may say one too many. Where it is lost or torn, numbers are led by the clock
alone; where it cannot be written, that is said and doors go on.

Beside them it says how often the keys in other makers' systems were changed (edge/doors/vendors/ledger.py), noted once
that is durable there: a file that knows of fewer changes is an older one.

The file is one entry after the other, each with a check of its own. An earlier build reads the first, of generations,
and writes over that alone; what it finds behind stays as it is. A later one may add entries behind these.
"""

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Final
from zlib import crc32

from kit.files import Disk
from kit.logs import logger
from protocols.grant.generation import GENERATION_MOST
from protocols.grant.revocation import SEQ_MOST

_NUMBER: Final = struct.Struct(">4sI")
_CHECK: Final = struct.Struct(">I")
ENTRY_BYTES: Final = _NUMBER.size + _CHECK.size
CHANGES_MOST: Final = 2**32 - 1
_ENTRIES: Final = ((b"IKN1", GENERATION_MOST), (b"IKL1", SEQ_MOST), (b"IKV1", CHANGES_MOST))
"""Generations; lists and lockouts; changes of vendors' keys."""
FILE_BYTES: Final = len(_ENTRIES) * ENTRY_BYTES
"""Less than a sector: written over in place, on a full disk too."""


class Mark:
    """One kind of number.

    `before`: what the lives before this one noted; 0 where nothing is known. It changes only by `lower`.
    """

    def __init__(self, before: int, written: Callable[[], None]) -> None:
        """Begin with `before`; `written` makes durable what is noted."""
        self.before = self.noted = before
        self._written = written

    def handed_out(self, number: int) -> None:
        """Note durably that this number is about to be handed out."""
        if number > self.noted:
            self.noted = number
            self._written()

    def lower(self, number: int) -> None:
        """Undo what a clock that was far ahead left here (edge/doors/clock_reset.py)."""
        self.before = self.noted = min(self.noted, number)
        self._written()


class NumberMark:
    """The open file: `generations`, `lists` for the numbers of lists and lockouts, `changes` of vendors' keys."""

    def __init__(self, path: Path, disk: Disk) -> None:
        """Read `path`, which need not exist."""
        self._path, self._disk = path, disk
        self._log = logger("edge.doors.numbers")
        self.generations, self.lists, self.changes = (Mark(before, self._write) for before in self._read())

    def _read(self) -> list[int]:
        try:
            data = self._disk.read(self._path)
        except FileNotFoundError:
            data = b""
        except OSError as error:
            self._log.error("door_numbers_unread", error=str(error))
            data = b""
        entries = [data[at : at + ENTRY_BYTES] for at in range(0, FILE_BYTES, ENTRY_BYTES)]
        return [self._number(entry, *kind) for entry, kind in zip(entries, _ENTRIES, strict=True)]

    def _number(self, entry: bytes, magic: bytes, most: int) -> int:
        if not entry:
            return 0
        body, check = entry[: _NUMBER.size], entry[_NUMBER.size :]
        if len(check) < _CHECK.size or _CHECK.unpack(check)[0] != crc32(body):
            self._log.error("door_numbers_unread", error="torn or changed", entry=magic.decode())
            return 0
        found, number = _NUMBER.unpack(body)
        return int(number) if found == magic and number <= most else 0

    def _write(self) -> None:
        data = b""
        for (magic, _), mark in zip(_ENTRIES, (self.generations, self.lists, self.changes), strict=True):
            body = _NUMBER.pack(magic, mark.noted)
            data += body + _CHECK.pack(crc32(body))
        try:
            if self._disk.exists(self._path):
                self._disk.write_over(self._path, data)
                self._disk.sync(self._path)
                return
            self._disk.write(self._path, data)
            self._disk.sync(self._path)
            self._disk.sync_folder(self._path.parent)
        except OSError as error:
            self._log.error("door_numbers_unwritten", error=str(error))
