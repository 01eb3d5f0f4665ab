"""Where PMS and house do not agree: the key says where a guest is, the rest is shown (docs/decisions/0079)."""

import dataclasses
from typing import Any

import pytest

from cloud.kit.database import Database, fetch_all
from cloud.kit.times import at
from cloud.stays.life import EdgeState
from cloud.stays.listing import current_stays
from cloud.stays.reservation import PmsStatus, Reservation
from cloud.stays.stays import EdgeFact, apply_edge_facts, stay_id, upsert_reservations
from tests.cloud.houses import AURORA, DAY_MS, NOW_MS, PLACE, open_house, reservation

pytestmark = pytest.mark.tier("postgres")


class Desk:
    """News from both sides, in the order in which they come."""

    def __init__(self, database: Database) -> None:
        self.database, self.seq = database, 0
        self.moved: dict[str, str] = {}

    async def pms(self, *items: Reservation) -> None:
        async with self.database.transaction() as connection:
            await upsert_reservations(connection, PLACE, items, now_ms=NOW_MS)

    async def edge(self, external_id: str, room: str, state: EdgeState = EdgeState.CHECKED_IN) -> None:
        self.seq += 1
        stay = stay_id(AURORA.id, "mews", external_id)
        fact = EdgeFact(stay, state, room, "kiosk", NOW_MS + self.seq, b"i" * 16, self.seq)
        async with self.database.transaction() as connection:
            await apply_edge_facts(connection, PLACE, [fact], now_ms=NOW_MS)

    async def shown(self) -> dict[str, tuple[str, str | None, str | None]]:
        """By reservation: state, room, conflict."""
        async with self.database.transaction() as connection:
            stays = await current_stays(connection, tenant=AURORA.tenant, property_id=AURORA.id, since=at(NOW_MS))
        self.moved = {each.external_id: each.moved_to for each in stays if each.moved_to is not None}
        return {each.external_id: (each.state.value, each.room, each.conflict) for each in stays}

    async def elsewhere(self) -> list[tuple[str, str]]:
        """Every time that the PMS was to be told of another room: (reservation, room)."""
        async with self.database.transaction() as connection:
            rows: list[dict[str, Any]] = await fetch_all(
                connection, "SELECT body FROM outbox.event WHERE type = 'stay.changed' ORDER BY id"
            )
        return [(row["body"]["external_id"], row["body"]["room"]) for row in rows if row["body"]["elsewhere"]]

    async def document(self) -> dict[str, str | None]:
        async with self.database.transaction() as connection:
            [row] = await fetch_all(connection, "SELECT body FROM stays.document")
        return {each["id"]: each["room"] for each in row["body"]["stays"]}


@pytest.fixture
async def desk(database: Database) -> Desk:
    await open_house(database)
    return Desk(database)


@pytest.mark.parametrize("edge_first", [True, False], ids=["check-in first", "move first"])
@pytest.mark.guarantee("G2")
async def test_a_booking_that_was_moved_while_its_guest_was_let_in_is_where_the_key_is(
    desk: Desk, edge_first: bool
) -> None:
    await desk.pms(reservation(room="101"))
    moved = reservation(room="102", updated_ms=NOW_MS + 1)
    if edge_first:
        await desk.edge("r1", "101")
        await desk.pms(moved)
    else:
        await desk.pms(moved)
        await desk.edge("r1", "101")
    assert await desk.shown() == {"r1": ("in_house", "101", "other_room")}
    assert await desk.document() == {stay_id("aurora", "mews", "r1"): "101"}
    assert await desk.elsewhere() == [("r1", "101")], "told once, in either order"
    assert desk.moved == {}, "nobody meant to move him"
    await desk.pms(reservation(room="101", status=PmsStatus.IN_HOUSE, updated_ms=NOW_MS + 2))
    assert await desk.shown() == {"r1": ("in_house", "101", None)}


async def test_a_pms_that_agreed_and_then_moves_a_guest_is_shown_and_not_written_over(desk: Desk) -> None:
    await desk.pms(reservation(room="101"))
    await desk.edge("r1", "101")
    await desk.pms(reservation(room="101", status=PmsStatus.IN_HOUSE, updated_ms=NOW_MS + 1))
    later = reservation(room="102", status=PmsStatus.IN_HOUSE, updated_ms=NOW_MS + 2, departure_ms=NOW_MS + 2 * DAY_MS)
    await desk.pms(later)
    assert await desk.shown() == {"r1": ("in_house", "101", "other_room")}
    assert await desk.elsewhere() == []
    assert desk.moved == {"r1": "102"}, "who asks for his keys now gets the new room's"
    await desk.edge("r1", "102")
    assert await desk.shown() == {"r1": ("in_house", "102", None)}
    await desk.pms(dataclasses.replace(later, room="101", updated_ms=NOW_MS + 3))
    assert await desk.shown() == {"r1": ("in_house", "102", "other_room")}
    assert (desk.moved, await desk.elsewhere()) == ({"r1": "101"}, []), "and back again"
    await desk.edge("r1", "102", EdgeState.CHECKED_OUT)
    assert await desk.shown() == {"r1": ("left", "102", None)}
    assert desk.moved == {}


async def test_of_two_guests_sold_one_bed_the_one_with_the_key_has_it_until_the_desk_parts_them(desk: Desk) -> None:
    await desk.pms(reservation("r1", room="101"))
    await desk.pms(reservation("r2", room="101", status=PmsStatus.IN_HOUSE))
    assert await desk.shown() == {"r1": ("planned", None, "double_sale"), "r2": ("in_house", "101", None)}
    await desk.edge("r1", "101")
    assert await desk.shown() == {"r1": ("in_house", "101", None), "r2": ("in_house", None, "double_sale")}
    await desk.pms(reservation("r2", room="103", status=PmsStatus.IN_HOUSE, updated_ms=NOW_MS + 1))
    assert await desk.shown() == {"r1": ("in_house", "101", None), "r2": ("in_house", "103", None)}


async def test_a_room_that_somebody_is_in_by_his_key_is_sold_to_nobody_else(desk: Desk) -> None:
    await desk.pms(reservation("r1", room="101"))
    await desk.edge("r1", "101")
    await desk.pms(reservation("r1", room="102", updated_ms=NOW_MS + 1), reservation("r2", room="101"))
    assert await desk.shown() == {"r1": ("in_house", "101", "other_room"), "r2": ("planned", None, "double_sale")}


@pytest.mark.parametrize("status", [PmsStatus.CANCELLED, PmsStatus.NO_SHOW])
async def test_a_guest_who_is_inside_is_no_no_show(desk: Desk, status: PmsStatus) -> None:
    await desk.pms(reservation())
    await desk.edge("r1", "101")
    await desk.pms(reservation(status=status, room=None, updated_ms=NOW_MS + 1))
    assert await desk.shown() == {"r1": ("in_house", "101", "ended_in_pms")}
    assert await desk.elsewhere() == []
    await desk.edge("r1", "101", EdgeState.CHECKED_OUT)
    assert await desk.shown() == {"r1": ("left", "101", None)}
