"""[json_devices]: which topics of the site broker carry plain JSON, whose it is, and what its keys mean.

Pure. A rule is all that an ordinary MQTT device needs: no descriptor, no site plan. What a payload then becomes is
`json_readings`'.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Final, Literal

import msgspec

from kit.settings import check_span
from protocols.device_model.capability import Attribute, Capability, attribute
from protocols.device_model.identity import DeviceId, RoomId, parse_device_id, parse_room_id
from protocols.errors import InvalidInputError

RULES_MAX: Final = 100
NAME_CHARACTERS_MAX: Final = 40
SESSION_MOST: Final = timedelta(seconds=2**32 - 1)  # MQTT 5.0, 3.1.2.11.2: four bytes of seconds
_NOT_IN_A_NAME: Final = re.compile(r"[^a-z0-9]+")
_PLACEHOLDERS: Final = ("{device}", "{room}", "{attribute}")


class KeySettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One key of the payload: the attribute it tells (protocols/device_model), times `scale` plus `offset`."""

    capability: str
    attribute: str
    scale: float = 1.0
    offset: float = 0.0


class RuleSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One kind of topic.

    `topic`: levels, one of them `{device}` unless `device` names it; `{room}` and `{attribute}` (for payloads that are
    one bare value) may stand likewise, `+` is any level, a last `#` any rest. Names are folded to lower case with `-`
    for what no name may hold. `keys`: what is known; `Outer.inner` reaches into nested objects. `other_keys`: what
    becomes of the rest: "generic" keeps each as a reading of the capability `generic`, "ignore" drops it.
    `time_key`, `time_unit`: the device's own clock, since 1970.
    """

    topic: Annotated[str, msgspec.Meta(min_length=1, max_length=400)]
    device: str | None = None
    room: str | None = None
    keys: dict[str, KeySettings] = {}
    other_keys: Literal["generic", "ignore"] = "generic"
    time_key: str | None = None
    time_unit: Literal["s", "ms"] = "ms"


class JsonDevicesSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[json_devices]: rules, first match wins, and their bounds.

    `session`: how long the site broker keeps for us what arrives while this edge is down. `rest`: how long the edge may
    gather messages at a moderate rate; it bounds the time to durable storage. `payload_bytes_max`: a longer message is
    refused unread. `silent_after`: a device that says nothing for so long is stale.
    """

    rules: Annotated[tuple[RuleSettings, ...], msgspec.Meta(min_length=1, max_length=RULES_MAX)]
    session: timedelta = timedelta(days=7)
    rest: timedelta = timedelta(milliseconds=14)
    payload_bytes_max: Annotated[int, msgspec.Meta(ge=64, le=1024 * 1024)] = 16 * 1024
    devices_max: Annotated[int, msgspec.Meta(ge=1, le=50_000)] = 10_000
    silent_after: timedelta = timedelta(minutes=15)

    def __post_init__(self) -> None:
        check_span("session", self.session, timedelta(0), SESSION_MOST)
        check_span("rest", self.rest, timedelta(0), timedelta(seconds=1))
        check_span("silent_after", self.silent_after, timedelta(seconds=1), timedelta(days=365))


@dataclass(frozen=True, slots=True)
class Mapped:
    """What a known key tells."""

    row: Attribute
    name: str
    scale: float
    offset: float


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule, checked. `levels`: literal text, or None for a level that is looked at or may be anything."""

    filter: str
    levels: tuple[str | None, ...]
    open_end: bool
    device_level: int | None
    room_level: int | None
    attribute_level: int | None
    device: DeviceId | None
    room: RoomId | None
    keys: dict[str, Mapped]
    generic: bool
    time_key: str | None
    time_ms: int


@dataclass(frozen=True, slots=True)
class Match:
    """Whose a topic is. `raw`: the device's level as it stands in the topic."""

    rule: Rule
    device: DeviceId
    raw: str
    room: RoomId | None
    attribute: str | None


class NoNameError(Exception):
    """A topic of a rule whose device, room or attribute level holds no name."""


def compile_rules(settings: JsonDevicesSettings, place: str = "json_devices") -> tuple[Rule, ...]:
    """Check the rules. Raises InvalidInputError: names the rule, the key and the value."""
    return tuple(_rule(each, f"{place}.rules[{n}]") for n, each in enumerate(settings.rules))


