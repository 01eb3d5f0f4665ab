"""Which letters a guest is due, when, and what a try at one comes to. Pure: facts and time in, a ruling out.

A letter of a kind is written once a stay, however often it is decided; an invitation once for each day of arrival that
the stay moves to, if there is time, and never twice for one. What made a letter due is looked at again when it is sent:
a stay that was cancelled, moved, begun or done meanwhile is not written to.
"""

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from enum import StrEnum
from typing import Final
from zoneinfo import ZoneInfo

from cloud.checkin.mail.port import Outcome
from cloud.kit.times import at, unix_ms
from cloud.stays.life import StayState

INVITED, ROOM_READY = "checkin.invited", "checkin.room_ready"
"""Outbox events; their bodies name the stay, never a person, an address or a link."""
MOVED_BY: Final = ("checkin.started", "checkin.step_completed", "payment.changed", "stay.changed")
"""Outbox events after which a guest may wait for his room, or no longer."""
HOUR_MS: Final = 3_600_000
NIGHT_FROM, NIGHT_UNTIL = time(21), time(8)
LATE_MS: Final = 12 * HOUR_MS
"""A guest who has not come is invited for so long after his hour of arrival: many a room is booked in the evening."""
MOVED_LEAST_MS: Final = 6 * HOUR_MS
"""Who was told another day hears of the new one only so long before it: later he is on his way, or was on the phone."""
DAYS_MOST: Final = 3
"""For so many days of arrival a stay is written to, however often its PMS moves it."""
LOOK_AGAIN_MS: Final = 6 * HOUR_MS
"""So often is asked whether a stay without an address has one by now."""
BACKOFF_FIRST_MS, BACKOFF_MOST_MS = 60_000, 2 * HOUR_MS
TRIES_MOST: Final = 10
UNSURE_MOST: Final = 3
"""Tries of which the last was handed over and not answered: each leaves a link that may have arrived."""
PER_HOUR: Final = 300
"""Letters that a tenant may send within an hour, where checkin.letter_rate says nothing else."""


class LetterKind(StrEnum):
    """What a letter is for."""

    INVITATION = "invitation"
    ROOM_READY = "room_ready"


class LetterState(StrEnum):
    """Where a letter stands."""

    WAITING = "waiting"
    """What it tells of is not so yet."""
    DUE = "due"
    SENDING = "sending"
    SENT = "sent"
    NOT_POSSIBLE = "not_possible"
    GIVEN_UP = "given_up"
    OVERTAKEN = "overtaken"
    """Nothing is to be told any more."""


class Reason(StrEnum):
    """Why a letter was not sent, or not yet."""

    NO_ADDRESS = "no_address"
    NO_LINK = "no_link"
    REFUSED = "refused"
    PMS_AWAY = "pms_away"
    MAIL_AWAY = "mail_away"
    UNSURE = "unsure"
    STAY_OVER = "stay_over"
    NOT_THE_TIME = "not_the_time"
    MOVED = "moved"
    BEGUN = "begun"
    LINK_USED = "link_used"
    IN_HOUSE = "in_house"
    NOT_WAITING = "not_waiting"
    OFF = "off"


class Session(StrEnum):
    """How far the check-in of a stay is, as far as letters depend on it."""

    NONE = "none"
    """There is none, or its time ran out."""
    OPEN = "open"
    WAITS = "waits"
    """Nothing is missing but the room."""
    KEYS = "keys"
    """Nothing is missing but the keys: every room can be entered."""
    DONE = "done"


@dataclass(frozen=True, slots=True)
class Facts:
    """What a ruling rests on."""

    state: StayState
    from_ms: int
    until_ms: int
    zone: ZoneInfo
    session: Session
    link_used: bool = False
    """A phone has got keys by a link of this stay."""
    written_for: date | None = None
    """The day of arrival that the letter names; None: none, or whichever it is."""
    told_other: bool = False
    """An invitation that names another day has gone out, or may have."""

    @property
    def arrives(self) -> date:
        """The day of arrival, in the house."""
        return at(self.from_ms).astimezone(self.zone).date()


@dataclass(frozen=True, slots=True)
class Ruling:
    """`state` due: it is to be sent, not before `at_ms`. What else: it is not, or not yet, and why."""

    state: LetterState
    at_ms: int
    reason: Reason | None = None


