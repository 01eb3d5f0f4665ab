"""Guests in rooms, and sensors that err: who is really inside, and what the edge is told of it.

The ground truth for occupancy (bench/rooms.py, tests/simulation/test_occupancy_truth.py). Stays of one to four nights
by one or two people: arrivals, dinners, nights, breakfasts, partners who leave while the other sleeps, naps,
housekeeping. A motion sensor sees the awake every few minutes and a sleeper when they turn over, one turn in two.
Faults: sensors that miss, die, tell late or lose reports; contacts that stick; locks whose log is read late. What died
or sticks is mended after a day and a half, because an alert says so. Times are seconds from a midnight in the zone.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from kit.dice import SeededDice

HOUR: Final = 3600.0
DAY: Final = 24 * HOUR
HOLD: Final = 90.0  # how long the motion sensor goes on saying "occupied"
HEARTBEAT: Final = 50 * 60.0
AWAKE_EVERY: Final = 240.0
TURN_EVERY: Final = 1_200.0
TURN_SEEN: Final = 0.5


class Fault(StrEnum):
    """What is wrong with a room's sensors."""

    NONE = "none"
    BLIND = "sees two in three"
    DEAD = "motion battery dies"
    STUCK = "contact sticks"
    LATE = "reports late"
    LOST = "reports lost"
    LATE_LOCK = "lock log read late"


SHARES: Final = (
    (Fault.BLIND, 0.06),
    (Fault.DEAD, 0.02),
    (Fault.STUCK, 0.01),
    (Fault.LATE, 0.06),
    (Fault.LOST, 0.03),
    (Fault.LATE_LOCK, 0.06),
)
"""How many rooms have which fault; the others have none."""
MENDED_AFTER: Final = 1.5 * DAY


@dataclass(frozen=True, slots=True, order=True)
class Told:
    """One thing that reaches the edge at `at`: motion, contact (true closed), unlock, check_in, check_out.

    `happened` is when it was so; `value` is the level, or whether it was a guest.
    """

    at: float
    what: str
    value: bool
    happened: float


@dataclass
class Life:
    """One room: what is true and what is told. Spans are (from, until)."""

    room: str
    fault: Fault
    told: list[Told] = field(default_factory=list)
    inside: list[tuple[float, float]] = field(default_factory=list)  # at least one guest
    asleep: list[tuple[float, float]] = field(default_factory=list)  # somebody is, whoever else is awake
    stays: list[tuple[float, float]] = field(default_factory=list)  # in house
    staff: list[tuple[float, float]] = field(default_factory=list)  # housekeeping inside, the guests out

    def empty(self) -> Iterator[tuple[float, float]]:
        """Yield the spans in which the room is rented and nobody is in, after somebody was."""
        for begins, ends in self.stays:
            inside = [span for span in self.inside if begins <= span[0] < ends]
            for (_, left), (back, _) in zip(inside, [*inside[1:], (ends, ends)], strict=True):
                if back - left > 1.0:
                    yield left, min(back, ends)


def life(room: str, days: int, dice: SeededDice) -> Life:
    """Return `days` days of one room."""
    share, fault = dice.uniform(0, 1), Fault.NONE
    for each, part in SHARES:
        if share < part:
            fault = each
            break
        share -= part
    made = Life(room, fault)
    sight = _Sight(dice, fault, broken_from=dice.uniform(0.1, 0.7) * days * DAY)
    at = dice.uniform(0, 1.0) * DAY
    while at < (days - 1.3) * DAY:
        at = _stay(made, sight, at, dice, last=(days - 0.2) * DAY)
        at += DAY if dice.uniform(0, 1) < 0.3 else 0.0
    sight.tell(made, days * DAY)
    made.told.sort()
    return made


