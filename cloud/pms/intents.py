"""Our wishes to change a PMS: a guest who came or left at the edge shall have come or left in the PMS too.

A wish is written with the event that caused it, and granted when reading the PMS says so, never because a
write was answered. Before each write the PMS is read: what is so already is not asked for again, and after a
write that may have taken effect we look for a while before writing again.
"""

from collections.abc import Mapping
from typing import Any, Final

from cloud.kit.database import Connection, Database, execute, fetch_all
from cloud.kit.notify import NotificationHub
from cloud.kit.outbox import OUTBOX_CHANNEL, Event
from cloud.kit.times import at
from cloud.platform.properties import Property, property_by_id
from cloud.pms.engine import PmsSync
from cloud.pms.port import PmsAdapter, PmsBusyError, PmsRefusedError
from cloud.stays.life import StayState
from cloud.stays.reservation import PmsStatus
from kit.clock import Clock
from protocols.errors import PlatformError

ATTEMPTS_MOST: Final = 3  # PMS-19
LOOKS_MOST: Final = 6
BACKOFF_FIRST_MS: Final = 2_000
BACKOFF_FACTOR: Final = 4
LOOK_AGAIN_MS: Final = 2_000
PATIENCE_MS: Final = 24 * 3_600_000
"""A wish that could not even be tried for this long is given up: the line was down, not the rule against us."""
LOOK_S: Final = 1.0

CHECK_IN: Final = "check_in"
CHECK_OUT: Final = "check_out"
_GRANTED: Final = {
    CHECK_IN: frozenset({PmsStatus.IN_HOUSE, PmsStatus.LEFT}),
    CHECK_OUT: frozenset({PmsStatus.LEFT}),
}
_OVERTAKEN: Final = frozenset({PmsStatus.CANCELLED, PmsStatus.NO_SHOW})


def wish(event: Mapping[str, Any]) -> str | None:
    """Return what a changed stay makes us want of the PMS, None if it agrees already. Pure."""
    status = PmsStatus(event["pms_status"])
    if event["state"] == StayState.IN_HOUSE and status in (PmsStatus.BOOKED, PmsStatus.OPTION):
        return CHECK_IN
    if event["state"] == StayState.LEFT and status in (PmsStatus.BOOKED, PmsStatus.OPTION, PmsStatus.IN_HOUSE):
        return CHECK_OUT
    return None


class IntentWriter:
    """Outbox subscriber: turns changed stays into wishes, for connections that may write."""

    def __init__(self, writable: frozenset[tuple[str, str]]) -> None:
        """`writable`: (property, system) pairs with two-way sync."""
        self._writable = writable

    async def on_stay_changed(self, connection: Connection, event: Event) -> None:
        """Write the wish in the relay's transaction."""
        body = event.body
        action = wish(body)
        if action is None or (event.property, body["system"]) not in self._writable:
            return
        await execute(
            connection,
            """INSERT INTO pms.write_intent (property, system, tenant, action, external_id, stay, cause_event, state,
                                             not_before, created_at)
               VALUES (%s, %s, %s, %s, %s, %s, %s, 'pending', %s, %s)
               ON CONFLICT (property, system, cause_event, action) DO NOTHING""",
            [
                event.property,
                body["system"],
                event.tenant,
                action,
                body["external_id"],
                body["stay"],
                event.id,
                event.occurred_at,
                event.occurred_at,
            ],
        )


