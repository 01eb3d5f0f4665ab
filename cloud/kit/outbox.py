"""Events between modules: written with the change they tell of, delivered at least once, effective once.

`append` puts an event row into the writer's own transaction. `Relay` hands each event to every subscriber
of its type inside ONE transaction that also marks it as relayed: a handler may only touch the database
through the connection it is given, so its effect and the mark commit or vanish together. Effects outside
(a partner's API, a broker) are the work of a module's own worker over its own table.

Order holds per subject: an event waits while an earlier one of its subject waits. An event that fails
backs off; after ATTEMPTS_MOST it is parked, visible in `backlog`, and no longer blocks its subject.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Protocol, TypeAlias

import psycopg

from cloud.kit.database import Connection, Database, execute, fetch_one, jsonb
from cloud.kit.notify import NotificationHub, notify
from cloud.kit.times import at
from protocols.errors import PlatformError

OUTBOX_CHANNEL: Final = "innkeeper_outbox"
ATTEMPTS_MOST: Final = 12
BACKOFF_FIRST_S: Final = 0.5
BACKOFF_MOST_S: Final = 300.0
IDLE_WAIT_S: Final = 1.0  # retries are due without a notification


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
    """Delivers the outbox. Any number of processes may run one; a transaction-held lock lets one work."""

    def __init__(
        self,
        database: Database,
        *,
        subscribers: Mapping[str, Sequence[Handler]],
        clock: WallClock,
        log: Logger,
        hub: NotificationHub | None = None,
    ) -> None:
        """Deliver events of each type in `subscribers` to its handlers, in the order given."""
        self._database, self._subscribers, self._clock = database, subscribers, clock
        self._log, self._hub = log, hub

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
        while (event := await self._claim()) is not None:
            delivered += await self._deliver(event)
        return delivered

    async def _claim(self) -> int | None:
        """Count an attempt at the next due event before making it: even a crash of ours backs it off."""
        now = at(self._clock.wall_ms())
        async with self._database.transaction() as connection:
            row = await fetch_one(
                connection,
                """SELECT e.id, e.attempts FROM outbox.event e
                    WHERE e.relayed_at IS NULL AND e.parked_at IS NULL AND e.not_before <= %s
                      AND NOT EXISTS (SELECT 1 FROM outbox.event p
                                       WHERE p.relayed_at IS NULL AND p.parked_at IS NULL
                                         AND p.property = e.property AND p.subject = e.subject AND p.id < e.id)
                    ORDER BY e.id LIMIT 1 FOR UPDATE OF e SKIP LOCKED""",
                [now],
            )
            if row is None:
                return None
            attempts = row["attempts"] + 1
            wait_s = min(BACKOFF_FIRST_S * 2.0 ** (attempts - 1), BACKOFF_MOST_S)
            await execute(
                connection,
                "UPDATE outbox.event SET attempts = %s, not_before = %s,"
                " parked_at = CASE WHEN %s THEN %s END WHERE id = %s",
                [attempts, now + timedelta(seconds=wait_s), attempts > ATTEMPTS_MOST, now, row["id"]],
            )
            event_id: int = row["id"]
        if attempts > ATTEMPTS_MOST:
            self._log.warning("outbox event parked", outbox_event=event_id, attempts=attempts)
            return await self._claim()
        return event_id

    async def _deliver(self, event_id: int) -> bool:
        try:
            async with self._database.transaction() as connection:
                row = await fetch_one(
                    connection,
                    "SELECT id, type, tenant, property, subject, body, occurred_at FROM outbox.event"
                    " WHERE id = %s AND relayed_at IS NULL FOR UPDATE",
                    [event_id],
                )
                if row is None:
                    return False  # another process was faster
                event = Event(**row)
                for handle in self._subscribers.get(event.type, ()):
                    await handle(connection, event)
                await execute(
                    connection,
                    "UPDATE outbox.event SET relayed_at = %s, last_error = NULL WHERE id = %s",
                    [at(self._clock.wall_ms()), event_id],
                )
        except (PlatformError, psycopg.Error) as error:
            self._log.warning("outbox event failed", outbox_event=event_id, error=repr(error))
            async with self._database.transaction() as connection:
                await execute(
                    connection,
                    "UPDATE outbox.event SET last_error = %s WHERE id = %s",
                    [repr(error)[:500], event_id],
                )
            return False
        return True
