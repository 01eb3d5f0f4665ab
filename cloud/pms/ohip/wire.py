# ruff: noqa: N815 - names as Oracle writes them
"""The Oracle Hospitality Integration Platform's JSON as far as we use it.

Source: the Swagger documents of oracle/hospitality-api-docs and design page pms.md B.3. Pure. Some lists come one
level deeper in one edition than in another; they are found by what they hold.
"""

import hashlib
from collections.abc import Iterator
from typing import Any, Final, Literal

import msgspec

from cloud.pms.port import OF_GUEST, FolioLine, Hint, ItemError, PmsReservation, PmsRoom
from cloud.pms.reading import (
    NO_ID,
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

PAGE_ITEMS: Final = 100
EVENTS_A_CALL: Final = 20
DEPTH_MOST: Final = 6
_STATUS: Final[dict[str, PmsStatus]] = {
    "Requested": PmsStatus.OPTION,
    "Waitlisted": PmsStatus.OPTION,
    "Reserved": PmsStatus.BOOKED,
    "DueIn": PmsStatus.BOOKED,
    "InHouse": PmsStatus.IN_HOUSE,
    "Walkin": PmsStatus.IN_HOUSE,
    "DueOut": PmsStatus.IN_HOUSE,
    "PendingCheckout": PmsStatus.IN_HOUSE,
    "CheckedOut": PmsStatus.LEFT,
    "Cancelled": PmsStatus.CANCELLED,
    "NoShow": PmsStatus.NO_SHOW,
}
Status = Literal[
    "Requested", "Waitlisted", "Reserved", "DueIn", "InHouse", "Walkin", "DueOut", "PendingCheckout", "CheckedOut",
    "Cancelled", "NoShow",
]  # fmt: skip
Condition = Literal["Clean", "Dirty", "Pickup", "Inspected", "OutOfOrder", "OutOfService"]
HOUSEKEEPING: Final[dict[Condition, Housekeeping]] = {
    "Clean": Housekeeping.CLEAN,
    "Dirty": Housekeeping.DIRTY,
    "Pickup": Housekeeping.PICKUP,
    "Inspected": Housekeeping.INSPECTED,
    "OutOfOrder": Housekeeping.OUT_OF_ORDER,
    "OutOfService": Housekeeping.OUT_OF_SERVICE,
}
CONDITION_OF: Final[dict[Housekeeping, Condition]] = {ours: theirs for theirs, ours in HOUSEKEEPING.items()}


class UniqueId(msgspec.Struct, frozen=True):
    """An id and what it is the id of."""

    id: ExternalId
    type: str | None = None


class CurrentRoom(msgspec.Struct, frozen=True):
    """Where a reservation is, as an answer about it alone writes it."""

    roomId: ExternalId | None = None
    roomType: ExternalId | None = None


class GuestCounts(msgspec.Struct, frozen=True):
    """How many, as an answer about one reservation alone writes it."""

    adults: Count | None = None
    children: Count | None = None


class RoomStay(msgspec.Struct, frozen=True):
    """When and where: flat in a list of reservations, one level deeper where one was asked for by its id."""

    arrivalDate: str
    departureDate: str
    roomId: ExternalId | None = None
    roomType: ExternalId | None = None
    adultCount: Count | None = None
    childCount: Count | None = None
    currentRoomInfo: CurrentRoom = CurrentRoom()
    guestCounts: GuestCounts = GuestCounts()


class ReservationGuest(msgspec.Struct, frozen=True):
    """Who."""

    givenName: Text | None = None
    surname: Text | None = None
    profileIdList: list[UniqueId] = []
    """Not told in a list of reservations, as far as anybody has shown one."""

    def profile(self) -> str | None:
        """Return the profile's id; None: it does not say."""
        return next((each.id for each in self.profileIdList if each.type in ("Profile", None)), None)


class Reservation(msgspec.Struct, frozen=True):
    """An item of `reservations.reservationInfo`, or the one that was asked for by its id."""

    reservationIdList: list[UniqueId]
    roomStay: RoomStay
    reservationStatus: Status
    lastModifyDateTime: str | None = None
    createDateTime: str | None = None
    reservationGuest: ReservationGuest | None = None
    hotelId: ExternalId | None = None
    reservationGuests: Any = None
    """As an answer about one reservation alone writes them."""

    def id_of(self, kind: str) -> str | None:
        """Return its id of one kind."""
        return next((each.id for each in self.reservationIdList if each.type == kind), None)

    def guest(self) -> ReservationGuest | None:
        """Return the guest that it is booked for; None: it does not say."""
        told = self.reservationGuests if isinstance(self.reservationGuests, list) else []
        guests = sorted(
            (each for each in told if isinstance(each, dict)), key=lambda each: each.get("primary") is not True
        )
        if self.reservationGuest is not None or not guests:
            return self.reservationGuest
        for _, found in _dicts(guests[0]):
            names = found.get("personName")
            name = names[0] if isinstance(names, list) and names else names
            if isinstance(name, dict):
                ids: object = next(
                    (each["profileIdList"] for _, each in _dicts(guests[0]) if "profileIdList" in each), []
                )
                named = {part: name.get(part) for part in ("givenName", "surname")}
                try:
                    return convert({**named, "profileIdList": _ids(ids)}, ReservationGuest)
                except msgspec.ValidationError:
                    return None
        return None


def _ids(told: object) -> list[Any]:
    """Return a list of ids without what is none: a name is as good without them."""
    found = []
    for each in told if isinstance(told, list) else ():
        try:
            convert(each, UniqueId)
        except msgspec.ValidationError:
            continue
        found.append(each)
    return found


class _Event(msgspec.Struct, frozen=True):
    moduleName: str | int
    """A number in one of their published examples: then its action says what it is about."""
    primaryKey: ExternalId | None = None
    actionType: str | None = None

    def about(self) -> str:
        """Return which module it is of, in lower case."""
        if isinstance(self.moduleName, str):
            return self.moduleName.casefold()
        return next((each for each in (self.actionType or "").casefold().split() if each in _MODULES), "")


_EVENT_LISTS: Final = ("businessEventData", "businessEvents", "businessEvent", "events")
"""As it is published, and as it may be called where it is not."""
_BESIDE: Final = frozenset({"links", "warnings", "datavaluemapping"})
"""Lists of an answer of the queue that are not its events."""
_MODULES: Final[dict[str, Literal["guest", "reservation", "resource"]]] = {
    "profile": "guest",
    "reservation": "reservation",
    "housekeeping": "resource",
    "room": "resource",
    "rooms": "resource",
}


def rows(answer: object, *names: str) -> list[msgspec.Raw] | None:
    """Find a list by its name, however deep it lies; None where it is not."""
    for depth, found in _dicts(answer):
        for name in names:
            if depth <= DEPTH_MOST and isinstance(found.get(name), list):
                return [msgspec.Raw(msgspec.json.encode(each)) for each in found[name]]
    return None


def reservation_rows(answer: object) -> list[msgspec.Raw] | None:
    """Return the reservations of an answer: a list of them, or one that stands for itself; None where there is none."""
    if (found := rows(answer, "reservationInfo", "reservation")) is not None:
        return found
    for _, each in _dicts(answer):
        if "reservationIdList" in each:
            return [msgspec.Raw(msgspec.json.encode(each))]
    return None


def events(answer: object) -> list[msgspec.Raw] | None:
    """Return the events of a call of the queue: a list of one of its names, nothing but the list, or the only one.

    None: it holds a list that is none of these, so whatever it held is in no queue any more.

    Raises:
        PeerProtocolError: it is a problem (RFC 9457), whatever its status was.
    """
    if isinstance(answer, list):
        return [msgspec.Raw(msgspec.json.encode(each)) for each in answer]
    if (found := rows(answer, *_EVENT_LISTS)) is not None:
        return found
    if isinstance(answer, dict) and {"title", "detail"} & answer.keys():
        raise PeerProtocolError(f"OHIP businessEvents: {str(answer.get('detail') or answer.get('title'))[:200]}")
    if _header(answer) is not None:
        return [msgspec.Raw(msgspec.json.encode(answer))]
    lists = [each for _, found in _dicts(answer) for name, each in found.items() if name.casefold() not in _BESIDE]
    return None if any(isinstance(each, list) and each for each in lists) else []


def _header(told: object) -> dict[str, Any] | None:
    """Find what an event says of itself, however deep it lies; None where nothing does."""
    return next((each for _, each in _dicts(told) if "moduleName" in each), None)


def flag(answer: object, name: str) -> bool | None:
    """Find a truth by its name, wherever it stands; None where it does not."""
    return next((found[name] for _, found in _dicts(answer) if isinstance(found.get(name), bool)), None)


def count(answer: object, name: str) -> int | None:
    """Find a count by its name, wherever it stands; None where it does not."""
    for _, found in _dicts(answer):
        told = found.get(name)
        if isinstance(told, int) and not isinstance(told, bool) and told >= 0:
            return told
    return None


def _dicts(answer: object) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the objects of an answer, the outer ones first."""
    level: list[object] = [answer]
    for depth in range(DEPTH_MOST + 1):
        inner: list[object] = []
        for each in level:
            if isinstance(each, dict):
                yield depth, each
                inner.extend(each.values())
        level = inner


def reservation(said: Reservation, time: HouseTime, *, now_ms: int) -> PmsReservation | ItemError:
    """Translate one reservation."""
    external_id = said.id_of("Reservation")
    if external_id is None:
        return ItemError(
            said.reservationIdList[0].id if said.reservationIdList else "(no readable id)",
            "reservationIdList holds no id of type Reservation",
        )
    stay, guest = said.roomStay, said.guest()
    room, many = stay.currentRoomInfo, stay.guestCounts
    try:
        arrival_ms, departure_ms = time.stay_ms(("arrivalDate", "departureDate"), stay.arrivalDate, stay.departureDate)
        touched = said.lastModifyDateTime or said.createDateTime
        updated_ms = now_ms if touched is None else time.read("lastModifyDateTime", touched, now_ms=now_ms)
    except UnreadableError as error:
        return ItemError(external_id, str(error))
    return PmsReservation(
        external_id=external_id,
        number=said.id_of("Confirmation"),
        status=_STATUS[said.reservationStatus],
        room_external_id=stay.roomId or room.roomId,
        guest_name=None if guest is None else display_name(guest.givenName, guest.surname),
        arrival_ms=arrival_ms,
        departure_ms=departure_ms,
        adults=many.adults if stay.adultCount is None else stay.adultCount,
        children=many.children if stay.childCount is None else stay.childCount,
        updated_ms=updated_ms,
        room_type=stay.roomType or room.roomType,
        guest_external_id=None if guest is None else guest.profile(),
    )


def id_of_raw(raw: bytes | msgspec.Raw) -> str:
    """Return what a reservation that cannot be read calls itself."""
    try:
        told = msgspec.json.decode(raw, type=dict[str, Any]).get("reservationIdList")
        return next(str(each["id"])[:64] for each in told or () if each.get("type") == "Reservation")
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, AttributeError, KeyError, TypeError):
        return "(no readable id)"
    except StopIteration:
        return "(no readable id)"


def key_of_raw(raw: bytes | msgspec.Raw) -> str:
    """Return what tells a reservation of a list from the others: its id, or what it says where it has none."""
    found = id_of_raw(raw)
    return hashlib.sha256(bytes(raw)).hexdigest() if found == NO_ID else found


def room(raw: bytes | msgspec.Raw, *, now_ms: int) -> list[PmsRoom | ItemError]:
    """Translate one room of the housekeeping overview; its number is its id. See `known_by`."""
    try:
        told = msgspec.json.decode(raw, type=dict[str, Any])
        external_id = convert(told.get("roomId"), ExternalId)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        return [ItemError("(no readable id)", str(error), "resource")]
    problem, word = "housekeepingRoomStatus is missing", None
    for depth, found in _dicts(told):
        status = found.get("housekeepingRoomStatus")
        if depth <= DEPTH_MOST and isinstance(status, str):
            housekeeping = HOUSEKEEPING.get(status)  # type: ignore[call-overload]  # any text may be asked for
            if housekeeping is not None:
                return [PmsRoom(external_id, line(external_id), housekeeping, now_ms)]
            problem, word = f"housekeepingRoomStatus {status[:40]!r} is not known", status
            break
    return known_by(external_id, line(external_id), now_ms, problem, word)


class _Money(msgspec.Struct, frozen=True):
    amount: float | str
    currencyCode: str | None = None


class _Posting(msgspec.Struct, frozen=True):
    transactionNo: ExternalId
    postedAmount: _Money
    transactionDate: str
    transactionDescription: Text | None = None


def folio(answer: object, time: HouseTime, *, now_ms: int) -> tuple[FolioLine, ...]:
    """Return every posting of every window. Raises UnreadableError, msgspec.ValidationError."""
    lines: dict[str, FolioLine] = {}
    stack: list[object] = [answer]
    while stack:
        each = stack.pop()
        if isinstance(each, list):
            stack.extend(each)
        elif isinstance(each, dict):
            for posting in each.get("postings") or ():
                said = convert(posting, _Posting)
                minor = minor_units("postedAmount", said.postedAmount.amount)
                at_ms = time.read("transactionDate", said.transactionDate, now_ms=now_ms)
                lines[said.transactionNo] = FolioLine(
                    said.transactionNo,
                    line(said.transactionDescription or ""),
                    minor,
                    said.postedAmount.currencyCode,
                    at_ms,
                )
            stack.extend(value for key, value in each.items() if key != "postings")
    return tuple(sorted(lines.values(), key=lambda each: (each.at_ms, each.external_id)))


def event_hint(raw: bytes | msgspec.Raw) -> Hint | None:
    """Read one business event; None for a module that we do not follow. Raises PeerProtocolError."""
    try:
        told = msgspec.json.decode(raw, type=dict[str, Any])
        said = convert(_header(told) or told, _Event)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise PeerProtocolError(f"not a business event: {error}") from error
    kind = _MODULES.get(said.about())
    if kind is None:
        return None
    if said.primaryKey is None and kind != "resource":
        raise PeerProtocolError(f"not a business event: a {kind}'s names no primaryKey")
    if kind == "guest":
        return Hint("reservation", f"{OF_GUEST}{said.primaryKey}")
    return Hint(kind, said.primaryKey or "*")


def stream_event(told: dict[str, Any]) -> dict[str, Any] | None:
    """Return the event in a message of the event stream (graphql-transport-ws `next`); None where there is none."""
    for depth, found in _dicts(told):
        if depth <= DEPTH_MOST and isinstance(event := found.get("newEvent"), dict):
            return event
    return None


def stream_hints(raw: bytes) -> list[Hint]:
    """Read one message of the event stream. Raises PeerProtocolError."""
    try:
        told = msgspec.json.decode(raw, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise PeerProtocolError(f"not a message of the event stream: {error}") from error
    if told.get("type") != "next":
        return []
    if (event := stream_event(told)) is None:
        raise PeerProtocolError("not a message of the event stream: `next` without newEvent")
    hint = event_hint(msgspec.json.encode(event))
    return [] if hint is None else [hint]
