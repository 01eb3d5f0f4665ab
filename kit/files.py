"""Small files that must survive a power cut: replaced whole or not at all, and durable when the call returns.

`Disk` is the port with the few primitives in which durability is spelled out; `write_atomic` is the one order
of them that is right, and tests/kit/test_files.py cuts the power after each. Databases bring their own files.
"""

import contextlib
import os
from pathlib import Path
from typing import Final, Protocol

from protocols.errors import StoreFailedError

TEMPORARY_SUFFIX: Final = ".tmp"
OWNER_ONLY: Final = 0o600


class Disk(Protocol):
    """What a file system promises, step by step. Every method raises OSError as the system calls do."""

    def read(self, path: Path) -> bytes:
        """Return the whole content. Raises FileNotFoundError."""
        ...

    def write(self, path: Path, data: bytes, *, mode: int = OWNER_ONLY) -> None:
        """Make or overwrite a file. Neither content nor name is durable yet."""
        ...

    def write_over(self, path: Path, data: bytes) -> None:
        """Write over the beginning of a file, in place: takes no room on a full disk. Not durable yet."""
        ...

    def sync(self, path: Path) -> None:
        """Make the content of a file durable (fsync)."""
        ...

    def rename(self, old: Path, new: Path) -> None:
        """Replace `new` by `old` in one step, for readers. Not durable before `sync_folder`."""
        ...

    def remove(self, path: Path) -> None:
        """Remove a name. Not durable before `sync_folder`. Raises FileNotFoundError."""
        ...

    def sync_folder(self, folder: Path) -> None:
        """Make the names in a folder durable (fsync of the directory)."""
        ...

    def exists(self, path: Path) -> bool:
        """Return whether there is a file of that name."""
        ...

    def names(self, folder: Path) -> list[str]:
        """Return the sorted names of the files in a folder; empty if there is no such folder."""
        ...


class SystemDisk:
    """The machine's file system."""

    def read(self, path: Path) -> bytes:
        """Return the whole content."""
        return path.read_bytes()

    def write(self, path: Path, data: bytes, *, mode: int = OWNER_ONLY) -> None:
        """Make or overwrite a file, `mode` even where the umask is lax."""
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, mode)
            file.write(data)

    def write_over(self, path: Path, data: bytes) -> None:
        """pwrite(2) without truncating."""
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)

    def sync(self, path: Path) -> None:
        """fsync the file."""
        _fsync(path, os.O_RDONLY)

    def rename(self, old: Path, new: Path) -> None:
        """rename(2)."""
        old.replace(new)

    def remove(self, path: Path) -> None:
        """unlink(2)."""
        path.unlink()

    def sync_folder(self, folder: Path) -> None:
        """fsync the directory."""
        _fsync(folder, os.O_RDONLY | os.O_DIRECTORY)

    def exists(self, path: Path) -> bool:
        """Return whether there is a file of that name."""
        return path.is_file()

    def names(self, folder: Path) -> list[str]:
        """Return the sorted names of the files in a folder."""
        if not folder.is_dir():
            return []
        return sorted(each.name for each in folder.iterdir() if each.is_file())


def write_atomic(disk: Disk, path: Path, data: bytes, *, mode: int = OWNER_ONLY) -> None:
    """Replace the content of `path`: after a power cut it holds all of the old or all of `data`.

    Raises:
        StoreFailedError: the disk refused; the old content stands.
    """
    temporary = path.with_name(path.name + TEMPORARY_SUFFIX)
    try:
        disk.write(temporary, data, mode=mode)
        disk.sync(temporary)
        disk.rename(temporary, path)
        disk.sync_folder(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):  # half of it must not take the room that a full disk still has
            disk.remove(temporary)
        raise StoreFailedError(f"{path}: could not be replaced: {error.strerror or error}") from error


def remove_durably(disk: Disk, path: Path) -> None:
    """Remove `path` so that a power cut does not bring it back; harmless if it is already gone.

    The blocks are not overwritten: what must be unreadable is encrypted, and its key is destroyed.

    Raises:
        StoreFailedError: the disk refused.
    """
    try:
        if disk.exists(path):
            disk.remove(path)
        disk.sync_folder(path.parent)
    except OSError as error:
        raise StoreFailedError(f"{path}: could not be removed: {error.strerror or error}") from error


def _fsync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
