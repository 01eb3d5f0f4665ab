"""Records that tell a reading, made rows of the time series in bulk.

The rule is `cloud.telemetry.store.rows.reading_row`: the bulk way takes what it proves to be a reading by the same
rule, all else is judged there, with its words. tests/cloud/telemetry/test_ingest_opening.py holds both against each
other.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal, TypeAlias

import msgspec

from cloud.telemetry.fan_in.ledger_rows import Fields
from cloud.telemetry.ports import BatchContext
from cloud.telemetry.store.port import ReadingRow, TimeSource
from cloud.telemetry.store.rows import TEXT_MAX, VALUE_TEXT_MAX, reading_row
from cloud.telemetry.store.times import when
from cloud.telemetry.store.writing import NUMBER_MOST
from protocols.errors import PeerProtocolError
from protocols.link.record import ClockQuality, Record

_Name: TypeAlias = Annotated[str, msgspec.Meta(min_length=1, max_length=TEXT_MAX)]
_Text: TypeAlias = Annotated[str, msgspec.Meta(max_length=TEXT_MAX)]
_Int: TypeAlias = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
_Float: TypeAlias = Annotated[float, msgspec.Meta(gt=-NUMBER_MOST, lt=NUMBER_MOST)]
_ValueText: TypeAlias = Annotated[str, msgspec.Meta(max_length=VALUE_TEXT_MAX)]

_CLOCKS: Final = tuple(ClockQuality)
_VALUELESS: Final = frozenset({"bad", "stale"})


class _Body(msgspec.Struct, frozen=True, gc=False):
    """What a reading's body says, of the types that a reading may have."""

    device: _Name
    capability: _Name
    attribute: _Name
    quality: Literal["good", "uncertain", "bad", "stale"]
    value: bool | _Int | _Float | _ValueText | None = None
    room: _Text | None = None
    unit: _Text | None = None
    device_at_ms: Any = None
    thinned: Any = msgspec.UNSET


class _Bodies(msgspec.Struct, frozen=True, gc=False):
    """A class of its own: msgspec reads a type made of others anew at every call."""

    bodies: list[_Body]


EDGE_BELIEVED_MS: Final = 86_400_000
"""A synchronised building's word on a time no older than this is taken as it is, as `when` would."""


def reading_rows(
    context: BatchContext, ordinal: int, found: Sequence[tuple[int, Fields]]
) -> tuple[list[ReadingRow], list[tuple[int, PeerProtocolError]]]:
    """Return the rows of readings, in order, and (seq, why) of records that are none.

    Args:
        found: (seq, record) of kind "reading", as decoded from the wire and within its specification.
    """
    try:
        bodies = msgspec.convert({"bodies": [record[5] for _, record in found]}, _Bodies).bodies
    except msgspec.ValidationError:
        return _one_by_one(context, ordinal, found)
    rows: list[ReadingRow] = []
    tenant, property_id, received_ms = context.tenant, context.property, context.received_ms
    make, synchronised = tuple.__new__, TimeSource.SYNCHRONISED  # a named tuple's own way costs as much as the rest
    believed = range(received_ms - EDGE_BELIEVED_MS, received_ms + 1)
    for (seq, (_, device_at_ms, edge_at_ms, _, clock, _)), body in zip(found, bodies, strict=True):
        if body.value is None and body.quality not in _VALUELESS:
            return _one_by_one(context, ordinal, found)
        if body.thinned is not msgspec.UNSET:  # seldom, and judged where all else is
            return _one_by_one(context, ordinal, found)
        if device_at_ms is None and type(body.device_at_ms) is int:
            device_at_ms = body.device_at_ms  # noqa: PLW2901 - the record's own time, where its head has none
        if clock == 0 and device_at_ms is None and edge_at_ms in believed:  # what `when` says of nearly every reading
            at_ms, source = edge_at_ms, synchronised
        else:
            at_ms, source = when(
                device_at_ms=device_at_ms, edge_at_ms=edge_at_ms, clock=_CLOCKS[clock], received_ms=received_ms
            )
        rows.append(
            make(
                ReadingRow,
                (
                    tenant, property_id, body.room, body.device, body.capability, body.attribute, body.unit, at_ms,
                    edge_at_ms, body.value, body.quality, source, ordinal, seq, None,
                ),
            )
        )  # fmt: skip
    return rows, []


def _one_by_one(
    context: BatchContext, ordinal: int, found: Sequence[tuple[int, Fields]]
) -> tuple[list[ReadingRow], list[tuple[int, PeerProtocolError]]]:
    rows: list[ReadingRow] = []
    refused: list[tuple[int, PeerProtocolError]] = []
    for seq, (kind, device_at_ms, edge_at_ms, mono_ms, clock, body) in found:
        record = Record(context.lane, seq, kind, dict(body), device_at_ms, edge_at_ms, mono_ms, _CLOCKS[clock])
        try:
            rows.append(reading_row(context, ordinal, record))
        except PeerProtocolError as error:
            refused.append((seq, error))
    return rows, refused
