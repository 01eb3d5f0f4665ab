"""The real console, in Chromium, against the real cloud of a raised building: what it shows is what is so.

The pages, the cloud, the record path, the edge, the doors and the locks are the real programs; only the guest's
phone, the lock's motor and the PMS are emulated.
"""

import asyncio
import subprocess
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

import pytest
from playwright.sync_api import expect, sync_playwright

from kit.clock import SystemClock
from kit.dice import SystemDice
from protocols.errors import PlatformError
from provisioning.inventory import inventory as inventories
from provisioning.rehearsal.building import Building, LinkPatience, raise_building
from provisioning.rehearsal.phone import Guest
from tests.e2e.console_page import DESK, PHONE, ConsolePage, chromium

T = TypeVar("T")
ROOT: Final = Path(__file__).resolve().parents[2]
AURORA: Final = ROOT / "inventories" / "aurora.toml"
ROOM: Final = "203"
GUEST: Final = "Noor Haddad-Szczepańska"
HOUR_MS: Final = 3_600_000
UP_S: Final = 90.0
SETTLE_S: Final = 60.0
OFFLINE_AFTER_S: Final = 16
PATIENCE: Final = LinkPatience(silent_after="PT12S", offline_after=f"PT{OFFLINE_AFTER_S}S")
LINK_WAIT_MS: Final = 40_000
"""Until a cut line is called offline."""
GUEST_ROOMS: Final = 24


class Hotel:
    """A raised building that a test without an event loop can ask: it lives in a thread of its own."""

    def __init__(self, building: Building, loop: asyncio.AbstractEventLoop) -> None:
        self.building, self._loop = building, loop

    def do(self, action: Coroutine[Any, Any, T]) -> T:
        """Run an action in the building's loop and return what it returned."""
        return asyncio.run_coroutine_threadsafe(action, self._loop).result(UP_S)

    def check_in(self) -> Guest:
        """Book, check in, and hand a phone its keys."""
        return self.do(self._check_in())

    async def _check_in(self) -> Guest:
        clock, (first, _, last) = self.building.clock, GUEST.partition(" ")
        await self.building.pms.add_reservation(
            first_name=first,
            last_name=last,
            room=ROOM,
            start_ms=clock.wall_ms() - HOUR_MS,
            end_ms=clock.wall_ms() + 20 * HOUR_MS,
        )

        async def held() -> str | None:
            stays = (await self.building.edge.stays())["stays"]
            return next((str(stay["id"]) for stay in stays if stay["room"] == ROOM), None)

        stay = await _eventually(held, "the edge never held the stay")
        guest = await self.building.new_guest("noor")
        await guest.receive((await self.building.edge.check_in(stay, guest.public_key))["bundle"])
        return guest

    def open_door(self, guest: Guest) -> None:
        """Open the guest's door as guests do: again, when the air lost the answer."""

        async def opened() -> bool | None:
            return (await guest.open_as_guests_do(f"door-{ROOM}"))["ending"] == "opened" or None

        self.do(_eventually(opened, "the door did not open"))

    def openings(self) -> int:
        """Return how often the motor of the guest's door has run, by the lock's own count."""
        return self.do(self.building.locks.openings(f"door-{ROOM}"))


async def _eventually(probe: Callable[[], Coroutine[Any, Any, T | None]], what: str) -> T:
    seen: object = None
    for _ in range(int(SETTLE_S / 0.2)):
        try:
            found = await probe()
        except PlatformError as error:
            found, seen = None, error
        if found is not None:
            return found
        await asyncio.sleep(0.2)
    raise AssertionError(f"{what}: {seen!r}")


@contextmanager
def raised(folder: Path) -> Iterator[Hotel]:
    """Raise the building in a thread, for the length of the block."""
    loop = asyncio.new_event_loop()
    ready: Future[Building] = Future()
    over = asyncio.Event()

    async def live() -> None:
        try:
            async with raise_building(
                inventories.load(AURORA),
                folder,
                clock=SystemClock(trust="host"),
                dice=SystemDice(),
                seed=5,
                patience=PATIENCE,
                say=lambda _: None,
            ) as building:
                ready.set_result(building)
                await over.wait()
        except BaseException as error:
            if ready.done():
                raise
            ready.set_exception(error)  # whoever waits for the building hears why there is none

    thread = threading.Thread(target=lambda: loop.run_until_complete(live()), name="building")
    thread.start()
    try:
        building = ready.result(UP_S)
        yield Hotel(building, loop)
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join(UP_S)
        assert not thread.is_alive(), "the building did not end"
        loop.close()


