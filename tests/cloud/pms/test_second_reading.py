"""What a second, independent reading of the vendors' pages found: shapes that are published and were not known, words
of a refusal that say nothing of what was asked for, and flags and rooms that were taken for others.
"""

from collections.abc import Mapping
from typing import Any

import httpx
import pytest

from cloud.pms.ezee import wire as ezee_wire
from cloud.pms.hints import EVERYTHING
from cloud.pms.mews import wire as mews_wire
from cloud.pms.port import Hint, PmsBusyError, PmsCannotError, PmsRefusedError
from cloud.stays.reservation import Housekeeping, PmsStatus
from kit.clock import ManualClock
from tests.cloud.houses import DAY_MS, HOUR_MS, NOW_MS
from tests.cloud.pms.test_liberties import ohip
from tests.cloud.pms.test_other_hands import Json, all_of, cloudbeds, mews, mews_reservation
from tests.cloud.pms.test_stayntouch_liberties import Hotel as StayNTouch
from tests.cloud.pms.test_stayntouch_liberties import row

pytestmark = pytest.mark.requirement("PMS-02")
RESERVATION = {"moduleName": "Reservation", "actionType": "NEW RESERVATION", "actionId": 2, "primaryKey": "919074"}
BESIDE = [{"dataElement": "NIGHTS", "newValue": "1"}]


def published(header: Json) -> Json:
    """Return one event of the queue as Oracle's document of the interface shows it."""
    event = {"header": {**header, "createdDateTime": "2021-07-08 11:15:38.0", "hotelId": "H"}, "details": BESIDE}
    return {"businessEvent": event, "businessEventId": {"id": "1971133"}}


def queue(answer: Json) -> Any:
    return lambda path, _told: {"access_token": "t"} if path.endswith("tokens") else answer


@pytest.mark.requirement("PMS-09")
@pytest.mark.guarantee("G2")
@pytest.mark.parametrize(
    ("answer", "hints"),
    [
        ({"businessEventData": [published(RESERVATION)], "DataValueMapping": []}, [Hint("reservation", "919074")]),
        ({"businessEvents": [published(RESERVATION)]}, [Hint("reservation", "919074")]),
        (published(RESERVATION), [Hint("reservation", "919074")]),
        ({"businessEventData": [published(RESERVATION | {"moduleName": 5})]}, [Hint("reservation", "919074")]),
        (
            {"businessEventData": [published({"moduleName": 14, "actionType": "UPDATE PROFILE", "primaryKey": "42"})]},
            [Hint("reservation", "customer~42")],
        ),
        ({"businessEventData": [published({"moduleName": 3, "primaryKey": "1"})]}, []),
        ({"businessEventData": [published({"moduleName": "NightAudit", "primaryKey": "1"})]}, []),
        ({"businessEventData": None, "links": [{"rel": "self"}], "dataValueMapping": BESIDE}, []),
        ({"messages": [{"said": "something else"}]}, [EVERYTHING]),
        ({"businessEventData": [{"businessEvent": [{"header": RESERVATION}, {"header": RESERVATION}]}]}, [EVERYTHING]),
        ({"businessEventData": [published({"moduleName": "Reservation"})]}, [EVERYTHING]),
    ],
)  # fmt: skip
async def test_no_event_that_was_taken_from_the_queue_of_opera_is_lost(answer: Json, hints: list[Hint]) -> None:
    adapter, _ = ohip(queue(answer))
    assert await adapter.pending() == hints


@pytest.mark.requirement("PMS-12")
@pytest.mark.parametrize("plain", [True, False])
async def test_the_rooms_of_opera_are_told_by_their_ids_in_whichever_form_is_read(*, plain: bool) -> None:
    def answer(path: str, told: Mapping[str, Any]) -> Json | httpx.Response:
        if path.endswith("tokens"):
            return {"access_token": "t"}
        known = all(isinstance(each, str) is plain for each in told["roomList"])
        return httpx.Response(204) if known else httpx.Response(400, json={"detail": "Unknown property."})

    adapter, partner = ohip(answer)
    await adapter.set_room_status("101", Housekeeping.CLEAN)
    told = [told for path, told in partner.asked if path.endswith("rooms/status")]
    assert told[0] == {"roomList": [{"roomId": "101"}], "housekeepingRoomStatus": "Clean"}
    assert told[1:] == ([{"roomList": ["101"], "housekeepingRoomStatus": "Clean"}] if plain else [])


async def test_why_opera_refuses_a_condition_is_what_it_says_of_the_form_as_published() -> None:
    def answer(path: str, told: Mapping[str, Any]) -> Json | httpx.Response:
        if path.endswith("tokens"):
            return {"access_token": "t"}
        known = isinstance(told["roomList"][0], dict)
        return httpx.Response(400, json={"detail": "Room is occupied." if known else "Unknown property."})

    adapter, _ = ohip(answer)
    with pytest.raises(PmsRefusedError, match="Room is occupied"):
        await adapter.set_room_status("101", Housekeeping.CLEAN)


