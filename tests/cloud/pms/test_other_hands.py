"""Adapters against partners written by somebody else, from the wire's description alone, who take their liberties:
empty fields, counts as text or not at all, refusals in the middle of a list, lists that move under their reader.
"""

import json
from collections.abc import Awaitable, Callable, Mapping
from itertools import pairwise
from typing import Any
from urllib.parse import parse_qsl

import httpx
import msgspec
import pytest

from cloud.pms.cloudbeds.adapter import CloudbedsAdapter
from cloud.pms.mews.adapter import MewsAdapter
from cloud.pms.port import Page, PmsBusyError, PmsFaultError, PmsReservation, PmsUnreadError
from cloud.pms.stayntouch.adapter import StayNTouchAdapter
from cloud.stays.reservation import Housekeeping, PmsStatus
from kit.clock import ManualClock
from protocols.errors import PeerProtocolError
from tests.cloud.houses import DAY_MS, NOW_MS
from tests.cloud.pms.vendors import VIENNA

pytestmark = pytest.mark.requirement("PMS-02")
Json = dict[str, Any]
Asked = Callable[[str, Mapping[str, Any]], Json | httpx.Response]


class Partner(httpx.AsyncBaseTransport):
    """Answers by a function of (operation, what was asked), and counts."""

    def __init__(self, answer: Asked, prefix: str) -> None:
        self.answer, self.prefix = answer, prefix
        self.asked: list[tuple[str, Mapping[str, Any]]] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        operation = request.url.path.removeprefix(self.prefix)
        content = await request.aread()
        if content[:1] == b"{":
            told = json.loads(content)
        else:
            told = dict(parse_qsl((content or request.url.query).decode(), keep_blank_values=True))
        self.asked.append((operation, told))
        said = self.answer(operation, told)
        return said if isinstance(said, httpx.Response) else httpx.Response(200, json=said)

    def count(self, operation: str) -> int:
        return sum(each == operation for each, _ in self.asked)


def sleeping(clock: ManualClock) -> Callable[[float], Awaitable[None]]:
    async def sleep(seconds: float) -> None:
        clock.advance(round(seconds * 1_000))

    return sleep


def mews(answer: Asked) -> tuple[MewsAdapter, Partner, ManualClock]:
    clock, partner = ManualClock(wall_ms=NOW_MS), Partner(answer, "/api/connector/v1/")
    adapter = MewsAdapter(
        httpx.AsyncClient(transport=partner),
        platform="http://mews.invalid",
        client_token="c",
        access_token="a",
        clock=clock,
        sleep=sleeping(clock),
    )
    return adapter, partner, clock


def cloudbeds(answer: Asked, clock: ManualClock | None = None) -> tuple[CloudbedsAdapter, Partner]:
    clock, partner = clock or ManualClock(wall_ms=NOW_MS), Partner(answer, "/api/v1.3/")
    adapter = CloudbedsAdapter(
        httpx.AsyncClient(transport=partner),
        platform="http://cloudbeds.invalid",
        api_key="a",
        time=VIENNA,
        clock=clock,
        callback="https://cloud.invalid/hook",
        sleep=sleeping(clock),
    )
    return adapter, partner


async def all_of(pages: Any) -> tuple[dict[str, PmsReservation], list[str]]:
    found: dict[str, PmsReservation] = {}
    problems: list[str] = []
    page: Page
    async for page in pages:
        found |= {each.external_id: each for each in page.reservations}
        problems += [each.problem for each in page.errors]
    return found, problems


def mews_reservation(number: int, **fields: object) -> Json:
    return {
        "Id": f"r{number}",
        "State": "Confirmed",
        "AccountId": None,
        "Number": str(number),
        "ScheduledStartUtc": "2026-11-19T14:00:00.1234567Z",
        "ScheduledEndUtc": "2026-11-20T10:00:00Z",
        "UpdatedUtc": "2026-11-18T10:00:00Z",
        "Novelty": [{"a": None}],
        **fields,
    }


def mews_list(told: Mapping[str, Any], total: int, size: int = 10) -> Json:
    """Answer one page of reservations r0 to r(total - 1)."""
    start = int(told["Limitation"].get("Cursor", "0"))
    end = min(start + size, total)
    return {
        "Reservations": [mews_reservation(each) for each in range(start, end)],
        "Cursor": str(end) if end < total else None,
    }


