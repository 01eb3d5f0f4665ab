"""The live values of a property: one reader for all its watchers, each told what changed since it last took something.

A watcher that is slow finds, when it takes its next message, the newest value of everything that changed since, and how
many values it was not shown: per watcher there is one number a series and at most one message, never a queue. What a
watcher has seen is a mark (see `query_latest.changed_since`); coming back with it, it is told what changed meanwhile.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import psycopg

from cloud.kit.database import Database
from cloud.kit.notify import ANYTHING, NotificationHub, values_of
from cloud.platform.properties import Property
from cloud.telemetry.query_latest import Newest, changed_since, values_of_devices
from cloud.telemetry.store.port import Selection
from protocols.errors import StoreFailedError

COALESCE_S: Final = 0.1
LOOK_S: Final = 2.0
"""How long a change may go unnoticed whose notification was lost."""
TICK_S: Final = 5.0
VALUES_A_MESSAGE: Final = 500

Key = tuple[str, str, str]


class LiveValues:
    """The newest values of one property. `version` rises with every change that was read."""

    def __init__(self) -> None:
        self.values: dict[Key, Newest] = {}
        self.version = 0
        self.mark = 0
        self._versions: dict[Key, int] = {}

    def take(self, mark: int, values: Iterable[Newest]) -> bool:
        """Take what was read up to `mark`; return whether anything is new."""
        fresh = [each for each in values if (old := self.values.get(each.key)) is None or old.writes != each.writes]
        if fresh:
            self.version += 1
        for each in fresh:
            self.values[each.key] = each
            self._versions[each.key] = self.version
        self.mark = mark
        return bool(fresh)

    def version_of(self, key: Key) -> int:
        """Return the version at which a value was read last."""
        return self._versions[key]

    def newer_than(self, version: int) -> list[Newest]:
        """Return values that changed after `version`, oldest change first."""
        changed = [(at, key) for key, at in self._versions.items() if at > version]
        return [self.values[key] for _, key in sorted(changed)]


@dataclass(frozen=True, slots=True)
class Told:
    """One message: values, and how many others of these series were stored meanwhile and not shown."""

    values: list[Newest]
    skipped: int
    mark: int
    more: bool
    """Whether the next message follows at once."""


@dataclass(frozen=True, slots=True)
class Resumed:
    """What a client that came back with a mark must hear: `keys`, and all that the feed read after `version`."""

    keys: frozenset[Key]
    version: int


class Watcher:
    """What one client was told: the pure part of a live stream.

    A round tells everything that changed since the round before, in parts of VALUES_A_MESSAGE. Its mark is that of the
    moment it began: what changes while it is told is told in the next.
    """

    def __init__(self, selection: Selection) -> None:
        self._selection = selection
        self._seen: dict[Key, int] = {}
        self._version = -1
        self._mark = 0
        self._waiting: list[Key] = []

    def next(self, live: LiveValues, *, resumed: Resumed | None = None) -> Told | None:
        """Return what to tell now, from the newest values; None: nothing.

        Args:
            resumed: on the first call of a client that came back; None: tell everything.
        """
        if not self._waiting:
            if self._version == live.version:
                return None
            changed = [each for each in live.newer_than(self._version) if self._wants(each)]
            self._version, self._mark = live.version, live.mark
            if resumed is not None:
                for each in changed:
                    if each.key not in resumed.keys and live.version_of(each.key) <= resumed.version:
                        self._seen[each.key] = each.writes  # told on the connection before this one
            self._waiting = [each.key for each in changed if self._seen.get(each.key) != each.writes]
        while self._waiting:
            keys, self._waiting = self._waiting[:VALUES_A_MESSAGE], self._waiting[VALUES_A_MESSAGE:]
            values, skipped = [], 0
            for key in keys:
                each = live.values[key]
                before = self._seen.get(key)
                if before == each.writes:
                    continue
                if before is not None:
                    skipped += max(0, each.writes - before - 1)
                self._seen[key] = each.writes
                values.append(each)
            if values:
                return Told(values, skipped, self._mark, bool(self._waiting))
        return None

    def _wants(self, each: Newest) -> bool:
        asked = self._selection
        return (
            (asked.room is None or asked.room == each.room)
            and (asked.device is None or asked.device == each.device)
            and (asked.capability is None or asked.capability == each.capability)
            and (asked.attribute is None or asked.attribute == each.attribute)
        )


class LiveFeed:
    """Reads one property for all its watchers."""

    def __init__(self, found: Property, database: Database, hub: NotificationHub) -> None:
        self._property, self._database, self._hub = found, database, hub
        self.live = LiveValues()
        self._changed = asyncio.Condition()
        self.ready = asyncio.Event()
        self.watchers = 0

    async def run(self) -> None:
        """Read and read on until cancelled."""
        loop = asyncio.get_running_loop()
        all_at_s = loop.time()
        with self._hub.subscribe(values_of(self._property.id)) as hints:
            while True:
                # of all of them at the latest LOOK_S after the last such look, however often some are named meanwhile
                devices = await hints.wait(max(0.0, all_at_s + LOOK_S - loop.time()))
                if not devices or ANYTHING in devices or loop.time() >= all_at_s + LOOK_S:
                    devices, all_at_s = frozenset(), loop.time()
                try:
                    mark, values = await self._look(devices)
                except psycopg.OperationalError as error:
                    raise StoreFailedError("the database went away") from error
                if self.live.take(mark, values) or not self.ready.is_set():
                    self.ready.set()
                    async with self._changed:
                        self._changed.notify_all()
                await asyncio.sleep(COALESCE_S)

    async def _look(self, devices: frozenset[str]) -> tuple[int, list[Newest]]:
        """Return (mark, values): of `devices`, or if empty of all that changed since the mark.

        A look at devices that were named leaves the mark where it is: the name of another's change may be on its way.
        """
        where = (self._property.tenant, self._property.id)
        async with self._database.transaction() as connection:
            if devices:
                return self.live.mark, await values_of_devices(connection, *where, sorted(devices))
            return await changed_since(connection, *where, self.live.mark)

    async def other_than(self, version: int) -> None:
        """Wait until something changed since `version`."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.ready.is_set() and self.live.version != version)

    async def resumed(self, mark: int) -> Resumed | None:
        """Return what changed at or after a mark; None: the mark is of another database, everything may have."""
        version = self.live.version
        async with self._database.transaction() as connection:
            now, values = await changed_since(connection, self._property.tenant, self._property.id, mark)
        return None if mark > now else Resumed(frozenset(each.key for each in values), version)


