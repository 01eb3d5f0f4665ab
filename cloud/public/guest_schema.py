"""What the routes of guests answer and are told."""

import msgspec

from cloud.guests.profile import RoomPreferences
from cloud.stays.life import StayState
from cloud.stays.reservation import PmsStatus


class ArrivingGuest(msgspec.Struct, frozen=True):
    """Who comes with a stay. `name`: null where the PMS has not told it. `visit`: his how manieth this is, from 1."""

    guest: str
    name: str | None
    visit: int
    preferences: RoomPreferences


class GuestCheckIn(msgspec.Struct, frozen=True):
    """The check-in of a stay, without what was told in it."""

    state: str
    channel: str
    began_at: str
    ended_at: str | None


class GuestStay(msgspec.Struct, frozen=True):
    """A stay of a guest. `state` is ours; `pms_status` tells apart how one that never took place ended."""

    property: str
    stay: str
    number: str | None
    state: StayState
    pms_status: PmsStatus
    room: str | None
    room_type: str | None
    expected_from: str
    expected_until: str
    actual_in: str | None
    actual_out: str | None
    check_in: GuestCheckIn | None


class GuestStays(msgspec.Struct, frozen=True):
    """One page; `next` goes into `before` for the page after, null on the last."""

    stays: list[GuestStay]
    next: str | None


class Guest(msgspec.Struct, frozen=True):
    """A guest. `external_id` is his in the PMS `system`; `visits`: how often he came, the present one counted.

    Visits are counted, and `current_stay` looked for, at this house, and at the tenant's others that share their
    guests with it as far as the caller may see them.
    """

    guest: str
    system: str
    external_id: str
    name: str | None
    first_seen_at: str
    visits: int
    current_stay: GuestStay | None
    preferences: RoomPreferences


class Erased(msgspec.Struct, frozen=True):
    """At which properties he was forgotten now; none: it was done before."""

    properties: list[str]
