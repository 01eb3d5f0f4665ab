"""What was withdrawn and sealed, and what each lock was told of it: rows of the doors' own store.

Source of truth: protocols/grant/SPEC.md 7. The list that locks get is made of these rows; it is kept signed, so that it
is carried even while the clock is unsound.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from edge.doors.staff_desk import EMERGENCY, STAFF
from edge.doors.store import DoorStore, PendingBump
from protocols.grant.revocation import REVOCATIONS_MOST, SEQ_AHEAD_MOST_S

LEAVES_AFTER_S: Final = 600
"""A grant or certificate stays on the list this long after its end: the most leeway that a lock gives."""
NUMBERS_AHEAD_MOST_S: Final = SEQ_AHEAD_MOST_S - 64
"""A number further ahead of the clock is not believed: what is handed out at once above it must still be taken."""
Event = tuple[Mapping[str, Any], int | None]


def _is_shift(key: "HeldKey") -> bool:
    return key.holder.startswith(STAFF)


def _list_table(common: bool) -> str:
    return "common_list" if common else "revocation_list"


@dataclass(frozen=True, slots=True)
class HeldKey:
    """A grant that was handed out. `holder`: the stay, or staff/ or emergency/ and a name."""

    grant_id: bytes
    holder: str
    phone: bytes
    not_before_s: int
    not_after_s: int
    flags: int
    signed: bytes
    certificate: bytes


@dataclass(frozen=True, slots=True)
class LongerKey:
    """A grant that lasts longer than its stay. `listed`: curtailed, and by the list for every lock; None: not yet."""

    grant_id: bytes
    not_after_s: int
    generation: int
    rooms: frozenset[int]
    signed: bytes
    listed: bool | None


@dataclass(frozen=True, slots=True)
class ListState:
    """A newest list: its number (0: none was needed), whether the rows have gone on since, and its signed forms.

    `signed` is its first part and `parts` what continues that, for a list longer than one object may be; its number is
    the last one's. `plain` (numbered one less than the first) has no issuers, for locks that do not know them; None
    where there are none anyway.
    """

    seq: int
    due: bool
    grants: tuple[tuple[bytes, int], ...]
    issuers: tuple[tuple[bytes, int], ...]
    signed: bytes | None
    plain: bytes | None
    certificate: bytes | None
    signed_at_s: int | None
    parts: tuple[bytes, ...] = ()

    @property
    def first_seq(self) -> int:
        """The number of its first part: a lock that has this has what matters most."""
        return self.seq - len(self.parts)


@dataclass(frozen=True, slots=True)
class Told:
    """What a lock confirmed, and what it said that it does not know (the number it was asked with)."""

    revocation_seq: int = 0
    lockout_seq: int = 0
    unable_list: int = 0
    unable_lockout: int = 0


@dataclass(frozen=True, slots=True)
class OrderedLockout:
    """The last word about one door."""

    seq: int
    sealed: bool
    at_ms: int


DEPARTED: Final = """
SELECT given.grant_id, given.not_after_s, given.signed, given.grant_id IN (SELECT grant_id FROM curtailed)
  FROM grant_issued AS given CROSS JOIN stay ON stay.stay = given.stay
 WHERE given.not_after_s > ?1 AND given.zones <> 0 AND stay.ended_at_ms IS NOT NULL
 UNION SELECT given.grant_id, given.not_after_s, given.signed, 1
  FROM curtailed AS cut CROSS JOIN grant_issued AS given ON given.grant_id = cut.grant_id
 WHERE given.zones <> 0 AND cut.until_s > ?1
 ORDER BY 2 DESC, 1
"""
"""Read at each departure, of a file that holds a year's stays and grants: CROSS JOIN begins with what is not over."""


