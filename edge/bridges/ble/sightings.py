"""Listening without end: adverts of locks as they come, thinned, and scanning begun anew when the adapter falls deaf.

Ends with LinkLostError when the adapter fails; whoever listens begins again under supervision.
"""

import asyncio
from collections.abc import AsyncGenerator, Collection
from contextlib import suppress
from typing import Final, cast

from bleak import BleakScanner
from bleak.backends.device import BLEDevice
from bleak.backends.scanner import AdvertisementData, BaseBleakScanner

from edge.doors.radio import Sighting
from firmware_bridges.ble_radio.backend import TROUBLE, BleBackend
from kit.clock import Clock
from kit.queues import BoundedQueue
from protocols.errors import LinkLostError

REPEAT_MS: Final = 1_000  # an unchanged advert is told again after so long
SILENCE_MS: Final = 60_000  # no lock heard for so long: adapters do fall deaf, scan anew
GATHER_S: Final = 0.05  # adverts come by the hundred a second: a reader wakes for all of so long at once
SIGHTINGS_WAITING_MAX: Final = 1_024  # a reader this far behind loses the next ones; they will be repeated
DEVICES_MAX: Final = 2_048
START_WAIT_S: Final = 10.0
STOP_WAIT_S: Final = 5.0


class Sightings:
    """Adverts with service data under `service_uuid`, and the devices they came from.

    No filter is handed to the adapter: our adverts are full and carry the UUID in their service data alone, where
    neither BlueZ's nor bleak's filter by UUID looks.
    """

    def __init__(
        self,
        backend: BleBackend,
        clock: Clock,
        *,
        service_uuid: str,
        silence_ms: int = SILENCE_MS,
        repeat_ms: int = REPEAT_MS,
        also: Collection[str] = (),
    ) -> None:
        """`also`: addresses (upper case) whose devices are remembered too, though nobody is told of them."""
        self._backend, self._clock = backend, clock
        self._service_uuid = service_uuid.lower()
        self._silence_ms, self._repeat_ms = silence_ms, repeat_ms
        self._devices: dict[str, BLEDevice] = {}
        self._told: dict[str, tuple[bytes, int]] = {}
        self._also = also
        self._near: dict[str, tuple[BLEDevice, int]] = {}
        self._waiting: BoundedQueue[Sighting] = BoundedQueue(SIGHTINGS_WAITING_MAX, "sightings")
        self.restarts = 0
        """How often silence made the scan start anew."""

    @property
    def missed(self) -> int:
        """How many sightings a slow reader lost."""
        return self._waiting.refused

    def device(self, address: str) -> BLEDevice | None:
        """Return what bleak needs to connect to `address` without looking for it first."""
        near = self._near.get(address.upper())
        return self._devices.get(address) if near is None else near[0]

    def heard_ms_ago(self, address: str) -> int | None:
        """How long ago one of `also` was heard; None: never."""
        near = self._near.get(address.upper())
        return None if near is None else self._clock.now_ms() - near[1]

    async def listen(self) -> AsyncGenerator[Sighting, None]:
        """Yield sightings without end. Raises LinkLostError when the adapter fails."""
        while True:
            await _others_over(self._backend)
            scanner = self._backend.scanner(self._on_advertisement)
            starting = asyncio.get_running_loop().create_task(scanner.start())
            try:
                async with asyncio.timeout(START_WAIT_S):
                    await asyncio.shield(starting)
                while (sighting := await self._next()) is not None:
                    yield sighting
            except TROUBLE as error:
                why = self._backend.why_lost() if self._is_lost() else f"{error!r}"
                raise LinkLostError(f"scanning failed: {why}") from error
            finally:
                await _end(self._backend, scanner, starting)
            self.restarts += 1

    async def _next(self) -> Sighting | None:
        """Return the next sighting, or None after silence. Raises LinkLostError when the adapter says it is gone."""
        if not len(self._waiting):
            await asyncio.sleep(GATHER_S)
        if len(self._waiting):
            return await self._waiting.get()
        heard = asyncio.ensure_future(self._waiting.get())
        waits: set[asyncio.Future[object]] = {cast("asyncio.Future[object]", heard)}
        if self._backend.lost is not None:
            waits.add(cast("asyncio.Future[object]", asyncio.ensure_future(self._backend.lost.wait())))
        try:
            await asyncio.wait(waits, timeout=self._silence_ms / 1_000, return_when=asyncio.FIRST_COMPLETED)
            if heard.done():
                return heard.result()
            if self._is_lost():
                raise LinkLostError(f"scanning failed: {self._backend.why_lost()}")
            return None
        finally:
            for each in waits:
                each.cancel()

    def _is_lost(self) -> bool:
        return self._backend.lost is not None and self._backend.lost.is_set()

    def _on_advertisement(self, device: BLEDevice, advert: AdvertisementData) -> None:
        if device.address.upper() in self._also:
            self._near[device.address.upper()] = device, self._clock.now_ms()
        data = advert.service_data.get(self._service_uuid)
        if data is None:
            return
        address, now_ms = device.address, self._clock.now_ms()
        told = self._told.get(address)
        if told is not None and told[0] == data and now_ms - told[1] < self._repeat_ms:
            return
        self._told.pop(address, None)  # so that the oldest stays in front
        self._devices.pop(address, None)
        self._told[address], self._devices[address] = (data, now_ms), device
        if len(self._devices) > DEVICES_MAX:
            oldest = next(iter(self._devices))
            del self._devices[oldest], self._told[oldest]
        self._waiting.offer(Sighting(address, data, advert.rssi))


async def _end(backend: BleBackend, scanner: BleakScanner, starting: asyncio.Task[None]) -> None:
    """Stop a scan, and wait for that as long as an adapter may take that works.

    Neither the start nor the stop is ever cancelled: BlueZ may have been asked and not have answered yet. Whoever left
    it then left a discovery running that nobody could stop any more, and every later one of this process was refused
    (InProgress). What takes longer ends behind our back.
    """
    ending = asyncio.get_running_loop().create_task(_stopped(scanner, starting))
    _endings[ending] = backend.scanner_class
    ending.add_done_callback(lambda done: _endings.pop(done, None))
    done, _ = await asyncio.wait({ending}, timeout=STOP_WAIT_S)
    for each in done:
        each.result()


async def _stopped(scanner: BleakScanner, starting: asyncio.Task[None]) -> None:
    await asyncio.wait({starting})
    if not starting.cancelled():
        starting.exception()  # told by whoever still listened
    with suppress(*TROUBLE):  # the adapter may be what failed
        await scanner.stop()


async def _others_over(backend: BleBackend) -> None:
    """Wait until earlier scans on this adapter are over. Raises LinkLostError: one of them still is not."""
    loop = asyncio.get_running_loop()
    endings = {
        each
        for each, scanner_class in _endings.items()
        if scanner_class is backend.scanner_class and each.get_loop() is loop
    }
    if not endings:
        return
    _, pending = await asyncio.wait(endings, timeout=START_WAIT_S)
    if pending:
        raise LinkLostError(
            "scanning failed: the Bluetooth adapter has not answered yet what was asked of it before"
            " (systemctl status bluetooth)"
        )


_endings: Final[dict[asyncio.Task[None], type[BaseBleakScanner] | None]] = {}
"""Scans that are being ended, by adapter. Of the process: bleak has one connection to BlueZ, whoever listens."""
