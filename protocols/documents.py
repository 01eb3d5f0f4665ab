"""Documents that people write: TOML read whole, within bounds, and errors that show the offending value.

One mechanism for settings, descriptors and inventories. TOML allows what none of our documents can mean and what
breaks later, far from the file: numbers that are none (`nan`, `inf`), integers without end, text with a NUL. Refused
here, with file and key.
"""

import json
import tomllib
from collections.abc import Mapping
from math import isfinite
from reprlib import Repr
from typing import Any, Final

import msgspec

from protocols.errors import InvalidInputError

DEPTH_MAX: Final = 32
"""Tables and lists inside each other."""
INTEGER_LEAST: Final = -(2**63)
INTEGER_MOST: Final = 2**63 - 1
SHOWN_CHARACTERS_MAX: Final = 80
_KEY_END: Final = b'":'
_SPACED_KEY_ENDS: Final = (b" :", b"\t:", b"\n:", b"\r:")
_NESTING: Final = frozenset((dict, list))
_DIGITS_SHOWN_BITS: Final = 256

_CONTAINERS: Final = Repr()
_CONTAINERS.maxlevel = 3
_CONTAINERS.maxother = _CONTAINERS.maxstring = SHOWN_CHARACTERS_MAX


def shown(value: object, characters_max: int = SHOWN_CHARACTERS_MAX) -> str:
    """Return `value` as an error tells it: at most `characters_max` characters, whatever a peer or a file brought.

    A plain `repr` of a huge integer raises ValueError, and that of a long text costs what the text costs.
    """
    if isinstance(value, str | bytes | bytearray):
        text = repr(value[: characters_max + 1])
    elif type(value) is int and value.bit_length() > _DIGITS_SHOWN_BITS:
        text = f"an integer of {value.bit_length()} bits"
    else:
        try:
            text = _CONTAINERS.repr(value) if isinstance(value, list | dict | tuple) else repr(value)
        except (ValueError, RecursionError):
            text = f"a {type(value).__name__}"
    return text if len(text) <= characters_max else f"{text[: characters_max - 3]}..."


def parse_toml(data: bytes, place: str, bytes_max: int) -> dict[str, Any]:
    """Return the TOML document in `data`.

    Args:
        data: The file's content.
        place: What to call it in an error: its path.
        bytes_max: Longer is refused unread.

    Raises:
        InvalidInputError: too long, no UTF-8, no TOML, nested too deeply, or a value that no document of ours can hold;
            names the key.
    """
    if len(data) > bytes_max:
        raise InvalidInputError(place, f"{len(data)} bytes, at most {bytes_max} are read")
    try:
        document = tomllib.loads(data.decode("utf-8"))
    except RecursionError as error:
        raise InvalidInputError(place, f"is nested too deeply: at most {DEPTH_MAX} levels are read") from error
    except ValueError as error:  # no UTF-8, no TOML, or an integer of thousands of digits
        raise InvalidInputError(place, f"is not TOML: {error!s:.200}") from error
    if (found := _unfit(document)) is not None:
        key, problem = found
        raise InvalidInputError(f"{place}: {key}", problem)
    return document


def explained(error: Exception, document: object) -> str:
    """Return the text of a msgspec error with the offending value, which msgspec leaves out.

    Args:
        error: `msgspec.ValidationError`, which ends in the path of the value: "... - at `$.points[3].register`".
        document: What was converted, as plain dicts and lists.
    """
    found = value_at(document, str(error))
    return str(error) if found is None else f"{error}; it is {shown(found[0])}"


def explained_json(error: Exception, data: bytes) -> str:
    """Return the text of a msgspec error with the offending value of the JSON document in `data`."""
    try:
        document = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return str(error)  # it is broken further on too: the error came first
    return explained(error, document)


