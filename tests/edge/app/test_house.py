"""The house over its log: access events once, whatever is killed; desired documents; live state."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from edge.rooms.modes import Mode
from kit.clock import ManualClock
from protocols.device_model.identity import RoomId, StayId
from protocols.errors import InvalidInputError, StoreFailedError
from protocols.link.lanes import Lane
from tests.edge.world import DOORS_LIFE, PHONE, T0, Building, a_document, a_stay, an_opening, contact

ROOM = RoomId("101")


@pytest.fixture
async def building(tmp_path: Path) -> AsyncIterator[Building]:
    building = Building(ManualClock(wall_ms=T0), path=tmp_path / "edge.db")
    await building.house.desired("stays", 1, a_document(a_stay()))
    await building.house.desk.check_in(StayId("s-anna"), PHONE, by="desk")
    yield building
    await building.store.close()


def openings(building: Building) -> list[tuple[int, str]]:
    return [(each.body["doors_seq"], each.body["lock"]) for each in building.log.records(Lane.A, "access")]


@pytest.mark.guarantee("G11")
async def test_an_event_told_again_after_a_kill_is_one_record(building: Building) -> None:
    for life in range(3):
        for seq in range(1, 6):
            new = await building.house.access_happened(DOORS_LIFE, seq, an_opening(lock_seq=seq), device_at_ms=T0)
            assert new is (life == 0)
        assert await building.house.doors_mark(DOORS_LIFE) == 5
        await building.restart()
    assert [seq for seq, _ in openings(building)] == [1, 2, 3, 4, 5]


async def test_a_new_life_of_the_doors_store_counts_from_one(building: Building) -> None:
    await building.house.access_happened(DOORS_LIFE, 7, an_opening(), device_at_ms=T0)
    assert await building.house.doors_mark(b"another-life") == 0
    assert await building.house.access_happened(b"another-life", 1, an_opening(), device_at_ms=T0)


@pytest.mark.guarantee("G11")
async def test_a_log_begun_anew_does_not_take_the_doors_events_twice(building: Building) -> None:
    await building.house.access_happened(DOORS_LIFE, 7, an_opening(), device_at_ms=T0)
    building.log.incarnation = b"log-begun-anew--"
    building.log.lanes[Lane.A].clear()
    building.log.marks.clear()
    await building.restart()
    assert await building.house.doors_mark(DOORS_LIFE) == 7
    assert building.house.rooms.state(ROOM).mode is Mode.OCCUPIED_COMFORT  # derived state was not lost with it


async def test_an_event_that_the_log_refused_is_not_taken(building: Building) -> None:
    building.log.fail = True
    with pytest.raises(StoreFailedError):
        await building.house.access_happened(DOORS_LIFE, 1, an_opening(), device_at_ms=T0)
    building.log.fail = False
    assert await building.house.doors_mark(DOORS_LIFE) == 0
    assert await building.house.access_happened(DOORS_LIFE, 1, an_opening(), device_at_ms=T0)


async def test_a_store_that_refuses_keeps_the_wake_for_the_next_attempt(
    building: Building, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = building.store.commit

    async def refuse(*_: object) -> None:
        raise StoreFailedError("disk full")

    monkeypatch.setattr(building.store, "commit", refuse)
    with pytest.raises(StoreFailedError):
        await building.house.access_happened(DOORS_LIFE, 1, an_opening(), device_at_ms=T0)
    monkeypatch.setattr(building.store, "commit", commit)
    await building.restart()
    await building.work()
    assert building.light() is True


async def test_records_of_others_are_passed_by(building: Building) -> None:
    await building.log.append(Lane.A, "command", {"id": "c1", "phase": "done", "kind": "check_in"})
    await building.log.append(Lane.A, "grant", {"issued": "x"})
    await building.house.catch_up()
    await building.restart()
    assert building.log.cursors["house", Lane.A] == len(building.log.lanes[Lane.A])


async def test_following_from_many_places_at_once_takes_each_record_once(building: Building) -> None:
    await asyncio.gather(
        *(
            building.house.access_happened(DOORS_LIFE, seq, an_opening(lock_seq=seq), device_at_ms=T0)
            for seq in range(1, 20)
        )
    )
    assert [seq for seq, _ in openings(building)] == sorted({seq for seq, _ in openings(building)})
    assert openings(building)[-1][0] == 19


@pytest.mark.guarantee("G10")
@pytest.mark.parametrize("quality", ["uncertain", "unheard-of", None])
async def test_a_lock_that_lost_its_clock_still_wakes_the_room(building: Building, quality: str | None) -> None:
    await building.opened(at_ms=0, time_quality=quality)
    await building.work()
    assert building.light() is True


async def test_the_live_state_is_every_value_with_its_time(building: Building) -> None:
    await building.heard(contact("101", closed=True), contact("102", closed=False))
    state = {each["device"]: each for each in building.house.live_state()}
    assert (state["contact-101"]["value"], state["contact-102"]["value"]) == (True, False)
    assert state["contact-101"]["at_ms"] == T0


async def test_a_contact_that_repeats_itself_is_one_event(building: Building) -> None:
    for _ in range(5):
        await building.heard(contact("101", closed=True))
    await building.heard(contact("101", closed=False))
    assert [each.body["value"] for each in building.log.records(Lane.B, "reading")] == [True, False]


@pytest.mark.guarantee("G6")
async def test_a_policy_is_in_force_whole_after_a_restart_or_not_at_all(building: Building) -> None:
    import msgspec

    from edge.policy.document import default, encode, parse

    policy = msgspec.structs.replace(default(), version=2, name="winter")
    await building.house.new_policy(encode(policy), "policy.json")
    with pytest.raises(InvalidInputError):
        await building.house.new_policy(encode(default()), "policy.json")
    assert building.house.policy == policy
    await building.restart()
    assert building.restored.policy is not None
    assert parse(building.restored.policy, "edge.db") == policy
