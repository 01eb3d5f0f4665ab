"""A bus that is made anew because one of its devices was bound: its neighbours are what they were."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import pytest

from edge.app.live_buses import Gate, LiveBuses
from edge.bridges.mqtt import bus_memory, supervisor
from edge.bridges.mqtt.adverts import AdvertSupervisor
from edge.bridges.mqtt.broker_bus import BrokerBus
from edge.bridges.mqtt.bus_memory import BusMemory
from edge.bridges.mqtt.devices import MqttDevicesSupervisor
from edge.bridges.mqtt.supervisor import Zigbee2MqttSupervisor
from edge.bridges.ports import BusSupervisor, DeviceEvent, ReadingSink
from kit.clock import ManualClock
from kit.dice import SeededDice
from protocols.descriptors import gateway
from protocols.device_model.identity import BusId, DescriptorId, DeviceId
from protocols.device_model.reading import Quality
from protocols.device_model.site_plan import Address, BleAdvertBus, MqttBus, MqttDevicesBus, SitePlan
from tests.edge.bridges.air import Air
from tests.edge.bridges.field import CATALOGUE, CONTACT, LIGHT, ZIGBEE, Heard
from tests.edge.bridges.test_hostile_broker_things import GOVEE, GOVEE_MAC, GOVEE_VALID, TAG, TAG_MAC, VALID
from tests.edge.world import T0, plan

Z2M: Final = MqttBus(ZIGBEE, "z")
TALKERS: Final = MqttDevicesBus(BusId("talkers"))
PLUG: Final = DescriptorId("tasmota/pow_r2")
LAMP_IEEE: Final = "0x000b57fffec6a5b2"


class World:
    """One bus on one broker over lives; what it tells is heard in one place."""

    def __init__(self) -> None:
        self.clock, self.memory = ManualClock(wall_ms=T0), BusMemory()
        self.air, self.heard = Air(), Heard()

    def zigbee(self, *names: str, sink: ReadingSink | None = None, memory: BusMemory | None = None) -> BrokerBus:
        """A Zigbee2MQTT bus with these lamps; one that is called `contact` is one."""
        return Zigbee2MqttSupervisor(
            Z2M,
            [
                (
                    DeviceId(f"d-{name}"),
                    Address(ZIGBEE, friendly_name=name, ieee=LAMP_IEEE if name == "lamp" else None),
                    CATALOGUE[CONTACT if name == "contact" else LIGHT],
                )
                for name in names
            ],
            transport=self.air,
            clock=self.clock,
            dice=SeededDice(1),
            sink=sink or self.heard,
            memory=memory or self.memory.next_life(),
        )

    def talkers(self, *names: str) -> BrokerBus:
        """Plugs that speak by themselves."""
        things = [(DeviceId(f"d-{name}"), Address(TALKERS.id, friendly_name=name), CATALOGUE[PLUG]) for name in names]
        return MqttDevicesSupervisor(
            TALKERS,
            things,
            transport=self.air,
            clock=self.clock,
            dice=SeededDice(1),
            sink=self.heard,
            memory=self.memory.next_life(),
        )

    @contextlib.asynccontextmanager
    async def life(self, bus: BrokerBus) -> AsyncIterator[None]:
        self.heard.readings.clear()
        self.heard.events.clear()
        running = asyncio.create_task(bus.run())
        try:
            await asyncio.sleep(0)
            yield
            assert not running.done(), running
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    async def say(self, topic: str, document: Any, *, retain: bool = False) -> None:
        payload = document if isinstance(document, bytes) else json.dumps(document).encode()
        self.air.say(topic, payload, retain=retain)
        await self.air.heard()

    def told(self, attribute: str) -> list[tuple[str, object, Quality]]:
        heard = self.heard.readings
        return [(str(each.device), each.value, each.quality) for each in heard if each.attribute == attribute]

    def events(self, event: DeviceEvent) -> list[str]:
        return [str(device) for device, what, _ in self.heard.events if what is event]


def entry(name: str, ieee: str, model: str = "LED1545G12") -> dict[str, object]:
    return {
        "friendly_name": name,
        "ieee_address": ieee,
        "type": "Router",
        "supported": True,
        "definition": {"model": model, "vendor": "IKEA"},
    }


LISTED: Final = [entry("lamp", LAMP_IEEE), entry("new", "0x01"), entry("other", "0x02")]


@pytest.mark.requirement("DEV-01")
async def test_what_was_found_is_told_once_over_the_lives_of_its_bus_and_again_when_it_is_let_go() -> None:
    world = World()
    async with world.life(world.zigbee("lamp")):
        await world.say("z/bridge/devices", LISTED, retain=True)
        assert len(world.events(DeviceEvent.UNKNOWN_DEVICE)) == 2
    async with world.life(world.zigbee("lamp", "new")):
        await world.say("z/bridge/devices", LISTED, retain=True)
        await world.say("z/other", {"state": "ON"}, retain=True)
        assert world.events(DeviceEvent.UNKNOWN_DEVICE) == []
        await world.say("z/bridge/devices", [*LISTED, entry("third", "0x03")], retain=True)
        assert len(world.events(DeviceEvent.UNKNOWN_DEVICE)) == 1
    async with world.life(world.zigbee("lamp")):
        await world.say("z/bridge/devices", [*LISTED, entry("third", "0x03")], retain=True)
        [detail] = [detail for _, event, detail in world.heard.events if event is DeviceEvent.UNKNOWN_DEVICE]
        assert detail["friendly_name"] == "new"


async def test_another_model_in_a_devices_place_is_told_once_and_again_when_it_is_another() -> None:
    world = World()
    wrong = [entry("lamp", LAMP_IEEE, "E1603")]
    for times in (1, 0):
        async with world.life(world.zigbee("lamp", *(["new"] if not times else []))):
            await world.say("z/bridge/devices", wrong, retain=True)
            assert world.events(DeviceEvent.UNKNOWN_DEVICE) == ["d-lamp"] * times
            assert (None, Quality.BAD) in [each[1:] for each in world.told("on_off")]
    async with world.life(world.zigbee("lamp")):
        await world.say("z/bridge/devices", [entry("lamp", LAMP_IEEE, "E1702")], retain=True)
        assert world.events(DeviceEvent.UNKNOWN_DEVICE) == ["d-lamp"]
    async with world.life(world.zigbee("new")):
        await world.say("z/bridge/devices", [entry("new", "0x01")], retain=True)
    async with world.life(world.zigbee("lamp", "new")):  # bound anew: nobody knows of it what it was
        await world.say("z/bridge/devices", [entry("lamp", LAMP_IEEE, "E1702"), entry("new", "0x01")], retain=True)
        assert "d-lamp" in world.events(DeviceEvent.UNKNOWN_DEVICE)


Make = Callable[[World, bool], BrokerBus]
PLACES: Final = pytest.mark.parametrize(
    ("make", "state", "on", "off", "lwt", "words"),
    [
        (
            lambda world, more: world.zigbee("lamp", *(["new"] if more else [])),
            "z/lamp",
            b'{"state":"ON","brightness":120}',
            b'{"state":"OFF","brightness":120}',
            "z/lamp/availability",
            (b'{"state":"online"}', b'{"state":"offline"}'),
        ),
        (
            lambda world, more: world.talkers("lamp", *(["new"] if more else [])),
            "stat/lamp/POWER",
            b"ON",
            b"OFF",
            "tele/lamp/LWT",
            (b"Online", b"Offline"),
        ),
    ],
    ids=["zigbee2mqtt", "speaks by itself"],
)


@pytest.mark.guarantee("G17")
@PLACES
async def test_what_the_broker_kept_is_no_older_than_when_it_was_heard_and_no_younger(  # noqa: PLR0917 - the parts
    make: Make, state: str, on: bytes, off: bytes, lwt: str, words: tuple[bytes, bytes]
) -> None:
    world, minutes = World(), 60_000
    async with world.life(make(world, False)):
        await world.say(state, on, retain=True)
        assert world.told("on_off")[-1] == ("d-lamp", True, Quality.UNCERTAIN), "nobody has heard it say so"
        await world.say(state, on)
        assert world.told("on_off")[-1] == ("d-lamp", True, Quality.GOOD)
    world.clock.advance(minutes)
    async with world.life(make(world, True)):
        await world.say(state, on, retain=True)
        assert world.told("on_off") == [("d-lamp", True, Quality.GOOD)]
    async with world.life(make(world, True)):
        await world.say(state, off, retain=True)  # said while nobody listened
        assert world.told("on_off") == [("d-lamp", False, Quality.UNCERTAIN)]
    async with world.life(make(world, False)):
        await world.say(lwt, words[1], retain=True)
        await world.say(state, on, retain=True)  # it was on, and is not there
        assert world.told("on_off") == [("d-lamp", True, Quality.UNCERTAIN)]
    async with world.life(make(world, True)):
        await world.say(lwt, words[0], retain=True)
        await world.say(state, on, retain=True)
        assert world.told("on_off") == [("d-lamp", True, Quality.UNCERTAIN)], "it was away since"
        await world.say(state, on)
    world.clock.advance(48 * 60 * minutes)
    async with world.life(make(world, False)):
        await world.say(state, on, retain=True)
        assert world.told("on_off") == [("d-lamp", True, Quality.UNCERTAIN)], "it has been silent for too long"


@PLACES
async def test_who_was_on_line_is_not_told_so_again_and_who_went_is(  # noqa: PLR0917 - the parts of a place
    make: Make, state: str, on: bytes, off: bytes, lwt: str, words: tuple[bytes, bytes]
) -> None:
    world = World()
    del off
    for expected in (["d-lamp"], []):
        async with world.life(make(world, not expected)):
            await world.say(lwt, words[0], retain=True)
            await world.say(state, on)
            assert world.events(DeviceEvent.ONLINE) == expected
    async with world.life(make(world, False)):
        await world.say(lwt, words[1], retain=True)
        assert world.events(DeviceEvent.OFFLINE) == ["d-lamp"]
    async with world.life(make(world, True)):
        await world.say(lwt, words[0], retain=True)
        assert world.events(DeviceEvent.ONLINE) == ["d-lamp"]


async def test_a_mesh_is_not_asked_again_for_what_it_was_heard_to_say(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every binding would have every lamp of the house read, one after the other."""
    monkeypatch.setattr(supervisor, "UNHEARD_MS", 1)
    monkeypatch.setattr(supervisor, "ASK_EVERY_MS", 0)
    world = World()

    async def asked() -> list[str]:
        """Who was asked, once the last of them was."""
        async with asyncio.timeout(20):
            while not any(topic == "z/new/get" for topic, _ in world.air.published):
                await asyncio.sleep(0)
        topics = [topic for topic, _ in world.air.published]
        world.air.published.clear()
        return topics

    for kept, expected in ((None, ["z/lamp/get", "z/new/get"]), (b"ON", ["z/new/get"])):
        if kept is not None:
            world.air.say("z/lamp", b'{"state":"ON"}', retain=True)
        async with world.life(world.zigbee("lamp", "new")):
            assert await asked() == expected
            await world.say("z/lamp", b'{"state":"ON"}')
    world.air.say("z/lamp", b'{"state":"OFF"}', retain=True)  # switched while nobody listened
    async with world.life(world.zigbee("lamp", "new")):
        assert await asked() == ["z/lamp/get", "z/new/get"]


