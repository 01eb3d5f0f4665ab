"""The broker as rehearsal runs it: identities by certificate, rights by topic, and it comes back where it was."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from kit.identity import tls_client_context
from kit.mqtt import Broker, MqttConnection, MqttTransport
from protocols.errors import LinkLostError, ReplyTimeoutError
from provisioning.pki.development_ca import DevelopmentAuthority
from provisioning.rehearsal.nats import Nats, Tls, cloud_rights, edge_rights

pytestmark = pytest.mark.tier("nats")

EDGE, OTHER, CLOUD = "e-aurora0000000001", "e-other00000000001", "cloud-ingest"
HEARD_WAIT_S = 10.0
ANSWER_WAIT = timedelta(seconds=2)


class House:
    """A broker with three identities."""

    def __init__(self, folder: Path) -> None:
        self._ca = DevelopmentAuthority(folder / "ca", name="test", now=datetime.now(UTC))
        server = self._ca.server("broker")
        rights = [edge_rights(EDGE), edge_rights(OTHER), cloud_rights(CLOUD)]
        self.nats = Nats(folder / "nats", tls=Tls(server.authority, server.certificate, server.private_key, rights))

    def transport(self, name: str) -> MqttTransport:
        files = self._ca.client(name)
        tls = tls_client_context(files.authority, files.certificate, files.private_key)
        return MqttTransport(Broker(self.nats.host, self.nats.port, client_id=name, tls=tls, answer_wait=ANSWER_WAIT))


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    made = House(tmp_path)
    async with made.nats:
        yield made


async def heard(connection: MqttConnection) -> tuple[str, bytes]:
    async with asyncio.timeout(HEARD_WAIT_S):
        async for message in connection.messages():
            return message.topic, message.payload
    raise AssertionError("the connection ended")


async def test_an_edge_speaks_to_the_cloud_and_hears_what_is_meant_for_it(house: House) -> None:
    async with (
        house.transport(CLOUD).connect(subscribe=["up/#"]) as cloud,
        house.transport(EDGE).connect(subscribe=[f"down/{EDGE}/#"]) as edge,
    ):
        await edge.publish(f"up/3/{EDGE}/a", b"batch")
        assert await heard(cloud) == (f"up/3/{EDGE}/a", b"batch")
        await cloud.publish(f"down/{EDGE}/ack", b"ack")
        assert await heard(edge) == (f"down/{EDGE}/ack", b"ack")


@pytest.mark.guarantee("G8")
async def test_an_edge_can_neither_speak_for_another_nor_hear_what_another_is_told(house: House) -> None:
    async with (
        house.transport(CLOUD).connect(subscribe=["up/#"]) as cloud,
        house.transport(OTHER).connect(subscribe=[f"down/{EDGE}/#", f"down/{OTHER}/#", "#"]) as other,
    ):
        with contextlib.suppress(LinkLostError, ReplyTimeoutError):
            await other.publish(f"up/3/{EDGE}/a", b"forged")
        await cloud.publish(f"down/{EDGE}/command", b"secret")
        async with house.transport(EDGE).connect() as edge:
            await edge.publish(f"up/3/{EDGE}/a", b"true")
        assert await heard(cloud) == (f"up/3/{EDGE}/a", b"true")  # a SUBACK or PUBACK proves nothing: deliveries do
        await cloud.publish(f"down/{OTHER}/command", b"canary")
        assert await heard(other) == (f"down/{OTHER}/command", b"canary")


async def test_a_stranger_is_refused(house: House, tmp_path: Path) -> None:
    stranger = DevelopmentAuthority(tmp_path / "elsewhere", name="elsewhere", now=datetime.now(UTC)).client(EDGE)
    rogue = tls_client_context(tmp_path / "ca" / "authority.pem", stranger.certificate, stranger.private_key)
    broker = Broker(house.nats.host, house.nats.port, client_id=EDGE, tls=rogue, answer_wait=timedelta(seconds=2))
    transport = MqttTransport(broker)
    with pytest.raises(LinkLostError):
        async with transport.connect():
            raise AssertionError("a stranger's certificate was taken")


async def test_a_retained_document_outlives_the_broker(house: House) -> None:
    async with house.transport(CLOUD).connect() as cloud:
        await cloud.publish(f"down/{EDGE}/desired/stays", b"document 1", retain=True)
        await cloud.publish(f"down/{EDGE}/desired/stays", b"document 2", retain=True)
    port = house.nats.port
    await house.nats.kill()
    await house.nats.start()
    assert house.nats.port == port
    async with house.transport(EDGE).connect(subscribe=[f"down/{EDGE}/#"]) as edge:
        assert await heard(edge) == (f"down/{EDGE}/desired/stays", b"document 2")
