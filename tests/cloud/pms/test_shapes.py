"""What partners write in more than one shape: one reservation for itself, rooms whose condition has no word of ours,
parts without a name, and what is there no more.
"""

import json
from collections.abc import Mapping
from typing import Any

import httpx
import pytest

from cloud.kit.database import Database
from cloud.pms.hints import EVERYTHING
from cloud.pms.mews import wire as mews_wire
from cloud.pms.port import Hint, PmsFaultError, PmsRefusedError
from cloud.stays.reservation import PmsStatus
from kit.clock import ManualClock
from protocols.errors import PeerProtocolError
from tests.cloud.houses import DAY_MS, NOW_MS
from tests.cloud.pms.test_liberties import TODAY, TOMORROW, ohip
from tests.cloud.pms.test_other_hands import Json, all_of, cloudbeds, mews
from tests.cloud.pms.test_sync import world
from tests.cloud.pms.test_vendors import world as opera_world

pytestmark = pytest.mark.requirement("PMS-02")
NESTED = {
    "reservationIdList": [{"id": "268", "type": "Confirmation"}, {"id": "R1", "type": "Reservation"}],
    "reservationStatus": "InHouse",
    "lastModifyDateTime": f"{TODAY} 08:43:45.0",
    "roomStay": {
        "arrivalDate": TODAY,
        "departureDate": TOMORROW,
        "currentRoomInfo": {"roomType": "STDK", "roomId": "0412"},
        "roomRates": [{"roomType": "STDK", "rates": {"rate": []}}],
        "guestCounts": {"adults": 2, "children": 1},
    },
    "reservationGuests": [
        {"primary": False, "profileInfo": {"profile": {"customer": {"personName": [{"surname": "Second"}]}}}},
        {
            "primary": True,
            "profileInfo": {"profile": {"customer": {"personName": [{"givenName": "Anna", "surname": "Żółć"}]}}},
        },
    ],
}


@pytest.mark.parametrize(
    "said",
    [
        {"reservations": {"reservation": [NESTED]}, "links": []},
        {"reservations": {"reservationInfo": NESTED}},
        {"reservation": NESTED},
        NESTED,
    ],
)
async def test_one_reservation_of_opera_is_read_however_deep_it_says_where_and_who(said: Json) -> None:
    adapter, _ = ohip(lambda path, _told: {"access_token": "t"} if path.endswith("tokens") else said)
    [found] = (await adapter.get(["R1"])).reservations
    assert (found.external_id, found.number, found.status) == ("R1", "268", PmsStatus.IN_HOUSE)
    assert (found.room_external_id, found.room_type) == ("0412", "STDK")
    assert (found.guest_name, found.adults, found.children) == ("Anna Żółć", 2, 1)


@pytest.mark.parametrize("guests", [None, [], "nobody", [7], [{"profileInfo": {}}], [{"personName": [{"surname": 7}]}]])
async def test_guests_of_opera_that_cannot_be_read_cost_a_name_alone(guests: object) -> None:
    said = {**NESTED, "reservationGuests": guests}
    adapter, _ = ohip(lambda path, _told: {"access_token": "t"} if path.endswith("tokens") else {"reservation": [said]})
    [found] = (await adapter.get(["R1"])).reservations
    assert (found.room_external_id, found.guest_name) == ("0412", None)


@pytest.mark.parametrize("nothing", [httpx.Response(204), {"reservations": {"totalResults": 0, "hasMore": False}}])
async def test_opera_may_say_nothing_where_there_is_nothing(nothing: Json | httpx.Response) -> None:
    def answer(path: str, _told: Mapping[str, Any]) -> Json | httpx.Response:
        return {"access_token": "t"} if path.endswith("tokens") else nothing

    adapter, _ = ohip(answer)
    assert await all_of(adapter.colliding(NOW_MS - DAY_MS, NOW_MS + DAY_MS)) == ({}, [])
    assert (await adapter.get(["R1"])).reservations == ()
    with pytest.raises(PmsRefusedError, match="there is no reservation R1"):
        await adapter.check_in("R1")


