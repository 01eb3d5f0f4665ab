"""What really happened in the hotel, as whoever played it saw it, and what is owed for it. Pure.

Written at the devices, the locks and the phones; Innkeeper never writes here.
"""

from dataclasses import dataclass, field
from typing import Final

OCCUPANCY_SETTLES_MS: Final = 15_000
"""A sensor's word may be late, held back or torn; after this long it has come."""
ALERT_AFTER_MS: Final = {"leak": 40_000, "stale": 660_000}
"""By when an alert is owed: its own wait (edge/rooms/alerts.py), the half-minutely look, and the way to the cloud."""
WINDOW_AFTER_MS: Final = 150_000


@dataclass(slots=True)
class RoomTruth:
    """One room. Times are monotonic ms of the rehearsal; None: it has not happened."""

    stay: str | None = None
    entered_ms: int | None = None
    moved_ms: int | None = None  # somebody moved behind the closed door, before a sensor that works
    closed_ms: int | None = None  # the door last closed
    left_ms: int | None = None
    checked_out_ms: int | None = None
    window_ms: int | None = None
    dark: bool = False  # its motion sensor is dead
    leak_ms: int | None = None
    power_cut: bool = False
    contact: list[bool] = field(default_factory=list)  # closed is true; every change, in order
    refusals: int = 0  # at this door, as phones heard them

    @property
    def inside(self) -> bool:
        """Whether the guest is in the room now."""
        return self.entered_ms is not None and self.left_ms is None


@dataclass(slots=True)
class Truth:
    """The whole hotel."""

    rooms: dict[str, RoomTruth]
    taps: int = 0
    weather_c: float | None = None
    edge_back_s: float | None = None
    edge_back_ms: int | None = None  # when it had come back from being killed

    def alerts_owed(self, now_ms: int) -> set[tuple[str, str]]:
        """Return (kind, room) of every alert that must be up by now."""
        owed = set()
        for room, each in self.rooms.items():
            if each.leak_ms is not None and now_ms - each.leak_ms >= ALERT_AFTER_MS["leak"]:
                owed.add(("leak", room))
            if each.dark and each.entered_ms is not None and now_ms - each.entered_ms >= ALERT_AFTER_MS["stale"]:
                owed.add(("stale", room))
        return owed

    def alerts_allowed(self) -> set[tuple[str, str]]:
        """Return (kind, room) of every alert that has a cause; any other is invented."""
        allowed = {("leak", room) for room, each in self.rooms.items() if each.leak_ms is not None}
        return allowed | {("stale", room) for room, each in self.rooms.items() if each.dark or each.power_cut}
