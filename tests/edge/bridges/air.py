"""A broker in a list: what the test says is heard, what the bus publishes is kept. For tests of hostile buses."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence

from kit.net import Message
from protocols.errors import LinkLostError


class Air:
    """`kit.net.Transport` and `kit.net.Connection` in one, with one life."""

    def __init__(self) -> None:
        self.published: list[tuple[str, bytes]] = []
        self._heard: asyncio.Queue[Message | None] = asyncio.Queue()
        self._over = asyncio.Event()

    def say(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        self._heard.put_nowait(Message(topic, payload, retain))

    async def heard(self) -> None:
        """Return when everything that was said has been taken."""
        while not self._heard.empty():
            await asyncio.sleep(0)

    @contextlib.asynccontextmanager
    async def connect(self, *, subscribe: Sequence[str] = (), will: Message | None = None) -> AsyncIterator["Air"]:
        if self._over.is_set():
            raise LinkLostError("this broker has one life")
        yield self

    async def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        self.published.append((topic, payload))

    async def subscribe(self, *filters: str) -> None:
        """Everything is heard."""

    async def unsubscribe(self, *filters: str) -> None:
        """Everything is heard."""

    async def messages(self) -> AsyncIterator[Message]:
        while (message := await self._heard.get()) is not None:
            yield message
        self._over.set()

    def lose(self) -> None:
        self._heard.put_nowait(None)

    @property
    def closed(self) -> bool:
        return self._over.is_set()

    async def wait_closed(self) -> None:
        await self._over.wait()
