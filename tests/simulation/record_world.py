"""A building and its cloud in virtual time: real record stores, uplink and stream rule over a net at its worst.

The cloud's database is memory with the one property that matters: records and mark change together or not at all.
The ledger of what must arrive is kept here, apart from both.
"""

import asyncio
import contextlib
import shutil
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edge.link.settings import LinkSettings
from edge.link.uplink import Uplink
from edge.log.record_log import Entry
from kit.dice import SeededDice
from kit.simulation.clock import SimClock
from kit.simulation.loop import SimLoop
from kit.simulation.net import Faults, SimNet
from protocols import cbor
from protocols.device_model.identity import EdgeId, PropertyId
from protocols.errors import LinkLostError, PeerProtocolError, ReplyTimeoutError
from protocols.link.batch import Packed, pack_batch, parse_batch
from protocols.link.cloud_stream import ChainVerdict, CloudStream
from protocols.link.documents import CommandEnvelope
from protocols.link.edge_link import LinkTimes
from protocols.link.lanes import LANES, Lane
from protocols.link.messages import Ack, AckMark, AckStatus, decode_hello, decode_live, encode_ack
from protocols.link.topics import Up, ack_topic, parse_up, up_filter, up_topic
from protocols.vectors.link_vectors import encoded
from tests.edge.log.inline_log import InlineLog

EDGE, PROPERTY = EdgeId("e-aurora0000000001"), PropertyId("aurora")
TIMES = LinkTimes(live_most_ms=600_000, probe_every_ms=300_000)
Key = tuple[bytes, Lane]
RECORD = encoded(0)


@dataclass
class CloudStore:
    """What the cloud has committed. Only ever changed without an await in between: one transaction."""

    streams: dict[Key, CloudStream] = field(default_factory=dict)
    openings: dict[Key, list[bytes]] = field(default_factory=dict)
    rows: list[tuple[Key, int, int]] = field(default_factory=list)  # stream, position, the id in the body
    holes: list[tuple[Key, int, int]] = field(default_factory=list)
    broken_chains: int = 0
    refused: int = 0
    live_at_ms: int | None = None
    a_delay_ms: list[int] = field(default_factory=list)

    def commit(self, payload: bytes, now_ms: int) -> Ack:
        head = parse_batch(payload)
        key = (head.incarnation, head.lane)
        stream = self.streams.setdefault(key, CloudStream(head.incarnation, head.lane))
        try:
            offered = stream.offer(head.open()) if stream.judge(head) is AckStatus.STORED else stream.answer(head)
        except PeerProtocolError:
            offered = stream.step_over(head)
            self.refused += 1
        self.rows += [(key, record.seq, record.body["id"]) for record in offered.records]
        self.holes += [(key, hole.first, hole.last) for hole in offered.holes]
        self.broken_chains += offered.verdict is ChainVerdict.BROKEN
        if head.lane is Lane.A:
            self.a_delay_ms += [now_ms - record.mono_ms for record in offered.records]
        if offered.status is AckStatus.STORED:
            known = self.openings.setdefault(key, [])
            self.openings[key] = [head.opening, *(each for each in known if each != head.opening)]
        return Ack(offered.status, (AckMark(head.incarnation, head.lane, offered.hi),))

    def welcome(self, payload: bytes) -> Ack:
        hello = decode_hello(payload)
        marks = [
            AckMark(
                each.incarnation,
                each.lane,
                0 if (stream := self.streams.get((each.incarnation, each.lane))) is None else stream.hi,
                tuple(self.openings.get((each.incarnation, each.lane), ())),
            )
            for each in hello.streams
        ]
        return Ack(AckStatus.WELCOME, tuple(marks), re=hello.nonce)

    def copy(self) -> "CloudStore":
        return CloudStore(
            {key: CloudStream(each.incarnation, each.lane, each.hi, each.chain) for key, each in self.streams.items()},
            {key: list(each) for key, each in self.openings.items()},
            list(self.rows),
            list(self.holes),
        )


