"""Bring every module's schema to its head and fence it, in one transaction, one process at a time."""

import os
from pathlib import Path
from typing import Final

import psycopg
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from cloud.migrations.fence import fence

VERSION_SCHEMA: Final = "schema_versions"
_CLOUD: Final = Path(__file__).resolve().parent.parent
_LOCK: Final = 0x696E6E6B  # "innk": migrations of two starting processes take turns


def configuration() -> Config:
    """Return the Alembic configuration with the version location of each module that has one."""
    locations = sorted(str(path) for path in _CLOUD.glob("*/migrations") if any(path.glob("*_[0-9]*.py")))
    config = Config()
    config.set_main_option("script_location", str(_CLOUD / "migrations"))
    config.set_main_option("path_separator", "os")
    config.set_main_option("version_locations", os.pathsep.join(locations))
    return config


def heads() -> frozenset[str]:
    """Return the newest version of each module."""
    return frozenset(ScriptDirectory.from_config(configuration()).get_heads())


def upgrade(dsn: str) -> frozenset[str]:
    """Upgrade the database at `dsn` (libpq form) to all heads; return them. Safe to call again."""
    engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(dsn), poolclass=NullPool)
    config = configuration()
    with engine.begin() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {VERSION_SCHEMA}"))
        config.attributes["connection"] = connection
        command.upgrade(config, "heads")
        fence(connection)
    engine.dispose()
    return heads()
