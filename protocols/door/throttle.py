"""Slows down an insider who fails again and again; a lot lets others in meanwhile, so that no guest is locked out.

Source of truth: SPEC.md section 7, "Throttle". Pure; the lock's monotonic time is handed in.
"""

from dataclasses import dataclass, replace
from typing import Final

THROTTLE_FAILURES: Final = 5
THROTTLE_WINDOW_MS: Final = 60_000
THROTTLE_FIRST_MS: Final = 1_000
THROTTLE_MOST_MS: Final = 10_000
TOLD_EVERY_MS: Final = 60_000
"""A pause is written down at most so often: who begins one after the other does not fill the log with them."""
LOT_BELOW: Final = 64
"""Of 256: within a pause one OPEN in four is let through."""


def let_through(drawn: bytes) -> bool:
    """Whether an OPEN within a pause is let through, by one byte that was drawn once it had come."""
    return drawn[0] < LOT_BELOW


@dataclass(frozen=True, slots=True)
class Throttle:
    """Insiders' failures lately (monotonic ms). Volatile: a power cycle from inside the room forgets it."""

    failures_ms: tuple[int, ...] = ()
    pause_ms: int = 0
    until_ms: int = 0
    told_ms: int | None = None
    """When the log was last told of a pause."""
    untold: int = 0
    """Failures that began a pause since then, and are in the log only as their number."""

    def wait_ms(self, now_ms: int) -> int:
        """Return how long to refuse public-key work yet; never more than THROTTLE_MOST_MS."""
        return min(max(self.until_ms - now_ms, 0), THROTTLE_MOST_MS)

    def failed(self, now_ms: int) -> "Throttle":
        """Return the throttle after a failure of somebody who holds the door's keys."""
        recent = (*(at for at in self.failures_ms if now_ms - at < THROTTLE_WINDOW_MS), now_ms)
        recent = recent[-THROTTLE_FAILURES:]
        pause_ms = 0
        if len(recent) == THROTTLE_FAILURES:
            pause_ms = min(max(2 * self.pause_ms, THROTTLE_FIRST_MS), THROTTLE_MOST_MS)
        return replace(self, failures_ms=recent, pause_ms=pause_ms, until_ms=now_ms + pause_ms if pause_ms else 0)

    def tells(self, now_ms: int) -> bool:
        """Return whether a pause that begins now is written into the log."""
        return self.told_ms is None or now_ms - self.told_ms >= TOLD_EVERY_MS
