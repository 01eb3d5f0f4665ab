"""Every route, every role: what is let in is what is written here, and a route that is not written here fails."""

from typing import Final

import httpx
import pytest
from litestar import Litestar, Router, get
from litestar.handlers import HTTPRouteHandler, WebsocketRouteHandler

from cloud.kit.database import Database
from cloud.kit.notify import NotificationHub
from cloud.platform import audit
from cloud.platform.access_policy import ACTION, may
from cloud.platform.principals import Principal, Role
from cloud.public.app import build
from cloud.public.company_routes import CompanyServices, company_routes
from cloud.public.gate import Gate
from cloud.public.passkey_routes import PasskeyServices, passkey_routes
from cloud.public.sign_in_routes import SignInServices, sign_in_routes
from cloud.telemetry.query_live import LiveFeeds
from cloud.telemetry.query_reader import QueryReader
from cloud.telemetry.query_routes import telemetry_routes
from cloud.telemetry.store.plain import PlainStore
from kit.clock import ManualClock
from kit.dice import SeededDice
from kit.http import OPEN
from tests.cloud.asgi import in_process
from tests.cloud.houses import NOW_MS
from tests.cloud.platform.test_principals import TOKEN, entry
from tests.cloud.public.conftest import Site

pytestmark = [pytest.mark.tier("postgres"), pytest.mark.guarantee("G8"), pytest.mark.requirement("PLT-08")]

