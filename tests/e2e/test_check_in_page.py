"""The guest's web check-in, built and served by the cloud over a real database, in Chromium, from link to key.

Nothing between the page and the session is pretended; only the building, which issues the keys, is.
"""

import asyncio
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

import msgspec
import pytest
from playwright.async_api import Browser, BrowserContext, Locator, async_playwright, expect

from cloud.checkin.sealed_guests import SealedGuests
from cloud.privacy.sealing import Sealer
from cloud.stays.life import EdgeState
from cloud.stays.reservation import Housekeeping
from firmware_bridges.innkeeper_lock.one_property import HOUR_S, OneProperty
from kit.dice import SeededDice, SystemDice
from kit.http import serving
from protocols.policy import check_in
from protocols.policy.check_in import Deposit, StepKind
from tests.cloud.checkin.front_desk import HERE, POLICY, STAY, Desk, single
from tests.cloud.checkin.zones import passport
from tests.cloud.conftest import database as database
from tests.cloud.conftest import dsn as dsn
from tests.cloud.conftest import postgres as postgres
from tests.cloud.edges import done
from tests.cloud.houses import AURORA, NOW_MS
from tests.cloud.public.conftest import Site
from tests.cloud.public.conftest import site as site
from tests.cloud.public.test_stay_log import CAME_MS, hear, told
from tests.e2e.console_page import CHROMIUM, CHROMIUM_ARGUMENTS, DESK, PHONE
from tests.e2e.guest_house import AXE, DIST, LINE_DOWN
from tests.e2e.guest_page import WAIT_MS, GuestPage

pytestmark = [
    pytest.mark.tier("chromium"),
    pytest.mark.tier("postgres"),
    pytest.mark.usefixtures("built"),
    pytest.mark.requirement("CHK-02"),
]


@dataclass
class Lobby:
    """The cloud at an address, its desk, and browsers in front of it."""

    desk: Desk
    address: str
    browser: Browser
    tabs: list[GuestPage] = field(default_factory=list)
    known: tuple[str, ...] = ()
    """Whom the pages may go to besides the cloud: the payment provider."""

    async def link(self) -> str:
        answer = await self.desk.site.http.post(f"{HERE}/guest-links", headers=self.desk.site.as_("staff"))
        return f"{self.address}{answer.json()['path']}"

    async def tab(self, link: str, *, size: tuple[int, int] = PHONE, **options: Any) -> "CheckInPage":
        settings = {"viewport": {"width": size[0], "height": size[1]}, "locale": "en-GB", "reduced_motion": "reduce"}
        context: BrowserContext = await self.browser.new_context(**{**settings, **options})
        await context.clock.install(time=NOW_MS / 1_000)  # the cloud's: whatever day this machine has
        tab = CheckInPage(await context.new_page(), self.address, None)
        self.tabs.append(tab)
        await tab.page.goto(link)
        return tab


class CheckInPage(GuestPage):
    """A tab on its way through the check-in."""

    def screen(self, name: str) -> Locator:
        return self.page.locator(f"[data-screen='{name}']")

    async def at(self, name: str) -> Locator:
        """Wait for a screen; it fits the page, and leaves nobody out."""
        await expect(self.screen(name)).to_be_visible(timeout=WAIT_MS)
        assert not await self.is_wider_than_screen(), name
        assert await self.violations(AXE.read_text(encoding="utf-8")) == [], name
        return self.screen(name)

    async def tell(self, screen: Locator, **facts: str) -> None:
        for name, value in facts.items():
            box = screen.locator(f"[name='{name}']")
            if name in {"nationality", "birth_state"}:
                await box.select_option(value)
            else:
                await box.fill(value)

    async def go_on(self, screen: Locator) -> None:
        await screen.locator("button[type=submit]").click()

    def step(self, name: str) -> Locator:
        return self.page.locator(f"[data-step='{name}']")


ANNA: Final = {"given_names": "Anna", "surname": "Berger", "birth_date": "1980-05-01", "nationality": "AUT"}


