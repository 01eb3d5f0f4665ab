"""A device that announced itself: found, proposed, bound without a file, kept over restarts, swapped, let go."""

import asyncio
import json
from pathlib import Path
from typing import Any, Final

import pytest
import structlog
from msgspec.structs import replace

from edge.app.announced_things import FILE_NAME, AnnouncedThings, topics_taken, with_kept
from edge.app.models import UNKNOWN, Models
from edge.binding.errors import BindingRefusedError
from edge.bridges.evidence import unknown_id
from edge.bridges.mqtt.announced import AnnouncedSupervisor
from edge.bridges.mqtt.announced_registry import descriptor_id, key_of
from edge.bridges.ports import DeviceEvent
from kit.clock import ManualClock
from kit.dice import SeededDice
from kit.files import SystemDisk
from protocols.descriptors.descriptor import Descriptor
from protocols.device_model.binding import Place
from protocols.device_model.capability import Capability
from protocols.device_model.identity import BusId, DescriptorId, DeviceId, RoomId
from protocols.device_model.site_plan import Address, Device, HomeAssistantBus, MqttDevicesBus
from protocols.errors import StoreFailedError
from tests.edge.binding.desk import CATALOGUE, Life, ana
from tests.edge.bridges.air import Air
from tests.edge.world import T0, WRITABLE

BUS: Final = HomeAssistantBus(BusId("announced"), ("dev/#",))
TOPIC: Final = "homeassistant/switch/plug-1/socket/config"
SWITCH: Final = {
    "dev": {"ids": ["plug-1"], "name": "Plug", "sa": "Room 102", "mf": "Maker", "mdl": "P1"},
    "uniq_id": "s1", "name": "Socket", "stat_t": "dev/plug/state", "cmd_t": "dev/plug/set",
}  # fmt: skip
KEY: Final = key_of("id:plug-1")
MODEL: Final = descriptor_id(KEY)
PLUG: Final = DeviceId("plug-102")