async def test_a_room_that_opera_may_not_set_is_not_asked_for_twice() -> None:
    adapter, partner = ohip(
        lambda path, _: {"access_token": "t"} if path.endswith("tokens") else httpx.Response(403, json={"title": "No"})
    )
    with pytest.raises(PmsRefusedError, match="403"):
        await adapter.set_room_status("101", Housekeeping.CLEAN)
    assert len([path for path, _ in partner.asked if path.endswith("rooms/status")]) == 1


class Family:
    """A reservation of three rooms at Cloudbeds, the first of them taken: only its row in the list says which."""

    def __init__(self, *, names: bool = True, rows: bool = True, silent: bool = False) -> None:
        self.names, self.rows, self.silent, self.listed = names, rows, silent, 0

    def answer(self, method: str, told: Mapping[str, Any]) -> Json:
        whole = {"reservationID": "70", "status": "checked_in", "startDate": "2026-11-18", "endDate": "2026-11-20",
                 "dateModified": "2026-11-18 10:00:00", "guestName": "Zoë"}  # fmt: skip
        parts = [{"subReservationID": f"70-{n}", "roomID": str(n) if n < 3 else ""} for n in (1, 2, 3)]
        if method == "getReservation":
            return {"success": True, "data": {**whole, "assigned": parts[:2], "unassigned": parts[2:]}}
        assert method == "getReservations"
        self.listed += 1
        assert (told["checkInFrom"], told["includeAllRooms"]) != ("", "false")
        rooms = [{**each, "roomStatus": "in_house" if each["roomID"] == "1" else "not_checked_in"} for each in parts]
        if not self.names:
            rooms = [{name: value for name, value in each.items() if name != "subReservationID"} for each in rooms]
        if self.silent:
            rooms = [{name: value for name, value in each.items() if name != "roomStatus"} for each in rooms]
        found = [{**whole, "rooms": rooms}] if self.rows else []
        return {"success": True, "data": found, "total": len(found)}


@pytest.mark.requirement("PMS-10")
@pytest.mark.guarantee("G19")
@pytest.mark.parametrize("names", [True, False])
async def test_of_a_family_at_cloudbeds_whoever_has_not_come_is_not_in_house(*, names: bool) -> None:
    family, clock = Family(names=names), ManualClock(wall_ms=NOW_MS)
    adapter, _ = cloudbeds(family.answer, clock)
    expected = {"70~70-1": PmsStatus.IN_HOUSE, "70~70-2": PmsStatus.BOOKED, "70~70-3": PmsStatus.BOOKED}
    read = await adapter.get(["70~70-2"])
    assert {each.external_id: each.status for each in read.reservations} == expected
    clock.advance(2_000)
    found, problems = await all_of(adapter.arriving(NOW_MS - DAY_MS, NOW_MS + DAY_MS))
    assert ({each.external_id: each.status for each in found.values()}, problems) == (expected, [])


async def test_a_family_of_which_nothing_says_who_came_is_held_back_not_made_up() -> None:
    adapter, _ = cloudbeds(Family(rows=False).answer)
    page = await adapter.get(["70~70-1"])
    assert page.reservations == ()
    assert [each.problem for each in page.errors] == ["roomStatus does not say which of its rooms are taken"]


async def test_a_family_is_held_back_too_where_the_list_itself_does_not_say_who_came() -> None:
    adapter, _ = cloudbeds(Family(silent=True).answer)
    found, problems = await all_of(adapter.arriving(NOW_MS - DAY_MS, NOW_MS + DAY_MS))
    assert found == {}
    assert problems == ["roomStatus does not say which of its rooms are taken"]


@pytest.mark.requirement("PMS-12")
async def test_a_room_at_cloudbeds_that_is_no_touch_up_any_more_says_so() -> None:
    adapter, partner = cloudbeds(lambda _method, _told: {"success": True, "data": {}})
    for housekeeping in (Housekeeping.PICKUP, Housekeeping.DIRTY, Housekeeping.CLEAN):
        await adapter.set_room_status("9", housekeeping)
    told = [(told["roomCondition"], told["vacantPickup"]) for _, told in partner.asked]
    assert told == [("dirty", "true"), ("dirty", "false"), ("clean", "false")]


@pytest.mark.requirement("PMS-12")
@pytest.mark.parametrize("condition", ["dirty", "clean", "inspected"])
async def test_a_touch_up_at_cloudbeds_is_one_whatever_the_condition_beneath_it(condition: str) -> None:
    def answer(method: str, _told: Mapping[str, Any]) -> Json:
        if method == "getRooms":
            return {"success": True, "data": [{"rooms": [{"roomID": "1", "roomName": "101"}]}], "total": 1}
        return {
            "success": True,
            "data": [{"roomID": "1", "roomCondition": condition, "vacantPickup": True}],
            "total": 1,
        }

    adapter, _ = cloudbeds(answer)
    assert [each.housekeeping for each in (await adapter.rooms()).rooms] == [Housekeeping.PICKUP]


