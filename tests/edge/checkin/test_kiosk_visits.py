"""A guest at a kiosk of a house that is cut off: in by the policy's steps, with a key that opens, or at the desk."""

import asyncio
from collections.abc import AsyncIterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from edge.checkin.kiosk_visits import VISIT_MS, Person, UnreadZoneError, VisitRefusedError
from protocols.device_model.command import Outcome, Phase
from protocols.errors import InvalidInputError, StoreFailedError
from protocols.policy import check_in
from protocols.policy.check_in import CheckInPolicy, Deposit, StepKind
from tests.cloud.checkin.zones import passport
from tests.edge.checkin.kiosk_lobby import CODE, LOBBY, Lobby, with_steps
from tests.edge.world import PHONE, T0, a_document, a_stay

ANNA = Person("Berger", "Anna", date(1980, 5, 1), "AUT")


@pytest.fixture
async def lobby(tmp_path: Path) -> AsyncIterator[Lobby]:
    lobby = Lobby(tmp_path)
    await lobby.arrive()
    yield lobby
    await lobby.close()


def begun(lobby: Lobby, code: str = CODE, surname: str = "Berger") -> str:
    return lobby.visits.begin(LOBBY, code=code, surname=surname).id


def ready(lobby: Lobby) -> str:
    visit = begun(lobby)
    lobby.visits.tell(visit, "g1", ANNA)
    lobby.visits.show(visit, "g1", passport())
    return visit


def stands(told: dict[str, Any]) -> dict[str, str]:
    return {each["step"]: each["reason"] or each["state"] for each in told["steps"]}


@pytest.mark.requirement("DEV-12", "ACC-11", "CHK-12")
@pytest.mark.guarantee("G3", "G8")
async def test_an_arrival_of_the_replica_checks_in_with_a_card_and_is_told_the_cloud(lobby: Lobby) -> None:
    visit = begun(lobby, code=f" {CODE.lower()} ", surname="Bergr")
    told = lobby.visits.session(visit)
    assert (told["house"], told["state"], told["next"]["step"]) == ("Hotel Aurora", "open", "identity")
    assert lobby.visits.tell(visit, "g1", ANNA)["next"]["step"] == "document"
    assert lobby.visits.show(visit, "g1", passport())["next"]["step"] == "grant"
    assert await lobby.visits.card(visit) == {"result": True, "room": "101"}
    over = lobby.visits.session(visit)
    assert (over["state"], over["next"], set(stands(over).values())) == ("completed", None, {"done"})
    assert lobby.encoder.written == [("s-anna", "101", "enc-1", False)]
    assert lobby.stays() == [("s-anna", "checked_in", "kiosk:lobby")]
    came, key = lobby.records()
    assert [key[each] for each in ("kind", "phase", "stay", "room", "written")] == [
        "key",
        "done",
        "s-anna",
        "101",
        True,
    ]
    assert {name: came[name] for name in ("kind", "n", "by", "stay", "began_at_ms")} == {
        "kind": "visit", "n": 1, "by": "kiosk:lobby", "stay": "s-anna", "began_at_ms": T0,
    }  # fmt: skip
    assert came["steps"] == [
        {
            "step": "document",
            "subject": "g1",
            "state": "done",
            "at_ms": T0,
            "format": "td3",
            "code": "P",
            "issuing_state": "AUT",
            "expires": "2030-01-01",
            "name": "same",
            "picture_kept": False,
        },
        {"step": "identity", "subject": "g1", "state": "done", "at_ms": T0, "name": "same"},
    ]
    assert await lobby.visits.card(visit) == {"result": True, "room": "101"}, "asked again, it is no second card"
    assert len(lobby.encoder.written) == len(lobby.dispenser.orders) == 1
    for secret in ("Berger", "Anna", "L898902C3", CODE):
        assert secret not in repr(lobby.records())


@pytest.mark.guarantee("G8")
async def test_after_the_line_returns_the_document_of_before_does_not_undo_the_check_in(lobby: Lobby) -> None:
    await lobby.visits.card(ready(lobby))
    await lobby.arrive()
    held = lobby.building.house.keeper.replica.all()
    assert [(each.state, each.decided_by) for each in held] == [("in_house", "kiosk:lobby")]


