"""The modes of a room: every legal move, and what no sequence of events may ever do."""

from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.policy.document import Scenes, default
from edge.policy.rules import Act
from edge.rooms.modes import (
    HELD,
    ArrivalDue,
    ArrivalGone,
    BelievedEmpty,
    DialTurned,
    GuestCheckedIn,
    GuestEntered,
    Intent,
    Mode,
    PresenceFelt,
    Restored,
    RoomEvent,
    RoomState,
    SleepAsked,
    StaffEntered,
    StayEnded,
    WindowOpened,
    WindowShut,
    step,
)
from protocols.device_model.capability import Capability, Value
from protocols.device_model.identity import StayId

POLICY = default()
ANNA, BEN = StayId("anna"), StayId("ben")
T0 = 1_767_225_600_000


def wishes(intents: tuple[Intent, ...]) -> dict[str, Value]:
    return {f"{each.capability}.{each.attribute}": each.value for each in intents}


LIGHT, WARMTH = "on_off.on_off", "thermostat.occupied_heating_setpoint"
COMFORT, AWAY, SET_BACK, EXPECTED = 21.5, 19.0, 17.0, 21.5
ASKED = {"room_request.do_not_disturb": False, "room_request.make_up_room": False}

MOVES = [  # (from, event, to, stay afterwards, wishes): docs/decisions/0022-room-modes.md holds the same table
    (Mode.VACANT_SET_BACK, ArrivalDue(ANNA), Mode.EXPECTED, ANNA, {WARMTH: EXPECTED}),
    (Mode.EXPECTED, ArrivalGone(), Mode.VACANT_SET_BACK, None, {WARMTH: SET_BACK}),
    (Mode.VACANT_SET_BACK, GuestCheckedIn(ANNA), Mode.CHECKED_IN, ANNA, {WARMTH: COMFORT}),
    (Mode.EXPECTED, GuestCheckedIn(ANNA), Mode.CHECKED_IN, ANNA, {WARMTH: COMFORT}),
    (Mode.CHECKED_IN, GuestEntered(ANNA, False), Mode.OCCUPIED_COMFORT, ANNA, {LIGHT: True, WARMTH: COMFORT}),
    (Mode.EXPECTED, GuestEntered(ANNA, False), Mode.OCCUPIED_COMFORT, ANNA, {LIGHT: True, WARMTH: COMFORT}),
    (Mode.VACANT_SET_BACK, GuestEntered(ANNA, False), Mode.OCCUPIED_COMFORT, ANNA, {LIGHT: True, WARMTH: COMFORT}),
    (Mode.AWAY_SET_BACK, GuestEntered(ANNA, False), Mode.OCCUPIED_COMFORT, ANNA, {LIGHT: True, WARMTH: COMFORT}),
    (Mode.OCCUPIED_COMFORT, GuestEntered(ANNA, False), Mode.OCCUPIED_COMFORT, ANNA, {LIGHT: True, WARMTH: COMFORT}),
    (Mode.OCCUPIED_COMFORT, GuestEntered(ANNA, True), Mode.OCCUPIED_COMFORT, ANNA, {}),
    (Mode.AWAY_SET_BACK, PresenceFelt(), Mode.OCCUPIED_COMFORT, ANNA, {WARMTH: COMFORT}),
    (Mode.OCCUPIED_COMFORT, BelievedEmpty(), Mode.AWAY_SET_BACK, ANNA, {LIGHT: False, WARMTH: AWAY}),
    (Mode.CHECKED_IN, StayEnded(None), Mode.VACANT_SET_BACK, None, {LIGHT: False, WARMTH: SET_BACK, **ASKED}),
    (Mode.OCCUPIED_COMFORT, StayEnded(None), Mode.VACANT_SET_BACK, None, {LIGHT: False, WARMTH: SET_BACK, **ASKED}),
    (Mode.AWAY_SET_BACK, StayEnded(None), Mode.VACANT_SET_BACK, None, {LIGHT: False, WARMTH: SET_BACK, **ASKED}),
    (Mode.OCCUPIED_COMFORT, StayEnded(BEN), Mode.OCCUPIED_COMFORT, BEN, {}),
]


@pytest.mark.requirement("DEV-03")
@pytest.mark.requirement("DEV-09")
@pytest.mark.parametrize(("before", "event", "after", "stay", "wished"), MOVES)
def test_every_legal_move(
    before: Mode, event: RoomEvent, after: Mode, stay: StayId | None, wished: dict[str, Value]
) -> None:
    held = None if before is Mode.VACANT_SET_BACK else ANNA
    state, intents = step(RoomState(before, held, T0, "test"), event, now_ms=T0, policy=POLICY)
    assert (state.mode, state.stay) == (after, stay)
    assert wishes(intents) == wished


EVENTS: list[RoomEvent] = [
    ArrivalDue(ANNA),
    ArrivalGone(),
    GuestCheckedIn(ANNA),
    GuestEntered(ANNA, False),
    GuestEntered(ANNA, True),
    StaffEntered(),
    PresenceFelt(),
    BelievedEmpty(),
    StayEnded(None),
    StayEnded(BEN),
]


@pytest.mark.parametrize("event", EVENTS, ids=repr)
@pytest.mark.parametrize("before", list(Mode))
def test_what_is_not_in_the_table_changes_nothing(before: Mode, event: RoomEvent) -> None:
    legal = any(each[0] is before and type(each[1]) is type(event) for each in MOVES)
    held = None if before is Mode.VACANT_SET_BACK else ANNA
    state = RoomState(before, held, T0, "test")
    after, intents = step(state, event, now_ms=T0 + 1, policy=POLICY)
    if not legal:
        assert (after, intents) == (state, ())


