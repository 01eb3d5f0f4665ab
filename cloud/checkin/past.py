"""Which check-ins belong to stays: for whoever looks back at a guest's."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from cloud.kit.database import Connection, fetch_all


@dataclass(frozen=True, slots=True)
class CheckIn:
    """A check-in session, without anything that was told in it."""

    state: str
    channel: str
    began_at: datetime
    ended_at: datetime | None


async def check_ins_of(
    connection: Connection, *, tenant: str, stays: Sequence[tuple[str, str]]
) -> dict[tuple[str, str], CheckIn]:
    """Return the newest check-in of each of these stays (property, id) that has one."""
    rows = await fetch_all(
        connection,
        """SELECT DISTINCT ON (s.property, asked.stay)
                  s.property, asked.stay, s.state, s.channel, s.began_at, s.ended_at
             FROM unnest(%s::text[], %s::text[]) AS asked (property, stay)
             JOIN checkin.session s ON s.tenant = %s AND s.property = asked.property AND s.stays @> ARRAY[asked.stay]
            ORDER BY s.property, asked.stay, s.state = 'open' DESC, s.began_at DESC, s.id DESC""",
        [[place for place, _ in stays], [stay for _, stay in stays], tenant],
    )
    return {
        (row["property"], row["stay"]): CheckIn(row["state"], row["channel"], row["began_at"], row["ended_at"])
        for row in rows
    }
