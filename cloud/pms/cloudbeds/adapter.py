"""The adapter to Cloudbeds: asks its API, answers in our words. Shell around wire.py.

Limits of Cloudbeds: 5 requests a second for a property (we keep to 4), pages of at most 100. GET with a query, POST
with a form, an api key in a header; an error may come as HTTP 200 with `success` false.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Final, TypeVar
from urllib.parse import urlencode

import httpx
import msgspec

from cloud.pms.cloudbeds import contacts, wire
from cloud.pms.exchange import Exchange
from cloud.pms.paging import MovingList
from cloud.pms.port import (
    Capabilities,
    FolioLine,
    GuestContact,
    Hint,
    ItemError,
    Page,
    PmsAction,
    PmsCannotError,
    PmsGuest,
    PmsRefusedError,
    PmsReservation,
    PmsRoom,
    PmsUnreadError,
    Rooms,
    before_writing,
)
from cloud.pms.reading import HouseTime, UnreadableError, decode_told, item, row_key
from cloud.stays.reservation import Housekeeping
from kit.clock import Clock
from protocols.errors import PeerProtocolError

REQUESTS_MOST: Final = 4
_UNKNOWN: Final = re.compile(
    r"not found|n.t exist|no such|no (reservation|guest)|(unknown|invalid) (reservation|guest)", re.IGNORECASE
)
"""What they say of a thing that they do not know, with success false and whatever status."""
_TOO_OFTEN: Final = re.compile(
    r"rate.?limit|too many (api )?(requests|calls)|\b(requests?|calls?|api|quota)( usage)? limit\b|\A\W*limit exceeded",
    re.IGNORECASE,
)
"""What they say of our haste. A credit or a room has a limit too: patience is no answer to that."""
_KNOWS_US_NOT: Final = re.compile(
    r"\bunauthori[sz]ed\b|\bunauthenticated\b"
    r"|(?<![a-z])(api.?key|token)\b.{0,20}\b(invalid|expired|revoked|missing)"
    r"|\b(invalid|expired|revoked|missing)\b.{0,20}(?<![a-z])(api.?key|token)\b",
    re.IGNORECASE,
)
"""The same of our credentials: neither says anything of what was asked for."""
_SILENT: Final = "roomStatus does not say which of its rooms are taken"
_ROWS: Final = {"includeGuestsDetails": "false", "includeAllRooms": "true"}
WINDOW_MS: Final = 1_000
T = TypeVar("T")


class CloudbedsAdapter:
    """One property's connection to Cloudbeds.

    Args:
        platform: address in front of /api/v1.3, such as https://api.cloudbeds.com.
        api_key: of this property.
        time: the property's wall clock; Cloudbeds writes every time in it.
        callback: our own address for webhooks; None: somebody else subscribes.
        hotel: propertyID, for a key that reads a whole group; None: the key is of one property.
    """

    system = "cloudbeds"
    capabilities = Capabilities(
        pushes=True,
        changed_since=True,
        event_queue=False,
        writes=frozenset(PmsAction),
        folio=True,
        early_ms=15 * 3_600_000,
        contacts=True,
    )

    def __init__(
        self,
        http: httpx.AsyncClient,
        *,
        platform: str,
        api_key: str,
        time: HouseTime,
        clock: Clock,
        callback: str | None = None,
        hotel: str | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._base, self._time, self._clock, self._callback = platform.rstrip("/") + wire.API, time, clock, callback
        self._headers, self._hotel = {"x-api-key": api_key}, hotel
        self._bare = False
        """They have no names for the rooms of a reservation, even where it is asked for: no need to ask again."""
        self._exchange = Exchange(
            http, label="Cloudbeds", clock=clock, sleep=sleep, most=REQUESTS_MOST, window_ms=WINDOW_MS, said=_said
        )

    def hints(self, raw: bytes) -> list[Hint]:
        """See the port."""
        return wire.hints(raw)

    async def rooms(self) -> Rooms:
        """See the port. A room without a condition has none: guessing would call it ready."""
        now_ms = self._clock.wall_ms()
        conditions: dict[str, wire.RoomCondition | ItemError] = {}
        found: list[PmsRoom | ItemError] = []
        rows = [each async for each in self._rows("getRooms", {})]
        async for raw in self._rows("getHousekeepingStatus", {}, patient=True):
            said = item(raw, wire.RoomCondition, "resource", "roomID", strict=False)
            conditions[said.external_id if isinstance(said, ItemError) else said.roomID] = said
        for raw in rows:
            told = item(raw, wire.HotelRoom, "resource", "roomID", strict=False)
            if isinstance(told, ItemError):
                found.append(told)
            else:
                found += wire.room(told, conditions.pop(told.roomID, None), now_ms=now_ms)
        found += [each for each in conditions.values() if isinstance(each, ItemError)]  # of no room that is told
        return Rooms.of(found)

    async def changed(self, since_ms: int, until_ms: int) -> AsyncIterator[Page]:
        """See the port. Open at its end: a reservation that changes between two pages would leave the list, and the
        others move up over the page's edge.
        """
        since, _ = self._time.span(since_ms, until_ms)
        async for page in self._pages({"modifiedFrom": since}):
            yield page

    async def colliding(self, from_ms: int, until_ms: int) -> AsyncIterator[Page]:
        """See the port."""
        asked = {"checkInTo": self._time.day(until_ms), "checkOutFrom": self._time.day(from_ms)}
        async for page in self._pages(asked):
            yield _kept(page, lambda each: each.arrival_ms < until_ms and each.departure_ms > from_ms)

    async def arriving(self, from_ms: int, until_ms: int) -> AsyncIterator[Page]:
        """See the port."""
        asked = {"checkInFrom": self._time.day(from_ms), "checkInTo": self._time.day(until_ms)}
        async for page in self._pages(asked):
            yield _kept(page, lambda each: from_ms <= each.arrival_ms <= until_ms)

    async def get(self, external_ids: Sequence[str]) -> Page:
        """See the port. One call for each reservation: Cloudbeds takes no list of ids."""
        parents = dict.fromkeys(wire.parent(each) for each in external_ids)
        pages = [await self._read(each, patient=index > 0) for index, each in enumerate(parents)]
        return Page(
            tuple(each for page in pages for each in page.reservations),
            tuple(each for page in pages for each in page.errors),
        )

    async def guest(self, external_id: str) -> PmsGuest | None:
        """See the port."""
        try:
            answer = await self._get("getGuest", {"guestID": external_id})
        except PmsRefusedError as error:
            if _is_unknown(error):
                return None
            raise
        said = self._data("getGuest", answer, wire.Guest)
        return PmsGuest(said.guestID, wire.guest_name(said))

    async def search_guests(self, name: str) -> list[PmsGuest]:
        """See the port."""
        found = []
        async for raw in self._rows("getGuestList", {"guestName": name}):
            said = item(raw, wire.Guest, "customer", "guestID", strict=False)
            if isinstance(said, wire.Guest):
                found.append(PmsGuest(said.guestID, wire.guest_name(said)))
        return found

    async def contact(self, external_id: str) -> GuestContact:
        """See the port."""
        try:
            answer = await self._reservation(external_id)
        except PmsRefusedError as error:
            if _is_unknown(error):
                raise PmsRefusedError(httpx.codes.NOT_FOUND, error.said) from error
            raise
        return contacts.of_reservation(answer.data, external_id, hotel=self._hotel)

    async def check_in(self, external_id: str) -> None:
        """See the port. One room of a reservation comes in; the others do so for themselves."""
        await self._post("postRoomCheckIn", await self._placed(external_id))

    async def check_out(self, external_id: str) -> None:
        """See the port."""
        await self._post("postRoomCheckOut", await self._placed(external_id))

    async def assign_room(self, external_id: str, room_external_id: str) -> None:
        """See the port."""
        form = {
            "reservationID": wire.parent(external_id),
            "subReservationID": wire.part(external_id),
            "newRoomID": room_external_id,
            "adjustPrice": "false",
        }
        if (old := await self._room_of(external_id)) is not None:
            form["oldRoomID"] = old
        await self._post("postRoomAssign", form)

    async def set_departure(self, external_id: str, departure_ms: int) -> None:
        """See the port. What becomes of the rooms that are not named is not documented: so of one room of several it is
        a person's to do.
        """
        with before_writing():
            page = await self._read(external_id, must=True)
        if len(page.reservations) + len(page.errors) != 1:
            raise PmsCannotError("Cloudbeds", "the departure of one room of several")
        form = {"reservationID": wire.parent(external_id), "checkoutDate": self._time.day(departure_ms)}
        await self._post("putReservation", form, verb="PUT")

    async def set_room_status(self, room_external_id: str, housekeeping: Housekeeping) -> None:
        """See the port. Blocks are Cloudbeds' own affair."""
        if (condition := wire.CONDITION_OF.get(housekeeping)) is None:
            raise PmsCannotError("Cloudbeds", f"a room that is {housekeeping}")
        pickup = "true" if housekeeping is Housekeeping.PICKUP else "false"  # a flag that is not told stays as it is
        form = {"roomID": room_external_id, "roomCondition": condition, "vacantPickup": pickup}
        await self._post("postHousekeepingStatus", form)

    async def folio(self, external_id: str) -> tuple[FolioLine, ...]:
        """See the port. Sums of the whole reservation."""
        said = self._data("getReservation", await self._reservation(external_id), wire.Reservation)
        try:
            return wire.folio(said, at_ms=self._clock.wall_ms())
        except UnreadableError as error:
            raise PeerProtocolError(f"Cloudbeds getReservation: {error}") from error

    async def pending(self) -> list[Hint]:
        """See the port: Cloudbeds keeps no queue."""
        return []

    async def received(self) -> None:
        """See the port: nobody waits for it."""

    async def ensure_subscribed(self) -> int:
        """See the port: subscriptions vanish when somebody disconnects and reconnects the app."""
        if self._callback is None:
            return 0
        held = set()
        async for raw in self._rows("getWebhooks", {}, patient=True):
            said = item(raw, wire.Subscription, "resource")
            if isinstance(said, wire.Subscription) and said.named()[1] == self._callback:
                held.add(said.named()[0])
        gone = [each for each in wire.EVENTS if each not in held]
        for thing, action in gone:
            form = {"object": thing, "action": action, "endpointUrl": self._callback}
            await self._post("postWebhook", form, patient=True)
        return len(gone)

    async def _placed(self, external_id: str) -> dict[str, str]:
        if (room := await self._room_of(external_id)) is None:
            raise PmsUnreadError(
                f"Cloudbeds takes nobody in or out without a room, and {external_id} has none there yet"
            )
        return {"reservationID": wire.parent(external_id), "subReservationID": wire.part(external_id), "roomID": room}

    async def _room_of(self, external_id: str) -> str | None:
        with before_writing():
            page = await self._read(external_id, must=True)
        found = [each for each in page.reservations if each.external_id == external_id]
        if not found:
            why = page.errors[0].problem if page.errors else "it has no such room"
            raise PmsUnreadError(f"Cloudbeds getReservation {external_id}: {why}")
        return found[0].room_external_id

    async def _read(
        self, external_id: str, *, patient: bool = False, must: bool = False, row: wire.Reservation | None = None
    ) -> Page:
        try:
            answer = await self._reservation(external_id, patient=patient)
        except PmsRefusedError as error:
            if _is_unknown(error) and not must:
                return Page(())
            raise
        said = item(answer.data, wire.Reservation, "reservation", "reservationID", strict=False)
        if isinstance(said, wire.Reservation) and (said.assigned or said.unassigned or said.rooms):
            self._bare = said.is_bare()
        if isinstance(said, wire.Reservation) and said.is_silent():
            told = wire.with_rooms_of(said, row or await self._listed(said))
            said = ItemError(said.reservationID, _SILENT) if told.is_silent() else told
        return self._page(said)

    async def _listed(self, said: wire.Reservation) -> wire.Reservation | None:
        """Return a reservation's row in the list of its day, None where it has none: how each of its rooms is stands
        there, and perhaps nowhere else.
        """
        day = said.startDate[:10]
        asked = {"checkInFrom": day, "checkInTo": day, **_ROWS}
        async for rows in self._lists("getReservations", asked, key=_reservation_key, patient=True):
            for raw in rows:
                row = item(raw, wire.Reservation, "reservation", "reservationID", strict=False)
                if isinstance(row, wire.Reservation) and row.reservationID == said.reservationID:
                    return row
        return None

    async def _reservation(self, external_id: str, *, patient: bool = False) -> wire.Answer:
        return await self._get("getReservation", {"reservationID": wire.parent(external_id)}, patient=patient)

    def _page(self, said: wire.Reservation | ItemError) -> Page:
        if isinstance(said, ItemError):
            return Page((), (said,))
        if self._hotel is not None and said.propertyID not in (None, self._hotel):
            return Page(())  # of another property of the group
        told = wire.reservations(said, self._time, now_ms=self._clock.wall_ms())
        return Page(
            tuple(each for each in told if isinstance(each, PmsReservation)),
            tuple(each for each in told if isinstance(each, ItemError)),
            () if said.guestID is None else (said.guestID,),
        )

    async def _pages(self, asked: Mapping[str, str]) -> AsyncIterator[Page]:
        """Yield the reservations of a list, each once, however it moves under us."""
        async for rows in self._lists("getReservations", {**asked, **_ROWS}, key=_reservation_key):
            pages = []
            for raw in rows:
                said = item(raw, wire.Reservation, "reservation", "reservationID", strict=False)
                if isinstance(said, wire.Reservation) and (
                    said.is_vague() or said.is_silent() or (said.is_bare() and not self._bare)
                ):
                    pages.append(await self._read(said.reservationID, patient=True, row=said))
                else:
                    pages.append(self._page(said))
            yield Page(
                tuple(each for page in pages for each in page.reservations),
                tuple(each for page in pages for each in page.errors),
                tuple(each for page in pages for each in page.guests),
            )

    async def _rows(
        self, method: str, asked: Mapping[str, str], *, patient: bool = False
    ) -> AsyncIterator[msgspec.Raw]:
        """Yield the rows of a list; where they stand under the property's own row, those."""
        async for rows in self._lists(method, asked, key=row_key, patient=patient):
            for each in rows:
                yield each

    async def _lists(
        self,
        method: str,
        asked: Mapping[str, str],
        *,
        key: Callable[[msgspec.Raw], str],
        patient: bool = False,
    ) -> AsyncIterator[list[msgspec.Raw]]:
        """Yield what is new on each page of a list; `key` tells its rows apart.

        Raises:
            PeerProtocolError: it goes in circles or does not end.
        """
        held = MovingList(f"Cloudbeds {method}", wire.PAGE_MOST, by_number=True)
        while not held.done:
            window = held.window()
            paged = {**asked, "pageNumber": str(window.number), "pageSize": str(window.size)}
            answer = await self._get(method, paged, patient=patient)
            rows = [] if bytes(answer.data) == b"null" else self._data(method, answer, list[msgspec.Raw])
            rows = [each for row in rows for each in _nested(row)]
            new = held.take(window, [key(each) for each in rows], total=answer.total)
            yield [rows[index] for index in new]
            patient = True

    async def _get(self, method: str, asked: Mapping[str, str], *, patient: bool = False) -> wire.Answer:
        url = f"{self._base}{method}?{urlencode(asked)}" if asked else self._base + method
        answer, content = await self._exchange.send(method, "GET", url, headers=self._headers, patient=patient)
        return self._checked(method, answer, content)

    async def _post(self, method: str, form: Mapping[str, str], *, patient: bool = False, verb: str = "POST") -> None:
        answer, content = await self._exchange.send(
            method,
            verb,
            self._base + method,
            headers={**self._headers, "Content-Type": "application/x-www-form-urlencoded"},
            content=urlencode(form).encode(),
            patient=patient,
            changes=True,
        )
        self._checked(method, answer, content, changes=True)

    def _checked(self, method: str, answer: httpx.Response, content: bytes, *, changes: bool = False) -> wire.Answer:
        """Read an answer, and raise what stands in one that is none."""
        said = self._exchange.decoded(method, answer, content, wire.Answer, strict=False, changes=changes)
        if said.success:
            return said
        message = (said.message or "no message")[:300]
        if _TOO_OFTEN.search(message):
            raise self._exchange.busy(answer.headers.get("retry-after"))
        status = 404 if _UNKNOWN.search(message) else 401 if _KNOWS_US_NOT.search(message) else 422
        raise PmsRefusedError(status, message)

    def _data(self, method: str, answer: wire.Answer, kind: type[T]) -> T:
        try:
            return decode_told(answer.data, kind)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise PeerProtocolError(f"Cloudbeds {method}: data: {error}") from error


