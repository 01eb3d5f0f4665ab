"""StayNTouch as somebody else would write it from the wire's description: what may be empty, doubled, missing."""

from collections.abc import Mapping
from typing import Any

import httpx
import msgspec
import pytest

from cloud.pms.port import Hint, PmsBusyError, PmsCannotError, PmsFaultError, PmsRefusedError
from cloud.pms.stayntouch import wire
from cloud.pms.stayntouch.adapter import StayNTouchAdapter
from cloud.stays.reservation import Housekeeping, PmsStatus
from kit.clock import ManualClock
from protocols.errors import PeerProtocolError
from tests.cloud.houses import DAY_MS, HOUR_MS, NOW_MS
from tests.cloud.pms.test_other_hands import Json, Partner, all_of, sleeping
from tests.cloud.pms.vendors import VIENNA

pytestmark = pytest.mark.requirement("PMS-02")
NIGHT = {"arrival_date": "2026-11-18", "departure_date": "2026-11-19"}


def row(number: int | str, **more: Any) -> Json:
    return {"id": number, "status": "RESERVED", **NIGHT, "updated_time": "2026-11-18 09:00:00", **more}


class Hotel:
    """Its answers by path; a list of answers is given out one after the other."""

    def __init__(self, **answers: Any) -> None:
        self.answers: dict[str, Any] = {each.replace("__", "/"): answer for each, answer in answers.items()}
        self.clock = ManualClock(wall_ms=NOW_MS)
        self.partner = Partner(self.answer, "/connect/")
        self.tokens = 0
        self.adapter = StayNTouchAdapter(
            httpx.AsyncClient(transport=self.partner), platform="http://snt.invalid", auth="http://auth.invalid",
            client_id="c", client_secret="s", hotel="80", time=VIENNA, clock=self.clock, sleep=sleeping(self.clock),
        )  # fmt: skip

    def answer(self, path: str, told: Mapping[str, Any]) -> Json | httpx.Response:
        if path == "/oauth/token":
            self.tokens += 1
            return {"access_token": f"t{self.tokens}", "token_type": "bearer", "expires_in": "7200"}
        said: Any = self.answers.get(path, httpx.Response(404, json={"errors": ["nothing here"]}))
        if callable(said):
            said = said(told)
        if isinstance(said, list):
            said = said.pop(0)
        return said if isinstance(said, httpx.Response) else dict(said)

    async def changed(self) -> tuple[dict[str, Any], list[str]]:
        return await all_of(self.adapter.changed(NOW_MS - DAY_MS, NOW_MS))


@pytest.mark.parametrize(
    ("word", "status"),
    [
        ("Reserved", PmsStatus.BOOKED),
        ("due in", PmsStatus.BOOKED),
        ("DUEOUT", PmsStatus.IN_HOUSE),
        ("Due-Out", PmsStatus.IN_HOUSE),
        ("checkedIn", PmsStatus.IN_HOUSE),
        (" Checked Out ", PmsStatus.LEFT),
        ("no show", PmsStatus.NO_SHOW),
        ("CANCELLED", PmsStatus.CANCELLED),
    ],
)
async def test_a_status_is_read_however_it_is_written(word: str, status: PmsStatus) -> None:
    found, problems = await Hotel(reservations={"results": [row(1, status=word)], "total_count": "1"}).changed()
    assert ([each.status for each in found.values()], problems) == ([status], [])


async def test_fields_that_are_null_empty_or_not_there_cost_nobody_his_stay() -> None:
    empty = {"guests": None, "stay_dates": None, "room": None, "confirmation_number": "", "arrival_time": None}
    rows = [
        row(1, **empty, updated_time=None),
        row(2, guests=[{"id": 7, "first_name": None, "last_name": "", "is_primary": None}], room={"id": 9}),
        row("3", guests=[{"id": "8", "last_name": "Vidal", "is_primary": "true"}], stay_dates=[{"adults": "2"}],
            confirmation_number=555),
    ]  # fmt: skip
    found, problems = await Hotel(reservations={"results": rows, "total_count": None}).changed()
    assert problems == []
    assert [(each.guest_name, each.number, each.adults) for each in found.values()] == [
        (None, None, None),
        (None, None, None),
        ("Vidal", "555", 2),
    ]
    assert (found["1"].updated_ms, found["2"].room_external_id) == (NOW_MS, "9")


