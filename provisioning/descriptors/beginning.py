"""Begins a descriptor from a few answers: what a person knows of a thing before the first recording. Pure.

An answer for a point is `<capability>.<attribute>[:<of>]=<where>,<type>[,<scale>]`, for example
`thermostat.local_temperature=input:11,int16,0.1` or, on plain MQTT,
`electrical_measurement.active_power=tele/{name}/SENSOR#ENERGY.Power,number`. Further keys of the point may follow, each
`<key>=<value>` in TOML's spelling: `...=input:40,float64,word_order="little"`, `...,write={ least = 16, most = 30 }`.
"""

import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from protocols.descriptors.wires import REGISTERS_A_READ_MAX
from protocols.device_model.capability import Attribute, Capability, Kind, attribute
from protocols.errors import InvalidInputError

WIRES: Final = ("modbus", "zigbee2mqtt", "mqtt", "ble_advert", "opcua", "peripheral")
_REGISTER: Final = re.compile(r"(coil|discrete|input|holding):(\d{1,5})")
_ENTITY: Final = re.compile(r"([0134])[xX]?(\d{4,5})")
_TABLES: Final = {"0": "coil", "1": "discrete", "3": "input", "4": "holding"}
_FORM: Final = "<capability>.<attribute>=<where>,<type>[,<scale>]"
_EXAMPLE: Final = "thermostat.local_temperature=input:11,int16,0.1"


@dataclass(frozen=True, slots=True)
class Answers:
    """What was asked for. `more` is what the wire itself needs: the model's name, the encoding, the object's node."""

    id: str
    vendor: str
    model: str
    title: str
    source: str
    wire: str
    points: Sequence[str]
    more: str = ""


def question_about(wire: str) -> str | None:
    """Return what a wire needs besides its points, as a question; None if nothing."""
    return {
        "zigbee2mqtt": "What does Zigbee2MQTT call the model (definition.model)?",
        "ble_advert": "Encoding of the advert (bthome_v2, pvvx, atc1441, ruuvi_5, govee_h5075, mibeacon)?",
        "peripheral": "Dialect (escpos, quio_card_dispenser, honeywell_ocr)?",
        "opcua": "Node id of the device's object (such as ns=2;s=Chiller1)?",
    }.get(wire)


def begin(answers: Answers) -> dict[str, Any]:
    """Return the document of a descriptor, for `text.descriptor_text`.

    Raises:
        InvalidInputError: an answer makes no sense; names it and shows one that would.
    """
    if answers.wire not in WIRES:
        raise InvalidInputError("wire", f"{answers.wire!r:.40} is none of {', '.join(WIRES)}")
    if not answers.points:
        raise InvalidInputError("points", f"none: a thing that says nothing is no device; for example {_EXAMPLE}")
    return {
        "identity": {
            "id": answers.id,
            "vendor": answers.vendor,
            "model": answers.model,
            "title": answers.title,
            "source": answers.source,
        },
        "quality": {
            "level": "manual",
            "proven": "written from the source above; nothing is measured yet",
            "on": "nothing yet",
        },
        "wire": _wire(answers),
        "points": [_point(each, answers.wire, f"points[{index}]") for index, each in enumerate(answers.points)],
        "emulation": {"model": "plain"},
    }


def _wire(answers: Answers) -> dict[str, Any]:
    match answers.wire:
        case "modbus":
            return {"kind": "modbus", "answer_wait_ms": 500, "block_most": min(64, REGISTERS_A_READ_MAX), "gap_most": 8}
        case "zigbee2mqtt":
            return {"kind": "zigbee2mqtt", "model": answers.more or answers.model, "silence_s": 7200}
        case "mqtt":
            return {"kind": "mqtt", "silence_s": 900}
        case "peripheral":
            return {"kind": "peripheral", "dialect": answers.more or "escpos"}
        case "ble_advert":
            return {"kind": "ble_advert", "encoding": answers.more or "bthome_v2", "silence_s": 3600}
        case _:
            return {"kind": "opcua", "root": answers.more or "ns=2;s=Device"}


def _point(answer: str, wire: str, place: str) -> dict[str, Any]:
    name, equals, rest = answer.partition("=")
    where, comma, how = rest.partition(",")
    capability_name, dot, attribute_name = name.strip().partition(".")
    if not equals or not comma or not dot:
        raise InvalidInputError(place, f"{answer!r:.80} is not {_FORM}: {_EXAMPLE}")
    try:
        capability = Capability(capability_name)
    except ValueError as error:
        known = ", ".join(each.value for each in Capability)
        raise InvalidInputError(place, f"{capability_name!r:.40} is none of {known}") from error
    row = attribute(capability, attribute_name, place)
    type_name, *rest_of_it = _parts(how)
    scale = rest_of_it.pop(0) if rest_of_it and "=" not in rest_of_it[0] else ""
    point: dict[str, Any] = {
        "capability": capability.value,
        "attribute": attribute_name,
        **_place(where.strip(), wire, place),
        "type": type_name,
    }
    if scale:
        try:
            point["scale"] = float(scale)
        except ValueError as error:
            raise InvalidInputError(place, f"scale {scale!r:.40} is not a number") from error
    if row.unit is not None:
        point["unit"] = row.unit.value
    point.update(_codes(row, type_name))
    for each in rest_of_it:
        point.update(_key(each, place))
    return point


def _parts(text: str) -> list[str]:
    """Return what commas part, but for those inside of a table, a list or a text."""
    parts, open_brackets, quote = [""], 0, ""
    for each in text:
        if quote:
            quote = "" if each == quote else quote
        elif each in "\"'":
            quote = each
        elif each in "[{":
            open_brackets += 1
        elif each in "]}":
            open_brackets -= 1
        elif each == "," and open_brackets <= 0:
            parts.append("")
            continue
        parts[-1] += each
    return [each.strip() for each in parts]


def _key(text: str, place: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidInputError(place, f'{text!r:.60} is not <key>=<value>, such as word_order="little"') from error


def _place(where: str, wire: str, place: str) -> dict[str, Any]:
    if wire == "modbus":
        found = _REGISTER.fullmatch(where)
        if found is None:
            raise InvalidInputError(place, f"{where!r:.60} is not <table>:<register>, such as {_as_counted(where)}")
        return {"table": found[1], "register": int(found[2])}
    if wire == "mqtt":
        topic, _, path = where.partition("#")
        return {"topic": topic, "path": path or None}
    return {"node": where} if wire == "opcua" else {"path": where}


def _as_counted(where: str) -> str:
    """Return what a maker's number, such as 40103 or 4x00103, is here: a digit for the table, then counted from 1."""
    found = _ENTITY.fullmatch(where.strip())
    if found is None or int(found[2]) == 0:
        return "input:11"
    return f"{_TABLES[found[1]]}:{int(found[2]) - 1} (counted from 0; hold it against the maker's first address)"


def _codes(row: Attribute, type_name: str) -> dict[str, Any]:
    """Return codes to begin with, where the device model needs some: to be mended from the source."""
    if row.kind is Kind.CHOICE:
        text = type_name in ("text", "String")
        return {"values": [[word if text else number, word] for number, word in enumerate(row.choices)]}
    if row.kind is Kind.BOOL and type_name not in ("bool", "Boolean"):
        text = type_name in ("text", "String")
        return {"values": [["ON", True], ["OFF", False]] if text else [[1, True], [0, False]]}
    return {}
