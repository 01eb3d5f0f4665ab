"""The emulated bolt: a motor that draws it, a spring that throws it, a hand, and the sensor that sees where it is.

`drawn` is the truth; `sensed` is what the lock's sensor says, `Bolt.UNKNOWN` while it moves. Told through `settled`
once it has lain still for `settle_ms` where neither an opening nor an earlier word of this bolt says that it is.
"""

import asyncio
from collections.abc import Callable

from firmware_bridges.innkeeper_lock.config import Knobs
from protocols.door.hardware import Bolt


class EmulatedBolt:
    """Starts thrown.

    Args:
        knobs: The lock's, as they are now: motor and relock times, jams, whether there is a sensor.
        moved: Called when `drawn` changes.
        settled: Called when the bolt has come to rest in a state that was not told yet.
        told: The state that the log tells last.
    """

    def __init__(
        self, knobs: Callable[[], Knobs], *, moved: Callable[[], None], settled: Callable[[], None], told: Bolt
    ) -> None:
        self._knobs, self._moved, self._settled = knobs, moved, settled
        self.drawn = False
        self._rests = Bolt.LOCKED
        self._moving = False
        self._held = False
        self._told = told
        self._timers: list[asyncio.TimerHandle] = []

    @property
    def sensed(self) -> Bolt:
        """What the sensor says."""
        if self._moving or not self._knobs().bolt_sensor:
            return Bolt.UNKNOWN
        return self._rests

    def start(self) -> None:
        """The lock has power: what its log does not tell yet is told soon."""
        self._rest(self._rests)

    def draw(self, *, hold: bool = False) -> None:
        """The motor starts; the opening's own record tells it. Thrown again after `relock_ms`, unless it is held."""
        self._stop()
        self._held = hold
        knobs = self._knobs()
        self._drawn(drawn=True)
        self._moving, self._told = True, Bolt.UNLOCKED
        self._later(knobs.motor_ms, lambda: self._rest(Bolt.UNLOCKED))
        if not hold:
            self._later(knobs.motor_ms + knobs.relock_ms, self.throw)

    def let_go(self) -> None:
        """A bolt that is held is thrown; any other goes its own way."""
        if self._held:
            self.throw()

    def by_hand(self, *, drawn: bool) -> None:
        """Somebody turns the knob inside: at once, and it stays so."""
        self._stop()
        self._drawn(drawn=drawn)
        self._rest(Bolt.UNLOCKED if drawn else Bolt.LOCKED)

    def throw(self) -> None:
        """The bolt is let go; it takes as long as the motor, and may stick half-way."""
        self._stop()
        self._held = False
        self._moving = True
        jammed = self._knobs().jams
        self._drawn(drawn=jammed)
        self._later(self._knobs().motor_ms, lambda: self._rest(Bolt.NOT_FULLY_LOCKED if jammed else Bolt.LOCKED))

    def stop(self) -> None:
        """The lock is switched off with its bolt thrown."""
        self._stop()
        self._held = False
        self._drawn(drawn=False)
        self._moving, self._rests = False, Bolt.LOCKED

    def _rest(self, state: Bolt) -> None:
        self._moving, self._rests = False, state
        if state is not self._told and self._knobs().bolt_sensor:
            self._later(self._knobs().settle_ms, lambda: self._tell(state))

    def _tell(self, state: Bolt) -> None:
        self._told = state
        self._settled()

    def _drawn(self, *, drawn: bool) -> None:
        if drawn != self.drawn:
            self.drawn = drawn
            self._moved()

    def _later(self, ms: int, act: Callable[[], None]) -> None:
        self._timers.append(asyncio.get_running_loop().call_later(ms / 1_000, act))

    def _stop(self) -> None:
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
