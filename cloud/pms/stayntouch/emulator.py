"""A StayNTouch that answers on the real wire, as design page pms.md B.4 describes it."""

from typing import Any, ClassVar, Final, Unpack

import msgspec

from cloud.pms.emulation.face import Ask, Face, Parts, Reply, WireError
from cloud.pms.emulation.hotel import Missing, Reservation, Resource

HOTEL: Final = "80"
TOKEN_MS: Final = 7_200_000
PAGE_MOST: Final = 50
_STATUS: Final = {
    "Inquired": "WAITLIST",
    "Confirmed": "RESERVED",
    "Started": "CHECKEDIN",
    "Processed": "CHECKEDOUT",
    "Canceled": "CANCELED",
}
_EVENTS: Final = {
    "ServiceOrderUpdated": ("reservation", "edit_reservation"),
    "ResourceUpdated": ("room", "room_status"),
    "CustomerUpdated": ("guest", "edit_guest"),
}


class Emulator(Face):
    """StayNTouch around a hotel."""

    LIMIT: ClassVar[tuple[int, int]] = (10, 1_000)
    PROPERTY_FIELD: ClassVar[str | None] = "hotel_id"

    def __init__(self, **parts: Unpack[Parts]) -> None:
        super().__init__(**parts)
        self._tokens: dict[str, int] = {}

    def operation(self, ask: Ask) -> str:
        """See Face."""
        parts = ask.path.strip("/").split("/")
        return parts[-1] if not parts[-1].isdigit() else parts[-2]

    def admit(self, ask: Ask) -> None:
        """See Face."""
        if ask.path == "/oauth/token":
            form, known = ask.form(), self._credentials
            if (form.get("client_id"), form.get("client_secret")) != (known.client_token, known.access_token):
                raise WireError(401, "Invalid client")
            return
        if not ask.path.startswith("/connect/"):
            raise WireError(404, "Not found")
        if ask.headers.get("api-version") != "2.0":
            raise WireError(400, "API-Version is missing")
        token = ask.headers.get("authorization", "").removeprefix("Bearer ")
        if self._tokens.get(token, 0) <= self._clock.now_ms():
            raise WireError(401, "The access token expired")
        if ask.query.get("hotel_id") != HOTEL:
            raise WireError(403, "Hotel is not allowed")

    def revoke(self) -> None:
        """See Face."""
        self._tokens.clear()

    def sorry(self, error: WireError) -> Reply:
        """See Face."""
        headers = {} if error.retry_after_s is None else {"Retry-After": str(error.retry_after_s)}
        return Reply(error.status, {"message": str(error)}, headers)

    def push_body(self, kind: str, changed_id: str) -> bytes | None:
        """See Face."""
        name, event = _EVENTS[kind]
        return msgspec.json.encode(
            {
                "object": "event",
                "id": self._dice.bytes(8).hex(),
                "event": event,
                "created_at": self.time.text(self.now_ms()),
                "data": {"object": name, "id": int(changed_id), "hotel_id": int(HOTEL)},
            }
        )

    def do(self, ask: Ask) -> object:
        """See Face."""
        if ask.path == "/oauth/token":
            token = self._dice.bytes(16).hex()
            self._tokens[token] = self._clock.now_ms() + TOKEN_MS
            return {"access_token": token, "token_type": "Bearer", "expires_in": TOKEN_MS // 1_000}
        match (ask.method, *ask.path.strip("/").split("/")[1:]):
            case ("GET", "reservations"):
                return self._list(ask)
            case ("GET", "reservations", found):
                return self.row(self.read(found))
            case ("POST", "reservations", found, "check_in"):
                self.hotel.start(found, by_day=True)
                return Reply(204, None)
            case ("POST", "reservations", found, "check_out"):
                self.hotel.process(found)
                return Reply(204, None)
            case ("PUT", "reservations", found):
                self.depart(found, self.end_of_day(ask.json().get("departure_date")))
                return self.row(self.hotel.reservation(found))
            case ("PUT", "reservations", found, "assign_room"):
                self.hotel.update(found, room=self._room(str(ask.json()["room_id"])).name)
                return Reply(204, None)
            case ("GET", "bills", found, "transactions"):
                return _page(ask, [self._posting(each) for each in self.hotel.reservation(found).folio])
            case ("GET", "rooms"):
                return _page(ask, [_room_json(each) for each in self.hotel.resources.values()])
            case ("PUT", "rooms", room):
                self.hotel.set_room_state(self._room(room).name, ask.json()["status"].capitalize())
                return Reply(204, None)
            case ("GET", "guests"):
                return _page(ask, [_alone(each) for each in self.guests_named(ask.query.get("last_name", ""))])
            case ("GET", "guests", found):
                if (guest := self.hotel.customers.get(found)) is None:
                    raise Missing("Guest not found")
                return _alone(guest)
            case _:
                raise WireError(404, "Not found")

    def _room(self, room_id: str) -> Resource:
        if (found := self.hotel.resources.get(room_id)) is None:
            raise Missing("Room not found")
        return found

    def _list(self, ask: Ask) -> object:
        since, until = ask.query.get("from_date", ""), ask.query.get("to_date", "9")
        by, most = ask.query.get("date_filter", "arrival"), self.turned(PAGE_MOST)
        rows = []
        for each in sorted(map(self.shown, self.hotel.reservations.values()), key=lambda each: each.id):
            at_ms = {"arrival": each.start_ms, "departure": each.end_ms, "updated": each.updated_ms}[by]
            if since <= self.time.day(at_ms) <= until:
                rows.append(self.row(each))
        return _page(ask, rows, most)

    def _posting(self, line: Any) -> dict[str, Any]:  # noqa: ANN401 - a FolioLine
        return {
            "id": int(line.id),
            "amount": f"{abs(line.minor) / 100:.2f}",
            "is_credit": line.minor < 0,
            "description": line.text,
            "date": self.time.text(line.at_ms),
        }

    def shown_json(self, found: Reservation) -> dict[str, Any]:
        """See Face: one reservation."""
        room = self.hotel.resources.get(found.resource_id or "")
        guest = {**_guest(self.hotel.customers[found.account_id]), "is_primary": True}
        return {
            "id": int(found.id),
            "hotel_id": int(HOTEL),
            "confirmation_number": found.number,
            "currency_code": "EUR",
            "status": "NOSHOW" if found.cancellation_reason == "NoShow" else _STATUS[found.state],
            "arrival_date": self.time.day(found.start_ms),
            "departure_date": self.time.day(found.end_ms),
            "room": None if room is None else _room_json(room),
            "guests": [guest],
            "stay_dates": [
                {
                    "date": self.time.day(found.start_ms),
                    "adults": found.adults,
                    "children": 0,
                    "room_type_id": found.room_type,
                }
            ],
            "bills": [{"id": int(found.id), "bill_number": 1}],
            "created_time": self.time.text(found.created_ms),
            "updated_time": self.time.text(found.updated_ms),
        }


def _page(ask: Ask, rows: list[dict[str, Any]], most: int = PAGE_MOST) -> dict[str, Any]:
    number, size = int(ask.query.get("page", "1")), int(ask.query.get("per_page", "50"))
    if not 1 <= size <= PAGE_MOST:
        raise WireError(400, f"per_page: at most {PAGE_MOST}")
    size = min(size, most)
    return {"results": rows[(number - 1) * size : number * size], "total_count": len(rows)}


def _room_json(room: Resource) -> dict[str, Any]:
    blocked = {"OutOfOrder": "OUT_OF_ORDER", "OutOfService": "OUT_OF_SERVICE"}.get(room.state)
    return {
        "id": int(room.id),
        "number": room.name,
        "room_type_id": 1,
        "status": "DIRTY" if blocked else room.state.upper(),
        "service_status": blocked or "IN_SERVICE",
        "occupied": False,
    }


def _guest(guest: dict[str, Any]) -> dict[str, Any]:
    language = {"language": guest.get("PreferredLanguageCode")}
    return {"id": int(guest["Id"]), "first_name": guest["FirstName"], "last_name": guest["LastName"], **language}


def _alone(guest: dict[str, Any]) -> dict[str, Any]:
    return {**_guest(guest), "email": guest.get("Email")}
