"""The StayNTouch Connect API 2.0's JSON as far as we use it. Source: design page pms.md B.4. Pure.

The words for a reservation's status and a room's condition are told by field reports, not by a specification: both
are read whatever their case and whichever way their words are joined. That each of `stay_dates` has `room_type_id` (a
number), `adults` (text in that one) and `children` stands in a booking posted to their development host that somebody
published: gist.github.com/lukeclifton/e5d91e4f5756911adc0dbc377e96106c, April 2019. Their sandbox has the last word.
"""

import re
from typing import Any, Final

import msgspec

from cloud.pms.port import OF_GUEST, FolioLine, Hint, ItemError, PmsReservation, PmsRoom
from cloud.pms.reading import (
    Count,
    ExternalId,
    HouseTime,
    Text,
    UnreadableError,
    convert,
    display_name,
    known_by,
    line,
    minor_units,
    possible,
)
from cloud.stays.reservation import Housekeeping, PmsStatus
from protocols.errors import PeerProtocolError

PAGE_MOST: Final = 50
_THOUSANDS: Final = re.compile(r"[-+]?[0-9]{1,3}(?:,[0-9]{3})+(?:\.[0-9]{1,4})?")
_STATUS: Final[dict[str, PmsStatus]] = {
    "waitlist": PmsStatus.OPTION,
    "waitlisted": PmsStatus.OPTION,
    "reserved": PmsStatus.BOOKED,
    "booked": PmsStatus.BOOKED,
    "checking_in": PmsStatus.BOOKED,
    "due": PmsStatus.BOOKED,
    "due_in": PmsStatus.BOOKED,
    "duein": PmsStatus.BOOKED,
    "due_out": PmsStatus.IN_HOUSE,
    "dueout": PmsStatus.IN_HOUSE,
    "checkedin": PmsStatus.IN_HOUSE,
    "checked_in": PmsStatus.IN_HOUSE,
    "inhouse": PmsStatus.IN_HOUSE,
    "in_house": PmsStatus.IN_HOUSE,
    "checking_out": PmsStatus.IN_HOUSE,
    "checkedout": PmsStatus.LEFT,
    "checked_out": PmsStatus.LEFT,
    "canceled": PmsStatus.CANCELLED,
    "cancelled": PmsStatus.CANCELLED,
    "cancel": PmsStatus.CANCELLED,
    "noshow": PmsStatus.NO_SHOW,
    "no_show": PmsStatus.NO_SHOW,
}
_CONDITION: Final[dict[str, Housekeeping]] = {
    "dirty": Housekeeping.DIRTY,
    "pickup": Housekeeping.PICKUP,
    "clean": Housekeeping.CLEAN,
    "inspected": Housekeeping.INSPECTED,
}
_SERVICE: Final[dict[str, Housekeeping]] = {
    "out_of_service": Housekeeping.OUT_OF_SERVICE,
    "out_of_order": Housekeeping.OUT_OF_ORDER,
}
CONDITION_OF: Final[dict[Housekeeping, str]] = {
    Housekeeping.DIRTY: "DIRTY",
    Housekeeping.PICKUP: "PICKUP",
    Housekeeping.CLEAN: "CLEAN",
    Housekeeping.INSPECTED: "INSPECTED",
}


class RoomOf(msgspec.Struct, frozen=True):
    """The room of a reservation."""

    id: ExternalId | None = None
    number: Text | int | None = None


class GuestOf(msgspec.Struct, frozen=True):
    """A guest, of a reservation or alone."""

    id: ExternalId
    first_name: Text | None = None
    last_name: Text | None = None
    is_primary: bool = False


class StayDate(msgspec.Struct, frozen=True):
    """One night."""

    room_type_id: ExternalId | None = None
    adults: Count | None = None
    children: Count | None = None


class Reservation(msgspec.Struct, frozen=True):
    """One reservation."""

    id: ExternalId
    status: str
    arrival_date: str
    departure_date: str
    arrival_time: str | None = None
    updated_time: str | None = None
    confirmation_number: Text | int | None = None
    room: RoomOf | None = None
    hotel_id: ExternalId | None = None
    guests: list[GuestOf] = []
    stay_dates: list[StayDate] = []


class Room(msgspec.Struct, frozen=True):
    """One room."""

    id: ExternalId
    number: Text | int
    status: str = ""
    service_status: str | None = None


class Listed(msgspec.Struct, frozen=True):
    """Every list."""

    results: list[msgspec.Raw] | None
    total_count: int | None = None