P: Final = "/api/v1/properties/{property_id:str}"
ALL, STAFF, ADMIN, GUEST = "viewer staff admin", "staff admin", "admin", "guest staff admin"
"""`guest`: with a link to the one stay that is asked about. `kiosk`: a kiosk; `visiting`: a guest who stands at one."""
WRITTEN: Final = {
    ("GET", "/api/v1/properties"): ALL,
    ("GET", P): ALL,
    ("GET", f"{P}/rooms"): ALL,
    ("GET", f"{P}/access-events"): ALL,
    ("GET", f"{P}/completeness"): ALL,
    ("GET", f"{P}/stays"): ALL,
    ("GET", f"{P}/stays/{{stay_id:str}}"): ALL,
    ("GET", f"{P}/commands/{{command_id:str}}"): ALL,
    ("GET", f"{P}/pms"): ALL,
    ("WS", f"{P}/live"): ALL,
    ("GET", f"{P}/telemetry/latest"): ALL,
    ("GET", f"{P}/telemetry/range"): ALL,
    ("GET", f"{P}/telemetry/lines"): ALL,
    ("GET", f"{P}/telemetry/aggregate"): ALL,
    ("WS", f"{P}/telemetry/live"): ALL,
    ("POST", f"{P}/stays/{{stay_id:str}}/check-in"): GUEST,
    ("POST", f"{P}/stays/{{stay_id:str}}/guest-links"): STAFF,
    ("GET", f"{P}/stays/{{stay_id:str}}/key-term"): GUEST,
    ("GET", f"{P}/stays/{{stay_id:str}}/door-log"): STAFF,
    ("GET", f"{P}/stays/{{stay_id:str}}/phones"): STAFF,
    ("POST", f"{P}/stays/{{stay_id:str}}/withdrawn-keys"): STAFF,
    ("POST", f"{P}/stays/{{stay_id:str}}/key-cards"): STAFF,
    ("GET", f"{P}/closings"): STAFF,
    ("POST", f"{P}/rooms/{{room_id:str}}/inhibition"): STAFF,
    ("POST", f"{P}/rooms/{{room_id:str}}/lockout"): ADMIN,
    ("POST", f"{P}/failsafe-keys"): ADMIN,
    ("POST", f"{P}/withdrawn-staff-keys"): ADMIN,
    ("GET", f"{P}/emergency-drafts"): STAFF,
    ("DELETE", f"{P}/emergency-drafts/{{grant_id:str}}"): STAFF,
    ("DELETE", f"{P}/stays/{{stay_id:str}}/guest-links"): STAFF,
    ("POST", f"{P}/stays/{{stay_id:str}}/session"): GUEST,
    ("GET", f"{P}/stays/{{stay_id:str}}/session"): GUEST,
    ("PUT", f"{P}/stays/{{stay_id:str}}/session/guests/{{slot:str}}"): GUEST,
    ("POST", f"{P}/stays/{{stay_id:str}}/session/guests/{{slot:str}}/document"): GUEST,
    ("POST", f"{P}/stays/{{stay_id:str}}/session/guests/{{slot:str}}/signature"): GUEST,
    ("POST", f"{P}/stays/{{stay_id:str}}/session/terms"): GUEST,
    ("POST", f"{P}/stays/{{stay_id:str}}/session/help"): GUEST,
    ("POST", f"{P}/stays/{{stay_id:str}}/session/stays"): STAFF,
    ("POST", f"{P}/stays/{{stay_id:str}}/session/waivers"): STAFF,
    ("GET", f"{P}/stays/{{stay_id:str}}/session/people"): STAFF,
    ("GET", f"{P}/stays/{{stay_id:str}}/session/guests/{{slot:str}}/card"): STAFF,
    ("GET", f"{P}/registrations/{{day:str}}"): STAFF,
    ("GET", f"{P}/hand-overs"): STAFF,
    ("GET", f"{P}/stays/{{stay_id:str}}/guest"): STAFF,
    ("GET", f"{P}/guests/{{guest_id:str}}"): STAFF,
    ("GET", f"{P}/guests/{{guest_id:str}}/stays"): STAFF,
    ("PUT", f"{P}/guests/{{guest_id:str}}/preferences"): STAFF,
    ("DELETE", f"{P}/guests/{{guest_id:str}}"): ADMIN,
    ("GET", f"{P}/stays/{{stay_id:str}}/late-check-out"): GUEST,
    ("POST", f"{P}/stays/{{stay_id:str}}/late-check-out"): GUEST,
    ("DELETE", f"{P}/stays/{{stay_id:str}}/late-check-out"): GUEST,
    ("POST", f"{P}/stays/{{stay_id:str}}/late-check-out/answer"): STAFF,
    ("GET", f"{P}/late-check-outs"): STAFF,
    ("PUT", f"{P}/stays/{{stay_id:str}}/share"): STAFF,
    ("POST", f"{P}/stays/{{stay_id:str}}/session/payment"): GUEST,
    ("POST", f"{P}/stays/{{stay_id:str}}/session/payment/page"): GUEST,
    ("POST", f"{P}/stays/{{stay_id:str}}/session/payment/look"): GUEST,
    ("GET", f"{P}/stays/{{stay_id:str}}/session/terms"): GUEST,
    ("GET", f"{P}/terms"): STAFF,
    ("GET", f"{P}/terms/{{version:str}}/{{language:str}}"): STAFF,
    ("PUT", f"{P}/terms/{{version:str}}/{{language:str}}"): ADMIN,
    ("GET", f"{P}/stays/{{stay_id:str}}/payments"): STAFF,
    ("POST", f"{P}/stays/{{stay_id:str}}/payments/{{payment_id:str}}/capture"): STAFF,
    ("POST", f"{P}/stays/{{stay_id:str}}/payments/{{payment_id:str}}/release"): STAFF,
    ("POST", f"{P}/stays/{{stay_id:str}}/payments/{{payment_id:str}}/refund"): STAFF,
    ("POST", f"{P}/stays/{{stay_id:str}}/payments/{{payment_id:str}}/refund/approval"): STAFF,
    ("POST", f"{P}/stays/{{stay_id:str}}/payments/{{payment_id:str}}/refund/withdrawal"): STAFF,
    ("GET", f"{P}/waiting-refunds"): STAFF,
    ("GET", f"{P}/refund-rule"): STAFF,
    ("PUT", f"{P}/refund-rule"): ADMIN,
    ("GET", f"{P}/kiosks"): ADMIN,
    ("POST", f"{P}/kiosks"): ADMIN,
    ("DELETE", f"{P}/kiosks/{{kiosk_id:str}}"): ADMIN,
    ("POST", f"{P}/kiosk-visits"): "kiosk",
    ("POST", f"{P}/stays/{{stay_id:str}}/kiosk-visit/phone-link"): "visiting",
    ("POST", f"{P}/stays/{{stay_id:str}}/kiosk-visit/card"): "visiting",
    ("DELETE", f"{P}/stays/{{stay_id:str}}/kiosk-visit"): "visiting",
    ("POST", f"{P}/stays/{{stay_id:str}}/check-out"): STAFF,
    ("POST", f"{P}/rooms/{{room_id:str}}/commands"): STAFF,
    ("GET", f"{P}/available-rooms"): ALL,
    ("POST", f"{P}/room-assignments"): STAFF,
    ("GET", f"{P}/records"): ADMIN,
    ("GET", f"{P}/alerts"): ALL,
    ("POST", f"{P}/stays/{{stay_id:str}}/carried"): GUEST,
    ("POST", f"{P}/stays/{{stay_id:str}}/door-openings"): "guest",
    ("GET", f"{P}/stays/{{stay_id:str}}/keys"): GUEST,
    ("POST", f"{P}/stays/{{stay_id:str}}/taken-back-keys"): GUEST,
    ("POST", f"{P}/staff-keys"): ADMIN,
    ("GET", f"{P}/common-doors"): ADMIN,
    ("POST", f"{P}/emergency-drafts"): STAFF,
    ("GET", f"{P}/emergency-drafts/{{grant_id:str}}"): STAFF,
    ("POST", f"{P}/emergency-drafts/{{grant_id:str}}/approvals"): STAFF,
    ("POST", f"{P}/emergency-drafts/{{grant_id:str}}/key"): STAFF,
    ("GET", "/api/v1/webhooks"): ADMIN,
    ("POST", "/api/v1/webhooks"): ADMIN,
    ("DELETE", "/api/v1/webhooks/{endpoint_id:str}"): ADMIN,
    ("POST", "/api/v1/policies/dry-run"): ADMIN,
    ("POST", "/api/v1/policies/releases"): ADMIN,
    ("POST", "/api/v1/policies/rooms/releases"): ADMIN,
    ("POST", "/api/v1/policies/late-check-outs/releases"): ADMIN,
    ("GET", "/api/v1/policies/releases/{release_id:str}"): ADMIN,
    ("GET", "/api/v1/me"): ALL,
    ("GET", "/api/v1/me/sign-ins"): ALL,
    ("DELETE", "/api/v1/me/sign-ins/{sign_in_id:str}"): ALL,
    ("PUT", "/api/v1/me/password"): ALL,
    ("GET", "/api/v1/me/passkeys"): ALL,
    ("POST", "/api/v1/me/passkeys"): ALL,
    ("POST", "/api/v1/me/passkeys/options"): ALL,
    ("DELETE", "/api/v1/me/passkeys/{passkey_id:str}"): ALL,
    ("POST", "/api/v1/accounts/{account_id:str}/recovery"): ADMIN,
    ("GET", "/api/v1/me/companies"): ALL,
    ("POST", "/api/v1/me/companies"): ALL,
    ("DELETE", "/api/v1/me/companies/{company:str}"): ALL,
    ("GET", "/api/v1/companies"): ADMIN,
    ("POST", "/api/v1/companies"): ADMIN,
    ("DELETE", "/api/v1/companies/{company:str}"): ADMIN,
    ("POST", "/sign-out"): ALL,
    ("GET", "/api/v1/schema"): ALL,
    ("GET", "/api/v1/schema/openapi.json"): ALL,
    ("GET", "/api/v1/schema/{path:str}"): ALL,
    ("GET", "/api/v1/audit"): ADMIN,
    ("GET", "/api/v1/accounts"): ADMIN,
    ("POST", "/api/v1/accounts"): ADMIN,
    ("PUT", "/api/v1/accounts/{account_id:str}"): ADMIN,
    ("GET", "/api/v1/api-clients"): ADMIN,
    ("POST", "/api/v1/api-clients"): ADMIN,
    ("DELETE", "/api/v1/api-clients/{client_id:str}"): ADMIN,
}
OPEN_ONES: Final = {
    ("GET", "/"), ("GET", "/{path:path}"), ("GET", "/health"), ("GET", "/ready"), ("GET", "/metrics"),
    ("GET", "/sign-in"), ("POST", "/webhooks/pms/{secret:str}"), ("POST", "/webhooks/payments/{hotel:str}"),
    ("POST", "/api/v1/sign-in"), ("POST", "/api/v1/token"), ("POST", "/api/v1/sign-in/passkey"),
    ("POST", "/api/v1/sign-in/passkey/options"), ("POST", "/api/v1/sign-in/recovery"), ("GET", "/api/v1/sign-in/ways"),
    ("POST", "/api/v1/sign-in/company"), ("GET", "/api/v1/sign-in/company/callback"),
}  # fmt: skip
STAFF_ROLES: Final = (Role.VIEWER, Role.STAFF, Role.ADMIN)
BOUND: Final = {
    "/api/v1/companies",
    "/api/v1/policies",
    "/api/v1/webhooks",
    "/api/v1/audit",
    "/api/v1/accounts",
    "/api/v1/api-clients",
}
"""What an admin who is bound to some properties may not."""


