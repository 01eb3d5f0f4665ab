"""When units are asked: spread over every interval by what they are called, at intervals that do not drift."""

import asyncio
from collections import Counter, defaultdict
from itertools import pairwise
from typing import Any, Final

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.bridges.modbus.turns import FIRST_WITHIN_MS, SLOT_MS, first_turn, next_turn, place_of
from edge.bridges.modbus.wake import Wake
from kit.simulation import SimLoop, run_simulated
from protocols.descriptors.descriptor import Descriptor
from protocols.modbus.frames import Frame
from tests.edge.bridges import test_slow_unit
from tests.edge.bridges.field import CATALOGUE, THERMOSTAT
from tests.edge.bridges.test_slow_unit import Units, lived

SECOND_MS: Final = 1_000
buses: Final = st.sampled_from(["modbus-1", "climate", "climate-10", "x"])
places: Final = st.builds(place_of, buses, st.integers(1, 247))
intervals: Final = st.sampled_from([40, 250, 1_000, 2_000, 5_000, 60_000, 333, 1_001])


def in_step(place: float, every_ms: int, due_ms: int) -> int:
    """Return the next turn of a unit that is asked in time."""
    return next_turn(place, every_ms, was_ms=due_ms, now_ms=due_ms, steps=True)


@given(buses, st.integers(1, 147), st.integers(20, 100))
def test_any_run_of_units_is_spread_over_the_second(bus: str, first: int, many: int) -> None:
    slots = SECOND_MS // SLOT_MS
    turns = [first_turn(place_of(bus, each), SECOND_MS, now_ms=0, steps=True) for each in range(first, first + many)]
    seconds = [in_step(place_of(bus, first + n), SECOND_MS, at) for n, at in enumerate(turns)]
    assert [each - SECOND_MS for each in seconds] == turns
    taken = Counter(at % SECOND_MS // SLOT_MS for at in seconds)
    assert max(taken.values()) <= many // slots + 2
    assert min(taken[each] for each in range(slots)) >= many // slots - 2


def test_a_place_is_the_same_in_every_life_of_the_process() -> None:
    assert [round(place_of("climate", each), 6) for each in (1, 2, 247)] == [0.848334, 0.466368, 0.884695]
    assert place_of("climate", 1) != place_of("climate-2", 1)


@given(places, intervals, st.integers(0, 10**9), st.integers(0, 10**6))
def test_turns_are_the_clocks_and_not_the_process(place: float, every_ms: int, now_ms: int, later_ms: int) -> None:
    def settled(began_ms: int) -> int:
        at_ms = first_turn(place, every_ms, now_ms=began_ms, steps=True)
        assert began_ms < at_ms <= began_ms + every_ms
        assert 0 <= first_turn(place, every_ms, now_ms=began_ms, steps=False) - began_ms <= FIRST_WITHIN_MS
        return in_step(place, every_ms, at_ms)

    assert (settled(now_ms) - settled(now_ms + later_ms)) % every_ms == 0


lateness: Final = st.lists(st.tuples(st.integers(0, 40_000), st.booleans()), max_size=20)


@given(places, intervals, st.integers(0, 10**9), lateness, st.sampled_from([1, 10]))
def test_who_is_late_is_asked_soon_and_then_at_its_turn_again(
    place: float, every_ms: int, began_ms: int, lates: list[tuple[int, bool]], turns: int
) -> None:
    due_ms = first_turn(place, every_ms, now_ms=began_ms, steps=True)
    own_ms = due_ms % every_ms
    for late_ms, steps in lates:
        now_ms = due_ms + late_ms
        after_ms = next_turn(place, every_ms, was_ms=due_ms, now_ms=now_ms, steps=steps, turns=turns)
        exactly_ms = due_ms + turns * every_ms
        if exactly_ms <= now_ms:
            assert after_ms == now_ms + 1
        elif late_ms > every_ms // 4 or not steps:
            assert after_ms == exactly_ms, "a full line is not asked more to get into step"
        else:
            assert max(now_ms + 1, exactly_ms - every_ms) <= after_ms <= exactly_ms + late_ms
            assert after_ms % every_ms == own_ms
        due_ms = after_ms
    due_ms = in_step(place, every_ms, due_ms)
    assert due_ms % every_ms == own_ms
    assert in_step(place, every_ms, due_ms) == due_ms + every_ms


# --- a whole bus, on virtual time ------------------------------------------------------------------------------


class Timed(Units):
    """Twenty units that note when each was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.at: dict[int, list[int]] = defaultdict(list)
        self.deaf = False

    def answer(self, asked: Frame) -> bytes | None:
        self.at[asked.unit].append(round(1000 * asyncio.get_running_loop().time()))
        return None if self.deaf else super().answer(asked)


def one_block(every_s: float) -> Descriptor:
    points = [each for each in CATALOGUE[THERMOSTAT].points if each.table == "input" and (each.register or 0) < 20]
    slower = tuple(msgspec.structs.replace(each, every_s=every_s) for each in points)
    return msgspec.structs.replace(CATALOGUE[THERMOSTAT], identify=(), points=slower)


@pytest.mark.requirement("DEV-02")
@pytest.mark.parametrize("gap_s", [0.0, 4.3])
def test_units_are_read_to_the_millisecond_and_never_in_one_bunch(
    gap_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(test_slow_unit, "MODELS", {**CATALOGUE, THERMOSTAT: one_block(1.0)})
    units = Timed()
    changes: dict[float, Any] = {}
    if gap_s:
        changes = {10.0: lambda: setattr(units, "deaf", True), 10.0 + gap_s: lambda: setattr(units, "deaf", False)}
    lived(monkeypatch, "gateway side by side", units, changes, 100)
    phases = Counter[int]()
    for unit, times in units.at.items():
        steady = [at for at in times if at > 60_000]
        assert {after - before for before, after in pairwise(steady)} == {SECOND_MS}, unit
        phases[steady[0] % SECOND_MS // 100] += 1
        early = [at for at in times if 2_000 < at < 9_000]
        assert {at % SECOND_MS for at in early} == {steady[0] % SECOND_MS}, "its turn is its own, whatever happens"
    assert sorted(phases) == list(range(10))
    assert max(phases.values()) <= 4


# --- what a unit's task waits on ---------------------------------------------------------------------------------


def test_news_wakes_and_is_not_lost_and_time_wakes_too() -> None:
    async def house(loop: SimLoop) -> list[float]:
        wake, woke = Wake(), []
        wake.set()
        await wake.wait(10_000)
        woke.append(loop.time())
        wake.clear()
        loop.call_later(3, wake.set)
        await wake.wait(10_000)
        woke.append(loop.time())
        await wake.wait(10_000)  # nobody has cleared it
        woke.append(loop.time())
        wake.clear()
        await wake.wait(2_500)
        woke.append(loop.time())
        waiting = asyncio.create_task(wake.wait(60_000))
        await asyncio.sleep(1)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        assert waiting.cancelled()
        wake.set()
        await wake.wait(60_000)
        woke.append(loop.time())
        return woke

    began, *after = run_simulated(house, 1, 100).value
    assert [round(each - began, 3) for each in after] == [3.0, 3.0, 5.5, 6.5]
