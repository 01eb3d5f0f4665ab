"""The brokers as shipped, started for real: who may say and hear what."""

import asyncio
import contextlib
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from kit.identity import tls_client_context
from kit.mqtt import Broker, MqttConnection, MqttTransport
from kit.net import Message
from protocols.errors import LinkLostError, ReplyTimeoutError
from provisioning.pki.development_ca import DevelopmentAuthority, IdentityFiles
from provisioning.rehearsal.nats import free_port
from tests.conftest import find_program

pytestmark = [pytest.mark.tier("mosquitto"), pytest.mark.guarantee("G8"), pytest.mark.timeout(60)]

DOCKER = Path(__file__).resolve().parents[2] / "docker"
EDGE, OTHER = "e-aurora0000000001", "e-boreal0000000002"
SETTLE_S = 5.0


class CloudBroker:
    def __init__(self, port: int, authority: DevelopmentAuthority) -> None:
        self.port, self._authority = port, authority

    @contextlib.asynccontextmanager
    async def as_(self, name: str, *subscribe: str, client_id: str = "") -> AsyncIterator[MqttConnection]:
        files = self._authority.client(name)
        tls = tls_client_context(files.authority, files.certificate, files.private_key)
        broker = Broker("127.0.0.1", self.port, client_id or name, tls=tls, answer_wait=timedelta(seconds=SETTLE_S))
        async with MqttTransport(broker).connect(subscribe=subscribe) as connection:
            yield connection


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[CloudBroker]:
    authority = DevelopmentAuthority(tmp_path / "pki", name="test authority", now=datetime.now(UTC))
    server: IdentityFiles = authority.server("cloud-broker")
    port = free_port("127.0.0.1")
    conf = (DOCKER / "cloud-mosquitto.conf").read_text()
    for said, here in {
        "listener 8883": f"listener {port} 127.0.0.1",
        "/etc/innkeeper/pki/authority.pem": str(server.authority),
        "/etc/innkeeper/pki/cloud-broker.pem": str(server.certificate),
        "/etc/innkeeper/pki/cloud-broker.key.pem": str(server.private_key),
        "/etc/innkeeper/cloud-broker.acl": str(DOCKER / "cloud-broker.acl"),
        "/var/lib/mosquitto/": f"{tmp_path}/",
    }.items():
        assert said in conf, said
        conf = conf.replace(said, here)
    # as root it would drop its rights and could not read the folder of this test
    (tmp_path / "mosquitto.conf").write_text(conf + "user root\n")
    binary = find_program("mosquitto")
    assert binary is not None
    with (tmp_path / "broker.log").open("wb") as log:
        process = subprocess.Popen([binary, "-c", tmp_path / "mosquitto.conf"], stdout=log, stderr=log)
    try:
        _wait_listening(port, process, tmp_path / "broker.log")
        yield CloudBroker(port, authority)
    finally:
        process.terminate()
        process.wait(10)


async def test_an_edge_is_heard_under_its_own_name_and_under_no_other(broker: CloudBroker) -> None:
    async with broker.as_("cloud", "up/#", client_id="cloud-0001") as cloud, broker.as_(EDGE) as edge:
        await edge.publish(f"up/7/{OTHER}/a", b"forged")
        await edge.publish(f"down/{OTHER}/command", b"forged")
        await edge.publish(f"up/7/{EDGE}/a", b"own")
        async with asyncio.timeout(SETTLE_S):
            first = await anext(aiter(cloud.messages()))
        assert (first.topic, first.payload) == (f"up/7/{EDGE}/a", b"own")


async def test_an_edge_hears_what_is_meant_for_it_and_nothing_else(broker: CloudBroker) -> None:
    async with (
        broker.as_(EDGE, f"down/{EDGE}/#") as edge,
        broker.as_("cloud", client_id="cloud-0001") as cloud,
    ):
        await cloud.publish(f"down/{OTHER}/command", b"not for you")
        await cloud.publish(f"down/{EDGE}/command", b"for you")
        async with asyncio.timeout(SETTLE_S):
            first = await anext(aiter(edge.messages()))
        assert first.payload == b"for you"


async def test_an_edge_that_listens_to_others_hears_nothing(broker: CloudBroker) -> None:
    heard: list[Message] = []

    async def listen() -> None:
        with contextlib.suppress(LinkLostError, ReplyTimeoutError):
            async with broker.as_(OTHER, f"down/{EDGE}/#", "up/#", "down/#") as spy:
                await _collect(spy, heard)

    spying = asyncio.create_task(listen())
    async with (
        broker.as_(EDGE, f"down/{EDGE}/#") as edge,
        broker.as_("cloud", client_id="cloud-0001") as cloud,
    ):
        await cloud.publish(f"down/{EDGE}/command", b"secret")
        async with asyncio.timeout(SETTLE_S):
            await anext(aiter(edge.messages()))
    spying.cancel()
    await asyncio.gather(spying, return_exceptions=True)
    assert heard == []


async def test_a_stranger_without_our_certificate_gets_no_connection(broker: CloudBroker, tmp_path: Path) -> None:
    stranger = DevelopmentAuthority(tmp_path / "foreign", name="foreign authority", now=datetime.now(UTC)).client(EDGE)
    ours = tmp_path / "pki" / "authority.pem"
    tls = tls_client_context(ours, stranger.certificate, stranger.private_key)
    there = Broker("127.0.0.1", broker.port, EDGE, tls=tls, answer_wait=timedelta(seconds=2))
    with pytest.raises((LinkLostError, ReplyTimeoutError)):
        async with MqttTransport(there).connect():
            pass


async def _collect(connection: MqttConnection, heard: list[Message]) -> None:
    async for message in connection.messages():
        heard += [message]


def _wait_listening(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(200):
        assert process.poll() is None, log.read_text()
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.02)
    pytest.fail(f"mosquitto does not listen: {log.read_text()}")
