"""What was refused goes with its lane, and one building cannot fill the disk with it."""

from datetime import timedelta

import pytest

from cloud.kit.database import Database, fetch_all
from cloud.kit.times import at
from cloud.telemetry import refused_keeping
from cloud.telemetry.ledger_keeping import LedgerKeeping, LedgerRetention
from tests.cloud.houses import DAY_MS, NOW_MS

pytestmark = [pytest.mark.tier("postgres"), pytest.mark.guarantee("G19")]
KEPT = LedgerRetention(a=timedelta(days=30), b=timedelta(days=10), c=timedelta(days=3))


async def refuse(database: Database, edge: str, *, lane: str = "C", ago: int = 0, rows: int = 1, size: int = 0) -> None:
    async with database.transaction() as connection:
        await connection.execute(
            """INSERT INTO telemetry.refused (edge, lane, error, detail, payload, at)
               SELECT %s, %s, 'PeerProtocolError', n::text, convert_to(repeat('x', %s), 'UTF8'), %s
                 FROM generate_series(1, %s) AS n""",
            [edge, lane, size, at(NOW_MS - ago * DAY_MS), rows],
        )


async def kept(database: Database) -> list[tuple[str, str, int, int, int]]:
    """(edge, lane, rows, the first of them, bytes)"""
    async with database.transaction() as connection:
        rows = await fetch_all(
            connection,
            """SELECT edge, lane, count(*), min(detail::int) AS first, coalesce(sum(octet_length(payload)), 0) AS bytes
                 FROM telemetry.refused GROUP BY edge, lane ORDER BY edge, lane""",
        )
    return [(row["edge"], row["lane"], row["count"], row["first"], row["bytes"]) for row in rows]


async def test_what_was_refused_goes_with_its_lane(database: Database) -> None:
    for lane in "ABC":
        for ago in (1, 5, 20, 40):
            await refuse(database, "e-one", lane=lane, ago=ago)
    report = await LedgerKeeping(database, KEPT).run(NOW_MS)
    assert [each[1:3] for each in await kept(database)] == [("A", 3), ("B", 2), ("C", 1)]
    assert report.dropped == ["1 refusals of lane A", "2 refusals of lane B", "3 refusals of lane C"]


async def test_of_one_building_the_newest_are_kept_and_its_neighbours_keep_theirs(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refused_keeping, "ROWS_MOST", 50)
    monkeypatch.setattr(refused_keeping, "BYTES_MOST", 1_000)
    await refuse(database, "e-good", rows=3, size=300)
    await refuse(database, "e-many", rows=80, size=1)
    await refuse(database, "e-long", rows=20, size=100)
    keeping = LedgerKeeping(database, KEPT)
    await keeping.run(NOW_MS)
    after = [("e-good", "C", 3, 1, 900), ("e-long", "C", 20, 1, 1_000), ("e-many", "C", 50, 31, 50)]
    assert await kept(database) == after
    await refuse(database, "e-many", rows=80, size=1)
    await keeping.run(NOW_MS + 1_000)  # looked at once a minute
    assert (await kept(database))[2][2] == 130
    await keeping.run(NOW_MS + 61_000)
    assert (await kept(database))[:2] == after[:2]
    assert (await kept(database))[2][2] == 50
