"""Turns plain JSON messages into the bytes of records, many at a time: what is true, what is bad, what is refused.

Pure: messages and the time in, encoded records and refusals out. Source of truth for the bytes: protocols/link/SPEC.md
section 3; a record is put together from parts that are encoded once a point, because there are 30,000 a second
(tests hold it against `encode_record`). A device's nonsense costs that device's reading and nothing else: it becomes a
`bad` reading where the key is known, a refusal with a name where it is not, and never a fact.
"""

import json
import struct
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

import cbor2
import msgspec

from edge.bridges.mqtt.json_rules import Mapped, NoNameError, Rule, match
from kit.mqtt_wire import packets
from kit.mqtt_wire.parser import Publish
from protocols import cbor
from protocols.descriptors.codec import Reason
from protocols.device_model.capability import Kind, Unit, Value, problem_with
from protocols.device_model.identity import DeviceId, RoomId
from protocols.device_model.reading import REASON_CHARACTERS_MAX, Quality, Reading
from protocols.documents import members_most, shown
from protocols.link.record import ClockQuality

KEYS_MAX: Final = 64
"""Values in one message, and points of one device."""
POINTS_MAX_FACTOR: Final = 8
"""Points in all, for each device allowed."""
DEPTH_MAX: Final = 3
KEY_CHARACTERS_MAX: Final = 64
TEXT_CHARACTERS_MAX: Final = 200
TIME_LEAST_MS: Final = 946_684_800_000
"""2000-01-01: a device that says less has no clock."""
TIME_AHEAD_MS: Final = 300_000
"""A device's time further ahead of ours is none, unless ours is not believed itself."""
TIME_MOST_MS: Final = 253_402_300_799_999
"""SPEC.md 3: what a record can hold."""
TOPICS_MAX_FACTOR: Final = 4
"""Topics remembered, for each device allowed."""
NUMBERS_MAX: Final = 4_096
"""Numbers whose bytes are remembered."""
GENERIC: Final = "generic"
RECORD_KIND: Final = "reading"
EVIDENCE_CHARACTERS_MAX: Final = 120

_HEAD: Final = b"\x86" + cbor.encode(RECORD_KIND)
_NULL: Final = b"\xf6"
_INTEGER_LEAST: Final = -(2**63)
_INTEGER_MOST: Final = 2**63 - 1
_LONG: Final = struct.Struct(">BQ")
_INT: Final = struct.Struct(">BI")
_TWO_BYTES, _FOUR_BYTES = 1 << 16, 1 << 32
_CLOCK_STAMPS: Final = {
    quality: cbor.encode(code)
    for code, quality in enumerate((ClockQuality.SYNCHRONISED, ClockQuality.DRIFTING, ClockQuality.UNCERTAIN))
}


class Refusal(StrEnum):
    """Why a message, or one key of it, became nothing."""

    OVERSIZED = "oversized"
    NOT_JSON = "not_json"
    DUPLICATE_KEY = "duplicate_key"
    TOO_MANY_KEYS = "too_many_keys"
    TOO_DEEP = "too_deep"
    NO_VALUES = "no_values"
    KEY_NAME = "key_name"
    WRONG_TYPE = "wrong_type"
    OUT_OF_RANGE = "out_of_range"
    NO_NAME = "no_name"
    NAME_CLASH = "name_clash"
    TOPIC = "topic"
    TOO_MANY_DEVICES = "too_many_devices"
    TOO_MANY_TOPICS = "too_many_topics"


@dataclass(frozen=True, slots=True)
class Refused:
    """One refusal. `who`: the device, or the topic where no device could be told from it."""

    who: str
    reason: Refusal
    evidence: str


