"""The newest records of a lane as they were written, for the link, which asks for them moments later.

A quick way and no truth: what is not here is read from the file, where each row is held against its check.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

TAIL_RECORDS_MAX: Final = 4_000
"""More than the link has under way."""
TAIL_BYTES_MAX: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class _Piece:
    first: int
    records: Sequence[bytes]
    size: int


class LaneTail:
    """The end of one incarnation: positions without a gap, bounded in number and bytes."""

    def __init__(self) -> None:
        self._pieces: deque[_Piece] = deque()
        self._count = self._size = 0

    def add(self, first: int, records: Sequence[bytes], size: int) -> None:
        """Take records that were committed at `first` and after it; `size`: their bytes together."""
        if self._pieces and self._pieces[-1].first + len(self._pieces[-1].records) != first:
            self.clear()
        self._pieces.append(_Piece(first, records, size))
        self._count, self._size = self._count + len(records), self._size + size
        while self._count > TAIL_RECORDS_MAX or self._size > TAIL_BYTES_MAX:
            self._drop_oldest()

    def after(self, seq: int, most: int) -> list[bytes]:
        """Return up to `most` records after position `seq`; none if the next one is not here."""
        found: list[bytes] = []
        for piece in self._pieces:
            skip = seq + 1 - piece.first + len(found)
            if skip < 0:
                break
            if skip < len(piece.records):
                found += islice(piece.records, skip, skip + most - len(found))
                if len(found) == most:
                    break
        return found

    def passed(self, seq: int) -> None:
        """Forget the records up to `seq` where that frees memory: the cloud has them."""
        while self._pieces and self._pieces[0].first + len(self._pieces[0].records) - 1 <= seq:
            self._drop_oldest()

    def clear(self) -> None:
        """Forget everything."""
        self._pieces.clear()
        self._count = self._size = 0

    def _drop_oldest(self) -> None:
        oldest = self._pieces.popleft()
        self._count, self._size = self._count - len(oldest.records), self._size - oldest.size
