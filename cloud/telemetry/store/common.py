# ruff: noqa: S608 - put together from the words of this room; every value is a parameter
"""What both engines do alike: write, answer, and fold in what came too late to be rolled up from readings."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Final, LiteralString

from cloud.kit.database import Connection, Database, execute, fetch_one
from cloud.kit.times import at
from cloud.telemetry.ledger_keeping import LedgerKeeping
from cloud.telemetry.store import asking, backlog, sql
from cloud.telemetry.store.port import (
    Aggregate,
    Bucket,
    MaintenanceReport,
    Point,
    RangeQuestion,
    ReadingRow,
    Resolution,
    Retention,
    Selection,
    Series,
)
from cloud.telemetry.store.series_keeping import SeriesKeeping
from cloud.telemetry.store.writing import Placed, RowWriter, SeriesIds, write_readings

FOLD_MOST: Final = 5_000
"""Late readings folded in at a time."""


class CommonStore:
    """The part of a store that does not depend on the engine.

    Args:
        split: whether a bucket may stand in two parts.
        folded: where late parts of each roll-up go.
        series_most: of a property.
    """

    def __init__(
        self,
        database: Database,
        *,
        retention: Retention,
        writer: RowWriter,
        split: bool,
        folded: dict[Resolution, LiteralString],
        series_most: int,
    ) -> None:
        self._database, self._retention, self._writer = database, retention, writer
        self._split, self._folded = split, folded
        self._ids = SeriesIds(series_most)
        self._ledger = LedgerKeeping(database, retention.ledger)
        self._unused = SeriesKeeping(database, retention)

    async def _keep_ledger(self, now_ms: int, report: MaintenanceReport) -> MaintenanceReport:
        """Seal days of the ledger and let them go, and series that nothing is left of; return `report` with that."""
        done = await self._ledger.run(now_ms)
        report.sealed += done.sealed
        report.dropped += done.dropped
        report.held_back += done.held_back
        report.more |= done.more
        if gone := await self._unused.run(now_ms):
            report.dropped.append(f"{gone} series")
        return report

    async def write(self, connection: Connection, readings: Sequence[ReadingRow]) -> list[ReadingRow]:
        """See `TelemetryStore.write`."""
        thinned, refused = await write_readings(connection, self._ids, self._writer, readings)
        if thinned and self._split:
            await self._add_rest(connection, thinned)
        return refused

    async def _add_rest(self, connection: Connection, thinned: Sequence[Placed]) -> None:
        """Add what thinned readings stand for to the parts that this engine does not compute from readings."""
        columns = {
            "series": [series for series, _ in thinned],
            "at": [at(row.at_ms) for _, row in thinned],
            "ordinal": [row.ordinal for _, row in thinned],
            "seq": [row.seq for _, row in thinned],
        }
        for resolution in sql.ROLLUPS:
            rest = sql.rest_of_thinned(
                "(SELECT r.* FROM unnest(%(series)s::int[], %(at)s::timestamptz[], %(ordinal)s::bigint[],"
                " %(seq)s::bigint[]) AS new (series, at, ordinal, seq)"
                " JOIN telemetry.reading r USING (series, at, ordinal, seq)"
                " WHERE %(floor)s::timestamptz IS NULL OR r.at >= %(floor)s) AS kept"
            )
            rows: LiteralString = (
                "SELECT * FROM (" + sql.combined(rest, sql.STEP[resolution]) + ") AS sorted ORDER BY 2, 1"
            )
            floor = await backlog.floor_of(connection, resolution)
            await execute(connection, sql.add(self._folded[resolution], rows), {**columns, "floor": floor})

    async def series(self, connection: Connection, selection: Selection, *, most: int) -> list[Series]:
        """See `TelemetryStore.series`."""
        return await asking.series_of(connection, selection, most=most)

    async def latest(self, connection: Connection, series: Sequence[int]) -> list[Point]:
        """See `TelemetryStore.latest`."""
        return await asking.latest_of(connection, series)

    async def range(self, connection: Connection, question: RangeQuestion, *, most: int) -> list[Point] | list[Bucket]:
        """See `TelemetryStore.range`."""
        return await asking.points_of(connection, question, most=most, split=self._split)

    def stream(
        self, connection: Connection, question: RangeQuestion, *, at_a_time: int
    ) -> AbstractAsyncContextManager[AsyncIterator[list[Point] | list[Bucket]]]:
        """See `TelemetryStore.stream`."""
        return asking.streamed(connection, question, at_a_time=at_a_time, split=self._split)

    async def aggregate(self, connection: Connection, question: RangeQuestion) -> list[Aggregate]:
        """See `TelemetryStore.aggregate`."""
        return await asking.aggregates_of(connection, question)

    async def kept_since(self, connection: Connection, resolution: Resolution) -> int | None:
        """See `TelemetryStore.kept_since`."""
        return await asking.kept_since(connection, resolution)

    async def unsettled(self, connection: Connection, selection: Selection, resolution: Resolution) -> int | None:
        """See `TelemetryStore.unsettled`."""
        return await asking.unsettled_since(connection, selection.property, resolution)

    async def _fold(self, connection: Connection, source: LiteralString, since: datetime, until: datetime) -> int:
        """Take readings of a span below the floor of RAW out of `source`, adding them to every roll-up still kept.

        Taking and adding are one statement of the caller's transaction: each reading is added exactly once. Returns
        how many; FOLD_MOST: there may be more.
        """
        kept = {each.value: await backlog.floor_of(connection, each) for each in sql.ROLLUPS}
        adding: LiteralString = ""
        for resolution in sql.ROLLUPS:
            name: LiteralString = sql.NAME[resolution]
            partial = sql.partial_of_readings(
                "(SELECT * FROM taken WHERE %(" + name + ")s::timestamptz IS NULL OR at >= %(" + name + ")s) AS kept",
                thinned=not self._split,  # else what a thinned one stands for was added as it was written
            )
            rows = sql.combined(partial, sql.STEP[resolution])
            adding += ", into_" + name + " AS (" + sql.add(self._folded[resolution], rows) + ")"
        row = await fetch_one(
            connection,
            "WITH few AS (SELECT series, at, ordinal, seq FROM " + source + " WHERE at >= %(since)s AND at < %(until)s"
            " LIMIT %(most)s), taken AS (DELETE FROM " + source + " AS old USING few"
            " WHERE (old.series, old.at, old.ordinal, old.seq) = (few.series, few.at, few.ordinal, few.seq)"
            " RETURNING old.*)" + adding + " SELECT count(*) AS count FROM taken",
            {"since": since, "until": until, "most": FOLD_MOST, **kept},
        )
        return 0 if row is None else int(row["count"])
