"""bleak's scanner on a bumble radio."""

from collections.abc import Awaitable, Callable
from typing import Any, ClassVar

from bleak.backends.scanner import AdvertisementData, AdvertisementDataCallback, BaseBleakScanner

from firmware_bridges.ble_radio.advertisement import remembered
from firmware_bridges.ble_radio.radio import Heard, Radio


class BumbleScanner(BaseBleakScanner):
    """Make it through `use_radio`, which binds the class to its radio."""

    radio: ClassVar[Radio]

    def __init__(
        self,
        detection_callback: AdvertisementDataCallback | None,
        service_uuids: list[str] | None,
        scanning_mode: str = "active",
        **_: Any,
    ) -> None:
        super().__init__(detection_callback, service_uuids)
        self.scanning_mode = scanning_mode
        self._stop: Callable[[], Awaitable[None]] | None = None

    async def start(self) -> None:
        """Listen. Raises BleakError when already started or when the controller refuses."""
        self.seen_devices = {}
        if self._stop is None:
            self._stop = await self.radio.listen(self._on_advertisement)

    async def stop(self) -> None:
        """Stop listening; harmless when not started."""
        stop, self._stop = self._stop, None
        if stop is not None:
            await stop()

    def _on_advertisement(self, heard: Heard) -> None:
        seen = remembered(heard.data_bytes)
        if not self.is_allowed_uuid(seen.service_uuids):
            return
        data = AdvertisementData(
            local_name=seen.local_name,
            manufacturer_data=seen.manufacturer_data,
            service_data=seen.service_data,
            service_uuids=seen.service_uuids,
            tx_power=seen.tx_power_dbm,
            rssi=heard.rssi,
            platform_data=(heard,),
        )
        device = self.create_or_update_device(heard.address, heard.address, seen.local_name, heard, data)
        self.call_detection_callbacks(device, data)
