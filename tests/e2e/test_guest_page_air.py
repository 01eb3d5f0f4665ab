"""The guest's page on a bad air, without internet and for everybody, in Chromium, at the doors of an emulated house."""

import asyncio
import re
from collections.abc import Callable

import pytest
from playwright.async_api import expect

from tests.e2e.guest_house import AXE, House
from tests.e2e.guest_page import new_tab
from tests.firmware_bridges.innkeeper_lock.world import until
from tests.house.sources import ROOT

pytestmark = pytest.mark.tier("chromium")
WORDS = ROOT / "web" / "apps" / "guest" / "src" / "words"


# -- on a bad air -----------------------------------------------------------------------------------------------------


class Cutting:
    """Ends the link before whatever `when` says of (asked, frame) reaches the lock."""

    def __init__(self, house: House, when: Callable[[str, bytes], bool]) -> None:
        self._house, self._when = house, when
        self.cuts = 0

    async def __call__(self, door: str, asked: str, frame: bytes) -> None:
        # A browser that has not noticed yet asks once more over a link that is gone: that cuts nothing.
        if self._house.bluetooth.linked and self._when(asked, frame):
            self.cuts += 1
            self._house.world.emulator.locks[door].peripheral.cut()
            await until(lambda: not self._house.bluetooth.linked)


class Swallowing:
    """Ends the link when the motor has moved and before the answer is read: `times` times, each on its own link."""

    def __init__(self, house: House, times: int) -> None:
        self._house, self._times = house, times
        self._is_asked = False
        self.cuts = 0

    async def __call__(self, door: str, asked: str, frame: bytes) -> None:
        if asked == "write" and frame[0] & 0x40:
            self._is_asked = True
        if asked == "read" and self._is_asked and self.cuts < self._times:
            self.cuts, self._is_asked = self.cuts + 1, False
            await until(lambda: self._house.world.motors(door) == self.cuts)
            self._house.world.emulator.locks[door].peripheral.cut()
            await until(lambda: not self._house.bluetooth.linked)


@pytest.mark.guarantee("G13")
async def test_a_link_lost_before_the_lock_was_asked_is_tried_again_by_itself(house: House) -> None:
    tab = await house.guest("door-101")
    cutting = Cutting(house, lambda asked, _: asked == "subscribe" and cutting.cuts == 0)
    house.bluetooth.before = cutting
    assert await tab.tap("door-101") == "opened"
    assert (cutting.cuts, house.world.motors("door-101")) == (1, 1)


@pytest.mark.guarantee("G13")
async def test_a_link_that_never_holds_is_told_and_can_be_tried_again(house: House) -> None:
    tab = await house.guest("door-101")
    cutting = Cutting(house, lambda asked, _: asked == "read")
    house.bluetooth.before = cutting
    assert await tab.tap("door-101") == "failed"
    await expect(tab.door("door-101")).to_have_attribute("data-cause", "link_lost")
    await expect(tab.outcome("door-101")).to_contain_text("Nothing was opened. Try again.")
    # On a slow machine a try may end before its first read; that three are made, opening.test.ts holds.
    assert 1 <= cutting.cuts <= 3
    assert house.world.motors("door-101") == 0
    house.bluetooth.before = None
    assert await tab.tap("door-101") == "opened"
    assert house.world.motors("door-101") == 1


@pytest.mark.guarantee("G13")
async def test_a_link_lost_in_the_middle_of_the_question_is_asked_again_in_the_same_tap(house: House) -> None:
    tab = await house.guest("door-101")
    cutting = Cutting(house, lambda asked, frame: asked == "write" and frame[0] & 0x3F == 2 and cutting.cuts == 0)
    house.bluetooth.before = cutting
    assert await tab.tap("door-101") == "opened"
    assert (cutting.cuts, house.world.motors("door-101")) == (1, 1)


@pytest.mark.guarantee("G13")
async def test_a_link_lost_in_the_middle_of_every_question_is_not_called_safe(house: House) -> None:
    """A browser does not say which frames have left: so the page says try the handle, and the guest may ask again."""
    tab = await house.guest("door-101")
    house.bluetooth.before = Cutting(house, lambda asked, frame: asked == "write" and frame[0] & 0x3F == 2)
    assert await tab.tap("door-101") == "unknown"
    await expect(tab.outcome("door-101")).to_contain_text("its answer did not arrive. Try the handle.")
    assert house.world.motors("door-101") == 0
    house.bluetooth.before = None
    assert await tab.tap("door-101") == "opened"
    assert house.world.motors("door-101") == 1


@pytest.mark.guarantee("G13")
@pytest.mark.parametrize("uses_most", [None, 1], ids=["without a limit", "one use"])
async def test_a_lost_answer_is_asked_for_again_and_is_the_same_use(house: House, uses_most: int | None) -> None:
    tab = await house.guest("door-101", uses_most=uses_most)
    house.bluetooth.before = swallowing = Swallowing(house, times=1)
    assert await tab.tap("door-101") == "opened"
    assert (swallowing.cuts, house.world.motors("door-101")) == (1, 2)


