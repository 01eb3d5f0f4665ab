"""What a Zigbee bridge says again is no word of the device's; what the device says again is, and is told as such."""

import asyncio
import json
from typing import Any, Final

import msgspec
import pytest

from edge.bridges.mqtt.supervisor import CACHED_MS, Zigbee2MqttSupervisor
from edge.bridges.ports import DeviceEvent
from kit.dice import SeededDice
from protocols.descriptors.descriptor import Descriptor
from protocols.descriptors.wires import Zigbee2MqttWire
from protocols.device_model.capability import Capability
from protocols.device_model.command import Command, Outcome, Phase
from protocols.device_model.identity import DeviceId
from protocols.device_model.reading import Quality
from protocols.device_model.site_plan import Address
from tests.edge.bridges.field import CATALOGUE, LIGHT, ZIGBEE
from tests.edge.bridges.mqtt.test_bus_memory import Z2M, World

ON: Final = {"state": "ON", "brightness": 120}
OFF: Final = {"state": "OFF", "brightness": 120}


async def test_what_is_said_long_after_a_bridge_began_is_the_devices() -> None:
    world = World()
    async with world.life(world.zigbee("lamp")):
        await world.say("z/lamp", ON)
        await begins(world)
        world.clock.advance(CACHED_MS)
        await world.say("z/lamp", ON)
        assert world.told("on_off")[-1] == ("d-lamp", True, Quality.GOOD)


async def begins(world: World) -> None:
    await world.say("z/bridge/state", {"state": "offline"})
    world.clock.advance(60_000)
    await world.say("z/bridge/state", {"state": "online"})


@pytest.mark.guarantee("G17")
@pytest.mark.requirement("DEV-02")
async def test_what_a_bridge_kept_of_a_device_and_says_as_it_begins_is_of_unknown_age() -> None:
    world = World()
    async with world.life(world.zigbee("lamp")):
        await world.say("z/lamp", ON)
        assert world.told("on_off") == [("d-lamp", True, Quality.GOOD)]
        await begins(world)
        world.heard.events.clear()
        await world.say("z/lamp", ON)
        assert world.told("on_off")[-1] == ("d-lamp", True, Quality.UNCERTAIN)
        assert world.events(DeviceEvent.ONLINE) == [], "it has said nothing"
        await world.say("z/lamp", ON)  # a bridge says so once: this is the lamp, asked or not
        assert world.told("on_off")[-1] == ("d-lamp", True, Quality.GOOD)
        assert world.events(DeviceEvent.ONLINE) == ["d-lamp"]


@pytest.mark.guarantee("G17")
@pytest.mark.parametrize("how", ["another value", "a time", "nothing known before", "kept by the broker"])
async def test_what_else_is_said_as_a_bridge_begins(how: str) -> None:
    world = World()
    async with world.life(world.zigbee("contact")):
        if how != "nothing known before":
            await world.say("z/contact", {"contact": True})
        await begins(world)
        said: dict[str, Any] = {"contact": how != "another value"}
        if how == "a time":
            said["last_seen"] = world.clock.wall_ms() - 3_000
        await world.say("z/contact", said, retain=how == "kept by the broker")
        news = how in ("another value", "a time")
        expected = ("d-contact", said["contact"], Quality.GOOD if news else Quality.UNCERTAIN)
        assert world.told("state_value")[-1] == expected
        assert (world.events(DeviceEvent.ONLINE)[-1:] == ["d-contact"]) is (how != "nothing known before")


def patient(*, readable: bool) -> Descriptor:
    model = CATALOGUE[LIGHT]
    assert isinstance(model.wire, Zigbee2MqttWire)
    return msgspec.structs.replace(
        model,
        wire=msgspec.structs.replace(model.wire, answer_wait_ms=100),
        points=tuple(msgspec.structs.replace(each, readable=readable) for each in model.points),
    )


async def switched(*answers: dict[str, Any], readable: bool = False) -> Outcome:
    """Switch a lamp on that was off; what it says to that."""
    world = World()
    bus = Zigbee2MqttSupervisor(
        Z2M,
        [(DeviceId("d-lamp"), Address(ZIGBEE, friendly_name="lamp"), patient(readable=readable))],
        transport=world.air,
        clock=world.clock,
        dice=SeededDice(1),
        sink=world.heard,
    )
    async with world.life(bus):
        await world.say("z/bridge/state", {"state": "online"}, retain=True)
        await world.say("z/lamp", {**OFF, "last_seen": world.clock.wall_ms()})
        now_ms = world.clock.wall_ms()
        command = Command("c", DeviceId("d-lamp"), Capability.ON_OFF, "on_off", True, now_ms + 60_000, "c")
        writing = asyncio.create_task(bus.write(command))
        async with asyncio.timeout(10):
            while not any(topic == "z/lamp/set" for topic, _ in world.air.published):
                await asyncio.sleep(0)
        for answer in answers:
            world.air.say("z/lamp", json.dumps({**answer, "last_seen": now_ms + answer["last_seen"]}).encode())
        async with asyncio.timeout(10):
            return await writing


@pytest.mark.guarantee("G13")
async def test_a_lamp_that_says_its_old_value_again_has_said_it() -> None:
    outcome = await switched({**OFF, "last_seen": 500})
    assert outcome == Outcome(Phase.UNKNOWN, False, "the device says False")
    outcome = await switched({**OFF, "last_seen": 500}, {**ON, "last_seen": 900})
    assert (outcome.phase, outcome.read_back) == (Phase.DONE, True)


@pytest.mark.guarantee("G13")
async def test_what_the_bridge_repeats_of_it_is_no_word_of_the_lamp() -> None:
    outcome = await switched({**OFF, "last_seen": 0})
    assert outcome == Outcome(Phase.UNKNOWN, None, "no word from the device")
    outcome = await switched({**OFF, "last_seen": 0}, readable=True)
    assert outcome == Outcome(Phase.UNKNOWN, None, "the device does not answer")
