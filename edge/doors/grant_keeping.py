"""What the doors' store may let go of: grants that are long over, bumps that arrived, stays that ended long ago.

Source of truth: docs/decisions/0166 and 0175. Nothing here decides who may open what: only what nobody asks for any
more goes. A grant is needed after its end for its lock's records, which name it and come when the lock is read; for a
room's highest generation; and for what a clock that was ahead is undone by. A stay is needed so that it is not begun
again after its end. So a clock that runs ahead unnoticed costs old records their guest, and no guest his key: nothing
of a stay that is open goes, and each look takes one small part of the file. Nor does it let a key in that was taken
back: whoever looks does so once the clock has stood for longer than such a key lives.
"""

import json
from typing import Any, Final

from edge.doors.door_book import DoorBook
from edge.doors.store import DoorStore
from edge.doors.whole_reads import WholeReads

DAY_MS: Final = 86_400_000
OVER_KEPT_MS: Final = 100 * DAY_MS
"""A grant after its end, where every lock was read to its end since: what they recorded of it is here. And bumps."""
KEPT_MOST_MS: Final = 400 * DAY_MS
"""A grant after its end, whatever its locks have still to tell; and a stay after its end."""
LOOKED_AT: Final = 500
"""Grants, bumps and stays that one look reads: the rest of the process waits for it."""
EVERY_MS: Final = 600_000
AGREED_MS: Final = 4 * DAY_MS
"""Longer than any guest's key of a stay that ended is good: what keeps it out must not go by a clock that is put right
within that time.
"""
STRAYED_MS: Final = 3_600_000

_GRANTS: Final = """
SELECT given.grant_id, given.generation, given.not_after_s, given.rooms, stay.ended_at_ms, stay.stay IS NULL,
       EXISTS (SELECT 1 FROM bump WHERE bump.stay = given.stay AND bump.delivered_at_ms IS NULL),
       EXISTS (SELECT 1 FROM grant_issued AS newer WHERE newer.stay = given.stay AND newer.phone = given.phone
                  AND newer.issued_at_ms > given.issued_at_ms)
  FROM (SELECT * FROM grant_issued WHERE grant_id > ? ORDER BY grant_id LIMIT ?) AS given
  LEFT JOIN stay ON stay.stay = given.stay ORDER BY given.grant_id
"""
_STAYS: Final = """
SELECT given.stay, given.ended_at_ms,
       EXISTS (SELECT 1 FROM grant_issued WHERE grant_issued.stay = given.stay)
       OR EXISTS (SELECT 1 FROM bump WHERE bump.stay = given.stay AND bump.delivered_at_ms IS NULL)
  FROM (SELECT * FROM stay WHERE stay > ? ORDER BY stay LIMIT ?) AS given ORDER BY given.stay
"""


class Agreement:
    """Whether the wall clock has gone with the monotonic one for AGREED_MS, nothing set in between. Pure."""

    def __init__(self) -> None:
        self._ahead_ms, self._since_ms = 0, -1

    def holds(self, wall_ms: int, now_ms: int) -> bool:
        """Hear both clocks; ask as often as they are to be watched."""
        if self._since_ms < 0 or abs(wall_ms - now_ms - self._ahead_ms) > STRAYED_MS:
            self._ahead_ms, self._since_ms = wall_ms - now_ms, now_ms
        return now_ms - self._since_ms >= AGREED_MS


class GrantKeeping:
    """Walks through the file, a part at each look, and begins again at its end."""

    def __init__(self, store: DoorStore, book: DoorBook, reads: WholeReads) -> None:
        self._store, self._book, self._reads = store, book, reads
        self._grant, self._bump, self._stay = b"", 0, ""

    def look(self, at_ms: int) -> dict[str, int]:
        """Let go what may go of one part, in one commit; return how many grants, bumps and stays that were.

        Args:
            at_ms: Unix ms, of a clock that is fit to sign with.

        Raises:
            StoreFailedError: nothing happened.
        """
        passed = dict(self._store.read("SELECT number, max(generation) FROM bump GROUP BY number"))
        grants, grant = self._grants(at_ms, passed)
        bumps, bump = self._bumps(at_ms, passed)
        stays, stay = self._stays(at_ms)
        if grants or bumps or stays:
            with self._store.written() as db:
                for table in ("grant_issued", "curtailed", "doubted"):
                    db.executemany(f"DELETE FROM {table} WHERE grant_id = ?", grants)  # noqa: S608 - these three
                db.executemany("DELETE FROM bump WHERE no = ?", bumps)
                db.executemany("DELETE FROM withdrawn WHERE holder = ?", stays)
                db.executemany("DELETE FROM stay WHERE stay = ?", stays)
        self._grant, self._bump, self._stay = grant, bump, stay
        return {"grants": len(grants), "bumps": len(bumps), "stays": len(stays)}

    def _grants(self, at_ms: int, passed: dict[int, int]) -> tuple[list[tuple[bytes]], bytes]:
        """Return those that may go, and where the next look begins.

        A generation that is the highest a room was given stays known: by it the store tells that it has not forgotten
        whom the room's lock last saw (GrantDesk.end_stay). Whoever is no guest keeps his newest: a phone that is found
        missing after months is withdrawn by it.
        """
        rows = self._store.read(_GRANTS, (self._grant, LOOKED_AT))
        ago_ms = self._reads.longest_ago_ms(door.lock_id for door in self._book.doors)
        read_at_ms = 0 if ago_ms is None else at_ms - ago_ms
        gone = [
            (grant_id,)
            for grant_id, generation, not_after_s, rooms, ended_at_ms, is_no_guest, is_awaited, is_followed in rows
            if self._is_over(not_after_s * 1_000, at_ms, read_at_ms)
            and not is_awaited
            and (is_followed if is_no_guest else _is_old(ended_at_ms, at_ms))
            and all(passed.get(number, -1) > generation for number in json.loads(rooms))
        ]
        return gone, rows[-1][0] if len(rows) == LOOKED_AT else b""

    def _bumps(self, at_ms: int, passed: dict[int, int]) -> tuple[list[tuple[int]], int]:
        rows: list[tuple[Any, ...]] = self._store.read(
            "SELECT no, number, generation, delivered_at_ms FROM bump WHERE no > ? ORDER BY no LIMIT ?",
            (self._bump, LOOKED_AT),
        )
        gone = [
            (no,)
            for no, number, generation, delivered_at_ms in rows
            if _is_old(delivered_at_ms, at_ms) and passed[number] > generation
        ]
        return gone, rows[-1][0] if len(rows) == LOOKED_AT else 0

    def _stays(self, at_ms: int) -> tuple[list[tuple[str]], str]:
        rows = self._store.read(_STAYS, (self._stay, LOOKED_AT))
        gone = [
            (stay,)
            for stay, ended_at_ms, is_used in rows
            if ended_at_ms is not None and ended_at_ms + KEPT_MOST_MS <= at_ms and not is_used
        ]
        return gone, rows[-1][0] if len(rows) == LOOKED_AT else ""

    def _is_over(self, until_ms: int, at_ms: int, read_at_ms: int) -> bool:
        if until_ms + KEPT_MOST_MS <= at_ms:
            return True
        return until_ms + OVER_KEPT_MS <= at_ms and until_ms + DAY_MS <= read_at_ms


def _is_old(then_ms: int | None, at_ms: int) -> bool:
    return then_ms is not None and then_ms + OVER_KEPT_MS <= at_ms
