# ruff: noqa: N815 - names as Cloudbeds writes them
"""The Cloudbeds API 1.3's JSON as far as we use it. Source: developers.cloudbeds.com, design page pms.md B.2. Pure.

A reservation there may hold several rooms, each with a life of its own: each is a reservation of ours, named
`reservationID~subReservationID`, or by the one id that both have. What a subReservationID looks like is their affair:
nothing is read out of it.
"""

from typing import Annotated, Any, Final, Literal

import msgspec

from cloud.pms.port import OF_GUEST, PART, FolioLine, Hint, ItemError, PmsReservation, PmsRoom
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
)
from cloud.stays.reservation import Housekeeping, PmsStatus
from protocols.errors import PeerProtocolError

API: Final = "/api/v1.3/"
PAGE_MOST: Final = 100
Status = Literal["not_confirmed", "confirmed", "canceled", "cancelled", "checked_in", "checked_out", "no_show"]
RoomStatus = Literal["cancelled", "canceled", "in_house", "checked_out", "not_checked_in"]
Condition = Literal["dirty", "clean", "inspected"]

_STATUS: Final[dict[str, PmsStatus]] = {
    "not_confirmed": PmsStatus.OPTION,
    "confirmed": PmsStatus.BOOKED,
    "canceled": PmsStatus.CANCELLED,
    "cancelled": PmsStatus.CANCELLED,
    "checked_in": PmsStatus.IN_HOUSE,
    "checked_out": PmsStatus.LEFT,
    "no_show": PmsStatus.NO_SHOW,
}
_ROOM_STATUS: Final[dict[str, PmsStatus]] = {
    "cancelled": PmsStatus.CANCELLED,
    "canceled": PmsStatus.CANCELLED,
    "in_house": PmsStatus.IN_HOUSE,
    "checked_out": PmsStatus.LEFT,
}
CONDITION_OF: Final[dict[Housekeeping, Condition]] = {
    Housekeeping.DIRTY: "dirty",
    Housekeeping.PICKUP: "dirty",
    Housekeeping.CLEAN: "clean",
    Housekeeping.INSPECTED: "inspected",
}
_CONDITION: Final[dict[str, Housekeeping]] = {
    "dirty": Housekeeping.DIRTY,
    "clean": Housekeeping.CLEAN,
    "inspected": Housekeeping.INSPECTED,
}
_OF: Final = PART
EVENTS: Final = (
    *(("reservation", action) for action in ("created", "status_changed", "dates_changed", "deleted")),
    *(("reservation", action) for action in ("accommodation_status_changed", "accommodation_type_changed")),
    *(("reservation", action) for action in ("accommodation_changed", "accommodation_removed")),
    ("guest", "details_changed"),
    ("housekeeping", "room_condition_changed"),
    *(("roomblock", action) for action in ("created", "removed", "details_changed")),
)
"""What we subscribe to: (object, action)."""


class Room(msgspec.Struct, frozen=True):
    """One room of a reservation."""

    roomID: ExternalId | None = None
    roomTypeID: ExternalId | None = None
    subReservationID: ExternalId | None = None
    roomStatus: RoomStatus | None = None
    startDate: str | None = None
    endDate: str | None = None
    adults: Count | None = None
    children: Count | None = None


class Reservation(msgspec.Struct, frozen=True):
    """A row of getReservations, or what getReservation answers."""

    reservationID: ExternalId
    status: Status
    startDate: str
    endDate: str
    propertyID: ExternalId | None = None
    dateModified: str | None = None
    dateCreated: str | None = None
    guestID: ExternalId | None = None
    guestName: Text | None = None
    subReservationID: ExternalId | None = None
    adults: Count | None = None
    children: Count | None = None
    rooms: list[Room] = []
    assigned: list[Room] = []
    unassigned: list[Room] = []
    balanceDetailed: dict[str, Any] | None = None

    def parts(self) -> list[Room]:
        """Return its rooms, those without a number too."""
        return self.rooms or [*self.assigned, *self.unassigned] or [Room()]

    def is_vague(self) -> bool:
        """Tell whether it has several rooms and does not say which is which."""
        parts = self.parts()
        return len(parts) > 1 and any(each.subReservationID is None for each in parts)

    def is_bare(self) -> bool:
        """Tell whether nothing says what its one room is called: a row of a list may leave out what the reservation
        itself tells, and one room must not have two names.
        """
        parts = self.parts()
        return len(parts) == 1 and self.subReservationID is None and parts[0].subReservationID is None

    def is_silent(self) -> bool:
        """Tell whether some of its rooms may be taken and others not, and nothing says which."""
        parts = self.parts()
        return self.status == "checked_in" and len(parts) > 1 and any(each.roomStatus is None for each in parts)


