"""Upkeep under fire: writers at work, runners killed and racing, days let go meanwhile; every reading counts once."""

import asyncio
import random
from datetime import timedelta

import psycopg
import pytest

from cloud.kit.database import Database, fetch_all
from cloud.telemetry.store import backlog, common, plain, sql
from cloud.telemetry.store.plain import PlainStore
from cloud.telemetry.store.port import (
    Bucket,
    MaintenanceReport,
    RangeQuestion,
    ReadingRow,
    Resolution,
    Retention,
    Selection,
    TimeSource,
)  # fmt: skip
from cloud.telemetry.store.upkeep import Upkeep
from kit.clock import ManualClock
from kit.logs import logger
from kit.metrics import Metrics
from protocols.errors import StoreFailedError
from tests.contract import telemetry_store_oracle as oracle

pytestmark = pytest.mark.tier("postgres")

HOUR_MS, DAY_MS = 3_600_000, 86_400_000
BEGIN_MS = 1_795_003_200_000 // DAY_MS * DAY_MS
RETENTION = Retention(raw=timedelta(days=3), minute=timedelta(days=200), quarter=None, day=None)
ROUNDS = 12


class Hotel:
    """Writes readings of one property: mostly now, some hours late, some later than anything is kept."""

    def __init__(self, dice: random.Random, prop: str) -> None:
        self._dice, self.prop, self.stored, self._seq = dice, prop, list[ReadingRow](), 0

    def batch(self, now_ms: int) -> list[ReadingRow]:
        late_ms = self._dice.choice([0, 0, 0, 2 * HOUR_MS, 30 * HOUR_MS, 9 * DAY_MS])
        rows = []
        for _ in range(self._dice.randint(1, 25)):
            self._seq += 1
            rows.append(
                ReadingRow(
                    "t", self.prop, None, f"meter-{self._dice.randint(1, 3)}", "c", "a", "W",
                    now_ms - late_ms - self._dice.randint(0, HOUR_MS), 0, self._dice.randint(-800, 800) / 8,
                    self._dice.choice(["good", "good", "uncertain", "stale"]), TimeSource.SYNCHRONISED, 1, self._seq,
                )
            )  # fmt: skip
        return rows


