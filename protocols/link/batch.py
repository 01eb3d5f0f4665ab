"""Batches: a run of one stream's positions, packed by the edge and opened by the cloud.

Source of truth: SPEC.md section 5; vectors in protocols/vectors/link/batch.json. A batch is opened in two steps, so
that one whose inside is broken can still be named, counted and stepped over: `parse_batch`, then `BatchHead.open`.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from protocols import cbor
from protocols.device_model.identity import EdgeId, parse_edge_id
from protocols.errors import InvalidInputError, LocalProtocolError, PeerProtocolError, UnsupportedVersionError
from protocols.link import chain
from protocols.link.extent import described_last, has_more_items
from protocols.link.lanes import Lane
from protocols.link.record import BODY_DEPTH_MAX, RECORD_BYTES_MAX, SEQ_MAX, Record, record_from_fields
from protocols.link.versions import VERSION, VERSIONS

INCARNATION_BYTES: Final = 16
OPENING_BYTES: Final = 8
"""Names one opening of a store; a batch holds positions written in one opening alone."""
RECORDS_MAX: Final = 500
"""Records in one batch."""
HOLES_MAX: Final = 500
"""Declared holes in one batch."""
PACKED_BYTES_MAX: Final = 128 * 1024
"""What an edge packs into one batch, before compression; one record always fits."""
INFLATED_BYTES_MAX: Final = 1024 * 1024
"""What a cloud inflates at most."""
ITEMS_MAX: Final = 128 * 1024
"""CBOR items in a batch: PACKED_BYTES_MAX cannot hold more, and a thousand bytes can inflate to a million."""
BATCH_BYTES_MAX: Final = 256 * 1024
"""What a cloud reads at most, as it comes from the broker."""
POSITIONS_MAX: Final = 2**36
"""Positions that one batch covers, holes included: a thousand a second for two years. A longer hole goes in pieces."""

_DEFLATE_LEVEL: Final = 6
_RAW_DEFLATE: Final = -15
_INSIDE_DEPTH: Final = 3 + BODY_DEPTH_MAX
_HOLE_BYTES: Final = 20  # two sequence numbers, a reason and their heads, at most
_RECORD_HEAD_BYTES: Final = 9  # its sequence number, at most
_HEAD_KEYS: Final = frozenset({"v", "edge", "inc", "lane", "open", "first", "n", "z"})


class HoleReason(IntEnum):
    """Why positions hold no record. A hole is declared, stored and shown: never silent."""

    QUOTA = 1
    """The lane was full and its oldest records gave way before they could be sent."""
    THINNED = 2
    """Decimated under pressure; records may stand inside the range, the positions between them gave way."""
    FORGOTTEN = 3
    """Acknowledged once and trimmed since; the cloud asks again because it was restored from a backup."""
    REFUSED = 4
    """The cloud could not read the batch, keeps its bytes and went on (written by the cloud alone)."""
    LOST = 5
    """The log found no record where it had written one: the disk was damaged."""


@dataclass(frozen=True, slots=True)
class Hole:
    """Positions `first` to `last`, both included, that hold no record (between records, if thinned)."""

    first: int
    last: int
    reason: HoleReason


@dataclass(frozen=True, slots=True)
class Packed:
    """A run of a stream as its log holds it: encoded records in order, and the holes between them.

    `before` is the hash chain's value before the first record and `links` its value after each (lane A alone).
    """

    first: int
    last: int
    seqs: Sequence[int]
    records: Sequence[bytes]
    holes: Sequence[Hole] = ()
    before: bytes | None = None
    links: Sequence[bytes] = ()
    opening: bytes = bytes(OPENING_BYTES)


@dataclass(frozen=True, slots=True)
class Batch:
    """An opened batch: every position from `first` to `last` is a record or lies in a hole."""

    edge: EdgeId
    incarnation: bytes
    lane: Lane
    opening: bytes
    first: int
    last: int
    records: tuple[Record, ...]
    encoded: tuple[bytes, ...]
    holes: tuple[Hole, ...]
    chain: tuple[bytes, bytes] | None
    """Lane A: the chain's value before `first` and after `last`."""


