"""eZee's JSON as far as we use it. Source: api.ezeetechnosys.com, design page pms.md B.5. Pure.

A booking there holds transactions, one a room: each is a reservation of ours, named by its SubBookingId (the booking's
own id, then with -1, -2 behind it), or by `UniqueID~SubBookingId` where that says nothing of the booking. A list of one
may come as that one alone.
"""

import re
from typing import Any, Final

import msgspec

from cloud.pms.port import Hint, ItemError, PmsReservation, PmsRoom
from cloud.pms.reading import (
    NO_ID,
    ExternalId,
    HouseTime,
    Text,
    UnreadableError,
    convert,
    decode,
    display_name,
    id_in,
    line,
)
from cloud.stays.reservation import Housekeeping, PmsStatus
from protocols.errors import PeerProtocolError

ADDRESS: Final = "/pmsinterface/pms_connectivity.php"
GUEST_LIST: Final = "GuestList"
ROOM_LIST: Final = "RoomList"
UNAUTHORISED: Final = frozenset({"301", "302", "303"})
BROKEN: Final = frozenset({"500"})
_OF: Final = "~"
_SUB: Final = re.compile(r"-[0-9]{1,3}\Z")
_STATUS: Final = (
    (("noshow",), PmsStatus.NO_SHOW),
    (("cancel", "void"), PmsStatus.CANCELLED),
    (("checkedout", "departed"), PmsStatus.LEFT),
    (("checkedin", "arrived", "stayover", "inhouse"), PmsStatus.IN_HOUSE),
    (("unconfirm", "tentative", "inquiry", "hold"), PmsStatus.OPTION),
    (("confirm", "new", "modif", "dueout"), PmsStatus.BOOKED),
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
    ArrivalTime: str | None = None
    FirstName: Text | None = None
    LastName: Text | None = None
    Modifydatetime: str | None = None
    Createdatetime: str | None = None


class _Booking(msgspec.Struct, frozen=True):
    UniqueID: ExternalId
    BookingTran: list[Any] | dict[str, Any]
    BookedBy: Text | None = None


class Room(msgspec.Struct, frozen=True):
    """One room."""

    RoomID: ExternalId
    RoomName: Text
    hkstatus: str
    isblocked: bool = False


def parent(external_id: str) -> str:
    """Return the booking that a room's transaction belongs to."""
    of, parted, _ = external_id.partition(_OF)
    return of if parted else _SUB.sub("", external_id)


def _named_as(booking: str, sub: str) -> str:
    """Return the name of a room's transaction: a SubBookingId may count within its booking alone."""
    return sub if _SUB.sub("", sub) == booking else f"{booking}{_OF}{sub}"


def problem(answer: dict[str, Any]) -> tuple[str, str] | None:
    """Return (code, message) of an answer that is none."""
    errors = answer.get("Errors")
    if isinstance(errors, list) and errors:
        errors = errors[0]
    if not isinstance(errors, dict):
        return None
    code = str(errors.get("ErrorCode"))
    return None if code == "0" else (code, str(errors.get("ErrorMessage") or "no message")[:300])


def bookings(answer: dict[str, Any], place: str) -> list[Any]:
    """Return the bookings of an answer or a push. Raises PeerProtocolError: there is no list of them."""
    held = answer.get("Reservations")
    if isinstance(held, list) and not held:
        return []  # an empty object, as PHP writes it
    if not isinstance(held, dict) or not isinstance(held.get("Reservation"), list | dict):
        raise PeerProtocolError(f"eZee {place}: no Reservations.Reservation in the answer")
    return _listed(held["Reservation"])


def reservations(told: object, time: HouseTime, *, now_ms: int) -> list[PmsReservation | ItemError]:
    """Translate a booking: one reservation of ours for each of its rooms."""
    raw = msgspec.json.encode(told)
    try:
        booking = decode(raw, _Booking)
    except (msgspec.MsgspecError, RecursionError) as error:
        return [ItemError(id_in(raw, "UniqueID"), str(error))]
    found: list[PmsReservation | ItemError] = []
    if not booking.BookingTran:
        return [ItemError(booking.UniqueID, "BookingTran is empty: a booking without a room")]
    for each in _listed(booking.BookingTran):
        one = msgspec.json.encode(each)
        try:
            found.append(_one(booking, decode(one, Transaction), time, now_ms))
        except UnreadableError as error:
            found.append(ItemError(id_in(one, "SubBookingId"), str(error)))
        except (msgspec.MsgspecError, RecursionError) as error:
            known = id_in(one, "SubBookingId")
            found.append(ItemError(booking.UniqueID if known == NO_ID else known, str(error)))
    return found


def _one(booking: _Booking, said: Transaction, time: HouseTime, now_ms: int) -> PmsReservation:
    arrival_ms, departure_ms = time.stay_ms(("Start", "End"), said.Start, said.End, eta=said.ArrivalTime)
    touched = said.Modifydatetime or said.Createdatetime  # neither has to be told: then it is as it is read now
    name = display_name(said.FirstName, said.LastName) or display_name(booking.BookedBy)
    return PmsReservation(
        external_id=_named_as(booking.UniqueID, said.SubBookingId),
        number=booking.UniqueID,
        status=_status(said),
        room_external_id=said.RoomID,
        guest_name=name or None,
        arrival_ms=arrival_ms,
        departure_ms=departure_ms,
        adults=None,
        children=None,
        updated_ms=time.read("Modifydatetime", touched, now_ms=now_ms) if touched else now_ms,
        room_type=said.RoomTypeID,
    )


def _status(said: Transaction) -> PmsStatus:
    for text in (said.CurrentStatus, said.Status):
        word = "".join(each for each in (text or "").casefold() if each.isalpha())
        for words, status in _STATUS:
            if any(each in word for each in words):
                return status
    raise UnreadableError(f"CurrentStatus {(said.CurrentStatus or said.Status or '')[:40]!r} is not known")


def room(said: Room, *, now_ms: int) -> PmsRoom | ItemError:
    """Translate one room."""
    name, housekeeping = line(said.RoomName), _CONDITION.get(said.hkstatus.casefold())
    if not name:
        return ItemError(said.RoomID, f"RoomName {said.RoomName!r} has nothing to read", "resource")
    if housekeeping is None:
        return ItemError(said.RoomID, f"hkstatus {said.hkstatus[:40]!r} is not known", "resource")
    return PmsRoom(said.RoomID, name, Housekeeping.OUT_OF_SERVICE if said.isblocked else housekeeping, now_ms)


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
    found = []
    for each in bookings(data, "push"):
        try:
            found.append(Hint("reservation", convert(each, _Named).UniqueID))
        except msgspec.ValidationError as error:
            raise PeerProtocolError(f"not an eZee push: {error}") from error
    return list(dict.fromkeys(found))


class _Named(msgspec.Struct, frozen=True):
    UniqueID: ExternalId


def _listed(told: Any) -> list[Any]:  # noqa: ANN401 - a list, or its only item
    return told if isinstance(told, list) else [told]
