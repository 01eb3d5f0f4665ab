"""The desk's page, served by the house: its files to anybody, what it has to know to the token alone, no more."""

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import httpx
import pytest
from litestar import Litestar
from litestar.routes import HTTPRoute

from edge.api.desk_routes import BUILT, desk_routes
from edge.api.door_routes import door_routes
from edge.api.kiosk_origin import KioskOrigins
from edge.api.kiosk_routes import KIOSK
from edge.api.phone_code_routes import phone_code_routes
from edge.api.pms_routes import pms_routes
from edge.api.routes import make_app
from edge.api.token import DESK
from edge.app.building import HouseBuilding
from kit.clock import ManualClock
from kit.dice import SeededDice
from kit.health import Health
from kit.http import OPEN, serving
from kit.metrics import Metrics
from protocols.device_model.identity import StayId
from protocols.device_model.site_plan import SitePlan
from protocols.errors import LinkLostError
from tests.edge.api.test_routes import TOKEN, problem
from tests.edge.world import T0, Building, plan

pytestmark = [pytest.mark.requirement("STY-08"), pytest.mark.guarantee("G3", "G6")]
CLOUD: Final = "https://cloud.example"
KIOSK_TOKEN: Final = "k" * 64
DESK_TOKEN: Final = "d" * 64
OF_THE_DESK: Final = {
    ("GET", "/api/v1/desk"),
    ("GET", "/api/v1/link"),
    ("GET", "/api/v1/stays"),
    ("GET", "/api/v1/stays/{stay}/keys"),
    ("GET", "/api/v1/stays/{stay}/phone-code"),
    ("POST", "/api/v1/stays/{stay}/phone-code"),
    ("POST", "/api/v1/stays/{stay}/end"),
    ("POST", "/api/v1/stays/{stay}/check-out"),
    ("POST", "/api/v1/stays/{stay}/withdrawn-keys"),
}
SECRET: Final = "a secret beside the page"
STAFF: Final = {"authorization": f"Bearer {TOKEN}"}


class NoCodes:
    async def offer_at_desk(self, stay: StayId, *, by: str) -> tuple[str, int]:
        raise LinkLostError(f"nothing is offered for {stay} by {by}")

    def waits_at_desk(self, stay: StayId) -> int | None:
        return None


@dataclass
class Site:
    app: Litestar
    http: httpx.AsyncClient
    root: Path
    plans: list[SitePlan | None] = field(default_factory=lambda: [plan()])


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    clock, root = ManualClock(wall_ms=T0), tmp_path / "web"
    (root / "assets").mkdir(parents=True)
    (root / "index.html").write_text("<!doctype html><title>Front desk</title>")
    (root / "icon.svg").write_text("<svg/>")
    (root / "assets" / "index-Ab_1.js").write_text("export {}")
    for hidden in (tmp_path / "secret.js", root / ".secret.js", root / "secret.txt", root / "assets" / ".secret.js"):
        hidden.write_text(SECRET)
    building, plans = Building(clock), [plan()]
    told = HouseBuilding(building.house, plan=building.plan, link=dict, devices=list, clock=clock)
    made: Site

    def in_force() -> SitePlan | None:
        return made.plans[-1]

    app = make_app(
        told,
        token=TOKEN,
        health=Health(clock),
        metrics=Metrics("test"),
        clock=clock,
        dice=SeededDice(1),
        routes=[
            *desk_routes(clock=clock, property_id="aurora", plan=in_force, cloud=CLOUD, codes=True, root=root),
            *door_routes(None, clock=clock, not_now=[]),
            *pms_routes(None),
            phone_code_routes(NoCodes(), property_id="aurora"),
        ],
        tokens={KIOSK: KIOSK_TOKEN, DESK: DESK_TOKEN},
    )
    kept = KioskOrigins(app, [CLOUD])
    async with serving(kept) as port, httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http:
        made = Site(app, http, root, [*plans])
        yield made
    await building.store.close()


