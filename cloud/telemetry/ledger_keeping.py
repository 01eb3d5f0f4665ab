"""How long the ledger keeps its rows, and what stands for them afterwards. Source: docs/decisions/0053.

A day that is over is **sealed**: each stream that has rows in it gets a checkpoint (`telemetry.proof`) of its runs, its
count and a digest of the rows. A day is let go lane by lane, and only if every row of it is under a seal; checkpoints
then stand for the rows, so that completeness is still proved from position 1. What stays of a day moves to a smaller
partition of the same name: writers wait for the exchange of the two alone.
"""

from dataclasses import dataclass, field
from datetime import UTC, date, timedelta
from typing import Any, Final, LiteralString

import psycopg
from psycopg import sql

from cloud.kit.acting import UPKEEP, acting
from cloud.kit.database import Connection, Database, execute, fetch_all, fetch_one, jsonb
from cloud.kit.times import at
from cloud.telemetry.ledger_days import DAY, day_of, days_held, digest_of, runs_of
from cloud.telemetry.refused_keeping import let_refused_go
from protocols.errors import InvalidInputError
from protocols.link.lanes import LANES, Lane

SEAL_AFTER: Final = timedelta(hours=1)
"""How long after its end a day is over: batches under way at midnight are stored by then."""
SEALED_AT_ONCE: Final = 200
"""Days of streams sealed in one run: each reads a day of rows."""
REFUSED_EVERY_MS: Final = 60_000
"""How often what was refused is looked at."""
LOCK_WAIT: Final = "2s"
"""How long the exchange of two partitions may make writers wait; then another run tries again."""


@dataclass(frozen=True, slots=True)
class LedgerRetention:
    """How long the rows of each lane are kept at least; None: for ever. Checkpoints are kept for ever.

    Raises:
        InvalidInputError: less than 2 days, or a lane longer than the one before it.
    """

    a: timedelta | None = timedelta(days=1_100)
    b: timedelta | None = timedelta(days=100)
    c: timedelta | None = timedelta(days=14)

    def __post_init__(self) -> None:
        kept = [timedelta.max if each is None else each for each in (self.a, self.b, self.c)]
        if min(kept) < timedelta(days=2):
            raise InvalidInputError("ledger", "less than 2 days would let rows go that are not sealed yet")
        if kept != sorted(kept, reverse=True):
            raise InvalidInputError("ledger", "lane A is kept longest, then B, then C")

    @property
    def by_lane(self) -> dict[Lane, timedelta | None]:
        """How long the rows of each lane are kept."""
        return dict(zip(LANES, (self.a, self.b, self.c), strict=True))

    def let_go(self, day: date, today: date) -> tuple[Lane, ...]:
        """Return the lanes whose rows of `day` have been kept long enough."""
        return tuple(lane for lane, span in self.by_lane.items() if span is not None and day + DAY + span <= today)


@dataclass(slots=True)
class LedgerReport:
    """What one run did."""

    sealed: int = 0
    """Days of streams."""
    dropped: list[str] = field(default_factory=list)
    held_back: list[str] = field(default_factory=list)
    """What would have been let go, had all of it been sealed and unused; and why it was not."""
    more: bool = False


