"""A room learns how fast it warms up, and answers only once it has shown it."""

from hypothesis import given
from hypothesis import strategies as st

from edge.rooms.recovery import HOUR_MS, LEAD_LEAST_MS, LEAD_MOST_MS, Recovery

MINUTE_MS = 60_000


def warmed(
    recovery: Recovery, *, rate_k_h: float, from_c: float = 17.0, to_c: float = 21.5, at_ms: int = 0
) -> Recovery:
    """One warm-up, told every five minutes in tenths of a degree."""
    minute = 0
    while (celsius := 17.0 + rate_k_h * minute / 60) < to_c:
        told = round(celsius, 1)
        recovery = recovery.felt(told, setpoint_c=to_c, disturbed=False, now_ms=at_ms + minute * MINUTE_MS)
        minute += 5
    return recovery.felt(to_c, setpoint_c=to_c, disturbed=False, now_ms=at_ms + minute * MINUTE_MS)


@given(rate=st.floats(0.8, 8.0))
def test_the_lead_is_what_the_room_needs_and_a_quarter_more(rate: float) -> None:
    recovery = Recovery()
    for day in range(4):
        recovery = warmed(recovery, rate_k_h=rate, at_ms=day * 24 * HOUR_MS)
    assert recovery.known
    assert recovery.rate_k_h is not None
    assert 0.7 * rate <= recovery.rate_k_h <= 1.3 * rate
    needed_ms = 4.5 / rate * HOUR_MS
    lead_ms = recovery.lead_ms(from_c=17.0, to_c=21.5, otherwise_ms=HOUR_MS)
    assert min(max(needed_ms * 0.9, LEAD_LEAST_MS), LEAD_MOST_MS) <= lead_ms <= max(needed_ms * 1.9, LEAD_LEAST_MS)


def test_until_it_has_shown_it_the_policys_figures_hold() -> None:
    recovery = warmed(Recovery(), rate_k_h=1.0, to_c=18.0)
    assert not recovery.known
    assert recovery.lead_ms(from_c=17.0, to_c=21.5, otherwise_ms=HOUR_MS) == HOUR_MS
    assert recovery.away_c(comfort_c=21.5, least_c=19.0, within_ms=HOUR_MS) == 19.0


def test_an_open_window_and_a_lowered_setpoint_teach_nothing() -> None:
    recovery = Recovery()
    for minute in range(0, 120, 5):
        celsius = 17.0 + minute / 30
        recovery = recovery.felt(celsius, setpoint_c=21.5, disturbed=True, now_ms=minute * MINUTE_MS)
        recovery = recovery.felt(celsius, setpoint_c=12.0, disturbed=False, now_ms=minute * MINUTE_MS)
    assert recovery.samples == 0


@given(
    rate=st.floats(0.1, 12),
    comfort_c=st.floats(18, 26),
    least_c=st.floats(12, 19),
    within_ms=st.integers(0, 4 * HOUR_MS),
)
def test_an_absent_guests_room_cools_no_deeper_than_it_can_make_good(
    rate: float, comfort_c: float, least_c: float, within_ms: int
) -> None:
    away_c = Recovery(rate, 5).away_c(comfort_c=comfort_c, least_c=least_c, within_ms=within_ms)
    assert min(least_c, comfort_c) <= away_c <= comfort_c
    if away_c > least_c:
        assert (comfort_c - away_c) / rate * HOUR_MS <= within_ms + 1


@given(
    st.lists(st.tuples(st.floats(-40, 85), st.none() | st.floats(0, 60), st.booleans(), st.integers(0, 8 * HOUR_MS)))
)
def test_whatever_is_felt_the_answers_stay_in_bounds(felt: list[tuple[float, float | None, bool, int]]) -> None:
    recovery, now_ms = Recovery(), 0
    for celsius, setpoint_c, disturbed, wait_ms in felt:
        now_ms += wait_ms
        recovery = recovery.felt(celsius, setpoint_c=setpoint_c, disturbed=disturbed, now_ms=now_ms)
    lead_ms = recovery.lead_ms(from_c=10.0, to_c=21.5, otherwise_ms=HOUR_MS)
    assert lead_ms == HOUR_MS or LEAD_LEAST_MS <= lead_ms <= LEAD_MOST_MS
