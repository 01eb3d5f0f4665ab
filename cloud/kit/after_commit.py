"""Notifications that leave once the transaction that has them was committed, gathered (docs/decisions/0152).

PostgreSQL lets one transaction with a notification commit at a time, from before its flush of the log until after it:
with them inside, all writers of the service stood in line for one slow disk. Sent apart, and without a flush, they hold
that lock for microseconds. One that is lost with its process costs whoever listens the time until he looks anyway
(`cloud.kit.notify`).
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Final, TypeAlias

import psycopg
from psycopg.rows import DictRow

from cloud.kit.arrays import texts
from cloud.kit.patience import within
from kit.logs import logger
from protocols.errors import StoreFailedError

REST_S: Final = 0.1
"""After some were sent, those that come are gathered for so long; the first after a silence leaves at once."""
AGAIN_AFTER_S: Final = 1.0
SENDING_MOST_S: Final = 15.0
WAITING_MOST: Final = 10_000
"""Different ones that wait while the database is away; what is beyond it is found by looking."""
SENDING_MOST: Final = 500

Notification: TypeAlias = tuple[str, str]
"""Channel and payload."""
Send: TypeAlias = Callable[[list[Notification]], Coroutine[Any, Any, None]]


class NotingConnection(psycopg.AsyncConnection[DictRow]):
    """A connection whose transaction notes what is to be notified once it is committed."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.noted: dict[Notification, None] = {}

    def take_noted(self) -> list[Notification]:
        """Return what was noted, in order and each once, and forget it."""
        noted = list(self.noted)
        self.noted.clear()
        return noted


async def send_by(connection: psycopg.AsyncConnection[Any], told: Iterable[Notification]) -> None:
    """Notify in the connection's transaction, whose commit then waits for no disk: there is nothing in it to lose."""
    channels, payloads = zip(*told, strict=True)
    await connection.execute(
        "SELECT set_config('synchronous_commit', 'off', true), count(pg_notify(channel, payload))"
        " FROM unnest(%s, %s) AS told (channel, payload)",
        [texts(channels), texts(payloads)],
    )


class Gathered:
    """Sends notifications while some wait; nothing runs while none do."""

    def __init__(self, send: Send) -> None:
        """`send` sends some at a time, or raises StoreFailedError and has sent none."""
        self._send = send
        self._waiting: dict[Notification, None] = {}
        self._sending: asyncio.Task[None] | None = None
        self._log = logger("cloud.notify")

    def add(self, told: Iterable[Notification]) -> None:
        """Have these sent soon; one that waits already is sent once."""
        for each in told:
            if len(self._waiting) < WAITING_MOST:
                self._waiting[each] = None
        if self._waiting and (self._sending is None or self._sending.done()):
            self._sending = asyncio.get_running_loop().create_task(self._run(), name="notifications after commits")

    async def close(self) -> None:
        """Send what waits, once; what cannot be sent now is not sent."""
        sending, self._sending = self._sending, None
        if sending is not None:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
        try:
            while self._waiting:
                await self._some()
        except StoreFailedError as error:
            self._log.info("notifications_not_sent", waiting=len(self._waiting), error=str(error))

    async def _run(self) -> None:
        while self._waiting:
            rest_s = REST_S
            try:
                await self._some()
            except StoreFailedError as error:
                self._log.info("notifications_not_sent", waiting=len(self._waiting), error=str(error))
                rest_s = AGAIN_AFTER_S
            await asyncio.sleep(rest_s)

    async def _some(self) -> None:
        told = list(self._waiting)[:SENDING_MOST]
        for each in told:
            del self._waiting[each]
        try:
            await within(SENDING_MOST_S, self._send(told))
        except psycopg.Error as error:  # one that the server will not have must not stand in the way of the others
            self._log.error("notifications_refused", lost=len(told), error=repr(error)[:300])
        except BaseException:  # cancelled too: whoever stops in order sends once more
            self._waiting = {**dict.fromkeys(told), **self._waiting}
            raise
