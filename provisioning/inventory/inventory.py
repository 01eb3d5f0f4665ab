"""Reads an inventory and writes out the site plan: one line for each room, device, bus and door.

An inventory is what a person keeps: floors, what every guest room has, what stands alone. A site plan
(protocols/device_model/SPEC.md) is what programs read: every single thing with its address. Answers for the
expansion and for errors that name file, key and value; identities of locks are made elsewhere and handed in.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec

from firmware_bridges.catalogue import check_plan, load_all
from protocols.descriptors.descriptor import Descriptor
from protocols.device_model import site_plan as plans
from protocols.device_model.identity import (
    NAME_CHARACTERS_MAX,
    DescriptorId,
    parse_descriptor_id,
    parse_edge_id,
    parse_name,
)
from protocols.documents import explained, parse_toml, shown
from protocols.errors import InvalidInputError, UnsupportedVersionError

FORMAT: Final = 1
MODBUS_UNITS_MOST: Final = 247  # Modbus application protocol 1.1b3: unit ids 1..247
INVENTORY_BYTES_MAX: Final = 1024 * 1024
FLOORS_MOST: Final = 500
ROOM_NUMBER_MOST: Final = 0xFFFF  # a grant names private doors by uint16
ZONES_MOST: Final = 64  # a grant names common doors by a 64-bit mask

BusKind = Literal[
    "modbus_tcp", "modbus_tls", "modbus_rtu", "modbus_rtu_tcp", "mqtt", "mqtt_devices", "ble_adverts", "opcua",
    "home_assistant", "serial", "raw_tcp", "ble",
]  # fmt: skip
MODBUS: Final = frozenset({"modbus_tcp", "modbus_tls", "modbus_rtu", "modbus_rtu_tcp"})
BASE_TOPICS: Final = {"mqtt": "zigbee2mqtt", "ble_adverts": "ruuvi"}
"""Where a bridge or a gateway publishes if the inventory does not say."""
_FIELDS: Final = {
    "modbus_tls": ({"host"}, {"host", "port"}),
    "modbus_rtu": ({"path"}, {"path", "baud", "parity", "stop_bits"}),
    "modbus_rtu_tcp": ({"host", "port"}, {"host", "port"}),
    "serial": ({"path"}, {"path", "baud", "parity", "stop_bits"}),
    "raw_tcp": ({"host"}, {"host", "port"}),
    "mqtt": (set(), {"base_topic"}),
    "ble_adverts": (set(), {"base_topic"}),
    "home_assistant": ({"topics"}, {"topics", "prefix"}),
}
"""For each kind of bus: what its entry needs beside id and kind, and what it may have. Others have nothing."""
_OWN: Final = ("host", "port", "path", "baud", "parity", "stop_bits", "topics", "prefix")
"""What goes from an entry into the site plan as it stands."""


class _Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Unknown keys are mistakes: a misspelt key must not silently do nothing."""


class PropertyEntry(_Strict, frozen=True):
    """Who the building is."""

    id: str
    name: str
    tenant: str
    zone: str
    edge: str


class Floor(_Strict, frozen=True):
    """Guest rooms numbered in one run."""

    level: Annotated[int, msgspec.Meta(ge=-100, le=500)]
    first_room: Annotated[int, msgspec.Meta(ge=1, le=ROOM_NUMBER_MOST)]
    rooms: Annotated[int, msgspec.Meta(ge=1, le=plans.ROOMS_MAX)]
    type: str
    lines: dict[str, str] = {}
    """On which bus this floor's fittings hang instead of the one that they name: a gateway of its own."""


class Place(_Strict, frozen=True):
    """A room that is not for guests."""

    id: str
    level: Annotated[int, msgspec.Meta(ge=-100, le=500)]
    kind: Literal["common", "plant"]


class Bus(_Strict, frozen=True):
    """A line on which devices hang."""

    id: str
    kind: BusKind
    base_topic: str | None = None
    """mqtt, ble_adverts; see `BASE_TOPICS`."""
    host: str | None = None
    """modbus_tls, modbus_rtu_tcp: of the gateway. (A rehearsal chooses its own for modbus_tcp.)"""
    port: int | None = None
    path: str | None = None
    """modbus_rtu: the serial port, such as /dev/ttyUSB0."""
    baud: int | None = None
    parity: str | None = None
    stop_bits: int | None = None
    topics: list[str] | None = None
    """home_assistant: the filters in which devices that announce themselves may speak and be spoken to."""
    prefix: str | None = None
    """home_assistant: where they announce themselves; `homeassistant` if left out."""


