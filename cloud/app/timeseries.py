"""The time series put together from the settings: its store, its upkeep, and the routes that ask it."""

from datetime import timedelta

from litestar import Router

from cloud.app.settings import TelemetrySettings
from cloud.kit.database import Connection, Database
from cloud.kit.notify import NotificationHub
from cloud.platform.properties import Property
from cloud.public.gate import Gate, property_for
from cloud.telemetry.ledger_keeping import LedgerRetention
from cloud.telemetry.query_live import LiveFeeds
from cloud.telemetry.query_reader import QueryReader
from cloud.telemetry.query_routes import Caller, telemetry_routes
from cloud.telemetry.store.choice import choose
from cloud.telemetry.store.port import Retention, TelemetryStore
from kit.clock import Clock


def retention(settings: TelemetrySettings) -> Retention:
    """Return how long each resolution is kept, and each lane of the ledger.

    Raises:
        InvalidInputError: a coarser resolution is kept for less time than a finer one, lane B for less than C, or A for
            less than B; or anything for less than 2 days.
    """
    return Retention(
        raw=_unless_for_ever(settings.keep_readings),
        minute=_unless_for_ever(settings.keep_minutes),
        quarter=_unless_for_ever(settings.keep_quarters),
        day=_unless_for_ever(settings.keep_days),
        ledger=LedgerRetention(
            a=_unless_for_ever(settings.keep_ledger_a),
            b=_unless_for_ever(settings.keep_ledger_b),
            c=_unless_for_ever(settings.keep_ledger_c),
        ),
    )


async def make_store(settings: TelemetrySettings, database: Database) -> TelemetryStore:
    """Return the store over an open database.

    Raises:
        StoreFailedError: the database does not answer, or was not migrated.
        InvalidInputError: see `retention`.
    """
    return await choose(database, retention=retention(settings))


def make_routes(store: TelemetryStore, database: Database, hub: NotificationHub, gate: Gate, *, clock: Clock) -> Router:
    """Return the routes, behind the same fence as the others."""
    reader = QueryReader(database, store, clock=clock)
    return telemetry_routes(reader, LiveFeeds(database, hub), database, fence=_GateFence(gate), clock=clock)


class _GateFence:
    """The gate, as the telemetry routes need it."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    async def owned(self, connection: Connection, caller: Caller, property_id: str) -> Property:
        """See `cloud.telemetry.query_routes.Fence`."""
        return await property_for(connection, caller.user, property_id)

    async def may_stay(self, caller: Caller) -> bool:
        """See `cloud.telemetry.query_routes.Fence`."""
        return await self._gate.may_stay(caller)


def _unless_for_ever(kept: timedelta) -> timedelta | None:
    return kept or None