@pytest.mark.parametrize(("code", "surname"), [("N-4712", "Berger"), (CODE, "Meier"), (CODE, ""), ("", "Berger")])
async def test_who_does_not_know_both_learns_nothing(lobby: Lobby, code: str, surname: str) -> None:
    with pytest.raises(VisitRefusedError) as refused:
        begun(lobby, code, surname)
    assert refused.value.reason == "reservation_not_found"
    assert "Anna" not in str(refused.value)


@pytest.mark.parametrize(
    "changes", [{"guest_name": None}, {"reservation": None}, {"state": "left"}, {"state": "void"}], ids=str
)
async def test_a_stay_that_is_over_or_forgotten_is_not_found(lobby: Lobby, changes: dict[str, Any]) -> None:
    await lobby.arrive(**changes)
    with pytest.raises(VisitRefusedError, match="No booking"):
        begun(lobby)


async def test_while_the_line_is_there_the_house_decides_nothing_of_its_own(lobby: Lobby) -> None:
    lobby.cut_off = False
    with pytest.raises(VisitRefusedError) as refused:
        begun(lobby)
    assert refused.value.reason == "line_is_up"


async def test_trying_codes_is_slowed_down_and_not_for_ever(lobby: Lobby) -> None:
    for _ in range(8):
        with pytest.raises(VisitRefusedError, match="No booking"):
            begun(lobby, surname="Meier")
    with pytest.raises(VisitRefusedError) as refused:
        begun(lobby)
    assert refused.value.reason == "too_many"
    lobby.clock.advance(30_000)
    assert begun(lobby)
    for n in range(30):
        with pytest.raises(VisitRefusedError):
            begun(lobby, code=f"X-{n}")
    with pytest.raises(VisitRefusedError) as refused:
        begun(lobby, code="Y-1")
    assert refused.value.reason == "too_many"


@pytest.mark.parametrize(
    ("policy", "wanting"),
    [
        (with_steps(StepKind.IDENTITY, StepKind.REGISTRATION_CARD), "registration_card"),
        (with_steps(StepKind.TERMS, terms="1"), "terms"),
        (with_steps(StepKind.PAYMENT, deposit=Deposit("EUR", 100)), "payment"),
    ],
    ids=["card", "terms", "deposit"],
)
async def test_what_needs_the_cloud_sends_the_guest_to_the_desk_at_once(
    lobby: Lobby, policy: CheckInPolicy, wanting: str
) -> None:
    lobby.policy = policy
    visit = begun(lobby)
    told = lobby.visits.session(visit)
    assert (stands(told)[wanting], told["next"], told["waits_for"]) == ("offline", None, "staff")
    with pytest.raises(VisitRefusedError, match="not finished"):
        await lobby.visits.card(visit)
    assert not lobby.encoder.written
    assert not lobby.stays()


async def test_a_deposit_that_nobody_asks_for_and_the_policy_that_asks_nothing(lobby: Lobby) -> None:
    lobby.policy = with_steps(StepKind.PAYMENT)
    assert lobby.visits.session(begun(lobby))["next"]["step"] == "grant"
    lobby.policy = check_in.DEFAULT
    assert await lobby.visits.card(begun(lobby)) == {"result": True, "room": "101"}


@pytest.mark.parametrize(
    ("person", "reason"),
    [
        (Person("Berger", "Anne-Marie", date(1980, 5, 1), "AUT"), "name_different"),
        (Person("Bergr", "Anna", date(1980, 5, 1), "AUT"), "name_similar"),
        (Person("Berger", "Anna", date(2015, 5, 1), "AUT"), "minor_alone"),
    ],
    ids=["another", "near", "child"],
)
async def test_who_is_not_the_booked_adult_is_for_staff_and_may_correct_himself(
    lobby: Lobby, person: Person, reason: str
) -> None:
    visit = begun(lobby)
    told = lobby.visits.tell(visit, "g1", person)
    assert (stands(told)["identity"], told["waits_for"]) == (reason, "staff")
    lobby.visits.show(visit, "g1", passport())
    with pytest.raises(VisitRefusedError):
        await lobby.visits.card(visit)
    lobby.visits.tell(visit, "g1", ANNA)
    assert lobby.visits.show(visit, "g1", passport())["next"]["step"] == "grant"


