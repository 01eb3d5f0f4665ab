"""The console as a reader meets it: what a test may ask of the page and do with it.

Speaks in rooms, doors and ages, never in CSS. Works against anything that serves the built page with the cloud's
API: the mock of the web workspace, or the real cloud (`sign_in` first).
"""

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Literal, cast

from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, Playwright, Request, expect

CHROMIUM: Final = "/usr/bin/chromium"
# As root, with no screen and no way to the outside: everything that Chromium would ask the world for is off.
CHROMIUM_ARGUMENTS: Final = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
DESK: Final = (1440, 1000)
PHONE: Final = (390, 844)
Scheme = Literal["light", "dark"]
WAIT_MS: Final = 45_000
expect.set_options(timeout=WAIT_MS)  # what comes may take its time on a slow machine; the default is 5 s
_AGE_UNITS_S: Final = {"s": 1, "min": 60, "d": 86_400}


@dataclass(frozen=True, slots=True)
class DoorRow:
    """One line of the door log, in the page's words."""

    event: str  # as on the wire: opened, refused, ...
    text: str


@dataclass(frozen=True, slots=True)
class Lane:
    """What the link strip says of a lane; `backlog` is None while nobody knows it."""

    records: int
    gaps: int
    backlog: int | None


def age_s(text: str) -> int | None:
    """Return the seconds in an age as the page writes it (7 s, 4 min, 2 h 05, 3 d); None for `never`."""
    words = text.partition(",")[0].replace("ago", "").strip()  # behind it: not current; its clock is ahead
    if words == "never":
        return None
    if (hours := re.fullmatch(r"(\d+) h (\d\d)", words)) is not None:
        return int(hours[1]) * 3600 + int(hours[2]) * 60
    if (plain := re.fullmatch(r"(\d+) (s|min|d)", words)) is not None:
        return int(plain[1]) * _AGE_UNITS_S[plain[2]]
    raise ValueError(f"no age: {text!r}")


@contextmanager
def chromium(playwright: Playwright) -> Iterator[Browser]:
    """Start the system's Chromium and end it."""
    browser = playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=CHROMIUM_ARGUMENTS)
    try:
        yield browser
    finally:
        browser.close()


