"""The parser against every split, every truncation and noise; the builders against bytes from the standard."""

import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.mqtt_wire import packets
from kit.mqtt_wire.packets import Will
from kit.mqtt_wire.parser import Control, PacketParser, Publish
from protocols.errors import LocalProtocolError, PeerProtocolError

MOST = 4_096
topics = st.text("abc/ä", min_size=1, max_size=20).map(str.encode)
publishes = st.tuples(topics, st.binary(max_size=300), st.integers(1, 65_535), st.booleans())


def stream_of(sent: list[tuple[bytes, bytes, int, bool]], *, v5: bool) -> bytes:
    parts = []
    for topic, payload, packet_id, retain in sent:
        parts += [packets.publish(topic, payload, packet_id, retain=retain, v5=v5), packets.pubacks([packet_id])]
    return b"".join(parts)


def fed(parser: PacketParser, data: bytes, cuts: list[int]) -> tuple[list[Publish], list[Control]]:
    found: list[Publish] = []
    controls: list[Control] = []
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    for start, end in pairwise(edges):
        more, others = parser.feed(data[start:end])
        found += more
        controls += others
    return found, controls


@given(st.lists(publishes, max_size=8), st.lists(st.integers(0, 10_000), max_size=12), st.booleans())
def test_a_stream_cut_anywhere_says_the_same(
    sent: list[tuple[bytes, bytes, int, bool]], cuts: list[int], v5: bool
) -> None:
    found, controls = fed(PacketParser(v5=v5, packet_bytes_max=MOST), stream_of(sent, v5=v5), cuts)
    assert found == [(t, p, i, packets.PUBLISH | packets.QOS_1 | (packets.RETAIN if r else 0)) for t, p, i, r in sent]
    assert controls == [(packets.PUBACK, i.to_bytes(2, "big")) for _, _, i, _ in sent]


def test_one_byte_at_a_time_is_linear_work_and_bounded_memory() -> None:
    parser = PacketParser(v5=False, packet_bytes_max=200_000)
    data = packets.publish(b"a", bytes(150_000), 7, retain=False, v5=False)
    for byte in data[:-1]:
        assert parser.feed(bytes([byte])) == ([], [])
    assert parser.held_bytes == len(data) - 1
    [(topic, payload, packet_id, _)], _ = parser.feed(data[-1:])
    assert (topic, payload, packet_id) == (b"a", bytes(150_000), 7)
    assert parser.held_bytes == 0


@pytest.mark.guarantee("G9", "G19")
@pytest.mark.parametrize("v5", [False, True])
@pytest.mark.parametrize("step", [1, 7, 1_000, 1_000_000])
def test_a_monster_is_skipped_told_and_costs_no_memory(step: int, v5: bool) -> None:
    parser = PacketParser(v5=v5, packet_bytes_max=1_000)
    data = b"".join(
        (
            packets.publish(b"small", b"1", 1, retain=False, v5=v5),
            packets.publish(b"monster", bytes(50_000), 2, retain=False, v5=v5),
            packets.publish(b"small", b"2", 3, retain=False, v5=v5),
        )
    )
    found: list[Publish] = []
    most_held = 0
    for start in range(0, len(data), step):
        found += parser.feed(data[start : start + step])[0]
        most_held = max(most_held, parser.held_bytes)
    assert [(topic, payload, packet_id) for topic, payload, packet_id, _ in found] == [
        (b"small", b"1", 1), (b"monster", None, 2), (b"small", b"2", 3),
    ]  # fmt: skip
    assert most_held <= 1_010


@pytest.mark.guarantee("G19")
@given(st.binary(max_size=400), st.booleans(), st.lists(st.integers(0, 400), max_size=5))
def test_noise_raises_nothing_but_a_peer_error(data: bytes, v5: bool, cuts: list[int]) -> None:
    parser = PacketParser(v5=v5, packet_bytes_max=100)
    try:
        fed(parser, data, cuts)
    except PeerProtocolError:
        return
    assert parser.held_bytes <= len(data)