@pytest.fixture
async def lobby(built: None, site: Site) -> AsyncIterator[Lobby]:
    await asyncio.to_thread(shutil.copytree, DIST, site.web)
    desk = Desk(site)
    hotel = OneProperty(SeededDice("property").bytes, NOW_MS // 1_000)
    hotel.lock("door-101", room=101)

    def keys(_kind: str, args: dict[str, Any]) -> Any:
        return done({"bundle": hotel.bundle(["door-101"], args["phone_public_key"], stay=STAY).to_document()})

    site.edges.obey = keys
    await desk.book()
    async with AsyncExitStack() as stack:
        address = f"http://127.0.0.1:{await stack.enter_async_context(serving(site.app))}"
        playwright = await stack.enter_async_context(async_playwright())
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=CHROMIUM_ARGUMENTS)
        stack.push_async_callback(browser.close)
        lobby = Lobby(desk, address, browser)
        yield lobby
        for tab in lobby.tabs:
            assert [problem for problem in tab.problems if LINE_DOWN not in problem] == []
            assert [each for each in tab.strangers if not each.startswith(lobby.known)] == []


@pytest.mark.requirement("CHK-05", "CHK-10", "A1")
async def test_the_whole_way_on_a_phone_from_the_link_to_the_key(lobby: Lobby) -> None:
    await lobby.desk.policy()
    await lobby.desk.condition(Housekeeping.DIRTY, NOW_MS + 1)
    tab = await lobby.tab(await lobby.link())
    me = await tab.at("identity-g1")
    assert "#" not in tab.page.url, "the token is out of the address as soon as it is read"
    await expect(tab.page.locator(".booking")).to_contain_text("Hotel Aurora")
    await tab.tell(me, given_names="Anna", nationality="AUT")
    await tab.go_on(me)
    await expect(me.locator("[name=surname]")).to_be_focused()
    await expect(me.get_by_text("Please fill this in.")).to_have_count(2)
    await tab.tell(me, **ANNA | {"birth_date": "2027-05-01"})
    await tab.go_on(me)
    await expect(me.get_by_role("alert")).to_contain_text("This date of birth cannot be right.")
    await expect(me.locator("[name=birth_date]")).to_be_focused()
    await tab.tell(me, birth_date="1980-05-01")
    await me.locator("[name=surname]").press("Enter")  # a keyboard is enough

    shown = await tab.at("document-g1")
    await expect(tab.step("identity-g1")).to_have_attribute("data-state", "done")
    await tab.tell(shown, mrz="P<AUT")
    await tab.go_on(shown)
    await expect(shown.get_by_role("alert")).to_contain_text("two lines of 44 or 36 characters")
    zone = passport()
    await tab.tell(shown, mrz=zone.replace("800501", "800502"))
    await tab.go_on(shown)
    await expect(shown.get_by_role("alert")).to_contain_text("Line 2, characters 14 to 20: date of birth")
    await tab.at("document-g1")
    await tab.page.reload()  # a tab goes on where it was
    shown = await tab.at("document-g1")
    await tab.tell(shown, mrz=zone.lower().replace("\n", " \n "))
    await tab.go_on(shown)

    card = await tab.at("registration_card-g1")
    await tab.tell(card, signed_as="Bertha Anger")
    await tab.go_on(card)
    await expect(card.get_by_role("alert")).to_contain_text("not the name that you gave")
    await tab.tell(card, signed_as="Anna Berger")
    await tab.go_on(card)

    terms = await tab.at("terms-party")
    await tab.go_on(terms)
    await expect(terms.get_by_text("Please fill this in.")).to_be_visible()
    await terms.get_by_label("I accept the terms").check()
    await tab.go_on(terms)

    await tab.at("wait-room")
    await lobby.desk.condition(Housekeeping.INSPECTED, NOW_MS + 2)
    ready = await tab.at(f"grant-{STAY}")
    lobby.desk.site.edges.lost = True
    await ready.get_by_role("button").click()
    await expect(tab.notice("refused-edge_away")).to_contain_text("cannot be reached right now")
    lobby.desk.site.edges.lost = False
    await ready.get_by_role("button").click()
    await expect(tab.page.locator("[data-holding]")).to_have_count(1)
    await expect(tab.page.locator("h1")).to_have_text("Your room key")
    await tab.page.goto("about:blank")
    await tab.page.goto(await lobby.link())
    await expect(tab.page.locator("[data-holding]")).to_have_count(1)
    await expect(tab.page.locator("[data-session]")).to_have_count(0)
    kept = await tab.page.evaluate("JSON.stringify([{...sessionStorage}, {...localStorage}])")
    assert kept == "[{},{}]", "of a check-in that is over, the tab keeps nothing"


