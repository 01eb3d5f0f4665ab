# ruff: noqa: S608 - put together from the words of this room; every value is a parameter
"""What is still to be rolled up: told by writers in `rollup_log`, by the roll-up itself in `rollup_due`. Bounded bites.

A writer only ever inserts into the log, in its own transaction; only the one runner of maintenance takes from it.
Minutes that still run wait until they are over (or PATIENCE), so that a minute is computed once, not once a batch.
Coarser buckets wait in `rollup_due`: until they are over, or for REFRESH_MS while they run.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from cloud.kit.database import Connection, execute, fetch_all, fetch_one, lock_for_transaction
from cloud.kit.times import at, unix_ms
from cloud.telemetry.store.port import Resolution, Retention
from cloud.telemetry.store.sql import ORIGIN, STEP
from cloud.telemetry.store.writing import TELL_MS

LOG_MOST: Final = 200
"""Entries of the log taken at a time; each is at most 15 minutes of one property."""
DUE_MOST: Final = 200
SETTLE_MS: Final = 5_000
"""After the end of a bucket, for batches under way."""
PATIENCE: Final = timedelta(minutes=2)
"""An entry of the log waits no longer than this on the database's clock, whatever its minute says."""
REFRESH_MS: Final = {Resolution.QUARTER: 300_000, Resolution.DAY: 3_600_000}
"""A bucket that still runs is computed this often."""
_MINUTE: Final = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Dirty:
    """Whole minutes of a property, half open, in which readings were written."""

    property: str
    since: datetime
    until: datetime


@dataclass(frozen=True, slots=True)
class Due:
    """A coarser bucket of a property whose finer ones changed."""

    property: str
    bucket: datetime


def merged(spans: Iterable[tuple[str, datetime, datetime]]) -> list[Dirty]:
    """Return whole minutes that cover `spans` (both ends included), none twice, by property and time.

    None is longer than a quarter of an hour: what is computed in one statement stays bounded however long a backlog is.
    """
    found: list[Dirty] = []
    for name, low, high in sorted(spans):
        since = low.replace(second=0, microsecond=0)
        until = high.replace(second=0, microsecond=0) + _MINUTE
        last = found[-1] if found else None
        if (
            last is not None
            and last.property == name
            and since <= last.until
            and _quarter(since) == _quarter(last.since)
        ):
            found[-1] = Dirty(name, last.since, max(until, last.until))
        else:
            found.append(Dirty(name, since, until))
    return found


def _quarter(when: datetime) -> int:
    return unix_ms(when) // TELL_MS


async def runs_alone(connection: Connection) -> bool:
    """Take the lock of the one runner until the transaction ends, or return False: somebody else has it."""
    row = await fetch_one(
        connection, "SELECT pg_try_advisory_xact_lock(hashtextextended('telemetry/maintenance', 0)) AS ours"
    )
    return row is not None and row["ours"] is True


async def lock_partitions(connection: Connection) -> None:
    """Take turns with whoever makes partitions."""
    await lock_for_transaction(connection, "telemetry", "series partitions")


async def peek_log(connection: Connection, now_ms: int, *, most: int = LOG_MOST) -> tuple[list[int], list[Dirty]]:
    """Return (ids, minutes) of up to `most` entries whose minutes are over or that have waited long enough."""
    rows = await fetch_all(
        connection,
        """
        SELECT id, property, low, high FROM telemetry.rollup_log
         WHERE high < %(over)s OR told_at < clock_timestamp() - %(patience)s ORDER BY id LIMIT %(most)s
        """,
        {"over": at(now_ms - 60_000 - SETTLE_MS), "patience": PATIENCE, "most": most},
    )
    return [row["id"] for row in rows], merged((row["property"], row["low"], row["high"]) for row in rows)


async def forget_log(connection: Connection, ids: Sequence[int]) -> None:
    """Take entries from the log."""
    await execute(connection, "DELETE FROM telemetry.rollup_log WHERE id = ANY(%s)", [list(ids)])