class HotelRoom(msgspec.Struct, frozen=True):
    """A row of getRooms."""

    roomID: ExternalId
    roomName: Text
    roomBlocked: bool = False


class RoomCondition(msgspec.Struct, frozen=True):
    """A row of getHousekeepingStatus."""

    roomID: ExternalId
    roomCondition: Text | None = None
    vacantPickup: bool = False


class Guest(msgspec.Struct, frozen=True):
    """A guest's profile."""

    guestID: ExternalId
    firstName: Text | None = None
    lastName: Text | None = None


class Subscription(msgspec.Struct, frozen=True):
    """What getWebhooks answers of one."""

    event: dict[str, Any] | str | None = None
    subscriptionData: dict[str, Any] | None = None
    endpointUrl: str | None = None
    object: str | None = None
    action: str | None = None

    def named(self) -> tuple[tuple[str, str], str]:
        """Return ((object, action), address); empty where it does not say."""
        address = self.endpointUrl or str((self.subscriptionData or {}).get("endpoint_url") or "")
        if isinstance(self.event, dict):
            return (str(self.event.get("entity") or ""), str(self.event.get("action") or "")), address
        if isinstance(self.event, str) and self.event.count("/") == 1:
            thing, action = self.event.split("/")
            return (thing, action), address
        return (self.object or "", self.action or ""), address


class Answer(msgspec.Struct, frozen=True):
    """Every answer. `success` false is an error, whatever the HTTP status says."""

    success: bool
    data: msgspec.Raw = msgspec.Raw(b"null")
    total: int | None = None
    message: str | None = None


def with_rooms_of(said: Reservation, row: Reservation | None) -> Reservation:
    """Return a reservation whose rooms are as its row in a list has them, where it does not say so itself. A room
    without a number is taken by nobody.
    """
    known = {} if row is None else {each.subReservationID or each.roomID: each.roomStatus for each in row.rooms}
    known.pop(None, None)
    rooms = []
    for each in said.parts():
        told = each.roomStatus or known.get(each.subReservationID) or known.get(each.roomID)
        told = told or ("not_checked_in" if each.roomID is None else None)
        rooms.append(msgspec.structs.replace(each, roomStatus=told))
    return msgspec.structs.replace(said, rooms=rooms, assigned=[], unassigned=[])


def parent(external_id: str) -> str:
    """Return the reservationID that a room's reservation belongs to."""
    return external_id.partition(_OF)[0]


def part(external_id: str) -> str:
    """Return the subReservationID of a room's reservation."""
    of, _, sub = external_id.partition(_OF)
    return sub or of


def _named_as(reservation: str, sub: str | None) -> str:
    return reservation if sub in (None, reservation) else f"{reservation}{_OF}{sub}"


def reservations(said: Reservation, time: HouseTime, *, now_ms: int) -> list[PmsReservation | ItemError]:
    """Translate a reservation: one of ours for each of its rooms."""
    if said.is_vague():
        problem = f"has {len(said.parts())} rooms, and subReservationID does not say which is which"
        return [ItemError(said.reservationID, problem)]
    found: list[PmsReservation | ItemError] = []
    for room in said.parts():
        external_id = _named_as(said.reservationID, room.subReservationID or said.subReservationID)
        try:
            found.append(_one(said, room, external_id, time, now_ms))
        except UnreadableError as error:
            found.append(ItemError(external_id, str(error)))
    return found


