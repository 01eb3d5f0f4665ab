"""What somebody should look at: raised once, cleared once, each a record on lane B (kind `alert`).

The caller says what is so now; `AlertBook` says what is new about it and numbers it. The book is stored before the log
hears, and the log takes each number once (`append_once`), so that a kill in between repeats nothing. Pure.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final

MINUTE_MS: Final = 60_000


class AlertKind(StrEnum):
    """What is wrong."""

    FIRE = "fire"
    LEAK = "leak"
    DOOR_PROPPED = "door_propped"
    CONTACT_STUCK = "contact_stuck"
    COMFORT_BREACH = "comfort_breach"
    BATTERY_LOW = "battery_low"
    LOCK_BATTERY_PLAN = "lock_battery_plan"
    LOCK_BATTERY_LOW = "lock_battery_low"
    LOCK_BATTERY_EMPTY = "lock_battery_empty"
    STALE = "stale"
    FROZEN = "frozen"
    ENTERED_WHILE_DND = "entered_while_dnd"
    DEVICE_FAULT = "device_fault"
    KEY_FAR_APART = "key_far_apart"


SINCE_LEAST_MS: Final[Mapping[AlertKind, int]] = {
    AlertKind.FIRE: 0,
    AlertKind.LEAK: 0,
    AlertKind.DOOR_PROPPED: 10 * MINUTE_MS,
    AlertKind.CONTACT_STUCK: 0,
    AlertKind.COMFORT_BREACH: 60 * MINUTE_MS,
    AlertKind.BATTERY_LOW: 0,
    AlertKind.LOCK_BATTERY_PLAN: 0,
    AlertKind.LOCK_BATTERY_LOW: 0,
    AlertKind.LOCK_BATTERY_EMPTY: 0,
    AlertKind.STALE: 10 * MINUTE_MS,
    AlertKind.FROZEN: 0,
    AlertKind.ENTERED_WHILE_DND: 0,
    AlertKind.DEVICE_FAULT: MINUTE_MS,
    AlertKind.KEY_FAR_APART: 0,
}
"""How long it must have been so before it is worth saying."""
GONE_LEAST_MS: Final = 5 * MINUTE_MS
"""How long it must have been over before that is worth saying: what flaps is one alert, not forty."""


@dataclass(frozen=True, slots=True, order=True)
class Subject:
    """What an alert is about; `device` or `room` may be empty, not both, except for fire.

    `aspect` parts what must not be mistaken for one another though both are told alike: an hour too cold and then a
    minute too warm is not an hour of the one or the other.
    """

    kind: AlertKind
    room: str = ""
    device: str = ""
    aspect: str = ""


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert. Times are unix ms; `number` is that of its last record, `told` whether the log has it."""

    subject: Subject
    number: int
    raised_at_ms: int
    detail: str
    cleared_at_ms: int | None = None
    told: bool = False

    def to_body(self) -> dict[str, Any]:
        """Return the body of its record, and what the API shows."""
        return {
            "alert": self.subject.kind.value,
            "state": "raised" if self.cleared_at_ms is None else "cleared",
            "room": self.subject.room or None,
            "device": self.subject.device or None,
            "number": self.number,
            "raised_at_ms": self.raised_at_ms,
            "cleared_at_ms": self.cleared_at_ms,
            "detail": self.detail,
        }


class AlertBook:
    """Which alerts are up, and what the log has still to be told.

    Args:
        standing: What was kept of the last life: alerts that are up, and those not told yet.
    """

    def __init__(self, standing: Iterable[Alert] = (), *, number: int = 0) -> None:
        kept = sorted(standing, key=lambda each: each.number)
        self._up: dict[Subject, Alert] = {}
        for each in kept:
            if each.cleared_at_ms is None:
                self._up[each.subject] = each
            else:
                self._up.pop(each.subject, None)
        self._untold = [each for each in kept if not each.told]
        self._number = max([number, *(each.number for each in kept)])
        self._since: dict[Subject, int] = {}
        self._gone: dict[Subject, int] = {}

    def look(self, so: Mapping[Subject, str], *, now_ms: int, wall_ms: int) -> bool:
        """Take everything that is so now, with its detail; True if something is to be stored and told.

        Args:
            so: All of it: what is not in it is not so.
            now_ms: Monotonic ms.
            wall_ms: Unix ms.
        """
        changed = False
        for subject in list(self._since):
            if subject not in so:
                del self._since[subject]
        for subject, detail in so.items():
            since_ms = self._since.setdefault(subject, now_ms)
            self._gone.pop(subject, None)
            if subject not in self._up and now_ms - since_ms >= SINCE_LEAST_MS[subject.kind]:
                self._number += 1
                alert = Alert(subject, self._number, wall_ms, detail[:200])
                self._up[subject] = alert
                self._untold.append(alert)
                changed = True
        for subject, alert in list(self._up.items()):
            if subject in so:
                continue
            gone_ms = self._gone.setdefault(subject, now_ms)
            if now_ms - gone_ms >= GONE_LEAST_MS:
                self._number += 1
                del self._up[subject], self._gone[subject]
                self._untold.append(replace(alert, number=self._number, cleared_at_ms=wall_ms, told=False))
                changed = True
        return changed

    def over(self, subject: Subject, *, wall_ms: int) -> None:
        """Take that what it is about is not there any more: it ends without waiting for a word of it."""
        self._since.pop(subject, None)
        self._gone.pop(subject, None)
        if (alert := self._up.pop(subject, None)) is not None:
            self._number += 1
            self._untold.append(replace(alert, number=self._number, cleared_at_ms=wall_ms, told=False))

    def standing(self) -> list[Alert]:
        """Return what must survive a restart."""
        untold = {each.number for each in self._untold}
        told = [replace(each, told=True) for each in self._up.values() if each.number not in untold]
        return sorted([*told, *self._untold], key=lambda each: each.number)

    def up(self) -> list[Alert]:
        """Return the alerts that are up, oldest first."""
        return sorted(self._up.values(), key=lambda each: each.number)

    def minded(self, subject: Subject) -> bool:
        """Say whether it is up, or was so when last looked at and its time is running."""
        return subject in self._up or subject in self._since

    @property
    def number(self) -> int:
        """The last number given."""
        return self._number

    def untold(self) -> list[Alert]:
        """Return what the log has not taken yet, in order."""
        return sorted(self._untold, key=lambda each: each.number)

    def told(self, alert: Alert) -> None:
        """Learn that the log has it."""
        self._untold = [each for each in self._untold if each.number != alert.number]
