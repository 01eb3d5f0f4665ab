"""eZee as somebody else would write it from the wire's description: errors in 200, PHP's ways of saying nothing."""

from collections.abc import Mapping
from datetime import date
from itertools import pairwise
from typing import Any

import httpx
import msgspec
import pytest

from cloud.pms.ezee import wire
from cloud.pms.ezee.adapter import EzeeAdapter
from cloud.pms.port import Hint, Page, PmsBusyError, PmsCannotError, PmsFaultError, PmsRefusedError
from cloud.stays.reservation import Housekeeping, PmsStatus
from kit.clock import ManualClock
from protocols.errors import PeerProtocolError
from tests.cloud.houses import DAY_MS, NOW_MS
from tests.cloud.pms.test_other_hands import Json, Partner, all_of, sleeping
from tests.cloud.pms.vendors import VIENNA

pytestmark = pytest.mark.requirement("PMS-02")
OK = {"Errors": {"ErrorCode": 0, "ErrorMessage": "Success"}}


def tran(sub: object = "70-1", **more: Any) -> Json:
    return {"SubBookingId": sub, "Status": "New", "CurrentStatus": "Confirmed Reservation", "RoomTypeID": "5",
            "RoomID": "9", "RoomName": "101", "Start": "2026-11-18", "End": "2026-11-19", **more}  # fmt: skip


def listed(*trans: Json, booked_by: str | None = "Anna Berger", **more: Any) -> Json:
    return {
        "Reservations": {"Reservation": [{"UniqueID": "70", "BookedBy": booked_by, "BookingTran": list(trans)}]}
    } | more


class Hotel:
    def __init__(self, answer: Any) -> None:
        self.said, self.clock = answer, ManualClock(wall_ms=NOW_MS)
        self.partner = Partner(self.answer, "/")
        self.adapter = EzeeAdapter(
            httpx.AsyncClient(transport=self.partner), platform="http://ezee.invalid", hotel="H", auth_code="A",
            time=VIENNA, clock=self.clock, sleep=sleeping(self.clock),
        )  # fmt: skip

    def answer(self, path: str, told: Mapping[str, Any]) -> Json | httpx.Response:
        said = self.said(path, told) if callable(self.said) else self.said
        return said if isinstance(said, httpx.Response) else dict(said)

    async def changed(self) -> tuple[dict[str, Any], list[str]]:
        return await all_of(self.adapter.arriving(NOW_MS - 10 * DAY_MS, NOW_MS + 10 * DAY_MS))


@pytest.mark.parametrize(
    ("status", "current", "ours"),
    [
        ("New", "Confirmed Reservation", PmsStatus.BOOKED),
        ("Modify", "Arrived", PmsStatus.IN_HOUSE),
        ("Modify", "Checked In", PmsStatus.IN_HOUSE),
        ("Modify", "Stayover", PmsStatus.IN_HOUSE),
        ("Modify", "Due Out", PmsStatus.IN_HOUSE),
        ("Modify", "Dayuse", PmsStatus.IN_HOUSE),
        ("New", "Dayuse Reservation", PmsStatus.BOOKED),
        ("New", "Arrival", PmsStatus.BOOKED),
        ("Modify", "Checked Out", PmsStatus.LEFT),
        ("Modify", "Check Out", PmsStatus.LEFT),
        ("Modify", "No Show", PmsStatus.NO_SHOW),
        ("Cancel", "Cancel", PmsStatus.CANCELLED),
        ("Modify", "Void", PmsStatus.CANCELLED),
        ("New", "Unconfirmed Reservation", PmsStatus.OPTION),
        ("Cancel", None, PmsStatus.CANCELLED),
        ("Modify", "", PmsStatus.BOOKED),
    ],
)
async def test_a_status_is_read_whichever_word_it_has(status: str, current: str | None, ours: PmsStatus) -> None:
    found, problems = await Hotel(listed(tran(Status=status, CurrentStatus=current))).changed()
    assert ([each.status for each in found.values()], problems) == ([ours], [])


