"""Proof that the time series is what the ledger's records make it: no reading lost, changed or made up.

Each kept record of kind "reading" is made a row anew, by the rule that made it (`cloud.telemetry.store.rows`), and held
against `telemetry.reading` by (ordinal, position), for what both keep: a reading older than the raw ones are kept has
gone into the roll-ups, one whose record retention let go can be held against nothing and is counted. Both sides come
from cursors of the server, in order, a thousand rows at a time, in one snapshot a property: memory is bounded.

Roll-ups are not read: they are computed from these rows.
"""

from bisect import bisect_right
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any, Final, NamedTuple

from psycopg import AsyncCursor
from psycopg.rows import tuple_row

from cloud.kit.database import Connection, Database, execute, fetch_all
from cloud.kit.times import at, unix_ms
from cloud.telemetry.chain_proof import as_written
from cloud.telemetry.ports import BatchContext
from cloud.telemetry.proof import Found, Range
from cloud.telemetry.store.backlog import floor_of
from cloud.telemetry.store.port import ReadingRow, Resolution, Scalar
from cloud.telemetry.store.rows import reading_row
from cloud.telemetry.store.writing import QUALITIES, SERIES_MOST
from protocols.device_model.identity import EdgeId
from protocols.errors import PeerProtocolError
from protocols.link.lanes import Lane
from protocols.link.record import ClockQuality, Record

READING_KIND: Final = "reading"
ROWS_A_PIECE: Final = 1_000
CHANGES_SHOWN_MOST: Final = 100
"""Changed rows of a stream of which is said what changed; of the others only where they are."""
_LEAST_MS: Final = 0
"""No reading is older, nor newer than the other: `store.times` believes no such clock."""
_MOST_MS: Final = 32_503_680_000_000


class Stored(NamedTuple):
    """One row of the time series, with its series' words. Times in unix milliseconds."""

    room: str
    device: str
    capability: str
    attribute: str
    unit: str
    at_ms: int
    edge_at_ms: int | None
    value: Scalar | None
    quality: str
    time_source: int
    since_ms: int | None
    stands_for: int | None


@dataclass(slots=True)
class Positions:
    """Positions of one kind, told one by one in order: those that follow one another are one range."""

    found: Found = field(default_factory=Found)
    _open: Range | None = None

    def add(self, seq: int) -> None:
        """Add a position."""
        if self._open is not None and seq == self._open.last + 1:
            self._open = Range(self._open.first, seq)
            return
        self.close()
        self._open = Range(seq, seq)

    def close(self) -> None:
        """Take the last range for whole."""
        if self._open is not None:
            self.found.add(*self._open)
            self._open = None


@dataclass(slots=True)
class ReadingsProof:
    """The readings of one stream, or of none: `edge` empty, rows under an ordinal that no stream of the property has.

    `compared`: rows that are what their record says. `missing`: records whose row is not there; `foreign`: rows of
    which there is no record, and rows that are there twice; `changed`: rows that say something else than their record.
    `let_go`: rows that stand alone, because retention let their records go. `unplaced`: records whose row is not there
    because the property had no room for its series, as was told (docs/decisions/0112). `changes`: what is different, of
    the first.
    """

    edge: str
    incarnation: bytes
    lane: str
    ordinal: int
    compared: int = 0
    let_go: int = 0
    unplaced: int = 0
    missing: Positions = field(default_factory=Positions)
    foreign: Positions = field(default_factory=Positions)
    changed: Positions = field(default_factory=Positions)
    changes: list[str] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        """Every row is what its record says, and every record has its row."""
        return not (self.missing.found.positions or self.foreign.found.positions or self.changed.found.positions)

    def told_as(self, seq: int, stored: Stored, told: Stored) -> None:
        """Take a row beside what its record says."""
        if stored == told and type(stored.value) is type(told.value):  # True is 1.0
            self.compared += 1
            return
        self.changed.add(seq)
        if len(self.changes) < CHANGES_SHOWN_MOST:
            different = [
                f"{name} {mine!r}, the record says {theirs!r}"
                for name, mine, theirs in zip(Stored._fields, stored, told, strict=True)
                if mine != theirs or type(mine) is not type(theirs)
            ]
            self.changes.append(f"{seq} of {told.device}: {'; '.join(different)}")

    def close(self) -> None:
        """Take what was told for all."""
        for each in (self.missing, self.foreign, self.changed):
            each.close()


class Spans:
    """Positions of a stream, as ranges."""

    def __init__(self, ranges: Iterable[tuple[int, int]]) -> None:
        self._firsts: list[int] = []
        self._lasts: list[int] = []
        for first, last in sorted(ranges):
            if self._lasts and first <= self._lasts[-1] + 1:
                self._lasts[-1] = max(self._lasts[-1], last)
            else:
                self._firsts.append(first)
                self._lasts.append(last)

    def __contains__(self, seq: int) -> bool:
        place = bisect_right(self._firsts, seq) - 1
        return place >= 0 and seq <= self._lasts[place]


@dataclass(frozen=True, slots=True)
class _Stream:
    edge: str
    incarnation: bytes
    lane: str
    ordinal: int


