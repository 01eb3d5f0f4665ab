"""The desk without the internet: the edge and the doors as shipped, no cloud to be had, and a clerk in Chromium."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, time, timedelta
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

import pytest
from playwright.async_api import Browser, Locator, Route, async_playwright, expect

from edge.api.desk_routes import BUILT
from kit.clock import SystemClock
from protocols.device_model import site_plan
from tests.e2e.console_page import CHROMIUM, CHROMIUM_ARGUMENTS, DESK, PHONE
from tests.e2e.guest_house import AXE, DIST, LINE_DOWN
from tests.e2e.guest_page import GuestPage, served
from tests.edge.app.test_process import API, Process, api, program, records, seed_stays, write_edge
from tests.edge.bridges.field import free_port
from tests.edge.doors.building import Building as Locks
from tests.edge.doors.test_process import write_files
from tests.edge.world import HOUR_MS, a_stay

pytestmark = [
    pytest.mark.tier("chromium"),
    pytest.mark.usefixtures("built"),
    pytest.mark.requirement("STY-08", "ACC-04", "CHK-10"),
]
DAY_MS: Final = 24 * HOUR_MS
BY: Final = "Frau Maier"
SIZES: Final = {"desk": DESK, "phone": PHONE, "small": (320, 568)}
TOUCH_LEAST_PX: Final = 44
SMALL: Final = """least => [...document.querySelectorAll('button, input, select, summary')]
    .filter(each => each.checkVisibility() && each.getBoundingClientRect().height < least)
    .map(each => each.outerHTML.slice(0, 120))"""
BLOCKED: Final = """for (const name of ['localStorage', 'sessionStorage'])
    Object.defineProperty(window, name, { get() { throw new DOMException('denied', 'SecurityError') } })"""
SCRIPTS_BYTES_MOST: Final = 360_000
"""Of the page's own code and looks, before compression: a desk opens it in the middle of an outage."""


@dataclass
class DeskHouse:
    """A house whose line is cut, its doors, and browsers in front of it."""

    folder: Path
    edge: Process
    address: str
    browser: Browser
    next_ms: int
    """A night after the end of Anna's stay."""
    tabs: list[GuestPage] = field(default_factory=list)

    @property
    def token(self) -> str:
        return (self.folder / "data" / "desk-token").read_text().strip()

    async def tab(self, link: str, size: tuple[int, int], **options: Any) -> GuestPage:
        viewport = {"width": size[0], "height": size[1]}
        settings = {"viewport": viewport, "locale": "en-GB", "reduced_motion": "reduce", **options}
        tab = GuestPage(await (await self.browser.new_context(**settings)).new_page(), self.address, None)
        self.tabs.append(tab)
        await tab.page.goto(link)
        return tab

    async def desk(self, **options: Any) -> GuestPage:
        return await self.tab(f"{self.address}/desk/", DESK, **options)


@asynccontextmanager
async def desk_house(folder: Path) -> AsyncIterator[DeskHouse]:
    """Run it: Anna is due in a room, Ben the night after the next, and a third guest has left."""
    locks = Locks(folder / "locks")
    locks.store.close()
    write_files(folder, locks)
    plan = site_plan.parse((folder / "site.json").read_bytes())
    write_edge(folder, plan)
    now_ms, port = SystemClock("host").wall_ms(), free_port()
    zone = ZoneInfo(plan.property.zone)
    noon = datetime.combine(datetime.fromtimestamp(now_ms / 1_000, zone).date(), time(12), zone)
    until_ms, next_ms = (int((noon + timedelta(days=days)).timestamp()) * 1_000 for days in (1, 2))  # by the wall
    from_ms = now_ms - HOUR_MS
    room = next(door.room for door in plan.doors if door.number)
    stays = (
        a_stay("s-anna", room, guest_name="Anna Bérger", reservation="N-77")
        | {"expected_from_ms": from_ms, "expected_until_ms": until_ms},
        a_stay("s-ben", room, guest_name="Ben Adler", state="planned")
        | {"expected_from_ms": next_ms, "expected_until_ms": next_ms + DAY_MS},
        a_stay("s-cleo", "102", guest_name="Cleo Weiss", state="left")
        | {"expected_from_ms": from_ms - DAY_MS, "expected_until_ms": from_ms},
    )
    await seed_stays(folder, plan, *stays)
    async with AsyncExitStack() as stack:
        cloud = await stack.enter_async_context(served(DIST))
        settings = (folder / "edge.toml").read_text().replace(API, API.replace("port = 0", f"port = {port}"))
        settings += f'[kiosk]\norigins = ["{cloud}"]\n[uplink]\nhost = "127.0.0.1"\nport = {free_port()}\n'
        (folder / "edge.toml").write_text(settings)
        await stack.enter_async_context(program(folder, "doors", "doors.toml"))
        edge = await stack.enter_async_context(program(folder, "run", "edge.toml"))
        async with api(folder):
            pass
        playwright = await stack.enter_async_context(async_playwright())
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=CHROMIUM_ARGUMENTS)
        stack.push_async_callback(browser.close)
        house = DeskHouse(folder, edge, f"http://127.0.0.1:{port}", browser, next_ms)
        yield house
        for tab in house.tabs:
            assert [problem for problem in tab.problems if LINE_DOWN not in problem] == []
            assert [each for each in tab.strangers if not each.startswith(cloud)] == [], "nothing from another host"


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[DeskHouse]:
    async with desk_house(tmp_path) as it:
        yield it