async def test_fields_that_are_null_or_empty_cost_nobody_his_stay() -> None:
    empty = tran(
        RoomID="", RoomName="", RoomTypeID=None, ArrivalTime="", FirstName="", LastName=None, TransactionId=None
    )
    never = tran(
        "70-2", Modifydatetime="0000-00-00 00:00:00", Createdatetime="2026-11-17 10:00:00", RoomID=None, RoomName=None
    )
    older = tran("70-3", RoomTypeID=None, RoomTypeCode=44, Modifydatetime=None, RoomID=112500000000000001)
    found, problems = await Hotel(listed(empty, never, older, booked_by=None)).changed()
    assert problems == []
    assert [each.room_external_id for each in found.values()] == [None, None, "112500000000000001"]
    assert [each.guest_name for each in found.values()] == [None, None, None]
    assert (found["70-2"].updated_ms, found["70-3"].room_type) == (
        VIENNA.read("", "2026-11-17 10:00:00", now_ms=0),
        "44",
    )


@pytest.mark.parametrize(
    "said",
    [
        {"Reservations": []},
        {"Reservations": None},
        {"Reservations": {"Reservation": []}},
        {"Reservations": {"Reservation": None}},
        {"Reservations": {"Reservation": ""}} | OK,
        {"Errors": {"ErrorCode": "101", "ErrorMessage": "No data found"}},
        {"error": {"code": "503", "message": "No Reservation Found."}},
        {"Errors": [{"ErrorCode": 101, "ErrorMessage": "No Records available"}]},
    ],
)
async def test_nothing_is_an_empty_list_however_it_is_written(said: Json) -> None:
    assert await Hotel(said).changed() == ({}, [])


@pytest.mark.parametrize(
    ("said", "error", "word"),
    [
        ({"Errors": {"ErrorCode": "301", "ErrorMessage": "Unauthorized Request."}}, PmsRefusedError, "401"),
        ({"Errors": {"ErrorCode": 201, "ErrorMessage": "Unauthorized request."}}, PmsRefusedError, "401"),
        ({"errorcode": "1", "message": "Unauthorized Request. Check hotel code"}, PmsRefusedError, "401"),
        ({"Errors": {"ErrorCode": "105", "ErrorMessage": "From Date is missing"}}, PmsRefusedError, "422: 105 From"),
        ({"error": {"code": 502, "message": "Request Type is missing"}}, PmsRefusedError, "422: 502 Request"),
        ({"Errors": {"ErrorCode": "500", "ErrorMessage": "Error occurred during processing."}}, PmsFaultError, "500"),
        ({"Errors": {"ErrorCode": "100"}}, PmsRefusedError, "no message"),
        (OK, PeerProtocolError, "Reservations"),
        (httpx.Response(200, text=""), PeerProtocolError, "ArrivalList"),
        (httpx.Response(200, text="<br /><b>Warning</b>: mysql_connect()"), PeerProtocolError, "ArrivalList"),
        (httpx.Response(500, text="<html>"), PmsFaultError, "500"),
        (httpx.Response(429, headers={"Retry-After": "3"}), PmsBusyError, "3000"),
    ],
)  # fmt: skip
async def test_an_answer_that_is_none_has_its_error(said: Any, error: type[Exception], word: str) -> None:
    with pytest.raises(error, match=word):
        await Hotel(said).changed()


@pytest.mark.parametrize(
    ("reservations", "ids"),
    [
        ({"Reservation": [{"UniqueID": 70}, {"UniqueID": "71"}, {"UniqueID": 70}]}, ["70", "71"]),
        ({"Reservation": {"UniqueID": "70"}}, ["70"]),
        ({"Reservation": [], "CancelReservation": [{"UniqueID": "72"}]}, ["72"]),
        ({"CancelReservation": {"UniqueID": "72", "Status": "Cancel"}}, ["72"]),
        ([], []),
    ],
)
def test_a_push_hints_at_every_booking_that_it_names(reservations: Any, ids: list[str]) -> None:
    body = {"hotel_code": "H", "operation": "Booking", "data": {"Reservations": reservations}}
    assert wire.hints(msgspec.json.encode(body)) == [Hint("reservation", each) for each in ids]