@pytest.fixture
def hotel(tmp_path: Path) -> Iterator[Hotel]:
    done = subprocess.run([sys.executable, ROOT / "web" / "build.py"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with raised(tmp_path / "run") as building:
        yield building


@pytest.mark.tier("postgres")
@pytest.mark.tier("nats")
@pytest.mark.tier("chromium")
@pytest.mark.timeout(400)
@pytest.mark.requirement("MPR-01")
@pytest.mark.requirement("UI-02")
@pytest.mark.requirement("ACC-12")
@pytest.mark.guarantee("G17")
def test_the_console_shows_the_hotel_as_it_is_through_a_cut_line_and_back(hotel: Hotel) -> None:
    address = f"http://127.0.0.1:{hotel.building.ports.cloud}"
    with sync_playwright() as playwright, chromium(playwright) as browser:
        context = browser.new_context(viewport={"width": DESK[0], "height": DESK[1]}, locale="en-GB")
        console = ConsolePage(context.new_page(), address)
        console.open()
        expect(console.page.get_by_role("heading", name="Sign in")).to_be_visible()
        console.problems.clear()  # the browser reports the 401 that led here
        console.sign_in(hotel.building.console_token)
        console.wait_live()
        loaded = console.page.evaluate("window.performance.timeOrigin")

        # rooms, as the plan has them and the PMS tells them
        expect(console.property_name).to_have_text("Hotel Aurora")
        ids = console.room_ids()
        assert len([each for each in ids if each.isdigit()]) == GUEST_ROOMS
        expect(console.fact(ROOM, "climate")).to_contain_text("°")
        expect(console.room(ROOM)).to_contain_text("Vacant")
        expect(console.door_log).to_contain_text("No door event has come yet.")
        expect(console.fact(ROOM, "event")).to_contain_text("No door event held")

        # a guest comes, and a door opens
        guest = hotel.check_in()
        expect(console.room(ROOM)).to_contain_text(GUEST, timeout=30_000)
        expect(console.room(ROOM)).to_contain_text("In house", timeout=30_000)
        hotel.open_door(guest)
        console.wait_door_event("opened", f"Room {ROOM}", "Stay s-")
        expect(console.fact(ROOM, "event")).to_contain_text("Opened")
        opened = console.door_log.locator("[data-event='opened']")
        runs = hotel.openings()
        expect(opened).to_have_count(runs)

        # the line is cut: the page says so, and takes nothing of the hotel for the present
        console.wait_link("online")
        hotel.do(hotel.building.line.cut())
        hotel.open_door(guest)  # the hotel goes on
        expect(console.link).to_have_attribute("data-state", "offline", timeout=LINK_WAIT_MS)
        expect(console.silence).to_contain_text("Nothing heard from Hotel Aurora for")
        console.wait_age(console.last_heard, least_s=OFFLINE_AFTER_S)
        expect(console.stale_ages.nth(GUEST_ROOMS)).to_be_attached()
        expect(console.room(ROOM)).to_have_attribute("data-held", "true")
        expect(console.door_log).to_contain_text("come when its line is back")
        assert hotel.openings() > runs
        expect(opened).to_have_count(runs)  # what happened since cannot be known here, and is not made up
        expect(console.stream).to_have_attribute("data-phase", "live")
        expect(console.announcer).to_contain_text("Offline")

        # the line is back: what the lock's motor did arrives, late and said to be late; nothing stays marked as old
        hotel.do(hotel.building.line.restore())
        expect(console.link).to_have_attribute("data-state", "online", timeout=LINK_WAIT_MS)
        expect(opened).to_have_count(hotel.openings(), timeout=30_000)
        expect(opened.first).to_contain_text("later")
        expect(console.room(ROOM)).not_to_have_attribute("data-held", "true", timeout=30_000)
        assert [console.lane(name).gaps for name in ("A", "B", "C")] == [0, 0, 0]

        assert console.page.evaluate("window.performance.timeOrigin") == loaded, "never reloaded"
        assert console.problems == []
        assert console.strangers == []

        console.page.set_viewport_size({"width": PHONE[0], "height": PHONE[1]})
        assert not console.is_wider_than_screen()
        console.show_doors()
        expect(opened).to_have_count(hotel.openings())
        context.close()
