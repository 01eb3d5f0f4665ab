"""Kiosks: a booking's code and name begin a visit there; it gives no keys, and ends."""

from typing import Any

import httpx
import msgspec
import pytest

from cloud.checkin.kiosks import VISIT_MS
from cloud.fleet.commands import CommandResult
from protocols.device_model.command import Phase
from protocols.policy import check_in
from protocols.policy.check_in import StepKind
from tests.cloud.checkin.front_desk import HERE, PHONE, POLICY, STAY, Desk
from tests.cloud.public.conftest import Site
from tests.cloud.public.conftest import site as site

pytestmark = [pytest.mark.tier("postgres"), pytest.mark.requirement("KSK-01", "KSK-02", "CHK-12")]
KIOSKS, VISITS = "/api/v1/properties/aurora/kiosks", "/api/v1/properties/aurora/kiosk-visits"
ANNA = {"booking_code": "N-r1", "surname": "berger"}


@pytest.fixture
async def desk(site: Site) -> Desk:
    house = Desk(site)
    await house.book()
    await house.policy()
    return house


async def kiosk(desk: Desk, name: str = "Lobby") -> tuple[dict[str, str], str]:
    made = await desk.post(KIOSKS, {"name": name}, desk.site.as_("admin"))
    assert made.status_code == 201
    house, _, token = made.json()["path"].partition("#kiosk=")[2].partition("/")
    assert house == "aurora"
    return {"Authorization": f"Bearer {token}"}, made.json()["id"]


async def visit(desk: Desk, at: dict[str, str], **asked: str) -> httpx.Response:
    return await desk.post(VISITS, ANNA | asked, at)


def guest(answer: httpx.Response) -> dict[str, str]:
    assert answer.status_code == 201, answer.text
    return {"Authorization": f"Bearer {answer.json()['token']}"}


async def test_a_guest_goes_on_at_the_kiosk_then_on_his_phone_and_at_the_kiosk_again(desk: Desk) -> None:
    lobby, _ = await kiosk(desk)
    here = guest(await visit(desk, lobby, surname="Berger"))
    begun = (await desk.post(f"{HERE}/session", {"channel": "kiosk", "language": "de"}, here)).json()
    await desk.anna(here)
    people = (await desk.site.http.get(f"{HERE}/session/people", headers=desk.site.as_("staff"))).json()
    assert {each["channel"] for each in people["evidence"]} == {"kiosk"}, "every step, not the first answer alone"
    link = (await desk.post(f"{HERE}/kiosk-visit/phone-link", {}, here)).json()
    phone = {"Authorization": f"Bearer {link['token']}"}
    assert link["path"] == f"/guest/#check-in=aurora/{STAY}/{link['token']}"
    assert (await desk.site.http.delete(f"{HERE}/kiosk-visit", headers=here)).status_code == 204
    assert (await desk.site.http.get(f"{HERE}/session", headers=here)).status_code in (401, 403)
    on_phone = (await desk.post(f"{HERE}/session", {}, phone)).json()
    assert (on_phone["id"], on_phone["channel"]) == (begun["id"], "web")
    again = guest(await visit(desk, lobby, booking_code=" n-R1 ", surname="BERGER"))
    back = (await desk.post(f"{HERE}/session", {}, again)).json()
    assert (back["id"], back["channel"]) == (begun["id"], "kiosk")
    assert back["steps"] == on_phone["steps"]


async def test_a_visit_ends_with_its_time_with_the_next_guest_and_with_the_kiosk(desk: Desk) -> None:
    lobby, id_ = await kiosk(desk)
    other, _ = await kiosk(desk, "Bar")
    one = guest(await visit(desk, lobby))
    elsewhere = guest(await visit(desk, other))
    two = guest(await visit(desk, lobby))

    async def lets_in(who: dict[str, str]) -> bool:
        return (await desk.post(f"{HERE}/session", {}, who)).status_code == 200

    assert [await lets_in(each) for each in (one, two, elsewhere)] == [False, True, True]
    desk.site.clock.advance(VISIT_MS)
    assert [await lets_in(each) for each in (two, elsewhere)] == [False, False]
    three = guest(await visit(desk, lobby))
    admin = desk.site.as_("admin")
    assert [each["name"] for each in (await desk.site.http.get(KIOSKS, headers=admin)).json()["kiosks"]] == [
        "Bar", "Lobby",
    ]  # fmt: skip
    assert (await desk.site.http.delete(f"{KIOSKS}/{id_}", headers=admin)).status_code == 204
    assert (await desk.site.http.delete(f"{KIOSKS}/{id_}", headers=admin)).status_code == 404
    assert not await lets_in(three)
    assert (await visit(desk, lobby)).status_code == 403


