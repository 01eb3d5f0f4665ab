"""Between what stands on the wire and what the house says: descriptor + raw -> readings, descriptor + value -> raw.

Source of truth: SPEC.md sections 5 and 6; vectors in protocols/vectors/descriptors. Whatever a device sends, a
reading comes out: nonsense gives quality bad, no value, and the reason. Nothing here raises for what a peer said.
"""

import re
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from functools import lru_cache
from math import inf, isfinite
from typing import Any, Final

import msgspec

from protocols.descriptors.descriptor import NAME, RAW_RANGE, Descriptor, Point, Raw, Table
from protocols.descriptors.resolution import INEXACT, LAST_DIGIT, NUMBER_DIGITS_MAX, resolution
from protocols.device_model.capability import Kind, Value, is_finite
from protocols.device_model.identity import DeviceId
from protocols.device_model.reading import Quality, Reading
from protocols.documents import key_twice, keys_once_at_sight, shown
from protocols.errors import LocalProtocolError

PAYLOAD_BYTES_MAX: Final = 64 * 1024
"""A device's JSON; longer is refused unread."""
EXPONENT_MOST: Final = 10
"""SunSpec, sunssf: -10 to 10; anything else is not implemented."""
TEN_THOUSAND: Final = 10_000
TEXT_BYTES_MAX: Final = 200
"""A bare value; longer is refused unread."""
WHOLE: Final = 0xFFFF
"""All bits of a register."""
LIST_PLACES_MOST: Final = 3
"""Digits of a place in a list."""
_decode: Final = msgspec.json.Decoder().decode
_NUMERAL: Final = re.compile(r"[+-]?\d{1,20}(?:\.\d{1,20})?", re.ASCII)


_NO_VALUE: Final = frozenset(("", "nan", "unknown", "unavailable", "none", "null", "-", "--", "n/a"))
"""What ESPHome and others write where there is no value."""


class Reason(StrEnum):
    """Why a reading is not good."""

    NO_VALUE = "no_value"  # the device says that it has none: NaN code, null, sensor not fitted
    OUT_OF_RANGE = "out_of_range"  # physically implausible
    UNKNOWN_CODE = "unknown_code"  # a code that the descriptor does not list
    WRONG_TYPE = "wrong_type"  # text where a number belongs
    NOT_JSON = "not_json"
    TOO_LONG = "too_long"
    TOO_SHORT = "too_short"  # an advert cut off
    ENCRYPTED = "encrypted"  # an advert under a key that this house does not have
    WRONG_KEY = "wrong_key"  # an advert that the key of its sensor does not open
    DEVICE_EXCEPTION = "device_exception"  # a Modbus exception reply
    BAD_STATUS = "bad_status"  # an OPC UA status code
    NO_ANSWER = "no_answer"  # silent for too long
    NOT_THIS_MODEL = "not_this_model"  # another model answers on the address
    RETAINED = "retained"  # an old message kept by the broker, of unknown age
    FIRMWARE_UNKNOWN = "firmware_unknown"  # firmwares of the model tell it in different ways, and this one is not known
    NOT_IN_FIRMWARE = "not_in_firmware"  # the firmware that the device runs does not have it


class Judged(msgspec.Struct, frozen=True, gc=False):
    """A value with how far it is to be believed."""

    value: Value | None
    quality: Quality
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class RegisterWrite:
    """Words for one write request: a coil (one word, 0 or 1) or consecutive holding registers.

    `mask`: the bits of one register that are meant; the others must stay as the unit holds them.
    """

    table: Table
    register: int
    words: tuple[int, ...]
    mask: int = WHOLE


@dataclass(frozen=True, slots=True)
class PayloadWrite:
    """A JSON object for `<friendly name>/set`; a key with dots goes deeper."""

    payload: dict[str, Any]


@dataclass(frozen=True, slots=True)
class NodeWrite:
    """A value for an OPC UA node; `node` still starts with `{root}`, `type` is the variant type's name."""

    node: str
    type: str
    value: Raw


@dataclass(frozen=True, slots=True)
class MessageWrite:
    """A message for a plain MQTT device; `topic` still holds `{name}`."""

    topic: str
    payload: bytes


Write = RegisterWrite | PayloadWrite | NodeWrite | MessageWrite


def judge(point: Point, raw: object) -> Judged:
    """Return what a raw value means.

    Args:
        point: where it came from.
        raw: the integer of the registers, the JSON value or the node's value.
    """
    judged = _judge(point, raw)
    if point.doubt and judged.quality is Quality.GOOD:
        return Judged(judged.value, Quality.UNCERTAIN, f"doubted: {point.doubt}")
    return judged


