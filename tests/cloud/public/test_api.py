"""The HTTP API: closed unless said otherwise, foreign things absent, every answer of its documented shape."""

import json
import re
from typing import Any

import pytest

from cloud.access.doors import AccessFact, apply_facts
from cloud.app.plan import load_property
from cloud.kit.database import fetch_all
from cloud.stays.life import EdgeState
from cloud.stays.stays import EdgeFact, apply_edge_facts, stay_id, upsert_reservations
from tests.cloud.edges import done
from tests.cloud.houses import AURORA, NOW_MS, PLACE, plan_of, reservation
from tests.cloud.public.conftest import HOOK, Site, token
from tests.cloud.telemetry.sending import show_live

pytestmark = pytest.mark.tier("postgres")
STAY = stay_id(AURORA.id, "mews", "r1")
PHONE = "02" + "ab" * 32
CHECK_IN = {"phone_public_key": PHONE, "idempotency_key": "k1"}
COMMAND = {"capability": "on_off", "attribute": "on_off", "value": True, "idempotency_key": "k1"}
CHANGING = frozenset({"post", "put"})
BODIES: dict[str, object] = {
    "check-in": CHECK_IN,
    "check-out": {},
    "commands": COMMAND,
    "session": {},
    "g1": {"surname": "Berger", "given_names": "Anna"},
    "document": {"mrz": "P<UTO"},
    "signature": {"signed_as": "Anna Berger"},
    "terms": {"version": "1"},
    "payment": {"payment_method": "pm_card_visa", "idempotency_key": "k1"},
    "capture": {"minor": 1, "idempotency_key": "k1"},
    "release": {"idempotency_key": "k1"},
    "refund": {"minor": 1, "idempotency_key": "k1"},
    "room-assignments": {"arrivals": [{"stay": "s-other", "type": "double"}]},
    "help": {"reason": "two suitcases"},
    "stays": {"stay": "s-other"},
    "waivers": {"step": "terms", "subject": "party", "reason": "on paper"},
}


async def get(site: Site, path: str, name: str = "admin") -> Any:
    answer = await site.http.get(path, headers=site.as_(name))
    assert answer.status_code == 200, answer.text
    return answer.json()


async def document(site: Site) -> dict[str, Any]:
    return dict(await get(site, "/api/v1/schema/openapi.json"))


async def book(site: Site) -> None:
    async with site.database.transaction() as connection:
        await upsert_reservations(connection, PLACE, [reservation()], now_ms=NOW_MS)


async def operations(site: Site) -> list[tuple[str, str]]:
    """Every operation of the API's own description."""
    return [(method, path) for path, item in (await document(site))["paths"].items() for method in item]


async def example(site: Site, method: str, path: str) -> Any:
    """The body that the description itself gives for the operation at an address; None: it takes none."""
    for known, item in (await document(site))["paths"].items():
        if method in item and re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", known), path):
            content = item[method].get("requestBody", {}).get("content", {})
            return content.get("application/json", {}).get("example")
    return None


async def ask(site: Site, method: str, path: str, headers: dict[str, str]) -> tuple[int, bytes]:
    body = (BODIES.get(path.rpartition("/")[2]) or await example(site, method, path)) if method in CHANGING else None
    answer = await site.http.request(method.upper(), path, headers=headers, json=body)
    return answer.status_code, answer.content


def filled(path: str, *, house: str, stay: str = STAY, room: str = "101", command: str = "c-1") -> str:
    values = {"property_id": house, "stay_id": stay, "room_id": room, "command_id": command}
    values |= {
        "slot": "g1",
        "day": "2026-11-18",
        "payment_id": "p-1",
        "release_id": "r",
        "endpoint_id": "e",
        "grant_id": "a1a2a3a4a5a6a7a8",
        "version": "2026-1",
        "language": "de",
        "kiosk_id": "k-1",
        "guest_id": "g-1",
    }
    return re.sub(r"\{(\w+)\}", lambda match: values[match.group(1)], path)


@pytest.mark.requirement("PLT-06")
@pytest.mark.requirement("API-31")
async def test_every_route_is_closed_to_strangers(site: Site) -> None:
    known = await operations(site)
    assert len(known) >= 13
    for method, path in known:
        status, body = await ask(site, method, filled(path, house="aurora"), {})
        assert status == 401, path
        assert json.loads(body)["type"] == "urn:innkeeper:problem:unauthenticated"
        status, _ = await ask(site, method, filled(path, house="aurora"), {"Authorization": f"Bearer {'x' * 40}"})
        assert status == 403, path
        status, _ = await ask(site, method, filled(path, house="aurora"), {"Authorization": "Basic eDp5"})
        assert status == 401, path


