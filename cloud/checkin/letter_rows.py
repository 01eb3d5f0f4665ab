"""Reads and writes letters; decides nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final, LiteralString
from zoneinfo import ZoneInfo

from cloud.checkin.letters import (
    DAYS_MOST,
    LATE_MS,
    MOVED_LEAST_MS,
    PER_HOUR,
    LetterKind,
    LetterState,
    Ruling,
    days,
)
from cloud.kit.database import Connection, Database, execute, fetch_all, fetch_one, lock_for_transaction
from cloud.kit.times import at
from cloud.platform.properties import Property

ENDED: Final = frozenset(
    {LetterState.SENT, LetterState.NOT_POSSIBLE, LetterState.GIVEN_UP, LetterState.OVERTAKEN}
)  # fmt: skip
HOUR_MS: Final = 3_600_000


@dataclass(frozen=True, slots=True)
class Letter:
    """A letter as it is stored."""

    id: str
    tenant: str
    property: str
    stay: str
    kind: LetterKind
    state: LetterState
    tries: int
    arrives: date | None
    """The day of arrival that it is of; None: it is of none."""
    unsure: bool
    """The last try may have arrived."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A letter as the desk sees it; `since` is when it came to stand so."""

    stay: str
    kind: str
    state: str
    reason: str | None
    since: datetime


async def arriving(
    connection: Connection, place: Property, *, hours: int, now_ms: int, most: int
) -> list[tuple[str, date]]:
    """Return stays, each with its day of arrival, that arrive within these hours and whose invitation for that day
    nobody has decided; then those that may be decided again, the longest due first: they come again for ever, and hide
    nobody. Who was told another day, or may have been, is among them only in time, and not for one day after another.
    """
    from_ms, until_ms = now_ms - LATE_MS, now_ms + hours * HOUR_MS
    which, begins, ends = zip(*days(from_ms, until_ms, ZoneInfo(place.zone)), strict=True)
    rows = await fetch_all(
        connection,
        """SELECT s.id, d.day FROM stays.stay s
             JOIN unnest(%(which)s::date[], %(begins)s::timestamptz[], %(ends)s::timestamptz[]) AS d (day, begins, ends)
               ON s.expected_from >= d.begins AND s.expected_from < d.ends
             LEFT JOIN checkin.letter l
               ON l.property = s.property AND l.stay = s.id AND l.kind = 'invitation' AND l.arrives = d.day
             LEFT JOIN LATERAL (
                   SELECT count(*) AS other,
                          bool_or(o.state IN ('sent', 'sending') OR coalesce(o.reason = 'unsure', false)) AS told,
                          bool_or(o.arrives = '0001-01-01') AS for_every_day
                     FROM checkin.letter o
                    WHERE o.property = s.property AND o.stay = s.id AND o.kind = 'invitation' AND o.arrives <> d.day
                      AND o.state <> 'overtaken' AND (o.state <> 'not_possible' OR o.reason <> 'no_address')) o ON true
            WHERE s.tenant = %(tenant)s AND s.property = %(property)s AND s.state IN ('planned', 'ready')
              AND s.expected_from BETWEEN %(late)s AND %(soon)s AND s.expected_until > %(now)s
              AND (l.id IS NULL OR (l.not_before <= %(now)s AND (l.state = 'overtaken'
                   OR (l.state = 'not_possible' AND l.reason = 'no_address'))))
              AND (o.other = 0 OR (o.other < %(days_most)s AND NOT o.for_every_day
                                   AND (NOT o.told OR s.expected_from >= %(in_time)s)))
            ORDER BY l.not_before NULLS FIRST, s.expected_from, s.id LIMIT %(most)s""",
        {
            "tenant": place.tenant, "property": place.id, "now": at(now_ms), "late": at(from_ms), "soon": at(until_ms),
            "in_time": at(now_ms + MOVED_LEAST_MS), "days_most": DAYS_MOST, "most": most,
            "which": list(which), "begins": list(begins), "ends": list(ends),
        },
    )  # fmt: skip
    return [(row["id"], row["day"]) for row in rows]


async def told_other(connection: Connection, place: Property, stay: str, arrives: date) -> bool:
    """Tell whether an invitation that names another day of arrival has gone out, or may have."""
    row = await fetch_one(
        connection,
        "SELECT EXISTS (SELECT FROM checkin.letter WHERE property = %s AND stay = %s AND kind = 'invitation'"
        " AND arrives <> %s AND (state IN ('sent', 'sending') OR reason = 'unsure')) AS told",
        [place.id, stay, arrives],
    )
    return row is not None and bool(row["told"])


