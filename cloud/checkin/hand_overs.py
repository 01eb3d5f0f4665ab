"""Which check-ins lie with staff: read for the desk's queue, oldest first.

A question that a guest asked stays until his check-in is over, for nobody but staff knows whether it was answered. Who
went on by himself after he had asked is said to have, and stands behind those who wait.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from cloud.checkin.steps import StepState
from cloud.kit.database import Connection, fetch_all
from cloud.kit.times import at
from cloud.platform.properties import Property
from protocols.policy.check_in import StepKind

HAND_OVERS_MOST: Final = 200


@dataclass(frozen=True, slots=True)
class HandedStep:
    """A step that staff is to look at; `subject` as in steps.py."""

    kind: StepKind
    subject: str
    reason: str | None


@dataclass(frozen=True, slots=True)
class HandOver:
    """An open session that waits for staff: because of steps, because the guest asked (`asked`), or both."""

    session: str
    stay: str
    guest_name: str
    room: str | None
    channel: str
    since: datetime
    asked: str | None
    went_on_at: datetime | None
    """When he last did a step himself after he had asked; None: he did not, or did not ask."""
    steps: tuple[HandedStep, ...]


async def hand_overs(connection: Connection, place: Property, *, now_ms: int) -> list[HandOver]:
    """Return the open sessions of a property that wait for staff, who waits longest first, who went on last."""
    rows = await fetch_all(
        connection,
        """SELECT * FROM (
           SELECT c.id, c.stays[1] AS stay, s.guest_name, s.room, c.channel, c.help_asked_at, c.help_reason,
                  least(c.help_asked_at, min(p.at)) AS since,
                  coalesce(jsonb_agg(jsonb_build_array(p.kind, p.subject, p.reason) ORDER BY p.at, p.kind, p.subject)
                           FILTER (WHERE p.kind IS NOT NULL), '[]') AS steps,
                  (SELECT max(d.at) FROM checkin.step d WHERE d.session = c.id AND d.state = 'done'
                      AND d.channel <> 'desk' AND d.at > c.help_asked_at) AS went_on_at
             FROM checkin.session c
             JOIN stays.stay s ON s.property = c.property AND s.id = c.stays[1]
             LEFT JOIN checkin.step p ON p.session = c.id AND p.state = %s
            WHERE c.tenant = %s AND c.property = %s AND c.state = 'open' AND c.expires_at > %s
            GROUP BY c.id, s.guest_name, s.room
           HAVING c.help_asked_at IS NOT NULL OR count(p.kind) > 0) q
            ORDER BY q.went_on_at IS NOT NULL AND q.steps = '[]', q.since, q.id LIMIT %s""",
        [StepState.NEEDS_STAFF.value, place.tenant, place.id, at(now_ms), HAND_OVERS_MOST],
    )
    return [
        HandOver(
            session=row["id"],
            stay=row["stay"],
            guest_name=row["guest_name"],
            room=row["room"],
            channel=row["channel"],
            since=row["since"],
            asked=row["help_reason"] if row["help_asked_at"] is not None else None,
            went_on_at=row["went_on_at"],
            steps=tuple(HandedStep(StepKind(kind), subject, reason) for kind, subject, reason in row["steps"]),
        )
        for row in rows
    ]
