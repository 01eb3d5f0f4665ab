"""What others ask of the records: latest values, the state of a building's link, pages of the ledger.

Proof of completeness: cloud/telemetry/completeness.py.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from cloud.kit.database import Connection, fetch_all, fetch_one
from protocols.link.lanes import Lane

RECORDS_PAGE_MAX: Final = 1_000


@dataclass(frozen=True, slots=True)
class LatestValue:
    """The last known value of one attribute; `at`: when it was so, on the edge's clock. `source`: live or backlog."""

    room: str | None
    device: str
    capability: str
    attribute: str
    value: Any
    unit: str | None
    quality: str
    at: datetime
    source: str
    received_at: datetime


@dataclass(frozen=True, slots=True)
class LaneHealth:
    """One stream's mark and what is stored below it. `gaps`: positions without a record, every one declared."""

    lane: Lane
    incarnation: bytes
    hi: int
    records: int
    gaps: int
    duplicates: int
    chain_breaks: int


@dataclass(frozen=True, slots=True)
class LinkHealth:
    """What is known of an edge's link; times on the cloud's clock, but for `live_at`. Never heard: there is none."""

    edge: str
    incarnation: bytes | None
    last_heard_at: datetime
    last_ack_at: datetime | None
    live_at: datetime | None
    backlog: dict[str, int] | None
    lanes: tuple[LaneHealth, ...]


@dataclass(frozen=True, slots=True)
class LedgerRow:
    """One record as it came. Times in unix milliseconds, on the building's clocks."""

    edge: str
    incarnation: bytes
    lane: Lane
    seq: int
    kind: str
    body: dict[str, Any]
    device_at_ms: int | None
    edge_at_ms: int
    mono_ms: int
    clock: str
    received_at: datetime


async def latest(connection: Connection, *, tenant: str, property_id: str) -> list[LatestValue]:
    """Return the latest value of every attribute of a property's devices, by device."""
    rows = await fetch_all(
        connection,
        """SELECT room, device, capability, attribute, value, unit, quality, at, source, received_at
             FROM telemetry.latest WHERE tenant = %s AND property = %s ORDER BY device, capability, attribute""",
        [tenant, property_id],
    )
    return [LatestValue(**row) for row in rows]


async def link_health(connection: Connection, *, tenant: str, property_id: str) -> LinkHealth | None:
    """Return the state of the link of a property's edge, the one heard last; None: never heard."""
    row = await fetch_one(
        connection,
        """SELECT id, incarnation, last_heard_at, last_ack_at, live_at, backlog FROM telemetry.edge
            WHERE tenant = %s AND property = %s ORDER BY last_heard_at DESC LIMIT 1""",
        [tenant, property_id],
    )
    if row is None:
        return None
    # counted from marks and declared holes, which the transaction of each batch keeps true: no scan of the ledger
    lanes = await fetch_all(
        connection,
        """SELECT s.lane, s.incarnation, s.hi, s.duplicates, s.chain_breaks,
                  (s.hi - coalesce((SELECT sum(h.last - h.first + 1 - h.inside) FROM telemetry.hole h
                     WHERE (h.edge, h.incarnation, h.lane) = (s.edge, s.incarnation, s.lane)), 0))::bigint AS records
             FROM telemetry.stream s
            WHERE s.edge = %s AND s.tenant = %s AND s.property = %s ORDER BY s.lane, s.ordinal""",
        [row["id"], tenant, property_id],
    )
    return LinkHealth(
        edge=row["id"],
        incarnation=row["incarnation"],
        last_heard_at=row["last_heard_at"],
        last_ack_at=row["last_ack_at"],
        live_at=row["live_at"],
        backlog=row["backlog"],
        lanes=tuple(
            LaneHealth(
                Lane(each["lane"]),
                bytes(each["incarnation"]),
                each["hi"],
                each["records"],
                each["hi"] - each["records"],
                each["duplicates"],
                each["chain_breaks"],
            )
            for each in lanes
        ),
    )


async def records_page(
    connection: Connection,
    *,
    tenant: str,
    property_id: str,
    lane: Lane,
    edge: str | None = None,
    incarnation: bytes | None = None,
    after_seq: int = 0,
    most: int = 200,
) -> list[LedgerRow]:
    """Return up to `most` ledger rows of a lane after `after_seq`, in order of incarnation and position."""
    rows = await fetch_all(
        connection,
        """SELECT r.edge, r.incarnation, r.lane, r.seq, r.kind, r.body, r.device_at_ms, r.edge_at_ms, r.mono_ms,
                  r.clock, r.received_at
             FROM telemetry.stream s JOIN telemetry.record r
               ON (r.edge, r.incarnation, r.lane) = (s.edge, s.incarnation, s.lane)
            WHERE s.tenant = %(tenant)s AND s.property = %(property)s AND s.lane = %(lane)s
              AND r.tenant = %(tenant)s AND r.property = %(property)s
              AND (%(edge)s::text IS NULL OR s.edge = %(edge)s)
              AND (%(incarnation)s::bytea IS NULL OR s.incarnation = %(incarnation)s)
              AND r.seq > %(after)s
            ORDER BY s.ordinal, r.seq LIMIT %(most)s""",
        {
            "tenant": tenant,
            "property": property_id,
            "lane": lane.value,
            "edge": edge,
            "incarnation": incarnation,
            "after": after_seq,
            "most": min(most, RECORDS_PAGE_MAX),
        },
    )
    return [LedgerRow(**{**row, "lane": Lane(row["lane"])}) for row in rows]