async def fits(desk: GuestPage, name: str) -> None:
    """See that the page fits and leaves nobody out at either size; keep pictures where somebody asked for them."""
    folder = os.environ.get("INNKEEPER_PICTURES")
    for size, (width, height) in SIZES.items():
        await desk.page.set_viewport_size({"width": width, "height": height})
        if folder is not None:
            await desk.page.screenshot(path=Path(folder) / f"{name}-{size}.png", full_page=True)
        assert not await desk.is_wider_than_screen(), (name, size)
        assert await desk.page.evaluate(SMALL, TOUCH_LEAST_PX) == [], (name, size)
        assert await desk.violations(AXE.read_text(encoding="utf-8")) == [], (name, size)
    await desk.page.set_viewport_size({"width": DESK[0], "height": DESK[1]})


async def sign_in(house: DeskHouse, desk: GuestPage, token: str | None = None) -> None:
    await desk.page.get_by_label("Your name").fill(BY)
    await desk.page.get_by_label("The desk’s token").fill(token or house.token)
    await desk.page.get_by_label("The desk’s token").press("Enter")


async def choose(desk: GuestPage, stay: str) -> Locator:
    """Choose a stay by keyboard; its panel has the focus."""
    await desk.page.locator(f"[data-stay='{stay}']").press("Enter")
    panel = desk.page.locator(f"[data-panel='{stay}']")
    await expect(panel.locator("h2")).to_be_focused()
    return panel


async def look(desk: GuestPage) -> None:
    """Come back to the page, which reads the house anew."""
    await desk.page.evaluate("window.dispatchEvent(new Event('focus'))")


async def code(panel: Locator, button: str) -> str:
    await panel.get_by_role("button", name=button, exact=True).press("Enter")
    picture = panel.locator("svg[data-link]")
    await expect(picture).to_be_visible()
    await expect(panel.get_by_role("timer")).to_contain_text("Good for another ")
    return await picture.get_attribute("data-link") or ""


async def phone(house: DeskHouse, link: str) -> GuestPage:
    taking = await house.tab(link, PHONE)
    await expect(taking.page.locator("[data-house='taken']")).to_be_visible()
    return taking


