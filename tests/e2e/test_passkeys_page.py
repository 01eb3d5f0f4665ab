"""Passkeys in Chromium: its virtual authenticator, the built console, and the real routes over a real PostgreSQL."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
from playwright.async_api import Browser, CDPSession, Page, async_playwright, expect

from cloud.kit.acting import system
from cloud.kit.database import Database, fetch_all
from cloud.migrations.upgrade import upgrade
from cloud.platform.accounts import create_account
from cloud.platform.passkeys import Passkeys
from cloud.platform.passwords import Cost, Passwords
from cloud.platform.principals import Principals, Role
from cloud.platform.recovery import Recovery
from cloud.platform.relying_party import RelyingParty
from cloud.platform.sign_in import SignIn
from cloud.public.app import build
from cloud.public.gate import Gate
from cloud.public.passkey_routes import PasskeyServices, passkey_routes
from cloud.public.sign_in_routes import SignInServices, sign_in_routes
from cloud.public.web import pages
from kit.clock import SystemClock
from kit.dice import SystemDice
from kit.http import serving
from provisioning.rehearsal.nats import free_port
from tests.cloud.houses import AURORA, open_house
from tests.e2e.console_page import CHROMIUM, CHROMIUM_ARGUMENTS, WAIT_MS
from tests.services.postgres import fresh_database, running_postgres

DIST: Final = Path(__file__).resolve().parents[2] / "cloud" / "web" / "dist"
EMAIL, PASSWORD = "anna@northlight.example", "correct horse battery"

pytestmark = [
    pytest.mark.tier("chromium"),
    pytest.mark.tier("postgres"),
    pytest.mark.requirement("PLT-05"),
    pytest.mark.usefixtures("built"),
]


@dataclass
class Desk:
    """The cloud at localhost, and a browser with a phone's lock in it."""

    address: str
    database: Database
    browser: Browser

    async def tab(self) -> tuple[Page, CDPSession, str]:
        """Return a fresh profile's page with an authenticator that verifies its user, and the authenticator's id."""
        page = await (await self.browser.new_context()).new_page()
        page.set_default_timeout(WAIT_MS)
        tools = await page.context.new_cdp_session(page)
        await tools.send("WebAuthn.enable")
        made = await tools.send(
            "WebAuthn.addVirtualAuthenticator",
            {
                "options": {
                    "protocol": "ctap2", "transport": "internal", "hasResidentKey": True, "hasUserVerification": True,
                    "isUserVerified": True, "automaticPresenceSimulation": True,
                }
            },
        )  # fmt: skip
        return page, tools, str(made["authenticatorId"])

    async def rows(self) -> list[dict[str, Any]]:
        async with self.database.transaction() as connection:
            return await fetch_all(connection, "SELECT name, sign_count, suspended_at FROM platform.passkey")

    async def sign_in(self, page: Page) -> None:
        await page.goto(f"{self.address}/#/account")
        await page.get_by_label("E-mail address").fill(EMAIL)
        await page.get_by_label("Password", exact=True).fill(PASSWORD)
        await page.get_by_role("button", name="Continue").click()
        await expect(page.get_by_test_id("passkeys")).to_have_attribute("aria-busy", "false")

    async def add(self, page: Page, name: str) -> None:
        await page.get_by_label("What to call it").fill(name)
        await page.get_by_role("button", name="Add a passkey").click()

    async def sign_out(self, page: Page) -> None:
        await page.context.clear_cookies()
        await page.reload()


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    with running_postgres(tmp_path) as server:
        dsn = fresh_database(server, "passkeys")
        upgrade(dsn)
        async with AsyncExitStack() as stack:
            database = Database(dsn, most=4, actor=system("test"))
            await database.open()
            stack.push_async_callback(database.close)
            address = await stack.enter_async_context(_served(database))
            tools = await stack.enter_async_context(async_playwright())
            browser = await tools.chromium.launch(executable_path=CHROMIUM, headless=True, args=CHROMIUM_ARGUMENTS)
            stack.push_async_callback(browser.close)
            yield Desk(address, database, browser)


