"""What an announced fan is, and a mode that is told and set by words.

Source of truth: SPEC.md section 4, after home-assistant.io, "MQTT Fan" (2025.4). A fan is switched by its mode and not
as a lamp is: whoever lights every lamp of a house starts no fan.
"""

from collections.abc import Sequence

from protocols.descriptors.descriptor import WriteRule
from protocols.device_model.capability import Value
from protocols.errors import InvalidInputError
from protocols.home_assistant import meanings
from protocols.home_assistant.entities import Maker, rule
from protocols.home_assistant.meanings import C, Key


def fan(maker: Maker) -> None:
    """Take a fan: on and off, how fast in per cent, and those of its presets that are fan modes."""
    maker.topic("command_topic", needed=True)
    template = maker.template("state_value_template", "value_template")
    maker.switched("mode", meanings.FAN_MODE, template=template, meant=("on", "off"))
    maker.part(f"{maker.entity.name} percentage", lambda: _speed(maker))
    maker.part(f"{maker.entity.name} preset_mode", lambda: _preset(maker))


def _speed(maker: Maker) -> None:
    least, most = maker.number("speed_range_min", 1), maker.number("speed_range_max", 100)
    if not 1 <= least < most:
        raise InvalidInputError("speed_range_min", f"{least:g} to {most:g} is no range of speeds")
    # As Home Assistant counts: the slowest of three speeds is 33 per cent, and 0 is off, which is the mode's word.
    scale = 100 / (most - least + 1)
    command, state = maker.topic("percentage_command_topic"), maker.topic("percentage_state_topic")
    written = (C.FAN_CONTROL, "percent_setting")
    key = (C.FAN_CONTROL, "percent_current") if command is None else written
    maker.add(
        "percentage",
        key,
        state=state,
        template=maker.template("percentage_value_template"),
        scale=(scale, (1 - least) * scale),
        silent=[maker.word("payload_reset_percentage", "None")],
        write=None if command is None else rule(written, command, round(scale, 6), 100, scale),
        command=maker.template("percentage_command_template"),
    )


def _preset(maker: Maker) -> None:
    given = maker.words("preset_modes")
    known = fan_words(maker, "preset_mode", given)
    in_words(
        maker,
        "preset_mode",
        meanings.FAN_MODE,
        known,
        templates=("preset_mode_value_template",),
        silent=[maker.word("payload_reset_preset_mode", "None")],
    )


def fan_words(maker: Maker, part: str, given: Sequence[str]) -> list[tuple[str, Value]]:
    """Return which of a fan's words are fan modes; of the others it is told that they are none."""
    known = [(word, meanings.FAN_WORDS[word.lower()]) for word in given if word.lower() in meanings.FAN_WORDS]
    told = [word for word in given if word.lower() not in meanings.FAN_WORDS]
    if told and maker.topic(f"{part}_command_topic", f"{part}_state_topic") is not None:
        maker.left(part, *told)
    return [*known]


def in_words(
    maker: Maker,
    part: str,
    key: Key,
    known: Sequence[tuple[str, Value]],
    *,
    templates: Sequence[str] = (),
    silent: Sequence[str] = (),
) -> None:
    """Add a part that is said and set by words; of several that mean the same, the first is sent."""
    command, state = maker.topic(f"{part}_command_topic"), maker.topic(f"{part}_state_topic")
    if not known:
        return
    words: dict[Value, str] = {}
    for word, mode in known:
        words.setdefault(mode, word)
    maker.add(
        part,
        key,
        state=state,
        template=maker.template(*(templates or (f"{part}_state_template", "value_template"))),
        values=known,
        silent=silent,
        write=None if command is None else WriteRule(topic=command),
        words=list(words.items()),
        command=maker.template(f"{part}_command_template"),
    )
