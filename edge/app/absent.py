"""What stands in for a neighbour that the settings left out: it does nothing, and says so by name."""

from collections.abc import Mapping, Sequence
from typing import Any

from protocols.device_model.capability import Capability
from protocols.device_model.command import Command, Outcome, Phase
from protocols.device_model.identity import DeviceId, RoomId, StayId
from protocols.errors import InvalidInputError


class AbsentDoors:
    """For an edge without [doors]: issues nothing; there is nothing to end."""

    async def issue(
        self,
        stay: StayId,  # the port's shape
        room: RoomId,
        phone_public_key: bytes,
        *,
        not_before_ms: int,
        not_after_ms: int,
        join: bool,
        beside: Sequence[StayId] = (),
    ) -> Mapping[str, Any]:
        """Refuse."""
        raise InvalidInputError("[doors]", "is not configured: this edge issues no grants")

    async def serves(self, room: RoomId) -> bool:
        """No."""
        return False

    async def end_stay(self, stay: StayId, *, emptied: Sequence[RoomId] = ()) -> None:
        """There never was a grant."""

    async def curtail(self, stay: StayId, until_ms: int) -> int:
        """There never was one."""
        return 0


class AbsentDevices:
    """For an edge without buses: no device takes a command."""

    def can_write(self, device: DeviceId, capability: Capability, attribute: str) -> bool:
        """No."""
        return False

    async def write(self, command: Command) -> Outcome:
        """Fail: nothing was sent."""
        return Outcome(Phase.FAILED, None, "no bus is configured")