@pytest.mark.guarantee("G8")
@pytest.mark.requirement("PLT-01")
async def test_another_tenants_thing_does_not_exist_to_the_byte(site: Site) -> None:
    """Generated from the API's own description: a new route is in it without anybody thinking of it."""
    await book(site)
    site.edges.obey = lambda _kind, _args: done({"bundle": {}})
    begun = await site.http.post(f"/api/v1/properties/aurora/stays/{STAY}/session", json={}, headers=site.as_("staff"))
    assert begun.status_code == 200
    # no member of the staff may, wherever: tests/cloud/public/test_openings.py, tests/cloud/checkin/test_kiosks.py
    of_guest = ("/door-openings", "/kiosk-visits", "/kiosk-visit", "/kiosk-visit/card", "/phone-link")
    every = await operations(site)
    scoped = [(method, path) for method, path in every if "{property_id}" in path and not path.endswith(of_guest)]
    assert len(scoped) >= 12
    for method, path in scoped:
        absent = await ask(site, method, filled(path, house="no-such-house"), site.as_("other"))
        assert absent[0] == 404, path
        for who in ("other", "narrow"):
            assert await ask(site, method, filled(path, house="aurora"), site.as_(who)) == absent, path
        own = await ask(site, method, filled(path, house="aurora"), site.as_("admin"))
        of_building = (
            "/card", "/carried", "/staff-keys", "/emergency-drafts", "{grant_id}", "/approvals", "/key", "/phones",
            "/withdrawn-keys", "/withdrawn-staff-keys", "/lockout", "/inhibition", "/failsafe-keys", "/closings",
            "/key-cards", "/session/terms", "{language}", "/keys", "/taken-back-keys",
            "{kiosk_id}", "/guest", "{guest_id}", "{guest_id}/stays", "{guest_id}/preferences",
        )  # fmt: skip
        if "{command_id}" not in path and "{payment_id}" not in path and not path.endswith(of_building):
            assert own[0] in (200, 201, 204, 400, 409), (path, own)
        elsewhere = {"stay": "s-other", "room": "no-such-room", "command": "c-other"}
        if path.count("{") > 1 and "{day}" not in path and "{version}" not in path:
            assert await ask(site, method, filled(path, house="aurora", **elsewhere), site.as_("admin")) == absent, path
    assert site.edges.sent == [] or {each[0] for each in site.edges.sent} == {AURORA.edge}


async def test_a_viewer_reads_and_does_not_act(site: Site) -> None:
    await book(site)
    for method, path in await operations(site):
        status, _ = await ask(site, method, filled(path, house="aurora"), site.as_("viewer"))
        staffs = (
            "/records", "/session", "/people", "/card", "/registrations/{day}", "/payments", "{release_id}",
            "/webhooks", "/hand-overs", "{grant_id}", "/emergency-drafts", "/phones", "/closings", "/door-log",
                "/key-term", "/terms", "{language}", "/keys", "/kiosks", "/waiting-refunds", "/refund-rule",
                "/common-doors", "/late-check-out", "/late-check-outs", "/guest", "{guest_id}", "{guest_id}/stays",
        )  # fmt: skip
        closed = method in {"post", "put", "delete"} or path.endswith(staffs)
        assert (status == 403) == closed, path
    assert site.edges.sent == []


async def test_lists_hold_only_what_the_caller_may_name(site: Site) -> None:
    ours = await get(site, "/api/v1/properties", "viewer")
    assert [(each["id"], each["rooms"], each["link"]["state"]) for each in ours["properties"]] == [
        ("aurora", 3, "never")
    ]
    assert (await get(site, "/api/v1/properties", "narrow")) == {"properties": []}
    theirs = await get(site, "/api/v1/properties", "other")
    assert [each["id"] for each in theirs["properties"]] == ["borealis"]


@pytest.mark.requirement("PLT-10")
async def test_a_property_is_what_its_site_plan_says_and_changes_with_it(site: Site) -> None:
    await load_property(site.database, plan_of(AURORA, rooms=("101", "104"), name="Aurora Grand"), now_ms=NOW_MS)
    told = await get(site, "/api/v1/properties/aurora")
    assert (told["name"], told["zone"], told["rooms"]) == ("Aurora Grand", "Europe/Vienna", 2)
    rooms = (await get(site, "/api/v1/properties/aurora/rooms"))["rooms"]
    assert [room["id"] for room in rooms] == ["101", "104"]


