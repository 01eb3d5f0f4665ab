"""One group of messages, of many edges, in one transaction; what may be answered once it is committed.

Source of truth: protocols/link/SPEC.md sections 5 to 8. The transaction holds {records, readings, projections, newest
values, marks} of all batches of the group; the rows of their streams are locked from its first statement, so a batch
that brings nothing new is answered before anybody opens it; its last statement is the fence. What one batch does wrong
is that batch's: read wrong, it is stepped over in place; refused by the database, the group is halved until it stands
alone.
"""

import asyncio
import struct
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, TypeAlias

import psycopg

from cloud.kit.database import Connection, Database, execute
from cloud.telemetry.fan_in import statements
from cloud.telemetry.fan_in.arrivals import (
    BatchItem,
    HelloItem,
    Item,
    LiveItem,
    Reply,
    UnreadableItem,
    bare,
    refusal,
    said,
)
from cloud.telemetry.fan_in.lease_store import fence
from cloud.telemetry.fan_in.leases import Worker
from cloud.telemetry.fan_in.newest import NewestValues, store_newest, told_of
from cloud.telemetry.fan_in.opening import Opened, Place, open_batch
from cloud.telemetry.fan_in.point_bounds import POINTS_MOST, PointBounds
from cloud.telemetry.fan_in.returning import RETURNS_A_SECOND, Fleet
from cloud.telemetry.fan_in.statements import Heard, Notes, Refused, StreamKey, StreamRow
from cloud.telemetry.partitions import Partitions
from cloud.telemetry.ports import REFUSALS, BatchContext, EdgeOwner, OwnerOf, Projection
from cloud.telemetry.store.port import ReadingRow, TelemetryStore
from kit.clock import Clock
from kit.logs import logger
from protocols.device_model.identity import EdgeId
from protocols.errors import PeerProtocolError, StoreFailedError
from protocols.link.batch import Hole, HoleReason
from protocols.link.cloud_stream import ChainVerdict
from protocols.link.lanes import Lane
from protocols.link.messages import STREAMS_MAX, Ack, AckMark, AckStatus
from protocols.link.record import Record

OWNER_KEPT_MS: Final = 60_000
"""How long an edge's owner is remembered."""
OWNERS_MAX: Final = 20_000
REFUSED_KEPT_MAX: Final = 32
"""Refused messages of one edge whose bytes are kept within `REFUSED_WITHIN_MS`; of more, only the number."""
REFUSED_WITHIN_MS: Final = 60_000
DEADLOCKS_MAX: Final = 3
SPEAK_EVERY_MS: Final = 1_000
"""A transaction in which nothing is said for `statements.IDLE_MOST` is ended, and batches can be dear to open."""
_ByProperty: TypeAlias = Mapping[str, set[str]]

LIVE_KIND: Final = "live"
LINK_KIND: Final = "link"

LOST: Final = (psycopg.OperationalError, psycopg.errors.IdleInTransactionSessionTimeout, StoreFailedError)
"""The database cannot take anything now: nothing is acknowledged, the edges keep it."""
_POISON: Final = (
    PeerProtocolError, psycopg.DataError, psycopg.IntegrityError, struct.error, OverflowError, ValueError,
)  # fmt: skip
"""What one batch can do to the statements of all. A partition that is not there is our defect, not a batch's."""


@dataclass(slots=True)
class Counts:
    """What was done since the start; the metrics say the same."""

    records: int = 0
    batches: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    unstored: int = 0
    """Messages dropped because the database could not take them, or another worker may: the edge still has them."""
    groups: int = 0
    """Transactions committed."""


@dataclass(frozen=True, slots=True)
class Right:
    """By what right a group is stored: whose shards, under which tokens. The group's shards are among them."""

    worker: Worker
    tokens: Mapping[int, int]