async def mark_due(connection: Connection, resolution: Resolution, dirty: Sequence[Dirty], now_ms: int) -> None:
    """Note the buckets of `resolution` that `dirty` touches: due when over, or in a while if they still run."""
    if not dirty:
        return
    step = STEP[resolution]
    buckets = (
        "generate_series(date_bin(" + step + ", spans.since, " + ORIGIN + "), spans.until - INTERVAL '1 microsecond', "
        + step + ")"
    )  # fmt: skip
    await execute(
        connection,
        "INSERT INTO telemetry.rollup_due AS known (resolution, property, bucket, due_at)"
        " SELECT DISTINCT %(resolution)s, spans.property, bucket,"
        " CASE WHEN bucket + " + step + " <= %(now)s THEN %(now)s"
        " ELSE least(bucket + " + step + " + %(settle)s, %(now)s + %(refresh)s) END"
        " FROM unnest(%(property)s::text[], %(since)s::timestamptz[], %(until)s::timestamptz[])"
        " AS spans (property, since, until), " + buckets + " AS bucket"
        " ON CONFLICT (resolution, property, bucket) DO UPDATE SET due_at = least(known.due_at, excluded.due_at)",
        {
            "resolution": resolution.value,
            "now": at(now_ms),
            "settle": timedelta(milliseconds=SETTLE_MS),
            "refresh": timedelta(milliseconds=REFRESH_MS[resolution]),
            "property": [each.property for each in dirty],
            "since": [each.since for each in dirty],
            "until": [each.until for each in dirty],
        },
    )  # fmt: skip


async def peek_due(connection: Connection, resolution: Resolution, now_ms: int, *, most: int = DUE_MOST) -> list[Due]:
    """Return up to `most` buckets whose time has come, the longest due first."""
    rows = await fetch_all(
        connection,
        """
        SELECT property, bucket FROM telemetry.rollup_due WHERE resolution = %s AND due_at <= %s
         ORDER BY due_at, property, bucket LIMIT %s
        """,
        [resolution.value, at(now_ms), most],
    )
    return [Due(row["property"], row["bucket"]) for row in rows]


async def forget_due(connection: Connection, resolution: Resolution, due: Sequence[Due]) -> None:
    """Take buckets from what is due."""
    await execute(
        connection,
        """
        DELETE FROM telemetry.rollup_due AS known
         USING unnest(%s::text[], %s::timestamptz[]) AS done (property, bucket)
         WHERE known.resolution = %s AND known.property = done.property AND known.bucket = done.bucket
        """,
        [[each.property for each in due], [each.bucket for each in due], resolution.value],
    )


async def unseen_before(connection: Connection, when: datetime) -> bool:
    """Tell whether anything before `when` is still to be rolled up, at any resolution."""
    row = await fetch_one(
        connection,
        """
        SELECT EXISTS (SELECT FROM telemetry.rollup_log WHERE low < %(when)s)
            OR EXISTS (SELECT FROM telemetry.rollup_due WHERE bucket < %(when)s) AS unseen
        """,
        {"when": when},
    )
    return row is None or row["unseen"]


async def floor_of(connection: Connection, resolution: Resolution) -> datetime | None:
    """Return since when `resolution` is kept; None: nothing was ever let go."""
    row = await fetch_one(connection, "SELECT since FROM telemetry.kept WHERE resolution = %s", [resolution.value])
    return None if row is None else row["since"]


async def raise_floor(connection: Connection, resolution: Resolution, since: datetime) -> None:
    """Note that `resolution` is kept since `since` only; never falls."""
    await execute(
        connection,
        """
        INSERT INTO telemetry.kept AS known (resolution, since) VALUES (%s, %s)
        ON CONFLICT (resolution) DO UPDATE SET since = greatest(known.since, excluded.since)
        """,
        [resolution.value, since],
    )


def wanted_floor(retention: Retention, resolution: Resolution, now_ms: int) -> datetime | None:
    """Return the midnight from which on `resolution` is to be kept; None: for ever."""
    kept = retention.of(resolution)
    if kept is None:
        return None
    day_ms = Resolution.DAY.step_ms
    return at((now_ms - int(kept / timedelta(milliseconds=1))) // day_ms * day_ms)


def above(dirty: Iterable[Dirty], floor: datetime | None) -> list[Dirty]:
    """Return what of `dirty` lies at or above `floor`; what lies below is folded in, not computed anew."""
    if floor is None:
        return list(dirty)
    return [Dirty(each.property, max(each.since, floor), each.until) for each in dirty if each.until > floor]
