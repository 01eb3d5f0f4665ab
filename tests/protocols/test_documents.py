"""What people write is read within bounds, and every error shows the value and stays short."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.documents import (
    SHOWN_CHARACTERS_MAX,
    check_keys_once,
    explained,
    key_twice,
    keys_once_at_sight,
    parse_toml,
    shown,
    value_at,
)
from protocols.errors import InvalidInputError

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner),
    max_leaves=20,
)


@pytest.mark.guarantee("G19")
@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b"a = nan", "f.toml: a: nan is not a number"),
        (b"a = { b = [1, -inf] }", "f.toml: a.b[1]: -inf is not a number"),
        (b"[a]\nb = 0x" + b"f" * 5_000, "f.toml: a.b: an integer of 20000 bits does not fit 64 bits"),
        (b"a = " + b"9" * 5_000, "f.toml: is not TOML: Exceeds the limit"),
        (b"a = 9223372036854775808", "f.toml: a: 9223372036854775808 does not fit 64 bits"),
        (b"a = " + b"[" * 100_000, "f.toml: is nested too deeply"),
        (b"a." * 3_000 + b"a = 1", "is nested too deeply: at most 32 levels are read"),
        (b"a = " + b"[" * 40 + b"]" * 40, "is nested too deeply: at most 32 levels are read"),
        (b'secret = "x\\u0000y"', "f.toml: secret: holds a NUL"),
        (b'"a\\u0000" = 1', "a key holds a NUL"),
        (b"a = 1\na = 2", "f.toml: is not TOML: Cannot overwrite a value"),
        (b"\xff\xfe", "f.toml: is not TOML: 'utf-8' codec can't decode byte 0xff"),
        (b"a = 2026-13-45", "f.toml: is not TOML"),
        (b"#" * 1_001, "f.toml: 1001 bytes, at most 1000 are read"),
    ],
)
def test_what_no_document_can_mean_is_refused_with_its_key(text: bytes, problem: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        parse_toml(text, "f.toml", 1_000 if text.startswith(b"#") else 1_000_000)
    assert problem in str(caught.value)
    assert len(str(caught.value)) < 400
    assert "x\\x00y" not in str(caught.value)  # what may be a secret is not repeated


@pytest.mark.guarantee("G19")
@given(data=st.binary(max_size=100) | st.text(max_size=100).map(lambda text: text.encode("utf-8", "replace")))
def test_noise_is_a_document_or_a_named_error(data: bytes) -> None:
    refused = "f.toml"
    try:
        assert isinstance(parse_toml(data, "f.toml", 1_000), dict)
    except InvalidInputError as error:
        refused = error.place
    assert refused.startswith("f.toml")


@given(value=ANYTHING, most=st.integers(8, 200))
def test_whatever_is_shown_is_short(value: object, most: int) -> None:
    assert len(shown(value, most)) <= most


def test_huge_things_are_shown_without_being_spelt_out() -> None:
    assert shown(2**100_000) == "an integer of 100001 bits"
    assert shown([2**100_000]) == "a list"
    assert shown("x" * 10**6) == "'" + "x" * (SHOWN_CHARACTERS_MAX - 4) + "..."
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    assert shown(deep) == "[[[[...]]]]"
    while deep:  # taken apart by hand: freeing so deep a list in one go is CPython's own trouble
        deep = deep[0]  # type: ignore[assignment]  # any value is meant


def test_a_path_of_msgspec_leads_to_the_value() -> None:
    document = {"points": [{"register": 1}, {"register": "x" * 500}]}
    error = ValueError("Expected `int`, got `str` - at `$.points[1].register`")
    assert explained(error, document).endswith("; it is '" + "x" * 76 + "...")
    for nowhere in ("no path", "at `$.points[9].register`", "at `$.points[...]`", "at `$.points.register`"):
        assert value_at(document, nowhere) is None
        assert explained(ValueError(nowhere), document) == nowhere


@pytest.mark.guarantee("G19")
@pytest.mark.parametrize("text", [b'{"v": 1, "v": 2}', b'[{"a": {"v": 1, "b": 2, "v": 1}}]', b'{"v": 1, "\\u0076": 1}'])
def test_a_key_that_stands_twice_is_refused_by_name(text: bytes) -> None:
    check_keys_once(text.replace(b"v", b"w", 1).replace(b"\\u0076", b"v"), "f.json")
    with pytest.raises(InvalidInputError, match=r"f\.json: the key 'v' stands twice"):
        check_keys_once(text, "f.json")


@pytest.mark.parametrize("text", ['{"a" :1,"b":1,"b":2}', '{"a"\n:{"b":1,"b"\t:2}}', '[{"a":"\\":"},{"b":1,"b":2}]'])
def test_no_spelling_hides_a_key_that_stands_twice(text: str) -> None:
    assert key_twice(text.encode(), json.loads(text)) == "b"


_keys = st.sampled_from(['"a"', '"b"', '"c"', '"a "', r'"\u0061"', '"{"', r'"\":"'])
_scalars = st.sampled_from(["1", "null", '"x"', '"{"', r'"\":"', '" :"', "[1]", "[]"])
_spaces = st.sampled_from([""] * 6 + [" ", "\n", "\t ", "\r"])
_members = st.builds(lambda *each: "".join(each), _spaces, _keys, _spaces, st.just(":"), _spaces, _scalars, _spaces)
_flat = st.lists(_members, max_size=5).map(lambda each: f"{{{','.join(each)}}}")
_nested = st.builds(lambda outer, key, inner: outer.replace("[1]", f"[{{{key}:1,{key}:{inner}}}]"), _flat, _keys, _flat)


@pytest.mark.guarantee("G19")
@given(text=_flat | _nested)
def test_who_sees_at_sight_that_keys_stand_once_sees_no_more_than_there_is(text: str) -> None:
    data, document = text.encode(), json.loads(text)
    if keys_once_at_sight(data, document):
        assert key_twice(data) is None


def test_what_a_device_says_is_seen_at_sight_to_have_each_key_once() -> None:
    said = b'{"battery":97,"last_seen":"2026-01-31T23:59:59.123Z","temperature":21.37}'
    assert keys_once_at_sight(said, json.loads(said))
    assert not keys_once_at_sight(said[:-1] + b',"battery":1}', json.loads(said))


@given(document=st.recursive(st.none() | st.text(), lambda each: st.lists(each) | st.dictionaries(st.text(), each)))
def test_a_document_whose_keys_stand_once_is_never_refused(document: object) -> None:
    for indent in (None, 1):
        assert key_twice(json.dumps(document, indent=indent).encode(), document) is None
