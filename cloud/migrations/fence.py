"""Row-level security: what the roles of cloud/kit/acting.py may touch, written anew at the end of every migration.

It walks the catalogue, so that no table is forgotten: a table with a `tenant` is fenced by it, one with only a
`property` by the property's tenant, and where there is a `property` the caller's own list must hold it as well. What
has neither stands in BY_PARENT or in SYSTEM_ONLY; a table that stands nowhere is fenced off from callers altogether,
and tests/cloud/platform/test_fence.py fails until somebody has decided.

Roles: `innkeeper_tenant` obeys the policies; `innkeeper_system`, the service's own workers, passes them (BYPASSRLS, or
COPY were refused it) with INSERT, SELECT, UPDATE, DELETE and nothing that changes a table; `innkeeper_upkeep` owns the
partitioned tables of the time series alone, because only an owner makes partitions. None can log in. FORCE holds the
owner of the tables to the policies too: who connects as the owner and takes no role sees nothing.
"""

from typing import Final

from psycopg import sql
from sqlalchemy import Connection, text
from sqlalchemy.exc import ProgrammingError

from cloud.kit.acting import (
    EVERY_PROPERTY,
    PROPERTIES_SETTING,
    SYSTEM_ROLE,
    TENANT_ROLE,
    TENANT_SETTING,
    UPKEEP_ROLE,
)
from protocols.errors import StoreFailedError

POLICY: Final = "fence"
_NOT_OURS: Final = ("information_schema", "public")
_TENANT: Final = f"(SELECT nullif(current_setting('{TENANT_SETTING}', true), ''))"
_LISTED: Final = f"(SELECT current_setting('{PROPERTIES_SETTING}', true))"
_OF_TENANT: Final = f"tenant = {_TENANT}"
_IN_LIST: Final = (
    f"({_LISTED} = '{EVERY_PROPERTY}' OR property = ANY ((SELECT"
    f" string_to_array(current_setting('{PROPERTIES_SETTING}', true), ','))::text[]))"
)
# the table asked is fenced itself: it shows the caller's own rows alone
_OF_PROPERTY: Final = "EXISTS (SELECT FROM platform.property p WHERE p.id = property)"
_OF_EDGE: Final = "EXISTS (SELECT FROM telemetry.edge e WHERE e.id = edge)"
_OF_SERIES: Final = "EXISTS (SELECT FROM telemetry.series s WHERE s.id = series)"

BY_PARENT: Final = {
    "platform.tenant": f"id = {_TENANT}",
    "platform.property": _OF_TENANT + " AND " + _IN_LIST.replace("property = ANY", "id = ANY"),
    "telemetry.hole": _OF_EDGE,
    "telemetry.proof": _OF_EDGE,
    "telemetry.reading": _OF_SERIES,
    "telemetry.reading_1m": _OF_SERIES,
    "telemetry.reading_15m": _OF_SERIES,
    "telemetry.reading_1d": _OF_SERIES,
    "telemetry.rollup_1m": _OF_SERIES,
    "telemetry.rollup_15m": _OF_SERIES,
    "telemetry.rollup_1d": _OF_SERIES,
    "telemetry.folded_1m": _OF_SERIES,
    "telemetry.folded_15m": _OF_SERIES,
    "telemetry.folded_1d": _OF_SERIES,
    "telemetry.kept": "true",  # since when roll-ups are whole: of no tenant
}
"""Tables whose owner is not told by a column `tenant` or `property`, and what tells it."""
SYSTEM_ONLY: Final = frozenset(
    {
        "platform.attempt_bucket",
        "platform.challenge",
        "platform.company_attempt",
        "platform.company_identity",  # whoever writes one signs in as another
        "platform.passkey",
        "platform.password",
        "platform.recovery",
        "platform.session",  # looked up before anybody is known
        "platform.token",
        "telemetry.refused",  # holds what strangers sent
        "telemetry.shard",
        "telemetry.worker",
    }
)
"""Tables that callers never touch."""
READ_ONLY: Final = frozenset(
    {
        "checkin.letter",
        "checkin.letter_rate",
        "guests.directory",  # who widens it sees guests of other houses
        "platform.tenant",
        "platform.property",
        "platform.rate_rule",
    }
)
APPEND_ONLY: Final = frozenset({"checkin.terms", "platform.audit"})
"""What nobody changes, not even the service's own workers."""
READ_ONLY_SCHEMAS: Final = frozenset({"telemetry"})
"""What callers read and never change: the ledger and what was made of it, and who owns what."""
PARTITIONED_BY_UPKEEP: Final = "telemetry"

