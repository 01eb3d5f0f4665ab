"""Door events: who opened which door when, with which grant of which stay, or why not.

A projection of lane A records of kind `access`. The ledger keeps the records themselves; here is what staff
and guests may be shown. No names: a grant and a stay id, resolved by whoever may.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from cloud.kit.database import Connection, execute, fetch_all, fetch_one
from cloud.kit.times import at

OPENED: Final = frozenset({"opened", "promoted", "remote-opened"})
EVENTS_MOST: Final = 500


@dataclass(frozen=True, slots=True)
class AccessFact:
    """One `access` record of lane A. `event_id`: of a record at another maker's lock (protocols/door/SPEC.md 13.4)."""

    incarnation: bytes
    seq: int
    door: str
    room: str | None
    lock: str | None
    lock_seq: int | None
    at_ms: int
    time_quality: str | None
    event: str
    reason: str | None
    grant: str | None
    stay: str | None
    generation: int | None
    battery: float | None
    event_id: str | None = None


@dataclass(frozen=True, slots=True)
class AccessEvent:
    """One event as others may read it. `id` grows with arrival, not with `at`."""

    id: int
    door: str
    room: str | None
    at: datetime
    event: str
    reason: str | None
    stay: str | None
    grant_id: str | None
    lock_seq: int | None
    received_at: datetime

    @property
    def stood_at(self) -> datetime:
        """When it happened, as far as that can be so: it had when we heard of it, however far ahead its clock is."""
        return min(self.at, self.received_at)


@dataclass(frozen=True, slots=True)
class DoorState:
    """What a door last told: its last event and its battery, each with its time."""

    door: str
    battery: float | None
    battery_at: datetime | None
    last_event: str
    last_reason: str | None
    last_at: datetime
    last_received_at: datetime


async def apply_facts(
    connection: Connection, *, tenant: str, property_id: str, edge: str, facts: Sequence[AccessFact], now_ms: int
) -> int:
    """Add events; the same record again, or the same event of a lock at another position, adds nothing.

    Returns how many events are new.
    """
    added = 0
    for fact in facts:
        values = {
            "tenant": tenant,
            "property": property_id,
            "edge": edge,
            "incarnation": fact.incarnation,
            "seq": fact.seq,
            "door": fact.door,
            "room": fact.room,
            "lock": fact.lock,
            "lock_seq": fact.lock_seq,
            "at": at(fact.at_ms),
            "time_quality": fact.time_quality,
            "event": fact.event,
            "reason": fact.reason,
            "grant": fact.grant,
            "stay": fact.stay,
            "generation": fact.generation,
            "battery": fact.battery,
            "event_id": fact.event_id,
            "now": at(now_ms),
            "opened": 1 if fact.event in OPENED else 0,
        }
        count = await execute(
            connection,
            """INSERT INTO access.event (tenant, property, edge, incarnation, seq, door, room, lock, lock_seq, at,
                                         time_quality, event, reason, grant_id, stay, generation, battery,
                                         event_id, received_at)
               VALUES (%(tenant)s, %(property)s, %(edge)s, %(incarnation)s, %(seq)s, %(door)s, %(room)s, %(lock)s,
                       %(lock_seq)s, %(at)s, %(time_quality)s, %(event)s, %(reason)s, %(grant)s, %(stay)s,
                       %(generation)s, %(battery)s, %(event_id)s, %(now)s)
               ON CONFLICT DO NOTHING""",
            values,
        )
        if not count:
            continue
        added += 1
        if fact.grant is not None:
            await execute(
                connection,
                """INSERT INTO access.seen_grant (property, id, tenant, stay, generation, first_seen_at,
                                                  last_seen_at, openings)
                   VALUES (%(property)s, %(grant)s, %(tenant)s, %(stay)s, %(generation)s, %(at)s, %(at)s,
                           %(opened)s)
                   ON CONFLICT (property, id) DO UPDATE SET
                       stay = coalesce(seen_grant.stay, excluded.stay),
                       generation = coalesce(excluded.generation, seen_grant.generation),
                       first_seen_at = least(seen_grant.first_seen_at, excluded.first_seen_at),
                       last_seen_at = greatest(seen_grant.last_seen_at, excluded.last_seen_at),
                       openings = seen_grant.openings + excluded.openings""",
                values,
            )
        await execute(
            connection,
            """INSERT INTO access.lock (property, door, tenant, last_event, last_reason, last_at, last_received_at)
               VALUES (%(property)s, %(door)s, %(tenant)s, %(event)s, %(reason)s, %(at)s, %(now)s)
               ON CONFLICT (property, door) DO UPDATE SET
                   last_event = excluded.last_event, last_reason = excluded.last_reason,
                   last_at = excluded.last_at, last_received_at = excluded.last_received_at
               WHERE (least(excluded.last_at, excluded.last_received_at), excluded.last_at)
                     >= (least(lock.last_at, lock.last_received_at), lock.last_at)""",
            values,
        )
        if fact.battery is not None:
            await execute(
                connection,
                """UPDATE access.lock SET battery = %(battery)s, battery_at = %(at)s
                    WHERE (property, door) = (%(property)s, %(door)s)
                      AND (battery_at IS NULL OR battery_at <= %(at)s OR battery_at > %(now)s + interval '1 minute')""",
                values,
            )
    return added


