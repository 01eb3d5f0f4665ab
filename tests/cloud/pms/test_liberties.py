"""More liberties of partners who have read the same page: fields left out, other page sizes, casings and offsets."""

from collections.abc import Mapping
from typing import Any

import httpx
import pytest

from cloud.pms.cloudbeds import wire as cloudbeds_wire
from cloud.pms.ezee import wire as ezee_wire
from cloud.pms.ezee.adapter import EzeeAdapter
from cloud.pms.ohip.adapter import OhipAdapter
from cloud.pms.port import Hint, PmsRefusedError, PmsReservation
from cloud.pms.reading import decode
from cloud.pms.stayntouch import wire as stayntouch_wire
from cloud.stays.reservation import PmsStatus
from kit.clock import ManualClock
from tests.cloud.houses import DAY_MS, NOW_MS
from tests.cloud.pms.test_other_hands import Json, Partner, all_of, cloudbeds, mews, mews_reservation, sleeping
from tests.cloud.pms.vendors import VIENNA

pytestmark = pytest.mark.requirement("PMS-02")
TODAY, TOMORROW = "2026-11-18", "2026-11-19"


def ohip(answer: Any) -> tuple[OhipAdapter, Partner]:
    clock, partner = ManualClock(wall_ms=NOW_MS), Partner(answer, "/")
    adapter = OhipAdapter(
        httpx.AsyncClient(transport=partner), platform="http://ohip.invalid", client_id="c", client_secret="s",
        app_key="k", enterprise="E", hotel="H", external_system="X", time=VIENNA, clock=clock, sleep=sleeping(clock),
    )  # fmt: skip
    return adapter, partner


def ohip_row(number: int, **more: Any) -> Json:
    return {
        "reservationStatus": "Reserved",
        "roomStay": {"departureDate": TOMORROW, "arrivalDate": TODAY},
        "extra": {"deep": [{"hasMore": None}]},
        "reservationIdList": [{"type": "Confirmation", "id": number}, {"type": "Reservation", "id": f"R{number}"}],
        **more,
    }


async def test_a_mews_list_may_end_with_an_empty_cursor_and_mix_its_offsets() -> None:
    def answer(operation: str, told: Mapping[str, Any]) -> Json:
        rows = [
            mews_reservation(1, ScheduledStartUtc="2026-11-19T14:00:00", ScheduledEndUtc="2026-11-20T10:00:00Z"),
            mews_reservation(2, ScheduledStartUtc="2026-11-19T16:00:00+02:00", UpdatedUtc="2026-11-18T09:00:00-01:00"),
        ]
        return {"Reservations": rows, "Cursor": "", "More": 1}

    adapter, _, _ = mews(answer)
    found, problems = await all_of(adapter.changed(NOW_MS - DAY_MS, NOW_MS))
    assert (sorted(found), problems) == (["r1", "r2"], [])
    assert found["r1"].arrival_ms == found["r2"].arrival_ms
    assert found["r2"].updated_ms - found["r1"].updated_ms == 0


@pytest.mark.parametrize(
    ("body", "hints"),
    [
        ({"event": "api_queue_task/rate_status_changed", "propertyID": 1}, []),
        ({"event": "night_audit/completed", "propertyId_str": "1"}, []),
        ({"event": "doorLockKey/key_requested"}, []),
        ({"event": "reservation/deleted", "ReservationId": 5}, [Hint("reservation", "5")]),
        ({"event": "reservation/notes_changed", "reservationid_STR": "7"}, [Hint("reservation", "7")]),
        ({"event": "reservation/accommodation_changed", "reservationId": 7}, [Hint("reservation", "7")]),
        ({"event": "housekeeping/room_condition_changed", "roomId": "9"}, [Hint("resource", "9")]),
    ],
)  # fmt: skip
def test_every_event_that_cloudbeds_lists_is_heard_whatever_its_casing(body: Json, hints: list[Hint]) -> None:
    assert cloudbeds_wire.hints(httpx.Request("POST", "http://a", json=body).content) == hints


@pytest.mark.parametrize("cap", [7, 40])
@pytest.mark.parametrize("counts", [True, False])
async def test_pages_of_cloudbeds_may_be_smaller_than_what_was_asked_for(cap: int, *, counts: bool) -> None:
    def answer(method: str, told: Mapping[str, Any]) -> Json:
        number, size = int(told["pageNumber"]), min(int(told["pageSize"]), cap)
        rows = [
            {"reservationID": str(each), "status": "confirmed", "startDate": TODAY, "endDate": TOMORROW,
             "dateModified": f"{TODAY} 08:00:00", "rooms": [{"roomID": None, "roomStatus": "not_checked_in"}],
             "subReservationID": str(each)}
            for each in range((number - 1) * size, min(number * size, 130))
        ]  # fmt: skip
        return {"data": rows, "success": True} | ({"total": 130} if counts else {})

    adapter, partner = cloudbeds(answer)
    found, problems = await all_of(adapter.colliding(NOW_MS - DAY_MS, NOW_MS + DAY_MS))
    assert (len(found), problems) == (130, [])
    assert partner.count("getReservations") < 3 * 130 // cap + 4


