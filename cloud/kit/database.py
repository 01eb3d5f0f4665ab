"""The one PostgreSQL of the service: a bounded pool, transactions, and rows as dictionaries.

Every transaction acts for somebody (cloud/kit/acting.py) and never as the owner of the tables. Errors of the driver
that a caller may act on are translated here; everything else is a defect and crashes.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, LiteralString, TypeAlias

import msgspec
import psycopg
from psycopg.rows import DictRow, dict_row
from psycopg.types.json import Jsonb
from psycopg_pool import AsyncConnectionPool, PoolTimeout
from psycopg_pool import PoolClosed as PoolClosedError

from cloud.kit.acting import TENANT_ROLE, UNSAID, Actor, NobodyActsError, acting, system, who_acts
from cloud.kit.after_commit import Gathered, Notification, NotingConnection, send_by
from protocols.errors import StoreFailedError

POOL_WAIT_S: Final = 10.0  # longer than any healthy transaction of ours; beyond it the caller is told to retry
STATEMENT_MOST_MS: Final = 30_000  # a statement that runs longer is a defect, not patience

Connection: TypeAlias = psycopg.AsyncConnection[Any]
Parameters: TypeAlias = Sequence[object] | Mapping[str, object]

_NOTIFIER: Final = system("notify")
_NOBODY: Final = Actor(TENANT_ROLE, "nobody")  # may connect and sees no row: no tenant has an empty name
_BEGIN: Final = b"BEGIN; "
_READS: Final = b"SET TRANSACTION READ ONLY; "
_SNAPSHOT: Final = b"SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY; "
_json = msgspec.json.Encoder()


def jsonb(value: object) -> Jsonb:
    """Wrap a plain value as a jsonb parameter, encoded by msgspec."""
    return Jsonb(value, dumps=_json.encode)


async def fetch_all(connection: Connection, query: LiteralString, parameters: Parameters = ()) -> list[DictRow]:
    """Return every row as a dictionary, whatever row factory the connection has."""
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(query, parameters)
        return await cursor.fetchall()


async def fetch_one(connection: Connection, query: LiteralString, parameters: Parameters = ()) -> DictRow | None:
    """Return the first row as a dictionary, or None."""
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(query, parameters)
        return await cursor.fetchone()


async def execute(connection: Connection, query: LiteralString, parameters: Parameters = ()) -> int:
    """Run one statement; return how many rows it touched."""
    async with connection.cursor() as cursor:
        await cursor.execute(query, parameters)
        return cursor.rowcount


async def lock_for_transaction(connection: Connection, *words: str) -> None:
    """Hold an advisory lock named by `words` until the transaction ends. Take locks in one order only."""
    await execute(connection, "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", ["/".join(words)])


class CommitInDoubtError(StoreFailedError):
    """The database was lost at the very commit: nobody can tell whether it happened."""

    may_have_taken_effect = True


class Database:
    """The pool. Open it once; hand it to every module that needs transactions."""

    def __init__(self, dsn: str, *, most: int, actor: Actor | None = None) -> None:
        """Prepare a pool of at most `most` connections to `dsn` (libpq form); nothing connects yet.

        Args:
            dsn: its user needs membership of the roles of cloud/kit/acting.py, no right of its own.
            most: how many connections.
            actor: who acts where `acting` says nothing; None, for whatever serves callers: nobody may.
        """
        self.dsn = dsn
        self._actor = actor
        self._gathered = Gathered(self._notify)
        self._pool: AsyncConnectionPool[NotingConnection] = AsyncConnectionPool(
            dsn,
            connection_class=NotingConnection,
            open=False,
            min_size=1,
            max_size=most,
            timeout=POOL_WAIT_S,
            kwargs={
                "row_factory": dict_row,
                "options": f"-c statement_timeout={STATEMENT_MOST_MS}",
                "autocommit": True,  # we begin transactions ourselves, together with who acts in them
            },
        )

    async def open(self) -> None:
        """Connect; raise StoreFailedError when the database does not answer within POOL_WAIT_S."""
        try:
            await self._pool.open(wait=True, timeout=POOL_WAIT_S)
        except PoolTimeout as error:
            await self._pool.close()
            raise StoreFailedError(f"no database answered within {POOL_WAIT_S:g} s") from error

    async def close(self) -> None:
        """Close every connection, when what is to be notified still is."""
        await self._gathered.close()
        await self._pool.close()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[psycopg.AsyncConnection[DictRow]]:
        """Hand out a connection inside one transaction: committed on leaving, rolled back on any error.

        Raises:
            NobodyActsError: nobody said on whose behalf.
            StoreFailedError: the pool is exhausted or closed, the server is gone or gave up on us. Nothing was
                committed, unless the failure struck the commit itself: then it is a CommitInDoubtError.
        """
        async with self._transaction(b"") as connection:
            yield connection

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[psycopg.AsyncConnection[DictRow]]:
        """Hand out a connection that reads, and sees one moment however many statements it takes. Raises as above.

        In a plain transaction each statement sees what was committed before it: a mark and the records below it,
        read one after the other while a batch arrives, would not agree.
        """
        async with self._transaction(_SNAPSHOT) as connection:
            yield connection

    async def ask(self, query: LiteralString, parameters: Parameters = ()) -> list[DictRow]:
        """Return every row of one question that changes nothing, asked in one trip. Raises as `transaction`.

        For who asks before every request: beginning and ending a transaction of its own costs more than the question.
        """
        async with (
            self._connection() as (connection, actor),
            psycopg.AsyncClientCursor(connection, row_factory=dict_row) as cursor,
        ):
            asked = cursor.mogrify(query, parameters).encode()
            try:
                await cursor.execute(_BEGIN + _READS + actor.statement + b"; " + asked + b"; COMMIT")
            except BaseException:
                with suppress(psycopg.Error):
                    await connection.rollback()
                raise
            while cursor.description is None and cursor.nextset():
                pass  # what begins a transaction and says who acts answers nothing
            return await cursor.fetchall()

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[tuple[NotingConnection, Actor]]:
        said = who_acts()
        actor = self._actor if said is UNSAID else said
        if actor is None:
            raise NobodyActsError("a transaction on nobody's behalf: wrap the work in cloud.kit.acting.acting(...)")
        try:
            connection = await self._pool.getconn()
        except (PoolTimeout, PoolClosedError) as error:
            raise StoreFailedError("the database is not reachable") from error
        try:
            yield connection, actor
        except psycopg.OperationalError as error:
            raise StoreFailedError(f"the database was lost: {type(error).__name__}") from error
        finally:
            await self._pool.putconn(connection)

    @asynccontextmanager
    async def _transaction(self, mode: bytes) -> AsyncIterator[psycopg.AsyncConnection[DictRow]]:
        async with self._connection() as (connection, actor):
            connection.noted.clear()
            await connection.execute(_BEGIN + mode + actor.statement)  # in one trip: half of all there is to wait for
            try:
                yield connection
            except psycopg.Rollback:  # asked for: nothing happened, and nothing is wrong
                await connection.rollback()
                return
            except BaseException:
                with suppress(psycopg.Error):  # what broke is told; the pool throws away what cannot be rolled back
                    await connection.rollback()
                raise
            try:
                await connection.commit()
            except psycopg.OperationalError as error:
                raise CommitInDoubtError(f"the database was lost: {type(error).__name__}") from error
            self._gathered.add(connection.take_noted())

    async def _notify(self, told: list[Notification]) -> None:
        with acting(_NOTIFIER):
            async with self._transaction(b"") as connection:
                await send_by(connection, told)

    async def answers(self) -> bool:
        """Tell whether the database answers a trivial question now."""
        try:
            with acting(_NOBODY):
                async with self.transaction() as connection:
                    await execute(connection, "SELECT 1")
        except StoreFailedError:
            return False
        return True
