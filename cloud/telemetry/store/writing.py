"""Readings into the table: series found or made, rows encoded for COPY or spread over arrays, and the roll-up told.

Everything happens in the caller's transaction. What was written is told to the roll-up in the same transaction
(`telemetry.rollup_log`), so that no reading can be there of which the roll-up will not hear.
"""

import struct
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, LiteralString, Protocol

from cloud.kit.arrays import TextArray, texts, timestamptzs
from cloud.kit.database import Connection, execute, fetch_all, fetch_one
from cloud.kit.times import at
from cloud.telemetry.store.port import ReadingRow
from protocols.errors import LocalProtocolError, StoreFailedError

QUALITIES: Final = ("good", "uncertain", "bad", "stale")
"""By their code in the table; what comes before "bad" counts in roll-ups."""
NUMBER_MOST: Final = 1e200
"""Beyond it sums could overflow, and one reading would keep everybody's roll-up from going on."""
TELL_MS: Final = 900_000
"""The roll-up is told of spans no longer than this, aligned to it: one late batch must not invalidate a day."""
SERIES_MOST: Final = 100_000
"""Series of a property: 300 rooms have some 6,000, and one more for each room or unit that a point moves to."""
KNOWN_MOST: Final = 1_000_000
"""Series remembered by one process."""
KNOWN_FOR: Final = timedelta(hours=1)
"""So long it goes by what it remembers: series that nothing is left of are let go (series_keeping.py)."""

_QUALITY: Final = {name: code for code, name in enumerate(QUALITIES)}
_HEADER: Final = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
_TRAILER: Final = b"\xff\xff"
_POSTGRES_EPOCH_MS: Final = 946_684_800_000
_COLUMNS: Final = "at, series, edge_at, number, flag, text, quality, time_source, ordinal, seq"
HELD_MS: Final = 1_800_000
"""How far by their time those lie apart that are stored by themselves and summed up in a thinned reading as well."""

# field count, then (length, value) a column; -1 is NULL
_NUMBER: Final = struct.Struct(">hiqiiiqidiiihihiqiq").pack
_FLAG: Final = struct.Struct(">hiqiiiqii?iihihiqiq").pack
_NONE: Final = struct.Struct(">hiqiiiqiiiihihiqiq").pack
_TEXT: Final = struct.Struct(">hiqiiiqiii").pack
_END: Final = struct.Struct(">ihihiqiq").pack

SeriesKey = tuple[str, str, str, str, str, str, str]
Placed = tuple[int, ReadingRow]
"""A reading and the id of its series."""


class RowWriter(Protocol):
    """How rows reach the server."""

    async def write(self, connection: Connection, rows: Sequence[tuple[int, ReadingRow]]) -> None:
        """Insert (series, reading) rows."""
        ...


def copy_bytes(rows: Iterable[tuple[int, ReadingRow]]) -> bytes:
    """Return rows as a COPY BINARY stream of `telemetry.reading`.

    Raises:
        LocalProtocolError: a value that no reading may have.
    """
    parts = [_HEADER]
    add = parts.append
    for series, row in rows:
        value = row.value
        at_us = (row.at_ms - _POSTGRES_EPOCH_MS) * 1000
        edge_us = (row.edge_at_ms - _POSTGRES_EPOCH_MS) * 1000
        quality, source, ordinal, seq = _QUALITY[row.quality], row.time_source, row.ordinal, row.seq
        kind = type(value)
        if kind is float or kind is int:
            number = _number(value, row)
            add(_NUMBER(
                10, 8, at_us, 4, series, 8, edge_us, 8, number, -1, -1, 2, quality, 2, source, 8, ordinal, 8, seq
            ))  # fmt: skip
        elif kind is bool:
            add(_FLAG(
                10, 8, at_us, 4, series, 8, edge_us, -1, 1, value, -1, 2, quality, 2, source, 8, ordinal, 8, seq
            ))  # fmt: skip
        elif value is None:
            add(_NONE(
                10, 8, at_us, 4, series, 8, edge_us, -1, -1, -1, 2, quality, 2, source, 8, ordinal, 8, seq
            ))  # fmt: skip
        elif isinstance(value, str):
            text = value.encode()
            add(_TEXT(10, 8, at_us, 4, series, 8, edge_us, -1, -1, len(text)))
            add(text)
            add(_END(2, quality, 2, source, 8, ordinal, 8, seq))
        else:
            raise LocalProtocolError(f"reading of {row.device}: {kind.__name__} is no value")
    add(_TRAILER)
    return b"".join(parts)


