"""A reading's record put together from parts against `encode_record`: the same bytes, or the same refusal."""

from collections.abc import Callable
from functools import partial
from typing import TypeVar

from hypothesis import given
from hypothesis import strategies as st

from edge.app.reading_records import ReadingEntry, ReadingRecords
from edge.log.record_log import Appendable, Entry
from protocols.device_model.capability import Capability, Unit
from protocols.device_model.identity import DeviceId, RoomId
from protocols.device_model.reading import Quality, Reading
from protocols.errors import LocalProtocolError
from protocols.link.record import TIME_MS_MAX, ClockQuality, encode_record

T = TypeVar("T")

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


def bytes_or_refusal(make: Callable[[], T]) -> T | str:
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


@given(
    st.lists(st.lists(st.tuples(readings, st.sampled_from(["101", "102"]).map(RoomId)), max_size=8), max_size=4),
    moments,
)
def test_together_they_are_what_each_is_alone(
    batches: list[list[tuple[Reading, RoomId]]], moment: tuple[int, int, ClockQuality]
) -> None:
    records, alone = ReadingRecords(), ReadingRecords()
    edge_at_ms, mono_ms, clock = moment
    for said in [*batches, *batches]:  # what is said again has its parts
        entries = [ReadingEntry(room, reading, records) for reading, room in said]
        one_by_one = [
            bytes_or_refusal(partial(alone.encode, room, reading, edge_at_ms=edge_at_ms, mono_ms=mono_ms, clock=clock))
            for reading, room in said
        ]
        refused = [each for each in one_by_one if isinstance(each, str)]
        together = partial(records.encode_all, entries, edge_at_ms=edge_at_ms, mono_ms=mono_ms, clock=clock)
        assert bytes_or_refusal(together) == (refused[0] if refused else one_by_one)


def test_what_is_no_reading_goes_between_them() -> None:
    records, clock = ReadingRecords(), ClockQuality.DRIFTING
    warm = Reading(
        DeviceId("t-1"), Capability.TEMPERATURE_MEASUREMENT, "measured_value", 21.5, Unit.CELSIUS, Quality.GOOD, 2**33
    )
    event = Entry("device", {"device": "t-1", "event": "offline"})
    entries: list[Appendable] = [
        ReadingEntry(RoomId("101"), warm, records),
        event,
        ReadingEntry(RoomId("101"), warm, records),
    ]
    together = records.encode_all(entries, edge_at_ms=1, mono_ms=2, clock=clock)
    assert together == [each.encoded(edge_at_ms=1, mono_ms=2, clock=clock) for each in entries]
