"""What a lock keeps across power cuts: its core, and the emulated quartz behind its RTC. One small file a lock.

Replaced whole, and durable before `keep` returns: the lock must know at least what it has told (protocols/door).
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from firmware_bridges.innkeeper_lock.battery import Battery
from kit.files import Disk, write_atomic
from protocols import cbor
from protocols.door.lock_core import LockCore
from protocols.door.lock_memory import CORE_BYTES_MOST
from protocols.errors import PeerProtocolError

FILE_BYTES_MOST: Final = CORE_BYTES_MOST + 256


@dataclass(frozen=True, slots=True)
class Quartz:
    """The oscillator: counts milliseconds from `rtc_ms` at the host's wall time `wall_ms`, wrong by `drift_ppm`.

    It runs on the lock's battery, so it goes on while the emulator is down; `Quartz` is durable for that.
    """

    wall_ms: int
    rtc_ms: int = 0
    drift_ppm: float = 0.0

    def rtc_ms_at(self, wall_ms: int) -> int:
        """Return the count at the host's wall time `wall_ms`, in milliseconds."""
        passed_ms = wall_ms - self.wall_ms
        return self.rtc_ms + passed_ms + round(passed_ms * self.drift_ppm / 1_000_000)

    def drifting(self, drift_ppm: float, wall_ms: int) -> "Quartz":
        """Return the same count at `wall_ms`, going on with another error."""
        return Quartz(wall_ms, self.rtc_ms_at(wall_ms), drift_ppm)

    def stepped(self, step_ms: int) -> "Quartz":
        """Return it further ahead (or behind) by `step_ms`."""
        return replace(self, rtc_ms=self.rtc_ms + step_ms)

    def stopped(self, wall_ms: int) -> "Quartz":
        """Return it after it lost power: counting from 0 again."""
        return Quartz(wall_ms, 0, self.drift_ppm)


@dataclass(frozen=True, slots=True)
class Memory:
    """Core, quartz and cells together, as kept."""

    core: LockCore
    quartz: Quartz
    battery: Battery | None = None
    """None: cells that were never looked at."""

    def encode(self) -> bytes:
        """Return the file's content: deterministic CBOR, the drift in parts per billion."""
        quartz = self.quartz
        cells = [] if self.battery is None else [[self.battery.drawn_nah, self.battery.at_ms]]
        return cbor.encode(
            [1, self.core.encode(), [quartz.wall_ms, quartz.rtc_ms, round(quartz.drift_ppm * 1_000)], *cells]
        )

    @classmethod
    def decode(cls, data: bytes) -> "Memory":
        """Read the file's content. Raises PeerProtocolError when it is not one."""
        match cbor.decode(data, FILE_BYTES_MOST):
            case [1, bytes() as core, [int() as wall_ms, int() as rtc_ms, int() as drift_ppb]]:
                return cls(LockCore.decode(core), Quartz(wall_ms, rtc_ms, drift_ppb / 1_000))
            case [
                1,
                bytes() as core,
                [int() as wall_ms, int() as rtc_ms, int() as drift_ppb],
                [int() as drawn_nah, int() as at_ms],
            ]:
                quartz = Quartz(wall_ms, rtc_ms, drift_ppb / 1_000)
                return cls(LockCore.decode(core), quartz, Battery(drawn_nah, at_ms))
            case _:
                raise PeerProtocolError("not an emulated lock's memory of version 1")


class MemoryFile:
    """Where one lock's memory is."""

    def __init__(self, disk: Disk, path: Path) -> None:
        self._disk, self._path = disk, path

    def read(self) -> Memory | None:
        """Return what was kept last, or None for a lock that never ran.

        Raises:
            PeerProtocolError: the file is not ours; it is left alone.
        """
        if not self._disk.exists(self._path):
            return None
        return Memory.decode(self._disk.read(self._path))

    def keep(self, memory: Memory) -> None:
        """Store durably. Raises StoreFailedError: the old memory stands."""
        write_atomic(self._disk, self._path, memory.encode())
