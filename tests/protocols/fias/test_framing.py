"""Frames however they are cut, damaged, doubled or never ended."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.fias.framing import (
    ACK,
    ANSWER_WAIT_MS,
    ENQ,
    NAK,
    RECORD_BYTES_MAX,
    SerialReceiver,
    SerialSender,
    TcpDeframer,
    checksum,
    framed,
)

records = st.binary(max_size=60).map(lambda data: bytes(byte for byte in data if byte not in (2, 3)))


@given(st.lists(records, max_size=6), st.data())
def test_records_come_out_however_the_stream_was_cut(sent: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(framed(record) for record in sent)
    deframer, got, at = TcpDeframer(), [], 0
    while at < len(stream):
        size = data.draw(st.integers(1, 40))
        got += deframer.feed(stream[at : at + size])
        at += size
    assert got == sent
    assert deframer.skipped_bytes == 0


@pytest.mark.guarantee("G19")
@given(st.lists(st.binary(max_size=300), max_size=8), records)
def test_after_any_noise_the_next_whole_frame_is_read(noise: list[bytes], record: bytes) -> None:
    deframer = TcpDeframer()
    for piece in noise:
        deframer.feed(piece)
    assert deframer.feed(framed(record))[-1:] == [record]


@pytest.mark.guarantee("G9")
def test_a_frame_that_never_ends_is_given_up() -> None:
    deframer = TcpDeframer()
    deframer.feed(b"\x02")
    for _ in range(50):
        assert deframer.feed(b"x" * 1_000) == []
    assert deframer.overlong == 1
    assert deframer.feed(framed(b"LA|")) == [b"LA|"]


@pytest.mark.parametrize("record", [b"a\x02", b"\x03", b"x" * (RECORD_BYTES_MAX + 1)])
def test_what_cannot_be_framed_is_not(record: bytes) -> None:
    with pytest.raises(ValueError, match="record"):
        framed(record)


def test_a_serial_frame_is_taken_once_and_a_damaged_one_is_refused() -> None:
    receiver = SerialReceiver()
    frame = framed(b"LA|") + bytes((checksum(b"LA|"),))
    assert receiver.feed(frame) == ([b"LA|"], bytes((ACK,)))
    assert receiver.feed(bytes((ENQ,))) == ([], bytes((ACK,)))  # they did not hear: the frame does not come again
    assert receiver.feed(frame[:-1] + bytes((frame[-1] ^ 1,))) == ([], bytes((NAK,)))
    assert receiver.damaged == 1


def test_a_lost_answer_is_asked_for_and_a_refused_frame_is_repeated_three_times() -> None:
    sender = SerialSender()
    frame = sender.send(b"LA|", now_ms=0)
    assert sender.on_time(now_ms=ANSWER_WAIT_MS - 1) == b""
    assert sender.on_time(now_ms=ANSWER_WAIT_MS) == bytes((ENQ,))
    assert sender.receive(ACK, now_ms=ANSWER_WAIT_MS) == (b"", True)
    assert (sender.busy, sender.given_up()) == (False, False)
    sender.send(b"LA|", now_ms=0)
    assert [sender.receive(NAK, now_ms=0)[0] for _ in range(4)] == [frame, frame, frame, b""]
    assert sender.given_up()


@given(st.lists(records, min_size=1, max_size=5), st.randoms(use_true_random=False))
def test_over_a_line_that_damages_and_loses_each_record_arrives_once(sent: list[bytes], dice: Random) -> None:
    sender, receiver, got, now_ms = SerialSender(), SerialReceiver(), [], 0
    for record in sent:
        line = sender.send(record, now_ms=now_ms)
        faults = 2  # fewer than the repeats
        while sender.busy:
            fault = dice.choice(["none", "damage", "answer lost"]) if faults else "none"
            faults -= fault != "none"
            if fault == "damage" and len(line) > 2:
                line = line[:-1] + bytes((line[-1] ^ 0xFF,))
            taken, answers = receiver.feed(line)
            got += taken
            if fault == "answer lost" or not answers:
                now_ms += ANSWER_WAIT_MS
                line = sender.on_time(now_ms=now_ms)
            else:
                line, _ = sender.receive(answers[0], now_ms=now_ms)
    assert got == sent
