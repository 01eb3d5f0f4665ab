"""Reads and writes sessions, their guests and their steps; decides nothing."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cloud.checkin.judgement import REVIEW, Verdict
from cloud.checkin.steps import Fact, StepState
from cloud.kit.database import Connection, execute, fetch_all, fetch_one, jsonb
from cloud.kit.times import at
from cloud.platform.properties import Property
from protocols.policy import check_in
from protocols.policy.check_in import CheckInPolicy, StepKind


@dataclass(frozen=True, slots=True)
class Row:
    """A session as it is stored."""

    id: str
    tenant: str
    property: str
    stays: tuple[str, ...]
    party: int
    policy_version: int
    policy: CheckInPolicy
    state: str
    channel: str
    language: str
    began_at: datetime
    expires_at: datetime
    ended_at: datetime | None
    help_asked_at: datetime | None
    help_reason: str | None
    subject_key: bytes | None


async def insert(connection: Connection, place: Property, values: Mapping[str, Any]) -> None:
    """Begin a session."""
    await execute(
        connection,
        """INSERT INTO checkin.session (id, tenant, property, stays, party, policy_version, policy, state, channel,
                                        language, began_by, began_at, used_at, expires_at, keep_until)
           VALUES (%(id)s, %(tenant)s, %(property)s, %(stays)s, %(party)s, %(policy_version)s, %(policy)s, 'open',
                   %(channel)s, %(language)s, %(by)s, %(now)s, %(now)s, %(expires)s, %(expires)s)""",
        {**values, "tenant": place.tenant, "property": place.id},
    )


async def of_stay(connection: Connection, place: Property, stay: str, *, lock: bool = False) -> Row | None:
    """Return the newest session that a stay is part of, whatever became of it."""
    rows = await fetch_all(
        connection,
        """SELECT id, tenant, property, stays, party, policy_version, policy, state, channel, language, began_at,
                  expires_at, ended_at, help_asked_at, help_reason, subject_key
             FROM checkin.session WHERE tenant = %s AND property = %s AND stays @> ARRAY[%s::text]
            ORDER BY state = 'open' DESC, began_at DESC, id DESC LIMIT 1""",
        [place.tenant, place.id, stay],
    )
    if not rows:
        return None
    if lock:
        await execute(connection, "SELECT 1 FROM checkin.session WHERE id = %s FOR UPDATE", [rows[0]["id"]])
    row = rows[0]
    key = row["subject_key"]
    return Row(
        **{
            **row,
            "stays": tuple(row["stays"]),
            "policy": check_in.parse(row["policy"]),
            "subject_key": None if key is None else bytes(key),
        }
    )


async def facts_of(connection: Connection, session: str) -> dict[tuple[StepKind, str], Fact]:
    """Return what is stored of each step."""
    rows = await fetch_all(
        connection, "SELECT kind, subject, state, reason FROM checkin.step WHERE session = %s", [session]
    )
    return {(StepKind(row["kind"]), row["subject"]): Fact(StepState(row["state"]), row["reason"]) for row in rows}


async def step_rows(connection: Connection, session: str) -> list[dict[str, Any]]:
    """Return every stored step with actor, time and evidence, for staff."""
    return await fetch_all(
        connection,
        "SELECT kind, subject, state, actor, channel, at, evidence, reason FROM checkin.step WHERE session = %s"
        " ORDER BY at, kind, subject",
        [session],
    )


async def store(
    connection: Connection,
    row: Row,
    kind: StepKind,
    subject: str,
    verdict: Verdict,
    *,
    actor: str,
    channel: str,
    now_ms: int,
) -> bool:
    """Keep a verdict; return False where something stronger stands: staff has decided, or is to look."""
    count = await execute(
        connection,
        """INSERT INTO checkin.step (session, kind, subject, tenant, property, state, actor, channel, at, evidence,
                                     reason)
           VALUES (%(session)s, %(kind)s, %(subject)s, %(tenant)s, %(property)s, %(state)s, %(actor)s, %(channel)s,
                   %(at)s, %(evidence)s, %(reason)s)
           ON CONFLICT (session, kind, subject) DO UPDATE SET
               state = excluded.state, actor = excluded.actor, channel = excluded.channel, at = excluded.at,
               evidence = excluded.evidence, reason = excluded.reason
            WHERE excluded.state = 'waived'
               OR (step.state <> 'waived' AND NOT (step.state = 'needs_staff' AND step.reason = %(review)s))""",
        {
            "session": row.id, "kind": kind.value, "subject": subject, "tenant": row.tenant, "property": row.property,
            "state": verdict.state.value, "actor": actor, "channel": channel, "at": at(now_ms),
            "evidence": jsonb(verdict.evidence), "reason": verdict.reason, "review": REVIEW,
        },
    )  # fmt: skip
    return count == 1


async def undo(connection: Connection, row: Row, kind: StepKind, subject: str) -> None:
    """Forget a step that no longer fits what the guest says; what staff decided or is to look at stays."""
    await execute(
        connection,
        """DELETE FROM checkin.step WHERE session = %s AND kind = %s AND subject = %s AND state <> 'waived'
              AND NOT (state = 'needs_staff' AND reason = %s)""",
        [row.id, kind.value, subject, REVIEW],
    )


async def touch(connection: Connection, row: Row, *, channel: str, now_ms: int) -> None:
    """Note that a session was used, and where."""
    await execute(
        connection,
        "UPDATE checkin.session SET used_at = %s, channel = %s WHERE id = %s",
        [at(now_ms), channel, row.id],
    )


async def end(connection: Connection, session: str, *, state: str, now_ms: int, keep_until_ms: int) -> None:
    """End an open session; what is personal is kept until then."""
    await execute(
        connection,
        "UPDATE checkin.session SET state = %s, ended_at = %s, keep_until = %s WHERE id = %s AND state = 'open'",
        [state, at(now_ms), at(keep_until_ms), session],
    )


async def guests_of(connection: Connection, session: str) -> dict[str, tuple[bytes, bytes | None]]:
    """Return (facts, document), sealed, by slot."""
    rows = await fetch_all(
        connection, "SELECT slot, sealed, document FROM checkin.guest WHERE session = %s ORDER BY slot", [session]
    )
    return {
        row["slot"]: (bytes(row["sealed"]), None if row["document"] is None else bytes(row["document"])) for row in rows
    }


async def party_booked(connection: Connection, place: Property, stays: tuple[str, ...]) -> int:
    """Return how many people the reservations of stays say will come; at least one."""
    row = await fetch_one(
        connection,
        """SELECT sum(greatest(coalesce(r.adults, 1) + coalesce(r.children, 0), 1)) AS people
             FROM stays.stay s JOIN stays.reservation r USING (property, system, external_id)
            WHERE s.tenant = %s AND s.property = %s AND s.id = ANY(%s)""",
        [place.tenant, place.id, list(stays)],
    )
    return 1 if row is None or row["people"] is None else int(row["people"])
