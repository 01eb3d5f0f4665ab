"""Devices that speak by themselves, and sensors that advertise: whatever is said, neighbours are heard and nothing
breaks."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge.bridges.mqtt.adverts import UNKNOWN_MAX, AdvertSupervisor
from edge.bridges.mqtt.devices import MqttDevicesSupervisor
from edge.bridges.ports import DeviceEvent
from kit.clock import ManualClock
from kit.dice import SeededDice
from protocols.descriptors import gateway
from protocols.device_model.capability import Capability
from protocols.device_model.command import Command, Phase
from protocols.device_model.identity import BusId, DescriptorId, DeviceId
from protocols.device_model.reading import Quality
from protocols.device_model.site_plan import Address, BleAdvertBus, MqttDevicesBus
from tests.edge.bridges.air import Air
from tests.edge.bridges.field import CATALOGUE, Heard
from tests.edge.world import T0

PLUG: Final = DescriptorId("tasmota/pow_r2")
HT: Final = DescriptorId("shelly/shelly_ht")
TAG: Final = DescriptorId("ruuvi/ruuvitag")
GOVEE: Final = DescriptorId("govee/h5075")
TALKERS: Final = BusId("talkers")
ADVERTS: Final = BusId("adverts")
TAG_MAC: Final = "cb:b8:33:4c:88:4f"
GOVEE_MAC: Final = "a4:c1:38:00:00:02"
VALID: Final = bytes.fromhex("0201061bff99040512fc5394c37c0004fffc040cac364200cdcbb8334c884f")
GOVEE_VALID: Final = bytes.fromhex("09ff88ec0003215d6400")


@dataclass
class Bus:
    air: Air
    heard: Heard
    supervisor: MqttDevicesSupervisor | AdvertSupervisor

    async def say(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        self.air.say(topic, payload, retain=retain)
        await self.air.heard()

    async def published(self, wanted: tuple[str, bytes], *, times: int) -> None:
        """Return when the bus has published something so often."""
        async with asyncio.timeout(10):
            while self.air.published.count(wanted) < times:
                await asyncio.sleep(0)

    def last(self, device: str, attribute: str) -> tuple[object, Quality] | None:
        for each in reversed(self.heard.readings):
            if (each.device, each.attribute) == (device, attribute):
                return each.value, each.quality
        return None

    def told(self, event: DeviceEvent) -> list[str]:
        return [device for device, what, _ in self.heard.events if what is event]


@contextlib.asynccontextmanager
async def bus(kind: BusId) -> AsyncIterator[Bus]:
    air, heard = Air(), Heard()
    shared = {"transport": air, "clock": ManualClock(wall_ms=T0), "dice": SeededDice(1), "sink": heard}
    supervisor: MqttDevicesSupervisor | AdvertSupervisor
    if kind == TALKERS:
        things = [
            (DeviceId("plug"), Address(TALKERS, friendly_name="101/plug"), CATALOGUE[PLUG]),
            (DeviceId("ht"), Address(TALKERS, friendly_name="ht"), CATALOGUE[HT]),
        ]
        supervisor = MqttDevicesSupervisor(MqttDevicesBus(TALKERS), things, **shared)  # type: ignore[arg-type]  # changes by name
    else:
        sensors = [
            (DeviceId("tag"), Address(ADVERTS, mac=TAG_MAC), CATALOGUE[TAG]),
            (DeviceId("govee"), Address(ADVERTS, mac=GOVEE_MAC), CATALOGUE[GOVEE]),
        ]
        supervisor = AdvertSupervisor(BleAdvertBus(ADVERTS, "ruuvi"), sensors, **shared)  # type: ignore[arg-type]  # changes by name
    running = asyncio.create_task(supervisor.run())
    try:
        await air.heard()
        yield Bus(air, heard, supervisor)
        if running.done():
            running.result()
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def _advert(mac: str, advert: bytes, at_s: int = T0 // 1000) -> tuple[str, bytes]:
    payload = gateway.message(advert, gateway="c4:7d:cc:00:11:22", rssi_dbm=-60, at_s=at_s)
    return f"ruuvi/C4:7D:CC:00:11:22/{mac.upper()}", payload


@pytest.mark.guarantee("G19")
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    payload=st.one_of(
        st.binary(max_size=120), st.text(max_size=60).map(str.encode), st.just(b'{"ENERGY":{"Power":[1]}}')
    ),
    topic=st.sampled_from(
        ["tele/101/plug/SENSOR", "stat/101/plug/POWER", "tele/101/plug/LWT", "tele/101/plug/STATE", "x"]
    ),
    retain=st.booleans(),
)
async def test_noise_of_one_device_costs_its_neighbour_nothing(payload: bytes, topic: str, retain: bool) -> None:
    async with bus(TALKERS) as it:
        await it.say(topic, payload, retain=retain)
        await it.say("shellies/ht/sensor/temperature", b"21.25")
        assert it.last("ht", "measured_value") is not None
        assert (21.25, Quality.GOOD) in [
            (each.value, each.quality) for each in it.heard.readings if each.device == "ht"
        ]
        for each in it.heard.readings:
            assert (each.value is None) == (each.quality is Quality.BAD)


@pytest.mark.guarantee("G17")
async def test_a_kept_message_is_uncertain_and_its_last_will_takes_a_device_off_line() -> None:
    async with bus(TALKERS) as it:
        await it.say("stat/101/plug/POWER", b"ON", retain=True)
        assert it.last("plug", "on_off") == (True, Quality.UNCERTAIN)
        assert it.told(DeviceEvent.ONLINE) == []
        await it.say("tele/101/plug/LWT", b"Online", retain=True)
        assert it.told(DeviceEvent.ONLINE) == ["plug"]
        await it.say("stat/101/plug/POWER", b"OFF")
        assert it.last("plug", "on_off") == (False, Quality.GOOD)
        await it.say("tele/101/plug/LWT", b"Offline", retain=True)
        assert it.told(DeviceEvent.OFFLINE) == ["plug"]
        assert it.last("plug", "on_off") == (False, Quality.STALE)
        command = Command("c", DeviceId("plug"), Capability.ON_OFF, "on_off", True, T0 + 60_000, "c")
        outcome = await it.supervisor.write(command)
        assert outcome.phase is Phase.FAILED
        await it.say("tele/101/plug/LWT", b"perhaps")
        assert it.supervisor.counts["malformed_messages"] == 1


@pytest.mark.guarantee("G13")
@pytest.mark.parametrize("between", [[], ["stat/101/plug/POWER"]], ids=["in order", "a state overtakes the word"])
async def test_what_was_gone_is_asked_which_firmware_it_runs_in_whatever_order_its_topics_come(
    between: list[str],
) -> None:
    ask = ("cmnd/101/plug/STATUS", b"2")
    async with bus(TALKERS) as it:
        await it.published(ask, times=1)
        await it.say("stat/101/plug/STATUS2", b'{"StatusFWR":{"Version":"9.5.0"}}')
        await it.published(ask, times=2)
        await it.say("tele/101/plug/LWT", b"Offline")
        for number, topic in enumerate(between, 3):  # old or new, nobody knows: a broker orders one topic alone
            await it.say(topic, b"ON")
            await it.published(ask, times=number)
        await it.say("tele/101/plug/LWT", b"Online")
        await it.published(ask, times=3 + len(between))
        assert it.told(DeviceEvent.ONLINE) == ["plug"]


@pytest.mark.guarantee("G13")
@pytest.mark.parametrize("topic", ["tele/101/plug/LWT", "stat/101/plug/POWER"])
async def test_what_comes_up_after_the_edge_is_asked_again_which_firmware_it_runs(topic: str) -> None:
    ask = ("cmnd/101/plug/STATUS", b"2")
    async with bus(TALKERS) as it:
        await it.published(ask, times=1)  # nobody was there to hear it
        await it.say(topic, b"Online" if topic.endswith("LWT") else b"ON")
        await it.published(ask, times=2)


@pytest.mark.guarantee("G13", "G17")
async def test_a_plug_swapped_for_one_whose_version_cannot_be_read_is_asked_once_more_and_not_believed() -> None:
    ask = ("cmnd/101/plug/STATUS", b"2")
    async with bus(TALKERS) as it:
        assert isinstance(it.supervisor, MqttDevicesSupervisor)
        running = it.supervisor._things[DeviceId("plug")].running
        await it.published(ask, times=1)
        await it.say("stat/101/plug/STATUS2", b'{"StatusFWR":{"Version":"9.5.0"}}')
        await it.published(ask, times=2)
        assert str(running.text) == "9.5.0"
        await it.say("stat/101/plug/STATUS2", b'{"StatusFWR":{}}')
        assert str(running.text) == "9.5.0", "that says nothing of a version"
        await it.say("stat/101/plug/STATUS2", b'{"StatusFWR":{"Version":"?"}}')
        assert str(running.text) == "None"
        await it.published(ask, times=3)
        for _ in range(3):
            await it.say("stat/101/plug/STATUS2", b'{"StatusFWR":{"Version":"?"}}')
        await it.say("stat/101/plug/STATUS2", b'{"StatusFWR":{"Version":"9.5.0"}}')
        await it.published(ask, times=4)
        assert str(running.text) == "9.5.0"
        assert it.air.published.count(ask) == 4


@pytest.mark.guarantee("G13")
async def test_what_the_rule_forbids_is_not_sent() -> None:
    async with bus(TALKERS) as it:
        for device, capability, attribute, value in (
            ("plug", Capability.ON_OFF, "on_off", "perhaps"),
            ("plug", Capability.ELECTRICAL_MEASUREMENT, "active_power", 0),
            ("ht", Capability.ON_OFF, "on_off", True),
        ):
            name = f"c-{device}-{attribute}"
            outcome = await it.supervisor.write(
                Command(name, DeviceId(device), capability, attribute, value, T0 + 60_000, name)
            )
            assert outcome.phase is Phase.FAILED
        late = Command("late", DeviceId("plug"), Capability.ON_OFF, "on_off", True, T0 - 1, "late")
        assert (await it.supervisor.write(late)).phase is Phase.EXPIRED
        assert it.supervisor.counts["writes"] == 0


@pytest.mark.guarantee("G19")
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(payload=st.one_of(st.binary(max_size=120), st.binary(max_size=40).map(lambda raw: _advert(TAG_MAC, raw)[1])))
async def test_noise_on_the_air_costs_the_next_sensor_nothing(payload: bytes) -> None:
    async with bus(ADVERTS) as it:
        await it.say(f"ruuvi/gw/{TAG_MAC}", payload)
        await it.say(*_advert(GOVEE_MAC, GOVEE_VALID))
        assert (20.5, Quality.GOOD) in [
            (each.value, each.quality) for each in it.heard.readings if each.device == "govee"
        ]


async def test_two_gateways_that_hear_one_advert_tell_it_once_and_a_late_one_is_dropped() -> None:
    async with bus(ADVERTS) as it:
        topic, payload = _advert(TAG_MAC, VALID)
        await it.say(topic, payload)
        told = len(it.heard.readings)
        assert it.last("tag", "measured_value") is not None
        await it.say(topic.replace("11:22/", "11:23/"), payload)
        assert len(it.heard.readings) == told
        await it.say(
            *_advert(
                TAG_MAC, bytes.fromhex("1bff9904057ffffffefffe7fff7fff7fffffdefefffecbb8334c884f"), T0 // 1000 - 30
            )
        )
        assert len(it.heard.readings) == told
        assert it.supervisor.counts["out_of_order"] == 1
        await it.say(topic, payload, retain=True)
        assert it.supervisor.counts["kept_adverts"] == 1


async def test_a_sensor_that_nobody_planned_is_told_once_and_telephones_are_not() -> None:
    async with bus(ADVERTS) as it:
        for _ in range(3):
            await it.say(*_advert("aa:bb:cc:00:00:01", VALID))
        await it.say(*_advert("aa:bb:cc:00:00:02", bytes.fromhex("02010605ff4c001005")))
        assert len(it.told(DeviceEvent.UNKNOWN_DEVICE)) == 1
        detail = next(each for _, event, each in it.heard.events if event is DeviceEvent.UNKNOWN_DEVICE)
        assert (detail["mac"], detail["encoding"]) == ("aa:bb:cc:00:00:01", "ruuvi_5")
        for number in range(UNKNOWN_MAX + 5):
            it.air.say(*_advert(f"aa:bb:cd:00:{number >> 8:02x}:{number & 255:02x}", VALID), retain=False)
        await it.air.heard()
        assert len(it.told(DeviceEvent.UNKNOWN_DEVICE)) == UNKNOWN_MAX
