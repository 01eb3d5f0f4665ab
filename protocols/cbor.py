"""Strict, bounded, deterministic CBOR: one value has exactly one encoding, and everything else is refused.

Source of truth: RFC 8949 with these narrowings. Definite lengths only; shortest heads; no tags, no undefined,
no simple values but false, true and null; map keys are integers or text, unique, shortest encoding first and then
bytewise (RFC 8949 4.2.3; for keys of one type this is also 4.2.1); no floats unless asked for, and never NaN or
infinity, shortest float that holds the value; nesting at most 4 unless asked for; integers within 64 bits of a head.

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
        value: object = cbor2.loads(
            data,
            tag_hook=_refuse_unknown_tag,
            semantic_decoders=_REFUSE_EVERY_TAG,
            max_depth=depth,
            allow_indefinite=False,
            allow_duplicate_keys=False,
        )
    except (cbor2.CBORDecodeError, ValueError, TypeError, OverflowError, RecursionError) as error:
        raise PeerProtocolError(f"CBOR: {error}") from error
    if (problem := _problem(value, floats=floats, depth=depth)) is not None:
        raise PeerProtocolError(f"CBOR: {problem}")
    if cbor2.dumps(value, canonical=True) != data:
        raise PeerProtocolError("CBOR: not in its one encoding, or followed by more bytes")
    return value  # type: ignore[return-value]  # _problem has just walked it


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
