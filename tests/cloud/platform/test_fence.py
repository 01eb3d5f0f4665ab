"""The second fence: PostgreSQL itself shows, takes and gives no row of another tenant, whatever the SQL says.

Generated from the catalogue: every table there is, also those of tomorrow.
"""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

from cloud.kit.acting import UPKEEP, NobodyActsError, acting, system, tenant
from cloud.kit.database import Database, execute, fetch_all, fetch_one
from cloud.migrations.fence import SYSTEM_ONLY, fence, undecided
from protocols.errors import LocalProtocolError
from provisioning.rehearsal.embedded_postgres import EmbeddedPostgres
from tests.cloud.houses import AURORA, BOREALIS, open_house
from tests.services.postgres import drop_database, fresh_database

pytestmark = [pytest.mark.tier("postgres"), pytest.mark.guarantee("G8"), pytest.mark.requirement("PLT-01")]

OURS, THEIRS = "a", "b"
_VALUES: dict[str, object] = {
    "text": "x", "bytea": b"x", "jsonb": "{}", "boolean": True, "timestamp with time zone": "2026-11-18T00:00Z",
    "date": "2026-11-18", "double precision": 1.0, "uuid": "00000000-0000-4000-8000-000000000000",
}  # fmt: skip


@dataclass(frozen=True)
class Table:
    name: str
    columns: tuple[tuple[str, str], ...]
    """Every column that takes a value, with its type."""

    def row(self, owner: str, number: int) -> dict[str, object]:
        """Return a row of a tenant; rows of one tenant differ by `number`."""
        return {name: self._value(name, kind, owner, number) for name, kind in self.columns}

    def _value(self, column: str, kind: str, owner: str, number: int) -> object:
        known: dict[str, object] = {"tenant": owner, "property": f"p-{owner}", "edge": f"e-{owner}"}
        owned: dict[str, object] = {
            "platform.tenant.id": owner,
            "platform.property.id": f"p-{owner}",
            "platform.property.edge": f"e-{owner}",
            "telemetry.edge.id": f"e-{owner}",
        }
        if (value := owned.get(f"{self.name}.{column}", known.get(column))) is not None:
            return value
        if kind in ("integer", "bigint", "smallint"):
            return {OURS: 10, THEIRS: 20}[owner] + number  # a series, too, has its tenant by its number
        if kind.endswith("[]"):
            return "{}"
        if kind == "text":
            return f"{owner}{number}"
        if kind == "bytea":
            return f"{owner}{number}".encode()
        return _VALUES[kind]

    def insert(self, owner: str, number: int = 0) -> tuple[sql.Composed, list[object]]:
        row = self.row(owner, number)
        statement = sql.SQL("INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE VALUES ({})").format(
            sql.SQL(self.name),
            sql.SQL(", ").join(map(sql.Identifier, row)),
            sql.SQL(", ").join([sql.Placeholder()] * len(row)),
        )
        return statement, list(row.values())


def tables_of(dsn: str) -> list[Table]:
    with psycopg.connect(dsn) as connection:
        rows = connection.execute(
            """
            SELECT c.oid::regclass::text, array_agg(a.attname::text ORDER BY a.attnum),
                   array_agg(format_type(a.atttypid, NULL) ORDER BY a.attnum)
              FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
              JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
             WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND n.nspname !~ '^pg_'
               AND n.nspname NOT IN ('information_schema', 'public', 'schema_versions')
             GROUP BY c.oid ORDER BY c.oid
            """
        ).fetchall()
    return [Table(name, tuple(zip(columns, kinds, strict=True))) for name, columns, kinds in rows]


@pytest.fixture(scope="module")
def settled(postgres: EmbeddedPostgres) -> Iterator[str]:
    """A database in which every table holds one row of either tenant; its checks are gone, its policies stand."""
    name = "fence_rows"
    dsn = fresh_database(postgres, name, template="template_innkeeper")
    with psycopg.connect(dsn) as connection:
        constraints = connection.execute(
            "SELECT conrelid::regclass::text, conname FROM pg_constraint"
            " WHERE contype IN ('c', 'f', 'x') AND conrelid <> 0 AND conparentid = 0"
            " AND connamespace::regnamespace::text NOT IN ('pg_catalog', 'information_schema')"
        ).fetchall()
        for table, constraint in constraints:
            connection.execute(
                sql.SQL("ALTER TABLE {} DROP CONSTRAINT IF EXISTS {} CASCADE").format(
                    sql.SQL(table), sql.Identifier(constraint)
                )
            )
        for table in ("record", "rollup_1m", "rollup_15m", "rollup_1d"):
            connection.execute(
                sql.SQL("CREATE TABLE {} PARTITION OF {} DEFAULT").format(
                    sql.Identifier("telemetry", f"{table}_all"), sql.Identifier("telemetry", table)
                )
            )
        connection.execute("TRUNCATE telemetry.shard")
        for each in tables_of(dsn):
            for owner in (OURS, THEIRS):
                statement, values = each.insert(owner)
                connection.execute(statement, values)
    yield dsn
    drop_database(postgres, name)


