"""Strict, bounded, deterministic CBOR: one value has exactly one encoding, and everything else is refused.

Source of truth: RFC 8949 with these narrowings. Definite lengths only; shortest heads; no tags, no undefined,
no simple values but false, true and null; map keys are integers or text, unique, shortest encoding first and then
bytewise (RFC 8949 4.2.3; for keys of one type this is also 4.2.1); no floats unless asked for, and never NaN or
infinity, shortest float that holds the value; nesting at most 4 unless asked for; integers within 64 bits of a head;
at most 256 integer keys in a map (none of ours has more than a few).

Why re-encode: a decoder that accepts two spellings of one value lets two readers of one signature disagree.
What it leaves to whom: the meaning of a value belongs to the protocol that asked for it.
"""

import math
from collections.abc import Callable, Mapping
from typing import Final, NoReturn, TypeAlias

import cbor2

from protocols.errors import LocalProtocolError, PeerProtocolError

Value: TypeAlias = "bool | int | float | str | bytes | list[Value] | dict[int | str, Value] | None"
"""What a decoded item is made of."""

DEPTH_MOST: Final = 4
"""Containers inside containers, unless the caller asks for another bound."""

INTEGER_KEYS_MOST: Final = 256
"""Integer keys of one map. Anybody can choose integers, and lists of them, whose hashes meet in a dict: a map of n such
keys costs n^2. Hashes of texts are keyed anew in every process."""
SMALL_BYTES: Final = 2_048
"""What is no longer than this cannot hold enough keys to cost more than a fraction of a millisecond."""

_BYTES, _TEXT, _LIST, _MAP, _TAG = 2, 3, 4, 5, 6
_ARGUMENT_BYTES: Final = {24: 1, 25: 2, 26: 4, 27: 8}
_INTEGER_LEAST: Final = -(2**64)
_INTEGER_MOST: Final = 2**64 - 1


def encode(value: object, *, floats: bool = False, depth: int = DEPTH_MOST) -> bytes:
    """Return the one encoding of `value`.

    Args:
        value: None, bool, int, str, bytes, list or tuple, dict with int or str keys; float if `floats`.
        floats: Whether finite floats are allowed.
        depth: Containers inside containers, at most.

    Raises:
        LocalProtocolError: `value` holds what this profile forbids.
    """
    if (problem := _problem(value, floats=floats, depth=depth)) is not None:
        raise LocalProtocolError(f"CBOR: {problem}")
    try:
        return cbor2.dumps(value, canonical=True)
    except (cbor2.CBOREncodeError, UnicodeEncodeError) as error:  # a lone surrogate in a text
        raise LocalProtocolError(f"CBOR: {error}") from error


def decode(data: bytes, most_bytes: int, *, floats: bool = False, depth: int = DEPTH_MOST) -> Value:
    """Return the value whose one encoding is `data`.

    Args:
        data: The whole item; nothing may follow it.
        most_bytes: Longer inputs are refused unread.
        floats: Whether finite floats are allowed.
        depth: Containers inside containers, at most.

    Raises:
        PeerProtocolError: `data` is too long, not CBOR, or not the one encoding of a value of this profile.
    """
    if len(data) > most_bytes:
        raise PeerProtocolError(f"CBOR of {len(data)} bytes, at most {most_bytes} are read")
    data = bytes(data)
    try:
        value = _load(data, depth)
    except (cbor2.CBORDecodeError, ValueError, TypeError, OverflowError, RecursionError) as error:
        raise PeerProtocolError(f"CBOR: {error}") from error
    if (problem := _problem(value, floats=floats, depth=depth)) is not None:
        raise PeerProtocolError(f"CBOR: {problem}")
    if cbor2.dumps(value, canonical=True) != data:
        raise PeerProtocolError("CBOR: not in its one encoding, or followed by more bytes")
    return value  # type: ignore[return-value]  # _problem has just walked it


def _load(data: bytes, depth: int) -> object:
    if len(data) > SMALL_BYTES:
        try:
            return _decoded(data, depth, text_keys=True)
        except cbor2.CBORDecodeError as error:
            if "map key must be" not in str(error):
                raise
        if (problem := _key_problem(data)) is not None:
            raise ValueError(problem)
    return _decoded(data, depth, text_keys=False)


