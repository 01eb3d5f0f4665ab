"""Doors over the cloud's API: sealed bytes pass through, staff keys are an admin's, an emergency is two people's."""

from base64 import b64encode
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from cloud.app.plan import load_property
from cloud.fleet.commands import CommandResult
from cloud.kit.database import fetch_all
from cloud.platform import audit
from cloud.platform.access_policy import may
from cloud.platform.principals import Principal, Role
from cloud.stays.stays import stay_id, upsert_reservations
from protocols.device_model.command import Phase
from protocols.device_model.identity import DoorId, RoomId
from protocols.device_model.site_plan import Room
from tests.cloud.edges import done
from tests.cloud.houses import AURORA, NOW_MS, PLACE, plan_of, reservation
from tests.cloud.public.conftest import Site

pytestmark = pytest.mark.tier("postgres")

LOCK = "7733b6bf78f85549"
SEALED = b64encode(bytes(900)).decode()
STAY = stay_id(AURORA.id, "mews", "r1")
HOUSE = "/api/v1/properties/aurora"
CARRIED = f"{HOUSE}/stays/{STAY}/carried"
STANDING = {"lock": LOCK, "have": 20, "carry": [{"signed": "AAAA", "certificate": "BBBB"}]}
TAKEN = {"taken": [{"lock": LOCK, "outcome": "stored"}], "locks": [STANDING]}
PHONE = "03" + "ab" * 32
BUNDLE = {"bundle": {"v": 1, "stay": "staff"}}
GRANT = "a1a2a3a4a5a6a7a8"
OFFICERS = ["4a5691a0", "4a5691a1"]
DRAFTED = {
    "grant": GRANT,
    "statement": "ab" * 40,
    "until_ms": NOW_MS + 900_000,
    "officers": OFFICERS,
    "doors": ["door-101"],
}
SHIFT = {
    "person": "maria",
    "phone_public_key": PHONE,
    "not_after_ms": NOW_MS + 3_600_000,
    "rooms": ["101"],
    "shift": {"days": 31, "from_minute": 360, "to_minute": 900},
    "idempotency_key": "shift-maria-1",
}
WISH = {
    "person": "anton",
    "phone_public_key": PHONE,
    "reason": "smoke",
    "over_privacy": True,
    "rooms": ["101"],
    "idempotency_key": "smoke-101-1",
}

TRAIL = "SELECT * FROM platform.audit WHERE action = 'staff_key.issue' AND subject = 'staff/otto' ORDER BY seq"


def answers(kind: str, args: dict[str, Any]) -> CommandResult:
    match kind:
        case "doors_carried":
            return done(TAKEN)
        case "emergency_draft":
            return done(DRAFTED)
        case "staff_key" | "emergency_key":
            return done(BUNDLE)
    raise AssertionError((kind, args))


@pytest.fixture
async def site(site: Site) -> Site:
    site.edges.obey = answers
    async with site.database.transaction() as connection:
        await upsert_reservations(connection, PLACE, [reservation()], now_ms=NOW_MS)
    return site


async def test_a_stay_that_there_is_not_brings_nothing(site: Site) -> None:
    body = {"chunks": [{"lock": LOCK, "sealed": SEALED}], "locks": [LOCK]}
    answer = await site.http.post(f"{HOUSE}/stays/s-other/carried", headers=site.as_("staff"), json=body)
    assert answer.status_code == 404
    assert site.edges.sent == []


@pytest.mark.requirement("P9", "P10", "P17")
async def test_what_a_phone_brings_reaches_the_house_once_and_is_kept_nowhere_here(site: Site) -> None:
    body = {"chunks": [{"lock": LOCK, "sealed": SEALED}], "locks": [LOCK]}
    for _ in range(2):
        answer = await site.http.post(CARRIED, headers=site.as_("staff"), json=body)
        assert (answer.status_code, answer.json()) == (200, TAKEN), answer.text
    assert site.edges.effects == [("doors_carried", body)], "asked twice within a minute it is one question"
    site.clock.advance(60_000)
    await site.http.post(CARRIED, headers=site.as_("staff"), json=body)
    assert len(site.edges.effects) == 2, "later is asked anew: a lock that was being visited is not any more"
    async with site.database.transaction() as connection:
        kept = await fetch_all(connection, "SELECT args, result FROM fleet.command")
    assert {(str(row["args"]), str(row["result"])) for row in kept} == {("{}", "None")}


