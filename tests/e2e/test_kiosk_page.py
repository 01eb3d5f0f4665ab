"""The kiosk: begun by code and name, gone on with on a phone and back, handed to staff, and forgotten when idle."""

from typing import Final

import msgspec
import pytest
from playwright.async_api import expect

from protocols.policy import check_in
from protocols.policy.check_in import Deposit, StepKind
from tests.cloud.checkin.front_desk import HERE, POLICY, STAY
from tests.cloud.conftest import database as database
from tests.cloud.conftest import dsn as dsn
from tests.cloud.conftest import postgres as postgres
from tests.cloud.public.conftest import site as site
from tests.e2e.guest_page import WAIT_MS
from tests.e2e.test_check_in_page import ANNA, CheckInPage, Lobby
from tests.e2e.test_check_in_page import lobby as lobby
from tests.e2e.test_deposit_page import console, is_fine

pytestmark = [
    pytest.mark.tier("chromium"),
    pytest.mark.tier("postgres"),
    pytest.mark.usefixtures("built"),
    pytest.mark.requirement("KSK-01", "KSK-02", "KSK-04", "CHK-12"),
]
STANDING: Final = (1080, 1400)
SHORT: Final = msgspec.structs.replace(
    POLICY, steps=(StepKind.IDENTITY, StepKind.PAYMENT, *check_in.LAST), terms=None, deposit=Deposit("EUR", 15_000)
)
TOUCH_LEAST_PX: Final = 64
SMALL: Final = """least => [...document.querySelectorAll('button, input:not([type=checkbox]), select, summary')]
    .filter(each => each.checkVisibility() && each.getBoundingClientRect().height < least)
    .map(each => each.outerHTML.slice(0, 120))"""


async def set_up(lobby: Lobby) -> CheckInPage:
    """Let the admin make the kiosk's link in the console, and open it on the kiosk, whose clock is the test's."""
    admin = await console(lobby, "arrivals", "admin")
    await admin.page.get_by_role("link", name="Kiosks").press("Enter")
    await admin.page.get_by_label("Name").fill("Lobby")
    await admin.page.get_by_role("button", name="Make its link").press("Enter")
    made = admin.page.get_by_test_id("kiosk-link")
    await expect(made).to_be_visible(timeout=WAIT_MS)
    await is_fine(admin)
    kiosk = await lobby.tab("about:blank", size=STANDING)
    await kiosk.page.clock.install()
    await kiosk.page.goto(await made.inner_text())
    await at_begin(kiosk)
    assert "#" not in kiosk.page.url
    return kiosk


async def at_begin(kiosk: CheckInPage) -> None:
    await expect(kiosk.page.locator("[data-kiosk='begin']")).to_be_visible(timeout=WAIT_MS)
    await expect(kiosk.page.get_by_label("Booking code")).to_have_value("")
    assert await kiosk.page.evaluate(SMALL, TOUCH_LEAST_PX) == []
    await is_fine(kiosk)


async def begin(kiosk: CheckInPage, code: str = "N-r1", surname: str = "Berger") -> None:
    await kiosk.page.get_by_label("Booking code").fill(code)
    await kiosk.page.get_by_label("Surname").fill(surname)
    await kiosk.page.get_by_role("button", name="Begin").click()