async def test_the_page_is_there_for_anybody_speaks_with_this_house_alone_and_stands_in_no_other(site: Site) -> None:
    moved = await site.http.get("/desk")
    assert (moved.status_code, moved.headers["location"]) == (308, "/desk/")
    page = await site.http.get("/desk/")
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "Front desk" in page.text
    policy = dict(each.split(" ", 1) for each in page.headers["content-security-policy"].split("; "))
    assert policy.pop("default-src") == "'none'"
    assert set(policy.values()) == {"'self'", "'none'"}, "no other host, nothing inline"
    assert (policy["frame-ancestors"], policy["connect-src"]) == ("'none'", "'self'")
    assert (page.headers["cache-control"], page.headers["referrer-policy"]) == ("no-cache", "no-referrer")
    script = await site.http.get("/desk/assets/index-Ab_1.js")
    assert (script.headers["content-type"], script.headers["x-content-type-options"]) == (
        "text/javascript; charset=utf-8",
        "nosniff",
    )
    assert "immutable" in script.headers["cache-control"]
    assert (await site.http.get("/desk/icon.svg")).headers["content-type"] == "image/svg+xml; charset=utf-8"


@pytest.mark.parametrize(
    "path",
    [
        *("secret.txt", ".secret.js", "assets/.secret.js", "assets", "assets/", "nothing.js", "assets/nothing.js"),
        *("../secret.js", "%2e%2e/secret.js", "..%2fsecret.js", "assets/..%2f..%2fsecret.js", "assets/../../secret.js"),
        *("%2fetc%2fpasswd", "secret.js%00.html", "a" * 400 + ".js", "%ff.js", "index.html/x.js"),
    ],
)
async def test_nothing_but_the_pages_own_files_is_served(site: Site, path: str) -> None:
    answer = await site.http.get(f"/desk/{path}", headers=STAFF)
    assert answer.status_code in (400, 404), answer.text
    assert SECRET not in answer.text


async def test_the_desks_token_opens_what_its_page_asks_for_and_nothing_else(site: Site) -> None:
    opened, asked = set(), 0
    for route in site.app.routes:
        if not isinstance(route, HTTPRoute):
            continue
        for handler in route.route_handlers:
            path = re.sub(r"\{(\w+)[^}]*\}", r"{\1}", route.path)
            for method in handler.http_methods - {"OPTIONS", "HEAD"}:
                if handler.opt.get(OPEN) or path.startswith("/schema"):
                    continue
                asked += 1
                head = {"authorization": f"Bearer {DESK_TOKEN}"}
                at = re.sub(r"\{\w+\}", "x", path)
                answer = await site.http.request(method, at, content=b"{}", headers=head)
                if answer.status_code != 401:
                    opened.add((str(method), path))
    assert opened == OF_THE_DESK
    assert asked > 2 * len(OF_THE_DESK)


async def test_a_phones_keys_are_taken_back_of_a_stay_alone(site: Site) -> None:
    asked = {"reason": "lost", "by": "Frau Maier", "phone_public_key": f"02{'ab' * 32}"}
    desk = {"authorization": f"Bearer {DESK_TOKEN}"}
    path = "/api/v1/stays/s-anna/withdrawn-keys"
    problem(await site.http.post(path, json=asked, headers=desk), 404)  # no doors here: it was understood
    for more in ({"person": "p1"}, {"grant": "00" * 16}, {"stay": "s-other"}):
        problem(await site.http.post(path, json={**asked, **more}, headers=desk), 400)
    problem(await site.http.post(path, json={"reason": "lost", "by": "Frau Maier"}, headers=desk), 400)


async def test_what_the_page_has_to_know_is_told_to_the_houses_token_and_to_no_page_of_another_origin(
    site: Site,
) -> None:
    for token in ("", "Bearer", f"Bearer {KIOSK_TOKEN}", f"Bearer {TOKEN}x", DESK_TOKEN):
        problem(await site.http.get("/api/v1/desk", headers={"authorization": token}), 401)
    told = await site.http.get("/api/v1/desk", headers={**STAFF, "origin": CLOUD})
    assert told.json() == {
        "as_of_ms": T0,
        "property": "aurora",
        "name": "Hotel Aurora",
        "zone": "Europe/Vienna",
        "cloud": CLOUD,
        "codes": True,
    }
    assert told.headers["cache-control"] == "no-store"
    assert "access-control-allow-origin" not in told.headers
    site.plans.append(None)
    alone = (await site.http.get("/api/v1/desk", headers=STAFF)).json()
    assert (alone["name"], alone["zone"], alone["property"]) == (None, None, "aurora")


async def test_a_page_that_was_never_built_says_so(site: Site) -> None:
    (site.root / "index.html").unlink()
    page = await site.http.get("/desk/")
    assert (page.status_code, "make web" in page.text) == (200, True)
    problem(await site.http.get("/desk/icon.png"), 404)


def test_the_page_is_built_beside_the_edge() -> None:
    assert BUILT.parts[-3:] == ("edge", "web", "dist")