class Fitting(_Strict, frozen=True):
    """A device that every guest room has."""

    name: str
    descriptor: str
    bus: str
    friendly_name: str = ""
    """What it is called on the broker, with `{room}` in it; left out: `<name>-<room>`."""
    macs: dict[str, str] = {}
    """ble_adverts: the address of each room's sensor, by room."""
    units: dict[str, int] = {}
    """Every Modbus kind: the unit number of a room's device, by room; others are numbered from 1."""


class Device(_Strict, frozen=True):
    """A device that stands alone."""

    id: str
    room: str
    descriptor: str
    bus: str
    friendly_name: str = ""
    """What it is called on the broker; left out: its id."""
    mac: str | None = None
    """ble_adverts: its address."""
    unit: int | None = None
    """Every Modbus kind: its unit number; left out, the next that is free from 1 on."""
    node: str | None = None
    """opcua: the node id of its object, where it is not the descriptor's."""


class CommonDoor(_Strict, frozen=True):
    """A door for many guests: opened by a zone bit, not by a room number."""

    id: str
    room: str
    zone: int


class Inventory(_Strict, frozen=True):
    """A whole building, as a person writes it down."""

    format: int
    property: PropertyEntry
    floors: Annotated[tuple[Floor, ...], msgspec.Meta(max_length=FLOORS_MOST)]
    places: tuple[Place, ...] = ()
    buses: tuple[Bus, ...] = ()
    fittings: tuple[Fitting, ...] = ()
    devices: tuple[Device, ...] = ()
    common_doors: tuple[CommonDoor, ...] = ()


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the buses of this run are reached; ports are chosen when the property starts."""

    modbus: Mapping[str, tuple[str, int]]
    """By the id of the bus."""
    opcua_url: str


@dataclass(frozen=True, slots=True)
class DoorEntry:
    """One door of the plan before its lock has an identity."""

    id: str
    room: str
    number: int
    zones: int


def load(path: Path, catalogue: Mapping[DescriptorId, Descriptor] | None = None) -> Inventory:
    """Read and check an inventory file; its models are this release's if no catalogue is given.

    Raises:
        InvalidInputError: the file is missing, not TOML, or says something impossible; names file, key and value.
        UnsupportedVersionError: it is of a format that this release does not read.
    """
    try:
        with path.open("rb") as file:
            data = file.read(INVENTORY_BYTES_MAX + 1)
    except FileNotFoundError as error:
        raise InvalidInputError(str(path), "there is no such inventory file") from error
    except OSError as error:
        raise InvalidInputError(str(path), f"cannot be read: {error.strerror or error}") from error
    document = parse_toml(data, str(path), INVENTORY_BYTES_MAX)
    spoken = document.get("format")
    if type(spoken) is not int or spoken != FORMAT:
        raise UnsupportedVersionError(f"{path}: inventory format", spoken, (FORMAT,))
    try:
        inventory = msgspec.convert(document, Inventory)
    except msgspec.ValidationError as error:
        raise InvalidInputError(str(path), explained(error, document)) from error
    _check(inventory, path, catalogue)
    return inventory


def doors(inventory: Inventory) -> list[DoorEntry]:
    """List every door: one a guest room, then the common ones."""
    private = [DoorEntry(f"door-{number}", str(number), number, 0) for number in _room_numbers(inventory)]
    return private + [DoorEntry(door.id, door.room, 0, 1 << door.zone) for door in inventory.common_doors]


def site_plan(inventory: Inventory, addresses: Addresses, locks: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """Expand an inventory into a site plan document.

    Args:
        inventory: A checked inventory.
        addresses: Where the buses are reached.
        locks: For each door id the public part of its lock: `lock` (16 hex) and `s_lock` (66 hex).
    """
    rooms: list[dict[str, Any]] = [
        {"id": str(number), "floor": floor.level, "kind": "guest_room", "type": floor.type}
        for floor in inventory.floors
        for number in range(floor.first_room, floor.first_room + floor.rooms)
    ]
    rooms += [
        {"id": place.id, "floor": place.level, "kind": place.kind, "type": place.kind} for place in inventory.places
    ]
    kinds = {bus.id: bus.kind for bus in inventory.buses}
    devices: list[dict[str, Any]] = []
    free = {bus.id: _free_units(inventory, bus.id) for bus in inventory.buses if bus.kind in MODBUS}

    def add(  # noqa: PLR0917 - an entry's fields
        device_id: str, room: str, descriptor: str, bus: str, friendly_name: str, mac: str | None, unit: int | None
    ) -> None:
        address: dict[str, Any] = {"bus": bus}
        if kinds[bus] in MODBUS:
            address["unit"] = next(free[bus]) if unit is None else unit
        elif kinds[bus] in ("mqtt", "mqtt_devices", "home_assistant"):
            address["friendly_name"] = friendly_name or device_id
        elif mac is not None:
            address["mac"] = mac
        devices.append({"id": device_id, "room": room, "descriptor": descriptor, "address": address})

    for floor in inventory.floors:
        for number in range(floor.first_room, floor.first_room + floor.rooms):
            for fitting in inventory.fittings:
                bus = floor.lines.get(fitting.bus, fitting.bus)
                name, mac = fitting.friendly_name.replace("{room}", str(number)), fitting.macs.get(str(number))
                unit = fitting.units.get(str(number))
                add(f"{fitting.name}-{number}", str(number), fitting.descriptor, bus, name, mac, unit)
    for device in inventory.devices:
        add(device.id, device.room, device.descriptor, device.bus, device.friendly_name, device.mac, device.unit)
        if device.node is not None:
            devices[-1]["address"]["node"] = device.node
    return {
        "v": 1,
        "property": {
            "id": inventory.property.id,
            "name": inventory.property.name,
            "zone": inventory.property.zone,
            "tenant": inventory.property.tenant,
        },
        "edge": inventory.property.edge,
        "rooms": rooms,
        "devices": devices,
        "buses": [_bus(bus, addresses) for bus in inventory.buses],
        "doors": [
            {
                "id": door.id,
                "room": door.room,
                "number": door.number,
                "lock": locks[door.id]["lock"],
                "s_lock": locks[door.id]["s_lock"],
                "zones": door.zones,
            }
            for door in doors(inventory)
        ],
    }


def _bus(bus: Bus, addresses: Addresses) -> dict[str, Any]:
    if bus.kind == "modbus_tcp":
        host, port = addresses.modbus[bus.id]
        return {"id": bus.id, "kind": bus.kind, "host": host, "port": port}
    if bus.kind in BASE_TOPICS:
        return {"id": bus.id, "kind": bus.kind, "base_topic": bus.base_topic or BASE_TOPICS[bus.kind]}
    if bus.kind == "opcua":
        return {"id": bus.id, "kind": bus.kind, "url": addresses.opcua_url}
    given = {name: getattr(bus, name) for name in _OWN}
    return {"id": bus.id, "kind": bus.kind, **{name: each for name, each in given.items() if each is not None}}


def _room_numbers(inventory: Inventory) -> list[int]:
    return [number for floor in inventory.floors for number in range(floor.first_room, floor.first_room + floor.rooms)]


def _check(inventory: Inventory, path: Path, catalogue: Mapping[DescriptorId, Descriptor] | None) -> None:
    if (rooms_many := sum(floor.rooms for floor in inventory.floors)) > plans.ROOMS_MAX:
        raise InvalidInputError(f"{path}: floors", f"{rooms_many} rooms; a property has at most {plans.ROOMS_MAX}")
    for floor in inventory.floors:
        if (last := floor.first_room + floor.rooms - 1) > ROOM_NUMBER_MOST:
            raise InvalidInputError(f"{path}: floors", f"room number {last} is outside 1..{ROOM_NUMBER_MOST}")
    numbers = _room_numbers(inventory)
    _check_names(inventory, path)
    rooms = _unique([str(number) for number in numbers] + [place.id for place in inventory.places], f"{path}: rooms")
    buses = _unique([bus.id for bus in inventory.buses], f"{path}: buses")
    _unique([fitting.name for fitting in inventory.fittings], f"{path}: fittings")
    _unique([device.id for device in inventory.devices], f"{path}: devices")
    hung = [(f"fittings.{fitting.name}", fitting.bus) for fitting in inventory.fittings]
    hung += [(f"devices.{device.id}", device.bus) for device in inventory.devices]
    for index, floor in enumerate(inventory.floors):
        hung += [(f"floors[{index}].lines.{own}", own) for own in floor.lines]
        hung += [(f"floors[{index}].lines.{own}", line) for own, line in floor.lines.items()]
    for place, bus_id in hung:
        if bus_id not in buses:
            spot = place if ".lines." in place else f"{place}.bus"
            raise InvalidInputError(f"{path}: {spot}", f"{shown(bus_id)} is not one of the buses {sorted(buses)}")
    kinds = {bus.id: bus.kind for bus in inventory.buses}
    for index, floor in enumerate(inventory.floors):
        for own, line in floor.lines.items():
            if kinds[own] != kinds[line]:
                raise InvalidInputError(
                    f"{path}: floors[{index}].lines.{own}", f"{shown(line)} is {kinds[line]}, not {kinds[own]}"
                )
    for device in inventory.devices:
        if device.room not in rooms:
            raise InvalidInputError(
                f"{path}: devices.{device.id}.room", f"{shown(device.room)} is not a room of this inventory"
            )
    for door in inventory.common_doors:
        if door.room not in rooms:
            raise InvalidInputError(
                f"{path}: common_doors.{door.id}.room", f"{shown(door.room)} is not a room of this inventory"
            )
        if not 0 <= door.zone < ZONES_MOST:
            raise InvalidInputError(
                f"{path}: common_doors.{door.id}.zone", f"{door.zone} is outside 0..{ZONES_MOST - 1}"
            )
    for bus in inventory.buses:
        hanging = sum(
            floor.rooms
            for floor in inventory.floors
            for fitting in inventory.fittings
            if floor.lines.get(fitting.bus, fitting.bus) == bus.id
        )
        hanging += sum(1 for device in inventory.devices if device.bus == bus.id)
        if bus.kind in MODBUS and hanging > MODBUS_UNITS_MOST:
            raise InvalidInputError(
                f"{path}: buses.{bus.id}", f"{hanging} units hang on it; a Modbus line carries {MODBUS_UNITS_MOST}"
            )
    _check_lines(inventory, path, [str(number) for number in numbers])
    expanded(inventory, path, catalogue)  # what two entries make together is judged by the plan's own rules


def _check_lines(inventory: Inventory, path: Path, rooms: list[str]) -> None:
    """See that a bus has what its kind needs and no more, and that every sensor that advertises has an address."""
    for bus in inventory.buses:
        needed, allowed = _FIELDS.get(bus.kind, (set(), set()))
        given = {name for name in ("base_topic", *_OWN) if getattr(bus, name) is not None}
        if missing := sorted(needed - given):
            raise InvalidInputError(f"{path}: buses.{bus.id}.{missing[0]}", f"is missing: a {bus.kind} bus needs it")
        if extra := sorted(given - allowed):
            raise InvalidInputError(f"{path}: buses.{bus.id}.{extra[0]}", f"has no meaning on a {bus.kind} bus")
    kinds = {bus.id: bus.kind for bus in inventory.buses}
    for fitting in inventory.fittings:
        place, adverts = f"{path}: fittings.{fitting.name}", kinds[fitting.bus] == "ble_adverts"
        if not adverts and fitting.macs:
            raise InvalidInputError(f"{place}.macs", f"have no meaning on the {kinds[fitting.bus]} bus {fitting.bus!r}")
        if adverts and (missing_rooms := [room for room in rooms if room not in fitting.macs]):
            raise InvalidInputError(
                f"{place}.macs",
                f"has none for {len(missing_rooms)} rooms, the first {missing_rooms[0]!r}: read it off its back",
            )
        if strange := sorted(fitting.macs.keys() - set(rooms)):
            raise InvalidInputError(f"{place}.macs", f"{shown(strange[0])} is no guest room of this inventory")
        if fitting.units and kinds[fitting.bus] not in MODBUS:
            raise InvalidInputError(
                f"{place}.units", f"have no meaning on the {kinds[fitting.bus]} bus {fitting.bus!r}"
            )
        if strange := sorted(fitting.units.keys() - set(rooms)):
            raise InvalidInputError(f"{place}.units", f"{shown(strange[0])} is no guest room of this inventory")
        if fitting.friendly_name and "{room}" not in fitting.friendly_name:
            raise InvalidInputError(
                f"{place}.friendly_name",
                f"{shown(fitting.friendly_name)} is the same in every room: put {{room}} in it",
            )
    for device in inventory.devices:
        place, adverts = f"{path}: devices.{device.id}", kinds[device.bus] == "ble_adverts"
        if adverts != (device.mac is not None):
            problem = "is missing: a sensor that advertises is known by it" if adverts else "has no meaning on its bus"
            raise InvalidInputError(f"{place}.mac", problem)
        if device.unit is not None and kinds[device.bus] not in MODBUS:
            raise InvalidInputError(f"{place}.unit", f"has no meaning on the {kinds[device.bus]} bus {device.bus!r}")
        if device.node is not None and kinds[device.bus] != "opcua":
            raise InvalidInputError(f"{place}.node", f"has no meaning on the {kinds[device.bus]} bus {device.bus!r}")


def _check_names(inventory: Inventory, path: Path) -> None:
    """See that every name fits where it will stand: in topics, records, certificates and file names."""
    parse_name(inventory.property.id, f"{path}: property.id")
    parse_name(inventory.property.tenant, f"{path}: property.tenant")
    parse_edge_id(inventory.property.edge, f"{path}: property.edge")
    named = [(f"places[{index}].id", each.id) for index, each in enumerate(inventory.places)]
    named += [(f"buses[{index}].id", each.id) for index, each in enumerate(inventory.buses)]
    named += [(f"devices[{index}].id", each.id) for index, each in enumerate(inventory.devices)]
    named += [(f"common_doors[{index}].id", each.id) for index, each in enumerate(inventory.common_doors)]
    longest = len(str(ROOM_NUMBER_MOST)) + 1
    for index, fitting in enumerate(inventory.fittings):
        spot = f"fittings[{index}].name"
        named.append((spot, fitting.name))
        if len(fitting.name) > NAME_CHARACTERS_MAX - longest:
            most = NAME_CHARACTERS_MAX - longest
            raise InvalidInputError(
                f"{path}: {spot}", f"{shown(fitting.name)} leaves no room for '-<room>': {most} at most"
            )
        parse_descriptor_id(fitting.descriptor, f"{path}: fittings[{index}].descriptor")
    for index, device in enumerate(inventory.devices):
        parse_descriptor_id(device.descriptor, f"{path}: devices[{index}].descriptor")
    for spot, name in named:
        parse_name(name, f"{path}: {spot}")
    if len(found := [bus.id for bus in inventory.buses if bus.kind == "opcua"]) > 1:
        raise InvalidInputError(f"{path}: buses", f"{', '.join(found)} are all opcua; a rehearsal reaches one")


def expanded(
    inventory: Inventory, path: Path, catalogue: Mapping[DescriptorId, Descriptor] | None = None
) -> plans.SitePlan:
    """Return the site plan with made-up locks and ports: for whoever needs its rooms, devices and topics.

    Raises:
        InvalidInputError: it becomes no site plan; names entry and value.
    """
    points = filter(plans.is_point, (f"02{x:064x}" for x in count()))
    locks = {door.id: {"lock": f"{index:016x}", "s_lock": next(points)} for index, door in enumerate(doors(inventory))}
    addresses = Addresses(
        modbus={bus.id: ("127.0.0.1", port) for port, bus in enumerate(inventory.buses, 1)},
        opcua_url="opc.tcp://127.0.0.1:65535/",
    )
    place = f"{path}: expanded"
    data = msgspec.json.encode(site_plan(inventory, addresses, locks))
    plan = plans.parse(data, place)
    check_plan(plan, load_all() if catalogue is None else catalogue, place)
    return plan


def _free_units(inventory: Inventory, bus: str) -> Iterator[int]:
    """Return the unit numbers that nobody on a bus was given, from 1 on."""
    given = {each.unit for each in inventory.devices if each.bus == bus}
    for floor in inventory.floors:
        rooms = range(floor.first_room, floor.first_room + floor.rooms)
        for fitting in inventory.fittings:
            if floor.lines.get(fitting.bus, fitting.bus) == bus:
                given |= {fitting.units.get(str(room)) for room in rooms}
    return (each for each in count(1) if each not in given)


def _unique(ids: list[str], place: str) -> set[str]:
    seen: set[str] = set()
    for each in ids:
        if each in seen:
            raise InvalidInputError(place, f"{each!r} is there twice")
        seen.add(each)
    return seen


def with_rooms(inventory: Inventory, rooms: int) -> Inventory:
    """Return the building with its first `rooms` guest rooms only: whole floors from below, then a part of one.

    Raises:
        InvalidInputError: it has fewer rooms, or none are asked for.
    """
    most = sum(floor.rooms for floor in inventory.floors)
    if not 1 <= rooms <= most:
        raise InvalidInputError("rooms", f"{rooms} is outside 1..{most}, the rooms of {inventory.property.name}")
    floors: list[Floor] = []
    for floor in inventory.floors:
        if rooms > 0:
            floors.append(msgspec.structs.replace(floor, rooms=min(floor.rooms, rooms)))
            rooms -= floors[-1].rooms
    return msgspec.structs.replace(inventory, floors=tuple(floors))
