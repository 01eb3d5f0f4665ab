"""A PMS that answers nonsense: the item is named and held back, everything else goes on, and nothing is made up."""

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import msgspec
import pytest

from cloud.kit.database import Database
from cloud.pms import exchange
from cloud.pms.emulation.face import TAME
from cloud.pms.mews import adapter as mews_adapter
from cloud.pms.mews import wire
from cloud.pms.reading import NO_ID
from cloud.pms.status import ConnectionState, connection_states
from tests.cloud.houses import AURORA, DAY_MS, HOUR_MS, NOW_MS
from tests.cloud.pms.test_sync import World, world

pytestmark = [pytest.mark.tier("postgres"), pytest.mark.guarantee("G19"), pytest.mark.requirement("PMS-16")]
Item = dict[str, Any]
NO_PUSH = msgspec.structs.replace(TAME, push_dropped=1.0)


async def state_of(w: World) -> ConnectionState:
    async with w.database.transaction() as connection:
        [state] = await connection_states(connection, tenant=AURORA.tenant, property_id=AURORA.id)
    return state


async def issues(w: World) -> dict[tuple[str, str], tuple[str, bool]]:
    return {(each.kind, each.external_id): (each.problem, each.held_back) for each in (await state_of(w)).issues}


async def mirrored(w: World) -> set[str]:
    return {row["external_id"] for row in await w.rows("SELECT external_id FROM stays.reservation")}


def bend_item(w: World, operation: str, name: str, which: str, change: Callable[[Item], object]) -> None:
    """Bend one item of a list, by id, wherever it is answered."""

    def bend(asked: str, _body: Item, answer: httpx.Response) -> httpx.Response:
        if asked != operation or answer.status_code != 200:
            return answer
        told = answer.json()
        told[name] = [change(each) if each["Id"] == which else each for each in told[name]]
        return httpx.Response(200, text=json.dumps(told))

    w.bent.bend = bend


def with_(**fields: object) -> Callable[[Item], object]:
    return lambda item: {**item, **fields}


def without(field: str) -> Callable[[Item], object]:
    return lambda item: {name: value for name, value in item.items() if name != field}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (without("State"), "State"),
        (with_(State="Haunted"), "Haunted"),
        (with_(State=None), "$.State"),
        (with_(ScheduledStartUtc="tomorrow"), "$.ScheduledStartUtc"),
        (with_(ScheduledStartUtc="2026-11-18T12:00:00+99:99"), "$.ScheduledStartUtc"),
        (with_(ScheduledEndUtc="0001-01-01T00:00:00+14:00"), "ScheduledEndUtc 0001-01-01"),
        (with_(ScheduledEndUtc="9999-12-31T23:59:59-12:00"), "ScheduledEndUtc 9999-12-31"),
        (with_(UpdatedUtc="9999-12-31T23:59:59Z"), "UpdatedUtc 9999-12-31"),
        (with_(ScheduledEndUtc="2026-01-01T00:00:00Z"), "before it starts"),
        (with_(PersonCounts=[{"AgeCategoryId": "a", "Count": 2**63}]), "$.PersonCounts[0].Count"),
        (with_(PersonCounts=7), "$.PersonCounts"),
        (with_(Number=["1"]), "$.Number"),
        (with_(AccountId={"a": 1}), "$.AccountId"),
        (with_(AssignedResourceId="a\0b"), "$.AssignedResourceId"),
    ],
)
async def test_a_reservation_that_cannot_be_read_is_held_back_by_name_and_the_others_arrive(
    database: Database, change: Callable[[Item], object], named: str
) -> None:
    async with world(database) as w:
        good, bad, late = w.book("101"), w.book("102"), w.book("103")
        bend_item(w, wire.RESERVATIONS, "Reservations", bad, change)
        await w.sync.step()
        assert await mirrored(w) == {good, late}
        state = await state_of(w)
        assert state.last_error is None, "the connection itself is well"
        [issue] = state.issues
        assert (issue.kind, issue.external_id, issue.held_back) == ("reservation", bad, True)
        assert named in issue.problem
        w.bent.bend = None
        await w.live(31)
        assert (await mirrored(w), (await state_of(w)).issues) == ({good, bad, late}, ())


