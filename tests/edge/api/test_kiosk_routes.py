"""The kiosk's routes over HTTP: their own token and no other, documents once, bounded orders, no personal log."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import structlog

from edge.api.kiosk_routes import KIOSK, kiosk_routes
from edge.api.routes import make_app
from edge.app.building import HouseBuilding
from kit.dice import SeededDice
from kit.health import Health
from kit.http import serving
from kit.metrics import Metrics
from tests.edge.api.test_routes import TOKEN, problem
from tests.edge.app.test_kiosk_desk import DISPENSER, Place
from tests.edge.world import T0, Building

KIOSK_TOKEN = "k" * 64
ZONE = "P<UTOERIKSSON<<ANNA<MARIA<<<<<<<<<<<<<<<<<<<\nL898902C36UTO7408122F1204159ZE184226B<<<<<10"
ROUTES = [
    ("POST", f"/api/v1/kiosk/{DISPENSER}/document/take"),
    ("POST", f"/api/v1/kiosk/{DISPENSER}/cards"),
    ("POST", f"/api/v1/kiosk/{DISPENSER}/receipts"),
    ("GET", "/api/v1/kiosk/orders/session-1-card"),
]


@dataclass
class Site:
    place: Place
    http: httpx.AsyncClient


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async for site in _site(tmp_path, {KIOSK: KIOSK_TOKEN}):
        yield site


async def _site(folder: Path, tokens: dict[str, str]) -> AsyncIterator[Site]:
    place = Place(folder / "edge.db")
    building = Building(place.clock)
    told = HouseBuilding(
        building.house, plan=building.plan, link=lambda: {"configured": False}, devices=list, clock=place.clock
    )
    app = make_app(
        told,
        token=TOKEN,
        health=Health(place.clock),
        metrics=Metrics("test"),
        clock=place.clock,
        dice=SeededDice(1),
        routes=[kiosk_routes(place.desk, clock=place.clock)],
        tokens=tokens,
    )
    async with serving(app) as port, httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http:
        http.headers["authorization"] = f"Bearer {KIOSK_TOKEN}"
        yield Site(place, http)
    await place.desk.settle()
    await place.store.close()
    await building.store.close()


@pytest.mark.requirement("DEV-11")
@pytest.mark.guarantee("G6")
async def test_a_document_is_taken_once_by_the_kiosk_and_is_in_no_log_line(site: Site) -> None:
    site.place.dispenser.document = ZONE
    with structlog.testing.capture_logs() as lines:
        taken = await site.http.post(ROUTES[0][1])
        again = await site.http.post(ROUTES[0][1])
    assert (taken.status_code, taken.json()) == (200, {"zone": ZONE})
    assert taken.headers["cache-control"] == "no-store"
    assert problem(again, 404)["type"].endswith("nothing-read")
    assert "ERIKSSON" not in repr(lines)


@pytest.mark.parametrize(("method", "path"), ROUTES)
@pytest.mark.parametrize("token", ["none", TOKEN, "k" * 63, "x" * 64])
async def test_every_route_asks_for_the_kiosks_token_and_for_no_other(
    site: Site, method: str, path: str, token: str
) -> None:
    site.place.dispenser.document = ZONE
    body = {"idempotency_key": "session-1-card", "text": "x"}
    headers = {"authorization": f"Bearer {token}"}
    response = await site.http.request(method, path, headers=headers, json=body if method == "POST" else None)
    problem(response, 401)
    assert (site.place.dispenser.orders, site.place.dispenser.document) == ([], ZONE)


@pytest.mark.parametrize("path", ["/api/v1/rooms", "/api/v1/stays", "/api/v1/fire", "/api/v1/devices"])
async def test_the_kiosks_token_opens_nothing_else(site: Site, path: str) -> None:
    problem(await site.http.get(path), 401)


async def test_a_house_without_a_kiosks_token_lets_nobody_in(tmp_path: Path) -> None:
    async for site in _site(tmp_path, {}):
        for token in (KIOSK_TOKEN, TOKEN, "None"):
            response = await site.http.post(ROUTES[0][1], headers={"authorization": f"Bearer {token}"})
            problem(response, 401)


@pytest.mark.requirement("DEV-11")
async def test_a_card_and_a_receipt_with_what_came_of_them(site: Site) -> None:
    first = await site.http.post(ROUTES[1][1], json={"idempotency_key": "session-1-card", "by": "kiosk-1"})
    again = await site.http.post(ROUTES[1][1], json={"idempotency_key": "session-1-card", "by": "kiosk-1"})
    asked = await site.http.get(ROUTES[3][1])
    assert first.status_code == again.status_code == asked.status_code == 200
    assert first.json() == again.json() == asked.json()
    told = first.json()
    assert (told["kind"], told["phase"], told["result"], told["deadline_ms"]) == ("card", "done", True, T0 + 20_000)
    receipt = {"idempotency_key": "session-1-receipt", "text": "Frau Eriksson", "deadline_ms": T0 + 5_000}
    with structlog.testing.capture_logs() as lines:
        answer = await site.http.post(ROUTES[2][1], json=receipt)
    assert answer.json()["result"] is True
    assert [each.text for each in site.place.dispenser.orders] == [None, "Frau Eriksson"]
    assert "Eriksson" not in repr(lines) + answer.text
    problem(await site.http.get("/api/v1/kiosk/orders/never-asked"), 404)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"idempotency_key": "short"},
        {"idempotency_key": "with a space"},
        {"idempotency_key": "session-1", "cards": 2},
        {"idempotency_key": "session-1", "deadline_ms": -1},
        {"idempotency_key": "session-1", "deadline_ms": T0 + 61_000},
        {"idempotency_key": "session-1", "by": ""},
    ],
)
async def test_a_wrong_body_gives_no_card(site: Site, body: dict[str, Any]) -> None:
    problem(await site.http.post(ROUTES[1][1], json=body), 400)
    assert site.place.dispenser.orders == []


async def test_a_long_text_and_a_strange_device_are_refused_without_being_told_back(site: Site) -> None:
    body = {"idempotency_key": "session-1", "text": "Eriksson " * 500}
    with structlog.testing.capture_logs() as lines:
        refused = await site.http.post(ROUTES[2][1], json=body)
        stranger = await site.http.post("/api/v1/kiosk/light-101/receipts", json={**body, "text": "Eriksson"})
    assert problem(refused, 400)
    assert problem(stranger, 400)
    assert "Eriksson" not in refused.text + stranger.text + repr(lines)
