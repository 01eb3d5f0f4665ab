"""What programs cost: processor seconds and memory, read from the kernel (Linux).

Memory is PSS, the proportional set size: a page that several processes share counts for each by its part, so that the
sum over processes is what the machine really holds. Source: proc(5), /proc/pid/stat and smaps_rollup.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from protocols.errors import LinkLostError

_TICKS_A_SECOND: Final = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Footprint:
    """One process: processor time since it began, seconds of user and system; PSS, MB of 1,048,576 bytes."""

    cpu_s: float
    pss_mb: float


def footprint(pid: int) -> Footprint:
    """Read what a process costs. Raises LinkLostError: it is gone, or not ours to look at."""
    folder = Path("/proc") / str(pid)
    try:
        after_name = (folder / "stat").read_text().rpartition(")")[2].split()
        rollup = (folder / "smaps_rollup").read_text()
    except OSError as error:
        raise LinkLostError(f"process {pid} cannot be measured: {error.strerror}") from error
    pss_kb = next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
    return Footprint((int(after_name[11]) + int(after_name[12])) / _TICKS_A_SECOND, pss_kb / 1024)
