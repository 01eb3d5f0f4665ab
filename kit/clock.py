"""Two clocks, never mixed: monotonic milliseconds for waiting, wall time as data; and how far to trust the wall.

Nothing else in the house reads the system's clocks (tests/house holds it). Waiting itself is asyncio's
business: `asyncio.sleep` runs on the loop's time, which the simulation replaces.
"""

import ctypes
import time
from collections.abc import Callable
from typing import Final, Literal, Protocol

from protocols.link.record import ClockQuality as ClockQuality  # noqa: PLC0414 - the record's word is the clock's

STEP_LIMIT_MS: Final = 5 * 60_000  # guarantee G10: a larger step of the wall clock is not believed at once
STEP_SETTLE_MS: Final = 10 * 60_000  # how long after such a step the wall clock stays uncertain
HOLDOVER_MS: Final = 72 * 3_600_000  # at 200 ppm (10 x a poor crystal) 72 h drift by 52 s: below every leeway
KERNEL_ASK_MS: Final = 1_000  # how old the kernel's answer may be


class Clock(Protocol):
    """The port. `now_ms` orders and times; `wall_ms` only labels."""

    def now_ms(self) -> int:
        """Monotonic milliseconds from an arbitrary zero; never goes back, ignores steps of the wall clock."""
        ...

    def wall_ms(self) -> int:
        """Unix milliseconds, UTC. May step in either direction."""
        ...

    @property
    def quality(self) -> ClockQuality:
        """How far `wall_ms` may be trusted now.

        synchronised: a time source disciplines it now. drifting: it was disciplined in this life of the process, at
        most `HOLDOVER_MS` ago, and is good to a minute. uncertain: never disciplined, too long ago, or just stepped:
        verify with it, sign nothing.
        """
        ...


class SystemClock:
    """The machine's clocks.

    Args:
        trust: "ntp" asks the kernel whether a time source disciplines its clock (adjtimex); "host" takes the
            host's word, for machines whose clock is kept from outside (containers, virtual machines).
        synchronised: the question put to the kernel; replaceable for tests.
    """

    def __init__(
        self,
        trust: Literal["ntp", "host"] = "ntp",
        *,
        synchronised: Callable[[], bool] | None = None,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
        wall_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._trust = trust
        self._ask = synchronised or _kernel_is_synchronised
        self._monotonic_ns, self._wall_ns = monotonic_ns, wall_ns
        self._offset_ms = self.wall_ms() - self.now_ms()
        self._stepped_ms: int | None = None  # when the wall clock last stepped
        self._disciplined_ms: int | None = None  # when the kernel last said yes
        self._asked_ms: int | None = None
        self._answer = False

    def now_ms(self) -> int:
        """Monotonic milliseconds (CLOCK_MONOTONIC)."""
        return self._monotonic_ns() // 1_000_000

    def wall_ms(self) -> int:
        """Unix milliseconds, UTC (CLOCK_REALTIME)."""
        return self._wall_ns() // 1_000_000

    @property
    def quality(self) -> ClockQuality:
        """Judge the wall clock now; also notices steps since the last call, so call it before signing."""
        now_ms, offset_ms = self.now_ms(), self.wall_ms() - self.now_ms()
        if abs(offset_ms - self._offset_ms) > STEP_LIMIT_MS:
            self._stepped_ms = now_ms
        self._offset_ms = offset_ms
        if self._synchronised(now_ms):
            self._disciplined_ms = now_ms
        if self._stepped_ms is not None and now_ms - self._stepped_ms < STEP_SETTLE_MS:
            return ClockQuality.UNCERTAIN
        if self._disciplined_ms is None or now_ms - self._disciplined_ms > HOLDOVER_MS:
            return ClockQuality.UNCERTAIN
        if self._disciplined_ms == now_ms:
            return ClockQuality.SYNCHRONISED
        return ClockQuality.DRIFTING

    def _synchronised(self, now_ms: int) -> bool:
        if self._trust == "host":
            return True
        if self._asked_ms is None or now_ms - self._asked_ms >= KERNEL_ASK_MS:
            self._asked_ms, self._answer = now_ms, self._ask()
        return self._answer


class ManualClock:
    """A clock that tests move by hand."""

    def __init__(
        self,
        now_ms: int = 0,
        wall_ms: int = 1_767_225_600_000,  # 2026-01-01T00:00:00Z
        quality: ClockQuality = ClockQuality.SYNCHRONISED,
    ) -> None:
        self._now_ms, self._wall_ms = now_ms, wall_ms
        self._quality = quality

    def now_ms(self) -> int:
        """Monotonic milliseconds."""
        return self._now_ms

    def wall_ms(self) -> int:
        """Unix milliseconds, UTC."""
        return self._wall_ms

    @property
    def quality(self) -> ClockQuality:
        """Whatever the test last said."""
        return self._quality

    @quality.setter
    def quality(self, value: ClockQuality) -> None:
        self._quality = value

    def advance(self, ms: int) -> None:
        """Let `ms` milliseconds pass on both clocks. Raises ValueError for a negative number."""
        if ms < 0:
            raise ValueError(f"monotonic time cannot go back by {-ms} ms")
        self._now_ms += ms
        self._wall_ms += ms

    def step_wall(self, ms: int) -> None:
        """Step the wall clock alone, in either direction."""
        self._wall_ms += ms


class _Timex(ctypes.Structure):
    """struct timex of adjtimex(2) on 64-bit Linux, with its 44 bytes of padding."""

    _fields_ = [  # ctypes reads it once, when the class is made
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("constant", ctypes.c_long),
        ("precision", ctypes.c_long),
        ("tolerance", ctypes.c_long),
        ("time", ctypes.c_long * 2),
        ("tick", ctypes.c_long),
        ("ppsfreq", ctypes.c_long),
        ("jitter", ctypes.c_long),
        ("shift", ctypes.c_int),
        ("stabil", ctypes.c_long),
        ("jitcnt", ctypes.c_long),
        ("calcnt", ctypes.c_long),
        ("errcnt", ctypes.c_long),
        ("stbcnt", ctypes.c_long),
        ("tai", ctypes.c_int),
        ("padding", ctypes.c_int * 11),
    ]


_STA_UNSYNC: Final = 0x0040
_TIME_ERROR: Final = 5


def _kernel_is_synchronised() -> bool:
    """Ask the kernel whether a time source disciplines its clock; False where it cannot be asked.

    Reading needs no privilege. Source: adjtimex(2); STA_UNSYNC is set when no source has spoken for so long
    that the estimated error passes 16 s.
    """
    try:
        adjtimex = ctypes.CDLL(None, use_errno=True).adjtimex
    except (OSError, AttributeError):  # not Linux
        return False
    facts = _Timex(modes=0)
    state: int = adjtimex(ctypes.byref(facts))
    return state not in (-1, _TIME_ERROR) and not facts.status & _STA_UNSYNC
