"""Which engine carries the time series: the one whose tables the migration made in this database."""

from cloud.kit.database import Database, fetch_one
from cloud.telemetry.store.plain import PlainStore
from cloud.telemetry.store.port import Retention, TelemetryStore
from cloud.telemetry.store.timescale import TimescaleStore
from cloud.telemetry.store.writing import SERIES_MOST
from protocols.errors import StoreFailedError


async def choose(
    database: Database, *, retention: Retention | None = None, series_most: int = SERIES_MOST
) -> TelemetryStore:
    """Return the store for what stands in an open database.

    Raises:
        StoreFailedError: the database does not answer, or was not migrated.
    """
    async with database.transaction() as connection:
        row = await fetch_one(
            connection,
            """
            SELECT to_regclass('telemetry.reading') IS NOT NULL AS there,
                   (SELECT relkind = 'p' FROM pg_class WHERE oid = to_regclass('telemetry.reading')) AS partitioned
            """,
        )
    if row is None or not row["there"]:
        raise StoreFailedError("telemetry.reading does not exist: run `innkeeper-cloud migrate`")
    return (PlainStore if row["partitioned"] else TimescaleStore)(
        database, retention=retention, series_most=series_most
    )
