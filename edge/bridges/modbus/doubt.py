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
"""One refusal of a point is an accident, and a block that is taken apart for it is refused point by point at once."""
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
        self._lost: dict[Name, int] = {}
        """What of it it refuses now, and how often since it last answered for it."""
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
        self._lost = {each: times for each, times in self._lost.items() if each in known}

    def answered(self, names: Collection[Name]) -> bool:
        """Take that it answered for these points."""
        self._had.update(names)
        for each in names:
            self._lost.pop(each, None)
        return self._judged()

    def refused(self, names: Collection[Name], code: int) -> bool:
        """Take that it refused these points, and how."""
        if code not in HAS_NONE:
            return False
        for each in self._had.intersection(names):
            self._lost[each] = self._lost.get(each, 0) + 1
        return self._judged()

    def _judged(self) -> bool:
        least = 1 if self.doubted else REFUSALS_LEAST
        doubted = 2 * sum(times >= least for times in self._lost.values()) > len(self._had)
        changed, self.doubted = doubted is not self.doubted, doubted
        return changed
