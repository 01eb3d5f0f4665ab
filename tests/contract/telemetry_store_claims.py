"""What every telemetry store promises, whichever engine carries it. A subclass gives `store` and `database`."""

import itertools
from collections.abc import Sequence
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cloud.kit.database import Database, execute, fetch_one, jsonb
from cloud.kit.times import at
from cloud.telemetry.partitions import Partitions
from cloud.telemetry.reading_proof import prove_readings
from cloud.telemetry.store import common, plain, sql, timescale
from cloud.telemetry.store.port import (
    Bucket,
    MaintenanceReport,
    Point,
    RangeQuestion,
    ReadingRow,
    Resolution,
    Retention,
    Scalar,
    Selection,
    Spread,
    TelemetryStore,
    Thinned,
    TimeSource,
)  # fmt: skip
from tests.contract import telemetry_store_oracle as oracle

NOW_MS = 1_795_003_200_000 - 1_795_003_200_000 % 86_400_000 + 10 * 3_600_000  # ten in the morning of some day
MINUTE_MS, HOUR_MS, DAY_MS = 60_000, 3_600_000, 86_400_000
RETENTION = Retention(raw=timedelta(days=5), minute=timedelta(days=20), quarter=timedelta(days=400), day=None)
_properties = (f"house-{n}" for n in itertools.count(1))


def row(  # noqa: PLR0917 - short on purpose
    prop: str,
    seq: int,
    at_ms: int,
    value: Scalar | None = 1.0,
    quality: str = "good",
    device: str = "meter-1",
    room: str | None = "101",
) -> ReadingRow:
    return ReadingRow(
        "northlight", prop, room, device, "electrical_measurement", "active_power", "W", at_ms, at_ms, value,
        quality, TimeSource.SYNCHRONISED, 7, seq,
    )  # fmt: skip


def thinned(rows: Sequence[ReadingRow]) -> ReadingRow:
    """The newest of readings of one point as a building thins them: it stands for all."""
    numbers = [float(each.value) for each in rows if isinstance(each.value, int | float)]
    oldest, newest = rows[0], rows[-1]
    return newest._replace(
        thinned=Thinned(
            oldest.at_ms, oldest.seq, len(rows), len(numbers), min(numbers, default=None), max(numbers, default=None),
            sum(numbers) / len(numbers) if numbers else None, oldest.value,
        )
    )  # fmt: skip


def whole_house(prop: str) -> Selection:
    return Selection("northlight", prop)


values = st.one_of(
    st.integers(-8000, 8000).map(lambda eighths: eighths / 8),  # sums of eighths are exact in any order
    st.booleans(),
    st.sampled_from(["on", "off", "", "Zürich ✓"]),
    st.integers(-1000, 1000),
)
told = st.one_of(
    st.tuples(values, st.sampled_from(["good", "uncertain", "stale"])),
    st.tuples(st.none(), st.sampled_from(["bad", "stale"])),
)
ago = st.one_of(
    st.integers(0, 5 * MINUTE_MS),
    st.integers(0, 3 * HOUR_MS),
    st.integers(0, 3 * DAY_MS),
    st.sampled_from([0, 1, MINUTE_MS, MINUTE_MS - 1, 15 * MINUTE_MS, 10 * HOUR_MS, 10 * HOUR_MS + 1]),
)
arrivals = st.lists(
    st.lists(st.tuples(ago, told, st.sampled_from(["meter-1", "meter-2"]), st.sampled_from(["101", None])), max_size=8),
    max_size=6,
)


