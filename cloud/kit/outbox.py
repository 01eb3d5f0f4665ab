"""Events between modules: written with the change they tell of, delivered at least once, effective once.

`append` puts an event row into the writer's own transaction. `Relay` hands each event to every subscriber
of its type inside ONE transaction that also marks it as relayed: a handler may only touch the database
through the connection it is given, so its effect and the mark commit or vanish together. Effects outside
(a partner's API, a broker) are the work of a module's own worker over its own table. What is due together is
delivered in one transaction, which waits once for the disk; where that fails, each event has one of its own.

Order holds per subject: an event waits while an earlier one of its subject waits. An event that fails
backs off; after ATTEMPTS_MOST it is parked, visible in `backlog`, and no longer blocks its subject.

A claim looks at the LOOKED_AT that have been due longest, whatever waits behind them. Those of them that an earlier one
of their subject keeps waiting, which is not among them, step back until it is due: else they would hide what is behind
them, and it too, where a clock was ahead when it was said and it is due after what followed it. Only behind one that
was tried for the first time just now they stay: it is being delivered.
What was delivered is let go by outbox_keeping.py.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, LiteralString, Protocol, TypeAlias

import psycopg

from cloud.kit.database import Connection, Database, execute, fetch_all, fetch_one, jsonb
from cloud.kit.notify import NotificationHub, notify
from cloud.kit.times import at
from protocols.errors import PlatformError

OUTBOX_CHANNEL: Final = "innkeeper_outbox"
ATTEMPTS_MOST: Final = 12
BACKOFF_FIRST_S: Final = 0.5
BACKOFF_MOST_S: Final = 300.0
IDLE_WAIT_S: Final = 1.0  # retries are due without a notification
TOGETHER_MOST: Final = 50
LOOKED_AT: Final = 200
"""Events that one claim looks at: room for some processes that claim at the same time."""
STEP_BACK_LEAST_S: Final = 1.0
STEP_BACK_MOST_S: Final = 30.0
"""So late is at most what stepped back behind an event that another process delivers just then."""


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened in one module, for the others."""

    id: int
    type: str
    tenant: str
    property: str
    subject: str
    body: dict[str, Any]
    occurred_at: datetime


Handler: TypeAlias = Callable[[Connection, Event], Awaitable[None]]


class WallClock(Protocol):
    """What the relay needs of a clock."""

    def wall_ms(self) -> int:
        """Unix milliseconds, UTC."""
        ...


class Logger(Protocol):
    """What the relay needs of a logger."""

    def warning(self, event: str, **facts: object) -> object:
        """Log a warning."""
        ...


@dataclass(frozen=True, slots=True)
class Backlog:
    """How far the relay is behind."""

    waiting: int
    parked: int


async def append(
    connection: Connection,
    *,
    kind: str,
    tenant: str,
    property_id: str,
    subject: str,
    body: dict[str, Any],
    occurred_at_ms: int,
) -> None:
    """Write an event into the caller's transaction; the relay is woken by its commit."""
    await execute(
        connection,
        "INSERT INTO outbox.event (type, tenant, property, subject, body, occurred_at, not_before)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s)",
        [kind, tenant, property_id, subject, jsonb(body), at(occurred_at_ms), at(occurred_at_ms)],
    )
    await notify(connection, OUTBOX_CHANNEL)


async def backlog(connection: Connection) -> Backlog:
    """Count events that wait and events that were given up."""
    row = await fetch_one(
        connection,
        "SELECT (SELECT count(*) FROM outbox.event WHERE relayed_at IS NULL AND parked_at IS NULL) AS waiting,"
        " (SELECT count(*) FROM outbox.event WHERE relayed_at IS NULL AND parked_at IS NOT NULL) AS parked",
    )
    assert row is not None  # noqa: S101 - a SELECT without FROM has exactly one row
    return Backlog(waiting=row["waiting"], parked=row["parked"])


