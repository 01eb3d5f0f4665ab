"""What device d says the n-th time, and how to tell from a record which it was. Shared by generator and checker."""

import struct
from collections.abc import Callable
from typing import Final

RULE_TOPIC: Final = "site/{room}/{device}/telemetry"
FILTER: Final = "site/+/+/telemetry"
_VALUES: Final = 1_000


def topic_of(device: int) -> bytes:
    return b"site/r%03d/t-%04d/telemetry" % (device // 4 % 1000, device)


def device_name(device: int) -> str:
    return f"t-{device:04d}"


def value_of(device: int, n: int) -> float:
    """A temperature of two decimals that names neither, and yet is wrong if either is."""
    return (1_500 + (device * 37 + n * 11) % _VALUES) / 100


def payload_of(device: int, n: int, base_ms: int) -> bytes:
    """The device's clock counts its messages: one millisecond each from `base_ms`."""
    return b'{"t":%d,"temperature":%.2f,"unit":"C","battery_ok":true}' % (base_ms + n, value_of(device, n))


def event_of(device: int, n: int, base_ms: int) -> bytes:
    """A message that tells an event (a contact, lane B) beside the reading."""
    return payload_of(device, n, base_ms)[:-1] + (b',"contact":true}' if n % 2 else b',"contact":false}')


def heads_of(devices: int, named: Callable[[int], bytes] = topic_of) -> list[bytes]:
    """The first bytes of every device's variable header."""
    return [struct.pack(">H", len(topic)) + topic for topic in map(named, range(devices))]
