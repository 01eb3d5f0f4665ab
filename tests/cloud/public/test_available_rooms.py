"""The route that says which rooms are free: nights of the house, a type alone, and what is no question."""

from typing import Any

import pytest

from cloud.stays.stays import upsert_reservations
from tests.cloud.houses import NOW_MS, PLACE, reservation
from tests.cloud.public.conftest import Site

pytestmark = [pytest.mark.tier("postgres"), pytest.mark.requirement("STY-03")]
PATH = "/api/v1/properties/aurora/available-rooms"


async def ask(site: Site, query: str = "", *, status: int = 200) -> Any:
    answer = await site.http.get(f"{PATH}{query}", headers=site.as_("viewer"))
    assert answer.status_code == status, answer.text
    return answer.json()


async def test_it_tells_tonight_unless_other_nights_are_asked_about(site: Site) -> None:
    async with site.database.transaction() as connection:
        await upsert_reservations(connection, PLACE, [reservation(room="101")], now_ms=NOW_MS)
    tonight = await ask(site)
    assert tonight["zone"] == "Europe/Vienna"
    shown = {room["room"] for each in tonight["types"] for room in each["free_rooms"]}
    assert "101" not in shown
    assert shown, "the others are free"
    weeks_on = await ask(site, "?arrival=2027-03-01&departure=2027-03-04")
    assert (weeks_on["arrival"], weeks_on["departure"]) == ("2027-03-01", "2027-03-04")
    assert "101" in {room["room"] for each in weeks_on["types"] for room in each["free_rooms"]}


async def test_one_type_alone(site: Site) -> None:
    known = [each["type"] for each in (await ask(site))["types"]]
    assert len(known) >= 1
    told = await ask(site, f"?type={known[0]}")
    assert [each["type"] for each in told["types"]] == [known[0]]
    assert (await ask(site, "?type=castle"))["types"] == []


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("?arrival=2026-11-23&departure=2026-11-23", "departure"),
        ("?arrival=2026-11-23&departure=2026-11-22", "departure"),
        ("?arrival=2026-11-23&departure=2028-01-01", "departure"),
        ("?arrival=1826-11-23", "arrival"),
        ("?arrival=9999-12-31", "arrival"),
        ("?departure=0001-01-01", "departure"),
        ("?arrival=tomorrow", "arrival"),
    ],
)
async def test_what_is_no_span_of_nights_is_refused_by_name(site: Site, query: str, field: str) -> None:
    told = await ask(site, query, status=400)
    assert field in str(told), told
