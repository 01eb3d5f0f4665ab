"""Answers the telemetry API's questions from the store: one snapshot a page, so that a page is of one moment."""

import base64
import binascii
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any, Final

import msgspec
import psycopg

from cloud.kit.database import STATEMENT_MOST_MS, Connection, Database
from cloud.kit.times import iso
from cloud.telemetry import query
from cloud.telemetry.query_latest import Newest, newest_page
from cloud.telemetry.query_schema import (
    Amount,
    Amounts,
    BucketPoint,
    NewestValue,
    NewestValues,
    Range,
    ReadingPoint,
    SeriesNames,
    Spread,
)  # fmt: skip
from cloud.telemetry.store.port import (
    Aggregate,
    Bucket,
    Point,
    Position,
    RangeQuestion,
    Resolution,
    Selection,
    Series,
    TelemetryStore,
)  # fmt: skip
from cloud.telemetry.store.sql import ROLLUPS
from kit.clock import Clock
from protocols.errors import InvalidInputError, StoreFailedError

SERIES_MOST: Final = 20_000
"""Series of one question; a hotel of 1,000 rooms has 6,000."""
PIECE: Final = 500
"""Points in memory at a time while streaming."""
STREAM_MS_MOST: Final = 600_000
_encode: Final = msgspec.json.Encoder().encode


