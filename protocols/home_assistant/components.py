"""The components that are taken: which attribute each is, on which topics, in which words; or why it is none.

Source of truth: SPEC.md section 4, after the pages of home-assistant.io on MQTT sensor, binary sensor, switch, light,
climate, cover, number and select (2025.4).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from protocols.descriptors.descriptor import WriteRule
from protocols.device_model.capability import Capability, Value, attribute
from protocols.documents import shown
from protocols.errors import InvalidInputError
from protocols.home_assistant import meanings
from protocols.home_assistant.announcements import Entity
from protocols.home_assistant.entities import Made, Maker, Speaks, rule, scaled
from protocols.home_assistant.meanings import C, Key

ANY_TEMPERATURE: Final = (7.0, 35.0)
"""Home Assistant's range for a climate that announces none."""
MIREDS: Final = (153, 500)
"""And for a lamp's colour temperature."""


def made(entity: Entity, speaks: Speaks) -> Made:
    """Return the points of an entity, each under its attribute's plain name (two may have one: see `named`)."""
    maker = Maker(entity, speaks)
    make = _COMPONENTS.get(entity.component)
    if make is None:
        why = meanings.REFUSED.get(entity.component, f"a {shown(entity.component)[1:-1]} has no place in the model")
        maker.made.refused.append((entity.name, why))
    else:
        maker.part(entity.name, lambda: make(maker))
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


def _light(maker: Maker) -> None:
    schema = maker.options.get("schema", "basic")
    if schema == "json":
        _json_light(maker)
    elif schema in ("basic", "default"):
        _plain_light(maker)
    else:
        raise InvalidInputError("schema", f"{shown(schema)}: only the default one and json are read")


def _plain_light(maker: Maker) -> None:
    maker.topic("command_topic", needed=True)
    maker.switched("state", (C.ON_OFF, "on_off"), template=maker.template("state_value_template", "value_template"))

    def brightness() -> None:
        most = _scale_of(maker)
        key = (C.LEVEL_CONTROL, "current_level")
        command = maker.topic("brightness_command_topic")
        maker.add(
            "brightness",
            key,
            state=maker.topic("brightness_state_topic"),
            template=maker.template("brightness_value_template"),
            scale=(254 / most, 0.0),
            write=None if command is None else rule(key, command, 1, 254, 1),
            command=maker.template("brightness_command_template"),
        )

    def colour() -> None:
        key = (C.COLOR_CONTROL, "color_temperature_mireds")
        command, state = maker.topic("color_temp_command_topic"), maker.topic("color_temp_state_topic")
        if command is None and state is None:
            return
        least, most = _mireds(maker)
        maker.add(
            "color_temp",
            key,
            state=state,
            template=maker.template("color_temp_value_template"),
            write=None if command is None else rule(key, command, least, most, 1),
            command=maker.template("color_temp_command_template"),
        )

    maker.part(f"{maker.entity.name} brightness", brightness)
    maker.part(f"{maker.entity.name} colour temperature", colour)


def _json_light(maker: Maker) -> None:
    command = maker.topic("command_topic", needed=True)
    state = maker.topic("state_topic")
    modes = set(maker.words("supported_color_modes"))
    maker.add(
        "state",
        (C.ON_OFF, "on_off"),
        state=state,
        template="{{ value_json.state }}",
        values=[("ON", True), ("OFF", False)],
        write=WriteRule(topic=command),
        words=[(True, '{"state":"ON"}'), (False, '{"state":"OFF"}')],
    )

    def brightness() -> None:
        if maker.options.get("brightness") is not True and not modes - {"onoff", "white"}:
            return
        key = (C.LEVEL_CONTROL, "current_level")
        maker.add(
            "brightness",
            key,
            state=state,
            template="{{ value_json.brightness }}",
            scale=(254 / _scale_of(maker), 0.0),
            write=rule(key, str(command), 1, 254, 1),
            command='{"state":"ON","brightness":{{ value }}}',
        )

    def colour() -> None:
        if "color_temp" not in modes:
            return
        key, (least, most) = (C.COLOR_CONTROL, "color_temperature_mireds"), _mireds(maker)
        maker.add(
            "color_temp",
            key,
            state=state,
            template="{{ value_json.color_temp }}",
            write=rule(key, str(command), least, most, 1),
            command='{"state":"ON","color_temp":{{ value }}}',
        )

    maker.part(f"{maker.entity.name} brightness", brightness)
    maker.part(f"{maker.entity.name} colour temperature", colour)


