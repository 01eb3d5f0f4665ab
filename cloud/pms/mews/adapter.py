"""The adapter to Mews: asks the Connector API, answers in our words. Shell around wire.py.

Limits of Mews: 200 requests a token in 30 s (we keep to 150), at most 1000 ids a filter, intervals of at most
three months. Every call is a POST with our tokens in its body.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final, Protocol, TypeVar

import httpx
import msgspec

from cloud.pms.exchange import Exchange
from cloud.pms.mews import contacts, wire
from cloud.pms.port import (
    Capabilities,
    FolioLine,
    GuestContact,
    Hint,
    ItemError,
    Page,
    PmsAction,
    PmsGuest,
    PmsRefusedError,
    PmsReservation,
    PmsRoom,
    Rooms,
)
from cloud.pms.reading import UnreadableError, display_name, item
from cloud.stays.reservation import Housekeeping
from kit.clock import Clock
from protocols.errors import PeerProtocolError

CLIENT: Final = "Innkeeper 1.0"
PAGE_ITEMS: Final = 1_000
"""The most that Mews gives: each page is one transaction, and settles the whole property once."""
PAGES_MOST: Final = 500
REQUESTS_MOST: Final = 150
WINDOW_MS: Final = 30_000
INTERVAL_MOST: Final = timedelta(days=89)
NEAR_BACK: Final = timedelta(days=2)
_MS: Final = timedelta(milliseconds=1)
_ALL_STATES: Final = ("Inquired", "Confirmed", "Started", "Processed", "Canceled", "Optional", "Requested")


class _Listed(Protocol):
    """An answer that may go on."""

    @property
    def Cursor(self) -> str | None: ...  # noqa: N802 - as Mews writes it


T = TypeVar("T")
P = TypeVar("P", bound=_Listed)


class MewsAdapter:
    """One property's connection to Mews.

    Args:
        platform: address in front of /api/connector/v1, such as https://api.mews.com.
        client_token: our integration.
        access_token: the property.
    """

    system = "mews"
    capabilities = Capabilities(
        pushes=True,
        changed_since=True,
        event_queue=False,
        writes=frozenset(PmsAction),
        folio=True,
        conditions=frozenset(Housekeeping) - {Housekeeping.PICKUP},
        asks_by_guest=True,
        by_day=False,
        contacts=True,
    )

    def __init__(
        self,
        http: httpx.AsyncClient,
        *,
        platform: str,
        client_token: str,
        access_token: str,
        clock: Clock,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._base, self._clock = platform.rstrip("/") + wire.API, clock
        self._tokens = {"ClientToken": client_token, "AccessToken": access_token, "Client": CLIENT}
        self._exchange = Exchange(
            http, label="Mews", clock=clock, sleep=sleep, most=REQUESTS_MOST, window_ms=WINDOW_MS, said=_said
        )

    def hints(self, raw: bytes) -> list[Hint]:
        """See the port."""
        return wire.hints(raw)

    async def rooms(self) -> Rooms:
        """See the port. Only active spaces are rooms."""
        found: list[PmsRoom | ItemError] = []
        now_ms = self._clock.wall_ms()
        async for answer in self._paged(wire.RESOURCES, {"Extent": {"Resources": True}}, wire.ResourcesAnswer):
            for raw in answer.Resources:
                said = item(raw, wire.Resource, "resource", "Id")
                if isinstance(said, ItemError):
                    found.append(said)
                elif said.is_room():
                    found += wire.room(said, now_ms=now_ms)
        return Rooms.of(found)

    def changed(self, since_ms: int, until_ms: int) -> AsyncIterator[Page]:
        """See the port."""
        return self._listed("UpdatedUtc", since_ms, until_ms)

    def colliding(self, from_ms: int, until_ms: int) -> AsyncIterator[Page]:
        """See the port."""
        return self._listed("CollidingUtc", from_ms, until_ms)

    def arriving(self, from_ms: int, until_ms: int) -> AsyncIterator[Page]:
        """See the port."""
        return self._listed("ScheduledStartUtc", from_ms, until_ms)

    async def get(self, external_ids: Sequence[str]) -> Page:
        """See the port. A hint at a customer is read as his reservations near now."""
        his = [each.removeprefix(wire.OF_CUSTOMER) for each in external_ids if each.startswith(wire.OF_CUSTOMER)]
        own = [each for each in external_ids if not each.startswith(wire.OF_CUSTOMER)]
        pages: list[Page] = []
        for ids in _parts(own):
            pages += [page async for page in self._pages({"ReservationIds": ids, "States": list(_ALL_STATES)})]
        now_ms = self._clock.wall_ms()
        near = {
            "StartUtc": wire.utc_text(now_ms - NEAR_BACK // _MS),
            "EndUtc": wire.utc_text(now_ms + (INTERVAL_MOST - NEAR_BACK) // _MS),
        }
        for ids in _parts(his):
            try:
                asked = {"AccountIds": ids, "CollidingUtc": near, "States": list(_ALL_STATES)}
                pages += [page async for page in self._pages(asked)]
            except PmsRefusedError as error:
                if error.status not in (httpx.codes.BAD_REQUEST, httpx.codes.NOT_FOUND):
                    raise  # a customer that is there no more; whoever is left is compared once a day
        return Page(
            tuple(each for page in pages for each in page.reservations),
            tuple(each for page in pages for each in page.errors),
            tuple(each for page in pages for each in page.guests),
        )

    async def guest(self, external_id: str) -> PmsGuest | None:
        """See the port."""
        names, _ = await self._names([external_id])
        name = names.get(external_id)
        return None if name is None else PmsGuest(external_id, name)

    async def search_guests(self, name: str) -> list[PmsGuest]:
        """See the port."""
        answer = await self._ask(wire.CUSTOMERS_SEARCH, {"Name": name, "Extent": {}}, wire.CustomersFound)
        told = [wire.found_customer(each) for each in answer.Customers]
        return [PmsGuest(each.Id, display_name(each.FirstName, each.LastName)) for each in told if each is not None]

    async def contact(self, external_id: str) -> GuestContact:
        """See the port."""
        wanted = {"ReservationIds": [external_id], "States": list(_ALL_STATES), **_limited(None)}
        found = await self._ask(wire.RESERVATIONS, wanted, wire.ReservationsAnswer)
        if (account := contacts.whose(found.Reservations, external_id)) is None:
            return GuestContact(None, None)
        asked = {"CustomerIds": [account], "Extent": {"Customers": True}, **_limited(None)}
        told = await self._ask(wire.CUSTOMERS, asked, wire.CustomersAnswer)
        return contacts.of_customer(told.Customers, account)

    async def check_in(self, external_id: str) -> None:
        """See the port."""
        await self._write(wire.START, {"ReservationId": external_id})

    async def check_out(self, external_id: str) -> None:
        """See the port. The guest has left: an open balance stays open and is the desk's to settle."""
        body = {
            "ReservationId": external_id,
            "CloseBills": False,
            "AllowOpenBalance": True,
            "Notes": "Checked out through Innkeeper.",
        }
        await self._write(wire.PROCESS, body)

    async def assign_room(self, external_id: str, room_external_id: str) -> None:
        """See the port."""
        update = {"ReservationId": external_id, "AssignedResourceId": {"Value": room_external_id}}
        body = {
            "ReservationUpdates": [update],
            "Reason": "Assigned through Innkeeper.",
            "CheckOverbooking": True,
            "Reprice": False,  # another room of ours is no other price
        }
        await self._write(wire.UPDATE, body)

    async def set_departure(self, external_id: str, departure_ms: int) -> None:
        """See the port. Nights are neither priced anew nor charged as cancelled, and none is sold twice."""
        update = {"ReservationId": external_id, "EndUtc": {"Value": wire.utc_text(departure_ms)}}
        body = {
            "ReservationUpdates": [update],
            "Reason": "Departure changed at the building, told by Innkeeper.",
            "CheckOverbooking": True,
            "Reprice": False,
            "ApplyCancellationFee": False,
        }
        await self._write(wire.UPDATE, body)

    async def set_room_status(self, room_external_id: str, housekeeping: Housekeeping) -> None:
        """See the port. Mews has no word for a touch-up: it is dirty there."""
        update = {"ResourceId": room_external_id, "State": {"Value": wire.STATE_OF[housekeeping]}}
        await self._write(wire.UPDATE_RESOURCES, {"ResourceUpdates": [update]})

    async def folio(self, external_id: str) -> tuple[FolioLine, ...]:
        """See the port."""
        lines: list[FolioLine] = []
        try:
            async for answer in self._paged(
                wire.ORDER_ITEMS, {"ServiceOrderIds": [external_id]}, wire.OrderItemsAnswer
            ):
                lines.extend(wire.folio_line(each) for each in answer.OrderItems if each.is_owed())
        except UnreadableError as error:
            raise PeerProtocolError(f"Mews {wire.ORDER_ITEMS}: {error}") from error
        return tuple(lines)

    async def pending(self) -> list[Hint]:
        """See the port: Mews keeps no queue."""
        return []

    async def received(self) -> None:
        """See the port: nobody waits for it."""

    async def ensure_subscribed(self) -> int:
        """See the port: Mews is told of our address by a person."""
        return 0

    async def _listed(self, interval: str, from_ms: int, until_ms: int) -> AsyncIterator[Page]:
        step_ms = INTERVAL_MOST // _MS
        for start_ms in range(from_ms, until_ms, step_ms):
            end_ms = min(start_ms + step_ms, until_ms)
            wanted = {
                interval: {"StartUtc": wire.utc_text(start_ms), "EndUtc": wire.utc_text(end_ms)},
                "States": list(_ALL_STATES),
            }
            async for page in self._pages(wanted):
                yield page

    async def _pages(self, wanted: Mapping[str, Any]) -> AsyncIterator[Page]:
        async for answer in self._paged(wire.RESERVATIONS, wanted, wire.ReservationsAnswer):
            items = [item(raw, wire.Reservation, "reservation", "Id") for raw in answer.Reservations]
            errors = [each for each in items if isinstance(each, ItemError)]
            said = [each for each in items if isinstance(each, wire.Reservation)]
            names, nameless = await self._names(sorted({each.customer() or "" for each in said} - {""}))
            told = [wire.reservation(each, names, now_ms=self._clock.wall_ms()) for each in said]
            errors += [each for each in told if isinstance(each, ItemError)]
            taken = tuple(each for each in told if isinstance(each, PmsReservation))
            yield Page(taken, (*errors, *nameless), guests=tuple(names))

    async def _names(self, accounts: Sequence[str]) -> tuple[dict[str, str], list[ItemError]]:
        names: dict[str, str] = {}
        errors: list[ItemError] = []
        for start in range(0, len(accounts), wire.IDS_MOST):
            ids = list(accounts[start : start + wire.IDS_MOST])
            asked = {"CustomerIds": ids, "Extent": {"Customers": True}}
            async for answer in self._paged(wire.CUSTOMERS, asked, wire.CustomersAnswer, patient=True):
                for raw in answer.Customers:
                    said = item(raw, wire.Customer, "customer", "Id")
                    if isinstance(said, ItemError):
                        errors.append(said)
                    else:
                        names[said.Id] = display_name(said.FirstName, said.LastName)
        return names, errors

    async def _paged(
        self, operation: str, body: Mapping[str, Any], kind: type[P], *, patient: bool = False
    ) -> AsyncIterator[P]:
        """Yield the pages of a list. A cursor that comes twice would go round for ever: PeerProtocolError.

        `patient`: this list is asked for in the middle of another one.
        """
        cursor: str | None = None
        seen: set[str] = set()
        for _ in range(PAGES_MOST):
            answer = await self._ask(
                operation, {**body, **_limited(cursor)}, kind, patient=patient or cursor is not None
            )
            yield answer
            if not (cursor := answer.Cursor):
                return
            if cursor in seen:
                raise PeerProtocolError(
                    f"Mews {operation}: cursor {cursor[:64]!r} came twice, the list goes in circles"
                )
            seen.add(cursor)
        raise PeerProtocolError(f"Mews {operation}: the list does not end after {PAGES_MOST} pages")

    async def _ask(self, operation: str, body: Mapping[str, Any], kind: type[T], *, patient: bool = False) -> T:
        answer, content = await self._call(operation, body, patient=patient)
        return self._exchange.decoded(operation, answer, content, kind)

    async def _write(self, operation: str, body: Mapping[str, Any]) -> None:
        await self._call(operation, body, empty=True)

    async def _call(
        self, operation: str, body: Mapping[str, Any], *, patient: bool = False, empty: bool = False
    ) -> tuple[httpx.Response, bytes]:
        return await self._exchange.send(
            operation,
            "POST",
            self._base + operation,
            headers={"Content-Type": "application/json"},
            content=msgspec.json.encode({**self._tokens, **body}),
            patient=patient,
            empty=empty,
        )


def _parts(ids: Sequence[str]) -> list[list[str]]:
    """Return ids in lists as long as a filter may be."""
    return [list(ids[start : start + wire.IDS_MOST]) for start in range(0, len(ids), wire.IDS_MOST)]


def _limited(cursor: str | None) -> dict[str, Any]:
    return {"Limitation": {"Count": PAGE_ITEMS} if cursor is None else {"Count": PAGE_ITEMS, "Cursor": cursor}}


def _said(content: bytes) -> str:
    try:
        return msgspec.json.decode(content, type=wire.ErrorAnswer).Message
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return ""
