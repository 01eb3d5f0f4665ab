"""Recordings: what a device really said, and what the house makes of it. A new model is a descriptor and a recording.

A recording is JSON: {"descriptor", "source", "on", "raw", "readings", and for writable models "writes"}. `raw` is one
of {"registers": {"input:11": 216}}, {"payload": "<the JSON text>"}, {"messages": [["tele/x/SENSOR", "<payload>"]]}
(the device being called x), {"adverts": ["<hexadecimal>"]} (with "mac" and "key" where they are encrypted), {"bytes":
["<hexadecimal>"]} (what a kiosk peripheral answers) and {"nodes": {"{root}.Enable": [true, 0]}} (value, status).
`source` says who recorded it, and where; `on` what it was recorded on; `firmware` which version that ran, where a
model's firmwares are told apart.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Final

from firmware_bridges.catalogue import PACKAGE
from protocols.descriptors import adverts
from protocols.descriptors.codec import (
    WHOLE,
    MessageWrite,
    NodeWrite,
    PayloadWrite,
    Reason,
    RegisterWrite,
    Write,
    allow,
    bad,
    encode,
    reading,
    readings_of_fields,
    readings_of_message,
    readings_of_payload,
    readings_of_registers,
)
from protocols.descriptors.descriptor import Descriptor, Table, unreadable_register
from protocols.descriptors.firmware import newest, under, version_of
from protocols.descriptors.wires import BleAdvertWire, PeripheralWire
from protocols.device_model.capability import Capability, Value
from protocols.device_model.identity import DescriptorId, DeviceId, parse_descriptor_id
from protocols.device_model.reading import Reading
from protocols.errors import InvalidInputError
from protocols.opcua.node_map import judge_node
from protocols.peripherals.conversation import Answered
from protocols.peripherals.dialects import conversation

RECORDING_BYTES_MAX: Final = 1024 * 1024
DEVICE: Final = DeviceId("recorded")
RECORDED_ON: Final = date(2026, 1, 1)
"""The day by which recorded documents are read."""
NAME_ON_BROKER: Final = "x"
"""What a recorded device is called in its topics."""
_KEYS: Final = frozenset({"descriptor", "source", "on", "raw", "readings", "writes", "firmware"})


@dataclass(frozen=True, slots=True)
class RecordedWrite:
    """A command, and the write that must come of it."""

    capability: Capability
    attribute: str
    value: Value
    written: Value
    wire: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Recording:
    """One recording."""

    name: str
    descriptor: DescriptorId
    source: str
    on: str
    raw: dict[str, Any]
    readings: tuple[Reading, ...]
    writes: tuple[RecordedWrite, ...]
    firmware: str | None = None

    def model(self, descriptor: Descriptor) -> Descriptor:
        """Return the descriptor under the firmware that the recording was made on; the newest's if it names none."""
        return under(descriptor, version_of(descriptor.firmware, self.firmware or newest(descriptor)))


def recording_files(root: Path = PACKAGE) -> list[Path]:
    """List the recordings under `<root>/<family>/recordings/`."""
    return sorted(root.glob("*/recordings/*.json"))


