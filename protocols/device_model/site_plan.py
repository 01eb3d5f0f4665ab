"""The site plan: what one property consists of. One document that the edge, the cloud and the emulators read.

Source of truth: SPEC.md section 5. Strict: an unknown field, a dangling name or a wrong address is refused with its
place and value, because a plan that is half understood opens the wrong door.
"""

import re
from collections.abc import Hashable, Iterable, Sequence
from typing import Annotated, Final, Literal, TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec

from protocols.device_model.identity import (
    HOST,
    BusId,
    DescriptorId,
    DeviceId,
    DoorId,
    EdgeId,
    LockId,
    PropertyId,
    RoomId,
    parse_bus_id,
    parse_descriptor_id,
    parse_device_id,
    parse_door_id,
    parse_edge_id,
    parse_lock_id,
    parse_property_id,
    parse_room_id,
)
from protocols.documents import check_keys_once, explained_json, shown
from protocols.errors import InvalidInputError, UnsupportedVersionError

SITE_PLAN_VERSION: Final = 1
SITE_PLAN_BYTES_MAX: Final = 4 * 1024 * 1024
ROOMS_MAX: Final = 5_000
DEVICES_MAX: Final = 50_000
DOORS_MAX: Final = 10_000
BUSES_MAX: Final = 200
ROOM_NUMBER_MAX: Final = 0xFFFF
ZONES_MAX: Final = 2**64 - 1  # a grant names common doors by a 64-bit mask

_COMPRESSED_P256: Final = re.compile(r"0[23][0-9a-f]{64}")
_NODE: Final = re.compile(r"(ns=\d{1,5};)?[sigb]=[^\x00]+")
_IEEE: Final = re.compile(r"0x[0-9a-f]{16}")
_MAC: Final = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_TOPIC_LEVEL: Final = re.compile(r"[^+#\x00/]{1,64}")
_BASE_TOPIC: Final = re.compile(r"[^+#\x00]{1,200}")
_HOST: Final = re.compile(HOST)
_OPCUA_URL: Final = re.compile(
    r"opc\.tcp://(?P<host>\[[0-9A-Fa-f:.]+\]|[^/:@\[\]\s]+)(:(?P<port>[0-9]{1,5}))?(/[^\s?#\x00]*)?"
)
_SERIAL_PATH: Final = re.compile(r"/[A-Za-z0-9._:@/-]{1,200}")
_ZONE_NAME: Final = re.compile(r"[A-Za-z0-9_+-]{1,32}(/[A-Za-z0-9_+-]{1,32}){0,3}")

RoomKind = Literal["guest_room", "common", "plant"]
T = TypeVar("T", bound=Hashable)
_Text = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]


class _Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Frozen, and refuses what it does not know."""


class Property(_Strict, frozen=True):
    """The building. `zone` is an IANA zone name; `tenant` the operator it belongs to."""

    id: PropertyId
    name: _Text
    zone: str
    tenant: str


class Room(_Strict, frozen=True):
    """A place that things are in. `type` is the property's own word (double, suite, lobby)."""

    id: RoomId
    floor: Annotated[int, msgspec.Meta(ge=-100, le=500)]
    kind: RoomKind
    type: _Text


class Address(_Strict, frozen=True):
    """Where a device is on its bus; which field it needs depends on the kind of the bus.

    Every modbus kind: `unit` 1..247, on modbus_tcp and modbus_tls 0 and 255 as well: a device that is no gateway
    may answer to these alone (MODBUS Messaging on TCP/IP, 4.4.2). mqtt: the `friendly_name` under which Zigbee2MQTT
    publishes, and `ieee` (0x and 16 hex digits) where the very radio is meant: another one under that name is then
    unknown. opcua: `node`, the node id of the object that the descriptor's nodes start from, where it is not the
    descriptor's own. mqtt_devices: the `friendly_name` that stands for `{name}` in the descriptor's topics.
    ble_adverts: `mac`, six lower-case hex pairs. home_assistant: the `friendly_name` that the edge made of what the
    device calls itself (`devices found` tells it).
    """

    bus: BusId
    unit: int | None = None
    ieee: str | None = None
    friendly_name: str | None = None
    node: str | None = None
    mac: str | None = None


