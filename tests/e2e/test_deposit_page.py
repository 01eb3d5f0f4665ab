"""The deposit and the terms in the guest's check-in: the provider's own page at another origin, and back again.

The provider is the emulated one as a process of its own would be, at an address of its own; nothing is intercepted.
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Final

import httpx
import msgspec
import pytest
from playwright.async_api import expect

from cloud.payments.stripe.adapter import StripePayments
from cloud.payments.stripe.server import TAME, Account, Hook, build
from kit.dice import SeededDice
from kit.http import serving
from protocols.policy import check_in
from protocols.policy.check_in import Deposit, StepKind
from tests.cloud.checkin.front_desk import HERE, POLICY, STAY
from tests.cloud.conftest import database as database
from tests.cloud.conftest import dsn as dsn
from tests.cloud.conftest import postgres as postgres
from tests.cloud.houses import AURORA
from tests.cloud.public.conftest import WEBHOOK_SECRET
from tests.cloud.public.conftest import site as site
from tests.e2e.console_page import DESK, PHONE
from tests.e2e.guest_house import AXE
from tests.e2e.guest_page import WAIT_MS
from tests.e2e.test_check_in_page import CheckInPage, Lobby
from tests.e2e.test_check_in_page import lobby as lobby

pytestmark = [
    pytest.mark.tier("chromium"),
    pytest.mark.tier("postgres"),
    pytest.mark.usefixtures("built"),
    pytest.mark.requirement("CHK-08", "PAY-01"),
]
PAYS: Final = msgspec.structs.replace(
    POLICY, steps=(StepKind.PAYMENT, *check_in.LAST), terms=None, deposit=Deposit("EUR", 15_000)
)
AGREES: Final = msgspec.structs.replace(POLICY, steps=(StepKind.TERMS, *check_in.LAST))
TERMS: Final = "/api/v1/properties/aurora/terms/2026-1"
PAY: Final = "payment-party"


@dataclass
class Till:
    """The provider at its own address; `account` also says what became of its events."""

    account: Account
    address: str

    async def choose(self, tab: CheckInPage, card: str) -> None:
        await tab.page.wait_for_url(f"{self.address}/**")
        await tab.page.get_by_label(card).check()
        await tab.page.get_by_role("button", name="Pay").click()


@pytest.fixture
async def till(lobby: Lobby) -> AsyncIterator[Till]:
    site = lobby.desk.site
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(httpx.AsyncClient())
        hook = Hook(f"{lobby.address}/webhooks/payments/aurora", WEBHOOK_SECRET)
        account = Account(site.stripe, hook, http=http, clock=site.clock, dice=SeededDice(1), knobs=TAME)
        address = f"http://127.0.0.1:{await stack.enter_async_context(serving(build(account)))}"
        provider = StripePayments(http, platform=address, secret_key="sk_test")
        site.payments._providers = {AURORA.id: provider}
        lobby.known = (address,)
        await lobby.desk.policy(PAYS)
        yield Till(account, address)
        await account.close()


async def console(lobby: Lobby, path: str, who: str, size: tuple[int, int] = DESK) -> CheckInPage:
    tab = await lobby.tab("about:blank", size=size, extra_http_headers=lobby.desk.site.as_(who))
    await tab.page.goto(f"{lobby.address}/#/p/aurora/{path}")
    return tab


async def is_fine(tab: CheckInPage) -> None:
    assert await tab.violations(AXE.read_text(encoding="utf-8")) == []
    assert not await tab.is_wider_than_screen()


async def test_a_guest_pays_by_keyboard_on_the_providers_page_after_two_refusals(lobby: Lobby, till: Till) -> None:
    till.account._hook = None  # no event comes: the page itself has the provider asked
    tab = await lobby.tab(await lobby.link())
    paying = await tab.at(PAY)
    await expect(paying).to_contain_text("€150.00")
    await paying.get_by_role("button", name="Go to the payment page").press("Enter")
    await till.choose(tab, "A card that is refused")
    await expect(tab.page.get_by_role("alert")).to_contain_text("declined")
    for answer in ("No", "Yes, it is me"):
        await till.choose(tab, "A card whose bank asks first (3-D Secure)")
        await tab.page.get_by_role("button", name=answer, exact=True).click()
    ready = await tab.at(f"grant-{STAY}")
    assert tab.page.url == f"{lobby.address}/guest/", "the tab went on by itself, and nothing is in its address"
    await expect(tab.step(PAY)).to_have_attribute("data-state", "done")
    assert [(what, minor) for what, _, minor in till.account.stripe.effects] == [("hold", 15_000)]
    await ready.get_by_role("button").click()
    await expect(tab.page.locator("[data-holding]")).to_have_count(1)


async def test_a_guest_who_leaves_the_page_goes_on_where_he_likes_and_pays_once(lobby: Lobby, till: Till) -> None:
    link = await lobby.link()
    phone = await lobby.tab(link)
    await (await phone.at(PAY)).get_by_role("button", name="Go to the payment page").click()
    await phone.page.get_by_role("link", name="Back to the hotel").click()
    left = await phone.at(PAY)
    await expect(left.locator("[data-payment='left']")).to_contain_text("Nothing is held yet.")
    await left.get_by_role("button", name="Back to the payment page").click()
    await phone.page.wait_for_url(f"{till.address}/pay/**")
    await phone.page.go_back()  # the browser's own way back
    await expect((await phone.at(PAY)).get_by_role("button", name="Back to the payment page")).to_be_visible()

    computer = await lobby.tab(link, size=DESK, color_scheme="dark")
    open_there = await computer.at(PAY)
    await expect(open_there.locator("[data-payment='under-way']")).to_contain_text("perhaps on another device")
    await open_there.get_by_role("button").click()
    await till.choose(computer, "A card that pays")
    await computer.at(f"grant-{STAY}")
    await phone.at(f"grant-{STAY}")
    assert len(till.account.stripe.pages) == 1
    assert [what for what, _, _ in till.account.stripe.effects] == ["hold"]


async def test_a_payment_that_the_desk_takes_ends_the_page_and_nobody_pays_twice(lobby: Lobby, till: Till) -> None:
    link, site = await lobby.link(), lobby.desk.site
    phone, other = await lobby.tab(link), await lobby.tab(link)
    await (await phone.at(PAY)).get_by_role("button", name="Go to the payment page").click()
    await phone.page.wait_for_url(f"{till.address}/pay/**")
    staff = await console(lobby, "arrivals", "staff")
    await staff.page.locator("summary", has_text="Check-in").press("Enter")
    step = staff.page.locator(f"[data-session-step='{PAY}']")
    await expect(staff.page.get_by_test_id("deposit")).to_contain_text("has the provider’s page open")
    await is_fine(staff)
    await step.get_by_label("What you saw").fill("cash at the desk")
    await step.get_by_role("button", name="Paid at the desk").press("Enter")
    await expect(step).to_contain_text("cash at the desk", timeout=WAIT_MS)
    await expect(step).to_have_attribute("data-state", "waived")
    await other.at(f"grant-{STAY}")
    await site.payments.settle_due({AURORA.id: AURORA})
    await phone.page.get_by_label("A card that pays").check()
    await phone.page.get_by_role("button", name="Pay").click()
    await expect(phone.page.get_by_text("This page has ended")).to_be_visible()
    await phone.page.get_by_role("link", name="Back to the hotel").click()
    await phone.at(f"grant-{STAY}")
    assert till.account.stripe.effects == []


async def test_without_line_or_provider_the_page_says_so_and_a_page_too_old_begins_anew(
    lobby: Lobby, till: Till
) -> None:
    tab = await lobby.tab(await lobby.link())
    pay = (await tab.at(PAY)).get_by_role("button")
    await tab.page.context.set_offline(True)
    await pay.click()
    await expect(tab.page.get_by_test_id("form-problem")).to_contain_text("There is no internet.")
    await tab.page.context.set_offline(False)
    till.account.knobs = msgspec.structs.replace(TAME, broken_before=1.0)
    await pay.click()
    await expect(tab.page.get_by_test_id("form-problem")).to_contain_text("payment provider cannot be reached")
    await tab.at(PAY)
    till.account.knobs = TAME
    await pay.click()
    await tab.page.wait_for_url(f"{till.address}/pay/**")
    [page] = till.account.stripe.pages
    till.account.stripe.expire(page)
    await till.account.settle()
    await tab.page.go_back()
    old = await tab.at(PAY)
    await expect(old.locator("[data-payment='failed']")).to_contain_text("open too long", timeout=WAIT_MS)
    await old.get_by_role("button", name="Go to the payment page").click()
    await till.choose(tab, "A card that pays")
    await tab.at(f"grant-{STAY}")


@pytest.mark.parametrize("locale", ["de-AT", "fr-FR", "es-ES", "ar-EG"])
async def test_the_deposit_and_the_way_back_are_said_in_every_language(lobby: Lobby, till: Till, locale: str) -> None:
    tab = await lobby.tab(await lobby.link(), locale=locale, size=(320, 640))
    await (await tab.at(PAY)).get_by_role("button").click()
    await tab.page.locator("a.back").click()
    left = await tab.at(PAY)
    await expect(left.locator("[data-payment='left']")).to_be_visible()
    page = next(iter(till.account.stripe.pages.values()))
    assert page["locale"] == ("auto" if locale == "ar-EG" else locale[:2])
    stray = await lobby.tab(f"{lobby.address}/guest/#payment=done", locale=locale, size=(320, 640))
    await expect(stray.notice("strayed")).to_be_visible(timeout=WAIT_MS)
    assert "#" not in stray.page.url
    assert await stray.violations(AXE.read_text(encoding="utf-8")) == []
    assert not await stray.is_wider_than_screen()


@pytest.mark.requirement("CHK-04")
async def test_a_guest_reads_the_terms_in_his_language_and_accepts_that_very_text(lobby: Lobby) -> None:
    site = lobby.desk.site
    await lobby.desk.policy(AGREES)
    long = "\n\n".join(f"{number}. Ruhe im Haus ab 22 Uhr, <b>auch</b> im Garten." for number in range(1, 40))
    for language, text in (("de", long), ("en", "Quiet in the house from 22:00.\n\nNo smoking.")):
        answer = await site.http.put(f"{TERMS}/{language}", json={"text": text}, headers=site.as_("admin"))
        assert answer.status_code == 200
    tab = await lobby.tab(await lobby.link(), locale="ar-EG")
    shown = (await tab.at("terms-party")).get_by_test_id("terms")
    await expect(shown.locator("p")).to_have_count(2)
    assert await shown.evaluate("box => [box.lang, getComputedStyle(box).direction]") == ["en", "ltr"]
    await tab.page.get_by_role("combobox").select_option("de")
    await expect(shown.locator("p")).to_have_count(39)
    await expect(shown.locator("b")).to_have_count(0)
    await shown.focus()
    await tab.page.keyboard.press("End")
    assert await shown.evaluate("box => box.scrollHeight > box.clientHeight && box.tabIndex === 0")
    await tab.page.get_by_role("checkbox").check()
    await tab.go_on(tab.screen("terms-party"))
    await tab.at(f"grant-{STAY}")
    told = (await site.http.get(f"{HERE}/session/people", headers=site.as_("staff"))).json()
    stands = (await site.http.get(f"{TERMS}/de", headers=site.as_("staff"))).json()
    [kept] = [each["evidence"] for each in told["evidence"] if each["step"] == "terms"]
    assert kept == {"version": "2026-1", "language": "de", "sha256": stands["sha256"]}


async def test_a_text_written_while_the_guest_reads_is_read_before_it_is_accepted(lobby: Lobby) -> None:
    site = lobby.desk.site
    await lobby.desk.policy(AGREES)
    tab = await lobby.tab(await lobby.link())
    screen = await tab.at("terms-party")
    await expect(screen).to_contain_text("The front desk has them in writing.")
    answer = await site.http.put(f"{TERMS}/en", json={"text": "Quiet from 22:00."}, headers=site.as_("admin"))
    assert answer.status_code == 200
    await tab.page.get_by_role("checkbox").check()
    await tab.go_on(screen)
    await expect(screen.get_by_test_id("terms")).to_contain_text("Quiet from 22:00.")
    await expect(screen.get_by_role("alert")).to_contain_text("The terms have changed. Please read them again.")
    await tab.page.get_by_role("checkbox").check()
    await tab.go_on(screen)
    await tab.at(f"grant-{STAY}")


@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
async def test_the_house_writes_its_terms_down_and_the_desk_sees_what_was_accepted(
    lobby: Lobby, size: tuple[int, int]
) -> None:
    await lobby.desk.policy(AGREES)
    admin = await console(lobby, "arrivals", "admin", size)
    await admin.page.get_by_role("link", name="House terms").press("Enter")
    await expect(admin.page.get_by_test_id("in-force")).to_contain_text("ask for version 2026-1")
    await expect(admin.page.get_by_text("No text of it is written down")).to_be_visible()
    write = admin.page.get_by_role("button", name="Write it down for good")
    await write.click()
    await expect(admin.page.get_by_role("alert")).to_contain_text("A version and a text are needed.")
    words = admin.page.get_by_label("Text", exact=True)
    await words.fill("Quiet from 22:00.\n\nNo smoking.")
    await write.press("Enter")
    version = admin.page.locator("[data-version='2026-1']")
    await expect(version).to_contain_text("asked for now")
    await words.fill("Smoking, please.")
    await write.click()
    await expect(admin.page.get_by_role("alert")).to_contain_text("publish a new version instead")
    await version.locator("summary").press("Enter")
    await expect(version).to_contain_text("No smoking.")
    await is_fine(admin)

    guest = await lobby.tab(await lobby.link())
    terms = await guest.at("terms-party")
    await guest.page.get_by_role("checkbox").check()
    await guest.go_on(terms)
    await guest.at(f"grant-{STAY}")
    staff = await console(lobby, "arrivals", "staff", size)
    await staff.page.locator("summary", has_text="Check-in").click()
    step = staff.page.locator("[data-session-step='terms-party']")
    await expect(step).to_contain_text("version 2026-1 in en, SHA-256 ")
    await is_fine(staff)
    await staff.page.goto(f"{lobby.address}/#/p/aurora/terms")
    await staff.page.get_by_label("Text", exact=True).fill("Not mine to write.")
    await staff.page.get_by_role("button", name="Write it down for good").click()
    await expect(staff.page.get_by_role("alert")).to_be_visible()
    await expect(staff.page.locator("[data-version]")).to_have_count(1)
