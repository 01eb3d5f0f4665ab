"""The guest's page, built and served by the cloud, in Chromium, at the doors of an emulated house.

Nothing between the tap and the motor is pretended: the page's own exchange, Chromium's Bluetooth, bleak's API, the
emulated air and the lock's own firmware with its memory and motor. Only the browser's radio is emulated, by Chromium.
"""

import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
from playwright.async_api import Route, expect

from firmware_bridges.innkeeper_lock.one_property import OneProperty
from kit.dice import SeededDice
from protocols.grant.grant import GrantFlag
from tests.e2e.guest_house import AXE, DAY_S, HOUR_S, House, a_house
from tests.e2e.guest_page import GuestPage, key_link

pytestmark = [pytest.mark.tier("chromium"), pytest.mark.usefixtures("built")]
GRANT = {"step": "grant", "subject": "stay-7", "state": "open", "reason": None}
NOTHING_ASKED = {
    "id": "ci-1",
    "house": "Hotel Aurora",
    "zone": "Europe/Vienna",
    "arrives_at": "2030-01-01T15:00:00.000Z",
    "leaves_at": "2030-01-02T11:00:00.000Z",
    "state": "open",
    "terms": None,
    "deposit": None,
    "steps": [{"step": "room", "subject": "stay-7", "state": "done", "reason": None}, GRANT],
    "next": GRANT,
    "waits_for": None,
    "help_asked_at": None,
}
"""A check-in of which only the keys are missing, as the cloud tells it."""


# -- opening ----------------------------------------------------------------------------------------------------------


@pytest.mark.guarantee("G3")
@pytest.mark.requirement("P1", "P2", "P3", "A1", "ACC-02", "ACC-04", "CHK-10")
async def test_a_guest_takes_a_key_from_a_link_and_opens_the_room(house: House) -> None:
    tab = await house.tab()
    await expect(tab.page.locator("h1")).to_have_text("No key on this phone yet")
    asked: list[str] = []
    tab.page.on("request", lambda request: asked.append(request.url))
    await house.guest("door-101", tab=tab)
    assert "#" not in tab.page.url, "the secret is out of the address as soon as it is read"
    assert [url for url in asked if "key=" in url.partition("#")[0]] == []
    await expect(tab.notice("taken")).to_be_visible()
    await house.set("door-101", relock_ms=60_000)
    assert not house.world.emulator.locks["door-101"].push()
    assert await tab.tap("door-101") == "opened"
    assert (house.world.motors("door-101"), house.world.motors("door-102")) == (1, 0)
    assert house.world.emulator.locks["door-101"].push()
    await expect(tab.outcome("door-101")).to_contain_text("The door is open.")
    await expect(tab.announcer).to_have_text("The door is open.")


@pytest.mark.requirement("A2", "A6", "ACC-05", "A9")
async def test_room_and_lobby_open_each_and_a_weak_battery_is_told(house: House) -> None:
    tab = await house.guest("door-101", "door-lobby")
    for _ in range(2):
        assert await tab.tap("door-101") == "opened"
    assert house.world.motors("door-101") == 2
    assert len(house.bluetooth.offered) == 1, "a lock just opened is not looked for again"
    house.bluetooth.chooses = "door-lobby"
    await house.set("door-lobby", battery_percent=12)
    assert await tab.tap("door-lobby") == "opened"
    assert house.world.motors("door-lobby") == 1
    await expect(tab.door("door-lobby").get_by_test_id("battery")).to_contain_text("low (12 %)")
    await expect(tab.door("door-101").get_by_test_id("battery")).to_have_count(0)


@pytest.mark.guarantee("G5")
@pytest.mark.requirement("P1")
async def test_the_phones_key_stays_in_this_browser_and_nobody_can_read_it(house: House) -> None:
    tab = await house.guest("door-101")
    key = await tab.phone_key()
    kept = await tab.page.evaluate(
        """async () => {
          const database = await new Promise((done) => {
            const opening = indexedDB.open('innkeeper-guest'); opening.onsuccess = () => done(opening.result) })
          const pair = await new Promise((done) => {
            const got = database.transaction('key').objectStore('key').get('phone')
            got.onsuccess = () => done(got.result) })
          database.close()
          const leaks = []
          for (const format of ['pkcs8', 'jwk', 'raw'])
            await crypto.subtle.exportKey(format, pair.privateKey).then(() => leaks.push(format), () => null)
          return [pair.privateKey.type, pair.privateKey.extractable, leaks, Object.keys(localStorage)]
        }"""
    )
    assert kept == ["private", False, [], []]
    await tab.page.reload()
    assert await tab.phone_key() == key
    assert await tab.tap("door-101") == "opened"
    assert await (await house.tab()).phone_key() != key, "another browser is another phone"