def _judge(point: Point, raw: object) -> Judged:
    if point.type == "numeral" and isinstance(raw, str):
        spelt = raw.strip()
        if _NUMERAL.fullmatch(spelt) is None:
            return _bad(Reason.NO_VALUE if spelt.lower() in _NO_VALUE else Reason.WRONG_TYPE, raw)
        raw = float(spelt) if "." in spelt else int(spelt)
    if raw is None:
        return _bad(Reason.NO_VALUE)
    if isinstance(raw, int | float) and not isinstance(raw, bool) and raw in point.nan:
        return _bad(Reason.NO_VALUE)
    if point.values:
        for known, meaning in point.values:
            if known == raw and isinstance(known, bool) == isinstance(raw, bool):
                return Judged(meaning, Quality.GOOD)
        return _bad(Reason.UNKNOWN_CODE, raw)
    row = point.row
    kind = row.kind
    if kind is Kind.BOOL:
        return Judged(raw, Quality.GOOD) if isinstance(raw, bool) else _bad(Reason.WRONG_TYPE, raw)
    if isinstance(raw, bool) or not isinstance(raw, int | float):
        return _bad(Reason.WRONG_TYPE, raw)
    if not is_finite(raw):
        return _bad(Reason.NO_VALUE)
    value = raw if point.scale == 1.0 and point.offset == 0.0 else scaled(raw, point.scale, point.offset)
    least = row.least if point.least is None else point.least
    most = row.most if point.most is None else point.most
    if (least is not None and value < least) or (most is not None and value > most):
        return _bad(Reason.OUT_OF_RANGE, raw)
    if kind is Kind.INTEGER:
        return Judged(round(value), Quality.GOOD)
    return Judged(value, Quality.GOOD)


def raw_of_words(point: Point, words: Sequence[int]) -> Raw | None:
    """Return the raw value of a point's registers (each 0..65535).

    None for a float that is no number; text, the words in hexadecimal, for digits that are none.
    """
    ordered = _in_order(point, words)
    match point.type:
        case "bcd16" | "bcd32":
            digits = "".join(f"{word:04x}" for word in ordered)
            return int(digits) if digits.isdecimal() else f"0x{digits}"
        case "mod10k32" | "mod10k48" | "mod10k64":
            return _of_ten_thousands(ordered)
        case "uint16" if point.bits is not None:
            return ordered[0] >> (point.bit or 0) & (1 << point.bits) - 1
        case "bool":
            return bool(ordered[0] >> (point.bit or 0) & 1)
        case "uint16":
            return ordered[0]
        case "int16":
            return ordered[0] - 0x1_0000 if ordered[0] & 0x8000 else ordered[0]
        case "uint32" | "int32":
            unsigned = ordered[0] << 16 | ordered[1]
            return unsigned - 0x1_0000_0000 if point.type == "int32" and unsigned & 0x8000_0000 else unsigned
        case "uint64" | "int64":
            whole = int.from_bytes(struct.pack(">4H", *ordered), "big")
            return whole - 2**64 if point.type == "int64" and whole >> 63 else whole
        case "float64":
            (double,) = struct.unpack(">d", struct.pack(">4H", *ordered))
            return float(double) if isfinite(double) else None
        case _:
            (value,) = struct.unpack(">f", struct.pack(">HH", *ordered))
            # Seven digits are what a float32 holds: 7.2 must not become 7.199999809265137.
            return float(f"{value:.7g}") if isfinite(value) else None


def _in_order(point: Point, words: Sequence[int]) -> tuple[int, ...]:
    """Return words with the high one first and each with its high byte first, or the other way round again."""
    ordered = tuple(words) if point.word_order == "big" else tuple(reversed(words))
    if point.byte_order == "big":
        return ordered
    return tuple((word & 0xFF) << 8 | word >> 8 for word in ordered)


def _of_ten_thousands(words: Sequence[int]) -> int | str:
    whole = 0
    for word in words:
        part = word - 0x1_0000 if word & 0x8000 else word
        if abs(part) >= TEN_THOUSAND:
            return "0x" + "".join(f"{each:04x}" for each in words)
        whole = whole * TEN_THOUSAND + part
    return whole


def _ten_thousands(whole: int, count: int) -> tuple[int, ...]:
    sign, rest, words = (-1 if whole < 0 else 1), abs(whole), []
    for _ in range(count):
        rest, part = divmod(rest, TEN_THOUSAND)
        words.append(sign * part & 0xFFFF)
    return tuple(reversed(words))


