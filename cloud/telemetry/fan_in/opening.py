"""A batch's inside as what the ledger stores: encoded rows, readings, and records that other modules take.

Two ways with one result. The quick way decodes and checks a whole batch by a few calls into compiled code; it takes
only what it can prove to be inside protocols/link/SPEC.md (lanes B and C without holes, the one encoding, types,
ranges, depths) and decides nothing else. Whatever it does not take goes the way of `BatchHead.open`, which has the
last word and the words for a refusal. tests/cloud/telemetry/test_ingest_opening.py holds both against each other.
"""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, NoReturn, TypeAlias, cast

import cbor2
import msgspec

from cloud.telemetry.fan_in.ledger_rows import Fields, RowFrame, copy_rows
from cloud.telemetry.fan_in.one_encoding import EncodedSizes
from cloud.telemetry.fan_in.readings import reading_rows
from cloud.telemetry.latest import READING_KIND
from cloud.telemetry.ports import BatchContext
from cloud.telemetry.store.port import ReadingRow
from protocols.errors import PeerProtocolError
from protocols.link.batch import RECORDS_MAX, BatchHead, Hole, inflate
from protocols.link.cloud_stream import ChainVerdict, CloudStream
from protocols.link.lanes import Lane
from protocols.link.messages import AckStatus
from protocols.link.record import BODY_DEPTH_MAX, TIME_MS_MAX, ClockQuality, Record

_Int: TypeAlias = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
_Scalar: TypeAlias = bool | _Int | float | str | None
_Third: TypeAlias = bool | _Int | float | str | dict[str, _Scalar] | list[_Scalar] | None
_Second: TypeAlias = bool | _Int | float | str | dict[str, _Third] | list[_Third] | None
_Time: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=TIME_MS_MAX)]
_Clock: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=len(ClockQuality) - 1)]
_Body: TypeAlias = dict[str, _Second]
_Record: TypeAlias = tuple[str, _Time | None, _Time, _Time, _Clock, _Body]


