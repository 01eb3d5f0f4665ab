# ruff: noqa: S608 - put together from the words of this room; every value is a parameter
"""The time series on TimescaleDB: a hypertable, continuous aggregates, compression; let go chunk by chunk.

Which spans are refreshed is told by the same log as on plain PostgreSQL, so that what is not rolled up yet can be said
and nothing is let go that a roll-up has not seen. That is also why no retention policy is registered: TimescaleDB's own
would drop chunks by age alone. Nothing needs its background workers.

A refresh cannot run inside a transaction: an entry leaves the log after the refresh that it asked for, and cut off in
between, the refresh is made again. Continuous aggregates are never refreshed below the floor of RAW, where it would
delete what was let go: late readings there are added to tables of the same shape that questions read along.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Final, LiteralString

import psycopg
from psycopg import sql as statements
from psycopg.rows import dict_row

from cloud.kit.database import Connection, Database, execute, fetch_all, fetch_one
from cloud.kit.times import at
from cloud.telemetry.store import backlog, sql
from cloud.telemetry.store.common import CommonStore
from cloud.telemetry.store.days import span_of
from cloud.telemetry.store.port import MaintenanceReport, Resolution, Retention
from cloud.telemetry.store.writing import SERIES_MOST, CopyWriter, RowWriter
from protocols.errors import StoreFailedError

BITES_MOST: Final = 20
COMPRESS_AFTER: Final = timedelta(days=7)
COMPRESSED_MOST: Final = 10
"""Chunks compressed in one run."""
_AGGREGATE: Final[dict[Resolution, LiteralString]] = {
    Resolution.RAW: "telemetry.reading",
    Resolution.MINUTE: "telemetry.reading_1m",
    Resolution.QUARTER: "telemetry.reading_15m",
    Resolution.DAY: "telemetry.reading_1d",
}
_FOLDED: Final[dict[Resolution, LiteralString]] = {
    Resolution.MINUTE: "telemetry.folded_1m",
    Resolution.QUARTER: "telemetry.folded_15m",
    Resolution.DAY: "telemetry.folded_1d",
}


class TimescaleStore(CommonStore):
    """The telemetry store on TimescaleDB; see `TelemetryStore`."""

    def __init__(
        self,
        database: Database,
        *,
        retention: Retention | None = None,
        writer: RowWriter | None = None,
        series_most: int = SERIES_MOST,
    ) -> None:
        super().__init__(
            database,
            retention=retention or Retention(),
            writer=writer or CopyWriter(),
            split=True,
            folded=_FOLDED,
            series_most=series_most,
        )

    async def ensure_partitions(self, now_ms: int) -> None:
        """See `TelemetryStore.ensure_partitions`: a hypertable makes its chunks itself."""

    async def run_maintenance(self, now_ms: int) -> MaintenanceReport:
        """See `TelemetryStore.run_maintenance`."""
        report = MaintenanceReport()
        async with self._alone() as connection:
            if connection is None:
                return report
            for resolution in sql.ROLLUPS:
                for _ in range(BITES_MOST):
                    if not await self._refresh(connection, resolution, now_ms, report):
                        break
                else:
                    report.more = True
            for _ in range(BITES_MOST):
                if not await self._fold_late(connection, report):
                    break
            else:
                report.more = True
            for resolution in (*reversed(sql.ROLLUPS), Resolution.RAW):
                await self._let_go(connection, resolution, now_ms, report)
            await self._compress(connection, now_ms, report)
        return await self._keep_ledger(now_ms, report)

    @asynccontextmanager
    async def _alone(self) -> AsyncIterator[Connection | None]:
        """Hand out a connection of its own, outside any transaction, that holds the lock of the one runner; or None."""
        try:
            connection = await psycopg.AsyncConnection.connect(
                self._database.dsn, autocommit=True, row_factory=dict_row
            )
        except psycopg.OperationalError as error:
            raise StoreFailedError("the database is not reachable") from error
        async with connection:
            row = await fetch_one(
                connection, "SELECT pg_try_advisory_lock(hashtextextended('telemetry/maintenance', 0)) AS ours"
            )
            ours = row is not None and row["ours"] is True
            await _act_as_owner(connection)
            try:
                yield connection if ours else None
            finally:
                if ours:
                    await execute(connection, "SELECT pg_advisory_unlock(hashtextextended('telemetry/maintenance', 0))")

    async def _refresh(
        self, connection: Connection, resolution: Resolution, now_ms: int, report: MaintenanceReport
    ) -> bool:
        """Refresh one bite of a continuous aggregate; return whether there may be more."""
        log: list[int] = []
        due: list[backlog.Due] = []
        if resolution is Resolution.MINUTE:
            log, dirty = await backlog.peek_log(connection, now_ms)
        else:
            due = await backlog.peek_due(connection, resolution, now_ms)
            step = timedelta(milliseconds=resolution.step_ms)
            dirty = [backlog.Dirty(each.property, each.bucket, each.bucket + step) for each in due]
        if not log and not due:
            return False
        dirty = backlog.above(dirty, await backlog.floor_of(connection, sql.FINER[resolution]))
        windows = windows_of(dirty)
        for since, until in windows:
            await execute(
                connection,
                "CALL refresh_continuous_aggregate('" + _AGGREGATE[resolution] + "', %s::timestamptz, %s::timestamptz)",
                [since, until],
            )
        async with connection.transaction():
            await backlog.forget_log(connection, log)
            await backlog.forget_due(connection, resolution, due)
            if (coarser := sql.COARSER.get(resolution)) is not None:
                await backlog.mark_due(connection, coarser, dirty, now_ms)
        report.rolled_up[resolution] = report.rolled_up.get(resolution, 0) + len(windows)
        return len(log) == backlog.LOG_MOST or len(due) == backlog.DUE_MOST

    async def _fold_late(self, connection: Connection, report: MaintenanceReport) -> bool:
        """Add late readings of one day below the floor to the roll-ups; return whether there may be more."""
        async with connection.transaction():
            floor = await backlog.floor_of(connection, Resolution.RAW)
            row = await fetch_one(connection, "SELECT min(at) AS at FROM telemetry.reading WHERE at < %s", [floor])
            if row is None or row["at"] is None:
                return False
            day = span_of(Resolution.RAW, row["at"])
            report.folded += await self._fold(connection, "telemetry.reading", day.since, day.until)
        return True

    async def _let_go(
        self, connection: Connection, resolution: Resolution, now_ms: int, report: MaintenanceReport
    ) -> None:
        """Drop chunks older than retention says, if everything before was rolled up."""
        wanted = backlog.wanted_floor(self._retention, resolution, now_ms)
        if wanted is None:
            return
        known = await backlog.floor_of(connection, resolution)
        if known is not None and known >= wanted:
            return
        name = _AGGREGATE[resolution].removeprefix("telemetry.")
        async with connection.transaction():
            if resolution is Resolution.RAW:  # nobody writes while we look and let go
                await execute(connection, "SELECT set_config('lock_timeout', '2s', true)")
                try:
                    await execute(connection, "LOCK TABLE telemetry.reading IN SHARE ROW EXCLUSIVE MODE")
                except psycopg.errors.LockNotAvailable:
                    report.held_back.append(f"{name} before {wanted:%Y-%m-%d}: in use")
                    raise psycopg.Rollback from None
            if await backlog.unseen_before(connection, wanted) or (
                resolution is Resolution.RAW and await self._unfolded(connection, known)
            ):
                report.held_back.append(f"{name} before {wanted:%Y-%m-%d}")
                return
            rows = await fetch_all(
                connection, "SELECT drop_chunks('" + _AGGREGATE[resolution] + "', older_than => %s) AS chunk", [wanted]
            )
            if resolution is not Resolution.RAW:
                await execute(connection, "DELETE FROM " + _FOLDED[resolution] + " WHERE bucket < %s", [wanted])
            await backlog.raise_floor(connection, resolution, wanted)
            report.dropped += [row["chunk"] for row in rows]

    async def _unfolded(self, connection: Connection, floor: datetime | None) -> bool:
        """Tell whether late readings below the floor are still to be added to the roll-ups."""
        row = await fetch_one(connection, "SELECT EXISTS (SELECT FROM telemetry.reading WHERE at < %s) AS any", [floor])
        return row is None or row["any"]

    async def _compress(self, connection: Connection, now_ms: int, report: MaintenanceReport) -> None:
        """Compress days of readings to which little is still added; what is added later is taken up by Timescale."""
        rows = await fetch_all(
            connection,
            """
            SELECT format('%%I.%%I', chunk_schema, chunk_name) AS chunk FROM timescaledb_information.chunks
             WHERE hypertable_schema = 'telemetry' AND hypertable_name = 'reading' AND NOT is_compressed
               AND range_end <= %s ORDER BY range_start LIMIT %s
            """,
            [at(now_ms) - COMPRESS_AFTER, COMPRESSED_MOST],
        )
        for row in rows:
            await execute(connection, "SELECT compress_chunk(%s::regclass, if_not_compressed => true)", [row["chunk"]])
            report.compressed += 1


async def _act_as_owner(connection: Connection) -> None:
    """Act as whoever owns the hypertable for the rest of the session: nobody else may refresh, compress and drop."""
    row = await fetch_one(
        connection, "SELECT pg_get_userbyid(relowner) AS owner FROM pg_class WHERE oid = 'telemetry.reading'::regclass"
    )
    if row is not None:
        await connection.execute(statements.SQL("SET ROLE {}").format(statements.Identifier(row["owner"])))


def windows_of(dirty: Sequence[backlog.Dirty]) -> list[tuple[datetime, datetime]]:
    """Return the spans to refresh: a continuous aggregate knows no properties, so theirs are merged. Pure."""
    windows: list[tuple[datetime, datetime]] = []
    for since, until in sorted((each.since, each.until) for each in dirty):
        if windows and since <= windows[-1][1]:
            windows[-1] = (windows[-1][0], max(windows[-1][1], until))
        else:
            windows.append((since, until))
    return windows
