"""Names in the zone: into its alphabet, apart again, and compared with what a reservation says.

ICAO Doc 9303, part 3, section 6: letters outside A..Z are written by their table's transcription; what stands beside
letters in names (apostrophe, dot, comma) is left out or becomes a filler.
"""

import unicodedata
from enum import StrEnum
from typing import Final

from protocols.errors import InvalidInputError
from protocols.travel_document.check_digit import FILLER

_TRANSCRIBED: Final = {
    **{"Ä": "AE", "Æ": "AE", "Å": "AA", "Ö": "OE", "Ø": "OE", "Œ": "OE", "Ü": "UE", "ẞ": "SS", "Ĳ": "IJ"},
    **{"Þ": "TH", "Ð": "D", "Đ": "D", "Ł": "L", "Ħ": "H", "Ŧ": "T", "Ŋ": "N", "ĸ": "K", "Ə": "E", "İ": "I"},
}
"""Latin letters that are more than a letter with a mark (9303-3, section 6, table A). Marks themselves are dropped."""
_LEFT_OUT: Final = frozenset("'\u2019\u2018`.\u00b4")
_FILLERS: Final = frozenset("-\u2010\u2011\u2013,<")
_NEAR_LETTERS_LEAST: Final = 5
"""Shorter words must be the same: Lee is not Lea."""


class Agreement(StrEnum):
    """How well two spellings of one person's name agree."""

    SAME = "same"
    SIMILAR = "similar"
    """A person should look: one letter differs, a name is missing or was cut off."""
    DIFFERENT = "different"


def transcribed(name: str) -> str:
    """Write a name in the zone's alphabet, `<` between its parts: "Müller-Lüdenscheidt" -> "MUELLER<LUEDENSCHEIDT".

    Raises:
        InvalidInputError: a character has no transcription here (other scripts: the document itself shows one).
    """
    return FILLER.join(_words(name, marks_count=True))


def together(surname: str, given_names: str) -> str:
    """Return the name field's content, without trailing fillers. Raises InvalidInputError as `transcribed` does."""
    given = transcribed(given_names)
    return transcribed(surname) + (2 * FILLER + given if given else "")


def apart(field: str) -> tuple[str, str, bool]:
    """Return (surname, given names, perhaps truncated) of a name field; parts are separated by one space.

    A field without a filler at its end may have been cut (9303-3, section 4.6.1): the last part is then a beginning.
    """
    surname, _, given = field.partition(2 * FILLER)
    return _spaced(surname), _spaced(given), not field.endswith(FILLER)


def agreement(one: tuple[str, str], other: tuple[str, str], *, truncated: bool = False) -> Agreement:
    """Compare two names, each (surname, given names), as a receptionist would.

    Order and case do not count; nor does whether marks are transcribed or dropped (Müller, Mueller, Muller), nor
    further given names on one side, nor surname and given name exchanged. Writing outside the Latin script is
    DIFFERENT from any zone: somebody must look.

    Args:
        one: as the document has it.
        other: as the reservation has it.
        truncated: `one` was cut at its end.
    """
    try:
        ours, theirs = [(_spellings(surname), _spellings(given)) for surname, given in (one, other)]
    except InvalidInputError:
        return Agreement.DIFFERENT
    best = max(_agree(ours, theirs, truncated), min(_agree(ours, (theirs[1], theirs[0]), truncated), 1))
    return (Agreement.DIFFERENT, Agreement.SIMILAR, Agreement.SAME)[best]


def words_of(name: str) -> frozenset[str]:
    """Return every word of a name, by each of its spellings, and the words written together.

    Two names whose `agreement` is by their words, and not by one of them missing, have a word each that `near` takes.

    Raises:
        InvalidInputError: as `transcribed`.
    """
    spellings = _spellings(name)
    return frozenset(word for words in spellings for word in (*words, "".join(words)) if word)


def near(word: str, other: str) -> bool:
    """Tell whether two words of names are the same or one letter apart."""
    return _word_agrees(word, other, False) > 0


_Spellings = tuple[tuple[str, ...], ...]


def _agree(ours: tuple[_Spellings, _Spellings], theirs: tuple[_Spellings, _Spellings], truncated: bool) -> int:
    surnames = max(_words_agree(a, b, truncated and not ours[1][0]) for a in ours[0] for b in theirs[0])
    given = max(_words_agree(a, b, truncated) for a in ours[1] for b in theirs[1])
    return min(surnames, given)


def _words_agree(ours: tuple[str, ...], theirs: tuple[str, ...], truncated: bool) -> int:
    """2: the same words, perhaps more of them on one side; 1: near; 0: different."""
    if not ours or not theirs:
        return 2 if ours == theirs else 1
    few, many = sorted((ours, theirs), key=len)
    marks = [max(_word_agrees(word, other, truncated) for other in many) for word in few]
    if min(marks) == 0 and "".join(ours) == "".join(theirs):
        return 2  # Anna Maria, Annamaria
    return min(marks)


def _word_agrees(word: str, other: str, truncated: bool) -> int:
    if word == other:
        return 2
    if truncated and (word.startswith(other) or other.startswith(word)):
        return 1
    short, long = sorted((word, other), key=len)
    return int(len(short) >= _NEAR_LETTERS_LEAST and _one_edit_apart(short, long))


def _one_edit_apart(short: str, long: str) -> bool:
    """True if one letter was changed, added, or exchanged with its neighbour."""
    if len(long) - len(short) > 1:
        return False
    start = next((at for at, (a, b) in enumerate(zip(short, long, strict=False)) if a != b), len(short))
    if len(short) < len(long):
        return short[start:] == long[start + 1 :]
    swapped = short[:start] + short[start : start + 2][::-1] + short[start + 2 :]
    return short[start + 1 :] == long[start + 1 :] or swapped == long


def _spellings(name: str) -> _Spellings:
    """Return the words of a name with its marks transcribed, and with them dropped."""
    return tuple({tuple(_words(name, marks_count=True)), tuple(_words(name, marks_count=False))})


def _words(name: str, *, marks_count: bool) -> list[str]:
    written: list[str] = []
    for character in unicodedata.normalize("NFC", name).replace("ß", "ẞ").upper():
        if character in _LEFT_OUT:
            continue
        if character in _FILLERS or character.isspace():
            written.append(" ")
            continue
        if marks_count and character in _TRANSCRIBED:
            written.append(_TRANSCRIBED[character])
            continue
        base = "".join(each for each in unicodedata.normalize("NFKD", character) if not unicodedata.combining(each))
        for letter in base:
            plain = letter if letter.isascii() else _TRANSCRIBED.get(letter, letter)
            if not (plain.isascii() and plain.isalpha()):
                raise InvalidInputError(
                    "name",
                    f"{character!r} has no transcription here; write it as the document's machine readable zone does",
                )
            written.append(plain)
    return "".join(written).split()


def _spaced(part: str) -> str:
    return " ".join(part.replace(FILLER, " ").split())
