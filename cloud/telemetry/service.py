"""What others ask of the records: latest values, the state of a building's link, pages of the ledger, and proof
of completeness.

Completeness is told from sequence numbers, never from counts: every position of a stream up to its mark is a
record, or a hole
that the edge declared (with its reason), or missing. Missing, doubled and out-of-order positions must be none.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from cloud.kit.database import Connection, fetch_all, fetch_one
from protocols.link.lanes import Lane

RECORDS_PAGE_MAX: Final = 1_000
GAPS_SHOWN_MAX: Final = 1_000


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
    """One stream's mark and what is stored below it."""

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


@dataclass(frozen=True, slots=True)
class DeclaredHole:
    """Positions the edge gave up and said so."""

    first: int
    last: int
    reason: str


@dataclass(frozen=True, slots=True)
class Completeness:
    """One stream held against its mark. `gaps`: positions that nobody accounts for; must be empty."""

    edge: str
    incarnation: bytes
    lane: Lane
    first: int
    hi: int
    count: int
    gaps: tuple[tuple[int, int], ...]
    holes: tuple[DeclaredHole, ...]
    duplicates: int
    out_of_order: int
    chain_breaks: int

    @property
    def holds(self) -> bool:
        """Nothing lost, doubled, out of order or changed."""
        return not (self.gaps or self.duplicates or self.out_of_order or self.chain_breaks)


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
                  (s.hi - coalesce((SELECT sum(h.last - h.first + 1) FROM telemetry.hole h
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


async def completeness(connection: Connection, *, tenant: str, property_id: str) -> list[Completeness]:
    """Hold every stream of a property against its mark. Reads the whole ledger of the property."""
    streams = await fetch_all(
        connection,
        """SELECT edge, incarnation, lane, hi, chain_breaks FROM telemetry.stream
            WHERE tenant = %s AND property = %s ORDER BY edge, lane, ordinal""",
        [tenant, property_id],
    )
    return [await _completeness(connection, row) for row in streams]


async def verify(connection: Connection, *, tenant: str, property_id: str) -> bool:
    """Return whether nothing of a property's records is lost, doubled, out of order or changed."""
    return all(each.holds for each in await completeness(connection, tenant=tenant, property_id=property_id))


async def _completeness(connection: Connection, stream: dict[str, Any]) -> Completeness:
    key = [stream["edge"], stream["incarnation"], stream["lane"]]
    totals = await fetch_one(
        connection,
        """SELECT count(*) AS count, count(*) - count(DISTINCT seq) AS duplicates, coalesce(min(seq), 0) AS first,
                  count(*) FILTER (WHERE seq < before) AS out_of_order, count(*) FILTER (WHERE seq > %s) AS beyond
             FROM (SELECT seq, lag(seq) OVER (ORDER BY id) AS before FROM telemetry.record
                    WHERE edge = %s AND incarnation = %s AND lane = %s) AS one""",
        [stream["hi"], *key],
    )
    holes = await fetch_all(
        connection,
        """SELECT first, last, reason FROM telemetry.hole WHERE edge = %s AND incarnation = %s AND lane = %s
            ORDER BY first""",
        key,
    )
    missing = await fetch_all(
        connection,
        """SELECT before + 1 AS first, seq - 1 AS last
             FROM (SELECT seq, lag(seq, 1, 0::bigint) OVER (ORDER BY seq) AS before
                     FROM (SELECT DISTINCT seq FROM telemetry.record WHERE edge = %s AND incarnation = %s AND lane = %s
                           UNION SELECT %s::bigint + 1) AS held) AS steps
            WHERE seq > before + 1 ORDER BY 1""",
        [*key, stream["hi"]],
    )
    declared = tuple(DeclaredHole(row["first"], row["last"], row["reason"]) for row in holes)
    gaps = unaccounted([(row["first"], row["last"]) for row in missing], declared)
    counts = totals or {"count": 0, "duplicates": 0, "first": 0, "out_of_order": 0, "beyond": 0}
    return Completeness(
        edge=stream["edge"],
        incarnation=bytes(stream["incarnation"]),
        lane=Lane(stream["lane"]),
        first=counts["first"],
        hi=stream["hi"],
        count=counts["count"],
        gaps=tuple(gaps[:GAPS_SHOWN_MAX]),
        holes=declared,
        duplicates=counts["duplicates"],
        # a record past the mark was never acknowledged in order
        out_of_order=counts["out_of_order"] + counts["beyond"],
        chain_breaks=stream["chain_breaks"],
    )


def unaccounted(missing: Sequence[tuple[int, int]], declared: Sequence[DeclaredHole]) -> list[tuple[int, int]]:
    """Return what is missing and lies in no declared hole; both sorted, ends included."""
    left: list[tuple[int, int]] = []
    for first, last in missing:
        at = first
        for hole in declared:
            if hole.last < at or hole.first > last:
                continue
            if hole.first > at:
                left.append((at, hole.first - 1))
            at = hole.last + 1
        if at <= last:
            left.append((at, last))
    return left
