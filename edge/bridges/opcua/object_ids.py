"""OPC UA's 14,000 numeric ids of namespace 0, kept as one text: 0.4 MB where asyncua's own module takes 5.7.

asyncua reads a few hundred of them, most while it is imported, and an edge has 120 MB for all its processes. The names
and numbers are asyncua's: its file is read, not run. Source: OPC 10000-6 annex A.3 (NodeIds.csv), as asyncua ships it.
"""

import re
import sys
from collections.abc import Iterator, Mapping
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType
from typing import Final

MODULE: Final = "asyncua.ua.object_ids"
_ENTRY: Final = re.compile(rb"^    (\w+) = (\d+)$", re.MULTILINE)
_INVERSE: Final = re.compile(rb"^ObjectIdNames\[(\d+)\] = '(\w+)'$", re.MULTILINE)
_FRAME: Final = (b"class ObjectIds:", b"ObjectIdNames = {}")


class IdTable:
    """Names and numbers, both ways.

    Args:
        source: The text of asyncua's module.

    Raises:
        ValueError: it is not what it was: anything but one class of numbers and the same numbers by name.
    """

    def __init__(self, source: bytes) -> None:
        by_name = [name + b"=" + number for name, number in _ENTRY.findall(source)]
        by_number = [name + b"=" + number for number, name in _INVERSE.findall(source)]
        said = sum(bool(line.strip()) and not line.startswith((b"#", *_FRAME)) for line in source.splitlines())
        if not by_name or said != len(by_name) + len(by_number) or not set(by_number) <= set(by_name):
            raise ValueError(f"{MODULE} is not written as it was")
        self._names = b"\n" + b"\n".join(by_name) + b"\n"
        self._numbers = b"\n" + b"\n".join(by_number) + b"\n"
        self._last = 0
        self.count = len(by_number)

    def number(self, name: str) -> int | None:
        """Return the id of a name, or None."""
        sought = b"\n" + name.encode() + b"="
        at = self._names.find(sought, self._last)  # asyncua asks in nearly the order in which they stand
        if at < 0 and (at := self._names.find(sought, 0, self._last + len(sought))) < 0:
            return None
        self._last = at
        began = at + len(sought)
        return int(self._names[began : self._names.index(b"\n", began)])

    def name(self, number: object) -> str | None:
        """Return the name of an id, or None."""
        if not isinstance(number, int) or (at := self._numbers.find(b"=%d\n" % number)) < 0:
            return None
        return self._numbers[self._numbers.rindex(b"\n", 0, at) + 1 : at].decode()

    def numbers(self) -> Iterator[int]:
        """Yield every id that has a name."""
        for each in self._numbers.split():
            yield int(each.partition(b"=")[2])


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
    """Put the table where asyncua will look for it; call it before asyncua is imported.

    Returns whether it stands there. Without asyncua, after its own module was loaded, or with one that is written in
    another way, nothing is changed.
    """
    found = PathFinder.find_spec("asyncua")
    if MODULE in sys.modules or found is None or found.origin is None:
        return MODULE in sys.modules and isinstance(getattr(sys.modules[MODULE], "ObjectIdNames", None), Names)
    try:
        table = IdTable(Path(found.origin).with_name("ua").joinpath("object_ids.py").read_bytes())
    except (OSError, ValueError):
        return False
    sys.modules[MODULE] = stand_in(table)
    return True