async def test_what_cannot_be_read_of_one_room_costs_that_room_alone() -> None:
    nonsense: Any = "x"
    told = listed(tran(), tran("70-2", Start="soon"), tran("70-3", End="2026-11-10"), nonsense)
    found, problems = await Hotel(told).changed()
    assert (list(found), len(problems)) == (["70-1"], 3)


async def test_a_booking_of_a_day_is_a_days_use() -> None:
    found, problems = await Hotel(listed(tran(End="2026-11-18"))).changed()
    assert problems == []
    assert found["70-1"].departure_ms > found["70-1"].arrival_ms


async def test_housekeeping_is_told_flat_with_both_ids_of_the_room() -> None:
    def answer(path: str, told: Mapping[str, Any]) -> Json:
        if "updatehkdata" in told:
            return {"status": "0", "message": "Success"}
        rooms = [
            {"hotel_code": "H", "roomid": "9", "unitid": 77, "roomname": "101", "roomtypeid": "5", "isblocked": "No",
             "hkstatus": "Dirty", "hkremarks": "", "roomstatus": "Available"},
            {"roomid": 10, "unitid": "78", "roomname": "102", "isblocked": "Yes", "hkstatus": "Clean"},
        ]  # fmt: skip
        return {"roomlist": rooms, "checkinguestlist": []}

    hotel = Hotel(answer)
    told = await hotel.adapter.rooms()
    assert [(each.external_id, each.name, each.housekeeping) for each in told.rooms] == [
        ("9", "101", Housekeeping.DIRTY),
        ("10", "102", Housekeeping.OUT_OF_SERVICE),
    ]
    await hotel.adapter.set_room_status("9", Housekeeping.CLEAN)
    asked = hotel.partner.asked[-1][1]
    assert (asked["authcode"], asked["hotel_code"]) == ("A", "H")
    [told_of] = asked["updatehkdata"]
    assert (told_of["roomid"], told_of["unitid"], told_of["hkstatus"]) == ("9", "77", "Clean")


async def test_a_house_without_an_address_for_its_housekeeping_lists_its_rooms_at_the_other_one() -> None:
    def answer(path: str, told: Mapping[str, Any]) -> Json | httpx.Response:
        if path != wire.ADDRESS.lstrip("/"):
            return httpx.Response(404, text="<html>")
        assert told["RES_Request"]["Request_Type"] == "RoomList"
        return {"RoomList": [{"RoomID": "9", "RoomName": "101", "hkstatus": "CLEAN", "isblocked": False}]} | OK

    [room] = (await Hotel(answer).adapter.rooms()).rooms
    assert (room.external_id, room.name, room.housekeeping) == ("9", "101", Housekeeping.CLEAN)


async def test_a_housekeeping_that_is_refused_says_why() -> None:
    for said, word in (
        ({"errorcode": "1", "message": "Auth Code is inactive."}, "inactive"),
        ({"status": "1", "warning": "This request will not be process as hotel_code is invalid."}, "invalid"),
        ({"Errors": {"ErrorCode": "103", "ErrorMessage": "Room ID is missing"}}, "Room ID"),
    ):
        with pytest.raises(PmsRefusedError, match=word):
            await Hotel(said).adapter.set_room_status("9", Housekeeping.CLEAN)


