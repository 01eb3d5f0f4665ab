"""A guest who comes again is known: what counts as a visit, where it counts, and what the caller may see of it."""

from typing import Any

import pytest

from cloud.guests.history import current_stay, guest_of_stay, stays_of, visits
from cloud.kit.acting import acting, tenant
from cloud.kit.database import Database
from cloud.platform.properties import Property
from cloud.stays.reservation import PmsStatus
from tests.cloud.guests.houses import CORONA, ours, share, stayed
from tests.cloud.houses import AURORA, BOREALIS, open_house

pytestmark = [pytest.mark.tier("postgres"), pytest.mark.requirement("GST-22")]


async def came(database: Database, guest: str, stay: str | None = None, house: Property = AURORA) -> int:
    async with database.transaction() as connection:
        return await visits(
            connection, tenant=house.tenant, property_id=house.id, guest=ours(guest, house), before_stay=stay
        )


async def history(database: Database, guest: str, most: int = 50, before: tuple[int, str] | None = None) -> list[str]:
    async with database.transaction() as connection:
        found = await stays_of(
            connection, tenant=AURORA.tenant, property_id=AURORA.id, guest=ours(guest), most=most, before=before
        )
    return [each.stay for each in found]


async def test_a_visit_is_what_took_place_and_rooms_of_one_day_are_one(database: Database) -> None:
    await open_house(database)
    await stayed(database, "first", "c1", days_ago=300)
    await stayed(database, "first-too", "c1", days_ago=300, room="102", hours=2)
    await stayed(database, "cancelled", "c1", days_ago=200, status=PmsStatus.CANCELLED)
    await stayed(database, "nobody-came", "c1", days_ago=150, status=PmsStatus.NO_SHOW)
    second = await stayed(database, "second", "c1", days_ago=100)
    other = await stayed(database, "other", "c2", days_ago=90)
    booked = await stayed(database, "third", "c1", days_ago=0, status=PmsStatus.BOOKED)
    assert await came(database, "c1", booked) == 2
    assert await came(database, "c1", second) == 1
    assert await came(database, "c1") == 2
    assert await came(database, "c2", other) == 0


@pytest.mark.requirement("GST-08")
async def test_stays_are_told_the_latest_first_with_how_they_ended_and_page_by_page(database: Database) -> None:
    await open_house(database)
    ended = ((9, PmsStatus.LEFT), (7, PmsStatus.CANCELLED), (6, PmsStatus.NO_SHOW), (2, PmsStatus.LEFT))
    made = [await stayed(database, f"r{days}", "c1", days_ago=days, status=status, room=None) for days, status in ended]
    assert await history(database, "c1") == made[::-1]
    async with database.transaction() as connection:
        page = await stays_of(connection, tenant=AURORA.tenant, property_id=AURORA.id, guest=ours("c1"), most=2)
    assert [each.pms_status for each in page] == [PmsStatus.LEFT, PmsStatus.NO_SHOW]
    last = page[-1]
    position = (round(last.expected_from.timestamp() * 1_000), last.stay)
    assert await history(database, "c1", 2, position) == made[1::-1]


@pytest.mark.guarantee("G8")
async def test_other_houses_count_only_where_the_tenant_says_that_they_share_and_the_caller_may_see_them(
    database: Database,
) -> None:
    for house in (AURORA, CORONA, BOREALIS):
        await open_house(database, house)
        await stayed(database, "past", "c1", days_ago=50, house=house)
    booked = await stayed(database, "now", "c1", days_ago=0, status=PmsStatus.IN_HOUSE)
    assert await came(database, "c1", booked) == 1, "denied where nobody says otherwise"
    await share(database, AURORA)
    await share(database, CORONA, name="another")
    assert await came(database, "c1", booked) == 1
    async with database.transaction() as connection:
        await connection.execute("UPDATE guests.directory SET name = 'chain'")
    await share(database, BOREALIS)
    assert await came(database, "c1", booked) == 2, "never a house of another tenant"
    assert len(await history(database, "c1")) == 3
    with acting(tenant(AURORA.tenant, frozenset({AURORA.id}))):
        assert await came(database, "c1", booked) == 1
        assert len(await history(database, "c1")) == 2
    with acting(tenant(AURORA.tenant)):
        assert await came(database, "c1", booked) == 2
    with acting(tenant(BOREALIS.tenant)):
        assert await came(database, "c1", booked) == 0
        assert await history(database, "c1") == []


async def test_where_a_guest_is_now_is_found_in_any_house_that_shares_him(database: Database) -> None:
    for house in (AURORA, CORONA):
        await open_house(database, house)
    await share(database, AURORA, CORONA)
    await stayed(database, "past", "c1", days_ago=50)
    which: dict[str, Any] = {"tenant": AURORA.tenant, "property_id": AURORA.id}
    async with database.transaction() as connection:
        assert await current_stay(connection, **which, guest=ours("c1")) is None
    there = await stayed(database, "now", "c1", days_ago=0, status=PmsStatus.IN_HOUSE, house=CORONA)
    async with database.transaction() as connection:
        found = await current_stay(connection, **which, guest=ours("c1"))
        assert found is not None
        assert (found.property, found.stay, found.room) == (CORONA.id, there, "101")
        assert await guest_of_stay(connection, tenant=AURORA.tenant, property_id=CORONA.id, stay=there) == ours(
            "c1", CORONA
        )
        assert await guest_of_stay(connection, **which, stay="nothing") is None
