"""What is true in the room: a small model of each kind of thing, told the time that passed.

Answers for the physical state alone; how it shows on a wire is the servers'. The state of a device is a value for each
attribute of its descriptor: what a test may call the truth.
"""

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Final

from protocols.descriptors.descriptor import Descriptor, Point
from protocols.descriptors.firmware import all_points, newest, under, version_of
from protocols.device_model.capability import (
    HUE_AND_SATURATION,
    WARMTH,
    X_AND_Y,
    Capability,
    Kind,
    Value,
    problem_with,
)
from protocols.device_model.identity import DeviceId, RoomId
from protocols.errors import InvalidInputError

Key = tuple[Capability, str]
EFFECTS_MAX: Final = 1_000

T, F, L, C = Capability.THERMOSTAT, Capability.FAN_CONTROL, Capability.LEVEL_CONTROL, Capability.COLOR_CONTROL
LOCAL: Final = (T, "local_temperature")
SETPOINT: Final = (T, "occupied_heating_setpoint")
CONTROLLER: Final = (T, "occupied_heating_setpoint:controller")
OFFSET: Final = (T, "setpoint_change_amount")
MODE: Final = (T, "system_mode")
RUNNING: Final = (T, "thermostat_running_mode")
HEATING: Final = (T, "pi_heating_demand")
COOLING: Final = (T, "pi_cooling_demand")
FAN_MODE: Final = (F, "fan_mode")
FAN_SPEED: Final = (F, "speed_current")
WINDOW: Final = (Capability.BOOLEAN_STATE, "state_value:window")
ON_OFF: Final = (Capability.ON_OFF, "on_off")
LEVEL: Final = (L, "current_level")
CONTACT: Final = (Capability.BOOLEAN_STATE, "state_value")
OCCUPANCY: Final = (Capability.OCCUPANCY_SENSING, "occupancy")
LIGHT: Final = (Capability.ILLUMINANCE_MEASUREMENT, "measured_value")
LEAVING: Final = LOCAL
RETURN: Final = (Capability.TEMPERATURE_MEASUREMENT, "measured_value:return_water")
COOL_SETPOINT: Final = (T, "occupied_cooling_setpoint")
POWER: Final = (Capability.ELECTRICAL_MEASUREMENT, "active_power")
CONDENSER: Final = (Capability.PRESSURE_MEASUREMENT, "measured_value:condenser")
FAULT: Final = (Capability.FAULT_STATE, "active")
COLOR_MODE: Final = (C, "color_mode")
CHOOSES: Final[Mapping[str, str]] = {
    "current_hue": HUE_AND_SATURATION, "current_saturation": HUE_AND_SATURATION,
    "current_x": X_AND_Y, "current_y": X_AND_Y, "color_temperature_mireds": WARMTH,
}  # fmt: skip
"""Which mode of colours a lamp is in once it was asked for one of these."""


