"""A colour as a lamp takes it: two numbers of one command, of which a wish names one.

Source of truth: SPEC.md sections 4 and 6, after home-assistant.io, "MQTT Light" (2025.4). As with Matter's MoveToHue
and MoveToSaturation the other half stays what it is; where nobody knows it, it is that of a full colour, or of white.
"""

from collections.abc import Mapping
from typing import Any, Final

from protocols.descriptors.descriptor import Point
from protocols.device_model.capability import ENDPOINT_SEPARATOR

FORMS: Final = ("hs", "xy", "rgb", "rgbw", "rgbww")
HUE, SATURATION, X, Y = "current_hue", "current_saturation", "current_x", "current_y"
_OTHER: Final = {HUE: SATURATION, SATURATION: HUE, X: Y, Y: X}
_UNKNOWN: Final = {HUE: 0.0, SATURATION: 100.0, X: 0.3127, Y: 0.329}
"""The other half while nobody knows it: a full colour's saturation, red, and the white of daylight (D65)."""
NAMES: Final[Mapping[str, Mapping[str, str]]] = {
    "hs": {"hue": "value_json.h", "sat": "value_json.s"},
    "xy": {"x": "value_json.x", "y": "value_json.y"},
    "rgb": {"red": "value_json.r", "green": "value_json.g", "blue": "value_json.b"},
    "rgbw": {
        "red": "value_json.r", "green": "value_json.g", "blue": "value_json.b", "white": "value_json.w",
    },
    "rgbww": {
        "red": "value_json.r", "green": "value_json.g", "blue": "value_json.b", "cold_white": "value_json.c",
        "warm_white": "value_json.w",
    },
}  # fmt: skip
"""What a command template of a colour may name besides `value`."""
HUE_NEAR: Final = 2.0
"""Lamps hold a hue in 254 steps: 1.4 degrees each."""
CHANNEL_BLUR: Final = 25.0
"""What half a step of a channel is in degrees of hue, times the saturation in per cent, rounded up."""
SATURATION_NEAR: Final = 1.5
XY_NEAR: Final = 0.01


def plain(point: Point) -> str:
    """Return the attribute without what tells it from others of its kind."""
    return point.attribute.partition(ENDPOINT_SEPARATOR)[0]


def other_half(attribute: str) -> str:
    """Return the attribute that is sent with this one."""
    return _OTHER[attribute]


def unknown(attribute: str) -> float:
    """Return what goes for a half that nobody knows."""
    return _UNKNOWN[attribute]


def spoken(form: str, attribute: str, value: float, beside: float) -> tuple[str, dict[str, Any]]:
    """Return a colour as text and as the keys of a message in JSON.

    Args:
        form: One of `FORMS`.
        attribute: The half that is asked for.
        value: What it is to be.
        beside: The other half.
    """
    first, second = (value, beside) if attribute in (HUE, X) else (beside, value)
    if form in ("hs", "xy"):
        numbers = [_short(first), _short(second)]
    else:
        numbers = [*_channels(first, second), *([0] * (len(form) - 3))]
    keys = "rgbcw" if form == "rgbww" else form
    return ",".join(map(str, numbers)), dict(zip(keys, numbers, strict=True))


def near(attribute: str, wanted: float, found: float, beside: float) -> bool:
    """Say whether a half is what was asked for, as nearly as lamps hold it."""
    apart = abs(wanted - found)
    if attribute == HUE:
        return min(apart, abs(360 - apart)) <= HUE_NEAR + CHANNEL_BLUR / max(1.0, beside)
    return apart <= (SATURATION_NEAR if attribute == SATURATION else XY_NEAR)


def _channels(hue: float, saturation: float) -> list[int]:
    """Return red, green and blue of a colour at its brightest, 0 to 255."""
    sector, share = (hue % 360) / 60, saturation / 100

    def channel(turned: float) -> int:
        place = (turned + sector) % 6
        return round(255 * (1 - share * max(0.0, min(place, 4 - place, 1.0))))

    return [channel(5), channel(3), channel(1)]


def _short(number: float) -> float | int:
    short = round(number, 4)
    return int(short) if short == int(short) else short