async def test_what_is_too_much_or_not_of_its_form_never_leaves(site: Site) -> None:
    chunk = {"lock": LOCK, "sealed": SEALED}
    for wrong in (
        {"chunks": [chunk] * 9},
        {"chunks": [{**chunk, "lock": "x"}]},
        {"chunks": [{**chunk, "sealed": "*" * 8}]},
        {"chunks": [{**chunk, "sealed": "A" * 1_400}]},
        {"locks": [LOCK] * 17},
        {"more": 1},
    ):
        answer = await site.http.post(CARRIED, headers=site.as_("staff"), json=wrong)
        assert answer.status_code == 400, answer.text
    assert site.edges.sent == []


async def test_what_the_house_does_not_do_is_said_so_that_a_phone_knows_whether_to_keep_it(site: Site) -> None:
    def away() -> None:
        site.edges.lost = True

    def mute() -> None:
        site.edges.lost, site.edges.silent = False, True

    def failing() -> None:
        site.edges.silent, site.edges.obey = False, _failing

    def strange() -> None:
        site.edges.obey = _strange

    def let_go() -> None:
        site.edges.obey = lambda _kind, _args: CommandResult(Phase.DONE, None, "its result is no longer held")

    for prepare, status, reason, retryable in (
        (away, 503, "edge_away", True),
        (mute, 504, "unanswered", True),
        (failing, 409, "edge_refused", False),
        (strange, 502, "strange", False),
        (let_go, 409, "answered_before", False),
    ):
        prepare()
        site.clock.advance(60_000)
        answer = await site.http.post(CARRIED, headers=site.as_("staff"), json={"locks": [LOCK]})
        assert answer.json()["type"] == f"urn:innkeeper:problem:{reason.replace('_', '-')}"
        assert answer.status_code == status
        assert answer.headers["content-type"] == "application/problem+json"
        assert (answer.json()["reason"], answer.json()["retryable"]) == (reason, retryable)


def _strange(*_: object) -> CommandResult:
    return done({"locks": 7})


def _failing(*_: object) -> CommandResult:
    return CommandResult(Phase.FAILED, None, "InvalidInputError: chunks: no")


@pytest.mark.requirement("P11")
async def test_a_shift_key_is_an_admins_to_give(site: Site) -> None:
    path = f"{HOUSE}/staff-keys"
    for name, status in (("viewer", 403), ("staff", 403), ("other", 404), ("narrow", 404)):
        assert (await site.http.post(path, headers=site.as_(name), json=SHIFT)).status_code == status
    assert site.edges.sent == []
    for _ in range(2):
        answer = await site.http.post(path, headers=site.as_("admin"), json=SHIFT)
        assert (answer.status_code, answer.json()) == (200, BUNDLE)
    [(kind, args)] = site.edges.effects
    assert (kind, args["person"], args["by"], args["shift"]["days"]) == ("staff_key", "maria", "cloud:admin", 31)
    assert "idempotency_key" not in args
    await site.http.post(path, headers=site.as_("admin"), json={**SHIFT, "rooms": ["102"]})
    assert len(site.edges.effects) == 2, "another question under the same key is never answered with this bundle"
    async with site.database.transaction() as connection:
        kept = await fetch_all(connection, "SELECT args, result FROM fleet.command")
        said = await fetch_all(connection, "SELECT actor, outcome FROM platform.audit WHERE action = 'staff_key.issue'")
    assert {(str(row["args"]), str(row["result"])) for row in kept} == {("{}", "None")}
    assert {(row["actor"], row["outcome"]) for row in said} >= {("admin", "allowed"), ("staff", "denied")}


@pytest.mark.requirement("P11")
async def test_a_key_that_holds_doors_open_is_an_admins_for_common_doors_alone_and_in_the_trail(site: Site) -> None:
    path = f"{HOUSE}/staff-keys"
    holds = {**SHIFT, "person": "otto", "rooms": [], "zones": 4, "passage": True, "idempotency_key": "shift-otto-1"}
    for name, status in (("viewer", 403), ("staff", 403), ("other", 404)):
        assert (await site.http.post(path, headers=site.as_(name), json=holds)).status_code == status
    for wrong in ({"rooms": ["101"]}, {"zones": 0}, {"passage": "yes please"}, {"zones": 2**53}, {"zones": 2**53 + 1}):
        answer = await site.http.post(path, headers=site.as_("admin"), json={**holds, **wrong})
        assert answer.status_code == 400, answer.text
    assert "zones" in answer.text, "a browser that wanted bits 0 and 53 sends the latter alone"
    assert site.edges.sent == []
    async with site.database.transaction() as connection:
        assert await fetch_all(connection, TRAIL) == []
    for _ in range(2):
        answer = await site.http.post(path, headers=site.as_("admin"), json=holds)
        assert (answer.status_code, answer.json()) == (200, BUNDLE), answer.text
    await site.http.post(path, headers=site.as_("admin"), json={**holds, "passage": False})
    first, second = (args for _, args in site.edges.effects)
    assert (first["passage"], first["zones"], first["rooms"]) == (True, 4, [])
    assert "passage" not in second, "an edge of before it refuses what it does not know"
    async with site.database.transaction() as connection:
        said = await fetch_all(connection, TRAIL)
    common = "the common doors of zones 0x4 (none of the site plan)"
    told = [f"with user verification: may hold {common} open"] * 2 + [f"with user verification: opens {common}"]
    assert {(row["actor"], row["property"], row["outcome"]) for row in said} == {("admin", "aurora", "allowed")}
    assert [row["detail"] for row in said] == told