def routes_of(app: Litestar) -> dict[tuple[str, str], HTTPRouteHandler | WebsocketRouteHandler]:
    """Return every handler by method and path, whatever kind of route it stands in."""
    found: dict[tuple[str, str], HTTPRouteHandler | WebsocketRouteHandler] = {}
    for route in app.routes:
        for handler in getattr(route, "route_handlers", None) or [getattr(route, "route_handler", None)]:
            if isinstance(handler, WebsocketRouteHandler):
                found["WS", route.path] = handler
            elif isinstance(handler, HTTPRouteHandler):
                found |= {(str(method), route.path): handler for method in handler.http_methods}
    return {key: handler for key, handler in found.items() if key[0] not in {"OPTIONS", "HEAD"}}


def whole(site: Site) -> dict[tuple[str, str], HTTPRouteHandler | WebsocketRouteHandler]:
    """Return the routes of the service: those of the site, of signing in and of the time series."""
    more = build(Gate.__new__(Gate), [*extra(site.database)])
    return routes_of(site.app) | routes_of(more)


def extra(database: Database) -> list[Router]:
    clock, store = ManualClock(wall_ms=NOW_MS), PlainStore(database)
    services = SignInServices(database, None, None, clock, SeededDice(1), secure_cookie=True)  # type: ignore[arg-type]  # a stand-in, or hostile on purpose
    feeds = LiveFeeds(database, NotificationHub(""))
    reader = QueryReader(database, store, clock=clock)
    return [
        sign_in_routes(services),
        passkey_routes(PasskeyServices(None, None, None, secure_cookie=True)),  # type: ignore[arg-type]  # a stand-in, or hostile on purpose
        company_routes(CompanyServices(None, None, secure_cookie=True)),  # type: ignore[arg-type]  # a stand-in, or hostile on purpose
        telemetry_routes(reader, feeds, database, fence=None, clock=clock),  # type: ignore[arg-type]  # a stand-in, or hostile on purpose
    ]


