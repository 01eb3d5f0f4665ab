"""Which room of the PMS is which of ours: by its name, written down so that a reservation finds its room by id."""

from collections.abc import Iterable, Mapping

from cloud.kit.database import Connection, execute, fetch_all, fetch_one
from cloud.kit.times import at
from cloud.pms.port import ItemError, PmsRoom


async def keep(
    connection: Connection,
    *,
    property_id: str,
    system: str,
    rooms: Iterable[PmsRoom],
    twice: Iterable[ItemError],
    ours: Iterable[str],
) -> None:
    """Write down which room is which.

    Args:
        rooms: Of the PMS, each name once.
        twice: Other rooms of such a name: whoever is in one must not get the first one's key.
        ours: Ids of the property's rooms.
    """
    known = frozenset(ours)
    for room in rooms:
        await execute(
            connection,
            """INSERT INTO pms.room_map (property, system, external_id, name, room, updated_at)
               VALUES (%s, %s, %s, %s, %s, %s)
               ON CONFLICT (property, system, external_id) DO UPDATE SET
                   name = excluded.name, room = excluded.room, updated_at = excluded.updated_at""",
            [
                property_id,
                system,
                room.external_id,
                room.name,
                room.name if room.name in known else None,
                at(room.updated_ms),
            ],
        )
    for error in twice:
        await execute(
            connection,
            "UPDATE pms.room_map SET room = NULL WHERE property = %s AND system = %s AND external_id = %s",
            [property_id, system, error.external_id],
        )


async def ours_by_id(connection: Connection, *, property_id: str, system: str) -> dict[str, str]:
    """Return our room by the PMS's id of it."""
    rows = await fetch_all(
        connection,
        "SELECT external_id, room FROM pms.room_map WHERE property = %s AND system = %s AND room IS NOT NULL",
        [property_id, system],
    )
    return {row["external_id"]: row["room"] for row in rows}


async def names_by_id(connection: Connection, *, property_id: str, system: str) -> Mapping[str, str]:
    """Return what the PMS calls its rooms, ours or not, by its ids."""
    rows = await fetch_all(
        connection,
        "SELECT external_id, name FROM pms.room_map WHERE property = %s AND system = %s",
        [property_id, system],
    )
    return {row["external_id"]: row["name"] for row in rows}


async def id_of(connection: Connection, *, property_id: str, system: str, room: str) -> str | None:
    """Return the PMS's id of a room of ours; None: it has no such room."""
    row = await fetch_one(
        connection,
        "SELECT external_id FROM pms.room_map WHERE property = %s AND system = %s AND room = %s"
        " ORDER BY external_id LIMIT 1",
        [property_id, system, room],
    )
    return None if row is None else str(row["external_id"])
