"""Who is in which room, from GI, GO and GC, and what a resynchronisation says about those it does not name.

Room-based links (no G#) and guest-based ones alike: without a guest number, a room has one nameless guest. A room is
vacant only when its last guest has gone. Only a resynchronisation that began (DS) and ended (DE) may end a guest by
silence: a burst of GI alone never does.
"""

from dataclasses import dataclass, replace

from protocols.errors import PeerProtocolError
from protocols.fias.record import Record

MOVE_WAIT_MS = 5_000
"""A GO, and a GI of the same guest within this time, are one move: keys and climate must not flap."""
ROOMS_MOST = 10_000
GUESTS_MOST = 16
"""In one room."""
NAMELESS = ""


@dataclass(frozen=True, slots=True)
class Guest:
    """One guest in house. `number` is G#, or `NAMELESS` where the link tells none; names may be missing."""

    number: str
    name: str | None = None
    first_name: str | None = None
    language: str | None = None
    departure: str | None = None


@dataclass(frozen=True, slots=True)
class CameIn:
    """A guest is now in the room. `resync`: it was told as part of a resynchronisation."""

    room: str
    guest: Guest
    resync: bool


@dataclass(frozen=True, slots=True)
class WentOut:
    """A guest left the room; `vacant`: it was the last, as far as we know and the PMS says. `by_silence`: a
    resynchronisation did not name them.
    """

    room: str
    guest: Guest
    vacant: bool
    by_silence: bool = False


@dataclass(frozen=True, slots=True)
class Moved:
    """A guest moved; `vacant`: the old room has nobody left."""

    guest: Guest
    old_room: str
    room: str
    vacant: bool


@dataclass(frozen=True, slots=True)
class Changed:
    """What is known of a guest in house changed."""

    room: str
    guest: Guest


Fact = CameIn | WentOut | Moved | Changed


@dataclass(frozen=True, slots=True)
class _Leaving:
    room: str
    guest: Guest
    until_ms: int
    shared: bool


