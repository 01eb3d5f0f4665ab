"""What an announced cover is: how far it is let down, and how its slats stand.

Source of truth: SPEC.md section 4, after home-assistant.io, "MQTT Cover" (2025.4). Ours counts as Matter does: 0 is
open.
"""

from typing import Final

from protocols.documents import shown
from protocols.errors import InvalidInputError
from protocols.home_assistant import meanings
from protocols.home_assistant.entities import Maker, rule
from protocols.home_assistant.meanings import C, Key

LIFT: Final[Key] = (C.WINDOW_COVERING, "current_position_lift_percentage")
TILT: Final[Key] = (C.WINDOW_COVERING, "current_position_tilt_percentage")


def cover(maker: Maker) -> None:
    """Take a cover, by its position or by open and closed alone, and its slats. Raises InvalidInputError: a door."""
    if maker.klass in meanings.DOORS:
        raise InvalidInputError("device_class", f"{shown(maker.klass)}: {meanings.REFUSED['lock']}")
    maker.part(maker.entity.name, lambda: _lift(maker))
    maker.part(f"{maker.entity.name} tilt", lambda: _tilt(maker))


def _lift(maker: Maker) -> None:
    position, setting = maker.topic("position_topic"), maker.topic("set_position_topic")
    if position is None and setting is None:
        _by_words(maker)
        return
    opened, closed = maker.number("position_open", 100), maker.number("position_closed", 0)
    if opened == closed:
        raise InvalidInputError("position_open", f"{opened:g} is open and closed")
    scale = -100 / (opened - closed)
    sees = _names(opened, closed, "position")
    maker.add(
        "position",
        LIFT,
        state=position,
        template=maker.template("position_template", "value_template", sees=sees),
        scale=(scale, -opened * scale),
        write=None if setting is None else rule(LIFT, setting, 0, 100, abs(scale)),
        command=maker.template("set_position_template", sees=sees),
    )


def _by_words(maker: Maker) -> None:
    command = maker.topic("command_topic")
    moving = ("state_opening", "opening"), ("state_closing", "closing"), ("state_stopped", "stopped")
    maker.add(
        "state",
        LIFT,
        state=maker.topic("state_topic"),
        template=maker.template("value_template"),
        values=[(maker.word("state_open", "open"), 0), (maker.word("state_closed", "closed"), 100)],
        silent=[maker.word(name, word) for name, word in moving],
        write=None if command is None else rule(LIFT, command, 0, 100, 100),
        words=[(0, maker.word("payload_open", "OPEN")), (100, maker.word("payload_close", "CLOSE"))],
    )


def _tilt(maker: Maker) -> None:
    command, state = maker.topic("tilt_command_topic"), maker.topic("tilt_status_topic")
    least, most = maker.number("tilt_min", 0), maker.number("tilt_max", 100)
    if command is None and state is None:
        return
    if least == most:
        raise InvalidInputError("tilt_min", f"{least:g} is open and closed")
    if maker.options.get("tilt_invert_state") is True:
        raise InvalidInputError("tilt_invert_state", "slats that are told the other way round are not read")
    scale = -100 / (most - least)
    sees = _names(most, least, "tilt_position")
    maker.add(
        "tilt",
        TILT,
        state=state,
        template=maker.template("tilt_status_template", sees=sees),
        scale=(scale, -most * scale),
        write=None if command is None else rule(TILT, command, 0, 100, abs(scale)),
        command=maker.template("tilt_command_template", sees=sees),
    )


def _names(opened: float, closed: float, name: str) -> dict[str, str]:
    """Return what a template of a cover may use beside `value`: `name` is per cent, 100 is open."""
    percent = "value"
    if (opened, closed) != (100, 0):
        percent = f"((value - {closed:g}) * 100 / {opened - closed:g}) | round(0) | int"
    bounds = ("position_open", "position_closed") if name == "position" else ("tilt_max", "tilt_min")
    return {name: percent, bounds[0]: f"{opened:g}", bounds[1]: f"{closed:g}"}
