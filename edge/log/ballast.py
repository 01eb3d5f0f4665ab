"""The ballast: room on the disk that was set aside while there was some, let go when the disk is full.

Source of truth: guarantees G1 and G9, section 0 item 4: a full volume cannot be freed by DELETE, because deleting
writes too. One file of allocated blocks beside the lanes. While it is out, lanes B and C give back what they hold
(`LaneSpace.give_back`) and do not grow; lane A goes on. It is set aside again once the volume has room for it and a
quarter more. A process that finds no room for it at its start counts it as let go: one that was killed on a full disk
would else fill what is left, with nothing to let go of.
"""

import os
import threading
from pathlib import Path
from typing import Final

FILE_NAME: Final = "ballast"
_SPARE: Final = 1.25
_SHARE_OF_VOLUME: Final = 4


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
        return volume.f_bavail * volume.f_frsize >= max(self._wanted(), 1024 * 1024) * _SPARE

    def _wanted(self) -> int:
        volume = os.statvfs(self._path.parent)
        return min(self._size, volume.f_blocks * volume.f_frsize // _SHARE_OF_VOLUME)

    def _allocate(self) -> None:
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, self._wanted())
        finally:
            os.close(descriptor)
