"""The running service: everything constructed once, kept alive under supervision, stopped cleanly."""

import asyncio
import functools
import hashlib
import threading
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

import httpx

from cloud.app.down import EdgeLine, policy_signer, read_command_key, unsigned
from cloud.app.ingest import LINE, make_ingest
from cloud.app.keeping import rules
from cloud.app.letters import make_letters
from cloud.app.partners import pms_access
from cloud.app.secrets import file_keys, read_secret
from cloud.app.settings import CloudSettings, PmsSettings
from cloud.app.timeseries import make_routes, make_store
from cloud.app.transport import transport
from cloud.checkin import departures
from cloud.checkin.desk import CheckInDesk
from cloud.checkin.late_steps import TOLD as KIOSK_TOLD
from cloud.checkin.late_steps import LateSteps
from cloud.checkin.letters import MOVED_BY
from cloud.checkin.policy_outcomes import late_outcomes, outcomes
from cloud.checkin.registrations import Registrations
from cloud.checkin.screening import Lists
from cloud.checkin.sessions import FORGET_MOST, Sessions
from cloud.checkin.watchlists import FileScreening, keep_renewed
from cloud.fleet.commands import Commands
from cloud.fleet.link_state import Patience
from cloud.guests.profiles import Profiles
from cloud.kit.acting import UPKEEP, acting, acting_as, system
from cloud.kit.database import Database
from cloud.kit.keeping import Keeping
from cloud.kit.leadership import lead
from cloud.kit.notify import NotificationHub
from cloud.kit.outbox import OUTBOX_CHANNEL, Handler, Relay, backlog
from cloud.payments.payments import CHANGED as PAYMENT_CHANGED
from cloud.payments.payments import Payments
from cloud.payments.stripe.adapter import StripePayments
from cloud.platform.audit_desk import AuditDesk
from cloud.platform.companies import Companies
from cloud.platform.oidc.client import OidcClient
from cloud.platform.passkeys import Passkeys
from cloud.platform.passwords import Passwords
from cloud.platform.principals import AccessToken, Principal, Principals, Role
from cloud.platform.properties import property_by_id
from cloud.platform.rates import RateLimits
from cloud.platform.recovery import Recovery
from cloud.platform.sign_in import SignIn
from cloud.pms import issues
from cloud.pms.engine import PmsSync, Rhythm
from cloud.pms.exchange import http_client
from cloud.pms.hints import HINT_CHANNEL
from cloud.pms.intents import IntentWorker, IntentWriter
from cloud.pms.ohip.consumer import EventConsumer
from cloud.pms.port import PmsAdapter
from cloud.pms.recognition import EVER, Recognition
from cloud.pms.vendors import Access, make_adapter, make_consumer, streams
from cloud.policy.releases import Kind, Releases, Sign
from cloud.privacy.sealing import Sealer
from cloud.public.app import build
from cloud.public.assignment_routes import assignment_routes
from cloud.public.checkin_routes import CheckInServices, checkin_routes
from cloud.public.closing_routes import DoorServices
from cloud.public.company_routes import CALLBACK, CompanyServices, company_routes
from cloud.public.door_routes import door_routes
from cloud.public.gate import Gate
from cloud.public.guest_routes import GuestServices, guest_routes
from cloud.public.kiosk_routes import kiosk_routes
from cloud.public.live import Feeds
from cloud.public.passkey_routes import PasskeyServices, passkey_routes
from cloud.public.payment_routes import PaymentServices, payment_routes, payment_webhook
from cloud.public.policy_routes import PolicyServices, policy_routes
from cloud.public.reader import PropertyReader
from cloud.public.routes import Services, api
from cloud.public.sign_in_routes import SignInServices, sign_in_routes
from cloud.public.stream import live
from cloud.public.web import pages
from cloud.public.webhook_routes import webhook_routes
from cloud.public.webhooks import Hook, pms_webhook
from cloud.stays.late_ends import STAY_LATE
from cloud.stays.publisher import DocumentPublisher
from cloud.stays.stays import STAY_CHANGED, STAY_DEPARTURE
from cloud.telemetry import room_outcomes
from cloud.telemetry.downlink import Downlink
from cloud.telemetry.store.upkeep import Upkeep
from cloud.webhooks.webhooks import KINDS, Webhooks
from kit.clock import Clock
from kit.dice import Dice
from kit.health import Health
from kit.http import operations_routes, serve
from kit.logs import logger
from kit.metrics import Metrics
from kit.supervision import Supervisor
from kit.task_groups import TaskGroup
from protocols.errors import StoreFailedError
from protocols.policy import check_in, late_check_out, room

