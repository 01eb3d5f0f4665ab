"""How long a batch's records are in their one encoding, without encoding them.

Why that is enough: an item has one shortest encoding, and the encodings of two heads never share bytes. So if data that
decodes to these records, with every map's keys in canonical order, is exactly as long as the sum of the shortest
encodings, it *is* that encoding. Source of the encoding: protocols/cbor.py (RFC 8949 4.2.3).
"""

import struct
from collections.abc import Sequence
from math import isnan
from typing import Final, cast

import cbor2

from cloud.telemetry.fan_in.ledger_rows import Fields

CACHED_MAX: Final = 20_000
"""Texts, floats and orders of keys whose size is remembered; then the memory starts anew."""
TEXT_CACHED_CHARACTERS_MAX: Final = 128
_READING_KEYS: Final = ("room", "unit", "value", "device", "quality", "attribute", "capability")


class EncodedSizes:
    """Computes sizes, remembering those of texts and floats it has met. One a thread."""

    def __init__(self) -> None:
        # sizes are at least 1: `or` below finds what is not there
        self._texts: dict[str, int] = {}
        self._floats: dict[float, int] = {}
        self._orders: dict[tuple[str, ...], int] = {}
        self._points: dict[tuple[str | None, ...], int] = {}

    def of_inside(self, records: Sequence[Fields]) -> int | None:
        """Return the length of the map {"r": records} in its one encoding.

        Returns:
            None if a body holds maps or lists, or its keys are not in canonical order: somebody else decides.

        Raises:
            ValueError: a value is not a number (NaN).
        """
        if len(self._texts) + len(self._floats) + len(self._orders) + len(self._points) > CACHED_MAX:
            for memory in (self._texts, self._floats, self._orders, self._points):
                memory.clear()
        total = 3 + _head(len(records)) + len(records)  # map, "r", array; each record is an array of six
        texts, floats, orders, points = self._texts, self._floats, self._orders, self._points
        for kind, device_at_ms, edge_at_ms, mono_ms, _clock, body in records:
            keys = tuple(body)
            if keys == _READING_KEYS:  # nearly all there are; of a point all but the value is the same every time
                room, unit, value, device, quality, attribute, capability = body.values()
                point = (kind, room, unit, device, quality, attribute, capability)
                static = points.get(point) or self._of_point(point)
                type_ = type(value)
                if static and (type_ is float or type_ is int):
                    total += static + _head(edge_at_ms) + _head(mono_ms) + 1
                    total += 1 if device_at_ms is None else _head(device_at_ms)
                    if type_ is float:
                        total += floats.get(value) or self._of_float(value)
                    else:
                        total += _head(value if value >= 0 else -1 - value)
                    continue
            size = orders.get(keys)
            if size is None:
                size = self._of_keys(keys)
                if size is None:
                    return None
            size += 1 if device_at_ms is None else _head(device_at_ms)
            size += _head(edge_at_ms) + _head(mono_ms) + 1  # a clock's quality is below 24
            for value in (kind, *body.values()):
                type_ = type(value)
                if type_ is str:
                    size += texts.get(value) or self._of_text(value)
                elif type_ is float:
                    size += floats.get(value) or self._of_float(value)
                elif type_ is int:
                    size += _head(value if value >= 0 else -1 - value)
                elif value is None or type_ is bool:
                    size += 1
                else:
                    return None
            total += size
        return total

    def _of_point(self, point: tuple[object, ...]) -> int:
        """Return what a reading of this point takes but for times and value; 0: of something else than texts."""
        if not all(type(each) is str or each is None for each in point):
            return 0
        texts = cast("tuple[str | None, ...]", point)
        order = self._orders.get(_READING_KEYS) or self._of_keys(_READING_KEYS)
        if order is None:
            return 0
        size = order + sum(1 if each is None else self._texts.get(each) or self._of_text(each) for each in texts)
        if all(each is None or len(each) <= TEXT_CACHED_CHARACTERS_MAX for each in texts):
            self._points[texts] = size
        return size

    def _of_keys(self, keys: tuple[str, ...]) -> int | None:
        encoded = [cbor2.dumps(key) for key in keys]
        if encoded != sorted(encoded, key=lambda each: (len(each), each)):
            return None
        size = self._orders[keys] = _head(len(keys)) + sum(map(len, encoded))
        return size

    def _of_text(self, text: str) -> int:
        length = len(text.encode())
        size = _head(length) + length
        if len(text) <= TEXT_CACHED_CHARACTERS_MAX:
            self._texts[text] = size
        return size

    def _of_float(self, value: float) -> int:
        size = self._floats[value] = _float_size(value)
        return size


def _head(number: int) -> int:
    if number < 24:
        return 1
    if number < 0x100:
        return 2
    if number < 0x1_0000:
        return 3
    return 5 if number < 0x1_0000_0000 else 9


def _float_size(value: float) -> int:
    if isnan(value):  # it equals no form of itself: its length would prove nothing
        raise ValueError("not a number has no encoding")
    for size, form in ((3, ">e"), (5, ">f")):
        try:
            [again] = struct.unpack(form, struct.pack(form, value))
        except OverflowError:
            continue
        if again == value:
            return size
    return 9
