"""One request to a partner and every way it can end: our budget, our deadlines, a bounded answer, errors by name.

Shared by every adapter, so that a 429, a cut line or an endless answer means the same whoever sent it.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from email.utils import parsedate_to_datetime
from typing import Final, TypeVar

import httpx
import msgspec

from cloud.kit.times import unix_ms
from cloud.pms.budget import RequestBudget
from cloud.pms.port import PmsBusyError, PmsFaultError, PmsRefusedError
from cloud.pms.reading import decode
from kit.clock import Clock
from protocols.errors import LinkLostError, PeerProtocolError, ReplyTimeoutError

ANSWER_BYTES_MOST: Final = 32 * 1024 * 1024
CONNECT_WAIT_S: Final = 5.0
ANSWER_WAIT_S: Final = 30.0
BUSY_DEFAULT_MS: Final = 5_000
BUSY_MOST_MS: Final = 300_000
PATIENT_TRIES: Final = 6
"""How often the same page is asked for in the middle of a list before the list is given up."""
PATIENT_MOST_MS: Final = 60_000
"""The longest wait that a partner may ask for in the middle of a list; longer, and it is begun anew later."""
AGAIN_FIRST_MS: Final = 500
SAID_CHARACTERS_MOST: Final = 300
T = TypeVar("T")


def http_client() -> httpx.AsyncClient:
    """Return a client with our deadlines; the caller closes it."""
    return httpx.AsyncClient(
        timeout=httpx.Timeout(ANSWER_WAIT_S, connect=CONNECT_WAIT_S), follow_redirects=False, trust_env=False
    )


class Exchange:
    """Requests to one partner under one budget.

    Args:
        label: The partner's name in errors.
        most: Requests in `window_ms` that we allow ourselves.
        said: Reads what an answer that is none says; "" where it cannot.
    """

    def __init__(
        self,
        http: httpx.AsyncClient,
        *,
        label: str,
        clock: Clock,
        sleep: Callable[[float], Awaitable[None]],
        most: int,
        window_ms: int,
        said: Callable[[bytes], str],
    ) -> None:
        self._http, self._label, self._clock, self._sleep = http, label, clock, sleep
        self._budget = RequestBudget(most, window_ms)
        self._said = said

    async def send(
        self,
        operation: str,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        content: bytes | None = None,
        patient: bool = False,
        changes: bool = False,
        empty: bool = False,
    ) -> tuple[httpx.Response, bytes]:
        """Ask and return what was answered with 200 or 201, unread. `empty`: 204 is as good.

        `patient`: in the middle of a list, which would be lost if we gave up: wait for our own budget and for a
        partner who asks for a little patience, and ask again after a fault, but for what `changes` something there.
        Everything else is asked once.
        """
        wait_ms = AGAIN_FIRST_MS
        for _ in range(PATIENT_TRIES - 1 if patient else 0):
            await self._turn(patient=True)
            try:
                return await self._once(operation, method, url, headers=headers, content=content, empty=empty)
            except PmsBusyError as error:  # the budget waits for it
                if error.wait_ms > PATIENT_MOST_MS:
                    raise
            except (PmsFaultError, LinkLostError) as error:
                if changes and error.may_have_taken_effect:
                    raise
                await self._sleep(wait_ms / 1000)
                wait_ms *= 2
        await self._turn(patient=patient)
        return await self._once(operation, method, url, headers=headers, content=content, empty=empty)

    async def _turn(self, *, patient: bool) -> None:
        """Wait until the budget has room for a request, and count it. Raises PmsBusyError."""
        while (wait_ms := self._budget.wait_ms(now_ms := self._clock.now_ms())) > 0:
            if not patient or (self._budget.is_quiet(now_ms) and wait_ms > PATIENT_MOST_MS):
                raise PmsBusyError(wait_ms)
            await self._sleep(wait_ms / 1000)
        self._budget.spend(now_ms)

    async def _once(
        self,
        operation: str,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        content: bytes | None,
        empty: bool,
    ) -> tuple[httpx.Response, bytes]:
        name = f"{self._label} {operation}"
        try:
            async with (
                asyncio.timeout(ANSWER_WAIT_S + CONNECT_WAIT_S),
                self._http.stream(method, url, content=content, headers=dict(headers)) as answer,
            ):
                body = await _bounded(name, answer)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            raise LinkLostError(f"{name}: no connection") from error
        except (httpx.TimeoutException, TimeoutError) as error:
            raise ReplyTimeoutError(f"{name}: no answer") from error
        except httpx.HTTPError as error:
            raise PmsFaultError(f"{name}: {type(error).__name__}") from error
        status = answer.status_code
        if status == httpx.codes.TOO_MANY_REQUESTS:
            raise self.busy(answer.headers.get("retry-after"))
        if status >= 500 or status == httpx.codes.REQUEST_TIMEOUT:
            raise PmsFaultError(f"{name}: {status}")
        if status >= 400:
            raise PmsRefusedError(status, self._said(body)[:SAID_CHARACTERS_MOST] or "no readable message")
        if status not in (httpx.codes.OK, httpx.codes.CREATED) and not (empty and status == httpx.codes.NO_CONTENT):
            raise PeerProtocolError(f"{name}: status {status}, not 200")
        return answer, body

    def busy(self, retry_after: str | None) -> PmsBusyError:
        """Keep quiet for as long as the partner says, and return the error that says so."""
        wait_ms = self._patience_ms(retry_after)
        self._budget.quiet(self._clock.now_ms() + wait_ms)
        return PmsBusyError(wait_ms)

    def decoded(
        self,
        operation: str,
        answer: httpx.Response,
        content: bytes,
        kind: type[T],
        *,
        strict: bool = True,
        changes: bool = False,
    ) -> T:
        """Read an answer as JSON of one shape.

        Raises:
            PeerProtocolError: it is no such JSON.
            PmsFaultError: it is none, and the request `changes` something there: that may have been done.
        """
        try:
            try:
                return decode(content, kind, strict=strict)
            except msgspec.ValidationError:
                raise
            except msgspec.DecodeError:
                if (mended := _mended(content)) is None:
                    raise
                return decode(mended, kind, strict=strict)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            said = answer.headers.get("content-type", "no content type")[:64]
            text = f"{self._label} {operation}: {error} in {len(content)} bytes of {said}"
            raise (PmsFaultError(text) if changes else PeerProtocolError(text)) from error

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


def _mended(content: bytes) -> bytes | None:
    """Write JSON again with a question mark for each half of a surrogate pair: a name cut in its emoji is no reason
    to lose a page of guests. None: something else is wrong with it.
    """
    try:
        return json.dumps(json.loads(content), ensure_ascii=False).encode("utf-8", "replace")
    except (ValueError, RecursionError):
        return None


async def _bounded(name: str, answer: httpx.Response) -> bytes:
    """Read an answer as it comes, and no more of it than any answer has."""
    content = bytearray()
    async for chunk in answer.aiter_bytes():
        content += chunk
        if len(content) > ANSWER_BYTES_MOST:
            raise PeerProtocolError(f"{name}: an answer of more than {ANSWER_BYTES_MOST} bytes")
    return bytes(content)
