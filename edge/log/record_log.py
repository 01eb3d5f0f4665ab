"""The record log: what happened in the building, durable before it is believed. Everything else in the node is
a cursor on it.

`append` returns after the commit (WAL, synchronous=FULL, grouped); a StoreFailedError means that nothing was kept. The
three lanes are three files with a thread each; see `lane_store` for what a file holds, `lane_writer` for grouping and
recovery, `lane_space` for what gives way, `heads` and `verify` for what proves that nothing was changed.

What happens to the log itself is a record too, of kind `record_log` on lane B: thinned and dropped records, damage and
what was saved, a full disk, an old copy put back. At most `tidy_every_ms` after a commit the log tidies up: it writes
the witness, signs lane A's head if it was given a key, and says what has given way since.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol, Self

from edge.log.ballast import Ballast
from edge.log.heads import HeadSigner, write_head
from edge.log.lane_cursors import Place
from edge.log.lane_store import LaneStore, NewRecord, Usage
from edge.log.lane_writer import LaneWriter
from edge.log.readership import NOBODY_KNOWN, Readership
from edge.log.settings import LogSettings
from edge.log.witness import Seen, read_witness, write_witness
from kit.clock import Clock
from kit.dice import Dice
from kit.files import Disk, SystemDisk
from kit.logs import logger
from protocols.errors import LocalProtocolError, StoreFailedError
from protocols.link.batch import Packed
from protocols.link.edge_link import StreamHead
from protocols.link.lanes import LANES, Lane
from protocols.link.record import RECORD_BYTES_MAX, ClockQuality, Record, decode_record, encode_record

READ_RECORDS_MAX: Final = 1_000
APPEND_RECORDS_MAX: Final = 2_000
ENCODED_RECORDS_MAX: Final = 5_000
NOTICE_KIND: Final = "record_log"
HEAD_KIND: Final = "log_head"
NOTICES_MAX: Final = 100
"""What the log has to say and cannot write yet; beyond it the oldest is forgotten."""

_STANDARD: Final = LogSettings()

Listener = Callable[[Lane, bytes, int], None]
"""Called on the event loop after each commit with (lane, incarnation, last position)."""


class Appendable(Protocol):
    """Something that becomes a record when it is appended."""

    @property
    def kind(self) -> str:
        """Of the record."""
        ...

    @property
    def body(self) -> Mapping[str, Any]:
        """Of the record."""
        ...

    def encoded(self, *, edge_at_ms: int, mono_ms: int, clock: ClockQuality) -> bytes:
        """Return the record as it is appended at this moment. Raises LocalProtocolError."""
        ...


@dataclass(frozen=True, slots=True)
class Entry:
    """One record to append."""

    kind: str
    body: Mapping[str, Any]
    device_at_ms: int | None = None

    def encoded(self, *, edge_at_ms: int, mono_ms: int, clock: ClockQuality) -> bytes:
        """See `Appendable`."""
        return encode_record(
            self.kind,
            self.body,
            device_at_ms=self.device_at_ms,
            edge_at_ms=edge_at_ms,
            mono_ms=mono_ms,
            clock=clock,
        )


@dataclass(frozen=True, slots=True)
class StoredCommand:
    """What the log remembers of a command under its idempotency key; `result` is JSON text."""

    id: str
    phase: str
    result: str | None


class RecordLog:
    """The open log. Make it with `open`, end it with `close`."""

    def __init__(
        self,
        folder: Path,
        *,
        clock: Clock,
        dice: Dice,
        settings: LogSettings,
        disk: Disk,
        signer: HeadSigner | None = None,
        readership: Readership | None = None,
        vfs: str | None = None,
    ) -> None:
        self._signer, self._readership = signer, readership
        self._ballast = Ballast(folder, size=settings.ballast_bytes)
        self._notices: deque[dict[str, Any]] = deque(maxlen=NOTICES_MAX)
        self._said: dict[Lane, Usage] = {}
        self._tidy_timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = False
        self._folder, self._clock, self._dice, self._settings, self._disk = folder, clock, dice, settings, disk
        self._vfs = vfs
        self._writers: dict[Lane, LaneWriter] = {}
        self._marks: dict[Lane, tuple[bytes, int]] = {}
        self._listeners: list[Listener] = []
        self._waiters: dict[Lane, deque[asyncio.Future[None]]] = {lane: deque() for lane in LANES}
        self._log = logger("edge.log")

    @classmethod
    async def open(
        cls,
        folder: Path,
        *,
        clock: Clock,
        dice: Dice,
        settings: LogSettings = _STANDARD,
        disk: Disk | None = None,
        signer: HeadSigner | None = None,
        readership: Readership | None = None,
        vfs: str | None = None,
    ) -> Self:
        """Open the log in `folder`, made if absent.

        A damaged lane file is set aside; what can be read of it is kept, and a new incarnation begins.

        Args:
            folder: holds one file a lane and the witness.
            clock: stamps records.
            dice: names incarnations and openings.
            settings: quotas and groups.
            disk: where the witness is written.
            signer: signs lane A's heads; None: nobody does.
            readership: the façades there are, and whether there is a cloud; None: that is not known.
            vfs: name of the SQLite file layer, for tests that cut the power.

        Raises:
            StoreFailedError: the disk refuses, or another process has the log open.
        """
        log = cls(
            folder, clock=clock, dice=dice, settings=settings, disk=disk or SystemDisk(), signer=signer,
            readership=readership, vfs=vfs,
        )  # fmt: skip
        try:
            await log._start()
        except StoreFailedError:
            await log.close()
            raise
        return log

    async def _start(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.run_in_executor(None, self._make_folder)
        except OSError as error:
            raise StoreFailedError(f"{self._folder}: {error}") from error
        seen = await loop.run_in_executor(None, read_witness, self._disk, self._folder)
        for lane in LANES:
            self._writers[lane] = LaneWriter(
                self._folder / f"lane-{lane.topic_segment}.db",
                lane,
                self._settings.lane(lane),
                clock=self._clock,
                dice=self._dice,
                seen=seen.get(lane),
                committed=self._committed,
                say=self._log.error,
                notice=self._noticed,
                disk=self._disk,
                ballast=self._ballast,
                readers=NOBODY_KNOWN if self._readership is None else self._readership.of(lane),
                vfs=self._vfs,
            )
        self._writers[Lane.A].others_make_way = self._make_way
        for lane, writer in self._writers.items():
            self._marks[lane] = await writer.start()
        self._said = await self.usage()
        if self._ballast.out:
            self._log.warning("record_log_disk_short", ballast_bytes=self._settings.ballast_bytes)
        await self._write_notices()
        await self._witness()

    def _make_way(self, done: Callable[[], None]) -> None:
        """Have lanes B and C give back a step each; call `done` when they have, or could not."""
        steps = [step for lane in (Lane.B, Lane.C) if (step := self._writers[lane].make_way()) is not None]
        asyncio.gather(*steps, return_exceptions=True).add_done_callback(lambda _: done())

    def _make_folder(self) -> None:
        if not self._folder.is_dir():
            self._folder.mkdir(parents=True, exist_ok=True)
            self._disk.sync_folder(self._folder.parent)
        self._ballast.restore()

    async def close(self) -> None:
        """Commit what waits, sign lane A's head, close the files."""
        opened = len(self._marks) == len(LANES)
        if opened and not self._closing:
            self._closing = True
            if self._tidy_timer is not None:
                self._tidy_timer.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await self._write_notices()
            await self._sign()
        for writer in self._writers.values():
            await writer.stop()
        if opened:
            await self._witness()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    # ------------------------------------------------------------------ facts

    @property
    def incarnation(self) -> bytes:
        """Lane A's current incarnation: the life of the store that a hello names first."""
        return self._marks[Lane.A][0]

    def incarnations(self) -> dict[Lane, bytes]:
        """Return each lane's current incarnation."""
        return {lane: mark[0] for lane, mark in self._marks.items()}

    def heads(self) -> dict[Lane, int]:
        """Return the last committed position of each lane's current incarnation."""
        return {lane: mark[1] for lane, mark in self._marks.items()}

    async def usage(self) -> dict[Lane, Usage]:
        """Return how full each lane is and how many records gave way."""
        return {lane: await writer.ask(LaneStore.usage) for lane, writer in self._writers.items()}

    def failures(self) -> dict[Lane, int]:
        """Return how often each lane's file had to be opened again since the start."""
        return {lane: writer.failures for lane, writer in self._writers.items()}

    def refusals(self) -> dict[Lane, str]:
        """Return why appends are refused now, of each lane where they are: nothing is durable there."""
        found = {lane: writer.refusal() for lane, writer in self._writers.items()}
        return {lane: str(error) for lane, error in found.items() if error is not None}

    def quarantined(self) -> list[Path]:
        """Return the damaged files set aside since the start."""
        return [path for writer in self._writers.values() for path in writer.quarantined]

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Call `listener` after each commit; return what ends that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    async def grown(self, lane: Lane | str, after_seq: int) -> None:
        """Return once the lane's current incarnation reaches past `after_seq`."""
        lane = Lane(lane)
        while self._marks[lane][1] <= after_seq:
            place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters[lane].append(place)
            try:
                await place
            finally:
                if place in self._waiters[lane]:
                    self._waiters[lane].remove(place)

    # ------------------------------------------------------------------ appending

    async def append(
        self, lane: Lane | str, kind: str, body: Mapping[str, Any], *, device_at_ms: int | None = None
    ) -> int:
        """Append one record and return its position, after the commit.

        Raises:
            LocalProtocolError: the record is not what the specification allows.
            StoreFailedError: nothing was kept; try again once the store has recovered.
        """
        return await self._writers[Lane(lane)].append_encoded([self._encode(Entry(kind, body, device_at_ms))])

    async def append_many(self, lane: Lane | str, entries: Sequence[Appendable], *, urgent: bool = False) -> list[int]:
        """Append up to `APPEND_RECORDS_MAX` records in one commit, all or none; return their positions.

        `urgent`: commit at once, without waiting for company.
        """
        if not 1 <= len(entries) <= APPEND_RECORDS_MAX:
            raise LocalProtocolError(f"{len(entries)} records in one append, 1 to {APPEND_RECORDS_MAX} are taken")
        clock = self._clock
        wall_ms, now_ms, quality = clock.wall_ms(), clock.now_ms(), ClockQuality(clock.quality.value)
        records = [each.encoded(edge_at_ms=wall_ms, mono_ms=now_ms, clock=quality) for each in entries]
        last = await self._writers[Lane(lane)].append_encoded(records, urgent=urgent)
        return list(range(last - len(entries) + 1, last + 1))

    async def append_encoded(self, lane: Lane | str, records: Sequence[bytes], *, urgent: bool = False) -> int:
        """Append up to `ENCODED_RECORDS_MAX` records in one commit, all or none; return the LAST position.

        Positions are consecutive. Each record is as `protocols.link.record.encode_record` makes it: the caller vouches
        for that, here nothing but sizes is looked at. An append of `group_records_max` records or more waits for no
        company.

        Raises:
            LocalProtocolError: none or too many records, or one over `RECORD_BYTES_MAX`.
            StoreFailedError: nothing was kept; try again once the store has recovered.
        """
        if not 1 <= len(records) <= ENCODED_RECORDS_MAX:
            raise LocalProtocolError(f"{len(records)} records in one append, 1 to {ENCODED_RECORDS_MAX} are taken")
        if (longest := max(map(len, records))) > RECORD_BYTES_MAX:
            raise LocalProtocolError(f"record of {longest} bytes, at most {RECORD_BYTES_MAX} are kept")
        return await self._writers[Lane(lane)].append_encoded(records, urgent=urgent)

    async def append_once(self, source: str, position: int, lane: Lane | str, entry: Entry) -> int | None:
        """Take over the record at `position` (from 1, rising) of another store, at most once; None: it was here
        already.

        The source's mark moves in the same commit, so that a crash between the two cannot double or lose a record.
        """
        [seq] = await self._writers[Lane(lane)].append([NewRecord(self._encode(entry), (source, position))])
        return seq

    async def source_mark(self, source: str, lane: Lane | str) -> int:
        """Return the highest position taken over from `source` into `lane`; 0: none."""
        return await self._writers[Lane(lane)].ask(lambda store: store.source_mark(source))

    # ------------------------------------------------------------------ reading

    async def read(self, lane: Lane | str, after_seq: int, most: int = READ_RECORDS_MAX) -> list[Record]:
        """Return up to `most` records of the lane's current incarnation after `after_seq`, in order."""
        lane = Lane(lane)
        rows = await self._writers[lane].ask(lambda store: store.read(after_seq, min(most, READ_RECORDS_MAX)))
        return [decode_record(record, lane=lane, seq=seq) for seq, record in rows]

    async def cursor(self, name: str, lane: Lane | str) -> int:
        """Return how far `name` has read the lane's current incarnation; 0 at its beginning."""
        return await self._writers[Lane(lane)].ask(lambda store: store.cursor(name))

    async def advance(self, name: str, lane: Lane | str, seq: int) -> None:
        """Move `name`'s cursor forward to `seq`. Records that a cursor has not passed are kept while there is
        room.
        """
        await self._writers[Lane(lane)].ask(lambda store: store.advance(name, seq))

    async def place(self, name: str, lane: Lane | str) -> Place:
        """Return where `name` goes on reading: in the oldest incarnation of which it has not read all there is."""
        return await self._writers[Lane(lane)].ask(lambda store: store.place(name))

    async def told(
        self, name: str, lane: Lane | str, incarnation: bytes, seq: int, refused: Sequence[int] = ()
    ) -> None:
        """Move `name`'s cursor forward to `seq` of an incarnation: everything before it is read. Never backwards.

        `refused`: positions among those that whoever reads by this name does not take and will never be told.
        """
        await self._writers[Lane(lane)].ask(lambda store: store.advance(name, seq, incarnation, refused))

    # ------------------------------------------------------------------ the link's side

    async def streams(self) -> list[StreamHead]:
        """Return every stream that the cloud does not have whole, and each lane's current one."""
        return [head for writer in self._writers.values() for head in await writer.ask(LaneStore.heads)]

    async def run(self, incarnation: bytes, lane: Lane, after_seq: int, most: int) -> Packed | None:
        """Return what follows `after_seq` in a stream, at most `most` records; None: nothing does."""
        return await self._writers[lane].ask(lambda store: store.run(incarnation, after_seq, most))

    async def acked(self, incarnation: bytes, lane: Lane, hi: int) -> None:
        """Take the cloud's mark of a stream: everything up to `hi` is committed there and may be forgotten here."""
        await self._writers[lane].acked(incarnation, hi)

    async def trim(self, lane: Lane | str, upto_seq: int) -> int:
        """Remove acknowledged records up to `upto_seq`, a bounded number; return how many went."""
        return await self._writers[Lane(lane)].ask(lambda store: store.trim(upto_seq))

    async def begin_life(self, lane: Lane, *, cut: int, reason: str) -> bytes:
        """Begin a new incarnation of `lane`: records after `cut` move into it. See `LaneStore.begin_life`."""
        incarnation = await self._writers[lane].ask(
            lambda store: store.begin_life(self._dice, self._clock.wall_ms(), cut=cut, reason=reason)
        )
        await self._witness()
        return incarnation

    async def signed_head(self) -> tuple[int, bytes] | None:
        """Return (position, signed head) of lane A's newest one (SPEC.md 4.1); None: nothing is signed."""
        return await self._writers[Lane.A].ask(LaneStore.signed_head)

    async def damaged(self) -> dict[Lane, tuple[int, ...]]:
        """Return each lane's positions whose records were found changed since the start; they travel as `lost`."""
        return {
            lane: await writer.ask(lambda store: tuple(sorted(store.damaged))) for lane, writer in self._writers.items()
        }

    async def verify_chain(self) -> int:
        """Recompute lane A's hash chain and return its length. Raises CorruptStoreError where it breaks."""
        return await self._writers[Lane.A].ask(LaneStore.verify_chain)

    # ------------------------------------------------------------------ commands and desired documents

    async def command_known(self, key: str) -> StoredCommand | None:
        """Return what was stored under an idempotency key; None: a new one."""
        known = await self._writers[Lane.A].ask(lambda store: store.desk.command_known(key))
        return None if known is None else StoredCommand(*known)

    async def command_phase(self, key: str, command_id: str, phase: str, result: str | None, entry: Entry) -> int:
        """Store a command's phase and append `entry` to lane A, in one commit; return the record's position."""
        record = NewRecord(self._encode(entry))
        return await self._writers[Lane.A].ask(
            lambda store: store.command_phase(key, command_id, phase, result, record)
        )

    async def commands_in(self, phase: str) -> list[tuple[str, str]]:
        """Return (idempotency key, command id) of the commands that stand in `phase`."""
        return await self._writers[Lane.A].ask(lambda store: store.desk.commands_in(phase))

    async def rewrite_results(self, rewrite: Callable[[str | None], str | None]) -> int:
        """Replace what is stored with the commands' phases, leaving no trace of it; return how many changed."""
        return await self._writers[Lane.A].ask(lambda store: store.desk.rewrite_results(rewrite))

    async def documents(self) -> list[tuple[str, int, bytes]]:
        """Return (name, version, signed bytes) of the desired documents taken."""
        return await self._writers[Lane.A].ask(lambda store: store.desk.documents())

    async def document(self, name: str) -> tuple[int, bytes] | None:
        """Return (version, signed bytes) of one desired document, None if none was taken."""
        return await self._writers[Lane.A].ask(lambda store: store.desk.document(name))

    async def keep_document(self, name: str, version: int, data: bytes) -> None:
        """Keep the newest desired document `name`."""
        await self._writers[Lane.A].ask(lambda store: store.keep_document(name, version, data))

    # ------------------------------------------------------------------ inside

    def _encode(self, entry: Entry) -> bytes:
        clock = self._clock
        return entry.encoded(
            edge_at_ms=clock.wall_ms(), mono_ms=clock.now_ms(), clock=ClockQuality(clock.quality.value)
        )

    def _committed(self, lane: Lane, incarnation: bytes, last: int) -> None:
        self._marks[lane] = (incarnation, last)
        for listener in list(self._listeners):
            listener(lane, incarnation, last)
        waiters = self._waiters[lane]
        while waiters:
            place = waiters.popleft()
            if not place.done():
                place.set_result(None)
        if self._tidy_timer is None and not self._closing:
            self._tidy_timer = asyncio.get_running_loop().call_later(
                self._settings.tidy_every_ms / 1_000, self._begin, self._tidy
            )

    # ------------------------------------------------------------------ tidying

    def _begin(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        task = asyncio.get_running_loop().create_task(work())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _tidy(self) -> None:
        """What is done some time after a commit. A store that fails meanwhile is tidied after its next commit."""
        self._tidy_timer = None
        try:
            if self._ballast.out and await asyncio.get_running_loop().run_in_executor(None, self._ballast.back):
                self._noticed("disk_has_room", {"what": "disk_has_room", "lane": Lane.A.value})
            for lane, usage in (await self.usage()).items():
                self._gave_way(lane, usage)
            await self._sign()
            await self._write_notices()
        except StoreFailedError as error:
            self._log.warning("record_log_untidy", error=str(error))
        await self._witness()

    def _gave_way(self, lane: Lane, usage: Usage) -> None:
        said = self._said[lane]
        if (usage.dropped, usage.thinned) != (said.dropped, said.thinned):
            self._notices.append(
                {
                    "what": "gave_way", "lane": lane.value, "incarnation": self._marks[lane][0].hex(),
                    "dropped": usage.dropped - said.dropped, "thinned": usage.thinned - said.thinned,
                    "thinned_from": usage.thinned_from, "thinned_to": usage.thinned_to,
                }
            )  # fmt: skip
        self._said[lane] = usage

    async def _sign(self) -> None:
        signer = self._signer
        if signer is None:
            return
        at_ms = self._clock.wall_ms()

        def sign(store: LaneStore) -> bytes | None:
            known = store.signed_head()
            if store.last == (0 if known is None else known[0]):
                return None
            head = signer.sign(store.incarnation, store.last, store.chain_head, at_ms)
            store.keep_head(store.last, head)
            return head

        try:
            head = await self._writers[Lane.A].ask(sign)
            if head is not None:
                await asyncio.get_running_loop().run_in_executor(None, write_head, self._disk, self._folder, head)
                # A head counts where the one who would rewrite the log cannot reach: the cloud keeps it too.
                if not self._closing:
                    await self.append(Lane.B, HEAD_KIND, {"head": head.hex()})
        except StoreFailedError as error:
            self._log.warning("record_log_head_unsigned", error=str(error))

    def _noticed(self, _what: str, body: dict[str, Any]) -> None:
        self._notices.append(body)
        if len(self._marks) == len(LANES) and not self._closing:
            self._begin(self._write_notices)

    async def _write_notices(self) -> None:
        while self._notices:
            body = self._notices.popleft()
            try:
                await self.append(Lane.B, NOTICE_KIND, body)
            except StoreFailedError:  # said again after the next commit
                self._notices.appendleft(body)
                return

    async def _witness(self) -> None:
        seen = {lane: Seen(incarnation.hex(), last) for lane, (incarnation, last) in self._marks.items()}
        try:
            await asyncio.get_running_loop().run_in_executor(None, write_witness, self._disk, self._folder, seen)
        except StoreFailedError as error:  # it only helps to notice an old copy sooner: the log itself works
            self._log.warning("record_log_witness_failed", error=str(error))
