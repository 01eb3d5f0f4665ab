"""A hotel whose edge reaches its locks through BlueZ: bus, bluetoothd and adapter emulated, bleak's back end real."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from firmware_bridges.ble_radio.air import device_on
from firmware_bridges.ble_radio.bluez.bus import PrivateBus, private_bus
from firmware_bridges.ble_radio.bluez.daemon import Bluetoothd
from firmware_bridges.ble_radio.bluez.manners import Manners, tame
from firmware_bridges.ble_radio.radio import Radio
from kit.dice import SeededDice
from tests.firmware_bridges.innkeeper_lock.world import World, world


@dataclass
class Bluez:
    hotel: World
    bus: PrivateBus
    daemon: Bluetoothd


@asynccontextmanager
async def bluez(folder: Path, *, manners: Manners | None = None, seed: object = "bluez") -> AsyncIterator[Bluez]:
    """A hotel, and BlueZ as the system bus of this process shows it."""
    async with AsyncExitStack() as stack:
        hotel = await stack.enter_async_context(world(folder))
        radio = await stack.enter_async_context(Radio(device_on(hotel.emulator.air, "hci0", address=b"\xd0" * 6)))
        await radio.power_on()
        daemon = Bluetoothd(radio, SeededDice(f"{seed}"), manners=manners or tame())
        stack.push_async_callback(daemon.crash)
        bus = await stack.enter_async_context(private_bus())
        await daemon.start(bus.address)
        stack.enter_context(pytest.MonkeyPatch.context()).setenv("DBUS_SYSTEM_BUS_ADDRESS", bus.address)
        yield Bluez(hotel, bus, daemon)