@pytest.mark.guarantee("G13")
async def test_answers_that_are_all_lost_are_not_called_a_failure(house: House) -> None:
    tab = await house.guest("door-101")
    house.bluetooth.before = Swallowing(house, times=9)
    assert await tab.tap("door-101") == "unknown"
    await expect(tab.outcome("door-101")).to_contain_text("its answer did not arrive. Try the handle.")
    assert house.world.motors("door-101") == 3
    house.bluetooth.before = None
    assert await tab.tap("door-101") == "opened"


async def test_the_wrong_lock_of_the_list_opens_nothing_and_the_guest_is_told_to_look(house: House) -> None:
    tab = await house.guest("door-101")
    house.bluetooth.chooses = "door-102"
    assert await tab.tap("door-101") == "unknown"
    await expect(tab.outcome("door-101")).to_contain_text("choose the lock of this door")
    assert (house.world.motors("door-101"), house.world.motors("door-102")) == (0, 0)
    house.bluetooth.chooses = "door-101"
    assert await tab.tap("door-101") == "opened"


# -- coming back ------------------------------------------------------------------------------------------------------


class Writing:
    """Hears what the page writes to a lock, by the message's first byte: 1 OPEN, 2 FAST, 3 what follows."""

    def __init__(self, house: House) -> None:
        self.said: list[tuple[int, int]] = []
        house.bluetooth.before = self

    async def __call__(self, _door: str, asked: str, frame: bytes) -> None:
        if asked == "write" and frame[0] & 0x80:
            self.said.append((frame[1], len(frame) - 1))

    def of_one_tap(self) -> list[int]:
        said, self.said = self.said, []
        return [kind for kind, _ in said]


@pytest.mark.requirement("P2", "A13", "ACC-04")
async def test_a_phone_that_was_here_before_opens_with_26_bytes(house: House) -> None:
    tab = await house.guest("door-101")
    writing = Writing(house)
    assert await tab.tap("door-101") == "opened"
    assert writing.of_one_tap() == [1, 3], "in full, and then asked to be known"
    assert await tab.tap("door-101") == "opened"
    assert writing.said == [(2, 26)]
    writing.said.clear()
    await tab.page.reload()
    assert await tab.tap("door-101") == "opened"
    assert writing.said == [(2, 26)], "it outlives the page"
    writing.said.clear()
    assert house.world.motors("door-101") == 3
    await house.set("door-101", privacy=True)
    assert await tab.tap("door-101") == "refused"
    await expect(tab.door("door-101")).to_have_attribute("data-cause", "privacy_on")
    assert writing.of_one_tap() == [2, 1], "in full on the same link: there the lock says why"
    await house.set("door-101", privacy=False)
    assert await tab.tap("door-101") == "opened"
    assert writing.of_one_tap() == [1, 3]
    following = await house.guest("door-101", generation=9)
    assert await following.tap("door-101") == "opened"
    writing.said.clear()
    tab = await house.tab(tab.page.context)
    assert await tab.tap("door-101") == "refused"
    assert writing.of_one_tap() == [2, 1], "what came after ends it, as it ends the key"
    assert house.world.motors("door-101") == 5


# -- without internet -------------------------------------------------------------------------------------------------


@pytest.mark.guarantee("G3")
@pytest.mark.requirement("A2")
async def test_in_airplane_mode_the_page_opens_and_the_door_too(house: House) -> None:
    tab = await house.guest("door-101")
    await tab.wait_kept()
    await tab.page.context.set_offline(True)
    await expect(tab.page.get_by_test_id("offline")).to_contain_text("No internet now. Doors open all the same.")
    again = await new_tab(tab.page.context, house.address, house.bluetooth)
    for address in ("guest/", "guest/index.html"):
        await again.page.goto(f"{house.address}/{address}")
        await expect(again.page.locator("h1")).to_have_text("Your room key")
    await again.page.evaluate("document.fonts.ready")
    assert await again.tap("door-101") == "opened"
    assert house.world.motors("door-101") == 1
    assert again.problems == []
    await again.page.goto(f"{house.address}/guest/#check-in=aurora/stay-7/{'t' * 32}")
    await expect(again.notice("refused-offline")).to_contain_text("There is no internet.")


