"""Properties and their tenants, as their site plans say."""

from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import Final

import msgspec

from cloud.kit.database import Connection, Database, execute, fetch_all, fetch_one, jsonb
from cloud.kit.times import at
from protocols.device_model.site_plan import SitePlan
from protocols.errors import InvalidInputError


@dataclass(frozen=True, slots=True)
class Property:
    """One hotel."""

    id: str
    tenant: str
    name: str
    zone: str
    edge: str


async def apply_plan(connection: Connection, plan: SitePlan, *, now_ms: int) -> None:
    """Create or renew the property of `plan`.

    Raises:
        InvalidInputError: the property belongs to another tenant, or its edge to another property.
    """
    known = await fetch_one(
        connection,
        "SELECT id, tenant, edge FROM platform.property WHERE id = %s OR edge = %s ORDER BY id = %s DESC FOR UPDATE",
        [plan.property.id, plan.edge, plan.property.id],
    )
    if known is not None and known["id"] != plan.property.id:
        raise InvalidInputError("edge", f"{plan.edge} already belongs to property {known['id']}")
    if known is not None and known["tenant"] != plan.property.tenant:
        raise InvalidInputError("property.tenant", f"{plan.property.id} already belongs to another tenant")
    await execute(
        connection,
        "INSERT INTO platform.tenant (id, created_at) VALUES (%s, %s) ON CONFLICT DO NOTHING",
        [plan.property.tenant, at(now_ms)],
    )
    await execute(
        connection,
        """INSERT INTO platform.property (id, tenant, name, zone, edge, site_plan, created_at, updated_at)
           VALUES (%(id)s, %(tenant)s, %(name)s, %(zone)s, %(edge)s, %(plan)s, %(now)s, %(now)s)
           ON CONFLICT (id) DO UPDATE SET name = excluded.name, zone = excluded.zone, edge = excluded.edge,
               site_plan = excluded.site_plan, updated_at = excluded.updated_at""",
        {
            "id": plan.property.id,
            "tenant": plan.property.tenant,
            "name": plan.property.name,
            "zone": plan.property.zone,
            "edge": plan.edge,
            "plan": jsonb(msgspec.to_builtins(plan)),
            "now": at(now_ms),
        },
    )


async def properties_of(connection: Connection, *, tenant: str) -> list[Property]:
    """Return the properties of a tenant by name."""
    rows = await fetch_all(
        connection,
        "SELECT id, tenant, name, zone, edge FROM platform.property WHERE tenant = %s ORDER BY name, id",
        [tenant],
    )
    return [Property(**row) for row in rows]


async def property_of(connection: Connection, *, tenant: str, property_id: str) -> Property | None:
    """Return a tenant's property; None if it does not exist or is another tenant's: nobody can tell which."""
    row = await fetch_one(
        connection,
        "SELECT id, tenant, name, zone, edge FROM platform.property WHERE tenant = %s AND id = %s",
        [tenant, property_id],
    )
    return None if row is None else Property(**row)


_BY_ID: Final = "SELECT id, tenant, name, zone, edge FROM platform.property WHERE id = %s"


async def property_by_id(connection: Connection, property_id: str) -> Property | None:
    """Return a property for a worker that acts on the service's own behalf, never for a caller from outside."""
    row = await fetch_one(connection, _BY_ID, [property_id])
    return None if row is None else Property(**row)


async def ask_property(database: Database, property_id: str) -> Property | None:
    """Return the same to a worker that asks once a second and has no transaction yet."""
    rows = await database.ask(_BY_ID, [property_id])
    return Property(**rows[0]) if rows else None


async def property_by_edge(connection: Connection, edge: str) -> Property | None:
    """Return the property that an edge belongs to: how fan-in learns whose records these are."""
    row = await fetch_one(
        connection, "SELECT id, tenant, name, zone, edge FROM platform.property WHERE edge = %s", [edge]
    )
    return None if row is None else Property(**row)


async def common_doors(connection: Connection, *, tenant: str, property_id: str, zones: int) -> list[str]:
    """Return the names of a property's common doors that a mask of zones opens, in the order of the site plan."""
    doors = await _zoned_doors(connection, tenant=tenant, property_id=property_id)
    return [door for door, mask in doors if mask & zones]


async def common_zones(connection: Connection, *, tenant: str, property_id: str) -> list[tuple[int, list[str]]]:
    """Return a property's zones, each a mask of one bit, rising, with the names of the common doors that it opens."""
    doors = await _zoned_doors(connection, tenant=tenant, property_id=property_id)
    every = reduce(or_, (mask for _, mask in doors), 0)
    bits = (1 << bit for bit in range(every.bit_length()) if every >> bit & 1)
    return [(zone, [door for door, mask in doors if mask & zone]) for zone in bits]


async def _zoned_doors(connection: Connection, *, tenant: str, property_id: str) -> list[tuple[str, int]]:
    row = await fetch_one(
        connection,
        "SELECT site_plan -> 'doors' AS doors FROM platform.property WHERE tenant = %s AND id = %s",
        [tenant, property_id],
    )
    doors = [] if row is None or row["doors"] is None else row["doors"]
    return [(str(door["id"]), int(door.get("zones", 0))) for door in doors]