def filters(rules: Sequence[Rule]) -> list[str]:
    """Return what to subscribe, each once."""
    return list(dict.fromkeys(rule.filter for rule in rules))


def match(rules: Sequence[Rule], topic: str) -> Match | None:
    """Return whose `topic` is by the first rule that fits, None if none does. Raises NoNameError."""
    levels = topic.split("/")
    for rule in rules:
        if not _fits(rule, levels):
            continue
        raw = rule.device if rule.device_level is None else levels[rule.device_level]
        device = rule.device or DeviceId(fold(str(raw)))
        room = rule.room if rule.room_level is None else RoomId(fold(levels[rule.room_level]))
        name = None if rule.attribute_level is None else levels[rule.attribute_level]
        return Match(rule, device, str(raw), room, name)
    return None


def fold(text: str) -> str:
    """Return `text` as a name: lower case, `-` for every run of other characters, 40 at most. Raises NoNameError."""
    name = _NOT_IN_A_NAME.sub("-", text.lower()).strip("-")
    if not name or len(name) > NAME_CHARACTERS_MAX:
        raise NoNameError(f"{text[:60]!r} makes no name of 1 to {NAME_CHARACTERS_MAX} of a-z, 0-9 and '-'")
    return name


def _fits(rule: Rule, levels: list[str]) -> bool:
    wanted = rule.levels
    if len(levels) < len(wanted) or (len(levels) > len(wanted) and not rule.open_end):
        return False
    if levels[0].startswith("$") and wanted[0] is None:
        return False
    return all(each is None or each == level for each, level in zip(wanted, levels, strict=False))


def _rule(settings: RuleSettings, place: str) -> Rule:
    levels = settings.topic.split("/")
    open_end = levels[-1] == "#"
    if open_end:
        levels.pop()
    if not levels:
        raise InvalidInputError(f"{place}.topic", "'#' alone takes everything: name at least one level")
    found: dict[str, int] = {}
    shown: list[str | None] = []
    for n, level in enumerate(levels):
        if level in _PLACEHOLDERS:
            if level in found:
                raise InvalidInputError(f"{place}.topic", f"{level} stands twice in {settings.topic!r}")
            found[level] = n
            shown.append(None)
        elif level == "+":
            shown.append(None)
        elif any(character in level for character in "+#{}\x00"):
            raise InvalidInputError(
                f"{place}.topic", f"level {level!r} is none of literal text, +, a last #, {', '.join(_PLACEHOLDERS)}"
            )
        else:
            shown.append(level)
    if ("{device}" in found) == (settings.device is not None):
        raise InvalidInputError(f"{place}.topic", "the device is named either by a level {device} or by the key device")
    if "{room}" in found and settings.room is not None:
        raise InvalidInputError(f"{place}.room", "the topic has a level {room} already")
    if settings.time_key is not None and settings.time_key in settings.keys:
        raise InvalidInputError(f"{place}.keys.{settings.time_key}", "is the time_key")
    return Rule(
        filter="/".join("+" if each is None else each for each in shown) + ("/#" if open_end else ""),
        levels=tuple(shown),
        open_end=open_end,
        device_level=found.get("{device}"),
        room_level=found.get("{room}"),
        attribute_level=found.get("{attribute}"),
        device=None if settings.device is None else parse_device_id(settings.device, f"{place}.device"),
        room=None if settings.room is None else parse_room_id(settings.room, f"{place}.room"),
        keys={key: _mapped(each, f"{place}.keys.{key}") for key, each in settings.keys.items()},
        generic=settings.other_keys == "generic",
        time_key=settings.time_key,
        time_ms=1_000 if settings.time_unit == "s" else 1,
    )


def _mapped(settings: KeySettings, place: str) -> Mapped:
    try:
        capability = Capability(settings.capability)
    except ValueError as error:
        known = ", ".join(each.value for each in Capability)
        raise InvalidInputError(f"{place}.capability", f"{settings.capability!r} is none of {known}") from error
    for name in ("scale", "offset"):
        number: float = getattr(settings, name)
        if number - number != 0.0 or (name == "scale" and not number):
            raise InvalidInputError(f"{place}.{name}", f"{number} is no finite number to calculate with")
    return Mapped(attribute(capability, settings.attribute, place), settings.attribute, settings.scale, settings.offset)
