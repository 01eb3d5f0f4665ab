"""How fast a room warms up, learned from its own thermometer, and what follows from it.

Two answers come of it: how long before an arrival to begin, and how far an absent guest's room may cool and still be
warm soon enough (iot.md C 19). Pure: temperatures and monotonic time in. Until three warm-ups were seen there is no
answer of its own, and the policy's holds.
"""

import math
from dataclasses import dataclass, replace
from typing import Final

HOUR_MS: Final = 3_600_000
SAMPLES_LEAST: Final = 3
RISE_LEAST_K: Final = 0.8  # a thermometer of tenths says nothing of less
SPAN_LEAST_MS: Final = 10 * 60_000
SPAN_MOST_MS: Final = 6 * HOUR_MS
BELOW_LEAST_K: Final = 0.5  # heating is under way only while the room is this far below its setpoint
NEW_WEIGHT: Final = 0.3
RATE_LEAST_K_H, RATE_MOST_K_H = 0.1, 12.0  # what a radiator or a fan-coil can do
RESERVE: Final = 1.25  # for a colder day than those it was learned on
LEAD_LEAST_MS, LEAD_MOST_MS = 15 * 60_000, 12 * HOUR_MS
STEP_C: Final = 0.5


@dataclass(frozen=True, slots=True)
class Recovery:
    """What one room has shown. `rate_k_h` kelvin an hour; `began_*`: the warm-up under way, if there is one."""

    rate_k_h: float | None = None
    samples: int = 0
    began_ms: int | None = None
    began_c: float = 0.0

    @property
    def known(self) -> bool:
        """Whether enough was seen to answer."""
        return self.rate_k_h is not None and self.samples >= SAMPLES_LEAST

    def felt(self, celsius: float, *, setpoint_c: float | None, disturbed: bool, now_ms: int) -> "Recovery":
        """Take a temperature.

        Args:
            celsius: The room's.
            setpoint_c: What the room is heated to, as its controller says; None: not known.
            disturbed: A window is open: what the room does now is no measure of its heating.
            now_ms: Monotonic ms.
        """
        heating = setpoint_c is not None and setpoint_c - celsius >= BELOW_LEAST_K and not disturbed
        if self.began_ms is None:
            return replace(self, began_ms=now_ms, began_c=celsius) if heating else self
        risen_k, span_ms = celsius - self.began_c, now_ms - self.began_ms
        if disturbed or setpoint_c is None or span_ms > SPAN_MOST_MS or risen_k < -BELOW_LEAST_K:
            return replace(self, began_ms=None)
        if risen_k >= RISE_LEAST_K and span_ms >= SPAN_LEAST_MS and (not heating or risen_k >= 2 * RISE_LEAST_K):
            rate = min(max(risen_k * HOUR_MS / span_ms, RATE_LEAST_K_H), RATE_MOST_K_H)
            known = self.rate_k_h
            learned = rate if known is None else known + NEW_WEIGHT * (rate - known)
            return Recovery(learned, self.samples + 1)
        return self if heating else replace(self, began_ms=None)

    def restarted(self) -> "Recovery":
        """Return what of it outlives the process: monotonic time does not."""
        return replace(self, began_ms=None)

    def lead_ms(self, *, from_c: float | None, to_c: float, otherwise_ms: int) -> int:
        """Return how long before an arrival to begin, ms; `otherwise_ms` where the room has not shown it yet."""
        rate = self.rate_k_h
        if rate is None or not self.known or from_c is None:
            return otherwise_ms
        needed_ms = max(0.0, to_c - from_c) / rate * HOUR_MS * RESERVE
        return int(min(max(needed_ms, LEAD_LEAST_MS), LEAD_MOST_MS))

    def away_c(self, *, comfort_c: float, least_c: float, within_ms: int) -> float:
        """Return how far to let an absent guest's room cool: no deeper than `least_c`, and warm again `within_ms`."""
        rate = self.rate_k_h
        if rate is None or not self.known:
            return min(least_c, comfort_c)
        reachable_c = comfort_c - rate * within_ms / HOUR_MS / RESERVE
        stepped_c = math.ceil(reachable_c / STEP_C - 1e-9) * STEP_C
        return min(max(least_c, stepped_c), comfort_c)
