"""Whether a unit whose model has no `[[identify]]` still seems to be what the plan says.

Who answers on a unit id cannot be asked there. But a unit that had answered for its registers and now refuses most of
them, as one refuses what it does not have, may be another thing. May: a unit that lost its settings, or waits for its
firmware, does the same. So it is told, with what was seen, and nothing is held back. Pure.
"""

from collections.abc import Collection, Iterable
from typing import Final

from protocols.device_model.capability import Capability
from protocols.modbus.frames import ExceptionCode

REFUSALS_LEAST: Final = 2
"""One refusal is an accident."""
HAS_NONE: Final = frozenset(
    {ExceptionCode.ILLEGAL_FUNCTION, ExceptionCode.ILLEGAL_DATA_ADDRESS, ExceptionCode.ILLEGAL_DATA_VALUE}
)
"""Exceptions by which a unit says that it has no such register, or not so many."""

Name = tuple[Capability, str]


class Doubt:
    """Of one unit. `answered` and `refused` return whether it has become doubted, or is no longer."""

    def __init__(self) -> None:
        self._had: set[Name] = set()
        """What it has ever answered for, in this life of the process."""
        self._lost: set[Name] = set()
        """What of it it refuses now."""
        self.refusals = 0
        """How often it has refused what it had, since it last had all of it."""
        self.doubted = False

    @property
    def lost(self) -> int:
        """How many points it refuses for which it had answered."""
        return len(self._lost)

    @property
    def had(self) -> int:
        """For how many points it had answered."""
        return len(self._had)

    def keep(self, names: Iterable[Name]) -> None:
        """Learn which points it has under the firmware that it runs now."""
        known = set(names)
        self._had &= known
        self._lost &= known

    def answered(self, names: Collection[Name]) -> bool:
        """Take that it answered for these points."""
        self._had.update(names)
        if not self.refusals:
            return False
        self._lost.difference_update(names)
        if not self._lost:
            self.refusals = 0
        return self._judged()

    def refused(self, names: Collection[Name], code: int) -> bool:
        """Take that it refused these points, and how."""
        lost = self._had.intersection(names)
        if not lost or code not in HAS_NONE:
            return False
        self._lost |= lost
        self.refusals += 1
        return self._judged()

    def _judged(self) -> bool:
        most = 2 * len(self._lost) > len(self._had)
        doubted = most and (self.doubted or self.refusals >= REFUSALS_LEAST)
        changed, self.doubted = doubted is not self.doubted, doubted
        return changed
