"""For whom records are kept where there is no cloud: the façades that read a lane.

Source of truth: docs/decisions/0111. With a cloud only its mark says what may go, whoever else reads. Without one the
façades of the settings stand in its place: what every one of them has passed may be let go of. A façade that asks for
some kinds passes records that it never tells, and a broker may never take a record for its size; so it is asked of each
record that goes whether anybody was told it.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Final

from protocols.link.lanes import Lane

FACADE_PREFIX: Final = "northbound:"
"""What the names of façades' cursors begin with."""


def kind_mark(kind: str) -> bytes:
    """Return what an encoded record of this kind begins with: the head of a list of six, then a short text."""
    size = len(kind)
    return b"\x86" + (bytes((0x60 | size,)) if size < 24 else bytes((0x78, size))) + kind.encode()


@dataclass(frozen=True, slots=True)
class Reader:
    """One façade: its cursor's name, the lanes it reads, the kinds of records it tells (none: all)."""

    cursor: str
    lanes: frozenset[Lane]
    kinds: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LaneReaders:
    """Who reads one lane.

    `names`: cursors that stand in the cloud's place; none where there is a cloud. `facades`: cursors of all façades
    that read this lane; None: it is not known which there are. `whole`: one of `names` is told every record.
    `marks`: for each of `names`, what the records begin with that it is told; nothing: it is told every one.
    """

    names: tuple[str, ...] = ()
    facades: frozenset[str] | None = None
    whole: bool = False
    marks: tuple[tuple[bytes, ...], ...] = ()

    def told(self, record: bytes, refused: Collection[str] = ()) -> bool:
        """Tell whether somebody in the cloud's place is told such a record; `refused`: whose broker did not take it."""
        return any(
            not marks or record.startswith(marks)
            for name, marks in zip(self.names, self.marks, strict=True)
            if name not in refused
        )

    def retired(self, names: Iterable[str]) -> tuple[str, ...]:
        """Return those of the cursors `names` whose façades are not in the settings any more: they hold nothing up."""
        if self.facades is None:
            return ()
        return tuple(each for each in names if each.startswith(FACADE_PREFIX) and each not in self.facades)


@dataclass(frozen=True, slots=True)
class Readership:
    """Every façade of the settings, and whether there is a cloud."""

    readers: tuple[Reader, ...]
    cloud: bool

    def of(self, lane: Lane) -> LaneReaders:
        """Return who reads `lane`."""
        here = [each for each in self.readers if lane in each.lanes]
        facades = frozenset(each.cursor for each in here)
        if self.cloud:
            return LaneReaders(facades=facades)
        return LaneReaders(
            tuple(each.cursor for each in here),
            facades,
            any(not each.kinds for each in here),
            tuple(tuple(map(kind_mark, each.kinds)) for each in here),
        )


NOBODY_KNOWN: Final = LaneReaders()
"""Whoever has a cursor holds up what is let go of, and only the cloud's mark lets anything go."""
