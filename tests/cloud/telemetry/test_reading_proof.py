"""Whoever changes the time series with SQL is found by `innkeeper-cloud verify`: each way of changing it, named."""

import asyncio
import random
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Final, LiteralString

import psycopg
import pytest

from cloud.app.main import main
from cloud.kit.database import Database
from cloud.telemetry.fan_in.ledger import PostgresLedger
from cloud.telemetry.ledger_keeping import LedgerRetention
from cloud.telemetry.reading_proof import ReadingsProof, Spans, prove_readings
from cloud.telemetry.store.plain import PlainStore
from cloud.telemetry.store.port import Retention
from kit.clock import ManualClock
from protocols.link.lanes import Lane
from protocols.link.record import ClockQuality, encode_record
from tests.cloud.telemetry.sending import NOW_MS, arrived, edge, note, owner_of, packed
from tests.cloud.telemetry.sending import reading as plain_reading

pytestmark = [pytest.mark.tier("postgres"), pytest.mark.guarantee("G2")]

EDGE: Final = edge(1)
PROPERTY: Final = f"p-{EDGE[-6:]}"
DAY_MS: Final = 86_400_000
VALUES: Final[Sequence[Any]] = (
    21.5, 3, True, False, "cool", "", -0.0, 1e22, 1e-7, 2**53 + 1, -(2**63), 0.1, "Zürich ✓", 1e150, 1e250, [1], {},
)  # fmt: skip


def timed(n: int, *, device_at_ms: int | None, edge_at_ms: int, clock: ClockQuality) -> bytes:
    body = {
        "room": None, "device": f"meter-{n % 3}", "capability": "c", "attribute": "a", "value": n, "unit": None,
        "quality": "good",
    }  # fmt: skip
    return encode_record("reading", body, device_at_ms=device_at_ms, edge_at_ms=edge_at_ms, mono_ms=n, clock=clock)


def many(dice: random.Random) -> list[bytes]:
    """Readings of every kind of value and time, some of them no readings, and notes among them."""
    records = [plain_reading(n, value) for n, value in enumerate(VALUES)]
    records += [plain_reading(40, None, quality="bad"), plain_reading(41, 20.0, quality="stale"), note(3)]
    for n in range(60):
        edge_at_ms = NOW_MS + dice.choice([0, -5_000, -3 * DAY_MS, -500 * DAY_MS, 10 * DAY_MS])
        device_at_ms = dice.choice([None, edge_at_ms - 4_000, edge_at_ms - 9 * DAY_MS, 5, edge_at_ms + DAY_MS])
        clock = dice.choice(list(ClockQuality))
        records.append(timed(n, device_at_ms=device_at_ms, edge_at_ms=max(0, edge_at_ms), clock=clock))
    return records


