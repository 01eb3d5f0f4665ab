"""When a reading was so, and which bodies are readings at all."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.telemetry.ports import BatchContext
from cloud.telemetry.store.port import TimeSource
from cloud.telemetry.store.rows import reading_row
from cloud.telemetry.store.times import AHEAD_MOST_MS, DEVICE_AHEAD_MOST_MS, DEVICE_BEHIND_MOST_MS, PAST_MOST_MS, when
from protocols.device_model.identity import EdgeId
from protocols.errors import PeerProtocolError
from protocols.link.lanes import Lane
from protocols.link.record import ClockQuality, Record

NOW_MS = 1_795_000_000_000
CONTEXT = BatchContext("northlight", "aurora", EdgeId("e-aurora0000000001"), b"i" * 16, Lane.C, NOW_MS)
BODY: dict[str, Any] = {
    "device": "meter-1", "capability": "electrical_measurement", "attribute": "active_power", "value": 5.5,
    "unit": "W", "quality": "good", "room": "101",
}  # fmt: skip


@pytest.mark.guarantee("G10")
@pytest.mark.parametrize(
    ("device", "edge", "clock", "expected"),
    [
        (None, -1000, "synchronised", (-1000, TimeSource.SYNCHRONISED)),
        (None, -1000, "drifting", (-1000, TimeSource.DRIFTING)),
        (None, -1000, "uncertain", (-1000, TimeSource.UNCERTAIN)),
        (None, -PAST_MOST_MS, "synchronised", (-PAST_MOST_MS, TimeSource.SYNCHRONISED)),
        (None, -PAST_MOST_MS - 1, "synchronised", (0, TimeSource.ARRIVAL)),  # a clock without a battery
        (None, AHEAD_MOST_MS, "synchronised", (AHEAD_MOST_MS, TimeSource.SYNCHRONISED)),
        (None, AHEAD_MOST_MS + 1, "synchronised", (0, TimeSource.ARRIVAL)),
        (-60_000, -1000, "synchronised", (-60_000, TimeSource.SYNCHRONISED)),  # the device kept it for a minute
        (-60_000, -1000, "uncertain", (-1000, TimeSource.UNCERTAIN)),  # nothing to hold the device's clock against
        (-1000 + DEVICE_AHEAD_MOST_MS, -1000, "drifting", (-1000 + DEVICE_AHEAD_MOST_MS, TimeSource.DRIFTING)),
        (-999 + DEVICE_AHEAD_MOST_MS, -1000, "drifting", (-1000, TimeSource.DRIFTING)),
        (-1001 - DEVICE_BEHIND_MOST_MS, -1000, "synchronised", (-1000, TimeSource.SYNCHRONISED)),
    ],
)
def test_whose_clock_is_believed(device: int | None, edge: int, clock: str, expected: tuple[int, TimeSource]) -> None:
    at_ms, source = when(
        device_at_ms=None if device is None else NOW_MS + device, edge_at_ms=NOW_MS + edge, clock=clock,
        received_ms=NOW_MS,
    )  # fmt: skip
    assert (at_ms - NOW_MS, source) == expected


@given(st.one_of(st.none(), st.integers(0, 2**53)), st.integers(0, 2**53), st.sampled_from(ClockQuality))
def test_no_time_is_absurd(device: int | None, edge: int, clock: ClockQuality) -> None:
    at_ms, _ = when(device_at_ms=device, edge_at_ms=edge, clock=clock.value, received_ms=NOW_MS)
    assert NOW_MS - PAST_MOST_MS - DEVICE_BEHIND_MOST_MS <= at_ms <= NOW_MS + AHEAD_MOST_MS


def record(body: dict[str, Any], device_at_ms: int | None = None) -> Record:
    return Record(Lane.C, 7, "reading", body, device_at_ms, NOW_MS - 10, 5, ClockQuality.DRIFTING)


def test_a_reading_becomes_a_row() -> None:
    row = reading_row(CONTEXT, 3, record(BODY, NOW_MS - 500))
    assert row == (
        "northlight", "aurora", "101", "meter-1", "electrical_measurement", "active_power", "W", NOW_MS - 500,
        NOW_MS - 10, 5.5, "good", TimeSource.DRIFTING, 3, 7, None,
    )  # fmt: skip


@pytest.mark.guarantee("G19")
@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"device": None}, "device"), ({"device": ""}, "device"), ({"device": "x" * 81}, "device"),
        ({"capability": 5}, "capability"), ({"attribute": ["a"]}, "attribute"), ({"room": 101}, "room"),
        ({"unit": "x" * 81}, "unit"), ({"quality": "great"}, "quality"), ({"quality": None}, "quality"),
        ({"value": float("nan")}, "summed"), ({"value": float("inf")}, "summed"), ({"value": -1e201}, "summed"),
        ({"value": 10**201}, "range"), ({"value": [1]}, "scalar"), ({"value": {"a": 1}}, "scalar"),
        ({"value": "x" * 257}, "characters"), ({"value": "a\x00b"}, "NUL"), ({"value": None}, "no value"),
        ({"value": b"bytes"}, "scalar"),
    ],
)  # fmt: skip
def test_what_is_no_reading_is_refused_by_name(change: dict[str, Any], named: str) -> None:
    with pytest.raises(PeerProtocolError, match=named):
        reading_row(CONTEXT, 3, record({**BODY, **change}))


@given(st.dictionaries(st.sampled_from([*BODY, "device_at_ms", "x"]), st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=300)), st.lists, max_leaves=3
)))  # fmt: skip
def test_noise_raises_nothing_but_a_peer_error(change: dict[str, Any]) -> None:
    try:
        row = reading_row(CONTEXT, 3, record({**BODY, **change}))
    except PeerProtocolError:
        return
    assert row.value is None or type(row.value) in (bool, int, float, str)