class LiveFeeds:
    """The running feeds: one starts with the first watcher of a property and ends with the last."""

    def __init__(self, database: Database, hub: NotificationHub) -> None:
        self._database, self._hub = database, hub
        self._feeds: dict[Property, tuple[LiveFeed, asyncio.Task[None]]] = {}

    @asynccontextmanager
    async def watch(self, found: Property) -> AsyncIterator["Watch"]:
        """Watch a property while the block runs."""
        if found not in self._feeds:
            feed = LiveFeed(found, self._database, self._hub)
            self._feeds[found] = (feed, asyncio.create_task(feed.run(), name=f"values-{found.id}"))
        feed, task = self._feeds[found]
        feed.watchers += 1
        try:
            yield Watch(feed, task)
        finally:
            feed.watchers -= 1
            if feed.watchers == 0 or task.done():
                if self._feeds.get(found) == (feed, task):
                    del self._feeds[found]
                task.cancel()
                await asyncio.wait({task})


class Watch:
    """A feed as one watcher sees it: if the feed dies, so does the watch, with its error."""

    def __init__(self, feed: LiveFeed, task: "asyncio.Task[None]") -> None:
        self._feed, self._task = feed, task

    async def told(self, selection: Selection, *, since: int) -> AsyncIterator[Told | None]:
        """Yield what to tell, decided when it is asked for; None every TICK_S in which nothing changed."""
        watcher = Watcher(selection)
        await self._until(self._feed.ready.wait())
        version = -1
        resumed = await self._feed.resumed(since) if since else None
        while True:
            live = self._feed.live
            version = live.version
            told = watcher.next(live, resumed=resumed)
            resumed = None
            if told is not None:
                yield told
                if told.more:
                    continue
            if version != self._feed.live.version:
                continue
            if not await self._until(self._feed.other_than(version)):
                yield None

    async def _until(self, awaited: Any) -> bool:  # noqa: ANN401 - any awaitable
        """Wait for TICK_S at most; return whether it came. Raises what broke the feed."""
        looking = asyncio.ensure_future(awaited)
        try:
            await asyncio.wait({looking, self._task}, timeout=TICK_S, return_when=asyncio.FIRST_COMPLETED)
            if looking.done():
                looking.result()
                return True
            if self._task.done():
                self._task.result()
            return False
        finally:
            looking.cancel()
