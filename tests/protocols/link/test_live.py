"""A live state that is filled as far as there is room, against the plain encoding of what is in it."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols import cbor
from protocols.device_model.identity import EdgeId
from protocols.errors import LocalProtocolError, PeerProtocolError
from protocols.link.lanes import Lane
from protocols.link.messages import (
    LIVE_BYTES_MAX,
    LIVE_ITEMS_MAX,
    Live,
    LiveHead,
    decode_live,
    encode_live,
    encode_live_most,
)

BACKLOG = {Lane.A: 1, Lane.B: 0, Lane.C: 70_000}
values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=9),
)


def live(*state: dict[str, Any]) -> Live:
    return Live(EdgeId("e-aurora0000000001"), bytes(16), 1_700_000_000_000, state, BACKLOG)


@given(st.lists(st.dictionaries(st.sampled_from(["room", "value", "state", "at_ms"]), values, max_size=4), max_size=30))
def test_what_fits_is_the_plain_encoding(state: list[dict[str, Any]]) -> None:
    said = live(*state)
    payload, count = encode_live_most(said)
    whole = {
        "v": 1, "edge": said.edge, "inc": said.incarnation, "at": said.at_ms, "state": state,
        "backlog": {lane.value: number for lane, number in BACKLOG.items()},
    }  # fmt: skip
    assert (payload, count) == (cbor.encode(whole, floats=True, depth=6), len(state))
    assert payload == encode_live(said)
    assert decode_live(payload) == said


@pytest.mark.guarantee("G9")
@pytest.mark.parametrize(("text", "items"), [(1, LIVE_ITEMS_MAX + 1), (1_000, 600), (100, 4_800)])
def test_of_more_than_fits_the_first_are_there(text: int, items: int) -> None:
    said = live(*({"n": number, "text": "x" * text} for number in range(items)))
    payload, count = encode_live_most(said)
    assert 0 < count < items
    assert [each["n"] for each in decode_live(payload).state] == list(range(count))
    assert count == LIVE_ITEMS_MAX or LIVE_BYTES_MAX - text - 16 < len(payload) <= LIVE_BYTES_MAX
    with pytest.raises(LocalProtocolError, match=f"{items} items, of which {count} fit"):
        encode_live(said)


def test_a_body_that_no_database_keeps_is_refused() -> None:
    with pytest.raises(LocalProtocolError, match="NUL"):
        encode_live_most(live({"value": "a\x00"}))


@given(st.lists(st.sampled_from(Lane), unique=True), st.integers(0, 2**53))
def test_heads_read_back_and_an_earlier_version_says_none(lanes: list[Lane], last: int) -> None:
    said = replace(live({"state": []}), heads=tuple(LiveHead(bytes(range(16)), lane, last) for lane in lanes))
    assert decode_live(encode_live(said)) == said
    value = cbor.decode(encode_live(said), LIVE_BYTES_MAX, depth=6)
    assert isinstance(value, dict)
    assert ("heads" in value) is bool(lanes)


@pytest.mark.parametrize(
    "heads",
    [
        5, {}, [[bytes(16), "C"]], [[bytes(15), "C", 1]], [[bytes(16), "D", 1]], [[bytes(16), "C", -1]],
        [[bytes(16), "C", True]], [[bytes(16), "C", 2**63]], [[bytes(16), "C", 1], [bytes(range(16)), "C", 2]],
        [[bytes(16), "A", 1]] * 4,
    ],
)  # fmt: skip
def test_heads_that_are_none_are_refused(heads: Any) -> None:
    said = cbor.decode(encode_live(live()), LIVE_BYTES_MAX, depth=6)
    assert isinstance(said, dict)
    with pytest.raises(PeerProtocolError):
        decode_live(cbor.encode({**said, "heads": heads}, floats=True, depth=6))