# -- refused by the lock ----------------------------------------------------------------------------------------------


async def neighbour(house: House) -> tuple[GuestPage, str]:
    tab = await house.guest("door-101", tell_of=["door-102"])
    house.bluetooth.chooses = "door-102"
    return tab, "door-102"


async def superseded(house: House) -> tuple[GuestPage, str]:
    tab = await house.guest("door-101", generation=1)
    assert await tab.tap("door-101") == "opened"
    following = await house.guest("door-101", generation=2)
    assert await following.tap("door-101") == "opened"
    house.world.facts.clear()
    await tab.page.reload()
    return tab, "door-101"


async def expired(house: House) -> tuple[GuestPage, str]:
    tab = await house.guest("door-101", valid_s=(-HOUR_S, HOUR_S))
    await house.world.emulator.locks["door-101"].step_clock(3 * HOUR_S)
    return tab, "door-101"


async def stranger(house: House) -> tuple[GuestPage, str]:
    elsewhere = OneProperty(SeededDice("elsewhere").bytes, house.property.at_s)
    elsewhere.locks.update(house.property.locks)  # it knows the doors, and signs with keys of its own
    return await house.guest("door-101", issuer=elsewhere), "door-101"


async def privacy(house: House) -> tuple[GuestPage, str]:
    tab = await house.guest("door-101")
    await house.set("door-101", privacy=True)
    return tab, "door-101"


@pytest.mark.guarantee("G4", "G5")
@pytest.mark.requirement("P4", "P5", "A5")
@pytest.mark.parametrize(
    ("arrange", "cause", "words"),
    [
        (neighbour, "wrong_door", "This key is for another door."),
        (superseded, "superseded", "A newer guest's key has replaced this one."),
        (expired, "expired", "This key has expired."),
        (stranger, "unknown_issuer", "This key was not made by this hotel."),
        (privacy, "privacy_on", "The room is set to privacy from inside."),
    ],
    ids=lambda value: value.__name__ if callable(value) else None,
)
async def test_what_the_lock_refuses_is_said_in_its_words_and_moves_nothing(
    house: House, arrange: Callable[[House], Any], cause: str, words: str
) -> None:
    tab, door = await arrange(house)
    assert await tab.tap(door) == "refused"
    await expect(tab.door(door)).to_have_attribute("data-cause", cause)
    await expect(tab.outcome(door)).to_contain_text(words)
    await expect(tab.announcer).to_have_text(words)
    assert house.world.motors(door) == 0
    assert not house.world.emulator.locks[door].push()


@pytest.mark.requirement("A5")
async def test_a_key_that_was_replaced_stays_known_as_such_until_a_new_one_opens(house: House) -> None:
    tab, _ = await superseded(house)
    assert await tab.tap("door-101") == "refused"
    await tab.page.reload()
    said = tab.door("door-101").get_by_test_id("last-said")
    await expect(said).to_contain_text("A newer guest's key has replaced this one.")
    await expect(said).to_contain_text("front desk")
    await tab.take(house.bundle(await tab.phone_key(), "door-101", generation=3))
    await expect(tab.notice("taken")).to_be_visible()
    await expect(tab.page.locator("[data-holding]")).to_have_count(1)
    assert await tab.tap("door-101") == "opened"


# -- before anything is sent ------------------------------------------------------------------------------------------