class _Bill(msgspec.Struct, frozen=True):
    id: ExternalId


class BillsOf(msgspec.Struct, frozen=True):
    """The bills of a reservation."""

    bills: list[_Bill] | None = None
    currency_code: str | None = None


class Transaction(msgspec.Struct, frozen=True):
    """One posting of a bill."""

    id: ExternalId
    amount: float | str
    date: str
    description: Text | None = None
    is_credit: bool = False


def reservation(said: Reservation, time: HouseTime, *, now_ms: int) -> PmsReservation | ItemError:
    """Translate one reservation."""
    try:
        status = _STATUS.get(_word(said.status))
        if status is None:
            raise UnreadableError(f"status {said.status[:40]!r} is not known")
        arrival_ms, departure_ms = time.stay_ms(
            ("arrival_date", "departure_date"), said.arrival_date, said.departure_date, eta=said.arrival_time
        )
        touched = said.updated_time
        updated_ms = now_ms if touched is None else time.read("updated_time", touched, now_ms=now_ms)
    except UnreadableError as error:
        return ItemError(said.id, str(error))
    guest = next((each for each in said.guests if each.is_primary), said.guests[0] if said.guests else None)
    nights = said.stay_dates
    return PmsReservation(
        external_id=said.id,
        number=None if said.confirmation_number is None else line(str(said.confirmation_number)) or None,
        status=status,
        room_external_id=None if said.room is None else said.room.id,
        guest_name=None if guest is None else display_name(guest.first_name, guest.last_name) or None,
        arrival_ms=arrival_ms,
        departure_ms=departure_ms,
        adults=nights[0].adults if nights else None,
        children=nights[0].children if nights else None,
        updated_ms=updated_ms,
        room_type=nights[0].room_type_id if nights else None,
        guest_external_id=None if guest is None else guest.id,
    )


def room(said: Room, *, now_ms: int) -> list[PmsRoom | ItemError]:
    """Translate one room."""
    name = line(str(said.number))
    housekeeping = _SERVICE.get(_word(said.service_status or "")) or _CONDITION.get(_word(said.status))
    if not name:
        return [ItemError(said.id, f"number {said.number!r} has nothing to read", "resource")]
    if housekeeping is None:
        problem = f"status {said.status[:40]!r} is not known"
        return known_by(said.id, name, possible("now", now_ms), problem, said.status or None)
    return [PmsRoom(said.id, name, housekeeping, possible("now", now_ms))]


def folio_line(said: Transaction, currency: str | None, time: HouseTime, *, now_ms: int) -> FolioLine:
    """Translate one posting. Raises UnreadableError."""
    plain = said.amount
    if isinstance(plain, str) and _THOUSANDS.fullmatch(plain.strip()) is not None:
        plain = plain.replace(",", "")
    minor = minor_units("amount", plain)
    sign = -1 if said.is_credit and minor > 0 else 1
    at_ms = time.read("date", said.date, now_ms=now_ms)
    return FolioLine(said.id, line(said.description or ""), sign * minor, currency, at_ms)


class _Data(msgspec.Struct, frozen=True):
    id: ExternalId | None = None
    object: str | None = None
    reservation_id: ExternalId | None = None


def hints(raw: bytes) -> list[Hint]:
    """Read a webhook. Raises PeerProtocolError."""
    try:
        push = msgspec.json.decode(raw, type=dict[str, Any])
        if push.get("object") != "event" or not isinstance(push.get("event"), str):
            raise PeerProtocolError("not a StayNTouch webhook: `object` is not event, or it names none")
        if not isinstance(push.get("data"), dict):
            return []  # an event about nothing of ours, such as the end of a day
        data = convert(push["data"], _Data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise PeerProtocolError(f"not a StayNTouch webhook: {error}") from error
    thing = _word(data.object or push["event"])
    if data.id is not None and (thing == "reservation" or (data.object is None and "reservation" in thing)):
        return [Hint("reservation", data.id)]
    if data.id is not None and (thing == "room" or (data.object is None and thing.startswith("room_"))):
        return [Hint("resource", data.id)]
    if data.reservation_id is not None:
        return [Hint("reservation", data.reservation_id)]
    about_guest = thing == "guest" or (data.object is None and "guest" in thing)
    return [Hint("reservation", OF_GUEST + data.id)] if about_guest and data.id is not None else []


def _word(text: str) -> str:
    return text.strip().casefold().replace("-", "_").replace(" ", "_")