@dataclass(slots=True)
class Taken:
    """What a batch of messages came to. `events` go to lane B, `telemetry` to lane C, both in order of arrival."""

    events: list[bytes] = field(default_factory=list)
    telemetry: list[bytes] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    told: list[Reading] = field(default_factory=list)
    """Readings of devices that somebody wants to hear of (`JsonReadings.wanted`)."""
    repeated: int = 0
    """Messages that came again, or were kept by the broker, and are in the log already."""

    def add(self, other: "Taken") -> None:
        """Take what another came to, behind one's own."""
        self.events += other.events
        self.telemetry += other.telemetry
        self.refused += other.refused
        self.told += other.told
        self.repeated += other.repeated


@dataclass(frozen=True, slots=True)
class _Now:
    stamp: bytes
    """The encoded times and clock quality of every record of this batch."""
    wall_ms: int
    ahead_ms: int
    """No device's time is later than this."""


class Point:
    """One value of one device, and the parts of its records that never change."""

    __slots__ = (
        "at_ms", "bad", "event", "least", "mapped", "most", "name", "owner", "plain", "prefix", "quality", "suffix",
        "unit", "value",
    )  # fmt: skip

    def __init__(self, owner: "Source", name: str, mapped: Mapped | None) -> None:
        self.owner, self.name, self.mapped = owner, name, mapped
        unit: Unit | None = None if mapped is None else mapped.row.unit
        self.unit = None if unit is None else unit.value
        self.event = mapped is not None and mapped.row.event
        # The quick way is for numbers that are what they are and only have to lie between two others.
        row = None if mapped is None or mapped.scale != 1 or mapped.offset else mapped.row
        self.plain = row is not None and row.kind is Kind.NUMBER and row.least is not None and row.most is not None
        self.least, self.most = (row.least or 0.0, row.most or 0.0) if row is not None else (0.0, 0.0)
        self.prefix, self.suffix = self.around(Quality.GOOD, None)
        self.value: Value | None = None
        self.quality = Quality.GOOD
        self.at_ms = 0
        self.bad: str | None = None

    @property
    def capability(self) -> str:
        """What it is of: a capability's name, or `generic`."""
        return GENERIC if self.mapped is None else self.mapped.row.capability.value

    def around(self, quality: Quality, reason: str | None) -> tuple[bytes, bytes]:
        """Return a body's bytes before and after its value, in the one order of CBOR keys."""
        owner = self.owner
        before: list[tuple[str, object]] = [("room", owner.room), ("unit", self.unit)]
        after: list[tuple[str, object]] = [("device", str(owner.device))]
        if reason is not None:
            after.append(("reason", reason))
        after += [("quality", quality.value), ("attribute", self.name), ("capability", self.capability)]
        size = len(before) + 1 + len(after)
        encode = cbor.encode
        prefix = bytes((0xA0 | size,)) + b"".join(encode(key) + encode(value) for key, value in before)
        return prefix + encode("value"), b"".join(encode(key) + encode(value) for key, value in after)


class Source:
    """One topic's device, with its points by key."""

    __slots__ = ("device", "generic", "heard_ms", "points", "room", "rule", "scalar", "time_key", "time_ms", "wanted")

    def __init__(self, device: DeviceId, room: RoomId | None, rule: Rule, scalar: str | None, *, wanted: bool) -> None:
        self.device, self.room, self.rule, self.scalar = device, room, rule, scalar
        self.points: dict[str, Point | None] = {}
        self.time_key, self.time_ms, self.generic, self.wanted = rule.time_key, rule.time_ms, rule.generic, wanted
        self.heard_ms = 0

    def move(self, room: RoomId | None, *, wanted: bool) -> None:
        """Be in another room from the next record on; what was heard last stays."""
        self.room, self.wanted = room, wanted
        for point in self.points.values():
            if point is not None:
                point.prefix, point.suffix = point.around(Quality.GOOD, None)


