"""The lock's Bluetooth, from the peripheral's side: adverts, one GATT service, and links handed to their user.

Advertises slowly while nobody touches the handle and fast for a while after (door.md 3.4), stays connectable until the
most links a lock bears are up, and takes a new address with each advert id so that the one does not betray the other.
What is said on a link is the user's business.
"""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Final, Protocol

from bumble import att, core, hci
from bumble.device import Connection, Device
from bumble.gatt import Characteristic, CharacteristicValue, Service

from firmware_bridges.ble_radio.backend import ChannelTerms
from firmware_bridges.ble_radio.channel import ByteChannel, Reply, serve_channels
from firmware_bridges.innkeeper_lock.config import Advertising, Knobs
from kit.dice import Dice
from protocols.door.advert import RX_UUID, SERVICE_UUID, TX_UUID, Advert
from protocols.door.channel import CHANNEL_MTU, PSM_BASE
from protocols.door.frames import frame_bytes_for
from protocols.door.lock import LINKS_MOST

AD_FLAGS: Final = bytes.fromhex("020106")  # LE general discoverable, no BR/EDR
AD_SERVICE_DATA_128: Final = 0x21
HANG_UP_WAIT_S: Final = 2.0
CHANNEL_OFFSET: Final = 5
"""Of this lock's L2CAP port, the same at all of them."""
CHANNEL_PSM: Final = PSM_BASE + CHANNEL_OFFSET


class Hearer(Protocol):
    """Who speaks for the lock on one link."""

    def subscribed(self) -> None:
        """The central hears notifications from now on."""
        ...

    def heard(self, frame: bytes) -> None:
        """One ATT write."""
        ...

    def channel_asked(self) -> bool:
        """The central asks for the L2CAP channel; whether it gets it."""
        ...

    def channel_opened(self, channel: ByteChannel) -> None:
        """It stands, and nothing was said in it yet."""
        ...

    def ended(self) -> None:
        """The link is gone."""
        ...


class LockLink:
    """One link, as its hearer sees it."""

    def __init__(self, peripheral: "Peripheral", connection: Connection) -> None:
        self._peripheral, self.connection = peripheral, connection
        self.last_frame = b""

    @property
    def frame_bytes(self) -> int:
        """How many bytes a frame may hold on this link now."""
        return frame_bytes_for(int(self.connection.att_mtu))

    async def notify(self, frame: bytes) -> None:
        """Send one frame; lost without a word when the link is gone, as radio is."""
        self.last_frame = frame
        await self._peripheral.notify(self, frame)

    async def hang_up(self) -> None:
        """End the link; harmless when it has ended."""
        with suppress(core.BaseBumbleError, TimeoutError):
            if self._peripheral.device.connections.get(self.connection.handle) is self.connection:
                async with asyncio.timeout(HANG_UP_WAIT_S):
                    await self.connection.disconnect()


