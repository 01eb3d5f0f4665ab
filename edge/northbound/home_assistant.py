"""What the house is to Home Assistant: its devices announced, their values, their availability, commands read back.

Pure. Source of truth: home-assistant.io, "MQTT discovery": `<prefix>/device/<id>/config` with `dev`,
`o` and `cmps` (since
2024.11), or one `<prefix>/<component>/<node>/<object>/config` an entity for older ones; birth message on
`<prefix>/status`.
Everything announced is retained; what leaves the plan is taken back by who published it (an empty payload, retained).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import msgspec

from kit.net import Message
from protocols.descriptors.codec import allow
from protocols.descriptors.descriptor import Descriptor, Point
from protocols.device_model.capability import Capability, Kind, Unit, Value
from protocols.device_model.identity import DescriptorId, DeviceId, EdgeId, PropertyId, RoomId
from protocols.device_model.reading import Quality
from protocols.device_model.site_plan import Device, SitePlan

COMMAND_BYTES_MAX: Final = 200
ONLINE: Final = b"online"
OFFLINE: Final = b"offline"
UNITS: Final[Mapping[Unit, str]] = {
    Unit.CELSIUS: "°C", Unit.KELVIN_DIFFERENCE: "K", Unit.PERCENT: "%", Unit.LUX: "lx", Unit.PARTS_PER_MILLION: "ppm",
    Unit.KILOPASCAL: "kPa", Unit.CUBIC_METRE_PER_HOUR: "m³/h", Unit.WATT: "W", Unit.KILOWATT_HOUR: "kWh", Unit.VOLT:
    "V",
    Unit.AMPERE: "A", Unit.VOLT_AMPERE: "VA", Unit.VAR: "var", Unit.HERTZ: "Hz", Unit.MIRED: "mired",
    Unit.MICROGRAM_PER_CUBIC_METRE: "µg/m³",
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
COLOUR: Final = (C.COLOR_CONTROL, "color_temperature_mireds")
LIFT: Final = (C.WINDOW_COVERING, "current_position_lift_percentage")

Key = tuple[Capability, str]


@dataclass(frozen=True, slots=True)
class Asked:
    """A command from Home Assistant that makes sense: what of whom shall become what."""

    device: DeviceId
    room: RoomId
    capability: Capability
    attribute: str
    value: Value


@dataclass(frozen=True, slots=True)
class Refused:
    """A command that makes none, and why; `topic` is where the answer goes."""

    topic: str
    reason: str


class HomeAssistant:
    """The messages of one property.

    Args:
        plan: what there is.
        descriptors: every model that the plan names.
        prefix: Home Assistant's discovery prefix.
        base: where values and commands go; nobody else publishes under it.
        discovery: `device` for Home Assistant 2024.11 and newer, `entity` for any.
    """

    def __init__(
        self,
        plan: SitePlan,
        descriptors: Mapping[DescriptorId, Descriptor],
        *,
        prefix: str = "homeassistant",
        base: str = "innkeeper",
        discovery: Literal["device", "entity"] = "device",
    ) -> None:
        self._plan, self._prefix, self._discovery = plan, prefix, discovery
        self._base = f"{base}/{plan.property.id}"
        self._property: PropertyId = plan.property.id
        self._edge: EdgeId = plan.edge
        self._models = {each.id: descriptors[each.descriptor] for each in plan.devices}
        self._rooms = {each.id: each.room for each in plan.devices}
        self._told = frozenset(
            (each, point.capability.value, point.attribute)
            for each, model in self._models.items()
            for point in model.points
        )
        self._commands: dict[str, tuple[DeviceId, Point]] = {
            f"{self._topic(each.id, (point.capability, point.attribute))}/set": (each.id, point)
            for each in plan.devices
            for point in self._models[each.id].points
            if point.write is not None
        }

    @property
    def will(self) -> Message:
        """What the broker says for this edge when it is lost."""
        return Message(self.edge_availability, OFFLINE, retain=True)

    @property
    def edge_availability(self) -> str:
        """Where this edge says that it is there."""
        return f"{self._base}/availability"

    @property
    def birth_topic(self) -> str:
        """Where Home Assistant says that it has started and wants to be told everything."""
        return f"{self._prefix}/status"

    def filters(self) -> list[str]:
        """Return what to subscribe."""
        return [self.birth_topic, f"{self._base}/+/+/set"]

    def announcements(self) -> list[Message]:
        """Return the retained configuration of every device, then that this edge is there."""
        return [
            *(message for device in self._plan.devices for message in self._announced(device)),
            Message(self.edge_availability, ONLINE, retain=True),
        ]

    def topics(self) -> set[str]:
        """Return every topic under which something of a device may be kept by the broker."""
        found = {message.topic for device in self._plan.devices for message in self._announced(device)}
        found |= {self.availability(each, online=False).topic for each in self._rooms}
        return found | {self._topic(device, (Capability(name), attribute)) for device, name, attribute in self._told}

    def tells(self, device: str, capability: str, attribute: str) -> bool:
        """Say whether it is a value of a model as announced: of a device that was swapped, more may be known."""
        return (device, capability, attribute) in self._told

    def availability(self, device: DeviceId, *, online: bool) -> Message:
        """Return what is said when a device comes or goes."""
        return Message(f"{self._base}/{device}/availability", ONLINE if online else OFFLINE, retain=True)

    def value(
        self, device: DeviceId, capability: Capability, attribute: str, value: Value | None, quality: str
    ) -> Message:
        """Return a value; one that is bad or stale is none: an old number must not look like a new one."""
        known = value if quality in (Quality.GOOD, Quality.UNCERTAIN) else None
        body = msgspec.json.encode({"value": known, "quality": quality})
        return Message(self._topic(device, (capability, attribute)), body, retain=True)

    def command(self, message: Message) -> Asked | Refused | None:
        """Return what a message asks for; None if it is no command. One kept by the broker is old: refused."""
        found = self._commands.get(message.topic)
        if found is None:
            return Refused(message.topic, "takes no commands") if message.topic.endswith("/set") else None
        device, point = found
        if message.retain:
            return Refused(message.topic, "a kept command is of unknown age: publish it without retain")
        if len(message.payload) > COMMAND_BYTES_MAX:
            return Refused(message.topic, f"{len(message.payload)} bytes, at most {COMMAND_BYTES_MAX} are read")
        value = _value_of(point, message.payload)
        if value is None:
            return Refused(
                message.topic, f"{message.payload[:40]!r} is no value of {point.capability}.{point.attribute}"
            )
        allowed = allow(point, value)
        if isinstance(allowed, str):
            return Refused(message.topic, allowed)
        return Asked(device, self._rooms[device], point.capability, point.attribute, allowed.value)

    def result(self, topic: str, phase: str, reason: str | None, value: Value | None = None) -> Message:
        """Return what became of a command, beside where it was asked."""
        body = msgspec.json.encode({"phase": phase, "reason": reason, "value": value})
        return Message(f"{topic.removesuffix('/set')}/result", body)

    def command_topic(self, device: DeviceId, capability: Capability, attribute: str) -> str:
        """Return where a command for an attribute is published."""
        return f"{self._topic(device, (capability, attribute))}/set"

    # --- announcing ------------------------------------------------------------------------------------------

    def _announced(self, device: Device) -> list[Message]:
        model = self._models[device.id]
        about = {
            "ids": [f"innkeeper_{self._property}_{device.id}"],
            "name": device.id,
            "mf": model.identity.vendor,
            "mdl": model.identity.model,
            "sa": device.room,
            "via_device": f"innkeeper_{self._property}_{self._edge}",
        }
        origin = {"name": "innkeeper", "sw": "0.1.0"}
        shared = {
            "avty": [{"t": self.edge_availability}, {"t": f"{self._base}/{device.id}/availability"}],
            "avty_mode": "all",
        }
        node = f"innkeeper_{self._property}_{device.id}"
        entities = {
            name: {"uniq_id": f"{node}_{name}", **entity} for name, entity in self._entities(device.id, model).items()
        }
        if self._discovery == "device":
            body = {"dev": about, "o": origin, "cmps": entities, **shared}
            return [Message(f"{self._prefix}/device/{node}/config", msgspec.json.encode(body), retain=True)]
        messages = []
        for name, entity in entities.items():
            own = {key: value for key, value in entity.items() if key != "p"}
            body = {**own, "dev": about, "o": origin, **shared}
            topic = f"{self._prefix}/{entity['p']}/{node}/{name}/config"
            messages.append(Message(topic, msgspec.json.encode(body), retain=True))
        return messages

    def _entities(self, device: DeviceId, model: Descriptor) -> dict[str, dict[str, Any]]:
        points = {(point.capability, point.attribute): point for point in model.points}
        entities: dict[str, dict[str, Any]] = {}
        used: set[Key] = set()
        for make in (self._climate, self._light, self._cover):
            made = make(device, points)
            if made is not None:
                name, entity, keys = made
                entities[name] = entity
                used |= keys
        for key, point in points.items():
            if key not in used:
                entities[_object(key)] = self._plain(device, key, point)
        return entities

    def _climate(self, device: DeviceId, points: Mapping[Key, Point]) -> tuple[str, dict[str, Any], set[Key]] | None:
        setpoint = points.get(SETPOINT) or points.get(COOL_SETPOINT)
        if setpoint is None or setpoint.write is None or LOCAL not in points:
            return None
        key = (setpoint.capability, setpoint.attribute)
        entity: dict[str, Any] = {
            "p": "climate",
            "name": "thermostat",
            "temp_unit": "C",
            "precision": 0.1,
            "min_temp": setpoint.write.least,
            "max_temp": setpoint.write.most,
            "temp_step": setpoint.write.step or 0.5,
            **self._state("curr_temp", device, LOCAL),
            **self._state("temp_stat", device, key),
            "temp_cmd_t": f"{self._topic(device, key)}/set",
        }
        mode = points.get(MODE)
        words = [word for word in MODES if mode is not None and any(word == meaning for _, meaning in mode.values)]
        entity["modes"] = words or ["heat"]
        if mode is not None and mode.write is not None and words:
            entity.update(self._state("mode_stat", device, MODE))
            entity["mode_cmd_t"] = f"{self._topic(device, MODE)}/set"
        return "climate", entity, {key}

    def _light(self, device: DeviceId, points: Mapping[Key, Point]) -> tuple[str, dict[str, Any], set[Key]] | None:
        switch, level, colour = points.get(ON_OFF), points.get(LEVEL), points.get(COLOUR)
        if switch is None or switch.write is None or level is None or level.write is None:
            return None
        entity: dict[str, Any] = {
            "p": "light",
            "name": "light",
            "stat_t": self._topic(device, ON_OFF),
            "stat_val_tpl": "{{ 'ON' if value_json.value else 'OFF' }}",
            "cmd_t": f"{self._topic(device, ON_OFF)}/set",
            "bri_scl": 254,
            "bri_stat_t": self._topic(device, LEVEL),
            "bri_val_tpl": "{{ value_json.value }}",
            "bri_cmd_t": f"{self._topic(device, LEVEL)}/set",
        }
        used: set[Key] = {ON_OFF, LEVEL}
        if colour is not None and colour.write is not None:
            entity.update(
                clr_temp_stat_t=self._topic(device, COLOUR),
                clr_temp_val_tpl="{{ value_json.value }}",
                clr_temp_cmd_t=f"{self._topic(device, COLOUR)}/set",
                min_mirs=round(colour.write.least or 153),
                max_mirs=round(colour.write.most or 500),
            )
            used.add(COLOUR)
        return "light", entity, used

    def _cover(self, device: DeviceId, points: Mapping[Key, Point]) -> tuple[str, dict[str, Any], set[Key]] | None:
        lift = points.get(LIFT)
        if lift is None or lift.write is None:
            return None
        topic = self._topic(device, LIFT)
        entity = {
            "p": "cover",
            "name": "cover",
            "pos_t": topic,
            "pos_tpl": "{{ value_json.value }}",
            "set_pos_t": f"{topic}/set",
            "pos_open": 100,
            "pos_clsd": 0,
            "cmd_t": f"{topic}/set",
            "pl_open": "100",
            "pl_cls": "0",
            "pl_stop": None,
        }
        return "cover", entity, {LIFT}

    def _plain(self, device: DeviceId, key: Key, point: Point) -> dict[str, Any]:
        capability, attribute = key
        plain, _, endpoint = attribute.partition(":")
        row, topic = point.row, self._topic(device, key)
        entity: dict[str, Any] = {"name": _spoken(key), "stat_t": topic, "val_tpl": "{{ value_json.value }}"}
        device_class = ENDPOINT_CLASSES.get(endpoint) if capability is C.BOOLEAN_STATE else None
        device_class = device_class or CLASSES.get((capability, plain))
        if device_class is not None:
            entity["dev_cla"] = device_class
        if row.kind is Kind.BOOL:
            closed = capability is C.BOOLEAN_STATE and endpoint not in TRUE_IS_ON
            on, off = ("OFF", "ON") if closed else ("ON", "OFF")
            none = "{% if value_json.value is none %}None"
            entity["val_tpl"] = f"{none}{{% else %}}{{{{ '{on}' if value_json.value else '{off}' }}}}{{% endif %}}"
            entity["p"] = "switch" if point.write is not None else "binary_sensor"
        elif row.kind is Kind.CHOICE:
            words = sorted({str(meaning) for _, meaning in point.values})
            entity["p"] = "select" if point.write is not None else "sensor"
            entity["ops"] = words
            if point.write is None:
                entity["dev_cla"] = "enum"
        else:
            if row.unit is not None:
                entity["unit_of_meas"] = UNITS[row.unit]
            if point.write is not None and point.write.least is not None:
                entity.update(p="number", min=point.write.least, max=point.write.most, step=point.write.step or 1)
            else:
                entity["p"] = "sensor"
                entity["stat_cla"] = "total_increasing" if device_class == "energy" else "measurement"
        if point.write is not None:
            entity["cmd_t"] = f"{topic}/set"
        if capability in (C.NETWORK_DIAGNOSTICS, C.POWER_SOURCE):
            entity["ent_cat"] = "diagnostic"
        return entity

    def _state(self, what: str, device: DeviceId, key: Key) -> dict[str, str]:
        template = "curr_temp_tpl" if what == "curr_temp" else f"{what}_tpl"
        return {f"{what}_t": self._topic(device, key), template: "{{ value_json.value }}"}

    def _topic(self, device: DeviceId, key: Key) -> str:
        return f"{self._base}/{device}/{key[0].value}.{key[1]}"


def _object(key: Key) -> str:
    return f"{key[0].value}_{key[1].replace(':', '_')}"


def _spoken(key: Key) -> str:
    plain, _, endpoint = key[1].partition(":")
    words = key[0].value.removesuffix("_measurement") if plain == "measured_value" else plain
    return f"{words} {endpoint}".replace("_", " ").strip()


def _value_of(point: Point, payload: bytes) -> Value | None:
    try:
        text = payload.decode().strip()
    except UnicodeDecodeError:
        return None
    if point.row.kind is Kind.BOOL:
        return {"ON": True, "OFF": False, "true": True, "false": False}.get(text)
    if point.row.kind is Kind.CHOICE:
        return text if text in point.row.choices else None
    try:
        number = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return None
    return number if isinstance(number, int | float) and not isinstance(number, bool) else None