async def test_a_field_that_is_null_where_a_list_stands_costs_nothing() -> None:
    adapter, _, _ = mews(
        lambda _o, _t: {"Reservations": [mews_reservation(1, PersonCounts=None, Number=None)], "Cursor": None}
    )
    found, problems = await all_of(adapter.colliding(NOW_MS, NOW_MS + DAY_MS))
    assert ([*found], problems) == (["r1"], [])
    assert (found["r1"].adults, found["r1"].number) == (None, None)


@pytest.mark.parametrize("status", [429, 503, 408])
async def test_a_refusal_in_the_middle_of_a_list_is_waited_out_and_the_list_is_whole(status: int) -> None:
    clocks: list[ManualClock] = []
    refused: list[int] = []

    def answer(_operation: str, told: Mapping[str, Any]) -> Json | httpx.Response:
        if told["Limitation"].get("Cursor") == "50" and len(refused) < 3:
            refused.append(clocks[0].now_ms())
            return httpx.Response(status, headers={"Retry-After": "7"})
        return mews_list(told, 100)

    adapter, partner, clock = mews(answer)
    clocks.append(clock)
    found, problems = await all_of(adapter.colliding(NOW_MS, NOW_MS + DAY_MS))
    assert (len(found), problems) == (100, [])
    assert len(partner.asked) == 13, "ten pages, and the sixth three times more"
    if status == 429:
        assert all(b - a >= 7_000 for a, b in pairwise(refused)), "as long as it asked for"


async def test_who_asks_for_more_patience_than_a_list_has_or_never_answers_is_left() -> None:
    def answer(_operation: str, told: Mapping[str, Any]) -> Json | httpx.Response:
        if told["Limitation"].get("Cursor") == "50":
            return httpx.Response(429, headers={"Retry-After": "240"})
        return mews_list(told, 100)

    adapter, partner, _ = mews(answer)
    with pytest.raises(PmsBusyError, match="240000 ms"):
        await all_of(adapter.colliding(NOW_MS, NOW_MS + DAY_MS))
    assert len(partner.asked) == 6

    def broken(_operation: str, told: Mapping[str, Any]) -> Json | httpx.Response:
        return httpx.Response(502) if "Cursor" in told["Limitation"] else mews_list(told, 100)

    adapter, partner, _ = mews(broken)
    with pytest.raises(PmsFaultError, match="502"):
        await all_of(adapter.colliding(NOW_MS, NOW_MS + DAY_MS))
    assert len(partner.asked) == 7, "the first page, and six times the second"


async def test_writes_are_asked_once_answered_204_and_change_no_price() -> None:
    adapter, partner, _ = mews(lambda _o, _t: httpx.Response(204))
    await adapter.assign_room("r1", "room")
    await adapter.check_in("r1")
    await adapter.check_out("r1")
    await adapter.set_room_status("room", Housekeeping.CLEAN)
    assert len(partner.asked) == 4
    assert partner.asked[0][1]["Reprice"] is False
    adapter, partner, _ = mews(lambda _o, _t: httpx.Response(503))
    with pytest.raises(PmsFaultError):
        await adapter.check_in("r1")
    assert len(partner.asked) == 1


def test_an_event_that_names_nothing_costs_no_other_event_its_hint() -> None:
    adapter, _, _ = mews(lambda _o, _t: {})
    good = {"Discriminator": "ServiceOrderUpdated", "Value": {"Id": "r1", "More": 1}}
    bad = {"Discriminator": "ServiceOrderUpdated", "Value": None}
    assert [each.external_id for each in adapter.hints(msgspec.json.encode({"Events": [bad, good]}))] == ["r1"]
    with pytest.raises(PeerProtocolError, match=r"Events\[0\]"):
        adapter.hints(msgspec.json.encode({"Events": [bad]}))


def test_a_blocked_room_is_a_reason_to_read_the_rooms() -> None:
    adapter, _, _ = mews(lambda _o, _t: {})
    block = {"Discriminator": "ResourceBlockUpdated", "Value": {"Id": "block-1"}}
    assert [each.kind for each in adapter.hints(msgspec.json.encode({"Events": [block]}))] == ["resource"]


