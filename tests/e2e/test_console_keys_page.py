"""The console's page of keys in Chromium: what is asked, by keyboard alone, at a desk and on a phone."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from protocols import cose
from protocols.grant.keys import kid_of, public_key
from tests.e2e.console_page import DESK, PHONE
from tests.e2e.test_console_page import AXE, MockCloud, tab
from tests.e2e.test_console_page import _built as _built
from tests.e2e.test_console_page import browser as browser
from tests.e2e.test_console_page import cloud as cloud

pytestmark = pytest.mark.tier("chromium")
PHONES = ["03" + "ab" * 32, "02" + "cd" * 32]
GRANT = "a1a2a3a4a5a6a7a8"
STATEMENT = (b"innkeeper/grant/1 approve\0" + bytes(range(32))).hex()
DOOR = {"door": "door-101", "room": "101", "contact_at": "2026-11-21T11:00:00.000Z", "unable": None}


class Keys:
    """What a cloud answers about keys, and what it was asked."""

    def __init__(self, role: str) -> None:
        self.role = role
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.drafts: list[dict[str, Any]] = []
        self.phones = [
            {"phone": phone, "grant": GRANT, "join": number > 0, "not_before": None, "not_after": None,
             "withdrawn": False}
            for number, phone in enumerate(PHONES)
        ]  # fmt: skip

    def answer(self, route: Route) -> None:
        request = route.request
        what = request.url.partition("/api/v1/")[2].partition("?")[0].split("/")
        body: dict[str, Any] = request.post_data_json or {} if request.method == "POST" else {}
        if request.method != "GET":
            self.asked.append((what[-1], body))
        match what[-1]:
            case "me":
                told: dict[str, Any] = {"name": "ann", "tenant": "northlight", "role": self.role, "properties": None}
            case "stays":
                stay = {"id": "s-1", "state": "in_house", "room": "101", "guest_name": "Anna Berger"}
                told = {"stays": [{**stay, "expected_from": "", "expected_until": ""}]}
            case "phones":
                told = {"phones": self.phones}
            case "withdrawn-keys":
                self.phones[1]["withdrawn"] = True
                told = {"grants": [GRANT], "lock_systems": ["annex"], "doors": 24, "confirmed": 0}
            case "common-doors":
                common = [(1, ["lobby"]), (2, ["spa"]), (4, ["pool", "garage"])]
                told = {"zones": [{"zones": zone, "doors": doors} for zone, doors in common]}
            case "lockout":
                told = {"doors": ["door-101"]}
            case "closings":
                sealed = [{**DOOR, "sealed": True, "confirmed": False}] if ("lockout" in dict(self.asked)) else []
                told = {
                    "signed": True,
                    "withdrawn": [{"grant": GRANT, "until": None}],
                    "unlisted": 2,
                    "unlisted_until": "2999-01-01T00:00:00Z",
                    "issuers": [],
                    "doors": 24,
                    "waiting": 1,
                    "waiting_doors": [DOOR],
                    "sealed": sealed,
                }
            case "emergency-drafts" if request.method == "POST":
                self.drafts = [
                    {
                        **{name: body[name] for name in ("person", "reason")},
                        **{"grant": GRANT, "doors": ["door-101"], "statement": STATEMENT, "officers": ["00000000"]},
                        **{"drafted_by": "ann", "until": "2999-01-01T00:00:00Z", "approvals": [], "issued": False},
                        **{"withdrawn_at": None, "withdrawn_by": None},
                    }
                ]
                told = self.drafts[0]
            case "emergency-drafts":
                told = {"drafts": self.drafts}
            case "approvals":
                self.drafts[0]["approvals"].append({"by": "ann", "officer": body["officer"], "at": None})
                told = self.drafts[0]
            case "key" | "staff-keys" | "failsafe-keys":
                told = {"bundle": {"v": 1, "stay": "staff/maria"}}
            case grant if grant == GRANT:
                self.drafts[0] |= {"withdrawn_at": "2026-11-21T12:00:00Z", "withdrawn_by": "ann"}
                told = self.drafts[0]
            case _:
                route.fallback()
                return
        route.fulfill(status=200, json=told)

    def last(self, what: str) -> dict[str, Any]:
        return [body for kind, body in self.asked if kind == what][-1]


def violations(page: Page) -> list[str]:
    page.evaluate(AXE.read_text(encoding="utf-8"))
    page.evaluate("scrollTo(0, 0)")  # else what is half under the header, which stays, counts as too small to touch
    return list(
        page.evaluate(
            "axe.run(document, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice']})"
            ".then(r => r.violations.flatMap(rule => rule.nodes.map(n => `${rule.id}: ${n.target.join(' ')}`)))"
        )
    )


@pytest.fixture(params=[DESK, PHONE], ids=["desk", "phone"])
def page(request: pytest.FixtureRequest, browser: Browser, cloud: MockCloud) -> Iterator[tuple[Page, Keys]]:
    keys = Keys("admin")
    with tab(browser, cloud.address, size=request.param) as opened:
        opened.page.context.route("**/api/v1/**", keys.answer)
        opened.page.goto(f"{cloud.address}/#/p/aurora/keys")
        expect(opened.page.get_by_test_id("closings")).to_contain_text("23 of 24 doors have confirmed it")
        yield opened.page, keys
        wide = opened.page.evaluate("document.documentElement.scrollWidth")
        assert wide <= request.param[0], "nothing is beyond the edge"


@pytest.mark.guarantee("G4", "G17")
@pytest.mark.requirement("P11", "P12", "ACC-12")
def test_a_lost_phone_is_taken_away_by_keyboard_and_nothing_is_called_done_early(page: tuple[Page, Keys]) -> None:
    shown, keys = page
    expect(shown.get_by_test_id("unlisted")).to_contain_text(
        "2 keys of guests who left early find no place on the list"
    )
    lost = shown.get_by_test_id("lost-phones")
    lost.get_by_label("Stay").focus()
    shown.keyboard.type("Anna")
    expect(shown.get_by_role("option").first).to_contain_text("Anna")  # the stays may come after the letters
    shown.keyboard.press("ArrowDown")
    shown.keyboard.press("Enter")
    expect(lost.get_by_role("radio")).to_have_count(3)
    lost.get_by_label("Why").focus()
    shown.keyboard.press("Enter")
    expect(lost.get_by_role("alert")).to_contain_text("Choose whose key is lost")
    lost.get_by_role("radio").nth(1).focus()
    shown.keyboard.press("Space")
    shown.keyboard.press("Tab")
    shown.keyboard.press("Enter")
    expect(lost.get_by_role("alert")).to_contain_text("Say in a few words why")
    assert keys.asked == []
    shown.keyboard.type("lost at the beach")
    shown.keyboard.press("Enter")
    expect(lost.get_by_role("status")).to_contain_text("0 of 24 doors know it by now; also in annex")
    order = keys.last("withdrawn-keys")
    assert (order["phone_public_key"], order["reason"]) == (PHONES[1], "lost at the beach")
    expect(lost.get_by_role("radio").nth(1)).to_be_disabled()
    rooms = shown.get_by_test_id("rooms-closing")
    rooms.get_by_label("Room").click()
    shown.get_by_role("option", name="101", exact=True).click()
    rooms.get_by_label("Why").fill("police")
    rooms.get_by_role("button", name="Seal it").click()
    expect(rooms.get_by_role("status")).to_contain_text("done when its door has confirmed it")
    assert keys.last("lockout")["sealed"] is True
    expect(shown.locator('[data-sealed="101"]')).to_contain_text("not confirmed yet")
    assert violations(shown) == []


@pytest.mark.guarantee("G4")
@pytest.mark.requirement("P12")
def test_an_officer_approves_with_a_key_that_no_script_reads_and_the_key_goes_to_one_phone(
    page: tuple[Page, Keys],
) -> None:
    shown, keys = page
    emergency = shown.get_by_test_id("emergency")
    emergency.get_by_text("Your officer’s key").click()
    emergency.get_by_role("button", name="Make one in this browser").click()
    point = bytes.fromhex(emergency.get_by_test_id("officer-code").inner_text())
    emergency.get_by_text("Draft an emergency key").click()
    form = emergency.get_by_role("form", name="Draft an emergency key")
    form.get_by_label("For whom").fill("anton")
    form.get_by_label("Rooms").fill("101")
    form.get_by_label("Code of the phone").fill(PHONES[0])
    form.get_by_role("button", name="Draft it").click()
    expect(form.get_by_role("alert")).to_contain_text("Say in a few words why")
    form.get_by_label("Why").fill("smoke")
    form.get_by_role("button", name="Draft it").click()
    draft = shown.locator(f'[data-draft="{GRANT}"]')
    expect(draft).to_have_attribute("data-standing", "waiting")
    expect(draft.get_by_role("button", name="Approve as an officer")).to_have_count(0)
    kid = kid_of(public_key(point)).hex()
    keys.drafts[0]["officers"] = [kid, "11111111"]
    draft.get_by_role("button", name="Approve as an officer").click()
    expect(draft).to_contain_text("1 of 2 officers")
    signed = keys.last("approvals")
    assert signed["officer"] == kid
    assert cose.verify_raw(public_key(point), bytes.fromhex(signed["signature"]), bytes.fromhex(STATEMENT))
    keys.drafts[0]["approvals"].append({"by": "ben", "officer": "11111111", "at": None})
    draft.get_by_role("button", name="Make the key").click()
    expect(draft.get_by_test_id("key-link")).to_contain_text("/guest/#key=")
    draft.get_by_role("button", name="Take back").click()
    expect(draft).to_have_attribute("data-standing", "withdrawn")
    assert violations(shown) == []
    shown.reload()
    shown.get_by_test_id("emergency").get_by_text("Your officer’s key").click()
    expect(shown.get_by_test_id("officer-code")).to_have_text(point.hex())


@pytest.mark.requirement("P11")
def test_a_key_that_holds_doors_open_is_asked_for_common_doors_alone(page: tuple[Page, Keys]) -> None:
    shown, keys = page
    staff = shown.get_by_test_id("staff-keys")
    staff.get_by_text("Give a key that holds doors open").click()
    form = staff.get_by_role("form", name="Give a key that holds doors open")
    form.get_by_label("For whom").fill("otto")
    form.get_by_label("Code of the phone").fill(PHONES[0])
    expect(form.get_by_role("group", name="Which common doors?").get_by_role("checkbox")).to_have_count(3)
    form.get_by_role("button", name="Make the key").click()
    expect(form.get_by_role("alert")).to_contain_text("Choose the common doors")
    assert keys.asked == []
    form.get_by_label("lobby", exact=True).check()
    form.get_by_label("pool, garage", exact=True).check()
    form.get_by_role("button", name="Make the key").click()
    expect(staff.get_by_test_id("key-link")).to_contain_text("/guest/#key=")
    order = keys.last("staff-keys")
    assert (order["passage"], order["zones"], order["person"]) == (True, 5, "otto")
    assert "rooms" not in order
    assert violations(shown) == []


@pytest.mark.requirement("P11")
def test_who_may_not_is_shown_nothing_to_press(browser: Browser, cloud: MockCloud) -> None:
    for role, closed in (("viewer", True), ("staff", False)):
        keys = Keys(role)
        with tab(browser, cloud.address) as opened:
            opened.page.context.route("**/api/v1/**", keys.answer)
            opened.page.goto(f"{cloud.address}/#/p/aurora/keys")
            if closed:
                expect(opened.page.get_by_test_id("keys")).to_contain_text("not yours to change")
                expect(opened.page.get_by_role("main").get_by_role("button")).to_have_count(0)
            else:
                expect(opened.page.get_by_test_id("emergency")).to_be_visible()
                expect(opened.page.get_by_role("button", name="Seal it")).to_have_count(0)
                expect(opened.page.get_by_test_id("staff-keys")).to_have_count(0)
    assert json.dumps(keys.asked) == "[]"
