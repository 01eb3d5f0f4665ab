"""Issuer keys: one day each, one hour of overlap, then gone; the clock that may sign."""

from pathlib import Path

import pytest

from edge.doors.issuers import Issuers
from kit.dice import SeededDice
from protocols.grant.certificate import open_certificate
from protocols.grant.keys import (
    OVERLAP_S,
    SIGNS_S,
    IssuerClass,
    compressed,
    generate_property_ca,
    private_key_hex,
)
from protocols.vectors.fixed import AT_S
from tests.edge.doors.building import Building


def issuers() -> Issuers:
    dice = SeededDice(7)
    return Issuers(generate_property_ca("aurora", dice.bytes), dice)


@pytest.mark.requirement("P6", "ACC-02")
def test_the_key_rotates_after_a_day_and_the_old_one_is_let_go_an_hour_later() -> None:
    keys = issuers()
    first = keys.current(IssuerClass.GUEST, AT_S)
    assert keys.current(IssuerClass.GUEST, AT_S + SIGNS_S - 1) is first
    second = keys.current(IssuerClass.GUEST, AT_S + SIGNS_S)
    assert second.certificate.kid != first.certificate.kid
    assert keys.held() == [first, second]  # overlap
    keys.expire(AT_S + SIGNS_S + OVERLAP_S)
    assert keys.held() == [first, second]
    assert keys.expire(AT_S + SIGNS_S + OVERLAP_S + 1) == 1
    assert keys.held() == [second]


@pytest.mark.requirement("P6")
def test_classes_have_keys_of_their_own() -> None:
    keys = issuers()
    held = {each: keys.current(each, AT_S).certificate for each in (IssuerClass.GUEST, IssuerClass.REVOCATION)}
    assert held[IssuerClass.GUEST].point != held[IssuerClass.REVOCATION].point
    assert {each.issuer_class for each in held.values()} == set(held)


@pytest.mark.requirement("P6")
def test_a_clock_that_went_back_never_signs_with_a_key_of_the_future() -> None:
    keys = issuers()
    future = keys.current(IssuerClass.GUEST, AT_S + 10 * SIGNS_S)
    now = keys.current(IssuerClass.GUEST, AT_S)
    assert now.certificate.not_before_s == AT_S
    assert future not in keys.held()


@pytest.mark.requirement("P6")
def test_a_restart_makes_new_keys_and_no_disk_ever_held_the_old(tmp_path: Path) -> None:
    building = Building(tmp_path)
    building.phone("anna").check_in("stay-1", "101")
    [held] = building.issuers.held()
    secret = bytes.fromhex(private_key_hex(held.key))
    on_disk = b"".join(each.read_bytes() for each in tmp_path.iterdir())
    assert compressed(held.key.public_key()) in on_disk  # the certificate is there: the search finds what it seeks
    assert secret not in on_disk
    building.restart()
    building.phone("bert").check_in("stay-2", "102")
    [after] = building.issuers.held()
    assert after.certificate.kid != held.certificate.kid
    ca_keys = {building.ca.kid: building.ca.ca.public_key()}
    assert open_certificate(after.certificate.encoded, ca_keys) == after.certificate
    building.store.close()
