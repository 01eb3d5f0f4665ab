"""Each kind of trouble that a partner's wire can make, alone and often: nothing is lost, doubled or somebody else's."""

from typing import Any

import msgspec
import pytest

from cloud.kit.database import Database
from cloud.pms.emulation.face import TAME, Knobs
from cloud.pms.port import PmsAction
from cloud.stays.life import EdgeState
from tests.cloud.houses import DAY_MS, ROOMS
from tests.cloud.pms.test_vendors import NOON_MS, World, until_in_step, world
from tests.cloud.pms.vendors import VENDORS

pytestmark = [pytest.mark.tier("postgres"), pytest.mark.requirement("PMS-22"), pytest.mark.guarantee("G2")]
KINDS: dict[str, dict[str, Any]] = {
    "the next push comes first": {"push_held": 0.7},
    "pushes about another property": {"push_foreign": 1.0},
    "pages of two that move": {"page_rows": 2, "page_moves": 0.3},
    "errors in 200": {"error_200": 0.3},
    "answers that end in the middle": {"cut": 0.3},
    "tokens taken back": {"revoked": 0.5},
    "one number for several bookings": {"number_twice": 1.0},
    "an hour ahead": {"skew_ms": 3_600_000},
    "an hour behind": {"skew_ms": -3_600_000},
}


async def day(w: World) -> str:
    """Book, move, rename, and let one guest come and go at the edge; return his reservation."""
    came = w.book("101", start_ms=NOON_MS - DAY_MS // 2)
    made = [w.book(room, start_ms=NOON_MS + (n + 2) * DAY_MS) for n, room in enumerate(ROOMS * 2)]
    await w.live(4)
    w.hotel.update(made[0], room=ROOMS[1])
    w.hotel.cancel(made[1], "Other")
    w.hotel.rename(w.hotel.reservation(made[2]).account_id, first_name=None, last_name="Sukarno")
    while came not in {row["external_id"] for row in await w.rows("SELECT external_id FROM stays.stay")}:
        await w.live(1)
    await w.at_the_edge(came, EdgeState.CHECKED_IN, 1)
    await w.live(6)
    await w.at_the_edge(came, EdgeState.CHECKED_OUT, 2)
    await w.live(6)
    return came


@pytest.mark.parametrize("kind", KINDS, ids=lambda each: each.replace(" ", "-"))
@pytest.mark.parametrize("name", VENDORS)
async def test_one_kind_of_trouble_alone_loses_and_doubles_nothing(database: Database, name: str, kind: str) -> None:
    knobs = msgspec.convert({**msgspec.to_builtins(TAME), **KINDS[kind]}, Knobs)
    async with world(database, name, knobs=knobs, seed=3) as w:
        came = await day(w)
        skew_ms = w.emulator.knobs.skew_ms
        await until_in_step(w)
        assert w.emulator.knobs.skew_ms == skew_ms, "a clock is not set by better weather"
        assert await w.out_of_step() == {}
        wishes = await w.rows("SELECT action, state FROM pms.write_intent ORDER BY id")
        assert [tuple(each.values()) for each in wishes] == [("check_in", "done"), ("check_out", "done")]
        assert [each.state for each in w.hotel.history(came)] == ["Confirmed", "Started", "Processed"]
        held = await w.rows("SELECT 1 AS one FROM stays.reservation WHERE position('Elsewhere' in guest_name) > 0")
        assert held == [], "of another property"


async def test_a_wish_outlives_credentials_that_are_not_taken_for_an_hour(database: Database) -> None:
    async with world(database, "cloudbeds") as w:
        made = w.book("101", start_ms=NOON_MS - DAY_MS // 2)
        await w.live(2)
        known = w.emulator._credentials
        w.emulator.renew(type(known)(known.client_token, "another"))
        await w.at_the_edge(made, EdgeState.CHECKED_IN, 1)
        for _ in range(60):
            await w.live(2)
            w.clock.advance(60_000)
        [wish] = await w.rows("SELECT state, attempts FROM pms.write_intent")
        assert tuple(wish.values()) == ("pending", 0)
        w.emulator.renew(known)
        await w.live(60)
        [wish] = await w.rows("SELECT state, action FROM pms.write_intent")
        assert (wish["state"], w.hotel.reservation(made).state) == ("done", "Started")


async def test_a_wish_about_what_nobody_can_read_now_is_not_overtaken(database: Database) -> None:
    async with world(database, "stayntouch") as w:
        made = w.book("101", start_ms=NOON_MS - DAY_MS // 2)
        await w.live(2)
        w.emulator.bend = lambda _found, _row: {"message": "Something went wrong."}
        await w.at_the_edge(made, EdgeState.CHECKED_IN, 1)
        await w.live(30)
        [wish] = await w.rows("SELECT state, attempts FROM pms.write_intent")
        assert tuple(wish.values()) == ("pending", 0)
        [stay] = await w.rows("SELECT state FROM stays.stay")
        assert stay["state"] == "in_house"
        w.emulator.bend = lambda _found, row: row
        await w.live(60)
        [wish] = await w.rows("SELECT state, action FROM pms.write_intent")
        assert (wish["state"], wish["action"]) == ("done", PmsAction.CHECK_IN)


async def test_an_answer_that_does_not_say_of_whom_it_is_ends_nobodys_booking(database: Database) -> None:
    async with world(database, "stayntouch") as w:
        made = w.book("101", start_ms=NOON_MS + DAY_MS)
        await w.live(2)
        w.emulator.bend = lambda _found, _row: {"message": "Something went wrong."}
        for number in range(12):
            w.hotel.update(made, room=ROOMS[number % 2])
            await w.live(5)
        [held] = await w.rows("SELECT status FROM stays.reservation")
        assert held["status"] == "booked"


async def test_rows_of_another_property_of_the_group_are_passed_over(database: Database) -> None:
    for name in ("cloudbeds", "ohip", "stayntouch"):
        async with world(database, name) as w:
            mine = w.book("101", start_ms=NOON_MS + DAY_MS)
            foreign = w.emulator._foreign()
            w.clock.advance(30_000)
            page = await w.adapter.get([foreign, mine])
            assert ([each.external_id for each in page.reservations], page.errors) == ([mine], ())
