"""Sparkplug B payloads as bytes: the few protobuf fields that an edge node writes and reads, coded by hand. Pure.

Source of truth: Eclipse Sparkplug 3.0, chapter 6 and sparkplug_b.proto (package org.eclipse.tahu.protobuf): Payload
{1 timestamp, 2 metrics, 3 seq}, Metric {1 name, 2 alias, 3 timestamp, 4 datatype, 5 is_historical, 7 is_null, 9
properties,
10 int_value, 11 long_value, 12 float_value, 13 double_value, 14 boolean_value, 15 string_value}, PropertySet {1 keys,
2 values}, PropertyValue {1 type, 2 is_null, 3 int_value ...}. Unknown fields are skipped, as protobuf asks; tests hold
it
against the protobuf library.
"""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from protocols.errors import PeerProtocolError

PAYLOAD_BYTES_MAX: Final = 64 * 1024
"""Of a command; longer is refused unread."""
METRICS_MAX: Final = 1_000
VARINT_BYTES_MAX: Final = 10
QUALITY: Final = "Quality"
SEQ_MODULUS: Final = 256


class DataType(IntEnum):
    """Sparkplug data types, chapter 6.4.16; those that a house needs."""

    INT32 = 3
    INT64 = 4
    UINT64 = 8
    FLOAT = 9
    DOUBLE = 10
    BOOLEAN = 11
    STRING = 12


class QualityCode(IntEnum):
    """Chapter 6.4.9.1."""

    BAD = 0
    GOOD = 192
    STALE = 500


