"""A guest as he is kept: what his PMS says of him, what he likes, and the id that both go by."""

import hashlib
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

import msgspec


class Facts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the PMS says of a guest. None: it has not told his name yet."""

    name: str | None


class RoomPreferences(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a guest likes of a room, as he told the desk. Words of ours alone: a free text would take what he did not
    mean to have kept.
    """

    floor: Literal["high", "low"] | None = None
    bed: Literal["double", "twin", "single"] | None = None
    smoking: bool | None = None
    view: Literal["street", "courtyard", "garden", "city", "mountain", "water"] | None = None
    lift: Literal["near", "far"] | None = None
    step_free: bool | None = None
    """Without steps on the way and in the bath."""


@dataclass(frozen=True, slots=True)
class SaidGuest:
    """What one reservation, as it was read, says of whose it is."""

    reservation: str
    """Its id in the PMS."""
    guest: str
    """The guest's id in the PMS."""
    name: str | None = field(repr=False)
    until_ms: int


@dataclass(frozen=True, slots=True)
class Profile:
    """A guest as others may read him."""

    property: str
    id: str
    system: str
    external_id: str
    name: str | None = field(repr=False)
    preferences: RoomPreferences = field(repr=False)
    first_seen_at: datetime


def profile_id(property_id: str, system: str, external_id: str) -> str:
    """Return the id that a guest of a PMS has at a property: the same one however often he is read."""
    digest = hashlib.sha256("\x00".join((property_id, system, external_id)).encode()).hexdigest()
    return f"g-{digest[:20]}"


def facts_place(property_id: str, guest: str) -> str:
    """Return what a guest's sealed facts are for."""
    return f"guests.profile/{property_id}/{guest}/facts"


def preferences_place(property_id: str, guest: str) -> str:
    """Return what a guest's sealed preferences are for."""
    return f"guests.profile/{property_id}/{guest}/preferences"


def key_place(property_id: str, guest: str) -> str:
    """Return what a guest's own key is for."""
    return f"guests.profile/{property_id}/{guest}"
