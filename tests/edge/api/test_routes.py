"""The local API over HTTP: what it tells, what it refuses, and in which words."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from msgspec import structs

from edge.api.routes import BODY_BYTES_MAX, make_app
from edge.app.building import HouseBuilding
from kit.clock import ManualClock
from kit.dice import SeededDice
from kit.health import Health
from kit.http import PROBLEM_TYPE, serving
from kit.metrics import Metrics
from protocols.device_model.reading import Quality
from tests.edge.world import HEATING, PHONE, T0, Building, a_document, a_stay, contact

TOKEN = "a" * 64


@dataclass
class Site:
    building: Building
    health: Health
    http: httpx.AsyncClient


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    clock = ManualClock(wall_ms=T0)
    building = Building(clock)
    await building.house.desired("stays", 1, a_document(a_stay(), a_stay("s-left", "102", state="left")))
    health = Health(clock)
    health.expect("log")
    told = HouseBuilding(
        building.house, plan=building.plan, link=lambda: {"configured": False}, devices=list, clock=clock
    )
    app = make_app(told, token=TOKEN, health=health, metrics=Metrics("test"), clock=clock, dice=SeededDice(1))
    async with serving(app) as port, httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http:
        http.headers["authorization"] = f"Bearer {TOKEN}"
        yield Site(building, health, http)
    await building.store.close()


def problem(response: httpx.Response, status: int) -> dict[str, Any]:
    assert (response.status_code, response.headers["content-type"]) == (status, PROBLEM_TYPE), response.text
    body: dict[str, Any] = response.json()
    assert body["status"] == status
    return body


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/v1/rooms"),
        ("GET", "/api/v1/rooms/101"),
        ("GET", "/api/v1/devices"),
        ("GET", "/api/v1/stays"),
        ("GET", "/api/v1/link"),
        ("POST", "/api/v1/rooms/101/commands"),
        ("POST", "/api/v1/stays/s-anna/check-in"),
        ("POST", "/api/v1/stays/s-anna/check-out"),
        ("POST", "/api/v1/stays/s-anna/end"),
    ],
)
async def test_without_the_token_nothing_is_told_and_nothing_done(site: Site, method: str, path: str) -> None:
    for given in ("", "Bearer", "Bearer x", "Bearer " + "b" * 64, "Basic " + TOKEN, TOKEN, "bearer é"):
        answer = await site.http.request(method, path, headers={b"authorization": given.encode()}, json={})
        problem(answer, 401)


async def test_health_needs_no_token_and_ready_waits_for_every_part(site: Site) -> None:
    async with httpx.AsyncClient(base_url=site.http.base_url) as stranger:
        assert (await stranger.get("/health")).status_code == 200
        assert (await stranger.get("/ready")).status_code == 503
        site.health.report("log", ok=True)
        assert (await stranger.get("/ready")).status_code == 200
        assert (await stranger.get("/metrics")).status_code == 200


@pytest.mark.requirement("DEV-06")
@pytest.mark.guarantee("G17")
async def test_a_room_is_told_with_its_mode_its_stay_and_the_age_of_what_it_reports(site: Site) -> None:
    await site.building.heard(contact("101", closed=True))
    answer = (await site.http.get("/api/v1/rooms/101")).json()
    assert (answer["id"], answer["mode"], answer["stay"]) == ("101", "vacant_set_back", None)
    [reported] = answer["reported"]
    assert (reported["device"], reported["value"], reported["quality"]) == ("contact-101", True, "good")
    assert isinstance(site.building.clock, ManualClock)
    site.building.clock.advance(3_600_000)
    [reported] = (await site.http.get("/api/v1/rooms/101")).json()["reported"]
    assert (reported["value"], reported["quality"], reported["age_ms"]) == (True, "stale", 3_600_000)
    assert [each["id"] for each in (await site.http.get("/api/v1/rooms")).json()["rooms"]] == ["101", "102"]


async def test_a_bad_value_is_told_with_its_reason(site: Site) -> None:
    good = contact("101", closed=True)
    for reading in (good, structs.replace(good, value=None, quality=Quality.BAD, reason="wrong_type: 'MAYBE'")):
        site.building.noted(reading)
        [reported] = (await site.http.get("/api/v1/rooms/101")).json()["reported"]
        assert (reported["value"], reported["quality"]) == (reading.value, reading.quality)
        assert reported["reason"] == reading.reason


@pytest.mark.requirement("CHK-10")
@pytest.mark.requirement("STY-08")
async def test_a_guest_is_checked_in_and_out_over_http(site: Site) -> None:
    answer = await site.http.post("/api/v1/stays/s-anna/check-in", json={"phone_public_key": PHONE, "by": "kiosk"})
    assert answer.status_code == 200
    assert answer.json()["bundle"]["stay"] == "s-anna"
    stays = {each["id"]: each for each in (await site.http.get("/api/v1/stays")).json()["stays"]}
    assert (stays["s-anna"]["state"], stays["s-anna"]["decided_by"]) == ("in_house", "kiosk")
    for _ in range(2):
        answer = await site.http.post("/api/v1/stays/s-anna/check-out", json={"by": "desk"})
        assert (answer.status_code, answer.json()["state"]) == (200, "left")


async def test_a_refused_check_in_says_why_in_words_and_in_a_code(site: Site) -> None:
    body = {"phone_public_key": PHONE, "by": "kiosk"}
    assert problem(await site.http.post("/api/v1/stays/s-left/check-in", json=body), 409)["reason"] == "ended"
    assert problem(await site.http.post("/api/v1/stays/s-nobody/check-in", json=body), 404)["reason"] == "unknown_stay"
    site.building.doors.away = True
    lost = problem(await site.http.post("/api/v1/stays/s-anna/check-in", json=body), 503)
    assert (lost["retryable"], lost["may_have_taken_effect"]) == (True, False)
    site.building.doors.away, site.building.doors.silent = False, True
    silent = problem(await site.http.post("/api/v1/stays/s-anna/check-in", json=body), 504)
    assert silent["may_have_taken_effect"] is True


COMMAND = {"capability": "thermostat", "attribute": HEATING, "value": 22.0, "idempotency_key": "key-00001"}


@pytest.mark.guarantee("G13")
@pytest.mark.requirement("DEV-06")
async def test_a_room_command_is_answered_with_what_was_read_back(site: Site) -> None:
    for _ in range(2):
        answer = await site.http.post("/api/v1/rooms/101/commands", json=COMMAND)
        assert answer.status_code == 200
        assert answer.json() == {"phase": "done", "read_back": 22.0, "reason": None, "may_have_taken_effect": True}
    assert len(site.building.devices.effects) == 1


@pytest.mark.guarantee("G13")
async def test_a_device_that_does_not_answer_is_unknown_and_not_a_success(site: Site) -> None:
    site.building.devices.outcomes = ["lost"]
    answer = (await site.http.post("/api/v1/rooms/101/commands", json=COMMAND)).json()
    assert (answer["phase"], answer["read_back"], answer["may_have_taken_effect"]) == ("unknown", None, True)


@pytest.mark.guarantee("G19")
@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/api/v1/rooms/101/commands", {**COMMAND, "value": 35}, 400),
        ("/api/v1/rooms/101/commands", {**COMMAND, "value": None}, 400),
        ("/api/v1/rooms/101/commands", {**COMMAND, "value": {"deep": []}}, 400),
        ("/api/v1/rooms/101/commands", {**COMMAND, "capability": "door_lock"}, 400),
        ("/api/v1/rooms/101/commands", {**COMMAND, "capability": "teleport"}, 400),
        ("/api/v1/rooms/101/commands", {**COMMAND, "surprise": 1}, 400),
        ("/api/v1/rooms/101/commands", {**COMMAND, "idempotency_key": "ké y"}, 400),
        ("/api/v1/rooms/101/commands", {**COMMAND, "deadline_ms": 10**15}, 400),
        ("/api/v1/rooms/101/commands", [], 400),
        ("/api/v1/rooms/999/commands", COMMAND, 404),
        ("/api/v1/rooms/lobby/commands", COMMAND, 404),
        ("/api/v1/rooms/%20/commands", COMMAND, 400),
        ("/api/v1/stays/s-anna/check-in", {"phone_public_key": "02", "by": "x"}, 400),
        ("/api/v1/stays/s-anna/check-in", {"phone_public_key": PHONE}, 400),
        ("/api/v1/stays/s-anna/check-in", {"phone_public_key": PHONE, "by": "\n"}, 400),
        ("/api/v1/stays/S%20ANNA/check-in", {"phone_public_key": PHONE, "by": "x"}, 400),
        ("/api/v1/stays/s-anna/check-out", {"by": 5}, 400),
        ("/api/v1/nothing", {}, 404),
    ],
)
async def test_what_makes_no_sense_is_a_problem_and_never_a_500(
    site: Site, path: str, body: object, status: int
) -> None:
    problem(await site.http.post(path, json=body), status)
    assert site.building.devices.effects == []


@pytest.mark.guarantee("G9")
async def test_a_body_over_the_bound_is_refused(site: Site) -> None:
    answer = await site.http.post("/api/v1/rooms/101/commands", content=b"x" * (BODY_BYTES_MAX + 1))
    assert answer.status_code == 413


@pytest.mark.guarantee("G19")
@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"null", b"[" * 5_000])
async def test_what_is_no_json_is_a_problem(site: Site, content: bytes) -> None:
    headers = {"content-type": "application/json"}
    answer = await site.http.post("/api/v1/rooms/101/commands", content=content, headers=headers)
    problem(answer, 400)


@pytest.mark.requirement("STY-08")
async def test_a_stay_is_made_longer_and_shorter_and_what_is_wrong_is_refused(site: Site) -> None:
    path, later_ms = "/api/v1/stays/s-anna/end", T0 + 72 * 3_600_000
    body: dict[str, Any] = {"until_ms": later_ms, "by": "Frau Maier"}
    assert problem(await site.http.post(path, json=body), 409)["reason"] == "not_in_house"
    await site.http.post("/api/v1/stays/s-anna/check-in", json={"phone_public_key": PHONE, "by": "desk"})
    told = await site.http.post(path, json={**body, "phone_public_key": PHONE})
    assert (told.status_code, told.json()["until_ms"], told.json()["bundle"]["not_after_ms"]) == (
        200,
        later_ms,
        later_ms,
    )
    [anna, _] = (await site.http.get("/api/v1/stays")).json()["stays"]
    assert (anna["expected_until_ms"], anna["until_by"]) == (later_ms, "Frau Maier")
    assert "bundle" not in (await site.http.post(path, json={**body, "until_ms": later_ms - 1})).json()
    for wrong in (
        {"until_ms": T0},
        {"until_ms": -1},
        {"until_ms": "tomorrow"},
        {"until_ms": None},
        {"by": ""},
        {"by": "cloud\n"},
        {"phone_public_key": "05"},
        {"nights": 1},
    ):
        problem(await site.http.post(path, json={**body, **wrong}), 400)
    problem(await site.http.post("/api/v1/stays/s-nobody/end", json=body), 404)
    assert (await site.http.get("/api/v1/stays")).json()["stays"][0]["expected_until_ms"] == later_ms - 1


@pytest.mark.requirement("STY-08")
async def test_nobody_at_the_desk_is_taken_for_the_pms_in_the_house(site: Site) -> None:
    stay, key = "/api/v1/stays/s-anna", {"phone_public_key": PHONE, "by": "pms"}

    async def refused(path: str, body: dict[str, Any]) -> None:
        assert "name who at the desk asks" in problem(await site.http.post(path, json=body), 400)["detail"]

    await refused(f"{stay}/check-in", key)
    assert (await site.http.get("/api/v1/stays")).json()["stays"][0]["decided_by"] is None
    await site.http.post(f"{stay}/check-in", json={**key, "by": "desk"})
    await refused(f"{stay}/end", {"until_ms": T0 + 72 * 3_600_000, "by": "pms"})
    await refused(f"{stay}/move", {**key, "room": "102"})
    [anna, _] = (await site.http.get("/api/v1/stays")).json()["stays"]
    assert (anna["decided_by"], anna["until_by"], anna["room"]) == ("desk", None, "101")
