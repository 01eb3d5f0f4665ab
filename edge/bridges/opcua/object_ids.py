"""OPC UA's 14,000 numeric ids of namespace 0, kept as one text: 0.4 MB where asyncua's own module takes 5.7.

asyncua reads a few hundred of them, most while it is imported, and an edge has 120 MB for all its processes. The names
and numbers are asyncua's: its file is read, not run. Source: OPC 10000-6 annex A.3 (NodeIds.csv), as asyncua ships it.
"""

import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType
from typing import Final

MODULE: Final = "asyncua.ua.object_ids"
_ENTRY: Final = re.compile(rb"    (\w+) = (\d+)\n")
_INVERSE: Final = re.compile(rb"ObjectIdNames\[(\d+)\] = '(\w+)'\n")
_NUMBER: Final = re.compile(rb"=(\d+)")
_FRAME: Final = (b"class ObjectIds:\n", b"ObjectIdNames = {}\n")


class IdTable:
    """Names and numbers, both ways.

    Args:
        source: The lines of asyncua's module, with their ends.

    Raises:
        ValueError: it is not what it was: anything but one class of numbers and the same numbers by name.
    """

    def __init__(self, source: Iterable[bytes]) -> None:
        names, numbers = bytearray(b"\n"), bytearray(b"\n")
        self.count = 0
        for line in source:  # one at a time: 30,000 small things at once would leave their holes in the heap
            if found := _ENTRY.fullmatch(line):
                names += b"%b=%b\n" % found.group(1, 2)
                self.count += 1
            elif found := _INVERSE.fullmatch(line):
                numbers += b"%b=%b\n" % found.group(2, 1)
            elif line.strip() and not line.startswith(b"#") and line not in _FRAME:
                raise ValueError(f"{MODULE} is not written as it was: {line[:80]!r}")
        if not self.count or names != numbers:
            raise ValueError(f"{MODULE} is not written as it was: {self.count} ids, and names of others")
        self._entries = bytes(names)
        self._last = 0

    def number(self, name: str) -> int | None:
        """Return the id of a name, or None."""
        sought = b"\n" + name.encode() + b"="
        at = self._entries.find(sought, self._last)  # asyncua asks in nearly the order in which they stand
        if at < 0 and (at := self._entries.find(sought, 0, self._last + len(sought))) < 0:
            return None
        self._last = at
        began = at + len(sought)
        return int(self._entries[began : self._entries.index(b"\n", began)])

    def name(self, number: object) -> str | None:
        """Return the name of an id, or None."""
        if not isinstance(number, int) or (at := self._entries.find(b"=%d\n" % number)) < 0:
            return None
        return self._entries[self._entries.rindex(b"\n", 0, at) + 1 : at].decode()

    def numbers(self) -> Iterator[int]:
        """Yield every id that has a name."""
        for found in _NUMBER.finditer(self._entries):
            yield int(found[1])


class Names(Mapping[int, str]):
    """`ObjectIdNames`: id -> name."""

    def __init__(self, table: IdTable) -> None:
        self._table = table

    def __getitem__(self, number: int) -> str:
        if (found := self._table.name(number)) is None:
            raise KeyError(number)
        return found

    def __iter__(self) -> Iterator[int]:
        return self._table.numbers()

    def __len__(self) -> int:
        return self._table.count


def stand_in(table: IdTable) -> ModuleType:
    """Return a module that answers as asyncua's."""

    class Numbers(type):
        def __getattr__(cls, name: str) -> int:
            if (found := table.number(name)) is None:
                raise AttributeError(f"type object 'ObjectIds' has no attribute {name!r}")
            setattr(cls, name, found)
            return found

    module = ModuleType(MODULE, __doc__)
    module.ObjectIds = Numbers("ObjectIds", (), {})  # type: ignore[attr-defined]  # a module made by hand
    module.ObjectIdNames = Names(table)  # type: ignore[attr-defined]  # a module made by hand
    return module


def install() -> bool:
    """Put the table where asyncua will look for it; called by the package before asyncua is imported.

    Returns whether it stands there. Without asyncua, after its own module was loaded, or with one that is written in
    another way, nothing is changed.
    """
    found = PathFinder.find_spec("asyncua")
    if MODULE in sys.modules or found is None or found.origin is None:
        return MODULE in sys.modules and isinstance(getattr(sys.modules[MODULE], "ObjectIdNames", None), Names)
    try:
        with Path(found.origin).with_name("ua").joinpath("object_ids.py").open("rb") as source:
            table = IdTable(source)
    except (OSError, ValueError):
        return False
    sys.modules[MODULE] = stand_in(table)
    return True
