"""The simulated clock's knobs."""

import asyncio

from kit.clock import ClockQuality
from kit.simulation import SimClock, SimLoop, run_simulated
from kit.simulation.clock import START_WALL_MS

DAY_MS = 86_400_000


def test_knobs_turn_one_clock_and_not_the_others() -> None:
    async def main(loop: SimLoop) -> None:
        right, fast = SimClock(loop), SimClock(loop, drift_ppm=20)
        await asyncio.sleep(86_400)
        assert right.now_ms() == DAY_MS
        assert right.wall_ms() == START_WALL_MS + DAY_MS
        assert fast.now_ms() == DAY_MS + 1_728  # 20 ppm are 1.728 s a day
        assert fast.wall_ms() == START_WALL_MS + DAY_MS + 1_728
        fast.set_drift(-1_000)
        await asyncio.sleep(1_000)
        assert fast.now_ms() == DAY_MS + 1_728 + 999_000
        before = fast.now_ms()
        fast.step(-3_600_000)
        assert fast.now_ms() == before
        fast.set_quality(ClockQuality.UNCERTAIN)
        assert (fast.quality, right.quality) == (ClockQuality.UNCERTAIN, ClockQuality.SYNCHRONISED)
        fast.synchronise()
        assert fast.wall_ms() == right.wall_ms()
        assert (await _quality(fast)) is ClockQuality.SYNCHRONISED

    run_simulated(main, seed=1, until_s=10 * 86_400)


async def _quality(clock: SimClock) -> ClockQuality:
    return clock.quality


def test_a_machine_may_start_in_the_wrong_year() -> None:
    async def main(loop: SimLoop) -> int:
        clock = SimClock(loop, wall_ms=0)
        await asyncio.sleep(2)
        return clock.wall_ms()

    assert run_simulated(main, seed=1, until_s=10).value == 2_000


def test_a_deadline_that_slept_to_its_time_has_come() -> None:
    """Rounding must not make a timer look a millisecond early."""

    async def main(loop: SimLoop) -> None:
        clock = SimClock(loop)
        for wait_ms in range(1, 2_000, 7):
            due_ms = clock.now_ms() + wait_ms
            await asyncio.sleep(wait_ms / 1000)
            assert clock.now_ms() >= due_ms

    run_simulated(main, seed=1, until_s=10_000)
