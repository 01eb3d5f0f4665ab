"""An EdgeX device profile for Modbus (YAML or JSON) -> a descriptor.

Source of truth: EdgeX Foundry documentation, "Device Profile Reference" and "Modbus - Data Type Conversion" (v3 and
v4):
attributes primaryTable, startingAddress, rawType, isByteSwap, isWordSwap; properties valueType, readWrite, units,
scale,
offset, minimum, maximum (of what is set, before scale and offset are undone: device-sdk-go, TransformWriteParameter).
A profile's names are free: what a resource means is told from its name and unit, and what cannot be told is left out in
so many words. Writable is a room's setpoint alone, within the range that the profile states and a room bears.
"""

import re
from collections.abc import Mapping
from math import isfinite
from typing import Any, Final

from protocols.device_model.capability import Attribute, Unit, attribute
from protocols.errors import InvalidInputError
from provisioning.descriptors.imported import (
    FAHRENHEIT,
    SETPOINT_LEAST,
    SETPOINT_MOST,
    SETPOINT_PACE,
    UNITS,
    Capability,
    Imported,
    affine,
    descriptor_id,
    endpoint,
)

TABLES: Final = {
    "COILS": "coil", "DISCRETES_INPUT": "discrete", "DISCRETE_INPUTS": "discrete", "INPUT_REGISTERS": "input",
    "HOLDING_REGISTERS": "holding",
}  # fmt: skip
TYPES: Final = {
    "int16": "int16", "uint16": "uint16", "int32": "int32", "uint32": "uint32", "int64": "int64", "uint64": "uint64",
    "float32": "float32", "float64": "float64", "bool": "bool",
}  # fmt: skip
C: Final = Capability
BY_UNIT: Final[Mapping[Unit, tuple[Capability, str]]] = {
    Unit.CELSIUS: (C.TEMPERATURE_MEASUREMENT, "measured_value"), Unit.WATT: (C.ELECTRICAL_MEASUREMENT, "active_power"),
    Unit.KILOWATT_HOUR: (C.ELECTRICAL_MEASUREMENT, "cumulative_energy_imported"),
    Unit.VOLT: (C.ELECTRICAL_MEASUREMENT, "rms_voltage"), Unit.AMPERE: (C.ELECTRICAL_MEASUREMENT, "rms_current"),
    Unit.VOLT_AMPERE: (C.ELECTRICAL_MEASUREMENT, "apparent_power"),
    Unit.VAR: (C.ELECTRICAL_MEASUREMENT, "reactive_power"),
    Unit.HERTZ: (C.ELECTRICAL_MEASUREMENT, "frequency"), Unit.KILOPASCAL: (C.PRESSURE_MEASUREMENT, "measured_value"),
    Unit.LUX: (C.ILLUMINANCE_MEASUREMENT, "measured_value"),
    Unit.PARTS_PER_MILLION: (C.CARBON_DIOXIDE_CONCENTRATION_MEASUREMENT, "measured_value"),
    Unit.CUBIC_METRE_PER_HOUR: (C.FLOW_MEASUREMENT, "measured_value"),
}  # fmt: skip
BY_NAME: Final[tuple[tuple[str, Capability, str], ...]] = (
    ("set ?point|thermostat ?[lh]\\b|threshold|limit|alarm|mode|status", C.FAULT_STATE, ""),  # means what it likes
    ("humidity", C.RELATIVE_HUMIDITY_MEASUREMENT, "measured_value"), ("co2", C.CARBON_DIOXIDE_CONCENTRATION_MEASUREMENT,
    "measured_value"), ("illumin|lux", C.ILLUMINANCE_MEASUREMENT, "measured_value"),
    ("export", C.ELECTRICAL_MEASUREMENT, "cumulative_energy_exported"), ("power ?factor", C.ELECTRICAL_MEASUREMENT,
    "power_factor"), ("frequency", C.ELECTRICAL_MEASUREMENT, "frequency"), ("voltage|\\bvolt", C.ELECTRICAL_MEASUREMENT,
    "rms_voltage"), ("current|\\bamp", C.ELECTRICAL_MEASUREMENT, "rms_current"),
    ("energy|kwh", C.ELECTRICAL_MEASUREMENT,
    "cumulative_energy_imported"), ("power|watt", C.ELECTRICAL_MEASUREMENT, "active_power"),
    ("temperature|\\btemp", C.TEMPERATURE_MEASUREMENT, "measured_value"), ("pressure", C.PRESSURE_MEASUREMENT,
    "measured_value"),
)  # fmt: skip
NO_UNIT: Final = frozenset(("-", "n/a", "none", "null", "1", "bool", "boolean", "on/off"))
"""How profiles spell that there is none."""
_SETPOINT: Final = re.compile(r"set ?point|\bsp\b|set ?temp|temp(erature)? set\b|(target|desired|wanted) (room )?temp")
_OF_NO_ROOM: Final = re.compile(
    r"alarm|limit|threshold|\bmin|\bmax|\bhigh|\blow\b|band|differential|hysteresis|offset|shift|adjust|calibrat|humid|"
    r"co2|pressure|fan|speed|flow|valve|damper|water|supply|return|boiler|\bdhw|tank|duct|discharge|coil|outdoor|outside|"
    r"lock|mode|status|type|time"
)
"""What makes another thing of a setpoint: a limit, a machine's, a boiler's."""
_EMPTY: Final = re.compile(r"unocc|\beco|standby|stand by|night|away|set ?back|absen|vacan")
_WORDS: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|[_\-.]+")


