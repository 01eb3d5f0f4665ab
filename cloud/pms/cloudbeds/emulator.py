"""A Cloudbeds that answers on the real wire: /api/v1.3/{method} as design page pms.md B.2 describes it.

Local times, errors as HTTP 200, event ids in changing case, subscriptions that vanish (`webhook_subscribed` false).
"""

from typing import Any, ClassVar, Final, Unpack

import msgspec

from cloud.pms.cloudbeds.wire import API, PAGE_MOST
from cloud.pms.emulation.face import Ask, Face, Parts, Reply, WireError
from cloud.pms.emulation.hotel import Forbidden, Missing, Reservation

PROPERTY: Final = "318422"
_STATUS: Final = {
    "Inquired": "not_confirmed",
    "Confirmed": "confirmed",
    "Started": "checked_in",
    "Processed": "checked_out",
    "Canceled": "canceled",
}
_EVENTS: Final = {
    "ServiceOrderUpdated": ("reservation/status_changed", "reservation"),
    "ResourceUpdated": ("housekeeping/room_condition_changed", "room"),
    "CustomerUpdated": ("guest/details_changed", "guest"),  # names no reservation
}
_ROOM_STATUS: Final = {"Started": "in_house", "Processed": "checked_out", "Canceled": "cancelled"}


