"""What will happen in the hotel during a run: guests, weather and faults, drawn from a seed. Pure.

A programme says what people and physics mean to do; what really happened, and when, is written down by whoever plays it
(play.py into truth.py), because a door may need three taps.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from kit.dice import Dice

ENTRY_EVERY_S: Final = 2.5
"""Guests enter no faster than this: a lift's load, and what one emulated radio carries."""
QUIET_AT_END_S: Final = 45.0
"""Nothing new begins in the last part: the half-minutely look for alerts, and a line that drains, need it."""
SHARE_ARRIVING: Final = 0.35
LEAKS_ONE_IN: Final = 50
DARK_ONE_IN: Final = 40
WEATHER_EVERY_S: Final = 60.0
POWER_CUT_S: Final = 12.0
OUTAGE_SHARE: Final = 0.15


class Temper(StrEnum):
    """What a guest does once inside."""

    SLEEPS = "sleeps"  # moves once, then lies still until the end
    STIRS = "stirs"  # moves now and then
    GOES_OUT = "goes out"
    OPENS_WINDOW = "opens the window"
    CHECKS_OUT = "checks out"


TEMPERS: Final = (
    (Temper.SLEEPS, 0.4),
    (Temper.STIRS, 0.25),
    (Temper.GOES_OUT, 0.15),
    (Temper.OPENS_WINDOW, 0.1),
    (Temper.CHECKS_OUT, 0.1),
)


@dataclass(frozen=True, slots=True)
class Arrival:
    """One guest: enters `room` at `at_s` of the run or soon after, then lives by `temper`.

    `stays_s`: until they go out or check out. `tries_door_of`: a neighbour's room whose door they try first, or None.
    """

    at_s: float
    room: str
    temper: Temper
    stays_s: float
    tries_door_of: str | None


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that breaks: `what` is one of outage, restored, edge_killed, dark, power_cut, leak."""

    at_s: float
    what: str
    room: str = ""


@dataclass(frozen=True, slots=True)
class Weather:
    """The air outside, degrees Celsius."""

    at_s: float
    celsius: float


@dataclass(frozen=True, slots=True)
class Programme:
    """Everything, each list in order of time."""

    seconds: float
    arrivals: tuple[Arrival, ...]
    faults: tuple[Fault, ...]
    weather: tuple[Weather, ...]


def draw(rooms: Sequence[str], seconds: float, dice: Dice) -> Programme:
    """Return the programme of a run of `seconds` in `rooms` (numbers, in order).

    Args:
        rooms: Guest rooms; at least four.
        seconds: At least 60.
        dice: Decides everything; the same dice, the same programme.
    """
    usable_s = seconds - QUIET_AT_END_S
    shuffled = _shuffled(rooms, dice)
    many = max(2, min(int(len(rooms) * SHARE_ARRIVING), int(usable_s / ENTRY_EVERY_S)))
    arriving, others = shuffled[:many], shuffled[many:]
    arrivals = []
    for index, room in enumerate(arriving):
        at_s = index * ENTRY_EVERY_S + dice.uniform(0, ENTRY_EVERY_S)
        stays_s = dice.uniform(0.2, 0.6) * max(10.0, usable_s - at_s)
        tries = _neighbour(room, others, rooms) if dice.uniform(0, 1) < 0.15 else None
        arrivals.append(Arrival(at_s, room, _temper(index, dice), stays_s, tries))
    leaks = others[: max(1, len(rooms) // LEAKS_ONE_IN)]
    dark = arriving[: max(1, len(rooms) // DARK_ONE_IN)]  # their guests are the ones that must not suffer by it
    cut_s = usable_s * dice.uniform(0.3, 0.4)
    faults = [Fault(0.0, "dark", room) for room in dark]
    faults += [Fault(dice.uniform(0.0, 0.2) * usable_s, "leak", room) for room in leaks]
    faults += [Fault(cut_s, "outage"), Fault(cut_s + seconds * OUTAGE_SHARE, "restored")]
    faults += [Fault(usable_s * dice.uniform(0.7, 0.8), "edge_killed")]
    faults += [Fault(usable_s * dice.uniform(0.5, 0.6), "power_cut", others[-1])]
    return Programme(
        seconds,
        tuple(arrivals),
        tuple(sorted(faults, key=lambda each: each.at_s)),
        tuple(_weather(seconds, dice)),
    )


def _neighbour(room: str, others: Sequence[str], rooms: Sequence[str]) -> str:
    """Return the nearest of the other rooms: nobody tries a door five floors up and is at his own a second later."""
    place = {each: index for index, each in enumerate(rooms)}
    return min(others, key=lambda each: abs(place[each] - place[room]))


def _temper(index: int, dice: Dice) -> Temper:
    if index < len(Temper):
        return list(Temper)[index]  # the first guests show one of each, however few there are
    share = dice.uniform(0, 1)
    for temper, part in TEMPERS:
        if share < part:
            return temper
        share -= part
    return Temper.SLEEPS


def _weather(seconds: float, dice: Dice) -> list[Weather]:
    """A cold front: from a few degrees down by up to ten and half way back, with gusts."""
    mild, drop = dice.uniform(2, 8), dice.uniform(4, 10)
    steps = max(1, int(seconds // WEATHER_EVERY_S))
    return [
        Weather(step * WEATHER_EVERY_S, round(mild - drop * math.sin(step / steps * 2.6) + dice.uniform(-1, 1), 1))
        for step in range(steps)
    ]


def _shuffled(rooms: Sequence[str], dice: Dice) -> list[str]:
    left, out = list(rooms), []
    while left:
        out.append(left.pop(dice.integer(0, len(left) - 1)))
    return out
