"""The record of a reading, put together from parts that are encoded once a point.

Pure. Source of truth for the bytes: protocols/link/SPEC.md section 3; they are those of `encode_record`, which makes
whatever is not an ordinary good value (tests hold one against the other).
"""

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import cbor2
import msgspec

from edge.log.record_log import Appendable
from protocols import cbor
from protocols.device_model.capability import Capability, Unit
from protocols.device_model.identity import DeviceId, RoomId
from protocols.device_model.reading import Quality, Reading
from protocols.errors import LocalProtocolError
from protocols.link.record import RECORD_BYTES_MAX, TIME_MS_MAX, ClockQuality, encode_record

KIND: Final = "reading"
POINTS_MAX: Final = 50_000
"""Points whose parts are remembered."""
NUMBERS_MAX: Final = 4_096
"""Numbers whose bytes are remembered, and as many whole ones: thermometers say the same few hundred."""
TEXTS_MAX: Final = 8_192
"""Names whose bytes are remembered."""

_HEAD: Final = b"\x86" + cbor.encode(KIND)
_NULL: Final = b"\xf6"
_AT_KEY: Final = cbor.encode("device_at_ms")
_ROOM_KEY, _UNIT_KEY, _VALUE_KEY = cbor.encode("room"), cbor.encode("unit"), cbor.encode("value")
_DEVICE_KEY, _ATTRIBUTE_KEY, _CAPABILITY_KEY = map(cbor.encode, ("device", "attribute", "capability"))
_GOOD_QUALITY: Final = Quality.GOOD
_GOOD: Final = cbor.encode("quality") + cbor.encode(Quality.GOOD.value)
_INTEGER_LEAST: Final = -(2**63)
_INTEGER_MOST: Final = 2**63 - 1
_LONG: Final = struct.Struct(">BQ")
_SINGLE, _DOUBLE = struct.Struct(">f"), struct.Struct(">Bd")
_LONG_LEAST: Final = 2**32
_CLOCKS: Final = {
    quality: cbor.encode(code)
    for code, quality in enumerate((ClockQuality.SYNCHRONISED, ClockQuality.DRIFTING, ClockQuality.UNCERTAIN))
}


@dataclass(frozen=True, slots=True)
class _Parts:
    room: RoomId
    unit: Unit | None
    untimed: bytes
    """A body's bytes up to its value, without a time of the device."""
    timed: bytes
    after: bytes


class ReadingRecords:
    """Remembers the parts of every point heard so far."""

    def __init__(self) -> None:
        self._points: dict[tuple[DeviceId, Capability, str], _Parts] = {}
        self._numbers: dict[float, bytes] = {}
        self._integers: dict[int, bytes] = {}
        self._stamped_at: tuple[int, int, ClockQuality] | None = None
        self._stamped = b""

    def encode(self, room: RoomId, reading: Reading, *, edge_at_ms: int, mono_ms: int, clock: ClockQuality) -> bytes:
        """Return what `encode_record` returns. Raises LocalProtocolError: it is no record."""
        value, at_ms = reading.value, reading.device_at_ms
        encoded = self._value(value)
        plain = encoded is not None and reading.quality is Quality.GOOD and reading.reason is None
        if not plain or not (at_ms is None or (type(at_ms) is int and 0 <= at_ms <= TIME_MS_MAX)):
            return _whole(room, reading, edge_at_ms, mono_ms, clock)
        key = (reading.device, reading.capability, reading.attribute)
        parts = self._points.get(key)
        if parts is None or parts.unit is not reading.unit or parts.room != room:
            parts = self._made(key, room, reading)
        if parts is None:
            return _whole(room, reading, edge_at_ms, mono_ms, clock)
        if (stamped := self._stamp(edge_at_ms, mono_ms, clock)) is None:
            return _whole(room, reading, edge_at_ms, mono_ms, clock)
        assert encoded is not None  # noqa: S101 - it is plain
        if at_ms is None:
            record = _HEAD + _NULL + stamped + parts.untimed + encoded + parts.after
        else:
            at = _LONG.pack(0x1B, at_ms) if at_ms >= _LONG_LEAST else cbor.encode(at_ms)
            record = _HEAD + at + stamped + parts.timed + encoded + parts.after + _AT_KEY + at
        return record if len(record) <= RECORD_BYTES_MAX else _whole(room, reading, edge_at_ms, mono_ms, clock)

    def encode_all(
        self, entries: Iterable[Appendable], *, edge_at_ms: int, mono_ms: int, clock: ClockQuality
    ) -> list[bytes]:
        """Return what each entry's `encoded` returns, in order. Raises LocalProtocolError: one of them is no record.

        A number that a device says with its own time, as most are, is put together here: the parts of its point are
        known, and so is the time where the one before it came with the same message.
        """
        records: list[bytes] = []
        append, points, known, of_float, of_integer = (
            records.append, self._points, self._numbers.get, self._float, self._integer,
        )  # fmt: skip
        stamped = self._stamp(edge_at_ms, mono_ms, clock)
        last_at_ms: int | None = None
        head = tail = b""
        for entry in entries:
            if type(entry) is ReadingEntry and stamped is not None:
                reading = entry.reading
                value, at_ms = reading.value, reading.device_at_ms
                kind = type(value)
                if kind is float:
                    number = known(value) or of_float(value)  # type: ignore[arg-type]  # its `kind` was just asked
                else:
                    number = of_integer(value) if kind is int else None  # type: ignore[arg-type]  # likewise
                if (
                    number is not None
                    and type(at_ms) is int
                    and reading.quality is _GOOD_QUALITY
                    and reading.reason is None
                    and (at_ms == last_at_ms or _LONG_LEAST <= at_ms <= TIME_MS_MAX)
                ):
                    key = (reading.device, reading.capability, reading.attribute)
                    parts = points.get(key)
                    if parts is None or parts.unit is not reading.unit or parts.room != entry.room:
                        parts = self._made(key, entry.room, reading)
                    if parts is not None:
                        if at_ms != last_at_ms:
                            at = _LONG.pack(0x1B, at_ms)
                            last_at_ms, head, tail = at_ms, _HEAD + at + stamped, _AT_KEY + at
                        record = b"".join((head, parts.timed, number, parts.after, tail))
                        if len(record) <= RECORD_BYTES_MAX:
                            append(record)
                            continue
            append(entry.encoded(edge_at_ms=edge_at_ms, mono_ms=mono_ms, clock=clock))
        return records

    def _stamp(self, edge_at_ms: int, mono_ms: int, clock: ClockQuality) -> bytes | None:
        """Return the bytes of when a record is made; None: it cannot be then."""
        if (edge_at_ms, mono_ms, clock) != self._stamped_at:
            if not (0 <= edge_at_ms <= TIME_MS_MAX and 0 <= mono_ms <= TIME_MS_MAX):
                return None
            self._stamped_at = (edge_at_ms, mono_ms, clock)
            self._stamped = cbor.encode(edge_at_ms) + cbor.encode(mono_ms) + _CLOCKS[clock]
        return self._stamped

    def _value(self, value: object) -> bytes | None:
        """Return an ordinary value's bytes; None: there is something to look at."""
        kind = type(value)
        if kind is float:
            return self._float(value)  # type: ignore[arg-type]  # its `kind` was just asked
        if kind is bool:
            return b"\xf5" if value else b"\xf4"
        return self._integer(value) if kind is int else None  # type: ignore[arg-type]  # likewise

    def _made(self, key: tuple[DeviceId, Capability, str], room: RoomId, reading: Reading) -> _Parts | None:
        """Make the parts of a point and remember them; None: no body may hold them."""
        if (made := _parts(room, reading)) is not None:
            if len(self._points) >= POINTS_MAX:
                self._points.clear()
            self._points[key] = made
        return made

    def _integer(self, value: int) -> bytes | None:
        known: bytes | None = self._integers.get(value)
        if known is None and _INTEGER_LEAST <= value <= _INTEGER_MOST:
            known = cbor2.dumps(value, canonical=True)
            if len(self._integers) >= NUMBERS_MAX:
                self._integers.clear()
            self._integers[value] = known
        return known

    def _float(self, value: float) -> bytes | None:
        known = self._numbers.get(value)
        if known is not None:
            return known
        if value - value != 0.0:
            return None
        try:
            short = _SINGLE.unpack(_SINGLE.pack(value))[0] == value
        except OverflowError:
            short = False
        made: bytes = cbor2.dumps(value, canonical=True) if short else _DOUBLE.pack(0xFB, value)  # as 21.37 is
        if len(self._numbers) >= NUMBERS_MAX:
            self._numbers.clear()
        if value:  # -0.0 is equal to 0.0, and other bytes: neither is remembered
            self._numbers[value] = made
        return made