class Beds:
    """A Cloudbeds of five families of three rooms or of many single rooms."""

    def __init__(self, reservations: int, *, subs: Callable[[str], list[str]] | None = None) -> None:
        self.subs, self.total, self.moved = subs, True, False
        self.rooms: dict[str, list[Json]] = {}
        self.order = [str(7_000 + each) for each in range(reservations)]
        for each in self.order:
            names = [each] if subs is None else subs(each)
            self.rooms[each] = [
                {"subReservationID": sub, "roomID": "" if n == 2 else f"{each}-{n}", "roomStatus": "not_checked_in"}
                for n, sub in enumerate(names)
            ]

    def row(self, named: str, *, whole: bool) -> Json:
        rooms = self.rooms[named]
        told: Json = {
            "reservationID": named,
            "status": "confirmed",
            "startDate": "2026-11-18",
            "endDate": "2026-11-20",
            "dateModified": "2026-11-18 10:00:00",
            "guestName": "Ünal",
            "adults": "2",
            "children": None,
        }
        if whole:
            return {**told, "assigned": [each for each in rooms if each["roomID"]] or None,
                    "unassigned": [each for each in rooms if not each["roomID"]] or None}  # fmt: skip
        if len(rooms) == 1:
            told["subReservationID"] = rooms[0]["subReservationID"]
        bare = [{name: value for name, value in each.items() if name != "subReservationID"} for each in rooms]
        return {**told, "rooms": bare}

    def answer(self, method: str, told: Mapping[str, Any]) -> Json | httpx.Response:
        match method:
            case "getReservations":
                number, size = int(told["pageNumber"]), int(told["pageSize"])
                rows = [self.row(each, whole=False) for each in self.order[(number - 1) * size : number * size]]
                if self.moved and number == 1:  # the newest change goes to the end of the list
                    self.order = self.order[3:] + self.order[:3]
                    self.moved = False
                count = {"count": len(rows), **({"total": str(len(self.order))} if self.total else {})}
                return {"success": True, "data": rows, **count}
            case "getReservation":
                named = told["reservationID"]
                if named not in self.rooms:
                    return {"success": False, "message": "Reservation not found"}
                return {"success": True, "data": self.row(named, whole=True)}
            case "getRooms":
                room = {"roomID": "1", "roomName": "101", "roomBlocked": None}
                return {"success": True, "data": [{"propertyID": "1", "rooms": [room]}], "total": "1"}
            case "getHousekeepingStatus":
                state = {"roomID": 1, "roomCondition": "clean", "vacantPickup": None}
                return {"success": True, "data": [state], "total": 1}
            case "postRoomCheckIn" | "postRoomAssign":
                part = next(
                    (each for each in self.rooms.get(told["reservationID"], ())
                     if each["subReservationID"] == told["subReservationID"]), None
                )  # fmt: skip
                if part is None:
                    return {"success": False, "message": "no such part"}
                part |= {"roomStatus": "in_house"} if method == "postRoomCheckIn" else {"roomID": told["newRoomID"]}
                return {"success": True}
        return {"success": False, "message": "no such method"}


async def everything(beds: Beds) -> tuple[dict[str, PmsReservation], list[str], Partner]:
    adapter, partner = cloudbeds(beds.answer)
    return *await all_of(adapter.colliding(NOW_MS - DAY_MS, NOW_MS + DAY_MS)), partner


async def test_a_list_without_a_count_is_read_to_its_end() -> None:
    beds = Beds(250)
    beds.total = False
    found, problems, partner = await everything(beds)
    assert (len(found), problems, partner.count("getReservations")) == (250, [], 5)


async def test_a_list_that_moved_under_its_reader_is_whole() -> None:
    beds = Beds(250)
    beds.moved = True
    found, problems, partner = await everything(beds)
    assert (len(found), problems, partner.count("getReservations")) == (250, [], 4)
    _, _, partner = await everything(beds)
    assert partner.count("getReservations") == 4, "one that stands still costs its first page again"


async def test_changes_are_asked_for_without_an_end() -> None:
    adapter, partner = cloudbeds(Beds(1).answer)
    await all_of(adapter.changed(NOW_MS - DAY_MS, NOW_MS))
    assert "modifiedFrom" in partner.asked[0][1]
    assert "modifiedTo" not in partner.asked[0][1]


