"""The keys of a stay on the main guest's page, in Chromium: who has one, taken back by two acts, which door knows."""

from typing import Any

import pytest
from playwright.async_api import Route, expect

from tests.e2e.guest_house import AXE, House
from tests.e2e.test_guest_page import NOTHING_ASKED

pytestmark = [pytest.mark.tier("chromium"), pytest.mark.usefixtures("built")]
OWN: dict[str, Any] = {
    "key": "a" * 16,
    "mine": True,
    "main": True,
    "since": "2030-01-01T15:00:00.000Z",
    "until": "2030-01-02T11:00:00.000Z",
    "state": "valid",
    "used": {"at": "2030-01-01T15:07:00.000Z", "certain": True, "door": "Room 101"},
    "doors": 2,
    "waiting": [],
    "elsewhere": [],
}
SON = OWN | {"key": "b" * 16, "mine": False, "main": False, "used": None}
GONE = SON | {"state": "taken_back", "waiting": [{"door": "Pool", "contact_at": None}]}


@pytest.mark.guarantee("G4", "G17")
@pytest.mark.requirement("A7")
async def test_the_main_guest_sees_who_has_a_key_and_takes_one_back_by_two_acts(house: House) -> None:
    tab = await house.tab()
    keys, asked = [OWN, SON], list[tuple[str, str]]()

    async def answer(route: Route) -> None:
        request = route.request
        what = request.url.rpartition("/")[2]
        if what == "session":
            await route.fulfill(status=200, json=NOTHING_ASKED)
        elif what == "check-in":
            bundle = house.bundle(request.post_data_json["phone_public_key"], "door-101")  # type: ignore[index]  # our own page's body
            await route.fulfill(status=200, json={"bundle": bundle, "stay": {}})
        elif what in ("keys", "taken-back-keys"):
            asked.append((what, request.post_data or ""))
            if what == "taken-back-keys":
                keys[1] = GONE
            await route.fulfill(status=200, json={"takes_back": True, "keys": keys, "others": []})
        else:
            await route.fulfill(status=503, json={"reason": "edge_away"})

    await tab.page.context.route("**/api/v1/**", answer)
    await tab.page.goto(f"{house.address}/guest/#check-in=aurora/stay-7/{'t' * 32}")
    own = tab.page.locator('[data-mine="true"]')
    son = tab.page.locator('[data-mine="false"]')
    look = tab.page.get_by_role("button", name="See who has a key")
    await expect(look).to_be_visible()
    assert asked == [], "nobody is asked before the guest wants to know"
    await look.click()
    await expect(tab.page.locator(".stay-keys")).to_contain_text("2 phones have a key.")
    await expect(own).to_contain_text("This phone")
    await expect(own).to_contain_text("Opened last: Room 101")
    await expect(own.get_by_role("button")).to_have_count(0)
    await expect(son).to_contain_text("No opening that the hotel has heard of")
    assert await tab.violations(AXE.read_text(encoding="utf-8")) == []
    await son.get_by_role("button", name="Take the key back").click()
    await son.get_by_role("button", name="Leave it").click()
    assert [what for what, _ in asked] == ["keys"]
    await son.get_by_role("button", name="Take the key back").click()
    await son.get_by_role("button", name="Take it back").click()
    gone = son.get_by_test_id("taken-back")
    await expect(gone).to_contain_text("One door has not confirmed it yet: this key may still open it.")
    await expect(gone).to_contain_text("Pool: not heard from yet")
    await expect(tab.page.locator(".stay-keys")).to_contain_text("One phone has a key.")
    assert asked[1:] == [("taken-back-keys", '{"key":"bbbbbbbbbbbbbbbb"}')]
    keys[1] = GONE | {"waiting": []}
    await look.click()
    await expect(gone).to_contain_text("Every door knows.")
    await tab.page.set_viewport_size({"width": 360, "height": 740})
    assert await tab.page.evaluate("document.documentElement.scrollWidth") <= 360
    await tab.page.locator("select").first.select_option("ar")
    await expect(gone).to_contain_text("كل الأبواب تعلم بذلك.")
    assert await tab.violations(AXE.read_text(encoding="utf-8")) == []
