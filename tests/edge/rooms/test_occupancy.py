"""Is somebody inside? The claims of edge/rooms/occupancy.py, on readings and time alone."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.rooms.occupancy import HEARTBEAT_MS, MOTION_HOLD_MS, UNLOCK_OPENS_MS, VISIT_MOST_MS, Evidence, believe, fused

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
SURE = 0.95


def entered(now_ms: int, *, motion_after_ms: int | None) -> Evidence:
    """Somebody opened and closed the door around `now_ms`; motion seen some time after, if at all."""
    evidence = Evidence().moved(motion=True, now_ms=now_ms - HOUR_MS).moved(motion=False, now_ms=now_ms - 1_000)
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


def still(evidence: Evidence, since_ms: int, until_ms: int) -> Evidence:
    """The motion sensor goes on saying that it sees nobody, every 50 minutes."""
    for now_ms in range(since_ms, until_ms, 50 * MINUTE_MS):
        evidence = evidence.moved(motion=False, now_ms=now_ms)
    return evidence


def empty(evidence: Evidence, now_ms: int) -> bool:
    belief = believe(evidence, now_ms=now_ms)
    return belief.occupied is False and belief.confidence >= SURE


def left_at(now_ms: int, *, night: bool = False) -> Evidence:
    """Somebody known to be inside walked out; `night`: in an hour of sleep."""
    evidence = Evidence().door(closed=False, now_ms=0).door(closed=True, now_ms=5_000)
    evidence = evidence.moved(motion=True, now_ms=MINUTE_MS).moved(motion=False, now_ms=5 * MINUTE_MS)
    if night:
        evidence = evidence.asleep(now_ms=now_ms)
    return evidence.door(closed=False, now_ms=now_ms).door(closed=True, now_ms=now_ms + 5_000)


def test_a_room_that_may_have_kept_somebody_is_believed_empty_after_two_hours_and_not_before() -> None:
    gone = still(left_at(HOUR_MS), HOUR_MS + MINUTE_MS, 4 * HOUR_MS)
    assert not empty(gone, HOUR_MS + 110 * MINUTE_MS)
    assert empty(gone, HOUR_MS + 120 * MINUTE_MS)


def test_a_room_known_empty_is_so_again_half_an_hour_after_staff_were_in() -> None:
    gone = still(left_at(HOUR_MS), HOUR_MS + MINUTE_MS, 4 * HOUR_MS)
    at_ms = 4 * HOUR_MS
    visited = gone.unlocked(now_ms=at_ms, staff=True).door(closed=False, now_ms=at_ms).moved(motion=True, now_ms=at_ms)
    assert visited.visit(now_ms=at_ms + 40 * MINUTE_MS)
    assert not visited.visit(now_ms=at_ms + VISIT_MOST_MS + 1)
    closed = visited.moved(motion=False, now_ms=at_ms + MINUTE_MS).door(closed=True, now_ms=at_ms + MINUTE_MS)
    assert not empty(closed, at_ms + 15 * MINUTE_MS)
    assert empty(closed, at_ms + 30 * MINUTE_MS)


@given(after_ms=st.integers(0, 9 * HOUR_MS))
def test_hours_of_sleep_do_not_count_where_one_of_two_may_have_stayed(after_ms: int) -> None:
    gone = still(left_at(HOUR_MS, night=True), HOUR_MS + MINUTE_MS, HOUR_MS + after_ms + MINUTE_MS)
    assert not empty(gone.asleep(now_ms=HOUR_MS + after_ms), HOUR_MS + after_ms)


@given(quiet_ms=st.integers(0, 20 * HOUR_MS), night=st.booleans())
def test_a_sensor_that_missed_who_came_in_proves_no_absence(quiet_ms: int, night: bool) -> None:
    before = still(left_at(HOUR_MS, night=night), HOUR_MS + MINUTE_MS, 6 * HOUR_MS)
    at_ms = 6 * HOUR_MS
    entered = before.unlocked(now_ms=at_ms).door(closed=False, now_ms=at_ms + 2_000)
    asleep = still(entered.door(closed=True, now_ms=at_ms + 6_000), at_ms + MINUTE_MS, at_ms + quiet_ms + MINUTE_MS)
    assert not empty(asleep, at_ms + quiet_ms)


@given(quiet_ms=st.integers(0, 20 * HOUR_MS))
def test_a_battery_that_died_after_they_came_in_proves_no_absence(quiet_ms: int) -> None:
    assert not empty(left_at(HOUR_MS), HOUR_MS + quiet_ms)  # said nothing since the door closed


def test_silence_counts_no_further_than_the_sensors_last_word() -> None:
    gone = left_at(HOUR_MS).moved(motion=False, now_ms=HOUR_MS + 20 * MINUTE_MS)
    assert 20 * MINUTE_MS + HEARTBEAT_MS < 115 * MINUTE_MS
    assert not empty(gone, HOUR_MS + 20 * HOUR_MS)


@given(late_ms=st.integers(0, HOUR_MS), still_ms=st.integers(0, 20 * HOUR_MS))
def test_an_unlock_told_late_takes_back_nothing(late_ms: int, still_ms: int) -> None:
    inside = entered(0, motion_after_ms=20_000).moved(motion=False, now_ms=100_000)
    told = inside.unlocked(now_ms=100_000 + late_ms, happened_ms=-2_000)
    assert believe(told, now_ms=100_000 + late_ms + still_ms).occupied is True


@given(still_ms=st.integers(0, 20 * HOUR_MS), staff=st.booleans())
def test_an_unlock_that_opened_no_door_lets_nobody_out(still_ms: int, staff: bool) -> None:
    inside = entered(0, motion_after_ms=20_000).moved(motion=False, now_ms=200_000)
    knocked = inside.unlocked(now_ms=HOUR_MS, staff=staff)
    assert believe(knocked, now_ms=HOUR_MS + still_ms).occupied is True
    assert not knocked.visit(now_ms=HOUR_MS)


@given(quiet_ms=st.integers(0, 20 * HOUR_MS))
def test_a_contact_that_two_unlocks_did_not_move_is_stuck_and_proves_nothing_either_way(quiet_ms: int) -> None:
    evidence = entered(0, motion_after_ms=20_000)
    for at_ms in (HOUR_MS, HOUR_MS + 10_000, 2 * HOUR_MS):  # twice in one minute is one attempt
        assert not evidence.stuck
        evidence = evidence.unlocked(now_ms=at_ms).moved(motion=False, now_ms=at_ms)
    assert evidence.stuck
    quiet = still(evidence, 2 * HOUR_MS, 2 * HOUR_MS + quiet_ms)
    assert believe(quiet, now_ms=2 * HOUR_MS + quiet_ms).occupied is None
    at_ms = 2 * HOUR_MS + quiet_ms + UNLOCK_OPENS_MS
    assert not quiet.door(closed=False, now_ms=at_ms).stuck


def test_somebody_whom_no_lock_names_counts_as_come_and_gets_the_longer_doubt() -> None:
    gone = still(left_at(HOUR_MS), HOUR_MS + MINUTE_MS, 4 * HOUR_MS)
    at_ms = 4 * HOUR_MS
    seen = gone.door(closed=False, now_ms=at_ms).moved(motion=True, now_ms=at_ms + 2_000)
    shut = seen.door(closed=True, now_ms=at_ms + 5_000).moved(motion=False, now_ms=at_ms + 90_000)
    assert not shut.somebody_came(now_ms=at_ms + 30_000)  # the lock may still say
    assert shut.somebody_came(now_ms=at_ms + 90_000)
    assert not empty(still(shut, at_ms + 100_000, at_ms + 2 * HOUR_MS), at_ms + HOUR_MS)
    named = shut.unlocked(now_ms=at_ms + 95_000, happened_ms=at_ms - 2_000, staff=True)
    assert not named.somebody_came(now_ms=at_ms + 100_000)


def test_a_report_that_came_late_seals_no_empty_room() -> None:
    gone = left_at(HOUR_MS).moved(motion=True, now_ms=HOUR_MS + 15_000).moved(motion=False, now_ms=HOUR_MS + 100_000)
    assert empty(still(gone, HOUR_MS + 2 * MINUTE_MS, 4 * HOUR_MS), HOUR_MS + 120 * MINUTE_MS)


def test_a_panel_is_pressed_from_inside() -> None:
    evidence = left_at(HOUR_MS).touched()
    assert believe(evidence, now_ms=20 * HOUR_MS).occupied is True


def test_the_pms_speaks_where_no_sensor_does_and_never_against_one() -> None:
    unknown = believe(Evidence(), now_ms=0)
    assert fused(unknown, rented=True) == unknown
    vacant = fused(unknown, rented=False)
    assert (vacant.occupied, vacant.confidence < SURE) == (False, True)
    inside = believe(entered(0, motion_after_ms=20_000), now_ms=HOUR_MS)
    assert fused(inside, rented=False) == inside


def test_motion_that_only_lingers_after_the_door_closed_is_no_proof() -> None:
    leaving = Evidence().door(closed=True, now_ms=0).moved(motion=True, now_ms=HOUR_MS)
    left = leaving.door(closed=False, now_ms=HOUR_MS + 1_000).door(closed=True, now_ms=HOUR_MS + 4_000)
    assert believe(left, now_ms=HOUR_MS + 60_000).occupied is None
    quiet = left.moved(motion=False, now_ms=HOUR_MS + 90_000)
    assert quiet.inside is False
    held = left.moved(motion=True, now_ms=HOUR_MS + 4_000 + MOTION_HOLD_MS + 1)
    assert believe(held, now_ms=HOUR_MS + 10 * MINUTE_MS).occupied is True


def test_a_room_without_a_motion_sensor_is_never_believed_empty() -> None:
    evidence = Evidence().door(closed=False, now_ms=0).door(closed=True, now_ms=5_000)
    assert believe(evidence, now_ms=10 * HOUR_MS).occupied is None


@pytest.mark.guarantee("G11")
@given(quiet_ms=st.integers(0, 20 * HOUR_MS))
def test_a_door_found_closed_after_a_start_proves_no_absence(quiet_ms: int) -> None:
    evidence = Evidence().door(closed=True, now_ms=0).moved(motion=False, now_ms=0)
    assert believe(evidence, now_ms=quiet_ms).occupied is None


WHAT = ["open", "close", "motion", "still", "unlock", "staff", "night", "panel"]
happenings = st.lists(st.tuples(st.sampled_from(WHAT), st.integers(0, 2 * HOUR_MS)), max_size=30)


def other(evidence: Evidence, what: str, now_ms: int) -> Evidence:
    match what:
        case "unlock" | "staff":
            return evidence.unlocked(now_ms=now_ms, staff=what == "staff")
        case "night":
            return evidence.asleep(now_ms=now_ms)
        case "panel":
            return evidence.touched()
        case _:
            return evidence.moved(motion=what == "motion", now_ms=now_ms)


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
            evidence = other(evidence, what, now_ms)
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
            evidence = other(evidence, what, now_ms)


@pytest.mark.guarantee("G17")
def test_after_a_restart_the_first_word_of_a_motion_sensor_counts_behind_a_door_that_moved_and_else_not() -> None:
    resumed = replace(Evidence(), motion=True, unheard=True, unsure=True, resumed_ms=0, opened_at_ms=-3)
    stood_open = replace(resumed, closed=False)
    came_in = stood_open.door(closed=True, now_ms=2_000).moved(motion=True, now_ms=5_000)
    assert believe(came_in, now_ms=6_000).occupied is True
    shut = replace(resumed, closed=True, shut_before=True)
    repeated = shut.door(closed=True, now_ms=2_000).moved(motion=True, now_ms=5_000)
    assert believe(repeated, now_ms=6_000).occupied is None
    spoken = repeated.moved(motion=False, now_ms=7_000).moved(motion=True, now_ms=9_000)
    assert believe(spoken, now_ms=10_000).occupied is True


@pytest.mark.requirement("DEV-06")
@pytest.mark.guarantee("G13")
def test_who_came_in_behind_staff_is_not_soon_believed_out_because_the_contact_was_swapped() -> None:
    """The edge restarted at some time, as any edge did: then what a door says next is a passage that is told of."""
    came_ms = 4 * HOUR_MS
    room = replace(still(left_at(HOUR_MS), HOUR_MS + MINUTE_MS, came_ms), resumed_ms=0)
    assert empty(room, came_ms)
    room = room.unlocked(now_ms=came_ms, staff=True).door(closed=False, now_ms=came_ms + 2_000)
    room = room.door(closed=True, now_ms=came_ms + 10 * MINUTE_MS)  # the guest walked in through the propped door
    room = room.moved(motion=True, now_ms=came_ms + 11 * MINUTE_MS).moved(motion=False, now_ms=came_ms + 16 * MINUTE_MS)
    mounted_ms = came_ms + 31 * MINUTE_MS
    room = room.another_contact().unlocked(now_ms=mounted_ms, staff=True)
    room = room.door(closed=False, now_ms=mounted_ms + 5_000).moved(motion=True, now_ms=mounted_ms + 6_000)
    room = room.moved(motion=False, now_ms=mounted_ms + 8_000).door(closed=True, now_ms=mounted_ms + 10_000)
    assert not empty(still(room, mounted_ms, mounted_ms + HOUR_MS), mounted_ms + 25 * MINUTE_MS)
