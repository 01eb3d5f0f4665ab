"""Charges, bills and signing in, as SPEC.md 7, 8 and 13 have them; vectors in protocols/vectors/fias."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import InvalidInputError, PeerProtocolError
from protocols.fias.link import SIGN_INS_MOST, FiasLink, State
from protocols.fias.postings import (
    BILLS,
    CHARGES,
    Charge,
    ChargeKind,
    Outcome,
    bill_ended,
    bill_line,
    charge_record,
    mark,
    outcome_of,
    posting_answer,
)
from protocols.fias.record import Record, decode
from protocols.fias.sign_in import cryptogram

AT: Final = datetime(2026, 11, 21, 9, 0, 1)  # noqa: DTZ001 - what the property's wall shows
VECTORS: Final = Path(__file__).resolve().parents[3] / "protocols" / "vectors" / "fias"


def vectors(name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((VECTORS / f"{name}.json").read_text(encoding="utf-8"))
    return found


@pytest.mark.parametrize("vector", vectors("charges"), ids=lambda each: str(each["name"]))
def test_a_charge_is_written_as_the_vectors_have_it(vector: dict[str, Any]) -> None:
    charge = Charge(vector["room"], vector["minor"], vector["text"], ChargeKind(vector["kind"]))
    assert charge_record(charge, vector["number"], AT).encode().decode("cp1252") == vector["record"]


@pytest.mark.parametrize("vector", vectors("answers"), ids=lambda each: str(each["record"]))
def test_an_answer_means_what_the_vectors_say(vector: dict[str, Any]) -> None:
    told = posting_answer(decode(vector["record"].encode("cp1252")))
    assert (told.number, outcome_of(told.status).value) == (vector["number"], vector["outcome"])


@pytest.mark.parametrize("vector", vectors("bills"), ids=lambda each: str(each["record"]))
def test_a_bill_is_read_as_the_vectors_have_it(vector: dict[str, Any]) -> None:
    record = decode(vector["record"].encode("cp1252"))
    if vector["minor"] is None:
        with pytest.raises(PeerProtocolError, match=vector["field"]):
            bill_line(record) if record.id == "XI" else bill_ended(record)
        return
    told = bill_line(record) if record.id == "XI" else bill_ended(record)
    assert told.minor == vector["minor"]


@pytest.mark.parametrize("vector", vectors("sign_in"), ids=lambda each: str(each["stamp"]))
def test_a_cryptogram_is_the_vectors(vector: dict[str, Any]) -> None:
    key, iv = bytes.fromhex(vector["key"]), bytes.fromhex(vector["iv"])
    assert cryptogram(key, vector["stamp"], iv=iv, header=vector["header"]) == vector["cg"]
    with pytest.raises(InvalidInputError, match="key"):
        cryptogram(key[:-1], vector["stamp"], iv=iv)


@given(st.text(max_size=60), st.integers(1, 99_999_999))
def test_a_charge_of_any_text_is_a_record_that_ends_with_our_mark(text: str, number: int) -> None:
    record = decode(charge_record(Charge("101", 5, text), number, AT).encode())
    assert len(record.need("CT")) <= 20
    assert record.need("CT").endswith(mark(number))
    assert record.need("TA") == "5"


def test_what_cannot_be_charged_is_said_by_name() -> None:
    for room, minor, says in (("", 1, "room"), ("1|2", 1, "room"), ("101", 0, "minor"), ("101", 10**11, "minor")):
        with pytest.raises(InvalidInputError, match=says):
            Charge(room, minor, "x")
    for number in (0, 100_000_000):
        with pytest.raises(InvalidInputError, match="P#"):
            charge_record(Charge("101", 1, "x"), number, AT)
    with pytest.raises(PeerProtocolError, match="P#"):
        posting_answer(Record("PA", {"AS": "OK", "P#": "0"}))


def signing(stamps: list[str]) -> FiasLink:
    def sign(stamp: str) -> str:
        stamps.append(stamp)
        return "CRYPT"

    return FiasLink("DL", "IK1", CHARGES + BILLS, configuration=5, sign_in=sign)


def test_a_description_carries_the_cryptogram_of_the_last_ls_and_two_unanswered_ones_are_the_last() -> None:
    stamps: list[str] = []
    link = signing(stamps)
    link.connected(now_ms=0, resync=False)
    link.receive(decode(b"LS|DA261121|TI085959|"), now_ms=0, at=AT)
    assert "CGCRYPT|" in link.data_to_send()[0].encode().decode()
    link.receive(decode(b"LA|DA261121|TI090000|"), now_ms=0, at=AT)
    assert link.state is State.ALIVE
    for _ in range(SIGN_INS_MOST):
        link.receive(decode(b"LS|"), now_ms=0, at=AT)
        assert link.data_to_send() != []
    assert not link.blocked
    link.receive(decode(b"LS|"), now_ms=0, at=AT)
    assert (link.data_to_send(), link.blocked) == ([], True)
    assert stamps == ["261121085959", "261121090001", "261121090001"]


def test_each_code_of_an_answer_has_one_meaning() -> None:
    assert {outcome_of(each) for each in ("RY", "BY", "NA")} == {Outcome.LATER}
    assert {outcome_of(each) for each in ("NR", "??", "")} == {Outcome.UNKNOWN}
