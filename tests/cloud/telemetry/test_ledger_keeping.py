"""The ledger lets rows go and the proof stands: sealed days, lanes that go at their own time, nothing unsealed lost."""

import asyncio
from datetime import date, timedelta
from typing import LiteralString

import psycopg
import pytest

from cloud.kit.database import Database, fetch_all
from cloud.kit.times import at
from cloud.telemetry import completeness, ledger_keeping
from cloud.telemetry.ledger_keeping import LedgerKeeping, LedgerReport, LedgerRetention
from protocols.errors import InvalidInputError
from protocols.link.lanes import Lane
from tests.cloud.houses import DAY_MS, NOW_MS
from tests.cloud.telemetry.test_proof import mark, proofs, put

KEPT = LedgerRetention(a=timedelta(days=30), b=timedelta(days=10), c=timedelta(days=3))


def day(ago: int) -> str:
    return f"record_{at(NOW_MS - ago * DAY_MS):%Y%m%d}"


def test_each_lane_goes_at_its_own_time() -> None:
    today = date(2026, 3, 1)
    going = {ago: "".join(KEPT.let_go(today - timedelta(days=ago), today)) for ago in range(1, 40)}
    assert [going[ago] for ago in (1, 3, 4, 10, 11, 30, 31)] == ["", "", "C", "C", "BC", "BC", "ABC"]
    assert LedgerRetention(a=None).let_go(date(1990, 1, 1), today) == (Lane.B, Lane.C)


@pytest.mark.parametrize(
    "wrong", [{"c": timedelta(days=1)}, {"b": timedelta(days=5)}, {"c": None}, {"a": timedelta(days=20)}]
)
def test_a_retention_that_would_lose_what_is_worth_more_is_refused(wrong: dict[str, timedelta | None]) -> None:
    with pytest.raises(InvalidInputError, match="ledger"):
        LedgerRetention(**wrong)


