"""The edge listens without end: it finds who adverts, waits for who does not yet, and survives a deaf adapter."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import pytest
from bumble.device import Device

from edge.bridges.ble.sightings import FRESH_MS, Sightings
from firmware_bridges.ble_radio.air import Air, device_on
from firmware_bridges.ble_radio.hci_port import HciPort
from firmware_bridges.ble_radio.radio import Radio, use_radio
from kit.clock import ManualClock
from kit.dice import SeededDice
from protocols.errors import LinkLostError

SERVICE = "0000fd99-0000-1000-8000-00805f9b34fb"
WAIT_S = 10.0


async def beacon(air: Air, data: bytes, number: int) -> Device:
    device = device_on(air, f"beacon-{number}", address=bytes([number]) * 6)
    await device.power_on()
    device.advertising_interval_min = device.advertising_interval_max = 20
    device.advertising_data = bytes.fromhex("030399fd") + bytes([len(data) + 3, 0x16]) + bytes.fromhex("99fd") + data
    await device.start_advertising()
    return device


@asynccontextmanager
async def listening(sightings: Sightings) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(sightings.run())
    try:
        yield task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError, LinkLostError):
            await task


@pytest.fixture
def air() -> Air:
    return Air(dice=SeededDice("sightings"))


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def radio(air: Air) -> AsyncIterator[Radio]:
    async with Radio(device_on(air, "edge", address=b"\xee" * 6)) as radio:
        await radio.power_on()
        yield radio


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not condition():
            await asyncio.sleep(0.002)


async def test_a_lock_in_reach_is_found_and_a_late_one_is_waited_for(
    air: Air, radio: Radio, clock: ManualClock
) -> None:
    first = await beacon(air, b"one", 1)
    sightings = Sightings(use_radio(radio), clock, service_uuid=SERVICE)
    async with listening(sightings):
        seen = await sightings.find(lambda data: data == b"one", wait_ms=5_000)
        assert seen.device.address == first.random_address.to_string(False)
        waiting = asyncio.ensure_future(sightings.find(lambda data: data == b"two", wait_ms=5_000))
        await asyncio.sleep(0)
        second = await beacon(air, b"two", 2)
        assert (await waiting).data == b"two"
        await first.stop_advertising()
        await second.stop_advertising()


async def test_an_old_sighting_is_not_believed(air: Air, radio: Radio, clock: ManualClock) -> None:
    device = await beacon(air, b"one", 1)
    sightings = Sightings(use_radio(radio), clock, service_uuid=SERVICE)
    async with listening(sightings):
        await sightings.find(lambda data: data == b"one", wait_ms=5_000)
        await device.stop_advertising()
        await asyncio.sleep(0.03)
        clock.advance(FRESH_MS + 1)
        assert sightings.latest() == []
        with pytest.raises(LinkLostError, match="not heard"):
            await sightings.find(lambda data: data == b"one", wait_ms=10)


async def test_a_silent_air_makes_the_scan_start_anew(air: Air, radio: Radio, clock: ManualClock) -> None:
    sightings = Sightings(use_radio(radio), clock, service_uuid=SERVICE, silence_ms=10)
    async with listening(sightings):
        await until(lambda: sightings.restarts >= 2)
        device = await beacon(air, b"one", 1)
        assert (await sightings.find(lambda data: data == b"one", wait_ms=5_000)).data == b"one"
        await device.stop_advertising()


async def test_a_dead_adapter_is_an_error_for_supervision(air: Air, clock: ManualClock) -> None:
    port = await HciPort(air, SeededDice("port")).start()
    radio = await Radio.open(port.transport)
    sightings = Sightings(use_radio(radio), clock, service_uuid=SERVICE, silence_ms=20)
    async with listening(sightings) as task:
        await until(lambda: sightings.restarts >= 1)
        await port.close()
        with pytest.raises(LinkLostError, match="scanning failed"):
            await asyncio.wait_for(task, WAIT_S)
    await radio.close()
