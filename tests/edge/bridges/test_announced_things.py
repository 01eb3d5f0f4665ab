"""Devices that announce themselves, on a real Mosquitto: with the edge as shipped, and on a bad day."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from msgspec.structs import replace

from edge.bridges.mqtt.announced import AnnouncedSupervisor
from edge.bridges.mqtt.announced_registry import Registry, key_of
from edge.bridges.ports import DeviceEvent
from firmware_bridges.field_emulator.announcers import Announcer, Announcers, climate, contact, lamp, plug
from firmware_bridges.field_emulator.misbehaviour import GOOD, Knobs, Misbehaviour
from kit.clock import SystemClock
from kit.dice import SeededDice
from kit.mqtt import Broker, MqttTransport
from protocols.device_model import site_plan
from protocols.device_model.capability import Capability, Value
from protocols.device_model.command import Command, Phase
from protocols.device_model.identity import BusId, DeviceId
from protocols.device_model.reading import Quality
from protocols.device_model.site_plan import Address, HomeAssistantBus
from tests.conftest import find_program
from tests.edge.app.test_process import api, program
from tests.edge.bridges.field import Heard, plan
from tests.edge.northbound.real_home_assistant import Mosquitto

pytestmark = [pytest.mark.tier("mosquitto"), pytest.mark.timeout(180)]

BUS: Final = HomeAssistantBus(BusId("announced"), ("dev/#",))
WAIT_S: Final = 60.0
NAMES: Final = {"plug": "plug-101", "climate": "climate-101", "lamp": "lamp-101", "contact": "window-101"}


@contextlib.asynccontextmanager
async def emulated(broker: Mosquitto, things: Sequence[Announcer], knobs: Knobs = GOOD) -> AsyncIterator[Announcers]:
    """Run the devices, and return once they are on the broker."""
    clock = SystemClock("host")
    transport = MqttTransport(Broker(broker.host, broker.port, client_id="announcers"))
    devices = Announcers(things, transport, Misbehaviour(knobs, SeededDice(3)), clock)
    running = asyncio.create_task(devices.run())
    try:
        async with asyncio.timeout(WAIT_S):
            await devices.online.wait()
        yield devices
        assert not running.done() or running.result() is None
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


@contextlib.asynccontextmanager
async def mosquitto(folder: Path) -> AsyncIterator[Mosquitto]:
    found = find_program("mosquitto")
    assert found is not None
    async with Mosquitto(folder / "broker", found) as broker:
        yield broker


def four() -> list[Announcer]:
    return [plug("plug-a", "101"), climate("node-b", "101"), lamp("lamp-c", "101"), contact("win-d", "101")]


async def until(true: Callable[[], Any]) -> Any:
    """Return what `true` gives once it gives something."""
    async with asyncio.timeout(WAIT_S):
        while True:
            if found := await true() if asyncio.iscoroutinefunction(true) else true():
                return found
            await asyncio.sleep(0.05)


class House:
    """The edge's API, as an engineer uses it."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.client = client

    async def found(self) -> list[dict[str, Any]]:
        things: list[dict[str, Any]] = (await self.client.get("/api/v1/found-devices")).json()["found"]
        return things

    async def value(self, device: str, attribute: str) -> tuple[object, str] | None:
        room = (await self.client.get("/api/v1/rooms/101")).json()
        for each in room["reported"]:
            if (each["device"], each["attribute"]) == (device, attribute):
                return each["value"], each["quality"]
        return None

    async def command(self, capability: str, attribute: str, value: object, key: str) -> dict[str, Any]:
        body = {"capability": capability, "attribute": attribute, "value": value, "by": "ana", "idempotency_key": key}
        answer = await self.client.post("/api/v1/rooms/101/commands", json=body)
        assert answer.status_code == 200, answer.text
        told: dict[str, Any] = answer.json()
        return told

    async def state(self, device: str) -> str:
        told = (await self.client.get(f"/api/v1/devices/{device}")).json()
        return str(told["on_bus"]["state"])