class Relay:
    """Delivers the outbox. Any number of processes may run one: each takes what no other has taken."""

    def __init__(
        self,
        database: Database,
        *,
        subscribers: Mapping[str, Sequence[Handler]],
        clock: WallClock,
        log: Logger,
        hub: NotificationHub | None = None,
        apart: frozenset[str] = frozenset(),
    ) -> None:
        """Deliver events of each type in `subscribers` to its handlers, in the order given.

        `apart`: types whose handlers lock what requests lock too. Each of those has a transaction of its own: several
        together would take their locks in the order of the events, and somebody else in another.
        """
        self._database, self._subscribers, self._clock = database, subscribers, clock
        self._log, self._hub, self._apart = log, hub, apart

    async def run(self) -> None:
        """Deliver until cancelled."""
        hub = self._hub or NotificationHub("")
        with hub.subscribe(OUTBOX_CHANNEL) as woken:
            while True:
                await self.drain()
                await woken.wait(IDLE_WAIT_S)

    async def drain(self) -> int:
        """Deliver everything due now; return how many events were delivered."""
        delivered = 0
        while due := await self._due():
            found = False
            for tried in due:
                claimed, stepped_back = await self._claim(tried=tried)
                if claimed:
                    delivered += await self._deliver(claimed)
                found = found or bool(claimed) or stepped_back
            if not found:
                break  # another process has it
        return delivered

    async def _due(self) -> list[bool]:
        """Return whether there is anything for `_claim` now, of what was tried and of what was not: most often nothing.

        Each asks for the one that is due first, which is the first in its index: for an EXISTS that expects many the
        planner reads the whole table, and finds none each second once they are gone.
        """
        [row] = await self._database.ask(
            """SELECT (SELECT min(not_before) FROM outbox.event
                        WHERE relayed_at IS NULL AND parked_at IS NULL AND attempts > 0) <= %(now)s AS tried,
                      (SELECT min(not_before) FROM outbox.event
                        WHERE relayed_at IS NULL AND parked_at IS NULL AND attempts = 0) <= %(now)s AS fresh""",
            {"now": at(self._clock.wall_ms())},
        )
        return [tried for tried, is_due in ((True, row["tried"]), (False, row["fresh"])) if is_due]

    async def _claim(self, *, tried: bool) -> tuple[list[int], bool]:
        """Count an attempt at due events before making it: even a crash of ours backs them off.

        Of what nobody has tried, as many as go together, the first of each subject alone; or one, if the longest due
        goes apart. Of what was tried, one: what it does to us it does to nothing beside it. The count waits for no
        disk: a server that lost it crashed as well.

        Returns:
            The events; and whether others stepped back, so that looking again may find more.
        """
        now, stepped_back = at(self._clock.wall_ms()), False
        while True:
            async with self._database.transaction() as connection:
                await execute(connection, _AS_PLANNED)
                rows = await fetch_all(
                    connection,
                    _CLAIM_TRIED if tried else _CLAIM_FRESH,
                    {
                        "now": now, "looked_at": LOOKED_AT, "together": TOGETHER_MOST, "apart": sorted(self._apart),
                        "first": BACKOFF_FIRST_S, "rest": BACKOFF_MOST_S, "attempts": ATTEMPTS_MOST,
                        "back_least": STEP_BACK_LEAST_S, "back_most": STEP_BACK_MOST_S,
                    },
                )  # fmt: skip
            claimed = [row for row in rows if row["attempts"] is not None]
            stepped_back = stepped_back or len(claimed) < len(rows)
            due = sorted(row["id"] for row in claimed if row["parked_at"] is None)
            for row in claimed:
                if row["parked_at"] is not None:
                    self._log.warning("outbox event parked", outbox_event=row["id"], attempts=row["attempts"])
            if due or not claimed:
                return due, stepped_back

    async def _deliver(self, claimed: Sequence[int]) -> int:
        """Deliver events that were claimed; return how many. A defect of a subscriber is raised; what was claimed with
        it is tried again, alone.
        """
        if len(claimed) > 1:
            with suppress(PlatformError, psycopg.Error):  # whichever it was, it fails again by itself, and is told then
                return await self._hand_over(claimed)
        delivered = 0
        for each in claimed:
            try:
                delivered += await self._hand_over([each])
            except (PlatformError, psycopg.Error) as error:
                await self._failed(each, error)
        return delivered

    async def _hand_over(self, claimed: Sequence[int]) -> int:
        """Deliver events in one transaction, all or none; one that another process was faster with is passed over."""
        async with self._database.transaction() as connection:
            rows = await fetch_all(
                connection,
                "SELECT id, type, tenant, property, subject, body, occurred_at FROM outbox.event"
                " WHERE id = ANY(%s) AND relayed_at IS NULL ORDER BY id FOR UPDATE",
                [list(claimed)],
            )
            for row in rows:
                event = Event(**row)
                for handle in self._subscribers.get(event.type, ()):
                    await handle(connection, event)
            await execute(
                connection,
                "UPDATE outbox.event SET relayed_at = %s, last_error = NULL WHERE id = ANY(%s)",
                [at(self._clock.wall_ms()), [row["id"] for row in rows]],
            )
        return len(rows)

    async def _failed(self, event_id: int, error: Exception) -> None:
        self._log.warning("outbox event failed", outbox_event=event_id, error=repr(error))
        async with self._database.transaction() as connection:
            await execute(
                connection, "UPDATE outbox.event SET last_error = %s WHERE id = %s", [repr(error)[:500], event_id]
            )


