"""Talks to an emulator's control line: one JSON object a line, one answer a request.

Through it a rehearsal causes what people and physics cause (a guest turns a knob, a door opens) and reads what is
true at the device itself, so that no claim rests on what our own programs say.
"""

import asyncio
import json
from typing import Any

from protocols.errors import LinkLostError, PeerProtocolError, ReplyTimeoutError

ANSWER_WAIT_S = 10.0
LINE_BYTES_MOST = 4 * 1024 * 1024


class ControlLine:
    """One connection to one emulator; requests are answered in order."""

    def __init__(self, name: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._name, self._reader, self._writer = name, reader, writer
        self._one_at_a_time = asyncio.Lock()

    @classmethod
    async def connect(cls, name: str, host: str, port: int) -> "ControlLine":
        """Connect to an emulator's control port on loopback."""
        try:
            reader, writer = await asyncio.open_connection(host, port, limit=LINE_BYTES_MOST)
        except OSError as error:
            raise LinkLostError(f"{name}: its control line at {host}:{port} does not answer") from error
        return cls(name, reader, writer)

    async def ask(self, **request: object) -> dict[str, Any]:
        """Send one request and return its answer.

        Raises:
            ReplyTimeoutError: no answer came; the request may have been carried out.
            PeerProtocolError: the emulator refused the request or answered something else than an object.
        """
        async with self._one_at_a_time:
            self._writer.write(json.dumps(request).encode() + b"\n")
            try:
                async with asyncio.timeout(ANSWER_WAIT_S):
                    await self._writer.drain()
                    line = await self._reader.readline()
            except TimeoutError as error:
                raise ReplyTimeoutError(f"{self._name} did not answer {request!r} in {ANSWER_WAIT_S} s") from error
            except OSError as error:
                raise LinkLostError(f"{self._name}: its control line broke") from error
        if not line:
            raise LinkLostError(f"{self._name}: its control line was closed")
        answer = json.loads(line)
        if not isinstance(answer, dict) or answer.get("error") is not None:
            raise PeerProtocolError(f"{self._name} refused {request!r}: {answer!r}")
        return answer

    async def close(self) -> None:
        """Hang up."""
        self._writer.close()
