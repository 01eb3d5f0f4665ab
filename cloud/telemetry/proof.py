"""What a stream's positions add up to: gaps, doubles, disorder. Pure; memory bounded however long the stream is.

Fed with runs (positions that follow one another and were stored in that order) day by day, told of declared holes, it
says which positions nobody accounts for. A gap stays open for a while, because midnight may have parted what belongs
together: a later day's run may fill it, in order or out of it.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

SHOWN_MOST: Final = 1_000
"""Ranges of each kind that are named; the rest is counted."""
OPEN_MOST: Final = 10_000
"""Gaps that a later day may still fill; beyond, the oldest are taken for final."""


class Run(NamedTuple):
    """Positions `first` to `last`, each stored once and after the one before; ids are the order of storing."""

    first: int
    last: int
    first_id: int
    last_id: int


class Range(NamedTuple):
    """Positions, both ends included."""

    first: int
    last: int


@dataclass(slots=True)
class Found:
    """Ranges of one kind: the first SHOWN_MOST of them, and how many positions and ranges there are in all."""

    shown: list[Range] = field(default_factory=list)
    ranges: int = 0
    positions: int = 0

    def add(self, first: int, last: int) -> None:
        """Add a range."""
        self.ranges += 1
        self.positions += last - first + 1
        if len(self.shown) < SHOWN_MOST:
            self.shown.append(Range(first, last))


class _Gap(NamedTuple):
    first: int
    last: int
    before_id: int
    """Of the record before; 0: none."""
    after_id: int
    """Of the record behind."""


class StreamProof:
    """One stream up to its mark `hi`."""

    def __init__(self, hi: int) -> None:
        self.hi = hi
        self.records = 0
        self.first = 0
        self.gaps, self.doubled, self.disordered, self.beyond = Found(), Found(), Found(), Found()
        self._top = 0
        self._top_id = 0
        self._open: list[_Gap] = []  # by position

    def feed(self, runs: Iterable[Run]) -> Range | None:
        """Take the runs of one day, by (first, first id).

        Returns:
            The span of the gaps that opened, whose declared holes are to be told with `declare`; None: none opened.
        """
        opened: Range | None = None
        for run in runs:
            self.records += run.last - run.first + 1
            if self.first == 0 or run.first < self.first:
                self.first = run.first
            if run.last > self.hi:
                self.beyond.add(max(run.first, self.hi + 1), run.last)
            if run.first <= self._top:
                self._fill(run)
            if run.last <= self._top:
                continue
            begins = max(run.first, self._top + 1)
            if begins > self._top + 1:
                self._open.append(_Gap(self._top + 1, begins - 1, self._top_id, run.first_id))
                opened = Range(self._top + 1 if opened is None else opened.first, begins - 1)
            if run.first_id < self._top_id:
                self.disordered.add(begins, run.last)
            self._top, self._top_id = run.last, run.last_id
        return opened

    def declare(self, holes: Iterable[Range]) -> None:
        """Take declared holes, by first position: what they cover is no gap. Beyond OPEN_MOST the oldest are final."""
        left: list[_Gap] = []
        waiting = iter(holes)
        hole = next(waiting, None)
        for gap in self._open:
            at = gap.first
            while hole is not None and hole.last < at:
                hole = next(waiting, None)
            while hole is not None and hole.first <= gap.last:
                if hole.first > at:
                    left.append(gap._replace(first=at, last=hole.first - 1))
                at = hole.last + 1
                if at > gap.last:
                    break
                hole = next(waiting, None)
            if at <= gap.last:
                left.append(gap._replace(first=at))
        final = max(0, len(left) - OPEN_MOST)
        for gap in left[:final]:
            self.gaps.add(gap.first, gap.last)
        self._open = left[final:]

    def end(self) -> Range | None:
        """Say that there are no more runs; return the span up to the mark that no record holds, or None."""
        if self._top >= self.hi:
            return None
        self._open.append(_Gap(self._top + 1, self.hi, self._top_id, 2**63))
        return Range(self._top + 1, self.hi)

    def close(self) -> None:
        """Take every gap that is still open for final."""
        for gap in self._open:
            self.gaps.add(gap.first, gap.last)
        self._open = []

    def _fill(self, run: Run) -> None:
        """Take the part of a run at positions seen before: it fills gaps, or doubles what is there."""
        last = min(run.last, self._top)
        at = run.first
        left: list[_Gap] = []
        for index, gap in enumerate(self._open):
            if gap.last < at or gap.first > last:
                left.append(gap)
                if gap.first > last:
                    left.extend(self._open[index + 1 :])
                    break
                continue
            if gap.first > at:
                self.doubled.add(at, gap.first - 1)
            fills = Range(max(at, gap.first), min(last, gap.last))
            if run.first_id < gap.before_id or run.last_id > gap.after_id:
                self.disordered.add(*fills)
            if gap.first < fills.first:
                left.append(gap._replace(last=fills.first - 1, after_id=run.first_id))
            if fills.last < gap.last:
                left.append(gap._replace(first=fills.last + 1, before_id=run.last_id))
            at = fills.last + 1
        if at <= last:
            self.doubled.add(at, last)
        self._open = left
