"""Drives the link: connects, sends what `EdgeLink` says is next, hears acks, passes commands and documents on.

Decides nothing about order, windows or what is safe to forget: protocols/link/edge_link does. What this shell
adds is the broker
connection (lost ones are made again after a full-jitter pause), the log's reads, and the tasks in which commands run.
"""

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from operator import itemgetter
from typing import Any, Final

from edge.link.commands import Commands
from edge.link.ports import LinkLog, LiveState, OnCommand, OnDesired
from edge.link.settings import LinkSettings
from kit.cancellation import heed_cancellation
from kit.clock import Clock
from kit.dice import Dice
from kit.logs import logger
from kit.net import Connection, Transport
from kit.queues import BoundedQueue
from kit.task_groups import TaskGroup
from protocols.device_model.identity import EdgeId, PropertyId
from protocols.errors import (
    CredentialRefusedError,
    LinkLostError,
    PeerProtocolError,
    PlatformError,
    ReplyTimeoutError,
    StoreFailedError,
)
from protocols.link.batch import pack_batch
from protocols.link.documents import CommandEnvelope, Resolve, open_command, open_desired
from protocols.link.edge_link import (
    Acknowledged,
    CloudWentBack,
    DropLink,
    EdgeLink,
    Heard,
    LinkTimes,
    MarkBeyondReason,
    SayHello,
    SendBatch,
    SendLive,
    StoreWentBack,
)
from protocols.link.lanes import LANES, Lane
from protocols.link.messages import (
    Answer,
    Hello,
    Live,
    LiveHead,
    StreamMark,
    decode_ack,
    encode_answer,
    encode_hello,
    encode_live_most,
)
from protocols.link.reconnect import pause_most_ms
from protocols.link.topics import Down, Up, down_filter, parse_down, up_topic
from protocols.link.versions import VERSIONS

STORE_WAIT_S: Final = 1.0
"""The log cannot be read now: look again after this."""
LIVE_BACKLOG: Final = 2_000
"""With more than this waiting, a change in the house is also told as live state; fewer are there within seconds, and a
house of 300 rooms has hundreds on their way at any time."""
LIVES_TOLD_MAX: Final = 10
"""Incarnations of one lane that a hello names, the oldest unfinished first: more are told once those are done."""
PUBLISHES_AT_ONCE_MAX: Final = 8
"""Messages handed to the broker and not answered by it."""
LIVE_ITEMS_SURE: Final = 500
"""So many items of live state always fit into one message."""
_point: Final = itemgetter("device", "capability", "attribute")
_at_ms: Final = itemgetter("at_ms")
NONCE_MOST: Final = 2**48
"""A hello's nonce starts below this."""


@dataclass(frozen=True, slots=True)
class UplinkState:
    """How the link stands. `last_ack_ms`: monotonic; None: the cloud has not answered since the start."""

    connected: bool
    last_ack_ms: int | None
    backlog: dict[Lane, int]
    refused: int
    """Documents, commands and acks refused since the start."""


