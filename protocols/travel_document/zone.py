"""Reads the machine readable zone of a travel document, and writes one.

Pure: text and today's date in; what it says, and what speaks against it, out. Nothing is corrected: a character that
was guessed until a check digit fits is an invention (5 of 40 hard scans pass with a wrong line that way). A zone that
holds proves that it was read well, never that the document is genuine.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Final

from protocols.errors import InvalidInputError
from protocols.travel_document import dates, names
from protocols.travel_document.check_digit import ALPHABET, FILLER, check_digit
from protocols.travel_document.dates import BirthDate
from protocols.travel_document.layout import LAYOUTS, SPILLING, VISAS, Field, Format, Layout, Place
from protocols.travel_document.states import KNOWN, SPECIMEN

TEXT_MAX: Final = 1_000
"""Characters looked at: a zone has 90, and whatever sends more sends something else."""
_SPACES: Final = re.compile(r"[^\S\n]+")
_LETTERS_ONLY: Final = frozenset({Field.ISSUING_STATE, Field.NATIONALITY, Field.NAME})
_STATES: Final = (Field.ISSUING_STATE, Field.NATIONALITY)
_CHECKED: Final = (Field.DOCUMENT_NUMBER, Field.BIRTH_DATE, Field.EXPIRY_DATE, Field.OPTIONAL)


class Sex(StrEnum):
    """As the document has it."""

    FEMALE = "F"
    MALE = "M"
    UNSPECIFIED = "X"
    """`<` in the zone."""


class Fault(StrEnum):
    """What speaks against a field."""

    CHECK_DIGIT = "check_digit"
    """It does not fit: misread, mistyped or altered."""
    ALPHABET = "alphabet"
    """A digit where only letters stand, or a letter among digits."""
    NO_DATE = "no_date"
    UNKNOWN_STATE = "unknown_state"
    EMPTY = "empty"


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault: where it is (line and columns count from 1) and what was read there."""

    fault: Fault
    field: Field
    line: int
    first: int
    last: int
    read: str
    problem: str


@dataclass(frozen=True, slots=True)
class Zone:
    """What a zone says. Where a finding names a field, its value here is what stands there, or None."""

    format: Format
    document_code: str
    """P passport, I or A or C card, V visa; the second letter is the state's own."""
    issuing_state: str
    surname: str
    given_names: str
    name_truncated: bool
    """The name fills its field: it may go on in the document."""
    document_number: str
    nationality: str
    birth: BirthDate | None
    sex: Sex | None
    expiry: date | None
    optional: str
    optional_2: str
    findings: tuple[Finding, ...]

    @property
    def holds(self) -> bool:
        """True if nothing speaks against the reading."""
        return not self.findings

    @property
    def specimen(self) -> bool:
        """True for the state of Utopia, which issues specimens alone."""
        return SPECIMEN in (self.issuing_state, self.nationality)

    def expired(self, on: date) -> bool | None:
        """Return whether the document has expired on a day; None if no date was read."""
        return None if self.expiry is None else self.expiry < on


def read(text: str, *, today: date) -> Zone:
    """Read a zone that was typed, or came from a reader.

    Case, spaces and empty lines do not count; all lines may come as one. `today` settles centuries.

    Raises:
        InvalidInputError: this is no zone: wrong shape, or a character that none has. Names line and column.
    """
    lines = _lines(text)
    fmt = _format(lines)
    return _Reading(fmt, lines, today).zone()


def write(
    fmt: Format,
    *,
    document_code: str,
    issuing_state: str,
    surname: str,
    given_names: str,
    document_number: str,
    nationality: str,
    birth: date | None,
    sex: Sex,
    expiry: date | None,
    optional: str = "",
    optional_2: str = "",
) -> tuple[str, ...]:
    """Write the lines of a zone, check digits and all. A name too long is cut, as documents cut it.

    Raises:
        InvalidInputError: a value does not fit its field; names it.
    """
    layout = LAYOUTS[fmt]
    values = {
        Field.DOCUMENT_CODE: document_code,
        Field.ISSUING_STATE: issuing_state,
        Field.DOCUMENT_NUMBER: document_number,
        Field.NATIONALITY: nationality,
        Field.BIRTH_DATE: dates.written(birth),
        Field.SEX: FILLER if sex is Sex.UNSPECIFIED else sex.value,
        Field.EXPIRY_DATE: dates.written(expiry),
        Field.OPTIONAL: optional,
        Field.OPTIONAL_2: optional_2,
    }
    number_place = layout.fields[Field.DOCUMENT_NUMBER]
    room = number_place.last - number_place.first + 1
    spills = fmt in SPILLING and len(document_number) > room
    if spills:
        _in_alphabet(Field.DOCUMENT_NUMBER, document_number)
        rest = document_number[room:]
        values[Field.DOCUMENT_NUMBER] = document_number[:room]
        values[Field.OPTIONAL] = rest + check_digit(document_number[:room] + FILLER + rest) + FILLER + optional
    name = names.together(surname, given_names)
    field = layout.fields[Field.NAME]
    values[Field.NAME] = name[: field.last - field.first + 1]
    return _Writing(layout, values, spills=spills).lines()


