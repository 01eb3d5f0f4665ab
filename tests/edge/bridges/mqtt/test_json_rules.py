"""Rules: what they take, and what is wrong with them by name."""

import msgspec
import pytest

from edge.bridges.mqtt.json_rules import (
    JsonDevicesSettings,
    KeySettings,
    NoNameError,
    RuleSettings,
    compile_rules,
    filters,
    fold,
    match,
)
from protocols.errors import InvalidInputError

ON_OFF, NAN = KeySettings("on_off", "on_off"), float("nan")


def compiled(*rules: RuleSettings) -> tuple[object, ...]:
    return compile_rules(JsonDevicesSettings(rules=rules))


def test_the_first_rule_that_fits_says_whose_a_topic_is() -> None:
    rules = compile_rules(
        JsonDevicesSettings(
            rules=(
                RuleSettings(topic="site/{room}/{device}/telemetry"),
                RuleSettings(topic="plant/boiler/{attribute}", device="boiler-1", room="cellar"),
                RuleSettings(topic="any/+/{device}/#"),
            )
        )
    )
    assert filters(rules) == ["site/+/+/telemetry", "plant/boiler/+", "any/+/+/#"]
    first = match(rules, "site/Room 101/T_01/telemetry")
    assert first is not None
    assert (first.device, first.room, first.raw) == ("t-01", "room-101", "T_01")
    second = match(rules, "plant/boiler/flow temp")
    assert second is not None
    assert (second.device, second.room, second.attribute) == ("boiler-1", "cellar", "flow temp")
    third = match(rules, "any/x/dev/a/b/c")
    assert third is not None
    assert third.device == "dev"
    for other in ("site/101/telemetry", "site/1/2/telemetry/x", "any/x", "", "/", "$SYS/any"):
        assert match(rules, other) is None


def test_a_wildcard_first_level_takes_no_topic_of_the_broker_itself() -> None:
    rules = compile_rules(JsonDevicesSettings(rules=(RuleSettings(topic="{device}/state"),)))
    assert match(rules, "$SYS/state") is None


@pytest.mark.parametrize("text", ["", "---", "ÄÖ", "a" * 41, "#/+"])
def test_what_makes_no_name_is_refused(text: str) -> None:
    with pytest.raises(NoNameError):
        fold(text)


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        (RuleSettings(topic="a/b"), r"rules\[0\].topic.*either by a level"),
        (RuleSettings(topic="a/{device}", device="x"), "either by a level"),
        (RuleSettings(topic="#", device="x"), "takes everything"),
        (RuleSettings(topic="a/{device}/{device}"), "stands twice"),
        (RuleSettings(topic="a/{device}/x+"), "level 'x\\+'"),
        (RuleSettings(topic="a/{devise}"), "level '{devise}'"),
        (RuleSettings(topic="a/#/{device}"), "level '#'"),
        (RuleSettings(topic="a", device="No Name"), "is no name"),
        (RuleSettings(topic="a/{room}", device="x", room="y"), r"rules\[0\].room"),
        (RuleSettings(topic="a", device="x", time_key="t", keys={"t": ON_OFF}), "is the time_key"),
        (RuleSettings(topic="a", device="x", keys={"k": KeySettings("heat", "x")}), "k.capability: 'heat' is none of"),
        (RuleSettings(topic="a", device="x", keys={"k": KeySettings("on_off", "x")}), "no such attribute"),
        (RuleSettings(topic="a", device="x", keys={"k": KeySettings("on_off", "on_off", scale=0.0)}), "keys.k.scale"),
        (RuleSettings(topic="a", device="x", keys={"k": msgspec.structs.replace(ON_OFF, offset=NAN)}), "k.offset"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_rule_is_named(rule: RuleSettings, says: str) -> None:
    with pytest.raises(InvalidInputError, match=says):
        compiled(rule)


def test_no_rules_at_all_are_refused() -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"rules": []}, JsonDevicesSettings)
