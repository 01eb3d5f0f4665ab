"""eZee's JSON as far as we use it. Source: api.ezeetechnosys.com as of June 2026, design page pms.md B.5. Pure.

Documented: `Bookings` (what is new, and not yet confirmed by `BookingRecdNotification`), `FetchSingleBooking`,
`ArrivalList` (at most a month, by day of arrival), the housekeeping's addresses, and at the kiosk's address
`AssignRoom`, `GuestCheckIn` and `GuestCheckOut`. A list tells a booking's room by its name alone, under its nights.
Not documented: whether a change between `Bookings` and its confirmation is told again; what a list leaves out; how a
push looks. `GuestList` is documented as a list of profiles: it is asked for bookings only where a house refuses the
other names.

A booking there holds transactions, one a room: each is a reservation of ours, named by its SubBookingId (the booking's
own id, then with -1, -2 behind it), or by `UniqueID~SubBookingId` where that says nothing of the booking. A list of one
may come as that one alone.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from cloud.pms.port import Hint, ItemError, PmsReservation, PmsRoom
from cloud.pms.reading import (
    NO_ID,
    Count,
    ExternalId,
    HouseTime,
    Text,
    UnreadableError,
    convert,
    decode,
    decode_told,
    display_name,
    id_in,
    known_by,
    line,
)
from cloud.stays.reservation import Housekeeping, PmsStatus
from protocols.errors import PeerProtocolError

ADDRESS: Final = "/pmsinterface/pms_connectivity.php"
ROOMS_ADDRESS: Final = "/index.php/page/service.hkinfoforkaterina"
CONDITION_ADDRESS: Final = "/index.php/page/service.hkupdatestatus"
KIOSK_ADDRESS: Final = "/index.php/page/service.kioskconnectivity"
BOOKINGS: Final = "Bookings"
RECEIVED: Final = "BookingRecdNotification"
ONE_BOOKING: Final = "FetchSingleBooking"
ARRIVALS: Final = "ArrivalList"
GUEST_LIST: Final = "GuestList"
LISTS: Final = frozenset({BOOKINGS, ONE_BOOKING, ARRIVALS, GUEST_LIST})
ASSIGN: Final = "AssignRoom"
CHECK_IN: Final = "GuestCheckIn"
CHECK_OUT: Final = "GuestCheckOut"
NOT_HERE: Final = frozenset({"302", "615"})
"""The integration is not allowed, or the request not valid, for this hotel."""
ROOM_LIST: Final = "RoomList"
UNAUTHORISED: Final = frozenset({"301", "302", "303"})
BROKEN: Final = frozenset({"500"})
_NEVER: Final = "0000-00-00"
"""How its database writes a time that there was none."""
_NOTHING: Final = re.compile(r"\bno\s+(data|records?|reservations?|bookings?|guests?|rooms?)\b", re.IGNORECASE)
_UNKNOWN_TYPE: Final = re.compile(
    r"request type|\b(unknown|invalid|unsupported|no such) (request|operation|function|method)\b"
    r"|\bnot (supported|implemented)\b",
    re.IGNORECASE,
)
_OF: Final = "~"
_SUB: Final = re.compile(r"-[0-9]{1,3}\Z")
_STATUS: Final = (
    (("noshow",), PmsStatus.NO_SHOW),
    (("cancel", "void"), PmsStatus.CANCELLED),
    (("checkedout", "checkout", "departed"), PmsStatus.LEFT),
    (("dayusereservation",), PmsStatus.BOOKED),
    (("checkedin", "checkin", "arrived", "stayover", "inhouse", "dueout", "dayuse"), PmsStatus.IN_HOUSE),
    (("unconfirm", "tentative", "inquiry", "hold"), PmsStatus.OPTION),
    (("confirm", "new", "modif", "arrival", "reserv"), PmsStatus.BOOKED),
)
"""The first line with a word that occurs counts: what ended a booking weighs more than that it was new."""
CONDITION_OF: Final[dict[Housekeeping, str]] = {
    Housekeeping.DIRTY: "Dirty",
    Housekeeping.PICKUP: "Dirty",
    Housekeeping.CLEAN: "Clean",
    Housekeeping.INSPECTED: "Clean",
}
_CONDITION: Final = {"clean": Housekeeping.CLEAN, "dirty": Housekeeping.DIRTY}


class Transaction(msgspec.Struct, frozen=True):
    """One room of a booking."""

    SubBookingId: ExternalId
    Start: str
    End: str
    CurrentStatus: str | None = None
    Status: str | None = None
    TransactionId: ExternalId | None = None
    RoomID: ExternalId | None = None
    RoomTypeID: ExternalId | None = None
    RoomTypeCode: ExternalId | None = None
    RoomName: Text | None = None
    RentalInfo: Any = None
    ArrivalTime: str | None = None
    FirstName: Text | None = None
    LastName: Text | None = None
    Modifydatetime: str | None = None
    Createdatetime: str | None = None


class _Booking(msgspec.Struct, frozen=True):
    UniqueID: ExternalId
    BookingTran: list[Any] | dict[str, Any]
    BookedBy: Text | None = None


class _Night(msgspec.Struct, frozen=True):
    EffectiveDate: str
    RoomName: Text | None = None
    RoomTypeCode: ExternalId | None = None
    Adult: Count | None = None
    Child: Count | None = None


class Room(msgspec.Struct, frozen=True):
    """One room; its fields are read whatever their case. `unitid` is told with each change of its condition,
    `roomtypeid` with whoever is given it.
    """

    roomid: ExternalId
    roomname: Text | int
    hkstatus: str = ""
    unitid: ExternalId | None = None
    roomtypeid: ExternalId | None = None
    isblocked: bool | str = False


def parent(external_id: str) -> str:
    """Return the booking that a room's transaction belongs to."""
    of, parted, _ = external_id.partition(_OF)
    return of if parted else _SUB.sub("", external_id)


