"""The device descriptor: what one model of device says and takes, and where on the wire.

Source of truth: SPEC.md sections 1 to 4. The loader is strict: an unknown key, a register twice, a scale of zero or an
attribute that the device model does not have is refused with file, place and value, because a wrong map writes a
wrong register in somebody's room.
"""

import re
from collections.abc import Hashable, Sequence
from decimal import Decimal
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec

from protocols.descriptors.quirks import QUIRKS_MAX, Firmware, Quirk
from protocols.descriptors.raw_values import JSON_TYPES, NUMBERS, RAW_BOUNDS, RAW_KINDS, WORDS, NodeType
from protocols.descriptors.raw_values import RAW_RANGE as RAW_RANGE  # noqa: PLC0414 - a descriptor's word too
from protocols.descriptors.raw_values import Raw as Raw  # noqa: PLC0414 - a descriptor's word too
from protocols.descriptors.raw_values import Table as Table  # noqa: PLC0414 - a descriptor's word too
from protocols.descriptors.resolution import is_told_apart, resolution
from protocols.descriptors.variants import alike, applying, made, representatives
from protocols.descriptors.variants import bound as version_bound
from protocols.descriptors.wires import (
    AnnouncedWire,
    BleAdvertWire,
    ModbusWire,
    MqttWire,
    OpcUaWire,
    PeripheralWire,
    Wire,
    Zigbee2MqttWire,
)
from protocols.device_model.capability import Attribute, Capability, Kind, Unit, attribute, problem_with
from protocols.device_model.identity import DescriptorId, parse_descriptor_id
from protocols.documents import explained, parse_toml, shown
from protocols.errors import InvalidInputError, UnsupportedVersionError
from protocols.peripherals.dialects import FIELDS

FORMAT: Final = 1
DESCRIPTOR_BYTES_MAX: Final = 256 * 1024
POINTS_MAX: Final = 500
REGISTER_MAX: Final = 0xFFFF
ROOT: Final = "{root}"
"""In a node template: the node id of the device's object."""
NAME: Final = "{name}"
"""In a topic: the device's name on the broker, from the site plan."""
TOPIC_CHARACTERS_MAX: Final = 300
NODE_ID: Final = re.compile(r"(ns=\d{1,5};)?[sigb]=.{1,400}", re.DOTALL)

_Text = Annotated[str, msgspec.Meta(min_length=1, max_length=1000)]
_Seconds = Annotated[float, msgspec.Meta(gt=0, le=7 * 86_400)]


