"""A desk over a house in memory, that can be killed and started again."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog
from msgspec.structs import replace

from edge.app.binding_desk import BindingDesk
from edge.app.buses import fresh_ms
from edge.app.devices import Devices
from edge.app.live_buses import Gate, Served
from edge.binding.book import Asked
from edge.bridges.ports import DeviceEvent
from edge.rooms.ports import DeviceWriter
from firmware_bridges.catalogue import load_all
from kit.clock import ManualClock
from kit.dice import SeededDice
from kit.files import SystemDisk
from protocols.descriptors.descriptor import Descriptor
from protocols.device_model.binding import Place
from protocols.device_model.identity import BusId, DescriptorId, DeviceId, RoomId
from protocols.device_model.probe import Found
from protocols.device_model.site_plan import Address, Bus, SitePlan
from protocols.errors import InvalidInputError
from tests.edge.bridges.field import Heard
from tests.edge.world import T0, Building

CATALOGUE = load_all()
LAMP = DescriptorId("zigbee2mqtt/ikea_led1545g12")
CONTACT = DescriptorId("zigbee2mqtt/aqara_mccgq11lm")
ZIGBEE = BusId("zigbee")


MODELS = {
    "light": LAMP,
    "thermostat": DescriptorId("zigbee2mqtt/danfoss_014g2461"),
    "contact": CONTACT,
    "motion": DescriptorId("zigbee2mqtt/aqara_rtcgq11lm"),
}


def real(plan: SitePlan) -> SitePlan:
    """The plan of tests.edge.world with models that are in the catalogue."""
    devices = [replace(each, descriptor=MODELS[each.id.split("-")[0]]) for each in plan.devices]
    return replace(plan, devices=tuple(devices))


@dataclass
class SeenBuses:
    """Buses that only remember what plan they were given."""

    plans: list[tuple[BusId, list[str]]] = field(default_factory=list)
    probed: list[int] = field(default_factory=list)

    def made(self, plan: SitePlan, bus: BusId) -> Served:
        self.plans.append((bus, [each.id for each in plan.devices_on(bus)]))
        return Served(None, Gate(Heard()))

    async def probe(self, bus: BusId, number: int, _: Iterable[Descriptor]) -> Found | None:
        if bus != "climate":
            raise InvalidInputError(f"bus {bus}", "is not asked by numbers")
        self.probed.append(number)
        return Found({}, ()) if number == 7 else None

    def replace(self, bus: BusId, served: Served) -> None:
        return


class Life:
    """One life of the desk over a building that survives it."""

    def __init__(
        self,
        building: Building,
        folder: Path,
        *,
        writer: DeviceWriter | None = None,
        catalogue: Mapping[DescriptorId, Descriptor] = CATALOGUE,
    ) -> None:
        self.building, self.folder, self.writer = building, folder, writer or building.devices
        self.catalogue = catalogue
        self.buses = SeenBuses()

    @classmethod
    async def begin(cls, folder: Path, *, more: tuple[Bus, ...] = (), **settings: Any) -> "Life":
        building = Building(ManualClock(wall_ms=T0), path=folder / "edge.db")
        building.plan = real(building.plan)
        building.plan = replace(building.plan, buses=(*building.plan.buses, *more))
        building.catalogue = settings.get("catalogue", CATALOGUE)
        building.house = building._house(building.store, building.restored)
        life = cls(building, folder, **settings)
        await life._begin()
        return life

    async def _begin(self) -> None:
        house = self.building.house
        await house.catch_up()
        self.devices = Devices(house, plan=self.building.plan, clock=self.building.clock)
        self.desk = BindingDesk(
            self.building.plan,
            self.catalogue,
            house=house,
            devices=self.devices,
            writer=self.writer,
            log=self.building.log,
            disk=SystemDisk(),
            folder=self.folder,
            fresh_ms=fresh_ms,
            clock=self.building.clock,
            dice=SeededDice(1),
            logger=structlog.wrap_logger(structlog.ReturnLogger(), processors=[]),
        )
        self.desk.buses = self.buses
        self.plan = await self.desk.begin()

    async def again(self) -> None:
        """Die, and begin again on what is durable."""
        await self.building.store.close()
        self.building.catalogue = self.catalogue
        self.building.house = self.building._new()
        await self._begin()

    async def end(self) -> None:
        await self.building.store.close()

    def met(self, name: str, *, ieee: str | None = "0x00158d00000000aa", model: str | None = "LED1545G12") -> None:
        """The bridge lists somebody that nobody planned."""
        detail = {"bus": "zigbee", "friendly_name": name, "ieee": ieee, "model": model, "vendor": "IKEA"}
        self.devices.device_event(DeviceId(ieee or f"unknown-{name}"), DeviceEvent.UNKNOWN_DEVICE, detail)

    def ids(self) -> list[str]:
        plan = self.building.house.plan
        assert plan is not None
        return [each.id for each in plan.devices]


def lamp(room: str = "101", name: str = "new-lamp", *, ieee: str | None = None) -> Place:
    return Place(RoomId(room), LAMP, Address(ZIGBEE, friendly_name=name, ieee=ieee))


def ana(version: int = 0, *, by: str = "ana", why: str = "") -> Asked:
    return Asked(by, T0, version, why)