_ROLES: Final = ((TENANT_ROLE, "NOBYPASSRLS"), (SYSTEM_ROLE, "BYPASSRLS"), (UPKEEP_ROLE, "BYPASSRLS"))


def fence(connection: Connection) -> None:
    """Make the roles, and write every right and policy anew. Safe to call again.

    Raises:
        StoreFailedError: the roles are missing and we may not make them; says what to do.
    """
    _make_roles(connection)
    for schema in _schemas(connection):
        for statement in _schema_rights(schema):
            connection.exec_driver_sql(statement)
    _hand_partitions_over(connection)
    for name, kind, columns in _tables(connection):
        for statement in _table_rights(name, kind, columns):
            connection.exec_driver_sql(statement)


def rule_of(name: str, columns: frozenset[str]) -> str | None:
    """Return the condition under which a row is a caller's, None if no row ever is. Pure."""
    if name in SYSTEM_ONLY:
        return None
    if name in BY_PARENT:
        return BY_PARENT[name]
    if "tenant" in columns and "property" in columns:
        return f"{_OF_TENANT} AND {_IN_LIST}"
    if "tenant" in columns:
        return _OF_TENANT
    if "property" in columns:
        return f"{_OF_PROPERTY} AND {_IN_LIST}"
    return None


def undecided(connection: Connection) -> list[str]:
    """Return the tables of which nobody has decided whose their rows are, and those that stand without their fence."""
    standing = {
        row[0]
        for row in connection.execute(
            text("SELECT oid::regclass::text FROM pg_class WHERE relrowsecurity AND relforcerowsecurity")
        )
    }
    return [
        name
        for name, kind, columns in _tables(connection)
        if kind in ("r", "p") and (name not in standing or (rule_of(name, columns) is None and name not in SYSTEM_ONLY))
    ]


def _make_roles(connection: Connection) -> None:
    for role, bypass in _ROLES:
        if connection.execute(text("SELECT 1 FROM pg_roles WHERE rolname = :role"), {"role": role}).scalar():
            continue
        try:
            with connection.begin_nested():
                connection.exec_driver_sql(f"CREATE ROLE {role} NOLOGIN NOINHERIT {bypass}")
                connection.exec_driver_sql(f"GRANT {role} TO CURRENT_USER")
        except ProgrammingError as error:
            raise StoreFailedError(
                f"cannot make the role {role}: let a superuser run"
                f" `CREATE ROLE {role} NOLOGIN NOINHERIT {bypass}; GRANT {role} TO <who migrates> WITH ADMIN OPTION`"
            ) from error


def _schemas(connection: Connection) -> list[str]:
    rows = connection.execute(
        text(
            "SELECT nspname FROM pg_namespace WHERE nspname !~ '^(pg_|_?timescaledb)' AND nspname <> ALL (:others)"
            " AND nspname <> 'schema_versions' ORDER BY nspname"
        ),
        {"others": list(_NOT_OURS)},
    )
    return [row[0] for row in rows]


def _tables(connection: Connection) -> list[tuple[str, str, frozenset[str]]]:
    """Return every table, view and sequence of a module by name, kind and columns; partitions go by their parent."""
    rows = connection.execute(
        text(
            """
            SELECT c.oid::regclass::text AS name, c.relkind::text AS kind,
                   array(SELECT attname::text FROM pg_attribute a
                          WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) AS columns
              FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
             WHERE n.nspname = ANY (:schemas) AND c.relkind IN ('r', 'p', 'v', 'm', 'S') AND NOT c.relispartition
             ORDER BY c.oid
            """
        ),
        {"schemas": _schemas(connection)},
    ).all()
    of_timescale = _names_of_timescale(connection)
    return [(row.name, "timescale" if row.name in of_timescale else row.kind, frozenset(row.columns)) for row in rows]