@dataclass(frozen=True, slots=True)
class _Asked:
    """Whose readings, of which time: `since_ms <= at < until_ms`. `series`: which there are; `full`: no more fit."""

    tenant: str
    property: str
    since_ms: int
    until_ms: int
    series: frozenset[tuple[str, ...]]
    full: bool

    def keeps(self, at_ms: int) -> bool:
        return self.since_ms <= at_ms < self.until_ms


async def prove_readings(
    database: Database,
    *,
    tenant: str,
    property_id: str,
    since: date | None = None,
    until: date | None = None,
    series_most: int = SERIES_MOST,
) -> AsyncIterator[ReadingsProof]:
    """Yield the proof of the readings of each stream of a property that has any; rows of no stream last.

    Args:
        since: only readings of this UTC day and later, by their own time.
        until: only readings before this UTC day.
        series_most: of a property, as the store has it.
    """
    async with database.snapshot() as connection:
        await execute(connection, "SET LOCAL statement_timeout = 0")  # the server sorts a property's readings
        floor = await floor_of(connection, Resolution.RAW)
        series = await _series(connection, tenant, property_id)
        asked = _Asked(
            tenant,
            property_id,
            max(_LEAST_MS if since is None else _midnight_ms(since), _LEAST_MS if floor is None else unix_ms(floor)),
            _MOST_MS if until is None else _midnight_ms(until),
            series,
            len(series) >= series_most,
        )
        streams = await _streams(connection, asked)
        stray = ReadingsProof("", b"", "", 0)
        async with connection.cursor("stored", row_factory=tuple_row) as cursor:
            rows = _Rows(_stored(cursor, asked))
            await rows.step()
            for each in streams:
                await _take_strays(rows, stray, before=each.ordinal)
                proof = await _prove(connection, asked, each, rows)
                if proof.compared or proof.let_go or proof.unplaced or not proof.holds:
                    yield proof
            await _take_strays(rows, stray, before=None)
        stray.close()
        if not stray.holds:
            yield stray


async def _prove(connection: Connection, asked: _Asked, stream: _Stream, rows: "_Rows") -> ReadingsProof:
    """Walk the stored rows of one stream beside its records, both in order of position."""
    proof = ReadingsProof(stream.edge, stream.incarnation, stream.lane, stream.ordinal)
    let_go, refused = await _let_go(connection, stream), await _refused(connection, stream)
    before = 0
    async with connection.cursor("told", row_factory=tuple_row) as cursor:
        async for seq, told in _told(cursor, asked, stream):
            if seq == before:  # a record that stands twice in the ledger: told there
                continue
            while rows.ordinal == stream.ordinal and rows.seq < seq:
                _take_alone(proof, rows.seq, before, let_go)
                before = rows.seq
                await rows.step()
            if told is None:  # no reading: no row
                continue
            if rows.ordinal == stream.ordinal and rows.seq == seq:
                proof.told_as(seq, rows.row, told)
                before = seq
                await rows.step()
            elif told[:5] not in asked.series and (asked.full or seq in refused):
                proof.unplaced += 1
            else:
                proof.missing.add(seq)
    while rows.ordinal == stream.ordinal:
        _take_alone(proof, rows.seq, before, let_go)
        before = rows.seq
        await rows.step()
    proof.close()
    return proof


def _take_alone(proof: ReadingsProof, seq: int, before: int, let_go: Spans) -> None:
    """Take a row beside which there is no record."""
    if seq != before and seq in let_go:
        proof.let_go += 1
    else:
        proof.foreign.add(seq)


async def _take_strays(rows: "_Rows", stray: ReadingsProof, *, before: int | None) -> None:
    """Take the rows whose ordinal is that of no stream, up to the stream `before`."""
    while rows.ordinal is not None and (before is None or rows.ordinal < before):
        stray.foreign.close()
        stray.foreign.add(rows.seq)
        if len(stray.changes) < CHANGES_SHOWN_MOST:
            stray.changes.append(f"{rows.seq} of {rows.row.device}: there is no stream {rows.ordinal}")
        await rows.step()


class _Rows:
    """The stored rows of a property, one in hand: `ordinal` None behind the last."""

    def __init__(self, rows: AsyncIterator[tuple[int, int, Stored]]) -> None:
        self._rows = rows
        self.ordinal: int | None = None
        self.seq = 0
        self.row: Stored

    async def step(self) -> None:
        """Go to the next row."""
        try:
            self.ordinal, self.seq, self.row = await anext(self._rows)
        except StopAsyncIteration:
            self.ordinal, self.seq = None, 0


