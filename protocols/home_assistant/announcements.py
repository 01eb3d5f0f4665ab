"""What a device announces about itself: one configuration message in, the thing and its entities out.

Source of truth: SPEC.md sections 1 and 2, after home-assistant.io, "MQTT discovery" (2025.4; what is newer, by the
source of 2026.11): one entity on `<prefix>/<component>/[<node>/]<object>/config`, or a whole device on
`<prefix>/device/<id>/config`. Pure, and trusts nothing: what is no announcement raises PeerProtocolError; of one that
is, each entity stands or falls by itself.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import msgspec

from protocols.device_model.probe import plain
from protocols.documents import key_twice, shown
from protocols.errors import PeerProtocolError

CONFIG_BYTES_MAX: Final = 128 * 1024
COMPONENTS_MAX: Final = 200
"""Entities of one message; of more the message is refused."""
IDENTIFIERS_MAX: Final = 16
NAME_CHARACTERS_MAX: Final = 120
WHOLE_DEVICE: Final = "device"
OUR_ORIGIN: Final = "innkeeper"
"""The origin that our own façade names (edge/northbound): what it announces is already a device of some house."""

_PART: Final = re.compile(r"[A-Za-z0-9_-]{1,200}")
_MAC: Final = re.compile(r"[0-9a-f]{2}(?:[:-]?[0-9a-f]{2}){5}")
_TOPIC_CHARACTERS_MAX: Final = 300

_SHORT: Final[Mapping[str, str]] = {
    "act_t": "action_topic", "act_tpl": "action_template",
    "aux_cmd_t": "aux_command_topic", "aux_stat_t": "aux_state_topic",
    "avty": "availability", "avty_mode": "availability_mode", "avty_t": "availability_topic",
    "avty_tpl": "availability_template", "pl_avail": "payload_available", "pl_not_avail": "payload_not_available",
    "bri_cmd_t": "brightness_command_topic", "bri_cmd_tpl": "brightness_command_template",
    "bri_scl": "brightness_scale", "bri_stat_t": "brightness_state_topic", "bri_val_tpl": "brightness_value_template",
    "clr_temp_cmd_t": "color_temp_command_topic", "clr_temp_cmd_tpl": "color_temp_command_template",
    "clr_temp_stat_t": "color_temp_state_topic", "clr_temp_val_tpl": "color_temp_value_template",
    "clr_temp_k": "color_temp_kelvin", "max_mirs": "max_mireds", "min_mirs": "min_mireds",
    "max_k": "max_kelvin", "min_k": "min_kelvin", "clrm": "color_mode", "clrm_stat_t": "color_mode_state_topic",
    "clrm_val_tpl": "color_mode_value_template",
    "hs_cmd_tpl": "hs_command_template", "xy_cmd_tpl": "xy_command_template", "rgb_cmd_tpl": "rgb_command_template",
    "rgbw_cmd_tpl": "rgbw_command_template", "rgbww_cmd_tpl": "rgbww_command_template",
    "hs_cmd_t": "hs_command_topic", "hs_stat_t": "hs_state_topic", "hs_val_tpl": "hs_value_template",
    "rgb_cmd_t": "rgb_command_topic", "rgb_stat_t": "rgb_state_topic", "rgb_val_tpl": "rgb_value_template",
    "rgbw_cmd_t": "rgbw_command_topic", "rgbw_stat_t": "rgbw_state_topic", "rgbw_val_tpl": "rgbw_value_template",
    "rgbww_cmd_t": "rgbww_command_topic", "rgbww_stat_t": "rgbww_state_topic",
    "rgbww_val_tpl": "rgbww_value_template", "xy_cmd_t": "xy_command_topic", "xy_stat_t": "xy_state_topic",
    "xy_val_tpl": "xy_value_template", "fx_cmd_t": "effect_command_topic", "fx_stat_t": "effect_state_topic",
    "fx_list": "effect_list", "whit_cmd_t": "white_command_topic", "whit_val_cmd_t": "white_value_command_topic",
    "whit_val_stat_t": "white_value_state_topic",
    "sup_clrm": "supported_color_modes",
    "cdevs": "child_devices",
    "cmd_t": "command_topic", "cmd_tpl": "command_template", "cmps": "components",
    "curr_hum_t": "current_humidity_topic", "curr_hum_tpl": "current_humidity_template",
    "curr_temp_t": "current_temperature_topic", "curr_temp_tpl": "current_temperature_template",
    "dir_cmd_t": "direction_command_topic", "dir_stat_t": "direction_state_topic",
    "hum_cmd_t": "target_humidity_command_topic", "hum_stat_t": "target_humidity_state_topic",
    "json_attr_t": "json_attributes_topic", "lrst_t": "last_reset_topic",
    "osc_cmd_t": "oscillation_command_topic", "osc_stat_t": "oscillation_state_topic",
    "pct_cmd_t": "percentage_command_topic", "pct_cmd_tpl": "percentage_command_template",
    "pct_stat_t": "percentage_state_topic", "pct_val_tpl": "percentage_value_template",
    "pl_rst_pct": "payload_reset_percentage", "pl_rst_pr_mode": "payload_reset_preset_mode",
    "pow_cmd_t": "power_command_topic", "pow_stat_t": "power_state_topic",
    "pr_mode_cmd_t": "preset_mode_command_topic", "pr_mode_cmd_tpl": "preset_mode_command_template",
    "pr_mode_stat_t": "preset_mode_state_topic", "pr_mode_val_tpl": "preset_mode_value_template",
    "pr_modes": "preset_modes", "spd_rng_max": "speed_range_max", "spd_rng_min": "speed_range_min",
    "swing_mode_cmd_t": "swing_mode_command_topic", "swing_mode_stat_t": "swing_mode_state_topic",
    "swing_h_mode_cmd_t": "swing_horizontal_mode_command_topic",
    "swing_h_mode_stat_t": "swing_horizontal_mode_state_topic",
    "tilt_clsd_val": "tilt_closed_value", "tilt_cmd_t": "tilt_command_topic", "tilt_cmd_tpl": "tilt_command_template",
    "tilt_inv_stat": "tilt_invert_state", "tilt_opnd_val": "tilt_opened_value", "tilt_status_t": "tilt_status_topic",
    "tilt_status_tpl": "tilt_status_template",
    "def_ent_id": "default_entity_id",
    "dev": "device", "dev_cla": "device_class", "e": "encoding", "en": "enabled_by_default",
    "ent_cat": "entity_category", "exp_aft": "expire_after",
    "fan_mode_cmd_t": "fan_mode_command_topic", "fan_mode_cmd_tpl": "fan_mode_command_template",
    "fan_mode_stat_t": "fan_mode_state_topic", "fan_mode_stat_tpl": "fan_mode_state_template",
    "max_temp": "max_temp", "min_temp": "min_temp", "temp_unit": "temperature_unit",
    "mode_cmd_t": "mode_command_topic", "mode_cmd_tpl": "mode_command_template",
    "mode_stat_t": "mode_state_topic", "mode_stat_tpl": "mode_state_template",
    "o": "origin", "on_cmd_type": "on_command_type",
    "obj_id": "object_id", "ops": "options", "opt": "optimistic", "p": "platform",
    "pl_on": "payload_on", "pl_off": "payload_off", "pl_open": "payload_open", "pl_cls": "payload_close",
    "pl_stop": "payload_stop", "pos_clsd": "position_closed", "pos_open": "position_open",
    "pos_t": "position_topic", "pos_tpl": "position_template",
    "set_pos_t": "set_position_topic", "set_pos_tpl": "set_position_template",
    "stat_cla": "state_class", "stat_on": "state_on", "stat_off": "state_off", "stat_open": "state_open",
    "stat_opening": "state_opening", "stat_closing": "state_closing", "stat_clsd": "state_closed",
    "stat_stopped": "state_stopped", "stat_t": "state_topic", "stat_tpl": "state_template",
    "stat_val_tpl": "state_value_template",
    "temp_cmd_t": "temperature_command_topic", "temp_cmd_tpl": "temperature_command_template",
    "temp_hi_cmd_t": "temperature_high_command_topic", "temp_hi_cmd_tpl": "temperature_high_command_template",
    "temp_hi_stat_t": "temperature_high_state_topic", "temp_hi_stat_tpl": "temperature_high_state_template",
    "temp_lo_cmd_t": "temperature_low_command_topic", "temp_lo_cmd_tpl": "temperature_low_command_template",
    "temp_lo_stat_t": "temperature_low_state_topic", "temp_lo_stat_tpl": "temperature_low_state_template",
    "temp_stat_t": "temperature_state_topic", "temp_stat_tpl": "temperature_state_template",
    "t": "topic", "uniq_id": "unique_id", "unit_of_meas": "unit_of_measurement", "val_tpl": "value_template",
}  # fmt: skip
"""The abbreviations of what is read here; whatever else is announced is of no use to us and stays as it is."""
_SHORT_OF_DEVICE: Final[Mapping[str, str]] = {
    "cns": "connections", "ids": "identifiers", "mf": "manufacturer", "mdl": "model", "sw": "sw_version",
    "hw": "hw_version", "sa": "suggested_area",
}  # fmt: skip
_MOVES: Final = ({"migrate_discovery": True}, {"migr_discvry": True})
"""What says that an entity moves to its whole device, or back."""
_SHORT_OF_ORIGIN: Final[Mapping[str, str]] = {"sw": "sw_version", "url": "support_url"}
_SHARED: Final[tuple[str, ...]] = (
    "availability", "availability_mode", "availability_template", "availability_topic", "payload_available",
    "payload_not_available", "state_topic", "command_topic", "encoding",
)  # fmt: skip
"""What a whole device may say once for all of its entities."""


@dataclass(frozen=True, slots=True)
class Where:
    """What a configuration topic names: `component` is `device` for a whole one."""

    component: str
    node: str | None
    object: str


@dataclass(frozen=True, slots=True)
class About:
    """What is said of the thing itself, cut and printable."""

    name: str | None = None
    vendor: str | None = None
    model: str | None = None
    firmware: str | None = None
    area: str | None = None


@dataclass(frozen=True, slots=True)
class Entity:
    """One entity: `key` is its unique id, or what stands for one; `options` has full names and whole topics."""

    key: str
    component: str
    name: str
    topic: str
    options: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Announcement:
    """One message. `marks` identify the thing: who shares one is the same thing. `macs` are among them."""

    topic: str
    origin: str | None
    about: About
    marks: frozenset[str]
    macs: tuple[str, ...]
    entities: tuple[Entity, ...]

    @property
    def ours(self) -> bool:
        """Whether a façade of this product says it."""
        return (self.origin or "").lower() == OUR_ORIGIN


def filters(prefix: str) -> list[str]:
    """Return what to subscribe to hear every announcement."""
    return [f"{prefix}/+/+/config", f"{prefix}/+/+/+/config"]


def where(prefix: str, topic: str) -> Where | None:
    """Return what a topic announces, None if it announces nothing."""
    if not topic.startswith(f"{prefix}/") or not topic.endswith("/config"):
        return None
    parts = topic[len(prefix) + 1 : -len("/config")].split("/")
    if not all(map(_PART.fullmatch, parts)):
        return None
    match parts:
        case [component, thing]:
            return Where(component, None, thing)
        case [component, node, thing]:
            return Where(component, node, thing)
        case _:
            return None


def parse(found: Where, topic: str, payload: bytes) -> Announcement | None:
    """Return what a configuration message announces; None: it takes back what was announced there.

    Args:
        found: What the topic names.
        topic: The topic.
        payload: What it holds; nothing, or the word that an entity moves to its whole device, takes it back.

    Raises:
        PeerProtocolError: it is no announcement: no JSON object, too long, a key twice, too many entities.
    """
    if not payload:
        return None
    document = _document(payload)
    if document in _MOVES:
        return None
    options = _spelled(document)
    about, marks, macs = _about(options.get("device"))
    origin = options.get("origin")
    told = _text(_spelled(origin, _SHORT_OF_ORIGIN).get("name")) if isinstance(origin, dict) else None
    if found.component == WHOLE_DEVICE:
        entities = _components(options, found, topic)
    else:
        entities = [_entity(found.component, options, found, topic, topic)]
    return Announcement(
        topic=topic,
        origin=told,
        about=about,
        marks=frozenset(marks) or frozenset({f"topic:{found.node or found.object}"}),
        macs=tuple(macs),
        entities=tuple(entities),
    )


def _document(payload: bytes) -> dict[str, Any]:
    if len(payload) > CONFIG_BYTES_MAX:
        raise PeerProtocolError(f"an announcement of {len(payload)} bytes, at most {CONFIG_BYTES_MAX} are read")
    try:
        document = msgspec.json.decode(payload)
        twice = key_twice(payload, document)
    except (ValueError, RecursionError) as error:  # msgspec.DecodeError and UnicodeDecodeError are ValueErrors
        raise PeerProtocolError(f"an announcement that is no JSON: {error}") from error
    if not isinstance(document, dict):
        raise PeerProtocolError(f"an announcement that is no JSON object: {shown(payload[:60])}")
    if twice is not None:
        raise PeerProtocolError(f"an announcement with the key {shown(twice)} twice in one object")
    return document


def _spelled(document: Mapping[str, Any], short: Mapping[str, str] = _SHORT) -> dict[str, Any]:
    """Return it with full names; where both spellings are given, the full one counts."""
    found = {short[key]: value for key, value in document.items() if key in short}
    return {**found, **{key: value for key, value in document.items() if key not in short or short[key] == key}}


def _about(device: object) -> tuple[About, list[str], list[str]]:
    if not isinstance(device, dict):
        return About(), [], []
    told = _spelled(device, _SHORT_OF_DEVICE)
    given = told.get("identifiers")
    identifiers = given if isinstance(given, list) else [given]
    spelt = [str(each) for each in identifiers if isinstance(each, str | int) and not isinstance(each, bool)]
    marks = [f"id:{each[:NAME_CHARACTERS_MAX]}" for each in spelt if each]
    macs: list[str] = []
    connections = told.get("connections")
    for each in connections if isinstance(connections, list) else ():
        match each:
            case ["mac", str(text)] if _MAC.fullmatch(text.lower()) is not None:
                digits = "".join(c for c in text.lower() if c.isalnum())
                macs.append(":".join(digits[at : at + 2] for at in range(0, 12, 2)))
    marks += [f"mac:{each}" for each in macs]
    names = ("name", "manufacturer", "model", "sw_version", "suggested_area")
    return About(*(_text(told.get(each)) for each in names)), marks[:IDENTIFIERS_MAX], macs[:IDENTIFIERS_MAX]


def _components(options: dict[str, Any], found: Where, topic: str) -> list[Entity]:
    parts = _parts(options)
    count = sum(len(components) for _, components in parts)
    if count > COMPONENTS_MAX:
        raise PeerProtocolError(f"a device of {count} entities, at most {COMPONENTS_MAX} are read")
    shared = {key: options[key] for key in _SHARED if key in options}
    entities: list[Entity] = []
    seen: set[str] = set()
    for part, components in parts:
        for name, each in components.items():
            if name in seen:
                raise PeerProtocolError(f"the component {shown(name)} is of two parts of the device")
            seen.add(name)
            if not isinstance(each, dict):
                raise PeerProtocolError(f"the component {shown(name)} is no JSON object")
            own = _spelled(each)
            component = own.pop("platform", None)
            if not isinstance(component, str) or not _PART.fullmatch(component):
                raise PeerProtocolError(f"the component {shown(name)} does not say what it is")
            if own:  # nothing but what it is takes it back
                entity = _entity(component, {**shared, **own}, found, topic, f"{topic}#{name}")
                entities.append(entity if part is None else _called(f"{part} {entity.name}", entity))
    return entities


def _parts(options: dict[str, Any]) -> list[tuple[str | None, dict[str, Any]]]:
    """Return the components of a device itself, then those of its parts, each by the part's name."""
    own, children = options.get("components"), options.get("child_devices")
    parts: list[tuple[str | None, dict[str, Any]]] = [(None, own)] if isinstance(own, dict) else []
    for each in children if isinstance(children, list) else ():
        told = _spelled(each) if isinstance(each, dict) else {}
        components = told.get("components")
        if not isinstance(components, dict):
            raise PeerProtocolError("a part of a device without components")
        parts.append((_text(told.get("name")), components))
    if not parts:
        raise PeerProtocolError("a whole device without components")
    return parts


