"""A device that changes without end: neighbours are heard at once, the log holds a bounded part and its end."""

from collections import Counter
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.bridges.complaints import Complaints
from edge.bridges.reporter import BURST_MS, TOLD_EVERY_MS, Reporter
from firmware_bridges.catalogue import load_all
from kit.clock import ManualClock
from protocols.descriptors.codec import Judged, reading
from protocols.device_model.capability import Capability
from protocols.device_model.identity import BusId, DescriptorId, DeviceId
from protocols.device_model.reading import Quality
from tests.edge.bridges.field import CONTACT, Heard

CONTACT_POINT: Final = load_all()[DescriptorId(CONTACT)].point(Capability.BOOLEAN_STATE, "state_value")
DEVICE: Final = DeviceId("contact-101")


def reporter(heard: Heard) -> tuple[Reporter, Counter[str]]:
    counts: Counter[str] = Counter()
    made = Reporter(heard, counts, Complaints(BusId("zigbee"), counts, ManualClock()))
    assert CONTACT_POINT is not None
    made.expect(DEVICE, CONTACT_POINT, stale_ms=10**9, now_ms=0)
    return made, counts


@pytest.mark.guarantee("G17")
@given(every_ms=st.integers(1, 99), said=st.integers(1, 1_500))
def test_whatever_its_pace_a_bounded_part_is_told_and_the_last_word_in_any_case(every_ms: int, said: int) -> None:
    heard = Heard()
    it, _ = reporter(heard)
    assert CONTACT_POINT is not None
    for number in range(said):
        it.take(reading(CONTACT_POINT, DEVICE, Judged(number % 2 == 0, Quality.GOOD)), now_ms=number * every_ms)
        if number % 50 == 0:
            it.sweep(now_ms=number * every_ms)
    now_ms = (said - 1) * every_ms
    assert len(heard.readings) <= (BURST_MS + now_ms) // TOLD_EVERY_MS + 2
    while (wait_ms := it.sweep_in_ms(now_ms=now_ms)) is not None and wait_ms < 10**6:
        now_ms += max(1, wait_ms)
        it.sweep(now_ms=now_ms)
    assert heard.readings[-1].value == ((said - 1) % 2 == 0)


def test_what_changes_as_people_and_weather_do_is_told_whole() -> None:
    heard = Heard()
    it, counts = reporter(heard)
    assert CONTACT_POINT is not None
    for number in range(500):
        it.take(reading(CONTACT_POINT, DEVICE, Judged(number % 2 == 0, Quality.GOOD)), now_ms=number * 150)
    assert len(heard.readings) == 500
    assert not counts["babbled"]
