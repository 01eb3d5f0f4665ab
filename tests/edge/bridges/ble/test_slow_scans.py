"""A BlueZ that answers late, or while nobody waits any more, costs a while and never the radio."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest

from edge.bridges.ble.choice import chosen_backend
from edge.bridges.ble.sightings import Sightings
from edge.doors.radio import RadioSettings
from firmware_bridges.ble_radio.backend import BleBackend
from protocols.door.advert import SERVICE_UUID
from protocols.errors import LinkLostError
from tests.edge.bridges.ble.bluez import Bluez, bluez
from tests.edge.bridges.ble.test_door_radio import WAIT_S
from tests.firmware_bridges.innkeeper_lock.world import until

pytestmark = [pytest.mark.tier("dbus"), pytest.mark.requirement("ACC-12")]
SHORT_S = 0.05


@pytest.fixture
async def it(tmp_path: Path) -> AsyncIterator[Bluez]:
    async with bluez(tmp_path) as made:
        yield made


@pytest.fixture
async def backend(it: Bluez) -> AsyncIterator[BleBackend]:
    async with chosen_backend(RadioSettings(kind="bluez")) as chosen:
        yield chosen


async def hears(it: Bluez, backend: BleBackend) -> None:
    """Hear a lock, with patience for everything but a refusal."""
    sightings = Sightings(backend, it.hotel.clock, service_uuid=SERVICE_UUID)
    async with asyncio.timeout(WAIT_S), aclosing(sightings.listen()) as heard:
        assert (await anext(heard)).service_data
        assert it.daemon.discovering == 1


async def listens(it: Bluez, backend: BleBackend) -> None:
    async with aclosing(Sightings(backend, it.hotel.clock, service_uuid=SERVICE_UUID).listen()) as heard:
        async for _ in heard:
            pass


async def test_a_start_that_is_answered_late_is_a_lost_radio_and_the_next_one_hears(
    it: Bluez, backend: BleBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = it.daemon.held["StartDiscovery"] = asyncio.Event()
    with monkeypatch.context() as hurried:
        for each in ("START_WAIT_S", "STOP_WAIT_S"):
            hurried.setattr(f"edge.bridges.ble.sightings.{each}", SHORT_S)
        with pytest.raises(LinkLostError, match="scanning failed"):
            await listens(it, backend)
        with pytest.raises(LinkLostError, match="has not answered yet what was asked of it before"):
            await listens(it, backend)
    assert it.daemon.calls["StartDiscovery"] == 1, "it was not asked again before it had answered"
    answers.set()
    await hears(it, backend)
    assert it.daemon.discovering == 0


@pytest.mark.parametrize("member", ["StartDiscovery", "StopDiscovery"])
async def test_whoever_is_cancelled_while_bluez_is_asked_leaves_a_radio_that_hears(
    it: Bluez, backend: BleBackend, member: str
) -> None:
    answers = it.daemon.held[member] = asyncio.Event()
    listening = asyncio.ensure_future(listens(it, backend))
    await until(lambda: it.daemon.discovering == 1)
    if member == "StopDiscovery":
        listening.cancel()
    await until(lambda: it.daemon.holding[member] == 1)
    for _ in range(2):  # whoever ends a program is not always patient
        listening.cancel()
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await listening
    hearing = asyncio.ensure_future(hears(it, backend))
    await asyncio.sleep(0)
    answers.set()
    await hearing
    await until(lambda: it.daemon.discovering == 0)


async def test_a_bluetoothd_that_dies_while_it_is_asked_leaves_nothing_to_wait_for(
    it: Bluez, monkeypatch: pytest.MonkeyPatch
) -> None:
    it.daemon.held["StartDiscovery"] = asyncio.Event()
    monkeypatch.setattr("edge.bridges.ble.sightings.STOP_WAIT_S", SHORT_S)
    async with chosen_backend(RadioSettings(kind="bluez")) as backend:
        listening = asyncio.ensure_future(listens(it, backend))
        await until(lambda: it.daemon.holding["StartDiscovery"] == 1)
        await it.daemon.crash()
        with pytest.raises(LinkLostError, match="scanning failed"):
            await listening
    it.daemon.held.clear()
    await it.daemon.start(it.bus.address)
    async with chosen_backend(RadioSettings(kind="bluez")) as backend:
        await hears(it, backend)