@pytest.mark.requirement("CHK-04")
async def test_a_family_begins_on_a_phone_goes_on_at_a_computer_and_ends_with_the_front_desk(lobby: Lobby) -> None:
    deposit = Deposit("EUR", 15_000)
    await lobby.desk.policy(
        msgspec.structs.replace(POLICY, steps=(StepKind.IDENTITY, StepKind.PAYMENT, *check_in.LAST), deposit=deposit)
    )
    await lobby.desk.book(replace(single(), children=1, updated_ms=NOW_MS + 1))
    link = await lobby.link()
    phone = await lobby.tab(link)
    me = await phone.at("identity-g1")
    await phone.tell(me, **ANNA | {"birth_date": "2015-05-01"})
    await phone.go_on(me)
    await expect(phone.notice("with-staff")).to_contain_text("must be an adult")
    await phone.notice("with-staff").get_by_role("button").click()
    await phone.tell(await phone.at("identity-g1"), **ANNA | {"surname": "Bergmann"})
    await phone.go_on(phone.screen("identity-g1"))
    await expect(phone.notice("with-staff")).to_contain_text("not the one we expect")
    await phone.at("identity-g2")

    computer = await lobby.tab(link, size=DESK, color_scheme="dark")
    child = await computer.at("identity-g2")
    await expect(computer.notice("with-staff")).to_contain_text("not the one we expect")
    await computer.tell(child, given_names="Mia", surname="Berger", birth_date="2019-02-03", nationality="AUT")
    await computer.go_on(child)
    paying = await computer.at("payment-party")
    await expect(paying).to_contain_text("€150.00")
    await computer.page.get_by_text("Ask the front desk").click()
    aside = computer.page.locator("aside")
    await aside.locator("[name=reason]").fill("My name is on the booking with another spelling")
    await aside.get_by_role("button", name="Send to the front desk").click()
    await expect(computer.page.get_by_test_id("help-asked")).to_contain_text("The front desk was told")

    staff = lobby.desk.site.as_("staff")
    for step, subject in (("identity", "g1"), ("payment", "party")):
        waived = {"step": step, "subject": subject, "reason": "seen at the desk"}
        assert (await lobby.desk.post(f"{HERE}/session/waivers", waived, staff)).status_code == 200
    await computer.at(f"grant-{STAY}")
    await expect(computer.notice("with-staff")).to_have_count(0)
    await phone.page.reload()
    await (await phone.at(f"grant-{STAY}")).get_by_role("button").click()
    await expect(phone.page.locator("[data-holding]")).to_have_count(1)
    await computer.screen(f"grant-{STAY}").get_by_role("button").click()
    await expect(computer.notice("refused-link_used")).to_contain_text("Another phone has already used this link")