async def with_common_doors(site: Site, masks: dict[str, int]) -> None:
    plan = plan_of(AURORA)
    rooms = [Room(id=RoomId(name), floor=0, kind="common", type=name) for name in masks]
    doors = [
        msgspec.structs.replace(plan.doors[0], id=DoorId(name), room=RoomId(name), number=0, zones=mask)
        for name, mask in masks.items()
    ]
    whole = msgspec.structs.replace(plan, rooms=(*plan.rooms, *rooms), doors=(*plan.doors, *doors))
    await load_property(site.database, whole, now_ms=NOW_MS)


@pytest.mark.requirement("P11")
async def test_zones_are_told_with_the_doors_that_they_open(site: Site) -> None:
    path = f"{HOUSE}/common-doors"
    for name, status in (("viewer", 403), ("staff", 403), ("other", 404), ("narrow", 404)):
        assert (await site.http.get(path, headers=site.as_(name))).status_code == status
    assert (await site.http.get(path, headers=site.as_("admin"))).json() == {"zones": []}
    await with_common_doors(site, {"pool": 4, "garage": 5, "lobby": 1 << 52, "attic": 1 << 53})
    told = (await site.http.get(path, headers=site.as_("admin"))).json()["zones"]
    assert told == [
        {"zones": 1, "doors": ["garage"]},
        {"zones": 4, "doors": ["pool", "garage"]},
        {"zones": 2**52, "doors": ["lobby"]},  # and none that cannot be asked for
    ]
    for each in told:
        holds = {
            **SHIFT,
            "rooms": [],
            "zones": each["zones"],
            "passage": True,
            "idempotency_key": f"shift-of-{each['zones']}",
        }
        assert (await site.http.post(f"{HOUSE}/staff-keys", headers=site.as_("admin"), json=holds)).status_code == 200
    assert [args["zones"] for _, args in site.edges.effects] == [1, 4, 2**52]


@pytest.mark.requirement("P11")
async def test_the_trail_names_the_doors_that_a_shift_key_opens_and_whether_its_phone_asks_for_its_holder(
    site: Site,
) -> None:
    await with_common_doors(site, {"pool": 1, "garage": 2, "lobby": 4})
    wanted: list[dict[str, Any]] = [
        {"zones": 5, "user_verified": False},
        {"zones": 8, "rooms": []},
        {"rooms": ["101", "102"]},
        {"zones": 2, "rooms": [], "passage": True},
    ]
    for number, changes in enumerate(wanted):
        body = {**SHIFT, "person": "otto", "idempotency_key": f"shift-otto-{number}", **changes}
        answer = await site.http.post(f"{HOUSE}/staff-keys", headers=site.as_("admin"), json=body)
        assert answer.status_code == 200, answer.text
    async with site.database.transaction() as connection:
        told = await fetch_all(connection, TRAIL)
    assert [row["detail"] for row in told] == [
        "without user verification: opens the common doors of zones 0x5 (pool, lobby) and rooms 101",
        "with user verification: opens the common doors of zones 0x8 (none of the site plan)",
        "with user verification: opens rooms 101, 102",
        "with user verification: may hold the common doors of zones 0x2 (garage) open",
    ]


async def test_the_trail_leaves_out_no_room_however_many_a_shift_key_opens(site: Site) -> None:
    rooms = [str(each) for each in range(1_001, 1_065)]
    body = {**SHIFT, "person": "otto", "idempotency_key": "shift-otto-many", "zones": 0, "rooms": rooms}
    answer = await site.http.post(f"{HOUSE}/staff-keys", headers=site.as_("admin"), json=body)
    assert answer.status_code == 200, answer.text
    async with site.database.transaction() as connection:
        details = [row["detail"] for row in await fetch_all(connection, TRAIL)]
        assert (await audit.verify(connection, tenant="northlight")).flaws == ()
    assert [each.split(":")[0] for each in details] == ["1 of 2", "2 of 2"]
    assert all(len(each) <= audit.TEXT_CHARACTERS_MOST for each in details)
    assert [each for each in rooms if not any(each in detail for detail in details)] == []