@pytest.mark.parametrize(
    ("zone", "reason"),
    [
        (passport(expiry=date(2025, 12, 31)), "document_expired"),
        (passport(code="V"), "document_not_accepted"),
        (passport(state="UTO"), "specimen"),
        (passport(nationality="DEU"), "nationality_differs"),
        (passport(birth=date(1980, 5, 2)), "birth_date_differs"),
        (passport(given_names="Bertha"), "name_different"),
    ],
    ids=["expired", "visa", "specimen", "nationality", "birth", "name"],
)
async def test_a_document_that_does_not_fit_is_for_staff(lobby: Lobby, zone: str, reason: str) -> None:
    visit = begun(lobby)
    lobby.visits.tell(visit, "g1", ANNA)
    told = lobby.visits.show(visit, "g1", zone)
    assert (stands(told)["document"], told["next"]) == (reason, None)


async def test_a_child_that_gives_no_age_is_known_by_his_document(lobby: Lobby) -> None:
    visit = begun(lobby)
    lobby.visits.tell(visit, "g1", Person("Berger", "Anna"))
    told = lobby.visits.show(visit, "g1", passport(birth=date(2015, 5, 1)))
    assert (stands(told)["identity"], told["next"]) == ("minor_alone", None)


async def test_a_zone_that_does_not_hold_is_told_by_its_places_alone(lobby: Lobby) -> None:
    visit = begun(lobby)
    with pytest.raises(InvalidInputError, match="tell that first"):
        lobby.visits.show(visit, "g1", passport())
    lobby.visits.tell(visit, "g1", ANNA)
    with pytest.raises(UnreadZoneError) as unread:
        lobby.visits.show(visit, "g1", passport().replace("800501", "800502"))
    assert {
        "field": "birth_date",
        "line": 2,
        "first": 14,
        "last": 20,
        "problem": "check_digit",
    } in unread.value.findings
    assert "800502" not in str(unread.value) + repr(unread.value.findings)
    with pytest.raises(InvalidInputError, match="future"):
        lobby.visits.tell(visit, "g1", Person("Berger", "Anna", date(2027, 1, 1)))
    with pytest.raises(InvalidInputError, match="the others"):
        lobby.visits.tell(visit, "g2", ANNA)


async def test_who_needs_no_document_shows_none(lobby: Lobby) -> None:
    lobby.policy = with_steps(StepKind.IDENTITY, StepKind.DOCUMENT, document_exempt=("AUT",))
    told = lobby.visits.tell(begun(lobby), "g1", ANNA)
    assert ("document" in stands(told), told["next"]["step"]) == (False, "grant")


async def test_a_room_that_is_not_ready_is_waited_for(lobby: Lobby) -> None:
    await lobby.arrive(state="planned")
    visit = ready(lobby)
    told = lobby.visits.session(visit)
    assert (told["next"], told["waits_for"]) == (None, "room")
    await lobby.arrive(version=2)
    assert lobby.visits.session(visit)["next"]["step"] == "grant"


@pytest.mark.guarantee("G13")
async def test_a_dispenser_that_could_not_give_it_has_nothing_written_and_may_be_asked_again(lobby: Lobby) -> None:
    visit = ready(lobby)
    lobby.dispenser.problem = "it has no card"
    assert await lobby.visits.card(visit) == {"result": False, "room": None}
    assert (lobby.encoder.written, lobby.stays()) == ([], [])
    assert lobby.visits.session(visit)["next"]["step"] == "grant"
    lobby.dispenser.problem = None
    assert (await lobby.visits.card(visit))["result"] is True


