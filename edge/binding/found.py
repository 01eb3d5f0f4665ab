"""What was met on the buses and stands behind no name: its address and the models that it may be, from the evidence.

Pure, and trusts nothing: evidence is what a peer said of itself. What cannot be an address on the plan's bus is shown
and cannot be bound; a made-up model only makes a worse guess, for the bus itself refuses another model's words later.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from protocols.descriptors.descriptor import Descriptor
from protocols.descriptors.wires import (
    AnnouncedWire,
    BleAdvertWire,
    ModbusWire,
    MqttWire,
    OpcUaWire,
    PeripheralWire,
    Zigbee2MqttWire,
)
from protocols.device_model import site_plan as plans
from protocols.device_model.identity import BusId, DescriptorId, DeviceId
from protocols.device_model.site_plan import Address, Bus, SitePlan
from protocols.errors import InvalidInputError

CANDIDATES_MOST: Final = 5
ANNOUNCED: Final = "mdns"
"""The bus in the evidence of what was met on none, but announced itself beside them (edge/bridges/mdns)."""
_SPEAK_MQTT: Final = frozenset({"_shelly._tcp", "_esphomelib._tcp"})
"""Services of families whose topics begin, unless somebody changed it, with the name that they announce."""
_FIELDS: Final = {"unit": int, "friendly_name": str, "ieee": str, "node": str, "mac": str}
_WIRES: Final[dict[str, type[object]]] = {
    "modbus_tcp": ModbusWire,
    "modbus_tls": ModbusWire,
    "modbus_rtu": ModbusWire,
    "modbus_rtu_tcp": ModbusWire,
    "mqtt": Zigbee2MqttWire,
    "opcua": OpcUaWire,
    "mqtt_devices": MqttWire,
    "ble_adverts": BleAdvertWire,
    "home_assistant": AnnouncedWire,
    "serial": PeripheralWire,
    "raw_tcp": PeripheralWire,
}
"""The wire that a model must speak to hang on a kind of bus."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model that it may be; `confidence` 0..1 orders, it is no measured probability."""

    descriptor: DescriptorId
    confidence: float
    why: str


@dataclass(frozen=True, slots=True)
class Found:
    """A thing on a bus.

    `id` is what the bus calls it: a made-up id, or the planned device in whose place it stands (`stands_at`).
    `address` None: what is known of it is no address, so it can be looked at and not bound.
    """

    id: DeviceId
    bus: BusId | None
    kind: str | None
    address: Address | None
    candidates: tuple[Candidate, ...]
    evidence: Mapping[str, Any]
    since_ms: int | None
    stands_at: DeviceId | None = None


def found(
    id: DeviceId,  # noqa: A002 - the found thing's id
    detail: Mapping[str, Any],
    *,
    since_ms: int | None,
    site: SitePlan,
    catalogue: Mapping[DescriptorId, Descriptor],
    stands_at: DeviceId | None = None,
) -> Found:
    """Return what the evidence makes of a thing.

    Args:
        id: What its bus calls it.
        detail: The event's evidence.
        since_ms: When it was first told, unix ms.
        site: The plan in force: which buses there are.
        catalogue: Every model.
        stands_at: The planned device whose address it answers at, being another model or another radio.
    """
    told = dict(detail)
    if detail.get("bus") == ANNOUNCED:
        detail = _met_on_the_broker(detail, site)
    bus = next((each for each in site.buses if each.id == detail.get("bus")), None)
    kind = None if bus is None else kind_of(bus)
    address = None if bus is None else _address(bus, detail, site)
    if stands_at is not None and address is None:
        planned = site.device(stands_at)
        address = None if planned is None else planned.address
    candidates = () if kind is None else candidates_for(kind, detail, catalogue)
    return Found(id, None if bus is None else bus.id, kind, address, candidates, told, since_ms, stands_at)


def kind_of(bus: Bus) -> str:
    """Return the word by which the site plan tells kinds of buses apart."""
    return str(bus.__struct_config__.tag)