class EmulatedDevice:
    """A thing in a room. Subclasses bring `step` and `EVENTS`.

    Args:
        device: its name in the site plan.
        room: where it is.
        descriptor: what it is.
        changed: called after something changed that the device tells by itself.
    """

    EVENTS: ClassVar[Mapping[str, str]] = {}
    """What can be caused, and with which arguments, for people."""

    def __init__(
        self,
        device: DeviceId,
        room: RoomId,
        descriptor: Descriptor,
        changed: Callable[["EmulatedDevice"], None] = lambda _: None,
    ) -> None:
        self.device, self.room, self.model, self.changed = device, room, descriptor, changed
        told = descriptor.emulation.firmware if descriptor.emulation else None
        self.firmware = told or newest(descriptor)
        """The version that it tells."""
        self.descriptor = under(descriptor, version_of(descriptor.firmware, self.firmware))
        """Its model, under that firmware."""
        self.powered = True
        self.effects: deque[dict[str, Any]] = deque(maxlen=EFFECTS_MAX)
        """What the bus really wrote, oldest first: the truth that guarantee G13 is held against."""
        self.effects_count = 0
        self.state: dict[Key, Value] = {}
        for key, point in all_points(descriptor).items():
            self.state[key] = _plain(point)
        for start in descriptor.emulation.start if descriptor.emulation else ():
            self.state[(start.capability, start.attribute)] = start.value

    def flash(self, version: str) -> None:
        """Put another firmware on it: from now on it speaks and listens as that one does."""
        self.firmware = version
        self.descriptor = under(self.model, version_of(self.model.firmware, version))

    def written(self, point: Point, value: Value, *, at_ms: int) -> None:
        """The bus wrote a value: it is the truth now."""
        self.effects_count += 1
        self.effects.append(
            {"capability": point.capability, "attribute": point.attribute, "value": value, "at_ms": at_ms}
        )
        self.state[(point.capability, point.attribute)] = value
        if point.capability is C and (mode := CHOOSES.get(point.attribute)) is not None:
            self.put(COLOR_MODE, mode)
        self.after_write((point.capability, point.attribute))

    def after_write(self, key: Key) -> None:
        """What else changes when the bus wrote `key`."""

    def step(self, seconds: float) -> None:
        """Let time pass."""

    def cause(self, event: str, arguments: Mapping[str, Any]) -> None:
        """Let a person or the weather do something.

        Raises:
            InvalidInputError: this thing has no such event, or not with these arguments.
        """
        if event == "set":  # any attribute, straight: for what no event is worth a name
            point = self.descriptor.point(_capability(arguments), str(arguments.get("attribute")))
            value = arguments.get("value")
            if point is None or problem_with(point.row, value) is not None:
                raise InvalidInputError(f"{self.device}: set", f"{arguments!r:.120} does not fit")
            self.state[(point.capability, point.attribute)] = value  # type: ignore[assignment]  # just judged
            self.changed(self)
            return
        if event not in self.EVENTS:
            known = ", ".join([*self.EVENTS, "set"])
            raise InvalidInputError(f"{self.device}: cause", f"no event {event!r}; it knows {known}")
        self.happen(event, arguments)

    def happen(self, event: str, arguments: Mapping[str, Any]) -> None:
        """Do what `cause` has let through."""

    def number(self, key: Key) -> float:
        """Return a numeric truth."""
        value = self.state.get(key, 0.0)
        return value if isinstance(value, int | float) else 0.0

    def put(self, key: Key, value: Value) -> None:
        """Set a truth if the device has that attribute."""
        if key in self.state:
            self.state[key] = value


