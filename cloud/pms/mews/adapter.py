"""The adapter to Mews: asks the Connector API, answers in our words. Shell around wire.py.

Limits of Mews: 200 requests a token in 30 s (we keep to 150), at most 1000 ids a filter, intervals of at most
three months. Every call is a POST with our tokens in its body.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Final, Protocol, TypeVar

import httpx
import msgspec

from cloud.kit.times import unix_ms
from cloud.pms.budget import RequestBudget
from cloud.pms.mews import wire
from cloud.pms.port import (
    Hint,
    ItemError,
    Page,
    PmsBusyError,
    PmsFaultError,
    PmsGuest,
    PmsRefusedError,
    PmsReservation,
    PmsRoom,
    Rooms,
)
from kit.clock import Clock
from protocols.errors import LinkLostError, PeerProtocolError, ReplyTimeoutError

CLIENT: Final = "Innkeeper 1.0"
PAGE_ITEMS: Final = 200
PAGES_MOST: Final = 500
ANSWER_BYTES_MOST: Final = 32 * 1024 * 1024
CONNECT_WAIT_S: Final = 5.0
ANSWER_WAIT_S: Final = 30.0
REQUESTS_MOST: Final = 150
WINDOW_MS: Final = 30_000
BUSY_DEFAULT_MS: Final = 5_000
BUSY_MOST_MS: Final = 300_000
INTERVAL_MOST: Final = timedelta(days=89)
_ALL_STATES: Final = ("Inquired", "Confirmed", "Started", "Processed", "Canceled", "Optional", "Requested")


class _Listed(Protocol):
    """An answer that may go on."""

    @property
    def Cursor(self) -> str | None: ...  # noqa: N802 - as Mews writes it


T = TypeVar("T")
P = TypeVar("P", bound=_Listed)


def http_client() -> httpx.AsyncClient:
    """Return a client with our deadlines; the caller closes it."""
    return httpx.AsyncClient(
        timeout=httpx.Timeout(ANSWER_WAIT_S, connect=CONNECT_WAIT_S), follow_redirects=False, trust_env=False
    )


class MewsAdapter:
    """One property's connection to Mews.

    Args:
        platform: address in front of /api/connector/v1, such as https://api.mews.com.
        client_token: our integration.
        access_token: the property.
    """

    system = "mews"

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
        self._http, self._clock, self._sleep = http, clock, sleep
        self._base = platform.rstrip("/") + wire.API
        self._tokens = {"ClientToken": client_token, "AccessToken": access_token, "Client": CLIENT}
        self._budget = RequestBudget(REQUESTS_MOST, WINDOW_MS)

    def hints(self, raw: bytes) -> list[Hint]:
        """See the port."""
        return wire.hints(raw)

    async def rooms(self) -> Rooms:
        """See the port. Only active resources are rooms."""
        found: list[PmsRoom] = []
        errors: list[ItemError] = []
        async for answer in self._paged(wire.RESOURCES, {"Extent": {"Resources": True}}, wire.ResourcesAnswer):
            for raw in answer.Resources:
                said = wire.item(raw, wire.Resource, "resource")
                if isinstance(said, wire.Resource) and not said.IsActive:
                    continue
                one = said if isinstance(said, ItemError) else wire.room(said)
                errors.append(one) if isinstance(one, ItemError) else found.append(one)
        return Rooms(tuple(found), tuple(errors))

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
        """See the port."""
        reservations: list[PmsReservation] = []
        errors: list[ItemError] = []
        guests: list[str] = []
        for start in range(0, len(external_ids), wire.IDS_MOST):
            ids = list(external_ids[start : start + wire.IDS_MOST])
            async for page in self._pages({"ReservationIds": ids, "States": list(_ALL_STATES)}):
                reservations.extend(page.reservations)
                errors.extend(page.errors)
                guests.extend(page.guests)
        return Page(tuple(reservations), tuple(errors), tuple(guests))

    async def guest(self, external_id: str) -> PmsGuest | None:
        """See the port."""
        names, _ = await self._names([external_id])
        name = names.get(external_id)
        return None if name is None else PmsGuest(external_id, name)

    async def search_guests(self, name: str) -> list[PmsGuest]:
        """See the port."""
        answer = await self._ask(wire.CUSTOMERS_SEARCH, {"Name": name, "Extent": {}}, wire.CustomersFound)
        return [PmsGuest(each.Customer.Id, wire.display_name(each.Customer)) for each in answer.Customers]

    async def check_in(self, external_id: str) -> None:
        """See the port."""
        await self._exchange(wire.START, {"ReservationId": external_id})

    async def check_out(self, external_id: str) -> None:
        """See the port. The guest has left: an open balance stays open and is the desk's to settle."""
        body = {
            "ReservationId": external_id,
            "CloseBills": False,
            "AllowOpenBalance": True,
            "Notes": "Checked out through Innkeeper.",
        }
        await self._exchange(wire.PROCESS, body)

    async def _listed(self, interval: str, from_ms: int, until_ms: int) -> AsyncIterator[Page]:
        step_ms = INTERVAL_MOST // timedelta(milliseconds=1)
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
            items = [wire.item(raw, wire.Reservation, "reservation") for raw in answer.Reservations]
            errors = [each for each in items if isinstance(each, ItemError)]
            said = [each for each in items if isinstance(each, wire.Reservation)]
            names, nameless = await self._names(sorted({each.AccountId for each in said if each.AccountId}))
            told = [wire.reservation(each, names) for each in said]
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
                    said = wire.item(raw, wire.Customer, "customer")
                    if isinstance(said, ItemError):
                        errors.append(said)
                    else:
                        names[said.Id] = wire.display_name(said)
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
            if (cursor := answer.Cursor) is None:
                return
            if cursor in seen:
                raise PeerProtocolError(
                    f"Mews {operation}: cursor {cursor[:64]!r} came twice, the list goes in circles"
                )
            seen.add(cursor)
        raise PeerProtocolError(f"Mews {operation}: the list does not end after {PAGES_MOST} pages")

    async def _ask(self, operation: str, body: Mapping[str, Any], kind: type[T], *, patient: bool = False) -> T:
        answer, content = await self._exchange(operation, body, patient=patient)
        try:
            try:
                return msgspec.json.decode(content, type=kind)
            except msgspec.ValidationError:
                raise
            except msgspec.DecodeError:
                if (mended := _mended(content)) is None:
                    raise
                return msgspec.json.decode(mended, type=kind)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            said = answer.headers.get("content-type", "no content type")[:64]
            raise PeerProtocolError(f"Mews {operation}: {error} in {len(content)} bytes of {said}") from error

    async def _exchange(
        self, operation: str, body: Mapping[str, Any], *, patient: bool = False
    ) -> tuple[httpx.Response, bytes]:
        """Ask once and return what was answered with 200, unread.

        `patient`: in the middle of a list, wait for our own budget; to give up would lose the list.
        """
        while (wait_ms := self._budget.wait_ms(now_ms := self._clock.now_ms())) > 0:
            if not patient or self._budget.is_quiet(now_ms):
                raise PmsBusyError(wait_ms)
            await self._sleep(wait_ms / 1000)
        self._budget.spend(now_ms)
        try:
            async with (
                asyncio.timeout(ANSWER_WAIT_S + CONNECT_WAIT_S),
                self._http.stream(
                    "POST",
                    self._base + operation,
                    content=msgspec.json.encode({**self._tokens, **body}),
                    headers={"Content-Type": "application/json"},
                ) as answer,
            ):
                content = await _bounded(operation, answer)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            raise LinkLostError(f"Mews {operation}: no connection") from error
        except (httpx.TimeoutException, TimeoutError) as error:
            raise ReplyTimeoutError(f"Mews {operation}: no answer") from error
        except httpx.HTTPError as error:
            raise PmsFaultError(f"Mews {operation}: {type(error).__name__}") from error
        status = answer.status_code
        if status == httpx.codes.TOO_MANY_REQUESTS:
            wait_ms = self._patience_ms(answer.headers.get("retry-after"))
            self._budget.quiet(self._clock.now_ms() + wait_ms)
            raise PmsBusyError(wait_ms)
        if status >= 500 or status == httpx.codes.REQUEST_TIMEOUT:
            raise PmsFaultError(f"Mews {operation}: {status}")
        if status >= 400:
            raise PmsRefusedError(status, _said(content))
        if status != httpx.codes.OK:
            raise PeerProtocolError(f"Mews {operation}: status {status}, not 200")
        return answer, content

    def _patience_ms(self, retry_after: str | None) -> int:
        """Read Retry-After: seconds or a date; a sane default for anything else."""
        if retry_after is None:
            return BUSY_DEFAULT_MS
        try:
            wait_ms = int(float(retry_after) * 1000)
        except (ValueError, OverflowError):
            try:
                wait_ms = unix_ms(parsedate_to_datetime(retry_after)) - self._clock.wall_ms()
            except (ValueError, TypeError):
                return BUSY_DEFAULT_MS
        return min(max(wait_ms, 0), BUSY_MOST_MS)


def _limited(cursor: str | None) -> dict[str, Any]:
    return {"Limitation": {"Count": PAGE_ITEMS} if cursor is None else {"Count": PAGE_ITEMS, "Cursor": cursor}}


def _mended(content: bytes) -> bytes | None:
    """Write JSON again with a question mark for each half of a surrogate pair: a name cut in its emoji is no reason
    to lose a page of guests. None: something else is wrong with it.
    """
    try:
        return json.dumps(json.loads(content), ensure_ascii=False).encode("utf-8", "replace")
    except ValueError:
        return None


async def _bounded(operation: str, answer: httpx.Response) -> bytes:
    """Read an answer as it comes, and no more of it than any answer has."""
    content = bytearray()
    async for chunk in answer.aiter_bytes():
        content += chunk
        if len(content) > ANSWER_BYTES_MOST:
            raise PeerProtocolError(f"Mews {operation}: an answer of more than {ANSWER_BYTES_MOST} bytes")
    return bytes(content)


def _said(content: bytes) -> str:
    try:
        return msgspec.json.decode(content, type=wire.ErrorAnswer).Message[:300] or "no message"
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return "no readable message"
