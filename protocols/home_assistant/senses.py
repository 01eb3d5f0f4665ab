"""Numbers that a message tells otherwise than plainly: kelvin for mireds, one of two, hue and saturation of a colour.

Source of truth: SPEC.md section 4, after home-assistant.io, "MQTT Light" (2025.4): a colour is told as `h,s` (0..360,
0..100), as `x,y` (CIE 1931) or as `r,g,b` (0..255; white channels behind them say nothing of the colour).
"""

from collections.abc import Callable, Mapping
from typing import Final

MIRED_KELVIN: Final = 1_000_000
_CHANNEL_MOST: Final = 255


def mireds(kelvin: float) -> float | None:
    """Return a colour temperature in mireds, and in kelvin if mireds are given; None: there is none of that number."""
    return MIRED_KELVIN / kelvin if kelvin > 0 else None


def number_of(text: str) -> int | float | None:
    """Return the number that a text spells, None if it spells none."""
    if len(text) > 40 or not text.isascii() or "_" in text:
        return None
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return float(text)
    except ValueError:
        return None


def _kelvin(text: str) -> float | None:
    told = number_of(text)
    return None if told is None else mireds(told)


def _of_two(at: int) -> Callable[[str], float | None]:
    def sense(text: str) -> float | None:
        numbers = _numbers(text)
        return numbers[at] if numbers is not None and len(numbers) == 2 else None

    return sense


def _hue(text: str) -> float | None:
    """Return the hue of `r,g,b` in degrees; grey has none."""
    channels = _channels(text)
    if channels is None or not (span := max(channels) - min(channels)):
        return None
    red, green, blue = channels
    if max(channels) == red:
        turned = (green - blue) / span
    elif max(channels) == green:
        turned = 2 + (blue - red) / span
    else:
        turned = 4 + (red - green) / span
    return round(60 * turned % 360, 1) % 360


def _saturation(text: str) -> float | None:
    """Return the saturation of `r,g,b` in per cent; black has none."""
    channels = _channels(text)
    if channels is None or not max(channels):
        return None
    return round(100 * (max(channels) - min(channels)) / max(channels), 1)


def _channels(text: str) -> tuple[float, float, float] | None:
    numbers = _numbers(text)
    if numbers is None or not 3 <= len(numbers) <= 5 or not all(0 <= each <= _CHANNEL_MOST for each in numbers):
        return None
    return numbers[0], numbers[1], numbers[2]


def _numbers(text: str) -> list[float] | None:
    found = [number_of(each.strip()) for each in text.split(",")] if len(text) <= 120 else [None]
    return [each for each in found if each is not None] if None not in found else None


SENSES: Final[Mapping[str, Callable[[str], float | None]]] = {
    "kelvin": _kelvin,
    "first": _of_two(0),
    "second": _of_two(1),
    "hue": _hue,
    "saturation": _saturation,
}
"""By the name that a point has for it, what makes a number of the text of a message; None: it is no such text."""
