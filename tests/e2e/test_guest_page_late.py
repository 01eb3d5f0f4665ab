"""Leaving later, on the guest's page in Chromium: offered, asked for, answered, taken back, too late to answer."""

from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Route, expect

from tests.e2e.guest_house import AXE, House
from tests.e2e.test_guest_page import NOTHING_ASKED

pytestmark = [
    pytest.mark.tier("chromium"),
    pytest.mark.usefixtures("built"),
    pytest.mark.requirement("STY-09"),
]
OFFERED: dict[str, Any] = {
    "why_not": None,
    "zone": "Europe/Vienna",
    "ends_at": "2090-01-02T10:00:00.000Z",
    "latest": "2090-01-02T14:00:00.000Z",
    "alone_until": "2090-01-02T12:00:00.000Z",
    "house_knows": True,
    "wish": None,
}


def wished(state: str, *, until: str = "2090-01-02T13:00:00.000Z", reason: str | None = None) -> dict[str, Any]:
    return {"id": "lw-1", "until": until, "state": state, "reason": reason, "alone": False}


@pytest.mark.guarantee("G17")
async def test_a_guest_asks_to_leave_later_and_reads_what_became_of_it(house: House, tmp_path: Path) -> None:
    tab = await house.tab()
    said, asked = [dict(OFFERED)], list[tuple[str, str]]()

    async def answer(route: Route) -> None:
        request = route.request
        what = request.url.rpartition("/")[2]
        if what == "session":
            await route.fulfill(status=200, json=NOTHING_ASKED)
        elif what == "check-in":
            bundle = house.bundle(request.post_data_json["phone_public_key"], "door-101")  # type: ignore[index]  # our own page's body
            await route.fulfill(status=200, json={"bundle": bundle, "stay": {}})
        elif what == "late-check-out":
            if request.method == "POST":
                asked.append((request.method, request.post_data or ""))
                said[0] = OFFERED | {"wish": wished("asked")}
            elif request.method == "DELETE":
                asked.append((request.method, ""))
                said[0] = OFFERED | {"wish": wished("withdrawn")}
            await route.fulfill(status=200, json=said[0])
        else:
            await route.fulfill(status=503, json={"reason": "edge_away"})

    await tab.page.context.route("**/api/v1/**", answer)
    await tab.page.goto(f"{house.address}/guest/#check-in=aurora/stay-7/{'t' * 32}")
    late = tab.page.locator(".late")
    await expect(late).to_contain_text("Check-out is at 11:00.")
    hours = late.get_by_label("I would like to stay until")
    assert await hours.locator("option").all_text_contents() == [
        *("11:30", "12:00", "12:30", "13:00", "13:30", "14:00", "14:30", "15:00")
    ]
    assert await tab.violations(AXE.read_text(encoding="utf-8")) == []
    await late.screenshot(path=tmp_path / "offered.png")
    await hours.select_option("14:00")
    await late.get_by_role("button", name="Ask for it").click()
    await expect(late).to_contain_text("You asked to stay until 14:00. The front desk will answer here.")
    await expect(late.get_by_role("combobox")).to_have_count(0)
    assert asked == [("POST", '{"until":"14:00"}')]
    await late.get_by_role("button", name="Take it back").click()
    await expect(hours).to_be_visible()
    assert asked[1:] == [("DELETE", "")]

    async def shows(wish: dict[str, Any] | None, text: str, **over: Any) -> None:
        said[0] = OFFERED | {"wish": wish} | over
        await tab.page.reload()
        await expect(late).to_contain_text(text)

    await shows(wished("refused", reason="The house is full."), "You cannot stay until 14:00. Check-out is at 11:00.")
    await expect(late).to_contain_text("“The house is full.”")
    assert (await hours.locator("option").all_text_contents())[-1] == "13:30", "less than what was refused"
    await shows(wished("granted"), "You may stay until 14:00.", ends_at="2090-01-02T13:00:00.000Z")
    await expect(late).not_to_contain_text("The doors have not heard of it yet")
    await shows(wished("granted"), "The doors have not heard of it yet", house_knows=False)
    await shows(wished("overtaken"), "What you asked for (until 14:00) holds no longer.")
    await shows(
        wished("asked"), "Nobody answered your wish to stay until 14:00 in time.", ends_at="2020-01-02T10:00:00Z"
    )
    await expect(late.get_by_role("button")).to_have_count(0)
    for width, name in ((360, "phone"), (1280, "desk")):
        await tab.page.set_viewport_size({"width": width, "height": 740})
        assert await tab.page.evaluate("document.documentElement.scrollWidth") <= width
        await tab.page.screenshot(path=tmp_path / f"{name}.png", full_page=True)
    assert await tab.violations(AXE.read_text(encoding="utf-8")) == []
    await tab.page.locator("select.language").select_option("ar")
    await expect(late).to_contain_text("لم يُجب أحد في الوقت المناسب")
    await tab.page.set_viewport_size({"width": 360, "height": 740})
    assert await tab.page.evaluate("document.documentElement.scrollWidth") <= 360
    said[0] = OFFERED | {"why_not": "not_offered", "latest": None}
    await tab.page.reload()
    await expect(tab.page.locator(".stay-keys")).to_be_visible()
    await expect(late).to_have_count(0)
