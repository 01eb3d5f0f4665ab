"""One bumble host on one HCI controller, shared by every scanner and client of a process.

A controller creates one connection at a time and scans once: `Radio` queues the first and counts users of the second.
When the controller goes away every connection is lost and `lost` says so; make a new Radio then.

Adverts of one report each are read here and not by bumble, which takes ten times as long for them (it parses by tables,
and writes out every packet for a log that nobody reads): a house of 300 locks sends as many a second.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final, NamedTuple, Self, cast

from bleak.exc import BleakBluetoothNotAvailableError, BleakBluetoothNotAvailableReason, BleakError
from bumble import core, hci
from bumble.device import Advertisement, Connection, Device, DeviceConfiguration
from bumble.keys import MemoryKeyStore
from bumble.transport import open_transport
from bumble.transport.common import PacketParser, ParserSource, StreamPacketSink, Transport

from firmware_bridges.ble_radio.backend import BleBackend

POWER_ON_WAIT_S: Final = 10.0
DISCONNECT_WAIT_S: Final = 5.0
TAKEN_POLL_S: Final = 0.005
SCAN_INTERVAL_MS: Final = 60
SCAN_WINDOW_MS: Final = 60  # all of it: a mains-powered edge listens always

_EVENT_HEAD_BYTES: Final = 3  # packet type, event code, bytes that follow
_REPORT_BYTES: Final = 15  # of an LE Advertising Report event with one report and no data
_SCAN_RESPONSE: Final = 4
log = logging.getLogger(__name__)


class Heard(NamedTuple):
    """One advert: whose (upper case, with colons), how loud (dBm), and its payload."""

    address: str
    rssi: int
    data_bytes: bytes


Listener = Callable[[Heard], None]


class Radio:
    """Use `Radio.open` or hand in a `Device` whose host is already wired (in-process air); then `use_radio`."""

    def __init__(self, device: Device, transport: Transport | None = None) -> None:
        device.keystore = device.keystore or MemoryKeyStore()
        self.device = device
        self._transport = transport
        self._connecting = asyncio.Lock()
        self._scan_change = asyncio.Lock()
        self._listeners: dict[object, Listener] = {}
        self._line: asyncio.Transport | None = None
        self._gather_s = 0.0
        self._gathering: asyncio.TimerHandle | None = None
        self.lost = asyncio.Event()
        device.on(Device.EVENT_FLUSH, self.lost.set)
        device.on(Device.EVENT_ADVERTISEMENT, self._on_advertisement)
        self._bumble_takes = device.host.on_packet
        device.host.on_packet = self._take  # type: ignore[method-assign]  # bumble has no place to hear packets first

    @classmethod
    async def open(cls, hci_transport: str, *, name: str = "innkeeper", gather_s: float = 0.0) -> Self:
        """Attach to a controller, such as `tcp-client:127.0.0.1:9001`, and power it on.

        Args:
            hci_transport: Where, in bumble's words.
            name: Ours.
            gather_s: While nobody is connected or connecting, adverts of so long are read at once where that can be.

        Raises:
            BleakBluetoothNotAvailableError: nobody listens there, or what listens does not speak HCI.
        """
        try:
            async with asyncio.timeout(POWER_ON_WAIT_S):
                transport = await open_transport(hci_transport)
        except (OSError, TimeoutError, core.BaseBumbleError) as error:
            raise _no_bluetooth(f"no HCI controller at {hci_transport}: {error}") from error
        if isinstance(transport.source, ParserSource):
            transport.source.parser = WholeEvents()
        config = DeviceConfiguration(name=name, address=hci.Address.generate_static_address())
        radio = cls(Device.from_config_with_hci(config, transport.source, transport.sink), transport)
        if gather_s and hci_transport.startswith("tcp-client:") and isinstance(transport.sink, StreamPacketSink):
            radio._line, radio._gather_s = cast(asyncio.Transport, transport.sink.transport), gather_s
        try:
            await radio.power_on()
        except BaseException:
            await radio.close()
            raise
        return radio

    async def power_on(self) -> None:
        """Reset the controller and make it ours. Raises BleakBluetoothNotAvailableError."""
        try:
            async with asyncio.timeout(POWER_ON_WAIT_S):
                await self.device.power_on()
        except (TimeoutError, core.BaseBumbleError) as error:
            raise _no_bluetooth(f"the controller does not answer: {error!r}") from error

    async def close(self) -> None:
        """Drop every connection and let the controller go. Harmless twice."""
        for connection in list(self.device.connections.values()):
            with suppress(BleakError):
                await self.disconnect(connection)
        self._listeners.clear()
        self._read_on()
        self.lost.set()
        transport, self._transport = self._transport, None
        if transport is not None:
            await transport.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def connect(self, address: str, *, timeout_s: float) -> Connection:
        """Connect to the advertiser at `address`; waits its turn, within the same `timeout_s`.

        Raises:
            TimeoutError: it was not heard in time.
            BleakError: the controller refused or is gone.
        """
        peer = hci.Address(address.upper(), hci.Address.RANDOM_DEVICE_ADDRESS)
        async with asyncio.timeout(timeout_s), self._connecting:
            if self.lost.is_set():
                raise BleakError("the Bluetooth controller is gone")
            self._read_on()
            attempt = asyncio.ensure_future(self.device.connect_le(peer, timeout=None))
            lost = asyncio.ensure_future(self.lost.wait())
            try:
                await asyncio.wait({attempt, lost}, return_when=asyncio.FIRST_COMPLETED)
                if not attempt.done() or attempt.cancelled():  # bumble cancels what waits when its controller goes
                    raise BleakError("the Bluetooth controller is gone")
                return attempt.result()
            except core.BaseBumbleError as error:
                raise BleakError(f"could not connect to {address}: {error}") from error
            finally:
                lost.cancel()
                if not attempt.done():
                    await self._give_up(attempt)

    async def _give_up(self, attempt: "asyncio.Future[Connection]") -> None:
        """Withdraw a pending connection; if it was made in the same moment, end it."""
        with suppress(core.BaseBumbleError, TimeoutError):
            async with asyncio.timeout(DISCONNECT_WAIT_S):
                # Before the controller has answered the command, bumble withdraws nothing: it would go on connecting.
                while not (attempt.done() or self.device.is_le_connecting or self.lost.is_set()):  # noqa: ASYNC110 - no event tells
                    await asyncio.sleep(TAKEN_POLL_S)
                if not self.lost.is_set():
                    await self.device.cancel_connection()  # type: ignore[no-untyped-call]  # the library is untyped there
                    await asyncio.wait({attempt}, timeout=DISCONNECT_WAIT_S)
        attempt.cancel()
        with suppress(core.BaseBumbleError, asyncio.CancelledError):
            await self.disconnect(await attempt)

    async def disconnect(self, connection: Connection) -> None:
        """End `connection`. Raises BleakError when the controller does not confirm in time."""
        if connection.handle not in self.device.connections:
            return
        try:
            async with asyncio.timeout(DISCONNECT_WAIT_S):
                await connection.disconnect()
        except (core.BaseBumbleError, TimeoutError) as error:
            if connection.handle in self.device.connections:
                raise BleakError(f"could not disconnect: {error!r}") from error

    async def listen(self, listener: Listener) -> Callable[[], Awaitable[None]]:
        """Call `listener` for every advert from now on. Returns how to stop; scanning ends with the last listener."""
        token = object()
        async with self._scan_change:
            self._read_on()
            if self.lost.is_set():
                raise _no_bluetooth("the Bluetooth controller is gone")
            self._listeners[token] = listener
            if not self.device.scanning:
                try:
                    await self.device.start_scanning(
                        legacy=True, active=False, scan_interval=SCAN_INTERVAL_MS, scan_window=SCAN_WINDOW_MS
                    )
                except (core.BaseBumbleError, TimeoutError) as error:
                    del self._listeners[token]
                    raise BleakError(f"could not start scanning: {error!r}") from error

        async def stop() -> None:
            async with self._scan_change:
                self._read_on()
                self._listeners.pop(token, None)
                if not self._listeners and self.device.scanning and not self.lost.is_set():
                    try:
                        await self.device.stop_scanning(legacy=True)
                    except (core.BaseBumbleError, TimeoutError) as error:
                        raise BleakError(f"could not stop scanning: {error!r}") from error

        return stop

    def _take(self, packet: bytes) -> None:
        heard = one_report(packet)
        if heard is None:
            self._bumble_takes(packet)
        else:
            self._tell(heard)
            self._gather()

    def _gather(self) -> None:
        """Leave what comes next unread for a while: each turn of the loop for one advert costs more than the advert."""
        if self._line is None or self._gathering is not None or self._line.is_closing():
            return
        if self.device.connections or self._connecting.locked() or self._scan_change.locked():
            return  # somebody waits for an answer
        self._line.pause_reading()
        self._gathering = asyncio.get_running_loop().call_later(self._gather_s, self._read_on)

    def _read_on(self) -> None:
        if self._line is None or self._gathering is None:
            return
        self._gathering.cancel()
        self._gathering = None
        if not self._line.is_closing():
            self._line.resume_reading()

    def _on_advertisement(self, advertisement: Advertisement) -> None:
        address = advertisement.address.to_string(with_type_qualifier=False)
        self._tell(Heard(address, advertisement.rssi, advertisement.data_bytes))

    def _tell(self, heard: Heard) -> None:
        for listener in list(self._listeners.values()):
            listener(heard)


class WholeEvents(PacketParser):
    """Finds the packets that bumble's parser finds, in its order, but hands on events that came whole as they are."""

    def feed_data(self, data: bytes) -> None:
        """Take what came of the stream. Raises bumble's InvalidPacketError: it is not HCI."""
        at = 0
        if self.state == PacketParser.NEED_TYPE:
            while size := _whole_event(data, at):
                self._hand_on(data[at : at + size])
                at += size
        if at < len(data):
            super().feed_data(data[at:])

    def _hand_on(self, packet: bytes) -> None:
        if self.sink is None:
            return
        try:
            self.sink.on_packet(packet)
        except Exception:
            log.exception("an HCI event was not taken")  # as bumble does: a defect of a listener ends no stream


