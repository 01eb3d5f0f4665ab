"""Is somebody inside? A belief with a confidence, fused from the door contact, motion, unlocks and the PMS.

The door-triggered motion check (iot.md C 18): nobody passes a closed door, so motion seen after the door last
closed means somebody is inside until it opens again, however still they sleep. Only silence since the last
closing speaks for an empty room, and only the silence of a sensor that has shown that it sees:

- silence counts no further than `HEARTBEAT_MS` past the sensor's last word: a dead battery proves nothing;
- after somebody unlocked, it counts only once the sensor saw them: a sensor that missed them would miss a sleeper;
- where somebody was known inside before the door opened, or has unlocked it to come in, it takes two hours: one of two
  may have left the other asleep. Hours of sleep do not count at all then (`night_ms`);
- a contact that did not move for two unlocks is stuck, and "the door is closed" proves nothing any more;
- silence while the edge was away counts nothing, and who was inside before may still be (memory.py).

Pure: what was heard and monotonic time in, belief out. Decisions: docs/decisions/0025-silence-needs-a-witness.md,
0076-what-a-room-remembers.md.
"""

import math
from dataclasses import dataclass, replace
from typing import Final

# A PIR sensor goes on saying "occupied" for its hold time after the last person walked out of the door, so
# a level that was already high at closing only counts as somebody inside once it outlived this.
MOTION_HOLD_MS: Final = 180_000
# What a sensor saw before the closing may be told after it, by a radio that had to try again.
LATE_REPORT_MS: Final = 30_000
QUIET_TAU_MS: Final = 600_000  # room that was not known occupied: 95 % sure after 23 min of silence
QUIET_TAU_AFTER_OCCUPIED_MS: Final = 3_000_000  # somebody may have stayed: 115 min
HEARTBEAT_MS: Final = 65 * 60_000  # battery motion sensors say that they live about once an hour
UNLOCK_OPENS_MS: Final = 60_000  # a door that was unlocked is opened within this, or was not opened
UNOPENED_MOST: Final = 2  # unlocks in a row without the contact moving: it is stuck
VISIT_MOST_MS: Final = 90 * 60_000  # presence after staff came into an empty room is theirs for so long
OUT_TAU_MS: Final = 2 * 3_600_000  # somebody inside goes out, by day: in so long two of three have
CONFIDENCE_INSIDE: Final = 0.98
CONFIDENCE_EVEN: Final = 0.5
CONFIDENCE_LEAST: Final = 0.8  # less than that is no belief
CONFIDENCE_OF_PMS: Final = 0.9
"""That a room nobody is checked in to is empty, where no sensor says anything."""


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
    opened_at_ms: int | None = None
    motion: bool | None = None
    motion_said_at_ms: int | None = None
    motion_seen_at_ms: int | None = None
    inside: bool = False  # somebody proved to be inside since the door last closed
    was_inside: bool = False  # ... or had, when the door opened
    may_remain: bool = False  # nobody could say, when the door opened, that the room was empty
    unnamed: bool = False  # the door of a room believed empty opened, and no lock has said for whom
    unlocked_at_ms: int | None = None
    unopened: int = 0  # unlocks in a row that the contact did not notice
    visited_at_ms: int | None = None  # staff came into a room believed empty, and nobody else since
    night_ms: int | None = None  # when it was last an hour of sleep
    resumed_ms: int | None = None  # when this life of the edge took up what the last one had proved
    unsure: bool = False  # what the contact last said, it said to the last life
    unheard: bool = False  # ... and so did the motion sensor: `motion` is the worst that it may be saying
    shut_before: bool = False  # ... which had seen the door closing, or standing open
    carried: float | None = None  # how sure it is that who was inside then is inside still
    passed: bool = False  # the door was seen moving since then
    empty_before: bool = False  # the room was believed empty then, and nothing has spoken against it since

    @property
    def stuck(self) -> bool:
        """Whether the door contact has stopped telling."""
        return self.unopened >= UNOPENED_MOST

    @property
    def closing_seen(self) -> bool:
        """Whether the door was seen closing, or stands open: nobody is behind it whom no sensor could have seen."""
        return self.closed is False or self.closed_at_ms is not None or (self.unsure and self.shut_before)

    @property
    def seeing(self) -> bool:
        """Whether the motion sensor saw whoever last unlocked the door: silence of one that did not proves nothing."""
        seen_ms, unlocked_ms = self.motion_seen_at_ms, self.unlocked_at_ms
        return seen_ms is not None and (unlocked_ms is None or seen_ms >= unlocked_ms)

    @property
    def known_inside(self) -> bool:
        """Whether somebody is inside for sure, or was when the door that now stands open was opened."""
        return self.inside or (self.closed is False and self.was_inside)

    def door(self, *, closed: bool, now_ms: int) -> "Evidence":
        """Take what the door contact says; repeating itself, it changes nothing."""
        if closed == self.closed:
            if not self.unsure:
                return self
            # Its first word to this life: as it was before. What happened in between, silence from here on has to say.
            heard_ms = now_ms if closed and self.closing_seen and not self.stuck else None
            return replace(self, unsure=False, closed_at_ms=heard_ms)
        if closed and self.closed is None:
            return replace(self, closed=True)  # found closed, not seen closing: a sleeper may be behind it
        if closed:
            shut = replace(self, closed=True, closed_at_ms=now_ms, inside=False, unopened=0)
            return replace(shut, unsure=False, passed=True, carried=None, empty_before=False)
        remain = not self._empty(now_ms)
        return replace(
            self,
            closed=False,
            closed_at_ms=None,
            opened_at_ms=now_ms,
            inside=False,
            was_inside=self.inside or believe(self, now_ms=now_ms).occupied is True,
            may_remain=self.may_remain if self._just_unlocked(now_ms) else remain,
            unnamed=not remain and not self._just_unlocked(now_ms),
            unopened=0,
            unsure=False,
            passed=True,
            carried=None,
            empty_before=False,
        )

    def unlocked(self, *, now_ms: int, happened_ms: int | None = None, staff: bool = False) -> "Evidence":
        """Take that the lock opened from outside: somebody came, whether or not the contact has said so yet.

        Args:
            now_ms: Monotonic ms.
            happened_ms: When the lock opened, on the same clock: a lock's log is read later. Left out, now.
            staff: It opened for somebody who does not live here.
        """
        at_ms = now_ms if happened_ms is None else min(happened_ms, now_ms)
        empty = self._empty(now_ms)
        visited_at_ms = at_ms if staff and (empty or self.visited_at_ms is not None) else None
        again = self.unlocked_at_ms is not None and at_ms - self.unlocked_at_ms <= UNLOCK_OPENS_MS
        told = self.opened_at_ms is not None and self.opened_at_ms >= at_ms - UNLOCK_OPENS_MS
        known = told or again or self.closed is not True or self._contact_unheard(at_ms)
        remain = not staff or (self.may_remain if known else not empty)
        after = replace(self, unlocked_at_ms=at_ms, visited_at_ms=visited_at_ms, may_remain=remain, unnamed=False)
        after = replace(after, empty_before=self.empty_before and staff)
        if not staff and (unseen_ms := self._came_unseen_ms(at_ms)) is not None:
            return replace(after, inside=True, carried=max(self.carried or 0.0, inside_still(unseen_ms)))
        if known:
            return after  # this passage has been told of, and what was proved since stays proved
        after = replace(after, unopened=self.unopened + 1)
        return replace(after, inside=False, closed_at_ms=None, may_remain=True) if after.stuck else after

    def moved(self, *, motion: bool, now_ms: int) -> "Evidence":
        """Take what the motion sensor says, changed or repeated."""
        # of a sensor that has not spoken to this life, the first word behind a door that moved counts: if it only
        # repeats itself, an empty room stays warm until its door moves again
        rising = motion and (self.motion is not True or (self.unheard and self.passed))
        since_ms = None if self.closed_at_ms is None else now_ms - self.closed_at_ms
        left = self.was_inside and not self._came_in()  # the last passage was somebody's leaving, as far as is known
        late = left and since_ms is not None and since_ms <= LATE_REPORT_MS
        outlived = motion and since_ms is not None and since_ms > MOTION_HOLD_MS
        shut = self.closed is True and not self.stuck
        after = replace(
            self,
            motion=motion,
            unheard=False,
            motion_said_at_ms=now_ms,
            motion_seen_at_ms=now_ms if motion else self.motion_seen_at_ms,
        )
        return after._proved() if shut and ((rising and not late) or outlived) else after

    def asleep(self, *, now_ms: int) -> "Evidence":
        """Take that it is an hour of sleep."""
        return replace(self, night_ms=now_ms)

    def another_contact(self) -> "Evidence":
        """Take that another contact is on the door: what the last one said holds until this one speaks."""
        if self.closed is None:
            return replace(self, unopened=0)
        return replace(
            self,
            shut_before=self.closing_seen,
            unsure=True,
            closed_at_ms=None,
            may_remain=True,  # who came in meanwhile, nobody has seen: as after a restart
            unopened=0,
        )

    def no_contact(self) -> "Evidence":
        """Take that no contact is on the door any more: who goes is not seen, so nobody is known to be inside."""
        return replace(
            self,
            closed=None,
            closed_at_ms=None,
            inside=False,
            was_inside=False,
            may_remain=True,
            unnamed=False,
            unopened=0,
            unsure=False,
            shut_before=False,
            carried=None,
            passed=False,
            empty_before=False,
        )

    def another_sensor(self) -> "Evidence":
        """Take that another motion sensor is in the room, or none: it has not shown that it sees anybody."""
        return replace(self, motion=True, unheard=True, motion_said_at_ms=None, motion_seen_at_ms=None, passed=False)

    def touched(self) -> "Evidence":
        """Take that somebody used a panel in the room: nobody does that from outside."""
        return self._proved() if self.closed is True and not self.stuck else self

    def visit(self, *, now_ms: int) -> bool:
        """Say whether whoever is inside is staff in a room whose guest is out."""
        return self.visited_at_ms is not None and now_ms - self.visited_at_ms <= VISIT_MOST_MS

    def somebody_came(self, *, now_ms: int) -> bool:
        """Say whether somebody was seen to come into a room believed empty whom no lock has named for a minute."""
        opened_ms, seen_ms = self.opened_at_ms, self.motion_seen_at_ms
        if not self.unnamed or opened_ms is None or seen_ms is None:
            return False
        return seen_ms >= opened_ms and now_ms - opened_ms >= UNLOCK_OPENS_MS

    def _proved(self) -> "Evidence":
        return replace(self, inside=True, carried=None, empty_before=False)

    def _empty(self, now_ms: int) -> bool:
        return self.empty_before or believe(self, now_ms=now_ms).occupied is False

    def _came_unseen_ms(self, at_ms: int) -> int | None:
        """Return for how long nobody listened after somebody came in; None: somebody did, or the door moved since."""
        if self.resumed_ms is None or at_ms > self.resumed_ms or self.closed is not True:
            return None
        moved = self.opened_at_ms is not None and self.opened_at_ms > self.resumed_ms
        return None if moved or (self.inside and self.carried is None) else self.resumed_ms - at_ms

    def _contact_unheard(self, at_ms: int) -> bool:
        """Whether a door that was opened then may have moved while nobody listened."""
        return self.resumed_ms is not None and (self.unsure or at_ms <= self.resumed_ms + LATE_REPORT_MS)

    def _just_unlocked(self, now_ms: int) -> bool:
        return self.unlocked_at_ms is not None and now_ms - self.unlocked_at_ms <= UNLOCK_OPENS_MS

    def _came_in(self) -> bool:
        """Whether the last passage began with an unlock: somebody came in by it."""
        if self.unlocked_at_ms is None or self.opened_at_ms is None:
            return False
        return abs(self.opened_at_ms - self.unlocked_at_ms) <= UNLOCK_OPENS_MS


