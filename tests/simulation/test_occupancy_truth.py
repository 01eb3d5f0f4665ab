"""Whole weeks of guests and erring sensors through the real engine, held against who was really inside."""

import asyncio
import functools

import pytest

from bench.rooms import Tally, lives, play, random_cuts
from bench.rooms_guests import Fault
from kit.dice import SeededDice
from tests.seeds import seeds

ROOMS, DAYS = 30, 5


@functools.cache
def unharmed_by(seed: int) -> Tally:
    """Play once, however often and in whatever order it is asked about."""
    return asyncio.run(play(lives(ROOMS, DAYS, seed), DAYS))


@pytest.fixture(params=seeds(1, 6))
def tally(request: pytest.FixtureRequest) -> Tally:
    return unharmed_by(request.param)


@pytest.mark.requirement("DEV-07", "DEV-10")
def test_a_sleeping_guest_is_never_set_back(tally: Tally) -> None:
    assert tally.nights_slept > ROOMS
    assert tally.cooled_asleep == []


@pytest.mark.requirement("DEV-04", "DEV-10")
def test_an_empty_room_whose_sensors_tell_is_set_back_in_the_stated_time(tally: Tally) -> None:
    telling = (Fault.NONE, Fault.LATE, Fault.BLIND, Fault.LATE_LOCK)
    empty, in_time = (sum(counts[each] for each in telling) for counts in (tally.empty, tally.in_time))
    assert empty > ROOMS
    assert in_time / empty >= 0.98
    assert tally.share_in_time >= 95  # the dead and the stuck among them


@pytest.mark.requirement("DEV-10")
def test_who_is_set_back_awake_is_one_whom_no_lock_has_named_yet(tally: Tally) -> None:
    assert {fault for _, fault, _ in tally.cooled_awake} <= {Fault.LATE_LOCK}


@pytest.mark.requirement("DEV-04")
def test_a_stay_that_ends_sets_the_room_back(tally: Tally) -> None:
    assert tally.stays_ended == tally.set_back_at_end > 0


@functools.cache
def killed_by(seed: int) -> Tally:
    return asyncio.run(play(lives(ROOMS, DAYS, seed), DAYS, random_cuts(DAYS, SeededDice(seed))))


@pytest.fixture(params=seeds(1, 10))
def interrupted(request: pytest.FixtureRequest) -> tuple[Tally, Tally]:
    return killed_by(request.param), unharmed_by(request.param)


@pytest.mark.guarantee("G13")
@pytest.mark.requirement("DEV-07", "DEV-09", "DEV-10")
def test_a_sleeping_guest_is_neither_set_back_nor_lit_up_whenever_the_edge_is_killed(
    interrupted: tuple[Tally, Tally],
) -> None:
    killed, unharmed = interrupted
    assert killed.nights_slept > ROOMS
    assert killed.cooled_asleep == []
    assert killed.lit_asleep <= unharmed.lit_asleep  # no kill lights up anybody


@pytest.mark.requirement("DEV-04", "DEV-10")
def test_empty_rooms_are_set_back_whenever_the_edge_is_killed(interrupted: tuple[Tally, Tally]) -> None:
    killed, _ = interrupted
    assert killed.empty.total() > ROOMS / 2
    assert killed.share_in_time >= 85
    assert killed.stays_ended == killed.set_back_at_end > 0