async def fill(database: Database) -> PlainStore:
    """Lane C over two days in several batches, and a reading on lane B."""
    clock = ManualClock(wall_ms=NOW_MS)
    store = PlainStore(
        database, retention=Retention(raw=timedelta(days=5), ledger=LedgerRetention(c=timedelta(days=2)))
    )
    ledger = PostgresLedger(database, owner_of=owner_of, projections={}, clock=clock, store=store)
    records = many(random.Random(1))
    for at in range(0, len(records), 20):
        await ledger.commit([arrived(EDGE, packed(EDGE, at + 1, records[at : at + 20]))])
        clock.advance(DAY_MS // 4)
    await ledger.commit([arrived(EDGE, packed(EDGE, 1, [plain_reading(7)], Lane.B), Lane.B)])
    await ledger.commit([arrived(edge(2), packed(edge(2), 1, [plain_reading(n) for n in range(5)]))])
    return store


async def proofs(database: Database, since: date | None = None, until: date | None = None) -> dict[str, ReadingsProof]:
    found = prove_readings(database, tenant="northlight", property_id=PROPERTY, since=since, until=until)
    return {each.lane: each async for each in found}


async def change(database: Database, *statements: LiteralString) -> None:
    """As somebody who may do anything."""
    async with await psycopg.AsyncConnection.connect(database.dsn, autocommit=True) as owner:
        for each in statements:
            await owner.execute(each)


async def test_what_nobody_changed_holds_whatever_was_told(database: Database) -> None:
    await fill(database)
    found = await proofs(database)
    assert {lane: (each.holds, each.changes) for lane, each in found.items()} == {"B": (True, []), "C": (True, [])}
    assert found["C"].compared == len(many(random.Random(1))) - 4  # a note, 1e250, a list, a map
    assert found["B"].compared == 1


@pytest.mark.parametrize(
    ("statement", "flaw", "seqs"),
    [
        ("DELETE FROM telemetry.reading WHERE ordinal = 1 AND seq IN (2, 3, 9)", "missing", [(2, 3), (9, 9)]),
        ("UPDATE telemetry.reading SET number = 99 WHERE ordinal = 1 AND seq = 1", "changed", [(1, 1)]),
        ("UPDATE telemetry.reading SET number = 'NaN' WHERE ordinal = 1 AND seq = 1", "changed", [(1, 1)]),
        ("UPDATE telemetry.reading SET flag = NULL, number = 1 WHERE ordinal = 1 AND seq = 3", "changed", [(3, 3)]),
        ("UPDATE telemetry.reading SET text = 'x' WHERE ordinal = 1 AND seq = 1", "changed", [(1, 1)]),
        ("UPDATE telemetry.reading SET at = at + interval '1 ms' WHERE ordinal = 1 AND seq = 1", "changed", [(1, 1)]),
        ("UPDATE telemetry.reading SET edge_at = 'infinity' WHERE ordinal = 1 AND seq = 1", "changed", [(1, 1)]),
        ("UPDATE telemetry.reading SET quality = 1 WHERE ordinal = 1 AND seq = 1", "changed", [(1, 1)]),
        ("UPDATE telemetry.reading SET quality = 77 WHERE ordinal = 1 AND seq = 1", "changed", [(1, 1)]),
        ("UPDATE telemetry.reading SET stands_for = 9 WHERE ordinal = 1 AND seq = 1", "changed", [(1, 1)]),
        ("UPDATE telemetry.series SET unit = 'K' WHERE unit = '°C'", "changed", None),
        (
            "INSERT INTO telemetry.reading SELECT (r).* FROM (SELECT r FROM telemetry.reading r"
            " WHERE ordinal = 1 AND seq = 1) AS x",
            "foreign",
            [(1, 1)],
        ),
        ("UPDATE telemetry.reading SET seq = 5000 WHERE ordinal = 1 AND seq = 1", "foreign", [(5000, 5000)]),
        (
            "UPDATE telemetry.record SET body = '{}' WHERE lane = 'C' AND edge LIKE '%1' AND seq = 1",
            "foreign",
            [(1, 1)],
        ),
        ("DELETE FROM telemetry.record WHERE lane = 'C' AND edge LIKE '%1' AND seq = 1", "foreign", [(1, 1)]),
    ],
)
async def test_each_change_is_named(
    database: Database, statement: LiteralString, flaw: str, seqs: list[tuple[int, int]] | None
) -> None:
    await fill(database)
    await change(database, statement)
    found = (await proofs(database))["C"]
    assert not found.holds
    shown = [tuple(each) for each in getattr(found, flaw).found.shown]
    assert shown if seqs is None else shown == seqs


async def test_a_row_of_no_stream_is_named_and_so_is_one_put_into_another_house(database: Database) -> None:
    await fill(database)
    await change(
        database,
        "UPDATE telemetry.reading SET ordinal = 4711 WHERE ordinal = 1 AND seq = 1",
        "UPDATE telemetry.reading SET series = (SELECT min(id) FROM telemetry.series WHERE property = 'p-000001')"
        " WHERE ordinal = (SELECT ordinal FROM telemetry.stream WHERE edge LIKE '%2') AND seq = 4",
    )
    found = await proofs(database)
    assert found["C"].missing.found.shown == [(1, 1)]
    assert [(each.ordinal, each.foreign.found.positions) for each in found.values() if not each.edge] == [(0, 2)]
    assert sorted(found[""].changes) == ["1 of thermostat-101: there is no stream 4711", found[""].changes[0]]
    house_2 = [each async for each in prove_readings(database, tenant="northlight", property_id="p-000002")]
    assert [each.missing.found.shown for each in house_2] == [[(4, 4)]]


async def test_days_can_be_named(database: Database) -> None:
    await fill(database)
    await change(database, "DELETE FROM telemetry.reading WHERE ordinal = 1 AND seq = 1")
    today = datetime.fromtimestamp(NOW_MS / 1_000, UTC).date()
    assert not (await proofs(database, since=today, until=today + timedelta(days=1)))["C"].holds
    assert all(each.holds for each in (await proofs(database, since=today + timedelta(days=1))).values())
    before = (await proofs(database, until=today))["C"]
    assert before.holds
    assert before.compared > 0


@pytest.mark.guarantee("G9")
async def test_what_retention_let_go_of_either_is_held_against_nothing(database: Database) -> None:
    store = await fill(database)
    for days in range(1, 12):
        while (await store.run_maintenance(NOW_MS + days * DAY_MS)).more:
            pass
        found = await proofs(database)
        assert all(each.holds for each in found.values()), (days, found)
        if days == 5:
            assert found["C"].let_go > 0  # records go after 2 days, readings after 5
    assert found == {}
    await change(
        database,
        "INSERT INTO telemetry.reading (at, series, edge_at, number, quality, time_source, ordinal, seq)"
        " VALUES ('2026-01-20', 1, '2026-01-20', 5, 0, 0, 1, 900)",
    )
    assert (await proofs(database))["C"].foreign.found.shown == [(900, 900)]


async def test_the_command_says_it(
    database: Database, dsn: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    await fill(database)
    await change(
        database,
        "INSERT INTO platform.tenant (id, created_at) VALUES ('northlight', now()) ON CONFLICT DO NOTHING",
        "INSERT INTO platform.property VALUES ('p-000001', 'northlight', 'P', 'UTC', 'e-hotel00000000001', '{}', now(),"
        " now())",
    )
    config = tmp_path / "cloud.toml"
    config.write_text(f'[database]\ndsn = "{dsn}"\n')
    arguments = ["verify", "--config", str(config), "--property", PROPERTY]
    assert await asyncio.to_thread(main, arguments) == 0
    assert "time series: 76 as their records say, 0 missing" in capsys.readouterr().out
    await change(database, "UPDATE telemetry.reading SET number = 99 WHERE ordinal = 1 AND seq = 1")
    assert await asyncio.to_thread(main, arguments) == 1
    told = capsys.readouterr().out
    assert "changed 1-1" in told
    assert "1 of thermostat-101: value 99.0, the record says 21.5" in told
    assert await asyncio.to_thread(main, [*arguments, "--no-readings"]) == 0
    assert await asyncio.to_thread(main, [*arguments, "--trust-checkpoints"]) == 0
    assert await asyncio.to_thread(main, [*arguments, "--trust-checkpoints", "--since", "2026-01-01"]) == 1
    assert await asyncio.to_thread(main, [*arguments, "--since", "2027-01-01"]) == 0
    assert await asyncio.to_thread(main, [*arguments, "--no-readings", "--since", "2026-01-01"]) == 2


def test_ranges_that_were_let_go() -> None:
    held = Spans([(10, 20), (1, 3), (4, 5), (15, 30)])
    assert [seq for seq in range(40) if seq in held] == [*range(1, 6), *range(10, 31)]
