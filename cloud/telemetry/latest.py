"""The latest value of every attribute of every device. It never goes back in time.

Live state is the building's word on now and always wins. A record from the backlog wins over an older one of
its own lane by
(incarnation, position), clocks aside; over live state and over the other lane by edge time.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from cloud.kit.database import Connection, jsonb
from cloud.kit.times import at
from protocols.errors import PeerProtocolError
from protocols.link.record import TIME_MS_MAX

READING_KIND: Final = "reading"
_QUALITIES: Final = frozenset({"good", "uncertain", "bad", "stale"})
_TEXT_MAX: Final = 80

Key = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Value:
    """One attribute's value, ready to be stored."""

    device: str
    capability: str
    attribute: str
    room: str | None
    value: bool | int | float | str | None
    unit: str | None
    quality: str
    at_ms: int
    source: str
    lane: str | None = None
    ordinal: int | None = None
    seq: int | None = None


def value_of(
    body: Mapping[str, Any], *, at_ms: int, lane: str | None = None, ordinal: int | None = None, seq: int | None = None
) -> Value:
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
    return Value(
        texts[0],
        texts[1],
        texts[2],
        room or None,
        value,
        unit,
        quality,
        own_ms,
        "live" if lane is None else "backlog",
        lane,
        ordinal,
        seq,
    )


async def store_latest(
    connection: Connection, *, tenant: str, property_id: str, values: Iterable[Value], received_ms: int
) -> None:
    """Store the last of each attribute among `values` where it is newer than what is known."""
    newest: dict[Key, Value] = {(each.device, each.capability, each.attribute): each for each in values}
    if not newest:
        return
    # one order of locks for all writers: no two transactions can wait for each other here
    rows: Sequence[Value] = [newest[key] for key in sorted(newest)]
    await connection.execute(
        """
        INSERT INTO telemetry.latest AS known (property, tenant, device, capability, attribute, room, value, unit,
                                               quality, at, source, lane, ordinal, seq, received_at)
        SELECT %(property)s, %(tenant)s, each.*, %(received)s
          FROM unnest(%(device)s::text[], %(capability)s::text[], %(attribute)s::text[], %(room)s::text[],
                      %(value)s::jsonb[], %(unit)s::text[], %(quality)s::text[], %(at)s::timestamptz[],
                      %(source)s::text[], %(lane)s::text[], %(ordinal)s::bigint[], %(seq)s::bigint[]) AS each
        ON CONFLICT (property, device, capability, attribute) DO UPDATE SET
            room = excluded.room, value = excluded.value, unit = excluded.unit, quality = excluded.quality,
            at = excluded.at, source = excluded.source, lane = excluded.lane, ordinal = excluded.ordinal,
            seq = excluded.seq, received_at = excluded.received_at
        WHERE excluded.source = 'live'
           OR (known.lane = excluded.lane AND (excluded.ordinal, excluded.seq) > (known.ordinal, known.seq))
           OR (known.lane IS DISTINCT FROM excluded.lane AND excluded.at >= known.at)
        """,
        {
            "property": property_id,
            "tenant": tenant,
            "received": at(received_ms),
            "device": [each.device for each in rows],
            "capability": [each.capability for each in rows],
            "attribute": [each.attribute for each in rows],
            "room": [each.room for each in rows],
            "value": [jsonb(each.value) for each in rows],
            "unit": [each.unit for each in rows],
            "quality": [each.quality for each in rows],
            "at": [at(each.at_ms) for each in rows],
            "source": [each.source for each in rows],
            "lane": [each.lane for each in rows],
            "ordinal": [each.ordinal for each in rows],
            "seq": [each.seq for each in rows],
        },
    )
