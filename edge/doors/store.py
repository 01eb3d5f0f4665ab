"""The doors' own store: grants, generations, bumps, locks, their records and the events for the rest of the house.

SQLite through apsw, one connection, one writer, WAL with synchronous=FULL: what a call returned from is on disk. The
calls are synchronous and short; the doors process does little else, and nothing can come between two statements.
No issuer private key is ever in here: issuers.py keeps them in memory alone.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import apsw

from edge.doors.event_positions import EventPositions
from edge.doors.number_mark import Mark, NumberMark
from edge.doors.private_file import made_private
from edge.doors.salvage import salvage
from edge.doors.store_rows import GRANT_COLUMNS, LOCK_COLUMNS, grant_of, lock_of, signed64
from edge.doors.store_rows import AccessEvent as AccessEvent  # noqa: PLC0414 - a row of this store
from edge.doors.store_rows import IssuedGrant as IssuedGrant  # noqa: PLC0414 - a row of this store
from edge.doors.store_rows import KnownLock as KnownLock  # noqa: PLC0414 - a row of this store
from edge.doors.store_rows import PendingBump as PendingBump  # noqa: PLC0414 - a row of this store
from edge.doors.store_rows import StoredStay as StoredStay  # noqa: PLC0414 - a row of this store
from edge.doors.store_schema import (
    ADDED_IN_2,
    ADDED_IN_3,
    ADDED_IN_4,
    CURTAILED,
    FORGOTTEN,
    SCHEMA,
    SCHEMA_VERSION,
    TABLES,
)
from protocols.door.audit import AuditRecord, genesis
from protocols.door.hardware import battery_byte
from protocols.errors import StoreFailedError
from protocols.grant.generation import of_moment

STORE_BYTES_MOST: Final = 512 * 1024 * 1024
PAGE_BYTES: Final = 4096
RECORDS_KEPT_MOST: Final = 200_000
TRIM_AT_ONCE: Final = 1_000
EVENTS_READ_MOST: Final = 500


_DAMAGE: Final = (apsw.CorruptError, apsw.NotADBError, apsw.SQLError)
"""SQLError: our own constant SQL meets a table that is not as it was made."""


class _DamagedError(Exception):
    """The file is not what was written: set it aside."""


class DoorStore(EventPositions):
    """The open store. Every public call commits before it returns, or raises StoreFailedError and changed nothing.

    A damaged file is set aside (`set_aside` names it) and a new life begins with what could be read of it (`saved`):
    doors must go on. Generations stay right because they hold the time of their issue (protocols/grant/generation.py).

    A store put back from a copy says what it told before again, at new positions: each opening goes on from the clock.
    """

    def __init__(
        self, path: Path, *, epoch: bytes, at_ms: int = 0, numbers: NumberMark | None = None, vfs: str | None = None
    ) -> None:
        """Open or make the store at `path`.

        Args:
            path: The file.
            epoch: 16 bytes, drawn for this opening: names the store's life if one is begun.
            at_ms: Unix ms; the events of this opening have positions beyond it.
            numbers: Notes which generations and list numbers were handed out, outside of the file.
            vfs: SQLite's.

        Raises:
            StoreFailedError: the disk refuses, or the store is of a later build.
        """
        self._path, self._vfs, self._at_ms, self._numbers = path, vfs, at_ms, numbers
        self._drawn_epoch = epoch
        self._mark_ms: int | None = None
        self.set_aside: Path | None = None
        self.saved: dict[str, int] = {}
        """Rows that came over from the file set aside, by table."""
        self.damaged: Callable[[], None] = _nothing
        """Called when a read or write meets damage: the next opening will set the file aside. Whoever runs sets it."""
        try:
            self._open(epoch)
        except _DamagedError as damage:
            self.set_aside = path.with_name(f"{path.name}.damaged-{epoch.hex()[:8]}")
            try:
                path.replace(self.set_aside)
                path.with_name(path.name + "-shm").unlink(missing_ok=True)
                wal = path.with_name(path.name + "-wal")
                if wal.exists():  # what was committed last may be in there, for whoever looks later
                    wal.replace(path.with_name(f"{self.set_aside.name}-wal"))
                self._open(epoch)
                with self._transaction():
                    self.saved = salvage(self.set_aside, self._db)
            except (_DamagedError, OSError) as error:
                raise StoreFailedError(f"{path}: {damage}; and setting it aside: {error}") from error

    def _open(self, epoch: bytes) -> None:
        path, self._mark_ms, self._unanswered = self._path, None, False
        self._records_held: int | None = None  # counted when it is asked for first: a full table takes milliseconds
        try:
            made_private(path)
            self._db = apsw.Connection(str(path), vfs=self._vfs)
        except (apsw.Error, OSError) as error:
            raise StoreFailedError(f"{path}: {error}") from error
        try:
            self._prepare(epoch)
            if (life := self._maybe("SELECT epoch FROM life")) is None or not isinstance(life[0], bytes):
                raise _DamagedError("it does not know its own life")
            self.epoch = life[0]
            self._go_on_from(self._at_ms, fresh=self._fresh)
            if self.spent > self._one("SELECT coalesce(max(highest), 0) FROM room")[0]:
                self.forget_up_to(self.spent)  # more was handed out than this file knows: it is an older one, or new
        except (*_DAMAGE, _DamagedError) as error:
            self._db.close()
            raise _DamagedError(str(error)) from error
        except (apsw.Error, StoreFailedError) as error:
            self._db.close()
            if isinstance(error.__cause__, _DAMAGE):
                raise _DamagedError(str(error)) from error
            raise StoreFailedError(f"{path}: {error}") from error

    def close(self) -> None:
        """Close; harmless to call twice."""
        self._db.close()

    def _prepare(self, epoch: bytes) -> None:
        run = self._db.execute
        run("PRAGMA locking_mode = EXCLUSIVE")
        run(f"PRAGMA page_size = {PAGE_BYTES}")
        run("PRAGMA journal_mode = WAL")
        run("PRAGMA synchronous = FULL")
        run("PRAGMA secure_delete = ON")
        run("PRAGMA cache_size = -1024")
        run("PRAGMA journal_size_limit = 8388608")
        run(f"PRAGMA max_page_count = {STORE_BYTES_MOST // PAGE_BYTES}")
        version = self._one("PRAGMA user_version")[0]
        if version not in range(SCHEMA_VERSION + 1):
            raise StoreFailedError(f"schema version {version}, this build reads {SCHEMA_VERSION}")
        if self._one("PRAGMA quick_check(1)")[0] != "ok":
            raise _DamagedError("quick_check found damage")
        self._fresh = version == 0
        if version < SCHEMA_VERSION:
            with self._transaction():
                if version == 0:
                    run(SCHEMA)
                    run("INSERT INTO life VALUES (1, ?, 0)", (epoch,))
                if version < 2:
                    run(ADDED_IN_2)
                if version < 3:
                    run(ADDED_IN_3)
                run(ADDED_IN_4)
                run(f"PRAGMA user_version = {SCHEMA_VERSION}")
        run(FORGOTTEN)
        run(CURTAILED)
        there = {row[0] for row in self._rows("SELECT name FROM sqlite_schema WHERE type = 'table'")}
        if missing := sorted(TABLES - there):
            raise _DamagedError(f"no table {', '.join(missing)}")

    # -- clock ------------------------------------------------------------------------------------------------------

    @property
    def high_water_ms(self) -> int:
        """The latest wall time at which anything was signed; read once between two transactions."""
        if self._mark_ms is None or self._db.in_transaction:
            self._mark_ms = int(self._one("SELECT high_water_ms FROM life")[0])
        return self._mark_ms

    def lower_marks(
        self, at_ms: int, latest: int, events: Sequence[tuple[Mapping[str, Any], int | None]]
    ) -> tuple[int, int, int]:
        """Undo what a clock years ahead left behind: the one call that lets marks fall.

        Rooms beyond the generation `latest` fall to what is left here, grants dated beyond `at_ms` are forgotten and
        their open stays have what is left, bumps waiting there become the one after what the lock and the stay had.

        Returns:
            How many rooms, stays and bumps that were.
        """
        self.lower_spent(of_moment(at_ms // 1_000))  # first: what is left of a day to come would bar every number
        if self.listed is not None:
            self.listed.lower(at_ms // 1_000)
        with self._transaction():
            run = self._db.execute
            run("UPDATE lock SET generation = 0 WHERE generation > ?", (latest,))
            run("DELETE FROM forgotten WHERE generation > ?", (latest,))
            run("UPDATE life SET high_water_ms = ?", (at_ms,))
            run("DELETE FROM grant_issued WHERE issued_at_ms > ? OR generation > ?", (at_ms, latest))
            left = "SELECT coalesce(max(generation), 0) FROM grant_issued WHERE grant_issued.stay = stay.stay"
            run(f"UPDATE stay SET generation = ({left}) WHERE generation > ? AND ended_at_ms IS NULL", (latest,))  # noqa: S608 - a constant
            stays = self._db.changes()
            bumps = self._rows(
                "SELECT no, lock, stay, generation FROM bump"
                " WHERE delivered_at_ms IS NULL AND (generation > ? OR signed_at_s > ?)",
                (latest, at_ms // 1_000),
            )
            for no, lock_id, stay, generation in bumps:
                given = self._one("SELECT max(generation) FROM grant_issued WHERE stay = ?", (stay,))[0] or 0
                ends_with = generation if generation <= latest else max(self.lock(lock_id).generation, given) + 1
                run(
                    "UPDATE bump SET generation = ?, signed = NULL, certificate = NULL, signed_at_s = NULL"
                    " WHERE no = ?",
                    (ends_with, no),
                )
            run("UPDATE revocation_list SET seq = min(seq, ?1), due = seq > 0, signed = NULL", (at_ms // 1_000,))
            run("UPDATE common_list SET seq = min(seq, ?1), due = seq > 0, signed = NULL", (at_ms // 1_000,))
            run("UPDATE lockout SET seq = min(seq, ?)", (at_ms // 1_000,))
            run("DELETE FROM told")
            rooms = [number for (number,) in run("SELECT number FROM room WHERE highest > ?", (latest,))]
            run("DELETE FROM room WHERE highest > ?", (latest,))
            for number in rooms:
                self._raise_rooms((number,), self._kept_of(number))
            self._add_events(events)
        return len(rooms), stays, len(bumps)

    def _kept_of(self, number: int) -> int:
        """Return the highest generation that grants and bumps still here gave a room."""
        given = self._rows("SELECT generation, rooms FROM grant_issued")
        bumped = self._rows("SELECT generation FROM bump WHERE number = ? AND delivered_at_ms IS NULL", (number,))
        kept: list[int] = [generation for generation, rooms in given if number in json.loads(rooms)]
        kept += [generation for (generation,) in bumped]
        return max(kept, default=0)

    # -- grants and stays -------------------------------------------------------------------------------------------

    def stay(self, stay: str) -> StoredStay | None:
        """Return what is known of a stay."""
        row = self._maybe("SELECT stay, generation, rooms, ended_at_ms FROM stay WHERE stay = ?", (stay,))
        return None if row is None else StoredStay(row[0], row[1], tuple(json.loads(row[2])), row[3])

    def latest_grant(self, stay: str, phone: bytes) -> IssuedGrant | None:
        """Return the newest grant of a stay's phone."""
        row = self._maybe(
            f"SELECT {GRANT_COLUMNS} FROM grant_issued WHERE stay = ? AND phone = ?"  # noqa: S608 - a constant
            " ORDER BY issued_at_ms DESC, not_after_s DESC LIMIT 1",
            (stay, phone),
        )
        return None if row is None else grant_of(row)

    def grant(self, grant_id: bytes) -> IssuedGrant | None:
        """Return the grant of this id."""
        row = self._maybe(f"SELECT {GRANT_COLUMNS} FROM grant_issued WHERE grant_id = ?", (grant_id,))  # noqa: S608 - names from this module, values are bound
        return None if row is None else grant_of(row)

    def highest(self, rooms: Sequence[int]) -> int:
        """Return the highest generation handed out for, or seen in, any of the rooms; 0 for none."""
        marks = ",".join("?" * len(rooms))
        row = self._one(
            f"SELECT coalesce(max(highest), 0) FROM room WHERE number IN ({marks})",  # noqa: S608 - only marks
            tuple(rooms),
        )
        return int(row[0])

    def given(self, number: int) -> int:
        """Return the highest generation that a grant or a bump of this store gave a room; 0 for none."""
        return int(self._one(_GIVEN, (number,))[0])

    def bumped(self, number: int) -> int:
        """Return the highest generation that a bump of this store ends a room's keys below; 0 for none."""
        return int(self._one("SELECT coalesce(max(generation), 0) FROM bump WHERE number = ?", (number,))[0])

    @property
    def forgotten(self) -> int:
        """Up to which generation keys may have been handed out that this store does not know; 0: it knows all."""
        return int(self._one("SELECT coalesce(max(generation), 0) FROM forgotten")[0])

    def forget_up_to(self, generation: int) -> None:
        """Make durable that the store is a copy, or a new one, and what was handed out up to here may not be in it."""
        with self._transaction():
            self._db.execute(
                "INSERT INTO forgotten VALUES (1, ?)"
                " ON CONFLICT (no) DO UPDATE SET generation = max(generation, excluded.generation)",
                (generation,),
            )

    @property
    def spent(self) -> int:
        """The highest generation that any opening before this one handed out for any room, if that is known here."""
        return 0 if self._numbers is None else self._numbers.generations.before

    def lower_spent(self, generation: int) -> None:
        """What is noted of earlier openings was a clock's that was far ahead: let it fall to `generation`."""
        if self._numbers is not None:
            self._numbers.generations.lower(generation)

    @property
    def listed(self) -> Mark | None:
        """What is noted outside of the file of the numbers of lists and lockouts; None: nothing is."""
        return None if self._numbers is None else self._numbers.lists

    def is_taken(self, rooms: Sequence[int], by_other_than: StoredStay, at_s: int, *, but: str = "") -> bool:
        """Return whether another open stay (nor `but`) of a later generation has a grant for a room at `at_s`."""
        rows = self._rows(
            "SELECT stay.rooms FROM stay JOIN grant_issued AS given"
            " ON given.stay = stay.stay AND given.generation = stay.generation"
            " WHERE stay.ended_at_ms IS NULL AND stay.stay NOT IN (?, ?) AND stay.generation > ?"
            " AND given.not_before_s <= ? AND given.wanted_until_s > ?",
            (by_other_than.stay, but, by_other_than.generation, at_s, at_s),
        )
        return any(not set(rooms).isdisjoint(json.loads(row[0])) for row in rows)

    def keep_grant(
        self, grant: IssuedGrant, rooms: Sequence[int], bumps: Sequence[PendingBump] = (), along: Sequence[str] = ()
    ) -> None:
        """Make a grant durable, its stay (and `along`) with its generation, and bumps for rooms it moved out of."""
        with self._transaction():
            self._hand_out(grant.rooms, grant.generation)
            self._db.execute(
                "INSERT INTO stay VALUES (?, ?, ?, NULL) ON CONFLICT (stay) DO UPDATE SET"
                " generation = excluded.generation, rooms = excluded.rooms",
                (grant.stay, grant.generation, json.dumps(rooms)),
            )
            given = [(grant.generation, each) for each in along]
            self._db.executemany("UPDATE stay SET generation = ? WHERE stay = ?", given)
            self._add_grant(grant)
            self.queue(bumps, grant.stay, grant.issued_at_ms)
            self._mark(grant.issued_at_ms)

    def keep_staff_grant(self, grant: IssuedGrant, events: Sequence[tuple[Mapping[str, Any], int | None]]) -> None:
        """Make a grant durable that belongs to no stay, and the events that tell of it."""
        with self._transaction():
            if grant.generation:
                self._hand_out(grant.rooms, grant.generation)
            self._add_grant(grant)
            self._db.execute("DELETE FROM draft WHERE grant_id = ?", (grant.grant_id,))
            self._add_events(events)
            self._mark(grant.issued_at_ms)

    def _add_grant(self, grant: IssuedGrant) -> None:
        # The newest of a phone is known by its moment, and a clock that was set back stands still for minutes.
        self._db.execute(
            f"INSERT INTO grant_issued ({GRANT_COLUMNS}) VALUES (?1, ?2, ?3, ?4, max(?5, 1 + coalesce((SELECT"  # noqa: S608 - names from this module, values are bound
            " max(issued_at_ms) FROM grant_issued WHERE stay = ?2 AND phone = ?3), 0)), ?6,?7,?8,?9,?10,?11,?12,?13)",
            (
                grant.grant_id,
                grant.stay,
                grant.phone,
                grant.generation,
                grant.issued_at_ms,
                grant.not_before_s,
                grant.not_after_s,
                grant.wanted_until_s,
                json.dumps(grant.rooms),
                signed64(grant.zones),
                int(grant.flags),
                grant.signed,
                grant.certificate,
            ),
        )

    def end_stay(
        self,
        stay: str,
        bumps: Sequence[PendingBump],
        at_ms: int,
        events: Sequence[tuple[Mapping[str, Any], int | None]] = (),
    ) -> None:
        """Make durable that a stay is over and which bumps are on their way, with what is to be told of it."""
        with self._transaction():
            self._db.execute("UPDATE stay SET ended_at_ms = ? WHERE stay = ?", (at_ms, stay))
            self.queue(bumps, stay, at_ms)
            self._add_events(events)

    def queue(self, bumps: Sequence[PendingBump], stay: str, at_ms: int) -> None:
        """Queue bumps inside a transaction that is open (`written`)."""
        for bump in bumps:
            self._hand_out((bump.number,), bump.generation)
            self._db.execute(
                "INSERT INTO bump (lock, number, generation, stay, queued_at_ms) VALUES (?, ?, ?, ?, ?)",
                (bump.lock_id, bump.number, bump.generation, stay, at_ms),
            )

    # -- bumps ------------------------------------------------------------------------------------------------------

    def pending_bumps(self, lock_id: bytes | None = None) -> list[PendingBump]:
        """Return the bumps not yet confirmed by their lock, oldest first."""
        rows = self._rows(
            "SELECT no, lock, number, generation, signed, certificate, signed_at_s FROM bump"
            " WHERE delivered_at_ms IS NULL AND (?1 IS NULL OR lock = ?1) ORDER BY no",
            (lock_id,),
        )
        return [PendingBump(*row) for row in rows]

    def sign_bump(self, no: int, signed: bytes, certificate: bytes, at_s: int) -> None:
        """Keep a bump's signed form, so that it can be carried while the clock is unsound."""
        with self._transaction():
            self._db.execute(
                "UPDATE bump SET signed = ?, certificate = ?, signed_at_s = ? WHERE no = ?",
                (signed, certificate, at_s, no),
            )
            self._mark(at_s * 1_000)

    def unsign_bump(self, no: int) -> None:
        """Forget a bump's signed form, because its lock would not have it."""
        with self._transaction():
            self._db.execute(
                "UPDATE bump SET signed = NULL, certificate = NULL, signed_at_s = NULL WHERE no = ?", (no,)
            )

    def bumps_confirmed(self, lock_id: bytes, generation: int, at_ms: int) -> int:
        """The lock says that it is at `generation`: bumps up to there have arrived. Return how many."""
        with self._transaction():
            self._db.execute(
                "UPDATE bump SET delivered_at_ms = ? WHERE lock = ? AND generation <= ? AND delivered_at_ms IS NULL",
                (at_ms, lock_id, generation),
            )
            return self._db.changes()

    # -- locks and their records ------------------------------------------------------------------------------------

    def lock(self, lock_id: bytes) -> KnownLock:
        """Return what was last heard from a lock; a lock never visited is at its genesis."""
        row = self._maybe(f"SELECT {LOCK_COLUMNS} FROM lock WHERE lock = ?", (lock_id,))  # noqa: S608 - names from this module, values are bound
        return KnownLock(lock_id, 0, genesis(lock_id)) if row is None else lock_of(row)

    def locks(self) -> list[KnownLock]:
        """Return every lock ever visited."""
        return [lock_of(row) for row in self._rows(f"SELECT {LOCK_COLUMNS} FROM lock ORDER BY lock")]  # noqa: S608 - names from this module, values are bound

    def keep_contact(self, lock: KnownLock, number: int) -> None:
        """Make durable how a lock is; its generation also raises the room's mark (a restored edge learns so)."""
        with self._transaction():
            self._keep_lock(lock, number)

    def keep_records(
        self,
        lock: KnownLock,
        number: int,
        records: Sequence[AuditRecord],
        events: Sequence[tuple[Mapping[str, Any], int | None]],
    ) -> None:
        """Make a verified chunk durable, with the events it makes, in one commit."""
        with self._transaction():
            self._keep_lock(lock, number)
            held = self._records_held
            if held is None:
                held = int(self._one("SELECT count(*) FROM record")[0])
            before = self._db.total_changes()
            self._db.executemany(
                "INSERT OR IGNORE INTO record VALUES (?, ?, ?, ?)",
                [(lock.lock_id, each.seq, each.encode(), lock.contact_at_ms) for each in records],
            )
            held += self._db.total_changes() - before
            self._add_events(events)
            if held > RECORDS_KEPT_MOST:
                self._db.execute(
                    "DELETE FROM record WHERE (lock, seq) IN"
                    " (SELECT lock, seq FROM record ORDER BY received_at_ms LIMIT ?)",
                    (TRIM_AT_ONCE,),
                )
                held -= self._db.changes()
        self._records_held = held

    def records(self, lock_id: bytes, after_seq: int, most: int) -> list[AuditRecord]:
        """Return a lock's records held here, after `after_seq`."""
        rows = self._rows(
            "SELECT record FROM record WHERE lock = ? AND seq > ? ORDER BY seq LIMIT ?", (lock_id, after_seq, most)
        )
        return [AuditRecord.decode(row[0]) for row in rows]

    def _keep_lock(self, lock: KnownLock, number: int) -> None:
        self._db.execute(
            f"INSERT OR REPLACE INTO lock ({LOCK_COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?)",  # noqa: S608 - names from this module, values are bound
            (
                lock.lock_id,
                lock.seq,
                lock.head,
                lock.generation,
                battery_byte(lock.battery_percent),
                lock.time_quality,
                lock.noise,
                lock.contact_at_ms,
                lock.broken,
            ),
        )
        if number:
            self._raise_rooms((number,), lock.generation)

    # -- events -----------------------------------------------------------------------------------------------------

    def events(self, after: int, most: int = EVENTS_READ_MOST, *, telling: bool = True) -> list[AccessEvent]:
        """Return the events after `after`, oldest first. `telling`: whoever asked will have them, and may say so."""
        rows = self._rows(
            "SELECT seq, body, device_at_ms FROM event WHERE seq > ? ORDER BY seq LIMIT ?",
            (after, min(most, EVENTS_READ_MOST)),
        )
        if telling and rows:
            self._tells(rows[-1][0])
        return [AccessEvent(self.epoch, row[0], json.loads(row[1]), row[2]) for row in rows]

    def events_waiting(self) -> int:
        """Return how many events nobody has acknowledged yet."""
        return int(self._one("SELECT count(*) FROM event")[0])

    def forget_events(self, up_to: int) -> None:
        """The rest of the house holds the events up to here."""
        with self._transaction():
            self._db.execute("DELETE FROM event WHERE seq <= ?", (up_to,))

    def counts(self) -> dict[str, int]:
        """Return how much is waiting, for status."""
        row = self._one(
            "SELECT (SELECT count(*) FROM event), (SELECT count(*) FROM bump WHERE delivered_at_ms IS NULL),"
            " (SELECT count(*) FROM stay WHERE ended_at_ms IS NULL), (SELECT count(*) FROM grant_issued)"
        )
        return dict(zip(("events_waiting", "bumps_pending", "stays_open", "grants_issued"), row, strict=True))

    # -- ground -----------------------------------------------------------------------------------------------------

    def read(self, sql: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        """Return the rows of a constant SELECT: for the parts of this store that have a module of their own."""
        return self._rows(sql, values)

    @contextmanager
    def written(self, events: Sequence[tuple[Mapping[str, Any], int | None]] = ()) -> Iterator[apsw.Connection]:
        """Yield the connection inside one transaction, committed with `events` when the block ends; as `read`."""
        with self._transaction():
            yield self._db
            self._add_events(events)

    def _add_events(self, events: Sequence[tuple[Mapping[str, Any], int | None]]) -> None:
        self._db.executemany(
            "INSERT INTO event (body, device_at_ms) VALUES (?, ?)",
            [(json.dumps(body), device_at_ms) for body, device_at_ms in events],
        )

    def _hand_out(self, rooms: Sequence[int], generation: int) -> None:
        if self._numbers is not None:
            self._numbers.generations.handed_out(generation)
        self._raise_rooms(rooms, generation)

    def _raise_rooms(self, rooms: Sequence[int], generation: int) -> None:
        self._db.executemany(
            "INSERT INTO room VALUES (?, ?)"
            " ON CONFLICT (number) DO UPDATE SET highest = max(highest, excluded.highest)",
            [(number, generation) for number in rooms],
        )

    def _mark(self, at_ms: int) -> None:
        self._db.execute("UPDATE life SET high_water_ms = max(high_water_ms, ?)", (at_ms,))

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        try:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._wrote()
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")
        except apsw.Error as error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise self._failed(error) from error
        finally:
            self._mark_ms = None  # whatever came of it

    def _failed(self, error: apsw.Error) -> StoreFailedError:
        if isinstance(error, _DAMAGE):
            self.damaged()
        return StoreFailedError(f"{self._path}: {error}")

    def _rows(self, sql: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        try:
            return list(self._db.execute(sql, values))
        except apsw.Error as error:
            raise self._failed(error) from error

    def _maybe(self, sql: str, values: tuple[Any, ...] = ()) -> tuple[Any, ...] | None:
        try:
            row: tuple[Any, ...] | None = self._db.execute(sql, values).fetchone()
        except apsw.Error as error:
            raise self._failed(error) from error
        return row

    def _one(self, sql: str, values: tuple[Any, ...] = ()) -> tuple[Any, ...]:
        row = self._maybe(sql, values)
        if row is None:
            raise StoreFailedError(f"{self._path}: {sql.split(maxsplit=1)[0]} returned no row")
        return row


_GIVEN: Final = (
    "SELECT coalesce(max(generation), 0) FROM (SELECT generation FROM bump WHERE number = ?1 UNION ALL"
    " SELECT generation FROM grant_issued, json_each(grant_issued.rooms) AS room WHERE room.value = ?1)"
)


def _nothing() -> None:
    """Nobody asked to be told."""
