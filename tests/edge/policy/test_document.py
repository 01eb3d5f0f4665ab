"""The room policy: read strictly, never out of the safe band, never older again."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.policy.document import default, encode, parse, succeed
from protocols.errors import InvalidInputError, PlatformError, UnsupportedVersionError
from protocols.policy.room import SETPOINT_LEAST_C, SETPOINT_MOST_C


def a_policy(**changes: Any) -> bytes:
    document = json.loads(encode(default()))
    for path, value in changes.items():
        node = document
        *levels, last = path.split("__")
        for level in levels:
            node = node[level]
        node[last] = value
    return json.dumps(document).encode()


def test_the_policy_shipped_is_a_policy_and_older_than_any() -> None:
    assert parse(encode(default()), "test") == default()
    assert default().version == 0


def test_an_unknown_version_is_refused_by_name() -> None:
    with pytest.raises(UnsupportedVersionError, match="room policy version 3"):
        parse(a_policy(v=3, surprise=True), "test")


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"climate__comfort_c": 35.0}, "comfort_c"),
    ({"climate__set_back_c": 5.0}, "set_back_c"),
    ({"climate__comfort_c": "warm"}, "comfort_c"),
    ({"climate__set_back_c": 22.0}, "set_back_c <= away_c"),
    ({"climate__warm_up_before": "PT13H"}, "warm_up_before"),
    ({"climate__warm_up_before": "-PT1H"}, "warm_up_before"),
    ({"climate__warm_up_before": 3600}, "warm_up_before"),
    ({"check_in__opens_before": "P2D"}, "opens_before"),
    ({"occupancy__vacant_confidence": 0.5}, "vacant_confidence"),
    ({"climate__surprise": 1}, "surprise"),
    ({"name": ""}, "name"),
    ({"version": -1}, r"version`; it is -1"),
    ({"version": 10**30}, "version"),
    ({"climate__comfort_c": 35}, r"comfort_c`; it is 35"),
]


@pytest.mark.guarantee("G19")
@pytest.mark.parametrize(("changes", "said"), WRONG, ids=[each[1] for each in WRONG])
def test_what_is_wrong_is_refused_with_its_place(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInputError, match=said):
        parse(a_policy(**changes), "test")


@pytest.mark.guarantee("G19")
@pytest.mark.parametrize(
    "data", [b"[" * 16_000, b'{"v":1,"climate":' + b"[" * 10_000, b'{"v":' + b"9" * 400 + b"}", b'{"v":1e400}']
)
def test_a_policy_nested_too_deeply_or_of_an_endless_version_is_refused(data: bytes) -> None:
    with pytest.raises(PlatformError, match=r"^test") as caught:
        parse(data, "test")
    assert len(str(caught.value)) < 300


@pytest.mark.guarantee("G19")
@given(data=st.binary(max_size=300) | st.text(max_size=100).map(str.encode))
def test_noise_raises_nothing_but_a_refusal(data: bytes) -> None:
    with pytest.raises(PlatformError):
        parse(data, "test")


@given(temperature=st.floats(allow_nan=False, allow_infinity=False), key=st.sampled_from(["set_back_c", "comfort_c"]))
def test_no_policy_freezes_or_cooks_a_guest(temperature: float, key: str) -> None:
    try:
        policy = parse(a_policy(**{f"climate__{key}": temperature}), "test")
    except InvalidInputError:
        return
    for celsius in (policy.climate.set_back_c, policy.climate.comfort_c):
        assert SETPOINT_LEAST_C <= celsius <= SETPOINT_MOST_C


def test_a_newer_policy_succeeds_and_an_older_or_forged_one_is_refused() -> None:
    third = parse(a_policy(version=3), "test")
    fourth = parse(a_policy(version=4), "test")
    assert succeed(third, fourth) == fourth
    assert succeed(fourth, fourth) == fourth
    with pytest.raises(InvalidInputError, match="older than 4"):
        succeed(fourth, third)
    with pytest.raises(InvalidInputError, match="something else"):
        succeed(fourth, parse(a_policy(version=4, climate__comfort_c=22.5), "test"))


def test_the_policy_in_the_operators_handbook_is_one() -> None:
    page = (Path(__file__).parents[3] / "docs" / "operating" / "rooms.md").read_text()
    [example] = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    policy = parse(example.encode(), "rooms.md")
    assert policy.rules[0].name in example
    assert parse(encode(policy), "again") == policy


@pytest.mark.guarantee("G19")
def test_a_policy_with_a_key_twice_is_refused_by_name() -> None:
    data = encode(default()).replace(b'"set_back_c"', b'"comfort_c": 12.5, "set_back_c"', 1)
    with pytest.raises(InvalidInputError, match="policy: the key 'comfort_c' stands twice"):
        parse(data, "policy")
