"""The desk's page of a stay's payments: taking, letting go and giving back, each once, said as it is.

The provider is the emulated one at an address of its own; what it loses, it loses on the wire.
"""

import msgspec
import pytest
from playwright.async_api import Locator, expect

from cloud.kit.database import fetch_all
from cloud.payments.payments import UNSETTLED_MS
from cloud.payments.stripe.server import TAME
from tests.cloud.checkin.front_desk import HERE, STAY
from tests.cloud.conftest import database as database
from tests.cloud.conftest import dsn as dsn
from tests.cloud.conftest import postgres as postgres
from tests.cloud.houses import AURORA
from tests.cloud.public.conftest import site as site
from tests.e2e.console_page import DESK, PHONE
from tests.e2e.guest_page import WAIT_MS
from tests.e2e.test_check_in_page import CheckInPage, Lobby
from tests.e2e.test_check_in_page import lobby as lobby
from tests.e2e.test_deposit_page import Till, console, is_fine
from tests.e2e.test_deposit_page import till as till

pytestmark = [
    pytest.mark.tier("chromium"),
    pytest.mark.tier("postgres"),
    pytest.mark.usefixtures("built"),
    pytest.mark.requirement("PAY-01", "PAY-03"),
]


async def held(lobby: Lobby) -> None:
    """Let a guest have had his deposit held, by token."""
    guest = await lobby.desk.link()
    await lobby.desk.post(f"{HERE}/session", {}, guest)
    answer = await lobby.desk.post(
        f"{HERE}/session/payment", {"payment_method": "pm_card_visa", "idempotency_key": "k"}, guest
    )
    assert answer.json()["state"] == "held"


async def at_payments(lobby: Lobby, size: tuple[int, int] = DESK, who: str = "staff") -> tuple[CheckInPage, Locator]:
    tab = await console(lobby, f"payments/{STAY}", who, size)
    card = tab.page.locator("[data-payment]")
    await expect(card).to_be_visible(timeout=WAIT_MS)
    return tab, card


async def wish(card: Locator, verb: str, amount: str, reason: str) -> Locator:
    form = card.get_by_role("form", name=verb)
    await form.get_by_label(f"{verb} (EUR)").fill(amount)
    await form.get_by_label("Why").fill(reason)
    await form.get_by_role("button").press("Enter")
    return card.get_by_test_id("sure")


def moved(till: Till) -> list[tuple[str, int]]:
    return [(what, minor) for what, _, minor in till.account.stripe.effects]


@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
async def test_part_is_taken_and_some_given_back_by_keyboard(lobby: Lobby, till: Till, size: tuple[int, int]) -> None:
    await held(lobby)
    arrivals = await console(lobby, "arrivals", "staff", size)
    await arrivals.page.get_by_role("link", name="Payments of").press("Enter")
    tab, card = arrivals, arrivals.page.locator("[data-payment]")
    await expect(card).to_contain_text("€150.00", timeout=WAIT_MS)
    await expect(card).to_contain_text("Held on a card")
    await is_fine(tab)
    for amount, reason, said in (
        ("150.01", "minibar", "An amount up to €150.00"),
        ("4,5,0", "minibar", "An amount up to"),
        ("45", "x", "Say in a few words why"),
    ):
        await wish(card, "Take", amount, reason)
        await expect(card.get_by_role("alert")).to_contain_text(said)
    sure = await wish(card, "Take", "45,00", "minibar, two bottles")
    await expect(sure).to_be_focused()
    await expect(sure).to_contain_text("Take €45.00? The other €105.00 are let go, and cannot be taken later.")
    await is_fine(tab)
    await sure.get_by_role("button", name="No").press("Enter")
    assert moved(till) == [("hold", 15_000)], "he said no"
    sure = await wish(card, "Take", "45.00", "minibar, two bottles")
    await sure.get_by_role("button", name="Yes, take €45.00").press("Enter")
    await expect(card.get_by_role("status")).to_have_text("Taken: €45.00.", timeout=WAIT_MS)
    await expect(card.get_by_role("status")).to_be_focused()
    await expect(card.get_by_test_id("taken")).to_have_text("Taken €45.00, €105.00 let go.")
    await expect(card.locator("[data-movement='capture']")).to_contain_text("minibar, two bottles")
    await expect(card.get_by_role("form", name="Take")).to_have_count(0)
    sure = await wish(card, "Give back", "5", "one bottle was not drunk")
    await sure.get_by_role("button", name="Yes, give back €5.00").press("Enter")
    await expect(card.get_by_test_id("taken")).to_contain_text("given back €5.00", timeout=WAIT_MS)
    await is_fine(tab)
    assert moved(till) == [("hold", 15_000), ("capture", 4_500), ("refund", 500)]
    async with lobby.desk.site.database.transaction() as connection:
        trail = await fetch_all(connection, "SELECT actor, detail FROM platform.audit WHERE action = 'payment.refund'")
    assert trail == [{"actor": "staff", "detail": "500 minor units of EUR; one bottle was not drunk"}]


