"""The doors over the local API and by the cloud's commands, with the real doors process behind them."""

from base64 import b64decode, b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from edge.api.closing_routes import WAITING_SHOWN_MOST, shown
from edge.api.door_routes import CARRIED_AT_ONCE, KeyedDoors, Throttle, door_routes
from edge.api.token import guard
from edge.app import door_commands
from edge.doors.errors import ClockUnsoundError
from kit.clock import ManualClock
from kit.http import PROBLEM_TYPE, application, serving
from protocols import cose
from protocols.device_model.identity import EdgeId
from protocols.door.bundle import Bundle
from protocols.door.phone import Carry, Fetch
from protocols.door.status import Status
from protocols.errors import InvalidInputError
from protocols.grant.certificate import own_certificate
from protocols.grant.grant import open_grant
from protocols.grant.keys import kid_of
from protocols.link.documents import CommandEnvelope
from tests.edge.doors.building import Building
from tests.edge.doors.test_process import doors_running
from tests.edge.doors.test_staff_desk import opens
from tests.edge.doors.test_staff_over_socket import OFFICERS, POINTS, configured

TOKEN = "a" * 64
OTHER = "02" * 33


@asynccontextmanager
async def site(folder: Path) -> AsyncIterator[tuple[Building, KeyedDoors, httpx.AsyncClient]]:
    building = configured(folder, POINTS)
    async with doors_running(folder, building) as doors:
        app = application(door_routes(doors, clock=ManualClock()), guards=[guard(TOKEN)])
        async with serving(app) as port, httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http:
            yield building, doors, http


def told(answer: httpx.Response, status: int = 200) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    if status != 200:
        assert answer.headers["content-type"] == PROBLEM_TYPE
    body: dict[str, Any] = answer.json()
    return body


@pytest.mark.requirement("P9", "P10", "P17")
async def test_a_phone_without_a_token_brings_records_and_takes_a_check_out_to_the_door(tmp_path: Path) -> None:
    async with site(tmp_path) as (building, doors, http):
        anna, mule = building.phone("anna"), building.phone("mule")
        now_ms = building.clock.wall_ms()
        issue: Any = doors
        anna.bundle = Bundle.from_document(
            await issue.issue("stay-1", "101", anna.public, not_before_ms=now_ms, not_after_ms=now_ms + 86_400_000)
        )
        assert opens(anna, "door-101") is Status.OPENED
        await issue.end_stay("stay-1")
        lock = building.locks["door-101"]
        keys = anna.bundle.doors[0].keys
        sealed = mule.ask(keys, Fetch(0), lock).sealed
        brought = {"lock": keys.lock_id.hex(), "sealed": b64encode(sealed).decode()}
        body = {"chunks": [brought, brought], "locks": [keys.lock_id.hex(), "00" * 8]}
        said = told(await http.post("/api/v1/doors/carried", json=body))
        assert [each["outcome"] for each in said["taken"]] == ["stored", "known"]
        [standing] = said["locks"]
        assert (standing["lock"], standing["have"]) == (keys.lock_id.hex(), lock.core.audit_seq)
        for each in standing["carry"]:
            mule.ask(keys, Carry(b64decode(each["signed"]), b64decode(each["certificate"])), lock)
        assert opens(anna, "door-101") is Status.SUPERSEDED
        for wrong in (
            {"chunks": [brought] * 9},
            {"chunks": [{"lock": "x", "sealed": ""}]},
            {"chunks": [{**brought, "sealed": "*"}]},
            {"chunks": "all"},
        ):
            told(await http.post("/api/v1/doors/carried", json=wrong), 400)


async def test_strangers_are_throttled_and_told_when_to_come_again(tmp_path: Path) -> None:
    async with site(tmp_path) as (_, _, http):
        for _ in range(CARRIED_AT_ONCE):
            told(await http.post("/api/v1/doors/carried", json={}))
        answer = await http.post("/api/v1/doors/carried", json={})
        assert told(answer, 429)["retryable"] is True
        assert answer.headers["retry-after"] == "1"


def test_the_throttle_fills_by_the_clock_and_never_over_its_brim() -> None:
    clock = ManualClock()
    throttle = Throttle(clock, most=3, each_s=2)
    assert [throttle.take() for _ in range(4)] == [True, True, True, False]
    clock.advance(499)
    assert not throttle.take()
    clock.advance(1)
    assert throttle.take()
    clock.advance(3_600_000)
    assert [throttle.take() for _ in range(4)] == [True, True, True, False]


