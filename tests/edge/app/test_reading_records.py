"""A reading's record put together from parts against `encode_record`: the same bytes, or the same refusal."""

from collections.abc import Callable
from functools import partial

from hypothesis import given
from hypothesis import strategies as st

from edge.app.reading_records import ReadingEntry, ReadingRecords
from protocols.device_model.capability import Capability, Unit
from protocols.device_model.identity import DeviceId, RoomId
from protocols.device_model.reading import Quality, Reading
from protocols.errors import LocalProtocolError
from protocols.link.record import TIME_MS_MAX, ClockQuality, encode_record

values = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**63), 2**64), st.floats(), st.sampled_from([0.0, -0.0, 1.0, 21.5]),
    st.text(max_size=8), st.just("a\x00b"), st.just("\ud800"),
)  # fmt: skip
times = st.one_of(st.none(), st.integers(-2, TIME_MS_MAX + 2), st.sampled_from([0, 23, 24, 2**16, 2**32 - 1, 2**32]))
readings = st.builds(
    Reading,
    device=st.sampled_from(["t-1", "t-2", "k\x00", "\ud800", "x" * 9_000]).map(DeviceId),
    capability=st.sampled_from([Capability.TEMPERATURE_MEASUREMENT, Capability.POWER_SOURCE]),
    attribute=st.sampled_from(["measured_value", "measured_value:t1"]),
    value=values,
    unit=st.sampled_from([None, Unit.CELSIUS, Unit.PERCENT]),
    quality=st.sampled_from([Quality.GOOD, Quality.GOOD, Quality.GOOD, *Quality]),
    device_at_ms=times,
    reason=st.sampled_from([None, None, None, "no_answer"]),
)
clocks = st.sampled_from(list(ClockQuality))
moments = st.tuples(st.integers(-1, TIME_MS_MAX + 1), st.integers(-1, 2**40), clocks)


def bytes_or_refusal(make: Callable[[], bytes]) -> bytes | str:
    try:
        return make()
    except LocalProtocolError as error:
        return str(error)


@given(st.lists(st.tuples(readings, st.sampled_from(["101", "102"]).map(RoomId), moments), max_size=12))
def test_it_is_what_encode_record_makes_whatever_came_before(
    said: list[tuple[Reading, RoomId, tuple[int, int, ClockQuality]]],
) -> None:
    records = ReadingRecords()
    for reading, room, (edge_at_ms, mono_ms, clock) in said:
        entry = ReadingEntry(room, reading, records)
        ours = partial(entry.encoded, edge_at_ms=edge_at_ms, mono_ms=mono_ms, clock=clock)
        theirs = partial(
            encode_record, entry.kind, entry.body, device_at_ms=reading.device_at_ms, edge_at_ms=edge_at_ms,
            mono_ms=mono_ms, clock=clock,
        )  # fmt: skip
        assert bytes_or_refusal(ours) == bytes_or_refusal(theirs)
        assert bytes_or_refusal(ours) == bytes_or_refusal(theirs), "and a second time"
