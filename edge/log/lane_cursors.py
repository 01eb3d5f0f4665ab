"""Who has read how far in one lane's file: a cursor stands in one incarnation, and goes through the older ones first.

Source of truth: protocols/link/SPEC.md section 3 (incarnations). A rebuilt file or an old copy that was put back begins
a new incarnation; what a reader had not read of the one before is still there, and is read before anything newer.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import apsw

from edge.log.lane_file import LaneFile
from edge.log.readership import NOBODY_KNOWN, LaneReaders
from edge.log.refusals import Refusals
from protocols.errors import LocalProtocolError

_FORWARD: Final = (
    "INSERT INTO cursor (name, life, seq) VALUES (?, ?, ?) ON CONFLICT (name) DO UPDATE SET "
    "life = excluded.life, seq = excluded.seq "
    "WHERE excluded.life > life OR (excluded.life = life AND excluded.seq > seq)"
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a reader goes on: behind position `after` of `incarnation`, which ends at `last` for now."""

    incarnation: bytes
    after: int
    last: int


class LaneCursors:
    """The cursors of one lane's file. Not thread-safe: one owner.

    Args:
        file: the lane's file.
        readers: whose cursors stand in the cloud's place, and which hold nothing up any more.
    """

    def __init__(self, file: LaneFile, readers: LaneReaders = NOBODY_KNOWN) -> None:
        self._file, self.readers, self.refusals = file, readers, Refusals(file)
        standing = [name for (name,) in file.all("SELECT name FROM cursor")]
        self._retired = _listed(readers.retired(standing))

    def in_life(self, name: str, life: int) -> int:
        """Return how far `name` has read the incarnation `life`; 0 at its beginning, or if it stands in another one."""
        seq: int | None = self._file.value("SELECT seq FROM cursor WHERE name = ? AND life = ?", (name, life))
        return 0 if seq is None else seq

    def older(self, name: str, current: int) -> Place | None:
        """Return where `name` goes on in an incarnation older than `current`; None: it has read all that is there."""
        standing: list[tuple[int, int]] = self._file.all("SELECT life, seq FROM cursor WHERE name = ?", (name,))
        [(life, seq)] = standing or [(0, 0)]
        if life >= current:
            return None
        for no, incarnation in self._file.all(
            "SELECT no, incarnation FROM life WHERE no >= ? AND no < ? ORDER BY no", (life, current)
        ):
            after = seq if no == life else 0
            last: int | None = self._file.value("SELECT max(seq) FROM record WHERE life = ?", (no,))
            if last is not None and last > after:
                return Place(incarnation, after, last)
        return None

    def advance(self, name: str, life: int, seq: int, *, last: int, refused: Sequence[int] = ()) -> None:
        """Move `name` forward to `seq` of the incarnation `life`; backwards, nothing changes.

        `refused`: the positions it passes so that its broker did not take; kept in the same commit.

        Raises:
            LocalProtocolError: `seq` is behind `last`, the last position there is.
        """
        if seq > last:
            raise LocalProtocolError(f"cursor {name} to {self._file.lane}/{seq}, but the last record is {last}")
        if not refused:
            self._file.write(_FORWARD, (name, life, seq))
            return
        try:
            with self._file.transaction():
                self._file.db.execute(_FORWARD, (name, life, seq))
                self.refusals.keep(name, life, refused)
        except apsw.Error as error:
            raise self._file.translated(error) from error

    def slowest(self, life: int) -> int | None:
        """Return how far every cursor has read `life`; None: there is no cursor at all that could hold it up."""
        slowest: int | None = self._file.value(
            "SELECT min(CASE WHEN life = ?1 THEN seq ELSE 0 END) FROM cursor "
            "WHERE life <= ?1 AND instr(?2, char(10) || name || char(10)) = 0",
            (life, self._retired),
        )
        return slowest

    def behind(self, life: int, end: int) -> bool:
        """Tell whether a cursor that holds things up has not read `life` to its `end`."""
        count: int = self._file.value(
            "SELECT count(*) FROM cursor WHERE (life < ?1 OR (life = ?1 AND seq < ?2)) "
            "AND instr(?3, char(10) || name || char(10)) = 0",
            (life, end, self._retired),
        )
        return count > 0

    def passed(self, life: int, last: int) -> int:
        """Return how far all who stand in the cloud's place have read `life`, at most `last`; 0: there is nobody."""
        names = self.readers.names
        if not names:
            return 0
        [(count, least)] = self._file.all(
            "SELECT count(*), min(CASE WHEN life > ?1 THEN ?2 WHEN life = ?1 THEN seq ELSE 0 END) FROM cursor "
            "WHERE instr(?3, char(10) || name || char(10)) > 0",
            (life, last, _listed(names)),
        )
        return least if count == len(names) else 0  # one that never read holds all

    def moved(self, old: int, new: int, cut: int, gone: int, kept: Sequence[int]) -> None:
        """Records of `old` behind `cut` have moved into `new`, counted from 1: move who had read some of them.

        In the caller's transaction. `gone`: of so many behind `cut` the positions alone moved. `kept`: the old
        positions of the others, in order. What was read is not read again under another name.
        """
        for name, seq in self._file.all("SELECT name, seq FROM cursor WHERE life = ? AND seq > ?", (old, cut)):
            moved_to = (new, min(seq - cut, gone) + bisect_right(kept, seq), name)
            self._file.db.execute("UPDATE cursor SET life = ?, seq = ? WHERE name = ?", moved_to)
        self.refusals.moved(old, new, cut, gone, kept)


def _listed(names: Sequence[str]) -> str:
    """Names as one value: a list of them would cost SQLite a step each."""
    return "".join(f"\n{each}\n" for each in names)
