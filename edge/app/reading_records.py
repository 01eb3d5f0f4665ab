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
"""Numbers of few digits whose bytes are remembered."""
TEXTS_MAX: Final = 8_192
"""Names whose bytes are remembered."""

_HEAD: Final = b"\x86" + cbor.encode(KIND)
_NULL: Final = b"\xf6"
_AT_KEY: Final = cbor.encode("device_at_ms")
_ROOM_KEY, _UNIT_KEY, _VALUE_KEY = cbor.encode("room"), cbor.encode("unit"), cbor.encode("value")
_DEVICE_KEY, _ATTRIBUTE_KEY, _CAPABILITY_KEY = map(cbor.encode, ("device", "attribute", "capability"))
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
            if (made := _parts(room, reading)) is None:
                return _whole(room, reading, edge_at_ms, mono_ms, clock)
            if len(self._points) >= POINTS_MAX:
                self._points.clear()
            self._points[key] = parts = made
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
        append, points, of_number = records.append, self._points, self._float
        stamped = self._stamp(edge_at_ms, mono_ms, clock)
        last_at_ms: int | None = None
        head = tail = b""
        for entry in entries:
            if type(entry) is ReadingEntry and stamped is not None:
                reading = entry.reading
                value, at_ms = reading.value, reading.device_at_ms
                parts = points.get((reading.device, reading.capability, reading.attribute))
                if (
                    parts is not None
                    and type(value) is float
                    and type(at_ms) is int
                    and reading.quality is Quality.GOOD
                    and reading.reason is None
                    and parts.unit is reading.unit
                    and parts.room == entry.room
                    and (at_ms == last_at_ms or _LONG_LEAST <= at_ms <= TIME_MS_MAX)
                    and (number := of_number(value)) is not None
                ):
                    if at_ms != last_at_ms:
                        at = _LONG.pack(0x1B, at_ms)
                        last_at_ms, head, tail = at_ms, _HEAD + at + stamped, _AT_KEY + at
                    record = head + parts.timed + number + parts.after + tail
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
        known: bytes | None
        if kind is float:
            return self._float(value)  # type: ignore[arg-type]  # its `kind` was just asked
        if kind is bool:
            return b"\xf5" if value else b"\xf4"
        if kind is int and _INTEGER_LEAST <= value <= _INTEGER_MOST:  # type: ignore[operator]  # likewise
            known = cbor2.dumps(value, canonical=True)
            return known
        return None

    def _float(self, value: float) -> bytes | None:
        known: bytes | None = self._numbers.get(value)
        if known is not None:
            return known
        if value - value != 0.0:
            return None
        try:
            short = _SINGLE.unpack(_SINGLE.pack(value))[0] == value
        except OverflowError:
            short = False
        if not short:  # as 21.37 is, and most of what a sensor says: not worth remembering
            return _DOUBLE.pack(0xFB, value)
        known = cbor2.dumps(value, canonical=True)
        if len(self._numbers) >= NUMBERS_MAX:
            self._numbers.clear()
        if value and known is not None:  # -0.0 is equal to 0.0, and other bytes: neither is remembered
            self._numbers[value] = known
        return known


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
    texts = [
        _text(room),
        _NULL if unit is None else _text(unit),
        _text(reading.device),
        _text(reading.attribute),
        _text(reading.capability),
    ]
    if None in texts:
        return None
    said_room, said_unit, device, attribute, capability = (each or b"" for each in texts)
    before = _ROOM_KEY + said_room + _UNIT_KEY + said_unit + _VALUE_KEY
    after = _DEVICE_KEY + device + _GOOD + _ATTRIBUTE_KEY + attribute + _CAPABILITY_KEY + capability
    return _Parts(room, unit, b"\xa7" + before, b"\xa8" + before, after)


@lru_cache(maxsize=TEXTS_MAX)
def _text(text: str) -> bytes | None:
    """Return a text's bytes; None: no body may hold it."""
    if "\x00" in text:
        return None
    try:
        return cbor.encode(str(text))  # a word of an enumeration is told as the plain text that it is
    except LocalProtocolError:
        return None