def _whole_event(data: bytes, at: int) -> int:
    """Return how many bytes of `data`, from `at`, are one packet; 0: that is no event, or has not come whole."""
    left = len(data) - at
    if left < _EVENT_HEAD_BYTES or data[at] != hci.HCI_EVENT_PACKET:
        return 0
    size = _EVENT_HEAD_BYTES + data[at + 2]
    return size if size <= left else 0


def one_report(packet: bytes) -> Heard | None:
    """Read an HCI packet that holds one legacy advert; None: it is something else, or not whole.

    Source: Bluetooth Core 5.4, Vol 4 Part E 7.7.65.2 (LE Advertising Report), 5.4.4 (event packets).
    """
    if len(packet) < _REPORT_BYTES or packet[:2] != b"\x04\x3e" or packet[3:5] != b"\x02\x01":
        return None
    if len(packet) != _REPORT_BYTES + packet[13] or packet[2] != len(packet) - 3 or packet[5] >= _SCAN_RESPONSE:
        return None
    rssi = packet[-1] - 256 if packet[-1] > 127 else packet[-1]
    return Heard(packet[12:6:-1].hex(":").upper(), rssi, packet[14:-1])


def use_radio(radio: Radio) -> BleBackend:
    """Bind bleak's backends to `radio`, for `BleakClient(..., backend=...)` and `BleakScanner(..., backend=...)`."""
    from firmware_bridges.ble_radio.client import BumbleClient
    from firmware_bridges.ble_radio.scanner import BumbleScanner

    # bleak takes classes, not instances: these two carry their radio as a class attribute
    client = type("BumbleClient", (BumbleClient,), {"radio": radio})
    scanner = type("BumbleScanner", (BumbleScanner,), {"radio": radio})
    return BleBackend(client, scanner, radio.lost, channels=True)


def _no_bluetooth(message: str) -> BleakBluetoothNotAvailableError:
    return BleakBluetoothNotAvailableError(message, BleakBluetoothNotAvailableReason.NO_BLUETOOTH)
