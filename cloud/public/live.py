"""The live stream of a property: one reader for all its watchers, each told what differs from what it was told.

`Feed` keeps the property's newest moment and re-reads it when hints say that something changed, at most every
COALESCE_S. A watcher compares that moment with the one it last sent: a slow watcher skips moments instead of
queueing them, so memory is one moment a watcher however slow the line is.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import msgspec

from cloud.kit.notify import NotificationHub
from cloud.kit.times import at, iso
from cloud.platform.properties import Property
from cloud.public import schema
from cloud.public.reader import EVENTS_SHOWN, Moment, PropertyReader, WallClock
from cloud.public.views import access_event_view
from protocols.errors import StoreFailedError

COALESCE_S: Final = 0.1  # ten pictures a second are more than a person sees
LINK_LOOK_S: Final = 2.0  # silence changes the line's state without any hint
TICK_S: Final = 5.0
WATCHERS_MOST: Final = 1_000  # each holds one moment: a bound on memory, not on use
_encoder = msgspec.json.Encoder()


class Feed:
    """The newest moment of one property, shared by its watchers."""

    def __init__(self, found: Property, reader: PropertyReader, hub: NotificationHub) -> None:
        """Nothing is read before `run`."""
        self._property, self._reader, self._hub = found, reader, hub
        self._moment: Moment | None = None
        self._changed = asyncio.Condition()
        self.watchers = 0

    async def run(self) -> None:
        """Read and re-read until cancelled."""
        with self._hub.subscribe(self._property.id) as hints:
            while True:
                await hints.wait(LINK_LOOK_S)
                moment = await self._reader.moment(self._property)
                if moment != self._moment:
                    async with self._changed:
                        self._moment = moment
                        self._changed.notify_all()
                await asyncio.sleep(COALESCE_S)

    async def other_than(self, seen: Moment | None) -> Moment:
        """Return the newest moment as soon as it is not `seen`."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._moment is not None and self._moment is not seen)
        assert self._moment is not None  # noqa: S101 - what was just waited for
        return self._moment


class Feeds:
    """The running feeds: one starts with the first watcher of a property and ends with the last."""

    def __init__(self, reader: PropertyReader, hub: NotificationHub) -> None:
        """Feeds read through `reader` when `hub` hints."""
        self._reader, self._hub = reader, hub
        self._feeds: dict[Property, tuple[Feed, asyncio.Task[None]]] = {}

    @asynccontextmanager
    async def watch(self, found: Property) -> AsyncIterator["Watched"]:
        """Watch a property while the block runs. Raises StoreFailedError beyond WATCHERS_MOST watchers."""
        if sum(feed.watchers for feed, _ in self._feeds.values()) >= WATCHERS_MOST:
            raise StoreFailedError("too many watch already; try again later")
        if found not in self._feeds:
            feed = Feed(found, self._reader, self._hub)
            self._feeds[found] = (feed, asyncio.create_task(feed.run(), name=f"feed-{found.id}"))
        feed, task = self._feeds[found]
        feed.watchers += 1
        try:
            yield Watched(feed, task)
        finally:
            feed.watchers -= 1
            if feed.watchers == 0 or task.done():
                if self._feeds.get(found) == (feed, task):
                    del self._feeds[found]
                task.cancel()
                await asyncio.wait({task})


class Watched:
    """A feed as one watcher sees it: if the feed dies, so does the watch, with its error."""

    def __init__(self, feed: Feed, task: asyncio.Task[None]) -> None:
        self._feed, self._task = feed, task

    async def other_than(self, seen: Moment | None, most_s: float) -> Moment | None:
        """Return a moment other than `seen`, or None after `most_s`. Raises what broke the feed."""
        looking = asyncio.create_task(self._feed.other_than(seen))
        try:
            await asyncio.wait({looking, self._task}, timeout=most_s, return_when=asyncio.FIRST_COMPLETED)
            if looking.done():
                return looking.result()
            if self._task.done():
                self._task.result()
            return None
        finally:
            looking.cancel()


async def messages(watched: Watched, clock: WallClock) -> AsyncIterator[bytes]:
    """Yield the JSON messages of one watcher, for ever: a snapshot, then what changed, and a tick every TICK_S.

    What to say is decided when the consumer asks for the next message, from the newest moment then.
    """
    seen: Moment | None = None
    while True:
        moment = await watched.other_than(seen, TICK_S)
        as_of = iso(at(clock.wall_ms()))
        if moment is None:
            yield _encoder.encode({"type": "tick", "as_of": as_of})
            continue
        for message in changes(seen, moment, as_of=as_of):
            yield _encoder.encode(message)
        seen = moment


def changes(seen: Moment | None, moment: Moment, *, as_of: str) -> list[dict[str, Any]]:
    """Return the messages that take a watcher from `seen` to `moment`. Pure."""
    if seen is None:
        newest_first = [access_event_view(event) for event in reversed(moment.events)]
        return [
            {
                "type": "snapshot",
                "as_of": as_of,
                "rooms": moment.rooms,
                "link": moment.link,
                "access_events": newest_first[:EVENTS_SHOWN],
                "alerts": moment.alerts,
            }
        ]
    told: list[dict[str, Any]] = []
    before: dict[str, schema.Room] = {room.id: room for room in seen.rooms}
    if before.keys() != {room.id for room in moment.rooms}:
        return changes(None, moment, as_of=as_of)  # the plan itself changed: start again
    rooms = [room for room in moment.rooms if before[room.id] != room]
    if rooms:
        told.append({"type": "rooms", "as_of": as_of, "rooms": rooms})
    last = max((event.id for event in seen.events), default=0)
    events = [access_event_view(event) for event in reversed(moment.events) if event.id > last]
    if events:
        told.append({"type": "access", "events": events})
    if seen.alerts != moment.alerts:
        told.append({"type": "alerts", "as_of": as_of, "alerts": moment.alerts})
    if seen.link != moment.link:
        told.append({"type": "link", "link": moment.link, "as_of": as_of})
    return told
