"""Records: the grammar both ways, and what is wrong with others."""

from contextlib import suppress
from datetime import date, datetime, time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import InvalidInputError, LocalProtocolError, PeerProtocolError
from protocols.fias.record import FIELDS_MAX, Description, Record, decode, description, stamped

_printable = st.text(
    st.characters(codec="cp1252", exclude_characters="|\x02\x03", exclude_categories=["Cc"]), max_size=20
)
_ids = st.from_regex(r"[A-Z$][A-Z0-9#+]", fullmatch=True)


@given(st.from_regex(r"[A-Z][A-Z0-9]", fullmatch=True), st.dictionaries(_ids, _printable, max_size=12))
def test_what_was_written_is_read(record_id: str, fields: dict[str, str]) -> None:
    record = Record(record_id, fields)
    assert decode(record.encode()) == record


@pytest.mark.guarantee("G19")
@given(st.binary(max_size=400))
def test_noise_is_a_record_or_refused_by_its_words(data: bytes) -> None:
    with suppress(PeerProtocolError):
        decode(data)


def test_a_guest_comes_in_as_the_wire_has_it() -> None:
    record = decode(b"GI|RN0412|G#88120|GSN|GNVidal|GLSP|GA261120|GD261123|SF|")
    assert (record.need("RN"), record.number("G#"), record.flag("GS")) == ("0412", 88120, False)
    assert (record.day("GD"), record.get("SF"), record.get("GF")) == (date(2026, 11, 23), "", None)


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"GI|RN1", "ends with a bar"),
        (b"gi|RN1|", "no record id"),
        (b"|", "no record id"),
        (b"GI|" + b"A1|" * (FIELDS_MAX + 1), f"{FIELDS_MAX + 1} fields"),
    ],
)
def test_what_is_no_record_is_refused(data: bytes, word: str) -> None:
    with pytest.raises(PeerProtocolError, match=word):
        decode(data)


def test_what_is_no_field_is_an_unknown_field_and_ignored() -> None:
    assert decode(b"GI|RN0412||R|G#88120|") == Record("GI", {"RN": "0412", "G#": "88120"})


@pytest.mark.parametrize(
    ("field", "read", "word"),
    [
        ("G#", lambda record: record.number("G#"), "G# is '12x'"),
        ("GS", lambda record: record.flag("GS"), "Y or N"),
        ("GA", lambda record: record.day("GA"), "no day"),
        ("TI", lambda record: record.time_of_day("TI"), "no time"),
        ("RN", lambda record: record.need("RN"), "RN is empty"),
        ("XX", lambda record: record.need("XX"), "XX is missing"),
    ],
)
def test_a_wrong_field_is_named(field: str, read: object, word: str) -> None:
    record = decode(b"GI|G#12x|GSQ|GA260230|TI246000|RN|")
    assert callable(read)
    with pytest.raises(PeerProtocolError, match=word):
        read(record)


def test_times_are_read() -> None:
    assert decode(b"LA|TI235959|").time_of_day("TI") == time(23, 59, 59)


@pytest.mark.parametrize(
    "record",
    [Record("G", {}), Record("GI", {"rn": "1"}), Record("GI", {"GN": "a|b"}), Record("GI", {"GN": "x" * 2_000})],
    ids=["id", "field id", "bar inside", "too long"],
)
def test_what_the_wire_cannot_say_is_our_defect(record: Record) -> None:
    with pytest.raises(LocalProtocolError):
        record.encode()


def test_what_the_code_page_lacks_becomes_a_question_mark() -> None:
    assert Record("GI", {"GN": "Иван Ñ"}).encode() == "GI|GN???? Ñ|".encode("cp1252")
    assert Record("GI", {"GN": "Иван"}).encode("cp1251") == "GI|GNИван|".encode("cp1251")


def test_descriptions_survive_and_odd_ones_are_refused() -> None:
    wanted = Description("GI", ("RN", "G#", "GS"))
    assert wanted.encode().encode() == b"LR|RIGI|FLRNG#GS|"
    assert description(wanted.encode()) == wanted
    with pytest.raises(PeerProtocolError, match="two characters"):
        description(Record("LR", {"RI": "GI", "FL": "RNG"}))


def test_a_year_that_two_digits_cannot_say_is_refused() -> None:
    assert stamped("LS", datetime(2026, 11, 21, 9, 0, 1)).encode() == b"LS|DA261121|TI090001|"  # noqa: DTZ001 - the property's wall
    with pytest.raises(InvalidInputError):
        stamped("LS", datetime(2100, 1, 1))  # noqa: DTZ001 - the property's wall
