# ruff: noqa: S608 - put together from the words of this room; every value is a parameter
"""The time series on PostgreSQL alone: partitions by time, roll-ups of our own.

Each step of maintenance is one transaction under the lock of the one runner: it takes a bounded bite of what is to be
rolled up and computes those buckets anew from what is there. Cut off anywhere, nothing of a step happened and the next
run takes the same bite. Below the floor of RAW (what retention let go) nothing is computed anew: late readings are
added.
"""

import functools
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Final

import psycopg
from psycopg import sql as statements

from cloud.kit.acting import UPKEEP, acting
from cloud.kit.database import Connection, Database, execute, fetch_all, fetch_one
from cloud.kit.times import at
from cloud.telemetry.store import backlog, sql
from cloud.telemetry.store.common import CommonStore
from cloud.telemetry.store.days import DAY, Span, span_of, spans
from cloud.telemetry.store.port import MaintenanceReport, Resolution, Retention
from cloud.telemetry.store.writing import SERIES_MOST, CopyWriter, RowWriter

DAYS_AHEAD: Final = 2
DAYS_BEHIND: Final = 1
BITES_MOST: Final = 20
"""Bites of each kind in one run."""
LOCK_WAIT: Final = "2s"
"""How long letting go may make writers wait; then another run tries again."""