@pytest.fixture
async def fenced(settled: str) -> AsyncIterator[Database]:
    database = Database(settled, most=2)
    await database.open()
    yield database
    await database.close()


class Undone(Exception):  # noqa: N818 - it is no error
    """Nothing of the attempt shall stay."""


async def attempt(database: Database, statement: sql.SQL | sql.Composed, values: Any = ()) -> int | None:
    """Return how many rows a statement touched, None if it was refused; then undo it."""
    touched: int | None = None
    try:
        async with database.transaction() as connection:
            try:
                touched = (await connection.execute(statement, values)).rowcount
            except psycopg.errors.InsufficientPrivilege:
                touched = None
            raise Undone
    except Undone:
        return touched


async def test_no_table_shows_takes_or_gives_a_row_of_another_tenant(fenced: Database) -> None:
    wrong: list[str] = []
    for table in tables_of(fenced.dsn):
        name, shut = sql.SQL(table.name), table.name in SYSTEM_ONLY
        column = sql.Identifier(table.columns[-1][0])  # the first may be an identity, which nobody changes
        everything = sql.SQL("SELECT * FROM {}").format(name)
        shared = table.name == "telemetry.kept"  # of no tenant; held to be read-only here
        with acting(system("test")):
            assert await attempt(fenced, everything) == 2, table.name
        with acting(tenant(OURS)):
            told = {
                "read": await attempt(fenced, everything),
                "changed": await attempt(fenced, sql.SQL("UPDATE {} SET {} = {}").format(name, column, column)),
                "deleted": await attempt(fenced, sql.SQL("DELETE FROM {}").format(name)),
                "inserted": await attempt(fenced, *table.insert(THEIRS, 1)),
                "truncated": await attempt(fenced, sql.SQL("TRUNCATE {} CASCADE").format(name)),
            }
            if "tenant" in dict(table.columns):
                given = sql.SQL("UPDATE {} SET tenant = %s").format(name)
                told["given away"] = await attempt(fenced, given, [THEIRS])
        if told["read"] != (None if shut else 2 if shared else 1):
            wrong.append(f"{table.name}: {told['read']} rows read")
        wrong += [
            f"{table.name}: {told[verb]} rows {verb}" for verb in ("changed", "deleted") if told[verb] not in {1, None}
        ]
        wrong += [
            f"{table.name}: a row {verb}"
            for verb in ("inserted", "truncated", "given away")
            if told.get(verb) is not None
        ]
        with acting(tenant("nobody-knows-me")):
            if (seen := await attempt(fenced, everything)) not in ({2} if shared else {0, None}):
                wrong.append(f"{table.name}: a stranger reads {seen} rows")
        if "property" in dict(table.columns) or table.name == "platform.property":
            with acting(tenant(OURS, frozenset({"p-elsewhere", "p-third"}))):
                if (seen := await attempt(fenced, everything)) not in {0, None}:
                    wrong.append(f"{table.name}: {seen} rows of a property that is not the caller's to see")
            with acting(tenant(OURS, frozenset({f"p-{OURS}", f"p-{THEIRS}"}))):
                if (seen := await attempt(fenced, everything)) not in ({None} if shut else {1}):
                    wrong.append(f"{table.name}: {seen} rows of the caller's own property")
    assert wrong == []


async def test_sql_without_a_tenant_sees_nothing(settled: str) -> None:
    wrong = []
    async with await psycopg.AsyncConnection.connect(settled, autocommit=True) as connection:
        await connection.execute("SET ROLE innkeeper_tenant")
        for table in tables_of(settled):
            if table.name in SYSTEM_ONLY or table.name == "telemetry.kept":
                continue
            found = await connection.execute(sql.SQL("SELECT FROM {}").format(sql.SQL(table.name)))
            wrong += [table.name] if found.rowcount else []
    assert wrong == []


async def test_a_pooled_connection_forgets_its_last_caller(fenced: Database) -> None:
    with acting(tenant(OURS)):
        async with fenced.transaction() as connection:
            pid = connection.info.backend_pid
    with acting(tenant(THEIRS)):
        async with fenced.transaction() as connection:
            assert connection.info.backend_pid == pid
            [row] = await fetch_all(connection, "SELECT tenant FROM stays.stay")
    assert row["tenant"] == THEIRS


