"""When a guest stayed: here, and at the tenant's other houses where the tenant says that they share their guests.

One person is one id of one PMS, and nothing else makes two of them one (docs/decisions/0172). What the caller may not
see of other properties the database does not show (cloud/migrations/fence.py), so it does not count either.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, LiteralString

from cloud.kit.database import Connection, fetch_all, fetch_one
from cloud.kit.times import at
from cloud.stays.life import StayState
from cloud.stays.reservation import PmsStatus


@dataclass(frozen=True, slots=True)
class PastStay:
    """A stay of a guest: past, present or to come."""

    property: str
    stay: str
    state: StayState
    pms_status: PmsStatus
    """How it stands in the PMS: cancelled and not come are told apart there."""
    number: str | None
    room: str | None
    room_type: str | None
    expected_from: datetime
    expected_until: datetime
    actual_in: datetime | None
    actual_out: datetime | None


_HIS: Final[LiteralString] = """
    WITH me AS (
        SELECT tenant, property, id, system, external_id FROM guests.profile
         WHERE tenant = %(tenant)s AND property = %(property)s AND id = %(guest)s AND erased_at IS NULL),
    his AS (
        SELECT property, id FROM me
        UNION
        SELECT other.property, other.id
          FROM me
          JOIN guests.directory mine ON mine.tenant = me.tenant AND mine.property = me.property
                                    AND mine.system = me.system
          JOIN guests.directory theirs ON theirs.tenant = mine.tenant AND theirs.system = mine.system
                                      AND theirs.name = mine.name
          JOIN guests.profile other ON other.tenant = me.tenant AND other.property = theirs.property
                                   AND other.system = me.system AND other.external_id = me.external_id
                                   AND other.erased_at IS NULL),
    stayed AS (
        SELECT s.property, s.id AS stay, s.state, r.status AS pms_status, r.number,
               coalesce(s.edge_room, s.room, s.room_asked) AS room, r.room_type,
               s.expected_from, s.expected_until, s.actual_in, s.actual_out,
               (s.expected_from AT TIME ZONE p.zone)::date AS day
          FROM his
          JOIN guests.booking b ON b.property = his.property AND b.guest = his.id
          JOIN stays.stay s ON s.property = b.property AND s.system = b.system AND s.external_id = b.external_id
          JOIN stays.reservation r ON r.property = s.property AND r.system = s.system
                                  AND r.external_id = s.external_id
          JOIN platform.property p ON p.id = s.property
         WHERE s.tenant = %(tenant)s)
"""
_COLUMNS: Final[LiteralString] = (
    " SELECT property, stay, state, pms_status, number, room, room_type, expected_from, expected_until, actual_in,"
    " actual_out FROM stayed "
)
_VISITS: Final[LiteralString] = (
    " SELECT count(DISTINCT (property, day)) AS visits FROM stayed WHERE state IN ('left', 'in_house') "
)
_EARLIER: Final[LiteralString] = "AND day < (SELECT day FROM stayed WHERE property = %(property)s AND stay = %(stay)s)"
_PROFILES: Final[LiteralString] = " SELECT property, id FROM his ORDER BY property, id"


async def stays_of(
    connection: Connection,
    *,
    tenant: str,
    property_id: str,
    guest: str,
    most: int,
    before: tuple[int, str] | None = None,
) -> list[PastStay]:
    """Return a guest's stays, the latest first, below the position `before`: beginning (unix ms) and id of a stay."""
    position = (None, None) if before is None else (at(before[0]), before[1])
    rows = await fetch_all(
        connection,
        _HIS
        + _COLUMNS
        + """WHERE %(from)s::timestamptz IS NULL OR (expected_from, stay) < (%(from)s, %(stay)s::text)
             ORDER BY expected_from DESC, stay DESC LIMIT %(most)s""",
        {
            "tenant": tenant,
            "property": property_id,
            "guest": guest,
            "from": position[0],
            "stay": position[1],
            "most": most,
        },
    )
    return [_stay(row) for row in rows]


async def current_stay(connection: Connection, *, tenant: str, property_id: str, guest: str) -> PastStay | None:
    """Return where a guest is now; the stay that began last, where he has several rooms. None: in no house of ours."""
    rows = await fetch_all(
        connection,
        _HIS + _COLUMNS + "WHERE state = 'in_house' ORDER BY expected_from DESC, stay DESC LIMIT 1",
        {"tenant": tenant, "property": property_id, "guest": guest},
    )
    return _stay(rows[0]) if rows else None


async def visits(
    connection: Connection, *, tenant: str, property_id: str, guest: str, before_stay: str | None = None
) -> int:
    """Return how often a guest came: rooms of one house that begin on one day, by its clock, are one visit.

    Args:
        before_stay: Only visits that began on an earlier day than this stay of the property.
    """
    asked: dict[str, Any] = {"tenant": tenant, "property": property_id, "guest": guest}
    if before_stay is None:
        row = await fetch_one(connection, _HIS + _VISITS, asked)
    else:
        row = await fetch_one(connection, _HIS + _VISITS + _EARLIER, {**asked, "stay": before_stay})
    return 0 if row is None else int(row["visits"])


async def guest_of_stay(connection: Connection, *, tenant: str, property_id: str, stay: str) -> str | None:
    """Return whose a stay is. None: its PMS has not said, or he was erased."""
    row = await fetch_one(
        connection,
        """SELECT b.guest FROM stays.stay s
             JOIN guests.booking b ON b.property = s.property AND b.system = s.system
                                  AND b.external_id = s.external_id
            WHERE s.tenant = %s AND s.property = %s AND s.id = %s""",
        [tenant, property_id, stay],
    )
    return None if row is None else str(row["guest"])


async def profiles_of_person(
    connection: Connection, *, tenant: str, property_id: str, guest: str
) -> Sequence[tuple[str, str]]:
    """Return the profiles (property, id) that are one person's with this one, itself among them."""
    rows = await fetch_all(
        connection,
        _HIS + _PROFILES,
        {"tenant": tenant, "property": property_id, "guest": guest},
    )
    return [(row["property"], row["id"]) for row in rows]


def _stay(row: dict[str, Any]) -> PastStay:
    return PastStay(**{**row, "state": StayState(row["state"]), "pms_status": PmsStatus(row["pms_status"])})
