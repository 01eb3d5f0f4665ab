"""The components that are taken: which attribute each is, on which topics, in which words; or why it is none.

Source of truth: SPEC.md section 4, after the pages of home-assistant.io on MQTT sensor, binary sensor, switch, light,
climate, number and select (2025.4); lights.py, fans.py and covers.py are the rest.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from protocols.descriptors.descriptor import WriteRule
from protocols.device_model.capability import Capability, Value, attribute
from protocols.documents import shown
from protocols.errors import InvalidInputError
from protocols.home_assistant import meanings
from protocols.home_assistant.announcements import Entity
from protocols.home_assistant.covers import cover
from protocols.home_assistant.entities import Made, Maker, Speaks, rule, scaled
from protocols.home_assistant.fans import fan, fan_words, in_words
from protocols.home_assistant.lights import light
from protocols.home_assistant.meanings import C, Key

ANY_TEMPERATURE: Final = (7.0, 35.0)
"""Home Assistant's range for a climate that announces none."""


def made(entity: Entity, speaks: Speaks) -> Made:
    """Return the points of an entity, each under its attribute's plain name (two may have one: see `named`)."""
    maker = Maker(entity, speaks)
    make = _COMPONENTS.get(entity.component)
    if make is None:
        why = meanings.REFUSED.get(entity.component, f"a {shown(entity.component)[1:-1]} has no place in the model")
        maker.made.refused.append((entity.name, why))
    else:
        maker.part(entity.name, lambda: make(maker))
        if maker.made.points:
            maker.tell_left()
    return maker.made


def _setting(maker: Maker) -> None:
    if maker.options.get("entity_category") == "config":
        raise InvalidInputError("entity_category", "a setting of the device itself, and nothing of the room's")


def _sensor(maker: Maker) -> None:
    unit = maker.options.get("unit_of_measurement")
    unit = unit if isinstance(unit, str) else ""
    klass = maker.klass or meanings.CLASS_OF_UNIT.get(unit, "")
    if unit == "lqi":
        key = meanings.LINK_QUALITY
        scale = (1.0, 0.0)
    else:
        if klass not in meanings.SENSORS:
            what = f"device class {shown(klass)}" if klass else f"no device class, unit {shown(unit)}"
            raise InvalidInputError("device_class", f"{what}: no attribute of the device model")
        key = _kind_of_sensor(maker, klass, unit)
        scale = scaled(key, unit)
    state = maker.topic("state_topic", needed=True)
    maker.add("state", key, state=state, template=maker.template("value_template"), scale=scale)


def _kind_of_sensor(maker: Maker, klass: str, unit: str) -> Key:
    if klass == "voltage":
        diagnostic = unit == "mV" and maker.options.get("entity_category") == "diagnostic"
        return meanings.BATTERY_VOLTAGE if diagnostic or maker.tells("batt") else meanings.SENSORS[klass]
    if klass == "energy":
        if maker.tells(*meanings.BY_THE_DAY):
            raise InvalidInputError("device_class", "energy of a day or the like: no meter's reading")
        return meanings.EXPORTED if maker.tells("export", "return", "produced") else meanings.SENSORS[klass]
    return meanings.SENSORS[klass]


def _binary_sensor(maker: Maker) -> None:
    if maker.klass == "lock":
        raise InvalidInputError("device_class", meanings.REFUSED["lock"])
    if maker.klass not in meanings.BINARY:
        what = f"device class {shown(maker.klass)}" if maker.klass else "no device class: what it means is not said"
        raise InvalidInputError("device_class", f"{what}: no attribute of the device model")
    key, on, off = meanings.BINARY[maker.klass]
    maker.add(
        "state",
        key,
        state=maker.topic("state_topic", needed=True),
        template=maker.template("value_template"),
        values=[(maker.word("payload_on", "ON"), on), (maker.word("payload_off", "OFF"), off)],
    )


def _switch(maker: Maker) -> None:
    _setting(maker)
    maker.topic("command_topic", needed=True)
    maker.switched("state", (C.ON_OFF, "on_off"), template=maker.template("value_template"))


def _climate(maker: Maker) -> None:
    modes = maker.words("modes") or list(meanings.MODES)
    unit = maker.options.get("temperature_unit")
    scale = scaled((C.THERMOSTAT, "local_temperature"), unit if isinstance(unit, str) and unit else "C")
    cooling = "cool" in modes and set(modes) <= meanings.COOLING_MODES
    parts: list[tuple[str, Callable[[], None]]] = [
        ("temperature", lambda: _setpoint(maker, "temperature", scale, cooling=cooling)),
        ("temperature_low", lambda: _setpoint(maker, "temperature_low", scale, cooling=False)),
        ("temperature_high", lambda: _setpoint(maker, "temperature_high", scale, cooling=True)),
        ("current_temperature", lambda: _room_temperature(maker, scale)),
        ("current_humidity", lambda: _humidity(maker)),
        ("mode", lambda: _mode(maker, modes)),
        ("action", lambda: _action(maker)),
        ("fan_mode", lambda: _fan_mode(maker)),
    ]
    for name, make in parts:
        maker.part(f"{maker.entity.name} {name}", make)


