"""The site broker with the access list that `innkeeper inventory acl` writes, started for real."""

import asyncio
import contextlib
import subprocess
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from firmware_bridges.catalogue import load_all
from kit.identity import tls_client_context
from kit.mqtt import Broker, MqttConnection, MqttTransport
from provisioning.inventory.inventory import expanded, load
from provisioning.inventory.site_rights import Facades, access_list, site_clients
from provisioning.pki.development_ca import DevelopmentAuthority
from provisioning.rehearsal.nats import free_port
from tests.conftest import find_program
from tests.deployment.test_broker_rights import DOCKER, SETTLE_S, _wait_listening
from tests.provisioning.test_inventory_buses import write

pytestmark = [pytest.mark.tier("mosquitto"), pytest.mark.guarantee("G8"), pytest.mark.timeout(60)]


class SiteBroker:
    def __init__(self, port: int, authority: DevelopmentAuthority) -> None:
        self.port, self._authority = port, authority

    @contextlib.asynccontextmanager
    async def as_(self, name: str, *subscribe: str) -> AsyncIterator[MqttConnection]:
        files = self._authority.client(name)
        tls = tls_client_context(files.authority, files.certificate, files.private_key)
        broker = Broker("127.0.0.1", self.port, name, tls=tls, answer_wait=timedelta(seconds=SETTLE_S))
        async with MqttTransport(broker).connect(subscribe=subscribe) as connection:
            yield connection


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[SiteBroker]:
    path = write(tmp_path)
    clients = site_clients(expanded(load(path), path), load_all(), Facades(home_assistant=True))
    (tmp_path / "site.acl").write_text(access_list(clients))
    authority = DevelopmentAuthority(tmp_path / "pki", name="test authority", now=datetime.now(UTC))
    server, port = authority.server("site-broker"), free_port("127.0.0.1")
    conf = (DOCKER / "mosquitto.conf").read_text()
    for said, here in {
        "listener 8883": f"listener {port} 127.0.0.1",
        "/etc/innkeeper/pki/authority.pem": str(server.authority),
        "/etc/innkeeper/pki/site-broker.pem": str(server.certificate),
        "/etc/innkeeper/pki/site-broker.key.pem": str(server.private_key),
        "/etc/innkeeper/site-broker.acl": str(tmp_path / "site.acl"),
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
        yield SiteBroker(port, authority)
    finally:
        process.terminate()
        process.wait(10)


async def first(connection: MqttConnection) -> tuple[str, bytes]:
    async with asyncio.timeout(SETTLE_S):
        message = await anext(aiter(connection.messages()))
    return message.topic, message.payload


async def test_a_socket_speaks_for_itself_alone_and_hears_its_own_commands_alone(broker: SiteBroker) -> None:
    async with (
        broker.as_("edge-site", "stat/+/POWER", "tele/+/SENSOR", "zigbee2mqtt/#", "innkeeper/boreal/+/+/set") as edge,
        broker.as_("plug-1", "cmnd/#", "zigbee2mqtt/#") as plug,
    ):
        await plug.publish("stat/tasmota_2/POWER", b"forged")
        await plug.publish("zigbee2mqtt/contact-1", b"forged")
        await plug.publish("innkeeper/boreal/light-1/on_off/set", b"forged")
        await plug.publish("stat/tasmota_1/POWER", b"ON")
        assert await first(edge) == ("stat/tasmota_1/POWER", b"ON")
        await edge.publish("cmnd/tasmota_2/POWER", b"OFF")
        await edge.publish("zigbee2mqtt/lamp/set", b"{}")
        await edge.publish("cmnd/tasmota_1/POWER", b"OFF")
        assert await first(plug) == ("cmnd/tasmota_1/POWER", b"OFF")


async def test_the_edge_commands_things_and_pretends_to_be_none(broker: SiteBroker) -> None:
    async with broker.as_("zigbee2mqtt", "zigbee2mqtt/#") as bridge, broker.as_("edge-site") as edge:
        await edge.publish("zigbee2mqtt/contact-1", b'{"contact":true}')
        await edge.publish("zigbee2mqtt/bridge/request/permit_join", b'{"value":true}')
        await edge.publish("zigbee2mqtt/attic/lamp/set", b'{"state":"ON"}')
        assert await first(bridge) == ("zigbee2mqtt/attic/lamp/set", b'{"state":"ON"}')


async def test_home_assistant_is_announced_to_and_commands_by_the_edge_alone(broker: SiteBroker) -> None:
    async with (
        broker.as_("home-assistant", "homeassistant/#", "innkeeper/#", "zigbee2mqtt/#") as home,
        broker.as_("edge-site", "homeassistant/status", "innkeeper/boreal/+/+/set", "cmnd/#") as edge,
    ):
        await edge.publish("zigbee2mqtt/lamp/set", b"not for you")
        await edge.publish("homeassistant/device/light-1/config", b"{}")
        assert await first(home) == ("homeassistant/device/light-1/config", b"{}")
        await home.publish("cmnd/tasmota_1/POWER", b"past the edge")
        await home.publish("homeassistant/device/light-1/config", b"forged")
        await home.publish("innkeeper/boreal/light-1/on_off/set", b"ON")
        assert await first(edge) == ("innkeeper/boreal/light-1/on_off/set", b"ON")


async def test_a_gateway_brings_adverts_and_hears_nothing(broker: SiteBroker) -> None:
    async with broker.as_("ble-gateway-air", "ruuvi/#") as gateway, broker.as_("edge-site", "ruuvi/+/+") as edge:
        await gateway.publish("zigbee2mqtt/lamp", b"forged")
        await gateway.publish("ruuvi/aa/bb", b"{}")
        assert await first(edge) == ("ruuvi/aa/bb", b"{}")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await anext(aiter(gateway.messages()))
