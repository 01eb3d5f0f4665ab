"""The entities that Home Assistant makes of one device: which component, class, unit, range and topics.

Pure. Source of truth: home-assistant.io, "MQTT discovery" and the pages of the components; what is not said there was
seen on Home Assistant 2025.4: a light and a cover take no number from `None`, so a value that is not known is told them
as nothing at all, and a cover then stands where it stood unless its state, which is told apart, says `None`; a number
outside its own bounds is an error a time and leaves the one before; a climate without a mode topic calls itself off; a
mode that it was not told of is a warning a time.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from protocols.descriptors.descriptor import Descriptor, Point
from protocols.device_model.capability import WARMTH as WHITE
from protocols.device_model.capability import Capability, Kind, Unit

Key = tuple[Capability, str]
Entity = dict[str, Any]
UNITS: Final[Mapping[Unit, str]] = {
    Unit.CELSIUS: "°C", Unit.KELVIN_DIFFERENCE: "K", Unit.PERCENT: "%", Unit.LUX: "lx", Unit.PARTS_PER_MILLION: "ppm",
    Unit.KILOPASCAL: "kPa", Unit.CUBIC_METRE_PER_HOUR: "m³/h", Unit.WATT: "W", Unit.KILOWATT_HOUR: "kWh",
    Unit.VOLT: "V", Unit.AMPERE: "A", Unit.VOLT_AMPERE: "VA", Unit.VAR: "var", Unit.HERTZ: "Hz", Unit.MIRED: "mired",
    Unit.MICROGRAM_PER_CUBIC_METRE: "µg/m³", Unit.DEGREE: "°",
}  # fmt: skip
"""The device model's units as Home Assistant spells them."""
C: Final = Capability
CLASSES: Final[Mapping[tuple[Capability, str], str]] = {
    (C.THERMOSTAT, "local_temperature"): "temperature", (C.THERMOSTAT, "outdoor_temperature"): "temperature",
    (C.TEMPERATURE_MEASUREMENT, "measured_value"): "temperature",
    (C.RELATIVE_HUMIDITY_MEASUREMENT, "measured_value"): "humidity",
    (C.ILLUMINANCE_MEASUREMENT, "measured_value"): "illuminance",
    (C.CARBON_DIOXIDE_CONCENTRATION_MEASUREMENT, "measured_value"): "carbon_dioxide",
    (C.PM2_5_CONCENTRATION_MEASUREMENT, "measured_value"): "pm25",
    (C.PRESSURE_MEASUREMENT, "measured_value"): "pressure", (C.FLOW_MEASUREMENT, "measured_value"): "volume_flow_rate",
    (C.OCCUPANCY_SENSING, "occupancy"): "occupancy", (C.BOOLEAN_STATE, "state_value"): "opening",
    (C.POWER_SOURCE, "bat_percent_remaining"): "battery", (C.POWER_SOURCE, "bat_voltage"): "voltage",
    (C.ELECTRICAL_MEASUREMENT, "active_power"): "power", (C.ELECTRICAL_MEASUREMENT, "rms_voltage"): "voltage",
    (C.ELECTRICAL_MEASUREMENT, "rms_current"): "current", (C.ELECTRICAL_MEASUREMENT, "frequency"): "frequency",
    (C.ELECTRICAL_MEASUREMENT, "apparent_power"): "apparent_power",
    (C.ELECTRICAL_MEASUREMENT, "reactive_power"): "reactive_power",
    (C.ELECTRICAL_MEASUREMENT, "power_factor"): "power_factor",
    (C.ELECTRICAL_MEASUREMENT, "cumulative_energy_imported"): "energy",
    (C.ELECTRICAL_MEASUREMENT, "cumulative_energy_exported"): "energy", (C.FAULT_STATE, "active"): "problem",
}  # fmt: skip
ENDPOINT_CLASSES: Final[Mapping[str, str]] = {
    "leak": "moisture", "smoke": "smoke", "window": "window", "tamper": "tamper", "vibration": "vibration",
}  # fmt: skip
TRUE_IS_ON: Final = frozenset({"leak", "smoke", "tamper", "vibration"})
"""Endpoints of `state_value` where true is what is told; elsewhere true is closed, and Home Assistant's on is open."""
MODES: Final = ("off", "auto", "cool", "heat", "fan_only", "dry")
"""System modes that Home Assistant's climate knows too. The others are shown by a select beside it."""
SETPOINT: Final = (C.THERMOSTAT, "occupied_heating_setpoint")
COOL_SETPOINT: Final = (C.THERMOSTAT, "occupied_cooling_setpoint")
LOCAL: Final = (C.THERMOSTAT, "local_temperature")
MODE: Final = (C.THERMOSTAT, "system_mode")
ON_OFF: Final = (C.ON_OFF, "on_off")
LEVEL: Final = (C.LEVEL_CONTROL, "current_level")
WARMTH: Final = (C.COLOR_CONTROL, "color_temperature_mireds")
FORMS: Final[Mapping[str, tuple[Key, Key]]] = {
    "hs": ((C.COLOR_CONTROL, "current_hue"), (C.COLOR_CONTROL, "current_saturation")),
    "xy": ((C.COLOR_CONTROL, "current_x"), (C.COLOR_CONTROL, "current_y")),
}
"""What Home Assistant calls a form of colours, and its halves in Home Assistant's order. The first is preferred."""
COLOR_MODE: Final = (C.COLOR_CONTROL, "color_mode")
LIFT: Final = (C.WINDOW_COVERING, "current_position_lift_percentage")