class QueryReader:
    """What the routes ask."""

    def __init__(self, database: Database, store: TelemetryStore, *, clock: Clock) -> None:
        """Ages are of `clock`'s wall."""
        self._database, self._store, self._clock = database, store, clock

    # ------------------------------------------------------------------ newest values

    async def newest(self, selection: Selection, arguments: Mapping[str, str]) -> NewestValues:
        """Return a page of newest values."""
        most = query.whole(arguments, "limit", 1, query.POINTS_MOST, query.POINTS_DEFAULT)
        after = None if "cursor" not in arguments else _key_of(arguments["cursor"])
        async with self._database.transaction() as connection:
            page = await newest_page(connection, selection, after=after, most=most)
        now_ms = self._clock.wall_ms()
        return NewestValues(
            as_of=query.iso_of(now_ms),
            values=[newest_view(each, now_ms) for each in page],
            next=_key_text(page[-1].key) if len(page) == most else None,
        )

    # ------------------------------------------------------------------ points

    async def points(self, question: query.Question) -> Range:
        """Return a page of points at the resolution that was asked for, or that fits."""
        async with _in_time(), self._database.snapshot() as connection:
            series = await self._series(connection, question.selection)
            rows: Sequence[Point | Bucket] = []
            resolution = Resolution.RAW
            done = not series
            if (
                series
                and query.worth_reading_raw(question, len(series))
                and await self._raw_is_whole(connection, question)
            ):
                rows = await self._page(connection, question, Resolution.RAW, series)
                done = question.resolution is Resolution.RAW or len(rows) <= question.points
            if not done:
                resolution = query.coarser(question, series=len(series), kept_since=await self._kept(connection))
                rows = await self._page(connection, question, resolution, series)
            elif question.resolution is not None:
                resolution = question.resolution
            kept = await self._store.kept_since(connection, resolution)
            unsettled = await self._store.unsettled(connection, question.selection, resolution)
        since_ms, until_ms = query.aligned(question.since_ms, question.until_ms, resolution)
        more, rows = len(rows) > question.points, rows[: question.points]
        seen = {row.series for row in rows}
        return Range(
            as_of=query.iso_of(self._clock.wall_ms()),
            since=query.iso_of(since_ms),
            until=query.iso_of(until_ms),
            resolution=resolution.value,
            chosen=question.resolution is None,
            kept_since=_iso(kept),
            unsettled_since=_within(unsettled, since_ms, until_ms),
            series=[SeriesNames(*each) for number, each in series.items() if number in seen],
            points=[reading_view(row) for row in rows if isinstance(row, Point)],
            buckets=[bucket_view(row) for row in rows if isinstance(row, Bucket)],
            next=query.cursor_after(question, resolution, position(rows[-1])) if more else None,
        )

    async def lines(self, question: query.Question) -> AsyncGenerator[bytes]:
        """Yield a span as lines of JSON: `start`, then `series`, `point` or `bucket`, at last `end` or it is cut off.

        Memory is bounded by PIECE points and the names of the series. Each day is asked for by itself, so that no
        snapshot is held for longer than a day's points take to be read.
        """
        resolution = question.resolution or Resolution.RAW
        since_ms, until_ms = query.aligned(question.since_ms, question.until_ms, resolution)
        began_ms, count, last = self._clock.now_ms(), 0, None
        told: set[int] = set()
        try:
            async with self._database.snapshot() as connection:
                series = await self._series(connection, question.selection)
                kept = await self._store.kept_since(connection, resolution)
                unsettled = await self._store.unsettled(connection, question.selection, resolution)
            yield _line(
                type="start",
                as_of=query.iso_of(self._clock.wall_ms()),
                since=query.iso_of(since_ms),
                until=query.iso_of(until_ms),
                resolution=resolution.value,
                kept_since=_iso(kept),
                unsettled_since=_within(unsettled, since_ms, until_ms),
            )
            if series:
                found = self._pieces(list(series), question, resolution, (since_ms, until_ms))
                async with aclosing(found) as pieces:
                    async for piece in pieces:
                        lines = []
                        for row in piece:
                            if row.series not in told:
                                told.add(row.series)
                                lines.append(_line(type="series", **series[row.series]._asdict()))
                            view = reading_view(row) if isinstance(row, Point) else bucket_view(row)
                            kind = "point" if isinstance(row, Point) else "bucket"
                            lines.append(_line(type=kind, **msgspec.structs.asdict(view)))
                        count, last = count + len(piece), position(piece[-1])
                        yield b"".join(lines)
                        if self._clock.now_ms() - began_ms > STREAM_MS_MOST:
                            raise StoreFailedError(f"the stream took longer than {STREAM_MS_MOST // 1000} s")
        except (StoreFailedError, psycopg.OperationalError) as error:
            go_on = None if last is None else query.cursor_after(question, resolution, last)
            yield _line(type="error", detail=_said(error), points=count, next=go_on)
            return
        yield _line(type="end", points=count)

    async def _pieces(
        self, series: list[int], question: query.Question, resolution: Resolution, span: tuple[int, int]
    ) -> AsyncGenerator[Sequence[Point | Bucket]]:
        after = question.after
        for since_ms, until_ms in query.windows(*span, resolution):
            if after is not None and until_ms <= after[0]:
                continue
            window = RangeQuestion(series, since_ms, until_ms, resolution, after)
            async with (
                self._database.transaction() as connection,
                self._store.stream(connection, window, at_a_time=PIECE) as pieces,
            ):
                async for piece in pieces:
                    yield piece

    # ------------------------------------------------------------------ aggregates

    async def amounts(self, question: query.Question, by: str) -> Amounts:
        """Return what readings of a span amount to, by series or by what they have in common.

        Unless a resolution is asked for: from readings where that is cheap, else from the finest whole roll-up whose
        buckets fit the span.
        """
        async with _in_time(), self._database.snapshot() as connection:
            series = await self._series(connection, question.selection)
            resolution = question.resolution
            if resolution is None:
                raw = query.worth_reading_raw(question, len(series)) and await self._raw_is_whole(connection, question)
                resolution = Resolution.RAW if raw else query.fitting(question, kept_since=await self._kept(connection))
            since_ms, until_ms = query.aligned(question.since_ms, question.until_ms, resolution)
            rows = await self._store.aggregate(connection, RangeQuestion(list(series), since_ms, until_ms, resolution))
            kept = await self._store.kept_since(connection, resolution)
            unsettled = await self._store.unsettled(connection, question.selection, resolution)
        return Amounts(
            as_of=query.iso_of(self._clock.wall_ms()),
            since=query.iso_of(since_ms),
            until=query.iso_of(until_ms),
            resolution=resolution.value,
            by=by,
            kept_since=_iso(kept),
            unsettled_since=_within(unsettled, since_ms, until_ms),
            amounts=grouped(rows, series, by),
        )

    # ------------------------------------------------------------------ inside

    async def _series(self, connection: Connection, selection: Selection) -> dict[int, Series]:
        found = await self._store.series(connection, selection, most=SERIES_MOST + 1)
        if len(found) > SERIES_MOST:
            raise InvalidInputError(
                "room", f"more than {SERIES_MOST} series: narrow by room, device, capability or attribute"
            )
        return {each.id: each for each in found}

    async def _raw_is_whole(self, connection: Connection, question: query.Question) -> bool:
        if question.resolution is Resolution.RAW:
            return True  # it was asked for; `kept_since` tells what may be gone
        since = await self._store.kept_since(connection, Resolution.RAW)
        return since is None or question.since_ms >= since

    async def _kept(self, connection: Connection) -> dict[Resolution, int | None]:
        return {each: await self._store.kept_since(connection, each) for each in ROLLUPS}

    async def _page(
        self, connection: Connection, question: query.Question, resolution: Resolution, series: Mapping[int, Series]
    ) -> Sequence[Point | Bucket]:
        """Return one row more than was asked for, if there is one.

        Piece by piece in time, until there is enough: the server sorts what a piece holds, and of a month of readings
        it would sort all for each page.
        """
        since_ms, until_ms = query.aligned(question.since_ms, question.until_ms, resolution)
        if question.after is not None:
            since_ms = max(since_ms, question.after[0])
        rows: list[Point | Bucket] = []
        for begin_ms, end_ms in query.pieces(since_ms, until_ms):
            wanted = question.points + 1 - len(rows)
            asked = RangeQuestion(list(series), begin_ms, end_ms, resolution, question.after)
            rows += await self._store.range(connection, asked, most=wanted)
            if len(rows) > question.points:
                break
        return rows


