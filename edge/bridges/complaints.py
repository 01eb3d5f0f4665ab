"""Complaints: what a bus could make no sense of, counted every time and logged with place and value, but not endlessly.

A device that sends nonsense sends it again and again: the counter tells how often, the log what and where, once in
`AGAIN_MS` for each place. No more than `PLACES_MAX` places are remembered, and no more than `LINES_MAX` lines a bus are
written in `AGAIN_MS`; lines beyond that are counted as `complaints_unlogged`.
"""

from collections import Counter, OrderedDict
from typing import Final

from edge.bridges.evidence import evidence
from kit.clock import Clock
from kit.logs import logger
from protocols.device_model.identity import BusId
from protocols.device_model.reading import Reading

AGAIN_MS: Final = 3_600_000
PLACES_MAX: Final = 500
LINES_MAX: Final = 200


class Complaints:
    """The complaints of one bus. `counts` is the supervisor's."""

    def __init__(self, bus: BusId, counts: Counter[str], clock: Clock) -> None:
        self._bus, self._counts, self._clock = bus, counts, clock
        self._log = logger("edge.bridges")
        self._told_ms: OrderedDict[tuple[str, str, str], int] = OrderedDict()
        self._lines, self._lines_since_ms = 0, clock.now_ms()

    def refused(self, what: str, place: str, problem: object, *, times: int = 1) -> None:
        """Count something refused under `what`, and log it unless that was done lately.

        Args:
            what: The counter: a word of the supervisor's own.
            place: Topic, unit or node.
            problem: What is wrong with it, with the offending value.
            times: How often.
        """
        self._counts[what] += times
        if self._worth(what, place[:80], ""):
            self._log.warning(
                "bus_input_refused", bus=self._bus, what=what, **evidence({"place": place, "problem": str(problem)})
            )

    def bad(self, place: str, key: str, reading: Reading) -> None:
        """Log a value that is none, unless that was done lately; whoever took it counts it.

        Args:
            place: Topic, or device and register.
            key: Which of the things said there; empty where it is the whole.
            reading: The bad reading; its reason holds the value as it came, clipped.
        """
        reason = str(reading.reason or "bad")
        word = reason.partition(":")[0]
        if not self._worth(word, place[:80], f"{reading.device}/{key[:80]}"):
            return
        facts = {"place": place, "key": key, "device": reading.device, "problem": reason}
        attribute = f"{reading.capability.value}.{reading.attribute}"
        self._log.warning("bus_input_refused", bus=self._bus, what=word, attribute=attribute, **evidence(facts))

    def _worth(self, what: str, place: str, key: str) -> bool:
        now_ms = self._clock.now_ms()
        whole = (what, place, key)
        told_ms = self._told_ms.get(whole)
        if told_ms is not None and now_ms - told_ms < AGAIN_MS:
            return False
        if now_ms - self._lines_since_ms >= AGAIN_MS:
            self._lines, self._lines_since_ms = 0, now_ms
        if self._lines >= LINES_MAX:
            self._counts["complaints_unlogged"] += 1
            return False
        self._lines += 1
        self._told_ms[whole] = now_ms
        self._told_ms.move_to_end(whole)
        if len(self._told_ms) > PLACES_MAX:
            self._told_ms.popitem(last=False)
        return True