@pytest.mark.requirement("STY-06")
@pytest.mark.guarantee("G17")
async def test_a_room_says_what_is_known_and_null_for_what_is_not(site: Site) -> None:
    [room, *_] = (await get(site, "/api/v1/properties/aurora/rooms"))["rooms"]
    assert room == {
        "id": "101",
        "floor": 1,
        "kind": "guest_room",
        "type": "double",
        "mode": None,
        "lock": {"door": "door-101", "state": "unknown", "state_at": None, "battery_percent": None, "last_event": None},
        "light": None,
        "climate": None,
        "occupancy": None,
        "contact": None,
        "stay": None,
        "conflicts": [],
    }


@pytest.mark.guarantee("G17")
async def test_what_an_edge_measured_is_stale_while_the_edge_is_not_heard(site: Site) -> None:
    body = {
        "room": "101", "device": "t-101", "capability": "thermostat", "attribute": "local_temperature",
        "value": 21.5, "unit": "Cel", "quality": "good",
    }  # fmt: skip
    async with site.database.transaction() as connection:
        await show_live(connection, body, at_ms=NOW_MS, received_ms=NOW_MS)
    [room, *_] = (await get(site, "/api/v1/properties/aurora/rooms"))["rooms"]
    assert room["climate"] == {
        "temperature": 21.5,
        "setpoint": None,
        "unit": "°C",
        "at": "2026-11-18T11:06:40.000Z",
        "quality": "stale",
    }


@pytest.mark.requirement("STY-08")
@pytest.mark.requirement("CHK-01")
async def test_a_guest_checks_in_from_afar_and_the_room_shows_the_stay(site: Site) -> None:
    await book(site)
    site.edges.obey = lambda _kind, _args: done({"bundle": {"v": 1, "doors": []}})
    path = f"/api/v1/properties/aurora/stays/{STAY}"
    answer = await site.http.post(f"{path}/check-in", headers=site.as_("staff"), json=CHECK_IN)
    assert answer.status_code == 200, answer.text
    assert answer.json()["bundle"] == {"v": 1, "doors": []}
    assert answer.json()["stay"]["state"] == "ready"
    async with site.database.transaction() as connection:
        fact = EdgeFact(STAY, EdgeState.CHECKED_IN, "101", "cloud", NOW_MS, b"i" * 16, 1)
        await apply_edge_facts(connection, PLACE, [fact], now_ms=NOW_MS)
    [room, *_] = (await get(site, "/api/v1/properties/aurora/rooms"))["rooms"]
    assert room["stay"] == {
        "id": STAY, "state": "in_house", "guest_name": "Anna Berger", "until": "2026-11-19T11:06:40.000Z",
    }  # fmt: skip
    answer = await site.http.post(f"{path}/check-out", headers=site.as_("staff"))
    assert answer.status_code == 200, answer.text
    assert site.edges.effects[-1][0] == "check_out"


@pytest.mark.guarantee("G17")
async def test_silence_of_the_edge_is_504_that_says_it_may_have_happened(site: Site) -> None:
    await book(site)
    site.edges.silent = True
    path = f"/api/v1/properties/aurora/stays/{STAY}/check-in"
    answer = await site.http.post(path, headers=site.as_("staff"), json=CHECK_IN)
    assert answer.status_code == 504
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["may_have_taken_effect"] is True
    site.edges.silent, site.edges.lost = False, True
    answer = await site.http.post(path, headers=site.as_("staff"), json={**CHECK_IN, "idempotency_key": "k2"})
    assert (answer.status_code, answer.json()["may_have_taken_effect"]) == (503, False)


async def test_too_early_is_409_with_the_time_from_which_it_will_do(site: Site) -> None:
    day_ms = 24 * 3_600_000
    async with site.database.transaction() as connection:
        later = reservation(arrival_ms=NOW_MS + 2 * day_ms, departure_ms=NOW_MS + 3 * day_ms)
        await upsert_reservations(connection, PLACE, [later], now_ms=NOW_MS)
    path = f"/api/v1/properties/aurora/stays/{STAY}/check-in"
    answer = await site.http.post(path, headers=site.as_("staff"), json=CHECK_IN)
    assert answer.status_code == 409
    assert (answer.json()["reason"], answer.json()["available_from"]) == ("too_early", "2026-11-19T11:06:40.000Z")