class _Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Frozen, and refuses what it does not know."""


class Identity(_Strict, frozen=True):
    """Who made it, what it is called, and where the map comes from."""

    id: DescriptorId
    vendor: _Text
    model: _Text
    title: _Text
    source: _Text


class Proof(_Strict, frozen=True):
    """How far the map is to be believed.

    `level`: `emulator` (ours alone), `manual` (the maker's document), `public` (somebody's published measurement on
    the thing), `bench` (we measured one), `field` (it runs in a building). `proven` says what, `on` says on what.
    """

    level: Literal["emulator", "manual", "public", "bench", "field"]
    proven: _Text
    on: _Text


class WriteRule(_Strict, frozen=True):
    """What may be written: the allow-list of guarantee G13.

    Numbers are clamped into [`least`, `most`] and rounded to `step`. Over time a point is written at most once in
    `min_interval_s` (memory cells wear out, compressors must not be switched like lamps); `burst` writes that nobody
    asked for lately may follow each other at once. `key` is the payload's key
    where it is not the path (Zigbee2MQTT). `settle_ms` passes before the value is read back. On plain MQTT, `topic`
    takes the command, and `payload` is what is sent: `$json` and `$text` stand for the raw value; without it, the bare
    value.
    """

    least: float | None = None
    most: float | None = None
    step: Annotated[float, msgspec.Meta(gt=0)] | None = None
    min_interval_s: Annotated[float, msgspec.Meta(ge=0, le=86_400)] = 0
    burst: Annotated[int, msgspec.Meta(ge=1, le=10)] = 1
    settle_ms: Annotated[int, msgspec.Meta(ge=0, le=10_000)] = 0
    key: str | None = None
    topic: str | None = None
    payload: str | None = None


class Point(_Strict, frozen=True):
    """One attribute on the wire.

    Exactly one of `register` (with `table`), `path` (a key of the JSON payload, dots go deeper) and `node` says where;
    on plain MQTT `topic` does, with a `path` if its payload is JSON and not the bare value. `exponent` is a register of
    the same table that holds an int16 power of ten by which the raw value is multiplied besides (SunSpec).
    value = raw * `scale` + `offset`, in `unit`. `nan`: raw values that mean that there is no value. `values`: pairs of
    raw and value, for choices and switches; a raw value that is not among them is a bad reading. `least`, `most`
    narrow the table's plausible range. A change of at most `deadband` is not reported before `heartbeat_s`.
    """

    capability: Capability
    attribute: str
    type: str
    table: Table | None = None
    register: Annotated[int, msgspec.Meta(ge=0, le=REGISTER_MAX)] | None = None
    bit: Annotated[int, msgspec.Meta(ge=0, le=15)] | None = None
    bits: Annotated[int, msgspec.Meta(ge=2, le=16)] | None = None
    word_order: Literal["big", "little"] = "big"
    byte_order: Literal["big", "little"] = "big"
    topic: str | None = None
    path: str | None = None
    node: str | None = None
    exponent: Annotated[int, msgspec.Meta(ge=0, le=REGISTER_MAX)] | None = None
    scale: float = 1.0
    offset: float = 0.0
    unit: Unit | None = None
    nan: tuple[int, ...] = ()
    values: tuple[tuple[Raw, Raw], ...] = ()
    least: float | None = None
    most: float | None = None
    every_s: _Seconds = 30.0
    deadband: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    heartbeat_s: _Seconds = 300.0
    readable: bool = False  # Zigbee2MQTT: `/get` asks the device for it
    doubt: Annotated[str, msgspec.Meta(max_length=80)] = ""  # why what it says is believed less: quality uncertain
    write: WriteRule | None = None
    write_only: bool = False
    note: str = ""

    @property
    def row(self) -> Attribute:
        """The device model's row for this attribute."""
        return _row(self.capability, self.attribute)

    @property
    def words(self) -> int:
        """Registers that it takes; 1 for a coil."""
        return WORDS[self.type]

    @property
    def span(self) -> tuple[int, int]:
        """First register and end of all that one reading needs: the value's, and its exponent's."""
        first = self.register or 0
        if self.exponent is None:
            return first, first + self.words
        return min(first, self.exponent), max(first + self.words, self.exponent + 1)

    @property
    def range(self) -> tuple[float | None, float | None]:
        """Plausible least and most: the narrower of the table's and the descriptor's."""
        row = self.row
        least = row.least if self.least is None else self.least
        most = row.most if self.most is None else self.most
        return least, most


_row: Final = lru_cache(maxsize=4_096)(attribute)
"""Every value that is heard asks for it."""


class Identification(_Strict, frozen=True):
    """A value that proves the model: anything else on that address is an unknown device."""

    equals: tuple[Raw, ...]
    table: Table | None = None
    register: Annotated[int, msgspec.Meta(ge=0, le=REGISTER_MAX)] | None = None
    node: str | None = None


class EmulatedStart(_Strict, frozen=True):
    """The value of one attribute when the emulator starts."""

    capability: Capability
    attribute: str
    value: Raw


class EmulatedRegister(_Strict, frozen=True):
    """A register that no point speaks of, but that the thing has."""

    table: Table
    register: Annotated[int, msgspec.Meta(ge=0, le=REGISTER_MAX)]
    raw: Annotated[int, msgspec.Meta(ge=0, le=0xFFFF)]


class Emulation(_Strict, frozen=True):
    """What the emulator needs beyond the map: `model` names the physics, `firmware` the version that it runs."""

    model: Literal["fan_coil_thermostat", "dimmable_light", "contact", "motion", "chiller", "plain"]
    start: tuple[EmulatedStart, ...] = ()
    registers: tuple[EmulatedRegister, ...] = ()
    zigbee: dict[str, Any] = {}
    firmware: str | None = None


