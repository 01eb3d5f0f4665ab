"""A day's programme and its judges: drawn alike from a seed, and no invariant that cannot fail."""

import json
from collections import Counter
from typing import Any

import httpx
import pytest

from cloud.webhooks.signature import headers, shown
from kit.clock import ManualClock
from kit.dice import SeededDice
from protocols.errors import InvalidInputError
from provisioning.rehearsal.day import judging
from provisioning.rehearsal.day.listener import EventListener
from provisioning.rehearsal.day.lived import Day, Life
from provisioning.rehearsal.day.play import HotelClock, crowded
from provisioning.rehearsal.day.programme import (
    ARRIVALS_LEAST,
    BEHIND,
    CUT_FROM,
    CUT_UNTIL,
    INSIDE_BEFORE_THE_CUT,
    Booking,
    Fate,
    draw,
)
from provisioning.rehearsal.nats import free_port

ROOMS = [str(100 + n) for n in range(72)]


@pytest.mark.parametrize("seed", range(30))
def test_a_day_shows_each_fate_and_books_no_room_twice_but_on_purpose(seed: int) -> None:
    bookings = draw(ROOMS, 60, SeededDice(seed))
    assert bookings == draw(ROOMS, 60, SeededDice(seed))
    assert {each.fate for each in bookings} == set(Fate)
    assert len({each.name for each in bookings}) == 60
    used = Counter(each.room for each in bookings) + Counter(each.spare for each in bookings if each.spare)
    together = {bookings[each.beside].room for each in bookings if each.beside is not None}
    assert {room for room, many in used.items() if many > 1} == together
    for each in bookings:
        if each.fate in BEHIND:
            assert CUT_FROM < each.arrives < CUT_UNTIL
            assert not each.by_phone
        if each.fate in INSIDE_BEFORE_THE_CUT:
            assert each.arrives < CUT_FROM < each.happens < CUT_UNTIL


def test_too_few_arrivals_or_rooms_are_refused_by_name() -> None:
    with pytest.raises(InvalidInputError, match="arrivals"):
        draw(ROOMS, ARRIVALS_LEAST - 1, SeededDice(1))
    with pytest.raises(InvalidInputError, match="rooms"):
        draw(ROOMS[:10], 60, SeededDice(1))


def test_the_hotels_clock_stands_at_a_gate_and_goes_on_from_there() -> None:
    clock = ManualClock()
    hotel = HotelClock(clock, seconds=160.0)  # ten seconds an hour
    with hotel.held_at(16.0):
        clock.advance(200_000)
        assert hotel.hour() == 16.0
        clock.advance(50_000)
    assert hotel.hour() == pytest.approx(16.0)
    clock.advance(10_000)
    assert hotel.hour() == pytest.approx(17.0)


def life(name: str = "No. 0", fate: Fate = Fate.STAYS, room: str = "101", **lived: Any) -> Life:
    made = Life(Booking(name, room, fate, 12.0), reservation=f"r-{name}", stay=f"s-{name}", room=room)
    made.in_at_ms, made.opened, made.opened_at_the_end = 1, 1, True
    for key, value in lived.items():
        setattr(made, key, value)
    return made


def stay(of: Life, state: str = "in_house", **said: object) -> dict[str, Any]:
    return {
        "id": of.stay, "state": state, "room": of.room, "conflict": None,
        "reservation": {"external_id": of.reservation}, **said,
    }  # fmt: skip


def told(of: Life, state: str = "Started", **said: object) -> dict[str, Any]:
    return {"Id": of.reservation, "State": state, "Room": of.room, **said}


def test_a_stay_that_is_lost_doubled_or_invented_is_named() -> None:
    one, other = life("a"), life("b")
    assert judging.reservations([told(one), told(other)], [stay(one), stay(other)]) == []
    assert judging.reservations([told(one), told(other)], [stay(one)]) == ["r-b is no stay"]
    assert judging.reservations([told(one)], [stay(one), stay(one)]) == ["r-a is 2 stays"]
    assert judging.reservations([told(one)], [stay(one), stay(other)]) == ["r-b is no reservation"]


