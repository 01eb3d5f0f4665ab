"""The emulator's control socket: what a hand, an eye and bad luck do to real locks, as JSON lines.

A request is one line `{"id": 1, "do": "touch", "door": "door-101", ...}`; its answer `{"id": 1, "ok": true, ...}` or
`{"id": 1, "ok": false, "error": "..."}`. After `{"do": "watch"}` every fact comes as `{"event": "motor", ...}`
between the answers. SPEC.md lists both. A watcher that does not read is cut off rather than waited for.

No authentication: a unix socket with owner-only permissions, or loopback TCP, of a program that is never at a hotel.
"""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Self

from protocols.errors import InvalidInputError, LinkLostError, PlatformError

LINE_BYTES_MAX: Final = 256 * 1024
UNSENT_BYTES_MAX: Final = 1024 * 1024
EVENTS_WAITING_MAX: Final = 10_000
ANSWER_WAIT_S: Final = 15.0

Fact = dict[str, Any]
Answer = Callable[[str, Fact], Awaitable[Fact]]


class ControlServer:
    """Answers requests by `answer(do, request)`; `tell` sends a fact to all watchers."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._watchers: set[asyncio.StreamWriter] = set()
        self._path: Path | None = None
        self.address = ""

    async def start(self, address: str) -> Self:
        """Listen on `unix:PATH` or `tcp:HOST:PORT` (port 0: any; see `address`).

        Raises:
            InvalidInputError: neither form.
            OSError: taken or not allowed.
        """
        kind, _, place = address.partition(":")
        if kind == "unix" and place:
            self._path = Path(place)
            self._path.unlink(missing_ok=True)
            before = os.umask(0o177)
            try:
                self._server = await asyncio.start_unix_server(self._serve, place, limit=LINE_BYTES_MAX)
            finally:
                os.umask(before)
            self.address = address
        elif kind == "tcp" and place.count(":") == 1:
            host, port = place.split(":")
            self._server = await asyncio.start_server(self._serve, host, int(port), limit=LINE_BYTES_MAX)
            self.address = f"tcp:{host}:{self._server.sockets[0].getsockname()[1]}"
        else:
            raise InvalidInputError("control", f"{address!r} is neither unix:PATH nor tcp:HOST:PORT")
        return self

    async def close(self) -> None:
        """Stop listening and hang up on everybody."""
        if self._server is not None:
            self._server.close()
            for writer in list(self._writers):
                writer.close()
            await self._server.wait_closed()
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    def tell(self, event: str, fact: Fact) -> None:
        """Send a fact to every watcher, without waiting."""
        line = _line({"event": event, **fact})
        for writer in list(self._watchers):
            if writer.transport.get_write_buffer_size() > UNSENT_BYTES_MAX:
                self._watchers.discard(writer)
                writer.close()
            else:
                writer.write(line)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while line := await reader.readline():
                writer.write(_line(await self._respond(line, writer)))
                await writer.drain()
        except (ConnectionError, ValueError):
            pass  # hung up, or a line over the limit: nothing more can be read from it
        finally:
            self._writers.discard(writer)
            self._watchers.discard(writer)
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    async def _respond(self, line: bytes, writer: asyncio.StreamWriter) -> Fact:
        request: object = None
        try:
            request = json.loads(line)
            if not isinstance(request, dict) or not isinstance(request.get("do"), str):
                raise InvalidInputError("control", 'a request is an object with a string "do"')
            if request["do"] == "watch":
                self._watchers.add(writer)
                answer: Fact = {}
            else:
                answer = await self._answer(request["do"], request)
        except (PlatformError, ValueError, RecursionError) as error:
            return {"id": _id_of(request), "ok": False, "error": str(error)}
        return {"id": _id_of(request), "ok": True, **answer}


class ControlClient:
    """The other end, for tests, benchmarks and rehearsals."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._waiting: dict[int, asyncio.Future[Fact]] = {}
        self._events: asyncio.Queue[Fact | None] = asyncio.Queue(EVENTS_WAITING_MAX)
        self._last_id = 0
        self._reading = asyncio.ensure_future(self._read())

    @classmethod
    async def connect(cls, address: str) -> Self:
        """Connect to what `ControlServer.address` said. Raises LinkLostError."""
        kind, _, place = address.partition(":")
        try:
            if kind == "unix":
                return cls(*await asyncio.open_unix_connection(place, limit=LINE_BYTES_MAX))
            host, port = place.rsplit(":", 1)
            return cls(*await asyncio.open_connection(host, int(port), limit=LINE_BYTES_MAX))
        except OSError as error:
            raise LinkLostError(f"no emulator at {address}: {error}") from error

    async def call(self, do: str, **arguments: Any) -> Fact:
        """Ask and await the answer.

        Raises:
            InvalidInputError: the emulator refused; its words.
            LinkLostError: it is gone.
        """
        self._last_id += 1
        if self._reading.done():
            raise LinkLostError("the emulator hung up")
        answer = self._waiting[self._last_id] = _future()
        self._writer.write(_line({"id": self._last_id, "do": do, **arguments}))
        async with asyncio.timeout(ANSWER_WAIT_S):
            fact: Fact = await answer
        if not fact["ok"]:
            raise InvalidInputError(f"emulator, {do}", str(fact["error"]))
        return fact

    async def watch(self) -> AsyncIterator[Fact]:
        """Yield facts from now on; ends when the emulator does. One watcher a client."""
        await self.call("watch")
        while (fact := await self._events.get()) is not None:
            yield fact

    async def close(self) -> None:
        """Hang up."""
        self._reading.cancel()
        with suppress(asyncio.CancelledError):
            await self._reading
        self._writer.close()
        with suppress(ConnectionError):
            await self._writer.wait_closed()

    async def _read(self) -> None:
        try:
            while line := await self._reader.readline():
                fact = json.loads(line)
                if "event" in fact:
                    await self._events.put(fact)
                elif (waiting := self._waiting.pop(fact["id"], None)) is not None and not waiting.done():
                    waiting.set_result(fact)
        except (ConnectionError, ValueError):
            pass
        finally:
            for each in self._waiting.values():
                if not each.done():
                    each.set_exception(LinkLostError("the emulator hung up"))
            with suppress(asyncio.QueueFull):
                self._events.put_nowait(None)


def _future() -> "asyncio.Future[Fact]":
    return asyncio.get_running_loop().create_future()


def _line(fact: Fact) -> bytes:
    return json.dumps(fact, separators=(",", ":")).encode() + b"\n"


def _id_of(request: object) -> object:
    return request.get("id") if isinstance(request, dict) else None