class Device(_Strict, frozen=True):
    """One thing on a bus. `descriptor` is `<family>/<model>`; `watches`: where its contact is; left out, a door."""

    id: DeviceId
    room: RoomId
    descriptor: DescriptorId
    address: Address
    watches: Literal["door", "window"] | None = None


class ModbusTcpBus(_Strict, frozen=True, tag_field="kind", tag="modbus_tcp"):
    """A Modbus TCP gateway or device; many units behind one address."""

    id: BusId
    host: str
    port: Annotated[int, msgspec.Meta(ge=1, le=65_535)]


class ModbusTlsBus(_Strict, frozen=True, tag_field="kind", tag="modbus_tls"):
    """A gateway or device that speaks MODBUS/TCP Security; the certificates are the edge's settings."""

    id: BusId
    host: str
    port: Annotated[int, msgspec.Meta(ge=1, le=65_535)] = 802


class ModbusRtuBus(_Strict, frozen=True, tag_field="kind", tag="modbus_rtu"):
    """A serial line of the edge's machine: RTU frames, eight data bits."""

    id: BusId
    path: str
    baud: Literal[1_200, 2_400, 4_800, 9_600, 19_200, 38_400, 57_600, 115_200] = 19_200
    parity: Literal["even", "odd", "none"] = "even"
    stop_bits: Literal[1, 2] = 1


class ModbusRtuTcpBus(_Strict, frozen=True, tag_field="kind", tag="modbus_rtu_tcp"):
    """A serial line behind a serial server that passes RTU frames on over TCP as they are."""

    id: BusId
    host: str
    port: Annotated[int, msgspec.Meta(ge=1, le=65_535)]


class SerialBus(_Strict, frozen=True, tag_field="kind", tag="serial"):
    """A serial port of the edge's machine with one kiosk peripheral on it: eight data bits."""

    id: BusId
    path: str
    baud: Literal[1_200, 2_400, 4_800, 9_600, 19_200, 38_400, 57_600, 115_200] = 9_600
    parity: Literal["even", "odd", "none"] = "none"
    stop_bits: Literal[1, 2] = 1


class RawTcpBus(_Strict, frozen=True, tag_field="kind", tag="raw_tcp"):
    """A kiosk peripheral that is spoken to as on a serial line, over TCP: a printer's port 9100."""

    id: BusId
    host: str
    port: Annotated[int, msgspec.Meta(ge=1, le=65_535)] = 9_100


class MqttBus(_Strict, frozen=True, tag_field="kind", tag="mqtt"):
    """A Zigbee2MQTT instance on the site broker (where the broker is belongs to the edge's settings)."""

    id: BusId
    base_topic: str


class OpcUaBus(_Strict, frozen=True, tag_field="kind", tag="opcua"):
    """An OPC UA server."""

    id: BusId
    url: str


class MqttDevicesBus(_Strict, frozen=True, tag_field="kind", tag="mqtt_devices"):
    """Devices that speak on the site broker by themselves, each on topics of its own (Tasmota, Shelly, ESPHome)."""

    id: BusId


class BleAdvertBus(_Strict, frozen=True, tag_field="kind", tag="ble_adverts"):
    """Sensors that advertise, heard by gateways that publish every advert under `base_topic` on the site broker."""

    id: BusId
    base_topic: str


class HomeAssistantBus(_Strict, frozen=True, tag_field="kind", tag="home_assistant"):
    """Devices that announce themselves to Home Assistant under `prefix` on the site broker (MQTT discovery).

    `topics`: the filters in which they may speak and be spoken to; what an announcement names elsewhere is not taken.
    """

    id: BusId
    topics: Annotated[tuple[str, ...], msgspec.Meta(min_length=1, max_length=100)]
    prefix: str = "homeassistant"


