"""Proof that nothing of a property's records is lost, doubled, out of order or changed, read day by day.

Completeness is told from sequence numbers, never from counts: every position of a stream up to its mark is a record, or
lies in a hole that the edge declared with its reason, or is missing. The server folds each day of a stream into runs,
so that what comes here, and what is in memory, is a thousand runs at a time, however long the ledger is.

A day that is over is kept as a checkpoint (`telemetry.proof`): a later proof may trust it, or reads the day again and
names it if its rows are not what they were. Where retention let a day's rows go, its checkpoint stands for them.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date
from typing import Any, Final

from cloud.kit.database import Connection, Database, execute, fetch_all, fetch_one, jsonb
from cloud.kit.times import at
from cloud.telemetry import hole_proof
from cloud.telemetry.chain_proof import walk
from cloud.telemetry.hole_proof import HoleCount, SpoiltHole
from cloud.telemetry.ledger_days import day_of, days_held, digest_of, runs_of
from cloud.telemetry.ledger_keeping import SEAL_AFTER
from cloud.telemetry.proof import SHOWN_MOST, Range, Run, StreamProof
from protocols.link.lanes import Lane

RUNS_A_PIECE: Final = 1_000
CHECKPOINT_RUNS_MOST: Final = 1_000
"""A day in more pieces than this is read again each time."""


@dataclass(frozen=True, slots=True)
class DeclaredHole:
    """Positions the edge gave up and said so."""

    first: int
    last: int
    reason: str


@dataclass(frozen=True, slots=True)
class Completeness:
    """One stream held against its mark. `gaps`: positions that nobody accounts for; must be empty.

    Of ranges of each kind the first SHOWN_MOST are named, the counts are of all. `duplicates`: positions stored more
    than once; `out_of_order`: ranges that were stored before what precedes them, and records past the mark;
    `changed_days`: days that are over and are no longer what they were when they were proved; `vanished_days`: days
    that were proved, that retention did not let go, and that are not there. `rewritten`: of lane A, where what is kept
    does not lead to what the building said of its chain; `chain_followed`: records of which it does. `stray`: there are
    records of this stream, or seals, and no mark of it. `spoilt`: holes with more or fewer records inside than was told
    (not looked for where checkpoints are believed), `inside_off` by how many fewer in all. `elsewhere`: records that
    stand under a property that is neither the stream's nor its edge's now, so that neither's readers find them:
    (first, last, how many, property).
    """

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
    missing: int = 0
    holes_in_all: int = 0
    doubled: tuple[tuple[int, int], ...] = ()
    disordered: tuple[tuple[int, int], ...] = ()
    changed_days: tuple[date, ...] = ()
    days_read: int = 0
    days_trusted: int = 0
    vanished_days: tuple[date, ...] = ()
    rewritten: tuple[tuple[int, int], ...] = ()
    chain_followed: int = 0
    stray: bool = False
    spoilt: tuple[SpoiltHole, ...] = ()
    inside_off: int = 0
    elsewhere: tuple[tuple[int, int, int, str], ...] = ()

    @property
    def holds(self) -> bool:
        """Nothing lost, doubled, out of order or changed."""
        return not (
            self.gaps or self.duplicates or self.out_of_order or self.chain_breaks or self.changed_days
            or self.vanished_days or self.rewritten or self.stray or self.spoilt or self.inside_off
            or self.elsewhere
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a day that is over holds of a stream; `let_go`: its rows need not be there any more."""

    day: date
    runs: tuple[Run, ...]
    digest: bytes | None = None
    let_go: bool = False


@dataclass(slots=True)
class _Stream:
    edge: str
    incarnation: bytes
    lane: str
    hi: int
    chain: bytes | None
    chain_breaks: int
    property_id: str | None
    stray: bool = False
    made: list[Checkpoint] = field(default_factory=list)

    @property
    def key(self) -> list[object]:
        return [self.edge, self.incarnation, self.lane]