def _claim_of(attempts: LiteralString, at_once: LiteralString) -> LiteralString:
    """Return the statement that claims events whose attempts are so; `attempts` as the index has it, word for word.

    `blocked` is known by the first of a subject: whether that is locked does not matter, it waits while it is there.
    Whoever was claimed meanwhile is no longer due, which FOR UPDATE looks at again (`still`): said in other words than
    those of the indexes, so that a row is found again by its id and never by reading one of them.
    """
    waits: LiteralString = "relayed_at IS NULL AND parked_at IS NULL"
    still: LiteralString = "coalesce(event.relayed_at, event.parked_at) IS NULL AND event.not_before <= %(now)s AND ("
    still += attempts.replace("attempts", "event.attempts + 0") + ")"
    return (
        "WITH due AS MATERIALIZED (SELECT id, type, property, subject, not_before FROM outbox.event"  # noqa: S608 - the words of this module alone
        " WHERE " + waits + " AND " + attempts + " AND not_before <= %(now)s"
        " ORDER BY not_before, id LIMIT %(looked_at)s),"
        " headed AS MATERIALIZED (SELECT due.id, due.type, due.not_before, head.id AS head,"
        " head.attempts AS head_attempts, head.not_before AS head_due FROM due CROSS JOIN LATERAL"
        " (SELECT id, attempts, not_before FROM outbox.event WHERE " + waits +
        " AND property = due.property AND subject = due.subject ORDER BY id LIMIT 1) head),"
        " first AS MATERIALIZED (SELECT type = ANY(%(apart)s) AS apart FROM headed WHERE head = id"
        " ORDER BY not_before, id LIMIT 1),"
        " next AS (SELECT event.id FROM headed JOIN outbox.event USING (id) CROSS JOIN first WHERE headed.head = id"
        " AND " + still + " AND " + at_once +
        " FOR UPDATE OF event SKIP LOCKED),"
        " claimed AS (UPDATE outbox.event SET attempts = attempts + 1, not_before = %(now)s"
        " + make_interval(secs => least(%(first)s * 2.0 ^ attempts, %(rest)s)),"
        " parked_at = CASE WHEN attempts >= %(attempts)s THEN %(now)s END"
        " FROM next WHERE event.id = next.id RETURNING event.id, event.attempts, event.parked_at),"
        " blocked AS (SELECT event.id, headed.head_due FROM headed JOIN outbox.event USING (id)"
        " WHERE headed.head NOT IN (SELECT id FROM due) AND (headed.head_attempts <> 1 OR headed.head_due <= %(now)s)"
        " AND " + still +
        " FOR UPDATE OF event SKIP LOCKED),"
        " stepped AS (UPDATE outbox.event SET not_before = least(greatest(blocked.head_due,"
        " %(now)s + make_interval(secs => %(back_least)s)), %(now)s + make_interval(secs => %(back_most)s))"
        " FROM blocked WHERE event.id = blocked.id RETURNING event.id)"
        " SELECT id, attempts, parked_at FROM claimed UNION ALL SELECT id, NULL, NULL FROM stepped"
    )  # fmt: skip


_AS_PLANNED: Final[LiteralString] = """
    SELECT set_config(name, 'off', true) FROM unnest('{synchronous_commit, enable_seqscan, enable_bitmapscan,
        enable_hashjoin, enable_mergejoin}'::text[]) AS name
"""
"""A claim goes by its indexes, in their order. The server's statistics lag behind a backlog: by them a table that
filled up in a minute is small, and reading and sorting all of it cheaper."""
_CLAIM_FRESH: Final = _claim_of(
    "attempts = 0",
    "(headed.type = ANY(%(apart)s)) = first.apart ORDER BY headed.not_before, id"
    " LIMIT (SELECT CASE WHEN apart THEN 1 ELSE %(together)s END FROM first)",
)
_CLAIM_TRIED: Final = _claim_of("attempts > 0", "true ORDER BY headed.not_before, id LIMIT 1")
