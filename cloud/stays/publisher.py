"""Brings each property's document of stays to its edge: published when it is new, again until the edge holds it."""

from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol, TypeAlias

from cloud.kit.database import Database, execute, fetch_all
from cloud.kit.notify import NotificationHub, anywhere
from cloud.kit.times import at
from cloud.stays import document
from cloud.stays.stays import LIVE_KIND, Place, settle_property
from protocols.errors import LinkLostError, ReplyTimeoutError

LOOK_S: Final = 5.0
AGAIN_MS: Final = 60_000
"""A published version that the edge does not report is published again after this long."""
RENEW_MS: Final = 60_000
"""Time alone moves stays into the next 72 hours and makes them ready: look this often."""

Publish: TypeAlias = Callable[[str, str, int, dict[str, Any]], Awaitable[None]]
"""Publish (edge, name, version, body). Raises LinkLostError, ReplyTimeoutError."""


class Clock(Protocol):
    """What the publisher needs of a clock."""

    def now_ms(self) -> int:
        """Monotonic milliseconds."""
        ...

    def wall_ms(self) -> int:
        """Unix milliseconds, UTC."""
        ...


class DocumentPublisher:
    """One worker for all properties; publishing twice is harmless, so any number of processes may run it."""

    def __init__(self, database: Database, publish: Publish, *, clock: Clock, hub: NotificationHub) -> None:
        """Publish through `publish`, woken by `hub`."""
        self._database, self._publish, self._clock, self._hub = database, publish, clock, hub

    async def run(self) -> None:
        """Publish until cancelled."""
        renewed_ms: int | None = None
        with self._hub.subscribe(anywhere(LIVE_KIND)) as woken:
            while True:
                await woken.wait(LOOK_S)
                if renewed_ms is None or self._clock.now_ms() - renewed_ms >= RENEW_MS:
                    await self.renew_all()
                    renewed_ms = self._clock.now_ms()
                await self.publish_due()

    async def renew_all(self) -> None:
        """Settle every property's stays against the time of day."""
        async with self._database.transaction() as connection:
            rows = await fetch_all(connection, "SELECT tenant, property, edge FROM stays.document ORDER BY property")
        for row in rows:
            async with self._database.transaction() as connection:
                await settle_property(connection, Place(**row), touched=(), by="time", now_ms=self._clock.wall_ms())

    async def publish_due(self) -> int:
        """Publish what no edge has been told, or has not confirmed for AGAIN_MS; return how many."""
        now_ms = self._clock.wall_ms()
        async with self._database.transaction() as connection:
            due = await fetch_all(
                connection,
                """SELECT property, edge, version, body FROM stays.document
                    WHERE published_version < version OR (held_version < version AND published_at < %s)
                    ORDER BY property""",
                [at(now_ms - AGAIN_MS)],
            )
        published = 0
        for row in due:
            try:
                await self._publish(row["edge"], document.NAME, row["version"], row["body"])
            except (LinkLostError, ReplyTimeoutError):
                break  # the broker is away: the next look tries again
            published += 1
            async with self._database.transaction() as connection:
                await execute(
                    connection,
                    "UPDATE stays.document SET published_version = greatest(published_version, %s), published_at = %s"
                    " WHERE property = %s",
                    [row["version"], at(now_ms), row["property"]],
                )
        return published
