"""Taking keys away over the cloud's API: who may, what reaches the building, and that nothing is called done early."""

from typing import Any

import pytest

from cloud.fleet.commands import CommandResult
from cloud.kit.database import fetch_all
from cloud.platform.access_policy import may
from cloud.platform.principals import Principal, Role
from cloud.stays.stays import stay_id, upsert_reservations
from protocols.device_model.command import Phase
from tests.cloud.edges import done
from tests.cloud.houses import AURORA, NOW_MS, PLACE, reservation
from tests.cloud.public.conftest import Site

pytestmark = pytest.mark.tier("postgres")

STAY = stay_id(AURORA.id, "mews", "r1")
HOUSE = "/api/v1/properties/aurora"
HERE = f"{HOUSE}/stays/{STAY}"
PHONE = "03" + "ab" * 32
GRANT = "a1a2a3a4a5a6a7a8"
DOOR = {"door": "door-101", "room": "101", "contact_at_ms": NOW_MS, "unable": None}
ANSWERS: dict[str, dict[str, Any]] = {
    "stay_phones": {
        "phones": [
            {"phone": PHONE, "grant": GRANT, "join": False, "not_before_ms": 0, "not_after_ms": 5, "withdrawn": True}
        ]
    },
    "withdraw_key": {"grants": [GRANT], "lock_systems": ["annex"], "doors": 3, "confirmed": 0},
    "lock_out": {"doors": ["door-101"]},
    "inhibit": {"doors": ["door-101"]},
    "failsafe_key": {"bundle": {"v": 1}},
    "door_closings": {
        "signed": True,
        "withdrawn": [{"grant": GRANT, "until_ms": 5}],
        "issuers": [],
        "doors": 3,
        "unlisted": 3,
        "unlisted_until_ms": 1_763_467_600_000,
        "waiting": 1,
        "waiting_doors": [DOOR],
        "sealed": [{**DOOR, "sealed": True, "confirmed": False}],
    },
}
WHY = {"reason": "lost at the beach", "idempotency_key": "lost-0001"}
Order = tuple[str, str, dict[str, Any] | None, str, str]
ORDERS: tuple[Order, ...] = (
    ("GET", f"{HERE}/phones", None, "stay_phones", "staff"),
    ("POST", f"{HERE}/withdrawn-keys", {**WHY, "phone_public_key": PHONE}, "withdraw_key", "staff"),
    ("POST", f"{HOUSE}/withdrawn-staff-keys", {**WHY, "person": "maria"}, "withdraw_key", "admin"),
    ("POST", f"{HOUSE}/rooms/101/lockout", {**WHY, "sealed": True}, "lock_out", "admin"),
    ("POST", f"{HOUSE}/rooms/101/inhibition", WHY, "inhibit", "staff"),
    (
        "POST",
        f"{HOUSE}/failsafe-keys",
        {"room": "101", "phone_public_key": PHONE, "not_after_ms": 5, "idempotency_key": "safe-0001"},
        "failsafe_key",
        "admin",
    ),
    ("GET", f"{HOUSE}/closings", None, "door_closings", "staff"),
)
"""Method, address, body, the building's command, the least role."""


@pytest.fixture
async def site(site: Site) -> Site:
    site.edges.obey = lambda kind, _args: done(ANSWERS[kind])
    async with site.database.transaction() as connection:
        await upsert_reservations(connection, PLACE, [reservation()], now_ms=NOW_MS)
    return site


@pytest.mark.guarantee("G4", "G8")
@pytest.mark.requirement("P11", "P12")
@pytest.mark.parametrize("order", ORDERS, ids=[each[1].rsplit("/", 1)[1] for each in ORDERS])
async def test_who_may_and_what_reaches_the_building(site: Site, order: Order) -> None:
    method, path, body, kind, least = order

    async def ask(who: str, what: dict[str, Any] | None = body, where: str = path) -> tuple[int, dict[str, Any]]:
        answer = await site.http.request(method, where, headers=site.as_(who), json=what)
        if answer.status_code != 200:
            assert answer.headers["content-type"] == "application/problem+json"
        return answer.status_code, answer.json()

    staff = 200 if least == "staff" else 403
    for who, status in (("viewer", 403), ("other", 404), ("narrow", 404), ("staff", staff), ("admin", 200)):
        assert (await ask(who))[0] == status, who
    effects = site.edges.effects
    assert {each for each, _ in effects} == {kind}
    if method == "POST":
        assert {args["by"] for _, args in effects} <= {"cloud:staff", "cloud:admin"}
        assert body is not None
        for wrong in ({**body, "more": 1}, {**body, "idempotency_key": "x"}, {}):
            assert (await ask("admin", wrong))[0] == 400
        again = len(effects)
        assert await ask("admin") == await ask("admin")
        assert len(effects) == again, "the same question under the same key is asked once"
        async with site.database.transaction() as connection:
            said = await fetch_all(connection, "SELECT actor, outcome FROM platform.audit")
        assert {(row["actor"], row["outcome"]) for row in said} >= {("admin", "allowed"), ("viewer", "denied")}
    for known, absent in ((f"/{STAY}/", "/s-other/"), ("/rooms/101/", "/rooms/none/")):
        if known in path:
            sent = len(site.edges.sent)
            assert (await ask("admin", where=path.replace(known, absent)))[0] == 404
            assert len(site.edges.sent) == sent
    site.clock.advance(60_000)
    fresh = None if body is None else {**body, "idempotency_key": "other-0001"}
    site.edges.obey = lambda _kind, _args: CommandResult(Phase.FAILED, None, "InvalidInputError: no")
    status, said_no = await ask("admin", fresh)
    assert (status, said_no["reason"]) == (409, "edge_refused")
    site.clock.advance(60_000)
    fresh = None if body is None else {**body, "idempotency_key": "third-0001"}
    site.edges.obey = lambda _kind, _args: done({"doors": {}})
    assert (await ask("admin", fresh))[0] == 502