async def test_a_room_of_which_no_condition_is_told_is_a_room_and_an_id_may_be_long() -> None:
    rooms = [
        {"roomid": 6076500000000000001, "roomname": "101", "hkstatus": ""},
        {"roomid": "8", "roomname": "102", "hkstatus": None},
        {"roomid": "7", "roomname": "103", "hkstatus": "Touch up"},
    ]
    told = await Hotel({"roomlist": rooms}).adapter.rooms()
    assert [(each.external_id, each.housekeeping) for each in told.rooms] == [
        ("6076500000000000001", None),
        ("8", None),
        ("7", None),
    ]
    assert [(each.external_id, each.held_back) for each in told.errors] == [("7", False)]


def night(day: str, room: str | None, adults: object = "2") -> Json:
    return {"EffectiveDate": day, "RoomName": room, "Adult": adults, "Child": "1"}


async def test_a_room_that_a_list_tells_by_its_name_is_the_room_of_that_name_tonight() -> None:
    """As ArrivalList and Bookings are documented: no RoomID, and a RoomName under each night."""
    moving = [night("2026-11-17", "101"), night("2026-11-18", "102", "3"), night("2026-11-19", "101")]
    trans = [
        tran("70-1", RoomID=None, RoomName=None, RentalInfo=moving, Start="2026-11-17", End="2026-11-20"),
        tran("70-2", RoomID=None, RoomName=None, RentalInfo=[night("2026-11-18", ""), "nonsense"]),
        tran("70-3", RoomID=None, RoomName=None, RentalInfo={"EffectiveDate": "2026-11-18", "RoomName": "999"}),
        tran("70-4", RoomID=None, RoomName=None, RentalInfo=[night("2026-11-18", "101", "many")]),
    ]

    def answer(path: str, told: Mapping[str, Any]) -> Json:
        rooms = [{"roomid": str(number + 8), "roomname": f"10{number}", "roomtypeid": "5"} for number in (1, 2)]
        return {"roomlist": rooms} if "RES_Request" not in told else listed(*trans)

    hotel = Hotel(answer)
    await hotel.adapter.rooms()
    found, problems = await hotel.changed()
    assert problems == []
    assert {name: each.room_external_id for name, each in found.items()} == {
        "70-1": "10",
        "70-2": None,
        "70-3": "999",
        "70-4": None,
    }, "a name that no room has is told as it is; a night that cannot be read is none"
    assert (found["70-1"].adults, found["70-1"].children) == (3, 1)


async def test_lists_are_asked_for_as_they_are_documented() -> None:
    hotel = Hotel({"Errors": {"ErrorCode": "503", "ErrorMessage": "No Data Found."}})
    assert await all_of(hotel.adapter.colliding(NOW_MS, NOW_MS + DAY_MS)) == ({}, [])
    asked = [each[1]["RES_Request"] for each in hotel.partner.asked]
    assert {each["Request_Type"] for each in asked} == {"ArrivalList"}
    spans = [(each["Date"]["from_date"], each["Date"]["to_date"]) for each in asked]
    assert all((date.fromisoformat(until) - date.fromisoformat(since)).days <= 28 for since, until in spans)
    assert all(until >= since for (_, until), (since, _) in pairwise(spans)), "no day between two of them"
    assert await hotel.adapter.get(["70-1"]) == Page(())
    last = hotel.partner.asked[-1][1]["RES_Request"]
    assert (last["Request_Type"], last["BookingId"]) == ("FetchSingleBooking", "70")


async def test_what_is_new_is_told_until_it_was_confirmed_and_what_was_cancelled_too() -> None:
    told: list[Mapping[str, Any]] = []

    def answer(path: str, body: Mapping[str, Any]) -> Json:
        asked = body["RES_Request"]
        if asked["Request_Type"] == "BookingRecdNotification":
            told.append(asked["Bookings"])
            return {"Success": {"SuccessMsg": "2 booking(s) updated"}} | OK
        if told:
            return {"Reservations": "No Reservation Found"}
        return {"Reservations": {"Reservation": [{"UniqueID": "70"}], "CancelReservation": [{"UniqueID": "71-2"}]}}

    hotel = Hotel(answer)
    hints = [Hint("reservation", "70"), Hint("reservation", "71")]
    assert await hotel.adapter.pending() == await hotel.adapter.pending() == hints
    await hotel.adapter.received()
    assert told == [{"Booking": [{"BookingId": each, "PMS_BookingId": each} for each in ("70", "71-2")]}]
    assert await hotel.adapter.pending() == []
    await hotel.adapter.received()
    assert len(told) == 1