@pytest.mark.requirement("SEC-23")
async def test_a_kiosk_and_who_stands_at_it_get_no_keys_and_see_nothing_else(desk: Desk) -> None:
    lobby, _ = await kiosk(desk)
    here = guest(await visit(desk, lobby))
    assert (await desk.keys(here)).status_code == 403
    for path in ("/api/v1/properties/aurora/stays", "/api/v1/properties", f"{HERE}/payments", f"{HERE}/session/people"):
        for who in (lobby, here):
            assert (await desk.site.http.get(path, headers=who)).status_code in (403, 404), path
    assert (await desk.post(f"{HERE}/session", {}, lobby)).status_code in (403, 404)
    assert (await visit(desk, here)).status_code == 403
    assert (
        await desk.site.http.post("/api/v1/properties/borealis/kiosk-visits", json=ANNA, headers=lobby)
    ).status_code in (403, 404)
    for role in ("staff", "viewer"):
        assert (await desk.post(KIOSKS, {"name": "x"}, desk.site.as_(role))).status_code == 403
    own = await desk.link()
    assert (await desk.post(f"{HERE}/kiosk-visit/phone-link", {}, own)).status_code == 403, "he has a phone"
    assert (await desk.keys(own, phone=PHONE)).status_code != 403


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({}, True),
        ({"surname": "Bergr"}, True),
        ({"surname": "Anna Berger"}, True),
        ({"surname": "Meier"}, False),
        ({"surname": "Anna Meier"}, False),
        ({"surname": "   "}, False),
        ({"surname": "李"}, False),
        ({"booking_code": "N-r2"}, False),
        ({"booking_code": "%"}, False),
    ],
)
async def test_code_and_name_are_both_needed_and_a_wrong_one_is_not_told_from_the_other(
    desk: Desk, asked: dict[str, str], found: bool
) -> None:
    lobby, _ = await kiosk(desk)
    answer = await visit(desk, lobby, **asked)
    if found:
        assert answer.json()["stay"] == STAY
    else:
        told: dict[str, Any] = answer.json()
        assert (answer.status_code, told["reason"]) == (404, "reservation_not_found")
        assert "surname" not in told["detail"]


@pytest.mark.parametrize("name", ["", "a\x00b", "x" * 81, 7])
async def test_what_is_no_name_is_refused(desk: Desk, name: object) -> None:
    lobby, _ = await kiosk(desk)
    for path, body, who in (
        (KIOSKS, {"name": name}, desk.site.as_("admin")),
        (VISITS, ANNA | {"surname": name}, lobby),
        (VISITS, ANNA | {"booking_code": name}, lobby),
    ):
        assert (await desk.post(path, body, who)).status_code == 400


async def test_names_are_not_found_by_trying_many(desk: Desk) -> None:
    lobby, _ = await kiosk(desk)
    tried = [(await visit(desk, lobby, surname=f"Guess{chr(97 + n)}")).status_code for n in range(12)]
    assert tried[:8] == [404] * 8
    refused = await visit(desk, lobby)
    assert refused.status_code == 429, "not even the right one"
    assert int(refused.headers["Retry-After"]) > 0


CARD = f"{HERE}/kiosk-visit/card"


