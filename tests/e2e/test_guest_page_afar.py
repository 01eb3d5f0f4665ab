"""A browser without Web Bluetooth opens a door of another maker: the page signs, the house judges, a controller opens.

Between the two stands only what a line is: the route hands the request to the node's own command and its word back, as
cloud/public/opening_routes.py does (tests/cloud/public/test_openings.py). The controller is UniFi's emulator.
"""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
from playwright.async_api import BrowserContext, Route, expect

from edge.app import door_commands
from edge.doors.client import DoorsClient
from firmware_bridges.lock_systems.misbehaviour import TAME
from protocols.device_model.identity import EdgeId
from protocols.link.documents import CommandEnvelope
from tests.e2e.guest_house import AXE, a_house
from tests.e2e.guest_page import GuestPage
from tests.e2e.test_guest_page import NOTHING_ASKED
from tests.edge.doors.vendors.test_mixed_estate import ANNEX, STAY
from tests.edge.doors.vendors.test_mixed_estate import House as Estate

pytestmark = [pytest.mark.tier("chromium"), pytest.mark.usefixtures("built")]
BROKEN = msgspec.structs.replace(TAME, fault_after=1.0)
LINK = f"aurora/{STAY}/{'t' * 32}"


@dataclass
class Line:
    """The way from the page to the doors process and back. `cut`: nothing passes; `away`: the house is."""

    estate: Estate
    doors: DoorsClient
    cut: bool = False
    away: bool = False
    carried: list[str] = field(default_factory=list)

    async def answer(self, route: Route) -> None:
        asked = route.request
        body = cast("dict[str, Any]", asked.post_data_json) if asked.method == "POST" else {}
        if self.cut:
            await route.abort()
        elif asked.url.endswith("/session"):
            await route.fulfill(status=200, json=NOTHING_ASKED)
        elif asked.url.endswith("/check-in"):
            point = bytes.fromhex(body["phone_public_key"])
            now_ms, until_ms = self.now_ms(), self.now_ms() + 86_400_000
            told = await self.doors.issue(
                STAY, ANNEX, point, not_before_ms=now_ms, not_after_ms=until_ms, zones=0, join=bool(self.carried)
            )
            await route.fulfill(status=200, json={"bundle": told, "stay": {}})
        elif asked.url.endswith("/door-openings"):
            self.carried.append(body["request"])
            if self.away:
                await route.fulfill(status=503, json={"reason": "edge_away", "may_have_taken_effect": False})
                return
            self.now_ms()
            number = len(self.carried)
            edge, args = EdgeId("e-aurora0000000001"), {"request": body["request"]}
            command = CommandEnvelope(edge, f"c-{number}", f"k-{number}", "open_door", args, 2**50, 0)
            said = await door_commands.obey(self.doors, command)
            reason = said.get("reason") if said["read_back"] == "refused" else None
            await route.fulfill(status=200, json={"outcome": said["read_back"], "reason": reason})
        else:
            await route.fulfill(status=503, json={"reason": "edge_away"})

    def now_ms(self) -> int:
        """Let the house's clock be the browser's, which is the machine's."""
        clock = self.estate.building.clock
        clock.advance(max(0, round(time.time() * 1_000) - clock.wall_ms()))
        return clock.wall_ms()


@asynccontextmanager
async def at_the_door(folder: Path) -> AsyncIterator[tuple[GuestPage, Line]]:
    """A phone whose browser has no Bluetooth, with the keys of a stay behind a controller that opens from afar."""
    estate = Estate(folder)
    clock = estate.building.clock
    clock.step_wall(round(time.time() * 1_000) - clock.wall_ms())
    async with estate.running() as doors, a_house(folder / "ours") as house:
        line = Line(estate, doors)
        context: BrowserContext = await house.context()
        await context.route("**/api/v1/**", line.answer)
        tab = await house.tab(context)
        await tab.page.goto(f"{house.address}/guest/#check-in={LINK}")
        await expect(tab.page.locator('[data-rooms="a1"]')).to_have_attribute("data-standing", "pin")
        yield tab, line


