"""Orders: a card, a receipt; what stands against them, what proves them, and that no text is a printer's command."""

from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import LocalProtocolError
from protocols.peripherals import card_dispenser, escpos
from protocols.peripherals.card_dispenser import CardDispenser
from protocols.peripherals.conversation import Nonsense, Order, Ordered
from protocols.peripherals.document_reader import DocumentReader
from protocols.peripherals.escpos import EscPos
from tests.protocols.peripherals.test_peripherals import TODAY, fields, split

CARD: Final = Order("0001")
READY: Final = {"ready": True}
RECEIPT: Final = Order("0042", "Hotel Aurora\nRoom 101")


def test_a_card_is_asked_for_by_the_frames_of_the_manual_and_given_on_our_enq() -> None:
    dispenser = CardDispenser()
    dispenser.prepare()
    assert dispenser.data_to_send().hex() == "0250430312"  # PC, as the manual's examples have it
    dispenser.receive_data(b"\x06")
    assert dispenser.data_to_send() == b"\x05"
    stands = fields(dispenser.receive_data(card_dispenser.flags_answer(READY, card_dispenser.CLEAR_FLAGS)))
    assert dispenser.refuses(CARD, stands) is None
    dispenser.begin_order(CARD)
    assert dispenser.data_to_send().hex() == "0244430306"
    assert dispenser.receive_data(b"\x06") == [Ordered(None)]
    assert dispenser.data_to_send() == b"\x05"
    assert dispenser.finished
    for stands, came in (
        ({"ready": True}, None),
        ({"dispensing": True}, None),
        ({"card_at_mouth": True}, True),
        ({"taken_away": True, "ready": True}, True),
        ({"dispense_failed": True}, False),
        ({"jammed": True}, False),
    ):
        assert dispenser.came_of(stands) is came


def test_a_dispenser_that_says_nak_gives_no_card_and_answers_of_another_command_are_none() -> None:
    dispenser = CardDispenser()
    dispenser.begin_order(CARD)
    assert dispenser.receive_data(b"\x15") == [Ordered(False)]
    assert dispenser.data_to_send().hex() == "0244430306", "and no ENQ after it"
    dispenser.prepare()
    dispenser.data_to_send()
    dispenser.receive_data(b"\x06")
    [said] = dispenser.receive_data(card_dispenser.flags_answer(READY))
    assert isinstance(said, Nonsense), "PB was answered, PC was asked"


@given(stands=st.fixed_dictionaries({name: st.booleans() for name in sorted(card_dispenser.FIELDS)}))
def test_no_card_is_ordered_from_a_dispenser_that_cannot_give_one(stands: dict[str, bool]) -> None:
    why = CardDispenser().refuses(CARD, stands)
    against = ("jammed", "dispense_failed", "hopper_empty", "card_at_mouth", "dispensing")
    assert (why is None) == (stands["ready"] and not any(stands[each] for each in against))


@given(cuts=st.sets(st.integers(0, 40)), noise=st.binary(max_size=12))
def test_a_receipt_is_out_when_the_printer_says_its_mark(cuts: set[int], noise: bytes) -> None:
    printer = EscPos()
    printer.begin_order(RECEIPT)
    assert printer.data_to_send() == (b"\x1b@\x1bt\x10Hotel Aurora\nRoom 101\n\x1dVB\x00\x1d(H\x06\x0000" + b"0042")
    earlier = escpos.MARKED + b"0041\0"
    if escpos.MARKED + b"0042\0" in noise:
        return
    said = [each for part in split(earlier + noise, cuts) for each in printer.receive_data(part)]
    assert said == []
    said = [each for part in split(escpos.MARKED + b"0042\0", cuts) for each in printer.receive_data(part)]
    assert said == [Ordered(True)]
    assert printer.finished


@given(text=st.text(max_size=60))
def test_no_text_holds_a_command_of_the_printer(text: str) -> None:
    printer = EscPos()
    if printer.refuses(Order("0001", text), {}) is not None:
        with pytest.raises(LocalProtocolError):
            printer.begin_order(Order("0001", text))
        return
    printer.begin_order(Order("0001", text))
    body = printer.data_to_send().removeprefix(escpos.BEGIN).removesuffix(b"\n" + escpos.CUT + escpos.MARK + b"0001")
    assert all(byte >= 0x20 or byte == 0x0A for byte in body)


@pytest.mark.parametrize("text", ["", "\x1b@", "a\x10\x14\x01\x01\x01", "tab\there", "\x7f", "\u202e", "x" * 4_001])
def test_what_is_not_plain_text_is_refused_unsent(text: str) -> None:
    assert EscPos().refuses(Order("0001", text), {}) is not None


@pytest.mark.parametrize("field", ["cover_open", "paper_out", "paper_stop", "cutter_error", "offline", "error"])
def test_nothing_is_sent_to_a_printer_that_would_wait_for_somebody(field: str) -> None:
    assert EscPos().refuses(RECEIPT, {}) is None
    assert EscPos().refuses(RECEIPT, {field: True}) is not None


def test_each_takes_its_own_orders_alone_and_none_shows_a_text() -> None:
    assert CardDispenser().refuses(RECEIPT, READY) is not None
    assert EscPos().refuses(CARD, {}) is not None
    reader = DocumentReader(TODAY)
    assert reader.refuses(CARD, {}) is not None
    with pytest.raises(LocalProtocolError):
        reader.begin_order(CARD)
    assert "Aurora" not in repr(RECEIPT)