async def test_from_the_kiosk_to_the_phone_and_back_and_to_staff(lobby: Lobby) -> None:
    await lobby.desk.policy(SHORT)
    kiosk = await set_up(lobby)
    await kiosk.page.get_by_role("button", name="Begin").press("Enter")
    await expect(kiosk.page.get_by_label("Booking code")).to_be_focused()
    await begin(kiosk, surname="Meier")
    await expect(kiosk.page.locator("[data-trouble='not_found']")).to_be_visible(timeout=WAIT_MS)
    await is_fine(kiosk)
    await begin(kiosk)
    me = await kiosk.at("identity-g1")
    assert await kiosk.page.evaluate(SMALL, TOUCH_LEAST_PX) == []
    await kiosk.tell(me, given_names="Anna", surname="Berger")
    await kiosk.go_on(me)
    paying = await kiosk.at("payment-party")
    await expect(paying).to_contain_text("No card is typed in here.")
    await paying.get_by_role("button", name="Go on with my phone").click()
    code = paying.locator("svg[data-link]")
    await expect(code).to_be_visible(timeout=WAIT_MS)
    await is_fine(kiosk)
    phone = await lobby.tab(await code.get_attribute("data-link") or "")
    await phone.at("payment-party")
    await expect(phone.step("identity-g1")).to_have_attribute("data-state", "done")
    await kiosk.page.locator("aside details summary").click()
    await kiosk.page.locator("aside [name='reason']").fill("I would rather pay cash")
    await kiosk.page.locator("aside button[type=submit]").click()
    await expect(kiosk.page.get_by_test_id("help-asked")).to_be_visible(timeout=WAIT_MS)
    waiting = (
        await lobby.desk.site.http.get("/api/v1/properties/aurora/hand-overs", headers=lobby.desk.site.as_("staff"))
    ).json()
    assert [(each["asked"], each["channel"]) for each in waiting["hand_overs"]] == [
        ("I would rather pay cash", "kiosk")
    ]
    waived = {"step": "payment", "subject": "party", "reason": "cash at the desk"}
    await lobby.desk.post(f"{HERE}/session/waivers", waived, lobby.desk.site.as_("staff"))
    await kiosk.page.clock.run_for(6_000)
    key = await kiosk.at(f"grant-{STAY}")
    await expect(key).to_contain_text("Your key goes to your phone.")
    await kiosk.page.get_by_role("button", name="Leave and forget me").click()
    await at_begin(kiosk)
    await begin(kiosk)  # back at the kiosk: the session goes on where it is
    await kiosk.at(f"grant-{STAY}")
    ready = await phone.at(f"grant-{STAY}")
    await ready.get_by_role("button").click()
    await expect(phone.page.locator("[data-holding]")).to_have_count(1)
    await kiosk.page.clock.run_for(6_000)
    await expect(kiosk.screen("over")).to_contain_text("This screen forgets you now", timeout=WAIT_MS)
    await kiosk.page.clock.run_for(11_000)
    await at_begin(kiosk)


async def test_nobody_touches_it_for_five_minutes_and_nothing_of_the_guest_is_left(lobby: Lobby) -> None:
    await lobby.desk.policy(SHORT)
    kiosk = await set_up(lobby)
    await kiosk.page.get_by_role("combobox").select_option("de")
    await kiosk.page.get_by_label("Buchungscode").fill("N-r1")
    await kiosk.page.get_by_label("Nachname").fill("Berger")
    await kiosk.page.get_by_role("button", name="Beginnen").click()
    me = await kiosk.at("identity-g1")
    await kiosk.tell(me, **ANNA)
    await kiosk.page.clock.run_for(4 * 60_000 + 40_000)
    still = kiosk.page.get_by_role("alertdialog")
    await expect(still).to_be_visible(timeout=WAIT_MS)
    await expect(still.get_by_role("button")).to_be_focused()
    await is_fine(kiosk)
    await still.get_by_role("button").click()
    await expect(still).to_have_count(0)
    await expect(me.locator("[name='surname']")).to_have_value("Berger")
    token = await kiosk.page.evaluate("Object.values(localStorage).join() + Object.values(sessionStorage).join()")
    assert "ikg_" not in token
    await kiosk.page.clock.run_for(5 * 60_000 + 1_000)
    await at_begin(kiosk)
    for gone in ("Anna", "Berger", "1980", "ikg_", STAY):
        assert gone not in await kiosk.page.content()
    assert await kiosk.page.evaluate("[...document.querySelectorAll('input')].map(each => each.value).join('')") == ""
    await expect(kiosk.page.locator("html")).to_have_attribute("lang", "en")
    await kiosk.page.go_back()
    await kiosk.page.go_forward()
    await at_begin(kiosk)


async def test_without_a_line_it_says_so_and_one_that_was_ended_sends_to_the_desk(lobby: Lobby) -> None:
    await lobby.desk.policy(SHORT)
    kiosk = await set_up(lobby)
    await kiosk.page.context.set_offline(True)
    await begin(kiosk)
    away = kiosk.page.locator("[data-trouble='offline']")
    await expect(away).to_contain_text("The front desk has your booking and checks you in.", timeout=WAIT_MS)
    await is_fine(kiosk)
    await kiosk.page.context.set_offline(False)
    await begin(kiosk)
    await kiosk.at("identity-g1")
    admin = await console(lobby, "kiosks", "admin")
    await admin.page.get_by_role("button", name="End Lobby").click()
    await expect(admin.page.get_by_text("No kiosk is set up.")).to_be_visible(timeout=WAIT_MS)
    await kiosk.page.get_by_role("button", name="Leave and forget me").click()
    await at_begin(kiosk)
    await begin(kiosk)
    await expect(kiosk.page.locator("[data-trouble='ended']")).to_be_visible(timeout=WAIT_MS)
    new = await lobby.tab(f"{lobby.address}/guest/kiosk.html", size=STANDING, locale="ar-EG")
    await expect(new.notice("not-set-up")).to_be_visible(timeout=WAIT_MS)
    await is_fine(new)
