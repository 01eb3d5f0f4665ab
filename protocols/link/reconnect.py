"""How long an edge waits before it connects again, so that a fleet that lost one broker does not come back at once.

Source of truth: SPEC.md section 10.5. Pure: the caller draws the dice.
"""

from typing import Final

DOUBLINGS_MAX: Final = 16
SPREAD_S_MAX: Final = 300
"""The widest spread that a cloud may ask for."""


def pause_most_ms(silent: int, *, first_ms: int, most_ms: int, spread_s: int) -> int:
    """Return the longest pause before the next connection; the pause itself is uniform from 0 to it.

    Args:
        silent: connections on which the cloud said nothing since it last said anything.
        first_ms: the pause after the first loss where the cloud asked for no spread, at most.
        most_ms: no pause is longer, unless the cloud asked for more.
        spread_s: what the cloud asked for last; 0: nothing.

    The second wave is twice as wide as the first: were it as wide, those whom the first found the door shut for would
    come on top of those still to come.
    """
    spread_ms = 1_000 * spread_s
    first, most = max(first_ms, spread_ms), max(most_ms, 2 * spread_ms)
    return int(min(most, first * 2 ** min(silent, DOUBLINGS_MAX)))
