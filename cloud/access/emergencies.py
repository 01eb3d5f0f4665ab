"""Emergency keys on their way: a draft from the building, and the approvals of two people.

The building counts two officers by their keys; here it is seen to that they are two people, each signed in as himself.
Neither rule stands in for the other: one person who holds both keys is stopped here, two who hold one key there.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from cloud.kit.database import Connection, execute, fetch_all, fetch_one
from cloud.kit.times import at
from protocols.errors import PlatformError

APPROVALS: Final = 2
RECENT_MOST: Final = 50
_DRAFT: Final = (
    "grant_id, person, reason, doors, statement, officers, drafted_by, drafted_at, until_at, issued_at, withdrawn_at,"
    " withdrawn_by"
)


class NotApprovableError(PlatformError):
    """The approval is not taken; says why, and nothing was changed."""


@dataclass(frozen=True, slots=True)
class Approval:
    """One officer's signature, and who handed it in."""

    by: str
    officer: str
    signature: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Draft:
    """What two officers are to approve. `statement` is what they sign, in hexadecimal."""

    grant_id: str
    person: str
    reason: str
    doors: list[str]
    statement: str
    officers: list[str]
    drafted_by: str
    drafted_at: datetime
    until_at: datetime
    issued_at: datetime | None
    withdrawn_at: datetime | None = None
    withdrawn_by: str | None = None


async def keep(connection: Connection, draft: Draft, *, tenant: str, property_id: str) -> None:
    """Keep a draft; the same one again changes nothing."""
    await execute(
        connection,
        """INSERT INTO access.emergency_draft (property, grant_id, tenant, person, reason, doors, statement, officers,
                                               drafted_by, drafted_at, until_at)
           VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING""",
        [
            property_id,
            draft.grant_id,
            tenant,
            draft.person,
            draft.reason,
            draft.doors,
            draft.statement,
            draft.officers,
            draft.drafted_by,
            draft.drafted_at,
            draft.until_at,
        ],
    )


async def draft_of(connection: Connection, *, tenant: str, property_id: str, grant_id: str) -> Draft | None:
    """Return a draft."""
    row = await fetch_one(
        connection,
        f"SELECT {_DRAFT} FROM access.emergency_draft WHERE tenant = %s AND property = %s AND grant_id = %s",  # noqa: S608 - a constant
        [tenant, property_id, grant_id],
    )
    return None if row is None else Draft(**row)


async def recent(connection: Connection, *, tenant: str, property_id: str, since: datetime) -> list[Draft]:
    """Return the drafts of a property since then, newest first; at most `RECENT_MOST`."""
    rows = await fetch_all(
        connection,
        f"SELECT {_DRAFT} FROM access.emergency_draft WHERE tenant = %s AND property = %s AND drafted_at >= %s"  # noqa: S608 - a constant
        " ORDER BY drafted_at DESC, grant_id LIMIT %s",
        [tenant, property_id, since, RECENT_MOST],
    )
    return [Draft(**row) for row in rows]


async def take_back(
    connection: Connection, draft: Draft, *, tenant: str, property_id: str, by: str, now_ms: int
) -> None:
    """Note that somebody took a draft, or the key made of it, back; the first who did stays the one."""
    await execute(
        connection,
        """UPDATE access.emergency_draft
              SET withdrawn_at = coalesce(withdrawn_at, %s), withdrawn_by = coalesce(withdrawn_by, %s)
            WHERE tenant = %s AND property = %s AND grant_id = %s""",
        [at(now_ms), by, tenant, property_id, draft.grant_id],
    )


async def approvals_of(connection: Connection, *, tenant: str, property_id: str, grant_id: str) -> list[Approval]:
    """Return who approved a draft, first come first."""
    rows = await fetch_all(
        connection,
        "SELECT by, officer, signature, at FROM access.emergency_approval"
        " WHERE tenant = %s AND property = %s AND grant_id = %s ORDER BY at, by",
        [tenant, property_id, grant_id],
    )
    return [Approval(**row) for row in rows]


async def approve(
    connection: Connection, draft: Draft, approval: Approval, *, tenant: str, property_id: str, now_ms: int
) -> None:
    """Take one person's approval; handed in again it replaces that person's earlier one.

    Raises:
        NotApprovableError: too late, no officer of the draft, or that officer's key was used by somebody else.
    """
    if draft.issued_at is not None:
        raise NotApprovableError("this key has been issued")
    if draft.withdrawn_at is not None:
        raise NotApprovableError("this draft was taken back")
    if at(now_ms) >= draft.until_at:
        raise NotApprovableError("its 15 minutes are over: draft it anew")
    if approval.officer not in draft.officers:
        raise NotApprovableError(f"{approval.officer} is not the key of an officer of this house")
    others = await approvals_of(connection, tenant=tenant, property_id=property_id, grant_id=draft.grant_id)
    if any(each.officer == approval.officer and each.by != approval.by for each in others):
        raise NotApprovableError("that officer's key has approved this already, for somebody else")
    await execute(
        connection,
        """INSERT INTO access.emergency_approval (property, grant_id, tenant, by, officer, signature, at)
           VALUES (%s, %s, %s, %s, %s, %s, %s)
           ON CONFLICT (property, grant_id, by) DO UPDATE
              SET officer = excluded.officer, signature = excluded.signature, at = excluded.at""",
        [property_id, draft.grant_id, tenant, approval.by, approval.officer, approval.signature, approval.at],
    )


async def issued(connection: Connection, *, property_id: str, grant_id: str, now_ms: int) -> None:
    """Note that the building has issued it."""
    await execute(
        connection,
        "UPDATE access.emergency_draft SET issued_at = coalesce(issued_at, %s) WHERE property = %s AND grant_id = %s",
        [at(now_ms), property_id, grant_id],
    )
