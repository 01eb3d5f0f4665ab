"""The rules of a connection: ids, windows, pings, refusals."""

import pytest

from kit.mqtt_wire import packets
from kit.mqtt_wire.session import PACKET_IDS, ClientSession, Identity
from protocols.errors import LinkLostError, PeerProtocolError

WELCOME = bytes((packets.CONNACK, 2, 0, 0))


def session(*, v5: bool = False, window: int = 4, greeted: bytes | None = WELCOME) -> ClientSession:
    made = ClientSession(
        Identity(client_id="e-1", v5=v5, keepalive_s=30),
        packet_bytes_max=1_000,
        answer_wait_ms=5_000,
        window_max=window,
    )
    made.connect(now_ms=0)
    if greeted is not None:
        assert made.receive(greeted).greeted
    return made


def test_packet_ids_go_round_and_never_meet_one_that_is_open() -> None:
    made = session(window=PACKET_IDS)
    first, _ = made.publish(b"a", b"", retain=False, now_ms=0)
    for _ in range(PACKET_IDS):
        packet_id, _ = made.publish(b"a", b"", retain=False, now_ms=0)
        assert packet_id != first
        made.receive(packets.pubacks([packet_id]))
    assert made.unanswered == 1


def test_an_answer_to_nothing_drops_the_link() -> None:
    with pytest.raises(PeerProtocolError, match="not open"):
        session().receive(packets.pubacks([9]))


def test_a_ping_goes_out_in_silence_and_an_unanswered_one_ends_the_link() -> None:
    made = session()
    assert made.on_time(now_ms=22_000) == b""
    assert made.on_time(now_ms=22_500) == packets.PINGREQ
    made.receive(bytes((packets.PINGRESP, 0)))
    made.publish(b"a", b"", retain=False, now_ms=40_000)
    assert made.on_time(now_ms=45_000) == b""
    assert made.on_time(now_ms=60_000) == packets.PINGREQ  # busy writing, yet who says that anybody hears it
    assert made.on_time(now_ms=64_999) == b""
    with pytest.raises(LinkLostError, match="no answer to a ping"):
        made.on_time(now_ms=65_000)


def test_an_answer_that_waits_because_we_do_not_read_is_not_late() -> None:
    made = session()
    assert made.on_time(now_ms=30_000) == packets.PINGREQ
    made.not_listening(now_ms=36_000)
    assert made.on_time(now_ms=40_000) == b""
    with pytest.raises(LinkLostError):
        made.on_time(now_ms=41_000)


@pytest.mark.parametrize(
    ("greeting", "v5", "says"),
    [
        (bytes((0x20, 2, 0, 4)), False, "bad user name or password .code 4"),
        (bytes((0x20, 3, 0, 0x87, 0)), True, "not authorised .code 135"),
        (bytes((0x20, 8, 0, 0x89, 5, 0x1F, 0, 2)) + b"hi", True, "server busy .code 137.: hi"),
        (bytes((0x20, 5, 0, 0, 2, 0x24, 0)), True, "QoS 0 alone"),
    ],
)
def test_a_refusal_is_told_in_words(greeting: bytes, v5: bool, says: str) -> None:
    with pytest.raises(LinkLostError, match=says):
        session(v5=v5, greeted=None).receive(greeting)


def test_what_a_version_5_broker_sets_is_kept() -> None:
    properties = b"\x21\x00\x02\x13\x00\x0a\x27\x00\x00\x01\x00"
    made = session(v5=True, window=100, greeted=bytes((0x20, 3 + len(properties), 1, 0, len(properties))) + properties)
    assert (made.window, made.packet_bytes_most) == (2, 256)
    assert made.greeting is not None
    assert made.greeting.session_present
    assert made.on_time(now_ms=7_500) == packets.PINGREQ  # its keep alive of 10 s, not ours of 30


@pytest.mark.parametrize(
    "data", [WELCOME, bytes((0xD0, 0)) + WELCOME, packets.publish(b"a", b"", 1, retain=False, v5=False)]
)
def test_what_comes_out_of_turn_drops_the_link(data: bytes) -> None:
    made = session(greeted=None) if data[0] != packets.CONNACK else session()
    with pytest.raises(PeerProtocolError):
        made.receive(data)


def test_a_version_5_goodbye_is_a_lost_link_with_its_reason() -> None:
    made = session(v5=True, greeted=bytes((0x20, 3, 0, 0, 0)))
    with pytest.raises(LinkLostError, match="session taken over"):
        made.receive(bytes((0xE0, 1, 0x8E)))
