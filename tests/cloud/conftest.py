"""A migrated PostgreSQL database a test: one server a session, each database a copy of one template."""

import itertools
from collections.abc import AsyncIterator, Iterator

import pytest

from cloud.kit.acting import system
from cloud.kit.database import Database
from cloud.migrations.upgrade import upgrade
from provisioning.rehearsal.embedded_postgres import EmbeddedPostgres
from tests.services.postgres import drop_database, fresh_database, running_postgres

_TEMPLATE = "template_innkeeper"
_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """A server for the whole session, with a migrated template. Tests that use it carry tier("postgres")."""
    with running_postgres(tmp_path_factory.mktemp("postgres")) as server:
        upgrade(fresh_database(server, _TEMPLATE))
        yield server


@pytest.fixture
def dsn(postgres: EmbeddedPostgres) -> Iterator[str]:
    """The DSN of a fresh database with every module's schema at its head."""
    name = f"test_{next(_numbers)}"
    yield fresh_database(postgres, name, template=_TEMPLATE)
    drop_database(postgres, name)


@pytest.fixture
async def database(dsn: str) -> AsyncIterator[Database]:
    """An open pool over a fresh database; outside of requests a test acts as the service's own workers do."""
    pool = Database(dsn, most=8, actor=system("test"))
    await pool.open()
    yield pool
    await pool.close()
