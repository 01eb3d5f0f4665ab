"""A SunSpec information model (model_*.json) -> a descriptor.

Source of truth: SunSpec Device Information Model Specification: types, `sunssf` scale factors (-10..10) and the
not-implemented codes of each type. Scale factors that are registers become exponents; those that are numbers, scales.
"""

from collections.abc import Mapping
from typing import Any, Final

from protocols.device_model.capability import attribute
from protocols.errors import InvalidInputError
from provisioning.descriptors.imported import Capability, Imported, descriptor_id, factor

E: Final = Capability.ELECTRICAL_MEASUREMENT
POINTS: Final[Mapping[str, tuple[Capability, str]]] = {
    "A": (E, "rms_current"), "AphA": (E, "rms_current:l1"), "AphB": (E, "rms_current:l2"),
    "AphC": (E, "rms_current:l3"),
    "PhV": (E, "rms_voltage"), "PhVphA": (E, "rms_voltage:l1"), "PhVphB": (E, "rms_voltage:l2"),
    "PhVphC": (E, "rms_voltage:l3"), "PPV": (E, "rms_voltage:line"), "PhVphAB": (E, "rms_voltage:l1_l2"),
    "PhVphBC": (E, "rms_voltage:l2_l3"), "PhVphCA": (E, "rms_voltage:l3_l1"), "PPVphAB": (E, "rms_voltage:l1_l2"),
    "PPVphBC": (E, "rms_voltage:l2_l3"), "PPVphCA": (E, "rms_voltage:l3_l1"), "Hz": (E, "frequency"),
    "W": (E, "active_power"), "WphA": (E, "active_power:l1"), "WphB": (E, "active_power:l2"),
    "WphC": (E, "active_power:l3"),
    "VA": (E, "apparent_power"), "VAphA": (E, "apparent_power:l1"), "VAphB": (E, "apparent_power:l2"),
    "VAphC": (E, "apparent_power:l3"), "VAR": (E, "reactive_power"), "VAr": (E, "reactive_power"),
    "VARphA": (E, "reactive_power:l1"), "VARphB": (E, "reactive_power:l2"), "VARphC": (E, "reactive_power:l3"),
    "PF": (E, "power_factor"), "PFphA": (E, "power_factor:l1"), "PFphB": (E, "power_factor:l2"),
    "PFphC": (E, "power_factor:l3"), "WH": (E, "cumulative_energy_imported"),
    "TotWhImp": (E, "cumulative_energy_imported"),
    "TotWhExp": (E, "cumulative_energy_exported"), "TotWhImpPhA": (E, "cumulative_energy_imported:l1"),
    "TotWhImpPhB": (E, "cumulative_energy_imported:l2"), "TotWhImpPhC": (E, "cumulative_energy_imported:l3"),
    "TotWhExpPhA": (E, "cumulative_energy_exported:l1"), "TotWhExpPhB": (E, "cumulative_energy_exported:l2"),
    "TotWhExpPhC": (E, "cumulative_energy_exported:l3"), "DCV": (E, "rms_voltage:dc"), "DCA": (E, "rms_current:dc"),
    "DCW": (E, "active_power:dc"), "TmpCab": (Capability.TEMPERATURE_MEASUREMENT, "measured_value:cabinet"),
    "TmpSnk": (Capability.TEMPERATURE_MEASUREMENT, "measured_value:heat_sink"),
    "TmpTrns": (Capability.TEMPERATURE_MEASUREMENT, "measured_value:transformer"),
    "TmpOt": (Capability.TEMPERATURE_MEASUREMENT, "measured_value:other"),
}  # fmt: skip
"""The points of the inverter (10x, 11x) and meter (20x, 21x) models that the device model has a word for."""
TYPES: Final[Mapping[str, tuple[str, int | None]]] = {
    "int16": ("int16", -0x8000), "uint16": ("uint16", 0xFFFF), "acc16": ("uint16", None),
    "int32": ("int32", -0x8000_0000), "uint32": ("uint32", 0xFFFF_FFFF), "acc32": ("uint32", None),
    "int64": ("int64", -(2**63)), "uint64": ("uint64", None), "acc64": ("uint64", None),
    "float32": ("float32", None), "float64": ("float64", None),
}  # fmt: skip
"""SunSpec type: ours, and its not-implemented code. An accumulator's is 0, which a new meter shows too: not taken."""
BLOCK_MOST: Final = 125


