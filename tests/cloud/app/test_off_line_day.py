"""A day without the line: both sides change, the edge is killed between, and when the line returns there is one story.

The edge is the real house over its real store file, the cloud its real projections over PostgreSQL; between them is a
line that is cut, and then brings what the edge kept, in pieces and some of it twice.
"""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest

from cloud.app.projections import PROJECTIONS
from cloud.kit.database import Database, fetch_all
from cloud.kit.times import at, unix_ms
from cloud.stays.listing import current_stays
from cloud.stays.reservation import PmsStatus, Reservation
from cloud.stays.stays import settle_property, stay_id, upsert_reservations
from cloud.telemetry.ports import BatchContext
from edge.stays.document import StayState
from kit.clock import ManualClock
from kit.dice import SeededDice
from protocols.device_model.identity import EdgeId, RoomId, StayId
from protocols.link.lanes import Lane
from tests.cloud.houses import AURORA, DAY_MS, HOUR_MS, NOW_MS, PLACE, open_house, reservation
from tests.edge.world import Building

pytestmark = [
    pytest.mark.tier("postgres"),
    pytest.mark.requirement("STY-08", "CHK-11"),
    pytest.mark.guarantee("G2", "G3", "G11"),
]
NAMES: Final = ("anna", "ben", "cleo", "dan", "eve")
STAYS: Final = {name: StayId(stay_id(AURORA.id, "mews", name)) for name in NAMES}
CUTS_MOST: Final = 12

Act = Callable[[], Awaitable[Any]]


class Day:
    """The two sides, and the line between them."""

    def __init__(self, database: Database, folder: Path, seed: int, clock: ManualClock | None = None) -> None:
        self.database, self.dice = database, SeededDice(seed)
        self.clock = ManualClock(wall_ms=NOW_MS) if clock is None else clock
        self.building = Building(self.clock, path=folder / "edge.db", rooms=3)
        self.brought = self.kills = 0
        self.pms_at_ms = NOW_MS

    async def pms(self, *items: Reservation) -> None:
        async with self.database.transaction() as connection:
            await upsert_reservations(connection, PLACE, items, now_ms=self.clock.wall_ms())

    def booked(self, name: str, room: str, **changes: Any) -> Reservation:
        self.pms_at_ms += 1
        return reservation(name, room=room, updated_ms=self.pms_at_ms, guest_name=name.title(), **changes)

    async def share(self, *names: str) -> None:
        ids = [STAYS[name] for name in names]
        async with self.database.transaction() as connection:
            for each in ids:
                await fetch_all(
                    connection, "UPDATE stays.stay SET share = %s WHERE id = %s RETURNING id", [ids[0], each]
                )
            await settle_property(connection, PLACE, touched=ids, by="staff", now_ms=self.clock.wall_ms())

    async def tells(self) -> None:
        """The line brings the newest document to the house."""
        async with self.database.transaction() as connection:
            [row] = await fetch_all(connection, "SELECT version, body FROM stays.document WHERE property = 'aurora'")
        await self.building.house.desired("stays", row["version"], row["body"])

    async def brings(self) -> None:
        """The line brings what the house kept, in batches, each once more now and then."""
        records = await self.building.log.read(Lane.A, 0, 10_000)
        context = BatchContext(
            PLACE.tenant, PLACE.property, EdgeId(PLACE.edge), b"i" * 16, Lane.A, self.clock.wall_ms()
        )
        while self.brought < len(records):
            again = int(self.dice.uniform(0, 3)) if self.brought else 0
            first = max(0, self.brought - again)
            last = min(len(records), self.brought + 1 + int(self.dice.uniform(0, 4)))
            async with self.database.transaction() as connection:
                for record in records[first:last]:
                    for project in PROJECTIONS.get(record.kind, ()):
                        await project(connection, context, [record])
            self.brought = last

    async def does(self, act: Act) -> None:
        """Something is done in the house, and the edge is killed in the midst of it, until it is done."""
        cuts = int(self.dice.uniform(0, CUTS_MOST))
        while True:
            task = asyncio.ensure_future(act())
            for _ in range(cuts):
                await asyncio.sleep(0)
            if task.done():
                task.result()
                break
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            self.kills += 1
            await self.building.restart()
            cuts = cuts * 2 + 1
        await self.building.house.departures.tell_all()
        self.clock.advance(60_000)

    async def check_in(self, name: str, by: str = "kiosk:lobby") -> dict[str, Any]:
        return await self.building.house.desk.check_in(STAYS[name], self.phone(name), by=by)

    async def check_out(self, name: str) -> dict[str, Any]:
        return await self.building.house.desk.check_out(STAYS[name], by="Frau Maier")

    async def move(self, name: str, room: str) -> dict[str, Any]:
        return await self.building.house.desk.move(STAYS[name], RoomId(room), self.phone(name), by="Frau Maier")

    async def end_at(self, name: str, until_ms: int, by: str = "Frau Maier") -> dict[str, Any]:
        return await self.building.house.desk.end_at(STAYS[name], until_ms, by=by, phone_public_key=self.phone(name))

    def ends(self) -> dict[str, int]:
        held = {name: self.building.house.keeper.replica.get(stay) for name, stay in STAYS.items()}
        return {name: each.expected_until_ms for name, each in held.items() if each is not None}

    async def ends_in_the_cloud(self) -> dict[str, tuple[int, str | None]]:
        async with self.database.transaction() as connection:
            stays = await current_stays(connection, tenant=AURORA.tenant, property_id=AURORA.id, since=at(NOW_MS))
        return {each.external_id: (unix_ms(each.expected_until), each.conflict) for each in stays}

    def phone(self, name: str) -> str:
        return f"02{NAMES.index(name) + 1:064x}"

    def held(self) -> dict[str, tuple[StayState, str | None]]:
        held = {name: self.building.house.keeper.replica.get(stay) for name, stay in STAYS.items()}
        return {name: (each.state, each.room) for name, each in held.items() if each is not None}

    async def shown(self) -> dict[str, tuple[str, str | None, str | None]]:
        async with self.database.transaction() as connection:
            stays = await current_stays(connection, tenant=AURORA.tenant, property_id=AURORA.id, since=at(NOW_MS))
        return {each.external_id: (each.state.value, each.room, each.conflict) for each in stays}

    async def rows(self, query: Any) -> list[dict[str, Any]]:
        async with self.database.transaction() as connection:
            return await fetch_all(connection, query)


