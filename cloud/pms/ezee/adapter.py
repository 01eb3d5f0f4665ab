"""The adapter to eZee: asks its one address, answers in our words. Shell around wire.py.

eZee lists bookings by the time of their creation or change and by nothing else: who is near now is found among those
made in the last `MADE_BACK`. Nobody is checked in and no room is given through it: that stays the desk's.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

import httpx
import msgspec

from cloud.pms.exchange import Exchange
from cloud.pms.ezee import wire
from cloud.pms.port import (
    Capabilities,
    FolioLine,
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
    Rooms,
)
from cloud.pms.reading import HouseTime, item
from cloud.stays.reservation import Housekeeping
from kit.clock import Clock

REQUESTS_MOST: Final = 60
WINDOW_MS: Final = 60_000
MADE_BACK: Final = timedelta(days=400)
PART: Final = timedelta(days=31)
DAY_MS: Final = 24 * 3_600_000


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
        changed_since=True,
        event_queue=False,
        writes=frozenset({PmsAction.SET_ROOM_STATUS}),
        folio=False,
        early_ms=15 * 3_600_000,
        conditions=frozenset({Housekeeping.CLEAN, Housekeeping.DIRTY}),
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
            told += [said] if isinstance(said, ItemError) else wire.room(said, now_ms=now_ms)
        return Rooms.of(told)

    async def changed(self, since_ms: int, until_ms: int) -> AsyncIterator[Page]:
        """See the port."""
        async for page in self._pages("Updated", since_ms, until_ms + 999):
            yield page

    async def colliding(self, from_ms: int, until_ms: int) -> AsyncIterator[Page]:
        """See the port; bookings made longer ago than `MADE_BACK` are not found."""
        async for page in self._made():
            yield _kept(page, lambda each: each.arrival_ms < until_ms and each.departure_ms > from_ms)

    async def arriving(self, from_ms: int, until_ms: int) -> AsyncIterator[Page]:
        """See the port; bookings made longer ago than `MADE_BACK` are not found."""
        async for page in self._made():
            yield _kept(page, lambda each: from_ms <= each.arrival_ms <= until_ms)

    async def get(self, external_ids: Sequence[str]) -> Page:
        """See the port. One call for each booking."""
        pages = []
        for index, each in enumerate(dict.fromkeys(wire.parent(each) for each in external_ids)):
            pages.append(self._page(await self._ask(wire.GUEST_LIST, {"BookingId": each}, patient=index > 0)))
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
        """See the port: among the bookings that were changed in the last days."""
        now_ms, found = self._clock.wall_ms(), dict[str, PmsGuest]()
        async for page in self._pages("Updated", now_ms - PART // timedelta(milliseconds=1), now_ms):
            for each in page.reservations:
                if each.guest_name and name.casefold() in each.guest_name.casefold():
                    booking = wire.parent(each.external_id)
                    found[booking] = PmsGuest(booking, each.guest_name)
        return list(found.values())

    async def check_in(self, external_id: str) -> None:  # noqa: ARG002 - the port's shape
        """See the port. Raises PmsCannotError."""
        raise PmsCannotError("eZee", "a check-in")

    async def check_out(self, external_id: str) -> None:  # noqa: ARG002 - the port's parameter
        """See the port. Raises PmsCannotError."""
        raise PmsCannotError("eZee", "a check-out")

    async def assign_room(self, external_id: str, room_external_id: str) -> None:  # noqa: ARG002 - the port's parameter
        """See the port. Raises PmsCannotError."""
        raise PmsCannotError("eZee", "the assignment of a room")

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
        told = await self._post("updatehkdata", wire.CONDITION_ADDRESS, body, patient=False)
        if (against := wire.warning(told)) is not None:
            raise PmsRefusedError(422, against)

    async def folio(self, external_id: str) -> tuple[FolioLine, ...]:  # noqa: ARG002 - the port's parameter
        """See the port. Raises PmsCannotError."""
        raise PmsCannotError("eZee", "a folio")

    async def pending(self) -> list[Hint]:
        """See the port: eZee keeps no queue."""
        return []

    async def ensure_subscribed(self) -> int:
        """See the port: eZee is told of our address by a person."""
        return 0

    async def _made(self) -> AsyncIterator[Page]:
        now_ms = self._clock.wall_ms()
        back_ms, part_ms = (each // timedelta(milliseconds=1) for each in (MADE_BACK, PART))
        for start_ms in range(now_ms - back_ms, now_ms + 1, part_ms):
            end_ms = min(start_ms + part_ms, now_ms + 999)
            async for page in self._pages("Created", start_ms, end_ms, patient=start_ms > now_ms - back_ms):
                yield page

    async def _pages(self, by: str, from_ms: int, until_ms: int, *, patient: bool = False) -> AsyncIterator[Page]:
        since, until = self._time.span(from_ms, until_ms)
        yield self._page(
            await self._ask(wire.GUEST_LIST, {"FilterBy": by, "FromDate": since, "ToDate": until}, patient=patient)
        )

    def _page(self, answer: dict[str, Any]) -> Page:
        now_ms = self._clock.wall_ms()
        told = [
            each
            for booking in wire.bookings(answer, wire.GUEST_LIST)
            for each in wire.reservations(booking, self._time, now_ms=now_ms)
        ]
        return Page(
            tuple(each for each in told if isinstance(each, PmsReservation)),
            tuple(each for each in told if isinstance(each, ItemError)),
        )

    async def _ask(self, kind: str, asked: Mapping[str, str], *, patient: bool = False) -> dict[str, Any]:
        authentication = {"HotelCode": self._hotel, "AuthCode": self._auth}
        body = {"RES_Request": {"Request_Type": kind, "Authentication": authentication, **asked}}
        return await self._post(kind, wire.ADDRESS, body, patient=patient)

    def _flat(self) -> dict[str, Any]:
        return {"authcode": self._auth, "hotel_code": self._hotel}

    async def _post(self, name: str, address: str, body: Mapping[str, Any], *, patient: bool) -> dict[str, Any]:
        answer, content = await self._exchange.send(
            name,
            "POST",
            self._platform + address,
            headers={"Content-Type": "application/json"},
            content=msgspec.json.encode(body),
            patient=patient,
        )
        told = self._exchange.decoded(name, answer, content, dict[str, Any])
        if (problem := wire.problem(told)) is None:
            return told
        code, message = problem
        if wire.is_nothing(message) and name == wire.GUEST_LIST:
            return {"Reservations": []}
        if code in wire.BROKEN:
            raise PmsFaultError(f"eZee {name}: {code} {message}")
        refused = code in wire.UNAUTHORISED or "unauthori" in message.casefold()
        raise PmsRefusedError(401 if refused else 422, f"{code} {message}")


def _kept(page: Page, fits: Callable[[PmsReservation], bool]) -> Page:
    """Return a page without what a list by days brought too much."""
    return Page(tuple(each for each in page.reservations if fits(each)), page.errors, page.guests)


def _said(content: bytes) -> str:
    return content[:200].decode("utf-8", "replace") if content.startswith(b"{") else ""
