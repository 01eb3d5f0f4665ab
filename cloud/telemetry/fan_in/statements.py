"""The statements of a group's transaction: each takes what all batches of the group have to say at once."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

import msgspec

from cloud.kit.arrays import ByteaArray, TextArray, bigints, byteas, texts, timestamptzs
from cloud.kit.database import Connection, execute, fetch_all
from cloud.kit.times import at
from cloud.telemetry.fan_in.ledger_rows import COPY_END, COPY_HEAD, COPY_RECORDS
from cloud.telemetry.ports import BatchContext, EdgeOwner
from protocols.device_model.identity import EdgeId
from protocols.errors import StoreFailedError
from protocols.link.batch import OPENING_BYTES, Hole
from protocols.link.cloud_stream import CloudStream
from protocols.link.lanes import Lane
from protocols.link.messages import OPENINGS_MAX, StreamMark

IDLE_MOST: Final = timedelta(seconds=5)
"""A worker that falls asleep inside its transaction loses it, and with it every lock, after this."""
DETAIL_MAX: Final = 500
COPY_PIECE_ROWS: Final = 4_000

StreamKey = tuple[EdgeId, bytes, Lane]

_json = msgspec.json.Encoder()


@dataclass(slots=True)
class StreamRow:
    """One stream's row, locked until the transaction ends, and what the group adds to it."""

    ordinal: int
    stream: CloudStream
    openings: tuple[bytes, ...]
    stored: int = 0
    duplicates: int = 0
    gaps: int = 0
    chain_breaks: int = 0
    opened: bool = False

    def heard_of(self, opening: bytes) -> None:
        """The newest batch was written in `opening`."""
        if not self.openings or self.openings[0] != opening:
            self.openings = (opening, *(each for each in self.openings if each != opening))[:OPENINGS_MAX]
            self.opened = True


@dataclass(slots=True)
class Heard:
    """What was heard of one edge."""

    owner: EdgeOwner
    hello_ms: int | None = None
    live_ms: int | None = None
    ack_ms: int | None = None
    incarnation: bytes | None = None
    backlog: dict[str, int] | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """Something that could not be taken: kept, with its bytes if they are its fault."""

    edge: str
    incarnation: bytes | None
    lane: Lane
    first: int | None
    last: int | None
    error: BaseException
    payload: bytes | None


@dataclass(slots=True)
class Notes:
    """What goes to the side tables."""

    holes: list[tuple[BatchContext, Hole, int]] = field(default_factory=list)
    """Each with the number of records inside."""
    refused: list[Refused] = field(default_factory=list)
    heard: dict[EdgeId, Heard] = field(default_factory=dict)
    kinds: dict[str, set[str]] = field(default_factory=dict)
    """Kinds of what changed, by property."""
    devices: dict[str, set[str]] = field(default_factory=dict)
    """Whose newest values may have changed, by property."""


