"""One lane's SQLite file: how it is opened and made, how a statement runs, what an error of the disk means.

Source of truth: guarantees G1 and G9; docs/decisions/0010 and 0011. WAL, synchronous=FULL, one connection that holds
the file exclusively. What stands in the tables: `lane_store` (records, lives, openings), `lane_space` (holes,
thinning), `lane_desk` (commands, documents).

Rules that hold here and nowhere else:

- **A write-ahead log that was left behind is written anew, whole, before anything is built on it** (`_settle`). After a
  failed fsync the system's cache shows pages that never reached the disk, and calls them clean. Frames appended behind
  such pages would be lost with them at the next power cut, acknowledged or not; a checkpoint that copies them and is
  cut off half way would leave half a commit in the file. Written anew beside itself, not in place: a write in place
  that is cut off may spoil frames that were durable.
- **Few steps**: SQLite hands the interpreter's lock back around every row, and a busy event loop takes 5 ms to give it
  back. So
  many rows go in as one array and come out as one row.
"""

import contextlib
import errno
from collections.abc import Iterable, Mapping, Sequence
from operator import lt
from pathlib import Path
from typing import Any, Final

import apsw

from edge.log.row_check import checked
from kit.dice import Dice
from kit.files import Disk, write_atomic
from protocols.errors import StoreFailedError
from protocols.link import chain
from protocols.link.batch import INCARNATION_BYTES
from protocols.link.lanes import Lane

SCHEMA_VERSION: Final = 2
PAGE_BYTES: Final = 4096
WAL_BYTES: Final = 8 * 1024 * 1024
"""What stays of a write-ahead log that was longer, once it begins anew."""
QUICK_CHECK_PAGES_MAX: Final = 64 * 1024
"""Files up to 256 MiB are checked whole at open; in larger ones only what is read."""

_RECORD: Final = """CREATE TABLE record (
    life INTEGER NOT NULL, seq INTEGER NOT NULL, row BLOB NOT NULL, PRIMARY KEY (life, seq)
) STRICT, WITHOUT ROWID"""
_HEAD: Final = """CREATE TABLE signed_head (
    life INTEGER NOT NULL, seq INTEGER NOT NULL, head BLOB NOT NULL, PRIMARY KEY (life, seq)
) STRICT, WITHOUT ROWID"""
_SCHEMA: Final = f"""
CREATE TABLE life (
    no INTEGER PRIMARY KEY, incarnation BLOB NOT NULL UNIQUE, began_at_ms INTEGER NOT NULL, reason TEXT NOT NULL,
    acked INTEGER NOT NULL DEFAULT 0, trimmed INTEGER NOT NULL DEFAULT 0, trimmed_link BLOB NOT NULL,
    dropped INTEGER NOT NULL DEFAULT 0, thinned INTEGER NOT NULL DEFAULT 0,
    minute_to INTEGER NOT NULL DEFAULT 0, quarter_to INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE opening (
    life INTEGER NOT NULL, before INTEGER NOT NULL, id BLOB NOT NULL, at_ms INTEGER NOT NULL, PRIMARY KEY (life, before)
) STRICT, WITHOUT ROWID;
{_RECORD};
CREATE TABLE hole (
    life INTEGER NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL, reason INTEGER NOT NULL,
    PRIMARY KEY (life, first)
) STRICT, WITHOUT ROWID;
{_HEAD};
CREATE TABLE cursor (name TEXT PRIMARY KEY, life INTEGER NOT NULL, seq INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE source (name TEXT PRIMARY KEY, position INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE command (
    key TEXT PRIMARY KEY, no INTEGER NOT NULL, id TEXT NOT NULL, phase TEXT NOT NULL, result TEXT
) STRICT, WITHOUT ROWID;
CREATE TABLE document (name TEXT PRIMARY KEY, version INTEGER NOT NULL, data BLOB NOT NULL) STRICT, WITHOUT ROWID;
PRAGMA user_version = {SCHEMA_VERSION};
"""
_FROM_1: Final = f"""
ALTER TABLE life ADD COLUMN thinned INTEGER NOT NULL DEFAULT 0;
ALTER TABLE life ADD COLUMN minute_to INTEGER NOT NULL DEFAULT 0;
ALTER TABLE life ADD COLUMN quarter_to INTEGER NOT NULL DEFAULT 0;
ALTER TABLE record RENAME TO record_1;
{_RECORD};
INSERT INTO record SELECT life, seq, row_from_1(link, seq, record) FROM record_1;
DROP TABLE record_1;
{_HEAD};
PRAGMA user_version = {SCHEMA_VERSION};
"""  # noqa: S608 - our own constants
_REPLACED_ROWS: Final = 100


class CorruptStoreError(StoreFailedError):
    """The file is not what was written: what can be read of it is taken over into a new one."""

    retryable = False


