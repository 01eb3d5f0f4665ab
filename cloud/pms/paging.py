"""Reads a list by number or offset that moves while it is read, so that no row which stood in it all the time is lost.

Rows come and go while we turn pages, and what stood behind them moves over the page's edge. So each page overlaps the
one before it by some rows: where one of those is found again, what follows it is unread and nothing lies between;
where none is, we step back a page. Whatever changed its place behind us shows on the first page, which is looked at
again in the end, or in a count higher than what we saw: then the list is read once more, until a reading brings
nothing new. Pure: pages and what was told of them in, the next window and what is new out.

A partner who knows page numbers alone gives overlapping pages where their size varies a little. One who ignores the
size that is asked for cannot be overlapped: then the first page and the count have to do. One who knows no pages, and
counts nothing either, gives the same short page whatever is asked for: that is the list.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from protocols.errors import PeerProtocolError

OVERLAP: Final = 8
READINGS_MOST: Final = 4
WINDOWS_MOST: Final = 4_000
SAME_MOST: Final = 4
"""How often the same page may come in a row, at different places."""
STALLED_MOST: Final = 40
"""Pages in a row without a row that is new."""


@dataclass(frozen=True, slots=True)
class Window:
    """`size` rows of the list from the row `start` (0 is the first) on."""

    start: int
    size: int

    @property
    def number(self) -> int:
        """Of the page, from 1, where all pages are of this size."""
        return self.start // self.size + 1


class MovingList:
    """One list from its first page to its end.

    Args:
        most: rows that a page may have.
        by_number: windows begin at a multiple of their size.
    """

    def __init__(self, label: str, most: int, *, by_number: bool) -> None:
        self._label, self._most, self._by_number = label, most, by_number
        self._asked = most
        self._fixed = False
        self._end = 0
        """How many rows lie before the first unread one, as the list was when it was last seen."""
        self._seen: set[str] = set()
        self._here: set[str] = set()
        """Seen in this reading."""
        self._new = 0
        """Of them, never seen before."""
        self._last: list[str] = []
        self._last_start, self._same, self._stalled = 0, 0, 0
        self._windows, self._reading, self._given = 0, 1, 0
        self._looking_again = False
        self._first: tuple[str, ...] = ()
        self.done = False

    def window(self) -> Window:
        """Return what to ask for next."""
        if self._end == 0 or self._looking_again:
            return Window(0, self._most)
        overlap = 0 if self._fixed else min(OVERLAP, self._most // 2)
        if not self._by_number:
            return Window(self._end - min(overlap, self._given // 2), self._most)
        sizes = range(self._most, self._most // 2, -1) if overlap else ()
        fit = [Window((self._end - 1) // size * size, size) for size in sizes]
        fit = [each for each in fit if each.start + each.size > self._end]
        wide = [each for each in fit if self._end - each.start >= overlap // 2]
        if fit:
            return max(wide or fit, key=lambda each: each.start + each.size)
        return Window(self._end, self._most) if self._end % self._most == 0 else Window(self._end, 1)

    def take(
        self, window: Window, keys: Sequence[str], *, total: int | None, told_end: bool | None = None
    ) -> list[int]:
        """Take a page; return which of its rows are new, by index.

        Args:
            window: What was asked for.
            keys: What tells its rows apart.
            total: How many rows the list has, where they say so.
            told_end: Whether they say that nothing follows; None: they do not say.

        Raises:
            PeerProtocolError: it goes in circles or does not end.
        """
        self._windows += 1
        self._given = max(self._given, len(keys))
        if self._windows > WINDOWS_MOST:
            raise PeerProtocolError(f"{self._label}: the list does not end after {WINDOWS_MOST} pages")
        new = [index for index, key in enumerate(keys) if key not in self._seen]
        meant = 0 < window.start < self._end  # to overlap what was read
        anchored = not meant or not keys or any(key in self._here for key in keys)
        if self._by_number and len(keys) > window.size and not self._looking_again:
            self._fixed, self._most = True, len(keys)  # they give what they like
            window = Window((window.number - 1) * len(keys), len(keys))
        ended = told_end
        if ended is None:
            known = not new and len(keys) < window.size if window.start else not keys
            ended = known if total is None else window.start + len(keys) >= total
            if total is None and window.start > 0 and tuple(keys) == self._first and len(keys) < self._asked:
                ended = True
        if self._by_number and window.start == 0 and not ended and 0 < len(keys) < self._most:
            self._most = len(keys)  # they give less than they may
        self._seen.update(keys)
        if self._looking_again:
            self._looked_again(new, total)
            return new
        self._here.update(keys)
        self._new += len(new)
        if window.start == 0:
            self._first = tuple(keys)
        self._circles(window, keys, new)
        if not anchored and not self._fixed and self._most > 1:
            self._end = max(0, window.start - window.size)  # rows went away before it, more than overlap
        elif ended or not keys:
            self._ended(total)
        else:
            self._end = max(window.start + len(keys), 0 if new else self._end + 1)
        return new

    def _circles(self, window: Window, keys: Sequence[str], new: Sequence[int]) -> None:
        """See whether the list goes on for ever: the same page whatever is asked for, or nothing new for long."""
        moved = window.start != self._last_start
        self._same = self._same + 1 if keys and list(keys) == self._last and moved else 0
        self._last, self._last_start = list(keys), window.start
        self._stalled = 0 if new or self._reading > 1 else self._stalled + 1
        if self._same > SAME_MOST or self._stalled > STALLED_MOST:
            raise PeerProtocolError(f"{self._label}: page {window.number} came twice, the list goes in circles")

    def _ended(self, total: int | None) -> None:
        if len(self._first) >= len(self._here) and self._reading == 1:
            self.done = True  # it was one page
        elif self._reading > 1 and (not self._new or self._reading >= READINGS_MOST):
            self.done = True
        elif total is not None and len(self._seen) < total:
            self._again()
        else:
            self._looking_again = True

    def _looked_again(self, new: Sequence[int], total: int | None) -> None:
        self._looking_again = False
        if (new or (total is not None and len(self._seen) < total)) and self._reading < READINGS_MOST:
            self._again()
        else:
            self.done = True

    def _again(self) -> None:
        self._reading += 1
        self._end, self._new = 0, 0
        self._here, self._last, self._same = set(), [], 0
