"""Which records of a lane a façade passed without telling them, because its broker never takes such a record.

Source of truth: docs/decisions/0121. Kept in the same commit that moves the façade's cursor past them: where the
façades stand in the cloud's place, what all of them were refused was told to nobody. The table is made with the first
refusal, so that a file without one is as it always was, for an older program too.
"""

from bisect import bisect_left
from collections.abc import Sequence
from typing import Any, Final

from edge.log.lane_file import LaneFile

TABLE: Final = "refused"
COLUMNS: Final = ("life", "seq", "name")
_MAKE: Final = (
    f"CREATE TABLE IF NOT EXISTS {TABLE} (life INTEGER NOT NULL, seq INTEGER NOT NULL, name TEXT NOT NULL, "
    "PRIMARY KEY (life, seq, name)) STRICT, WITHOUT ROWID"
)


class Refusals:
    """The refusals that one lane's file knows. Not thread-safe: one owner. What writes is in a caller's transaction."""

    def __init__(self, file: LaneFile) -> None:
        self._file = file

    def keep(self, name: str, life: int, seqs: Sequence[int]) -> None:
        """Keep that the broker of façade `name` did not take these positions."""
        if seqs:
            self._file.db.execute(_MAKE)
            self._file.db.executemany(
                f"INSERT OR IGNORE INTO {TABLE} (life, seq, name) VALUES (?, ?, ?)",  # noqa: S608 - our own name
                [(life, seq, name) for seq in seqs],
            )

    def between(self, life: int, after: int, upto: int) -> dict[int, set[str]]:
        """Return who was refused which positions after `after` and up to `upto`, in order."""
        found: dict[int, set[str]] = {}
        for seq, name in self._all(
            "SELECT seq, name FROM {} WHERE life = ? AND seq > ? AND seq <= ?", life, after, upto
        ):
            found.setdefault(seq, set()).add(name)
        return found

    def forget(self, life: int, upto: int) -> None:
        """Forget what was refused up to `upto`: those records are gone."""
        self._all("DELETE FROM {} WHERE life = ? AND seq <= ?", life, upto)

    def moved(self, old: int, new: int, cut: int, gone: int, kept: Sequence[int]) -> None:
        """Records of `old` behind `cut` have moved into `new`: as `LaneCursors.moved`."""
        rows = self._all("SELECT seq, name FROM {} WHERE life = ? AND seq > ?", old, cut)
        self._all("DELETE FROM {} WHERE life = ? AND seq > ?", old, cut)
        for seq, name in rows:
            at = bisect_left(kept, seq)
            if kept[at : at + 1] == [seq]:
                self.keep(name, new, [gone + at + 1])

    def _all(self, statement: str, *values: Any) -> list[Any]:
        if not self._file.value("SELECT count(*) FROM sqlite_schema WHERE name = ?", (TABLE,)):
            return []
        return self._file.all(statement.format(TABLE), values)
