"""Devices that announce themselves: found with evidence, by zeroconf's own messages, and hostile ones within bounds."""

import asyncio
import socket
import struct
from collections.abc import Sequence
from typing import Final

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.bridges.mdns import messages
from edge.bridges.mdns.listener import MdnsListener
from edge.bridges.mdns.messages import Pointer, Server, Texts, parse, question
from edge.bridges.mdns.services import PER_SENDER_MAX, SERVICES_MAX, Services, service_name
from edge.bridges.mdns.settings import MdnsSettings
from edge.bridges.ports import UNKNOWN_UNTOLD, DeviceEvent
from kit.clock import SystemClock
from kit.dice import SeededDice
from protocols.errors import PeerProtocolError
from tests.edge.bridges.field import Heard

SHELLY: Final = "shellyplus1pm-a8032ab12345"


def name(*labels: str | bytes) -> bytes:
    raw = [each if isinstance(each, bytes) else each.encode() for each in labels]
    return b"".join(bytes((len(each),)) + each for each in raw) + b"\0"


def record(owner: bytes, kind: int, data: bytes, ttl_s: int = 120) -> bytes:
    return owner + struct.pack(">HHIH", kind, 0x8001 if kind != 12 else 1, ttl_s, len(data)) + data


def response(*records: bytes) -> bytes:
    return struct.pack(">HHHHHH", 0, 0x8400, 0, len(records), 0, 0) + b"".join(records)


def announced(instance: str | bytes, service: str = "_shelly", texts: Sequence[bytes] = (), ttl_s: int = 120) -> bytes:
    kind, whole = (service, "_tcp", "local"), (instance, service, "_tcp", "local")
    told = b"".join(bytes((len(each),)) + each for each in texts)
    return response(
        record(name(*kind), 12, name(*whole), ttl_s),
        record(name(*whole), 33, struct.pack(">HHH", 0, 0, 80) + name("host", "local")),
        record(name(*whole), 16, told or b"\0"),
    )


def listener(heard: Heard) -> MdnsListener:
    return MdnsListener(MdnsSettings("127.0.0.1"), clock=SystemClock("host"), dice=SeededDice(1), sink=heard)


@pytest.mark.requirement("DEV-02")
def test_a_device_that_announces_itself_is_told_once_with_evidence() -> None:
    heard = Heard()
    it = listener(heard)
    message = announced(SHELLY, texts=[b"app=Plus1PM", b"gen=2", b"ver=1.4.4", b"secret=x"])
    for _ in range(3):
        it.take(message, "192.0.2.7")
    [(_, event, detail)] = heard.events
    assert event is DeviceEvent.UNKNOWN_DEVICE
    assert detail == {
        "bus": "mdns", "service": "_shelly._tcp", "name": SHELLY, "address": "192.0.2.7", "vendor": "Shelly",
        "port": 80, "model": "Plus1PM", "gen": "2", "ver": "1.4.4",
    }  # fmt: skip


def test_what_is_no_wanted_service_or_a_goodbye_or_of_another_sender_is_nobody() -> None:
    heard = Heard()
    it = listener(heard)
    it.take(announced("printer", "_ipp"), "192.0.2.8")
    it.take(announced(SHELLY, ttl_s=0), "192.0.2.7")
    it.take(announced(SHELLY), "192.0.2.7")
    assert len(heard.events) == 1
    it.take(announced(SHELLY, texts=[b"app=Liar"]), "192.0.2.66")  # nobody speaks for another
    assert len(heard.events) == 1


def test_questions_and_names_are_read_as_the_specification_has_them() -> None:
    asked = question([service_name("_http._tcp")])
    assert asked.hex() == "000000000001000000000000" + "055f68747470045f746370056c6f63616c00" + "000c0001"
    assert parse(asked) == []
    packed = response(
        record(name("_http", "_tcp", "local"), 12, b"\x03web\xc0\x0c"),
        record(b"\x03web\xc0\x0c", 16, b"\x04A=1b\x04a=2c\x01="),
    )
    assert parse(packed) == [
        Pointer(("_http", "_tcp", "local"), ("web", "_http", "_tcp", "local"), 120),
        Texts(("web", "_http", "_tcp", "local"), (("a", "1b"),)),
    ]
    [_, server, _] = parse(announced("x"))
    assert server == Server(("x", "_shelly", "_tcp", "local"), ("host", "local"), 80)


