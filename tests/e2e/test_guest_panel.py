"""The desk asks who comes with a stay: his visit and his wishes, noted by keyboard; and nobody else is asked about."""

import pytest
from playwright.async_api import expect

from tests.cloud.checkin.front_desk import STAY
from tests.cloud.conftest import database as database
from tests.cloud.conftest import dsn as dsn
from tests.cloud.conftest import postgres as postgres
from tests.cloud.guests.houses import read, rows, said, stayed
from tests.cloud.public.conftest import site as site
from tests.e2e.console_page import DESK, PHONE
from tests.e2e.guest_page import WAIT_MS
from tests.e2e.test_check_in_page import Lobby
from tests.e2e.test_check_in_page import lobby as lobby
from tests.e2e.test_conflicts_page import console, is_fine

pytestmark = [
    pytest.mark.tier("chromium"),
    pytest.mark.tier("postgres"),
    pytest.mark.usefixtures("built"),
    pytest.mark.requirement("GST-21", "GST-22"),
    pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"]),
]
READS = "SELECT FROM platform.audit WHERE action = 'guest.read'"


async def test_who_comes_again_is_greeted_as_such_and_his_wishes_are_kept(lobby: Lobby, size: tuple[int, int]) -> None:
    database = lobby.desk.site.database
    await stayed(database, "past", "c1", days_ago=200, room="102")
    await read(database, said("r1", "c1"))
    tab = await console(lobby, "/arrivals", size)
    stay = tab.page.locator(f"[data-stay='{STAY}']")
    who = stay.get_by_role("button", name="Guest profile of")
    await expect(who).to_have_attribute("aria-expanded", "false", timeout=WAIT_MS)
    assert await rows(database, READS) == [], "who only looks at the list asks about nobody"
    await who.press("Enter")
    await expect(stay.get_by_test_id("visit")).to_have_text("Anna Berger, 2nd visit", timeout=WAIT_MS)
    await is_fine(tab)
    wishes = stay.get_by_role("form", name="What ")
    await wishes.get_by_label("Floor").select_option("a high one")
    await wishes.get_by_label("Smoking").select_option("no smoking")
    await wishes.get_by_role("button", name="Note it").press("Enter")
    await expect(stay.get_by_role("status")).to_contain_text("Noted", timeout=WAIT_MS)
    for _ in range(2):  # away and here again: as it was noted
        await who.press("Enter")
    await expect(wishes.get_by_label("Floor")).to_have_value("high", timeout=WAIT_MS)
    await expect(wishes.get_by_label("Smoking")).to_have_value("false")
    await expect(wishes.get_by_label("Bed")).to_have_value("")
    assert len(await rows(database, READS)) == 2


async def test_a_stay_whose_guest_the_pms_does_not_name_says_so(lobby: Lobby, size: tuple[int, int]) -> None:
    tab = await console(lobby, "/arrivals", size)
    stay = tab.page.locator(f"[data-stay='{STAY}']")
    await stay.get_by_role("button", name="Guest profile of").press("Enter", timeout=WAIT_MS)
    await expect(stay.get_by_role("status")).to_contain_text("does not say which guest", timeout=WAIT_MS)
    await expect(stay.get_by_test_id("visit")).to_have_count(0)
