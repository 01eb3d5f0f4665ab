"""What every room reports: whose word it is, and how old."""

import pytest

from edge.rooms.capability_view import CapabilityView
from protocols.device_model.capability import Capability, attribute
from protocols.device_model.identity import DeviceId, RoomId
from protocols.device_model.reading import Quality, Reading
from tests.edge.world import HEATING

NAME, ROOM = DeviceId("thermostat-101"), RoomId("101")


def said(name: str, value: float | None, quality: Quality = Quality.GOOD) -> Reading:
    unit = attribute(Capability.THERMOSTAT, name).unit
    return Reading(NAME, Capability.THERMOSTAT, name, value, unit, quality)


def told(view: CapabilityView) -> dict[str, tuple[object, str]]:
    return {each.attribute: (each.value, each.quality.value) for each in view.shown([ROOM], now_ms=2_000)}


@pytest.mark.requirement("DEV-06")
@pytest.mark.guarantee("G2", "G17")
def test_a_name_that_stands_for_another_thing_is_believed_in_what_that_thing_itself_has_said() -> None:
    view = CapabilityView({NAME: ROOM})
    for name, value in ((HEATING, 23.5), ("local_temperature", 22.0)):
        view.take(said(name, value), now_ms=1_000, wall_ms=1_000)
    view.take(said("occupied_cooling_setpoint", None, Quality.BAD), now_ms=1_000, wall_ms=1_000)
    view.renewed(NAME)
    bad = {"occupied_cooling_setpoint": (None, "bad")}
    assert told(view) == bad | {HEATING: (23.5, "stale"), "local_temperature": (22.0, "stale")}
    view.silent(NAME, silent=False)  # the new one is on line, and has said nothing
    assert told(view) == bad | {HEATING: (23.5, "stale"), "local_temperature": (22.0, "stale")}
    assert view.take(said("local_temperature", 22.0), now_ms=1_500, wall_ms=1_500)  # news, though the same figure
    assert told(view) == bad | {HEATING: (23.5, "stale"), "local_temperature": (22.0, "good")}
    assert view.take(said(HEATING, 19.0), now_ms=1_600, wall_ms=1_600)
    assert told(view)[HEATING] == (19.0, "good")


@pytest.mark.guarantee("G17")
def test_what_was_heard_before_a_silence_is_not_good_again_because_the_device_is_back() -> None:
    view = CapabilityView({NAME: ROOM})
    for name, value in ((HEATING, 23.5), ("local_temperature", 22.0)):
        view.take(said(name, value), now_ms=1_000, wall_ms=1_000)
    view.silent(NAME, silent=True)
    view.silent(NAME, silent=False)
    assert told(view) == {HEATING: (23.5, "stale"), "local_temperature": (22.0, "stale")}
    view.take(said("local_temperature", 22.0), now_ms=1_500, wall_ms=1_500)
    assert told(view) == {HEATING: (23.5, "stale"), "local_temperature": (22.0, "good")}
