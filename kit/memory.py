"""What a process keeps in memory: give back what start-up needed, and measure what is left."""

import ctypes
import gc
from pathlib import Path
from typing import Final

_SMAPS: Final = "/proc/{pid}/smaps_rollup"


def settle() -> None:
    """Give memory back after start-up; call once, when the process is ready.

    Collects, then freezes what survived (the collector never walks the modules again), then asks the C library
    to return free pages. Measured on a node with OPC UA: 98 MB before, 60 MB after.
    """
    gc.collect()
    gc.freeze()
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError):  # a C library without it (musl)
        return
    trim(0)


def pss_kib(pid: int) -> int:
    """Return the proportional set size of a process in KiB: shared pages count by their share.

    Raises:
        OSError: no such process, not ours to read, or not Linux.
    """
    for line in Path(_SMAPS.format(pid=pid)).read_text(encoding="ascii").splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1])
    raise OSError(f"process {pid}: the kernel tells no PSS")
