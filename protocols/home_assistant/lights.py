"""What an announced lamp is: on and off, how bright, how warm its white is, and which colour it shows.

Source of truth: SPEC.md section 4, after home-assistant.io, "MQTT Light" (2025.4), default and json schema. A colour is
two numbers of one command: colours.py has what is sent with the one that is asked for.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Final

from protocols.descriptors.descriptor import WriteRule
from protocols.device_model.capability import HUE_AND_SATURATION, X_AND_Y
from protocols.device_model.capability import WARMTH as OF_WHITE
from protocols.documents import shown
from protocols.errors import InvalidInputError
from protocols.home_assistant import colours
from protocols.home_assistant.entities import Maker, rule
from protocols.home_assistant.meanings import C, Key
from protocols.home_assistant.senses import MIRED_KELVIN

MIREDS: Final = (153, 500)
"""Home Assistant's range for a lamp's colour temperature."""
KELVIN: Final = (2_000, 6_535)
"""And in kelvin."""
LEVEL: Final[Key] = (C.LEVEL_CONTROL, "current_level")
WARMTH: Final[Key] = (C.COLOR_CONTROL, "color_temperature_mireds")
HUE: Final[Key] = (C.COLOR_CONTROL, "current_hue")
SATURATION: Final[Key] = (C.COLOR_CONTROL, "current_saturation")
X: Final[Key] = (C.COLOR_CONTROL, "current_x")
Y: Final[Key] = (C.COLOR_CONTROL, "current_y")
MODE: Final[Key] = (C.COLOR_CONTROL, "color_mode")
RGB: Final = ("rgb", "rgbw", "rgbww")
MODES: Final = (
    ("hs", HUE_AND_SATURATION),
    ("xy", X_AND_Y),
    *((each, HUE_AND_SATURATION) for each in RGB),
    ("color_temp", OF_WHITE),
)
"""What Home Assistant calls a mode of colours, and what that is here, where red, green and blue are a hue."""
NO_MODES: Final = ("white", "brightness", "onoff", "unknown")
"""Modes that are neither a colour nor a temperature of white."""
_REACH: Final[Mapping[Key, tuple[float, float, float]]] = {
    HUE: (0, 360, 1), SATURATION: (0, 100, 1), X: (0, 1, 0.0001), Y: (0, 1, 0.0001),
}  # fmt: skip
"""Least, most and step of each half of a colour."""
_FLAGS: Final = ("color_temp", "hs", "xy", "rgb")
"""What a lamp in json announced as `true` before there were colour modes, and some still do."""
_WHITE: Final = "{% if value_json.color_mode is not defined or value_json.color_mode == 'color_temp' %}"
_SAID: Final = "{% if value_json.color_mode is defined %}{{ value_json.color_mode }}{% endif %}"
_COLOURED: Final = "{% if value_json.color_mode is not defined or value_json.color_mode != 'color_temp' %}"
"""A lamp that shows white tells of its colour too what that white would be, and the other way round."""
_END: Final = "{% endif %}"


def light(maker: Maker) -> None:
    """Take a lamp. Raises InvalidInputError: it is announced in a schema that is not read."""
    schema = maker.options.get("schema", "basic")
    if schema == "json":
        _in_json(maker)
    elif schema in ("basic", "default"):
        _plainly(maker)
    else:
        raise InvalidInputError("schema", f"{shown(schema)}: only the default one and json are read")


def _plainly(maker: Maker) -> None:
    maker.topic("command_topic", needed=True)
    maker.switched("state", (C.ON_OFF, "on_off"), template=maker.template("state_value_template", "value_template"))

    def brightness() -> None:
        command = maker.topic("brightness_command_topic")
        maker.add(
            "brightness",
            LEVEL,
            state=maker.topic("brightness_state_topic"),
            template=maker.template("brightness_value_template"),
            scale=(254 / _scale_of(maker), 0.0),
            write=None if command is None else rule(LEVEL, command, 1, 254, 1),
            command=maker.template("brightness_command_template"),
        )

    def warmth() -> None:
        command, state = maker.topic("color_temp_command_topic"), maker.topic("color_temp_state_topic")
        if command is None and state is None:
            return
        least, most = _mireds(maker)
        maker.add(
            "color_temp",
            WARMTH,
            state=state,
            template=maker.template("color_temp_value_template"),
            write=None if command is None else rule(WARMTH, command, least, most, 1),
            command=maker.template("color_temp_command_template"),
            sense=_sense(maker),
        )

    maker.part(f"{maker.entity.name} brightness", brightness)
    maker.part(f"{maker.entity.name} colour temperature", warmth)
    forms = [each for each in ("hs", "xy", *RGB) if maker.options.get(f"{each}_state_topic")]
    if forms and maker.options.get("color_temp_state_topic"):
        maker.part(f"{maker.entity.name} colour mode", lambda: _mode(maker))
    else:
        maker.knows("color_mode_state_topic")
    for mode, senses in (
        ("hs", ((HUE, "first"), (SATURATION, "second"))),
        ("xy", ((X, "first"), (Y, "second"))),
        *((each, ((HUE, "hue"), (SATURATION, "saturation"))) for each in RGB),
    ):
        maker.part(f"{maker.entity.name} {mode}", _of_topic(maker, mode, senses))


def _mode(maker: Maker, state: str | None = None, template: str = "") -> None:
    """Take which of its colour and its white a lamp shows; by its own topic, or `template` of `state`."""
    maker.add(
        "color_mode",
        MODE,
        state=state or maker.topic("color_mode_state_topic"),
        template=template or maker.template("color_mode_value_template"),
        values=MODES,
        silent=NO_MODES,
    )


def _of_topic(maker: Maker, mode: str, senses: Collection[tuple[Key, str]]) -> Callable[[], None]:
    """Return what takes a colour that has a topic of its own."""

    def make() -> None:
        state, command = maker.topic(f"{mode}_state_topic"), maker.topic(f"{mode}_command_topic")
        template = maker.template(f"{mode}_value_template")
        sent = maker.template(f"{mode}_command_template", sees=colours.NAMES[mode])
        for key, sense in senses:
            maker.add(
                f"{mode} {sense}",
                key,
                state=state,
                template=template,
                sense=sense,
                write=None if command is None else rule(key, command, *_REACH[key]),
                command=sent,
                colour="" if command is None else mode,
            )

    return make


def _in_json(maker: Maker) -> None:
    command = maker.topic("command_topic", needed=True)
    state = maker.topic("state_topic")
    modes = {*maker.words("supported_color_modes"), *(each for each in _FLAGS if maker.options.get(each) is True)}
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
        maker.add(
            "brightness",
            LEVEL,
            state=state,
            template="{{ value_json.brightness }}",
            scale=(254 / _scale_of(maker), 0.0),
            write=rule(LEVEL, str(command), 1, 254, 1),
            command='{"state":"ON","brightness":{{ value }}}',
        )

    def warmth() -> None:
        if "color_temp" not in modes:
            return
        least, most = _mireds(maker)
        maker.add(
            "color_temp",
            WARMTH,
            state=state,
            template=f"{_WHITE}{{{{ value_json.color_temp }}}}{_END}",
            write=rule(WARMTH, str(command), least, most, 1),
            command='{"state":"ON","color_temp":{{ value }}}',
            sense=_sense(maker),
        )

    def colour() -> None:
        rgb = "{{ value_json.color.r }},{{ value_json.color.g }},{{ value_json.color.b }}"
        form = next((each for each in colours.FORMS if each in modes), None)
        if form == "hs":
            parts = [(HUE, "{{ value_json.color.h }}", ""), (SATURATION, "{{ value_json.color.s }}", "")]
        elif form == "xy":
            parts = [(X, "{{ value_json.color.x }}", ""), (Y, "{{ value_json.color.y }}", "")]
        elif form is not None:
            parts = [(HUE, rgb, "hue"), (SATURATION, rgb, "saturation")]
        else:
            return
        for key, template, sense in parts:
            maker.add(
                key[1],
                key,
                state=state,
                template=f"{_COLOURED}{template}{_END}",
                sense=sense,
                write=rule(key, str(command), *_REACH[key]),
                command='{"state":"ON","color":{{ value_json | tojson }}}',
                colour=form,
            )

    maker.part(f"{maker.entity.name} brightness", brightness)
    maker.part(f"{maker.entity.name} colour temperature", warmth)
    maker.part(f"{maker.entity.name} colour", colour)
    if "color_temp" in modes and modes & {*colours.FORMS}:
        maker.part(f"{maker.entity.name} colour mode", lambda: _mode(maker, state, _SAID))
    if maker.options.get("effect") is True:
        maker.left("effect", *maker.words("effect_list"))
    if "white" in modes:
        maker.left("white")


def _scale_of(maker: Maker) -> float:
    most = maker.number("brightness_scale", 255)
    if not 1 <= most <= 1_000_000:
        raise InvalidInputError("brightness_scale", f"{most:g} is no scale of brightness")
    return most


def _sense(maker: Maker) -> str:
    return "kelvin" if maker.options.get("color_temp_kelvin") is True else ""


def _mireds(maker: Maker) -> tuple[float, float]:
    if not _sense(maker):
        return maker.number("min_mireds", MIREDS[0]), maker.number("max_mireds", MIREDS[1])
    least, most = maker.number("min_kelvin", KELVIN[0]), maker.number("max_kelvin", KELVIN[1])
    if not 0 < least < most:
        raise InvalidInputError("min_kelvin", f"{least:g} to {most:g} is no range of colour temperatures")
    return -(-MIRED_KELVIN // most), MIRED_KELVIN // least
