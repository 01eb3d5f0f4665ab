"""Where PMS and house do not agree on a stay, the console says so: at the desk, at the room, in the list."""

from dataclasses import replace
from pathlib import Path

import pytest
from playwright.async_api import expect

from cloud.pms.port import PmsAction
from cloud.stays.ending import EndWord, Promise
from cloud.stays.life import EdgeState
from cloud.stays.reservation import PmsStatus
from cloud.stays.stays import EdgeFact, apply_edge_facts, apply_end_words
from tests.cloud.checkin.front_desk import OTHER, STAY, single
from tests.cloud.conftest import database as database
from tests.cloud.conftest import dsn as dsn
from tests.cloud.conftest import postgres as postgres
from tests.cloud.houses import DAY_MS, NOW_MS, PLACE
from tests.cloud.public.conftest import site as site
from tests.cloud.public.test_stay_wishes import wished
from tests.e2e.console_page import DESK, PHONE
from tests.e2e.guest_house import AXE
from tests.e2e.guest_page import WAIT_MS
from tests.e2e.test_check_in_page import CheckInPage, Lobby
from tests.e2e.test_check_in_page import lobby as lobby

pytestmark = [
    pytest.mark.tier("chromium"),
    pytest.mark.tier("postgres"),
    pytest.mark.usefixtures("built"),
    pytest.mark.guarantee("G2"),
]


async def let_in(lobby: Lobby, room: str) -> None:
    """The building says that its desk let the guest in, with the line cut."""
    fact = EdgeFact(STAY, EdgeState.CHECKED_IN, room, "kiosk", NOW_MS, incarnation=b"i" * 16, seq=1)
    async with lobby.desk.site.database.transaction() as connection:
        await apply_edge_facts(connection, PLACE, [fact], now_ms=NOW_MS)


async def console(lobby: Lobby, path: str, size: tuple[int, int]) -> CheckInPage:
    headers = lobby.desk.site.as_("staff")
    tab = await lobby.tab("about:blank", size=size, extra_http_headers=headers)
    await tab.page.goto(f"{lobby.address}/#/p/aurora{path}")
    return tab


async def is_fine(tab: CheckInPage) -> None:
    assert await tab.violations(AXE.read_text(encoding="utf-8")) == []
    assert not await tab.is_wider_than_screen()


@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
async def test_a_room_sold_twice_is_said_at_the_desk_at_the_room_and_in_the_list(
    lobby: Lobby, size: tuple[int, int]
) -> None:
    await let_in(lobby, "101")
    await lobby.desk.book(replace(single("r2"), guest_name="Noor Haddad"))
    desk = await console(lobby, "/arrivals", size)
    stay = desk.page.locator(f"[data-stay='{OTHER}']")
    await expect(stay.locator("[data-conflict='double_sale']")).to_contain_text(
        "Room 101 is sold twice: Noor Haddad has no room", timeout=WAIT_MS
    )
    await expect(stay).to_contain_text("Give Noor Haddad another room in the PMS.")
    await expect(desk.page.get_by_test_id("disagreed")).to_contain_text("1 stay")
    await expect(desk.page.locator("[data-stay]").first).to_have_attribute("data-stay", OTHER)
    await is_fine(desk)

    hotel = await console(lobby, "", size)
    look = hotel.page.locator("[data-look='stay']")
    await expect(look).to_contain_text("Room 101 is sold twice: Noor Haddad has no room", timeout=WAIT_MS)
    tile = hotel.page.locator("[data-room='101']")
    await expect(tile).to_have_attribute("data-attention", "Room 101 is sold twice: Noor Haddad has no room")
    await is_fine(hotel)
    await look.get_by_role("button", name="Room 101").press("Enter")
    await expect(hotel.page.locator("[data-conflict='double_sale']")).to_contain_text("The other guest keeps the room")
    await is_fine(hotel)
    await hotel.page.keyboard.press("Escape")

    await lobby.desk.book(replace(single("r2", room="102", updated_ms=NOW_MS + 2), guest_name="Noor Haddad"))
    await expect(stay.locator("[data-conflict]")).to_have_count(0, timeout=WAIT_MS)
    await expect(stay).to_contain_text("Room 102")
    await expect(desk.page.get_by_test_id("disagreed")).to_have_count(0)


