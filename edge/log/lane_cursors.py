"""Who has read how far in one lane's file: a cursor stands in one incarnation, and goes through the older ones first.

Source of truth: protocols/link/SPEC.md section 3 (incarnations). A rebuilt file or an old copy that was put back begins
a new incarnation; what a reader had not read of the one before is still there, and is read before anything newer.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from edge.log.lane_file import LaneFile
from protocols.errors import LocalProtocolError


@dataclass(frozen=True, slots=True)
class Place:
    """Where a reader goes on: behind position `after` of `incarnation`, which ends at `last` for now."""

    incarnation: bytes
    after: int
    last: int


class LaneCursors:
    """The cursors of one lane's file. Not thread-safe: one owner."""

    def __init__(self, file: LaneFile) -> None:
        self._file = file

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

    def advance(self, name: str, life: int, seq: int, *, last: int) -> None:
        """Move `name` forward to `seq` of the incarnation `life`; backwards, nothing changes.

        Raises:
            LocalProtocolError: `seq` is behind `last`, the last position there is.
        """
        if seq > last:
            raise LocalProtocolError(f"cursor {name} to {self._file.lane}/{seq}, but the last record is {last}")
        self._file.write(
            "INSERT INTO cursor (name, life, seq) VALUES (?, ?, ?) ON CONFLICT (name) DO UPDATE SET "
            "life = excluded.life, seq = excluded.seq "
            "WHERE excluded.life > life OR (excluded.life = life AND excluded.seq > seq)",
            (name, life, seq),
        )

    def slowest(self, life: int) -> int | None:
        """Return how far every cursor has read `life`; None: there is no cursor at all that could hold it up."""
        slowest: int | None = self._file.value(
            "SELECT min(CASE WHEN life = ?1 THEN seq ELSE 0 END) FROM cursor WHERE life <= ?1", (life,)
        )
        return slowest

    def moved(self, old: int, new: int, cut: int, kept: Sequence[int]) -> None:
        """Records of `old` behind `cut` have moved into `new`, counted from 1: move who had read some of them.

        In the caller's transaction. `kept`: the old positions of those that moved, in order. What was read is not read
        again under another name.
        """
        for name, seq in self._file.all("SELECT name, seq FROM cursor WHERE life = ? AND seq > ?", (old, cut)):
            moved_to = (new, bisect_right(kept, seq), name)
            self._file.db.execute("UPDATE cursor SET life = ?, seq = ? WHERE name = ?", moved_to)