@pytest.mark.requirement("ACC-14")
@pytest.mark.parametrize("before", list(Mode))
def test_staff_never_wake_a_room(before: Mode) -> None:
    state = RoomState(before, ANNA, T0, "test")
    assert step(state, StaffEntered(), now_ms=T0, policy=POLICY) == (state, ())


@given(events=st.lists(st.sampled_from(EVENTS), max_size=40))
def test_no_sequence_lights_or_cools_a_room_out_of_turn(events: list[RoomEvent]) -> None:
    state = RoomState()
    for event in events:
        before = state
        state, intents = step(state, event, now_ms=T0, policy=POLICY)
        wished = wishes(intents)
        if wished.get(LIGHT) is True:
            assert isinstance(event, GuestEntered)
        if wished.get(WARMTH) == SET_BACK:
            assert isinstance(event, StayEnded | ArrivalGone)
            assert state.mode is Mode.VACANT_SET_BACK
        if before.mode in HELD and state.mode not in HELD:
            assert isinstance(event, StayEnded)  # only the end of the stay takes the room from its guest
        assert (state.stay is None) == (state.mode is Mode.VACANT_SET_BACK)


def test_a_policy_without_a_welcome_light_leaves_the_light_alone() -> None:
    import msgspec

    dark = msgspec.structs.replace(POLICY, light=msgspec.structs.replace(POLICY.light, welcome=False))
    _, intents = step(RoomState(), GuestEntered(ANNA, False), now_ms=T0, policy=dark)
    assert wishes(intents) == {WARMTH: COMFORT}


# --- windows, taste, scenes (docs/decisions/0027-windows-scenes-and-taste.md) -----------------------------------


def in_room(**changes: Any) -> RoomState:
    return replace(RoomState(Mode.OCCUPIED_COMFORT, ANNA, T0, "test"), **changes)


def test_heating_waits_for_an_open_window_whatever_happens_meanwhile_and_then_is_what_the_mode_says() -> None:
    airing, intents = step(in_room(), WindowOpened(), now_ms=T0, policy=POLICY)
    assert wishes(intents) == {WARMTH: SET_BACK}
    gone, intents = step(airing, BelievedEmpty(), now_ms=T0, policy=POLICY)
    assert wishes(intents) == {LIGHT: False}
    back, intents = step(gone, GuestEntered(ANNA, False), now_ms=T0, policy=POLICY)
    assert wishes(intents) == {LIGHT: True}
    shut, intents = step(back, WindowShut(), now_ms=T0, policy=POLICY)
    assert wishes(intents) == {WARMTH: COMFORT}
    assert not shut.window_open


def test_what_the_guest_chose_by_hand_is_their_comfort_until_they_leave_for_good() -> None:
    chosen, intents = step(in_room(), DialTurned(23.5), now_ms=T0, policy=POLICY)
    assert intents == ()
    away, intents = step(chosen, BelievedEmpty(), now_ms=T0, policy=POLICY)
    assert wishes(intents)[WARMTH] == AWAY
    back, intents = step(away, GuestEntered(ANNA, False), now_ms=T0, policy=POLICY)
    assert wishes(intents)[WARMTH] == 23.5
    left, _ = step(back, StayEnded(None), now_ms=T0, policy=POLICY)
    assert left.preferred_c is None
    _, intents = step(left, GuestCheckedIn(BEN), now_ms=T0, policy=POLICY)
    assert wishes(intents)[WARMTH] == COMFORT


@given(celsius=st.floats(allow_nan=False, allow_infinity=False), away_c=st.none() | st.floats(12.0, 28.0))
def test_no_taste_and_no_learning_freezes_or_cooks_a_guest(celsius: float, away_c: float | None) -> None:
    state, _ = step(in_room(), DialTurned(celsius), now_ms=T0, policy=POLICY)
    for event in (BelievedEmpty(), GuestEntered(ANNA, False), Restored()):
        _, intents = step(state, event, now_ms=T0, policy=POLICY, away_c=away_c)
        assert all(12.0 <= float(each) <= 28.0 for name, each in wishes(intents).items() if name == WARMTH)


def test_a_guest_who_likes_it_cool_is_not_warmed_when_they_go_out() -> None:
    state, _ = step(in_room(), DialTurned(18.0), now_ms=T0, policy=POLICY)
    assert wishes(step(state, BelievedEmpty(), now_ms=T0, policy=POLICY)[1])[WARMTH] == 18.0


def test_scenes_are_the_propertys_own() -> None:
    dim = Act(Capability.LEVEL_CONTROL, "current_level", 180)
    drawn = Act(Capability.WINDOW_COVERING, "current_position_lift_percentage", 100.0)
    policy = msgspec.structs.replace(POLICY, v=2, scenes=Scenes(entry=(dim,), sleep=(drawn,), leave=(drawn,)))
    _, intents = step(in_room(mode=Mode.CHECKED_IN), GuestEntered(ANNA, False), now_ms=T0, policy=policy)
    assert wishes(intents)["level_control.current_level"] == 180
    state, intents = step(in_room(), SleepAsked(), now_ms=T0, policy=policy)
    assert wishes(intents) == {LIGHT: False, "window_covering.current_position_lift_percentage": 100.0}
    assert state == in_room()  # asleep is still at home
    _, intents = step(in_room(), BelievedEmpty(), now_ms=T0, policy=policy)
    assert "window_covering.current_position_lift_percentage" in wishes(intents)
    assert step(in_room(mode=Mode.VACANT_SET_BACK, stay=None), SleepAsked(), now_ms=T0, policy=policy)[1] == ()