class JsonReadings:
    """Every source heard so far, and what became of its messages.

    Args:
        rules: first match wins.
        rooms: the room of each device that the site plan knows; it wins over a rule's.
        wanted: devices whose readings are also told as `Reading`s.
        devices_max: further ones are refused by name.
    """

    def __init__(
        self,
        rules: Sequence[Rule],
        *,
        rooms: Mapping[DeviceId, RoomId] | None = None,
        wanted: Collection[DeviceId] = (),
        devices_max: int = 10_000,
    ) -> None:
        self._rules, self._rooms, self._wanted, self._devices_max = rules, dict(rooms or {}), wanted, devices_max
        self._sources: dict[bytes, Source | Refused] = {}
        self._names: dict[DeviceId, str] = {}
        self._points = 0
        self._encoded: dict[float, bytes] = {}  # sensors say few numbers, often; not 0, of which there are two
        self._decode = msgspec.json.Decoder().decode

    @property
    def sources(self) -> list[Source]:
        """Every topic that is some device's."""
        return [each for each in self._sources.values() if isinstance(each, Source)]

    def serve(self, rooms: Mapping[DeviceId, RoomId], wanted: Collection[DeviceId]) -> None:
        """Take which devices the plan knows from now on, and of which somebody wants to hear."""
        self._rooms, self._wanted = dict(rooms), wanted
        for topic, source in self._sources.items():
            if isinstance(source, Source):
                matched = match(self._rules, topic.decode(errors="replace"))
                room = rooms.get(source.device, None if matched is None else matched.room)
                if (room, source.device in wanted) != (source.room, source.wanted):
                    source.move(room, wanted=source.device in wanted)

    def heard_on(self, topic: bytes) -> dict[tuple[str, str], Value]:
        """Return what a topic last said since the start: (capability, attribute) to value."""
        source = self._sources.get(topic)
        if not isinstance(source, Source):
            return {}
        points = [each for each in source.points.values() if each is not None]
        return {(each.capability, each.name): each.value for each in points if each.value is not None}

    def take(
        self,
        messages: Sequence[Publish],
        *,
        wall_ms: int,
        mono_ms: int,
        clock: ClockQuality,
    ) -> Taken:
        """Read a batch of messages that never came before; what may have is `json_again`'s.

        Args:
            messages: as they came, in order.
            wall_ms: the edge's wall clock, Unix ms.
            mono_ms: its monotonic clock.
            clock: how far the wall clock is to be believed.
        """
        taken = Taken()
        now = _now(wall_ms, mono_ms, clock)
        sources = self._sources
        for message in messages:
            source = sources.get(message[0])
            if source is None:
                source = self._source(message[0])
            if isinstance(source, Refused):
                taken.refused.append(source)
            else:
                self._message(source, message, now, taken)
        return taken

    # ------------------------------------------------------------------ one message

    def _message(self, source: Source, message: Publish, now: "_Now", taken: Taken) -> None:
        payload, wall_ms = message[1], now.wall_ms
        try:
            if payload is None:
                raise _RefusedError(Refusal.OVERSIZED, "longer than payload_bytes_max")
            document = self._document(payload, source)
            time, doubt = _NULL, None
            if (time_key := source.time_key) is not None:
                told = document.get(time_key)
                if type(told) is int and source.time_ms == 1 and TIME_LEAST_MS <= told <= now.ahead_ms:
                    time = _LONG.pack(0x1B, told)
                else:
                    time, doubt = self._time(told, source, now.ahead_ms)
            if message[3] & packets.RETAIN and time is _NULL:
                doubt = Reason.RETAINED.value
        except _RefusedError as error:
            taken.refused.append(Refused(str(source.device), error.reason, error.evidence))
            return
        source.heard_ms = wall_ms
        head = _HEAD + time + now.stamp
        points, encoded_before = source.points, self._encoded
        for key, value in document.items():
            point = points.get(key)
            if point is None:
                if key in points or key == source.time_key:
                    continue
                point = self._point(source, key, value, taken)
                if point is None:
                    continue
            kind = type(value)
            if doubt is None and point.plain and (kind is float or kind is int) and point.least <= value <= point.most:
                encoded = encoded_before.get(value) if kind is float else None
                if encoded is None:
                    encoded = cbor2.dumps(value, canonical=True)
                    if kind is float and value:
                        if len(encoded_before) >= NUMBERS_MAX:
                            encoded_before.clear()
                        encoded_before[value] = encoded
                record = head + point.prefix + encoded + point.suffix
                point.value, point.quality, point.at_ms, point.bad = value, Quality.GOOD, wall_ms, None
            else:
                found = self._judged(point, value, doubt, now, taken)
                if found is None:
                    continue
                record = head + found[0] + found[1]
            if point.event:
                taken.events.append(record)
            else:
                taken.telemetry.append(record)
            if source.wanted and point.mapped is not None:
                taken.told.append(_reading(point, point.mapped, time))

    def _document(self, payload: bytes, source: Source) -> dict[str, Any]:
        try:
            document = self._decode(payload)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            detail = f"{type(error).__name__}: {error}"[:EVIDENCE_CHARACTERS_MAX]
            raise _RefusedError(Refusal.NOT_JSON, f"{detail}; {_shown(payload)}") from error
        if type(document) is dict and 0 < payload.count(b":") == len(document) <= KEYS_MAX and payload.count(b"{") == 1:
            return document  # a colon each: no key stands twice, nothing is nested
        if type(document) is not dict:
            if type(document) is list:
                raise _RefusedError(Refusal.WRONG_TYPE, f"a list; {_shown(payload)}")
            return {source.scalar or "value": document}
        if not document:
            raise _RefusedError(Refusal.NO_VALUES, "{}")
        if members_most(payload) != len(document):  # nested, or a key that stands twice
            _refuse_duplicates(payload)
        if len(document) > KEYS_MAX:
            raise _RefusedError(Refusal.TOO_MANY_KEYS, f"{len(document)} keys, at most {KEYS_MAX} are read")
        for value in document.values():
            if type(value) is dict:
                return _flat(document)
        return document

    @staticmethod
    def _time(told: object, source: Source, ahead_ms: int) -> tuple[bytes, str | None]:
        """Return the encoded device time and, where it is none, what is to be doubted for that."""
        if told is None:
            return _NULL, None
        # what is more may not even be calculated with
        if (type(told) is int or type(told) is float) and 0 < told <= TIME_MOST_MS:
            at_ms = round(told * source.rule.time_ms)
            if TIME_LEAST_MS <= at_ms <= ahead_ms:
                return _LONG.pack(0x1B, at_ms), None
        return _NULL, f"device_time: {_shown(told)}"[:REASON_CHARACTERS_MAX]

    @staticmethod
    def _judged(
        point: Point, value: object, doubt: str | None, now: "_Now", taken: Taken
    ) -> tuple[bytes, bytes] | None:
        """Judge a value the slow way.

        Returns its body's bytes up to and from the end of the value's, None where it is refused or told as bad already.
        """
        wall_ms = now.wall_ms
        judged = _value_of(point, value)
        if isinstance(judged, _RefusedError):
            refused = Refused(str(point.owner.device), judged.reason, f"{point.name}: {judged.evidence}")
            taken.refused.append(refused)
            if point.mapped is None or point.bad == judged.reason.value:
                return None
            point.bad, point.value, point.quality, point.at_ms = judged.reason.value, None, Quality.BAD, wall_ms
            reason = f"{judged.reason.value}: {judged.evidence}"[:REASON_CHARACTERS_MAX]
            prefix, suffix = point.around(Quality.BAD, reason)
            return prefix + _NULL, suffix
        quality = Quality.GOOD if doubt is None else Quality.UNCERTAIN
        point.value, point.quality, point.at_ms, point.bad = judged, quality, wall_ms, None
        prefix, suffix = (point.prefix, point.suffix) if doubt is None else point.around(quality, doubt)
        return prefix + cbor2.dumps(judged, canonical=True), suffix

    # ------------------------------------------------------------------ what is met for the first time

    def _source(self, topic: bytes) -> "Source | Refused":
        found = self._new_source(topic)
        if isinstance(found, Source) or len(self._sources) < TOPICS_MAX_FACTOR * self._devices_max:
            self._sources[topic] = found
        return found

    def _new_source(self, topic: bytes) -> "Source | Refused":
        name = topic[:EVIDENCE_CHARACTERS_MAX].decode(errors="replace")
        if len(self._sources) >= TOPICS_MAX_FACTOR * self._devices_max:
            return Refused("*", Refusal.TOO_MANY_TOPICS, name)
        try:
            matched = match(self._rules, topic.decode())
        except UnicodeDecodeError:
            return Refused(name, Refusal.TOPIC, "not UTF-8")
        except NoNameError as error:
            return Refused(name, Refusal.NO_NAME, str(error))
        if matched is None:
            return Refused(name, Refusal.TOPIC, "fits no rule")
        device = matched.device
        known_as = self._names.get(device)
        if known_as is None:
            if len(self._names) >= self._devices_max:
                return Refused("*", Refusal.TOO_MANY_DEVICES, f"{name}; {self._devices_max} are known")
            self._names[device] = matched.raw
        elif known_as != matched.raw:
            return Refused(name, Refusal.NAME_CLASH, f"{device} is {known_as!r} already")
        room = self._rooms.get(device, matched.room)
        return Source(device, room, matched.rule, matched.attribute, wanted=device in self._wanted)

    def _point(self, source: Source, key: str, value: object, taken: Taken) -> Point | None:
        """Make the point of a key; None: it is to be ignored, or refused."""
        device = str(source.device)
        mapped = source.rule.keys.get(key)
        if mapped is None and not source.generic:
            if len(source.points) < KEYS_MAX:
                source.points[key] = None
            return None
        if mapped is None and (not 1 <= len(key) <= KEY_CHARACTERS_MAX or not key.isprintable()):
            taken.refused.append(Refused(device, Refusal.KEY_NAME, _shown(key)))
            return None
        if len(source.points) >= KEYS_MAX or self._points >= POINTS_MAX_FACTOR * self._devices_max:
            taken.refused.append(
                Refused(device, Refusal.TOO_MANY_KEYS, f"{_shown(key)} after {len(source.points)} others")
            )
            return None
        if mapped is None and isinstance(judged := _generic(value), _RefusedError):
            taken.refused.append(Refused(device, judged.reason, f"{_shown(key)}: {judged.evidence}"))
            return None  # a key that never held a value yet is no point
        point = Point(source, key if mapped is None else mapped.name, mapped)
        source.points[key] = point
        self._points += 1
        return point


