"""What can still be read of a damaged store goes into the next one: stays, grants, bumps and events, row by row.

A guest whose stay was open must still be refused after check-out, and an event that its lock was told to forget exists
nowhere else. What cannot be read, or cannot be true, is left behind; the damaged file stays beside the new one.
"""

from pathlib import Path
from typing import Any, Final

import apsw

from protocols.grant.generation import DAYS_AHEAD_MOST, day_in, day_of

_COPIED: Final[dict[str, int]] = {
    "stay": 4,
    "grant_issued": 13,
    "bump": 10,
    "lock": 9,
    "record": 4,
    "withdrawn": 6,
    "withdrawn_issuer": 3,
    "lockout": 4,
    "sealed_room": 3,
    "curtailed": 6,
}
"""Table and number of columns."""


def salvage(damaged: Path, into: apsw.Connection) -> dict[str, int]:
    """Copy what is readable of `damaged` into the fresh store `into`, in the transaction that is open there.

    Returns:
        How many rows of each table came over. Nothing of a file that is no database.
    """
    saved: dict[str, int] = {}
    try:
        old = apsw.Connection(f"file:{damaged}?mode=ro", flags=apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI)
    except apsw.Error:
        return saved
    try:
        mark_ms = max((row[0] for row in _rows(old, "SELECT high_water_ms FROM life")), default=0)
        into.execute("UPDATE life SET high_water_ms = max(high_water_ms, ?)", (mark_ms,))
        latest_day = day_of(mark_ms // 1_000) + DAYS_AHEAD_MOST
        for table, columns in _COPIED.items():
            marks = ",".join("?" * columns)
            saved[table] = sum(
                _put(into, f"INSERT OR IGNORE INTO {table} VALUES ({marks})", row)  # noqa: S608 - constants
                for row in _rows(old, f"SELECT * FROM {table}")  # noqa: S608 - names from this module, values are bound
            )
        # one number more than any lock was told, made anew: what came over of the list may not be all of it
        lists = [row for name in ("revocation_list", "common_list") for row in _rows(old, f"SELECT seq FROM {name}")]  # noqa: S608 - two constants
        told = max((row[0] for row in lists), default=0)
        if told or saved["withdrawn"] or saved["withdrawn_issuer"] or saved["curtailed"]:
            into.execute("UPDATE revocation_list SET seq = ?, due = 1", (told,))
        rooms = [row for row in _rows(old, "SELECT number, highest FROM room") if _true(row[1], latest_day)]
        saved["room"] = sum(_put(into, "INSERT OR IGNORE INTO room VALUES (?, ?)", row) for row in rooms)
        events = _rows(old, "SELECT body, device_at_ms FROM event ORDER BY seq")
        put = "INSERT INTO event (body, device_at_ms) SELECT ?1, ?2 WHERE json_valid(?1)"
        saved["event"] = sum(_put(into, put, row) for row in events)
    finally:
        old.close()
    return saved


def _true(generation: object, latest_day: int) -> bool:
    """Whether somebody can have issued this: a flipped bit must not spend a room's numbers."""
    return isinstance(generation, int) and 0 <= day_in(generation) <= latest_day


def _rows(old: apsw.Connection, sql: str) -> list[tuple[Any, ...]]:
    rows: list[tuple[Any, ...]] = []
    try:
        rows.extend(old.execute(sql))  # what came before the damage is kept
    except (apsw.Error, UnicodeDecodeError):
        return rows
    return rows


def _put(into: apsw.Connection, sql: str, row: tuple[Any, ...]) -> int:
    try:
        into.execute(sql, row)
    except (apsw.ConstraintError, apsw.MismatchError):
        return 0
    return into.changes()