WATCH_S: Final = 2.0
SWEEP_S: Final = 60.0
BREATH_S: Final = 0.000_3
SETTLE_S: Final = 15.0
ROLL_S: Final = 2.0


def access_tokens(settings: CloudSettings) -> list[AccessToken]:
    """Return the configured tokens."""
    return [
        AccessToken(
            sha256=bytes.fromhex(each.sha256),
            principal=Principal(
                name=each.name,
                tenant=each.tenant,
                role=Role(each.role),
                properties=frozenset(each.properties) or None,
            ),
        )
        for each in settings.access_tokens
    ]


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
    hub = NotificationHub(settings.database.dsn, channels=(OUTBOX_CHANNEL, HINT_CHANNEL))
    http = http_client()
    instance = dice.bytes(6).hex()
    downlink = ingest = None
    sign_policy: Sign = unsigned
    if settings.broker is not None and settings.downlink is not None:
        downlink = Downlink(
            transport(settings.broker, f"cloud-down-{instance}"),
            key=read_command_key(settings.downlink.command_key_path),
            kid=settings.downlink.key_id.encode(),
            clock=clock,
        )
        sign_policy = policy_signer(settings.downlink)
    line = EdgeLine(downlink, clock=clock)
    kinds = {
        check_in.KIND: Kind(check_in.parse, check_in.encode(check_in.DEFAULT), outcomes),
        room.KIND: Kind(room.parse, room.NONE, room_outcomes.outcomes),
        late_check_out.KIND: Kind(late_check_out.parse, late_check_out.encode(late_check_out.DEFAULT), late_outcomes),
    }
    releases = Releases(database, kinds, sign=sign_policy, clock=clock, dice=dice)
    commands = Commands(database, line, clock=clock, dice=dice)
    reader = PropertyReader(
        database, clock=clock, patience=Patience(settings.link.silent_after, settings.link.offline_after)
    )
    sealer = Sealer(None if settings.privacy is None else file_keys(settings.privacy, dice=dice), dice=dice)
    webhooks = Webhooks(
        database, sealer, http, clock=clock, dice=dice, private_origins=settings.webhooks.private_origins
    )
    payments = Payments(
        database,
        {
            each.property: StripePayments(http, platform=each.platform, secret_key=read_secret(each.secret_key_path))
            for each in settings.payments
        },
        clock=clock,
        dice=dice,
    )
    lists = [FileScreening(each.name, each.path, log=log, breathe=_breathe) for each in settings.watchlists]
    sessions = Sessions(database, sealer, clock=clock, dice=dice, deposits=payments, screening=Lists(lists))
    paying = PaymentServices(
        database,
        payments,
        sessions,
        {each.property: read_secret(each.webhook_secret_path) for each in settings.payments},
        clock,
        frozenset(settings.http.origins),
    )
    registrations = Registrations(database, sessions, clock=clock, states=settings.registration.states())
    services = Services(
        database=database,
        reader=reader,
        commands=commands,
        desk=CheckInDesk(database, commands, clock=clock),
        sessions=sessions,
        clock=clock,
    )
    publisher = DocumentPublisher(database, line.publish, clock=clock, hub=hub)
    profiles = Profiles(sealer)
    recognition = None
    if sealer.ready:
        kept = settings.keeping.keep_guests or EVER
        recognition = Recognition(profiles, clock=clock, log=logger("cloud.pms"), kept=kept)
    partners = [_partner(each, database, recognition, clock=clock, http=http) for each in settings.pms]
    listeners = _listeners(settings.pms, database, clock=clock, dice=dice, http=http)
    intents = IntentWriter(frozenset((each.property, each.system) for each in settings.pms if each.two_way))
    late = LateSteps(sessions)
    letters = None
    if settings.mail is not None:
        adapters = {(each.hook.sync.property_id, each.adapter.system): each.adapter for each in partners}
        letters = make_letters(settings.mail, database, sessions, adapters, clock=clock, dice=dice, health=health)
    subscribers: dict[str, tuple[Handler, ...]] = {
        **dict.fromkeys(KINDS, (webhooks.on_event,)),
        KIOSK_TOLD: (late.on_told,),
        PAYMENT_CHANGED: (late.on_payment, webhooks.on_event),
        STAY_CHANGED: (intents.on_stay_changed, departures.on_stay_changed, webhooks.on_event),
        STAY_DEPARTURE: (intents.on_stay_departure,),
        STAY_LATE: (intents.on_stay_late,),
    }
    if letters is not None:
        for kind in MOVED_BY:
            subscribers[kind] = (*subscribers[kind], letters.on_moved)
    relay = Relay(
        database,
        subscribers=subscribers,
        clock=clock,
        log=log,
        hub=hub,
        apart=frozenset({KIOSK_TOLD, PAYMENT_CHANGED}),  # they lock the sessions that requests lock
    )
    leaving = departures.DepartureWorker(database, commands, clock=clock)
    passwords = Passwords(dice=dice)
    sign_in = SignIn(database, passwords=passwords, clock=clock, dice=dice)
    gate = Gate(
        principals,
        database,
        clock=clock,
        origins=frozenset(settings.http.origins),
        sign_in=sign_in,
        rates=RateLimits(database, clock=clock),
    )
    signing = SignInServices(
        database, sign_in, passwords, clock, dice, settings.http.secure_cookie, settings.http.forwarded_hops
    )
    passkeys = None
    if settings.passkeys is not None:
        passkeys = Passkeys(database, settings.passkeys.party(), clock=clock, dice=dice)
    recovery = Recovery(database, passwords=passwords, clock=clock, dice=dice)
    companies = None
    if settings.companies is not None:
        provider = OidcClient(
            http,
            clock=clock,
            redirect_uri=settings.companies.address + CALLBACK,
            private=frozenset(settings.companies.private_issuers),
        )
        companies = Companies(database, provider, sealer, clock=clock, dice=dice)
    entering = CompanyServices(companies, sign_in, settings.http.secure_cookie, settings.http.forwarded_hops)
    ways = PasskeyServices(
        passkeys,
        recovery,
        sign_in,
        settings.http.secure_cookie,
        settings.http.forwarded_hops,
        companies=companies is not None,
    )
    health.expect("database")
    await database.open()
    try:
        for list_ in lists:
            await list_.load()
        with acting(system("start")):
            store = await make_store(settings.telemetry, database)
            if settings.ingest.inside_run:
                ingest = await make_ingest(settings, database, clock=clock, dice=dice, metrics=metrics)
        app = build(
            gate,
            [
                api(services),
                checkin_routes(CheckInServices(database, sessions, registrations, clock, dice)),
                sign_in_routes(signing),
                passkey_routes(ways),
                company_routes(entering),
                make_routes(store, database, hub, gate, clock=clock),
                policy_routes(PolicyServices(database, releases, clock)),
                assignment_routes(database, clock=clock),
                guest_routes(GuestServices(database, profiles, AuditDesk(database), clock)),
                door_routes(DoorServices(database, commands, clock, sessions)),
                webhook_routes(webhooks),
                payment_routes(paying),
                kiosk_routes(database, clock, dice, desk=services.desk, sessions=sessions),
                payment_webhook(paying),
                live(Feeds(reader, hub), database, clock, gate),
                pms_webhook([each.hook for each in partners]),
                *operations_routes(health, metrics),
                *pages(
                    settings.web.root,
                    principals,
                    database,
                    clock=clock,
                    secure_cookie=settings.http.secure_cookie,
                    sign_in_desk=sign_in,
                ),
            ],
        )
        upkeep = Upkeep(store, clock=clock, log=logger("cloud.telemetry"), metrics=metrics)
        async with Supervisor(clock=clock, dice=dice, log=log, health=health) as supervisor:
            supervisor.start("watch", acting_as(system("watch"), lambda: _watch(database, health, metrics)))
            supervisor.start("notifications", hub.run, restart=LINE)
            supervisor.start("outbox", acting_as(system("outbox"), relay.run))
            supervisor.start("documents", acting_as(system("documents"), publisher.run))
            for each in partners:
                job = f"pms-{each.hook.sync.property_id}"
                work = acting_as(system(job), each.work(hub))
                supervisor.start(job, functools.partial(lead, settings.database.dsn, job, work))
            for job, listener in listeners.items():
                hearing = acting_as(system(job), listener.run)
                supervisor.start(job, functools.partial(lead, settings.database.dsn, job, hearing))
            seeing_off = acting_as(system("departures"), functools.partial(leaving.run, hub))
            supervisor.start("departures", lambda: lead(settings.database.dsn, "departures", seeing_off))
            if letters is not None:
                writing = acting_as(system("letters"), letters.run)
                supervisor.start("letters", lambda: lead(settings.database.dsn, "letters", writing))
            if settings.payments:
                settling = functools.partial(_settle, payments, database, [each.property for each in settings.payments])
                looking = acting_as(system("payments"), settling)
                supervisor.start("payments", lambda: lead(settings.database.dsn, "payments", looking))
            if lists:
                supervisor.start("watchlists", functools.partial(keep_renewed, lists))
            rolling = acting_as(system("policies"), functools.partial(_roll, releases, line))
            supervisor.start("policies", lambda: lead(settings.database.dsn, "policies", rolling))
            pushing = acting_as(system("webhooks"), webhooks.run)
            supervisor.start("webhooks", lambda: lead(settings.database.dsn, "webhooks", pushing))
            forgetting = acting_as(system("checkin-sweep"), functools.partial(_sweep, sessions))
            supervisor.start("checkin-sweep", lambda: lead(settings.database.dsn, "checkin-sweep", forgetting))
            letting_go = acting_as(
                system("keeping"), Keeping(database, rules(settings.keeping), clock=clock, log=log).run
            )
            supervisor.start("keeping", lambda: lead(settings.database.dsn, "keeping", letting_go))
            keeping = acting_as(UPKEEP, upkeep.run)
            supervisor.start(
                "telemetry-upkeep", lambda: lead(settings.database.dsn, "telemetry-upkeep", keeping), restart=LINE
            )
            if ingest is not None:
                health.expect("ingest")
                supervisor.start("ingest", acting_as(system("ingest"), ingest.run), restart=LINE)
            if downlink is not None:
                supervisor.start("downlink", downlink.run, restart=LINE)
            supervisor.start(
                "http", lambda: serve(app, settings.http.host, settings.http.port, bound=bound), restart=LINE
            )
            await stop.wait()
            log.info("stopping")
            if ingest is not None:
                with acting(system("ingest")):
                    await ingest.hand_over()
    finally:
        await database.close()
        await http.aclose()


