"""Rows encoded, spans told, and what is computed in one bite."""

import asyncio
import itertools
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.kit.database import Database, fetch_one
from cloud.kit.times import at, unix_ms
from cloud.telemetry.store.backlog import Dirty, above, merged, wanted_floor
from cloud.telemetry.store.days import span_of, spans
from cloud.telemetry.store.port import ReadingRow, Resolution, Retention, TimeSource
from cloud.telemetry.store.timescale import windows_of
from cloud.telemetry.store.writing import TELL_MS, SeriesIds, SeriesKey, copy_bytes, told
from protocols.errors import LocalProtocolError

T0 = datetime(2026, 11, 18, tzinfo=UTC)


def row(at_ms: int, value: object = 1.0, prop: str = "p") -> ReadingRow:
    return ReadingRow("t", prop, None, "d", "c", "a", None, at_ms, 0, value, "good", TimeSource.DRIFTING, 1, 1)  # type: ignore[arg-type]  # a stand-in, or hostile on purpose


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e200, -1e200, 10**400, b"x", [1]])
def test_what_could_stop_every_roll_up_is_not_written(value: object) -> None:
    with pytest.raises(LocalProtocolError, match="reading of d"):
        copy_bytes([(1, row(0, value))])


@given(st.lists(st.tuples(st.sampled_from("pq"), st.integers(0, 10 * TELL_MS))))
def test_the_roll_up_is_told_of_every_minute_written_and_of_no_long_span(rows: list[tuple[str, int]]) -> None:
    spans_told = told([row(at_ms, prop=prop) for prop, at_ms in rows])
    assert all(high - low < TELL_MS for low, high in spans_told.values())
    dirty = merged((prop, at(low), at(high)) for (prop, _), (low, high) in spans_told.items())
    for prop, at_ms in rows:
        assert sum(each.property == prop and each.since <= at(at_ms) < each.until for each in dirty) == 1
    assert all(each.until - each.since <= timedelta(milliseconds=TELL_MS) for each in dirty)
    assert all(unix_ms(each.since) % 60_000 == unix_ms(each.until) % 60_000 == 0 for each in dirty)


@given(st.lists(st.tuples(st.integers(0, 200), st.integers(0, 30))), st.integers(-10, 250))
def test_what_lies_below_the_floor_is_not_computed_anew(minutes: list[tuple[int, int]], floor: int) -> None:
    dirty = [Dirty("p", at(first * 60_000), at((first + length + 1) * 60_000)) for first, length in minutes]
    covered = {
        minute for each in dirty for minute in range(unix_ms(each.since) // 60_000, unix_ms(each.until) // 60_000)
    }
    kept = above(dirty, at(floor * 60_000))
    assert {
        minute for each in kept for minute in range(unix_ms(each.since) // 60_000, unix_ms(each.until) // 60_000)
    } == {minute for minute in covered if minute >= floor}
    windows = windows_of(dirty)
    assert {
        minute for since, until in windows for minute in range(unix_ms(since) // 60_000, unix_ms(until) // 60_000)
    } == covered
    assert all(until < since for (_, until), (since, _) in itertools.pairwise(windows))


@given(st.integers(946_684_800, 4_000_000_000), st.sampled_from(Resolution), st.integers(0, 40))
def test_partitions_follow_one_another_and_hold_their_moment(second: int, resolution: Resolution, days: int) -> None:
    when = at(second * 1000)
    span = span_of(resolution, when)
    assert span.since <= when < span.until
    assert span_of(resolution, span.since) == span_of(resolution, span.until - timedelta(milliseconds=1)) == span
    row_of = list(spans(resolution, when, when + timedelta(days=days)))
    assert row_of[0] == span
    assert row_of[-1].until > when + timedelta(days=days)
    assert all(one.until == other.since for one, other in itertools.pairwise(row_of))
    assert len({each.name for each in row_of}) == len(row_of)


SERIES = [("t", "p", f"device-{n}", "c", "a", "", "") for n in range(40)]


@pytest.mark.tier("postgres")
async def test_looking_series_up_takes_no_numbers(database: Database) -> None:
    """Numbers are 31 bits: of 20 million series, workers that start anew would have used all of them in 107 starts."""

    async def last() -> int:
        async with database.transaction() as connection:
            row = await fetch_one(connection, "SELECT max(id) AS id FROM telemetry.series")
            assert row is not None
            await connection.execute("INSERT INTO telemetry.series (tenant, property, device, capability, attribute)"
                                     " VALUES ('t', 'other', gen_random_uuid()::text, 'c', 'a')")  # fmt: skip
            after = await fetch_one(connection, "SELECT max(id) AS id FROM telemetry.series")
            assert after is not None
            return int(after["id"])

    async with database.transaction() as connection:
        made = await SeriesIds().of(connection, SERIES)
    assert len(set(made.values())) == len(SERIES)
    before = await last()
    for _ in range(3):  # workers that know nothing yet
        async with database.transaction() as connection:
            assert await SeriesIds().of(connection, SERIES) == made
    assert await last() == before + 1


@pytest.mark.tier("postgres")
async def test_series_that_two_workers_make_at_a_time_are_the_same(database: Database) -> None:
    one, other = SeriesIds(), SeriesIds()
    async with database.transaction() as connection:
        made = await one.of(connection, SERIES[:20])
        assert await one.of(connection, SERIES[:20]) == made  # not remembered yet: it may be rolled back
        waiting = asyncio.create_task(_of(database, other, SERIES))
        await asyncio.sleep(0.02)
    found = await waiting
    assert {key: found[key] for key in SERIES[:20]} == made
    assert len(set(found.values())) == len(SERIES)


async def _of(database: Database, ids: SeriesIds, keys: Sequence[SeriesKey]) -> dict[SeriesKey, int]:
    async with database.transaction() as connection:
        return await ids.of(connection, keys)


def test_a_floor_is_a_midnight_that_leaves_at_least_what_is_to_be_kept() -> None:
    now_ms = unix_ms(T0) + 5 * 3_600_000
    assert wanted_floor(Retention(raw=timedelta(days=3)), Resolution.RAW, now_ms) == T0 - timedelta(days=3)
    assert wanted_floor(Retention(), Resolution.DAY, now_ms) is None
