"""What an importer hands over: the document of a descriptor, and what could not be mapped, in words."""

import re
from dataclasses import dataclass, field
from typing import Any, Final

from protocols.descriptors.descriptor import Descriptor
from protocols.device_model.capability import Capability as Capability  # noqa: PLC0414 - importers' word
from protocols.device_model.capability import Unit, attribute
from protocols.errors import InvalidInputError
from provisioning.descriptors.text import descriptor_text

_POINT: Final = re.compile(r"points\[(\d+)\]")
_NOT_IN_A_NAME: Final = re.compile(r"[^a-z0-9]+")
NAME_MAX: Final = 40
SETPOINT_LEAST, SETPOINT_MOST = 5.0, 30.0
"""What a room's thermostat may be told, degrees Celsius, whatever else a source allows."""
SETPOINT_PACE: Final = {"min_interval_s": 60, "burst": 3}
"""Memory cells that hold a setpoint wear out."""

UNITS: Final[dict[str, tuple[Unit | None, float]]] = {
    "mwh": (Unit.KILOWATT_HOUR, 1000), "gwh": (Unit.KILOWATT_HOUR, 1_000_000), "kv": (Unit.VOLT, 1000),
    "percent": (Unit.PERCENT, 1), "%rh": (Unit.PERCENT, 1), "volt": (Unit.VOLT, 1), "volts": (Unit.VOLT, 1),
    "amp": (Unit.AMPERE, 1), "amps": (Unit.AMPERE, 1), "ampere": (Unit.AMPERE, 1), "watt": (Unit.WATT, 1),
    "watts": (Unit.WATT, 1), "hertz": (Unit.HERTZ, 1), "lux": (Unit.LUX, 1),
    "w": (Unit.WATT, 1), "kw": (Unit.WATT, 1000), "wh": (Unit.KILOWATT_HOUR, 0.001), "kwh": (Unit.KILOWATT_HOUR, 1),
    "va": (Unit.VOLT_AMPERE, 1), "kva": (Unit.VOLT_AMPERE, 1000), "var": (Unit.VAR, 1), "kvar": (Unit.VAR, 1000),
    "v": (Unit.VOLT, 1), "mv": (Unit.VOLT, 0.001), "a": (Unit.AMPERE, 1), "ma": (Unit.AMPERE, 0.001),
    "hz": (Unit.HERTZ, 1), "pct": (Unit.PERCENT, 1), "%": (Unit.PERCENT, 1), "c": (Unit.CELSIUS, 1),
    "°c": (Unit.CELSIUS, 1), "degc": (Unit.CELSIUS, 1), "degrees celsius": (Unit.CELSIUS, 1),
    "celsius": (Unit.CELSIUS, 1),
    "hpa": (Unit.KILOPASCAL, 0.1), "mbar": (Unit.KILOPASCAL, 0.1), "kpa": (Unit.KILOPASCAL, 1),
    "pa": (Unit.KILOPASCAL, 0.001),
    "bar": (Unit.KILOPASCAL, 100), "lx": (Unit.LUX, 1), "ppm": (Unit.PARTS_PER_MILLION, 1),
    "µg/m³": (Unit.MICROGRAM_PER_CUBIC_METRE, 1), "μg/m³": (Unit.MICROGRAM_PER_CUBIC_METRE, 1),
    "ug/m3": (Unit.MICROGRAM_PER_CUBIC_METRE, 1), "µg/m3": (Unit.MICROGRAM_PER_CUBIC_METRE, 1),
    "℃": (Unit.CELSIUS, 1), "deg c": (Unit.CELSIUS, 1), "degreec": (Unit.CELSIUS, 1), "cel": (Unit.CELSIUS, 1),
    "degreescelsius": (Unit.CELSIUS, 1), "degree celsius": (Unit.CELSIUS, 1), "degrees c": (Unit.CELSIUS, 1),
    "kw.h": (Unit.KILOWATT_HOUR, 1), "kw·h": (Unit.KILOWATT_HOUR, 1), "kw-h": (Unit.KILOWATT_HOUR, 1),
    "kw*h": (Unit.KILOWATT_HOUR, 1), "kw h": (Unit.KILOWATT_HOUR, 1),
    "v.a": (Unit.VOLT_AMPERE, 1), "vars": (Unit.VAR, 1), "% rh": (Unit.PERCENT, 1), "rh%": (Unit.PERCENT, 1),
    "%r.h.": (Unit.PERCENT, 1), "kilowatt": (Unit.WATT, 1000), "kilowatts": (Unit.WATT, 1000),
    "kilowatt hours": (Unit.KILOWATT_HOUR, 1), "kilowatthours": (Unit.KILOWATT_HOUR, 1),
    "m³/h": (Unit.CUBIC_METRE_PER_HOUR, 1), "l/h": (Unit.CUBIC_METRE_PER_HOUR, 0.001),
    "l/s": (Unit.CUBIC_METRE_PER_HOUR, 3.6), "l/min": (Unit.CUBIC_METRE_PER_HOUR, 0.06),
    "mired": (Unit.MIRED, 1), "m3/h": (Unit.CUBIC_METRE_PER_HOUR, 1),
}  # fmt: skip
"""Units as others spell them, and what one of them is in the device model's."""
FAHRENHEIT: Final = frozenset(
    ("f", "°f", "℉", "degf", "deg f", "fahrenheit", "degrees fahrenheit", "degreesfahrenheit", "degree fahrenheit")
)


