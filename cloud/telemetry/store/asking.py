# ruff: noqa: S608 - put together from the words of this module and of `sql`; every value is a parameter
"""Questions to the time series: series, newest readings, points in a span, pages after a position, one row a series.

The same statements for every engine: both show readings as `telemetry.reading` and roll-ups as `telemetry.rollup_*`.
Where roll-ups may stand in two parts (`split`), parts of one bucket are combined as they are read.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, LiteralString, cast

from psycopg.rows import tuple_row

from cloud.kit.database import Connection, fetch_all, fetch_one
from cloud.kit.times import at, unix_ms
from cloud.telemetry.store import sql
from cloud.telemetry.store.port import (
    Aggregate,
    Bucket,
    Point,
    RangeQuestion,
    Resolution,
    Selection,
    Series,
    Spread,
    TimeSource,
)  # fmt: skip
from cloud.telemetry.store.writing import QUALITIES

_POINT: Final[LiteralString] = (
    "series, (extract(epoch FROM at) * 1000)::bigint, number, flag, text, quality, time_source,"
    " (extract(epoch FROM edge_at) * 1000)::bigint, ordinal, seq,"
    " (extract(epoch FROM since) * 1000)::bigint, stands_for, least, most, mean"
)
_BUCKET: Final[LiteralString] = (
    "series, (extract(epoch FROM bucket) * 1000)::bigint, samples, flawed, numbers, least, most, total, first, last,"
    " first_text, last_text"
)


def _point(row: Sequence[Any]) -> Point:
    series, at_ms, number, flag, text, quality, source, edge_at_ms, ordinal, seq, since_ms, *spread = row
    value = number if number is not None else flag if flag is not None else text
    return Point(series, at_ms, value, QUALITIES[quality], TimeSource(source), edge_at_ms, ordinal, seq,
                 None if since_ms is None else Spread(since_ms, *spread))  # fmt: skip


async def series_of(connection: Connection, selection: Selection, *, most: int) -> list[Series]:
    """See `TelemetryStore.series`."""
    rows = await fetch_all(
        connection,
        """
        SELECT id, nullif(room, '') AS room, device, capability, attribute, nullif(unit, '') AS unit
          FROM telemetry.series
         WHERE tenant = %(tenant)s AND property = %(property)s
           AND (%(room)s::text IS NULL OR room = %(room)s) AND (%(device)s::text IS NULL OR device = %(device)s)
           AND (%(capability)s::text IS NULL OR capability = %(capability)s)
           AND (%(attribute)s::text IS NULL OR attribute = %(attribute)s)
         ORDER BY id LIMIT %(most)s
        """,
        {
            "tenant": selection.tenant,
            "property": selection.property,
            "room": selection.room,
            "device": selection.device,
            "capability": selection.capability,
            "attribute": selection.attribute,
            "most": most,
        },
    )
    return [Series(**row) for row in rows]


async def latest_of(connection: Connection, series: Sequence[int]) -> list[Point]:
    """See `TelemetryStore.latest`."""
    statement: LiteralString = (
        "SELECT newest.* FROM unnest(%s::int[]) AS asked (id), LATERAL (SELECT " + _POINT + " FROM telemetry.reading"
        " WHERE series = asked.id ORDER BY at DESC, ordinal DESC, seq DESC LIMIT 1) AS newest"
    )
    async with connection.cursor(row_factory=tuple_row) as cursor:
        await cursor.execute(statement, [list(series)])
        return [_point(row) for row in await cursor.fetchall()]


def _points(question: RangeQuestion) -> tuple[LiteralString, dict[str, object]]:
    parameters: dict[str, object] = {
        "series": list(question.series),
        "since": at(question.since_ms),
        "until": at(question.until_ms),
    }
    statement: LiteralString = (
        "SELECT " + _POINT + " FROM telemetry.reading WHERE series = ANY(%(series)s) AND at >= %(since)s"
        " AND at < %(until)s"
    )
    if question.after is not None:
        parameters |= {"after": at(question.after[0]), "key": question.after[1], "seq": question.after[3]}
        parameters["ordinal"] = question.after[2]
        statement += " AND at >= %(after)s AND (at, series, ordinal, seq) > (%(after)s, %(key)s, %(ordinal)s, %(seq)s)"
    return statement + " ORDER BY at, series, ordinal, seq", parameters


def _buckets(question: RangeQuestion, *, split: bool) -> tuple[LiteralString, dict[str, object]]:
    """A bucket belongs to a span if it begins in it; the caller aligns the span."""
    table = sql.TABLE[question.resolution]
    parameters: dict[str, object] = {
        "series": list(question.series),
        "since": at(question.since_ms),
        "until": at(question.until_ms),
    }
    where: LiteralString = " WHERE series = ANY(%(series)s) AND bucket >= %(since)s AND bucket < %(until)s"
    if question.after is not None:
        parameters |= {"after": at(question.after[0]), "key": question.after[1]}
        where += " AND bucket >= %(after)s AND (bucket, series) > (%(after)s, %(key)s)"
    source: LiteralString = "SELECT " + sql.COLUMNS + " FROM " + table + where
    if split:
        source = sql.combined(source, sql.STEP[question.resolution])
        source = "SELECT * FROM (" + source + ") AS whole (" + sql.COLUMNS + ")"
    statement: LiteralString = "SELECT " + _BUCKET + " FROM (" + source + ") AS buckets ORDER BY bucket, series"
    return statement, parameters


def _asked(question: RangeQuestion, *, split: bool) -> tuple[LiteralString, dict[str, object]]:
    if question.resolution is Resolution.RAW:
        return _points(question)
    return _buckets(question, split=split)


def _made(question: RangeQuestion, rows: Sequence[Sequence[Any]]) -> list[Point] | list[Bucket]:
    if question.resolution is Resolution.RAW:
        return [_point(row) for row in rows]
    return [Bucket(*row) for row in rows]


async def points_of(
    connection: Connection, question: RangeQuestion, *, most: int, split: bool
) -> list[Point] | list[Bucket]:
    """See `TelemetryStore.range`."""
    statement, parameters = _asked(question, split=split)
    async with connection.cursor(row_factory=tuple_row) as cursor:
        await cursor.execute(statement + " LIMIT %(limit)s", {**parameters, "limit": most})
        return _made(question, await cursor.fetchall())


@asynccontextmanager
async def streamed(
    connection: Connection, question: RangeQuestion, *, at_a_time: int, split: bool
) -> AsyncIterator[AsyncIterator[list[Point] | list[Bucket]]]:
    """See `TelemetryStore.stream`."""
    statement, parameters = _asked(question, split=split)
    async with connection.cursor("points", row_factory=tuple_row) as cursor:
        await cursor.execute(statement, parameters)

        async def pieces() -> AsyncIterator[list[Point] | list[Bucket]]:
            while rows := await cursor.fetchmany(at_a_time):
                yield _made(question, rows)

        yield pieces()


async def aggregates_of(connection: Connection, question: RangeQuestion) -> list[Aggregate]:
    """See `TelemetryStore.aggregate`."""
    parameters: dict[str, object] = {
        "series": list(question.series),
        "since": at(question.since_ms),
        "until": at(question.until_ms),
    }
    if question.resolution is Resolution.RAW:
        source = sql.partial_of_readings(
            "telemetry.reading WHERE series = ANY(%(series)s) AND at >= %(since)s AND at < %(until)s"
        )
    else:
        source = (
            "SELECT " + sql.COLUMNS + " FROM " + sql.TABLE[question.resolution] + " WHERE series = ANY(%(series)s)"
            " AND bucket >= %(since)s AND bucket < %(until)s"
        )
    whole: LiteralString = "SELECT * FROM (" + sql.combined_whole(source) + ") AS whole (" + sql.COLUMNS + ")"
    statement: LiteralString = (
        "SELECT series, samples, flawed, numbers, least, most, total, first, last, first_text, last_text FROM ("
        + whole + ") AS rows ORDER BY series"
    )  # fmt: skip
    async with connection.cursor(row_factory=tuple_row) as cursor:
        await cursor.execute(statement, parameters)
        return [Aggregate(*row) for row in await cursor.fetchall()]


async def kept_since(connection: Connection, resolution: Resolution) -> int | None:
    """See `TelemetryStore.kept_since`."""
    row = await fetch_one(connection, "SELECT since FROM telemetry.kept WHERE resolution = %s", [resolution.value])
    return None if row is None else unix_ms(row["since"])


async def unsettled_since(connection: Connection, property_id: str, resolution: Resolution) -> int | None:
    """Return the start of the oldest bucket of `resolution` that stored readings may still change, or None.

    That is what is still to be computed, and what came too late for it and is still to be added.
    """
    if resolution is Resolution.RAW:
        return None
    waiting = [each.value for each in sql.ROLLUPS[1 : sql.ROLLUPS.index(resolution) + 1]]
    row = await fetch_one(
        connection,
        """
        SELECT least((SELECT min(low) FROM telemetry.rollup_log WHERE property = %(property)s),
                     (SELECT min(bucket) FROM telemetry.rollup_due
                       WHERE property = %(property)s AND resolution = ANY(%(waiting)s)),
                     (SELECT min(r.at) FROM telemetry.reading r JOIN telemetry.series s ON s.id = r.series
                       WHERE s.property = %(property)s
                         AND r.at < (SELECT since FROM telemetry.kept WHERE resolution = %(raw)s)
                         AND r.at >= coalesce((SELECT since FROM telemetry.kept WHERE resolution = %(asked)s),
                                              '-infinity'))) AS oldest
        """,
        {
            "property": property_id,
            "waiting": waiting,
            "raw": Resolution.RAW.value,
            "asked": resolution.value,
        },
    )
    oldest = None if row is None else cast("int | None", unix_ms(row["oldest"]))
    return None if oldest is None else oldest - oldest % resolution.step_ms
