"""The edge as shipped beside a real Home Assistant on a real Mosquitto: what an installer and a guest would see there.

Not part of `make test`: it runs where a Home Assistant is (docs/operating/devices.md, "A real Home Assistant").
"""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec
import pytest

from edge.northbound.home_assistant import HomeAssistant
from firmware_bridges.field_emulator.building import FieldEmulator
from firmware_bridges.field_emulator.misbehaviour import GOOD
from kit.clock import SystemClock
from kit.dice import SeededDice
from kit.mqtt import Broker, MqttTransport
from protocols.device_model import site_plan
from protocols.device_model.identity import BusId, DescriptorId, DeviceId, RoomId
from protocols.device_model.site_plan import SitePlan
from tests.conftest import find_program
from tests.edge.app.test_process import Process, program
from tests.edge.bridges.field import CATALOGUE, THERMOSTAT, plan
from tests.edge.northbound.real_home_assistant import Mosquitto, RealHomeAssistant, hass

pytestmark = [pytest.mark.tier("mosquitto", "home-assistant"), pytest.mark.timeout(300)]

CURTAIN, LEAK, TRV = "zigbee2mqtt/ikea_e1926", "zigbee2mqtt/aqara_sjcgq11lm", "zigbee2mqtt/eurotronic_spzb0001"
States = Mapping[str, dict[str, Any]]
Discovery = Literal["device", "entity"]


@dataclass
class House:
    """Everything that runs."""

    folder: Path
    broker: Mosquitto
    home: RealHomeAssistant
    emulator: FieldEmulator
    edge: Process

    async def planned(self, made: SitePlan) -> None:
        """Start the edge anew on another plan."""
        await self.edge.end(signal.SIGTERM)
        (self.folder / "site.json").write_bytes(site_plan.encode(made))
        await self.edge.start()

    async def truth(self, device: str, capability: str, attribute: str) -> object:
        return (await self.emulator.answer("true_state", {"device": device}))["state"][f"{capability}.{attribute}"]

    async def refused(self, topic: str, payload: str, why: str) -> None:
        """Have Home Assistant publish a command of no sense, and see it answered as such."""
        base = "innkeeper/aurora"
        answered = f"{base}/{topic}/result"
        broker = Broker(self.broker.host, self.broker.port, client_id="engineer")
        async with MqttTransport(broker).connect(subscribe=[answered]) as there:
            await self.home.act("mqtt", "publish", None, topic=f"{base}/{topic}/set", payload=payload)
            async with asyncio.timeout(10):
                async for message in there.messages():
                    answer = msgspec.json.decode(message.payload)
                    assert answer["phase"] == "failed"
                    assert why in answer["reason"]
                    return

    async def cause(self, device: str, event: str) -> None:
        await self.emulator.answer("cause", {"device": device, "event": event})


def made() -> SitePlan:
    """A guest room with a thermostat on Modbus and things on Zigbee; a curtain in the lobby."""
    base = plan([THERMOSTAT], zigbee=True)
    more = [("curtain-lobby", "lobby", CURTAIN), ("leak-101", "101", LEAK), ("trv-101", "101", TRV)]
    devices = tuple(
        site_plan.Device(
            DeviceId(name), RoomId(room), DescriptorId(model), site_plan.Address(BusId("zigbee"), friendly_name=name)
        )
        for name, room, model in more
    )
    lobby = site_plan.Room(RoomId("lobby"), 0, "common", "lobby")
    return msgspec.structs.replace(base, rooms=(*base.rooms, lobby), devices=(*base.devices, *devices))


