"""Kiosk peripherals: what their bytes mean, split anywhere; and that no byte of a document is told as anything else."""

from datetime import date
from itertools import pairwise
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.peripherals import card_dispenser, escpos
from protocols.peripherals.conversation import Answered, Conversation, Nonsense, Presented, Said
from protocols.peripherals.dialects import FIELDS, conversation

TODAY: Final = date(2026, 11, 21)
PASSPORT: Final = (
    "P<UTOERIKSSON<<ANNA<MARIA<<<<<<<<<<<<<<<<<<<",
    "L898902C36UTO7408122F1204159ZE184226B<<<<<10",
)
CARD: Final = ("I<UTOD231458907<<<<<<<<<<<<<<<", "7408122F1204159UTO<<<<<<<<<<<6", "ERIKSSON<<ANNA<MARIA<<<<<<<<<<")


def fields(said: list[Said]) -> dict[str, bool]:
    return {name: value for each in said if isinstance(each, Answered) for name, value in each.fields.items()}


def split(data: bytes, cuts: set[int]) -> list[bytes]:
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[start:end] for start, end in pairwise(places)]


def test_the_frames_are_those_of_the_manual() -> None:
    for command, whole in ((b"DC", "0244430306"), (b"CP", "0243500312"), (b"RF", "0252460315"), (b"ST", "0253540306")):
        assert card_dispenser.frame(command).hex() == whole


@given(stands=st.fixed_dictionaries({name: st.booleans() for name in sorted(escpos.FIELDS)}))
def test_a_printer_says_how_it_stands_in_four_bytes(stands: dict[str, bool]) -> None:
    printer = escpos.EscPos()
    printer.begin()
    said: list[Said] = []
    for number in range(1, 5):
        assert printer.data_to_send() == bytes((0x10, 0x04, number))
        said += printer.receive_data(escpos.status(stands, number))
    assert printer.finished
    assert fields(said) == stands


@pytest.mark.parametrize("byte", [0x00, 0xFF, 0x10, 0x13, 0x92])
def test_a_byte_with_the_wrong_fixed_bits_is_no_status(byte: int) -> None:
    printer = escpos.EscPos()
    printer.begin()
    [said] = printer.receive_data(bytes((byte,)))
    assert isinstance(said, Nonsense)
    assert printer.finished


@given(
    stands=st.fixed_dictionaries({name: st.booleans() for name in sorted(card_dispenser.FIELDS)}),
    cuts=st.sets(st.integers(0, 20)),
)
def test_a_dispenser_acknowledges_and_then_shows_its_flags(stands: dict[str, bool], cuts: set[int]) -> None:
    dispenser = card_dispenser.CardDispenser()
    dispenser.begin()
    assert dispenser.data_to_send() == card_dispenser.frame(b"PB")
    assert dispenser.receive_data(b"\x06") == []
    assert dispenser.data_to_send() == b"\x05"
    said = [each for part in split(card_dispenser.flags_answer(stands), cuts) for each in dispenser.receive_data(part)]
    assert fields(said) == stands
    assert dispenser.finished


@given(place=st.integers(0, 7), bit=st.integers(0, 7))
def test_a_flag_whose_sum_is_wrong_is_no_flag(place: int, bit: int) -> None:
    answer = bytearray(card_dispenser.flags_answer({"jammed": True}))
    answer[place] ^= 1 << bit
    dispenser = card_dispenser.CardDispenser()
    dispenser.begin()
    said = dispenser.receive_data(b"\x06" + bytes(answer))
    assert not fields(said)
    assert isinstance(said[-1], Nonsense)


@pytest.mark.parametrize("lines", [PASSPORT, CARD], ids=["passport", "card"])
@pytest.mark.parametrize("end", ["\r", "\r\n", "\n"])
@given(cuts=st.sets(st.integers(0, 100)))
def test_a_zone_comes_a_line_at_a_time_however_it_is_split(lines: tuple[str, ...], end: str, cuts: set[int]) -> None:
    reader = conversation("honeywell_ocr", today=TODAY)
    data = "".join(line + end for line in lines).encode()
    said = [each for part in split(data, cuts) for each in reader.receive_data(part)]
    assert [each.text for each in said if isinstance(each, Presented)] == ["\n".join(lines)]
    assert fields(said) == {"document": True}


def test_a_poll_ends_with_its_acknowledgement_and_tells_of_the_document_once() -> None:
    reader = conversation("honeywell_ocr", today=TODAY)
    reader.begin()
    assert reader.data_to_send() == b"\x16M\rREVINF."
    # The first line is as long as a card's: it is no zone for that.
    said = reader.receive_data(b"REVINFProduct Name: OCR imager\r\nSerial: 1\r\n\x06.")
    assert fields(said) == {"document": False, "misread": False}
    reader.receive_data(("\r".join(PASSPORT) + "\r").encode())
    for told in (True, False):
        reader.begin()
        assert fields(reader.receive_data(b"\x06"))["document"] is told


@pytest.mark.parametrize(
    "data",
    [
        (PASSPORT[0] + "\r" + PASSPORT[1].replace("7408122", "7408123") + "\r").encode(),
        (PASSPORT[0][:40] + "\r" + PASSPORT[1] + "\r").encode(),
        b"4006381333931\r",
    ],
    ids=["a wrong digit", "a line cut short", "a bar code"],
)
def test_what_is_no_zone_is_misread_and_not_a_character_of_it_is_told(data: bytes) -> None:
    reader = conversation("honeywell_ocr", today=TODAY)
    said = [*reader.receive_data(data), *reader.pause()]
    assert not [each for each in said if isinstance(each, Presented)]
    assert fields(said).get("misread") is True
    for each in said:
        assert "ERIKSSON" not in repr(each)
        assert "4006381333931" not in repr(each)


def test_what_was_presented_is_not_in_its_own_repr() -> None:
    assert "ERIKSSON" not in repr(Presented(PASSPORT[0]))


@pytest.mark.guarantee("G19")
@pytest.mark.parametrize("dialect", sorted(FIELDS))
@given(parts=st.lists(st.binary(max_size=60), max_size=8), polls=st.lists(st.booleans(), min_size=8, max_size=8))
def test_noise_raises_nothing_and_a_poll_can_always_begin_again(
    dialect: str, parts: list[bytes], polls: list[bool]
) -> None:
    talk: Conversation = conversation(dialect, today=TODAY)
    for data, poll in zip(parts, polls, strict=False):
        if poll:
            talk.begin()
            assert talk.data_to_send()
        for each in [*(talk.receive_data(data) if data else []), *talk.pause()]:
            assert not isinstance(each, Answered) or each.fields.keys() <= FIELDS[dialect]
        talk.data_to_send()
