"""The DoorRadio port over an emulated lock: sessions carry an exchange, end in time, and never keep their slot."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from edge.bridges.ble.choice import chosen_backend
from edge.bridges.ble.door_radio import BleDoorRadio
from edge.doors.radio import DoorSession, RadioSettings
from firmware_bridges.ble_radio.hci_port import HciPort
from kit.dice import SeededDice
from protocols.door.advert import Advert
from protocols.door.messages import Result
from protocols.door.phone import AskStatus, PhoneExchange, Request
from protocols.door.status import Status
from protocols.errors import InvalidInputError, LinkLostError
from protocols.grant.revocation import Bump
from tests.firmware_bridges.innkeeper_lock.world import START_S, World, until, world

WAIT_S = 10.0


async def address_of(radio: BleDoorRadio, hotel: World, door: str) -> str:
    return (await heard(radio, hotel, door))[0]


async def heard(radio: BleDoorRadio, hotel: World, door: str) -> tuple[str, int]:
    lock = hotel.property.locks[door]
    ids = lock.door_keys(START_S, START_S).ids_around(START_S)
    async with asyncio.timeout(WAIT_S), aclosing(radio.sightings()) as sightings:
        async for sighting in sightings:
            if (advert := Advert.decode(sighting.service_data)).eid in ids:
                return sighting.address, advert.channel
    raise AssertionError("sightings end only by an error")


async def ask(hotel: World, session: DoorSession, door: str, *requests: Request) -> list[Result]:
    """What edge/doors does on a visit, with no deadlines of its own."""
    keys = hotel.property.locks[door].door_keys(START_S, START_S)
    exchange = PhoneExchange(
        keys,
        requests[0],
        random=SeededDice("edge").bytes,
        frame_bytes=session.frame_bytes,
        now_ms=hotel.clock.now_ms(),
    )
    results: list[Result] = []
    while len(results) < len(requests):
        for frame in exchange.data_to_send():
            await session.send(frame)
        answer = exchange.receive_data(await session.receive(), now_ms=hotel.clock.now_ms())
        if answer is not None:
            results.append(answer.result)
            if len(results) < len(requests):
                exchange.ask(requests[len(results)], now_ms=hotel.clock.now_ms())
    return results


@asynccontextmanager
async def an_edge(folder: Path, **changes: Any) -> AsyncIterator[tuple[World, BleDoorRadio]]:
    async with world(folder) as hotel:
        yield hotel, BleDoorRadio(await hotel.backend(), hotel.clock, **changes)


async def test_a_visit_bumps_the_door_and_the_old_phone_is_refused(tmp_path: Path) -> None:
    async with an_edge(tmp_path) as (hotel, radio):
        phone = await hotel.guest("door-101")
        assert (await phone.open("door-101")).cause is None
        session = await radio.open_session(await address_of(radio, hotel, "door-101"))
        bump = hotel.property.carry(Bump(101, hotel.property.generation(2)))
        results = await ask(hotel, session, "door-101", AskStatus(), bump, AskStatus())
        await session.close()
        assert [each.status for each in results] == [Status.DONE, Status.DONE, Status.DONE]
        assert results[-1].generation == hotel.property.generation(2)
        assert radio.slots.held == frozenset()
        assert (await phone.open("door-101")).cause == "superseded"


@pytest.mark.requirement("P9")
async def test_a_visit_goes_by_the_locks_channel_where_that_is_wanted_and_else_by_gatt(tmp_path: Path) -> None:
    bump_me = "door-101"
    async with world(tmp_path, knobs={"channel": "works"}) as hotel:
        for channels in (True, False):
            radio = BleDoorRadio(await hotel.backend(), hotel.clock, channels=channels)
            address, channel = await heard(radio, hotel, bump_me)
            session = await radio.open_session(address, channel=channel)
            assert (session.frame_bytes is None) == channels
            bump = hotel.property.carry(Bump(101, hotel.property.generation(2)))
            results = await ask(hotel, session, bump_me, AskStatus(), bump, AskStatus())
            assert [each.generation for each in results][-1] == hotel.property.generation(2)
            await session.close()
            assert radio.slots.held == frozenset()


async def test_a_channel_that_breaks_gives_its_slot_back_though_nobody_closes_the_session(tmp_path: Path) -> None:
    async with world(tmp_path, knobs={"channel": "drops"}) as hotel:
        radio = BleDoorRadio(await hotel.backend(), hotel.clock)
        address, channel = await heard(radio, hotel, "door-101")
        session = await radio.open_session(address, channel=channel)
        with pytest.raises(LinkLostError):
            await ask(hotel, session, "door-101", AskStatus())
        await until(lambda: not radio.slots.held)


async def test_an_address_never_heard_is_not_connected_to(tmp_path: Path) -> None:
    async with an_edge(tmp_path) as (_, radio):
        with pytest.raises(LinkLostError, match="never heard"):
            await radio.open_session("C0:FF:EE:00:00:01")
        assert radio.slots.held == frozenset()


async def test_a_lock_gone_meanwhile_costs_its_deadline_and_no_slot(tmp_path: Path) -> None:
    async with an_edge(tmp_path, connect_wait_ms=50, slots=1) as (hotel, radio):
        address = await address_of(radio, hotel, "door-101")
        await hotel.emulator._obey("set", {"door": "door-101", "powered": False})
        with pytest.raises(LinkLostError, match="connecting"):
            await radio.open_session(address)
        assert radio.slots.held == frozenset()
        radio._connect_wait_ms = 10_000  # this one answers, however busy the machine is
        session = await radio.open_session(await address_of(radio, hotel, "door-102"))
        await session.close()


async def test_a_link_that_breaks_gives_its_slot_back_though_nobody_closes_it(tmp_path: Path) -> None:
    async with an_edge(tmp_path) as (hotel, radio):
        session = await radio.open_session(await address_of(radio, hotel, "door-101"))
        assert len(radio.slots.held) == 1
        assert (await session.receive())[0] & 0x80  # CHAL begins
        hotel.emulator.locks["door-101"].peripheral.cut()
        with pytest.raises(LinkLostError):
            await session.receive()
        await until(lambda: not radio.slots.held)
        with pytest.raises(LinkLostError):
            await session.send(b"\xc0x")
        await session.close()


async def test_a_forgotten_session_is_ended(tmp_path: Path) -> None:
    async with an_edge(tmp_path, session_most_ms=30) as (hotel, radio):
        session = await radio.open_session(await address_of(radio, hotel, "door-101"))
        await until(lambda: not radio.slots.held)
        await until(lambda: hotel.truth("door-101")["links"] == 0)
        await session.close()


async def test_connections_at_once_are_bounded(tmp_path: Path) -> None:
    async with an_edge(tmp_path, slots=1, slot_wait_ms=20) as (hotel, radio):
        other = await address_of(radio, hotel, "door-102")
        session = await radio.open_session(await address_of(radio, hotel, "door-101"))
        with pytest.raises(LinkLostError, match="1 at once"):
            await radio.open_session(other)
        await session.close()
        await (await radio.open_session(other)).close()


async def test_what_is_no_lock_is_refused_and_hung_up_on(tmp_path: Path) -> None:
    async with an_edge(tmp_path) as (hotel, radio):
        address = await address_of(radio, hotel, "door-101")
        device = hotel.emulator.locks["door-101"].peripheral.device
        device.gatt_server.attributes = device.gatt_server.attributes[:5]  # only GAP is left
        device.gatt_server.attributes_by_handle = {each.handle: each for each in device.gatt_server.attributes}
        with pytest.raises(LinkLostError, match="no Innkeeper lock service"):
            await radio.open_session(address)
        assert radio.slots.held == frozenset()
        await until(lambda: hotel.truth("door-101")["links"] == 0)


async def test_the_emulated_radio_is_chosen_by_settings(tmp_path: Path) -> None:
    async with world(tmp_path) as hotel:
        port = await HciPort(hotel.emulator.air, SeededDice("port")).start()
        try:
            async with chosen_backend(RadioSettings(kind="emulated", hci=port.transport)) as backend:
                radio = BleDoorRadio(backend, hotel.clock)
                session = await radio.open_session(await address_of(radio, hotel, "door-pool"))
                [result] = await ask(hotel, session, "door-pool", AskStatus())
                assert result.status is Status.DONE
                await session.close()
        finally:
            await port.close()


@pytest.mark.parametrize(
    "settings",
    [RadioSettings(kind="emulated"), RadioSettings(kind="bluez", hci="tcp-client:127.0.0.1:1")],
    ids=["emulated without hci", "bluez with hci"],
)
async def test_settings_that_contradict_themselves_are_refused(settings: RadioSettings) -> None:
    with pytest.raises(InvalidInputError, match=r"radio\.hci"):
        async with chosen_backend(settings):
            pass


async def test_no_controller_is_a_link_lost(tmp_path: Path) -> None:
    with pytest.raises(LinkLostError, match=r"radio\.hci"):
        async with chosen_backend(RadioSettings(kind="emulated", hci="tcp-client:127.0.0.1:1")):
            pass
