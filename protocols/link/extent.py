"""How far the inside of a batch reaches, though what its records say cannot be read.

Source of truth: SPEC.md section 5.3. A batch that is refused is stepped over as far as its inside bears its head out;
so this looks at the shape alone: the maps and lists, not their meaning, depth or spelling.
"""

from typing import Final

from protocols import cbor
from protocols.errors import PeerProtocolError

_BYTES, _TEXT, _LIST, _MAP, _TAG = 2, 3, 4, 5, 6
_ARGUMENT_BYTES: Final = {24: 1, 25: 2, 26: 4, 27: 8}
_POSITIONS_BYTES_MAX: Final = 64 * 1024
"""Holes or offsets, 500 at most of each, are shorter than this."""


def described_last(inside: bytes, first: int) -> int | None:
    """Return the last position that `inside` (inflated) has a record or a hole at; `first` - 1 if it has none.

    None: its shape cannot be told.
    """
    try:
        parts = _parts(inside)
        if b"r" not in parts or not parts.keys() <= {b"h", b"r", b"s"}:
            return None
        major, count, _ = _head(parts[b"r"], 0)
        if major != _LIST:
            return None
        ends = [first + count - 1]
        if b"s" in parts:
            offsets = cbor.decode(parts[b"s"], _POSITIONS_BYTES_MAX)
            if not isinstance(offsets, list) or len(offsets) != count:
                return None
            ends = [first - 1, *(first + _position(each) for each in offsets)]
        return max([*ends, *_holes(parts.get(b"h", b"\x80"))])
    except PeerProtocolError:
        return None


def has_more_items(data: bytes, most: int) -> bool:
    """Tell whether the item that `data` begins with holds more than `most`, itself and those inside all counted.

    Looks at no more than `most` of them. False where the shape cannot be told: whoever decodes it says why.
    """
    at, left, end = 0, 1, len(data)
    seen = 0
    while left and at < end:  # in one piece: a call an item would cost three times as much
        if seen + left > most:
            return True
        initial = data[at]
        major, argument = initial >> 5, initial & 31
        at += 1
        if argument > 23:
            size = _ARGUMENT_BYTES.get(argument, 0)
            if not size:
                return False
            argument = int.from_bytes(data[at : at + size], "big")
            at += size
        seen, left = seen + 1, left - 1
        if major in (_BYTES, _TEXT):
            at += argument
        elif major == _LIST:
            left += argument
        elif major == _MAP:
            left += 2 * argument
        elif major == _TAG:
            left += 1
    return False


def _holes(data: bytes) -> list[int]:
    holes = cbor.decode(data, _POSITIONS_BYTES_MAX)
    if not isinstance(holes, list) or not all(isinstance(each, list) and len(each) == 3 for each in holes):
        raise PeerProtocolError("holes are not lists of three")
    return [_position(each[1]) for each in holes if isinstance(each, list)]


def _position(value: object) -> int:
    if type(value) is not int or value < 0:
        raise PeerProtocolError(f"{value!r} is not a position")
    return value


def _parts(data: bytes) -> dict[bytes, bytes]:
    """Return the values of a map with text keys, still encoded, by key."""
    major, count, at = _head(data, 0)
    if major != _MAP or count > len(data):
        raise PeerProtocolError("not a map")
    parts: dict[bytes, bytes] = {}
    for _ in range(count):
        major, size, start = _head(data, at)
        end = _past(data, at)
        if major != _TEXT or (key := data[start : start + size]) in parts:
            raise PeerProtocolError("a key is not text, or is there twice")
        at = _past(data, end)
        parts[key] = data[end:at]
    if at != len(data):
        raise PeerProtocolError("bytes follow the map")
    return parts


def _past(data: bytes, at: int) -> int:
    """Return where the item at `at` ends."""
    left = 1
    while left:
        major, argument, at = _head(data, at)
        left -= 1
        if major in (_BYTES, _TEXT):
            at += argument
        elif major == _LIST:
            left += argument
        elif major == _MAP:
            left += 2 * argument
        elif major == _TAG:
            left += 1
        if at + left > len(data):  # an item takes a byte at least
            raise PeerProtocolError("an item is cut short")
    return at


def _head(data: bytes, at: int) -> tuple[int, int, int]:
    """Return (major type, argument, where the head ends)."""
    if at >= len(data):
        raise PeerProtocolError("an item is cut short")
    major, short = data[at] >> 5, data[at] & 31
    at += 1
    if short < 24:
        return major, short, at
    size = _ARGUMENT_BYTES.get(short, 0)
    if not size or at + size > len(data):
        raise PeerProtocolError("an item is cut short or has no definite length")
    return major, int.from_bytes(data[at : at + size], "big"), at + size