class _Inside(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """The map {"r": records}. A class of its own: msgspec reads a type made of others anew at every call."""

    r: Annotated[list[_Record], msgspec.Meta(max_length=RECORDS_MAX)]


_KIND: Final = re.compile(r"[a-z][a-z0-9_]{0,31}")
_NOT_FINITE: Final = re.compile(rb"\xf9(?:\x7e\x00|[\x7c\xfc]\x00)")
"""NaN and the infinities in their one encoding; found by chance elsewhere, it only costs time."""
_CLOCKS: Final = tuple(ClockQuality)
_sizes: Final = EncodedSizes()


@dataclass(frozen=True, slots=True)
class Place:
    """Where a batch's records go: whose they are, and the stream's number."""

    context: BatchContext
    ordinal: int
    frame: RowFrame

    @classmethod
    def of(cls, context: BatchContext, ordinal: int) -> "Place":
        """Encode what all rows of the batch share."""
        frame = RowFrame.of(
            tenant=context.tenant,
            property_id=context.property,
            edge=context.edge,
            incarnation=context.incarnation,
            lane=context.lane.value,
            received_ms=context.received_ms,
        )
        return cls(context, ordinal, frame)


@dataclass(slots=True)
class Opened:
    """What a batch adds to its stream: everything past the mark, in order."""

    status: AckStatus
    rows: list[bytes] = field(default_factory=list)
    kinds: frozenset[str] = frozenset()
    readings: list[ReadingRow] = field(default_factory=list)
    """Every sound reading, in order."""
    records: list[Record] = field(default_factory=list)
    """Records of the kinds that somebody projects."""
    holes: tuple[tuple[Hole, int], ...] = ()
    """Each with the number of records at its positions: a thinned one holds those that the others gave way to."""
    verdict: ChainVerdict = ChainVerdict.NONE
    refused: list[tuple[int, PeerProtocolError]] = field(default_factory=list)
    """Readings that are none, by position: kept in the ledger, taken no further."""


def open_batch(head: BatchHead, stream: CloudStream, place: Place, projected: frozenset[str]) -> Opened:
    """Open what of a batch is new and move `stream` past it. The batch must be one that `stream` judges STORED.

    Args:
        projected: Kinds whose records are wanted whole.

    Raises:
        PeerProtocolError: what is inside cannot be read; `stream` has not moved.
    """
    fields = None if head.lane is Lane.A else _quickly(head)
    if fields is None:
        return _thoroughly(head, stream, place, projected)
    new = range(stream.hi + 1, head.last + 1)
    again = new.start - head.first  # an edge that waits for an answer repeats what it sent, with what came since
    try:
        copy_rows(place.frame, range(head.first, new.start), fields[:again])  # what it repeats must be sound too
        opened = _opened(new, fields[again:], place, projected)
    except PeerProtocolError:
        return _thoroughly(head, stream, place, projected)  # the same refusal, of all that is inside
    stream.hi = head.last
    return opened


def _thoroughly(head: BatchHead, stream: CloudStream, place: Place, projected: frozenset[str]) -> Opened:
    batch = head.open()
    trial = CloudStream(stream.incarnation, stream.lane, stream.hi, stream.chain)
    offered = trial.offer(batch)
    wire = [
        (each.kind, each.device_at_ms, each.edge_at_ms, each.mono_ms, _CLOCKS.index(each.clock), each.body)
        for each in offered.records
    ]
    opened = _opened([each.seq for each in offered.records], wire, place, projected)
    seqs = [each.seq for each in offered.records]
    opened.holes = tuple(
        (hole, bisect_right(seqs, hole.last) - bisect_left(seqs, hole.first)) for hole in offered.holes
    )
    opened.verdict = offered.verdict
    stream.hi, stream.chain = trial.hi, trial.chain
    return opened


def _opened(seqs: Sequence[int], fields: Sequence[Fields], place: Place, projected: frozenset[str]) -> Opened:
    kinds = frozenset(each[0] for each in fields)
    opened = Opened(AckStatus.STORED, copy_rows(place.frame, seqs, fields), kinds)
    if READING_KIND in kinds:
        found = [each for each in zip(seqs, fields, strict=True) if each[1][0] == READING_KIND]
        opened.readings, opened.refused = reading_rows(place.context, place.ordinal, found)
    if wanted := kinds & projected:
        lane = place.context.lane
        opened.records = [
            Record(
                lane,
                seq,
                kind,
                cast("dict[str, Any]", body),
                device_at_ms,
                edge_at_ms,
                mono_ms,
                _CLOCKS[clock],
            )
            for seq, (kind, device_at_ms, edge_at_ms, mono_ms, clock, body) in zip(seqs, fields, strict=True)
            if kind in wanted
        ]
    return opened


def _quickly(head: BatchHead) -> list[Fields] | None:
    """Return the records of a batch that is provably within the specification, None of any other."""
    try:
        data = inflate(head.inside)
        if _NOT_FINITE.search(data):
            return None
        value = cbor2.loads(
            data,
            tag_hook=_refuse_tag,
            semantic_decoders=_REFUSE_EVERY_TAG,
            max_depth=3 + BODY_DEPTH_MAX,
            allow_indefinite=False,
            allow_duplicate_keys=False,
            strict_hashable_types=True,  # other keys can be chosen so that a map of them costs their square
        )
        if not isinstance(value, dict):
            return None
        msgspec.convert(value, _Inside)
        records = value["r"]
        size = _sizes.of_inside(records)
        if size != len(data) if size is not None else cbor2.dumps(value, canonical=True) != data:
            return None
    except (PeerProtocolError, cbor2.CBORDecodeError, ValueError, TypeError, OverflowError, RecursionError):
        return None  # msgspec's ValidationError is a ValueError
    kinds = {each[0] for each in records}
    if len(records) != head.last - head.first + 1 or not all(map(_KIND.fullmatch, kinds)):
        return None
    return cast("list[Fields]", records)


def _refuse_tag(_tag: object, _immutable: bool) -> NoReturn:
    raise ValueError("tags are not allowed")


# cbor2 runs decoders of its own (big floats, regular expressions ...) before the hook sees a tag
_REFUSE_EVERY_TAG: Final[Mapping[int, Callable[[object, bool], object]]] = dict.fromkeys(
    (*range(300), 1004, 43000, 55799), _refuse_tag
)
