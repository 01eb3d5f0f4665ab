"""A guest let in at the edge, and a PMS that went on without knowing: both say the same in the end, or it is shown."""

import pytest

from cloud.kit.database import Database
from cloud.pms.emulation.face import TAME
from cloud.stays.life import EdgeState
from tests.cloud.pms.test_sync import HARSH, world
from tests.seeds import seeds

pytestmark = pytest.mark.tier("postgres")


@pytest.mark.requirement("PMS-11")
@pytest.mark.requirement("PMS-12")
@pytest.mark.parametrize("edge_first", [True, False], ids=["check-in first", "move first"])
@pytest.mark.parametrize("seed", [None, *seeds(1, 16)])
async def test_the_pms_is_told_of_the_room_that_the_key_opens(
    database: Database, seed: int | None, edge_first: bool
) -> None:
    async with world(database, knobs=TAME if seed is None else HARSH, seed=seed or 0) as w:
        made = w.book("101")
        await w.live(3)
        while not await w.rows("SELECT 1 AS one FROM stays.stay"):
            await w.live(1)
        if edge_first:
            await w.at_the_edge(made, EdgeState.CHECKED_IN, 1)
        w.hotel.update(made, room="102")
        await w.live(2)
        if not edge_first:
            await w.at_the_edge(made, EdgeState.CHECKED_IN, 1)
        await w.live(20)
        w.emulator.knobs = TAME
        await w.live(60)
        names = {each.id: each.name for each in w.hotel.resources.values()}
        found = w.hotel.reservation(made)
        assert (found.state, names[found.resource_id or ""]) == ("Started", "101")
        assert await w.in_step()
        intents = await w.rows("SELECT action, state FROM pms.write_intent ORDER BY id")
        assert {(row["action"], row["state"]) for row in intents} == {("check_in", "done"), ("assign_room", "done")}


async def test_a_guest_whom_the_desk_moves_on_purpose_is_not_moved_back(database: Database) -> None:
    async with world(database) as w:
        made = w.book("101")
        await w.live(2)
        await w.at_the_edge(made, EdgeState.CHECKED_IN, 1)
        await w.live(5)
        assert w.hotel.reservation(made).state == "Started"
        w.hotel.update(made, room="102")
        await w.live(10)
        assert w.hotel.resources[w.hotel.reservation(made).resource_id or ""].name == "102"
        assert [row["action"] for row in await w.rows("SELECT action FROM pms.write_intent")] == ["check_in"]
        assert [tuple(row.values()) for row in await w.rows("SELECT state, room, room_asked FROM stays.stay")] == [
            ("in_house", "101", "102")
        ]
