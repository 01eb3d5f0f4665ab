"""An entry of Zigbee2MQTT's `bridge/devices` (its definition with `exposes`) -> a descriptor.

Source of truth: zigbee2mqtt.io, "Exposes": types binary, numeric, enum, text and the specific ones (light, switch,
cover, climate, fan, lock); access is a bit mask 1 published, 2 set, 4 get. What has no word in the device model is left
out. A lamp with colour and white says in `color_mode` which it shows, and exposes no such thing.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from protocols.device_model.capability import HUE_AND_SATURATION, WARMTH, X_AND_Y, Kind, Unit, attribute
from protocols.errors import InvalidInputError
from provisioning.descriptors.imported import (
    SETPOINT_LEAST,
    SETPOINT_MOST,
    SETPOINT_PACE,
    Capability,
    Imported,
    affine,
    descriptor_id,
    endpoint,
)

PUBLISHED, SET, GET = 1, 2, 4
C: Final = Capability
PROPERTIES: Final[Mapping[str, tuple[Capability, str]]] = {
    "temperature": (C.TEMPERATURE_MEASUREMENT, "measured_value"),
    "humidity": (C.RELATIVE_HUMIDITY_MEASUREMENT, "measured_value"),
    "device_temperature": (C.TEMPERATURE_MEASUREMENT, "measured_value:device"),
    "pressure": (C.PRESSURE_MEASUREMENT, "measured_value"),
    "illuminance": (C.ILLUMINANCE_MEASUREMENT, "measured_value"),
    "illuminance_lux": (C.ILLUMINANCE_MEASUREMENT, "measured_value"),
    "co2": (C.CARBON_DIOXIDE_CONCENTRATION_MEASUREMENT, "measured_value"),
    "pm25": (C.PM2_5_CONCENTRATION_MEASUREMENT, "measured_value"), "occupancy": (C.OCCUPANCY_SENSING, "occupancy"),
    "presence": (C.OCCUPANCY_SENSING, "occupancy"), "contact": (C.BOOLEAN_STATE, "state_value"),
    "water_leak": (C.BOOLEAN_STATE, "state_value:leak"), "smoke": (C.SMOKE_CO_ALARM, "smoke_state"),
    "tamper": (C.BOOLEAN_STATE, "state_value:tamper"), "vibration": (C.BOOLEAN_STATE, "state_value:vibration"),
    "battery": (C.POWER_SOURCE, "bat_percent_remaining"), "voltage": (C.POWER_SOURCE, "bat_voltage"),
    "battery_low": (C.POWER_SOURCE, "bat_charge_level"), "linkquality": (C.NETWORK_DIAGNOSTICS, "link_quality"),
    "power": (C.ELECTRICAL_MEASUREMENT, "active_power"), "current": (C.ELECTRICAL_MEASUREMENT, "rms_current"),
    "energy": (C.ELECTRICAL_MEASUREMENT, "cumulative_energy_imported"),
    "produced_energy": (C.ELECTRICAL_MEASUREMENT, "cumulative_energy_exported"),
    "ac_frequency": (C.ELECTRICAL_MEASUREMENT, "frequency"), "state": (C.ON_OFF, "on_off"),
    "brightness": (C.LEVEL_CONTROL, "current_level"), "color_temp": (C.COLOR_CONTROL, "color_temperature_mireds"),
    "color.hue": (C.COLOR_CONTROL, "current_hue"), "color.saturation": (C.COLOR_CONTROL, "current_saturation"),
    "color_mode": (C.COLOR_CONTROL, "color_mode"),
    "color.x": (C.COLOR_CONTROL, "current_x"), "color.y": (C.COLOR_CONTROL, "current_y"),
    "position": (C.WINDOW_COVERING, "current_position_lift_percentage"),
    "local_temperature": (C.THERMOSTAT, "local_temperature"),
    "occupied_heating_setpoint": (C.THERMOSTAT, "occupied_heating_setpoint"),
    "current_heating_setpoint": (C.THERMOSTAT, "occupied_heating_setpoint"),
    "unoccupied_heating_setpoint": (C.THERMOSTAT, "unoccupied_heating_setpoint"),
    "occupied_cooling_setpoint": (C.THERMOSTAT, "occupied_cooling_setpoint"),
    "pi_heating_demand": (C.THERMOSTAT, "pi_heating_demand"), "system_mode": (C.THERMOSTAT, "system_mode"),
    "running_state": (C.THERMOSTAT, "thermostat_running_mode"), "fan_mode": (C.FAN_CONTROL, "fan_mode"),
}  # fmt: skip
MODES: Final = {"hs": HUE_AND_SATURATION, "xy": X_AND_Y, "color_temp": WARMTH}
WORDS: Final = {"idle": "off", **MODES}
"""What Zigbee2MQTT calls otherwise than the device model."""
COLOURS: Final[Mapping[str, Mapping[str, tuple[float, float]]]] = {
    "color_hs": {"hue": (360, 1), "saturation": (100, 1)}, "color_xy": {"x": (1, 0.0001), "y": (1, 0.0001)},
}  # fmt: skip
"""Forms of a colour, the first one preferred: most and step of its halves, alike for every lamp and not said."""
COVER_ANSWER_MS: Final = 30_000
"""A curtain says where it is once it is there."""
TWO_WORDS: Final = {"bat_charge_level": ("critical", "ok"), "smoke_state": ("critical", "normal")}
"""Choices of the device model of which a binary tells two: what on means, and off."""
SPECIFIC: Final = frozenset({"light", "switch", "cover", "climate", "fan"})
"""A room's setpoint is never imported wider than this, whatever the thing takes."""


