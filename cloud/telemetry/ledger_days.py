"""Days of the ledger: which there are, and what one holds of a stream, folded by the server into runs and a digest."""

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Final

from psycopg.rows import tuple_row

from cloud.kit.database import Connection, fetch_all, fetch_one
from cloud.telemetry.proof import Run

RUNS_A_PIECE: Final = 1_000
DAY: Final = timedelta(days=1)


def day_of(day: date) -> tuple[datetime, datetime]:
    """Return the first instant of a UTC day and of the next."""
    since = datetime(day.year, day.month, day.day, tzinfo=UTC)
    return since, since + DAY


async def days_held(connection: Connection) -> list[date]:
    """Return the days that the ledger has partitions for, oldest first."""
    rows = await fetch_all(
        connection,
        """
        SELECT (regexp_match(part.relname, '^record_([0-9]{8})$'))[1] AS day
          FROM pg_inherits JOIN pg_class part ON part.oid = inhrelid
         WHERE inhparent = 'telemetry.record'::regclass ORDER BY 1
        """,
    )
    return [datetime.strptime(row["day"], "%Y%m%d").replace(tzinfo=UTC).date() for row in rows if row["day"]]


async def runs_of(
    connection: Connection, key: Sequence[object], day: date, *, at_a_time: int = RUNS_A_PIECE
) -> AsyncIterator[list[Run]]:
    """Yield the runs of one day of the stream `key` (edge, incarnation, lane), from a cursor of the server.

    Each row is in one run: their lengths add up to the number of rows.
    """
    async with connection.cursor("runs", row_factory=tuple_row) as cursor:
        await cursor.execute(
            """
            SELECT min(seq), max(seq), min(id), max(id)
              FROM (SELECT seq, id, sum(starts) OVER (ORDER BY seq, id ROWS UNBOUNDED PRECEDING) AS run
                      FROM (SELECT seq, id,
                                   CASE WHEN seq = lag(seq) OVER before + 1 AND id > lag(id) OVER before
                                        THEN 0 ELSE 1 END AS starts
                              FROM telemetry.record
                             WHERE edge = %s AND incarnation = %s AND lane = %s
                               AND received_at >= %s AND received_at < %s
                            WINDOW before AS (ORDER BY seq, id)) AS marked) AS numbered
             GROUP BY run ORDER BY min(seq), min(id)
            """,
            [*key, *day_of(day)],
        )
        while rows := await cursor.fetchmany(at_a_time):
            yield [Run(*row) for row in rows]


async def digest_of(connection: Connection, key: Sequence[object], day: date) -> bytes | None:
    """Return SHA-256 over the SHA-256 of each row of one day of a stream, in order; None: it has no rows."""
    row = await fetch_one(
        connection,
        """
        SELECT sha256(string_agg(sha256(convert_to((seq, kind, body, device_at_ms, edge_at_ms, mono_ms, clock)::text,
                                                   'UTF8')), ''::bytea ORDER BY seq, id)) AS digest
          FROM telemetry.record
         WHERE edge = %s AND incarnation = %s AND lane = %s AND received_at >= %s AND received_at < %s
        """,
        [*key, *day_of(day)],
    )
    return None if row is None or row["digest"] is None else bytes(row["digest"])
