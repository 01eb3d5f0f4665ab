"""Found and bound devices over HTTP: what is told, what is refused, in which words."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from edge.api.device_routes import device_routes
from edge.api.routes import make_app
from edge.app.building import HouseBuilding
from edge.binding import blink as blinks
from kit.dice import SeededDice
from kit.health import Health
from kit.http import serving
from kit.metrics import Metrics
from protocols.device_model.command import Command, Outcome, Phase
from protocols.link.lanes import Lane
from tests.edge.binding.desk import Life
from tests.edge.world import a_document, a_stay, motion

TOKEN = "a" * 64


@dataclass
class Site:
    life: Life
    http: httpx.AsyncClient

    async def post(self, path: str, **body: Any) -> httpx.Response:
        return await self.http.post(f"/api/v1/devices/{path}", json={"by": "ana", **body})


@pytest.fixture
async def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Site]:
    monkeypatch.setattr(blinks, "SHINE_MS", 1)
    life = await Life.begin(tmp_path)
    clock = life.building.clock
    told = HouseBuilding(life.building.house, plan=life.plan, link=dict, devices=life.devices.told, clock=clock)
    routes = device_routes(life.desk, clock=clock)
    app = make_app(
        told, token=TOKEN, health=Health(clock), metrics=Metrics("test"), clock=clock, dice=SeededDice(1), routes=routes
    )
    async with serving(app) as port, httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=20) as http:
        http.headers["authorization"] = f"Bearer {TOKEN}"
        yield Site(life, http)
    await life.end()


@pytest.mark.requirement("DEV-01")
async def test_a_thing_is_found_bound_tested_swapped_and_unbound_and_lane_a_says_by_whom(site: Site) -> None:
    site.life.met("lamp-101-new")
    [thing] = (await site.http.get("/api/v1/found-devices")).json()["found"]
    proposal = thing["proposals"][0]
    assert (proposal["room"], proposal["descriptor"]) == ("101", "zigbee2mqtt/ikea_led1545g12")
    bound = await site.post("desk-lamp-101/bind", version=0, found=thing["id"], room=proposal["room"], why="installed")
    assert bound.status_code == 200, bound.text
    assert bound.json()["fact"]["place"]["address"]["ieee"] == "0x00158d00000000aa"
    assert site.life.buses.plans[-1][1].count("desk-lamp-101") == 1
    assert (await site.http.get("/api/v1/found-devices")).json()["found"] == []
    site.life.met("lamp-101-new")  # its bridge's list comes again
    assert (await site.http.get("/api/v1/found-devices")).json()["found"] == []
    address = {"bus": "zigbee", "friendly_name": "another"}
    swapped = await site.post("desk-lamp-101/swap", version=1, descriptor=proposal["descriptor"], address=address)
    assert swapped.json()["fact"]["before"] == bound.json()["fact"]["place"]
    assert (await site.post("desk-lamp-101/unbind", version=2)).status_code == 200
    shown = (await site.http.get("/api/v1/devices/desk-lamp-101")).json()
    assert (shown["bound"], shown["version"], [each["act"] for each in shown["facts"]]) == (
        False,
        3,
        ["bound", "swapped", "unbound"],
    )
    records = site.life.building.log.records(Lane.A, "binding")
    assert [(each.body["act"], each.body["by"], each.body.get("why")) for each in records] == [
        ("bound", "ana", "installed"),
        ("swapped", "ana", None),
        ("unbound", "ana", None),
    ]


async def test_the_second_of_two_engineers_is_told_who_was_first(site: Site) -> None:
    address = {"bus": "zigbee", "friendly_name": "another"}
    lamp = "zigbee2mqtt/ikea_led1545g12"
    first = await site.post("light-101/swap", version=0, descriptor=lamp, address=address)
    again = await site.post("light-101/swap", version=0, descriptor=lamp, address=address)
    assert (first.status_code, again.status_code) == (200, 200)  # the same question after a lost answer
    assert again.json()["fact"] == first.json()["fact"]
    second = await site.post("light-101/unbind", version=0, by="ben")
    body = second.json()
    assert (second.status_code, body["type"], body["version"], body["by"]) == (
        409,
        "urn:innkeeper:problem:changed-meanwhile",
        1,
        "ana",
    )
    assert len(site.life.building.log.records(Lane.A, "binding")) == 1


REFUSED: list[tuple[str, dict[str, Any], int, str]] = [
    ("light-101/bind", {"version": 0, "room": "101", "found": "0x00158d00000000aa"}, 409, "name is taken"),
    ("door-101/bind", {"version": 0, "room": "101", "found": "0x00158d00000000aa"}, 409, "a door"),
    ("lamp/bind", {"version": 0, "room": "999", "found": "0x00158d00000000aa"}, 409, "none of the plan's rooms"),
    ("lamp/bind", {"version": 0, "room": "101", "found": "0x00158d00000000bb"}, 404, "nothing is found"),
    ("lamp/bind", {"version": 0, "room": "101"}, 400, "say which thing"),
    ("Lamp One/bind", {"version": 0, "room": "101"}, 400, "is no name"),
    ("lamp/bind", {"version": -1, "room": "101"}, 400, "version"),
    ("lamp/bind", {"version": 0, "room": "101", "colour": "red"}, 400, "colour"),
    (
        "lamp/bind",
        {
            "version": 0,
            "room": "101",
            "descriptor": "acme/none",
            "address": {"bus": "zigbee", "friendly_name": "x"},
        },
        409,
        "is not described",
    ),
    (
        "lamp/bind",
        {
            "version": 0,
            "room": "101",
            "descriptor": "regin/rcf_230",
            "address": {"bus": "zigbee", "friendly_name": "x"},
        },
        409,
        "not a",
    ),
    ("light-101/swap", {"version": 0, "descriptor": "zigbee2mqtt/aqara_mccgq11lm",
                        "address": {"bus": "zigbee", "friendly_name": "x"}}, 409, "does not have"),
    ("light-101/swap", {"version": 0, "descriptor": "zigbee2mqtt/ikea_led1545g12",
                        "address": {"bus": "zigbee", "friendly_name": "light-102"}}, 409, "given twice"),
    ("light-101/swap", {"version": 0, "descriptor": "zigbee2mqtt/ikea_led1545g12",
                        "address": {"bus": "zigbee", "friendly_name": "light-101"}}, 409, "already"),
    ("nobody/swap", {"version": 0, "found": "0x00158d00000000aa"}, 404, "no such device"),
    ("nobody/unbind", {"version": 0}, 404, "no such device"),
    ("nobody/test", {}, 404, "no such device"),
    ("light-101/unbind", {"version": 0, "by": "tab\t"}, 400, "printable"),
]  # fmt: skip


async def test_what_cannot_be_is_refused_in_words_and_leaves_no_record(site: Site) -> None:
    site.life.met("somebody")
    for path, body, status, word in REFUSED:
        answer = await site.post(path, **body)
        assert (answer.status_code, word in answer.text) == (status, True), (path, body, answer.text)
    assert site.life.building.log.records(Lane.A, "binding") == []
    assert site.life.buses.plans == []


async def test_a_lamp_is_not_blinked_beside_a_sleeping_guest_unless_that_is_meant(site: Site) -> None:
    house = site.life.building.house
    await house.desired("stays", 1, a_document(a_stay(state="in_house")))
    await site.life.building.heard(motion("101", seen=True))
    refused = await site.post("light-101/test")
    assert (refused.status_code, refused.json()["reason"]) == (409, "occupied")
    assert site.life.building.devices.effects == []
    done = await site.post("light-101/test", disturb=True)
    assert done.json()["fact"]["test"] == {"way": "blink", "result": True, "detail": "on, then it is off again"}
    shown = (await site.http.get("/api/v1/devices/light-101")).json()
    assert (shown["version"], shown["tested"]["result"], shown["tested"]["by"]) == (0, True, "ana")
    assert [each.body["act"] for each in site.life.building.log.records(Lane.A, "binding")] == ["tested"]


async def test_nothing_is_changed_or_switched_while_there_is_fire(site: Site) -> None:
    site.life.building.house.fire.declare("ana")
    for path, body in (("light-101/unbind", {"version": 0}), ("light-101/test", {})):
        refused = await site.post(path, **body)
        assert (refused.status_code, refused.json()["reason"]) == (409, "fire")
    assert site.life.building.log.records(Lane.A, "binding") == []


async def test_a_device_that_is_changed_while_it_is_tested_waits_and_one_test_is_enough(site: Site) -> None:
    import asyncio

    begun, let = asyncio.Event(), asyncio.Event()

    class Slow:
        def can_write(self, *_: object) -> bool:
            return True

        async def write(self, command: Command) -> Outcome:
            begun.set()
            await let.wait()
            return Outcome(Phase.DONE, command.value)

    site.life.desk._writer = Slow()
    test = asyncio.create_task(site.post("light-101/test"))
    async with asyncio.timeout(10):
        await begun.wait()
    for answer in (await site.post("light-101/test"), await site.post("light-101/unbind", version=0)):
        assert (answer.status_code, answer.json()["reason"], answer.json()["retryable"]) == (409, "busy", True)
    let.set()
    assert (await test).json()["fact"]["test"]["result"] is True


async def test_without_a_site_plan_the_routes_say_so(site: Site) -> None:
    clock = site.life.building.clock
    routes = device_routes(None, clock=clock)
    told = HouseBuilding(site.life.building.house, plan=None, link=dict, devices=list, clock=clock)
    app = make_app(
        told, token=TOKEN, health=Health(clock), metrics=Metrics("t"), clock=clock, dice=SeededDice(1), routes=routes
    )
    async with serving(app) as port, httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http:
        http.headers["authorization"] = f"Bearer {TOKEN}"
        answer = await http.get("/api/v1/found-devices")
        assert (answer.status_code, answer.json()["type"]) == (409, "urn:innkeeper:problem:no-site-plan")
        del http.headers["authorization"]
        assert (await http.get("/api/v1/found-devices")).status_code == 401
