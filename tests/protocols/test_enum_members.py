"""Members found without the descriptor are the very members, and nobody puts another in their place."""

from enum import Enum

import pytest

from protocols.door import lock, phone
from protocols.door.audit import AuditEvent
from protocols.door.messages import MessageKind
from protocols.door.status import Status
from protocols.enum_members import plain_members
from protocols.errors import RefusalReason
from protocols.grant.keys import IssuerClass
from protocols.grant.lock_time import TimeQuality

PLAIN: list[type[Enum]] = [lock.State, phone.State, AuditEvent, MessageKind, Status, IssuerClass, TimeQuality]


@pytest.mark.parametrize("enumeration", PLAIN, ids=lambda each: f"{each.__module__}.{each.__name__}")
def test_a_plain_member_is_the_member(enumeration: type[Enum]) -> None:
    assert len(enumeration.__members__) >= 3
    for name, member in enumeration.__members__.items():
        assert vars(enumeration)[name] is member
        assert getattr(enumeration, name) is enumeration(member.value) is enumeration[name]
        assert (member.name, type(member)) == (name, enumeration)


def test_members_stay_as_they_are_for_whoever_would_set_one() -> None:
    with pytest.raises(AttributeError):
        Status.OPENED = Status.REVOKED  # type: ignore[misc]  # this is what is refused
    with pytest.raises(AttributeError):
        del Status.OPENED
    assert Status.OPENED.reason is None
    assert Status.REVOKED.reason is RefusalReason.REVOKED


def test_two_names_of_one_value_stay_one_member() -> None:
    @plain_members
    class Hue(Enum):
        RED = 1
        CRIMSON = 1

    assert vars(Hue)["CRIMSON"] is Hue.RED
    assert list(Hue) == [Hue.RED]