class Descriptor(_Strict, frozen=True):
    """One model of device. Made by `load` or `parse`, which have checked it."""

    format: int
    identity: Identity
    quality: Proof
    wire: Wire
    points: Annotated[tuple[Point, ...], msgspec.Meta(min_length=1, max_length=POINTS_MAX)]
    identify: tuple[Identification, ...] = ()
    firmware: Firmware | None = None
    quirks: Annotated[tuple[Quirk, ...], msgspec.Meta(max_length=QUIRKS_MAX)] = ()
    emulation: Emulation | None = None

    @property
    def id(self) -> DescriptorId:
        """`<family>/<model>`."""
        return self.identity.id

    def point(self, capability: Capability, name: str) -> Point | None:
        """Return the point of an attribute, None if the device has none."""
        for each in self.points:
            if each.attribute == name and each.capability is capability:
                return each
        return None


def load(path: Path) -> Descriptor:
    """Read a descriptor file (TOML).

    Raises:
        UnsupportedVersionError: of a format that is not spoken here.
        InvalidInputError: missing, no TOML or wrong; names file, place and value.
    """
    try:
        with path.open("rb") as file:
            data = file.read(DESCRIPTOR_BYTES_MAX + 1)
    except OSError as error:
        raise InvalidInputError(str(path), f"cannot be read: {error.strerror}") from error
    descriptor = parse(data, str(path))
    told = f"{path.parent.parent.name}/{path.stem}" if path.parent.name == "descriptors" else None
    if told is not None and descriptor.id != told:
        raise InvalidInputError(f"{path}: identity.id", f"{descriptor.id!r} lies in the place of {told!r}")
    return descriptor


def parse(data: bytes, place: str) -> Descriptor:
    """Return the descriptor written in `data` (TOML). `place` is where it came from. Raises as `load` does."""
    document = parse_toml(data, place, DESCRIPTOR_BYTES_MAX)
    if document.get("format") != FORMAT or type(document["format"]) is not int:
        raise UnsupportedVersionError(f"{place}: descriptor", document.get("format"), (FORMAT,))
    try:
        descriptor = msgspec.convert(document, Descriptor)
    except msgspec.ValidationError as error:
        raise InvalidInputError(place, explained(error, document)) from error
    _check(descriptor, place)
    _check_firmware(descriptor, place)
    return descriptor


def _check_firmware(descriptor: Descriptor, place: str) -> None:
    """See that the quirks can be told apart, and that every firmware of the model makes a right descriptor."""
    machine = [each for each in descriptor.quirks if each.machine]
    for index, quirk in enumerate(descriptor.quirks):
        spot = f"{place}: quirks[{index}]"
        low, high = (None if each is None else version_bound(each, spot) for each in (quirk.since, quirk.before))
        if (low is None and high is None) != bool(quirk.firmware):
            raise InvalidInputError(spot, "needs since or before, or firmware in words where no version tells")
        if low is not None and high is not None and low >= high:
            raise InvalidInputError(spot, f"since {quirk.since} is not before {quirk.before}")
        if quirk.machine and (quirk.firmware or not quirk.source):
            raise InvalidInputError(spot, "changes what is done: that needs since or before, and a source")
    _check_where_it_says(descriptor.firmware, descriptor.wire, place, needed=bool(machine))
    if machine:
        for version in representatives(machine):
            named = ".".join(map(str, version)) or "the oldest"
            _check(made(descriptor, applying(machine, version), place), f"{place}: firmware {named}")
        common = alike(descriptor)
        if isinstance(common.wire, ModbusWire):
            _check_unreadable(common, common.wire, f"{place}: firmware not known")


def _check_where_it_says(told: Firmware | None, wire: Wire, place: str, *, needed: bool) -> None:
    spot = f"{place}: firmware"
    if told is None:
        if needed and not isinstance(wire, Zigbee2MqttWire):
            raise InvalidInputError(spot, "missing: quirks that change something need it: where the version is told")
        return
    registers, number = told.table is not None and told.register is not None, told.object is not None
    half = (told.table is None) != (told.register is None)
    given = (registers, number, told.topic is not None, told.node is not None)
    match wire:
        case ModbusWire():
            fits = not half and given in ((True, False, False, False), (False, True, False, False))
        case MqttWire():
            fits = not half and given == (False, False, True, False)
        case OpcUaWire():
            fits = not half and given == (False, False, False, True)
            _check_node(told.node or "", wire, f"{spot}.node")
        case Zigbee2MqttWire():
            fits = not half and not any(given)
        case BleAdvertWire() | PeripheralWire() | AnnouncedWire():
            fits = False
    if not fits:
        raise InvalidInputError(spot, "says nothing of where to look on this wire: register, object, topic or node")
    if registers and (told.register or 0) + told.words - 1 > REGISTER_MAX:
        raise InvalidInputError(
            f"{spot}.register", f"{told.register} with {told.words} words ends after {REGISTER_MAX}"
        )
    for topic in (told.topic, None if told.ask is None else told.ask.topic):
        if topic is not None:
            _check_topic(topic, f"{spot}.topic")


