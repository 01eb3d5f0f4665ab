"""One BLE link to an Innkeeper lock, from the central's side: connect, subscribe, write and hear ATT values.

Used by whoever speaks to a lock: the edge (edge/bridges/ble) and the guest's phone (firmware_bridges/guest_phone).
Where the lock has an L2CAP channel and the backend can open one, it is asked for first; GATT is what remains
(protocols/door/SPEC.md 1.1). It decides nothing else: the exchange in protocols/door does. What it promises is that a
link ends: every wait has a deadline, every failure disconnects, and an error says whether anything can have reached the
lock.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Final, Self

from bleak import BleakClient
from bleak.backends.characteristic import BleakGATTCharacteristic
from bleak.backends.device import BLEDevice

from firmware_bridges.ble_radio.backend import TROUBLE, BleBackend, ChannelTerms, ChannelWish
from kit.clock import Clock
from kit.queues import BoundedQueue
from protocols.door.advert import RX_UUID, SERVICE_UUID, TX_UUID
from protocols.door.channel import (
    ANSWER_BYTES_MOST,
    CHANNEL_MPS,
    CHANNEL_MTU,
    CHANNEL_WAIT_MS,
    LENGTH_BYTES,
    PHONE_CREDITS,
    psm_of,
)
from protocols.door.frames import frame_bytes_for
from protocols.errors import LinkLostError, PeerProtocolError, ReplyTimeoutError

CONNECT_WAIT_MS: Final = 5_000  # includes waiting for an advert of a lock that sleeps, and discovery
SUBSCRIBE_WAIT_MS: Final = 2_000
DISCONNECT_WAIT_MS: Final = 2_000
VALUES_WAITING_MAX: Final = 64  # a message has at most 1024 bytes: 54 fragments at the smallest MTU
PIECES_WAITING_MAX: Final = LENGTH_BYTES + ANSWER_BYTES_MOST  # in the channel a piece may be a byte
TERMS: Final = ChannelTerms(CHANNEL_MTU, CHANNEL_MPS, PHONE_CREDITS)
MTU_BYTES_MIN: Final = 23
WRITE_HEADER_BYTES: Final = 3


@dataclass(slots=True)
class LinkTimes:
    """When each step was done, on the clock's monotonic milliseconds; None: not reached."""

    began_ms: int
    connected_ms: int | None = None
    """Link up, MTU agreed, services discovered: bleak reports these as one step. Or link up, channel open, CHAL begun.
    """
    subscribed_ms: int | None = None
    """In the channel there is nothing to subscribe to: the same."""


