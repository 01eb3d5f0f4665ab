"""How many connections the adapter may hold at once, and never two to the same lock.

A slot is reserved before a connection is begun and is free again when the block ends, however it ends.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from protocols.errors import LinkLostError


class Slots:
    """At most `most` reservations at once, first come first served.

    Args:
        most: The bound, at least 1.
    """

    def __init__(self, most: int) -> None:
        if most < 1:
            raise ValueError(f"at least one slot, not {most}")
        self.most = most
        self._free = asyncio.Semaphore(most)
        self._locks: dict[str, asyncio.Lock] = {}
        self._held: set[str] = set()

    @property
    def held(self) -> frozenset[str]:
        """Whose connections are open or being opened."""
        return frozenset(self._held)

    @asynccontextmanager
    async def reserve(self, lock: str, *, wait_ms: int) -> AsyncIterator[None]:
        """Hold a slot for `lock`.

        Raises:
            LinkLostError: none became free within `wait_ms`; nothing was sent.
        """
        turn = self._locks.setdefault(lock, asyncio.Lock())
        try:
            async with asyncio.timeout(wait_ms / 1000):
                await turn.acquire()
                try:
                    await self._free.acquire()
                except BaseException:
                    turn.release()
                    raise
        except TimeoutError as error:
            raise LinkLostError(f"all {self.most} connections are busy: no turn within {wait_ms} ms") from error
        finally:
            if not turn.locked():
                self._locks.pop(lock, None)
        self._held.add(lock)
        try:
            yield
        finally:
            self._held.discard(lock)
            self._free.release()
            turn.release()
            if not turn.locked():
                self._locks.pop(lock, None)
