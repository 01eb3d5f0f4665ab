"""Devices that announce themselves, heard by a real Home Assistant and by us: both read the same, both command them.

Not part of `make test`: it runs where a Home Assistant is (docs/operating/devices.md, "A real Home Assistant").
"""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pytest

from edge.bridges.mqtt.announced import AnnouncedSupervisor
from edge.bridges.mqtt.announced_registry import Registry, key_of
from kit.clock import SystemClock
from kit.dice import SeededDice
from kit.mqtt import Broker, MqttTransport
from protocols.device_model.capability import Capability, Value
from protocols.device_model.command import Command, Phase
from protocols.device_model.identity import DeviceId
from protocols.device_model.site_plan import Address
from tests.edge.bridges.field import Heard
from tests.edge.bridges.test_announced_things import BUS, emulated, four, mosquitto, until
from tests.edge.northbound.real_home_assistant import RealHomeAssistant, hass

pytestmark = [pytest.mark.tier("mosquitto", "home-assistant"), pytest.mark.timeout(300)]

States = Mapping[str, dict[str, Any]]
BOUND: Final = {"plug": "plug-a", "climate": "node-b", "lamp": "lamp-c", "window": "win-d"}


def of(states: States, domain: str, word: str) -> dict[str, Any]:
    """Return the state of the one entity of a domain whose id holds a word."""
    found = [each for name, each in states.items() if name.startswith(f"{domain}.") and word in name]
    return found[0] if found else {"state": None, "attributes": {}}


@pytest.mark.requirement("DEV-01", "DEV-06")
@pytest.mark.guarantee("G13")
async def test_home_assistant_and_we_read_the_same_and_each_sees_what_the_other_did(tmp_path: Path) -> None:
    program = hass()
    assert program is not None
    async with (
        mosquitto(tmp_path) as broker,
        emulated(broker, four()) as devices,
        RealHomeAssistant(tmp_path / "home", program, (broker.host, broker.port)) as home,
    ):
        clock, heard, registry = SystemClock("host"), Heard(), Registry(BUS)

        def supervisor(**bound: str) -> AnnouncedSupervisor:
            things = []
            for device, name in bound.items():
                thing = registry.thing(key_of(f"id:{name}"))
                assert thing is not None
                assert thing.descriptor is not None
                things.append((DeviceId(device), Address(BUS.id, friendly_name=thing.key), thing.descriptor))
            transport = MqttTransport(Broker(broker.host, broker.port, client_id="edge-announced"))
            return AnnouncedSupervisor(
                registry, things, transport=transport, clock=clock, dice=SeededDice(1), sink=heard
            )

        looking = asyncio.create_task(supervisor().run())
        await until(
            lambda: {key_of(f"id:{name}") for name in BOUND.values()} <= {each.key for each in registry.things()}
        )
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)
        bus = supervisor(**BOUND)
        running = asyncio.create_task(bus.run())
        try:
            await until(lambda: bus.counts["connections"])
            for name in BOUND.values():
                devices.tell(name)
            states = await home.until(
                lambda seen: (
                    of(seen, "binary_sensor", "window")["state"] == "off"
                    and of(seen, "climate", "climate_101")["attributes"].get("current_temperature") == 20
                    and of(seen, "sensor", "energy_total")["state"] == "12.346"
                    and of(seen, "light", "lamp")["state"] == "off"
                )
            )
            await until(heard.says("window", Capability.BOOLEAN_STATE, "state_value", True))
            await until(heard.says("climate", Capability.THERMOSTAT, "local_temperature", 20.0))
            await until(heard.says("plug", Capability.ELECTRICAL_MEASUREMENT, "cumulative_energy_imported", 12.346))
            setpoint = of(states, "climate", "climate_101")["attributes"]["temperature"]
            assert heard.says("climate", Capability.THERMOSTAT, "occupied_heating_setpoint", setpoint)()
            # Home Assistant acts, and we see it.
            socket = next(each for each in states if each.startswith("switch.plug_101"))
            await home.act("switch", "turn_on", socket)
            await until(heard.says("plug", Capability.ON_OFF, "on_off", True))
            await until(heard.says("plug", Capability.ELECTRICAL_MEASUREMENT, "active_power", 41.5))
            # We act, and Home Assistant sees it.
            for number, (device, capability, attribute, value) in enumerate(ASKED):
                command = Command(
                    f"c-{number}",
                    DeviceId(device),
                    capability,
                    attribute,
                    value,
                    clock.wall_ms() + 30_000,
                    f"c-{number}",
                )
                assert (await bus.write(command)).phase is Phase.DONE
            await home.until(
                lambda seen: (
                    of(seen, "light", "lamp")["attributes"].get("brightness") == 255
                    and of(seen, "climate", "climate_101")["state"] == "off"
                    and of(seen, "climate", "climate_101")["attributes"]["temperature"] == 25
                    and of(seen, "switch", "plug_101")["state"] == "off"
                )
            )
            # Taken back: gone there, and kept under its name here.
            devices.take_back("win-d")
            await home.until(lambda seen: of(seen, "binary_sensor", "window")["state"] in (None, "unavailable"))
            thing = registry.thing(key_of("id:win-d"))
            assert thing is not None
            assert thing.gone
            assert thing.points
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


ASKED: Final[tuple[tuple[str, Capability, str, Value], ...]] = (
    ("lamp", Capability.LEVEL_CONTROL, "current_level", 254),
    ("climate", Capability.THERMOSTAT, "occupied_heating_setpoint", 25),
    ("climate", Capability.THERMOSTAT, "system_mode", "off"),
    ("plug", Capability.ON_OFF, "on_off", False),
)
