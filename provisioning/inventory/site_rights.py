"""Who may say and hear what on the site broker: the least that each client needs, from the plan and the models.

One source for the rehearsal's broker, for Mosquitto's access list and for the files that are shipped. A device may say
its own topics and hear its own commands: a socket in one room can neither switch nor pretend to be one in another. The
edge hears the buses of the plan and writes commands alone, so that even it cannot pretend to be a sensor.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from protocols.descriptors.descriptor import NAME, Descriptor
from protocols.descriptors.firmware import every
from protocols.descriptors.wires import MqttWire
from protocols.device_model.identity import DescriptorId
from protocols.device_model.site_plan import (
    BleAdvertBus,
    Device,
    HomeAssistantBus,
    MqttBus,
    MqttDevicesBus,
    SitePlan,
)
from protocols.errors import InvalidInputError
from protocols.home_assistant import announcements

EDGE: Final = "edge-site"
ZIGBEE: Final = "zigbee2mqtt"
HOME_ASSISTANT: Final = "home-assistant"
SPARKPLUG_HOST: Final = "sparkplug-host"
_MARK: Final = "\0"
"""Around a thing's name in a topic, while its subtree is looked for: no topic holds it."""
HEAD: Final = "# Made by `innkeeper inventory acl`: change the inventory, not this file.\n"


@dataclass(slots=True)
class Client:
    """One identity (its certificate's common name), with topics and filters, each once, in the order of need."""

    user: str
    publish: dict[str, None] = field(default_factory=dict)
    subscribe: dict[str, None] = field(default_factory=dict)

    def says(self, *topics: str) -> None:
        """Let it publish."""
        self.publish.update(dict.fromkeys(topics))

    def hears(self, *topics: str) -> None:
        """Let it subscribe."""
        self.subscribe.update(dict.fromkeys(topics))


@dataclass(frozen=True, slots=True)
class Facades:
    """What else speaks on the site broker. `also_read`: what [json_devices] of the edge listens to."""

    home_assistant: bool = False
    discovery_prefix: str = "homeassistant"
    base: str = "innkeeper"
    sparkplug: bool = False
    also_read: tuple[str, ...] = ()


def site_clients(
    plan: SitePlan, catalogue: Mapping[DescriptorId, Descriptor], facades: Facades | None = None
) -> list[Client]:
    """Return every client of the site broker with its rights, the edge first.

    The edge's own rights name models, not devices: what is bound or swapped later needs no other file, except that a
    new device that speaks by itself is a client of its own and needs one.

    Raises:
        InvalidInputError: two clients would have one name, so that one could speak as the other.
    """
    facades = facades or Facades()
    edge = Client(EDGE)
    clients = [edge]
    for bus in plan.buses:
        match bus:
            case MqttBus():
                clients.append(_zigbee(bus, edge))
            case BleAdvertBus():
                edge.hears(f"{bus.base_topic}/+/+")
                gateway = Client(f"ble-gateway-{bus.id}")
                gateway.says(f"{bus.base_topic}/#")
                clients.append(gateway)
            case MqttDevicesBus():
                for descriptor in catalogue.values():
                    if isinstance(descriptor.wire, MqttWire):
                        said, heard = _topics(descriptor, descriptor.wire, "+")
                        edge.hears(*said)
                        edge.says(*heard)
                clients += [_thing(each, catalogue) for each in plan.devices_on(bus.id)]
            case HomeAssistantBus():
                clients.append(_announced(bus, edge))
            case _:
                pass
    edge.hears(*facades.also_read)
    if facades.home_assistant:
        clients.append(_home_assistant(plan, edge, facades))
    if facades.sparkplug:
        clients.append(_sparkplug(plan, edge))
    _each_once(each.user for each in clients)
    return clients


def access_list(clients: Iterable[Client]) -> str:
    """Return Mosquitto's access list: what is not granted is denied."""
    blocks = []
    for each in clients:
        both = [topic for topic in each.publish if topic in each.subscribe]
        lines = [f"user {each.user}"]
        lines += [f"topic readwrite {topic}" for topic in both]
        lines += [f"topic read {topic}" for topic in each.subscribe if topic not in both]
        lines += [f"topic write {topic}" for topic in each.publish if topic not in both]
        blocks.append("\n".join(lines) + "\n")
    return HEAD + "\n".join(blocks)


