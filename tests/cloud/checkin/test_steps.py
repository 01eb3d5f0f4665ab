"""Which steps a party takes: a function of the policy, who comes, and what was done."""

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.checkin.steps import Fact, Guest, Party, StepState, finished, open_before_grant, standing
from protocols.policy.check_in import CheckInPolicy, Deposit, StepKind

ARRIVES = date(2026, 11, 18)
ALL = CheckInPolicy(
    v=1, jurisdiction="ESP", steps=tuple(StepKind), terms="1", deposit=Deposit("EUR", 5_000), sign_age=14,
    document_exempt=("ESP",),
)  # fmt: skip
ADULT, CHILD, SPANIARD = date(1980, 5, 1), date(2016, 5, 1), date(1975, 1, 1)


def party(*guests: Guest, size: int = 1, stays: tuple[str, ...] = ("s1",)) -> Party:
    return Party(stays, size, {guest.slot: guest for guest in guests}, ARRIVES)


def asked(of: Party, kind: StepKind) -> list[str]:
    return [step.subject for step in standing(ALL, of, {}, ready=frozenset()) if step.kind is kind]


@pytest.mark.requirement("CHK-03")
def test_the_steps_come_in_the_policys_order() -> None:
    assert [step.kind for step in standing(ALL, party(), {}, ready=frozenset())] == list(StepKind)


def test_a_child_signs_no_card_and_shows_a_document_and_a_countryman_shows_none() -> None:
    family = party(Guest("g1", SPANIARD, "ESP"), Guest("g2", ADULT, "DEU"), Guest("g3", CHILD, "DEU"), size=3)
    assert asked(family, StepKind.REGISTRATION_CARD) == ["g1", "g2"]
    assert asked(family, StepKind.DOCUMENT) == ["g2", "g3"]
    assert asked(family, StepKind.IDENTITY) == ["g1", "g2", "g3"]


def test_who_was_booked_and_not_named_yet_is_asked_like_anybody() -> None:
    assert asked(party(size=2), StepKind.REGISTRATION_CARD) == ["g1", "g2"]


@pytest.mark.parametrize(("born", "alone"), [(date(2008, 11, 18), False), (date(2008, 11, 19), True), (None, False)])
def test_a_minor_alone_is_for_staff_on_the_day_before_the_birthday(born: date | None, alone: bool) -> None:
    done = {(StepKind.IDENTITY, "g1"): Fact(StepState.DONE)}
    [step] = [
        each
        for each in standing(ALL, party(Guest("g1", born, "DEU")), done, ready=frozenset())
        if each.kind is StepKind.IDENTITY
    ]
    assert (step.state is StepState.NEEDS_STAFF) is alone
    done[StepKind.IDENTITY, "g1"] = Fact(StepState.WAIVED, "the aunt signed")
    again = standing(ALL, party(Guest("g1", born, "DEU")), done, ready=frozenset())
    assert again[0].state is StepState.WAIVED


def test_every_room_is_waited_for_and_gets_its_own_keys() -> None:
    two = party(stays=("s1", "s2"))
    assert asked(two, StepKind.ROOM) == asked(two, StepKind.GRANT) == ["s1", "s2"]
    states = {step.subject: step.state for step in standing(ALL, two, {}, ready=frozenset({"s2"}))
              if step.kind is StepKind.ROOM}  # fmt: skip
    assert states == {"s1": StepState.OPEN, "s2": StepState.DONE}


def test_no_fact_makes_a_room_ready() -> None:
    """The room is the house's to say: neither guest nor staff can claim it (defect 4 of the source documents)."""
    facts = {(StepKind.ROOM, "s1"): Fact(StepState.WAIVED)}
    [room] = [each for each in standing(ALL, party(), facts, ready=frozenset()) if each.kind is StepKind.ROOM]
    assert room.state is StepState.OPEN


@given(
    size=st.integers(1, 6),
    done=st.sets(st.tuples(st.sampled_from(list(StepKind)), st.sampled_from(["g1", "g2", "g3", "party", "s1"]))),
    ready=st.booleans(),
)
def test_keys_are_asked_for_only_when_all_else_is_done(size: int, done: set[tuple[StepKind, str]], ready: bool) -> None:
    facts = {each: Fact(StepState.DONE) for each in done}
    steps = standing(ALL, party(size=size), facts, ready=frozenset({"s1"}) if ready else frozenset())
    missing = open_before_grant(steps)
    wanted = {(step.kind, step.subject) for step in steps if step.kind not in (StepKind.GRANT, StepKind.ROOM)}
    assert (missing == []) == (ready and wanted <= done)
    assert not finished(steps) or (missing == [] and (StepKind.GRANT, "s1") in done)
