"""Events between modules: written with the change they tell of, delivered at least once, effective once.

`append` puts an event row into the writer's own transaction. `Relay` hands each event to every subscriber
of its type inside ONE transaction that also marks it as relayed: a handler may only touch the database
through the connection it is given, so its effect and the mark commit or vanish together. Effects outside
(a partner's API, a broker) are the work of a module's own worker over its own table. What is due together is
delivered in one transaction, which waits once for the disk; where that fails, each event has one of its own.

Order holds per subject: an event waits while an earlier one of its subject waits. An event that fails
backs off; after ATTEMPTS_MOST it is parked, visible in `backlog`, and no longer blocks its subject.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Protocol, TypeAlias

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
        "SELECT count(*) FILTER (WHERE parked_at IS NULL) AS waiting,"
        " count(*) FILTER (WHERE parked_at IS NOT NULL) AS parked"
        " FROM outbox.event WHERE relayed_at IS NULL",
    )
    assert row is not None  # noqa: S101 - an aggregate without GROUP BY has exactly one row
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
            for together in due:
                if claimed := await self._claim(together=together):
                    delivered += await self._deliver(claimed)
                    found = True
            if not found:
                break  # another process has it
        return delivered

    async def _due(self) -> list[bool]:
        """Return whether there is anything for `_claim` now, for each way that it goes: most often there is nothing.

        Over all that waits, as the index has it: for an EXISTS that expects many the planner reads the whole table, in
        which every event stays that was ever delivered, and finds none each second once they are gone.
        """
        [row] = await self._database.ask(
            """SELECT bool_or(NOT fresh) AS alone, bool_or(fresh) AS many
                 FROM (SELECT attempts = 0 AND type <> ALL(%(apart)s) AS fresh FROM outbox.event
                        WHERE relayed_at IS NULL AND parked_at IS NULL AND not_before <= %(now)s) due""",
            {"now": at(self._clock.wall_ms()), "apart": sorted(self._apart)},
        )
        return [together for together, is_due in ((False, row["alone"]), (True, row["many"])) if is_due]

    async def _claim(self, *, together: bool) -> list[int]:
        """Count an attempt at due events before making it: even a crash of ours backs them off.

        `together`: as many as go together of those that nobody has tried, the first of each subject alone. Else one
        that was tried, or goes apart: what it does to us it does to nothing beside it. The count waits for no disk: a
        server that lost it crashed as well.
        """
        now = at(self._clock.wall_ms())
        while True:
            async with self._database.transaction() as connection:
                await execute(connection, "SET LOCAL synchronous_commit = off")
                rows = await fetch_all(
                    connection,
                    """WITH next AS (
                           SELECT e.id FROM outbox.event e
                            WHERE e.relayed_at IS NULL AND e.parked_at IS NULL AND e.not_before <= %(now)s
                              AND (e.attempts = 0 AND e.type <> ALL(%(apart)s)) = %(together)s
                              AND NOT EXISTS (SELECT 1 FROM outbox.event p
                                               WHERE p.relayed_at IS NULL AND p.parked_at IS NULL
                                                 AND p.property = e.property AND p.subject = e.subject
                                                 AND p.id < e.id)
                            ORDER BY e.attempts, e.id LIMIT %(most)s FOR UPDATE OF e SKIP LOCKED)
                       UPDATE outbox.event e
                          SET attempts = attempts + 1,
                              not_before = %(now)s + make_interval(secs => least(%(first)s * 2.0 ^ attempts, %(rest)s)),
                              parked_at = CASE WHEN attempts >= %(attempts)s THEN %(now)s END
                         FROM next WHERE e.id = next.id RETURNING e.id, e.attempts, e.parked_at""",
                    {
                        "now": now, "together": together, "most": TOGETHER_MOST if together else 1,
                        "first": BACKOFF_FIRST_S, "rest": BACKOFF_MOST_S, "attempts": ATTEMPTS_MOST,
                        "apart": sorted(self._apart),
                    },
                )  # fmt: skip
            due = sorted(row["id"] for row in rows if row["parked_at"] is None)
            for row in rows:
                if row["parked_at"] is not None:
                    self._log.warning("outbox event parked", outbox_event=row["id"], attempts=row["attempts"])
            if due or not rows:
                return due

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
