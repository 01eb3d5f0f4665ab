"""A SQLite file layer whose disk fails on command: full, or refusing to write or to sync."""

import itertools
from types import TracebackType
from typing import Any, Self

import apsw

_numbers = itertools.count(1)


class FaultyDisk:
    """Registers a VFS named `name`; set `failing` to make it fail from now on."""

    def __init__(self) -> None:
        self.name = f"faulty-{next(_numbers)}"
        self.failing: str | None = None
        """None, "full" (ENOSPC on growth), "write" (EIO on write) or "sync" (EIO on fsync)."""
        self.refusals = 0
        self._vfs: _Vfs | None = None

    def __enter__(self) -> Self:
        self._vfs = _Vfs(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._vfs is not None:
            self._vfs.unregister()

    def refuse(self, what: str) -> None:
        if self.failing is None:
            return
        if self.failing == "full" and what == "write":
            self.refusals += 1
            raise apsw.FullError("no space left on device")
        if self.failing == what:
            self.refusals += 1
            raise apsw.IOError(f"{what}: input/output error")


class _Vfs(apsw.VFS):
    def __init__(self, disk: FaultyDisk) -> None:
        self._disk = disk
        super().__init__(disk.name, "")

    def xOpen(self, name: Any, flags: list[int]) -> "_File":  # SQLite's names
        return _File(self._disk, name, flags)


class _File(apsw.VFSFile):
    def __init__(self, disk: FaultyDisk, name: Any, flags: list[int]) -> None:
        self._disk = disk
        super().__init__("", name, flags)

    def xWrite(self, data: bytes, offset: int) -> None:
        self._disk.refuse("write")
        super().xWrite(data, offset)

    def xSync(self, flags: int) -> None:
        self._disk.refuse("sync")
        super().xSync(flags)
