"""The line between a building and the internet: a TCP relay that can be cut.

Stands between the edge and the cloud broker. TLS passes through untouched, so cutting the line is what a real
outage is: a refused connection, a reset, or, worst, silence. Answers for bytes only.
"""

import asyncio
import contextlib
from enum import Enum

from kit.task_groups import TaskGroup

CHUNK_BYTES = 64 * 1024
Condition = Enum("Condition", ["UP", "REFUSED", "SILENT"])


class Line:
    """One relay from a loopback port of its own to `(host, port)`."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._far_port = host, port
        self._server: asyncio.Server | None = None
        self._pairs: set[asyncio.Task[None]] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self.condition = Condition.UP
        self.port = 0

    async def __aenter__(self) -> "Line":
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.close()
        await self._drop_all()

    async def cut(self, *, silent: bool = False) -> None:
        """Cut the line: connections are reset and refused, or with `silent` their bytes simply stop arriving."""
        self.condition = Condition.SILENT if silent else Condition.REFUSED
        self._flowing.clear()
        if not silent:
            await self._drop_all()

    async def restore(self) -> None:
        """Bring the line back. What was under way when it went silent is gone, as after a real outage."""
        if self.condition is Condition.SILENT:
            await self._drop_all()
        self.condition = Condition.UP
        self._flowing.set()

    async def _drop_all(self) -> None:
        for task in list(self._pairs):
            task.cancel()
        await asyncio.gather(*self._pairs, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None or self.condition is Condition.REFUSED:
            writer.transport.abort()
            return
        self._pairs.add(task)
        far: asyncio.StreamWriter | None = None
        try:
            far_reader, far = await asyncio.open_connection(self._host, self._far_port)
            async with TaskGroup() as both:
                both.create_task(self._pump(reader, far))
                both.create_task(self._pump(far_reader, writer))
        except (OSError, BaseExceptionGroup):
            pass  # either end went away: so does the other
        except asyncio.CancelledError:
            pass  # cut; the relay ends here, nothing above waits for it
        finally:
            self._pairs.discard(task)
            for each in (writer, far):
                if each is not None:
                    with contextlib.suppress(OSError):
                        each.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(CHUNK_BYTES):
            await self._flowing.wait()
            writer.write(data)
            await writer.drain()
        raise ConnectionResetError("this end closed")
