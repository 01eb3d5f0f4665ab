"""Writes down what callers ask before it happens: entries that come together are one transaction (decision 0152).

A tenant's entries are a chain, so their transactions stand in line, each for a flush of the disk. What comes while one
is written waits and goes with the next, all of it: the line is one flush long however many stand in it.
"""

import asyncio
from collections.abc import Sequence
from typing import Final

from cloud.kit.acting import acting, system
from cloud.kit.database import Database
from cloud.kit.patience import within
from cloud.platform.audit import Told, append_many
from protocols.errors import StoreFailedError

TOGETHER_MOST: Final = 200
WRITING_MOST_S: Final = 15.0
"""A group that takes longer is given up: its connection may have gone silent, and the line stands behind it."""
_AUDITOR: Final = system("audit")
_Waiting = tuple[Told, "asyncio.Future[None]"]


class AuditDesk:
    """Takes entries of every tenant; each is durable when `record` returns."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: dict[str, list[_Waiting]] = {}
        self._writing: dict[str, asyncio.Task[None]] = {}

    async def record(self, told: Told) -> None:
        """Add an entry. Raises StoreFailedError: nobody may go on as if it were there, although it may be.

        A caller who is cancelled meanwhile does not take his entry back.
        """
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(told.tenant, []).append((told, done))
        if told.tenant not in self._writing:
            writing = asyncio.get_running_loop().create_task(self._write(told.tenant), name=f"audit {told.tenant}")
            self._writing[told.tenant] = writing
        await done

    async def _write(self, tenant: str) -> None:
        try:
            while waiting := self._waiting.pop(tenant, []):
                now, later = waiting[:TOGETHER_MOST], waiting[TOGETHER_MOST:]
                if later:
                    self._waiting[tenant] = later
                try:
                    await within(WRITING_MOST_S, self._together(tenant, now))
                except StoreFailedError as error:  # whoever waits as well would only find the same, later
                    _end([*now, *self._waiting.pop(tenant, [])], error)
                else:
                    _done(now)
                finally:  # a defect, or the end of the service: nobody must wait for ever
                    _end(now, StoreFailedError("the audit trail could not be written"))
        finally:
            del self._writing[tenant]
            _end(self._waiting.pop(tenant, []), StoreFailedError("the audit trail is not written any more"))

    async def _together(self, tenant: str, waiting: Sequence[_Waiting]) -> None:
        with acting(_AUDITOR):
            async with self._database.transaction() as connection:
                await append_many(connection, tenant, [told for told, _ in waiting])


def _done(waiting: Sequence[_Waiting]) -> None:
    for _, done in waiting:
        if not done.done():
            done.set_result(None)


def _end(waiting: Sequence[_Waiting], error: Exception) -> None:
    for _, done in waiting:
        if not done.done():
            done.set_exception(error)
