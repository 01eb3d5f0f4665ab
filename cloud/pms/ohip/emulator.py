"""An OPERA Cloud that answers on the real wire, as design page pms.md B.3 describes it.

Tokens end after an hour, business events are gone once they were handed over, and there is no list by time of change.
"""

import hashlib
from base64 import b64decode
from collections import deque
from typing import Any, ClassVar, Final, Unpack

from cloud.pms.emulation.channel import Channel
from cloud.pms.emulation.face import Ask, Face, Parts, Reply, WireError
from cloud.pms.emulation.hotel import Missing, Reservation
from cloud.pms.ohip.emulated_stream import EmulatedStream

HOTEL: Final = "AURORA"
APP_KEY: Final = "app-key"
EXTERNAL_SYSTEM: Final = "INNKEEPER"
CHAIN: Final = "NORTHLIGHT"
TOKEN_MS: Final = 3_600_000
EVENTS_A_CALL: Final = 20
EVENTS_KEPT: Final = 10_000
_STATUS: Final = {
    "Inquired": "Requested",
    "Confirmed": "Reserved",
    "Started": "InHouse",
    "Processed": "CheckedOut",
    "Canceled": "Cancelled",
}


class Emulator(Face):
    """OPERA Cloud around a hotel."""

    LIMIT: ClassVar[tuple[int, int]] = (50, 1_000)
    PROPERTY_FIELD: ClassVar[str | None] = "hotelId"
    SUBPROTOCOL: ClassVar[str | None] = "graphql-transport-ws"

    def __init__(self, **parts: Unpack[Parts]) -> None:
        self._events: deque[dict[str, Any]] = deque(maxlen=EVENTS_KEPT)
        self._tokens: dict[str, int] = {}
        super().__init__(**parts)
        self._push = _nobody
        self.stream = EmulatedStream(
            CHAIN,
            knobs=lambda: self.knobs,
            admits=lambda token: self._tokens.get(token, 0) > self._clock.now_ms(),
            now_ms=self.now_ms,
            clock=self._clock,
            dice=self._dice,
        )

    async def socket(self, ask: Ask, channel: Channel) -> bool:
        """See Face: the event stream, whose address holds the application key's SHA-256."""
        if not ask.path.endswith("/subscriptions"):
            return False
        known = hashlib.sha256(APP_KEY.encode()).hexdigest()
        await self.stream.hold(channel, admitted=ask.query.get("key") == known)
        return True

    def operation(self, ask: Ask) -> str:
        """See Face."""
        return ask.path.rsplit("/", 1)[-1] if ask.path.endswith(_NAMED) else "reservations"

    def admit(self, ask: Ask) -> None:
        """See Face."""
        if ask.headers.get("x-app-key") != APP_KEY:
            raise WireError(403, "The x-app-key is not valid.")
        if ask.path == "/oauth/v1/tokens":
            kind, _, coded = ask.headers.get("authorization", "").partition(" ")
            known = f"{self._credentials.client_token}:{self._credentials.access_token}"
            if kind != "Basic" or b64decode(coded).decode() != known or "enterpriseid" not in ask.headers:
                raise WireError(401, "Invalid client.")
            return
        token = ask.headers.get("authorization", "").removeprefix("Bearer ")
        if self._tokens.get(token, 0) <= self._clock.now_ms():
            raise WireError(401, "The token is not valid.")
        if ask.headers.get("x-hotelid") != HOTEL:
            raise WireError(403, "The user has no access to this hotel.")

    def revoke(self) -> None:
        """See Face."""
        self._tokens.clear()

    def sorry(self, error: WireError) -> Reply:
        """See Face."""
        headers = {} if error.retry_after_s is None else {"Retry-After": str(error.retry_after_s)}
        return Reply(error.status, {"type": "", "title": "Error", "detail": str(error)}, headers)

    def push_body(self, kind: str, changed_id: str) -> bytes | None:
        """See Face: nothing is pushed; the queue grows, as badly behaved as a push would be."""
        module = _MODULES[kind]
        self.stream.add(
            {
                "moduleName": module.upper(),
                "eventName": f"UPDATE {module.upper()}",
                "primaryKey": changed_id,
                "hotelId": HOTEL,
                "timestamp": f"{self.time.text(self.now_ms())}.000",
            }
        )
        if self._dice.uniform(0, 1) < self.knobs.push_dropped:
            self.pushed["dropped"] += 1
            return None
        header = {"moduleName": module, "actionType": "UPDATE", "primaryKey": changed_id}
        header |= {"createdDateTime": f"{self.time.text(self.now_ms())}.0", "hotelId": HOTEL}
        event = {
            "businessEvent": {"header": header, "details": []},
            "businessEventId": {"id": str(self.now_ms())},
        }
        self._events.append(event)
        if self._dice.uniform(0, 1) < self.knobs.push_twice:
            self._events.appendleft(event)
            self.pushed["doubled"] += 1
        return None

    def do(self, ask: Ask) -> object:
        """See Face."""
        if ask.path == "/oauth/v1/tokens":
            token = self._dice.bytes(16).hex()
            self._tokens[token] = self._clock.now_ms() + TOKEN_MS
            return {"access_token": token, "token_type": "Bearer", "expires_in": TOKEN_MS // 1_000}
        match (ask.method, *ask.path.strip("/").split("/")):
            case ("GET", "int", "v1", "externalSystem", system, "hotels", _, "businessEvents"):
                if system != EXTERNAL_SYSTEM:
                    raise Missing("No such external system.")
                count = min(len(self._events), EVENTS_A_CALL)
                told = [self._events.popleft() for _ in range(count)]
                return {"businessEventData": told, "dataValueMapping": []}
            case ("GET", "rsv", "v1", "hotels", _, "reservations"):
                return self._list(ask)
            case ("GET", "rsv", "v1", "hotels", _, "reservations", found):
                return {"reservations": {"reservation": [self._alone(self.read(found))]}}
            case ("PUT", "rsv", "v1", "hotels", _, "reservations", found):
                return self._change(found, ask.json())
            case ("GET", "hsk", "v1", "hotels", _, "housekeepingOverview"):
                return {"housekeepingRoomInfo": {"housekeepingRooms": {"room": self._rooms()}}}
            case ("PUT", "hsk", "v1", "hotels", _, "rooms", "status"):
                body = ask.json()
                for room in body["roomList"]:
                    if not isinstance(room, dict):
                        raise WireError(400, "roomList holds rooms, each with its roomId.")
                    self.hotel.set_room_state(room["roomId"], body["housekeepingRoomStatus"])
                return Reply(204, None)
            case ("POST", "fof", "v1", "hotels", _, "reservations", found, "checkIns"):
                self.hotel.start(found, by_day=True)
                return Reply(201, {})
            case ("POST", "csh", "v1", "hotels", _, "reservations", found, "checkOuts"):
                self.hotel.process(found)
                return Reply(201, {})
            case ("POST", "fof", "v1", "hotels", _, "reservations", found, "roomAssignments"):
                self.hotel.update(found, room=ask.json()["criteria"]["roomId"])
                return Reply(201, {})
            case ("PUT", "fof", "v1", "hotels", _, "reservations", found, "rooms", room, "roomMoves"):
                self.hotel.update(found, room=room)
                return {}
            case ("GET", "csh", "v1", "hotels", _, "reservations", found, "folios"):
                return self._folio(found)
            case ("GET", "crm", "v1", "profiles"):
                named = self.guests_named(ask.query.get("profileName", ""))
                return {"profileSummaries": {"profileInfo": [_profile(each) for each in named]}}
            case ("GET", "crm", "v1", "profiles", found):
                if (guest := self.hotel.customers.get(found)) is None:
                    raise Missing("Profile not found.")
                profile = _profile(guest)
                if ask.query.get("fetchInstructions") == "Communication":  # the last one that is asked for
                    profile["profileDetails"]["emails"] = _emails(guest)
                return profile
            case _:
                raise WireError(404, "No such operation.")

    def _change(self, reservation_id: str, body: dict[str, Any]) -> object:
        [told] = body["reservations"]
        stay, found = told["roomStay"], self.hotel.reservation(reservation_id)
        if {"id": found.id, "type": "Reservation"} not in told["reservationIdList"]:
            raise WireError(400, "The reservation of the path is another one.")
        if stay["arrivalDate"] != self.time.day(found.start_ms) and found.state == "Started":
            raise WireError(400, "The arrival of a reservation in house cannot change.")
        self.depart(found.id, self.end_of_day(stay["departureDate"]))
        return {"reservations": {"reservation": [self._alone(found)]}}

    def _list(self, ask: Ask) -> object:
        limit, offset = self.turned(int(ask.query.get("limit", "20"))), int(ask.query.get("offset", "0"))
        found = []
        for each in sorted(map(self.shown, self.hotel.reservations.values()), key=lambda each: each.id):
            arrival, departure = self.time.day(each.start_ms), self.time.day(each.end_ms)
            asked = ask.query
            if asked.get("arrivalStartDate", "") <= arrival <= asked.get("arrivalEndDate", "9") and asked.get(
                "departureStartDate", ""
            ) <= departure <= asked.get("departureEndDate", "9"):
                found.append(each)
        page = [self.row(each) for each in found[offset : offset + limit]]
        return {
            "reservations": {
                "reservationInfo": page,
                "hasMore": offset + limit < len(found),
                "totalResults": len(found),
                "limit": limit,
                "offset": offset,
            }
        }

    def shown_json(self, found: Reservation) -> dict[str, Any]:
        """See Face: an item of reservationInfo."""
        room = self.hotel.resources.get(found.resource_id or "")
        guest = self.hotel.customers[found.account_id]
        stay: dict[str, Any] = {
            "arrivalDate": self.time.day(found.start_ms),
            "departureDate": self.time.day(found.end_ms),
            "roomType": found.room_type,
            "ratePlanCode": "BAR",
            "adultCount": found.adults,
            "childCount": 0,
        }
        return {
            "reservationIdList": [
                {"id": found.id, "type": "Reservation"},
                {"id": found.number, "type": "Confirmation"},
            ],
            "roomStay": stay if room is None else {**stay, "roomId": room.name},
            "reservationGuest": {"givenName": guest["FirstName"], "surname": guest["LastName"]},
            "reservationStatus": "NoShow" if found.cancellation_reason == "NoShow" else _STATUS[found.state],
            "createDateTime": f"{self.time.text(found.created_ms)}.0",
            "lastModifyDateTime": f"{self.time.text(found.updated_ms)}.0",
            "hotelId": HOTEL,
        }

    def _alone(self, found: Reservation) -> dict[str, Any]:
        """Return a reservation as it is told by its id: its guest with his profile, which no list tells."""
        row = self.row(found)
        if not isinstance(name := row.pop("reservationGuest", None), dict):
            return row
        language = self.hotel.customers[found.account_id].get("PreferredLanguageCode")
        profile = {
            "profileIdList": [{"id": found.account_id, "type": "Profile"}],
            "profile": {"customer": {"personName": [{**name, "nameType": "Primary"}], "language": language}},
        }
        return {**row, "reservationGuests": [{"profileInfo": profile, "primary": True}]}

    def _rooms(self) -> list[dict[str, Any]]:
        return [
            {
                "roomId": each.name,
                "roomType": {"roomType": "DLX"},
                "housekeeping": {"housekeepingRoomStatus": {"housekeepingRoomStatus": each.state}},
            }
            for each in self.hotel.resources.values()
        ]

    def _folio(self, reservation_id: str) -> object:
        postings = [
            {
                "transactionNo": each.id,
                "transactionDescription": each.text,
                "postedAmount": {"amount": each.minor / 100, "currencyCode": each.currency},
                "transactionDate": self.time.day(each.at_ms),
            }
            for each in self.hotel.reservation(reservation_id).folio
        ]
        return {"reservationFolioInformation": {"folioWindows": [{"folios": [{"postings": postings}]}]}}


_MODULES: Final = {
    "ServiceOrderUpdated": "Reservation", "ResourceUpdated": "Housekeeping", "CustomerUpdated": "Profile",
}  # fmt: skip
_NAMED: Final = (
    "tokens", "businessEvents", "housekeepingOverview", "status", "checkIns", "checkOuts", "roomAssignments",
    "roomMoves", "folios", "profiles",
)  # fmt: skip


async def _nobody(_body: bytes) -> bool:
    return True


def _profile(guest: dict[str, Any]) -> dict[str, Any]:
    name = {"givenName": guest["FirstName"], "surname": guest["LastName"], "nameType": "Primary"}
    return {
        "profileIdList": [{"id": guest["Id"], "type": "Profile"}],
        "profileDetails": {"customer": {"personName": [name], "language": guest.get("PreferredLanguageCode")}},
    }


def _emails(guest: dict[str, Any]) -> dict[str, Any]:
    rows = [("formerly@guest.invalid", False, 2), (guest.get("Email"), True, 1)]
    told = [{"emailAddress": each, "primaryInd": first, "orderSequence": order} for each, first, order in rows]
    return {"emailInfo": [{"email": each, "type": "Communication"} for each in told]}
