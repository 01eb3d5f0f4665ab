# ruff: noqa: ARG001 - parameters are named for the document of the API; `_arguments` judges them by name
"""The routes /api/v1/properties/{property_id}/telemetry: newest values, points, lines, aggregates, live.

Who may ask is the business of a `Fence`; what is wrong with a question is answered with a problem that names the
argument.
"""

import asyncio
import contextlib
import weakref
from collections.abc import AsyncGenerator, Sequence
from typing import Annotated, Any, Final, Protocol

import msgspec
from litestar import Request, Router, WebSocket, get, websocket
from litestar.connection import ASGIConnection
from litestar.exceptions import WebSocketDisconnect
from litestar.params import FromPath, QueryParameter

from cloud.kit.database import Connection, Database
from cloud.platform.access_policy import ACTION
from cloud.platform.properties import Property
from cloud.telemetry import query
from cloud.telemetry.query_live import LiveFeeds, Told
from cloud.telemetry.query_reader import QueryReader, newest_view
from cloud.telemetry.query_schema import Amounts, NewestValues, Range
from cloud.telemetry.store.port import Selection
from kit.clock import Clock
from kit.http import ClosingStream, ProblemError
from protocols.errors import InvalidInputError, StoreFailedError

STREAMS_MOST: Final = 4
"""Streams of lines at a time in one process: each holds a connection to the database."""
TRY_AGAIN_LATER: Final = 1013
POLICY_VIOLATION: Final = 1008
SEND_WAIT_S: Final = 30.0
"""A watcher that has not taken one message in this time is not watching."""
STAY_LOOK_MS: Final = 15_000
LINES_TYPE: Final = "application/x-ndjson"
_SPAN: Final = ("since", "until", "resolution")
_encode: Final = msgspec.json.Encoder().encode

Caller = ASGIConnection[Any, Any, Any, Any]
Call = Request[Any, Any, Any]
_Text = Annotated[str | None, QueryParameter()]


class Fence(Protocol):
    """Who may ask about what."""

    async def owned(self, connection: Connection, caller: Caller, property_id: str) -> Property:
        """Return the property if the caller may know of it; raise the 404 of what does not exist otherwise."""
        ...

    async def may_stay(self, caller: Caller) -> bool:
        """Tell whether a caller let in earlier would be let in now."""
        ...


def telemetry_routes(
    reader: QueryReader, feeds: LiveFeeds, database: Database, *, fence: Fence, clock: Clock
) -> Router:
    """Return the routes."""
    streams = Places(STREAMS_MOST)

    async def selected(caller: Caller, property_id: str, allowed: Sequence[str]) -> tuple[Property, Selection]:
        async with database.transaction() as connection:
            found = await fence.owned(connection, caller, property_id)
        arguments = _arguments(caller, allowed)
        return found, query.selection_of(found.tenant, found.id, arguments)

    @get("/latest", summary="The newest value of every attribute, with its age and quality")
    async def latest(  # noqa: PLR0917 - litestar calls it by name
        request: Call,
        property_id: FromPath[str],
        room: _Text = None,
        device: _Text = None,
        capability: _Text = None,
        attribute: _Text = None,
        limit: _Text = None,
        cursor: _Text = None,
    ) -> NewestValues:
        allowed = (*query.FILTERS, "limit", "cursor")
        _, selection = await selected(request, property_id, allowed)
        return await reader.newest(selection, _arguments(request, allowed))

    @get("/range", summary="Points of a span: readings, or the finest roll-up that fits")
    async def points(  # noqa: PLR0917 - litestar calls it by name
        request: Call,
        property_id: FromPath[str],
        since: _Text = None,
        until: _Text = None,
        resolution: _Text = None,
        room: _Text = None,
        device: _Text = None,
        capability: _Text = None,
        attribute: _Text = None,
        points: _Text = None,
        cursor: _Text = None,
    ) -> Range:
        allowed = (*query.FILTERS, *_SPAN, "points", "cursor")
        _, selection = await selected(request, property_id, allowed)
        return await reader.points(query.question_of(selection, _arguments(request, allowed), now_ms=clock.wall_ms()))

    @get("/lines", summary="All points of a span, a line of JSON each", media_type=LINES_TYPE)
    async def lines(  # noqa: PLR0917 - litestar calls it by name
        request: Call,
        property_id: FromPath[str],
        since: _Text = None,
        until: _Text = None,
        resolution: _Text = None,
        room: _Text = None,
        device: _Text = None,
        capability: _Text = None,
        attribute: _Text = None,
        cursor: _Text = None,
    ) -> ClosingStream:
        allowed = (*query.FILTERS, *_SPAN, "cursor")
        _, selection = await selected(request, property_id, allowed)
        question = query.question_of(selection, _arguments(request, allowed), now_ms=clock.wall_ms())
        streams.take()
        return ClosingStream(streams.held(reader.lines(question)), media_type=LINES_TYPE)

    @get("/aggregate", summary="What readings of a span amount to, by series, device, room, capability or property")
    async def aggregate(  # noqa: PLR0917 - litestar calls it by name
        request: Call,
        property_id: FromPath[str],
        since: _Text = None,
        until: _Text = None,
        resolution: _Text = None,
        by: _Text = None,
        room: _Text = None,
        device: _Text = None,
        capability: _Text = None,
        attribute: _Text = None,
    ) -> Amounts:
        allowed = (*query.FILTERS, *_SPAN, "by")
        _, selection = await selected(request, property_id, allowed)
        arguments = _arguments(request, allowed)
        question = query.question_of(selection, arguments, now_ms=clock.wall_ms(), pages=False)
        return await reader.amounts(question, query.grouping_of(arguments))

    @websocket("/live")
    async def live(socket: WebSocket[Any, Any, Any], property_id: FromPath[str]) -> None:
        allowed = (*query.FILTERS, "resume")
        found, selection = await selected(socket, property_id, allowed)
        since = resume_of(_arguments(socket, allowed).get("resume"))
        await socket.accept()
        await _tell(socket, feeds, found, selection, since=since, fence=fence, clock=clock)

    return Router(
        "/api/v1/properties/{property_id:str}/telemetry",
        route_handlers=[latest, points, lines, aggregate, live],
        opt={ACTION: "telemetry.read"},
    )


