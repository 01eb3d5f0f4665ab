"""Trust in the wall clock: asked of the kernel, lost by steps and by silence."""

import pytest

from kit.clock import HOLDOVER_MS, STEP_LIMIT_MS, STEP_SETTLE_MS, Clock, ClockQuality, ManualClock, SystemClock


def judged(clock: Clock) -> ClockQuality:
    """Return the quality now; a function, so that the type checker does not think it fixed."""
    return clock.quality


class _Machine:
    """A machine whose clocks and kernel a test moves."""

    def __init__(self) -> None:
        self.mono_ms, self.wall_ms, self.synchronised, self.asked = 1_000, 1_700_000_000_000, True, 0

    def clock(self, trust: str = "ntp") -> SystemClock:
        def ask() -> bool:
            self.asked += 1
            return self.synchronised

        return SystemClock(
            "host" if trust == "host" else "ntp",
            synchronised=ask,
            monotonic_ns=lambda: self.mono_ms * 1_000_000,
            wall_ns=lambda: self.wall_ms * 1_000_000,
        )

    def pass_ms(self, ms: int) -> None:
        self.mono_ms += ms
        self.wall_ms += ms


def test_a_disciplined_clock_is_synchronised() -> None:
    assert _Machine().clock().quality is ClockQuality.SYNCHRONISED


@pytest.mark.guarantee("G10")
def test_a_clock_never_disciplined_is_uncertain() -> None:
    machine = _Machine()
    machine.synchronised = False
    assert machine.clock().quality is ClockQuality.UNCERTAIN


@pytest.mark.guarantee("G10")
def test_a_lost_source_makes_it_drift_then_uncertain() -> None:
    machine = _Machine()
    clock = machine.clock()
    assert judged(clock) is ClockQuality.SYNCHRONISED
    machine.synchronised = False
    machine.pass_ms(HOLDOVER_MS)
    assert judged(clock) is ClockQuality.DRIFTING
    machine.pass_ms(1)
    assert judged(clock) is ClockQuality.UNCERTAIN
    machine.synchronised = True
    machine.pass_ms(1_000)
    assert judged(clock) is ClockQuality.SYNCHRONISED


@pytest.mark.guarantee("G10")
@pytest.mark.parametrize("trust", ["ntp", "host"])
@pytest.mark.parametrize("step_ms", [STEP_LIMIT_MS + 1, -STEP_LIMIT_MS - 1, 10 * 365 * 86_400_000])
def test_a_large_step_is_not_believed_at_once_even_if_the_source_agrees(trust: str, step_ms: int) -> None:
    machine = _Machine()
    clock = machine.clock(trust)
    assert judged(clock) is ClockQuality.SYNCHRONISED
    machine.wall_ms += step_ms
    assert judged(clock) is ClockQuality.UNCERTAIN
    machine.pass_ms(STEP_SETTLE_MS - 1)
    assert judged(clock) is ClockQuality.UNCERTAIN
    machine.pass_ms(1)
    assert judged(clock) is ClockQuality.SYNCHRONISED


def test_a_small_step_is_ordinary() -> None:
    machine = _Machine()
    clock = machine.clock()
    machine.wall_ms += STEP_LIMIT_MS
    assert judged(clock) is ClockQuality.SYNCHRONISED


def test_the_kernel_is_not_asked_more_than_once_a_second() -> None:
    machine = _Machine()
    clock = machine.clock()
    for _ in range(100):
        assert judged(clock) is ClockQuality.SYNCHRONISED
        machine.pass_ms(10)
    assert machine.asked == 1


def test_monotonic_time_ignores_wall_steps() -> None:
    machine = _Machine()
    clock = machine.clock()
    before = clock.now_ms()
    machine.wall_ms -= 86_400_000
    assert clock.now_ms() == before


def test_the_real_kernel_answers() -> None:
    assert SystemClock().quality in ClockQuality
    assert SystemClock("host").quality is ClockQuality.SYNCHRONISED


def test_a_manual_clock_moves_only_by_hand() -> None:
    clock = ManualClock(now_ms=5, wall_ms=1_000)
    clock.advance(10)
    clock.step_wall(-500)
    assert (clock.now_ms(), clock.wall_ms()) == (15, 510)
    with pytest.raises(ValueError, match="cannot go back"):
        clock.advance(-1)
    clock.quality = ClockQuality.DRIFTING
    assert judged(clock) is ClockQuality.DRIFTING
