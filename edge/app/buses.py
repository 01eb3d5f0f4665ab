"""Joins the field buses: descriptors for every device of the plan, and the way to the site broker."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from msgspec import structs

from edge.app import client_ids
from edge.app.live_buses import Gate, LiveBuses
from edge.app.settings import EdgeSettings, SiteBrokerSettings
from edge.bridges.assembly import Announced, BrokerBuses, build
from edge.bridges.mqtt.bus_memory import BusMemory
from edge.bridges.ports import BusSupervisor, ReadingSink
from firmware_bridges.catalogue import check_plan, load_all, own_models
from kit.clock import Clock
from kit.dice import Dice
from kit.identity import tls_client_context
from kit.mqtt_wire.bus_transport import BusTransport
from kit.mqtt_wire.transport import Broker
from kit.net import Transport
from protocols.descriptors.descriptor import Descriptor
from protocols.device_model.capability import Capability
from protocols.device_model.identity import BusId, DescriptorId, DeviceId
from protocols.device_model.site_plan import BleBus, MqttBus, SitePlan
from protocols.errors import InvalidInputError
from protocols.mqtt.zigbee2mqtt import devices_topic

SECRET_BYTES_MAX = 4 * 1024

TOPIC_WAITING_MAX: Final = 32
"""Unread messages of one device's topic: whoever says more a moment is heard by its newest."""


def read_descriptors(plan: SitePlan | None, own: Path | None = None) -> dict[DescriptorId, Descriptor]:
    """Return every model of this release and of the property's own folder: any may be bound while the edge runs.

    Args:
        plan: what there is; None: nothing.
        own: the folder of the property's own, `<family>/descriptors/<model>.toml` in it.

    Raises:
        InvalidInputError: a device is not described, or hangs on the wrong kind of bus; `own` or a file in it is wrong.
    """
    if plan is None:
        return {}
    every = load_all(own_models(own))
    check_plan(plan, every)
    return every


def fresh_ms(
    plan: SitePlan | None, descriptors: Mapping[DescriptorId, Descriptor]
) -> dict[tuple[DeviceId, Capability, str], int]:
    """Return how long each planned value stays fresh without being repeated: twice its heartbeat (G17)."""
    if plan is None:
        return {}
    return {
        (device.id, point.capability, point.attribute): round(2_000 * max(point.heartbeat_s, point.every_s))
        for device in plan.devices
        for point in descriptors[device.descriptor].points
    }


def make_buses(
    settings: EdgeSettings,
    plan: SitePlan,
    descriptors: Mapping[DescriptorId, Descriptor],
    *,
    clock: Clock,
    dice: Dice,
    sink: ReadingSink,
    crowded: Callable[[], bool] | None = None,
    announced: Announced | None = None,
    remembered: Mapping[BusId, BusMemory] | None = None,
) -> LiveBuses:
    """Return the buses, none running yet; they can be given other devices while they run. Raises InvalidInputError.

    A bus on the site broker is heard even if nothing hangs on it yet: what is to be bound is found there. `crowded`:
    whether `sink` has more than it should, see `BusTransport`. `remembered`: what buses have heard in earlier lives of
    the edge.
    """

    def transport(bus: BrokerBuses) -> Transport:
        if settings.site_broker is None:
            raise InvalidInputError("site_broker", f"is missing, and the site plan has the bus {bus.id} on it")
        large = frozenset({devices_topic(bus.base_topic)}) if isinstance(bus, MqttBus) else frozenset[str]()
        return site_transport(
            settings.site_broker,
            client_id=client_ids.of_bus(settings.edge, bus.id),
            large_topics=large,
            topic_waiting_max=TOPIC_WAITING_MAX,
            crowded=crowded,
        )

    memories = dict(remembered or {})

    def make(of: SitePlan, bus: BusId, heard: Gate) -> BusSupervisor | None:
        one = tuple(each for each in of.buses if each.id == bus)
        if settings.site_broker is None and not of.devices_on(bus):
            one = tuple(each for each in one if not isinstance(each, BrokerBuses))
        alone = structs.replace(of, buses=one, devices=of.devices_on(bus) if one else ())
        memory = memories.setdefault(bus, BusMemory()).next_life()
        heard.at_shut = memory.end
        made = build(alone, descriptors, clock, dice, heard, settings.bridges, transport, announced, memory)
        return next(iter(made), None)

    driven = [each.id for each in plan.buses if not isinstance(each, BleBus)]
    return LiveBuses(driven, plan, make, sink=sink)


def site_transport(
    broker: SiteBrokerSettings,
    *,
    client_id: str,
    large_topics: frozenset[str] = frozenset(),
    topic_waiting_max: int | None = None,
    crowded: Callable[[], bool] | None = None,
) -> BusTransport:
    """Return the way to the broker in the building. Raises InvalidInputError for a file that is wrong."""
    tls = None if broker.ca_path is None else tls_client_context(broker.ca_path, broker.cert_path, broker.key_path)
    password = None if broker.password_path is None else _secret(broker.password_path)
    return BusTransport(
        Broker(
            broker.host,
            broker.port,
            client_id=client_id,
            tls=tls,
            username=broker.username,
            password=password,
            version=broker.version,
        ),
        topic_waiting_max=topic_waiting_max,
        large_topics=large_topics,
        crowded=crowded,
    )


def _secret(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(SECRET_BYTES_MAX).decode("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInputError(str(path), f"cannot be read: {error}") from error