def check_keys_once(data: bytes, place: str) -> None:
    """See that no object of the JSON document in `data` has a key twice: which of the two was meant is anybody's guess.

    For documents that were decoded already: what is no JSON is not told here.

    Raises:
        InvalidInputError: names the first key that stands twice.
    """
    try:
        twice = key_twice(data)
    except (ValueError, RecursionError) as error:  # beyond what msgspec takes there is little: integers without end
        raise InvalidInputError(place, f"is no JSON that can be read: {error!s:.200}") from error
    if twice is not None:
        raise InvalidInputError(place, f"the key {shown(twice)} stands twice in one object")


def members_most(data: bytes) -> int:
    """Return how many members the objects of the JSON document in `data` have at most: keys that stand twice included.

    Cheap. It is the number itself unless a text holds what looks like the end of a key.
    """
    many = data.count(_KEY_END)
    if len(data.split(None, 1)) > 1:  # there is white space in it: what machines say to each other has none
        many += sum(map(data.count, _SPACED_KEY_ENDS))
    return many


def keys_once_at_sight(data: bytes, document: Mapping[str, Any]) -> bool:
    """Say whether a decoded JSON object plainly has no key twice, as most that machines say: flat, no white space.

    False: `key_twice` is to be asked. Costs a fifth of that.
    """
    return data.count(_KEY_END) == len(document) and data.count(b"{") == 1 and len(data.split(None, 1)) == 1


def key_twice(data: bytes, decoded: object = None) -> str | None:
    """Return a key that stands twice in one object of the JSON document in `data`; None: there is none.

    Args:
        data: The document.
        decoded: What a decoder that keeps the last of two made of it, if it is at hand: most documents that have as
            many keys as members are then not parsed again.

    Raises:
        ValueError: no JSON.
        RecursionError: nested beyond reading.
    """
    if members_most(data) == _keys(decoded):
        return None
    found: list[str] = []

    def pairs(members: list[tuple[str, Any]]) -> None:
        names = [name for name, _ in members]
        if len(names) != len(set(names)):
            found.append(next(name for name in names if names.count(name) > 1))

    json.loads(data, object_pairs_hook=pairs)
    return found[0] if found else None


def _keys(decoded: object) -> int:
    if type(decoded) is dict and _NESTING.isdisjoint(map(type, decoded.values())):
        return len(decoded)
    many, stack = 0, [decoded]
    while stack:
        value = stack.pop()
        if type(value) is dict:
            many += len(value)
            stack.extend(value.values())
        elif type(value) is list:
            stack.extend(value)
    return many


def value_at(document: object, error: str) -> tuple[object] | None:
    """Return the one value that a msgspec error's path leads to, in a tuple; None if it leads nowhere."""
    _, dollar, path = error.rpartition("`$")
    if not dollar:
        return None
    value = document
    for step in path.rstrip("`").replace("]", "").replace("[", ".").split(".")[1:]:
        if isinstance(value, dict) and step in value:
            value = value[step]
        elif isinstance(value, list) and step.isascii() and step.isdigit() and int(step) < len(value):
            value = value[int(step)]
        else:
            return None
    return (value,)


def _unfit(document: dict[str, Any]) -> tuple[str, str] | None:
    """Return key and problem of the first value that no document of ours can hold."""
    stack: list[tuple[str, Any, int]] = [("", document, 1)]
    while stack:
        key, value, level = stack.pop()
        kind = type(value)
        if kind is dict or kind is list:
            if level > DEPTH_MAX:
                return key[:SHOWN_CHARACTERS_MAX], f"is nested too deeply: at most {DEPTH_MAX} levels are read"
            if kind is list:
                stack.extend((f"{key}[{index}]", each, level + 1) for index, each in enumerate(value))
                continue
            for name, each in value.items():
                path = f"{key}.{name}" if key else str(name)
                if "\x00" in name:
                    return shown(path), "a key holds a NUL"
                stack.append((path, each, level + 1))
        elif kind is float and not isfinite(value):
            return key, f"{value!r} is not a number"
        elif kind is int and not INTEGER_LEAST <= value <= INTEGER_MOST:
            return key, f"{shown(value)} does not fit 64 bits"
        elif kind is str and "\x00" in value:
            return key, "holds a NUL"  # not shown: it may be a secret
    return None