async def test_partitions_and_the_versions_are_nobodys_but_upkeeps(settled: str) -> None:
    async with await psycopg.AsyncConnection.connect(settled) as connection:
        open_ones = await connection.execute(
            """
            SELECT c.oid::regclass::text, r.role, p.privilege
              FROM pg_class c, (VALUES ('innkeeper_tenant'), ('innkeeper_system')) r (role),
                   (VALUES ('SELECT'), ('INSERT'), ('UPDATE'), ('DELETE'), ('TRUNCATE')) p (privilege)
             WHERE c.relkind IN ('r', 'p')
               AND (c.relispartition OR c.relnamespace = 'schema_versions'::regnamespace)
               AND has_table_privilege(r.role, c.oid, p.privilege)
            """
        )
        assert await open_ones.fetchall() == []
        bent = await connection.execute(
            "SELECT rolname FROM pg_roles WHERE rolname LIKE 'innkeeper\\_%' AND rolname <> 'innkeeper'"
            " AND (rolcanlogin OR rolsuper OR rolcreaterole OR rolcreatedb OR rolinherit"
            " OR rolbypassrls <> (rolname <> 'innkeeper_tenant'))"
        )
        assert await bent.fetchall() == []
        views = await connection.execute(
            "SELECT oid::regclass::text FROM pg_class WHERE relkind = 'v' AND relnamespace::regnamespace::text NOT IN"
            " ('pg_catalog', 'information_schema') AND NOT coalesce('security_invoker=true' = ANY (reloptions), false)"
        )
        assert await views.fetchall() == []


def fence_of(dsn: str) -> list[str]:
    """Fence a database again; return what is undecided there, before and after."""
    engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(dsn), poolclass=NullPool)
    with engine.begin() as connection:
        before = undecided(connection)
        fence(connection)
        after = undecided(connection)
    engine.dispose()
    assert set(after) <= set(before)
    return before


def test_every_table_of_the_schema_is_decided(settled: str) -> None:
    assert fence_of(settled) == []


async def test_a_table_that_nobody_decided_about_is_found_and_shut(dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute("CREATE TABLE stays.forgotten (tenant text NOT NULL)")
        connection.execute("CREATE TABLE stays.strange (what text)")
        connection.execute("INSERT INTO stays.forgotten VALUES ('b'); INSERT INTO stays.strange VALUES ('secret')")
    database = Database(dsn, most=1, actor=tenant(OURS))
    await database.open()
    everything = sql.SQL("SELECT * FROM stays.{}")
    for table in ("forgotten", "strange"):  # before the fence is written anew there is no right at all
        assert await attempt(database, everything.format(sql.Identifier(table))) is None
    assert fence_of(dsn) == ["stays.forgotten", "stays.strange"]
    assert fence_of(dsn) == ["stays.strange"]  # who it belongs to can be seen of the one, not of the other
    assert await attempt(database, everything.format(sql.Identifier("forgotten"))) == 0
    assert await attempt(database, everything.format(sql.Identifier("strange"))) is None
    await database.close()


async def test_the_owner_of_the_tables_sees_nothing_either(dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute("INSERT INTO platform.tenant VALUES ('b', now())")
        connection.execute("CREATE ROLE plain_owner; GRANT USAGE ON SCHEMA platform TO plain_owner")
        connection.execute("ALTER TABLE platform.tenant OWNER TO plain_owner; SET ROLE plain_owner")
        assert connection.execute("SELECT * FROM platform.tenant").fetchall() == []
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("INSERT INTO platform.tenant VALUES ('c', now())")
        connection.rollback()


async def test_a_login_with_the_roles_and_no_right_of_its_own_is_enough(database: Database) -> None:
    for house in (AURORA, BOREALIS):
        await open_house(database, house)
    with psycopg.connect(database.dsn, autocommit=True) as connection:
        connection.execute("DROP ROLE IF EXISTS svc")
        connection.execute(
            "CREATE ROLE svc LOGIN NOINHERIT; GRANT innkeeper_tenant, innkeeper_system, innkeeper_upkeep TO svc"
        )
    service = Database(f"{database.dsn} user=svc", most=2)
    await service.open()
    try:
        with acting(tenant(AURORA.tenant)):
            async with service.snapshot() as connection:
                rows = await fetch_all(connection, "SELECT id FROM platform.property")
                assert [row["id"] for row in rows] == [AURORA.id]
        with acting(system("test")):
            async with service.transaction() as connection:
                both = await fetch_one(connection, "SELECT count(*) AS n FROM platform.property")
                assert both == {"n": 2}
                who = await fetch_one(connection, "SELECT current_setting('application_name') AS name")
                assert who == {"name": "innkeeper test"}
        with acting(UPKEEP):
            async with service.transaction() as connection:
                await execute(connection, "CREATE TABLE telemetry.record_zero PARTITION OF telemetry.record DEFAULT")
        assert await service.answers()
    finally:
        await service.close()
    with psycopg.connect(f"{database.dsn} user=svc") as bare, pytest.raises(psycopg.errors.InsufficientPrivilege):
        bare.execute("SELECT * FROM platform.property")
    with psycopg.connect(database.dsn, autocommit=True) as connection:
        connection.execute("DROP ROLE svc")


async def test_who_says_nothing_or_nobody_gets_no_transaction(dsn: str) -> None:
    database = Database(dsn, most=1)
    await database.open()
    try:
        with pytest.raises(NobodyActsError, match="acting"):
            async with database.transaction():
                pytest.fail("a transaction of nobody's")
    finally:
        await database.close()
    for wrong in ("", "a,b", "*"):
        with pytest.raises(LocalProtocolError):
            tenant("a", frozenset({wrong}))
    with pytest.raises(LocalProtocolError):
        tenant("")