def _zigbee(bus: MqttBus, edge: Client) -> Client:
    """A bridge has its whole tree; the edge asks things and never the bridge: it lets nothing join and renames nothing.

    A friendly name may hold slashes; two levels are granted.
    """
    edge.hears(f"{bus.base_topic}/#")
    for levels in ("+", "+/+"):
        edge.says(f"{bus.base_topic}/{levels}/set", f"{bus.base_topic}/{levels}/get")
    user = ZIGBEE if bus.base_topic == ZIGBEE else f"{ZIGBEE}-{bus.id}"
    bridge = Client(user)
    bridge.says(f"{bus.base_topic}/#")
    bridge.hears(f"{bus.base_topic}/#")
    return bridge


def _announced(bus: HomeAssistantBus, edge: Client) -> Client:
    """Who announces himself is nobody's model: he speaks, and is spoken to, where the plan says so and nowhere else."""
    edge.hears(*announcements.filters(bus.prefix), *bus.topics)
    edge.says(*bus.topics)
    things = Client(f"announced-{bus.id}")
    things.says(*announcements.filters(bus.prefix), *bus.topics)
    things.hears(f"{bus.prefix}/status", *bus.topics)
    return things


def _thing(device: Device, catalogue: Mapping[DescriptorId, Descriptor]) -> Client:
    descriptor = catalogue[device.descriptor]
    thing = Client(device.id)
    if isinstance(descriptor.wire, MqttWire):
        said, heard = _topics(descriptor, descriptor.wire, f"{_MARK}{device.address.friendly_name}{_MARK}")
        thing.says(*map(_own, said))
        thing.hears(*map(_own, heard))
    return thing


def _own(topic: str) -> str:
    """Return the subtree below a thing's name: firmware says and asks more there than a descriptor reads."""
    return f"{topic.partition(_MARK)[0]}{topic.split(_MARK)[1]}/#"


def _topics(descriptor: Descriptor, wire: MqttWire, name: str) -> tuple[list[str], list[str]]:
    """Return what a thing of that name says, and what it listens to, whichever firmware it runs."""
    points = [point for _, each in every(descriptor) for point in each.points]
    wires = [each.wire for _, each in every(descriptor) if isinstance(each.wire, MqttWire)]
    said = [each.topic for each in points if each.topic is not None]
    if wire.availability is not None:
        said.append(wire.availability.topic)
    heard = [each.write.topic for each in points if each.write is not None and each.write.topic is not None]
    heard += [each.topic for one in wires for each in one.ask]
    if (firmware := descriptor.firmware) is not None and firmware.topic is not None:
        said.append(firmware.topic)
        heard += [] if firmware.ask is None else [firmware.ask.topic]
    return ([each.replace(NAME, name) for each in said], [each.replace(NAME, name) for each in heard])


def _home_assistant(plan: SitePlan, edge: Client, facades: Facades) -> Client:
    base, status = f"{facades.base}/{plan.property.id}", f"{facades.discovery_prefix}/status"
    edge.says(f"{base}/#", f"{facades.discovery_prefix}/+/+/config", f"{facades.discovery_prefix}/+/+/+/config")
    edge.hears(status, f"{base}/+/+/set", f"{base}/announced")
    home = Client(HOME_ASSISTANT)
    home.hears(f"{facades.discovery_prefix}/#", f"{base}/#")
    home.says(status, f"{base}/+/+/set")
    return home


def _sparkplug(plan: SitePlan, edge: Client) -> Client:
    group, node = plan.property.id, plan.edge
    for kind in ("NBIRTH", "NDATA", "NDEATH"):
        edge.says(f"spBv1.0/{group}/{kind}/{node}")
    for kind in ("DBIRTH", "DDATA", "DDEATH"):
        edge.says(f"spBv1.0/{group}/{kind}/{node}/+")
    edge.hears(f"spBv1.0/{group}/NCMD/{node}", f"spBv1.0/{group}/DCMD/{node}/+", "spBv1.0/STATE/+")
    host = Client(SPARKPLUG_HOST)
    host.hears("spBv1.0/#")
    host.says(f"spBv1.0/{group}/NCMD/{node}", f"spBv1.0/{group}/DCMD/{node}/+", "spBv1.0/STATE/+")
    return host


def _each_once(users: Iterable[str]) -> None:
    seen: set[str] = set()
    for each in users:
        if each in seen:
            raise InvalidInputError(
                "site broker", f"two clients would be called {each!r}, and each could speak as the other: rename one"
            )
        seen.add(each)
