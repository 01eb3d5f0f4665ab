"""What the buses need of the house, and what the house gets of a bus.

Implementations: edge/app, and the supervisors.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Final, Protocol

from protocols.device_model.capability import Capability
from protocols.device_model.command import Command, Outcome
from protocols.device_model.identity import BusId, DeviceId
from protocols.device_model.reading import Reading

UNKNOWN_UNTOLD: Final = "unknown_devices_untold"
"""The word of a bus's counts for unplanned things beyond what it remembers: neither logged nor listed."""

Detail = Mapping[str, str | int | float | bool | None]
"""Evidence of an event: flat and JSON-safe."""


class DeviceEvent(StrEnum):
    """What can happen to a device as a whole."""

    ONLINE = "online"
    OFFLINE = "offline"  # its bus or bridge says that it is gone, or cannot be reached itself
    QUARANTINED = "quarantined"  # it does not answer: probed now and then, and no longer waited for
    UNKNOWN_DEVICE = "unknown_device"  # something that the site plan does not name, or not so
    FIRMWARE = "firmware"  # which firmware it runs, where that makes a difference: said for the first time, or anew
    SLOW = "slow"  # it takes more than its share of a busy line and is asked less often; or, `slow` false, no longer
    DOUBTED = "doubted"  # nobody can ask who it is, and it refuses most of what it had; or, `doubted` false, no longer


class ReadingSink(Protocol):
    """Where readings and events go. All return at once and never raise: the sink's queue is bounded, and counts."""

    def reading(self, reading: Reading) -> None:
        """Take a reading that is worth keeping: changed, or due for its heartbeat."""
        ...

    def together(self, readings: Sequence[Reading]) -> None:
        """Take what one message told, in order: as `reading` for each, and cheaper."""
        ...

    def device_event(self, device: DeviceId, event: DeviceEvent, detail: Detail) -> None:
        """Take an event of a device. An unknown device's id is made from its address on the bus."""
        ...


class BusSupervisor(Protocol):
    """One bus: its devices' readings up, their commands down."""

    @property
    def bus(self) -> BusId:
        """Which bus."""
        ...

    @property
    def counts(self) -> Mapping[str, int]:
        """What happened on the bus since the start, by word: requests, timeouts, late_answers, bad_<reason>, ..."""
        ...

    async def run(self) -> None:
        """Serve the bus until cancelled. A bus that is away is waited for; returns or raises only on a defect."""
        ...

    def can_write(self, device: DeviceId, capability: Capability, attribute: str) -> bool:
        """Say whether the device is on this bus and its descriptor lets the attribute be written."""
        ...

    async def write(self, command: Command) -> Outcome:
        """Carry out a command, at most once and never at or after its deadline; the outcome says what is known.

        Never raises for what a device or the bus does.
        """
        ...