def _number(value: Any, row: ReadingRow) -> float:  # noqa: ANN401 - int or float, told apart by the caller
    if not -NUMBER_MOST < value < NUMBER_MOST:  # NaN compares false
        raise LocalProtocolError(f"reading of {row.device}: {value} is no number that can be summed")
    return float(value)


class CopyWriter:
    """COPY BINARY."""

    async def write(self, connection: Connection, rows: Sequence[tuple[int, ReadingRow]]) -> None:
        """See `RowWriter`."""
        data = copy_bytes(rows)
        statement: LiteralString = f"COPY telemetry.reading ({_COLUMNS}) FROM STDIN (FORMAT BINARY)"
        async with connection.cursor() as cursor, cursor.copy(statement) as copy:
            await copy.write(data)


class UnnestWriter:
    """INSERT .. SELECT unnest: for servers or poolers that do not take COPY."""

    async def write(self, connection: Connection, rows: Sequence[tuple[int, ReadingRow]]) -> None:
        """See `RowWriter`."""
        values = [row.value for _, row in rows]
        kinds = [type(value) for value in values]
        numbers = [
            _number(value, row) if kind in (int, float) else None
            for value, kind, (_, row) in zip(values, kinds, rows, strict=True)
        ]
        await connection.execute(
            """
            INSERT INTO telemetry.reading
                (at, series, edge_at, number, flag, text, quality, time_source, ordinal, seq)
            SELECT * FROM unnest(%s::timestamptz[], %s::int[], %s::timestamptz[], %s::float8[], %s::bool[], %s::text[],
                                 %s::int2[], %s::int2[], %s::int8[], %s::int8[])
            """,
            [
                [at(row.at_ms) for _, row in rows],
                [series for series, _ in rows],
                [at(row.edge_at_ms) for _, row in rows],
                numbers,
                [value if kind is bool else None for value, kind in zip(values, kinds, strict=True)],
                [value if kind is str else None for value, kind in zip(values, kinds, strict=True)],
                [_QUALITY[row.quality] for _, row in rows],
                [int(row.time_source) for _, row in rows],
                [row.ordinal for _, row in rows],
                [row.seq for _, row in rows],
            ],
        )