def resume_of(text: str | None) -> int:
    """Return the mark of a `resume` argument; 0 if there is none."""
    if text is None:
        return 0
    if not (text.isascii() and text.isdigit() and len(text) <= 19 and int(text) < 2**63):
        raise InvalidInputError("resume", f"{text!r:.40} is no mark that a live stream gave")
    return int(text)


def message(told: Told | None, *, now_ms: int) -> bytes:
    """Return what a watcher hears: `values` with what was `skipped` and where to `resume`, or a `tick`."""
    as_of = query.iso_of(now_ms)
    if told is None:
        return _encode({"type": "tick", "as_of": as_of})
    values = [newest_view(each, now_ms) for each in told.values]
    said: dict[str, object] = {"type": "values", "as_of": as_of, "values": values, "skipped": told.skipped}
    if not told.more:  # before the last part of a round, coming back with the mark would leave the rest out
        said["resume"] = str(told.mark)
    return _encode(said)


async def _tell(
    socket: WebSocket[Any, Any, Any],
    feeds: LiveFeeds,
    found: Property,
    selection: Selection,
    *,
    since: int,
    fence: Fence,
    clock: Clock,
) -> None:
    hung_up = asyncio.create_task(_until_hung_up(socket), name="telemetry-live-hung-up")
    try:
        async with feeds.watch(found) as watch:
            said = watch.told(selection, since=since)
            looked_ms = clock.now_ms()
            while True:
                following = asyncio.ensure_future(anext(said))
                try:
                    await asyncio.wait({following, hung_up}, return_when=asyncio.FIRST_COMPLETED)
                    if hung_up.done():
                        return
                    if clock.now_ms() - looked_ms >= STAY_LOOK_MS:
                        if not await fence.may_stay(socket):
                            await socket.close(code=POLICY_VIOLATION, reason="the session has ended")
                            return
                        looked_ms = clock.now_ms()
                    async with asyncio.timeout(SEND_WAIT_S):
                        await socket.send_data(message(following.result(), now_ms=clock.wall_ms()), mode="text")
                finally:
                    following.cancel()
                    with contextlib.suppress(asyncio.CancelledError, StoreFailedError):
                        await following
    except StoreFailedError:
        await socket.close(code=TRY_AGAIN_LATER, reason="the service cannot read its store now")
    except (WebSocketDisconnect, TimeoutError):
        return
    finally:
        hung_up.cancel()


async def _until_hung_up(socket: WebSocket[Any, Any, Any]) -> None:
    """Read and drop what a watcher sends until it is gone; nothing it says means anything."""
    with contextlib.suppress(WebSocketDisconnect):
        while True:
            await socket.receive_data(mode="text")


def _arguments(caller: Caller, allowed: Sequence[str]) -> dict[str, str]:
    return query.single(list(caller.query_params.multi_items()), allowed)


class Places:
    """How many streams may run; one too many is told to come back."""

    def __init__(self, most: int) -> None:
        self._free = most

    def take(self) -> None:
        """Take a place. Raises ProblemError 503."""
        if self._free <= 0:
            error = ProblemError(503, "too many streams at a time: try again", kind="busy", retryable=True)
            error.headers = {"Retry-After": "5"}
            raise error
        self._free -= 1

    def held(self, lines: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
        """Return what yields the same lines and gives the place back at the end, however it comes."""
        place = _Place(self)
        streamed = _until_end(lines, place)
        weakref.finalize(streamed, place.give_back)  # a client that left before the first line: nobody began it
        return streamed

    def give_back(self) -> None:
        """Let another take the place."""
        self._free += 1


class _Place:
    """One place, given back once."""

    def __init__(self, places: Places) -> None:
        self._places: Places | None = places

    def give_back(self) -> None:
        if self._places is not None:
            self._places.give_back()
        self._places = None


async def _until_end(lines: AsyncGenerator[bytes], place: _Place) -> AsyncGenerator[bytes]:
    try:
        async with contextlib.aclosing(lines):
            async for each in lines:
                yield each
    finally:
        place.give_back()
