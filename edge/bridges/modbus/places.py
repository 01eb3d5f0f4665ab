"""The places of a bus: how many requests may be in flight, and who goes first.

Writes before reads before probes; probes have few places of their own count, so that units that do not answer can
never hold all of them. A bus that cannot carry all that is asked of it would put probes off for ever, and a unit that
fell silent once would never be heard again: so every `PATIENCE_MS` the probe that has waited so long goes first. It
costs the neighbours one answer's time in that many.
"""

import asyncio
import heapq
from collections.abc import Callable
from enum import IntEnum
from itertools import count
from typing import Final

PATIENCE_MS: Final = 10_000


class Class(IntEnum):
    """Who asks for a place; the lower goes first."""

    WRITE = 0
    READ = 1
    PROBE = 2


_ORDER: Final = tuple(Class)


class Places:
    """A semaphore with classes.

    Args:
        most: requests in flight.
        probes_most: probes among them; at least one place is not theirs.
        now_ms: monotonic.
    """

    def __init__(self, most: int, probes_most: int, now_ms: Callable[[], int]) -> None:
        self._now_ms, self._overtook_ms = now_ms, now_ms()
        self._most, self._probes_most = most, min(probes_most, max(1, most - 1))
        self._taken = self._probing = 0
        self._order = count()
        self._queues: tuple[list[tuple[int, int, asyncio.Future[None]]], ...] = tuple([] for _ in Class)
        """By class."""

    def take(self, kind: Class) -> "_Place":
        """Return a place to be held for the length of an `async with`."""
        return _Place(self, kind)

    async def come(self, kind: Class) -> None:
        """Wait for a place and take it; `leave` gives it back."""
        if self._free_for(kind) and not any(self._queues[: kind + 1]):
            self._enter(kind)
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._queues[kind], (next(self._order), self._now_ms(), future))
        try:
            await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():
                self.leave(kind)  # the place was given in the very moment we went away
            raise

    def leave(self, kind: Class) -> None:
        """Give a place back to whoever is to have it next."""
        self._taken -= 1
        self._probing -= kind is Class.PROBE
        if not any(self._queues):
            return
        if self._owes_a_probe():
            self._overtook_ms = self._now_ms()
            self._give(Class.PROBE)
        for each in _ORDER:
            while self._queues[each] and self._free_for(each):
                self._give(each)

    def _free_for(self, kind: Class) -> bool:
        return self._taken < self._most and (kind is not Class.PROBE or self._probing < self._probes_most)

    def _enter(self, kind: Class) -> None:
        self._taken += 1
        self._probing += kind is Class.PROBE

    def _owes_a_probe(self) -> bool:
        queue, since_ms = self._queues[Class.PROBE], self._now_ms() - PATIENCE_MS
        while queue and queue[0][2].done():
            heapq.heappop(queue)  # it went away
        return bool(queue) and self._free_for(Class.PROBE) and max(queue[0][1], self._overtook_ms) <= since_ms

    def _give(self, kind: Class) -> None:
        _, _, future = heapq.heappop(self._queues[kind])
        if not future.done():
            self._enter(kind)
            future.set_result(None)


class _Place:
    """One place, held within `async with`. Not a generator's: a large house takes three hundred a second."""

    __slots__ = ("_kind", "_places")

    def __init__(self, places: Places, kind: Class) -> None:
        self._places, self._kind = places, kind

    async def __aenter__(self) -> None:
        await self._places.come(self._kind)

    async def __aexit__(self, *_: object) -> None:
        self._places.leave(self._kind)
