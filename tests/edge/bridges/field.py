"""A small property in one loop: emulated devices on real sockets, the supervisors, and a sink that listens."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, Final, cast

from edge.bridges.assembly import Devices, build
from edge.bridges.ports import Detail, DeviceEvent
from edge.bridges.settings import BridgesSettings, OpcUaSettings
from firmware_bridges.catalogue import load_all
from firmware_bridges.field_emulator.building import FieldEmulator
from firmware_bridges.field_emulator.misbehaviour import GOOD, Knobs
from kit.clock import SystemClock
from kit.dice import SeededDice
from kit.mqtt import Broker, MqttTransport
from protocols.descriptors.descriptor import Descriptor
from protocols.device_model import site_plan
from protocols.device_model.capability import Capability, Value
from protocols.device_model.command import Command
from protocols.device_model.identity import (
    BusId,
    DescriptorId,
    DeviceId,
    EdgeId,
    PropertyId,
    RoomId,
)
from protocols.device_model.reading import Quality, Reading
from provisioning.rehearsal import nats

WAIT_S: Final = 20.0
LOOK_S: Final = 0.05
CATALOGUE: Final = load_all()
THERMOSTAT: Final = DescriptorId("regin/rcf_230")
PRESENCE_THERMOSTAT: Final = DescriptorId("regin/rcfd_230c")
LIGHT: Final = DescriptorId("zigbee2mqtt/ikea_led1545g12")
CONTACT: Final = DescriptorId("zigbee2mqtt/aqara_mccgq11lm")
MOTION: Final = DescriptorId("zigbee2mqtt/aqara_rtcgq11lm")
CHILLER: Final = DescriptorId("reference/chiller_60")
MODBUS, ZIGBEE, PLANT = BusId("modbus-1"), BusId("zigbee"), BusId("plant")

PLAIN: Final = BridgesSettings(opcua=(OpcUaSettings(PLANT, "none"),))


def free_port() -> int:
    """Return a port of this machine that no outgoing connection is given before the emulated device listens there."""
    return nats.free_port("127.0.0.1")


def plan(
    thermostats: Sequence[DescriptorId] = (), *, zigbee: bool = False, chiller: bool = False
) -> site_plan.SitePlan:
    """Return a plan: thermostats on units 1.., one of each Zigbee model, a chiller."""
    devices: list[site_plan.Device] = []
    for index, descriptor in enumerate(thermostats, 1):
        address = site_plan.Address(MODBUS, unit=index)
        devices.append(site_plan.Device(DeviceId(f"thermostat-{index}"), RoomId("101"), descriptor, address))
    buses: list[site_plan.Bus] = []
    if thermostats:
        buses.append(site_plan.ModbusTcpBus(MODBUS, "127.0.0.1", free_port()))
    if zigbee:
        buses.append(site_plan.MqttBus(ZIGBEE, "zigbee2mqtt"))
        for name, descriptor in (("light-101", LIGHT), ("contact-101", CONTACT), ("motion-101", MOTION)):
            address = site_plan.Address(ZIGBEE, friendly_name=name)
            devices.append(site_plan.Device(DeviceId(name), RoomId("101"), descriptor, address))
    if chiller:
        buses.append(site_plan.OpcUaBus(PLANT, f"opc.tcp://127.0.0.1:{free_port()}/plant"))
        devices.append(site_plan.Device(DeviceId("chiller"), RoomId("101"), CHILLER, site_plan.Address(PLANT)))
    made = site_plan.SitePlan(
        v=1,
        property=site_plan.Property(PropertyId("aurora"), "Hotel Aurora", "Europe/Vienna", "northlight"),
        edge=EdgeId("e-1"),
        rooms=(site_plan.Room(RoomId("101"), 1, "guest_room", "double"),),
        devices=tuple(devices),
        buses=tuple(buses),
    )
    return site_plan.parse(site_plan.encode(made))


class Heard:
    """`ReadingSink` that remembers."""

    def __init__(self) -> None:
        self.readings: list[Reading] = []
        self.events: list[tuple[DeviceId, DeviceEvent, Detail]] = []
        self._news = asyncio.Event()

    def reading(self, reading: Reading) -> None:
        self.readings.append(reading)
        self._news.set()

    def together(self, readings: Sequence[Reading]) -> None:
        for each in readings:
            self.reading(each)

    def device_event(self, device: DeviceId, event: DeviceEvent, detail: Detail) -> None:
        self.events.append((device, event, detail))
        self._news.set()

    async def until(self, true: Callable[[], object]) -> None:
        """Return when `true()` is; looks whenever something was heard, and now and then: counts change in silence."""
        async with asyncio.timeout(WAIT_S):
            while not true():
                self._news.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_S):
                        await self._news.wait()

    def last(self, device: str, capability: Capability, attribute: str) -> Reading | None:
        for each in reversed(self.readings):
            if (each.device, each.capability, each.attribute) == (device, capability, attribute):
                return each
        return None

    def says(self, device: str, capability: Capability, attribute: str, value: Value | None) -> Callable[[], bool]:
        """Return whether the last reading of an attribute is good and holds `value`."""

        def true() -> bool:
            last = self.last(device, capability, attribute)
            return last is not None and last.quality is Quality.GOOD and last.value == value

        return true

    def told(self, device: str, event: DeviceEvent) -> Callable[[], bool]:
        return lambda: any(whose == device and what is event for whose, what, _ in self.events)


class Field:
    """Emulator and supervisors of one plan. `async with field(...)`."""

    def __init__(
        self,
        made: site_plan.SitePlan,
        *,
        broker: tuple[str, int] | None,
        knobs: Knobs,
        seed: int,
        catalogue: Mapping[DescriptorId, Descriptor],
        settings: BridgesSettings = PLAIN,
        modbus_tls: ssl.SSLContext | None = None,
        advert_keys: Mapping[str, bytes] | None = None,
    ) -> None:
        self.plan, self.heard, self.clock = made, Heard(), SystemClock("host")

        def transport(name: str) -> MqttTransport:
            host, port = broker or ("127.0.0.1", 1)
            return MqttTransport(Broker(host, port, client_id=name))

        self.emulator = FieldEmulator(
            made,
            catalogue,
            transport_of=lambda bus: transport(f"zigbee2mqtt-{bus.id}"),
            clock=self.clock,
            dice=SeededDice(seed),
            knobs=knobs,
            modbus_tls=modbus_tls,
            advert_keys=advert_keys,
        )
        self.buses = build(
            made,
            catalogue,
            self.clock,
            SeededDice(seed + 1),
            self.heard,
            settings,
            lambda bus: transport(f"edge-{bus.id}"),
        )
        self.devices = Devices(made, self.buses)
        self._commands = 0

    def command(
        self, device: str, capability: Capability, attribute: str, value: object, *, within_ms: int = 15_000
    ) -> Command:
        self._commands += 1
        name = f"c-{self._commands}"
        deadline_ms = self.clock.wall_ms() + within_ms
        return Command(name, DeviceId(device), capability, attribute, cast(Value, value), deadline_ms, name)

    async def truth(self, device: str) -> dict[str, Any]:
        return await self.emulator.answer("true_state", {"device": device})

    async def cause(self, device: str, event: str, **arguments: object) -> None:
        await self.emulator.answer("cause", {"device": device, "event": event, "with": arguments})


@contextlib.asynccontextmanager
async def field(
    made: site_plan.SitePlan,
    *,
    broker: tuple[str, int] | None = None,
    knobs: Knobs = GOOD,
    seed: int = 1,
    catalogue: Mapping[DescriptorId, Descriptor] = CATALOGUE,
    settings: BridgesSettings = PLAIN,
    modbus_tls: ssl.SSLContext | None = None,
    advert_keys: Mapping[str, bytes] | None = None,
) -> AsyncIterator[Field]:
    """Run emulator and supervisors for the length of the block; a crash of either fails the test."""
    it = Field(
        made,
        broker=broker,
        knobs=knobs,
        seed=seed,
        catalogue=catalogue,
        settings=settings,
        modbus_tls=modbus_tls,
        advert_keys=advert_keys,
    )
    started = asyncio.Event()
    tasks = [asyncio.create_task(it.emulator.run(started))]
    try:
        waiting = asyncio.create_task(started.wait())
        await asyncio.wait({tasks[0], waiting}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        tasks += [asyncio.create_task(each.run()) for each in it.buses]
        yield it
        for task in tasks:
            if task.done():
                task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