@pytest.mark.parametrize(
    "change", [lambda _item: None, lambda _item: 7, lambda _item: [], without("Id"), with_(Id="a\0")]
)
async def test_items_that_are_no_objects_or_have_no_id_are_still_told_of(
    database: Database, change: Callable[[Item], object]
) -> None:
    async with world(database, knobs=NO_PUSH) as w:
        good, bad = w.book("101"), w.book("102")
        bend_item(w, wire.RESERVATIONS, "Reservations", bad, change)
        await w.sync.step()
        assert await mirrored(w) == {good}
        assert list(await issues(w)) == [("reservation", NO_ID)]


async def test_a_hinted_reservation_that_cannot_be_read_is_told_of_too(database: Database) -> None:
    async with world(database) as w:
        await w.sync.step()
        bad = w.book("101")
        bend_item(w, wire.RESERVATIONS, "Reservations", bad, with_(State="Haunted"))
        await w.emulator.settle()
        found = await w.sync._property()
        assert found is not None
        assert await w.sync.take_hints(found) == 1
        assert list(await issues(w)) == [("reservation", bad)]


async def test_the_same_bad_item_again_is_counted_and_does_not_fill_the_runs(database: Database) -> None:
    async with world(database) as w:
        await w.sync.step()
        bad = w.book("101")
        bend_item(w, wire.RESERVATIONS, "Reservations", bad, with_(State="Haunted"))
        await w.live(200)
        [issue] = (await state_of(w)).issues
        assert issue.times > 3
        runs = await w.rows("SELECT id FROM pms.sync_run")
        assert len(runs) <= 1


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (with_(State="Flooded"), "Flooded"),
        (without("Name"), "Name"),
        (with_(Name="\u202e \0"), "Name"),
        (with_(UpdatedUtc="0001-01-01T00:00:00+14:00"), "UpdatedUtc 0001-01-01"),
        (with_(Id="b\0d"), "$.Id"),
        (lambda _item: "a room", "object"),
    ],
)
async def test_a_room_that_cannot_be_read_stops_nobody_elses_stay(
    database: Database, change: Callable[[Item], object], named: str
) -> None:
    async with world(database) as w:
        made = w.book("101")
        bend_item(w, wire.RESOURCES, "Resources", w.hotel.room("103").id, change)
        await w.sync.step()
        assert await mirrored(w) == {made}
        [issue] = (await state_of(w)).issues
        assert (issue.kind, issue.held_back) == ("resource", named != "Flooded"), "a room it is, flooded or not"
        assert named in issue.problem
        [stay] = await w.rows("SELECT room FROM stays.stay")
        assert stay["room"] == "101"


async def test_a_customer_that_cannot_be_read_costs_a_name_and_a_known_name_stays(database: Database) -> None:
    async with world(database) as w:
        made = w.book("101", name="Berger")
        await w.sync.step()
        account = w.hotel.reservation(made).account_id
        bend_item(w, wire.CUSTOMERS, "Customers", account, with_(LastName=7))
        w.hotel.update(made, room="102")
        await w.live(31)
        [stay] = await w.rows("SELECT room, guest_name FROM stays.stay")
        assert (stay["room"], stay["guest_name"]) == ("102", "Anna Berger")
        assert (await issues(w))["customer", account][0].endswith("$.LastName`")
        w.hotel.customers[account]["LastName"] = "Mayer"
        w.bent.bend = None
        w.clock.advance(1_000)
        w.hotel.update(made, room="103")
        await w.live(31)
        [stay] = await w.rows("SELECT guest_name FROM stays.stay")
        assert stay["guest_name"] == "Anna Mayer"
        assert await issues(w) == {}


async def test_a_name_cut_in_the_middle_of_its_emoji_costs_nobody_anything(database: Database) -> None:
    async with world(database) as w:
        made, other = w.book("101"), w.book("102")
        bend_item(
            w, wire.CUSTOMERS, "Customers", w.hotel.reservation(made).account_id, with_(LastName="Traveller \ud83d")
        )
        await w.sync.step()
        names = {row["external_id"]: row["guest_name"] for row in await w.rows("SELECT * FROM stays.stay")}
        assert names == {made: "Anna Traveller ?", other: "Anna Berger"}


