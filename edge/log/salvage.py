"""A damaged lane file: what can be read of it moves into a new one, the rest is declared lost.

Source of truth: guarantees G1 and G11; docs/decisions/0012. No acknowledged record that can still be read is given up
for a page that cannot. Records stay in their incarnation, at their positions, so nothing can reach the cloud twice;
that incarnation is closed and a new one begins, because nobody can tell how far the old one had come. What is missing
in between travels as `lost`.

The new file takes the old one's place in an order that any power cut may break off: `lane-x.db.rebuilt` is complete and
durable before the damaged file is renamed, and `finish` completes at the next start what was broken off.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import apsw

from edge.log.lane_file import LaneFile
from edge.log.refusals import COLUMNS, TABLE, Refusals
from edge.log.row_check import CRC_BYTES, check_bytes, checked, sound
from kit.dice import Dice
from kit.files import Disk
from protocols.errors import StoreFailedError
from protocols.link import chain
from protocols.link.batch import INCARNATION_BYTES, OPENING_BYTES, HoleReason
from protocols.link.lanes import Lane

REBUILT_SUFFIX: Final = ".rebuilt"
SIDE_FILES: Final = ("-wal", "-shm")
_CHUNK: Final = 256
_BLIND_MAX: Final = 50_000
"""Positions tried behind the last readable one before it is taken for the end."""
_TABLES: Final = {
    "opening": ("life", "before", "id", "at_ms"),
    "hole": ("life", "first", "last", "reason"),
    "signed_head": ("life", "seq", "head"),
    "cursor": ("name", "life", "seq"),
    "source": ("name", "position"),
    "command": ("key", "no", "id", "phase", "result"),
    "document": ("name", "version", "data"),
}
_LIFE: Final = (
    "no", "incarnation", "began_at_ms", "reason", "acked", "trimmed", "trimmed_link", "dropped", "thinned", "minute_to",
    "quarter_to",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Saved:
    """What a rebuilding saved: records taken over, and positions that were written once and cannot be read."""

    records: int
    lost: int


def rebuild(
    path: Path,
    lane: Lane,
    *,
    disk: Disk,
    dice: Dice,
    wall_ms: int,
    aside: Path,
    known: tuple[str, int] | None = None,
    hold: bool = False,
    vfs: str | None = None,
) -> Saved:
    """Set the damaged file at `path` aside as `aside` and put in its place a new one with what could be read.

    Args:
        path: the damaged lane file.
        lane: which lane it holds.
        disk: for names.
        dice: name the new incarnation.
        wall_ms: when it begins.
        aside: where the damaged file goes; `-wal` goes beside it.
        known: (incarnation in hex, last position) that the log knows to have been committed.
        hold: nothing behind `known` was reported as committed: it is not taken over.
        vfs: name of the SQLite file layer.

    Raises:
        StoreFailedError: the disk refuses; nothing is lost, try again.
    """
    rebuilt = path.with_name(path.name + REBUILT_SUFFIX)
    try:
        _remove(disk, rebuilt)
        saved = _build(path, rebuilt, lane, disk=disk, dice=dice, wall_ms=wall_ms, known=known, hold=hold, vfs=vfs)
        disk.sync(rebuilt)
        disk.sync_folder(path.parent)
        disk.rename(path, aside)
        disk.sync_folder(path.parent)
        _move_side_files(disk, path, aside)
        disk.rename(rebuilt, path)
        disk.sync_folder(path.parent)
    except OSError as error:
        raise StoreFailedError(f"{path}: damaged, and cannot be set aside: {error}") from error
    return saved


def finish(path: Path, *, disk: Disk, aside: Path) -> None:
    """Complete or undo what a power cut broke off in `rebuild`. Raises StoreFailedError."""
    rebuilt = path.with_name(path.name + REBUILT_SUFFIX)
    try:
        if not disk.exists(rebuilt):
            return
        if disk.exists(path):
            _remove(disk, rebuilt)  # the damaged file is still in its place: it is rebuilt again if need be
        else:
            _move_side_files(disk, path, aside)
            disk.rename(rebuilt, path)
        disk.sync_folder(path.parent)
    except OSError as error:
        raise StoreFailedError(f"{path}: {error}") from error


def _remove(disk: Disk, path: Path) -> None:
    for name in (path, *(path.with_name(path.name + side) for side in SIDE_FILES)):
        if disk.exists(name):
            disk.remove(name)


def _move_side_files(disk: Disk, path: Path, aside: Path) -> None:
    """A write-ahead log that stays would be applied to the new file."""
    for side in SIDE_FILES:
        if disk.exists(old := path.with_name(path.name + side)):
            disk.rename(old, aside.with_name(aside.name + side))
    disk.sync_folder(path.parent)


def _build(
    path: Path,
    rebuilt: Path,
    lane: Lane,
    *,
    disk: Disk,
    dice: Dice,
    wall_ms: int,
    known: tuple[str, int] | None,
    hold: bool,
    vfs: str | None,
) -> Saved:
    new = LaneFile(rebuilt, lane, disk=disk, vfs=vfs)
    try:
        new.make_schema(dice, wall_ms)
        old = _Old(path, lane, vfs)
        try:
            with new.transaction():
                saved = _take_over(old, new, dice=dice, wall_ms=wall_ms, known=known, hold=hold)
        finally:
            old.close()
        new.value("PRAGMA wal_checkpoint(TRUNCATE)")
    except apsw.Error as error:
        raise new.translated(error) from error
    finally:
        new.close()
    return saved


def _take_over(
    old: "_Old", new: LaneFile, *, dice: Dice, wall_ms: int, known: tuple[str, int] | None, hold: bool
) -> Saved:
    lives = [row for row in old.table("life", _LIFE) if _is_life(row)]
    if not lives:
        return Saved(0, 0)
    new.db.execute("DELETE FROM life")
    places = ", ".join("?" * len(_LIFE))
    new.db.executemany(f"INSERT OR IGNORE INTO life ({', '.join(_LIFE)}) VALUES ({places})", lives)  # noqa: S608 - our own names
    for name, columns in _TABLES.items():
        places = ", ".join("?" * len(columns))
        for each in old.table(name, columns):
            try:
                new.db.execute(f"INSERT OR IGNORE INTO {name} ({', '.join(columns)}) VALUES ({places})", each)  # noqa: S608 - names out of our own schema
            except apsw.ConstraintError:  # not of the column's type: damaged
                continue
    refusals = Refusals(new)
    for no, seq, name in old.table(TABLE, COLUMNS):
        if isinstance(no, int) and isinstance(seq, int) and isinstance(name, str):
            refusals.keep(name, no, [seq])
    records = lost = 0
    for life in lives:
        no, incarnation, trimmed, link = life[0], life[1], life[5], life[6]
        known_last = known[1] if known is not None and known[0] == incarnation.hex() else 0
        last = held = trimmed
        taken = 0
        for rows in old.records(no, trimmed, known_last):
            verdicts = sound(old.lane, rows, held, link if held == trimmed else None)
            good = [row for row, verdict in zip(rows, verdicts, strict=True) if verdict]
            if hold and known_last:
                good = [row for row in good if row[0] <= known_last]
            new.db.executemany("INSERT INTO record (life, seq, row) VALUES (?, ?, ?)", [(no, *row) for row in good])
            held, link = rows[-1][0], rows[-1][1][: chain.CHAIN_BYTES]
            last = good[-1][0] if good else last
            taken += len(good)
        end = max(last, held, known_last)
        if end > last:  # inside, a missing record tells by itself; at the end only a hole does
            # a thinned one has records inside, and what it reached over is lost with the end: holes never overlap
            new.db.execute(
                "DELETE FROM hole WHERE life = ? AND reason = ? AND first > ?", (no, int(HoleReason.THINNED), last)
            )
            new.db.execute(
                "UPDATE hole SET last = ?3 WHERE life = ?1 AND reason = ?2 AND last > ?3",
                (no, int(HoleReason.THINNED), last),
            )
            new.db.execute(
                "INSERT OR REPLACE INTO hole (life, first, last, reason) VALUES (?, ?, ?, ?)",
                (no, last + 1, end, int(HoleReason.LOST)),
            )
        new.db.execute(
            "INSERT OR IGNORE INTO opening (life, before, id, at_ms) SELECT ?1, 0, ?2, ?3 "
            "WHERE NOT EXISTS (SELECT 1 FROM opening WHERE life = ?1)",
            (no, dice.bytes(OPENING_BYTES), wall_ms),
        )
        records += taken
        declared = new.db.execute(  # thinned holes have records inside
            "SELECT coalesce(sum(last - max(first, ?2 + 1) + 1 - (SELECT count(*) FROM record WHERE life = ?1 "
            "AND seq BETWEEN max(first, ?2 + 1) AND last)), 0) "
            "FROM hole WHERE life = ?1 AND last > ?2 AND reason <> ?3",
            (no, trimmed, int(HoleReason.LOST)),
        ).get
        lost += max(0, end - trimmed - taken - declared)
    incarnation = dice.bytes(INCARNATION_BYTES)
    new.db.execute(
        "INSERT INTO life (incarnation, began_at_ms, reason, trimmed_link) VALUES (?, ?, 'damaged file', ?)",
        (incarnation, wall_ms, chain.genesis(incarnation)),
    )
    return Saved(records, lost)


def _is_life(row: Sequence[Any]) -> bool:
    no, incarnation, began_at_ms, reason, acked, trimmed, trimmed_link, *more = row
    return (
        isinstance(incarnation, bytes)
        and len(incarnation) == INCARNATION_BYTES
        and isinstance(trimmed_link, bytes)
        and len(trimmed_link) == chain.CHAIN_BYTES
        and isinstance(reason, str)
        and all(isinstance(each, int) and each >= 0 for each in (no, began_at_ms, acked, trimmed, *more))
    )


class _Old:
    """The damaged file, read only, a piece at a time, over whatever cannot be read."""

    def __init__(self, path: Path, lane: Lane, vfs: str | None) -> None:
        self.lane = lane
        self._db: apsw.Connection | None = None
        try:
            self._db = apsw.Connection(str(path), vfs=vfs)
            self._db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
            self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._db.execute("PRAGMA query_only = 1")
        except apsw.Error:  # nothing of it can be read
            self.close()

    def close(self) -> None:
        if self._db is not None:
            self._db.close(True)
            self._db = None

    def table(self, name: str, columns: tuple[str, ...]) -> Iterator[tuple[Any, ...]]:
        """Yield a small table's rows as far as they can be read."""
        if self._db is None:
            return
        try:
            yield from self._db.execute(f"SELECT {', '.join(columns)} FROM {name}")  # noqa: S608 - our own names
        except apsw.Error:
            return

    def records(self, life: int, after: int, known_last: int) -> Iterator[list[tuple[int, bytes]]]:
        """Yield (position, row) in order, in pieces, stepping over what cannot be read."""
        if self._db is None:
            return
        end = max(known_last, after)
        width = _CHUNK
        blind = 0
        while True:
            try:
                rows = self._db.execute(
                    "SELECT seq, row FROM record WHERE life = ? AND seq > ? AND seq <= ? ORDER BY seq LIMIT ?",
                    (life, after, after + width, width),
                ).fetchall()
            except apsw.Error:
                if width > 1:
                    width = max(1, width // 4)
                    continue
                rows = []
            found = self._sorted(rows, after, after + width)
            if found:
                yield found
                blind, end = 0, max(end, found[-1][0])
            else:
                blind += width
            after += width
            width = min(_CHUNK, width * 2)
            if after > end and blind > _BLIND_MAX:
                return

    def _sorted(self, rows: list[Any], after: int, upto: int) -> list[tuple[int, bytes]]:
        """What a damaged tree returns may come twice, in any order and from anywhere."""
        skip = check_bytes(self.lane) - CRC_BYTES
        found: dict[int, bytes] = {}
        for seq, row in rows:
            if isinstance(seq, int) and isinstance(row, bytes) and after < seq <= upto:
                good = checked(row[skip + CRC_BYTES :], seq) == row[skip:]
                if good or seq not in found:
                    found[seq] = row
        return sorted(found.items())