class BleBus(_Strict, frozen=True, tag_field="kind", tag="ble"):
    """The locks' radio: driven by the doors process, not by a bus supervisor."""

    id: BusId


ModbusBus = ModbusTcpBus | ModbusTlsBus | ModbusRtuBus | ModbusRtuTcpBus
"""What units hang on."""
Bus = (
    ModbusTcpBus
    | ModbusTlsBus
    | ModbusRtuBus
    | ModbusRtuTcpBus
    | MqttBus
    | OpcUaBus
    | MqttDevicesBus
    | BleAdvertBus
    | HomeAssistantBus
    | SerialBus
    | RawTcpBus
    | BleBus
)


class Door(_Strict, frozen=True):
    """One lock on one door.

    `number` is the uint16 under which grants name a guest room's door; a common door has number 0 and at least one
    bit in `zones`. `s_lock` is the lock's P-256 key, compressed, in hexadecimal.
    """

    id: DoorId
    room: RoomId
    number: Annotated[int, msgspec.Meta(ge=0, le=ROOM_NUMBER_MAX)]
    lock: LockId
    s_lock: str
    zones: int = 0


class SitePlan(_Strict, frozen=True):
    """A whole property. Made by `parse`, which has checked every name in it."""

    v: int
    property: Property
    edge: EdgeId
    rooms: Annotated[tuple[Room, ...], msgspec.Meta(max_length=ROOMS_MAX)]
    devices: Annotated[tuple[Device, ...], msgspec.Meta(max_length=DEVICES_MAX)] = ()
    buses: Annotated[tuple[Bus, ...], msgspec.Meta(max_length=BUSES_MAX)] = ()
    doors: Annotated[tuple[Door, ...], msgspec.Meta(max_length=DOORS_MAX)] = ()

    def room(self, room: RoomId) -> Room | None:
        """Return the room of that name."""
        return next((each for each in self.rooms if each.id == room), None)

    def device(self, device: DeviceId) -> Device | None:
        """Return the device of that name."""
        return next((each for each in self.devices if each.id == device), None)

    def door(self, door: DoorId) -> Door | None:
        """Return the door of that name."""
        return next((each for each in self.doors if each.id == door), None)

    def doors_of(self, room: RoomId) -> tuple[Door, ...]:
        """Return the doors of a room, in the plan's order."""
        return tuple(each for each in self.doors if each.room == room)

    def devices_on(self, bus: BusId) -> tuple[Device, ...]:
        """Return the devices on a bus, in the plan's order."""
        return tuple(each for each in self.devices if each.address.bus == bus)

    def room_of(self, device: DeviceId) -> RoomId | None:
        """Return the room that a device is in."""
        found = self.device(device)
        return None if found is None else found.room


class _Versioned(msgspec.Struct):
    v: int


_VERSION: Final = msgspec.json.Decoder(_Versioned)
_PLAN: Final = msgspec.json.Decoder(SitePlan)


def parse(data: bytes, place: str = "site plan") -> SitePlan:
    """Return the plan written in `data` (JSON).

    Args:
        data: the whole document.
        place: where it came from, for the errors (a file name).

    Raises:
        UnsupportedVersionError: it is of a version that is not spoken here.
        InvalidInputError: it is too long, no JSON, or wrong; names the place and the value.
    """
    if len(data) > SITE_PLAN_BYTES_MAX:
        raise InvalidInputError(place, f"{len(data)} bytes, at most {SITE_PLAN_BYTES_MAX} are read")
    try:
        version = _VERSION.decode(data).v
        if version != SITE_PLAN_VERSION:
            raise UnsupportedVersionError(f"{place}: site plan", version, (SITE_PLAN_VERSION,))
        plan = _PLAN.decode(data)
    except msgspec.ValidationError as error:
        raise InvalidInputError(place, explained_json(error, data)) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInputError(place, f"is no JSON that can be read: {error}") from error
    check_keys_once(data, place)
    _check(plan, place)
    return plan


