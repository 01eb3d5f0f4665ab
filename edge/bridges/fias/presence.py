"""What a word of the PMS about a guest in house means for our stays. Pure: a fact and the replica in, steps out.

Presence is the PMS's to tell, reservations are the cloud's: a guest is matched to a stay by number, then by room;
where neither settles it, a person looks. Nothing here is lost by a crash: everything is told again by the next
resynchronisation, and a step that was taken already is none.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from edge.stays.document import DocumentStay, StayState
from edge.stays.replica import BY_PMS, Replica, Stay
from protocols.device_model.identity import RoomId, StayId
from protocols.fias.house import NAMELESS, CameIn, Guest, House, Moved, WentOut
from protocols.fias.link import Fact

SOON_MS: Final = 24 * 3_600_000
"""A guest may come this long before the stay was to begin."""
SOON_LEAVES_MS: Final = 3_600_000
"""Who leaves on a day whose hour is over has this long."""
_NUMBER: Final = re.compile(r"[0-9a-z]{1,12}")


@dataclass(frozen=True, slots=True)
class Arrive:
    """Record that the stay is in house."""

    stay: DocumentStay
    room: RoomId


@dataclass(frozen=True, slots=True)
class Leave:
    """Record that the stay has left."""

    stay: DocumentStay
    room: RoomId


@dataclass(frozen=True, slots=True)
class EndAt:
    """Record that a stay in house ends at another time (unix ms)."""

    stay: StayId
    until_ms: int


@dataclass(frozen=True, slots=True)
class Doubt:
    """Somebody has to look: nothing was done."""

    room: str
    number: str
    reason: str


Step = Arrive | Leave | EndAt | Doubt


@dataclass(frozen=True, slots=True)
class RoomNames:
    """Our rooms, by what the PMS calls them."""

    ours: frozenset[RoomId]
    told: Mapping[str, str]

    def find(self, theirs: str) -> RoomId | None:
        """Return our room, None where we have none of that name."""
        for name in (self.told.get(theirs), theirs.lower(), theirs.lower().lstrip("0")):
            if name is not None and RoomId(name) in self.ours:
                return RoomId(name)
        return None


class Presence:
    """Judges facts.

    Args:
        rooms: which rooms there are.
        walk_ins: whether a guest without a stay gets one.
        until_ms: the end of a stay whose guest leaves on a day (YYMMDD, or None: not told), after now (unix ms).
        on_day_ms: the end of a stay that had one (unix ms) and whose guest leaves on a day (YYMMDD): the same where it
            is that day already, else at the same hour; None: no such day.
    """

    def __init__(
        self,
        rooms: RoomNames,
        *,
        walk_ins: bool,
        until_ms: Callable[[str | None, int], int],
        on_day_ms: Callable[[str, int], int | None],
    ) -> None:
        self._rooms, self._walk_ins, self._until_ms, self._on_day_ms = rooms, walk_ins, until_ms, on_day_ms

    def judge(self, fact: Fact, replica: Replica, *, now_ms: int) -> list[Step]:
        """Return what follows from one fact."""
        match fact:
            case CameIn(theirs, guest):
                return self._came(theirs, guest, replica, now_ms)
            case Moved():
                return self._moved(fact, replica, now_ms)
            case WentOut(theirs, guest, vacant):
                return self._went(theirs, guest, vacant, replica)
            case _:
                return []

    def swept(self, house: House, replica: Replica) -> list[Step]:
        """Return who has left meanwhile: whom the PMS brought in and a whole resynchronisation did not name."""
        held = {self._rooms.find(each): house.guests(each) for each in house.occupied()}
        leaving = {self._rooms.find(each) for each in house.leaving()}  # what becomes of them is told in a moment
        here = _in_house(replica)
        return [
            Leave(said(replica, each), each.room)
            for each in here
            if each.decided_by == BY_PMS
            and each.room is not None
            and each.room not in leaving
            and _missing(each, held.get(each.room, ()), [other for other in here if other.room == each.room])
        ]

    def ends(self, theirs: str, house: House, replica: Replica, *, now_ms: int) -> list[Step]:
        """Return which stays in a room end on another day than we hold, by the last of their guests to leave.

        What somebody here decided stands until the PMS names a day that is not the one known then, and not earlier
        (docs/decisions/0143). A guest without a number says nothing: on a room-based link he is whoever of the room was
        told of last, and his day is not the last one's to leave.
        """
        room = self._rooms.find(theirs)
        told: dict[StayId, tuple[Stay, Guest]] = {}
        for guest in house.guests(theirs):
            if room is None or guest.number == NAMELESS or guest.departure is None:
                continue
            stay = self._known(room, guest, replica)
            if stay is None:
                continue
            before = told.get(stay.id)
            if before is None or guest.departure > (before[1].departure or ""):
                told[stay.id] = stay, guest
        steps: list[Step] = []
        for stay, guest in told.values():
            until_ms = self._on_day_ms(guest.departure or "", stay.expected_until_ms)
            if until_ms is None or until_ms == stay.expected_until_ms:
                continue
            ours = replica.untils.get(stay.id)
            if ours is not None and ours.by != BY_PMS:
                unheard = self._on_day_ms(guest.departure or "", ours.told_ms) == ours.told_ms
                if unheard or until_ms < stay.expected_until_ms:
                    steps.append(
                        Doubt(theirs, guest.number, f"leaves on {guest.departure}; {ours.by} here said another day")
                    )
                    continue
            if until_ms > now_ms or stay.expected_until_ms > now_ms + SOON_LEAVES_MS:
                steps.append(EndAt(stay.id, max(until_ms, now_ms + SOON_LEAVES_MS)))
        return steps

    def stay_for(self, theirs: str, number: str | None, replica: Replica, *, now_ms: int) -> Stay | None:
        """Return the stay that the PMS means by a room and a guest number, in house or about to come."""
        room = self._rooms.find(theirs)
        if room is None:
            return None
        guest = Guest(number or "")
        return self._known(room, guest, replica) or self._expected(room, guest, replica, now_ms)

    def mover(self, fact: Moved, replica: Replica) -> Stay | None:
        """Return the stay that a move takes into another room by itself; None: nobody's, or a person has to look."""
        room, old_room = self._rooms.find(fact.room), self._rooms.find(fact.old_room)
        stay = _elsewhere(fact.guest, replica)
        if stay is None and old_room is not None:
            stay = self._known(old_room, fact.guest, replica)
        free = stay is not None and room is not None and _held_up(stay, room, replica) is None
        return stay if free else None

    def room(self, theirs: str) -> RoomId | None:
        """Return our room for one of theirs."""
        return self._rooms.find(theirs)

    def _moved(self, fact: Moved, replica: Replica, now_ms: int) -> list[Step]:
        """Return what a move is: the same stay, in house in another room. Its keys follow when a phone asks."""
        guest, theirs = fact.guest, fact.room
        room = self._rooms.find(theirs)
        if room is None:
            return [Doubt(theirs, guest.number, f"moved here from {fact.old_room}: no room of ours has this name")]
        if self._known(room, guest, replica) is not None:
            return []
        stay = self.mover(fact, replica)
        if stay is not None:
            return [Arrive(said(replica, stay), room)]
        moved = Doubt(fact.old_room, guest.number, f"moved to {theirs}: his stay cannot follow by itself")
        return [moved, *self._came(theirs, guest, replica, now_ms, moved=True)]

    def _came(self, theirs: str, guest: Guest, replica: Replica, now_ms: int, *, moved: bool = False) -> list[Step]:
        room = self._rooms.find(theirs)
        if room is None:
            return [Doubt(theirs, guest.number, "no room of ours has this name")]
        if self._known(room, guest, replica) is not None:
            return []
        stay = None if moved else _elsewhere(guest, replica)
        if stay is not None:  # moved while nobody listened; where somebody here put him, the PMS may not have heard
            told_here = stay.decided_by not in (None, BY_PMS)
            held = f"where {stay.decided_by} put him" if told_here else _held_up(stay, room, replica)
            if held is not None:
                return [Doubt(theirs, guest.number, f"in house here, and stay {stay.id} in {stay.room}, {held}")]
            return [Arrive(said(replica, stay), room)]
        stay = None if moved else self._expected(room, guest, replica, now_ms)
        if stay is not None:
            return [Arrive(said(replica, stay), room)]
        number = guest.number.lower()
        if not self._walk_ins or _NUMBER.fullmatch(number) is None:
            return [Doubt(theirs, guest.number, "in house, and no stay of ours is theirs")]
        made = DocumentStay(
            id=f"{_prefix(number, room)}{guest.departure or 'open'}"[:40].rstrip("-").lower(),
            room=room,
            state=StayState.READY,
            guest_name=None,
            expected_from_ms=now_ms,
            expected_until_ms=self._until_ms(guest.departure, now_ms),
            reservation=None,
            version=0,
        )
        before = replica.get(made.stay_id)
        if before is not None and before.state is not StayState.READY:
            return [Doubt(theirs, guest.number, f"in house again, and stay {made.id} is {before.state}")]
        return [Arrive(made, room)]

    def _went(self, theirs: str, guest: Guest, vacant: bool, replica: Replica) -> list[Step]:
        room = self._rooms.find(theirs)
        if room is None:
            return [Doubt(theirs, guest.number, "no room of ours has this name")]
        here = [each for each in _in_house(replica) if each.room == room]
        mine = [each for each in here if _is_of(each, guest)]
        if not mine and vacant and len(here) == 1:
            mine = here
        if not mine and vacant and here:
            return [Doubt(theirs, guest.number, f"left, and {len(here)} stays are in the room: none has this number")]
        return [Leave(said(replica, each), room) for each in mine]

    def _known(self, room: RoomId, guest: Guest, replica: Replica) -> Stay | None:
        """Return the stay in house in this room that is the guest's; without numbers, any that is alone there."""
        here = [each for each in _in_house(replica) if each.room == room]
        mine = [each for each in here if _is_of(each, guest)]
        if mine:
            return mine[0]
        unnumbered = [each for each in here if not _numbers(each) and not each.id.startswith("fias-")]
        if not guest.number and here:
            return here[0]
        return unnumbered[0] if len(unnumbered) == len(here) == 1 else None

    def _expected(self, room: RoomId, guest: Guest, replica: Replica, now_ms: int) -> Stay | None:
        coming = [
            each
            for each in replica.all()
            if each.state in (StayState.PLANNED, StayState.READY)
            and each.room == room
            and each.expected_from_ms - SOON_MS <= now_ms < each.expected_until_ms
        ]
        mine = [each for each in coming if _is_of(each, guest)]
        if mine:
            return mine[0]
        others = [each for each in coming if not (guest.number and _numbers(each) and not _is_of(each, guest))]
        named = [each for each in others or coming if _same_name(each, guest)]
        if len(named) == 1:
            return named[0]
        return coming[0] if len(coming) == 1 and (guest.name is None or coming[0].guest_name is None) else None


