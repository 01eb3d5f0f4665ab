"""How far each lock's clock is from ours, as measured at visits: when a record of its log was, within which bounds.

A lock counts seconds, drifts by 20 ppm and is set forward by any signed object that it reads; a record says what the
clock showed. So an offset is measured at the beginning of a visit (its answer to a status request, between the asking
and the answer) and holds for the records since the visit before only where that one measured the same: then the
bounds are the hull of both. Everything else gets none. Times of ours are the monotonic clock of this life of the
process: no set wall clock moves it, and `name` tells one life's from another's.
"""

from dataclasses import dataclass
from typing import Final

from protocols.door.audit import AuditRecord
from protocols.door.messages import Result
from protocols.grant.lock_time import TimeQuality

DRIFT_PPM: Final = 50
"""More than a lock's 20 and ours together."""
AGE_MOST_MS: Final = 3_600_000
"""An older record gets no bounds: what was measured now says little of then."""


@dataclass(frozen=True, slots=True)
class Offset:
    """What to take from a lock's milliseconds to have ours: between `low_ms` and `high_ms`, as of `at_ms` of ours."""

    low_ms: int
    high_ms: int
    at_ms: int


@dataclass(frozen=True, slots=True)
class Bounds:
    """The offset of the records up to `seq` that were made since the visit before."""

    offset: Offset
    after_seq: int
    seq: int


@dataclass(frozen=True, slots=True)
class _Visited:
    offset: Offset
    seq: int


class LockClocks:
    """The locks' clocks as last measured. `name` is this life's: times of another are not comparable."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._visited: dict[bytes, _Visited] = {}

    def asked(self, lock_id: bytes, result: Result, *, from_ms: int, to_ms: int) -> Bounds | None:
        """Take the answer to the first request of a visit, asked at `from_ms` and there at `to_ms`, of ours.

        Returns:
            What holds for the lock's records since the visit before; None: nothing certain.
        """
        before = self._visited.pop(lock_id, None)
        if result.time_quality != TimeQuality.FRESH:
            return None  # it is set in this visit: measured anew at the next
        told_ms = result.time_s * 1_000
        now = Offset(told_ms - to_ms, told_ms + 999 - from_ms, to_ms)
        self._visited[lock_id] = _Visited(now, result.audit_seq)
        if before is None:
            return None
        drift_ms = max(to_ms - before.offset.at_ms, 0) * DRIFT_PPM // 1_000_000
        low_ms, high_ms = before.offset.low_ms - drift_ms, before.offset.high_ms + drift_ms
        if low_ms > now.high_ms or high_ms < now.low_ms:
            return None  # it was set meanwhile, nobody knows when
        hull = Offset(min(low_ms, now.low_ms), max(high_ms, now.high_ms), to_ms)
        return Bounds(hull, before.seq, result.audit_seq)

    def when(self, record: AuditRecord, bounds: Bounds | None) -> tuple[int, int] | None:
        """Return between which of our ms a record was made; None: not known well."""
        if bounds is None or record.time_quality != TimeQuality.FRESH:
            return None
        if not bounds.after_seq < record.seq <= bounds.seq:
            return None
        told_ms, offset = record.time_s * 1_000, bounds.offset
        from_ms, to_ms = told_ms - offset.high_ms, min(told_ms + 999 - offset.low_ms, offset.at_ms)
        if from_ms > to_ms or offset.at_ms - from_ms > AGE_MOST_MS:
            return None
        return from_ms, to_ms