def words_of_raw(point: Point, raw: float) -> tuple[int, ...]:
    """Return the registers of a raw value.

    Raises:
        LocalProtocolError: it does not fit the type.
    """
    if point.type == "float64":
        words = struct.unpack(">4H", struct.pack(">d", raw))
    elif point.type == "float32":
        try:
            words = struct.unpack(">HH", struct.pack(">f", raw))
        except OverflowError as error:
            raise LocalProtocolError(f"{raw!r} does not fit float32") from error
    else:
        low, high = RAW_RANGE[point.type]
        if not isinstance(raw, int) or not low <= raw <= high:
            raise LocalProtocolError(f"{raw!r} does not fit {point.type}")
        if point.type in ("bcd16", "bcd32"):
            digits = f"{raw:0{4 * point.words}d}"
            words = tuple(int(digits[4 * each : 4 * each + 4], 16) for each in range(point.words))
        elif point.type.startswith("mod10k"):
            words = _ten_thousands(raw, point.words)
        else:
            words = tuple(raw >> 16 * each & 0xFFFF for each in reversed(range(point.words)))
    return _in_order(point, words)


def readings_of_registers(
    descriptor: Descriptor, device: DeviceId, image: Mapping[tuple[Table, int], int], points: Sequence[Point] = ()
) -> list[Reading]:
    """Return a reading for each point whose registers are all in `image`.

    Args:
        descriptor: the model.
        device: whose readings they are.
        image: raw words (0..65535; coils 0 or 1) by table and register.
        points: which points; all of the descriptor's if empty.
    """
    readings = []
    for point in points or descriptor.points:
        if point.table is None or point.register is None:
            continue
        words = [image.get((point.table, point.register + each)) for each in range(point.words)]
        whole = [word for word in words if word is not None]
        if len(whole) != len(words):
            continue
        if point.exponent is not None:
            power = image.get((point.table, point.exponent))
            if power is None:
                continue
            scaled = with_exponent(point, power)
            judged = (
                bad(Reason.NO_VALUE, f"exponent {power:#06x}")
                if scaled is None
                else judge(scaled, raw_of_words(point, whole))
            )
        else:
            judged = judge(point, raw_of_words(point, whole))
        readings.append(reading(point, device, judged))
    return readings


def with_exponent(point: Point, word: int) -> Point | None:
    """Return the point scaled by its exponent's register too, None if that holds no power of ten from -10 to 10."""
    power = word - 0x1_0000 if word & 0x8000 else word
    if not -EXPONENT_MOST <= power <= EXPONENT_MOST:
        return None
    return msgspec.structs.replace(point, scale=float(Decimal(repr(point.scale)).scaleb(power)), exponent=None)


def readings_of_payload(
    descriptor: Descriptor, device: DeviceId, payload: bytes, device_at_ms: int | None = None
) -> list[Reading]:
    """Return a reading for each point that a JSON payload speaks of.

    A payload that is no JSON object gives a bad reading for every point of the model. A null says nothing:
    Zigbee2MQTT publishes it for whatever it has not heard since its start.
    """
    return readings_of_document(descriptor.points, device, json_object(payload), device_at_ms)


def readings_of_document(
    points: Sequence[Point], device: DeviceId, document: Mapping[str, Any] | Reason, device_at_ms: int | None = None
) -> list[Reading]:
    """Return a reading for each of these points that `json_object`'s answer speaks of."""
    if isinstance(document, Reason):
        return [reading(point, device, _bad(document)) for point in points]
    return _readings_of_object(points, device, document, device_at_ms)


def readings_of_fields(descriptor: Descriptor, device: DeviceId, fields: Mapping[str, Any]) -> list[Reading]:
    """Return a reading for each point that an advert's fields speak of; None there means that it has no value."""
    return [
        reading(point, device, judge(point, fields[point.path]))
        for point in descriptor.points
        if point.path is not None and point.path in fields
    ]


def readings_of_message(
    descriptor: Descriptor, device: DeviceId, name: str, topic: str, payload: bytes
) -> list[Reading]:
    """Return a reading for each point of a plain MQTT device that a message speaks of.

    Args:
        descriptor: the model.
        device: whose readings they are.
        name: what stands for `{name}` in the model's topics.
        topic: where the message came.
        payload: what it holds: a bare value for points without a path, a JSON object for the others.
    """
    mine = [
        point for point in descriptor.points if point.topic is not None and point.topic.replace(NAME, name) == topic
    ]
    found = [reading(point, device, judge_bare(point, payload)) for point in mine if point.path is None]
    inner = [point for point in mine if point.path is not None]
    if inner:
        document = json_object(payload)
        if isinstance(document, Reason):
            return found + [reading(point, device, _bad(document)) for point in inner]
        found += _readings_of_object(inner, device, document)
    return found


