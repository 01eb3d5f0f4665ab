"""The port to the air: adverts heard, and one link to one lock. edge/bridges/ble implements it on bleak.

The radio decides nothing: it moves frames whole, one ATT write or one notification each, or a stream's bytes in the
lock's L2CAP channel; what they mean is protocols/door's business.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Literal, Protocol

import msgspec


class RadioSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[radio]` of doors.toml: which Bluetooth there is. edge/bridges/ble makes it."""

    kind: Literal["bluez", "emulated"] = "bluez"
    hci: str | None = None
    """Emulated only: where the controller is, such as `tcp-client:127.0.0.1:9001`."""
    channels: bool = True
    """Whether locks are asked for their L2CAP channel (protocols/door/SPEC.md 1.1) where this Bluetooth can open one:
    the emulated one can, BlueZ through bleak cannot."""
    connections_max: int = 3
    """At once. A common adapter holds 5 to 7; phones' scans and the air want some."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """One advert with service data under protocols.door.advert.SERVICE_UUID."""

    address: str
    """What `open_session` takes; may rotate, so it is used soon or not at all."""
    service_data: bytes
    rssi_dbm: int | None = None


class DoorSession(Protocol):
    """One link to one lock: notifications already enabled, or its L2CAP channel open."""

    @property
    def frame_bytes(self) -> int | None:
        """What an exchange on this link is made with: bytes of a frame in GATT, None in the channel."""
        ...

    @property
    def channel_failed(self) -> str:
        """Why it goes by GATT though the channel was asked for; empty where it was not, or stands."""
        ...

    async def send(self, frame: bytes) -> None:
        """Write one frame. Raises LinkLostError."""
        ...

    async def receive(self) -> bytes:
        """Return the next notified frame, waiting for it. Raises LinkLostError when the link is gone."""
        ...

    async def close(self) -> None:
        """Drop the link; harmless to call twice. Never raises for a link already lost."""
        ...


class DoorRadio(Protocol):
    """The edge's Bluetooth."""

    def sightings(self) -> AsyncIterator[Sighting]:
        """Listen without end; an implementation may thin repeats of one unchanged advert to one a second.

        Raises LinkLostError when the adapter fails: the caller begins again.
        """
        ...

    async def open_session(self, address: str, *, channel: int = 0) -> DoorSession:
        """Connect; open the L2CAP channel, or find the service and enable notifications.

        Args:
            address: A sighting's.
            channel: The advert's offset of the L2CAP port; 0: do not ask for it. What comes of it, `frame_bytes` says.

        Raises:
            LinkLostError: not reached, or not one of our locks.
        """
        ...