def approval(number: int) -> dict[str, str]:
    return {"officer": OFFICERS[number], "signature": f"{number}a" * 64}


@pytest.mark.guarantee("G4")
@pytest.mark.requirement("P12")
async def test_an_emergency_key_takes_two_people_and_two_officers(site: Site) -> None:
    async def post(path: str, who: str, body: dict[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
        answer = await site.http.post(f"{HOUSE}/emergency-drafts{path}", headers=site.as_(who), json=body)
        return answer.status_code, answer.json()

    assert (await post("", "viewer", WISH))[0] == 403
    status, draft = await post("", "staff", WISH)
    assert (status, draft["grant"], draft["approvals"], draft["issued"]) == (200, GRANT, [], False)
    assert (await post("", "staff", WISH))[1] == draft, "asked again it is the same draft"
    assert (await post(f"/{GRANT}/key", "staff"))[1]["reason"] == "not_approved"
    assert (await post(f"/{GRANT}/approvals", "staff", approval(0)))[0] == 200
    assert (await post(f"/{GRANT}/approvals", "staff", approval(1)))[0] == 200, "one person is one approval"
    assert (await post(f"/{GRANT}/key", "staff"))[1]["reason"] == "not_approved"
    status, refused = await post(f"/{GRANT}/approvals", "colleague", approval(1))
    assert (status, refused["reason"]) == (409, "not_approvable"), "one officer's key is one officer"
    strange = {**approval(0), "officer": "00000000"}
    assert (await post(f"/{GRANT}/approvals", "colleague", strange))[0] == 409
    assert (await post(f"/{GRANT}/approvals", "viewer", approval(0)))[0] == 403
    status, draft = await post(f"/{GRANT}/approvals", "colleague", approval(0))
    assert {each["by"] for each in draft["approvals"]} == {"staff", "colleague"}
    assert (await post(f"/{GRANT}/key", "colleague"))[1]["reason"] == "not_yours"
    assert [kind for kind, _ in site.edges.effects] == ["emergency_draft"]
    assert await post(f"/{GRANT}/key", "staff") == (200, BUNDLE)
    kind, args = site.edges.effects[-1]
    assert (kind, sorted(each["officer"] for each in args["approvals"])) == ("emergency_key", OFFICERS)
    assert await post(f"/{GRANT}/key", "staff") == (200, BUNDLE), "an answer that was lost is asked for again"
    read = await site.http.get(f"{HOUSE}/emergency-drafts/{GRANT}", headers=site.as_("colleague"))
    assert read.json()["issued"] is True
    assert (await post(f"/{GRANT}/approvals", "admin", approval(0)))[0] == 409
    for path in ("/ffffffffffffffff/key", "/ffffffffffffffff/approvals"):
        assert (await post(path, "staff", approval(0)))[0] == 404
    assert (await site.http.get(f"{HOUSE}/emergency-drafts/{GRANT}", headers=site.as_("other"))).status_code == 404


@pytest.mark.requirement("P12")
async def test_after_its_15_minutes_a_draft_takes_no_approval(site: Site) -> None:
    await site.http.post(f"{HOUSE}/emergency-drafts", headers=site.as_("staff"), json=WISH)
    site.clock.advance(int(timedelta(minutes=15).total_seconds() * 1_000))
    path = f"{HOUSE}/emergency-drafts/{GRANT}/approvals"
    answer = await site.http.post(path, headers=site.as_("staff"), json=approval(0))
    assert (answer.status_code, answer.json()["reason"]) == (409, "not_approvable")
    assert "draft it anew" in answer.json()["detail"]


@pytest.mark.requirement("P17")
def test_a_guest_carries_for_the_house_of_his_own_stay_and_makes_no_key() -> None:
    guest = Principal("guest:s-1", "northlight", Role.GUEST, frozenset({AURORA.id}), account="link", stay=STAY)
    assert may(guest, "door.carry", AURORA.id, STAY).allowed
    assert not may(guest, "door.carry", AURORA.id, "s-2").allowed
    assert not may(guest, "door.carry", "borealis", STAY).allowed
    for action in ("staff_key.issue", "emergency.draft", "emergency.approve"):
        assert not may(guest, action, AURORA.id, STAY).allowed
