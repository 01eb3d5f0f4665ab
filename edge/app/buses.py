"""Joins the field buses: descriptors for every device of the plan, and the way to the site broker."""

from pathlib import Path

from edge.app.settings import EdgeSettings, SiteBrokerSettings
from edge.bridges.assembly import BrokerBuses, build
from edge.bridges.ports import BusSupervisor, ReadingSink
from firmware_bridges.catalogue import check_plan, load_all
from kit.clock import Clock
from kit.dice import Dice
from kit.identity import tls_client_context
from kit.mqtt import Broker, MqttTransport
from kit.net import Transport
from protocols.descriptors.descriptor import Descriptor
from protocols.device_model.capability import Capability
from protocols.device_model.identity import DescriptorId, DeviceId
from protocols.device_model.site_plan import SitePlan
from protocols.errors import InvalidInputError

SECRET_BYTES_MAX = 4 * 1024


def read_descriptors(plan: SitePlan | None) -> dict[DescriptorId, Descriptor]:
    """Return the descriptors of the models that the plan names.

    Raises:
        InvalidInputError: a device is not described, or hangs on the wrong kind of bus.
    """
    if plan is None or not plan.devices:
        return {}
    every = load_all()
    check_plan(plan, every)
    named = {device.descriptor for device in plan.devices}
    return {each: descriptor for each, descriptor in every.items() if each in named}


def fresh_ms(
    plan: SitePlan | None, descriptors: dict[DescriptorId, Descriptor]
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
    descriptors: dict[DescriptorId, Descriptor],
    *,
    clock: Clock,
    dice: Dice,
    sink: ReadingSink,
) -> list[BusSupervisor]:
    """Return the bus supervisors, none running yet. Raises InvalidInputError."""

    def transport(bus: BrokerBuses) -> Transport:
        if settings.site_broker is None:
            raise InvalidInputError("site_broker", f"is missing, and the site plan has the bus {bus.id} on it")
        return site_transport(settings.site_broker, client_id=f"{settings.edge}-{bus.id}"[:40])

    return build(plan, descriptors, clock, dice, sink, settings.bridges, transport)


def site_transport(broker: SiteBrokerSettings, *, client_id: str) -> MqttTransport:
    """Return the way to the broker in the building. Raises InvalidInputError for a file that is wrong."""
    tls = None if broker.ca_path is None else tls_client_context(broker.ca_path, broker.cert_path, broker.key_path)
    password = None if broker.password_path is None else _secret(broker.password_path)
    return MqttTransport(
        Broker(broker.host, broker.port, client_id=client_id, tls=tls, username=broker.username, password=password)
    )


def _secret(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(SECRET_BYTES_MAX).decode("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInputError(str(path), f"cannot be read: {error}") from error
