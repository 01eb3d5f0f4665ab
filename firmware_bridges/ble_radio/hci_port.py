"""A TCP port that hands every caller a Bluetooth controller of its own on the air (bumble's `tcp-client:` transport).

A caller that hangs up, or is killed, takes its controller with it: its links end by supervision timeout and the place
is free again. Loopback only: HCI has no authentication.
"""

import asyncio
import logging
from typing import Final, Self

from bumble import core
from bumble.transport.common import PacketParser

from firmware_bridges.ble_radio.air import Air, AirController
from kit.dice import Dice

CONTROLLERS_MOST: Final = 64
log = logging.getLogger(__name__)


class HciPort:
    """Serve controllers on `host:port` (port 0: any free one; see `port`)."""

    def __init__(self, air: Air, dice: Dice, *, most: int = CONTROLLERS_MOST) -> None:
        self._air, self._dice, self._most = air, dice, most
        self._server: asyncio.Server | None = None
        self._open: set[_Chip] = set()
        self.port = 0

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> Self:
        """Listen. Raises OSError when the port is taken."""
        self._server = await asyncio.get_running_loop().create_server(self._plug, host, port)
        self.port = int(self._server.sockets[0].getsockname()[1])
        return self

    async def close(self) -> None:
        """Stop listening and unplug everybody."""
        if self._server is not None:
            self._server.close()
            for each in list(self._open):
                each.unplug()
            await self._server.wait_closed()

    @property
    def transport(self) -> str:
        """What a caller gives to `Radio.open`."""
        return f"tcp-client:127.0.0.1:{self.port}"

    @property
    def controllers(self) -> int:
        """How many are handed out now."""
        return len(self._open)

    def _plug(self) -> asyncio.Protocol:
        return _Chip(self)

    def admit(self, chip: "_Chip") -> AirController | None:
        """Hand out a controller, or None when all are taken."""
        if len(self._open) >= self._most:
            log.warning("all %d controllers of port %d are taken", self._most, self.port)
            return None
        self._open.add(chip)
        return AirController(f"hci-{self.port}", self._air, address=self._dice.bytes(6))

    def release(self, chip: "_Chip") -> None:
        """Take the controller back."""
        self._open.discard(chip)


class _Chip(asyncio.Protocol):
    """One caller: HCI packets between its socket and its controller."""

    def __init__(self, port: HciPort) -> None:
        self._port = port
        self._parser = PacketParser()
        self._controller: AirController | None = None
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)  # noqa: S101 - what asyncio gives a Protocol
        self._transport = transport
        if (controller := self._port.admit(self)) is None:
            transport.close()
            return
        self._controller = controller
        controller.host = self
        self._parser.set_packet_sink(controller)

    def on_packet(self, packet: bytes) -> None:
        """Controller -> socket."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(packet)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except (core.BaseBumbleError, ValueError) as error:
            log.warning("not HCI on port %d, hanging up: %r", self._port.port, error)
            self.unplug()

    def connection_lost(self, _: Exception | None) -> None:
        if self._controller is not None:
            self._controller.leave()
            self._controller = None
        self._port.release(self)

    def unplug(self) -> None:
        """Hang up."""
        if self._transport is not None:
            self._transport.close()
