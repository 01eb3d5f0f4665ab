"""Questions to the time series as they are asked over HTTP: arguments judged, resolution chosen, cursors. Pure.

What is wrong with a question is said by the name of the argument (InvalidInputError), never guessed around.
"""

import base64
import binascii
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from cloud.kit.times import at, unix_ms
from cloud.telemetry.store.port import Aggregate, Position, Resolution, Selection
from cloud.telemetry.store.sql import ROLLUPS
from protocols.errors import InvalidInputError

SPAN_DEFAULT_MS: Final = 3_600_000
SPAN_MOST_MS: Final = 10 * 366 * 86_400_000
PAST_LEAST_MS: Final = 946_684_800_000
"""2000-01-01: nothing was measured before."""
AHEAD_MOST_MS: Final = 366 * 86_400_000
POINTS_DEFAULT: Final = 1_000
POINTS_MOST: Final = 10_000
RAW_SERIES_MS_MOST: Final = 2_000 * 6 * 3_600_000
"""Series times span up to which readings themselves are looked at: a hotel's quarter of a day, one meter's year."""
NAME_MOST: Final = 80
CURSOR_MOST: Final = 400
FILTERS: Final = ("room", "device", "capability", "attribute")
GROUPINGS: Final = ("series", "device", "room", "capability", "property")

