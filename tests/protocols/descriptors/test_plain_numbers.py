"""An ordinary number means what `judge` says that it means, on every point of every model; the rest is left to it."""

from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridges.catalogue import load_all
from protocols.descriptors.codec import judge
from protocols.descriptors.descriptor import Point
from protocols.descriptors.plain_numbers import plain_number
from protocols.device_model.capability import Capability
from protocols.device_model.reading import Quality

POINTS: Final = sorted(
    {point for each in load_all().values() for point in each.points if point.path is not None}, key=repr
)
raws = st.one_of(
    st.floats(), st.integers(-(2**70), 2**70), st.integers(-300, 300), st.floats(-300, 300), st.booleans(), st.none(),
    st.text(max_size=5), st.sampled_from([10**400, "21", [1], {}, -0.0, 65_535]),
)  # fmt: skip


@given(st.sampled_from(POINTS), raws)
def test_it_is_what_judge_says(point: Point, raw: object) -> None:
    number = plain_number(point)
    value = None if number is None else number.value(raw)
    if value is not None:
        judged = judge(point, raw)
        assert (judged.quality, judged.reason) == (Quality.GOOD, None)
        assert repr(judged.value) == repr(value)


@pytest.mark.parametrize("raw", [21, 21.37])
def test_an_ordinary_number_is_read(raw: float) -> None:
    number = plain_number(Point(Capability.TEMPERATURE_MEASUREMENT, "measured_value", "number", path="t"))
    assert number is not None
    assert number.value(raw) == raw


def test_numbers_need_a_closer_look_where_some_of_them_are_none() -> None:
    point = Point(Capability.TEMPERATURE_MEASUREMENT, "measured_value", "number", path="t", nan=(21,))
    assert plain_number(point) is None