def _now(wall_ms: int, mono_ms: int, clock: ClockQuality) -> _Now:
    stamp = _whole(wall_ms) + _whole(mono_ms) + _CLOCK_STAMPS[clock]
    ahead_ms = TIME_MOST_MS if clock is ClockQuality.UNCERTAIN else wall_ms + TIME_AHEAD_MS
    return _Now(stamp, wall_ms, ahead_ms)


def _whole(number: int) -> bytes:
    """Return what `cbor.encode` returns, sooner for numbers as large as times are."""
    if number >= _TWO_BYTES:
        return _INT.pack(0x1A, number) if number < _FOUR_BYTES else _LONG.pack(0x1B, number)
    return cbor.encode(number)


class _RefusedError(Exception):
    """Why, and what was seen."""

    def __init__(self, reason: Refusal, evidence: str) -> None:
        super().__init__(reason, evidence)
        self.reason, self.evidence = reason, evidence


def _value_of(point: Point, value: object) -> "Value | _RefusedError":
    mapped = point.mapped
    if mapped is None:
        return _generic(value)
    if value is None:
        return _RefusedError(Refusal.WRONG_TYPE, "null")
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if number and (mapped.scale != 1 or mapped.offset):
        try:
            value = value * mapped.scale + mapped.offset  # type: ignore[operator]  # just asked
            if mapped.row.kind is Kind.INTEGER and value == round(value):
                value = round(value)
        except OverflowError as error:
            return _RefusedError(Refusal.OUT_OF_RANGE, f"{error}: {shown(value)}"[:EVIDENCE_CHARACTERS_MAX])
    elif isinstance(value, str) and mapped.row.kind is Kind.CHOICE:
        value = value.lower()
    if (problem := problem_with(mapped.row, value)) is not None:
        return _RefusedError(Refusal.OUT_OF_RANGE if number else Refusal.WRONG_TYPE, problem[:EVIDENCE_CHARACTERS_MAX])
    return value  # type: ignore[return-value]  # problem_with has looked


