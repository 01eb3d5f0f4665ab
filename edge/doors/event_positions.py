"""Which positions of its events a file can have told to the house, also over openings that nobody has answered yet.

What the house holds of the events and this file cannot have told was told by another copy of it (put_back.py). The file
knows that only until it is answered: it may have been put back before any of its openings since. So it keeps where it
stood before the first of them, and how far it has told events since then.

While nobody has answered nothing is taken, so what was written since then stands in `event`: any other position beyond
where it stood was never written here.

A build of before may be at work on the file in between, tell what it wrote, and end before it is answered. It notes
nothing of that; so a trigger does, which goes with the file: what was written counts as told, unless this build, which
knows what it told, says otherwise in the same commit.
"""

from contextlib import AbstractContextManager
from typing import Any, Final

import apsw

from protocols.errors import StoreFailedError

_UNANSWERED: Final = """
CREATE TABLE IF NOT EXISTS unanswered (
    no INTEGER PRIMARY KEY CHECK (no = 1), stood INTEGER NOT NULL, told INTEGER NOT NULL
) STRICT;
CREATE TRIGGER IF NOT EXISTS event_forgotten AFTER DELETE ON event BEGIN DELETE FROM unanswered; END;
CREATE TRIGGER IF NOT EXISTS event_emptied AFTER UPDATE OF body ON event WHEN NEW.body IS NULL
BEGIN DELETE FROM unanswered; END;
CREATE TRIGGER IF NOT EXISTS event_written AFTER INSERT ON event BEGIN UPDATE unanswered SET told = NEW.seq; END;
"""
"""Made at each opening, whatever the version: a build that knows no such table leaves it alone, and what is taken under
it counts as an answer by the triggers, what is written under it as told."""


class EventPositions:
    """A file with tables `life` and `event`; the doors' store is one, and the keys of other makers' systems."""

    epoch: bytes
    _db: apsw.Connection
    _drawn_epoch: bytes
    _stood: int
    _told: int
    _unanswered: bool = False
    is_older: bool = False
    """Whether it knows by itself that it is a copy put back, and that was not told yet."""
    is_older_told: bool = False
    """Whether that was told, and the house has not answered since."""

    def told_older(self) -> None:
        """It was told that the file is an older one. Raises StoreFailedError."""
        raise NotImplementedError

    def _rows(self, sql: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        raise NotImplementedError

    def _transaction(self) -> AbstractContextManager[None]:
        raise NotImplementedError

    def _go_on_from(self, at_ms: int, *, fresh: bool) -> None:
        """Begin an opening: positions go on from the clock unless the file is new, for another copy may have gone on.

        Raises:
            StoreFailedError: nothing happened.
        """
        run = self._db.execute
        with self._transaction():
            run(_UNANSWERED)
            last = self.last_position
            run("INSERT OR IGNORE INTO unanswered VALUES (1, ?1, ?1)", (last,))
            [(self._stood, self._told)] = run("SELECT stood, told FROM unanswered")
            if not fresh and last < at_ms:
                run("DELETE FROM sqlite_sequence WHERE name = 'event'")
                run("INSERT INTO sqlite_sequence (name, seq) VALUES ('event', ?)", (at_ms,))
        self._unanswered = True

    @property
    def last_position(self) -> int:
        """The position of the newest event of this file, taken or not; 0: none yet."""
        [(last,)] = self._rows("SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'event'")
        return int(last)

    def _wrote(self) -> None:
        """Say, before a commit that may have written events, that this build has not told them for that."""
        if self._unanswered:
            self._db.execute("UPDATE unanswered SET told = ?1 WHERE told <> ?1", (self._told,))

    def _tells(self, up_to: int) -> None:
        """Note that whoever asked will have the events up to here, before he has them."""
        if up_to <= self._told:
            return
        before, self._told = self._told, up_to
        if not self._unanswered:
            return
        try:
            with self._transaction():
                self._wrote()
        except StoreFailedError:
            self._told = before
            raise

    def can_have_told(self, position: int) -> bool:
        """Whether an event of this position can have come from this file: else it is a copy that was put back."""
        if position <= self._stood:
            return True
        return position <= self._told and bool(self._rows("SELECT 1 FROM event WHERE seq = ?", (position,)))

    def goes_on_beyond(self, position: int) -> bool:
        """Whether all that was written since the house last answered has positions beyond this one."""
        if not self._stood < position <= self.last_position:
            return False
        written = self._rows("SELECT 1 FROM event WHERE seq > ? AND seq <= ? LIMIT 1", (self._stood, position))
        return not written

    def answered(self, position: int) -> None:
        """The house has said that it holds the events up to here, and that was looked at."""
        if self._unanswered:
            with self._transaction():
                self._db.execute("DELETE FROM unanswered")
            self._unanswered = False
        self._stood = max(self._stood, position)

    def begin_life(self) -> None:
        """Give the file the epoch drawn for this opening: who counted by the one before counts anew."""
        with self._transaction():
            self._db.execute("UPDATE life SET epoch = ?", (self._drawn_epoch,))
            self._db.execute("DELETE FROM unanswered")
        self.epoch, self._unanswered = self._drawn_epoch, False
