"""The kiosk in its house: a document from the reader, a key on a card, a receipt; with the cloud and without it."""

import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
from playwright.async_api import expect

from firmware_bridges.innkeeper_lock.one_property import OneProperty
from kit.dice import SeededDice
from protocols.policy import check_in
from protocols.policy.check_in import CheckInPolicy, StepKind
from tests.cloud.checkin.front_desk import HERE, POLICY, STAY
from tests.cloud.checkin.zones import passport
from tests.cloud.conftest import database as database
from tests.cloud.conftest import dsn as dsn
from tests.cloud.conftest import postgres as postgres
from tests.cloud.houses import NOW_MS
from tests.cloud.public.conftest import site as site
from tests.e2e.guest_page import WAIT_MS
from tests.e2e.kiosk_house import KioskHouse, kiosk_house
from tests.e2e.test_check_in_page import ANNA, CheckInPage, Lobby
from tests.e2e.test_check_in_page import lobby as lobby
from tests.e2e.test_deposit_page import is_fine
from tests.e2e.test_kiosk_page import SMALL, TOUCH_LEAST_PX, begin, set_up

pytestmark = [
    pytest.mark.tier("chromium"),
    pytest.mark.tier("postgres"),
    pytest.mark.usefixtures("built"),
    pytest.mark.requirement("DEV-11", "DEV-12", "ACC-11", "KSK-02"),
]
CUSTOM: Final = msgspec.structs.replace(
    POLICY, steps=(StepKind.IDENTITY, StepKind.DOCUMENT, *check_in.LAST), terms=None, deposit=None
)
ZONE: Final = passport()
SIZES: Final = {"kiosk": (1080, 1400), "desk": (1440, 900), "phone": (360, 740)}


def signed(policy: CheckInPolicy) -> Callable[[str], object | None]:
    """What a house has in force that took this policy up."""
    return lambda kind: policy if kind == check_in.KIND else None


@pytest.fixture
async def house(lobby: Lobby, tmp_path: Path) -> AsyncIterator[KioskHouse]:
    await lobby.desk.policy(CUSTOM)
    async with kiosk_house(lobby, tmp_path) as it:
        it.building.house.policies.in_force = signed(CUSTOM)  # type: ignore[method-assign, assignment]  # signed elsewhere
        yield it


async def pictures(kiosk: CheckInPage, name: str) -> None:
    """See that a screen fits at every size; keep pictures of it where somebody asked for them."""
    folder = os.environ.get("INNKEEPER_PICTURES")
    for size, (width, height) in SIZES.items():
        await kiosk.page.set_viewport_size({"width": width, "height": height})
        if folder is not None:
            await kiosk.page.screenshot(path=Path(folder) / f"{name}-{size}.png", full_page=True)
        assert not await kiosk.is_wider_than_screen(), (name, size)
        assert await kiosk.page.evaluate(SMALL, TOUCH_LEAST_PX) == [], (name, size)
    await kiosk.page.set_viewport_size({"width": 1080, "height": 1400})
    await is_fine(kiosk)


async def to_the_key(house: KioskHouse, kiosk: CheckInPage, grant: str = f"grant-{STAY}") -> None:
    me = await kiosk.at("identity-g1")
    await kiosk.tell(me, **ANNA)
    await kiosk.go_on(me)
    shown = await kiosk.at("document-g1")
    await expect(kiosk.page.locator("[data-reader='waiting']")).to_be_visible(timeout=WAIT_MS)
    await pictures(kiosk, "reader")
    await house.lay_down(kiosk, ZONE)
    await is_fine(kiosk)
    await kiosk.go_on(shown)
    await kiosk.at(grant)


async def state(house: KioskHouse) -> str:
    site = house.lobby.desk.site
    return str((await site.http.get(HERE, headers=site.as_("staff"))).json()["state"])


async def session(house: KioskHouse) -> dict[str, Any]:
    site = house.lobby.desk.site
    return dict((await site.http.get(f"{HERE}/session", headers=site.as_("staff"))).json())


@pytest.mark.guarantee("G13", "G6")
async def test_a_document_fills_the_form_a_card_is_given_and_a_receipt_printed(house: KioskHouse) -> None:
    kiosk = await set_up(house.lobby)
    await house.join(kiosk)
    await begin(kiosk)
    await to_the_key(house, kiosk)
    await pictures(kiosk, "card")
    await kiosk.page.get_by_role("button", name="Take a key card here").click()
    over = await kiosk.at("over")
    await expect(over.get_by_test_id("room")).to_contain_text("101")
    await expect(over.locator("[data-receipt='done']")).to_be_visible(timeout=WAIT_MS)
    await pictures(kiosk, "over")
    assert house.encoder.written == [(STAY, "101", "enc-1", False)]
    assert house.done("dispenser").counts["cards"] == 1
    [printed] = house.done("printer").printed
    assert "Hotel Aurora" in printed
    assert "101" in printed
    assert "Berger" not in printed
    session = await house.lobby.desk.site.http.get(f"{HERE}/session", headers=house.lobby.desk.site.as_("staff"))
    assert session.json()["state"] == "completed"
    await kiosk.page.clock.run_for(31_000)
    await expect(kiosk.page.locator("[data-kiosk='begin']")).to_be_visible(timeout=WAIT_MS)
    assert await kiosk.page.evaluate("[...document.querySelectorAll('input')].map(each => each.value).join('')") == ""


