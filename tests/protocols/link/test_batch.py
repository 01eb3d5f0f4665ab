"""Batches: what is packed comes out again, whatever the run; what is hostile raises one kind of error."""

import zlib
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols import cbor
from protocols.device_model.identity import EdgeId
from protocols.errors import LocalProtocolError, PeerProtocolError
from protocols.link.batch import (
    BATCH_BYTES_MAX,
    INFLATED_BYTES_MAX,
    PACKED_BYTES_MAX,
    POSITIONS_MAX,
    RECORDS_MAX,
    Hole,
    HoleReason,
    Packed,
    pack_batch,
    parse_batch,
)
from protocols.link.lanes import Lane
from protocols.link.messages import decode_ack, decode_answer, decode_hello, decode_live
from protocols.link.record import ClockQuality, body_problem, decode_record, encode_record
from protocols.vectors.link_vectors import EDGE, INCARNATION, repacked, run

TEXTS = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=20)
NUMBERS = st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
SCALARS = st.none() | st.booleans() | NUMBERS | TEXTS
BODIES = st.dictionaries(
    st.text("abcdefgh_", min_size=1, max_size=8), SCALARS | st.lists(SCALARS, max_size=3), max_size=5
)

HELLO_MESSAGE: dict[str, object] = {"v": [1], "edge": EDGE, "property": "aurora", "nonce": 1, "streams": [], "at": 1}


def record(body: dict[str, Any]) -> bytes:
    return encode_record("reading", body, device_at_ms=None, edge_at_ms=1, mono_ms=2, clock=ClockQuality.DRIFTING)


@given(body=BODIES)
def test_a_body_comes_out_as_it_went_in(body: dict[str, Any]) -> None:
    assert decode_record(record(body), lane=Lane.B, seq=1).body == body


@st.composite
def sparse_runs(draw: st.DrawFn) -> Packed:
    """Positions that are records, lie in plain holes, or were thinned out between records."""
    at = first = draw(st.integers(1, 2**40))
    seqs: list[int] = []
    holes: list[Hole] = []
    for _ in range(draw(st.integers(1, 12))):
        kind, length = draw(st.sampled_from(["records", "hole", "thinned"])), draw(st.integers(1, 30))
        if kind == "hole":
            holes.append(Hole(at, at + length - 1, HoleReason.QUOTA))
        elif kind == "records":
            seqs += range(at, at + length)
        else:
            holes.append(Hole(at, at + length - 1, HoleReason.THINNED))
            seqs += sorted(draw(st.sets(st.integers(at, at + length - 1), max_size=length)))
        at += length
    return Packed(first, at - 1, seqs, [record({"seq": seq}) for seq in seqs], holes=holes)


@given(packed=sparse_runs())
def test_every_position_of_a_run_arrives_as_what_it_was(packed: Packed) -> None:
    payload, last = pack_batch(EDGE, INCARNATION, Lane.C, packed)
    batch = parse_batch(payload).open()
    assert (batch.first, batch.last, last) == (packed.first, packed.last, packed.last)
    assert [each.seq for each in batch.records] == [each.body["seq"] for each in batch.records] == list(packed.seqs)
    assert list(batch.holes) == list(packed.holes)


@given(packed=sparse_runs(), size=st.integers(500, 6_000))
def test_a_run_too_large_for_one_batch_is_cut_and_goes_on_where_it_was_cut(packed: Packed, size: int) -> None:
    heavy = [record({"seq": seq, "pad": "x" * size}) for seq in packed.seqs]
    arrived: list[int] = []
    after = packed.first - 1
    while after < packed.last:
        rest = Packed(
            after + 1,
            packed.last,
            [seq for seq in packed.seqs if seq > after],
            [data for seq, data in zip(packed.seqs, heavy, strict=True) if seq > after],
            holes=[Hole(max(h.first, after + 1), h.last, h.reason) for h in packed.holes if h.last > after],
        )
        payload, last = pack_batch(EDGE, INCARNATION, Lane.C, rest)
        batch = parse_batch(payload).open()
        assert batch.first == after + 1
        assert after < batch.last == last
        arrived += [each.seq for each in batch.records]
        after = last
    assert arrived == list(packed.seqs)


def test_bounds_of_one_batch() -> None:
    many = run(RECORDS_MAX + 10, lane=Lane.B)
    payload, last = pack_batch(EDGE, INCARNATION, Lane.B, many)
    assert (last, len(parse_batch(payload).open().records)) == (RECORDS_MAX, RECORDS_MAX)
    noise = [record({"x": "".join(chr(33 + (n * i * 7919) % 90) for i in range(7_000))}) for n in range(40)]
    payload, last = pack_batch(EDGE, INCARNATION, Lane.B, Packed(1, 40, range(1, 41), noise))
    assert len(payload) < BATCH_BYTES_MAX
    assert last * 7_000 <= PACKED_BYTES_MAX
    with pytest.raises(LocalProtocolError):
        record({"x": "y" * 8_200})
    with pytest.raises(LocalProtocolError):
        pack_batch(EDGE, INCARNATION, Lane.B, Packed(1, 0, (), ()))


def test_a_hole_longer_than_a_batch_covers_goes_in_pieces_and_none_of_it_is_left_out() -> None:
    last = 2 * POSITIONS_MAX + 7
    after, told = 0, []
    while after < last:
        rest = Packed(after + 1, last, [last], [record({})], holes=[Hole(after + 1, last - 1, HoleReason.QUOTA)])
        batch = parse_batch(pack_batch(EDGE, INCARNATION, Lane.B, rest)[0]).open()
        told += [(hole.first, hole.last) for hole in batch.holes]
        after = batch.last
    assert told == [
        (1, POSITIONS_MAX), (POSITIONS_MAX + 1, 2 * POSITIONS_MAX), (2 * POSITIONS_MAX + 1, last - 1),
    ]  # fmt: skip
    assert [each.seq for each in batch.records] == [last]