class LedgerKeeping:
    """Seals days of the ledger and lets them go. Any number may run: one works at a time."""

    def __init__(self, database: Database, retention: LedgerRetention | None = None) -> None:
        self._database, self._retention = database, retention or LedgerRetention()
        self._sealed: set[date] = set()
        self._refused_ms: int | None = None

    async def run(self, now_ms: int) -> LedgerReport:
        """Seal some of what is over, let go what was kept long enough. Cut off anywhere, the next run goes on."""
        report = LedgerReport()
        with acting(UPKEEP):
            async with self._database.transaction() as connection:
                days = await days_held(connection)
            over = (at(now_ms) - SEAL_AFTER).astimezone(UTC).date()
            for day in days:
                if day < over and day not in self._sealed:
                    await self._seal(day, now_ms, report)
                    if report.sealed >= SEALED_AT_ONCE:
                        report.more = True
                        return report
                    self._sealed.add(day)
            for day in days:
                if lanes := self._retention.let_go(day, at(now_ms).astimezone(UTC).date()):
                    await self._let_go(day, lanes, now_ms, report)
            if self._refused_ms is None or not 0 <= now_ms - self._refused_ms < REFUSED_EVERY_MS:
                async with self._database.transaction() as connection:
                    if await _alone(connection):
                        report.dropped += await let_refused_go(connection, self._retention.by_lane, now_ms)
                self._refused_ms = now_ms
        return report

    async def _seal(self, day: date, now_ms: int, report: LedgerReport) -> None:
        since, until = day_of(day)
        async with self._database.transaction() as connection:
            if not await _alone(connection):
                return
            rows = await fetch_all(
                connection,
                """
                SELECT s.edge, s.incarnation, s.lane FROM telemetry.stream s
                 WHERE NOT EXISTS (SELECT FROM telemetry.proof p
                                    WHERE (p.edge, p.incarnation, p.lane, p.day) = (s.edge, s.incarnation, s.lane, %s))
                   AND EXISTS (SELECT FROM telemetry.record r
                                WHERE (r.edge, r.incarnation, r.lane) = (s.edge, s.incarnation, s.lane)
                                  AND r.received_at >= %s AND r.received_at < %s)
                 LIMIT %s
                """,
                [day, since, until, SEALED_AT_ONCE - report.sealed],
            )
        for row in rows:
            async with self._database.transaction() as connection:
                await seal(connection, [row["edge"], row["incarnation"], row["lane"]], day, now_ms)
            report.sealed += 1

    async def _let_go(self, day: date, lanes: tuple[Lane, ...], now_ms: int, report: LedgerReport) -> None:
        """Let the rows of some lanes of a day go if there are any, all under a seal."""
        name, part = f"record_{day:%Y%m%d}", sql.Identifier(f"record_{day:%Y%m%d}")
        told = f"{name} lanes {''.join(lanes)}"
        async with self._database.transaction() as connection:
            if not await _alone(connection):
                return
            # nobody writes into a day that is over; should somebody's clock be wrong, he waits, or we see his rows
            if not await _locked(connection, name, "SHARE"):
                report.held_back.append(f"{told}: in use")
                return
            going = [lane.value for lane in lanes]
            if not await _any(connection, name, going, of_them=True):
                return
            if unsealed := await _unsealed(connection, name, day, going):
                report.held_back.append(f"{told}: {unsealed}")
                return
            fresh = sql.Identifier(f"{name}_kept")
            stays = await _any(connection, name, going, of_them=False)
            if stays:
                await connection.execute(
                    sql.SQL("CREATE TABLE telemetry.{} (LIKE telemetry.record INCLUDING DEFAULTS)").format(fresh)
                )
                await connection.execute(
                    sql.SQL("INSERT INTO telemetry.{} SELECT * FROM telemetry.{} WHERE lane <> ALL ({})").format(
                        fresh, part, sql.Literal(going)
                    )
                )
            if not await _locked(connection, "record", "ACCESS EXCLUSIVE"):
                report.held_back.append(f"{told}: in use")
                raise psycopg.Rollback
            await connection.execute(sql.SQL("DROP TABLE telemetry.{}").format(part))
            if stays:
                since, until = day_of(day)
                await connection.execute(sql.SQL("ALTER TABLE telemetry.{} RENAME TO {}").format(fresh, part))
                await connection.execute(
                    sql.SQL(
                        "ALTER TABLE telemetry.record ATTACH PARTITION telemetry.{} FOR VALUES FROM ({}) TO ({})"
                    ).format(part, sql.Literal(since), sql.Literal(until))
                )
            await execute(
                connection,
                "UPDATE telemetry.proof SET let_go_at = %s WHERE day = %s AND lane = ANY (%s) AND let_go_at IS NULL",
                [at(now_ms), day, going],
            )
            report.dropped.append(told)


async def seal(connection: Connection, key: list[Any], day: date, now_ms: int) -> None:
    """Keep the checkpoint of one day of the stream `key` (edge, incarnation, lane), unless there is one."""
    runs = [run async for piece in runs_of(connection, key, day) for run in piece]
    await execute(
        connection,
        """
        INSERT INTO telemetry.proof (edge, incarnation, lane, day, runs, records, digest, proved_at)
        VALUES (%s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING
        """,
        [
            *key, day, jsonb(runs), sum(run.last - run.first + 1 for run in runs),
            await digest_of(connection, key, day), at(now_ms),
        ],
    )  # fmt: skip


async def _alone(connection: Connection) -> bool:
    row = await fetch_one(
        connection, "SELECT pg_try_advisory_xact_lock(hashtextextended('telemetry/ledger', 0)) AS ours"
    )
    return row is not None and row["ours"] is True


async def _any(connection: Connection, name: str, lanes: list[str], *, of_them: bool) -> bool:
    found = await connection.execute(
        sql.SQL("SELECT EXISTS (SELECT FROM telemetry.{} WHERE (lane = ANY ({})) = {}) AS any").format(
            sql.Identifier(name), sql.Literal(lanes), sql.Literal(of_them)
        )
    )
    row = await found.fetchone()
    return row is not None and row["any"] is True


async def _unsealed(connection: Connection, name: str, day: date, lanes: list[str]) -> str | None:
    """Return what is wrong with a day that is to go: rows beside those that checkpoints stand for; None: nothing."""
    found = await connection.execute(
        sql.SQL("SELECT lane, count(*) AS rows FROM telemetry.{} WHERE lane = ANY ({}) GROUP BY lane").format(
            sql.Identifier(name), sql.Literal(lanes)
        )
    )
    there = {row["lane"]: row["rows"] for row in await found.fetchall()}
    proved = {
        row["lane"]: int(row["records"])
        for row in await fetch_all(
            connection,
            """SELECT lane, sum(records) AS records FROM telemetry.proof
                WHERE day = %s AND lane = ANY (%s) AND let_go_at IS NULL GROUP BY lane""",
            [day, lanes],
        )
    }
    wrong = [
        f"{rows} rows of lane {lane}, {proved.get(lane, 0)} sealed"
        for lane, rows in sorted(there.items())
        if rows != proved.get(lane, 0)
    ]
    return "; ".join(wrong) or None


async def _locked(connection: Connection, table: str, mode: LiteralString) -> bool:
    """Lock a table of `telemetry` until the transaction ends; False: it was in use for LOCK_WAIT."""
    await execute(connection, "SELECT set_config('lock_timeout', %s, true)", [LOCK_WAIT])
    try:
        async with connection.transaction():
            await connection.execute(
                sql.SQL("LOCK TABLE telemetry.{} IN " + mode + " MODE").format(sql.Identifier(table))
            )
    except psycopg.errors.LockNotAvailable:
        return False
    await execute(connection, "SELECT set_config('lock_timeout', '0', true)")
    return True