def _generic(value: object) -> "Value | _RefusedError":
    kind = type(value)
    if kind is bool:
        return value  # type: ignore[return-value]  # its `kind` was just asked
    if kind is int:
        if _INTEGER_LEAST <= value <= _INTEGER_MOST:  # type: ignore[operator]  # its `kind` was just asked
            return value  # type: ignore[return-value]  # its `kind` was just asked
        return _RefusedError(Refusal.OUT_OF_RANGE, f"{_shown(value)} does not fit 64 bits")
    if kind is float:
        if value - value == 0.0:  # type: ignore[operator]  # its `kind` was just asked
            return value  # type: ignore[return-value]  # its `kind` was just asked
        return _RefusedError(Refusal.OUT_OF_RANGE, f"{value} is not finite")
    if kind is str:
        if len(value) <= TEXT_CHARACTERS_MAX and "\x00" not in value and _encodes(value):  # type: ignore[arg-type,operator]  # its `kind` was just asked
            return value  # type: ignore[return-value]  # its `kind` was just asked
        return _RefusedError(Refusal.WRONG_TYPE, f"text of {len(value)} characters, or none")  # type: ignore[arg-type]  # its `kind` was just asked
    return _RefusedError(Refusal.WRONG_TYPE, f"{_shown(value)} is no single value")


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _flat(document: dict[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    stack = [(key, value, 1) for key, value in reversed(document.items())]
    while stack:
        key, value, depth = stack.pop()
        if type(value) is not dict:
            if key in flat:
                raise _RefusedError(Refusal.DUPLICATE_KEY, f"{_shown(key)}, nested and not")
            flat[key] = value
            if len(flat) > KEYS_MAX:
                raise _RefusedError(Refusal.TOO_MANY_KEYS, f"more than {KEYS_MAX} are not read")
        elif depth >= DEPTH_MAX:
            raise _RefusedError(Refusal.TOO_DEEP, f"{_shown(key)} at depth {depth}")
        else:
            stack += [(f"{key}.{inner}", each, depth + 1) for inner, each in reversed(value.items())]
    if not flat:
        raise _RefusedError(Refusal.NO_VALUES, "objects without values")
    return flat


def _refuse_duplicates(payload: bytes) -> None:
    def pairs(found: list[tuple[str, Any]]) -> None:
        names = [name for name, _ in found]
        if len(names) != len(set(names)):
            twice = next(name for name in names if names.count(name) > 1)
            raise _RefusedError(Refusal.DUPLICATE_KEY, _shown(twice))

    try:
        json.loads(payload, object_pairs_hook=pairs)
    except (ValueError, RecursionError) as error:  # msgspec took it: beyond what is worth reading twice
        raise _RefusedError(Refusal.NOT_JSON, f"{error}"[:EVIDENCE_CHARACTERS_MAX]) from error


def _reading(point: Point, mapped: Mapped, time: bytes) -> Reading:
    at_ms = None if time is _NULL else int.from_bytes(time[1:], "big")
    row = mapped.row
    return Reading(
        point.owner.device, row.capability, point.name, point.value, row.unit, point.quality, at_ms, point.bad
    )


def _shown(value: object) -> str:
    text = value[:EVIDENCE_CHARACTERS_MAX].decode(errors="replace") if isinstance(value, bytes) else f"{value!r:.60}"
    return text.replace("\x00", "\\0")[:EVIDENCE_CHARACTERS_MAX]
