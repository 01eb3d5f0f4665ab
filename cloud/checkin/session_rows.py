"""Reads and writes sessions, their guests and their steps; decides nothing."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, LiteralString

from cloud.checkin.judgement import REVIEW, Verdict
from cloud.checkin.steps import Fact, StepState
from cloud.kit.database import Connection, execute, fetch_all, fetch_one, jsonb
from cloud.kit.times import at, unix_ms
from cloud.platform.properties import Property
from protocols.policy import check_in
from protocols.policy.check_in import CheckInPolicy, StepKind

Sealed = tuple[bytes, bytes | None]
"""What a guest said of himself and what his document says, sealed."""


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


@dataclass(frozen=True, slots=True)
class Answer:
    """A verdict with who gave it, where, and when (unix ms)."""

    verdict: Verdict
    actor: str
    channel: str
    at_ms: int


@dataclass(frozen=True, slots=True)
class Late:
    """A step of which a kiosk may have told: what stands (state, reason), what was answered here, what it told."""

    stands: tuple[StepState, str | None] | None
    here: Answer | None
    kiosk: dict[str, Any] | None


_OF_STAY: Final[LiteralString] = """
    SELECT id, tenant, property, stays, party, policy_version, policy, state, channel, language, began_at,
           expires_at, ended_at, help_asked_at, help_reason, subject_key
      FROM checkin.session WHERE tenant = %s AND property = %s AND stays @> ARRAY[%s::text]
     ORDER BY state = 'open' DESC, began_at DESC, id DESC LIMIT 1 """


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
    """Return the newest session that a stay is part of, whatever became of it; `lock`: as it is once it is locked."""
    rows = await fetch_all(connection, _OF_STAY + ("FOR UPDATE" if lock else ""), [place.tenant, place.id, stay])
    return _row(rows[0]) if rows else None


async def by_id(connection: Connection, place: Property, session: str) -> Row | None:
    """Return a session, locked."""
    rows = await fetch_all(
        connection,
        """SELECT id, tenant, property, stays, party, policy_version, policy, state, channel, language, began_at,
                  expires_at, ended_at, help_asked_at, help_reason, subject_key
             FROM checkin.session WHERE tenant = %s AND property = %s AND id = %s FOR UPDATE""",
        [place.tenant, place.id, session],
    )
    return _row(rows[0]) if rows else None


def _row(row: Mapping[str, Any]) -> Row:
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
        connection, "SELECT kind, subject, state, reason, kiosk FROM checkin.step WHERE session = %s", [session]
    )
    return dict(_fact(**row) for row in rows)


async def facts_and_guests(
    connection: Connection, session: str
) -> tuple[dict[tuple[StepKind, str], Fact], dict[str, Sealed]]:
    """Return what is stored of each step and each guest, in one question."""
    row = await fetch_one(
        connection,
        """SELECT (SELECT jsonb_agg(jsonb_build_object('kind', kind, 'subject', subject, 'state', state,
                                                       'reason', reason, 'kiosk', kiosk))
                     FROM checkin.step WHERE session = %(session)s) AS steps,
                  array_agg(slot ORDER BY slot) AS slots, array_agg(sealed ORDER BY slot) AS sealed,
                  array_agg(document ORDER BY slot) AS documents
             FROM checkin.guest WHERE session = %(session)s""",
        {"session": session},
    )
    if row is None:
        raise RuntimeError("an aggregate has one row")
    guests = zip(row["slots"] or (), row["sealed"] or (), row["documents"] or (), strict=True)
    return dict(_fact(**each) for each in row["steps"] or ()), {slot: _sealed(*both) for slot, *both in guests}


def _fact(
    kind: str, subject: str, state: str, reason: str | None, kiosk: dict[str, Any] | None
) -> tuple[tuple[StepKind, str], Fact]:
    return (StepKind(kind), subject), Fact(StepState(state), reason, kiosk)


async def step_rows(connection: Connection, session: str) -> list[dict[str, Any]]:
    """Return every stored step with actor, time and evidence, for staff.

    Where something was answered here and a kiosk told something as well, the evidence has what it told, as `kiosk`, and
    what was answered here, as `here`.
    """
    return await fetch_all(
        connection,
        """SELECT kind, subject, state, actor, channel, at, reason,
                  evidence || CASE WHEN here IS NULL OR kiosk IS NULL THEN '{}'
                                   ELSE jsonb_build_object('kiosk', kiosk, 'here', here) END AS evidence
             FROM checkin.step WHERE session = %s ORDER BY at, kind, subject""",
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
    here: Answer | None = None,
) -> bool:
    """Keep a verdict; return False where something stronger stands: staff has decided, or is to look.

    `here`: what was answered here, of a step of which a kiosk has told as well.
    """
    count = await execute(
        connection,
        """INSERT INTO checkin.step (session, kind, subject, tenant, property, state, actor, channel, at, evidence,
                                     reason, here)
           VALUES (%(session)s, %(kind)s, %(subject)s, %(tenant)s, %(property)s, %(state)s, %(actor)s, %(channel)s,
                   %(at)s, %(evidence)s, %(reason)s, %(here)s)
           ON CONFLICT (session, kind, subject) DO UPDATE SET
               state = excluded.state, actor = excluded.actor, channel = excluded.channel, at = excluded.at,
               evidence = excluded.evidence, reason = excluded.reason, here = excluded.here
            WHERE excluded.state = 'waived'
               OR (step.state <> 'waived' AND NOT (step.state = 'needs_staff' AND step.reason = %(review)s))""",
        {
            "session": row.id, "kind": kind.value, "subject": subject, "tenant": row.tenant, "property": row.property,
            "state": verdict.state.value, "actor": actor, "channel": channel, "at": at(now_ms),
            "evidence": jsonb(verdict.evidence), "reason": verdict.reason, "review": REVIEW, "here": _form(here),
        },
    )  # fmt: skip
    return count == 1


async def late(connection: Connection, session: str, kind: StepKind, subject: str) -> Late:
    """Return what is stored of a step, what was answered here and what a kiosk told apart."""
    row = await fetch_one(
        connection,
        "SELECT state, reason, actor, channel, at, evidence, kiosk, here FROM checkin.step"
        " WHERE session = %s AND kind = %s AND subject = %s",
        [session, kind.value, subject],
    )
    if row is None:
        return Late(None, None, None)
    stands = StepState(row["state"]), row["reason"]
    if row["kiosk"] is None:
        verdict = Verdict(*stands, row["evidence"])
        return Late(stands, Answer(verdict, row["actor"], row["channel"], unix_ms(row["at"])), None)
    here = row["here"]
    answer = None
    if here is not None:
        verdict = Verdict(StepState(here["state"]), here["reason"], here["evidence"])
        answer = Answer(verdict, here["actor"], here["channel"], here["at_ms"])
    return Late(stands, answer, row["kiosk"])


async def store_late(
    connection: Connection,
    row: Row,
    kind: StepKind,
    subject: str,
    answer: Answer,
    *,
    here: Answer | None,
    kiosk: Mapping[str, Any],
) -> None:
    """Keep how a step stands of which a kiosk has told, with both that it came from."""
    await execute(
        connection,
        """INSERT INTO checkin.step (session, kind, subject, tenant, property, state, actor, channel, at, evidence,
                                     reason, here, kiosk)
           VALUES (%(session)s, %(kind)s, %(subject)s, %(tenant)s, %(property)s, %(state)s, %(actor)s, %(channel)s,
                   %(at)s, %(evidence)s, %(reason)s, %(here)s, %(kiosk)s)
           ON CONFLICT (session, kind, subject) DO UPDATE SET
               state = excluded.state, actor = excluded.actor, channel = excluded.channel, at = excluded.at,
               evidence = excluded.evidence, reason = excluded.reason, here = excluded.here, kiosk = excluded.kiosk""",
        {
            "session": row.id, "kind": kind.value, "subject": subject, "tenant": row.tenant, "property": row.property,
            "state": answer.verdict.state.value, "actor": answer.actor, "channel": answer.channel,
            "at": at(answer.at_ms), "evidence": jsonb(answer.verdict.evidence), "reason": answer.verdict.reason,
            "here": _form(here), "kiosk": jsonb(dict(kiosk)),
        },
    )  # fmt: skip


def _form(answer: Answer | None) -> object:
    if answer is None:
        return None
    verdict = answer.verdict
    form = {"state": verdict.state.value, "reason": verdict.reason, "evidence": verdict.evidence}
    return jsonb({**form, "actor": answer.actor, "channel": answer.channel, "at_ms": answer.at_ms})


async def undo(connection: Connection, row: Row, kind: StepKind, subject: str) -> None:
    """Forget a step that no longer fits what the guest says; what staff decided or is to look at stays.

    What a kiosk told of it stays as well: that was so.
    """
    which = [row.id, kind.value, subject, REVIEW]
    await execute(
        connection,
        """DELETE FROM checkin.step WHERE session = %s AND kind = %s AND subject = %s AND state <> 'waived'
              AND NOT (state = 'needs_staff' AND reason = %s) AND kiosk IS NULL""",
        which,
    )
    await execute(
        connection,
        """UPDATE checkin.step SET state = kiosk->>'state', reason = kiosk->>'reason', actor = kiosk->>'by',
                  channel = 'kiosk', at = to_timestamp((kiosk->>'at_ms')::bigint / 1000.0),
                  evidence = kiosk->'evidence', here = NULL
            WHERE session = %s AND kind = %s AND subject = %s AND state <> 'waived'
              AND NOT (state = 'needs_staff' AND reason = %s) AND kiosk IS NOT NULL""",
        which,
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


async def expire_and_forget(connection: Connection, *, now_ms: int, most: int) -> int:
    """End sessions whose time is over, forget some of what is no longer to be kept; return how many were forgotten."""
    now = at(now_ms)
    await execute(
        connection,
        "UPDATE checkin.session SET state = 'expired', ended_at = %s, keep_until = %s"
        " WHERE state = 'open' AND expires_at <= %s",
        [now, now, now],
    )
    gone = await fetch_all(
        connection,
        """UPDATE checkin.session SET subject_key = NULL WHERE id IN (
               SELECT id FROM checkin.session WHERE subject_key IS NOT NULL AND keep_until <= %s
                  AND state <> 'open' ORDER BY keep_until LIMIT %s) RETURNING id""",
        [now, most],
    )
    await execute(connection, "DELETE FROM checkin.guest WHERE session = ANY(%s)", [[row["id"] for row in gone]])
    return len(gone)


async def widen(connection: Connection, session: str, stays: tuple[str, ...], party: int) -> None:
    """Take further stays into a session."""
    await execute(
        connection,
        "UPDATE checkin.session SET stays = %s, party = %s WHERE id = %s",
        [list(stays), party, session],
    )


async def prolong(connection: Connection, session: str, until_ms: int) -> None:
    """Let an open session live until then at least."""
    await execute(
        connection,
        "UPDATE checkin.session SET expires_at = greatest(expires_at, %s), keep_until = greatest(keep_until, %s)"
        " WHERE id = %s AND state = 'open'",
        [at(until_ms), at(until_ms), session],
    )


async def note_help(connection: Connection, session: str, reason: str, *, now_ms: int) -> None:
    """Note that the guest asks for staff."""
    await execute(
        connection,
        "UPDATE checkin.session SET help_asked_at = %s, help_reason = %s WHERE id = %s",
        [at(now_ms), reason, session],
    )


async def keys_not_under(connection: Connection, tenant: str, number: int, *, most: int) -> dict[str, bytes]:
    """Return some sessions' sealed keys that are not under the tenant's data key of a number, locked."""
    rows = await fetch_all(
        connection,
        """SELECT id, subject_key FROM checkin.session WHERE tenant = %s AND subject_key IS NOT NULL
              AND substring(subject_key FROM 2 FOR 4) <> %s ORDER BY id LIMIT %s FOR UPDATE""",
        [tenant, number.to_bytes(4, "big"), most],
    )
    return {row["id"]: bytes(row["subject_key"]) for row in rows}


async def key_of(connection: Connection, session: str) -> bytes | None:
    """Return a session's key, sealed; None: it has none, or it was forgotten."""
    row = await fetch_one(connection, "SELECT subject_key FROM checkin.session WHERE id = %s", [session])
    return None if row is None or row["subject_key"] is None else bytes(row["subject_key"])


async def is_open(connection: Connection, session: str) -> bool:
    """Tell whether a session is open."""
    row = await fetch_one(connection, "SELECT state FROM checkin.session WHERE id = %s", [session])
    return row is not None and row["state"] == "open"


async def keep_key(connection: Connection, session: str, sealed: bytes) -> None:
    """Keep a session's key, sealed."""
    await execute(connection, "UPDATE checkin.session SET subject_key = %s WHERE id = %s", [sealed, session])


async def guests_of(connection: Connection, session: str) -> dict[str, Sealed]:
    """Return what is stored of each guest, by slot."""
    rows = await fetch_all(
        connection, "SELECT slot, sealed, document FROM checkin.guest WHERE session = %s ORDER BY slot", [session]
    )
    return {row["slot"]: _sealed(row["sealed"], row["document"]) for row in rows}


def _sealed(facts: bytes, document: bytes | None) -> Sealed:
    return bytes(facts), None if document is None else bytes(document)


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
