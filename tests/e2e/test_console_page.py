"""The operations console, built, in Chromium, against the mock cloud of the web workspace."""

import json
import os
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from cloud.public.web import POLICY
from tests.e2e.console_page import DESK, PHONE, ConsolePage, Scheme, age_s, chromium

ROOT: Final = Path(__file__).parent.parent.parent
WEB: Final = ROOT / "web"
AXE: Final = WEB / "node_modules" / "axe-core" / "axe.min.js"
EVENTS_AT_ONCE: Final = 50
STREAM_SILENT_AFTER_MS: Final = 10_000  # packages/api/src/live.ts
MOCK_ROOMS: Final = ["lobby", "plant", *(f"{floor}0{n}" for floor in (1, 2, 3) for n in range(1, 9))]
# What the browser itself says when a cloud is away; the page can neither prevent nor silence it.
LINE_DOWN: Final = ("Failed to load resource", "WebSocket connection to")

pytestmark = [pytest.mark.tier("chromium"), pytest.mark.requirement("MPR-01"), pytest.mark.requirement("UI-02")]


class MockCloud:
    """web/mock/server.mjs in its own process, and the knobs that it has."""

    def __init__(self, port: int) -> None:
        self.address = f"http://127.0.0.1:{port}"

    def turn(self, knob: str, **settings: object) -> None:
        """Turn a knob; raises if the mock knows none such."""
        query = "&".join(f"{name}={value}" for name, value in settings.items())
        with urllib.request.urlopen(f"{self.address}/mock/{knob}?{query}", timeout=10) as answer:  # noqa: S310 - an address of our own server
            assert json.load(answer) == {"ok": True}


def node_program() -> Path:
    """Return the Node that web/build.py chooses."""
    chosen = subprocess.run(
        [sys.executable, str(WEB / "build.py"), "--which"], check=True, capture_output=True, text=True, env=os.environ
    )
    return Path(chosen.stdout.strip())


