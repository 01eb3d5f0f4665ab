"""How much of what nobody asked for a line is read of: a unit that babbles must not have the processor.

What was not asked for is paid for at a pace, after a burst. Beyond it the line is left unread for as long as it takes,
so that the babbler's bytes wait with the babbler. A thousand frames a second are within the pace: a bus with such a
unit on it is read as fast as one without. Pure: counts and monotonic times come in.
"""

from typing import Final

FRAMES_BYTES_A_SECOND: Final = 512 * 1024
"""Of Modbus TCP, where a frame is cut off by its length: some 18,000 answers of ten registers."""
LINE_BYTES_A_SECOND: Final = 64 * 1024
"""Of a serial line, where an answer is looked for at every byte; the fastest line carries a fifth of it."""
BURST_MS: Final = 1_000
"""As much as fits in so long may come at once."""


class Pace:
    """The pace of one line, in bytes a second."""

    def __init__(self, bytes_a_second: int) -> None:
        self._ms_a_byte = 1000 / bytes_a_second
        self._paid_ms = 0.0
        """When all that came unasked will have been paid for (monotonic)."""

    def owes_ms(self, unasked: int, *, now_ms: int) -> int:
        """Take note of so many bytes that nobody asked for; return for how long to leave the line unread, ms."""
        if not unasked:
            return 0
        self._paid_ms = max(self._paid_ms, now_ms) + unasked * self._ms_a_byte
        return max(0, round(self._paid_ms - now_ms - BURST_MS))