@dataclass(frozen=True, slots=True)
class BatchHead:
    """What a batch says about itself in the clear."""

    edge: EdgeId
    incarnation: bytes
    lane: Lane
    opening: bytes
    first: int
    last: int
    chain: tuple[bytes, bytes] | None
    inside: bytes

    def open(self) -> Batch:
        """Inflate and decode what is inside.

        Raises:
            PeerProtocolError: it inflates past the bound, is not CBOR, or does not hold what the head says.
        """
        value = cbor.decode(inflate(self.inside), INFLATED_BYTES_MAX, floats=True, depth=_INSIDE_DEPTH)
        value = value if isinstance(value, dict) else {}
        match value:
            case {"r": list() as rows} if value.keys() <= {"h", "r", "s"} and len(rows) <= RECORDS_MAX:
                pass
            case _:
                raise PeerProtocolError(f"{self._name()}: not a map of at most {RECORDS_MAX} records and their holes")
        holes = self._holes(value.get("h", []))
        seqs = self._seqs(value.get("s"), len(rows))
        records: list[Record] = []
        for seq, fields in zip(seqs, rows, strict=True):
            if not isinstance(fields, list):
                raise PeerProtocolError(f"{self._name()}: record {seq} is not a list")
            records.append(record_from_fields(fields, lane=self.lane, seq=seq))
        self._cover(seqs, holes)
        encoded = (
            tuple(cbor.encode(fields, floats=True, depth=_INSIDE_DEPTH) for fields in rows)
            if self.lane is Lane.A
            else ()
        )
        return Batch(
            self.edge, self.incarnation, self.lane, self.opening, self.first, self.last, tuple(records), encoded,
            holes, self.chain,
        )  # fmt: skip

    def credible_last(self) -> int:
        """Return how far the head is to be believed though `open` refuses what is inside; `first` - 1: not at all.

        A head that records alone can fill is believed where the inside says nothing; one of more positions only where
        the inside reaches exactly as far: no number in a head alone may carry a stream's mark away.
        """
        try:
            described = described_last(inflate(self.inside), self.first)
        except PeerProtocolError:
            described = None
        if described == self.last:
            return self.last
        if self.last - self.first >= RECORDS_MAX:
            return self.first - 1
        return self.last if described is None else min(described, self.last)

    def _holes(self, value: cbor.Value) -> tuple[Hole, ...]:
        if not isinstance(value, list) or len(value) > HOLES_MAX:
            raise PeerProtocolError(f"{self._name()}: holes are not a list of at most {HOLES_MAX}")
        holes: list[Hole] = []
        after = self.first - 1
        for each in value:
            match each:
                case [int() as first, int() as last, int() as reason] if (
                    after < first <= last <= self.last and bool not in map(type, each)
                ):
                    pass
                case _:
                    raise PeerProtocolError(f"{self._name()}: hole {each!r} is not [first, last, reason] in order")
            if reason == HoleReason.REFUSED:
                raise PeerProtocolError(f"{self._name()}: hole {each!r} is one that the cloud alone makes")
            try:
                holes.append(Hole(first, last, HoleReason(reason)))
            except ValueError as error:
                raise PeerProtocolError(f"{self._name()}: hole for unknown reason {reason}") from error
            after = last
        return tuple(holes)

    def _seqs(self, offsets: cbor.Value, count: int) -> Sequence[int]:
        if offsets is None:
            return range(self.first, self.first + count)
        if not isinstance(offsets, list) or len(offsets) != count:
            raise PeerProtocolError(f"{self._name()}: not one position for each of {count} records")
        seqs: list[int] = []
        for offset in offsets:
            if type(offset) is not int or offset < 0 or (seqs and self.first + offset <= seqs[-1]):
                raise PeerProtocolError(f"{self._name()}: position offset {offset!r} is out of order")
            seqs.append(self.first + offset)
        return seqs

    def _cover(self, seqs: Sequence[int], holes: Sequence[Hole]) -> None:
        """Every position is a record or lies in a hole; only a thinned hole may hold records."""
        if not holes and seqs == range(self.first, self.last + 1):
            return
        ends = [*((seq, seq, None) for seq in seqs), *((hole.first, hole.last, hole) for hole in holes)]
        expected, thinned_to = self.first, 0
        for first, last, hole in sorted(ends, key=lambda each: (each[0], each[2] is None)):
            if hole is None and first <= thinned_to:
                continue
            if first != expected:
                raise PeerProtocolError(f"{self._name()}: position {min(first, expected)} is not held exactly once")
            expected = last + 1
            if hole is not None and hole.reason is HoleReason.THINNED:
                thinned_to = last
        if expected != self.last + 1:
            raise PeerProtocolError(f"{self._name()}: position {expected} is neither record nor hole")

    def _name(self) -> str:
        return f"batch {self.edge}/{self.incarnation.hex()}/{self.lane}/{self.first}-{self.last}"


