"""The grand hotel's judges: what they must see wrong is seen wrong, and nothing else; a seed is a programme."""

from typing import Any

import pytest

from kit.dice import SeededDice
from protocols.errors import InvalidInputError
from provisioning.cli.main import ROOT
from provisioning.inventory import inventory as inventories
from provisioning.rehearsal.grand import judging, lived
from provisioning.rehearsal.grand.programme import QUIET_AT_END_S, Temper, draw
from provisioning.rehearsal.grand.truth import OCCUPANCY_SETTLES_MS, RoomTruth, Truth

ROOMS = [str(number) for number in range(101, 121)]
NOW_MS = 1_000_000


def truth(**rooms: RoomTruth) -> Truth:
    return Truth({name.removeprefix("r"): each for name, each in rooms.items()})


def event(door: str = "door-101", seq: int = 1, kind: str = "opened", stay: str | None = "s-1") -> dict[str, Any]:
    return {"door": door, "room": door[5:], "lock_seq": seq, "event": kind, "stay": stay}


def room(name: str = "101", occupied: bool | None = True, mode: str = "occupied_comfort") -> dict[str, Any]:
    return {"id": name, "mode": mode, "occupancy": {"occupied": occupied, "confidence": 0.9}}


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("seconds", [60.0, 300.0])
def test_a_seed_is_a_programme_within_its_bounds(seed: int, seconds: float) -> None:
    programme = draw(ROOMS, seconds, SeededDice(seed))
    assert programme == draw(ROOMS, seconds, SeededDice(seed))
    assert programme != draw(ROOMS, seconds, SeededDice(seed + 100))
    rooms = [each.room for each in programme.arrivals]
    assert len(set(rooms)) == len(rooms), "a guest a room"
    assert {each.temper for each in programme.arrivals} == set(Temper)
    assert all(each.at_s <= seconds - QUIET_AT_END_S + 5 for each in programme.arrivals)
    assert not {each.room for each in programme.faults if each.what == "leak"} & set(rooms)
    assert [each.what for each in programme.faults].index("outage") < [each.what for each in programme.faults].index(
        "restored"
    )
    assert all(each.at_s <= seconds for each in programme.faults)


def test_the_door_log_is_right_when_motors_phones_and_cloud_agree() -> None:
    at = truth(r101=RoomTruth(stay="s-1", refusals=1), r102=RoomTruth())
    told = [event(), event(seq=2), event(seq=3, kind="refused", stay=None), event("door-102", kind="bumped")]
    verdict = judging.door_log(at, {"door-101": 2, "door-102": 0}, told)
    assert (verdict.flaws, verdict.judged, verdict.right) == (0, 3, 3)


@pytest.mark.parametrize(
    ("events", "motor", "flaw"),
    [
        ([], 1, "lost"),
        ([event(), event(seq=2)], 1, "invented"),
        ([event("door-109")], 0, "invented"),
        ([event(), event()], 2, "doubled"),
        ([event(stay="s-2")], 1, "wrong"),
        ([event(stay=None)], 1, "wrong"),
    ],
)
def test_every_flaw_of_a_door_log_is_seen(events: list[dict[str, Any]], motor: int, flaw: str) -> None:
    verdict = judging.door_log(truth(r101=RoomTruth(stay="s-1")), {"door-101": motor}, events)
    assert [name for name in ("lost", "doubled", "invented", "wrong") if getattr(verdict, name)] == [flaw]


def test_a_refusal_that_a_phone_heard_must_be_in_the_log() -> None:
    verdict = judging.door_log(truth(r101=RoomTruth(refusals=2)), {}, [event(kind="refused", stay=None)])
    assert (len(verdict.lost), verdict.right) == (1, 1)


@pytest.mark.parametrize(
    ("heard", "flaws"),
    [
        ([False, True], {}),
        ([True, False, True], {}),
        ([True, True, False, False, True, True], {}),
        ([], {"lost": 2}),
        ([True], {"lost": 2}),
        ([True, False], {"lost": 1}),
        ([False, True, False, True], {"invented": 2}),
    ],
)
def test_contacts_are_held_change_by_change(heard: list[bool], flaws: dict[str, int]) -> None:
    records = [{"device": "contact-101", "attribute": "state_value", "value": each} for each in heard]
    others = [{"device": "leak-101", "attribute": "state_value:leak", "value": True}]
    verdict = judging.contacts(truth(r101=RoomTruth(contact=[False, True])), [*records, *others])
    found = {name: len(getattr(verdict, name)) for name in ("lost", "doubled", "invented", "wrong")}
    assert {name: many for name, many in found.items() if many} == flaws