@asynccontextmanager
async def _in_time() -> AsyncIterator[None]:
    """Tell a question that is too large from a database that is away."""
    try:
        yield
    except StoreFailedError as error:
        if isinstance(error.__cause__, psycopg.errors.QueryCanceled):
            raise InvalidInputError(
                "since",
                f"the answer would take the database more than {STATEMENT_MOST_MS // 1000} s:"
                " ask for a shorter span, fewer series or a coarser resolution",
            ) from error
        raise


def position(row: Point | Bucket) -> Position:
    """Return where a row stands in the order of points."""
    if isinstance(row, Point):
        return row.at_ms, row.series, row.ordinal, row.seq
    return row.at_ms, row.series, 0, 0


def reading_view(row: Point) -> ReadingPoint:
    """Return a reading as answers tell it."""
    spread = row.spread
    return ReadingPoint(
        row.series, query.iso_of(row.at_ms), row.value, row.quality, row.time_source.name.lower(),
        None if spread is None
        else Spread(query.iso_of(spread.since_ms), spread.stands_for, spread.least, spread.most, spread.mean),
    )  # fmt: skip


def bucket_view(row: Bucket) -> BucketPoint:
    """Return a bucket as answers tell it."""
    return BucketPoint(
        row.series,
        query.iso_of(row.at_ms),
        row.samples,
        row.flawed,
        row.least,
        row.most,
        row.mean,
        row.first if row.first is not None else row.first_text,
        row.last if row.last is not None else row.last_text,
    )


def newest_view(each: Newest, now_ms: int) -> NewestValue:
    """Return a newest value as answers tell it."""
    return NewestValue(
        room=each.room,
        device=each.device,
        capability=each.capability,
        attribute=each.attribute,
        value=each.value,
        unit=each.unit,
        quality=each.quality,
        at=iso(each.at),
        age_ms=query.age_ms(now_ms, each.at),
        heard_ms=query.age_ms(now_ms, each.received_at),
        source=each.source,
    )


def grouped(rows: Sequence[Aggregate], series: Mapping[int, Series], by: str) -> list[Amount]:
    """Return aggregates, those combined that have `by`, capability, attribute and unit in common. Pure."""
    if by == "series":
        return [
            Amount(
                room=series[row.series].room,
                device=series[row.series].device,
                capability=series[row.series].capability,
                attribute=series[row.series].attribute,
                unit=series[row.series].unit,
                series=1,
                samples=row.samples,
                flawed=row.flawed,
                least=row.least,
                most=row.most,
                mean=row.total / row.numbers if row.numbers else None,
                first=row.first if row.first is not None else row.first_text,
                last=row.last if row.last is not None else row.last_text,
            )
            for row in rows
        ]
    groups: dict[tuple[str, str, str, str, str], query.Group] = {}
    for row in rows:
        of = series[row.series]
        key = (
            of.room or "" if by == "room" else "",
            of.device if by == "device" else "",
            of.capability,
            of.attribute,
            of.unit or "",
        )
        groups.setdefault(key, query.Group()).add(row)
    return [
        Amount(
            room=key[0] or None,
            device=key[1] or None,
            capability=key[2],
            attribute=key[3],
            unit=key[4] or None,
            series=group.series,
            samples=group.samples,
            flawed=group.flawed,
            least=group.least,
            most=group.most,
            mean=group.mean,
        )
        for key, group in sorted(groups.items())
    ]


def _said(error: StoreFailedError | psycopg.OperationalError) -> str:
    return str(error) if isinstance(error, StoreFailedError) else "the database ended the question; go on from `next`"


def _line(**members: Any) -> bytes:
    return _encode(members) + b"\n"


def _iso(when_ms: int | None) -> str | None:
    return None if when_ms is None else query.iso_of(when_ms)


def _within(unsettled_ms: int | None, since_ms: int, until_ms: int) -> str | None:
    """Return from when on an answer may still change; None: nothing in it will, as far as we have heard."""
    if unsettled_ms is None or unsettled_ms >= until_ms:
        return None
    return query.iso_of(max(unsettled_ms, since_ms))


def _key_text(key: tuple[str, str, str]) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(key)).decode().rstrip("=")


def _key_of(text: str) -> tuple[str, str, str]:
    problem = InvalidInputError("cursor", "is none that an answer to this question gave")
    if len(text) > 2 * query.CURSOR_MOST:
        raise problem
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        key = msgspec.json.decode(raw, type=tuple[str, str, str])
    except (binascii.Error, msgspec.MsgspecError, ValueError) as error:
        raise problem from error
    if any("\x00" in part for part in key):
        raise problem
    return key