def import_sunspec(model: Mapping[str, Any], *, base: int, vendor: str = "SunSpec Alliance") -> Imported:
    """Return the descriptor of a model whose first register (its ID) is `base`, counted from 0.

    Raises:
        InvalidInputError: it is no SunSpec model, or holds nothing that the device model has a word for.
    """
    group = model.get("group")
    points = group.get("points") if isinstance(group, dict) else None
    number = model.get("id")
    if not isinstance(points, list) or type(number) is not int or not all(isinstance(each, dict) for each in points):
        raise InvalidInputError("SunSpec model", "has no number `id` and no list `group.points`: not a model_*.json")
    label = str(group.get("label") or group.get("name") or "model") if isinstance(group, dict) else "model"
    found = Imported(_head(number, label, base, vendor))
    places: dict[str, int] = {}
    at = base
    for point in points:
        size = point.get("size")
        if not isinstance(point.get("name"), str) or type(size) is not int or size < 1:
            raise InvalidInputError(f"SunSpec model {number}: {point.get('name')!r:.40}", "has no name or no size")
        places[point["name"]] = at
        at += size
    for point in points:
        if point["name"] not in ("ID", "L") and point.get("type") not in ("sunssf", "pad"):
            _take(found, point, places)
    for repeated in group.get("groups", ()) if isinstance(group, dict) else ():
        name = repeated.get("name") if isinstance(repeated, dict) else repeated
        found.left_out.append(f"group {name!r:.40}: repeating blocks have no fixed place")
    if not found.document["points"]:
        raise InvalidInputError(f"SunSpec model {number}", "holds nothing that the device model has a word for")
    found.document["identify"] = [{"table": "holding", "register": base, "equals": [number]}]
    return found


def _take(found: Imported, point: Mapping[str, Any], places: Mapping[str, int]) -> None:
    name = point["name"]
    known, kind = POINTS.get(name), TYPES.get(str(point.get("type")))
    if known is None:
        found.left_out.append(
            f"{name} ({point.get('label') or point.get('desc') or point.get('type')}): no word for it"
        )
        return
    if kind is None:
        found.left_out.append(f"{name}: type {point.get('type')!r:.40} is not a number")
        return
    capability, attribute_name = known
    row = attribute(capability, attribute_name)
    spelt = str(point.get("units", ""))
    scale = 0.01 if attribute_name.startswith("power_factor") and spelt == "Pct" else factor(spelt, row.unit)
    if scale is None:
        found.left_out.append(f"{name}: {spelt!r:.20} is no unit of {attribute_name}")
        return
    register_type, none = kind
    made: dict[str, Any] = {"table": "holding", "register": places[name]}
    power = point.get("sf")
    if isinstance(power, str):
        if power not in places:
            found.left_out.append(f"{name}: its scale factor {power!r:.40} is not in the model")
            return
        made["exponent"] = places[power]
    elif type(power) is int:
        scale *= 10.0**power
    made["type"] = register_type
    if scale != 1:
        made["scale"] = float(f"{scale:.12g}")
    if none is not None:
        made["nan"] = [none]
    if row.unit is not None and attribute_name.startswith("cumulative"):
        made["every_s"] = 60.0
    made["note"] = f"{name}: {point.get('desc') or point.get('label') or name}"[:200]
    found.add(capability, attribute_name, made, name)


def _head(number: int, label: str, base: int, vendor: str) -> dict[str, Any]:
    return {
        "identity": {
            "id": descriptor_id("sunspec", f"model_{number}"),
            "vendor": vendor,
            "model": f"Model {number}",
            "title": f"{label} (SunSpec)"[:200],
            "source": f"SunSpec information model {number} (model_{number}.json), first register at {base}",
        },
        "quality": {
            "level": "public",
            "proven": "imported from the published model; not measured",
            "on": "nothing yet",
        },
        "wire": {"kind": "modbus", "answer_wait_ms": 1000, "block_most": BLOCK_MOST, "gap_most": 16},
        "points": [],
        "emulation": {"model": "plain", "registers": [{"table": "holding", "register": base, "raw": number}]},
    }
