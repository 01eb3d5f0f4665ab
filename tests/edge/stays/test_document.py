"""The stays document: taken whole, or refused with the place and the value."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import protocols
from edge.stays.document import parse
from protocols.errors import InvalidInputError, UnsupportedVersionError
from tests.edge.world import AURORA, T0, a_document, a_stay


@pytest.mark.requirement("STY-08")
def test_a_document_is_read_whole() -> None:
    document = parse(a_document(a_stay(), a_stay("s-ben", "102", guest_name=None)), ours=AURORA)
    assert [each.id for each in document.stays] == ["s-anna", "s-ben"]


@pytest.mark.parametrize("version", [0, 4, 99, None, "1", True, 1.5])
def test_an_unknown_version_is_refused_by_name(version: object) -> None:
    with pytest.raises(UnsupportedVersionError, match="stays document version"):
        parse(a_document(v=version, surprise=1), ours=AURORA)


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"property": "borealis"}, "borealis"),
    ({"surprise": 1}, "surprise"),
    ({"stays": [a_stay(), a_stay()]}, "twice"),
    ({"stays": [a_stay(state="asleep")]}, "asleep"),
    ({"stays": [a_stay(room="Room 101")]}, "Room 101"),
    ({"stays": [a_stay("S ANNA")]}, "S ANNA"),
    ({"stays": [a_stay(expected_until_ms=T0)]}, "not after"),
    ({"stays": [a_stay(expected_from_ms=-1)]}, r"stays\[0\]"),
    ({"stays": [a_stay(expected_from_ms="now")]}, "expected_from_ms"),
    ({"stays": [a_stay(guest_name="x" * 201)]}, "guest_name"),
    ({"stays": [{**a_stay(), "surprise": 1}]}, "surprise"),
    ({"stays": [{"id": "s-anna"}]}, "room"),
    ({"stays": "none"}, "stays"),
    ({"as_of_ms": 10**18}, "as_of_ms"),
]


@pytest.mark.guarantee("G19")
@pytest.mark.parametrize(("changes", "said"), WRONG, ids=[each[1] for each in WRONG])
def test_what_is_wrong_is_refused_with_its_place(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInputError, match=said):
        parse({**a_document(a_stay()), **changes}, ours=AURORA)


VECTORS = json.loads((Path(protocols.__file__).parent / "vectors" / "stays" / "documents.json").read_bytes())


@pytest.mark.requirement("STY-08")
@pytest.mark.parametrize("each", VECTORS["taken"], ids=lambda each: each["name"])
def test_the_vectors_are_taken_and_kept_as_they_were(each: dict[str, Any]) -> None:
    document = parse(each["body"], ours=AURORA)
    kept = msgspec.json.decode(msgspec.json.encode(document))
    assert kept == each["body"], "what does not share has no word for it: an older reader takes it"


@pytest.mark.guarantee("G19")
@pytest.mark.parametrize("each", VECTORS["refused"], ids=lambda each: each["name"])
def test_the_vectors_are_refused(each: dict[str, Any]) -> None:
    with pytest.raises((InvalidInputError, UnsupportedVersionError)):
        parse(each["body"], ours=AURORA)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8) | st.integers(), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.guarantee("G19")
@given(body=anything)
def test_noise_raises_nothing_but_a_refusal(body: object) -> None:
    with pytest.raises((InvalidInputError, UnsupportedVersionError)):
        parse(body, ours=AURORA)


@pytest.mark.guarantee("G19")
@given(field=st.sampled_from(sorted(a_stay())), value=anything)
def test_noise_in_a_stay_is_taken_or_refused(field: str, value: object) -> None:
    try:
        document = parse(a_document({**a_stay(), field: value}), ours=AURORA)
    except InvalidInputError:
        return
    assert len(document.stays) == 1