def believe(evidence: Evidence, *, now_ms: int) -> Belief:
    """Return what the sensors say now; harmless to ask at any time, any number of times."""
    said = evidence.motion_said_at_ms
    if evidence.closed is False:
        sensed = said is not None and now_ms - said <= HEARTBEAT_MS
        return Belief(True, CONFIDENCE_LEAST) if sensed and evidence.motion else Belief(None, CONFIDENCE_EVEN)
    if evidence.inside:
        sure = CONFIDENCE_INSIDE if evidence.carried is None else evidence.carried
        return Belief(True, sure) if sure > CONFIDENCE_LEAST else Belief(None, CONFIDENCE_EVEN)
    closed_at_ms = evidence.closed_at_ms
    if evidence.stuck or evidence.closed is None or closed_at_ms is None or said is None or not evidence.seeing:
        return Belief(None, CONFIDENCE_EVEN)
    if evidence.motion:
        # high since before the closing: the sensor's hold time, or somebody who never let it fall
        if said - closed_at_ms > MOTION_HOLD_MS:
            return Belief(True, CONFIDENCE_INSIDE)
        return Belief(None, CONFIDENCE_EVEN)
    since_ms, tau_ms = closed_at_ms, QUIET_TAU_MS
    if evidence.may_remain or evidence.unnamed:
        tau_ms = QUIET_TAU_AFTER_OCCUPIED_MS
        since_ms = closed_at_ms if evidence.night_ms is None else max(closed_at_ms, evidence.night_ms)
    quiet_ms = min(now_ms, said + HEARTBEAT_MS) - since_ms
    if quiet_ms <= 0:
        return Belief(None, CONFIDENCE_EVEN)
    confidence = 1.0 - 0.5 * math.exp(-quiet_ms / tau_ms)
    return Belief(False, min(confidence, 0.999)) if confidence > CONFIDENCE_LEAST else Belief(None, confidence)


def inside_still(gap_ms: int | None) -> float:
    """Return how sure it is that who was inside when nobody listened any more still is, 0.5 to below 1.

    Args:
        gap_ms: For how long nobody listened; None: nobody knows.
    """
    if gap_ms is None:
        return CONFIDENCE_EVEN
    return max(CONFIDENCE_EVEN, CONFIDENCE_INSIDE * math.exp(-gap_ms / OUT_TAU_MS))


def fused(sensed: Belief, *, rented: bool) -> Belief:
    """Return what sensors and the PMS say together.

    Args:
        sensed: What `believe` says.
        rented: Whether a stay is in house in this room.
    """
    if sensed.occupied is None and not rented:
        return Belief(False, CONFIDENCE_OF_PMS)
    return sensed
