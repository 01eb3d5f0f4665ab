"""A visit over HTTP while the house is cut off, and which pages may speak with the house: the kiosk's alone."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
import structlog

from edge.api.kiosk_origin import KioskOrigins, check_origin
from edge.api.kiosk_routes import KIOSK, kiosk_routes
from edge.api.kiosk_visit_routes import kiosk_visit_routes
from edge.api.phone_code_routes import phone_code_routes
from edge.api.routes import make_app
from edge.app.building import HouseBuilding
from edge.app.settings import KioskSettings
from kit.dice import SeededDice
from kit.health import Health
from kit.http import serving
from kit.metrics import Metrics
from protocols.device_model.identity import RoomId, StayId
from tests.cloud.checkin.zones import passport
from tests.edge.api.test_routes import TOKEN, problem
from tests.edge.checkin.kiosk_lobby import CODE, LOBBY, Lobby
from tests.edge.world import PHONE, PHONE_2

KIOSK_TOKEN: Final = "k" * 64
PAGE: Final = "https://cloud.example"
HERE: Final = "/api/v1/properties/aurora"
ANNA: Final = {"surname": "Berger", "given_names": "Anna", "birth_date": "1980-05-01", "nationality": "AUT"}
WHO: Final = {"booking_code": CODE, "surname": "Berger", "kiosk": LOBBY}


@dataclass
class Site:
    lobby: Lobby
    http: httpx.AsyncClient

    async def visit(self) -> str:
        begun = await self.http.post(f"{HERE}/kiosk-visits", json=WHO)
        assert begun.status_code == 201, begun.text
        return f"{HERE}/stays/{begun.json()['stay']}"


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    lobby = Lobby(tmp_path, phones=frozenset({RoomId("101")}))
    await lobby.arrive()
    building = lobby.building
    told = HouseBuilding(
        building.house, plan=building.plan, link=lambda: {"configured": True}, devices=list, clock=lobby.clock
    )
    places = [lobby.place.to_body()]
    app = make_app(
        told,
        token=TOKEN,
        health=Health(lobby.clock),
        metrics=Metrics("test"),
        clock=lobby.clock,
        dice=SeededDice(1),
        routes=[
            kiosk_routes(lobby.orders, clock=lobby.clock, places=lambda: places, alone=True),
            kiosk_visit_routes(lobby.visits, lobby.phones, property_id="aurora"),
            phone_code_routes(lobby.phones, property_id="aurora"),
        ],
        tokens={KIOSK: KIOSK_TOKEN},
    )
    kept = KioskOrigins(app, [PAGE])
    async with serving(kept) as port, httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http:
        http.headers["authorization"] = f"Bearer {KIOSK_TOKEN}"
        yield Site(lobby, http)
    await lobby.close()


@pytest.mark.requirement("DEV-12", "ACC-11")
@pytest.mark.guarantee("G6")
async def test_the_whole_way_and_no_word_of_the_guest_in_a_log_line(site: Site) -> None:
    with structlog.testing.capture_logs() as lines:
        visit = await site.visit()
        begun = await site.http.post(f"{visit}/session", json={"channel": "web", "language": "de"})
        told = await site.http.put(f"{visit}/session/guests/g1", json=ANNA)
        shown = await site.http.post(f"{visit}/session/guests/g1/document", json={"mrz": passport()})
        card = await site.http.post(f"{visit}/kiosk-visit/card", json={"kiosk": LOBBY})
        over = await site.http.get(f"{visit}/session")
        gone = await site.http.delete(f"{visit}/kiosk-visit")
    assert [each.json()["next"]["step"] for each in (begun, told, shown)] == ["identity", "document", "grant"]
    assert {each.headers["cache-control"] for each in (begun, told, shown, over)} == {"no-store"}
    assert (card.json(), over.json()["state"], gone.status_code) == ({"result": True, "room": "101"}, "completed", 204)
    assert problem(await site.http.get(f"{visit}/session"), 409)["reason"] == "no_visit"
    assert all(secret not in repr(lines) for secret in ("Berger", "L898902C3", CODE))


@pytest.mark.requirement("DEV-12", "ACC-04")
@pytest.mark.guarantee("G3")
async def test_a_phone_takes_its_key_by_the_code_of_the_kiosk_and_no_other_phone_does(site: Site) -> None:
    visit = await site.visit()
    await site.http.put(f"{visit}/session/guests/g1", json=ANNA)
    shown = await site.http.post(f"{visit}/session/guests/g1/document", json={"mrz": passport()})
    assert shown.json()["keys"] == ["card", "phone"]
    link = (await site.http.post(f"{visit}/kiosk-visit/phone-link", json={})).json()
    here = f"{HERE}/stays/{link['stay']}/check-in"
    mine, asked = {"authorization": f"Bearer {link['token']}"}, {"phone_public_key": PHONE, "idempotency_key": "k"}
    for token in ("", "Bearer", f"Bearer {KIOSK_TOKEN}", f"Bearer {TOKEN}"):
        refused = await site.http.post(here, json=asked, headers={"authorization": token})
        assert refused.status_code in (401, 409), token
        assert "bundle" not in refused.text
    assert problem(await site.http.post(here, json={"phone_public_key": "02ab"}, headers=mine), 400)["field"]
    problem(await site.http.post(here.replace("/aurora/", "/borealis/"), json=asked, headers=mine), 404)
    told = [await site.http.post(here, json=asked, headers=mine) for _ in range(2)]
    assert told[0].status_code == 200, told[0].text
    assert told[0].json()["bundle"]["grant"] == told[1].json()["bundle"]["grant"] == "grant-1"
    thief = await site.http.post(here, json={**asked, "phone_public_key": PHONE_2}, headers=mine)
    assert problem(thief, 409)["reason"] == "link_used"
    assert (await site.http.get(f"{visit}/session")).json()["state"] == "completed"
    assert problem(await site.http.post(f"{visit}/kiosk-visit/phone-link", json={}), 409)["reason"] == "link_used"


async def test_what_it_refuses_it_says_in_a_word_that_the_page_knows(site: Site) -> None:
    begin = f"{HERE}/kiosk-visits"
    unknown = problem(await site.http.post(begin, json={**WHO, "surname": "Meier"}), 404)
    assert unknown["reason"] == "reservation_not_found"
    assert "Meier" not in str(unknown)
    problem(await site.http.post("/api/v1/properties/other/kiosk-visits", json=WHO), 404)
    problem(await site.http.post(begin, json={**WHO, "surname": "x" * 81}), 400)
    visit = await site.visit()
    born = problem(await site.http.put(f"{visit}/session/guests/g1", json={**ANNA, "birth_date": "1980-02-31"}), 400)
    assert born["field"] == "birth_date"
    assert problem(await site.http.put(f"{visit}/session/guests/g2", json=ANNA), 400)["field"] == "guest"
    assert (
        problem(await site.http.post(f"{visit}/kiosk-visit/card", json={"kiosk": LOBBY}), 409)["reason"] == "steps_open"
    )
    await site.http.put(f"{visit}/session/guests/g1", json=ANNA)
    secret = passport().replace("800501", "800502")
    unread = await site.http.post(f"{visit}/session/guests/g1/document", json={"mrz": secret})
    assert problem(unread, 422)["findings"][0]["line"] == 2
    none = await site.http.post(f"{visit}/session/guests/g1/document", json={"mrz": "P<AUTBERGER"})
    assert problem(none, 400)["field"] == "mrz"
    assert "BERGER" not in unread.text + none.text
    site.lobby.cut_off = False
    assert problem(await site.http.post(begin, json=WHO), 409)["reason"] == "line_is_up"
    site.lobby.cut_off = True
    for _ in range(10):
        last = await site.http.post(begin, json=WHO)
    assert problem(last, 429)["reason"] == "too_many"


@pytest.mark.parametrize("token", ["none", TOKEN, "k" * 63])
@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/api/v1/kiosk", None),
        ("POST", f"{HERE}/kiosk-visits", WHO),
        ("DELETE", f"{HERE}/stays/v-1/kiosk-visit", None),
        ("POST", f"{HERE}/stays/v-1/kiosk-visit/card", {"kiosk": LOBBY}),
        ("POST", f"{HERE}/stays/v-1/kiosk-visit/phone-link", {}),
        ("POST", f"{HERE}/stays/v-1/session", {}),
        ("GET", f"{HERE}/stays/v-1/session", None),
        ("PUT", f"{HERE}/stays/v-1/session/guests/g1", ANNA),
        ("POST", f"{HERE}/stays/v-1/session/guests/g1/document", {"mrz": "P"}),
    ],
)
async def test_every_route_asks_for_the_kiosks_token(
    site: Site, token: str, method: str, path: str, body: dict[str, Any] | None
) -> None:
    headers = {"authorization": f"Bearer {token}"}
    problem(await site.http.request(method, path, json=body, headers=headers), 401)


async def test_the_page_learns_what_stands_at_its_kiosk(site: Site) -> None:
    told = (await site.http.get("/api/v1/kiosk")).json()
    assert told["alone"] is True
    assert told["kiosks"] == [
        {"place": "lobby", "reader": None, "dispenser": "kiosk-dispenser", "printer": None, "cards": True}
    ]


@pytest.mark.parametrize(
    ("origin", "path", "allowed"),
    [
        (PAGE, "/api/v1/kiosk", True),
        (PAGE, f"{HERE}/kiosk-visits", True),
        (PAGE, "/api/v1/rooms", False),
        (PAGE, "/api/v1/stays", False),
        ("https://cloud.example.evil.example", "/api/v1/kiosk", False),
        ("http://cloud.example", "/api/v1/kiosk", False),
        ("null", "/api/v1/kiosk", False),
    ],
)
async def test_a_browser_is_let_through_from_the_kiosks_origin_to_its_routes_alone(
    site: Site, origin: str, path: str, allowed: bool
) -> None:
    asked = {
        "origin": origin,
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,content-type",
        "access-control-request-private-network": "true",
    }
    before = await site.http.options(path, headers=asked)
    assert (before.headers.get("access-control-allow-origin") == origin) is allowed
    assert (before.status_code == 204) is allowed
    answer = await site.http.get(path, headers={"origin": origin})
    assert (answer.headers.get("access-control-allow-origin") == origin) is allowed
    refused = await site.http.get(path, headers={"origin": origin, "authorization": "Bearer no"})
    assert (refused.headers.get("access-control-allow-origin") == origin) is allowed, "a refusal can be read too"
    assert "access-control-allow-credentials" not in answer.headers


@pytest.mark.parametrize("origin", [PAGE, "https://cloud.example:8443", "http://127.0.0.1:8000", "http://localhost"])
def test_origins_as_browsers_write_them(origin: str) -> None:
    assert check_origin(origin) == origin
    assert KioskSettings(origins=(origin,)).origins == (origin,)


@pytest.mark.parametrize(
    "origin",
    ["*", "null", "", "cloud.example", "https://cloud.example/", "https://a@cloud.example", "http://cloud.example"],
)
def test_what_is_no_safe_origin_is_refused(origin: str) -> None:
    with pytest.raises(ValueError, match=r"origin|https"):
        KioskSettings(origins=(origin,))


@pytest.mark.requirement("STY-08", "ACC-04")
@pytest.mark.guarantee("G3", "G6")
async def test_the_desk_makes_a_code_for_a_guest_in_house_and_a_kiosk_cannot(site: Site) -> None:
    staff, path = {"authorization": f"Bearer {TOKEN}"}, "/api/v1/stays/s-anna/phone-code"
    problem(await site.http.post(path, json={"by": "Frau Maier"}), 401)
    await site.lobby.building.house.desk.check_in(StayId("s-anna"), PHONE, by="desk")
    code = await site.http.post(path, json={"by": "Frau Maier"}, headers=staff)
    assert (code.status_code, code.headers["cache-control"]) == (200, "no-store")
    told = code.json()
    assert (told["property"], told["stay"]) == ("aurora", "s-anna")
    here, asked = f"{HERE}/stays/{told['stay']}/check-in", {"phone_public_key": PHONE_2}
    problem(await site.http.get(path), 401)
    assert (await site.http.get(path, headers=staff)).json() == {"waits": True, "until_ms": told["until_ms"]}
    taken = await site.http.post(here, json=asked, headers={"authorization": f"Bearer {told['token']}"})
    assert taken.json()["bundle"]["stay"] == "s-anna", taken.text
    assert (await site.http.get(path, headers=staff)).json() == {"waits": False, "until_ms": None}
    for wrong in ({}, {"by": ""}, {"by": "x", "room": "101"}):
        problem(await site.http.post(path, json=wrong, headers=staff), 400)
    gone = await site.http.post("/api/v1/stays/s-nobody/phone-code", json={"by": "x"}, headers=staff)
    assert problem(gone, 404)["reason"] == "unknown_stay"