def said(replica: Replica, stay: Stay) -> DocumentStay:
    """Return a stay as it was told, for the record about it."""
    return replica.documents.get(stay.id) or replica.decisions[stay.id].stay


def _elsewhere(guest: Guest, replica: Replica) -> Stay | None:
    """Return the stay in house, wherever it is, that a guest's number names; None: none or several."""
    mine = [each for each in _in_house(replica) if _is_of(each, guest)]
    return mine[0] if len(mine) == 1 else None


def _held_up(stay: Stay, room: RoomId, replica: Replica) -> str | None:
    """Return why a stay cannot go into a room by itself: keys of others would end with it. None: it can."""
    others = [each for each in _in_house(replica) if each.id != stay.id]
    if there := [each.id for each in others if each.room == room]:
        return f"where stay {there[0]} is"
    if shared := [each.id for each in others if each.shares_with(stay)]:
        return f"out of a room shared with stay {shared[0]}"
    return None


def _in_house(replica: Replica) -> list[Stay]:
    return [each for each in replica.all() if each.state is StayState.IN_HOUSE]


def _missing(stay: Stay, guests: tuple[Guest, ...], there: list[Stay]) -> bool:
    """Tell whether everybody whom the PMS has in a stay's room is the guest of another stay there."""
    others = [each for each in there if each.id != stay.id]
    return all(not _is_of(stay, guest) and any(_is_of(each, guest) for each in others) for guest in guests)


def _prefix(number: str, room: RoomId) -> str:
    return f"fias-{number}-{room}-"


def _numbers(stay: Stay) -> set[str]:
    """Return what a stay's reservation is called: its number, and its id in the PMS."""
    told = stay.reservation
    values = told.values() if isinstance(told, dict) else [told]
    return {each.lower() for each in values if each}


def _is_of(stay: Stay, guest: Guest) -> bool:
    number = guest.number.lower()
    if not number:
        return False
    return number in _numbers(stay) or stay.id.startswith(f"fias-{number}-")


def _same_name(stay: Stay, guest: Guest) -> bool:
    """Tell whether the surname that the PMS told is a word of the name that we know."""
    if not stay.guest_name or not guest.name:
        return False
    return guest.name.casefold() in stay.guest_name.casefold()