@pytest.mark.parametrize("seed", range(6))
async def test_a_day_without_the_line_ends_in_one_story(database: Database, tmp_path: Path, seed: int) -> None:
    await open_house(database)
    day = Day(database, tmp_path, seed)
    await day.pms(*(day.booked(name, room) for name, room in zip(NAMES[:4], ("101", "101", "102", "103"), strict=True)))
    await day.share("anna", "ben")
    await day.tells()
    for name in ("cleo", "dan"):
        await day.check_in(name, "cloud:web")
        day.clock.advance(60_000)
    await day.brings()
    await day.pms(
        *(day.booked(name, room, status=PmsStatus.IN_HOUSE) for name, room in (("cleo", "102"), ("dan", "103")))
    )
    came = {
        row["external_id"]: row["actual_in"] for row in await day.rows("SELECT external_id, actual_in FROM stays.stay")
    }

    # the line is cut: in the house two come who share, one leaves early, one moves into the room that he left
    for name in ("anna", "ben"):
        await day.does(partial(day.check_in, name))
    await day.does(partial(day.check_out, "dan"))
    await day.does(partial(day.move, "cleo", "103"))
    # and meanwhile in the PMS
    await day.pms(
        day.booked("anna", "102"),  # given another room
        day.booked("ben", "101", status=PmsStatus.CANCELLED),
        day.booked("cleo", "102", status=PmsStatus.IN_HOUSE, departure_ms=NOW_MS + 3 * DAY_MS),  # made longer
        day.booked("dan", "103", status=PmsStatus.IN_HOUSE, departure_ms=NOW_MS + 2 * DAY_MS),  # so is he who left
        day.booked("eve", "102", arrival_ms=NOW_MS - 2 * HOUR_MS),  # sold, as Cleo's room is not free for it
    )
    in_the_house = {
        "anna": (StayState.IN_HOUSE, "101"),
        "ben": (StayState.IN_HOUSE, "101"),
        "cleo": (StayState.IN_HOUSE, "103"),
        "dan": (StayState.LEFT, "103"),
    }
    assert day.held() == in_the_house

    for _ in range(2):  # the line returns, and what it brings leads to nothing more
        await day.brings()
        await day.tells()
        assert {name: each for name, each in day.held().items() if name != "eve"} == in_the_house
        assert await day.shown() == {
            "anna": ("in_house", "101", "other_room"),
            "ben": ("in_house", "101", "ended_in_pms"),
            "cleo": ("in_house", "103", "other_room"),
            "dan": ("left", "103", None),
            "eve": ("ready", "102", None),
        }
    cleo = day.building.house.keeper.replica.get(STAYS["cleo"])
    assert cleo is not None
    assert cleo.expected_until_ms == NOW_MS + 3 * DAY_MS, "what the PMS made longer is longer at the door"
    longer = await day.check_in("cleo", "cloud:web")
    assert longer["room"] == "103"
    told = await day.rows("SELECT body FROM outbox.event WHERE type = 'stay.changed' ORDER BY id")
    arrivals = [
        each["body"]["external_id"]
        for each in told
        if each["body"]["state"] == "in_house" != each["body"]["from_state"]
    ]
    assert sorted(arrivals) == ["anna", "ben", "cleo", "dan"], "each came once"
    assert [each["body"]["external_id"] for each in told if each["body"]["state"] == "left"] == ["dan"]
    elsewhere = {(each["body"]["external_id"], each["body"]["room"]) for each in told if each["body"]["elsewhere"]}
    assert elsewhere == {("anna", "101"), ("cleo", "103")}, "the PMS is told where the keys are"
    kept = {
        row["external_id"]: row for row in await day.rows("SELECT external_id, actual_in, actual_out FROM stays.stay")
    }
    assert {name: kept[name]["actual_in"] for name in ("cleo", "dan")} == {
        name: came[name] for name in ("cleo", "dan")
    }, "who moves has not come a second time"
    assert kept["dan"]["actual_out"] is not None
    records = [
        (each.body["stay"], each.body["state"], each.body["room"]) for each in day.building.log.records(Lane.A, "stay")
    ]
    assert len(records) == len(set(records)) == 6, "nothing was recorded twice"
    await day.building.store.close()