class House:
    """The guests in house, as the PMS told. Bounded: a PMS that names ever more rooms is refused by name."""

    def __init__(self) -> None:
        self._rooms: dict[str, dict[str, Guest]] = {}
        self._where: dict[str, str] = {}
        """Guest number -> room; the nameless are in no index."""
        self._unnamed: set[tuple[str, str]] | None = None
        """While a resynchronisation runs: (room, guest number) that it has not named yet."""
        self._leaving: dict[str, _Leaving] = {}
        self._in_doubt = False

    def guests(self, room: str) -> tuple[Guest, ...]:
        """Return who is in a room, by guest number; those just leaving are gone."""
        return tuple(guest for _, guest in sorted(self._rooms.get(room, {}).items()))

    def occupied(self) -> tuple[str, ...]:
        """Return the rooms with somebody in them."""
        return tuple(sorted(room for room, guests in self._rooms.items() if guests))

    def leaving(self) -> tuple[str, ...]:
        """Return the rooms whose guests left a moment ago and may come in elsewhere."""
        return tuple(sorted({each.room for each in self._leaving.values()}))

    @property
    def resyncing(self) -> bool:
        """Whether a resynchronisation runs: what is known is not whole until it ends or breaks."""
        return self._unnamed is not None

    @property
    def deadline_ms(self) -> int | None:
        """When to call `on_time`, monotonic ms."""
        return min((each.until_ms for each in self._leaving.values()), default=None)

    def on_time(self, *, now_ms: int) -> list[Fact]:
        """Return the departures whose guests did not come in elsewhere."""
        due = [each for each in self._leaving.values() if each.until_ms <= now_ms]
        for each in due:
            del self._leaving[each.guest.number]
        return [WentOut(each.room, each.guest, not each.shared and not self._rooms.get(each.room)) for each in due]

    def resync_began(self) -> None:
        """DS. Said again in the middle of one, it is the same: who was named since the first is here."""
        if self._unnamed is not None:
            return
        self._unnamed = {(room, number) for room, guests in self._rooms.items() for number in guests}

    def resync_ended(self) -> list[Fact]:
        """DE: who was not named has left. Without a DS before it, nothing is concluded."""
        unnamed, self._unnamed = self._unnamed, None
        return [self._out(room, number, by_silence=True) for room, number in sorted(unnamed or ())]

    def resync_broke(self) -> None:
        """The link was lost before DE: nothing is concluded."""
        self._unnamed = None

    def take(self, record: Record, *, now_ms: int) -> list[Fact]:
        """Take GI, GO or GC. Raises PeerProtocolError naming the field; then nothing has changed."""
        room, number = record.need("RN"), record.get("G#") or NAMELESS
        if record.id == "GO":
            facts = self._go(record, room, number, now_ms)
            self._doubt(room, shared=record.get("GS") == "Y")
            return facts
        leaving = self._leaving.get(number)
        old_room = self._old_room(record, number, leaving)
        known = self._guest_in(old_room or room, number) if leaving is None else leaving.guest
        guest = _described(known or Guest(number), record)
        self._put(room, guest)
        self._leaving.pop(number, None)
        if known is None:
            return [CameIn(room, guest, record.get("SF") is not None)]
        if old_room is None or old_room == room:
            return [] if guest == known else [Changed(room, guest)]
        if leaving is None:
            self._forget(old_room, number)
        shared = _left_shared(record) if leaving is None else leaving.shared
        self._doubt(old_room, shared=shared)
        return [Moved(guest, old_room, room, not shared and not self._rooms.get(old_room))]

    def _old_room(self, record: Record, number: str, leaving: _Leaving | None) -> str | None:
        """Return where the guest was. For whom has a number, what we know counts, whatever RO says: the GC or the GO
        that would have moved them may be lost.
        """
        if number != NAMELESS:
            return leaving.room if leaving is not None else self._where.get(number)
        told = record.get("RO") if record.id == "GC" and not _left_shared(record) else None
        return told if told and NAMELESS in self._rooms.get(told, {}) else None

    def _go(self, record: Record, room: str, number: str, now_ms: int) -> list[Fact]:
        held, shared = self._rooms.get(room, {}), record.get("GS") == "Y"
        if number == NAMELESS:  # room-based, or a resynchronisation's "this room is empty"
            return [] if shared else [self._out(room, each) for each in sorted(held)]
        if number not in held:
            return []
        if record.get("SF") is not None:
            return [self._out(room, number, shared=shared)]
        guest = self._forget(room, number)
        self._leaving[number] = _Leaving(room, guest, now_ms + MOVE_WAIT_MS, shared)
        return []

    def _doubt(self, room: str, *, shared: bool) -> None:
        """Note where others are said to stay in a room, and we know of nobody by number."""
        if shared and not any(number != NAMELESS for number in self._rooms.get(room, ())):
            self._in_doubt = True

    def take_doubt(self) -> bool:
        """Tell, once, whether somebody is said to stay where we know of nobody: only a whole resynchronisation can
        say who.
        """
        doubt, self._in_doubt = self._in_doubt, False
        return doubt

    def _put(self, room: str, guest: Guest) -> None:
        guests = self._rooms.get(room)
        if guests is None:
            if len(self._rooms) >= ROOMS_MOST:
                raise PeerProtocolError(f"RN {room!r}: more than {ROOMS_MOST} rooms are no hotel")
            guests = self._rooms[room] = {}
        if guest.number not in guests and len(guests) >= GUESTS_MOST:
            raise PeerProtocolError(f"RN {room!r}, G# {guest.number!r}: {GUESTS_MOST} guests are in that room already")
        guests[guest.number] = guest
        if guest.number != NAMELESS:
            self._where[guest.number] = room
        if self._unnamed is not None:
            self._unnamed.discard((room, guest.number))

    def _forget(self, room: str, number: str) -> Guest:
        guests = self._rooms[room]
        guest = guests.pop(number)
        if self._where.get(number) == room:  # and not moved on already
            del self._where[number]
        if not guests:
            del self._rooms[room]
        if self._unnamed is not None:
            self._unnamed.discard((room, number))
        return guest

    def _out(self, room: str, number: str, *, by_silence: bool = False, shared: bool = False) -> WentOut:
        guest = self._forget(room, number)
        return WentOut(room, guest, not shared and not self._rooms.get(room), by_silence)

    def _guest_in(self, room: str, number: str) -> Guest | None:
        return self._rooms.get(room, {}).get(number)


def _left_shared(record: Record) -> bool:
    """Tell whether others stay in the room that a GC moves a guest out of: the GS that follows RO is of that room."""
    names = [name for name, _ in record.repeated]
    if "RO" not in names:
        return False
    return ("GS", "Y") in record.repeated[names.index("RO") :]


def _described(guest: Guest, record: Record) -> Guest:
    """Take over what the record names; a field that it does not name keeps what was known."""

    def told(field: str, known: str | None) -> str | None:
        return record.fields[field] or None if field in record.fields else known

    return replace(
        guest,
        name=told("GN", guest.name),
        first_name=told("GF", guest.first_name),
        language=told("GL", guest.language),
        departure=told("GD", guest.departure),
    )