@pytest.mark.parametrize(
    ("told", "hours"), [("18:30", 0.0), ("18:30:00", 0.0), (None, -3.5), ("", -3.5), ("6:30 PM", -3.5), ("late", -3.5)]
)
async def test_the_hour_of_arrival_counts_where_it_is_one(told: str | None, hours: float) -> None:
    found, problems = await Hotel(reservations={"results": [row(1, arrival_time=told)], "total_count": 1}).changed()
    expected_ms = VIENNA.arrival_ms("", "2026-11-18", "18:30") + round(hours * HOUR_MS)
    assert (found["1"].arrival_ms, problems) == (expected_ms, [])


@pytest.mark.parametrize("cap", [3, 20, 50])
async def test_a_list_that_moves_while_it_is_read_loses_and_doubles_nobody(cap: int) -> None:
    rows = [row(each) for each in range(120)]

    def listed(told: Mapping[str, Any]) -> Json:
        size, page = min(int(told["per_page"]), cap), int(told["page"])
        answer = {"results": rows[(page - 1) * size : page * size], "total_count": len(rows)}
        if page == 2 and len(rows) == 120:
            del rows[:5]  # five leave the list: what stood behind them moves over the edge of a page
            rows.append(row(500))
        return answer

    found, problems = await Hotel(reservations=listed).changed()
    assert problems == []
    assert {str(each) for each in range(5, 120)} | {"500"} <= found.keys()


async def test_an_id_told_twice_is_one_stay_and_the_newer_word_is_there() -> None:
    rows = [row(1), row(2), row(1, status="CHECKEDIN", updated_time="2026-11-18 10:00:00")]
    hotel = Hotel(reservations={"results": rows, "total_count": 3})
    told = [each async for page in hotel.adapter.changed(NOW_MS - DAY_MS, NOW_MS) for each in page.reservations]
    newest = max((each for each in told if each.external_id == "1"), key=lambda each: each.updated_ms)
    assert {each.external_id for each in told} == {"1", "2"}
    assert newest.status is PmsStatus.IN_HOUSE


async def test_times_without_an_offset_are_the_propertys_and_others_say_where_they_are() -> None:
    rows = [row(1, updated_time="2026-11-18 10:00:00"), row(2, updated_time="2026-11-18T09:00:00Z"),
            row(3, updated_time="2026-11-18T11:00:00.123+02:00")]  # fmt: skip
    found, problems = await Hotel(reservations={"results": rows, "total_count": 3}).changed()
    assert problems == []
    assert len({each.updated_ms // 1_000 for each in found.values()}) == 1


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (httpx.Response(429, headers={"Retry-After": "7"}, text="slow down"), PmsBusyError),
        (httpx.Response(502, text="<html><body>Bad gateway</body></html>"), PmsFaultError),
        (httpx.Response(200, text="<html><body>Sign in</body></html>"), PeerProtocolError),
        (httpx.Response(200, text=""), PeerProtocolError),
        (httpx.Response(200, json=None), PeerProtocolError),
        (httpx.Response(422, json={"errors": ["from_date is wrong"]}), PmsRefusedError),
        (httpx.Response(403, text="<h1>Forbidden</h1>"), PmsRefusedError),
    ],
)
async def test_an_answer_that_is_none_has_its_error_and_none_is_an_empty_list(
    answer: httpx.Response, error: type[Exception]
) -> None:
    with pytest.raises(error):
        await Hotel(reservations=answer).changed()


async def test_a_list_of_nothing_is_empty_however_it_is_written() -> None:
    answers: list[Json] = [{"results": [], "total_count": 0}, {"results": None, "total_count": 0}, {"results": []}]
    for said in answers:
        assert await Hotel(reservations=said).changed() == ({}, [])


async def test_a_token_that_was_taken_back_in_the_middle_of_a_list_costs_nothing() -> None:
    asked: list[str] = []

    def listed(told: Mapping[str, Any]) -> Json | httpx.Response:
        asked.append(told["page"])
        if len(asked) == 2:
            return httpx.Response(401, json={"error": "invalid_token"})
        page, size = int(told["page"]), int(told["per_page"])
        return {"results": [row(each) for each in range((page - 1) * size, min(page * size, 90))], "total_count": 90}

    hotel = Hotel(reservations=listed)
    found, problems = await hotel.changed()
    assert (len(found), problems, hotel.tokens) == (90, [], 2)


