"""Generations: the number by which tonight's guest replaces last night's.

Source of truth: SPEC.md section 6. generation = issue day (days since 1970-01-01 UTC, 16 bits) << 8 | counter. The
counter begins at the 256th part of the day in which it is issued: so a restored or replaced edge issues larger numbers
than the one before it, also on the same day. A lock that refuses days ahead of its own cannot be exhausted.
"""

from typing import Final

from protocols.errors import LocalProtocolError
from protocols.grant.keys import DAY_S

GENERATION_MOST: Final = 2**24 - 1
NONE: Final = 0
"""The generation of a lock that no guest has visited yet, and of a grant that names no private door."""
DAYS_AHEAD_MOST: Final = 1
"""A lock refuses generations whose day is more than this ahead of its own."""


def day_of(at_s: int) -> int:
    """Return the UTC day number of a unix time in seconds."""
    return at_s // DAY_S


def day_in(generation: int) -> int:
    """Return the issue day held in `generation`."""
    return generation >> 8


def of_moment(at_s: int) -> int:
    """Return the number that a room without history gets at `at_s`: 256 a day."""
    return at_s * 256 // DAY_S


def following(highest: int, at_s: int) -> int:
    """Return the generation to hand out next.

    Args:
        highest: The highest handed out for any of the rooms in question.
        at_s: Unix seconds.

    Returns:
        One more than `highest`, or the number of this 256th part of the day (337.5 s), whichever is larger: it
        never runs back, whatever the clock does.

    Raises:
        LocalProtocolError: today's and tomorrow's numbers are spent (more than 256 too many on one room).
    """
    chosen = max(highest + 1, of_moment(at_s))
    if day_in(chosen) > day_of(at_s) + DAYS_AHEAD_MOST or chosen > GENERATION_MOST:
        raise LocalProtocolError(f"generation {chosen} is more than {DAYS_AHEAD_MOST} day ahead: locks would refuse it")
    return chosen
