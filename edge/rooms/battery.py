"""How many days a battery has left, with a confidence, from what it said of itself over days.

A gauge lies in known ways: it says 200 %, it stays at 100 % for a year, it falls from 80 to 0 in a day. So the
forecast is a line through the day's lowest words (Theil and Sen: the median of all slopes; some lies move little), and
its confidence is how well the words lie on it. Pure: percentages and unix ms in.
"""

from dataclasses import dataclass, replace
from itertools import combinations
from statistics import median
from typing import Final

DAY_MS: Final = 24 * 3_600_000
DAYS_MOST: Final = 60
DAYS_LEAST: Final = 7
EMPTY_PERCENT: Final = 5.0  # coin cells stop radios before they say nought
RISE_IS_NEW_PERCENT: Final = 20.0
FLAT_PERCENT_A_DAY: Final = 0.02
DAYS_TOLD_MOST: Final = 3_650


@dataclass(frozen=True, slots=True)
class Battery:
    """The lowest word of each day, oldest first, and what was refused. `days` are whole days since 1970."""

    days: tuple[tuple[int, float], ...] = ()
    lies: int = 0

    def said(self, percent: float, *, wall_ms: int) -> "Battery":
        """Take what the gauge says; a word outside 0..100 is counted and not believed."""
        if not 0 <= percent <= 100:
            return replace(self, lies=self.lies + 1)
        day = wall_ms // DAY_MS
        days = self.days
        if days and percent - days[-1][1] >= RISE_IS_NEW_PERCENT:
            days = ()  # a new battery
        if days and day <= days[-1][0]:
            return replace(self, days=(*days[:-1], (days[-1][0], min(days[-1][1], percent))))
        return replace(self, days=(*days, (day, percent))[-DAYS_MOST:])


@dataclass(frozen=True, slots=True)
class Forecast:
    """`days_left` None: it cannot be told. `confidence` 0 to 1; `why` where there is no number."""

    days_left: int | None
    confidence: float
    why: str | None = None


def forecast(battery: Battery) -> Forecast:
    """Return how many days the battery lasts from its last word."""
    days = battery.days
    if not days:
        return Forecast(
            None, 0.0, "it has said nothing that can be believed" if battery.lies else "it has said nothing"
        )
    last_percent = days[-1][1]
    if last_percent <= EMPTY_PERCENT:
        return Forecast(0, 0.9)
    if len(days) < DAYS_LEAST:
        return Forecast(None, 0.0, f"{len(days)} days of words, {DAYS_LEAST} are needed")
    slopes = [(b[1] - a[1]) / (b[0] - a[0]) for a, b in combinations(days, 2)]
    slope = median(slopes)
    if slope > -FLAT_PERCENT_A_DAY:
        return Forecast(None, 0.0, "the gauge does not fall")
    level = median(percent - slope * day for day, percent in days)
    off = median(abs(percent - (level + slope * day)) for day, percent in days)
    fallen = -slope * (days[-1][0] - days[0][0])
    here = min(last_percent, level + slope * days[-1][0])  # the newest word counts where it is the worse one
    left = max(0.0, (here - EMPTY_PERCENT) / -slope)
    confidence = max(0.0, min(0.95, 1 - 2 * off / max(fallen, 1.0))) * min(1.0, len(days) / 21)
    return Forecast(int(min(left, DAYS_TOLD_MOST)), round(confidence, 2))