class IntentWorker:
    """Grants the wishes of one connection."""

    def __init__(
        self,
        database: Database,
        adapter: PmsAdapter,
        sync: PmsSync,
        *,
        clock: Clock,
        log: Any,  # noqa: ANN401 - structlog's lazy logger
    ) -> None:
        self._database, self._adapter, self._sync = database, adapter, sync
        self._clock, self._log = clock, log

    async def run(self, hub: NotificationHub) -> None:
        """Work until cancelled."""
        with hub.subscribe(OUTBOX_CHANNEL) as woken:
            while True:
                await self.work_due()
                await woken.wait(LOOK_S)

    async def work_due(self) -> int:
        """Take each due wish one step further, the oldest of each reservation first; return how many."""
        now_ms = self._clock.wall_ms()
        async with self._database.transaction() as connection:
            found = await property_by_id(connection, self._sync.property_id)
            due = await fetch_all(
                connection,
                """SELECT id, action, external_id, attempts, sent, looks, created_at FROM pms.write_intent w
                    WHERE property = %s AND system = %s AND state = 'pending' AND not_before <= %s
                      AND NOT EXISTS (SELECT 1 FROM pms.write_intent p
                                       WHERE p.property = w.property AND p.system = w.system
                                         AND p.external_id = w.external_id AND p.state = 'pending' AND p.id < w.id)
                    ORDER BY id LIMIT 50""",
                [self._sync.property_id, self._sync.system, at(now_ms)],
            )
        if found is None:
            return 0
        for row in due:
            try:
                await self._step(found, row)
            except PmsBusyError as error:
                await self._put_off(row, error, wait_ms=max(error.wait_ms, LOOK_AGAIN_MS))
            except PlatformError as error:  # reading failed: nothing was written in this step
                await self._put_off(row, error, wait_ms=BACKOFF_FIRST_MS * BACKOFF_FACTOR)
        return len(due)

    async def _step(self, found: Property, row: Mapping[str, Any]) -> None:
        action: str = row["action"]
        read = await self._sync.read_again(found, row["external_id"])
        status = None if read is None else read.status
        if status in _GRANTED[action]:
            await self._end(row, "done", read_back=status, error=None)
            return
        if status is None or status in _OVERTAKEN:
            await self._end(row, "overtaken", read_back=status, error="the PMS no longer has it so")
            return
        if row["sent"] and row["looks"] < LOOKS_MOST:
            await self._look_later(row, status)
            return
        if status is PmsStatus.BOOKED and read is not None and read.arrival_ms > self._clock.wall_ms():
            await self._wait_for_arrival(row, read.arrival_ms)  # no PMS starts a reservation before its time
            return
        if row["attempts"] >= ATTEMPTS_MOST:
            self._log.warning(
                "pms_write_failed", property=found.id, action=action, reservation=row["external_id"], status=status
            )
            await self._end(row, "failed", read_back=status, error=None)
            return
        await self._write(row, status)

    async def _write(self, row: Mapping[str, Any], status: PmsStatus) -> None:
        """Write once. PmsBusyError passes through: nothing was done and nothing counts."""
        sent, error_text = True, None
        try:
            if row["action"] == CHECK_OUT and status is not PmsStatus.IN_HOUSE:
                await self._adapter.check_in(row["external_id"])  # came and left before the PMS heard of either
            if row["action"] == CHECK_IN:
                await self._adapter.check_in(row["external_id"])
            else:
                await self._adapter.check_out(row["external_id"])
        except PmsBusyError:
            raise
        except PmsRefusedError as error:
            sent, error_text = False, str(error)
        except PlatformError as error:
            sent, error_text = error.may_have_taken_effect, str(error)
        attempts = row["attempts"] + 1
        wait_ms = LOOK_AGAIN_MS if sent else BACKOFF_FIRST_MS * BACKOFF_FACTOR ** (attempts - 1)
        async with self._database.transaction() as connection:
            await execute(
                connection,
                """UPDATE pms.write_intent SET attempts = %s, sent = %s, looks = 0, not_before = %s, last_error = %s,
                          last_read_back = %s WHERE id = %s""",
                [
                    attempts,
                    sent,
                    at(self._clock.wall_ms() + (0 if sent and error_text is None else wait_ms)),
                    error_text,
                    status.value,
                    row["id"],
                ],
            )

    async def _wait_for_arrival(self, row: Mapping[str, Any], arrival_ms: int) -> None:
        async with self._database.transaction() as connection:
            await execute(
                connection,
                "UPDATE pms.write_intent SET not_before = %s, last_read_back = %s, last_error = %s WHERE id = %s",
                [at(arrival_ms), PmsStatus.BOOKED.value, "waits for the hour of arrival", row["id"]],
            )

    async def _look_later(self, row: Mapping[str, Any], status: PmsStatus) -> None:
        async with self._database.transaction() as connection:
            await execute(
                connection,
                "UPDATE pms.write_intent SET looks = looks + 1, not_before = %s, last_read_back = %s WHERE id = %s",
                [at(self._clock.wall_ms() + LOOK_AGAIN_MS), status.value, row["id"]],
            )

    async def _put_off(self, row: Mapping[str, Any], error: PlatformError, *, wait_ms: int) -> None:
        now_ms = self._clock.wall_ms()
        if at(now_ms - PATIENCE_MS) > row["created_at"]:
            await self._end(row, "failed", read_back=None, error=str(error))
            return
        async with self._database.transaction() as connection:
            await execute(
                connection,
                "UPDATE pms.write_intent SET not_before = %s, last_error = %s WHERE id = %s",
                [at(now_ms + wait_ms), str(error)[:500], row["id"]],
            )

    async def _end(self, row: Mapping[str, Any], state: str, *, read_back: PmsStatus | None, error: str | None) -> None:
        async with self._database.transaction() as connection:
            await execute(
                connection,
                """UPDATE pms.write_intent SET state = %s, ended_at = %s, last_read_back = %s,
                          last_error = coalesce(%s, last_error) WHERE id = %s""",
                [
                    state,
                    at(self._clock.wall_ms()),
                    None if read_back is None else read_back.value,
                    error,
                    row["id"],
                ],
            )