def part(external_id: str) -> str:
    """Return the SubBookingId of a room's transaction: what the kiosk's interface calls the booking."""
    of, _, sub = external_id.partition(_OF)
    return sub or of


def _named_as(booking: str, sub: str) -> str:
    """Return the name of a room's transaction: a SubBookingId may count within its booking alone."""
    return sub if _SUB.sub("", sub) == booking else f"{booking}{_OF}{sub}"


def problem(answer: dict[str, Any]) -> tuple[str, str] | None:
    """Return (code, message) of an answer that is none: under Errors, Error or error, or as errorcode."""
    errors = answer.get("Error") or answer.get("Errors", answer.get("error"))
    if isinstance(errors, list) and errors:
        errors = errors[0]
    if isinstance(errors, dict):
        code, said = (errors.get(each, errors.get(each[5:].lower())) for each in ("ErrorCode", "ErrorMessage"))
    elif answer.get("errorcode") is not None:
        code, said = answer["errorcode"], answer.get("message")
    else:
        return None
    return None if str(code) == "0" else (str(code), str(said or "no message")[:300])


def is_type_unknown(said: str) -> bool:
    """Tell whether a problem, code and message, is that the type of the request is none, or none for this hotel."""
    return said.split(" ", 1)[0] == "502" or _UNKNOWN_TYPE.search(said.replace("_", " ")) is not None


def is_nothing(message: str) -> bool:
    """Tell whether a problem is that there is nothing to tell of."""
    return _NOTHING.search(message) is not None


def bookings(answer: dict[str, Any], place: str) -> list[Any]:
    """Return the bookings of an answer or a push. Raises PeerProtocolError: there is no list of them."""
    held = answer.get("Reservations")
    if held is None and "Reservations" in answer:
        return []
    if (isinstance(held, list) and not held) or (isinstance(held, str) and is_nothing(held)):
        return []  # an empty object, as PHP writes it, or that there is none in words
    if isinstance(held, dict) and "Reservation" in held and held["Reservation"] in (None, ""):
        return []
    if not isinstance(held, dict) or not isinstance(held.get("Reservation"), list | dict):
        raise PeerProtocolError(f"eZee {place}: no Reservations.Reservation in the answer")
    return _listed(held["Reservation"])


def reservations(
    told: object, time: HouseTime, *, rooms: Mapping[str, str], now_ms: int
) -> list[PmsReservation | ItemError]:
    """Translate a booking: one reservation of ours for each of its rooms. `rooms`: the id of each room by its name."""
    raw = msgspec.json.encode(told)
    try:
        booking = decode_told(raw, _Booking)
    except (msgspec.MsgspecError, RecursionError) as error:
        return [ItemError(id_in(raw, "UniqueID"), str(error))]
    found: list[PmsReservation | ItemError] = []
    if not booking.BookingTran:
        return [ItemError(booking.UniqueID, "BookingTran is empty: a booking without a room")]
    for each in _listed(booking.BookingTran):
        one = msgspec.json.encode(each)
        try:
            found.append(_one(booking, decode_told(one, Transaction), time, rooms, now_ms))
        except UnreadableError as error:
            found.append(ItemError(id_in(one, "SubBookingId"), str(error)))
        except (msgspec.MsgspecError, RecursionError) as error:
            known = id_in(one, "SubBookingId")
            found.append(ItemError(booking.UniqueID if known == NO_ID else known, str(error)))
    return found


