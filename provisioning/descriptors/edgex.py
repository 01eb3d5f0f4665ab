"""An EdgeX device profile for Modbus (YAML or JSON) -> a descriptor.

Source of truth: EdgeX Foundry documentation, "Device Profile Reference" and "Modbus - Data Type Conversion" (v3 and
v4):
attributes primaryTable, startingAddress, rawType, isByteSwap, isWordSwap; properties valueType, readWrite, units,
scale,
offset, minimum, maximum. A profile's names are free: what a resource means is told from its name and unit, and what
cannot be told is left out in so many words. Nothing is made writable: a profile states no range that is safe in a room.
"""

import re
from collections.abc import Mapping
from math import isfinite
from typing import Any, Final

from protocols.device_model.capability import Unit, attribute
from protocols.errors import InvalidInputError
from provisioning.descriptors.imported import FAHRENHEIT, UNITS, Capability, Imported, affine, descriptor_id, endpoint

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
        found.left_out.append(f"{resource['name']}: read only here: the profile states no range that is safe to write")
    found.add(capability, attribute_name, point, resource["name"])
    return None


def _meaning(name: str, units: str, raw_type: str) -> tuple[Capability, str] | None:
    words = " ".join(each.lower() for each in _WORDS.split(name) if each)
    if raw_type == "bool":
        return (C.ON_OFF, "on_off") if re.search(r"switch|relay|on ?off|output|power", words) else (
            C.BOOLEAN_STATE, f"state_value:{endpoint(name)}"
        )  # fmt: skip
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