async def completeness(
    connection: Connection, *, tenant: str, property_id: str, trust: bool = True
) -> list[Completeness]:
    """Hold every stream of a property against its mark.

    Args:
        connection: of a snapshot, or a batch that arrives meanwhile may be seen half.
        trust: believe the checkpoints of days that are over, so that the days since are all that is read.
    """
    streams = await _streams(connection, tenant, property_id)
    return [await _prove(connection, each, sealed_before=None, trust=trust) for each in streams]


async def verify(connection: Connection, *, tenant: str, property_id: str) -> bool:
    """Return whether nothing of a property's records is lost, doubled, out of order or changed."""
    return all(each.holds for each in await completeness(connection, tenant=tenant, property_id=property_id))


async def prove(
    database: Database, *, tenant: str, property_id: str, now_ms: int, trust: bool = False
) -> AsyncIterator[Completeness]:
    """Yield the proof of each stream of a property, keeping checkpoints of days that are over.

    Args:
        trust: believe checkpoints instead of reading their days again.

    Each stream is read in a snapshot of its own; cut off anywhere, what was yielded stands and its checkpoints too.
    """
    async with database.snapshot() as connection:
        streams = await _streams(connection, tenant, property_id, strays=not trust)
    sealed_before = (at(now_ms) - SEAL_AFTER).astimezone(UTC).date()
    for each in streams:
        async with database.snapshot() as connection:
            stream = await _again(connection, each)
            if stream is None:
                continue
            proved = await _prove(connection, stream, sealed_before=sealed_before, trust=trust)
        async with database.transaction() as connection:
            await _keep(connection, stream, now_ms)
        yield proved


async def _streams(connection: Connection, tenant: str, property_id: str, *, strays: bool = False) -> list[_Stream]:
    """Return the streams of a property, and those of its edge that began when it was another's.

    Args:
        strays: and what its edges have in the ledger beside every stream; costs a look into each day.
    """
    rows = await fetch_all(
        connection,
        """SELECT edge, incarnation, lane, hi, chain, chain_breaks, property AS property_id FROM telemetry.stream
            WHERE (tenant = %(tenant)s AND property = %(property)s)
               OR edge IN (SELECT id FROM telemetry.edge WHERE tenant = %(tenant)s AND property = %(property)s)
            ORDER BY edge, lane, ordinal""",
        {"tenant": tenant, "property": property_id},
    )
    if strays:
        rows += await fetch_all(
            connection,
            """
            WITH RECURSIVE houses AS (
                SELECT id AS edge FROM telemetry.edge WHERE tenant = %(tenant)s AND property = %(property)s
                UNION SELECT edge FROM telemetry.stream WHERE tenant = %(tenant)s AND property = %(property)s
            ), held AS (
                SELECT one.* FROM houses, LATERAL (
                    SELECT r.edge, r.incarnation, r.lane FROM telemetry.record r WHERE r.edge = houses.edge
                     ORDER BY r.edge, r.incarnation, r.lane LIMIT 1) AS one
                UNION ALL
                SELECT following.* FROM held, LATERAL (
                    SELECT r.edge, r.incarnation, r.lane FROM telemetry.record r
                     WHERE r.edge = held.edge AND (r.incarnation, r.lane) > (held.incarnation, held.lane)
                     ORDER BY r.edge, r.incarnation, r.lane LIMIT 1) AS following
            ), kept AS (
                SELECT edge, incarnation, lane FROM held
                UNION SELECT p.edge, p.incarnation, p.lane FROM telemetry.proof p JOIN houses USING (edge)
            )
            SELECT edge, incarnation, lane, 0::bigint AS hi, NULL::bytea AS chain, 0::bigint AS chain_breaks,
                   NULL::text AS property_id, true AS stray
              FROM kept WHERE NOT EXISTS (SELECT FROM telemetry.stream s
                                           WHERE (s.edge, s.incarnation, s.lane)
                                               = (kept.edge, kept.incarnation, kept.lane))
             ORDER BY edge, incarnation, lane
            """,
            {"tenant": tenant, "property": property_id},
        )
    return [_made(row) for row in rows]


async def _again(connection: Connection, stream: _Stream) -> _Stream | None:
    """Return a stream as it is in this snapshot; None: it is gone."""
    row = await fetch_one(
        connection,
        """SELECT edge, incarnation, lane, hi, chain, chain_breaks, property AS property_id FROM telemetry.stream
            WHERE edge = %s AND incarnation = %s AND lane = %s""",
        stream.key,
    )
    if row is None:
        return stream if stream.stray else None
    return _made(row)