def _check(descriptor: Descriptor, place: str) -> None:
    parse_descriptor_id(descriptor.id, f"{place}: identity.id")
    _check_wire(descriptor.wire, place)
    seen: dict[Hashable, int] = {}
    for index, point in enumerate(descriptor.points):
        spot = f"{place}: points[{index}] ({point.capability}.{point.attribute})"
        _check_point(point, descriptor.wire, spot)
        for key in _claims(point, descriptor.wire):
            if key in seen:
                raise InvalidInputError(spot, f"{key!r} is taken already, by points[{seen[key]}]")
            seen[key] = index
    _check_overlaps(descriptor.points, place)
    for index, identification in enumerate(descriptor.identify):
        spot = f"{place}: identify[{index}]"
        where = (identification.register is not None and identification.table is not None, bool(identification.node))
        if where != (isinstance(descriptor.wire, ModbusWire), isinstance(descriptor.wire, OpcUaWire)):
            raise InvalidInputError(spot, "says nothing of where to look on this wire: table and register, or node")
        if not identification.equals:
            raise InvalidInputError(f"{spot}.equals", "is empty: nothing would fit")
        if isinstance(descriptor.wire, OpcUaWire):
            _check_node(identification.node or "", descriptor.wire, f"{spot}.node")
    if isinstance(descriptor.wire, ModbusWire):
        _check_unreadable(descriptor, descriptor.wire, place)
    for index, start in enumerate(descriptor.emulation.start if descriptor.emulation else ()):
        spot = f"{place}: emulation.start[{index}]"
        row = attribute(start.capability, start.attribute, spot)
        if (problem := problem_with(row, start.value)) is not None:
            raise InvalidInputError(f"{spot}.value", problem)


def _check_unreadable(descriptor: Descriptor, wire: ModbusWire, place: str) -> None:
    names = {unreadable_register(name, f"{place}: wire.unreadable"): name for name in wire.unreadable}
    wanted: list[tuple[str, Table | None, int, int]] = [
        (f"points[{index}]", each.table, each.register or 0, each.words) for index, each in enumerate(descriptor.points)
    ]
    wanted += [
        (f"points[{index}].exponent", each.table, each.exponent, 1)
        for index, each in enumerate(descriptor.points)
        if each.exponent is not None
    ]
    wanted += [
        (f"identify[{index}]", each.table, each.register or 0, 1) for index, each in enumerate(descriptor.identify)
    ]
    for spot, table, register, words in wanted:
        for each in range(register, register + words):
            if table is not None and (table, each) in names:
                raise InvalidInputError(
                    f"{place}: {spot}.register", f"{names[table, each]!r} is named in wire.unreadable"
                )


def _check_overlaps(points: Sequence[Point], place: str) -> None:
    """Refuse values that share some of their registers: half of a number is no number."""
    spans = sorted(
        (each.table, each.register, each.register + each.words, index)
        for index, each in enumerate(points)
        if each.table is not None and each.register is not None
    )
    for (table, start, end, first), (other, begin, finish, second) in pairwise(spans):
        if other == table and begin < end and (begin, finish) != (start, end):
            raise InvalidInputError(
                f"{place}: points[{second}].register",
                f"{table} {begin}..{finish - 1} lies half in points[{first}], {start}..{end - 1}",
            )


def _check_node(template: str, wire: OpcUaWire, place: str) -> None:
    node = template.replace(ROOT, wire.root)
    if NODE_ID.fullmatch(node) is None:
        raise InvalidInputError(place, f"{shown(node)} is no OPC UA node id, such as ns=2;s=Chiller1.Setpoint")


