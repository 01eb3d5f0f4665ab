"""The newest value of every point among what one group brings, stored by one statement over all properties.

Live state is the building's word on now and wins. A record from the backlog wins over an older one of its own lane by
(stream, position), clocks aside; over live state and over the other lanes by time.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, Final, NamedTuple

import msgspec

from cloud.kit.arrays import bigints, texts, timestamptzs
from cloud.kit.database import Connection, execute
from cloud.kit.times import at
from cloud.telemetry.latest import value_of
from cloud.telemetry.store.port import ReadingRow, Scalar, TimeSource
from cloud.telemetry.store.times import when

_encode: Final = msgspec.json.Encoder().encode
_ARRIVAL: Final = TimeSource.ARRIVAL
_POINT: Final = itemgetter(0, 1, 2, 3)


class Newest(NamedTuple):
    """One point's value, as the statement takes it. `lane`, `ordinal`, `seq`: None of a live value."""

    property: str
    device: str
    capability: str
    attribute: str
    tenant: str
    room: str | None
    value: Scalar | None
    unit: str | None
    quality: str
    at_ms: int
    source: str
    lane: str | None
    ordinal: int | None
    seq: int | None


Point = tuple[str, str, str, str]


@dataclass(slots=True)
class NewestValues:
    """What a group has to say about now, one value a point."""

    received_ms: int
    points: dict[Point, Newest]

    def take(self, readings: Iterable[ReadingRow], lane: str) -> None:
        """Add the readings of one batch, in order: the last of each point counts."""
        last = {(row[1], row[3], row[4], row[5]): row for row in readings}
        points, make = self.points, tuple.__new__  # a named tuple's own way costs as much as the rest
        for point, row in last.items():
            (
                tenant, property_id, room, device, capability, attribute, unit, at_ms, _, value, quality, source,
                ordinal, seq, _,
            ) = row  # fmt: skip
            if source is _ARRIVAL:
                quality = shown_quality(quality, source)
            new = make(
                Newest,
                (
                    property_id, device, capability, attribute, tenant, room or None, value, unit, quality, at_ms,
                    "backlog", lane, ordinal, seq,
                ),
            )  # fmt: skip
            known = points.get(point)
            if known is None or _wins(new, known):
                points[point] = new

    def forget(self, row: ReadingRow) -> Point | None:
        """Take back what a reading said, if it is what counts; return the point of which nothing is said any more."""
        point = row.property, row.device, row.capability, row.attribute
        known = self.points.get(point)
        if known is None or (known.ordinal, known.seq) != (row.ordinal, row.seq):
            return None
        del self.points[point]
        return point

    def take_live(self, tenant: str, property_id: str, body: Mapping[str, Any], live_at_ms: int) -> None:
        """Add an item of a live state.

        Raises:
            PeerProtocolError: the item is no value.
        """
        value = value_of(body, at_ms=live_at_ms)
        at_ms, source = when(
            device_at_ms=None, edge_at_ms=value.at_ms, clock="synchronised", received_ms=self.received_ms
        )
        self.points[property_id, value.device, value.capability, value.attribute] = Newest(
            property_id, value.device, value.capability, value.attribute, tenant, value.room, value.value, value.unit,
            shown_quality(value.quality, source), at_ms, "live", None, None, None,
        )  # fmt: skip


def shown_quality(quality: str, source: TimeSource) -> str:
    """Return the quality to show: nothing is good whose time is not known."""
    return "uncertain" if quality == "good" and source is TimeSource.ARRIVAL else quality


def _wins(new: Newest, known: Newest) -> bool:
    if new.lane == known.lane and new.ordinal is not None and known.ordinal is not None:
        return (new.ordinal, new.seq or 0) > (known.ordinal, known.seq or 0)
    return new.at_ms >= known.at_ms


async def store_newest(connection: Connection, values: NewestValues) -> None:
    """Store each value where it is newer than what is known, in one order of locks for all writers."""
    if not values.points:
        return
    rows = sorted(values.points.values(), key=_POINT)
    (
        properties, devices, capabilities, attributes, tenants, rooms, scalars, units, qualities, ats_ms, sources,
        lanes, ordinals, seqs,
    ) = zip(*rows, strict=True)  # fmt: skip
    await execute(
        connection,
        """
        INSERT INTO telemetry.latest AS known (property, device, capability, attribute, tenant, room, value, unit,
                                               quality, at, source, lane, ordinal, seq, received_at, changed)
        SELECT new.property, new.device, new.capability, new.attribute, new.tenant, new.room, new.value::jsonb,
               new.unit, new.quality, new.at, new.source, new.lane, new.ordinal, new.seq, %(received)s,
               (SELECT pg_current_xact_id()::text::bigint)
          FROM unnest(%(property)s, %(device)s, %(capability)s, %(attribute)s, %(tenant)s, %(room)s, %(value)s,
                      %(unit)s, %(quality)s, %(at)s, %(source)s, %(lane)s, %(ordinal)s, %(seq)s)
            AS new (property, device, capability, attribute, tenant, room, value, unit, quality, at, source, lane,
                    ordinal, seq)
        ON CONFLICT (property, device, capability, attribute) DO UPDATE SET
            tenant = excluded.tenant, room = excluded.room, value = excluded.value, unit = excluded.unit,
            quality = excluded.quality, at = excluded.at, source = excluded.source, lane = excluded.lane,
            ordinal = excluded.ordinal, seq = excluded.seq, received_at = excluded.received_at,
            changed = excluded.changed, writes = known.writes + 1
        WHERE excluded.source = 'live'
           OR (known.lane = excluded.lane AND (excluded.ordinal, excluded.seq) > (known.ordinal, known.seq))
           OR (known.lane IS DISTINCT FROM excluded.lane AND excluded.at >= known.at)
        """,
        {
            "property": texts(properties),
            "device": texts(devices),
            "capability": texts(capabilities),
            "attribute": texts(attributes),
            "tenant": texts(tenants),
            "room": texts(rooms),
            "value": texts([_encode(each).decode() for each in scalars]),
            "unit": texts(units),
            "quality": texts(qualities),
            "at": timestamptzs(ats_ms),
            "source": texts(sources),
            "lane": texts(lanes),
            "ordinal": bigints(ordinals),
            "seq": bigints(seqs),
            "received": at(values.received_ms),
        },
    )
