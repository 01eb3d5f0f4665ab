"""Stays that have a room together: marked by staff, settled here, told to the edge in the format that says so."""

import httpx
import pytest

from cloud.kit.database import fetch_all
from cloud.stays.life import EdgeState
from cloud.stays.reservation import PmsStatus, Reservation
from cloud.stays.stays import EdgeFact, apply_edge_facts, stay_id, upsert_reservations
from edge.stays.document import StaysDocument, parse
from protocols.device_model.identity import PropertyId
from tests.cloud.houses import AURORA, NOW_MS, PLACE, reservation
from tests.cloud.public.conftest import Site
from tests.cloud.public.conftest import site as site

pytestmark = [pytest.mark.tier("postgres"), pytest.mark.requirement("STY-08")]
ANNA, BEN, CLEO = (stay_id(AURORA.id, "mews", name) for name in ("r1", "r2", "r3"))


class Desk:
    """Three arrivals; Anna and Ben were sold room 101 both."""

    def __init__(self, site: Site) -> None:
        self.site, self.at_ms = site, NOW_MS

    async def book(self, *items: Reservation) -> None:
        async with self.site.database.transaction() as connection:
            await upsert_reservations(connection, PLACE, items, now_ms=NOW_MS)

    async def share(self, stay: str, other: str | None, who: str = "staff") -> httpx.Response:
        path = f"/api/v1/properties/aurora/stays/{stay}/share"
        return await self.site.http.put(path, json={"with": other}, headers=self.site.as_(who))

    async def arrive(self, stay: str, room: str = "101") -> None:
        self.at_ms += 1
        fact = EdgeFact(stay, EdgeState.CHECKED_IN, room, "kiosk", self.at_ms, b"i" * 16, self.at_ms - NOW_MS)
        async with self.site.database.transaction() as connection:
            await apply_edge_facts(connection, PLACE, [fact], now_ms=NOW_MS)

    async def rooms(self) -> dict[str, tuple[str, str | None]]:
        async with self.site.database.transaction() as connection:
            rows = await fetch_all(connection, "SELECT id, state, room FROM stays.stay")
        return {row["id"]: (row["state"], row["room"]) for row in rows}

    async def document(self) -> StaysDocument:
        """What the edge is told, as the edge reads it."""
        async with self.site.database.transaction() as connection:
            [row] = await fetch_all(connection, "SELECT body FROM stays.document WHERE property = 'aurora'")
        return parse(row["body"], ours=PropertyId("aurora"))


@pytest.fixture
async def desk(site: Site) -> Desk:
    house = Desk(site)
    await house.book(reservation("r1"), reservation("r2", guest_name="Ben Berger"), reservation("r3", room=None))
    return house


async def test_two_who_share_are_both_ready_and_the_edge_is_told(desk: Desk) -> None:
    assert sorted(room or "" for _, room in (await desk.rooms()).values()) == ["", "", "101"]
    assert (await desk.document()).v == 1, "an edge that knows nothing of sharing goes on with every document till then"
    answer = await desk.share(BEN, ANNA)
    assert (answer.status_code, answer.json()) == (200, {"share": ANNA})
    assert (await desk.share(CLEO, BEN)).json() == {"share": ANNA}
    assert await desk.rooms() == dict.fromkeys((ANNA, BEN, CLEO), ("ready", "101"))
    told = await desk.document()
    assert (told.v, {each.id: each.share for each in told.stays}) == (2, dict.fromkeys((ANNA, BEN, CLEO), ANNA))
    assert (await desk.share(BEN, ANNA)).json() == {"share": ANNA}
    for stay in (ANNA, BEN):
        await desk.arrive(stay)
    assert {state for stay, (state, _) in (await desk.rooms()).items() if stay != CLEO} == {"in_house"}


async def test_who_is_in_the_room_is_not_parted_on_paper(desk: Desk) -> None:
    await desk.share(BEN, ANNA)
    for stay in (ANNA, BEN):
        await desk.arrive(stay)
    together = await desk.share(BEN, None)
    assert (together.status_code, together.json()["reason"]) == (409, "still_together")
    assert (await desk.share(BEN, CLEO)).status_code == 409
    assert (await desk.rooms())[BEN] == ("in_house", "101")
    await desk.book(reservation("r1", status=PmsStatus.LEFT, updated_ms=NOW_MS + 10))
    assert (await desk.share(BEN, None)).json() == {"share": None}
    assert (await desk.rooms())[BEN] == ("in_house", "101")


async def test_of_two_who_are_apart_again_one_has_the_room(desk: Desk) -> None:
    await desk.share(BEN, ANNA)
    assert (await desk.share(BEN, None)).json() == {"share": None}
    rooms = await desk.rooms()
    assert sorted([rooms[ANNA], rooms[BEN]], key=str) == [("planned", None), ("ready", "101")]
    assert all(each.room == "101" for each in (await desk.document()).stays)


@pytest.mark.guarantee("G8")
async def test_nobody_else_and_nothing_else_is_marked(desk: Desk) -> None:
    for stay, other, status in ((BEN, BEN, 400), (BEN, "s-nobody", 400), ("s-nobody", ANNA, 404)):
        assert (await desk.share(stay, other)).status_code == status
    for who, status in (("viewer", 403), ("other", 404), ("narrow", 404)):
        assert (await desk.share(BEN, ANNA, who)).status_code == status
    await desk.book(reservation("r2", status=PmsStatus.CANCELLED, updated_ms=NOW_MS + 1))
    assert (await desk.share(BEN, ANNA)).status_code == 400
    assert (await desk.share(ANNA, BEN)).status_code == 400
    path = f"/api/v1/properties/aurora/stays/{ANNA}/share"
    assert (await desk.site.http.put(path, json={}, headers=desk.site.as_("staff"))).status_code == 400