def unreadable_register(name: str, place: str = "unreadable") -> tuple[Table, int]:
    """Return table and register of `"<table>:<register>"`. Raises InvalidInputError."""
    table, _, number = name.partition(":")
    if table in ("coil", "discrete", "input", "holding") and number.isascii() and number.isdigit():
        register = int(number[:6])
        if register <= REGISTER_MAX:
            return table, register  # type: ignore[return-value]  # just compared with the four
    raise InvalidInputError(place, f"{name!r} is not <table>:<register>")


def _claims(point: Point, wire: Wire) -> list[Hashable]:
    """What no two points may share: the attribute, the writable register, the node."""
    claims: list[Hashable] = [(point.capability.value, point.attribute)]
    if point.node is not None and isinstance(wire, OpcUaWire):
        claims.append(point.node.replace(ROOT, wire.root))
    if point.write is not None and point.register is not None:
        first = point.bit or 0
        some = range(first, first + (point.bits or 1)) if point.bit is not None else range(16)
        claims += [(point.table, point.register + word, bit) for word in range(point.words) for bit in some]
    return claims


def _check_point(point: Point, wire: Wire, place: str) -> None:
    row = attribute(point.capability, point.attribute, place)
    if point.unit is not row.unit:
        raise InvalidInputError(f"{place}.unit", f"{point.unit!s} given, the device model has {row.unit!s}")
    if point.scale == 0:
        raise InvalidInputError(f"{place}.scale", "0 leaves nothing of the value")
    given = (point.register is not None, point.path is not None, point.node is not None, point.topic is not None)
    match wire:
        case ModbusWire():
            wanted, types = (True, False, False, False), frozenset(WORDS)
        case Zigbee2MqttWire() | BleAdvertWire() | PeripheralWire():
            wanted, types = (False, True, False, False), JSON_TYPES
        case MqttWire() | AnnouncedWire():
            wanted, types = (False, point.path is not None, False, True), JSON_TYPES
        case OpcUaWire():
            wanted, types = (False, False, True, False), frozenset(NodeType.__args__)  # type: ignore[attr-defined]  # what a Literal holds
    if given != wanted:
        raise InvalidInputError(place, "needs exactly one of register, path, node and topic: that of its wire")
    if point.type not in types:
        raise InvalidInputError(f"{place}.type", f"{point.type!r} is none of {', '.join(sorted(types))}")
    if point.path is not None and not all(point.path.split(".")):
        raise InvalidInputError(f"{place}.path", f"{point.path!r} has an empty step")
    if isinstance(wire, PeripheralWire) and point.path not in FIELDS[wire.dialect]:
        known = ", ".join(sorted(FIELDS[wire.dialect]))
        raise InvalidInputError(f"{place}.path", f"{shown(point.path)} is none of {wire.dialect}'s: {known}")
    if isinstance(wire, ModbusWire):
        _check_registers(point, wire, place)
    if isinstance(wire, OpcUaWire):
        _check_node(point.node or "", wire, f"{place}.node")
    if not isinstance(wire, ModbusWire) and (point.bits or point.write_only or point.byte_order != "big"):
        raise InvalidInputError(place, "bits, byte_order and write_only are of registers")
    if point.exponent is not None and not isinstance(wire, ModbusWire):
        raise InvalidInputError(f"{place}.exponent", f"{point.exponent}: only registers have one")
    if point.topic is not None:
        _check_topic(point.topic, f"{place}.topic")
    if point.write is not None:
        _check_way_to_write(point.write, wire, place)
    _check_values(point, row, place)
    if point.write is not None:
        _check_write(point, row, point.write, place)


def _check_wire(wire: Wire, place: str) -> None:
    if isinstance(wire, AnnouncedWire):
        raise InvalidInputError(f"{place}: wire.kind", "announced: such a device describes itself, no file does")
    if isinstance(wire, MqttWire):
        if wire.availability is not None:
            _check_topic(wire.availability.topic, f"{place}: wire.availability.topic")
            if wire.availability.online == wire.availability.offline:
                raise InvalidInputError(f"{place}: wire.availability", "online and offline are the same word")
        for index, each in enumerate(wire.ask):
            _check_topic(each.topic, f"{place}: wire.ask[{index}].topic")