MetricValue = bool | int | float | str


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric. `value` None is null. `name` may be missing where `alias` says which it is."""

    name: str | None
    datatype: DataType | None
    value: MetricValue | None
    timestamp_ms: int | None = None
    alias: int | None = None
    quality: QualityCode | None = None
    historical: bool = False


@dataclass(frozen=True, slots=True)
class Payload:
    """A payload. `seq` None: none is written, as in an NDEATH."""

    timestamp_ms: int | None
    seq: int | None
    metrics: tuple[Metric, ...]


def encode(payload: Payload) -> bytes:
    """Return the bytes of a payload."""
    parts = []
    if payload.timestamp_ms is not None:
        parts.append(_number(1, payload.timestamp_ms))
    parts += [_bytes(2, _metric(each)) for each in payload.metrics]
    if payload.seq is not None:
        parts.append(_number(3, payload.seq))
    return b"".join(parts)


def decode(data: bytes) -> Payload:
    """Return the payload in `data`.

    Raises:
        PeerProtocolError: it is none, or larger than a command has reason to be.
    """
    if len(data) > PAYLOAD_BYTES_MAX:
        raise PeerProtocolError(f"a Sparkplug payload of {len(data)} bytes, at most {PAYLOAD_BYTES_MAX} are read")
    timestamp: int | None = None
    seq: int | None = None
    metrics: list[Metric] = []
    for number, value in _fields(data):
        if number == 1 and isinstance(value, int):
            timestamp = value
        elif number == 2 and isinstance(value, bytes):
            if len(metrics) >= METRICS_MAX:
                raise PeerProtocolError(f"a Sparkplug payload of more than {METRICS_MAX} metrics")
            metrics.append(_read_metric(value))
        elif number == 3 and isinstance(value, int):
            seq = value
    return Payload(timestamp, seq, tuple(metrics))


def _metric(metric: Metric) -> bytes:
    parts = []
    if metric.name is not None:
        parts.append(_bytes(1, metric.name.encode()))
    if metric.alias is not None:
        parts.append(_number(2, metric.alias))
    if metric.timestamp_ms is not None:
        parts.append(_number(3, metric.timestamp_ms))
    if metric.datatype is not None:
        parts.append(_number(4, metric.datatype))
    if metric.historical:
        parts.append(_number(5, 1))
    if metric.value is None:
        parts.append(_number(7, 1))
    if metric.quality is not None:
        value = _number(1, DataType.INT32) + _number(3, metric.quality)
        parts.append(_bytes(9, _bytes(1, QUALITY.encode()) + _bytes(2, value)))
    if metric.value is not None:
        parts.append(_value(metric))
    return b"".join(parts)


def _value(metric: Metric) -> bytes:
    value = metric.value
    match metric.datatype:
        case DataType.BOOLEAN:
            return _number(14, int(bool(value)))
        case DataType.STRING:
            return _bytes(15, str(value).encode())
        case DataType.INT32:
            return _number(10, int(value or 0) & 0xFFFF_FFFF)
        case DataType.INT64 | DataType.UINT64:
            return _number(11, int(value or 0) & 0xFFFF_FFFF_FFFF_FFFF)
        case DataType.FLOAT:
            return _tag(12, 5) + struct.pack("<f", float(value or 0.0))
        case _:
            return _tag(13, 1) + struct.pack("<d", float(value or 0.0))


def _read_metric(data: bytes) -> Metric:
    name: str | None = None
    alias: int | None = None
    datatype: DataType | None = None
    timestamp: int | None = None
    null = historical = False
    value: MetricValue | None = None
    for number, raw in _fields(data):
        match number, raw:
            case 1, bytes():
                name = _text(raw)
            case 2, int():
                alias = raw
            case 3, int():
                timestamp = raw
            case 4, int():
                datatype = DataType(raw) if raw in set(DataType) else None
            case 5, int():
                historical = raw != 0
            case 7, int():
                null = raw != 0
            case 10, int():
                value = raw - 2**32 if raw >= 2**31 else raw
            case 11, int():
                value = raw - 2**64 if raw >= 2**63 and datatype is not DataType.UINT64 else raw
            case 12 | 13, float():
                value = raw
            case 14, int():
                value = raw != 0
            case 15, bytes():
                value = _text(raw)
            case _:
                pass
    return Metric(name, datatype, None if null else value, timestamp, alias, None, historical)


def _fields(data: bytes) -> Iterator[tuple[int, int | float | bytes]]:
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        number, wire = key >> 3, key & 7
        if number == 0:
            raise PeerProtocolError("no Sparkplug payload: field 0")
        match wire:
            case 0:
                value, at = _varint(data, at)
                yield number, value
            case 1 | 5:
                size = 8 if wire == 1 else 4
                if at + size > len(data):
                    raise PeerProtocolError("no Sparkplug payload: it ends within a number")
                [real] = struct.unpack_from("<d" if wire == 1 else "<f", data, at)
                at += size
                yield number, real
            case 2:
                size, at = _varint(data, at)
                if at + size > len(data):
                    raise PeerProtocolError("no Sparkplug payload: it ends within a field")
                yield number, data[at : at + size]
                at += size
            case _:
                raise PeerProtocolError(f"no Sparkplug payload: wire type {wire}")


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for turn in range(VARINT_BYTES_MAX):
        if at + turn >= len(data):
            raise PeerProtocolError("no Sparkplug payload: it ends within a number")
        byte = data[at + turn]
        value |= (byte & 0x7F) << 7 * turn
        if byte < 0x80:
            return value & 0xFFFF_FFFF_FFFF_FFFF, at + turn + 1
    raise PeerProtocolError("no Sparkplug payload: a number without end")


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise PeerProtocolError("no Sparkplug payload: a text that is no UTF-8") from error


def _tag(number: int, wire: int) -> bytes:
    return _write_varint(number << 3 | wire)


def _number(number: int, value: int) -> bytes:
    return _tag(number, 0) + _write_varint(value)


def _bytes(number: int, value: bytes) -> bytes:
    return _tag(number, 2) + _write_varint(len(value)) + value


def _write_varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def next_seq(seq: int) -> int:
    """Return what follows a sequence number: 0 to 255, and 0 again."""
    return (seq + 1) % SEQ_MODULUS


def names(metrics: Sequence[Metric]) -> list[str]:
    """Return the names of metrics, for people."""
    return [each.name or f"alias {each.alias}" for each in metrics]
