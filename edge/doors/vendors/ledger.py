"""Which keys a stay has in foreign lock systems, durable before any vendor is asked; and what the vendors told.

A file of its own beside the doors' store: a vendor's trouble touches no grant of ours. SQLite, one writer, WAL,
synchronous=FULL: what a call returned from is on disk. The PINs that guests have are in here: mode 0600.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import apsw

from edge.doors.event_positions import EventPositions
from edge.doors.number_mark import CHANGES_MOST, Mark
from edge.doors.private_file import made_private
from edge.doors.vendors.port import VendorEvent
from edge.doors.vendors.reach import SlotKey
from protocols.door.vendor_events import event_id
from protocols.errors import StoreFailedError

SCHEMA_VERSION: Final = 4
EVENTS_READ_MOST: Final = 500
EVENTS_KEPT_MOST: Final = 100_000
"""Of those already taken; each keeps a doubled event from counting again."""
ENDED_KEPT_MS: Final = 30 * 86_400_000
OPENINGS_KEPT_MS: Final = 7 * 86_400_000
_SCHEMA: Final = """
CREATE TABLE life (no INTEGER PRIMARY KEY CHECK (no = 1), epoch BLOB NOT NULL) STRICT;
CREATE TABLE key (
    grant_id TEXT PRIMARY KEY, stay TEXT NOT NULL, holder TEXT NOT NULL, system TEXT NOT NULL, rooms TEXT NOT NULL,
    doors TEXT NOT NULL, not_before_ms INTEGER NOT NULL, not_after_ms INTEGER NOT NULL, joins INTEGER NOT NULL,
    medium TEXT NOT NULL, encoder TEXT, pin TEXT, state TEXT NOT NULL, truth TEXT, key TEXT, code TEXT, problem TEXT,
    may_have INTEGER NOT NULL, changed_at_ms INTEGER NOT NULL, version INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX key_of_stay ON key (stay);
CREATE INDEX key_open ON key (state);
CREATE TABLE ended_stay (stay TEXT PRIMARY KEY, at_ms INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE cursor (system TEXT PRIMARY KEY, cursor TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE event (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, system TEXT NOT NULL, event TEXT NOT NULL, body TEXT,
    device_at_ms INTEGER, UNIQUE (system, event)
) STRICT;
"""
_ADDED_IN_2: Final = """
CREATE TABLE withdrawn (
    stay TEXT NOT NULL, holder TEXT NOT NULL, at_ms INTEGER NOT NULL, PRIMARY KEY (stay, holder)
) STRICT, WITHOUT ROWID;
"""
_ADDED_IN_3: Final = """
CREATE TABLE slot (
    system TEXT NOT NULL, lock TEXT NOT NULL, slot INTEGER NOT NULL, grant_id TEXT, PRIMARY KEY (system, lock, slot)
) STRICT, WITHOUT ROWID;
"""
_ADDED_IN_4: Final = """
CREATE TABLE phone (
    stay TEXT NOT NULL, holder TEXT NOT NULL, point BLOB NOT NULL, PRIMARY KEY (stay, holder)
) STRICT, WITHOUT ROWID;
CREATE TABLE opening (
    grant_id TEXT NOT NULL, request BLOB NOT NULL, asked_at_ms INTEGER NOT NULL, system TEXT NOT NULL,
    body TEXT NOT NULL, outcome TEXT, PRIMARY KEY (grant_id, request)
) STRICT, WITHOUT ROWID;
"""
"""Whose signature opens from afar, and which requests were let through; `outcome` NULL: not known yet."""
_TO_READ: Final = """
CREATE TABLE IF NOT EXISTS keypad_to_read (
    system TEXT NOT NULL, lock TEXT NOT NULL, PRIMARY KEY (system, lock)
) STRICT, WITHOUT ROWID;
"""
"""Keypads that are to be read soon. Made at each opening, whatever the version: an earlier build leaves it alone."""
_CHANGED: Final = """
CREATE TABLE IF NOT EXISTS changed (
    no INTEGER PRIMARY KEY CHECK (no = 1), times INTEGER NOT NULL, older_told INTEGER NOT NULL
) STRICT;
INSERT OR IGNORE INTO changed VALUES (1, 0, 0);
CREATE TRIGGER IF NOT EXISTS key_kept AFTER INSERT ON key BEGIN UPDATE changed SET times = times + 1; END;
CREATE TRIGGER IF NOT EXISTS key_changed AFTER UPDATE ON key BEGIN UPDATE changed SET times = times + 1; END;
CREATE TRIGGER IF NOT EXISTS slot_kept AFTER INSERT ON slot BEGIN UPDATE changed SET times = times + 1; END;
CREATE TRIGGER IF NOT EXISTS holder_withdrawn AFTER INSERT ON withdrawn BEGIN UPDATE changed SET times = times + 1; END;
"""
"""How often keys, slots and who gets none again were changed, by whatever build; and whether it was told that this is
an older file, and not answered since. Made at each opening, as the above."""
_DUE: Final = "system = ? AND not_after_ms <= ? AND state NOT IN ('ending', 'ended')"
"""Holders (a lost phone) who get no key of their stay again. A version only adds tables."""


class KeyState(StrEnum):
    """Where the key of a grant stands between us and the vendor."""

    WANTED = "wanted"
    """Durable here; the vendor has not said yes yet."""
    MADE = "made"
    REFUSED = "refused"
    """The vendor said no: somebody has to act."""
    ENDING = "ending"
    """Ended here; the vendor may still have it."""
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class KeptKey:
    """The key of one grant. `version` rises with each change of what is wanted; `problem`: what the vendor said."""

    grant: str
    stay: str
    holder: str
    system: str
    rooms: tuple[str, ...]
    doors: tuple[str, ...]
    not_before_ms: int
    not_after_ms: int
    join: bool
    medium: str
    encoder: str | None
    pin: str | None = field(repr=False)
    state: KeyState
    truth: str | None
    key: str | None
    code: str | None = field(repr=False)
    problem: str | None
    may_have: bool
    changed_at_ms: int
    version: int


class KeyLedger(EventPositions):
    """The open file. Every public call commits before it returns, or raises StoreFailedError and changed nothing.

    A file put back from a copy says what vendors told before again, at new positions: each opening goes on from the
    clock, as in the doors' own store (edge/doors/event_positions.py).

    A damaged file is set aside (`set_aside` names it) and a new one begun: doors must go on. Keys are found again at
    the vendors when they are next asked for, because their names are derived; those of nobody end with their time.
    """

    def __init__(self, path: Path, *, epoch: bytes, at_ms: int = 0, changes: Mark | None = None) -> None:
        """Open or make the file at `path`.

        Args:
            path: The file.
            epoch: 16 bytes, drawn for this opening: names the file's life if one is begun.
            at_ms: Unix ms; the events of this opening have positions beyond it.
            changes: Notes outside of the file how often it was changed: so it knows whether it is an older one.

        Raises:
            StoreFailedError: the disk refuses, or the file is of a later build.
        """
        self._path, self._drawn_epoch, self._at_ms, self._changes = path, epoch, at_ms, changes
        self._times: int | None = None
        self.set_aside: Path | None = None
        try:
            self._open(epoch)
        except (*_DAMAGE, StoreFailedError) as damage:
            if isinstance(damage, StoreFailedError) and not isinstance(damage.__cause__, _DAMAGE):
                raise
            self.set_aside = path.with_name(f"{path.name}.damaged-{epoch.hex()[:8]}")
            try:
                path.replace(self.set_aside)
                for tail in ("-wal", "-shm"):
                    path.with_name(path.name + tail).unlink(missing_ok=True)
                self._open(epoch)
            except (apsw.Error, OSError) as error:
                raise StoreFailedError(f"{path}: {error}") from error
        except (apsw.Error, OSError) as error:
            raise StoreFailedError(f"{path}: {error}") from error

    def _open(self, epoch: bytes) -> None:
        self._unanswered, self._times = False, None
        made_private(self._path)
        self._db = apsw.Connection(str(self._path))
        try:
            self._prepare(epoch)
            [(life,)] = self._db.execute("SELECT epoch FROM life")
            self.epoch = bytes(life)
            self._go_on_from(self._at_ms, fresh=self._fresh)
            [(times, told)] = self._db.execute("SELECT times, older_told FROM changed")
            self.is_older = self._changes is not None and times < self._changes.before
            self._times, self.is_older_told = int(times), bool(told)
        except (apsw.Error, StoreFailedError):
            self._db.close()
            raise

    def _prepare(self, epoch: bytes) -> None:
        run = self._db.execute
        for pragma in ("locking_mode = EXCLUSIVE", "journal_mode = WAL", "synchronous = FULL", "secure_delete = ON"):
            run(f"PRAGMA {pragma}")
        [(version,)] = run("PRAGMA user_version")
        if not 0 <= version <= SCHEMA_VERSION:
            raise StoreFailedError(f"{self._path}: schema version {version}, this build reads {SCHEMA_VERSION}")
        self._fresh = version == 0
        if version < SCHEMA_VERSION:
            with self._transaction():
                if version == 0:
                    run(_SCHEMA)
                    run("INSERT INTO life VALUES (1, ?)", (epoch,))
                if version < 2:
                    run(_ADDED_IN_2)
                if version < 3:
                    run(_ADDED_IN_3)
                run(_ADDED_IN_4)
                run(f"PRAGMA user_version = {SCHEMA_VERSION}")
        run(_TO_READ)
        run(_CHANGED)

    def close(self) -> None:
        """Close; harmless to call twice."""
        self._db.close()

    # -- an older file ----------------------------------------------------------------------------------------------

    def told_older(self) -> None:
        """Make durable that it was told; from here on it counts beyond what was noted of the newer one."""
        noted = 0 if self._changes is None else self._changes.before
        with self._transaction():
            self._db.execute("UPDATE changed SET times = max(times, ?), older_told = 1", (noted,))
        self.is_older, self.is_older_told = False, True

    def answered(self, position: int) -> None:
        """See the base: then an older file is no news any more."""
        super().answered(position)
        if self.is_older_told:
            with self._transaction():
                self._db.execute("UPDATE changed SET older_told = 0")
            self.is_older_told = False

    def _counted(self) -> int | None:
        """Return, inside a transaction, how often the file was changed with it; None: nobody notes that."""
        if self._changes is None or self._times is None:
            return None
        [(times,)] = self._db.execute("SELECT times FROM changed")
        return int(times)

    # -- keys -------------------------------------------------------------------------------------------------------

    def key(self, grant: str) -> KeptKey | None:
        """Return the key of a grant."""
        found = self._rows("SELECT * FROM key WHERE grant_id = ?", (grant,))
        return _kept(found[0]) if found else None

    def of_stay(self, stay: str) -> list[KeptKey]:
        """Return every key of a stay."""
        return [_kept(row) for row in self._rows("SELECT * FROM key WHERE stay = ? ORDER BY grant_id", (stay,))]

    def open_keys(self) -> list[KeptKey]:
        """Return the keys of which the vendor has yet to be told something, longest waiting first."""
        rows = self._rows("SELECT * FROM key WHERE state IN ('wanted', 'ending') ORDER BY changed_at_ms, grant_id")
        return [_kept(row) for row in rows]

    def counts(self) -> dict[str, int]:
        """Return how many keys are in each state."""
        return {str(state): int(count) for state, count in self._rows("SELECT state, count(*) FROM key GROUP BY state")}

    def has_ended(self, stay: str) -> bool:
        """Whether the stay was ended here."""
        return bool(self._rows("SELECT 1 FROM ended_stay WHERE stay = ?", (stay,)))

    def keep(self, keys: Sequence[KeptKey], *, phone: tuple[str, str, bytes] | None = None) -> None:
        """Make keys durable as they are now, all or none; with `phone`: the stay, the holder and its public key."""
        with self._transaction():
            if phone is not None:
                self._db.execute("INSERT OR IGNORE INTO phone VALUES (?, ?, ?)", phone)
            for each in keys:
                self._put(each)

    def settle(self, key: KeptKey) -> bool:
        """Keep what the vendor said of a key, unless something else is wanted of it meanwhile: then False."""
        with self._transaction():
            found = self._db.execute("SELECT version FROM key WHERE grant_id = ?", (key.grant,)).fetchone()
            if found is None or found[0] != key.version:
                return False
            self._put(key)
            return True

    def end_stay(self, stay: str, at_ms: int) -> list[KeptKey]:
        """Make durable that a stay is over; return its keys that the vendors have to be told of."""
        with self._transaction():
            self._db.execute("INSERT OR IGNORE INTO ended_stay VALUES (?, ?)", (stay, at_ms))
            self._end("stay = ? AND state NOT IN ('ending', 'ended')", (stay,), at_ms)
        return [each for each in self.of_stay(stay) if each.state is KeyState.ENDING]

    def withdraw(self, stay: str, holder: str | None, at_ms: int) -> list[KeptKey]:
        """Make durable that a holder's keys of a stay (None: everybody's) are over and he gets none again.

        Returns the keys that the vendors have to be told of.
        """
        with self._transaction():
            self._db.execute(
                "INSERT OR IGNORE INTO withdrawn SELECT DISTINCT stay, holder, ?3 FROM key"
                " WHERE stay = ?1 AND (?2 IS NULL OR holder = ?2)",
                (stay, holder, at_ms),
            )
            whose, values = ("stay = ?", (stay,)) if holder is None else ("stay = ? AND holder = ?", (stay, holder))
            self._end(f"{whose} AND state NOT IN ('ending', 'ended')", values, at_ms)
        return [
            each
            for each in self.of_stay(stay)
            if each.state is KeyState.ENDING and (holder is None or each.holder == holder)
        ]

    def is_withdrawn(self, stay: str, holder: str) -> bool:
        """Return whether this holder gets no key of the stay again."""
        return bool(self._rows("SELECT 1 FROM withdrawn WHERE stay = ? AND holder = ?", (stay, holder)))

    def end_room(self, room: str, at_ms: int) -> list[KeptKey]:
        """Make durable that every key of a room is over; who is in house may ask anew. Returns the keys concerned."""
        open_keys = self._rows("SELECT grant_id, rooms FROM key WHERE state NOT IN ('ending', 'ended')")
        named = [grant for grant, rooms in open_keys if room in json.loads(rooms)]
        with self._transaction():
            for grant in named:
                self._end("grant_id = ? AND state NOT IN ('ending', 'ended')", (grant,), at_ms)
        return [each for grant in named if (each := self.key(grant)) is not None]

    def end_key(self, grant: str, at_ms: int) -> None:
        """Make durable that one key is over."""
        with self._transaction():
            self._end("grant_id = ? AND state NOT IN ('ending', 'ended')", (grant,), at_ms)

    def end_due(self, system: str, at_ms: int) -> None:
        """End the keys of a system whose time is over now."""
        if self._rows(f"SELECT 1 FROM key WHERE {_DUE} LIMIT 1", (system, at_ms)):  # noqa: S608 - ours, values are bound
            with self._transaction():
                self._end(_DUE, (system, at_ms), at_ms)

    # -- openings from afar ------------------------------------------------------------------------------------------

    def phone(self, stay: str, holder: str) -> bytes | None:
        """Return the public key of the phone that has a holder's keys, 33 bytes."""
        found = self._rows("SELECT point FROM phone WHERE stay = ? AND holder = ?", (stay, holder))
        return bytes(found[0][0]) if found else None

    def is_spent(self, grant: str, request: bytes) -> bool:
        """Whether a request of this key was let through before."""
        return bool(self._rows("SELECT 1 FROM opening WHERE grant_id = ? AND request = ?", (grant, request)))

    def begin_opening(self, system: str, request: bytes, body: Mapping[str, Any], at_ms: int) -> bool:
        """Make durable, with its record, that a request of `body["grant"]` is let through; False: it was before."""
        with self._transaction():
            run, grant = self._db.execute, body["grant"]
            run("DELETE FROM opening WHERE asked_at_ms < ? AND outcome IS NOT NULL", (at_ms - OPENINGS_KEPT_MS,))
            run(
                "INSERT OR IGNORE INTO opening VALUES (?, ?, ?, ?, ?, NULL)",
                (grant, request, at_ms, system, json.dumps(body)),
            )
            if not self._db.changes():
                return False
            self._note(system, f"remote/{grant}/{request.hex()}/asked", body)
        return True

    def end_opening(self, system: str, request: bytes, body: Mapping[str, Any], outcome: str) -> None:
        """Make durable, with its record, what came of a request that was let through."""
        with self._transaction():
            grant = body["grant"]
            self._db.execute(
                "UPDATE opening SET outcome = ? WHERE grant_id = ? AND request = ?", (outcome, grant, request)
            )
            self._note(system, f"remote/{grant}/{request.hex()}/ended", body)

    def interrupted_openings(self) -> list[tuple[str, bytes, dict[str, Any]]]:
        """Return the requests let through of which nobody knows what came: system, id, the record of their asking."""
        rows = self._rows("SELECT system, request, body FROM opening WHERE outcome IS NULL ORDER BY asked_at_ms")
        return [(system, bytes(request), json.loads(body)) for system, request, body in rows]

    def refused_opening(self, system: str, request: bytes, body: Mapping[str, Any]) -> None:
        """Write the record of a refusal, once for each request of a key."""
        with self._transaction():
            self._note(system, f"remote/{body['grant']}/{request.hex()}/refused", body)

    def _note(self, system: str, name: str, body: Mapping[str, Any]) -> None:
        self._db.execute(
            "INSERT INTO event (system, event, body, device_at_ms) SELECT ?1, ?2, ?3, ?4"
            " WHERE NOT EXISTS (SELECT 1 FROM event WHERE system = ?1 AND event = ?2)",
            (system, name, json.dumps(body), body["at_ms"]),
        )

    # -- keypad slots, for systems whose locks name none -------------------------------------------------------------

    def slots(self, system: str, lock: str) -> dict[int, str | None]:
        """Return slot > grant, None where it is known to be empty; a slot that is not in it is unknown."""
        rows = self._rows("SELECT slot, grant_id FROM slot WHERE system = ? AND lock = ?", (system, lock))
        return {int(slot): grant for slot, grant in rows}

    def keep_slot(self, system: str, lock: str, slot: int, grant: str | None) -> None:
        """Write which grant is in a slot, None: it is empty."""
        with self._transaction():
            self._db.execute("INSERT OR REPLACE INTO slot VALUES (?, ?, ?, ?)", (system, lock, slot, grant))

    def slot_key(self, grant: str) -> SlotKey | None:
        """Return what is to be in a grant's slot; None: its key is unknown here, or has ended."""
        key = self.key(grant)
        if key is None or key.state is KeyState.ENDED:
            return None
        ending = key.state is KeyState.ENDING
        return SlotKey(None if ending else key.pin, key.state is KeyState.MADE, key.doors)

    def keypads_to_read(self) -> list[tuple[str, str]]:
        """Return the keypads that are to be read soon: system, lock."""
        return [(str(system), str(lock)) for system, lock in self._rows("SELECT system, lock FROM keypad_to_read")]

    def read_soon(self, system: str, locks: Sequence[str]) -> None:
        """Make durable that these keypads are to be read soon."""
        with self._transaction():
            rows = [(system, each) for each in locks]
            self._db.executemany("INSERT OR IGNORE INTO keypad_to_read VALUES (?, ?)", rows)

    def was_read(self, system: str, lock: str) -> None:
        """A keypad has been read to the end."""
        with self._transaction():
            self._db.execute("DELETE FROM keypad_to_read WHERE system = ? AND lock = ?", (system, lock))

    def keep_strays(self, system: str, name: str, body: Mapping[str, Any], missing: Sequence[str], said: str) -> None:
        """Keep, in one commit, what a keypad held otherwise, and at each key that is not in it that this is so."""
        with self._transaction():
            self._note(system, name, body)
            for grant in missing:
                self._db.execute("UPDATE key SET problem = ? WHERE grant_id = ? AND state = 'made'", (said, grant))

    # -- ends --------------------------------------------------------------------------------------------------------

    def end_expired(self, before_ms: int, at_ms: int) -> int:
        """End the keys whose time was over before `before_ms`; forget those ended long ago. Return how many ended."""
        with self._transaction():
            self._end("not_after_ms < ? AND state NOT IN ('ending', 'ended')", (before_ms,), at_ms)
            count = self._db.changes()
            self._db.execute("DELETE FROM key WHERE state = 'ended' AND changed_at_ms < ?", (at_ms - ENDED_KEPT_MS,))
            if self._db.changes():
                self._db.execute("DELETE FROM phone WHERE (stay, holder) NOT IN (SELECT stay, holder FROM key)")
            self._db.execute("DELETE FROM ended_stay WHERE at_ms < ?", (at_ms - ENDED_KEPT_MS,))
            self._db.execute(
                "DELETE FROM withdrawn WHERE at_ms < ? AND stay NOT IN (SELECT stay FROM key)",
                (at_ms - ENDED_KEPT_MS,),
            )
        return count

    def _end(self, which: str, values: tuple[Any, ...], at_ms: int) -> None:
        self._db.execute(
            "UPDATE key SET state = 'ending', version = version + 1, code = NULL, pin = NULL, problem = NULL,"  # noqa: S608 - names from this module, values are bound
            f" changed_at_ms = ? WHERE {which}",
            (at_ms, *values),
        )

    def _put(self, key: KeptKey) -> None:
        marks = ",".join("?" * len(_COLUMNS))
        values = [getattr(key, name) for name in _COLUMNS]
        row = tuple(json.dumps(each) if isinstance(each, tuple) else each for each in values)
        self._db.execute(f"INSERT OR REPLACE INTO key VALUES ({marks})", row)  # noqa: S608 - names from this module, values are bound

    # -- what the vendors told --------------------------------------------------------------------------------------

    def cursor(self, system: str) -> str:
        """Return where a system's events go on; "" at first."""
        found = self._rows("SELECT cursor FROM cursor WHERE system = ?", (system,))
        return str(found[0][0]) if found else ""

    def keep_events(self, system: str, cursor: str, events: Sequence[tuple[VendorEvent, Mapping[str, Any]]]) -> int:
        """Keep events and the cursor behind them in one commit, each event once. Return how many are new."""
        new = 0
        with self._transaction():
            for event, body in events:
                self._db.execute(
                    # not OR IGNORE: that uses up a position for nothing
                    "INSERT INTO event (system, event, body, device_at_ms) SELECT ?1, ?2, ?3, ?4"
                    " WHERE NOT EXISTS (SELECT 1 FROM event WHERE system = ?1 AND event = ?2)",
                    (system, event.event, json.dumps(body), event.at_ms),
                )
                new += self._db.changes()
            self._db.execute("INSERT OR REPLACE INTO cursor VALUES (?, ?)", (system, cursor))
        return new

    def events(self, after: int, most: int, *, telling: bool = True) -> list[tuple[int, Mapping[str, Any], int | None]]:
        """Return the events after `after` that nobody has taken: seq, body and the vendor's time.

        `telling`: whoever asked will have them, and may say so. The id that a body has in the end follows from what
        happened (protocols/door/SPEC.md 13.4): told again at another position, it is known again.
        """
        rows = self._rows(
            "SELECT seq, body, device_at_ms, system, event FROM event WHERE seq > ? AND body IS NOT NULL"
            " ORDER BY seq LIMIT ?",
            (after, min(most, EVENTS_READ_MOST)),
        )
        if telling and rows:
            self._tells(rows[-1][0])
        return [
            (seq, {**json.loads(body), "event_id": event_id(system, name, at_ms)}, at_ms)
            for seq, body, at_ms, system, name in rows
        ]

    def take_events(self, up_to: int) -> None:
        """The rest of the house holds the events up to here; their names stay, for one may come again."""
        with self._transaction():
            self._db.execute("UPDATE event SET body = NULL WHERE seq <= ? AND body IS NOT NULL", (up_to,))
            self._db.execute(  # counted, because positions have gaps
                "DELETE FROM event WHERE body IS NULL"
                " AND seq <= (SELECT seq FROM event ORDER BY seq DESC LIMIT 1 OFFSET ?)",
                (EVENTS_KEPT_MOST,),
            )

    def keep_own(self, events: Sequence[tuple[str, str, Mapping[str, Any]]]) -> None:
        """Keep events of the house's own in one commit: the system, a name that comes once, the body."""
        with self._transaction():
            for system, name, body in events:
                self._note(system, name, body)

    # -- ground -----------------------------------------------------------------------------------------------------

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        try:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._wrote()
                times = self._counted()
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")
        except apsw.Error as error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise StoreFailedError(f"{self._path}: {error}") from error
        if self._changes is not None and times is not None and times != self._times:
            self._times = times
            self._changes.handed_out(min(times, CHANGES_MOST))  # behind the commit: never more than is durable

    def _rows(self, sql: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        try:
            return list(self._db.execute(sql, values))
        except apsw.Error as error:
            raise StoreFailedError(f"{self._path}: {error}") from error


_DAMAGE: Final = (apsw.CorruptError, apsw.NotADBError)
_COLUMNS: Final = tuple(each.name for each in fields(KeptKey))


def _kept(row: tuple[Any, ...]) -> KeptKey:
    values = dict(zip(_COLUMNS, row, strict=True))
    values["rooms"], values["doors"] = tuple(json.loads(values["rooms"])), tuple(json.loads(values["doors"]))
    values["join"], values["may_have"] = bool(values["join"]), bool(values["may_have"])
    values["state"] = KeyState(values["state"])
    return KeptKey(**values)
