"""The room policy: comfort and set-back setpoints, how long silence means absence, when check-in opens.

Source of truth: protocols/device_model/SPEC.md section 6; why: docs/decisions/0020-room-policy-document.md. The
document is data: default_policy.json beside this module is in force until a property's own is loaded. This module
parses and compares; where a document comes from, and where the version in force is kept, is edge/app's business.
"""

import datetime
from importlib import resources
from typing import Annotated, Any, Final

import msgspec

from edge.policy.local_hours import Hours
from edge.policy.rules import RULES_MOST, Act, Condition, Rule, check_acts
from protocols.documents import check_keys_once, explained_json
from protocols.errors import InvalidInputError, UnsupportedVersionError
from protocols.policy import room
from protocols.policy.envelope import body_bytes
from protocols.policy.room import SETPOINT_LEAST_C, SETPOINT_MOST_C

SUPPORTED_VERSIONS: Final = (1, 2)
VERSION_MOST: Final = 2**53 - 1
DOCUMENT_BYTES_MAX: Final = 64 * 1024
HOUR: Final = datetime.timedelta(hours=1)

SCENE_ACTS_MOST: Final = 16
# A wrong push must not freeze or cook a guest: no policy may leave the band (guarantees.md, "guest safety").
Setpoint = Annotated[float, msgspec.Meta(ge=SETPOINT_LEAST_C, le=SETPOINT_MOST_C)]


class Climate(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Heating setpoints in degrees Celsius, coldest first, and how early a room warms up for an arrival.

    `warm_up_before` holds for a room that has not shown yet how fast it warms up.
    """

    set_back_c: Setpoint
    away_c: Setpoint
    expected_c: Setpoint
    comfort_c: Setpoint
    warm_up_before: datetime.timedelta
    recover_within: datetime.timedelta = HOUR / 2
    window_open_after: datetime.timedelta = HOUR / 30


class Light(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the entry scene does with a room's light."""

    welcome: bool


class Occupancy(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """How sure the edge must be that nobody is inside before it saves energy in a rented room; when guests sleep."""

    vacant_confidence: Annotated[float, msgspec.Meta(ge=0.8, le=0.999)]
    sleep: Hours = Hours(from_="22:00", until="09:00")


class CheckIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How long before the expected arrival a stay may be checked in (STY-02)."""

    opens_before: datetime.timedelta


class Scenes(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a room does besides light and warmth as its guest comes in, asks for the night, and is out."""

    entry: tuple[Act, ...] = ()
    sleep: tuple[Act, ...] = ()
    leave: tuple[Act, ...] = ()


class RoomPolicy(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One version of the policy, whole."""

    v: int
    name: Annotated[str, msgspec.Meta(min_length=1, max_length=80)]
    version: Annotated[int, msgspec.Meta(ge=0, le=VERSION_MOST)]
    climate: Climate
    light: Light
    occupancy: Occupancy
    check_in: CheckIn
    scenes: Scenes = Scenes()
    rules: Annotated[tuple[Rule, ...], msgspec.Meta(max_length=RULES_MOST)] = ()


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
    check_keys_once(data, place)
    climate = policy.climate
    rising = (climate.set_back_c, climate.away_c, climate.expected_c, climate.comfort_c)
    if list(rising) != sorted(rising):
        raise InvalidInputError(
            f"{place}: climate",
            f"set_back_c <= away_c <= expected_c <= comfort_c must hold; got {', '.join(map(str, rising))}",
        )
    for key, span, most in (
        ("climate.warm_up_before", climate.warm_up_before, 12 * HOUR),
        ("climate.recover_within", climate.recover_within, 12 * HOUR),
        ("climate.window_open_after", climate.window_open_after, HOUR),
        ("check_in.opens_before", policy.check_in.opens_before, 24 * HOUR),
    ):
        if not datetime.timedelta() <= span <= most:
            raise InvalidInputError(f"{place}: {key}", f"must be between PT0S and {most}; got {span}")
    if policy.v == 1 and (later := _of_version_2(data)) is not None:
        raise InvalidInputError(f"{place}: {later}", "is of version 2 of the room policy; this document says v = 1")
    _check_rules(policy, place)
    return policy


def _of_version_2(data: bytes) -> str | None:
    found: dict[str, Any] = msgspec.json.decode(data)
    for section, keys in (("climate", ("recover_within", "window_open_after")), ("occupancy", ("sleep",))):
        for key in keys:
            if key in found[section]:
                return f"{section}.{key}"
    return next((key for key in ("scenes", "rules") if key in found), None)


def _check_rules(policy: RoomPolicy, place: str) -> None:
    """Refuse a scene or a rule that cannot be obeyed whole. Raises InvalidInputError naming it."""
    scenes = policy.scenes
    for name, acts in (("entry", scenes.entry), ("sleep", scenes.sleep), ("leave", scenes.leave)):
        if len(acts) > SCENE_ACTS_MOST:
            raise InvalidInputError(f"{place}: scenes.{name}", f"{len(acts)} acts, at most {SCENE_ACTS_MOST} are taken")
        check_acts(acts, f"{place}: scenes.{name}", least_c=SETPOINT_LEAST_C, most_c=SETPOINT_MOST_C)
    names: set[str] = set()
    for index, rule in enumerate(policy.rules):
        spot = f"{place}: rules[{index}] {rule.name!r}"
        if rule.name in names:
            raise InvalidInputError(spot, "another rule has that name")
        names.add(rule.name)
        check_acts(rule.then, f"{spot}: then", least_c=SETPOINT_LEAST_C, most_c=SETPOINT_MOST_C)
        Condition(rule.when, f"{spot}: when")


def signed_body(body: str) -> RoomPolicy | None:
    """Read the body of a signed policy of kind `room`; None: the signed one is taken back. Raises as `parse`."""
    return None if body == room.NONE else parse(body_bytes(body), "signed room policy")


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
