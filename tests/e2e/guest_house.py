"""An emulated house with a browser in front of its doors: the stage of the tests of the guest's page."""

import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from playwright.async_api import Browser, BrowserContext, async_playwright, expect

from firmware_bridges.innkeeper_lock.one_property import OneProperty
from kit.dice import SeededDice
from tests.e2e.console_page import CHROMIUM, CHROMIUM_ARGUMENTS, PHONE
from tests.e2e.guest_page import BrowserBluetooth, GuestPage, new_tab, served
from tests.firmware_bridges.innkeeper_lock.world import TestClock, World, config, running

ROOT: Final = Path(__file__).parent.parent.parent
WEB: Final = ROOT / "web"
DIST: Final = ROOT / "cloud" / "web" / "dist"
AXE: Final = WEB / "node_modules" / "axe-core" / "axe.min.js"
HOUR_S: Final = 3_600
DAY_S: Final = 86_400
LABELS: Final = {"door-101": "Room 101", "door-102": "Room 102", "door-lobby": "Lobby"}
# What the browser itself says when a server is away or refuses; the page can neither prevent nor silence it.
LINE_DOWN: Final = "Failed to load resource"


@dataclass
class House:
    """Two rooms and a lobby, a browser, and who stands where."""

    world: World
    bluetooth: BrowserBluetooth
    browser: Browser
    address: str
    open_tabs: list[GuestPage]

    @property
    def property(self) -> OneProperty:
        return self.world.property

    async def context(self, **options: Any) -> BrowserContext:
        settings = {"viewport": {"width": PHONE[0], "height": PHONE[1]}, "locale": "en-GB", "reduced_motion": "reduce"}
        return await self.browser.new_context(**{**settings, **options})

    async def tab(self, context: BrowserContext | None = None, **options: Any) -> GuestPage:
        tab = await new_tab(context or await self.context(**options), self.address, self.bluetooth)
        self.open_tabs.append(tab)
        return await tab.open()

    def bundle(self, phone: str, *doors: str, issuer: OneProperty | None = None, **terms: Any) -> dict[str, Any]:
        """A bundle as the hotel hands it over, with the labels that guests read."""
        document = (issuer or self.property).bundle(doors, phone, **terms).to_document()
        for door in document["doors"]:
            door["label"] = LABELS[door["door"]]
        return document

    async def guest(self, *doors: str, tab: GuestPage | None = None, **terms: Any) -> GuestPage:
        """A tab that holds a key, at the first of its doors."""
        tab = tab or await self.tab()
        await tab.take(self.bundle(await tab.phone_key(), *doors, **terms))
        await expect(tab.page.locator("[data-holding]")).to_have_count(1)
        self.bluetooth.chooses = doors[0]
        return tab

    async def set(self, door: str, **knobs: object) -> None:
        await self.world.emulator._obey("set", {"do": "set", "door": door, **knobs})


@asynccontextmanager
async def a_house(folder: Path, *flags: str) -> AsyncIterator[House]:
    now_s = int(time.time())  # the browser's clock is the machine's
    one = OneProperty(SeededDice("property").bytes, now_s)
    one.lock("door-101", room=101)
    one.lock("door-102", room=102)
    one.lock("door-lobby", zones=0b100)
    clock = TestClock()
    clock.step_wall(now_s * 1_000 - clock.wall_ms())
    async with AsyncExitStack() as stack:
        world = await stack.enter_async_context(running(clock, one, config(one, folder)))
        address = await stack.enter_async_context(served(DIST))
        playwright = await stack.enter_async_context(async_playwright())
        arguments = [*CHROMIUM_ARGUMENTS, *flags]
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=arguments)
        stack.push_async_callback(browser.close)
        keys = {door: lock.door_keys(now_s - DAY_S, now_s + DAY_S) for door, lock in one.locks.items()}
        bluetooth = BrowserBluetooth(await world.backend(), keys, lambda door: int(world.truth(door)["time_s"]))
        if flags:
            await stack.enter_async_context(bluetooth.plugged(browser, address))
        house = House(world, bluetooth, browser, address, [])
        yield house
        assert bluetooth.faults == []
        for tab in house.open_tabs:
            assert [problem for problem in tab.problems if LINE_DOWN not in problem] == []
            assert tab.strangers == []
