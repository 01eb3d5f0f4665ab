"""What the radio reads by itself: packets and adverts, the same as bumble's of every stream; the rest is bumble's."""

import asyncio
import logging
from contextlib import AsyncExitStack

import pytest
from bumble import hci
from bumble.core import InvalidPacketError
from bumble.device import Advertisement, Device
from bumble.transport.common import PacketParser
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridges.ble_radio.air import Air, device_on
from firmware_bridges.ble_radio.hci_port import HciPort
from firmware_bridges.ble_radio.radio import Heard, Radio, WholeEvents, one_report
from kit.dice import SeededDice


def a_packet(event: int, kind: int, address: bytes, payload: bytes, rssi: int) -> bytes:
    report = bytes([event, kind]) + address + bytes([len(payload)]) + payload + rssi.to_bytes(1, "little", signed=True)
    return bytes([0x04, 0x3E, len(report) + 2, 0x02, 1]) + report


@given(
    event=st.integers(0, 3),
    kind=st.integers(0, 3),
    address=st.binary(min_size=6, max_size=6),
    payload=st.binary(max_size=31),
    rssi=st.integers(-127, 20),
)
def test_an_advert_reads_as_bumble_reads_it(event: int, kind: int, address: bytes, payload: bytes, rssi: int) -> None:
    packet = a_packet(event, kind, address, payload, rssi)
    theirs = hci.HCI_Packet.from_bytes(packet)
    assert isinstance(theirs, hci.HCI_LE_Advertising_Report_Event)
    advert = Advertisement.from_advertising_report(theirs.reports[0])
    assert advert is not None
    ours = one_report(packet)
    assert ours is not None
    assert ours.address == advert.address.to_string(with_type_qualifier=False)
    assert (ours.rssi, ours.data_bytes) == (advert.rssi, advert.data_bytes)


@given(packet=st.binary(max_size=60), cut=st.integers(0, 45), tail=st.binary(min_size=1, max_size=3))
def test_what_is_not_one_whole_advert_is_left_to_bumble(packet: bytes, cut: int, tail: bytes) -> None:
    whole = a_packet(0, 1, bytes(6), bytes(31), -40)
    assert one_report(whole) is not None
    assert one_report(whole[:cut]) is None
    assert one_report(whole + tail) is None
    assert one_report(a_packet(4, 1, bytes(6), b"", 0)) is None  # an answer to a scan: bumble joins it to its advert
    assert one_report(bytes([0x04, 0x3E, 2, 0x02, 0])) is None
    if packet[:2] != b"\x04\x3e":
        assert one_report(packet) is None


EVENTS = st.binary(max_size=60).map(lambda told: bytes([0x04, 0x3E, len(told)]) + told)
DATA = st.binary(max_size=300).map(lambda told: b"\x02\x40\x00" + len(told).to_bytes(2, "little") + told)
ISOCHRONOUS = st.binary(max_size=40).map(lambda told: b"\x05\x01\x00" + len(told).to_bytes(2, "little") + told)


class Told:
    """Whoever takes packets."""

    def __init__(self) -> None:
        self.packets: list[bytes] = []

    def on_packet(self, packet: bytes) -> None:
        self.packets.append(packet)


@given(
    packets=st.lists(st.one_of(EVENTS, DATA, ISOCHRONOUS), max_size=12),
    cuts=st.lists(st.integers(1, 80), min_size=1, max_size=20),
    noise=st.sampled_from([b"", b"\x00", b"\x09\x04", b"\x04", b"\x04\x3e\x05\x02"]),
)
def test_a_stream_cut_anywhere_gives_the_packets_that_bumble_finds_in_it(
    packets: list[bytes], cuts: list[int], noise: bytes
) -> None:
    stream, ours, theirs = b"".join([*packets, noise]), Told(), Told()
    ends: list[bool] = []
    for parser in (WholeEvents(ours), PacketParser(theirs)):
        at, ended = 0, False
        while at < len(stream) and not ended:
            size = cuts[at % len(cuts)]
            try:
                parser.feed_data(stream[at : at + size])
            except InvalidPacketError:
                ended = True
            at += size
        ends.append(ended)
    assert ours.packets == theirs.packets
    assert ends == [noise[:1] in (b"\x00", b"\x09")] * 2
    assert ours.packets[: len(packets)] == packets


def test_a_listener_with_a_defect_ends_no_stream(caplog: pytest.LogCaptureFixture) -> None:
    told: list[bytes] = []

    class Defective:
        def on_packet(self, packet: bytes) -> None:
            told.append(packet)
            raise ValueError("a defect")

    advert = a_packet(0, 1, bytes(6), b"", -40)
    with caplog.at_level(logging.ERROR):
        WholeEvents(Defective()).feed_data(advert + advert)
    assert told == [advert, advert]
    assert "a defect" in caplog.text


class Line(asyncio.Transport):
    """A transport that notes when it is not read."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[str] = []

    def is_closing(self) -> bool:
        return False

    def pause_reading(self) -> None:
        self.told.append("pause")

    def resume_reading(self) -> None:
        self.told.append("resume")


async def beacon_in(air: Air) -> tuple[Device, str]:
    device = device_on(air, "beacon", address=b"\x02" * 6)
    await device.power_on()
    device.advertising_interval_min = device.advertising_interval_max = 20
    device.advertising_data = bytes.fromhex("020106")
    await device.start_advertising(auto_restart=True)
    return device, str(device.random_address.to_string(False))


async def test_what_is_left_unread_for_a_while_is_heard() -> None:
    air = Air(dice=SeededDice("gather"))
    heard: asyncio.Queue[Heard] = asyncio.Queue()
    async with asyncio.timeout(10), AsyncExitStack() as stack:
        port = await HciPort(air, SeededDice("port")).start()
        stack.push_async_callback(port.close)
        radio = await stack.enter_async_context(await Radio.open(port.transport, gather_s=0.005))
        await radio.listen(heard.put_nowait)
        beacon, address = await beacon_in(air)
        stack.push_async_callback(beacon.stop_advertising)
        gathered = False
        while not gathered:
            await heard.get()
            gathered = radio._gathering is not None
        for _ in range(3):
            assert (await heard.get()).address == address
        connection = await radio.connect(address, timeout_s=5)
        assert radio._gathering is None
        await radio.disconnect(connection)
        assert (await heard.get()).address == address


async def test_the_line_is_read_while_somebody_waits_for_an_answer() -> None:
    air, line = Air(dice=SeededDice("gather")), Line()
    beacon, address = await beacon_in(air)
    async with asyncio.timeout(10), Radio(device_on(air, "edge", address=b"\x01" * 6)) as radio:
        await radio.power_on()
        radio._line, radio._gather_s = line, 3_600.0
        radio._gather()
        radio._gather()
        assert line.told == ["pause"]
        connection = await radio.connect(address, timeout_s=5)
        radio._gather()
        assert line.told == ["pause", "resume"]
        await radio.disconnect(connection)
        radio._gather()
        await radio.listen(lambda _: None)
        assert line.told[2:4] == ["pause", "resume"]
    assert line.told.count("pause") == line.told.count("resume")
    await beacon.stop_advertising()
