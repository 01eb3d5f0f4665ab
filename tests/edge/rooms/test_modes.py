"""The modes of a room: every legal move, and what no sequence of events may ever do."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.policy.document import default
from edge.rooms.modes import (
    HELD,
    ArrivalDue,
    ArrivalGone,
    BelievedEmpty,
    GuestCheckedIn,
    GuestEntered,
    Intent,
    Mode,
    PresenceFelt,
    RoomEvent,
    RoomState,
    StaffEntered,
    StayEnded,
    step,
)
from protocols.device_model.identity import StayId

POLICY = default()
ANNA, BEN = StayId("anna"), StayId("ben")
T0 = 1_767_225_600_000


def wishes(intents: tuple[Intent, ...]) -> dict[str, bool | float]:
    return {f"{each.capability}.{each.attribute}": each.value for each in intents}


LIGHT, WARMTH = "on_off.on_off", "thermostat.occupied_heating_setpoint"
COMFORT, AWAY, SET_BACK, EXPECTED = 21.5, 19.0, 17.0, 20.0

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
    (Mode.CHECKED_IN, StayEnded(None), Mode.VACANT_SET_BACK, None, {LIGHT: False, WARMTH: SET_BACK}),
    (Mode.OCCUPIED_COMFORT, StayEnded(None), Mode.VACANT_SET_BACK, None, {LIGHT: False, WARMTH: SET_BACK}),
    (Mode.AWAY_SET_BACK, StayEnded(None), Mode.VACANT_SET_BACK, None, {LIGHT: False, WARMTH: SET_BACK}),
    (Mode.OCCUPIED_COMFORT, StayEnded(BEN), Mode.OCCUPIED_COMFORT, BEN, {}),
]


@pytest.mark.requirement("DEV-03")
@pytest.mark.requirement("DEV-09")
@pytest.mark.parametrize(("before", "event", "after", "stay", "wished"), MOVES)
def test_every_legal_move(
    before: Mode, event: RoomEvent, after: Mode, stay: StayId | None, wished: dict[str, bool | float]
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
