"""Talks to an emulator's control line: one JSON object a line, one answer a request.

Through it a rehearsal causes what people and physics cause (a guest turns a knob, a door opens) and reads what is
true at the device itself, so that no claim rests on what our own programs say. An emulator that was killed is
connected to again when it is back.
"""

import asyncio
import json
from typing import Any

from protocols.errors import LinkLostError, PeerProtocolError, ReplyTimeoutError
from provisioning.rehearsal.patience import ask_again

ANSWER_WAIT_S = 10.0
LINE_BYTES_MOST = 4 * 1024 * 1024


class ControlLine:
    """The way to one emulator; requests are answered in order. Connects when first asked, and again when it broke."""

    def __init__(self, name: str, host: str, port: int) -> None:
        self._name, self._host, self._port = name, host, port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._one_at_a_time = asyncio.Lock()

    async def read(self, **request: object) -> dict[str, Any]:
        """Ask for what is so; asked again for some seconds while the emulator is down. Raises as `ask` does."""
        return await ask_again(lambda: self._once(request), harmless_twice=True)

    async def ask(self, **request: object) -> dict[str, Any]:
        """Have something done and return the answer; repeated only while the emulator cannot be reached at all.

        Raises:
            LinkLostError: it could not be reached; nothing happened.
            ReplyTimeoutError: no answer came; the request may have been carried out.
            PeerProtocolError: the emulator refused the request or answered something else than an object.
        """
        return await ask_again(lambda: self._once(request), harmless_twice=False)

    async def close(self) -> None:
        """Hang up."""
        streams, self._streams = self._streams, None
        if streams is not None:
            streams[1].close()

    async def _once(self, request: dict[str, object]) -> dict[str, Any]:
        async with self._one_at_a_time:
            reader, writer = await self._connected()
            whole = False
            try:
                writer.write(json.dumps(request).encode() + b"\n")
                async with asyncio.timeout(ANSWER_WAIT_S):
                    await writer.drain()
                    line = await reader.readline()
                whole = line.endswith(b"\n")
            except TimeoutError as error:
                raise ReplyTimeoutError(f"{self._name} did not answer {request!r} in {ANSWER_WAIT_S} s") from error
            except OSError as error:
                raise ReplyTimeoutError(f"{self._name}: its control line broke at {request!r}") from error
            finally:
                if not whole:  # also when cancelled: an answer that comes late must not be taken for the next one
                    await self.close()
        if not whole:
            raise ReplyTimeoutError(f"{self._name}: its control line was closed at {request!r}")
        answer = json.loads(line)
        if not isinstance(answer, dict) or answer.get("error") is not None:
            raise PeerProtocolError(f"{self._name} refused {request!r}: {answer!r}")
        return answer

    async def _connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._streams is not None and self._streams[0].at_eof():
            await self.close()
        if self._streams is None:
            try:
                self._streams = await asyncio.open_connection(self._host, self._port, limit=LINE_BYTES_MOST)
            except OSError as error:
                raise LinkLostError(
                    f"{self._name}: its control line at {self._host}:{self._port} does not answer"
                ) from error
        return self._streams
