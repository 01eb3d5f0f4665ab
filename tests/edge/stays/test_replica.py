"""The replica: documents and local decisions join to the same truth in whatever order they come."""

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.stays.document import StayState, parse
from edge.stays.replica import FORGET_LEFT_AFTER_MS, PROGRESS, Decision, Replica
from protocols.device_model.identity import RoomId, StayId
from protocols.errors import InvalidInputError
from tests.edge.world import AURORA, HOUR_MS, T0, a_document, a_stay

ANNA = StayId("s-anna")


def offered(replica: Replica, version: int, *stays: dict[str, Any], as_of_ms: int = T0) -> Replica:
    return replica.offered(version, parse(a_document(*stays, as_of_ms=as_of_ms), ours=AURORA))


def decision(state: StayState, *, room: str = "101", at_ms: int = T0) -> Decision:
    document = parse(a_document(a_stay()), ours=AURORA)
    return Decision(document.stays[0], state, RoomId(room), at_ms, "desk")


CHECKED_IN, CHECKED_OUT = decision(StayState.IN_HOUSE), decision(StayState.LEFT)


def state_of(replica: Replica) -> StayState | None:
    stay = replica.get(ANNA)
    return None if stay is None else stay.state


def test_an_older_document_is_refused_and_changes_nothing() -> None:
    replica = offered(Replica(), 5, a_stay())
    with pytest.raises(InvalidInputError, match="version 4 is older than 5"):
        offered(replica, 4)
    assert state_of(replica) is StayState.READY


def test_the_same_version_twice_is_harmless_and_a_forgery_of_it_refused() -> None:
    replica = offered(Replica(), 5, a_stay())
    assert offered(replica, 5, a_stay()) is replica
    with pytest.raises(InvalidInputError, match="something else"):
        offered(replica, 5, a_stay(room="102"))


@pytest.mark.guarantee("G3")
@pytest.mark.parametrize("said", ["planned", "ready", "in_house", "void"])
def test_a_guest_checked_in_here_stays_in_house_whatever_an_older_truth_says(said: str) -> None:
    replica = offered(Replica(), 1, a_stay()).decided(CHECKED_IN)
    assert state_of(offered(replica, 2, a_stay(state=said))) is StayState.IN_HOUSE
    assert state_of(offered(replica, 2)) is StayState.IN_HOUSE  # not even being forgotten ends a stay


@pytest.mark.parametrize("said", ["planned", "ready", "in_house", "void", "left"])
def test_a_guest_who_left_here_does_not_come_back(said: str) -> None:
    replica = offered(Replica(), 1, a_stay()).decided(CHECKED_IN).decided(CHECKED_OUT)
    after = offered(replica, 2, a_stay(state=said))
    assert state_of(after) in (StayState.LEFT, StayState.VOID)


def test_a_check_out_in_the_document_ends_a_check_in_here() -> None:
    replica = offered(Replica(), 1, a_stay()).decided(CHECKED_IN)
    after = offered(replica, 2, a_stay(state="left"))
    assert state_of(after) is StayState.LEFT
    assert after.decisions == {}


def test_the_room_of_the_grant_stands_and_the_conflict_is_told() -> None:
    replica = offered(Replica(), 1, a_stay()).decided(CHECKED_IN)
    moved = offered(replica, 2, a_stay(room="102", expected_until_ms=T0 + 48 * HOUR_MS, version=2))
    stay = moved.get(ANNA)
    assert stay is not None
    assert (stay.room, stay.expected_until_ms, stay.version) == ("101", T0 + 48 * HOUR_MS, 2)
    [held] = moved.held_against_document()
    assert (held.stay, held.document_state, held.document_room) == (ANNA, StayState.READY, "102")


def test_a_decision_does_not_go_backwards() -> None:
    replica = offered(Replica(), 1, a_stay()).decided(CHECKED_OUT)
    assert replica.decided(CHECKED_IN) is replica


def test_a_departure_is_remembered_until_no_document_can_be_older_than_it() -> None:
    replica = offered(Replica(), 1, a_stay()).decided(CHECKED_OUT)
    end_ms = T0 + 24 * HOUR_MS
    soon = offered(replica, 2, as_of_ms=end_ms + FORGET_LEFT_AFTER_MS)
    assert state_of(soon) is StayState.LEFT
    later = offered(soon, 3, as_of_ms=end_ms + FORGET_LEFT_AFTER_MS + 1)
    assert state_of(later) is None


steps = st.lists(
    st.one_of(
        st.sampled_from(["planned", "ready", "in_house", "left", "absent"]).map(lambda said: ("document", said)),
        st.sampled_from(["in", "out"]).map(lambda what: ("decision", what)),
    ),
    max_size=12,
)


def take(replica: Replica, step: tuple[str, str], version: int) -> Replica:
    if step[0] == "decision":
        return replica.decided(CHECKED_IN if step[1] == "in" else CHECKED_OUT)
    stays = [] if step[1] == "absent" else [a_stay(state=step[1])]
    return offered(replica, version, *stays)


@pytest.mark.guarantee("G3")
@given(steps=steps)
def test_a_decision_taken_here_never_goes_back_whatever_arrives(steps: list[tuple[str, str]]) -> None:
    replica, furthest = Replica(), -1
    for version, step in enumerate(steps, start=1):
        replica = take(replica, step, version)
        if step[0] == "decision":
            furthest = max(furthest, 2 if step[1] == "in" else 3)
        said_left = ("document", "left") in steps[:version]
        state = state_of(replica)
        if furthest >= 0 and not said_left:
            assert state is not None
            assert PROGRESS[state] >= furthest


@given(said=st.sampled_from(["planned", "ready", "in_house", "left"]), what=st.sampled_from(["in", "out"]))
def test_document_and_decision_join_alike_in_either_order(said: str, what: str) -> None:
    ends = set()
    for order in itertools.permutations([("document", said), ("decision", what)]):
        replica = Replica()
        for step in order:
            replica = take(replica, step, 1)
        ends.add(state_of(replica))
    assert len(ends) == 1