@pytest.mark.guarantee("G17")
async def test_what_is_not_confirmed_is_not_shown_as_done(site: Site) -> None:
    told = (await site.http.get(f"{HOUSE}/closings", headers=site.as_("staff"))).json()
    assert (told["waiting"], told["waiting_doors"][0]["door"]) == (1, "door-101")
    assert (told["unlisted"], told["unlisted_until"]) == (3, "2025-11-18T12:06:40.000Z")
    [sealed] = told["sealed"]
    assert (sealed["sealed"], sealed["confirmed"], sealed["contact_at"]) == (True, False, "2026-11-18T11:06:40.000Z")
    [phone] = (await site.http.get(f"{HERE}/phones", headers=site.as_("staff"))).json()["phones"]
    assert (phone["phone"], phone["withdrawn"], phone["not_before"]) == (PHONE, True, "1970-01-01T00:00:00.000Z")


async def test_a_guest_takes_no_key_away_and_seals_nothing() -> None:
    guest = Principal("guest:s-1", "northlight", Role.GUEST, frozenset({AURORA.id}), account="link", stay=STAY)
    for action in ("key.read", "key.withdraw", "key.card", "room.inhibit", "room.seal", "failsafe_key.issue"):
        assert not may(guest, action, AURORA.id, STAY).allowed


@pytest.mark.guarantee("G4")
@pytest.mark.requirement("P12")
async def test_an_emergency_key_is_listed_and_taken_back_as_a_draft_and_as_a_key(site: Site) -> None:
    issued = False

    def obey(kind: str, _args: dict[str, Any]) -> CommandResult:
        nonlocal issued
        match kind:
            case "emergency_draft":
                until_ms = site.clock.wall_ms() + 900_000
                officers = ["4a5691a0", "4a5691a1"]
                return done(
                    {
                        "grant": grant,
                        "statement": "ab",
                        "until_ms": until_ms,
                        "officers": officers,
                        "doors": ["door-101"],
                    }
                )
            case "emergency_drop":
                return done({"dropped": not issued, "issued": issued})
        return done(ANSWERS[kind])

    site.edges.obey = obey
    wish = {"person": "anton", "phone_public_key": PHONE, "reason": "smoke", "over_privacy": True, "rooms": ["101"]}
    drafts = f"{HOUSE}/emergency-drafts"
    for grant, as_key in (("a1" * 8, False), ("b2" * 8, True)):
        body = {**wish, "idempotency_key": f"smoke-{grant}"}
        assert (await site.http.post(drafts, headers=site.as_("staff"), json=body)).status_code == 200
        issued = as_key
        for who, status in (("viewer", 403), ("other", 404), ("colleague", 200), ("staff", 200)):
            answer = await site.http.delete(f"{drafts}/{grant}", headers=site.as_(who))
            assert answer.status_code == status
        assert answer.json()["withdrawn_by"] == "colleague", "the first who did"
        given = {"officer": "4a5691a0", "signature": "ab" * 64}
        answer = await site.http.post(f"{drafts}/{grant}/approvals", headers=site.as_("staff"), json=given)
        assert (answer.status_code, answer.json()["reason"]) == (409, "not_approvable")
        answer = await site.http.post(f"{drafts}/{grant}/key", headers=site.as_("staff"))
        assert (answer.status_code, answer.json()["reason"]) == (409, "withdrawn")
        site.clock.advance(1_000)
    assert [args.get("grant") for kind, args in site.edges.effects if kind == "withdraw_key"] == ["b2" * 8]
    listed = (await site.http.get(drafts, headers=site.as_("staff"))).json()["drafts"]
    assert [each["grant"] for each in listed] == ["b2" * 8, "a1" * 8]
    assert (await site.http.get(drafts, headers=site.as_("viewer"))).status_code == 403
    site.clock.advance(24 * 3_600_000)
    assert (await site.http.get(drafts, headers=site.as_("staff"))).json() == {"drafts": []}