@pytest.mark.guarantee("G4")
@pytest.mark.requirement("P11", "P12")
async def test_shift_and_emergency_keys_need_the_token_and_an_emergency_two_officers(tmp_path: Path) -> None:
    async with site(tmp_path) as (building, _, stranger):
        maid, fireman = building.phone("maid"), building.phone("fireman")
        shift = {
            "person": "maria",
            "rooms": ["101"],
            "phone_public_key": maid.public.hex(),
            "not_after_ms": building.clock.wall_ms() + 3_600_000,
            "shift": {"days": 127, "from_minute": 0, "to_minute": 0},
            "by": "clerk-7",
        }
        wish = {
            "person": "anton",
            "rooms": ["101"],
            "phone_public_key": fireman.public.hex(),
            "reason": "smoke",
            "over_privacy": True,
            "by": "clerk-7",
        }
        for path, body in (("staff-keys", shift), ("emergency-drafts", wish), ("emergency-keys", {})):
            told(await stranger.post(f"/api/v1/doors/{path}", json=body), 401)
        http = httpx.AsyncClient(base_url=stranger.base_url, headers={"authorization": f"Bearer {TOKEN}"})
        async with http:
            maid.bundle = Bundle.from_document(told(await http.post("/api/v1/doors/staff-keys", json=shift))["bundle"])
            assert opens(maid, "door-101") is Status.OPENED
            building.locks["door-101"].privacy = True
            draft = told(await http.post("/api/v1/doors/emergency-drafts", json=wish))
            approvals = [
                {
                    "officer": kid_of(key.public_key()).hex(),
                    "signature": cose.sign_raw(key, bytes.fromhex(draft["statement"])).hex(),
                }
                for key in OFFICERS
            ]
            order = {"grant": draft["grant"], "approvals": approvals, "by": "clerk-7"}
            forged = {**approvals[1], "signature": approvals[0]["signature"]}
            for wrong in ([approvals[0]], [approvals[0], approvals[0]], [approvals[0], forged]):
                told(await http.post("/api/v1/doors/emergency-keys", json={**order, "approvals": wrong}), 400)
            made = told(await http.post("/api/v1/doors/emergency-keys", json=order))
            fireman.bundle = Bundle.from_document(made["bundle"])
            assert opens(fireman, "door-101") is Status.OPENED
            doorman = building.phone("doorman")
            zones = {"rooms": [], "zones": building.locks["pool"].identity.zones, "person": "otto", "passage": True}
            holds = {**shift, **zones, "phone_public_key": doorman.public.hex(), "user_verified": False}
            doorman.bundle = Bundle.from_document(
                told(await http.post("/api/v1/doors/staff-keys", json=holds))["bundle"]
            )
            assert doorman.latch("pool").result.status is Status.OPENED
            for mask in (2**53, 2**53 + 1, -1, 1.5, "0x", "4", f"0x1{0:016x}", "0xG"):
                rounded = told(await http.post("/api/v1/doors/staff-keys", json={**holds, "zones": mask}), 400)
                assert "zones" in str(rounded)
            exact = 2**63 + 2**53 + building.locks["pool"].identity.zones
            doorman.bundle = Bundle.from_document(
                told(await http.post("/api/v1/doors/staff-keys", json={**holds, "zones": hex(exact)}))["bundle"]
            )
            assert open_grant(doorman.bundle.grant, own_certificate(doorman.bundle.certificate)).zones == exact
            barred = told(await http.post("/api/v1/doors/staff-keys", json={**holds, "rooms": ["101"]}), 400)
            assert "no room is held open" in barred["detail"]
            refused = told(await http.post("/api/v1/doors/staff-keys", json={**shift, "rooms": ["999"]}), 400)
            assert "999" in refused["detail"]
            told(await http.post("/api/v1/doors/staff-keys", json={**shift, "more": 1}), 400)


