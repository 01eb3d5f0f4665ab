"""An ingest worker put together from the settings: inside `innkeeper-cloud run`, or as `innkeeper-cloud ingest`.

A worker of its own serves /health and /metrics where it is given a port, nothing else; it needs the database and the
broker, no key and no other module's work.
"""

import asyncio
import gc
from collections.abc import Callable
from typing import Final

from cloud.app import projections
from cloud.app.settings import CloudSettings
from cloud.app.transport import wire_transport
from cloud.kit.acting import system
from cloud.kit.database import Database
from cloud.telemetry.fan_in.keeper import TICK
from cloud.telemetry.fan_in.leases import Worker
from cloud.telemetry.ingest import IngestWorker
from cloud.telemetry.store.choice import choose
from kit.clock import Clock
from kit.dice import Dice
from kit.health import Health
from kit.http import application, operations_routes, serve
from kit.logs import logger
from kit.metrics import Metrics
from kit.supervision import Backoff, Supervisor
from protocols.errors import InvalidInputError

LINE: Final = Backoff(first_ms=200, most_ms=5_000)
"""Pause before the broker or the database is tried again."""
_COLLECT_AFTER: Final = (50_000, 20, 50)
"""Objects made before the cycle collector looks: decoding makes thousands a batch and none in a cycle."""


async def make_ingest(
    settings: CloudSettings, database: Database, *, clock: Clock, dice: Dice, metrics: Metrics
) -> IngestWorker | None:
    """Return the worker over an open database; None without a broker.

    Raises:
        StoreFailedError: the database does not answer, or was not migrated.
        InvalidInputError: a lease too short for the rhythm of renewals.
    """
    if settings.broker is None:
        return None
    ingest = settings.ingest
    if ingest.lease < 3 * TICK:
        raise InvalidInputError("ingest.lease", f"{ingest.lease} is shorter than three renewals ({3 * TICK})")
    me = Worker(ingest.name or f"w-{dice.bytes(6).hex()}", dice.bytes(6).hex())
    return IngestWorker(
        database,
        wire_transport(settings.broker, f"cloud-ingest-{me.name}"),
        owner_of=projections.owner_of,
        projections=projections.PROJECTIONS,
        clock=clock,
        store=await choose(database, series_most=2 * ingest.work.points_most),
        metrics=metrics,
        settings=ingest.work,
        me=me,
        lease=ingest.lease,
    )


def collect_seldom() -> None:
    """Tune the cycle collector of this process to the ingest."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_COLLECT_AFTER)


async def run_ingest(
    settings: CloudSettings,
    *,
    clock: Clock,
    dice: Dice,
    operations_port: int | None,
    bound: Callable[[int], None],
    stop: asyncio.Event,
) -> None:
    """Be one more ingest worker until `stop` is set, then hand its shards over.

    Args:
        operations_port: where /health and /metrics are served on the host of [http]; 0 takes a free one; None: nowhere.
        bound: hears that port.

    Raises:
        StoreFailedError: no database at the start.
        InvalidInputError: a setting names something that is not there.
    """
    health, metrics = Health(clock), Metrics("cloud-ingest")
    database = Database(settings.database.dsn, most=settings.database.connections_most, actor=system("ingest"))
    await database.open()
    try:
        ingest = await make_ingest(settings, database, clock=clock, dice=dice, metrics=metrics)
        if ingest is None:
            raise InvalidInputError("broker", "an ingest worker needs [broker]")
        collect_seldom()
        health.expect("ingest")
        app = application(operations_routes(health, metrics))
        async with Supervisor(clock=clock, dice=dice, log=logger("cloud.ingest"), health=health) as supervisor:
            supervisor.start("ingest", ingest.run, restart=LINE)
            if operations_port is not None:
                supervisor.start(
                    "http", lambda: serve(app, settings.http.host, operations_port, bound=bound), restart=LINE
                )
            await stop.wait()
            await ingest.hand_over()
    finally:
        await database.close()
