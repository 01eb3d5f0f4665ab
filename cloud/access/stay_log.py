"""What the doors of a stay told: when its key first opened one, and the log of its rooms that a guest may ask for.

A door's log of other people's nights is not the guest's. So an entry is his when his own key made it, at any door, or
when it was made at his room's door while the room was his. That is from check-in to check-out; where his key opened
more than one room, because he was moved, a room that he is not in now was his between its first and its last opening
by his key, and the one he is in from its first.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final, LiteralString

from cloud.access.doors import OPENED
from cloud.kit.database import Connection, fetch_all

ENTRIES_MOST: Final = 2_000


class KeyOf(StrEnum):
    """Whose key made an entry. Of others no more is said: neither which guest nor which of the staff."""

    GUEST = "guest"
    """A key of the stay itself."""
    OTHER_STAY = "other_stay"
    HOUSE = "house"
    """A key that belongs to no stay: staff, emergency, the safe."""
    NONE = "none"
    """No key: the handle, the bolt, the lock itself."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a door's log. `lock_seq` is its position in the lock's own chain."""

    at: datetime
    received_at: datetime
    door: str
    room: str | None
    event: str
    reason: str | None
    key: KeyOf
    lock: str | None
    lock_seq: int | None
    time_quality: str | None


@dataclass(frozen=True, slots=True)
class Missing:
    """Entries of a lock's chain, between the first and the last of the log, that have not arrived here."""

    door: str
    count: int


@dataclass(frozen=True, slots=True)
class StayLog:
    """The log, oldest first. `truncated`: there is more than `ENTRIES_MOST`, and what is newest is left out."""

    entries: list[Entry]
    missing: list[Missing]
    truncated: bool


async def first_openings(
    connection: Connection, *, tenant: str, property_id: str, stays: Sequence[str]
) -> dict[str, datetime]:
    """Return when a key of each stay first opened a door; a stay that none has opened for is absent."""
    rows = await fetch_all(
        connection,
        """SELECT stay, min(stood_at) AS at FROM access.event
            WHERE tenant = %s AND property = %s AND stay = ANY(%s) AND event = ANY(%s) GROUP BY stay""",
        [tenant, property_id, list(stays), sorted(OPENED)],
    )
    return {str(row["stay"]): row["at"] for row in rows}


_OF_THE_STAY: Final[LiteralString] = """
    WITH used AS (
        SELECT room, min(stood_at) AS first_at, max(stood_at) AS last_at FROM access.event
         WHERE tenant = %(tenant)s AND property = %(property)s AND stay = %(stay)s AND room IS NOT NULL
           AND event = ANY(%(opened)s) GROUP BY room
    ), span AS (
        SELECT room, first_at AS from_at,
               CASE WHEN room = %(room)s THEN %(out)s::timestamptz ELSE last_at END AS until_at
          FROM used WHERE EXISTS (SELECT 1 FROM used AS more WHERE more.room IS DISTINCT FROM %(room)s)
        UNION ALL
        SELECT %(room)s, %(in)s::timestamptz, %(out)s::timestamptz
         WHERE %(room)s::text IS NOT NULL AND %(in)s::timestamptz IS NOT NULL
           AND NOT EXISTS (SELECT 1 FROM used WHERE used.room <> %(room)s)
    ), log AS (
        SELECT event.* FROM access.event
         WHERE tenant = %(tenant)s AND property = %(property)s
           AND (stay = %(stay)s OR EXISTS (
                SELECT 1 FROM span WHERE span.room = event.room AND event.stood_at >= span.from_at
                   AND (span.until_at IS NULL OR event.stood_at <= span.until_at)))
    )
"""


async def log_of(
    connection: Connection,
    *,
    tenant: str,
    property_id: str,
    stay: str,
    room: str | None,
    came_at: datetime | None,
    left_at: datetime | None,
) -> StayLog:
    """Return the log of a stay that is, or last was, in `room`; None and None: he has not come, or is still there."""
    asked = {
        "tenant": tenant,
        "property": property_id,
        "stay": stay,
        "room": room,
        "in": came_at,
        "out": left_at,
        "opened": sorted(OPENED),
        "most": ENTRIES_MOST + 1,
    }
    rows = await fetch_all(
        connection,
        _OF_THE_STAY  # noqa: S608 - literals; every value is a parameter
        + """SELECT at, received_at, door, room, event, reason, lock, lock_seq, time_quality,
                    CASE WHEN stay = %(stay)s THEN 'guest' WHEN stay IS NOT NULL THEN 'other_stay'
                         WHEN grant_id IS NOT NULL THEN 'house' ELSE 'none' END AS key
               FROM log ORDER BY stood_at, id LIMIT %(most)s""",
        asked,
    )
    gaps = await fetch_all(
        connection,
        # a shared door's chain holds everybody's entries: it is counted whole and shown only as far as it is his
        _OF_THE_STAY  # noqa: S608 - literals; every value is a parameter
        + """SELECT reach.door, reach.last - reach.first + 1 - count(DISTINCT all_of.lock_seq) AS missing
               FROM (SELECT door, lock, min(lock_seq) AS first, max(lock_seq) AS last FROM log
                      WHERE lock IS NOT NULL AND lock_seq IS NOT NULL GROUP BY door, lock) AS reach
               JOIN access.event AS all_of
                 ON all_of.tenant = %(tenant)s AND all_of.property = %(property)s AND all_of.lock = reach.lock
                AND all_of.lock_seq BETWEEN reach.first AND reach.last
              GROUP BY reach.door, reach.lock, reach.first, reach.last ORDER BY reach.door""",
        asked,
    )
    return StayLog(
        entries=[Entry(**{**row, "key": KeyOf(row["key"])}) for row in rows[:ENTRIES_MOST]],
        missing=[Missing(str(row["door"]), int(row["missing"])) for row in gaps if row["missing"]],
        truncated=len(rows) > ENTRIES_MOST,
    )
