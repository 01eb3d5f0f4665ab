"""The console's Arrivals page as a front desk uses it most: rooms that come, steps that wait for staff, keys anew."""

from dataclasses import replace
from typing import Any, Final

import msgspec
import pytest
from playwright.async_api import expect

from cloud.checkin.letters import LOOK_AGAIN_MS
from cloud.checkin.mail.emulator import MailServer, Manner
from cloud.pms.port import GuestContact
from cloud.stays.life import EdgeState
from cloud.stays.reservation import Housekeeping
from protocols.policy.check_in import LAST, Deposit, StepKind
from tests.cloud.checkin.front_desk import HERE, PHONE, POLICY, STAY, single
from tests.cloud.checkin.letter_post import SOON, TO, Post
from tests.cloud.checkin.test_vendor_keys import CARD, MADE, bundle
from tests.cloud.checkin.zones import passport
from tests.cloud.conftest import database as database
from tests.cloud.conftest import dsn as dsn
from tests.cloud.conftest import postgres as postgres
from tests.cloud.edges import done
from tests.cloud.houses import NOW_MS, ROOMS
from tests.cloud.public.conftest import site as site
from tests.cloud.public.test_stay_log import hear
from tests.e2e.console_page import DESK
from tests.e2e.console_page import PHONE as PHONE_SIZE
from tests.e2e.guest_page import WAIT_MS
from tests.e2e.test_check_in_page import ANNA, CheckInPage, Lobby
from tests.e2e.test_check_in_page import lobby as lobby
from tests.e2e.test_conflicts_page import console, is_fine

pytestmark = [
    pytest.mark.tier("chromium"),
    pytest.mark.tier("postgres"),
    pytest.mark.usefixtures("built"),
    pytest.mark.parametrize("size", [DESK, PHONE_SIZE], ids=["desk", "phone"]),
]
ROOMS_OF: Final = "/api/v1/properties/aurora/room-assignments"


async def with_step(desk: CheckInPage, step: str) -> Any:
    """Open the check-in of the stay and return one of its steps, as the page shows it by then."""
    stay = desk.page.locator(f"[data-stay='{STAY}']")
    summary = stay.locator("summary")
    if await stay.locator("details[open]").count():
        await summary.press("Enter")
    await summary.press("Enter")
    return stay.locator(f"[data-session-step='{step}']")


@pytest.mark.requirement("STY-04", "CHK-09")
async def test_a_stay_gets_its_room_the_room_is_made_ready_and_both_are_seen_without_a_touch(
    lobby: Lobby, size: tuple[int, int]
) -> None:
    await lobby.desk.book(replace(single(), room=None, updated_ms=NOW_MS + 1))
    desk = await console(lobby, "/arrivals", size)
    stay = desk.page.locator(f"[data-stay='{STAY}']")
    await expect(stay).to_contain_text("no room yet · expected", timeout=WAIT_MS)
    for room in ROOMS:
        await lobby.desk.condition(Housekeeping.DIRTY, NOW_MS + 2, room)
    wanted = {"arrivals": [{"stay": STAY, "type": "double"}]}
    answer = await lobby.desk.post(ROOMS_OF, wanted, lobby.desk.site.as_("staff"))
    assert answer.status_code == 200, answer.text
    room = answer.json()["given"][STAY]
    await expect(stay).to_contain_text(f"Room {room} · expected", timeout=WAIT_MS)
    await lobby.desk.condition(Housekeeping.INSPECTED, NOW_MS + 3, room)
    await expect(stay).to_contain_text(f"Room {room} · room ready", timeout=WAIT_MS)
    find = desk.page.get_by_label("Find by name or room")
    for words, count in ((f" {room} ", 1), ("BERG", 1), ("999", 0)):
        await find.fill(words)
        await expect(stay).to_have_count(count)
    await expect(desk.page.get_by_text("No stay of that name or room.")).to_be_visible()
    await is_fine(desk)


