"""Series go when nothing is left of them, and no reading is ever stored under one that is gone."""

import asyncio
import contextlib
from datetime import timedelta
from typing import Any

import pytest

from cloud.kit.database import Database, execute, fetch_all
from cloud.telemetry.store import series_keeping, writing
from cloud.telemetry.store.plain import PlainStore
from cloud.telemetry.store.port import ReadingRow, Retention, TimeSource
from protocols.errors import StoreFailedError

pytestmark = [pytest.mark.tier("postgres"), pytest.mark.guarantee("G1", "G2")]

DAY_MS = 86_400_000
BEGIN_MS = 1_795_003_200_000 // DAY_MS * DAY_MS
LATER_MS = BEGIN_MS + 800 * DAY_MS
SHORT = timedelta(days=3)
RETENTION = Retention(raw=SHORT, minute=SHORT, quarter=SHORT, day=SHORT)


def reading(device: str, at_ms: int, seq: int) -> ReadingRow:
    return ReadingRow(
        "t", "house", None, device, "c", "a", "W", at_ms, at_ms, 1.0, "good", TimeSource.SYNCHRONISED, 1, seq
    )


async def write(database: Database, store: PlainStore, device: str, at_ms: int, seq: int = 1) -> None:
    async with database.transaction() as connection:
        assert await store.write(connection, [reading(device, at_ms, seq)]) == []


async def maintain(store: PlainStore, now_ms: int) -> None:
    """Until it rests; each run a minute later, since series are looked at so often."""
    for turn in range(30):
        report = await store.run_maintenance(now_ms + turn * 60_000)
        if not (report.more or report.rolled_up or report.folded or report.held_back or report.dropped):
            return
    raise AssertionError("maintenance never comes to rest")


async def pass_days(database: Database) -> None:
    """What was marked was marked three days ago."""
    async with database.transaction() as connection:
        await execute(connection, "UPDATE telemetry.series SET unused_since = unused_since - interval '3 days'")


async def found(database: Database, query: Any) -> list[Any]:
    async with database.transaction() as connection:
        return [next(iter(row.values())) for row in await fetch_all(connection, query)]


async def devices(database: Database) -> list[str]:
    return await found(database, "SELECT device FROM telemetry.series ORDER BY device")


async def orphans(database: Database) -> list[int]:
    return await found(
        database,
        "SELECT seq FROM telemetry.reading WHERE series NOT IN (SELECT id FROM telemetry.series) ORDER BY seq",
    )


async def marked(database: Database) -> list[str]:
    return await found(database, "SELECT device FROM telemetry.series WHERE unused_since IS NOT NULL ORDER BY device")


async def test_a_series_goes_days_after_the_last_that_named_it(database: Database) -> None:
    store = PlainStore(database, retention=RETENTION)
    await write(database, store, "gone", BEGIN_MS)
    await maintain(store, BEGIN_MS + DAY_MS)
    await write(database, store, "here", LATER_MS, 2)
    assert await marked(database) == []
    await maintain(store, LATER_MS)
    assert await marked(database) == ["gone"]
    await maintain(store, LATER_MS + DAY_MS)
    assert await devices(database) == ["gone", "here"]
    await pass_days(database)
    await maintain(store, LATER_MS + DAY_MS)
    assert await devices(database) == ["here"]


async def test_where_days_are_kept_for_ever_so_is_every_series(database: Database) -> None:
    store = PlainStore(database, retention=Retention(raw=SHORT, minute=SHORT, quarter=SHORT, day=None))
    await write(database, store, "gone", BEGIN_MS)
    await maintain(store, LATER_MS)
    await execute_all(database, "DELETE FROM telemetry.rollup_1d")
    await maintain(store, LATER_MS)
    assert await marked(database) == []


async def test_who_looks_a_series_up_keeps_it(database: Database) -> None:
    store, other = PlainStore(database, retention=RETENTION), PlainStore(database, retention=RETENTION)
    await write(database, store, "away", BEGIN_MS)
    await maintain(store, LATER_MS)
    await pass_days(database)
    await write(database, other, "away", LATER_MS, 2)
    assert await marked(database) == []
    await maintain(store, LATER_MS)
    assert await devices(database) == ["away"]
    assert await orphans(database) == []


@pytest.mark.parametrize("first", ["reading", "upkeep"])
async def test_a_reading_that_arrives_at_the_moment_has_a_series(database: Database, first: str) -> None:
    """Its writer has looked the series up and not committed yet; or comes when it is deleted, not committed yet."""
    store, other = PlainStore(database, retention=RETENTION), PlainStore(database, retention=RETENTION)
    await write(database, store, "away", BEGIN_MS)
    await maintain(store, LATER_MS)
    await pass_days(database)
    if first == "reading":
        async with database.transaction() as connection:
            await other.write(connection, [reading("away", LATER_MS, 2)])
            await maintain(store, LATER_MS)
    else:
        async with database.transaction() as connection:
            assert await series_keeping._let_go(connection) == 1
            waiting = asyncio.create_task(write(database, other, "away", LATER_MS, 2))
            await asyncio.wait({waiting}, timeout=0.2)
        await waiting
    assert await devices(database) == ["away"]
    assert await orphans(database) == []
    await maintain(store, LATER_MS + 60_000)
    assert await devices(database) == ["away"]