async def test_a_room_is_commanded_once_a_key_and_the_outcome_can_be_asked_for(site: Site) -> None:
    site.edges.obey = lambda _kind, _args: done({"read_back": True})
    path = "/api/v1/properties/aurora/rooms/101/commands"
    first = await site.http.post(path, headers=site.as_("staff"), json=COMMAND)
    again = await site.http.post(path, headers=site.as_("staff"), json=COMMAND)
    assert first.json() == again.json()
    assert (first.json()["phase"], first.json()["read_back"]) == ("done", True)
    assert len(site.edges.effects) == 1
    assert await get(site, f"/api/v1/properties/aurora/commands/{first.json()['id']}") == first.json()
    other = await site.http.post(path, headers=site.as_("staff"), json={**COMMAND, "value": False})
    assert (other.status_code, other.json()["type"]) == (409, "urn:innkeeper:problem:key-reused")


@pytest.mark.parametrize(
    ("path", "body", "named"),
    [
        ("rooms/101/commands", {**COMMAND, "capability": "teleport"}, "capability"),
        ("rooms/101/commands", {**COMMAND, "attribute": "colour"}, "on_off.colour"),
        ("rooms/101/commands", {**COMMAND, "value": 7}, "value"),
        ("rooms/101/commands", {**COMMAND, "deadline_s": 0}, "deadline_s"),
        ("rooms/101/commands", {**COMMAND, "surprise": 1}, "surprise"),
        ("rooms/101/commands", {**COMMAND, "idempotency_key": "a b"}, "idempotency_key"),
        (f"stays/{STAY}/check-in", {**CHECK_IN, "phone_public_key": "04" + "ab" * 32}, "phone_public_key"),
        (f"stays/{STAY}/check-in", {"idempotency_key": "k"}, "phone_public_key"),
    ],
)
@pytest.mark.guarantee("G19")
async def test_bad_input_is_400_and_names_its_place(site: Site, path: str, body: dict[str, Any], named: str) -> None:
    await book(site)
    answer = await site.http.post(f"/api/v1/properties/aurora/{path}", headers=site.as_("staff"), json=body)
    assert answer.status_code == 400, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert named in answer.text
    assert site.edges.sent == []


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=501", "limit=x", "before=yesterday", "before=2026-01-01T00:00:00~1", "before=~", "before=a~-1"],
)
@pytest.mark.guarantee("G19")
async def test_a_bad_query_is_400_and_names_its_place(site: Site, query: str) -> None:
    answer = await site.http.get(f"/api/v1/properties/aurora/access-events?{query}", headers=site.as_("viewer"))
    assert answer.status_code == 400, answer.text
    assert query.partition("=")[0] in answer.text


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff\xfe", b"[" * 5_000, b'{"value": 1e999}', b"null"])
@pytest.mark.guarantee("G19")
async def test_no_body_makes_a_500(site: Site, body: bytes) -> None:
    await book(site)
    for path in ("rooms/101/commands", f"stays/{STAY}/check-in", f"stays/{STAY}/check-out"):
        answer = await site.http.post(
            f"/api/v1/properties/aurora/{path}",
            headers={**site.as_("staff"), "Content-Type": "application/json"},
            content=body,
        )
        assert answer.status_code < 500, (path, answer.text)


async def test_a_body_beyond_any_need_is_refused_by_size(site: Site) -> None:
    answer = await site.http.post(
        "/api/v1/properties/aurora/rooms/101/commands", headers=site.as_("staff"), json={**COMMAND, "x": "y" * 70_000}
    )
    assert answer.status_code == 413


@pytest.mark.requirement("ACC-12")
@pytest.mark.requirement("ACC-23")
async def test_door_events_are_paged_newest_first(site: Site) -> None:
    facts = [
        AccessFact(
            b"i" * 16,
            n,
            "door-101",
            "101",
            "lock",
            n,
            NOW_MS + n,
            "synchronised",
            "refused",
            "expired",
            "g",
            STAY,
            1,
            None,
        )
        for n in range(1, 8)
    ]
    async with site.database.transaction() as connection:
        await apply_facts(
            connection, tenant="northlight", property_id="aurora", edge=AURORA.edge, facts=facts, now_ms=NOW_MS
        )
    path, seen = "/api/v1/properties/aurora/access-events?limit=3", list[int]()
    page = await get(site, path, "viewer")
    assert page["events"][0]["reason"] == "expired"
    assert page["events"][0]["stay"] == STAY
    while True:
        seen.extend(event["lock_seq"] for event in page["events"])
        if page["next"] is None:
            break
        answer = await site.http.get(path, headers=site.as_("viewer"), params={"limit": 3, "before": page["next"]})
        page = answer.json()
    assert seen == [7, 6, 5, 4, 3, 2, 1]


@pytest.mark.requirement("PMS-08")
@pytest.mark.guarantee("G19")
async def test_a_push_is_stored_as_a_hint_behind_its_secret_and_nothing_else_is(site: Site) -> None:
    push = {"Events": [{"Discriminator": "ServiceOrderUpdated", "Value": {"Id": "r-77"}}]}
    assert (await site.http.post(f"/webhooks/pms/{HOOK}", json=push)).status_code == 200
    assert (await site.http.post(f"/webhooks/pms/{HOOK}", json=push)).status_code == 200
    assert (await site.http.post(f"/webhooks/pms/{HOOK[:-1]}", json=push)).status_code == 404
    for bad in (b"", b"{", b'{"Events": 3}', b"\x00" * 100):
        assert (await site.http.post(f"/webhooks/pms/{HOOK}", content=bad)).status_code == 400
    assert (await site.http.post(f"/webhooks/pms/{HOOK}", content=b"x" * 300_000)).status_code == 413
    async with site.database.transaction() as connection:
        [hint] = await fetch_all(connection, "SELECT kind, external_id, times FROM pms.hint")
    assert tuple(hint.values()) == ("reservation", "r-77", 2)


@pytest.mark.requirement("PLT-03")
async def test_signing_in_sets_a_cookie_that_only_our_own_site_can_act_with(site: Site) -> None:
    await book(site)
    answer = await site.http.get("/sign-in", params={"token": token("staff")})
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    cookie = answer.headers["set-cookie"].lower()
    assert all(word in cookie for word in ("httponly", "samesite=strict", "secure"))
    assert token("staff") not in cookie
    jar = {"Cookie": answer.headers["set-cookie"].partition(";")[0]}
    assert (await site.http.get("/api/v1/properties", headers=jar)).status_code == 200
    path = "/api/v1/properties/aurora/rooms/101/commands"
    for origin, status in (
        (None, 403),
        ("https://evil.example", 403),
        ("null", 403),
        ("http://cloud.test", 200),
        ("https://console.example", 200),
    ):
        headers = jar if origin is None else {**jar, "Origin": origin}
        assert (await site.http.post(path, headers=headers, json=COMMAND)).status_code == status, origin
    leaving = await site.http.post("/sign-out", headers={**jar, "Origin": "http://cloud.test"})
    assert leaving.status_code == 204
    assert (await site.http.get("/api/v1/properties", headers=jar)).status_code == 401
    assert (await site.http.get("/sign-in", params={"token": "x" * 40})).status_code == 403


@pytest.mark.requirement("SEC-21")
async def test_the_page_is_served_strictly_and_falls_back_to_itself(site: Site) -> None:
    unbuilt = await site.http.get("/rooms/101")
    assert "make web" in unbuilt.text
    (site.web / "assets").mkdir(parents=True)
    (site.web / "index.html").write_text("<!doctype html><p>console")
    (site.web / "assets" / "app-1a2b.js").write_text("console.log(1)")
    (site.web.parent / "secret.txt").write_text("not yours")
    for path in ("/", "/rooms/101", "/../secret.txt", "/%2e%2e/secret.txt", "/..%2fsecret.txt"):
        page = await site.http.get(path)
        assert (page.status_code, page.text) == (200, "<!doctype html><p>console"), path
        assert page.headers["cache-control"] == "no-cache"
        assert "script-src 'self';" in page.headers["content-security-policy"]
        assert page.headers["x-content-type-options"] == "nosniff"
    script = await site.http.get("/assets/app-1a2b.js")
    assert "immutable" in script.headers["cache-control"]
    assert script.headers["content-type"].startswith(("text/javascript", "application/javascript"))
    tag = script.headers["etag"]
    assert (await site.http.get("/assets/app-1a2b.js", headers={"If-None-Match": tag})).status_code == 304
    assert (await site.http.get("/assets/gone.js")).status_code == 404
    assert (await site.http.get("/api/v2/rooms")).status_code == 404
    refused = await site.http.get("/api/v1/properties")
    assert refused.headers["strict-transport-security"].startswith("max-age=31536000")
    assert refused.headers["cache-control"] == "no-store"


async def test_operations_are_open_and_say_nothing_of_guests(site: Site) -> None:
    await book(site)
    for path in ("/health", "/ready", "/metrics"):
        answer = await site.http.get(path)
        assert answer.status_code in (200, 503)
        assert "Berger" not in answer.text


@pytest.mark.requirement("API-31")
async def test_the_api_describes_every_operation_and_its_fields(site: Site) -> None:
    told = await document(site)
    for path, item in told["paths"].items():
        for operation in item.values():
            assert operation["summary"], path
    room = told["components"]["schemas"]["Room"]["properties"]
    assert {"id", "mode", "lock", "light", "climate", "occupancy", "contact", "stay"} <= room.keys()
