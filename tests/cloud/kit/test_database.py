"""What a transaction and a snapshot promise."""

import asyncio
from datetime import UTC, datetime

import psycopg
import pytest

from cloud.kit.acting import NobodyActsError, acting, tenant
from cloud.kit.database import CommitInDoubtError, Database, execute, fetch_one
from protocols.errors import StoreFailedError

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


async def test_a_question_is_asked_as_who_acts_and_changes_nothing(database: Database) -> None:
    async with database.transaction() as connection:
        for name in ("t", "u"):
            await execute(connection, "INSERT INTO platform.tenant (id, created_at) VALUES (%s, now())", [name])
            await execute(
                connection,
                "INSERT INTO platform.property (id, tenant, name, zone, edge, site_plan, created_at, updated_at)"
                " VALUES (%(id)s, %(tenant)s, 'House', 'Etc/UTC', %(edge)s, '{}', now(), now())",
                {"id": f"house-{name}", "tenant": name, "edge": f"e-{name}"},
            )
    with acting(tenant("u")):
        assert await database.ask("SELECT id FROM platform.property") == [{"id": "house-u"}]
        assert await database.ask("SELECT id FROM platform.property WHERE id = %s", ["house-t"]) == []
    with acting(None), pytest.raises(NobodyActsError):
        await database.ask("SELECT 1")
    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        await database.ask("INSERT INTO platform.tenant (id, created_at) VALUES ('v', now())")
    async with database.transaction() as connection:  # and the next user of the connection may write
        await execute(connection, "INSERT INTO platform.tenant (id, created_at) VALUES ('v', now())")
        row = await fetch_one(connection, "SELECT count(*) AS n FROM platform.property")
    assert row == {"n": 2}, "who acts now is not who asked"


@pytest.mark.parametrize("word", ["'; DROP TABLE platform.tenant; --", "\\' OR true --", "%s", "ü\U0001f511", ""])
async def test_what_a_question_is_asked_with_is_never_a_part_of_it(database: Database, word: str) -> None:
    when = datetime(2026, 3, 1, 12, tzinfo=UTC)
    asked = await database.ask(
        "SELECT %s::text AS word, %s::bytea AS raw, %s::timestamptz AS at", [word, b"\x00'\\\xff", when]
    )
    assert asked == [{"word": word, "raw": b"\x00'\\\xff", "at": when}]


async def test_a_question_that_fails_leaves_the_connection_for_the_next(database: Database) -> None:
    for _ in range(20):
        with pytest.raises(psycopg.errors.DivisionByZero):
            await database.ask("SELECT 1 / %s::int", [0])
    assert await database.ask("SELECT 1 AS n") == [{"n": 1}]


async def test_a_question_of_a_database_that_is_gone_says_so(database: Database, dsn: str) -> None:
    assert await database.ask("SELECT 1 AS n") == [{"n": 1}]
    with psycopg.connect(dsn, autocommit=True) as owner:
        owner.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
    with pytest.raises(StoreFailedError) as told:
        await database.ask("SELECT 1 AS n")
    assert not isinstance(told.value, CommitInDoubtError), "it changes nothing, so there is no doubt"
    assert await database.ask("SELECT 1 AS n") == [{"n": 1}]


@pytest.mark.parametrize("again", [False, True], ids=["once", "twice"])
async def test_a_question_that_is_broken_off_leaves_nothing_of_its_asker_behind(
    database: Database, *, again: bool
) -> None:
    async def asks(name: str) -> list[dict[str, object]]:
        with acting(tenant(name)):
            return await database.ask(
                "SELECT current_setting('innkeeper.tenant') AS who, pg_sleep(0.02)::text AS slept"
            )

    for turn in range(12):
        asked = [asyncio.create_task(asks(f"t{number}")) for number in range(6)]
        for _ in range(turn):
            await asyncio.sleep(0)
        broken_off = {each for each in asked[::2] if each.cancel()}  # on a slow machine one may have its answer already
        if again:
            await asyncio.sleep(0)
            for each in asked[::2]:
                each.cancel()
        told = await asyncio.gather(*asked, return_exceptions=True)
        cancelled = {task for task, each in zip(asked, told, strict=True) if isinstance(each, asyncio.CancelledError)}
        assert cancelled == broken_off
        assert [each[0]["who"] for each in told[1::2] if isinstance(each, list)] == ["t1", "t3", "t5"]
    async with database.transaction() as connection:
        row = await fetch_one(
            connection,
            "SELECT current_setting('innkeeper.tenant', true) AS who, current_setting('transaction_read_only') r",
        )
    assert row == {"who": "", "r": "off"}