def _setpoint(maker: Maker, part: str, scale: tuple[float, float], *, cooling: bool) -> None:
    key = (C.THERMOSTAT, "occupied_cooling_setpoint" if cooling else "occupied_heating_setpoint")
    command = maker.topic(f"{part}_command_topic")
    least, most = (
        maker.number(name, (default - scale[1]) / scale[0]) * scale[0] + scale[1]
        for name, default in zip(("min_temp", "max_temp"), ANY_TEMPERATURE, strict=True)
    )
    step = maker.number("temp_step", 0.5 if scale[0] == 1.0 else 1.0) * scale[0]
    maker.add(
        part,
        key,
        state=maker.topic(f"{part}_state_topic"),
        template=maker.template(f"{part}_state_template", "value_template"),
        scale=scale,
        write=None if command is None else rule(key, command, round(least, 6), round(most, 6), step),
        command=maker.template(f"{part}_command_template"),
    )


def _room_temperature(maker: Maker, scale: tuple[float, float]) -> None:
    maker.add(
        "current_temperature",
        (C.THERMOSTAT, "local_temperature"),
        state=maker.topic("current_temperature_topic"),
        template=maker.template("current_temperature_template", "value_template"),
        scale=scale,
    )


def _humidity(maker: Maker) -> None:
    maker.add(
        "current_humidity",
        meanings.SENSORS["humidity"],
        state=maker.topic("current_humidity_topic"),
        template=maker.template("current_humidity_template", "value_template"),
    )


def _mode(maker: Maker, modes: Sequence[str]) -> None:
    known = [(word, meanings.MODES[word]) for word in meanings.MODES if word in modes]
    in_words(maker, "mode", (C.THERMOSTAT, "system_mode"), known)


def _action(maker: Maker) -> None:
    maker.add(
        "action",
        (C.THERMOSTAT, "thermostat_running_mode"),
        state=maker.topic("action_topic"),
        template=maker.template("action_template", "value_template"),
        values=list(meanings.ACTIONS.items()),
    )


def _fan_mode(maker: Maker) -> None:
    given = maker.words("fan_modes") or ["auto", "low", "medium", "high"]
    in_words(maker, "fan_mode", meanings.FAN_MODE, fan_words(maker, "fan_mode", given))


def _number(maker: Maker) -> None:
    _setting(maker)
    unit = maker.options.get("unit_of_measurement")
    if maker.klass != "temperature" or not maker.tells("setpoint", "target", "heating", "cooling"):
        raise InvalidInputError("device_class", "a number that is no setpoint: no attribute of the device model")
    key = (C.THERMOSTAT, "occupied_cooling_setpoint" if maker.tells("cooling") else "occupied_heating_setpoint")
    scale = scaled(key, unit if isinstance(unit, str) else "")
    least, most = (maker.number(name, 1 if name == "min" else 100) * scale[0] + scale[1] for name in ("min", "max"))
    command = str(maker.topic("command_topic", needed=True))
    maker.add(
        "state",
        key,
        state=maker.topic("state_topic"),
        template=maker.template("value_template"),
        scale=scale,
        write=rule(key, command, round(least, 6), round(most, 6), maker.number("step", 1) * scale[0]),
        command=maker.template("command_template"),
    )


def _select(maker: Maker) -> None:
    _setting(maker)
    options = maker.words("options")
    command = str(maker.topic("command_topic", needed=True))
    plain = {each: each.lower().replace(" ", "_") for each in options}
    for key, known in (
        ((C.THERMOSTAT, "system_mode"), {**{each: each for each in _choices(_MODE)}, **meanings.MODES}),
        ((C.FAN_CONTROL, "fan_mode"), {each: each for each in _choices(_FAN)}),
    ):
        if len(plain) > 1 and all(each in known for each in plain.values()):
            values = [(option, known[word]) for option, word in plain.items()]
            words: dict[Value, str] = {}
            for option, mode in values:
                words.setdefault(mode, option)
            maker.add(
                "state",
                key,
                state=maker.topic("state_topic"),
                template=maker.template("value_template"),
                values=values,
                write=WriteRule(topic=command),
                words=list(words.items()),
                command=maker.template("command_template"),
            )
            return
    listed = shown(", ".join(options), 60)
    raise InvalidInputError("options", f"{listed}: neither the modes of a thermostat nor those of a fan")


_MODE: Final[Key] = (Capability.THERMOSTAT, "system_mode")
_FAN: Final[Key] = meanings.FAN_MODE


def _choices(key: Key) -> tuple[str, ...]:
    return attribute(*key).choices


_COMPONENTS: Final[Mapping[str, Callable[[Maker], None]]] = {
    "sensor": _sensor,
    "binary_sensor": _binary_sensor,
    "switch": _switch,
    "light": light,
    "fan": fan,
    "climate": _climate,
    "cover": cover,
    "number": _number,
    "select": _select,
}