@contextlib.asynccontextmanager
async def house(folder: Path, of: SitePlan, discovery: Discovery) -> AsyncIterator[House]:
    program_, home_program = find_program("mosquitto"), hass()
    assert program_ is not None
    assert home_program is not None
    (folder / "site.json").write_bytes(site_plan.encode(of))
    async with Mosquitto(folder / "broker", program_) as broker:
        (folder / "edge.toml").write_text(
            f'property = "{of.property.id}"\nedge = "{of.edge}"\ndata_dir = "data"\nclock_trust = "host"\n'
            f'site_plan_path = "site.json"\n[api]\nport = 0\nport_path = "port"\n[home_assistant]\n'
            f'discovery = "{discovery}"\n[site_broker]\nhost = "{broker.host}"\nport = {broker.port}\n'
        )
        emulator = FieldEmulator(
            of,
            CATALOGUE,
            transport_of=lambda bus: MqttTransport(Broker(broker.host, broker.port, client_id=f"zigbee2mqtt-{bus.id}")),
            clock=SystemClock("host"),
            dice=SeededDice(1),
            knobs=GOOD,
        )
        field = asyncio.create_task(emulator.run(asyncio.Event()))
        try:
            async with (
                program(folder, "run", "edge.toml") as edge,
                RealHomeAssistant(
                    folder / "home", home_program, (broker.host, broker.port), [room.id for room in of.rooms]
                ) as home,
            ):
                yield House(folder, broker, home, emulator, edge)
                assert not field.done() or field.result() is None
        finally:
            field.cancel()
            await asyncio.gather(field, return_exceptions=True)


def is_(entity: str, state: str) -> Callable[[States], bool]:
    return lambda states: states.get(entity, {}).get("state") == state


def lit(states: States) -> dict[str, Any]:
    attributes: dict[str, Any] = states["light.light_101_light"]["attributes"]
    return attributes


LIGHT, CLIMATE, DOOR = (
    "light.light_101_light",
    "climate.thermostat_1_thermostat",
    "binary_sensor.contact_101_state_value",
)
HERE, COVER = "binary_sensor.hotel_aurora_e_1_connectivity", "cover.curtain_lobby_cover"


