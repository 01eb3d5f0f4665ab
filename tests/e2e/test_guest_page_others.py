"""The guest's page of a stay whose room is behind another maker's lock, in Chromium: PIN, card, app, and what to do."""

import time
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Route, expect

from protocols.door.vendor_keys import VendorKey, VendorMedium, VendorState, keys_alone
from tests.e2e.guest_house import AXE, DAY_S, HOUR_S, House
from tests.e2e.test_guest_page import NOTHING_ASKED

pytestmark = [pytest.mark.tier("chromium"), pytest.mark.usefixtures("built")]


@pytest.mark.guarantee("G3", "G17")
@pytest.mark.requirement("A15", "CHK-10")
async def test_a_pin_a_card_and_what_is_not_sure_yet_are_told_and_there_with_no_network(
    house: House, tmp_path: Path
) -> None:
    tab = await house.tab()
    now_s = int(time.time())  # the browser's clock is the machine's
    begins_ms, ends_ms = (now_s - HOUR_S) * 1_000, (now_s + 2 * DAY_S) * 1_000
    pin = VendorKey("annex", ("201",), VendorMedium.PIN, VendorState.WANTED, None, None, begins_ms, ends_ms)
    card = VendorKey("tower", ("301",), VendorMedium.CARD, VendorState.WANTED, None, None, begins_ms, ends_ms)
    made = VendorKey(
        "annex", ("201",), VendorMedium.PIN, VendorState.MADE, "accepted-by-vendor", "730941", begins_ms, ends_ms
    )
    told: list[VendorKey] = [pin, card]

    async def answer(route: Route) -> None:
        if route.request.url.endswith("/session"):
            await route.fulfill(status=200, json=NOTHING_ASKED)
            return
        document: dict[str, Any] = keys_alone("stay-7", told, not_before_ms=begins_ms, not_after_ms=ends_ms)
        await route.fulfill(status=200, json={"bundle": document, "stay": {}})

    await tab.page.context.route("**/api/v1/**", answer)
    await tab.page.goto(f"{house.address}/guest/#check-in=aurora/stay-7/{'t' * 32}")
    room = tab.page.locator('[data-rooms="201"]')
    await expect(room).to_have_attribute("data-standing", "under_way")
    await expect(room).to_contain_text("Your key is being made")
    await expect(tab.page.locator('[data-rooms="301"]')).to_contain_text("The front desk writes the card for you")
    told[:] = [made, card]
    await tab.page.get_by_role("button", name="See how it stands").click()
    await expect(room).to_have_attribute("data-standing", "pin")
    await expect(room.get_by_test_id("pin")).to_have_text("730941")
    await expect(room.get_by_test_id("truth")).to_contain_text("has not confirmed yet")
    assert await tab.violations(AXE.read_text(encoding="utf-8")) == []
    await tab.page.set_viewport_size({"width": 360, "height": 740})
    wide = await tab.page.evaluate("document.documentElement.scrollWidth")
    assert wide <= 360, "nothing is beyond the edge of a phone"
    await tab.page.screenshot(path=tmp_path / "others.png", full_page=True)
    await tab.page.context.unroute("**/api/v1/**", answer)
    await tab.page.context.route("**/api/v1/**", lambda route: route.abort())
    await tab.page.reload()
    await expect(room.get_by_test_id("pin")).to_have_text("730941")
    await tab.page.locator("select").first.select_option("ar")
    await expect(room.get_by_test_id("pin")).to_have_attribute("dir", "ltr")
    assert await tab.violations(AXE.read_text(encoding="utf-8")) == []
