"""One key at two far doors: found when nobody can have walked it, and never from a clock that is not known."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.doors.lock_clocks import AGE_MOST_MS, LockClocks
from edge.rooms.far_doors import KEYS_MOST, SIGHTINGS_MOST, FarApart, FarDoors, least_ms
from kit.dice import SeededDice
from protocols.door.audit import AuditEvent, AuditRecord
from protocols.door.hardware import Bolt
from protocols.door.messages import Result
from protocols.door.status import Status
from protocols.grant.lock_time import TimeQuality
from provisioning.rehearsal.grand.programme import Temper, draw
from tests.seeds import seeds

pytestmark = pytest.mark.requirement("P15", "A16")
FLOORS: Final = {"lobby": 0, "101": 1, "102": 1, "201": 2, "301": 3, "501": 5, "901": 9}
S: Final = 1_000


def at(room: str, from_ms: int, to_ms: int | None = None, **more: Any) -> dict[str, Any]:
    """The body of an access record, seen between two moments."""
    seen = {"seen_clock": "life-1", "seen_from_ms": from_ms, "seen_to_ms": from_ms if to_ms is None else to_ms}
    return {"event": "opened", "door": f"door-{room}", "room": room, "key": "k1", "stay": "s-anna", **seen, **more}


def found(*bodies: dict[str, Any]) -> list[FarApart]:
    watch = FarDoors(FLOORS.get)
    return [each for body in bodies if (each := watch.told(body)) is not None]


def test_one_key_on_two_floors_at_one_moment_is_told_with_whose_it_is_and_how_far() -> None:
    [far] = found(at("901", 10 * S, 12 * S), at("lobby", 11 * S, 13 * S))
    assert (far.key, far.stay, far.within_ms, far.least_ms) == ("k1", "s-anna", 3 * S, least_ms(9))
    assert far.detail.startswith("stay s-anna: at door-901 and door-lobby, 9 floors apart, within 3 s; ")
    assert far.detail.endswith("the way takes 12.8 s at least")


def test_a_staff_key_is_told_as_one() -> None:
    [far] = found(at("901", 0, stay=None), at("lobby", 0, stay=None))
    assert far.detail.startswith("a staff key: ")


@pytest.mark.parametrize("floors", range(12))
def test_the_border_is_the_shortest_way_and_counts_the_outer_ends_of_what_is_known(floors: int) -> None:
    watched = {"low": 0, "high": floors}
    for spare_ms in (-1, 0, 1):
        watch = FarDoors(watched.get)
        watch.told(at("low", 500, 1_000))
        far = watch.told(at("high", 1_000, 500 + least_ms(floors) + spare_ms)) if least_ms(floors) else None
        assert (far is not None) == (least_ms(floors) > 0 and spare_ms < 0)


def test_the_way_grows_with_the_floors_and_next_door_has_none() -> None:
    ways = [least_ms(floors) for floors in range(60)]
    assert ways[:5] == [0, 0, 3_000, 6_000, 9_000]
    assert ways == sorted(ways)
    assert ways[40] < 40 * 3_000, "a lift is faster than forty floors of stairs"


@pytest.mark.parametrize(
    "second",
    [
        at("901", 0, key="k2"),
        at("901", 0, seen_clock="life-2"),
        at("901", 0, 60 * S),
        at("901", 60 * S),
        at("101", 0),
        at("lobby", 0, door="door-lobby-2"),
        at("999", 0),
        at("901", 0) | {"room": None},
        at("901", 0, event="bumped"),
        at("901", 0, event="key_withdrawn"),
        at("901", 5, 4),
        {name: value for name, value in at("901", 0).items() if not name.startswith("seen_")},
        at("901", 0, seen_from_ms="0"),
        at("901", 0, seen_to_ms=True),
        at("901", 0, key=7, grant=None),
        at("901", 0, seen_clock=None),
    ],
    ids=[
        "another key",
        "another life's clock",
        "not known well",
        "a minute later",
        "next floor",
        "same room",
        "a room of no plan",
        "no room",
        "no phone",
        "an order",
        "upside down",
        "uncertain",
        "no number",
        "no number either",
        "no key",
        "no clock",
    ],
)
def test_what_proves_nothing_is_not_told(second: dict[str, Any]) -> None:
    assert found(at("lobby", 0), second) == []
    assert found(second, at("lobby", 0)) == []


def test_a_refusal_that_names_a_grant_is_a_phone_that_was_there_and_an_unknown_one_is_known_by_its_grant() -> None:
    first = at("lobby", 0) | {"key": None, "grant": "aa"}
    assert len(found(first, at("901", 0, event="refused") | {"key": None, "grant": "aa"})) == 1
    assert found(first, at("901", 0, event="refused") | {"key": None, "grant": "bb"}) == []


def test_what_comes_late_and_in_another_order_is_compared_all_the_same() -> None:
    far = found(at("lobby", 0), at("lobby", 600 * S), at("102", 700 * S), at("901", 2 * S))
    assert [(each.first.door, each.second.door) for each in far] == [("door-lobby", "door-901")]


def test_it_holds_so_many_keys_and_sightings_and_no_more() -> None:
    watch = FarDoors(FLOORS.get)
    for number in range(KEYS_MOST + 1):
        watch.told(at("lobby", 0, key=f"k{number}"))
    assert watch.told(at("901", 0, key="k0")) is None, "the key heard of longest ago gave way"
    assert watch.told(at("901", 0, key=f"k{KEYS_MOST}")) is not None
    for number in range(SIGHTINGS_MOST):
        watch.told(at("lobby", (1_000 + 60 * number) * S, key="busy"))
    watch.told(at("102", 5_000 * S, key="busy"))
    assert watch.told(at("901", 1_000 * S, key="busy")) is None
    assert watch.told(at("901", (1_000 + 60 * (SIGHTINGS_MOST - 1)) * S, key="busy")) is not None


# --- the clocks of locks --------------------------------------------------------------------------------------------


@dataclass
class Lock:
    """A lock's clock as it is: whole seconds, drifting, set forward by whatever it reads."""

    ahead_ms: float
    ppm: float
    seq: int = 0
    quality: TimeQuality = TimeQuality.FRESH
    waiting: list[tuple[AuditRecord, str]] = field(default_factory=list)

    def shows_s(self, now_ms: int) -> int:
        return int((1_700_000_000_000 + now_ms * (1 + self.ppm / 1e6) + self.ahead_ms) // 1_000)

    def reads(self, now_ms: int) -> None:
        """A signed object of this moment is read: the clock is not behind it."""
        behind_s = (1_700_000_000_000 + now_ms) // 1_000 - self.shows_s(now_ms)
        self.ahead_ms += max(behind_s, 0) * 1_000

    def opened(self, now_ms: int, key: str) -> None:
        self.seq += 1
        record = AuditRecord(
            self.seq, self.shows_s(now_ms), self.quality, AuditEvent.OPENED, bytes(8), Status.OPENED, 1, b""
        )
        self.waiting.append((record, key))

    def result(self, now_ms: int) -> Result:
        return Result(Status.DONE, self.seq, self.shows_s(now_ms), self.quality, 80, Bolt.LOCKED, 0, 1, bytes(16))


LOCK: Final = b"lock-101"


def measured(lock: Lock, clocks: LockClocks, now_ms: int, *, there_ms: int = 50, back_ms: int = 50) -> Any:
    """One visit's first answer."""
    return clocks.asked(LOCK, lock.result(now_ms + there_ms), from_ms=now_ms, to_ms=now_ms + there_ms + back_ms)


@given(
    ahead_ms=st.integers(-20_000, 20_000),
    ppm=st.floats(-20, 20),
    between_ms=st.integers(0, 7_200_000),
    later_ms=st.integers(0, 600_000),
    ways_ms=st.tuples(st.integers(0, 3_000), st.integers(0, 3_000)),
)
def test_what_is_said_of_when_a_record_was_made_is_true(
    ahead_ms: int, ppm: float, between_ms: int, later_ms: int, ways_ms: tuple[int, int]
) -> None:
    there_ms, back_ms = ways_ms
    lock, clocks = Lock(ahead_ms, ppm), LockClocks("life")
    assert measured(lock, clocks, 0, there_ms=there_ms, back_ms=back_ms) is None, "one measure says nothing of before"
    opened_ms = there_ms + back_ms + between_ms
    lock.opened(opened_ms, "k")
    [(record, _)] = lock.waiting
    seen = clocks.when(record, measured(lock, clocks, opened_ms + later_ms, there_ms=there_ms, back_ms=back_ms))
    assert seen is not None
    assert seen[0] <= opened_ms <= seen[1]


def test_a_lock_that_is_asked_quickly_is_known_to_a_few_seconds() -> None:
    lock, clocks = Lock(-4_321, 20), LockClocks("life")
    measured(lock, clocks, 0)
    lock.opened(60_000, "k")
    [(record, _)] = lock.waiting
    seen = clocks.when(record, measured(lock, clocks, 61_000))
    assert seen is not None
    assert seen[1] - seen[0] <= 4_000


@pytest.mark.parametrize("doubt", ["set meanwhile", "uncertain", "drifting", "an hour ago", "no earlier visit"])
def test_where_the_clock_may_have_been_another_nothing_is_said(doubt: str) -> None:
    lock, clocks = Lock(-30_000, 0), LockClocks("life")
    if doubt != "no earlier visit":
        measured(lock, clocks, 0)
    if doubt in ("uncertain", "drifting"):
        lock.quality = TimeQuality[doubt.upper()]
    lock.opened(10_000, "k")
    if doubt == "set meanwhile":
        lock.reads(11_000)
    [(record, _)] = lock.waiting
    when_ms = 10_000 + AGE_MOST_MS + 2_000 if doubt == "an hour ago" else 20_000
    assert clocks.when(record, measured(lock, clocks, when_ms)) is None


def test_a_clock_set_in_a_visit_is_measured_anew_and_a_record_of_before_is_not_judged_by_it() -> None:
    lock, clocks = Lock(-30_000, 0, quality=TimeQuality.DRIFTING), LockClocks("life")
    assert measured(lock, clocks, 0) is None
    lock.reads(100)
    lock.quality = TimeQuality.FRESH
    lock.opened(500, "k")
    assert measured(lock, clocks, 1_000) is None
    [(record, _)] = lock.waiting
    lock.opened(2_000, "k")
    bounds = measured(lock, clocks, 3_000)
    assert clocks.when(record, bounds) is None, "it was there before the clock was first measured"
    assert clocks.when(lock.waiting[1][0], bounds) is not None
    lock.opened(3_500, "k")
    assert clocks.when(lock.waiting[2][0], bounds) is None, "made after the asking"


# --- a day of a hotel -----------------------------------------------------------------------------------------------


class Hotel:
    """Eight floors of rooms and a lobby; locks with clocks of their own, visited when the radio comes to it."""

    def __init__(self, seed: int) -> None:
        self.dice = SeededDice(seed)
        self.floors = {"lobby": 0} | {str(100 * floor + n): floor for floor in range(1, 9) for n in range(1, 7)}
        self.rooms = [room for room in self.floors if room != "lobby"]
        self.locks = {
            room: Lock(self.dice.uniform(-12_000, 12_000), self.dice.uniform(-20, 20)) for room in self.floors
        }
        self.clocks, self.watch, self.found = LockClocks("life"), FarDoors(self.floors.get), list[FarApart]()
        self.tellable = 0
        self.happenings: list[tuple[int, int, str, str]] = []
        self.order: Iterator[int] = count()

    def opens(self, at_s: float, room: str, key: str) -> None:
        self.happenings.append((round(at_s * 1_000), next(self.order), room, key))
        for _ in range(self.dice.integer(1, 2)):
            visited_ms = round((at_s + self.dice.uniform(0.3, self.dice.integer(1, 90))) * 1_000)
            self.happenings.append((visited_ms, next(self.order), room, ""))

    def lives(self) -> None:
        """Play it all in order of time."""
        for room in self.floors:
            self.happenings.append((0, next(self.order), room, ""))
        for now_ms, _, room, key in sorted(self.happenings):
            if not key:
                self._visit(now_ms, room)
                continue
            if self.dice.integer(0, 9) == 0:
                self.locks[room].reads(now_ms)  # a key made this moment, or an acknowledgement that a phone brings
            self.locks[room].opened(now_ms, key)

    def _visit(self, now_ms: int, room: str) -> None:
        lock, there_ms = self.locks[room], self.dice.integer(5, 900)
        told_at_ms = now_ms + there_ms + self.dice.integer(5, 900)
        bounds = self.clocks.asked(room.encode(), lock.result(now_ms + there_ms), from_ms=now_ms, to_ms=told_at_ms)
        for record, key in lock.waiting:
            body: dict[str, Any] = {"event": "opened", "door": f"door-{room}", "room": room, "key": key}
            if (seen := self.clocks.when(record, bounds)) is not None:
                self.tellable += 1
                body |= {"seen_clock": "life", "seen_from_ms": seen[0], "seen_to_ms": seen[1]}
            if (far := self.watch.told(body)) is not None:
                self.found.append(far)
        lock.waiting.clear()
        lock.reads(now_ms + there_ms)  # the acknowledgement

    def way_s(self, one: str, other: str) -> float:
        """How long the quickest guest takes, and often no longer."""
        floors = abs(self.floors[one] - self.floors[other])
        return max(least_ms(floors) / 1_000, 0.5) + self.dice.integer(0, 1) * self.dice.uniform(0, 20)


@pytest.mark.parametrize("seed", seeds(6, 200))
def test_on_a_day_on_which_everybody_walks_nothing_is_told(seed: int) -> None:
    """The rehearsal's guests (grand/programme.py), hurrying as no guest does."""
    hotel = Hotel(seed)
    for arrival in draw(hotel.rooms, 3_600.0, hotel.dice).arrivals:
        key, at_s, here = f"k{arrival.room}", arrival.at_s, "lobby"
        hotel.opens(at_s, here, key)
        rooms = [arrival.tries_door_of, arrival.room] if arrival.tries_door_of else [arrival.room]
        if arrival.temper in (Temper.GOES_OUT, Temper.CHECKS_OUT, Temper.STIRS):
            rooms += ["lobby", arrival.room, "lobby", arrival.room]
        for room in rooms:
            at_s += hotel.way_s(here, room)
            here = room
            hotel.opens(at_s, room, key)
    hotel.lives()
    assert hotel.found == []
    assert hotel.tellable > 25, "and that is not because no clock was known"


@pytest.mark.parametrize("seed", seeds(3, 60))
def test_on_a_day_with_a_cloned_phone_that_phone_is_told_and_no_other(seed: int) -> None:
    hotel = Hotel(seed)
    for room in hotel.rooms:
        at_s = hotel.dice.uniform(0, 3_000)
        hotel.opens(at_s, "lobby", f"k{room}")
        hotel.opens(at_s + hotel.way_s("lobby", room), room, f"k{room}")
    for number in range(8):  # again and again, the guest upstairs and somebody else below
        hotel.opens(200.0 + 300 * number, "806", "cloned")
        hotel.opens(200.0 + 300 * number + hotel.dice.uniform(0, 1), "lobby", "cloned")
    hotel.lives()
    assert {each.key for each in hotel.found} == {"cloned"}