class Emulator(Face):
    """Cloudbeds around a hotel."""

    LIMIT: ClassVar[tuple[int, int]] = (5, 1_000)
    PROPERTY_FIELD: ClassVar[str | None] = "propertyID"

    def __init__(self, **parts: Unpack[Parts]) -> None:
        super().__init__(**parts)
        self.subscriptions: dict[str, dict[str, Any]] = {}
        """What was subscribed to, by object and action."""
        self.pickups: dict[str, bool] = {}
        """The flag of each room that was told one."""

    def operation(self, ask: Ask) -> str:
        """See Face."""
        return ask.path.removeprefix(API)

    def admit(self, ask: Ask) -> None:
        """See Face."""
        if not ask.path.startswith(API):
            raise WireError(404, "Not found")
        if ask.headers.get("x-api-key") != self._credentials.access_token:
            raise WireError(401, "Invalid API key")

    def sorry(self, error: WireError) -> Reply:
        """See Face: what is wrong with the asked is told with 200."""
        headers = {} if error.retry_after_s is None else {"Retry-After": str(error.retry_after_s)}
        status = error.status if error.status in (401, 429, 500) else 200
        return Reply(status, {"success": False, "message": str(error)}, headers)

    def push_body(self, kind: str, changed_id: str) -> bytes | None:
        """See Face: the case of ids is another in each event."""
        capital = self._dice.uniform(0, 1) < 0.5
        suffix = "ID" if capital else "Id"
        event, name = _EVENTS[kind]
        return msgspec.json.encode(
            {
                "version": "1.0",
                "event": event,
                "timestamp": self.now_ms() / 1000,
                f"property{suffix}": int(PROPERTY),
                f"property{suffix}_str": PROPERTY,
                f"{name}{suffix}": changed_id,
            }
        )

    def do(self, ask: Ask) -> object:
        """See Face."""
        form = ask.form() if ask.method in ("POST", "PUT") else dict(ask.query)
        match self.operation(ask):
            case "getReservations":
                return self._reservations(form)
            case "getReservation":
                return _data(self._whole(self.read(form.get("reservationID", ""))))
            case "getRooms":
                rooms = [
                    {
                        "roomID": each.id,
                        "roomName": each.name,
                        "roomTypeID": "1",
                        "roomBlocked": each.state.startswith("Out"),
                    }
                    for each in self.hotel.resources.values()
                ]
                return _data([{"propertyID": PROPERTY, "rooms": rooms}])
            case "getHousekeepingStatus":
                return _data([self._condition(each.id) for each in self.hotel.resources.values()])
            case "postHousekeepingStatus":
                self.hotel.set_room_state(self._room(form["roomID"]), str(form["roomCondition"]).capitalize())
                if "vacantPickup" in form:  # what is not told stays
                    self.pickups[form["roomID"]] = form["vacantPickup"] == "true"
                return _data({})
            case "postRoomAssign":
                self.hotel.update(form["reservationID"], room=self._room(form["newRoomID"]))
                return _data({})
            case "putReservation" if ask.method == "PUT":
                self.depart(form.get("reservationID", ""), self.end_of_day(form.get("checkoutDate")))
                return _data({})
            case "postRoomCheckIn":
                self._same_room(form)
                self.hotel.start(form["reservationID"], by_day=True)
                return _data({})
            case "postRoomCheckOut":
                self._same_room(form)
                self.hotel.process(form["reservationID"])
                return _data({})
            case "getGuest":
                if (guest := self.hotel.customers.get(form.get("guestID", ""))) is None:
                    raise Missing("Guest not found")
                return _data(_guest(guest))
            case "getGuestList":
                return _data([_guest(each) for each in self.guests_named(form.get("guestName", ""))])
            case "getWebhooks":
                return _data(list(self.subscriptions.values()) if self.knobs.webhook_subscribed else [])
            case "postWebhook":
                return self._subscribe(form)
            case _:
                raise WireError(404, "Method not found")

    def _subscribe(self, form: dict[str, str]) -> object:
        if not self.knobs.webhook_subscribed:
            self.subscriptions.clear()
            self.knobs = msgspec.structs.replace(self.knobs, webhook_subscribed=True)
        self.subscriptions[f"{form['object']}/{form['action']}"] = {
            "id": str(len(self.subscriptions)),
            "event": {"entity": form["object"], "action": form["action"]},
            "subscriptionData": {"endpoint_url": form["endpointUrl"]},
        }
        return _data({"subscriptionID": "1"})

    def _same_room(self, form: dict[str, str]) -> None:
        found = self.hotel.reservation(form.get("reservationID", ""))
        if found.resource_id != form.get("roomID"):
            raise Forbidden("Room is not assigned to this reservation")

    def _room(self, room_id: str) -> str:
        if (found := self.hotel.resources.get(room_id)) is None:
            raise Missing("Room not found")
        return found.name

    def _condition(self, room_id: str) -> dict[str, Any]:
        room = self.hotel.resources[room_id]
        state = room.state.lower() if room.state in ("Dirty", "Clean", "Inspected") else "dirty"
        return {
            "roomID": room.id,
            "roomName": room.name,
            "roomCondition": state,
            "roomOccupied": False,
            "doNotDisturb": False,
            "vacantPickup": self.pickups.get(room.id, False),
        }

    def _reservations(self, asked: dict[str, str]) -> object:
        size, number = int(asked.get("pageSize", "100")), int(asked.get("pageNumber", "1"))
        if not 1 <= size <= PAGE_MOST:
            raise WireError(400, f"pageSize: at most {PAGE_MOST}")
        size = self.turned(size)
        rows = []
        for each in sorted(map(self.shown, self.hotel.reservations.values()), key=lambda each: each.id):
            row = self.shown_json(each)
            spans = (("modified", row["dateModified"]), ("checkIn", row["startDate"]), ("checkOut", row["endDate"]))
            if all(asked.get(f"{name}From", "") <= at <= asked.get(f"{name}To", "9") for name, at in spans):
                rows.append(self.bend(each, row))
        page = rows[(number - 1) * size : number * size]
        return {"success": True, "data": page, "count": len(page), "total": len(rows)}

    def shown_json(self, found: Reservation) -> dict[str, Any]:
        """See Face: a row of getReservations."""
        room = self.hotel.resources.get(found.resource_id or "")
        status = "no_show" if found.cancellation_reason == "NoShow" else _STATUS[found.state]
        part = {
            "roomTypeID": found.room_type,
            "roomID": None if room is None else room.id,
            "roomName": None if room is None else room.name,
            "roomStatus": _ROOM_STATUS.get(found.state, "not_checked_in"),
            "subReservationID": found.id,
        }
        return {
            "propertyID": PROPERTY,
            "reservationID": found.id,
            "subReservationID": found.id,
            "dateCreated": self.time.text(found.created_ms),
            "dateModified": self.time.text(found.updated_ms),
            "status": status,
            "guestID": found.account_id,
            "guestName": self.name_of(found),
            "startDate": self.time.day(found.start_ms),
            "endDate": self.time.day(found.end_ms),
            "adults": str(found.adults),
            "children": "0",
            "balance": sum(each.minor for each in found.folio) / 100,
            "sourceName": "Direct",
            "rooms": [part],
        }

    def _whole(self, found: Reservation) -> dict[str, Any]:
        row = self._own(found)
        [part] = row.pop("rooms")
        charges = sum(each.minor for each in found.folio if each.minor > 0) / 100
        paid = -sum(each.minor for each in found.folio if each.minor < 0) / 100
        guest = self.hotel.customers[found.account_id]
        main = {
            "guestID": found.account_id,
            "guestFirstName": guest["FirstName"],
            "guestLastName": guest["LastName"],
            "guestEmail": guest.get("Email"),
            "isMainGuest": True,
        }
        return {
            **row,
            "guestEmail": guest.get("Email"),
            "guestList": {found.account_id: main},
            "assigned": [part] if part["roomID"] else [],
            "unassigned": [] if part["roomID"] else [part],
            "balanceDetailed": {"suggestedDeposit": "0", "subTotal": charges, "taxesFees": 0, "paid": paid},
        }


def _data(data: object) -> dict[str, Any]:
    if not isinstance(data, list):
        return {"success": True, "data": data, "count": 1}
    total = sum(len(each["rooms"]) if "rooms" in each and "reservationID" not in each else 1 for each in data)
    return {"success": True, "data": data, "count": len(data), "total": total}


def _guest(guest: dict[str, Any]) -> dict[str, Any]:
    name = {"firstName": guest["FirstName"], "lastName": guest["LastName"]}
    return {"guestID": guest["Id"], **name, "email": guest.get("Email")}
