"""The list of all that a Zigbee2MQTT carries is one message of megabytes: read whole; nothing else may be so long."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import pytest
import structlog

import kit.mqtt
from edge.bridges.mqtt.supervisor import Zigbee2MqttSupervisor
from edge.bridges.ports import DeviceEvent
from kit.clock import SystemClock
from kit.dice import SeededDice
from kit.mqtt import LARGE_WAITING_MAX, Broker, MqttTransport
from kit.net import PAYLOAD_BYTES_MAX
from protocols.device_model.capability import Capability
from protocols.device_model.identity import BusId, DeviceId
from protocols.device_model.site_plan import Address, MqttBus
from protocols.errors import LocalProtocolError
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
    large = frozenset({TOPIC})
    bus = MqttBus(BusId("zigbee"), BASE)
    radios = [(DeviceId("contact-101"), Address(bus.id, friendly_name="contact-101"), CATALOGUE[CONTACT])]
    transport = MqttTransport(Broker(*broker, client_id="edge-zigbee", large_topics=large))
    supervisor = Zigbee2MqttSupervisor(
        bus, radios, transport=transport, clock=SystemClock("host"), dice=SeededDice(1), sink=heard
    )
    running = asyncio.create_task(supervisor.run())
    try:
        async with MqttTransport(Broker(*broker, client_id="bridge-zigbee", large_topics=large)).connect() as bridge:
            await bridge.publish(TOPIC, payload, retain=True)
            await heard.until(
                lambda: len({who for who, event, _ in heard.events if event is DeviceEvent.UNKNOWN_DEVICE}) == LAMPS
            )
        assert not [who for who, event, _ in heard.events if who == "contact-101" and event is DeviceEvent.OFFLINE]
        assert transport.oversized == 0
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_what_is_too_long_elsewhere_is_dropped_and_what_follows_is_heard(broker: tuple[str, int]) -> None:
    hearing = MqttTransport(Broker(*broker, client_id="edge-hearing", large_topics=frozenset({TOPIC})))
    loud = MqttTransport(Broker(*broker, client_id="stranger-1", large_topics=frozenset({"zigbee2mqtt/lamp"})))
    async with hearing.connect(subscribe=[f"{BASE}/#"]) as heard, loud.connect() as saying:
        await saying.publish("zigbee2mqtt/lamp", bytes(PAYLOAD_BYTES_MAX + 1))
        await saying.publish("zigbee2mqtt/lamp", b"{}")
        async with asyncio.timeout(20):
            message = await anext(aiter(heard.messages()))
        assert message.payload == b"{}"
        assert hearing.oversized == 1
        with pytest.raises(LocalProtocolError):
            await heard.publish("zigbee2mqtt/lamp", bytes(PAYLOAD_BYTES_MAX + 1))


@pytest.mark.guarantee("G19")
async def test_what_is_too_long_is_told_with_place_and_size_once_an_hour_and_counted_each_time(
    broker: tuple[str, int],
) -> None:
    heard, bus = Heard(), MqttBus(BusId("zigbee"), BASE)
    radios = [(DeviceId("contact-101"), Address(bus.id, friendly_name="contact-101"), CATALOGUE[CONTACT])]
    transport = MqttTransport(Broker(*broker, client_id="edge-zigbee"))
    supervisor = Zigbee2MqttSupervisor(
        bus, radios, transport=transport, clock=SystemClock("host"), dice=SeededDice(1), sink=heard
    )
    topic, size = f"{BASE}/contact-101", PAYLOAD_BYTES_MAX + 1
    with structlog.testing.capture_logs() as lines:
        running = asyncio.create_task(supervisor.run())
        try:
            large = frozenset({topic})
            async with MqttTransport(Broker(*broker, client_id="bridge-zigbee", large_topics=large)).connect() as loud:
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
    transport = MqttTransport(Broker("127.0.0.1", 1, client_id="edge-zigbee"))
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


async def test_what_is_dropped_because_too_much_waits_is_told_too(
    broker: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kit.mqtt, "WAITING_BYTES_MAX", 64 * 1024)
    told: list[tuple[str, str, int]] = []
    hearing = MqttTransport(Broker(*broker, client_id="edge-hearing"))
    hearing.dropped = lambda *what: told.append(what)
    loud = MqttTransport(Broker(*broker, client_id="babbler-1"))
    async with hearing.connect(subscribe=[f"{BASE}/#"]) as heard, loud.connect() as saying:
        for number in range(3):
            await saying.publish(f"{BASE}/loud-{number}", bytes(60 * 1024))
        async with asyncio.timeout(20):
            while heard._client._queue.qsize() < 3:
                await asyncio.sleep(0.01)
    assert told == [("overweight", f"{BASE}/loud-{number}", 60 * 1024) for number in (1, 2)]


async def test_however_often_it_is_said_only_so_many_long_ones_wait(broker: tuple[str, int]) -> None:
    large = frozenset({TOPIC})
    hearing = MqttTransport(Broker(*broker, client_id="edge-hearing", large_topics=large))
    loud = MqttTransport(Broker(*broker, client_id="babbler-1", large_topics=large))
    async with hearing.connect(subscribe=[f"{BASE}/#"]) as heard, loud.connect() as saying:
        for _ in range(LARGE_WAITING_MAX + 3):
            await saying.publish(TOPIC, bytes(PAYLOAD_BYTES_MAX + 1))
        async with asyncio.timeout(20):
            while not hearing.overflowed:
                await asyncio.sleep(0.01)
        assert heard._client.messages is not None
        assert heard._client._queue.qsize() <= LARGE_WAITING_MAX


async def test_who_says_much_under_many_names_fills_no_memory_and_takes_no_small_word(
    broker: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A quarter of a megabyte on each of forty topics: what waits is bounded, and who says little is heard."""
    monkeypatch.setattr(kit.mqtt, "WAITING_BYTES_MAX", 1024 * 1024)
    hearing = MqttTransport(Broker(*broker, client_id="edge-hearing", topic_waiting_max=32))
    loud = MqttTransport(Broker(*broker, client_id="babbler-1"))
    async with hearing.connect(subscribe=[f"{BASE}/#"]) as heard, loud.connect() as saying:
        for number in range(40):
            await saying.publish(f"{BASE}/loud-{number}", bytes(256 * 1024))
        await saying.publish(f"{BASE}/neighbour", b"{}")
        async with asyncio.timeout(20):
            while heard._client._queue.qsize() < 41:
                await asyncio.sleep(0.01)  # until all of it is here, unread
        waiting: int = heard._client._queue.waiting_bytes  # type: ignore[attr-defined]  # the inbox's own
        assert waiting <= 1024 * 1024 + 2
        told = []
        async with asyncio.timeout(20):
            async for message in heard.messages():
                told.append(message.topic)
                if message.topic == f"{BASE}/neighbour":
                    break
        assert told == [f"{BASE}/loud-{number}" for number in range(4)] + [f"{BASE}/neighbour"]
        assert (hearing.overweight, hearing.overflowed) == (36, 0)
