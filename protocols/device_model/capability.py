"""What a device can do, whatever its make: capabilities and their attributes.

Source of truth: SPEC.md section 2. Names and enumerations follow the Matter cluster library in snake case; where
Matter has no cluster (fault_state) the table says so. Values are in the units a person uses (degrees Celsius,
per cent), not in Matter's integer hundredths.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from math import isfinite
from types import MappingProxyType
from typing import Final

from protocols.documents import shown
from protocols.errors import InvalidInputError

Value = bool | int | float | str
"""What a good reading carries and a command asks for."""


class Capability(StrEnum):
    """A cluster of attributes that devices of many makes share."""

    ON_OFF = "on_off"
    LEVEL_CONTROL = "level_control"
    COLOR_CONTROL = "color_control"
    WINDOW_COVERING = "window_covering"
    THERMOSTAT = "thermostat"
    FAN_CONTROL = "fan_control"
    TEMPERATURE_MEASUREMENT = "temperature_measurement"
    RELATIVE_HUMIDITY_MEASUREMENT = "relative_humidity_measurement"
    ILLUMINANCE_MEASUREMENT = "illuminance_measurement"
    CARBON_DIOXIDE_CONCENTRATION_MEASUREMENT = "carbon_dioxide_concentration_measurement"
    PM2_5_CONCENTRATION_MEASUREMENT = "pm2_5_concentration_measurement"
    PRESSURE_MEASUREMENT = "pressure_measurement"
    FLOW_MEASUREMENT = "flow_measurement"
    OCCUPANCY_SENSING = "occupancy_sensing"
    BOOLEAN_STATE = "boolean_state"
    DOOR_LOCK = "door_lock"
    POWER_SOURCE = "power_source"
    ELECTRICAL_MEASUREMENT = "electrical_measurement"
    NETWORK_DIAGNOSTICS = "network_diagnostics"
    FAULT_STATE = "fault_state"
    ROOM_REQUEST = "room_request"
    SMOKE_CO_ALARM = "smoke_co_alarm"

    __hash__ = str.__hash__
    """Of the text that it is equal to; enumerations hash in Python, and every reading is looked up by this some times.
    """


class Unit(StrEnum):
    """UCUM codes, so that no two programs spell one unit in two ways."""

    CELSIUS = "Cel"
    KELVIN_DIFFERENCE = "K"
    PERCENT = "%"
    LUX = "lx"
    PARTS_PER_MILLION = "[ppm]"
    KILOPASCAL = "kPa"
    CUBIC_METRE_PER_HOUR = "m3/h"
    WATT = "W"
    KILOWATT_HOUR = "kW.h"
    VOLT = "V"
    AMPERE = "A"
    VOLT_AMPERE = "V.A"
    VAR = "var"
    """Not in UCUM: reactive power, as every meter spells it."""
    HERTZ = "Hz"
    MICROGRAM_PER_CUBIC_METRE = "ug/m3"
    DEGREE = "deg"
    MIRED = "mired"
    """Not in UCUM: reciprocal megakelvin, as lamps speak it."""


class Kind(StrEnum):
    """What type a value has."""

    BOOL = "bool"
    INTEGER = "integer"
    NUMBER = "number"
    CHOICE = "choice"


@dataclass(frozen=True, slots=True)
class Attribute:
    """One row of the table.

    `least` and `most` are what the physical thing can plausibly be, in `unit`: a value outside is a fault of
    the sensor or of the map, never a fact. `writable` says that the attribute may be commanded on a device whose
    descriptor gives it a write rule; `event` that a change is an event (lane B) and not telemetry (lane C).
    """

    capability: Capability
    name: str
    kind: Kind
    unit: Unit | None = None
    least: float | None = None
    most: float | None = None
    choices: tuple[str, ...] = ()
    writable: bool = False
    event: bool = False


SYSTEM_MODES: Final = (
    "off", "auto", "cool", "heat", "emergency_heating", "precooling", "fan_only", "dry", "sleep",
)  # fmt: skip
"""Matter Thermostat SystemModeEnum."""
RUNNING_MODES: Final = ("off", "cool", "heat")
"""Matter Thermostat ThermostatRunningModeEnum."""
FAN_MODES: Final = ("off", "low", "medium", "high", "on", "auto", "smart")
"""Matter FanControl FanModeEnum."""
LOCK_STATES: Final = ("not_fully_locked", "locked", "unlocked", "unlatched")
"""Matter DoorLock DlLockState."""
CHARGE_LEVELS: Final = ("ok", "warning", "critical")
"""Matter PowerSource BatChargeLevelEnum."""

HUE_AND_SATURATION: Final = "current_hue_and_current_saturation"
X_AND_Y: Final = "current_x_and_current_y"
WARMTH: Final = "color_temperature_mireds"
COLOR_MODES: Final = (HUE_AND_SATURATION, X_AND_Y, WARMTH)
"""Matter ColorControl ColorModeEnum."""

ALARM_STATES: Final = ("normal", "warning", "critical")
"""Matter SmokeCoAlarm AlarmStateEnum."""

_C, _K, _U = Capability, Kind, Unit
_ROWS: Final = (
    Attribute(_C.ON_OFF, "on_off", _K.BOOL, writable=True, event=True),
    Attribute(_C.LEVEL_CONTROL, "current_level", _K.INTEGER, None, 0, 254, writable=True),
    Attribute(_C.COLOR_CONTROL, "color_temperature_mireds", _K.INTEGER, _U.MIRED, 100, 1000, writable=True),
    Attribute(_C.COLOR_CONTROL, "current_hue", _K.NUMBER, _U.DEGREE, 0, 360, writable=True),
    Attribute(_C.COLOR_CONTROL, "current_saturation", _K.NUMBER, _U.PERCENT, 0, 100, writable=True),
    Attribute(_C.COLOR_CONTROL, "current_x", _K.NUMBER, None, 0, 1, writable=True),
    Attribute(_C.COLOR_CONTROL, "current_y", _K.NUMBER, None, 0, 1, writable=True),
    Attribute(_C.COLOR_CONTROL, "color_mode", _K.CHOICE, choices=COLOR_MODES),
    Attribute(_C.WINDOW_COVERING, "current_position_lift_percentage", _K.NUMBER, _U.PERCENT, 0, 100, writable=True),
    Attribute(_C.WINDOW_COVERING, "current_position_tilt_percentage", _K.NUMBER, _U.PERCENT, 0, 100, writable=True),
    Attribute(_C.THERMOSTAT, "local_temperature", _K.NUMBER, _U.CELSIUS, -40, 85),
    Attribute(_C.THERMOSTAT, "outdoor_temperature", _K.NUMBER, _U.CELSIUS, -60, 85),
    Attribute(_C.THERMOSTAT, "occupied_heating_setpoint", _K.NUMBER, _U.CELSIUS, 0, 60, writable=True),
    Attribute(_C.THERMOSTAT, "occupied_cooling_setpoint", _K.NUMBER, _U.CELSIUS, 0, 60, writable=True),
    Attribute(_C.THERMOSTAT, "unoccupied_heating_setpoint", _K.NUMBER, _U.CELSIUS, 0, 60, writable=True),
    Attribute(_C.THERMOSTAT, "unoccupied_cooling_setpoint", _K.NUMBER, _U.CELSIUS, 0, 60, writable=True),
    Attribute(_C.THERMOSTAT, "setpoint_change_amount", _K.NUMBER, _U.KELVIN_DIFFERENCE, -20, 20),
    Attribute(_C.THERMOSTAT, "system_mode", _K.CHOICE, choices=SYSTEM_MODES, writable=True),
    Attribute(_C.THERMOSTAT, "thermostat_running_mode", _K.CHOICE, choices=RUNNING_MODES),
    Attribute(_C.THERMOSTAT, "pi_heating_demand", _K.NUMBER, _U.PERCENT, 0, 100),
    Attribute(_C.THERMOSTAT, "pi_cooling_demand", _K.NUMBER, _U.PERCENT, 0, 100),
    Attribute(_C.FAN_CONTROL, "fan_mode", _K.CHOICE, choices=FAN_MODES, writable=True),
    Attribute(_C.FAN_CONTROL, "percent_setting", _K.NUMBER, _U.PERCENT, 0, 100, writable=True),
    Attribute(_C.FAN_CONTROL, "speed_current", _K.INTEGER, None, 0, 100),
    Attribute(_C.FAN_CONTROL, "percent_current", _K.NUMBER, _U.PERCENT, 0, 100),
    Attribute(_C.TEMPERATURE_MEASUREMENT, "measured_value", _K.NUMBER, _U.CELSIUS, -60, 200),
    Attribute(_C.RELATIVE_HUMIDITY_MEASUREMENT, "measured_value", _K.NUMBER, _U.PERCENT, 0, 100),
    Attribute(_C.ILLUMINANCE_MEASUREMENT, "measured_value", _K.NUMBER, _U.LUX, 0, 200_000),
    Attribute(
        _C.CARBON_DIOXIDE_CONCENTRATION_MEASUREMENT,
        "measured_value",
        _K.NUMBER,
        _U.PARTS_PER_MILLION,
        0,
        40_000,
    ),
    Attribute(_C.PM2_5_CONCENTRATION_MEASUREMENT, "measured_value", _K.NUMBER, _U.MICROGRAM_PER_CUBIC_METRE, 0, 10_000),
    Attribute(_C.PRESSURE_MEASUREMENT, "measured_value", _K.NUMBER, _U.KILOPASCAL, -200, 10_000),
    Attribute(_C.FLOW_MEASUREMENT, "measured_value", _K.NUMBER, _U.CUBIC_METRE_PER_HOUR, 0, 10_000),
    Attribute(_C.OCCUPANCY_SENSING, "occupancy", _K.BOOL, event=True),
    Attribute(_C.BOOLEAN_STATE, "state_value", _K.BOOL, event=True),  # a contact: true is closed
    Attribute(_C.DOOR_LOCK, "lock_state", _K.CHOICE, choices=LOCK_STATES, event=True),
    Attribute(_C.POWER_SOURCE, "bat_percent_remaining", _K.NUMBER, _U.PERCENT, 0, 100),
    Attribute(_C.POWER_SOURCE, "bat_voltage", _K.NUMBER, _U.VOLT, 0, 100),
    Attribute(_C.POWER_SOURCE, "bat_charge_level", _K.CHOICE, choices=CHARGE_LEVELS),
    Attribute(_C.ELECTRICAL_MEASUREMENT, "active_power", _K.NUMBER, _U.WATT, -10_000_000, 10_000_000),
    Attribute(_C.ELECTRICAL_MEASUREMENT, "cumulative_energy_imported", _K.NUMBER, _U.KILOWATT_HOUR, 0, 1e10),
    Attribute(_C.ELECTRICAL_MEASUREMENT, "cumulative_energy_exported", _K.NUMBER, _U.KILOWATT_HOUR, 0, 1e10),
    Attribute(_C.ELECTRICAL_MEASUREMENT, "apparent_power", _K.NUMBER, _U.VOLT_AMPERE, -10_000_000, 10_000_000),
    Attribute(_C.ELECTRICAL_MEASUREMENT, "reactive_power", _K.NUMBER, _U.VAR, -10_000_000, 10_000_000),
    Attribute(_C.ELECTRICAL_MEASUREMENT, "frequency", _K.NUMBER, _U.HERTZ, 0, 1_000),
    Attribute(_C.ELECTRICAL_MEASUREMENT, "power_factor", _K.NUMBER, None, -1, 1),
    Attribute(_C.ELECTRICAL_MEASUREMENT, "rms_voltage", _K.NUMBER, _U.VOLT, 0, 100_000),
    Attribute(_C.ELECTRICAL_MEASUREMENT, "rms_current", _K.NUMBER, _U.AMPERE, 0, 100_000),
    Attribute(_C.NETWORK_DIAGNOSTICS, "link_quality", _K.INTEGER, None, 0, 255),
    Attribute(_C.FAULT_STATE, "active", _K.BOOL, event=True),  # ours: Matter has no general fault cluster
    Attribute(_C.ROOM_REQUEST, "do_not_disturb", _K.BOOL, writable=True, event=True),  # ours: Matter has no hotel panel
    Attribute(_C.ROOM_REQUEST, "make_up_room", _K.BOOL, writable=True, event=True),
    Attribute(_C.SMOKE_CO_ALARM, "smoke_state", _K.CHOICE, choices=ALARM_STATES, event=True),
)

ATTRIBUTES: Final[Mapping[tuple[Capability, str], Attribute]] = MappingProxyType(
    {(row.capability, row.name): row for row in _ROWS}
)
"""Every attribute there is, by capability and name."""

ENDPOINT_SEPARATOR: Final = ":"
_ENDPOINT: Final = re.compile(r"[a-z0-9][a-z0-9_]{0,39}")


def attribute(capability: Capability, name: str, place: str = "") -> Attribute:
    """Return the table's row for an attribute as a device names it.

    A device that has one attribute more than once (a chiller's two water temperatures) names the further ones
    `<attribute>:<endpoint>`; the row is that of what stands before the colon. `place` is for the error.

    Raises:
        InvalidInputError: there is no such attribute.
    """
    plain, separator, endpoint = name.partition(ENDPOINT_SEPARATOR)
    row = ATTRIBUTES.get((capability, plain))
    if row is None or (separator and _ENDPOINT.fullmatch(endpoint) is None):
        spelt = f"{capability}.{shown(name)[1:-1]}"
        where = f"{place}: {spelt}" if place else spelt
        if row is not None:
            raise InvalidInputError(where, "what stands after the ':' is not 1 to 40 of a-z, 0-9 and '_'")
        known = ", ".join(each.name for each in _ROWS if each.capability is capability)
        raise InvalidInputError(where, f"no such attribute; {capability} has {known}")
    return row


def is_finite(value: float) -> bool:
    """Say whether a number is one; an integer always is, and `math.isfinite` raises for one that no float can hold."""
    return isinstance(value, int) or isfinite(value)


def problem_with(row: Attribute, value: object) -> str | None:
    """Say why `value` cannot be a value of `row`, or None if it can.

    An integer is a number, a bool is neither; infinities and NaN are no values.
    """
    if row.kind is Kind.BOOL:
        return None if isinstance(value, bool) else f"{shown(value)} is not true or false"
    if row.kind is Kind.CHOICE:
        return None if value in row.choices else f"{shown(value)} is none of {', '.join(row.choices)}"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return f"{shown(value)} is not a number"
    if row.kind is Kind.INTEGER and not isinstance(value, int):
        return f"{shown(value)} is not an integer"
    if not is_finite(value):
        return f"{shown(value)} is not a number"
    if row.least is not None and value < row.least:
        return f"{shown(value)} is under {row.least:g}"
    if row.most is not None and value > row.most:
        return f"{shown(value)} is over {row.most:g}"
    return None