@pytest.mark.guarantee("G13")
@pytest.mark.parametrize("phase", [Phase.FAILED, Phase.UNKNOWN, Phase.EXPIRED])
async def test_a_card_that_was_written_and_did_not_come_is_the_desks(lobby: Lobby, phase: Phase) -> None:
    visit = ready(lobby)
    lobby.dispenser.outcome = Outcome(phase, None, "jammed")
    result = None if phase is Phase.UNKNOWN else False
    assert await lobby.visits.card(visit) == {"result": result, "room": None}
    told = lobby.visits.session(visit)
    assert (stands(told)["grant"], told["next"], told["waits_for"]) == ("card_at_desk", None, "staff")
    lobby.dispenser.outcome = Outcome(Phase.DONE, True)
    assert (await lobby.visits.card(visit))["room"] is None
    anew = lobby.visits.session(begun(lobby))
    assert (stands(anew)["grant"], anew["next"]) == ("card_at_desk", None), "whoever comes with the code gets no second"
    assert len(lobby.encoder.written) == len(lobby.dispenser.orders) == 1


@pytest.mark.guarantee("G13")
@pytest.mark.parametrize(("phase", "again"), [(Phase.FAILED, True), (Phase.UNKNOWN, False)])
async def test_a_card_that_was_not_written_is_not_given_and_nobody_is_in(
    lobby: Lobby, phase: Phase, again: bool
) -> None:
    visit = ready(lobby)
    lobby.encoder.outcome = Outcome(phase, None, "the encoder is busy")
    assert (await lobby.visits.card(visit))["result"] is (False if again else None)
    assert (lobby.dispenser.orders, lobby.stays()) == ([], [])
    assert (lobby.visits.session(visit)["next"] is not None) is again


async def test_a_room_without_cards_is_the_desks(lobby: Lobby) -> None:
    lobby.encoder.rooms.clear()
    visit = ready(lobby)
    assert await lobby.visits.card(visit) == {"result": False, "room": None}
    told = lobby.visits.session(visit)
    assert (stands(told)["grant"], told["waits_for"]) == ("offline", "staff")
    assert lobby.dispenser.orders == []


async def test_who_is_in_house_gets_no_card_by_his_bookings_code(lobby: Lobby) -> None:
    await lobby.building.house.desk.check_in(lobby.visits.begin(LOBBY, code=CODE, surname="Berger").stay, PHONE, by="d")
    told = lobby.visits.session(begun(lobby))
    assert (stands(told)["grant"], told["next"]) == ("card_at_desk", None)


async def test_a_visit_ends_with_the_next_at_its_kiosk_with_its_time_and_with_the_guests_word(lobby: Lobby) -> None:
    first = begun(lobby)
    second = begun(lobby)
    for gone in (first, "v-nobody"):
        with pytest.raises(VisitRefusedError, match="no such visit"):
            lobby.visits.session(gone)
    lobby.clock.advance(VISIT_MS)
    with pytest.raises(VisitRefusedError):
        lobby.visits.tell(second, "g1", ANNA)
    third = begun(lobby)
    lobby.visits.end(third)
    lobby.visits.end(third)
    with pytest.raises(VisitRefusedError):
        lobby.visits.session(third)


@pytest.mark.guarantee("G6")
async def test_what_the_guest_told_is_in_no_store_and_in_no_repr(lobby: Lobby, tmp_path: Path) -> None:
    visit = ready(lobby)
    await lobby.visits.card(visit)
    stored = b"".join(each.read_bytes() for each in tmp_path.glob("edge.db*"))
    assert b"L898902C3" not in stored
    assert b"1980" not in repr(lobby.visits._visits).encode()


@pytest.mark.guarantee("G11", "G13")
async def test_a_full_disk_takes_nobody_in_and_gives_no_card(lobby: Lobby) -> None:
    visit = ready(lobby)
    lobby.building.log.fail = True
    with pytest.raises(StoreFailedError):
        await lobby.visits.card(visit)
    assert lobby.dispenser.orders == []
    lobby.building.log.fail = False
    assert (await lobby.visits.card(visit))["result"] is True
    assert len(lobby.dispenser.orders) == 1