@dataclass(frozen=True, slots=True)
class _Partner:
    """One property's PMS: where it pushes, and the two workers behind."""

    hook: Hook
    intents: IntentWorker
    adapter: PmsAdapter

    def work(self, hub: NotificationHub) -> Callable[[], Awaitable[None]]:
        """Return the job of whoever leads this connection."""

        async def both() -> None:
            try:
                async with TaskGroup() as tasks:
                    tasks.create_task(self.hook.sync.run(hub))
                    tasks.create_task(self.intents.run(hub))
            except* StoreFailedError as lost:
                raise StoreFailedError(str(lost.exceptions[0])) from lost

        return both


def _partner(
    settings: PmsSettings, database: Database, recognition: Recognition | None, *, clock: Clock, http: httpx.AsyncClient
) -> _Partner:
    log = logger("cloud.pms")
    adapter = make_adapter(settings.system, http, pms_access(settings), clock=clock)
    sync = PmsSync(
        database,
        adapter,
        property_id=settings.property,
        rhythm=Rhythm(settings.poll, settings.overlap, settings.full),
        clock=clock,
        log=log,
        room_types=settings.room_types,
        own_conditions=settings.conditions,
        recognition=recognition,
    )
    hook = Hook(read_secret(settings.webhook_secret_path), sync)
    intents = IntentWorker(database, adapter, sync, two_way=settings.two_way, clock=clock, log=log)
    return _Partner(hook, intents, adapter)


