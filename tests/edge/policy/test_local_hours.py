"""A schedule in the property's zone, right across both changes of the clock."""

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.policy.local_hours import DAYS, Hours, Schedule, holds, local, zone
from protocols.errors import InvalidInputError

VIENNA = zone("Europe/Vienna", "test")
MINUTE_MS = 60_000


def at(text: str) -> int:
    return int(datetime.datetime.fromisoformat(text).replace(tzinfo=datetime.UTC).timestamp() * 1000)


def runs(hours: Hours | Schedule, begins: str, hours_long: int) -> list[tuple[str, int]]:
    """The stretches in which it holds: UTC time of their first minute, and how many minutes."""
    found: list[tuple[int, int]] = []
    for minute in range(hours_long * 60):
        now_ms = at(begins) + minute * MINUTE_MS
        if holds(hours, now_ms, VIENNA):
            if found and found[-1][0] + found[-1][1] * MINUTE_MS == now_ms:
                found[-1] = (found[-1][0], found[-1][1] + 1)
            else:
                found.append((now_ms, 1))
    return [(f"{datetime.datetime.fromtimestamp(ms / 1000, datetime.UTC):%H:%M}", count) for ms, count in found]


def hours(begins: str, until: str) -> Hours:
    return Hours(from_=begins, until=until)


@pytest.mark.guarantee("G10")
@pytest.mark.parametrize(
    ("wanted", "spring", "autumn"),
    [
        (hours("02:30", "04:00"), [("01:00", 60)], [("00:30", 150)]),
        (hours("02:15", "02:45"), [], [("00:15", 90)]),
        (hours("22:00", "02:30"), [("21:00", 240)], [("20:00", 330)]),
        (hours("01:00", "05:00"), [("00:00", 180)], [("23:00", 300)]),
    ],
    ids=str,
)
def test_the_nights_of_the_changes(wanted: Hours, spring: list[object], autumn: list[object]) -> None:
    assert runs(wanted, "2026-03-28T18:00", 14) == spring
    assert runs(wanted, "2026-10-24T18:00", 14) == autumn


@given(minute=st.integers(0, 2 * 366 * 24 * 60), days=st.none() | st.sets(st.sampled_from(DAYS), min_size=1))
def test_away_from_the_changes_it_is_what_the_wall_shows(minute: int, days: set[str] | None) -> None:
    now_ms = at("2026-01-01T00:00") + minute * MINUTE_MS
    here = local(now_ms, VIENNA)
    if here.month in (3, 10):
        return
    wanted = Schedule(from_="22:15", until="06:45", days=None if days is None else tuple(sorted(days)))  # type: ignore[arg-type]  # a stand-in, or hostile on purpose
    time = f"{here:%H:%M}"
    began = here.date() if time >= "22:15" else here.date() - datetime.timedelta(days=1)
    expected = (time >= "22:15" or time < "06:45") and (days is None or DAYS[began.weekday()] in days)
    assert holds(wanted, now_ms, VIENNA) is expected


def test_a_zone_that_is_none_is_named() -> None:
    for name in ("Europe/Atlantis", "../etc/passwd", ""):
        with pytest.raises(InvalidInputError, match="no zone"):
            zone(name, "plan")
