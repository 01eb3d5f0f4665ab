"""Summaries and signed heads do what their vectors say, and hold for any readings."""

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import PeerProtocolError, PlatformError
from protocols.grant.keys import private_key
from protocols.link.lanes import Lane
from protocols.link.record import ClockQuality, Record, decode_record, encode_record
from protocols.link.signed_head import LogHead, open_head, sign_head
from protocols.link.summary import SUMMARY_KEY, Summary, joined, summary_of
from protocols.vectors import generate
from protocols.vectors.fixed import stream
from protocols.vectors.log_vectors import reading

FOLDER = generate.FOLDER / "link"
SUMMARIES: Any = json.loads((FOLDER / "summaries.json").read_text())
HEADS: Any = json.loads((FOLDER / "heads.json").read_text())
VALUES = st.one_of(st.none(), st.booleans(), st.integers(-1000, 1000), st.floats(-1e6, 1e6), st.text(max_size=5))


def whole(values: list[Any]) -> Summary:
    summaries = [summary_of(reading(seq, value)) for seq, value in enumerate(values, start=1)]
    found = [each for each in summaries if each is not None]
    assert len(found) == len(values)
    result = found[0]
    for each in found[1:]:
        result = joined(result, each)
    return result


@pytest.mark.parametrize("row", SUMMARIES["joined"], ids=lambda row: row["name"])
def test_readings_join_into_the_summary_of_the_vector(row: dict[str, Any]) -> None:
    summary = whole(row["values"])
    assert summary.to_body() == row["summary"]
    again = summary_of(reading(99, row["values"][-1], row["summary"]))
    assert again == summary


@pytest.mark.parametrize("row", SUMMARIES["refused"], ids=lambda row: row["name"])
def test_what_is_no_summary_is_refused(row: dict[str, Any]) -> None:
    assert row["error"] == "PeerProtocolError"
    with pytest.raises(PeerProtocolError):
        summary_of(reading(9, 2, row["thinned"]))


@pytest.mark.guarantee("G9")
@given(values=st.lists(VALUES, min_size=2, max_size=30), cut=st.integers(1, 29))
def test_it_does_not_matter_in_how_many_steps_readings_are_joined(values: list[Any], cut: int) -> None:
    cut = min(cut, len(values) - 1)
    at_once = whole(values)
    left = whole(values[:cut])
    right = [summary_of(reading(seq, value)) for seq, value in enumerate(values[cut:], start=cut + 1)]
    rest = right[0]
    assert rest is not None
    for each in right[1:]:
        assert each is not None
        rest = joined(rest, each)
    both = joined(left, rest)
    numbers = [float(value) for value in values if type(value) in (int, float)]
    assert (both.count, both.first, both.last, both.from_seq) == (len(values), values[0], values[-1], 1)
    assert (both.numbers, both.least, both.most) == (
        len(numbers),
        min(numbers, default=None),
        max(numbers, default=None),
    )
    if numbers:
        assert both.mean is not None
        assert at_once.mean is not None
        assert math.isclose(both.mean, math.fsum(numbers) / len(numbers), rel_tol=1e-9, abs_tol=1e-6)
        assert min(numbers) <= both.mean <= max(numbers)
    body = {"value": values[-1], SUMMARY_KEY: both.to_body()}
    data = encode_record("reading", body, device_at_ms=None, edge_at_ms=5, mono_ms=5, clock=ClockQuality.SYNCHRONISED)
    assert summary_of(decode_record(data, lane=Lane.C, seq=99)) == both  # as it travels


def test_other_records_are_no_readings() -> None:
    assert summary_of(Record(Lane.C, 1, "health", {"value": 1}, None, 1, 1, ClockQuality.SYNCHRONISED)) is None
    assert summary_of(Record(Lane.C, 1, "reading", {"x": 1}, None, 1, 1, ClockQuality.SYNCHRONISED)) is None
    assert summary_of(Record(Lane.C, 1, "reading", {"value": [1]}, None, 1, 1, ClockQuality.SYNCHRONISED)) is None


@pytest.mark.guarantee("G14")
def test_a_head_is_signed_and_opened_as_the_vector_says() -> None:
    key = private_key(stream("log key"))
    facts = HEADS["head"]
    head = LogHead(
        facts["edge"], bytes.fromhex(facts["incarnation"]), facts["seq"], bytes.fromhex(facts["link"]), facts["at_ms"]
    )
    signed = bytes.fromhex(HEADS["signed"])
    assert sign_head(head, key, bytes.fromhex(HEADS["kid"])) == signed
    assert open_head(signed, lambda kid: key.public_key() if kid.hex() == HEADS["kid"] else None) == head
    assert [row["error"] for row in HEADS["refused"]] == ["CredentialRefusedError"] * 3


@pytest.mark.guarantee("G14")
@given(at=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_no_flipped_bit_leaves_a_head_that_says_something_else(at: int, bit: int) -> None:
    key = private_key(stream("log key"))
    signed = bytearray.fromhex(HEADS["signed"])
    signed[at % len(signed)] ^= 1 << bit
    with pytest.raises(PlatformError):
        open_head(bytes(signed), lambda kid: key.public_key() if kid.hex() == HEADS["kid"] else None)
