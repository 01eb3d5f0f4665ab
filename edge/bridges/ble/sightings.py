"""Listening without end: the last advert of every lock in reach, and waiting for one that is not there yet.

`run` belongs under supervision: it raises when the adapter fails, so that it is counted, logged and begun again; and
it begins a scan anew by itself when the air has been silent for suspiciously long, because adapters do fall deaf.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from bleak import BleakScanner
from bleak.backends.device import BLEDevice
from bleak.backends.scanner import AdvertisementData
from bleak.exc import BleakError

from firmware_bridges.ble_radio.backend import BleBackend
from kit.clock import Clock
from protocols.errors import LinkLostError

FRESH_MS: Final = 15_000  # a sleeping lock adverts each second; an older sighting may have changed its address
SILENCE_MS: Final = 60_000  # no advert of any lock for so long: scan anew
SIGHTINGS_MAX: Final = 2_048
WAITERS_MAX: Final = 256
STOP_WAIT_S: Final = 5.0

Match = Callable[[bytes], bool]


@dataclass(frozen=True, slots=True)
class Sighting:
    """One advert."""

    device: BLEDevice
    data: bytes
    """The service data."""
    rssi_dbm: int
    at_ms: int
    """Monotonic."""


class Sightings:
    """Adverts with service data under `service_uuid`."""

    def __init__(self, backend: BleBackend, clock: Clock, *, service_uuid: str, silence_ms: int = SILENCE_MS) -> None:
        self._backend, self._clock = backend, clock
        self._service_uuid, self._silence_ms = service_uuid.lower(), silence_ms
        self._latest: dict[str, Sighting] = {}
        self._waiting: dict[asyncio.Future[Sighting], Match] = {}
        self._heard = asyncio.Event()
        self.restarts = 0
        """How often silence made the scan start anew."""

    async def run(self) -> None:
        """Listen until cancelled. Raises LinkLostError when the adapter fails."""
        while True:
            scanner = self._backend.scanner(self._on_advertisement, service_uuids=[self._service_uuid])
            try:
                await scanner.start()
                await self._until_silence()
            except BleakError as error:
                raise LinkLostError(f"scanning failed: {error}") from error
            finally:
                await _stop(scanner)
            self.restarts += 1

    async def _until_silence(self) -> None:
        with suppress(TimeoutError):
            while True:
                self._heard.clear()
                async with asyncio.timeout(self._silence_ms / 1000):
                    await self._heard.wait()

    def latest(self) -> list[Sighting]:
        """Return what was heard within `FRESH_MS`, newest last."""
        now_ms = self._clock.now_ms()
        return [each for each in self._latest.values() if now_ms - each.at_ms <= FRESH_MS]

    async def find(self, match: Match, *, wait_ms: int) -> Sighting:
        """Return the newest fresh sighting whose service data `match` accepts, waiting for one if need be.

        Raises:
            LinkLostError: none came within `wait_ms`, or too many wait already.
        """
        for each in reversed(self.latest()):
            if match(each.data):
                return each
        if len(self._waiting) >= WAITERS_MAX:
            raise LinkLostError(f"{WAITERS_MAX} searches for locks are under way already")
        found: asyncio.Future[Sighting] = asyncio.get_running_loop().create_future()
        self._waiting[found] = match
        try:
            async with asyncio.timeout(wait_ms / 1000):
                return await found
        except TimeoutError as error:
            raise LinkLostError(f"the lock was not heard within {wait_ms} ms") from error
        finally:
            del self._waiting[found]

    def _on_advertisement(self, device: BLEDevice, advert: AdvertisementData) -> None:
        data = advert.service_data.get(self._service_uuid)
        if data is None:
            return
        self._heard.set()
        sighting = Sighting(device, data, advert.rssi, self._clock.now_ms())
        self._latest.pop(device.address, None)  # so that the newest is last
        self._latest[device.address] = sighting
        if len(self._latest) > SIGHTINGS_MAX:
            del self._latest[next(iter(self._latest))]
        for found, match in self._waiting.items():
            if not found.done() and match(data):
                found.set_result(sighting)


async def _stop(scanner: BleakScanner) -> None:
    with suppress(BleakError, TimeoutError):  # the adapter may be what failed
        async with asyncio.timeout(STOP_WAIT_S):
            await scanner.stop()
