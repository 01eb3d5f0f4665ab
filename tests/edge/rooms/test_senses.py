"""What a room senses: only what is listed as felt changes anything, and whatever is listed does."""

from collections.abc import Mapping
from typing import Final

import pytest

from edge.rooms.occupancy import believe
from edge.rooms.senses import CONTACT, DO_NOT_DISTURB, FELT, MOTION, SETPOINT, TEMPERATURES, Key, Sense
from protocols.device_model.capability import ATTRIBUTES, Capability, Kind, Value
from protocols.device_model.identity import DeviceId
from protocols.device_model.reading import Quality, Reading

VALUES: Final[Mapping[Kind, Value]] = {Kind.BOOL: True, Kind.INTEGER: 21, Kind.NUMBER: 21.5, Kind.CHOICE: "auto"}


def changed(capability: Capability, name: str, kind: Kind, *, quality: Quality = Quality.GOOD) -> bool:
    sense = Sense()
    sense.celsius, sense.celsius_of, sense.celsius_ms = 19.0, DeviceId("d"), 1
    before = repr(sense)
    reading = Reading(DeviceId("d"), capability, name, VALUES[kind], None, quality)
    awake = any(sense.heard(reading, window=window, now_ms=90_000) for window in (False, True))
    return awake or repr(sense) != before


@pytest.mark.parametrize("endpoint", ["", ":window", ":leak", ":other"])
def test_what_is_not_listed_changes_nothing_and_what_is_listed_does(endpoint: str) -> None:
    for (capability, name), row in ATTRIBUTES.items():
        key = (capability, name + endpoint)
        felt = any(changed(*key, row.kind, quality=quality) for quality in Quality)
        assert felt == (key in FELT), key


MINUTE_MS: Final = 60_000
TRV, WALL, DOOR, EYE, PANEL = (DeviceId(each) for each in ("trv", "wall", "door", "eye", "panel"))


class Room:
    """A sense with a clock of minutes."""

    def __init__(self) -> None:
        self.sense, self.now_ms = Sense(), MINUTE_MS

    def said(self, device: DeviceId, key: Key, value: Value, *, after_min: float = 0, window: bool = False) -> None:
        self.now_ms += round(after_min * MINUTE_MS)
        reading = Reading(device, *key, value, None, Quality.GOOD)
        self.sense.heard(reading, window=window, now_ms=self.now_ms)


def test_two_thermometers_degrees_apart_are_no_warming_up() -> None:
    room = Room()
    room.said(TRV, SETPOINT, 22.0)
    for _ in range(20):
        room.said(WALL, TEMPERATURES[1], 20.0)
        room.said(TRV, TEMPERATURES[0], 24.0, after_min=12)  # it sits on the radiator
        room.said(WALL, TEMPERATURES[1], 20.0, after_min=12)
    assert room.sense.recovery.samples == 0


def test_of_two_thermometers_either_shows_how_fast_the_room_warms_up() -> None:
    room = Room()
    room.said(TRV, SETPOINT, 22.0)
    for tenths in range(0, 30):
        room.said(WALL, TEMPERATURES[1], 19.0 + tenths / 10)
        room.said(TRV, TEMPERATURES[0], 23.0 + tenths / 10, after_min=3)
    assert room.sense.recovery.samples >= 1
    assert room.sense.recovery.rate_k_h == pytest.approx(2.0, rel=0.2)


def test_a_warm_up_begun_by_one_thing_is_not_ended_by_the_one_that_took_its_place() -> None:
    room = Room()
    room.said(TRV, SETPOINT, 22.0)
    room.said(TRV, TEMPERATURES[0], 19.0)
    room.sense.renewed(TRV, FELT)
    assert (room.sense.warmth(now_ms=room.now_ms), room.sense.setpoint_c) == (None, None)
    room.said(TRV, SETPOINT, 22.0)
    room.said(TRV, TEMPERATURES[0], 21.0, after_min=15)
    assert room.sense.recovery.samples == 0


def empty(room: Room) -> bool:
    return believe(room.sense.evidence, now_ms=room.now_ms).occupied is False


def left(room: Room) -> None:
    """Somebody was there, went, and nothing has moved for half an hour."""
    room.said(DOOR, CONTACT, True)
    room.said(EYE, MOTION, True, after_min=1)
    room.said(DOOR, CONTACT, False, after_min=1)
    room.said(DOOR, CONTACT, True, after_min=1)
    room.said(EYE, MOTION, False, after_min=1)
    room.said(EYE, MOTION, False, after_min=200)


@pytest.mark.guarantee("G9")
@pytest.mark.parametrize("device", [DOOR, EYE])
def test_the_silence_of_a_sensor_that_was_swapped_out_speaks_for_no_empty_room(device: DeviceId) -> None:
    room = Room()
    left(room)
    assert empty(room)
    room.sense.renewed(device, FELT)
    assert not empty(room)
    room.said(EYE, MOTION, False, after_min=30)
    assert not empty(room), "the contact has not spoken, or the eye has not seen anybody"
    room.said(DOOR, CONTACT, True)
    left(room)
    assert empty(room)


def test_a_sleeper_behind_a_contact_that_is_swapped_is_inside_still() -> None:
    room = Room()
    room.said(DOOR, CONTACT, False)
    room.said(DOOR, CONTACT, True, after_min=1)
    room.said(EYE, MOTION, True, after_min=5)
    room.said(EYE, MOTION, False, after_min=1)
    for device in (DOOR, EYE):
        room.sense.renewed(device, FELT)
    room.said(DOOR, CONTACT, True, after_min=300)
    room.said(EYE, MOTION, False, after_min=1)
    assert believe(room.sense.evidence, now_ms=room.now_ms).occupied is True
    room.sense.forget(DOOR)
    assert believe(room.sense.evidence, now_ms=room.now_ms).occupied is None, "nobody would see him go"


def test_an_open_window_whose_contact_is_swapped_is_neither_open_nor_shut_until_the_new_one_speaks() -> None:
    room = Room()
    room.said(WALL, CONTACT, False, window=True)
    assert room.sense.window_open(now_ms=room.now_ms, after_ms=0) is True
    room.sense.renewed(WALL, FELT)
    assert room.sense.window_open(now_ms=room.now_ms, after_ms=0) is None
    room.said(WALL, CONTACT, True, window=True)
    assert room.sense.window_open(now_ms=room.now_ms, after_ms=0) is False
    room.said(WALL, CONTACT, False, window=True)
    room.sense.renewed(WALL, {SETPOINT})  # which has no contact
    assert room.sense.window_open(now_ms=room.now_ms, after_ms=0) is False


def test_a_wish_stands_until_the_panel_that_told_it_is_gone_and_no_other_ones() -> None:
    room = Room()
    room.said(PANEL, DO_NOT_DISTURB, True)
    room.sense.renewed(PANEL, FELT)
    room.sense.forget(WALL)
    assert room.sense.do_not_disturb
    room.sense.renewed(PANEL, {SETPOINT})
    assert not room.sense.do_not_disturb