async def through(desk: Desk, at: dict[str, str]) -> dict[str, str]:
    """Bring Anna through every step but the key; return her token of the visit."""
    await desk.policy(msgspec.structs.replace(POLICY, steps=(StepKind.IDENTITY, *check_in.LAST), terms=None))
    here = guest(await visit(desk, at))
    await desk.post(f"{HERE}/session", {"channel": "kiosk"}, here)
    told = await desk.site.http.put(
        f"{HERE}/session/guests/g1",
        headers=here,
        json={"surname": "Berger", "given_names": "Anna", "birth_date": "1980-05-01", "nationality": "AUT"},
    )
    assert told.status_code == 200, told.text
    return here


async def grant_of(desk: Desk, here: dict[str, str]) -> tuple[str, str | None]:
    session = (await desk.site.http.get(f"{HERE}/session", headers=here)).json()
    [step] = [each for each in session["steps"] if each["step"] == "grant"]
    return (session["state"], step["reason"] or step["state"])


@pytest.mark.requirement("ACC-11", "CHK-10")
@pytest.mark.guarantee("G13")
@pytest.mark.parametrize(
    ("phase", "told", "result", "stands"),
    [
        (Phase.DONE, {"phase": "done", "written": True, "room": "101"}, True, ("completed", "done")),
        (Phase.FAILED, {"phase": "failed", "written": False, "reason": "empty"}, False, ("open", "open")),
        (Phase.FAILED, None, False, ("open", "open")),
        (Phase.FAILED, {"phase": "failed", "written": True, "room": "101"}, False, ("open", "card_at_desk")),
        (Phase.UNKNOWN, {"phase": "unknown", "written": True}, None, ("open", "card_at_desk")),
    ],
    ids=["given", "not written", "refused", "lost", "unknown"],
)
async def test_a_key_on_a_card_is_told_as_the_machine_says_and_what_was_lost_is_the_desks(
    desk: Desk, phase: Phase, told: dict[str, Any] | None, result: bool | None, stands: tuple[str, str]
) -> None:
    lobby, _ = await kiosk(desk)
    here = await through(desk, lobby)
    desk.site.edges.obey = lambda _kind, _args: CommandResult(phase, told, "why")
    answer = await desk.post(CARD, {"kiosk": "lobby"}, here)
    assert (answer.status_code, answer.json()) == (200, {"result": result, "room": "101" if result else None})
    [(_, kind, args, _)] = desk.site.edges.sent
    assert (kind, args["stay"], args["kiosk"], sorted(args)) == ("kiosk_card", STAY, "lobby", ["by", "kiosk", "stay"])
    assert await grant_of(desk, here) == stands


async def test_no_card_before_the_steps_are_done_nor_away_from_a_kiosk(desk: Desk) -> None:
    lobby, _ = await kiosk(desk)
    here = guest(await visit(desk, lobby))
    early = await desk.post(CARD, {"kiosk": "lobby"}, here)
    assert (early.status_code, early.json()["reason"]) == (409, "steps_open")
    link = (await desk.post(f"{HERE}/kiosk-visit/phone-link", {}, here)).json()
    phone = {"Authorization": f"Bearer {link['token']}"}
    for who in (phone, lobby, desk.site.as_("staff")):
        assert (await desk.post(CARD, {"kiosk": "lobby"}, who)).status_code == 403
    assert (await desk.post(CARD, {"kiosk": "../x"}, here)).status_code == 400
    assert desk.site.edges.sent == []


async def test_a_house_that_is_away_gave_nothing_and_one_that_is_silent_may_have(desk: Desk) -> None:
    lobby, _ = await kiosk(desk)
    here = await through(desk, lobby)
    desk.site.edges.lost = True
    away = (await desk.post(CARD, {"kiosk": "lobby"}, here)).json()
    assert (away["reason"], away["may_have_taken_effect"]) == ("edge_away", False)
    assert away["type"] == "urn:innkeeper:problem:edge-away"
    assert await grant_of(desk, here) == ("open", "open")
    desk.site.edges.lost, desk.site.edges.silent = False, True
    desk.site.clock.advance(1)
    silent = (await desk.post(CARD, {"kiosk": "lobby"}, here)).json()
    assert silent.get("result", "none") is None or silent["may_have_taken_effect"] is True
    assert await grant_of(desk, here) == ("open", "card_at_desk")
