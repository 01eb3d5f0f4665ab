"""The highest generation that was ever handed out here, in a small file of its own beside the doors' store.

A store put back from a copy does not know what was handed out after it; this file, which no copy of the store brings
back, does. A process begins with what the lives before it noted, so no number is handed out twice, however soon after
the copy that is (protocols/grant/SPEC.md 6). It is written before a number is durable, and so it may say one too many.
Where it is lost or torn, numbers are led by the clock alone; where it cannot be written, that is said and doors go on.
"""

import struct
from pathlib import Path
from typing import Final
from zlib import crc32

from kit.files import Disk
from kit.logs import logger
from protocols.grant.generation import GENERATION_MOST

_MAGIC: Final = b"IKN1"
_NUMBER: Final = struct.Struct(">4sI")
_CHECK: Final = struct.Struct(">I")
FILE_BYTES: Final = _NUMBER.size + _CHECK.size
"""Less than a sector: written over in place, on a full disk too."""


class NumberMark:
    """The open file.

    `before`: what the lives before this one noted; 0 where nothing is known. It changes only by `lower`.
    """

    def __init__(self, path: Path, disk: Disk) -> None:
        """Read `path`, which need not exist."""
        self._path, self._disk = path, disk
        self._log = logger("edge.doors.numbers")
        self.before = self._noted = self._read()

    def handed_out(self, generation: int) -> None:
        """Note durably that this generation is about to be handed out."""
        if generation > self._noted:
            self._noted = generation
            self._write()

    def lower(self, generation: int) -> None:
        """Undo what a clock that was far ahead left here (edge/doors/clock_reset.py)."""
        self.before = self._noted = min(self._noted, generation)
        self._write()

    def _read(self) -> int:
        try:
            data = self._disk.read(self._path)
        except FileNotFoundError:
            return 0
        except OSError as error:
            self._log.error("door_numbers_unread", error=str(error))
            return 0
        body, check = data[: _NUMBER.size], data[_NUMBER.size : FILE_BYTES]
        if len(check) < _CHECK.size or _CHECK.unpack(check)[0] != crc32(body):
            self._log.error("door_numbers_unread", error="torn or changed")
            return 0
        magic, generation = _NUMBER.unpack(body)
        return int(generation) if magic == _MAGIC and generation <= GENERATION_MOST else 0

    def _write(self) -> None:
        body = _NUMBER.pack(_MAGIC, self._noted)
        data = body + _CHECK.pack(crc32(body))
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