@pytest.mark.guarantee("G3", "G6", "G11")
async def test_the_desk_without_a_line_gives_keys_to_phones_keeps_a_guest_longer_and_lets_him_go(
    house: DeskHouse,
) -> None:
    desk = await house.desk()
    await fits(desk, "sign-in")
    await sign_in(house, desk, "x" * 64)
    await expect(desk.page.locator("[data-trouble='wrong']")).to_be_visible()
    await expect(desk.page.get_by_label("The desk’s token")).to_be_focused()
    shown = desk.page.get_by_role("button", name="Show the token")  # 64 characters from paper, in the middle of a night
    for kind, pressed in (("text", "true"), ("password", "false")):
        await shown.press("Enter")
        await expect(desk.page.get_by_label("The desk’s token")).to_have_attribute("type", kind)
        await expect(shown).to_have_attribute("aria-pressed", pressed)
    await sign_in(house, desk)
    await expect(desk.page.locator("[data-line='down']")).to_contain_text("has not answered since")
    await expect(desk.page.get_by_test_id("by")).to_have_text(BY)
    assert desk.page.url == f"{house.address}/desk/", "no token in the address"
    await desk.page.get_by_label("Search").fill("berger 77")
    await expect(desk.page.locator("[data-stay]")).to_have_count(1)
    await desk.page.get_by_label("Search").fill("")
    await expect(desk.page.locator("[data-stay]")).to_have_count(3)
    await fits(desk, "list")

    panel = await choose(desk, "s-anna")
    await expect(panel.get_by_test_id("near")).to_be_visible()
    first = await code(panel, "Make a code")
    await fits(desk, "code")
    assert "#house=http%3A%2F%2F127.0.0.1%3A" in first
    second = await code(panel, "Make a new code")
    late = await house.tab(first, PHONE)
    await expect(late.notice("refused")).to_contain_text("not good any more")
    await phone(house, second)
    await look(desk)
    await expect(panel.locator("[data-code='used']")).to_contain_text("of no use to another phone")
    await expect(panel.locator("svg[data-link]")).to_have_count(0)
    await fits(desk, "used")
    await expect(panel.get_by_test_id("state")).to_have_text("In house")
    await expect(panel.get_by_test_id("decided")).to_contain_text(f"Decided here by {BY}. The cloud’s list does not")
    await expect(panel.locator("[data-keys='1']")).to_be_visible()
    waiting = desk.page.get_by_test_id("waiting")
    await expect(waiting).to_contain_text("Records that wait to be told to the cloud")

    longer = panel.get_by_role("button", name="One night longer")
    await longer.press("Enter")
    await longer.press("Enter")
    await expect(panel.get_by_test_id("end-says")).to_contain_text("Then until ")
    await panel.get_by_role("button", name="Save the new end").press("Enter")
    await expect(panel.locator("[data-problem='room_taken']")).to_contain_text("promised to stay s-ben")
    await fits(desk, "refused")
    await panel.get_by_role("button", name="One night shorter").press("Enter")
    await panel.get_by_role("button", name="Save the new end").press("Enter")
    await expect(panel.get_by_test_id("end-done")).to_be_visible()
    await expect(panel.get_by_test_id("decided")).to_contain_text(f"The end of the stay was decided here by {BY}.")
    lost = await phone(house, await code(panel, "Make a new code"))
    await look(desk)
    await expect(panel.locator("[data-keys='2']")).to_be_visible()
    taken = panel.locator("[data-phone]").nth(1)
    await taken.get_by_role("button", name="Take back").press("Enter")
    await taken.get_by_role("button", name="Take the key back").press("Enter")
    await expect(taken.get_by_label("Why")).to_be_focused()
    await taken.get_by_label("Why").fill("lost")
    await taken.get_by_label("Why").press("Enter")
    await expect(taken.get_by_text("Taken back", exact=True)).to_be_visible()
    await expect(taken).to_be_focused()  # what he pressed is gone; he is not thrown back to the top
    await fits(desk, "keys")
    await lost.page.close()

    await panel.get_by_role("button", name="Check out").press("Enter")
    await panel.get_by_role("button", name="No, go back").press("Enter")
    await expect(panel.get_by_role("button", name="Check out")).to_be_focused()
    await desk.page.keyboard.press("Enter")
    await expect(panel.get_by_role("button", name="Yes, check out")).to_be_focused()
    await panel.get_by_role("button", name="Yes, check out").press("Enter")
    await expect(panel.get_by_test_id("state")).to_have_text("Has left")
    await expect(panel.get_by_role("region", name="Departure")).to_be_focused()
    await fits(desk, "left")

    token = house.token
    for tab in house.tabs:
        await tab.page.close()
    await house.edge.end(signal.SIGTERM)
    assert token not in b"".join(house.edge.output).decode()
    [end] = await records(house.folder, "stay_until")
    assert (end.body["stay"], end.body["by"]) == ("s-anna", BY)
    assert end.body["until_ms"] == house.next_ms
    said = [(each.body["stay"], each.body["state"], each.body["by"]) for each in await records(house.folder, "stay")]
    assert said == [("s-anna", "checked_in", BY), ("s-anna", "checked_out", BY)]


