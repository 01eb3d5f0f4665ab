"""`innkeeper devices` against a real local API."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from edge.api.device_routes import device_routes
from edge.api.routes import make_app
from edge.app.building import HouseBuilding
from edge.binding import blink as blinks
from edge.bridges.ports import DeviceEvent
from kit.dice import SeededDice
from kit.health import Health
from kit.http import serving
from kit.metrics import Metrics
from protocols.device_model.identity import BusId, DeviceId
from protocols.device_model.site_plan import ModbusRtuBus, ModbusTcpBus
from protocols.errors import InvalidInputError, LinkLostError
from provisioning.cli.main import app
from provisioning.commissioning.edge_desk import RefusedError, find_edge
from tests.edge.binding.desk import Life

TOKEN = "a" * 64


@dataclass
class Site:
    life: Life
    config: Path

    async def typed(self, *words: str) -> Any:
        """Type a command; a refusal is its exception."""
        arguments = ["devices", *words, "--config", str(self.config)]
        done = await asyncio.to_thread(CliRunner().invoke, app, arguments, env={"COLUMNS": "200"})
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return done

    async def told(self, *words: str) -> Any:
        return json.loads((await self.typed(*words, "--json")).stdout)


@pytest.fixture
async def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Site]:
    monkeypatch.setattr(blinks, "SHINE_MS", 1)
    more = (ModbusTcpBus(BusId("climate"), "127.0.0.1", 502), ModbusRtuBus(BusId("line"), "/dev/ttyS0"))
    life = await Life.begin(tmp_path, more=more)
    clock = life.building.clock
    told = HouseBuilding(
        life.building.house,
        plan=life.plan,
        link=dict,
        devices=lambda: [{**each, **life.desk.listed().get(each["id"], {})} for each in life.devices.told()],
        clock=clock,
    )
    routes = device_routes(life.desk, clock=clock)
    api = make_app(
        told, token=TOKEN, health=Health(clock), metrics=Metrics("t"), clock=clock, dice=SeededDice(1), routes=routes
    )
    async with serving(api) as port:
        (tmp_path / "api-token").write_text(f"{TOKEN}\n")
        (tmp_path / "port").write_text(f"{port}\n")
        config = tmp_path / "edge.toml"
        config.write_text('data_dir = "."\n[api]\nport = 0\nport_path = "port"\n')
        yield Site(life, config)
    await life.end()


@pytest.mark.requirement("DEV-01")
async def test_an_engineer_finds_binds_tests_swaps_and_unbinds_from_the_command_line(site: Site) -> None:
    for each in site.life.ids():
        site.life.devices.device_event(DeviceId(each), DeviceEvent.ONLINE, {})
    site.life.met("lamp-101-new[red]")
    found = await site.typed("found")
    assert "LED1545G12" not in found.stdout
    assert "zigbee2mqtt/ikea_led1545g12 (98%)" in found.stdout
    [thing] = await site.told("found")
    assert "its name holds 101" in (await site.typed("propose")).stdout
    name = thing["proposals"][0]["device"]
    bound = await site.typed("bind", name, "--found", thing["id"], "--room", "101", "--by", "ana", "--why", "new")
    assert bound.stdout == f"{name} is bound in room 101 (version 1)\n"
    assert "Nothing was found" in (await site.typed("found")).stdout
    tested = await site.typed("test", "light-101", "--by", "ana")
    assert (tested.exit_code, tested.stdout.partition(" (")[0]) == (0, "light-101: yes")
    site.life.building.devices.outcomes = ["refused"]
    assert (await site.typed("test", "light-101", "--by", "ana")).exit_code == 1
    site.life.building.devices.outcomes = ["lost"]
    assert (await site.typed("test", "light-101", "--by", "ana")).exit_code == 3
    place = ("--model", "zigbee2mqtt/ikea_led1545g12", "--address", "bus=zigbee friendly_name=spare")
    assert "version 2" in (await site.typed("swap", name, *place, "--by", "ben")).stdout
    shown = (await site.typed("show", name)).stdout
    assert all(word in shown for word in ("bound", "swapped", "ana", "ben", "new", "friendly_name=spare"))
    [listed] = [each for each in await site.told("list", "--room", "101") if each["id"] == name]
    assert (listed["version"], listed["state"]) == (2, "never_heard")
    assert (await site.told("unbind", name, "--by", "ana"))["fact"]["version"] == 3
    assert name not in (await site.typed("list")).stdout


async def test_a_modbus_bus_is_asked_number_by_number_in_pieces(site: Site) -> None:
    asked = await site.typed("probe", "climate", "--units", "1-20")
    assert asked.stdout.splitlines() == [
        "climate: somebody answers on unit 7",
        "climate: 1 of 20 unit numbers answered; see `innkeeper devices found`",
    ]
    assert site.life.buses.probed == list(range(1, 21))
    assert (await site.told("probe", "climate", "--units", "7"))["answered"] == [7]
    with pytest.raises(RefusedError, match="is not asked by numbers"):
        await site.typed("probe", "zigbee", "--units", "1")
    for wrong in ("0-256", "9-2", "-1-3", "x", "1-2-3", "", "1,,2", "1,x"):
        with pytest.raises(InvalidInputError, match="no run of unit numbers"):
            await site.typed("probe", "climate", "--units", wrong)


async def test_without_numbers_all_that_the_bus_can_have_are_asked(site: Site) -> None:
    asked = (await site.told("probe", "climate"))["asked"]
    assert asked == site.life.buses.probed == [*range(248), 255]
    site.life.buses.probed.clear()
    assert (await site.told("probe", "climate", "--units", "7-9,0,255,8"))["asked"] == [0, 7, 8, 9, 255]
    with pytest.raises(RefusedError, match="can have any of these numbers"):
        await site.typed("probe", "climate", "--units", "248-254")
    site.life.buses.probed.clear()
    with pytest.raises(RefusedError, match="can have any of these numbers"):
        await site.typed("probe", "line", "--units", "0")  # said to everybody on a serial line
    assert site.life.buses.probed == []


async def test_a_refusal_is_said_in_the_edge_s_words(site: Site) -> None:
    with pytest.raises(RefusedError, match="you saw version 7, and it is at 0") as refused:
        await site.typed("unbind", "light-101", "--version", "7", "--by", "ana")
    assert (refused.value.status, refused.value.reason) == (409, "changed-meanwhile")
    with pytest.raises(RefusedError, match="no such device"):
        await site.typed("show", "nobody")
    with pytest.raises(InvalidInputError, match="say which thing"):
        await site.typed("bind", "lamp", "--room", "101", "--by", "ana")
    with pytest.raises(InvalidInputError, match="is not <key>=<value>"):
        await site.typed("swap", "light-101", "--model", "a/b", "--address", "zigbee lamp", "--by", "ana")
    (site.config.parent / "api-token").write_text("b" * 64)
    with pytest.raises(RefusedError, match="does not take this token"):
        await site.typed("list")
    (site.config.parent / "port").write_text("1\n")
    with pytest.raises(LinkLostError, match="is innkeeper-edge running"):
        await site.typed("list")


@pytest.mark.parametrize(
    ("text", "word"),
    [
        (None, "cannot be read"),
        ("data_dir = 3\n", "is this the edge's edge.toml"),
        ('data_dir = "."\n[api]\nport = 0\n', "without a port_path"),
        ('data_dir = "."\n[api]\nport = 0\nport_path = "none"\n', "tells no port"),
        ('data_dir = "."\n', "api-token"),
        ("api = 3\n", "is no table"),
        ("data_dir = \n", "edge.toml"),
    ],
)
def test_a_configuration_that_leads_nowhere_says_what_to_give(tmp_path: Path, text: str | None, word: str) -> None:
    config = tmp_path / "edge.toml"
    if text is not None:
        config.write_text(text)
    with pytest.raises(InvalidInputError, match=word):
        find_edge(config, None, None)
