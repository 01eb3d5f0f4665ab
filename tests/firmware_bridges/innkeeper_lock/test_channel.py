"""The lock's L2CAP channel over the air: it opens doors, bears what phones announce, and GATT is there if it fails."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from bleak.exc import BleakError
from bumble.l2cap import (
    ChannelManager,
    L2CAP_LE_Credit_Based_Connection_Request,
    L2CAP_LE_Credit_Based_Connection_Response,
    L2CAP_LE_Flow_Control_Credit,
)

from firmware_bridges.ble_radio.backend import ChannelTerms
from firmware_bridges.ble_radio.channel import ByteChannel, open_channel
from firmware_bridges.guest_phone.phone import Ending, GuestPhone, Opening
from firmware_bridges.innkeeper_lock.link import TERMS, DoorLink
from firmware_bridges.innkeeper_lock.peripheral import CHANNEL_PSM
from kit.dice import SeededDice
from protocols.door.bundle import BundleDoor
from protocols.door.channel import CHANNEL_REST_MS
from protocols.door.phone import AskStatus, PhoneExchange
from protocols.door.status import Status
from protocols.errors import LinkLostError, ReplyTimeoutError
from tests.firmware_bridges.innkeeper_lock.world import START_S, World, until
from tests.firmware_bridges.innkeeper_lock.world import world as any_world

DOOR = "door-101"
HOURS_S = 12 * 3_600
RESULT = L2CAP_LE_Credit_Based_Connection_Response.Result


world = partial(any_world, knobs={"channel": "works"})


async def knob(hotel: World, **knobs: Any) -> None:
    await hotel.emulator._obey("set", {"door": DOOR, **knobs})


async def opened(phone: GuestPhone) -> Opening:
    opening = await phone.open(DOOR)
    assert opening.ending is Ending.OPENED, opening
    return opening


async def guest(hotel: World, **options: Any) -> GuestPhone:
    phone = GuestPhone(await hotel.backend(), hotel.clock, SeededDice(f"phone {len(hotel.radios)}"), **options)
    phone.new_key()
    phone.load_bundle(hotel.bundle(phone, DOOR).to_document())
    return phone


@asynccontextmanager
async def linked(
    hotel: World, *, channel: int | None = None, **options: Any
) -> AsyncIterator[tuple[DoorLink, PhoneExchange]]:
    """A link and an exchange that asks how the lock is."""
    keys = hotel.property.locks[DOOR].door_keys(START_S, START_S + HOURS_S)
    phone = await hotel.phone(seed="finder")
    device, offset = await phone._find(BundleDoor(DOOR, DOOR, keys))
    asked_for = offset if channel is None else channel
    async with DoorLink(phone._backend, device, hotel.clock, channel=asked_for, **options) as link:
        yield (
            link,
            PhoneExchange(
                keys,
                AskStatus(),
                random=SeededDice("asks").bytes,
                frame_bytes=link.frame_bytes,
                now_ms=hotel.clock.now_ms(),
            ),
        )


async def talked(link: DoorLink, exchange: PhoneExchange, hotel: World) -> Status:
    while True:
        for piece in exchange.data_to_send():
            await link.write(piece, wait_ms=5_000)
        answer = exchange.receive_data(await link.read(wait_ms=5_000), now_ms=hotel.clock.now_ms())
        if answer is not None:
            return answer.result.status


# -- it works ---------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("P2")
async def test_a_door_opens_in_the_channel_in_full_and_then_fast(tmp_path: Path) -> None:
    async with world(tmp_path) as hotel:
        phone = await guest(hotel)
        first, second = await opened(phone), await opened(phone)
        assert (first.channel, first.fast, first.tries) == (True, False, 1)
        assert (second.channel, second.fast, second.tries) == (True, True, 1)
        assert hotel.motors(DOOR) == 2


@pytest.mark.parametrize(
    ("knobs", "terms"),
    [
        ({"channel_mps": 23}, TERMS),
        ({"channel_credits": 1}, TERMS),
        ({}, ChannelTerms(23, 23, 1)),
        ({"channel_mps": 23, "channel_credits": 1}, ChannelTerms(23, 23, 1)),
        ({"channel_mps": 65_533, "channel_credits": 65_535}, ChannelTerms(65_535, 65_533, 65_535)),
    ],
    ids=["lock: tiny packets", "lock: a credit at a time", "phone: the least", "both: the least", "both: the most"],
)
async def test_what_either_side_announces_is_borne(tmp_path: Path, knobs: dict[str, Any], terms: ChannelTerms) -> None:
    async with world(tmp_path) as hotel:
        await knob(hotel, **knobs)
        opening = await opened(await guest(hotel, terms=terms))
        assert opening.channel
        assert opening.tries == 1


@pytest.mark.requirement("P2")
async def test_a_bad_air_delays_it_and_no_more(tmp_path: Path) -> None:
    air = {"connection_interval_ms": 8, "packet_loss": 0.3, "advert_loss": 0.2, "late": 0.1, "late_ms": 20, "drop": 0}
    async with world(tmp_path, air=air) as hotel:
        await knob(hotel, channel_mps=60, channel_credits=2)
        phone = await guest(hotel)
        for _ in range(4):
            assert (await opened(phone)).channel


async def test_a_phone_may_send_byte_by_byte(tmp_path: Path) -> None:
    """Systems hand the channel over as a stream, and cut it where they like."""
    async with world(tmp_path) as hotel, linked(hotel) as (link, exchange):
        assert link.in_channel
        exchange.receive_data(await link.read(wait_ms=5_000), now_ms=hotel.clock.now_ms())
        [asked] = exchange.data_to_send()
        for at in range(len(asked)):
            await link.write(asked[at : at + 1], wait_ms=5_000)
        answer = exchange.receive_data(await link.read(wait_ms=5_000), now_ms=hotel.clock.now_ms())
        assert answer is not None
        assert answer.result.status is Status.DONE


async def test_many_channels_at_once_are_opened_by_one_radio(tmp_path: Path) -> None:
    """bumble keeps requests of all links in one table; one under a number that another has would be lost."""
    slow = {"connection_interval_ms": 60, "advert_loss": 0, "packet_loss": 0, "late": 0, "drop": 0}  # so they overlap
    async with world(tmp_path, air=slow) as hotel:
        backend = await hotel.backend()
        phones = [GuestPhone(backend, hotel.clock, SeededDice(f"phone {number}")) for number in range(3)]
        doors = [DOOR, "door-102", "door-pool"]
        for phone, door in zip(phones, doors, strict=True):
            phone.new_key()
            phone.load_bundle(hotel.bundle(phone, door).to_document())
        openings = await asyncio.gather(
            *(phone.open(door) for phone, door in zip(phones, doors, strict=True)),
        )
        assert [(each.ending, each.channel, each.tries) for each in openings] == [(Ending.OPENED, True, 1)] * 3


# -- it fails, and GATT is there ---------------------------------------------------------------------------------------


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("firmware_bridges.innkeeper_lock.link.CHANNEL_WAIT_MS", 60)


@pytest.mark.requirement("P17")
@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("manner", ["none", "refuses", "unanswered", "mute"])
async def test_without_the_channel_the_door_opens_by_gatt_on_the_same_connection(tmp_path: Path, manner: str) -> None:
    async with world(tmp_path) as hotel:
        await knob(hotel, channel=manner)
        phone = await guest(hotel)
        opening = await opened(phone)
        assert not opening.channel
        assert opening.tries == 1
        assert [fact["link"] for fact in hotel.facts if fact["event"] == "connected"] == [1]
        assert [fact for fact in hotel.facts if fact["event"] == "fault"] == []
        pending = hotel.radios[-1].device.l2cap_channel_manager.le_coc_requests
        await until(lambda: not pending)  # else 255 locks that do not answer are all that a radio can bear


async def test_a_port_that_is_not_there_costs_a_moment_and_no_door(tmp_path: Path) -> None:
    """Anybody may forge an advert."""
    async with world(tmp_path) as hotel, linked(hotel, channel=9) as (link, exchange):
        assert not link.in_channel
        assert "no channel" in link.channel_failed
        assert await talked(link, exchange, hotel) is Status.DONE


async def test_a_failed_channel_rests_and_is_asked_for_again(tmp_path: Path) -> None:
    async with world(tmp_path) as hotel:
        await knob(hotel, channel="refuses")
        phone = await guest(hotel)
        assert not (await opened(phone)).channel
        await knob(hotel, channel="works")
        assert not (await opened(phone)).channel, "it rests"
        [lock_id] = phone._channel_due_ms
        assert phone._channel_due_ms[lock_id] <= hotel.clock.now_ms() + CHANNEL_REST_MS
        phone._channel_due_ms[lock_id] = hotel.clock.now_ms()  # ten minutes later
        assert (await opened(phone)).channel


async def test_a_channel_that_breaks_in_the_answer_is_a_lost_answer_and_the_next_try_goes_by_gatt(
    tmp_path: Path,
) -> None:
    async with world(tmp_path) as hotel:
        await knob(hotel, channel="drops")
        opening = await opened(await guest(hotel))
        assert opening.tries == 2
        assert not opening.channel
        assert hotel.motors(DOOR) == 2, "the first try had opened it"
        await until(lambda: hotel.truth(DOOR)["links"] == 0)


async def test_a_channel_that_breaks_says_whether_anything_was_asked(tmp_path: Path) -> None:
    async with world(tmp_path) as hotel:
        async with linked(hotel) as (link, _):
            await link.read(wait_ms=5_000)
            hotel.emulator.locks[DOOR].peripheral.cut()
            with pytest.raises(LinkLostError):
                await link.read(wait_ms=5_000)
        await knob(hotel, channel="drops")
        async with linked(hotel) as (link, exchange):
            with pytest.raises(ReplyTimeoutError):
                await talked(link, exchange, hotel)
            with pytest.raises(ReplyTimeoutError):
                await link.write(b"\x00\x01\x03", wait_ms=100)


# -- phones that do what none may -------------------------------------------------------------------------------------


@asynccontextmanager
async def bare(hotel: World, **options: Any) -> AsyncIterator[tuple[Any, ByteChannel, list[bytes]]]:
    """A connection with a channel on it, and nobody who knows the protocol."""
    keys = hotel.property.locks[DOOR].door_keys(START_S, START_S + HOURS_S)
    phone = await hotel.phone(seed="bare")
    device, _ = await phone._find(BundleDoor(DOOR, DOOR, keys))
    radio = hotel.radios[-1]
    connection = await radio.connect(device.address, timeout_s=5)
    heard: list[bytes] = []
    channel = await open_channel(
        radio.device,
        connection,
        CHANNEL_PSM,
        TERMS,
        on_data=heard.append,
        on_closed=lambda: None,
        wait_s=5,
        **options,
    )
    yield connection, channel, heard
    await radio.disconnect(connection)


@pytest.mark.guarantee("G5")
@pytest.mark.parametrize("sent", [b"\x00\x00", b"\x04\x01", b"\x00\x01\x02\x03", b"\x00\x01\xff"], ids=repr)
async def test_what_breaks_the_stream_ends_the_link(tmp_path: Path, sent: bytes) -> None:
    async with world(tmp_path) as hotel, bare(hotel) as (_, channel, heard):
        await channel.send(sent)
        await until(lambda: not channel.is_open)
        await until(lambda: hotel.truth(DOOR)["links"] == 0)
        assert hotel.motors(DOOR) == 0
        assert [each[:2].hex() for each in heard] == ["0040", "0003"], "CHAL, ERROR malformed"


@pytest.mark.guarantee("G5")
async def test_a_second_channel_beside_the_first_is_refused(tmp_path: Path) -> None:
    async with world(tmp_path) as hotel, bare(hotel) as (connection, channel, _):
        with pytest.raises(BleakError, match="NO_RESOURCES"):
            await open_channel(
                hotel.radios[-1].device,
                connection,
                CHANNEL_PSM,
                TERMS,
                on_data=lambda _: None,
                on_closed=lambda: None,
                wait_s=5,
            )
        assert channel.is_open


@pytest.mark.parametrize(
    ("request_", "result"),
    [
        ({"mtu": 22}, RESULT.CONNECTION_REFUSED_UNACCEPTABLE_PARAMETERS),
        ({"mps": 0}, RESULT.CONNECTION_REFUSED_UNACCEPTABLE_PARAMETERS),
        ({"source_cid": 0x3F}, RESULT.CONNECTION_REFUSED_INVALID_SOURCE_CID),
        ({"le_psm": CHANNEL_PSM + 1}, RESULT.CONNECTION_REFUSED_LE_PSM_NOT_SUPPORTED),
    ],
    ids=str,
)
async def test_a_request_that_nobody_may_make_is_refused_by_its_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request_: dict[str, int], result: int
) -> None:
    async with world(tmp_path) as hotel:
        keys = hotel.property.locks[DOOR].door_keys(START_S, START_S + HOURS_S)
        phone = await hotel.phone(seed="bare")
        device, _ = await phone._find(BundleDoor(DOOR, DOOR, keys))
        radio = hotel.radios[-1]
        connection = await radio.connect(device.address, timeout_s=5)
        manager = radio.device.l2cap_channel_manager
        said: list[L2CAP_LE_Credit_Based_Connection_Response] = []
        monkeypatch.setattr(
            manager,
            "on_l2cap_le_credit_based_connection_response",
            lambda _connection, _cid, response: said.append(response),
        )
        wanted = {"le_psm": CHANNEL_PSM, "source_cid": 0x40, "mtu": 64, "mps": 64, "initial_credits": 1}
        request = L2CAP_LE_Credit_Based_Connection_Request(identifier=7, **{**wanted, **request_})
        manager.send_control_frame(connection, 5, request)
        await until(lambda: said)
        assert [(each.identifier, each.result) for each in said] == [(7, result)]
        await radio.disconnect(connection)


async def test_a_phone_that_takes_no_answer_is_hung_up_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("firmware_bridges.innkeeper_lock.lock.SILENCE_MS", 500)  # the phone itself needs some of it
    send = ChannelManager.send_control_frame

    def stingy(self: ChannelManager, connection: Any, cid: int, frame: Any) -> None:
        if not isinstance(frame, L2CAP_LE_Flow_Control_Credit):
            send(self, connection, cid, frame)

    monkeypatch.setattr(ChannelManager, "send_control_frame", stingy)
    async with world(tmp_path) as hotel:
        async with linked(hotel, terms=ChannelTerms(23, 23, 2)) as (link, exchange):
            assert link.in_channel
            with pytest.raises(LinkLostError):
                await talked(link, exchange, hotel)
        await until(lambda: hotel.truth(DOOR)["links"] == 0)
        assert [fact["fault"] for fact in hotel.facts if fact["event"] == "fault"] == [
            "the phone took no answer for 500 ms"
        ]


@pytest.mark.usefixtures("hasty")
async def test_a_channel_that_opens_too_late_is_closed_and_gatt_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer to the request is held back; meanwhile the phone has gone on to GATT."""
    async with world(tmp_path) as hotel:
        lock = hotel.emulator.locks[DOOR].peripheral.device
        manager = lock.l2cap_channel_manager
        send, held = manager.send_control_frame, []

        def hold(connection: Any, cid: int, frame: Any) -> None:
            if isinstance(frame, L2CAP_LE_Credit_Based_Connection_Response):
                held.append((connection, cid, frame))
            else:
                send(connection, cid, frame)

        monkeypatch.setattr(manager, "send_control_frame", hold)
        async with linked(hotel) as (link, exchange):
            assert not link.in_channel
            await until(lambda: held)
            assert len(held) == 1
            send(*held[0])
            assert await talked(link, exchange, hotel) is Status.DONE
        assert [fact for fact in hotel.facts if fact["event"] == "fault"] == []
