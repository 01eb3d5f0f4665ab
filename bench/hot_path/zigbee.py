"""A Zigbee2MQTT instance with climate sensors: what it says on the broker, and which records must come of it.

The sensor is the shipped model zigbee2mqtt/aqara_wsdcgq11lm. Every message of a device moves temperature and humidity
by more than their deadbands and repeats all else, as Zigbee2MQTT does: so the first message of a device tells all six
of its values and each later one two. A device may say 51 messages at once and ten a second after: of more the edge
rightly keeps the newest alone (`edge/bridges/reporter.py`), so who sends stays below.
"""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final

from bench.hot_path.payload import device_name
from protocols.device_model import site_plan
from protocols.device_model.identity import BusId, DescriptorId, DeviceId, EdgeId, PropertyId, RoomId

BASE: Final = "zigbee2mqtt"
FILTER: Final = f"{BASE}/#"
MODEL: Final = DescriptorId("zigbee2mqtt/aqara_wsdcgq11lm")
SAID_AT_ONCE_MAX: Final = 51
"""Messages of one device that follow each other at once, and every one is told."""
A_SECOND_MAX: Final = 10
DEVICES_MAX: Final = 999
"""With the coordinator the thousand entries of `bridge/devices` that an edge reads."""
A_ROOM: Final = 4
FIRST: Final = 6
LATER: Final = 2
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

Said = tuple[str, str, int]
"""(device, capability.attribute, its number among the device's messages)."""


def ieee(device: int) -> str:
    return f"0x00158d00{device:08x}"


def topic_of(device: int) -> bytes:
    return f"{BASE}/{device_name(device)}".encode()


def temperature(device: int, n: int) -> float:
    return (1_500 + (device * 37 + n * 113) % 1_000) / 100


def humidity(device: int, n: int) -> float:
    return (2_000 + (device * 53 + n * 271) % 5_000) / 100


def payload_of(device: int, n: int, base_ms: int) -> bytes:
    """Return a whole state, its keys in the order of the alphabet; `last_seen` counts the messages."""
    at = (_EPOCH + timedelta(milliseconds=base_ms + n)).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3]
    return (
        b'{"battery":97,"humidity":%.2f,"last_seen":"%sZ","linkquality":120,"power_outage_count":3,"pressure":985.1,'
        b'"temperature":%.2f,"voltage":2985}'
    ) % (humidity(device, n), at.encode(), temperature(device, n))


def records(devices: int, count: int) -> int:
    """Return how many records must come of `count` messages said in turn by `devices`."""
    return LATER * count + (FIRST - LATER) * min(devices, count)


def expected(devices: int, count: int) -> Iterator[tuple[Said, float]]:
    """Yield every reading that must arrive, once, with its value."""
    for message in range(count):
        device, n = message % devices, message // devices
        name = device_name(device)
        yield (name, "temperature_measurement.measured_value", n), temperature(device, n)
        yield (name, "relative_humidity_measurement.measured_value", n), humidity(device, n)
        if not n:
            yield (name, "pressure_measurement.measured_value", n), 98.51
            yield (name, "power_source.bat_percent_remaining", n), 97
            yield (name, "power_source.bat_voltage", n), 2.985
            yield (name, "network_diagnostics.link_quality", n), 120


def greetings(devices: int) -> list[tuple[bytes, bytes]]:
    """Return (topic, payload) of what the broker kept of the bridge: that it is there, and what has joined."""
    entries: list[dict[str, object]] = [
        {
            "ieee_address": "0x00124b0000000000",
            "friendly_name": "Coordinator",
            "type": "Coordinator",
            "supported": True,
            "disabled": False,
            "interview_completed": True,
            "network_address": 0,
        }
    ]
    entries += [
        {
            "ieee_address": ieee(each),
            "friendly_name": device_name(each),
            "type": "EndDevice",
            "supported": True,
            "disabled": False,
            "interview_completed": True,
            "network_address": 1 + each,
            "manufacturer": "LUMI",
            "model_id": "lumi.weather",
            "power_source": "Battery",
            "definition": {"model": "WSDCGQ11LM", "vendor": "Aqara", "description": "climate sensor", "exposes": []},
        }
        for each in range(devices)
    ]
    return [
        (f"{BASE}/bridge/state".encode(), b'{"state":"online"}'),
        (f"{BASE}/bridge/devices".encode(), json.dumps(entries).encode()),
    ]


def plan(devices: int, *, property_id: str, edge: str) -> site_plan.SitePlan:
    """Return the site plan of an edge that has these sensors, four a room."""
    bus = BusId("zigbee-1")
    rooms = range((devices + A_ROOM - 1) // A_ROOM)
    return site_plan.SitePlan(
        v=1,
        property=site_plan.Property(PropertyId(property_id), "Bench", "Etc/UTC", "bench"),
        edge=EdgeId(edge),
        rooms=tuple(site_plan.Room(RoomId(f"r{each:03d}"), 1, "guest_room", "double") for each in rooms),
        buses=(site_plan.MqttBus(bus, BASE),),
        devices=tuple(
            site_plan.Device(
                DeviceId(device_name(each)),
                RoomId(f"r{each // A_ROOM:03d}"),
                MODEL,
                site_plan.Address(bus, friendly_name=device_name(each), ieee=ieee(each)),
            )
            for each in range(devices)
        ),
    )