@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
async def test_above_the_houses_limit_a_colleague_finds_a_refund_and_approves_it(
    lobby: Lobby, till: Till, size: tuple[int, int]
) -> None:
    await held(lobby)
    limit = {"limit": {"currency": "EUR", "minor": 500}}
    http, admin = lobby.desk.site.http, lobby.desk.site.as_("admin")
    assert (await http.put("/api/v1/properties/aurora/refund-rule", json=limit, headers=admin)).status_code == 200
    tab, card = await at_payments(lobby, size)
    sure = await wish(card, "Take", "45", "minibar")
    await sure.get_by_role("button", name="Yes").click()
    await expect(card.get_by_test_id("taken")).to_be_visible(timeout=WAIT_MS)
    sure = await wish(card, "Give back", "30", "charged by mistake")
    await sure.get_by_role("button", name="Yes").click()
    await expect(card.get_by_role("status")).to_have_text("Giving back €30.00 waits for a second person.")
    mine = card.locator("[data-movement='refund']")
    await expect(mine).to_contain_text("it cannot be you")
    await expect(mine.get_by_role("button", name="Approve")).to_have_count(0)
    await is_fine(tab)
    arrivals = await console(lobby, "arrivals", "colleague", size)
    listed = arrivals.page.get_by_test_id("waiting-refunds")
    await expect(listed).to_contain_text("€30.00", timeout=WAIT_MS)
    await expect(listed).to_contain_text("charged by mistake")
    await is_fine(arrivals)
    await listed.get_by_role("link", name="Look at it").press("Enter")
    theirs = arrivals.page.locator("[data-movement='refund']")
    await theirs.get_by_role("button", name="Approve giving back €30.00").press("Enter")
    await expect(theirs).to_have_attribute("data-state", "done", timeout=WAIT_MS)
    await expect(theirs).to_contain_text("approved by colleague")
    await is_fine(arrivals)
    await expect(mine).to_have_attribute("data-state", "done", timeout=WAIT_MS)
    assert moved(till) == [("hold", 15_000), ("capture", 4_500), ("refund", 3_000)]