# -- for everybody ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("locale", "title", "button", "refusal"),
    [
        ("de-AT", "Ihr Zimmerschlüssel", "Zimmer 101 öffnen", "Das Zimmer ist von innen"),
        ("fr-FR", "Votre clé de chambre", "Ouvrir Chambre 101", "La chambre est réglée"),
        ("es-MX", "La llave de su habitación", "Abrir Habitación 101", "La habitación está"),
        ("ja-JP", "Your room key", "Open Room 101", "The room is set to privacy"),
    ],
)
async def test_the_page_speaks_the_guests_language(
    house: House, locale: str, title: str, button: str, refusal: str
) -> None:
    tab = await house.guest("door-101", tab=await house.tab(locale=locale))
    await expect(tab.page.locator("h1")).to_have_text(title)
    await expect(tab.page).to_have_title(title)
    await expect(tab.button("door-101")).to_have_text(button)
    assert await tab.page.evaluate("document.documentElement.lang") == ("en" if locale == "ja-JP" else locale[:2])
    await house.set("door-101", privacy=True)
    assert await tab.tap("door-101") == "refused"
    await expect(tab.announcer).to_contain_text(refusal)
    await tab.page.locator("header select").select_option("de")
    await expect(tab.page.locator("h1")).to_have_text("Ihr Zimmerschlüssel")
    await tab.page.reload()
    await expect(tab.page.locator("h1")).to_have_text("Ihr Zimmerschlüssel")


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_nobody_is_left_out(house: House, scheme: str) -> None:
    """No violation of WCAG 2.2 AA, nothing wider than the smallest screen, and a keyboard is enough."""
    axe = AXE.read_text(encoding="utf-8")
    tab = await house.tab(color_scheme=scheme, viewport={"width": 320, "height": 640})
    assert await tab.violations(axe) == []
    assert not await tab.is_wider_than_screen()
    await house.guest("door-101", "door-lobby", tab=tab, tell_of=["door-102"])
    assert await tab.violations(axe) == []
    await tab.button("door-101").focus()
    await tab.page.keyboard.press("Enter")
    await expect(tab.outcome("door-101")).to_contain_text("The door is open.")
    assert await tab.page.evaluate("document.activeElement.closest('[data-door]').dataset.door") == "door-101"
    await tab.page.keyboard.press("Tab")
    house.bluetooth.chooses = "door-lobby"
    await tab.page.keyboard.press("Space")
    await expect(tab.outcome("door-lobby")).to_contain_text("The door is open.")
    house.bluetooth.chooses = "door-102"
    assert await tab.tap("door-102") == "refused"
    assert await tab.violations(axe) == []
    assert not await tab.is_wider_than_screen()
    moving = "document.getAnimations().filter((each) => each.playState === 'running').length"
    assert await tab.page.evaluate(moving) == 0, "this guest wants no motion"
    await tab.page.get_by_role("button", name="Remove all keys").click()
    assert await tab.violations(axe) == []


async def test_removing_the_keys_makes_another_phone(house: House) -> None:
    tab = await house.guest("door-101")
    before = await tab.phone_key()
    old = house.bundle(before, "door-101")
    await tab.page.get_by_role("button", name="Remove all keys").click()
    await tab.page.get_by_role("button", name="Keep them").click()
    await expect(tab.page.locator("[data-holding]")).to_have_count(1)
    await tab.page.get_by_role("button", name="Remove all keys").click()
    await tab.page.get_by_role("button", name="Remove them").click()
    await expect(tab.page.locator("h1")).to_have_text("No key on this phone yet")
    assert await tab.phone_key() != before
    await tab.page.reload()
    await expect(tab.page.locator("h1")).to_have_text("No key on this phone yet")
    await tab.take(old)
    await expect(tab.notice("failed-other_phone")).to_be_visible()


@pytest.mark.requirement("P15", "A12", "ACC-04")
async def test_who_only_stands_at_the_door_with_the_page_open_opens_nothing(house: House) -> None:
    tab = await house.guest("door-101")
    writing, lock = Writing(house), house.world.emulator.locks["door-101"]
    for _ in range(3):  # the handle wakes the lock, the page comes and goes: no tap, no word to the lock
        lock.touch()
        await tab.page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
        await tab.page.evaluate("dispatchEvent(new Event('focus'))")
        await asyncio.sleep(0.4)
    assert (writing.said, house.world.motors("door-101"), house.bluetooth.offered) == ([], 0, [])
    assert await tab.tap("door-101") == "opened"
    writing.said.clear()
    lock.touch()
    await tab.page.reload()
    await expect(tab.page.locator("[data-holding]")).to_have_count(1)
    await asyncio.sleep(0.4)
    assert (writing.said, house.world.motors("door-101")) == ([], 1), "nor later, by a lock that it knows"
    words = "".join(path.read_text(encoding="utf-8") for path in WORDS.glob("*.ts"))
    assert "The door is open." in words
    promised = r"pocket|hands.?free|tasche|freihändig|poche\b|mains libres|bolsillo|manos libres|جيبك|الجيب"
    assert re.search(promised, words, re.IGNORECASE) is None, "what a phone does in a pocket is nobody's promise"
