"""What a transaction and a snapshot promise."""

import psycopg
import pytest

from cloud.kit.database import Database, execute, fetch_one

pytestmark = pytest.mark.tier("postgres")


async def count(connection: psycopg.AsyncConnection[object]) -> int:
    row = await fetch_one(connection, "SELECT count(*) AS n FROM platform.tenant")
    assert row is not None
    return int(row["n"])


@pytest.mark.guarantee("G17")
async def test_a_snapshot_sees_one_moment_whatever_arrives_meanwhile(database: Database) -> None:
    async with database.snapshot() as reading:
        before = await count(reading)
        async with database.transaction() as writing:
            await execute(writing, "INSERT INTO platform.tenant (id, created_at) VALUES ('t', now())")
        assert await count(reading) == before
    async with database.snapshot() as reading:
        assert await count(reading) == before + 1


async def test_a_snapshot_only_reads(database: Database) -> None:
    async def write() -> None:
        async with database.snapshot() as connection:
            await execute(connection, "INSERT INTO platform.tenant (id, created_at) VALUES ('t', now())")

    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        await write()
    async with database.transaction() as connection:  # and the next user of the connection may write
        await execute(connection, "INSERT INTO platform.tenant (id, created_at) VALUES ('t', now())")
