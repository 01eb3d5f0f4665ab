"""Keys in foreign lock systems in the check-in: done, asked for again, or the desk's turn; and cards that it writes."""

from dataclasses import replace
from typing import Any

import pytest

from cloud.checkin.steps import StepState
from cloud.checkin.vendor_keys import CARD_AT_DESK, KEY_REFUSED, evidence, keys_in, verdict_of
from cloud.kit.database import fetch_all
from protocols.door.vendor_keys import VendorKey, VendorMedium, VendorState
from tests.cloud.checkin.front_desk import HERE, PHONE, STAY, Desk
from tests.cloud.edges import done
from tests.cloud.houses import NOW_MS
from tests.cloud.public.conftest import Site
from tests.cloud.public.conftest import site as site

MADE = VendorKey(
    "annex", ("a1",), VendorMedium.PIN, VendorState.MADE, "accepted-by-vendor", "730941", NOW_MS, NOW_MS + 1
)
WANTED = replace(MADE, state=VendorState.WANTED, truth=None, code=None)
CARD = replace(WANTED, system="tower", medium=VendorMedium.CARD)
REFUSED = replace(WANTED, state=VendorState.REFUSED, problem="annex: no such door")


@pytest.mark.requirement("A15")
@pytest.mark.parametrize(
    ("keys", "state", "reason"),
    [
        ([], StepState.DONE, None),
        ([MADE], StepState.DONE, None),
        ([MADE, CARD], StepState.NEEDS_STAFF, CARD_AT_DESK),
        ([MADE, REFUSED, CARD, WANTED], StepState.NEEDS_STAFF, KEY_REFUSED),
        ([MADE, CARD, WANTED], None, None),
        ([replace(CARD, state=VendorState.MADE)], StepState.DONE, None),
    ],
)
def test_what_keys_mean_for_the_step(keys: list[VendorKey], state: StepState | None, reason: str | None) -> None:
    verdict = verdict_of(keys)
    assert (None if verdict is None else verdict.state) is state
    assert (None if verdict is None else verdict.reason) == reason
    assert "730941" not in str(evidence(keys)), "what opens a door is kept nowhere here"


def test_a_building_that_tells_nonsense_of_keys_keeps_nobody_from_his_grant() -> None:
    assert keys_in({"v": 1, "vendor_keys": "all"}) == ()
    assert keys_in({"v": 1, "grant": "AAAA"}) == ()


def bundle(*keys: VendorKey) -> dict[str, Any]:
    return {"bundle": {"v": 1, "stay": STAY, "doors": [], "vendor_keys": [each.to_document() for each in keys]}}


@pytest.mark.tier("postgres")
@pytest.mark.guarantee("G17")
@pytest.mark.requirement("CHK-09", "A3", "A15")
async def test_the_step_waits_for_the_vendor_then_for_the_desk_and_ends_with_the_card(site: Site) -> None:
    desk = Desk(site)
    await desk.book()
    staff = site.as_("staff")

    async def check_in(number: int) -> dict[str, Any]:
        body = {"phone_public_key": PHONE, "idempotency_key": f"ask-{number}"}
        answer = await site.http.post(f"{HERE}/check-in", headers=staff, json=body)
        assert answer.status_code == 200, answer.text
        told: dict[str, Any] = answer.json()["bundle"]
        return told

    async def grant_step() -> tuple[str, str | None, str]:
        session = (await site.http.get(f"{HERE}/session", headers=staff)).json()
        [step] = [each for each in session["steps"] if each["step"] == "grant"]
        return step["state"], step["reason"], session["state"]

    async def handed() -> list[str | None]:
        answer = await site.http.get("/api/v1/properties/aurora/hand-overs", headers=staff)
        return [step["reason"] for each in answer.json()["hand_overs"] for step in each["steps"]]

    assert (await site.http.post(f"{HERE}/session", headers=staff, json={"channel": "desk"})).status_code == 200
    site.edges.obey = lambda _kind, _args: done(bundle(WANTED, CARD))
    assert (await check_in(1))["vendor_keys"][0]["state"] == "wanted"
    assert await grant_step() == ("open", None, "open")
    site.edges.obey = lambda _kind, _args: done(bundle(MADE, CARD))
    assert (await check_in(2))["vendor_keys"][0]["code"] == "730941"
    assert await grant_step() == ("needs_staff", CARD_AT_DESK, "open")
    assert await handed() == [CARD_AT_DESK]
    card = replace(CARD, state=VendorState.MADE, truth="effective-at-next-presentation")
    site.edges.obey = lambda kind, _args: done({"keys": [card.to_document()]} if kind == "key_cards" else {})
    for who, status in (("viewer", 403), ("other", 404), ("staff", 200)):
        body = {"idempotency_key": "card-0001", "encoder": "desk-1"}
        answer = await site.http.post(f"{HERE}/key-cards", headers=site.as_(who), json=body)
        assert answer.status_code == status, answer.text
    [told] = answer.json()["keys"]
    assert (told["system"], told["state"], told["truth"]) == ("tower", "made", "effective-at-next-presentation")
    assert "code" not in told
    assert site.edges.effects[-1] == ("key_cards", {"stay": STAY, "encoder": "desk-1", "by": "cloud:staff"})
    assert await grant_step() == ("done", None, "completed")
    assert await handed() == []
    async with site.database.transaction() as connection:
        kept = await fetch_all(connection, "SELECT row_to_json(s)::text AS told FROM checkin.step s")
        asked = await fetch_all(connection, "SELECT row_to_json(c)::text AS told FROM fleet.command c")
    assert not any("730941" in row["told"] for row in (*kept, *asked)), "a PIN is kept nowhere in the cloud"
    site.edges.obey = lambda _kind, _args: done({"keys": [{"system": "tower"}]})
    body = {"idempotency_key": "card-0002"}
    assert (await site.http.post(f"{HERE}/key-cards", headers=staff, json=body)).status_code == 502
