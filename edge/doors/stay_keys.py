"""Who has keys of a stay: each phone, since when, when it opened last, and which doors have yet to hear of its end.

What the main guest sees of his own stay (door.md A7, 3.11 "joiner visible to main guest"). A phone is named by a digest
(`key`, as in access events, edge/doors/sync.py) beside its public key. Read from the doors' own rows; changes nothing.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from edge.doors.door_book import BookedDoor, DoorBook
from edge.doors.store import DoorStore
from protocols.door.audit import AuditEvent, AuditRecord
from protocols.grant.grant import GrantFlag
from protocols.grant.lock_time import TimeQuality

KEY_DIGITS: Final = 16
LEEWAY_S: Final = 600
"""So long after its end a lock may still take a grant."""
LOOKED_BACK_MOST: Final = 5_000
"""Records of a lock that are looked through for the last opening."""


def key_name(holder: str, phone: bytes) -> str:
    """Return what a phone of one holder is called, whichever of its grants it shows: no phone is told across stays."""
    return hashlib.sha256(holder.encode() + b"\x00" + phone).hexdigest()[:KEY_DIGITS]


@dataclass(slots=True)
class _Phone:
    phone: bytes
    grants: list["_Given"] = field(default_factory=list)

    @property
    def newest(self) -> "_Given":
        return self.grants[-1]


@dataclass(frozen=True, slots=True)
class _Given:
    grant_id: bytes
    at_ms: int
    generation: int
    not_before_s: int
    not_after_s: int
    flags: int
    rooms: str
    zones: int


class StayKeys:
    """Answers `stay_keys` of the doors' socket.

    Args:
        store: The doors' rows.
        book: The doors.
        knows: Whether a lock (its id) has confirmed a list that withdraws a grant (its id).
        at_s: The best guess of unix seconds.
    """

    def __init__(
        self, store: DoorStore, book: DoorBook, *, knows: Callable[[bytes, bytes], bool], at_s: Callable[[], int]
    ) -> None:
        self._store, self._book, self._knows, self._at_s = store, book, knows, at_s

    def of(self, stay: str) -> list[dict[str, Any]]:
        """Return the stay's keys, the first phone's first. Times are unix ms.

        `main`: the phone that the stay is (the others joined it); one at most, none once it was withdrawn. `used`: its
        last opening that the house has heard of, None for none; `certain` false: by a lock that did not know the time.
        `ended`: the stay is over, whatever time the key has left in it; made longer, its phones get others.
        `doors`: how many it was made for; `waiting`, of a withdrawn key or one whose stay has ended: those that may
        still take it, as far as is known: no list that withdraws it, no later guest, and not over.
        """
        phones, known = self._phones(stay), self._store.stay(stay)
        has_ended = known is not None and known.ended_at_ms is not None
        cut = "SELECT cut.grant_id FROM grant_issued JOIN curtailed AS cut USING (grant_id) WHERE grant_issued.stay = ?"
        curtailed = {row[0] for row in self._store.read(cut, (stay,))}
        withdrawn = {row[0] for row in self._store.read("SELECT phone FROM withdrawn WHERE holder = ?", (stay,))}
        main = _main(phones)
        return [
            self._shown(
                stay,
                each,
                is_main=each is main and each.phone not in withdrawn,
                gone=each.phone in withdrawn,
                ended=has_ended or each.newest.grant_id in curtailed,
            )
            for each in phones
        ]

    def _phones(self, stay: str) -> list[_Phone]:
        rows = self._store.read(
            "SELECT phone, grant_id, issued_at_ms, generation, not_before_s, not_after_s, flags, rooms, zones"
            " FROM grant_issued WHERE stay = ? ORDER BY issued_at_ms, generation, grant_id",
            (stay,),
        )
        phones: dict[bytes, _Phone] = {}
        for phone, *given in rows:
            phones.setdefault(phone, _Phone(phone)).grants.append(_Given(*given))
        return list(phones.values())

    def _shown(self, stay: str, phone: _Phone, *, is_main: bool, gone: bool, ended: bool) -> dict[str, Any]:
        newest = phone.newest
        doors = {door.lock_id: door for each in phone.grants for door in self._doors_of(each)}
        alive = [each for each in phone.grants if each.not_after_s + LEEWAY_S > self._at_s()]
        waiting = {door.lock_id: door for each in alive for door in self._doors_of(each) if self._takes(door, each)}
        return {
            "key": key_name(stay, phone.phone),
            "phone": phone.phone.hex(),
            "main": is_main,
            "join": bool(newest.flags & GrantFlag.JOIN),
            "since_ms": phone.grants[0].at_ms,
            "not_before_ms": newest.not_before_s * 1_000,
            "not_after_ms": newest.not_after_s * 1_000,
            "withdrawn": gone,
            "ended": ended,
            "used": self._used(phone.grants, list(doors.values())),
            "doors": len(self._doors_of(newest)),
            "waiting": [self._place(door) for door in waiting.values()] if gone or ended else [],
        }

    def _doors_of(self, given: _Given) -> tuple[BookedDoor, ...]:
        rooms = self._book.of_numbers(frozenset(json.loads(given.rooms)))
        return (*rooms, *self._book.of_zones(given.zones & (2**64 - 1)))

    def _takes(self, door: BookedDoor, given: _Given) -> bool:
        """Whether a door may take a grant that is over: it has confirmed neither that nor a later guest."""
        superseded = bool(door.number) and self._store.lock(door.lock_id).generation > given.generation
        return not superseded and not self._knows(door.lock_id, given.grant_id)

    def _place(self, door: BookedDoor) -> dict[str, Any]:
        contact_at_ms = self._store.lock(door.lock_id).contact_at_ms
        return {"door": door.door, "label": door.label, "contact_at_ms": contact_at_ms or None}

    def _used(self, grants: Sequence[_Given], doors: Sequence[BookedDoor]) -> dict[str, Any] | None:
        ids = [each.grant_id for each in grants]
        marks = ",".join("?" * len(ids))
        found: list[tuple[AuditRecord, BookedDoor]] = []
        for door in doors:
            rows = self._store.read(
                "SELECT record FROM record WHERE lock = ? AND seq > ?"  # noqa: S608 - only marks
                f" AND substr(record, 10, 1) = ? AND substr(record, 11, 8) IN ({marks})"
                " ORDER BY seq DESC LIMIT 1",
                (door.lock_id, self._store.lock(door.lock_id).seq - LOOKED_BACK_MOST, bytes([AuditEvent.OPENED]), *ids),
            )
            found += [(AuditRecord.decode(row[0]), door) for row in rows]
        if not found:
            return None
        record, door = max(found, key=lambda each: (each[0].time_quality != TimeQuality.UNCERTAIN, each[0].time_s))
        return {
            "at_ms": record.time_s * 1_000,
            "certain": record.time_quality != TimeQuality.UNCERTAIN,
            "door": door.door,
            "label": door.label,
        }


def _main(phones: Sequence[_Phone]) -> _Phone | None:
    """Return the phone that the stay is: the first that did not join; in a stay that joined another's room, the first.

    What it was given first decides: a joiner whose asking took the stay along to another room is one still. Where
    that phone was withdrawn nobody takes its place: else who was given a key would take keys.
    """
    own = [each for each in phones if not each.grants[0].flags & GrantFlag.JOIN] or phones
    moments = sorted(given.at_ms for each in phones for given in each.grants)
    return next((each for each in own if not any(_ousted(each, by, moments) for by in own)), None)


def _ousted(phone: _Phone, by: _Phone, moments: Sequence[int]) -> bool:
    """Whether a phone's first answer was lost: the next that was given out was the same room's, to another phone."""
    mine, theirs = phone.grants[0], by.grants[0]
    newer = theirs.generation > mine.generation and json.loads(theirs.rooms) == json.loads(mine.rooms)
    return newer and not any(mine.at_ms < each < theirs.at_ms for each in moments)