async def test_what_the_machines_do_not_do_is_said_and_is_the_desks(house: KioskHouse) -> None:
    kiosk = await set_up(house.lobby)
    await house.join(kiosk)
    await house.cause("dispenser", "fault_state", "active:stack_empty", value=True)
    await house.cause("printer", "fault_state", "active:paper_out", value=True)
    await house.until_it_could_give(could=False)
    await begin(kiosk)
    await to_the_key(house, kiosk)
    await kiosk.page.get_by_role("button", name="Take a key card here").click()
    failed = kiosk.page.locator("[data-card='failed']")
    await expect(failed).to_contain_text("go to the front desk", timeout=WAIT_MS)
    await pictures(kiosk, "failed")
    assert house.encoder.written == [], "nothing is written that could not be given"
    await house.cause("dispenser", "fault_state", "active:stack_empty", value=False)
    await house.until_it_could_give()
    house.lobby.desk.site.clock.advance(1)  # an order of another moment is another order
    await kiosk.page.get_by_role("button", name="Try again").click()
    over = await kiosk.at("over")
    await expect(over.locator("[data-receipt='failed']")).to_contain_text("The front desk prints one.", timeout=WAIT_MS)
    assert house.done("dispenser").counts["cards"] == 1


@pytest.mark.guarantee("G8", "G3")
async def test_with_the_cloud_cut_off_an_arrival_checks_in_and_all_is_one_when_the_line_returns(
    house: KioskHouse,
) -> None:
    kiosk = await set_up(house.lobby)
    await house.join(kiosk)
    await house.cut(kiosk)
    await begin(kiosk, surname="Meier")
    await expect(kiosk.page.locator("[data-trouble='not_found']")).to_be_visible(timeout=WAIT_MS)
    await begin(kiosk)
    await expect(kiosk.notice("alone")).to_be_visible(timeout=WAIT_MS)
    await to_the_key(house, kiosk)
    await pictures(kiosk, "alone")
    await expect(kiosk.page.get_by_role("button", name="Go on with my phone")).to_have_count(0)
    await kiosk.page.get_by_role("button", name="Take a key card here").click()
    over = await kiosk.at("over")
    await expect(over.get_by_test_id("room")).to_contain_text("101")
    await expect(over.locator("[data-receipt='done']")).to_be_visible(timeout=WAIT_MS)
    assert await state(house) != "in_house"
    await house.mend(kiosk)
    assert await state(house) == "in_house"
    await kiosk.page.get_by_role("button", name="Leave and forget me").click()
    await begin(kiosk)  # whoever comes now with the code is not given a second card
    await kiosk.at("over")
    assert house.done("dispenser").counts["cards"] == 1
    assert (await session(house))["state"] == "completed", "what he did stands in his check-in"


@pytest.mark.requirement("ACC-04")
@pytest.mark.guarantee("G3")
async def test_with_the_cloud_cut_off_a_phone_takes_its_key_from_the_house_itself(house: KioskHouse) -> None:
    hotel = OneProperty(SeededDice("property").bytes, NOW_MS // 1_000)
    hotel.lock("door-101", room=101)
    house.has_our_locks(hotel)
    kiosk = await set_up(house.lobby)
    await house.join(kiosk)
    await house.cut(kiosk)
    await begin(kiosk)
    await to_the_key(house, kiosk)
    await kiosk.page.get_by_role("button", name="Go on with my phone").click()
    code = kiosk.page.locator("svg[data-link]")
    await expect(code).to_be_visible(timeout=WAIT_MS)
    await pictures(kiosk, "phone-alone")
    link = await code.get_attribute("data-link") or ""
    assert link.startswith(f"{house.lobby.address}/guest/house.html#house=http%3A%2F%2F127.0.0.1%3A")
    phone = await house.lobby.tab(link)
    await expect(phone.page.locator("[data-house='taken']")).to_be_visible(timeout=WAIT_MS)
    await kiosk.page.clock.run_for(2_000)
    await kiosk.at("over")  # at once: it stands for ten seconds
    assert "#" not in phone.page.url
    await is_fine(phone)
    await phone.page.get_by_role("link", name="To my doors").click()
    await expect(phone.page.locator("[data-holding]")).to_have_count(1)
    thief = await house.lobby.tab(link)
    await expect(thief.notice("refused")).to_contain_text("Another phone", timeout=WAIT_MS)
    await is_fine(thief)
    assert await state(house) != "in_house"
    await house.mend(kiosk)
    assert (await state(house), (await session(house))["state"]) == ("in_house", "completed")
    assert house.encoder.written == []


async def test_cut_off_what_needs_the_cloud_sends_the_guest_to_the_desk_and_says_so(house: KioskHouse) -> None:
    house.building.house.policies.in_force = signed(POLICY)  # type: ignore[method-assign, assignment]  # signed elsewhere
    kiosk = await set_up(house.lobby)
    await house.join(kiosk)
    await house.cut(kiosk)
    await kiosk.page.reload()  # the page itself is kept: a kiosk that begins anew needs no cloud
    await begin(kiosk)
    waiting = await kiosk.at("at-desk")
    await expect(kiosk.notice("with-staff")).to_contain_text("this is done at the front desk")
    await pictures(kiosk, "desk")
    await expect(waiting).to_contain_text("Please go to the front desk")
    await expect(kiosk.page.get_by_text("Ask the front desk")).to_have_count(0)
    await expect(kiosk.page.get_by_role("button", name="Correct it")).to_have_count(0)
    await kiosk.page.get_by_role("combobox").select_option("ar")
    await is_fine(kiosk)
    assert house.encoder.written == []