class House:
    """A desk with what announces itself, as edge/app/run joins them, over lives."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.catalogue: dict[DescriptorId, Descriptor] = {}
        self.things: AnnouncedThings
        self.life: Life

    async def begin(self) -> None:
        self._new()
        self.life = await Life.begin(self.folder, more=(BUS,), catalogue=self.catalogue)
        self._join()

    async def again(self) -> None:
        self._new()
        self.life.catalogue = self.catalogue
        plan = self.life.building.plan
        self.things.load(plan)
        await self.life.again()
        self._join()

    def _new(self) -> None:
        self.catalogue = dict(CATALOGUE)
        logger = structlog.wrap_logger(structlog.ReturnLogger(), processors=[])
        self.things = AnnouncedThings(
            self.catalogue, disk=SystemDisk(), folder=self.folder, logger=logger, settle_s=0, pause_s=0
        )

    def _join(self) -> None:
        self.life.desk.before, self.things.relay = self.things.keep, self.life.desk.relay
        self.things.wants = self.life.desk.wants
        self.things.load(self.life.building.plan)

    def announce(self, config: object, topic: str = TOPIC) -> None:
        registry = self.things.registry(BUS)
        keys = registry.take(topic, b"" if config is None else json.dumps(config).encode())
        self.things.changed(BUS.id, keys)

    def met(self) -> None:
        """Tell of the thing as its supervisor does."""
        supervisor = AnnouncedSupervisor(
            self.things.registry(BUS),
            (),
            transport=Air(),
            clock=ManualClock(wall_ms=T0),
            dice=SeededDice(1),
            sink=self.life.devices,
        )
        thing = self.things.registry(BUS).thing(KEY)
        assert thing is not None
        detail: dict[str, Any] = {"bus": "announced", **supervisor._evidence(thing)}
        self.life.devices.device_event(self.found_id, DeviceEvent.UNKNOWN_DEVICE, detail)

    @property
    def found_id(self) -> DeviceId:
        return unknown_id(BUS.id, KEY, None)

    @property
    def place(self) -> Place:
        return Place(RoomId("102"), MODEL, Address(BUS.id, friendly_name=KEY))

    async def bind(self) -> None:
        await self.life.desk.bind(PLUG, self.place, ana(), found_id=self.found_id)


@pytest.mark.requirement("DEV-01")
async def test_a_thing_is_found_proposed_to_its_room_and_bound_without_any_file(tmp_path: Path) -> None:
    house = House(tmp_path)
    await house.begin()
    house.announce(SWITCH)
    house.met()
    [told] = house.life.desk.found()
    assert told["address"]["friendly_name"] == KEY
    assert [(each["descriptor"], each["why"]) for each in told["candidates"]] == [(MODEL, "it announces itself so")]
    first = told["proposals"][0]
    assert (first["act"], first["room"], first["device"], first["descriptor"]) == ("bind", "102", "switch-102", MODEL)
    assert first["reasons"] == ["it says that it is in Room 102"]
    await house.bind()
    assert PLUG in house.life.ids()
    assert house.life.desk.found() == []
    assert house.life.buses.plans[-1] == (BUS.id, [PLUG])
    plan = house.life.building.house.plan
    assert plan is not None
    assert house.life.building.house.view is not None
    assert (tmp_path / FILE_NAME).exists()
    await house.life.end()


async def test_what_is_bound_is_what_it_was_after_a_restart_with_a_broker_that_forgot_it(tmp_path: Path) -> None:
    house = House(tmp_path)
    await house.begin()
    house.announce(SWITCH)
    await house.bind()
    await house.again()
    assert PLUG in house.life.ids()
    assert house.catalogue[MODEL].point(Capability.ON_OFF, "on_off") is not None
    assert house.life.desk.device(PLUG)["conflict"] is None
    await house.life.end()


@pytest.mark.parametrize("left", [None, b"", b"{", b'{"announced":[{"key":7}]}', b"\xff"])
async def test_a_binding_without_its_announcement_is_told_and_heals_when_it_is_heard(
    tmp_path: Path, left: bytes | None
) -> None:
    house = House(tmp_path)
    await house.begin()
    house.announce(SWITCH)
    await house.bind()
    (tmp_path / FILE_NAME).unlink()
    if left is not None:
        (tmp_path / FILE_NAME).write_bytes(left)
    await house.again()
    assert PLUG not in house.life.ids()
    assert "is not described" in house.life.desk.listed()[PLUG]["conflict"]
    running = asyncio.create_task(house.things.run(lambda: house.life.building.house.plan))
    house.announce(SWITCH)
    async with asyncio.timeout(20):
        while PLUG not in house.life.ids():
            await asyncio.sleep(0.01)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert house.life.desk.device(PLUG)["conflict"] is None
    assert house.life.buses.plans[-1] == (BUS.id, [PLUG])
    await house.life.end()


async def test_what_is_kept_is_read_by_whoever_stands_beside_the_edge(tmp_path: Path) -> None:
    house = House(tmp_path)
    await house.begin()
    plan = house.life.building.plan
    assert MODEL not in with_kept(plan, CATALOGUE, tmp_path)
    house.announce(SWITCH)
    await house.bind()
    assert with_kept(plan, CATALOGUE, tmp_path)[MODEL] == house.catalogue[MODEL]
    assert MODEL not in CATALOGUE
    await house.life.end()


async def test_a_disk_that_refuses_the_announcement_leaves_the_thing_unbound(tmp_path: Path) -> None:
    house = House(tmp_path)
    await house.begin()
    house.announce(SWITCH)

    async def refuse(_: object) -> None:
        raise StoreFailedError("the disk is full")

    house.life.desk.before = refuse
    with pytest.raises(StoreFailedError):
        await house.bind()
    assert PLUG not in house.life.ids()
    await house.life.end()


async def test_what_announces_nothing_that_we_know_cannot_be_bound_and_is_shown(tmp_path: Path) -> None:
    house = House(tmp_path)
    await house.begin()
    house.announce({**SWITCH, "cmd_t": "elsewhere/set"})
    house.met()
    [told] = house.life.desk.found()
    assert (told["address"], told["candidates"]) == (None, [])
    assert "in none of the bus's topics: dev/#" in told["evidence"]["unsupported"]
    with pytest.raises(BindingRefusedError, match="is not described"):
        await house.bind()
    await house.life.end()


async def test_what_a_bound_thing_announces_otherwise_is_served_and_kept(tmp_path: Path) -> None:
    house = House(tmp_path)
    await house.begin()
    house.announce(SWITCH)
    await house.bind()
    registry = house.things.registry(BUS)
    registry.bind([KEY])
    power = {
        **{key: SWITCH[key] for key in ("dev",)},
        "uniq_id": "p", "stat_t": "dev/plug/w", "dev_cla": "power", "unit_of_meas": "W",
    }  # fmt: skip
    house.announce(power, "homeassistant/sensor/plug-1/w/config")
    house.announce(None)
    plan = house.life.building.house.plan
    assert plan is not None
    await house.things.keep(plan)
    await house.life.desk.relay()
    await house.again()
    points = {each.capability for each in house.catalogue[MODEL].points}
    assert Capability.ELECTRICAL_MEASUREMENT in points
    await house.life.end()


@pytest.mark.requirement("DEV-05")
@pytest.mark.parametrize("restarted", [False, True])
async def test_a_thing_bound_while_the_house_runs_takes_part_in_a_fire_as_one_bound_at_its_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, restarted: bool
) -> None:
    """Two relays, the second an endpoint; and what only tells that it heats is a machine, and is not switched on."""
    switches = {(Capability.ON_OFF, "on_off"), (Capability.ON_OFF, "on_off:second")}
    monkeypatch.setitem(WRITABLE, "plug", switches)
    monkeypatch.setitem(WRITABLE, "light", set())
    house = House(tmp_path)
    await house.begin()
    house.announce(SWITCH)
    second = {**SWITCH, "uniq_id": "s2", "name": "Second", "stat_t": "dev/plug/2", "cmd_t": "dev/plug/2/set"}
    house.announce(second, "homeassistant/switch/plug-1/second/config")
    await house.bind()
    house.things.registry(BUS).bind([KEY])
    if restarted:
        await house.again()

    async def burnt() -> dict[tuple[str, str], object]:
        fire, devices = house.life.building.house.fire, house.life.building.devices
        devices.values.clear()
        running = asyncio.create_task(fire.run())
        fire.declare("night porter")
        async with asyncio.timeout(20):
            while len(devices.values) < 2 or fire.told()["pending"]:
                await asyncio.sleep(0)
        fire.clear()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        return dict(devices.values)

    assert await burnt() == {(PLUG, "on_off"): True, (PLUG, "on_off:second"): True}
    heats = {"dev": SWITCH["dev"], "uniq_id": "c1", "name": "Unit", "act_t": "dev/plug/action"}
    house.announce(heats, "homeassistant/climate/plug-1/unit/config")
    assert await burnt() == {(PLUG, "on_off"): False, (PLUG, "on_off:second"): False}
    await house.life.end()


async def test_what_is_known_of_a_model_is_what_the_catalogue_says_now(tmp_path: Path) -> None:
    house = House(tmp_path)
    await house.begin()
    model = Models(house.catalogue)
    assert model(MODEL) is UNKNOWN
    house.announce(SWITCH)
    known = model(MODEL)
    assert set(known.points) == {(Capability.ON_OFF, "on_off")}
    assert known.sleeps_ms == 93_600_000, "it announces nothing of how often it speaks: a day and two hours"
    assert model(MODEL) is known
    house.announce({**SWITCH, "exp_aft": 60})
    assert model(MODEL).sleeps_ms == 60_000
    house.announce(None)
    assert model(MODEL) is UNKNOWN
    fan = model(DescriptorId("siemens/rdf302"))
    assert fan.points[Capability.FAN_CONTROL, "fan_mode"] == {"auto", "low", "medium", "high"}
    assert fan.points[Capability.FAN_CONTROL, "percent_current"] == frozenset()
    assert fan.sleeps_ms == 0
    await house.life.end()


async def test_what_is_bound_on_a_bus_of_its_own_takes_its_topics(tmp_path: Path) -> None:
    house = House(tmp_path)
    await house.begin()
    plan = house.life.building.house.plan
    assert plan is not None
    assert "zigbee2mqtt/light-101" in topics_taken(plan, CATALOGUE)
    own = MqttDevicesBus(BusId("own"))
    more = replace(
        plan,
        buses=(*plan.buses, own),
        devices=(*plan.devices, _tasmota(own)),
    )
    assert topics_taken(more, CATALOGUE)["stat/plug-9/POWER"] == "plug-9"
    house.announce({**SWITCH, "stat_t": "dev/plug/state"})
    house.things.registry(BUS).spoken_elsewhere({"dev/plug/state": DeviceId("native")})
    thing = house.things.registry(BUS).thing(KEY)
    assert thing is not None
    assert thing.elsewhere == "native"
    await house.life.end()


def _tasmota(bus: MqttDevicesBus) -> Device:
    return Device(
        DeviceId("plug-9"), RoomId("101"), DescriptorId("tasmota/pow_r2"), Address(bus.id, friendly_name="plug-9")
    )
