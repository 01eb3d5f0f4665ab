"""Times at the rim of the cloud: unix milliseconds inside, aware datetimes in SQL, ISO 8601 with Z in JSON."""

from datetime import UTC, datetime, timedelta
from typing import overload

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)


def at(unix_ms: int) -> datetime:
    """Return the aware UTC datetime of unix milliseconds."""
    return _EPOCH + timedelta(milliseconds=unix_ms)


@overload
def unix_ms(when: datetime) -> int: ...
@overload
def unix_ms(when: None) -> None: ...
def unix_ms(when: datetime | None) -> int | None:
    """Return unix milliseconds of an aware datetime, rounded down; None stays None."""
    return None if when is None else (when - _EPOCH) // _MS


@overload
def iso(when: datetime) -> str: ...
@overload
def iso(when: None) -> None: ...
def iso(when: datetime | None) -> str | None:
    """Return ISO 8601 in UTC with milliseconds and a Z, e.g. `2026-11-21T04:00:00.000Z`; None stays None."""
    if when is None:
        return None
    return when.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
