"""The site brokers as shipped: an edge's several connections by one certificate, and whoever would like to be it."""

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from kit.mqtt import MqttConnection
from kit.mqtt_wire.transport import Broker, WireTransport
from tests.deployment.mosquitto import DOCKER, SETTLE_S, ShippedBroker, shipped
from tests.deployment.test_playbooks import rendered

pytestmark = [pytest.mark.tier("mosquitto"), pytest.mark.guarantee("G8"), pytest.mark.timeout(60)]

SESSION = "e-aurora0000000001-json"
RIGHTS = "user edge-site\ntopic readwrite #\n\nuser plug-1\ntopic readwrite plug/#\n"


@pytest.fixture(params=["docker", "ansible"])
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ShippedBroker]:
    conf, rights = DOCKER / "mosquitto.conf", "/etc/innkeeper/site-broker.acl"
    if request.param == "ansible":
        conf, rights = tmp_path / "ansible.conf", "/etc/mosquitto/innkeeper.acl"
        conf.write_text(rendered("mosquitto.conf.j2"))
    (tmp_path / "site.acl").write_text(RIGHTS)
    with shipped(conf, "site-broker", tmp_path, {rights: str(tmp_path / "site.acl")}) as running:
        yield running


def kept_session(broker: ShippedBroker, name: str, listener: int) -> WireTransport:
    """The way of [json_devices]: the broker keeps its session."""
    return WireTransport(
        Broker(
            "127.0.0.1",
            broker.ports[listener],
            client_id=SESSION,
            tls=broker.tls(name),
            answer_wait=timedelta(seconds=SETTLE_S),
            session_expiry=timedelta(days=7),
        )
    )


async def first(connection: MqttConnection) -> bytes:
    async with asyncio.timeout(SETTLE_S):
        return (await anext(aiter(connection.messages()))).payload


async def test_an_edge_has_all_its_connections_by_one_certificate(broker: ShippedBroker) -> None:
    async with (
        broker.as_("edge-site", "plug/a", client_id=SESSION, listener=8884) as json,
        broker.as_("edge-site", "plug/a", client_id="e-aurora0000000001-zigbee", listener=8884) as bus,
        broker.as_("edge-site", "plug/a", client_id="e-aurora0000000001-ha", listener=8884) as home,
        broker.as_("plug-1") as plug,
    ):
        for n in (b"1", b"2"):
            await plug.publish("plug/a", n)
            assert [await first(each) for each in (json, bus, home)] == [n, n, n]


async def test_a_device_under_the_name_of_the_edges_session_neither_takes_it_nor_ends_it(broker: ShippedBroker) -> None:
    """At the devices' listener its id is its certificate's name, whatever it says."""
    async with kept_session(broker, "edge-site", 8884).connect(subscribe=["plug/a", "secret"]):
        pass
    async with broker.as_("edge-site", client_id="e-aurora0000000001-ha", listener=8884) as edge:
        await edge.publish("secret", b"kept for the edge")
    async with broker.as_("plug-1", "plug/echo", client_id=SESSION) as plug:  # a clean session: would empty the edge's
        await plug.publish("plug/echo", b"only this")
        assert await first(plug) == b"only this"
    async with kept_session(broker, "edge-site", 8884).connect() as again:
        assert again.session_present
        async with asyncio.timeout(SETTLE_S):
            batch = await again.batch(10)
        assert [payload for _, payload, _, _ in batch] == [b"kept for the edge"]


async def test_who_takes_the_edges_session_at_the_edges_own_listener_reads_nothing_of_it(broker: ShippedBroker) -> None:
    """Nobody but the edge should reach that listener; whoever does is held to its own rights all the same."""
    async with kept_session(broker, "edge-site", 8884).connect(subscribe=["plug/a", "secret"]):
        pass
    async with broker.as_("edge-site", client_id="e-aurora0000000001-ha", listener=8884) as edge:
        await edge.publish("secret", b"kept for the edge")
        async with kept_session(broker, "plug-1", 8884).connect() as thief:
            assert thief.session_present
            await edge.publish("secret", b"now")
            await edge.publish("plug/a", b"its own")
            async with asyncio.timeout(SETTLE_S):
                batch = await thief.batch(10)
            assert [payload for _, payload, _, _ in batch] == [b"its own"]
