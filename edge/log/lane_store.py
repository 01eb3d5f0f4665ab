"""One lane's file: records in order, who wrote them, what the cloud has, what gave way. SQLite, one connection,
one owner.

Source of truth: protocols/link/SPEC.md sections 2 to 4 and 6.3; guarantees G1, G9, G14. Synchronous and
single-threaded: `RecordLog`
gives each store a thread of its own. A call that returns has committed (WAL, synchronous=FULL); a call that raises
StoreFailedError has not, and what it tried is gone from the file too once the store is open again.

Each lane has a file of its own, so that a torn telemetry file takes no door event with it and no lane eats
another's quota.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import apsw

from kit.dice import Dice
from protocols.errors import LocalProtocolError, StoreFailedError
from protocols.link import chain
from protocols.link.batch import INCARNATION_BYTES, OPENING_BYTES, Hole, HoleReason, Packed
from protocols.link.edge_link import StreamHead
from protocols.link.lanes import Lane

SCHEMA_VERSION: Final = 1
QUICK_CHECK_PAGES_MAX: Final = 64 * 1024
"""Files up to 256 MiB are checked whole at open; of larger ones the tail is."""
TAIL_CHECK_RECORDS: Final = 2_000
RELIEF_FRACTION: Final = 0.9
"""Above this share of its quota a lane makes room before it appends."""
ALARM_FRACTION: Final = 0.8
TRIM_RECORDS_MAX: Final = 2_000
"""Records removed in one go, so that no trim holds up an append for long."""
COMMANDS_KEPT: Final = 10_000
"""Results of commands kept for repeats."""

_SCHEMA: Final = f"""
CREATE TABLE life (
    no INTEGER PRIMARY KEY, incarnation BLOB NOT NULL UNIQUE, began_at_ms INTEGER NOT NULL, reason TEXT NOT NULL,
    acked INTEGER NOT NULL DEFAULT 0, trimmed INTEGER NOT NULL DEFAULT 0, trimmed_link BLOB NOT NULL,
    dropped INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE opening (
    life INTEGER NOT NULL, before INTEGER NOT NULL, id BLOB NOT NULL, at_ms INTEGER NOT NULL, PRIMARY KEY (life,
    before)
) STRICT, WITHOUT ROWID;
CREATE TABLE record (
    life INTEGER NOT NULL, seq INTEGER NOT NULL, record BLOB NOT NULL, link BLOB, PRIMARY KEY (life, seq)
) STRICT, WITHOUT ROWID;
CREATE TABLE hole (
    life INTEGER NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL, reason INTEGER NOT NULL, PRIMARY KEY
    (life, first)
) STRICT, WITHOUT ROWID;
CREATE TABLE cursor (name TEXT PRIMARY KEY, life INTEGER NOT NULL, seq INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE source (name TEXT PRIMARY KEY, position INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE command (
    key TEXT PRIMARY KEY, no INTEGER NOT NULL, id TEXT NOT NULL, phase TEXT NOT NULL, result TEXT
) STRICT, WITHOUT ROWID;
CREATE TABLE document (name TEXT PRIMARY KEY, version INTEGER NOT NULL, data BLOB NOT NULL) STRICT, WITHOUT ROWID;
PRAGMA user_version = {SCHEMA_VERSION};
"""


class CorruptStoreError(StoreFailedError):
    """The file is not what was written: it must be set aside and a new incarnation begun."""

    retryable = False


class StoreFullError(StoreFailedError):
    """No room on the disk or in the lane's quota. The file is sound and goes on as it is once there is room."""


@dataclass(frozen=True, slots=True)
class NewRecord:
    """A record to append; `source` = (name, position) makes it idempotent: a position not past the source's mark
    is skipped.
    """

    encoded: bytes
    source: tuple[str, int] | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """How full a lane is. `dropped`: records that gave way unsent since the file was made."""

    pages: int
    pages_max: int
    dropped: int

    @property
    def fraction(self) -> float:
        """Share of the quota in use."""
        return self.pages / self.pages_max


@dataclass(slots=True)
class _Life:
    no: int
    incarnation: bytes
    acked: int
    trimmed: int
    trimmed_link: bytes
    last: int
    link: bytes  # chain value after `last`


class LaneStore:
    """One open lane file. Not thread-safe: one owner."""

    def __init__(
        self,
        path: Path,
        lane: Lane,
        *,
        pages_max: int,
        keep_acked_records: int,
        dice: Dice,
        wall_ms: int,
        confirmed: tuple[bytes, int] | None = None,
        vfs: str | None = None,
    ) -> None:
        """Open `path`, or make it.

        Args:
            confirmed: (incarnation, last position reported as committed) when it is opened again after a
            failure in the
                same process: what may stand behind it was reported as failed and is removed.

        Raises:
            CorruptStoreError: it is not a lane file or does not hold together; nothing was changed.
            StoreFailedError: the disk refused, or another process has it open.
        """
        self.path, self.lane = path, lane
        self._pages_max, self._keep_acked = pages_max, keep_acked_records
        self._dropped = 0
        self._life: _Life
        try:
            self._db = apsw.Connection(str(path), vfs=vfs)
        except apsw.Error as error:
            raise _translated(error, path) from error
        try:
            self._configure()
            self._make_schema(dice, wall_ms)
            self._check()
            self._load()
            self._hold_to(confirmed)
            self._begin_opening(dice, wall_ms)
        except apsw.Error as error:
            self.abandon()
            raise _translated(error, path) from error
        except StoreFailedError:
            self.abandon()
            raise

    # ------------------------------------------------------------------ what is there

    @property
    def incarnation(self) -> bytes:
        """The current incarnation, 16 bytes."""
        return self._life.incarnation

    @property
    def last(self) -> int:
        """The last position written in the current incarnation; 0: none."""
        return self._life.last

    @property
    def chain_head(self) -> bytes:
        """The hash chain's value after `last` (lane A)."""
        return self._life.link

    def heads(self) -> list[StreamHead]:
        """Return the streams that the link must know: unfinished older incarnations first, the current one last."""
        heads: list[StreamHead] = []
        for no, incarnation, acked, trimmed in self._all(
            "SELECT no, incarnation, acked, trimmed FROM life ORDER BY no"
        ):
            current = no == self._life.no
            last = self._life.last if current else self._last_of(no, trimmed)
            if not current and acked >= last:
                continue
            openings = self._all("SELECT id, before FROM opening WHERE life = ? ORDER BY before", (no,))
            heads.append(
                StreamHead(
                    incarnation,
                    self.lane,
                    trimmed + 1,
                    last,
                    acked,
                    openings=tuple((id_, before) for id_, before in openings),
                    closed=not current,
                )
            )
        return heads

    def usage(self) -> Usage:
        """Return how full the lane is."""
        pages = self._value("PRAGMA page_count") - self._value("PRAGMA freelist_count")
        return Usage(pages, self._pages_max, self._dropped)

    def read(self, after_seq: int, most: int) -> list[tuple[int, bytes]]:
        """Return up to `most` (position, encoded record) of the current incarnation after `after_seq`."""
        return self._all(
            "SELECT seq, record FROM record WHERE life = ? AND seq > ? ORDER BY seq LIMIT ?",
            (self._life.no, after_seq, most),
        )

    def run(self, incarnation: bytes, after_seq: int, most: int) -> Packed | None:
        """Return what follows `after_seq` in a stream, at most `most` records of one opening; None: nothing does."""
        life = self._life_of(incarnation)
        if life is None or after_seq >= life.last:
            return None
        opening, end = self._opening_at(life, after_seq + 1)
        rows = self._all(
            "SELECT seq, record, link FROM record WHERE life = ? AND seq > ? AND seq <= ? ORDER BY seq LIMIT ?",
            (life.no, after_seq, end, most),
        )
        last = rows[-1][0] if len(rows) == most else end
        holes = self._holes_between(life, after_seq + 1, last, [row[0] for row in rows])
        chained = self.lane is Lane.A
        return Packed(
            first=after_seq + 1,
            last=last,
            seqs=[row[0] for row in rows],
            records=[row[1] for row in rows],
            holes=holes,
            before=self._link_at(life, (rows[0][0] if rows else last + 1) - 1) if chained else None,
            links=[row[2] for row in rows] if chained else (),
            opening=opening,
        )

    # ------------------------------------------------------------------ appending

    def append(self, records: Sequence[NewRecord]) -> list[int | None]:
        """Append `records` in one commit and return their positions; None for those whose source was past them.

        Raises:
            StoreFailedError: nothing of it was kept. open the file again with `confirmed` to go on.
        """
        self._make_room(len(records))
        life = self._life
        last, link = life.last, life.link
        rows: list[tuple[int, int, bytes, bytes | None]] = []
        positions: list[int | None] = []
        marks: dict[str, int] = {}
        try:
            for each in records:
                if each.source is not None:
                    name, position = each.source
                    if name not in marks:
                        marks[name] = self.source_mark(name)
                    if position <= marks[name]:
                        positions.append(None)
                        continue
                    marks[name] = position
                last += 1
                if self.lane is Lane.A:
                    link = chain.link(link, last, each.encoded)
                rows.append((life.no, last, each.encoded, link if self.lane is Lane.A else None))
                positions.append(last)
            if rows:
                with _Transaction(self._db):
                    self._db.executemany("INSERT INTO record (life, seq, record, link) VALUES (?, ?, ?, ?)", rows)
                    if marks:
                        self._db.executemany(
                            "INSERT INTO source (name, position) VALUES (?, ?) "
                            "ON CONFLICT (name) DO UPDATE SET position = excluded.position",
                            list(marks.items()),
                        )
        except apsw.Error as error:
            raise _translated(error, self.path) from error
        life.last, life.link = last, link
        return positions

    def source_mark(self, name: str) -> int:
        """Return the highest position taken over from `name`; 0: none."""
        mark: int | None = self._value("SELECT position FROM source WHERE name = ?", (name,))
        return 0 if mark is None else mark

    # ------------------------------------------------------------------ cursors, acks, trimming

    def cursor(self, name: str) -> int:
        """Return how far `name` has read the current incarnation; 0 at its beginning."""
        seq: int | None = self._value("SELECT seq FROM cursor WHERE name = ? AND life = ?", (name, self._life.no))
        return 0 if seq is None else seq

    def advance(self, name: str, seq: int) -> None:
        """Move `name`'s cursor forward to `seq`; an older one changes nothing."""
        if seq > self._life.last:
            raise LocalProtocolError(f"cursor {name} to {self.lane}/{seq}, but the last record is {self._life.last}")
        self._write(
            "INSERT INTO cursor (name, life, seq) VALUES (?, ?, ?) ON CONFLICT (name) DO UPDATE SET "
            "seq = CASE WHEN life = excluded.life THEN max(seq, excluded.seq) ELSE excluded.seq END, "
            "life = excluded.life",
            (name, self._life.no, seq),
        )

    def acked(self, incarnation: bytes, hi: int) -> None:
        """Take the cloud's mark, up or (a cloud restored from a backup) down, and trim what need not be kept."""
        life = self._life_of(incarnation)
        if life is None:
            return
        hi = min(hi, life.last)
        try:
            with _Transaction(self._db):
                self._db.execute("UPDATE life SET acked = ? WHERE no = ?", (hi, life.no))
                # what wrote only what the cloud has need not be known any more, but for the one the mark stands in
                self._db.execute(
                    "DELETE FROM opening WHERE life = ?1 AND before < "
                    "(SELECT max(before) FROM opening WHERE life = ?1 AND before < ?2)",
                    (life.no, max(1, hi)),
                )
                if life.no != self._life.no and hi >= life.last:
                    self._forget_life(life.no)
        except apsw.Error as error:
            raise _translated(error, self.path) from error
        if life.no == self._life.no:
            self._life.acked = hi
            self.trim(hi - self._keep_acked)

    def trim(self, upto_seq: int) -> int:
        """Remove acknowledged records up to `upto_seq` that every cursor has passed, a bounded number at a time.

        Returns how many went.
        """
        life = self._life
        upto = min(upto_seq, life.acked, life.trimmed + TRIM_RECORDS_MAX)
        slowest: int | None = self._value("SELECT min(seq) FROM cursor WHERE life = ?", (life.no,))
        if slowest is not None:
            upto = min(upto, slowest)
        if upto <= life.trimmed:
            return 0
        return self._remove_upto(upto)

    # ------------------------------------------------------------------ lives

    def begin_life(self, dice: Dice, wall_ms: int, *, cut: int, reason: str) -> bytes:
        """Begin a new incarnation: records after `cut` move into it, counted from 1; return it.

        Used when this file turns out to be an old copy that was put back: what the cloud has of the old
        incarnation beyond
        `cut` was never written here, so the positions after `cut` must not be used again.
        """
        old = self._life
        new = dice.bytes(INCARNATION_BYTES)
        link = chain.genesis(new)
        try:
            with _Transaction(self._db):
                self._db.execute(
                    "INSERT INTO life (incarnation, began_at_ms, reason, trimmed_link) VALUES (?, ?, ?, ?)",
                    (new, wall_ms, reason, link),
                )
                no = self._db.last_insert_rowid()
                moved = self._all("SELECT record FROM record WHERE life = ? AND seq > ? ORDER BY seq", (old.no, cut))
                rows: list[tuple[int, int, bytes, bytes | None]] = []
                for seq, (record,) in enumerate(moved, start=1):
                    link = chain.link(link, seq, record) if self.lane is Lane.A else link
                    rows.append((no, seq, record, link if self.lane is Lane.A else None))
                self._db.execute("DELETE FROM record WHERE life = ? AND seq > ?", (old.no, cut))
                self._db.execute("DELETE FROM hole WHERE life = ? AND first > ?", (old.no, cut))
                if rows:
                    self._db.executemany("INSERT INTO record (life, seq, record, link) VALUES (?, ?, ?, ?)", rows)
                self._insert_opening(no, 0, dice, wall_ms)
        except apsw.Error as error:
            raise _translated(error, self.path) from error
        self._life = _Life(no, new, 0, 0, chain.genesis(new), len(rows), link)
        return new

    # ------------------------------------------------------------------ commands and documents (lane A's file)

    def command_known(self, key: str) -> tuple[str, str, str | None] | None:
        """Return (command id, phase, result as JSON) stored under an idempotency key, None for a new key."""
        for id_, phase, result in self._all("SELECT id, phase, result FROM command WHERE key = ?", (key,)):
            return id_, phase, result
        return None

    def command_phase(self, key: str, id_: str, phase: str, result: str | None, record: NewRecord) -> int:
        """Store a command's phase and append its record in one commit; return the record's position."""
        life = self._life
        last = life.last + 1
        link = chain.link(life.link, last, record.encoded) if self.lane is Lane.A else life.link
        try:
            with _Transaction(self._db):
                no = (self._value("SELECT max(no) FROM command") or 0) + 1
                self._db.execute(
                    "INSERT INTO command (key, no, id, phase, result) VALUES (?, ?, ?, ?, ?) "
                    "ON CONFLICT (key) DO UPDATE SET phase = excluded.phase, result = excluded.result",
                    (key, no, id_, phase, result),
                )
                self._db.execute("DELETE FROM command WHERE no <= ?", (no - COMMANDS_KEPT,))
                self._db.execute(
                    "INSERT INTO record (life, seq, record, link) VALUES (?, ?, ?, ?)",
                    (life.no, last, record.encoded, link if self.lane is Lane.A else None),
                )
        except apsw.Error as error:
            raise _translated(error, self.path) from error
        life.last, life.link = last, link
        return last

    def commands_in(self, phase: str) -> list[tuple[str, str]]:
        """Return (key, command id) of the commands that stand in `phase`, oldest first."""
        return self._all("SELECT key, id FROM command WHERE phase = ? ORDER BY no", (phase,))

    def document(self, name: str) -> tuple[int, bytes] | None:
        """Return (version, signed bytes) of the desired document `name` that was last taken, if any."""
        for version, data in self._all("SELECT version, data FROM document WHERE name = ?", (name,)):
            return version, data
        return None

    def documents(self) -> list[tuple[str, int, bytes]]:
        """Return (name, version, signed bytes) of every desired document taken."""
        return self._all("SELECT name, version, data FROM document ORDER BY name")

    def keep_document(self, name: str, version: int, data: bytes) -> None:
        """Keep the newest desired document `name`."""
        self._write(
            "INSERT INTO document (name, version, data) VALUES (?, ?, ?) "
            "ON CONFLICT (name) DO UPDATE SET version = excluded.version, data = excluded.data",
            (name, version, data),
        )

    # ------------------------------------------------------------------ checking

    def verify_chain(self) -> int:
        """Recompute the hash chain over all records held of the current incarnation and return how many there are.

        Raises:
            CorruptStoreError: a record was changed, removed or put in another order.
        """
        return self._verify_chain(self._life.trimmed, self._life.trimmed_link)

    def close(self) -> None:
        """Close the file; harmless to call twice."""
        try:
            self._db.close()
        except apsw.Error:
            self.abandon()

    def abandon(self) -> None:
        """Close the file of a failed disk without another write: what was committed is in its write-ahead log."""
        try:
            self._db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
            self._db.close(True)
        except apsw.Error:  # closed all the same: apsw tells what SQLite ignored
            return

    # ------------------------------------------------------------------ inside

    def _configure(self) -> None:
        run = self._db.execute
        run("PRAGMA locking_mode = EXCLUSIVE")
        run("PRAGMA page_size = 4096")
        if self._value("PRAGMA journal_mode = WAL") != "wal":
            raise StoreFailedError(f"{self.path}: the disk cannot hold a write-ahead log")
        run("PRAGMA synchronous = FULL")
        run("PRAGMA cache_size = -512")
        run("PRAGMA temp_store = MEMORY")
        run("PRAGMA journal_size_limit = 8388608")
        run(f"PRAGMA max_page_count = {self._pages_max}")

    def _make_schema(self, dice: Dice, wall_ms: int) -> None:
        version = self._value("PRAGMA user_version")
        if version == SCHEMA_VERSION:
            return
        if version != 0 or self._value("SELECT count(*) FROM sqlite_schema"):
            raise CorruptStoreError(f"{self.path}: not a lane file of version {SCHEMA_VERSION}, but {version}")
        incarnation = dice.bytes(INCARNATION_BYTES)
        with _Transaction(self._db):
            self._db.execute(_SCHEMA)
            self._db.execute(
                "INSERT INTO life (incarnation, began_at_ms, reason, trimmed_link) VALUES (?, ?, 'new file', ?)",
                (incarnation, wall_ms, chain.genesis(incarnation)),
            )

    def _check(self) -> None:
        if self._value("PRAGMA page_count") <= QUICK_CHECK_PAGES_MAX:
            answer = self._value("PRAGMA quick_check(1)")
            if answer != "ok":
                raise CorruptStoreError(f"{self.path}: {answer}")

    def _load(self) -> None:
        lives = self._all("SELECT no, incarnation, acked, trimmed, trimmed_link FROM life ORDER BY no DESC LIMIT 1")
        if not lives:
            raise CorruptStoreError(f"{self.path}: holds no incarnation")
        no, incarnation, acked, trimmed, trimmed_link = lives[0]
        last = self._last_of(no, trimmed)
        self._life = _Life(no, incarnation, acked, trimmed, trimmed_link, last, trimmed_link)
        self._life.link = self._link_at(self._life, last)
        self._dropped = self._value("SELECT sum(dropped) FROM life")
        if self.lane is Lane.A:
            after = max(trimmed, last - TAIL_CHECK_RECORDS)
            self._verify_chain(after, self._link_at(self._life, after))

    def _hold_to(self, confirmed: tuple[bytes, int] | None) -> None:
        if confirmed is None:
            return
        life, (incarnation, last) = self._life, confirmed
        if incarnation != life.incarnation or life.last < last:
            raise CorruptStoreError(f"{self.path}: record {last} was committed and is missing")
        with _Transaction(self._db):
            self._db.execute("DELETE FROM record WHERE life = ? AND seq > ?", (life.no, last))
        life.last, life.link = last, self._link_at(life, last)

    def _begin_opening(self, dice: Dice, wall_ms: int) -> None:
        with _Transaction(self._db):
            self._insert_opening(self._life.no, self._life.last, dice, wall_ms)

    def _insert_opening(self, life: int, before: int, dice: Dice, wall_ms: int) -> None:
        self._db.execute(  # an opening that wrote nothing is replaced
            "INSERT OR REPLACE INTO opening (life, before, id, at_ms) VALUES (?, ?, ?, ?)",
            (life, before, dice.bytes(OPENING_BYTES), wall_ms),
        )

    def _verify_chain(self, after: int, link: bytes) -> int:
        count = 0
        cursor = self._db.execute(
            "SELECT seq, record, link FROM record WHERE life = ? AND seq > ? ORDER BY seq", (self._life.no, after)
        )
        expected = after
        for seq, record, stored in cursor:
            expected += 1
            link = chain.link(link, seq, record)
            if seq != expected or link != stored:
                cursor.close()
                raise CorruptStoreError(f"{self.path}: the hash chain breaks at record {seq}")
            count += 1
        if expected != self._life.last or link != self._link_at(self._life, expected):
            raise CorruptStoreError(f"{self.path}: the hash chain ends at {expected}, not at {self._life.last}")
        return count

    def _life_of(self, incarnation: bytes) -> _Life | None:
        if incarnation == self._life.incarnation:
            return self._life
        for no, acked, trimmed, link in self._all(
            "SELECT no, acked, trimmed, trimmed_link FROM life WHERE incarnation = ?", (incarnation,)
        ):
            return _Life(no, incarnation, acked, trimmed, link, self._last_of(no, trimmed), link)
        return None

    def _last_of(self, no: int, trimmed: int) -> int:
        newest: int = self._value("SELECT coalesce(max(seq), 0) FROM record WHERE life = ?", (no,))
        return max(newest, trimmed)

    def _link_at(self, life: _Life, seq: int) -> bytes:
        """The chain's value after `seq`; where that record is gone, at the end of what was trimmed."""
        if self.lane is Lane.A and seq > life.trimmed:
            for (link,) in self._all("SELECT link FROM record WHERE life = ? AND seq = ?", (life.no, seq)):
                return bytes(link)
        return life.trimmed_link

    def _opening_at(self, life: _Life, seq: int) -> tuple[bytes, int]:
        """The opening that wrote `seq` (the oldest one known, if it is forgotten) and the last position it wrote."""
        end = life.last
        for id_, before in self._all("SELECT id, before FROM opening WHERE life = ? ORDER BY before DESC", (life.no,)):
            found = id_
            if before < seq:
                return found, end
            end = before
        oldest: bytes = self._value("SELECT id FROM opening WHERE life = ? ORDER BY before LIMIT 1", (life.no,))
        return oldest, end

    def _holes_between(self, life: _Life, first: int, last: int, seqs: Sequence[int]) -> list[Hole]:
        declared = [
            Hole(max(first, from_), min(last, to), HoleReason(reason))
            for from_, to, reason in self._all(
                "SELECT first, last, reason FROM hole WHERE life = ? AND first <= ? AND last >= ? ORDER BY first",
                (life.no, last, first),
            )
        ]
        held = set(seqs)
        holes: list[Hole] = []
        at = first
        for stop in [*declared, Hole(last + 1, last + 1, HoleReason.LOST)]:
            holes += self._undeclared(life, at, stop.first - 1, held)
            if stop.first <= last:
                holes.append(stop)
            at = stop.last + 1
        return holes

    def _undeclared(self, life: _Life, first: int, last: int, held: set[int]) -> list[Hole]:
        """Holes nobody declared: what was acknowledged and trimmed is forgotten, anything else is damage."""
        if first > last or (first > life.trimmed and all(seq in held for seq in range(first, last + 1))):
            return []
        holes: list[Hole] = []
        forgotten_to = min(last, life.trimmed)
        if first <= forgotten_to:
            holes.append(Hole(first, forgotten_to, HoleReason.FORGOTTEN))
            first = forgotten_to + 1
        run: int | None = None
        for seq in range(first, last + 2):
            missing = seq <= last and seq not in held
            if missing and run is None:
                run = seq
            elif not missing and run is not None:
                holes.append(Hole(run, seq - 1, HoleReason.LOST))
                run = None
        return holes

    def _make_room(self, count: int) -> None:
        """Before an append: above the relief mark the oldest go, acknowledged ones first; lane A gives up no
        other.
        """
        try:
            usage = self.usage()
            if usage.pages < self._pages_max * RELIEF_FRACTION:
                return
            life = self._life
            upto = min(life.trimmed + max(4 * count, TRIM_RECORDS_MAX), life.last)
            if upto > life.acked and self.lane is Lane.A:
                upto = life.acked
            if upto <= life.trimmed:
                return
            given_up = (max(life.trimmed, life.acked) + 1, upto) if upto > life.acked else None
            self._remove_upto(upto, given_up)
        except apsw.Error as error:
            raise _translated(error, self.path) from error

    def _remove_upto(self, upto: int, given_up: tuple[int, int] | None = None) -> int:
        life = self._life
        link = self._link_at(life, upto)
        try:
            with _Transaction(self._db):
                self._db.execute("DELETE FROM record WHERE life = ? AND seq <= ?", (life.no, upto))
                removed = self._db.changes()
                self._db.execute("UPDATE life SET trimmed = ?, trimmed_link = ? WHERE no = ?", (upto, link, life.no))
                if given_up is not None:
                    self._declare_hole(life.no, *given_up)
                self._db.execute("DELETE FROM hole WHERE life = ? AND last <= ?", (life.no, min(upto, life.acked)))
        except apsw.Error as error:
            raise _translated(error, self.path) from error
        life.trimmed, life.trimmed_link = upto, link
        if given_up is not None:
            self._dropped += given_up[1] - given_up[0] + 1
        return removed

    def _declare_hole(self, life: int, first: int, last: int) -> None:
        """Add a hole for lack of room, or lengthen the one before it."""
        self._db.execute("UPDATE life SET dropped = dropped + ? WHERE no = ?", (last - first + 1, life))
        self._db.execute(
            "UPDATE hole SET last = ? WHERE life = ? AND last = ? AND reason = ?",
            (last, life, first - 1, int(HoleReason.QUOTA)),
        )
        if self._db.changes() == 0:
            self._db.execute(
                "INSERT INTO hole (life, first, last, reason) VALUES (?, ?, ?, ?)",
                (life, first, last, int(HoleReason.QUOTA)),
            )

    def _forget_life(self, no: int) -> None:
        for table in ("record", "hole", "opening", "cursor"):
            self._db.execute(f"DELETE FROM {table} WHERE life = ?", (no,))  # noqa: S608  # the four names above

    def _write(self, statement: str, values: Sequence[Any]) -> None:
        try:
            with _Transaction(self._db):
                self._db.execute(statement, values)
        except apsw.Error as error:
            raise _translated(error, self.path) from error

    def _all(self, statement: str, values: Sequence[Any] = ()) -> list[Any]:
        try:
            return self._db.execute(statement, values).fetchall()
        except apsw.Error as error:
            raise _translated(error, self.path) from error

    def _value(self, statement: str, values: Sequence[Any] = ()) -> Any:  # noqa: ANN401  # one SQL value
        try:
            return self._db.execute(statement, values).get
        except apsw.Error as error:
            raise _translated(error, self.path) from error


class _Transaction:
    """BEGIN IMMEDIATE ... COMMIT; ROLLBACK when anything in it, the commit too, fails."""

    def __init__(self, db: apsw.Connection) -> None:
        self._db = db

    def __enter__(self) -> None:
        self._db.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        if kind is None:
            try:
                self._db.execute("COMMIT")
            except apsw.Error:
                self._roll_back()
                raise
        else:
            self._roll_back()

    def _roll_back(self) -> None:
        if self._db.in_transaction:
            try:
                self._db.execute("ROLLBACK")
            except apsw.Error:  # SQLite has rolled back by itself, as it does after most I/O errors
                return


def _translated(error: apsw.Error, path: Path) -> StoreFailedError:
    if isinstance(error, apsw.CorruptError | apsw.NotADBError):
        return CorruptStoreError(f"{path}: {error}")
    if isinstance(error, apsw.FullError):
        return StoreFullError(f"{path}: {error}")
    if isinstance(error, apsw.BusyError | apsw.LockedError):
        return StoreFailedError(f"{path}: another process has it open: {error}")
    return StoreFailedError(f"{path}: {error}")