@pytest.mark.guarantee("G17")
@pytest.mark.requirement("CHK-07", "CHK-08")
async def test_a_step_that_was_handed_over_is_settled_with_a_reason_that_stands_beside_it(
    lobby: Lobby, size: tuple[int, int]
) -> None:
    steps = (StepKind.IDENTITY, StepKind.DOCUMENT, StepKind.PAYMENT, *LAST)
    await lobby.desk.policy(msgspec.structs.replace(POLICY, steps=steps, deposit=Deposit("EUR", 15_000)))
    guest = await lobby.tab(await lobby.link())
    await guest.tell(await guest.at("identity-g1"), **ANNA)
    await guest.go_on(guest.screen("identity-g1"))
    await guest.tell(await guest.at("document-g1"), mrz=passport(surname="Brandt", given_names="Eva"))
    await guest.go_on(guest.screen("document-g1"))
    await guest.page.get_by_text("Ask the front desk").click()
    await guest.page.locator("aside [name=reason]").fill("It is my maiden name")
    await guest.page.get_by_role("button", name="Send to the front desk").click()

    desk = await console(lobby, "/arrivals", size)
    waiting = desk.page.locator(f"[data-hand-over='{STAY}']")
    await expect(waiting).to_contain_text("“It is my maiden name”", timeout=WAIT_MS)
    await expect(waiting).to_contain_text("Travel document, guest 1")
    step = await with_step(desk, "document-g1")
    await expect(step).to_have_attribute("data-state", "needs_staff")
    await is_fine(desk)
    seen = waiting.get_by_label("What you saw")
    await seen.fill("marriage certificate and both passports")
    await desk.page.route("**/session/waivers", lambda route: route.abort(), times=1)
    await seen.press("Enter")
    await expect(waiting.get_by_role("alert")).to_be_visible()
    await expect(seen).to_have_value("marriage certificate and both passports")  # nothing is typed twice
    await seen.press("Enter")
    await expect(waiting).not_to_contain_text("Travel document", timeout=WAIT_MS)
    await expect(waiting).to_contain_text("“It is my maiden name”")  # he waits for an answer until he has his key
    step = await with_step(desk, "document-g1")
    await expect(step).to_have_attribute("data-state", "waived")
    await expect(step).to_contain_text("staff (desk), ")
    await expect(step).to_contain_text(": marriage certificate and both passports")
    await guest.at("payment-party")

    paying = await with_step(desk, "payment-party")
    await paying.get_by_label("What you saw").fill("150 euros in cash")
    await paying.get_by_role("button", name="Paid at the desk").press("Enter")
    await expect(paying).to_have_attribute("data-state", "waived")
    await expect(paying.get_by_label("What you saw")).to_have_count(0)
    await is_fine(desk)
    await (await guest.at(f"grant-{STAY}")).get_by_role("button").click()
    await expect(guest.page.locator("[data-holding]")).to_have_count(1)
    await expect(waiting).to_have_count(0, timeout=WAIT_MS)
    await expect(desk.page.get_by_text("No check-in waits for you.")).to_be_visible()


@pytest.mark.guarantee("G8")
@pytest.mark.requirement("CHK-10", "A14")
async def test_a_guest_in_house_with_another_phone_has_his_key_again_by_a_link_for_that_one_phone(
    lobby: Lobby, size: tuple[int, int]
) -> None:
    desk = await console(lobby, "/arrivals", size)
    stay = desk.page.locator(f"[data-stay='{STAY}']")
    await stay.get_by_role("button", name="Make a check-in link").press("Enter")
    first = await lobby.tab(await desk.page.get_by_test_id("guest-link").inner_text())
    await expect(first.page.locator("[data-holding]")).to_have_count(1, timeout=WAIT_MS)
    await hear(lobby.desk.site, edge=EdgeState.CHECKED_IN, at_ms=NOW_MS)
    await expect(stay).to_contain_text("Room 101 · in house", timeout=WAIT_MS)
    before = await desk.page.get_by_test_id("guest-link").inner_text()
    await stay.get_by_role("button", name="Make a key link").press("Enter")
    await expect(desk.page.get_by_test_id("guest-link")).not_to_have_text(before)
    again = await desk.page.get_by_test_id("guest-link").inner_text()
    await is_fine(desk)
    second = await lobby.tab(again)
    await expect(second.page.locator("[data-holding]")).to_have_count(1, timeout=WAIT_MS)
    third = await lobby.tab(again)
    await expect(third.notice("refused-link_used")).to_be_visible(timeout=WAIT_MS)
    asked = [args["phone_public_key"] for kind, args in lobby.desk.site.edges.effects if kind == "check_in"]
    assert (len(asked), len(set(asked))) == (2, 2), "each phone has a key of its own, and the third has none"


