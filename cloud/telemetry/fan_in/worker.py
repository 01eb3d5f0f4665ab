"""The worker: hears the shards it serves, groups what comes, has it stored, and only then answers.

Source of truth: docs/operating/cloud.md ("Ingest workers"). Lanes of work are parallel, each with shards of its own, so
that one edge's messages keep their order; while one lane waits for the database another decodes. What waits is
bounded: a lane that is full stops the reading, and the broker holds back. A message is dropped, unanswered, when the
database cannot take it or the shard went to another worker: its edge still has it.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from typing import Annotated, Final, Protocol, TypeAlias

import msgspec

from cloud.telemetry.fan_in.arrivals import Arrived, Item, Reply, read
from cloud.telemetry.fan_in.keeper import ShardKeeper
from cloud.telemetry.fan_in.lease_store import ShardLostError
from cloud.telemetry.fan_in.ledger import Right
from cloud.telemetry.fan_in.point_bounds import POINTS_MOST
from cloud.telemetry.fan_in.returning import REASSURED_EVERY_MS, RETURNS_A_SECOND, Patience, hold_ms
from cloud.telemetry.fan_in.waiting import MESSAGE_WEIGHS, Pace, Waiting, weight_of
from kit.clock import Clock
from kit.logs import logger
from kit.mqtt_wire.transport import WireConnection
from kit.net import Connection as Link
from kit.net import Transport
from kit.settings import check_span
from kit.task_groups import TaskGroup
from protocols.errors import LinkLostError, PeerProtocolError, ReplyTimeoutError
from protocols.link.batch import RECORDS_MAX
from protocols.link.messages import encode_ack
from protocols.link.topics import Up, UpTopic, ack_topic, parse_up

_Messages: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=10_000)]


class WorkerSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a worker works.

    A fleet that loses its broker is asked to come back at `returns_a_second`; few edges are back within a second.
    `parallel`: lanes of work, each with a database connection while it stores. `queue_messages_max`: how many messages
    may wait for each lane, at most QUEUE_BYTES_MAX of them. A transaction takes at most `group_messages_max` messages
    and about `group_rows_max` records, and fewer where it would take longer than `group_takes`, or, while messages wait
    for long, STRETCH times that; while it is small it waits `linger` for company, and again while company comes.
    `slow_after`: when a message waited longer than this, its edge is asked to hold lanes B and C about as long, `slow`
    at most. `points_most`: points of a property among the newest values; twice as many series (docs/decisions/0112).
    """

    parallel: Annotated[int, msgspec.Meta(ge=1, le=32)] = 2
    queue_messages_max: _Messages = 1_024
    group_messages_max: _Messages = 128
    group_rows_max: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 10_000
    group_takes: timedelta = timedelta(milliseconds=200)
    linger: timedelta = timedelta(milliseconds=25)
    slow_after: timedelta = timedelta(seconds=1)
    slow: timedelta = timedelta(seconds=5)
    returns_a_second: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = RETURNS_A_SECOND
    points_most: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = POINTS_MOST

    def __post_init__(self) -> None:
        check_span("linger", self.linger, timedelta(0), timedelta(seconds=1))
        check_span("group_takes", self.group_takes, timedelta(milliseconds=10), timedelta(seconds=10))
        check_span("slow_after", self.slow_after, timedelta(milliseconds=1), timedelta(hours=1))
        check_span("slow", self.slow, timedelta(0), timedelta(hours=1))


class Ledger(Protocol):
    """Where groups are stored; see `cloud.telemetry.fan_in.ledger.PostgresLedger.commit`."""

    async def commit(
        self, items: Sequence[Item], right: Right | None = None, *, written: Callable[[], None] | None = None
    ) -> list[Reply]:
        """Store a group and return what to answer; call `written` when nothing but the commit is left to do."""
        ...


ANSWERS_AT_ONCE: Final = 64
"""Of a transport that sends one message at a time."""
RECEIVED_AT_ONCE: Final = 256
READ_REST: Final = timedelta(milliseconds=20)
"""After a read of few messages the worker's transport reads nothing for so long: several then come by one read and are
answered by one write. Messages wait for company at the database in any case (`linger`)."""
TOPICS_KNOWN_MOST: Final = 100_000
QUEUE_BYTES_MAX: Final = 16 * 1024 * 1024
GROUP_WEIGHT_LEAST: Final = RECORDS_MAX + MESSAGE_WEIGHS
EVERYTHING: Final = "up/+/+/+"
SINGLE_FILTERS_MAX: Final = 32
"""Above so many shards one filter hears all and what is not ours is dropped. nats-server counts 1024 unacknowledged
messages for each filter against 65,535 for a session and refuses what is beyond, in silence."""


