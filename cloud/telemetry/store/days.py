"""Spans of time that a partition holds. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from cloud.telemetry.store.port import Resolution

DAY: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """One partition's time, whole UTC days, half open, and its name's last part."""

    since: datetime
    until: datetime
    name: str


def span_of(resolution: Resolution, when: datetime) -> Span:
    """Return the partition that holds `when`: a day of readings and of minutes, a month of quarters, a year of days."""
    day = when.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    if resolution in (Resolution.RAW, Resolution.MINUTE):
        return Span(day, day + DAY, f"{day:%Y%m%d}")
    first = day.replace(day=1)
    if resolution is Resolution.QUARTER:
        return Span(first, (first + 31 * DAY).replace(day=1), f"{first:%Y%m}")
    first = first.replace(month=1)
    return Span(first, first.replace(year=first.year + 1), f"{first:%Y}")


def spans(resolution: Resolution, since: datetime, until: datetime) -> Iterator[Span]:
    """Yield the partitions from the one that holds `since` to the one that holds `until`, both included."""
    span = span_of(resolution, since)
    while span.since <= until:
        yield span
        span = span_of(resolution, span.until)
