"""At a kiosk of a house that is cut off a guest's phone takes his key: one phone, one key, whatever ends between."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import closing
from pathlib import Path

import pytest

from edge.app.granting import GrantingDoors
from edge.checkin.errors import CheckInRefusal, CheckInRefusedError
from edge.checkin.kiosk_visits import VISIT_MS, VisitRefusedError
from protocols.device_model.identity import RoomId, StayId
from protocols.door.status import Status
from protocols.errors import InvalidInputError, LinkLostError, StoreFailedError
from protocols.link.lanes import Lane
from protocols.policy import check_in
from tests.edge.checkin.kiosk_lobby import CODE, Lobby
from tests.edge.checkin.test_handover import RealDoors
from tests.edge.checkin.test_kiosk_visits import begun, ready, stands
from tests.edge.doors.building import Building as Doors
from tests.edge.world import HOUR_MS, PHONE, PHONE_2, T0, a_document, a_stay

pytestmark = [pytest.mark.requirement("DEV-12", "ACC-04", "CHK-09"), pytest.mark.guarantee("G3")]
ANNA, ROOMS = StayId("s-anna"), frozenset({RoomId("101"), RoomId("102")})


@pytest.fixture
async def lobby(tmp_path: Path) -> AsyncIterator[Lobby]:
    lobby = Lobby(tmp_path, phones=ROOMS)
    lobby.encoder.rooms.clear()  # our locks take no cards
    await lobby.arrive()
    yield lobby
    await lobby.close()


async def token(lobby: Lobby, visit: str | None = None) -> str:
    return (await lobby.visits.phone_link(visit or ready(lobby)))["token"]


def kinds(lobby: Lobby) -> list[str]:
    return [each["kind"] for each in lobby.records()]


async def test_the_phone_that_comes_with_the_code_has_the_key_and_the_cloud_is_told(lobby: Lobby) -> None:
    visit = ready(lobby)
    mine = await token(lobby, visit)
    assert (kinds(lobby), lobby.stays()) == (["visit"], []), "nobody is in before his phone came"
    told = await lobby.phones.take(ANNA, mine, PHONE)
    assert (told["room"], told["bundle"]["grant"]) == ("101", "grant-1")
    assert lobby.stays() == [("s-anna", "checked_in", "kiosk:lobby")]
    assert [each.body["by_kind"] for each in lobby.building.log.records(Lane.A, "stay")] == ["kiosk"]
    over = lobby.visits.session(visit)
    assert (over["state"], over["next"], set(stands(over).values())) == ("completed", None, {"done"})
    assert await lobby.visits.card(visit) == {"result": True, "room": "101"}, "and there is no card besides"
    came, key = lobby.records()
    assert (came["kind"], key["kind"], key["stay"], key["room"], key["by"]) == (
        "visit", "phone", "s-anna", "101", "kiosk:lobby",
    )  # fmt: skip
    again = await lobby.phones.take(ANNA, mine, PHONE)
    assert (again["bundle"]["grant"], len(lobby.records()), lobby.building.doors.issued) == ("grant-1", 2, 1)
    assert mine not in repr(lobby.records())


async def test_a_card_that_opens_nothing_is_not_given_and_the_phone_is_left(lobby: Lobby) -> None:
    visit = ready(lobby)
    assert lobby.visits.session(visit)["keys"] == ["card", "phone"]
    assert await lobby.visits.card(visit) == {"result": False, "room": None}
    told = lobby.visits.session(visit)
    assert (told["keys"], told["next"]["step"]) == (["phone"], "grant")
    assert (await lobby.phones.take(ANNA, await token(lobby, visit), PHONE))["room"] == "101"


@pytest.mark.guarantee("G8")
async def test_another_phone_another_stay_an_old_code_and_a_late_one_get_nothing(lobby: Lobby) -> None:
    visit = ready(lobby)
    before, mine = await token(lobby, visit), await token(lobby, visit)
    for stay, code in ((ANNA, before), (ANNA, "x"), (ANNA, ""), (StayId("s-ben"), mine)):
        with pytest.raises(VisitRefusedError) as refused:
            await lobby.phones.take(stay, code, PHONE)
        assert refused.value.reason == "no_visit"
    with pytest.raises(InvalidInputError):
        await lobby.phones.take(ANNA, mine, "02" + "zz" * 32)
    lobby.clock.advance(VISIT_MS)
    with pytest.raises(VisitRefusedError, match="begin anew"):
        await lobby.phones.take(ANNA, mine, PHONE)
    assert lobby.stays() == []
    mine = await token(lobby)
    await lobby.phones.take(ANNA, mine, PHONE.upper())
    with pytest.raises(VisitRefusedError) as refused:
        await lobby.phones.take(ANNA, mine, PHONE_2)
    assert refused.value.reason == "link_used"


async def test_steps_that_are_open_and_a_guest_in_house_are_offered_nothing(lobby: Lobby) -> None:
    with pytest.raises(VisitRefusedError, match="not finished"):
        await lobby.visits.phone_link(begun(lobby))
    mine = await token(lobby)
    await lobby.building.house.desk.check_in(ANNA, PHONE_2, by="desk")  # meanwhile, by a clerk
    with pytest.raises(CheckInRefusedError) as refused:
        await lobby.phones.take(ANNA, mine, PHONE)
    assert refused.value.reason is CheckInRefusal.CARD_AT_DESK
    with pytest.raises(VisitRefusedError, match="not finished"):
        await lobby.visits.phone_link(begun(lobby))


async def test_two_who_share_a_room_have_a_key_each(lobby: Lobby) -> None:
    share = {"share": "family", "guest_name": "Anna Berger"}
    ben = a_stay("s-ben", **{**share, "reservation": "N-2"})
    await lobby.building.house.desired("stays", 2, a_document(a_stay(reservation=CODE, **share), ben, v=2))
    lobby.policy = check_in.DEFAULT
    for code, stay, phone in ((CODE, ANNA, PHONE), ("N-2", StayId("s-ben"), PHONE_2)):
        mine = (await lobby.visits.phone_link(begun(lobby, code=code)))["token"]
        assert (await lobby.phones.take(stay, mine, phone))["room"] == "101"
    assert lobby.building.doors.beside == [[], [ANNA]]
    assert [stay for stay, state, _ in lobby.stays() if state == "checked_in"] == ["s-anna", "s-ben"]


@pytest.mark.guarantee("G11")
@pytest.mark.parametrize("trouble", ["doors", "disk"])
async def test_what_fails_takes_nobody_in_and_the_same_phone_asks_again(lobby: Lobby, trouble: str) -> None:
    mine = await token(lobby)
    lobby.building.doors.away, lobby.building.log.fail = trouble == "doors", trouble == "disk"
    with pytest.raises((LinkLostError, StoreFailedError)):
        await lobby.phones.take(ANNA, mine, PHONE)
    assert lobby.stays() == []
    lobby.building.doors.away = lobby.building.log.fail = False
    with pytest.raises(VisitRefusedError):
        await lobby.phones.take(ANNA, mine, PHONE_2)  # the first phone that came is the guest's
    await lobby.phones.take(ANNA, mine, PHONE)
    assert kinds(lobby) == ["visit", "phone"]


@pytest.mark.guarantee("G11", "G13")
async def test_killed_anywhere_the_same_phone_gets_one_key_and_one_record(tmp_path: Path) -> None:
    cuts, seen = 0, set()
    while True:
        (folder := tmp_path / str(cuts)).mkdir()
        lobby = Lobby(folder, phones=ROOMS)
        await lobby.arrive()
        mine = await token(lobby)
        task = asyncio.create_task(lobby.phones.take(ANNA, mine, PHONE))
        for _ in range(cuts):
            await asyncio.sleep(0)
        whole = task.done()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        seen.add(bool(lobby.stays()))
        await lobby.building.restart()
        lobby.begin()
        await lobby.phones.catch_up()
        await lobby.phones.catch_up()
        assert kinds(lobby) in (["visit"], ["visit", "phone"]), f"killed at step {cuts}"
        assert (len(kinds(lobby)) == 2) == bool(lobby.stays()), f"killed at step {cuts}"
        told = await lobby.phones.take(ANNA, mine, PHONE)
        assert told["bundle"]["grant"] == "grant-1", f"killed at step {cuts}"
        assert kinds(lobby) == ["visit", "phone"], f"killed at step {cuts}"
        assert lobby.stays() == [("s-anna", "checked_in", "kiosk:lobby")]
        await lobby.close()
        if whole:
            break
        cuts += 1
    assert cuts > 3
    assert seen == {False, True}


async def first_came_in_vain(lobby: Lobby, code: str) -> None:
    """A phone comes with a code while the doors are away: it is kept, and has no key."""
    lobby.building.doors.away = True
    with pytest.raises(LinkLostError):
        await lobby.phones.take(ANNA, code, PHONE)
    lobby.building.doors.away = False


@pytest.mark.guarantee("G8", "G11")
@pytest.mark.parametrize("by", ["code", "card", "clerk"])
async def test_a_phone_that_came_in_vain_is_not_taken_for_who_came_in_by_the_same_name(lobby: Lobby, by: str) -> None:
    mine = await token(lobby)
    await first_came_in_vain(lobby, mine)
    if by == "code":  # of the same kiosk, for the phone that he borrows
        await lobby.phones.take(ANNA, await token(lobby), PHONE_2)
    elif by == "card":
        lobby.encoder.rooms.add("101")
        assert (await lobby.visits.card(ready(lobby)))["result"] is True
    else:  # whose name is as he typed it
        await lobby.building.house.desk.check_in(ANNA, PHONE_2, by="kiosk:lobby")
    told = [each for each in lobby.records() if each["kind"] == "phone"]
    assert len(told) == (by == "code")
    for _ in range(2):
        with pytest.raises(CheckInRefusedError) as refused:
            await lobby.phones.take(ANNA, mine, PHONE)
        assert refused.value.reason is CheckInRefusal.CARD_AT_DESK
        await lobby.building.restart()
        lobby.begin()
        await lobby.phones.catch_up()
        assert [each for each in lobby.records() if each["kind"] == "phone"] == told, "nobody's key is invented"


@pytest.mark.guarantee("G8", "G11")
async def test_whoever_was_taken_in_while_a_code_waited_for_its_turn_is_not_joined_by_it(lobby: Lobby) -> None:
    desk, mine = lobby.building.house.desk, await token(lobby)
    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks, desk.turn:
        first = tasks.create_task(desk.check_in(ANNA, PHONE_2, by="Frau Maier"))
        while not desk.turn._waiters:
            await asyncio.sleep(0)
        late = tasks.create_task(refusal_of(lobby.phones.take(ANNA, mine, PHONE)))
        while len(desk.turn._waiters) < 2:
            await asyncio.sleep(0)
    assert first.result()["stay"] == ANNA
    assert late.result() is CheckInRefusal.CARD_AT_DESK
    assert "phone" not in kinds(lobby)
    by_desk, _ = await lobby.phones.offer_at_desk(ANNA, by="Frau Maier")
    assert (await lobby.phones.take(ANNA, by_desk, PHONE))["room"] == "101"


async def refusal_of(taken: Awaitable[object]) -> CheckInRefusal:
    with pytest.raises(CheckInRefusedError) as refused:
        await taken
    return refused.value.reason


async def test_which_code_a_stay_came_in_by_is_in_its_record_and_outlives_the_process(lobby: Lobby) -> None:
    await lobby.phones.take(ANNA, await token(lobby), PHONE)
    [came] = lobby.building.log.records(Lane.A, "stay")
    [key] = [each for each in lobby.records() if each["kind"] == "phone"]
    assert came.body["code"] == key["id"]
    for _ in range(2):
        assert lobby.building.house.keeper.replica.decisions[ANNA].code == key["id"]
        await lobby.building.restart()
    await lobby.building.house.desk.check_out(ANNA, by="desk")
    assert "code" not in lobby.building.log.records(Lane.A, "stay")[-1].body


async def test_a_stay_that_was_to_end_before_now_has_no_code_until_it_is_longer(lobby: Lobby) -> None:
    await lobby.building.house.desk.check_in(ANNA, PHONE, by="desk")
    until_ms = lobby.building.house.keeper.replica.documents[ANNA].expected_until_ms
    lobby.clock.advance(until_ms - lobby.clock.wall_ms())
    with pytest.raises(CheckInRefusedError) as refused:
        await lobby.phones.offer_at_desk(ANNA, by="Frau Maier")
    assert refused.value.reason is CheckInRefusal.OVER
    assert lobby.phones._offers == {}
    await lobby.building.house.desk.end_at(ANNA, until_ms + HOUR_MS, by="Frau Maier")
    mine, _ = await lobby.phones.offer_at_desk(ANNA, by="Frau Maier")
    assert (await lobby.phones.take(ANNA, mine, PHONE))["bundle"]["not_after_ms"] == until_ms + HOUR_MS


@pytest.mark.requirement("STY-08")
async def test_at_the_desk_a_guest_in_house_has_a_code_for_each_phone_and_by_it_the_longer_key(lobby: Lobby) -> None:
    desk = lobby.building.house.desk
    before = await desk.check_in(ANNA, PHONE, by="kiosk:lobby")
    until_ms = T0 + 72 * HOUR_MS
    await desk.end_at(ANNA, until_ms, by="Frau Maier")
    for phone in (PHONE, PHONE_2):
        mine, good_until_ms = await lobby.phones.offer_at_desk(ANNA, by="Frau Maier")
        assert good_until_ms == T0 + VISIT_MS
        told = [await lobby.phones.take(ANNA, mine, phone) for _ in range(2)]
        assert told[0] == told[1]
        assert told[0]["bundle"]["not_after_ms"] == until_ms
        assert told[0]["bundle"]["generation"] == before["bundle"]["generation"]
        with pytest.raises(VisitRefusedError) as refused:
            await lobby.phones.take(ANNA, mine, "02" + "ef" * 32)
        assert refused.value.reason == "link_used"
    assert (kinds(lobby), lobby.stays()) == ([], [("s-anna", "checked_in", "kiosk:lobby")]), "nobody came anew"
    await lobby.building.restart()
    lobby.begin()
    await lobby.phones.catch_up()
    assert kinds(lobby) == []
    assert (await lobby.phones.take(ANNA, mine, PHONE_2))["bundle"]["not_after_ms"] == until_ms
    lobby.clock.advance(VISIT_MS)
    with pytest.raises(VisitRefusedError):
        await lobby.phones.take(ANNA, mine, PHONE_2)


@pytest.mark.guarantee("G11")
@pytest.mark.parametrize("at_desk", [True, False])
async def test_a_new_code_that_could_not_be_kept_costs_nobody_the_one_before(
    lobby: Lobby, monkeypatch: pytest.MonkeyPatch, at_desk: bool
) -> None:
    visit = ready(lobby)

    async def code() -> str:
        return (await lobby.phones.offer_at_desk(ANNA, by="desk"))[0] if at_desk else await token(lobby, visit)

    async def refused(name: str, body: bytes) -> None:
        raise StoreFailedError("the disk refused")

    mine = await code()
    with monkeypatch.context() as full:
        full.setattr(lobby.phones._store, "save_document", refused)
        with pytest.raises(StoreFailedError):
            await code()
    assert len(lobby.phones._offers) == 1
    newer = await code() if at_desk else None
    if newer is not None:
        with pytest.raises(VisitRefusedError, match="not good any more"):
            await lobby.phones.take(ANNA, mine, PHONE)
    assert (await lobby.phones.take(ANNA, newer or mine, PHONE))["room"] == "101"


async def test_a_guest_who_comes_to_the_desk_is_taken_in_by_its_code_and_who_it_was_is_said(lobby: Lobby) -> None:
    mine, _ = await lobby.phones.offer_at_desk(ANNA, by="Frau Maier")
    assert lobby.stays() == [], "nobody is in before his phone came"
    await lobby.phones.take(ANNA, mine, PHONE)
    assert (lobby.stays(), kinds(lobby)) == ([("s-anna", "checked_in", "Frau Maier")], [])


async def test_a_code_of_the_desk_waits_until_a_phone_comes_a_newer_is_made_or_its_time_is_over(lobby: Lobby) -> None:
    def waits() -> bool:
        return lobby.phones.waits_at_desk(ANNA) is not None

    assert not waits()
    before, _ = await lobby.phones.offer_at_desk(ANNA, by="Frau Maier")
    assert waits()
    assert not lobby.phones.waits_at_desk(StayId("s-ben"))
    await lobby.phones.take(ANNA, before, PHONE)
    assert not waits()
    await lobby.phones.offer_at_desk(ANNA, by="Frau Maier")
    lobby.clock.advance(VISIT_MS - 1)
    assert waits(), "for the next phone"
    lobby.clock.advance(1)
    assert not waits()


async def test_codes_of_one_stay_are_told_apart_by_until_when_they_are_good(lobby: Lobby) -> None:
    """Two desks make one each: the one who shows the first learns that it is not his that waits."""
    _, first = await lobby.phones.offer_at_desk(ANNA, by="Frau Maier")
    lobby.clock.advance(1)
    _, second = await lobby.phones.offer_at_desk(ANNA, by="Herr Huber")
    assert lobby.phones.waits_at_desk(ANNA) == second != first


async def test_a_code_of_a_kiosk_ends_the_desks_and_is_none_of_its(lobby: Lobby) -> None:
    visit = ready(lobby)
    mine, _ = await lobby.phones.offer_at_desk(ANNA, by="Frau Maier")
    await token(lobby, visit)
    assert not lobby.phones.waits_at_desk(ANNA)
    with pytest.raises(VisitRefusedError, match="not good any more"):
        await lobby.phones.take(ANNA, mine, PHONE)


async def test_a_stay_that_is_none_is_over_or_has_no_door_of_ours_has_no_code(lobby: Lobby) -> None:
    stays = (a_stay("s-left", "102", state="left"), a_stay("s-none", None), a_stay("s-far", "901"))
    await lobby.building.house.desired("stays", 9, a_document(a_stay(), *stays))
    reasons = {
        "s-nobody": CheckInRefusal.UNKNOWN_STAY,
        "s-left": CheckInRefusal.ENDED,
        "s-none": CheckInRefusal.NO_DOOR,
        "s-far": CheckInRefusal.NO_DOOR,
    }
    for stay, reason in reasons.items():
        with pytest.raises(CheckInRefusedError) as refused:
            await lobby.phones.offer_at_desk(StayId(stay), by="desk")
        assert refused.value.reason is reason
    for by in ("", "pms"):
        with pytest.raises(InvalidInputError):
            await lobby.phones.offer_at_desk(ANNA, by=by)
    assert lobby.phones._offers == {}


async def test_what_is_kept_is_bounded_and_damage_of_it_takes_no_doors(lobby: Lobby) -> None:
    await token(lobby)
    lobby.clock.advance(VISIT_MS)
    await token(lobby)
    assert len(lobby.phones._offers) == 1
    lobby.building.restored.documents["kiosk_phones"] = b"{}"
    lobby.begin()
    await lobby.phones.catch_up()
    assert lobby.phones._offers == {}


@pytest.mark.guarantee("G4")
async def test_the_key_opens_the_guests_door_and_the_earlier_guests_does_no_longer(tmp_path: Path) -> None:
    doors = Doors(tmp_path)
    with closing(doors.store):
        lobby = Lobby(tmp_path, check_in.DEFAULT, phones=ROOMS, clock=doors.clock)
        real, start_ms = RealDoors(doors), doors.clock.wall_ms()
        lobby.building.house.desk._doors = GrantingDoors(real)
        earlier, guest = doors.phone("ben"), doors.phone("anna")
        earlier.check_in("s-before", "101")
        assert earlier.open("door-101").result.status is Status.OPENED
        await lobby.arrive(expected_from_ms=start_ms, expected_until_ms=start_ms + 24 * HOUR_MS)
        mine = await token(lobby, begun(lobby))
        told = await lobby.phones.take(ANNA, mine, guest.public.hex())
        assert told["bundle"] == real.bundles[ANNA].to_document()
        guest.bundle = real.bundles[ANNA]
        assert guest.open("door-101").result.status is Status.OPENED
        assert earlier.open("door-101").result.status is Status.SUPERSEDED
        await lobby.close()