@pytest.mark.parametrize(
    ("pms", "ours"),
    [
        ({"State": "Confirmed"}, {}),
        ({"Room": "102"}, {}),
        ({}, {"state": "left"}),
        ({}, {"room": None}),
        ({}, {"conflict": "other_room"}),
    ],
)
def test_a_pms_that_says_otherwise_is_a_flaw(pms: dict[str, Any], ours: dict[str, Any]) -> None:
    one = life()
    assert judging.read_back([told(one)], [stay(one)], Day([one])) == []
    assert len(judging.read_back([{**told(one), **pms}], [{**stay(one), **ours}], Day([one]))) >= 1


def test_what_only_a_person_can_end_is_right_as_long_as_it_is_shown() -> None:
    one = life(fate=Fate.CANCELLED_BEHIND)
    assert judging.read_back([told(one, "Canceled")], [stay(one, conflict="ended_in_pms")], Day([one])) == []
    assert judging.read_back([told(one, "Canceled")], [stay(one)], Day([one])) != []


def test_a_building_that_holds_somebody_elsewhere_is_a_flaw() -> None:
    one = life()
    assert judging.replica([{"id": one.stay, "state": "in_house", "room": "101"}], [stay(one)]) == []
    assert judging.replica([{"id": one.stay, "state": "in_house", "room": "102"}], [stay(one)]) != []
    assert judging.replica([], [stay(one)]) != []
    assert judging.replica([{"id": one.stay, "state": "in_house", "room": "101"}], [stay(one, "left")]) != []


@pytest.mark.parametrize(
    ("fate", "lived"),
    [
        (Fate.STAYS, {"in_at_ms": None}),
        (Fate.STAYS, {"opened": 0}),
        (Fate.STAYS, {"opened_at_the_end": False}),
        (Fate.LEAVES_EARLY, {"out_at_ms": 2}),
        (Fate.NO_SHOW, {}),
        (Fate.MOVED, {}),
        (Fate.MOVED_INSIDE, {"conflicts": {"other_room"}}),
        (Fate.MOVED_INSIDE_BEHIND, {"old_room_refused": "wrong_door"}),
        (Fate.NOT_READY, {"way": "page"}),
        (Fate.BOOKED_BEHIND, {}),
        (Fate.EXTENDS, {"until_before_ms": 5, "until_after_ms": 5}),
        (Fate.WALKS_IN, {}),
        (Fate.MOVED_BEHIND, {}),
        (Fate.CANCELLED_BEHIND, {"conflicts": {"other_room"}}),
    ],
)
def test_a_guest_who_was_served_badly_is_named(fate: Fate, lived: dict[str, Any]) -> None:
    assert judging.lives(Day([life()])) == []
    flaws = judging.lives(Day([life(fate=fate, **lived)]))
    assert [flaw.startswith("No. 0") for flaw in flaws] == [True]


def test_two_in_one_room_are_a_crowd_unless_they_share_it() -> None:
    one, other = life("a"), life("b")
    assert crowded(Day([one, other]), [stay(one), stay(other)]) == ["101: ['s-a', 's-b']"]
    other.booking = Booking("b", "101", Fate.SHARES_AND_LEAVES, 12.0, beside=0)
    assert crowded(Day([one, other]), [stay(one), stay(other)]) == []


def opening(of: Life, seq: int) -> dict[str, Any]:
    return {"event": "opened", "door": f"door-{of.room}", "lock_seq": seq, "stay": of.stay}


def test_an_opening_that_is_lost_doubled_invented_or_a_strangers_is_named() -> None:
    one = life()
    day, runs = Day([one]), {"door-101": 2}
    good = [opening(one, 1), opening(one, 2)]
    assert judging.door_log(day, runs, good) == []
    assert judging.door_log(day, runs, good[:1]) != []
    assert judging.door_log(day, runs, [good[0], good[0]]) != []
    assert judging.door_log(day, runs, [*good, opening(one, 3)]) != []
    assert judging.door_log(day, runs, [good[0], {**good[1], "stay": "s-stranger"}]) != []


