"""A stay made longer or shorter at the building with nobody to ask (docs/decisions/0143)."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from edge.checkin.errors import CheckInRefusal, CheckInRefusedError
from edge.stays.document import StayState
from edge.stays.keeper import until_body
from edge.stays.replica import Stay
from kit.clock import ManualClock
from protocols.device_model.identity import RoomId, StayId
from protocols.errors import InvalidInputError, LinkLostError, StoreFailedError
from protocols.link.lanes import Lane
from tests.edge.world import HOUR_MS, PHONE, PHONE_2, T0, Building, a_document, a_stay

ANNA, BEN = StayId("s-anna"), StayId("s-ben")
ENDS_MS, LATER_MS = T0 + 24 * HOUR_MS, T0 + 48 * HOUR_MS
pytestmark = [pytest.mark.requirement("STY-08"), pytest.mark.guarantee("G3", "G11")]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(wall_ms=T0)


@pytest.fixture
async def building(clock: ManualClock, tmp_path: Path) -> AsyncIterator[Building]:
    building = Building(clock, path=tmp_path / "edge.db")
    await building.house.desired("stays", 1, a_document(a_stay()))
    yield building
    await building.store.close()


def held(building: Building, stay: StayId = ANNA) -> Stay:
    found = building.house.keeper.replica.get(stay)
    assert found is not None
    return found


def words(building: Building) -> list[dict[str, object]]:
    return [dict(each.body) for each in building.log.records(Lane.A, "stay_until")]


async def test_a_stay_made_longer_is_longer_for_each_phone_by_the_same_generation(
    building: Building, clock: ManualClock
) -> None:
    desk = building.house.desk
    first = await desk.check_in(ANNA, PHONE, by="desk")
    await desk.check_in(ANNA, PHONE_2, by="desk")
    told = await desk.end_at(ANNA, LATER_MS, by="Frau Maier", phone_public_key=PHONE)
    assert (told["state"], told["until_ms"], told["bundle"]["not_after_ms"]) == ("in_house", LATER_MS, LATER_MS)
    assert told["bundle"]["generation"] == first["bundle"]["generation"]
    clock.advance(30 * HOUR_MS)  # beyond the end that it had
    other = await desk.check_in(ANNA, PHONE_2, by="desk")
    assert other["bundle"]["not_after_ms"] == LATER_MS
    assert other["bundle"]["generation"] == first["bundle"]["generation"]
    assert words(building) == [
        {"stay": "s-anna", "until_ms": LATER_MS, "told_ms": ENDS_MS, "n": 1, "by": "Frau Maier", "at_ms": T0}
    ]
    assert held(building).decided_by == "desk", "who took him in is who it was"


async def test_said_again_it_is_said_once_and_without_a_phone_it_needs_no_doors(building: Building) -> None:
    desk = building.house.desk
    await desk.check_in(ANNA, PHONE, by="desk")
    building.doors.away = True
    for _ in range(3):
        told = await desk.end_at(ANNA, LATER_MS, by="desk")
        assert "bundle" not in told
    assert [each["n"] for each in words(building)] == [1]
    with pytest.raises(LinkLostError):
        await desk.end_at(ANNA, LATER_MS + HOUR_MS, by="desk", phone_public_key=PHONE)
    assert [each["n"] for each in words(building)] == [1], "no key, no word"


async def test_an_early_departure_ends_what_is_asked_for_from_then_on(building: Building, clock: ManualClock) -> None:
    desk = building.house.desk
    await desk.check_in(ANNA, PHONE, by="desk")
    await desk.end_at(ANNA, T0 + 6 * HOUR_MS, by="desk")
    again = await desk.check_in(ANNA, PHONE_2, by="desk")
    assert again["bundle"]["not_after_ms"] == T0 + 6 * HOUR_MS
    await building.house.desired("stays", 2, a_document(a_stay(), a_stay("s-ben")))
    clock.advance(7 * HOUR_MS)
    await desk.check_in(BEN, PHONE_2, by="desk")
    assert (held(building).state, building.doors.ended) == (StayState.LEFT, [ANNA]), "overdue, he makes room"


async def test_a_room_that_was_promised_to_somebody_is_not_given_away_and_another_room_is_the_way(
    building: Building,
) -> None:
    desk = building.house.desk
    coming = a_stay("s-ben", expected_from_ms=ENDS_MS, expected_until_ms=LATER_MS)
    await building.house.desired("stays", 2, a_document(a_stay(), coming))
    await desk.check_in(ANNA, PHONE, by="desk")
    with pytest.raises(CheckInRefusedError, match="promised to stay s-ben") as refused:
        await desk.end_at(ANNA, ENDS_MS + 1, by="desk", phone_public_key=PHONE)
    assert (refused.value.reason, words(building)) == (CheckInRefusal.ROOM_TAKEN, [])
    await desk.end_at(ANNA, ENDS_MS - HOUR_MS, by="desk")
    await desk.end_at(ANNA, ENDS_MS, by="desk")
    await desk.move(ANNA, RoomId("102"), PHONE, by="desk")
    told = await desk.end_at(ANNA, LATER_MS, by="desk", phone_public_key=PHONE)
    assert (told["room"], told["bundle"]["room"], told["bundle"]["not_after_ms"]) == ("102", "102", LATER_MS)
    assert [each["n"] for each in words(building)] == [1, 2, 3]


async def test_a_longer_stay_is_not_moved_into_a_room_that_was_promised_before_its_new_end(
    building: Building, clock: ManualClock
) -> None:
    desk = building.house.desk
    coming = a_stay("s-ben", "102", expected_from_ms=ENDS_MS, expected_until_ms=LATER_MS)
    await building.house.desired("stays", 2, a_document(a_stay(), coming))
    await desk.check_in(ANNA, PHONE, by="desk")
    await desk.end_at(ANNA, 2 * LATER_MS - ENDS_MS, by="desk")
    issued = building.doors.issued
    with pytest.raises(CheckInRefusedError, match="promised to stay s-ben") as refused:
        await desk.move(ANNA, RoomId("102"), PHONE, by="desk")
    assert (refused.value.reason, building.doors.issued) == (CheckInRefusal.ROOM_TAKEN, issued)
    assert held(building).room == "101"
    await desk.end_at(ANNA, ENDS_MS, by="desk")
    await desk.move(ANNA, RoomId("102"), PHONE, by="desk")
    assert held(building).room == "102", "gone before the other comes"


async def test_who_did_not_come_keeps_nobody_out_of_the_room_once_his_time_is_over(
    building: Building, clock: ManualClock
) -> None:
    desk = building.house.desk
    never = a_stay("s-ben", "102", expected_until_ms=T0 + HOUR_MS)
    await building.house.desired("stays", 2, a_document(a_stay(), never))
    await desk.check_in(ANNA, PHONE, by="desk")
    with pytest.raises(CheckInRefusedError, match="promised to stay s-ben"):
        await desk.move(ANNA, RoomId("102"), PHONE, by="desk")
    clock.advance(HOUR_MS)
    assert (await desk.move(ANNA, RoomId("102"), PHONE, by="desk"))["room"] == "102"


@pytest.mark.parametrize(
    ("meanwhile", "reason"),
    [
        (
            [a_stay(state="in_house"), a_stay("s-ben", expected_from_ms=ENDS_MS, expected_until_ms=LATER_MS)],
            CheckInRefusal.ROOM_TAKEN,
        ),
        ([a_stay(state="left")], CheckInRefusal.NOT_IN_HOUSE),
        ([a_stay(room="102", state="in_house")], CheckInRefusal.ROOM_TAKEN),
        ([], CheckInRefusal.UNKNOWN_STAY),
    ],
    ids=["promised", "left", "moved", "gone"],
)
async def test_what_a_document_says_while_the_key_is_made_is_looked_at_before_the_word_is_given(
    building: Building, monkeypatch: pytest.MonkeyPatch, meanwhile: list[dict[str, Any]], reason: CheckInRefusal
) -> None:
    await building.house.desired("stays", 2, a_document(a_stay(state="in_house")))  # in house by the document alone
    issue = building.doors.issue

    async def and_a_document_comes(*what: Any, **more: Any) -> Mapping[str, Any]:
        bundle = await issue(*what, **more)
        await building.house.desired("stays", 3, a_document(*meanwhile))
        return bundle

    monkeypatch.setattr(type(building.doors), "issue", staticmethod(and_a_document_comes))
    with pytest.raises(CheckInRefusedError) as refused:
        await building.house.desk.end_at(ANNA, LATER_MS, by="desk", phone_public_key=PHONE)
    assert (refused.value.reason, words(building), building.doors.issued) == (reason, [], 1)


@pytest.mark.parametrize(
    ("meanwhile", "to", "reason"),
    [
        ([a_stay(state="in_house"), a_stay("s-ben", room="102", state="in_house")], "102", CheckInRefusal.ROOM_TAKEN),
        ([a_stay(state="left")], "102", CheckInRefusal.NOT_IN_HOUSE),
        ([a_stay(state="left")], "101", CheckInRefusal.NOT_IN_HOUSE),
        ([a_stay(room="102", state="in_house")], "101", CheckInRefusal.ROOM_TAKEN),
        ([], "102", CheckInRefusal.UNKNOWN_STAY),
    ],
    ids=["taken", "left", "left, his own room", "given another", "gone"],
)
async def test_what_a_document_says_while_the_key_is_made_is_looked_at_before_he_is_moved(
    building: Building,
    monkeypatch: pytest.MonkeyPatch,
    meanwhile: list[dict[str, Any]],
    to: str,
    reason: CheckInRefusal,
) -> None:
    await building.house.desired("stays", 2, a_document(a_stay(state="in_house")))
    issue = building.doors.issue

    async def and_a_document_comes(*what: Any, **more: Any) -> Mapping[str, Any]:
        bundle = await issue(*what, **more)
        await building.house.desired("stays", 3, a_document(*meanwhile))
        return bundle

    monkeypatch.setattr(type(building.doors), "issue", staticmethod(and_a_document_comes))
    before = building.house.keeper.replica.decisions
    with pytest.raises(CheckInRefusedError) as refused:
        await building.house.desk.move(ANNA, RoomId(to), PHONE, by="desk")
    assert (refused.value.reason, building.doors.issued) == (reason, 1)
    assert building.house.keeper.replica.decisions == before


async def test_who_shares_the_room_is_no_stranger_to_it(building: Building) -> None:
    both = [a_stay(share="family"), a_stay("s-ben", share="family", expected_until_ms=LATER_MS)]
    await building.house.desired("stays", 2, a_document(*both, v=2))
    await building.house.desk.check_in(ANNA, PHONE, by="desk")
    assert (await building.house.desk.end_at(ANNA, LATER_MS, by="desk"))["until_ms"] == LATER_MS


@pytest.mark.parametrize("until_ms", [T0, T0 - 1, 0, T0 + 367 * 24 * HOUR_MS])
async def test_an_end_that_is_over_or_too_far_is_refused(building: Building, until_ms: int) -> None:
    await building.house.desk.check_in(ANNA, PHONE, by="desk")
    with pytest.raises(InvalidInputError, match="until_ms"):
        await building.house.desk.end_at(ANNA, until_ms, by="desk")
    assert words(building) == []


@pytest.mark.parametrize("state", ["planned", "ready", "left", "void"])
async def test_only_of_a_guest_in_house_it_is_said_here(building: Building, state: str) -> None:
    await building.house.desired("stays", 2, a_document(a_stay(state=state)))
    with pytest.raises(CheckInRefusedError) as refused:
        await building.house.desk.end_at(ANNA, LATER_MS, by="desk")
    assert refused.value.reason is CheckInRefusal.NOT_IN_HOUSE
    with pytest.raises(CheckInRefusedError):
        await building.house.desk.end_at(StayId("s-nobody"), LATER_MS, by="desk")


async def test_a_guest_who_overstayed_is_made_longer_and_his_phone_opens_again(
    building: Building, clock: ManualClock
) -> None:
    await building.house.desk.check_in(ANNA, PHONE, by="desk")
    clock.advance(25 * HOUR_MS)
    with pytest.raises(CheckInRefusedError):
        await building.house.desk.check_in(ANNA, PHONE, by="desk")
    await building.house.desk.end_at(ANNA, LATER_MS, by="desk")
    assert (await building.house.desk.check_in(ANNA, PHONE, by="desk"))["bundle"]["not_after_ms"] == LATER_MS


async def test_a_full_disk_makes_nothing_longer(building: Building) -> None:
    await building.house.desk.check_in(ANNA, PHONE, by="desk")
    building.log.fail = True
    with pytest.raises(StoreFailedError):
        await building.house.desk.end_at(ANNA, LATER_MS, by="desk")
    assert held(building).expected_until_ms == ENDS_MS
    building.log.fail = False
    await building.house.desk.end_at(ANNA, LATER_MS, by="desk")
    assert [each["n"] for each in words(building)] == [1]


@pytest.mark.parametrize("cut", range(12))
async def test_killed_at_any_moment_it_is_said_or_it_is_not_and_asked_again_it_is(building: Building, cut: int) -> None:
    await building.house.desk.check_in(ANNA, PHONE, by="desk")
    task = asyncio.ensure_future(building.house.desk.end_at(ANNA, LATER_MS, by="desk", phone_public_key=PHONE))
    for _ in range(cut):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await building.restart()
    assert held(building).expected_until_ms == (LATER_MS if words(building) else ENDS_MS)
    await building.house.desk.end_at(ANNA, LATER_MS, by="desk", phone_public_key=PHONE)
    await building.restart()
    assert (held(building).expected_until_ms, held(building).until_by) == (LATER_MS, "desk")
    assert [each["n"] for each in words(building)] == [1]


async def test_it_stands_against_every_document_until_one_says_that_the_cloud_has_heard(building: Building) -> None:
    desk = building.house.desk
    await desk.check_in(ANNA, PHONE, by="desk")
    await desk.end_at(ANNA, LATER_MS, by="desk")
    await building.house.desired("stays", 2, a_document(a_stay(expected_until_ms=ENDS_MS + 1)))
    assert held(building).expected_until_ms == LATER_MS
    await building.restart()
    assert held(building).expected_until_ms == LATER_MS
    settled = a_stay(state="in_house", expected_until_ms=LATER_MS + 1, until_n=1)
    await building.house.desired("stays", 3, a_document(settled, v=3))
    assert (held(building).expected_until_ms, held(building).until_by) == (LATER_MS + 1, None)
    await building.house.desk.end_at(ANNA, LATER_MS, by="desk")
    assert [each["n"] for each in words(building)] == [1, 2]
    assert held(building).expected_until_ms == LATER_MS


async def test_a_lost_store_begins_with_a_number_that_the_cloud_has_not_heard(building: Building) -> None:
    await building.house.desired("stays", 2, a_document(a_stay(state="in_house", until_n=7), v=3))
    await building.house.desk.end_at(ANNA, LATER_MS, by="desk")
    assert [each["n"] for each in words(building)] == [8]
    assert held(building).expected_until_ms == LATER_MS


async def test_a_word_whose_asker_was_gone_before_it_was_durable_takes_no_number_from_the_next(
    building: Building, monkeypatch: pytest.MonkeyPatch
) -> None:
    await building.house.desk.check_in(ANNA, PHONE, by="desk")
    lost = until_body(building.house.keeper.replica.next_until(ANNA, LATER_MS, by="gone", at_ms=T0))
    append = building.log.append

    async def after_the_lost_one(lane: Lane, kind: str, body: Mapping[str, Any]) -> int:
        if kind == "stay_until" and not words(building):
            await append(lane, kind, lost)
        return await append(lane, kind, body)

    monkeypatch.setattr(building.log, "append", after_the_lost_one)
    await building.house.desk.end_at(ANNA, LATER_MS + 1, by="desk")
    assert [(each["n"], each["by"]) for each in words(building)] == [(1, "gone"), (1, "desk"), (2, "desk")]
    assert (held(building).expected_until_ms, held(building).until_by) == (LATER_MS + 1, "desk")


async def test_a_stay_that_a_document_took_away_meanwhile_is_nobodys_to_end(
    building: Building, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not await building.house.stay_ends(StayId("s-nobody"), LATER_MS, by="pms")
    await building.house.desired("stays", 2, a_document(a_stay(state="in_house")))  # in house by the document alone
    catch_up = building.house.catch_up

    async def and_then_gone() -> None:
        await catch_up()
        monkeypatch.undo()
        await building.house.desired("stays", 3, a_document())

    monkeypatch.setattr(building.house, "catch_up", and_then_gone)
    with pytest.raises(CheckInRefusedError) as refused:
        await building.house.desk.end_at(ANNA, LATER_MS, by="desk")
    assert (refused.value.reason, words(building)) == (CheckInRefusal.UNKNOWN_STAY, [])


async def test_two_who_say_it_at_once_say_it_by_two_numbers(building: Building) -> None:
    await building.house.desk.check_in(ANNA, PHONE, by="desk")
    await asyncio.gather(
        building.house.desk.end_at(ANNA, LATER_MS, by="desk"),
        building.house.stay_ends(ANNA, LATER_MS + 1, by="pms"),
    )
    assert [each["n"] for each in words(building)] == [1, 2]
    assert held(building).expected_until_ms == words(building)[-1]["until_ms"]
