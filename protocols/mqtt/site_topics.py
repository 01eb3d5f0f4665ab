"""The house's topics on the site broker: `h/<property>/<room>/<device>/<capability>/<leaf>`.

Source of truth: SPEC.md section 1. State is retained, events and acknowledgements are not.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from protocols.device_model.capability import Capability
from protocols.device_model.identity import (
    DeviceId,
    PropertyId,
    RoomId,
    parse_device_id,
    parse_property_id,
    parse_room_id,
)
from protocols.errors import InvalidInputError, PeerProtocolError

ROOT: Final = "h"
LEVELS: Final = 6


class Leaf(StrEnum):
    """What a topic carries."""

    STATE = "state"
    COMMAND = "cmd"
    ACK = "ack"
    EVENT = "event"

    @property
    def retained(self) -> bool:
        """Whether the broker keeps the last one for late comers."""
        return self is Leaf.STATE


@dataclass(frozen=True, slots=True)
class SiteTopic:
    """One topic of the site."""

    property: PropertyId
    room: RoomId
    device: DeviceId
    capability: Capability
    leaf: Leaf

    def __str__(self) -> str:
        return "/".join((ROOT, self.property, self.room, self.device, self.capability.value, self.leaf.value))


def parse(topic: str) -> SiteTopic:
    """Return the site topic that `topic` spells.

    Raises:
        PeerProtocolError: it spells none.
    """
    levels = topic.split("/")
    if len(levels) != LEVELS or levels[0] != ROOT:
        raise PeerProtocolError(f"{topic[:120]!r} is not h/<property>/<room>/<device>/<capability>/<leaf>")
    try:
        return SiteTopic(
            parse_property_id(levels[1], "property"),
            parse_room_id(levels[2], "room"),
            parse_device_id(levels[3], "device"),
            Capability(levels[4]),
            Leaf(levels[5]),
        )
    except (InvalidInputError, ValueError) as error:
        raise PeerProtocolError(f"{topic[:120]!r}: {error}") from error


def everything_of(property_: PropertyId) -> str:
    """Return the filter that covers a property."""
    return f"{ROOT}/{property_}/#"
