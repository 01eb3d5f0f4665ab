"""What every store promises of series that nothing is left of (0166). Subclasses give `make` and `database`.

What two transactions at once do is held on PostgreSQL alone: tests/cloud/telemetry/store/test_series_keeping.py.
"""

import itertools
from collections.abc import Callable
from datetime import timedelta
from typing import Final, TypeAlias

import pytest

from cloud.kit.database import Database, execute, fetch_all
from cloud.telemetry.store import writing
from cloud.telemetry.store.port import MaintenanceReport, ReadingRow, Retention, TelemetryStore
from protocols.errors import StoreFailedError
from tests.contract.telemetry_store_claims import DAY_MS, NOW_MS, row

Make: TypeAlias = Callable[[Retention], TelemetryStore]
_properties = (f"kept-{n:03d}" for n in itertools.count(1))
SHORT: Final = timedelta(days=3)
RETENTION: Final = Retention(raw=SHORT, minute=SHORT, quarter=SHORT, day=SHORT)
FAR: Final = 4_000 * DAY_MS
"""Engines let go by partitions, the widest of which holds years of day roll-ups."""


class SeriesKeepingClaims:
    """Run by pytest in subclasses, which are called Test..."""

    async def write(self, database: Database, store: TelemetryStore, reading: ReadingRow) -> None:
        async with database.transaction() as connection:
            assert await store.write(connection, [reading]) == []

    async def settle(self, store: TelemetryStore, now_ms: int) -> None:
        """Until it rests; each run a minute later, since series are looked at so often, and so many at a time."""
        for turn in range(40):
            report: MaintenanceReport = await store.run_maintenance(now_ms + turn * 60_000)
            if turn >= 3 and not (report.more or report.rolled_up or report.folded or report.dropped):
                return
        raise AssertionError("maintenance never comes to rest")

    async def pass_days(self, database: Database) -> None:
        """What was marked was marked three days ago."""
        async with database.transaction() as connection:
            await execute(connection, "UPDATE telemetry.series SET unused_since = unused_since - interval '3 days'")

    async def devices(self, database: Database, prop: str, *, marked: bool = False) -> list[str]:
        async with database.transaction() as connection:
            rows = await fetch_all(
                connection,
                "SELECT device FROM telemetry.series WHERE property = %s AND (unused_since IS NOT NULL OR NOT %s)"
                " ORDER BY device",
                [prop, marked],
            )
        return [each["device"] for each in rows]

    async def orphans(self, database: Database) -> int:
        async with database.transaction() as connection:
            rows = await fetch_all(
                connection,
                "SELECT FROM telemetry.reading WHERE series NOT IN (SELECT id FROM telemetry.series)",
            )
        return len(rows)

    @pytest.mark.guarantee("G1", "G2")
    async def test_a_series_goes_days_after_the_last_that_named_it(self, database: Database, make: Make) -> None:
        prop, store = next(_properties), make(RETENTION)
        await self.write(database, store, row(prop, 1, NOW_MS - 10 * DAY_MS, device="gone"))
        await self.settle(store, NOW_MS)
        await self.write(database, store, row(prop, 2, NOW_MS + FAR, device="here"))
        await self.settle(store, NOW_MS + FAR)
        assert await self.devices(database, prop, marked=True) == ["gone"]
        await self.settle(store, NOW_MS + FAR + DAY_MS)
        assert await self.devices(database, prop) == ["gone", "here"]
        await self.pass_days(database)
        await self.settle(store, NOW_MS + FAR + DAY_MS)
        assert await self.devices(database, prop) == ["here"]
        assert await self.orphans(database) == 0

    @pytest.mark.guarantee("G1")
    async def test_a_series_stays_while_anything_of_it_is_left(self, database: Database, make: Make) -> None:
        """Raw, in an old compressed day, rolled up, and late and added to what is rolled up already."""
        now_ms = NOW_MS + 2 * FAR
        prop = next(_properties)
        store = make(Retention(raw=timedelta(days=20), minute=timedelta(days=40), quarter=timedelta(days=60),
                               day=timedelta(days=80)))  # fmt: skip
        for seq, (device, days) in enumerate({"raw": 1, "old": 15, "minute": 30, "quarter": 50, "day": 70}.items()):
            await self.write(database, store, row(prop, seq, now_ms - days * DAY_MS, device=device))
        await self.settle(store, now_ms)
        await self.write(database, store, row(prop, 9, now_ms - 70 * DAY_MS, device="late"))
        await self.settle(store, now_ms + 3_600_000)
        await self.settle(store, now_ms + 7_200_000)
        assert await self.devices(database, prop, marked=True) == []
        await self.pass_days(database)
        await self.settle(store, now_ms + 3 * 3_600_000)
        assert await self.devices(database, prop) == ["day", "late", "minute", "old", "quarter", "raw"]

    async def test_where_days_are_kept_for_ever_no_series_goes(self, database: Database, make: Make) -> None:
        prop = next(_properties)
        store = make(Retention(raw=SHORT, minute=SHORT, quarter=SHORT, day=None))
        async with database.transaction() as connection:
            await execute(
                connection,
                "INSERT INTO telemetry.series (tenant, property, device, capability, attribute)"
                " VALUES ('northlight', %s, 'nothing', 'c', 'a')",
                [prop],
            )
        await self.settle(store, NOW_MS)
        assert await self.devices(database, prop, marked=True) == []
        await self.settle(make(RETENTION), NOW_MS)
        assert await self.devices(database, prop, marked=True) == ["nothing"]

    @pytest.mark.guarantee("G1", "G2")
    async def test_who_looks_a_series_up_keeps_it(self, database: Database, make: Make) -> None:
        now_ms = NOW_MS + 3 * FAR
        prop, store, other = next(_properties), make(RETENTION), make(RETENTION)
        await self.write(database, store, row(prop, 1, now_ms - FAR, device="away"))
        await self.settle(store, now_ms)
        assert await self.devices(database, prop, marked=True) == ["away"]
        await self.pass_days(database)
        await self.write(database, other, row(prop, 2, now_ms, device="away"))
        assert await self.devices(database, prop, marked=True) == []
        await self.settle(store, now_ms + 3_600_000)
        assert await self.devices(database, prop) == ["away"]
        assert await self.orphans(database) == 0

    @pytest.mark.guarantee("G1", "G2")
    async def test_who_remembered_a_series_is_seen_and_for_too_long_writes_again(
        self, database: Database, make: Make, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        now_ms = NOW_MS + 4 * FAR
        prop, store, keeper = next(_properties), make(RETENTION), make(RETENTION)
        for seq in (1, 2):  # remembered: another transaction has found it
            await self.write(database, store, row(prop, seq, now_ms - FAR, device="away"))
        await self.settle(keeper, now_ms)
        await self.write(database, store, row(prop, 3, now_ms, device="away"))
        assert await self.devices(database, prop, marked=True) == ["away"]
        await self.pass_days(database)
        await self.settle(keeper, now_ms + 3_600_000)
        assert (await self.devices(database, prop), await self.devices(database, prop, marked=True)) == (["away"], [])
        now_ms += FAR
        await self.settle(keeper, now_ms)
        await self.pass_days(database)
        await self.settle(keeper, now_ms + 3_600_000)
        assert await self.devices(database, prop) == []
        monkeypatch.setattr(writing, "KNOWN_FOR", timedelta(0))  # his hour is over
        with pytest.raises(StoreFailedError):
            await self.write(database, store, row(prop, 4, now_ms, device="away"))
        assert await self.orphans(database) == 0
        await self.write(database, store, row(prop, 4, now_ms, device="away"))
        assert await self.devices(database, prop) == ["away"]
        assert await self.orphans(database) == 0
