"""What stands in for a neighbour that the settings left out: it does nothing, and says so by name."""

from collections.abc import Mapping
from typing import Any

from protocols.device_model.capability import Capability
from protocols.device_model.command import Command, Outcome, Phase
from protocols.device_model.identity import DeviceId, RoomId, StayId
from protocols.errors import InvalidInputError


class AbsentDoors:
    """For an edge without [doors]: issues nothing; there is nothing to end."""

    async def issue(
        self,
        stay: StayId,  # noqa: ARG002  # the port's shape
        room: RoomId,  # noqa: ARG002
        phone_public_key: bytes,  # noqa: ARG002
        *,
        not_before_ms: int,  # noqa: ARG002
        not_after_ms: int,  # noqa: ARG002
        join: bool,  # noqa: ARG002
    ) -> Mapping[str, Any]:
        """Refuse."""
        raise InvalidInputError("[doors]", "is not configured: this edge issues no grants")

    async def end_stay(self, stay: StayId) -> None:
        """There never was a grant."""


class AbsentDevices:
    """For an edge without buses: no device takes a command."""

    def can_write(self, device: DeviceId, capability: Capability, attribute: str) -> bool:  # noqa: ARG002
        """No."""
        return False

    async def write(self, command: Command) -> Outcome:  # noqa: ARG002
        """Fail: nothing was sent."""
        return Outcome(Phase.FAILED, None, "no bus is configured")
