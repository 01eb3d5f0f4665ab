"""One value, one encoding; everything else is refused, whatever the bytes."""

import math
from contextlib import suppress

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols import cbor
from protocols.errors import LocalProtocolError, PeerProtocolError

KEYS = st.integers(-(2**64), 2**64 - 1) | st.text(max_size=12)
SCALARS = st.none() | st.booleans() | st.integers(-(2**64), 2**64 - 1) | st.binary(max_size=40) | st.text(max_size=40)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
TREES = st.recursive(
    SCALARS | FLOATS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)


def depth(value: object) -> int:
    inner = [*value, *value.values()] if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max((depth(each) for each in inner), default=0)


@pytest.mark.requirement("P1", "P19")
@given(value=TREES)
def test_what_is_encoded_is_decoded_and_has_no_other_spelling(value: object) -> None:
    data = cbor.encode(value, floats=True, depth=12)
    assert cbor.decode(data, len(data), floats=True, depth=12) == value
    assert cbor.encode(cbor.decode(data, len(data), floats=True, depth=12), floats=True, depth=12) == data


@given(value=TREES, allowed=st.integers(0, 5))
def test_the_depth_bound_is_the_same_in_both_directions(value: object, allowed: int) -> None:
    if depth(value) <= allowed:
        data = cbor.encode(value, floats=True, depth=allowed)
        cbor.decode(data, len(data), floats=True, depth=allowed)
        return
    with pytest.raises(LocalProtocolError, match="deeper"):
        cbor.encode(value, floats=True, depth=allowed)
    with pytest.raises(PeerProtocolError):
        cbor.decode(cbor2.dumps(value, canonical=True), 10_000, floats=True, depth=allowed)


@pytest.mark.guarantee("G19")
@given(data=st.binary(max_size=300))
@settings(max_examples=500)
def test_noise_is_refused_or_means_exactly_itself(data: bytes) -> None:
    with suppress(PeerProtocolError):
        assert cbor.encode(cbor.decode(data, 300, floats=True), floats=True) == data


@pytest.mark.requirement("P19")
@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("tag: big number", "c24101"),
        ("tag: regular expression", "d8236161"),
        ("tag: shared value", "d81c01"),
        ("tag: shared reference", "d81d00"),
        ("tag: set", "d9010280"),
        ("tag: string reference", "d81900"),
        ("tag: big float that would fill the memory", "c5821b7fffffffffffffff01"),
        ("tag: unknown", "da00ffffff01"),
        ("duplicate key", "a2616101616102"),
        ("keys out of order", "a2616201616101"),
        ("shorter head exists", "1801"),
        ("length in a longer head", "580101"),
        ("indefinite bytes", "5f4101ff"),
        ("indefinite list", "9f01ff"),
        ("indefinite map", "bf0101ff"),
        ("undefined", "f7"),
        ("simple value", "f820"),
        ("short simple value", "e1"),
        ("float where none is allowed", "f93e00"),
        ("not a number", "f97e00"),
        ("infinity", "f97c00"),
        ("key is a list", "a1810101"),
        ("key is a map", "a1a101020304"[:10]),
        ("key is true", "a1f501"),
        ("key is bytes", "a1416101"),
        ("more bytes", "0102"),
        ("nothing", ""),
        ("break alone", "ff"),
        ("text that is not UTF-8", "61ff"),
        ("a length beyond the end", "5b000000ffffffffff"),
        ("a list of 2^63 items", "9b7fffffffffffffff"),
        ("reserved additional information", "1c"),
        ("depth 5", "818181818101"),
    ],
)
def test_each_kind_of_wrong_input_is_a_peer_error(name: str, data: str) -> None:
    with pytest.raises(PeerProtocolError, match="CBOR"):
        cbor.decode(bytes.fromhex(data), 100)


def test_a_longer_float_than_needed_is_refused() -> None:
    assert cbor.decode(bytes.fromhex("f93e00"), 9, floats=True) == 1.5
    with pytest.raises(PeerProtocolError):
        cbor.decode(bytes.fromhex("fb3ff8000000000000"), 9, floats=True)


def test_the_size_bound_comes_before_any_reading() -> None:
    with pytest.raises(PeerProtocolError, match="at most 3"):
        cbor.decode(b"\x44abcd", 3)