class SeriesIds:
    """The ids of series, remembered once they are committed.

    A series made by a transaction that rolls back never was: an id is remembered only when another transaction than
    the one that made it finds it. So is one that was marked as unused: that it was taken back may be rolled back.

    Args:
        most: series of a property; beyond them none is made (docs/decisions/0112).
    """

    def __init__(self, most: int = SERIES_MOST) -> None:
        self._most = most
        self._known: dict[SeriesKey, int] = {}
        self._made_by: dict[SeriesKey, int] = {}
        self.since: datetime | None = None
        """When it began to remember what it does now, on the clock of the database; None: it has not begun."""

    async def look_again(self, connection: Connection, used: Collection[int], now: datetime) -> None:
        """Remember from now on anew; hold the series `used` by this transaction, of ids that were remembered too long.

        Raises:
            StoreFailedError: one is gone: the readings are to be written again, under another.
        """
        self._known.clear()
        self.since = now
        if len(await _taken_back(connection, used)) < len(set(used)):
            raise StoreFailedError("series that were remembered too long are gone: write again")

    async def of(self, connection: Connection, keys: Iterable[SeriesKey]) -> dict[SeriesKey, int]:
        """Return the id of each key, making what is new; without those for which there is no room."""
        known = self._known
        found: dict[SeriesKey, int] = {}
        unknown: list[SeriesKey] = []
        for key in set(keys):
            if (number := known.get(key)) is not None:
                found[key] = number
            else:
                unknown.append(key)
        if unknown:
            unknown.sort()  # one order for all writers: no two can wait for each other here
            found.update(await self._look_up(connection, unknown))
        return found

    async def _look_up(self, connection: Connection, keys: Sequence[SeriesKey]) -> dict[SeriesKey, int]:
        found = await self._find(connection, keys)
        missing = await self._within(connection, [key for key in keys if key not in found])
        if missing:
            found.update(await self._make(connection, missing))
        if missing := [key for key in missing if key not in found]:
            found.update(await self._find(connection, missing))  # somebody else made them meanwhile
        return found

    async def _within(self, connection: Connection, keys: Sequence[SeriesKey]) -> list[SeriesKey]:
        """Return those of new keys that their property has room for, in order."""
        if not keys:
            return []
        counted = await fetch_all(
            connection,
            """
            SELECT asked.*, (SELECT count(*) FROM (
                       SELECT FROM telemetry.series s WHERE s.tenant = asked.tenant AND s.property = asked.property
                        LIMIT %s) AS few) AS count
              FROM unnest(%s, %s) AS asked (tenant, property)
            """,
            [self._most, *_columns(sorted({key[:2] for key in keys}))],
        )
        room = {(row["tenant"], row["property"]): self._most - row["count"] for row in counted}
        within: list[SeriesKey] = []
        for key in keys:
            if room[key[:2]] > 0:
                room[key[:2]] -= 1
                within.append(key)
        return within

    async def _find(self, connection: Connection, keys: Sequence[SeriesKey]) -> dict[SeriesKey, int]:
        rows = await fetch_all(
            connection,
            """
            SELECT id, tenant, property, device, capability, attribute, room, unit, unused_since,
                   statement_timestamp() AS now
              FROM telemetry.series
             WHERE (tenant, property, device, capability, attribute, room, unit) IN (SELECT * FROM
                    unnest(%s, %s, %s, %s, %s, %s, %s))
            """,
            _columns(keys),
        )
        unused = {_key(row): row["id"] for row in rows if row["unused_since"] is not None}
        if unused:
            stand = await _taken_back(connection, unused.values())
            rows = [row for row in rows if row["unused_since"] is None or row["id"] in stand]
        found = {_key(row): row["id"] for row in rows}
        ours = None
        if unused or any(key in self._made_by for key in found):
            here = await fetch_one(connection, "SELECT pg_current_xact_id()::text::bigint AS id")
            ours = None if here is None else here["id"]
            if ours is not None:
                self._made_by.update({key: ours for key in unused if key in found})
        if rows and self.since is None:
            self.since = rows[0]["now"]
        if len(self._known) + len(found) > KNOWN_MOST:
            self._known.clear()
        for key, number in found.items():
            made_by = self._made_by.get(key)
            if made_by is None or made_by != ours:  # made by another transaction, which has committed: we could see it
                self._made_by.pop(key, None)
                self._known[key] = number
        return found

    async def _make(self, connection: Connection, keys: Sequence[SeriesKey]) -> dict[SeriesKey, int]:
        """Make series that nobody was seen to have made: each takes a number, whether it is made or there already."""
        rows = await fetch_all(
            connection,
            """
            INSERT INTO telemetry.series (tenant, property, device, capability, attribute, room, unit)
            SELECT * FROM unnest(%s, %s, %s, %s, %s, %s, %s)
            ON CONFLICT DO NOTHING
            RETURNING id, tenant, property, device, capability, attribute, room, unit,
                      pg_current_xact_id()::text::bigint AS made_by
            """,
            _columns(keys),
        )
        if rows and len(self._made_by) + len(rows) > KNOWN_MOST:  # what may yet be rolled back is not forgotten
            ours = rows[0]["made_by"]
            self._made_by = {key: made_by for key, made_by in self._made_by.items() if made_by == ours}
        for row in rows:
            self._made_by[_key(row)] = row["made_by"]
        return {_key(row): row["id"] for row in rows}


