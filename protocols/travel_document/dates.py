"""Dates without a century, and with parts unknown (ICAO Doc 9303, part 3, section 4.8)."""

from dataclasses import dataclass
from datetime import date
from typing import Final

from protocols.travel_document.check_digit import FILLER

UNKNOWN: Final = 2 * FILLER
EXPIRY_AHEAD_YEARS: Final = 50
"""Two digits mean the year that is at most so far ahead, and less than as far behind."""


@dataclass(frozen=True, slots=True)
class BirthDate:
    """A date of birth as documents have it: month and day, or all of it, may be unknown (None)."""

    year: int | None
    month: int | None
    day: int | None

    def whole(self) -> date | None:
        """Return the date, if all of it is known."""
        if self.year is None or self.month is None or self.day is None:
            return None
        return date(self.year, self.month, self.day)

    def years_at_least(self, on: date) -> int | None:
        """Return the age on a day that is certain whatever is unknown; None if the year is."""
        if self.year is None:
            return None
        latest = (self.month or 12, self.day or 31)
        return max(on.year - self.year - int((on.month, on.day) < latest), 0)


def birth_date(text: str, *, today: date) -> BirthDate | None:
    """Read YYMMDD, parts perhaps `<<`. The century is the last in which the day is not in the future. None: no date."""
    parts = [None if part == UNKNOWN else part for part in (text[0:2], text[2:4], text[4:6])]
    if any(part is not None and not _digits(part) for part in parts):
        return None
    year, month, day = (None if part is None else int(part) for part in parts)
    if year is None:
        return BirthDate(None, None, None) if month is None and day is None else None
    if month is None and day is not None:
        return None
    century = today.year // 100 * 100
    if not _not_after(century + year, month, day, today):
        century -= 100
    try:
        date(century + year, month or 1, day or 1)
    except ValueError:
        return None
    return BirthDate(century + year, month, day)


def expiry_date(text: str, *, today: date) -> date | None:
    """Read YYMMDD, in the century that puts it at most `EXPIRY_AHEAD_YEARS` ahead of today. None: no date."""
    if not _digits(text):
        return None
    latest = today.year + EXPIRY_AHEAD_YEARS
    year = latest - (latest - int(text[0:2])) % 100
    try:
        return date(year, int(text[2:4]), int(text[4:6]))
    except ValueError:
        return None


def written(day: date | None) -> str:
    """Write YYMMDD; None is unknown."""
    return 3 * UNKNOWN if day is None else f"{day.year % 100:02}{day.month:02}{day.day:02}"


def _digits(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _not_after(year: int, month: int | None, day: int | None, today: date) -> bool:
    return (year, month or 1, day or 1) <= (today.year, today.month, today.day)
