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


@dataclass(frozen=True, slots=True)
class RecordsPage:
    """Ledger rows in order; `following`: where the next page begins, None: there is nothing behind yet."""

    rows: list[LedgerRow]
    following: tuple[int, int] | None


async def records_page(
    connection: Connection,
    *,
    tenant: str,
    property_id: str,
    lane: Lane,
    edge: str | None = None,
    incarnation: bytes | None = None,
    after_seq: int = 0,
    after: tuple[int, int] = (0, 0),
    most: int = 200,
) -> RecordsPage:
    """Return up to `most` ledger rows of a lane, stream by stream as they began, each in order of position.

    Args:
        after_seq: in every stream, only what lies behind this position.
        after: number of a stream and position in it, behind which to go on: positions alone begin again with each
            incarnation.
    """
    most = min(most, RECORDS_PAGE_MAX)
    streams = await fetch_all(
        connection,
        """SELECT edge, incarnation, lane, ordinal FROM telemetry.stream
            WHERE tenant = %(tenant)s AND property = %(property)s AND lane = %(lane)s AND ordinal >= %(ordinal)s
              AND (%(edge)s::text IS NULL OR edge = %(edge)s)
              AND (%(incarnation)s::bytea IS NULL OR incarnation = %(incarnation)s)
            ORDER BY ordinal""",
        {
            "tenant": tenant,
            "property": property_id,
            "lane": lane.value,
            "edge": edge,
            "incarnation": incarnation,
            "ordinal": after[0],
        },
    )
    rows: list[LedgerRow] = []
    last = after
    for stream in streams:
        found = await fetch_all(
            connection,
            """SELECT edge, incarnation, lane, seq, kind, body, device_at_ms, edge_at_ms, mono_ms, clock, received_at
                 FROM telemetry.record
                WHERE edge = %s AND incarnation = %s AND lane = %s AND seq > %s AND tenant = %s AND property = %s
                ORDER BY seq, id LIMIT %s""",
            [
                stream["edge"], stream["incarnation"], stream["lane"],
                max(after_seq, after[1] if stream["ordinal"] == after[0] else 0), tenant, property_id,
                most - len(rows) + 1,
            ],
        )  # fmt: skip
        for row in found:
            if len(rows) == most:
                return RecordsPage(rows, last)
            rows.append(LedgerRow(**{**row, "lane": Lane(row["lane"])}))
            last = stream["ordinal"], row["seq"]
    return RecordsPage(rows, None)