async def test_every_route_lets_in_whom_the_table_says(site: Site) -> None:
    routes = whole(site)
    assert {key for key, handler in routes.items() if handler.opt.get(OPEN)} == OPEN_ONES
    closed = {key: handler for key, handler in routes.items() if not handler.opt.get(OPEN)}
    assert closed.keys() == WRITTEN.keys()
    wrong = []
    for (method, path), handler in closed.items():
        action = handler.opt.get(ACTION)
        assert isinstance(action, str), f"{method} {path} names no action"
        target = "aurora" if "{property_id" in path else None
        stay = "s" if "{stay_id" in path else None
        for stays_link, allowed in (("s", "guest" in WRITTEN[method, path].split()), ("other", False)):
            guest = Principal("g", "northlight", Role.GUEST, frozenset({"aurora"}), stay=stays_link)
            if may(guest, action, target, stay).allowed is not allowed:
                wrong.append(f"{method} {path} as a guest of stay {stays_link}: not {allowed}")
        for role in STAFF_ROLES:
            expected = role.value in WRITTEN[method, path].split()
            everywhere = Principal("x", "northlight", role, None)
            if may(everywhere, action, target).allowed is not expected:
                wrong.append(f"{method} {path} as {role.value}: not {expected}")
            here = may(Principal("x", "northlight", role, frozenset({"aurora"})), action, target).allowed
            if here is not (expected and not any(path.startswith(each) for each in BOUND)):
                wrong.append(f"{method} {path} as {role.value} of this property")
            there = may(Principal("x", "northlight", role, frozenset({"elsewhere"})), action, target).allowed
            if there and target is not None:
                wrong.append(f"{method} {path} as {role.value} of another property")
    assert wrong == []