async def _taken_back(connection: Connection, ids: Collection[int]) -> frozenset[int]:
    """Say of series that they are used, until the transaction ends and long after; return those that stand."""
    stand = await fetch_all(
        connection,
        "SELECT id, unused_since FROM telemetry.series WHERE id = ANY(%s) ORDER BY id FOR NO KEY UPDATE",
        [sorted(set(ids))],
    )
    if marked := [row["id"] for row in stand if row["unused_since"] is not None]:
        await execute(connection, "UPDATE telemetry.series SET unused_since = NULL WHERE id = ANY(%s)", [marked])
    return frozenset(row["id"] for row in stand)


def _columns(keys: Sequence[tuple[str, ...]]) -> list[TextArray]:
    return [texts(column) for column in zip(*keys, strict=True)]


def _key(row: dict[str, Any]) -> SeriesKey:
    return (
        row["tenant"], row["property"], row["device"], row["capability"], row["attribute"], row["room"], row["unit"],
    )  # fmt: skip


def key_of(row: ReadingRow) -> SeriesKey:
    """Return what series a reading belongs to."""
    return (row[0], row[1], row[3], row[4], row[5], row[2] or "", row[6] or "")


def told(rows: Iterable[ReadingRow]) -> dict[tuple[str, int], tuple[int, int]]:
    """Return what the roll-up must hear: by (property, span of TELL_MS) the least and greatest time written."""
    spans: dict[tuple[str, int], tuple[int, int]] = {}
    for row in rows:
        at_ms = row.at_ms
        key = (row.property, at_ms // TELL_MS)
        known = spans.get(key)
        if known is None:
            spans[key] = (at_ms, at_ms)
        elif at_ms < known[0]:
            spans[key] = (at_ms, known[1])
        elif at_ms > known[1]:
            spans[key] = (known[0], at_ms)
    return spans


async def _write_summaries(connection: Connection, thinned: Sequence[Placed]) -> None:
    """Give thinned readings, stored already, what they stand for; less what is stored by itself as well.

    An edge may thin what the cloud has received and not yet acknowledged (protocols/link/SPEC.md 3.1): such readings
    would count twice. They are those of the same series, stream and quality from `from_seq` on.
    """
    summaries = [row.thinned for _, row in thinned if row.thinned is not None]
    firsts = [each.first for each in summaries]
    await execute(
        connection,
        """
        WITH told AS (
            SELECT * FROM unnest(%(series)s::int[], %(at)s::timestamptz[], %(ordinal)s::bigint[], %(seq)s::bigint[],
                   %(since)s::timestamptz[], %(from_seq)s::bigint[], %(stands_for)s::bigint[], %(numbers)s::bigint[],
                   %(least)s::float8[], %(most)s::float8[], %(mean)s::float8[], %(first)s::float8[],
                   %(first_text)s::text[])
                AS told (series, at, ordinal, seq, since, from_seq, stands_for, numbers, least, most, mean, first,
                         first_text)
        ), judged AS (
            SELECT told.*, own.value, own.quality, held.samples AS held, held.numbers AS held_numbers,
                   held.total AS held_total
              FROM told,
                   LATERAL (SELECT coalesce(r.number, r.flag::int) AS value, r.quality FROM telemetry.reading r
                             WHERE (r.series, r.at, r.ordinal, r.seq) = (told.series, told.at, told.ordinal, told.seq)
                             LIMIT 1) AS own,
                   LATERAL (SELECT coalesce(sum(coalesce(r.samples, 1)), 0) AS samples,
                                   coalesce(sum(coalesce(r.numbers, (coalesce(r.number, r.flag::int) IS NOT NULL)::int)
                                               ), 0) AS numbers,
                                   coalesce(sum(coalesce(r.total, r.number, r.flag::int)), 0) AS total
                              FROM telemetry.reading r
                             WHERE r.series = told.series AND r.ordinal = told.ordinal AND r.quality = own.quality
                               AND r.seq >= told.from_seq AND r.seq < told.seq
                               AND r.at >= told.at - %(apart)s * interval '1 millisecond'
                               AND r.at <= told.at + %(apart)s * interval '1 millisecond') AS held
        )
        UPDATE telemetry.reading r
           SET since = j.since, stands_for = j.stands_for, mean = j.mean, first = j.first, first_text = j.first_text,
               least = coalesce(j.least, least(j.value, j.first)), most = coalesce(j.most, greatest(j.value, j.first)),
               samples = greatest(1, j.stands_for - j.held),
               numbers = CASE WHEN j.numbers > 0 THEN greatest(1, j.numbers - j.held_numbers)
                              ELSE (j.value IS NOT NULL)::int END,
               total = CASE WHEN j.numbers > j.held_numbers THEN j.mean * j.numbers - j.held_total
                            ELSE coalesce(j.value, 0) END
          FROM judged j
         WHERE (r.series, r.at, r.ordinal, r.seq) = (j.series, j.at, j.ordinal, j.seq)
        """,
        {
            "series": [series for series, _ in thinned],
            "at": [at(row.at_ms) for _, row in thinned],
            "ordinal": [row.ordinal for _, row in thinned],
            "seq": [row.seq for _, row in thinned],
            "since": [at(each.since_ms) for each in summaries],
            "from_seq": [each.from_seq for each in summaries],
            "stands_for": [each.stands_for for each in summaries],
            "numbers": [each.numbers for each in summaries],
            "least": [each.least for each in summaries],
            "most": [each.most for each in summaries],
            "mean": [each.mean for each in summaries],
            "first": [None if each is None or isinstance(each, str) else float(each) for each in firsts],
            "first_text": [each if isinstance(each, str) else None for each in firsts],
            "apart": HELD_MS,
        },
    )


async def write_readings(
    connection: Connection, ids: SeriesIds, writer: RowWriter, readings: Sequence[ReadingRow]
) -> tuple[list[Placed], list[ReadingRow]]:
    """Store readings and tell the roll-up, in the caller's transaction.

    Returns:
        Those that are thinned; and those that are not stored, because their property has no room for their series.
    """
    if not readings:
        return [], []
    keys = [key_of(row) for row in readings]
    since = ids.since
    series = await ids.of(connection, keys)
    refused: list[ReadingRow] = []
    try:
        placed = [(series[key], row) for key, row in zip(keys, readings, strict=True)]
    except KeyError:  # no room for some; nearly never, and asked for at no cost
        refused = [row for key, row in zip(keys, readings, strict=True) if key not in series]
        placed = [(series[key], row) for key, row in zip(keys, readings, strict=True) if key in series]
        readings = [row for _, row in placed]
        if not placed:
            return [], refused
    await writer.write(connection, placed)
    thinned = [each for each in placed if each[1].thinned is not None]
    if thinned:
        await _write_summaries(connection, thinned)
    spans = told(readings)
    row = await fetch_one(
        connection,
        """
        WITH told AS (INSERT INTO telemetry.rollup_log (property, low, high, told_at)
                      SELECT each.*, clock_timestamp() FROM unnest(%s, %s, %s) AS each)
        SELECT clock_timestamp() AS now
        """,
        [
            texts([name for name, _ in spans]),
            timestamptzs([low for low, _ in spans.values()]),
            timestamptzs([high for _, high in spans.values()]),
        ],
    )
    assert row is not None  # noqa: S101 - a SELECT without FROM has exactly one row
    if since is not None and row["now"] - since > KNOWN_FOR:
        await ids.look_again(connection, {number for number, _ in placed}, row["now"])
    return thinned, refused
