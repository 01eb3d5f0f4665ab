"""The clocks of a whole Python process, moved from outside while it runs: Python imports this before anything of ours.

tests/integration/steering.py puts this folder on PYTHONPATH of the one process that it means and writes the file that
is read here at each question: by how much the wall clock and the monotonic clock are off, in seconds, and whether the
kernel calls its clock disciplined (adjtimex). The production program has no such door: it asks the machine, and here
the machine answers otherwise. The loop's own waiting (time.monotonic) stays true, so nothing sleeps long.
"""

import ctypes
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

_STEER = Path(os.environ["STEERED_CLOCK"])
_STA_UNSYNC = 0x0040
_TIME_ERROR = 5


def _steered(clock: Callable[[], int], place: int) -> Callable[[], int]:
    def told() -> int:
        return clock() + int(float(_STEER.read_text().split()[place]) * 1_000_000_000)

    return told


class _Kernel:
    """The one call of the C library that kit/clock.py makes."""

    def adjtimex(self, facts: Any) -> int:
        disciplined = _STEER.read_text().split()[2] == "1"
        facts._obj.status = 0 if disciplined else _STA_UNSYNC
        return 0 if disciplined else _TIME_ERROR


_library = ctypes.CDLL


def _loaded(name: str | None, *arguments: Any, **options: Any) -> Any:
    return _Kernel() if name is None and options.get("use_errno") else _library(name, *arguments, **options)


time.time_ns = _steered(time.time_ns, 0)
time.time = lambda: time.time_ns() / 1_000_000_000
time.monotonic_ns = _steered(time.monotonic_ns, 1)
ctypes.CDLL = _loaded  # type: ignore[misc,assignment]  # for this process alone
