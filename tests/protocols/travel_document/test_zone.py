"""Zones as they come: typed, scanned, misread, hostile; and written and read back."""

from contextlib import suppress
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import InvalidInputError
from protocols.travel_document.check_digit import ALPHABET
from protocols.travel_document.dates import BirthDate
from protocols.travel_document.layout import LAYOUTS, Field, Format
from protocols.travel_document.states import KNOWN, country_of
from protocols.travel_document.zone import Fault, Sex, read, write

TODAY = date(2026, 11, 21)
PASSPORT = ("P<UTOERIKSSON<<ANNA<MARIA<<<<<<<<<<<<<<<<<<<", "L898902C36UTO7408122F1204159ZE184226B<<<<<10")

_names = st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ", min_size=1, max_size=8)
_numbers = st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", min_size=1, max_size=9)


def _lines_of(lines: int, columns: int) -> st.SearchStrategy[str]:
    line = st.text(ALPHABET, min_size=columns, max_size=columns)
    return st.lists(line, min_size=lines, max_size=lines).map("\n".join)


def _fields(draw: st.DrawFn) -> dict[str, Any]:
    return {
        "document_code": draw(st.sampled_from(["P", "PD", "I", "AC"])),
        "issuing_state": draw(st.sampled_from(sorted(KNOWN))),
        "surname": draw(_names),
        "given_names": " ".join(draw(st.lists(_names, max_size=2))),
        "document_number": draw(_numbers),
        "nationality": draw(st.sampled_from(sorted(KNOWN))),
        "birth": draw(st.dates(date(1930, 1, 1), TODAY)),
        "sex": draw(st.sampled_from(Sex)),
        "expiry": draw(st.dates(date(1980, 1, 1), date(2076, 11, 21))),
    }


@st.composite
def documents(draw: st.DrawFn) -> tuple[Format, dict[str, Any]]:
    fmt = draw(st.sampled_from(Format))
    fields = _fields(draw)
    if fmt in (Format.MRV_A, Format.MRV_B):
        fields["document_code"] = "V"
    if fmt in (Format.TD1, Format.TD2) and draw(st.booleans()):
        fields["document_number"] = (fields["document_number"] * 12)[: draw(st.integers(10, 14))]
    return fmt, fields


@given(documents())
def test_what_was_written_is_read(document: tuple[Format, dict[str, Any]]) -> None:
    fmt, fields = document
    lines = write(fmt, **fields)
    assert [len(line) for line in lines] == [LAYOUTS[fmt].columns] * LAYOUTS[fmt].lines
    zone = read("\n".join(lines), today=TODAY)
    assert (zone.format, zone.findings) == (fmt, ())
    assert (zone.surname, zone.given_names) == (fields["surname"], fields["given_names"])
    assert (zone.document_number, zone.nationality) == (fields["document_number"], fields["nationality"])
    assert zone.birth is not None
    assert (zone.birth.whole(), zone.expiry, zone.sex) == (fields["birth"], fields["expiry"], fields["sex"])


@given(documents(), st.data())
def test_a_misread_character_in_a_checked_field_is_found(
    document: tuple[Format, dict[str, Any]], data: st.DataObject
) -> None:
    fmt, fields = document
    lines = [*write(fmt, **fields)]
    place = LAYOUTS[fmt].fields[
        data.draw(st.sampled_from([Field.DOCUMENT_NUMBER, Field.BIRTH_DATE, Field.EXPIRY_DATE]))
    ]
    column = data.draw(st.integers(place.first, place.last)) - 1
    line = lines[place.line - 1]
    values = {character: at for at, character in enumerate("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ")} | {"<": 0}
    wrong = data.draw(st.sampled_from([c for c in ALPHABET if (values[c] - values[line[column]]) % 10]))
    lines[place.line - 1] = line[:column] + wrong + line[column + 1 :]
    assert not read("\n".join(lines), today=TODAY).holds


@pytest.mark.guarantee("G19")
@given(st.one_of(st.text(max_size=200), _lines_of(2, 44), _lines_of(3, 30), _lines_of(2, 36)))
def test_noise_is_refused_or_read_with_findings(text: str) -> None:
    with suppress(InvalidInputError):
        zone = read(text, today=TODAY)
        for finding in zone.findings:
            assert finding.read == text.upper().split("\n")[finding.line - 1][finding.first - 1 : finding.last]


