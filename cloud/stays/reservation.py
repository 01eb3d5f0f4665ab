"""The canonical reservation: what we keep of a PMS's reservation, whatever the PMS is called.

Source of truth: design page pms.md B.0 (status translation). Nothing of the guest beyond a display name.
"""

from dataclasses import dataclass
from enum import StrEnum


class PmsStatus(StrEnum):
    """Where a reservation stands in its PMS."""

    OPTION = "option"
    BOOKED = "booked"
    IN_HOUSE = "in_house"
    LEFT = "left"
    CANCELLED = "cancelled"
    NO_SHOW = "no_show"


class Housekeeping(StrEnum):
    """Condition of a room as housekeeping tells the PMS."""

    DIRTY = "dirty"
    PICKUP = "pickup"
    CLEAN = "clean"
    INSPECTED = "inspected"
    OUT_OF_SERVICE = "out_of_service"
    OUT_OF_ORDER = "out_of_order"


@dataclass(frozen=True, slots=True)
class Reservation:
    """One reservation of one room. Its identity is (property, system, external_id); the number is an attribute."""

    system: str
    external_id: str
    number: str | None
    status: PmsStatus
    room: str | None
    """Our room id the PMS has assigned, None while unassigned or unknown to us."""
    guest_name: str | None
    """None: not told this time; the name that is known stays."""
    arrival_ms: int
    departure_ms: int
    adults: int | None
    children: int | None
    updated_ms: int
    """The PMS's own time of its last change; an older one never overwrites a newer one."""
    room_type: str | None = None
    """The type that was booked: our word where the connection's settings know one for the PMS's, else the PMS's."""


@dataclass(frozen=True, slots=True)
class RoomCondition:
    """Condition of one of our rooms as its PMS tells it."""

    room: str
    housekeeping: Housekeeping | None
    """None: it says something that is no word of ours; nobody is sent there until it says something else."""
    updated_ms: int
