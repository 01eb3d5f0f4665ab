"""Builds the supervisors of a property's buses from its site plan. What is not needed is not imported."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from edge.bridges.modbus.supervisor import ModbusSupervisor
from edge.bridges.mqtt.advert_keys import read_advert_keys
from edge.bridges.mqtt.adverts import AdvertSupervisor
from edge.bridges.mqtt.announced import AnnouncedSupervisor
from edge.bridges.mqtt.announced_registry import Registry
from edge.bridges.mqtt.bus_memory import BusMemory
from edge.bridges.mqtt.devices import MqttDevicesSupervisor
from edge.bridges.mqtt.supervisor import Zigbee2MqttSupervisor
from edge.bridges.peripherals.supervisor import PeripheralSupervisor
from edge.bridges.ports import BusSupervisor, ReadingSink
from edge.bridges.settings import BridgesSettings, opcua_settings
from kit.clock import Clock
from kit.dice import Dice
from kit.net import Transport
from protocols.descriptors.descriptor import Descriptor
from protocols.device_model.capability import Capability
from protocols.device_model.command import Command, Outcome, Phase
from protocols.device_model.identity import BusId, DescriptorId, DeviceId
from protocols.device_model.site_plan import (
    Address,
    BleAdvertBus,
    BleBus,
    HomeAssistantBus,
    ModbusBus,
    ModbusRtuBus,
    ModbusRtuTcpBus,
    ModbusTcpBus,
    ModbusTlsBus,
    MqttBus,
    MqttDevicesBus,
    OpcUaBus,
    RawTcpBus,
    SerialBus,
    SitePlan,
)
from protocols.errors import InvalidInputError

BrokerBuses = MqttBus | MqttDevicesBus | BleAdvertBus | HomeAssistantBus
TransportFactory = Callable[[BrokerBuses], Transport]
"""The way to the site broker for a bus on it; each bus needs a client id of its own."""


class Announced(Protocol):
    """What is remembered of devices that announce themselves, beyond the life of a supervisor."""

    def registry(self, bus: HomeAssistantBus) -> Registry:
        """Return everything that announced itself on a bus."""
        ...

    def changed(self, bus: BusId, keys: set[str]) -> None:
        """Take which things are not as they were."""
        ...


def build(  # noqa: PLR0917 - the shape that edge/app was promised
    site_plan: SitePlan,
    descriptors: Mapping[DescriptorId, Descriptor],
    clock: Clock,
    dice: Dice,
    sink: ReadingSink,
    settings: BridgesSettings,
    transport_factory: TransportFactory,
    announced: Announced | None = None,
    memory: BusMemory | None = None,
) -> list[BusSupervisor]:
    """Return one supervisor for each bus that has devices, to be run by `kit.supervision`.

    Args:
        site_plan: what there is and where (firmware_bridges.catalogue.check_plan has seen it).
        descriptors: every model that the plan names, at least.
        clock: both clocks.
        dice: for pauses and jitter.
        sink: where readings and events go.
        settings: bounds.
        transport_factory: called once an MQTT bus, at once.
        announced: what announced itself before; None: nothing did.
        memory: what the bus on the site broker, where the plan has one alone, has heard and told before.

    Raises:
        InvalidInputError: a device has no descriptor, or one of another wire; names the device.
    """
    supervisors: list[BusSupervisor] = []
    for bus in site_plan.buses:
        devices = [(each, _descriptor(descriptors, each.descriptor, each.id)) for each in site_plan.devices_on(bus.id)]
        if isinstance(bus, BleBus) or (not devices and not isinstance(bus, _HEARD)):
            continue  # the locks' radio is driven by the doors process; where nobody is asked, nobody is found
        try:
            match bus:
                case ModbusTcpBus() | ModbusTlsBus() | ModbusRtuBus() | ModbusRtuTcpBus():
                    units = [(each.id, each.address.unit or 0, descriptor) for each, descriptor in devices]
                    supervisors.append(
                        ModbusSupervisor(bus, units, clock=clock, dice=dice, sink=sink, settings=settings)
                    )
                case MqttBus():
                    radios = [(each.id, each.address, descriptor) for each, descriptor in devices]
                    transport = transport_factory(bus)
                    supervisors.append(
                        Zigbee2MqttSupervisor(
                            bus, radios, transport=transport, clock=clock, dice=dice, sink=sink, memory=memory
                        )
                    )
                case MqttDevicesBus():
                    things = [(each.id, each.address, descriptor) for each, descriptor in devices]
                    way = transport_factory(bus)
                    supervisors.append(
                        MqttDevicesSupervisor(
                            bus, things, transport=way, clock=clock, dice=dice, sink=sink, memory=memory
                        )
                    )
                case SerialBus() | RawTcpBus():
                    supervisors += [
                        PeripheralSupervisor(bus, each.id, descriptor, clock=clock, dice=dice, sink=sink)
                        for each, descriptor in devices
                    ]
                case BleAdvertBus():
                    sensors = [(each.id, each.address, descriptor) for each, descriptor in devices]
                    way = transport_factory(bus)
                    keys = read_advert_keys(settings.advert_keys_path)
                    supervisors.append(
                        AdvertSupervisor(
                            bus, sensors, keys=keys, transport=way, clock=clock, dice=dice, sink=sink, memory=memory
                        )
                    )
                case HomeAssistantBus():
                    bound = [(each.id, each.address, descriptor) for each, descriptor in devices]
                    way = transport_factory(bus)
                    supervisors.append(_announced(bus, bound, way, clock, dice, sink, announced, memory))
                case OpcUaBus():
                    from edge.bridges.opcua.security import OpcUaSecurity
                    from edge.bridges.opcua.supervisor import OpcUaSupervisor  # 30 MB: only where there is a plant

                    plants = [(each.id, each.address.node, descriptor) for each, descriptor in devices]
                    security = OpcUaSecurity(opcua_settings(settings.opcua, bus.id))
                    supervisors.append(
                        OpcUaSupervisor(bus, plants, clock=clock, dice=dice, sink=sink, security=security)
                    )
        except TypeError as error:
            raise InvalidInputError(f"site plan: bus {bus.id}", str(error)) from error
    return supervisors


_HEARD = MqttBus | BleAdvertBus | HomeAssistantBus | ModbusBus
"""Buses that are served even if nothing hangs on them: what is to be bound is found there."""


def _announced(  # noqa: PLR0917 - the parts of the house
    bus: HomeAssistantBus,
    devices: Sequence[tuple[DeviceId, Address, Descriptor]],
    transport: Transport,
    clock: Clock,
    dice: Dice,
    sink: ReadingSink,
    announced: Announced | None,
    memory: BusMemory | None,
) -> AnnouncedSupervisor:
    registry = Registry(bus) if announced is None else announced.registry(bus)

    def changed(keys: set[str]) -> None:
        if announced is not None:
            announced.changed(bus.id, keys)

    return AnnouncedSupervisor(
        registry, devices, transport=transport, clock=clock, dice=dice, sink=sink, memory=memory, changed=changed
    )


class Devices:
    """All buses behind one door: finds the bus of a device. `edge.rooms.ports.DeviceWriter`."""

    def __init__(self, site_plan: SitePlan, supervisors: Sequence[BusSupervisor]) -> None:
        by_bus = {each.bus: each for each in supervisors}
        self._bus_of: dict[DeviceId, BusSupervisor] = {
            each.id: by_bus[each.address.bus] for each in site_plan.devices if each.address.bus in by_bus
        }

    def can_write(self, device: DeviceId, capability: Capability, attribute: str) -> bool:
        """Say whether the device's descriptor lets this attribute be written."""
        bus = self._bus_of.get(device)
        return bus is not None and bus.can_write(device, capability, attribute)

    async def write(self, command: Command) -> Outcome:
        """Carry a command to its device; see `BusSupervisor.write`."""
        bus = self._bus_of.get(command.device)
        if bus is None:
            return Outcome(Phase.FAILED, None, f"no bus has a device {command.device}")
        return await bus.write(command)


def _descriptor(descriptors: Mapping[DescriptorId, Descriptor], wanted: DescriptorId, device: DeviceId) -> Descriptor:
    found = descriptors.get(wanted)
    if found is None:
        known = ", ".join(sorted(descriptors))
        raise InvalidInputError(f"site plan: {device}", f"{wanted!r} is not described; known: {known}")
    return found
