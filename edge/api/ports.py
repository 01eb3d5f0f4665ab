"""What the API tells and does; edge/app answers it. Bodies are plain JSON values, times unix ms."""

from collections.abc import Mapping
from typing import Any, Protocol

from edge.rooms.commands import RoomCommand
from protocols.device_model.command import Outcome
from protocols.device_model.identity import RoomId, StayId


class Building(Protocol):
    """The building, as somebody at its API sees it."""

    def rooms(self) -> list[dict[str, Any]]:
        """Return every guest room."""
        ...

    def room(self, room: RoomId) -> dict[str, Any] | None:
        """Return one guest room, or None."""
        ...

    def devices(self) -> list[dict[str, Any]]:
        """Return every device of the plan, and whatever else was heard on a bus."""
        ...

    def stays(self) -> dict[str, Any]:
        """Return the replica."""
        ...

    def link(self) -> dict[str, Any]:
        """Return how the way to the cloud stands."""
        ...

    async def command(self, command: RoomCommand) -> Outcome:
        """Carry out a room command at most once."""
        ...

    async def check_in(self, stay: StayId, phone_public_key: str, *, by: str) -> Mapping[str, Any]:
        """Check a stay in."""
        ...

    async def check_out(self, stay: StayId, *, by: str) -> Mapping[str, Any]:
        """Check a stay out."""
        ...