async def test_what_nobody_answered_for_is_not_known_and_is_not_asked_for_twice(lobby: Lobby, till: Till) -> None:
    await held(lobby)
    till.account._hook = None  # no event comes: what became of it is only asked
    tab, card = await at_payments(lobby)
    other, same = await at_payments(lobby)
    await expect(same.get_by_role("form", name="Take")).to_be_visible()
    till.account.knobs = msgspec.structs.replace(TAME, broken_after=1.0)
    sure = await wish(card, "Take", "45", "minibar")
    await sure.get_by_role("button", name="Yes").click()
    await expect(card.get_by_role("alert")).to_contain_text("has not answered", timeout=WAIT_MS)
    moving = card.locator("[data-movement='capture']")
    await expect(moving).to_have_attribute("data-state", "unknown", timeout=WAIT_MS)
    await expect(moving).to_contain_text("nothing is done twice")
    await expect(sure.get_by_role("button", name="Ask again")).to_be_visible()
    await is_fine(tab)
    anew = await wish(same, "Take", "20", "minibar")
    await anew.get_by_role("button", name="Yes").click()
    await expect(same.get_by_role("alert")).to_contain_text("is not settled yet", timeout=WAIT_MS)
    await expect(same.get_by_role("form", name="Take")).to_have_count(0, timeout=WAIT_MS)
    await is_fine(other)
    till.account.knobs = TAME
    await sure.get_by_role("button", name="Ask again").click()
    await expect(moving).to_have_attribute("data-state", "done", timeout=WAIT_MS)
    await expect(same.locator("[data-movement='capture']")).to_have_attribute("data-state", "done", timeout=WAIT_MS)
    assert moved(till) == [("hold", 15_000), ("capture", 4_500)]


async def test_the_clerk_may_leave_and_the_house_learns_it_and_a_refusal_says_why(lobby: Lobby, till: Till) -> None:
    await held(lobby)
    till.account._hook = None  # no event comes: what became of it is only asked
    tab, card = await at_payments(lobby)
    till.account.knobs = msgspec.structs.replace(TAME, broken_after=1.0)
    form = card.get_by_role("form", name="Let go")
    await form.get_by_label("Why all of it is let go").fill("paid in cash")
    await form.get_by_role("button").click()
    await card.get_by_role("button", name="Yes, let go €150.00").click()
    await expect(card.locator("[data-movement='release']")).to_have_attribute("data-state", "unknown", timeout=WAIT_MS)
    await tab.page.close()
    till.account.knobs = TAME
    lobby.desk.site.clock.advance(UNSETTLED_MS + 1)
    await lobby.desk.site.payments.settle_due({AURORA.id: AURORA})
    _, after = await at_payments(lobby)
    await expect(after).to_have_attribute("data-state", "released")
    await expect(after.locator("[data-movement='release']")).to_have_attribute("data-state", "done")
    assert moved(till) == [("hold", 15_000), ("release", 15_000)]


async def test_a_refusal_of_the_provider_is_said_with_its_reason(lobby: Lobby, till: Till) -> None:
    await held(lobby)
    till.account._hook = None  # no event comes: what became of it is only asked
    tab, card = await at_payments(lobby)
    next(iter(till.account.stripe.intents.values()))["status"] = "canceled"
    sure = await wish(card, "Take", "45", "minibar")
    await sure.get_by_role("button", name="Yes").click()
    refused = card.locator("[data-movement='capture']")
    await expect(refused).to_contain_text("the card’s hold is not there any more. Nothing was done.", timeout=WAIT_MS)
    await expect(card).to_have_attribute("data-state", "released", timeout=WAIT_MS)
    await is_fine(tab)
    viewer = await console(lobby, f"payments/{STAY}", "viewer")
    await expect(viewer.page.get_by_text("No payments here")).to_be_visible(timeout=WAIT_MS)


@pytest.mark.parametrize("name", ["Hotel Aurora", "Grand Hotel Kaiserin Elisabeth am Donaukanal"])
async def test_a_phone_shows_the_hotels_whole_name(lobby: Lobby, name: str) -> None:
    async with lobby.desk.site.database.transaction() as connection:
        await connection.execute("UPDATE platform.property SET name = %s WHERE id = 'aurora'", [name])
    for path in ("arrivals", f"payments/{STAY}"):
        tab = await console(lobby, path, "staff", (390, 844))
        title = tab.page.get_by_role("heading", level=1)
        await expect(title).to_have_text(name, timeout=WAIT_MS)
        assert await title.evaluate(
            "each => each.scrollWidth <= each.clientWidth && each.scrollHeight <= each.clientHeight + 1"
        )
        assert not await tab.is_wider_than_screen()
