"""Alerts, batteries and energy: the pure books."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.rooms.alerts import GONE_LEAST_MS, SINCE_LEAST_MS, Alert, AlertBook, AlertKind, Subject
from edge.rooms.battery import DAY_MS, Battery, forecast
from edge.rooms.energy import RoomEnergy

LEAK, PROPPED = Subject(AlertKind.LEAK, "101", "leak-101"), Subject(AlertKind.DOOR_PROPPED, "101")
MINUTE_MS = 60_000


def test_it_is_raised_once_and_cleared_once_and_flapping_is_one_alert() -> None:
    book = AlertBook()
    now_ms = 0
    for wet in [True, False] * 20:
        book.look({LEAK: "water"} if wet else {}, now_ms=now_ms, wall_ms=now_ms)
        now_ms += MINUTE_MS
    assert [each.number for each in book.untold()] == [1]
    for _ in range(10):
        book.look({}, now_ms=now_ms, wall_ms=now_ms)
        now_ms += MINUTE_MS
    told = book.untold()
    assert [(each.number, each.cleared_at_ms is None) for each in told] == [(1, True), (2, False)]
    assert book.up() == []


def test_a_door_is_propped_after_ten_minutes() -> None:
    book = AlertBook()
    for minute in range(12):
        book.look({PROPPED: "open"}, now_ms=minute * MINUTE_MS, wall_ms=0)
        assert bool(book.up()) == (minute * MINUTE_MS >= SINCE_LEAST_MS[AlertKind.DOOR_PROPPED])


@pytest.mark.guarantee("G11")
@given(
    looks=st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(0, 20 * MINUTE_MS), st.booleans()), max_size=40)
)
def test_killed_anywhere_every_alert_is_told_once_raised_and_once_cleared(
    looks: list[tuple[bool, bool, int, bool]],
) -> None:
    book, log, now_ms = AlertBook(), dict[int, Alert](), 0
    for leak, propped, wait_ms, killed in looks:
        now_ms += wait_ms
        so = {subject: "x" for subject, holds in ((LEAK, leak), (PROPPED, propped)) if holds}
        book.look(so, now_ms=now_ms, wall_ms=now_ms)
        kept = book.standing()
        for alert in book.untold():
            assert alert.number not in log or log[alert.number].subject == alert.subject
            log.setdefault(alert.number, alert)
            if not killed:
                book.told(alert)
        if killed:
            book = AlertBook(kept)
    assert sorted(log) == list(range(1, len(log) + 1))
    for subject in (LEAK, PROPPED):
        states = [log[number].cleared_at_ms is None for number in sorted(log) if log[number].subject == subject]
        assert states == [index % 2 == 0 for index in range(len(states))]


def test_what_is_over_is_said_five_minutes_later() -> None:
    book = AlertBook()
    book.look({LEAK: "water"}, now_ms=0, wall_ms=0)
    book.look({}, now_ms=1, wall_ms=1)
    assert not book.look({}, now_ms=GONE_LEAST_MS, wall_ms=1)
    assert book.look({}, now_ms=GONE_LEAST_MS + 1, wall_ms=1)


def gauge(*percents: float, each_days: int = 1) -> Battery:
    battery = Battery()
    for day, percent in enumerate(percents):
        battery = battery.said(percent, wall_ms=day * each_days * DAY_MS)
    return battery


@given(left=st.integers(10, 300), slope=st.floats(0.1, 1.0))
def test_a_gauge_that_falls_evenly_is_forecast(left: int, slope: float) -> None:
    last = 5 + left * slope
    words = [last + slope * (29 - day) for day in range(30)]
    if words[0] > 100:
        return
    told = forecast(gauge(*words))
    assert told.days_left is not None
    assert abs(told.days_left - left) <= 2
    assert told.confidence >= 0.8


def test_gauges_that_lie() -> None:
    assert forecast(gauge(*[200.0] * 10)).why == "it has said nothing that can be believed"
    assert forecast(gauge(*[100.0] * 50)).why == "the gauge does not fall"
    assert forecast(gauge(90, 80)).days_left is None
    assert forecast(gauge(*[80.0] * 20, 4.0)).days_left == 0
    renewed = gauge(*[30 - day for day in range(20)], 100.0)
    assert len(renewed.days) == 1
    lying = [80 - day * 0.5 if day % 4 else 100.0 - 20.5 for day in range(30)]
    told = forecast(gauge(*lying))
    assert told.days_left is not None
    assert 80 <= told.days_left <= 200
    assert told.confidence <= 0.95


@given(percents=st.lists(st.floats(-50, 250), max_size=40))
def test_whatever_a_gauge_says_the_forecast_has_its_range(percents: list[float]) -> None:
    told = forecast(gauge(*percents))
    assert 0 <= told.confidence <= 0.95
    assert told.days_left is None or 0 <= told.days_left <= 3_650


@pytest.mark.requirement("DEV-04")
def test_the_sum_of_a_month_by_hand() -> None:
    room = RoomEnergy()
    for _ in range(10):  # ten hours lived at 20 degrees with 5 outdoors, against 21.5
        room = room.passed("2026-01", 1.0, room_c=20.0, outdoor_c=5.0, baseline_c=21.5)
    room = room.passed("2026-01", 3.0, room_c=None, outdoor_c=5.0, baseline_c=21.5)
    for kwh in (100.0, 104.0, 109.0):
        room = room.metered("2026-01", "meter", kwh)
    [told] = room.told()
    assert (told["lived_degree_hours"], told["baseline_degree_hours"], told["unknown_hours"]) == (150.0, 165.0, 3.0)
    assert told["saved_share"] == round(1 - 150 / 165, 4)
    assert (told["metered_kwh"], told["saved_kwh"]) == (9.0, round(9 * (165 / 150 - 1), 3))


def test_a_meter_exchanged_or_reset_counts_from_where_it_stands() -> None:
    room = RoomEnergy()
    for kwh in (500.0, 501.0, 2.0, 3.0, 9_000.0, 9_001.0):
        room = room.metered("2026-01", "meter", kwh)
    assert room.months["2026-01"].metered_kwh == 3.0
    assert room.resets == 2


@pytest.mark.parametrize(
    ("words", "used"),
    [
        ((50.0, 0.0, 50.0, 50.5), 0.5),  # a plug says nought while it starts
        ((50.0, 51.0, 0.0, 0.0, 0.2, 51.0, 52.0), 2.2),
        ((50.0, 0.0, 30.0, 49.0, 50.5), 49.5),  # a meter that was reset climbs by where it stood
        ((50.0, 0.0, 55.0), 5.0),
        ((65.5, 0.1, 1.0, 0.2, 64.9, 65.6), 65.7),  # a counter that wraps, and one word of before
    ],
)
def test_a_meter_that_falls_for_a_word_has_counted_nothing_on_its_way_back(
    words: tuple[float, ...], used: float
) -> None:
    room = RoomEnergy()
    for kwh in words:
        room = room.metered("2026-01", "meter", kwh)
    assert room.months["2026-01"].metered_kwh == pytest.approx(used)


def test_a_meter_of_another_room_counts_anew_when_it_comes_back() -> None:
    room = RoomEnergy()
    for kwh in (50.0, 0.0):
        room = room.metered("2026-01", "meter", kwh)
    assert room.kept_of({"meter"}) is room
    room = room.kept_of(()).metered("2026-01", "meter", 60.0).metered("2026-01", "meter", 61.0)
    assert room.months["2026-01"].metered_kwh == 1.0


def test_what_is_not_known_is_not_invented() -> None:
    [told] = RoomEnergy().passed("2026-01", 5.0, room_c=21.0, outdoor_c=None, baseline_c=21.5).told()
    assert (told["saved_share"], told["saved_kwh"], told["unknown_hours"]) == (None, None, 5.0)
