"""Late check-outs on the Arrivals page: who asks, who has the room next, granted, or refused with a reason."""

from pathlib import Path

import pytest
from playwright.async_api import expect

from tests.cloud.conftest import database as database
from tests.cloud.conftest import dsn as dsn
from tests.cloud.conftest import postgres as postgres
from tests.cloud.houses import DAY_MS, HOUR_MS
from tests.cloud.public.conftest import site as site
from tests.cloud.public.test_late_check_outs import ENDS_MS, STAY, Desk, hour, stands
from tests.e2e.console_page import DESK
from tests.e2e.console_page import PHONE as PHONE_SIZE
from tests.e2e.guest_page import WAIT_MS
from tests.e2e.test_check_in_page import Lobby
from tests.e2e.test_check_in_page import lobby as lobby
from tests.e2e.test_conflicts_page import console, is_fine

pytestmark = [
    pytest.mark.tier("chromium"),
    pytest.mark.tier("postgres"),
    pytest.mark.usefixtures("built"),
    pytest.mark.requirement("STY-09"),
]


@pytest.mark.parametrize("size", [DESK, PHONE_SIZE], ids=["desk", "phone"])
async def test_the_desk_answers_and_the_guest_reads_it(lobby: Lobby, size: tuple[int, int], tmp_path: Path) -> None:
    desk = Desk(lobby.desk.site)
    await desk.policy()
    await desk.book(arrival_ms=ENDS_MS - 2 * DAY_MS)
    page = await console(lobby, "/arrivals", size)
    queue = page.page.get_by_test_id("late-check-outs")
    await expect(page.page.locator(f"[data-stay='{STAY}']")).to_be_visible(timeout=WAIT_MS)
    await expect(queue).to_have_count(0)
    await desk.ask("14:00")
    await page.page.clock.run_for(6_000)
    asked = queue.locator(f"[data-late='{STAY}']")
    await expect(asked).to_contain_text("Asks to stay until 14:00", timeout=WAIT_MS)
    await expect(asked).to_contain_text("Nobody has the room after that yet")
    await is_fine(page)
    await page.page.screenshot(path=tmp_path / "asked.png", full_page=True)
    await asked.get_by_role("button", name="Refuse").click()
    await expect(asked.get_by_role("alert")).to_contain_text("the guest reads it")
    await asked.get_by_label("Why not, for the guest").fill("The house is full.")
    await asked.get_by_role("button", name="Refuse").click()
    await expect(queue).to_have_count(0, timeout=WAIT_MS)
    assert stands(await desk.call("GET")) == ("refused", "The house is full.", False)
    comes_ms = ENDS_MS + HOUR_MS
    await desk.book("r2", inside=False, arrival_ms=comes_ms, departure_ms=comes_ms + DAY_MS)
    await desk.ask("13:30")
    await page.page.clock.run_for(6_000)
    await expect(asked).to_contain_text("give that one another room first", timeout=WAIT_MS)
    await expect(asked.get_by_role("button", name="Grant until 13:30")).to_be_disabled()
    await is_fine(page)
    await page.page.screenshot(path=tmp_path / "promised.png", full_page=True)
    await desk.book("r2", room="102", inside=False, arrival_ms=comes_ms, departure_ms=comes_ms + DAY_MS)
    await page.page.clock.run_for(6_000)
    await asked.get_by_role("button", name="Grant until 13:30").click()
    await expect(queue).to_have_count(0, timeout=WAIT_MS)
    assert stands(await desk.call("GET")) == ("granted", None, False)
    assert await desk.ends() == [hour(13).replace(":00:00.", ":30:00.")]
