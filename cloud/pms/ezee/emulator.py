"""An eZee that answers on the real wire, as its public documentation has it (see wire.py): errors in HTTP 200, whole
pushes, a queue of what is new until it was confirmed, lists by day that tell a room by its name.
"""

from datetime import date, timedelta
from typing import Any, ClassVar, Final, Unpack

import msgspec

from cloud.pms.emulation.face import Ask, Face, Parts, Reply, WireError
from cloud.pms.emulation.hotel import Missing, Reservation
from cloud.pms.ezee.wire import ADDRESS, CONDITION_ADDRESS, KIOSK_ADDRESS, ROOMS_ADDRESS

_STATUS: Final = {
    "Inquired": ("New", "Unconfirmed Reservation"),
    "Confirmed": ("Modify", "Confirmed Reservation"),
    "Started": ("Modify", "Checked In"),
    "Processed": ("Modify", "Checked Out"),
    "Canceled": ("Cancel", "Cancel"),
}
_CODES: Final = {401: "301", 404: "113", 403: "127", 400: "100"}
_KIOSK: Final = frozenset({"AssignRoom", "GuestCheckIn", "GuestCheckOut"})
_CONTACT: Final = ("Email", "Address", "Phone", "Mobile")


class Emulator(Face):
    """eZee around a hotel."""

    LIMIT: ClassVar[tuple[int, int]] = (100, 60_000)

    def __init__(self, **parts: Unpack[Parts]) -> None:
        self._news: dict[str, int] = {}
        """What was not confirmed yet, by the change that it is about."""
        self._told: dict[str, int] = {}
        self._changes = 0
        self.kiosk_allowed = True
        """Whether the house has the kiosk's interface."""
        self.documented = True
        """False: it knows none of the documented lists, and `GuestList` lists bookings."""
        super().__init__(**parts)

    def _changed(self, kind: str, changed_id: str) -> None:
        if kind == "ServiceOrderUpdated":
            self._changes += 1
            self._news[changed_id] = self._changes
        super()._changed(kind, changed_id)

    def operation(self, ask: Ask) -> str:
        """See Face."""
        try:
            body = ask.json()
        except WireError:
            return "unreadable"
        if ask.path == ROOMS_ADDRESS:
            return "RoomList"
        return str((body.get("RES_Request") or {}).get("Request_Type") or "updatehkdata")

    def admit(self, ask: Ask) -> None:
        """See Face."""
        if ask.method != "POST" or ask.path not in (ADDRESS, ROOMS_ADDRESS, CONDITION_ADDRESS, KIOSK_ADDRESS):
            raise WireError(404, "No such address")
        if ask.path == KIOSK_ADDRESS and not self.kiosk_allowed:
            raise WireError(302, "Unauthorized Request. Integration is not allowed")
        body = ask.json()
        flat = {"HotelCode": body.get("hotel_code"), "AuthCode": body.get("authcode")}
        told = (body.get("RES_Request") or {}).get("Authentication") or flat
        if (told.get("HotelCode"), told.get("AuthCode")) != (
            self._credentials.client_token,
            self._credentials.access_token,
        ):
            raise WireError(401, "Unauthorized request: check hotel code and authentication code")

    def sorry(self, error: WireError) -> Reply:
        """See Face: most of it is told with 200."""
        headers = {} if error.retry_after_s is None else {"Retry-After": str(error.retry_after_s)}
        code = _CODES.get(error.status, str(error.status))
        status = error.status if error.status == 429 else 200
        return Reply(status, {"Errors": {"ErrorCode": code, "ErrorMessage": str(error)}}, headers)

    def push_body(self, kind: str, changed_id: str) -> bytes | None:
        """See Face: bookings alone are pushed."""
        if kind != "ServiceOrderUpdated":
            return None
        found = self._sister.get(changed_id) or self.hotel.reservation(changed_id)
        data = {"Reservations": {"Reservation": [self.shown_json(found)]}}
        return msgspec.json.encode({"hotel_code": self._credentials.client_token, "operation": "Booking", "data": data})

    def do(self, ask: Ask) -> object:
        """See Face."""
        body = ask.json()
        match self.operation(ask):
            case "Bookings" if self.documented:
                return self._queue()
            case "BookingRecdNotification" if self.documented:
                return self._confirmed(body["RES_Request"])
            case "FetchSingleBooking" if self.documented:
                return _whole([self.row(self._booking(str(body["RES_Request"].get("BookingId"))))])
            case "ArrivalList" if self.documented:
                return self._arrivals(body["RES_Request"]["Date"])
            case "GuestList" if not self.documented:
                return self._list(body["RES_Request"])
            case kind if kind in _KIOSK and ask.path == KIOSK_ADDRESS:
                return self._at_kiosk(kind, body["RES_Request"])
            case "RoomList":
                return {"roomlist": self._rooms(), "checkinguestlist": []}
            case "updatehkdata":
                for each in body.get("updatehkdata") or ():
                    room = self.hotel.resources.get(each["roomid"])
                    if room is None or each["unitid"] not in ("", f"9{room.id}"):
                        raise Missing("Room not found")
                    self.hotel.set_room_state(room.name, each["hkstatus"])
                return {"status": "0", "message": "Success"}
            case _:
                raise WireError(502, "Request type is missing")

    def _booking(self, booking: str) -> Reservation:
        try:
            return self.shown(self.hotel.reservation(booking))
        except Missing:
            raise WireError(503, "No Reservation Found.") from None

    def _queue(self) -> object:
        """Return what is new: told again until it was confirmed, and again if it changed since it was told."""
        self._told = dict(self._news)
        found = [self.hotel.reservation(each) for each in self._news]
        if not found:
            return {"Reservations": "No Reservation Found"}
        gone = [
            {"LocationId": self._credentials.client_token, "UniqueID": each.id, "Status": "Cancel", "VoucherNo": ""}
            for each in found
            if each.state == "Canceled"
        ]
        held: dict[str, Any] = {"Reservation": [self._listed(each) for each in found if each.state != "Canceled"]}
        return {"Reservations": held | ({"CancelReservation": gone} if gone else {})}

    def _confirmed(self, asked: dict[str, Any]) -> object:
        told = [str(each["BookingId"]) for each in asked["Bookings"]["Booking"]]
        for each in told:
            if self._news.get(each) == self._told.get(each):
                self._news.pop(each, None)
        return _done(f"{len(told)} booking(s) updated")

    def _arrivals(self, asked: dict[str, Any]) -> object:
        since, until = str(asked["from_date"]), str(asked["to_date"])
        if date.fromisoformat(until) - date.fromisoformat(since) > timedelta(days=31):
            raise WireError(112, "Error: Date range is too long. Please provide dates for 1 month.")
        self.turned(1)
        shown = sorted(map(self.shown, self.hotel.reservations.values()), key=lambda each: each.id)
        found = [self._listed(each) for each in shown if since <= self.time.day(each.start_ms) <= until]
        if not found:
            raise WireError(503, "No Data Found.")
        return _whole(found)

    def _list(self, asked: dict[str, Any]) -> object:
        shown = sorted(map(self.shown, self.hotel.reservations.values()), key=lambda each: each.id)
        if (booking := asked.get("BookingId")) is not None:
            found = [each for each in shown if each.id == booking]
        else:
            by = {"Created": "created_ms", "Updated": "updated_ms"}.get(str(asked.get("FilterBy")))
            if by is None:
                raise WireError(400, "FilterBy: Created or Updated")
            since, until = asked["FromDate"], asked["ToDate"]
            found = [each for each in shown if since <= self.time.text(getattr(each, by)) <= until]
        return _whole([self.row(each) for each in found])

    def _at_kiosk(self, kind: str, asked: dict[str, Any]) -> object:
        [told] = asked["RoomAssign"] if kind == "AssignRoom" else asked["Reservation"]
        found = self.hotel.reservation(str(told["BookingId"]))
        if kind == "AssignRoom":
            room = self.hotel.resources.get(str(told["RoomID"]))
            if room is None or told["RoomTypeID"] != "1":
                raise WireError(111, f"Room ID does not belongs to Room Type ID for Booking {found.id}")
            if found.state != "Confirmed" or found.resource_id is not None:
                raise WireError(129, f"Room has already assigned to Booking {found.id}")
            self.hotel.update(found.id, room=room.name)
            return _done(f"Room Assignment is successfully done for Booking {found.id}")
        if kind == "GuestCheckOut":
            if found.state == "Confirmed":
                raise WireError(115, "Reservation is not yet checked in. So guest check out is not performed")
            self.hotel.process(found.id)
            return _done(f"Guest Check Out is successfully done for Booking {found.id}")
        tran = self.row(found)["BookingTran"][0]
        if any(not told.get(name) or told[name] != tran[name] for name in _CONTACT) or not told.get("GuestName"):
            raise WireError(112, "GuestName, Address, Email, Phone, Mobile is mandatory to process your request")
        self.hotel.start(found.id, by_day=True)
        return _done(f"Guest Check In successfully for Booking {found.id}")

    def _rooms(self) -> list[dict[str, Any]]:
        return [
            {
                "hotel_code": self._credentials.client_token,
                "roomid": each.id,
                "unitid": f"9{each.id}",
                "roomname": each.name,
                "roomtypeid": "1",
                "hkstatus": "Dirty" if each.state == "Dirty" else "Clean",
                "isblocked": "Yes" if each.state.startswith("Out") else "No",
            }
            for each in self.hotel.resources.values()
        ]

    def shown_json(self, found: Reservation) -> dict[str, Any]:
        """See Face: a booking with its one transaction."""
        room = self.hotel.resources.get(found.resource_id or "")
        guest = self.hotel.customers[found.account_id]
        status, current = _STATUS[found.state]
        transaction = {
            "SubBookingId": found.id,
            "TransactionId": f"7{found.id}",
            "Status": status,
            "CurrentStatus": "No Show" if found.cancellation_reason == "NoShow" else current,
            "RoomTypeID": found.room_type,
            "RoomID": None if room is None else room.id,
            "RoomName": None if room is None else room.name,
            "Start": self.time.day(found.start_ms),
            "End": self.time.day(found.end_ms),
            "ArrivalTime": "15:00:00",
            "FirstName": guest["FirstName"],
            "LastName": guest["LastName"],
            "Email": guest.get("Email"),
            "Address": "Ring 1",
            "Phone": "+43 1 000",
            "Mobile": "+43 660 000",
            "Createdatetime": self.time.text(found.created_ms),
            "Modifydatetime": self.time.text(found.updated_ms),
            "RentalInfo": [
                {
                    "EffectiveDate": self.time.day(found.start_ms),
                    "RoomTypeCode": found.room_type,
                    "RoomName": "" if room is None else room.name,
                    "Adult": str(found.adults),
                    "Child": "0",
                }
            ],
        }
        return {
            "LocationId": self._credentials.client_token,
            "UniqueID": found.id,
            "BookedBy": self.name_of(found),
            "BookingTran": [transaction],
        }

    def _listed(self, found: Reservation) -> dict[str, Any]:
        """Return a booking as a list has it: its room stands under its nights alone, by its name."""
        row = self.row(found)
        if isinstance(trans := row.get("BookingTran"), list):
            left_out = ("RoomID", "RoomName", "RoomTypeID")
            row = {
                **row,
                "BookingTran": [
                    {name: value for name, value in each.items() if name not in left_out}
                    | {"RoomTypeCode": each.get("RoomTypeID")}
                    for each in trans
                ],
            }
        return row


def _whole(rows: list[dict[str, Any]]) -> dict[str, Any]:
    if not rows:
        return {"Reservations": []}  # as PHP writes what is empty
    return {"Reservations": {"Reservation": rows[0] if len(rows) == 1 else rows}}


def _done(message: str) -> dict[str, Any]:
    return {"Success": {"SuccessMsg": message}, "Errors": [{"ErrorCode": "0", "ErrorMessage": "Success"}]}