async def decide(
    connection: Connection,
    place: Property,
    stay: str,
    kind: LetterKind,
    ruling: Ruling,
    *,
    arrives: date | None = None,
    id_: str,
    now_ms: int,
) -> None:
    """Write a letter down, once a stay, kind and day. One that was overtaken, or had no address, stands anew."""
    await execute(
        connection,
        """INSERT INTO checkin.letter (id, tenant, property, stay, kind, arrives, state, not_before, reason, decided_at,
                                       ended_at)
           VALUES (%(id)s, %(tenant)s, %(property)s, %(stay)s, %(kind)s, coalesce(%(arrives)s::date, '0001-01-01'),
                   %(state)s, %(at)s, %(reason)s, %(now)s, CASE WHEN %(ended)s THEN %(now)s::timestamptz END)
           ON CONFLICT (property, stay, kind, arrives) DO UPDATE SET
               state = excluded.state, not_before = excluded.not_before, reason = excluded.reason,
               decided_at = excluded.decided_at, ended_at = excluded.ended_at, tries = 0
            WHERE letter.state = 'overtaken' OR (letter.state = 'not_possible' AND letter.reason = 'no_address')""",
        {
            "id": id_, "tenant": place.tenant, "property": place.id, "stay": stay, "kind": kind.value,
            "arrives": arrives, "state": ruling.state.value, "at": at(ruling.at_ms), "now": at(now_ms),
            "reason": None if ruling.reason is None else ruling.reason.value, "ended": ruling.state in ENDED,
        },
    )  # fmt: skip


async def wake(connection: Connection, place: Property, stay: str, *, now_ms: int) -> None:
    """Let what waits for a room be looked at now."""
    await execute(
        connection,
        "UPDATE checkin.letter SET not_before = %s WHERE property = %s AND stay = %s AND state = 'waiting'",
        [at(now_ms), place.id, stay],
    )


async def next_one(
    connection: Connection, state: LetterState, *, now_ms: int, but_of: Sequence[str] = ()
) -> Letter | None:
    """Return one letter that waits and whose time it is, or one that is due and fits into what its tenant may send
    within an hour, of another property than `but_of`; locked. Whom another sender has is passed over.
    """
    due = state is LetterState.DUE
    row = await fetch_one(
        connection,
        """SELECT l.id, l.tenant, l.property, l.stay, l.kind, l.state, l.tries,
                  nullif(l.arrives, '0001-01-01') AS arrives,
                  l.state = 'sending' OR coalesce(l.reason = 'unsure', false) AS unsure
             FROM checkin.letter l
            WHERE ((%(due)s AND l.state IN ('due', 'sending')) OR (NOT %(due)s AND l.state = 'waiting'))
              AND l.not_before <= %(now)s AND l.property <> ALL (%(but_of)s)
              AND (NOT %(due)s OR l.tenant IN (
                    SELECT d.tenant FROM (SELECT DISTINCT tenant FROM checkin.letter
                                           WHERE state IN ('due', 'sending') AND not_before <= %(now)s) d
                     WHERE (SELECT count(*) FROM checkin.letter t WHERE t.tenant = d.tenant AND t.tried_at > %(hour)s)
                         < coalesce((SELECT per_hour FROM checkin.letter_rate r WHERE r.tenant = d.tenant), %(rate)s)))
            ORDER BY l.not_before, l.id LIMIT 1 FOR UPDATE OF l SKIP LOCKED""",
        {"due": due, "now": at(now_ms), "hour": at(now_ms - HOUR_MS), "rate": PER_HOUR, "but_of": list(but_of)},
    )
    return None if row is None else _letter(row)


async def room_for_one(connection: Connection, tenant: str, *, now_ms: int) -> bool:
    """Tell whether a tenant may send another letter within this hour; two senders are told one after the other.

    `next_one` counts before it has a letter, so two senders count the same: whoever is second counts again here.
    """
    await lock_for_transaction(connection, "letters", tenant)
    row = await fetch_one(
        connection,
        "SELECT (SELECT count(*) FROM checkin.letter WHERE tenant = %(tenant)s AND tried_at > %(hour)s)"
        " < coalesce((SELECT per_hour FROM checkin.letter_rate WHERE tenant = %(tenant)s), %(rate)s) AS room",
        {"tenant": tenant, "hour": at(now_ms - HOUR_MS), "rate": PER_HOUR},
    )
    return row is not None and bool(row["room"])


async def beside(connection: Connection, letter: Letter, *, now_ms: int, most: int) -> list[Letter]:
    """Return invitations that are due with this one, locked, and that may be the same guest's: of the same house and
    day of arrival, and of one booking number or one name. Whether he is, his address tells.
    """
    rows = await fetch_all(
        connection,
        """SELECT l.id, l.tenant, l.property, l.stay, l.kind, l.state, l.tries, l.arrives,
                  l.state = 'sending' OR coalesce(l.reason = 'unsure', false) AS unsure
             FROM checkin.letter l
             JOIN stays.stay s ON s.property = l.property AND s.id = l.stay
             JOIN stays.reservation r
               ON (r.property, r.system, r.external_id) = (s.property, s.system, s.external_id)
             JOIN stays.stay mine ON mine.property = l.property AND mine.id = %(stay)s AND mine.system = s.system
             JOIN stays.reservation m
               ON (m.property, m.system, m.external_id) = (mine.property, mine.system, mine.external_id)
            WHERE l.property = %(property)s AND l.kind = 'invitation' AND l.arrives = %(arrives)s AND l.id <> %(id)s
              AND l.state IN ('due', 'sending') AND l.not_before <= %(now)s
              AND (r.number = m.number OR (s.guest_name = mine.guest_name AND s.guest_name <> ''))
            ORDER BY l.id LIMIT %(most)s FOR UPDATE OF l SKIP LOCKED""",
        {
            "stay": letter.stay, "property": letter.property, "arrives": letter.arrives, "id": letter.id,
            "now": at(now_ms), "most": most,
        },
    )  # fmt: skip
    return [_letter(row) for row in rows]


