"""How a vendor's server has a bad day: seeded, so that the same day can be had again, or told one trouble at a time.

Every emulator of a foreign lock system is an aiohttp application behind `Misbehaving`, on a real loopback socket. A
trouble is drawn for each request from the knobs, unless `script` names the next ones.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from enum import StrEnum
from typing import Annotated, Final

import msgspec
from aiohttp import web
from aiohttp.typedefs import Middleware

from kit.dice import Dice

_Share = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Trouble(StrEnum):
    """What goes wrong with one request."""

    NONE = "none"
    LOST_REQUEST = "lost-request"
    """The connection breaks before anything is done."""
    LOST_ANSWER = "lost-answer"
    """It is done, and the connection breaks before the answer."""
    LATE_EFFECT = "late-effect"
    """The connection breaks; a little later it is done all the same."""
    FAULT_BEFORE = "fault-before"
    """500, nothing done."""
    FAULT_AFTER = "fault-after"
    """500, done."""
    LIMITED = "limited"
    """429 with Retry-After, nothing done."""
    SLOW = "slow"
    """It is done, and answered after `slow_ms`: a caller without patience has gone by then."""
    WRONG_TYPES = "wrong-types"
    """It is done; the answer is JSON of the wrong shape."""
    GARBAGE = "garbage"
    """It is done; the answer is a page for people."""
    CUT_SHORT = "cut-short"
    """It is done; half of the answer comes, then the connection breaks."""


class Knobs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How badly it behaves. Shares are probabilities for each request and add up to at most 1."""

    lost_request: _Share = 0.0
    lost_answer: _Share = 0.0
    late_effect: _Share = 0.0
    fault_before: _Share = 0.0
    fault_after: _Share = 0.0
    limited: _Share = 0.0
    slow: _Share = 0.0
    wrong_types: _Share = 0.0
    garbage: _Share = 0.0
    cut_short: _Share = 0.0
    slow_ms: int = 400
    late_ms: int = 30
    retry_after_s: int = 0
    token_dies: _Share = 0.0
    """A session or access token is forgotten before a request."""
    busy: _Share = 0.0
    """Encoder or lock at work, where the vendor has such a thing."""
    event_twice: _Share = 0.0
    """An event is told again on a later page, or pushed again."""
    event_order: _Share = 0.0
    """A page is told out of order."""
    clock_skew_ms: int = 0
    """The vendor's clock minus the truth."""


TAME: Final = Knobs()
ROUGH: Final = Knobs(
    lost_request=0.06,
    lost_answer=0.08,
    late_effect=0.04,
    fault_before=0.05,
    fault_after=0.06,
    limited=0.04,
    wrong_types=0.03,
    garbage=0.03,
    cut_short=0.03,
    token_dies=0.05,
    busy=0.05,
    event_twice=0.3,
    event_order=0.5,
    clock_skew_ms=-7_000,
)
"""About four requests in ten go wrong."""


class Misbehaving:
    """Stands in front of an emulator's handlers."""

    def __init__(self, dice: Dice, knobs: Knobs = TAME) -> None:
        self.dice, self.knobs = dice, knobs
        self.script: list[Trouble] = []
        """The next requests' troubles, before the knobs are asked again."""
        self.requests = 0
        self.seen: list[tuple[str, str]] = []
        """Method and path of every request."""
        self.answers_with: Handler | None = None
        """Answers everything, in the place of the emulator."""
        self.mangles: Callable[[bytes], bytes] | None = None
        """Changes the body of every answer, the head being as it was."""
        self._late: set[asyncio.Task[web.StreamResponse]] = set()

    def chance(self, share: float) -> bool:
        """Throw the dice."""
        return share > 0 and self.dice.uniform(0, 1) < share

    def _drawn(self) -> Trouble:
        if self.script:
            return self.script.pop(0)
        throw = self.dice.uniform(0, 1)
        for trouble in Trouble:
            if trouble is Trouble.NONE:
                continue
            throw -= getattr(self.knobs, trouble.value.replace("-", "_"))
            if throw < 0:
                return trouble
        return Trouble.NONE

    def middleware(self) -> Middleware:
        """Return the aiohttp middleware."""

        @web.middleware
        async def misbehave(request: web.Request, handler: Handler) -> web.StreamResponse:
            self.requests += 1
            self.seen.append((request.method, request.path))
            await request.read()
            if self.answers_with is not None:
                return await self.answers_with(request)
            answer = await self._with(self._drawn(), request, handler)
            if self.mangles is not None and isinstance(answer, web.Response) and isinstance(answer.body, bytes):
                return web.Response(
                    status=answer.status, body=self.mangles(answer.body), content_type="application/json"
                )
            return answer

        return misbehave

    async def _with(self, trouble: Trouble, request: web.Request, handler: Handler) -> web.StreamResponse:
        match trouble:
            case Trouble.LOST_REQUEST:
                return _cut(request)
            case Trouble.FAULT_BEFORE:
                return web.Response(status=500, text="Internal Server Error")
            case Trouble.LIMITED:
                return web.Response(status=429, headers={"Retry-After": str(self.knobs.retry_after_s)})
            case Trouble.LATE_EFFECT:
                task = asyncio.get_running_loop().create_task(self._later(request, handler))
                self._late.add(task)
                task.add_done_callback(self._late.discard)
                return _cut(request)
            case _:
                pass
        answer = await handler(request)
        match trouble:
            case Trouble.LOST_ANSWER:
                return _cut(request)
            case Trouble.FAULT_AFTER:
                return web.Response(status=502, text="Bad Gateway")
            case Trouble.SLOW:
                await asyncio.sleep(self.knobs.slow_ms / 1_000)
            case Trouble.WRONG_TYPES:
                return web.json_response([{"code": 7, "data": "x", "id": [], "doors": {"a": None}}, 5])
            case Trouble.GARBAGE:
                return web.Response(text="<html><body>Maintenance</body></html>", content_type="text/html")
            case Trouble.CUT_SHORT:
                return await _half(request, answer)
            case _:
                pass
        return answer

    async def _later(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        await asyncio.sleep(self.knobs.late_ms / 1_000)
        return await handler(request)

    async def settle(self) -> None:
        """Wait until what was to be done late is done."""
        while self._late:
            await asyncio.wait(tuple(self._late))


def _cut(request: web.Request) -> web.Response:
    """Break the connection; what is returned reaches nobody."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=500)


async def _half(request: web.Request, answer: web.StreamResponse) -> web.StreamResponse:
    body = answer.body if isinstance(answer, web.Response) and isinstance(answer.body, bytes) else b"{}"
    half = web.StreamResponse(headers={"Content-Length": str(len(body) + 10), "Content-Type": "application/json"})
    await half.prepare(request)
    await half.write(body[: max(len(body) // 2, 1)])
    if request.transport is not None:
        request.transport.abort()
    return half


@asynccontextmanager
async def served(app: web.Application, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """Serve an emulator at a free port of the loopback for the length of the block; gives the port."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
        await site.start()
        port: int = runner.addresses[0][1]
        yield port
    finally:
        await runner.cleanup()