@pytest.mark.tier("postgres")
class TestOverALedger:
    """Rows, checkpoints and partitions of a real PostgreSQL."""

    async def fill(self, database: Database) -> None:
        """Six days of three lanes; a gap declared over midnight, one batch split by midnight."""
        for ago in range(5, -1, -1):
            first = (5 - ago) * 10 + 1
            for lane in ("A", "B", "C"):
                seqs = [seq for seq in range(first, first + 10) if lane != "C" or seq not in range(9, 14)]
                await put(database, ago, *seqs, lane=lane)
        for lane in ("A", "B", "C"):
            await mark(database, 60, *([(9, 13, "quota")] if lane == "C" else []), lane=lane)

    async def keep(self, database: Database, retention: LedgerRetention = KEPT, days: int = 0) -> LedgerReport:
        total = LedgerReport()
        keeping = LedgerKeeping(database, retention)
        for _ in range(20):
            report = await keeping.run(NOW_MS + days * DAY_MS)
            total.sealed += report.sealed
            total.dropped += report.dropped
            total.held_back += report.held_back
            if not report.more:
                return total
        raise AssertionError("keeping never comes to rest")

    async def lanes_of(self, database: Database, ago: int) -> dict[str, int]:
        async with database.transaction() as connection:
            rows = await fetch_all(
                connection,
                "SELECT lane, count(*) AS rows FROM telemetry.record WHERE received_at::date = %s GROUP BY 1",
                [at(NOW_MS - ago * DAY_MS).date()],
            )
        return {row["lane"]: row["rows"] for row in rows}

    @pytest.mark.guarantee("G2", "G14")
    async def test_rows_go_and_every_position_is_still_proved(self, database: Database) -> None:
        await self.fill(database)
        before = await proofs(database)
        report = await self.keep(database)
        assert report.sealed == 0  # the proof had sealed them
        assert report.dropped == [f"{day(5)} lanes C", f"{day(4)} lanes C"]
        assert await self.lanes_of(database, 5) == {"A": 10, "B": 10}
        assert await self.lanes_of(database, 3) == {"A": 10, "B": 10, "C": 10}
        report = await self.keep(database, days=7)
        assert await self.lanes_of(database, 5) == {"A": 10}
        await self.keep(database, days=26)
        async with database.transaction() as connection:
            left = await fetch_all(connection, "SELECT relname FROM pg_class WHERE relname = ANY (%s)", [[day(5)]])
        assert left == []  # nothing stays of a day that all lanes have left
        for trust in (True, False):
            after = await proofs(database, trust=trust)
            assert {lane: (each.holds, each.count, each.hi, each.first) for lane, each in after.items()} == {
                lane: (True, each.count, 60, 1) for lane, each in before.items()
            }
        async with database.snapshot() as connection:
            told = await completeness.completeness(connection, tenant="northlight", property_id="aurora")
        assert [(each.holds, each.count) for each in told] == [(True, 60), (True, 60), (True, 55)]

    async def test_sealing_is_done_in_bites_by_whoever_comes(
        self, database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(ledger_keeping, "SEALED_AT_ONCE", 4)
        await self.fill(database)
        first, second = LedgerKeeping(database, KEPT), LedgerKeeping(database, KEPT)
        reports = await asyncio.gather(first.run(NOW_MS), second.run(NOW_MS))
        assert max(each.sealed for each in reports) <= 4
        assert not any(each.dropped for each in reports if each.more)
        assert (await self.keep(database)).sealed + sum(each.sealed for each in reports) >= 15
        async with database.transaction() as connection:
            assert await completeness.checkpoints_of(connection, tenant="northlight", property_id="aurora") == 15

    @pytest.mark.guarantee("G2")
    async def test_the_route_reads_what_is_not_sealed_and_no_more(self, database: Database) -> None:
        await self.fill(database)
        await self.keep(database)
        async with database.snapshot() as connection:
            [_, _, lane_c] = await completeness.completeness(connection, tenant="northlight", property_id="aurora")
        assert (lane_c.days_trusted, lane_c.days_read) == (5, 1)

    @pytest.mark.guarantee("G1", "G14")
    async def test_a_day_with_a_row_too_many_or_too_few_is_held_back_and_named(self, database: Database) -> None:
        await self.fill(database)
        await proofs(database)
        await put(database, 5, 99, lane="C")  # a worker whose clock stood still
        async with database.transaction() as connection:
            await connection.execute("DELETE FROM telemetry.record WHERE lane = 'C' AND seq = 14")
        report = await self.keep(database)
        assert report.dropped == []
        assert [each.split(": ")[1] for each in report.held_back] == [
            "9 rows of lane C, 8 sealed", "6 rows of lane C, 7 sealed",
        ]  # fmt: skip
        assert not (await proofs(database))[Lane.C].holds

    @pytest.mark.guarantee("G14")
    async def test_a_row_that_says_something_else_than_when_it_was_sealed_is_found(self, database: Database) -> None:
        await self.fill(database)
        await self.keep(database)
        assert (await proofs(database))[Lane.A].holds
        async with database.transaction() as connection:
            await connection.execute(
                "UPDATE telemetry.record SET body = '{\"who\": \"nobody\"}' WHERE lane = 'A' AND seq = 25"
            )
        changed = (await proofs(database))[Lane.A]
        assert (changed.holds, changed.changed_days, changed.gaps) == (False, (at(NOW_MS - 3 * DAY_MS).date(),), ())

    @pytest.mark.guarantee("G14")
    async def test_a_seal_that_vanished_with_its_rows_is_a_gap(self, database: Database) -> None:
        await self.fill(database)
        await self.keep(database)
        async with database.transaction() as connection:
            await connection.execute(
                "DELETE FROM telemetry.proof WHERE lane = 'C' AND day = %s", [at(NOW_MS - 4 * DAY_MS).date()]
            )
        lane_c = (await proofs(database))[Lane.C]
        assert (lane_c.holds, lane_c.gaps) == (False, ((14, 20),))

    async def test_a_row_that_comes_into_a_day_that_was_let_go_is_named(self, database: Database) -> None:
        await self.fill(database)
        await self.keep(database)
        await put(database, 5, 3, lane="C")
        lane_c = (await proofs(database))[Lane.C]
        assert (lane_c.duplicates, lane_c.changed_days) == (1, (at(NOW_MS - 5 * DAY_MS).date(),))

    @pytest.mark.guarantee("G12")
    @pytest.mark.parametrize("table", ["telemetry.record", "ONLY telemetry.record"], ids=["that day", "any day"])
    async def test_writers_are_not_waited_for_long_and_the_next_run_tries_again(
        self, database: Database, monkeypatch: pytest.MonkeyPatch, table: LiteralString
    ) -> None:
        monkeypatch.setattr(ledger_keeping, "LOCK_WAIT", "50ms")
        await self.fill(database)
        async with await psycopg.AsyncConnection.connect(database.dsn) as writer:
            await writer.execute("LOCK TABLE " + table + " IN ROW EXCLUSIVE MODE")
            report = await self.keep(database)
            assert (report.dropped, len(report.held_back)) == ([], 2)
            assert await self.lanes_of(database, 5) == {"A": 10, "B": 10, "C": 8}
        assert len((await self.keep(database)).dropped) == 2