@pytest.mark.requirement("A4")
async def test_a_key_for_later_says_when_it_starts_and_one_that_is_over_when_it_ended(house: House) -> None:
    early = await house.guest("door-101", valid_s=(2 * HOUR_S, 2 * DAY_S))
    starts = time.strftime("%H:%M", time.localtime(house.property.at_s + 2 * HOUR_S))
    await expect(early.notice("pending")).to_contain_text(re.compile(rf"Your key starts .*{starts}"))
    await expect(early.button("door-101")).to_have_count(0)
    late = await house.guest("door-101", valid_s=(-2 * HOUR_S, -HOUR_S))
    await expect(late.notice("ended")).to_contain_text("Your key ended")
    await expect(late.notice("ended")).to_contain_text("ask the front desk")
    await expect(late.button("door-101")).to_have_count(0)
    await late.page.clock.install(time=house.property.at_s + 2 * DAY_S)
    await late.page.reload()
    await expect(late.page.locator("h1")).to_have_text("No key on this phone yet")


@pytest.mark.requirement("A4")
async def test_a_key_becomes_usable_while_the_page_is_open(house: House) -> None:
    tab = await house.tab()
    await tab.page.clock.install(time=house.property.at_s - 3 * HOUR_S)
    await tab.page.reload()
    await house.guest("door-101", tab=tab)
    await expect(tab.notice("pending")).to_be_visible()
    await tab.page.clock.fast_forward(3 * HOUR_S * 1_000)
    await expect(tab.notice("pending")).to_have_count(0)
    await expect(tab.button("door-101")).to_be_visible()


@pytest.mark.requirement("A4")
async def test_bluetooth_that_is_off_is_said_to_be_and_noticed_when_it_comes_back(house: House) -> None:
    tab = await house.guest("door-101")
    hint = tab.page.get_by_text("Switch Bluetooth on, stand at the door")
    await expect(hint).to_be_visible()
    await house.bluetooth.switch(on=False)
    await tab.page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    await expect(tab.notice("bluetooth-off")).to_contain_text("Bluetooth is off")
    await expect(hint).to_have_count(0)
    assert await tab.tap("door-101") == "failed"
    await expect(tab.outcome("door-101")).to_contain_text("Bluetooth is off")
    await house.bluetooth.switch(on=True)
    await tab.page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    await expect(tab.notice("bluetooth-off")).to_have_count(0)


@pytest.mark.requirement("A4")
async def test_a_list_that_was_closed_has_asked_nothing(house: House) -> None:
    tab = await house.guest("door-101")
    house.bluetooth.chooses = None
    assert await tab.tap("door-101") == "failed"
    await expect(tab.outcome("door-101")).to_contain_text("No lock was chosen.")
    house.bluetooth.chooses = "door-101"
    assert await tab.tap("door-101") == "opened"


@pytest.mark.requirement("A4", "A11")
async def test_a_browser_without_bluetooth_says_what_to_do_instead(tmp_path: Path) -> None:
    async with a_house(tmp_path) as house:
        tab = await house.tab()
        assert await tab.page.evaluate("'bluetooth' in navigator") is False
        await expect(tab.notice("unsupported")).to_contain_text("This browser cannot speak to doors")
        await house.guest("door-101", tab=tab)
        notice = tab.notice("unsupported")
        await expect(notice).to_contain_text("Chrome or Edge")
        await expect(notice).to_contain_text("open only to a phone beside them, to nobody from afar")
        await expect(notice).to_contain_text("front desk")
        await expect(tab.button("door-101")).to_have_count(0)
        assert await tab.violations(AXE.read_text(encoding="utf-8")) == []


async def test_a_key_that_wants_a_face_or_finger_is_said_to_before_the_door(house: House) -> None:
    tab = await house.guest("door-101", flags=GrantFlag.NEEDS_USER_VERIFICATION)
    await expect(tab.notice("needs-verification")).to_contain_text("The front desk can give you a card.")
    await expect(tab.button("door-101")).to_have_count(0)


# -- what comes as a key ----------------------------------------------------------------------------------------------