def intent(state: str, *, received: int = 0, id_: str = "pi_1") -> dict[str, Any]:
    return {"id": id_, "status": state, "amount": 100, "amount_received": received}


def payment(state: str, captured: int = 0) -> dict[str, Any]:
    return {"state": state, "captured": captured}


def test_money_that_is_lost_taken_twice_or_not_as_kept_is_named() -> None:
    one = life(payment="p", captured=40, out_at_ms=2, refused_at_the_end="superseded")
    day = Day([one])
    effects = [{"what": what, "intent": "pi_1", "minor": 1} for what in ("hold", "capture")]
    good = {"intents": [intent("succeeded", received=40)], "effects": effects}
    books = {one.stay: [payment("captured", 40)]}
    assert judging.money(day, good, books) == []
    assert judging.sums(good) == {"held": 100, "captured": 40, "released": 60, "still_held": 0}
    assert judging.money(day, {**good, "effects": [*effects, effects[0]]}, books) != []
    assert judging.money(day, good, {one.stay: [payment("held")]}) != []
    assert judging.money(day, good, {one.stay: [payment("captured", 30)]}) != []
    assert judging.money(day, {**good, "intents": [intent("requires_capture")]}, books) != []
    twice = {**good, "intents": [*good["intents"], intent("requires_capture", id_="pi_2")]}
    assert judging.money(day, twice, books) != []
    assert judging.money(Day([life(payment="p", captured=50, out_at_ms=2)]), good, books) != []


def test_whoever_asked_for_events_and_was_not_told_or_told_twice_is_named() -> None:
    one = life(out_at_ms=2, refused_at_the_end="superseded")
    day = Day([one])
    books = {one.stay: [{"id": "pay-1", "state": "captured", "captured": 40, "refunded": 0}]}

    def stay(state: str) -> dict[str, Any]:
        return {"type": "stay.changed", "data": {"stay": one.stay, "state": state}}

    def money(state: str, captured: int = 0, *, id_: str = "pay-1") -> dict[str, Any]:
        return {
            "type": "payment.changed", "data": {"payment": id_, "state": state, "captured": captured, "refunded": 0}
        }  # fmt: skip

    good = [stay("in_house"), stay("left"), money("held"), money("captured", 40)]
    assert judging.told(day, good, books) == []
    for missing in (0, 1, 3):
        assert judging.told(day, [each for index, each in enumerate(good) if index != missing], books) != []
    assert judging.told(day, [*good, money("held")], books) != []
    assert judging.told(day, [*good, money("held", id_="pay-2")], books) != []


@pytest.mark.parametrize("seed", range(3))
async def test_the_listener_keeps_each_event_once_and_takes_only_what_is_signed(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("provisioning.rehearsal.day.listener.SILENT_S", 0.01)
    clock, secret, port = ManualClock(wall_ms=1_795_000_000_000), bytes(range(24)), free_port("127.0.0.1")
    listener = EventListener(clock, SeededDice(seed))
    listener.trust(shown(secret))
    await listener.start("127.0.0.1", port)
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as http:
            for number in range(20):
                body = json.dumps({"type": "stay.changed", "data": {"n": number}}).encode()
                signed = headers(f"msg-{number}", body, [bytes(24), secret], at_s=clock.wall_ms() // 1_000)
                for _ in range(20):
                    try:
                        answer = await http.post("/x", content=body, headers=signed)
                    except httpx.HTTPError:
                        continue  # it hung up, or is silent
                    if answer.is_success:
                        break
            assert sorted(each["data"]["n"] for each in listener.told()) == list(range(20))
            assert listener.counts["taken"] == 20
            assert listener.counts["again"] > 0
            assert (listener.counts["unsigned"], listener.counts["contradicted"]) == (0, 0)
            forged = headers("msg-x", b"{}", [bytes(24)], at_s=clock.wall_ms() // 1_000)
            old = headers("msg-x", b"{}", [secret], at_s=clock.wall_ms() // 1_000 - 301)
            for bad in (forged, old, {}):
                assert (await http.post("/x", content=b"{}", headers=bad)).status_code == 401
            assert len(listener.kept) == 20
    finally:
        await listener.stop()