async def events_before(
    connection: Connection, *, tenant: str, property_id: str, most: int, before: tuple[datetime, int] | None
) -> list[AccessEvent]:
    """Return up to `most` events, newest first, older than the position `before` (its `stood_at` and `id`)."""
    rows = await fetch_all(
        connection,
        """SELECT id, door, room, at, event, reason, stay, grant_id, lock_seq, received_at
             FROM access.event
            WHERE tenant = %(tenant)s AND property = %(property)s
              AND (%(at)s::timestamptz IS NULL OR (stood_at, id) < (%(at)s::timestamptz, %(id)s::bigint))
            ORDER BY stood_at DESC, id DESC LIMIT %(most)s""",
        {
            "tenant": tenant,
            "property": property_id,
            "at": None if before is None else before[0],
            "id": None if before is None else before[1],
            "most": min(most, EVENTS_MOST),
        },
    )
    return [AccessEvent(**row) for row in rows]


async def events_after(
    connection: Connection, *, tenant: str, property_id: str, after_id: int, most: int
) -> list[AccessEvent]:
    """Return the last `most` events that arrived after the one of id `after_id`, in order of arrival."""
    rows = await fetch_all(
        connection,
        """SELECT id, door, room, at, event, reason, stay, grant_id, lock_seq, received_at
             FROM access.event WHERE tenant = %s AND property = %s AND id > %s ORDER BY id DESC LIMIT %s""",
        [tenant, property_id, after_id, most],
    )
    return [AccessEvent(**row) for row in reversed(rows)]


async def door_states(connection: Connection, *, tenant: str, property_id: str) -> dict[str, DoorState]:
    """Return what each door last told, by door id; a door that never told anything is absent."""
    rows = await fetch_all(
        connection,
        "SELECT door, battery, battery_at, last_event, last_reason, last_at, last_received_at FROM access.lock"
        " WHERE tenant = %s AND property = %s",
        [tenant, property_id],
    )
    return {str(row["door"]): DoorState(**row) for row in rows}


async def grant_of(connection: Connection, *, tenant: str, property_id: str, grant: str) -> dict[str, Any] | None:
    """Return what is known of a grant: its stay, first and last use, openings."""
    return await fetch_one(
        connection,
        "SELECT id, stay, generation, first_seen_at, last_seen_at, openings FROM access.seen_grant"
        " WHERE tenant = %s AND property = %s AND id = %s",
        [tenant, property_id, grant],
    )