def _called(name: str, entity: Entity) -> Entity:
    return replace(entity, name=name[:NAME_CHARACTERS_MAX])


def _entity(component: str, options: dict[str, Any], found: Where, topic: str, place: str) -> Entity:
    unique = options.get("unique_id")
    key = f"{component}:{unique[:NAME_CHARACTERS_MAX]}" if isinstance(unique, str) and unique else f"at:{place}"
    by_id = options.get("default_entity_id")  # instead of `object_id` by 2026.11
    by_id = by_id.rpartition(".")[2] if isinstance(by_id, str) else options.get("object_id")
    given = options.get("name"), by_id, place.partition("#")[2], found.object
    name = next((text for each in given if (text := _text(each))), found.object)
    whole = _with_base(options)
    whole.pop("device", None)
    return Entity(key, component, name, topic, whole)


def _with_base(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options with `~` replaced at the beginning or the end of every topic."""
    whole = dict(options)
    base = whole.pop("~", None)
    listed = whole.get("availability")
    if isinstance(listed, dict):
        listed = [listed]
    if isinstance(listed, list):
        whole["availability"] = [_spelled(each) for each in listed[:IDENTIFIERS_MAX] if isinstance(each, dict)]
    if not isinstance(base, str) or len(base) > _TOPIC_CHARACTERS_MAX:
        return whole
    for place in (whole, *(whole.get("availability") or ())):
        for key, value in place.items():
            if key.endswith("topic") and isinstance(value, str) and value:
                place[key] = _based(base, value)
    return whole


def _based(base: str, topic: str) -> str:
    if topic.startswith("~"):
        topic = base + topic[1:]
    if topic.endswith("~"):
        topic = topic[:-1] + base
    return topic


def _text(value: object) -> str | None:
    """Return a stranger's text, cut and printable; None if it is none."""
    return plain(value)[:NAME_CHARACTERS_MAX] or None if isinstance(value, str) else None