@pytest.mark.parametrize(
    ("locale", "title", "direction"),
    [
        ("de-AT", "Anmeldung", "ltr"),
        ("fr-FR", "Enregistrement", "ltr"),
        ("es-ES", "Registro de llegada", "ltr"),
        ("ar-EG", "تسجيل الوصول", "rtl"),
    ],
)
async def test_it_speaks_the_guests_language_and_writes_it_the_right_way(
    lobby: Lobby, locale: str, title: str, direction: str
) -> None:
    await lobby.desk.policy()
    tab = await lobby.tab(await lobby.link(), locale=locale, size=(320, 640))
    me = await tab.at("identity-g1")
    await expect(tab.page.locator("h1")).to_have_text(title)
    await expect(tab.page).to_have_title(title)
    assert await tab.page.evaluate("[document.documentElement.lang, document.documentElement.dir]") == [
        locale[:2],
        direction,
    ]
    named = await me.locator("[name=nationality] option").all_inner_texts()
    assert (len(named), any(re.fullmatch("[A-Z]{3}", name) for name in named)) == (250, False)
    await tab.tell(me, **ANNA)
    await tab.go_on(me)
    zone = (await tab.at("document-g1")).locator("[name=mrz]")
    assert await zone.evaluate("box => getComputedStyle(box).direction") == "ltr"


async def test_a_house_that_keeps_nothing_personal_sends_its_guests_to_the_desk(lobby: Lobby) -> None:
    await lobby.desk.policy()
    lobby.desk.site.sessions._guests = SealedGuests(Sealer(None, dice=SystemDice()))
    tab = await lobby.tab(await lobby.link())
    me = await tab.at("identity-g1")
    await tab.tell(me, **ANNA)
    await tab.go_on(me)
    await expect(me.get_by_role("alert")).to_contain_text("Please see the front desk.")


async def test_the_desk_makes_the_link_sees_who_waits_and_lets_him_pass(lobby: Lobby) -> None:
    """The console's page, as staff uses it beside the guest's."""
    await lobby.desk.policy(msgspec.structs.replace(POLICY, steps=(StepKind.IDENTITY, *check_in.LAST)))
    staff = await lobby.tab("about:blank", size=DESK, extra_http_headers=lobby.desk.site.as_("staff"))
    await staff.page.goto(f"{lobby.address}/#/p/aurora/arrivals")
    stay = staff.page.locator(f"[data-stay='{STAY}']")
    await stay.get_by_role("button", name="Make a check-in link").click()
    link = await staff.page.get_by_test_id("guest-link").inner_text()
    guest = await lobby.tab(link)
    await guest.tell(await guest.at("identity-g1"), given_names="Anna", surname="Bergmann")
    await guest.go_on(guest.screen("identity-g1"))
    await guest.at("wait-staff")
    waiting = staff.page.locator(f"[data-hand-over='{STAY}']")
    await expect(waiting).to_contain_text("the name is not the booking’s", timeout=WAIT_MS)
    await waiting.get_by_label("What you saw").fill("x")
    await waiting.get_by_role("button", name="Let it pass").click()
    await expect(waiting.get_by_role("alert")).to_contain_text("a few words")
    assert await staff.violations(AXE.read_text(encoding="utf-8")) == []
    await waiting.get_by_label("What you saw").fill("married last week, certificate seen")
    await waiting.get_by_role("button", name="Let it pass").click()
    await expect(waiting).to_have_count(0)
    await guest.at(f"grant-{STAY}")
    await stay.get_by_role("button", name="End its links").click()
    await expect(stay.get_by_text("No link of this stay works any more.")).to_be_visible()
    await guest.screen(f"grant-{STAY}").get_by_role("button").click()
    await expect(guest.notice("refused-signed_out")).to_be_visible()


