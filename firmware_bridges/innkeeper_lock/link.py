"""One BLE link to an Innkeeper lock, from the central's side: connect, subscribe, write and hear ATT values.

Used by whoever speaks to a lock: the edge (edge/bridges/ble) and the guest's phone (firmware_bridges/guest_phone).
It decides nothing: the exchange in protocols/door does. What it promises is that a link ends: every wait has a
deadline, every failure disconnects, and an error says whether anything can have reached the lock.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

from bleak import BleakClient
from bleak.backends.characteristic import BleakGATTCharacteristic
from bleak.backends.device import BLEDevice

from firmware_bridges.ble_radio.backend import TROUBLE, BleBackend
from kit.clock import Clock
from kit.queues import BoundedQueue
from protocols.door.advert import RX_UUID, SERVICE_UUID, TX_UUID
from protocols.errors import LinkLostError, PeerProtocolError, ReplyTimeoutError

CONNECT_WAIT_MS: Final = 5_000  # includes waiting for an advert of a lock that sleeps, and discovery
SUBSCRIBE_WAIT_MS: Final = 2_000
DISCONNECT_WAIT_MS: Final = 2_000
VALUES_WAITING_MAX: Final = 64  # a message has at most 1024 bytes: 54 fragments at the smallest MTU
MTU_BYTES_MIN: Final = 23
WRITE_HEADER_BYTES: Final = 3


@dataclass(slots=True)
class LinkTimes:
    """When each step was done, on the clock's monotonic milliseconds; None: not reached."""

    began_ms: int
    connected_ms: int | None = None
    """Link up, MTU agreed, services discovered: bleak reports these as one step."""
    subscribed_ms: int | None = None


class DoorLink:
    """Use as `async with`: leaving disconnects, whatever happened inside."""

    def __init__(
        self,
        backend: BleBackend,
        device: BLEDevice,
        clock: Clock,
        *,
        connect_wait_ms: int = CONNECT_WAIT_MS,
        subscribe_wait_ms: int = SUBSCRIBE_WAIT_MS,
    ) -> None:
        self._clock = clock
        self._connect_wait_ms, self._subscribe_wait_ms = connect_wait_ms, subscribe_wait_ms
        self._client = backend.client(
            device,
            services=[SERVICE_UUID],
            on_disconnected=self._on_disconnected,
            timeout_s=connect_wait_ms / 1000,
        )
        self._values: BoundedQueue[bytes | None] = BoundedQueue(VALUES_WAITING_MAX, "door link")
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
        """Write one ATT value, without response.

        Raises:
            LinkLostError: nothing was ever written on this link.
            ReplyTimeoutError: an earlier value went out, so the lock may have acted.
        """
        if self._tx is None or self._ended:
            raise self._broken("not connected")
        self.wrote = True
        try:
            async with asyncio.timeout(wait_ms / 1000):
                await self._client.write_gatt_char(self._tx, value, response=False)
        except TROUBLE as error:
            raise self._broken(f"writing failed: {error!r}") from error

    async def read(self, *, wait_ms: int) -> bytes:
        """Return the next notified value.

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
            raise PeerProtocolError(f"{self._client.address} sent over {VALUES_WAITING_MAX} values unasked")
        if value is None:
            raise self._broken("the link broke")
        return value

    def _broken(self, what: str) -> LinkLostError | ReplyTimeoutError:
        kind = ReplyTimeoutError if self.wrote else LinkLostError
        return kind(f"{self._client.address}: {what}")

    def _on_value(self, _: BleakGATTCharacteristic, value: bytearray) -> None:
        if not self._values.offer(bytes(value)):
            self._flooded = True

    def _on_disconnected(self, _: BleakClient) -> None:
        self._ended = True
        self._values.offer(None)  # wakes a reader; without one, `read` sees `_ended`
        if self.on_lost is not None:
            self.on_lost()

    async def _disconnect(self) -> None:
        with suppress(*TROUBLE):
            async with asyncio.timeout(DISCONNECT_WAIT_MS / 1000):
                await self._client.disconnect()
