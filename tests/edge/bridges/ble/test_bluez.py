"""The doors' radio on bleak's back end for Linux, in front of a BlueZ that has bad days and says so."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from pathlib import Path

import pytest

from edge.bridges.ble.choice import chosen_backend
from edge.bridges.ble.door_radio import BleDoorRadio
from edge.doors.radio import DoorSession, RadioSettings, Sighting
from firmware_bridges.ble_radio.bluez.manners import Manners
from kit.dice import SeededDice
from protocols.door.phone import AskStatus
from protocols.door.status import Status
from protocols.errors import LinkLostError, ReplyTimeoutError
from tests.edge.bridges.ble.bluez import Bluez, bluez
from tests.edge.bridges.ble.test_door_radio import WAIT_S, address_of, ask
from tests.firmware_bridges.innkeeper_lock.world import until
from tests.seeds import seeds

pytestmark = [pytest.mark.tier("dbus"), pytest.mark.requirement("ACC-12")]
BLUEZ = RadioSettings(kind="bluez")


async def visit(it: Bluez, radio: BleDoorRadio, door: str = "door-101") -> Status:
    session = await radio.open_session(await address_of(radio, it.hotel, door))
    try:
        [result] = await ask(it.hotel, session, door, AskStatus())
    finally:
        await session.close()
    return result.status


async def visit_at_last(it: Bluez, radio: BleDoorRadio, door: str) -> Status:
    """As the doors do: what is lost is tried again. Anything but these two errors ends the test."""
    for _ in range(11):
        with suppress(LinkLostError, ReplyTimeoutError):
            return await visit(it, radio, door)
    return await visit(it, radio, door)


async def listen(sightings: AsyncGenerator[Sighting, None]) -> None:
    async for _ in sightings:
        pass


async def hear(session: DoorSession) -> None:
    while True:
        await session.receive()


async def test_a_visit_through_bluez_with_the_mtu_that_was_agreed(tmp_path: Path) -> None:
    async with bluez(tmp_path) as it, chosen_backend(BLUEZ) as backend:
        radio = BleDoorRadio(backend, it.hotel.clock)
        session = await radio.open_session(await address_of(radio, it.hotel, "door-101"))
        [result] = await ask(it.hotel, session, "door-101", AskStatus())
        await session.close()
        assert result.status is Status.DONE
        assert max(it.daemon.written) > 20
        assert radio.slots.held == frozenset()
        assert it.daemon.discovering == 0  # whoever stopped listening left nothing behind


async def test_an_mtu_that_is_known_late_costs_small_frames_and_no_visit(tmp_path: Path) -> None:
    late = Manners(slow=0, abort=0, busy=0, vanish=0, resolve_ms=0, mtu_late_ms=10_000)
    async with bluez(tmp_path, manners=late) as it, chosen_backend(BLUEZ) as backend:
        radio = BleDoorRadio(backend, it.hotel.clock)
        assert await visit(it, radio) is Status.DONE
        assert max(it.daemon.written) == 20


@pytest.mark.parametrize("seed", seeds(2, 20))
async def test_a_bad_day_of_bluez_costs_attempts_and_never_more(tmp_path: Path, seed: int) -> None:
    rough = Manners(slow_ms=60, mtu_late_ms=5, resolve_ms=5)
    async with bluez(tmp_path, manners=rough, seed=seed) as it, chosen_backend(BLUEZ) as backend:
        radio = BleDoorRadio(backend, it.hotel.clock, connect_wait_ms=2_000)
        for door in ("door-101", "door-102", "door-101", "door-102"):
            assert await visit_at_last(it, radio, door) is Status.DONE
        await until(lambda: not radio.slots.held)
        assert it.hotel.truth("door-101")["links"] == 0
        assert it.hotel.truth("door-102")["links"] == 0


async def test_a_device_that_bluez_forgot_is_a_lost_link_and_is_found_again(tmp_path: Path) -> None:
    async with bluez(tmp_path) as it, chosen_backend(BLUEZ) as backend:
        radio = BleDoorRadio(backend, it.hotel.clock)
        address = await address_of(radio, it.hotel, "door-101")
        await it.daemon.forget(address)
        with pytest.raises(LinkLostError, match="not found"):
            await radio.open_session(address)
        assert radio.slots.held == frozenset()
        assert await visit(it, radio) is Status.DONE


async def test_a_device_that_is_forgotten_while_linked_ends_its_session(tmp_path: Path) -> None:
    async with bluez(tmp_path) as it, chosen_backend(BLUEZ) as backend:
        radio = BleDoorRadio(backend, it.hotel.clock)
        address = await address_of(radio, it.hotel, "door-101")
        session = await radio.open_session(address)
        await it.daemon.forget(address)
        await until(lambda: not radio.slots.held)
        with pytest.raises(LinkLostError):
            await session.send(b"\xc0x")
        await session.close()


async def switched_off(it: Bluez) -> None:
    await it.daemon.power(False)


async def unplugged(it: Bluez) -> None:
    await it.daemon.unplug()


async def crashed(it: Bluez) -> None:
    await it.daemon.crash()


async def restarted(it: Bluez) -> None:
    await it.daemon.crash()
    await it.daemon.start(it.bus.address)


async def bus_ended(it: Bluez) -> None:
    await it.bus.end()


TROUBLES = [
    (switched_off, "hci0 is switched off"),
    (unplugged, "hci0 was taken away"),
    (crashed, "bluetoothd has ended"),
    (restarted, "bluetoothd has ended, or was started again"),
    (bus_ended, "system bus is gone|bluetoothd has ended"),  # whichever is heard first
]


@pytest.mark.guarantee("G4")
@pytest.mark.parametrize(("trouble", "said"), TROUBLES, ids=[each.__name__ for each, _ in TROUBLES])
async def test_whoever_listens_is_told_by_name_and_at_once_what_went(
    tmp_path: Path, trouble: object, said: str
) -> None:
    async with bluez(tmp_path) as it, chosen_backend(BLUEZ) as backend:
        radio = BleDoorRadio(backend, it.hotel.clock)
        session = await radio.open_session(await address_of(radio, it.hotel, "door-101"))
        async with asyncio.timeout(WAIT_S), aclosing(radio.sightings()) as sightings:
            await anext(sightings)
            assert callable(trouble)
            await trouble(it)
            with pytest.raises(LinkLostError, match=said):
                await listen(sightings)
        with pytest.raises(LinkLostError):  # the link under way ends too, each wait having its bound
            await hear(session)
        await session.close()
        assert radio.slots.held == frozenset()


GONE = [
    (switched_off, "hci0 is switched off"),
    (unplugged, "there is no Bluetooth adapter"),
    (crashed, "bluetoothd is not on the system bus"),
    (bus_ended, "no system bus"),
]


@pytest.mark.parametrize(("trouble", "said"), GONE, ids=[each.__name__ for each, _ in GONE])
async def test_a_radio_that_cannot_serve_says_by_name_what_is_missing(
    tmp_path: Path, trouble: object, said: str
) -> None:
    async with bluez(tmp_path) as it:
        assert callable(trouble)
        await trouble(it)
        with pytest.raises(LinkLostError, match=said):
            async with chosen_backend(BLUEZ):
                pass


@pytest.mark.parametrize("seconds_of", ["power", "daemon"])
async def test_when_it_is_back_the_doors_are_visited_again(tmp_path: Path, seconds_of: str) -> None:
    async with bluez(tmp_path) as it:
        async with chosen_backend(BLUEZ) as backend:
            radio = BleDoorRadio(backend, it.hotel.clock)
            assert await visit(it, radio) is Status.DONE
            session = await radio.open_session(await address_of(radio, it.hotel, "door-101"))  # breaks with the rest
            if seconds_of == "power":
                await it.daemon.power(False)
                await it.daemon.power(True)
            else:
                await restarted(it)
            await session.close()
        async with chosen_backend(BLUEZ) as backend:
            radio = BleDoorRadio(backend, it.hotel.clock)
            assert await visit(it, radio) is Status.DONE
            assert await visit(it, radio, "door-102") is Status.DONE


async def test_a_bluetoothd_that_does_not_answer_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge.bridges.ble.bluez.ANSWER_WAIT_S", 0.05)
    async with bluez(tmp_path) as it:
        it.daemon.deaf = True
        with pytest.raises(LinkLostError, match=r"org\.bluez does not answer"):
            async with chosen_backend(BLUEZ):
                pass


async def chaos(it: Bluez, dice: SeededDice) -> None:
    """What a radio goes through in a year, in a few seconds."""
    for _ in range(12):
        await asyncio.sleep(dice.uniform(0, 0.25))
        match dice.integer(0, 4):
            case 0:
                await it.daemon.power(False)
                await asyncio.sleep(dice.uniform(0, 0.05))
                await it.daemon.power(True)
            case 1:
                await it.daemon.crash()
                await asyncio.sleep(dice.uniform(0, 0.05))
                await it.daemon.start(it.bus.address)
            case 2:
                await it.daemon.unplug()
                await asyncio.sleep(dice.uniform(0, 0.05))
                it.daemon.plug()
            case _:
                for lock in it.hotel.emulator.locks.values():
                    await it.daemon.forget(lock.peripheral.device.random_address.to_string(False))


async def visits(it: Bluez, stop: asyncio.Event) -> int:
    """Visit doors as supervision does: lost is begun again, and nothing else may come out of the radio."""
    done = 0
    while not stop.is_set():
        with suppress(LinkLostError, ReplyTimeoutError):
            async with chosen_backend(BLUEZ) as backend:
                radio = BleDoorRadio(backend, it.hotel.clock, connect_wait_ms=1_000)
                while not stop.is_set():
                    await visit(it, radio, "door-101")
                    done += 1
        await asyncio.sleep(0.01)
    return done


@pytest.mark.guarantee("G4")
@pytest.mark.parametrize("seed", seeds(1, 10))
async def test_nothing_but_lost_links_comes_of_a_radio_in_turmoil(tmp_path: Path, seed: int) -> None:
    rough = Manners(slow_ms=60, mtu_late_ms=5, resolve_ms=5)
    async with bluez(tmp_path, manners=rough, seed=seed) as it:
        stop = asyncio.Event()
        visiting = asyncio.ensure_future(visits(it, stop))
        await chaos(it, SeededDice(f"chaos {seed}"))
        stop.set()
        async with asyncio.timeout(60):
            await visiting
        async with chosen_backend(BLUEZ) as backend:
            radio = BleDoorRadio(backend, it.hotel.clock)
            assert await visit_at_last(it, radio, "door-102") is Status.DONE
            await until(lambda: not radio.slots.held)