async def test_the_gate_asks_the_policies(site: Site) -> None:
    """Each route over HTTP: whom the table lets in gets an answer of the route, nobody else gets past the gate."""
    wrong = []
    for (method, path), roles in WRITTEN.items():
        if (method, path) not in routes_of(site.app) or method == "WS" or path == "/sign-out":
            continue
        asked = path
        for name, value in (
            ("property_id", "aurora"),
            ("stay_id", "s"),
            ("room_id", "101"),
            ("command_id", "c"),
            ("slot", "g1"),
            ("day", "2026-11-18"),
            ("payment_id", "p-1"),
            ("release_id", "r"),
            ("endpoint_id", "e"),
            ("kiosk_id", "k-1"),
            ("guest_id", "g-1"),
            ("grant_id", "a1a2a3a4a5a6a7a8"),
        ):
            asked = asked.replace(f"{{{name}:str}}", value)
        for role in STAFF_ROLES:
            answer = await site.http.request(method, asked, headers=site.as_(role.value))
            refused = answer.status_code == 403 and answer.json()["type"] == "urn:innkeeper:problem:role"
            if refused is (role.value in roles.split()):
                wrong.append(f"{method} {path} as {role.value}: {answer.status_code}")
    assert wrong == []


async def test_who_may_not_see_a_property_learns_nothing_of_it(site: Site) -> None:
    told = [
        await site.http.get(f"/api/v1/properties/{house}/{what}", headers=site.as_("narrow"))
        for house in ("aurora", "borealis", "nowhere")
        for what in ("rooms", "records")
    ]
    assert {(answer.status_code, answer.content) for answer in told} == {(404, told[0].content)}


async def test_a_route_that_names_no_action_lets_nobody_in(database: Database) -> None:
    @get("/nameless")
    async def nameless() -> str:
        return "in"

    @get("/strange", opt={ACTION: "something.else"})
    async def strange() -> str:
        return "in"

    from cloud.platform.principals import Principals

    principals = Principals([entry(role=Role.ADMIN)], dice=SeededDice(1))
    gate = Gate(principals, database, clock=ManualClock(wall_ms=NOW_MS), origins=frozenset())
    transport = in_process(build(gate, [nameless, strange]))
    async with httpx.AsyncClient(transport=transport, base_url="http://cloud.test") as http:
        for path in ("/nameless", "/strange"):
            assert (await http.get(path, headers={"Authorization": f"Bearer {TOKEN}"})).status_code == 403


@pytest.mark.requirement("SEC-06")
async def test_what_changes_something_and_what_is_denied_is_in_the_trail(site: Site) -> None:
    path = "/api/v1/properties/aurora/rooms/101/commands"
    body = {"capability": "on_off", "attribute": "on", "value": True, "idempotency_key": "k"}
    assert (await site.http.post(path, json=body, headers=site.as_("viewer"))).status_code == 403
    await site.http.post(path, json=body, headers=site.as_("staff"))
    await site.http.get("/api/v1/properties", headers=site.as_("staff"))
    async with site.database.snapshot() as connection:
        told = await audit.page(connection, tenant="northlight", before=None, most=10)
        assert await audit.page(connection, tenant="southwind", before=None, most=10) == []
        assert (await audit.verify(connection, tenant="northlight")).flaws == ()
    assert [(each.actor, each.action, each.property, each.outcome, each.subject) for each in told] == [
        ("staff", "room.command", "aurora", "allowed", f"POST {path}"),
        ("viewer", "room.command", "aurora", "denied", f"POST {path}"),
    ]
