"""Hours of a property's own day: a schedule in its zone, right across both changes of the clock.

Source of truth: protocols/device_model/SPEC.md section 6. A time that the spring change skips is the moment of the
change; of a time that the autumn change brings twice, `from` is the first and `until` the second. Pure.
"""

import datetime
from typing import Annotated, Final, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from protocols.errors import InvalidInputError

Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
DAYS: Final[tuple[Day, ...]] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
Clock24 = Annotated[str, msgspec.Meta(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]\Z")]
_SECOND: Final = datetime.timedelta(seconds=1)


class Hours(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"from_": "from"}):
    """From one time of day up to another, which is on the next day if it is not later."""

    from_: Clock24
    until: Clock24


class Schedule(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"from_": "from"}):
    """Hours on some days of the week; `days` name the day on which they begin. None: every day."""

    from_: Clock24
    until: Clock24
    days: Annotated[tuple[Day, ...], msgspec.Meta(min_length=1, max_length=7)] | None = None


def zone(name: str, place: str) -> ZoneInfo:
    """Return the zone of that name. Raises InvalidInputError: there is none."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise InvalidInputError(place, f"{name!r} is no zone that this machine knows") from error


def local(wall_ms: int, where: ZoneInfo) -> datetime.datetime:
    """Return a moment (unix ms) as the property's clocks show it."""
    return datetime.datetime.fromtimestamp(wall_ms / 1000, where)


def holds(hours: Hours | Schedule, wall_ms: int, where: ZoneInfo) -> bool:
    """Say whether a moment (unix ms) is within the hours."""
    today = local(wall_ms, where).date()
    days = hours.days if isinstance(hours, Schedule) else None
    for day in (today, today - datetime.timedelta(days=1)):
        if days is not None and DAYS[day.weekday()] not in days:
            continue
        begins_ms, ends_ms = _span(hours, day, where)
        if begins_ms <= wall_ms < ends_ms:
            return True
    return False


def _span(hours: Hours | Schedule, day: datetime.date, where: ZoneInfo) -> tuple[int, int]:
    last = day if hours.until > hours.from_ else day + datetime.timedelta(days=1)
    return _moment_ms(day, hours.from_, where, first=True), _moment_ms(last, hours.until, where, first=False)


def _moment_ms(day: datetime.date, time: str, where: ZoneInfo, *, first: bool) -> int:
    hour, minute = time.split(":")
    naive = datetime.datetime.combine(day, datetime.time(int(hour), int(minute)))
    early, late = naive.replace(tzinfo=where, fold=0), naive.replace(tzinfo=where, fold=1)
    if early.utcoffset() != late.utcoffset():
        utc = early.astimezone(datetime.UTC)
        if utc.astimezone(where).replace(tzinfo=None) != naive:  # skipped: the clock never showed it
            return int(_change(late, early).timestamp() * 1000)
    return int((early if first else late).timestamp() * 1000)


def _change(before: datetime.datetime, after: datetime.datetime) -> datetime.datetime:
    """Return the moment at which the offset changes between two moments, to the second."""
    least, most = before.astimezone(datetime.UTC), after.astimezone(datetime.UTC)
    where = before.tzinfo
    offset = least.astimezone(where).utcoffset()
    while most - least > _SECOND:
        middle = least + (most - least) / 2
        middle = middle.replace(microsecond=0)
        if middle <= least:
            break
        if middle.astimezone(where).utcoffset() == offset:
            least = middle
        else:
            most = middle
    return most
