"""One process at a time does a job: a lock of the database session, and a heartbeat that notices its loss."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import psycopg

from protocols.errors import LinkLostError

TRY_AGAIN_S: Final = 3.0
HEARTBEAT_S: Final = 2.0


async def lead(dsn: str, job: str, work: Callable[[], Awaitable[None]]) -> None:
    """Wait until nobody else holds `job`, then run `work` while the lock is ours.

    Raises:
        LinkLostError: the session that held the lock is gone, and with it the right to go on; `work` was
            cancelled. Whatever `work` raises.
    """
    try:
        connection = await psycopg.AsyncConnection.connect(dsn, autocommit=True)
        async with connection:
            while not await _take(connection, job):  # noqa: ASYNC110 - another process' lock wakes nobody
                await asyncio.sleep(TRY_AGAIN_S)
            working = asyncio.ensure_future(work())
            try:
                while not working.done():
                    await asyncio.wait({working}, timeout=HEARTBEAT_S)
                    await connection.execute("SELECT 1")
                working.result()
            finally:
                working.cancel()
                await asyncio.wait({working})
    except psycopg.OperationalError as error:
        raise LinkLostError(f"leadership of {job} was lost") from error


async def _take(connection: psycopg.AsyncConnection[tuple[object, ...]], job: str) -> bool:
    cursor = await connection.execute("SELECT pg_try_advisory_lock(hashtextextended(%s, 1))", [job])
    row = await cursor.fetchone()
    return row is not None and row[0] is True