@pytest.mark.parametrize("tells", ["hasMore", "totalResults"])
async def test_every_page_of_opera_rooms_is_read(tells: str) -> None:
    def answer(path: str, told: Mapping[str, Any]) -> Json:
        if path.endswith("tokens"):
            return {"access_token": "t"}
        start = int(told["offset"])
        end = min(start + 20, 45)
        rooms = [
            {"roomId": f"{each:04}", "housekeeping": {"housekeepingRoomStatus": {"housekeepingRoomStatus": "Clean"}}}
            for each in range(start, end)
        ]
        ends: Json = {"hasMore": {"hasMore": end < 45}, "totalResults": {"totalResults": 45}}
        return {"housekeepingRoomInfo": {"housekeepingRooms": {"room": rooms}, **ends[tells]}}

    adapter, partner = ohip(answer)
    rooms = await adapter.rooms()
    assert [each.external_id for each in rooms.rooms] == [f"{each:04}" for each in range(45)]
    assert (rooms.errors, partner.count("hsk/v1/hotels/H/housekeepingOverview")) == ((), 3)


async def test_a_partner_who_knows_no_pages_of_rooms_and_says_that_there_is_more_is_named() -> None:
    room = {"roomId": "1", "housekeepingRoomStatus": "Clean"}
    adapter, _ = ohip(
        lambda path, _told: {"access_token": "t"} if path.endswith("tokens") else {"rooms": [room], "hasMore": True}
    )
    with pytest.raises(PeerProtocolError, match="there is more"):
        await adapter.rooms()


def resource(name: str, **more: object) -> Json:
    return {"Id": f"id-{name}", "Name": name, "State": "Clean", "UpdatedUtc": "2026-11-18T10:00:00Z", **more}


async def test_what_is_let_at_mews_and_is_no_room_is_none() -> None:
    told = [
        resource("101", Data={"Discriminator": "Space", "Value": {"FloorNumber": "1"}}),
        resource("102", Data=None),
        resource("Bicycle", State=None, Data={"Discriminator": "Object", "Value": {}}),
        resource("103", UpdatedUtc=None),
        resource("104", IsActive=False),
    ]
    adapter, _, _ = mews(lambda _o, _t: {"Resources": told, "Cursor": None})
    rooms = await adapter.rooms()
    assert [each.name for each in rooms.rooms] == ["101", "102", "103"]
    assert rooms.errors == ()


@pytest.mark.parametrize("wrapped", [True, False])
async def test_a_guest_is_found_at_mews_however_the_answer_wraps_him(*, wrapped: bool) -> None:
    anna: Json = {"Id": "c1", "FirstName": "Anna", "LastName": "Berger"}
    told = [{"Customer": anna} if wrapped else anna, {"Customer": {"Id": None}}, 7]
    adapter, _, _ = mews(lambda _o, _t: {"Customers": told})
    assert [(each.external_id, each.name) for each in await adapter.search_guests("Berger")] == [("c1", "Anna Berger")]


@pytest.mark.parametrize("said", ["InUse", "", None])
async def test_a_room_whose_condition_has_no_word_of_ours_is_a_room(said: object) -> None:
    adapter, _, _ = mews(lambda _o, _t: {"Resources": [resource("101", State=said)], "Cursor": None})
    rooms = await adapter.rooms()
    [room], [error] = rooms.rooms, rooms.errors
    assert (room.name, room.housekeeping, error.held_back, error.kind) == ("101", None, False, "resource")
    lists: Json = {
        "getRooms": [{"roomID": "1", "roomName": "101"}],
        "getHousekeepingStatus": [{"roomID": 1, "roomCondition": said}],
    }
    beds, _ = cloudbeds(lambda method, _told: {"success": True, "data": lists[method]})
    rooms = await beds.rooms()
    [room], [error] = rooms.rooms, rooms.errors
    assert (room.name, room.housekeeping, error.held_back) == ("101", None, False)
    opera, _ = ohip(
        lambda path, _told: (
            {"access_token": "t"}
            if path.endswith("tokens")
            else {"rooms": [{"roomId": "101", "housekeepingRoomStatus": said}]}
        )
    )
    rooms = await opera.rooms()
    [room], [error] = rooms.rooms, rooms.errors
    assert (room.name, room.housekeeping, error.held_back) == ("101", None, False)