def import_edgex(profile: Mapping[str, Any]) -> Imported:
    """Return the descriptor of a profile.

    Raises:
        InvalidInputError: it is no device profile, or nothing in it could be told.
    """
    name, resources = profile.get("name"), profile.get("deviceResources")
    if not isinstance(name, str) or not isinstance(resources, list):
        raise InvalidInputError("EdgeX profile", "has no `name` and no list `deviceResources`: not a device profile")
    vendor, model = str(profile.get("manufacturer") or "unknown"), str(profile.get("model") or name)
    found = Imported(
        {
            "identity": {
                "id": descriptor_id(vendor, model),
                "vendor": vendor,
                "model": model,
                "title": str(profile.get("description") or name)[:200],
                "source": f"EdgeX device profile {name!r}",
            },
            "quality": {"level": "public", "proven": "imported from the profile; not measured", "on": "nothing yet"},
            "wire": {"kind": "modbus", "answer_wait_ms": 500, "block_most": 64, "gap_most": 4},
            "points": [],
            "emulation": {"model": "plain"},
        }
    )
    for index, resource in enumerate(resources):
        if not isinstance(resource, dict) or not isinstance(resource.get("name"), str):
            raise InvalidInputError(f"EdgeX profile: deviceResources[{index}]", "has no name")
        problem = _take(found, resource)
        if problem is not None:
            found.left_out.append(f"{resource['name']}: {problem}")
    if not found.document["points"]:
        raise InvalidInputError(
            f"EdgeX profile {name!r}", f"nothing in it could be told: {'; '.join(found.left_out)[:300]}"
        )
    return found


def _take(found: Imported, resource: Mapping[str, Any]) -> str | None:
    """Add a resource; return why not, if not."""
    where, what = resource.get("attributes"), resource.get("properties")
    if not isinstance(where, dict) or not isinstance(what, dict):
        return "has no attributes or no properties"
    table = TABLES.get(str(where.get("primaryTable")))
    try:
        register = int(str(where.get("startingAddress")), 0)
    except ValueError:
        return f"startingAddress {where.get('startingAddress')!r:.40} is no address"
    if table is None or not 0 <= register <= 0xFFFF:
        return f"primaryTable {where.get('primaryTable')!r:.40} at {register} is no register"
    raw_type = TYPES.get(str(where.get("rawType") or what.get("valueType")).lower())
    if raw_type is None or (raw_type == "bool") != (table in ("coil", "discrete")):
        return f"type {where.get('rawType') or what.get('valueType')!r:.40} in {table} is not understood"
    if "W" not in str(what.get("readWrite", "R")) or "R" in str(what.get("readWrite", "R")):
        meaning = _meaning(resource["name"], str(what.get("units", "")), raw_type)
    else:
        return "is write only"
    if meaning is None:
        return f"its name and unit {str(what.get('units', ''))!r:.20} do not tell what it is"
    capability, attribute_name = meaning
    row = attribute(capability, attribute_name)
    spelt = str(what.get("units", ""))
    told = spelt.strip().lower()
    setpoint = capability is C.THERMOSTAT
    if setpoint and (not told or told in NO_UNIT):
        return "its unit is missing: a setpoint in degrees Celsius or Fahrenheit?"
    if told and told not in UNITS and told not in FAHRENHEIT and told not in NO_UNIT:
        return f"{spelt!r:.20} is a unit that is not known here: it could be a thousand times another"
    known = affine(spelt, row.unit) if told and told not in NO_UNIT else (1.0, 0.0)
    if known is None:
        return f"{spelt!r:.20} is no unit of {attribute_name}"
    point: dict[str, Any] = {"table": table, "register": register, "type": raw_type}
    if _yes(where.get("isWordSwap")):
        point["word_order"] = "little"
    if _yes(where.get("isByteSwap")) and raw_type != "bool":
        point["byte_order"] = "little"
    try:
        scale, offset = _number(what.get("scale"), 1) * known[0], _number(what.get("offset"), 0) * known[0] + known[1]
    except ValueError:
        return f"scale {what.get('scale')!r:.20} or offset {what.get('offset')!r:.20} is no number"
    if raw_type != "bool" and scale != 1:
        point["scale"] = float(f"{scale:.16g}") if offset else float(f"{scale:.12g}")
    if raw_type != "bool" and offset:
        point["offset"] = float(f"{offset:.16g}")
    point["note"] = str(resource.get("description") or resource["name"])[:200]
    if "W" in str(what.get("readWrite", "R")):
        whole = raw_type.startswith(("int", "uint")) and not offset
        rule = _rule(what, table, known, scale if whole else None) if setpoint else _not_set(row)
        if isinstance(rule, str):
            found.left_out.append(f"{resource['name']}: read only here: {rule}")
        else:
            point["write"] = rule
    if setpoint and not re.search("heat|cool", _plain(resource["name"])):
        found.left_out.append(f"{resource['name']}: taken as heating's: its name says nothing of heating or cooling")
    found.add(capability, attribute_name, point, resource["name"])
    return None


