"""Load a property's site plan into every module that keeps a part of it, in one transaction."""

from cloud.fleet import edges
from cloud.kit.database import Database
from cloud.kit.notify import notify_live
from cloud.platform import properties
from cloud.stays import rooms
from cloud.stays.stays import Place, settle_property
from protocols.device_model.site_plan import SitePlan


async def load_property(database: Database, plan: SitePlan, *, now_ms: int) -> None:
    """Create or renew a property. Loading the same plan again changes nothing.

    Raises:
        InvalidInputError: property or edge belong to somebody else.
    """
    async with database.transaction() as connection:
        await properties.apply_plan(connection, plan, now_ms=now_ms)
        await edges.apply_plan(connection, plan, now_ms=now_ms)
        await rooms.apply_plan(connection, plan, now_ms=now_ms)
        place = Place(plan.property.tenant, plan.property.id, plan.edge)
        await settle_property(connection, place, touched=(), by="plan", now_ms=now_ms)
        await notify_live(connection, plan.property.id, ("plan",))
