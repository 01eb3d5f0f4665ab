"""The time series in the running service: asked over a real socket, kept in order, let go as the settings say."""

import asyncio
import hashlib
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from cloud.app.service import run
from cloud.app.settings import CloudSettings, TelemetrySettings
from cloud.app.timeseries import make_store, retention
from cloud.kit.acting import system
from cloud.kit.database import Database, fetch_one
from cloud.telemetry.ledger_keeping import LedgerRetention
from cloud.telemetry.store.port import ReadingRow, Retention, TimeSource
from kit.clock import SystemClock
from kit.dice import SystemDice
from protocols.errors import InvalidInputError, StoreFailedError
from provisioning.rehearsal.embedded_postgres import EmbeddedPostgres
from tests.cloud.houses import open_house
from tests.services.postgres import drop_database, fresh_database

TOKEN = "a-token-of-forty-characters-0123456789ab"


@pytest.mark.tier("postgres")
async def test_the_service_answers_questions_and_rolls_up(database: Database, dsn: str, tmp_path: Path) -> None:
    await open_house(database)
    digest = hashlib.sha256(TOKEN.encode()).hexdigest()
    settings = msgspec.convert(
        {
            "database": {"dsn": dsn},
            "http": {"port": 0},
            "access_tokens": [{"name": "ops", "tenant": "northlight", "sha256": digest}],
        },
        CloudSettings,
    )
    clock = SystemClock("host")
    start = clock.wall_ms() - 600_000
    store = await make_store(settings.telemetry, database)
    async with database.transaction() as connection:
        await store.write(
            connection,
            [
                ReadingRow(
                    "northlight", "aurora", "101", "meter-101", "electrical_measurement", "active_power", "W",
                    start + n * 100, start + n * 100, float(n), "good", TimeSource.SYNCHRONISED, 1, n,
                )
                for n in range(3_000)
            ],
        )  # fmt: skip
    bound: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    stop = asyncio.Event()
    serving = asyncio.create_task(run(settings, clock=clock, dice=SystemDice(), bound=bound.set_result, stop=stop))
    headers = {"Authorization": f"Bearer {TOKEN}"}
    base = f"http://127.0.0.1:{await bound}/api/v1/properties/aurora/telemetry"
    async with asyncio.timeout(60), httpx.AsyncClient(headers=headers) as http:
        minutes: dict[str, Any] = {}
        while not minutes.get("buckets") or minutes["unsettled_since"] is not None:
            minutes = (await http.get(f"{base}/range", params={"resolution": "1m"})).json()
            await asyncio.sleep(0.05)
        assert sum(each["samples"] for each in minutes["buckets"]) == 3_000
        async with http.stream("GET", f"{base}/lines") as answer:
            lines = [json.loads(line) async for line in answer.aiter_lines()]
        assert [each["value"] for each in lines if each["type"] == "point"] == list(range(3_000))
        assert lines[-1] == {"type": "end", "points": 3_000}
        assert (await http.get(f"{base}/range", params={"since": "now"})).status_code == 400
        assert (await http.get(f"{base}/latest")).json()["values"] == []
    stop.set()
    async with asyncio.timeout(30):
        await serving


@pytest.mark.tier("postgres")
async def test_a_database_that_was_not_migrated_is_named(postgres: EmbeddedPostgres) -> None:
    dsn = fresh_database(postgres, "not_migrated")
    database = Database(dsn, most=1, actor=system("test"))
    await database.open()
    try:
        with pytest.raises(StoreFailedError, match="innkeeper-cloud migrate"):
            await make_store(TelemetrySettings(), database)
    finally:
        await database.close()
        drop_database(postgres, "not_migrated")


def test_retention_is_what_the_settings_say_and_zero_is_for_ever() -> None:
    assert retention(TelemetrySettings()) == Retention()
    told = retention(TelemetrySettings(keep_readings=timedelta(days=3), keep_minutes=timedelta(0),
                                       keep_quarters=timedelta(0)))  # fmt: skip
    assert told == Retention(raw=timedelta(days=3), minute=None, quarter=None, day=None)
    with pytest.raises(InvalidInputError, match=r"retention\.raw"):
        retention(TelemetrySettings(keep_readings=timedelta(hours=47)))
    with pytest.raises(InvalidInputError, match="at least as long as a finer one"):
        retention(TelemetrySettings(keep_minutes=timedelta(0)))


def test_the_ledger_is_kept_lane_by_lane_as_the_settings_say() -> None:
    told = retention(TelemetrySettings(keep_ledger_a=timedelta(0), keep_ledger_b=timedelta(days=30),
                                       keep_ledger_c=timedelta(days=3)))  # fmt: skip
    assert told.ledger == LedgerRetention(a=None, b=timedelta(days=30), c=timedelta(days=3))
    with pytest.raises(InvalidInputError, match="lane A is kept longest"):
        retention(TelemetrySettings(keep_ledger_c=timedelta(0)))
    with pytest.raises(InvalidInputError, match="less than 2 days"):
        retention(TelemetrySettings(keep_ledger_c=timedelta(days=1)))
    with pytest.raises(ValueError, match="keep_ledger_b"):
        TelemetrySettings(keep_ledger_b=timedelta(days=-1))


@pytest.mark.parametrize(
    ("key", "value"),
    [("parallel", 0), ("group_messages_max", 0), ("queue_messages_max", 0), ("group_takes", "PT0S"),
     ("returns_a_second", 0)],
)  # fmt: skip
def test_a_worker_that_could_not_work_is_refused_by_name(key: str, value: object) -> None:
    with pytest.raises(msgspec.ValidationError, match=key):
        msgspec.convert({"database": {"dsn": "dbname=x"}, "ingest": {"work": {key: value}}}, CloudSettings)


@pytest.mark.tier("postgres")
async def test_one_row_a_reading_is_what_the_view_shows(database: Database) -> None:
    store = await make_store(TelemetrySettings(), database)
    async with database.transaction() as connection:
        await store.write(
            connection,
            [ReadingRow("t", "p", None, "d", "on_off", "on_off", None, 5, 4, True, "good", TimeSource.ARRIVAL, 2, 9)],
        )
        row = await fetch_one(connection, "SELECT * FROM telemetry.readings")
    assert row is not None
    assert (row["tenant"], row["property"], row["room"], row["device"], row["flag"], row["number"], row["seq"]) == (
        "t", "p", "", "d", True, None, 9
    )  # fmt: skip
