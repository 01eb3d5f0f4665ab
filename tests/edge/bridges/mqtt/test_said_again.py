"""What a message says once more is told exactly as if every word of it were taken: the same records, sooner."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.bridges.complaints import Complaints
from edge.bridges.reporter import Reporter
from firmware_bridges.catalogue import load_all
from kit.clock import ManualClock
from protocols.descriptors.codec import judge, reading
from protocols.device_model.capability import Capability
from protocols.device_model.identity import BusId, DescriptorId, DeviceId
from tests.edge.bridges.field import Heard

MODEL = load_all()[DescriptorId("zigbee2mqtt/aqara_wsdcgq11lm")]
DEVICE = DeviceId("sensor-1")
POINT = MODEL.point(Capability.TEMPERATURE_MEASUREMENT, "measured_value")
STALE_MS = 7_200_000

raws = st.sampled_from([21.0, 21.05, 21.1, 21.3, 25.0, 999.0, "?", 21])
steps = st.lists(
    st.tuples(raws, st.sampled_from([1, 20, 100, 60_000, 3_600_000, 7_200_000]), st.sampled_from(["say", "gone", "-"])),
    max_size=120,
)


def reporter() -> tuple[Reporter, Heard, Counter[str]]:
    heard, counts = Heard(), Counter[str]()
    made = Reporter(heard, counts, Complaints(BusId("zigbee"), counts, ManualClock()))
    assert POINT is not None
    made.expect(DEVICE, POINT, stale_ms=STALE_MS, now_ms=0)
    return made, heard, counts


@pytest.mark.guarantee("G17")
@given(steps)
def test_what_is_said_again_is_told_as_if_it_were_taken(said: list[tuple[float | str, int, str]]) -> None:
    assert POINT is not None
    (whole, all_told, counted), (brief, told, counts) = reporter(), reporter()
    now_ms = 0
    before: object = None
    for raw, pause_ms, what in said:
        now_ms += pause_ms
        for each in (whole, brief):
            each.sweep(now_ms=now_ms)
        if what == "gone":
            for each in (whole, brief):
                each.silent(DEVICE, now_ms=now_ms)
            continue
        now = reading(POINT, DEVICE, judge(POINT, raw), now_ms)
        whole.take(now, now_ms=now_ms)
        if not (type(raw) is type(before) and raw == before and brief.again(DEVICE, POINT, now_ms, now_ms=now_ms)):
            brief.take(now, now_ms=now_ms)
        before = raw
        assert brief.sweep_in_ms(now_ms=now_ms) == whole.sweep_in_ms(now_ms=now_ms)
    for each in (whole, brief):
        each.sweep(now_ms=now_ms + STALE_MS)
    assert told.readings == all_told.readings
    assert counts == counted
