"""The adapter to OPERA Cloud: asks the integration platform, answers in our words. Shell around wire.py.

A bearer for an hour, an application key and the hotel in every call. There is no list by time of change: business
events are taken from a queue that forgets them as it hands them over, and the neighbourhood of now is listed often.
"""

import asyncio
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final
from urllib.parse import quote, urlencode

import httpx
import msgspec

from cloud.pms.exchange import Exchange
from cloud.pms.hints import EVERYTHING, may_be_lost
from cloud.pms.ohip import contacts, wire
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
    PmsUnreadError,
    Rooms,
    before_writing,
)
from cloud.pms.reading import HouseTime, UnreadableError, decode, display_name, item, row_key
from cloud.pms.tokens import Bearer
from cloud.stays.reservation import Housekeeping, PmsStatus
from kit.clock import Clock
from protocols.errors import PeerProtocolError, PlatformError

REQUESTS_MOST: Final = 40
WINDOW_MS: Final = 1_000
EVENT_CALLS_MOST: Final = 50
_MISSHAPEN: Final = frozenset({400, 404, 422})
"""What a body of another shape than they read may be refused with."""
JSON: Final = "application/json"


class OhipAdapter:
    """One hotel's connection to OPERA Cloud.

    Args:
        platform: the environment's gateway, such as https://example.hospitality.oraclecloud.com.
        client_id, client_secret, app_key: of our integration there.
        enterprise: enterpriseId of the customer.
        hotel: hotelId.
        external_system: whose queue of business events is ours; None: a stream tells of them (consumer.py).
        time: the property's wall clock.
    """

    system = "ohip"
    capabilities = Capabilities(
        pushes=False,
        changed_since=False,
        event_queue=True,
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
        client_id: str,
        client_secret: str,
        app_key: str,
        enterprise: str,
        hotel: str,
        external_system: str | None,
        time: HouseTime,
        clock: Clock,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._base, self._hotel, self._system, self._time = platform.rstrip("/"), hotel, external_system, time
        self._clock = clock
        if external_system is None:
            self.capabilities = replace(self.capabilities, event_queue=False)
        self._headers = {"x-app-key": app_key, "x-hotelid": hotel}
        self._exchange = exchange(http, clock=clock, sleep=sleep)
        self._bearer = bearer(
            self._exchange,
            platform=platform,
            client_id=client_id,
            client_secret=client_secret,
            app_key=app_key,
            enterprise=enterprise,
            clock=clock,
        )

    def hints(self, raw: bytes) -> list[Hint]:
        """See the port. What reaches us is a message of the event stream."""
        return wire.stream_hints(raw)

    async def rooms(self) -> Rooms:
        """See the port."""
        now_ms = self._clock.wall_ms()
        return Rooms.of(each for raw in await self._room_rows() for each in wire.room(raw, now_ms=now_ms))

    def changed(self, since_ms: int, until_ms: int) -> AsyncIterator[Page]:  # noqa: ARG002 - the port's parameter
        """See the port: OPERA Cloud has no such list. Raises PmsCannotError."""
        raise PmsCannotError("OHIP", "reservations by time of change")

    async def colliding(self, from_ms: int, until_ms: int) -> AsyncIterator[Page]:
        """See the port."""
        asked = {"arrivalEndDate": self._time.day(until_ms), "departureStartDate": self._time.day(from_ms)}
        async for page in self._pages(asked):
            yield _kept(page, lambda each: each.arrival_ms < until_ms and each.departure_ms > from_ms)

    async def arriving(self, from_ms: int, until_ms: int) -> AsyncIterator[Page]:
        """See the port."""
        asked = {"arrivalStartDate": self._time.day(from_ms), "arrivalEndDate": self._time.day(until_ms)}
        async for page in self._pages(asked):
            yield _kept(page, lambda each: from_ms <= each.arrival_ms <= until_ms)

    async def get(self, external_ids: Sequence[str]) -> Page:
        """See the port. One call for each."""
        pages = [await self._read(each, patient=index > 0) for index, each in enumerate(external_ids)]
        return Page(
            tuple(each for page in pages for each in page.reservations),
            tuple(each for page in pages for each in page.errors),
        )

    async def guest(self, external_id: str) -> PmsGuest | None:
        """See the port."""
        try:
            answer = await self._get("profiles", f"crm/v1/profiles/{quote(external_id, safe='')}", {})
        except PmsRefusedError as error:
            if error.status == httpx.codes.NOT_FOUND:
                return None
            raise
        return _guest(answer)

    async def search_guests(self, name: str) -> list[PmsGuest]:
        """See the port."""
        answer = await self._get("profiles", "crm/v1/profiles", {"profileName": name, "limit": "50"})
        rows = wire.rows(answer, "profileInfo") or []
        found = [_guest(msgspec.json.decode(each)) for each in rows]
        return [each for each in found if each is not None]

    async def contact(self, external_id: str) -> GuestContact:
        """See the port."""
        path = f"rsv/v1/hotels/{self._h}/reservations/{_q(external_id)}"
        rows = self._rows(await self._get("reservations", path, {"fetchInstructions": "Reservation"}, bare=True))
        if not rows:
            raise PmsRefusedError(httpx.codes.NOT_FOUND, f"there is no reservation {external_id}")
        guest = contacts.guest_of(contacts.reservation(rows[0]), external_id, hotel=self._hotel)
        known = contacts.of_guest(guest)
        if known.email is not None or (profile := contacts.profile_of(guest)) is None:
            return known
        path = f"crm/v1/profiles/{_q(profile)}?{urlencode(contacts.ASKED)}"
        try:
            return contacts.of_guest(contacts.profile(await self._get("profiles", path, {}, bare=True)), guest)
        except PmsRefusedError as error:
            if error.status != httpx.codes.NOT_FOUND:
                raise
            return known

    async def check_in(self, external_id: str) -> None:
        """See the port."""
        if (room := (await self._one(external_id)).room_external_id) is None:
            raise PmsUnreadError(f"OPERA takes nobody in without a room, and {external_id} has none there yet")
        body = {
            "reservation": {
                "roomId": room,
                "ignoreWarnings": True,
                "stopCheckin": False,
                "printRegistration": False,
            },
            "fetchReservationInstruction": ["ReservationDetail"],
        }
        await self._write("checkIns", "POST", f"fof/v1/hotels/{self._h}/reservations/{_q(external_id)}/checkIns", body)

    async def check_out(self, external_id: str) -> None:
        """See the port."""
        body = {
            "reservation": {"eventType": "CheckOut", "checkoutInstr": {"ignoreWarnings": True}},
            "verificationOnly": False,
        }
        path = f"csh/v1/hotels/{self._h}/reservations/{_q(external_id)}/checkOuts"
        await self._write("checkOuts", "POST", path, body)

    async def assign_room(self, external_id: str, room_external_id: str) -> None:
        """See the port: two operations there, before and after the check-in."""
        hotel = f"fof/v1/hotels/{self._h}"
        criteria = {
            "hotelId": self._hotel,
            "reservationIdList": [{"id": external_id, "type": "Reservation"}],
            "roomId": room_external_id,
        }
        if (await self._one(external_id)).status is PmsStatus.IN_HOUSE:
            name, method, path = "roomMoves", "PUT", f"rooms/{_q(room_external_id)}/roomMoves"
        else:
            name, method, path = "roomAssignments", "POST", "roomAssignments"
        try:
            await self._write(name, method, f"{hotel}/reservations/{_q(external_id)}/{path}", {"criteria": criteria})
        except PmsRefusedError as error:
            if error.status not in (httpx.codes.NOT_FOUND, httpx.codes.METHOD_NOT_ALLOWED):
                raise
            await self._write(name, method, f"{hotel}/{path}", {"criteria": criteria})  # as other editions have it

    async def set_departure(self, external_id: str, departure_ms: int) -> None:
        """See the port. Both days are told: a stay there is changed as a whole."""
        arrival_ms = (await self._one(external_id)).arrival_ms
        changed = {
            "reservationIdList": [{"id": external_id, "type": "Reservation"}],
            "hotelId": self._hotel,
            "roomStay": {
                "arrivalDate": self._time.day(arrival_ms),
                "departureDate": self._time.day(departure_ms),
            },
        }
        path = f"rsv/v1/hotels/{self._h}/reservations/{_q(external_id)}"
        await self._write("reservations", "PUT", path, {"reservations": [changed]})

    async def set_room_status(self, room_external_id: str, housekeeping: Housekeeping) -> None:
        """See the port."""
        path, status = f"hsk/v1/hotels/{self._h}/rooms/status", wire.CONDITION_OF[housekeeping]
        try:
            body = {"roomList": [{"roomId": room_external_id}], "housekeepingRoomStatus": status}
            await self._write("rooms/status", "PUT", path, body)
        except PmsRefusedError as error:
            if error.status not in _MISSHAPEN:
                raise
            # as the short form of their page may be read
            short = {"roomList": [room_external_id], "housekeepingRoomStatus": status}
            try:
                await self._write("rooms/status", "PUT", path, short)
            except PmsRefusedError as of_short:
                if of_short.status not in _MISSHAPEN:
                    raise
                raise error from None  # what it says of the form as published is what somebody can act on

    async def folio(self, external_id: str) -> tuple[FolioLine, ...]:
        """See the port."""
        path = f"csh/v1/hotels/{self._h}/reservations/{_q(external_id)}/folios"
        answer = await self._get("folios", path, {"fetchInstructions": "Postings"})
        try:
            return wire.folio(answer, self._time, now_ms=self._clock.wall_ms())
        except (UnreadableError, msgspec.ValidationError, TypeError) as error:
            raise PeerProtocolError(f"OHIP folios: {error}") from error

    async def pending(self) -> list[Hint]:
        """See the port. Of an event that cannot be read, and of an answer whose events cannot be found, nobody knows
        what it held.
        """
        if self._system is None:
            return []
        found: dict[Hint, None] = {}
        path = f"int/v1/externalSystem/{_q(self._system)}/hotels/{self._h}/businessEvents"
        for _ in range(EVENT_CALLS_MOST):
            try:
                answer = await self._get("businessEvents", path, {"limit": str(wire.EVENTS_A_CALL)}, bare=True)
                rows = wire.events(answer)
            except PlatformError as error:
                if not found:
                    raise
                if may_be_lost(error):
                    found[EVERYTHING] = None
                break  # what was taken so far is in no queue any more
            if rows is None:
                found[EVERYTHING] = None
                break
            for each in rows:
                try:
                    hint = wire.event_hint(each)
                except PeerProtocolError:
                    hint = EVERYTHING
                if hint is not None:
                    found[hint] = None
            if len(rows) < wire.EVENTS_A_CALL:
                break
        return list(found)

    async def received(self) -> None:
        """See the port: nobody waits for it."""

    async def ensure_subscribed(self) -> int:
        """See the port: which events go to our queue is set up in OPERA Cloud."""
        return 0

    @property
    def _h(self) -> str:
        return _q(self._hotel)

    async def _one(self, external_id: str) -> PmsReservation:
        with before_writing():
            page = await self._read(external_id, must=True)
        if page.reservations:
            return page.reservations[0]
        if page.errors:
            raise PmsUnreadError(f"OHIP reservations/{external_id}: {page.errors[0].problem}")
        raise PmsRefusedError(httpx.codes.NOT_FOUND, f"there is no reservation {external_id}")

    async def _read(self, external_id: str, *, patient: bool = False, must: bool = False) -> Page:
        path = f"rsv/v1/hotels/{self._h}/reservations/{_q(external_id)}"
        try:
            answer = await self._get(
                "reservations", path, {"fetchInstructions": "Reservation"}, patient=patient, bare=True
            )
        except PmsRefusedError as error:
            if error.status == httpx.codes.NOT_FOUND and not must:
                return Page(())
            raise
        return self._page(self._rows(answer))

    async def _room_rows(self) -> list[msgspec.Raw]:
        """Return the rooms of every page of the overview, each once."""
        found: dict[str, msgspec.Raw] = {}
        path, start = f"hsk/v1/hotels/{self._h}/housekeepingOverview", 0
        while True:
            paged = {"limit": str(wire.PAGE_ITEMS), "offset": str(start)}
            answer = await self._get("housekeepingOverview", path, paged, patient=start > 0)
            rows = wire.rows(answer, "room", "rooms", "housekeepingRooms")
            if rows is None:
                raise PeerProtocolError("OHIP housekeepingOverview: no list of rooms in the answer")
            known, start = len(found), start + len(rows)
            found |= {row_key(each, "roomId"): each for each in rows}
            more, total = wire.flag(answer, "hasMore"), wire.count(answer, "totalResults")
            if not (more if more is not None else total is not None and start < total):
                return list(found.values())
            if len(found) == known:
                raise PeerProtocolError("OHIP housekeepingOverview: a page without a new room says that there is more")

    def _rows(self, answer: object) -> list[msgspec.Raw]:
        """Return the reservations of an answer: nothing at all (204) is none, and so is a count of none."""
        if answer is None:
            return []
        rows = wire.reservation_rows(answer)
        if rows is None and wire.count(answer, "totalResults") == 0:
            return []
        if rows is None:
            raise PeerProtocolError("OHIP reservations: no reservationInfo in the answer")
        return rows

    def _page(self, rows: Sequence[msgspec.Raw]) -> Page:
        now_ms = self._clock.wall_ms()
        found: list[PmsReservation] = []
        errors: list[ItemError] = []
        for raw in rows:
            said = item(raw, wire.Reservation, "reservation", strict=False)
            if isinstance(said, ItemError):
                errors.append(ItemError(wire.id_of_raw(raw), said.problem))
                continue
            if said.hotelId is not None and said.hotelId.casefold() != self._hotel.casefold():
                continue  # of another hotel of the chain: whoever may read both is told of both
            one = wire.reservation(said, self._time, now_ms=now_ms)
            errors.append(one) if isinstance(one, ItemError) else found.append(one)
        return Page(tuple(found), tuple(errors))

    async def _pages(self, asked: Mapping[str, str]) -> AsyncIterator[Page]:
        """Yield the reservations of a list, each once, however it moves under us."""
        path = f"rsv/v1/hotels/{self._h}/reservations"
        held, patient = MovingList("OHIP reservations", wire.PAGE_ITEMS, by_number=False), False
        while not held.done:
            window = held.window()
            paged = {**asked, "limit": str(window.size), "offset": str(window.start)}
            answer = await self._get("reservations", path, paged, patient=patient, bare=True)
            rows, more = self._rows(answer), wire.flag(answer, "hasMore")
            if not rows and more:
                raise PeerProtocolError("OHIP reservations: an empty page says that there is more")
            new = held.take(
                window,
                [wire.key_of_raw(each) for each in rows],
                total=wire.count(answer, "totalResults"),
                told_end=None if more is None else not more,
            )
            yield self._page([rows[index] for index in new])
            patient = True

    async def _get(
        self, name: str, path: str, asked: Mapping[str, str], *, patient: bool = False, bare: bool = False
    ) -> Any:  # noqa: ANN401 - JSON
        """Return what was answered; `bare`: any JSON will do, and nothing (204), which is None."""
        url = f"{self._base}/{path}" + (f"?{urlencode(asked)}" if asked else "")
        answer, content = await self._bearer.use(
            lambda token: self._exchange.send(
                name,
                "GET",
                url,
                headers={**self._headers, "Authorization": f"Bearer {token}"},
                patient=patient,
                empty=bare,
            ),
            patient=patient,
        )
        if answer.status_code == httpx.codes.NO_CONTENT:
            return None
        if bare:
            return self._exchange.decoded(name, answer, content, dict[str, Any] | list[Any])  # type: ignore[arg-type]  # a union
        return self._exchange.decoded(name, answer, content, dict[str, Any])

    async def _write(self, name: str, method: str, path: str, body: Mapping[str, Any]) -> None:
        await self._bearer.use(
            lambda token: self._exchange.send(
                name,
                method,
                f"{self._base}/{path}",
                headers={**self._headers, "Authorization": f"Bearer {token}", "Content-Type": JSON},
                content=msgspec.json.encode(body),
                empty=True,
            ),
            patient=False,
            writes=True,
        )


def exchange(
    http: httpx.AsyncClient, *, clock: Clock, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
) -> Exchange:
    """Return an exchange with the platform under a budget of its own."""
    return Exchange(http, label="OHIP", clock=clock, sleep=sleep, most=REQUESTS_MOST, window_ms=WINDOW_MS, said=_said)


def bearer(
    asking: Exchange,
    *,
    platform: str,
    client_id: str,
    client_secret: str,
    app_key: str,
    enterprise: str,
    clock: Clock,
) -> Bearer:
    """Return our token at the platform."""
    basic = b64encode(f"{client_id}:{client_secret}".encode()).decode()
    return Bearer(
        asking,
        url=f"{platform.rstrip('/')}/oauth/v1/tokens",
        headers={"Authorization": f"Basic {basic}", "x-app-key": app_key, "enterpriseId": enterprise},
        form=urlencode({"grant_type": "client_credentials", "scope": "urn:opc:hgbu:ws:__myscopes__"}).encode(),
        clock=clock,
    )


def _q(part: str) -> str:
    return quote(part, safe="")


def _kept(page: Page, fits: Callable[[PmsReservation], bool]) -> Page:
    """Return a page without what a list by days brought too much."""
    return Page(tuple(each for each in page.reservations if fits(each)), page.errors, page.guests)


class _ProfileName(msgspec.Struct, frozen=True):
    givenName: str | None = None  # noqa: N815 - OHIP's own word
    surname: str | None = None


def _guest(answer: object) -> PmsGuest | None:
    ids = wire.rows(answer, "profileIdList") or []
    names = wire.rows(answer, "personName") or []
    try:
        found = next(each for each in (decode(raw, wire.UniqueId) for raw in ids))
        name = msgspec.json.decode(names[0], type=_ProfileName)
    except (msgspec.MsgspecError, StopIteration, IndexError):
        return None
    return PmsGuest(found.id, display_name(name.givenName, name.surname))


class _Problem(msgspec.Struct, frozen=True):
    title: str = ""
    detail: str = ""


def _said(content: bytes) -> str:
    try:
        told = msgspec.json.decode(content, type=_Problem)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return ""
    return told.detail or told.title
