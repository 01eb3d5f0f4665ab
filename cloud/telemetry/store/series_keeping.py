# ruff: noqa: S608 - put together from the words of this module alone; every value is a parameter
"""Lets series go of which nothing is left: no reading, and no roll-up of any resolution.

Source of truth: docs/decisions/0166. Writers remember the ids of series (writing.py), so none is deleted as soon as it
is found unused. It is marked first (`unused_since`). A writer that looks it up takes the mark back, in a transaction
that holds its row; and none goes by what it remembers for longer than KNOWN_FOR. What is still marked and unused after
UNUSED_FOR, many times as long, nobody remembers. Both spans are told by the clock of the database.

Where day roll-ups are kept for ever they name every series that ever had a reading: then there is nothing to do.
"""

from datetime import timedelta
from typing import Final, LiteralString

from cloud.kit.acting import acting, system
from cloud.kit.database import Connection, Database, execute, fetch_all
from cloud.telemetry.store import backlog, sql
from cloud.telemetry.store.port import Resolution, Retention

UNUSED_FOR: Final = timedelta(days=2)
LOOKED_AT: Final = 200
"""Series of one bite: each is looked for in every partition."""
EVERY_MS: Final = 60_000
_LEFT: Final[LiteralString] = " OR ".join(
    "EXISTS (SELECT FROM " + sql.TABLE[each] + " AS left_of WHERE left_of.series = series.id)" for each in Resolution
)


class SeriesKeeping:
    """Walks through the series, a bite at a time, and begins again at the end. One works at a time."""

    def __init__(self, database: Database, retention: Retention) -> None:
        self._database, self._retention = database, retention
        self._next = 0
        self._looked_ms: int | None = None

    async def run(self, now_ms: int) -> int:
        """Mark some, and let go some that were marked long enough; return how many went."""
        if self._retention.day is None:
            return 0
        if self._looked_ms is not None and 0 <= now_ms - self._looked_ms < EVERY_MS:
            return 0
        self._looked_ms = now_ms
        with acting(system("series")):
            async with self._database.transaction() as connection:
                if not await backlog.runs_alone(connection):
                    return 0
                await self._mark(connection)
            async with self._database.transaction() as connection:
                if not await backlog.runs_alone(connection):
                    return 0
                return await _let_go(connection)

    async def _mark(self, connection: Connection) -> None:
        rows = await fetch_all(
            connection,
            "SELECT id FROM telemetry.series WHERE id > %s ORDER BY id LIMIT %s",
            [self._next, LOOKED_AT],
        )
        ids = [row["id"] for row in rows]
        await execute(
            connection,
            "UPDATE telemetry.series SET unused_since = clock_timestamp() WHERE id IN ("
            " SELECT id FROM telemetry.series WHERE id = ANY(%s) AND unused_since IS NULL AND NOT (" + _LEFT + ")"
            " FOR UPDATE SKIP LOCKED)",
            [ids],
        )
        self._next = ids[-1] if len(ids) == LOOKED_AT else 0


async def _let_go(connection: Connection) -> int:
    """Delete what was marked for UNUSED_FOR and is unused; what is used again, by who remembered it, is marked no more.

    A row that a writer looks up meanwhile is locked and passed over, or was taken back before.
    """
    rows = await fetch_all(
        connection,
        "SELECT id FROM telemetry.series WHERE unused_since < clock_timestamp() - %s"
        " ORDER BY unused_since LIMIT %s FOR UPDATE SKIP LOCKED",
        [UNUSED_FOR, LOOKED_AT],
    )
    ids = [row["id"] for row in rows]
    await execute(
        connection,
        "UPDATE telemetry.series SET unused_since = NULL WHERE id = ANY(%s) AND (" + _LEFT + ")",
        [ids],
    )
    return await execute(
        connection, "DELETE FROM telemetry.series WHERE id = ANY(%s) AND unused_since IS NOT NULL", [ids]
    )