class StoreFullError(StoreFailedError):
    """No room. The file is sound and goes on as it is once there is room.

    `disk`: the volume is full; else the lane has used up its own quota.
    """

    def __init__(self, message: str, *, disk: bool) -> None:
        super().__init__(message)
        self.disk = disk


class LaneFile:
    """One open lane file. Not thread-safe: one owner."""

    def __init__(self, path: Path, lane: Lane, *, disk: Disk, vfs: str | None = None, in_place: bool = False) -> None:
        """Open `path`, or make an empty file.

        `in_place`: there is no room to write the write-ahead log anew beside itself.

        Raises:
            CorruptStoreError: it is not a SQLite database or does not hold together.
            StoreFailedError: the disk refused, or another process has it open.
        """
        self.path, self.lane = path, lane
        try:
            self._settle(disk, vfs, in_place=in_place)
            self.db = apsw.Connection(str(path), vfs=vfs)
        except apsw.Error as error:
            raise self.translated(error) from error
        try:
            self._configure()
        except apsw.Error as error:
            self.abandon()
            raise self.translated(error) from error
        except StoreFailedError:
            self.abandon()
            raise

    def make_schema(self, dice: Dice, wall_ms: int) -> None:
        """Make the tables of an empty file, or bring those of version 1 up to date."""
        version = self.value("PRAGMA user_version")
        if version == SCHEMA_VERSION:
            return
        try:
            if version == 1 and self.value("SELECT count(*) FROM sqlite_schema WHERE name = 'record'"):
                self.db.create_scalar_function("row_from_1", self._row_from_1, 3, deterministic=True)
                with self.transaction():
                    self.db.execute(_FROM_1)
                return
            if version != 0 or self.value("SELECT count(*) FROM sqlite_schema"):
                raise CorruptStoreError(f"{self.path}: not a lane file of version {SCHEMA_VERSION}, but {version}")
            incarnation = dice.bytes(INCARNATION_BYTES)
            with self.transaction():
                self.db.execute(_SCHEMA)
                self.db.execute(
                    "INSERT INTO life (incarnation, began_at_ms, reason, trimmed_link) VALUES (?, ?, 'new file', ?)",
                    (incarnation, wall_ms, chain.genesis(incarnation)),
                )
        except apsw.Error as error:
            raise self.translated(error) from error

    def check(self) -> None:
        """Let SQLite look over the file's structure. It knows nothing of what a record says: `row_check` does.

        Raises:
            CorruptStoreError: the structure is damaged.
        """
        if self.value("PRAGMA page_count") <= QUICK_CHECK_PAGES_MAX:
            answer = self.value("PRAGMA quick_check(1)")
            if answer != "ok":
                raise CorruptStoreError(f"{self.path}: {answer}")

    def close(self) -> None:
        """Close the file; harmless to call twice."""
        try:
            self.db.close()
        except apsw.Error:
            self.abandon()

    def abandon(self) -> None:
        """Close the file of a failed disk without another write: what was committed is in its write-ahead log."""
        try:
            self.db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
            self.db.close(True)
        except apsw.Error:  # closed all the same: apsw tells what SQLite ignored
            return

    # ------------------------------------------------------------------ statements

    def transaction(self) -> "_Transaction":
        """BEGIN IMMEDIATE ... COMMIT; ROLLBACK when anything in it, the commit too, fails."""
        return _Transaction(self.db)

    def write(self, statement: str, values: Sequence[Any]) -> None:
        """Run one statement and commit it."""
        try:
            self.db.execute(statement, values)
        except apsw.Error as error:
            raise self.translated(error) from error

    def all(self, statement: str, values: Sequence[Any] = ()) -> list[Any]:
        """Return all rows."""
        try:
            return self.db.execute(statement, values).fetchall()
        except apsw.Error as error:
            raise self.translated(error) from error

    def value(self, statement: str, values: Sequence[Any] = ()) -> Any:  # noqa: ANN401 - one SQL value
        """Return the first column of the first row, None if there is none."""
        try:
            return self.db.execute(statement, values).get
        except apsw.Error as error:
            raise self.translated(error) from error

    def insert_rows(self, life: int, after: int, rows: Sequence[bytes]) -> None:
        """Insert rows at the positions that follow `after`: one statement, one step; its own commit unless in one."""
        self.db.execute(
            "INSERT INTO record (life, seq, row) SELECT ?1, ?2 + rowid, value FROM carray(?3)",
            (life, after, apsw.carray(tuple(rows))),
        )

    def rows(self, life: int, after: int, upto: int, most: int) -> list[tuple[int, bytes]]:
        """Return (position, row) of at most `most` records after `after` and up to `upto`, in order: one step."""
        [(seqs, rows)] = self.all(
            "SELECT group_concat(seq), group_concat(hex(row)) FROM "
            "(SELECT seq, row FROM record WHERE life = ? AND seq > ? AND seq <= ? ORDER BY seq LIMIT ?)",
            (life, after, upto, most),
        )
        if seqs is None:
            return []
        positions = list(map(int, seqs.split(",")))
        if not all(map(lt, positions, positions[1:])):  # a page in the place of another, which SQLite takes as it is
            raise CorruptStoreError(f"{self.path}: positions behind {after} come twice or out of order")
        return list(zip(positions, map(bytes.fromhex, rows.split(",")), strict=True))

    def replace_rows(self, life: int, rows: Mapping[int, bytes]) -> None:
        """Replace the rows at these positions: a step for every hundred."""
        seqs = sorted(rows)
        for at in range(0, len(seqs), _REPLACED_ROWS):
            some = seqs[at : at + _REPLACED_ROWS]
            self.db.execute(  # joined by place: quadratic, hence a hundred at a time
                "REPLACE INTO record (life, seq, row) SELECT ?1, s.value, r.value "
                "FROM carray(?2) AS s JOIN carray(?3) AS r ON r.rowid = s.rowid",
                (life, _integers(some), apsw.carray(tuple(rows[seq] for seq in some))),
            )

    def remove_rows(self, life: int, seqs: Iterable[int]) -> None:
        """Remove the rows at these positions: one step."""
        listed = list(seqs)
        if listed:
            self.db.execute(
                "DELETE FROM record WHERE life = ? AND seq IN (SELECT value FROM carray(?))", (life, _integers(listed))
            )

    def translated(self, error: apsw.Error) -> StoreFailedError:
        """Say what an error of SQLite's means to us."""
        if isinstance(error, apsw.CorruptError | apsw.NotADBError):
            return CorruptStoreError(f"{self.path}: {error}")
        if isinstance(error, apsw.FullError):
            return StoreFullError(f"{self.path}: {error}", disk=not self._quota_used_up())
        if isinstance(error, apsw.BusyError | apsw.LockedError):
            return StoreFailedError(f"{self.path}: another process has it open: {error}")
        if isinstance(error, apsw.ReadOnlyError):
            return StoreFailedError(f"{self.path}: the file system takes no writes: {error}")
        return StoreFailedError(f"{self.path}: {error}")

    # ------------------------------------------------------------------ inside

    def _settle(self, disk: Disk, vfs: str | None, *, in_place: bool) -> None:
        """Make durable what the write-ahead log shows, before anybody reads it for more than its lock."""
        wal = self.path.with_name(self.path.name + "-wal")
        if not disk.exists(wal):  # closed in peace
            return
        db = apsw.Connection(str(self.path), vfs=vfs)
        try:
            db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
            db.execute("PRAGMA locking_mode = EXCLUSIVE")
            db.execute("SELECT count(*) FROM sqlite_schema").fetchall()  # from here on nobody else writes to it
            if not disk.exists(wal):  # SQLite has removed it: the file itself never came into being
                return
            if in_place:
                disk.write_over(wal, disk.read(wal))
                disk.sync(wal)
            else:
                write_atomic(disk, wal, disk.read(wal))
        except StoreFailedError as error:
            if isinstance(error.__cause__, OSError) and error.__cause__.errno == errno.ENOSPC:
                raise StoreFullError(str(error), disk=True) from error
            raise
        except OSError as error:
            raise StoreFailedError(f"{wal}: {error}") from error
        finally:
            db.close(True)

    def _configure(self) -> None:
        run = self.db.execute
        run("PRAGMA locking_mode = EXCLUSIVE")
        run(f"PRAGMA page_size = {PAGE_BYTES}")
        if self.lane is not Lane.A and not self.value("PRAGMA page_count"):  # it writes, whatever was set before
            run("PRAGMA auto_vacuum = INCREMENTAL")  # what B and C give up on a full disk goes back to it
        if self.value("PRAGMA journal_mode = WAL") != "wal":
            raise StoreFailedError(f"{self.path}: the disk cannot hold a write-ahead log")
        run("PRAGMA synchronous = FULL")
        run("PRAGMA cache_size = -1024")
        run("PRAGMA temp_store = MEMORY")
        run(f"PRAGMA journal_size_limit = {WAL_BYTES}")
        with contextlib.suppress(apsw.FullError):  # no room in the file: its write-ahead log goes on as it is
            run("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def _quota_used_up(self) -> bool:
        try:
            pages, limit = self.db.execute("PRAGMA page_count").get, self.db.execute("PRAGMA max_page_count").get
            return bool(pages - self.db.execute("PRAGMA freelist_count").get >= limit - limit // 50 - 1)
        except apsw.Error:  # it cannot even be asked: then it is no matter of quota
            return False

    def _row_from_1(self, *values: Any) -> bytes:  # as SQLite calls
        link, seq, record = values
        return (b"" if link is None else bytes(link)) + checked(record, seq)


def _integers(values: Sequence[int]) -> Any:  # noqa: ANN401 - what apsw binds has no name in its types
    data = b"".join(each.to_bytes(8, "little", signed=True) for each in values)
    return apsw.carray(data, flags=apsw.SQLITE_CARRAY_INT64)


class _Transaction:
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