def _one(said: Reservation, part: Room, external_id: str, time: HouseTime, now_ms: int) -> PmsReservation:
    start, end = part.startDate or said.startDate, part.endDate or said.endDate
    arrival_ms, departure_ms = time.stay_ms(("startDate", "endDate"), start, end)
    touched = next(
        (each for each in (said.dateModified, said.dateCreated) if each and not each.startswith("0000")), None
    )
    updated_ms = now_ms if touched is None else time.read("dateModified", touched, now_ms=now_ms)
    status = _STATUS[said.status]
    if status in (PmsStatus.BOOKED, PmsStatus.IN_HOUSE, PmsStatus.LEFT) and part.roomStatus is not None:
        status = _ROOM_STATUS.get(part.roomStatus, PmsStatus.BOOKED)
    return PmsReservation(
        external_id=external_id,
        number=said.reservationID,
        status=status,
        room_external_id=part.roomID,
        guest_name=None if said.guestName is None else display_name(said.guestName),
        arrival_ms=arrival_ms,
        departure_ms=departure_ms,
        adults=said.adults if part.adults is None else part.adults,
        children=said.children if part.children is None else part.children,
        updated_ms=updated_ms,
        room_type=part.roomTypeID,
        guest_external_id=said.guestID,
    )


def room(said: HotelRoom, condition: RoomCondition | ItemError | None, *, now_ms: int) -> list[PmsRoom | ItemError]:
    """Translate one room; Cloudbeds does not say since when it is so. See `known_by`."""
    name = line(said.roomName)
    if not name:
        return [ItemError(said.roomID, f"roomName {said.roomName!r} has nothing to read", "resource")]
    if said.roomBlocked:
        return [PmsRoom(said.roomID, name, Housekeeping.OUT_OF_SERVICE, now_ms)]
    if isinstance(condition, ItemError):
        return known_by(said.roomID, name, now_ms, condition.problem)
    if condition is None or condition.roomCondition is None:
        return known_by(said.roomID, name, now_ms, "roomCondition is not told")
    housekeeping = _CONDITION.get(condition.roomCondition)
    if housekeeping is None:
        problem = f"roomCondition {condition.roomCondition[:40]!r} is not known"
        return known_by(said.roomID, name, now_ms, problem, condition.roomCondition)
    # the flag goes before the condition, as on their own page: who finds it on a clean room finds it not ready
    return [PmsRoom(said.roomID, name, Housekeeping.PICKUP if condition.vacantPickup else housekeeping, now_ms)]


def folio(said: Reservation, *, at_ms: int) -> tuple[FolioLine, ...]:
    """Return what the balance is made of: the 1.3 interface tells sums, no postings. Raises UnreadableError."""
    sums = said.balanceDetailed or {}
    lines = []
    for name, sign in (("subTotal", 1), ("taxesFees", 1), ("additionalItems", 1), ("paid", -1)):
        if name in sums and (minor := minor_units(f"balanceDetailed.{name}", sums[name])):
            lines.append(FolioLine(name, name, sign * minor, None, at_ms))
    return tuple(lines)


_ID_KEYS: Final = {
    "guest": ("guestid", "guestid_str"),
    "reservation": ("reservationid", "reservationid_str"),
    "resource": ("roomid", "roomid_str"),
}


def hints(raw: bytes) -> list[Hint]:
    """Read a webhook, whichever way its event writes its ids; kinds we do not follow are left out.

    Raises:
        PeerProtocolError: not a webhook of Cloudbeds.
    """
    try:
        push = msgspec.json.decode(raw, type=dict[str, Any])
        event = msgspec.convert(push.get("event"), Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z_]+/[A-Za-z_]+\Z")])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise PeerProtocolError(f"not a Cloudbeds webhook: {error}") from error
    thing = event.partition("/")[0]
    if thing in ("housekeeping", "roomblock"):
        return [Hint("resource", _named(push, "resource") or "*")]
    if thing not in ("reservation", "guest"):
        return []
    if (found := _named(push, "reservation")) is None:
        if thing == "guest" and (guest := _named(push, "guest")) is not None:
            return [Hint("reservation", OF_GUEST + guest)]  # of whatever he has booked: the event names no reservation
        if thing == "guest":
            return []
        raise PeerProtocolError(f"not a Cloudbeds webhook: {event} names no reservation")
    return [Hint("reservation", found)]


def _named(push: dict[str, Any], kind: Literal["guest", "reservation", "resource"]) -> str | None:
    told = {key.casefold(): value for key, value in push.items()}  # casing differs between events
    for key in _ID_KEYS[kind]:
        if told.get(key) not in (None, ""):
            try:
                return convert(told[key], ExternalId)
            except msgspec.ValidationError as error:
                raise PeerProtocolError(f"not a Cloudbeds webhook: {key}: {error}") from error
    return None


def guest_name(said: Guest) -> str:
    """Return a guest's name for one line."""
    return display_name(said.firstName, said.lastName)