def _decoded(data: bytes, depth: int, *, text_keys: bool) -> object:
    value: object = cbor2.loads(
        data,
        tag_hook=_refuse_unknown_tag,
        semantic_decoders=_REFUSE_EVERY_TAG,
        max_depth=depth,
        allow_indefinite=False,
        allow_duplicate_keys=False,
        strict_hashable_types=text_keys,  # keys of bytes pass too: `_problem` names them
    )
    return value


def _key_problem(data: bytes) -> str | None:
    """Name a key that must not get into a dict, by the heads alone: what it costs grows with the bytes and no faster.

    None also where the shape cannot be told: the decoder says why.
    """
    at, end = 0, len(data)
    left, keyed, integers = 1, False, 0  # of the container in hand: items to come, whether keys are among them
    outer: list[tuple[int, bool, int]] = []
    while True:
        while left == 0:
            if not outer:
                return None
            left, keyed, integers = outer.pop()
        if at >= end:
            return None
        major, argument = data[at] >> 5, data[at] & 31
        at += 1
        if argument > 23 and major != 7:
            size = _ARGUMENT_BYTES.get(argument, 0)
            if not size:
                return None
            argument = int.from_bytes(data[at : at + size], "big")
            at += size
        elif argument > 23:
            at += _ARGUMENT_BYTES.get(argument, 0)
        if keyed and left % 2 == 0:
            if major > _TEXT:
                return f"map key of major type {major} is neither integer nor text"
            integers += major < _BYTES
            if integers > INTEGER_KEYS_MOST:
                return f"map with more than {INTEGER_KEYS_MOST} integer keys"
        left -= 1
        if major in (_BYTES, _TEXT):
            at += argument
        elif major in (_LIST, _MAP, _TAG):
            outer.append((left, keyed, integers))
            left = 1 if major == _TAG else argument * (1 + (major == _MAP))
            keyed, integers = major == _MAP, 0


def _problem(value: object, *, floats: bool, depth: int) -> str | None:
    """Name what this profile forbids in `value`, or None."""
    stack: list[tuple[object, int]] = [(value, 0)]
    while stack:
        item, level = stack.pop()
        kind = type(item)
        if kind is str or kind is bytes or kind is bool or item is None:
            continue
        if kind is int:
            if not _INTEGER_LEAST <= item <= _INTEGER_MOST:  # type: ignore[operator]  # its `kind` was just asked
                return f"integer {item} does not fit a head"
        elif kind is float:
            if not floats:
                return f"float {item} where none is allowed"
            if not math.isfinite(item):  # type: ignore[arg-type]  # its `kind` was just asked
                return f"float {item} is not a number"
        elif isinstance(item, list | tuple):
            if level >= depth:
                return f"nested deeper than {depth}"
            stack.extend((each, level + 1) for each in item)
        elif isinstance(item, dict):
            if level >= depth:
                return f"nested deeper than {depth}"
            if len(item) > INTEGER_KEYS_MOST and sum(type(key) is int for key in item) > INTEGER_KEYS_MOST:
                return f"map with more than {INTEGER_KEYS_MOST} integer keys"
            for key, each in item.items():
                if type(key) is not str and type(key) is not int:
                    return f"map key {key!r} is neither integer nor text"
                stack.append((key, level + 1))
                stack.append((each, level + 1))
        else:
            return f"{kind.__name__} is not allowed"
    return None


def _refuse_tag(_value: object, _immutable: bool) -> NoReturn:
    raise ValueError("tags are not allowed")


def _refuse_unknown_tag(tag: cbor2.CBORTag, _immutable: bool) -> NoReturn:
    raise ValueError(f"tags are not allowed: {tag.tag}")


# cbor2 runs its own decoders (big floats, regular expressions, sets ...) before the tag hook sees a tag:
# each number it knows is refused here, the hook refuses the rest.
_REFUSE_EVERY_TAG: Final[Mapping[int, Callable[[object, bool], object]]] = dict.fromkeys(
    (*range(300), 1004, 43000, 55799), _refuse_tag
)
