"""A command: what one attribute of one device shall become, until when, and what came of it.

Source of truth: SPEC.md section 4; guarantee G13: at most once, never after the deadline, and the result is what
was read back, or `unknown`, never an invention.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from protocols.device_model.capability import Capability, Value
from protocols.device_model.identity import DeviceId


class Phase(StrEnum):
    """How far a command has come."""

    ACCEPTED = "accepted"
    EXECUTING = "executing"
    DONE = "done"  # read back from the device, or acknowledged by it
    FAILED = "failed"  # it certainly has no effect
    UNKNOWN = "unknown"  # it was sent and may have taken effect
    EXPIRED = "expired"  # its deadline passed before it was sent: it certainly has no effect


FINAL_PHASES: Final = frozenset({Phase.DONE, Phase.FAILED, Phase.UNKNOWN, Phase.EXPIRED})
MOVES: Final[Mapping[Phase, frozenset[Phase]]] = {
    Phase.ACCEPTED: frozenset({Phase.EXECUTING, Phase.FAILED, Phase.EXPIRED, Phase.UNKNOWN}),
    Phase.EXECUTING: frozenset({Phase.DONE, Phase.FAILED, Phase.UNKNOWN, Phase.EXPIRED}),
    Phase.DONE: frozenset(),
    Phase.FAILED: frozenset(),
    Phase.UNKNOWN: frozenset(),
    Phase.EXPIRED: frozenset(),
}
"""Every legal move, SPEC.md section 4."""


@dataclass(frozen=True, slots=True)
class Command:
    """One write. `deadline_ms` is wall time (Unix ms, UTC): it is never sent to the device at or after it.

    `urgent`: somebody's life may hang on it: no write interval of the device holds it back.
    """

    id: str
    device: DeviceId
    capability: Capability
    attribute: str
    value: Value
    deadline_ms: int
    idempotency_key: str
    urgent: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a command. `read_back` is what the device said afterwards, None if it said nothing."""

    phase: Phase
    read_back: Value | None = None
    reason: str | None = None

    def to_body(self) -> dict[str, Any]:
        """Return a flat map of JSON- and CBOR-safe values."""
        return {"phase": self.phase.value, "read_back": self.read_back, "reason": self.reason}