class ClosingStore:
    """These rows. Every public call commits before it returns, or raises StoreFailedError and changed nothing."""

    def __init__(self, store: DoorStore) -> None:
        self._store = store

    # -- what was handed out -----------------------------------------------------------------------------------------

    def keys_of(self, *, grant_id: bytes = b"", holder: str = "", phone: bytes = b"") -> list[HeldKey]:
        """Return the grants of this id, or of this holder (and phone, if given), newest first."""
        rows = self._store.read(
            "SELECT grant_id, stay, phone, not_before_s, not_after_s, flags, signed, certificate FROM grant_issued"
            " WHERE (?1 <> x'' AND grant_id = ?1) OR (?2 <> '' AND stay = ?2 AND (?3 = x'' OR phone = ?3))"
            " ORDER BY issued_at_ms DESC, not_after_s DESC",
            (grant_id, holder, phone),
        )
        return [HeldKey(*row) for row in rows]

    def certificates_since(self, not_after_s: int) -> list[bytes]:
        """Return the certificates of grants that end after `not_after_s`."""
        rows = self._store.read("SELECT DISTINCT certificate FROM grant_issued WHERE not_after_s > ?", (not_after_s,))
        return [row[0] for row in rows]

    # -- withdrawals -------------------------------------------------------------------------------------------------

    def withdrawn(self, at_s: int, *, of_withdrawn_issuers: bool = False) -> tuple[tuple[bytes, int], ...]:
        """Return the withdrawn grants that a list at `at_s` names: not over, and (unless asked) not their issuer's."""
        rows = self._store.read(
            "SELECT grant_id, until_s FROM (SELECT grant_id, until_s, kid FROM withdrawn UNION"
            " SELECT grant_id, until_s, kid FROM curtailed WHERE listed) WHERE until_s + ? > ?"
            " AND (? OR kid NOT IN (SELECT kid FROM withdrawn_issuer)) ORDER BY until_s, grant_id",
            (LEAVES_AFTER_S, at_s, of_withdrawn_issuers),
        )
        return tuple((row[0], row[1]) for row in rows)

    def lost(self, at_s: int) -> tuple[tuple[bytes, int], ...]:
        """Return those of `withdrawn` that were withdrawn by somebody: what was curtailed makes place for such."""
        gone = self.withdrawn_ids()
        return tuple(each for each in self.withdrawn(at_s) if each[0] in gone)

    def issuers(self, at_s: int) -> tuple[tuple[bytes, int], ...]:
        """Return the withdrawn issuers that a list at `at_s` names."""
        rows = self._store.read(
            "SELECT kid, until_s FROM withdrawn_issuer WHERE until_s + ? > ? ORDER BY until_s, kid",
            (LEAVES_AFTER_S, at_s),
        )
        return tuple((row[0], row[1]) for row in rows)

    def doubt(self, grant_id: bytes) -> None:
        """A lock refused a grant as withdrawn that is not so here: when its phone asks again it gets another."""
        with self._store.written() as db:
            db.execute(
                "INSERT OR IGNORE INTO doubted SELECT grant_id FROM grant_issued WHERE grant_id = ?1"
                " AND grant_id NOT IN (SELECT grant_id FROM withdrawn)",
                (grant_id,),
            )

    def withdrawn_ids(self) -> frozenset[bytes]:
        """Return the ids of every grant withdrawn, over or not."""
        return frozenset(row[0] for row in self._store.read("SELECT grant_id FROM withdrawn"))

    def withdraw(self, keys: Sequence[tuple[HeldKey, bytes]], at_ms: int, events: Sequence[Event]) -> None:
        """Make durable that these keys, each with its issuer's id, are withdrawn: the list is due.

        Where it is full by what was curtailed, that waits for a place again (curtailed_keys.py): what ends first.
        Emergency keys that are drafted for a phone whose shift keys these are go with them.
        """
        at_s = at_ms // 1_000
        with self._store.written(events) as db:
            db.executemany(
                "INSERT OR IGNORE INTO withdrawn VALUES (?, ?, ?, ?, ?, ?)",
                [(key.grant_id, key.holder, key.phone, kid, key.not_after_s, at_ms) for key, kid in keys],
            )
            taken = {(EMERGENCY + key.holder.removeprefix(STAFF), key.phone) for key, _ in keys if _is_shift(key)}
            db.executemany("DELETE FROM draft WHERE holder = ? AND phone = ?", taken)
            listed, lost = self.withdrawn(at_s), frozenset(self.lost(at_s))
            waits = [each for each in listed if each not in lost][: max(len(listed) - REVOCATIONS_MOST, 0)]
            db.executemany("UPDATE curtailed SET listed = 0 WHERE grant_id = ?", [(each,) for each, _ in waits])
            db.execute("UPDATE revocation_list SET due = 1")

    def drop_drafts(self, person: str, phone: bytes) -> int:
        """Forget the emergency keys that are drafted for a person (and phone, if given); return how many."""
        with self._store.written() as db:
            db.execute("DELETE FROM draft WHERE holder = ?1 AND (?2 = x'' OR phone = ?2)", (EMERGENCY + person, phone))
            return int(db.changes())

    def withdraw_issuer(self, kid: bytes, until_s: int, at_ms: int, events: Sequence[Event]) -> None:
        """Make durable that an issuer's certificate is withdrawn: the list is due."""
        with self._store.written(events) as db:
            db.execute(
                "INSERT INTO withdrawn_issuer VALUES (?, ?, ?)"
                " ON CONFLICT (kid) DO UPDATE SET until_s = max(until_s, excluded.until_s)",
                (kid, until_s, at_ms),
            )
            db.execute("UPDATE revocation_list SET due = 1, signed = NULL")

    def longer_keys(self, stay: str, until_s: int) -> list[LongerKey]:
        """Return a stay's grants that last beyond `until_s` and were not withdrawn; the last first."""
        found = self._store.read(
            "SELECT given.grant_id, given.not_after_s, given.generation, given.rooms, given.signed, cut.listed"
            " FROM grant_issued AS given LEFT JOIN curtailed AS cut ON cut.grant_id = given.grant_id"
            " WHERE given.stay = ? AND given.not_after_s > ?"
            " AND given.grant_id NOT IN (SELECT grant_id FROM withdrawn)"
            " ORDER BY given.not_after_s DESC, given.grant_id",
            (stay, until_s),
        )
        return [
            LongerKey(
                grant_id, until, generation, frozenset(json.loads(rooms)), signed, None if cut is None else bool(cut)
            )
            for grant_id, until, generation, rooms, signed, cut in found
        ]

    def curtail(
        self,
        stay: str,
        keys: Sequence[tuple[LongerKey, bytes]],
        listed: Collection[bytes],
        bumps: Sequence[PendingBump],
        at_ms: int,
    ) -> None:
        """Make durable, in one commit, that these keys of a stay, each with its issuer's id, end now.

        `listed`: those (their ids) that the list for every lock names, which is due then.
        """
        with self._store.written() as db:
            db.executemany(
                "INSERT INTO curtailed VALUES (?, ?, ?, ?, ?, ?)"
                " ON CONFLICT (grant_id) DO UPDATE SET listed = max(listed, excluded.listed)",
                [(key.grant_id, stay, kid, key.not_after_s, key.grant_id in listed, at_ms) for key, kid in keys],
            )
            if listed:
                db.execute("UPDATE revocation_list SET due = 1")
            self._store.queue(bumps, stay, at_ms)

    def departed(self, at_s: int) -> list[tuple[bytes, int, bytes, bool]]:
        """Return the grants of ended stays, and those curtailed, that common doors still take at `at_s`.

        Their id, end, signed form, and whether they were curtailed; the last first.
        """
        rows = self._store.read(DEPARTED, (at_s - LEAVES_AFTER_S,))
        return [(grant_id, until_s, signed, bool(curtailed)) for grant_id, until_s, signed, curtailed in rows]

    def list_state(self, *, common: bool = False) -> ListState:
        """Return the newest list for every lock, or the common doors'."""
        [(seq, due, body, signed, plain, certificate, signed_at_s)] = self._store.read(
            f"SELECT seq, due, body, signed, plain, certificate, signed_at_s FROM {_list_table(common)}"  # noqa: S608 - one of two names of this module
        )
        named = json.loads(body)
        grants, further, issuers = (
            tuple((bytes.fromhex(withdrawn), until_s) for withdrawn, until_s in named.get(part, ()))
            for part in ("grants", "further", "issuers")
        )
        parts = tuple(bytes.fromhex(each) for each in named.get("parts", ()))
        return ListState(seq, bool(due), (*grants, *further), issuers, signed, plain, certificate, signed_at_s, parts)

    def numbered(self, at_s: int) -> int:
        """Return the highest number that openings before this one gave a list or a lockout, if that is known here.

        What no lock would take at `at_s` was a clock's that was far ahead: it says nothing.
        """
        if (mark := self._store.listed) is None:
            return 0
        if mark.before > at_s + NUMBERS_AHEAD_MOST_S:
            mark.lower(at_s)
        return mark.before

    def note_numbers(self) -> None:
        """Note outside of the store what is in here: a build that noted none may have given it."""
        rows = self._store.read(
            "SELECT max(seq) FROM (SELECT seq FROM revocation_list UNION ALL SELECT seq FROM common_list"
            " UNION ALL SELECT seq FROM lockout)"
        )
        self._hand_out(int(rows[0][0]))

    def _hand_out(self, number: int) -> None:
        if self._store.listed is not None:
            self._store.listed.handed_out(number)

    def keep_lists(self, general: ListState, common: ListState) -> None:
        """Keep both lists, signed, in one commit: never one of them without what the other says.

        What goes beyond one object is kept apart: a build that knows no parts finds a list that it can sign.
        """
        self._hand_out(max(general.seq, common.seq))
        with self._store.written() as db:
            for made, table in ((general, _list_table(False)), (common, _list_table(True))):
                first, further = made.grants[:REVOCATIONS_MOST], made.grants[REVOCATIONS_MOST:]
                body: dict[str, object] = {
                    part: [[withdrawn.hex(), until_s] for withdrawn, until_s in named]
                    for part, named in (("grants", first), ("further", further), ("issuers", made.issuers))
                    if named or part != "further"
                }
                if made.parts:
                    body["parts"] = [each.hex() for each in made.parts]
                db.execute(
                    f"UPDATE {table} SET seq = ?, due = ?, body = ?, signed = ?, plain = ?, certificate = ?,"  # noqa: S608 - one of two names of this module
                    " signed_at_s = ?",
                    (
                        *(made.seq, int(made.due), json.dumps(body)),
                        *(made.signed, made.plain, made.certificate, made.signed_at_s),
                    ),
                )

    # -- lockouts ----------------------------------------------------------------------------------------------------

    def lockouts(self) -> dict[bytes, OrderedLockout]:
        """Return the last word about each door about which there was one, by lock."""
        rows = self._store.read("SELECT lock, seq, sealed, at_ms FROM lockout")
        return {row[0]: OrderedLockout(row[1], bool(row[2]), row[3]) for row in rows}

    def order_lockouts(self, ordered: Mapping[bytes, OrderedLockout], events: Sequence[Event]) -> None:
        """Make lockouts durable."""
        self._hand_out(max((each.seq for each in ordered.values()), default=0))
        with self._store.written(events) as db:
            db.executemany(
                "INSERT OR REPLACE INTO lockout VALUES (?, ?, ?, ?)",
                [(lock, each.seq, int(each.sealed), each.at_ms) for lock, each in ordered.items()],
            )

    def sealed_rooms(self) -> dict[str, tuple[str, ...]]:
        """Return the sealed rooms that have doors of other lock systems: our names of those doors, by room."""
        rows = self._store.read("SELECT room, doors FROM sealed_room ORDER BY room")
        return {room: tuple(json.loads(doors)) for room, doors in rows}

    def seal_room(self, room: str, doors: Sequence[str], at_ms: int, events: Sequence[Event], *, sealed: bool) -> None:
        """Make durable that such a room is sealed, or no longer."""
        with self._store.written(events) as db:
            db.execute("DELETE FROM sealed_room WHERE room = ?", (room,))
            if sealed:
                db.execute("INSERT INTO sealed_room VALUES (?, ?, ?)", (room, json.dumps(doors), at_ms))

    # -- what locks said ---------------------------------------------------------------------------------------------

    def told(self) -> dict[bytes, Told]:
        """Return what each lock ever told confirmed."""
        rows = self._store.read("SELECT lock, revocation_seq, lockout_seq, unable_list, unable_lockout FROM told")
        return {row[0]: Told(*row[1:]) for row in rows}

    def keep_told(self, lock_id: bytes, told: Told) -> None:
        """Make durable what a lock said."""
        with self._store.written() as db:
            db.execute(
                "INSERT OR REPLACE INTO told VALUES (?, ?, ?, ?, ?)",
                (lock_id, told.revocation_seq, told.lockout_seq, told.unable_list, told.unable_lockout),
            )
