"""The adapter to eZee: asks its addresses, answers in our words. Shell around wire.py.

What is new waits in a queue until it was confirmed; who is near now is found by day of arrival, a month at a time.
Check-in, check-out and the first room of a booking go through the kiosk's interface, where the house has it; another
room is the desk's.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

import httpx
import msgspec

from cloud.pms.exchange import Exchange
from cloud.pms.ezee import contacts, wire
from cloud.pms.port import (
    Capabilities,
    FolioLine,
    GuestContact,
    Hint,
    ItemError,
    Page,
    PmsAction,
    PmsCannotError,
    PmsFaultError,
    PmsGuest,
    PmsRefusedError,
    PmsReservation,
    PmsRoom,
    PmsUnreadError,
    Rooms,
    before_writing,
)
from cloud.pms.reading import HouseTime, item
from cloud.stays.reservation import Housekeeping, PmsStatus
from kit.clock import Clock
from protocols.errors import PeerProtocolError

REQUESTS_MOST: Final = 60
WINDOW_MS: Final = 60_000
MONTH: Final = timedelta(days=28)
LONGEST_STAY: Final = timedelta(days=120)
"""How long before an interval the arrivals are looked for of those who are still here in it; who came earlier is asked
for by his booking.
"""
MADE_BACK: Final = timedelta(days=400)
"""How far back bookings are looked for that are listed by when they were made."""
CHANGED_BACK: Final = timedelta(hours=24)
CHANGED_OVERLAP: Final = timedelta(minutes=10)
DAY_MS: Final = 24 * 3_600_000
CONTACT: Final = ("Email", "Address", "Phone", "Mobile")
"""What a check-in has to repeat of the booking's guest, beside his name."""


