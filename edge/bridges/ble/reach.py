"""The radio that is open now, for locks of other makers: one adapter and one scan serve all (BlueZ allows no second).

Fits `edge.doors.vendors.reach.Reach`. Imports no bleak.
"""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

from protocols.errors import LinkLostError

if TYPE_CHECKING:
    from bleak import BleakClient

    from edge.bridges.ble.door_radio import BleDoorRadio


class HouseReach:
    """Stands while radios come and go."""

    def __init__(self) -> None:
        self.wanted: set[str] = set()
        """Whose whereabouts are remembered; the radio looks into it with each advert."""
        self._radio: BleDoorRadio | None = None

    @contextmanager
    def using(self, radio: "BleDoorRadio") -> Iterator[None]:
        """Reach by this radio for the length of the block."""
        self._radio = radio
        try:
            yield
        finally:
            self._radio = None

    def want(self, address: str) -> None:
        """Remember where this device is whenever it is heard."""
        self.wanted.add(address.upper())

    def heard_ms_ago(self, address: str) -> int | None:
        """How long ago an advert of it was heard; None: never, or there is no radio now."""
        return None if self._radio is None else self._radio.heard_ms_ago(address)

    @asynccontextmanager
    async def client(self, address: str, on_lost: Callable[[], None]) -> "AsyncIterator[BleakClient]":
        """Connect for the length of the block. Raises LinkLostError: no radio now, never heard, or not reached."""
        if self._radio is None:
            raise LinkLostError(f"{address}: there is no Bluetooth radio now")
        async with self._radio.client(address, on_lost) as client:
            yield client
