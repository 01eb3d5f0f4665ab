"""Which implementation of bleak a program talks to: the machine's own, or the emulated radio. Imports no bumble."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol

from bleak import BleakClient, BleakScanner
from bleak.backends.client import BaseBleakClient
from bleak.backends.device import BLEDevice
from bleak.backends.scanner import AdvertisementDataCallback, BaseBleakScanner
from bleak.exc import BleakError


class SendsBytes(Protocol):
    """A channel that stands."""

    async def send(self, data: bytes) -> None:
        """Send bytes, as the peer takes them. Raises BleakError when it is closed."""
        ...


@dataclass(frozen=True, slots=True)
class ChannelTerms:
    """What one side of an L2CAP channel announces: bytes of an SDU and of a packet at most, packets at once."""

    mtu: int
    mps: int
    credits: int


@dataclass(slots=True)
class ChannelWish:
    """An L2CAP channel that a client is to open before anything else, where `BleBackend.channels` says that it can.

    `connect` sets `channel` once it stands and has been heard from, and then asks nothing of GATT. If it does not come
    to that within `wait_ms`, `failed` says why and `connect` goes on in GATT, on the same connection.
    """

    psm: int
    terms: ChannelTerms
    wait_ms: int
    on_data: Callable[[bytes], None]
    on_closed: Callable[[], None]
    channel: SendsBytes | None = None
    failed: str = ""


TROUBLE: Final = (BleakError, EOFError, OSError, AssertionError)
"""What bleak lets out when a link, an adapter or what it speaks to fails. EOFError and OSError: the system bus broke;
TimeoutError is an OSError. AssertionError: bleak asserts in `disconnect` and `stop` what a bluetoothd that ended in the
middle does not leave so (seen in tests/edge/bridges/ble/test_bluez.py). Catch it around calls of bleak, and no more."""


def _gone() -> str:
    return "the Bluetooth adapter is gone"


@dataclass(frozen=True, slots=True)
class BleBackend:
    """A choice of bleak backend; None in both fields is the machine's own (BlueZ on Linux)."""

    client_class: type[BaseBleakClient] | None = None
    scanner_class: type[BaseBleakScanner] | None = None
    lost: asyncio.Event | None = None
    """Set when the adapter serves no more, where somebody can tell; bleak itself has no word for it."""
    why_lost: Callable[[], str] = _gone
    """What to say of it then."""
    channels: bool = False
    """Whether `client` takes a `channel=ChannelWish(...)`; bleak has no L2CAP channels."""

    def client(
        self,
        device: BLEDevice | str,
        *,
        services: list[str] | None = None,
        on_disconnected: Callable[[BleakClient], None] | None = None,
        timeout_s: float = 10.0,
        **options: Any,
    ) -> BleakClient:
        """Make a `BleakClient` for `device` (what a scan found, or an address). Connects nothing yet."""
        return BleakClient(device, on_disconnected, services, timeout=timeout_s, backend=self.client_class, **options)

    def scanner(
        self, on_advertisement: AdvertisementDataCallback | None = None, *, service_uuids: list[str] | None = None
    ) -> BleakScanner:
        """Make a `BleakScanner`; `service_uuids` limits it to adverts that carry one of them. Starts nothing yet."""
        return BleakScanner(on_advertisement, service_uuids, backend=self.scanner_class)


PLATFORM = BleBackend()
