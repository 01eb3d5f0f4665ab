"""How long ago each lock's log was read to its end: everything that it had recorded by then is here.

To hear from a lock is less: a visit may break off before the last record, or fetch none because the house takes no
more. Whoever lets go of what records name asks here (grant_keeping.py). By the monotonic clock, which nobody sets, and
in memory alone: after a start every lock is read once before it counts.
"""

from collections.abc import Iterable

from kit.clock import Clock


class WholeReads:
    """When the locks were read to their newest record since this process began."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._read_ms: dict[bytes, int] = {}

    def read(self, lock_id: bytes, *, ago_ms: int = 0) -> None:
        """Everything that this lock had recorded `ago_ms` ago is durable here; an older word changes nothing."""
        read_ms = self._clock.now_ms() - max(ago_ms, 0)
        self._read_ms[lock_id] = max(self._read_ms.get(lock_id, read_ms), read_ms)

    def longest_ago_ms(self, locks: Iterable[bytes]) -> int | None:
        """Return how long ago that was of the lock that has waited longest; None: one was not read yet, or none is."""
        read = [self._read_ms.get(lock_id) for lock_id in locks]
        known = [each for each in read if each is not None]
        return self._clock.now_ms() - min(known) if known and len(known) == len(read) else None