_NUMBER: Final = "{{ value_json.value if value_json.value is not none else '' }}"
"""For components that cannot read `None`: nothing is told, and the device's availability says the rest."""
_OPEN: Final = (
    "{% if value_json.value is none %}None{% else %}"
    "{{ 'closed' if value_json.value > 99 else 'open' }}{% endif %}"  # by the whole per cent, as the position is read
)
"""What a cover is by its position; `None` is unknown, which no position says."""
_NUMBERS: Final = "{{ value_json.value | join(',') if value_json.value is not none else '' }}"
"""The same for a colour, which is two of them."""


class Entities:
    """The entities of one device.

    Args:
        model: what it is.
        topic: where a value of it is told; what ends there in `/set` is a command for it.
        watches: `window` or `door`, for a contact.
    """

    def __init__(self, model: Descriptor, topic: Callable[[Key], str], *, watches: str | None = None) -> None:
        self._points: Mapping[Key, Point] = {(point.capability, point.attribute): point for point in model.points}
        self._topic, self._watches = topic, watches or "door"

    def all(self) -> dict[str, Entity]:
        """Return every entity by its name within the device; each has its component in `p`."""
        entities: dict[str, Entity] = {}
        used: set[Key] = set()
        for make in (self._climate, self._light, self._cover):
            made = make()
            if made is not None:
                entity, keys = made
                entities[entity["p"]] = entity
                used |= keys
        for key, point in self._points.items():
            if key not in used:
                entities[_object(key)] = self._plain(key, point)
        return entities

    @property
    def colour(self) -> str | None:
        """In which of `FORMS` the colour of its light is told and asked for; None: it has no light, or no colour."""
        if not self._writable(ON_OFF):
            return None
        return next((form for form, halves in FORMS.items() if all(map(self._writable, halves))), None)

    def _writable(self, key: Key) -> bool:
        point = self._points.get(key)
        return point is not None and point.write is not None

    def _climate(self) -> tuple[Entity, set[Key]] | None:
        setpoint = self._points.get(SETPOINT) or self._points.get(COOL_SETPOINT)
        if setpoint is None or setpoint.write is None or LOCAL not in self._points:
            return None
        key = (setpoint.capability, setpoint.attribute)
        entity: Entity = {
            "p": "climate",
            "name": "thermostat",
            "temp_unit": "C",
            "precision": 0.1,
            "min_temp": setpoint.write.least,
            "max_temp": setpoint.write.most,
            "temp_step": setpoint.write.step or 0.5,
            **self._state("curr_temp", LOCAL),
            **self._state("temp_stat", key),
            "temp_cmd_t": f"{self._topic(key)}/set",
        }
        mode = self._points.get(MODE)
        words = [word for word in MODES if mode is not None and any(word == meaning for _, meaning in mode.values)]
        if mode is not None and words:
            entity["modes"] = words
            entity["mode_stat_t"] = self._topic(MODE)
            entity["mode_stat_tpl"] = f"{{{{ value_json.value if value_json.value in {words} else 'None' }}}}"
            if mode.write is not None:
                entity["mode_cmd_t"] = f"{self._topic(MODE)}/set"
        else:
            only = "heat" if key == SETPOINT else "cool"
            entity["modes"] = [only]
            entity["mode_stat_t"] = self._topic(key)
            entity["mode_stat_tpl"] = only
        return entity, {key}

    def _light(self) -> tuple[Entity, set[Key]] | None:
        form = self.colour
        if not self._writable(ON_OFF) or not (form or self._writable(LEVEL) or self._writable(WARMTH)):
            return None
        warmth = self._points.get(WARMTH)
        entity: Entity = {
            "p": "light",
            "name": "light",
            "stat_t": self._topic(ON_OFF),
            "stat_val_tpl": _either("ON", "OFF"),
            "cmd_t": f"{self._topic(ON_OFF)}/set",
        }
        used: set[Key] = {ON_OFF}
        if self._writable(LEVEL):
            topic = self._topic(LEVEL)
            entity.update(bri_scl=254, bri_stat_t=topic, bri_val_tpl=_NUMBER, bri_cmd_t=f"{topic}/set")
            used.add(LEVEL)
        if warmth is not None and warmth.write is not None:
            entity.update(
                clr_temp_stat_t=self._topic(WARMTH),
                clr_temp_val_tpl="{{ value_json.value | round | int if value_json.value is not none else '' }}",
                clr_temp_cmd_t=f"{self._topic(WARMTH)}/set",
                min_mirs=round(warmth.write.least or 153),
                max_mirs=round(warmth.write.most or 500),
            )
            used.add(WARMTH)
        if form is not None:
            topic = self._topic((C.COLOR_CONTROL, form))
            entity |= {f"{form}_stat_t": topic, f"{form}_val_tpl": _NUMBERS, f"{form}_cmd_t": f"{topic}/set"}
            used.update(FORMS[form])
            if WARMTH in used and COLOR_MODE in self._points:
                # Else Home Assistant goes by what it was told last, and of a lamp that tells both that is anything.
                entity |= {"clrm_stat_t": self._topic(COLOR_MODE), "clrm_val_tpl": _mode(form)}
                used.add(COLOR_MODE)
        return entity, used

    def _cover(self) -> tuple[Entity, set[Key]] | None:
        lift = self._points.get(LIFT)
        if lift is None or lift.write is None:
            return None
        topic = self._topic(LIFT)
        entity: Entity = {
            "p": "cover",
            "name": "cover",
            "pos_t": topic,
            "pos_tpl": _NUMBER,
            "stat_t": topic,
            "val_tpl": _OPEN,
            "set_pos_t": f"{topic}/set",
            "pos_open": 0,  # Matter counts what is closed
            "pos_clsd": 100,
            "cmd_t": f"{topic}/set",
            "pl_open": "0",
            "pl_cls": "100",
            "pl_stop": None,
        }
        return entity, {LIFT}

    def _plain(self, key: Key, point: Point) -> Entity:
        capability, attribute = key
        plain, _, endpoint = attribute.partition(":")
        row, topic = point.row, self._topic(key)
        entity: Entity = {"name": _spoken(key), "stat_t": topic, "val_tpl": "{{ value_json.value }}"}
        device_class = CLASSES.get((capability, plain))
        if capability is C.BOOLEAN_STATE:
            device_class = ENDPOINT_CLASSES.get(endpoint) or (device_class if endpoint else self._watches)
        elif device_class is None and row.unit is Unit.CELSIUS:
            device_class = "temperature"
        if device_class is not None:
            entity["dev_cla"] = device_class
        if row.kind is Kind.BOOL:
            closed = capability is C.BOOLEAN_STATE and endpoint not in TRUE_IS_ON
            entity["val_tpl"] = _either("OFF", "ON") if closed else _either("ON", "OFF")
            entity["p"] = "switch" if point.write is not None else "binary_sensor"
        elif row.kind is Kind.CHOICE:
            entity["p"] = "select" if point.write is not None else "sensor"
            entity["ops"] = sorted({str(meaning) for _, meaning in point.values})
            if point.write is None:
                entity["dev_cla"] = "enum"
        else:
            if row.unit is not None:
                entity["unit_of_meas"] = UNITS[row.unit]
            if point.write is not None and point.write.least is not None:
                least, most = point.write.least, point.write.most
                entity.update(p="number", min=least, max=most, step=point.write.step or 1, val_tpl=_within(least, most))
            else:
                entity["p"] = "sensor"
                entity["stat_cla"] = "total_increasing" if device_class == "energy" else "measurement"
        if point.write is not None:
            entity["cmd_t"] = f"{topic}/set"
        if capability in (C.NETWORK_DIAGNOSTICS, C.POWER_SOURCE):
            entity["ent_cat"] = "diagnostic"
        return entity

    def _state(self, what: str, key: Key) -> dict[str, str]:
        template = "curr_temp_tpl" if what == "curr_temp" else f"{what}_tpl"
        return {f"{what}_t": self._topic(key), template: "{{ value_json.value }}"}


def _mode(form: str) -> str:
    """Return what tells Home Assistant that a lamp shows its white, or its colour in the form that is told there."""
    known = "{% if value_json.value is not none %}"
    return f"{known}{{{{ 'color_temp' if value_json.value == '{WHITE}' else '{form}' }}}}{{% endif %}}"


def _either(yes: str, no: str) -> str:
    none = "{% if value_json.value is none %}None"
    return f"{none}{{% else %}}{{{{ '{yes}' if value_json.value else '{no}' }}}}{{% endif %}}"


def _within(least: float, most: float | None) -> str:
    """Return what tells a number that may be asked for; of another one nothing is known there."""
    within = f"value_json.value is not none and value_json.value >= {least} and value_json.value <= {most}"
    return f"{{{{ value_json.value if {within} else 'None' }}}}"


def _object(key: Key) -> str:
    return f"{key[0].value}_{key[1].replace(':', '_')}"


def _spoken(key: Key) -> str:
    plain, _, endpoint = key[1].partition(":")
    words = key[0].value.removesuffix("_measurement") if plain == "measured_value" else plain
    return f"{words} {endpoint}".replace("_", " ").strip()
