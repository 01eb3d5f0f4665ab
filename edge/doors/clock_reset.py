"""Coming back from a host clock that was years ahead: the one way in which the signing mark goes down.

What was signed then is dated in the future: the mark refuses every later signature, the rooms' numbers are spent,
stays hold grants that no lock takes. Nothing of that goes by itself, on purpose (issuers.SoundTime): an operator says
so, by name, and what the locks themselves said is what remains. Source of truth: docs/decisions/0044.
"""

from dataclasses import dataclass
from typing import Final

from edge.doors.door_book import DoorBook
from edge.doors.errors import ClockUnsoundError
from edge.doors.issuers import BACKWARD_MOST_MS
from edge.doors.store import DoorStore
from kit.clock import Clock, ClockQuality
from protocols.errors import InvalidInputError
from protocols.grant.generation import DAYS_AHEAD_MOST, day_of

WORDS_MOST: Final = 200


@dataclass(frozen=True, slots=True)
class ClockReset:
    """What was undone. Times are unix milliseconds; `lying_locks`: doors whose lock itself is in the future."""

    from_ms: int
    to_ms: int
    rooms: int
    stays: int
    bumps: int
    lying_locks: tuple[str, ...]


def reset_clock(*, store: DoorStore, book: DoorBook, clock: Clock, by: str, reason: str) -> ClockReset:
    """Lower the signing mark to the clock, and everything dated beyond it to what the locks say.

    Args:
        store: The open store.
        book: Which locks there are.
        clock: It must be synchronised now: its word is what everything is lowered to.
        by: Who says so, for the record.
        reason: Why, for the record.

    Returns:
        What was undone. A lock in the future must be provisioned anew: its floor never falls (decision 0041).

    Raises:
        ClockUnsoundError: the clock is not synchronised now.
        InvalidInputError: nothing to undo, or no name or reason given. StoreFailedError: nothing happened.
    """
    for place, words in (("by", by), ("reason", reason)):
        if not 1 <= len(words.strip()) <= WORDS_MOST or not words.isprintable():
            raise InvalidInputError(place, f"say it in 1 to {WORDS_MOST} printable characters")
    if clock.quality is ClockQuality.UNCERTAIN:
        raise ClockUnsoundError("the edge's clock is not synchronised now: mend it first, then reset the doors'")
    to_ms, from_ms = clock.wall_ms(), store.high_water_ms
    if from_ms - to_ms <= BACKWARD_MOST_MS:
        raise InvalidInputError(
            "doors-reset-clock", "the doors' last signature is not ahead of the clock: nothing to undo"
        )
    latest = ((day_of(to_ms // 1_000) + DAYS_AHEAD_MOST) << 8) | 0xFF
    said = {each.lock_id: each for each in store.locks()}
    lying = tuple(door.door for door in book.doors if door.lock_id in said and said[door.lock_id].generation > latest)
    events = [
        (
            {
                "door": door.door,
                "room": door.room,
                "lock": door.lock_id.hex(),
                "lock_seq": said[door.lock_id].seq if door.lock_id in said else 0,
                "at_ms": to_ms,
                "event": "clock_reset",
                "reason": f"{by.strip()}: {reason.strip()}",
            },
            to_ms,
        )
        for door in book.doors
    ]
    rooms, stays, bumps = store.lower_marks(to_ms, latest, events)
    for door in book.doors:
        if door.number and door.lock_id in said and door.door not in lying:
            store.keep_contact(store.lock(door.lock_id), door.number)  # what the lock said is the room's mark
    return ClockReset(from_ms, to_ms, rooms, stays, bumps, lying)
