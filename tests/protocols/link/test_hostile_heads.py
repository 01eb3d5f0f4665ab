"""No number in a batch's head alone carries a stream's mark away, and what an honest edge sends is always passed."""

import zlib
from contextlib import suppress
from typing import Any, Final

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols import cbor
from protocols.errors import PeerProtocolError
from protocols.link.batch import (
    POSITIONS_MAX,
    RECORDS_MAX,
    BatchHead,
    Hole,
    HoleReason,
    Packed,
    pack_batch,
    parse_batch,
)
from protocols.link.cloud_stream import CloudStream
from protocols.link.extent import described_last, has_more_items
from protocols.link.lanes import Lane
from protocols.link.messages import AckStatus
from protocols.vectors.link_vectors import EDGE, INCARNATION, encoded, repacked, run, stored

SEQ_MAX: Final = 2**63 - 1
NUMBERS: Final = st.one_of(
    st.integers(-3, 1_200),
    st.integers(-(2**64), 2**64 - 1),
    st.sampled_from([POSITIONS_MAX, POSITIONS_MAX + 1, 2**60, SEQ_MAX - 1, SEQ_MAX, SEQ_MAX + 1]),
)
INSIDES: Final = st.one_of(
    st.just(None),  # the three records as they are
    st.binary(max_size=40),
    st.binary(max_size=40).map(stored),
    st.integers(0, RECORDS_MAX + 3).map(lambda count: stored(cbor.encode({"r": [None] * count}))),
    st.lists(NUMBERS.filter(lambda n: n >= 0), min_size=3, max_size=3).map(
        lambda hole: stored(cbor.encode({"h": [hole], "r": [], "s": []}))
    ),
)
pytestmark = pytest.mark.guarantee("G19")


def take(cloud: CloudStream, payload: bytes) -> AckStatus | None:
    """Do as the ingest does; None: the head is none."""
    try:
        head = parse_batch(payload)
    except PeerProtocolError:
        return None
    if (status := cloud.judge(head)) is not AckStatus.STORED:
        return status
    try:
        return cloud.offer(head.open()).status
    except PeerProtocolError:
        return cloud.step_over(head).status


def hostile(first: int, n: int, inside: bytes | None) -> bytes:
    good = pack_batch(EDGE, INCARNATION, Lane.B, run(3, lane=Lane.B))[0]
    return repacked(good, first=first, n=n, **({} if inside is None else {"z": inside}))


@pytest.mark.parametrize("hi", [0, 248])
@pytest.mark.parametrize(
    ("ahead", "n"),
    [
        (1, 2**60), (1, POSITIONS_MAX), (1, POSITIONS_MAX + 1), (1, 2**62), (1, SEQ_MAX), (1, 2**63), (1, 2**64 - 1),
        (1, 0), (1, -1), (1, -(2**63)), (1, RECORDS_MAX + 1), (2, 3), (2**40, 3), (2**40, 2**40),
        (SEQ_MAX - 248, 1), (SEQ_MAX - 248, 2), (-(2**40), 2**41),
    ],
)  # fmt: skip
def test_a_head_that_its_records_do_not_bear_out_moves_nothing(hi: int, ahead: int, n: int) -> None:
    cloud = CloudStream(INCARNATION, Lane.B, hi)
    assert take(cloud, hostile(hi + ahead, n, None)) in (None, AckStatus.GAP, AckStatus.REFUSED)
    assert cloud.hi == hi
    good = Packed(hi + 1, hi + 2, range(hi + 1, hi + 3), [encoded(0), encoded(1)])
    assert take(cloud, pack_batch(EDGE, INCARNATION, Lane.B, good)[0]) is AckStatus.STORED
    assert cloud.hi == hi + 2


@given(first=NUMBERS, n=NUMBERS, hi=st.integers(0, 600), inside=INSIDES)
def test_the_mark_never_passes_what_is_inside_nor_goes_back(first: int, n: int, hi: int, inside: bytes | None) -> None:
    cloud, payload = CloudStream(INCARNATION, Lane.B, hi), hostile(first, n, inside)
    status = take(cloud, payload)
    assert cloud.hi >= hi
    if cloud.hi == hi:
        assert status is not AckStatus.STORED
        return
    head = parse_batch(payload)
    described = None
    with suppress(zlib.error):
        described = described_last(zlib.decompress(head.inside, -15), head.first)
    assert cloud.hi <= head.last
    assert cloud.hi <= (head.first + RECORDS_MAX - 1 if described is None else described)
    assert status in (AckStatus.STORED, AckStatus.REFUSED)