def _one(
    booking: _Booking, said: Transaction, time: HouseTime, rooms: Mapping[str, str], now_ms: int
) -> PmsReservation:
    night = _night(said.RentalInfo, time.day(now_ms))
    named = line(said.RoomName or night.RoomName or "")
    arrival_ms, departure_ms = time.stay_ms(("Start", "End"), said.Start, said.End, eta=said.ArrivalTime)
    told = [each for each in (said.Modifydatetime, said.Createdatetime) if each and not each.startswith(_NEVER)]
    touched = told[0] if told else None  # neither has to be told: then it is as it is read now
    name = display_name(said.FirstName, said.LastName) or display_name(booking.BookedBy)
    return PmsReservation(
        external_id=_named_as(booking.UniqueID, said.SubBookingId),
        number=booking.UniqueID,
        status=_status(said),
        room_external_id=said.RoomID or (rooms.get(named, named) or None),
        guest_name=name or None,
        arrival_ms=arrival_ms,
        departure_ms=departure_ms,
        adults=night.Adult,
        children=night.Child,
        updated_ms=time.read("Modifydatetime", touched, now_ms=now_ms) if touched else now_ms,
        room_type=said.RoomTypeID or said.RoomTypeCode,
    )


def _night(told: object, today: str) -> _Night:
    """Return the night that counts today, of those that a booking is made of: today's, else the first one to come, else
    the last; one that cannot be read is none.
    """
    nights = []
    for each in _listed(told) if told else ():
        try:
            nights.append(convert(each, _Night))
        except msgspec.ValidationError:
            continue
    nights.sort(key=lambda each: each.EffectiveDate)
    return next((each for each in nights if each.EffectiveDate[:10] >= today), nights[-1] if nights else _Night(""))


def _status(said: Transaction) -> PmsStatus:
    for text in (said.CurrentStatus, said.Status):
        word = "".join(each for each in (text or "").casefold() if each.isalpha())
        for words, status in _STATUS:
            if any(each in word for each in words):
                return status
    raise UnreadableError(f"CurrentStatus {(said.CurrentStatus or said.Status or '')[:40]!r} is not known")


def room(said: Room, *, now_ms: int) -> list[PmsRoom | ItemError]:
    """Translate one room. A condition that nobody has told is none."""
    name, told = line(str(said.roomname)), said.hkstatus.strip()
    housekeeping = _CONDITION.get(told.casefold())
    if not name:
        return [ItemError(said.roomid, f"roomname {said.roomname!r} has nothing to read", "resource")]
    if said.isblocked is True or str(said.isblocked).strip().casefold() in ("yes", "1", "true"):
        housekeeping = Housekeeping.OUT_OF_SERVICE
    if housekeeping is None and told:
        return known_by(said.roomid, name, now_ms, f"hkstatus {told[:40]!r} is not known", told)
    return [PmsRoom(said.roomid, name, housekeeping, now_ms)]


def rooms(answer: dict[str, Any]) -> list[bytes]:
    """Return the rooms of an answer, each as JSON with its names in lower case. Raises PeerProtocolError: no list."""
    rows = next((each for name, each in answer.items() if name.casefold() == "roomlist"), None)
    if not isinstance(rows, list):
        raise PeerProtocolError("eZee rooms: no roomlist in the answer")
    return [msgspec.json.encode(_lower(each)) for each in rows]


def _lower(told: object) -> object:
    return {str(name).casefold(): each for name, each in told.items()} if isinstance(told, dict) else told


def warning(answer: dict[str, Any]) -> str | None:
    """Return what an answer to a change of conditions says against it; None: it was taken."""
    told = answer.get("warning")
    return str(told)[:300] if told else None


def hints(raw: bytes) -> list[Hint]:
    """Read a push: whatever it says of a booking, only that it may have changed. Raises PeerProtocolError."""
    try:
        push = decode(raw, dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise PeerProtocolError(f"not an eZee push: {error}") from error
    data = push.get("data")
    if not isinstance(push.get("operation"), str) or not isinstance(data, dict):
        raise PeerProtocolError("not an eZee push: operation and data are missing")
    if "Reservations" not in data:
        return []
    try:
        return [Hint("reservation", each) for each in named(data, "push")]
    except msgspec.ValidationError as error:
        raise PeerProtocolError(f"not an eZee push: {error}") from error


def named(data: dict[str, Any], place: str) -> list[str]:
    """Return the bookings that an answer or a push names, also those that were cancelled, each once.

    Raises:
        PeerProtocolError: there is no list of them.
        msgspec.ValidationError: one has no readable name.
    """
    held = data.get("Reservations")
    gone = held.get("CancelReservation") if isinstance(held, dict) else None
    told = bookings(data, place) if gone is None or (isinstance(held, dict) and "Reservation" in held) else []
    return list(dict.fromkeys(convert(each, _Named).UniqueID for each in [*told, *_listed(gone or [])]))


class _Named(msgspec.Struct, frozen=True):
    UniqueID: ExternalId


def _listed(told: Any) -> list[Any]:  # noqa: ANN401 - a list, or its only item
    return told if isinstance(told, list) else [told]
