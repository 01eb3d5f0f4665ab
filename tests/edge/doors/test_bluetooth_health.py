"""The doors process says by name what is wrong with Bluetooth, goes on without it, and notices when it is back."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from edge.app.doors import bluetooth
from edge.doors.client import DoorsClient
from edge.doors.main import run
from edge.doors.settings import DoorsSettings
from firmware_bridges.ble_radio.air import Air, device_on
from firmware_bridges.ble_radio.bluez.bus import private_bus
from firmware_bridges.ble_radio.bluez.daemon import Bluetoothd
from firmware_bridges.ble_radio.bluez.manners import tame
from firmware_bridges.ble_radio.radio import Radio
from kit.dice import SeededDice
from kit.settings import load
from kit.supervision import Backoff
from tests.edge.doors.building import Building
from tests.edge.doors.test_process import ROOM, STAY, UNTIL_MS, write_files

pytestmark = pytest.mark.tier("dbus")
WAIT_S = 20.0


@asynccontextmanager
async def doors_on_bluez(folder: Path) -> AsyncIterator[tuple[DoorsClient, Bluetoothd, str, Building]]:
    """The process as it is composed for production, on a bus without a bluetoothd as yet."""
    async with AsyncExitStack() as stack:
        building = Building(folder / "locks")
        building.store.close()
        write_files(folder, building)
        radio = await stack.enter_async_context(Radio(device_on(Air(dice=SeededDice(1)), "hci0", address=b"\x01" * 6)))
        await radio.power_on()
        daemon = Bluetoothd(radio, SeededDice(2), manners=tame())
        stack.push_async_callback(daemon.crash)
        bus = await stack.enter_async_context(private_bus())
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setenv("DBUS_SYSTEM_BUS_ADDRESS", bus.address)
        patch.setattr("edge.doors.main.RADIO_BACKOFF", Backoff(first_ms=100, most_ms=200))
        settings = load(DoorsSettings, folder / "doors.toml", "DOORS", {})
        opens = bluetooth(settings, building.clock)
        process = asyncio.create_task(run(settings, clock=building.clock, dice=building.dice, radio=opens))
        client = DoorsClient(settings.socket_path)
        try:
            async with asyncio.timeout(WAIT_S):
                while not settings.socket_path.exists():
                    await asyncio.sleep(0.005)
            yield client, daemon, bus.address, building
        finally:
            await client.close()
            process.cancel()
            await asyncio.gather(process, return_exceptions=True)


async def radio_says(client: DoorsClient, *, ok: bool, detail: str) -> None:
    said: dict[str, Any] | None = None
    try:
        async with asyncio.timeout(WAIT_S):
            while True:
                said = (await client.status())["health"]["parts"].get("radio")
                if said is not None and said["ok"] is ok and detail in said["detail"]:
                    return
                await asyncio.sleep(0.01)
    except TimeoutError:
        pytest.fail(f"never said {detail!r}; at last: {said}")


@pytest.mark.requirement("ACC-12")
@pytest.mark.guarantee("G4")
async def test_health_names_what_bluetooth_lacks_and_keys_are_made_meanwhile(tmp_path: Path) -> None:
    async with doors_on_bluez(tmp_path) as (client, daemon, bus, building):
        await radio_says(client, ok=False, detail="bluetoothd is not on the system bus")
        assert (await client.status())["ready"] is True
        anna = building.phone("anna")
        assert await client.issue(STAY, ROOM, anna.public, not_before_ms=0, not_after_ms=UNTIL_MS)
        await daemon.start(bus, adapter=False)
        await radio_says(client, ok=False, detail="there is no Bluetooth adapter")
        daemon.plug(powered=False)
        await radio_says(client, ok=False, detail="hci0 is switched off")
        await daemon.power(True)
        await radio_says(client, ok=True, detail="")
        await daemon.power(False)
        await radio_says(client, ok=False, detail="hci0 is switched off")
        await daemon.power(True)
        await radio_says(client, ok=True, detail="")
        async with asyncio.timeout(WAIT_S):
            while not daemon.discovering:
                await asyncio.sleep(0.01)
        await daemon.crash()
        await radio_says(client, ok=False, detail="bluetoothd")
        await daemon.start(bus)
        await radio_says(client, ok=True, detail="")
        async with asyncio.timeout(WAIT_S):
            while not daemon.discovering:
                await asyncio.sleep(0.01)