class _Writing:
    def __init__(self, layout: Layout, values: Mapping[Field, str], *, spills: bool) -> None:
        self._layout = layout
        self._rows = [[FILLER] * layout.columns for _ in range(layout.lines)]
        for field, value in values.items():
            place = layout.fields.get(field)
            if place is None:
                if value:
                    raise InvalidInputError(field, f"{value!r}: this format has no such field")
                continue
            self._put(field, place, value)
            if place.check is not None and not (spills and field is Field.DOCUMENT_NUMBER):
                self._rows[place.line - 1][place.check - 1] = self._digit(field, place)
        if (composite := layout.fields.get(Field.COMPOSITE)) is not None:
            covered = "".join(self._text(place) for place in layout.covered)
            self._rows[composite.line - 1][composite.first - 1] = check_digit(covered)

    def lines(self) -> tuple[str, ...]:
        return tuple("".join(row) for row in self._rows)

    def _digit(self, field: Field, place: Place) -> str:
        text = self._text(place)
        empty = field is Field.OPTIONAL and not text.strip(FILLER)
        return FILLER if empty else check_digit(text)

    def _put(self, field: Field, place: Place, value: str) -> None:
        _in_alphabet(field, value)
        most = place.last - place.first + 1
        if len(value) > most:
            raise InvalidInputError(field, f"{value!r} has {len(value)} characters; this format has room for {most}")
        self._rows[place.line - 1][place.first - 1 : place.first - 1 + len(value)] = list(value)

    def _text(self, place: Place) -> str:
        return "".join(self._rows[place.line - 1][place.first - 1 : place.last])


