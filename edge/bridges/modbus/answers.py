"""What a unit's answers to its polls mean: readings, no news, a refusal, a doubt who it is."""

from collections.abc import Callable
from typing import Final

from edge.bridges.modbus.unit import REFUSED_EVERY, DueBlock, Unit
from edge.bridges.reporter import Reporter
from protocols.descriptors.codec import Reason, bad, reading, readings_of_registers
from protocols.descriptors.descriptor import Point
from protocols.modbus.frames import ExceptionCode, Refused, Reply, Words

BUSY_PAUSE_MS: Final = 150
NOT_NOW: Final = frozenset({ExceptionCode.ACKNOWLEDGE, ExceptionCode.DEVICE_BUSY})
"""Exceptions by which a unit says that it will answer later."""
_NOT_SO: Final = frozenset({ExceptionCode.ILLEGAL_DATA_ADDRESS, ExceptionCode.ILLEGAL_DATA_VALUE})
"""Exceptions by which a unit says that it has some of the registers not, or gives fewer at once."""
_NEVER: Final = (ExceptionCode.ILLEGAL_DATA_ADDRESS, ExceptionCode.ILLEGAL_FUNCTION)


class Answers:
    """Takes the answers of one bus.

    Args:
        reporter: the bus's.
        doubted: told when a unit that cannot be asked who it is has become doubted, or is no longer, with how it
            refused last.
    """

    def __init__(self, reporter: Reporter, doubted: Callable[[Unit, str | None], None]) -> None:
        self._reporter, self._doubted = reporter, doubted

    def take(self, unit: Unit, due: DueBlock, reply: Reply, now_ms: int) -> None:
        """Take the answer to a block's read, whose next turn is set."""
        if isinstance(reply, Words):
            self._words(unit, due, reply.words, now_ms)
        elif not isinstance(reply, Refused):
            return
        elif reply.code in NOT_NOW:
            due.due_ms = now_ms + BUSY_PAUSE_MS
        elif not (reply.code in _NOT_SO and unit.split(due, now_ms)):
            self._refused(unit, due, reply, now_ms)

    def _words(self, unit: Unit, due: DueBlock, words: tuple[int, ...], now_ms: int) -> None:
        known, points = due.words, due.block.points
        heard_ms = now_ms + unit.later_ms(due)
        if words == known:
            points = self._news(unit, due, now_ms=now_ms, heard_ms=heard_ms)
        due.words = words
        if points:
            read = due.block.read
            image = {(read.table, read.start + index): word for index, word in enumerate(words)}
            for each in readings_of_registers(unit.descriptor, unit.device, image, points):
                self._reporter.take(each, now_ms=now_ms, age_ms=now_ms - heard_ms)
        if (
            unit.doubtful
            and (known is None or unit.doubt.lost or unit.doubt.doubted)
            and unit.doubt.answered(due.names)
        ):
            self._doubted(unit, None)
            unit.plan_anew(now_ms)  # what it refused was read apart, and seldom

    def _news(self, unit: Unit, due: DueBlock, *, now_ms: int, heard_ms: int) -> tuple[Point, ...]:
        """Return the points of which it is news that they are as they were. Of the others note that they were heard.

        Most of what a unit holds it has held before; this costs a tenth of what readings do.
        """
        if due.edition != self._reporter.edition:
            due.known = [self._reporter.known(unit.device, point) for point in due.block.points]
            due.edition = self._reporter.edition
        news = []
        for point, known in zip(due.block.points, due.known, strict=True):
            if known is None or now_ms >= known.quiet_until_ms:
                news.append(point)
            else:
                known.again(None, heard_ms)
        return tuple(news)

    def _refused(self, unit: Unit, due: DueBlock, reply: Refused, now_ms: int) -> None:
        due.refused, due.words = reply.code in _NEVER, None
        # What is refused is asked for less often: until then that is what is known of it, and not silence.
        later_ms = (REFUSED_EVERY - 1) * due.every_ms if due.refused else unit.later_ms(due)
        verdict = bad(Reason.DEVICE_EXCEPTION, reply.name)
        for point in due.block.points:
            self._reporter.take(reading(point, unit.device, verdict), now_ms=now_ms, age_ms=-later_ms)
        if unit.doubtful and unit.doubt.refused(due.names, reply.code):
            self._doubted(unit, reply.name)
