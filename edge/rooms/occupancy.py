"""Is somebody inside? A belief with a confidence, from the door contact and motion.

The door-triggered motion check (iot.md C 18): nobody passes a closed door, so motion seen after the door last
closed means somebody is inside until it opens again, however still they sleep. Only silence since the last
closing speaks for an empty room, and the more slowly if somebody was known to be inside before that opening
(one of two guests may have left the other asleep). Pure: readings and monotonic time in, belief out.
"""

import math
from dataclasses import dataclass, replace
from typing import Final

# A PIR sensor goes on saying "occupied" for its hold time after the last person walked out of the door, so
# a level that was already high at closing only counts as somebody inside once it outlived this.
MOTION_HOLD_MS: Final = 180_000
QUIET_TAU_MS: Final = 600_000  # room that was not known occupied: 95 % sure after 23 min of silence
QUIET_TAU_AFTER_OCCUPIED_MS: Final = 1_800_000  # known occupied before the door opened: 69 min
SENSOR_FRESH_MS: Final = 26 * 3_600_000  # battery motion sensors report in daily; silent longer, they prove nothing
CONFIDENCE_INSIDE: Final = 0.98
CONFIDENCE_EVEN: Final = 0.5


@dataclass(frozen=True, slots=True)
class Belief:
    """`occupied` None: cannot tell. `confidence` 0.5 (a coin) to below 1.0 (never certain)."""

    occupied: bool | None
    confidence: float


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the sensors of one room said that still matters. All times monotonic ms; None = never seen."""

    closed: bool | None = None
    closed_at_ms: int | None = None
    motion: bool | None = None
    motion_said_at_ms: int | None = None
    inside: bool = False  # motion proved somebody inside since the door last closed
    was_inside: bool = False  # ... or had, when the door opened

    def door(self, *, closed: bool, now_ms: int) -> "Evidence":
        """Take what the door contact says; repeating itself, it changes nothing."""
        if closed == self.closed:
            return self
        if closed and self.closed is None:
            return replace(self, closed=True)  # found closed, not seen closing: a sleeper may be behind it
        if closed:
            return replace(self, closed=True, closed_at_ms=now_ms, inside=False)
        known = believe(self, now_ms=now_ms).occupied is True
        return replace(self, closed=False, closed_at_ms=None, inside=False, was_inside=known)

    def unlocked(self, *, now_ms: int) -> "Evidence":
        """Take that the lock opened: somebody came or went, whether or not the contact has said so yet."""
        if self.closed is not True:
            return self  # open or unknown: nothing rests on its being closed
        known = believe(self, now_ms=now_ms).occupied is True
        return replace(self, closed_at_ms=now_ms, inside=False, was_inside=known)

    def moved(self, *, motion: bool, now_ms: int) -> "Evidence":
        """Take what the motion sensor says, changed or repeated."""
        rising = motion and self.motion is not True
        outlived = (
            motion
            and self.closed is True
            and self.closed_at_ms is not None
            and now_ms - self.closed_at_ms > MOTION_HOLD_MS
        )
        inside = self.inside or (self.closed is True and (rising or outlived))
        return replace(self, motion=motion, motion_said_at_ms=now_ms, inside=inside)


def believe(evidence: Evidence, *, now_ms: int) -> Belief:
    """Return what the evidence says now; harmless to ask at any time, any number of times."""
    said = evidence.motion_said_at_ms
    sensed = said is not None and now_ms - said <= SENSOR_FRESH_MS
    if evidence.closed is False:
        return Belief(True, 0.8) if sensed and evidence.motion else Belief(None, CONFIDENCE_EVEN)
    if evidence.inside:
        return Belief(True, CONFIDENCE_INSIDE)
    if evidence.closed is None or evidence.closed_at_ms is None or not sensed:
        return Belief(None, CONFIDENCE_EVEN)
    quiet_ms = now_ms - evidence.closed_at_ms
    if evidence.motion:
        # high since before the closing: the sensor's hold time, or somebody who never let it fall
        if quiet_ms > MOTION_HOLD_MS:
            return Belief(True, CONFIDENCE_INSIDE)
        return Belief(None, CONFIDENCE_EVEN)
    tau_ms = QUIET_TAU_AFTER_OCCUPIED_MS if evidence.was_inside else QUIET_TAU_MS
    confidence = 1.0 - 0.5 * math.exp(-quiet_ms / tau_ms)
    return Belief(False, min(confidence, 0.999)) if confidence > 0.8 else Belief(None, confidence)
