"""What one message tells is heard by fire as if it were told piece by piece."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.rooms.fire import FireMode, FireState
from kit.clock import ManualClock
from protocols.device_model.capability import Capability, Unit
from protocols.device_model.identity import DeviceId
from protocols.device_model.reading import Quality, Reading
from tests.edge.rooms.test_fire import smoke
from tests.edge.world import T0, FakeDevices, said


@pytest.mark.requirement("DEV-05")
@given(
    st.lists(
        st.sampled_from(
            [
                smoke("critical"),
                smoke("normal"),
                smoke("normal", Quality.STALE),
                smoke("critical", Quality.BAD),
                smoke("critical", device="another"),
                smoke("normal", device="another"),
                Reading(DeviceId("panel"), Capability.SMOKE_CO_ALARM, "smoke_state", 0.0, None, Quality.GOOD),
                said("light-101", Capability.ON_OFF, "on_off", False),
                said("light-101", Capability.ON_OFF, "on_off", True),
                said("t-101", Capability.THERMOSTAT, "system_mode", "heat"),
                said("t-101", Capability.THERMOSTAT, "system_mode", "off"),
                said("t-101", Capability.THERMOSTAT, "local_temperature", 21.5, Unit.CELSIUS),
            ]
        ),
        max_size=12,
    ),
    st.booleans(),
)
def test_what_is_told_together_is_heard_as_if_it_were_told_one_by_one(readings: list[Reading], obeyed: bool) -> None:
    modes: list[FireMode] = []
    for _ in range(2):
        clock = ManualClock(wall_ms=T0)
        modes.append(FireMode(devices=[], writer=FakeDevices(clock), clock=clock, changed=_nowhere))
        if obeyed:  # whoever has obeyed and says otherwise is told again
            target = (DeviceId("light-101"), Capability.ON_OFF, "on_off")
            modes[-1]._wanted, modes[-1]._done = {target: True}, {target: True}
    one_by_one, together = modes
    for each in readings:
        one_by_one.heard(each)
    together.heard_together(readings)
    assert together.told() == one_by_one.told()
    assert together._before.__dict__ == one_by_one._before.__dict__ | {"_word": together._before._word}
    assert together._unsaved.is_set() == one_by_one._unsaved.is_set()


async def _nowhere(_: FireState) -> None:
    return
