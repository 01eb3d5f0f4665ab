"""What Home Assistant's device classes, units and words are in the device model. Tables only.

Source of truth: SPEC.md section 4, after home-assistant.io, "Sensor", "Binary sensor", "Climate" (2025.4). What has no
row has no attribute in the device model, and is told as such.
"""

from collections.abc import Mapping
from typing import Final

from protocols.device_model.capability import Capability, Unit, attribute

C: Final = Capability
Key = tuple[Capability, str]

SENSORS: Final[Mapping[str, Key]] = {
    "temperature": (C.TEMPERATURE_MEASUREMENT, "measured_value"),
    "humidity": (C.RELATIVE_HUMIDITY_MEASUREMENT, "measured_value"),
    "illuminance": (C.ILLUMINANCE_MEASUREMENT, "measured_value"),
    "carbon_dioxide": (C.CARBON_DIOXIDE_CONCENTRATION_MEASUREMENT, "measured_value"),
    "pm25": (C.PM2_5_CONCENTRATION_MEASUREMENT, "measured_value"),
    "pressure": (C.PRESSURE_MEASUREMENT, "measured_value"),
    "atmospheric_pressure": (C.PRESSURE_MEASUREMENT, "measured_value"),
    "volume_flow_rate": (C.FLOW_MEASUREMENT, "measured_value"),
    "battery": (C.POWER_SOURCE, "bat_percent_remaining"),
    "power": (C.ELECTRICAL_MEASUREMENT, "active_power"),
    "apparent_power": (C.ELECTRICAL_MEASUREMENT, "apparent_power"),
    "reactive_power": (C.ELECTRICAL_MEASUREMENT, "reactive_power"),
    "power_factor": (C.ELECTRICAL_MEASUREMENT, "power_factor"),
    "energy": (C.ELECTRICAL_MEASUREMENT, "cumulative_energy_imported"),
    "frequency": (C.ELECTRICAL_MEASUREMENT, "frequency"),
    "voltage": (C.ELECTRICAL_MEASUREMENT, "rms_voltage"),
    "current": (C.ELECTRICAL_MEASUREMENT, "rms_current"),
}
"""A sensor's device class."""
BATTERY_VOLTAGE: Final[Key] = (C.POWER_SOURCE, "bat_voltage")
EXPORTED: Final[Key] = (C.ELECTRICAL_MEASUREMENT, "cumulative_energy_exported")
LINK_QUALITY: Final[Key] = (C.NETWORK_DIAGNOSTICS, "link_quality")

CLASS_OF_UNIT: Final[Mapping[str, str]] = {
    "°C": "temperature", "°F": "temperature", "lx": "illuminance", "W": "power", "kW": "power", "Wh": "energy",
    "kWh": "energy", "MWh": "energy", "V": "voltage", "mV": "voltage", "A": "current", "mA": "current",
    "VA": "apparent_power", "var": "reactive_power", "Hz": "frequency", "hPa": "pressure",
}  # fmt: skip
"""What a sensor without a class measures, where its unit leaves no doubt."""

UNITS: Final[Mapping[Unit, Mapping[str, tuple[float, float]]]] = {
    Unit.CELSIUS: {
        "°C": (1.0, 0.0), "℃": (1.0, 0.0), "C": (1.0, 0.0), "°F": (0.5555555555555556, -17.77777777777778),
        "F": (0.5555555555555556, -17.77777777777778), "K": (1.0, -273.15),
    },
    Unit.PERCENT: {"%": (1.0, 0.0)},
    Unit.LUX: {"lx": (1.0, 0.0), "lux": (1.0, 0.0)},
    Unit.PARTS_PER_MILLION: {"ppm": (1.0, 0.0), "ppb": (0.001, 0.0)},
    Unit.MICROGRAM_PER_CUBIC_METRE: {
        "µg/m³": (1.0, 0.0), "\u03bcg/m³": (1.0, 0.0), "ug/m3": (1.0, 0.0), "mg/m³": (1000.0, 0.0),
    },
    Unit.KILOPASCAL: {
        "kPa": (1.0, 0.0), "Pa": (0.001, 0.0), "hPa": (0.1, 0.0), "mbar": (0.1, 0.0), "cbar": (1.0, 0.0),
        "bar": (100.0, 0.0), "psi": (6.894757, 0.0), "inHg": (3.386389, 0.0), "mmHg": (0.1333224, 0.0),
    },
    Unit.CUBIC_METRE_PER_HOUR: {
        "m³/h": (1.0, 0.0), "m³/min": (60.0, 0.0), "m³/s": (3600.0, 0.0), "L/h": (0.001, 0.0), "L/min": (0.06, 0.0),
        "L/s": (3.6, 0.0), "ft³/min": (1.699011, 0.0), "gal/min": (0.2271247, 0.0),
    },
    Unit.WATT: {"W": (1.0, 0.0), "mW": (0.001, 0.0), "kW": (1000.0, 0.0), "MW": (1_000_000.0, 0.0)},
    Unit.KILOWATT_HOUR: {
        "kWh": (1.0, 0.0), "Wh": (0.001, 0.0), "MWh": (1000.0, 0.0), "MJ": (0.2777777777777778, 0.0),
        "GJ": (277.7777777777778, 0.0),
    },
    Unit.VOLT: {"V": (1.0, 0.0), "mV": (0.001, 0.0), "kV": (1000.0, 0.0)},
    Unit.AMPERE: {"A": (1.0, 0.0), "mA": (0.001, 0.0)},
    Unit.VOLT_AMPERE: {"VA": (1.0, 0.0), "kVA": (1000.0, 0.0)},
    Unit.VAR: {"var": (1.0, 0.0), "VAr": (1.0, 0.0), "kvar": (1000.0, 0.0)},
    Unit.HERTZ: {"Hz": (1.0, 0.0), "kHz": (1000.0, 0.0)},
}  # fmt: skip
"""For each of our units the spellings that are announced: value = announced * first + second."""
POWER_FACTOR: Final[Mapping[str, tuple[float, float]]] = {"": (1.0, 0.0), "%": (0.01, 0.0)}