@pytest.mark.guarantee("G19")
def test_a_bomb_is_not_inflated() -> None:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = packer.compress(bytes(100 * INFLATED_BYTES_MAX)) + packer.flush()
    assert len(bomb) < BATCH_BYTES_MAX
    head = parse_batch(repacked(pack_batch(EDGE, INCARNATION, Lane.B, run(1, lane=Lane.B))[0], z=bomb))
    with pytest.raises(PeerProtocolError, match="inflates past"):
        head.open()
    with pytest.raises(PeerProtocolError, match="at most"):
        parse_batch(bytes(BATCH_BYTES_MAX + 1))


@pytest.mark.guarantee("G19")
@given(noise=st.binary(max_size=200), at=st.integers(0, 10_000), good=st.sampled_from([0, 1]))
def test_noise_raises_nothing_but_a_peer_error(noise: bytes, at: int, good: int) -> None:
    payload = repacked(pack_batch(EDGE, INCARNATION, Lane.A, run(3))[0])
    cut = at % len(payload)
    hostile = payload[:cut] + noise + payload[cut + len(noise) :] if good else noise
    with suppress(PeerProtocolError):
        parse_batch(hostile).open()
    for decode in (decode_hello, decode_ack, decode_live, decode_answer):
        with suppress(PeerProtocolError):
            decode(hostile)


@pytest.mark.guarantee("G19")
@given(value=st.recursive(SCALARS | st.binary(max_size=9), lambda inner: st.lists(inner, max_size=4), max_leaves=12))
def test_a_well_formed_stranger_inside_raises_nothing_but_a_peer_error(value: object) -> None:
    inner = zlib.compressobj(1, zlib.DEFLATED, -15)
    try:
        data = cbor.encode({"r": [value, [value]], "h": [value]}, floats=True, depth=8)
    except LocalProtocolError:
        return
    packed = inner.compress(data) + inner.flush()
    with suppress(PeerProtocolError):
        parse_batch(repacked(pack_batch(EdgeId("e-1"), INCARNATION, Lane.B, run(2, lane=Lane.B))[0], z=packed)).open()


@pytest.mark.guarantee("G19")
@pytest.mark.parametrize("key", ["first", "n"])
def test_a_truth_is_no_position(key: str) -> None:
    with pytest.raises(PeerProtocolError, match="out of range"):
        parse_batch(repacked(pack_batch(EDGE, INCARNATION, Lane.A, run(1))[0], **{key: True}))


@pytest.mark.guarantee("G19")
@pytest.mark.parametrize(
    ("hole", "said"),
    [([True, 1, 1], "in order"), ([1, True, 1], "in order"), ([1, 1, True], "in order"), ([1, 1, 4], "cloud alone")],
)
def test_a_hole_is_two_positions_and_a_reason_of_an_edge(hole: list[object], said: str) -> None:
    inside = cbor.encode({"r": [], "h": [hole], "s": []}, depth=4)
    packer = zlib.compressobj(1, zlib.DEFLATED, -15)
    payload = repacked(
        pack_batch(EDGE, INCARNATION, Lane.B, run(1, lane=Lane.B))[0], z=packer.compress(inside) + packer.flush()
    )
    with pytest.raises(PeerProtocolError, match=said):
        parse_batch(payload).open()


@pytest.mark.guarantee("G19")
@pytest.mark.parametrize(
    ("decode", "message"),
    [
        (decode_ack, {"v": 1, "status": "stored", "marks": [[bytes(16), "C", True]]}),
        (decode_ack, {"v": 1, "status": "welcome", "marks": [], "re": True}),
        (decode_ack, {"v": 1, "status": "stored", "marks": [], "slow_ms": True}),
        (decode_hello, HELLO_MESSAGE | {"nonce": True}),
        (decode_hello, HELLO_MESSAGE | {"at": True}),
        (decode_hello, HELLO_MESSAGE | {"streams": [[bytes(16), "C", True, 1]]}),
        (decode_hello, HELLO_MESSAGE | {"streams": [[bytes(16), "C", 1, True]]}),
    ],
)
def test_a_truth_is_no_number_of_a_message(decode: Callable[[bytes], object], message: dict[str, object]) -> None:
    decode(cbor.encode(_numbered(message), depth=4))
    with pytest.raises(PeerProtocolError):
        decode(cbor.encode(message, depth=4))


def _numbered(value: Any) -> Any:
    """Return a message with 1 where it says true."""
    match value:
        case dict():
            return {key: _numbered(each) for key, each in value.items()}
        case list():
            return [_numbered(each) for each in value]
        case _:
            return 1 if value is True else value


def test_what_a_body_may_not_hold_is_named() -> None:
    assert body_problem({"a": [1, {"b": None}]}) is None
    for body, said in (
        ([], "a body is a map"),
        ({"a": b""}, "bytes is not JSON-safe"),
        ({1: 2}, "map key 1 is not text"),
        ({"a": "\x00"}, "text with a NUL"),
        ({"\x00": 1}, "map key with a NUL"),
        ({"a": float("inf")}, "not finite"),
        ({"a": -(2**63) - 1}, "does not fit 64 bits"),
        ({"a": {"b": {"c": {}}}}, "nested deeper than 3"),
        ({"a": (1,)}, "tuple is not JSON-safe"),
    ):
        assert said in (body_problem(body) or "")
