"""Zigbee2MQTT on the wire: which topic says what, and what its own messages hold.

Source of truth: SPEC.md section 2, after Zigbee2MQTT 2.x, "MQTT topics and messages" (zigbee2mqtt.io). A friendly name
may hold slashes, so a topic can only be read against what comes after the base: the last level decides.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from functools import lru_cache
from typing import Any, Final

import msgspec

from protocols.documents import explained_json, key_twice, shown
from protocols.errors import PeerProtocolError

BRIDGE_PAYLOAD_BYTES_MAX: Final = 16 * 1024 * 1024
"""An entry of bridge/devices is 5 to 30 kB, for it repeats all that the model exposes."""
DEVICES_MAX: Final = 1_000
EPOCH_MS_MAX: Final = 2**53 - 1


class About(Enum):
    """What a topic speaks of."""

    BRIDGE_STATE = "bridge/state"
    BRIDGE_DEVICES = "bridge/devices"
    BRIDGE_EVENT = "bridge/event"
    BRIDGE_LOGGING = "bridge/logging"
    BRIDGE_OTHER = "bridge/*"
    AVAILABILITY = "availability"
    STATE = "state"
    ASKED = "set, get"  # what clients publish, we among them


@dataclass(frozen=True, slots=True)
class BridgeTopic:
    """A topic under the base, and the friendly name where it is about a device."""

    about: About
    friendly_name: str = ""


_ISO_CHARACTERS: Final = len("2026-01-31T23:59:59.123Z")
_SECOND: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", re.ASCII)
_BRIDGE: Final = {
    "state": About.BRIDGE_STATE,
    "devices": About.BRIDGE_DEVICES,
    "event": About.BRIDGE_EVENT,
    "logging": About.BRIDGE_LOGGING,
}


def read_topic(base: str, topic: str) -> BridgeTopic | None:
    """Return what a topic is about, None if it is not under `base`."""
    if not topic.startswith(f"{base}/"):
        return None
    rest = topic[len(base) + 1 :]
    if rest.startswith("bridge/"):
        return BridgeTopic(_BRIDGE.get(rest.removeprefix("bridge/"), About.BRIDGE_OTHER))
    name, slash, last = rest.rpartition("/")
    if slash and last == "availability":
        return BridgeTopic(About.AVAILABILITY, name)
    if slash and last in ("set", "get"):
        return BridgeTopic(About.ASKED, name)
    for verb in ("/set/", "/get/"):  # zigbee2mqtt/<name>/set/<attribute>
        if verb in rest:
            return BridgeTopic(About.ASKED, rest.partition(verb)[0])
    return BridgeTopic(About.STATE, rest) if rest else None


def devices_topic(base: str) -> str:
    """Return the topic of the list of all that has joined: the one message that may be very long."""
    return f"{base}/bridge/devices"


def set_topic(base: str, friendly_name: str) -> str:
    """Return the topic that commands a device."""
    return f"{base}/{friendly_name}/set"


def get_topic(base: str, friendly_name: str) -> str:
    """Return the topic that makes Zigbee2MQTT ask a device."""
    return f"{base}/{friendly_name}/get"


def get_payload(*paths: str) -> bytes:
    """Return the payload of a get: each attribute with an empty value."""
    return msgspec.json.encode(dict.fromkeys(paths, ""))


def parse_state(payload: bytes) -> bool:
    """Return whether `bridge/state` or an availability topic says online.

    Both spellings live: `{"state":"online"}` (since 2.0 the only one) and the bare word.

    Raises:
        PeerProtocolError: it says neither online nor offline.
    """
    word: object = None
    if payload[:1] == b"{":
        document = _decode(payload[:1024])
        word = document.get("state") if isinstance(document, dict) else None
    elif payload in (b"online", b"offline"):
        word = payload.decode()
    if word not in ("online", "offline"):
        raise PeerProtocolError(f"{payload[:40]!r} is neither online nor offline")
    return word == "online"


@dataclass(frozen=True, slots=True)
class Listed:
    """One device of `bridge/devices`. `model` is None where Zigbee2MQTT does not support the thing."""

    ieee: str
    friendly_name: str
    type: str
    model: str | None
    vendor: str | None
    model_id: str | None
    disabled: bool
    interviewed: bool
    software_build: str | None = None
    """What the device calls its firmware (`software_build_id`); None where it does not tell."""


class _Definition(msgspec.Struct):
    model: str
    vendor: str


class _Device(msgspec.Struct):
    ieee_address: str
    friendly_name: str
    type: str
    definition: _Definition | None = None
    model_id: str | None = None
    disabled: bool = False
    interview_completed: bool = True
    software_build_id: Any = None


_ENTRIES: Final = msgspec.json.Decoder(list[msgspec.Raw])
_DEVICE: Final = msgspec.json.Decoder(_Device)


@dataclass(frozen=True, slots=True)
class DeviceList:
    """What `bridge/devices` lists. `malformed` entries were left out; `problem` names the first of them."""

    devices: tuple[Listed, ...]
    malformed: int = 0
    problem: str = ""


def parse_devices(payload: bytes) -> DeviceList:
    """Return the devices of `bridge/devices`, the coordinator left out.

    An entry that is none costs only itself: a strange device that joins must not hide all others.

    Raises:
        PeerProtocolError: it is no list of devices, too long, or lists more than `DEVICES_MAX`.
    """
    if len(payload) > BRIDGE_PAYLOAD_BYTES_MAX:
        raise PeerProtocolError(f"bridge/devices of {len(payload)} bytes")
    try:
        entries = _ENTRIES.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise PeerProtocolError(f"bridge/devices: {error}") from error
    if len(entries) > DEVICES_MAX:
        raise PeerProtocolError(f"bridge/devices lists {len(entries)}, at most {DEVICES_MAX} are read")
    devices: list[Listed] = []
    problems: list[str] = []
    for index, entry in enumerate(entries):
        try:
            each = _DEVICE.decode(entry)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            problems.append(f"[{index}]: {explained_json(error, bytes(entry))}")
            continue
        if each.type == "Coordinator":
            continue
        devices.append(
            Listed(
                ieee=each.ieee_address,
                friendly_name=each.friendly_name,
                type=each.type,
                model=None if each.definition is None else each.definition.model,
                vendor=None if each.definition is None else each.definition.vendor,
                model_id=each.model_id,
                disabled=each.disabled,
                interviewed=each.interview_completed,
                software_build=each.software_build_id if isinstance(each.software_build_id, str) else None,
            )
        )
    return DeviceList(tuple(devices), len(problems), problems[0] if problems else "")


def last_seen_ms(document: Mapping[str, Any]) -> int | None:
    """Return `last_seen` of a device's message in Unix ms: a number (epoch) or ISO 8601 text; None if there is none.

    Zigbee2MQTT writes it only if `advanced.last_seen` is set; without it messages cannot be put in order.
    """
    value = document.get("last_seen")
    if type(value) is str and len(value) == _ISO_CHARACTERS and value[19] == "." and value[23] == "Z":  # nearly always
        fraction, second_ms = value[20:23], _second_ms(value[:19])
        if second_ms is not None and fraction.isdecimal() and fraction.isascii():
            return max(0, second_ms + int(fraction))
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value if 0 < value <= EPOCH_MS_MAX else None
    if isinstance(value, str) and len(value) <= 40:
        try:
            at = datetime.fromisoformat(value)
            if at.tzinfo is None:
                return None  # local time of a machine that we do not know
            return max(0, round(at.timestamp() * 1000))
        except (ValueError, OverflowError):
            return None
    return None


@lru_cache(maxsize=64)
def _second_ms(text: str) -> int | None:
    """Return what "2026-01-31T23:59:59" is in Unix ms, UTC: a house says much in one second. None: another form."""
    if _SECOND.fullmatch(text) is None:
        return None
    try:
        return round(datetime.fromisoformat(f"{text}Z").timestamp()) * 1000
    except ValueError:
        return None


def logged_failure(payload: bytes) -> str | None:
    """Return the friendly name that an error of `bridge/logging` says could not be set or asked, None otherwise."""
    if len(payload) > 64 * 1024:
        return None
    try:
        document = _decode(payload)
    except PeerProtocolError:
        return None
    if not isinstance(document, dict) or document.get("level") != "error":
        return None
    message = document.get("message")
    if not isinstance(message, str):
        return None
    for verb in ("Publish 'set' ", "Publish 'get' "):
        _, found, rest = message.partition(verb)
        if found:
            _, quote, rest = rest.partition(" to '")
            name, end, _ = rest.partition("' failed")
            return name if quote and end else None
    return None


def _decode(payload: bytes) -> object:
    try:
        document = msgspec.json.decode(payload)
        twice = key_twice(payload, document)
    except (ValueError, RecursionError) as error:  # msgspec.DecodeError and UnicodeDecodeError are ValueErrors
        raise PeerProtocolError(f"no JSON: {error}") from error
    if twice is not None:
        raise PeerProtocolError(f"the key {shown(twice)} stands twice in one object")
    return document