@pytest.mark.requirement("DEV-01", "DEV-06")
@pytest.mark.guarantee("G13", "G17")
async def test_devices_are_found_bound_read_commanded_and_kept_by_the_edge_as_shipped(tmp_path: Path) -> None:
    of = replace(plan(), buses=(BUS,))
    (tmp_path / "site.json").write_bytes(site_plan.encode(of))
    async with mosquitto(tmp_path) as broker, emulated(broker, four()) as devices:
        (tmp_path / "edge.toml").write_text(
            f'property = "{of.property.id}"\nedge = "{of.edge}"\ndata_dir = "data"\nclock_trust = "host"\n'
            f'site_plan_path = "site.json"\n[api]\nport = 0\nport_path = "port"\n[home_assistant]\n'
            f'[site_broker]\nhost = "{broker.host}"\nport = {broker.port}\n'
        )
        async with program(tmp_path, "run", "edge.toml") as edge:
            async with api(tmp_path) as client:
                house = House(client)

                async def all_met() -> list[dict[str, Any]]:
                    things = await house.found()
                    return things if len(things) == len(NAMES) else []

                for thing in await until(all_met):
                    [name] = [name for what, name in NAMES.items() if _is(what, thing)]
                    assert thing["proposals"][0]["room"] == "101"
                    answer = await client.post(
                        f"/api/v1/devices/{name}/bind",
                        json={"by": "ana", "version": 0, "room": "101", "found": thing["id"]},
                    )
                    assert answer.status_code == 200, answer.text
                assert await house.found() == []  # and what our own facade announces of them is none of them

                async def good() -> bool:
                    for name in ("plug-a", "node-b", "lamp-c", "win-d"):
                        devices.tell(name)
                    told = [
                        await house.value("climate-101", "local_temperature"),
                        await house.value("window-101", "state_value"),
                        await house.value("plug-101", "cumulative_energy_imported"),
                        await house.value("lamp-101", "current_level"),
                    ]
                    return told == [(20.0, "good"), (True, "good"), (12.346, "good"), (102, "good")]

                await until(good)
                assert await house.found() == []
                told = await house.command("thermostat", "occupied_heating_setpoint", 22, "setpoint-22")
                assert (told["phase"], devices.things["node-b"].state["set"]) == ("done", 72.0), told
                tested = await client.post("/api/v1/devices/lamp-101/test", json={"by": "ana", "disturb": True})
                assert tested.json()["fact"]["test"]["result"] is True, tested.text
                assert devices.things["lamp-c"].state["state"] == "OFF"
            await edge.end(signal.SIGKILL)
        devices.take_back("plug-a")
        async with program(tmp_path, "run", "edge.toml"), api(tmp_path) as client:
            house = House(client)  # the plug's announcement is gone from the broker, not from the house

            async def spoke() -> bool:
                devices.change("plug-a", power=7)
                return await house.value("plug-101", "active_power") == (7, "good")

            await until(spoke)
            devices.announce("plug-a")
            devices.take_back("win-d")

            async def gone() -> bool:
                return await house.state("window-101") == "offline"

            await until(gone)
            devices.announce("win-d")

            async def back() -> bool:
                devices.tell("win-d")
                return await house.value("window-101", "state_value") == (True, "good")

            await until(back)
            assert await house.found() == []


def _is(what: str, thing: dict[str, Any]) -> bool:
    told = thing["evidence"]
    return {"plug": "Plug", "climate": "Climate", "lamp": "Lamp", "contact": "Window"}[what] in str(told.get("name"))


@pytest.mark.guarantee("G13", "G17", "G19")
async def test_on_a_bad_day_what_is_done_was_done_and_nothing_is_invented(tmp_path: Path) -> None:
    # Nothing out of order: what is told without a time in another order than it happened nobody can put right.
    bad = Knobs(duplicate=0.2, reorder=0, garbage=0.2, radio_loss=0.1)
    async with mosquitto(tmp_path) as broker, emulated(broker, four(), bad) as devices:
        registry, clock, heard = Registry(BUS), SystemClock("host"), Heard()

        def supervisor(*bound: tuple[str, str]) -> AnnouncedSupervisor:
            things = []
            for device, key in bound:
                thing = registry.thing(key)
                assert thing is not None
                assert thing.descriptor is not None
                things.append((DeviceId(device), Address(BUS.id, friendly_name=key), thing.descriptor))
            return AnnouncedSupervisor(
                registry,
                things,
                transport=MqttTransport(Broker(broker.host, broker.port, client_id="edge-announced")),
                clock=clock,
                dice=SeededDice(1),
                sink=heard,
            )

        looking = asyncio.create_task(supervisor().run())
        found = {key_of(f"id:{name}") for name in devices.things}
        await until(lambda: found <= {each.key for each in registry.things() if each.points})
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)
        bus = supervisor(("lamp", key_of("id:lamp-c")), ("climate", key_of("id:node-b")), ("plug", key_of("id:plug-a")))
        running = asyncio.create_task(bus.run())
        try:
            for name in devices.things:
                devices.tell(name)
            await until(lambda: heard.last("lamp", Capability.ON_OFF, "on_off"))
            devices.flap("plug-a", 20)
            done = 0
            for turn in range(12):
                on = turn % 2 == 0
                outcome = await bus.write(_command(clock, turn, "lamp", Capability.ON_OFF, "on_off", on))
                assert outcome.phase in (Phase.DONE, Phase.UNKNOWN)
                if outcome.phase is Phase.DONE:
                    done += 1
                    assert devices.things["lamp-c"].state["state"] == ("ON" if on else "OFF")
            assert done > 0
            for each in heard.readings:
                assert (each.value is None) == (each.quality is Quality.BAD)
                if each.attribute == "current_level" and each.value is not None:
                    assert each.value == 102
            assert not [each for each in heard.events if each[1] is DeviceEvent.OFFLINE]
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


def _command(  # noqa: PLR0917 - what is asked
    clock: SystemClock, number: int, device: str, capability: Capability, attribute: str, value: Value
) -> Command:
    name = f"c-{number}"
    return Command(name, DeviceId(device), capability, attribute, value, clock.wall_ms() + 30_000, name)
