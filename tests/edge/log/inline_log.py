"""The record log without threads, for the simulation: the real stores, called in place.

Passes the log's contract suite.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from edge.log.lane_store import LaneStore, NewRecord
from edge.log.record_log import Entry, Listener, StoredCommand
from kit.clock import Clock
from kit.dice import Dice
from protocols.link.batch import Packed
from protocols.link.edge_link import StreamHead
from protocols.link.lanes import LANES, Lane
from protocols.link.record import ClockQuality, Record, decode_record, encode_record


class InlineLog:
    """What `edge.log.record_log.RecordLog` does, each commit in the middle of the caller's turn."""

    def __init__(
        self, folder: Path, *, clock: Clock, dice: Dice, pages_max: int = 100_000, keep_acked_records: int = 50_000
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._clock, self._dice = clock, dice
        self._listeners: list[Listener] = []
        self.stores = {
            lane: LaneStore(
                folder / f"lane-{lane.topic_segment}.db",
                lane,
                pages_max=pages_max,
                keep_acked_records=keep_acked_records,
                dice=dice,
                wall_ms=clock.wall_ms(),
            )
            for lane in LANES
        }

    def close_now(self) -> None:
        """Close the files, or be killed: there is nothing that was not committed."""
        for store in self.stores.values():
            store.close()

    async def close(self) -> None:
        """See `RecordLog.close`."""
        self.close_now()

    def incarnations(self) -> dict[Lane, bytes]:
        """See `RecordLog.incarnations`."""
        return {lane: store.incarnation for lane, store in self.stores.items()}

    def heads(self) -> dict[Lane, int]:
        """See `RecordLog.heads`."""
        return {lane: store.last for lane, store in self.stores.items()}

    def listen(self, listener: Listener) -> Callable[[], None]:
        """See `RecordLog.listen`."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    async def append(
        self, lane: Lane | str, kind: str, body: Mapping[str, Any], *, device_at_ms: int | None = None
    ) -> int:
        """See `RecordLog.append`."""
        [seq] = await self.append_many(lane, [Entry(kind, body, device_at_ms)])
        return seq

    async def append_many(self, lane: Lane | str, entries: Sequence[Entry]) -> list[int]:
        """See `RecordLog.append_many`."""
        positions = self.stores[Lane(lane)].append([NewRecord(self._encode(each)) for each in entries])
        self._tell(Lane(lane))
        return [position for position in positions if position is not None]

    async def append_once(self, source: str, position: int, lane: Lane | str, entry: Entry) -> int | None:
        """See `RecordLog.append_once`."""
        [seq] = self.stores[Lane(lane)].append([NewRecord(self._encode(entry), (source, position))])
        self._tell(Lane(lane))
        return seq

    async def source_mark(self, source: str, lane: Lane | str) -> int:
        """See `RecordLog.source_mark`."""
        return self.stores[Lane(lane)].source_mark(source)

    async def read(self, lane: Lane | str, after_seq: int, most: int = 1_000) -> list[Record]:
        """See `RecordLog.read`."""
        lane = Lane(lane)
        return [decode_record(data, lane=lane, seq=seq) for seq, data in self.stores[lane].read(after_seq, most)]

    async def cursor(self, name: str, lane: Lane | str) -> int:
        """See `RecordLog.cursor`."""
        return self.stores[Lane(lane)].cursor(name)

    async def advance(self, name: str, lane: Lane | str, seq: int) -> None:
        """See `RecordLog.advance`."""
        self.stores[Lane(lane)].advance(name, seq)

    async def streams(self) -> list[StreamHead]:
        """See `RecordLog.streams`."""
        return [head for store in self.stores.values() for head in store.heads()]

    async def run(self, incarnation: bytes, lane: Lane, after_seq: int, most: int) -> Packed | None:
        """See `RecordLog.run`."""
        return self.stores[lane].run(incarnation, after_seq, most)

    async def acked(self, incarnation: bytes, lane: Lane, hi: int) -> None:
        """See `RecordLog.acked`."""
        self.stores[lane].acked(incarnation, hi)

    async def trim(self, lane: Lane | str, upto_seq: int) -> int:
        """See `RecordLog.trim`."""
        return self.stores[Lane(lane)].trim(upto_seq)

    async def begin_life(self, lane: Lane, *, cut: int, reason: str) -> bytes:
        """See `RecordLog.begin_life`."""
        incarnation = self.stores[lane].begin_life(self._dice, self._clock.wall_ms(), cut=cut, reason=reason)
        self._tell(lane)
        return incarnation

    async def verify_chain(self) -> int:
        """See `RecordLog.verify_chain`."""
        return self.stores[Lane.A].verify_chain()

    async def command_known(self, key: str) -> StoredCommand | None:
        """See `RecordLog.command_known`."""
        known = self.stores[Lane.A].desk.command_known(key)
        return None if known is None else StoredCommand(*known)

    async def command_phase(self, key: str, command_id: str, phase: str, result: str | None, entry: Entry) -> int:
        """See `RecordLog.command_phase`."""
        record = NewRecord(self._encode(entry))
        seq = self.stores[Lane.A].command_phase(key, command_id, phase, result, record)
        self._tell(Lane.A)
        return seq

    async def commands_in(self, phase: str) -> list[tuple[str, str]]:
        """See `RecordLog.commands_in`."""
        return self.stores[Lane.A].desk.commands_in(phase)

    async def rewrite_results(self, rewrite: Callable[[str | None], str | None]) -> int:
        """See `RecordLog.rewrite_results`."""
        return self.stores[Lane.A].desk.rewrite_results(rewrite)

    async def document(self, name: str) -> tuple[int, bytes] | None:
        """See `RecordLog.document`."""
        return self.stores[Lane.A].desk.document(name)

    async def keep_document(self, name: str, version: int, data: bytes) -> None:
        """See `RecordLog.keep_document`."""
        self.stores[Lane.A].keep_document(name, version, data)

    def _encode(self, entry: Entry) -> bytes:
        return encode_record(
            entry.kind,
            entry.body,
            device_at_ms=entry.device_at_ms,
            edge_at_ms=self._clock.wall_ms(),
            mono_ms=self._clock.now_ms(),
            clock=ClockQuality(self._clock.quality.value),
        )

    def _tell(self, lane: Lane) -> None:
        store = self.stores[lane]
        for listener in list(self._listeners):
            listener(lane, store.incarnation, store.last)
