"""What the mirror of a PMS's reservations holds: for whoever compares it with the PMS."""

from collections.abc import Mapping, Sequence
from typing import Any

from cloud.kit.database import Connection, fetch_all, fetch_one
from cloud.kit.times import at, unix_ms
from cloud.stays.reservation import PmsStatus, Reservation


async def mirrored(
    connection: Connection, *, property_id: str, system: str, from_ms: int, until_ms: int
) -> Mapping[str, Reservation]:
    """Return the reservations whose stay touches a time interval (unix ms), by their id in the PMS."""
    rows = await fetch_all(
        connection,
        """SELECT external_id, number, status, room, guest_name, arrival_at, departure_at, adults, children, updated_at,
                  room_type
             FROM stays.reservation
            WHERE property = %s AND system = %s AND arrival_at < %s AND departure_at > %s""",
        [property_id, system, at(until_ms), at(from_ms)],
    )
    return {row["external_id"]: _reservation(system, row) for row in rows}


async def bookings_of(
    connection: Connection, *, property_id: str, system: str, ids: Sequence[str], part: str
) -> Mapping[str, Reservation]:
    """Return the reservations that nobody has come for yet, of these ids or parts of them, by their id in the PMS.

    Args:
        ids: In the PMS.
        part: Stands between the id of a reservation and that of one room of it.
    """
    rows = await fetch_all(
        connection,
        """SELECT external_id, number, status, room, guest_name, arrival_at, departure_at, adults, children, updated_at,
                  room_type
             FROM stays.reservation
            WHERE property = %s AND system = %s AND status IN ('option', 'booked')
              AND (external_id = ANY(%s) OR split_part(external_id, %s, 1) = ANY(%s))""",
        [property_id, system, list(ids), part, list(ids)],
    )
    return {row["external_id"]: _reservation(system, row) for row in rows}


async def open_of(
    connection: Connection, *, property_id: str, system: str, ids: Sequence[str], since_ms: int
) -> Sequence[str]:
    """Return those of these ids, in the PMS, whose guest is to come, is here, or left after `since_ms` (unix ms):
    the next arrivals first.
    """
    rows = await fetch_all(
        connection,
        """SELECT external_id FROM stays.reservation
            WHERE property = %s AND system = %s AND external_id = ANY(%s) AND departure_at > %s
              AND status IN ('option', 'booked', 'in_house', 'left') ORDER BY arrival_at, external_id""",
        [property_id, system, list(ids), at(since_ms)],
    )
    return [row["external_id"] for row in rows]


def _reservation(system: str, row: Mapping[str, Any]) -> Reservation:
    return Reservation(
        system=system,
        external_id=row["external_id"],
        number=row["number"],
        status=PmsStatus(row["status"]),
        room=row["room"],
        guest_name=row["guest_name"],
        arrival_ms=unix_ms(row["arrival_at"]),
        departure_ms=unix_ms(row["departure_at"]),
        adults=row["adults"],
        children=row["children"],
        updated_ms=unix_ms(row["updated_at"]),
        room_type=row["room_type"],
    )


async def newest_change_ms(connection: Connection, *, property_id: str, system: str) -> int | None:
    """Return when the newest change was made that a PMS told of one property, in unix ms by its own clock."""
    row = await fetch_one(
        connection,
        "SELECT max(updated_at) AS newest FROM stays.reservation WHERE property = %s AND system = %s",
        [property_id, system],
    )
    return None if row is None else unix_ms(row["newest"])
