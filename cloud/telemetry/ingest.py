"""The ingest worker: what edges publish, into the database, and only then acknowledged.

Source of truth: protocols/link/SPEC.md sections 5 to 8. One transaction a batch {records, projections, latest
values, mark}; the
row of the stream is locked meanwhile, so two workers that hold the same batch take turns and the second finds a
duplicate. An
ack leaves after the commit; if it is lost, the edge sends again and is told the mark. A batch that cannot be read
is named, counted, kept as bytes and stepped over. What the database cannot take now is not acknowledged: the
edge keeps it.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, Final

import msgspec
import psycopg

from cloud.kit.database import Connection, Database, execute, fetch_one, jsonb
from cloud.kit.notify import notify_live
from cloud.kit.times import at
from cloud.telemetry.latest import READING_KIND, Value, store_latest, value_of
from cloud.telemetry.partitions import Partitions
from cloud.telemetry.ports import REFUSALS, BatchContext, EdgeOwner, OwnerOf, Projection
from kit.clock import Clock
from kit.logs import logger
from kit.metrics import Metrics
from kit.net import Connection as Link
from kit.net import Transport
from kit.queues import BoundedQueue
from protocols.device_model.identity import EdgeId
from protocols.errors import (
    LinkLostError,
    PeerProtocolError,
    ReplyTimeoutError,
    StoreFailedError,
    UnsupportedVersionError,
)
from protocols.link.batch import BatchHead, Hole, HoleReason, parse_batch
from protocols.link.cloud_stream import ChainVerdict, CloudStream, Offered
from protocols.link.lanes import Lane
from protocols.link.messages import (
    OPENINGS_MAX,
    Ack,
    AckMark,
    AckStatus,
    decode_answer,
    decode_hello,
    decode_live,
    encode_ack,
)  # fmt: skip
from protocols.link.record import Record
from protocols.link.topics import Up, UpTopic, ack_topic, parse_up, up_filter

OWNER_KEPT_MS: Final = 60_000
"""How long an edge's owner is remembered."""
DETAIL_MAX: Final = 500
LIVE_KIND: Final = "live"
LINK_KIND: Final = "link"

RECORD_TYPES: Final = (
    "text", "text", "text", "bytea", "text", "int8", "text", "jsonb", "int8", "int8", "int8", "text", "timestamptz",
)  # fmt: skip
COPY_RECORDS: Final = (
    "COPY telemetry.record (tenant, property, edge, incarnation, lane, seq, kind, body, device_at_ms, edge_at_ms, "
    "mono_ms, clock, received_at) FROM STDIN (FORMAT BINARY)"
)
_LOST: Final = (psycopg.OperationalError, StoreFailedError)


class IngestSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the ingest works.

    `parallel`: edges are spread over so many tasks, each with a database connection of its own;
    `queue_messages_max`: how many
    may wait for each; `slow_after`: when a message waited longer than this, edges are asked to hold lanes B and C.
    """

    parallel: int = 4
    queue_messages_max: int = 64
    slow_after: timedelta = timedelta(seconds=2)
    slow: timedelta = timedelta(seconds=5)


@dataclass(frozen=True, slots=True)
class _Arrived:
    topic: UpTopic
    payload: bytes
    at_ms: int  # monotonic


@dataclass(slots=True)
class Counts:
    """What the worker did since it was made; the metrics say the same."""

    records: int = 0
    batches: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    unstored: int = 0
    """Messages dropped because the database could not take them: the edge still has them."""


class IngestWorker:
    """Takes everything that edges publish. `run` until cancelled; a lost broker ends it with LinkLostError.

    Args:
        transport: the cloud's broker.
        owner_of: whose edge it is, asked at most once a minute an edge.
        projections: what other modules make of records, by record kind, in the order they are to run.
    """

    def __init__(
        self,
        database: Database,
        transport: Transport,
        *,
        owner_of: OwnerOf,
        projections: Mapping[str, Sequence[Projection]],
        clock: Clock,
        metrics: Metrics | None = None,
        settings: IngestSettings | None = None,
    ) -> None:
        self._database, self._transport, self._owner_of, self._clock = database, transport, owner_of, clock
        self._projections = {kind: tuple(each) for kind, each in projections.items()}
        self._settings = settings or IngestSettings()
        self._partitions = Partitions(database)
        self._owners: dict[EdgeId, tuple[int, EdgeOwner]] = {}
        self._log = logger("cloud.telemetry")
        self.counts = Counts()
        self._count = _metrics(metrics)
        self.connected = False

    async def run(self) -> None:
        """Connect, subscribe, ingest. Raises LinkLostError when the broker is lost: supervision starts it again."""
        async with self._transport.connect(subscribe=[up_filter()]) as link:
            queues = [
                BoundedQueue[_Arrived](self._settings.queue_messages_max, f"ingest-{n}")
                for n in range(self._settings.parallel)
            ]
            self.connected = True
            try:
                async with asyncio.TaskGroup() as tasks:
                    workers = [tasks.create_task(self._work(queue, link)) for queue in queues]
                    try:
                        await self._receive(link, queues)
                    finally:
                        for each in workers:
                            each.cancel()
            except* LinkLostError as lost:
                raise LinkLostError(f"ingest: {lost.exceptions[0]}") from lost
            finally:
                self.connected = False

    async def _receive(self, link: Link, queues: Sequence[BoundedQueue[_Arrived]]) -> None:
        async for message in link.messages():
            try:
                topic = parse_up(message.topic)
            except PeerProtocolError as error:
                self._refuse("topic", error)
                continue
            if topic.what is Up.ANSWER:
                continue  # the downlink that sent the command listens for itself
            await queues[topic.shard % len(queues)].put(_Arrived(topic, message.payload, self._clock.now_ms()))
        raise LinkLostError("ingest: the connection was closed")

    async def _work(self, queue: BoundedQueue[_Arrived], link: Link) -> None:
        while True:
            arrived = await queue.get()
            ack = await self.take(arrived.topic, arrived.payload, waited_ms=self._clock.now_ms() - arrived.at_ms)
            if ack is not None:
                await self._answer(link, arrived.topic.edge, ack)

    async def take(self, topic: UpTopic, payload: bytes, *, waited_ms: int = 0) -> Ack | None:
        """Ingest one message and return the ack to send, after the commit; None: nothing is acknowledged."""
        ack: Ack | None = None
        try:
            match topic.what:
                case Up.HELLO:
                    ack = await self._hello(topic, payload)
                case Up.LIVE:
                    await self._live(topic, payload)
                case Up.ANSWER:
                    decode_answer(payload)
                case _:
                    ack = await self._batch(topic, payload)
        except UnsupportedVersionError as error:
            self._refuse(topic.what.value, error, edge=topic.edge)
            ack = Ack(AckStatus.REFUSED, (), error=f"UnsupportedVersionError: {error}", lane=topic.lane)
        except PeerProtocolError as error:
            self._refuse(topic.what.value, error, edge=topic.edge)
            await self._keep_refused(topic, payload, error)
        except _LOST as error:
            self.counts.unstored += 1
            self._count("unstored", 1)
            self._log.warning("ingest_not_stored", edge=topic.edge, what=topic.what.value, error=str(error))
            return None
        if ack is not None and timedelta(milliseconds=waited_ms) > self._settings.slow_after:
            ack = replace(ack, slow_ms=int(self._settings.slow.total_seconds() * 1000))
        return ack

    # ------------------------------------------------------------------ batches

    async def _batch(self, topic: UpTopic, payload: bytes) -> Ack:
        head = parse_batch(payload)
        if head.edge != topic.edge or head.lane is not topic.lane:
            raise PeerProtocolError(f"batch of {head.edge}/{head.lane} on the topic of {topic.edge}/{topic.lane}")
        now_ms = self._clock.wall_ms()
        await self._partitions.ensure(now_ms)
        async with self._database.transaction() as connection:
            owner = await self._owner(connection, head.edge)
            context = BatchContext(owner.tenant, owner.property, head.edge, head.incarnation, head.lane, now_ms)
            ordinal, stream = await _lock_stream(connection, context)
            offered, error = await self._store(connection, context, (ordinal, stream), head, payload)
            await _mark(connection, context, offered, head)
        if error is not None:
            self._refuse(head.lane.value, error, edge=head.edge)
        self.counts.records += len(offered.records)
        self.counts.batches[offered.status.value] += 1
        self._count("records", len(offered.records))
        self._count(offered.status.value, 1)
        mark = AckMark(head.incarnation, head.lane, offered.hi)
        return Ack(offered.status, (mark,), error=None if error is None else f"{type(error).__name__}: {error}")

    async def _store(
        self,
        connection: Connection,
        context: BatchContext,
        known: tuple[int, CloudStream],
        head: BatchHead,
        payload: bytes,
    ) -> tuple[Offered, PeerProtocolError | None]:
        """Write what is new; on a batch that cannot be read, keep its bytes and step over it."""
        ordinal, stream = known
        if stream.judge(head) is not AckStatus.STORED:
            return stream.answer(head), None
        try:
            offered = stream.offer(head.open())
        except PeerProtocolError as error:
            first = stream.hi + 1
            offered = stream.step_over(head)
            await _write_holes(connection, context, [Hole(first, head.last, HoleReason.REFUSED)])
            await _write_refused(connection, context, (first, head.last), error, payload)
            return offered, error
        await _copy(connection, context, offered.records)
        await _write_holes(connection, context, offered.holes)
        if offered.verdict is ChainVerdict.BROKEN:
            broken = PeerProtocolError("the hash chain does not follow: the log in the building was changed")
            await _write_refused(connection, context, (head.first, head.last), broken, payload)
            self._refuse("chain", broken, edge=context.edge)
        await self._project(connection, context, ordinal, offered.records)
        kinds = {record.kind for record in offered.records}
        await notify_live(connection, context.property, kinds or {LINK_KIND})
        return offered, None

    async def _project(
        self, connection: Connection, context: BatchContext, ordinal: int, records: Sequence[Record]
    ) -> None:
        await self._isolated(connection, context, records, self._latest(context, ordinal), only=READING_KIND)
        for kind, projections in self._projections.items():
            for projection in projections:
                await self._isolated(connection, context, records, projection, only=kind)

    async def _isolated(
        self,
        connection: Connection,
        context: BatchContext,
        records: Sequence[Record],
        projection: Projection,
        *,
        only: str,
    ) -> None:
        """Run a projection under a savepoint; if it refuses the batch, record by record, so that one costs one."""
        wanted = [record for record in records if record.kind == only]
        if not wanted:
            return
        try:
            async with connection.transaction():
                await projection(connection, context, wanted)
        except REFUSALS as error:
            if len(wanted) == 1:
                self._refuse(f"projection of {only}", error, edge=context.edge)
                await _write_refused(connection, context, (wanted[0].seq, wanted[0].seq), error, None)
                return
            for record in wanted:
                await self._isolated(connection, context, [record], projection, only=only)

    def _latest(self, context: BatchContext, ordinal: int) -> Projection:
        async def project(connection: Connection, _context: BatchContext, records: Sequence[Record]) -> None:
            values = [
                value_of(record.body, at_ms=record.edge_at_ms, lane=record.lane.value, ordinal=ordinal, seq=record.seq)
                for record in records
            ]
            await store_latest(
                connection,
                tenant=context.tenant,
                property_id=context.property,
                values=values,
                received_ms=context.received_ms,
            )

        return project

    # ------------------------------------------------------------------ hello and live

    async def _hello(self, topic: UpTopic, payload: bytes) -> Ack:
        hello = decode_hello(payload)
        if hello.edge != topic.edge:
            raise PeerProtocolError(f"hello of {hello.edge} on the topic of {topic.edge}")
        now_ms = self._clock.wall_ms()
        marks: list[AckMark] = []
        async with self._database.transaction() as connection:
            try:
                owner = await self._owner(connection, hello.edge)
            except PeerProtocolError as error:
                self._refuse("hello", error, edge=hello.edge)
                return Ack(AckStatus.REFUSED, (), re=hello.nonce, error=f"{type(error).__name__}: {error}")
            for each in sorted(hello.streams, key=lambda stream: (stream.lane, stream.incarnation)):
                row = await fetch_one(
                    connection,
                    "SELECT hi, openings FROM telemetry.stream WHERE edge = %s AND incarnation = %s AND lane = %s",
                    [hello.edge, each.incarnation, each.lane.value],
                )
                hi, openings = (0, ()) if row is None else (row["hi"], tuple(bytes(one) for one in row["openings"]))
                marks.append(AckMark(each.incarnation, each.lane, hi, openings))
            incarnation = next((each.incarnation for each in reversed(hello.streams) if each.lane is Lane.A), None)
            backlog = {
                lane.value.lower(): sum(
                    max(0, each.last - mark.hi)
                    for each in hello.streams
                    for mark in marks
                    if each.lane is lane and (mark.incarnation, mark.lane) == (each.incarnation, each.lane)
                )
                for lane in Lane
            }
            await _heard(
                connection, owner, hello.edge, now_ms, hello_ms=now_ms, incarnation=incarnation, backlog=backlog
            )
            await notify_live(connection, owner.property, {LINK_KIND})
        self.counts.batches["hello"] += 1
        return Ack(AckStatus.WELCOME, tuple(marks), re=hello.nonce)

    async def _live(self, topic: UpTopic, payload: bytes) -> None:
        live = decode_live(payload)
        if live.edge != topic.edge:
            raise PeerProtocolError(f"live state of {live.edge} on the topic of {topic.edge}")
        values: list[Value] = []
        for body in live.state:
            try:
                values.append(value_of(body, at_ms=live.at_ms))
            except PeerProtocolError as error:
                self._refuse("live item", error, edge=live.edge)
        now_ms = self._clock.wall_ms()
        async with self._database.transaction() as connection:
            owner = await self._owner(connection, live.edge)
            await store_latest(
                connection, tenant=owner.tenant, property_id=owner.property, values=values, received_ms=now_ms
            )
            backlog = {lane.value.lower(): count for lane, count in live.backlog.items()}
            await _heard(
                connection, owner, live.edge, now_ms, live_ms=live.at_ms, incarnation=live.incarnation, backlog=backlog
            )
            await notify_live(connection, owner.property, {LIVE_KIND, LINK_KIND})
        self.counts.batches["live"] += 1

    # ------------------------------------------------------------------ inside

    async def _owner(self, connection: Connection, edge: EdgeId) -> EdgeOwner:
        now_ms = self._clock.now_ms()
        if (known := self._owners.get(edge)) is not None and now_ms - known[0] < OWNER_KEPT_MS:
            return known[1]
        owner = await self._owner_of(connection, edge)
        if owner is None:
            self._owners.pop(edge, None)
            raise PeerProtocolError(f"edge {edge} belongs to no property")
        self._owners[edge] = (now_ms, owner)
        return owner

    async def _answer(self, link: Link, edge: EdgeId, ack: Ack) -> None:
        try:
            await link.publish(ack_topic(edge), encode_ack(ack))
        except (LinkLostError, ReplyTimeoutError) as error:  # the edge will ask again
            self._log.info("ack_not_sent", edge=edge, error=str(error))

    def _refuse(self, what: str, error: BaseException, *, edge: str | None = None) -> None:
        name = type(error).__name__
        self.counts.refused[name] += 1
        self._count("refused", 1)
        self._log.warning("ingest_refused", edge=edge, what=what, error=name, detail=str(error)[:DETAIL_MAX])

    async def _keep_refused(self, topic: UpTopic, payload: bytes, error: PeerProtocolError) -> None:
        """Keep a message whose head could not be read, if its edge is one of ours: a stranger gets no room."""
        try:
            async with self._database.transaction() as connection:
                if await self._owner_of(connection, topic.edge) is not None:
                    context = BatchContext("", "", topic.edge, b"", topic.lane or Lane.A, self._clock.wall_ms())
                    await _write_refused(connection, context, None, error, payload)
        except _LOST as lost:
            self._log.warning("ingest_not_stored", edge=topic.edge, what="refused message", error=str(lost))


async def _lock_stream(connection: Connection, context: BatchContext) -> tuple[int, CloudStream]:
    """Return (ordinal, mark) of the stream, made if new, its row locked until the transaction ends."""
    key = [context.edge, context.incarnation, context.lane.value]
    select = (
        "SELECT ordinal, hi, chain FROM telemetry.stream WHERE edge = %s AND incarnation = %s AND lane = %s FOR UPDATE"
    )
    row = await fetch_one(connection, select, key)
    if row is None:
        await execute(
            connection,
            "INSERT INTO telemetry.stream (edge, incarnation, lane, tenant, property, began_at, moved_at) "
            "VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
            [*key, context.tenant, context.property, at(context.received_ms), at(context.received_ms)],
        )
        row = await fetch_one(connection, select, key)
    if row is None:
        raise StoreFailedError(f"stream {context.edge}/{context.lane} vanished while it was being made")
    chain = None if row["chain"] is None else bytes(row["chain"])
    return row["ordinal"], CloudStream(context.incarnation, context.lane, row["hi"], chain)


async def _mark(connection: Connection, context: BatchContext, offered: Offered, head: BatchHead) -> None:
    stored = offered.status in (AckStatus.STORED, AckStatus.REFUSED)
    await execute(
        connection,
        """
        UPDATE telemetry.stream SET hi = %(hi)s, chain = %(chain)s, moved_at = %(now)s,
               batches = batches + %(stored)s, duplicates = duplicates + %(duplicate)s,
               gap_answers = gap_answers + %(gap)s, chain_breaks = chain_breaks + %(broken)s,
               openings = CASE WHEN %(stored)s = 0 OR openings[1] IS NOT DISTINCT FROM %(opening)s THEN openings
                          ELSE (array_prepend(%(opening)s::bytea, array_remove(openings,
                          %(opening)s::bytea)))[1:%(most)s]
                          END
         WHERE edge = %(edge)s AND incarnation = %(incarnation)s AND lane = %(lane)s
        """,
        {
            "hi": offered.hi,
            "chain": offered.chain,
            "now": at(context.received_ms),
            "stored": int(stored),
            "duplicate": int(offered.status is AckStatus.DUPLICATE),
            "gap": int(offered.status is AckStatus.GAP),
            "broken": int(offered.verdict is ChainVerdict.BROKEN),
            "opening": head.opening,
            "most": OPENINGS_MAX,
            "edge": context.edge,
            "incarnation": context.incarnation,
            "lane": context.lane.value,
        },
    )
    owner = EdgeOwner(context.tenant, context.property)
    await _heard(connection, owner, context.edge, context.received_ms, ack_ms=context.received_ms)


async def _heard(
    connection: Connection,
    owner: EdgeOwner,
    edge: EdgeId,
    now_ms: int,
    *,
    hello_ms: int | None = None,
    live_ms: int | None = None,
    ack_ms: int | None = None,
    incarnation: bytes | None = None,
    backlog: Mapping[str, int] | None = None,
) -> None:
    await execute(
        connection,
        """
        INSERT INTO telemetry.edge AS known (id, tenant, property, incarnation, last_heard_at, last_hello_at,
                                             last_ack_at, live_at, backlog)
        VALUES (%(edge)s, %(tenant)s, %(property)s, %(incarnation)s, %(now)s, %(hello)s, %(ack)s, %(live)s,
        %(backlog)s)
        ON CONFLICT (id) DO UPDATE SET tenant = excluded.tenant, property = excluded.property,
            incarnation = coalesce(excluded.incarnation, known.incarnation),
            last_heard_at = greatest(excluded.last_heard_at, known.last_heard_at),
            last_hello_at = coalesce(excluded.last_hello_at, known.last_hello_at),
            last_ack_at = coalesce(excluded.last_ack_at, known.last_ack_at),
            live_at = coalesce(excluded.live_at, known.live_at), backlog = coalesce(excluded.backlog, known.backlog)
        """,
        {
            "edge": edge,
            "tenant": owner.tenant,
            "property": owner.property,
            "incarnation": incarnation,
            "now": at(now_ms),
            "hello": None if hello_ms is None else at(hello_ms),
            "ack": None if ack_ms is None else at(ack_ms),
            "live": None if live_ms is None else at(live_ms),
            "backlog": None if backlog is None else jsonb(dict(backlog)),
        },
    )


async def _copy(connection: Connection, context: BatchContext, records: Sequence[Record]) -> None:
    if not records:
        return
    received = at(context.received_ms)
    start = (context.tenant, context.property, context.edge, context.incarnation, context.lane.value)
    async with connection.cursor() as cursor, cursor.copy(COPY_RECORDS) as copy:
        copy.set_types(RECORD_TYPES)
        for each in records:
            row: tuple[Any, ...] = (
                *start,
                each.seq,
                each.kind,
                jsonb(each.body),
                each.device_at_ms,
                each.edge_at_ms,
                each.mono_ms,
                each.clock.value,
                received,
            )
            await copy.write_row(row)


async def _write_holes(connection: Connection, context: BatchContext, holes: Sequence[Hole]) -> None:
    for each in holes:
        await execute(
            connection,
            "INSERT INTO telemetry.hole (edge, incarnation, lane, first, last, reason, told_at) "
            "VALUES (%s, %s, %s, %s, %s, %s, %s)",
            [
                context.edge,
                context.incarnation,
                context.lane.value,
                each.first,
                each.last,
                each.reason.name.lower(),
                at(context.received_ms),
            ],
        )


async def _write_refused(
    connection: Connection,
    context: BatchContext,
    span: tuple[int, int] | None,
    error: BaseException,
    payload: bytes | None,
) -> None:
    first, last = span or (None, None)
    await execute(
        connection,
        "INSERT INTO telemetry.refused (edge, incarnation, lane, first, last, error, detail, payload, at) "
        "VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)",
        [
            context.edge,
            context.incarnation or None,
            context.lane.value,
            first,
            last,
            type(error).__name__,
            str(error)[:DETAIL_MAX],
            payload,
            at(context.received_ms),
        ],
    )


def _metrics(metrics: Metrics | None) -> Callable[[str, int], None]:
    if metrics is None:
        return lambda _what, _by: None
    counter = metrics.counter("ingest_total", "What the ingest did with what edges sent.", ("what",))
    return lambda what, by: counter.labels(what=what).inc(by)