@pytest.mark.parametrize(
    ("message", "status"),
    [
        ("Invalid API key", 401),
        ("The access_token has expired", 401),
        ("Missing token", 401),
        ("Unauthorized", 401),
        ("Reservation not found", 404),
        ("Room is not assigned to this reservation", 422),
        ("Invalid room key encoder", 422),
        ("Credit limit exceeded", 422),
        ("The guest limit was exceeded for this room", 422),
    ],
)
async def test_a_refusal_of_our_credentials_in_200_says_nothing_of_what_was_asked(message: str, status: int) -> None:
    adapter, _ = cloudbeds(lambda _method, _told: {"success": False, "message": message})
    with pytest.raises(PmsRefusedError, match=message) as refused:
        await adapter.set_room_status("9", Housekeeping.CLEAN)
    assert refused.value.status == status


@pytest.mark.parametrize(
    "message",
    [
        "Rate limit exceeded",
        "Too many requests, slow down",
        "API rate-limit reached",
        "Limit exceeded",
        "You have exceeded your request limit",
    ],
)
async def test_a_plea_for_patience_in_200_is_one(message: str) -> None:
    adapter, _ = cloudbeds(lambda _method, _told: {"success": False, "message": message})
    with pytest.raises(PmsBusyError):
        await adapter.set_room_status("9", Housekeeping.CLEAN)


@pytest.mark.guarantee("G2")
@pytest.mark.parametrize(("minutes", "days"), [(30, ("2026-11-17", "2026-11-18")), (12 * 60, ("2026-11-18",) * 2)])
async def test_a_day_of_changes_at_stayntouch_may_end_at_anybodys_midnight(minutes: int, days: tuple[str, str]) -> None:
    asked: list[Mapping[str, Any]] = []

    def answer(told: Mapping[str, Any]) -> Json:
        asked.append(told)
        return {"results": [], "total_count": 0}

    hotel = StayNTouch(reservations=answer)
    midnight_ms = NOW_MS - NOW_MS % DAY_MS - HOUR_MS  # in Vienna
    now_ms = midnight_ms + minutes * 60_000
    await all_of(hotel.adapter.changed(now_ms - 60_000, now_ms))
    assert (asked[0]["date_filter"], asked[0]["from_date"], asked[0]["to_date"]) == ("updated", *days)


@pytest.mark.parametrize("status", [404, 405])
async def test_a_condition_that_stayntouch_does_not_take_is_a_persons_to_set(status: int) -> None:
    hotel = StayNTouch(rooms__9=httpx.Response(status, text="<html>"), reservations__1=row(1))
    with pytest.raises(PmsCannotError, match="condition"):
        await hotel.adapter.set_room_status("9", Housekeeping.CLEAN)


async def test_a_company_that_booked_at_mews_is_not_asked_for_among_the_customers() -> None:
    def answer(operation: str, told: Mapping[str, Any]) -> Json | httpx.Response:
        if operation.startswith("reservations"):
            kinds = (("a1", "Customer"), ("c1", "Company"), ("a2", None))
            rows = [mews_reservation(n, AccountId=of, AccountType=kind) for n, (of, kind) in enumerate(kinds)]
            return {"Reservations": rows, "Cursor": None}
        if "c1" in told["CustomerIds"]:
            return httpx.Response(400, json={"Message": "Invalid CustomerIds."})
        return {"Customers": [{"Id": each, "LastName": each.upper()} for each in told["CustomerIds"]]}

    adapter, _, _ = mews(answer)
    found, problems = await all_of(adapter.colliding(NOW_MS, NOW_MS + DAY_MS))
    told = {each.external_id: (each.guest_name, each.guest_external_id) for each in found.values()}
    assert told == {"r0": ("A1", "a1"), "r1": (None, None), "r2": ("A2", "a2")}
    assert problems == []


async def test_what_was_cancelled_at_mews_is_on_nobodys_bill() -> None:
    def answer(operation: str, _told: Mapping[str, Any]) -> Json:
        assert operation == mews_wire.ORDER_ITEMS
        amount = {"Currency": "EUR", "GrossValue": 12.5, "NetValue": 10}
        states = ("Open", "Closed", "Canceled", "Inactive", None)
        items = [
            {"Id": f"i{n}", "Amount": amount, "ConsumedUtc": "2026-11-18T10:00:00Z", "AccountingState": state}
            for n, state in enumerate(states)
        ]
        return {"OrderItems": items, "Cursor": None}

    adapter, _, _ = mews(answer)
    assert [each.external_id for each in await adapter.folio("r1")] == ["i0", "i1", "i4"]


@pytest.mark.parametrize(
    ("said", "unknown"),
    [
        ("502 Request Type is missing", True),
        ("100 Invalid Request_Type", True),
        ("100 Unknown operation GuestCheckIn", True),
        ("201 GuestCheckIn is not supported", True),
        ("106 Room is not ready", False),
        ("117 Room is dirty", False),
    ],
)
def test_a_request_that_a_house_of_ezee_does_not_know_is_known_by_many_words(said: str, *, unknown: bool) -> None:
    assert ezee_wire.is_type_unknown(said) is unknown