def load(path: Path) -> Recording:
    """Read a recording.

    Raises:
        InvalidInputError: it is not one; names file and place.
    """
    data = path.read_bytes()
    if len(data) > RECORDING_BYTES_MAX:
        raise InvalidInputError(str(path), f"{len(data)} bytes, at most {RECORDING_BYTES_MAX} are read")
    try:
        document = json.loads(data)
        if not isinstance(document, dict) or set(document) - _KEYS:
            raise InvalidInputError(str(path), f"holds other keys than {', '.join(sorted(_KEYS))}")
        return Recording(
            name=f"{path.parent.parent.name}/{path.stem}",
            descriptor=parse_descriptor_id(document["descriptor"], f"{path}: descriptor"),
            source=str(document["source"]),
            on=str(document["on"]),
            raw=document["raw"],
            readings=tuple(Reading.from_body({"device": DEVICE, **each}) for each in document["readings"]),
            writes=tuple(_write(each) for each in document.get("writes", [])),
            firmware=None if document.get("firmware") is None else str(document["firmware"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidInputError(str(path), f"is no recording: {error!r}") from error


def replay(descriptor: Descriptor, raw: Mapping[str, Any]) -> list[Reading]:
    """Return the readings that a model's descriptor makes of recorded raw data."""
    if "registers" in raw:
        image: dict[tuple[Table, int], int] = {
            unreadable_register(name): word for name, word in raw["registers"].items()
        }
        return readings_of_registers(descriptor, DEVICE, image)
    if "payload" in raw:
        return readings_of_payload(descriptor, DEVICE, str(raw["payload"]).encode())
    if "messages" in raw:
        return [
            each
            for topic, payload in raw["messages"]
            for each in readings_of_message(descriptor, DEVICE, NAME_ON_BROKER, topic, payload.encode())
        ]
    if "adverts" in raw:
        mac, key = str(raw.get("mac", "")), raw.get("key")
        opened = None if key is None else bytes.fromhex(key)
        return [
            each for advert in raw["adverts"] for each in _of_advert(descriptor, bytes.fromhex(advert), mac, opened)
        ]
    if "bytes" in raw:
        return _of_bytes(descriptor, [bytes.fromhex(each) for each in raw["bytes"]])
    nodes = raw["nodes"]
    return [
        reading(point, DEVICE, judge_node(point, *nodes[point.node]))
        for point in descriptor.points
        if point.node in nodes
    ]


def _of_bytes(descriptor: Descriptor, answers: list[bytes]) -> list[Reading]:
    if not isinstance(descriptor.wire, PeripheralWire):
        raise InvalidInputError(descriptor.id, "is no kiosk peripheral")
    talk = conversation(descriptor.wire.dialect, today=RECORDED_ON)
    talk.begin()
    said = [each for answer in answers for each in talk.receive_data(answer)]
    fields = {name: value for each in said if isinstance(each, Answered) for name, value in each.fields.items()}
    return readings_of_fields(descriptor, DEVICE, fields)


def _of_advert(descriptor: Descriptor, advert: bytes, mac: str, key: bytes | None) -> list[Reading]:
    if not isinstance(descriptor.wire, BleAdvertWire):
        raise InvalidInputError(descriptor.id, "does not advertise")
    said = adverts.decode(descriptor.wire.encoding, advert, mac=mac, key=key)
    if isinstance(said, Reason):
        return [reading(point, DEVICE, bad(said)) for point in descriptor.points]
    return readings_of_fields(descriptor, DEVICE, said or {})


def replay_write(descriptor: Descriptor, write: RecordedWrite) -> tuple[Value, dict[str, Any]] | str:
    """Return the allowed value and what goes on the wire for a command, or why nothing does."""
    point = descriptor.point(write.capability, write.attribute)
    if point is None:
        return f"{descriptor.id} has no {write.capability}.{write.attribute}"
    allowed = allow(point, write.value)
    return allowed if isinstance(allowed, str) else (allowed.value, wire_of(encode(point, allowed.value)))


def wire_of(write: Write) -> dict[str, Any]:
    """Return a write as a recording shows it."""
    match write:
        case RegisterWrite():
            whole = {"register": f"{write.table}:{write.register}", "words": list(write.words)}
            return whole if write.mask == WHOLE else {**whole, "mask": write.mask}
        case PayloadWrite():
            return {"payload": write.payload}
        case MessageWrite():
            return {"topic": write.topic, "payload": write.payload.decode()}
        case NodeWrite():
            return {"node": write.node, "type": write.type, "value": write.value}


def _write(entry: Mapping[str, Any]) -> RecordedWrite:
    return RecordedWrite(
        Capability(entry["capability"]), entry["attribute"], entry["value"], entry["written"], entry["wire"]
    )