@pytest.mark.requirement("A8")
async def test_a_stay_made_longer_is_a_longer_key_on_an_open_page_that_nobody_touches(lobby: Lobby) -> None:
    desk = lobby.desk
    tab = await lobby.tab(await lobby.link())
    held = tab.page.locator("[data-holding]")
    await expect(held).to_have_count(1, timeout=WAIT_MS)
    until = await held.get_by_text("Valid until").inner_text()
    hotel = OneProperty(SeededDice("property").bytes, NOW_MS // 1_000 + 1)
    hotel.lock("door-101", room=101)

    def longer(kind: str, args: dict[str, Any]) -> Any:
        if kind == "doors_carried":
            return done({"taken": [], "locks": []})
        bundle = hotel.bundle(["door-101"], args["phone_public_key"], stay=STAY, valid_s=(-HOUR_S, 60 * HOUR_S))
        return done({"bundle": bundle.to_document()})

    desk.site.edges.obey = longer
    leaves_ms = NOW_MS + 50 * HOUR_S * 1_000
    await desk.book(single(departure_ms=leaves_ms, updated_ms=NOW_MS + 1))
    await expect(held.get_by_text("Valid until")).not_to_have_text(until, timeout=WAIT_MS)
    await expect(held).to_have_count(1)
    assert [kind for kind, _ in desk.site.edges.effects if kind == "check_in"] == ["check_in"] * 2


@pytest.mark.requirement("A14")
async def test_one_click_makes_the_key_link_and_the_desk_sees_the_first_opening(lobby: Lobby) -> None:
    site = lobby.desk.site
    staff = await lobby.tab("about:blank", size=DESK, extra_http_headers=site.as_("staff"))
    await staff.page.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=lobby.address)
    await staff.page.goto(f"{lobby.address}/#/p/aurora/arrivals")
    stay = staff.page.locator(f"[data-stay='{STAY}']")
    await expect(stay.get_by_test_id("first-opened")).to_contain_text("No door opened yet")
    await stay.get_by_role("button", name="Make a check-in link").press("Enter")
    await expect(stay.get_by_text("Copied: paste it")).to_be_visible()
    link = await staff.page.get_by_test_id("guest-link").inner_text()
    assert await staff.page.evaluate("() => navigator.clipboard.readText()") == link
    await hear(site, told(2, CAME_MS), told(1, CAME_MS - 1, event="refused"))
    clock = f"{datetime.fromtimestamp(CAME_MS / 1_000, ZoneInfo(AURORA.zone)):%H:%M}"
    told_there = stay.get_by_test_id("first-opened")  # the page asks by itself
    await expect(told_there).to_contain_text(re.compile(rf"First opened .*{clock}"), timeout=WAIT_MS)


@pytest.mark.requirement("A16", "UI-08")
async def test_a_guest_and_the_desk_read_the_log_of_his_room_and_print_it(lobby: Lobby) -> None:
    site = lobby.desk.site
    await hear(site, edge=EdgeState.CHECKED_IN)
    await hear(site, told(1, CAME_MS + 1), told(2, CAME_MS + 2, None), told(5, CAME_MS + 3, "s-wrong", event="refused"))
    staff = await lobby.tab("about:blank", extra_http_headers=site.as_("staff"))
    await staff.page.add_init_script("window.printed = 0; window.print = () => { window.printed += 1 }")
    await staff.page.goto(f"{lobby.address}/#/p/aurora/arrivals")
    await staff.page.locator(f"[data-stay='{STAY}']").get_by_role("link", name="Door log of Anna Berger").press("Enter")
    log = staff.page.get_by_test_id("stay-log")
    await expect(log.get_by_role("row")).to_have_count(4)
    await expect(log.locator("[data-key='guest']")).to_contain_text("A key of this stay")
    await expect(log.locator("[data-key='house']")).to_contain_text("A key of the house")
    await expect(log.locator("[data-key='other_stay']")).to_contain_text("Another guest’s key")
    await expect(log).to_contain_text("2 entries of door-101 have not arrived here yet")
    assert await staff.violations(AXE.read_text(encoding="utf-8")) == []
    assert not await staff.is_wider_than_screen()
    await log.get_by_role("button", name="Print").press("Enter")
    assert await staff.page.evaluate("() => window.printed") == 1
    await staff.page.emulate_media(media="print")
    await expect(log.get_by_role("button", name="Print")).to_be_hidden()
    await expect(staff.page.get_by_role("banner")).to_be_hidden()

    await expect(log.get_by_role("row")).to_have_count(4)
