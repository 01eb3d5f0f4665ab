"""The buses' transport: the contract of every `Transport` over both brokers, and what it drops and tells."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest

from kit import mqtt
from kit.mqtt_wire import inbox
from kit.mqtt_wire.bus_transport import BusConnection, BusTransport
from kit.mqtt_wire.inbox import LARGE_BYTES_MAX, LARGE_WAITING_MAX
from kit.mqtt_wire.transport import Broker, WireTransport
from kit.net import PAYLOAD_BYTES_MAX
from protocols.errors import LinkLostError
from provisioning.rehearsal import nats as rehearsal
from provisioning.rehearsal.nats import Nats, free_port
from tests.conftest import find_program
from tests.contract.transport_claims import CLAIMS, Claim, take

every_claim: Final = pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.__name__)
LIST: Final = "zigbee2mqtt/bridge/devices"
WAITING: Final = 16
WAIT_S: Final = 20.0


@pytest.fixture
async def nats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Broker]:
    monkeypatch.setattr(rehearsal, "ACK_WAIT", "60s")  # else what a busy reader has not answered in 2 s comes twice
    async with Nats(tmp_path / "nats") as server:
        yield Broker(server.host, server.port, client_id="ben-00000001")


@pytest.fixture
async def mosquitto(tmp_path: Path) -> AsyncIterator[Broker]:
    program, port = find_program("mosquitto"), free_port("127.0.0.1")
    assert program is not None
    (tmp_path / "mosquitto.conf").write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n")
    process = await asyncio.create_subprocess_exec(
        program, "-c", tmp_path / "mosquitto.conf", stderr=asyncio.subprocess.DEVNULL
    )
    broker = Broker("127.0.0.1", port, client_id="ben-00000001")
    try:
        async with asyncio.timeout(WAIT_S):
            while process.returncode is None:
                with contextlib.suppress(LinkLostError):
                    async with WireTransport(replace(broker, client_id="probe-0001")).connect():
                        break
                await asyncio.sleep(0.02)
        assert process.returncode is None, f"mosquitto ended with {process.returncode}"
        yield broker
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


def another(broker: Broker) -> Broker:
    return replace(broker, client_id="ann-00000001")


def loud(broker: Broker) -> mqtt.MqttTransport:
    """Somebody who says more than we read."""
    at = (broker.host, broker.port)
    return mqtt.MqttTransport(mqtt.Broker(*at, client_id="ann-00000001", payload_bytes_max=LARGE_BYTES_MAX))


async def until_here(link: BusConnection, count: int) -> None:
    async with asyncio.timeout(WAIT_S):
        while len(link.inbox) < count:
            await asyncio.sleep(0.01)


@pytest.mark.tier("nats")
@every_claim
async def test_over_nats(claim: Claim, nats: Broker) -> None:
    await claim(BusTransport(another(nats), topic_waiting_max=None), BusTransport(nats))


@pytest.mark.tier("mosquitto")
@pytest.mark.parametrize("version", ["3.1.1", "5"])
@every_claim
async def test_over_mosquitto(claim: Claim, version: str, mosquitto: Broker) -> None:
    ben = replace(mosquitto, version="5" if version == "5" else "3.1.1")
    await claim(BusTransport(another(ben)), BusTransport(ben))


@pytest.mark.tier("mosquitto")
async def test_what_is_read_is_acknowledged_so_that_the_broker_sends_on(mosquitto: Broker) -> None:
    """Mosquitto keeps twenty in flight: the hundredth comes only if those before it were acknowledged."""
    async with (
        BusTransport(mosquitto).connect(subscribe=["a"]) as link,
        WireTransport(another(mosquitto)).connect() as saying,
    ):
        await saying.publish_many([(b"a", b"%d" % each) for each in range(100)])
        assert [int(each.payload) for each in await take(link, 100)] == list(range(100))


@pytest.mark.tier("nats")
@pytest.mark.guarantee("G9")
async def test_an_inbox_has_an_end_and_what_overflows_is_told(nats: Broker) -> None:
    hearing = BusTransport(replace(nats, inbox_messages_max=3))
    told: list[tuple[str, str, int]] = []
    hearing.dropped = lambda *what: told.append(what)
    async with hearing.connect(subscribe=["a"]) as link, WireTransport(another(nats)).connect() as saying:
        await saying.publish_many([(b"a", b"%d" % each) for each in range(8)])
        async with asyncio.timeout(WAIT_S):
            while hearing.drops.get("overflowed") != 5:
                await asyncio.sleep(0.01)
        assert [each.payload for each in await take(link, 3)] == [b"0", b"1", b"2"]
    assert told == [("overflowed", "a", 1)] * 5


@pytest.mark.tier("nats")
async def test_a_neighbour_is_heard_behind_no_more_than_its_share_of_a_babblers_words(nats: Broker) -> None:
    hearing = BusTransport(replace(nats, inbox_messages_max=64), topic_waiting_max=WAITING)
    told: Counter[tuple[str, str]] = Counter()
    hearing.dropped = lambda why, topic, _: told.update([(why, topic)])
    async with hearing.connect(subscribe=["zigbee2mqtt/#"]) as link, WireTransport(another(nats)).connect() as saying:
        assert isinstance(link, BusConnection)
        await saying.publish_many([(b"zigbee2mqtt/contact", b"%d" % each) for each in range(300)])
        await saying.publish("zigbee2mqtt/neighbour", b"1")
        await until_here(link, WAITING + 1)
        said = [each.payload for each in await take(link, WAITING + 1)]
    assert said == [b"%d" % each for each in range(300 - WAITING, 300)] + [b"1"]
    assert told == {("crowded", "zigbee2mqtt/contact"): 300 - WAITING}


@pytest.mark.tier("nats")
async def test_what_is_too_long_is_told_with_its_size_and_what_follows_is_heard(nats: Broker) -> None:
    """Just over what is kept, and far over what is read."""
    hearing = BusTransport(nats, large_topics=frozenset({LIST}))
    told: list[tuple[str, str, int]] = []
    hearing.dropped = lambda *what: told.append(what)
    sizes = [PAYLOAD_BYTES_MAX + 1, PAYLOAD_BYTES_MAX + 200_000]
    async with hearing.connect(subscribe=["zigbee2mqtt/#"]) as link, loud(nats).connect() as saying:
        for size in sizes:
            await saying.publish("zigbee2mqtt/lamp", bytes(size))
        await saying.publish("zigbee2mqtt/lamp", b"{}")
        assert [each.payload for each in await take(link, 1)] == [b"{}"]
    assert told == [("oversized", "zigbee2mqtt/lamp", size) for size in sizes]


@pytest.mark.tier("nats")
async def test_a_topic_that_is_known_to_be_long_is_read_whole_and_only_so_many_wait(nats: Broker) -> None:
    hearing = BusTransport(nats, large_topics=frozenset({LIST}))
    payload = bytes(range(256)) * 12 * 1024  # 3 MiB
    async with hearing.connect(subscribe=["zigbee2mqtt/#"]) as link, loud(nats).connect() as saying:
        assert isinstance(link, BusConnection)
        for _ in range(LARGE_WAITING_MAX + 2):
            await saying.publish(LIST, payload)
        async with asyncio.timeout(WAIT_S):
            while hearing.drops.get("overflowed") != 2:
                await asyncio.sleep(0.01)
        assert [each.payload == payload for each in await take(link, LARGE_WAITING_MAX)] == [True] * LARGE_WAITING_MAX


@pytest.mark.tier("nats")
async def test_who_says_much_under_many_names_fills_no_memory_and_takes_no_small_word(
    nats: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbox, "WAITING_BYTES_MAX", 1024 * 1024)
    hearing = BusTransport(nats, topic_waiting_max=32)
    async with hearing.connect(subscribe=["zigbee2mqtt/#"]) as link, WireTransport(another(nats)).connect() as saying:
        assert isinstance(link, BusConnection)
        for number in range(40):
            await saying.publish(f"zigbee2mqtt/loud-{number}", bytes(256 * 1024))
        await saying.publish("zigbee2mqtt/neighbour", b"{}")
        await until_here(link, 41)
        assert link.inbox.waiting_bytes <= 1024 * 1024 + 2
        told = [each.topic for each in await take(link, 5)]
    assert told == [*(f"zigbee2mqtt/loud-{number}" for number in range(4)), "zigbee2mqtt/neighbour"]
    assert hearing.drops == {"overweight": 36}


async def test_a_flood_before_the_answer_to_a_subscribe_does_not_hold_that_answer_up() -> None:
    """A broker may send all that it has kept, at QoS 0, before it answers: more than an inbox holds."""
    kept = b"".join(b"\x30\x0a\x00\x07a/%05d." % number for number in range(5_000))

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            for answer in (b"\x20\x02\x00\x00", None):  # CONNECT, then SUBSCRIBE
                _, length = await reader.readexactly(2)
                body = await reader.readexactly(length)
                writer.write(answer if answer is not None else kept + b"\x90\x03" + body[:2] + b"\x01")
            await reader.read()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        hearing = BusTransport(Broker("127.0.0.1", server.sockets[0].getsockname()[1], client_id="ben-00000001"))
        async with hearing.connect(subscribe=["a/#"]) as link:
            heard = await take(link, 4_096)
    assert [each.topic for each in heard] == [f"a/{number:05d}" for number in range(4_096)]
    assert hearing.drops == {"overflowed": 904}