def judge_bare(point: Point, payload: bytes) -> Judged:
    """Return what a payload that is one bare value means."""
    if len(payload) > TEXT_BYTES_MAX:
        return _bad(Reason.TOO_LONG)
    try:
        text = payload.decode().strip()
    except UnicodeDecodeError:
        return _bad(Reason.WRONG_TYPE, payload[:40])
    if point.type in ("text", "numeral"):
        return judge(point, text) if text else _bad(Reason.NO_VALUE)
    try:
        raw = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return _bad(Reason.NO_VALUE) if text.lower() in _NO_VALUE else _bad(Reason.WRONG_TYPE, text)
    return judge(point, raw)


def _readings_of_object(
    points: Sequence[Point], device: DeviceId, document: Mapping[str, Any], device_at_ms: int | None = None
) -> list[Reading]:
    found = []
    for point in points:
        given, raw = _step_into(document, point.path or "")
        if given and raw is not None:
            found.append(reading(point, device, judge(point, raw), device_at_ms))
    return found


def json_object(payload: bytes) -> dict[str, Any] | Reason:
    """Return the JSON object in a payload, or why there is none; with a key twice it is none."""
    if len(payload) > PAYLOAD_BYTES_MAX:
        return Reason.TOO_LONG
    try:
        document = _decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Reason.NOT_JSON
    if type(document) is not dict:
        return Reason.NOT_JSON
    if keys_once_at_sight(payload, document):
        return document
    try:  # a key twice has no one meaning (RFC 8259, 4)
        return document if key_twice(payload, document) is None else Reason.NOT_JSON
    except (ValueError, RecursionError):  # msgspec took it: beyond what is worth reading twice
        return Reason.NOT_JSON


def reading(point: Point, device: DeviceId, judged: Judged, device_at_ms: int | None = None) -> Reading:
    """Return the reading of a judged value."""
    return Reading(
        device=device,
        capability=point.capability,
        attribute=point.attribute,
        value=judged.value,
        unit=point.unit,
        quality=judged.quality,
        device_at_ms=device_at_ms,
        reason=judged.reason,
    )


@dataclass(frozen=True, slots=True)
class Allowed:
    """What a command may write: the value that will be sent, and whether it is not the one asked for."""

    value: Value
    clamped: bool


def allow(point: Point, value: object) -> Allowed | str:
    """Return what may be written for `value` under the point's write rule, or why nothing may.

    Numbers outside the rule's range are clamped to it, and rounded to its step; a value of the wrong type or a choice
    that the device does not have is refused.
    """
    rule = point.write
    if rule is None:
        return f"{point.capability}.{point.attribute} cannot be written on this device"
    row = point.row
    if row.kind in (Kind.BOOL, Kind.CHOICE):
        if row.kind is Kind.BOOL and not isinstance(value, bool):
            return f"{shown(value, 40)} is not true or false"
        if point.values and not any(meaning == value for _, meaning in point.values):
            return f"{shown(value, 40)} is none of {', '.join(str(meaning) for _, meaning in point.values)}"
        return Allowed(value, clamped=False)  # type: ignore[arg-type]  # a bool, or one of the choices
    if isinstance(value, bool) or not isinstance(value, int | float) or not is_finite(value):
        return f"{shown(value, 40)} is not a number"
    least, most = rule.least, rule.most
    assert least is not None  # noqa: S101 - the loader has seen to it
    assert most is not None  # noqa: S101 - the loader has seen to it
    wanted = min(max(value, least), most)
    if rule.step is not None:
        step, base = Decimal(repr(rule.step)), Decimal(repr(least))
        steps = ((Decimal(repr(wanted)) - base) / step).to_integral_value()
        wanted = float(min(base + steps * step, Decimal(repr(most))))
    if row.kind is Kind.INTEGER:
        wanted = round(wanted)
    return Allowed(wanted, clamped=not least <= value <= most)


def encode(point: Point, value: Value) -> Write:
    """Return what must be written so that the point becomes `value`.

    Raises:
        LocalProtocolError: the point cannot carry it; `allow` would have said so.
    """
    raw = raw_of_value(point, value)
    if point.table is not None and point.register is not None:
        if isinstance(raw, str):
            raise LocalProtocolError(f"{raw!r} in a register")
        if point.bit is not None:
            return _bits_written(point, point.table, point.register, raw)
        return RegisterWrite(point.table, point.register, words_of_raw(point, raw))
    if point.write is not None and point.write.topic is not None:
        return MessageWrite(point.write.topic, _message(point.write.payload, raw))
    if point.path is not None:
        key = point.write.key if point.write is not None and point.write.key is not None else point.path
        whole: Any = raw
        for step in reversed(key.split(".")):
            whole = {step: whole}
        return PayloadWrite(whole)
    return NodeWrite(point.node or "", point.type, raw)