@pytest.mark.guarantee("G19")
@pytest.mark.requirement("P4")
async def test_what_is_no_key_of_this_phone_is_not_taken(house: House) -> None:
    tab = await house.tab()
    mine = house.bundle(await tab.phone_key(), "door-101")
    other = house.bundle("03cfcb5a0c99d66a5769d83e92c2f4e345cb6f4b13e4e080abb3f3b3e41e6208d4", "door-101")
    swapped = {**mine, "grant": other["grant"][:-8] + mine["grant"][-8:]}
    cases: list[tuple[str, str]] = [
        (key_link(house.address, other), "other_phone"),
        (key_link(house.address, swapped), "damaged"),
        (key_link(house.address, {**mine, "v": 2}), "later_version"),
        (key_link(house.address, {**mine, "doors": "all"}), "nonsense"),
        (f"{house.address}/guest/#key=%%%", "nonsense"),
        (f"{house.address}/guest/#key={'A' * 200_000}", "nonsense"),
        (f"{house.address}/guest/#check-in=aurora/../x", "nonsense"),
    ]
    for link, trouble in cases:
        await tab.page.goto(link)
        await expect(tab.notice(f"failed-{trouble}")).to_be_visible()
        assert "#" not in tab.page.url
        await expect(tab.page.locator("[data-holding]")).to_have_count(0)
    await tab.page.get_by_label("Link or key from the hotel").fill(json.dumps(mine))
    await tab.page.get_by_role("button", name="Take this key").click()
    await expect(tab.page.locator("[data-holding]")).to_have_count(1)
    await tab.take(mine)
    await expect(tab.page.locator("[data-holding]")).to_have_count(1)


async def test_a_link_written_without_its_slash_arrives_whole(house: House) -> None:
    tab = await house.tab()
    link = key_link(house.address, house.bundle(await tab.phone_key(), "door-101"))
    await tab.page.goto("about:blank")
    await tab.page.goto(link.replace("/guest/#", "/guest#"))
    await expect(tab.page.locator("[data-holding]")).to_have_count(1)
    assert tab.page.url == f"{house.address}/guest/"


@pytest.mark.requirement("CHK-10", "A1")
async def test_a_link_to_check_in_asks_the_cloud_and_says_what_it_says(house: House) -> None:
    tab = await house.tab()
    asked: list[tuple[str, dict[str, Any], str]] = []
    answers: list[tuple[int, dict[str, Any] | None]] = [
        (409, {"reason": "too_early", "available_from": "2030-01-01T15:00:00.000Z"}),
        (504, {"reason": "unanswered", "may_have_taken_effect": True}),
        (401, {}),
        (200, None),
    ]

    async def answer(route: Route) -> None:
        request = route.request
        if request.url.endswith("/session"):
            await route.fulfill(status=200, json=NOTHING_ASKED)
            return
        if request.url.endswith(("/carried", "/key-term", "/late-check-out")):
            await route.fulfill(status=503, json={"reason": "edge_away"})
            return
        body = cast("dict[str, Any]", request.post_data_json)
        asked.append((request.url, body, request.headers["authorization"]))
        status, said = answers.pop(0)
        if said is None:
            said = {"bundle": house.bundle(body["phone_public_key"], "door-101"), "stay": {}}
        await route.fulfill(status=status, json=said)

    await tab.page.context.route("**/api/v1/**", answer)
    await tab.page.goto(f"{house.address}/guest/#check-in=aurora/stay-7/{'t' * 32}")
    notice = tab.notice("refused-too_early")
    await expect(notice).to_contain_text("It is too early to check in.")
    await expect(notice).to_contain_text("2030")
    await notice.get_by_role("button").click()
    await expect(tab.notice("refused-unanswered")).to_contain_text("no second key is made")
    await tab.notice("refused-unanswered").get_by_role("button").click()
    await tab.notice("refused-signed_out").get_by_role("button").click()
    await expect(tab.notice("taken")).to_be_visible()
    assert {url for url, _, _ in asked} == {f"{house.address}/api/v1/properties/aurora/stays/stay-7/check-in"}
    assert {authorization for _, _, authorization in asked} == {f"Bearer {'t' * 32}"}
    questions = [body["idempotency_key"] for _, body, _ in asked]
    assert questions[1] == questions[2], "what was not answered is asked again"
    assert len(set(questions)) == 3, "what was answered is not: the house would say the same for ever"
    assert {body["phone_public_key"] for _, body, _ in asked} == {await tab.phone_key()}
    house.bluetooth.chooses = "door-101"
    assert await tab.tap("door-101") == "opened"
