"""Queues with an end: a full queue makes the writer wait or be refused, and refusals are counted.

An item leaves the queue in the same instant in which the reader gets it, so a cancelled reader loses nothing.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Generic, TypeVar

T = TypeVar("T")


class BoundedQueue(Generic[T]):
    """First in, first out, at most `most` items.

    Args:
        most: the bound, at least 1.
        name: for logs, metrics and errors.
    """

    def __init__(self, most: int, name: str) -> None:
        if most < 1:
            raise ValueError(f"queue {name}: the bound must be at least 1, not {most}")
        self.most, self.name = most, name
        self.refused = 0
        """How many offers were refused since the start."""
        self._items: deque[T] = deque()
        self._readers: deque[asyncio.Future[None]] = deque()
        self._writers: deque[asyncio.Future[None]] = deque()

    def __len__(self) -> int:
        return len(self._items)

    def offer(self, item: T) -> bool:
        """Add `item` now, or count a refusal and return False."""
        if len(self._items) >= self.most:
            self.refused += 1
            return False
        self._items.append(item)
        if self._readers:
            _wake(self._readers)
        return True

    def offer_many(self, items: Sequence[T]) -> int:
        """Add the first of `items` that there is room for, now; the others count as refused. Return how many fit."""
        room = self.most - len(self._items)
        if len(items) > room:
            self.refused += len(items) - room
            items = items[:room]
        self._items.extend(items)
        if items and self._readers:
            _wake(self._readers)
        return len(items)

    async def put(self, item: T) -> None:
        """Add `item`, waiting for room."""
        while len(self._items) >= self.most:
            await _wait_in(self._writers)
        self._items.append(item)
        _wake(self._readers)

    async def get(self) -> T:
        """Take the oldest item, waiting for one."""
        while not self._items:
            await _wait_in(self._readers)
        item = self._items.popleft()
        _wake(self._writers)
        return item

    async def get_batch(self, most: int, linger_ms: int) -> list[T]:
        """Take 1 to `most` items: wait for the first, then up to `linger_ms` for company."""
        while True:
            while not self._items:
                await _wait_in(self._readers)
            if len(self._items) < most and linger_ms > 0:
                await self._gather(most, linger_ms)
            if batch := self._take(most):
                _wake(self._writers)
                return batch

    def _take(self, most: int) -> list[T]:
        items = self._items
        if len(items) > most:
            return [items.popleft() for _ in range(most)]
        taken = list(items)
        items.clear()
        return taken

    async def _gather(self, most: int, linger_ms: int) -> None:
        wanted = min(most, self.most)
        try:
            async with asyncio.timeout(linger_ms / 1000):
                while len(self._items) < wanted:
                    await _wait_in(self._readers)
        except TimeoutError:
            return


async def _wait_in(line: deque[asyncio.Future[None]]) -> None:
    """Stand in `line` until somebody calls `_wake`; the waiter checks for itself what has changed."""
    place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    line.append(place)
    try:
        await place
    finally:
        if place in line:
            line.remove(place)


def _wake(line: deque[asyncio.Future[None]]) -> None:
    """Wake the whole line: a woken waiter that was cancelled meanwhile must not swallow the news."""
    while line:
        place = line.popleft()
        if not place.done():
            place.set_result(None)
