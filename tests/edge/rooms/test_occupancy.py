"""Is somebody inside? The claims of edge/rooms/occupancy.py, on readings and time alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.rooms.occupancy import MOTION_HOLD_MS, SENSOR_FRESH_MS, Evidence, believe

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
SURE = 0.95


def entered(now_ms: int, *, motion_after_ms: int | None) -> Evidence:
    """Somebody opened and closed the door around `now_ms`; motion seen some time after, if at all."""
    evidence = Evidence().moved(motion=False, now_ms=now_ms - 1_000)
    evidence = evidence.door(closed=False, now_ms=now_ms).door(closed=True, now_ms=now_ms + 4_000)
    if motion_after_ms is not None:
        evidence = evidence.moved(motion=True, now_ms=now_ms + 4_000 + motion_after_ms)
    return evidence


def test_nothing_heard_is_nothing_known() -> None:
    assert believe(Evidence(), now_ms=0).occupied is None


@given(still_ms=st.integers(0, 20 * HOUR_MS))
def test_who_moved_behind_a_closed_door_is_inside_however_still_they_sleep(still_ms: int) -> None:
    evidence = entered(0, motion_after_ms=10_000).moved(motion=False, now_ms=200_000)
    belief = believe(evidence, now_ms=200_000 + still_ms)
    assert belief.occupied is True
    assert belief.confidence >= SURE


def test_an_empty_room_is_believed_empty_after_half_an_hour_and_not_after_ten_minutes() -> None:
    evidence = entered(0, motion_after_ms=None)
    assert believe(evidence, now_ms=10 * MINUTE_MS).occupied is not False or (
        believe(evidence, now_ms=10 * MINUTE_MS).confidence < SURE
    )
    late = believe(evidence, now_ms=30 * MINUTE_MS)
    assert late.occupied is False
    assert late.confidence >= SURE


def test_one_of_two_leaving_leaves_the_sleeper_a_longer_benefit_of_the_doubt() -> None:
    both = entered(0, motion_after_ms=10_000).moved(motion=False, now_ms=5 * MINUTE_MS)
    one_left = both.door(closed=False, now_ms=HOUR_MS).door(closed=True, now_ms=HOUR_MS + 5_000)
    after_half_an_hour = believe(one_left, now_ms=HOUR_MS + 30 * MINUTE_MS)
    assert not (after_half_an_hour.occupied is False and after_half_an_hour.confidence >= SURE)
    turned_over = one_left.moved(motion=True, now_ms=HOUR_MS + 40 * MINUTE_MS)
    assert believe(turned_over, now_ms=HOUR_MS + 8 * HOUR_MS).occupied is True
    quiet = believe(one_left, now_ms=HOUR_MS + 2 * HOUR_MS)
    assert quiet.occupied is False
    assert quiet.confidence >= SURE


def test_motion_that_only_lingers_after_the_door_closed_is_no_proof() -> None:
    leaving = Evidence().door(closed=True, now_ms=0).moved(motion=True, now_ms=HOUR_MS)
    left = leaving.door(closed=False, now_ms=HOUR_MS + 1_000).door(closed=True, now_ms=HOUR_MS + 4_000)
    assert believe(left, now_ms=HOUR_MS + 60_000).occupied is None
    quiet = left.moved(motion=False, now_ms=HOUR_MS + 90_000)
    assert quiet.inside is False
    held = left.moved(motion=True, now_ms=HOUR_MS + 4_000 + MOTION_HOLD_MS + 1)
    assert believe(held, now_ms=HOUR_MS + 10 * MINUTE_MS).occupied is True


@pytest.mark.guarantee("G17")
def test_a_motion_sensor_that_fell_silent_proves_no_absence() -> None:
    evidence = entered(0, motion_after_ms=None)
    assert believe(evidence, now_ms=SENSOR_FRESH_MS + HOUR_MS).occupied is None


def test_a_room_without_a_motion_sensor_is_never_believed_empty() -> None:
    evidence = Evidence().door(closed=False, now_ms=0).door(closed=True, now_ms=5_000)
    assert believe(evidence, now_ms=10 * HOUR_MS).occupied is None


@pytest.mark.guarantee("G11")
@given(quiet_ms=st.integers(0, 20 * HOUR_MS))
def test_a_door_found_closed_after_a_start_proves_no_absence(quiet_ms: int) -> None:
    evidence = Evidence().door(closed=True, now_ms=0).moved(motion=False, now_ms=0)
    assert believe(evidence, now_ms=quiet_ms).occupied is None


happenings = st.lists(
    st.tuples(st.sampled_from(["open", "close", "motion", "still"]), st.integers(0, 2 * HOUR_MS)), max_size=30
)


@given(happenings=happenings, ask_after_ms=st.integers(0, 48 * HOUR_MS))
def test_a_belief_is_never_certain_and_confidence_stays_in_its_range(
    happenings: list[tuple[str, int]], ask_after_ms: int
) -> None:
    now_ms, evidence = 0, Evidence()
    for what, wait_ms in happenings:
        now_ms += wait_ms
        if what in ("open", "close"):
            evidence = evidence.door(closed=what == "close", now_ms=now_ms)
        else:
            evidence = evidence.moved(motion=what == "motion", now_ms=now_ms)
        assert evidence.inside is False or evidence.closed is True  # an open door seals nobody in
    belief = believe(evidence, now_ms=now_ms + ask_after_ms)
    assert 0.5 <= belief.confidence < 1.0
    if belief.occupied is False:
        assert evidence.closed is True
        assert not evidence.inside


@given(happenings=happenings)
def test_repeating_a_door_contact_changes_nothing(happenings: list[tuple[str, int]]) -> None:
    now_ms, evidence = 0, Evidence()
    for what, wait_ms in happenings:
        now_ms += wait_ms
        if what in ("open", "close"):
            evidence = evidence.door(closed=what == "close", now_ms=now_ms)
            assert evidence.door(closed=what == "close", now_ms=now_ms + 1_000) == evidence
        else:
            evidence = evidence.moved(motion=what == "motion", now_ms=now_ms)
