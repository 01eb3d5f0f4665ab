"""Devices that announce themselves: found with evidence, read, commanded, changed while running, taken back."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge.bridges.mqtt import announced_registry
from edge.bridges.mqtt.announced import UNKNOWN_MAX, AnnouncedSupervisor
from edge.bridges.mqtt.announced_registry import TOPICS_MAX, Registry, descriptor_id
from edge.bridges.ports import Detail, DeviceEvent
from kit.clock import ManualClock
from kit.dice import SeededDice
from protocols.device_model.capability import Capability, Value
from protocols.device_model.command import Command, Outcome, Phase
from protocols.device_model.identity import BusId, DeviceId
from protocols.device_model.reading import Quality
from protocols.device_model.site_plan import Address, HomeAssistantBus
from protocols.errors import PeerProtocolError
from tests.edge.bridges.air import Air
from tests.edge.bridges.field import Heard
from tests.edge.world import T0

BUS: Final = HomeAssistantBus(BusId("announced"), ("dev/#",))
PLUG: Final = {
    "dev": {"ids": ["plug-1"], "name": "Plug 101", "mf": "Maker", "mdl": "P1", "sa": "Room 101"},
    "o": {"name": "maker firmware"},
}
SWITCH: Final = {**PLUG, "uniq_id": "s1", "name": "Socket", "stat_t": "dev/plug/state", "cmd_t": "dev/plug/set"}
POWER: Final = {
    **PLUG,
    "uniq_id": "p1",
    "name": "Power",
    "stat_t": "dev/plug/sensor",
    "dev_cla": "power",
    "unit_of_meas": "W",
    "val_tpl": "{{ value_json.ENERGY.Power }}",
}
PLUG_KEY: Final = announced_registry.key_of("id:plug-1")
SWITCH_TOPIC: Final = "homeassistant/switch/plug-1/socket/config"
POWER_TOPIC: Final = "homeassistant/sensor/plug-1/power/config"
ON_OFF: Final = (Capability.ON_OFF, "on_off")


def raw(config: object) -> bytes:
    return json.dumps(config).encode()


class Ears(Air):
    """A broker in a list that notes what is subscribed."""

    def __init__(self) -> None:
        super().__init__()
        self.filters: set[str] = set()
        self.joined = asyncio.Event()

    @contextlib.asynccontextmanager
    async def connect(self, *, subscribe: Sequence[str] = (), will: object = None) -> AsyncIterator["Ears"]:
        del will
        self.filters = set(subscribe)
        self.joined.set()
        yield self

    async def subscribe(self, *filters: str) -> None:
        self.filters |= set(filters)

    async def unsubscribe(self, *filters: str) -> None:
        self.filters -= set(filters)


@dataclass
class Bus:
    air: Ears
    heard: Heard
    supervisor: AnnouncedSupervisor
    registry: Registry
    clock: ManualClock
    changed: list[set[str]] = field(default_factory=list)
    commands: int = 0

    async def say(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        self.air.say(topic, payload, retain=retain)
        await self.air.heard()

    async def announce(self, topic: str, config: object) -> None:
        await self.say(topic, b"" if config is None else raw(config), retain=True)

    def last(self, attribute: str) -> tuple[object, Quality] | None:
        for each in reversed(self.heard.readings):
            if each.attribute == attribute:
                return each.value, each.quality
        return None

    def found(self) -> list[Detail]:
        return [detail for _, event, detail in self.heard.events if event is DeviceEvent.UNKNOWN_DEVICE]

    def events(self, device: str) -> list[tuple[DeviceEvent, object]]:
        return [(event, detail.get("cause")) for whose, event, detail in self.heard.events if whose == device]

    async def write(self, value: Value, key: tuple[Capability, str] = ON_OFF) -> Outcome:
        self.commands += 1
        name = f"c-{self.commands}"
        command = Command(name, DeviceId("plug"), *key, value, self.clock.wall_ms() + 60_000, name)
        return await self.supervisor.write(command)


@contextlib.asynccontextmanager
async def bus(registry: Registry | None = None, **bound: str) -> AsyncIterator[Bus]:
    """Run a supervisor over what is in the registry; `bound` names things by the key of each device."""
    registry = registry or Registry(BUS)
    devices = []
    for device, key in bound.items():
        thing = registry.thing(key)
        assert thing is not None
        assert thing.descriptor is not None
        devices.append((DeviceId(device), Address(BUS.id, friendly_name=key), thing.descriptor))
    air, heard, clock, changed = Ears(), Heard(), ManualClock(wall_ms=T0), list[set[str]]()
    supervisor = AnnouncedSupervisor(
        registry,
        devices,
        transport=air,
        clock=clock,
        dice=SeededDice(1),
        sink=heard,
        changed=changed.append,
        quiet_ms=0,
    )
    running = asyncio.create_task(supervisor.run())
    try:
        await air.joined.wait()
        yield Bus(air, heard, supervisor, registry, clock, changed)
        if running.done():
            running.result()
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def plugged() -> Registry:
    registry = Registry(BUS)
    registry.take(SWITCH_TOPIC, raw(SWITCH))
    registry.take(POWER_TOPIC, raw(POWER))
    return registry


# --- found ---------------------------------------------------------------------------------------------------


@pytest.mark.requirement("DEV-01")
async def test_a_thing_is_found_with_what_it_says_of_itself_and_what_of_it_is_not_taken() -> None:
    async with bus() as it:
        await it.announce(SWITCH_TOPIC, SWITCH)
        await it.announce(POWER_TOPIC, POWER)
        await it.announce("homeassistant/lock/plug-1/l/config", {**PLUG, "name": "Bolt", "cmd_t": "dev/bolt"})
        await it.heard.until(it.found)
        [told] = it.found()[-1:]
        assert told["friendly_name"] == PLUG_KEY
        assert told["descriptor"] == f"announced/{PLUG_KEY}"
        assert (told["name"], told["vendor"], told["model"]) == ("Plug 101", "Maker", "P1")
        assert (told["area"], told["origin"], told["kind"]) == ("Room 101", "maker firmware", "switch")
        assert told["takes"] == "electrical_measurement.active_power, on_off.on_off"
        assert "Bolt: doors and locks open by grants alone" in str(told["unsupported"])
        assert len(told) <= 16


async def test_what_our_own_facade_announces_is_no_thing() -> None:
    async with bus() as it:
        config = {**SWITCH, "o": {"name": "innkeeper", "sw": "0.1.0"}}
        await it.announce("homeassistant/switch/innkeeper_a_plug/s/config", config)
        await it.announce(
            "homeassistant/device/innkeeper_a_lamp/config", {**config, "cmps": {"a": {"p": "switch", "x": 1}}}
        )
        await it.announce(POWER_TOPIC, {**POWER, "dev": {"ids": "other"}})
        await it.heard.until(it.found)
        assert [each["name"] for each in it.found() if "name" in each] == []
        assert len(it.found()) == 1
        assert it.supervisor.counts["announcements_of_ours"] == 2


async def test_what_speaks_on_a_bus_of_its_own_already_is_not_found_again() -> None:
    registry = plugged()
    registry.spoken_elsewhere({"dev/plug/state": DeviceId("plug-native")})
    async with bus(registry) as it:
        await it.announce("homeassistant/switch/other/x/config", {**SWITCH, "uniq_id": "s2", "dev": {"ids": "other"}})
        await it.announce(
            "homeassistant/switch/third/x/config",
            {**SWITCH, "uniq_id": "s3", "dev": {"ids": "third"}, "stat_t": "dev/third"},
        )
        await it.heard.until(it.found)
        assert [each["friendly_name"] for each in it.found()] == [announced_registry.key_of("id:third")]


async def test_a_thing_that_takes_everything_back_is_found_no_more() -> None:
    async with bus() as it:
        await it.announce(SWITCH_TOPIC, SWITCH)
        await it.heard.until(it.found)
        it.clock.advance(61_000)
        await it.announce(SWITCH_TOPIC, None)
        await it.heard.until(lambda: any(event is DeviceEvent.OFFLINE for _, event, _ in it.heard.events))
        assert it.registry.thing(PLUG_KEY) is None
        assert it.changed[-1] == {PLUG_KEY}


async def test_a_supervisor_made_anew_tells_what_was_found_no_second_time_and_what_was_let_go_again() -> None:
    registry = plugged()
    other = announced_registry.key_of("id:other")
    registry.take("homeassistant/switch/o/x/config", raw({**SWITCH, "uniq_id": "o", "dev": {"ids": "other"}}))
    async with bus(registry) as it:
        await it.heard.until(lambda: len(it.found()) == 2)
    async with bus(registry, plug=PLUG_KEY) as it:
        await it.announce("homeassistant/switch/n/x/config", {**SWITCH, "uniq_id": "n", "dev": {"ids": "new"}})
        await it.heard.until(it.found)
        assert [each["friendly_name"] for each in it.found()] == [announced_registry.key_of("id:new")]
    async with bus(registry, other=other) as it:
        await it.heard.until(it.found)
        assert [each["friendly_name"] for each in it.found()] == [PLUG_KEY]


async def test_what_is_announced_between_the_making_of_a_supervisor_and_its_run_is_not_missed() -> None:
    """The one before it hears until then, and what is in the registry is announced no second time."""
    registry, air, heard = plugged(), Ears(), Heard()
    plug = registry.thing(PLUG_KEY)
    assert plug is not None
    assert plug.descriptor is not None
    supervisor = AnnouncedSupervisor(
        registry,
        [(DeviceId("plug"), Address(BUS.id, friendly_name=PLUG_KEY), plug.descriptor)],
        transport=air,
        clock=ManualClock(wall_ms=T0),
        dice=SeededDice(1),
        sink=heard,
        quiet_ms=0,
    )
    registry.take(SWITCH_TOPIC, raw({**SWITCH, "stat_t": "dev/plug/elsewhere"}))
    registry.take("homeassistant/switch/n/x/config", raw({**SWITCH, "uniq_id": "n", "dev": {"ids": "new"}}))
    running = asyncio.create_task(supervisor.run())
    await air.joined.wait()
    assert "dev/plug/elsewhere" in air.filters
    assert "dev/plug/state" not in air.filters
    await heard.until(lambda: any(event is DeviceEvent.UNKNOWN_DEVICE for _, event, _ in heard.events))
    [told] = [detail for _, event, detail in heard.events if event is DeviceEvent.UNKNOWN_DEVICE]
    assert told["friendly_name"] == announced_registry.key_of("id:new")
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


def test_two_that_announce_one_thing_are_one_and_an_id_is_taken_once() -> None:
    registry = plugged()
    by_mac = {"dev": {"ids": ["esp-x"], "cns": [["mac", "aa:bb:cc:00:00:01"]]}, "o": {"name": "second"}}
    registry.take(
        "homeassistant/sensor/esp/t/config",
        raw({**by_mac, "uniq_id": "t", "stat_t": "dev/t", "dev_cla": "temperature", "unit_of_meas": "°C"}),
    )
    both = {"dev": {"ids": ["plug-1"], "cns": [["mac", "AABBCC000001"]]}, "o": {"name": "third"}}
    registry.take("homeassistant/switch/zz/again/config", raw({**SWITCH, **both, "cmd_t": "dev/elsewhere"}))
    [thing] = registry.things()
    assert thing.origins == ("maker firmware", "second", "third")
    assert {each.capability.value for each in thing.points} == {
        "electrical_measurement", "on_off", "temperature_measurement",
    }  # fmt: skip
    [switch] = [each for each in thing.points if each.capability is Capability.ON_OFF]
    assert switch.write is not None
    assert switch.write.topic == "dev/plug/set"
    assert any("announced on" in why for _, why in thing.refused)


def test_two_bound_things_are_never_made_one_by_a_third() -> None:
    registry = plugged()
    registry.take("homeassistant/switch/b/s/config", raw({**SWITCH, "uniq_id": "s9", "dev": {"ids": "plug-2"}}))
    second = announced_registry.key_of("id:plug-2")
    registry.bind([PLUG_KEY, second])
    registry.take(
        "homeassistant/sensor/evil/x/config", raw({**POWER, "uniq_id": "e", "dev": {"ids": ["plug-1", "plug-2"]}})
    )
    registry.take("homeassistant/sensor/evil/y/config", raw({**POWER, "uniq_id": "f", "dev": {"ids": ["plug-2", "z"]}}))
    registry.take("homeassistant/sensor/evil/z/config", raw({**POWER, "uniq_id": "g", "dev": {"ids": ["z", "plug-1"]}}))
    first, other = registry.thing(PLUG_KEY), registry.thing(second)
    assert first is not None
    assert other is not None
    assert SWITCH_TOPIC in first.topics
    assert "homeassistant/switch/b/s/config" in other.topics


def test_two_of_one_kind_have_names_of_their_own_and_keep_them() -> None:
    registry = plugged()
    more = {**POWER, "uniq_id": "a0", "name": "Channel 2 Power!", "stat_t": "dev/plug/two"}
    registry.bind([PLUG_KEY])
    registry.take("homeassistant/sensor/a/first/config", raw(more))
    thing = registry.thing(PLUG_KEY)
    assert thing is not None
    names = {each.slot: each.attribute for each in thing.points}
    assert names["sensor:p1/state"] == "active_power"
    assert names["sensor:a0/state"] == "active_power:channel_2_power"
    again = Registry(BUS)
    again.restore(registry.kept([PLUG_KEY]))
    assert again.thing(PLUG_KEY) == thing


# --- read and commanded --------------------------------------------------------------------------------------


@pytest.mark.guarantee("G17")
async def test_a_bound_thing_is_read_and_what_the_broker_kept_is_uncertain() -> None:
    async with bus(plugged(), plug=PLUG_KEY) as it:
        assert it.air.filters >= {"dev/plug/state", "dev/plug/sensor", "homeassistant/+/+/config"}
        await it.say("dev/plug/state", b"ON", retain=True)
        assert it.last("on_off") == (True, Quality.UNCERTAIN)
        assert it.events("plug") == []
        await it.say("dev/plug/state", b"OFF")
        assert it.last("on_off") == (False, Quality.GOOD)
        await it.say("dev/plug/sensor", b'{"ENERGY":{"Power":42.5}}')
        assert it.last("active_power") == (42.5, Quality.GOOD)
        await it.say("dev/plug/sensor", b'{"Uptime":3}')
        assert it.last("active_power") == (42.5, Quality.GOOD)
        await it.say("dev/plug/sensor", b'{"ENERGY":{"Power":null}}')
        assert it.last("active_power") == (None, Quality.BAD)
        await it.say("dev/plug/sensor", b"Power 7")
        assert it.supervisor.counts["undecodable_messages"] == 1
        assert it.events("plug") == [(DeviceEvent.ONLINE, None)]
        assert it.found() == []


@pytest.mark.guarantee("G17")
async def test_what_was_heard_before_its_bus_was_made_anew_is_no_older_for_that() -> None:
    registry = Registry(BUS)
    registry.take(SWITCH_TOPIC, raw({**SWITCH, "avty_t": "dev/plug/lwt"}))
    async with bus(registry, plug=PLUG_KEY) as it:
        await it.say("dev/plug/state", b"ON")
    async with bus(registry, plug=PLUG_KEY) as it:
        await it.say("dev/plug/state", b"ON", retain=True)
        assert it.last("on_off") == (True, Quality.GOOD)
        await it.say("dev/plug/state", b"OFF", retain=True)  # said while nobody listened
        assert it.last("on_off") == (False, Quality.UNCERTAIN)
    async with bus(registry, plug=PLUG_KEY) as it:
        await it.say("dev/plug/lwt", b"offline", retain=True)
        await it.say("dev/plug/state", b"ON", retain=True)  # it was on, and is not there
        assert it.last("on_off") == (True, Quality.UNCERTAIN)


@pytest.mark.guarantee("G13")
async def test_a_command_is_done_when_the_device_says_so_and_unknown_where_nobody_can() -> None:
    async with bus(plugged(), plug=PLUG_KEY) as it:
        writing = asyncio.create_task(it.write(True))
        while ("dev/plug/set", b"ON") not in it.air.published:
            await asyncio.sleep(0)
        await it.say("dev/plug/state", b"OFF")  # an older state, still on its way
        await it.say("dev/plug/state", b"ON")
        assert await writing == Outcome(Phase.DONE, True, None)
        assert (await it.write("perhaps")).phase is Phase.FAILED
        assert (await it.write(3.0, (Capability.ELECTRICAL_MEASUREMENT, "active_power"))).phase is Phase.FAILED
        await it.announce(SWITCH_TOPIC, {**SWITCH, "stat_t": None, "opt": True})
        told = await it.write(False)
        assert told.phase is Phase.UNKNOWN
        assert "no topic" in (told.reason or "")
        assert it.air.published == [("dev/plug/set", b"ON"), ("dev/plug/set", b"OFF")]


@pytest.mark.guarantee("G13")
async def test_what_is_off_line_or_taken_back_is_not_commanded() -> None:
    registry = Registry(BUS)
    registry.take(SWITCH_TOPIC, raw({**SWITCH, "avty_t": "dev/plug/lwt"}))
    registry.take(POWER_TOPIC, raw(POWER))
    async with bus(registry, plug=PLUG_KEY) as it:
        await it.say("dev/plug/state", b"ON")
        await it.say("dev/plug/lwt", b"online", retain=True)
        await it.say("dev/plug/lwt", b"offline", retain=True)
        assert it.last("on_off") == (True, Quality.STALE)
        assert (DeviceEvent.OFFLINE, "availability") in it.events("plug")
        assert "off line" in ((await it.write(False)).reason or "")
        await it.say("dev/plug/lwt", b"online", retain=True)
        await it.say("dev/plug/state", b"ON")
        await it.announce(SWITCH_TOPIC, None)
        assert it.last("on_off") == (True, Quality.STALE)
        assert "any more" in ((await it.write(False)).reason or "")
        await it.say("dev/plug/sensor", b'{"ENERGY":{"Power":1}}')
        assert it.last("active_power") == (1, Quality.GOOD)
        assert it.air.published == []


# --- changed while running -----------------------------------------------------------------------------------


async def test_a_configuration_that_changes_is_heard_on_its_new_topics_at_once() -> None:
    async with bus(plugged(), plug=PLUG_KEY) as it:
        await it.announce(
            POWER_TOPIC, {**POWER, "stat_t": "dev/plug/new", "unit_of_meas": "kW", "val_tpl": "{{ value }}"}
        )
        while "dev/plug/new" not in it.air.filters:
            await asyncio.sleep(0)
        assert "dev/plug/sensor" not in it.air.filters
        assert it.changed == [{PLUG_KEY}]
        await it.say("dev/plug/new", b"1.5")
        assert it.last("active_power") == (1500.0, Quality.GOOD)
        await it.announce(POWER_TOPIC, {**POWER, "stat_t": "dev/plug/new", "unit_of_meas": "parsec"})
        await it.say("dev/plug/new", b"1.5")
        assert it.last("active_power") == (1500.0, Quality.STALE)


async def test_everything_taken_back_leaves_name_and_points_and_all_comes_again() -> None:
    async with bus(plugged(), plug=PLUG_KEY) as it:
        await it.say("dev/plug/state", b"ON")
        for topic in (SWITCH_TOPIC, POWER_TOPIC):
            await it.announce(topic, None)
        assert it.events("plug")[-1] == (DeviceEvent.OFFLINE, "withdrawn")
        thing = it.registry.thing(PLUG_KEY)
        assert thing is not None
        assert (thing.gone, len(thing.points)) == (True, 2)
        assert thing.descriptor is not None
        assert thing.descriptor.id == descriptor_id(PLUG_KEY)
        whole = {
            "dev": PLUG["dev"],
            "cmps": {"s": {"p": "switch", **{k: SWITCH[k] for k in ("uniq_id", "stat_t", "cmd_t")}}},
        }
        await it.announce("homeassistant/device/plug-1/config", whole)  # it moved to the newer form
        await it.say("dev/plug/state", b"OFF")
        assert it.last("on_off") == (False, Quality.GOOD)
        assert it.events("plug")[-1] == (DeviceEvent.ONLINE, None)
        assert len(it.air.filters) == 3


def test_what_is_unbound_forgets_what_it_took_back() -> None:
    registry = plugged()
    registry.bind([PLUG_KEY])
    registry.take(SWITCH_TOPIC, b"")
    thing = registry.thing(PLUG_KEY)
    assert thing is not None
    assert len(thing.withdrawn) == 1
    registry.bind([])
    thing = registry.thing(PLUG_KEY)
    assert thing is not None
    assert [each.capability for each in thing.points] == [Capability.ELECTRICAL_MEASUREMENT]


# --- hostile -------------------------------------------------------------------------------------------------


@pytest.mark.guarantee("G19")
async def test_a_megabyte_and_other_nonsense_costs_a_count_and_nothing_else() -> None:
    async with bus(plugged(), plug=PLUG_KEY) as it:
        before = it.registry.thing(PLUG_KEY)
        nonsense = [b"x" * 1_048_576, b"[" * 200_000, b"{}" * 9, b"\xff", b'{"dev":1,"dev":2}', b'"text"', b"7"]
        for payload in nonsense:
            await it.say(SWITCH_TOPIC, payload, retain=True)
        assert it.supervisor.counts["malformed_announcements"] == len(nonsense)
        assert it.registry.thing(PLUG_KEY) == before
        for payload in (b"x" * 1_048_576, b"\xff", b"{" * 100_000):
            await it.say("dev/plug/sensor", payload)
        await it.say("dev/plug/state", b"ON")
        assert it.last("on_off") == (True, Quality.GOOD)


@pytest.mark.guarantee("G19")
def test_thousands_of_announcements_are_bounded_and_those_that_are_known_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    assert min(TOPICS_MAX, UNKNOWN_MAX) >= announced_registry.THINGS_MAX
    for name, most in (("THINGS_MAX", 120), ("ENTITIES_MAX", 40)):
        monkeypatch.setattr(announced_registry, name, most)
    registry = plugged()
    registry.bind([PLUG_KEY])
    flood = [
        (f"homeassistant/sensor/flood/{number}/config", {**POWER, "uniq_id": f"f{number}"})
        for number in range(announced_registry.ENTITIES_MAX)
    ]
    flood += [
        (f"homeassistant/sensor/t{number}/x/config", {**POWER, "dev": {"ids": f"t{number}"}})
        for number in range(announced_registry.THINGS_MAX)
    ]
    refused: list[str] = []
    for topic, config in flood:
        try:
            registry.take(topic, raw(config))
        except PeerProtocolError as error:
            refused.append(str(error))
    assert [each for each in refused if f"the {announced_registry.ENTITIES_MAX} that a thing" in each] == refused[:2]
    assert len(refused) == 3
    assert sum(1 for _ in registry.things()) == announced_registry.THINGS_MAX
    assert registry.take(SWITCH_TOPIC, raw({**SWITCH, "name": "Other"})) <= {PLUG_KEY}


@pytest.mark.guarantee("G19")
def test_what_a_bound_thing_takes_back_is_kept_within_bounds_and_its_names_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(announced_registry, "NAMES_MAX", 20)
    monkeypatch.setattr(announced_registry, "WITHDRAWN_MAX", 5)
    registry = plugged()
    registry.bind([PLUG_KEY])
    for number in range(60):
        registry.take(POWER_TOPIC, raw({**POWER, "uniq_id": f"u{number}", "name": f"Power {number}"}))
    thing = registry.thing(PLUG_KEY)
    assert thing is not None
    assert (len(thing.points), len(thing.withdrawn)) == (7, 5)
    assert {each.rpartition("/")[0] for each in thing.withdrawn} == {f"sensor:u{number}" for number in range(54, 59)}
    assert len(registry.kept([PLUG_KEY])[0].names) <= 21


@pytest.mark.guarantee("G19")
@pytest.mark.parametrize(
    "topic", ["dev/+/state", "dev/#", "$SYS/x", "homeassistant/switch/x/config", "other/x", "dev/" + "x" * 400, "a\0"]
)
async def test_a_topic_that_is_none_of_its_own_is_neither_heard_nor_spoken_to(topic: str) -> None:
    async with bus() as it:
        await it.announce(SWITCH_TOPIC, {**SWITCH, "cmd_t": topic})
        await it.announce(POWER_TOPIC, {**POWER, "stat_t": topic})
        thing = it.registry.thing(PLUG_KEY)
        assert thing is not None
        assert thing.points == ()
        assert len(thing.refused) == 2
        await it.heard.until(it.found)
        assert "friendly_name" not in it.found()[-1]


@pytest.mark.guarantee("G19")
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    said=st.lists(
        st.tuples(
            st.sampled_from(
                [SWITCH_TOPIC, POWER_TOPIC, "homeassistant/device/plug-1/config", "homeassistant/sensor/z/config"]
            ),
            st.one_of(
                st.just(b""),
                st.binary(max_size=30),
                st.fixed_dictionaries(
                    {"dev": st.fixed_dictionaries({"ids": st.sampled_from(["plug-1", "b", ["b", "plug-1"], 7, None])})},
                    optional={
                        "uniq_id": st.sampled_from(["s1", "p1", "\u202e"]),
                        "stat_t": st.sampled_from(["dev/a", "dev/plug/state"]),
                        "cmd_t": st.sampled_from(["dev/a/set", "#"]),
                        "dev_cla": st.sampled_from(["power", "temperature", "\ud83d"]).map(lambda each: each[:11]),
                        "unit_of_meas": st.sampled_from(["W", "°C"]),
                        "cmps": st.dictionaries(
                            st.sampled_from(["a", "b"]), st.just({"p": "switch", "cmd_t": "dev/c"})
                        ),
                    },
                ).map(raw),
            ),
        ),
        max_size=12,
    ),
    bind=st.booleans(),
)
def test_whatever_is_announced_every_message_is_of_one_thing_and_a_restart_makes_the_same(
    said: list[tuple[str, bytes]], bind: bool
) -> None:
    registry = plugged()
    if bind:
        registry.bind([PLUG_KEY])
    for topic, payload in said:
        with contextlib.suppress(PeerProtocolError):
            registry.take(topic, payload)
    topics = [topic for thing in registry.things() for topic in thing.topics]
    assert len(topics) == len(set(topics))
    for thing in registry.things():
        names = [(each.capability, each.attribute) for each in thing.points]
        assert len(names) == len(set(names))
    if bind:
        again = Registry(BUS)
        again.restore(registry.kept([PLUG_KEY]))
        before, after = registry.thing(PLUG_KEY), again.thing(PLUG_KEY)
        assert before is not None
        if before.topics:
            assert after is not None
            assert {each.slot: each.attribute for each in after.points} == {
                each.slot: each.attribute for each in before.points if each.slot not in before.withdrawn
            }


def test_any_mark_makes_a_name_that_an_address_may_have() -> None:
    for mark in ("id:" + "ü" * 300, "id:set", "mac:aa:bb:cc:dd:ee:ff", "topic:x", "id:\u202e/+#"):
        key: Any = announced_registry.key_of(mark)
        assert len(key) <= 40
        assert descriptor_id(key)