@dataclass(slots=True)
class _Group:
    """What the statements of one transaction have gathered."""

    now_ms: int
    notes: Notes
    newest: NewestValues
    streams: dict[StreamKey, StreamRow] = field(default_factory=dict)
    rows: list[bytes] = field(default_factory=list)
    readings: list[ReadingRow] = field(default_factory=list)
    replies: list[Reply] = field(default_factory=list)
    done: Counter[str] = field(default_factory=Counter)
    refused: list[tuple[str, BaseException, str]] = field(default_factory=list)
    """(what, why, edge), told once the transaction is committed."""


class PostgresLedger:
    """Stores groups.

    Args:
        owner_of: whose edge it is, asked at most once a minute an edge.
        projections: what other modules make of records, by record kind, in the order they are to run.
        store: the time series that readings go to; None keeps them in the ledger alone.
        count: hears (what, by how many) of everything that is done.
        hint: hears, of what is committed, (kinds of records, devices with newer values), each by property.
        returns_a_second: how many edges may come back a second after a loss.
        points_most: of a property among the newest values.
    """

    def __init__(
        self,
        database: Database,
        *,
        owner_of: OwnerOf,
        projections: Mapping[str, Sequence[Projection]],
        clock: Clock,
        store: TelemetryStore | None = None,
        count: Callable[[str, int], None] = lambda _what, _by: None,
        hint: Callable[[_ByProperty, _ByProperty], None] = lambda _kinds, _devices: None,
        returns_a_second: int = RETURNS_A_SECOND,
        points_most: int = POINTS_MOST,
    ) -> None:
        self._database, self._owner_of, self._clock, self._store = database, owner_of, clock, store
        self._projections = {kind: tuple(each) for kind, each in projections.items()}
        self._projected = frozenset(self._projections)
        self._partitions = Partitions(database)
        self._owners: dict[EdgeId, tuple[int, EdgeOwner]] = {}
        self._kept: dict[str, deque[int]] = {}
        self._log = logger("cloud.telemetry")
        self._count, self._hint = count, hint
        self._fleet, self._bounds = Fleet(returns_a_second), PointBounds(points_most)
        self.counts = Counts()

    async def commit(
        self, items: Sequence[Item], right: Right | None = None, *, written: Callable[[], None] | None = None
    ) -> list[Reply]:
        """Store a group and return what to answer, in order; an edge's items stand in the order they came.

        Args:
            right: proved before the commit; None: the caller answers for being alone.
            written: called when nothing but the commit is left to do: how long that takes is the disk's affair.

        Raises:
            ShardLostError: another worker serves some shards; nothing was stored.
            StoreFailedError, psycopg.OperationalError: the database is away; what was not committed is not answered.
        """
        if not items:
            return []
        now_ms = self._clock.wall_ms()
        await self._partitions.ensure(now_ms)
        if self._store is not None:
            await self._store.ensure_partitions(now_ms)
        return await self._halving(items, right, written)

    async def _halving(
        self, items: Sequence[Item], right: Right | None, written: Callable[[], None] | None
    ) -> list[Reply]:
        try:
            return await self._transaction(items, right, written)
        except psycopg.errors.CheckViolation:
            raise
        except _POISON as error:
            if len(items) > 1:
                half = len(items) // 2
                first = await self._halving(items[:half], right, written)
                return [*first, *await self._halving(items[half:], right, written)]
            [item] = items
            if isinstance(item, UnreadableItem):
                raise  # its bytes are all that is stored: not its fault
            return await self._transaction([_spoilt(item, error)], right, written)

    async def _transaction(
        self, items: Sequence[Item], right: Right | None, written: Callable[[], None] | None
    ) -> list[Reply]:
        attempts = 0
        while True:
            attempts += 1
            try:
                return await self._once(items, right, written)
            except psycopg.errors.DeadlockDetected:  # somebody else's locks, in another order; ours are in one
                if attempts == DEADLOCKS_MAX:
                    raise

    async def _once(
        self, items: Sequence[Item], right: Right | None, written: Callable[[], None] | None
    ) -> list[Reply]:
        now_ms = self._clock.wall_ms()
        group = _Group(now_ms, Notes(), NewestValues(now_ms, {}))
        async with self._database.transaction() as connection:
            await statements.wake_if_asleep(connection)
            owned = await self._owned(connection, group, items)
            wanted: dict[StreamKey, BatchContext] = {}
            beginning: set[StreamKey] = set()
            for item, owner in owned:
                if isinstance(item, BatchItem):
                    head = item.head
                    key = (head.edge, head.incarnation, head.lane)
                    wanted[key] = BatchContext(owner.tenant, owner.property, *key, now_ms)
                    if head.first == 1:
                        beginning.add(key)
            group.streams = await statements.lock_streams(connection, wanted, beginning)
            projected: list[tuple[BatchContext, list[Record]]] = []
            spoke_ms = self._clock.now_ms()
            for item, owner in owned:
                match item:
                    case BatchItem():
                        context = wanted[item.head.edge, item.head.incarnation, item.head.lane]
                        if records := self._take_batch(group, context, item):
                            projected.append((context, records))
                        await asyncio.sleep(0)  # opening takes a millisecond or two: the other lanes feed the database
                        if self._clock.now_ms() - spoke_ms >= SPEAK_EVERY_MS:
                            await execute(connection, "SELECT 1")
                            spoke_ms = self._clock.now_ms()
                    case LiveItem():
                        self._take_live(group, item, owner)
                    case HelloItem() | UnreadableItem():
                        pass
            await self._take_hellos(connection, group, owned)
            if (spread_s := await self._fleet.spread_s(connection, self._clock.now_ms(), now_ms)) > 1:
                group.replies = [
                    each
                    if each.ack.status is AckStatus.REFUSED
                    else Reply(each.edge, replace(each.ack, spread_s=spread_s))
                    for each in group.replies
                ]
            await statements.copy_records(connection, group.rows)
            if self._store is not None and group.readings:
                self._refuse_readings(group, wanted, await self._store.write(connection, group.readings))
            for property_id, by in (await self._bounds.cut(connection, group.newest)).items():
                full = PeerProtocolError(f"{by} new points of {property_id}, which has no room: they are not shown")
                group.refused.append(("points", full, _heard_of(group, property_id)))
            await store_newest(connection, group.newest)
            for context, records in projected:
                await self._project(connection, group, context, records)
            await statements.move_marks(connection, group.streams, now_ms)
            for property_id, device, *_ in group.newest.points:
                group.notes.devices.setdefault(property_id, set()).add(device)
            await statements.write_notes(connection, group.notes, now_ms)
            if right is not None:
                await fence(connection, right.worker, right.tokens)
            if written is not None:
                written()
        self._tell(group)
        return group.replies

    # ------------------------------------------------------------------ whose

    async def _owned(
        self, connection: Connection, group: _Group, items: Sequence[Item]
    ) -> list[tuple[Item, EdgeOwner]]:
        """Return the items of edges that are somebody's; a stranger is named and gets no room."""
        owned: list[tuple[Item, EdgeOwner]] = []
        for item in items:
            topic = item.arrived.topic
            owner = await self._owner(connection, topic.edge)
            if isinstance(item, UnreadableItem):
                group.refused.append((topic.what.value, item.error, topic.edge))
                if (reply := refusal(item)) is not None:
                    group.replies.append(reply)
                elif owner is not None:
                    payload = item.arrived.payload if self._has_room(topic.edge) else None
                    lane = topic.lane or Lane.A
                    group.notes.refused.append(Refused(topic.edge, None, lane, None, None, item.error, payload))
            elif owner is None:
                error = PeerProtocolError(f"edge {topic.edge} belongs to no property")
                group.refused.append((topic.what.value, error, topic.edge))
                if isinstance(item, HelloItem):
                    ack = Ack(AckStatus.REFUSED, (), re=item.hello.nonce, error=said(error))
                    group.replies.append(Reply(topic.edge, ack))
            else:
                group.notes.heard.setdefault(topic.edge, Heard(owner))
                owned.append((item, owner))
        return owned

    async def _owner(self, connection: Connection, edge: EdgeId) -> EdgeOwner | None:
        now_ms = self._clock.now_ms()
        if (known := self._owners.get(edge)) is not None and now_ms - known[0] < OWNER_KEPT_MS:
            return known[1]
        owner = await self._owner_of(connection, edge)
        self._owners.pop(edge, None)
        if owner is not None:
            if len(self._owners) >= OWNERS_MAX:
                self._owners.pop(next(iter(self._owners)))  # the one asked longest ago
            self._owners[edge] = (now_ms, owner)
        return owner

    def _has_room(self, edge: str) -> bool:
        """Whether another unreadable message of `edge` is kept: a building gone mad must not fill the disk."""
        now_ms = self._clock.now_ms()
        kept = self._kept.setdefault(edge, deque(maxlen=REFUSED_KEPT_MAX))
        if len(kept) == REFUSED_KEPT_MAX and now_ms - kept[0] < REFUSED_WITHIN_MS:
            return False
        kept.append(now_ms)
        return True

    # ------------------------------------------------------------------ batches

    def _take_batch(self, group: _Group, context: BatchContext, item: BatchItem) -> list[Record]:
        """Add what a batch brings and its answer to the group; return its records that somebody projects."""
        head = item.head
        row = group.streams[head.edge, head.incarnation, head.lane]
        status = row.stream.judge(head)
        error: BaseException | None = None
        opened = Opened(status)
        if status is AckStatus.STORED:
            try:
                if isinstance(item, _Spoilt):
                    raise PeerProtocolError(f"the database refused it: {said(item.error)}") from item.error
                opened = open_batch(head, row.stream, Place.of(context, row.ordinal), self._projected)
            except PeerProtocolError as wrong:
                error = bare(wrong)
                status = self._step_over(group, context, item, wrong)
            else:
                row.stored += 1
                row.heard_of(head.opening)
                self._add(group, context, item, opened)
        row.duplicates += status is AckStatus.DUPLICATE
        row.gaps += status is AckStatus.GAP
        group.done[status.value] += 1
        group.notes.heard[head.edge].ack_ms = group.now_ms
        mark = AckMark(head.incarnation, head.lane, row.stream.hi)
        told = None if error is None else said(error)
        _answer(group.replies, Reply(head.edge, Ack(status, (mark,), error=told)))
        return opened.records

    def _step_over(self, group: _Group, context: BatchContext, item: BatchItem, wrong: PeerProtocolError) -> AckStatus:
        """Pass a batch that cannot be read, as far as its head is credible, and keep its bytes."""
        head, row = item.head, group.streams[item.head.edge, item.head.incarnation, item.head.lane]
        first, payload = row.stream.hi + 1, item.arrived.payload
        offered = row.stream.step_over(head)
        if offered.hi < first:  # nothing moved: the same may come for ever
            kept = payload if self._has_room(head.edge) else None
            group.notes.refused.append(Refused(head.edge, head.incarnation, head.lane, None, None, wrong, kept))
            group.refused.append((head.lane.value, wrong, head.edge))
            return offered.status
        group.notes.holes.append((context, Hole(first, offered.hi, HoleReason.REFUSED), 0))
        kept = payload if self._has_room(head.edge) else None
        self._refuse(group, context, (first, offered.hi), wrong, what=head.lane.value, payload=kept)
        row.stored += 1
        row.heard_of(head.opening)
        group.notes.kinds.setdefault(context.property, set()).add(LINK_KIND)
        return offered.status

    def _add(self, group: _Group, context: BatchContext, item: BatchItem, opened: Opened) -> None:
        group.rows += opened.rows
        group.readings += opened.readings
        group.newest.take(opened.readings, context.lane.value, context.incarnation)
        group.done["records"] += len(opened.rows)
        group.notes.holes += [(context, hole, inside) for hole, inside in opened.holes]
        for seq, wrong in opened.refused:
            self._refuse(group, context, (seq, seq), wrong, what="projection of reading")
        if opened.verdict is ChainVerdict.BROKEN:
            broken = PeerProtocolError("the hash chain does not follow: the log in the building was changed")
            group.streams[context.edge, context.incarnation, context.lane].chain_breaks += 1
            kept = item.arrived.payload if self._has_room(context.edge) else None
            self._refuse(group, context, (item.head.first, item.head.last), broken, what="chain", payload=kept)
        group.notes.kinds.setdefault(context.property, set()).update(opened.kinds or {LINK_KIND})

    def _refuse_readings(
        self, group: _Group, wanted: Mapping[StreamKey, BatchContext], rows: Sequence[ReadingRow]
    ) -> None:
        """Tell which readings of a group the time series has no room for, a run of positions at a time."""
        if not rows:
            return
        contexts = {row.ordinal: wanted[key] for key, row in group.streams.items()}
        runs: list[tuple[ReadingRow, int]] = []
        for row in rows:  # in the order they came: by stream, by position
            if runs and (runs[-1][0].ordinal, runs[-1][1] + 1) == (row.ordinal, row.seq):
                runs[-1] = (runs[-1][0], row.seq)
            else:
                runs.append((row, row.seq))
        forgotten = {group.newest.forget(row) for row in rows}
        refused = {(row.ordinal, row.seq) for row in rows}
        for row in group.readings:  # what the same point said before that, and is stored
            point = (row.property, row.device, row.capability, row.attribute)
            if point in forgotten and (row.ordinal, row.seq) not in refused:
                context = contexts[row.ordinal]
                group.newest.take([row], context.lane.value, context.incarnation)
        for first, last in runs:
            full = PeerProtocolError(f"reading of {first.device}: {first.property} has no room for another series")
            self._refuse(group, contexts[first.ordinal], (first.seq, last), full, what="projection of reading")

    def _refuse(
        self,
        group: _Group,
        context: BatchContext,
        span: tuple[int, int],
        error: BaseException,
        *,
        what: str,
        payload: bytes | None = None,
    ) -> None:
        group.notes.refused.append(Refused(context.edge, context.incarnation, context.lane, *span, error, payload))
        group.refused.append((what, error, context.edge))

    async def _project(
        self, connection: Connection, group: _Group, context: BatchContext, records: Sequence[Record]
    ) -> None:
        for kind, projections in self._projections.items():
            wanted = [record for record in records if record.kind == kind]
            for projection in projections:
                await self._isolated(connection, group, context, wanted, projection)

    async def _isolated(
        self, connection: Connection, group: _Group, context: BatchContext, wanted: Sequence[Record],
        projection: Projection,
    ) -> None:  # fmt: skip
        """Run a projection under a savepoint; if it refuses the batch, record by record, so that one costs one."""
        if not wanted:
            return
        try:
            async with connection.transaction():
                await projection(connection, context, wanted)
        except REFUSALS as error:
            if len(wanted) == 1:
                [record] = wanted
                self._refuse(group, context, (record.seq, record.seq), error, what=f"projection of {record.kind}")
                return
            for record in wanted:
                await self._isolated(connection, group, context, [record], projection)

    # ------------------------------------------------------------------ hello and live

    def _take_live(self, group: _Group, item: LiveItem, owner: EdgeOwner) -> None:
        live = item.live
        told = told_of(live.heads)
        for body in live.state:
            try:
                group.newest.take_live(owner.tenant, owner.property, body, live.at_ms, told)
            except PeerProtocolError as error:
                group.refused.append(("live item", error, live.edge))
        heard = group.notes.heard[live.edge]
        heard.live_ms, heard.incarnation = live.at_ms, live.incarnation
        heard.backlog = {lane.value.lower(): count for lane, count in live.backlog.items()}
        group.notes.kinds.setdefault(owner.property, set()).update((LIVE_KIND, LINK_KIND))
        group.done["live"] += 1

    async def _take_hellos(
        self, connection: Connection, group: _Group, owned: Sequence[tuple[Item, EdgeOwner]]
    ) -> None:
        """Answer hellos with the marks as this transaction leaves them."""
        hellos = [(item.hello, owner) for item, owner in owned if isinstance(item, HelloItem)]
        known = await statements.marks_of(
            connection, [(hello.edge, each) for hello, _ in hellos for each in hello.streams]
        )
        known |= {key: (row.stream.hi, row.openings) for key, row in group.streams.items()}
        for hello, owner in hellos:
            marks: list[AckMark] = []
            backlog = {lane.value.lower(): 0 for lane in Lane}
            for each in sorted(hello.streams, key=lambda stream: (stream.lane, stream.incarnation)):
                hi, openings = known.get((hello.edge, each.incarnation, each.lane), (0, ()))
                marks.append(AckMark(each.incarnation, each.lane, hi, openings))
                backlog[each.lane.value.lower()] += max(0, each.last - hi)
            heard = group.notes.heard[hello.edge]
            heard.hello_ms, heard.backlog = group.now_ms, backlog
            newest = next((each.incarnation for each in reversed(hello.streams) if each.lane is Lane.A), None)
            heard.incarnation = newest or heard.incarnation
            group.notes.kinds.setdefault(owner.property, set()).add(LINK_KIND)
            group.done["hello"] += 1
            group.replies.append(Reply(hello.edge, Ack(AckStatus.WELCOME, tuple(marks), re=hello.nonce)))

    def _tell(self, group: _Group) -> None:
        """Count, log and hint at what is now committed."""
        self._hint(group.notes.kinds, group.notes.devices)
        for what, by in group.done.items():
            self._count(what, by)
            if what == "records":
                self.counts.records += by
            else:
                self.counts.batches[what] += by
        for what, error, edge in group.refused:
            self.refuse(what, error, edge=edge)
        self.counts.groups += 1

    def refuse(self, what: str, error: BaseException, *, edge: str | None = None) -> None:
        """Count and log something that was not taken."""
        self.counts.refused[type(error).__name__] += 1
        self._count("refused", 1)
        detail = str(error)[: statements.DETAIL_MAX]
        self._log.warning("ingest_refused", edge=edge, what=what, error=type(error).__name__, detail=detail)