def _scale_of(maker: Maker) -> float:
    most = maker.number("brightness_scale", 255)
    if not 1 <= most <= 1_000_000:
        raise InvalidInputError("brightness_scale", f"{most:g} is no scale of brightness")
    return most


def _mireds(maker: Maker) -> tuple[float, float]:
    if maker.options.get("color_temp_kelvin") is True:
        raise InvalidInputError("color_temp_kelvin", "a colour temperature in kelvin is not read, only in mireds")
    return maker.number("min_mireds", MIREDS[0]), maker.number("max_mireds", MIREDS[1])


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


def _mode(maker: Maker, modes: Sequence[str]) -> None:
    known = [(word, meanings.MODES[word]) for word in meanings.MODES if word in modes]
    _in_words(maker, "mode", (C.THERMOSTAT, "system_mode"), known)


def _action(maker: Maker) -> None:
    maker.add(
        "action",
        (C.THERMOSTAT, "thermostat_running_mode"),
        state=maker.topic("action_topic"),
        template=maker.template("action_template", "value_template"),
        values=list(meanings.ACTIONS.items()),
    )


def _fan_mode(maker: Maker) -> None:
    key = (C.FAN_CONTROL, "fan_mode")
    given = maker.words("fan_modes") or ["auto", "low", "medium", "high"]
    known = [(word, word.lower()) for word in given if word.lower() in attribute(*key).choices]
    _in_words(maker, "fan_mode", key, known)


def _in_words(maker: Maker, part: str, key: Key, known: Sequence[tuple[str, Value]]) -> None:
    """Add a part that is said and set by words; of several that mean the same, the first is sent."""
    command = maker.topic(f"{part}_command_topic")
    if not known:
        return
    words: dict[Value, str] = {}
    for word, mode in known:
        words.setdefault(mode, word)
    maker.add(
        part,
        key,
        state=maker.topic(f"{part}_state_topic"),
        template=maker.template(f"{part}_state_template", "value_template"),
        values=known,
        write=None if command is None else WriteRule(topic=command),
        words=list(words.items()),
        command=maker.template(f"{part}_command_template"),
    )


def _cover(maker: Maker) -> None:
    if maker.klass in meanings.DOORS:
        raise InvalidInputError("device_class", f"{shown(maker.klass)}: {meanings.REFUSED['lock']}")
    key = (C.WINDOW_COVERING, "current_position_lift_percentage")
    position, setting = maker.topic("position_topic"), maker.topic("set_position_topic")
    if position is not None or setting is not None:
        opened, closed = maker.number("position_open", 100), maker.number("position_closed", 0)
        if opened == closed:
            raise InvalidInputError("position_open", f"{opened:g} is open and closed")
        # Ours counts as Matter does: 0 is open.
        scale = -100 / (opened - closed)
        maker.add(
            "position",
            key,
            state=position,
            template=maker.template("position_template", "value_template"),
            scale=(scale, -opened * scale),
            write=None if setting is None else rule(key, setting, 0, 100, abs(scale)),
            command=maker.template("set_position_template"),
        )
        return
    command = maker.topic("command_topic")
    moving = ("state_opening", "opening"), ("state_closing", "closing"), ("state_stopped", "stopped")
    maker.add(
        "state",
        key,
        state=maker.topic("state_topic"),
        template=maker.template("value_template"),
        values=[(maker.word("state_open", "open"), 0), (maker.word("state_closed", "closed"), 100)],
        silent=[maker.word(name, word) for name, word in moving],
        write=None if command is None else rule(key, command, 0, 100, 100),
        words=[(0, maker.word("payload_open", "OPEN")), (100, maker.word("payload_close", "CLOSE"))],
    )


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
_FAN: Final[Key] = (Capability.FAN_CONTROL, "fan_mode")


def _choices(key: Key) -> tuple[str, ...]:
    return attribute(*key).choices


_COMPONENTS: Final[Mapping[str, Callable[[Maker], None]]] = {
    "sensor": _sensor,
    "binary_sensor": _binary_sensor,
    "switch": _switch,
    "light": _light,
    "climate": _climate,
    "cover": _cover,
    "number": _number,
    "select": _select,
}
