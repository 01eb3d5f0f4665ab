"""LE credit based channels (L2CAP) on a bumble host: opened by a central, served by a peripheral.

What goes through is a stream of bytes each way. Corrected against bumble 0.0.236: packets that come in the same
connection event as the answer to a request, requests of two links under one identifier, an answer that comes too late,
parameters below the least, a writer that is told of room one credit late.

Source: Bluetooth Core 5.4, Vol 3 Part A 4.22 to 4.24 (signalling), 3.4 (packets), 10.1 (credits).
"""

import asyncio
import struct
from collections.abc import Callable
from contextlib import suppress
from enum import Enum, auto
from typing import Final

from bleak.exc import BleakError
from bumble import core
from bumble.device import Connection, Device
from bumble.l2cap import (
    L2CAP_LE_Credit_Based_Connection_Request,
    L2CAP_LE_Credit_Based_Connection_Response,
    LeCreditBasedChannel,
    LeCreditBasedChannelSpec,
)

from firmware_bridges.ble_radio.backend import ChannelTerms

LEAST_BYTES: Final = 23
"""The least MTU and the least MPS that anybody may announce."""
CIDS: Final = range(0x0040, 0x0080)
IDENTIFIERS: Final = 255
CLOSE_WAIT_S: Final = 1.0
_Result: Final = L2CAP_LE_Credit_Based_Connection_Response.Result


class Reply(Enum):
    """What a peripheral does with a request for a channel."""

    ACCEPT = auto()
    REFUSE = auto()
    SAY_NOTHING = auto()
    """Which nobody may; locks that misbehave do."""


def _nothing(_: bytes) -> None:
    """Nobody listens yet."""


