"""The check digit of ICAO Doc 9303, part 3, section 4.9: weights 7, 3, 1; a digit counts itself, A = 10 .. Z = 35."""

import string
from typing import Final

FILLER: Final = "<"
ALPHABET: Final = string.digits + string.ascii_uppercase + FILLER
_VALUE: Final = {character: value for value, character in enumerate(string.digits + string.ascii_uppercase)} | {
    FILLER: 0
}
_WEIGHTS: Final = (7, 3, 1)


def check_digit(text: str) -> str:
    """Return the check digit of `text`, one of "0" to "9". Raises KeyError outside `ALPHABET`.

    It finds every single wrong character but those ten apart in value (0 and A and K and U, say), and most swaps.
    """
    return str(sum(_VALUE[character] * _WEIGHTS[place % 3] for place, character in enumerate(text)) % 10)
