"""When a unit is asked: at turns that its own name gives it, so that the units of a bus spread over every interval.

A hundred units that are asked once a second in the same instant are a thousand values in that instant, and each of them
waits for all before it. Here every unit has a place in the interval, made of its bus and its number alone: it is the
same after a restart, for turns are counted from the zero of the monotonic clock. Neighbouring numbers land far apart
(golden section), and any run of them is spread evenly. Places are cut to slots: what is due together is asked together
and becomes durable together. Pure: monotonic times come in.

Only where a bus carries questions side by side, and for intervals up to a second: to bring a longer one into step would
be a read more, or later, on a line that may have no time for it.
"""

from typing import Final
from zlib import crc32

SLOT_MS: Final = 50
STEP_MOST_MS: Final = 1_000
"""Units with longer intervals are asked first within `FIRST_WITHIN_MS`, and keep that pace."""
FIRST_WITHIN_MS: Final = 200
_GOLDEN: Final = 0.6180339887498949


def place_of(bus: str, number: int) -> float:
    """Return a unit's place in every interval, 0 to below 1."""
    return (crc32(bus.encode()) / 2**32 + number * _GOLDEN) % 1.0


def first_turn(place: float, every_ms: int, *, now_ms: int, steps: bool) -> int:
    """Return when a unit is asked first: at its own turn if it has one (`steps`), else soon."""
    if not steps:
        return now_ms + round(place * FIRST_WITHIN_MS)
    return last_turn(place, every_ms, now_ms) + every_ms


def next_turn(place: float, every_ms: int, *, was_ms: int, now_ms: int, steps: bool, turns: int = 1) -> int:
    """Return when a unit is asked next.

    An interval after it was to be asked, exactly. One that is out of step gets into it by a shorter interval, if it was
    in time: a full line must not be asked more. Turns that were missed are not made up for: who missed all of them is
    asked as soon as the line allows.

    Args:
        place: its place.
        every_ms: the interval.
        was_ms: when it was to be asked last.
        now_ms: now, which may be later.
        steps: whether it has turns of its own.
        turns: how many intervals to leave it in peace.
    """
    due_ms = was_ms + turns * every_ms
    if due_ms <= now_ms:
        return now_ms + 1
    if not steps or now_ms - was_ms > every_ms // 4:
        return due_ms
    own_ms = last_turn(place, every_ms, due_ms)
    return own_ms if own_ms > now_ms else own_ms + every_ms


def last_turn(place: float, every_ms: int, at_ms: int) -> int:
    """Return the last turn at or before a moment."""
    slots = max(1, every_ms // SLOT_MS)
    phase_ms = int(place * slots) * every_ms // slots
    return at_ms - (at_ms - phase_ms) % every_ms