def is_point(s_lock: str) -> bool:
    """Return whether 66 hex digits are a compressed point of P-256: for half of all numbers there is none."""
    try:
        ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), bytes.fromhex(s_lock))
    except ValueError:
        return False
    return True


def encode(plan: SitePlan) -> bytes:
    """Return the plan as indented JSON, ending in a line feed."""
    return msgspec.json.format(msgspec.json.encode(plan), indent=1) + b"\n"


def _check(plan: SitePlan, place: str) -> None:
    parse_property_id(plan.property.id, f"{place}: property.id")
    parse_property_id(plan.property.tenant, f"{place}: property.tenant")
    parse_edge_id(plan.edge, f"{place}: edge")
    if _ZONE_NAME.fullmatch(plan.property.zone) is None:
        raise InvalidInputError(f"{place}: property.zone", f"{shown(plan.property.zone)} is no zone name")
    try:
        ZoneInfo(plan.property.zone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise InvalidInputError(
            f"{place}: property.zone", f"{shown(plan.property.zone)} is no zone that this machine knows"
        ) from error
    for index, room in enumerate(plan.rooms):
        parse_room_id(room.id, f"{place}: rooms[{index}].id")
    _once((each.id for each in plan.rooms), f"{place}: rooms[{{}}].id")
    rooms = {each.id for each in plan.rooms}
    for index, bus in enumerate(plan.buses):
        _check_bus(bus, f"{place}: buses[{index}]")
    _once((each.id for each in plan.buses), f"{place}: buses[{{}}].id")
    # Two buses in one place would take each other's devices for strangers, and each other's answers for their own.
    _once((_place_of(each) for each in plan.buses), f"{place}: buses[{{}}]")
    buses: dict[BusId, Bus] = {each.id: each for each in plan.buses}
    for index, device in enumerate(plan.devices):
        spot = f"{place}: devices[{index}]"
        parse_device_id(device.id, f"{spot}.id")
        parse_descriptor_id(device.descriptor, f"{spot}.descriptor")
        if device.room not in rooms:
            raise InvalidInputError(f"{spot}.room", f"{shown(device.room)} is none of the plan's rooms")
        if device.address.bus not in buses:
            raise InvalidInputError(f"{spot}.address.bus", f"{shown(device.address.bus)} is none of the plan's buses")
        check_address(device.address, buses[device.address.bus], f"{spot}.address")
    _once((each.id for each in plan.devices), f"{place}: devices[{{}}].id")
    # Two units of one make may share an address field by mistake: the second would answer for the first.
    _once(((each.address.bus, _key(each.address)) for each in plan.devices), f"{place}: devices[{{}}].address")
    _once((each.address.ieee or each.id for each in plan.devices), f"{place}: devices[{{}}].address.ieee")
    _check_doors(plan.doors, rooms, place)


def _check_doors(doors: Sequence[Door], rooms: set[RoomId], place: str) -> None:
    for index, door in enumerate(doors):
        spot = f"{place}: doors[{index}]"
        parse_door_id(door.id, f"{spot}.id")
        parse_lock_id(door.lock, f"{spot}.lock")
        if door.room not in rooms:
            raise InvalidInputError(f"{spot}.room", f"{shown(door.room)} is none of the plan's rooms")
        if _COMPRESSED_P256.fullmatch(door.s_lock) is None:
            raise InvalidInputError(
                f"{spot}.s_lock", f"{shown(door.s_lock)} is no compressed P-256 key: 66 hex digits from 02 or 03"
            )
        if not is_point(door.s_lock):
            raise InvalidInputError(f"{spot}.s_lock", f"{shown(door.s_lock)} is not a point of P-256")
        if not 0 <= door.zones <= ZONES_MAX:
            raise InvalidInputError(f"{spot}.zones", f"{shown(door.zones)} is outside 0..{ZONES_MAX}")
        if (door.number == 0) != (door.zones != 0):
            raise InvalidInputError(
                f"{spot}.zones", f"number {door.number} with zones {door.zones}: a door has either a number or zones"
            )
    _once((each.id for each in doors), f"{place}: doors[{{}}].id")
    _once((each.lock for each in doors), f"{place}: doors[{{}}].lock")
    _once((each.s_lock for each in doors), f"{place}: doors[{{}}].s_lock")
    # A grant names private doors by number alone: two rooms of one number would open for each other's guests.
    numbered: dict[int, RoomId] = {}
    for index, door in enumerate(doors):
        if door.number and numbered.setdefault(door.number, door.room) != door.room:
            raise InvalidInputError(
                f"{place}: doors[{index}].number",
                f"{door.number} names room {numbered[door.number]!r} already; this door is of {door.room!r}",
            )


def _check_bus(bus: Bus, place: str) -> None:
    parse_bus_id(bus.id, f"{place}.id")
    match bus:
        case ModbusRtuBus() | SerialBus():
            if _SERIAL_PATH.fullmatch(bus.path) is None or ".." in bus.path:
                raise InvalidInputError(f"{place}.path", f"{shown(bus.path)} is not the absolute path of a serial line")
        case ModbusTcpBus() | ModbusTlsBus() | ModbusRtuTcpBus() | RawTcpBus():
            if _HOST.fullmatch(bus.host) is None:
                raise InvalidInputError(f"{place}.host", f"{shown(bus.host)} is no host name or address")
        case MqttBus() | BleAdvertBus():
            levels = bus.base_topic.split("/")
            if _BASE_TOPIC.fullmatch(bus.base_topic) is None or "" in levels or levels[0].startswith("$"):
                raise InvalidInputError(f"{place}.base_topic", f"{shown(bus.base_topic)} is no topic to build on")
        case OpcUaBus():
            if len(bus.url) > 500 or not _is_opcua_url(bus.url):
                raise InvalidInputError(f"{place}.url", f"{shown(bus.url)} is not opc.tcp://<host>[:<port>][/<path>]")
        case HomeAssistantBus():
            if _BASE_TOPIC.fullmatch(bus.prefix) is None or "" in bus.prefix.split("/") or bus.prefix.startswith("$"):
                raise InvalidInputError(f"{place}.prefix", f"{shown(bus.prefix)} is no topic to build on")
            for index, each in enumerate(bus.topics):
                if not _is_filter(each):
                    raise InvalidInputError(f"{place}.topics[{index}]", f"{shown(each)} is no topic filter")
        case MqttDevicesBus() | BleBus():
            pass


def _place_of(bus: Bus) -> str:
    match bus:
        case ModbusTcpBus() | ModbusTlsBus() | ModbusRtuTcpBus() | RawTcpBus():
            return f"{bus.host}:{bus.port}"
        case ModbusRtuBus() | SerialBus():
            return bus.path
        case MqttBus() | BleAdvertBus():
            return bus.base_topic
        case MqttDevicesBus():
            return "mqtt_devices"
        case HomeAssistantBus():
            return f"{bus.prefix}/+/config"
        case OpcUaBus():
            return bus.url
        case BleBus():
            return f"ble {bus.id}"


def may_have_unit(bus: Bus, unit: int) -> bool:
    """Say whether a device of a Modbus bus may have a unit number: see `Address`."""
    return 1 <= unit <= 247 or (unit in (0, 255) and isinstance(bus, ModbusTcpBus | ModbusTlsBus))


def check_address(address: Address, bus: Bus, place: str) -> None:
    """See that an address says what its kind of bus understands, and no more. Raises InvalidInputError."""
    given = {name for name in ("unit", "ieee", "friendly_name", "node", "mac") if getattr(address, name) is not None}
    needed, allowed = ADDRESS_FIELDS[type(bus)]
    if missing := sorted(needed - given):
        raise InvalidInputError(f"{place}.{missing[0]}", f"missing: bus {bus.id!r} needs it")
    if extra := sorted(given - allowed):
        raise InvalidInputError(
            f"{place}.{extra[0]}", f"{shown(getattr(address, extra[0]))} has no meaning on {bus.id!r}"
        )
    if address.unit is not None and not may_have_unit(bus, address.unit):
        also = " and neither 0 nor 255" if isinstance(bus, ModbusTcpBus | ModbusTlsBus) else ""
        raise InvalidInputError(f"{place}.unit", f"{shown(address.unit)} is outside 1..247{also}")
    if address.ieee is not None and _IEEE.fullmatch(address.ieee) is None:
        raise InvalidInputError(f"{place}.ieee", f"{shown(address.ieee)} is not 0x and 16 of 0-9 and a-f")
    if address.friendly_name is not None and not _is_friendly_name(address.friendly_name):
        raise InvalidInputError(f"{place}.friendly_name", f"{shown(address.friendly_name)} cannot be a friendly name")
    if address.mac is not None and _MAC.fullmatch(address.mac) is None:
        raise InvalidInputError(f"{place}.mac", f"{shown(address.mac)} is not six pairs of 0-9 and a-f between ':'")
    if address.node is not None and (not 0 < len(address.node) <= 200 or _NODE.fullmatch(address.node) is None):
        raise InvalidInputError(f"{place}.node", f"{shown(address.node)} is no node id")


ADDRESS_FIELDS: Final[dict[type[Bus], tuple[set[str], set[str]]]] = {
    **dict.fromkeys((ModbusTcpBus, ModbusTlsBus, ModbusRtuBus, ModbusRtuTcpBus), ({"unit"}, {"unit"})),
    MqttBus: ({"friendly_name"}, {"friendly_name", "ieee"}),
    OpcUaBus: (set(), {"node"}),
    MqttDevicesBus: ({"friendly_name"}, {"friendly_name"}),
    HomeAssistantBus: ({"friendly_name"}, {"friendly_name"}),
    BleAdvertBus: ({"mac"}, {"mac"}),
    SerialBus: (set(), set()),
    RawTcpBus: (set(), set()),
    BleBus: (set(), set()),
}
"""For each kind of bus: the fields that an address needs, and those that it may have."""


def _is_opcua_url(text: str) -> bool:
    found = _OPCUA_URL.fullmatch(text)
    if found is None or _HOST.fullmatch(found["host"].strip("[]")) is None:
        return False
    return found["port"] is None or 1 <= int(found["port"]) <= 65_535


def _is_filter(text: str) -> bool:
    """A topic filter (MQTT 3.1.1, 4.7) that covers none of the broker's own topics."""
    levels = text.split("/")
    plain = [each for each in levels[:-1] if each != "+"] + [each for each in levels[-1:] if each not in ("+", "#")]
    return 0 < len(text) <= 200 and not text.startswith("$") and not any(c in each for each in plain for c in "+#\0")


def _is_friendly_name(name: str) -> bool:
    """Zigbee2MQTT allows slashes, but not what collides with its own topics."""
    levels = name.split("/")
    return (
        all(_TOPIC_LEVEL.fullmatch(level) is not None for level in levels)
        and levels[0] != "bridge"
        and levels[-1] not in ("set", "get", "availability")
    )


def _key(address: Address) -> str:
    """What must be unique on one bus."""
    return str(address.unit if address.unit is not None else address.friendly_name or address.mac or address.node)


def _once(values: Iterable[T], place: str) -> None:
    seen: dict[T, int] = {}
    for index, value in enumerate(values):
        if value in seen:
            raise InvalidInputError(place.format(index), f"{value!r} is given twice, first at index {seen[value]}")
        seen[value] = index
