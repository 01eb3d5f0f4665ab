"""The newest value of every point among what one group brings, stored by one statement over all properties.

Source of truth: protocols/link/SPEC.md section 7. Live state is the building's word on now and wins. A record wins over
it by its position: past the head that the state named of its stream, and never else. Over another record of its lane it
wins by (stream, position). Clocks are asked where there is no order: of another stream than the state named, of an edge
that names none, of another lane; and there alone what the edge believed of them counts.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import chain
from operator import itemgetter
from typing import Any, Final, NamedTuple

import msgspec

from cloud.kit.arrays import bigints, texts, timestamptzs
from cloud.kit.database import Connection, execute
from cloud.kit.times import at
from cloud.telemetry.latest import value_of
from cloud.telemetry.store.port import ReadingRow, Scalar, TimeSource
from cloud.telemetry.store.times import when
from protocols.link.lanes import LANES
from protocols.link.messages import LiveHead

_encode: Final = msgspec.json.Encoder().encode
_ARRIVAL: Final = TimeSource.ARRIVAL
_UNCERTAIN: Final = TimeSource.UNCERTAIN
_LANES: Final = tuple(lane.value for lane in LANES)
_POINT: Final = itemgetter(0, 1, 2, 3)


class Newest(NamedTuple):
    """One point's value, as the statement takes it.

    `lane`, `ordinal`, `seq`, `life`: None of a live value; `told`: None of a record, and where no heads were told.
    `sure`: its edge believed the clock, and so do we. `life` stands for the incarnation, see `life_of`.
    """

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
    life: int | None
    sure: bool
    told: tuple[int, ...] | None
    """Of each lane in order, life and head; a lane without a head has 0 and 0."""


def life_of(incarnation: bytes) -> int:
    """Return what stands for an incarnation in a row: 64 of its 128 random bits."""
    return int.from_bytes(incarnation[:8], "big", signed=True)


def told_of(heads: Iterable[LiveHead]) -> tuple[int, ...] | None:
    """Return the heads of a live state as a row keeps them; None: it names none."""
    named = {each.lane: (life_of(each.incarnation), each.last) for each in heads}
    return tuple(chain.from_iterable(named.get(lane, (0, 0)) for lane in LANES)) if named else None


Point = tuple[str, str, str, str]


@dataclass(slots=True)
class NewestValues:
    """What a group has to say about now, one value a point."""

    received_ms: int
    points: dict[Point, Newest]

    def take(self, readings: Iterable[ReadingRow], lane: str, incarnation: bytes) -> None:
        """Add the readings of one batch, in order: the last of each point counts."""
        life = life_of(incarnation)
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
                    "backlog", lane, ordinal, seq, life, source < _UNCERTAIN, None,
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

    def take_live(
        self,
        tenant: str,
        property_id: str,
        body: Mapping[str, Any],
        live_at_ms: int,
        told: tuple[int, ...] | None = None,
    ) -> None:
        """Add an item of a live state.

        Args:
            tenant: whose it is.
            property_id: whose it is.
            body: the item.
            live_at_ms: the state's own time.
            told: as `told_of` returns it.

        Raises:
            PeerProtocolError: the item is no value.
        """
        value = value_of(body, at_ms=live_at_ms)
        at_ms, source = when(
            device_at_ms=None, edge_at_ms=value.at_ms, clock="synchronised", received_ms=self.received_ms
        )
        self.points[property_id, value.device, value.capability, value.attribute] = Newest(
            property_id, value.device, value.capability, value.attribute, tenant, value.room, value.value, value.unit,
            shown_quality(value.quality, source), at_ms, "live", None, None, None, None, source < _UNCERTAIN, told,
        )  # fmt: skip


def shown_quality(quality: str, source: TimeSource) -> str:
    """Return the quality to show: nothing is good whose time is not known."""
    return "uncertain" if quality == "good" and source is TimeSource.ARRIVAL else quality


def _wins(new: Newest, known: Newest) -> bool:
    """Tell whether a record wins over what is known; the statement of `store_newest` says the same."""
    if known.lane is None:
        if known.told is not None and new.lane is not None:
            place = 2 * _LANES.index(new.lane)
            if known.told[place] == new.life:
                return (new.seq or 0) > known.told[place + 1]
        return new.sure and new.at_ms >= known.at_ms
    if new.lane == known.lane and new.ordinal is not None and known.ordinal is not None:
        return (new.ordinal, new.seq or 0) > (known.ordinal, known.seq or 0)
    return (new.sure, new.at_ms) >= (known.sure, known.at_ms) if new.sure or known.sure else True


async def store_newest(connection: Connection, values: NewestValues) -> None:
    """Store each value where it is newer than what is known, in one order of locks for all writers."""
    if not values.points:
        return
    rows = sorted(values.points.values(), key=_POINT)
    (
        properties, devices, capabilities, attributes, tenants, rooms, scalars, units, qualities, ats_ms, sources,
        lanes, ordinals, seqs, lives, sures, tolds,
    ) = zip(*rows, strict=True)  # fmt: skip
    written = {each: f"{{{','.join(map(str, each))}}}" for each in {*tolds} if each is not None}
    await execute(
        connection,
        """
        INSERT INTO telemetry.latest AS known (property, device, capability, attribute, tenant, room, value, unit,
                                               quality, at, source, lane, ordinal, seq, life, sure, told, received_at,
                                               changed)
        SELECT new.property, new.device, new.capability, new.attribute, new.tenant, new.room, new.value::jsonb,
               new.unit, new.quality, new.at, new.source, new.lane, new.ordinal, new.seq, new.life,
               new.sure <> 0, new.told::bigint[], %(received)s,
               (SELECT pg_current_xact_id()::text::bigint)
          FROM unnest(%(property)s, %(device)s, %(capability)s, %(attribute)s, %(tenant)s, %(room)s, %(value)s,
                      %(unit)s, %(quality)s, %(at)s, %(source)s, %(lane)s, %(ordinal)s, %(seq)s, %(life)s,
                      %(sure)s, %(told)s)
            AS new (property, device, capability, attribute, tenant, room, value, unit, quality, at, source, lane,
                    ordinal, seq, life, sure, told)
        ON CONFLICT (property, device, capability, attribute) DO UPDATE SET
            tenant = excluded.tenant, room = excluded.room, value = excluded.value, unit = excluded.unit,
            quality = excluded.quality, at = excluded.at, source = excluded.source, lane = excluded.lane,
            ordinal = excluded.ordinal, seq = excluded.seq, life = excluded.life, sure = excluded.sure,
            told = excluded.told, received_at = excluded.received_at,
            changed = excluded.changed, writes = known.writes + 1
        WHERE CASE
            WHEN excluded.source = 'live' THEN true
            WHEN known.lane IS NULL AND known.told[strpos('A B C', excluded.lane)] = excluded.life
                THEN excluded.seq > known.told[strpos('A B C', excluded.lane) + 1]
            WHEN known.lane IS NULL THEN excluded.sure AND excluded.at >= known.at
            WHEN known.lane = excluded.lane THEN (excluded.ordinal, excluded.seq) > (known.ordinal, known.seq)
            WHEN excluded.sure AND known.sure THEN excluded.at >= known.at
            ELSE excluded.sure OR NOT known.sure
        END
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
            "life": bigints(lives),
            "sure": bigints(sures),
            "told": texts([None if each is None else written[each] for each in tolds]),
            "received": at(values.received_ms),
        },
    )
