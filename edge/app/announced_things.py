"""Devices that announce themselves, as the whole edge knows them: their models, and what of them is kept on disk.

What a bound device announced is durable before its binding is: an announcement that was not retained, or a broker that
lost it, leaves the device what it was. Of what is only found nothing is written, so no stranger fills the disk.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from edge.bridges.mqtt.announced_registry import KeptThing, Registry, descriptor_id
from kit.files import Disk, SystemDisk, write_atomic
from kit.logs import logger
from protocols.descriptors.descriptor import NAME, Descriptor
from protocols.descriptors.firmware import every
from protocols.device_model.identity import BusId, DescriptorId, DeviceId
from protocols.device_model.site_plan import HomeAssistantBus, MqttBus, MqttDevicesBus, SitePlan
from protocols.errors import StoreFailedError

FILE_NAME: Final = "announced.json"
SETTLE_S: Final = 1.0
"""A device announces its entities one by one: what follows from them is done once."""

PAUSE_S: Final = 30.0
"""What follows concerns the whole house: a device that announces itself otherwise without end brings it about so often.
Its bus has taken what it announces at once."""

Relay = Callable[[], Awaitable[None]]


class AnnouncedThings:
    """`edge.bridges.assembly.Announced`.

    Args:
        catalogue: Every model of this release; what is announced is added to it, and taken out again.
        disk: Where announcements of bound devices are kept.
        folder: Where on it.
        logger: A structlog logger.
        settle_s: See `SETTLE_S`.
        pause_s: See `PAUSE_S`.
    """

    def __init__(
        self,
        catalogue: dict[DescriptorId, Descriptor],
        *,
        disk: Disk,
        folder: Path,
        logger: Any,  # noqa: ANN401 - structlog's lazy logger
        settle_s: float = SETTLE_S,
        pause_s: float = PAUSE_S,
    ) -> None:
        self._settle_s, self._pause_s = settle_s, pause_s
        self._catalogue, self._disk, self._path, self._logger = catalogue, disk, folder / FILE_NAME, logger
        self._registries: dict[BusId, Registry] = {}
        self._written = b""
        self._news = asyncio.Event()
        self.relay: Relay | None = None
        """Told when what a bound device announces has changed: the binding desk."""
        self.wants: Callable[[DescriptorId], bool] = _nobody
        """Says whether something is bound to a model that nobody had heard of until now."""

    def registry(self, bus: HomeAssistantBus) -> Registry:
        """Return everything that announced itself on a bus."""
        return self._registries.setdefault(bus.id, Registry(bus))

    def changed(self, bus: BusId, keys: set[str]) -> None:
        """Take which things are not as they were; returns at once."""
        registry = self._registries[bus]
        for key in keys:
            thing, name = registry.thing(key), descriptor_id(key)
            descriptor = None if thing is None else thing.descriptor
            if descriptor is not None:
                self._catalogue[name] = descriptor
                if self.wants(name):
                    self._news.set()
            elif not registry.bound(key):
                self._catalogue.pop(name, None)
        if any(registry.bound(key) for key in keys):
            self._news.set()

    def load(self, plan: SitePlan) -> None:
        """Take what earlier lives of the edge kept. A file that cannot be read is told, and no hindrance."""
        for bus in plan.buses:
            if isinstance(bus, HomeAssistantBus):
                self.registry(bus)
        if not self._registries:
            return
        try:
            self._written = self._disk.read(self._path)
            kept = msgspec.json.decode(self._written, type=dict[str, list[KeptThing]])
        except FileNotFoundError:
            return
        except (OSError, msgspec.MsgspecError) as error:
            self._logger.error("announced_devices_refused", path=str(self._path), error=str(error))
            return
        for bus_id, registry in self._registries.items():
            registry.restore(kept.get(bus_id, ()))
            self.changed(bus_id, {each.key for each in registry.things()})
        self._news.clear()

    def serve(self, plan: SitePlan, catalogue: Mapping[DescriptorId, Descriptor]) -> None:
        """Take which devices speak on other buses: what they announce besides is nothing that could be found."""
        taken = topics_taken(plan, catalogue) if self._registries else {}
        for registry in self._registries.values():
            registry.spoken_elsewhere(taken)

    async def keep(self, plan: SitePlan) -> None:
        """Have on disk what the plan's devices announced. Raises StoreFailedError: it is not durable."""
        kept = {
            bus: registry.kept(each.address.friendly_name or "" for each in plan.devices_on(bus))
            for bus, registry in self._registries.items()
        }
        data = msgspec.json.encode(kept)
        if data != self._written and (self._written or any(kept.values())):
            await asyncio.to_thread(write_atomic, self._disk, self._path, data)
            self._written = data

    async def run(self, plan: Callable[[], SitePlan | None]) -> None:
        """Keep what bound devices announce otherwise, and have it taken up, for ever."""
        while True:
            await self._news.wait()
            await asyncio.sleep(self._settle_s)
            self._news.clear()
            if (now := plan()) is not None:
                try:
                    await self.keep(now)
                except StoreFailedError as error:
                    self._logger.error("announced_devices_not_kept", path=str(self._path), error=str(error))
                    self._news.set()
            if self.relay is not None:
                await self.relay()
            await asyncio.sleep(self._pause_s)


def with_kept(
    plan: SitePlan, catalogue: Mapping[DescriptorId, Descriptor], folder: Path
) -> dict[DescriptorId, Descriptor]:
    """Return a catalogue with what a folder keeps of announced devices, for whoever reads it beside the edge."""
    every = dict(catalogue)
    AnnouncedThings(every, disk=SystemDisk(), folder=folder, logger=logger("edge.announced")).load(plan)
    return every


def _nobody(descriptor: DescriptorId) -> bool:
    """Nobody wants any."""
    del descriptor
    return False


def topics_taken(plan: SitePlan, catalogue: Mapping[DescriptorId, Descriptor]) -> dict[str, DeviceId]:
    """Return the topics on which devices of the plan's other buses speak, and which those are."""
    found: dict[str, DeviceId] = {}
    for bus in plan.buses:
        for device in plan.devices_on(bus.id):
            name = device.address.friendly_name or device.id
            if isinstance(bus, MqttBus):
                found[f"{bus.base_topic}/{name}"] = device.id
            elif isinstance(bus, MqttDevicesBus) and (model := catalogue.get(device.descriptor)) is not None:
                topics = {point.topic for _, each in every(model) for point in each.points if point.topic is not None}
                found.update({topic.replace(NAME, name): device.id for topic in topics})
    return found