class ByteChannel:
    """One channel. Give it `on_data` and `on_closed` before the loop turns again; nothing is heard after closing."""

    def __init__(self, channel: LeCreditBasedChannel) -> None:
        self._channel = channel
        self._process = channel.process_output
        self._out = asyncio.Event()
        self._ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._closing: asyncio.Task[None] | None = None
        self.on_data: Callable[[bytes], None] = _nothing
        self.on_closed: Callable[[], None] = lambda: None
        channel.sink = self._on_sdu
        # bumble's own word for "all is out" comes with the next credit, which nobody owes us once all is out
        channel.process_output = self._processed  # type: ignore[method-assign]  # there is no event for it
        channel.on(channel.EVENT_CLOSE, self._on_close)

    @property
    def is_open(self) -> bool:
        """Whether it can be written to."""
        return not self._ended.done() and self._channel.state is LeCreditBasedChannel.State.CONNECTED

    async def send(self, data: bytes) -> None:
        """Send bytes; returns when the last of them has gone to the controller, as the peer's credits allow.

        Raises:
            BleakError: the channel is closed, or closed meanwhile.
        """
        if not self.is_open:
            raise BleakError("the channel is closed")
        self._out.clear()
        self._channel.write(data)
        if self._out.is_set():
            return
        await self._out.wait()
        if self._ended.done():
            raise BleakError("the channel closed before all was sent")

    async def close(self) -> None:
        """Close it, waiting a little for the peer's word; harmless when it is closed."""
        self.close_soon()
        if self._closing is not None:
            await asyncio.wait({self._closing}, timeout=CLOSE_WAIT_S)

    def close_soon(self) -> None:
        """Ask for its end without waiting."""
        if self._closing is None and self.is_open:
            self._closing = asyncio.get_running_loop().create_task(self._close())

    async def break_off(self, data: bytes) -> None:
        """Send half of an SDU and close: for emulators that misbehave."""
        if self.is_open:
            self._channel.send_pdu(struct.pack("<H", len(data)) + data[: len(data) // 2])
            await self.close()

    async def _close(self) -> None:
        with suppress(core.BaseBumbleError):
            await self._channel.disconnect()

    def _processed(self) -> None:
        self._process()
        if self._channel.out_sdu is None and not self._channel.out_queue:
            self._out.set()

    def _on_sdu(self, data: bytes) -> None:
        if not self._ended.done():
            self.on_data(data)

    def _on_close(self) -> None:
        if not self._ended.done():
            self._ended.set_result(None)
            self._out.set()  # whoever waits learns that it ended
            self.on_closed()

    @property
    def ended(self) -> "asyncio.Future[None]":
        """Done once it is closed."""
        return self._ended


# -- the central's side -----------------------------------------------------------------------------------------------


async def open_channel(
    device: Device,
    connection: Connection,
    psm: int,
    terms: ChannelTerms,
    *,
    on_data: Callable[[bytes], None],
    on_closed: Callable[[], None],
    wait_s: float,
) -> ByteChannel:
    """Open a channel and hear its first bytes.

    Raises:
        BleakError: refused, unanswered, closed again or mute for `wait_s`. What has come of it is closed, what comes of
            it later is closed at once.
    """
    opening = _Opening(device, connection, psm, terms)
    loop = asyncio.get_running_loop()
    first: asyncio.Future[None] = loop.create_future()

    def heard(data: bytes) -> None:
        if opening.given_up:
            return
        if not first.done():
            first.set_result(None)
        on_data(data)

    opening.channel.on_data, opening.channel.on_closed = heard, on_closed
    until_s = loop.time() + wait_s
    try:
        await opening.answered(wait_s)
        await asyncio.wait(
            {first, opening.channel.ended},
            timeout=max(until_s - loop.time(), 0),
            return_when=asyncio.FIRST_COMPLETED,
        )
        if not first.done():
            raise BleakError(f"{connection.peer_address}: the channel said nothing within {wait_s} s")
        opening.wanted = True
    finally:
        opening.settle()
    return opening.channel


class _Opening:
    """One request for a channel, with its place in bumble's tables."""

    def __init__(self, device: Device, connection: Connection, psm: int, terms: ChannelTerms) -> None:
        self._manager = manager = device.l2cap_channel_manager
        self._connection, self.wanted, self._over = connection, False, False
        places = manager.channels.setdefault(connection.handle, {})
        cid = manager.find_free_le_cid(places)
        if cid is None:
            raise BleakError(f"{connection.peer_address}: no channel is free")
        self._raw = raw = LeCreditBasedChannel(
            manager, connection, psm, cid, 0, terms.mtu, terms.mps, 0, 0, 0, terms.credits, connected=False
        )
        places[cid] = raw
        self.channel = ByteChannel(raw)  # it hears from now on: CHAL may come with the answer
        raw.on(raw.EVENT_OPEN, self._on_open)
        connection.on(connection.EVENT_DISCONNECTION, self._on_disconnection)
        # what bumble's `connect` does, now and not a turn of the loop later: somebody else might take the identifier
        self._answer: asyncio.Future[LeCreditBasedChannel] = asyncio.get_running_loop().create_future()
        self._answer.add_done_callback(_seen)
        raw.connection_result, raw.state = self._answer, LeCreditBasedChannel.State.CONNECTING
        self._identifier = self._next_identifier()
        request = L2CAP_LE_Credit_Based_Connection_Request(
            identifier=self._identifier,
            le_psm=psm,
            source_cid=cid,
            mtu=terms.mtu,
            mps=terms.mps,
            initial_credits=terms.credits,
        )
        manager.le_coc_requests[self._identifier] = request
        raw.send_control_frame(request)

    def _next_identifier(self) -> int:
        """Choose one that no request of any link has: bumble keeps them all in one table."""
        for _ in range(IDENTIFIERS):
            identifier = self._manager.next_identifier(self._connection)
            if identifier not in self._manager.le_coc_requests:
                return identifier
        raise BleakError("too many channels are being opened")

    async def answered(self, wait_s: float) -> None:
        """Wait for the answer. Raises BleakError when it is none, or not one to work with."""
        await asyncio.wait({self._answer}, timeout=wait_s)
        peer = self._connection.peer_address
        if not self._answer.done():
            raise BleakError(f"{peer}: no answer to the request for a channel within {wait_s} s")
        if self._answer.cancelled():
            raise BleakError(f"{peer}: the link broke while a channel was opened")
        if (error := self._answer.exception()) is not None:
            raise BleakError(f"{peer}: no channel: {error}") from error
        if min(self._raw.peer_mtu, self._raw.peer_mps) < LEAST_BYTES:
            raise BleakError(f"{peer}: a channel of MTU {self._raw.peer_mtu} and MPS {self._raw.peer_mps}")

    @property
    def given_up(self) -> bool:
        """Whether nobody wants it any more."""
        return self._over and not self.wanted

    def settle(self) -> None:
        """From now on a channel that nobody wanted is closed, whenever it opens."""
        self._over = True
        if self.given_up:
            self.channel.close_soon()

    def _on_open(self) -> None:
        # bumble would do so a turn of the loop later, and lose credits that came with the answer
        self._manager.le_coc_channels.setdefault(self._connection.handle, {})[self._raw.destination_cid] = self._raw
        if self.given_up:
            self.channel.close_soon()

    def _on_disconnection(self, _reason: int) -> None:
        self._manager.le_coc_requests.pop(self._identifier, None)


def _seen(answer: "asyncio.Future[LeCreditBasedChannel]") -> None:
    """Whoever waited has been told, or waits no more."""
    if not answer.cancelled():
        answer.exception()


# -- the peripheral's side --------------------------------------------------------------------------------------------


def serve_channels(
    device: Device,
    psm: int,
    terms: Callable[[], ChannelTerms],
    asked: Callable[[Connection], Reply],
    opened: Callable[[Connection, ByteChannel], None],
) -> None:
    """Serve channels on `psm`.

    Args:
        device: A bumble host.
        psm: 0x0080 to 0x00FF.
        terms: What is announced, as it is when asked.
        asked: Judges a request that is in order.
        opened: Gets each channel; it has not heard anything yet.
    """
    manager = device.l2cap_channel_manager
    now = terms()
    server = manager.create_le_credit_based_server(
        LeCreditBasedChannelSpec(psm, now.mtu, now.mps, now.credits),
        lambda channel: opened(channel.connection, ByteChannel(channel)),
    )
    accept = manager.on_l2cap_le_credit_based_connection_request

    def judged(connection: Connection, cid: int, request: L2CAP_LE_Credit_Based_Connection_Request) -> None:
        result: int | None = None
        if request.le_psm == psm:
            now = terms()
            server.mtu, server.mps, server.max_credits = now.mtu, now.mps, now.credits
            if min(request.mtu, request.mps) < LEAST_BYTES:
                result = _Result.CONNECTION_REFUSED_UNACCEPTABLE_PARAMETERS
            elif request.source_cid not in CIDS:
                result = _Result.CONNECTION_REFUSED_INVALID_SOURCE_CID
            elif (reply := asked(connection)) is Reply.SAY_NOTHING:
                return
            elif reply is Reply.REFUSE:
                result = _Result.CONNECTION_REFUSED_NO_RESOURCES_AVAILABLE
        if result is None:
            accept(connection, cid, request)
            return
        refusal = L2CAP_LE_Credit_Based_Connection_Response(
            identifier=request.identifier, destination_cid=0, mtu=0, mps=0, initial_credits=0, result=result
        )
        manager.send_control_frame(connection, cid, refusal)

    manager.on_l2cap_le_credit_based_connection_request = judged  # type: ignore[method-assign]  # bumble asks nobody
