"""The whole HTTP application over a fresh database, asked in this loop without a socket."""

import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from litestar import Litestar

from cloud.checkin.desk import CheckInDesk
from cloud.checkin.policy_outcomes import late_outcomes, outcomes
from cloud.checkin.registrations import Registrations
from cloud.checkin.sessions import Sessions
from cloud.fleet.commands import Commands
from cloud.fleet.link_state import Patience
from cloud.guests.profiles import Profiles
from cloud.kit.database import Database
from cloud.kit.notify import NotificationHub
from cloud.payments.payments import Payments
from cloud.payments.stripe.adapter import StripePayments
from cloud.payments.stripe.emulator import TAME, StripeEmulator
from cloud.platform.audit_desk import AuditDesk
from cloud.platform.principals import AccessToken, Principal, Principals, Role
from cloud.pms.engine import PmsSync, Rhythm
from cloud.pms.mews.adapter import MewsAdapter
from cloud.policy.releases import Kind, Releases
from cloud.privacy.sealing import Sealer
from cloud.privacy.wrapping import FileKeys
from cloud.public.app import build
from cloud.public.assignment_routes import assignment_routes
from cloud.public.checkin_routes import CheckInServices, checkin_routes
from cloud.public.closing_routes import DoorServices
from cloud.public.door_routes import door_routes
from cloud.public.gate import Gate
from cloud.public.guest_routes import GuestServices, guest_routes
from cloud.public.kiosk_routes import kiosk_routes
from cloud.public.live import Feeds
from cloud.public.payment_routes import PaymentServices, payment_routes, payment_webhook
from cloud.public.policy_routes import PolicyServices, policy_routes
from cloud.public.reader import PropertyReader
from cloud.public.routes import Services, api
from cloud.public.stream import live
from cloud.public.web import pages
from cloud.public.webhook_routes import webhook_routes
from cloud.public.webhooks import Hook, pms_webhook
from cloud.telemetry import room_outcomes
from cloud.webhooks.webhooks import Webhooks
from kit.clock import ManualClock
from kit.dice import SeededDice, SystemDice
from kit.health import Health
from kit.http import operations_routes
from kit.logs import logger
from kit.metrics import Metrics
from protocols.grant.keys import private_key
from protocols.policy import check_in, late_check_out, room
from protocols.policy.envelope import sign
from protocols.vectors.fixed import stream
from tests.cloud.asgi import in_process
from tests.cloud.edges import FakeEdges
from tests.cloud.houses import AURORA, BOREALIS, NOW_MS, open_house

SIGNER = private_key(stream("command key"))
WEBHOOK_SECRET = "whsec_test"
HOOK = "hook-secret-0123456789abcdef0123"


def token(name: str) -> str:
    """Return the token of a principal of the test."""
    return f"{name}-token-0123456789-0123456789-0123456789"


@dataclass
class Site:
    """The application, and what is behind it."""

    app: Litestar
    http: httpx.AsyncClient
    database: Database
    hub: NotificationHub
    edges: FakeEdges
    clock: ManualClock
    web: Path
    sessions: Sessions
    stripe: StripeEmulator
    payments: Payments

    def as_(self, name: str) -> dict[str, str]:
        """Return the headers of a principal: viewer, staff, admin (of Northlight), other (of Southwind), narrow."""
        return {"Authorization": f"Bearer {token(name)}"}


def _known(name: str, tenant: str, role: Role, properties: frozenset[str] | None = None) -> AccessToken:
    return AccessToken(hashlib.sha256(token(name).encode()).digest(), Principal(name, tenant, role, properties))


@pytest.fixture
async def site(database: Database, tmp_path: Path) -> AsyncIterator[Site]:
    for house in (AURORA, BOREALIS):
        await open_house(database, house)
    clock, edges, hub = ManualClock(wall_ms=NOW_MS), FakeEdges(), NotificationHub("")
    principals = Principals(
        [
            _known("viewer", "northlight", Role.VIEWER),
            _known("staff", "northlight", Role.STAFF),
            _known("colleague", "northlight", Role.STAFF),
            _known("admin", "northlight", Role.ADMIN),
            _known("other", "southwind", Role.ADMIN),
            _known("narrow", "northlight", Role.ADMIN, frozenset({"elsewhere"})),
        ],
        dice=SystemDice(),
    )
    commands = Commands(database, edges, clock=clock, dice=SeededDice(1))
    patience = Patience(timedelta(seconds=30), timedelta(minutes=5))
    reader = PropertyReader(database, clock=clock, patience=patience)
    sealer = Sealer(FileKeys({"test": bytes(32)}, dice=SystemDice()), dice=SystemDice())
    stripe = StripeEmulator("sk_test", SeededDice(1), TAME)
    till = httpx.AsyncClient(transport=stripe.transport())
    provider = StripePayments(till, platform="http://stripe.invalid", secret_key="sk_test")
    payments = Payments(database, {AURORA.id: provider}, clock=clock, dice=SeededDice(2))
    sessions = Sessions(database, sealer, clock=clock, dice=SystemDice(), deposits=payments)
    paying = PaymentServices(database, payments, sessions, {AURORA.id: WEBHOOK_SECRET}, clock)
    registrations = Registrations(database, sessions, clock=clock, states={"AUT": "1" * 9, "DEU": "2" * 9})
    kinds = {
        check_in.KIND: Kind(check_in.parse, check_in.encode(check_in.DEFAULT), outcomes),
        room.KIND: Kind(room.parse, room.NONE, room_outcomes.outcomes),
        late_check_out.KIND: Kind(late_check_out.parse, late_check_out.encode(late_check_out.DEFAULT), late_outcomes),
    }
    releases = Releases(
        database, kinds, sign=lambda policy: sign(policy, SIGNER, b"command"), clock=clock, dice=SeededDice(3)
    )
    services = Services(database, reader, commands, CheckInDesk(database, commands, clock=clock), sessions, clock)
    async with httpx.AsyncClient() as partner:
        adapter = MewsAdapter(partner, platform="http://mews.invalid", client_token="c", access_token="a", clock=clock)
        rhythm = Rhythm(timedelta(seconds=30), timedelta(minutes=10), timedelta(hours=24))
        sync = PmsSync(database, adapter, property_id=AURORA.id, rhythm=rhythm, clock=clock, log=logger("test"))
        gate = Gate(principals, database, clock=clock, origins=frozenset({"https://console.example"}))
        app = build(
            gate,
            [
                api(services),
                checkin_routes(CheckInServices(database, sessions, registrations, clock, SystemDice())),
                policy_routes(PolicyServices(database, releases, clock)),
                assignment_routes(database, clock=clock),
                guest_routes(GuestServices(database, Profiles(sealer), AuditDesk(database), clock)),
                door_routes(DoorServices(database, commands, clock, sessions)),
                webhook_routes(Webhooks(database, sealer, till, clock=clock, dice=SystemDice())),
                payment_routes(paying),
                kiosk_routes(database, clock, SystemDice(), desk=services.desk, sessions=sessions),
                payment_webhook(paying),
                live(Feeds(reader, hub), database, clock, gate),
                pms_webhook([Hook(HOOK, sync)]),
                *operations_routes(Health(clock), Metrics("test")),
                *pages(tmp_path / "dist", principals, database, clock=clock, secure_cookie=True),
            ],
        )
        transport = in_process(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://cloud.test") as http:
            yield Site(app, http, database, hub, edges, clock, tmp_path / "dist", sessions, stripe, payments)