async def test_who_remembered_a_series_within_the_hour_keeps_it(database: Database) -> None:
    """He writes under the number that he knows, and looks nothing up: what he wrote is seen before it would go."""
    store, keeper = PlainStore(database, retention=RETENTION), PlainStore(database, retention=RETENTION)
    await write(database, store, "away", BEGIN_MS)
    await write(database, store, "away", BEGIN_MS, 2)  # remembered: another transaction has found it
    await maintain(keeper, LATER_MS)
    await write(database, store, "away", LATER_MS, 3)
    assert await marked(database) == ["away"]
    await pass_days(database)
    await maintain(keeper, LATER_MS)
    assert await devices(database) == ["away"]
    assert await marked(database) == []
    assert await orphans(database) == []


async def test_who_remembered_a_series_for_too_long_is_told_and_writes_again(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, keeper = PlainStore(database, retention=RETENTION), PlainStore(database, retention=RETENTION)
    await write(database, store, "away", BEGIN_MS)
    await write(database, store, "away", BEGIN_MS, 2)
    await maintain(keeper, LATER_MS)
    await pass_days(database)
    await maintain(keeper, LATER_MS)
    assert await devices(database) == []
    monkeypatch.setattr(writing, "KNOWN_FOR", timedelta(0))  # his hour is over
    with pytest.raises(StoreFailedError):
        await write(database, store, "away", LATER_MS, 3)
    assert await found(database, "SELECT seq FROM telemetry.reading") == []
    await write(database, store, "away", LATER_MS, 3)
    assert await devices(database) == ["away"]
    assert await orphans(database) == []


async def test_what_was_taken_back_by_a_transaction_that_never_was_is_remembered_by_nobody(database: Database) -> None:
    """Its writer failed after he had looked the series up: the mark stands again, and it goes before he tries again."""
    store, other = PlainStore(database, retention=RETENTION), PlainStore(database, retention=RETENTION)
    await write(database, store, "away", BEGIN_MS)
    await maintain(store, LATER_MS)
    await pass_days(database)
    with contextlib.suppress(StoreFailedError):
        async with database.transaction() as connection:
            for seq in (2, 3):  # the second finds what the first took back
                await other.write(connection, [reading("away", LATER_MS, seq)])
            raise StoreFailedError("the disk is full")
    await maintain(store, LATER_MS)
    assert await devices(database) == []
    await write(database, other, "away", LATER_MS, 2)
    assert await orphans(database) == []
    assert await devices(database) == ["away"]


async def test_whose_first_write_failed_does_not_remember_for_ever(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """His hour runs from what he looked up, not from what he was first able to write."""
    store, other = PlainStore(database, retention=RETENTION), PlainStore(database, retention=RETENTION)
    await write(database, store, "away", BEGIN_MS)

    async def full(*_: Any) -> None:
        raise StoreFailedError("the disk is full")

    with monkeypatch.context() as broken:
        broken.setattr(other._writer, "write", full)
        with pytest.raises(StoreFailedError):
            await write(database, other, "away", BEGIN_MS, 2)
    await maintain(store, LATER_MS)
    await pass_days(database)
    await maintain(store, LATER_MS)
    assert await devices(database) == []
    monkeypatch.setattr(writing, "KNOWN_FOR", timedelta(0))
    with pytest.raises(StoreFailedError):
        await write(database, other, "away", LATER_MS, 3)
    await write(database, other, "away", LATER_MS, 3)
    assert await orphans(database) == []
    assert await devices(database) == ["away"]


async def test_a_bite_takes_so_many_and_all_have_their_turn(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(series_keeping, "LOOKED_AT", 4)
    store = PlainStore(database, retention=RETENTION)
    for number in range(10):
        await write(database, store, f"m{number}", BEGIN_MS, number)
    await maintain(store, BEGIN_MS + DAY_MS)
    counts = list[int]()
    for turn in range(8):
        await store.run_maintenance(LATER_MS + turn * 60_000)
        counts.append(len(await marked(database)))
    assert counts[-1] == 10
    assert max(after - before for before, after in zip([0, *counts], counts, strict=False)) <= 4
    await pass_days(database)
    left = list[int]()
    for turn in range(3):
        await store.run_maintenance(LATER_MS + DAY_MS + turn * 60_000)
        left.append(len(await devices(database)))
    assert left == [6, 2, 0]


async def execute_all(database: Database, query: Any) -> None:
    async with database.transaction() as connection:
        await execute(connection, query)
