"""Check-in and check-out with no line to anybody: who may, when, what it leaves, and what a retry gets."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edge.checkin.errors import CheckInRefusal, CheckInRefusedError
from edge.stays.document import StayState
from edge.stays.keeper import record_body
from kit.clock import ManualClock
from protocols.device_model.identity import ActorKind, RoomId, StayId
from protocols.errors import InvalidInputError, LinkLostError, ReplyTimeoutError, StoreFailedError
from protocols.link.lanes import Lane
from tests.edge.world import HOUR_MS, PHONE, PHONE_2, T0, Building, a_document, a_stay

ANNA, BEN = StayId("s-anna"), StayId("s-ben")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(wall_ms=T0)


@pytest.fixture
async def building(clock: ManualClock, tmp_path: Path) -> AsyncIterator[Building]:
    building = Building(clock, path=tmp_path / "edge.db")
    await building.house.desired("stays", 1, a_document(a_stay()))
    yield building
    await building.store.close()


def state_of(building: Building, stay: StayId = ANNA) -> StayState | None:
    held = building.house.keeper.replica.get(stay)
    return None if held is None else held.state


def stay_records(building: Building) -> list[tuple[str, str, str]]:
    return [(each.body["stay"], each.body["state"], each.body["by"]) for each in building.log.records(Lane.A, "stay")]


SHARED = {"share": "family"}


async def sharers(building: Building, *, room: str = "101", **bens: Any) -> None:
    await building.house.desired("stays", 2, a_document(a_stay(**SHARED), a_stay("s-ben", room, **SHARED | bens), v=2))


@pytest.mark.guarantee("G3", "G4")
@pytest.mark.requirement("STY-08")
async def test_who_shares_a_room_comes_beside_the_other_and_leaves_without_him(building: Building) -> None:
    await sharers(building)
    anna = await building.house.desk.check_in(ANNA, PHONE, by="kiosk")
    ben = await building.house.desk.check_in(BEN, PHONE_2, by="kiosk")
    assert anna["bundle"]["generation"] == ben["bundle"]["generation"], "nobody's key ends another's"
    assert building.doors.beside == [[], [ANNA]]
    assert (state_of(building), state_of(building, BEN)) == (StayState.IN_HOUSE, StayState.IN_HOUSE)
    await building.house.desk.check_out(ANNA, by="desk")
    assert building.doors.ended == [ANNA]
    assert (state_of(building), state_of(building, BEN)) == (StayState.LEFT, StayState.IN_HOUSE)
    again = await building.house.desk.check_in(BEN, PHONE_2, by="kiosk")
    assert again["bundle"] == ben["bundle"]


async def test_whoever_shares_a_room_is_named_to_the_doors_with_a_key_or_without(building: Building) -> None:
    """Only they know whose key counts: Anna may have none, though her name comes first."""
    stays = [a_stay(stay, **SHARED) for stay in (ANNA, BEN, "s-cleo")]
    await building.house.desired("stays", 2, a_document(*stays, v=2))
    for stay in (ANNA, BEN, StayId("s-cleo")):
        await building.house.desk.check_in(stay, PHONE_2 if stay == BEN else PHONE, by="kiosk")
    assert building.doors.beside == [[], [ANNA], [ANNA, BEN]]


async def test_a_sharer_whose_time_ran_out_is_not_put_out_by_the_other(building: Building, clock: ManualClock) -> None:
    await sharers(building, expected_until_ms=T0 + 72 * HOUR_MS)
    await building.house.desk.check_in(ANNA, PHONE, by="desk")
    clock.advance(30 * HOUR_MS)
    await building.house.desk.check_in(BEN, PHONE_2, by="desk")
    assert (state_of(building), building.doors.ended) == (StayState.IN_HOUSE, [])


@pytest.mark.parametrize("bens", [{"share": "others"}, {"share": msgspec.UNSET}], ids=["another word", "no word"])
async def test_a_stay_of_another_party_is_held_off_by_sharers(building: Building, bens: dict[str, Any]) -> None:
    ben = {key: value for key, value in {**a_stay("s-ben"), **bens}.items() if value is not msgspec.UNSET}
    await building.house.desired("stays", 2, a_document(a_stay(**SHARED), ben, v=2))
    await building.house.desk.check_in(ANNA, PHONE, by="desk")
    with pytest.raises(CheckInRefusedError) as refused:
        await building.house.desk.check_in(BEN, PHONE_2, by="desk")
    assert refused.value.reason is CheckInRefusal.ROOM_TAKEN


async def test_one_word_in_two_rooms_is_two_rooms(building: Building) -> None:
    await sharers(building, room="102")
    await building.house.desk.check_in(ANNA, PHONE, by="desk")
    await building.house.desk.check_in(BEN, PHONE_2, by="desk")
    assert building.doors.beside == [[], []]


async def test_sharers_are_known_again_after_a_restart_with_nobody_to_ask(building: Building) -> None:
    await sharers(building)
    await building.house.desk.check_in(ANNA, PHONE, by="desk")
    await building.restart()
    await building.house.desk.check_in(BEN, PHONE_2, by="desk")
    assert building.doors.beside[-1] == [ANNA]


def room_of(building: Building, stay: StayId = ANNA) -> str | None:
    held = building.house.keeper.replica.get(stay)
    return None if held is None else held.room


@pytest.mark.guarantee("G3", "G11")
async def test_a_guest_in_house_is_moved_once_and_stays_moved(building: Building) -> None:
    before = await building.house.desk.check_in(ANNA, PHONE, by="kiosk")
    answers = [await building.house.desk.move(ANNA, RoomId("102"), PHONE, by="desk") for _ in range(2)]
    assert answers[0] == answers[1]
    assert (answers[0]["room"], answers[0]["bundle"]["room"]) == ("102", "102")
    assert answers[0]["bundle"]["grant"] != before["bundle"]["grant"]
    assert stay_records(building) == [("s-anna", "checked_in", "kiosk"), ("s-anna", "checked_in", "desk")]
    assert [each.room for each in building.house.keeper.in_room(RoomId("101"))] == []
    await building.house.desired("stays", 2, a_document(a_stay(state="in_house", version=2)))
    assert room_of(building) == "102", "a document that still says otherwise"
    await building.restart()
    assert (room_of(building), state_of(building)) == ("102", StayState.IN_HOUSE)
    again = await building.house.desk.check_in(ANNA, PHONE, by="kiosk")
    assert again["room"] == "102"


async def test_the_room_that_a_guest_was_moved_out_of_takes_the_next_one(building: Building) -> None:
    await building.house.desired("stays", 2, a_document(a_stay(), a_stay("s-ben")))
    await building.house.desk.check_in(ANNA, PHONE, by="kiosk")
    with pytest.raises(CheckInRefusedError):
        await building.house.desk.check_in(BEN, PHONE_2, by="kiosk")
    await building.house.desk.move(ANNA, RoomId("102"), PHONE, by="desk")
    assert (await building.house.desk.check_in(BEN, PHONE_2, by="kiosk"))["room"] == "101"
    with pytest.raises(CheckInRefusedError) as back:
        await building.house.desk.move(ANNA, RoomId("101"), PHONE, by="desk")
    assert back.value.reason is CheckInRefusal.ROOM_TAKEN


async def test_a_guest_whom_the_pms_moved_takes_his_keys_along_by_whichever_phone_asks(building: Building) -> None:
    await building.house.desk.check_in(ANNA, PHONE, by="kiosk")
    stay = building.house.keeper.replica.documents[ANNA]
    await building.log.append(
        Lane.A, "stay", record_body(stay, StayState.IN_HOUSE, RoomId("102"), at_ms=T0, by="pms", by_kind=ActorKind.PMS)
    )
    await building.house.catch_up()
    answers = [await building.house.desk.check_in(ANNA, each, by="cloud") for each in (PHONE_2, PHONE)]
    assert [(each["room"], each["bundle"]["room"]) for each in answers] == [("102", "102")] * 2
    assert building.doors.rooms[ANNA] == "102"


async def test_a_move_that_was_cut_off_is_asked_for_again(building: Building) -> None:
    await building.house.desk.check_in(ANNA, PHONE, by="kiosk")
    building.doors.silent = True
    with pytest.raises(ReplyTimeoutError):
        await building.house.desk.move(ANNA, RoomId("102"), PHONE, by="desk")
    assert room_of(building) == "101"
    building.doors.silent = False
    assert (await building.house.desk.move(ANNA, RoomId("102"), PHONE, by="desk"))["room"] == "102"
    assert building.doors.issued == 2


@pytest.mark.parametrize(
    ("room", "reason"), [("102", CheckInRefusal.NOT_IN_HOUSE), ("lobby", CheckInRefusal.NOT_IN_HOUSE)]
)
async def test_nobody_is_moved_who_is_not_in_house(building: Building, room: str, reason: CheckInRefusal) -> None:
    with pytest.raises(CheckInRefusedError) as refused:
        await building.house.desk.move(ANNA, RoomId(room), PHONE, by="desk")
    assert refused.value.reason is reason


async def test_nobody_is_moved_where_no_key_leads_or_out_of_a_room_that_others_have_too(building: Building) -> None:
    await sharers(building)
    await building.house.desk.check_in(ANNA, PHONE, by="desk")
    with pytest.raises(CheckInRefusedError) as nowhere:
        await building.house.desk.move(ANNA, RoomId("lobby"), PHONE, by="desk")
    assert nowhere.value.reason is CheckInRefusal.NO_DOOR
    await building.house.desk.check_in(BEN, PHONE_2, by="desk")
    with pytest.raises(CheckInRefusedError) as shared:
        await building.house.desk.move(ANNA, RoomId("102"), PHONE, by="desk")
    assert shared.value.reason is CheckInRefusal.ROOM_SHARED
    assert len(stay_records(building)) == 2


@pytest.mark.requirement("CHK-01")
@pytest.mark.requirement("CHK-09")
@pytest.mark.requirement("CHK-10")
@pytest.mark.guarantee("G3")
async def test_a_guest_who_is_due_is_checked_in_with_a_grant_for_their_room(building: Building) -> None:
    answer = await building.house.desk.check_in(ANNA, PHONE, by="desk")
    assert (answer["stay"], answer["room"], answer["state"]) == ("s-anna", "101", "in_house")
    assert answer["bundle"]["not_after_ms"] == T0 + 24 * HOUR_MS
    assert state_of(building) is StayState.IN_HOUSE
    assert stay_records(building) == [("s-anna", "checked_in", "desk")]


@pytest.mark.guarantee("G3", "G11")
@pytest.mark.requirement("A15", "CHK-10")
async def test_a_room_behind_another_makers_lock_is_checked_into_and_out_of_with_nobody_to_ask(
    building: Building,
) -> None:
    building.doors.foreign = {"lobby"}  # a room without a door in the site plan
    await building.house.desired("stays", 2, a_document(a_stay(room="lobby"), v=1))
    building.doors.away = True
    with pytest.raises(LinkLostError):
        await building.house.desk.check_in(ANNA, PHONE, by="kiosk")
    assert stay_records(building) == []
    building.doors.away = False
    answers = [await building.house.desk.check_in(ANNA, PHONE, by="kiosk") for _ in range(2)]
    assert answers[0] == answers[1]
    assert answers[0]["room"] == "lobby"
    await building.house.desk.check_out(ANNA, by="kiosk")
    assert building.doors.ended == [ANNA]
    assert [each[1] for each in stay_records(building)] == ["checked_in", "checked_out"]


@pytest.mark.requirement("A8")
async def test_a_stay_that_was_made_longer_asks_the_doors_for_longer_and_is_not_checked_in_again(
    building: Building,
) -> None:
    first = await building.house.desk.check_in(ANNA, PHONE, by="cloud")
    longer = a_stay(expected_until_ms=T0 + 48 * HOUR_MS, version=2)
    await building.house.desired("stays", 2, a_document(longer))
    second = await building.house.desk.check_in(ANNA, PHONE, by="cloud")
    told = [each["bundle"]["not_after_ms"] for each in (first, second)]
    assert told == [T0 + 24 * HOUR_MS, T0 + 48 * HOUR_MS]
    assert first["bundle"]["generation"] == second["bundle"]["generation"], "nobody's key ends by it"
    assert len(stay_records(building)) == 1


async def test_no_record_holds_a_guests_name(building: Building) -> None:
    await building.house.desk.check_in(ANNA, PHONE, by="desk")
    await building.house.desk.check_out(ANNA, by="desk")
    assert b"Muster" not in b"".join(building.log.lanes[Lane.A])


async def test_asking_again_gives_the_same_grant_and_one_record(building: Building) -> None:
    answers = await asyncio.gather(*(building.house.desk.check_in(ANNA, PHONE, by="desk") for _ in range(5)))
    assert len({each["bundle"]["grant"] for each in answers}) == 1
    assert len(stay_records(building)) == 1
    assert building.doors.issued == 1


async def test_another_phone_of_the_stay_joins_without_ending_the_first(building: Building) -> None:
    first = await building.house.desk.check_in(ANNA, PHONE, by="desk")
    second = await building.house.desk.check_in(ANNA, PHONE_2, by="desk")
    assert first["bundle"]["grant"] != second["bundle"]["grant"]
    assert first["bundle"]["generation"] == second["bundle"]["generation"]
    assert len(stay_records(building)) == 1


@pytest.mark.guarantee("G11")
@pytest.mark.parametrize("cut", ["doors away", "answer lost", "disk refuses", "killed"])
async def test_a_check_in_cut_anywhere_is_completed_by_asking_again(building: Building, cut: str) -> None:
    if cut == "doors away":
        building.doors.away = True
        with pytest.raises(LinkLostError):
            await building.house.desk.check_in(ANNA, PHONE, by="desk")
        building.doors.away = False
    elif cut == "answer lost":
        building.doors.silent = True
        with pytest.raises(ReplyTimeoutError):
            await building.house.desk.check_in(ANNA, PHONE, by="desk")
        building.doors.silent = False
    elif cut == "disk refuses":
        building.log.fail = True
        with pytest.raises(StoreFailedError):
            await building.house.desk.check_in(ANNA, PHONE, by="desk")
        building.log.fail = False
    else:
        task = asyncio.create_task(building.house.desk.check_in(ANNA, PHONE, by="desk"))
        while not building.doors.issued:
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await building.restart()
    assert state_of(building) is StayState.READY
    answer = await building.house.desk.check_in(ANNA, PHONE, by="desk")
    assert answer["bundle"]["grant"] == "grant-1"
    assert stay_records(building) == [("s-anna", "checked_in", "desk")]


@pytest.mark.parametrize(
    ("stay", "changes", "reason"),
    [
        ("s-nobody", {}, CheckInRefusal.UNKNOWN_STAY),
        ("s-anna", {"state": "left"}, CheckInRefusal.ENDED),
        ("s-anna", {"state": "void"}, CheckInRefusal.ENDED),
        ("s-anna", {"room": None}, CheckInRefusal.NO_ROOM),
        ("s-anna", {"room": "lobby"}, CheckInRefusal.NO_DOOR),
        ("s-anna", {"expected_from_ms": T0 - 48 * HOUR_MS, "expected_until_ms": T0}, CheckInRefusal.OVER),
        ("s-anna", {"expected_from_ms": T0 + 12 * HOUR_MS}, CheckInRefusal.TOO_EARLY),
    ],
)
async def test_who_may_not_is_refused_with_a_reason_and_nothing_happens(
    building: Building, stay: str, changes: dict[str, Any], reason: CheckInRefusal
) -> None:
    await building.house.desired("stays", 2, a_document(a_stay(**changes)))
    with pytest.raises(CheckInRefusedError) as refused:
        await building.house.desk.check_in(StayId(stay), PHONE, by="desk")
    assert refused.value.reason is reason
    if reason is CheckInRefusal.TOO_EARLY:
        assert refused.value.available_from_ms == T0 + 6 * HOUR_MS
    assert building.doors.issued == 0
    assert stay_records(building) == []


@pytest.mark.guarantee("G19")
@pytest.mark.parametrize("key", ["", "02", "04" + "ab" * 32, "02" + "ab" * 33, "zz" * 33, "02 " + "ab" * 32])
async def test_what_is_no_phone_key_is_refused(building: Building, key: str) -> None:
    with pytest.raises(InvalidInputError, match="phone_public_key"):
        await building.house.desk.check_in(ANNA, key, by="desk")


async def test_two_guests_sold_one_room_are_the_front_desks_to_part(building: Building) -> None:
    await building.house.desired("stays", 2, a_document(a_stay(), a_stay("s-ben", "101")))
    await building.house.desk.check_in(ANNA, PHONE, by="desk")
    with pytest.raises(CheckInRefusedError) as refused:
        await building.house.desk.check_in(BEN, PHONE_2, by="desk")
    assert refused.value.reason is CheckInRefusal.ROOM_TAKEN
    assert state_of(building, ANNA) is StayState.IN_HOUSE


async def test_a_newcomer_supersedes_a_guest_whose_stay_ran_out(building: Building, clock: ManualClock) -> None:
    await building.house.desk.check_in(ANNA, PHONE, by="desk")
    clock.advance(25 * HOUR_MS)
    tomorrow = a_stay("s-ben", "101", expected_from_ms=T0 + 24 * HOUR_MS, expected_until_ms=T0 + 48 * HOUR_MS)
    await building.house.desired("stays", 2, a_document(a_stay(), tomorrow))
    await building.house.desk.check_in(BEN, PHONE_2, by="kiosk")
    assert state_of(building, ANNA) is StayState.LEFT
    assert state_of(building, BEN) is StayState.IN_HOUSE
    assert building.doors.ended == ["s-anna"]
    assert stay_records(building)[-2:] == [
        ("s-anna", "checked_out", "superseded by s-ben"),
        ("s-ben", "checked_in", "kiosk"),
    ]


async def test_check_out_ends_the_stay_here_and_at_the_doors_once(building: Building) -> None:
    await building.house.desk.check_in(ANNA, PHONE, by="desk")
    first = await building.house.desk.check_out(ANNA, by="desk")
    assert first == {"stay": "s-anna", "room": "101", "state": "left", "doors_told": True}
    assert await building.house.desk.check_out(ANNA, by="desk") == first
    assert building.doors.ended == ["s-anna"]
    assert [each[1] for each in stay_records(building)] == ["checked_in", "checked_out"]


async def test_who_is_not_in_house_does_not_check_out(building: Building) -> None:
    with pytest.raises(CheckInRefusedError) as refused:
        await building.house.desk.check_out(ANNA, by="desk")
    assert refused.value.reason is CheckInRefusal.NOT_IN_HOUSE


@pytest.mark.guarantee("G11")
async def test_a_departure_reaches_the_doors_when_they_come_back_even_after_a_restart(building: Building) -> None:
    await building.house.desk.check_in(ANNA, PHONE, by="desk")
    building.doors.away = True
    answer = await building.house.desk.check_out(ANNA, by="desk")
    assert (answer["state"], answer["doors_told"]) == ("left", False)
    await building.restart()
    assert not await building.house.departures.tell_all()
    building.doors.away = False
    assert await building.house.departures.tell_all()
    assert building.doors.ended == ["s-anna"]
    await building.restart()
    building.doors.ended.clear()
    assert await building.house.departures.tell_all()
    assert building.doors.ended == []  # told once, remembered


@pytest.mark.parametrize("said", ["left", "void"])
async def test_a_check_out_in_the_document_ends_the_stay_at_the_doors(building: Building, said: str) -> None:
    await building.house.desired("stays", 2, a_document(a_stay(state=said)))
    assert await building.house.departures.tell_all()
    assert building.doors.ended == ["s-anna"]


async def test_what_nobody_holds_any_more_is_forgotten(building: Building) -> None:
    await building.house.desired("stays", 2, a_document(a_stay(state="left")))
    await building.house.departures.tell_all()
    assert await building.store.ended() == {"s-anna"}
    await building.house.desired("stays", 3, a_document())
    await building.house.departures.tell_all()
    assert await building.store.ended() == frozenset()


@pytest.mark.parametrize("name", ["cloud", "kiosk:lobby", "superseded by s-ben"])
async def test_who_asks_at_the_desk_is_a_person_whatever_the_name(building: Building, name: str) -> None:
    await building.house.desk.check_in(ANNA, PHONE, by=name)
    await building.house.desk.check_out(ANNA, by=name)
    told = [(each.body["by"], each.body["by_kind"]) for each in building.log.records(Lane.A, "stay")]
    assert told == [(name, "desk"), (name, "desk")]


async def test_who_leaves_because_another_comes_leaves_by_nobodys_hand(building: Building, clock: ManualClock) -> None:
    ben = a_stay("s-ben", expected_from_ms=T0 + 20 * HOUR_MS, expected_until_ms=T0 + 90 * HOUR_MS)
    await building.house.desired("stays", 2, a_document(a_stay(), ben, v=2))
    await building.house.desk.check_in(ANNA, PHONE, by="Frau Maier")
    clock.advance(30 * HOUR_MS)
    await building.house.desk.check_in(BEN, PHONE_2, by="kiosk:lobby", by_kind=ActorKind.KIOSK)
    told = [(each.body["stay"], each.body["by_kind"]) for each in building.log.records(Lane.A, "stay")]
    assert told == [("s-anna", "desk"), ("s-anna", "next_guest"), ("s-ben", "kiosk")]
