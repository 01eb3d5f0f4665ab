"""Where mirror and PMS had drifted apart when everything was compared: what hints and polls should have brought.

A full comparison repairs as it goes; what is kept here is that there was something to repair, for whoever asks
whether the connection can be trusted. What the PMS no longer lists is asked for by its id before anything is
concluded, and only a booking that was gone twice in a row is taken for cancelled: nobody in house is ended so.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, Literal

from cloud.kit.database import Connection, execute, fetch_all
from cloud.kit.times import at
from cloud.stays.reservation import PmsStatus, Reservation

DRIFT_MOST: Final = 1_000
DETAIL_CHARACTERS_MOST: Final = 300
GONE_BEFORE_CANCELLED: Final = 2
GONE_THOUGH_HINTED: Final = 5
"""Answers in a row that what the PMS itself hinted at is not there."""
GONE_FOR: Final = timedelta(seconds=15)
"""From the first of them to the last, however often the PMS hints meanwhile."""
Kind = Literal["missing", "stale", "gone"]
_OPEN: Final = frozenset({PmsStatus.OPTION, PmsStatus.BOOKED, PmsStatus.IN_HOUSE})
_CANCELLABLE: Final = frozenset({PmsStatus.OPTION, PmsStatus.BOOKED})


@dataclass(frozen=True, slots=True)
class Drift:
    """One reservation: `missing` here, `stale` here, or `gone` there."""

    external_id: str
    kind: Kind
    detail: str


@dataclass(frozen=True, slots=True)
class KnownDrift:
    """A drift as it is kept; `times` in a row it was found."""

    external_id: str
    kind: Kind
    detail: str
    times: int
    first_at: datetime
    last_at: datetime


def compare(here: Mapping[str, Reservation], there: Iterable[Reservation], *, known_until_ms: int) -> list[Drift]:
    """Return what the mirror lacked or held wrongly, of what the PMS last changed before `known_until_ms`. Pure.

    What changed later may still be on its way, and is no drift.
    """
    found: list[Drift] = []
    for theirs in there:
        if theirs.updated_ms >= known_until_ms:
            continue
        ours = here.get(theirs.external_id)
        if ours is None:
            found.append(Drift(theirs.external_id, "missing", f"{theirs.status} since {theirs.updated_ms}"))
        elif difference := _difference(ours, theirs):
            found.append(Drift(theirs.external_id, "stale", difference))
    return found


def unlisted(here: Mapping[str, Reservation], there: Iterable[str]) -> list[str]:
    """Return the ids that the mirror holds open and the PMS did not list. Pure."""
    listed = set(there)
    return sorted(each.external_id for each in here.values() if each.status in _OPEN and each.external_id not in listed)


def cancelled(here: Mapping[str, Reservation], gone_times: Mapping[str, int]) -> list[Reservation]:
    """Return, as cancelled, the bookings that were gone often enough; told again, unchanged, they count again. Pure."""
    return [
        replace(here[each], status=PmsStatus.CANCELLED)
        for each, times in gone_times.items()
        if times >= GONE_BEFORE_CANCELLED and each in here and here[each].status in _CANCELLABLE
    ]


def _difference(ours: Reservation, theirs: Reservation) -> str:
    """Say in which fields two readings of one reservation differ; "" where they do not."""
    names = ("status", "room", "arrival_ms", "departure_ms")
    told = [(name, getattr(ours, name), getattr(theirs, name)) for name in names]
    return "; ".join(f"{name} {mine} here, {other} there" for name, mine, other in told if mine != other)


async def note(
    connection: Connection, *, property_id: str, system: str, found: Iterable[Drift], now_ms: int
) -> dict[str, int]:
    """Keep what one comparison found, forget what it no longer found; return how often each was found in a row."""
    drifts = {each.external_id: each for each in found}
    await execute(
        connection,
        "DELETE FROM pms.drift WHERE property = %s AND system = %s AND NOT external_id = ANY(%s::text[])",
        [property_id, system, list(drifts)],
    )
    times: dict[str, int] = {}
    for each in list(drifts.values())[:DRIFT_MOST]:
        rows = await fetch_all(
            connection,
            """INSERT INTO pms.drift AS known (property, system, external_id, kind, detail, first_at, last_at)
               VALUES (%s, %s, %s, %s, %s, %s, %s)
               ON CONFLICT (property, system, external_id) DO UPDATE SET
                   times = CASE WHEN known.kind = excluded.kind THEN known.times + 1 ELSE 1 END,
                   first_at = CASE WHEN known.kind = excluded.kind THEN known.first_at ELSE excluded.first_at END,
                   kind = excluded.kind, detail = excluded.detail, last_at = excluded.last_at
               RETURNING times""",
            [
                property_id,
                system,
                each.external_id,
                each.kind,
                each.detail[:DETAIL_CHARACTERS_MOST],
                at(now_ms),
                at(now_ms),
            ],
        )
        times[each.external_id] = rows[0]["times"]
    return times


async def still_gone(
    connection: Connection, *, property_id: str, system: str, gone: Iterable[str], told: Iterable[str], now_ms: int
) -> set[str]:
    """Count once more that the PMS does not know what it hinted at, and forget that of what it tells again.

    Returns those of `gone` that it will not know any more.
    """
    await execute(
        connection,
        "DELETE FROM pms.drift WHERE property = %s AND system = %s AND kind = 'gone' AND external_id = ANY(%s)",
        [property_id, system, list(told)],
    )
    over = set[str]()
    for each in gone:
        rows = await fetch_all(
            connection,
            """INSERT INTO pms.drift AS known (property, system, external_id, kind, detail, first_at, last_at)
               VALUES (%s, %s, %s, 'gone', 'the PMS hinted at it and does not know it', %s, %s)
               ON CONFLICT (property, system, external_id) DO UPDATE SET
                   times = CASE WHEN known.kind = 'gone' THEN known.times + 1 ELSE 1 END,
                   first_at = CASE WHEN known.kind = 'gone' THEN known.first_at ELSE excluded.first_at END,
                   kind = excluded.kind, detail = excluded.detail, last_at = excluded.last_at
               RETURNING times, last_at - first_at AS since""",
            [property_id, system, each, at(now_ms), at(now_ms)],
        )
        if rows[0]["times"] >= GONE_THOUGH_HINTED and rows[0]["since"] >= GONE_FOR:
            over.add(each)
    return over


async def report(connection: Connection, *, property_id: str, system: str) -> list[KnownDrift]:
    """Return what the last full comparison found, the newest first."""
    rows = await fetch_all(
        connection,
        """SELECT external_id, kind, detail, times, first_at, last_at FROM pms.drift
            WHERE property = %s AND system = %s ORDER BY last_at DESC, external_id""",
        [property_id, system],
    )
    return [KnownDrift(**row) for row in rows]