@pytest.mark.guarantee("G3", "G7")
async def test_a_house_that_does_not_answer_is_said_what_was_read_stays_and_a_tab_keeps_its_clerk_no_longer_than_itself(
    house: DeskHouse,
) -> None:
    desk = await house.desk(color_scheme="dark")
    await sign_in(house, desk)
    await expect(desk.page.locator("[data-stay]")).to_have_count(3)
    panel = await choose(desk, "s-anna")
    await house.edge.end(signal.SIGTERM)
    await look(desk)
    await expect(desk.page.locator("[data-line='away']")).to_contain_text("may have changed")
    await expect(desk.page.locator("[data-stay]")).to_have_count(3)
    await panel.get_by_role("button", name="Make a code").press("Enter")
    await expect(panel.locator("[data-problem='unknown']")).to_contain_text("it may have been done or not")
    await fits(desk, "away")
    await house.edge.start()
    async with api(house.folder):
        await desk.page.reload()  # a tab goes on where it was
        await expect(desk.page.locator("[data-line='down']")).to_be_visible()
    await desk.page.get_by_role("combobox").select_option("ar")
    await choose(desk, "s-anna")
    assert await desk.page.evaluate("document.documentElement.dir") == "rtl"
    await fits(desk, "arabic")
    await desk.page.get_by_role("combobox").select_option("en")
    kept = "JSON.stringify([localStorage, sessionStorage]) + document.cookie + location.href"
    assert house.token in await desk.page.evaluate(kept)
    other = await desk.page.context.new_page()
    await other.goto(f"{house.address}/desk/")
    await expect(other.get_by_label("The desk’s token")).to_have_value("")
    await other.close()
    await desk.page.locator("[data-stay='s-ben']").press("Enter")
    back = desk.page.get_by_role("button", name="All stays")
    await expect(desk.page.locator("[data-panel='s-ben'] h2")).to_be_focused()
    await desk.page.keyboard.press("Shift+Tab")  # the list is beside it, and one step away
    await expect(back).to_be_focused()
    assert await back.evaluate("each => getComputedStyle(each).clipPath") == "none"
    await back.press("Enter")
    await expect(desk.page.locator("[data-stay='s-ben']")).to_be_focused()
    await desk.page.get_by_role("button", name="Sign out").press("Enter")
    await expect(desk.page.locator("[data-desk='sign-in']")).to_be_visible()
    assert house.token not in await desk.page.evaluate(kept)
    assert "Anna" not in await desk.page.content()
    scripts = [each for each in (BUILT / "assets").iterdir() if each.suffix in {".js", ".css"}]
    assert sum(each.stat().st_size for each in scripts) < SCRIPTS_BYTES_MOST


@pytest.mark.guarantee("G3", "G7")
async def test_where_nothing_is_kept_and_no_zone_is_known_the_desk_works_and_hears_what_came_after_it_went_on(
    house: DeskHouse,
) -> None:
    desk = await house.tab("about:blank", DESK, timezone_id="Asia/Tokyo")
    may_answer = asyncio.Event()

    async def nowhere(route: Route) -> None:
        answer = await route.fetch()
        await route.fulfill(response=answer, json={**await answer.json(), "zone": None})

    async def later(route: Route) -> None:
        answer = await route.fetch()
        await may_answer.wait()
        await route.fulfill(response=answer)

    await desk.page.add_init_script(BLOCKED)
    await desk.page.route("**/api/v1/desk", nowhere)
    await desk.page.route("**/api/v1/stays/*/end", later)
    await desk.page.route("**/api/v1/stays/*/check-out", later)
    await desk.page.goto(f"{house.address}/desk/")
    await sign_in(house, desk)
    await expect(desk.page.get_by_test_id("utc")).to_contain_text("not the hour of the clock on the wall")
    await expect(desk.page.locator("[data-stay='s-anna']")).to_contain_text(" UTC")
    await fits(desk, "utc-list")
    panel = await choose(desk, "s-anna")
    taking = await phone(house, await code(panel, "Make a code"))
    await taking.page.close()
    await look(desk)
    await expect(panel.get_by_test_id("state")).to_have_text("In house")
    await panel.get_by_label("Hour (UTC)").fill("05:00")
    await panel.get_by_role("button", name="Save the new end").press("Enter")
    await panel.get_by_role("button", name="Check out").press("Enter")
    await panel.get_by_role("button", name="Yes, check out").press("Enter")
    await expect(panel.get_by_role("button", name="Checking the guest out")).to_be_visible()
    await fits(desk, "utc-stay")
    await desk.page.set_viewport_size({"width": PHONE[0], "height": PHONE[1]})
    await panel.get_by_role("button", name="All stays").press("Enter")
    await expect(desk.page.locator("[data-stay='s-anna']")).to_be_focused()
    may_answer.set()
    for deed, words in (("end", "The stay now ends on "), ("out", "The guest has left.")):
        await expect(desk.page.locator(f"[data-news='{deed}']")).to_contain_text(words)
        await expect(desk.page.locator(f"[data-news='{deed}']")).to_contain_text("Anna Bérger")
    await fits(desk, "news")
    for left in (1, 0):
        await desk.page.get_by_role("button", name="Close the answer for Anna").first.press("Enter")
        await expect(desk.page.locator("[data-news]")).to_have_count(left)
    await desk.page.keyboard.press("Tab")
    await expect(desk.page.get_by_label("Search")).to_be_focused()  # he goes on from there, and not from the top
    await desk.page.reload()
    await expect(desk.page.get_by_label("The desk’s token")).to_have_value("")