async def _stored(cursor: AsyncCursor[tuple[Any, ...]], asked: _Asked) -> AsyncIterator[tuple[int, int, Stored]]:
    await cursor.execute(
        """
        SELECT r.ordinal, r.seq, s.room, s.device, s.capability, s.attribute, s.unit,
               (extract(epoch FROM r.at) * 1000)::bigint,
               CASE WHEN isfinite(r.edge_at) THEN (extract(epoch FROM r.edge_at) * 1000)::bigint END,
               r.number, r.flag, r.text, r.quality, r.time_source,
               CASE WHEN isfinite(r.since) THEN (extract(epoch FROM r.since) * 1000)::bigint END, r.stands_for
          FROM telemetry.reading r JOIN telemetry.series s ON s.id = r.series
         WHERE s.tenant = %s AND s.property = %s AND r.at >= %s AND r.at < %s
         ORDER BY r.ordinal, r.seq
        """,
        [asked.tenant, asked.property, at(asked.since_ms), at(asked.until_ms)],
    )
    while rows := await cursor.fetchmany(ROWS_A_PIECE):
        for ordinal, seq, room, device, capability, attribute, unit, at_ms, edge_ms, number, flag, text, *rest in rows:
            quality, source, since_ms, stands_for = rest
            values = [each for each in (number, flag, text) if each is not None]
            value = values[0] if len(values) == 1 else None if not values else str(values)
            known = QUALITIES[quality] if 0 <= quality < len(QUALITIES) else str(quality)
            yield ordinal, seq, Stored(
                room, device, capability, attribute, unit, at_ms, edge_ms, value, known, source, since_ms, stands_for
            )  # fmt: skip


async def _told(
    cursor: AsyncCursor[tuple[Any, ...]], asked: _Asked, stream: _Stream
) -> AsyncIterator[tuple[int, Stored | None]]:
    """Yield (position, row) of each kept record of a stream that tells a reading; None: refused, or of another time."""
    await cursor.execute(
        """
        SELECT seq, body, device_at_ms, edge_at_ms, mono_ms, clock, received_at FROM telemetry.record
         WHERE edge = %s AND incarnation = %s AND lane = %s AND kind = %s AND tenant = %s AND property = %s
         ORDER BY seq, id
        """,
        [stream.edge, stream.incarnation, stream.lane, READING_KIND, asked.tenant, asked.property],
    )
    lane, edge = Lane(stream.lane), EdgeId(stream.edge)
    while rows := await cursor.fetchmany(ROWS_A_PIECE):
        for seq, body, device_at_ms, edge_at_ms, mono_ms, clock, received_at in rows:
            context = BatchContext(
                asked.tenant, asked.property, edge, stream.incarnation, lane, unix_ms(received_at)
            )  # fmt: skip
            try:
                record = Record(
                    lane, seq, READING_KIND, as_written(body), device_at_ms, edge_at_ms, mono_ms, ClockQuality(clock)
                )
                row = reading_row(context, stream.ordinal, record)
            except (PeerProtocolError, AttributeError, ValueError):  # what SQL made of it is told by the ledger's proof
                yield seq, None
                continue
            yield seq, _as_stored(row) if asked.keeps(row.at_ms) else None


def _as_stored(row: ReadingRow) -> Stored:
    value = row.value
    return Stored(
        row.room or "", row.device, row.capability, row.attribute, row.unit or "", row.at_ms, row.edge_at_ms,
        float(value) if type(value) is int else value, row.quality, int(row.time_source),
        None if row.thinned is None else row.thinned.since_ms, None if row.thinned is None else row.thinned.stands_for,
    )  # fmt: skip


async def _streams(connection: Connection, asked: _Asked) -> list[_Stream]:
    """Return the streams of a property's edges in order, also of one that another property had before."""
    rows = await fetch_all(
        connection,
        """
        SELECT edge, incarnation, lane, ordinal FROM telemetry.stream
         WHERE (tenant = %(tenant)s AND property = %(property)s)
            OR edge IN (SELECT id FROM telemetry.edge WHERE tenant = %(tenant)s AND property = %(property)s)
         ORDER BY ordinal
        """,
        {"tenant": asked.tenant, "property": asked.property},
    )
    return [_Stream(row["edge"], bytes(row["incarnation"]), row["lane"], row["ordinal"]) for row in rows]


async def _let_go(connection: Connection, stream: _Stream) -> Spans:
    rows = await fetch_all(
        connection,
        """SELECT runs FROM telemetry.proof
            WHERE edge = %s AND incarnation = %s AND lane = %s AND let_go_at IS NOT NULL""",
        [stream.edge, stream.incarnation, stream.lane],
    )
    return Spans((run[0], run[1]) for row in rows for run in row["runs"])


async def _refused(connection: Connection, stream: _Stream) -> Spans:
    """Return the positions whose records were refused: what retention keeps of the list."""
    rows = await fetch_all(
        connection,
        """SELECT first, last FROM telemetry.refused
            WHERE edge = %s AND incarnation = %s AND lane = %s AND first IS NOT NULL""",
        [stream.edge, stream.incarnation, stream.lane],
    )
    return Spans((row["first"], row["last"]) for row in rows)


async def _series(connection: Connection, tenant: str, property_id: str) -> frozenset[tuple[str, ...]]:
    rows = await fetch_all(
        connection,
        """SELECT room, device, capability, attribute, unit FROM telemetry.series
            WHERE tenant = %s AND property = %s""",
        [tenant, property_id],
    )
    return frozenset(tuple(row.values()) for row in rows)


def _midnight_ms(day: date) -> int:
    return unix_ms(datetime(day.year, day.month, day.day, tzinfo=UTC))