def pack_batch(edge: EdgeId, incarnation: bytes, lane: Lane, run: Packed) -> tuple[bytes, int]:
    """Pack as much of `run` as the bounds allow, from its beginning, and return (payload, last position in it).

    Raises:
        LocalProtocolError: the run is empty or starts with a record over `RECORD_BYTES_MAX`.
    """
    seqs, rows, holes, last = _all_of(run) or _as_much_as_fits(run, lane)
    if last < run.first:
        raise LocalProtocolError(f"nothing to pack at {lane}/{run.first}")
    after = run.links[len(rows) - 1] if rows and run.links else run.before
    head: dict[str, object] = {
        "v": VERSION, "edge": edge, "inc": incarnation, "lane": lane.value, "open": run.opening,
        "first": run.first, "n": last - run.first + 1,
        "z": _deflate(_inside(rows, holes, seqs, run.first)),
    }  # fmt: skip
    if run.before is not None and after is not None:
        head["chain"] = [run.before, after]
    return cbor.encode(head), last


def _all_of(run: Packed) -> "tuple[Sequence[int], Sequence[bytes], list[Hole], int] | None":
    """Return (positions, records, holes, last position) of a run without holes that fits a batch; None of any other."""
    count = len(run.records)
    if (
        not 0 < count <= RECORDS_MAX
        or run.holes
        or list(run.seqs) != list(range(run.first, run.first + count))
        or max(sizes := list(map(len, run.records))) > RECORD_BYTES_MAX
        or sum(sizes) + count * _RECORD_HEAD_BYTES > PACKED_BYTES_MAX
    ):
        return None
    return run.seqs, run.records, [], run.first + count - 1


def _as_much_as_fits(run: Packed, lane: Lane) -> tuple[list[int], list[bytes], list[Hole], int]:
    """Return the beginning of a run that fits a batch, as `_all_of` does. Raises LocalProtocolError."""
    most = run.first + POSITIONS_MAX - 1
    pieces: list[tuple[int, int, bytes | None, Hole | None]] = sorted(
        [
            *((seq, seq, record, None) for seq, record in zip(run.seqs, run.records, strict=True) if seq <= most),
            *(
                (hole.first, min(hole.last, most), None, Hole(hole.first, min(hole.last, most), hole.reason))
                for hole in run.holes
                if hole.first <= most
            ),
        ],
        key=lambda each: (each[0], each[2] is not None),
    )
    seqs: list[int] = []
    rows: list[bytes] = []
    holes: list[Hole] = []
    size, last, cut = 0, run.first - 1, False
    for first, end, record, hole in pieces:
        cost = _HOLE_BYTES if record is None else len(record) + _RECORD_HEAD_BYTES
        if record is not None and len(record) > RECORD_BYTES_MAX:
            raise LocalProtocolError(f"record {lane}/{first} of {len(record)} bytes cannot be packed")
        if size + cost > PACKED_BYTES_MAX or len(rows) == RECORDS_MAX or len(holes) == HOLES_MAX:
            cut = True
            break
        size += cost
        if record is not None:
            seqs.append(first)
            rows.append(record)
            last = max(last, first)
        if hole is not None:
            holes.append(hole)
            last = max(last, end)
    if cut and holes and holes[-1].last > (end_of_batch := pieces[len(rows) + len(holes)][0] - 1):
        # cut inside a thinned hole: end both it and the batch just before the first record left out
        hole, last = holes.pop(), end_of_batch
        if hole.first <= end_of_batch:
            holes.append(Hole(hole.first, end_of_batch, hole.reason))
    return seqs, rows, holes, last


