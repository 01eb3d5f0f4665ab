"""A disk for SQLite that can lose its power: every image that a real one may show afterwards, drawn by a seed.

In memory, as an apsw VFS. What was written since the last sync of a file is pending. A power cut keeps, drops, tears or
garbles each 512-byte sector of each pending write by itself (so writes are reordered too), keeps or drops truncations
and names. A sync that fails does what Linux does: the pages stay visible, count as clean, and are never written again
unless somebody changes them.
"""

import itertools
import random
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

import apsw

SECTOR = 512
_numbers = itertools.count(1)


@dataclass
class Pending:
    """A write (or, with `data` None, a truncation to `at`) that no sync has covered."""

    at: int
    data: bytes | None


@dataclass
class File:
    """`seen`: what programs read. `durable`: what is there for certain after a cut."""

    seen: bytearray = field(default_factory=bytearray)
    durable: bytearray = field(default_factory=bytearray)
    pending: list[Pending] = field(default_factory=list)
    named: bool = False
    journal: bool = False


class CrashDisk:
    """Registers a VFS named `name`. Outlives the programs that use it."""

    def __init__(self, seed: int | str) -> None:
        self.name = f"crash-{next(_numbers)}"
        self.dice = random.Random(seed)
        self.files: dict[str, File] = {}
        self.removed: dict[str, File] = {}  # names whose removal is not durable
        self.replaced: dict[str, File] = {}  # names whose new file is not durable
        self.operations = 0
        self.cut_at: int | None = None
        self.fail_sync_at: int | None = None
        self.full = False
        self.dead = False
        self.epoch = 0
        self._vfs: _Vfs | None = None

    def __enter__(self) -> Self:
        self._vfs = _Vfs(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._vfs is not None:
            self._vfs.unregister()

    def cut_power_in(self, operations: int) -> None:
        """Cut the power just before the n-th operation from now (1: the next)."""
        self.cut_at = self.operations + operations

    def fail_a_sync_in(self, operations: int) -> None:
        """Let the first sync at or after the n-th operation from now fail."""
        self.fail_sync_at = self.operations + operations

    def power_on(self) -> None:
        """What programs see from now on is one image that the cut may have left."""
        mood = self.dice.choice(["keep", "drop", "writes", "sectors", "sectors", "garble"])
        for name, before in self.replaced.items():
            if self.dice.random() < 0.5:
                self.files[name] = before
        self.replaced.clear()
        survivors: dict[str, File] = {}
        for name, file in {**self.removed, **self.files}.items():
            if name in self.removed and self.dice.random() < 0.5 and name not in self.files:
                continue
            if not file.named and self.dice.random() < 0.5:
                continue
            image = self._image(file, mood)
            survivors[name] = File(bytearray(image), bytearray(image), [], True, file.journal)
        self.files, self.removed = survivors, {}
        self.cut_at = self.fail_sync_at = None
        self.dead = self.full = False
        self.epoch += 1

    def operation(self) -> None:
        """Count an operation that changes something; the power may fail before it."""
        if self.dead:
            raise apsw.IOError("the power is off")
        self.operations += 1
        if self.cut_at is not None and self.operations >= self.cut_at:
            self.dead = True
            raise apsw.IOError("the power failed")

    def sync(self, path: Path) -> None:
        self._system_call()
        try:
            self.sync_file(self.files[str(path)])
        except apsw.IOError as error:
            raise OSError(5, str(error)) from error

    def sync_file(self, file: File) -> None:
        if self.fail_sync_at is not None and self.operations >= self.fail_sync_at:
            self.fail_sync_at = None
            file.durable = self._image(file, "sectors")
            file.pending.clear()
            raise apsw.IOError("fsync: input/output error")
        file.durable = self._image(
            file, "keep"
        )  # what is pending, and no more: a page that counts as clean is not written
        file.pending.clear()
        if (
            not file.named and file.journal
        ):  # SQLite syncs the folder with the first sync of a new journal: every name in it
            self._sync_names()

    # ------------------------------------------------------------------ kit.files.Disk

    def read(self, path: Path) -> bytes:
        if str(path) not in self.files:
            raise FileNotFoundError(2, "no such file", str(path))
        return bytes(self.files[str(path)].seen)

    def write(self, path: Path, data: bytes, *, mode: int = 0o600) -> None:
        self._system_call()
        if self.full:
            raise OSError(28, "no space left on device")
        file = self.files[str(path)] = File(journal=True)
        _put(file.seen, 0, data)
        file.pending.append(Pending(0, bytes(data)))

    def write_over(self, path: Path, data: bytes) -> None:
        self._system_call()
        file = self.files[str(path)]
        _put(file.seen, 0, data)
        file.pending.append(Pending(0, bytes(data)))

    def rename(self, old: Path, new: Path) -> None:
        self._system_call()
        if str(new) in self.files:
            self.replaced.setdefault(str(new), self.files[str(new)])
        self.files[str(new)] = self.files.pop(str(old))

    def sync_folder(self, folder: Path) -> None:
        self._system_call()
        self._sync_names()

    def exists(self, path: Path) -> bool:
        return str(path) in self.files

    def remove(self, path: Path) -> None:
        self._system_call()
        del self.files[str(path)]

    def names(self, folder: Path) -> list[str]:
        return sorted(self.files)

    def _system_call(self) -> None:
        try:
            self.operation()
        except apsw.IOError as error:
            raise OSError(5, str(error)) from error

    def _sync_names(self) -> None:
        for each in self.files.values():
            each.named = True
        self.removed.clear()
        self.replaced.clear()

    def _image(self, file: File, mood: str) -> bytearray:
        image = bytearray(file.durable)
        for each in file.pending:
            if each.data is None:
                if mood == "keep" or (mood != "drop" and self.dice.random() < 0.5):
                    _resize(image, each.at)
                continue
            keep = {"keep": True, "drop": False, "writes": self.dice.random() < 0.5}.get(mood)
            if keep is not None:
                if keep:
                    _put(image, each.at, each.data)
                continue
            for at in range(0, len(each.data), SECTOR):
                self._sector(image, each.at + at, each.data[at : at + SECTOR], mood)
        return image

    def _sector(self, image: bytearray, at: int, data: bytes, mood: str) -> None:
        match self.dice.choice(["keep", "keep", "drop", "torn", "garbled" if mood == "garble" else "keep"]):
            case "keep":
                _put(image, at, data)
            case "torn":
                cut = self.dice.randrange(len(data) + 1)
                _put(image, at, data[:cut])
            case "garbled":
                _put(image, at, self.dice.randbytes(len(data)))
            case _:
                return


def _put(image: bytearray, at: int, data: bytes) -> None:
    if len(image) < at:
        image.extend(bytes(at - len(image)))
    image[at : at + len(data)] = data


def _resize(image: bytearray, size: int) -> None:
    if size < len(image):
        del image[size:]
    else:
        image.extend(bytes(size - len(image)))


class _Vfs(apsw.VFS):
    def __init__(self, disk: CrashDisk) -> None:
        self._disk = disk
        super().__init__(disk.name, "")

    def xOpen(self, name: Any, flags: list[int]) -> apsw.VFSFile:  # SQLite's names
        text = name.filename() if isinstance(name, apsw.URIFilename) else name
        if text is None:
            raise apsw.CantOpenError("no temporary files here")
        if text not in self._disk.files:
            if not flags[0] & apsw.SQLITE_OPEN_CREATE:
                raise apsw.CantOpenError(text)
            self._disk.operation()
            self._disk.files[text] = File(journal=not flags[0] & apsw.SQLITE_OPEN_MAIN_DB)
        flags[1] = flags[0]
        return cast(apsw.VFSFile, _Open(self._disk, self._disk.files[text]))

    def xDelete(self, name: str, syncdir: bool) -> None:
        self._disk.operation()
        file = self._disk.files.pop(name, None)
        if file is None:
            raise apsw.IOError(name)
        if not syncdir and file.named:
            self._disk.removed[name] = file

    def xAccess(self, name: str, flags: int) -> bool:
        return name in self._disk.files

    def xFullPathname(self, name: str) -> str:
        return name


class _Open:
    """One open file; one of a life before the cut can do nothing any more."""

    def __init__(self, disk: CrashDisk, file: File) -> None:
        self._disk, self._file, self._epoch = disk, file, disk.epoch

    def _alive(self) -> None:
        if self._epoch != self._disk.epoch:
            raise apsw.IOError("a program of before the power cut")

    def xRead(self, amount: int, offset: int) -> bytes:
        self._alive()
        if self._disk.dead:
            raise apsw.IOError("the power is off")
        return bytes(self._file.seen[offset : offset + amount])

    def xWrite(self, data: bytes, offset: int) -> None:
        self._alive()
        self._disk.operation()
        if self._disk.full and offset + len(data) > len(self._file.seen):
            raise apsw.FullError("no space left on device")
        _put(self._file.seen, offset, data)
        self._file.pending.append(Pending(offset, bytes(data)))

    def xTruncate(self, size: int) -> None:
        self._alive()
        self._disk.operation()
        _resize(self._file.seen, size)
        self._file.pending.append(Pending(size, None))

    def xSync(self, flags: int) -> None:
        self._alive()
        self._disk.operation()
        self._disk.sync_file(self._file)

    def xFileSize(self) -> int:
        self._alive()
        return len(self._file.seen)

    def xLock(self, level: int) -> None:
        return

    def xUnlock(self, level: int) -> None:
        return

    def xCheckReservedLock(self) -> bool:
        return False

    def xFileControl(self, op: int, pointer: int) -> bool:
        return False

    def xSectorSize(self) -> int:
        return SECTOR

    def xDeviceCharacteristics(self) -> int:
        return int(apsw.SQLITE_IOCAP_POWERSAFE_OVERWRITE)  # as SQLite takes every Unix disk to be

    def xClose(self) -> None:
        return