def _names_of_timescale(connection: Connection) -> dict[str, str]:
    """Return hypertables and continuous aggregates with what ALTER calls them, where there are any."""
    if connection.execute(text("SELECT to_regclass('timescaledb_information.hypertables')")).scalar() is None:
        return {}
    rows = connection.execute(
        text(
            "SELECT format('%I.%I', hypertable_schema, hypertable_name), 'TABLE'"
            " FROM timescaledb_information.hypertables"
            " UNION ALL SELECT format('%I.%I', view_schema, view_name), 'MATERIALIZED VIEW'"
            " FROM timescaledb_information.continuous_aggregates"
        )
    )
    return {row[0]: row[1] for row in rows}


def _hand_partitions_over(connection: Connection) -> None:
    """Make upkeep the owner of what it makes and drops partitions of."""
    rows = connection.execute(
        text(
            """
            SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
             WHERE n.nspname = :schema AND (c.relkind = 'p' OR (c.relispartition AND c.relkind = 'r'))
               AND pg_get_userbyid(c.relowner) <> :role ORDER BY c.oid
            """
        ),
        {"schema": PARTITIONED_BY_UPKEEP, "role": UPKEEP_ROLE},
    )
    for row in rows.all():
        connection.exec_driver_sql(f"ALTER TABLE {row[0]} OWNER TO {UPKEEP_ROLE}")
    for name, kind in sorted(_names_of_timescale(connection).items()):  # upkeep refreshes, compresses and drops chunks
        connection.exec_driver_sql(f"ALTER {kind} {name} OWNER TO {UPKEEP_ROLE}")


def _schema_rights(schema: str) -> list[str]:
    name = sql.Identifier(schema).as_string()
    return [
        f"REVOKE ALL ON SCHEMA {name} FROM PUBLIC, {TENANT_ROLE}, {SYSTEM_ROLE}, {UPKEEP_ROLE}",
        f"REVOKE ALL ON ALL TABLES IN SCHEMA {name} FROM PUBLIC, {TENANT_ROLE}, {SYSTEM_ROLE}",
        f"GRANT USAGE ON SCHEMA {name} TO {TENANT_ROLE}, {SYSTEM_ROLE}",
        *(
            [f"GRANT USAGE, CREATE ON SCHEMA {name} TO {UPKEEP_ROLE}"]
            if schema == PARTITIONED_BY_UPKEEP
            else []
        ),
    ]  # fmt: skip


def _table_rights(name: str, kind: str, columns: frozenset[str]) -> list[str]:
    if kind == "S":
        return [f"GRANT USAGE, SELECT ON SEQUENCE {name} TO {SYSTEM_ROLE}, {TENANT_ROLE}"]
    if kind == "v":  # answers with the rights of whoever asks, or it would be a gate in the fence
        return [
            f"ALTER VIEW {name} SET (security_invoker = true)",
            f"GRANT SELECT ON {name} TO {SYSTEM_ROLE}, {TENANT_ROLE}",
        ]
    schema = name.partition(".")[0]
    rule = rule_of(name, columns)
    writes = "INSERT" if name in APPEND_ONLY else "INSERT, UPDATE, DELETE"
    told = [f"GRANT SELECT, {writes} ON {name} TO {SYSTEM_ROLE}"]
    if schema == PARTITIONED_BY_UPKEEP:
        told.append(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {name} TO {UPKEEP_ROLE}")
    if rule is not None:
        reads = name in READ_ONLY or schema in READ_ONLY_SCHEMAS
        told.append(f"GRANT SELECT{'' if reads else f', {writes}'} ON {name} TO {TENANT_ROLE}")
    if kind == "timescale":  # refuses policies where it compresses: docs/decisions/0050
        return told
    told += [
        f"ALTER TABLE {name} ENABLE ROW LEVEL SECURITY",
        f"ALTER TABLE {name} FORCE ROW LEVEL SECURITY",
        f"DROP POLICY IF EXISTS {POLICY} ON {name}",
    ]
    if rule is not None:
        told.append(f"CREATE POLICY {POLICY} ON {name} TO {TENANT_ROLE} USING ({rule}) WITH CHECK ({rule})")
    return told
