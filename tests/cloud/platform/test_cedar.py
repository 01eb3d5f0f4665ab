"""Our reader of Cedar decides as Cedar does, and takes nothing that it does not understand."""

import importlib
from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud.platform.access_policy import POLICIES
from cloud.platform.cedar import Decision, Entity, Value, decide, parse
from protocols.errors import InvalidInputError

VIEWER = Entity(
    "User", "anna", frozenset({("Role", "viewer")}), {"every": False, "of": frozenset({"aurora"}), "n": "a"}
)
HOUSE = Entity("Property", "aurora", attributes={"id": "aurora", "shut": False})


def decided(text: str, action: str = "read", who: Entity = VIEWER, what: Entity = HOUSE) -> Decision:
    return decide(parse(text), who, action, what)


@pytest.mark.parametrize(
    ("text", "allowed"),
    [
        ("", False),
        ("permit (principal, action, resource);", True),
        ('permit (principal == User::"anna", action == Action::"read", resource == Property::"aurora");', True),
        ('permit (principal == User::"bert", action, resource);', False),
        ('permit (principal in Role::"viewer", action, resource);', True),
        ('permit (principal in Role::"admin", action, resource);', False),
        ('permit (principal in User::"anna", action, resource);', True),
        ('permit (principal, action in [Action::"write", Action::"read"], resource);', True),
        ('permit (principal, action in [Action::"write"], resource);', False),
        ("permit (principal is User, action, resource is Property);", True),
        ("permit (principal, action, resource is Tenant);", False),
        ("permit (principal, action, resource) when { principal.of.contains(resource.id) };", True),
        ("permit (principal, action, resource) when { principal.every };", False),
        ("permit (principal, action, resource) when { principal.missing };", False),
        ("permit (principal, action, resource) when { true || principal.missing };", True),
        ("permit (principal, action, resource) when { principal.missing || true };", False),
        ("permit (principal, action, resource) unless { resource.shut };", True),
        ("permit (principal, action, resource) unless { principal.missing };", False),
        ('permit (principal, action, resource) when { principal.n == "a" && !(principal.n == "b") };', True),
        ('permit (principal, action, resource) when { principal.n == true };', False),
        ('permit (principal, action, resource) when { principal.n != true };', True),
        ("permit (principal, action, resource); forbid (principal, action, resource);", False),
        ("permit (principal, action, resource); forbid (principal, action, resource) when { principal.every };", True),
        ("permit (principal, action, resource); forbid (principal, action, resource) when { principal.nix };", True),
        ("// nothing\npermit (principal, action, resource); // all", True),
    ],
)  # fmt: skip
@pytest.mark.requirement("PLT-08")
def test_what_a_policy_decides(text: str, allowed: bool) -> None:
    assert decided(text).allowed is allowed
    if (told := cedar(text, "read", VIEWER, HOUSE)) is not None:
        assert told == allowed


def test_a_decision_names_its_policies() -> None:
    permit, forbid = "permit (principal, action, resource);", 'forbid (principal == User::"anna", action, resource);'
    assert decided(permit + permit) == Decision(True, ("policy0", "policy1"))
    assert decided(permit + forbid) == Decision(False, ("policy1",))
    assert decided("") == Decision(False, ())


@pytest.mark.parametrize(
    "text",
    [
        "permit (principal, action, resource)", "allow (principal, action, resource);", "permit (action, principal);",
        "permit (principal, action, resource) when { principal };", 'permit (principal, action == "x", resource);',
        "permit (principal, action, resource) when { 1 < 2 };", "permit (principal, action in [], resource);",
        "permit (principal, action, resource) when { context.x };", '@id("x") permit (principal, action, resource);',
        "permit (principal, action, resource) when { principal has x };",
        "permit (principal, action, resource) when {};",
        "permit (principal, action, resource) when { " + "!" * 100 + "true };",
        'permit (principal == User::"a\\"', "\x00",
        "permit (principal, action, resource) when { principal.of.containsAll(resource.id) };",
    ],
)  # fmt: skip
def test_what_it_does_not_understand_is_refused_when_it_is_read(text: str) -> None:
    with pytest.raises(InvalidInputError, match="policy"):
        parse(text)


@given(st.text(max_size=200))
@settings(max_examples=200)
@pytest.mark.guarantee("G19")
def test_no_text_breaks_the_reader(text: str) -> None:
    try:
        parse(text)
    except InvalidInputError:
        return


def cedar(text: str, action: str, who: Entity, what: Entity) -> bool | None:
    """Return what Cedar itself decides; None where its package is not installed."""
    try:
        engine: Any = importlib.import_module("cedarpy")
    except ModuleNotFoundError:
        return None

    def told(value: Value) -> Any:  # noqa: ANN401 - JSON
        return sorted(value) if isinstance(value, frozenset) else value

    entities = [
        {
            "uid": {"type": each.type, "id": each.id},
            "attrs": {name: told(value) for name, value in each.attributes.items()},
            "parents": [{"type": kind, "id": name} for kind, name in sorted(each.parents)],
        }
        for each in (who, what)
    ]
    request = {
        "principal": f'{who.type}::"{who.id}"', "action": f'Action::"{action}"',
        "resource": f'{what.type}::"{what.id}"', "context": {},
    }  # fmt: skip
    return bool(engine.is_authorized(request, text, entities).allowed)


def test_our_policies_mean_the_same_to_cedar_itself() -> None:
    pytest.importorskip("cedarpy", reason="the oracle is not installed here")
    actions = {name for policy in parse(POLICIES) if policy.action for _, name in policy.action[1]} | {"unheard.of"}
    roles = [("viewer",), ("staff", "viewer"), ("admin", "staff", "viewer"), ()]
    for action, names, properties, what in product(
        sorted(actions), roles, (None, frozenset({"aurora"}), frozenset({"else"})), ("Property", "Tenant")
    ):
        who = Entity(
            "Principal", "anna", frozenset(("Role", name) for name in names),
            {"every_property": properties is None, "properties": properties or frozenset()},
        )  # fmt: skip
        resource = Entity(what, "aurora", attributes={"id": "aurora"} if what == "Property" else {})
        ours = decide(parse(POLICIES), who, action, resource).allowed
        assert ours == cedar(POLICIES, action, who, resource), (action, names, properties, what)
