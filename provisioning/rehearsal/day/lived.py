"""What really happened to each guest of the day, as whoever played it saw it. Pure data.

Written at phones, locks and desks; Innkeeper never writes here.
"""

from dataclasses import dataclass, field
from typing import Any

from provisioning.rehearsal.day.programme import Booking
from provisioning.rehearsal.phone import Guest


@dataclass(slots=True)
class Life:
    """One guest's day. Times are unix ms of the machine; None: it has not happened."""

    booking: Booking
    reservation: str = ""
    stay: str = ""
    room: str = ""
    """The room that the guest's key is for."""
    guest: Guest | None = None
    way: str = ""
    """How the guest came in: page, desk (through the cloud), or building (the edge's own desk)."""
    in_at_ms: int | None = None
    out_at_ms: int | None = None
    opened: int = 0
    """Openings that the phone heard of, of its own room."""
    old_room_refused: str | None = None
    told_to_wait: bool = False
    """The page said that the room is not ready."""
    unknown_before: bool = False
    """The building did not know the booking while the line was cut."""
    until_before_ms: int | None = None
    """When the first key ended, of a guest who stays longer."""
    until_after_ms: int | None = None
    refused_at_the_end: str | None = None
    opened_at_the_end: bool = False
    payment: str = ""
    """The payment that holds the deposit; "" without."""
    declined: int = 0
    captured: int = 0
    conflicts: set[str] = field(default_factory=set)
    """What the cloud showed of this stay at any look."""

    @property
    def inside(self) -> bool:
        """Whether the guest is in house now."""
        return self.in_at_ms is not None and self.out_at_ms is None


@dataclass(slots=True)
class Day:
    """Everybody's."""

    lives: list[Life]
    looks: int = 0
    cut_at_ms: int = 0
    back_at_ms: int = 0
    pms_changes_behind: int = 0
    """Changes in the PMS while the line was cut."""
    let_in_behind: int = 0
    taps: int = 0
    drained_s: float = 0.0
    opened_before_the_lock_heard: int = 0
    """Openings by keys whose end was decided and had not reached the lock yet."""

    def of(self, reservation: str) -> Life:
        """Return the life of a reservation. Raises KeyError."""
        return next(each for each in self.lives if each.reservation == reservation)

    def told(self) -> dict[str, Any]:
        """Return it for the report."""
        lives = self.lives
        fates: dict[str, int] = {}
        ways: dict[str, int] = {}
        for each in lives:
            fates[each.booking.fate.value] = fates.get(each.booking.fate.value, 0) + 1
            if each.way:
                ways[each.way] = ways.get(each.way, 0) + 1
        return {
            "bookings": len(lives),
            "checked_in": sum(each.in_at_ms is not None for each in lives),
            "in_house_at_the_end": sum(each.inside for each in lives),
            "ways": ways,
            "fates": fates,
            "let_in_while_cut": self.let_in_behind,
            "pms_changes_while_cut": self.pms_changes_behind,
            "taps": self.taps,
            "deposits_held": sum(each.payment != "" for each in lives),
            "cards_declined": sum(each.declined for each in lives),
            "looks_at_the_stays": self.looks,
            "drained_after_return_s": self.drained_s,
            "opened_before_the_lock_heard": self.opened_before_the_lock_heard,
        }
