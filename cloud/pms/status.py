"""How the connections to property management systems fare, for whoever watches."""

from dataclasses import dataclass
from datetime import datetime

from cloud.kit.database import Connection, fetch_all
from cloud.pms.drift import KnownDrift, report
from cloud.pms.issues import Issue, issues_of


@dataclass(frozen=True, slots=True)
class ConnectionState:
    """One connection: when it last worked, what ails it, what waits."""

    system: str
    last_ok_at: datetime | None
    last_error: str | None
    last_error_at: datetime | None
    hints_waiting: int
    writes_pending: int
    writes_failed: int
    writes_by_hand: int
    """What a person has to do in a PMS that has no interface for it."""
    issues: tuple[Issue, ...]
    """What is wrong with single items."""
    drift: tuple[KnownDrift, ...] = ()
    """Where mirror and PMS had come apart at the last full comparison, which repaired it."""


async def connection_states(connection: Connection, *, tenant: str, property_id: str) -> list[ConnectionState]:
    """Return every PMS connection of a property."""
    rows = await fetch_all(
        connection,
        """SELECT c.system, c.last_ok_at, c.last_error, c.last_error_at,
                  (SELECT count(*) FROM pms.hint h
                    WHERE h.property = c.property AND h.system = c.system) AS hints_waiting,
                  (SELECT count(*) FROM pms.write_intent w
                    WHERE w.property = c.property AND w.system = c.system AND w.state = 'pending') AS writes_pending,
                  (SELECT count(*) FROM pms.write_intent w
                    WHERE w.property = c.property AND w.system = c.system AND w.state = 'failed') AS writes_failed,
                  (SELECT count(*) FROM pms.write_intent w
                    WHERE w.property = c.property AND w.system = c.system AND w.state = 'by_hand') AS writes_by_hand
             FROM pms.connection c WHERE c.tenant = %s AND c.property = %s ORDER BY c.system""",
        [tenant, property_id],
    )
    return [
        ConnectionState(
            **row,
            issues=tuple(await issues_of(connection, property_id=property_id, system=row["system"])),
            drift=tuple(await report(connection, property_id=property_id, system=row["system"])),
        )
        for row in rows
    ]
