"""The adapter to StayNTouch: asks Connect 2.0, answers in our words. Shell around wire.py.

Every list is of days: what is asked for by time of change comes for whole days and is filtered here.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, TypeVar
from urllib.parse import quote, urlencode
from zoneinfo import ZoneInfo

import httpx
import msgspec

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
    Rooms,
)
from cloud.pms.reading import HouseTime, UnreadableError, decode_told, display_name, item, row_key
from cloud.pms.stayntouch import contacts, wire
from cloud.pms.tokens import Bearer
from cloud.stays.reservation import Housekeeping
from kit.clock import Clock
from protocols.errors import PeerProtocolError

REQUESTS_MOST: Final = 5
WINDOW_MS: Final = 1_000
_UTC: Final = HouseTime(ZoneInfo("UTC"))
T = TypeVar("T")


class StayNTouchAdapter:
    """One hotel's connection to StayNTouch.

    Args:
        platform: address in front of /connect; `auth` that in front of /oauth/token.
        client_id, client_secret: of our integration.
        hotel: hotel_id.
        time: the property's wall clock.
    """

    system = "stayntouch"
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
        auth: str,
        client_id: str,
        client_secret: str,
        hotel: str,
        time: HouseTime,
        clock: Clock,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._base, self._hotel, self._time, self._clock = f"{platform.rstrip('/')}/connect/", hotel, time, clock
        self._headers = {"API-Version": "2.0"}
        self._exchange = Exchange(
            http, label="StayNTouch", clock=clock, sleep=sleep, most=REQUESTS_MOST, window_ms=WINDOW_MS, said=_said
        )
        form = {"grant_type": "client_credentials", "client_id": client_id, "client_secret": client_secret}
        self._bearer = Bearer(
            self._exchange,
            url=f"{auth.rstrip('/')}/oauth/token",
            headers={},
            form=urlencode(form).encode(),
            clock=clock,
        )

    def hints(self, raw: bytes) -> list[Hint]:
        """See the port."""
        return wire.hints(raw)

    async def rooms(self) -> Rooms:
        """See the port."""
        now_ms = self._clock.wall_ms()
        told: list[PmsRoom | ItemError] = []
        async for rows in self._lists("rooms", {}):
            for raw in rows:
                said = item(raw, wire.Room, "resource", "id", strict=False)
                told += [said] if isinstance(said, ItemError) else wire.room(said, now_ms=now_ms)
        return Rooms.of(told)

    async def changed(self, since_ms: int, until_ms: int) -> AsyncIterator[Page]:
        """See the port."""
        days = self._days("updated", since_ms, until_ms)
        # nobody says whose midnight ends a day of changes, the property's or UTC's: whichever is further away
        days["from_date"] = min(days["from_date"], _UTC.day(since_ms))
        days["to_date"] = max(days["to_date"], _UTC.day(until_ms))
        async for page in self._pages(days):
            yield _kept(page, lambda each: since_ms - 1_000 < each.updated_ms <= until_ms + 1_000)

    async def colliding(self, from_ms: int, until_ms: int) -> AsyncIterator[Page]:
        """See the port. Listed by departure, which every stay that touches the interval has after its beginning."""
        asked = self._days("departure", from_ms, until_ms + LONGEST_STAY_MS)
        async for page in self._pages(asked):
            yield _kept(page, lambda each: each.arrival_ms < until_ms and each.departure_ms > from_ms)

    async def arriving(self, from_ms: int, until_ms: int) -> AsyncIterator[Page]:
        """See the port."""
        async for page in self._pages(self._days("arrival", from_ms, until_ms)):
            yield _kept(page, lambda each: from_ms <= each.arrival_ms <= until_ms)

    async def get(self, external_ids: Sequence[str]) -> Page:
        """See the port. One call for each."""
        pages = [await self._read(each, patient=index > 0) for index, each in enumerate(external_ids)]
        return Page(
            tuple(each for page in pages for each in page.reservations),
            tuple(each for page in pages for each in page.errors),
            tuple(each for page in pages for each in page.guests),
        )

    async def guest(self, external_id: str) -> PmsGuest | None:
        """See the port."""
        try:
            said = await self._one(f"guests/{_q(external_id)}", wire.GuestOf)
        except PmsRefusedError as error:
            if error.status == httpx.codes.NOT_FOUND:
                return None
            raise
        return PmsGuest(said.id, display_name(said.first_name, said.last_name))

    async def search_guests(self, name: str) -> list[PmsGuest]:
        """See the port."""
        found = []
        async for rows in self._lists("guests", {"last_name": name}):
            for raw in rows:
                said = item(raw, wire.GuestOf, "customer", "id", strict=False)
                if isinstance(said, wire.GuestOf):
                    found.append(PmsGuest(said.id, display_name(said.first_name, said.last_name)))
        return found

    async def contact(self, external_id: str) -> GuestContact:
        """See the port."""
        said = await self._one(f"reservations/{_q(external_id)}", dict[str, Any])
        guest = contacts.primary(said, external_id, hotel=self._hotel)
        told = contacts.of_guest(guest)
        if told.email is not None or (guest_id := contacts.id_of(guest)) is None:
            return told
        try:
            alone = contacts.alone(await self._one(f"guests/{_q(guest_id)}", dict[str, Any]), guest_id)
        except PmsRefusedError as error:
            if error.status != httpx.codes.NOT_FOUND:
                raise
            return told
        return contacts.of_guest(alone, guest)

    async def check_in(self, external_id: str) -> None:
        """See the port."""
        await self._write("check_in", "POST", f"reservations/{_q(external_id)}/check_in", {})

    async def check_out(self, external_id: str) -> None:
        """See the port. Their page names no check-out; who does not offer one to partners has no such address."""
        with _where_offered("a check-out"):
            await self._write("check_out", "POST", f"reservations/{_q(external_id)}/check_out", {})

    async def assign_room(self, external_id: str, room_external_id: str) -> None:
        """See the port."""
        body = {"room_id": int(room_external_id) if room_external_id.isdigit() else room_external_id}
        await self._write("assign_room", "PUT", f"reservations/{_q(external_id)}/assign_room", body)

    async def set_departure(self, external_id: str, departure_ms: int) -> None:
        """See the port. Their page names the change of a reservation and not each of its fields; a house that does not
        offer it to partners has no such address.
        """
        body = {"departure_date": self._time.day(departure_ms)}
        with _where_offered("another departure"):
            await self._write("reservations", "PUT", f"reservations/{_q(external_id)}", body)

    async def set_room_status(self, room_external_id: str, housekeeping: Housekeeping) -> None:
        """See the port. Out of order and out of service have dates there, which nobody gave us. Their page names the
        rooms' `status` and only `service_status` as an address of its own.
        """
        if (word := wire.CONDITION_OF.get(housekeeping)) is None:
            raise PmsCannotError("StayNTouch", f"a room that is {housekeeping}")
        with _where_offered("the condition of a room"):
            await self._write("room status", "PUT", f"rooms/{_q(room_external_id)}", {"status": word})

    async def folio(self, external_id: str) -> tuple[FolioLine, ...]:
        """See the port."""
        bills = await self._one(f"reservations/{_q(external_id)}", wire.BillsOf)
        now_ms = self._clock.wall_ms()
        lines: list[FolioLine] = []
        try:
            for bill in bills.bills or ():
                async for rows in self._lists(f"bills/{_q(bill.id)}/transactions", {}, patient=True):
                    for raw in rows:
                        said = decode_told(raw, wire.Transaction)
                        lines.append(wire.folio_line(said, bills.currency_code, self._time, now_ms=now_ms))
        except (UnreadableError, msgspec.ValidationError) as error:
            raise PeerProtocolError(f"StayNTouch transactions: {error}") from error
        return tuple(sorted(lines, key=lambda each: (each.at_ms, each.external_id)))

    async def pending(self) -> list[Hint]:
        """See the port: StayNTouch keeps no queue."""
        return []

    async def received(self) -> None:
        """See the port: nobody waits for it."""

    async def ensure_subscribed(self) -> int:
        """See the port: StayNTouch is told of our address by a person."""
        return 0

    def _days(self, by: str, from_ms: int, until_ms: int) -> dict[str, str]:
        return {"date_filter": by, "from_date": self._time.day(from_ms), "to_date": self._time.day(until_ms)}

    async def _read(self, external_id: str, *, patient: bool) -> Page:
        try:
            raw = await self._one(f"reservations/{_q(external_id)}", msgspec.Raw, patient=patient)
        except PmsRefusedError as error:
            if error.status == httpx.codes.NOT_FOUND:
                return Page(())
            raise
        return self._page([raw])

    def _page(self, rows: Sequence[msgspec.Raw]) -> Page:
        now_ms = self._clock.wall_ms()
        found: list[PmsReservation] = []
        errors: list[ItemError] = []
        guests: list[str] = []
        for raw in rows:
            said = item(raw, wire.Reservation, "reservation", "id", strict=False)
            if isinstance(said, wire.Reservation) and said.hotel_id not in (None, self._hotel):
                continue  # of another hotel of the group: whoever may read both is told of both
            one = said if isinstance(said, ItemError) else wire.reservation(said, self._time, now_ms=now_ms)
            errors.append(one) if isinstance(one, ItemError) else found.append(one)
            if isinstance(said, wire.Reservation):
                guests += [each.id for each in said.guests]
        return Page(tuple(found), tuple(errors), tuple(guests))

    async def _pages(self, asked: Mapping[str, str]) -> AsyncIterator[Page]:
        async for rows in self._lists("reservations", asked):
            yield self._page(rows)

    async def _lists(
        self, path: str, asked: Mapping[str, str], *, patient: bool = False
    ) -> AsyncIterator[list[msgspec.Raw]]:
        """Yield the rows of a list, each once, however it moves. Raises PeerProtocolError: it goes in circles."""
        held = MovingList(f"StayNTouch {path}", wire.PAGE_MOST, by_number=True)
        while not held.done:
            window = held.window()
            paged = {**asked, "page": str(window.number), "per_page": str(window.size)}
            answer = await self._one(path, wire.Listed, paged, patient=patient)
            rows = answer.results or []
            new = held.take(window, [row_key(each, "id") for each in rows], total=answer.total_count)
            yield [rows[index] for index in new]
            patient = True

    async def _one(
        self, path: str, kind: type[T], asked: Mapping[str, str] | None = None, *, patient: bool = False
    ) -> T:
        url = f"{self._base}{path}?{urlencode({'hotel_id': self._hotel, **(asked or {})})}"
        answer, content = await self._bearer.use(
            lambda token: self._exchange.send(
                path, "GET", url, headers={**self._headers, "Authorization": f"Bearer {token}"}, patient=patient
            ),
            patient=patient,
        )
        return self._exchange.decoded(path, answer, content, kind, strict=False)

    async def _write(self, name: str, method: str, path: str, body: Mapping[str, Any]) -> None:
        url = f"{self._base}{path}?{urlencode({'hotel_id': self._hotel})}"
        await self._bearer.use(
            lambda token: self._exchange.send(
                name,
                method,
                url,
                headers={**self._headers, "Authorization": f"Bearer {token}", "Content-Type": "application/json"},
                content=msgspec.json.encode(body),
                empty=True,
            ),
            patient=False,
            writes=True,
        )


LONGEST_STAY_MS: Final = 120 * 24 * 3_600_000
"""How far after an interval the departures are looked for of those who came before its end."""


@contextmanager
def _where_offered(what: str) -> Iterator[None]:
    """Raise PmsCannotError where the house has no such address for partners."""
    try:
        yield
    except PmsRefusedError as error:
        if error.status not in (httpx.codes.NOT_FOUND, httpx.codes.METHOD_NOT_ALLOWED):
            raise
        raise PmsCannotError("StayNTouch", what) from error


def _q(part: str) -> str:
    return quote(part, safe="")


def _kept(page: Page, fits: Callable[[PmsReservation], bool]) -> Page:
    """Return a page without what a list by days brought too much."""
    return Page(tuple(each for each in page.reservations if fits(each)), page.errors, page.guests)


class _Problem(msgspec.Struct, frozen=True):
    message: str = ""
    errors: Any = None


def _said(content: bytes) -> str:
    try:
        told = msgspec.json.decode(content, type=_Problem)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return ""
    return told.message or str(told.errors or "")