@pytest.mark.guarantee("G4")
@pytest.mark.requirement("P8", "P11", "P12")
async def test_what_takes_rights_away_needs_the_token_a_name_and_a_reason(tmp_path: Path) -> None:
    async with site(tmp_path) as (building, doors, stranger):
        anna, ben, token = building.phone("anna"), building.phone("ben"), building.phone("token in the safe")
        now_ms = building.clock.wall_ms()
        issue: Any = doors
        for phone, join in ((anna, False), (ben, True)):
            window = {"not_before_ms": now_ms, "not_after_ms": now_ms + 86_400_000}
            phone.bundle = Bundle.from_document(await issue.issue("stay-1", "101", phone.public, join=join, **window))
        said = {"by": "clerk-7", "reason": "lost"}
        one = {"stay": "stay-1", "phone_public_key": anna.public.hex(), **said}
        spare = {
            "room": "102",
            "phone_public_key": token.public.hex(),
            "not_after_ms": now_ms + 86_400_000,
            "by": "clerk-7",
        }
        orders: dict[str, dict[str, Any]] = {
            "withdrawn-keys": one,
            "lockouts": {"room": "101", "sealed": True, **said},
            "inhibitions": {"room": "102", **said},
            "failsafe-keys": spare,
            "key-cards": {"stay": "stay-1", "by": "clerk-7"},
        }
        for path, body in orders.items():
            told(await stranger.post(f"/api/v1/doors/{path}", json=body), 401)
        for path in ("doors/closings", "stays/stay-1/phones", "stays/stay-1/keys"):
            told(await stranger.get(f"/api/v1/{path}"), 401)
        http = httpx.AsyncClient(base_url=stranger.base_url, headers={"authorization": f"Bearer {TOKEN}"})
        async with http:
            clean = told(await http.get("/api/v1/doors/closings"))
            assert (clean["signed"], clean["doors"], clean["waiting"], clean["sealed"]) == (True, 3, 0, [])
            for path, body in orders.items():
                for wrong in ({**body, "by": ""}, {**body, "more": 1}, {**body, "reason": "two\nlines"}):
                    told(await http.post(f"/api/v1/doors/{path}", json=wrong), 400)
            both = {**one, "person": "maria"}
            told(await http.post("/api/v1/doors/withdrawn-keys", json=both), 400)
            assert told(await http.get("/api/v1/doors/closings")) == clean, "nothing was done"
            done = told(await http.post("/api/v1/doors/withdrawn-keys", json=one))
            assert (len(done["grants"]), done["doors"], done["confirmed"]) == (1, 3, 0)
            phones = {each["phone"]: each for each in told(await http.get("/api/v1/stays/stay-1/phones"))["phones"]}
            assert [phones[each.public.hex()]["withdrawn"] for each in (anna, ben)] == [True, False]
            held = told(await http.get("/api/v1/stays/stay-1/keys"))
            shown = {each["phone"]: (each["withdrawn"], len(each["waiting"])) for each in held["keys"]}
            assert [shown[each.public.hex()] for each in (anna, ben)] == [(True, 2), (False, 0)]
            assert (held["others"], {tuple(each["elsewhere"]) for each in held["keys"]}) == ([], {()})
            assert told(await http.post("/api/v1/doors/lockouts", json=orders["lockouts"])) == {"doors": ["door-101"]}
            standing = told(await http.get("/api/v1/doors/closings"))
            assert [each["grant"] for each in standing["withdrawn"]] == done["grants"]
            assert standing["waiting"] == 3
            [sealed] = standing["sealed"]
            assert (sealed["door"], sealed["sealed"], sealed["confirmed"]) == ("door-101", True, False)
            await http.post("/api/v1/doors/lockouts", json={**orders["lockouts"], "sealed": False})
            assert told(await http.post("/api/v1/doors/inhibitions", json=orders["inhibitions"]))["doors"] == [
                "door-102"
            ]
            made = Bundle.from_document(told(await http.post("/api/v1/doors/failsafe-keys", json=spare))["bundle"])
            assert [each.door for each in made.doors] == ["door-102"]
            taken = {**spare, "room": "101"}
            assert "somebody is in" in told(await http.post("/api/v1/doors/failsafe-keys", json=taken), 400)["detail"]
            no_cards = told(await http.post("/api/v1/doors/key-cards", json=orders["key-cards"]), 400)
            assert "no foreign" in no_cards["detail"]


def test_what_doors_have_still_to_hear_is_cut_to_what_one_answer_holds() -> None:
    door = {"room": "1", "contact_at_ms": None, "confirmed": False}
    told_doors = [{**door, "door": f"door-{n}"} for n in range(500)]
    quiet = {"signed": False, "withdrawn": [], "issuers": [], "doors": told_doors}
    assert (shown(quiet)["signed"], shown(quiet)["waiting"], shown(quiet)["waiting_doors"]) == (True, 0, [])
    busy = shown({**quiet, "withdrawn": [["aa", 5]]})
    assert (busy["signed"], busy["waiting"], len(busy["waiting_doors"])) == (False, 500, WAITING_SHOWN_MOST)


async def test_an_unsound_clock_is_said_as_such_and_may_be_tried_again(tmp_path: Path) -> None:
    class Unsound:
        async def issue_staff(self, *_: object, **__: object) -> dict[str, Any]:
            raise ClockUnsoundError("the clock is not sound")

    doors: Any = Unsound()
    app = application(door_routes(doors, clock=ManualClock(), not_now=[ClockUnsoundError]), guards=[guard(TOKEN)])
    body = {"person": "maria", "rooms": ["101"], "phone_public_key": OTHER, "not_after_ms": 1, "by": "clerk"}
    async with serving(app) as port, httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http:
        answer = await http.post("/api/v1/doors/staff-keys", json=body, headers={"authorization": f"Bearer {TOKEN}"})
    said = told(answer, 503)
    assert (said["retryable"], said["may_have_taken_effect"]) == (True, False)


