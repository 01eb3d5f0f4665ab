"""The places of a bus: how many requests may be in flight, and who goes first.

Writes before reads before probes; probes have few places of their own count, so that units that do not answer can
never hold all of them.
"""

import asyncio
import heapq
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import IntEnum
from itertools import count


class Class(IntEnum):
    """Who asks for a place; the lower goes first."""

    WRITE = 0
    READ = 1
    PROBE = 2


class Places:
    """A semaphore with classes."""

    def __init__(self, most: int, probes_most: int) -> None:
        self._most, self._probes_most = most, min(probes_most, max(1, most - 1))
        self._taken = self._probing = 0
        self._order = count()
        self._queues: dict[Class, list[tuple[int, asyncio.Future[None]]]] = {each: [] for each in Class}

    @asynccontextmanager
    async def take(self, kind: Class) -> AsyncIterator[None]:
        """Hold a place for the length of the block."""
        if self._free_for(kind) and not any(self._queues[each] for each in Class if each <= kind):
            self._enter(kind)
        else:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            heapq.heappush(self._queues[kind], (next(self._order), future))
            try:
                await future
            except asyncio.CancelledError:
                if future.done() and not future.cancelled():
                    self._leave(kind)  # the place was given in the very moment we went away
                raise
        try:
            yield
        finally:
            self._leave(kind)

    def _free_for(self, kind: Class) -> bool:
        return self._taken < self._most and (kind is not Class.PROBE or self._probing < self._probes_most)

    def _enter(self, kind: Class) -> None:
        self._taken += 1
        self._probing += kind is Class.PROBE

    def _leave(self, kind: Class) -> None:
        self._taken -= 1
        self._probing -= kind is Class.PROBE
        for each in Class:
            queue = self._queues[each]
            while queue and self._free_for(each):
                _, future = heapq.heappop(queue)
                if not future.done():
                    self._enter(each)
                    future.set_result(None)
