"""How many connections the adapter may hold at once, and never two to the same lock.

A slot is reserved before a connection is begun and is free again when the block ends, however it ends.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

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
        self._turns: dict[str, _Turn] = {}
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
        turn = self._turns.setdefault(lock, _Turn())
        turn.users += 1
        try:
            async with AsyncExitStack() as held:
                try:
                    async with asyncio.timeout(wait_ms / 1000):
                        await held.enter_async_context(turn.lock)
                        await held.enter_async_context(self._free)
                except TimeoutError as error:
                    raise LinkLostError(
                        f"no connection became free within {wait_ms} ms; {self.most} at once at most"
                    ) from error
                held.callback(self._held.discard, lock)
                self._held.add(lock)
                yield
        finally:
            turn.users -= 1
            if turn.users == 0:
                del self._turns[lock]


class _Turn:
    """Who wants the same lock; forgotten when nobody does."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.users = 0