@pytest.mark.requirement("STY-07")
async def test_of_two_who_moved_into_one_room_the_last_has_it_and_a_move_is_no_arrival(
    database: Database, tmp_path: Path
) -> None:
    await open_house(database)
    day = Day(database, tmp_path, 0)
    await day.pms(day.booked("anna", "101"), day.booked("ben", "102"))
    await day.tells()
    for name in ("anna", "ben"):
        await day.check_in(name)
        day.clock.advance(60_000)
    await day.move("anna", "103")
    day.clock.advance(60_000)
    await day.move("ben", "101")
    await day.brings()
    shown = await day.shown()
    assert (shown["anna"][:2], shown["ben"][:2]) == (("in_house", "103"), ("in_house", "101"))
    [anna] = await day.rows("SELECT actual_in FROM stays.stay WHERE external_id = 'anna'")
    assert anna["actual_in"] == at(NOW_MS)
    await day.building.store.close()


@pytest.mark.parametrize("seed", range(8))
async def test_stays_made_longer_and_shorter_without_the_line_end_as_the_rule_says(
    database: Database, tmp_path: Path, seed: int
) -> None:
    """Killed in the midst of it, brought in pieces and twice: building and cloud have one end of each stay."""
    await open_house(database)
    day = Day(database, tmp_path, seed)
    rooms = {"anna": "101", "ben": "102", "cleo": "103"}
    await day.pms(*(day.booked(name, room) for name, room in rooms.items()))
    await day.tells()
    for name in rooms:
        await day.check_in(name)
    await day.brings()
    await day.pms(*(day.booked(name, room, status=PmsStatus.IN_HOUSE) for name, room in rooms.items()))
    await day.tells()

    def night(n: int) -> int:
        return NOW_MS + n * DAY_MS

    # the line is cut: one stays on and thinks again, one stays on, one leaves early
    await day.does(partial(day.end_at, "anna", night(5)))
    await day.does(partial(day.end_at, "anna", night(3)))
    await day.does(partial(day.end_at, "ben", night(2)))
    await day.does(partial(day.end_at, "cleo", NOW_MS + 6 * HOUR_MS))
    assert day.ends() == {"anna": night(3), "ben": night(2), "cleo": NOW_MS + 6 * HOUR_MS}
    # and meanwhile in the PMS: Anna longer, and not so long; Ben further; of Cleo it knows nothing
    inside = {"status": PmsStatus.IN_HOUSE}
    await day.pms(
        day.booked("anna", "101", departure_ms=night(2), **inside),
        day.booked("ben", "102", departure_ms=night(4), **inside),
    )
    if day.dice.uniform(0, 1) < 0.5:
        await day.tells()  # the document comes first, and nobody's key is shorter by it
        assert day.ends() == {"anna": night(3), "ben": night(2), "cleo": NOW_MS + 6 * HOUR_MS}
    settled = {"anna": night(3), "ben": night(4), "cleo": NOW_MS + 6 * HOUR_MS}
    for _ in range(2):  # the line returns
        await day.brings()
        await day.tells()
        assert day.ends() == settled
        assert await day.ends_in_the_cloud() == {
            "anna": (night(3), "other_end"),
            "ben": (night(4), None),
            "cleo": (NOW_MS + 6 * HOUR_MS, "other_end"),
        }
    longer = await day.check_in("ben", "cloud:web")
    assert longer["bundle"]["not_after_ms"] == night(4), "and his phone's key with it"

    # somebody reads what is shown and enters it; then the PMS changes its mind, which counts
    await day.pms(
        day.booked("anna", "101", departure_ms=night(3), **inside),
        day.booked("cleo", "103", departure_ms=NOW_MS + 6 * HOUR_MS, **inside),
    )
    await day.pms(day.booked("anna", "101", departure_ms=night(2), **inside))
    await day.tells()
    assert day.ends() == {**settled, "anna": night(2)}
    assert {conflict for _, conflict in (await day.ends_in_the_cloud()).values()} == {None}
    words = [(each.body["stay"], each.body["n"]) for each in day.building.log.records(Lane.A, "stay_until")]
    assert sorted(words) == sorted([(STAYS["anna"], 1), (STAYS["anna"], 2), (STAYS["ben"], 1), (STAYS["cleo"], 1)])
    # checked out there while Ben is made longer here once more: who has left has left
    await day.does(partial(day.end_at, "ben", night(6)))
    await day.pms(day.booked("ben", "102", status=PmsStatus.LEFT, departure_ms=night(4)))
    await day.brings()
    await day.tells()
    assert day.held()["ben"] == (StayState.LEFT, "102")
    assert (await day.shown())["ben"] == ("left", "102", None)
    await day.building.store.close()