@pytest.mark.guarantee("G19")
@pytest.mark.parametrize("seed", range(20))
def test_a_broken_stream_of_real_packets_raises_nothing_else(seed: int) -> None:
    dice = random.Random(seed)
    sent = [(b"site/room/device", bytes(dice.randrange(60)), n + 1, False) for n in range(40)]
    v5 = seed % 2 == 1
    data = bytearray(stream_of(sent, v5=v5))
    for _ in range(200):
        broken = bytearray(data)
        for _ in range(dice.randrange(1, 4)):
            broken[dice.randrange(len(broken))] = dice.randrange(256)
        parser = PacketParser(v5=v5, packet_bytes_max=2_000)
        try:
            for start in range(0, len(broken), 97):
                parser.feed(bytes(broken[start : start + 97]))
        except PeerProtocolError:
            continue


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"\x32\x03\x00\x01a", "longer topic"),  # QoS 1 without a packet id
        (b"\x32\x05\x00\x01a\x00\x00", "packet id 0"),
        (b"\x34\x05\x00\x01a\x00\x01", "QoS 2"),
        (b"\x30\x03\x00\x09a", "longer topic"),
        (b"\x30\x01\x00", "PUBLISH of 1 bytes"),
        (b"\x30\xff\xff\xff\xff\x01", "more than four bytes"),
        (b"\x50\x02\x00\x01", "which is not sent"),
        (b"\x90\xff\xff\x7f", "control packet of"),
    ],
)
def test_what_a_broker_must_not_send_is_named(data: bytes, says: str) -> None:
    with pytest.raises(PeerProtocolError, match=says):
        PacketParser(v5=False, packet_bytes_max=100).feed(data)


def test_properties_of_a_publish_are_read_and_an_alias_is_refused() -> None:
    body = b"\x00\x01a\x00\x07"
    fine = b"\x01\x01\x26\x00\x01k\x00\x01v\x0b\x81\x01"  # payload format, user property, subscription id
    data = packets.packet(0x32, body + bytes([len(fine)]) + fine + b"hello")
    [(topic, payload, packet_id, _)], _ = PacketParser(v5=True, packet_bytes_max=100).feed(data)
    assert (topic, payload, packet_id) == (b"a", b"hello", 7)
    for bad, says in ((b"\x23\x00\x01", "alias"), (b"\x7f", "unknown"), (b"\x26\x00\x09k", "past its packet")):
        with pytest.raises(PeerProtocolError, match=says):
            PacketParser(v5=True, packet_bytes_max=100).feed(packets.packet(0x32, body + bytes([len(bad)]) + bad))


def test_a_connect_is_what_the_standard_says() -> None:
    # [3.1.1] 3.1: protocol name, level 4, flags, keep alive, client id, will topic and message, user name, password
    built = packets.connect(
        client_id="e-1", v5=False, clean=True, keepalive_s=10, username="u", password="p", will=Will("w", b"x", True)
    )
    body = "0004 4d515454 04 ee 000a 0003 652d31 0001 77 0001 78 0001 75 0001 70"
    assert built == bytes.fromhex(f"10 1b {body}")
    five = packets.connect(
        client_id="e", v5=True, clean=False, keepalive_s=30, session_expiry_s=3_600, receive_max=1_024
    )
    assert five == bytes.fromhex("1016 00044d515454 05 00 001e 08 1100000e10 210400 000165".replace(" ", ""))


@given(st.integers(0, packets.REMAINING_MAX))
def test_a_variable_byte_integer_comes_back(number: int) -> None:
    data = packets.variable(number)
    assert len(data) == (1 if number < 128 else 2 if number < 16_384 else 3 if number < 2_097_152 else 4)
    assert sum((byte & 0x7F) << 7 * place for place, byte in enumerate(data)) == number


def test_what_does_not_fit_is_our_defect() -> None:
    with pytest.raises(LocalProtocolError):
        packets.variable(packets.REMAINING_MAX + 1)
    with pytest.raises(LocalProtocolError):
        packets.text(bytes(65_536))


@given(st.lists(st.integers(1, 65_535), max_size=50))
def test_pubacks_are_one_packet_an_id_in_order(ids: list[int]) -> None:
    assert packets.pubacks(ids) == b"".join(b"\x40\x02" + each.to_bytes(2, "big") for each in ids)


@pytest.mark.parametrize(
    ("body", "v5"), [(b"", False), (b"\x00", True), (b"\x02\x00", False), (b"\x00\x00\x00", False)]
)
def test_a_torn_connack_is_refused(body: bytes, v5: bool) -> None:
    with pytest.raises(PeerProtocolError):
        packets.read_connack(body, v5=v5)
