"""What an item of a live state says: one attribute's value, checked. How values are kept: fan_in/newest.py."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from cloud.telemetry.store.rows import TEXT_MAX, VALUE_TEXT_MAX
from protocols.errors import PeerProtocolError
from protocols.link.record import TIME_MS_MAX

READING_KIND: Final = "reading"
_QUALITIES: Final = frozenset({"good", "uncertain", "bad", "stale"})


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
        if not isinstance(text, str) or not 1 <= len(text) <= TEXT_MAX:
            raise PeerProtocolError(f"reading: {name} {text!r:.90} is not a name of 1 to {TEXT_MAX} characters")
        texts.append(text)
    room, unit, quality, value = body.get("room"), body.get("unit"), body.get("quality"), body.get("value")
    for name, text in (("room", room), ("unit", unit)):
        if text is not None and (not isinstance(text, str) or len(text) > TEXT_MAX):
            raise PeerProtocolError(
                f"reading of {texts[0]}: {name} {text!r:.90} is no text of at most {TEXT_MAX} characters"
            )
    if not isinstance(quality, str) or quality not in _QUALITIES:
        raise PeerProtocolError(f"reading of {texts[0]}: quality {quality!r:.90} is unknown")
    if not isinstance(value, bool | int | float | str | None):
        raise PeerProtocolError(f"reading of {texts[0]}: a value is one scalar")
    if isinstance(value, str) and len(value) > VALUE_TEXT_MAX:
        raise PeerProtocolError(f"reading of {texts[0]}: text of {len(value)} characters, at most {VALUE_TEXT_MAX}")
    own_ms = body.get("at_ms", at_ms)
    if type(own_ms) is not int or not 0 <= own_ms <= TIME_MS_MAX:
        raise PeerProtocolError(f"reading of {texts[0]}: at_ms {own_ms!r} is not milliseconds")
    return Value(texts[0], texts[1], texts[2], room or None, value, unit, quality, own_ms)
