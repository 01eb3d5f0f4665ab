"""What an item of a live state says: one attribute's value, checked. How values are kept: fan_in/newest.py."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from protocols.errors import PeerProtocolError
from protocols.link.record import TIME_MS_MAX

READING_KIND: Final = "reading"
_QUALITIES: Final = frozenset({"good", "uncertain", "bad", "stale"})
_TEXT_MAX: Final = 80


@dataclass(frozen=True, slots=True)
class Value:
    """One attribute's value."""

    device: str
    capability: str
    attribute: str
    room: str | None
    value: bool | int | float | str | None
    unit: str | None
    quality: str
    at_ms: int


def value_of(body: Mapping[str, Any], *, at_ms: int) -> Value:
    """Return the value that a reading's body tells.

    Raises:
        PeerProtocolError: a field is missing or of the wrong type.
    """
    texts: list[str] = []
    for name in ("device", "capability", "attribute"):
        text = body.get(name)
        if not isinstance(text, str) or not 1 <= len(text) <= _TEXT_MAX:
            raise PeerProtocolError(f"reading: {name} {text!r} is not a name")
        texts.append(text)
    room, unit, quality, value = body.get("room"), body.get("unit"), body.get("quality"), body.get("value")
    if not isinstance(room, str | None) or not isinstance(unit, str | None):
        raise PeerProtocolError(f"reading of {texts[0]}: room or unit is not text")
    if quality not in _QUALITIES:
        raise PeerProtocolError(f"reading of {texts[0]}: quality {quality!r} is unknown")
    if not isinstance(value, bool | int | float | str | None):
        raise PeerProtocolError(f"reading of {texts[0]}: a value is one scalar")
    own_ms = body.get("at_ms", at_ms)
    if type(own_ms) is not int or not 0 <= own_ms <= TIME_MS_MAX:
        raise PeerProtocolError(f"reading of {texts[0]}: at_ms {own_ms!r} is not milliseconds")
    return Value(texts[0], texts[1], texts[2], room or None, value, unit, quality, own_ms)
