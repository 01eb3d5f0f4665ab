"""What a room's heating used, and what it would have used had nobody ever set it back: with every number of the sum.

The stated baseline is the room held at the policy's comfort, day and night, under the same outdoor temperatures. Heat
leaves a room in proportion to the difference to outdoors, so the share saved is 1 - degree hours lived / those of the
baseline; a meter turns it into kilowatt-hours. Where outdoors or the room is not known, time counts for neither. Pure.
"""

from dataclasses import dataclass, field, replace
from typing import Any, Final

MONTHS_MOST: Final = 13
METER_STEP_MOST_KWH: Final = 100.0  # more between two words of one room's meter is a meter that was exchanged
ARITHMETIC: Final = "saved_share = 1 - lived / baseline; saved_kwh = metered_kwh * (baseline / lived - 1)"
BASELINE: Final = "held at comfort_c day and night under the same outdoor temperatures"


@dataclass(frozen=True, slots=True)
class Month:
    """One month of one room. Degree hours in K.h."""

    hours: float = 0.0
    unknown_hours: float = 0.0
    lived_kh: float = 0.0
    baseline_kh: float = 0.0
    metered_kwh: float = 0.0


@dataclass(frozen=True, slots=True)
class RoomEnergy:
    """Months by `YYYY-MM`, and where each meter of the room stood last."""

    months: dict[str, Month] = field(default_factory=dict)
    meters: dict[str, float] = field(default_factory=dict)
    resets: int = 0

    def passed(
        self, month: str, hours: float, *, room_c: float | None, outdoor_c: float | None, baseline_c: float
    ) -> "RoomEnergy":
        """Take that time has passed.

        Args:
            month: `YYYY-MM`, the property's own.
            hours: How long.
            room_c: The room's temperature; None: not known now.
            outdoor_c: Outdoors; None: not known now.
            baseline_c: What the room would have been held at.
        """
        before = self.months.get(month, Month())
        if room_c is None or outdoor_c is None:
            return self._with(month, replace(before, unknown_hours=before.unknown_hours + hours))
        return self._with(
            month,
            replace(
                before,
                hours=before.hours + hours,
                lived_kh=before.lived_kh + max(0.0, room_c - outdoor_c) * hours,
                baseline_kh=before.baseline_kh + max(0.0, baseline_c - outdoor_c) * hours,
            ),
        )

    def metered(self, month: str, meter: str, kwh: float) -> "RoomEnergy":
        """Take where a meter stands. One that stands lower, or leaps, was exchanged or reset: it counts from there."""
        before = self.meters.get(meter)
        meters = {**self.meters, meter: kwh}
        if before is None:
            return replace(self, meters=meters)
        used = kwh - before
        if not 0 <= used <= METER_STEP_MOST_KWH:
            return replace(self, meters=meters, resets=self.resets + 1)
        known = self.months.get(month, Month())
        return replace(self._with(month, replace(known, metered_kwh=known.metered_kwh + used)), meters=meters)

    def told(self) -> list[dict[str, Any]]:
        """Return each month with every number of the sum; null where nothing can be said."""
        return [_sum(name, month) for name, month in sorted(self.months.items())]

    def _with(self, name: str, month: Month) -> "RoomEnergy":
        months = dict(sorted({**self.months, name: month}.items())[-MONTHS_MOST:])
        return replace(self, months=months)


def _sum(name: str, month: Month) -> dict[str, Any]:
    share = None if month.baseline_kh <= 0 else 1 - month.lived_kh / month.baseline_kh
    saved_kwh = None
    if share is not None and month.metered_kwh > 0 and month.lived_kh > 0:
        saved_kwh = month.metered_kwh * (month.baseline_kh / month.lived_kh - 1)
    return {
        "month": name,
        "hours": round(month.hours, 2),
        "unknown_hours": round(month.unknown_hours, 2),
        "lived_degree_hours": round(month.lived_kh, 2),
        "baseline_degree_hours": round(month.baseline_kh, 2),
        "saved_share": None if share is None else round(share, 4),
        "metered_kwh": round(month.metered_kwh, 3),
        "saved_kwh": None if saved_kwh is None else round(saved_kwh, 3),
        "arithmetic": ARITHMETIC,
    }