class ConsolePage:
    """One tab with the console in it. `problems` gathers what the browser complained of."""

    def __init__(self, page: Page, address: str) -> None:
        self.page = page
        self.address = address.rstrip("/")
        self.problems: list[str] = []
        self.strangers: list[str] = []  # requests that left for another host
        page.set_default_timeout(WAIT_MS)
        page.on("console", self._heard)
        page.on("pageerror", lambda error: self.problems.append(f"uncaught: {error}"))
        page.on("request", self._asked)

    def _heard(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.problems.append(f"{message.type}: {message.text}")

    def _asked(self, request: Request) -> None:
        if not request.url.startswith((self.address, "data:", "blob:")):
            self.strangers.append(request.url)

    # Going somewhere

    def sign_in(self, token: str) -> None:
        """Follow a sign-in link; the cloud sets its cookie and leads to the page."""
        self.page.goto(f"{self.address}/sign-in?token={token}")

    def open(self, property_id: str | None = None, room: str | None = None) -> "ConsolePage":
        """Open the console: at its start, at a property, or at a room of it."""
        place = "" if property_id is None else f"#/p/{property_id}" + ("" if room is None else f"/room/{room}")
        self.page.goto(f"{self.address}/{place}")
        return self

    def wait_live(self) -> "ConsolePage":
        """Wait until a property is shown and the page's own stream is live."""
        expect(self.stream).to_have_attribute("data-phase", "live", timeout=WAIT_MS)
        return self

    # The page's own line, and the hotel's

    @property
    def stream(self) -> Locator:
        return self.page.get_by_test_id("stream")

    @property
    def stream_lost(self) -> Locator:
        """The banner that says that the page itself is blind."""
        return self.page.get_by_test_id("stream-lost")

    @property
    def link(self) -> Locator:
        return self.page.get_by_test_id("link")

    @property
    def silence(self) -> Locator:
        """The banner that says that the hotel is not heard."""
        return self.page.get_by_test_id("silence")

    @property
    def announcer(self) -> Locator:
        """What a screen reader is told without asking."""
        return self.page.get_by_test_id("announcer")

    @property
    def property_name(self) -> Locator:
        return self.page.locator("h1")

    @property
    def link_state(self) -> str:
        """online, silent, offline or never."""
        return self.link.get_attribute("data-state") or ""

    def wait_link(self, state: str) -> None:
        expect(self.link).to_have_attribute("data-state", state, timeout=WAIT_MS)

    @property
    def last_heard(self) -> Locator:
        return self.page.get_by_test_id("last-heard")

    def wait_age(self, age: Locator, *, least_s: int, most_s: int = 3_600) -> int:
        """Wait until an age is within bounds; return it. A bound that is one tick wide may be stepped over."""
        end_s = time.monotonic() + WAIT_MS / 1_000
        while (seen_s := age_s(age.inner_text())) is None or not least_s <= seen_s <= most_s:
            assert time.monotonic() < end_s, f"{seen_s} s is not within {least_s} s and {most_s} s"
            self.page.wait_for_timeout(100)
        return seen_s

    def lane(self, name: str) -> Lane:
        facts = self.link.locator(f"[data-lane={name}]")

        def value(fact: str) -> str | None:
            return facts.locator(f"[data-fact={fact}]").get_attribute("data-value")

        backlog = value("backlog")
        return Lane(
            records=int(value("records") or -1),
            gaps=int(value("gaps") or -1),
            backlog=None if backlog is None else int(backlog),
        )

    # Rooms

    @property
    def rooms(self) -> Locator:
        return self.page.get_by_test_id("room-tile")

    def room_ids(self) -> list[str]:
        """Rooms in the order in which they stand."""
        return [each.get_attribute("data-room") or "" for each in self.rooms.all()]

    def wait_rooms(self, *ids: str) -> None:
        """Wait until exactly these rooms are shown, in this order."""
        expect(self.rooms).to_have_count(len(ids))
        for place, room_id in enumerate(ids):
            expect(self.rooms.nth(place)).to_have_attribute("data-room", room_id)

    def opener(self, room_id: str) -> Locator:
        """The button of a room's tile: where the focus stands, and what a screen reader reads out."""
        return self.room(room_id).get_by_role("button")

    def room(self, room_id: str) -> Locator:
        return self.page.locator(f"[data-room='{room_id}']")

    def fact(self, room_id: str, name: str) -> Locator:
        """One fact of a room's tile: lock, event, climate, light, presence or door."""
        return self.room(room_id).get_by_test_id(f"tile-{name}")

    def age(self, room_id: str, name: str) -> Locator:
        """The age that stands beside a fact of a room's tile."""
        return self.fact(room_id, name).get_by_test_id("age")

    def show_only(self, which: Literal["all", "attention", "in_house", "arriving", "vacant"]) -> None:
        self.page.locator(f"[data-filter={which}]").click()

    def find(self, words: str) -> None:
        self.page.get_by_role("searchbox").fill(words)

    @property
    def detail(self) -> Locator:
        """The drawer with one room in full."""
        return self.page.get_by_test_id("room-detail")

    def open_room(self, room_id: str) -> Locator:
        self.room(room_id).click()
        expect(self.detail).to_have_attribute("data-room-detail", room_id)
        return self.detail

    def close_room(self) -> None:
        self.page.get_by_role("button", name="Close room").click()
        expect(self.detail).to_have_count(0)

    # What needs a look

    @property
    def looks(self) -> Locator:
        """The hotel's list of what needs a look."""
        return self.page.get_by_test_id("looks")

    def wait_looks(self, count: int) -> None:
        """Wait until it is so many things."""
        expect(self.looks).to_have_attribute("data-count", str(count))

    # Doors

    @property
    def door_log(self) -> Locator:
        return self.page.get_by_test_id("door-log")

    @property
    def door_events(self) -> Locator:
        return self.door_log.get_by_test_id("door-event")

    def show_doors(self) -> None:
        """On a phone the door log is behind a switch."""
        self.page.get_by_role("radiogroup", name="What to show").get_by_text("Door log").click()
        expect(self.door_log).to_be_visible()

    def door_row(self, index: int = 0) -> DoorRow:
        row = self.door_events.nth(index)
        return DoorRow(event=row.get_attribute("data-event") or "", text=" ".join(row.inner_text().split()))

    def wait_door_event(self, event: str, place: str, *words: str) -> Locator:
        """Wait for a line of the door log: this event (opened, refused, ...) at this place, saying all these words."""
        rows = self.door_events.and_(self.page.locator(f"[data-event='{event}']")).filter(has_text=place)
        for each in words:
            rows = rows.filter(has_text=each)
        expect(rows.first).to_be_visible(timeout=WAIT_MS)
        return rows.first

    # The page as a whole

    @property
    def stale_ages(self) -> Locator:
        """The ages that say that their value is not current."""
        return self.page.locator("time[data-stale]")

    def is_wider_than_screen(self) -> bool:
        """Whether a reader would have to scroll sideways."""
        widths = "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
        wanted, there = cast("tuple[int, int]", self.page.evaluate(widths))
        return wanted > there

    def wait_focused(self, room_id: str) -> None:
        """Wait until the tile of this room has the focus."""
        expect(self.opener(room_id)).to_be_focused()

    def violations(self, axe: str) -> list[str]:
        """Run axe-core (its source text) over the page; return each violation as one line."""
        self.page.evaluate(axe)  # through the debugger: the page's own policy lets no foreign script in
        found = self.page.evaluate(
            "axe.run(document, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice']})"
            ".then(result => result.violations.flatMap(rule => rule.nodes.map(node =>"
            " `${rule.id}: ${node.target.join(' ')}: ${node.failureSummary}`)))"
        )
        return cast("list[str]", found)
