"""One thread a lane: it owns the store, groups what waits into one commit, opens the store again after a failure.

What it reports comes back through `call_soon_threadsafe`. Reads and cursors go first, then the group of appends: a
group closes after `linger_ms` or at `group_records_max`, and its callers learn the outcome after COMMIT. What one turn
of the event loop appends is handed over once, and the thread is woken only if it has something to do.

After an I/O error the connection is not trusted; a damaged file is rebuilt (`salvage`); a full disk costs the ballast,
once, and whatever lanes B and C can give back.
"""

import asyncio
import contextlib
import threading
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

from edge.log.ballast import Ballast
from edge.log.lane_store import Confirmed, CorruptStoreError, LaneStore, NewRecord, StoreFullError
from edge.log.readership import NOBODY_KNOWN, LaneReaders
from edge.log.salvage import finish, rebuild
from edge.log.settings import GROUP_RECORDS_TAKEN, LaneSettings
from edge.log.witness import Seen
from kit.clock import Clock
from kit.dice import Dice
from kit.files import Disk
from protocols.errors import PlatformError, StoreFailedError
from protocols.link.lanes import Lane

T = TypeVar("T")

REOPEN_EVERY_MS: Final = 250
"""After an I/O error the store is opened again, at most so often; in between callers are refused at once."""
REFUSAL_FRESH_MS: Final = 60_000
"""A refused append says nothing about the disk after this."""
STOP_WAIT_S: Final = 10.0
TRIES_MAX: Final = 2
"""On a full disk: as it is, and without the ballast."""
TRIES_A_MAX: Final = 4
"""Lane A: twice more, each time after lanes B and C have given back a step."""
WAY_WAIT_S: Final = 0.5
"""How long it waits for such a step."""
MARK_WRITTEN_WITHIN_S: Final = 1.0
"""A small rise of the cloud's mark waits so long for a greater one. What a power cut takes of it is thinned with the
rest, should the line stay away until the quota is reached, and the cloud has to take it out of the summary: hence a
second, not a minute."""

Committed = Callable[[Lane, bytes, int], None]
"""(lane, incarnation, last committed position), on the event loop."""


Notice = Callable[[str, dict[str, Any]], None]
"""What happened to the log itself, and its facts, on the event loop: becomes a record."""


class Say(Protocol):
    """A logger: structlog's `error` and its like."""

    def __call__(self, event: str, **facts: object) -> object:
        """Log `event`."""
        ...


@dataclass(slots=True)
class _Append:
    """`records` as encoded, one commit; `sources` stand beside them where they come from other stores."""

    records: Sequence[bytes]
    sources: Sequence[tuple[str, int] | None] | None
    done: "asyncio.Future[list[int | None] | int]"


@dataclass(slots=True)
class _Job:
    call: Callable[[LaneStore], Any]
    done: "asyncio.Future[Any]"


class _Bell:
    """Wakes the thread; a ring that nobody waits for is heard at the next wait.

    A `threading.Condition` makes a lock at every wait, and who is woken by it first waits for who woke it.
    """

    def __init__(self) -> None:
        self._rung = threading.Lock()
        self._rung.acquire()

    def ring(self) -> None:
        """Wake who waits. On the event loop alone: two that ring at once would unlock twice."""
        if self._rung.locked():
            self._rung.release()

    def wait(self, most_s: float) -> None:
        """Return at a ring or after `most_s`; -1: however long that takes."""
        self._rung.acquire(timeout=most_s)


