"""What a lock's sensors say, and how a byte says it: the bolt and the battery.

Source of truth: SPEC.md section 4 (answer) and 8.1. A lock tells what it has sensed and nothing else: a bolt without a
sensor is unknown, a battery that was not measured has no percentage.
"""

from enum import IntEnum
from typing import Final

from protocols.errors import PeerProtocolError

BATTERY_MOST: Final = 100
BATTERY_PLAN_PERCENT: Final = 30
"""At most so much left: new cells are to be planned; at most LOW, changed now; at most EMPTY, nobody new goes there."""
BATTERY_LOW_PERCENT: Final = 15
BATTERY_EMPTY_PERCENT: Final = 5
NOT_MEASURED: Final = 255
"""The byte of a battery that nobody has measured."""


class Bolt(IntEnum):
    """Where the bolt is, by its own sensor; the byte on the wire."""

    UNKNOWN = 0
    """No sensor, it contradicts itself, or the bolt moves."""
    LOCKED = 1
    """Thrown to its end: the door cannot be pushed open."""
    UNLOCKED = 2
    """Drawn to its end."""
    NOT_FULLY_LOCKED = 3
    """Between its ends for longer than the motor takes: jammed, or held."""


_BOLTS: Final = {int(each): each for each in Bolt}


def battery_byte(percent: int | None) -> int:
    """Return the byte that says `percent`, 0..100, or that it was not measured."""
    return NOT_MEASURED if percent is None else percent


def battery_of(byte: int, place: str) -> int | None:
    """Return the percentage, None for not measured.

    Raises:
        PeerProtocolError: 101..254, naming `place`.
    """
    if byte == NOT_MEASURED:
        return None
    if byte > BATTERY_MOST:
        raise PeerProtocolError(f"{place} with battery {byte} %")
    return byte


def bolt_of(byte: int, place: str) -> Bolt:
    """Return the bolt's state.

    Raises:
        PeerProtocolError: unknown, naming `place`.
    """
    bolt = _BOLTS.get(byte)
    if bolt is None:
        raise PeerProtocolError(f"{place} with bolt state {byte}")
    return bolt