async def test_an_edge_without_doors_says_so(tmp_path: Path) -> None:
    app = application(door_routes(None, clock=ManualClock()), guards=[guard(TOKEN)])
    async with serving(app) as port, httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http:
        told(await http.post("/api/v1/doors/carried", json={}), 404)
    with pytest.raises(InvalidInputError, match="no doors"):
        await door_commands.obey(None, ordered("doors_carried"))


def ordered(kind: str, **args: Any) -> CommandEnvelope:
    return CommandEnvelope(EdgeId("e-aurora0000000001"), "c-1", "key-1", kind, args, 2_000_000_000_000, 0)


@pytest.mark.requirement("P11", "P12", "P17")
async def test_the_clouds_commands_reach_the_same_doors(tmp_path: Path) -> None:
    async with site(tmp_path) as (building, doors, _):
        maid, fireman = building.phone("maid"), building.phone("fireman")
        shift = ordered(
            "staff_key",
            person="maria",
            rooms=["101"],
            phone_public_key=maid.public.hex(),
            not_after_ms=building.clock.wall_ms() + 3_600_000,
            by="cloud:ann",
        )
        answer = await door_commands.obey(doors, shift)
        maid.bundle = Bundle.from_document(answer["bundle"])
        assert await door_commands.obey(doors, shift) == answer, "asked again it is the same key"
        lock = maid.bundle.doors[0].keys.lock_id.hex()
        standing = await door_commands.obey(doors, ordered("doors_carried", locks=[lock]))
        assert standing == {"taken": [], "locks": [{"lock": lock, "have": 0, "carry": []}]}
        draft = await door_commands.obey(
            doors,
            ordered(
                "emergency_draft",
                person="anton",
                rooms=["101"],
                phone_public_key=fireman.public.hex(),
                reason="smoke",
                over_privacy=False,
                by="cloud:ann",
            ),
        )
        statement = bytes.fromhex(draft["statement"])
        approvals = [
            {"officer": kid_of(key.public_key()).hex(), "signature": cose.sign_raw(key, statement).hex()}
            for key in OFFICERS
        ]
        twice = ordered("emergency_key", grant=draft["grant"], approvals=approvals[:1] * 2, by="cloud:ann")
        with pytest.raises(InvalidInputError, match="two different"):
            await door_commands.obey(doors, twice)
        other = await door_commands.obey(
            doors,
            ordered(
                "emergency_draft",
                person="anton",
                rooms=["102"],
                phone_public_key=fireman.public.hex(),
                reason="smoke",
                over_privacy=False,
                by="cloud:ann",
            ),
        )
        drop = ordered("emergency_drop", grant=other["grant"], by="cloud:ann")
        told_back = [await door_commands.obey(doors, drop) for _ in range(2)]
        assert told_back == [{"dropped": True, "issued": False}, {"dropped": False, "issued": False}]
        order = ordered("emergency_key", grant=draft["grant"], approvals=approvals, by="cloud:ann")
        fireman.bundle = Bundle.from_document((await door_commands.obey(doors, order))["bundle"])
        assert opens(fireman, "door-101") is Status.OPENED
        drop = ordered("emergency_drop", grant=draft["grant"], by="cloud:ann")
        assert await door_commands.obey(doors, drop) == {"dropped": False, "issued": True}
        why = {"by": "cloud:ann", "reason": "lost"}
        gone = await door_commands.obey(doors, ordered("withdraw_key", person="maria", **why))
        assert len(gone["grants"]) == 1
        assert (await door_commands.obey(doors, ordered("lock_out", room="102", sealed=True, **why)))["doors"]
        assert (await door_commands.obey(doors, ordered("inhibit", room="102", **why)))["doors"] == ["door-102"]
        standing = await door_commands.obey(doors, ordered("door_closings"))
        assert [each["grant"] for each in standing["withdrawn"]] == gone["grants"]
        assert await door_commands.obey(doors, ordered("stay_phones", stay="stay-9")) == {"phones": []}
        assert await door_commands.obey(doors, ordered("stay_keys", stay="stay-9")) == {"keys": [], "others": []}
        for kind, wrong in (
            ("staff_key", {"person": "x"}),
            ("doors_carried", {"more": 1}),
            ("nothing", {}),
            ("key_cards", {"stay": "stay-9", "by": "cloud:ann"}),
            ("withdraw_key", why),
            ("lock_out", {"room": "999", "sealed": True, **why}),
            ("inhibit", {"room": "999", **why}),
            ("failsafe_key", {"room": "102"}),
            ("door_closings", {"more": 1}),
            ("stay_phones", {"stay": "no stay"}),
            ("stay_keys", {"stay": "stay-9", "more": 1}),
        ):
            with pytest.raises(InvalidInputError):
                await door_commands.obey(doors, ordered(kind, **wrong))
