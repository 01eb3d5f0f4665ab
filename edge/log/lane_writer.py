"""One thread a lane: it owns the store, groups what waits into one commit, opens the store again after a failure.

Everything here runs off the event loop; what it reports comes back through `call_soon_threadsafe`. Reads and
cursors go first, then the group of appends: a group closes after `linger_ms` or at `group_records_max`, and its
callers learn the outcome after COMMIT.
"""

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

from edge.log.lane_store import CorruptStoreError, LaneStore, NewRecord, StoreFullError
from edge.log.settings import LaneSettings
from edge.log.witness import Seen
from kit.clock import Clock
from kit.dice import Dice
from protocols.errors import PlatformError, StoreFailedError
from protocols.link.lanes import Lane

T = TypeVar("T")

REOPEN_EVERY_MS: Final = 250
"""After an I/O error the store is opened again, at most so often; in between callers are refused at once."""
STOP_WAIT_S: Final = 10.0
_SIDE_FILES: Final = ("", "-wal", "-shm")

Committed = Callable[[Lane, bytes, int], None]
"""(lane, incarnation, last committed position), on the event loop."""


class Say(Protocol):
    """A logger: structlog's `error` and its like."""

    def __call__(self, event: str, **facts: object) -> object:
        """Log `event`."""
        ...


@dataclass(slots=True)
class _Append:
    records: Sequence[NewRecord]
    done: "asyncio.Future[list[int | None]]"


