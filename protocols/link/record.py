"""A record: one thing that happened in the building, as its log keeps it and as the cloud stores it.

Source of truth: SPEC.md section 3. The bytes that `encode_record` makes at append are the bytes on disk, in the hash
chain and on the wire: nobody re-encodes on the way. The sequence number stands beside them, not in them.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from protocols import cbor
from protocols.errors import LocalProtocolError, PeerProtocolError
from protocols.link.lanes import Lane

BODY_DEPTH_MAX: Final = 3
"""Containers in a body, the body itself counted."""
RECORD_BYTES_MAX: Final = 8 * 1024
"""One encoded record."""
SEQ_MAX: Final = 2**63 - 1
TIME_MS_MAX: Final = 253_402_300_799_999
"""The end of the year 9999: what every reader of a time can hold."""

Body = dict[str, Any]
"""JSON-safe: null, bool, 64-bit integer, finite float, text without NUL, list, map with text keys."""

_KIND: Final = re.compile(r"[a-z][a-z0-9_]{0,31}")
_INTEGER_LEAST: Final = -(2**63)
_INTEGER_MOST: Final = 2**63 - 1
_RECORD_DEPTH: Final = 1 + BODY_DEPTH_MAX


class ClockQuality(StrEnum):
    """How far the edge's wall clock was to be believed when it stamped the record."""

    SYNCHRONISED = "synchronised"
    DRIFTING = "drifting"
    UNCERTAIN = "uncertain"


_CLOCK_CODES: Final = (ClockQuality.SYNCHRONISED, ClockQuality.DRIFTING, ClockQuality.UNCERTAIN)
"""On the wire a clock quality is its index here."""
_CLOCK_INDEX: Final = {quality: code for code, quality in enumerate(_CLOCK_CODES)}


@dataclass(frozen=True, slots=True)
class Record:
    """One record.

    `seq` counts from 1 without holes in its (incarnation, lane) and is the only order; no time is ever compared
    for order. `edge_at_ms` is the edge's wall clock (Unix ms, UTC) when the record was appended, `mono_ms` its
    monotonic clock at that moment, `device_at_ms` the device's own wall clock if it has one.
    """

    lane: Lane
    seq: int
    kind: str
    body: Body
    device_at_ms: int | None
    edge_at_ms: int
    mono_ms: int
    clock: ClockQuality


def body_problem(body: object, *, depth_max: int = BODY_DEPTH_MAX) -> str | None:
    """Name what a body may not hold, or None. Both sides ask, so that what an edge stores a cloud can store."""
    if type(body) is not dict:
        return f"a body is a map, not {type(body).__name__}"
    stack: list[tuple[Any, int]] = [(body, 1)]
    while stack:
        item, level = stack.pop()
        kind = type(item)
        if kind is str:
            if "\x00" in item:
                return "text with a NUL"
        elif kind is bool or item is None:
            continue
        elif kind is int:
            if not _INTEGER_LEAST <= item <= _INTEGER_MOST:
                return f"integer {item} does not fit 64 bits"
        elif kind is float:
            if item - item != 0.0:
                return f"float {item} is not finite"
        elif kind is dict or kind is list:
            if level > depth_max:
                return f"nested deeper than {depth_max}"
            if kind is dict:
                for key in item:
                    if type(key) is not str:
                        return f"map key {key!r} is not text"
                    if "\x00" in key:
                        return "map key with a NUL"
                stack.extend((each, level + 1) for each in item.values())
            else:
                stack.extend((each, level + 1) for each in item)
        else:
            return f"{kind.__name__} is not JSON-safe"
    return None


def encode_record(
    kind: str,
    body: Mapping[str, Any],
    *,
    device_at_ms: int | None,
    edge_at_ms: int,
    mono_ms: int,
    clock: ClockQuality,
) -> bytes:
    """Return the record's one encoding, without its sequence number.

    Raises:
        LocalProtocolError: kind, body, a time or the size is outside the specification.
    """
    body = dict(body)
    if _KIND.fullmatch(kind) is None:
        raise LocalProtocolError(f"record kind {kind!r} is not a short lower-case name")
    if (problem := body_problem(body)) is not None:
        raise LocalProtocolError(f"body of a {kind} record: {problem}")
    fields: list[object] = [kind, device_at_ms, edge_at_ms, mono_ms, _CLOCK_INDEX[clock], body]
    if (problem := _times_problem(fields)) is not None:
        raise LocalProtocolError(f"{kind} record: {problem}")
    data = cbor.encode(fields, floats=True, depth=_RECORD_DEPTH)
    if len(data) > RECORD_BYTES_MAX:
        raise LocalProtocolError(f"{kind} record of {len(data)} bytes, at most {RECORD_BYTES_MAX} are kept")
    return data


def decode_record(data: bytes, *, lane: Lane, seq: int) -> Record:
    """Return the record that `encode_record` encoded.

    Raises:
        PeerProtocolError: `data` is not the encoding of a record.
    """
    value = cbor.decode(data, RECORD_BYTES_MAX, floats=True, depth=_RECORD_DEPTH)
    if not isinstance(value, list):
        raise PeerProtocolError(f"record {lane}/{seq} is not a list")
    return record_from_fields(value, lane=lane, seq=seq)


def record_from_fields(fields: Sequence[Any], *, lane: Lane, seq: int) -> Record:
    """Return the record made of decoded wire fields.

    Raises:
        PeerProtocolError: a field is missing, of the wrong type or out of range.
    """
    if len(fields) != 6:
        raise PeerProtocolError(f"record {lane}/{seq} has {len(fields)} fields, not 6")
    kind, device_at_ms, edge_at_ms, mono_ms, clock, body = fields
    if type(kind) is not str or _KIND.fullmatch(kind) is None:
        raise PeerProtocolError(f"record {lane}/{seq}: kind {kind!r} is not a short lower-case name")
    if (problem := _times_problem(fields) or body_problem(body)) is not None:
        raise PeerProtocolError(f"record {lane}/{seq} of kind {kind}: {problem}")
    if type(clock) is not int or not 0 <= clock < len(_CLOCK_CODES):
        raise PeerProtocolError(f"record {lane}/{seq}: clock quality {clock!r} is unknown")
    return Record(lane, seq, kind, body, device_at_ms, edge_at_ms, mono_ms, _CLOCK_CODES[clock])


def _times_problem(fields: Sequence[Any]) -> str | None:
    _, device_at_ms, edge_at_ms, mono_ms, _, _ = fields
    if device_at_ms is not None and not _is_time(device_at_ms):
        return f"device time {device_at_ms!r} is not milliseconds"
    if not _is_time(edge_at_ms):
        return f"edge time {edge_at_ms!r} is not milliseconds"
    if not _is_time(mono_ms):
        return f"monotonic time {mono_ms!r} is not milliseconds"
    return None


def _is_time(value: object) -> bool:
    return type(value) is int and 0 <= value <= TIME_MS_MAX
