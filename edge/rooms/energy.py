"""What a room's heating used, and what it would have used had nobody ever set it back: with every number of the sum.

The stated baseline is the room held at the policy's comfort, day and night, under the same outdoor temperatures. Heat
leaves a room in proportion to the difference to outdoors, so the share saved is 1 - degree hours lived / those of the
baseline; a meter turns it into kilowatt-hours. Where outdoors or the room is not known, time counts for neither. Pure.
"""

from collections.abc import Collection
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
    """Months by `YYYY-MM`, and where each meter of the room stood last; `fallen`: where one stood before it fell."""

    months: dict[str, Month] = field(default_factory=dict)
    meters: dict[str, float] = field(default_factory=dict)
    resets: int = 0
    fallen: dict[str, float] = field(default_factory=dict)

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
        """Take where a meter stands. One that stands lower, or leaps, was exchanged or reset: it counts from there.

        One that falls for a word and is back (plugs say nought while they start) has counted nothing on its way up.
        """
        before = self.meters.get(meter)
        meters = {**self.meters, meter: kwh}
        if before is None:
            return replace(self, meters=meters)
        peak = self.fallen.get(meter)
        if kwh < before:
            fallen = {**self.fallen, meter: before if peak is None else max(before, peak)}
            return replace(self, meters=meters, fallen=fallen, resets=self.resets + 1)
        fallen = self.fallen
        if peak is not None and kwh >= peak:
            before, fallen = peak, {name: each for name, each in fallen.items() if name != meter}
        used = kwh - before
        if used > METER_STEP_MOST_KWH:
            return replace(self, meters=meters, fallen=fallen, resets=self.resets + 1)
        known = self.months.get(month, Month())
        counted = self._with(month, replace(known, metered_kwh=known.metered_kwh + used))
        return replace(counted, meters=meters, fallen=fallen)

    def kept_of(self, meters: Collection[str]) -> "RoomEnergy":
        """Return it without where other meters stood: each of them counts anew should it come to the room again."""
        if self.meters.keys() <= set(meters):
            return self
        return replace(
            self,
            meters={name: kwh for name, kwh in self.meters.items() if name in meters},
            fallen={name: kwh for name, kwh in self.fallen.items() if name in meters},
        )

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