@pytest.mark.guarantee("G19")
@pytest.mark.parametrize(
    "message",
    [
        b"", b"\0" * 11, b"\0" * 9_001,
        response(b"\xc0\x0c" + b"\0" * 10),  # a pointer to itself
        response(b"\xc0\x20" + b"\0" * 10),  # and onward
        response(b"\x40" + b"a" * 64),
        response(b"\x3f" + b"a" * 20),
        response(name(*["a" * 63] * 5)),
        struct.pack(">HHHHHH", 0, 0x8400, 0, 201, 0, 0),
        announced(SHELLY)[:-3],
    ],
)  # fmt: skip
def test_what_is_no_message_is_refused_and_costs_nothing(message: bytes) -> None:
    with pytest.raises(PeerProtocolError):
        parse(message)
    heard = Heard()
    it = listener(heard)
    it.take(message, "192.0.2.9")
    assert it.counts["malformed_messages"] == 1
    assert not heard.events


@pytest.mark.guarantee("G19")
@given(data=st.binary(max_size=400), head=st.booleans())
def test_noise_raises_nothing_but_a_peer_error(data: bytes, head: bool) -> None:
    heard = Heard()
    listener(heard).take(response() + data if head else data, "192.0.2.9")
    assert all(len(str(value)) <= 240 for _, _, detail in heard.events for value in detail.values())


@pytest.mark.guarantee("G19")
def test_a_name_with_control_characters_and_a_huge_text_are_cut_and_cleaned() -> None:
    heard = Heard()
    it = listener(heard)
    it.take(announced(b"\x1b[2J\x00\xff\nevil", texts=[b"app=" + b"A" * 250] * 30), "192.0.2.9")
    [(_, _, detail)] = heard.events
    assert all(str(value).isprintable() and len(str(value).encode()) <= 240 for value in detail.values())


@pytest.mark.guarantee("G19")
def test_more_services_than_are_kept_of_one_liar_or_of_many_are_bounded() -> None:
    heard = Heard()
    it = listener(heard)
    for number in range(300):
        it.take(announced(f"liar-{number}"), "192.0.2.66")
    assert len(heard.events) == PER_SENDER_MAX
    it.take(announced(SHELLY), "192.0.2.7")
    assert len(heard.events) == PER_SENDER_MAX + 1  # who is honest still finds room
    assert it.counts[UNKNOWN_UNTOLD] == 300 - PER_SENDER_MAX
    for number in range(SERVICES_MAX + 100):
        it.take(announced(f"many-{number}"), f"198.51.{number // 250}.{number % 250}")
    assert len(heard.events) == SERVICES_MAX
    services = Services(["_shelly._tcp"])
    assert services.take(parse(announced(SHELLY)), "a")
    assert messages.RECORDS_MAX * PER_SENDER_MAX > SERVICES_MAX  # one message could otherwise fill the list


async def test_it_listens_asks_and_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    heard = Heard()
    group = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    group.bind(("127.0.0.1", 0))
    group.setblocking(False)
    monkeypatch.setattr("edge.bridges.mdns.listener.GROUP", "127.0.0.1")
    monkeypatch.setattr("edge.bridges.mdns.listener.PORT", group.getsockname()[1])
    failed = [OSError("no such address")]

    def open_socket(interface: str) -> socket.socket:
        if failed:
            raise failed.pop()
        channel = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        channel.bind((interface, 0))
        return channel

    monkeypatch.setattr("edge.bridges.mdns.listener.REOPEN", type("", (), {"pause_ms": lambda *_: 1})())
    it = MdnsListener(
        MdnsSettings("127.0.0.1"), clock=SystemClock("host"), dice=SeededDice(1), sink=heard, open_socket=open_socket
    )
    running = asyncio.create_task(it.run())
    try:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(20):
            asked, whom = await loop.sock_recvfrom(group, 9_000)
            assert asked == question([service_name(each) for each in MdnsSettings("127.0.0.1").services])
            await loop.sock_sendto(group, announced(SHELLY), whom)
            await heard.until(lambda: heard.events)
        assert it.counts["listening_failed"] == 1
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        group.close()


@pytest.mark.parametrize(
    ("given_", "said"),
    [
        ({"interface": "eth0"}, "is no IPv4 address"),
        ({"interface": "10.0.0.1", "services": ["http"]}, "services"),
        ({"interface": "10.0.0.1", "services": []}, "services"),
        ({"interface": "10.0.0.1", "ask_every": "PT1S"}, "ask_every"),
    ],
)
def test_settings_that_cannot_be_are_refused(given_: dict[str, object], said: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=said):
        msgspec.convert(given_, MdnsSettings)