class PlainStore(CommonStore):
    """The telemetry store on PostgreSQL alone; see `TelemetryStore`."""

    def __init__(
        self,
        database: Database,
        *,
        retention: Retention | None = None,
        writer: RowWriter | None = None,
        series_most: int = SERIES_MOST,
    ) -> None:
        folded = {each: sql.TABLE[each] for each in sql.ROLLUPS}
        super().__init__(
            database,
            retention=retention or Retention(),
            writer=writer or CopyWriter(),
            split=False,
            folded=folded,
            series_most=series_most,
        )
        self._today: datetime | None = None

    async def ensure_partitions(self, now_ms: int) -> None:
        """See `TelemetryStore.ensure_partitions`."""
        today = span_of(Resolution.RAW, at(now_ms))
        if self._today == today.since:
            return
        with acting(UPKEEP):
            async with self._database.transaction() as connection:
                await backlog.lock_partitions(connection)
                days = spans(Resolution.RAW, today.since - DAYS_BEHIND * DAY, today.since + DAYS_AHEAD * DAY)
                missing = await _missing(connection, Resolution.RAW, [day.since for day in days])
                if missing and not await _locked(connection, "reading"):
                    return  # in use: readings go to the rest, and a later call gets through
                for day in missing:
                    await _make_day(connection, day)
        self._today = today.since

    async def run_maintenance(self, now_ms: int) -> MaintenanceReport:
        """See `TelemetryStore.run_maintenance`."""
        with acting(UPKEEP):
            return await self._keep_ledger(now_ms, await self._maintain(now_ms))

    async def _maintain(self, now_ms: int) -> MaintenanceReport:
        report = MaintenanceReport()
        await self.ensure_partitions(now_ms)
        steps: list[Callable[[], Awaitable[bool]]] = [
            functools.partial(self._roll_up, Resolution.MINUTE, now_ms, report),
            functools.partial(self._roll_up, Resolution.QUARTER, now_ms, report),
            functools.partial(self._roll_up, Resolution.DAY, now_ms, report),
            functools.partial(self._fold_late, report),
            self._settle_rest,
        ]
        for step in steps:
            for _ in range(BITES_MOST):
                if not await step():
                    break
            else:
                report.more = True
        for resolution in (*reversed(sql.ROLLUPS), Resolution.RAW):
            await self._let_go(resolution, now_ms, report)
        return report

    # ------------------------------------------------------------------ rolling up

    async def _roll_up(self, resolution: Resolution, now_ms: int, report: MaintenanceReport) -> bool:
        """Compute one bite of buckets from what is finer; return whether there may be more."""
        finer = sql.FINER[resolution]
        async with self._database.transaction() as connection:
            if not await backlog.runs_alone(connection):
                return False
            log: list[int] = []
            due: list[backlog.Due] = []
            if resolution is Resolution.MINUTE:
                log, dirty = await backlog.peek_log(connection, now_ms)
            else:
                due = await backlog.peek_due(connection, resolution, now_ms)
                dirty = [_dirty(each, resolution) for each in due]
            if not log and not due:
                return False
            dirty = backlog.above(dirty, await backlog.floor_of(connection, finer))
            missing = await _missing(connection, resolution, [each.since for each in dirty])
            if not missing:
                done = await _compute(connection, resolution, dirty)
                await backlog.forget_log(connection, log)
                await backlog.forget_due(connection, resolution, due)
                if (coarser := sql.COARSER.get(resolution)) is not None:
                    await backlog.mark_due(connection, coarser, dirty, now_ms)
        if missing:  # made in a short transaction of their own: making one locks the roll-up against its readers
            await self._make(resolution, missing)
            return True
        report.rolled_up[resolution] = report.rolled_up.get(resolution, 0) + done
        return len(log) == backlog.LOG_MOST or len(due) == backlog.DUE_MOST

    async def _make(self, resolution: Resolution, missing: Iterable[Span]) -> None:
        async with self._database.transaction() as connection:
            await backlog.lock_partitions(connection)
            for span in missing:
                await connection.execute(
                    statements.SQL(
                        "CREATE TABLE IF NOT EXISTS telemetry.{} PARTITION OF telemetry.{} FOR VALUES FROM ({}) TO ({})"
                    ).format(
                        statements.Identifier(_part(resolution, span)),
                        statements.Identifier(_table(resolution)),
                        statements.Literal(span.since),
                        statements.Literal(span.until),
                    )
                )

    # ------------------------------------------------------------------ readings without a day

    async def _fold_late(self, report: MaintenanceReport) -> bool:
        """Add the late readings of one day that retention let go to the roll-ups; return whether there may be more."""
        missing: dict[Resolution, list[Span]] = {}
        async with self._database.transaction() as connection:
            if not await backlog.runs_alone(connection):
                return False
            floor = await backlog.floor_of(connection, Resolution.RAW)
            row = await fetch_one(connection, "SELECT min(at) AS at FROM telemetry.reading_rest WHERE at < %s", [floor])
            if row is None or row["at"] is None:
                return False
            day = span_of(Resolution.RAW, row["at"])
            for each in sql.ROLLUPS:
                kept = await backlog.floor_of(connection, each)
                if (kept is None or day.since >= kept) and (lacking := await _missing(connection, each, [day.since])):
                    missing[each] = lacking
            if not missing:
                report.folded += await self._fold(connection, "telemetry.reading_rest", day.since, day.until)
        for resolution, lacking in missing.items():
            await self._make(resolution, lacking)
        return True

    async def _settle_rest(self) -> bool:
        """Give readings of one day that has no partition one; return whether there may be more."""
        async with self._database.transaction() as connection:
            if not await backlog.runs_alone(connection):
                return False
            floor = await backlog.floor_of(connection, Resolution.RAW)
            row = await fetch_one(
                connection,
                "SELECT min(at) AS at FROM telemetry.reading_rest WHERE at >= coalesce(%s, '-infinity'::timestamptz)",
                [floor],
            )
            if row is None or row["at"] is None:
                return False
            await backlog.lock_partitions(connection)
            if not await _locked(connection, "reading"):
                return False
            await _make_day(connection, span_of(Resolution.RAW, row["at"]))
        return True

    # ------------------------------------------------------------------ letting go

    async def _let_go(self, resolution: Resolution, now_ms: int, report: MaintenanceReport) -> None:
        """Drop partitions older than retention says, if the next coarser roll-up has seen all of them."""
        wanted = backlog.wanted_floor(self._retention, resolution, now_ms)
        if wanted is None:
            return
        table = _table(resolution)
        async with self._database.transaction() as connection:
            if not await backlog.runs_alone(connection):
                return
            known = await backlog.floor_of(connection, resolution)
            if known is not None and known >= wanted:
                return
            old = [name for name, until in await _parts(connection, table) if until <= wanted]
            await backlog.lock_partitions(connection)
            if not await _locked(connection, table):
                report.held_back.append(f"{table} before {wanted:%Y-%m-%d}: in use")
                return
            # nobody writes while we look and let go
            if await backlog.unseen_before(connection, wanted):
                report.held_back.append(f"{table} before {wanted:%Y-%m-%d}")
                return
            for name in old:
                await connection.execute(statements.SQL("DROP TABLE telemetry.{}").format(statements.Identifier(name)))
            if resolution is Resolution.RAW:
                # rolled up already, or `unseen_before` had said so; what lies below the floor that was is still to be
                # folded in, like all that comes from now on
                await execute(
                    connection,
                    "DELETE FROM telemetry.reading_rest WHERE at >= coalesce(%s, '-infinity'::timestamptz) AND at < %s",
                    [known, wanted],
                )
            await backlog.raise_floor(connection, resolution, wanted)
        report.dropped += old


def _dirty(due: backlog.Due, resolution: Resolution) -> backlog.Dirty:
    return backlog.Dirty(due.property, due.bucket, due.bucket + timedelta(milliseconds=resolution.step_ms))


def _part(resolution: Resolution, span: Span) -> str:
    return f"{_table(resolution)}_{span.name}"


def _table(resolution: Resolution) -> str:
    return sql.TABLE[resolution].removeprefix("telemetry.")