def _made(row: Mapping[str, Any]) -> _Stream:
    return _Stream(**{**row, **{name: _plain(row[name]) for name in ("incarnation", "chain")}})


def _plain(value: bytes | memoryview | None) -> bytes | None:
    return None if value is None else bytes(value)


async def _prove(connection: Connection, stream: _Stream, *, sealed_before: date | None, trust: bool) -> Completeness:
    """Hold one stream against its mark.

    Args:
        sealed_before: days before this are over; None: no checkpoints are made.
    """
    proof = StreamProof(stream.hi)
    known = await _checkpoints(connection, stream)
    held = set(await days_held(connection))
    changed: list[date] = []
    vanished: list[date] = []
    read = trusted = 0
    inside = None if trust else await hole_proof.holes_of(connection, stream.key)
    elsewhere: list[tuple[int, int, int, str]] = []
    for day in sorted({*held, *known}):
        checkpoint = known.get(day)
        if checkpoint is not None and (trust or checkpoint.let_go or day not in held):
            await _feed(connection, stream, proof, inside, checkpoint.runs)
            trusted += 1
            if day not in held and not checkpoint.let_go:
                vanished.append(day)
            if not checkpoint.let_go or trust or day not in held:
                continue
            checkpoint = Checkpoint(day, ())  # what came into that day afterwards, with a clock that was wrong
        # a thinned day is in more pieces than a proof makes a checkpoint of; who seals it knows no such bound
        most = CHECKPOINT_RUNS_MOST if checkpoint is None else len(checkpoint.runs)
        runs: list[Run] | None = []
        async for piece in runs_of(connection, stream.key, day, at_a_time=RUNS_A_PIECE):
            await _feed(connection, stream, proof, inside, piece)
            if runs is not None:
                runs = [*runs, *piece] if len(runs) + len(piece) <= most else None
        read += 1
        if not trust:
            elsewhere += await _elsewhere(connection, stream, day)
        if checkpoint is not None:
            if runs is None or tuple(runs) != checkpoint.runs or await _rewritten(connection, stream, checkpoint):
                changed.append(day)
        elif runs and sealed_before is not None and day < sealed_before:
            stream.made.append(Checkpoint(day, tuple(runs), await digest_of(connection, stream.key, day)))
    if (rest := proof.end()) is not None:
        await _declare(connection, stream, proof, rest)
    proof.close()
    off = hole_proof.too_few(proof, *await hole_proof.sums_of(connection, stream.key, stream.hi))
    walked = None
    if stream.lane == Lane.A.value and not trust:
        walked = await walk(connection, stream.edge, stream.incarnation, hi=stream.hi, value=stream.chain)
    holes = await fetch_all(
        connection,
        """SELECT first, last, reason, count(*) OVER () AS in_all FROM telemetry.hole
            WHERE edge = %s AND incarnation = %s AND lane = %s ORDER BY first LIMIT %s""",
        [*stream.key, SHOWN_MOST],
    )
    return Completeness(
        edge=stream.edge,
        incarnation=stream.incarnation,
        lane=Lane(stream.lane),
        first=proof.first,
        hi=stream.hi,
        count=proof.records,
        gaps=tuple(proof.gaps.shown),
        holes=tuple(DeclaredHole(row["first"], row["last"], row["reason"]) for row in holes),
        duplicates=proof.doubled.positions,
        # a record past the mark was never acknowledged in order
        out_of_order=proof.disordered.ranges + proof.beyond.positions,
        chain_breaks=stream.chain_breaks,
        missing=proof.gaps.positions,
        holes_in_all=holes[0]["in_all"] if holes else 0,
        doubled=tuple(proof.doubled.shown),
        disordered=(*proof.disordered.shown, *proof.beyond.shown),
        changed_days=tuple(changed),
        days_read=read,
        days_trusted=trusted,
        vanished_days=tuple(vanished),
        rewritten=() if walked is None else tuple(walked.broken.shown),
        chain_followed=0 if walked is None else walked.confirmed,
        stray=stream.stray,
        spoilt=() if inside is None else tuple(inside.spoilt()[:SHOWN_MOST]),
        inside_off=off,
        elsewhere=tuple(elsewhere[:SHOWN_MOST]),
    )


