"""The rooms of a property, as its site plan lists them, and the mode the edge reports for each."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cloud.kit.database import Connection, execute, fetch_all
from cloud.kit.times import at
from protocols.device_model.site_plan import SitePlan


@dataclass(frozen=True, slots=True)
class ModeFact:
    """A `room` record of lane B: the mode a room is in since `at_ms`."""

    room: str
    mode: str
    cause: str | None
    at_ms: int
    incarnation: bytes
    seq: int


async def apply_plan(connection: Connection, plan: SitePlan, *, now_ms: int) -> None:
    """Make the rooms those of `plan`. A room the plan no longer has is retired, never deleted: stays name it."""
    for position, room in enumerate(plan.rooms):
        doors = plan.doors_of(room.id)
        await execute(
            connection,
            """INSERT INTO stays.room (property, id, tenant, position, floor, kind, type, door, lock)
               VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)
               ON CONFLICT (property, id) DO UPDATE SET
                   tenant = excluded.tenant, position = excluded.position, floor = excluded.floor,
                   kind = excluded.kind, type = excluded.type, door = excluded.door, lock = excluded.lock,
                   retired_at = NULL""",
            [
                plan.property.id,
                room.id,
                plan.property.tenant,
                position,
                room.floor,
                room.kind,
                room.type,
                doors[0].id if doors else None,
                doors[0].lock if doors else None,
            ],
        )
    await execute(
        connection,
        "UPDATE stays.room SET retired_at = %s WHERE property = %s AND id <> ALL(%s) AND retired_at IS NULL",
        [at(now_ms), plan.property.id, [room.id for room in plan.rooms]],
    )


async def rooms_of(connection: Connection, *, tenant: str, property_id: str) -> list[dict[str, Any]]:
    """Return the rooms of a property in the plan's order."""
    return await fetch_all(
        connection,
        """SELECT id, floor, kind, type, door, lock, housekeeping, housekeeping_at, mode, mode_cause, mode_at
             FROM stays.room WHERE tenant = %s AND property = %s AND retired_at IS NULL ORDER BY position, id""",
        [tenant, property_id],
    )


async def room_ids(connection: Connection, property_id: str) -> frozenset[str]:
    """Return the ids of the rooms a property has, for a worker on the service's own behalf."""
    rows = await fetch_all(
        connection, "SELECT id FROM stays.room WHERE property = %s AND retired_at IS NULL", [property_id]
    )
    return frozenset(str(row["id"]) for row in rows)


async def apply_modes(connection: Connection, property_id: str, facts: Sequence[ModeFact]) -> None:
    """Take room modes; within one incarnation only a larger seq counts."""
    for fact in facts:
        await execute(
            connection,
            """UPDATE stays.room SET mode = %(mode)s, mode_cause = %(cause)s, mode_at = %(at)s,
                      mode_incarnation = %(incarnation)s, mode_seq = %(seq)s
                WHERE property = %(property)s AND id = %(room)s
                  AND (mode_incarnation IS DISTINCT FROM %(incarnation)s OR mode_seq < %(seq)s)""",
            {
                "mode": fact.mode,
                "cause": fact.cause,
                "at": at(fact.at_ms),
                "incarnation": fact.incarnation,
                "seq": fact.seq,
                "property": property_id,
                "room": fact.room,
            },
        )
