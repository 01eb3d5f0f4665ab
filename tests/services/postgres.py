"""A PostgreSQL for tests: one server a test session, one database a test module or test."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from provisioning.rehearsal.embedded_postgres import EmbeddedPostgres


@contextmanager
def running_postgres(folder: Path, *, durable: bool = False) -> Iterator[EmbeddedPostgres]:
    """Run a server on a loop and thread of its own, so that a session fixture outlives the loops of the tests."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="postgres-for-tests", daemon=True)
    thread.start()
    server = EmbeddedPostgres(folder, durable=durable, settings={"max_connections": "200"})
    try:
        asyncio.run_coroutine_threadsafe(server.__aenter__(), loop).result()
        try:
            yield server
        finally:
            asyncio.run_coroutine_threadsafe(server.__aexit__(None, None, None), loop).result()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def fresh_database(server: EmbeddedPostgres, name: str, *, template: str | None = None) -> str:
    """Make a database, a copy of `template` if given, and return its DSN."""
    with psycopg.connect(server.dsn_of("postgres"), autocommit=True) as connection:
        statement = psycopg.sql.SQL("CREATE DATABASE {}").format(psycopg.sql.Identifier(name))
        if template is not None:
            statement += psycopg.sql.SQL(" TEMPLATE {}").format(psycopg.sql.Identifier(template))
        connection.execute(statement)
    return server.dsn_of(name)


def drop_database(server: EmbeddedPostgres, name: str) -> None:
    """Drop a database, whoever is still connected to it."""
    with psycopg.connect(server.dsn_of("postgres"), autocommit=True) as connection:
        connection.execute(
            psycopg.sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(psycopg.sql.Identifier(name))
        )
