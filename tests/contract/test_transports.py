"""One contract for every `Transport`: the simulated net, and MQTT over the brokers that this machine has."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Final

import pytest

from kit.mqtt import Broker, MqttTransport
from kit.net import PAYLOAD_BYTES_MAX
from kit.simulation import Faults, SimLoop, SimNet, run_simulated
from protocols.errors import LinkLostError, ReplyTimeoutError
from provisioning.rehearsal import nats as rehearsal
from provisioning.rehearsal.nats import Nats, free_port
from tests.conftest import find_program
from tests.contract.transport_claims import CLAIMS, Claim, take

every_claim: Final = pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.__name__)
START_WAIT_S: Final = 10.0


@every_claim
@pytest.mark.parametrize("seed", range(3))
def test_the_simulated_net(claim: Claim, seed: int) -> None:
    async def main(loop: SimLoop) -> None:
        net = SimNet(loop, Faults(delay_least_ms=1, delay_most_ms=300))
        await claim(net.transport("ann"), net.transport("ben"))

    run_simulated(main, seed, until_s=3_600)


@pytest.fixture
async def nats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Nats]:
    monkeypatch.setattr(rehearsal, "ACK_WAIT", "60s")  # else what a busy reader has not answered in 2 s comes twice
    async with Nats(tmp_path / "nats") as server:
        yield server


@pytest.mark.tier("nats")
@every_claim
async def test_mqtt_3_1_1_over_nats(claim: Claim, nats: Nats) -> None:
    ann = Broker(nats.host, nats.port, client_id="ann-00000001")
    await claim(MqttTransport(ann), MqttTransport(replace(ann, client_id="ben-00000001")))


@pytest.fixture
async def mosquitto(tmp_path: Path) -> AsyncIterator[int]:
    program, port = find_program("mosquitto"), free_port("127.0.0.1")
    assert program is not None
    (tmp_path / "mosquitto.conf").write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n")
    process = await asyncio.create_subprocess_exec(
        program, "-c", tmp_path / "mosquitto.conf", stderr=asyncio.subprocess.DEVNULL
    )
    try:
        async with asyncio.timeout(START_WAIT_S):
            while process.returncode is None:
                with contextlib.suppress(LinkLostError):
                    async with MqttTransport(Broker("127.0.0.1", port, client_id="probe-0001")).connect():
                        break
                await asyncio.sleep(0.02)
        assert process.returncode is None, f"mosquitto ended with {process.returncode}"
        yield port
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


@pytest.mark.tier("mosquitto")
@pytest.mark.parametrize("version", ["3.1.1", "5"])
@every_claim
async def test_mqtt_over_mosquitto(claim: Claim, version: str, mosquitto: int) -> None:
    ann = Broker("127.0.0.1", mosquitto, client_id="ann-00000001", version="5" if version == "5" else "3.1.1")
    await claim(MqttTransport(ann), MqttTransport(replace(ann, client_id="ben-00000001")))


@pytest.mark.tier("nats")
@pytest.mark.guarantee("G11")
async def test_a_killed_broker_is_noticed_by_everybody_and_a_new_link_works(nats: Nats) -> None:
    transport = MqttTransport(Broker(nats.host, nats.port, client_id="ann-00000001"))
    async with transport.connect(subscribe=["a"]) as link:
        reading = asyncio.create_task(take(link, 1))
        await nats.kill()
        await asyncio.wait_for(link.wait_closed(), START_WAIT_S)
        with pytest.raises(LinkLostError):
            await reading
        with pytest.raises(LinkLostError):
            await link.publish("a", b"")
    with pytest.raises(LinkLostError, match="no connection"):
        async with transport.connect():
            pass
    await nats.start()
    async with transport.connect(subscribe=["a"]) as link:
        await link.publish("a", b"back")
        assert (await take(link, 1))[0].payload == b"back"


@pytest.mark.tier("nats")
@pytest.mark.guarantee("G9")
async def test_an_inbox_has_an_end_and_what_overflows_is_counted_and_told(
    nats: Nats, caplog: pytest.LogCaptureFixture
) -> None:
    broker = Broker(nats.host, nats.port, client_id="ben-00000001", inbox_messages_max=3)
    hearing = MqttTransport(broker)
    async with (
        hearing.connect(subscribe=["a"]) as link,
        MqttTransport(replace(broker, client_id="ann-00000001")).connect() as saying,
    ):
        for number in range(8):
            await saying.publish("a", str(number).encode())
        async with asyncio.timeout(START_WAIT_S):
            while hearing.overflowed < 5:
                await asyncio.sleep(0.01)
        assert [each.payload for each in await take(link, 3)] == [b"0", b"1", b"2"]
    said = [each.getMessage() for each in caplog.records if each.name == "kit.mqtt.client"]
    assert said == ["dropped a message of 1 bytes on a: overflowed (1 so far)"], "the first of five alone"


@pytest.mark.tier("nats")
async def test_what_is_too_long_is_dropped_acknowledged_and_counted_and_what_follows_is_heard(nats: Nats) -> None:
    broker = Broker(nats.host, nats.port, client_id="ben-00000001", payload_bytes_max=2 * PAYLOAD_BYTES_MAX)
    hearing = MqttTransport(broker)
    async with (
        hearing.connect(subscribe=["a"]) as link,
        MqttTransport(replace(broker, client_id="ann-00000001")).connect() as saying,
    ):
        await saying.publish("a", bytes(PAYLOAD_BYTES_MAX + 1))
        await saying.publish("a", b"{}")
        assert [each.payload for each in await take(link, 1)] == [b"{}"]
    assert (hearing.oversized, hearing.overflowed) == (1, 0)


@pytest.mark.tier("nats")
@pytest.mark.guarantee("G9")
async def test_unread_bytes_have_an_end_short_words_aside_and_room_that_is_read_free_is_there_again(
    nats: Nats, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kit.mqtt.WAITING_BYTES_MAX", 3 * PAYLOAD_BYTES_MAX)
    broker = Broker(nats.host, nats.port, client_id="ben-00000001")
    hearing = MqttTransport(broker)
    async with (
        hearing.connect(subscribe=["a"]) as link,
        MqttTransport(replace(broker, client_id="ann-00000001")).connect() as saying,
    ):
        for _ in range(5):
            await saying.publish("a", bytes(PAYLOAD_BYTES_MAX))
        await saying.publish("a", b"short")
        async with asyncio.timeout(START_WAIT_S):
            while hearing.overweight < 2:
                await asyncio.sleep(0.01)
        assert [len(each.payload) for each in await take(link, 4)] == [*[PAYLOAD_BYTES_MAX] * 3, len(b"short")]
        await saying.publish("a", bytes(PAYLOAD_BYTES_MAX))
        assert [len(each.payload) for each in await take(link, 1)] == [PAYLOAD_BYTES_MAX]
    assert (hearing.overweight, hearing.oversized, hearing.overflowed) == (2, 0, 0)


async def _deaf_broker(answers: bytes) -> asyncio.Server:
    """A server that answers the first packet with `answers` and nothing ever after."""

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.read(1)
            writer.write(answers)
            while await reader.read(1024):
                pass
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    return await asyncio.start_server(greet, "127.0.0.1", 0)


def _to(server: asyncio.Server, answer_wait: timedelta = timedelta(seconds=10)) -> MqttTransport:
    """`answer_wait` is brief where no answer comes; one that comes has the transport's own patience."""
    port = server.sockets[0].getsockname()[1]
    return MqttTransport(Broker("127.0.0.1", port, "ann-00000001", answer_wait=answer_wait))


async def test_a_broker_that_never_greets_is_no_connection() -> None:
    async with await _deaf_broker(b"") as server:
        with pytest.raises(LinkLostError, match="no connection"):
            async with _to(server, timedelta(milliseconds=50)).connect():
                pass


async def test_a_refusal_is_no_connection() -> None:
    async with await _deaf_broker(bytes([0x20, 2, 0, 5])) as server:  # CONNACK 5: not authorised
        with pytest.raises(LinkLostError, match=r"no connection: .*[Nn]ot authori[sz]ed"):
            async with _to(server).connect():
                pass


async def test_an_unanswered_publish_may_have_arrived() -> None:
    async with await _deaf_broker(bytes([0x20, 2, 0, 0])) as server, _to(server).connect() as link:
        link._client.timeout = 0.05
        with pytest.raises(ReplyTimeoutError, match="sent to a, no answer"):
            await link.publish("a", b"")


async def test_a_connect_that_is_cancelled_leaves_nothing_open() -> None:
    async with await _deaf_broker(b"") as server:
        port = server.sockets[0].getsockname()[1]
        connecting = MqttTransport(Broker("127.0.0.1", port, "ann-00000001")).connect()
        task = asyncio.ensure_future(connecting.__aenter__())
        await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