def rule(kind: LetterKind, facts: Facts, *, hours: int, now_ms: int) -> Ruling:
    """Say whether a letter is due; `hours`: how long before the arrival the house invites, 0: never."""
    if facts.state in (StayState.LEFT, StayState.VOID) or now_ms >= facts.until_ms:
        return _over(now_ms, Reason.STAY_OVER)
    if facts.state is StayState.IN_HOUSE:
        return _over(now_ms, Reason.IN_HOUSE)
    if facts.session is Session.DONE:
        return _over(now_ms, Reason.BEGUN)
    if kind is LetterKind.ROOM_READY:
        if facts.session is Session.KEYS:
            return Ruling(LetterState.DUE, by_day(now_ms, facts.zone, arrival_ms=facts.from_ms))
        if facts.session is Session.NONE:
            return _over(now_ms, Reason.NOT_WAITING)
        return Ruling(LetterState.WAITING, now_ms)
    if hours <= 0:
        return _over(now_ms, Reason.OFF)
    if facts.session is not Session.NONE:
        return _over(now_ms, Reason.BEGUN)
    if facts.link_used:
        return _over(now_ms, Reason.LINK_USED)
    if not facts.from_ms - hours * HOUR_MS <= now_ms <= facts.from_ms + LATE_MS:
        return _over(now_ms, Reason.NOT_THE_TIME)
    if facts.written_for not in (None, facts.arrives):
        return _over(now_ms, Reason.MOVED)
    if facts.told_other and facts.from_ms - now_ms < MOVED_LEAST_MS:
        return _over(now_ms, Reason.NOT_THE_TIME)
    return Ruling(LetterState.DUE, by_day(now_ms, facts.zone, arrival_ms=facts.from_ms))


def days(from_ms: int, until_ms: int, zone: ZoneInfo) -> list[tuple[date, datetime, datetime]]:
    """Return the days of a house between two moments, each with when it begins and when the next one does."""
    day, last = (at(each).astimezone(zone).date() for each in (from_ms, until_ms))
    found = []
    while day <= last:
        after_it = day + timedelta(days=1)
        found.append((day, datetime.combine(day, time(), zone), datetime.combine(after_it, time(), zone)))
        day = after_it
    return found


def by_day(now_ms: int, zone: ZoneInfo, *, arrival_ms: int) -> int:
    """Return when a guest is written to: now, or in the morning where it is night in the house and he comes later."""
    local = at(now_ms).astimezone(zone)
    if NIGHT_UNTIL <= local.time() < NIGHT_FROM:
        return now_ms
    day = local.date() + (timedelta(days=1) if local.time() >= NIGHT_FROM else timedelta())
    morning_ms = unix_ms(datetime.combine(day, NIGHT_UNTIL, tzinfo=zone))
    return now_ms if arrival_ms <= morning_ms else morning_ms


def after(outcome: Outcome, *, tries: int, now_ms: int, jitter: float) -> Ruling:
    """Say what a try comes to; `tries` counts it. `jitter` is from 0 to 1."""
    if outcome is Outcome.TAKEN:
        return Ruling(LetterState.SENT, now_ms)
    if outcome is Outcome.REFUSED:
        return Ruling(LetterState.NOT_POSSIBLE, now_ms, Reason.REFUSED)
    reason = Reason.UNSURE if outcome is Outcome.UNKNOWN else Reason.MAIL_AWAY
    if tries >= (UNSURE_MOST if outcome is Outcome.UNKNOWN else TRIES_MOST):
        return Ruling(LetterState.GIVEN_UP, now_ms, reason)
    return Ruling(LetterState.DUE, now_ms + wait_ms(tries, jitter), reason)


def wait_ms(tries: int, jitter: float) -> int:
    """Return how long to wait after so many tries: doubling, and nobody at the same moment as the others."""
    whole = min(BACKOFF_FIRST_MS * 2 ** min(max(tries - 1, 0), 16), BACKOFF_MOST_MS)
    return int(whole * (1 + jitter / 2))


def _over(now_ms: int, reason: Reason) -> Ruling:
    return Ruling(LetterState.OVERTAKEN, now_ms, reason)
