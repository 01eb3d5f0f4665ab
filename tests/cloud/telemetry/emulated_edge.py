"""An edge as the fan-in meets it: the real link core and payloads over a log in memory; any number in one process."""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from typing import Any

from kit.clock import Clock
from kit.dice import Dice
from kit.net import Connection, Transport
from protocols.device_model.identity import EdgeId, PropertyId
from protocols.errors import LinkLostError, PeerProtocolError, ReplyTimeoutError
from protocols.link.batch import Packed, pack_batch
from protocols.link.edge_link import DropLink, EdgeLink, LinkTimes, SayHello, SendBatch, SendLive, StreamHead
from protocols.link.lanes import LANES, Lane
from protocols.link.messages import Hello, Live, StreamMark, decode_ack, encode_hello, encode_live
from protocols.link.reconnect import pause_most_ms
from protocols.link.topics import Up, down_filter, up_topic
from tests.cloud.telemetry.sending import note

OPENING = b"opening1"
Pack = Callable[[EdgeId, bytes, Lane, Packed], tuple[bytes, int]]
RECONNECT_FIRST_MS, RECONNECT_MOST_MS = 500, 60_000


class EmulatedEdge:
    """One edge with one life and lanes B and C.

    `record` encodes the record of a position, `pack` a run of them. `ack_waits_ms`: from a batch's first sending to its
    acknowledgement; `append_waits_ms`: the same from `append`.
    """

    def __init__(
        self,
        name: EdgeId,
        transport: Transport,
        *,
        clock: Clock,
        dice: Dice,
        times: LinkTimes | None = None,
        record: Callable[[int], bytes] = note,
        pack: Pack = pack_batch,
        reconnect_most_ms: int = RECONNECT_MOST_MS,
    ) -> None:
        self.name, self._transport, self._clock, self._dice, self._record = name, transport, clock, dice, record
        self._pack = pack
        self._times, self._reconnect_most_ms = times or LinkTimes(), reconnect_most_ms
        self.incarnation = dice.bytes(16)
        self.last: dict[Lane, int] = {Lane.B: 0, Lane.C: 0}
        self.acked: dict[Lane, int] = {Lane.B: 0, Lane.C: 0}
        self.attempts_ms: list[int] = []
        self.ack_waits_ms: list[int] = []
        self.append_waits_ms: list[int] = []
        self._appended: dict[Lane, deque[tuple[int, int]]] = {lane: deque() for lane in self.last}
        self.sent = 0
        self._sent_ms: dict[tuple[Lane, int], int] = {}
        self._link = EdgeLink(
            [StreamHead(self.incarnation, lane, 1, 0, 0, ((OPENING, 0),)) for lane in self.last], times=self._times
        )
        self._woken = asyncio.Event()

    @property
    def caught_up(self) -> bool:
        return self.acked == self.last

    @property
    def connected(self) -> bool:
        return self._link.connected

    @property
    def spread_s(self) -> int:
        """Over how many seconds the cloud wants the fleet to come back."""
        return self._link.spread_s

    @property
    def answered_ms(self) -> int | None:
        """When the cloud last answered, on the clock handed in."""
        return self._link.last_ack_ms

    def append(self, lane: Lane, count: int) -> None:
        self.last[lane] += count
        self._appended[lane].append((self.last[lane], self._clock.now_ms()))
        self._link.appended(self.incarnation, lane, self.last[lane])
        self._woken.set()

    async def run(self) -> None:
        tries = 0
        while True:
            self.attempts_ms.append(self._clock.now_ms())
            heard = self._link.last_ack_ms
            with contextlib.suppress(LinkLostError, ReplyTimeoutError):
                async with self._transport.connect(subscribe=[down_filter(self.name)]) as connection:
                    await self._talk(connection)
            self._link.link_down()
            tries = 0 if self._link.last_ack_ms != heard else tries + 1
            ceiling_ms = pause_most_ms(
                tries, first_ms=RECONNECT_FIRST_MS, most_ms=self._reconnect_most_ms, spread_s=self.spread_s
            )
            await asyncio.sleep(self._dice.uniform(0, ceiling_ms) / 1000)

    async def _talk(self, connection: Connection) -> None:
        self._link.link_up(nonce=self._dice.integer(1, 2**31), now_ms=self._clock.now_ms())
        hearing = asyncio.ensure_future(self._hear(connection))
        try:
            while not hearing.done():
                self._woken.clear()
                step = self._link.next_step(now_ms=self._clock.now_ms())
                if isinstance(step, DropLink):
                    return
                if step is None:
                    await self._until_woken(hearing)
                else:
                    await self._do(step, connection)
            hearing.result()
        finally:
            hearing.cancel()
            with contextlib.suppress(asyncio.CancelledError, LinkLostError):
                await hearing

    async def _until_woken(self, hearing: "asyncio.Future[None]") -> None:
        wake_ms = self._link.wake_ms
        wait_s = 60.0 if wake_ms is None else max(0.001, (wake_ms - self._clock.now_ms()) / 1000)
        woken = asyncio.ensure_future(self._woken.wait())
        try:
            either: set[asyncio.Future[Any]] = {woken, hearing}
            await asyncio.wait(either, timeout=wait_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            woken.cancel()

    async def _do(self, step: SayHello | SendLive | SendBatch, connection: Connection) -> None:
        now_ms = self._clock.now_ms()
        match step:
            case SayHello(nonce):
                streams = tuple(StreamMark(self.incarnation, lane, 1, last) for lane, last in self.last.items())
                hello = Hello((1,), self.name, PropertyId("aurora"), nonce, streams, self._clock.wall_ms())
                await connection.publish(up_topic(self.name, Up.HELLO), encode_hello(hello))
            case SendLive():
                backlog = {lane: self.last.get(lane, 0) - self.acked.get(lane, 0) for lane in LANES}
                live = Live(self.name, self.incarnation, self._clock.wall_ms(), (), backlog)
                await connection.publish(up_topic(self.name, Up.LIVE), encode_live(live))
            case SendBatch(incarnation, lane, after, most):
                seqs = range(after + 1, min(self.last[lane], after + most) + 1)
                run = Packed(seqs[0], seqs[-1], seqs, [self._record(seq) for seq in seqs], opening=OPENING)
                payload, last = self._pack(self.name, incarnation, lane, run)
                self._link.batch_sent(incarnation, lane, last, now_ms=now_ms)
                self._sent_ms.setdefault((lane, last), now_ms)
                self.sent += 1
                await connection.publish(up_topic(self.name, lane), payload)

    async def _hear(self, connection: Connection) -> None:
        async for message in connection.messages():
            with contextlib.suppress(PeerProtocolError):
                ack = decode_ack(message.payload)
                now_ms = self._clock.now_ms()
                self._link.hear(ack, now_ms=now_ms)
                for mark in ack.marks:
                    if mark.incarnation == self.incarnation and mark.hi > self.acked[mark.lane]:
                        self._took(mark.lane, mark.hi, now_ms)
            self._woken.set()

    def _took(self, lane: Lane, hi: int, now_ms: int) -> None:
        assert hi <= self.last[lane], f"{self.name}: told {hi} of {self.last[lane]}"
        self.acked[lane] = hi
        for key in [key for key in self._sent_ms if key[0] is lane and key[1] <= hi]:
            self.ack_waits_ms.append(now_ms - self._sent_ms.pop(key))
        appended = self._appended[lane]
        while appended and appended[0][0] <= hi:
            self.append_waits_ms.append(now_ms - appended.popleft()[1])