async def _missing(connection: Connection, resolution: Resolution, whens: Iterable[datetime]) -> list[Span]:
    """Return the partitions that hold `whens` and do not exist. Nobody drops one while we have the runner's lock."""
    wanted = {_part(resolution, span): span for span in (span_of(resolution, when) for when in whens)}
    rows = await fetch_all(
        connection,
        "SELECT name FROM unnest(%s::text[]) AS name WHERE to_regclass('telemetry.' || name) IS NULL ORDER BY name",
        [sorted(wanted)],
    )
    return [wanted[row["name"]] for row in rows]


async def _compute(connection: Connection, resolution: Resolution, dirty: Sequence[backlog.Dirty]) -> int:
    """Compute the buckets of `resolution` in `dirty` anew from what is finer; return how many there are."""
    series = await _series_of_properties(connection, {each.property for each in dirty})
    if resolution is Resolution.MINUTE:
        source = sql.partial_of_readings(
            "telemetry.reading WHERE series = ANY(%(series)s) AND at >= %(since)s AND at < %(until)s"
        )
    else:
        source = (
            "SELECT " + sql.COLUMNS + " FROM " + sql.TABLE[sql.FINER[resolution]] + " WHERE series = ANY(%(series)s)"
            " AND bucket >= %(since)s AND bucket < %(until)s"
        )
    statement = sql.replace(sql.TABLE[resolution], sql.combined(source, sql.STEP[resolution]))
    done = 0
    for each in dirty:
        done += await execute(
            connection,
            statement,
            {"series": series.get(each.property, []), "since": each.since, "until": each.until},
        )
    return done


async def _series_of_properties(connection: Connection, properties: set[str]) -> dict[str, list[int]]:
    rows = await fetch_all(
        connection,
        "SELECT property, array_agg(id) AS ids FROM telemetry.series WHERE property = ANY(%s) GROUP BY property",
        [sorted(properties)],
    )
    return {row["property"]: row["ids"] for row in rows}


async def _locked(connection: Connection, table: str) -> bool:
    """Lock a table of `telemetry` against everybody until the transaction ends; False: it was in use for LOCK_WAIT."""
    await execute(connection, "SELECT set_config('lock_timeout', %s, true)", [LOCK_WAIT])
    try:
        async with connection.transaction():
            await connection.execute(
                statements.SQL("LOCK TABLE telemetry.{} IN ACCESS EXCLUSIVE MODE").format(statements.Identifier(table))
            )
    except psycopg.errors.LockNotAvailable:
        return False
    await execute(connection, "SELECT set_config('lock_timeout', '0', true)")
    return True


async def _parts(connection: Connection, table: str) -> list[tuple[str, datetime]]:
    """Return (name, end) of the partitions of a table of `telemetry`, the default one left out."""
    rows = await fetch_all(
        connection,
        """
        SELECT part.relname AS name,
               (regexp_match(pg_get_expr(part.relpartbound, part.oid), 'TO .''([^'']+)'''))[1]::timestamptz AS until
          FROM pg_inherits JOIN pg_class part ON part.oid = inhrelid
         WHERE inhparent = ('telemetry.' || %s)::regclass AND pg_get_expr(part.relpartbound, part.oid) <> 'DEFAULT'
         ORDER BY 2
        """,
        [table],
    )
    return [(row["name"], row["until"]) for row in rows]


async def _make_day(connection: Connection, day: Span) -> None:
    """Make the partition of a day and move into it what stood in the rest. Harmless if it is there.

    The caller has `telemetry.reading` locked against writers: one that had chosen the rest for a reading of this day
    would otherwise find it refused there once the day stands.
    """
    name = _part(Resolution.RAW, day)
    found = await fetch_one(connection, "SELECT to_regclass('telemetry.' || %s) AS found", [name])
    if found is not None and found["found"] is not None:
        return
    floor = await backlog.floor_of(connection, Resolution.RAW)
    if floor is not None and day.since < floor:
        return  # retention let this day go
    names = {"part": statements.Identifier(name), "since": statements.Literal(day.since)}
    names["until"] = statements.Literal(day.until)
    await connection.execute(statements.SQL("CREATE TABLE telemetry.{part} (LIKE telemetry.reading)").format(**names))
    await connection.execute(
        statements.SQL(
            "WITH moved AS (DELETE FROM telemetry.reading_rest WHERE at >= {since} AND at < {until} RETURNING *)"
            " INSERT INTO telemetry.{part} SELECT * FROM moved"
        ).format(**names)
    )
    await connection.execute(
        statements.SQL(
            "ALTER TABLE telemetry.reading ATTACH PARTITION telemetry.{part} FOR VALUES FROM ({since}) TO ({until})"
        ).format(**names)
    )
