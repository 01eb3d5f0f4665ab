"""What the mirror of a PMS's reservations holds: for whoever compares it with the PMS."""

from collections.abc import Mapping

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
    return {
        row["external_id"]: Reservation(
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
        for row in rows
    }


async def newest_change_ms(connection: Connection, *, property_id: str, system: str) -> int | None:
    """Return when the newest change was made that a PMS told of one property, in unix ms by its own clock."""
    row = await fetch_one(
        connection,
        "SELECT max(updated_at) AS newest FROM stays.reservation WHERE property = %s AND system = %s",
        [property_id, system],
    )
    return None if row is None else unix_ms(row["newest"])
