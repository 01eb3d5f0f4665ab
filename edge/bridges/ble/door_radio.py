"""The port `edge.doors.radio.DoorRadio` on bleak: sightings, and sessions that never outlive their slot.

A slot is taken before a connection is begun and given back when the session is closed, the link is lost, or connecting
fails, whichever comes first. A session that nobody closes is ended after `SESSION_MOST_MS`.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Final

from bleak import BleakClient

from edge.bridges.ble.sightings import Sightings
from edge.bridges.ble.slots import Slots
from edge.doors.radio import DoorSession, Sighting
from firmware_bridges.ble_radio.backend import TROUBLE, BleBackend
from firmware_bridges.innkeeper_lock.link import DISCONNECT_WAIT_MS, DoorLink
from kit.clock import Clock
from protocols.door.advert import SERVICE_UUID
from protocols.door.phone import ANSWER_WAIT_MS
from protocols.errors import LinkLostError, PeerProtocolError, ReplyTimeoutError

SLOT_WAIT_MS: Final = 15_000
CONNECT_WAIT_MS: Final = 8_000  # a sleeping lock, a busy air, discovery
SUBSCRIBE_WAIT_MS: Final = 3_000
SEND_WAIT_MS: Final = 2_000
RECEIVE_WAIT_MS: Final = ANSWER_WAIT_MS + 1_000  # the exchange's own deadline speaks first
SESSION_MOST_MS: Final = 60_000  # fetching a full log takes 114 exchanges of some 60 ms
DEFAULT_SLOTS: Final = 3


class BleDoorRadio:
    """The edge's Bluetooth for doors.

    Args:
        backend: The choice of bleak backend (choice.py).
        clock: Monotonic time of sightings.
        slots: Connections at once.
        channels: Whether to ask locks for their L2CAP channel, where the backend can open one.
        sightings: What listens; made here unless handed in.
        also: Addresses of locks of other makers, for `client`.
    """

    def __init__(
        self,
        backend: BleBackend,
        clock: Clock,
        *,
        slots: int = DEFAULT_SLOTS,
        channels: bool = True,
        sightings: Sightings | None = None,
        also: Collection[str] = (),
        connect_wait_ms: int = CONNECT_WAIT_MS,
        slot_wait_ms: int = SLOT_WAIT_MS,
        session_most_ms: int = SESSION_MOST_MS,
    ) -> None:
        self._backend, self._clock, self._channels = backend, clock, channels
        self._connect_wait_ms, self._slot_wait_ms = connect_wait_ms, slot_wait_ms
        self._session_most_ms = session_most_ms
        self._sightings = sightings or Sightings(backend, clock, service_uuid=SERVICE_UUID, also=also)
        self.slots = Slots(slots)

    def sightings(self) -> AsyncGenerator[Sighting, None]:
        """Listen without end. Raises LinkLostError when the adapter fails."""
        return self._sightings.listen()

    def heard_ms_ago(self, address: str) -> int | None:
        """How long ago a lock of another maker was heard; None: never."""
        return self._sightings.heard_ms_ago(address)

    @asynccontextmanager
    async def client(self, address: str, on_lost: Callable[[], None]) -> AsyncIterator[BleakClient]:
        """Connect to a lock of another maker, in a slot, for the length of the block. `on_lost`: the link ended.

        Raises:
            LinkLostError: never heard, no slot in time, or not reached.
        """
        device = self._sightings.device(address)
        if device is None:
            raise LinkLostError(f"{address} was never heard")
        client = self._backend.client(
            device, on_disconnected=lambda _: on_lost(), timeout_s=self._connect_wait_ms / 1_000
        )
        async with self.slots.reserve(address, wait_ms=self._slot_wait_ms):
            try:
                try:
                    async with asyncio.timeout(self._connect_wait_ms / 1_000):
                        await client.connect()
                except TROUBLE as error:
                    raise LinkLostError(f"{address}: connecting failed: {error!r}") from error
                yield client
            finally:
                with suppress(*TROUBLE):
                    async with asyncio.timeout(DISCONNECT_WAIT_MS / 1_000):
                        await client.disconnect()

    async def open_session(self, address: str, *, channel: int = 0) -> DoorSession:
        """Connect, and open the channel that the lock's advert names; else discover and subscribe.

        Raises:
            LinkLostError: never heard, no slot in time, not reached, or not one of our locks.
        """
        device = self._sightings.device(address)
        if device is None:
            raise LinkLostError(f"{address} was never heard")
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self.slots.reserve(address, wait_ms=self._slot_wait_ms))
            link = DoorLink(
                self._backend,
                device,
                self._clock,
                channel=channel if self._channels else 0,
                connect_wait_ms=self._connect_wait_ms,
                subscribe_wait_ms=SUBSCRIBE_WAIT_MS,
            )
            try:
                await stack.enter_async_context(link)
            except PeerProtocolError as error:
                raise LinkLostError(str(error)) from error  # whoever it is, the lock was not reached
            return BleDoorSession(link, stack.pop_all(), most_ms=self._session_most_ms)


class BleDoorSession:
    """One link to one lock. `close` it; a lost link closes itself."""

    def __init__(self, link: DoorLink, held: AsyncExitStack, *, most_ms: int) -> None:
        self._link, self._held = link, held
        self._closing: asyncio.Task[None] | None = None
        self._overdue = asyncio.get_running_loop().call_later(most_ms / 1_000, self._close_soon)
        link.on_lost = self._close_soon

    @property
    def frame_bytes(self) -> int | None:
        """Bytes of a frame in GATT; None in the L2CAP channel."""
        return self._link.frame_bytes

    @property
    def channel_failed(self) -> str:
        """Why it goes by GATT though the channel was asked for."""
        return self._link.channel_failed

    async def send(self, frame: bytes) -> None:
        """Write one frame, or a piece of the channel's stream. Raises LinkLostError."""
        try:
            await self._link.write(frame, wait_ms=SEND_WAIT_MS)
        except ReplyTimeoutError as error:
            # the port knows one error: what an unanswered frame means is the exchange's to say
            await self.close()
            raise LinkLostError(str(error)) from error

    async def receive(self) -> bytes:
        """Return the next frame. Raises LinkLostError; PeerProtocolError for a peer that floods."""
        try:
            return await self._link.read(wait_ms=RECEIVE_WAIT_MS)
        except ReplyTimeoutError as error:
            await self.close()
            raise LinkLostError(str(error)) from error

    async def close(self) -> None:
        """Drop the link and give the slot back; harmless twice, and waits for a close under way."""
        self._close_soon()
        if self._closing is not None:
            await asyncio.shield(self._closing)

    def _close_soon(self) -> None:
        self._overdue.cancel()
        if self._closing is None:
            self._closing = asyncio.get_running_loop().create_task(self._held.aclose())