async def _elsewhere(connection: Connection, stream: _Stream, day: date) -> list[tuple[int, int, int, str]]:
    """Return what of a day stands under a property that has, and had, nothing to do with this stream."""
    if stream.property_id is None:
        return []
    rows = await fetch_all(
        connection,
        """
        SELECT min(seq) AS first, max(seq) AS last, count(*) AS count, property FROM telemetry.record r
         WHERE edge = %s AND incarnation = %s AND lane = %s AND received_at >= %s AND received_at < %s
           AND property <> %s AND NOT EXISTS (SELECT FROM telemetry.edge e WHERE e.id = r.edge
                                                 AND (e.tenant, e.property) = (r.tenant, r.property))
         GROUP BY tenant, property ORDER BY 1
        """,
        [*stream.key, *day_of(day), stream.property_id],
    )
    return [(row["first"], row["last"], row["count"], row["property"]) for row in rows]


async def _rewritten(connection: Connection, stream: _Stream, checkpoint: Checkpoint) -> bool:
    """Tell whether the rows of a day say something else than when it was sealed."""
    return checkpoint.digest is not None and checkpoint.digest != await digest_of(
        connection, stream.key, checkpoint.day
    )


async def _feed(
    connection: Connection, stream: _Stream, proof: StreamProof, inside: HoleCount | None, runs: Sequence[Run]
) -> None:
    if inside is not None:
        inside.feed(runs)
    if (opened := proof.feed(runs)) is not None:
        await _declare(connection, stream, proof, opened)


async def _declare(connection: Connection, stream: _Stream, proof: StreamProof, span: Range) -> None:
    """Tell the proof which positions of a span were declared, a thousand holes at a time, those that touch as one."""
    first = span.first
    while True:
        rows = await fetch_all(
            connection,
            """
            SELECT first, last FROM telemetry.hole
             WHERE edge = %s AND incarnation = %s AND lane = %s AND last >= %s AND first <= %s ORDER BY first LIMIT %s
            """,
            [*stream.key, first, span.last, RUNS_A_PIECE],
        )
        proof.declare(Range(row["first"], row["last"]) for row in rows)
        if len(rows) < RUNS_A_PIECE:
            return
        first = max(rows[-1]["last"], rows[-1]["first"]) + 1


async def _checkpoints(connection: Connection, stream: _Stream) -> dict[date, Checkpoint]:
    rows: list[dict[str, Any]] = await fetch_all(
        connection,
        """SELECT day, runs, digest, let_go_at FROM telemetry.proof
            WHERE edge = %s AND incarnation = %s AND lane = %s ORDER BY day""",
        stream.key,
    )
    return {
        row["day"]: Checkpoint(
            row["day"],
            tuple(Run(*run) for run in row["runs"]),
            None if row["digest"] is None else bytes(row["digest"]),
            row["let_go_at"] is not None,
        )
        for row in rows
    }


async def _keep(connection: Connection, stream: _Stream, now_ms: int) -> None:
    """Keep checkpoints of days that have none; the first proof of a day stands."""
    for each in stream.made:
        await execute(
            connection,
            """
            INSERT INTO telemetry.proof (edge, incarnation, lane, day, runs, records, digest, proved_at)
            VALUES (%s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING
            """,
            [
                *stream.key,
                each.day,
                jsonb(each.runs),
                sum(run.last - run.first + 1 for run in each.runs),
                each.digest,
                at(now_ms),
            ],
        )
    stream.made.clear()


async def checkpoints_of(connection: Connection, *, tenant: str, property_id: str) -> int:
    """Return how many days of streams of a property have a checkpoint."""
    row = await fetch_one(
        connection,
        """SELECT count(*) AS count FROM telemetry.proof JOIN telemetry.stream USING (edge, incarnation, lane)
            WHERE tenant = %s AND property = %s""",
        [tenant, property_id],
    )
    return 0 if row is None else int(row["count"])