def filters_of(shards: frozenset[int]) -> frozenset[str]:
    """Return what to subscribe to in order to hear `shards`."""
    if len(shards) > SINGLE_FILTERS_MAX:
        return frozenset({EVERYTHING})
    return frozenset(f"up/{shard}/+/+" for shard in shards)  # not up/<shard>/#: nats-server counts that twice


class FanInWorker:
    """One life of a worker. `run` until cancelled or stopped; a lost broker ends it with LinkLostError.

    Args:
        lost: what the ledger raises when it cannot take anything now.
        refused: hears of topics that are none.
        dropped: hears how many messages were let go unanswered.
    """

    def __init__(
        self,
        transport: Transport,
        ledger: Ledger,
        keeper: ShardKeeper,
        *,
        clock: Clock,
        settings: WorkerSettings,
        lost: tuple[type[Exception], ...],
        refused: Callable[[str, PeerProtocolError], None],
        dropped: Callable[[int], None],
    ) -> None:
        self._transport, self._ledger, self._keeper, self._clock = transport, ledger, keeper, clock
        self._settings, self._lost, self._refused, self._dropped = settings, lost, refused, dropped
        self._queues = [Waiting(settings.queue_messages_max, QUEUE_BYTES_MAX) for _ in range(settings.parallel)]
        self._under_way: list[Sequence[Item]] = [() for _ in self._queues]
        self._pace = Pace(
            settings.group_takes // timedelta(milliseconds=1), least=GROUP_WEIGHT_LEAST, most=settings.group_rows_max
        )
        self._topics: dict[bytes, UpTopic] = {}
        self._busy = 0
        self._log = logger("cloud.telemetry")
        self.connected = False

    @property
    def shards(self) -> frozenset[int]:
        """The shards that this worker serves now."""
        return frozenset(self._keeper.tokens)

    async def run(self) -> None:
        """Connect, serve shards, ingest. Raises LinkLostError when the broker is lost: supervision starts it again."""
        # all is heard before anything is claimed, so that what a building says meanwhile waits here and is not lost
        async with self._transport.connect(subscribe=[EVERYTHING]) as link:
            self.connected, self._busy = True, 0
            try:
                async with TaskGroup() as tasks:
                    jobs = [tasks.create_task(self._work(lane, link)) for lane in range(len(self._queues))]
                    jobs.append(tasks.create_task(self._serve(link)))
                    jobs.append(tasks.create_task(self._reassure(link)))
                    try:
                        await self._receive(link)
                    finally:
                        for each in jobs:
                            each.cancel()
            except* LinkLostError as broken:
                raise LinkLostError(f"ingest: {broken.exceptions[0]}") from broken
            finally:
                self.connected = False
                await self._keeper.leave()

    async def hand_over(self) -> None:
        """Let the other workers take every shard, then finish what is waiting. Call it before `run` is cancelled."""
        if not self.connected:
            return
        await self._keeper.hand_over()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._settings.slow_after.total_seconds()):
                while self._busy or any(map(len, self._queues)):  # noqa: ASYNC110 - three lanes end in any order
                    await asyncio.sleep(0.005)

    async def _serve(self, link: Link) -> None:
        filters = frozenset({EVERYTHING})

        async def listen(shards: frozenset[int]) -> None:
            nonlocal filters
            wanted = filters_of(shards)
            if new := sorted(wanted - filters):
                await link.subscribe(*new)
            if old := sorted(filters - wanted):
                await link.unsubscribe(*old)
            filters = wanted

        await self._keeper.run(listen)

    async def _receive(self, link: Link) -> None:
        await self._keeper.wait_standing()
        if isinstance(link, WireConnection):
            await self._receive_many(link)
        else:
            async for message in link.messages():
                await self._hear(message.topic.encode(), message.payload, self._clock.now_ms())
        raise LinkLostError("ingest: the connection was closed")

    async def _receive_many(self, link: WireConnection) -> None:
        """Take what one read brought, answer the broker for it in one write."""
        drained_ms = self._clock.now_ms()
        while True:
            asked_ms = self._clock.now_ms()
            taken = await link.batch(RECEIVED_AT_ONCE)
            if not taken:
                return
            # what was there already came after the inbox was last empty: it has waited since then at most
            came_ms = now_ms = self._clock.now_ms()
            if now_ms == asked_ms:
                came_ms = drained_ms
            if len(taken) < RECEIVED_AT_ONCE:
                drained_ms = now_ms
            for topic, payload, _, _ in taken:
                await self._hear(topic, payload, came_ms)
            link.acknowledge(taken)

    async def _hear(self, name: bytes, payload: bytes | None, at_ms: int) -> None:
        """Let a message wait for its lane of work. `payload` None: too long to be read."""
        topic = self._topics.get(name)
        try:
            if topic is None:
                topic = parse_up(name.decode(errors="replace"))
                if len(self._topics) >= TOPICS_KNOWN_MOST:
                    self._topics.clear()
                self._topics[name] = topic
            if payload is None:
                raise PeerProtocolError(f"a message of {topic.edge} that is longer than any batch")
        except PeerProtocolError as error:
            self._refused("topic" if topic is None else topic.what.value, error)
            return
        if topic.what is Up.ANSWER:  # the downlink that sent the command listens for itself
            return
        item = read(Arrived(topic, payload, at_ms))
        if item is not None:
            await self._queues[topic.shard % len(self._queues)].put(item)

    async def _work(self, lane: int, link: Link) -> None:
        queue, settings = self._queues[lane], self._settings
        linger_ms = settings.linger // timedelta(milliseconds=1)
        async with TaskGroup() as tasks:
            answering: asyncio.Task[None] | None = None
            while True:
                items = await queue.take(settings.group_messages_max, self._pace.most_weight, linger_ms)
                self._busy += 1
                self._under_way[lane] = items
                try:
                    replies = await self._group(items)
                    if answering is not None:
                        await answering  # an edge's answers keep their order; the broker's slowness is felt here
                finally:
                    self._busy -= 1
                    self._under_way[lane] = ()
                self._busy += 1
                answering = tasks.create_task(self._tell(link, replies))

    async def _reassure(self, link: Link) -> None:
        """Say to edges whose messages wait for long that they are heard."""
        patience = Patience(self._settings.slow // timedelta(milliseconds=1))
        while True:
            await asyncio.sleep(REASSURED_EVERY_MS / 1000)
            held = self._keeper.tokens
            waiting = [each.arrived for group in self._under_way for each in group]
            waiting += [each for queue in self._queues for each in queue.oldest()]
            ours = (each for each in waiting if each.topic.shard in held)
            if replies := patience.due(ours, self._clock.now_ms()):
                self._busy += 1
                await self._tell(link, replies)

    async def _group(self, items: Sequence[Item]) -> list[Reply]:
        """Store a group in one transaction and return what to answer."""
        began_ms = written_ms = self._clock.now_ms()

        def written() -> None:
            nonlocal written_ms
            written_ms = self._clock.now_ms()

        replies = await self._store(items, written)
        now_ms = self._clock.now_ms()
        waited_ms = max((now_ms - each.arrived.at_ms for each in items), default=0)
        if replies:
            self._pace.took(sum(map(weight_of, items)), written_ms - began_ms, waited_ms)
        if timedelta(milliseconds=waited_ms) > self._settings.slow_after:
            most_ms = self._settings.slow // timedelta(milliseconds=1)
            replies = [
                Reply(each.edge, replace(each.ack, slow_ms=hold_ms(each.edge, waited_ms, most_ms))) for each in replies
            ]
        return replies

    async def _tell(self, link: Link, replies: Sequence[Reply]) -> None:
        """Send answers; the next group is stored meanwhile."""
        try:
            if isinstance(link, WireConnection):
                messages = [(ack_topic(each.edge).encode(), encode_ack(each.ack)) for each in replies]
                with self._unsent(len(messages)):
                    await link.publish_many(messages)
                return
            for start in range(0, len(replies), ANSWERS_AT_ONCE):
                await asyncio.gather(*(self._answer(link, each) for each in replies[start : start + ANSWERS_AT_ONCE]))
        finally:
            self._busy -= 1

    async def _store(self, items: Sequence[Item], written: Callable[[], None]) -> list[Reply]:
        """Have stored what is ours to store; what is not, or cannot be now, is dropped unanswered."""
        while True:
            held = self._keeper.tokens
            ours = [each for each in items if each.arrived.topic.shard in held]
            self._dropped(len(items) - len(ours))
            if not ours:
                return []
            tokens = {shard: held[shard] for shard in {each.arrived.topic.shard for each in ours}}
            try:
                return await self._ledger.commit(ours, Right(self._keeper.me, tokens), written=written)
            except ShardLostError as error:
                self._keeper.lost(error.shards)
                items = ours
            except self._lost as error:
                self._dropped(len(ours))
                self._log.warning("ingest_not_stored", messages=len(ours), error=str(error))
                return []

    async def _answer(self, link: Link, reply: Reply) -> None:
        with self._unsent(1):
            await link.publish(ack_topic(reply.edge), encode_ack(reply.ack))

    @contextmanager
    def _unsent(self, acks: int) -> Iterator[None]:
        """An answer that does not arrive is asked for again."""
        try:
            yield
        except (LinkLostError, ReplyTimeoutError) as error:
            self._log.info("ack_not_sent", acks=acks, error=str(error))
