"""The life of a stay as a function of facts."""

from itertools import pairwise, permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.stays.life import ACTIVE, Claim, EdgeState, Settled, StayState, settle, state_of
from cloud.stays.reservation import Housekeeping, PmsStatus
from tests.cloud.houses import DAY_MS, NOW_MS

CLEAN = {"101": Housekeeping.INSPECTED, "102": Housekeeping.CLEAN, "103": Housekeeping.DIRTY}


def claim(
    stay: str,
    *,
    room: str | None = "101",
    state: StayState = StayState.PLANNED,
    start: int = 0,
    nights: int = 1,
    in_ms: int | None = None,
) -> Claim:
    return Claim(stay, state, room, NOW_MS + start * DAY_MS, NOW_MS + (start + nights) * DAY_MS, in_ms)


@pytest.mark.parametrize(
    ("status", "edge", "state"),
    [
        (PmsStatus.BOOKED, None, StayState.PLANNED),
        (PmsStatus.BOOKED, EdgeState.CHECKED_IN, StayState.IN_HOUSE),
        (PmsStatus.BOOKED, EdgeState.CHECKED_OUT, StayState.LEFT),
        (PmsStatus.IN_HOUSE, None, StayState.IN_HOUSE),
        (PmsStatus.IN_HOUSE, EdgeState.CHECKED_OUT, StayState.LEFT),
        (PmsStatus.LEFT, None, StayState.LEFT),
        (PmsStatus.LEFT, EdgeState.CHECKED_IN, StayState.LEFT),
        (PmsStatus.CANCELLED, None, StayState.VOID),
        (PmsStatus.CANCELLED, EdgeState.CHECKED_IN, StayState.IN_HOUSE),
        (PmsStatus.NO_SHOW, None, StayState.VOID),
        (PmsStatus.OPTION, None, StayState.VOID),
    ],
)
@pytest.mark.requirement("STY-01")
def test_a_state_follows_from_what_pms_and_edge_say(
    status: PmsStatus, edge: EdgeState | None, state: StayState
) -> None:
    assert state_of(status, edge) is state


@pytest.mark.requirement("STY-08")
def test_a_stay_is_ready_once_its_clean_room_is_free_and_its_day_has_come() -> None:
    assert settle([claim("a")], CLEAN, now_ms=NOW_MS)["a"] == Settled(StayState.READY, "101")
    assert settle([claim("a", room="103")], CLEAN, now_ms=NOW_MS)["a"].state is StayState.PLANNED
    assert settle([claim("a", start=3)], CLEAN, now_ms=NOW_MS)["a"].state is StayState.PLANNED
    assert settle([claim("a", room=None)], CLEAN, now_ms=NOW_MS)["a"] == Settled(StayState.PLANNED, None)
    inside = claim("b", state=StayState.IN_HOUSE, start=-1)
    assert settle([claim("a"), inside], CLEAN, now_ms=NOW_MS)["a"] == Settled(StayState.PLANNED, "101")


def test_the_guest_inside_keeps_the_room_against_a_plan() -> None:
    settled = settle(
        [claim("a", start=0, nights=3), claim("b", state=StayState.IN_HOUSE, start=1)], CLEAN, now_ms=NOW_MS
    )
    assert settled["b"].room == "101"
    assert settled["a"] == Settled(StayState.PLANNED, None)


def test_of_two_guests_said_to_be_inside_the_one_who_moved_in_last_holds_the_room() -> None:
    settled = settle(
        [
            claim("a", state=StayState.IN_HOUSE, start=-2, in_ms=NOW_MS - DAY_MS),
            claim("b", state=StayState.IN_HOUSE, start=0, in_ms=NOW_MS),
        ],
        CLEAN,
        now_ms=NOW_MS,
    )
    assert settled == {"a": Settled(StayState.IN_HOUSE, None), "b": Settled(StayState.IN_HOUSE, "101")}


claims = st.lists(
    st.builds(
        claim,
        st.sampled_from([f"s{n}" for n in range(12)]),
        room=st.sampled_from(["101", "102", "103", "no-such-room", None]),
        state=st.sampled_from(list(StayState)),
        start=st.integers(-3, 3),
        nights=st.integers(1, 4),
        in_ms=st.none() | st.integers(NOW_MS - DAY_MS, NOW_MS),
    ),
    max_size=10,
    unique_by=lambda each: each.stay,
)


@given(claims)
def test_no_room_is_ever_held_twice_at_one_time(asked: list[Claim]) -> None:
    settled = settle(asked, CLEAN, now_ms=NOW_MS)
    by_id = {each.stay: each for each in asked}
    for room in CLEAN:
        held = sorted(
            (by_id[stay] for stay, got in settled.items() if got.room == room and got.state in ACTIVE),
            key=lambda each: each.from_ms,
        )
        assert all(one.until_ms <= other.from_ms for one, other in pairwise(held))
        assert sum(each.state is StayState.IN_HOUSE for each in held) <= 1


@given(st.lists(st.integers(0, 3), min_size=4, max_size=4))
def test_the_answer_depends_on_the_set_and_not_on_its_order(starts: list[int]) -> None:
    asked = [claim(f"s{n}", start=start, nights=2) for n, start in enumerate(starts)]
    answers = [settle(order, CLEAN, now_ms=NOW_MS) for order in permutations(asked)]
    assert all(answer == answers[0] for answer in answers)