class _Reading:
    """One zone while it is read: collects the findings in the order of the page."""

    def __init__(self, fmt: Format, lines: list[str], today: date) -> None:
        self._format, self._layout, self._lines, self._today = fmt, LAYOUTS[fmt], lines, today
        self._findings: list[Finding] = []

    def zone(self) -> Zone:
        self._alphabets()
        for field in _CHECKED:
            self._check(field)
        self._check_composite()
        number, optional = self._number()
        surname, given_names, truncated = names.apart(self._text(Field.NAME))
        if not surname and not given_names:
            self._found(Fault.EMPTY, Field.NAME, "no name")
        if not number:
            self._found(Fault.EMPTY, Field.DOCUMENT_NUMBER, "no number")
        birth = dates.birth_date(self._text(Field.BIRTH_DATE), today=self._today)
        if birth is None:
            self._found(Fault.NO_DATE, Field.BIRTH_DATE, "not a day that was: YYMMDD, unknown parts as <<")
        expiry = dates.expiry_date(self._text(Field.EXPIRY_DATE), today=self._today)
        if expiry is None:
            self._found(Fault.NO_DATE, Field.EXPIRY_DATE, "not a day: YYMMDD")
        return Zone(
            self._format,
            self._bare(Field.DOCUMENT_CODE),
            self._state(Field.ISSUING_STATE),
            surname,
            given_names,
            truncated,
            number,
            self._state(Field.NATIONALITY),
            birth,
            self._sex(),
            expiry,
            optional,
            self._bare(Field.OPTIONAL_2) if Field.OPTIONAL_2 in self._layout.fields else "",
            tuple(sorted(self._findings, key=lambda each: (each.line, each.first, each.last))),
        )

    def _text(self, field: Field) -> str:
        return self._at(self._layout.fields[field])

    def _at(self, place: Place) -> str:
        return self._lines[place.line - 1][place.first - 1 : place.last]

    def _bare(self, field: Field) -> str:
        return self._text(field).rstrip(FILLER)

    def _found(self, fault: Fault, field: Field, problem: str) -> None:
        place = self._layout.fields[field]
        last = place.last if place.check is None else place.check
        text = self._at(Place(place.line, place.first, last))
        self._findings.append(Finding(fault, field, place.line, place.first, last, text, problem))

    def _alphabets(self) -> None:
        for field in self._layout.fields:
            text = self._text(field)
            if field in _LETTERS_ONLY and any(each.isdigit() for each in text):
                self._found(Fault.ALPHABET, field, "a digit stands where only letters do")
            if field in (Field.BIRTH_DATE, Field.EXPIRY_DATE) and any(each.isalpha() for each in text):
                self._found(Fault.ALPHABET, field, "a letter stands where only digits do")

    def _check(self, field: Field) -> None:
        place = self._layout.fields[field]
        if place.check is None:
            return
        text, said = self._at(place), self._lines[place.line - 1][place.check - 1]
        if field is Field.DOCUMENT_NUMBER and said == FILLER and self._format in SPILLING and self._spill() is not None:
            return
        if field is Field.OPTIONAL and said == FILLER and not text.strip(FILLER):
            return  # 9303-4, 4.2.2.2: with nothing to check, 0 or a filler
        if said != check_digit(text):
            self._found(
                Fault.CHECK_DIGIT, field, f"the check digit is {said!r}; these characters have {check_digit(text)!r}"
            )

    def _check_composite(self) -> None:
        place = self._layout.fields.get(Field.COMPOSITE)
        if place is None:
            return
        said = self._at(place)
        right = check_digit("".join(self._at(each) for each in self._layout.covered))
        if said != right:
            problem = f"the composite check digit is {said!r}; the zone has {right!r}"
            self._found(Fault.CHECK_DIGIT, Field.COMPOSITE, problem)

    def _spill(self) -> tuple[str, str] | None:
        """Return (rest of the number, what follows it) if the optional data begin with a long number's rest."""
        rest, _, after = self._text(Field.OPTIONAL).partition(FILLER)
        head = self._text(Field.DOCUMENT_NUMBER)
        # The rest's last character is the check digit of the whole number, the filler between its parts included.
        if len(rest) > 1 and rest[-1] == check_digit(head + FILLER + rest[:-1]):
            return rest[:-1], after
        return None

    def _number(self) -> tuple[str, str]:
        place = self._layout.fields[Field.DOCUMENT_NUMBER]
        number, optional = self._bare(Field.DOCUMENT_NUMBER), self._bare(Field.OPTIONAL)
        assert place.check is not None  # noqa: S101 - every layout checks the number
        if self._format in SPILLING and self._lines[place.line - 1][place.check - 1] == FILLER:
            spilt = self._spill()
            if spilt is not None:
                return self._text(Field.DOCUMENT_NUMBER) + spilt[0], spilt[1].rstrip(FILLER)
        return number, optional

    def _state(self, field: Field) -> str:
        state = self._bare(field)
        if state not in KNOWN:
            self._found(Fault.UNKNOWN_STATE, field, f"{state!r} is no state or organisation that issues documents")
        return state

    def _sex(self) -> Sex | None:
        letter = self._text(Field.SEX)
        if letter == FILLER:
            return Sex.UNSPECIFIED
        if letter not in ("F", "M"):
            self._found(Fault.ALPHABET, Field.SEX, "F, M or < stands here")
            return None
        return Sex(letter)


def _lines(text: str) -> list[str]:
    if len(text) > TEXT_MAX:
        raise InvalidInputError("machine readable zone", f"{len(text)} characters; a zone has 60 to 90")
    plain = _SPACES.sub("", text.upper().replace("\r\n", "\n").replace("\r", "\n"))
    lines = [line for line in plain.split("\n") if line]
    for number, line in enumerate(lines, 1):
        for column, character in enumerate(line, 1):
            if character not in ALPHABET:
                place = f"machine readable zone, line {number}, column {column}"
                raise InvalidInputError(place, f"{character!r} is in no zone: A to Z, 0 to 9 and < are")
    if len(lines) == 1:
        columns = {2 * 44: 44, 2 * 36: 36, 3 * 30: 30}.get(len(lines[0]))
        if columns is not None:
            [whole] = lines
            return [whole[at : at + columns] for at in range(0, len(whole), columns)]
    return lines


def _format(lines: list[str]) -> Format:
    visa = bool(lines) and lines[0].startswith("V")
    for fmt, layout in LAYOUTS.items():
        if (fmt in VISAS) is not visa:
            continue
        if len(lines) == layout.lines and all(len(line) == layout.columns for line in lines):
            return fmt
    lengths = " + ".join(str(len(line)) for line in lines) or "0"
    raise InvalidInputError(
        "machine readable zone", f"lines of {lengths} characters; a zone has 44 + 44, 36 + 36 or 30 + 30 + 30"
    )


def _in_alphabet(field: Field, value: str) -> None:
    for character in value:
        if character not in ALPHABET:
            raise InvalidInputError(field, f"{character!r} in {value!r}: A to Z, 0 to 9 and < can be written")