def _letter(row: dict[str, Any]) -> Letter:
    return Letter(**{**row, "kind": LetterKind(row["kind"]), "state": LetterState(row["state"])})


async def anything(database: Database, state: LetterState, *, now_ms: int) -> bool:
    """Tell whether there is anything for `next_one`, in one question."""
    query: LiteralString = (
        "SELECT EXISTS (SELECT FROM checkin.letter WHERE state IN ('due', 'sending') AND not_before <= %s) AS any"
        if state is LetterState.DUE
        else "SELECT EXISTS (SELECT FROM checkin.letter WHERE state = 'waiting' AND not_before <= %s) AS any"
    )
    rows = await database.ask(query, [at(now_ms)])
    return bool(rows[0]["any"])


async def begin_try(
    connection: Connection, letter: Letter, *, now_ms: int, until_ms: int, is_beside: bool = False
) -> None:
    """Count a try before it is made: whoever crashes in it has had it. Nobody else has it until then.

    One that `is_beside` another goes in the same message, which counts once.
    """
    await execute(
        connection,
        "UPDATE checkin.letter SET state = 'sending', tries = tries + 1, not_before = %s,"
        " tried_at = CASE WHEN %s THEN tried_at ELSE %s::timestamptz END WHERE id = %s",
        [at(until_ms), is_beside, at(now_ms), letter.id],
    )


async def give_back(connection: Connection, letter: Letter, *, tries: int, now_ms: int) -> None:
    """Let a letter be as it was before its try was begun: nothing was tried."""
    await execute(
        connection,
        "UPDATE checkin.letter SET state = 'due', tries = tries - 1, not_before = %s"
        " WHERE id = %s AND state = 'sending' AND tries = %s",
        [at(now_ms), letter.id, tries],
    )


async def held(connection: Connection, letter: Letter, *, tries: int) -> bool:
    """Lock a letter whose try was begun; False: it is somebody else's by now."""
    row = await fetch_one(
        connection,
        "SELECT 1 AS held FROM checkin.letter WHERE id = %s AND state = 'sending' AND tries = %s FOR UPDATE",
        [letter.id, tries],
    )
    return row is not None


async def settle(
    connection: Connection, letter: Letter, ruling: Ruling, *, answer: str | None = None, now_ms: int
) -> None:
    """Write down how a letter stands."""
    await execute(
        connection,
        """UPDATE checkin.letter SET state = %s, not_before = %s, reason = %s, answer = %s,
                  ended_at = CASE WHEN %s THEN %s::timestamptz END WHERE id = %s""",
        [
            ruling.state.value, at(ruling.at_ms), None if ruling.reason is None else ruling.reason.value, answer,
            ruling.state in ENDED, at(now_ms), letter.id,
        ],
    )  # fmt: skip


async def booking_of(connection: Connection, place: Property, stay: str) -> tuple[str, str] | None:
    """Return the PMS of a stay and what it calls its reservation."""
    row = await fetch_one(
        connection,
        "SELECT system, external_id FROM stays.stay WHERE tenant = %s AND property = %s AND id = %s",
        [place.tenant, place.id, stay],
    )
    return None if row is None else (row["system"], row["external_id"])


async def link_used(connection: Connection, place: Property, stay: str) -> bool:
    """Tell whether a guest of a stay has got keys by a link of his own."""
    row = await fetch_one(
        connection,
        "SELECT EXISTS (SELECT FROM checkin.guest_link WHERE property = %s AND stay = %s AND kiosk IS NULL"
        " AND used_at IS NOT NULL) AS used",
        [place.id, stay],
    )
    return row is not None and bool(row["used"])


async def letters_of(connection: Connection, place: Property, stays: Sequence[str]) -> dict[str, list[Shown]]:
    """Return the letters of some stays, for the desk: of each kind the last that stands for something."""
    rows = await fetch_all(
        connection,
        """SELECT DISTINCT ON (stay, kind) stay, kind, state, reason, coalesce(ended_at, tried_at, decided_at) AS since
             FROM checkin.letter WHERE tenant = %s AND property = %s AND stay = ANY(%s)
            ORDER BY stay, kind, state = 'overtaken', decided_at DESC, id""",
        [place.tenant, place.id, list(stays)],
    )
    found: dict[str, list[Shown]] = {}
    for row in rows:
        found.setdefault(row["stay"], []).append(Shown(**row))
    return found
