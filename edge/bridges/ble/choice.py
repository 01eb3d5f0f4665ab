"""Which Bluetooth the edge uses, by its settings. Imports nothing heavy until it is chosen."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from edge.doors.radio import RadioSettings
from protocols.errors import InvalidInputError, LinkLostError

GATHER_S: Final = 0.02
"""How much later an advert may be heard while nobody is connected: a house of 300 locks sends 300 a second."""

if TYPE_CHECKING:
    from firmware_bridges.ble_radio.backend import BleBackend


@asynccontextmanager
async def chosen_backend(settings: RadioSettings) -> AsyncIterator["BleBackend"]:
    """Give the backend for the length of the block.

    Raises:
        InvalidInputError: the settings contradict themselves.
        LinkLostError: BlueZ cannot serve now, or the emulated controller does not answer; safe to try again.
    """
    from firmware_bridges.ble_radio.backend import PLATFORM  # bleak: 15 MB, so only where Bluetooth is used

    if settings.kind == "bluez":
        if settings.hci is not None:
            raise InvalidInputError("radio.hci", 'is for kind = "emulated"; BlueZ finds its adapter itself')
        if sys.platform != "linux":
            yield PLATFORM
            return
        from edge.bridges.ble.bluez import watched

        async with watched() as watch:
            yield replace(PLATFORM, lost=watch.lost, why_lost=lambda: watch.why)
        return
    if not settings.hci:
        raise InvalidInputError("radio.hci", 'kind = "emulated" needs one, such as "tcp-client:127.0.0.1:9001"')
    from bleak.exc import BleakError

    from firmware_bridges.ble_radio.radio import Radio, use_radio  # bumble: 19 MB more

    try:
        radio = await Radio.open(settings.hci, name="innkeeper-edge", gather_s=GATHER_S)
    except BleakError as error:
        raise LinkLostError(f"radio.hci: {error.args[0]}") from error
    try:
        yield use_radio(radio)
    finally:
        await radio.close()