BINARY: Final[Mapping[str, tuple[Key, bool | str, bool | str]]] = {
    "motion": ((C.OCCUPANCY_SENSING, "occupancy"), True, False),
    "occupancy": ((C.OCCUPANCY_SENSING, "occupancy"), True, False),
    "presence": ((C.OCCUPANCY_SENSING, "occupancy"), True, False),
    "door": ((C.BOOLEAN_STATE, "state_value"), False, True),
    "window": ((C.BOOLEAN_STATE, "state_value"), False, True),
    "opening": ((C.BOOLEAN_STATE, "state_value"), False, True),
    "garage_door": ((C.BOOLEAN_STATE, "state_value"), False, True),
    "moisture": ((C.BOOLEAN_STATE, "state_value:leak"), True, False),
    "tamper": ((C.BOOLEAN_STATE, "state_value:tamper"), True, False),
    "vibration": ((C.BOOLEAN_STATE, "state_value:vibration"), True, False),
    "smoke": ((C.SMOKE_CO_ALARM, "smoke_state"), "critical", "normal"),
    "problem": ((C.FAULT_STATE, "active"), True, False),
    "battery": ((C.POWER_SOURCE, "bat_charge_level"), "critical", "ok"),
}
"""A binary sensor's device class: the attribute, what it is when on, what when off."""

MODES: Final[Mapping[str, str]] = {
    "off": "off", "heat_cool": "auto", "auto": "auto", "cool": "cool", "heat": "heat", "fan_only": "fan_only",
    "dry": "dry",
}  # fmt: skip
"""A climate's modes as system modes. Both `auto` and `heat_cool` are auto to us; the first that it has is written."""
ACTIONS: Final[Mapping[str, str]] = {
    "heating": "heat", "preheating": "heat", "cooling": "cool", "off": "off", "idle": "off", "fan": "off",
    "drying": "off",
}  # fmt: skip
"""What a climate does now, as running modes."""
COOLING_MODES: Final = frozenset({"off", "cool", "dry", "fan_only"})
"""A climate that has no others has a cooling setpoint."""

FAN_MODE: Final[Key] = (C.FAN_CONTROL, "fan_mode")
FAN_WORDS: Final[Mapping[str, str]] = {
    **{each: each for each in attribute(*FAN_MODE).choices}, "middle": "medium", "mid": "medium", "med": "medium",
}  # fmt: skip
"""A fan's words, in lower case, as fan modes."""

REFUSED: Final[Mapping[str, str]] = {
    "lock": "doors and locks open by grants alone, never by what the broker says",
    "button": "a button has no state, so nobody could say what a press came to",
}
"""Components that are understood, and not taken."""
DOORS: Final = frozenset({"door", "garage", "gate"})
"""Covers of these classes are doors."""
PASSING: Final = ("unavailable", "unknown", "None", "none", "")
"""Words that stand for no value."""
BY_THE_DAY: Final = ("today", "yesterday", "daily", "hour", "day", "week", "month", "year", "period", "session")
"""In an energy sensor's name: it begins anew, and is no meter's reading."""