async def test_a_guest_whom_the_pms_has_elsewhere_or_has_cancelled_stays_where_his_key_is(lobby: Lobby) -> None:
    await let_in(lobby, "101")
    await lobby.desk.book(single(room="102", updated_ms=NOW_MS + 1))
    desk = await console(lobby, "/arrivals", DESK)
    stay = desk.page.locator(f"[data-stay='{STAY}']")
    note = stay.locator("[data-conflict='other_room']")
    await expect(note).to_contain_text("is in Room 101, the PMS says Room 102", timeout=WAIT_MS)
    await expect(note).to_contain_text("nobody is moved behind his back")
    hotel = await console(lobby, "", DESK)
    await expect(hotel.page.locator("[data-look='stay']")).to_have_count(1, timeout=WAIT_MS)
    for room in ("101", "102"):
        await expect(hotel.page.locator(f"[data-room='{room}']")).to_have_attribute(
            "data-attention", "Anna Berger is in Room 101, the PMS says Room 102"
        )
    await lobby.desk.book(single(room="101", updated_ms=NOW_MS + 2, status=PmsStatus.CANCELLED))
    gone = stay.locator("[data-conflict='ended_in_pms']")
    await expect(gone).to_contain_text("He keeps the room and the key until he leaves.", timeout=WAIT_MS)
    await is_fine(desk)


@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
async def test_a_stay_that_the_building_made_longer_is_said_until_the_pms_has_it(
    lobby: Lobby, tmp_path: Path, size: tuple[int, int]
) -> None:
    await let_in(lobby, "101")
    word = EndWord(STAY, 1, Promise(NOW_MS + 2 * DAY_MS, NOW_MS + DAY_MS), "Frau Maier", NOW_MS)
    async with lobby.desk.site.database.transaction() as connection:
        await apply_end_words(connection, PLACE, [word], now_ms=NOW_MS)
    desk = await console(lobby, "/arrivals", size)
    stay = desk.page.locator(f"[data-stay='{STAY}']")
    note = stay.locator("[data-conflict='other_end']")
    await expect(note).to_contain_text("in Room 101 leaves a night later than the PMS says", timeout=WAIT_MS)
    await expect(note).to_contain_text(
        "If this stays, the PMS could not be told, or says otherwise: enter his new departure"
    )
    await is_fine(desk)
    hotel = await console(lobby, "", size)
    await expect(hotel.page.locator("[data-room='101']")).to_have_attribute(
        "data-attention", "Anna Berger in Room 101 leaves a night later than the PMS says", timeout=WAIT_MS
    )
    await is_fine(hotel)
    await desk.page.screenshot(path=tmp_path / "other-end.png", full_page=True)
    await lobby.desk.book(single(updated_ms=NOW_MS + 1, status=PmsStatus.IN_HOUSE, departure_ms=NOW_MS + 2 * DAY_MS))
    await expect(stay.locator("[data-conflict]")).to_have_count(0, timeout=WAIT_MS)


@pytest.mark.requirement("PMS-19", "PMS-22")
@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
async def test_a_check_out_that_the_pms_could_not_be_told_is_seen_though_the_guest_has_left(
    lobby: Lobby, size: tuple[int, int]
) -> None:
    await let_in(lobby, "101")
    fact = EdgeFact(STAY, EdgeState.CHECKED_OUT, "101", "desk", NOW_MS, incarnation=b"i" * 16, seq=2)
    async with lobby.desk.site.database.transaction() as connection:
        await apply_edge_facts(connection, PLACE, [fact], now_ms=NOW_MS)
    await wished(lobby.desk.site, PmsAction.CHECK_OUT, "pending", cause=1)
    await wished(lobby.desk.site, PmsAction.CHECK_IN, "done", cause=2)
    desk = await console(lobby, "/arrivals", size)
    stay = desk.page.locator(f"[data-stay='{STAY}']")
    await expect(desk.page.get_by_text("No stay of that name or room.")).to_be_visible(timeout=WAIT_MS)
    await expect(stay).to_have_count(0)
    await wished(lobby.desk.site, PmsAction.CHECK_OUT, "failed", cause=3, attempts=3, reason="refused")
    await expect(stay.locator("[data-wish='check_out']")).to_contain_text(
        "The PMS could not be told of his check-out", timeout=WAIT_MS
    )
    await expect(stay).to_contain_text("Enter it in the PMS itself.")
    await is_fine(desk)