@pytest.mark.parametrize(
    "value", [1.5, math.nan, {1, 2}, {(1,): 2}, {True: 1}, object(), 2**64, -(2**64) - 1, "\ud800"]
)
def test_what_the_profile_forbids_is_not_sent(value: object) -> None:
    with pytest.raises(LocalProtocolError):
        cbor.encode(value)


@pytest.mark.guarantee("G19")
def test_a_bomb_of_depth_is_refused_at_once() -> None:
    with pytest.raises(PeerProtocolError, match="depth"):
        cbor.decode(b"\x81" * 60_000, 65_536)


def colliding(count: int) -> list[tuple[int, int]]:
    """Pairs of integers whose tuples have one hash in CPython, whatever the process."""
    mask, spread, mixed, start = 2**64 - 1, 11400714785074694791, 14029467366897019727, 2870177450012600261

    def after(number: int) -> int:
        lane = (start + number * mixed) & mask
        return ((lane << 31 | lane >> 33) & mask) * spread & mask

    inverse, pairs, n = pow(mixed, -1, 2**64), list[tuple[int, int]](), 1
    while len(pairs) < count:
        second = (0x1234567890ABCDEF - after(n)) * inverse & mask
        second -= 2**64 * (second >= 2**63)
        if abs(second) < 2**61 - 1 and second not in (-1, -2):
            pairs.append((n, second))
        n += 1
    return pairs


@pytest.mark.guarantee("G19")
@pytest.mark.requirement("P19")
@pytest.mark.parametrize("wrap", [b"", b"\x82\x00", b"\xa1\x61k", b"\xa1\x01"])
def test_keys_chosen_to_collide_never_get_into_a_map(wrap: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = colliding(400)
    assert len({hash(pair) for pair in pairs}) == 1
    keys = b"".join(b"\x82" + cbor2.dumps(a) + cbor2.dumps(b) + b"\x00" for a, b in pairs)
    hashed: list[object] = []
    loads = cbor2.loads

    def watched(data: bytes, **more: object) -> object:
        hashed.append(more["strict_hashable_types"])
        return loads(data, **more)  # type: ignore[arg-type]  # as it was called

    monkeypatch.setattr(cbor2, "loads", watched)
    with pytest.raises(PeerProtocolError, match="key"):
        cbor.decode(wrap + b"\xb9\x01\x90" + keys, 2**20)
    assert hashed == [True]  # nobody built the map


def test_integer_keys_are_taken_up_to_a_bound_however_long_the_message() -> None:
    most = cbor.INTEGER_KEYS_MOST
    value = {"a": [dict.fromkeys(range(most), b"x" * 10), {-1 - n: {} for n in range(most)}], "b": {5: "t" * 3_000}}
    data = cbor.encode(value)
    assert len(data) > cbor.SMALL_BYTES
    assert cbor.decode(data, len(data)) == value
    one_more = {"a": dict.fromkeys(range(most + 1), b"x" * 10)}
    with pytest.raises(LocalProtocolError, match="integer keys"):
        cbor.encode(one_more)
    with pytest.raises(PeerProtocolError, match="integer keys"):
        cbor.decode(cbor2.dumps(one_more, canonical=True), 10_000)
    with pytest.raises(PeerProtocolError, match="integer keys"):  # in a short message too
        cbor.decode(cbor2.dumps(dict.fromkeys(range(most + 1)), canonical=True), 10_000)


@settings(max_examples=200)
@given(value=TREES, start=st.binary(max_size=12), cut=st.integers(0, 60))
def test_a_long_message_means_what_a_short_one_does(value: object, start: bytes, cut: int) -> None:
    """The look at keys refuses nothing that the decoder takes, and lets noise pass to it."""
    small = cbor.SMALL_BYTES
    data = cbor2.dumps(value, canonical=True)
    for each in (data, start + data, data[: len(data) - cut]):
        answers = []
        for bound in (small, -1):
            cbor.SMALL_BYTES = bound  # type: ignore[misc]  # both ways of one function
            try:
                answers.append(repr(cbor.decode(each, 10_000, floats=True, depth=12)))
            except PeerProtocolError:
                answers.append("refused")
            finally:
                cbor.SMALL_BYTES = small  # type: ignore[misc]  # as it was
        assert answers[0] == answers[1]
