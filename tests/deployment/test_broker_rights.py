"""The brokers as shipped, started for real: who may say and hear what."""

import asyncio
import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from kit.identity import tls_client_context
from kit.mqtt import Broker, MqttConnection, MqttTransport
from kit.net import Message
from protocols.errors import LinkLostError, ReplyTimeoutError
from provisioning.pki.development_ca import DevelopmentAuthority
from tests.deployment.mosquitto import DOCKER, SETTLE_S, ShippedBroker, shipped

pytestmark = [pytest.mark.tier("mosquitto"), pytest.mark.guarantee("G8"), pytest.mark.timeout(60)]

EDGE, OTHER = "e-aurora0000000001", "e-boreal0000000002"


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[ShippedBroker]:
    rights = {"/etc/innkeeper/cloud-broker.acl": str(DOCKER / "cloud-broker.acl")}
    with shipped("cloud-mosquitto.conf", "cloud-broker", tmp_path, rights) as running:
        yield running


async def test_an_edge_is_heard_under_its_own_name_and_under_no_other(broker: ShippedBroker) -> None:
    async with broker.as_("cloud", "up/#", client_id="cloud-0001", listener=8884) as cloud, broker.as_(EDGE) as edge:
        await edge.publish(f"up/7/{OTHER}/a", b"forged")
        await edge.publish(f"down/{OTHER}/command", b"forged")
        await edge.publish(f"up/7/{EDGE}/a", b"own")
        async with asyncio.timeout(SETTLE_S):
            first = await anext(aiter(cloud.messages()))
        assert (first.topic, first.payload) == (f"up/7/{EDGE}/a", b"own")


async def test_an_edge_hears_what_is_meant_for_it_and_nothing_else(broker: ShippedBroker) -> None:
    async with (
        broker.as_(EDGE, f"down/{EDGE}/#") as edge,
        broker.as_("cloud", client_id="cloud-0001", listener=8884) as cloud,
    ):
        await cloud.publish(f"down/{OTHER}/command", b"not for you")
        await cloud.publish(f"down/{EDGE}/command", b"for you")
        async with asyncio.timeout(SETTLE_S):
            first = await anext(aiter(edge.messages()))
        assert first.payload == b"for you"


async def test_an_edge_that_listens_to_others_hears_nothing(broker: ShippedBroker) -> None:
    heard: list[Message] = []

    async def listen() -> None:
        with contextlib.suppress(LinkLostError, ReplyTimeoutError):
            async with broker.as_(OTHER, f"down/{EDGE}/#", "up/#", "down/#") as spy:
                await _collect(spy, heard)

    spying = asyncio.create_task(listen())
    async with (
        broker.as_(EDGE, f"down/{EDGE}/#") as edge,
        broker.as_("cloud", client_id="cloud-0001", listener=8884) as cloud,
    ):
        await cloud.publish(f"down/{EDGE}/command", b"secret")
        async with asyncio.timeout(SETTLE_S):
            await anext(aiter(edge.messages()))
    spying.cancel()
    await asyncio.gather(spying, return_exceptions=True)
    assert heard == []


async def test_an_edge_that_takes_the_name_of_another_does_not_end_its_connection(broker: ShippedBroker) -> None:
    async with (
        broker.as_(EDGE, f"down/{EDGE}/#") as edge,
        broker.as_("cloud", client_id="cloud-0001", listener=8884) as cloud,
        broker.as_("cloud", client_id="cloud-0002", listener=8884) as worker,
        broker.as_(OTHER, client_id=EDGE),
    ):
        for sender, order in ((cloud, b"1"), (worker, b"2")):
            await sender.publish(f"down/{EDGE}/command", order)
            async with asyncio.timeout(SETTLE_S):
                assert (await anext(aiter(edge.messages()))).payload == order


async def test_a_stranger_without_our_certificate_gets_no_connection(broker: ShippedBroker, tmp_path: Path) -> None:
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
