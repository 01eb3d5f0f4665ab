"""A disk that forgets what was not synced: the `Disk` port with power cuts and errors at a chosen operation.

Model: content and names are separate. `sync` makes a file's content durable; `sync_folder` makes a folder's names
durable. At a power cut unsynced content is, by a throw of the dice, the old, the new, a torn mix, or zeroes; of
a folder's unsynced changes of names a first part has reached the disk, in their order.
"""

from pathlib import Path
from typing import Final, Literal

from kit.dice import Dice
from kit.files import OWNER_ONLY

SECTOR_BYTES: Final = 512

_Change = tuple[Literal["link", "unlink"], str, "_File | None"]


class PowerCutError(Exception):
    """The power failed before this operation; the code that was running never saw it return."""


class _File:
    __slots__ = ("durable", "now")

    def __init__(self) -> None:
        self.now = b""
        self.durable = b""


class SimDisk:
    """`kit.files.Disk` in memory; outlives the programs that use it.

    Args:
        dice: decide what a power cut leaves.
    """

    def __init__(self, dice: Dice) -> None:
        self._dice = dice
        self._names: dict[Path, dict[str, _File]] = {}  # folder -> what programs see
        self._durable: dict[Path, dict[str, _File]] = {}  # folder -> what a cut leaves
        self._changes: dict[Path, list[list[_Change]]] = {}  # folder -> unsynced atomic changes, in order
        self._cut_at: int | None = None
        self._errors: dict[int, OSError] = {}
        self.operations = 0
        """How many operations that change something were begun."""

    def cut_power_at(self, operation: int) -> None:
        """Raise PowerCutError instead of the n-th changing operation from now (1: the next one)."""
        self._cut_at = self.operations + operation

    def refuse_at(self, operation: int, error: OSError) -> None:
        """Raise `error` instead of the n-th changing operation from now (1: the next one)."""
        self._errors[self.operations + operation] = error

    def crash(self) -> None:
        """Cut the power: what programs see from now on is what had reached the disk."""
        self._cut_at = None
        self._errors.clear()
        for folder in sorted(self._changes):
            changes = self._changes.pop(folder)
            for change in changes[: self._dice.integer(0, len(changes))]:
                self._apply(folder, change)
        survived: dict[int, bool] = {}
        for folder in sorted(self._durable):
            for name in sorted(self._durable[folder]):
                file = self._durable[folder][name]
                if id(file) not in survived:  # identity, not order: a file may have two names
                    survived[id(file)] = True
                    file.now = file.durable = self._remains(file)
        self._names = {folder: dict(names) for folder, names in self._durable.items()}

    def read(self, path: Path) -> bytes:
        """Return the whole content, as programs see it."""
        return self._find(path).now

    def write(self, path: Path, data: bytes, *, mode: int = OWNER_ONLY) -> None:  # noqa: ARG002 - the port has it
        """Make or overwrite a file; neither content nor name is durable."""
        self._begin()
        names = self._names.setdefault(path.parent, {})
        if path.name not in names:
            names[path.name] = _File()
            self._changed(path.parent, ("link", path.name, names[path.name]))
        names[path.name].now = bytes(data)

    def write_over(self, path: Path, data: bytes) -> None:
        """Write over the beginning of a file, in place."""
        self._begin()
        file = self._find(path)
        file.now = bytes(data) + file.now[len(data) :]

    def sync(self, path: Path) -> None:
        """Make the content durable."""
        self._begin()
        file = self._find(path)
        file.durable = file.now

    def rename(self, old: Path, new: Path) -> None:
        """Replace `new` by `old` in one step."""
        self._begin()
        file = self._find(old)
        del self._names[old.parent][old.name]
        self._names.setdefault(new.parent, {})[new.name] = file
        if old.parent == new.parent:
            self._changed(old.parent, ("unlink", old.name, None), ("link", new.name, file))
        else:
            self._changed(new.parent, ("link", new.name, file))
            self._changed(old.parent, ("unlink", old.name, None))

    def remove(self, path: Path) -> None:
        """Remove a name."""
        self._begin()
        self._find(path)
        del self._names[path.parent][path.name]
        self._changed(path.parent, ("unlink", path.name, None))

    def sync_folder(self, folder: Path) -> None:
        """Make the folder's names durable."""
        self._begin()
        for change in self._changes.pop(folder, []):
            self._apply(folder, change)

    def exists(self, path: Path) -> bool:
        """Return whether programs see a file of that name."""
        return path.name in self._names.get(path.parent, {})

    def names(self, folder: Path) -> list[str]:
        """Return the sorted names in a folder, as programs see them."""
        return sorted(self._names.get(folder, {}))

    def _begin(self) -> None:
        self.operations += 1
        if self._cut_at is not None and self.operations >= self._cut_at:
            raise PowerCutError(f"before operation {self.operations}")
        if (error := self._errors.pop(self.operations, None)) is not None:
            raise error

    def _find(self, path: Path) -> _File:
        try:
            return self._names[path.parent][path.name]
        except KeyError:
            raise FileNotFoundError(2, "No such file or directory", str(path)) from None

    def _changed(self, folder: Path, *change: _Change) -> None:
        self._changes.setdefault(folder, []).append(list(change))

    def _apply(self, folder: Path, change: list[_Change]) -> None:
        names = self._durable.setdefault(folder, {})
        for kind, name, file in change:
            if kind == "link" and file is not None:
                names[name] = file
            else:
                names.pop(name, None)

    def _remains(self, file: _File) -> bytes:
        if file.now == file.durable:
            return file.durable
        fate = self._dice.choice(("old", "new", "torn", "zeroes"))
        if fate == "old":
            return file.durable
        if fate == "new":
            return file.now
        if fate == "zeroes":
            return bytes(len(file.now))
        sectors = range(0, len(file.now), SECTOR_BYTES)
        return b"".join(
            (file.now if self._dice.integer(0, 1) else file.durable.ljust(len(file.now), b"\0"))[
                at : min(at + SECTOR_BYTES, len(file.now))
            ]
            for at in sectors
        )