def _listeners(
    connections: Sequence[PmsSettings], database: Database, *, clock: Clock, dice: Dice, http: httpx.AsyncClient
) -> dict[str, EventConsumer]:
    """Return who listens to which event stream, by the name of the job: a stream has one consumer wherever we run."""
    chains: dict[tuple[str, str, str], list[tuple[str, Access]]] = {}
    for each in connections:
        access = pms_access(each)
        if (stream := streams(each.system, access)) is not None:
            chains.setdefault(stream, []).append((each.property, access))
    return {
        f"pms-stream-{hashlib.sha256(repr(stream).encode()).hexdigest()[:12]}": make_consumer(
            database, http, found, clock=clock, dice=dice, log=logger("cloud.pms")
        )
        for stream, found in chains.items()
    }


def _breathe() -> None:
    """Step back from the interpreter, in a thread that reads a long list: the loop has its turn."""
    threading.Event().wait(BREATH_S)


async def _settle(payments: Payments, database: Database, properties: Sequence[str]) -> None:
    """Learn what became of payments that nobody was told of."""
    while True:
        async with database.transaction() as connection:
            found = [await property_by_id(connection, each) for each in properties]
        await payments.settle_due({each.id: each for each in found if each is not None})
        await asyncio.sleep(SETTLE_S)