def parse_batch(payload: bytes) -> BatchHead:
    """Read a batch's head; what is inside stays packed.

    Raises:
        UnsupportedVersionError: packed by a later edge.
        PeerProtocolError: not a batch.
    """
    value = cbor.decode(payload, BATCH_BYTES_MAX)
    if not isinstance(value, dict) or "v" not in value:
        raise PeerProtocolError("a batch is a map with a version")
    if value["v"] != VERSION or type(value["v"]) is not int:
        raise UnsupportedVersionError("link batch", value["v"], VERSIONS)
    match value:
        case {
            "edge": str() as edge, "inc": bytes() as incarnation, "lane": str() as lane,
            "open": bytes() as opening, "first": int() as first, "n": int() as n, "z": bytes() as inside,
        } if value.keys() - {"chain"} == _HEAD_KEYS:  # fmt: skip
            pass
        case _:
            raise PeerProtocolError(f"a batch holds {sorted(_HEAD_KEYS)}, not {sorted(map(str, value))}")
    if (
        len(incarnation) != INCARNATION_BYTES
        or len(opening) != OPENING_BYTES
        or type(first) is not int
        or type(n) is not int
        or first < 1
        or not 1 <= n <= POSITIONS_MAX
        or first + n - 1 > SEQ_MAX
    ):
        raise PeerProtocolError(f"batch of {edge}: incarnation, first {first} or n {n} out of range")
    try:
        return BatchHead(
            parse_edge_id(edge), incarnation, Lane(lane), opening, first, first + n - 1,
            _chain_of(value.get("chain")), inside,
        )  # fmt: skip
    except (InvalidInputError, ValueError) as error:
        raise PeerProtocolError(f"batch: {error}") from error


def chain_after(batch: Batch) -> bytes | None:
    """Return the chain's value after the batch as its records give it, None where it carries no chain.

    With holes inside, the chain cannot be followed across them: it is taken up again at the value the edge claims.
    """
    if batch.chain is None:
        return None
    before, after = batch.chain
    if batch.holes:
        return after
    for record, encoded in zip(batch.records, batch.encoded, strict=True):
        before = chain.link(before, record.seq, encoded)
    return before


def _chain_of(value: cbor.Value) -> tuple[bytes, bytes] | None:
    match value:
        case None:
            return None
        case [bytes() as before, bytes() as after] if len(before) == len(after) == chain.CHAIN_BYTES:
            return before, after
        case _:
            raise PeerProtocolError("a batch's chain is [before, after] of 32 bytes each")


def _inside(rows: Sequence[bytes], holes: Sequence[Hole], seqs: Sequence[int], first: int) -> bytes:
    """Return the deterministic CBOR map {h?, r, s?} around records that are encoded already."""
    keys = 1 + (2 if holes else 0)
    parts = [bytes([0xA0 | keys])]
    if holes:
        parts += [b"\x61h", cbor.encode([[hole.first, hole.last, int(hole.reason)] for hole in holes])]
    parts += [b"\x61r", array_head(len(rows)), *rows]
    if holes:
        parts += [b"\x61s", cbor.encode([seq - first for seq in seqs])]
    return b"".join(parts)


def array_head(count: int) -> bytes:
    """Return the CBOR head of a list of so many items, at most 65,535."""
    if count < 24:
        return bytes([0x80 | count])
    if count < 256:
        return bytes([0x98, count])
    return b"\x99" + count.to_bytes(2, "big")


def _deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(_DEFLATE_LEVEL, zlib.DEFLATED, _RAW_DEFLATE)
    return packer.compress(data) + packer.flush()


def inflate(data: bytes) -> bytes:
    """Return what a batch packs, within the bounds on its size and on what decoding it costs.

    Raises:
        PeerProtocolError: it does not inflate, or past INFLATED_BYTES_MAX bytes or ITEMS_MAX items.
    """
    unpacker = zlib.decompressobj(_RAW_DEFLATE)
    try:
        inflated = unpacker.decompress(data, INFLATED_BYTES_MAX)
    except zlib.error as error:
        raise PeerProtocolError(f"batch does not inflate: {error}") from error
    if unpacker.unconsumed_tail or not unpacker.eof:
        raise PeerProtocolError(f"batch inflates past {INFLATED_BYTES_MAX} bytes or is cut short")
    if unpacker.unused_data:
        raise PeerProtocolError(f"{len(unpacker.unused_data)} bytes follow the packed records")
    if len(inflated) > ITEMS_MAX and has_more_items(inflated, ITEMS_MAX):
        raise PeerProtocolError(f"batch inflates to more than {ITEMS_MAX} items")
    return inflated
