"""What happened in a simulated run: a hash over all of it, and the last events in words for a failure."""

import hashlib
from collections import deque
from typing import Final

LAST_EVENTS: Final = 50


class Trace:
    """An append-only account. Facts are strings, numbers and bytes: anything whose text is the same everywhere."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._last: deque[str] = deque(maxlen=LAST_EVENTS)
        self.events = 0

    def step(self, time_us: int, callbacks: int) -> None:
        """Note one turn of the loop: how many callbacks ran at which virtual time."""
        self._hash.update(b"%d:%d;" % (time_us, callbacks))

    def add(self, time_s: float, event: str, *facts: str | int | float | bytes | None) -> None:
        """Note an event at virtual time `time_s`."""
        text = " ".join(each.hex() if isinstance(each, bytes) else str(each) for each in facts)
        line = f"{time_s:.6f} {event} {text}"
        self._hash.update(line.encode())
        self._last.append(line)
        self.events += 1

    def hash(self) -> str:
        """Return the hash of everything so far, in hex."""
        return self._hash.hexdigest()

    def last(self) -> list[str]:
        """Return the last events, oldest first."""
        return list(self._last)