@dataclass(slots=True)
class Imported:
    """A descriptor on its way. `left_out` names each thing that could not be mapped, and why."""

    document: dict[str, Any]
    left_out: list[str] = field(default_factory=list)
    taken: set[tuple[str, str]] = field(default_factory=set)

    def add(self, capability: Capability, name: str, point: dict[str, Any], spelt: str) -> None:
        """Add a point; the second of a kind gets an endpoint made of what it was called (`spelt`)."""
        wanted = name
        if (capability.value, wanted) in self.taken:
            wanted = f"{name.partition(':')[0]}:{endpoint(spelt)}"
        if (capability.value, wanted) in self.taken:
            self.left_out.append(f"{spelt}: {capability.value}.{wanted} is there already")
            return
        row = attribute(capability, wanted)
        self.taken.add((capability.value, wanted))
        whole = {"capability": capability.value, "attribute": wanted, **point}
        if row.unit is not None:
            whole["unit"] = row.unit.value
        self.document["points"].append(whole)

    def settled(self, head: str) -> tuple[str, Descriptor]:
        """Return the text of the descriptor and the descriptor, without the points that the loader refuses.

        One resource that makes no sense costs itself, and is named among what was left out.

        Raises:
            InvalidInputError: what is wrong is no point's fault, or no point is left.
        """
        while True:
            try:
                return descriptor_text(self.document, self.comments(head))
            except InvalidInputError as error:
                found = _POINT.search(str(error))
                points = self.document["points"]
                if found is None or len(points) < 2 or int(found[1]) >= len(points):
                    raise
                gone = points.pop(int(found[1]))
                problem = _POINT.sub(f"{gone['capability']}.{gone['attribute']}", error.problem)
                self.left_out.append(f"{gone.get('note') or gone.get('path') or gone['attribute']}: {problem}"[:300])

    def comments(self, head: str) -> list[str]:
        """Return the head of the file: where it came from, and what was left out."""
        said = [head, "Imported, not proven: hold it against the thing, record it, then raise quality.level."]
        if self.left_out:
            said.append(f"Left out, {len(self.left_out)}:")
            said += [f"- {each}" for each in self.left_out]
        return said


def endpoint(text: str) -> str:
    """Return `text` as what may stand after an attribute's colon."""
    return _NOT_IN_A_NAME.sub("_", text.lower()).strip("_")[:NAME_MAX] or "x"


def descriptor_id(family: str, model: str) -> str:
    """Return an id made of what a maker calls his thing."""
    return f"{endpoint(family)}/{endpoint(model)}"


def affine(spelt: str, wanted: Unit | None) -> tuple[float, float] | None:
    """Return scale and offset from a `spelt` unit to the wanted one; None if it is another quantity."""
    if wanted is Unit.CELSIUS and spelt.strip().lower() in FAHRENHEIT:
        return 5 / 9, -160 / 9
    scale = factor(spelt, wanted)
    return None if scale is None else (scale, 0.0)


def factor(spelt: str, wanted: Unit | None) -> float | None:
    """Return what one `spelt` unit is in the wanted one; None if it is another quantity."""
    unit, scale = UNITS.get(spelt.strip().lower(), (None, 1.0))
    if wanted is None:
        return 1.0
    return scale if unit is wanted else None