async def ask(tab: GuestPage) -> None:
    """Mean it: two acts, by touch."""
    await tab.page.get_by_role("button", name="Open from here: a1").click()
    await tab.page.get_by_role("button", name="Yes, open now").click()


async def said(tab: GuestPage, word: str) -> None:
    await expect(tab.page.locator('[data-remote="annex-a1"]')).to_have_attribute("data-said", word)


@pytest.mark.guarantee("G13")
@pytest.mark.requirement("A11", "A15", "P15", "CHK-10")
async def test_a_phone_without_bluetooth_opens_a_foreign_door_by_two_acts_and_only_then(tmp_path: Path) -> None:
    axe = AXE.read_text(encoding="utf-8")
    async with at_the_door(tmp_path) as (tab, line):
        door, page = line.estate.unifi.doors["annex-door"], tab.page
        assert await page.evaluate("'bluetooth' in navigator") is False
        first = page.get_by_role("button", name="Open from here: a1")
        await first.focus()
        await page.keyboard.press("Enter")
        sure = page.get_by_role("group", name="Open a1 now?")
        await expect(sure).to_contain_text("Whoever stands at the door can walk in")
        await expect(page.get_by_role("button", name="Yes, open now")).to_be_focused()
        assert await tab.violations(axe) == []
        await page.screenshot(path=tmp_path / "sure.png", full_page=True)
        await page.keyboard.press("Escape")
        await expect(first).to_be_focused()
        await first.click()
        await page.get_by_role("button", name="Not now").click()
        await expect(first).to_be_focused()
        assert (line.carried, door.opened) == ([], 0)
        await page.keyboard.press("Enter")
        await page.keyboard.press("Enter")
        await said(tab, "opened")
        assert (len(line.carried), door.opened) == (1, 1)
        await expect(tab.announcer).to_contain_text("The lock says that it is open")
        await expect(page.get_by_test_id("remote-outcome")).to_contain_text("Press the handle within a few seconds")
        await expect(page.get_by_test_id("remote-outcome")).not_to_contain_text("PIN")
        assert await tab.violations(axe) == []
        assert not await tab.is_wider_than_screen()
        await page.screenshot(path=tmp_path / "opened.png", full_page=True)


@pytest.mark.requirement("A11", "A4")
async def test_what_did_not_open_is_said_as_it_is_with_the_other_ways_in(tmp_path: Path) -> None:
    async with at_the_door(tmp_path) as (tab, line):
        door, page = line.estate.unifi.doors["annex-door"], tab.page
        outcome = page.get_by_test_id("remote-outcome")
        # no two in a row have the same word: what is seen is never that of the asking before
        line.away = True
        await ask(tab)
        await said(tab, "hotel_away")
        await expect(outcome).to_contain_text("Your PIN works at the door all the same")
        line.away = False
        line.estate.trouble(BROKEN)  # not a script: the house asks what happened, too
        await ask(tab)
        await said(tab, "unknown")
        line.estate.trouble(TAME)
        carried, opened = len(line.carried), door.opened
        await page.context.set_offline(offline=True)
        await ask(tab)
        await said(tab, "phone_off_line")
        await expect(outcome).to_contain_text("Nothing was asked")
        await page.context.set_offline(offline=False)
        line.cut = True
        await ask(tab)
        await said(tab, "unknown")
        await expect(outcome).to_contain_text("The door may have opened")
        line.cut = False
        assert (len(line.carried), door.opened) == (carried, opened) == (2, opened)
        await page.set_viewport_size({"width": 360, "height": 740})
        await page.locator("select").first.select_option("ar")
        await expect(outcome).to_contain_text("جرّب المقبض")
        assert not await tab.is_wider_than_screen()
        assert await tab.violations(AXE.read_text(encoding="utf-8")) == []
        await page.screenshot(path=tmp_path / "unknown-ar.png", full_page=True)
        await page.locator("select").first.select_option("en")
        await line.doors.end_stay(STAY)
        await ask(tab)
        await said(tab, "not_yours")
        await expect(outcome).to_contain_text("The door was not opened")
        assert door.opened == opened
