"""The running service: everything constructed once, kept alive under supervision, stopped cleanly."""

import asyncio
from collections.abc import Callable
from typing import Final

from cloud.app import projections
from cloud.app.down import EdgeLine, read_command_key
from cloud.app.secrets import read_secret
from cloud.app.settings import BrokerSettings, CloudSettings
from cloud.checkin.desk import CheckInDesk
from cloud.fleet.commands import Commands
from cloud.fleet.link_state import Patience
from cloud.kit.database import Database
from cloud.kit.notify import NotificationHub
from cloud.kit.outbox import OUTBOX_CHANNEL, Relay, backlog
from cloud.platform.principals import AccessToken, Principal, Principals
from cloud.public.app import build
from cloud.public.gate import Gate
from cloud.public.live import Feeds
from cloud.public.reader import PropertyReader
from cloud.public.routes import Services, api
from cloud.public.stream import live
from cloud.public.web import pages
from cloud.stays.publisher import DocumentPublisher
from cloud.telemetry.downlink import Downlink
from cloud.telemetry.ingest import IngestWorker
from kit.clock import Clock
from kit.dice import Dice
from kit.health import Health
from kit.http import operations_routes, serve
from kit.identity import tls_client_context
from kit.logs import logger
from kit.metrics import Metrics
from kit.mqtt import Broker, MqttTransport
from kit.supervision import Backoff, Supervisor

WATCH_S: Final = 2.0
LINE: Final = Backoff(first_ms=200, most_ms=5_000)
"""Pause before the broker or the database is tried again."""


def access_tokens(settings: CloudSettings) -> list[AccessToken]:
    """Return the configured tokens."""
    return [
        AccessToken(
            sha256=bytes.fromhex(each.sha256),
            principal=Principal(
                name=each.name,
                tenant=each.tenant,
                role=each.role,
                properties=frozenset(each.properties) or None,
            ),
        )
        for each in settings.access_tokens
    ]


def transport(settings: BrokerSettings, client_id: str) -> MqttTransport:
    """Return the way to the cloud's broker."""
    tls = settings.tls
    return MqttTransport(
        Broker(
            host=settings.host,
            port=settings.port,
            client_id=client_id,
            tls=None if tls is None else tls_client_context(tls.ca_path, tls.cert_path, tls.key_path),
            username=settings.username,
            password=None if settings.password_path is None else read_secret(settings.password_path),
        )
    )


async def run(
    settings: CloudSettings,
    *,
    clock: Clock,
    dice: Dice,
    bound: Callable[[int], None],
    stop: asyncio.Event,
) -> None:
    """Serve until `stop` is set. `bound` hears the HTTP port once requests are taken.

    Raises:
        StoreFailedError: no database at the start.
        InvalidInputError: a setting names something that is not there.
    """
    log = logger("cloud")
    health, metrics = Health(clock), Metrics("cloud")
    database = Database(settings.database.dsn, most=settings.database.connections_most)
    principals = Principals(access_tokens(settings), dice=dice)
    hub = NotificationHub(settings.database.dsn, channels=(OUTBOX_CHANNEL,))
    instance = dice.bytes(6).hex()
    downlink = ingest = None
    if settings.broker is not None:
        ingest = IngestWorker(
            database,
            transport(settings.broker, f"cloud-ingest-{instance}"),
            owner_of=projections.owner_of,
            projections=projections.PROJECTIONS,
            clock=clock,
            metrics=metrics,
        )
        if settings.downlink is not None:
            downlink = Downlink(
                transport(settings.broker, f"cloud-down-{instance}"),
                key=read_command_key(settings.downlink.command_key_path),
                kid=settings.downlink.key_id.encode(),
                clock=clock,
            )
    line = EdgeLine(downlink, clock=clock)
    commands = Commands(database, line, clock=clock, dice=dice)
    reader = PropertyReader(
        database, clock=clock, patience=Patience(settings.link.silent_after, settings.link.offline_after)
    )
    services = Services(
        database=database,
        reader=reader,
        commands=commands,
        desk=CheckInDesk(database, commands, clock=clock),
        clock=clock,
    )
    publisher = DocumentPublisher(database, line.publish, clock=clock, hub=hub)
    relay = Relay(database, subscribers={}, clock=clock, log=log, hub=hub)
    gate = Gate(principals, database, clock=clock, origins=frozenset(settings.http.origins))
    app = build(
        gate,
        [
            api(services),
            live(Feeds(reader, hub), database, clock),
            *operations_routes(health, metrics),
            *pages(settings.web.root, principals, database, clock=clock, secure_cookie=settings.http.secure_cookie),
        ],
    )
    health.expect("database")
    await database.open()
    try:
        async with Supervisor(clock=clock, dice=dice, log=log, health=health) as supervisor:
            supervisor.start("watch", lambda: _watch(database, health, metrics))
            supervisor.start("notifications", hub.run, restart=LINE)
            supervisor.start("outbox", relay.run)
            supervisor.start("documents", publisher.run)
            if ingest is not None:
                health.expect("ingest")
                supervisor.start("ingest", ingest.run, restart=LINE)
            if downlink is not None:
                supervisor.start("downlink", downlink.run, restart=LINE)
            supervisor.start(
                "http", lambda: serve(app, settings.http.host, settings.http.port, bound=bound), restart=LINE
            )
            await stop.wait()
            log.info("stopping")
    finally:
        await database.close()


async def _watch(database: Database, health: Health, metrics: Metrics) -> None:
    """Look at what others depend on, and say how far the outbox is behind."""
    waiting = metrics.gauge("outbox_waiting", "events between modules not yet delivered")
    parked = metrics.gauge("outbox_parked", "events given up after too many attempts")
    while True:
        answers = await database.answers()
        health.report("database", answers, "" if answers else "does not answer")
        if answers:
            async with database.transaction() as connection:
                behind = await backlog(connection)
            waiting.set(behind.waiting)
            parked.set(behind.parked)
            health.report("outbox", behind.parked == 0, f"{behind.parked} parked" if behind.parked else "")
        await asyncio.sleep(WATCH_S)
