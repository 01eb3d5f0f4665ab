"""Leases of shards in PostgreSQL, on its clock. The rule that uses them: `leases`.

`fence` is the other half: called inside a transaction that stores batches, last before its commit. It locks the rows
of the shards against a change of owner (FOR KEY SHARE: renewals pass, a claim's FOR UPDATE waits), so commit and claim
have one order and the loser sees it.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from typing import Final

import psycopg

from cloud.kit.database import Connection, Database, execute, fetch_all
from cloud.telemetry.fan_in.leases import Held, Lease, Standing, Worker
from protocols.errors import PlatformError, StoreFailedError

LEASE: Final = timedelta(seconds=6)
FORGOTTEN_AFTER: Final = timedelta(hours=1)
"""A worker not seen for so long is struck off the list."""
CLAIM_WAIT_MS: Final = 1_000
"""How long a claim waits for a transaction that is just committing the shard's batches."""


class ShardLostError(PlatformError):
    """Another worker serves these shards now: nothing of the transaction was stored, nothing may be acknowledged."""

    def __init__(self, shards: frozenset[int]) -> None:
        super().__init__(f"another worker serves shard {', '.join(map(str, sorted(shards)))} now")
        self.shards = shards


class PostgresLeases:
    """`LeaseStore` over table `telemetry.shard`.

    Args:
        lease: how long a claim or renewal lasts; three to six ticks of the keeper.
    """

    def __init__(self, database: Database, *, lease: timedelta = LEASE) -> None:
        self._database, self._lease = database, lease

    async def stand(self, me: Worker, held: Held, *, offered: Collection[int], staying: bool) -> Standing:
        """See `LeaseStore.stand`."""
        try:
            async with self._database.transaction() as connection:
                await execute(
                    connection,
                    """INSERT INTO telemetry.worker AS known (id, staying, seen_at)
                       VALUES (%(id)s, %(staying)s, clock_timestamp())
                       ON CONFLICT (id) DO UPDATE SET staying = excluded.staying, seen_at = excluded.seen_at""",
                    {"id": me.id, "staying": staying},
                )
                await execute(
                    connection,
                    "DELETE FROM telemetry.worker WHERE seen_at < clock_timestamp() - %s OR (id <> %s AND id LIKE %s)",
                    [FORGOTTEN_AFTER, me.id, f"{_like(me.name)}/%"],
                )
                await execute(
                    connection,
                    """UPDATE telemetry.shard AS s
                          SET expires_at = clock_timestamp() + %(lease)s, offered = s.shard = ANY(%(offered)s)
                         FROM unnest(%(shards)s::smallint[], %(tokens)s::bigint[]) AS mine (shard, token)
                        WHERE s.shard = mine.shard AND s.token = mine.token AND s.owner = %(me)s""",
                    {
                        "lease": self._lease,
                        "offered": sorted(offered),
                        "shards": list(held),
                        "tokens": list(held.values()),
                        "me": me.id,
                    },
                )
                rows = await fetch_all(
                    connection,
                    """SELECT shard, owner, token, offered, owner IS NULL OR expires_at <= clock_timestamp() AS free
                         FROM telemetry.shard ORDER BY shard""",
                )
                alive = await fetch_all(
                    connection,
                    "SELECT id FROM telemetry.worker WHERE staying AND seen_at > clock_timestamp() - %s::interval",
                    [self._lease],
                )
        except psycopg.OperationalError as error:
            raise StoreFailedError(f"leases of shards: {error}") from error
        return Standing([Lease(**row) for row in rows], frozenset(row["id"] for row in alive))

    async def claim(self, me: Worker, shards: Sequence[int]) -> dict[int, int]:
        """See `LeaseStore.claim`."""
        try:
            async with self._database.transaction() as connection:
                await execute(connection, "SELECT set_config('lock_timeout', %s, true)", [str(CLAIM_WAIT_MS)])
                rows = await fetch_all(
                    connection,
                    """SELECT shard FROM telemetry.shard
                        WHERE shard = ANY(%(shards)s) AND (owner IS NULL OR offered OR owner LIKE %(former)s
                                                           OR expires_at <= clock_timestamp())
                        ORDER BY shard FOR UPDATE""",
                    {"shards": list(shards), "former": f"{_like(me.name)}/%"},
                )
                taken = await fetch_all(
                    connection,
                    """UPDATE telemetry.shard SET owner = %(me)s, token = token + 1, offered = false,
                              expires_at = clock_timestamp() + %(lease)s
                        WHERE shard = ANY(%(shards)s) RETURNING shard, token""",
                    {"me": me.id, "lease": self._lease, "shards": [row["shard"] for row in rows]},
                )
        except psycopg.errors.LockNotAvailable:
            return {}  # its owner is committing just now: at the next tick
        except psycopg.OperationalError as error:
            raise StoreFailedError(f"leases of shards: {error}") from error
        return {row["shard"]: row["token"] for row in taken}

    async def leave(self, me: Worker, held: Held) -> None:
        """See `LeaseStore.leave`."""
        try:
            async with self._database.transaction() as connection:
                await execute(connection, "DELETE FROM telemetry.worker WHERE id = %s", [me.id])
                await execute(
                    connection,
                    """UPDATE telemetry.shard SET owner = NULL, offered = false, expires_at = '-infinity'
                        WHERE owner = %s AND shard = ANY(%s)""",
                    [me.id, list(held)],
                )
        except psycopg.OperationalError as error:
            raise StoreFailedError(f"leases of shards: {error}") from error


async def fence(connection: Connection, me: Worker, tokens: Mapping[int, int]) -> None:
    """Prove that `me` still serves the shards under these tokens, and hold that until the transaction ends.

    Raises:
        ShardLostError: another worker does.
    """
    rows = await fetch_all(
        connection,
        """SELECT s.shard FROM telemetry.shard s
             JOIN unnest(%s::smallint[], %s::bigint[]) AS mine (shard, token) ON s.shard = mine.shard
            WHERE s.token = mine.token AND s.owner = %s ORDER BY s.shard FOR KEY SHARE OF s""",
        [list(tokens), list(tokens.values()), me.id],
    )
    if lost := tokens.keys() - {row["shard"] for row in rows}:
        raise ShardLostError(frozenset(lost))


def _like(text: str) -> str:
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