@pytest.mark.parametrize(
    "text",
    [
        "\r\n".join(PASSPORT),
        "".join(PASSPORT),
        "\n \n".join(line.lower() for line in PASSPORT),
        " ".join(PASSPORT[0]) + "\n\t" + PASSPORT[1] + "\n\n",
    ],
    ids=["as a reader sends it", "in one line", "in small letters", "with spaces"],
)
def test_case_spaces_and_line_ends_do_not_count(text: str) -> None:
    assert read(text, today=TODAY) == read("\n".join(PASSPORT), today=TODAY)


def test_an_endless_text_is_refused_unread() -> None:
    with pytest.raises(InvalidInputError, match="2000000 characters"):
        read("P<" * 1_000_000, today=TODAY)


def test_a_long_number_whose_check_digit_is_wrong_is_no_spill() -> None:
    zone = read(
        "I<UTOD23145890<7348<<<<<<<<<<<\n3407127M9507122UTO<<<<<<<<<<<2\nSTEVENSON<<PETER<JOHN<<<<<<<<<", today=TODAY
    )
    assert zone.document_number == "D23145890"
    assert (Fault.CHECK_DIGIT, Field.DOCUMENT_NUMBER) in [(each.fault, each.field) for each in zone.findings]


def test_a_name_that_fills_its_field_may_go_on() -> None:
    lines = write(
        Format.TD1,
        document_code="I",
        issuing_state="D",
        surname="Papandropoulous-Wolkenstein",
        given_names="Jonathon Alec",
        document_number="T22000129",
        nationality="D",
        birth=date(1964, 8, 12),
        sex=Sex.UNSPECIFIED,
        expiry=date(2031, 10, 31),
    )
    zone = read("\n".join(lines), today=TODAY)
    assert (zone.holds, zone.name_truncated, zone.sex) == (True, True, Sex.UNSPECIFIED)
    assert (zone.surname, zone.given_names) == ("PAPANDROPOULOUS WOLKENSTEIN", "J")
    assert country_of(zone.nationality) == "DEU"


@pytest.mark.parametrize(
    ("birth", "want", "age_at_least"),
    [
        ("261121", BirthDate(2026, 11, 21), 0),
        ("261122", BirthDate(1926, 11, 22), 99),
        ("0811<<", BirthDate(2008, 11, None), 17),
        ("08<<<<", BirthDate(2008, None, None), 17),
        ("<<<<<<", BirthDate(None, None, None), None),
    ],
)
def test_centuries_and_unknown_parts_of_births(birth: str, want: BirthDate, age_at_least: int | None) -> None:
    line = PASSPORT[1][:13] + birth + PASSPORT[1][19:]
    zone = read(f"{PASSPORT[0]}\n{line}", today=TODAY)
    assert zone.birth == want
    assert want.years_at_least(TODAY) == age_at_least


@pytest.mark.parametrize(("birth"), ["260230", "<<1121", "08<<11", "261321"])
def test_what_is_no_day_is_said(birth: str) -> None:
    line = PASSPORT[1][:13] + birth + PASSPORT[1][19:]
    zone = read(f"{PASSPORT[0]}\n{line}", today=TODAY)
    assert zone.birth is None
    assert Fault.NO_DATE in [each.fault for each in zone.findings]


def test_a_document_expires_after_its_last_day() -> None:
    zone = read("\n".join(PASSPORT), today=TODAY)
    assert (zone.expired(date(2012, 4, 15)), zone.expired(date(2012, 4, 16))) == (False, True)


@pytest.mark.parametrize(
    ("wrong", "place"),
    [
        ({"document_number": "1234567890"}, "document_number"),
        ({"optional": "X" * 15}, "optional"),
        ({"issuing_state": "utö"}, "issuing_state"),
        ({"optional_2": "1"}, "optional_2"),
        ({"surname": "Иванов"}, "name"),
    ],
)
def test_what_does_not_fit_is_not_written(wrong: dict[str, str], place: str) -> None:
    fields: dict[str, Any] = {
        "document_code": "P",
        "issuing_state": "UTO",
        "surname": "Eriksson",
        "given_names": "Anna",
        "document_number": "L898902C3",
        "nationality": "UTO",
        "birth": None,
        "sex": Sex.FEMALE,
        "expiry": None,
    }
    with pytest.raises(InvalidInputError) as refused:
        write(Format.TD3, **fields | wrong)
    assert refused.value.place == place