@pytest.mark.tier("postgres")
@pytest.mark.guarantee("G19")
async def test_a_guest_has_his_room_though_its_condition_is_a_new_word(database: Database) -> None:
    async with world(database) as w:
        w.book("103")

        def bend(operation: str, _asked: Json, answer: httpx.Response) -> httpx.Response:
            if operation != mews_wire.RESOURCES:
                return answer
            rows = [{**row, "State": "InUse"} if row["Name"] == "103" else row for row in answer.json()["Resources"]]
            return httpx.Response(200, json={**answer.json(), "Resources": rows})

        w.bent.bend = bend
        await w.live(1)
        w.clock.advance(60_000)
        await w.live(1)
        [stay] = await w.rows("SELECT room, state FROM stays.stay")
        assert (stay["room"], stay["state"]) == ("103", "planned")
        [issue] = await w.rows("SELECT kind, held_back, times, problem FROM pms.issue")
        assert (issue["kind"], issue["held_back"], issue["times"]) == ("resource", False, 2)
        assert "InUse" in issue["problem"]
        w.bent.bend = None
        w.clock.advance(60_000)
        await w.live(1)
        [room] = await w.rows("SELECT housekeeping FROM stays.room WHERE id = '103'")
        assert room["housekeeping"] is not None
        assert await w.rows("SELECT * FROM pms.issue") == []


def row(**more: object) -> Json:
    return {
        "reservationID": "70", "status": "confirmed", "startDate": TODAY, "endDate": TOMORROW,
        "dateModified": f"{TODAY} 08:00:00", "guestName": "Anna", **more,
    }  # fmt: skip


@pytest.mark.parametrize("sub", ["70-1", "70", "S9", None])
async def test_one_room_of_a_reservation_has_one_name_in_the_list_and_for_itself(sub: str | None) -> None:
    part: Json = {"roomID": "1", "roomStatus": "not_checked_in"}

    def answer(method: str, _told: Mapping[str, Any]) -> Json:
        if method == "getReservations":
            return {"success": True, "data": [row(rooms=[part]), row(reservationID="71", rooms=[])], "total": 2}
        return {"success": True, "data": row(assigned=[part | ({"subReservationID": sub} if sub else {})])}

    clock = ManualClock(wall_ms=NOW_MS)
    adapter, partner = cloudbeds(answer, clock)
    listed, _ = await all_of(adapter.colliding(NOW_MS - DAY_MS, NOW_MS + DAY_MS))
    clock.advance(1_000)
    [alone] = (await adapter.get(["70"])).reservations
    assert alone.external_id in listed
    before = partner.count("getReservation")
    clock.advance(1_000)
    await all_of(adapter.colliding(NOW_MS - DAY_MS, NOW_MS + DAY_MS))
    again = partner.count("getReservation") - before
    assert again == (0 if sub is None else 2), "who has no names for rooms is not asked for them again and again"


@pytest.mark.parametrize("when", [None, "", "0000-00-00 00:00:00"])
async def test_what_nobody_touched_at_cloudbeds_changed_when_it_was_made(when: str | None) -> None:
    made = row(dateModified=when, dateCreated=f"{TODAY} 07:00:00", subReservationID="70")
    adapter, _ = cloudbeds(lambda _method, _told: {"success": True, "data": made})
    [found] = (await adapter.get(["70"])).reservations
    assert found.updated_ms == 1_794_981_600_000, "07:00 in Vienna"


@pytest.mark.parametrize("status", [200, 400, 404])
@pytest.mark.parametrize(
    "said", ["Reservation not found", "Reservation doesn't exist", "No such reservation", "Invalid reservationID"]
)
async def test_a_reservation_that_cloudbeds_does_not_know_is_absent_and_no_error(said: str, status: int) -> None:
    adapter, _ = cloudbeds(lambda _m, _t: httpx.Response(status, json={"success": False, "message": said}))
    page = await adapter.get(["70"])
    assert (page.reservations, page.errors) == ((), ())


