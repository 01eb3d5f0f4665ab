"""The edge listens without end: repeats are thinned, changes are not, and a deaf adapter is noticed."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest
from bumble.device import Device

from edge.bridges.ble.sightings import Sightings
from firmware_bridges.ble_radio.air import Air, device_on
from firmware_bridges.ble_radio.hci_port import HciPort
from firmware_bridges.ble_radio.radio import Radio, use_radio
from kit.clock import ManualClock
from kit.dice import SeededDice
from protocols.errors import LinkLostError

SERVICE = "0000fd99-0000-1000-8000-00805f9b34fb"
WAIT_S = 10.0


def payload(data: bytes) -> bytes:
    return bytes([len(data) + 3, 0x16]) + bytes.fromhex("99fd") + data


async def beacon(air: Air, data: bytes, number: int) -> Device:
    device = device_on(air, f"beacon-{number}", address=bytes([number]) * 6)
    await device.power_on()
    device.advertising_interval_min = device.advertising_interval_max = 20
    device.advertising_data = data
    await device.start_advertising()
    return device


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


async def test_locks_are_seen_and_others_are_not(air: Air, radio: Radio, clock: ManualClock) -> None:
    devices = [
        await beacon(air, payload(b"one"), 1),
        await beacon(air, bytes.fromhex("020106"), 2),
        await beacon(air, payload(b"three"), 3),
    ]
    sightings = Sightings(use_radio(radio), clock, service_uuid=SERVICE)
    async with asyncio.timeout(WAIT_S), aclosing(sightings.listen()) as heard:
        seen = [await anext(heard), await anext(heard)]
    assert {(each.address, each.service_data) for each in seen} == {
        (devices[0].random_address.to_string(False), b"one"),
        (devices[2].random_address.to_string(False), b"three"),
    }
    assert all(sightings.device(each.address) is not None for each in seen)
    assert sightings.device(devices[1].random_address.to_string(False)) is None
    for device in devices:
        await device.stop_advertising()


async def test_repeats_are_thinned_and_a_change_is_told_at_once(air: Air, radio: Radio, clock: ManualClock) -> None:
    device = await beacon(air, payload(b"old"), 1)
    sightings = Sightings(use_radio(radio), clock, service_uuid=SERVICE)  # its clock stands still
    async with asyncio.timeout(WAIT_S), aclosing(sightings.listen()) as heard:
        assert (await anext(heard)).service_data == b"old"
        following = asyncio.ensure_future(anext(heard))
        await asyncio.sleep(0.05)  # two more adverts
        assert not following.done()
        await device.start_advertising(advertising_data=payload(b"new"))
        assert (await following).service_data == b"new"
        following = asyncio.ensure_future(anext(heard))
        await asyncio.sleep(0)
        clock.advance(1_000)
        assert (await following).service_data == b"new"
    await device.stop_advertising()


async def test_a_silent_air_makes_the_scan_start_anew(air: Air, radio: Radio, clock: ManualClock) -> None:
    sightings = Sightings(use_radio(radio), clock, service_uuid=SERVICE, silence_ms=10)
    async with asyncio.timeout(WAIT_S), aclosing(sightings.listen()) as heard:
        following = asyncio.ensure_future(anext(heard))
        while sightings.restarts < 2:
            await asyncio.sleep(0.005)
        device = await beacon(air, payload(b"one"), 1)
        assert (await following).service_data == b"one"
        await device.stop_advertising()


async def test_a_dead_adapter_is_an_error_for_whoever_listens(air: Air, clock: ManualClock) -> None:
    port = await HciPort(air, SeededDice("port")).start()
    radio = await Radio.open(port.transport)
    sightings = Sightings(use_radio(radio), clock, service_uuid=SERVICE, silence_ms=20)
    async with asyncio.timeout(WAIT_S), aclosing(sightings.listen()) as heard:
        following = asyncio.ensure_future(anext(heard))
        while sightings.restarts < 1:
            await asyncio.sleep(0.005)
        await port.close()
        with pytest.raises(LinkLostError, match="scanning failed"):
            await following
    await radio.close()
