"""What lane A's file keeps beside records: results of commands, and the newest desired documents.

Source of truth: SPEC.md 9.2 and 9.3. A command's phase and its record are one commit: `LaneStore.command_phase` writes
both.
"""

from collections.abc import Callable
from typing import Any, Final

import apsw

from edge.log.lane_file import LaneFile

COMMANDS_KEPT: Final = 10_000
"""Results of commands kept for repeats."""


class LaneDesk:
    """Commands and documents of one lane's file. Not thread-safe: one owner."""

    def __init__(self, file: LaneFile) -> None:
        self._file = file

    def command_known(self, key: str) -> tuple[str, str, str | None] | None:
        """Return (command id, phase, result as JSON) stored under an idempotency key, None for a new key."""
        for id_, phase, result in self._file.all("SELECT id, phase, result FROM command WHERE key = ?", (key,)):
            return id_, phase, result
        return None

    def keep_phase(self, key: str, id_: str, phase: str, result: str | None) -> None:
        """Store a command's phase; in the caller's transaction. A key that begins anew counts as the newest."""
        no = (self._file.value("SELECT max(no) FROM command") or 0) + 1
        self._file.db.execute(
            "INSERT INTO command (key, no, id, phase, result) VALUES (?, ?, ?, ?, ?) "
            "ON CONFLICT (key) DO UPDATE SET phase = excluded.phase, result = excluded.result, id = excluded.id,"
            " no = CASE excluded.phase WHEN 'executing' THEN excluded.no ELSE no END",
            (key, no, id_, phase, result),
        )
        self._file.db.execute("DELETE FROM command WHERE no <= ?", (no - COMMANDS_KEPT,))

    def undo_phase(self, key: str) -> tuple[tuple[str, tuple[Any, ...]], ...]:
        """Return what puts a command's phase back to what it is now."""
        known = self._file.all("SELECT no, id, phase, result FROM command WHERE key = ?", (key,))
        if not known:
            return (("DELETE FROM command WHERE key = ?", (key,)),)
        return (("UPDATE command SET no = ?, id = ?, phase = ?, result = ? WHERE key = ?", (*known[0], key)),)

    def undo_document(self, name: str) -> tuple[tuple[str, tuple[Any, ...]], ...]:
        """Return what puts a document back to the version that is kept now."""
        known = self.document(name)
        if known is None:
            return (("DELETE FROM document WHERE name = ?", (name,)),)
        return (("UPDATE document SET version = ?, data = ? WHERE name = ?", (*known, name)),)

    def commands_in(self, phase: str) -> list[tuple[str, str]]:
        """Return (key, command id) of the commands that stand in `phase`, oldest first."""
        return self._file.all("SELECT key, id FROM command WHERE phase = ? ORDER BY no", (phase,))

    def rewrite_results(self, rewrite: Callable[[str | None], str | None]) -> int:
        """Replace what is stored with the commands' phases; return how many changed.

        What was there before is overwritten, in the file and in its write-ahead log, as far as this file says.
        """
        rows = self._file.all("SELECT key, result FROM command")
        changed = [(new, key) for key, old in rows if (new := rewrite(old)) != old]
        if not changed:
            return 0
        try:
            secure = self._file.value("PRAGMA secure_delete")
            self._file.db.execute("PRAGMA secure_delete = ON")
            with self._file.transaction():
                self._file.db.executemany("UPDATE command SET result = ? WHERE key = ?", changed)
            self._file.db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            self._file.db.execute(f"PRAGMA secure_delete = {secure}")
        except apsw.Error as error:
            raise self._file.translated(error) from error
        return len(changed)

    def document(self, name: str) -> tuple[int, bytes] | None:
        """Return (version, signed bytes) of the desired document `name` that was last taken, if any."""
        for version, data in self._file.all("SELECT version, data FROM document WHERE name = ?", (name,)):
            return version, data
        return None

    def documents(self) -> list[tuple[str, int, bytes]]:
        """Return (name, version, signed bytes) of every desired document taken."""
        return self._file.all("SELECT name, version, data FROM document ORDER BY name")

    def keep_document(self, name: str, version: int, data: bytes) -> None:
        """Keep the newest desired document `name`."""
        self._file.write(
            "INSERT INTO document (name, version, data) VALUES (?, ?, ?) "
            "ON CONFLICT (name) DO UPDATE SET version = excluded.version, data = excluded.data",
            (name, version, data),
        )
