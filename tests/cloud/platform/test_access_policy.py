"""The policies themselves: deny by default, roles that include the lesser ones, callers bound to properties."""

import pytest
from cedarpy import is_authorized

from cloud.platform.access_policy import NAMES_KEPT_MOST, POLICIES, _decided, may
from cloud.platform.principals import Principal, Role

BOUND = frozenset({"aurora"})


def _caller(role: Role, properties: frozenset[str] | None = BOUND) -> Principal:
    return Principal("anna", "northlight", role, properties)


@pytest.mark.requirement("PLT-08")
@pytest.mark.parametrize(
    ("role", "action", "allowed"),
    [
        (Role.VIEWER, "property.read", True),
        (Role.VIEWER, "stay.check_in", False),
        (Role.VIEWER, "records.read", False),
        (Role.STAFF, "property.read", True),
        (Role.STAFF, "stay.check_in", True),
        (Role.STAFF, "records.read", False),
        (Role.ADMIN, "stay.check_in", True),
        (Role.ADMIN, "records.read", True),
        (Role.ADMIN, "no.such.action", False),
        (Role.ADMIN, 'x"; permit (principal, action, resource);', False),
    ],
)
def test_a_role_may_what_it_and_the_lesser_ones_may(role: Role, action: str, allowed: bool) -> None:
    decision = may(_caller(role), action, "aurora")
    assert decision.allowed is allowed
    assert bool(decision.because) is allowed


@pytest.mark.guarantee("G8")
@pytest.mark.parametrize("role", [Role.VIEWER, Role.STAFF, Role.ADMIN])
@pytest.mark.parametrize("property_id", ["boreal", "", 'aurora" || "', "Aurora"])
def test_a_caller_bound_to_properties_may_nothing_with_others(role: Role, property_id: str) -> None:
    assert not may(_caller(role), "property.read", property_id).allowed
    assert may(_caller(role, None), "property.read", property_id).allowed


def test_only_who_is_bound_to_nothing_makes_accounts() -> None:
    assert may(_caller(Role.ADMIN, None), "account.manage", None).allowed
    assert not may(_caller(Role.ADMIN), "account.manage", None).allowed
    assert not may(_caller(Role.STAFF, None), "account.manage", None).allowed


def test_the_policies_are_read_whole() -> None:
    """A policy that did not parse would silently permit nothing: Cedar says so when asked."""
    request = {"principal": 'Principal::"a"', "action": 'Action::"self.read"', "resource": 'Tenant::"t"', "context": {}}
    assert is_authorized(request, POLICIES, []).diagnostics.errors == []


@pytest.mark.guarantee("G8")
@pytest.mark.parametrize(
    ("action", "property_id", "stay", "allowed"),
    [
        ("checkin.use", "aurora", "s-1", True),
        ("stay.check_in", "aurora", "s-1", True),
        ("stay.check_in", "aurora", "s-2", False),
        ("stay.check_in", "boreal", "s-1", False),
        ("stay.check_in", "aurora", None, False),
        ("stay.check_out", "aurora", "s-1", False),
        ("stay.read", "aurora", "s-1", False),
        ("property.read", "aurora", None, False),
        ("checkin.people", "aurora", "s-1", False),
        ("checkin.assist", "aurora", "s-1", False),
        ("stay.invite", "aurora", "s-1", False),
    ],
)
def test_a_guest_may_check_in_to_one_stay_and_nothing_else(
    action: str, property_id: str, stay: str | None, allowed: bool
) -> None:
    guest = Principal("guest:s-1", "northlight", Role.GUEST, BOUND, stay="s-1")
    assert may(guest, action, property_id, stay).allowed is allowed
    nowhere = Principal("guest", "northlight", Role.GUEST, BOUND)
    assert not may(nowhere, action, property_id, stay).allowed


def test_names_that_nothing_has_are_judged_and_not_kept() -> None:
    """Paths are whatever a caller writes: kilobytes of them, each another, are not to stay in memory."""
    guest = Principal("guest:s-1", "northlight", Role.GUEST, BOUND, account="link", stay="s-1")
    assert may(guest, "checkin.use", "aurora", "s-1").allowed
    kept = _decided.cache_info().currsize
    for name in ("s-" + "1" * NAMES_KEPT_MOST, "\N{KEY}" * (NAMES_KEPT_MOST + 1)):
        assert not may(guest, "checkin.use", "aurora", name).allowed
        assert not may(guest, "checkin.use", name, "s-1").allowed
        assert may(_caller(Role.VIEWER, None), "property.read", name).allowed
    assert _decided.cache_info().currsize == kept