def candidates_for(
    kind: str, detail: Mapping[str, Any], catalogue: Mapping[DescriptorId, Descriptor]
) -> tuple[Candidate, ...]:
    """Return the models that it may be, the likeliest first."""
    wire = _WIRES.get(kind)
    best: dict[DescriptorId, Candidate] = {}
    for each in catalogue.values():
        if wire is None or not isinstance(each.wire, wire):
            continue
        for candidate in _fits(each, detail):
            if each.id not in best or candidate.confidence > best[each.id].confidence:
                best[each.id] = candidate
    ordered = sorted(best.values(), key=lambda each: (-each.confidence, each.descriptor))
    return tuple(ordered[:CANDIDATES_MOST])


def _fits(descriptor: Descriptor, detail: Mapping[str, Any]) -> Iterable[Candidate]:
    told = _squeezed(detail.get("model"))
    wire = descriptor.wire
    if detail.get("descriptor") == descriptor.id:
        given = detail.get("confidence")
        sure = float(given) if isinstance(given, int | float) and 0 <= given <= 1 else 0.8
        announced = isinstance(wire, AnnouncedWire)
        yield Candidate(
            descriptor.id, sure, "it announces itself so" if announced else "its bus asked it, and its answers fit"
        )
    if isinstance(wire, AnnouncedWire):
        return  # it describes one thing: another of the same make speaks on topics of its own
    if isinstance(wire, Zigbee2MqttWire) and told and told == _squeezed(wire.model):
        yield Candidate(descriptor.id, 0.98, f"the bridge calls it {detail.get('model')}")
    if isinstance(wire, BleAdvertWire) and detail.get("encoding") == wire.encoding:
        yield Candidate(descriptor.id, 0.6, f"it advertises as {wire.encoding}")
    names = {_squeezed(descriptor.identity.model), _squeezed(descriptor.id.partition("/")[2])}
    if told and told in names:
        maker = _squeezed(detail.get("vendor"))
        same = bool(maker) and (maker in _squeezed(descriptor.identity.vendor) or maker in _squeezed(descriptor.id))
        yield Candidate(descriptor.id, 0.9 if same else 0.65, f"it calls itself {detail.get('model')}")


def _address(bus: Bus, detail: Mapping[str, Any], site: SitePlan) -> Address | None:
    """Return the address that the evidence holds, if the site plan's rules take it on that bus."""
    given = {name: detail[name] for name, kind in _FIELDS.items() if type(detail.get(name)) is kind}
    needed, allowed = plans.ADDRESS_FIELDS[type(bus)]
    for name in set(given) - allowed:
        del given[name]
    if not needed <= set(given):
        return None
    address = Address(bus.id, **given)
    try:
        plans.check_address(address, bus, "found")
    except InvalidInputError:
        if "ieee" not in given:
            return None
        del given["ieee"]  # a bridge may list a thing without a radio's address
        return _address(bus, {"bus": bus.id, **given}, site)
    return address


def _met_on_the_broker(detail: Mapping[str, Any], site: SitePlan) -> Mapping[str, Any]:
    """Return an announcement as what its maker's firmware says on the broker, if the house has one place for that.

    Sources: shelly-api-docs.shelly.cloud, "Mqtt" (topic_prefix: the device's id, which TXT holds as `id` or the
    instance's name spells) and "mDNS"; esphome.io, "MQTT Client Component" (topic_prefix: the node's name).
    """
    buses = [each.id for each in site.buses if isinstance(each, plans.MqttDevicesBus)]
    name = detail.get("id") or detail.get("name")
    if len(buses) != 1 or detail.get("service") not in _SPEAK_MQTT or not isinstance(name, str):
        return detail
    spelled = name.lower() if detail.get("service") == "_shelly._tcp" else name
    return {**detail, "bus": buses[0], "friendly_name": spelled}


def _squeezed(text: object) -> str:
    """Return a name as letters and digits in lower case: makers write `SDM 630-M` as they like."""
    return "".join(each for each in text.lower() if each.isalnum()) if isinstance(text, str) else ""