def _bits_written(point: Point, table: Table, register: int, raw: float) -> RegisterWrite:
    """Return the write of some bits of a register: byte order and place are those by which they are read."""
    bit, some = point.bit or 0, (1 << (point.bits or 1)) - 1
    if not isinstance(raw, int) or not 0 <= raw <= some:
        raise LocalProtocolError(f"{raw!r} does not fit {point.bits or 1} bits")
    [word], [mask] = _in_order(point, (int(raw) << bit,)), _in_order(point, (some << bit,))
    return RegisterWrite(table, register, (word,), mask)


def _message(template: str | None, raw: Raw) -> bytes:
    as_json = msgspec.json.encode(raw).decode()
    as_text = raw if isinstance(raw, str) else as_json
    return (template or "$text").replace("$json", as_json).replace("$text", as_text).encode()


def raw_of_value(point: Point, value: Value) -> Raw:
    """Return the raw value that stands for `value`.

    Raises:
        LocalProtocolError: there is none.
    """
    raw = _raw_of_value(point, value)
    if point.type != "numeral" or isinstance(raw, str):
        return raw
    return f"{Decimal(repr(round(raw, NUMBER_DIGITS_MAX))).normalize():f}"


def _raw_of_value(point: Point, value: Value) -> Raw:
    if point.values:
        for raw, meaning in point.values:
            if meaning == value and isinstance(meaning, bool) == isinstance(value, bool):
                return raw
        raise LocalProtocolError(f"{point.capability}.{point.attribute}: no code for {value!r}")
    if isinstance(value, bool | str):
        return int(value) if point.table is not None and isinstance(value, bool) else value
    exact = (Decimal(repr(value)) - Decimal(repr(point.offset))) / Decimal(repr(point.scale))
    if point.type in INEXACT or point.type in ("number", "numeral"):
        return float(exact)
    raw = int(exact.to_integral_value())
    low, high = RAW_RANGE.get(point.type, (raw, raw))
    if not low <= raw <= high:
        raise LocalProtocolError(f"{point.capability}.{point.attribute}: {value!r} does not fit {point.type}")
    return raw


def same(point: Point, wanted: Value, read_back: Value | None) -> bool:
    """Return whether a value read back is the one written, to half of the wire's resolution."""
    if read_back is None or isinstance(wanted, bool | str) or isinstance(read_back, bool | str):
        return wanted == read_back and isinstance(wanted, bool) == isinstance(read_back, bool)
    step = None if point.write is None else point.write.step
    apart = resolution(point.type, wanted, scale=point.scale, step=step, unit=point.unit)
    return abs(wanted - read_back) <= apart * 0.5000001 + LAST_DIGIT


@lru_cache(maxsize=4_096)
def scaled(raw: float, scale: float, offset: float) -> float:
    """Return raw * `scale` + `offset` as a person reckons; infinity where it has more digits than a number."""
    # Decimal: 216 * 0.1 must be 21.6, on this side and on the emulator's.
    try:
        value = Decimal(repr(raw)) * Decimal(repr(scale)) + Decimal(repr(offset))
        return round(float(value), NUMBER_DIGITS_MAX)
    except (InvalidOperation, ValueError, OverflowError):
        return inf


def value_at(document: Mapping[str, Any], path: str) -> object:
    """Return what stands at a path of a JSON object; None if nothing does."""
    return _step_into(document, path)[1]


def _step_into(document: Mapping[str, Any], path: str) -> tuple[bool, object]:
    if path in document and "." not in path:
        return True, document[path]
    value: object = document
    for step in path.split("."):
        if isinstance(value, dict) and step in value:
            value = value[step]
        elif isinstance(value, list) and _is_place(step) and int(step) < len(value):
            value = value[int(step)]
        else:
            return False, None
    return True, value


def _is_place(step: str) -> bool:
    return step.isascii() and step.isdecimal() and len(step) <= LIST_PLACES_MOST and (step == "0" or step[0] != "0")


def _bad(reason: Reason, raw: object = None) -> Judged:
    return Judged(None, Quality.BAD, reason if raw is None else f"{reason}: {shown(raw, 60)}")


def bad(reason: Reason, detail: str = "") -> Judged:
    """Return the verdict that there is no value, with its reason."""
    return Judged(None, Quality.BAD, f"{reason}: {detail:.80}" if detail else reason.value)