def import_exposes(entry: Mapping[str, Any]) -> Imported:
    """Return the descriptor of a device in `bridge/devices`, or of its `definition` alone.

    Raises:
        InvalidInputError: it is neither, or exposes nothing that the device model has a word for.
    """
    definition = entry.get("definition", entry)
    exposes = definition.get("exposes") if isinstance(definition, dict) else None
    if (
        not isinstance(definition, dict)
        or not isinstance(exposes, list)
        or not isinstance(definition.get("model"), str)
    ):
        raise InvalidInputError("exposes", "no `definition` with `model` and a list `exposes`: not of bridge/devices")
    vendor, model = str(definition.get("vendor") or "unknown"), definition["model"]
    mains = "mains" in str(entry.get("power_source", "")).lower()
    found = Imported(
        {
            "identity": {
                "id": descriptor_id("zigbee2mqtt", f"{vendor}_{model}"),
                "vendor": vendor,
                "model": model,
                "title": str(definition.get("description") or model)[:200],
                "source": f"Zigbee2MQTT, exposes of {model}",
            },
            "quality": {"level": "public", "proven": "imported from the exposes; not measured", "on": "nothing yet"},
            "wire": {"kind": "zigbee2mqtt", "model": model, "silence_s": 3600 if mains else 7200},
            "points": [],
            "emulation": {"model": "plain"},
        }
    )
    measures = {str(each.get("property")) for each, _ in _features(exposes, "")} & {"power", "energy", "current"}
    for each, specific in _features(exposes, ""):
        problem = _take(found, each, specific, mains=bool(measures))
        if problem is not None:
            found.left_out.append(f"{each.get('property') or each.get('name') or each.get('type')!s:.60}: {problem}")
    if any(each["capability"] == C.WINDOW_COVERING.value and "write" in each for each in found.document["points"]):
        found.document["wire"]["answer_wait_ms"] = COVER_ANSWER_MS
    if not found.document["points"]:
        raise InvalidInputError(f"exposes of {model}", "nothing in it that the device model has a word for")
    return found


def _features(exposes: list[Any], specific: str, depth: int = 0) -> Iterator[tuple[Mapping[str, Any], str]]:
    colour = _colour(exposes)
    for each in exposes:
        if not isinstance(each, dict):
            continue
        inner = each.get("features")
        if isinstance(inner, list) and str(each.get("type")) in SPECIFIC and depth < 4:
            yield from _features(inner, str(each.get("type")), depth + 1)
        elif isinstance(inner, list) and each is colour:
            halves = COLOURS[str(each["name"])]
            for one in inner:
                name = one.get("property") if isinstance(one, dict) else None
                if isinstance(name, str) and name in halves:
                    most, step = halves[name]
                    bounds = {"value_min": 0, "value_max": most, "value_step": step}
                    yield {**bounds, **one, "property": f"{each['property']}.{name}"}, specific
        else:
            yield each, specific
            if colour is not None and each.get("name") == "color_temp":
                yield {"type": "enum", "property": "color_mode", "access": PUBLISHED, "values": list(MODES)}, specific


def _colour(exposes: list[Any]) -> Mapping[str, Any] | None:
    """Return the form of a lamp's colour that is taken; None: it has none. Two would be two truths of one colour."""
    for form in COLOURS:
        for each in exposes:
            if isinstance(each, dict) and each.get("name") == form and isinstance(each.get("property"), str):
                return each
    return None


