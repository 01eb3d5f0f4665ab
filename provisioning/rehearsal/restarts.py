"""When a program that died is started again: soon at first, ever more slowly, and not for ever."""

from collections import deque
from typing import Final

FIRST_WAIT_S: Final = 0.1  # what RestartSec says in the shipped unit files
LONGEST_WAIT_S: Final = 2.0
RESTARTS_MOST: Final = 20
WINDOW_MS: Final = 120_000


class Restarts:
    """The restarts of one program within the window; older ones count for nothing."""

    def __init__(self) -> None:
        self._at_ms: deque[int] = deque()

    def next_wait_s(self, now_ms: int) -> float | None:
        """Count a restart at `now_ms` (monotonic); return the seconds to wait before it, or None to give up."""
        while self._at_ms and now_ms - self._at_ms[0] >= WINDOW_MS:
            self._at_ms.popleft()
        if len(self._at_ms) >= RESTARTS_MOST:
            return None
        wait_s: float = min(FIRST_WAIT_S * 2 ** len(self._at_ms), LONGEST_WAIT_S)
        self._at_ms.append(now_ms)
        return wait_s
