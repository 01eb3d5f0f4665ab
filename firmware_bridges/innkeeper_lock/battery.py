"""The emulated battery: four alkaline cells that empty with use, and what a lock's firmware makes of their voltage.

The lock never sees the charge. It sees the voltage under a known load through a 12-bit converter, and reads the
percentage off its own table: what it tells is measured, as old as the last measurement, and rounded.
Currents are typical of a Bluetooth SoC with a geared motor; they are this emulator's, no device was measured for them.
"""

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final

CAPACITY_NAH: Final = 2_500_000_000
"""Four AA cells in series: 2.5 Ah."""
MOTOR_NA: Final = 300_000_000
IDLE_NA: Final = 40_000
"""Adverts four times a second, RTC and sensors."""
LINK_NAH: Final = 2_000
"""One link of a second or two."""
TEST_LOAD_MA: Final = 50
CONVERTER_FULL_MV: Final = 7_200
CONVERTER_STEPS: Final = 4_096
_HOUR_MS: Final = 3_600_000

# Open voltage (mV) and inner resistance (milliohm) of the four cells in series, by per cent of charge left.
_CURVE: Final = (
    (0, 3_600, 4_000),
    (5, 4_200, 2_600),
    (15, 4_640, 1_800),
    (30, 4_960, 1_400),
    (50, 5_240, 1_100),
    (70, 5_520, 900),
    (90, 5_920, 700),
    (100, 6_280, 600),
)


@dataclass(frozen=True, slots=True)
class Battery:
    """Charge drawn from full until `at_ms` (any clock that goes on while the lock is off), in nanoampere-hours."""

    drawn_nah: int
    at_ms: int

    @classmethod
    def put_in(cls, percent: int, at_ms: int) -> "Battery":
        """Return cells with `percent` of their charge left."""
        return cls(CAPACITY_NAH * (100 - percent) // 100, at_ms)

    def later(self, at_ms: int, *, used_nah: int = 0) -> "Battery":
        """Return it at `at_ms`: idling since, and `used_nah` more."""
        idle_nah = IDLE_NA * max(at_ms - self.at_ms, 0) // _HOUR_MS
        return replace(self, drawn_nah=min(self.drawn_nah + idle_nah + used_nah, CAPACITY_NAH), at_ms=at_ms)

    @property
    def percent_left(self) -> float:
        """The truth, which no lock can read."""
        return 100 * (CAPACITY_NAH - self.drawn_nah) / CAPACITY_NAH

    def millivolts(self, load_ma: int) -> int:
        """Return the voltage at its terminals under `load_ma`."""
        open_mv, milliohm = _at(self.percent_left)
        return round(open_mv - load_ma * milliohm / 1_000)

    def measured_percent(self) -> int:
        """Return what the firmware reads: voltage under the test load, converted, looked up in its table."""
        step_mv = CONVERTER_FULL_MV / CONVERTER_STEPS
        return percent_of(round(round(self.millivolts(TEST_LOAD_MA) / step_mv) * step_mv))


def motor_nah(run_ms: int) -> int:
    """Return what a motor run of `run_ms` draws."""
    return MOTOR_NA * run_ms // _HOUR_MS


def percent_of(millivolts: int) -> int:
    """Return the firmware's percentage for a voltage under the test load: 0..100, straight lines between its points."""
    points = [(open_mv - TEST_LOAD_MA * milliohm / 1_000, percent) for percent, open_mv, milliohm in _CURVE]
    if millivolts <= points[0][0]:
        return 0
    for (low_mv, low), (high_mv, high) in pairwise(points):
        if millivolts <= high_mv:
            return round(low + (high - low) * (millivolts - low_mv) / (high_mv - low_mv))
    return 100


def _at(percent: float) -> tuple[float, float]:
    for (low, low_mv, low_r), (high, high_mv, high_r) in pairwise(_CURVE):
        if percent <= high:
            part = (percent - low) / (high - low)
            return low_mv + (high_mv - low_mv) * part, low_r + (high_r - low_r) * part
    return _CURVE[-1][1], _CURVE[-1][2]