async def test_a_folio_is_read_in_every_form_of_money() -> None:
    lines = [
        {"id": 1, "amount": "12.50", "date": "2026-11-18"},
        {"id": 2, "amount": 3, "date": "2026-11-18 10:00:00", "is_credit": None},
        {"id": 3, "amount": "4.5", "date": "2026-11-18 11:00:00", "is_credit": True, "description": None},
        {"id": 4, "amount": -1.25, "date": "2026-11-18T10:30:00Z", "is_credit": True},
        {"id": 5, "amount": "1,234.50", "date": "2026-11-19"},
    ]
    hotel = Hotel(
        reservations__1=row(1, bills=[{"id": 9}]), bills__9__transactions={"results": lines, "total_count": 5}
    )
    told = await hotel.adapter.folio("1")
    assert {each.external_id: each.minor for each in told} == {"1": 1250, "2": 300, "3": -450, "4": -125, "5": 123450}
    assert await Hotel(reservations__1=row(1, bills=None)).adapter.folio("1") == ()


async def test_what_is_written_is_written_where_the_wire_has_it() -> None:
    done = httpx.Response(204)
    hotel = Hotel(
        reservations__1__check_in=httpx.Response(200, text=""), reservations__1__assign_room=done, rooms__9=done,
        reservations__1__check_out=httpx.Response(201, json={"id": 1}),
    )  # fmt: skip
    await hotel.adapter.check_in("1")
    await hotel.adapter.assign_room("1", "9")
    await hotel.adapter.set_room_status("9", Housekeeping.CLEAN)
    await hotel.adapter.check_out("1")
    told = [(path, body) for path, body in hotel.partner.asked if path != "/oauth/token"]
    assert [path for path, _ in told] == [
        "reservations/1/check_in", "reservations/1/assign_room", "rooms/9", "reservations/1/check_out",
    ]  # fmt: skip
    assert (told[1][1]["room_id"], told[2][1]["status"]) == (9, "CLEAN")
    with pytest.raises(PmsCannotError):
        await hotel.adapter.set_room_status("9", Housekeeping.OUT_OF_ORDER)


@pytest.mark.parametrize(
    ("push", "hints"),
    [
        ({"event": "edit_reservation", "data": {"object": "reservation", "id": 7}}, [Hint("reservation", "7")]),
        ({"event": "room_move", "data": {"object": "Reservation", "id": "7"}}, [Hint("reservation", "7")]),
        ({"event": "room_status", "data": {"object": "room", "id": 9, "status": None}}, [Hint("resource", "9")]),
        ({"event": "check_in_failed", "data": {"object": "x", "reservation_id": 7}}, [Hint("reservation", "7")]),
        ({"event": "no_show_reservation", "data": {"id": 7, "hotel_id": 80}}, [Hint("reservation", "7")]),
        ({"event": "room_status", "data": {"id": 9}}, [Hint("resource", "9")]),
        ({"event": "edit_guest", "data": {"object": "guest", "id": 5}}, [Hint("reservation", "customer~5")]),
        ({"event": "end_of_day", "data": {"object": "hotel", "hotel_id": 80}}, []),
        ({"event": "end_of_day", "data": None}, []),
        ({"event": "end_of_day"}, []),
    ],
)
def test_every_event_is_heard_or_passed_over(push: Json, hints: list[Hint]) -> None:
    assert wire.hints(msgspec.json.encode({"object": "event", "id": "e1", "created_at": "2026-11-18", **push})) == hints


async def test_a_room_whose_condition_nobody_knows_is_a_room() -> None:
    rooms = [{"id": 1, "number": "101", "status": None, "service_status": None},
             {"id": 2, "number": 102, "status": "MAINT"},
             {"id": 3, "number": "103", "status": "CLEAN", "service_status": "OUT-OF-ORDER"}]  # fmt: skip
    told = await Hotel(rooms={"results": rooms, "total_count": 3}).adapter.rooms()
    assert [(each.name, each.housekeeping) for each in told.rooms] == [
        ("101", None),
        ("102", None),
        ("103", Housekeeping.OUT_OF_ORDER),
    ]
    assert [(each.external_id, each.held_back) for each in told.errors] == [("1", False), ("2", False)]


@pytest.mark.parametrize("status", [404, 405])
async def test_a_check_out_that_is_not_offered_is_a_persons_to_do(status: int) -> None:
    hotel = Hotel(reservations__1__check_out=httpx.Response(status, text="<html>"))
    with pytest.raises(PmsCannotError, match="check-out"):
        await hotel.adapter.check_out("1")
    with pytest.raises(PmsRefusedError, match="404"):
        await hotel.adapter.check_in("1")
