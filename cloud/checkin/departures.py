"""Tells the edge that a guest has left when somebody else said so: the desk, in the PMS.

Written with the event of the departure, sent until the edge has done it. The edge takes a command once per
key; only after it said for certain that nothing was done is another key used.
"""

from collections.abc import Mapping
from typing import Any, Final

from cloud.fleet.commands import Commands
from cloud.kit.database import Connection, Database, execute, fetch_all
from cloud.kit.notify import NotificationHub
from cloud.kit.outbox import OUTBOX_CHANNEL, Event
from cloud.kit.times import at
from cloud.platform.properties import property_by_id
from cloud.stays.life import EdgeState, StayState
from cloud.stays.listing import stay_by_id
from kit.clock import Clock
from protocols.device_model.command import Phase

ANSWER_WAIT_MS: Final = 10_000
BACKOFF_FIRST_MS: Final = 1_000
BACKOFF_MOST_MS: Final = 60_000
LOOK_S: Final = 1.0
AT_A_TIME: Final = 20
BY: Final = "pms"


async def on_stay_changed(connection: Connection, event: Event) -> None:
    """Outbox subscriber: note that the edge must be told, in the relay's transaction."""
    body = event.body
    if body["state"] != StayState.LEFT or body["edge_state"] == EdgeState.CHECKED_OUT:
        return
    await execute(
        connection,
        """INSERT INTO checkin.departure (property, stay, event, tenant, edge, by, state, not_before, created_at)
           VALUES (%s, %s, %s, %s, %s, %s, 'pending', %s, %s) ON CONFLICT DO NOTHING""",
        [
            event.property,
            body["stay"],
            event.id,
            event.tenant,
            body["edge"],
            BY,
            event.occurred_at,
            event.occurred_at,
        ],
    )


class DepartureWorker:
    """Sends `check_out` for every departure that the edge does not know of."""

    def __init__(self, database: Database, commands: Commands, *, clock: Clock) -> None:
        self._database, self._commands, self._clock = database, commands, clock

    async def run(self, hub: NotificationHub) -> None:
        """Work until cancelled."""
        with hub.subscribe(OUTBOX_CHANNEL) as woken:
            while True:
                await self.work_due()
                await woken.wait(LOOK_S)

    async def work_due(self) -> int:
        """Take each due departure one step further; return how many."""
        async with self._database.transaction() as connection:
            due = await fetch_all(
                connection,
                """SELECT property, stay, event, tries, keys_used FROM checkin.departure
                    WHERE state = 'pending' AND not_before <= %s ORDER BY created_at LIMIT %s""",
                [at(self._clock.wall_ms()), AT_A_TIME],
            )
        for row in due:
            await self._step(row)
        return len(due)

    async def _step(self, row: Mapping[str, Any]) -> None:
        async with self._database.transaction() as connection:
            found = await property_by_id(connection, row["property"])
            stay = None
            if found is not None:
                stay = await stay_by_id(connection, tenant=found.tenant, property_id=found.id, stay=row["stay"])
        if found is None or stay is None or stay.state is not StayState.LEFT:
            await self._end(row, "overtaken")
            return
        if stay.edge_state is EdgeState.CHECKED_OUT or (row["tries"] > 0 and stay.edge_held):
            await self._end(row, "done")  # it said so itself, or holds the document that says so
            return
        command = await self._commands.run(
            found,
            kind="check_out",
            args={"stay": row["stay"], "by": BY},
            idempotency_key=f"departure:{row['stay']}:{row['event']}:{row['keys_used']}",
            within_ms=ANSWER_WAIT_MS,
            asked_by=BY,
        )
        if command.phase is Phase.DONE:
            await self._end(row, "done")
            return
        certain = command.phase in (Phase.FAILED, Phase.EXPIRED)
        tries = row["tries"] + 1
        wait_ms = min(BACKOFF_FIRST_MS * 2 ** min(tries - 1, 16), BACKOFF_MOST_MS)
        async with self._database.transaction() as connection:
            await execute(
                connection,
                """UPDATE checkin.departure SET tries = %s, keys_used = keys_used + %s, not_before = %s, last_error = %s
                    WHERE property = %s AND stay = %s AND event = %s""",
                [
                    tries,
                    1 if certain else 0,
                    at(self._clock.wall_ms() + wait_ms),
                    (command.reason or command.phase.value)[:500],
                    row["property"],
                    row["stay"],
                    row["event"],
                ],
            )

    async def _end(self, row: Mapping[str, Any], state: str) -> None:
        async with self._database.transaction() as connection:
            await execute(
                connection,
                "UPDATE checkin.departure SET state = %s, ended_at = %s"
                " WHERE property = %s AND stay = %s AND event = %s",
                [state, at(self._clock.wall_ms()), row["property"], row["stay"], row["event"]],
            )
