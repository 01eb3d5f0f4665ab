"""One partition of `telemetry.record` a day of arrival, made before it is needed."""

from datetime import UTC, datetime, timedelta
from typing import Final

from psycopg import sql

from cloud.kit.acting import UPKEEP, acting
from cloud.kit.database import Connection, Database, lock_for_transaction
from cloud.kit.times import at

DAYS_AHEAD: Final = 2


class Partitions:
    """Knows which days exist, so that ingest asks the database once a day."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._made: set[str] = set()

    async def ensure(self, now_ms: int) -> None:
        """Make the partitions of today and the days ahead if this process has not yet."""
        today = at(now_ms).astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        if _name(today) in self._made:
            return
        with acting(UPKEEP):
            async with self._database.transaction() as connection:
                await lock_for_transaction(connection, "telemetry", "partitions")
                for ahead in range(DAYS_AHEAD + 1):
                    await _make(connection, today + timedelta(days=ahead))
        self._made = {_name(today)}


def _name(day: datetime) -> str:
    return f"record_{day:%Y%m%d}"


async def _make(connection: Connection, day: datetime) -> None:
    await connection.execute(
        sql.SQL(
            "CREATE TABLE IF NOT EXISTS telemetry.{} PARTITION OF telemetry.record FOR VALUES FROM ({}) TO ({})"
        ).format(sql.Identifier(_name(day)), sql.Literal(day), sql.Literal(day + timedelta(days=1)))
    )