@pytest.mark.requirement("DEV-02", "DEV-06")
@pytest.mark.guarantee("G13", "G17")
@pytest.mark.parametrize("discovery", ["device", "entity"])
async def test_a_house_is_seen_commanded_lost_found_and_changed(tmp_path: Path, discovery: Discovery) -> None:
    of = made()
    async with house(tmp_path, of, discovery) as it:
        home = it.home
        if discovery == "device" and home.version < (2024, 11):
            pytest.skip("a whole device in one message is read by 2024.11 and newer")
        await home.until(lambda seen: is_(DOOR, "unknown")(seen) and seen[LIGHT]["state"] in ("unknown", "off"))
        await it.cause("contact-101", "open")
        states = await home.until(lambda seen: is_(CLIMATE, "auto")(seen) and is_(DOOR, "on")(seen))
        assert states[DOOR]["attributes"]["device_class"] == "door"
        assert states[HERE]["state"] == "on"
        devices, entities = await home.asked("config/device_registry/list", "config/entity_registry/list")
        areas = {each["area_id"]: each["name"] for each in (await home.asked("config/area_registry/list"))[0]}
        ours = {each["name"]: each for each in devices if each["manufacturer"] not in ("Home Assistant", None)}
        assert ours.keys() == {*(str(each.id) for each in of.devices), "Hotel Aurora (e-1)"}
        for each in of.devices:
            assert areas[ours[each.id]["area_id"]] == each.room
            assert ours[each.id]["via_device_id"] == ours["Hotel Aurora (e-1)"]["id"]
        unique = [each["unique_id"] for each in entities if each["platform"] == "mqtt"]
        assert len(unique) == len(set(unique)) == sum(len(_components(of, each)) for each in of.devices) + 1

        # Commands: a lamp, its brightness, a setpoint, a curtain; each comes back as what is.
        await home.act("light", "turn_on", LIGHT, brightness=128)
        await home.until(lambda seen: is_(LIGHT, "on")(seen) and abs((lit(seen)["brightness"] or 0) - 128) <= 1)
        assert await it.truth("light-101", "on_off", "on_off") is True
        await home.act("light", "turn_off", LIGHT)
        await home.until(is_(LIGHT, "off"))
        await home.act("climate", "set_temperature", CLIMATE, temperature=22.5)
        await home.until(lambda seen: seen[CLIMATE]["attributes"]["temperature"] == 22.5)
        assert await it.truth("thermostat-1", "thermostat", "occupied_heating_setpoint") == 22.5
        assert await it.truth("trv-101", "thermostat", "occupied_heating_setpoint") != 22.5, (
            "the one that was meant alone"
        )
        with pytest.raises(AssertionError, match=r"400|500"):
            await home.act("climate", "set_temperature", CLIMATE, temperature=45)
        await it.refused("thermostat-1/thermostat.occupied_heating_setpoint", "hot", "is no value")
        assert (await home.states())[CLIMATE]["attributes"]["temperature"] == 22.5
        await home.act("cover", "open_cover", COVER)
        await home.until(lambda seen: is_(COVER, "open")(seen) and seen[COVER]["attributes"]["current_position"] == 100)
        await home.act("cover", "set_cover_position", COVER, position=30)
        await home.until(lambda seen: seen[COVER]["attributes"].get("current_position") == 30)
        assert await it.truth("curtain-lobby", "window_covering", "current_position_lift_percentage") == 70

        # States: the door closes; the thermostat dies, and is back.
        await it.cause("contact-101", "close")
        await home.until(is_(DOOR, "off"))

        await it.emulator.answer("power", {"device": "thermostat-1", "on": False})
        await home.until(is_(CLIMATE, "unavailable"))
        await it.emulator.answer("power", {"device": "thermostat-1", "on": True})
        await home.until(lambda seen: is_(CLIMATE, "auto")(seen) and is_(DOOR, "off")(seen))

        # The edge dies and comes back; the broker; Home Assistant itself.
        await it.edge.end(signal.SIGKILL)
        await home.until(lambda seen: is_(LIGHT, "unavailable")(seen) and is_(HERE, "off")(seen))
        await it.edge.start()
        await home.until(
            lambda seen: is_(CLIMATE, "auto")(seen) and is_(DOOR, "unknown")(seen) and is_(HERE, "on")(seen)
        )
        await it.cause("contact-101", "open")
        await home.until(is_(DOOR, "on"))
        await it.broker.restart()
        await home.until(lambda seen: is_(HERE, "on")(seen) and is_(DOOR, "on")(seen))
        await home.act("light", "turn_on", LIGHT)
        await home.until(is_(LIGHT, "on"))
        await home.stop()
        await home.start()
        await home.until(lambda seen: is_(LIGHT, "on")(seen) and is_(CLIMATE, "auto")(seen) and is_(DOOR, "on")(seen))

        # While the edge is down a lamp is taken out, a curtain is called otherwise, a contact becomes a leak sensor:
        # nothing of what they were is left.
        otherwise: dict[str, dict[str, object]] = {
            "contact-101": {"descriptor": DescriptorId(LEAK)},
            "curtain-lobby": {"id": DeviceId("drape-lobby")},
        }
        changed = tuple(
            msgspec.structs.replace(each, **otherwise.get(each.id, {})) for each in of.devices if each.id != "light-101"
        )
        await it.planned(msgspec.structs.replace(of, devices=changed))
        leak = DOOR.replace("state_value", "state_value_leak")
        seen = await home.until(
            lambda states: (
                not states.keys() & {LIGHT, DOOR, COVER}
                and leak in states
                and is_("cover.drape_lobby_cover", "open")(states)
            )
        )
        assert not any("light_101" in each or "curtain_lobby" in each for each in seen)
        [devices] = await home.asked("config/device_registry/list")
        assert not {"light-101", "curtain-lobby"} & {each["name"] for each in devices}
        await it.planned(of)
        await home.until(lambda states: states.keys() >= {LIGHT, DOOR, COVER} and leak not in states)
        assert home.complaints() == []


def _components(of: SitePlan, device: site_plan.Device) -> dict[str, str]:
    form = HomeAssistant(of, CATALOGUE)
    return dict(form.announced().components(device.id))