class Uplink:
    """One edge's way to its cloud, for the life of the process.

    Args:
        command_key: key id to the public key that may sign for this edge (pinned), None for a stranger.
        on_command: obeys; see `ports.OnCommand`.
        on_desired: takes documents; see `ports.OnDesired`.
        live_state: the house now; see `ports.LiveState`.
    """

    def __init__(
        self,
        *,
        edge: EdgeId,
        property_id: PropertyId,
        log: LinkLog,
        transport: Transport,
        clock: Clock,
        dice: Dice,
        command_key: Resolve,
        on_command: OnCommand,
        on_desired: OnDesired,
        live_state: LiveState,
        settings: LinkSettings | None = None,
        times: LinkTimes | None = None,
    ) -> None:
        self._edge, self._property, self._log, self._transport = edge, property_id, log, transport
        self._clock, self._dice, self._command_key = clock, dice, command_key
        self._on_desired, self._live_state = on_desired, live_state
        self._settings = settings or LinkSettings()
        gather_ms = self._settings.gather_telemetry // timedelta(milliseconds=1)
        self._times = times or LinkTimes(telemetry_age_ms=gather_ms)
        self._commands = Commands(edge=edge, log=log, clock=clock, on_command=on_command)
        self._waiting: BoundedQueue[CommandEnvelope] = BoundedQueue(self._settings.commands_waiting_max, "commands")
        self._link = EdgeLink((), times=self._times)
        self._wake = asyncio.Event()
        self._live_told: dict[tuple[Any, ...], tuple[Any, ...]] = {}
        """By point what was told of it last, since the whole was."""
        self._connection: Connection | None = None
        self._silent_connections = 0
        self._refused = 0
        self._say = logger("edge.link")

    @property
    def state(self) -> UplinkState:
        """How the link stands now."""
        return UplinkState(self._connection is not None, self._link.last_ack_ms, self._link.backlog(), self._refused)

    def live_changed(self) -> None:
        """The house is not as the live state last told: while a backlog drains, tell it again soon (SPEC.md 10)."""
        if sum(self._link.backlog().values()) > LIVE_BACKLOG:
            self._link.live_changed()
            self._wake.set()

    async def run(self) -> None:
        """Keep the link up until cancelled. Raises StoreFailedError if the log cannot be read at the start."""
        unlisten = self._log.listen(self._committed)
        try:
            self._link = EdgeLink(await self._log.streams(), times=self._times)
            self._see_heads()
            await self._commands.close_interrupted()
            async with TaskGroup() as tasks:
                for _ in range(self._settings.commands_at_once_max):
                    tasks.create_task(self._obey())
                tasks.create_task(self._keep_connected())
        finally:
            unlisten()

    # ------------------------------------------------------------------ connections

    async def _keep_connected(self) -> None:
        while True:
            try:
                async with self._transport.connect(subscribe=[down_filter(self._edge)]) as connection:
                    await self._talk(connection)
            except (LinkLostError, ReplyTimeoutError) as error:
                tries = self._silent_connections
                if tries & (tries - 1) == 0:  # a month off line must not fill the journal: 0, 1, 2, 4, 8 ...
                    self._say.info("link_lost", error=str(error), tries=tries)
            heed_cancellation()
            await asyncio.sleep(self._pause_s())

    def _pause_s(self) -> float:
        most_ms = pause_most_ms(
            self._silent_connections,
            first_ms=self._settings.reconnect_first // timedelta(milliseconds=1),
            most_ms=self._settings.reconnect_most // timedelta(milliseconds=1),
            spread_s=self._link.spread_s,
        )
        self._silent_connections += 1
        return self._dice.uniform(0, most_ms / 1000)

    async def _talk(self, connection: Connection) -> None:
        self._link.link_up(nonce=self._dice.integer(1, NONCE_MOST), now_ms=self._clock.now_ms())
        self._connection = connection
        try:
            async with TaskGroup() as both:
                both.create_task(self._hear(connection))
                both.create_task(self._send(connection, both))
        except* (LinkLostError, ReplyTimeoutError) as lost:
            raise LinkLostError(str(lost.exceptions[0])) from lost
        finally:
            self._connection = None
            self._link.link_down()

    # ------------------------------------------------------------------ up

    async def _send(self, connection: Connection, tasks: TaskGroup) -> None:
        """Do what is next. The broker's answers are awaited aside: the window, not its round trip, sets the pace."""
        unanswered = asyncio.Semaphore(PUBLISHES_AT_ONCE_MAX)
        while True:
            await unanswered.acquire()
            message: tuple[str, bytes] | None = None
            try:
                message = await self._next_message()
            except StoreFailedError as error:
                self._say.warning("log_not_readable", error=str(error))
                await asyncio.sleep(STORE_WAIT_S)
            if message is None:
                unanswered.release()
            else:
                tasks.create_task(self._publish(connection, *message, unanswered))

    async def _publish(self, connection: Connection, topic: str, payload: bytes, place: asyncio.Semaphore) -> None:
        try:
            async with asyncio.timeout(self._times.half_open_ms / 1000):
                await connection.publish(topic, payload)
        except TimeoutError as error:
            raise LinkLostError("the broker does not answer") from error
        finally:
            place.release()

    async def _until_woken(self) -> None:
        wake_ms = self._link.wake_ms
        wait_s = None if wake_ms is None else max(0, wake_ms - self._clock.now_ms()) / 1000
        try:
            async with asyncio.timeout(wait_s):
                await self._wake.wait()
        except TimeoutError:
            return

    async def _next_message(self) -> tuple[str, bytes] | None:
        """Return the next message; None: wait was needed, or there is none after all. Raises StoreFailedError."""
        self._wake.clear()
        match self._link.next_step(now_ms=self._clock.now_ms()):
            case None:
                await self._until_woken()
                return None
            case SayHello(nonce):
                return up_topic(self._edge, Up.HELLO), await self._hello(nonce)
            case SendLive(whole):
                return up_topic(self._edge, Up.LIVE), self._live(whole=whole)
            case SendBatch() as step:
                return await self._batch(step)
            case DropLink(reason):
                raise LinkLostError(reason)

    async def _batch(self, step: SendBatch) -> tuple[str, bytes] | None:
        run = await self._log.run(step.incarnation, step.lane, step.after_seq, step.most_records)
        if run is None:  # forgotten meanwhile
            await self._look_at_streams()
            return None
        payload, last = pack_batch(self._edge, step.incarnation, step.lane, run)
        self._link.batch_sent(step.incarnation, step.lane, last, now_ms=self._clock.now_ms())
        return up_topic(self._edge, step.lane), payload

    async def _hello(self, nonce: int) -> bytes:
        heads = await self._log.streams()
        streams = [
            StreamMark(head.incarnation, head.lane, head.first, max(head.last, head.first - 1))
            for lane in LANES
            for head in [each for each in heads if each.lane is lane][:LIVES_TOLD_MAX]
        ]
        return encode_hello(Hello(VERSIONS, self._edge, self._property, nonce, tuple(streams), self._clock.wall_ms()))

    def _live(self, *, whole: bool) -> bytes:
        """Return the live state: whole, or what of it is not as it was told last. Of more than fits, the newest values.

        What found no room counts as not told, and the next one is due for it, whether a backlog drains or not: those
        are the oldest values, and that they have grown old nothing else may tell.
        """
        told = self._live_told
        if whole:
            told.clear()
        heads, lives = self._log.heads(), self._log.incarnations()  # before the state is read: it knows what is there
        state = [dict(each) for each in self._live_state()]
        news = [each for each in state if told.get(_point(each)) != tuple(each.values())]
        if len(news) > LIVE_ITEMS_SURE:
            news.sort(key=_at_ms, reverse=True)
        told_to = tuple(LiveHead(lives[lane], lane, heads[lane]) for lane in LANES)
        payload, count = encode_live_most(
            Live(self._edge, lives[Lane.A], self._clock.wall_ms(), tuple(news), self._link.backlog(), told_to)
        )
        told.update((_point(each), tuple(each.values())) for each in news[:count])
        if count < len(news):
            self._link.live_changed()
        return payload

    async def _look_at_streams(self) -> None:
        self._link.heads(await self._log.streams())
        self._see_heads()

    def _see_heads(self) -> None:
        """Take what was committed while the streams were read: its news found no stream, and may have been the last."""
        heads = self._log.heads()
        for lane, incarnation in self._log.incarnations().items():
            self._link.appended(incarnation, lane, heads[lane])
        self._wake.set()

    def _committed(self, lane: Lane, incarnation: bytes, last: int) -> None:
        if not self._link.appended(incarnation, lane, last, now_ms=self._clock.now_ms()):
            return  # one more that waits for company
        if sum(self._link.backlog().values()) > LIVE_BACKLOG:
            self._link.live_changed()
        self._wake.set()

    # ------------------------------------------------------------------ down

    async def _hear(self, connection: Connection) -> None:
        async for message in connection.messages():
            try:
                what, name = parse_down(message.topic, self._edge)
                match what:
                    case Down.ACK:
                        await self._heard(message.payload)
                    case Down.COMMAND:
                        await self._command(message.payload)
                    case Down.DESIRED:
                        await self._desired(name or "", message.payload)
            except (PeerProtocolError, CredentialRefusedError) as error:
                self._refused += 1
                self._say.warning("refused", topic=message.topic, error=type(error).__name__, detail=str(error)[:300])
            except StoreFailedError as error:  # the cloud says it again: acks are cumulative, documents retained
                self._say.warning("not_taken", topic=message.topic, error=str(error))
        raise LinkLostError("the connection was closed")

    async def _heard(self, payload: bytes) -> None:
        for each in self._link.hear(decode_ack(payload), now_ms=self._clock.now_ms()):
            await self._act_on(each)
        self._silent_connections = 0
        self._wake.set()

    async def _act_on(self, heard: Heard) -> None:
        match heard:
            case Acknowledged(incarnation, lane, hi):
                await self._log.acked(incarnation, lane, hi)
            case CloudWentBack(incarnation, lane, hi):
                self._say.error("cloud_went_back", lane=lane.value, hi=hi)
                await self._log.acked(incarnation, lane, hi)
            case StoreWentBack(incarnation, lane, hi, cut):
                if self._log.incarnations()[lane] != incarnation:
                    return  # told twice
                self._say.error("record_log_is_an_old_copy", lane=lane.value, cloud_hi=hi, cut=cut)
                await self._log.begin_life(lane, cut=cut, reason=f"the cloud holds up to {hi}, this copy is older")
                await self._log.acked(incarnation, lane, hi)
                await self._look_at_streams()
            case MarkBeyondReason(_, lane, hi, last):
                self._refused += 1
                self._say.error("mark_beyond_reason", lane=lane.value, cloud_hi=hi, last=last)
            case refused:
                self._refused += 1
                self._say.error("cloud_refused", lane=str(refused.lane), error=refused.error)

    async def _desired(self, name: str, data: bytes) -> None:
        if not data:
            return  # the retained document was cleared: what we have stands
        document = open_desired(data, self._command_key, edge=self._edge)
        if document.name != name:
            raise PeerProtocolError(f"document {document.name} on the topic of {name}")
        known = await self._log.document(name)
        if known is not None and document.version <= known[0]:
            return
        try:
            await self._on_desired(document.name, document.version, document.body)
        except StoreFailedError:
            raise
        except PlatformError as error:
            self._refused += 1
            self._say.error("document_refused", name=name, version=document.version, error=str(error)[:300])
            return
        await self._log.keep_document(name, document.version, data)

    async def _command(self, data: bytes) -> None:
        command = open_command(data, self._command_key, edge=self._edge)
        if not self._waiting.offer(command):
            self._refused += 1
            await self._answer(Answer(self._edge, command.id, "failed", None, "the edge has too many commands to obey"))

    async def _obey(self) -> None:
        while True:
            command = await self._waiting.get()
            try:
                answer = await self._commands.obey(command)
            except StoreFailedError as error:
                self._say.error("command_not_kept", id=command.id, error=str(error))
                continue
            await self._answer(answer)

    async def _answer(self, answer: Answer) -> None:
        """Tell at once if there is a link; lane A tells it later in any case."""
        connection = self._connection
        if connection is None:
            return
        try:
            await connection.publish(up_topic(self._edge, Up.ANSWER), encode_answer(answer))
        except (LinkLostError, ReplyTimeoutError) as error:
            self._say.info("answer_not_sent", id=answer.id, error=str(error))
