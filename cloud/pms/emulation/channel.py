"""A client's websocket as an emulator sees it, whatever server carries it."""

from typing import Protocol


class GoneError(Exception):
    """The client's line is gone."""


class Channel(Protocol):
    """One client's websocket, accepted."""

    async def receive(self) -> str:
        """Return the next message. Raises GoneError."""
        ...

    async def send(self, text: str) -> None:
        """Write one. Raises GoneError."""
        ...

    async def close(self, code: int, reason: str) -> None:
        """Close it."""
        ...