@pytest.mark.guarantee("G17")
@pytest.mark.requirement("CHK-10", "A15")
async def test_a_card_that_waits_for_the_desk_is_written_once_however_often_it_was_asked_for(
    lobby: Lobby, size: tuple[int, int]
) -> None:
    site, staff = lobby.desk.site, lobby.desk.site.as_("staff")
    site.edges.obey = lambda _kind, _args: done(bundle(MADE, CARD))
    assert (await lobby.desk.post(f"{HERE}/session", {"channel": "desk"}, staff)).status_code == 200
    assert (await lobby.desk.keys(staff, PHONE, "ask-0001")).status_code == 200
    written = msgspec.to_builtins(replace(CARD, state=MADE.state, truth="effective-at-next-presentation").to_document())
    site.edges.obey = lambda _kind, _args: done({"keys": [written]})
    desk = await console(lobby, "/arrivals", size)
    waiting = desk.page.locator(f"[data-hand-over='{STAY}']")
    await expect(waiting).to_contain_text("Key: a card is to be written", timeout=WAIT_MS)
    await is_fine(desk)
    site.edges.silent = True
    write = waiting.get_by_role("button", name="Write the card")
    await write.press("Enter")
    await expect(waiting.get_by_role("status")).not_to_be_empty()
    site.edges.silent = False
    await write.press("Enter")
    await expect(waiting).to_have_count(0, timeout=WAIT_MS)
    await expect(desk.page.get_by_test_id("written")).to_have_text(
        "The card of Anna Berger is written. Give it to the guest."
    )
    assert [kind for kind, _ in site.edges.effects].count("key_cards") == 1
    await is_fine(desk)


@pytest.mark.requirement("CHK-06")
async def test_what_became_of_an_invitation_is_said_at_its_stay_with_what_is_left_to_do(
    lobby: Lobby, size: tuple[int, int]
) -> None:
    await lobby.desk.book(replace(SOON, updated_ms=NOW_MS + 1))
    desk = await console(lobby, "/arrivals", size)
    letter = desk.page.locator(f"[data-stay='{STAY}'] [data-letter='invitation']")
    await expect(desk.page.locator(f"[data-stay='{STAY}']")).to_be_visible(timeout=WAIT_MS)
    await expect(letter).to_have_count(0)
    async with MailServer() as server:
        post = Post(lobby.desk.site, server)
        post.pms.contact, server.manner = None, Manner.GREYLISTS
        await post.work()
        await expect(letter).to_contain_text("No e-mail address: hand over a link", timeout=WAIT_MS)
        await expect(letter).to_have_attribute("data-state", "not_possible")
        await is_fine(desk)
        post.pms.contact = GuestContact(TO, None)
        await post.work(after_ms=LOOK_AGAIN_MS)
        await expect(letter).to_contain_text(
            "is tried again. The mail server did not take the letter.", timeout=WAIT_MS
        )
        await post.work(after_ms=90_000)
        assert len(server.taken) == 1
    await expect(letter).to_contain_text("Invited 18:08", timeout=WAIT_MS)
    await expect(letter).to_have_attribute("data-state", "sent")
    await is_fine(desk)


@pytest.mark.requirement("CHK-08")
async def test_who_went_on_by_himself_after_he_asked_is_said_to_have_and_counted_no_more(
    lobby: Lobby, size: tuple[int, int]
) -> None:
    await lobby.desk.policy()
    guest = await lobby.tab(await lobby.link())
    await guest.at("identity-g1")
    await guest.page.get_by_text("Ask the front desk").click()
    await guest.page.locator("aside [name=reason]").fill("Do you have a cot?")
    await guest.page.get_by_role("button", name="Send to the front desk").click()
    desk = await console(lobby, "/arrivals", size)
    waiting, heading = desk.page.locator(f"[data-hand-over='{STAY}']"), desk.page.locator("#waiting")
    await expect(waiting).to_contain_text("“Do you have a cot?”", timeout=WAIT_MS)
    await expect(heading).to_have_text("Waiting for the desk 1")
    await expect(waiting.get_by_test_id("went-on")).to_have_count(0)
    lobby.desk.site.clock.advance(60_000)
    await guest.tell(guest.screen("identity-g1"), **ANNA)
    await guest.go_on(guest.screen("identity-g1"))
    await guest.at("document-g1")
    await expect(waiting.get_by_test_id("went-on")).to_contain_text("Went on alone since, 12:07", timeout=WAIT_MS)
    await expect(waiting).to_contain_text("“Do you have a cot?”")  # nobody knows whether it was answered
    await expect(heading).to_have_text("Waiting for the desk 0")
    await is_fine(desk)