@contextmanager
def running_mock(*arguments: str) -> Iterator[MockCloud]:
    command = [str(node_program()), str(WEB / "mock" / "server.mjs"), "--still", "--policy", POLICY, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield MockCloud(json.loads(process.stdout.readline())["port"])
        finally:
            process.terminate()


@pytest.fixture(scope="module", autouse=True)
def _built() -> None:
    again = [] if AXE.exists() else ["--force"]  # a build kept from elsewhere came without its tools
    command = [sys.executable, str(WEB / "build.py"), *again]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright, chromium(playwright) as started:
        yield started


@pytest.fixture
def cloud() -> Iterator[MockCloud]:
    with running_mock() as mock:
        yield mock


@contextmanager
def tab(
    browser: Browser, address: str, *, size: tuple[int, int] = DESK, scheme: Scheme = "light", still: bool = True
) -> Iterator[ConsolePage]:
    """One tab. When it closes, nothing may have been complained of but a line that was down, nor asked of strangers."""
    context = browser.new_context(
        viewport={"width": size[0], "height": size[1]},
        color_scheme=scheme,
        reduced_motion="reduce" if still else "no-preference",
        locale="en-GB",
    )
    try:
        console = ConsolePage(context.new_page(), address)
        yield console
        assert [problem for problem in console.problems if not any(word in problem for word in LINE_DOWN)] == []
        assert console.strangers == []
    finally:
        context.close()


@pytest.fixture
def console(browser: Browser, cloud: MockCloud) -> Iterator[ConsolePage]:
    with tab(browser, cloud.address) as opened:
        opened.open().wait_live()
        yield opened


def test_the_only_property_opens_by_itself_with_every_room_by_floor(console: ConsolePage) -> None:
    expect(console.property_name).to_have_text("Hotel Aurora")
    console.wait_rooms(*MOCK_ROOMS)
    headings = console.page.get_by_role("heading", level=2)
    expect(headings).to_contain_text(["Ground floor", "Floor 1", "Floor 2", "Floor 3", "Door log"])
    console.wait_link("online")
    assert console.lane("A").gaps == 0
    assert console.lane("A").records > 0
    assert console.problems == []


def test_the_page_changes_without_a_reload(console: ConsolePage, cloud: MockCloud) -> None:
    console.page.evaluate("window.sameDocument = true")
    cloud.turn("room", room="101", light="true", temperature="24.7")
    expect(console.fact("101", "light")).to_contain_text("On")
    expect(console.fact("101", "climate")).to_contain_text("24.7°")
    cloud.turn("room", room="101", light="false", temperature="19.2")
    expect(console.fact("101", "light")).to_contain_text("Off")
    expect(console.fact("101", "climate")).to_contain_text("19.2°")
    cloud.turn("lane", lane="A", gaps=3, backlog=120)
    expect(console.link.locator("[data-lane=A] [data-fact=gaps]")).to_contain_text("3 gaps")
    assert console.lane("A").gaps == 3
    assert console.page.evaluate("window.sameDocument") is True


@pytest.mark.guarantee("G17")
def test_every_value_has_an_age_and_ages_grow(console: ConsolePage, cloud: MockCloud) -> None:
    cloud.turn("room", room="101", light="true", temperature="21.0")
    for name in ("light", "climate"):
        young_s = console.wait_age(console.age("101", name), least_s=0, most_s=59)
        console.wait_age(console.age("101", name), least_s=young_s + 2)
    for name in ("presence", "door"):
        assert age_s(console.age("101", name).inner_text()) is not None
    console.wait_age(console.last_heard, least_s=0, most_s=9)
    expect(console.stale_ages).to_have_count(1)  # the climate of 304, which its device left three hours ago


@pytest.mark.guarantee("G17")
def test_ages_go_by_the_clock_of_the_cloud_not_of_the_reader(browser: Browser, cloud: MockCloud) -> None:
    with tab(browser, cloud.address) as console:
        console.page.clock.install(time="2019-03-01T08:00:00Z")
        console.open().wait_live()
        cloud.turn("room", room="101", temperature="21.0")
        console.wait_age(console.age("101", "climate"), least_s=1, most_s=59)


@pytest.mark.guarantee("G17")
def test_a_silent_hotel_is_said_to_be_silent_and_nothing_of_it_is_shown_as_the_present(
    console: ConsolePage, cloud: MockCloud
) -> None:
    shown = console.fact("102", "climate").inner_text().split()[0]
    cloud.turn("link", state="silent", ago_s=250)
    console.wait_link("silent")
    expect(console.silence).to_contain_text("Nothing heard from Hotel Aurora for 4 min")
    expect(console.announcer).to_have_text("Link to Hotel Aurora: Silent.")
    expect(console.stream).to_have_attribute("data-phase", "live")
    expect(console.page).to_have_title("Silent · Hotel Aurora · Innkeeper")
    expect(console.page.locator("[data-room][data-held]")).to_have_count(len(MOCK_ROOMS))
    assert console.fact("102", "climate").inner_text().split()[0] == shown, "what was last known stays"
    expect(console.age("102", "climate")).to_have_attribute("data-stale", "held")
    expect(console.opener("102")).to_contain_text("last known, not current")
    assert console.lane("A").backlog is None, "how much waits there cannot be known now"

    cloud.turn("link", state="online")
    console.wait_link("online")
    expect(console.silence).to_have_count(0)
    expect(console.page.locator("[data-room][data-held]")).to_have_count(0)
    expect(console.announcer).to_have_text("Link to Hotel Aurora: Online.")


@pytest.mark.guarantee("G17")
def test_a_page_that_lost_its_line_says_so_keeps_what_it_had_and_comes_back(
    console: ConsolePage, cloud: MockCloud
) -> None:
    cloud.turn("outage", on="true")
    expect(console.stream_lost).to_contain_text("This page has lost its line to the cloud")
    expect(console.stream).to_have_attribute("data-phase", "lost")
    expect(console.link).to_contain_text("Was online")
    expect(console.announcer).to_contain_text("lost its line")
    console.wait_rooms(*MOCK_ROOMS)
    expect(console.age("102", "climate")).to_have_attribute("data-stale", "held")
    expect(console.stream_lost).to_contain_text("The cloud did not answer")
    cloud.turn("outage", on="false")
    console.wait_live()
    expect(console.stream_lost).to_have_count(0)


@pytest.mark.guarantee("G17")
def test_a_stream_that_is_open_but_mute_is_called_dead_within_two_ticks(browser: Browser, cloud: MockCloud) -> None:
    with tab(browser, cloud.address) as console:
        console.page.clock.install()
        console.open().wait_live()
        cloud.turn("freeze", on="true")
        console.page.clock.fast_forward(STREAM_SILENT_AFTER_MS)
        expect(console.stream).to_have_attribute("data-phase", "lost")
        expect(console.stream_lost).to_contain_text("gone quiet")
        cloud.turn("freeze", on="false")
        console.page.clock.fast_forward(STREAM_SILENT_AFTER_MS)  # the try that met the mute cloud is given up
        console.wait_live()


@pytest.mark.guarantee("G17")
def test_words_that_make_no_sense_do_not_break_the_page(console: ConsolePage, cloud: MockCloud) -> None:
    cloud.turn("garbage")
    console.wait_live()
    cloud.turn("room", room="103", temperature="17.3")
    expect(console.fact("103", "climate")).to_contain_text("17.3°")


def test_what_happens_at_a_door_appears_in_the_log_in_plain_words(console: ConsolePage, cloud: MockCloud) -> None:
    expect(console.door_events).to_have_count(EVENTS_AT_ONCE)
    cloud.turn("event", room="201")
    console.wait_door_event("opened", "Room 201", "Opened")
    expect(console.fact("201", "lock")).to_contain_text("Unlocked")
    cloud.turn("event", room="202", event="refused", reason="superseded")
    console.wait_door_event("refused", "Room 202", "Refused", "A newer guest's key has replaced this one.")
    assert console.door_row(0).event == "refused"
    expect(console.door_events).to_have_count(EVENTS_AT_ONCE + 2)
    cloud.turn("event", room="203", late_s=900)
    console.wait_door_event("opened", "Room 203", "reached us 15 min later")
    assert "reached us" not in console.door_row(0).text, "it happened earlier, so it stands lower"


def test_older_door_events_come_when_asked_for(console: ConsolePage) -> None:
    expect(console.door_events).to_have_count(EVENTS_AT_ONCE)
    console.door_log.get_by_role("button", name="Show older").click()
    expect(console.door_events).to_have_count(100)
    console.door_log.get_by_role("button", name="Show older").click()
    expect(console.door_events).to_have_count(140)
    expect(console.door_log).to_contain_text("No older events.")
    console.door_log.get_by_role("button", name="Refused").click()
    expect(console.page.locator("[data-testid=door-event]:not([data-event=refused])")).to_have_count(0)
    expect(console.door_events).not_to_have_count(0)


def test_rooms_can_be_narrowed_to_what_is_sought(console: ConsolePage) -> None:
    console.show_only("attention")
    console.wait_rooms("106", "207", "304")
    console.show_only("all")
    console.find("30")
    console.wait_rooms(*(f"30{n}" for n in range(1, 9)))
    console.find("no such guest")
    expect(console.page.get_by_text("No room fits.")).to_be_visible()


def test_a_room_opens_in_full_with_each_capability_and_its_age_and_has_an_address(
    browser: Browser, cloud: MockCloud
) -> None:
    with tab(browser, cloud.address) as console:
        console.open("aurora", room="304").wait_live()
        expect(console.detail).to_have_attribute("data-room-detail", "304")
        rows = console.detail.get_by_role("row")
        for name in ("Lock", "Lock battery", "Temperature", "Setpoint", "Light", "Presence", "Door contact"):
            row = rows.filter(has=console.page.get_by_role("rowheader", name=name, exact=True))
            expect(row.get_by_test_id("age")).to_have_count(1)
        old = rows.filter(has=console.page.get_by_role("rowheader", name="Temperature", exact=True))
        expect(old).to_contain_text("Old")
        expect(old.get_by_test_id("age")).to_have_attribute("data-stale", "old")
        console.close_room()
        expect(console.page).to_have_url(f"{cloud.address}/#/p/aurora")
        console.page.go_back()
        expect(console.detail).to_be_visible()


def test_the_keyboard_reaches_and_opens_every_room(console: ConsolePage) -> None:
    keyboard = console.page.keyboard
    keyboard.press("Tab")
    expect(console.page.get_by_role("link", name="Skip to content")).to_be_focused()
    keyboard.press("Enter")
    console.wait_focused("lobby")
    for key, room in (
        ("ArrowRight", "plant"),
        ("ArrowDown", "102"),
        ("ArrowDown", "106"),
        ("ArrowRight", "107"),
        ("ArrowUp", "103"),
        ("End", "308"),
        ("Home", "lobby"),
        ("ArrowUp", "lobby"),
    ):
        keyboard.press(key)
        console.wait_focused(room)
    keyboard.press("ArrowDown")
    console.wait_focused("101")
    ring = console.room("101").evaluate("tile => getComputedStyle(tile).outlineStyle")
    assert ring == "solid", "the focus must be seen"
    keyboard.press("Enter")
    expect(console.detail).to_have_attribute("data-room-detail", "101")
    keyboard.press("Escape")
    expect(console.detail).to_have_count(0)
    expect(console.opener("101")).to_be_focused()
    expect(console.page.locator("[data-room] button[tabindex='0']")).to_have_count(1)  # Tab passes them in one step


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_the_page_keeps_the_rules_of_access(
    browser: Browser, cloud: MockCloud, size: tuple[int, int], scheme: Scheme
) -> None:
    axe = AXE.read_text(encoding="utf-8")
    with tab(browser, cloud.address, size=size, scheme=scheme) as console:
        console.open().wait_live()
        assert console.violations(axe) == [], "live"
        console.open_room("304")
        assert console.violations(axe) == [], "one room"
        console.close_room()
        cloud.turn("event", room="202", event="refused", reason="expired", late_s=600)
        cloud.turn("event", room="203", late_s=-86_400)
        cloud.turn("alert", kind="leak", room="203", device="leak-203", detail="water", ahead_s=600)
        cloud.turn("lane", lane="A", gaps=2)
        cloud.turn("link", state="silent", ago_s=400)
        console.wait_link("silent")
        if size == PHONE:
            console.show_doors()
        assert console.violations(axe) == [], "silent"
        cloud.turn("outage", on="true")
        expect(console.stream_lost).to_be_visible()
        assert console.violations(axe) == [], "lost"


@pytest.mark.requirement("UI-08")
def test_a_phone_never_scrolls_sideways(browser: Browser, cloud: MockCloud) -> None:
    with tab(browser, cloud.address, size=PHONE) as console:
        console.open().wait_live()
        assert not console.is_wider_than_screen()
        console.open_room("304")
        assert not console.is_wider_than_screen()
        console.close_room()
        console.show_doors()
        cloud.turn("event", room="202", event="refused", reason="unsupported_version", late_s=7_200)
        console.wait_door_event("refused", "Room 202")
        cloud.turn("link", state="offline", ago_s=90_000)
        console.wait_link("offline")
        assert not console.is_wider_than_screen()
        cloud.turn("outage", on="true")
        expect(console.stream_lost).to_be_visible()
        assert not console.is_wider_than_screen()


def test_who_wants_no_motion_gets_none(browser: Browser, cloud: MockCloud) -> None:
    def moving(console: ConsolePage) -> int:
        cloud.turn("event", room="101", event="refused")
        console.wait_door_event("refused", "Room 101")
        expect(console.fact("101", "event")).to_contain_text("Refused")
        return int(console.room("101").evaluate("tile => tile.getAnimations().length"))

    with tab(browser, cloud.address, still=True) as console:
        console.open().wait_live()
        assert moving(console) == 0


def test_colours_follow_the_device_and_the_reader(browser: Browser, cloud: MockCloud) -> None:
    with tab(browser, cloud.address, scheme="dark") as console:
        console.open().wait_live()
        html = console.page.locator("html")
        expect(html).to_have_attribute("data-mantine-color-scheme", "dark")
        console.page.get_by_role("button", name="Colours: as this device").click()
        expect(html).to_have_attribute("data-mantine-color-scheme", "light")
        console.page.reload()
        expect(html).to_have_attribute("data-mantine-color-scheme", "light")


def test_many_properties_are_listed_what_needs_a_look_first(browser: Browser) -> None:
    with running_mock("--properties", "4") as cloud, tab(browser, cloud.address) as console:
        cloud.turn("link", property="kestrel", state="silent", ago_s=300)
        console.open()
        cards = console.page.get_by_role("list", name="Properties").get_by_role("link")
        expect(cards).to_have_count(4)
        expect(cards.first).to_contain_text("Kestrel House")
        expect(cards.first).to_contain_text("Silent")
        assert console.violations(AXE.read_text(encoding="utf-8")) == []
        console.page.get_by_role("link", name="The Juniper").click()
        console.wait_live()
        expect(console.property_name).to_have_text("The Juniper")
        console.page.get_by_role("link", name="Innkeeper: all properties").click()
        expect(cards).to_have_count(4)


def test_who_is_not_signed_in_is_asked_to_and_comes_back(browser: Browser) -> None:
    with running_mock("--signed-out") as cloud, tab(browser, cloud.address) as console:
        console.open()
        expect(console.page.get_by_role("heading", name="Sign in to see your hotels")).to_be_visible()
        assert console.violations(AXE.read_text(encoding="utf-8")) == []
        console.page.get_by_label("Token", exact=True).fill("a-token")
        console.page.get_by_role("button", name="Sign in").click()
        console.wait_live()
        cloud.turn("session", signed_out="true")
        expect(console.page.get_by_role("heading", name="Sign in to see your hotels")).to_be_visible()
        console.wait_rooms(*MOCK_ROOMS)  # what was known is not taken away


def test_a_property_that_is_not_there_is_said_not_to_be(browser: Browser, cloud: MockCloud) -> None:
    with tab(browser, cloud.address) as console:
        console.open("atlantis")
        expect(console.page.get_by_role("alert")).to_contain_text("There is no property “atlantis” for you here.")


def test_a_hotel_of_three_hundred_rooms_is_shown_whole_and_one_change_draws_one_room(browser: Browser) -> None:
    with running_mock("--floors", "15", "--per-floor", "20") as cloud, tab(browser, cloud.address) as console:
        console.open().wait_live()
        expect(console.rooms).to_have_count(302)
        expect(console.room("1520")).to_be_attached()
        console.page.evaluate(
            """() => {
                window.drawn = new Set()
                const note = (changes) => changes.forEach(({ target }) => {
                    const place = (target.nodeType === 1 ? target : target.parentElement)
                    const tile = place?.closest('[data-room]')
                    if (tile && !place.closest('time')) window.drawn.add(tile.dataset.room)
                })
                const everything = { subtree: true, childList: true, characterData: true, attributes: true }
                new MutationObserver(note).observe(document.body, everything)
            }"""
        )
        cloud.turn("room", room="1007", temperature=27.5)
        expect(console.fact("1007", "climate")).to_contain_text("27.5°")
        assert console.page.evaluate("[...window.drawn]") == ["1007"]
        console.find("1520")
        expect(console.rooms).to_have_count(1)
        assert not console.is_wider_than_screen()


@pytest.mark.guarantee("G17")
def test_an_event_of_a_clock_that_is_ahead_grows_old_and_says_whose_clock_it_was(
    console: ConsolePage, cloud: MockCloud
) -> None:
    cloud.turn("event", room="201", late_s=-11_100)  # the clock at the door is 3 h 05 min ahead
    row = console.wait_door_event("opened", "Room 201", "the clock there is 3 h 05 ahead")
    expect(row).to_have_attribute("data-ahead", "true")
    expect(row.get_by_test_id("clock-ahead")).to_contain_text("Dated ")
    console.wait_age(row.get_by_test_id("age"), least_s=2, most_s=59)
    tile = console.fact("201", "event").get_by_test_id("age")
    expect(tile).to_have_attribute("data-ahead", "true")
    console.wait_age(tile, least_s=3, most_s=59)
    expect(tile).to_have_attribute("title", re.compile("3 h 05 ahead"))
    cloud.turn("event", room="202")
    expect(console.door_events.first).to_contain_text("Room 202")  # what came later stands above it


@pytest.mark.guarantee("G17")
def test_what_needs_a_look_counts_the_line_the_gaps_and_the_rooms_that_are_old(
    browser: Browser, cloud: MockCloud
) -> None:
    with tab(browser, cloud.address) as console:
        console.open().wait_live()
        console.wait_looks(3)  # 106, 207 and 304
        cloud.turn("lane", lane="A", gaps=3)
        cloud.turn("lane", lane="C", gaps=1)
        expect(console.looks).to_contain_text("3 gaps in doors and stays")
        expect(console.looks).to_contain_text("1 gap in readings")
        console.wait_looks(5)
        cloud.turn("link", state="offline", ago_s=900)
        expect(console.looks).to_contain_text("The hotel is off line")
        expect(console.looks).to_contain_text("nothing heard for 15 min")
        expect(console.looks).to_contain_text(f"{len(MOCK_ROOMS)} rooms are not current")
        console.wait_looks(len(MOCK_ROOMS) + 3)
        expect(console.page.locator("[data-filter=attention]")).to_contain_text(str(len(MOCK_ROOMS) + 3))
        console.show_only("attention")
        console.wait_rooms(*MOCK_ROOMS)
        cloud.turn("link", state="online")
        expect(console.looks).not_to_contain_text("off line")
        console.wait_looks(5)


def test_what_the_building_itself_says_is_shown_opened_and_gone_when_it_is_over(
    browser: Browser, cloud: MockCloud
) -> None:
    with tab(browser, cloud.address) as console:
        console.open().wait_live()
        cloud.turn("alert", kind="leak", room="203", device="leak-203", detail="water")
        cloud.turn("alert", kind="fire", detail="fire%20mode%20is%20on", ahead_s=7_200)
        expect(console.looks).to_contain_text("Water leak")
        expect(console.looks).to_contain_text("Fire mode is on")
        console.wait_looks(5)
        expect(console.room("203")).to_have_attribute("data-attention", "Water leak")
        fire = console.looks.locator("li", has_text="Fire mode").get_by_test_id("age")
        expect(fire).to_have_attribute("data-ahead", "true")
        console.looks.get_by_role("button", name="Room 203").click()
        expect(console.detail.get_by_test_id("room-alerts")).to_contain_text("leak-203: water")
        console.close_room()
        console.page.reload()
        console.wait_live()
        expect(console.looks).to_contain_text("Water leak")
        cloud.turn("alert", kind="leak", room="203", cleared="true")
        expect(console.looks).not_to_contain_text("Water leak")
        console.wait_looks(4)
