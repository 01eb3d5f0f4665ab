"""Hints coalesce: a slow listener finds a set, never a queue."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from cloud.kit.database import Database
from cloud.kit.notify import (
    ANYTHING,
    KINDS_MOST,
    LIVE_CHANNEL,
    NotificationHub,
    Subscription,
    anywhere,
    notify,
    notify_live,
)


@contextlib.asynccontextmanager
async def listening(dsn: str) -> AsyncIterator[NotificationHub]:
    hub = NotificationHub(dsn, channels=("innkeeper_test",))
    task = asyncio.create_task(hub.run())
    try:
        with hub.subscribe("probe") as probe:
            await probe.wait(20)  # the first look is free
            assert await probe.wait(20) == {ANYTHING}  # it listens now
        yield hub
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_the_first_look_is_free_and_the_next_one_waits() -> None:
    subscription = Subscription()
    assert await subscription.wait(0.01) == {ANYTHING}
    assert await subscription.wait(0.01) == frozenset()
    subscription.mark(["a"])
    subscription.mark(["a", "b"])
    assert await subscription.wait(0.01) == {"a", "b"}


async def test_hints_are_bounded_however_many_kinds_there_are() -> None:
    subscription = Subscription()
    await subscription.wait(0.01)
    subscription.mark(str(n) for n in range(KINDS_MOST + 1))
    assert await subscription.wait(0.01) == {ANYTHING}


@pytest.mark.tier("postgres")
async def test_a_commit_hints_to_the_property_it_names_and_to_nobody_else(database: Database, dsn: str) -> None:
    async with listening(dsn) as hub:
        with (
            hub.subscribe("aurora") as aurora,
            hub.subscribe("borealis") as borealis,
            hub.subscribe(anywhere("access")) as doors,
            hub.subscribe(anywhere("stays")) as stays,
        ):
            for each in (aurora, borealis, doors, stays):
                await each.wait(0.01)
            async with database.transaction() as connection:
                await notify_live(connection, "aurora", ["reading", "access"])
            assert await aurora.wait(20) == {"reading", "access"}
            assert await doors.wait(20) == {"aurora"}
            assert await borealis.wait(0.01) == frozenset()
            assert await stays.wait(0.01) == frozenset()
            async with database.transaction() as connection:
                await notify_live(connection, "aurora", [ANYTHING])
            assert await stays.wait(20) == {"aurora"}


@pytest.mark.tier("postgres")
@pytest.mark.guarantee("G19")
async def test_a_hint_nobody_can_read_is_a_hint_to_everybody(database: Database, dsn: str) -> None:
    async with listening(dsn) as hub:
        with hub.subscribe("aurora") as aurora:
            await aurora.wait(0.01)
            async with database.transaction() as connection:
                await notify(connection, LIVE_CHANNEL, "{not json")
            assert await aurora.wait(20) == {ANYTHING}
            async with database.transaction() as connection:
                await notify(connection, "innkeeper_test", "")
            with hub.subscribe("innkeeper_test") as own:
                assert await own.wait(20) == {ANYTHING}
