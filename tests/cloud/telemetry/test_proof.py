"""What a stream adds up to, against an oracle that looks at every position; and over a real ledger, day by day."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg import sql

from cloud.app.main import main
from cloud.kit.database import Database
from cloud.kit.times import at
from cloud.telemetry import completeness, proof
from cloud.telemetry.completeness import Completeness, prove
from cloud.telemetry.proof import Range, Run, StreamProof
from protocols.link.lanes import Lane
from tests.cloud.houses import AURORA, DAY_MS, NOW_MS, open_house

Stored = tuple[int, int, int]
"""(day, id, seq)"""
INCARNATION: Final = b"i" * 16


def runs_of(rows: Sequence[Stored], day: int) -> list[Run]:
    """Fold a day as the server does."""
    runs: list[Run] = []
    for _, number, seq in sorted((row for row in rows if row[0] == day), key=lambda row: (row[2], row[1])):
        if runs and seq == runs[-1].last + 1 and number > runs[-1].last_id:
            runs[-1] = runs[-1]._replace(last=seq, last_id=number)
        else:
            runs.append(Run(seq, seq, number, number))
    return runs


def proved(rows: Sequence[Stored], holes: Sequence[tuple[int, int]], hi: int, *, piece: int = 1_000) -> StreamProof:
    told = StreamProof(hi)
    declared = [Range(*each) for each in sorted(holes)]
    for day in sorted({row[0] for row in rows}):
        runs = runs_of(rows, day)
        for start in range(0, len(runs), piece):
            if told.feed(runs[start : start + piece]) is not None:
                told.declare(declared)
    if told.end() is not None:
        told.declare(declared)
    told.close()
    return told


def positions(ranges: Sequence[tuple[int, int]]) -> list[int]:
    return [position for first, last in ranges for position in range(first, last + 1)]


@st.composite
def ledgers(draw: st.DrawFn) -> tuple[list[Stored], list[tuple[int, int]], int]:
    """A stream as it came: mostly in order, some of it lost, doubled, swapped, over a few days, with holes declared."""
    hi = draw(st.integers(0, 40))
    order = [seq for seq in range(1, hi + 1) if draw(st.integers(0, 9)) > 0]
    for _ in range(draw(st.integers(0, 2))):
        if order:
            order.insert(draw(st.integers(0, len(order))), draw(st.integers(1, hi + 3)))
    for _ in range(draw(st.integers(0, 2))):
        if len(order) > 1:
            one, other = draw(st.integers(0, len(order) - 1)), draw(st.integers(0, len(order) - 1))
            order[one], order[other] = order[other], order[one]
    nights = sorted(draw(st.lists(st.integers(0, len(order)), max_size=3)))
    rows = [(sum(night <= index for night in nights), 10 + 3 * index, seq) for index, seq in enumerate(order)]
    edges = sorted(draw(st.sets(st.integers(1, hi + 1), max_size=6)))
    holes = [(first, last) for first, last in zip(edges[::2], edges[1::2], strict=False) if last <= hi]
    return rows, holes, hi


@pytest.mark.guarantee("G2")
@given(ledgers(), st.integers(1, 5))
def test_every_position_is_told_as_an_oracle_tells_it(
    ledger: tuple[list[Stored], list[tuple[int, int]], int], piece: int
) -> None:
    rows, holes, hi = ledger
    told = proved(rows, holes, hi, piece=piece)
    held = Counter(seq for _, _, seq in rows)
    declared = set(positions(holes))
    missing = [seq for seq in range(1, hi + 1) if seq not in held and seq not in declared]
    beyond = sum(count for seq, count in held.items() if seq > hi)
    in_order = [seq for _, _, seq in rows] == sorted(set(held))
    # a gap up to a record past the mark is past the mark as well: nobody misses it
    assert [each for each in positions(told.gaps.shown) if each <= hi] == missing
    assert told.records == len(rows)
    assert told.beyond.positions == beyond
    doubled = sum(count - 1 for count in held.values())
    assert told.doubled.positions >= doubled
    if not doubled:
        inside = any(seq in declared for seq in held)
        assert inside or told.doubled.positions == 0
    if in_order:
        assert (told.disordered.ranges, told.doubled.positions) == (0, 0)
    elif not doubled and not any(seq in declared for seq in held):
        assert told.disordered.ranges > 0


def test_midnight_between_two_workers_is_no_disorder() -> None:
    """The batch that was stored last may bear the earlier day: its clock was read before it waited for the stream."""
    rows = [(1, n, n) for n in range(1, 6)] + [(2, n, n) for n in range(6, 9)] + [(1, n, n) for n in range(9, 12)]
    told = proved(rows, [], 11)
    assert (told.gaps.shown, told.doubled.ranges, told.disordered.ranges) == ([], 0, 0)


def test_memory_is_bounded_whatever_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proof, "OPEN_MOST", 50)
    monkeypatch.setattr(proof, "SHOWN_MOST", 20)
    told = StreamProof(40_000)
    for start in range(1, 40_001, 2_000):
        told.feed([Run(seq, seq, seq, seq) for seq in range(start, start + 2_000, 2)])
        told.declare([])
        assert len(told._open) <= 50
    told.end()
    told.close()
    assert (told.gaps.ranges, told.gaps.positions, len(told.gaps.shown)) == (20_000, 20_000, 20)


# ---------------------------------------------------------------------- over a real ledger


async def put(database: Database, day: int, *seqs: int, lane: str = "A") -> None:
    """Store records of a day before NOW, in this order."""
    received = at(NOW_MS - day * DAY_MS)
    async with await psycopg.AsyncConnection.connect(database.dsn) as owner:
        await owner.execute(
            sql.SQL(
                "CREATE TABLE IF NOT EXISTS telemetry.{} PARTITION OF telemetry.record FOR VALUES FROM ({}) TO ({})"
            ).format(
                sql.Identifier(f"record_{received:%Y%m%d}"),
                sql.Literal(f"{received:%Y-%m-%d}+00"),
                sql.Literal(f"{at(NOW_MS - (day - 1) * DAY_MS):%Y-%m-%d}+00"),
            )
        )
        await owner.execute(  # as if upkeep had made it
            sql.SQL("ALTER TABLE telemetry.{} OWNER TO innkeeper_upkeep").format(
                sql.Identifier(f"record_{received:%Y%m%d}")
            )
        )
    async with database.transaction() as connection:
        for seq in seqs:
            await connection.execute(
                """INSERT INTO telemetry.record (tenant, property, edge, incarnation, lane, seq, kind, body,
                          edge_at_ms, mono_ms, clock, received_at)
                   VALUES ('northlight', 'aurora', %s, %s, %s, %s, 'x', '{}', 0, 0, 'synchronised', %s)""",
                [AURORA.edge, INCARNATION, lane, seq, received],
            )


async def mark(database: Database, hi: int, *holes: tuple[int, int, str], lane: str = "A") -> None:
    async with database.transaction() as connection:
        await connection.execute(
            """INSERT INTO telemetry.stream (edge, incarnation, lane, tenant, property, hi, began_at, moved_at)
               VALUES (%s, %s, %s, 'northlight', 'aurora', %s, now(), now())""",
            [AURORA.edge, INCARNATION, lane, hi],
        )
        for first, last, reason in holes:
            await connection.execute(
                "INSERT INTO telemetry.hole VALUES (%s, %s, %s, %s, %s, %s, now())",
                [AURORA.edge, INCARNATION, lane, first, last, reason],
            )


async def proofs(database: Database, *, trust: bool = False) -> dict[Lane, Completeness]:
    return {
        each.lane: each
        async for each in prove(database, tenant="northlight", property_id="aurora", now_ms=NOW_MS, trust=trust)
    }


@pytest.mark.tier("postgres")
class TestLedger:
    """The SQL, the checkpoints, the command."""

    async def test_each_flaw_is_named(self, database: Database) -> None:
        await put(database, 3, 1, 2, 3, 4, 5, 6)
        await put(database, 2, 9, 10, 10, 11)
        await put(database, 1, 15, 14, 16)
        await put(database, 0, 12, 20, 31)
        await mark(database, 30, (17, 19, "thinned"), (21, 28, "quota"))
        held = (await proofs(database))[Lane.A]
        assert held.gaps == ((7, 8), (13, 13), (29, 30))
        assert held.missing == 5
        assert (held.duplicates, held.doubled) == (1, ((10, 10),))
        assert held.disordered == ((15, 16), (12, 12), (31, 31))
        assert [(hole.first, hole.last, hole.reason) for hole in held.holes] == [
            (17, 19, "thinned"), (21, 28, "quota")
        ]  # fmt: skip
        assert not held.holds

    async def test_days_that_are_over_are_trusted_or_read_again_and_named_if_changed(self, database: Database) -> None:
        await put(database, 2, *range(1, 21))
        await put(database, 1, *range(21, 41))
        await put(database, 0, *range(41, 51))
        await mark(database, 50)
        first = (await proofs(database))[Lane.A]
        assert (first.holds, first.count, first.days_trusted) == (True, 50, 0)
        again = (await proofs(database, trust=True))[Lane.A]
        assert (again.holds, again.count, again.days_trusted) == (True, 50, 2)  # today is not over
        async with database.transaction() as connection:
            assert await completeness.checkpoints_of(connection, tenant="northlight", property_id="aurora") == 2
            await connection.execute("DELETE FROM telemetry.record WHERE seq = 20 AND edge = %s", [AURORA.edge])
        assert (await proofs(database, trust=True))[Lane.A].holds
        changed = (await proofs(database))[Lane.A]
        assert (changed.gaps, changed.changed_days) == (((20, 20),), (at(NOW_MS - 2 * DAY_MS).date(),))
        # a day that is no longer in the ledger is what its checkpoint says, and is named unless retention let it go
        async with await psycopg.AsyncConnection.connect(database.dsn) as owner:
            await owner.execute(
                sql.SQL("DROP TABLE telemetry.{}").format(sql.Identifier(f"record_{at(NOW_MS - 2 * DAY_MS):%Y%m%d}"))
            )
        gone = (await proofs(database))[Lane.A]
        assert (gone.missing, gone.count, gone.days_trusted) == (0, 50, 1)
        assert (gone.holds, gone.vanished_days) == (False, (at(NOW_MS - 2 * DAY_MS).date(),))
        async with database.transaction() as connection:
            await connection.execute(
                "UPDATE telemetry.proof SET let_go_at = now() WHERE day = %s", [at(NOW_MS - 2 * DAY_MS).date()]
            )
        assert (await proofs(database))[Lane.A].holds

    async def test_a_long_stream_is_folded_by_the_server(
        self, database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(completeness, "RUNS_A_PIECE", 10)
        monkeypatch.setattr(completeness, "CHECKPOINT_RUNS_MOST", 15)
        await put(database, 1, *range(1, 101, 2), lane="C")
        await mark(database, 100, *((seq, seq, "thinned") for seq in range(2, 99, 2)), lane="C")
        held = (await proofs(database))[Lane.C]
        assert (held.gaps, held.count, held.holes_in_all) == (((100, 100),), 50, 49)
        assert (await proofs(database, trust=True))[Lane.C].days_trusted == 0  # too many pieces for a checkpoint

    async def test_the_command_names_what_is_wrong_and_can_trust_checkpoints(
        self, database: Database, dsn: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        await open_house(database)
        await put(database, 1, 1, 2, 2, 5, 4, 3)
        await put(database, 0, 9)
        await mark(database, 9, (6, 7, "thinned"))
        config = tmp_path / "cloud.toml"
        config.write_text(f'[database]\ndsn = "{dsn}"\n')
        arguments = ["verify", "--config", str(config), "--property", "aurora"]
        assert await asyncio.to_thread(main, arguments) == 1
        told = capsys.readouterr().out
        for line in (
            "missing 8-8", "stored twice 2-2", "out of order 5-5", "thinned 6-7", "BROKEN",
        ):  # fmt: skip
            assert line in told, told
        assert await asyncio.to_thread(main, [*arguments, "--trust-checkpoints"]) == 1
        assert "by checkpoint: BROKEN" in capsys.readouterr().out