class Peripheral:
    """Advertises and serves on `device` until `stop`.

    Args:
        device: A bumble host that is not powered on yet.
        advertising: Intervals.
        answer: Called for every new link; returns its hearer.
        cut: Breaks every link of the device as loss of power would.
        dice: For addresses.
        knobs: The lock's, as they stand when asked.
    """

    def __init__(
        self,
        device: Device,
        advertising: Advertising,
        answer: Callable[[LockLink], Hearer],
        cut: Callable[[], object],
        *,
        dice: Dice,
        knobs: Callable[[], Knobs],
    ) -> None:
        self.device, self._knobs = device, knobs
        self._advertising, self._answer, self._dice = advertising, answer, dice
        self.cut = cut
        self._links: dict[Connection, tuple[LockLink, Hearer]] = {}
        self._woken: asyncio.TimerHandle | None = None
        self._advert: Advert | None = None
        self._eid_of_address = b""
        self._silent = False
        self._change = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        properties, permissions = Characteristic.Properties, Characteristic.Permissions
        self._rx: Characteristic[bytes] = Characteristic(
            RX_UUID,
            properties.NOTIFY | properties.READ,
            permissions.READABLE,
            CharacteristicValue(read=self._on_read),
        )
        tx: Characteristic[bytes] = Characteristic(
            TX_UUID,
            properties.WRITE | properties.WRITE_WITHOUT_RESPONSE,
            permissions.WRITEABLE,
            CharacteristicValue(write=self._on_write),
        )
        device.add_service(Service(SERVICE_UUID, [tx, self._rx]))
        device.on(Device.EVENT_CONNECTION, self._on_connection)
        serve_channels(device, CHANNEL_PSM, self._channel_terms, self._on_channel_asked, self._on_channel)
        self._rx.on(Characteristic.EVENT_SUBSCRIPTION, self._on_subscription)

    @property
    def woken(self) -> bool:
        """Whether it adverts fast now."""
        return self._woken is not None

    @property
    def links(self) -> int:
        """How many are up."""
        return len(self._links)

    @property
    def interval_ms(self) -> int:
        """Between two adverts now, in milliseconds."""
        return self._advertising.woken_ms if self.woken else self._advertising.idle_ms

    async def start(self, advert: Advert, *, silent: bool = False) -> None:
        """Power the radio on and show `advert`, unless it is to be `silent` for now."""
        self._silent = silent
        await self.device.power_on()
        await self.show(advert)

    async def be_silent(self) -> None:
        """No power: no adverts, and every link breaks without a goodbye."""
        self._silent = True
        self.sleep()
        await self._refresh()
        self.cut()

    async def speak_again(self) -> None:
        """Power is back."""
        self._silent = False
        await self._refresh()

    async def stop(self) -> None:
        """Fall silent and drop the links."""
        if self._woken is not None:
            self._woken.cancel()
            self._woken = None
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._advert = None
        await self.device.stop_advertising()
        for link, _ in list(self._links.values()):
            await link.hang_up()
        await self.device.power_off()

    async def show(self, advert: Advert) -> None:
        """Show `advert` from now on; under a new address when its id is new."""
        if advert != self._advert:
            self._advert = advert
            await self._refresh()

    def show_soon(self, advert: Advert) -> None:
        """`show` without waiting for the controller."""
        if advert != self._advert:
            self._advert = advert
            self._soon_refresh()

    def wake(self) -> None:
        """Somebody touched the handle: advert fast for `woken_s`."""
        was = self.woken
        if self._woken is not None:
            self._woken.cancel()
        loop = asyncio.get_running_loop()
        self._woken = loop.call_later(self._advertising.woken_s, self._fall_asleep)
        if not was:
            self._soon_refresh()

    def sleep(self) -> None:
        """Back to the slow interval at once."""
        if self._woken is not None:
            self._woken.cancel()
            self._fall_asleep()

    def set_advertising(self, advertising: Advertising) -> None:
        """Change the intervals."""
        self._advertising = advertising
        self._soon_refresh()

    def _fall_asleep(self) -> None:
        self._woken = None
        self._soon_refresh()

    async def _agree_on_mtu(self, connection: Connection) -> None:
        """Ask for a large MTU: ATT lets both sides ask, so it costs the phone's discovery no round trip of its own."""
        most = self.device.gatt_server.max_mtu = self._knobs().att_mtu
        if most == att.ATT_DEFAULT_MTU:
            return
        client = connection.gatt_client
        hear = client.on_gatt_pdu

        def heard(att_pdu: att.ATT_PDU) -> None:
            # bumble would set it when the task that asked has its turn again, which is after whatever came in the same
            # connection event was answered in frames of 23 bytes: four more round trips where an event had been lost.
            if isinstance(att_pdu, att.ATT_Exchange_MTU_Response) and client.pending_request is not None:
                client.mtu = max(att.ATT_DEFAULT_MTU, min(most, att_pdu.server_rx_mtu))
            hear(att_pdu)

        client.on_gatt_pdu = heard  # type: ignore[method-assign]  # there is no event for it
        with suppress(core.BaseBumbleError, att.ATT_Error, asyncio.CancelledError):  # without it frames are small
            await client.request_mtu(most)

    def _soon_refresh(self) -> None:
        self._soon(self._refresh())

    def _soon(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _refresh(self) -> None:
        """Begin advertising anew, with what is true now; or not at all while as many links are up as we bear."""
        async with self._change:
            if self._advert is None:
                return
            await self.device.stop_advertising()
            if self._silent or len(self._links) >= LINKS_MOST:
                return
            if self._advert.eid != self._eid_of_address and not self._links:
                self._eid_of_address = self._advert.eid
                address = hci.Address(_private_address(self._dice), hci.Address.RANDOM_DEVICE_ADDRESS)
                self.device.random_address = address
                await self.device.send_sync_command(hci.HCI_LE_Set_Random_Address_Command(random_address=address))
            await self.device.start_advertising(
                advertising_data=advertising_data(self._advert),
                advertising_interval_min=self.interval_ms,
                advertising_interval_max=self.interval_ms,
            )

    def _on_connection(self, connection: Connection) -> None:
        link = LockLink(self, connection)
        self._links[connection] = (link, self._answer(link))
        connection.on(connection.EVENT_DISCONNECTION, lambda _: self._on_disconnection(connection))
        self._soon(self._agree_on_mtu(connection))
        self._soon_refresh()

    def _on_disconnection(self, connection: Connection) -> None:
        if (ended := self._links.pop(connection, None)) is not None:
            ended[1].ended()
            self._soon_refresh()

    def _on_subscription(self, connection: Connection, notify: bool, _indicate: bool) -> None:
        if notify and (found := self._links.get(connection)) is not None:
            found[1].subscribed()

    def _channel_terms(self) -> ChannelTerms:
        knobs = self._knobs()
        return ChannelTerms(CHANNEL_MTU, knobs.channel_mps, knobs.channel_credits)

    def _on_channel_asked(self, connection: Connection) -> Reply:
        manner, found = self._knobs().channel, self._links.get(connection)
        if manner == "unanswered":
            return Reply.SAY_NOTHING
        if manner in ("none", "refuses") or found is None or not found[1].channel_asked():
            return Reply.REFUSE
        return Reply.ACCEPT

    def _on_channel(self, connection: Connection, channel: ByteChannel) -> None:
        if (found := self._links.get(connection)) is not None:
            found[1].channel_opened(channel)

    def _on_write(self, connection: Connection, frame: bytes) -> None:
        if (found := self._links.get(connection)) is not None:
            found[1].heard(bytes(frame))

    def _on_read(self, connection: Connection) -> bytes:
        found = self._links.get(connection)
        return found[0].last_frame if found is not None else b""

    async def notify(self, link: LockLink, frame: bytes) -> None:
        """Send one frame on `link`."""
        with suppress(core.BaseBumbleError):
            await self.device.notify_subscriber(link.connection, self._rx, frame)


def advertising_data(advert: Advert) -> bytes:
    """Return the 31 bytes of the legacy packet: flags and service data under our 128-bit UUID.

    They are full, so the UUID stands nowhere else: find locks by their service data.
    """
    body = bytes.fromhex(SERVICE_UUID.replace("-", ""))[::-1] + advert.encode()
    return AD_FLAGS + bytes([len(body) + 1, AD_SERVICE_DATA_128]) + body


def _private_address(dice: Dice) -> bytes:
    """Return a non-resolvable private address, little-endian (Vol 6 Part B 1.3.2.2): top bits 00, the rest random."""
    address = bytearray(dice.bytes(6))
    address[5] &= 0x3F
    address[0] |= 1  # neither all zeros
    address[1] &= 0xFE  # nor all ones
    return bytes(address)