class DoorLink:
    """Use as `async with`: leaving disconnects, whatever happened inside.

    Args:
        backend: The choice of bleak backend.
        device: What showed the lock's advert.
        clock: For `times`.
        channel: The advert's offset of the L2CAP port; 0: GATT.
        terms: What is announced for the channel.
        connect_wait_ms: For link, discovery and MTU, or link and channel.
        subscribe_wait_ms: For notifications.
    """

    def __init__(
        self,
        backend: BleBackend,
        device: BLEDevice,
        clock: Clock,
        *,
        channel: int = 0,
        terms: ChannelTerms = TERMS,
        connect_wait_ms: int = CONNECT_WAIT_MS,
        subscribe_wait_ms: int = SUBSCRIBE_WAIT_MS,
    ) -> None:
        self._clock = clock
        self._wish: ChannelWish | None = None
        options: dict[str, ChannelWish] = {}
        if backend.channels and (psm := psm_of(channel)) is not None:
            self._wish = ChannelWish(psm, terms, CHANNEL_WAIT_MS, self._heard, self._on_channel_closed)
            options["channel"] = self._wish
        self._connect_wait_ms, self._subscribe_wait_ms = connect_wait_ms, subscribe_wait_ms
        self._client = backend.client(
            device,
            services=[SERVICE_UUID],
            on_disconnected=self._on_disconnected,
            timeout_s=connect_wait_ms / 1000,
            **options,
        )
        waiting_max = VALUES_WAITING_MAX if self._wish is None else PIECES_WAITING_MAX
        self._values: BoundedQueue[bytes | None] = BoundedQueue(waiting_max, "door link")
        self._tx: BleakGATTCharacteristic | None = None
        self._flooded = self._ended = False
        self.wrote = False
        """Whether anything may have left: from then on a lost link may have had effect."""
        self.times = LinkTimes(began_ms=clock.now_ms())
        self.on_lost: Callable[[], None] | None = None
        """Called once when the link ends, whoever ended it."""

    async def __aenter__(self) -> Self:
        try:
            await self._connect()
        except BaseException:
            await self._disconnect()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._disconnect()

    async def _connect(self) -> None:
        step = "connecting"
        try:
            async with asyncio.timeout(self._connect_wait_ms / 1000):
                await self._client.connect()
            self.times.connected_ms = self._clock.now_ms()
            if self.in_channel:
                self.times.subscribed_ms = self.times.connected_ms
                return
            step = "subscribing"
            tx = self._client.services.get_characteristic(TX_UUID)
            rx = self._client.services.get_characteristic(RX_UUID)
            if tx is None or rx is None:
                raise PeerProtocolError(f"{self._client.address} has no Innkeeper lock service")
            self._tx = tx
            async with asyncio.timeout(self._subscribe_wait_ms / 1000):
                await self._client.start_notify(rx, self._on_value)
            self.times.subscribed_ms = self._clock.now_ms()
        except TimeoutError as error:
            raise LinkLostError(f"{self._client.address}: {step} took too long") from error
        except TROUBLE as error:
            raise LinkLostError(f"{self._client.address}: {step} failed: {error}") from error

    @property
    def in_channel(self) -> bool:
        """Whether the link goes by the L2CAP channel; False: by GATT."""
        return self._wish is not None and self._wish.channel is not None

    @property
    def channel_failed(self) -> str:
        """Why it goes by GATT though the channel was asked for; empty: it was not, or stands."""
        return "" if self._wish is None else self._wish.failed

    @property
    def frame_bytes(self) -> int | None:
        """What an exchange on this link is made with: bytes of a frame, None in the channel."""
        return None if self.in_channel else frame_bytes_for(self.mtu_bytes)

    @property
    def mtu_bytes(self) -> int:
        """The ATT MTU agreed on, as far as it is known: BlueZ may learn of it after the link stands.

        Asked of the characteristic, because bleak's client does not know it on BlueZ.
        """
        return MTU_BYTES_MIN if self._tx is None else self._tx.max_write_without_response_size + WRITE_HEADER_BYTES

    @property
    def is_up(self) -> bool:
        """Whether the link stands."""
        return self._client.is_connected

    async def write(self, value: bytes, *, wait_ms: int) -> None:
        """Write one ATT value, without response; or into the channel.

        Raises:
            LinkLostError: nothing was ever written on this link.
            ReplyTimeoutError: an earlier value went out, so the lock may have acted.
        """
        send = self._sends()
        self.wrote = True
        try:
            async with asyncio.timeout(wait_ms / 1000):
                await send(value)
        except TROUBLE as error:
            raise self._broken(f"writing failed: {error!r}") from error

    def _sends(self) -> Callable[[bytes], Awaitable[None]]:
        if not self._ended and self._wish is not None and self._wish.channel is not None:
            return self._wish.channel.send
        if self._ended or self._tx is None:
            raise self._broken("not connected")
        return partial(self._client.write_gatt_char, self._tx, response=False)

    async def read(self, *, wait_ms: int) -> bytes:
        """Return the next notified value, or what the next SDU brought.

        Raises:
            LinkLostError: the link ended or stayed silent before anything was written.
            ReplyTimeoutError: the same, after a write.
            PeerProtocolError: the lock sent more than anybody may.
        """
        if self._ended and not len(self._values):
            raise self._broken("the link broke")
        try:
            async with asyncio.timeout(wait_ms / 1000):
                value = await self._values.get()
        except TimeoutError as error:
            raise self._broken(f"no answer within {wait_ms} ms") from error
        if self._flooded:
            raise PeerProtocolError(f"{self._client.address} sent over {self._values.most} values unasked")
        if value is None:
            raise self._broken("the link broke")
        return value

    def _broken(self, what: str) -> LinkLostError | ReplyTimeoutError:
        kind = ReplyTimeoutError if self.wrote else LinkLostError
        return kind(f"{self._client.address}: {what}")

    def _on_value(self, _: BleakGATTCharacteristic, value: bytearray) -> None:
        self._heard(bytes(value))

    def _heard(self, value: bytes) -> None:
        if not self._values.offer(value):
            self._flooded = True

    def _on_disconnected(self, _: BleakClient) -> None:
        self._over()

    def _on_channel_closed(self) -> None:
        if self.in_channel:  # else it never came to stand, and GATT takes over
            self._over()

    def _over(self) -> None:
        if self._ended:
            return
        self._ended = True
        self._values.offer(None)  # wakes a reader; without one, `read` sees `_ended`
        if self.on_lost is not None:
            self.on_lost()

    async def _disconnect(self) -> None:
        with suppress(*TROUBLE):
            async with asyncio.timeout(DISCONNECT_WAIT_MS / 1000):
                await self._client.disconnect()
