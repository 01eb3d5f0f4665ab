"""The ledger over HTTP: pages of records of a building whose store was made anew."""

from typing import Any

import pytest

from cloud.kit.times import at
from cloud.telemetry.partitions import Partitions
from tests.cloud.houses import AURORA, NOW_MS
from tests.cloud.public.conftest import Site

pytestmark = pytest.mark.tier("postgres")
P = "/api/v1/properties/aurora/records"
LIVES = (b"\x02" * 16, b"\x01" * 16)
"""In the order in which they began, which is not that of their names."""


async def fill(site: Site) -> None:
    async with site.database.transaction() as connection:
        await connection.execute(
            "INSERT INTO telemetry.edge (id, tenant, property, last_heard_at) VALUES (%s, %s, %s, now())",
            [AURORA.edge, AURORA.tenant, AURORA.id],
        )
    await Partitions(site.database).ensure(NOW_MS)
    async with site.database.transaction() as connection:
        for life in LIVES:
            await connection.execute(
                """INSERT INTO telemetry.stream (edge, incarnation, lane, tenant, property, hi, began_at, moved_at)
                   VALUES (%s, %s, 'A', %s, %s, 5, now(), now())""",
                [AURORA.edge, life, AURORA.tenant, AURORA.id],
            )
            await connection.execute(
                """INSERT INTO telemetry.record (tenant, property, edge, incarnation, lane, seq, kind, body,
                          edge_at_ms, mono_ms, clock, received_at)
                   SELECT %s, %s, %s, %s, 'A', n, 'note', '{}', 0, 0, 'synchronised', %s
                     FROM generate_series(1, 5) AS n""",
                [AURORA.tenant, AURORA.id, AURORA.edge, life, at(NOW_MS)],
            )


async def pages(site: Site, **arguments: str) -> list[list[tuple[str, int]]]:
    found: list[list[tuple[str, int]]] = []
    cursor: dict[str, str] = {}
    while len(found) < 20:
        answer = await site.http.get(P, params={**arguments, **cursor}, headers=site.as_("admin"))
        assert answer.status_code == 200, answer.text
        told: dict[str, Any] = answer.json()
        found.append([(each["incarnation"][:2], each["seq"]) for each in told["records"]])
        if told["next"] is None:
            return found
        cursor = {"cursor": told["next"]}
    raise AssertionError("the pages never end")


@pytest.mark.guarantee("G2")
@pytest.mark.parametrize("limit", ["1", "2", "3", "5", "10", "100"])
async def test_pages_go_on_from_one_incarnation_to_the_next_and_show_each_record_once(site: Site, limit: str) -> None:
    await fill(site)
    found = await pages(site, limit=limit)
    assert [row for page in found for row in page] == [(life, n) for life in ("02", "01") for n in range(1, 6)]
    assert all(len(page) == int(limit) for page in found[:-1])
    assert found[-1]


async def test_one_incarnation_and_what_lies_behind_a_position_can_be_asked_for(site: Site) -> None:
    await fill(site)
    assert await pages(site, incarnation="01" * 16, after_seq="3") == [[("01", 4), ("01", 5)]]
    for wrong in ({"incarnation": "xyz"}, {"cursor": "1"}, {"cursor": "-1-1"}, {"limit": "0"}, {"after_seq": "-1"}):
        answer = await site.http.get(P, params=wrong, headers=site.as_("admin"))
        assert (answer.status_code, answer.headers["content-type"]) == (400, "application/problem+json")
        assert next(iter(wrong)) in answer.text