@asynccontextmanager
async def _served(database: Database) -> AsyncIterator[str]:
    clock, dice = SystemClock("host"), SystemDice()
    port = free_port("127.0.0.1")  # an origin has its port in it: it must be known before it is served at
    passwords = Passwords(dice=dice, cost=Cost(memory_kib=64, iterations=1))
    await open_house(database, AURORA)
    async with database.transaction() as connection:
        await create_account(
            connection, tenant="northlight", email=EMAIL, name="Anna", role=Role.ADMIN, properties=None,
            phc=await passwords.hashed(PASSWORD), by="test", dice=dice, now_ms=clock.wall_ms(),
        )  # fmt: skip
    principals = Principals([], dice=dice)
    sign_in = SignIn(database, passwords=passwords, clock=clock, dice=dice)
    party = RelyingParty("localhost", "Hotel", (f"http://localhost:{port}",))
    ways = PasskeyServices(
        Passkeys(database, party, clock=clock, dice=dice),
        Recovery(database, passwords=passwords, clock=clock, dice=dice),
        sign_in,
        secure_cookie=False,
    )
    app = build(
        Gate(principals, database, clock=clock, origins=frozenset(), sign_in=sign_in),
        [
            sign_in_routes(SignInServices(database, sign_in, passwords, clock, dice, secure_cookie=False)),
            passkey_routes(ways),
            *pages(DIST, principals, database, clock=clock, secure_cookie=False, sign_in_desk=sign_in),
        ],
    )
    async with serving(app, port=port):
        yield f"http://localhost:{port}"


async def test_a_passkey_is_added_used_and_removed_in_a_browser(desk: Desk) -> None:
    page, tools, authenticator = await desk.tab()
    await desk.sign_in(page)
    await desk.add(page, "reception's tablet")
    await expect(page.get_by_test_id("passkey")).to_contain_text("reception's tablet")
    kept = (await tools.send("WebAuthn.getCredentials", {"authenticatorId": authenticator}))["credentials"]
    assert [(each["isResidentCredential"], each["rpId"]) for each in kept] == [(True, "localhost")]
    await desk.add(page, "once more")  # the browser itself refuses a second one of the same account
    await expect(page.get_by_role("alert")).to_contain_text("holds a passkey of your account already")

    await desk.sign_out(page)
    await page.get_by_role("button", name="Sign in with a passkey").click()  # no address, no password
    await expect(page.get_by_test_id("passkey")).to_contain_text("last used")
    [row] = await desk.rows()
    assert row["sign_count"] > 0

    await page.get_by_role("button", name="Remove reception's tablet").click()
    await expect(page.get_by_text("You have none yet.")).to_be_visible()
    await desk.sign_out(page)
    await page.get_by_role("button", name="Sign in with a passkey").click()
    await expect(page.get_by_text("this passkey is not good here")).to_be_visible()


async def test_a_user_who_is_not_verified_and_a_copied_key_do_not_get_in(desk: Desk) -> None:
    page, tools, authenticator = await desk.tab()
    await desk.sign_in(page)
    await desk.add(page, "phone")
    await expect(page.get_by_test_id("passkey")).to_have_count(1)
    [kept] = (await tools.send("WebAuthn.getCredentials", {"authenticatorId": authenticator}))["credentials"]
    await desk.sign_out(page)
    await tools.send("WebAuthn.setUserVerified", {"authenticatorId": authenticator, "isUserVerified": False})
    await page.get_by_role("button", name="Sign in with a passkey").click()
    await expect(page.get_by_role("alert").get_by_text("No passkey was used")).to_be_visible()
    await tools.send("WebAuthn.setUserVerified", {"authenticatorId": authenticator, "isUserVerified": True})
    await page.get_by_role("button", name="Sign in with a passkey").click()
    await expect(page.get_by_test_id("passkey")).to_have_count(1)

    thief, copier, other = await desk.tab()  # the same key, with the count of when it was copied
    await copier.send("WebAuthn.addCredential", {"authenticatorId": other, "credential": {**kept, "signCount": 0}})
    await thief.goto(f"{desk.address}/#/account")
    await thief.get_by_role("button", name="Sign in with a passkey").click()
    await expect(thief.get_by_text("its key exists twice")).to_be_visible()
    assert [row["suspended_at"] is None for row in await desk.rows()] == [False]
    await page.reload()  # what the key had opened is closed
    await expect(page.get_by_role("button", name="Continue")).to_be_visible()
