"""An eZee that answers on the real wire, as design page pms.md B.5 describes it: errors in HTTP 200, whole pushes."""

from typing import Any, ClassVar, Final

import msgspec

from cloud.pms.emulation.face import Ask, Face, Reply, WireError
from cloud.pms.emulation.hotel import Missing, Reservation
from cloud.pms.ezee.wire import ADDRESS, CONDITION_ADDRESS, ROOMS_ADDRESS

_STATUS: Final = {
    "Inquired": ("New", "Unconfirmed Reservation"),
    "Confirmed": ("Modify", "Confirmed Reservation"),
    "Started": ("Modify", "Checked In"),
    "Processed": ("Modify", "Checked Out"),
    "Canceled": ("Cancel", "Cancel"),
}
_CODES: Final = {401: "301", 404: "107", 403: "202", 400: "100"}


class Emulator(Face):
    """eZee around a hotel."""

    LIMIT: ClassVar[tuple[int, int]] = (100, 60_000)

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
        if ask.method != "POST" or ask.path not in (ADDRESS, ROOMS_ADDRESS, CONDITION_ADDRESS):
            raise WireError(404, "No such address")
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
        data = {"Reservations": {"Reservation": [self.shown_json(self.hotel.reservation(changed_id))]}}
        return msgspec.json.encode({"hotel_code": self._credentials.client_token, "operation": "Booking", "data": data})

    def do(self, ask: Ask) -> object:
        """See Face."""
        body = ask.json()
        match self.operation(ask):
            case "GuestList":
                return self._list(body["RES_Request"])
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
        rows = [self.row(each) for each in found]
        if not rows:
            return {"Reservations": []}  # as PHP writes what is empty
        return {"Reservations": {"Reservation": rows[0] if len(rows) == 1 else rows}}

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
            "Createdatetime": self.time.text(found.created_ms),
            "Modifydatetime": self.time.text(found.updated_ms),
            "RentalInfo": [],
        }
        return {"UniqueID": found.id, "BookedBy": self.name_of(found), "BookingTran": [transaction]}
