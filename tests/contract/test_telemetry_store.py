"""Both telemetry stores against one suite of claims."""

import pytest

from cloud.kit.database import Database
from cloud.telemetry.store.plain import PlainStore
from cloud.telemetry.store.port import TelemetryStore
from cloud.telemetry.store.writing import UnnestWriter
from tests.cloud.conftest import database, dsn, postgres
from tests.contract.telemetry_store_claims import RETENTION, TelemetryStoreClaims

__all__ = ["database", "dsn", "postgres"]  # fixtures


@pytest.mark.tier("postgres")
class TestPlain(TelemetryStoreClaims):
    """PostgreSQL alone, rows by COPY."""

    @pytest.fixture
    def store(self, database: Database) -> TelemetryStore:
        return PlainStore(database, retention=RETENTION)


@pytest.mark.tier("postgres")
class TestPlainWithoutCopy(TelemetryStoreClaims):
    """PostgreSQL alone, rows by INSERT .. unnest."""

    examples = 5

    @pytest.fixture
    def store(self, database: Database) -> TelemetryStore:
        return PlainStore(database, retention=RETENTION, writer=UnnestWriter())