async def test_a_queue_of_opera_that_is_empty_says_so_as_it_likes() -> None:
    answers: list[Any] = [
        httpx.Response(204),
        httpx.Response(200, json=[]),
        httpx.Response(200, json=[{"moduleName": "RESERVATION", "primaryKey": 12}]),
        httpx.Response(200, json={"businessEvents": []}),
        httpx.Response(200, json={"businessEvents": [{"header": {"moduleName": "Reservation", "primaryKey": "R1"}}]}),
    ]

    def answer(path: str, told: Mapping[str, Any]) -> Json | httpx.Response:
        if path.endswith("tokens"):
            return {"access_token": "t", "expires_in": "3600"}
        said: httpx.Response = answers.pop(0)
        return said

    adapter, _ = ohip(answer)
    told = [await adapter.pending() for _ in range(5)]
    assert told == [[], [], [Hint("reservation", "12")], [], [Hint("reservation", "R1")]]


@pytest.mark.parametrize("cap", [3, 25])
@pytest.mark.parametrize("tells", ["hasMore", "totalResults", "nothing"])
async def test_a_list_of_opera_is_read_to_its_end_whatever_tells_of_it(cap: int, tells: str) -> None:
    def answer(path: str, told: Mapping[str, Any]) -> Json | httpx.Response:
        if path.endswith("tokens"):
            return {"access_token": "t"}
        start, size = int(told["offset"]), min(int(told["limit"]), cap)
        rows = [ohip_row(each) for each in range(start, min(start + size, 60))]
        ends: dict[str, Json] = {"hasMore": {"hasMore": start + size < 60}, "totalResults": {"totalResults": 60}}
        more = ends.get(tells, {})
        return {"reservations": {"reservationInfo": rows, **more}}

    adapter, _ = ohip(answer)
    found, problems = await all_of(adapter.colliding(NOW_MS - DAY_MS, NOW_MS + DAY_MS))
    assert (len(found), problems) == (60, [])
    assert found["R7"].number == "7"
    assert found["R7"].updated_ms == NOW_MS, "nobody said when it changed: it is as it is read now"


@pytest.mark.parametrize(
    ("sub", "named"), [("70-2", "70-2"), ("70", "70"), ("2", "70~2"), (2, "70~2"), ("X9-1", "70~X9-1")]
)
async def test_a_part_of_an_ezee_booking_is_named_by_its_booking_whatever_it_is_called(sub: object, named: str) -> None:
    tran = {"SubBookingId": sub, "TransactionId": "1", "Status": "New", "CurrentStatus": "Confirmed Reservation",
            "RoomTypeID": "5", "RoomID": None, "Start": TODAY, "End": TOMORROW}  # fmt: skip
    asked: list[Json] = []

    def answer(path: str, told: Mapping[str, Any]) -> Json:
        asked.append(dict(told["RES_Request"]))
        return {"Reservations": {"Reservation": {"BookingTran": tran, "BookedBy": "Anna", "UniqueID": 70}}}

    clock, partner = ManualClock(wall_ms=NOW_MS), Partner(answer, "/")
    adapter = EzeeAdapter(
        httpx.AsyncClient(transport=partner), platform="http://ezee.invalid", hotel="H", auth_code="A", time=VIENNA,
        clock=clock, sleep=sleeping(clock),
    )  # fmt: skip
    [found] = (await adapter.get([named])).reservations
    assert (found.external_id, found.number, found.status) == (named, "70", PmsStatus.BOOKED)
    assert found.updated_ms == NOW_MS
    assert asked[0]["BookingId"] == "70"
    assert ezee_wire.parent(named) == "70"


def test_a_stay_of_stayntouch_without_a_time_of_change_is_as_it_is_read() -> None:
    raw = b'{"id": 1, "status": "Checked In", "arrival_date": "2026-11-18", "departure_date": "2026-11-19"}'
    said = decode(raw, stayntouch_wire.Reservation)
    told = stayntouch_wire.reservation(said, VIENNA, now_ms=NOW_MS)
    assert isinstance(told, PmsReservation)
    assert (told.status, told.updated_ms) == (PmsStatus.IN_HOUSE, NOW_MS)


@pytest.mark.parametrize(("status", "name"), [("Reserved", "roomAssignments"), ("InHouse", "rooms/9/roomMoves")])
@pytest.mark.parametrize("deep", [True, False])
async def test_opera_assigns_and_moves_wherever_its_edition_has_it(status: str, name: str, *, deep: bool) -> None:
    def answer(path: str, told: Mapping[str, Any]) -> Json | httpx.Response:
        if path.endswith("tokens"):
            return {"access_token": "t"}
        if path.startswith("rsv/"):
            return {"reservations": {"reservationInfo": [ohip_row(1, reservationStatus=status)]}}
        known = f"fof/v1/hotels/H/reservations/R1/{name}" if deep else f"fof/v1/hotels/H/{name}"
        return httpx.Response(201 if path == known else 404, json={"title": "nothing here"})

    adapter, partner = ohip(answer)
    await adapter.assign_room("R1", "9")
    written = [told for path, told in partner.asked if path.startswith("fof/")]
    assert written[-1]["criteria"]["reservationIdList"] == [{"id": "R1", "type": "Reservation"}]
    assert len(written) == (1 if deep else 2)


async def test_a_refusal_of_a_room_by_opera_is_no_reason_to_ask_elsewhere() -> None:
    def answer(path: str, told: Mapping[str, Any]) -> Json | httpx.Response:
        if path.endswith("tokens"):
            return {"access_token": "t"}
        if path.startswith("rsv/"):
            return {"reservations": {"reservationInfo": [ohip_row(1)]}}
        return httpx.Response(409, json={"detail": "The room is taken."})

    adapter, partner = ohip(answer)
    with pytest.raises(PmsRefusedError, match="taken"):
        await adapter.assign_room("R1", "9")
    assert len([path for path, _ in partner.asked if path.startswith("fof/")]) == 1
