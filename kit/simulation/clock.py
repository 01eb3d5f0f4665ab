"""A part's own clock in the simulation: it drifts, steps and loses its time source on command."""

from typing import Final

from kit.clock import ClockQuality
from kit.simulation.loop import SimLoop

START_WALL_MS: Final = 1_767_225_600_000  # 2026-01-01T00:00:00Z


class SimClock:
    """`kit.clock.Clock` over virtual time; one for each simulated machine.

    Args:
        loop: whose time it follows.
        drift_ppm: how much too fast its crystal runs, in parts per million; both clocks share the crystal.
        wall_ms: its wall time at the moment it is made.
    """

    def __init__(self, loop: SimLoop, *, drift_ppm: float = 0.0, wall_ms: int | None = None) -> None:
        self._loop = loop
        self._drift_ppb = round(drift_ppm * 1000)
        self._anchor_us = loop.time_us()  # true time at which the rate last changed
        self._mono_us = self._anchor_us  # what this clock showed then
        started_ms = START_WALL_MS + self._anchor_us // 1000 if wall_ms is None else wall_ms
        self._offset_ms = started_ms - self.now_ms()
        self._quality = ClockQuality.SYNCHRONISED

    def now_ms(self) -> int:
        """Monotonic milliseconds as this machine counts them."""
        return self._shown_us() // 1000

    def wall_ms(self) -> int:
        """Unix milliseconds as this machine believes them to be."""
        return self.now_ms() + self._offset_ms

    @property
    def quality(self) -> ClockQuality:
        """Whatever the scenario last said."""
        return self._quality

    def set_quality(self, quality: ClockQuality) -> None:
        """Lose or regain the time source; the wall clock stays as it is."""
        self._loop.trace.add(self._loop.time(), "clock_quality", quality.value)
        self._quality = quality

    def set_drift(self, ppm: float) -> None:
        """Run `ppm` parts per million too fast from now on (negative: too slow)."""
        self._loop.trace.add(self._loop.time(), "clock_drift", ppm)
        self._mono_us, self._anchor_us = self._shown_us(), self._loop.time_us()
        self._drift_ppb = round(ppm * 1000)

    def step(self, ms: int) -> None:
        """Step the wall clock, in either direction; monotonic time goes on."""
        self._loop.trace.add(self._loop.time(), "clock_step", ms)
        self._offset_ms += ms

    def synchronise(self) -> None:
        """Set the wall clock to true simulated time, as a time source would, and regain trust in it."""
        true_ms = START_WALL_MS + self._loop.time_us() // 1000
        self.step(true_ms - self.wall_ms())
        self.set_quality(ClockQuality.SYNCHRONISED)

    def _shown_us(self) -> int:
        passed_us = self._loop.time_us() - self._anchor_us
        return self._mono_us + passed_us + passed_us * self._drift_ppb // 1_000_000_000
