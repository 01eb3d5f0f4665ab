"""Rows of `telemetry.record` as the bytes of a binary COPY: one pass, no object a record.

Source of truth: PostgreSQL manual, COPY, "Binary Format"; the columns are those of `COPY_RECORDS`, in its order.
Source of the limits: protocols/link/SPEC.md section 3.
"""

import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import cbor2
import msgspec

from protocols.errors import PeerProtocolError
from protocols.link.record import RECORD_BYTES_MAX, ClockQuality

COPY_RECORDS: Final = (
    "COPY telemetry.record (tenant, property, edge, incarnation, lane, seq, kind, body, device_at_ms, edge_at_ms, "
    "mono_ms, clock, received_at) FROM STDIN (FORMAT BINARY)"
)
COPY_HEAD: Final = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
COPY_END: Final = b"\xff\xff"

Fields = tuple[str, int | None, int, int, int, Mapping[str, Any]]
"""A record as it stands on the wire: kind, device_at, edge_at, mono, clock, body."""

_COLUMNS: Final = 13
_POSTGRES_EPOCH_US: Final = 946_684_800_000_000  # 2000-01-01 in Unix microseconds
_JSONB_VERSION: Final = 1
_FLOAT_STRETCH: Final = 3  # CBOR is at most so many times as long as JSON: 9 bytes for "0.1" and its comma
_HEADS: Final = 96  # what a record has besides its body, encoded, at most

_encode: Final[Callable[[object], bytes]] = msgspec.json.Encoder().encode
_long: Final = struct.Struct(">iq").pack
_body: Final = struct.Struct(">ib").pack
_times: Final = struct.Struct(">iqiq").pack


def _field(value: bytes) -> bytes:
    return len(value).to_bytes(4, "big") + value


_CLOCKS: Final = tuple(_field(each.value.encode()) for each in ClockQuality)
_NO_DEVICE_TIME: Final = struct.pack(">i", -1)


@dataclass(frozen=True, slots=True)
class RowFrame:
    """What all rows of one batch have in common, encoded."""

    before: bytes
    after: bytes

    @classmethod
    def of(
        cls, *, tenant: str, property_id: str, edge: str, incarnation: bytes, lane: str, received_ms: int
    ) -> "RowFrame":
        """Encode the columns before `seq` and the one after `clock`."""
        texts = (tenant.encode(), property_id.encode(), edge.encode(), incarnation, lane.encode())
        received_us = received_ms * 1_000 - _POSTGRES_EPOCH_US
        return cls(_COLUMNS.to_bytes(2, "big") + b"".join(map(_field, texts)), _long(8, received_us))


def copy_rows(frame: RowFrame, seqs: Iterable[int], records: Iterable[Fields]) -> list[bytes]:
    """Return one encoded row a record.

    Raises:
        PeerProtocolError: a record is over `RECORD_BYTES_MAX`, or a text in it holds a NUL.
    """
    rows: list[bytes] = []
    kinds: dict[str, bytes] = {}
    before, after, append = frame.before, frame.after, rows.append
    for seq, (kind, device_at_ms, edge_at_ms, mono_ms, clock, body) in zip(seqs, records, strict=True):
        text = _encode(body)
        size = len(text)
        if size * _FLOAT_STRETCH + _HEADS > RECORD_BYTES_MAX:
            _refuse_oversized(seq, [kind, device_at_ms, edge_at_ms, mono_ms, clock, body])
        if b"\\u0000" in text:
            _refuse_nul(seq, body)
        encoded_kind = kinds.get(kind)
        if encoded_kind is None:
            encoded_kind = kinds[kind] = _field(kind.encode())
        append(
            b"".join((
                before,
                _long(8, seq),
                encoded_kind,
                _body(size + 1, _JSONB_VERSION),
                text,
                _NO_DEVICE_TIME if device_at_ms is None else _long(8, device_at_ms),
                _times(8, edge_at_ms, 8, mono_ms),
                _CLOCKS[clock],
                after,
            ))
        )  # fmt: skip
    return rows


def _refuse_oversized(seq: int, fields: list[object]) -> None:
    size = len(cbor2.dumps(fields, canonical=True))
    if size > RECORD_BYTES_MAX:
        raise PeerProtocolError(f"record {seq} of {size} bytes, at most {RECORD_BYTES_MAX} are kept")


def _refuse_nul(seq: int, value: object) -> None:
    """Tell a NUL from the six letters that JSON writes it with."""
    stack: list[object] = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, str):
            if "\x00" in item:
                raise PeerProtocolError(f"record {seq}: text with a NUL")
        elif isinstance(item, Mapping):
            stack.extend(item.keys())
            stack.extend(item.values())
        elif isinstance(item, list):
            stack.extend(item)