@pytest.mark.guarantee("G11", "G13")
async def test_after_a_kill_between_writing_and_giving_there_is_no_second_card(lobby: Lobby) -> None:
    visit = ready(lobby)
    lobby.dispenser.free.clear()
    task = asyncio.create_task(lobby.visits.card(visit))
    while not lobby.dispenser.orders:
        await asyncio.sleep(0)
    task.cancel()
    tasks = list(lobby.orders._tasks.values())
    for each in tasks:
        each.cancel()
    await asyncio.gather(task, *tasks, return_exceptions=True)
    await lobby.building.restart()
    lobby.dispenser.free.set()
    lobby.begin()
    await lobby.orders.catch_up()
    await lobby.orders.catch_up()
    came, key = lobby.records()
    assert came["kind"] == "visit", "his steps were told before"
    assert (key["kind"], key["phase"], key["written"]) == ("key", "unknown", True)
    told = lobby.visits.session(begun(lobby))
    assert (stands(told)["grant"], told["next"]) == ("card_at_desk", None)
    assert len(lobby.dispenser.orders) == 1


async def test_two_who_share_a_room_get_a_card_beside_the_others(lobby: Lobby) -> None:
    share = {"share": "family", "reservation": CODE, "guest_name": "Anna Berger"}
    ben = a_stay("s-ben", **{**share, "reservation": "N-2", "guest_name": "Ben Berger"})
    await lobby.building.house.desired("stays", 2, a_document(a_stay(**share), ben, v=2))
    lobby.policy = check_in.DEFAULT
    await lobby.visits.card(begun(lobby))
    await lobby.visits.card(begun(lobby, code="N-2"))
    assert [(stay, join) for stay, _, _, join in lobby.encoder.written] == [("s-anna", False), ("s-ben", True)]


async def test_of_one_bookings_rooms_the_one_that_is_still_to_come_is_meant(lobby: Lobby) -> None:
    lobby.policy = check_in.DEFAULT
    rooms = [a_stay(f"s-{n}", f"10{n}", guest_name="Anna Berger", reservation={"number": CODE}) for n in (1, 2)]
    await lobby.building.house.desired("stays", 2, a_document(*rooms))
    given = [await lobby.visits.card(begun(lobby)) for _ in range(2)]
    assert [each["room"] for each in given] == ["101", "102"]
    assert stands(lobby.visits.session(begun(lobby)))["grant"] == "card_at_desk"


@pytest.mark.guarantee("G13")
async def test_who_asks_twice_at_once_gets_one_card_and_has_one_record(lobby: Lobby) -> None:
    visit = ready(lobby)
    answers = await asyncio.gather(lobby.visits.card(visit), lobby.visits.card(visit))
    assert answers[0] == answers[1] == {"result": True, "room": "101"}
    assert (len(lobby.encoder.written), len(lobby.dispenser.orders)) == (1, 1)
    assert [each["kind"] for each in lobby.records()] == ["visit", "key"]


@pytest.mark.requirement("CHK-03")
@pytest.mark.guarantee("G11")
async def test_what_is_the_desks_is_told_once_it_is_known_and_what_a_guest_left_undone_when_he_goes(
    lobby: Lobby,
) -> None:
    lobby.policy = with_steps(StepKind.IDENTITY, StepKind.REGISTRATION_CARD, StepKind.TERMS, terms="1")
    lobby.building.log.fail = True
    visit = begun(lobby)
    with pytest.raises(StoreFailedError):
        await lobby.visits.keep()
    lobby.building.log.fail = False
    await asyncio.gather(lobby.visits.keep(), lobby.visits.keep())
    [told] = lobby.records()
    assert [(each["step"], each["subject"], each["state"], each["reason"]) for each in told["steps"]] == [
        ("registration_card", "g1", "needs_staff", "offline"),
        ("terms", "party", "needs_staff", "offline"),
    ]
    lobby.visits.tell(visit, "g1", Person("Berger", "Bertha"))
    begun(lobby)  # the next guest stands there
    await lobby.visits.keep()
    again = lobby.records()[1]
    assert (again["id"], again["n"], again["steps"][0]["reason"]) == (told["id"], 2, "name_different")
    assert len(lobby.records()) == 3, "the one who came next has a record of his own"
    for secret in ("Berger", "Bertha", CODE, visit):
        assert secret not in repr(lobby.records())