@pytest.mark.parametrize(
    "refusal",
    [
        {"Errors": {"ErrorCode": "502", "ErrorMessage": "Request Type is missing"}},
        {"Errors": {"ErrorCode": "201", "ErrorMessage": "Unauthorized request.(Request Type) request is not valid"}},
    ],
)
async def test_a_house_that_knows_none_of_these_names_is_asked_by_the_older_one(refusal: Json) -> None:
    def answer(path: str, body: Mapping[str, Any]) -> Json:
        kind = body["RES_Request"]["Request_Type"]
        return listed(tran()) if kind == "GuestList" else refusal

    for ask in ("list", "one", "queue"):
        hotel = Hotel(answer)
        if ask == "list":
            assert list((await hotel.changed())[0]) == ["70-1"]
        elif ask == "one":
            assert [each.external_id for each in (await hotel.adapter.get(["70-1"])).reservations] == ["70-1"]
        else:
            assert await hotel.adapter.pending() == [Hint("reservation", "70")]
        asked = [each[1]["RES_Request"]["Request_Type"] for each in hotel.partner.asked]
        assert asked[0] != "GuestList"
        assert set(asked[1:]) == {"GuestList"}
        await hotel.adapter.get(["70-1"])
        assert hotel.partner.asked[-1][1]["RES_Request"]["Request_Type"] == "GuestList", "and is not asked twice"


@pytest.mark.parametrize(
    ("said", "error", "word"),
    [
        ({"Error": [{"ErrorCode": 117, "ErrorMessage": "Room is dirty"}]}, PmsRefusedError, "422: 117 Room is dirty"),
        ({"Error": [{"ErrorCode": 302, "ErrorMessage": "Integration is not allowed"}]}, PmsCannotError, "GuestCheckIn"),
        (
            {"Errors": {"ErrorCode": "615", "ErrorMessage": "This request is not valid."}},
            PmsCannotError,
            "no interface",
        ),
        ({"Errors": {"ErrorCode": "301", "ErrorMessage": "Unauthorized Request."}}, PmsRefusedError, "401"),
        (httpx.Response(404, text="<html>"), PmsCannotError, "no interface"),
        (httpx.Response(200, text='{"Success": {"Succ'), PmsFaultError, "GuestCheckIn"),
    ],
)
async def test_a_check_in_at_the_kiosks_address_says_what_came_of_it(
    said: Any, error: type[Exception], word: str
) -> None:
    known = tran(FirstName="Anna", LastName="Berger", Email="a@b.invalid", Address="Ring 1", Phone="1", Mobile="2")

    def answer(path: str, body: Mapping[str, Any]) -> Json | httpx.Response:
        return said if path == wire.KIOSK_ADDRESS.lstrip("/") else listed(known)

    hotel = Hotel(answer)
    with pytest.raises(error, match=word):
        await hotel.adapter.check_in("70-1")
    [asked] = hotel.partner.asked[-1][1]["RES_Request"]["Reservation"]
    assert asked == {"BookingId": "70-1", "GuestName": "Anna Berger", "Email": "a@b.invalid", "Address": "Ring 1",
                     "Phone": "1", "Mobile": "2"}  # fmt: skip


async def test_whom_ezee_does_not_know_well_enough_is_checked_in_by_a_person() -> None:
    hotel = Hotel(listed(tran(FirstName="Anna", LastName="Berger", Email="a@b.invalid")))
    with pytest.raises(PmsCannotError, match="without Address, Phone, Mobile"):
        await hotel.adapter.check_in("70-1")
    assert len(hotel.partner.asked) == 1, "nothing was asked for that would be refused"
