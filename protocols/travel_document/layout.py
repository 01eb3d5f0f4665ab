"""Where each field stands in each of the five formats (ICAO Doc 9303, parts 4 to 7). Lines and columns count from 1."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Format(StrEnum):
    """The size of the document, which is the shape of its zone."""

    TD1 = "td1"
    """Cards: 3 lines of 30."""
    TD2 = "td2"
    """Larger cards: 2 lines of 36."""
    TD3 = "td3"
    """Passport books: 2 lines of 44."""
    MRV_A = "mrv_a"
    """Visas: 2 lines of 44."""
    MRV_B = "mrv_b"
    """Smaller visas: 2 lines of 36."""


class Field(StrEnum):
    """What stands in the zone."""

    DOCUMENT_CODE = "document_code"
    ISSUING_STATE = "issuing_state"
    NAME = "name"
    DOCUMENT_NUMBER = "document_number"
    NATIONALITY = "nationality"
    BIRTH_DATE = "birth_date"
    SEX = "sex"
    EXPIRY_DATE = "expiry_date"
    OPTIONAL = "optional"
    OPTIONAL_2 = "optional_2"
    COMPOSITE = "composite"


@dataclass(frozen=True, slots=True)
class Place:
    """Columns `first` to `last` of a line; `check` is the column of the field's own check digit, in the same line."""

    line: int
    first: int
    last: int
    check: int | None = None


@dataclass(frozen=True, slots=True)
class Layout:
    """One format: `lines` of `columns`, the fields, and what its composite check digit covers, in order."""

    lines: int
    columns: int
    fields: Mapping[Field, Place]
    covered: tuple[Place, ...] = ()


def _two_lines(columns: int, optional: Place, *, composite: int | None) -> Layout:
    fields = {
        Field.DOCUMENT_CODE: Place(1, 1, 2),
        Field.ISSUING_STATE: Place(1, 3, 5),
        Field.NAME: Place(1, 6, columns),
        Field.DOCUMENT_NUMBER: Place(2, 1, 9, 10),
        Field.NATIONALITY: Place(2, 11, 13),
        Field.BIRTH_DATE: Place(2, 14, 19, 20),
        Field.SEX: Place(2, 21, 21),
        Field.EXPIRY_DATE: Place(2, 22, 27, 28),
        Field.OPTIONAL: optional,
    }
    if composite is None:
        return Layout(2, columns, fields)
    fields[Field.COMPOSITE] = Place(2, composite, composite)
    return Layout(2, columns, fields, (Place(2, 1, 10), Place(2, 14, 20), Place(2, 22, composite - 1)))


LAYOUTS: Final[Mapping[Format, Layout]] = {
    Format.TD1: Layout(
        3,
        30,
        {
            Field.DOCUMENT_CODE: Place(1, 1, 2),
            Field.ISSUING_STATE: Place(1, 3, 5),
            Field.DOCUMENT_NUMBER: Place(1, 6, 14, 15),
            Field.OPTIONAL: Place(1, 16, 30),
            Field.BIRTH_DATE: Place(2, 1, 6, 7),
            Field.SEX: Place(2, 8, 8),
            Field.EXPIRY_DATE: Place(2, 9, 14, 15),
            Field.NATIONALITY: Place(2, 16, 18),
            Field.OPTIONAL_2: Place(2, 19, 29),
            Field.COMPOSITE: Place(2, 30, 30),
            Field.NAME: Place(3, 1, 30),
        },
        (Place(1, 6, 30), Place(2, 1, 7), Place(2, 9, 15), Place(2, 19, 29)),
    ),
    Format.TD2: _two_lines(36, Place(2, 29, 35), composite=36),
    Format.TD3: _two_lines(44, Place(2, 29, 42, 43), composite=44),
    Format.MRV_A: _two_lines(44, Place(2, 29, 44), composite=None),
    Format.MRV_B: _two_lines(36, Place(2, 29, 36), composite=None),
}

VISAS: Final = frozenset({Format.MRV_A, Format.MRV_B})
SPILLING: Final = frozenset({Format.TD1, Format.TD2})
"""Formats whose long document numbers go on in the optional data, with `<` in place of the check digit."""