def _check_topic(topic: str, place: str) -> None:
    if topic.count(NAME) != 1 or any(each in topic for each in "+#\x00") or len(topic) > TOPIC_CHARACTERS_MAX:
        raise InvalidInputError(place, f"{shown(topic)} is no topic with one {NAME} in it")


def _check_way_to_write(rule: WriteRule, wire: Wire, place: str) -> None:
    if rule.key is not None and not isinstance(wire, Zigbee2MqttWire):
        raise InvalidInputError(f"{place}.write.key", f"{shown(rule.key)}: only a Zigbee2MQTT payload has keys")
    if rule.key is not None and not all(rule.key.split(".")):
        raise InvalidInputError(f"{place}.write.key", f"{shown(rule.key)} has an empty step")
    if isinstance(wire, MqttWire) != (rule.topic is not None):
        raise InvalidInputError(f"{place}.write.topic", "goes with plain MQTT, where every command needs one")
    if rule.payload is not None and rule.topic is None:
        raise InvalidInputError(f"{place}.write.payload", f"{shown(rule.payload)}: only plain MQTT has one")
    if rule.topic is not None:
        _check_topic(rule.topic, f"{place}.write.topic")
    if rule.payload is not None and "$json" not in rule.payload and "$text" not in rule.payload:
        raise InvalidInputError(
            f"{place}.write.payload", f"{shown(rule.payload)} says nothing of the value: $json, $text"
        )
    if isinstance(wire, BleAdvertWire):
        raise InvalidInputError(f"{place}.write", "an advert cannot be written to")
    if isinstance(wire, PeripheralWire):
        raise InvalidInputError(f"{place}.write", "a kiosk peripheral is only asked how it stands")


def _check_registers(point: Point, wire: ModbusWire, place: str) -> None:
    if point.table is None or point.register is None:
        raise InvalidInputError(f"{place}.table", "missing: coil, discrete, input or holding")
    bits = point.table in ("coil", "discrete")
    if bits and point.type != "bool":
        raise InvalidInputError(f"{place}.type", f"{point.type!r} in a table of bits: only bool fits")
    if not bits and (point.type == "bool") != (point.bit is not None and point.bits is None):
        raise InvalidInputError(
            f"{place}.bit", "a bool in a register needs its bit, a number of some bits bit and bits"
        )
    if point.bits is not None and (point.type != "uint16" or point.bit is None or point.bit + point.bits > 16):
        raise InvalidInputError(f"{place}.bits", f"{point.bits} from bit {point.bit}: of a uint16, and within it")
    if point.byte_order == "little" and (bits or point.type == "bool"):
        raise InvalidInputError(f"{place}.byte_order", "a bit has none: count its bit from the low byte as it is read")
    if point.write_only and (point.write is None or point.exponent is not None):
        raise InvalidInputError(f"{place}.write_only", "needs a write rule: nothing else is done with it")
    if bits and point.bit is not None:
        raise InvalidInputError(f"{place}.bit", f"{point.bit} in a table of bits")
    if point.register + point.words - 1 > REGISTER_MAX:
        raise InvalidInputError(f"{place}.register", f"{point.register} with {point.words} words ends after 65535")
    if point.words > wire.block_most:
        raise InvalidInputError(f"{place}.type", f"{point.type!r} is wider than wire.block_most {wire.block_most}")
    if point.exponent is not None:
        _check_exponent(point, wire, place)
    if point.write is not None and point.table in ("discrete", "input"):
        raise InvalidInputError(f"{place}.write", f"{point.table} register {point.register} cannot be written so")
    if point.write_only and point.bit is not None:
        raise InvalidInputError(f"{place}.write_only", "a bit is written by reading its register first")


def _check_exponent(point: Point, wire: ModbusWire, place: str) -> None:
    first, end = point.span
    if end - first > wire.block_most:
        raise InvalidInputError(
            f"{place}.exponent",
            f"{point.exponent} is read with the value: {end - first} registers, at most {wire.block_most}",
        )
    if point.type in ("bool", "float32", "float64") or point.values:
        raise InvalidInputError(f"{place}.exponent", f"{point.exponent}: only a whole number has one")
    if point.write is not None:
        raise InvalidInputError(f"{place}.write", "a value whose scale the device tells cannot be written")


