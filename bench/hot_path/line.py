"""The way to the cloud as a TCP proxy: open, cut (reset and refused), or a black hole (packets vanish unsaid)."""

import asyncio
import contextlib
from enum import Enum, auto
from typing import Final

CHUNK: Final = 64 * 1024


class Way(Enum):
    """How the line is."""

    OPEN = auto()
    CUT = auto()
    BLACK_HOLE = auto()


class Line:
    """One listening port in front of another; `connections` counts who came."""

    def __init__(self, target_port: int) -> None:
        self._target = target_port
        self._way = Way.OPEN
        self._server: asyncio.Server | None = None
        self._pairs: set[tuple[asyncio.StreamWriter, asyncio.StreamWriter | None]] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._lost: list[float] = []
        self.connections = 0

    async def __aenter__(self) -> "Line":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        self.set(Way.CUT)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def port(self) -> int:
        """Where to connect."""
        assert self._server is not None
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    @property
    def lost_at(self) -> list[float]:
        """When connections were given up by the program under test, on the loop's clock."""
        return self._lost

    def set(self, way: Way) -> None:
        """Change the line. Leaving a black hole, what was in it stays gone: its connections are dead for good."""
        before, self._way = self._way, way
        if way is Way.CUT or before is Way.BLACK_HOLE:
            for near, far in list(self._pairs):
                near.transport.abort()
                if far is not None:
                    far.transport.abort()

    async def _serve(self, near_reader: asyncio.StreamReader, near: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        far: asyncio.StreamWriter | None = None
        pair: tuple[asyncio.StreamWriter, asyncio.StreamWriter | None] = (near, None)
        try:
            if self._way is Way.CUT:
                return
            if self._way is Way.BLACK_HOLE:
                self._pairs.add(pair)
                await self._swallow(near_reader)
                return
            far_reader, far = await asyncio.open_connection("127.0.0.1", self._target)
            pair = (near, far)
            self._pairs.add(pair)
            await asyncio.gather(self._pipe(near_reader, far, ours=True), self._pipe(far_reader, near, ours=False))
        except OSError:
            return
        finally:
            self._pairs.discard(pair)
            self._tasks.discard(task)
            for each in (near, far):
                if each is not None:
                    each.transport.abort()

    async def _pipe(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, ours: bool) -> None:
        while data := await reader.read(CHUNK):
            if self._way is Way.BLACK_HOLE:
                continue
            writer.write(data)
            with contextlib.suppress(ConnectionError):
                await writer.drain()
        if ours and self._way is Way.BLACK_HOLE:
            self._lost.append(asyncio.get_running_loop().time())
        if self._way is not Way.BLACK_HOLE:
            raise ConnectionResetError

    async def _swallow(self, reader: asyncio.StreamReader) -> None:
        while await reader.read(CHUNK):
            pass
        self._lost.append(asyncio.get_running_loop().time())