async def test_rooms_with_empty_flags_are_rooms() -> None:
    adapter, _ = cloudbeds(Beds(1).answer)
    rooms = await adapter.rooms()
    assert [(each.name, each.housekeeping) for each in rooms.rooms] == [("101", Housekeeping.CLEAN)]
    assert rooms.errors == ()


@pytest.mark.parametrize(
    "subs",
    [
        lambda named: [named, f"{named}-1", f"{named}-2"],
        lambda named: [f"{named}-1", f"{named}-2", f"{named}-3"],
        lambda named: [f"SUB-{named}-A", f"SUB-{named}-B", f"SUB-{named}-C"],
    ],
)
@pytest.mark.guarantee("G19")
async def test_a_family_is_one_reservation_a_room_however_its_parts_are_called(
    subs: Callable[[str], list[str]],
) -> None:
    beds, clock = Beds(5, subs=subs), ManualClock(wall_ms=NOW_MS)
    adapter, partner = cloudbeds(beds.answer, clock)
    found, problems = await all_of(adapter.colliding(NOW_MS - DAY_MS, NOW_MS + DAY_MS))
    assert (len(found), problems) == (15, [])
    second = next(key for key, each in found.items() if each.room_external_id == "7003-1")
    third = next(key for key, each in found.items() if each.number == "7003" and each.room_external_id is None)
    for write in (adapter.check_in(second), adapter.assign_room(third, "7009-0")):
        clock.advance(1_000)
        await write
    clock.advance(1_000)
    page = await adapter.get([second, third])
    told = {each.external_id: (each.status, each.room_external_id) for each in page.reservations}
    assert told[second] == (PmsStatus.IN_HOUSE, "7003-1")
    assert told[third] == (PmsStatus.BOOKED, "7009-0"), "and nobody reads its room as missing, now that all have one"
    assert partner.count("getReservation") >= 3


async def test_ids_that_end_like_a_part_of_another_are_ids_of_their_own() -> None:
    beds = Beds(0)
    beds.rooms["R-12"] = [{"subReservationID": "R-12", "roomID": "1", "roomStatus": "not_checked_in"}]
    adapter, _ = cloudbeds(beds.answer)
    assert [each.external_id for each in (await adapter.get(["R-12"])).reservations] == ["R-12"]


async def test_rooms_that_nobody_can_tell_apart_are_told_of_not_thrown_together() -> None:
    beds = Beds(1, subs=lambda named: [named, named])
    for each in beds.rooms["7000"]:
        del each["subReservationID"]
    found, problems, _ = await everything(beds)
    assert found == {}
    assert problems == ["has 2 rooms, and subReservationID does not say which is which"]


async def test_a_write_to_what_cannot_be_read_says_what_could_not() -> None:
    beds = Beds(1)
    beds.rooms["7000"][0]["roomStatus"] = "haunted"
    adapter, _ = cloudbeds(beds.answer)
    with pytest.raises(PmsUnreadError, match="haunted"):
        await adapter.check_in("7000")


async def test_a_subscription_that_may_have_been_made_is_not_made_twice() -> None:
    def answer(method: str, told: Mapping[str, Any]) -> Json | httpx.Response:
        if method == "getWebhooks":
            return {"success": True, "data": [], "total": 0}
        return httpx.Response(504)

    adapter, partner = cloudbeds(answer)
    with pytest.raises(PmsFaultError):
        await adapter.ensure_subscribed()
    assert partner.count("postWebhook") == 1


async def test_a_list_of_stayntouch_without_a_count_is_read_to_its_end() -> None:
    def answer(path: str, told: Mapping[str, Any]) -> Json | httpx.Response:
        if path.endswith("oauth/token"):
            return {"access_token": "t", "expires_in": 3600}
        start, size = (int(told["page"]) - 1) * int(told["per_page"]), int(told["per_page"])
        rows = [{"id": each, "number": str(each), "status": "CLEAN"} for each in range(start, min(start + size, 120))]
        return {"results": rows, "total_count": None}

    clock, partner = ManualClock(wall_ms=NOW_MS), Partner(answer, "/connect/")
    adapter = StayNTouchAdapter(
        httpx.AsyncClient(transport=partner),
        platform="http://stayntouch.invalid",
        auth="http://stayntouch.invalid",
        client_id="c",
        client_secret="s",
        hotel="1",
        time=VIENNA,
        clock=clock,
        sleep=sleeping(clock),
    )
    assert len((await adapter.rooms()).rooms) == 120
