"""The adapter to Mews: asks the Connector API, answers in our words. Shell around wire.py.

Limits of Mews: 200 requests a token in 30 s (we keep to 150), at most 1000 ids a filter, intervals of at most
three months. Every call is a POST with our tokens in its body.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Final, TypeVar

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

T = TypeVar("T")


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
        self, http: httpx.AsyncClient, *, platform: str, client_token: str, access_token: str, clock: Clock
    ) -> None:
        self._http, self._clock = http, clock
        self._base = platform.rstrip("/") + wire.API
        self._tokens = {"ClientToken": client_token, "AccessToken": access_token, "Client": CLIENT}
        self._budget = RequestBudget(REQUESTS_MOST, WINDOW_MS)

    def hints(self, raw: bytes) -> list[Hint]:
        """See the port."""
        return wire.hints(raw)

    async def rooms(self) -> list[PmsRoom]:
        """See the port. Only active resources are rooms."""
        found: list[PmsRoom] = []
        cursor: str | None = None
        for _ in range(PAGES_MOST):
            answer = await self._ask(
                wire.RESOURCES, {"Extent": {"Resources": True}, **_limited(cursor)}, wire.ResourcesAnswer
            )
            found.extend(wire.room(each) for each in answer.Resources if each.IsActive)
            if (cursor := answer.Cursor) is None:
                return found
        raise PeerProtocolError(f"{wire.RESOURCES} does not end after {PAGES_MOST} pages")

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
        for start in range(0, len(external_ids), wire.IDS_MOST):
            ids = list(external_ids[start : start + wire.IDS_MOST])
            async for page in self._pages({"ReservationIds": ids, "States": list(_ALL_STATES)}):
                reservations.extend(page.reservations)
                errors.extend(page.errors)
        return Page(tuple(reservations), tuple(errors))

    async def guest(self, external_id: str) -> PmsGuest | None:
        """See the port."""
        name = (await self._names([external_id])).get(external_id)
        return None if name is None else PmsGuest(external_id, name)

    async def search_guests(self, name: str) -> list[PmsGuest]:
        """See the port."""
        answer = await self._ask(wire.CUSTOMERS_SEARCH, {"Name": name, "Extent": {}}, wire.CustomersFound)
        return [PmsGuest(each.Customer.Id, wire.display_name(each.Customer)) for each in answer.Customers]

    async def check_in(self, external_id: str) -> None:
        """See the port."""
        await self._ask(wire.START, {"ReservationId": external_id}, dict[str, Any])

    async def check_out(self, external_id: str) -> None:
        """See the port. The guest has left: an open balance stays open and is the desk's to settle."""
        body = {
            "ReservationId": external_id,
            "CloseBills": False,
            "AllowOpenBalance": True,
            "Notes": "Checked out through Innkeeper.",
        }
        await self._ask(wire.PROCESS, body, dict[str, Any])

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
        cursor: str | None = None
        for _ in range(PAGES_MOST):
            answer = await self._ask(wire.RESERVATIONS, {**wanted, **_limited(cursor)}, wire.ReservationsAnswer)
            accounts = {str(each["AccountId"]) for each in answer.Reservations if each.get("AccountId")}
            names = await self._names(sorted(accounts))
            items = [wire.reservation(each, names) for each in answer.Reservations]
            yield Page(
                tuple(each for each in items if isinstance(each, PmsReservation)),
                tuple(each for each in items if isinstance(each, ItemError)),
            )
            if (cursor := answer.Cursor) is None:
                return
        raise PeerProtocolError(f"{wire.RESERVATIONS} does not end after {PAGES_MOST} pages")

    async def _names(self, accounts: Sequence[str]) -> dict[str, str]:
        names: dict[str, str] = {}
        for start in range(0, len(accounts), wire.IDS_MOST):
            ids = list(accounts[start : start + wire.IDS_MOST])
            cursor: str | None = None
            for _ in range(PAGES_MOST):
                asked = {"CustomerIds": ids, "Extent": {"Customers": True}, **_limited(cursor)}
                answer = await self._ask(wire.CUSTOMERS, asked, wire.CustomersAnswer)
                names.update((each.Id, wire.display_name(each)) for each in answer.Customers)
                if (cursor := answer.Cursor) is None:
                    break
        return names

    async def _ask(self, operation: str, body: Mapping[str, Any], kind: type[T]) -> T:
        now_ms = self._clock.now_ms()
        if (wait_ms := self._budget.wait_ms(now_ms)) > 0:
            raise PmsBusyError(wait_ms)
        self._budget.spend(now_ms)
        try:
            async with asyncio.timeout(ANSWER_WAIT_S + CONNECT_WAIT_S):
                answer = await self._http.post(
                    self._base + operation,
                    content=msgspec.json.encode({**self._tokens, **body}),
                    headers={"Content-Type": "application/json"},
                )
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            raise LinkLostError(f"Mews {operation}: no connection") from error
        except (httpx.TimeoutException, TimeoutError) as error:
            raise ReplyTimeoutError(f"Mews {operation}: no answer") from error
        except httpx.HTTPError as error:
            raise PmsFaultError(f"Mews {operation}: {type(error).__name__}") from error
        return self._read(operation, answer, kind)

    def _read(self, operation: str, answer: httpx.Response, kind: type[T]) -> T:
        status = answer.status_code
        if status == httpx.codes.TOO_MANY_REQUESTS:
            wait_ms = self._patience_ms(answer.headers.get("retry-after"))
            self._budget.quiet(self._clock.now_ms() + wait_ms)
            raise PmsBusyError(wait_ms)
        if status >= 500 or status == httpx.codes.REQUEST_TIMEOUT:
            raise PmsFaultError(f"Mews {operation}: {status}")
        if status >= 400:
            raise PmsRefusedError(status, _said(answer.content))
        if len(answer.content) > ANSWER_BYTES_MOST:
            raise PeerProtocolError(f"Mews {operation}: an answer of {len(answer.content)} bytes")
        try:
            return msgspec.json.decode(answer.content or b"{}", type=kind)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise PeerProtocolError(f"Mews {operation}: {error}") from error

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


def _said(content: bytes) -> str:
    try:
        return msgspec.json.decode(content, type=wire.ErrorAnswer).Message[:300] or "no message"
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return "no readable message"
