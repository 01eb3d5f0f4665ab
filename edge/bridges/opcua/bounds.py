"""What an OPC UA server may send: chunks and messages of bounded length, at a pace. Who says more loses its session.

asyncua keeps whatever has come of a chunk, however long the server says that it is, and copies it at each read; a
message of chunks without end it keeps too. One such server would take the memory and the processor of the whole edge,
whose other buses share both. A chunk is bounded by the client's Hello (OPC 10000-6, 7.1.2.3: 64 KiB); the rest is ours.
"""

import asyncio
from collections.abc import Callable
from typing import Final, cast

from asyncua.client.client import Client
from asyncua.client.ua_client import UASocketProtocol

from edge.bridges.modbus.pace import Pace
from kit.clock import Clock

CHUNK_BYTES_MAX: Final = 256 * 1024
"""Four times what our Hello allows: some servers do not count their headers."""
MESSAGE_BYTES_MAX: Final = 16 * 1024 * 1024
BYTES_A_SECOND: Final = 1024 * 1024
"""A thousand nodes that change twice a second are a tenth of it."""
CHUNK_COSTS_BYTES: Final = 512
"""A short chunk costs the processor as much as one of so many bytes."""
CHUNKS_A_TURN: Final = 64
_HEAD_BYTES: Final = 8
_MORE: Final = ord("C")
"""Of a chunk: the message goes on in the next."""

Refused = Callable[[str], None]


def bound(client: Client, clock: Clock, refused: Refused) -> None:
    """Hold the server of a client that is not connected yet to the bounds; `refused` is told of what it did."""
    make = client.uaclient._make_protocol

    def bounded() -> asyncio.Protocol:
        return BoundedProtocol(make(), clock, refused)

    client.uaclient._make_protocol = bounded  # type: ignore[method-assign,assignment]  # asyncua offers no other place


class BoundedProtocol(asyncio.Protocol):
    """Stands between the socket and asyncua, which gets whole chunks."""

    def __init__(self, inner: UASocketProtocol, clock: Clock, refused: Refused) -> None:
        self._inner, self._clock, self._refused = inner, clock, refused
        self._pace = Pace(BYTES_A_SECOND)
        self._inbox = bytearray()
        self._message_bytes = 0
        self._transport: asyncio.Transport | None = None
        self._later: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self._transport = cast("asyncio.Transport", transport)
        self._inner.connection_made(self._transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self._transport = None
        self._inbox.clear()
        if self._later is not None:
            self._later.cancel()
        self._inner.connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take bytes; hand on whole chunks, so many a turn, and leave the socket unread where they come too fast."""
        self._inbox += data
        if self._later is None:
            self._go_on()

    def _go_on(self) -> None:
        self._later = None
        cost, size = 0, 0
        for _ in range(CHUNKS_A_TURN):
            size = self._next()
            if not size:
                break
            cost += max(size, CHUNK_COSTS_BYTES)
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        owed_ms = self._pace.owes_ms(cost, now_ms=self._clock.now_ms())
        if size or owed_ms:  # there may be more, and others have their turn first
            transport.pause_reading()
            self._later = asyncio.get_running_loop().call_later(owed_ms / 1000, self._go_on)
        else:
            transport.resume_reading()

    def _next(self) -> int:
        """Hand on the next chunk and return its length; 0 if none is whole, or none will be."""
        transport = self._transport
        if len(self._inbox) < _HEAD_BYTES or transport is None or transport.is_closing():
            return 0
        size = int.from_bytes(self._inbox[4:_HEAD_BYTES], "little")
        message_bytes = self._message_bytes + size
        if not _HEAD_BYTES <= size <= CHUNK_BYTES_MAX or message_bytes > MESSAGE_BYTES_MAX:
            self._refused(f"a chunk of {size} bytes, {message_bytes} of a message: more than is read")
            self._inbox.clear()
            transport.abort()
            return 0
        if len(self._inbox) < size:
            return 0
        chunk = bytes(self._inbox[:size])
        del self._inbox[:size]
        self._message_bytes = message_bytes if chunk[3] == _MORE else 0
        self._inner.data_received(chunk)
        return size