async def wake_if_asleep(connection: Connection) -> None:
    """Let the server end this transaction if we go quiet inside it."""
    milliseconds = str(IDLE_MOST // timedelta(milliseconds=1))
    await execute(connection, "SELECT set_config('idle_in_transaction_session_timeout', %s, true)", [milliseconds])


async def lock_streams(
    connection: Connection, wanted: Mapping[StreamKey, BatchContext], beginning: Collection[StreamKey]
) -> dict[StreamKey, StreamRow]:
    """Return the rows of `wanted` streams, locked in one order for all until the transaction ends.

    Args:
        beginning: those of which the first position came: they are made if new. Of a new stream's middle nothing can be
            stored: it stands at 0 and gets no row, whatever incarnations somebody makes up.
    """
    if not wanted:
        return {}
    rows = await _locked(connection, list(wanted))
    new = wanted.keys() - rows.keys()
    if missing := sorted(new & set(beginning)):
        contexts = [wanted[key] for key in missing]
        edges, incarnations, lanes = _columns(missing)
        await execute(
            connection,
            """INSERT INTO telemetry.stream (edge, incarnation, lane, tenant, property, began_at, moved_at)
               SELECT new.*, %(now)s, %(now)s
                 FROM unnest(%(edge)s, %(incarnation)s, %(lane)s, %(tenant)s, %(property)s) AS new
               ON CONFLICT DO NOTHING""",
            {
                "edge": edges,
                "incarnation": incarnations,
                "lane": lanes,
                "tenant": texts([each.tenant for each in contexts]),
                "property": texts([each.property for each in contexts]),
                "now": at(contexts[0].received_ms),
            },
        )
        made = await _locked(connection, missing)
        if vanished := set(missing) - made.keys():
            raise StoreFailedError(f"{len(vanished)} streams vanished while they were being made")
        rows |= made
    for key in wanted.keys() - rows.keys():
        _, incarnation, lane = key
        rows[key] = StreamRow(0, CloudStream(incarnation, lane, 0, None), ())
    return rows


async def _locked(connection: Connection, keys: Sequence[StreamKey]) -> dict[StreamKey, StreamRow]:
    rows = await fetch_all(
        connection,
        """SELECT s.edge, s.incarnation, s.lane, s.ordinal, s.hi, s.chain, s.openings
             FROM unnest(%s, %s, %s) AS mine (edge, incarnation, lane)
             JOIN telemetry.stream s USING (edge, incarnation, lane)
            ORDER BY s.edge, s.incarnation, s.lane FOR UPDATE OF s""",
        _columns(keys),
    )
    found: dict[StreamKey, StreamRow] = {}
    for row in rows:
        incarnation, lane = bytes(row["incarnation"]), Lane(row["lane"])
        chain = None if row["chain"] is None else bytes(row["chain"])
        found[EdgeId(row["edge"]), incarnation, lane] = StreamRow(
            row["ordinal"], CloudStream(incarnation, lane, row["hi"], chain), tuple(map(bytes, row["openings"]))
        )
    return found


async def marks_of(
    connection: Connection, wanted: Iterable[tuple[EdgeId, StreamMark]]
) -> dict[StreamKey, tuple[int, tuple[bytes, ...]]]:
    """Return mark and openings of each stream that the cloud knows."""
    keys = [(edge, each.incarnation, each.lane) for edge, each in wanted]
    if not keys:
        return {}
    rows = await fetch_all(
        connection,
        """SELECT s.edge, s.incarnation, s.lane, s.hi, s.openings
             FROM unnest(%s, %s, %s) AS mine (edge, incarnation, lane)
             JOIN telemetry.stream s USING (edge, incarnation, lane)""",
        _columns(keys),
    )
    return {
        (EdgeId(row["edge"]), bytes(row["incarnation"]), Lane(row["lane"])): (
            row["hi"],
            tuple(map(bytes, row["openings"])),
        )
        for row in rows
    }


async def copy_records(connection: Connection, rows: Sequence[bytes]) -> None:
    """Write encoded rows (`ledger_rows.copy_rows`) into the ledger."""
    if not rows:
        return
    async with connection.cursor() as cursor, cursor.copy(COPY_RECORDS) as copy:
        await copy.write(COPY_HEAD)
        for start in range(0, len(rows), COPY_PIECE_ROWS):
            await copy.write(b"".join(rows[start : start + COPY_PIECE_ROWS]))
        await copy.write(COPY_END)


async def move_marks(connection: Connection, rows: Mapping[StreamKey, StreamRow], now_ms: int) -> None:
    """Write the marks and counts of every stream that a batch came for."""
    if not rows:
        return
    keys, values = list(rows), list(rows.values())
    edges, incarnations, lanes = _columns(keys)
    await execute(
        connection,
        """UPDATE telemetry.stream AS s
              SET hi = new.hi, chain = new.chain, moved_at = %(now)s, batches = s.batches + new.stored,
                  duplicates = s.duplicates + new.duplicates, gap_answers = s.gap_answers + new.gaps,
                  chain_breaks = s.chain_breaks + new.chain_breaks
             FROM unnest(%(edge)s, %(incarnation)s, %(lane)s, %(hi)s, %(chain)s, %(stored)s, %(duplicates)s, %(gaps)s,
                         %(chain_breaks)s)
               AS new (edge, incarnation, lane, hi, chain, stored, duplicates, gaps, chain_breaks)
            WHERE (s.edge, s.incarnation, s.lane) = (new.edge, new.incarnation, new.lane)""",
        {
            "now": at(now_ms),
            "edge": edges,
            "incarnation": incarnations,
            "lane": lanes,
            "hi": bigints([each.stream.hi for each in values]),
            "chain": byteas([each.stream.chain for each in values]),
            "stored": bigints([each.stored for each in values]),
            "duplicates": bigints([each.duplicates for each in values]),
            "gaps": bigints([each.gaps for each in values]),
            "chain_breaks": bigints([each.chain_breaks for each in values]),
        },
    )
    # as one text of bytes each, cut by their one length: PostgreSQL has no arrays of arrays of different lengths
    opened = [(key, row) for key, row in rows.items() if row.opened]
    if opened:  # once in the life of an edge process; of many when a fleet comes back
        edges, incarnations, lanes = _columns([key for key, _ in opened])
        await execute(
            connection,
            """UPDATE telemetry.stream AS s
                  SET openings = ARRAY(SELECT substring(new.openings FROM n FOR %(bytes)s)
                                         FROM generate_series(1, length(new.openings), %(bytes)s) AS n ORDER BY n)
                 FROM unnest(%(edge)s, %(incarnation)s, %(lane)s, %(openings)s)
                   AS new (edge, incarnation, lane, openings)
                WHERE (s.edge, s.incarnation, s.lane) = (new.edge, new.incarnation, new.lane)""",
            {
                "edge": edges,
                "incarnation": incarnations,
                "lane": lanes,
                "openings": byteas([b"".join(row.openings) for _, row in opened]),
                "bytes": OPENING_BYTES,
            },
        )


async def write_notes(connection: Connection, notes: Notes, now_ms: int) -> None:
    """Write holes, refusals, and who was heard."""
    await _write_holes(connection, notes.holes)
    for each in notes.refused:
        await execute(
            connection,
            """INSERT INTO telemetry.refused (edge, incarnation, lane, first, last, error, detail, payload, at)
               VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)""",
            [
                each.edge, each.incarnation, each.lane.value, each.first, each.last, type(each.error).__name__,
                str(each.error).replace("\x00", "\\0")[:DETAIL_MAX], each.payload, at(now_ms),
            ],
        )  # fmt: skip
    await _write_heard(connection, notes.heard, now_ms)


async def _write_holes(connection: Connection, holes: Sequence[tuple[BatchContext, Hole, int]]) -> None:
    if not holes:
        return
    await execute(
        connection,
        """INSERT INTO telemetry.hole (edge, incarnation, lane, first, last, reason, inside, told_at)
           SELECT new.*, %(now)s FROM unnest(%(edge)s::text[], %(incarnation)s::bytea[], %(lane)s::text[],
                  %(first)s::bigint[], %(last)s::bigint[], %(reason)s::text[], %(inside)s::bigint[]) AS new""",
        {
            "now": at(holes[0][0].received_ms),
            "edge": [context.edge for context, _, _ in holes],
            "incarnation": [context.incarnation for context, _, _ in holes],
            "lane": [context.lane.value for context, _, _ in holes],
            "first": [hole.first for _, hole, _ in holes],
            "last": [hole.last for _, hole, _ in holes],
            "reason": [hole.reason.name.lower() for _, hole, _ in holes],
            "inside": [inside for _, _, inside in holes],
        },
    )


async def _write_heard(connection: Connection, heard: Mapping[EdgeId, Heard], now_ms: int) -> None:
    if not heard:
        return
    edges = sorted(heard)
    each = [heard[edge] for edge in edges]
    await execute(
        connection,
        """
        INSERT INTO telemetry.edge AS known (id, tenant, property, incarnation, last_heard_at, last_hello_at,
                                             last_ack_at, live_at, backlog)
        SELECT new.id, new.tenant, new.property, new.incarnation, %(now)s, new.hello, new.ack, new.live,
               new.backlog::jsonb
          FROM unnest(%(edge)s, %(tenant)s, %(property)s, %(incarnation)s, %(hello)s, %(ack)s, %(live)s, %(backlog)s)
            AS new (id, tenant, property, incarnation, hello, ack, live, backlog)
        ON CONFLICT (id) DO UPDATE SET tenant = excluded.tenant, property = excluded.property,
            incarnation = coalesce(excluded.incarnation, known.incarnation),
            last_heard_at = greatest(excluded.last_heard_at, known.last_heard_at),
            last_hello_at = coalesce(excluded.last_hello_at, known.last_hello_at),
            last_ack_at = coalesce(excluded.last_ack_at, known.last_ack_at),
            live_at = coalesce(excluded.live_at, known.live_at), backlog = coalesce(excluded.backlog, known.backlog)
        """,
        {
            "now": at(now_ms),
            "edge": texts(edges),
            "tenant": texts([one.owner.tenant for one in each]),
            "property": texts([one.owner.property for one in each]),
            "incarnation": byteas([one.incarnation for one in each]),
            "hello": timestamptzs([one.hello_ms for one in each]),
            "ack": timestamptzs([one.ack_ms for one in each]),
            "live": timestamptzs([one.live_ms for one in each]),
            "backlog": texts([None if one.backlog is None else _json.encode(one.backlog).decode() for one in each]),
        },
    )


def _columns(keys: Sequence[StreamKey]) -> tuple[TextArray, ByteaArray, TextArray]:
    return texts([key[0] for key in keys]), byteas([key[1] for key in keys]), texts([key[2].value for key in keys])