async def test_a_customer_told_twice_is_one_guest(database: Database) -> None:
    async with world(database) as w:
        w.book("101", name="Berger")

        def twice(asked: str, _body: Item, answer: httpx.Response) -> httpx.Response:
            if asked != wire.CUSTOMERS:
                return answer
            return httpx.Response(200, json={"Customers": answer.json()["Customers"] * 2, "Cursor": None})

        w.bent.bend = twice
        await w.sync.step()
        assert [row["guest_name"] for row in await w.rows("SELECT guest_name FROM stays.stay")] == ["Anna Berger"]


async def test_a_reservation_in_a_room_that_is_none_of_ours_is_mirrored_without_one_and_told_of(
    database: Database,
) -> None:
    async with world(database) as w:
        made = w.book("101")
        bend_item(w, wire.RESERVATIONS, "Reservations", made, with_(AssignedResourceId="room-of-another-hotel"))
        await w.sync.step()
        [stay] = await w.rows("SELECT room, state FROM stays.stay")
        assert (stay["room"], stay["state"]) == (None, "planned")
        assert await issues(w) == {
            ("reservation", made): (
                "its room 'without a name' (room-of-another-hotel) is no room of this property", False
            )
        }  # fmt: skip


async def test_two_rooms_of_one_name_do_not_put_two_guests_behind_one_door(database: Database) -> None:
    async with world(database) as w:
        mine, other = w.hotel.room("101"), w.hotel.room("102")
        kept, away = sorted((mine.id, other.id))
        other.name = mine.name = "101"
        made = w.hotel.add(room="103", start_ms=NOW_MS, end_ms=NOW_MS + DAY_MS, first_name="A", last_name="B")
        made.resource_id = away
        await w.sync.step()
        [stay] = await w.rows("SELECT room FROM stays.stay")
        assert stay["room"] is None
        told = await issues(w)
        assert kept in told["resource", away][0]
        assert told["reservation", made.id][1] is False


async def test_stays_that_overlap_in_one_room_get_it_one_after_the_other(database: Database) -> None:
    async with world(database) as w:
        first = w.book("101", start_ms=NOW_MS - 2 * HOUR_MS)
        second = w.book("101", start_ms=NOW_MS - HOUR_MS)
        await w.sync.step()
        rows = await w.rows("SELECT external_id, room, room_asked FROM stays.stay")
        assert {row["external_id"]: (row["room"], row["room_asked"]) for row in rows} == {
            first: ("101", "101"),
            second: (None, "101"),
        }


