"""What the rooms need of the rest of the house. Implementations: edge/app wires them; tests bring fakes."""

from collections.abc import Mapping
from typing import Any, Protocol

from protocols.device_model.capability import Capability
from protocols.device_model.command import Command, Outcome
from protocols.device_model.identity import DeviceId


class DeviceWriter(Protocol):
    """The way to the devices: edge/bridges in production."""

    def can_write(self, device: DeviceId, capability: Capability, attribute: str) -> bool:
        """Say whether the device's descriptor lets this attribute be written."""
        ...

    async def write(self, command: Command) -> Outcome:
        """Carry a command to its device before its deadline; DONE only after read-back or the device's own word.

        Never raises for what a device or bus does: that is the outcome's `reason`.
        """
        ...


class RoomRecords(Protocol):
    """The record log, as far as rooms write to it."""

    async def room(self, body: Mapping[str, Any]) -> None:
        """Append a `room` record to lane B."""
        ...

    async def command(self, body: Mapping[str, Any]) -> None:
        """Append a `command` record to lane A; returns once it is durable. Raises StoreFailedError."""
        ...