class EzeeAdapter:
    """One hotel's connection to eZee.

    Args:
        platform: the host, such as https://live.ipms247.com.
        hotel, auth_code: what it was given for us.
        time: the property's wall clock.
    """

    system = "ezee"
    capabilities = Capabilities(
        pushes=True,
        changed_since=False,
        event_queue=True,
        queue_every_ms=60_000,  # as they advise
        queue_keeps=True,
        writes=frozenset(PmsAction) - {PmsAction.SET_DEPARTURE},
        folio=False,
        early_ms=15 * 3_600_000,
        conditions=frozenset({Housekeeping.CLEAN, Housekeeping.DIRTY}),
        contacts=True,
    )

    def __init__(
        self,
        http: httpx.AsyncClient,
        *,
        platform: str,
        hotel: str,
        auth_code: str,
        time: HouseTime,
        clock: Clock,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._platform, self._time, self._clock = platform.rstrip("/"), time, clock
        self._hotel, self._auth = hotel, auth_code
        self._units: dict[str, str] = {}
        """The unit of each room, as it was last told."""
        self._types: dict[str, str] = {}
        self._rooms: dict[str, str] = {}
        """Of each room by its id, and the id by its name."""
        self._unconfirmed: list[str] = []
        self._older = False
        self._changed_ms: int | None = None
        """It knows none of the documented lists, and until when its other one was read (unix ms)."""
        self._exchange = Exchange(
            http, label="eZee", clock=clock, sleep=sleep, most=REQUESTS_MOST, window_ms=WINDOW_MS, said=_said
        )

    def hints(self, raw: bytes) -> list[Hint]:
        """See the port."""
        return wire.hints(raw)

    async def rooms(self) -> Rooms:
        """See the port. Where the house has no address for its housekeeping, the interface's own list is asked."""
        now_ms = self._clock.wall_ms()
        try:
            answer = await self._post(wire.ROOM_LIST, wire.ROOMS_ADDRESS, self._flat(), patient=False)
        except PmsRefusedError as error:
            if error.status not in (httpx.codes.NOT_FOUND, httpx.codes.METHOD_NOT_ALLOWED):
                raise
            answer = await self._ask(wire.ROOM_LIST, {})
        told: list[PmsRoom | ItemError] = []
        for raw in wire.rooms(answer):
            said = item(raw, wire.Room, "resource", "roomid", strict=False)
            if isinstance(said, wire.Room) and said.unitid is not None:
                self._units[said.roomid] = said.unitid
            if isinstance(said, wire.Room) and said.roomtypeid is not None:
                self._types[said.roomid] = said.roomtypeid
            told += [said] if isinstance(said, ItemError) else wire.room(said, now_ms=now_ms)
        found = Rooms.of(told)
        self._rooms = {each.name: each.external_id for each in found.rooms}
        return found

    def changed(self, since_ms: int, until_ms: int) -> AsyncIterator[Page]:  # noqa: ARG002 - the port's parameter
        """See the port: eZee has no such list. Raises PmsCannotError."""
        raise PmsCannotError("eZee", "reservations by time of change")

    async def colliding(self, from_ms: int, until_ms: int) -> AsyncIterator[Page]:
        """See the port; who came longer ago than `LONGEST_STAY` is not found."""
        async for page in self._arrivals(from_ms - LONGEST_STAY // timedelta(milliseconds=1), until_ms):
            yield _kept(page, lambda each: each.arrival_ms < until_ms and each.departure_ms > from_ms)

    async def arriving(self, from_ms: int, until_ms: int) -> AsyncIterator[Page]:
        """See the port."""
        async for page in self._arrivals(from_ms, until_ms):
            yield _kept(page, lambda each: from_ms <= each.arrival_ms <= until_ms)

    async def get(self, external_ids: Sequence[str]) -> Page:
        """See the port. One call for each booking."""
        pages = []
        for index, each in enumerate(dict.fromkeys(wire.parent(each) for each in external_ids)):
            pages.append(self._page(await self._booking(each, patient=index > 0)))
        return Page(
            tuple(each for page in pages for each in page.reservations),
            tuple(each for page in pages for each in page.errors),
        )

    async def guest(self, external_id: str) -> PmsGuest | None:
        """See the port. eZee keeps no profiles for us: a guest is whoever a booking is for."""
        page = await self.get([external_id])
        named = [each for each in page.reservations if each.guest_name]
        return PmsGuest(external_id, named[0].guest_name or "") if named else None

    async def search_guests(self, name: str) -> list[PmsGuest]:
        """See the port: among those who arrive within two weeks of today."""
        now_ms, found = self._clock.wall_ms(), dict[str, PmsGuest]()
        async for page in self._arrivals(now_ms - 14 * DAY_MS, now_ms + 14 * DAY_MS):
            for each in page.reservations:
                if each.guest_name and name.casefold() in each.guest_name.casefold():
                    booking = wire.parent(each.external_id)
                    found[booking] = PmsGuest(booking, each.guest_name)
        return list(found.values())

    async def contact(self, external_id: str) -> GuestContact:
        """See the port."""
        return contacts.of_booking(await self._booking(wire.parent(external_id)), external_id)

    async def check_in(self, external_id: str) -> None:
        """See the port. It wants to be told what it knows of the guest: what it does not know is the desk's to ask."""
        _, booking = await self._one(external_id)
        told = {name: str(booking.get(name) or "").strip() for name in CONTACT}
        name = " ".join(str(booking.get(part) or "").strip() for part in ("FirstName", "LastName")).strip()
        if missing := [each for each, value in {"GuestName": name, **told}.items() if not value]:
            raise PmsCannotError("eZee", f"the check-in of a guest without {', '.join(missing)}")
        await self._at_kiosk(
            wire.CHECK_IN, {"Reservation": [{"BookingId": wire.part(external_id), "GuestName": name, **told}]}
        )

    async def check_out(self, external_id: str) -> None:
        """See the port. An open folio is refused: it is the desk's to settle."""
        await self._at_kiosk(wire.CHECK_OUT, {"Reservation": [{"BookingId": wire.part(external_id)}]})

    async def assign_room(self, external_id: str, room_external_id: str) -> None:
        """See the port. Whoever has a room, or came, is not given another one by it."""
        now, booking = await self._one(external_id)
        if now.room_external_id not in (None, room_external_id) or now.status is not PmsStatus.BOOKED:
            raise PmsCannotError("eZee", "another room than the one that a booking has")
        room_type = self._types.get(room_external_id) or str(booking.get("RoomTypeID") or booking["RoomTypeCode"])
        given = {"BookingId": wire.part(external_id), "RoomTypeID": room_type, "RoomID": room_external_id}
        await self._at_kiosk(wire.ASSIGN, {"RoomAssign": [given]})

    async def set_departure(self, external_id: str, departure_ms: int) -> None:  # noqa: ARG002 - the port's parameters
        """See the port: nothing of the kind is documented. Raises PmsCannotError."""
        raise PmsCannotError("eZee", "another departure")

    async def set_room_status(self, room_external_id: str, housekeeping: Housekeeping) -> None:
        """See the port. eZee knows clean and dirty."""
        if (word := wire.CONDITION_OF.get(housekeeping)) is None:
            raise PmsCannotError("eZee", f"a room that is {housekeeping}")
        update = {
            "hotel_code": self._hotel,
            "roomid": room_external_id,
            "unitid": self._units.get(room_external_id, ""),
            "hkstatus": word,
            "hkremarks": "",
        }
        body = self._flat() | {"updatehkdata": [update]}
        told = await self._post("updatehkdata", wire.CONDITION_ADDRESS, body, patient=False, changes=True)
        if (against := wire.warning(told)) is not None:
            raise PmsRefusedError(422, against)

    async def folio(self, external_id: str) -> tuple[FolioLine, ...]:  # noqa: ARG002 - the port's parameter
        """See the port. Raises PmsCannotError."""
        raise PmsCannotError("eZee", "a folio")

    async def pending(self) -> list[Hint]:
        """See the port. Told again until it was confirmed."""
        now_ms = self._clock.wall_ms()
        since_ms = now_ms - CHANGED_BACK // timedelta(milliseconds=1) if self._changed_ms is None else self._changed_ms
        since_ms -= CHANGED_OVERLAP // timedelta(milliseconds=1)
        answer = await self._documented(wire.BOOKINGS, {}, self._made("Updated", since_ms, now_ms + 999))
        try:
            found = wire.named(answer, wire.BOOKINGS)
        except msgspec.ValidationError as error:
            raise PeerProtocolError(f"eZee {wire.BOOKINGS}: {error}") from error
        if self._older:
            self._changed_ms = now_ms
        else:
            self._unconfirmed = found
        return [Hint("reservation", each) for each in dict.fromkeys(map(wire.parent, found))]

    async def received(self) -> None:
        """See the port."""
        if self._unconfirmed:
            told = [{"BookingId": each, "PMS_BookingId": each} for each in self._unconfirmed]
            await self._ask(wire.RECEIVED, {"Bookings": {"Booking": told}})
            self._unconfirmed = []

    async def ensure_subscribed(self) -> int:
        """See the port: eZee is told of our address by a person."""
        return 0

    async def _arrivals(self, from_ms: int, until_ms: int) -> AsyncIterator[Page]:
        """Yield the bookings by day of arrival; where a house knows no such list, those made in `MADE_BACK`."""
        month_ms, now_ms = MONTH // timedelta(milliseconds=1), self._clock.wall_ms()
        first_ms = now_ms - MADE_BACK // timedelta(milliseconds=1)
        older = self._made("Created", first_ms, min(first_ms + month_ms, now_ms + 999))
        for start_ms in range(from_ms, until_ms + 1, month_ms):
            if self._older:
                break
            end_ms = min(start_ms + month_ms, until_ms)
            days = {"from_date": self._time.day(start_ms), "to_date": self._time.day(end_ms)}
            answer = await self._documented(wire.ARRIVALS, {"Date": days}, older, patient=start_ms > from_ms)
            yield self._page(answer)
        for start_ms in range(first_ms, now_ms + 1, month_ms) if self._older else ():
            asked = self._made("Created", start_ms, min(start_ms + month_ms, now_ms + 999))
            yield self._page(await self._ask(wire.GUEST_LIST, asked, patient=start_ms > first_ms))

    def _made(self, by: str, from_ms: int, until_ms: int) -> dict[str, str]:
        since, until = self._time.span(from_ms, until_ms)
        return {"FilterBy": by, "FromDate": since, "ToDate": until}

    async def _booking(self, booking: str, *, patient: bool = False) -> dict[str, Any]:
        """Return one booking as it is told by its id."""
        asked = {"BookingId": booking}
        return await self._documented(wire.ONE_BOOKING, asked, asked, patient=patient)

    async def _documented(
        self, kind: str, asked: Mapping[str, Any], older: Mapping[str, Any], *, patient: bool = False
    ) -> dict[str, Any]:
        """Ask as it is documented; a house that refuses that, and lists bookings under the other name, is asked by it
        from now on.
        """
        refused: PmsRefusedError | None = None
        if not self._older:
            try:
                return await self._ask(kind, asked, patient=patient)
            except PmsRefusedError as error:
                if error.status == httpx.codes.UNAUTHORIZED:
                    raise
                refused = error
        try:
            answer = await self._ask(wire.GUEST_LIST, older, patient=patient)
        except PmsRefusedError:
            if refused is not None:
                raise refused from None
            raise
        if "Reservations" not in answer and refused is not None:
            raise refused
        self._older = True
        return answer

    async def _one(self, external_id: str) -> tuple[PmsReservation, dict[str, Any]]:
        """Return one reservation, and what its booking says of it as it says it.

        Raises:
            PmsRefusedError: there is none.
            PmsUnreadError: it cannot be read now.
        """
        with before_writing():
            answer = await self._booking(wire.parent(external_id))
            page = self._page(answer)
        found = next((each for each in page.reservations if each.external_id == external_id), None)
        for booking in wire.bookings(answer, "bookings"):
            if found is None:
                break
            trans = booking["BookingTran"]
            for each in trans if isinstance(trans, list) else [trans]:
                if str(each["SubBookingId"]) == wire.part(external_id):
                    return found, each
        if page.errors:
            raise PmsUnreadError(f"eZee booking {external_id}: {page.errors[0].problem}")
        raise PmsRefusedError(httpx.codes.NOT_FOUND, f"there is no booking {external_id}")

    async def _at_kiosk(self, kind: str, asked: Mapping[str, Any]) -> None:
        """Change something there. Raises PmsCannotError: the house has not that interface."""
        try:
            await self._ask(kind, asked, address=wire.KIOSK_ADDRESS, changes=True)
        except PmsRefusedError as error:
            absent = error.status in (httpx.codes.NOT_FOUND, httpx.codes.METHOD_NOT_ALLOWED)
            if absent or wire.is_type_unknown(error.said) or error.said.split(" ", 1)[0] in wire.NOT_HERE:
                raise PmsCannotError("eZee", f"{kind} at this house") from error
            raise

    def _page(self, answer: dict[str, Any]) -> Page:
        now_ms = self._clock.wall_ms()
        told = [
            each
            for booking in wire.bookings(answer, "bookings")
            for each in wire.reservations(booking, self._time, rooms=self._rooms, now_ms=now_ms)
        ]
        return Page(
            tuple(each for each in told if isinstance(each, PmsReservation)),
            tuple(each for each in told if isinstance(each, ItemError)),
        )

    async def _ask(
        self,
        kind: str,
        asked: Mapping[str, Any],
        *,
        address: str = wire.ADDRESS,
        patient: bool = False,
        changes: bool = False,
    ) -> dict[str, Any]:
        authentication = {"HotelCode": self._hotel, "AuthCode": self._auth}
        body = {"RES_Request": {"Request_Type": kind, "Authentication": authentication, **asked}}
        return await self._post(kind, address, body, patient=patient, changes=changes)

    def _flat(self) -> dict[str, Any]:
        return {"authcode": self._auth, "hotel_code": self._hotel}

    async def _post(
        self, name: str, address: str, body: Mapping[str, Any], *, patient: bool, changes: bool = False
    ) -> dict[str, Any]:
        answer, content = await self._exchange.send(
            name,
            "POST",
            self._platform + address,
            headers={"Content-Type": "application/json"},
            content=msgspec.json.encode(body),
            patient=patient,
            changes=changes,
        )
        told = self._exchange.decoded(name, answer, content, dict[str, Any], changes=changes)
        if (problem := wire.problem(told)) is None:
            return told
        code, message = problem
        if wire.is_nothing(message) and name in wire.LISTS:
            return {"Reservations": []}
        if code in wire.BROKEN:
            raise PmsFaultError(f"eZee {name}: {code} {message}")
        said = f"{code} {message}"
        refused = code in wire.UNAUTHORISED or "unauthori" in message.casefold()
        raise PmsRefusedError(401 if refused and not wire.is_type_unknown(said) else 422, said)


def _kept(page: Page, fits: Callable[[PmsReservation], bool]) -> Page:
    """Return a page without what a list by days brought too much."""
    return Page(tuple(each for each in page.reservations if fits(each)), page.errors, page.guests)


def _said(content: bytes) -> str:
    return content[:200].decode("utf-8", "replace") if content.startswith(b"{") else ""
