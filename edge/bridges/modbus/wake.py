"""What a unit's task waits on between two turns: a time or news, whichever comes first.

An event with a timeout does the same, and ends by cancelling its own task: four times the cost, three hundred times a
second in a large house.
"""

import asyncio


class Wake:
    """For one waiter."""

    def __init__(self) -> None:
        self._news = False
        self._waiter: asyncio.Future[None] | None = None

    def set(self) -> None:
        """Wake whoever waits, or spare whoever is about to."""
        self._news = True
        if self._waiter is not None:
            _end(self._waiter)

    def clear(self) -> None:
        """Forget the news so far."""
        self._news = False

    async def wait(self, most_ms: int) -> None:
        """Wait for news, `most_ms` at most."""
        if self._news:
            return
        loop = asyncio.get_running_loop()
        self._waiter = waiter = loop.create_future()
        timer = loop.call_later(most_ms / 1000, _end, waiter)
        try:
            await waiter
        finally:
            timer.cancel()
            self._waiter = None


def _end(waiter: "asyncio.Future[None]") -> None:
    if not waiter.done():
        waiter.set_result(None)