def _is_unknown(error: PmsRefusedError) -> bool:
    """Tell whether a refusal says that there is no such thing, with whatever status."""
    return error.status == httpx.codes.NOT_FOUND or _UNKNOWN.search(error.said) is not None


class _Nested(msgspec.Struct, frozen=True):
    rooms: list[msgspec.Raw]
    reservationID: msgspec.Raw | None = None  # noqa: N815 - Cloudbeds' own word


def _nested(row: msgspec.Raw) -> list[msgspec.Raw]:
    """Return what stands under the property's own row, or the row: a reservation has rooms of its own."""
    try:
        found = msgspec.json.decode(row, type=_Nested)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return [row]
    return [row] if found.reservationID is not None else found.rooms


def _reservation_key(raw: msgspec.Raw) -> str:
    said = item(raw, wire.Reservation, "reservation", "reservationID", strict=False)
    return row_key(raw) if isinstance(said, ItemError) else f"{said.reservationID}/{said.subReservationID}"


def _kept(page: Page, fits: Callable[[PmsReservation], bool]) -> Page:
    """Return a page without what a list by days brought too much."""
    return Page(tuple(each for each in page.reservations if fits(each)), page.errors, page.guests)


def _said(content: bytes) -> str:
    try:
        return msgspec.json.decode(content, type=wire.Answer).message or ""
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return ""