@dataclass(frozen=True, slots=True)
class _Spoilt(BatchItem):
    """A batch that the database refuses whatever stands beside it."""

    error: BaseException


def _heard_of(group: _Group, property_id: str) -> str:
    """The edge of a property that a group heard."""
    return next((edge for edge, each in group.notes.heard.items() if each.owner.property == property_id), "")


def _spoilt(item: Item, error: BaseException) -> Item:
    if isinstance(item, BatchItem) and not isinstance(item, _Spoilt):
        return _Spoilt(item.arrived, item.head, error)
    return UnreadableItem(item.arrived, PeerProtocolError(f"the database refused it: {said(error)}"))


def _answer(replies: list[Reply], new: Reply) -> None:
    """Add an answer; the newest mark of a stream alone is told, where it says the same: acks are cumulative."""
    [mark] = new.ack.marks
    for place, old in enumerate(replies):
        if (
            old.edge == new.edge
            and old.ack.error is None
            and new.ack.error is None
            and (old.ack.status, new.ack.status) == (AckStatus.STORED, AckStatus.STORED)
        ):
            others = [each for each in old.ack.marks if (each.incarnation, each.lane) != (mark.incarnation, mark.lane)]
            if len(others) == STREAMS_MAX:
                continue  # an edge of many lives, or one that makes them up: what one answer cannot name another does
            replies[place] = Reply(new.edge, Ack(AckStatus.STORED, (*others, mark)))
            return
    replies.append(new)