@dataclass(slots=True)
class _Job:
    call: Callable[[LaneStore], Any]
    done: "asyncio.Future[Any]"


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
        vfs: str | None = None,
    ) -> None:
        self._path, self.lane, self._settings = path, lane, settings
        self._clock, self._dice, self._seen, self._committed, self._say, self._vfs = (
            clock,
            dice,
            seen,
            committed,
            say,
            vfs,
        )
        self._loop = asyncio.get_running_loop()
        self._wake = threading.Condition()
        self._appends: deque[_Append] = deque()
        self._jobs: deque[_Job] = deque()
        self._waiting = 0  # records in _appends
        self._in_hand: list[asyncio.Future[Any]] = []
        self._stopping = False
        self._dead = False
        self._room: deque[asyncio.Future[None]] = deque()
        self._store: LaneStore | None = None
        self._confirmed: tuple[bytes, int] | None = None
        self._failed: StoreFailedError | None = None
        self._retry_at_ms = 0
        self._thread = threading.Thread(target=self._run, name=f"record-log-{lane}", daemon=True)
        self.failures = 0
        """How often the store had to be opened again since the start."""
        self.quarantined: list[Path] = []
        """Files set aside since the start."""

    async def start(self) -> tuple[bytes, int]:
        """Open the store and return (incarnation, last position). Raises StoreFailedError."""
        self._thread.start()
        return await self.ask(lambda store: (store.incarnation, store.last))

    async def stop(self) -> None:
        """Commit what waits, close the store, end the thread."""
        with self._wake:
            self._stopping = True
            self._wake.notify_all()
        if self._thread.ident is not None:  # an earlier lane was refused: this one's thread never began
            await self._loop.run_in_executor(None, self._thread.join, STOP_WAIT_S)

    async def append(self, records: Sequence[NewRecord]) -> list[int | None]:
        """Append in one commit; see `LaneStore.append`. Waits for room when the queue is full."""
        while self._waiting >= self._settings.pending_records_max:
            place: asyncio.Future[None] = self._loop.create_future()
            self._room.append(place)
            await place
        done: asyncio.Future[list[int | None]] = self._loop.create_future()
        with self._wake:
            self._must_live()
            self._appends.append(_Append(records, done))
            self._waiting += len(records)
            self._wake.notify_all()
        return await done

    async def ask(self, call: Callable[[LaneStore], T]) -> T:
        """Run `call` with the store on its thread and return what it returns. Raises StoreFailedError."""
        done: asyncio.Future[T] = self._loop.create_future()
        with self._wake:
            self._must_live()
            self._jobs.append(_Job(call, done))
            self._wake.notify_all()
        return await done

    def _must_live(self) -> None:
        if self._stopping or self._dead:
            raise StoreFailedError(f"{self._path}: the record log is closed")

    # ------------------------------------------------------------------ on the thread

    def _run(self) -> None:
        try:
            while (work := self._next()) is not None:
                self._in_hand = [work.done] if isinstance(work, _Job) else [each.done for each in work]
                if isinstance(work, _Job):
                    self._do(work)
                else:
                    self._commit(work)
                self._in_hand = []
        finally:
            self._end()

    def _next(self) -> _Job | list[_Append] | None:
        due_ms: int | None = None
        with self._wake:
            while True:
                if self._jobs:
                    return self._jobs.popleft()
                if self._appends:
                    if due_ms is None:
                        due_ms = self._clock.now_ms() + self._settings.linger_ms
                    left_ms = due_ms - self._clock.now_ms()
                    if self._waiting >= self._settings.group_records_max or left_ms <= 0 or self._stopping:
                        return self._group()
                    self._wake.wait(left_ms / 1000)
                elif self._stopping:
                    return None
                else:
                    self._wake.wait()

    def _group(self) -> list[_Append]:
        group: list[_Append] = []
        size = 0
        while self._appends and (not group or size + len(self._appends[0].records) <= self._settings.group_records_max):
            group.append(self._appends.popleft())
            size += len(group[-1].records)
        self._waiting -= size
        return group

    def _do(self, job: _Job) -> None:
        try:
            store = self._open()
            before = (store.incarnation, store.last)
            result = job.call(store)
            self._confirmed = (store.incarnation, store.last)
        except PlatformError as error:
            self._note(error)
            self._tell([(job.done, None, error)])
        else:
            grown = None if before == self._confirmed else self._confirmed
            self._tell([(job.done, result, None)], grown)

    def _commit(self, group: list[_Append]) -> None:
        try:
            store = self._open()
            positions = store.append([record for each in group for record in each.records])
            self._confirmed = (store.incarnation, store.last)
        except PlatformError as error:
            self._note(error)
            self._tell([(each.done, None, error) for each in group])
            return
        outcomes: list[tuple[asyncio.Future[Any], Any, PlatformError | None]] = []
        at = 0
        for each in group:
            outcomes.append((each.done, positions[at : at + len(each.records)], None))
            at += len(each.records)
        self._tell(outcomes, self._confirmed)

    def _open(self) -> LaneStore:
        if self._store is not None:
            return self._store
        now_ms = self._clock.now_ms()
        if self._failed is not None and now_ms < self._retry_at_ms:
            raise self._failed
        try:
            self._store = self._make()
        except CorruptStoreError as error:
            self._set_aside(error)
            self._store = self._make()
        if self._failed is not None:
            self._say("record_log_recovered", lane=self.lane.value, failures=self.failures)
            self._failed = None
        store = self._store
        if self._seen is not None and self._went_back(store, self._seen):
            store.begin_life(self._dice, self._clock.wall_ms(), cut=store.last, reason="older than its witness")
            self._say("record_log_is_an_old_copy", lane=self.lane.value, last=store.last, witness=self._seen.last)
        self._seen = None
        self._confirmed = (store.incarnation, store.last)
        return store

    def _make(self) -> LaneStore:
        return LaneStore(
            self._path,
            self.lane,
            pages_max=self._settings.pages_max,
            keep_acked_records=self._settings.keep_acked_records,
            dice=self._dice,
            wall_ms=self._clock.wall_ms(),
            confirmed=self._confirmed,
            vfs=self._vfs,
        )

    def _set_aside(self, error: CorruptStoreError) -> None:
        """Rename the damaged file and its side files; the next open makes a new file, so a new incarnation."""
        stamp = self._clock.wall_ms()
        aside = self._path.with_name(f"{self._path.name}.quarantined-{stamp}")
        try:
            for side in _SIDE_FILES:
                old = self._path.with_name(self._path.name + side)
                if old.exists():
                    old.replace(aside.with_name(aside.name + side))
        except OSError as problem:
            raise StoreFailedError(f"{self._path}: damaged, and cannot be set aside: {problem}") from problem
        self._confirmed = self._seen = None
        self.quarantined.append(aside)
        self._say("record_log_quarantined", lane=self.lane.value, file=aside.name, error=str(error))

    def _note(self, error: PlatformError) -> None:
        """After an I/O error the connection is not trusted any more; a full disk leaves it sound."""
        if not isinstance(error, StoreFailedError) or isinstance(error, StoreFullError) or error is self._failed:
            return
        self.failures += 1
        self._failed, self._retry_at_ms = error, self._clock.now_ms() + REOPEN_EVERY_MS
        self._say("record_log_failed", lane=self.lane.value, error=str(error))
        if self._store is not None:
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
        with self._wake:
            self._dead = True
            # in hand: a defect ended the thread in the middle of it; nobody may wait for ever
            left = [*self._in_hand, *(each.done for each in self._appends), *(each.done for each in self._jobs)]
            self._appends.clear()
            self._jobs.clear()
        closed = StoreFailedError(f"{self._path}: the record log is closed")
        self._tell([(done, None, closed) for done in left])

    def _tell(
        self,
        outcomes: Sequence[tuple["asyncio.Future[Any]", Any, PlatformError | None]],
        grown: tuple[bytes, int] | None = None,
    ) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._on_loop, outcomes, grown)

    # ------------------------------------------------------------------ back on the loop

    def _on_loop(
        self,
        outcomes: Sequence[tuple["asyncio.Future[Any]", Any, PlatformError | None]],
        grown: tuple[bytes, int] | None,
    ) -> None:
        if grown is not None:
            self._committed(self.lane, *grown)
        for done, result, error in outcomes:
            if done.done():
                continue
            if error is None:
                done.set_result(result)
            else:
                done.set_exception(error)
        while self._room:
            place = self._room.popleft()
            if not place.done():
                place.set_result(None)