@pytest.mark.tier("postgres")
@pytest.mark.requirement("PMS-08")
async def test_a_booking_that_was_deleted_there_ends_here_once_that_is_certain(database: Database) -> None:
    async with world(database) as w:
        made, other = w.book("101"), w.book("102")
        await w.live(2)
        gone = w.hotel.reservations.pop(made)
        push = f'{{"Events": [{{"Discriminator": "ServiceOrderUpdated", "Value": {{"Id": "{made}"}}}}]}}'.encode()

        async def status() -> dict[str, str]:
            return {each["external_id"]: each["status"] for each in await w.rows("SELECT * FROM stays.reservation")}

        await w.sync.take_push(push)
        await w.live(2)
        assert await status() == {made: "booked", other: "booked"}, "one answer ends nobody"
        w.hotel.reservations[made] = gone
        await w.live(20)
        assert await w.rows("SELECT * FROM pms.drift") == [], "it was only late"
        del w.hotel.reservations[made]
        await w.sync.take_push(push)
        await w.live(40)
        assert await status() == {made: "cancelled", other: "booked"}
        w.hotel.reservations[made] = gone
        await w.sync.take_push(push)
        await w.live(2)
        assert await status() == {made: "booked", other: "booked"}, "and is there again if it comes back, unchanged"


@pytest.mark.requirement("PMS-09")
@pytest.mark.parametrize("second", [None, httpx.Response(502, text="<html>"), httpx.Response(200, text="<html>")])
async def test_a_queue_that_was_cut_off_while_it_was_emptied_leaves_a_gap_that_is_told(
    second: httpx.Response | None,
) -> None:
    def events(*names: str) -> Json:
        return {"businessEvents": [{"header": {"moduleName": "RESERVATION", "primaryKey": each}} for each in names]}

    answers: list[Any] = [events(*(f"R{each}" for each in range(20))), second or events("R20")]

    def answer(path: str, _told: Mapping[str, Any]) -> Json | httpx.Response:
        if path.endswith("tokens"):
            return {"access_token": "t"}
        said: Json | httpx.Response = answers.pop(0)
        return said

    adapter, _ = ohip(answer)
    found = await adapter.pending()
    assert [each.external_id for each in found][:20] == [f"R{each}" for each in range(20)]
    assert found[20:] == [Hint("reservation", "R20") if second is None else EVERYTHING]


@pytest.mark.tier("postgres")
@pytest.mark.requirement("PMS-09")
async def test_what_a_broken_answer_took_from_the_queue_is_found_by_comparing_everything(database: Database) -> None:
    async with opera_world(database, "ohip") as w:
        await w.live(1)
        honest, dropped = w.adapter.pending, list[Hint]()

        async def pending() -> list[Hint]:
            if found := await honest():
                dropped.extend(found)
                raise PmsFaultError("OHIP businessEvents: 502")
            return found

        w.adapter.pending = pending  # type: ignore[method-assign]  # the answer is cut on its way
        made = w.book("101", start_ms=NOW_MS + 30 * DAY_MS)
        await w.live(4)
        assert Hint("reservation", made) in dropped
        assert await w.out_of_step() != {}
        w.clock.advance(600_000)
        await w.live(3)
        assert await w.out_of_step() == {}, "ten minutes later, not a day"


@pytest.mark.tier("postgres")
@pytest.mark.requirement("PMS-08")
async def test_a_guest_who_is_called_otherwise_is_so_at_once_though_no_reservation_changed(database: Database) -> None:
    async with world(database) as w:
        made = w.book("101", name="Berger")
        await w.live(2)
        account = w.hotel.reservation(made).account_id
        w.hotel.customers[account]["LastName"] = "Żółć-Berger"
        push = {"Events": [{"Discriminator": "CustomerUpdated", "Value": {"Id": each}} for each in (account, "absent")]}
        await w.sync.take_push(json.dumps(push).encode())
        await w.live(2)
        [stay] = await w.rows("SELECT guest_name FROM stays.stay")
        assert stay["guest_name"] == "Anna Żółć-Berger"
        assert await w.rows("SELECT * FROM pms.hint") == await w.rows("SELECT * FROM pms.issue") == []
