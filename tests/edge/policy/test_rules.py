"""Conditions in CEL: bounded before they are compiled, refused by place, and never raising for what a room holds."""

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.policy.document import default, encode, parse
from edge.policy.rules import CHARACTERS_MOST, LEVELS_MOST, TOKENS_MOST, Condition
from protocols.errors import InvalidInputError

INPUTS: dict[str, Any] = {
    "room": {"occupied": None, "mode": "occupied_comfort", "rented": True, "type": "double", "confidence": 0.5},
    "value": {"thermostat.local_temperature": 20.5},
    "local": {"hour": 23, "minute": 5, "weekday": 7, "month": 12},
}


@pytest.mark.requirement("DEV-03")
@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("local.hour >= 22 || local.hour < 6", True),
        ("room.rented && room.mode == 'occupied_comfort'", True),
        ('"thermostat.local_temperature" in value && value["thermostat.local_temperature"] < 21.0', True),
        ('"fault_state.active" in value', False),
        ("room.occupied == null", True),
        ("room.type in ['suite', 'double']", True),
        ("room.type.startsWith('dou') && !(local.weekday in [1, 2])", True),
        ("local.month == 12 ? true : false", True),
    ],
)
def test_what_a_condition_says(text: str, holds: bool) -> None:
    verdict = Condition(text, "test").judge(INPUTS)
    assert (verdict.holds, verdict.cannot) == (holds, None)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('value["fault_state.active"]', "KeyError"),
        ("room.mode > 3", "TypeError"),
        ("local.hour / 0 == 1", "ZeroDivisionError"),
        ("9223372036854775807 + local.hour > 0", "OverflowError"),
        ("local.hour", "not true or false"),
        ("[local.hour][5] == 1", "IndexError"),
    ],
)
def test_what_cannot_be_told_does_not_hold_and_says_why(text: str, why: str) -> None:
    verdict = Condition(text, "test").judge(INPUTS)
    assert not verdict.holds
    assert why in str(verdict.cannot)


@pytest.mark.guarantee("G19")
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("room.mood == 'good'", "character 6.*no 'mood'"),
        ("weather.rain", "character 1.*no 'weather'"),
        ("value.temperature > 3", "write value"),
        ("[1, 2].all(x, x > 0)", "'all' is none of the functions"),
        ("room.type.matches('(a+)+$')", "'matches' is none of"),
        ("size(room.type) > 3", "'size' is none of"),
        ("local.hour >", "is no CEL"),
        ("local.hour > 3; drop", "no part of a condition"),
        ("(" * (LEVELS_MOST + 1) + "true" + ")" * (LEVELS_MOST + 1), "nested deeper"),
        ("1" + "+1" * TOKENS_MOST, "more than"),
        ("'" + "a" * CHARACTERS_MOST + "' == ''", "characters"),
        ("room.type == 'a' == 'open", "no part of a condition"),
    ],
)
def test_a_bad_condition_is_refused_with_its_place(text: str, said: str) -> None:
    with pytest.raises(InvalidInputError, match=said) as caught:
        Condition(text, "rules[3] 'night': when")
    assert str(caught.value).startswith("rules[3] 'night': when")


WORDS = [
    "room",
    "local",
    "value",
    ".",
    "hour",
    "mode",
    "(",
    ")",
    "[",
    "]",
    "&&",
    "||",
    "!",
    "==",
    "<",
    "+",
    "/",
    "-",
    "?",
]
WORDS += [":", "1", "2.5", "'a'", '"x.y"', "true", "null", "in", ",", "startsWith", "occupied", "0", "%", "*"]


@pytest.mark.guarantee("G19")
@given(words=st.lists(st.sampled_from(WORDS), max_size=30))
def test_whatever_is_put_together_is_refused_or_judged(words: list[str]) -> None:
    try:
        condition = Condition(" ".join(words), "test")
    except InvalidInputError:
        return
    verdict = condition.judge(INPUTS)
    assert verdict.holds in (True, False)
    assert verdict.cannot is None or not verdict.holds


@pytest.mark.guarantee("G19")
@given(text=st.text(max_size=80))
def test_noise_is_refused(text: str) -> None:
    with suppress(InvalidInputError):
        assert Condition(text, "test").judge(INPUTS).holds in (True, False)


RULE = {
    "name": "night",
    "when": "local.hour > 22",
    "then": [{"capability": "on_off", "attribute": "on_off", "value": False}],
}


def a_policy(*rules: dict[str, Any], **changes: Any) -> bytes:
    return json.dumps({**json.loads(encode(default())), "v": 2, "version": 1, "rules": list(rules), **changes}).encode()


@pytest.mark.guarantee("G6", "G19")
@pytest.mark.parametrize(
    ("act", "said"),
    [
        ({"capability": "door_lock", "attribute": "lock_state", "value": "unlocked"}, "doors open for a grant"),
        ({"capability": "thermostat", "attribute": "local_temperature", "value": 20.0}, "measured, not written"),
        ({"capability": "thermostat", "attribute": "occupied_heating_setpoint", "value": 35.0}, "outside 12..28"),
        ({"capability": "thermostat", "attribute": "nonsense", "value": 1}, "no such attribute"),
        ({"capability": "on_off", "attribute": "on_off", "value": "yes"}, "not true or false"),
    ],
)
def test_no_rule_and_no_scene_may_do_what_no_command_may(act: dict[str, Any], said: str) -> None:
    for document in (a_policy({**RULE, "then": [act]}), a_policy(scenes={"leave": [act]})):
        with pytest.raises(InvalidInputError, match=said) as caught:
            parse(document, "policy.json")
        assert str(caught.value).startswith("policy.json: ")


def test_a_document_of_version_1_may_not_hold_what_version_2_added() -> None:
    with pytest.raises(InvalidInputError, match="rules: is of version 2"):
        parse(a_policy(RULE, v=1), "test")
    assert parse(encode(parse(a_policy(RULE), "test")), "again") == parse(a_policy(RULE), "test")


def test_too_many_rules_and_a_name_twice_are_refused() -> None:
    with pytest.raises(InvalidInputError):
        parse(a_policy(*({**RULE, "name": f"r{n}"} for n in range(33))), "test")
    with pytest.raises(InvalidInputError, match="another rule has that name"):
        parse(a_policy(RULE, RULE), "test")
