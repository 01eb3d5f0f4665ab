"""The ballast: room on the disk that was set aside while there was some, let go when the disk is full.

Source of truth: guarantees G1 and G9, section 0 item 4: a full volume cannot be freed by DELETE, because deleting
writes too. One file of allocated blocks beside the lanes. While it is out, lanes B and C give back what they hold
(`LaneSpace.give_back`) and do not grow; lane A goes on. It is set aside again once the volume has room for it, a
quarter more, and twice what is kept for lane A (`Ballast.left`). A process that finds no room for it at its start
counts it as let go: one that was killed on a full disk would else fill what is left, with nothing to let go of.
"""

import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from protocols.link.lanes import Lane

FILE_NAME: Final = "ballast"
KEPT_BYTES: Final = 2 * 1024 * 1024
"""Of what a full disk has left, so much is lane A's before lane C takes any, and half of it before lane B does."""
_KEPT_SHARE: Final = 32
"""The least part of the volume that this may be."""
_SPARE: Final = 1.25
_SHARE_OF_VOLUME: Final = 4


@dataclass(frozen=True, slots=True)
class Left:
    """What a full disk has left. `spare`: bytes that the lane may take of it. `short`: the lane gives up more than its
    floor, so that those before it go on; `none`: all that it has.
    """

    spare: int
    short: bool
    none: bool = False


class Ballast:
    """One folder's ballast. Safe to use from several threads."""

    def __init__(self, folder: Path, *, size: int) -> None:
        """Set nothing aside yet.

        Args:
            folder: where the lanes are.
            size: bytes to set aside, at most a quarter of the volume; 0: none, and `release` never helps.
        """
        self._path, self._size = folder / FILE_NAME, size
        self._lock = threading.Lock()
        self.out = False
        """Let go, and not set aside again: the disk is, or was just now, full."""

    def release(self) -> bool:
        """Let it go; say whether that made room just now."""
        with self._lock:
            self.out = True
            try:
                held = self._path.stat().st_blocks * 512
                self._path.unlink()
            except OSError:
                return False
            return held > 0

    def restore(self) -> bool:
        """Set it aside if it is not, and the disk has room for it; say whether it is set aside now.

        Never raises: without ballast the log works as well, until the disk is full.
        """
        with self._lock:
            return self._restore()

    def back(self) -> bool:
        """Set it aside again if it is out and the disk has room for it; say whether that was just now."""
        with self._lock:
            return self.out and self._restore()

    def left(self, lane: Lane) -> Left:
        """Return what the volume has left for a lane while the ballast is out.

        A lane grows down to what is kept for those before it, and gives way below half of that: between the two it
        stays as it is, so that it does not grow into what it has just given back. Lane A is short first of all: it
        takes whatever there is, and spares what it can. A volume that cannot be asked has nothing left.
        """
        try:
            volume = os.statvfs(self._path.parent)
        except OSError:
            return Left(0, short=True, none=True)
        free = volume.f_bavail * volume.f_frsize
        kept = self._kept(volume) // (2 if lane is Lane.B else 1)
        short = kept if lane is Lane.A else kept // 2
        return Left(max(0, free - kept), short=free < short, none=free < kept // 8)

    def _restore(self) -> bool:
        if self._size == 0:
            self.out = self.out and not self._has_room()
            return not self.out
        try:
            if not self.out and self._path.exists() and self._path.stat().st_size == self._wanted():
                return True
            if not self._has_room():
                self.out = True
                return False
            self._allocate()
        except OSError:
            self._path.unlink(missing_ok=True)
            return False
        self.out = False
        return True

    def _has_room(self) -> bool:
        volume = os.statvfs(self._path.parent)
        wanted = max(self._wanted(volume), 1024 * 1024)
        return volume.f_bavail * volume.f_frsize >= max(wanted * _SPARE, wanted + 2 * self._kept(volume))

    def _wanted(self, volume: os.statvfs_result | None = None) -> int:
        volume = volume or os.statvfs(self._path.parent)
        return min(self._size, volume.f_blocks * volume.f_frsize // _SHARE_OF_VOLUME)

    @staticmethod
    def _kept(volume: os.statvfs_result) -> int:
        return min(KEPT_BYTES, volume.f_blocks * volume.f_frsize // _KEPT_SHARE)

    def _allocate(self) -> None:
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, self._wanted())
        finally:
            os.close(descriptor)