@pytest.mark.guarantee("G1")
@pytest.mark.guarantee("G2")
@pytest.mark.parametrize("seed", range(4))
async def test_every_reading_counts_once_whatever_is_killed(
    database: Database, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    dice = random.Random(seed)
    for module, name, most in ((backlog, "LOG_MOST", 5), (backlog, "DUE_MOST", 5), (common, "FOLD_MOST", 7)):
        monkeypatch.setattr(module, name, most)  # many bites: many places to be cut off
    hotels = [Hotel(dice, f"house-{n}") for n in range(3)]
    stores = [PlainStore(database, retention=RETENTION) for _ in range(2)]
    now_ms = BEGIN_MS
    dropped = 0

    async def write(hotel: Hotel) -> None:
        for _ in range(4):
            rows = hotel.batch(now_ms)
            mark = [hotel.prop, str(rows[0].seq)]
            try:
                async with database.transaction() as connection:
                    await stores[0].write(connection, rows)
                    # tells afterwards whether a commit that was cut off happened
                    await connection.execute(
                        "INSERT INTO telemetry.refused (edge, error, detail, at) VALUES ('e', %s, %s, now())", mark
                    )
                    if dice.random() < 0.2:
                        raise ZeroDivisionError  # the batch was refused after all
                    await asyncio.sleep(dice.random() / 100)
            except ZeroDivisionError:
                continue
            except (StoreFailedError, psycopg.OperationalError):  # the killer's aim is not perfect
                async with database.transaction() as connection:
                    if not await fetch_all(
                        connection, "SELECT FROM telemetry.refused WHERE (error, detail) = (%s, %s)", mark
                    ):
                        continue
            hotel.stored += rows

    async def upkeep(store: PlainStore) -> MaintenanceReport | None:
        try:
            async with asyncio.timeout(dice.choice([0.005, 0.02, 0.1, 5])):
                return await store.run_maintenance(now_ms)
        except (TimeoutError, StoreFailedError, psycopg.OperationalError):
            return None

    async def killer() -> None:
        """End the session of whoever maintains, as a lost server would."""
        await asyncio.sleep(dice.random() / 20)
        async with await psycopg.AsyncConnection.connect(database.dsn, autocommit=True) as owner:
            await owner.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND pid <> pg_backend_pid()"
                " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
            )

    for _ in range(ROUNDS):
        now_ms += dice.choice([HOUR_MS, 5 * HOUR_MS, DAY_MS])
        jobs = [*(write(hotel) for hotel in hotels), *(upkeep(store) for store in stores)]
        if dice.random() < 0.5:
            jobs.append(killer())
        for done in await asyncio.gather(*jobs):
            dropped += len(done.dropped) if isinstance(done, MaintenanceReport) else 0
    now_ms += 2 * DAY_MS
    for _ in range(500):
        report = await stores[0].run_maintenance(now_ms)
        dropped += len(report.dropped)
        if not (report.more or report.rolled_up or report.folded or report.held_back):
            break
    else:
        raise AssertionError("maintenance never comes to rest")
    assert dropped > 0
    async with database.transaction() as connection:
        for hotel in hotels:
            names = {
                each.id: (each.device, each.room)
                for each in await stores[0].series(connection, Selection("t", hotel.prop), most=100)
            }
            for resolution in sql.ROLLUPS:
                question = RangeQuestion(list(names), 0, now_ms + DAY_MS, resolution)
                rows = await stores[0].range(connection, question, most=1_000_000)
                told = {
                    (names[each.series], each.at_ms): oracle.told(each) for each in rows if isinstance(each, Bucket)
                }
                assert told == oracle.buckets(hotel.stored, resolution), (hotel.prop, resolution)
        assert (
            await fetch_all(connection, "SELECT FROM telemetry.rollup_log UNION ALL SELECT FROM telemetry.rollup_due")
            == []
        )


async def test_letting_go_waits_for_a_writer_that_has_not_committed(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The trap: a late batch under way, whose note in the log nobody can see yet."""
    monkeypatch.setattr(plain, "LOCK_WAIT", "50ms")
    store = PlainStore(database, retention=RETENTION)
    row = Hotel(random.Random(1), "house-1").batch(BEGIN_MS)[0]._replace(at_ms=BEGIN_MS, quality="good", value=1.0)
    await store.ensure_partitions(BEGIN_MS)
    later = BEGIN_MS + 10 * DAY_MS
    async with database.transaction() as connection:
        await store.write(connection, [row])
        held = await store.run_maintenance(later)
        assert (held.dropped, held.folded) == ([], 0)
        assert any("in use" in each for each in held.held_back)
    for _ in range(5):
        await store.run_maintenance(later)
    async with database.transaction() as connection:
        [series] = await store.series(connection, Selection("t", "house-1"), most=2)
        question = RangeQuestion([series.id], 0, later, Resolution.DAY)
        [day] = await store.range(connection, question, most=5)
        assert await store.range(connection, RangeQuestion([series.id], 0, later, Resolution.RAW), most=5) == []
    assert isinstance(day, Bucket)
    assert (day.samples, day.total) == (1, 1.0)


async def test_upkeep_says_what_it_did(database: Database) -> None:
    clock, metrics = ManualClock(wall_ms=BEGIN_MS + HOUR_MS), Metrics("test")
    store = PlainStore(database, retention=RETENTION)
    upkeep = Upkeep(store, clock=clock, log=logger("test"), metrics=metrics)
    async with database.transaction() as connection:
        await store.write(connection, Hotel(random.Random(2), "house-1").batch(BEGIN_MS))
    while await upkeep.once():
        pass
    told = metrics.render().decode()
    assert 'telemetry_upkeep_total{what="rolled_up_1m"}' in told
    await database.close()
    with pytest.raises(StoreFailedError):
        await upkeep.once()