async def _roll(releases: Releases, line: EdgeLine) -> None:
    """Bring policies to edges, and watch what they do there."""
    while True:
        await releases.work()
        await releases.publish_due(line.publish)
        await asyncio.sleep(ROLL_S)


async def _sweep(sessions: Sessions) -> None:
    """End check-ins whose day is over and forget who came, when it is time."""
    while True:
        if await sessions.sweep() < FORGET_MOST:
            await asyncio.sleep(SWEEP_S)


async def _watch(database: Database, health: Health, metrics: Metrics) -> None:
    """Look at what others depend on, and say how far the outbox is behind."""
    waiting = metrics.gauge("outbox_waiting", "events between modules not yet delivered")
    parked = metrics.gauge("outbox_parked", "events given up after too many attempts")
    held_back = metrics.gauge("pms_items_held_back", "items of a PMS that could not be taken over", ["property"])
    ailing: set[str] = set()
    while True:
        answers = await database.answers()
        health.report("database", answers, "" if answers else "does not answer")
        if answers:
            async with database.transaction() as connection:
                behind = await backlog(connection)
                held = await issues.count_by_property(connection)
            waiting.set(behind.waiting)
            parked.set(behind.parked)
            for each in ailing | held.keys():
                held_back.labels(property=each).set(held.get(each, 0))
            ailing |= held.keys()
            health.report("outbox", behind.parked == 0, f"{behind.parked} parked" if behind.parked else "")
        await asyncio.sleep(WATCH_S)