@st.composite
def honest_runs(draw: st.DrawFn) -> Packed:
    """Records and holes, some long, from position 1."""
    seqs: list[int] = []
    holes: list[Hole] = []
    at = 1
    for _ in range(draw(st.integers(1, 6))):
        length = draw(st.one_of(st.integers(1, 5), st.integers(10_000, 2**37)))
        reason = draw(st.sampled_from([None, HoleReason.QUOTA, HoleReason.THINNED]))
        if reason is None:
            length = min(length, 5)
            seqs += range(at, at + length)
        else:
            holes.append(Hole(at, at + length - 1, reason))
            if reason is HoleReason.THINNED:
                seqs += sorted(draw(st.sets(st.integers(at, at + length - 1), max_size=3)))
        at += length
    return Packed(1, at - 1, seqs, [encoded(seq % 9) for seq in seqs], holes=holes)


def spoilt(head: BatchHead, place: int) -> bytes:
    """Put what no record may hold into one record of `head`."""
    inside = cbor.decode(zlib.decompress(head.inside, -15), 2**20, floats=True, depth=9)
    assert isinstance(inside, dict)
    rows: Any = inside["r"]
    if rows:
        rows[place % len(rows)] = ["note", None, 0, 0, 0, {"a": {"b": {"c": {"d": {"e": "\x00"}}}}}]
    else:
        inside["h"] = [[*hole[:2], 99] for hole in inside["h"]]  # type: ignore[union-attr,misc,index]  # connected, or the test fails
    return stored(cbor.encode(inside, floats=True, depth=9))


@pytest.mark.guarantee("G1")
@given(packed=honest_runs(), place=st.integers(0, 20))
def test_an_honest_edge_with_one_record_that_cannot_be_read_is_always_passed(packed: Packed, place: int) -> None:
    cloud = CloudStream(INCARNATION, Lane.C)
    payload, last = pack_batch(EDGE, INCARNATION, Lane.C, packed)
    head = parse_batch(payload)
    poison = repacked(payload, z=spoilt(head, place))
    with pytest.raises(PeerProtocolError):
        parse_batch(poison).open()
    assert take(cloud, poison) is AckStatus.REFUSED
    assert cloud.hi == last


def test_a_shape_that_cannot_be_told_describes_nothing() -> None:
    good = cbor.encode({"h": [[3, 9, 1]], "r": [1, [2, {"x": b"abc"}]], "s": [0, 1]})
    assert described_last(good, 1) == 9
    assert described_last(good, 5) == 9
    assert described_last(good, 20) == 21
    assert described_last(b"\xa1\x61r\x82\xf9\x7e\x00\xc1\xfb" + bytes(8), 7) == 8  # NaN, a tag, a float
    for bad in (
        b"", b"\x80", b"\xa0", good[:-1], good + b"\x00", b"\xbf\x61r\x80\xff", b"\xa1\x61r\x9f\xff",
        b"\xa1\x61r\xa0", b"\xa1\x61x\x80", b"\xa2\x61r\x80\x61r\x80", b"\xa1\x61r\x9b" + b"\xff" * 8,
        b"\xbb" + b"\xff" * 8, cbor.encode({"r": [1], "s": []}), cbor.encode({"r": [1], "s": [-1]}),
        cbor.encode({"r": [], "h": [[1, True, 1]]}), cbor.encode({"r": [], "h": [1]}), cbor.encode({"r": [], "h": 1}),
    ):  # fmt: skip
        assert described_last(bad, 1) is None, bad.hex()


def _items(value: object) -> int:
    if isinstance(value, list):
        return 1 + sum(map(_items, value))
    if isinstance(value, dict):
        return 1 + sum(_items(key) + _items(each) for key, each in value.items())
    return 1


@given(
    st.recursive(
        st.one_of(
            st.integers(-(2**63), 2**64 - 1), st.text(max_size=30), st.binary(max_size=300), st.floats(), st.none()
        ),
        lambda inner: st.one_of(st.lists(inner, max_size=30), st.dictionaries(st.text(max_size=3), inner, max_size=30)),
        max_leaves=60,
    )
)
def test_items_are_counted_as_they_are(value: object) -> None:
    data, count = cbor2.dumps(value), _items(value)
    assert not has_more_items(data, count)
    assert has_more_items(data, count - 1)


@given(st.binary(max_size=60), st.integers(1, 100))
def test_noise_is_not_counted_for_ever(noise: bytes, most: int) -> None:
    for data in (noise, b"\x9b" + bytes([255] * 8) + noise, b"\x82" + noise, b"\x5b" + bytes([255] * 8) + noise):
        assert has_more_items(data, most) in {True, False}