@pytest.mark.parametrize(
    ("answer", "named"),
    [
        (httpx.Response(200, text="<html>Maintenance</html>", headers={"Content-Type": "text/html"}), "text/html"),
        (httpx.Response(200, content=b'{"Reservations": [{"Id": "a"'), "truncated"),
        (httpx.Response(200, content=b""), "truncated"),
        (httpx.Response(204), "status 204"),
        (httpx.Response(302, headers={"Location": "https://login.invalid/"}), "status 302"),
        (httpx.Response(200, json={}), "Reservations"),
        (httpx.Response(200, json={"Reservations": None}), "$.Reservations"),
        (httpx.Response(200, json={"Reservations": {}}), "$.Reservations"),
        (httpx.Response(200, json={"Reservations": [], "Cursor": 7}), "$.Cursor"),
        (httpx.Response(200, content=b'{"Reservations": ' + b"[" * 25_000 + b"]" * 25_000 + b"}"), "recursion"),
        (httpx.Response(500, text="<html>"), "500"),
        (httpx.Response(400, text="<html>"), "400"),
    ],
)
async def test_an_answer_that_is_none_moves_no_cursor_and_says_what_it_was(
    database: Database, answer: httpx.Response, named: str
) -> None:
    async with world(database, knobs=NO_PUSH) as w:
        await w.sync.step()
        [before] = await w.rows("SELECT cursor_at, full_at FROM pms.connection")
        made = w.book("101")

        def bend(asked: str, _body: Item, honest: httpx.Response) -> httpx.Response:
            if asked != wire.RESERVATIONS:
                return honest
            return httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)

        w.bent.bend = bend
        await w.live(61)
        state = await state_of(w)
        assert state.last_error is not None
        assert wire.RESERVATIONS in state.last_error or "refused" in state.last_error
        assert named in state.last_error
        assert await w.rows("SELECT cursor_at, full_at FROM pms.connection") == [before]
        assert await mirrored(w) == set()
        w.bent.bend = None
        w.clock.advance(3 * DAY_MS // 4)
        await w.live(2)
        assert await mirrored(w) == {made}
        assert (await state_of(w)).last_error is None


async def test_a_list_that_goes_in_circles_is_left_and_named(database: Database) -> None:
    async with world(database) as w:
        w.book("101")

        def bend(asked: str, _body: Item, answer: httpx.Response) -> httpx.Response:
            if asked != wire.RESERVATIONS:
                return answer
            page = answer.json() if answer.status_code == 200 else {"Reservations": []}
            return httpx.Response(200, json={**page, "Cursor": "round-and-round"})

        w.bent.bend = bend
        await w.sync.step()
        error = (await state_of(w)).last_error
        assert error is not None
        assert "'round-and-round' came twice" in error
        assert w.emulator.calls[wire.RESERVATIONS] <= 3
        assert (await w.rows("SELECT full_at FROM pms.connection"))[0]["full_at"] is None


async def test_an_answer_without_end_is_left_where_no_answer_of_theirs_reaches(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchange, "ANSWER_BYTES_MOST", 100_000)
    taken: list[int] = []

    class Endless(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            while True:
                taken.append(10_000)
                yield b" " * 10_000

    async with world(database) as w:
        w.bent.bend = lambda _asked, _body, _answer: httpx.Response(200, stream=Endless())
        await w.sync.step()
        error = (await state_of(w)).last_error
        assert error is not None
        assert "more than 100000 bytes" in error
        assert sum(taken) <= 120_000


async def test_a_storm_of_429_is_told_and_ends_by_itself(database: Database) -> None:
    async with world(database) as w:
        made = w.book("101")
        w.bent.bend = lambda _asked, _body, _answer: httpx.Response(429, headers={"Retry-After": "2"})
        await w.live(20)
        assert w.emulator.calls[wire.RESOURCES] <= 11, "told to wait two seconds each time"
        error = (await state_of(w)).last_error
        assert error is not None
        assert "patience" in error
        w.bent.bend = None
        await w.live(3)
        assert await mirrored(w) == {made}
        assert (await state_of(w)).last_error is None


async def test_a_hotel_too_large_for_one_window_of_requests_is_still_read_whole(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mews_adapter, "PAGE_ITEMS", 1)
    async with world(database) as w:
        made = {w.book(None, start_ms=NOW_MS + n * HOUR_MS) for n in range(100)}  # 200 requests; 150 fit a window
        await w.sync.step()
        assert await mirrored(w) == made
        assert (await state_of(w)).last_error is None


async def test_one_hint_that_the_pms_will_not_hear_of_spoils_no_other(database: Database) -> None:
    async with world(database) as w:
        await w.sync.step()
        made = {w.book(room) for room in ("101", "102", "103")}
        await w.emulator.settle()
        await w.sync.take_push(
            json.dumps({"Events": [{"Discriminator": "ServiceOrderUpdated", "Value": {"Id": "no-uuid"}}]}).encode()
        )

        def bend(asked: str, body: Item, answer: httpx.Response) -> httpx.Response:
            if asked == wire.RESERVATIONS and "no-uuid" in body.get("ReservationIds", ()):
                return httpx.Response(400, json={"Message": "Invalid UUID."})
            return answer

        w.bent.bend = bend
        found = await w.sync._property()
        assert found is not None
        await w.sync.take_hints(found)
        assert await mirrored(w) == made
        assert "Invalid UUID" in (await issues(w))["reservation", "no-uuid"][0]
        assert await w.rows("SELECT * FROM pms.hint") == []


async def test_a_partner_that_is_down_is_asked_less_and_less_and_again_when_it_is_back(database: Database) -> None:
    async with world(database, knobs=NO_PUSH) as w:
        await w.sync.step()
        w.bent.bend = lambda _asked, _body, _answer: httpx.Response(503)
        before = sum(w.emulator.calls.values())
        await w.live(300)
        assert sum(w.emulator.calls.values()) - before <= 30
        made = w.book("101")
        w.bent.bend = None
        await w.live(31)
        assert await mirrored(w) == {made}
