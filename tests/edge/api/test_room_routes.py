"""Alerts, batteries, energy, rules, fire and the night, over HTTP."""

from typing import Any

import pytest

from protocols.device_model.capability import Capability, Unit
from protocols.device_model.identity import RoomId
from tests.edge.api.test_routes import Site, problem
from tests.edge.api.test_routes import site as site  # the fixture
from tests.edge.world import contact, said

GETS = ("alerts", "batteries", "energy", "rules", "fire")


@pytest.mark.parametrize("name", GETS)
async def test_without_the_token_nothing_is_told(site: Site, name: str) -> None:
    problem(await site.http.get(f"/api/v1/{name}", headers={"authorization": "Bearer x"}), 401)


@pytest.mark.parametrize("body", [{"active": True, "by": "x"}, {}])
async def test_without_the_token_there_is_no_fire(site: Site, body: dict[str, Any]) -> None:
    problem(await site.http.post("/api/v1/fire", json=body, headers={"authorization": "Bearer x"}), 401)
    assert not site.building.house.fire.active


@pytest.mark.requirement("DEV-04", "DEV-08")
async def test_a_quiet_house_says_so(site: Site) -> None:
    for name in ("alerts", "batteries", "rules"):
        answer = await site.http.get(f"/api/v1/{name}")
        assert (answer.status_code, answer.json()[name]) == (200, [])
    energy = (await site.http.get("/api/v1/energy")).json()
    assert (energy["rooms"], energy["baseline_c"]) == ([], 21.5)
    assert "comfort_c" in energy["baseline"]


async def test_alerts_and_batteries_are_told(site: Site) -> None:
    house = site.building.house
    site.building.noted(said("contact-101", Capability.BOOLEAN_STATE, "state_value:leak", True))
    site.building.noted(said("motion-101", Capability.POWER_SOURCE, "bat_percent_remaining", 3.0, Unit.PERCENT))
    await house.watch.look()
    alerts = (await site.http.get("/api/v1/alerts")).json()["alerts"]
    assert [(each["alert"], each["state"], each["device"]) for each in alerts] == [
        ("leak", "raised", "contact-101"),
        ("battery_low", "raised", "motion-101"),
    ]
    [battery] = (await site.http.get("/api/v1/batteries")).json()["batteries"]
    assert (battery["device"], battery["days_left"], battery["confidence"]) == ("motion-101", 0, 0.9)


async def test_a_person_declares_fire_and_says_that_it_is_over(site: Site) -> None:
    answer = await site.http.post("/api/v1/fire", json={"active": True, "by": "desk"})
    assert (answer.json()["active"], answer.json()["declared_by"]) == (True, "desk")
    assert (await site.http.get("/api/v1/fire")).json()["active"] is True
    answer = await site.http.post("/api/v1/fire", json={"active": False, "by": "desk"})
    assert answer.json()["active"] is False
    problem(await site.http.post("/api/v1/fire", json={"active": "yes", "by": "desk"}), 400)


async def test_the_night_is_asked_for_by_room(site: Site) -> None:
    problem(await site.http.post("/api/v1/rooms/999/scenes/sleep"), 404)
    site.building.noted(contact("101", closed=True))
    answer = await site.http.post("/api/v1/rooms/101/scenes/sleep")
    assert (answer.status_code, answer.json()["room"]) == (200, "101")
    assert site.building.house.rooms.desired(RoomId("101")) == []  # nobody lives there: nothing to make ready


async def test_a_room_tells_what_its_guest_asked_for(site: Site) -> None:
    site.building.noted(said("light-101", Capability.ROOM_REQUEST, "make_up_room", True))
    told = (await site.http.get("/api/v1/rooms/101")).json()
    assert (told["make_up_room"], told["do_not_disturb"], told["window_open"]) == (True, False, False)
    assert told["recovery"] == {"kelvin_per_hour": None, "samples": 0}