def test_a_guest_inside_who_is_treated_as_absent_is_seen_at_every_look() -> None:
    at = truth(r101=RoomTruth(entered_ms=0), r102=RoomTruth(), r103=RoomTruth(entered_ms=0, left_ms=10))

    def look(*rooms: dict[str, Any], now_ms: int = NOW_MS) -> int:
        return len(judging.treated_as_absent(at, rooms, now_ms=now_ms))

    assert look(room(), room("102", occupied=False, mode="vacant_set_back"), room("103", mode="away_set_back")) == 0
    assert look(room(mode="away_set_back")) == look(room(occupied=False)) == 1
    assert look(room(occupied=None)) == 0, "a doubt costs no guest anything"
    assert look(room(mode="away_set_back"), now_ms=OCCUPANCY_SETTLES_MS - 1) == 0, "he is still being told of"


def test_occupancy_may_be_unknown_where_nobody_could_know_and_nowhere_else() -> None:
    seen = RoomTruth(entered_ms=1, closed_ms=2, moved_ms=3)
    dark = RoomTruth(entered_ms=1, closed_ms=2)
    at = truth(r101=seen, r102=dark, r103=RoomTruth())

    def judged(*rooms: dict[str, Any]) -> tuple[int, int, int]:
        verdict = judging.occupancy(at, rooms, now_ms=NOW_MS)
        return verdict.right, verdict.unknown, len(verdict.wrong)

    assert judged(room(), room("102", occupied=None), room("103", occupied=False)) == (2, 1, 0)
    assert judged(room(occupied=None), room("102", occupied=False), room("103", occupied=True)) == (0, 0, 3)
    at.edge_back_ms = 5
    assert judged(room(occupied=None)) == (0, 1, 0), "what the edge saw before it was killed is forgotten"


def test_alerts_need_a_cause_and_causes_an_alert() -> None:
    at = truth(
        r101=RoomTruth(leak_ms=0), r102=RoomTruth(leak_ms=NOW_MS - 1), r103=RoomTruth(dark=True, entered_ms=NOW_MS)
    )

    def judged(*told: tuple[str, str, str]) -> tuple[list[str], list[str], list[str]]:
        rows = [{"kind": kind, "room": name, "state": state} for kind, name, state in told]
        verdict = judging.alerts(at, rows, now_ms=NOW_MS)
        return verdict.lost, verdict.invented, verdict.doubled

    assert judged(("leak", "101", "raised")) == ([], [], [])
    assert judged() == (["leak in 101"], [], [])
    assert judged(("leak", "101", "raised"), ("leak", "102", "raised")) == ([], [], []), "early is no flaw"
    assert judged(("leak", "101", "raised"), ("leak", "104", "raised"))[1] == ["leak in 104"]
    assert judged(("leak", "101", "lapsed"), ("leak", "101", "raised"))[2] == ["leak in 101 x 2"]
    assert judged(("leak", "101", "cleared"))[0] == ["leak in 101"], "nobody dried it"


def test_comfort_is_what_the_controller_holds() -> None:
    at = truth(
        r101=RoomTruth(entered_ms=0),
        r102=RoomTruth(entered_ms=0, left_ms=1, checked_out_ms=2),
        r103=RoomTruth(entered_ms=0, window_ms=0),
        r104=RoomTruth(entered_ms=0, left_ms=1),
    )

    def wrong(**held: float) -> int:
        setpoints: dict[str, float | None] = {name.removeprefix("r"): each for name, each in held.items()}
        verdict = judging.comfort(at, setpoints, now_ms=NOW_MS, comfort_c=22.0, set_back_c=18.0)
        return len(verdict.wrong)

    assert wrong(r101=22.0, r102=18.0, r103=18.0, r104=5.0) == 0
    assert wrong(r101=18.0, r102=22.0, r103=22.0, r104=22.0) == 3
    at.edge_back_ms = NOW_MS - 1_000
    assert wrong(r103=22.0) == 0, "its two minutes begin again with the edge"


def test_a_building_or_a_span_that_cannot_be_lived_in_is_refused_by_name() -> None:
    grand = inventories.load(ROOT / "inventories" / "grand.toml")
    lived.check(grand, 60.0)
    with pytest.raises(InvalidInputError, match="minutes"):
        lived.check(grand, 59.0)
    with pytest.raises(InvalidInputError, match="rooms"):
        lived.check(inventories.with_rooms(grand, 7), 60.0)
    with pytest.raises(InvalidInputError, match="leak"):
        lived.check(inventories.load(ROOT / "inventories" / "aurora.toml"), 60.0)
