"""What the cells of a lock mean for the house: plan new ones, change them now, send nobody new to that door.

The percentages are the locks' own (protocols/door/hardware.py; requirement P16): a forecast (battery.py) needs a week
of words, and a lock in the cold can fall from 40 to 10 in a day. Pure.
"""

from typing import Final

from edge.rooms.alerts import AlertKind
from edge.rooms.battery import Battery
from protocols.door.hardware import BATTERY_EMPTY_PERCENT, BATTERY_LOW_PERCENT, BATTERY_PLAN_PERCENT

_LEVELS: Final = (
    (BATTERY_EMPTY_PERCENT, AlertKind.LOCK_BATTERY_EMPTY, "nobody new is checked in here until its cells are changed"),
    (BATTERY_LOW_PERCENT, AlertKind.LOCK_BATTERY_LOW, "change its cells now"),
    (BATTERY_PLAN_PERCENT, AlertKind.LOCK_BATTERY_PLAN, "plan new cells"),
)
LOCK_BATTERY: Final = frozenset(kind for _, kind, _ in _LEVELS)


def lock_level(battery: Battery) -> tuple[AlertKind, str, float] | None:
    """Return the gravest level that the day's lowest word reaches, what to do, and that word in percent."""
    if not battery.days:
        return None
    percent = battery.days[-1][1]
    for at_most, kind, what in _LEVELS:
        if percent <= at_most:
            return kind, what, percent
    return None
