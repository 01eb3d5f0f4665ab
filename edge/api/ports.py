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

    def alerts(self) -> list[dict[str, Any]]:
        """Return the alerts that are up, oldest first."""
        ...

    def batteries(self) -> list[dict[str, Any]]:
        """Return every battery's forecast."""
        ...

    def energy(self) -> dict[str, Any]:
        """Return what each room used and saved, with the arithmetic."""
        ...

    def rules(self) -> list[dict[str, Any]]:
        """Return the rules in force and where they hold."""
        ...

    def fire(self) -> dict[str, Any]:
        """Return whether there is fire."""
        ...

    def set_fire(self, *, active: bool, by: str) -> dict[str, Any]:
        """Declare fire, or say that it is over."""
        ...

    def sleep_scene(self, room: RoomId) -> None:
        """Let a room make ready for the night."""
        ...

    async def command(self, command: RoomCommand) -> Outcome:
        """Carry out a room command at most once."""
        ...

    async def check_in(self, stay: StayId, phone_public_key: str, *, by: str) -> Mapping[str, Any]:
        """Check a stay in."""
        ...

    async def move(self, stay: StayId, room: RoomId, phone_public_key: str, *, by: str) -> Mapping[str, Any]:
        """Move a guest in house to another room."""
        ...

    async def end_at(
        self, stay: StayId, until_ms: int, *, by: str, phone_public_key: str | None = None
    ) -> Mapping[str, Any]:
        """Make the stay of a guest in house longer or shorter."""
        ...

    async def check_out(self, stay: StayId, *, by: str) -> Mapping[str, Any]:
        """Check a stay out."""
        ...
