"""Quarantine: when to stop waiting for a silent unit, and when to look whether it is back.

Source of truth: protocols/modbus/SPEC.md section 5. Pure: told what happened, and the time.
"""

from enum import Enum, auto
from typing import Final

from kit.dice import Dice

FAILURES_MAX: Final = 3
"""Failures in a row after which a unit is quarantined."""
PROBE_FIRST_MS: Final = 1_000
PROBE_MOST_MS: Final = 60_000
RETRY_MS: Final = 250


class Standing(Enum):
    """How a unit stands."""

    NEW = auto()  # not heard yet
    WELL = auto()
    SUSPECT = auto()  # the last request failed: it may only wait where that holds up nobody
    QUARANTINED = auto()


class Quarantine:
    """The standing of one unit. `failed` and `answered` return whether the standing crossed the border."""

    def __init__(self, dice: Dice) -> None:
        self._dice = dice
        self._failures = 0
        self._probe_ms = PROBE_FIRST_MS
        self.standing = Standing.NEW
        self.next_try_ms = 0
        """Monotonic time before which a suspect or quarantined unit is not asked again."""

    @property
    def trusted(self) -> bool:
        """Whether requests to it may use the places of the well."""
        return self.standing in (Standing.NEW, Standing.WELL)

    @property
    def answered_once(self) -> bool:
        """Whether it was ever heard since the bus was last away."""
        return self.standing is not Standing.NEW

    def forget(self) -> None:
        """Start again: the bus was away, and says nothing of the unit."""
        self.standing, self._failures, self._probe_ms, self.next_try_ms = Standing.NEW, 0, PROBE_FIRST_MS, 0

    def failed(self, now_ms: int) -> bool:
        """Take note of a request without an answer; True if the unit is quarantined from now on."""
        self._failures += 1
        if self._failures < FAILURES_MAX:
            self.standing = Standing.SUSPECT
            self.next_try_ms = now_ms + RETRY_MS
            return False
        crossed = self.standing is not Standing.QUARANTINED
        self.standing = Standing.QUARANTINED
        # Jitter: a whole floor that lost power must not be probed in one burst.
        self.next_try_ms = now_ms + round(self._dice.uniform(self._probe_ms / 2, self._probe_ms))
        self._probe_ms = min(2 * self._probe_ms, PROBE_MOST_MS)
        return crossed

    def answered(self) -> bool:
        """Take note of an answer, an exception reply too; True if it is heard for the first time or again."""
        crossed = self.standing in (Standing.NEW, Standing.QUARANTINED)
        self.standing, self._failures, self._probe_ms, self.next_try_ms = Standing.WELL, 0, PROBE_FIRST_MS, 0
        return crossed
