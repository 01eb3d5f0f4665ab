"""How a room policy fares: the gate of its rollout. A room counts as failed that breached its guest's comfort."""

from collections.abc import Sequence
from typing import Final

from cloud.kit.database import Connection, fetch_one
from cloud.kit.times import at

COMFORT_BREACH: Final = "comfort_breach"
"""As buildings call it in records of kind `alert` on lane B: not as a guest wants it for longer than may be."""


async def outcomes(connection: Connection, properties: Sequence[str], since_ms: int) -> tuple[int, int]:
    """Return how many guest rooms there are at properties, and how many breached comfort since then.

    A breach counts from when the building saw it: one that began before a policy came is not the policy's.
    """
    row = await fetch_one(
        connection,
        """
        SELECT (SELECT count(*) FROM stays.room
                 WHERE property = ANY(%(places)s) AND kind = 'guest_room' AND retired_at IS NULL) AS rooms,
               (SELECT count(DISTINCT (property, body ->> 'room')) FROM telemetry.record
                 WHERE property = ANY(%(places)s) AND kind = 'alert' AND lane = 'B' AND received_at >= %(since)s
                   AND edge_at_ms >= %(since_ms)s AND body ->> 'alert' = %(alert)s
                   AND body ->> 'state' = 'raised') AS breached
        """,
        {"places": list(properties), "since": at(since_ms), "since_ms": since_ms, "alert": COMFORT_BREACH},
    )
    return (0, 0) if row is None else (int(row["rooms"]), int(row["breached"]))
