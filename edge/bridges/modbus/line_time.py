"""What each unit takes of the time of its line, and how much less often one that takes too much of it is asked.

Source of truth: protocols/modbus/SPEC.md section 5. A serial line carries one answer at a time: what a unit takes is
the time of its answer. Of a gateway nobody knows what is behind it: what a unit takes there is the time for which it
and somebody else were awaited and nobody answered. Behind one that asks its units side by side this is next to nothing,
however late a unit answers. Pure: monotonic times come in.
"""

from dataclasses import dataclass
from math import inf
from typing import Final

BUSY: Final = 0.6
"""A line of whose time the polls take more than this is busy: who waits for a busy line waits for long."""
USUAL_TIMES: Final = 2
"""On a busy line no unit is asked less often because of less than so many times what is usual on it."""
JUDGED_FROM: Final = 8
"""A unit is judged from so many questions on."""
NEWEST: Final = 1 / 8
"""The weight of the newest answer in what an answer is taken to cost."""
LEAP_TIMES: Final = 4
LEAP_MS: Final = 20
"""No answer counts for more than so many times those before it, and so much: one that is lost is an accident."""
RECKONED_EVERY_MS: Final = 1_000
STRETCH_MOST: Final = 60.0


@dataclass(slots=True)
class _Taken:
    answer_ms: float
    questions_a_ms: float
    questions: int = 1

    @property
    def share(self) -> float:
        """Of the line's time, at the pace of its descriptor."""
        return self.answer_ms * self.questions_a_ms


class LineTime:
    """The time of one bus. `alone`: it carries one question at a time, so that a pause after it is everybody's."""

    def __init__(self, *, alone: bool) -> None:
        self._alone = alone
        self._units: dict[int, _Taken] = {}
        self._open: dict[int, tuple[int, int]] = {}
        """Who is asked now, since when, and how long its answer is expected to keep the line, ms."""
        self._answered_ms = 0
        self._reckoned_ms: int | None = None
        self._most = inf

    def asks(self, unit: int, expected_ms: int, *, now_ms: int) -> int:
        """Take note that a unit is asked, and how long its answer may take by what it has shown.

        Return for how long those asked before it may keep the line from it, ms.
        """
        before_ms = sum(each for _, each in self._open.values())
        self._open[unit] = now_ms, expected_ms
        return before_ms

    def took(self, unit: int, questions_a_ms: float | None, *, now_ms: int, pause_ms: int = 0) -> None:
        """Take note that a unit that was asked answered, or did not and was given up.

        Args:
            unit: its number.
            questions_a_ms: how many its descriptor has it asked a millisecond; None: it is not asked at that pace now.
            now_ms: when it was over.
            pause_ms: for how long it is to be left alone after it.
        """
        asked_ms, _ = self._open.pop(unit, (now_ms, 0))
        since_ms, self._answered_ms = max(asked_ms, self._answered_ms), now_ms
        if questions_a_ms is None or not (self._alone or self._open):
            return  # nobody waited: nothing is learnt of whether somebody would have had to
        if self._alone:
            now_ms += pause_ms
        else:
            since_ms = max(since_ms, min(each for each, _ in self._open.values()))
        took_ms = now_ms - since_ms
        taken = self._units.get(unit)
        if taken is None:
            self._units[unit] = _Taken(took_ms, questions_a_ms)
            return
        taken.answer_ms += NEWEST * (min(took_ms, LEAP_TIMES * taken.answer_ms + LEAP_MS) - taken.answer_ms)
        taken.questions_a_ms = questions_a_ms
        taken.questions += 1

    def forget(self, unit: int) -> None:
        """Forget a unit that is probed now and then, and no longer polled."""
        self._units.pop(unit, None)

    def stretch(self, unit: int, *, now_ms: int) -> float:
        """Return how many times longer than its descriptor says a unit is to be left in peace; 1 or more."""
        if self._reckoned_ms is None or now_ms - self._reckoned_ms >= RECKONED_EVERY_MS:
            self._reckoned_ms, self._most = now_ms, self._share_most()
        taken = self._units.get(unit)
        if taken is None or taken.questions < JUDGED_FROM or taken.share <= self._most:
            return 1.0
        return min(taken.share / self._most, STRETCH_MOST)

    def figures(self, unit: int, stretch: float) -> dict[str, int | float]:
        """Return what an answer takes of the line, what part of it the unit wants, and `stretch`, for people."""
        taken = self._units.get(unit) or _Taken(0.0, 0.0)
        answer_ms, share = round(taken.answer_ms), round(taken.share, 3)
        return {"answer_ms": answer_ms, "line_share": share, "asked_times_less": round(stretch, 1)}

    def _share_most(self) -> float:
        """Return what one unit may take of the line's time.

        While the line is not busy, all that it wants. Else who wants little has it, and what is left of `BUSY` is
        divided equally among the others.
        """
        wanted = sorted(each.share for each in self._units.values() if each.questions >= JUDGED_FROM)
        if len(wanted) < 2 or sum(wanted) <= BUSY:
            return inf
        left, fair = BUSY, BUSY
        for place, share in enumerate(wanted):
            fair = left / (len(wanted) - place)
            if share > fair:
                break
            left -= share
        return max(fair, USUAL_TIMES * wanted[(len(wanted) - 1) // 2])