def _check_values(point: Point, row: Attribute, place: str) -> None:
    if row.kind is Kind.CHOICE and not point.values:
        raise InvalidInputError(f"{place}.values", "missing: a choice needs its pairs of raw and value")
    if row.kind is Kind.BOOL and not point.values and point.type not in ("bool", "Boolean"):
        raise InvalidInputError(f"{place}.values", f"missing: {point.type!r} is no bool by itself")
    if row.kind in (Kind.NUMBER, Kind.INTEGER) and not point.values and RAW_KINDS[point.type] not in NUMBERS:
        raise InvalidInputError(f"{place}.type", f"{point.type!r} holds no number, and {point.attribute} is one")
    if point.type == "numeral" and point.values:
        raise InvalidInputError(f"{place}.values", "a numeral is a number: of codes in a text the type is text")
    seen: set[tuple[type, Raw]] = set()
    for index, (raw, value) in enumerate(point.values):
        if (problem := problem_with(row, value)) is not None:
            raise InvalidInputError(f"{place}.values[{index}]", problem)
        if (type(raw), raw) in seen:
            raise InvalidInputError(f"{place}.values[{index}]", f"raw {raw!r} is given twice")
        seen.add((type(raw), raw))
        low, high = (0, (1 << point.bits) - 1) if point.bits else RAW_RANGE.get(point.type, (None, None))
        fits = type(raw) in RAW_KINDS[point.type]
        if not fits or (low is not None and high is not None and not (isinstance(raw, int) and low <= raw <= high)):
            raise InvalidInputError(f"{place}.values[{index}]", f"raw {shown(raw)} does not fit {point.type}")
    for name, bound in (("least", point.least), ("most", point.most)):
        if bound is not None and row.least is not None and row.most is not None and not row.least <= bound <= row.most:
            raise InvalidInputError(
                f"{place}.{name}", f"{bound:g} is outside {row.least:g}..{row.most:g}, the plausible range"
            )
    least, most = point.range
    if least is not None and most is not None and least >= most:
        raise InvalidInputError(f"{place}.least", f"{least:g} is not under {most:g}")


def _check_write(point: Point, row: Attribute, rule: WriteRule, place: str) -> None:
    if not row.writable:
        raise InvalidInputError(f"{place}.write", f"{row.capability}.{row.name} is not a thing to be written")
    if row.kind in (Kind.NUMBER, Kind.INTEGER):
        if rule.least is None or rule.most is None:
            raise InvalidInputError(f"{place}.write", "a number needs least and most")
        if rule.least >= rule.most:
            raise InvalidInputError(f"{place}.write.least", f"{rule.least:g} is not under {rule.most:g}")
        least, most = point.range
        if (least is not None and rule.least < least) or (most is not None and rule.most > most):
            raise InvalidInputError(f"{place}.write", f"{rule.least:g}..{rule.most:g} leaves the plausible range")
        if point.values:
            raise InvalidInputError(f"{place}.write", "a number that is read by its codes cannot be written")
        low, high = (0, (1 << point.bits) - 1) if point.bits else RAW_BOUNDS[point.type]
        for name, bound in (("least", rule.least), ("most", rule.most)):
            raw = (Decimal(repr(bound)) - Decimal(repr(point.offset))) / Decimal(repr(point.scale))
            if not low <= raw <= high:
                raise InvalidInputError(f"{place}.write.{name}", f"{bound:g} is raw {raw:g}: does not fit {point.type}")
            apart = resolution(point.type, bound, scale=point.scale, step=rule.step, unit=point.unit)
            told = apart <= rule.most - rule.least and is_told_apart(point.type, bound, raw, point.scale, apart)
            if not told and (point.scale != 1.0 or point.offset != 0.0):
                raise InvalidInputError(f"{place}.write.{name}", f"{bound:g} is raw {raw:g}: too coarse for {apart:g}")
        whole = point.type in RAW_RANGE or point.type == "integer"
        if whole and rule.step is not None and Decimal(repr(rule.step)) % abs(Decimal(repr(point.scale))) != 0:
            raise InvalidInputError(f"{place}.write.step", f"{rule.step:g} is no multiple of the scale {point.scale:g}")
    elif rule.least is not None or rule.most is not None or rule.step is not None:
        raise InvalidInputError(f"{place}.write", f"a {row.kind} has no least, most or step")