class FanCoilThermostat(EmulatedDevice):
    """A room with a fan coil: heat goes in by demand, leaks out by the difference to outside, faster by the window."""

    EVENTS: ClassVar = {
        "turn_knob": "delta: kelvin, -10..10; the guest turns the dial",
        "window": "open: bool",
        "room_temperature": "value: degrees Celsius",
        "weather": "value: degrees Celsius outside",
    }
    OUTSIDE: Final = 4.0
    HEAT_KELVIN_PER_H: Final = 10.0
    COOL_KELVIN_PER_H: Final = 8.0
    LEAK_PER_H: Final = 0.08
    WINDOW_LEAK_PER_H: Final = 1.2
    SLEEP_SETBACK: Final = 3.0
    DIAL_MOST: Final = 3.0

    def __init__(self, *arguments: Any) -> None:  # the base's
        super().__init__(*arguments)
        self.outside_c = self.OUTSIDE
        self.put(WINDOW, True)
        self.step(0.0)

    def after_write(self, key: Key) -> None:  # noqa: ARG002 - the port's parameter
        """The controller takes the new setpoint at once."""
        self.step(0.0)

    def happen(self, event: str, arguments: Mapping[str, Any]) -> None:
        """See `EVENTS`."""
        if event == "turn_knob":
            offset = self.number(OFFSET) + _number(arguments, "delta", self.device)
            self.put(OFFSET, round(max(-self.DIAL_MOST, min(self.DIAL_MOST, offset)), 1))
        elif event == "window":
            self.put(WINDOW, arguments.get("open") is not True)
        elif event == "weather":
            self.outside_c = max(-40.0, min(50.0, _number(arguments, "value", self.device)))
        else:
            self.put(LOCAL, _number(arguments, "value", self.device))
        self.step(0.0)

    def step(self, seconds: float) -> None:
        """Move the room's temperature, then the controller's outputs."""
        now, mode = self.number(LOCAL), self.state.get(MODE)
        wanted = self.number(SETPOINT) + self.number(OFFSET) - (self.SLEEP_SETBACK if mode == "sleep" else 0.0)
        fan_off = self.state.get(FAN_MODE) == "off"
        heating = 0.0 if mode == "off" else max(0.0, min(100.0, (wanted - now) * 50))
        cooling = 0.0 if mode == "off" else max(0.0, min(100.0, (now - wanted - 1.0) * 50))
        if fan_off:
            heating, cooling = heating * 0.2, 0.0
        leak = self.LEAK_PER_H if self.state.get(WINDOW, True) else self.WINDOW_LEAK_PER_H
        for _ in range(max(1, min(1_000, int(seconds // 30)))):
            hours = seconds / max(1, min(1_000, int(seconds // 30))) / 3600
            heat = heating / 100 * self.HEAT_KELVIN_PER_H - cooling / 100 * self.COOL_KELVIN_PER_H
            now += hours * (heat - leak * (now - self.outside_c))
            heating = 0.0 if mode == "off" else max(0.0, min(100.0, (wanted - now) * 50)) * (0.2 if fan_off else 1)
            cooling = 0.0 if mode == "off" or fan_off else max(0.0, min(100.0, (now - wanted - 1.0) * 50))
        self.put(LOCAL, max(0.0, min(50.0, now)))
        self.put((Capability.TEMPERATURE_MEASUREMENT, "measured_value:internal"), self.number(LOCAL))
        self.put(CONTROLLER, max(0.0, min(60.0, wanted)))
        self.put(HEATING, heating)
        self.put(COOLING, cooling)
        self.put(RUNNING, "heat" if heating > 0 else "cool" if cooling > 0 else "off")
        manual = {"off": 0, "low": 1, "medium": 2, "high": 3}.get(str(self.state.get(FAN_MODE)))
        demand = max(heating, cooling)
        automatic = 3 if demand > 90 else 2 if demand > 60 else 1 if demand > 5 else 0
        self.put(FAN_SPEED, automatic if manual is None else manual)


class DimmableLight(EmulatedDevice):
    """A lamp; a guest may switch it by hand."""

    EVENTS: ClassVar = {"switch": "on: bool; somebody switches it by hand"}

    def happen(self, event: str, arguments: Mapping[str, Any]) -> None:  # noqa: ARG002 - the port's parameter
        """See `EVENTS`."""
        self.put(ON_OFF, arguments.get("on") is True)
        self.changed(self)


class Contact(EmulatedDevice):
    """A door or window contact; closed is true."""

    EVENTS: ClassVar = {"open": "the door opens", "close": "the door closes"}

    def happen(self, event: str, arguments: Mapping[str, Any]) -> None:  # noqa: ARG002 - the port's parameter
        """See `EVENTS`."""
        self.put(CONTACT, event == "close")
        self.changed(self)


class Motion(EmulatedDevice):
    """A motion sensor: occupied for `CLEARS_S` after the last motion, and blind for a minute after each."""

    EVENTS: ClassVar = {"motion": "somebody moves", "light": "value: lux"}
    CLEARS_S: ClassVar[float] = 90.0

    def __init__(self, *arguments: Any) -> None:  # the base's
        super().__init__(*arguments)
        self._clears_in_s = 0.0

    def happen(self, event: str, arguments: Mapping[str, Any]) -> None:
        """See `EVENTS`."""
        if event == "light":
            self.put(LIGHT, _number(arguments, "value", self.device))
        else:
            self.put(OCCUPANCY, True)
            self._clears_in_s = self.CLEARS_S
        self.changed(self)

    def step(self, seconds: float) -> None:
        """Clear the occupancy when nobody has moved for long enough."""
        if self._clears_in_s > 0:
            self._clears_in_s -= seconds
            if self._clears_in_s <= 0:
                self.put(OCCUPANCY, False)
                self.changed(self)


class Chiller(EmulatedDevice):
    """A water chiller that follows its setpoint while it is enabled and well."""

    EVENTS: ClassVar = {
        "fault": "active: bool",
        "bad_node": "capability, attribute, status: OPC UA status code (0 heals)",
        "load": "value: kilowatt taken by the building",
    }

    def __init__(self, *arguments: Any) -> None:  # the base's
        super().__init__(*arguments)
        self.load_kw = 30.0
        self.bad_nodes: dict[Key, int] = {}
        self.step(0.0)

    def happen(self, event: str, arguments: Mapping[str, Any]) -> None:
        """See `EVENTS`."""
        if event == "fault":
            self.put(FAULT, arguments.get("active") is True)
        elif event == "load":
            self.load_kw = max(0.0, min(80.0, _number(arguments, "value", self.device)))
        else:
            key = (_capability(arguments), str(arguments.get("attribute")))
            status = arguments.get("status", 0x808C0000)  # BadSensorFailure
            if key not in self.state or type(status) is not int or not 0 <= status <= 0xFFFF_FFFF:
                raise InvalidInputError(f"{self.device}: bad_node", f"{arguments!r:.120} does not fit")
            self.bad_nodes.pop(key, None)
            if status:
                self.bad_nodes[key] = status
        self.changed(self)

    def step(self, seconds: float) -> None:
        """Move the water towards the setpoint, or towards the building when it stands still."""
        runs = self.state.get(ON_OFF) is True and self.state.get(FAULT) is not True
        target = self.number(COOL_SETPOINT) if runs else 20.0
        share = min(1.0, seconds / 120)
        leaving = self.number(LEAVING) + (target - self.number(LEAVING)) * share
        self.put(LEAVING, leaving)
        self.put(RETURN, min(60.0, leaving + self.load_kw / 10 + 1.0))
        self.put(POWER, self.load_kw / 3.2 * 1000 if runs else 150.0)
        self.put(CONDENSER, (14.0 + self.load_kw / 20 if runs else 8.0) * 100)


class Plain(EmulatedDevice):
    """A thing that keeps what it was told and counts its energy: sensors, meters, plugs, curtains."""

    def step(self, seconds: float) -> None:
        """Count the energy of the power."""
        for capability, name in self.state:
            if capability is Capability.ELECTRICAL_MEASUREMENT and name == "cumulative_energy_imported":
                power = max(0.0, self.number((capability, "active_power")))
                self.state[(capability, name)] = self.number((capability, name)) + power * seconds / 3_600_000


MODELS: Final[Mapping[str, type[EmulatedDevice]]] = {
    "fan_coil_thermostat": FanCoilThermostat,
    "dimmable_light": DimmableLight,
    "contact": Contact,
    "motion": Motion,
    "chiller": Chiller,
    "plain": Plain,
}


def build(
    device: DeviceId, room: RoomId, descriptor: Descriptor, changed: Callable[[EmulatedDevice], None]
) -> EmulatedDevice:
    """Return the thing that a descriptor describes.

    Raises:
        InvalidInputError: the descriptor says nothing of an emulation.
    """
    if descriptor.emulation is None:
        raise InvalidInputError(descriptor.id, "has no [emulation]: nothing to emulate it by")
    return MODELS[descriptor.emulation.model](device, room, descriptor, changed)


def _plain(point: Point) -> Value:
    row = point.row
    if row.kind is Kind.BOOL:
        return False
    if row.kind is Kind.CHOICE:
        return str(point.values[0][1])
    least, most = point.range
    return min(max(0.0, least if least is not None else 0.0), most if most is not None else 0.0)


def _number(arguments: Mapping[str, Any], name: str, place: str) -> float:
    value = arguments.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidInputError(f"{place}: {name}", f"{value!r:.40} is not a number")
    return float(value)


def _capability(arguments: Mapping[str, Any]) -> Capability:
    try:
        return Capability(str(arguments.get("capability")))
    except ValueError as error:
        raise InvalidInputError("capability", str(error)) from error
