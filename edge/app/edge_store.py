"""What the edge process must find again after a power cut, besides the record log: one small SQLite file.

Everything in it is either derived from the log (decisions, rooms, commands, with the cursor that says how far, in one
transaction) or comes again from the cloud (the stays document, the policy). So a file that is
damaged is set aside and begun anew: nothing acknowledged lives here alone.

What the build before does not know is kept beside what it reads, not in it: going back one build must not make a file
look damaged. So which word on a stay's end the cloud has heard (`until_n`) is a row of its own, and joined at opening.

One connection, one thread, `synchronous=FULL` (guarantees.md 0: NORMAL loses acknowledged rows at a power cut).
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, TypeVar

import apsw
import msgspec

from edge.rooms.memory import RoomSnapshot
from edge.stays.document import StaysDocument
from edge.stays.keeper import UNTILS
from edge.stays.replica import Decision, Until
from protocols.device_model.identity import StayId
from protocols.errors import StoreFailedError

SCHEMA_VERSION: Final = 1
PAGE_BYTES: Final = 4096
PAGES_MOST: Final = 16_384  # 64 MiB: two orders of magnitude over a full replica
BUSY_MS: Final = 5_000
ASIDE_MOST: Final = 3  # damaged files kept for whoever investigates

_SCHEMA: Final = """
CREATE TABLE cursor (name TEXT PRIMARY KEY, incarnation BLOB NOT NULL, seq INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE document (name TEXT PRIMARY KEY, version INTEGER NOT NULL, body BLOB NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE decision (stay TEXT PRIMARY KEY, body BLOB NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE room (room TEXT PRIMARY KEY, body BLOB NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE command (seq INTEGER PRIMARY KEY, idempotency_key TEXT NOT NULL UNIQUE, body BLOB NOT NULL) STRICT;
CREATE TABLE ended (stay TEXT PRIMARY KEY) STRICT, WITHOUT ROWID;
"""
COMMANDS_MOST: Final = 2_000
_HEARD: Final = "stays_heard"
"""Row of `document` with the words on stays' ends that the stays document of the same version says were heard."""

T = TypeVar("T")
_DAMAGE: Final = (
    *(apsw.CorruptError, apsw.NotADBError),
    # SQLite keeps no checksum of a page: a flipped bit shows as a body that does not decode.
    *(msgspec.MsgspecError, UnicodeDecodeError, RecursionError),
)
"""What a damaged file shows itself by."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far the house has followed a source: the life of its store and the last sequence number taken."""

    incarnation: bytes = b""
    seq: int = 0


@dataclass(frozen=True, slots=True)
class Progress:
    """What one stretch of the log changed; committed whole."""

    cursors: dict[str, Cursor]
    decisions: Sequence[Decision] = ()
    rooms: Sequence[RoomSnapshot] = ()
    commands: Sequence[dict[str, Any]] = ()
    documents: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Restored:
    """What the store held at opening."""

    cursors: dict[str, Cursor] = field(default_factory=dict)
    stays_version: int = 0
    stays_document: bytes | None = None
    policy: bytes | None = None
    decisions: Sequence[Decision] = ()
    untils: Sequence[Until] = ()
    rooms: Sequence[RoomSnapshot] = ()
    commands: Sequence[dict[str, Any]] = ()
    documents: dict[str, bytes] = field(default_factory=dict)  # what `save_document` kept
    set_aside: Path | None = None  # a damaged file was found and moved here


class EdgeStore:
    """The file; make it with `open`."""

    def __init__(self, connection: apsw.Connection, worker: ThreadPoolExecutor | None) -> None:
        self._connection, self._worker = connection, worker
        self._ended: frozenset[StayId] = frozenset(
            StayId(row[0]) for row in connection.execute("SELECT stay FROM ended")
        )

    @classmethod
    def open(cls, path: Path | None, *, threaded: bool = True) -> "tuple[EdgeStore, Restored]":
        """Open or make the store.

        Args:
            path: The file, or None for memory alone (simulation).
            threaded: False commits in the caller's thread, for the simulated loop, which forbids threads.

        Raises:
            StoreFailedError: the disk refused.
        """
        try:
            connection, restored = _opened(path, None)
        except _DAMAGE as error:
            if path is None:
                raise StoreFailedError(f"edge store: {error}") from error
            aside = _set_aside(path)
            try:
                connection, restored = _opened(path, aside)
            except _DAMAGE as again:
                raise StoreFailedError(f"{path}: {again}") from again
        worker = ThreadPoolExecutor(1, thread_name_prefix="edge-store") if threaded else None
        return cls(connection, worker), restored

    async def commit(self, progress: Progress) -> None:
        """Store what a stretch of the log changed, and how far it reached. Raises StoreFailedError."""

        def write() -> None:
            execute = self._connection.execute
            for name, cursor in progress.cursors.items():
                execute("INSERT OR REPLACE INTO cursor VALUES (?, ?, ?)", (name, cursor.incarnation, cursor.seq))
            for decision in progress.decisions:
                stay = msgspec.structs.replace(decision.stay, until_n=msgspec.UNSET)  # counts in the document alone
                body = msgspec.json.encode(replace(decision, stay=stay))
                execute("INSERT OR REPLACE INTO decision VALUES (?, ?)", (decision.stay.id, body))
            for room in progress.rooms:
                execute("INSERT OR REPLACE INTO room VALUES (?, ?)", (room.room, msgspec.json.encode(room)))
            for command in progress.commands:
                execute(
                    "INSERT INTO command (idempotency_key, body) VALUES (?, ?) "
                    "ON CONFLICT (idempotency_key) DO UPDATE SET body = excluded.body",
                    (command["idempotency_key"], msgspec.json.encode(command)),
                )
            for name, document in progress.documents.items():
                execute("INSERT OR REPLACE INTO document VALUES (?, 0, ?)", (name, document))
            if progress.commands:
                execute("DELETE FROM command WHERE seq <= (SELECT max(seq) FROM command) - ?", (COMMANDS_MOST,))

        await self._transaction(write)

    async def save_stays(self, version: int, document: bytes, *, settled: Sequence[StayId]) -> None:
        """Replace the stays document and drop settled decisions. Raises StoreFailedError."""

        plain, heard = _apart(document)

        def write() -> None:
            for name, body in (("stays", plain), (_HEARD, heard)):
                self._connection.execute("INSERT OR REPLACE INTO document VALUES (?, ?, ?)", (name, version, body))
            self._connection.executemany("DELETE FROM decision WHERE stay = ?", [(stay,) for stay in settled])

        await self._transaction(write)

    async def save_policy(self, version: int, document: bytes) -> None:
        """Replace the policy in force. Raises StoreFailedError."""

        def write() -> None:
            self._connection.execute("INSERT OR REPLACE INTO document VALUES ('policy', ?, ?)", (version, document))

        await self._transaction(write)

    async def save_document(self, name: str, body: bytes) -> None:
        """Replace a document of the house's own, found again in `Restored.documents`. Raises StoreFailedError."""

        def write() -> None:
            self._connection.execute("INSERT OR REPLACE INTO document VALUES (?, 0, ?)", (name, body))

        await self._transaction(write)

    async def ended(self) -> frozenset[StayId]:
        """Return the stays that the doors have been told are over."""
        return self._ended

    async def mark_ended(self, stay: StayId) -> None:
        """Remember that the doors have been told. Raises StoreFailedError."""
        await self._transaction(lambda: self._many("INSERT OR IGNORE INTO ended VALUES (?)", [stay]))
        self._ended |= {stay}

    async def forget_ended(self, stays: Sequence[StayId]) -> None:
        """Forget stays that nobody holds any more. Raises StoreFailedError."""
        if stays:
            await self._transaction(lambda: self._many("DELETE FROM ended WHERE stay = ?", stays))
            self._ended -= frozenset(stays)

    async def close(self) -> None:
        """Close the file; everything committed is durable already."""
        await self._off_loop(self._connection.close)
        if self._worker is not None:
            self._worker.shutdown(wait=True)

    def _many(self, statement: str, stays: Iterable[StayId]) -> None:
        self._connection.executemany(statement, [(stay,) for stay in stays])

    async def _transaction(self, write: Callable[[], None]) -> None:
        def whole() -> None:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                write()
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:  # a full disk has rolled back by itself
                    self._connection.execute("ROLLBACK")
                raise

        try:
            await self._off_loop(whole)
        except apsw.Error as error:
            raise StoreFailedError(f"edge store: {error}") from error

    async def _off_loop(self, work: Callable[[], T]) -> T:
        if self._worker is None:
            return work()
        return await asyncio.get_running_loop().run_in_executor(self._worker, work)


def _opened(path: Path | None, aside: Path | None) -> tuple[apsw.Connection, Restored]:
    """Return the connection and all that the file holds, or close it. Raises one of `_DAMAGE`, or StoreFailedError."""
    try:
        connection = _connect(path)
        try:
            return connection, _restored(connection, aside)
        except BaseException:
            connection.close()
            raise
    except (apsw.CorruptError, apsw.NotADBError):
        raise
    except apsw.Error as error:
        raise StoreFailedError(f"{path}: {error}") from error


def _connect(path: Path | None) -> apsw.Connection:
    connection = apsw.Connection(":memory:" if path is None else str(path))
    try:
        connection.set_busy_timeout(BUSY_MS)
        connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA max_page_count = {PAGES_MOST}")
        [(found,)] = connection.execute("PRAGMA user_version")
        if found == 0:
            with connection:
                connection.execute(_SCHEMA)
                connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        elif found != SCHEMA_VERSION:
            raise StoreFailedError(f"{path}: holds schema {found}; this program knows {SCHEMA_VERSION}")
        [(verdict,)] = list(connection.execute("PRAGMA quick_check(1)"))
        if verdict != "ok":
            raise apsw.CorruptError(str(verdict))
    except BaseException:
        connection.close()
        raise
    return connection


def _set_aside(path: Path) -> Path:
    """Move a damaged file out of the way, with its WAL; the oldest of the ones moved before is overwritten."""
    free = (path.with_name(f"{path.name}.damaged-{number}") for number in range(1, ASIDE_MOST + 1))
    aside = next((each for each in free if not each.exists()), path.with_name(f"{path.name}.damaged-{ASIDE_MOST}"))
    try:
        path.replace(aside)
        for suffix in ("-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
    except OSError as error:
        raise StoreFailedError(f"{path}: damaged, and cannot be set aside: {error.strerror or error}") from error
    return aside


def _apart(document: bytes) -> tuple[bytes, bytes]:
    """Return a stays document without the words heard on stays' ends, and those, by stay."""
    if b'"until_n"' not in document:
        return document, b"{}"
    whole = msgspec.json.decode(document, type=StaysDocument)
    heard = {each.id: each.until_n for each in whole.stays if each.until_n is not msgspec.UNSET}
    stays = [msgspec.structs.replace(each, until_n=msgspec.UNSET) for each in whole.stays]
    return msgspec.json.encode(msgspec.structs.replace(whole, stays=stays)), msgspec.json.encode(heard)


def _joined(document: bytes, heard: bytes) -> bytes:
    """Return the document that `_apart` was given."""
    whole, words = msgspec.json.decode(document, type=StaysDocument), msgspec.json.decode(heard, type=dict[str, int])
    if not words:
        return document
    stays = [msgspec.structs.replace(each, until_n=words.get(each.id, each.until_n)) for each in whole.stays]
    return msgspec.json.encode(msgspec.structs.replace(whole, stays=stays))


def _restored(connection: apsw.Connection, aside: Path | None) -> Restored:
    documents = {name: (version, body) for name, version, body in connection.execute("SELECT * FROM document")}
    stays_version, stays_document = documents.get("stays", (0, None))
    untils = documents.get(UNTILS, (0, b"[]"))[1]
    if stays_document is not None:
        heard_version, heard = documents.get(_HEARD, (0, b"{}"))
        stays_document = _joined(stays_document, heard if heard_version == stays_version else b"{}")
    return Restored(
        cursors={name: Cursor(bytes(inc), seq) for name, inc, seq in connection.execute("SELECT * FROM cursor")},
        stays_version=stays_version,
        stays_document=stays_document,
        untils=msgspec.json.decode(untils, type=list[Until]),
        policy=documents.get("policy", (0, None))[1],
        documents={name: bytes(body) for name, (_, body) in documents.items()},
        decisions=[
            msgspec.json.decode(body, type=Decision)
            for (body,) in connection.execute("SELECT body FROM decision ORDER BY stay")
        ],
        rooms=[
            msgspec.json.decode(body, type=RoomSnapshot)
            for (body,) in connection.execute("SELECT body FROM room ORDER BY room")
        ],
        commands=[
            msgspec.json.decode(body, type=dict[str, Any])
            for (body,) in connection.execute("SELECT body FROM command ORDER BY seq")
        ],
        set_aside=aside,
    )
