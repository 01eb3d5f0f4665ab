"""A room tells of the stays on which PMS and house do not agree, as long as they do not."""

import pytest

from cloud.stays.life import EdgeState
from cloud.stays.stays import EdgeFact, apply_edge_facts
from tests.cloud.checkin.front_desk import OTHER, STAY, Desk, single
from tests.cloud.houses import DAY_MS, NOW_MS, PLACE
from tests.cloud.public.conftest import Site

pytestmark = [pytest.mark.tier("postgres"), pytest.mark.guarantee("G2")]


async def conflicts(site: Site) -> dict[str, list[tuple[str, str]]]:
    rooms = (await site.http.get("/api/v1/properties/aurora/rooms", headers=site.as_("viewer"))).json()["rooms"]
    return {
        room["id"]: [(each["stay"], each["kind"]) for each in room["conflicts"]] for room in rooms if room["conflicts"]
    }


async def test_both_rooms_tell_of_a_guest_whom_the_pms_has_elsewhere_until_it_agrees(site: Site) -> None:
    desk = Desk(site)
    await desk.book()
    fact = EdgeFact(STAY, EdgeState.CHECKED_IN, "101", "kiosk", NOW_MS, incarnation=b"i" * 16, seq=1)
    async with site.database.transaction() as connection:
        await apply_edge_facts(connection, PLACE, [fact], now_ms=NOW_MS)
    assert await conflicts(site) == {}
    await desk.book(single(room="102", updated_ms=NOW_MS + 1))
    assert await conflicts(site) == {"101": [(STAY, "other_room")], "102": [(STAY, "other_room")]}
    await desk.book(single(room="101", updated_ms=NOW_MS + 2), single("r2"))
    assert await conflicts(site) == {"101": [(OTHER, "double_sale")]}
    await desk.book(
        single("r2", updated_ms=NOW_MS + 3, arrival_ms=NOW_MS + 9 * DAY_MS, departure_ms=NOW_MS + 10 * DAY_MS)
    )
    assert await conflicts(site) == {}
