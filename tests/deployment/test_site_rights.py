"""The site broker with the access list that `innkeeper inventory acl` writes, started for real."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from firmware_bridges.catalogue import load_all
from kit.mqtt import MqttConnection
from provisioning.inventory.inventory import expanded, load
from provisioning.inventory.site_rights import Facades, access_list, site_clients
from tests.deployment.mosquitto import SETTLE_S, ShippedBroker, shipped
from tests.provisioning.test_inventory_buses import write

pytestmark = [pytest.mark.tier("mosquitto"), pytest.mark.guarantee("G8"), pytest.mark.timeout(60)]


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[ShippedBroker]:
    path = write(tmp_path)
    clients = site_clients(expanded(load(path), path), load_all(), Facades(home_assistant=True))
    (tmp_path / "site.acl").write_text(access_list(clients))
    rights = {"/etc/innkeeper/site-broker.acl": str(tmp_path / "site.acl")}
    with shipped("mosquitto.conf", "site-broker", tmp_path, rights) as running:
        yield running


async def first(connection: MqttConnection) -> tuple[str, bytes]:
    async with asyncio.timeout(SETTLE_S):
        message = await anext(aiter(connection.messages()))
    return message.topic, message.payload


async def test_a_socket_speaks_for_itself_alone_and_hears_its_own_commands_alone(broker: ShippedBroker) -> None:
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


async def test_the_edge_commands_things_and_pretends_to_be_none(broker: ShippedBroker) -> None:
    async with broker.as_("zigbee2mqtt", "zigbee2mqtt/#") as bridge, broker.as_("edge-site") as edge:
        await edge.publish("zigbee2mqtt/contact-1", b'{"contact":true}')
        await edge.publish("zigbee2mqtt/bridge/request/permit_join", b'{"value":true}')
        await edge.publish("zigbee2mqtt/attic/lamp/set", b'{"state":"ON"}')
        assert await first(bridge) == ("zigbee2mqtt/attic/lamp/set", b'{"state":"ON"}')


async def test_home_assistant_is_announced_to_and_commands_by_the_edge_alone(broker: ShippedBroker) -> None:
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


async def test_the_edge_reads_what_it_announced_in_an_earlier_life_and_nobody_forges_it(broker: ShippedBroker) -> None:
    async with broker.as_("edge-site") as edge, broker.as_("home-assistant") as home:
        await edge.publish("innkeeper/boreal/announced", b"ours", retain=True)
        await home.publish("innkeeper/boreal/announced", b"forged", retain=True)
    async with broker.as_("edge-site", "innkeeper/boreal/announced") as edge:
        assert await first(edge) == ("innkeeper/boreal/announced", b"ours")


async def test_a_gateway_brings_adverts_and_hears_nothing(broker: ShippedBroker) -> None:
    async with broker.as_("ble-gateway-air", "ruuvi/#") as gateway, broker.as_("edge-site", "ruuvi/+/+") as edge:
        await gateway.publish("zigbee2mqtt/lamp", b"forged")
        await gateway.publish("ruuvi/aa/bb", b"{}")
        assert await first(edge) == ("ruuvi/aa/bb", b"{}")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await anext(aiter(gateway.messages()))
