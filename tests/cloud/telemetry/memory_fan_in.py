"""Leases and ledger of the fan-in in memory, in whatever time the loop keeps; and a checker of what was stored."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, field

from cloud.telemetry.fan_in.arrivals import BatchItem, HelloItem, Item, Reply
from cloud.telemetry.fan_in.lease_store import ShardLostError
from cloud.telemetry.fan_in.leases import ALL_SHARDS, Held, Lease, Standing, Worker
from cloud.telemetry.fan_in.ledger import Right
from protocols.device_model.identity import EdgeId
from protocols.errors import StoreFailedError
from protocols.link.cloud_stream import CloudStream
from protocols.link.lanes import Lane
from protocols.link.messages import Ack, AckMark, AckStatus

Key = tuple[EdgeId, bytes, Lane]


@dataclass
class _Shard:
    owner: str | None = None
    token: int = 0
    expires_s: float = 0.0
    offered: bool = False


@dataclass
class MemoryLeases:
    """`LeaseStore` in memory: every call is one instant."""

    lease_s: float = 6.0
    up: bool = True
    shards: dict[int, _Shard] = field(default_factory=lambda: {each: _Shard() for each in ALL_SHARDS})
    workers: dict[str, tuple[bool, float]] = field(default_factory=dict)
    breath: Callable[[], Awaitable[None]] = field(default=lambda: asyncio.sleep(0))

    async def stand(self, me: Worker, held: Held, *, offered: Collection[int], staying: bool) -> Standing:
        await self._answer()
        now_s = asyncio.get_running_loop().time()
        former = [each for each in self.workers if each.startswith(f"{me.name}/") and each != me.id]
        for each in former:
            del self.workers[each]
        self.workers[me.id] = (staying, now_s)
        for number, token in held.items():
            shard = self.shards[number]
            if (shard.owner, shard.token) == (me.id, token):
                shard.expires_s, shard.offered = now_s + self.lease_s, number in offered
        leases = [
            Lease(number, each.owner, each.token, each.owner is None or each.expires_s <= now_s, each.offered)
            for number, each in self.shards.items()
        ]
        alive = {name for name, (stays, seen_s) in self.workers.items() if stays and seen_s > now_s - self.lease_s}
        return Standing(leases, frozenset(alive))

    async def claim(self, me: Worker, shards: Sequence[int]) -> dict[int, int]:
        await self._answer()
        now_s = asyncio.get_running_loop().time()
        taken: dict[int, int] = {}
        for number in shards:
            each = self.shards[number]
            former = each.owner is not None and each.owner.startswith(f"{me.name}/")
            if each.owner is None or each.offered or former or each.expires_s <= now_s:
                each.owner, each.offered, each.expires_s = me.id, False, now_s + self.lease_s
                each.token += 1
                taken[number] = each.token
        return taken

    async def leave(self, me: Worker, held: Held) -> None:
        await self._answer()
        self.workers.pop(me.id, None)
        for number in held:
            if (each := self.shards[number]).owner == me.id:
                each.owner, each.offered = None, False

    def prove(self, right: Right) -> None:
        """The fence, at the instant of a commit."""
        lost = {
            number
            for number, token in right.tokens.items()
            if (self.shards[number].owner, self.shards[number].token) != (right.worker.id, token)
        }
        if lost:
            raise ShardLostError(frozenset(lost))

    async def _answer(self) -> None:
        await self.breath()
        if not self.up:
            raise StoreFailedError("the store is away")


@dataclass
class MemoryStreams:
    """What all workers have committed: shared, and only ever changed in one instant."""

    streams: dict[Key, CloudStream] = field(default_factory=dict)
    rows: list[tuple[Key, int, int]] = field(default_factory=list)
    """Stream, position, what the record says."""
    fenced: int = 0
    """Transactions that the fence stopped."""

    def problems(self, last: dict[Key, int]) -> list[str]:
        """Hold what is stored against what was appended: must be empty."""
        found: list[str] = []
        arrived = Counter((key, seq) for key, seq, _ in self.rows)
        found += [f"doubled: {each}" for each, count in arrived.items() if count > 1]
        found += [f"changed: {key} {seq} says {said}" for key, seq, said in self.rows if said != seq]
        newest: dict[Key, int] = {}
        for key, seq, _ in self.rows:
            if seq != newest.get(key, 0) + 1:
                found.append(f"out of order: {key} {seq} after {newest.get(key, 0)}")
            newest[key] = seq
        found += [
            f"lost: {key} {newest.get(key, 0)} of {end}" for key, end in last.items() if newest.get(key, 0) != end
        ]
        return found


class MemoryLedger:
    """One worker's way to the streams. `pause` is waited for in mid-transaction: a worker asleep at the worst time."""

    def __init__(self, streams: MemoryStreams, leases: MemoryLeases, work: Callable[[], Awaitable[None]]) -> None:
        self._streams, self._leases, self._work = streams, leases, work

    async def commit(
        self, items: Sequence[Item], right: Right | None = None, *, written: Callable[[], None] | None = None
    ) -> list[Reply]:
        await self._work()
        if not self._leases.up:
            raise StoreFailedError("the store is away")
        try:
            if right is not None:
                self._leases.prove(right)
        except ShardLostError:
            self._streams.fenced += 1
            raise
        replies = [self._take(each) for each in items if isinstance(each, BatchItem | HelloItem)]
        if written is not None:
            written()
        await self._work()  # killed here: committed, not answered
        return replies

    def _take(self, item: BatchItem | HelloItem) -> Reply:
        known = self._streams.streams
        if isinstance(item, HelloItem):
            edge = item.hello.edge
            marks = tuple(
                AckMark(each.incarnation, each.lane, stream.hi if (stream := known.get(key)) is not None else 0)
                for each in item.hello.streams
                for key in [(edge, each.incarnation, each.lane)]
            )
            return Reply(edge, Ack(AckStatus.WELCOME, marks, re=item.hello.nonce))
        head = item.head
        key = (head.edge, head.incarnation, head.lane)
        stream = known.setdefault(key, CloudStream(head.incarnation, head.lane))
        offered = stream.offer(head.open()) if stream.judge(head) is AckStatus.STORED else stream.answer(head)
        self._streams.rows += [(key, record.seq, record.body["n"]) for record in offered.records]
        return Reply(head.edge, Ack(offered.status, (AckMark(head.incarnation, head.lane, offered.hi),)))
