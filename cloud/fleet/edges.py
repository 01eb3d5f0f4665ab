"""The edges: which one runs which property."""

from cloud.kit.database import Connection, execute
from cloud.kit.times import at
from protocols.device_model.site_plan import SitePlan


async def apply_plan(connection: Connection, plan: SitePlan, *, now_ms: int) -> None:
    """Bind the plan's edge to its property; an edge that was bound before is replaced."""
    await execute(
        connection,
        """INSERT INTO fleet.edge (id, tenant, property, created_at) VALUES (%s, %s, %s, %s)
           ON CONFLICT (property) DO UPDATE SET id = excluded.id, tenant = excluded.tenant""",
        [plan.edge, plan.property.tenant, plan.property.id, at(now_ms)],
    )
