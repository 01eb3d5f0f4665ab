"""Names of things: one grammar, one type a kind of thing.

Source of truth: SPEC.md section 1. A name is never derived from a guest, and never parsed for meaning.
"""

import re
from enum import StrEnum
from typing import Final, NewType

from protocols.documents import shown
from protocols.errors import InvalidInputError

PropertyId = NewType("PropertyId", str)
EdgeId = NewType("EdgeId", str)
RoomId = NewType("RoomId", str)
DeviceId = NewType("DeviceId", str)
DoorId = NewType("DoorId", str)
StayId = NewType("StayId", str)
BusId = NewType("BusId", str)
LockId = NewType("LockId", str)
"""Eight bytes as 16 lower-case hexadecimal digits."""
DescriptorId = NewType("DescriptorId", str)
"""`<family>/<model>`."""

NAME_CHARACTERS_MAX: Final = 40
ACTOR_CHARACTERS_MAX: Final = 80
HOST: Final = (
    r"^(?=.{1,253}\Z)([A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?)*"
    r"|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*(%[A-Za-z0-9_.-]+)?)\Z"
)
"""A host name or address that a resolver takes without raising: labels of 1 to 63 between dots, or an IPv6 address."""
NAME: Final = r"[a-z0-9][a-z0-9-]{0,39}"
_NAME: Final = re.compile(NAME)
_LOCK: Final = re.compile(r"[0-9a-f]{16}")
_DESCRIPTOR: Final = re.compile(r"[a-z0-9][a-z0-9_]{0,39}/[a-z0-9][a-z0-9_.-]{0,39}")


class ActorKind(StrEnum):
    """What kind of thing somebody is who takes a guest in, moves him or lets him go; his name says nothing of it."""

    CLOUD = "cloud"
    """By a command of the cloud's, whoever asked there."""
    KIOSK = "kiosk"
    DESK = "desk"
    """A person at the building, by the name that was given."""
    PMS = "pms"
    NEXT_GUEST = "next_guest"
    """Who came into the room of somebody overdue."""


def parse_name(text: object, place: str) -> str:
    """Return `text` if it is a name: `[a-z0-9][a-z0-9-]{0,39}`.

    Args:
        text: what was read.
        place: where, for the error.

    Raises:
        InvalidInputError: it is no text or does not fit the grammar.
    """
    if not isinstance(text, str) or _NAME.fullmatch(text) is None:
        raise InvalidInputError(place, f"{shown(text)} is no name: 1 to 40 of a-z, 0-9 and '-', not starting with '-'")
    return text


def parse_actor(text: object, place: str = "by") -> str:
    """Return who asked, as a record and a page show it: 1 to 80 printable characters. Raises InvalidInputError."""
    if not isinstance(text, str) or not 0 < len(text) <= ACTOR_CHARACTERS_MAX or not text.isprintable():
        raise InvalidInputError(place, f"{shown(text)} is not 1 to {ACTOR_CHARACTERS_MAX} printable characters")
    return text


def parse_property_id(text: object, place: str = "property id") -> PropertyId:
    """Return a property's name. Raises InvalidInputError."""
    return PropertyId(parse_name(text, place))


def parse_edge_id(text: object, place: str = "edge id") -> EdgeId:
    """Return an edge's name. Raises InvalidInputError."""
    return EdgeId(parse_name(text, place))


def parse_room_id(text: object, place: str = "room id") -> RoomId:
    """Return a room's name. Raises InvalidInputError."""
    return RoomId(parse_name(text, place))


def parse_device_id(text: object, place: str = "device id") -> DeviceId:
    """Return a device's name. Raises InvalidInputError."""
    return DeviceId(parse_name(text, place))


def parse_door_id(text: object, place: str = "door id") -> DoorId:
    """Return a door's name. Raises InvalidInputError."""
    return DoorId(parse_name(text, place))


def parse_stay_id(text: object, place: str = "stay id") -> StayId:
    """Return a stay's name. Raises InvalidInputError."""
    return StayId(parse_name(text, place))


def parse_bus_id(text: object, place: str = "bus id") -> BusId:
    """Return a bus's name. Raises InvalidInputError."""
    return BusId(parse_name(text, place))


def parse_lock_id(text: object, place: str = "lock id") -> LockId:
    """Return a lock's id, 16 lower-case hexadecimal digits. Raises InvalidInputError."""
    if not isinstance(text, str) or _LOCK.fullmatch(text) is None:
        raise InvalidInputError(place, f"{shown(text)} is no lock id: 16 of 0-9 and a-f")
    return LockId(text)


def parse_descriptor_id(text: object, place: str = "descriptor") -> DescriptorId:
    """Return a descriptor's id, `<family>/<model>`. Raises InvalidInputError."""
    if not isinstance(text, str) or _DESCRIPTOR.fullmatch(text) is None:
        raise InvalidInputError(place, f"{shown(text)} is no descriptor id: <family>/<model>")
    return DescriptorId(text)
