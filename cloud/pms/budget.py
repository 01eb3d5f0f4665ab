"""How many requests a partner lets us make: a sliding window kept on our side, so that 429 stays rare. Pure."""

from collections import deque


class RequestBudget:
    """At most `most` requests in any `window_ms`."""

    def __init__(self, most: int, window_ms: int) -> None:
        self._most, self._window_ms = most, window_ms
        self._made: deque[int] = deque(maxlen=most)
        self._quiet_until_ms = 0

    def wait_ms(self, now_ms: int) -> int:
        """Return how long to wait before the next request; 0 if it may leave now (monotonic ms)."""
        wait = max(0, self._quiet_until_ms - now_ms)
        if len(self._made) == self._most:
            wait = max(wait, self._made[0] + self._window_ms - now_ms)
        return wait

    def spend(self, now_ms: int) -> None:
        """Count a request."""
        self._made.append(now_ms)

    def quiet(self, until_ms: int) -> None:
        """Make none before `until_ms`: the partner said so."""
        self._quiet_until_ms = max(self._quiet_until_ms, until_ms)

    def is_quiet(self, now_ms: int) -> bool:
        """Tell whether it was the partner who asked for patience, rather than our own count."""
        return now_ms < self._quiet_until_ms
