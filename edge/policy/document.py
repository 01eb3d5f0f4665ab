"""The room policy: comfort and set-back setpoints, how long silence means absence, when check-in opens.

Source of truth: docs/decisions/0020-room-policy-document.md. The document is data: the one shipped beside this module
(default_policy.json) is in force until a property's own is loaded. This module parses and compares; where
a document comes from, and where the version in force is kept, is edge/app's business.
"""

import datetime
from importlib import resources
from typing import Annotated, Final

import msgspec

from protocols.documents import explained_json
from protocols.errors import InvalidInputError, UnsupportedVersionError

SUPPORTED_VERSIONS: Final = (1,)
VERSION_MOST: Final = 2**53 - 1
DOCUMENT_BYTES_MAX: Final = 16 * 1024

# A wrong push must not freeze or cook a guest: no policy may leave this band (guarantees.md, "guest safety").
SETPOINT_LEAST_C: Final = 12.0
SETPOINT_MOST_C: Final = 28.0

Setpoint = Annotated[float, msgspec.Meta(ge=SETPOINT_LEAST_C, le=SETPOINT_MOST_C)]


class Climate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Heating setpoints in degrees Celsius, coldest first, and how early a room warms up for an arrival."""

    set_back_c: Setpoint
    away_c: Setpoint
    expected_c: Setpoint
    comfort_c: Setpoint
    warm_up_before: datetime.timedelta


class Light(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the entry scene does with a room's light."""

    welcome: bool


class Occupancy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How sure the edge must be that nobody is inside before it saves energy in a rented room."""

    vacant_confidence: Annotated[float, msgspec.Meta(ge=0.8, le=0.999)]


class CheckIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How long before the expected arrival a stay may be checked in (STY-02)."""

    opens_before: datetime.timedelta


class RoomPolicy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One version of the policy, whole."""

    v: int
    name: Annotated[str, msgspec.Meta(min_length=1, max_length=80)]
    version: Annotated[int, msgspec.Meta(ge=0, le=VERSION_MOST)]
    climate: Climate
    light: Light
    occupancy: Occupancy
    check_in: CheckIn


class _Versioned(msgspec.Struct, frozen=True):
    v: int


def parse(data: bytes, place: str) -> RoomPolicy:
    """Read one policy document.

    Args:
        data: JSON, at most 16 KiB.
        place: What to call the document in an error: a path, or a name and version.

    Raises:
        UnsupportedVersionError: `v` is not one we know.
        InvalidInputError: not JSON, an unknown or missing field, or a value outside its band.
    """
    if len(data) > DOCUMENT_BYTES_MAX:
        raise InvalidInputError(place, f"is {len(data)} bytes; at most {DOCUMENT_BYTES_MAX} are read")
    try:
        version = msgspec.json.decode(data, type=_Versioned).v
        if version not in SUPPORTED_VERSIONS:
            raise UnsupportedVersionError(f"{place}: room policy", version, SUPPORTED_VERSIONS)
        policy = msgspec.json.decode(data, type=RoomPolicy)
    except msgspec.ValidationError as error:
        raise InvalidInputError(place, explained_json(error, data)) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInputError(place, f"is no JSON that can be read: {error}") from error
    climate = policy.climate
    rising = (climate.set_back_c, climate.away_c, climate.expected_c, climate.comfort_c)
    if list(rising) != sorted(rising):
        raise InvalidInputError(
            f"{place}: climate",
            f"set_back_c <= away_c <= expected_c <= comfort_c must hold; got {', '.join(map(str, rising))}",
        )
    for key, span, most in (
        ("climate.warm_up_before", climate.warm_up_before, datetime.timedelta(hours=12)),
        ("check_in.opens_before", policy.check_in.opens_before, datetime.timedelta(hours=24)),
    ):
        if not datetime.timedelta() <= span <= most:
            raise InvalidInputError(f"{place}: {key}", f"must be between PT0S and {most}; got {span}")
    return policy


def default() -> RoomPolicy:
    """Return the policy shipped with this build, version 0: any loaded document is newer."""
    return parse(resources.files(__package__).joinpath("default_policy.json").read_bytes(), "default_policy.json")


def succeed(current: RoomPolicy, offered: RoomPolicy) -> RoomPolicy:
    """Return the policy in force after `offered` was presented.

    Raises:
        InvalidInputError: `offered` is older than `current`, or says something else under the same version.
    """
    if offered.version < current.version:
        raise InvalidInputError(
            f"room policy {offered.name!r}", f"version {offered.version} is older than {current.version}, in force"
        )
    if offered.version == current.version and offered != current:
        raise InvalidInputError(
            f"room policy {offered.name!r}",
            f"version {offered.version} is in force already and says something else; raise the version",
        )
    return offered


def encode(policy: RoomPolicy) -> bytes:
    """Return the document as `parse` reads it."""
    return msgspec.json.encode(policy)