def _stay(made: Life, sight: "_Sight", after: float, dice: SeededDice, *, last: float) -> float:
    """Live one stay that begins in the afternoon after `after`; return when it is over."""
    day = int(after // DAY) * DAY
    arrives = day + dice.uniform(14, 19) * HOUR
    if arrives < after:
        day, arrives = day + DAY, arrives + DAY
    begins = arrives - dice.uniform(120, 1_800)
    two = dice.uniform(0, 1) < 0.4
    nights = min(1 + int(dice.uniform(0, 3.999)), int((last - day) / DAY - 0.6))
    if nights < 1:
        return last
    people = [_Person(dice) for _ in range(2 if two else 1)]
    for night in range(nights):
        evening = day + night * DAY
        for who in people:
            who.evening(evening, arrives if night == 0 else None, together=people[0])
        final = night == nights - 1
        for index, who in enumerate(people):
            who.morning(evening + DAY, final=final, alone=index == 1 and dice.uniform(0, 1) < 0.5)
    spans = [span for who in people for span in who.inside]
    made.inside += sorted(_joined(spans))
    made.asleep += sorted(span for who in people for span in who.asleep)
    for who in people:
        for comes, goes in who.inside:
            sight.passage(comes, coming=True, guest=True)
            sight.passage(goes, coming=False, guest=True)
        for begins_sleep, ends_sleep in who.asleep:
            sight.sleeps(begins_sleep, ends_sleep)
        for begins_awake, ends_awake in who.awake():
            sight.awake(begins_awake, ends_awake)
    ends = max(until for _, until in spans) + dice.uniform(300, 3_600)
    made.stays.append((begins, ends))
    made.told += [Told(begins, "check_in", True, begins), Told(ends, "check_out", True, ends)]
    for left, back in made.empty():
        clean = left + dice.uniform(0.3, 1.0) * HOUR
        if begins < left and back - clean > HOUR and 9 <= clean % DAY / HOUR <= 15 and dice.uniform(0, 1) < 0.7:
            made.staff.append((clean, clean + 1_500))
            sight.passage(clean, coming=True, guest=False)
            sight.awake(clean, clean + 1_500)
            sight.passage(clean + 1_500, coming=False, guest=False)
    return ends


class _Person:
    """One guest: when they are in the room, and when asleep."""

    def __init__(self, dice: SeededDice) -> None:
        self._dice = dice
        self.inside: list[tuple[float, float]] = []
        self.asleep: list[tuple[float, float]] = []
        self._in: float | None = None

    def evening(self, day: float, arrives: float | None, *, together: "_Person") -> None:
        dice = self._dice
        if arrives is not None:
            self._in = arrives if together is self else arrives + dice.uniform(0, 5)
        elif self._in is None:
            self._in = day + dice.uniform(16, 19) * HOUR
        out = max(self._in + 0.3 * HOUR, day + dice.uniform(19, 20) * HOUR)
        if dice.uniform(0, 1) < 0.7:
            self._leave(out)
            self._in = out + dice.uniform(0.7, 3) * HOUR
        self._bed = max(self._in + 600, day + dice.uniform(22, 25) * HOUR)

    def morning(self, day: float, *, final: bool, alone: bool) -> None:
        dice = self._dice
        assert self._in is not None
        rises = day + (dice.uniform(9, 10.4) if alone else dice.uniform(6, 9)) * HOUR
        self.asleep.append((self._bed, rises))
        leaves = rises + dice.uniform(0.4, 1.2) * HOUR
        if final:
            self._leave(leaves)
            return
        self._leave(leaves)
        back = leaves + dice.uniform(0.5, 8) * HOUR
        if dice.uniform(0, 1) < 0.3:  # back for a nap
            nap = back + dice.uniform(300, 1_200)
            woke = nap + dice.uniform(0.3, 1.7) * HOUR
            self._in = back
            self.asleep.append((nap, woke))
            if woke < day + 18 * HOUR:
                self._leave(woke + 900)
        elif back > day + 16 * HOUR:
            self._in = back

    def awake(self) -> Iterator[tuple[float, float]]:
        """Yield the spans inside and not asleep."""
        for comes, goes in self.inside:
            at = comes
            for begins, ends in sorted(self.asleep):
                if comes <= begins < goes:
                    yield at, begins
                    at = ends
            if at < goes:
                yield at, goes

    def _leave(self, at: float) -> None:
        assert self._in is not None
        self.inside.append((self._in, max(at, self._in + 60)))
        self._in = None


class _Sight:
    """The room's sensors: what happens, then what is told of it."""

    def __init__(self, dice: SeededDice, fault: Fault, *, broken_from: float) -> None:
        self._dice, self._fault, self._broken_from = dice, fault, broken_from
        self._last_told = {"motion": 0.0, "contact": 0.0}
        self._seen: list[float] = []
        self._doors: list[tuple[float, bool]] = []
        self._unlocks: list[tuple[float, bool]] = []

    def passage(self, at: float, *, coming: bool, guest: bool) -> None:
        """Somebody comes in or goes out; two within ten seconds share the door."""
        if coming:
            self._unlocks.append((at - 2, guest))
        self._doors += [(at, False), (at + 5, True)]
        self._see(at - self._dice.uniform(2, 20) if not coming else at + 2)
        if coming:
            self._see(at + self._dice.uniform(8, 60))

    def awake(self, begins: float, ends: float) -> None:
        """Somebody is about."""
        at = begins + self._dice.uniform(5, 60)
        while at < ends:
            self._see(at)
            at += self._dice.uniform(0.1, 1.9) * AWAKE_EVERY

    def sleeps(self, begins: float, ends: float) -> None:
        """Somebody turns over now and then."""
        at = begins + self._dice.uniform(0, 2) * TURN_EVERY
        while at < ends:
            if self._dice.uniform(0, 1) < TURN_SEEN:
                self._see(at)
            at += self._dice.uniform(0.1, 3) * TURN_EVERY

    def tell(self, made: Life, until: float) -> None:
        """Write down everything that reaches the edge."""
        for at, level in _with_heartbeats(_levels(sorted(self._seen)), until, self._dice):
            if not (self._fault is Fault.DEAD and 0 < at - self._broken_from < MENDED_AFTER):
                self._report(made, at, "motion", level)
        for at, closed in _with_heartbeats(_doors(self._doors), until, self._dice, told_first=True):
            if not (self._fault is Fault.STUCK and 0 < at - self._broken_from < MENDED_AFTER):
                self._report(made, at, "contact", closed)
        for at, guest in self._unlocks:
            late = self._dice.uniform(60, 2_400) if self._fault is Fault.LATE_LOCK else self._dice.uniform(0.5, 8)
            made.told.append(Told(at + late, "unlock", guest, at))

    def _see(self, at: float) -> None:
        if self._fault is not Fault.BLIND or self._dice.uniform(0, 1) < 2 / 3:
            self._seen.append(at)

    def _report(self, made: Life, at: float, what: str, value: bool) -> None:
        dice, delay = self._dice, self._dice.uniform(0.1, 1.0)
        if self._fault is Fault.LOST and dice.uniform(0, 1) < 0.05:
            return
        if self._fault is Fault.LATE and dice.uniform(0, 1) < 0.3:
            delay = dice.uniform(1, 25)
        told_at = max(at + delay, self._last_told[what] + 0.01)  # a radio tries again, and keeps its own order
        self._last_told[what] = told_at
        made.told.append(Told(told_at, what, value, at))


def _levels(seen: list[float]) -> list[tuple[float, bool]]:
    """Return the motion sensor's edges: up when it sees, down when it has not for `HOLD`."""
    edges: list[tuple[float, bool]] = []
    falls: float | None = None
    for at in seen:
        if falls is None or at > falls:
            if falls is not None:
                edges.append((falls, False))
            edges.append((at, True))
        falls = at + HOLD
    if falls is not None:
        edges.append((falls, False))
    return edges


def _doors(doors: list[tuple[float, bool]]) -> list[tuple[float, bool]]:
    """Return the contact's edges: open while anybody has it open."""
    edges: list[tuple[float, bool]] = []
    held = 0
    for at, closed in sorted(doors, key=lambda each: (each[0], each[1])):
        held += -1 if closed else 1
        if (held == 0) == closed and (not edges or edges[-1][1] != closed):
            edges.append((at, closed))
    return edges


def _with_heartbeats(
    edges: list[tuple[float, bool]], until: float, dice: SeededDice, *, told_first: bool = False
) -> list[tuple[float, bool]]:
    """Return the edges and, every `HEARTBEAT`, the level as it stands."""
    found, level, at = list(edges), told_first, dice.uniform(0, HEARTBEAT)
    waiting = iter([*edges, (until + 1, False)])
    changes_at, to = next(waiting)
    while at < until:
        while changes_at <= at:
            level = to
            changes_at, to = next(waiting)
        found.append((at, level))
        at += HEARTBEAT
    return sorted(found)


def _joined(spans: list[tuple[float, float]]) -> list[tuple[float, float]]:
    joined: list[tuple[float, float]] = []
    for begins, ends in sorted(spans):
        if joined and begins <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], ends))
        else:
            joined.append((begins, ends))
    return joined