class LaneWriter:
    """The thread and the queue of one lane. Made on the event loop; `start` before use, `stop` at the end."""

    def __init__(
        self,
        path: Path,
        lane: Lane,
        settings: LaneSettings,
        *,
        clock: Clock,
        dice: Dice,
        seen: Seen | None,
        committed: Committed,
        say: Say,
        notice: Notice,
        disk: Disk,
        ballast: Ballast,
        readers: LaneReaders = NOBODY_KNOWN,
        vfs: str | None = None,
    ) -> None:
        self._path, self.lane, self._settings = path, lane, settings
        self._clock, self._dice, self._seen, self._committed, self._say = clock, dice, seen, committed, say
        self._notice, self._disk, self._ballast, self._readers, self._vfs = notice, disk, ballast, readers, vfs
        self._loop = asyncio.get_running_loop()
        self._lock, self._bell = threading.Lock(), _Bell()
        self._appends: deque[_Append] = deque()
        self._jobs: deque[_Job] = deque()
        self._waiting = 0  # records not committed, as the event loop counts them
        self._queued = 0  # records in _appends
        self._in_hand: list[asyncio.Future[Any]] = []
        self._stopping = False
        self._dead = False
        self._room: deque[asyncio.Future[None]] = deque()
        self._store: LaneStore | None = None
        self._incoming: list[_Append] = []  # of this turn of the event loop
        self._close_now = False  # nor does what waits in _appends
        self._idle = False  # the thread waits for anything at all
        self._giving_back = False
        self._confirmed: Confirmed | None = None
        self._known: tuple[str, int] | None = None  # incarnation and position that were committed once
        self._suspect: CorruptStoreError | None = None
        self._failed: StoreFailedError | None = None
        self._retry_at_ms = 0
        self._thread = threading.Thread(target=self._run, name=f"record-log-{lane}", daemon=True)
        self.failures = 0
        """How often the store had to be opened again since the start."""
        self._refused: tuple[int, PlatformError] | None = None  # when, and why, the last append was
        self._mark_due: asyncio.TimerHandle | None = None
        self._way: asyncio.Future[Any] | None = None  # of a step given back because lane A needs the room
        self.others_make_way: Callable[[Callable[[], None]], None] = lambda done: done()
        """Called on the event loop where a full disk leaves this lane little, with what to call when they have."""
        self.quarantined: list[Path] = []
        """Files set aside since the start."""

    async def start(self) -> tuple[bytes, int]:
        """Open the store and return (incarnation, last position). Raises StoreFailedError."""
        self._thread.start()
        return await self.ask(lambda store: (store.incarnation, store.last))

    async def stop(self) -> None:
        """Commit what waits, close the store, end the thread."""
        if self._mark_due is not None:
            self._mark_due.cancel()
        if self._incoming:
            self._hand_over()
        with self._lock:
            self._stopping = True
        self._bell.ring()
        if self._thread.ident is not None:  # an earlier lane was refused: this one's thread never began
            await self._loop.run_in_executor(None, self._thread.join, STOP_WAIT_S)

    def refusal(self) -> PlatformError | None:
        """Return why the last append was refused; None if it was not, or nobody has tried for a while."""
        if self._dead and not self._stopping:
            return self._closed()
        refused = self._refused
        if refused is None or self._clock.now_ms() - refused[0] > REFUSAL_FRESH_MS:
            return None
        return refused[1]

    async def append(self, records: Sequence[NewRecord]) -> list[int | None]:
        """Append in one commit; see `LaneStore.append`. Waits for room when the queue is full."""
        encoded = [each.encoded for each in records]
        sources = [each.source for each in records]
        answer = await self._append(encoded, sources if any(sources) else None)
        return list(range(answer - len(records) + 1, answer + 1)) if isinstance(answer, int) else answer

    async def append_encoded(self, records: Sequence[bytes], *, urgent: bool = False) -> int:
        """Append in one commit; see `LaneStore.append_encoded`. Waits for room when the queue is full.

        `urgent`: the group that this goes into closes at once.
        """
        answer = await self._append(records, None, urgent=urgent)
        assert isinstance(answer, int)  # noqa: S101 - no sources: none was skipped
        return answer

    async def _append(
        self,
        records: Sequence[bytes],
        sources: Sequence[tuple[str, int] | None] | None,
        *,
        urgent: bool = False,
    ) -> list[int | None] | int:
        while self._waiting >= self._settings.pending_records_max:
            place: asyncio.Future[None] = self._loop.create_future()
            self._room.append(place)
            await place
        self._must_live()
        done: asyncio.Future[list[int | None] | int] = self._loop.create_future()
        if not (self._incoming or urgent):
            self._loop.call_soon(self._hand_over)
        self._incoming.append(_Append(records, sources, done))
        self._waiting += len(records)
        if urgent:  # the group closes with it: nobody of this turn of the loop is waited for
            self._hand_over(close=True)
        return await done

    def _hand_over(self, *, close: bool = False) -> None:
        incoming, self._incoming = self._incoming, []
        with self._lock:
            if self._dead:
                closed = self._closed()
                self._loop.call_soon(self._on_loop, [(each.done, None, closed) for each in incoming], None)
                return
            self._appends.extend(incoming)
            self._queued += sum([len(each.records) for each in incoming])
            self._close_now = self._close_now or close
            due = self._idle or self._close_now or self._queued >= self._settings.group_records_max
        if due:
            self._bell.ring()

    async def acked(self, incarnation: bytes, hi: int) -> None:
        """Take the cloud's mark; see `LaneStore.acked`. A small rise is written within `MARK_WRITTEN_WITHIN_S`."""
        if await self.ask(lambda store: store.acked(incarnation, hi)) and self._mark_due is None:
            self._mark_due = self._loop.call_later(MARK_WRITTEN_WITHIN_S, self._write_mark)

    def _write_mark(self) -> None:
        self._mark_due = None
        if self._stopping or self._dead:  # closing writes it
            return
        done: asyncio.Future[Any] = self._loop.create_future()
        done.add_done_callback(asyncio.Future.exception)  # the thread has noted it; nobody else waits for it
        self._hand_in(_Job(LaneStore.settle_mark, done))

    async def ask(self, call: Callable[[LaneStore], T]) -> T:
        """Run `call` with the store on its thread and return what it returns. Raises StoreFailedError."""
        done: asyncio.Future[T] = self._loop.create_future()
        self._must_live()
        if self._incoming:
            self._hand_over()
        self._hand_in(_Job(call, done))
        return await done

    def _hand_in(self, job: _Job) -> None:
        with self._lock:
            if self._dead:  # since the caller looked: nobody would ever answer
                job.done.set_exception(self._closed())
                return
            self._jobs.append(job)
        self._bell.ring()

    def _must_live(self) -> None:
        if self._stopping or self._dead:
            raise self._closed()

    def _closed(self) -> StoreFailedError:
        return StoreFailedError(f"{self._path}: the record log is closed")

    # ------------------------------------------------------------------ on the thread

    def _run(self) -> None:
        try:
            while (work := self._next()) is not None:
                self._in_hand = [work.done] if isinstance(work, _Job) else [each.done for each in work]
                try:
                    if isinstance(work, _Job):
                        self._do(work)
                    else:
                        self._commit(work)
                except Exception as error:  # noqa: BLE001 - a defect costs what it met, not the lane
                    self._failed_on(work, error)
                self._in_hand = []
        finally:
            self._end()

    def _next(self) -> _Job | list[_Append] | None:
        due_ms: int | None = None
        while True:
            with self._lock:
                self._idle = False
                if self._jobs:
                    return self._jobs.popleft()
                if self._appends:
                    if due_ms is None:
                        due_ms = self._clock.now_ms() + self._settings.linger_ms
                    left_ms = due_ms - self._clock.now_ms()
                    full = self._queued >= self._settings.group_records_max
                    if full or self._close_now or left_ms <= 0 or self._stopping:
                        return self._group()
                    most_s = left_ms / 1000
                elif self._stopping:
                    return None
                else:
                    self._idle, most_s = True, -1.0
            self._bell.wait(most_s)

    def _failed_on(self, work: _Job | list[_Append], error: Exception) -> None:
        """Tell who waits; the file is opened again, since nobody knows in what state the store was left."""
        frames = [f"{Path(each.filename).name}:{each.lineno}" for each in traceback.extract_tb(error.__traceback__)]
        self._say("record_log_defect", lane=self.lane.value, error=repr(error)[:500], at=frames[-5:])
        failed = StoreFailedError(f"{self._path}: {error!r}")
        if isinstance(work, _Job):
            self._note(failed)
            self._tell([(work.done, None, failed)])
        else:
            self._refuse(work, failed)

    def _group(self) -> list[_Append]:
        group: list[_Append] = []
        size = 0
        while self._appends and (not group or size + len(self._appends[0].records) <= GROUP_RECORDS_TAKEN):
            group.append(self._appends.popleft())
            size += len(group[-1].records)
        self._queued -= size
        self._close_now = self._close_now and bool(self._appends)
        return group

    def _do(self, job: _Job) -> None:
        try:
            store = self._open()
            before = (store.incarnation, store.last)
            result = job.call(store)
        except PlatformError as error:
            self._note(error)
            self._tell([(job.done, None, error)])
        else:
            after = self._known_now(store)
            self._tell([(job.done, result, None)], None if before == after else after)

    def _commit(self, group: list[_Append]) -> None:
        tries = 0
        while True:
            try:
                answers = self._append_to(self._open(), group)
                break
            except StoreFullError as error:
                tries += 1
                if tries == (TRIES_A_MAX if self.lane is Lane.A else TRIES_MAX) or not self._relieve(error):
                    self._refuse(group, error)
                    return
                if tries > 1:
                    self._await_the_others()
            except PlatformError as error:
                self._refuse(group, error)
                return
        assert self._store is not None  # noqa: S101 - it has just committed
        self._refused = None
        done = [(each.done, answer, None) for each, answer in zip(group, answers, strict=True)]
        self._tell(done, self._known_now(self._store), sum(len(each.records) for each in group))

    def _append_to(self, store: LaneStore, group: list[_Append]) -> list[list[int | None] | int]:
        if self._ballast.out or self._giving_back:
            self._give_back(store)
        if all(each.sources is None for each in group):
            at = store.append_encoded([record for each in group for record in each.records])
            answers: list[list[int | None] | int] = []
            for each in reversed(group):
                answers.append(at)
                at -= len(each.records)
            return answers[::-1]
        positions = store.append(
            [
                NewRecord(record, source)
                for each in group
                for record, source in zip(each.records, each.sources or [None] * len(each.records), strict=True)
            ]
        )
        ends = list(accumulate(len(each.records) for each in group))
        return [
            positions[end - len(each.records) : end] if each.sources is not None else positions[end - 1] or 0
            for end, each in zip(ends, group, strict=True)
        ]

    def _refuse(self, group: list[_Append], error: PlatformError) -> None:
        self._note(error)
        self._refused = (self._clock.now_ms(), error)
        self._tell([(each.done, None, error) for each in group], None, sum(len(each.records) for each in group))

    def _known_now(self, store: LaneStore) -> tuple[bytes, int]:
        self._known = (store.incarnation.hex(), store.last)
        return store.incarnation, store.last

    # ------------------------------------------------------------------ a full disk

    def _relieve(self, error: StoreFullError) -> bool:
        """The disk is full: let the ballast go, or else what this lane can do without; say whether that may help."""
        if not error.disk:
            return False
        if self._ballast.release():
            self._report("disk_full", error=str(error))
            return True
        return self._store is not None  # it gives back a step before it tries again

    def _await_the_others(self) -> None:
        """Wait, for a moment at most, until lanes B and C have given back a step: what is refused here is lost."""
        given = threading.Event()
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self.others_make_way, given.set)
            given.wait(WAY_WAIT_S)

    def make_way(self) -> "asyncio.Future[Any] | None":
        """Have a step given back to a full disk, also where nothing is appended; return what is done when it is. On the
        event loop.
        """
        if self._stopping or self._dead:
            return None
        if self._way is None or self._way.done():
            self._way = self._loop.create_future()
            self._way.add_done_callback(asyncio.Future.exception)  # the next one tries again
            self._hand_in(_Job(self._give_back, self._way))
        return self._way

    def _give_back(self, store: LaneStore) -> None:
        """While the ballast is out lanes B and C shrink by a step before each commit; once it is back they may grow.

        Where lane A is short of room they shrink for it, whether or not anything is appended to them.
        """
        if self._ballast.out:
            self._giving_back = True
            left = self._ballast.left(self.lane)
            if self._ballast.back():
                self._report("disk_has_room")
            elif self.lane is Lane.A:
                with contextlib.suppress(StoreFullError):  # no room in the file: its write-ahead log goes on as it is
                    store.give_back(left)
                if left.short and not self._loop.is_closed():
                    self._loop.call_soon_threadsafe(self.others_make_way, lambda: None)
            elif store.give_back(left) and self._ballast.back():
                self._report("disk_has_room")
        if not self._ballast.out:
            self._giving_back = False
            store.take_back()

    # ------------------------------------------------------------------ opening

    def _open(self) -> LaneStore:
        if self._store is not None:
            return self._store
        now_ms = self._clock.now_ms()
        if self._failed is not None and now_ms < self._retry_at_ms:
            raise self._failed
        finish(self._path, disk=self._disk, aside=self._aside())
        try:
            if self._suspect is not None:
                raise self._suspect
            self._store = self._make()
        except CorruptStoreError as error:
            self._rebuild(error)
            self._store = self._make()
        except StoreFullError as error:
            self._store = self._make_without_room(error)
        if self._failed is not None:
            self._report("recovered", failures=self.failures, error=str(self._failed))
            self._failed = None
        store = self._store
        if self._seen is not None and self._went_back(store, self._seen):
            lost_to = self._seen.last if store.incarnation.hex() == self._seen.incarnation else 0
            self._report("old_copy", last=store.last, witness=self._seen.last)
            store.begin_life(
                self._dice, self._clock.wall_ms(), cut=store.last, reason="older than its witness", lost_to=lost_to
            )
        self._seen = None
        self._known_now(store)
        return store

    def _make_without_room(self, error: StoreFullError) -> LaneStore:
        if self._relieve(error):
            with contextlib.suppress(StoreFullError):
                return self._make()
        return self._make(in_place=True)

    def _make(self, *, in_place: bool = False) -> LaneStore:
        return LaneStore(
            self._path,
            self.lane,
            pages_max=self._settings.pages_max,
            keep_acked_records=self._settings.keep_acked_records,
            dice=self._dice,
            wall_ms=self._clock.wall_ms(),
            readers=self._readers,
            confirmed=self._confirmed,
            disk=self._disk,
            vfs=self._vfs,
            in_place=in_place,
        )

    def _aside(self) -> Path:
        return self._path.with_name(f"{self._path.name}.quarantined-{self._clock.wall_ms()}")

    def _rebuild(self, error: CorruptStoreError) -> None:
        """Set the damaged file aside; the next open finds a new one with what could be read of it."""
        aside = self._aside()
        known = self._known
        if known is None and self._seen is not None:
            known = (self._seen.incarnation, self._seen.last)
        saved = rebuild(
            self._path, self.lane, disk=self._disk, dice=self._dice, wall_ms=self._clock.wall_ms(), aside=aside,
            known=known, hold=self._confirmed is not None, vfs=self._vfs,
        )  # fmt: skip
        self._confirmed = self._seen = self._suspect = None
        self.quarantined.append(aside)
        self._report("damaged", error=str(error), file=aside.name, saved=saved.records, lost=saved.lost)

    def _report(self, what: str, **facts: object) -> None:
        self._say(f"record_log_{what}", lane=self.lane.value, **facts)
        body = {"what": what, "lane": self.lane.value, **{key: str(value)[:500] if isinstance(value, str) else value
                for key, value in facts.items()}}  # fmt: skip
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._notice, what, body)

    def _note(self, error: PlatformError) -> None:
        """After an I/O error the connection is not trusted any more; a full disk leaves it sound."""
        if not isinstance(error, StoreFailedError) or isinstance(error, StoreFullError) or error is self._failed:
            return
        self.failures += 1
        self._failed, self._retry_at_ms = error, self._clock.now_ms() + REOPEN_EVERY_MS
        self._say("record_log_failed", lane=self.lane.value, error=str(error))
        if isinstance(error, CorruptStoreError):
            self._suspect = error  # what is damaged in the middle of a large file need not show when it is opened
        if self._store is not None:
            self._confirmed = self._store.confirmed()
            self._store.abandon()
            self._store = None

    @staticmethod
    def _went_back(store: LaneStore, seen: Seen) -> bool:
        if store.incarnation.hex() == seen.incarnation:
            return store.last < seen.last
        return store.last > 0  # not a new file, yet not the incarnation that the witness saw last

    def _end(self) -> None:
        if self._store is not None:
            self._store.close()
        with self._lock:
            self._dead = True
            # in hand: a defect ended the thread in the middle of it; nobody may wait for ever
            left = [*self._in_hand, *(each.done for each in self._appends), *(each.done for each in self._jobs)]
            self._appends.clear()
            self._jobs.clear()
        closed = self._closed()
        self._tell([(done, None, closed) for done in left])

    def _tell(
        self,
        outcomes: Sequence[tuple["asyncio.Future[Any]", Any, PlatformError | None]],
        grown: tuple[bytes, int] | None = None,
        count: int = 0,
    ) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._on_loop, outcomes, grown, count)

    # ------------------------------------------------------------------ back on the loop

    def _on_loop(
        self,
        outcomes: Sequence[tuple["asyncio.Future[Any]", Any, PlatformError | None]],
        grown: tuple[bytes, int] | None,
        count: int = 0,
    ) -> None:
        self._waiting -= count
        if grown is not None:
            self._committed(self.lane, *grown)
        for done, result, error in outcomes:
            if done.done():
                continue
            if error is None:
                done.set_result(result)
            else:
                done.set_exception(error)
        while self._room and self._waiting < self._settings.pending_records_max:
            place = self._room.popleft()
            if not place.done():
                place.set_result(None)
        if self._dead:
            while self._room:
                place = self._room.popleft()
                if not place.done():
                    place.set_result(None)
