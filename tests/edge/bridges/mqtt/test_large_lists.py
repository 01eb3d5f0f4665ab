"""The list of all that a Zigbee2MQTT carries is one message of megabytes: read whole; nothing else may be so long."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import pytest
import structlog

from edge.bridges.mqtt.supervisor import Zigbee2MqttSupervisor
from edge.bridges.ports import DeviceEvent
from kit import mqtt
from kit.clock import SystemClock
from kit.dice import SeededDice
from kit.mqtt_wire.bus_transport import BusTransport
from kit.mqtt_wire.inbox import LARGE_BYTES_MAX
from kit.mqtt_wire.transport import Broker
from kit.net import PAYLOAD_BYTES_MAX
from protocols.device_model.capability import Capability
from protocols.device_model.identity import BusId, DeviceId
from protocols.device_model.site_plan import Address, MqttBus
from protocols.mqtt.zigbee2mqtt import devices_topic
from provisioning.rehearsal import nats as rehearsal
from provisioning.rehearsal.nats import Nats
from tests.edge.bridges.field import CATALOGUE, CONTACT, Heard

pytestmark = pytest.mark.tier("nats")
BASE: Final = "zigbee2mqtt"
TOPIC: Final = devices_topic(BASE)
LAMPS: Final = 300
EXPOSES: Final = [{"type": "numeric", "name": f"n{each}", "description": "x" * 200} for each in range(50)]


@pytest.fixture
async def broker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[str, int]]:
    monkeypatch.setattr(rehearsal, "ACK_WAIT", "60s")  # else what a busy reader has not answered in 2 s comes twice
    async with Nats(tmp_path / "nats") as nats:
        yield nats.host, nats.port


def bridge(host: str, port: int) -> mqtt.MqttTransport:
    """A Zigbee2MQTT, or somebody in its place, that says what it likes at any length."""
    return mqtt.MqttTransport(mqtt.Broker(host, port, client_id="bridge-zigbee", payload_bytes_max=LARGE_BYTES_MAX))


def _entry(name: str, number: int, model: str) -> dict[str, Any]:
    definition = {"model": model, "vendor": "IKEA", "description": "", "exposes": EXPOSES}
    ieee = f"0x{number:016x}"
    return {"friendly_name": name, "ieee_address": ieee, "type": "Router", "definition": definition, "disabled": False}


async def test_three_hundred_lamps_with_all_that_they_expose_are_found(broker: tuple[str, int]) -> None:
    listed = [_entry(f"lamp-{each}", each + 1, "LED1545G12") for each in range(LAMPS)]
    listed.append(_entry("contact-101", 0xABC, "MCCGQ11LM"))
    payload = json.dumps(listed).encode()
    assert 3 * PAYLOAD_BYTES_MAX < len(payload) < 8 * PAYLOAD_BYTES_MAX
    heard = Heard()
    bus = MqttBus(BusId("zigbee"), BASE)
    radios = [(DeviceId("contact-101"), Address(bus.id, friendly_name="contact-101"), CATALOGUE[CONTACT])]
    transport = BusTransport(Broker(*broker, client_id="edge-zigbee"), large_topics=frozenset({TOPIC}))
    supervisor = Zigbee2MqttSupervisor(
        bus, radios, transport=transport, clock=SystemClock("host"), dice=SeededDice(1), sink=heard
    )
    running = asyncio.create_task(supervisor.run())
    try:
        async with bridge(*broker).connect() as saying:
            await saying.publish(TOPIC, payload, retain=True)
            await heard.until(
                lambda: len({who for who, event, _ in heard.events if event is DeviceEvent.UNKNOWN_DEVICE}) == LAMPS
            )
        assert not [who for who, event, _ in heard.events if who == "contact-101" and event is DeviceEvent.OFFLINE]
        assert transport.drops == {}
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


@pytest.mark.guarantee("G19")
async def test_what_is_too_long_is_told_with_place_and_size_once_an_hour_and_counted_each_time(
    broker: tuple[str, int],
) -> None:
    heard, bus = Heard(), MqttBus(BusId("zigbee"), BASE)
    radios = [(DeviceId("contact-101"), Address(bus.id, friendly_name="contact-101"), CATALOGUE[CONTACT])]
    transport = BusTransport(Broker(*broker, client_id="edge-zigbee"))
    supervisor = Zigbee2MqttSupervisor(
        bus, radios, transport=transport, clock=SystemClock("host"), dice=SeededDice(1), sink=heard
    )
    topic, size = f"{BASE}/contact-101", PAYLOAD_BYTES_MAX + 1
    with structlog.testing.capture_logs() as lines:
        running = asyncio.create_task(supervisor.run())
        try:
            async with bridge(*broker).connect() as loud:
                await heard.until(lambda: supervisor.counts["connections"])
                for _ in range(3):
                    await loud.publish(topic, bytes(size))
                await heard.until(lambda: supervisor.counts["oversized_messages"] == 3)
                await loud.publish(topic, b'{"contact": true}')
                await heard.until(heard.says("contact-101", Capability.BOOLEAN_STATE, "state_value", True))
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
    [line] = [each for each in lines if each["event"] == "bus_input_refused"]
    assert (line["bus"], line["what"], line["place"]) == ("zigbee", "oversized_messages", topic)
    assert line["problem"].startswith(f"{size} bytes")


@pytest.mark.parametrize("why", ["crowded", "overflowed"])
async def test_what_found_no_room_is_told_and_counted_as_other_troubles_of_the_bus(why: str) -> None:
    heard, bus = Heard(), MqttBus(BusId("zigbee"), BASE)
    transport = BusTransport(Broker("127.0.0.1", 1, client_id="edge-zigbee"))
    supervisor = Zigbee2MqttSupervisor(
        bus, [], transport=transport, clock=SystemClock("host"), dice=SeededDice(1), sink=heard
    )
    assert transport.dropped is not None
    with structlog.testing.capture_logs() as lines:
        for _ in range(50):
            transport.dropped(why, f"{BASE}/lamp", 12)
        transport.dropped(why, f"{BASE}/other", 12)
    assert supervisor.counts[f"{why}_messages"] == 51
    told = [(each["bus"], each["what"], each["place"]) for each in lines if each["event"] == "bus_input_refused"]
    assert told == [("zigbee", f"{why}_messages", f"{BASE}/{name}") for name in ("lamp", "other")]