def _not_set(row: Attribute) -> str:
    if row.writable:
        return "nothing says what it switches, and whether a guest's room may"
    return f"{row.name} is measured and not set"


def _rule(what: Mapping[str, Any], table: str, unit: tuple[float, float], step: float | None) -> dict[str, Any] | str:
    """Return a setpoint's write rule, or what is missing for one.

    Args:
        what: The resource's properties.
        table: Where it is.
        unit: Scale and offset from its unit to degrees Celsius.
        step: What one step of the register is; None: it has none to speak of.
    """
    if table != "holding":
        return f"{table} registers cannot be written"
    stated: list[float] = []
    for name in ("minimum", "maximum"):
        given = what.get(name)
        if given is None or given == "":
            return f"the profile states no {name}"
        try:
            stated.append(_number(given, 0) * unit[0] + unit[1])
        except ValueError:
            return f"its {name} {given!r:.20} is no number"
    least, most = max(stated[0], SETPOINT_LEAST), min(stated[1], SETPOINT_MOST)
    if least >= most:
        return (
            f"its range {stated[0]:.6g} to {stated[1]:.6g} leaves nothing between {SETPOINT_LEAST:g} and "
            f"{SETPOINT_MOST:g} degrees Celsius"
        )
    rule: dict[str, Any] = {"least": float(f"{least:.6g}"), "most": float(f"{most:.6g}")}
    if step is not None and 0 < step < most - least:
        rule["step"] = float(f"{step:.12g}")
    return {**rule, **SETPOINT_PACE}


def _plain(name: str) -> str:
    """Return a name as words in lower case."""
    return " ".join(each.lower() for each in _WORDS.split(name) if each)


def _meaning(name: str, units: str, raw_type: str) -> tuple[Capability, str] | None:
    words = _plain(name)
    if raw_type == "bool":
        return (C.ON_OFF, "on_off") if re.search(r"switch|relay|on ?off|output|power", words) else (
            C.BOOLEAN_STATE, f"state_value:{endpoint(name)}"
        )  # fmt: skip
    if _SETPOINT.search(words) and not _OF_NO_ROOM.search(words):
        heating, cooling = "heat" in words, "cool" in words
        if heating and cooling:
            return None
        whose = "unoccupied" if _EMPTY.search(words) else "occupied"
        return C.THERMOSTAT, f"{whose}_{'cooling' if cooling else 'heating'}_setpoint"
    for pattern, capability, attribute_name in BY_NAME:
        if re.search(pattern, words):
            return (capability, attribute_name) if attribute_name else None
    unit, _ = UNITS.get(units.strip().lower(), (None, 1.0))
    return None if unit is None else BY_UNIT.get(unit)


def _number(value: object, default: float) -> float:
    """Return a number however it is spelt. Raises ValueError: it is none, or not finite."""
    number = default if value is None or value == "" else float(str(value))
    if not isfinite(number):
        raise ValueError
    return number


def _yes(value: object) -> bool:
    return value is True or str(value).lower() == "true"
