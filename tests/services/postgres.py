"""A PostgreSQL for tests: one server a test session, one database a test module or test."""

import asyncio
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import psycopg

from provisioning.rehearsal.embedded_postgres import EmbeddedPostgres

MEMORY: Final = Path("/dev/shm")
MEMORY_BYTES: Final = 2 << 30
"""Below it a server's files stay on the disk."""


@contextmanager
def in_memory(folder: Path) -> Iterator[Path]:
    """Yield a folder in memory if there is room, else `folder`.

    A database is some 400 files; where each test makes and drops one, a disk's file system spends longer on finding
    inodes than PostgreSQL on everything else.
    """
    if not os.access(MEMORY, os.W_OK) or shutil.disk_usage(MEMORY).free < MEMORY_BYTES:
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="innkeeper-tests-", dir=MEMORY, ignore_cleanup_errors=True) as made:
        yield Path(made)


@contextmanager
def running_postgres(folder: Path, *, durable: bool = False) -> Iterator[EmbeddedPostgres]:
    """Run a server on a loop and thread of its own, so that a session fixture outlives the loops of the tests.

    One that need not be `durable` keeps its files in memory where it can.
    """
    if not durable:
        with in_memory(folder) as swift:
            yield from _running(swift, durable=False)
    else:
        yield from _running(folder, durable=True)


def _running(folder: Path, *, durable: bool) -> Iterator[EmbeddedPostgres]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="postgres-for-tests", daemon=True)
    thread.start()
    server = EmbeddedPostgres(folder, durable=durable, settings={"max_connections": "200", "max_wal_size": "256MB"})
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