Arguments = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked: `resolution` None lets the answer choose. `after`: go on behind this position."""

    selection: Selection
    since_ms: int
    until_ms: int
    resolution: Resolution | None
    points: int
    after: Position | None = None


class _Cursor(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    about: str
    since_ms: int
    until_ms: int
    resolution: str
    after: tuple[int, int, int, int]


def single(arguments: Sequence[tuple[str, str]], allowed: Sequence[str]) -> dict[str, str]:
    """Return arguments by name. Raises InvalidInputError on one that is unknown or said twice."""
    found: dict[str, str] = {}
    for name, value in arguments:
        if name not in allowed:
            raise InvalidInputError(f"{name:.40}", f"is no argument of this question; known: {', '.join(allowed)}")
        if name in found:
            raise InvalidInputError(name, "said twice")
        found[name] = value
    return found


def selection_of(tenant: str, property_id: str, arguments: Arguments) -> Selection:
    """Return which series are asked for."""
    return Selection(tenant, property_id, *(_name(arguments, name) for name in FILTERS))


def question_of(selection: Selection, arguments: Arguments, *, now_ms: int, pages: bool = True) -> Question:
    """Return the question that arguments ask.

    Args:
        pages: whether `points` and `cursor` mean anything.

    Raises:
        InvalidInputError: names the argument.
    """
    points = whole(arguments, "points", 1, POINTS_MOST, POINTS_DEFAULT) if pages else POINTS_MOST
    resolution = _resolution(arguments)
    cursor = arguments.get("cursor") if pages else None
    if cursor is not None:
        told = _read_cursor(cursor, selection)
        for name in ("since", "until"):
            if name in arguments:
                raise InvalidInputError(name, "is in the cursor already: say one of the two")
        kept = Resolution(told.resolution)
        if resolution is not None and resolution is not kept:
            raise InvalidInputError("resolution", f"the cursor goes on at {kept.value}")
        return Question(selection, told.since_ms, told.until_ms, kept, points, told.after)
    until_ms = _time(arguments, "until", now_ms, now_ms)
    since_ms = _time(arguments, "since", until_ms - SPAN_DEFAULT_MS, now_ms)
    if since_ms >= until_ms:
        raise InvalidInputError("since", f"{iso_of(since_ms)} is not before until, {iso_of(until_ms)}")
    if until_ms - since_ms > SPAN_MOST_MS:
        raise InvalidInputError("since", "more than ten years before until")
    return Question(selection, since_ms, until_ms, resolution, points)


def grouping_of(arguments: Arguments) -> str:
    """Return what an aggregate is to be told by."""
    by = arguments.get("by", GROUPINGS[0])
    if by not in GROUPINGS:
        raise InvalidInputError("by", f"{by!r:.40} is none of {', '.join(GROUPINGS)}")
    return by


def worth_reading_raw(question: Question, series: int) -> bool:
    """Tell whether the readings of a span are few enough to look at before choosing something coarser."""
    return question.resolution is Resolution.RAW or (
        question.resolution is None and series * (question.until_ms - question.since_ms) <= RAW_SERIES_MS_MOST
    )


def coarser(question: Question, *, series: int, kept_since: Mapping[Resolution, int | None]) -> Resolution:
    """Return the finest roll-up that answers in at most `question.points` and is kept for the whole span.

    Args:
        kept_since: of each resolution, since when it is whole; None: always.

    If none is coarse enough, days: the answer comes in pages.
    """
    if question.resolution is not None:
        return question.resolution
    for resolution in ROLLUPS:
        since_ms, until_ms = aligned(question.since_ms, question.until_ms, resolution)
        kept = kept_since.get(resolution)
        is_whole = kept is None or since_ms >= kept
        if series * ((until_ms - since_ms) // resolution.step_ms) <= question.points and is_whole:
            return resolution
    return Resolution.DAY


def fitting(question: Question, *, kept_since: Mapping[Resolution, int | None]) -> Resolution:
    """Return the coarsest roll-up kept for the whole span whose buckets begin and end with it; else the finest kept."""
    kept = [
        each
        for each in ROLLUPS
        if (since := kept_since.get(each)) is None or question.since_ms // each.step_ms * each.step_ms >= since
    ]
    span = (question.since_ms, question.until_ms)
    return next((each for each in reversed(kept) if aligned(*span, each) == span), kept[0] if kept else Resolution.DAY)


def aligned(since_ms: int, until_ms: int, resolution: Resolution) -> tuple[int, int]:
    """Return the span widened to whole buckets."""
    step = resolution.step_ms
    return (since_ms, until_ms) if not step else (since_ms // step * step, -(-until_ms // step) * step)


def windows(since_ms: int, until_ms: int, resolution: Resolution) -> Iterator[tuple[int, int]]:
    """Yield pieces of a span, each small enough to be sorted by the server: a day of readings or minutes, else more."""
    days = {Resolution.RAW: 1, Resolution.MINUTE: 1, Resolution.QUARTER: 30, Resolution.DAY: 3_660}[resolution]
    step = days * Resolution.DAY.step_ms
    while since_ms < until_ms:
        end = min(until_ms, (since_ms // step + 1) * step)
        yield since_ms, end
        since_ms = end


def pieces(since_ms: int, until_ms: int) -> Iterator[tuple[int, int]]:
    """Yield pieces of a span, each twice as long as the one before: of ten years without a reading there are twelve."""
    days = 1
    while since_ms < until_ms:
        end_ms = min(until_ms, (since_ms // Resolution.DAY.step_ms + days) * Resolution.DAY.step_ms)
        yield since_ms, end_ms
        since_ms, days = end_ms, days * 2


def cursor_after(question: Question, resolution: Resolution, after: Position) -> str:
    """Return the cursor that goes on behind a position: it holds the span and resolution, so that they stay."""
    told = _Cursor(_about(question.selection), question.since_ms, question.until_ms, resolution.value, after)
    return base64.urlsafe_b64encode(msgspec.json.encode(told)).decode().rstrip("=")


def behind(question: Question, after: Position) -> Question:
    """Return the question for what comes behind a position."""
    return replace(question, after=after)


def iso_of(when_ms: int) -> str:
    """Return a time as answers tell it."""
    return at(when_ms).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass(slots=True)
class Group:
    """What some series of one capability, attribute and unit amount to together."""

    series: int = 0
    samples: int = 0
    flawed: int = 0
    numbers: int = 0
    least: float | None = None
    most: float | None = None
    total: float = 0.0

    def add(self, each: Aggregate) -> None:
        """Take in one series."""
        self.series += 1
        self.samples += each.samples
        self.flawed += each.flawed
        self.numbers += each.numbers
        self.total += each.total
        self.least = min((one for one in (self.least, each.least) if one is not None), default=None)
        self.most = max((one for one in (self.most, each.most) if one is not None), default=None)

    @property
    def mean(self) -> float | None:
        """The mean of all numbers, each reading counting once."""
        return self.total / self.numbers if self.numbers else None


def _about(selection: Selection) -> str:
    told = msgspec.json.encode(selection)
    return hashlib.blake2b(told, digest_size=6).hexdigest()


def _read_cursor(text: str, selection: Selection) -> _Cursor:
    problem = InvalidInputError("cursor", "is none that an answer to this question gave")
    if len(text) > CURSOR_MOST:
        raise problem
    try:
        told = msgspec.json.decode(
            base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True), type=_Cursor
        )
        Resolution(told.resolution)
    except (binascii.Error, msgspec.MsgspecError, ValueError) as error:
        raise problem from error
    at_ms, series, ordinal, seq = told.after
    in_range = PAST_LEAST_MS <= told.since_ms < told.until_ms <= _LAST_MS and 0 <= at_ms <= _LAST_MS
    if not (in_range and 0 <= series < 2**31 and 0 <= ordinal < 2**63 and 0 <= seq < 2**63):
        raise problem
    if told.about != _about(selection):
        raise InvalidInputError("cursor", "belongs to another selection of series")
    return told


_LAST_MS: Final = 253_402_300_799_999


def _name(arguments: Arguments, name: str) -> str | None:
    value = arguments.get(name)
    if value is None:
        return None
    if not 1 <= len(value) <= NAME_MOST or "\x00" in value:
        raise InvalidInputError(name, f"want 1 to {NAME_MOST} characters")
    return value


def whole(arguments: Arguments, name: str, least: int, most: int, default: int) -> int:
    """Return an argument that is a whole number. Raises InvalidInputError."""
    text = arguments.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= 9 and least <= int(text) <= most):
        raise InvalidInputError(name, f"{text!r:.40} is no whole number from {least} to {most}")
    return int(text)


def _resolution(arguments: Arguments) -> Resolution | None:
    text = arguments.get("resolution", "auto")
    if text == "auto":
        return None
    try:
        return Resolution(text)
    except ValueError as error:
        known = ", ".join(["auto", *(each.value for each in Resolution)])
        raise InvalidInputError("resolution", f"{text!r:.40} is none of {known}") from error


def _time(arguments: Arguments, name: str, default: int, now_ms: int) -> int:
    text = arguments.get(name)
    if text is None:
        return default
    problem = InvalidInputError(
        name, f"{text!r:.60} is no time: want ISO 8601 with a zone, such as {iso_of(now_ms)} (+ in a URL is %2B)"
    )
    if len(text) > 40 or not text.isascii() or "T" not in text.upper():
        raise problem
    try:
        when = datetime.fromisoformat(text)
    except ValueError as error:
        raise problem from error
    if when.tzinfo is None:
        raise problem
    try:
        when_ms = unix_ms(when.astimezone(UTC))
    except (OverflowError, ValueError) as error:
        raise problem from error
    if not PAST_LEAST_MS <= when_ms <= now_ms + AHEAD_MOST_MS:
        raise InvalidInputError(name, f"{text} is before 2000 or more than a year ahead")
    return when_ms


def age_ms(now_ms: int, when: datetime) -> int:
    """Return how long ago `when` was; 0 if a clock says it is yet to come."""
    return max(0, (at(now_ms) - when) // timedelta(milliseconds=1))