def _take(found: Imported, each: Mapping[str, Any], specific: str, *, mains: bool) -> str | None:
    """Add a feature; return why not, if not."""
    path, kind, access = each.get("property"), str(each.get("type")), each.get("access", 1)
    if not isinstance(path, str) or type(access) is not int:
        return "has no property or no access"
    known = PROPERTIES.get(path)
    gang = each.get("endpoint")
    if known is None and isinstance(gang, str) and path == f"{each.get('name')}_{gang}":
        known = PROPERTIES.get(str(each.get("name")))  # one of several switches, lamps or meters in one thing
        known = None if known is None else (known[0], f"{known[1].partition(':')[0]}:{endpoint(gang)}")
    if path == "position" and specific != "cover":  # how far a valve is open, not a curtain
        known = (C.THERMOSTAT, "pi_heating_demand")
    if path == "voltage" and mains:
        known = (C.ELECTRICAL_MEASUREMENT, "rms_voltage")
    if each.get("name", path) == "state" and specific in ("cover", "lock", "fan"):
        return f"the words of a {specific}'s state are commands; its position says where it is"
    if known is None:
        return "no word for it"
    if not access & PUBLISHED:
        return "is never published"
    capability, name = known
    row = attribute(capability, name)
    point: dict[str, Any] = {"path": path}
    if row.kind is Kind.BOOL or name in TWO_WORDS:
        problem = _codes_of_two(point, each, name)
    elif row.kind is Kind.CHOICE:
        problem = _codes_of_enum(point, each, row.choices, found)
    else:
        problem = _number(point, each, kind, row.unit, cover=specific == "cover")
    if problem is not None:
        return problem
    if access & GET:
        point["readable"] = True
    if access & SET and row.writable:
        point["write"] = _rule(each, row.kind, row.least, row.most, thermostat=capability is C.THERMOSTAT)
        if point["write"] is None:
            del point["write"]
            found.left_out.append(f"{path}: read only here: it states no range to write")
    found.add(capability, name, point, path)
    return None


def _codes_of_two(point: dict[str, Any], each: Mapping[str, Any], name: str) -> str | None:
    on, off = each.get("value_on", True), each.get("value_off", False)
    if name in TWO_WORDS:
        on_means, off_means = TWO_WORDS[name]
        point.update(type="bool" if isinstance(on, bool) else "text", values=[[off, off_means], [on, on_means]])
        return None
    if isinstance(on, bool) and isinstance(off, bool):
        point["type"] = "bool"
        if not on:
            point["values"] = [[True, False], [False, True]]
        return None
    if not isinstance(on, str) or not isinstance(off, str):
        return f"its two words are {on!r:.20} and {off!r:.20}"
    point.update(type="text", values=[[on, True], [off, False]])
    return None


def _codes_of_enum(
    point: dict[str, Any], each: Mapping[str, Any], choices: tuple[str, ...], found: Imported
) -> str | None:
    told = each.get("values")
    words = [word for word in told if isinstance(word, str)] if isinstance(told, list) else []
    known = [[word, WORDS.get(word, word)] for word in words if WORDS.get(word, word) in choices]
    if not known:
        return f"none of its words {words!r:.60} is the device model's"
    if len(known) < len(words):
        strange = ", ".join(word for word in words if WORDS.get(word, word) not in choices)
        found.left_out.append(f"{each.get('property')}: its words {strange} mean nothing here, and are told as bad")
    point.update(type="text", values=known)
    return None


def _number(point: dict[str, Any], each: Mapping[str, Any], kind: str, unit: Unit | None, *, cover: bool) -> str | None:
    if kind != "numeric":
        return f"type {kind!r} holds no number"
    spelt = str(each.get("unit", ""))
    known = affine(spelt, unit) if spelt else (1.0, 0.0)
    if known is None:
        return f"{spelt!r:.20} is no unit of it"
    scale, offset = known
    if offset:
        point["offset"] = float(f"{offset:.16g}")
    point["type"] = "number"
    if cover and each.get("name", each.get("property")) == "position":
        point.update(scale=-1, offset=100)  # Zigbee2MQTT counts what is open, Matter what is closed
    elif scale != 1:
        point["scale"] = float(f"{scale:.16g}") if offset else float(f"{scale:.12g}")
    return None


def _rule(
    each: Mapping[str, Any], kind: Kind, least: float | None, most: float | None, *, thermostat: bool
) -> dict[str, Any] | None:
    pace = SETPOINT_PACE if thermostat else {"min_interval_s": 1}
    if kind not in (Kind.NUMBER, Kind.INTEGER):
        return dict(pace)
    low, high = each.get("value_min"), each.get("value_max")
    if isinstance(low, bool) or isinstance(high, bool) or not isinstance(low, int | float):
        return None
    if not isinstance(high, int | float) or least is None or most is None:
        return None
    low, high = max(float(low), least), min(float(high), most)
    if thermostat:
        low, high = max(low, SETPOINT_LEAST), min(high, SETPOINT_MOST)
    if low >= high:
        return None
    step = each.get("value_step")
    rule: dict[str, Any] = {"least": low, "most": high}
    if isinstance(step, int | float) and not isinstance(step, bool) and step > 0:
        rule["step"] = float(step)
    return {**rule, **pace}
