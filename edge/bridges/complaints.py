"""Complaints: what a bus could make no sense of, counted every time and logged with place and value, but not endlessly.

A device that sends nonsense sends it again and again: the counter tells how often, the log what and where, once in
`AGAIN_MS` for each place, and no more than `PLACES_MAX` places are remembered.
"""

from collections import Counter, OrderedDict
from typing import Final

from edge.bridges.evidence import evidence
from kit.clock import Clock
from kit.logs import logger
from protocols.device_model.identity import BusId

AGAIN_MS: Final = 3_600_000
PLACES_MAX: Final = 200


class Complaints:
    """The complaints of one bus. `counts` is the supervisor's."""

    def __init__(self, bus: BusId, counts: Counter[str], clock: Clock) -> None:
        self._bus, self._counts, self._clock = bus, counts, clock
        self._log = logger("edge.bridges")
        self._told_ms: OrderedDict[tuple[str, str], int] = OrderedDict()

    def refused(self, what: str, place: str, problem: object, *, times: int = 1) -> None:
        """Count something refused under `what`, and log it unless that was done lately.

        Args:
            what: The counter: a word of the supervisor's own.
            place: Topic, unit or node.
            problem: What is wrong with it, with the offending value.
            times: How often.
        """
        self._counts[what] += times
        now_ms = self._clock.now_ms()
        key = (what, place[:80])
        told_ms = self._told_ms.get(key)
        if told_ms is not None and now_ms - told_ms < AGAIN_MS:
            return
        self._told_ms[key] = now_ms
        self._told_ms.move_to_end(key)
        if len(self._told_ms) > PLACES_MAX:
            self._told_ms.popitem(last=False)
        self._log.warning(
            "bus_input_refused", bus=self._bus, what=what, **evidence({"place": place, "problem": str(problem)})
        )