class World:
    """One edge, one broker, some ingest workers over one database."""

    def __init__(self, loop: SimLoop, folder: Path, *, faults: Faults, keep_acked_records: int = 50_000) -> None:
        self.loop, self.folder = loop, folder
        self.dice = loop.dice("world")
        self.net = SimNet(loop)
        self.net.set_faults("edge", faults)
        self.net.set_faults("cloud-0", Faults(delay_least_ms=1, delay_most_ms=20, in_order=False))
        self.net.set_faults("cloud-1", Faults(delay_least_ms=1, delay_most_ms=50, in_order=False))
        self.clock = SimClock(loop)
        self.cloud = CloudStore()
        self.kept: dict[int, tuple[Lane, bytes, int]] = {}  # id -> where it was appended
        self.uncertain: set[int] = set()  # ids that went down with a disk: may or may not have arrived
        self.restores = 0
        self.forged = 0
        self._ids = 0
        self._keep = keep_acked_records
        self._edge_dice = SeededDice(f"{loop.seed}/edge")
        self._backup: tuple[Path, dict[int, tuple[Lane, bytes, int]]] | None = None
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self.log: InlineLog | None = None
        self.uplink: Uplink | None = None

    # ------------------------------------------------------------------ the building

    def boot(self) -> None:
        log = self.log = InlineLog(
            self.folder / "log", clock=self.clock, dice=self._edge_dice, keep_acked_records=self._keep
        )
        self.uplink = Uplink(
            edge=EDGE, property_id=PROPERTY, log=log, transport=self.net.transport("edge"), clock=self.clock,
            dice=self._edge_dice, command_key=lambda _kid: None, on_command=_never, on_desired=_ignore,
            live_state=lambda: [], settings=LinkSettings(), times=TIMES,
        )  # fmt: skip
        self._tasks["uplink"] = self.loop.create_task(self.uplink.run(), name="uplink")

    async def kill_edge(self) -> None:
        await self._end("uplink")
        if self.log is not None:
            self.log.close_now()
            self.log = None

    async def append(self, lane: Lane, count: int = 1) -> None:
        if self.log is None:
            return
        ids = range(self._ids + 1, self._ids + count + 1)
        self._ids += count
        seqs = await self.log.append_many(lane, [Entry("access", {"id": each}) for each in ids])
        incarnation = self.log.incarnations()[lane]
        self.kept.update({id_: (lane, incarnation, seq) for id_, seq in zip(ids, seqs, strict=True)})

    async def back_up(self) -> None:
        """Copy the store's files as an operator would: the edge stopped for a moment."""
        await self.kill_edge()
        target = self.folder / "backup"
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(self.folder / "log", target)
        self._backup = (target, dict(self.kept))
        self.boot()

    async def restore(self) -> None:
        """Put the copy back: what was appended since and did not reach the cloud went with the disk."""
        if self._backup is None:
            return
        await self.kill_edge()
        await asyncio.sleep(600)  # nothing of the old life is on its way any more
        source, kept = self._backup
        arrived = {id_ for _, _, id_ in self.cloud.rows}
        for id_ in [each for each in self.kept if each not in kept and each not in arrived]:
            del self.kept[id_]
        shutil.rmtree(self.folder / "log")
        shutil.copytree(source, self.folder / "log")
        self.restores += 1
        self.boot()

    # ------------------------------------------------------------------ the cloud

    def start_worker(self, name: str) -> None:
        self._tasks[name] = self.loop.create_task(self._work(name), name=name)

    async def kill_worker(self, name: str) -> None:
        await self._end(name)

    async def _work(self, name: str) -> None:
        dice = self.loop.dice(name)
        while True:
            try:
                async with self.net.transport(name).connect(subscribe=[up_filter()]) as connection:
                    async for message in connection.messages():
                        topic = parse_up(message.topic)
                        await asyncio.sleep(dice.uniform(0.001, 0.05))  # the transaction
                        if topic.what is Up.LIVE:
                            self.cloud.live_at_ms = decode_live(message.payload).at_ms
                            continue
                        if topic.what is Up.HELLO:
                            ack = self.cloud.welcome(message.payload)
                        else:
                            try:
                                ack = self.cloud.commit(message.payload, self.clock.now_ms())
                            except PeerProtocolError:
                                continue  # what is no batch is not answered
                        await asyncio.sleep(dice.uniform(0, 0.02))  # killed here: committed, not acknowledged
                        await connection.publish(ack_topic(topic.edge), encode_ack(ack))
            except (LinkLostError, ReplyTimeoutError, PeerProtocolError):
                await asyncio.sleep(dice.uniform(0, 2))

    async def forge(self, lane: Lane, n: int, *, ahead: int = 1) -> None:
        """Somebody with the building's certificate sends three records under a head of `n` positions."""
        if self.log is None:
            return
        incarnation, last = self.log.incarnations()[lane], self.log.heads()[lane]
        records = [RECORD] * 3
        packed = Packed(last + ahead, last + ahead + 2, range(last + ahead, last + ahead + 3), records)
        payload, _ = pack_batch(EDGE, incarnation, lane, packed)
        head = cbor.decode(payload, len(payload))
        assert isinstance(head, dict)
        with contextlib.suppress(LinkLostError, ReplyTimeoutError):
            async with self.net.transport("cloud-1").connect() as connection:
                await connection.publish(up_topic(EDGE, lane), cbor.encode({**head, "n": n}))
                self.forged += 1

    async def _end(self, name: str) -> None:
        task = self._tasks.pop(name, None)
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def shut_down(self) -> None:
        for name in list(self._tasks):
            await self._end(name)
        if self.log is not None:
            self.log.close_now()

    # ------------------------------------------------------------------ the checker

    def caught_up(self) -> bool:
        return self.uplink is not None and self.uplink.state.connected and not any(self.uplink.state.backlog.values())

    def problems(self) -> list[str]:
        """What was lost, doubled, invented or inverted: must be empty."""
        found: list[str] = []
        arrived = Counter(id_ for _, _, id_ in self.cloud.rows)
        found += [f"doubled: {id_}" for id_, count in arrived.items() if count > 1]
        found += [f"lost: {id_} of {self.kept[id_]}" for id_ in self.kept if id_ not in arrived]
        found += [f"invented: {id_}" for id_ in arrived if id_ > self._ids]
        last: dict[Key, int] = {}
        for key, seq, _ in self.cloud.rows:
            if seq <= last.get(key, 0):
                found.append(f"inverted: {key} {seq} after {last[key]}")
            last[key] = seq
        newest: dict[Lane, int] = {}
        for (_, lane), _, id_ in self.cloud.rows:
            if id_ < newest.get(lane, 0) and not self.restores:
                found.append(f"lane {lane}: {id_} after {newest[lane]}")
            newest[lane] = max(id_, newest.get(lane, 0))
        for key, stream in self.cloud.streams.items():
            held = {seq for each, seq, _ in self.cloud.rows if each == key}
            found += [f"gap: {key} {seq}" for seq in range(1, stream.hi + 1) if seq not in held]
        if self.cloud.broken_chains:
            found.append(f"chain broken {self.cloud.broken_chains} times")
        return found


async def _never(command: CommandEnvelope) -> Mapping[str, Any]:
    raise PeerProtocolError(f"no command is sent in this world: {command.id}")


async def _ignore(_name: str, _version: int, _body: Mapping[str, Any]) -> None:
    return


LANES_BY_WEIGHT = (Lane.A, Lane.B, Lane.B, Lane.C, Lane.C, Lane.C, Lane.C)
assert set(LANES_BY_WEIGHT) == set(LANES)
