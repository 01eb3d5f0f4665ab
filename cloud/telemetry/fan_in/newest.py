"""The newest value of every point among what one group brings, stored by one statement over all properties.

Live state is the building's word on now and wins. A record from the backlog wins over an older one of its own lane by
(stream, position), clocks aside; over live state and over the other lanes by time.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from cloud.kit.database import Connection, execute
from cloud.kit.times import at
from cloud.telemetry.latest import value_of
from cloud.telemetry.store.port import ReadingRow, Scalar, TimeSource
from cloud.telemetry.store.times import when

_encode: Final = msgspec.json.Encoder().encode


class Newest(msgspec.Struct, frozen=True, gc=False):
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
        for point, row in last.items():
            known = self.points.get(point)
            new = Newest(
                row.property, row.device, row.capability, row.attribute, row.tenant, row.room or None, row.value,
                row.unit, shown_quality(row.quality, row.time_source), row.at_ms, "backlog", lane, row.ordinal, row.seq,
            )  # fmt: skip
            if known is None or _wins(new, known):
                self.points[point] = new

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
    # one JSON text instead of an array a column: the driver quotes arrays element by element
    rows = [values.points[point] for point in sorted(values.points)]
    await execute(
        connection,
        """
        INSERT INTO telemetry.latest AS known (property, device, capability, attribute, tenant, room, value, unit,
                                               quality, at, source, lane, ordinal, seq, received_at)
        SELECT new.property, new.device, new.capability, new.attribute, new.tenant, new.room,
               coalesce(new.value, 'null'), new.unit, new.quality,
               timestamptz 'epoch' + new.at_ms * interval '1 millisecond', new.source, new.lane, new.ordinal, new.seq,
               %(received)s
          FROM json_to_recordset(%(rows)s::json)
            AS new (property text, device text, capability text, attribute text, tenant text, room text, value jsonb,
                    unit text, quality text, at_ms bigint, source text, lane text, ordinal bigint, seq bigint)
        ON CONFLICT (property, device, capability, attribute) DO UPDATE SET
            tenant = excluded.tenant, room = excluded.room, value = excluded.value, unit = excluded.unit,
            quality = excluded.quality, at = excluded.at, source = excluded.source, lane = excluded.lane,
            ordinal = excluded.ordinal, seq = excluded.seq, received_at = excluded.received_at
        WHERE excluded.source = 'live'
           OR (known.lane = excluded.lane AND (excluded.ordinal, excluded.seq) > (known.ordinal, known.seq))
           OR (known.lane IS DISTINCT FROM excluded.lane AND excluded.at >= known.at)
        """,
        {"rows": _encode(rows).decode(), "received": at(values.received_ms)},
    )
