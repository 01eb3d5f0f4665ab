"""Which half of a lamp's colour was asked for lately: it goes with the other one if that is asked for (decision 0136).

A colour is two numbers of one command, of which a wish names one. While a lamp is on its way to a colour, what it says
of the other half is the colour of before.
"""

from typing import Final

from protocols.device_model.reading import Reading
from protocols.home_assistant import colours

CHOSEN_MS: Final = 10_000
"""So long half a colour that was asked for goes with the other half, whatever the lamp says it shows meanwhile."""


class ChosenColours:
    """The halves of one device's colours, by attribute."""

    def __init__(self) -> None:
        self._chosen: dict[str, tuple[float, int]] = {}

    def choose(self, attribute: str, value: float, *, now_ms: int) -> None:
        """Take what was asked for."""
        self._chosen[attribute] = value, now_ms

    def beside(self, attribute: str, last: Reading | None, *, now_ms: int) -> float | None:
        """Return what goes for a half that nobody asks for now: what was just asked for, else what the lamp says.

        None: nobody knows. A lamp that shows no colour has a hue and a saturation of nought that nobody chose.
        """
        value, at_ms = self._chosen.get(attribute, (0.0, now_ms - CHOSEN_MS))
        if now_ms - at_ms < CHOSEN_MS:
            return value
        if last is None or isinstance(last.value, bool | str) or last.value is None:
            return None
        return None if attribute.startswith(colours.SATURATION) and last.value < 1 else float(last.value)