class TelemetryStoreClaims:
    """Run by pytest in subclasses, which are called Test... and define the fixtures `store` and `database`."""

    async def write(self, database: Database, store: TelemetryStore, rows: Sequence[ReadingRow]) -> None:
        async with database.transaction() as connection:
            await store.write(connection, rows)

    async def settle(self, store: TelemetryStore, now_ms: int = NOW_MS + 26 * HOUR_MS) -> MaintenanceReport:
        """Maintain until there is nothing to do, at a time when every bucket of the test is over."""
        total = MaintenanceReport()
        for _ in range(50):
            report = await store.run_maintenance(now_ms)
            total.folded += report.folded
            total.dropped += report.dropped
            for each, count in report.rolled_up.items():
                total.rolled_up[each] = total.rolled_up.get(each, 0) + count
            if not (report.more or report.rolled_up or report.folded):
                total.held_back = report.held_back
                return total
        raise AssertionError("maintenance never comes to rest")

    async def names(self, database: Database, store: TelemetryStore, prop: str) -> dict[int, oracle.Name]:
        async with database.transaction() as connection:
            return {
                each.id: (each.device, each.room)
                for each in await store.series(connection, whole_house(prop), most=1000)
            }

    async def all_buckets(
        self, database: Database, store: TelemetryStore, prop: str, resolution: Resolution, *, most: int = 100_000
    ) -> dict[tuple[oracle.Name, int], tuple[object, ...]]:
        names = await self.names(database, store, prop)
        question = RangeQuestion(list(names), 0, NOW_MS + 2 * DAY_MS, resolution)
        async with database.transaction() as connection:
            rows = await store.range(connection, question, most=most)
        found = [each for each in rows if isinstance(each, Bucket)]
        assert len(found) == len(rows) == len({(each.series, each.at_ms) for each in found})
        return {(names[each.series], each.at_ms): oracle.told(each) for each in found}

    async def all_points(
        self, database: Database, store: TelemetryStore, prop: str, *, page: int = 100_000
    ) -> list[Point]:
        names = await self.names(database, store, prop)
        points: list[Point] = []
        after = None
        while True:
            question = RangeQuestion(list(names), 0, NOW_MS + 2 * DAY_MS, Resolution.RAW, after)
            async with database.transaction() as connection:
                rows = await store.range(connection, question, most=page)
            found = [each for each in rows if isinstance(each, Point)]
            points += found
            if len(found) < page:
                return points
            after = (found[-1].at_ms, found[-1].series, found[-1].ordinal, found[-1].seq)

    # ------------------------------------------------------------------ readings

    async def test_a_reading_comes_back_as_it_was(self, database: Database, store: TelemetryStore) -> None:
        prop = next(_properties)
        told: list[tuple[Scalar | None, str]] = [
            (21.5, "good"), (3, "uncertain"), (True, "good"), (False, "good"), ("cool", "good"), ("", "good"),
            (None, "bad"), (20.0, "stale"), (None, "stale"), (-0.0, "good"), (1e199, "good"), ("Zürich ✓", "good"),
        ]  # fmt: skip
        rows = [row(prop, n, NOW_MS + n, value, quality) for n, (value, quality) in enumerate(told)]
        rows[3] = rows[3]._replace(edge_at_ms=5, time_source=TimeSource.ARRIVAL)
        await self.write(database, store, rows)
        points = await self.all_points(database, store, prop)
        assert [(point.value, point.quality) for point in points] == told
        assert [type(point.value) for point in points[2:5]] == [bool, bool, str]
        assert [(point.at_ms, point.ordinal, point.seq) for point in points] == [
            (each.at_ms, 7, each.seq) for each in rows
        ]
        assert (points[3].edge_at_ms, points[3].time_source) == (5, TimeSource.ARRIVAL)
        async with database.transaction() as connection:
            [series] = await store.series(connection, whole_house(prop), most=10)
            [newest] = await store.latest(connection, [series.id])
        assert series[1:] == ("101", "meter-1", "electrical_measurement", "active_power", "W")
        assert newest == points[-1]

    async def test_what_was_rolled_back_was_never_there(self, database: Database, store: TelemetryStore) -> None:
        prop = next(_properties)

        async def fail(seq: int) -> None:
            async with database.transaction() as connection:
                await store.write(connection, [row(prop, seq, NOW_MS)])
                await store.write(connection, [row(prop, seq + 10, NOW_MS)])
                raise RuntimeError("after the write")

        for seq in range(2):  # the second write of a series uses what was remembered of the first
            with pytest.raises(RuntimeError, match="after the write"):
                await fail(seq)
        assert await self.all_points(database, store, prop) == []
        await self.write(database, store, [row(prop, 5, NOW_MS)])
        await self.write(database, store, [row(prop, 6, NOW_MS + 1)])
        assert [point.seq for point in await self.all_points(database, store, prop)] == [5, 6]
        await self.settle(store)
        assert len(await self.all_buckets(database, store, prop, Resolution.MINUTE)) == 1

    async def test_pages_neither_skip_nor_repeat_while_readings_arrive(
        self, database: Database, store: TelemetryStore
    ) -> None:
        prop = next(_properties)
        rows = [row(prop, n, NOW_MS - (n * 7919 % 97) * 1000, device=f"meter-{n % 3}") for n in range(60)]
        rows += [row(prop, 60 + n, NOW_MS, device="meter-1") for n in range(10)]  # one moment, one series
        await self.write(database, store, rows)
        names = await self.names(database, store, prop)
        seen: list[Point] = []
        after = None
        while True:
            async with database.transaction() as connection:
                question = RangeQuestion(list(names), 0, NOW_MS + 1, Resolution.RAW, after)
                page = [each for each in await store.range(connection, question, most=7) if isinstance(each, Point)]
            if not page:
                break
            seen += page
            after = (page[-1].at_ms, page[-1].series, page[-1].ordinal, page[-1].seq)
            late = row(prop, 1000 + len(seen), NOW_MS - 200_000, device="meter-1")  # before every page
            await self.write(database, store, [late])
        assert sorted(point.seq for point in seen) == list(range(70))
        assert seen == sorted(seen, key=lambda point: (point.at_ms, point.series, point.ordinal, point.seq))
        async with database.transaction() as connection:
            question = RangeQuestion(list(names), 0, NOW_MS + 1, Resolution.RAW)
            async with store.stream(connection, question, at_a_time=11) as pieces:
                streamed = [(len(piece), each) async for piece in pieces for each in piece]
        assert max(size for size, _ in streamed) == 11
        assert [each for _, each in streamed if isinstance(each, Point) and each.seq < 1000] == seen

    async def test_a_selection_is_fenced_by_tenant_and_property(
        self, database: Database, store: TelemetryStore
    ) -> None:
        prop, other = next(_properties), next(_properties)
        await self.write(database, store, [row(prop, 1, NOW_MS), row(other, 1, NOW_MS)])
        async with database.transaction() as connection:
            assert len(await store.series(connection, whole_house(prop), most=10)) == 1
            assert await store.series(connection, Selection("southwind", prop), most=10) == []
            for narrowed in (
                Selection("northlight", prop, room="102"),
                Selection("northlight", prop, device="meter-9"),
                Selection("northlight", prop, capability="thermostat"),
                Selection("northlight", prop, attribute="rms_voltage"),
            ):
                assert await store.series(connection, narrowed, most=10) == []
            assert len(await store.series(connection, Selection("northlight", prop, "101", "meter-1"), most=10)) == 1

    # ------------------------------------------------------------------ roll-ups

    examples = 25

    @pytest.mark.guarantee("G2")
    async def test_roll_ups_equal_the_naive_ones_whatever_came_late_twice_or_in_any_order(
        self, database: Database, store: TelemetryStore
    ) -> None:
        found: list[str] = []

        async def example(batches: list[list[tuple[int, tuple[Scalar | None, str], str, str | None]]]) -> None:
            prop = next(_properties)
            stored: list[ReadingRow] = []
            for number, batch in enumerate(batches):
                rows = [
                    row(prop, number * 100 + n, NOW_MS - before_ms, value, quality, device, room)
                    for n, (before_ms, (value, quality), device, room) in enumerate(batch)
                ]
                await self.write(database, store, rows)
                stored += rows
                if number % 2:  # roll-ups meet half of the story, and are mended by the rest
                    await store.run_maintenance(NOW_MS + number * MINUTE_MS)
            await self.settle(store)
            for resolution in sql.ROLLUPS:
                assert await self.all_buckets(database, store, prop, resolution) == oracle.buckets(stored, resolution)
            names = await self.names(database, store, prop)
            for resolution in Resolution:
                async with database.transaction() as connection:
                    question = RangeQuestion(list(names), 0, NOW_MS + 2 * DAY_MS, resolution)
                    rows_of = await store.aggregate(connection, question)
                assert {names[each.series]: oracle.told(each) for each in rows_of} == oracle.whole(stored)
            found.append(prop)

        await self.explore(example)
        assert found

    async def explore(self, example: object) -> None:
        """Run `example` on arrivals that hypothesis chooses, in this loop."""
        import asyncio

        loop = asyncio.get_running_loop()

        @settings(max_examples=self.examples, deadline=None, suppress_health_check=list(HealthCheck), database=None)
        @given(arrivals)
        def run(batches: list[list[tuple[int, tuple[Scalar | None, str], str, str | None]]]) -> None:
            asyncio.run_coroutine_threadsafe(example(batches), loop).result()  # type: ignore[operator]  # a number, by the case

        await asyncio.to_thread(run)

    @pytest.mark.guarantee("G17")
    async def test_what_is_not_rolled_up_yet_is_said(self, database: Database, store: TelemetryStore) -> None:
        prop = next(_properties)
        start = NOW_MS - 2 * HOUR_MS
        await self.write(database, store, [row(prop, 1, start + 90_000)])

        async def unsettled() -> list[int | None]:
            async with database.transaction() as connection:
                return [await store.unsettled(connection, whole_house(prop), each) for each in Resolution]

        day = NOW_MS - NOW_MS % DAY_MS
        assert await unsettled() == [None, start + MINUTE_MS, start, day]
        await store.run_maintenance(NOW_MS)
        assert await unsettled() == [None, None, None, day]  # the day still runs
        await self.settle(store)
        assert await unsettled() == [None, None, None, None]
        await self.write(database, store, [row(prop, 2, start + 30_000)])  # late
        assert await unsettled() == [None, start, start, day]
        await self.settle(store)
        assert await unsettled() == [None, None, None, None]

    async def test_a_minute_that_runs_is_computed_when_it_is_over(
        self, database: Database, store: TelemetryStore
    ) -> None:
        prop = next(_properties)
        await self.write(database, store, [row(prop, n, NOW_MS + n * 1000) for n in range(10)])
        assert not (await store.run_maintenance(NOW_MS + 30_000)).rolled_up
        assert (await store.run_maintenance(NOW_MS + 80_000)).rolled_up[Resolution.MINUTE] == 1
        assert not (await store.run_maintenance(NOW_MS + 80_000)).rolled_up

    # ------------------------------------------------------------------ letting go

    @pytest.mark.guarantee("G1")
    @pytest.mark.parametrize("ago_ms", [HOUR_MS, 9 * DAY_MS], ids=["now", "below what is kept raw"])
    async def test_a_thinned_reading_shows_its_spread_and_rolls_up_as_all_that_it_stands_for(
        self, database: Database, store: TelemetryStore, ago_ms: int
    ) -> None:
        prop = next(_properties)
        since = NOW_MS - ago_ms
        await self.settle(store)  # what is older than what is kept raw has been let go
        whole = [row(prop, n, since + n * 500, (n * 37 % 16) / 8) for n in range(64)]  # 32 s: one minute
        texts = [row(prop, 100 + n, since + n, word, device="meter-2") for n, word in enumerate(["on", "off", "idle"])]
        flaws = [row(prop, 200 + n, since + n, None, "bad", device="meter-3") for n in range(2)]
        alone = row(prop, 300, since + 40_000, 9.0)
        await self.write(database, store, [thinned(whole), thinned(texts), thinned(flaws), alone])
        if ago_ms == HOUR_MS:
            points = await self.all_points(database, store, prop)
            assert [each.spread for each in points] == [
                Spread(since, 2, None, None, None), Spread(since, 3, None, None, None),
                Spread(since, 64, 0.0, 15 / 8, sum(n % 16 for n in range(64)) / 64 / 8), None,
            ]  # fmt: skip
        await self.settle(store)
        stored = [*whole, *texts, *flaws, alone]
        for resolution in sql.ROLLUPS:
            assert await self.all_buckets(database, store, prop, resolution) == oracle.buckets(stored, resolution)
        names = await self.names(database, store, prop)
        for resolution in (Resolution.MINUTE, Resolution.RAW) if ago_ms == HOUR_MS else (Resolution.MINUTE,):
            question = RangeQuestion(list(names), 0, NOW_MS + 2 * DAY_MS, resolution)
            async with database.transaction() as connection:
                rows = await store.aggregate(connection, question)
            assert {names[each.series]: oracle.told(each) for each in rows} == oracle.whole(stored)

    async def test_what_a_thinned_reading_sums_up_and_is_stored_by_itself_counts_once(
        self, database: Database, store: TelemetryStore
    ) -> None:
        """The building thinned what the cloud had received and not acknowledged yet; then it thinned the rest too."""
        prop = next(_properties)
        since = NOW_MS - HOUR_MS
        whole = [row(prop, n, since + n * 1_000, n / 8) for n in range(1, 41)]
        other = [row(prop, n, since + n * 1_000, 50.0, "uncertain") for n in range(41, 43)]  # another point of theirs
        await self.write(database, store, [*whole[:8], *other])
        await self.write(database, store, [thinned(whole[8:20])])
        await self.write(database, store, [thinned(whole)._replace(seq=60)])
        await self.settle(store)
        [bucket] = (await self.all_buckets(database, store, prop, Resolution.MINUTE)).values()
        assert bucket[:6] == (42, 0, 42, 1 / 8, 50.0, sum(n / 8 for n in range(1, 41)) + 100.0)

    @pytest.mark.guarantee("G1")
    async def test_nothing_is_let_go_before_the_roll_up_has_seen_it_and_what_comes_later_is_added(
        self, database: Database, store: TelemetryStore
    ) -> None:
        prop = next(_properties)
        old = NOW_MS - 4 * DAY_MS
        rows = [row(prop, n, old + n * 20_000, n / 8, device=f"meter-{n % 2}") for n in range(40)]
        await self.write(database, store, rows)
        await self.settle(store, NOW_MS)
        assert len(await self.all_points(database, store, prop)) == 40
        unseen = [row(prop, 100 + n, old + n * 20_000 + 5_000, n / 4) for n in range(10)]
        later = NOW_MS + 10 * DAY_MS  # beyond what is kept raw
        await self.write(database, store, unseen)
        first = await store.run_maintenance(later)
        assert first.dropped or first.held_back
        await self.settle(store, later)
        assert await self.all_points(database, store, prop) == []
        stored = rows + unseen
        for resolution in sql.ROLLUPS:
            assert await self.all_buckets(database, store, prop, resolution) == oracle.buckets(stored, resolution)
        async with database.transaction() as connection:
            floor = await store.kept_since(connection, Resolution.RAW)
        assert floor is not None
        assert old + DAY_MS < floor <= later - 5 * DAY_MS
        # a building that was cut off longer than readings are kept: added, once, to what is kept
        very_late = [
            row(prop, 200 + n, old + n * 15_000, None if n % 3 == 0 else -n / 8, "bad" if n % 3 == 0 else "good")
            for n in range(30)
        ]
        for part in (very_late[::2], very_late[1::2]):
            await self.write(database, store, part)
            report = await self.settle(store, later)
            assert report.folded == len(part)
        stored += very_late
        for resolution in sql.ROLLUPS:
            assert await self.all_buckets(database, store, prop, resolution) == oracle.buckets(stored, resolution)
        names = await self.names(database, store, prop)
        async with database.transaction() as connection:
            question = RangeQuestion(list(names), 0, NOW_MS + 2 * DAY_MS, Resolution.MINUTE)
            assert {
                names[each.series]: oracle.told(each) for each in await store.aggregate(connection, question)
            } == oracle.whole(stored)
        # and pages over parts that stand apart are whole
        paged: list[Bucket] = []
        after = None
        while True:
            async with database.transaction() as connection:
                question = RangeQuestion(list(names), 0, NOW_MS + DAY_MS, Resolution.MINUTE, after)
                page = [each for each in await store.range(connection, question, most=3) if isinstance(each, Bucket)]
            if not page:
                break
            paged += page
            after = (page[-1].at_ms, page[-1].series, 0, 0)
        assert {(names[each.series], each.at_ms): oracle.told(each) for each in paged} == oracle.buckets(
            stored, Resolution.MINUTE
        )
        # minutes go later, quarters stay
        await self.settle(store, NOW_MS + 40 * DAY_MS)
        assert await self.all_buckets(database, store, prop, Resolution.MINUTE) == {}
        await self.write(database, store, [row(prop, 300, old, 1000.0)])
        assert (await self.settle(store, NOW_MS + 40 * DAY_MS)).folded == 1
        stored.append(row(prop, 300, old, 1000.0))
        assert await self.all_buckets(database, store, prop, Resolution.MINUTE) == {}
        for resolution in (Resolution.QUARTER, Resolution.DAY):
            assert await self.all_buckets(database, store, prop, resolution) == oracle.buckets(stored, resolution)

    @pytest.mark.guarantee("G1")
    async def test_late_readings_survive_a_run_that_was_cut_off_before_it_added_them(
        self, database: Database, store: TelemetryStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        prop = next(_properties)
        await self.settle(store, NOW_MS)  # a floor stands
        late = [row(prop, n, NOW_MS - 8 * DAY_MS + n * 30_000, n / 8) for n in range(20)]
        await self.write(database, store, late)

        async def cut_off(*_arguments: object) -> bool:
            return False

        with monkeypatch.context() as patch:
            patch.setattr(type(store), "_fold_late", cut_off)
            for days in range(4):  # the floor would rise meanwhile
                await store.run_maintenance(NOW_MS + days * DAY_MS)
        report = await self.settle(store, NOW_MS + 3 * DAY_MS)
        assert report.folded == len(late)
        for resolution in sql.ROLLUPS:
            assert await self.all_buckets(database, store, prop, resolution) == oracle.buckets(late, resolution)

    @pytest.mark.guarantee("G17")
    async def test_late_readings_that_wait_to_be_added_are_said_to_be_unsettled(
        self, database: Database, store: TelemetryStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        prop = next(_properties)
        await self.settle(store, NOW_MS)  # a floor stands
        first_ms = NOW_MS - 8 * DAY_MS
        late = [row(prop, n, first_ms + n * 30_000, n / 8) for n in range(20)]
        await self.write(database, store, late)
        with monkeypatch.context() as patch:  # more than one run adds: it is told of, and not added yet
            patch.setattr(common, "FOLD_MOST", 5)
            patch.setattr(plain, "BITES_MOST", 1)
            patch.setattr(timescale, "BITES_MOST", 1)
            for _ in range(2):
                await store.run_maintenance(NOW_MS)
        async with database.transaction() as connection:
            for each in sql.ROLLUPS:
                oldest = await store.unsettled(connection, whole_house(prop), each)
                assert oldest is not None
                assert oldest <= late[-1].at_ms
                assert oldest % each.step_ms == 0
        await self.settle(store, NOW_MS)
        async with database.transaction() as connection:
            assert [await store.unsettled(connection, whole_house(prop), each) for each in sql.ROLLUPS] == [None] * 3
        for resolution in sql.ROLLUPS:
            assert await self.all_buckets(database, store, prop, resolution) == oracle.buckets(late, resolution)

    async def test_it_is_held_against_the_ledger(self, database: Database, store: TelemetryStore) -> None:
        """Rows, a thinned one among them, made of records; then one changed, one lost, one made up, by SQL."""
        prop = next(_properties)
        await Partitions(database).ensure(NOW_MS)
        async with database.transaction() as connection:
            made = await fetch_one(
                connection,
                "INSERT INTO telemetry.stream (edge, incarnation, lane, tenant, property, hi, began_at, moved_at)"
                " VALUES (%(prop)s, 'x', 'C', 'northlight', %(prop)s, 9, now(), now()) RETURNING ordinal",
                {"prop": prop},
            )
            assert made is not None
            rows = [row(prop, n, NOW_MS - n * 1_000, n / 8)._replace(ordinal=made["ordinal"]) for n in range(1, 9)]
            rows.append(thinned([rows[0], rows[0]._replace(seq=9, value=7.5)]))
            for each in rows:
                body: dict[str, object] = {
                    "room": each.room, "device": each.device, "capability": each.capability, "unit": each.unit,
                    "attribute": each.attribute, "value": each.value, "quality": each.quality,
                }  # fmt: skip
                if (said := each.thinned) is not None:
                    body["thinned"] = {
                        "count": said.stands_for, "first": said.first, "last": each.value, "min": said.least,
                        "max": said.most, "mean": said.mean, "numbers": said.numbers, "from_seq": said.from_seq,
                        "from_ms": said.since_ms,
                    }  # fmt: skip
                await execute(
                    connection,
                    "INSERT INTO telemetry.record (tenant, property, edge, incarnation, lane, seq, kind, body,"
                    " edge_at_ms, mono_ms, clock, received_at)"
                    " VALUES ('northlight', %(prop)s, %(prop)s, 'x', 'C', %(seq)s, 'reading', %(body)s, %(at)s, 1,"
                    " 'synchronised', %(now)s)",
                    {"prop": prop, "seq": each.seq, "body": jsonb(body), "at": each.edge_at_ms, "now": at(NOW_MS)},
                )
        await self.write(database, store, rows)
        await self.settle(store, NOW_MS)
        [held] = [each async for each in prove_readings(database, tenant="northlight", property_id=prop)]
        assert (held.holds, held.compared) == (True, 9), held.changes
        async with database.transaction() as connection:
            for change in (
                "UPDATE telemetry.reading SET number = 5 WHERE ordinal = %s AND seq = 2",
                "DELETE FROM telemetry.reading WHERE ordinal = %s AND seq = 3",
                "UPDATE telemetry.reading SET stands_for = 1 WHERE ordinal = %s AND seq = 9",
                "UPDATE telemetry.reading SET seq = 77 WHERE ordinal = %s AND seq = 4",
            ):
                await connection.execute(change, [made["ordinal"]])
        [held] = [each async for each in prove_readings(database, tenant="northlight", property_id=prop)]
        assert [found.found.shown for found in (held.missing, held.changed, held.foreign)] == [
            [(3, 4)], [(2, 2), (9, 9)], [(77, 77)],
        ]  # fmt: skip

    async def test_one_runner_at_a_time(self, database: Database, store: TelemetryStore) -> None:
        prop = next(_properties)
        await self.write(database, store, [row(prop, 1, NOW_MS - HOUR_MS)])
        async with self.rival(database):
            report = await store.run_maintenance(NOW_MS)
            assert (report.rolled_up, report.folded, report.dropped) == ({}, 0, [])
        assert (await store.run_maintenance(NOW_MS)).rolled_up[Resolution.MINUTE] == 1

    def rival(self, database: Database) -> "Rival":
        return Rival(database)


class Rival:
    """Somebody else who holds the lock of the one runner."""

    def __init__(self, database: Database) -> None:
        self._transaction = database.transaction()

    async def __aenter__(self) -> None:
        connection = await self._transaction.__aenter__()
        await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended('telemetry/maintenance', 0))")

    async def __aexit__(self, *_error: object) -> None:
        await self._transaction.__aexit__(None, None, None)
