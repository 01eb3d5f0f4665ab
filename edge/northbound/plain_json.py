"""What one record is on somebody else's broker: one message, plain JSON.

Pure. The message carries (incarnation, lane, seq): QoS 1 delivers at least once, and by these a reader can tell what
came twice, whether anything is missing, and in which order it happened.
"""

import re
from typing import Any, Final

import cbor2
import msgspec

from protocols.device_model.identity import EdgeId, PropertyId
from protocols.errors import InvalidInputError
from protocols.link.lanes import Lane

FIELDS: Final = ("property", "edge", "kind", "lane", "room", "device", "capability", "attribute")
ABSENT: Final = "-"
_FIELD: Final = re.compile(r"\{([^{}]*)\}")
_NOT_IN_A_LEVEL: Final = re.compile(r"[+#/\x00]")
_PLACE: Final = frozenset({
    "property", "edge", "incarnation", "lane", "seq", "kind", "device_at_ms", "edge_at_ms", "mono_ms", "clock",
})  # fmt: skip
_CLOCKS: Final = ("synchronised", "drifting", "uncertain")
TOPICS_MAX: Final = 20_000
"""Topics remembered, so that each is made once."""


class PlainJson:
    """Makes messages for one broker. Raises InvalidInputError for a topic pattern that is none."""

    def __init__(self, pattern: str, *, property_id: PropertyId, edge: EdgeId, place: str = "northbound.topic") -> None:
        for name in _FIELD.findall(pattern):
            if name not in FIELDS:
                raise InvalidInputError(place, f"{{{name}}} is none of {', '.join(FIELDS)}")
        bare = _FIELD.sub("", pattern)
        if any(character in bare for character in "+#{}\x00"):
            raise InvalidInputError(place, f"{pattern!r} is no topic to publish to")
        self._pattern, self._property, self._edge = pattern, str(property_id), str(edge)
        self._encode = msgspec.json.Encoder().encode
        self._topics: dict[tuple[Any, ...], bytes] = {}

    def message(self, record: bytes, *, incarnation: str, lane: Lane, seq: int) -> tuple[bytes, bytes]:
        """Return (topic, payload) of a record as the log holds it.

        Args:
            record: its bytes, written by this edge: trusted to be a record.
            incarnation: of the stream, in hexadecimal.
            lane: of the stream.
            seq: its position.
        """
        kind, device_at_ms, edge_at_ms, mono_ms, clock, body = cbor2.loads(record)
        own = body if _PLACE.isdisjoint(body) else {**body, "body": body}  # what it says of another place stands there
        return self._topic(kind, lane, body), self._encode(
            {
                **own,  # first: nothing that a record says may stand for where it stands itself
                "property": self._property,
                "edge": self._edge,
                "incarnation": incarnation,
                "lane": lane.value,
                "seq": seq,
                "kind": kind,
                "device_at_ms": device_at_ms,
                "edge_at_ms": edge_at_ms,
                "mono_ms": mono_ms,
                "clock": _CLOCKS[clock],
            }
        )

    def _topic(self, kind: str, lane: Lane, body: dict[str, Any]) -> bytes:
        get = body.get
        key = (kind, lane, get("room"), get("device"), get("capability"), get("attribute"))
        try:
            topic = self._topics.get(key)
        except TypeError:  # a body whose device is a list: no reading's, and yet a record
            return self._make_topic(kind, lane, body)
        if topic is None:
            topic = self._make_topic(kind, lane, body)
            if len(self._topics) < TOPICS_MAX:
                self._topics[key] = topic
        return topic

    def _make_topic(self, kind: str, lane: Lane, body: dict[str, Any]) -> bytes:
        values = {**body, "property": self._property, "edge": self._edge, "kind": kind, "lane": lane.value}

        def level(found: re.Match[str]) -> str:
            value = values.get(found[1])
            return _NOT_IN_A_LEVEL.sub("_", value) if isinstance(value, str) and value else ABSENT

        return _FIELD.sub(level, self._pattern).encode()