class ReadingEntry(msgspec.Struct, frozen=True, gc=False):
    """`edge.log.record_log.Appendable` of a reading; what it holds is put together when it is appended."""

    room: RoomId
    reading: Reading
    records: ReadingRecords

    @property
    def kind(self) -> str:
        """See `Appendable`."""
        return KIND

    @property
    def body(self) -> Mapping[str, Any]:
        """See `Appendable`."""
        return _body(self.room, self.reading)

    def encoded(self, *, edge_at_ms: int, mono_ms: int, clock: ClockQuality) -> bytes:
        """See `Appendable`."""
        return self.records.encode(self.room, self.reading, edge_at_ms=edge_at_ms, mono_ms=mono_ms, clock=clock)


def _body(room: RoomId, reading: Reading) -> dict[str, Any]:
    return {"room": room, **reading.to_body()}


def _whole(room: RoomId, reading: Reading, edge_at_ms: int, mono_ms: int, clock: ClockQuality) -> bytes:
    return encode_record(
        KIND,
        _body(room, reading),
        device_at_ms=reading.device_at_ms,
        edge_at_ms=edge_at_ms,
        mono_ms=mono_ms,
        clock=clock,
    )


def _parts(room: RoomId, reading: Reading) -> _Parts | None:
    """Return a body's bytes before and after its value, in the order of CBOR keys; None: some of it is no record."""
    unit = reading.unit
    said_room, device, what = _text(room), _text(reading.device), _what(unit, reading.attribute, reading.capability)
    if said_room is None or device is None or what is None:
        return None
    said_unit, attribute_and_capability = what
    before = _ROOM_KEY + said_room + said_unit
    after = _DEVICE_KEY + device + attribute_and_capability
    return _Parts(room, unit, b"\xa7" + before, b"\xa8" + before, after)


@lru_cache(maxsize=TEXTS_MAX)
def _what(unit: Unit | None, attribute: str, capability: Capability) -> tuple[bytes, bytes] | None:
    """Return what the points of every device of a kind have alike before and after their value."""
    texts = (_NULL if unit is None else _text(unit), _text(attribute), _text(capability))
    if texts[0] is None or texts[1] is None or texts[2] is None:
        return None
    before = _UNIT_KEY + texts[0] + _VALUE_KEY
    return before, _GOOD + _ATTRIBUTE_KEY + texts[1] + _CAPABILITY_KEY + texts[2]


@lru_cache(maxsize=TEXTS_MAX)
def _text(text: str) -> bytes | None:
    """Return a text's bytes; None: no body may hold it."""
    if "\x00" in text:
        return None
    try:
        return cbor.encode(str(text))  # a word of an enumeration is told as the plain text that it is
    except LocalProtocolError:
        return None
