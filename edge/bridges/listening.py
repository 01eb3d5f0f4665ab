"""What a bus on which nothing can be written answers: its name, its counts, and no to every command."""

from collections import Counter
from collections.abc import Mapping

from protocols.device_model.capability import Capability
from protocols.device_model.command import Command, Outcome, Phase
from protocols.device_model.identity import BusId, DeviceId


class ListeningBus:
    """The part of `edge.bridges.ports.BusSupervisor` that all who only listen share; `run` is their own.

    Args:
        bus: Which bus.
        why_not: What a command is answered, behind the device's name.
    """

    def __init__(self, bus: BusId, *, why_not: str) -> None:
        self._bus, self._why_not = bus, why_not
        self._counts: Counter[str] = Counter()

    @property
    def bus(self) -> BusId:
        """See `BusSupervisor.bus`."""
        return self._bus

    @property
    def counts(self) -> Mapping[str, int]:
        """See `BusSupervisor.counts`."""
        return self._counts

    def can_write(self, device: DeviceId, capability: Capability, attribute: str) -> bool:  # noqa: ARG002 - the port's parameters
        """No."""
        return False

    async def write(self, command: Command) -> Outcome:
        """Fail: nothing was sent."""
        return Outcome(Phase.FAILED, None, f"{command.device} {self._why_not}")