async def test_a_sensor_that_advertises_is_found_once() -> None:
    world, adverts = World(), BleAdvertBus(BusId("adverts"), "ruuvi")

    def bus(*sensors: tuple[DeviceId, Address, DescriptorId]) -> BrokerBus:
        return AdvertSupervisor(
            adverts,
            [(device, address, CATALOGUE[model]) for device, address, model in sensors],
            transport=world.air,
            clock=world.clock,
            dice=SeededDice(1),
            sink=world.heard,
            memory=world.memory.next_life(),
        )

    async def advertise(mac: str, advert: bytes) -> None:
        payload = gateway.message(advert, gateway="c4:7d:cc:00:11:22", rssi_dbm=-60, at_s=T0 // 1000)
        await world.say(f"ruuvi/C4:7D:CC:00:11:22/{mac.upper()}", payload)

    tag = (DeviceId("tag"), Address(adverts.id, mac=TAG_MAC), TAG)
    for sensors, found in (((), 2), ((tag,), 0), ((), 1)):
        async with world.life(bus(*sensors)):
            await advertise(TAG_MAC, VALID)
            await advertise(GOVEE_MAC, GOVEE_VALID)
            assert len(world.events(DeviceEvent.UNKNOWN_DEVICE)) == found
    assert CATALOGUE[GOVEE].id == GOVEE


async def test_what_a_bus_hears_when_nobody_listens_to_it_any_more_is_as_if_unheard() -> None:
    """Between the word that another takes its place and the end of its connection."""
    world = World()
    lives: list[BrokerBus] = []

    def make(of: SitePlan, bus: BusId, gate: Gate) -> BusSupervisor | None:
        del of, bus
        memory = world.memory.next_life()
        gate.at_shut = memory.end
        lives.append(world.zigbee("lamp", sink=gate, memory=memory))
        return lives[-1]

    buses = LiveBuses([ZIGBEE], plan(), make, sink=world.heard)
    async with world.life(lives[0]):
        await world.say("z/lamp", {"state": "OFF"})
        buses.replace(ZIGBEE, buses.made(plan(), ZIGBEE))
        await world.say("z/lamp", {"state": "ON"})
        await world.say("z/new", {"state": "ON"})
    async with world.life(lives[1]):
        await world.say("z/lamp", {"state": "ON"}, retain=True)
        await world.say("z/new", {"state": "ON"})
        assert world.told("on_off") == [("d-lamp", True, Quality.UNCERTAIN)]
        assert len(world.events(DeviceEvent.UNKNOWN_DEVICE)) == 1


@pytest.mark.guarantee("G17")
@pytest.mark.parametrize("size", [0, 1, bus_memory.SHORT_BYTES_MAX, bus_memory.SHORT_BYTES_MAX + 1, 60_000])
def test_a_word_of_any_length_is_known_again_and_no_other_is_taken_for_it(size: int) -> None:
    memory, lamp, said = BusMemory(), DeviceId("d-lamp"), b"x" * size
    assert memory.age_ms(lamp, "z/lamp", said, now_ms=5) is None, "nobody has heard it"
    memory.heard(lamp, "z/lamp", said, now_ms=7)
    assert memory.age_ms(lamp, "z/lamp", said, now_ms=9) == 2
    for other in (said[:-1] + b"y", said + b"x"):
        assert memory.age_ms(lamp, "z/lamp", other, now_ms=9) is None
    assert memory.age_ms(lamp, "z/other", said, now_ms=9) is None
